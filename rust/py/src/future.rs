//! An asyncio future that the relay's thread resolves, waking the event loop once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fault::Fault;
use pyo3::IntoPyObjectExt;
use pyo3::PyClass;
use pyo3::prelude::*;

use crate::failure;

/// What becomes of a future: a result, or an exception.
type Verdict = Result<Py<PyAny>, Py<PyAny>>;

/// A worker's event loop, as the relay's thread wakes it.
#[derive(Clone)]
pub(crate) struct EventLoop(Arc<Waiting>);

struct Waiting {
    event_loop: Py<PyAny>,
    resolve: Py<Resolve>,
}

/// Futures that are to be resolved when the event loop wakes: one wake for all of them. Called there, it resolves each unless
/// it has been cancelled meanwhile.
#[pyclass(frozen)]
struct Resolve(Mutex<Vec<(Py<PyAny>, Verdict)>>);

impl Resolve {
    fn waiting(&self) -> MutexGuard<'_, Vec<(Py<PyAny>, Verdict)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Resolve {
    fn __call__(&self, py: Python<'_>) {
        let waiting = std::mem::take(&mut *self.waiting());
        for (future, verdict) in waiting {
            let future = future.bind(py);
            if let Err(error) = settle(future, verdict) {
                error.write_unraisable(py, Some(future));
            }
        }
    }
}

fn settle(future: &Bound<'_, PyAny>, verdict: Verdict) -> PyResult<()> {
    let py = future.py();
    if !future
        .call_method0(pyo3::intern!(py, "done"))?
        .is_truthy()?
    {
        match verdict {
            Ok(value) => future.call_method1(pyo3::intern!(py, "set_result"), (value,))?,
            Err(error) => future.call_method1(pyo3::intern!(py, "set_exception"), (error,))?,
        };
    }
    Ok(())
}

impl EventLoop {
    pub(crate) fn new(py: Python<'_>, event_loop: Py<PyAny>) -> PyResult<Self> {
        let resolve = Py::new(py, Resolve(Mutex::default()))?;
        Ok(Self(Arc::new(Waiting {
            event_loop,
            resolve,
        })))
    }

    fn resolve(&self, py: Python<'_>, future: Py<PyAny>, verdict: Verdict) {
        let resolve = &self.0.resolve;
        let mut waiting = resolve.get().waiting();
        waiting.push((future, verdict));
        let woken = waiting.len() > 1;
        drop(waiting);
        if !woken && self.call_soon(py, resolve.clone_ref(py)).is_err() {
            // A closed loop has nobody waiting on it.
            resolve.get().waiting().clear();
        }
    }

    fn call_soon<T: PyClass>(&self, py: Python<'_>, callback: Py<T>) -> PyResult<()> {
        let name = pyo3::intern!(py, "call_soon_threadsafe");
        self.0.event_loop.call_method1(py, name, (callback,))?;
        Ok(())
    }
}

/// The relay's end of a future. Must be resolved; dropping it resolves with `None`.
pub(crate) struct Completion {
    event_loop: EventLoop,
    /// Until it is resolved.
    future: Option<Py<PyAny>>,
}

impl Completion {
    /// A new future of `event_loop`, and the end that resolves it.
    pub(crate) fn new<'py>(
        py: Python<'py>,
        event_loop: &EventLoop,
    ) -> PyResult<(Self, Bound<'py, PyAny>)> {
        let name = pyo3::intern!(py, "create_future");
        let future = event_loop.0.event_loop.bind(py).call_method0(name)?;
        let completion = Self {
            event_loop: event_loop.clone(),
            future: Some(future.clone().unbind()),
        };
        Ok((completion, future))
    }

    /// Resolves with what `result` makes, or raises the fault at the one who awaits.
    pub(crate) fn resolve<T>(mut self, result: Result<T, Fault>)
    where
        T: for<'py> IntoPyObject<'py>,
    {
        Python::try_attach(|py| {
            let made = match result {
                Ok(value) => value.into_py_any(py),
                Err(fault) => Err(failure::to_python(py, &fault)),
            };
            self.end(py, made.map_err(|error| error.into_value(py).into_any()));
        });
    }

    /// Resolves with `None`, for a caller that holds the interpreter.
    pub(crate) fn finish(mut self, py: Python<'_>) {
        self.end(py, Ok(py.None()));
    }

    /// Has the event loop call `callback` in its own thread.
    pub(crate) fn call_soon<T: PyClass>(
        &self,
        py: Python<'_>,
        callback: PyResult<Py<T>>,
    ) -> PyResult<()> {
        self.event_loop.call_soon(py, callback?)
    }

    fn end(&mut self, py: Python<'_>, verdict: Verdict) {
        if let Some(future) = self.future.take() {
            self.event_loop.resolve(py, future, verdict);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if self.future.is_some() {
            Python::try_attach(|py| self.end(py, Ok(py.None())));
        }
    }
}
