//! An asyncio future that the relay's thread resolves, waking the event loop once.

use fault::Fault;
use pyo3::IntoPyObjectExt;
use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::failure;

static RESOLVE: PyOnceLock<Py<Resolve>> = PyOnceLock::new();

/// Runs on the event loop: sets a result unless the future has been cancelled meanwhile.
#[pyclass(frozen)]
struct Resolve;

#[pymethods]
impl Resolve {
    #[expect(clippy::unused_self, reason = "Python calls it as a method")]
    fn __call__(
        &self,
        future: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        failed: bool,
    ) -> PyResult<()> {
        if !future.call_method0("done")?.is_truthy()? {
            future.call_method1(
                if failed {
                    "set_exception"
                } else {
                    "set_result"
                },
                (value,),
            )?;
        }
        Ok(())
    }
}

/// The relay's end of a future. Must be resolved; dropping it resolves with `None`.
#[derive(Debug)]
pub(crate) struct Completion {
    /// The event loop and the future, until resolved.
    waiting: Option<(Py<PyAny>, Py<PyAny>)>,
}

impl Completion {
    /// A new future of `event_loop`, and the end that resolves it.
    pub(crate) fn new<'py>(
        py: Python<'py>,
        event_loop: &Py<PyAny>,
    ) -> PyResult<(Self, Bound<'py, PyAny>)> {
        let future = event_loop
            .bind(py)
            .call_method0(pyo3::intern!(py, "create_future"))?;
        let waiting = Some((event_loop.clone_ref(py), future.clone().unbind()));
        Ok((Self { waiting }, future))
    }

    /// Resolves with what `result` makes, or raises the fault at the one who awaits.
    pub(crate) fn resolve<T>(mut self, result: Result<T, Fault>)
    where
        T: for<'py> IntoPyObject<'py>,
    {
        Python::try_attach(|py| match result {
            Ok(value) => match value.into_py_any(py) {
                Ok(value) => self.wake(py, &value, false),
                Err(error) => self.wake(py, &error.into_value(py).into_any(), true),
            },
            Err(fault) => {
                let error = failure::to_python(py, &fault);
                self.wake(py, &error.into_value(py).into_any(), true);
            }
        });
    }

    /// Resolves with `None`, for a caller that holds the interpreter.
    pub(crate) fn finish(mut self, py: Python<'_>) {
        self.wake(py, &py.None(), false);
    }

    /// Has the event loop call `callback` in its own thread, while the future is not resolved.
    pub(crate) fn call_soon<T: PyClass>(
        &self,
        py: Python<'_>,
        callback: PyResult<Py<T>>,
    ) -> PyResult<()> {
        if let Some((event_loop, _)) = &self.waiting {
            event_loop.call_method1(py, pyo3::intern!(py, "call_soon_threadsafe"), (callback?,))?;
        }
        Ok(())
    }

    fn wake(&mut self, py: Python<'_>, value: &Py<PyAny>, failed: bool) {
        let Some((event_loop, future)) = self.waiting.take() else {
            return;
        };
        let Ok(resolve) = RESOLVE.get_or_try_init(py, || Py::new(py, Resolve)) else {
            return;
        };
        // A closed loop has nobody waiting on it.
        let _ = event_loop.call_method1(
            py,
            pyo3::intern!(py, "call_soon_threadsafe"),
            (resolve, future, value, failed),
        );
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if self.waiting.is_some() {
            Python::try_attach(|py| self.wake(py, &py.None(), false));
        }
    }
}
