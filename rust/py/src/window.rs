//! What is counted, as it comes from Python.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use quota::{OnFailure, Window};
use relay::plan::Weights;

/// A window as policy writes it.
#[derive(FromPyObject)]
pub(crate) struct PlannedWindow {
    unit: String,
    period: Option<String>,
    limit: Option<u64>,
}

/// The windows that policy wrote.
pub(crate) fn windows(planned: Vec<PlannedWindow>) -> PyResult<Vec<Window>> {
    planned.into_iter().map(Window::try_from).collect()
}

impl TryFrom<PlannedWindow> for Window {
    type Error = PyErr;

    fn try_from(window: PlannedWindow) -> PyResult<Self> {
        let period = window.period.as_deref();
        Self::parse(&window.unit, period, window.limit).ok_or_else(|| {
            let period = period.unwrap_or("no period");
            PyTypeError::new_err(format!("no such window: {} and {period}", window.unit))
        })
    }
}

/// What a request counts as, as policy writes it.
#[derive(FromPyObject)]
pub(crate) struct PlannedWeights {
    requests: u64,
    prompts: u64,
    tokens: f64,
}

impl From<PlannedWeights> for Weights {
    fn from(weights: PlannedWeights) -> Self {
        Self {
            requests: weights.requests,
            prompts: weights.prompts,
            tokens: weights.tokens,
        }
    }
}

/// What holds while the store cannot be asked, by its word.
pub(crate) fn on_failure(word: &str) -> PyResult<OnFailure> {
    match word {
        "local" => Ok(OnFailure::Local),
        "closed" => Ok(OnFailure::Closed),
        "open" => Ok(OnFailure::Open),
        _ => Err(PyTypeError::new_err(format!(
            "no such mode without a store: {word}"
        ))),
    }
}
