//! Records, as Python asks for them.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use quota::{RecordOperation, Shelf, When};

const NAME_BYTES: usize = 512;
const VALUE_BYTES: usize = 64 * 1024;

/// What is to be put, under which condition.
pub(crate) fn put(
    name: String,
    value: Vec<u8>,
    life_s: f64,
    when: &str,
    most: Option<u64>,
) -> PyResult<RecordOperation> {
    let when = match when {
        "any" => When::Any,
        "absent" => When::Absent,
        "present" => When::Present,
        _ => return Err(PyValueError::new_err("when: any, absent or present")),
    };
    if value.len() > VALUE_BYTES {
        return Err(PyValueError::new_err("a record has at most 64 KiB"));
    }
    let life = Duration::try_from_secs_f64(life_s)
        .map_err(|_| PyValueError::new_err("a record lives for a positive time"))?;
    Ok(RecordOperation::Put {
        name: checked(name)?,
        value,
        life_ms: u64::try_from(life.as_millis())
            .unwrap_or(u64::MAX)
            .clamp(1, MOST_MS),
        when,
        most,
    })
}

/// A century: longer than anybody means, and far from where Redis' numbers end.
const MOST_MS: u64 = 100 * 366 * 86_400 * 1000;

/// The shelf of this name.
pub(crate) fn shelf(name: String) -> PyResult<Shelf> {
    checked(name).map(|name| Shelf::of(&name))
}

/// A name that a shelf or a record can have.
pub(crate) fn checked(name: String) -> PyResult<String> {
    if (1..=NAME_BYTES).contains(&name.len()) {
        Ok(name)
    } else {
        let message = format!("a name has 1 to {NAME_BYTES} bytes of UTF-8");
        Err(PyValueError::new_err(message))
    }
}
