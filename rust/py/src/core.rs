//! The relay of a worker, made in its lifespan.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};
use quota::Window;
use relay::runtime::Job;
use wire::Operation;

use crate::allocator;
use crate::exchange::Exchange;
use crate::failure;
use crate::future::Completion;
use crate::shared::Shared;
use crate::window::PlannedWindow;

/// A worker's relay: its thread, upstreams, quota store and metrics.
#[pyclass(frozen)]
pub(crate) struct Core {
    shared: Arc<Shared>,
}

#[pymethods]
impl Core {
    #[new]
    fn new(
        py: Python<'_>,
        settings: &[u8],
        metrics_folder: &str,
        drain_s: f64,
        event_loop: Py<PyAny>,
        fault: Py<PyType>,
    ) -> PyResult<Self> {
        failure::install(py, fault);
        allocator::keep_freed_memory();
        let shared = py
            .detach(|| Shared::start(settings, metrics_folder, drain_s, event_loop))
            .map_err(|fault| failure::to_python(py, &fault))?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Begins the record of a request.
    fn begin(&self, operation: &str) -> PyResult<Exchange> {
        let operation = Operation::parse(operation)
            .ok_or_else(|| PyTypeError::new_err(format!("no such operation: {operation}")))?;
        Ok(Exchange::new(Arc::clone(&self.shared), operation))
    }

    /// A future of `[(unit, period, limit, used, resets_at_s)]`.
    fn counts<'py>(
        &self,
        py: Python<'py>,
        user: String,
        windows: Vec<PlannedWindow>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let windows: Vec<_> = windows
            .into_iter()
            .map(Window::try_from)
            .collect::<PyResult<_>>()?;
        self.ask(py, move |core, completion| {
            Box::pin(async move {
                let counts = core.counts(&user, &windows).await;
                completion.resolve(counts.map(|counts| {
                    counts
                        .into_iter()
                        .map(|count| {
                            let window = count.window;
                            let (unit, period) = (window.unit.as_str(), window.period.as_str());
                            (unit, period, count.limit, count.used, count.resets_at_s)
                        })
                        .collect::<Vec<_>>()
                }));
            })
        })
    }

    /// A future of the quota store's state: `ok`, or what is wrong with it.
    fn store_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, |core, completion| {
            Box::pin(async move {
                let state = core.store_state().await;
                completion.resolve(Ok(
                    state.map_or_else(|error| error.to_string(), |()| "ok".into())
                ));
            })
        })
    }

    /// A future of what an upstream speaks, in words.
    fn probe<'py>(&self, py: Python<'py>, upstream: String) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, |core, completion| {
            Box::pin(async move { completion.resolve(core.probe(&upstream).await) })
        })
    }

    /// The metrics page of all workers, in Prometheus' text format 0.0.4.
    fn metrics<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let page = py.detach(|| self.shared.metrics.render());
        PyBytes::new(py, page.as_bytes())
    }

    /// Notes the age of the token verification keys.
    fn jwks_age(&self, seconds: f64) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.shared
            .metrics
            .jwks_age(seconds, u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    }

    /// Lets exchanges in flight end within the drain time, then ends the relay's thread.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.shared.stop());
    }
}

impl Core {
    fn ask<'py, F>(&self, py: Python<'py>, job: F) -> PyResult<Bound<'py, PyAny>>
    where
        F: FnOnce(Rc<relay::core::Core>, Completion) -> Job + Send + 'static,
    {
        let ticket = self
            .shared
            .admit()
            .map_err(|fault| failure::to_python(py, &fault))?;
        let (completion, future) = Completion::new(py, &self.shared.event_loop)?;
        self.shared
            .submit(ticket, move |core| job(core, completion));
        Ok(future)
    }
}
