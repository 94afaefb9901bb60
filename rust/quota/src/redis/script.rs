//! A call of the store as Redis hears it, and its answer.

use std::sync::LazyLock;

use ::redis::{Arg, Cmd, Pipeline, Script, Value, cmd, from_redis_value};
use tokio::time::Instant;

use super::errors::Failure;
use super::link::Live;
use crate::calendar::{Account, Bucket};
use crate::store::{
    Call, Hold, LeaseId, Lives, Operation, Overcome, Reply, StoreError, StoreErrorKind, Verdict,
    Version,
};

/// A script and its name at the server.
pub(super) struct Text {
    text: &'static str,
    hash: LazyLock<String>,
}

const QUOTA: &str = include_str!("../lua/quota.lua");
static ACCOUNTS: Text = Text {
    text: QUOTA,
    hash: LazyLock::new(|| Script::new(QUOTA).get_hash().to_owned()),
};

impl Text {
    pub(super) const fn new(text: &'static str, hash: LazyLock<String>) -> Self {
        Self { text, hash }
    }

    /// The name to call it by.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }
}

/// One command for Redis, which can be sent over any connection.
pub(super) struct Invocation {
    pub(super) command: Cmd,
    /// What the server may have to be told first, if the command runs a script.
    pub(super) script: Option<&'static Text>,
    /// Whether it may be asked for again when its reply was lost.
    pub(super) repeatable: bool,
}

impl Invocation {
    /// The command that runs `call`.
    pub(super) fn of(call: &Call, lives: Lives) -> Self {
        Words::of(&call.operation).invocation(call, lives)
    }

    /// The command that reads the notes of [`Operation::Set`], the newest first.
    pub(super) fn notes(account: &Account) -> Self {
        let mut command = cmd("LRANGE");
        command.arg(account.notes_key()).arg(0).arg(-1);
        Self {
            command,
            script: None,
            repeatable: true,
        }
    }

    /// The answer of the server that `live` leads to; after `ASK`, with the word that it demands. Where the server
    /// does not know the script, it is sent along, and nothing ran before.
    pub(super) async fn run(
        &self,
        live: &Live,
        asking: bool,
        deadline: Instant,
        overcome: &Overcome,
    ) -> Result<Value, Failure> {
        match (
            send(&self.command, live, asking, deadline).await,
            self.script,
        ) {
            (Err(failure), Some(script)) if failure.error.kind == StoreErrorKind::NoScript => {
                overcome(failure.error.kind);
                send(&self.with_text(script), live, asking, deadline).await
            }
            (answer, _) => answer,
        }
    }

    /// `EVALSHA hash …` as `EVAL text …`.
    fn with_text(&self, script: &Text) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(script.text);
        for argument in self.command.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

async fn send(
    command: &Cmd,
    live: &Live,
    asking: bool,
    deadline: Instant,
) -> Result<Value, Failure> {
    if asking {
        let mut commands = Pipeline::new();
        commands.cmd("ASKING").add_command(command.clone());
        live.ask_last(&commands, deadline).await
    } else {
        live.ask(command, deadline).await
    }
}

/// An operation in the words of the script.
struct Words<'a> {
    operation: &'static str,
    lease: Option<&'a LeaseId>,
    hold: Option<Hold>,
    /// The eighth argument.
    condition: String,
    counters: Vec<Counter<'a>>,
}

#[derive(Clone, Copy)]
struct Counter<'a> {
    bucket: &'a Bucket,
    amount: u64,
    taken: u64,
}

