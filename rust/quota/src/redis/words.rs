//! A call of the store in the words of the script.

use std::io::Write as _;

use ::redis::{Cmd, RedisWrite as _};

use crate::calendar::{Account, Bucket, Key};
use crate::store::{Call, Claim, Closing, Hold, LeaseId, Lives, MOST, Operation, Version};

/// The command that runs `call` by the script of this name.
///
/// It is a part of every request: so all is written to where it is sent from, and nothing is a text of its own before.
pub(super) fn command(script: &str, call: &Call, lives: Lives) -> Cmd {
    let words = Words::of(&call.operation);
    let mut command = words.room(&call.account);
    command.arg("EVALSHA").arg(script);
    words.add_keys(&mut command, &call.account);
    words.add_arguments(&mut command, call.seen, lives);
    for counter in words.counters.iter() {
        counter.add_to(&mut command);
    }
    command
}

/// Adds the name of a key.
pub(super) fn add_key(command: &mut Cmd, key: Key<'_>) {
    let mut name = command.writer_for_next_arg();
    for part in key.parts() {
        // It is written to memory, which cannot fail.
        let _ = name.write_all(part.as_bytes());
    }
}

/// An operation in the words of the script.
struct Words<'a> {
    operation: &'static str,
    subject: Subject<'a>,
    hold: Option<Hold>,
    condition: Condition,
    counters: Counters<'a>,
}

/// What the third key and the fourth argument are of.
enum Subject<'a> {
    Lease(&'a LeaseId),
    Note(&'a str),
    /// The account as a whole: neither is read.
    Account,
    /// Nobody's.
    Probe,
}

/// The eighth argument.
enum Condition {
    None,
    Places(u64),
    Sure,
}

/// The counters of an operation, as it has them.
enum Counters<'a> {
    Claims(&'a [Claim]),
    Closings(&'a [Closing]),
    Buckets(&'a [Bucket]),
    Set(&'a Bucket, u64),
}

/// One of them, as the script hears of it.
struct Counter<'a> {
    bucket: &'a Bucket,
    amount: u64,
    bound: Option<u64>,
}

impl<'a> Words<'a> {
    fn of(operation: &'a Operation) -> Self {
        let words = |operation, subject, hold, counters| Words {
            operation,
            subject,
            hold,
            condition: Condition::None,
            counters,
        };
        let nothing = Counters::Buckets(&[]);
        match operation {
            Operation::Reserve {
                lease,
                claims,
                hold,
                places,
            } => Words {
                condition: places.map_or(Condition::None, Condition::Places),
                ..words(
                    "reserve",
                    Subject::Lease(lease),
                    Some(*hold),
                    Counters::Claims(claims),
                )
            },
            Operation::Settle {
                lease,
                closings,
                sure,
            } => Words {
                condition: if *sure {
                    Condition::Sure
                } else {
                    Condition::None
                },
                ..words(
                    "settle",
                    Subject::Lease(lease),
                    None,
                    Counters::Closings(closings),
                )
            },
            Operation::Extend { lease, hold } => {
                words("extend", Subject::Lease(lease), Some(*hold), nothing)
            }
            Operation::Read { buckets } => {
                words("read", Subject::Account, None, Counters::Buckets(buckets))
            }
            Operation::Restore { floors } => {
                words("restore", Subject::Account, None, Counters::Claims(floors))
            }
            Operation::Reopen {
                lease,
                claims,
                hold,
            } => words(
                "reopen",
                Subject::Lease(lease),
                Some(*hold),
                Counters::Claims(claims),
            ),
            Operation::Set { bucket, used, note } => words(
                "set",
                Subject::Note(note),
                None,
                Counters::Set(bucket, *used),
            ),
            Operation::Probe => words("probe", Subject::Probe, None, nothing),
        }
    }

    /// An empty command that need not grow.
    fn room(&self, account: &Account) -> Cmd {
        const ARGUMENTS: usize = 16;
        const ARGUMENT_BYTES: usize = 288;
        const NUMBER_BYTES: usize = 16;
        let count = self.counters.len();
        let keys = self.counters.iter().map(|counter| counter.bucket.key.len());
        Cmd::with_capacity(
            ARGUMENTS + 4 * count,
            ARGUMENT_BYTES
                + 3 * account.prefix().len()
                + keys.sum::<usize>()
                + 3 * NUMBER_BYTES * count,
        )
    }

    fn add_keys(&self, command: &mut Cmd, account: &Account) {
        command.arg(3 + self.counters.len());
        let state = match self.subject {
            Subject::Probe => account.probe_key(),
            _ => account.state_key(),
        };
        let third = match self.subject {
            Subject::Lease(lease) => account.lease_key(lease),
            Subject::Note(_) => account.notes_key(),
            Subject::Account | Subject::Probe => state,
        };
        add_key(command, state);
        add_key(command, account.open_key());
        add_key(command, third);
        for counter in self.counters.iter() {
            command.arg(&counter.bucket.key);
        }
    }

    fn add_arguments(&self, command: &mut Cmd, seen: Option<Version>, lives: Lives) {
        let (epoch, sequence) = seen.map_or((0, 0), |seen| (seen.epoch, seen.sequence));
        let subject = match self.subject {
            Subject::Lease(lease) => lease.as_str(),
            Subject::Note(note) => note,
            Subject::Account | Subject::Probe => "",
        };
        let (record_ms, open) = match self.hold {
            Some(Hold::Open) => (lives.open_record_ms, "open"),
            _ => (lives.record_ms, ""),
        };
        command.arg(self.operation).arg(epoch).arg(sequence);
        command.arg(subject).arg(lives.lease_ms).arg(record_ms);
        command.arg(open);
        match self.condition {
            Condition::None => command.arg(""),
            Condition::Places(most) => command.arg(most),
            Condition::Sure => command.arg("sure"),
        };
        let begin = |counter: Counter<'_>| counter.bucket.starts_at_s;
        let end = |counter: Counter<'_>| counter.bucket.resets_at_s;
        let last_begin = self.counters.iter().map(begin).max();
        let first_end = self.counters.iter().map(end).min();
        command.arg(last_begin.unwrap_or(0));
        command.arg(first_end.unwrap_or(i64::MAX));
    }
}

impl<'a> Counters<'a> {
    fn len(&self) -> usize {
        match self {
            Self::Claims(claims) => claims.len(),
            Self::Closings(closings) => closings.len(),
            Self::Buckets(buckets) => buckets.len(),
            Self::Set(..) => 1,
        }
    }

    fn iter(&self) -> impl Iterator<Item = Counter<'a>> {
        (0..self.len()).map(|index| self.at(index))
    }

    fn at(&self, index: usize) -> Counter<'a> {
        let (bucket, amount, bound) = match self {
            Self::Claims(claims) => {
                let Claim { bucket, amount } = &claims[index];
                (bucket, *amount, bucket.window.limit)
            }
            Self::Closings(closings) => {
                let closing = &closings[index];
                (&closing.bucket, closing.used, Some(closing.taken.min(MOST)))
            }
            Self::Buckets(buckets) => (&buckets[index], 0, None),
            Self::Set(bucket, used) => (*bucket, *used, None),
        };
        Counter {
            bucket,
            amount: amount.min(MOST),
            bound,
        }
    }
}

impl Counter<'_> {
    fn add_to(&self, command: &mut Cmd) {
        command.arg(self.amount);
        match self.bound {
            Some(bound) => command.arg(bound),
            None => command.arg(""),
        };
        command.arg(self.bucket.forget_at_s().saturating_mul(1000));
    }
}
