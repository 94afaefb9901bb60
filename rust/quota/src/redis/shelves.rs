//! Records as Redis hears them: one hash a shelf, one script.

use std::sync::LazyLock;

use ::redis::{Script, Value, cmd};

use super::script::{Invocation, Text, odd};
use crate::records::{Found, RecordOperation, Shelf, When};
use crate::store::StoreError;

const TEXT: &str = include_str!("../lua/records.lua");
static SCRIPT: Text = Text::new(
    TEXT,
    LazyLock::new(|| Script::new(TEXT).get_hash().to_owned()),
);

/// The command that runs `operation`.
pub(super) fn invocation(shelf: &Shelf, operation: &RecordOperation) -> Invocation {
    let mut command = cmd("EVALSHA");
    command.arg(SCRIPT.hash()).arg(1).arg(shelf.key());
    match operation {
        RecordOperation::Put {
            name,
            value,
            life_ms,
            when,
            most,
        } => {
            command.arg("put").arg(name).arg(value.as_slice());
            command.arg(*life_ms).arg(word(*when));
            match most {
                Some(most) => command.arg(*most),
                None => command.arg(""),
            };
        }
        RecordOperation::Get { name } => {
            command.arg("get").arg(name);
        }
        RecordOperation::Take { name } => {
            command.arg("take").arg(name);
        }
        RecordOperation::List { after } => {
            command.arg("list").arg(*after);
        }
    }
    Invocation {
        command,
        script: Some(&SCRIPT),
        repeatable: operation.is_repeatable(),
    }
}

/// The answer that `value` is.
pub(super) fn found(value: Value) -> Result<Found, StoreError> {
    let Value::Array(parts) = value else {
        return Err(odd());
    };
    let [Value::Int(done), Value::Int(sequence), rows @ ..] = parts.as_slice() else {
        return Err(odd());
    };
    let row = |pair: &[Value]| match pair {
        [Value::BulkString(name), Value::BulkString(value)] => {
            let name = String::from_utf8(name.clone()).map_err(|_| odd())?;
            Ok((name, value.clone()))
        }
        _ => Err(odd()),
    };
    Ok(Found {
        done: *done == 1,
        sequence: u64::try_from(*sequence).map_err(|_| odd())?,
        rows: rows.chunks(2).map(row).collect::<Result<_, _>>()?,
    })
}

fn word(when: When) -> &'static str {
    match when {
        When::Any => "any",
        When::Absent => "absent",
        When::Present => "present",
    }
}
