//! Faults on their way across the boundary, in both directions.

use fault::{Fault, Kind};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyType};
use wire::{Answer, Dialect};

/// `llm_gateway.errors.Fault`, handed over once: on Python 3.11 an abi3 extension cannot define an exception
/// class of its own.
static FAULT: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Request members that a fault may name.
const PARAMS: [&str; 4] = ["model", "messages", "stream", "max_tokens"];

/// Remembers the exception class to raise.
pub(crate) fn install(py: Python<'_>, class: Py<PyType>) {
    // A second core in the same process brings the same class.
    let _ = FAULT.set(py, class);
}

/// The Python exception for a fault.
pub(crate) fn to_python(py: Python<'_>, fault: &Fault) -> PyErr {
    match exception(py, fault) {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

fn exception<'py>(py: Python<'py>, fault: &Fault) -> PyResult<Bound<'py, PyAny>> {
    let class = FAULT
        .get(py)
        .ok_or_else(|| PyRuntimeError::new_err("no core has been made"))?;
    let advice = PyDict::new(py);
    advice.set_item("param", fault.param)?;
    advice.set_item("retry_after_s", fault.retry_after_s)?;
    advice.set_item("should_retry", fault.should_retry)?;
    class
        .bind(py)
        .call((fault.kind.as_str(), &fault.message), Some(&advice))
}

/// The fault that a Python exception stands for.
pub(crate) fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Fault> {
    let word: String = value.getattr("kind")?.extract()?;
    let kind = Kind::parse(&word)
        .ok_or_else(|| PyTypeError::new_err(format!("no such kind of fault: {word}")))?;
    let param: Option<String> = value.getattr("param")?.extract()?;
    Ok(Fault {
        kind,
        message: value.getattr("message")?.extract()?,
        param: param.and_then(|param| PARAMS.into_iter().find(|known| *known == param)),
        retry_after_s: value.getattr("retry_after_s")?.extract()?,
        should_retry: value.getattr("should_retry")?.extract()?,
    })
}

/// Status, header pairs and body.
pub(crate) type AnswerParts = (u16, Vec<(Py<PyBytes>, Py<PyBytes>)>, Py<PyBytes>);

pub(crate) fn parts(py: Python<'_>, answer: &Answer, request_id: &str) -> AnswerParts {
    let bytes = |text: &str| PyBytes::new(py, text.as_bytes()).unbind();
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| (bytes(name), bytes(value)))
        .collect();
    for name in ["request-id", "x-request-id"] {
        headers.push((bytes(name), bytes(request_id)));
    }
    (
        answer.status,
        headers,
        PyBytes::new(py, &answer.body).unbind(),
    )
}

/// Status, headers and body of a fault in a dialect, for endpoints that have no exchange.
#[pyfunction]
pub(crate) fn shape(
    py: Python<'_>,
    fault: &Bound<'_, PyAny>,
    dialect: &str,
    request_id: &str,
) -> PyResult<AnswerParts> {
    let fault = from_python(fault)?;
    let dialect = Dialect::parse(dialect)
        .ok_or_else(|| PyTypeError::new_err(format!("no such dialect: {dialect}")))?;
    Ok(parts(
        py,
        &wire::shape(&fault, dialect, request_id),
        request_id,
    ))
}