impl<'a> Words<'a> {
    fn of(operation: &'a Operation) -> Self {
        let counter = |bucket, amount, taken| Counter {
            bucket,
            amount,
            taken,
        };
        let claimed = |claims: &'a [crate::store::Claim]| {
            let counters = claims.iter();
            counters.map(|claim| counter(&claim.bucket, claim.amount, 0))
        };
        let words = |operation, lease, hold, counters| Words {
            operation,
            lease,
            hold,
            condition: String::new(),
            counters,
        };
        match operation {
            Operation::Reserve {
                lease,
                claims,
                hold,
                places,
            } => Words {
                condition: places.map(|most| most.to_string()).unwrap_or_default(),
                ..words(
                    "reserve",
                    Some(lease),
                    Some(*hold),
                    claimed(claims).collect(),
                )
            },
            Operation::Settle {
                lease,
                closings,
                sure,
            } => {
                let counters = closings.iter();
                let counters = counters
                    .map(|closing| counter(&closing.bucket, closing.used, closing.taken))
                    .collect();
                Words {
                    condition: if *sure { "sure".into() } else { String::new() },
                    ..words("settle", Some(lease), None, counters)
                }
            }
            Operation::Extend { lease, hold } => {
                words("extend", Some(lease), Some(*hold), Vec::new())
            }
            Operation::Read { buckets } => {
                let counters = buckets.iter().map(|bucket| counter(bucket, 0, 0));
                words("read", None, None, counters.collect())
            }
            Operation::Restore { floors } => {
                words("restore", None, None, claimed(floors).collect())
            }
            Operation::Reopen {
                lease,
                claims,
                hold,
            } => words(
                "reopen",
                Some(lease),
                Some(*hold),
                claimed(claims).collect(),
            ),
            Operation::Set { bucket, used, .. } => {
                words("set", None, None, vec![counter(bucket, *used, 0)])
            }
            Operation::Probe => words("probe", None, None, Vec::new()),
        }
    }

    /// `KEYS` and `ARGV` as the head of the script describes them.
    fn invocation(&self, call: &Call, lives: Lives) -> Invocation {
        let account = &call.account;
        let first_key = match call.operation {
            Operation::Probe => format!("{}:probe", account.prefix()),
            _ => account.state_key(),
        };
        let (third_key, name) = match (&call.operation, self.lease) {
            (Operation::Set { note, .. }, _) => (account.notes_key(), note.as_str()),
            (_, Some(lease)) => (account.lease_key(lease), lease.as_str()),
            // Neither read nor written.
            (_, None) => (account.state_key(), ""),
        };
        let record_ms = match self.hold {
            Some(Hold::Open) => lives.open_record_ms,
            _ => lives.record_ms,
        };
        let seen = call.seen.unwrap_or(Version {
            epoch: 0,
            sequence: 0,
        });
        let mut command = cmd("EVALSHA");
        command.arg(ACCOUNTS.hash()).arg(3 + self.counters.len());
        command
            .arg(first_key)
            .arg(account.open_key())
            .arg(third_key);
        for counter in &self.counters {
            command.arg(&counter.bucket.key);
        }
        command
            .arg(self.operation)
            .arg(seen.epoch)
            .arg(seen.sequence);
        command.arg(name).arg(lives.lease_ms).arg(record_ms);
        command.arg(if self.hold == Some(Hold::Open) {
            "open"
        } else {
            ""
        });
        command.arg(&self.condition);
        for counter in &self.counters {
            counter.add_to(&mut command);
        }
        Invocation {
            command,
            script: Some(&ACCOUNTS),
            // The others happen once by the lease's id, or change nothing the second time.
            repeatable: !matches!(call.operation, Operation::Set { .. }),
        }
    }
}

impl Counter<'_> {
    fn add_to(&self, command: &mut Cmd) {
        let bucket = self.bucket;
        match bucket.window.limit {
            Some(limit) => command.arg(limit),
            None => command.arg(""),
        };
        command.arg(self.amount).arg(self.taken);
        command.arg(bucket.starts_at_s).arg(bucket.resets_at_s);
        command.arg(bucket.forget_at_s());
    }
}

/// The answer that `value` is.
pub(super) fn reply(value: Value) -> Result<Reply, StoreError> {
    let numbers: Vec<i64> = from_redis_value(value).unwrap_or_default();
    let [verdict, now_ms, epoch, sequence, flying, used @ ..] = numbers.as_slice() else {
        return Err(odd());
    };
    let natural = |number: &i64| u64::try_from(*number).map_err(|_| odd());
    let verdict = match *verdict {
        0 => Verdict::Done,
        -1 => Verdict::Crowded,
        -2 => Verdict::Moved,
        -3 => Verdict::Older,
        -4 => Verdict::Ended,
        place => match usize::try_from(place) {
            Ok(place) if place <= used.len() => Verdict::Full(place - 1),
            _ => return Err(odd()),
        },
    };
    let version = Version {
        epoch: natural(epoch)?,
        sequence: natural(sequence)?,
    };
    Ok(Reply {
        verdict,
        now_ms: natural(now_ms)?,
        version: (version.epoch > 0).then_some(version),
        flying: natural(flying)?,
        used: used.iter().map(natural).collect::<Result<_, _>>()?,
    })
}

/// The notes that `value` is.
pub(super) fn notes(value: Value) -> Result<Vec<String>, StoreError> {
    from_redis_value(value).map_err(|_| odd())
}

pub(super) fn odd() -> StoreError {
    let cause = "the answer is not one of the script's";
    StoreError::new(StoreErrorKind::Refused, cause)
}
