//! One request on the Python side: refused there, or handed to the relay.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fault::{Fault, Kind};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use relay::exchange::{Asked, run};
use relay::record::{Outcome, Record};
use wire::{Operation, Peek};

use crate::failure::{self, AnswerParts};
use crate::future::Completion;
use crate::send::{AsgiClient, Ends};
use crate::shared::Shared;

/// Bodies above this are read without holding the interpreter: a microsecond for each 10 kB is what others can wait.
const LARGE_BYTES: usize = 64 * 1024;

/// What was found in a body, and the body.
#[pyclass(frozen)]
pub(crate) struct Request {
    body: Bytes,
    peek: Peek,
}

#[pymethods]
impl Request {
    #[getter]
    fn model(&self) -> &str {
        &self.peek.model
    }

    #[getter]
    fn stream(&self) -> bool {
        self.peek.stream
    }

    #[getter]
    fn max_tokens(&self) -> Option<u64> {
        self.peek.max_tokens
    }
}

/// One request. Dropped without having been run or refused, it leaves a record that says so.
#[pyclass(frozen)]
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    operation: Operation,
    #[pyo3(get)]
    request_id: String,
    record: Mutex<Option<Record>>,
}

impl Exchange {
    pub(crate) fn new(shared: Arc<Shared>, operation: Operation) -> Self {
        let record = Record::start(Arc::clone(&shared.metrics), shared.log.clone(), operation);
        Self {
            shared,
            operation,
            request_id: record.request_id.clone(),
            record: Mutex::new(Some(record)),
        }
    }

    fn record(&self) -> MutexGuard<'_, Option<Record>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Exchange {
    /// Notes who asks.
    fn subscriber(&self, user: String, tier: String) {
        if let Some(record) = self.record().as_mut() {
            record.user = Some(user);
            record.tier = Some(tier);
        }
    }

    /// Validates a body and finds the members that routing needs.
    fn peek(&self, py: Python<'_>, body: PyBackedBytes) -> PyResult<Request> {
        let body = Bytes::from_owner(body);
        let peek = || wire::peek(&body, self.operation);
        // The relay of everybody else's streams would wait for the interpreter meanwhile.
        let peek = if body.len() > LARGE_BYTES {
            py.detach(peek)
        } else {
            peek()
        };
        match peek {
            Ok(peek) => {
                if let Some(record) = self.record().as_mut() {
                    record.stream = peek.stream;
                }
                Ok(Request { body, peek })
            }
            Err(fault) => Err(failure::to_python(py, &fault)),
        }
    }

    /// Ends the exchange with a fault: status, headers and body to answer with.
    fn refuse(&self, py: Python<'_>, fault: &Bound<'_, PyAny>) -> PyResult<AnswerParts> {
        let fault = failure::from_python(fault)?;
        let answer = wire::shape(&fault, self.operation.dialect(), &self.request_id);
        if let Some(mut record) = self.record().take() {
            let outcome = match fault.kind {
                Kind::Internal => Outcome::Broken,
                Kind::Canceled => Outcome::ClientLeft,
                _ => Outcome::Refused,
            };
            record.blame(fault.kind);
            record.end(outcome, answer.status);
        }
        Ok(failure::parts(py, &answer, &self.request_id))
    }

    /// Hands the request to the relay; the future resolves when the answer has gone, or raises a fault that nothing
    /// has been sent for.
    #[expect(clippy::too_many_arguments, reason = "one crossing instead of several")]
    fn run<'py>(
        &self,
        py: Python<'py>,
        request: &Bound<'py, Request>,
        user: String,
        plan: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        query: &[u8],
        send: Py<PyAny>,
        receive: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let ticket = self
            .shared
            .admit()
            .map_err(|fault| failure::to_python(py, &fault))?;
        let query = std::str::from_utf8(query).map_err(|_| {
            let fault = Fault::new(Kind::InvalidRequest, "the query string is not valid");
            failure::to_python(py, &fault)
        })?;
        let request = request.get();
        let asked = Asked {
            user,
            operation: self.operation,
            body: request.body.clone(),
            peek: request.peek.clone(),
            headers: wanted(headers)?,
            query: query.to_owned(),
        };
        let plan = self.shared.plans.read(plan)?;
        let mut record = self
            .record()
            .take()
            .ok_or_else(|| PyRuntimeError::new_err("an exchange runs once"))?;
        record.plan = Some(Arc::clone(&plan));
        let (completion, future) = Completion::new(py, &self.shared.event_loop)?;
        let ends = Ends::new(send, receive, completion);
        self.shared.submit(ticket, move |core| {
            Box::pin(run(core, asked, plan, record, AsgiClient::new(ends)))
        });
        Ok(future)
    }
}

/// Copies the headers that may go to an upstream; the others are not looked at again.
fn wanted(headers: &Bound<'_, PyAny>) -> PyResult<Vec<(Bytes, Bytes)>> {
    let mut wanted = Vec::with_capacity(8);
    for pair in headers.try_iter()? {
        let (name, value): (PyBackedBytes, PyBackedBytes) = pair?.extract()?;
        if relay::headers::may_pass(&name) {
            wanted.push((
                Bytes::copy_from_slice(&name),
                Bytes::copy_from_slice(&value),
            ));
        }
    }
    Ok(wanted)
}
