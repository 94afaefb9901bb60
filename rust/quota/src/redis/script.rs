//! A call of the store as Redis hears it, and its answer.

use std::sync::LazyLock;

use ::redis::{Arg, Cmd, Pipeline, Script, Value, cmd, from_redis_value};
use tokio::time::Instant;

use super::errors::Failure;
use super::link::Live;
use super::words;
use crate::calendar::Account;
use crate::store::{
    Call, Lives, Operation, Overcome, Reply, StoreError, StoreErrorKind, Verdict, Version,
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
        Self {
            command: words::command(ACCOUNTS.hash(), call, lives),
            script: Some(&ACCOUNTS),
            // The others happen once by the lease's id, or change nothing the second time.
            repeatable: !matches!(call.operation, Operation::Set { .. }),
        }
    }

    /// The command that reads the notes of [`Operation::Set`], the newest first.
    pub(super) fn notes(account: &Account) -> Self {
        let mut command = cmd("LRANGE");
        words::add_key(&mut command, account.notes_key());
        command.arg(0).arg(-1);
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

/// The answer that `value` is.
pub(super) fn reply(value: &Value) -> Result<Reply, StoreError> {
    let Value::Array(numbers) = value else {
        return Err(odd());
    };
    let [verdict, now_ms, epoch, sequence, flying, used @ ..] = numbers.as_slice() else {
        return Err(odd());
    };
    let verdict = match integer(verdict)? {
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

fn integer(value: &Value) -> Result<i64, StoreError> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(odd()),
    }
}

fn natural(value: &Value) -> Result<u64, StoreError> {
    u64::try_from(integer(value)?).map_err(|_| odd())
}

/// The notes that `value` is.
pub(super) fn notes(value: Value) -> Result<Vec<String>, StoreError> {
    from_redis_value(value).map_err(|_| odd())
}

pub(super) fn odd() -> StoreError {
    let cause = "the answer is not one of the script's";
    StoreError::new(StoreErrorKind::Refused, cause)
}
