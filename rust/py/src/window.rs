//! Quota windows as they come from Python.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use quota::{Period, Unit, Window};

/// A window as policy writes it.
#[derive(FromPyObject)]
pub(crate) struct PlannedWindow {
    unit: String,
    period: String,
    limit: Option<u64>,
}

impl TryFrom<PlannedWindow> for Window {
    type Error = PyErr;

    fn try_from(window: PlannedWindow) -> PyResult<Self> {
        let unknown = |word: &str| PyTypeError::new_err(format!("no such unit or period: {word}"));
        Ok(Self {
            unit: Unit::parse(&window.unit).ok_or_else(|| unknown(&window.unit))?,
            period: Period::parse(&window.period).ok_or_else(|| unknown(&window.period))?,
            limit: window.limit,
        })
    }
}
