//! The relay of a worker, made in its lifespan.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};
use quota::{Count, Found, Period, RecordOperation, Window};
use relay::runtime::Job;
use wire::Operation;

use crate::allocator;
use crate::exchange::Exchange;
use crate::failure;
use crate::future::{Completion, EventLoop};
use crate::records;
use crate::shared::Shared;
use crate::window::{self, PlannedWindow};

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
        let event_loop = EventLoop::new(py, event_loop)?;
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
        let windows = window::windows(windows)?;
        self.ask(py, move |core, completion| {
            Box::pin(async move {
                let counts = core.counts(&user, &windows).await;
                let row = |count: Count| {
                    let Window {
                        unit,
                        period,
                        limit,
                    } = count.window;
                    let period = period.map(Period::as_str);
                    (unit.as_str(), period, limit, count.used, count.resets_at_s)
                };
                completion
                    .resolve(counts.map(|counts| counts.into_iter().map(row).collect::<Vec<_>>()));
            })
        })
    }

    /// A future of `(text, local, down_s, waiting, journal_failed)`.
    fn store_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, |core, completion| {
            Box::pin(async move {
                let state = core.store_state().await;
                let text = state
                    .failure
                    .map_or_else(|| "ok".into(), |error| error.to_string());
                completion.resolve(Ok((
                    text,
                    state.local,
                    state.down_for.as_secs_f64(),
                    state.waiting,
                    state.journal_failed,
                )));
            })
        })
    }

    /// A future of what was used of a window before it was set to `used`.
    fn set_quota<'py>(
        &self,
        py: Python<'py>,
        user: String,
        window: PlannedWindow,
        used: u64,
        note: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let window = Window::try_from(window)?;
        self.ask(py, move |core, completion| {
            Box::pin(async move {
                completion.resolve(core.set_quota(&user, window, used, note).await);
            })
        })
    }

    /// A future of the notes of a user's `set_quota`.
    fn quota_notes<'py>(&self, py: Python<'py>, user: String) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, move |core, completion| {
            Box::pin(async move { completion.resolve(core.quota_notes(&user).await) })
        })
    }

    /// A future of whether the record was put.
    #[pyo3(signature = (shelf, name, value, life_s, when = "any", most = None))]
    #[expect(clippy::too_many_arguments, reason = "Python gives each a name")]
    fn record_put<'py>(
        &self,
        py: Python<'py>,
        shelf: String,
        name: String,
        value: Vec<u8>,
        life_s: f64,
        when: &str,
        most: Option<u64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let operation = records::put(name, value, life_s, when, most)?;
        self.on_shelf(py, shelf, operation, |found| found.done)
    }

    /// A future of the record's value, or None.
    fn record_get<'py>(
        &self,
        py: Python<'py>,
        shelf: String,
        name: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = records::checked(name)?;
        self.on_shelf(py, shelf, RecordOperation::Get { name }, only_value)
    }

    /// A future of the record's value, or None; the record is gone then.
    fn record_take<'py>(
        &self,
        py: Python<'py>,
        shelf: String,
        name: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = records::checked(name)?;
        self.on_shelf(py, shelf, RecordOperation::Take { name }, only_value)
    }

    /// A future of `(sequence, [(name, value)])`.
    #[pyo3(signature = (shelf, after = 0))]
    fn records<'py>(
        &self,
        py: Python<'py>,
        shelf: String,
        after: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let operation = RecordOperation::List { after };
        self.on_shelf(py, shelf, operation, |found| (found.sequence, found.rows))
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

fn only_value(found: Found) -> Option<Vec<u8>> {
    found.rows.into_iter().next().map(|(_, value)| value)
}

impl Core {
    /// A future of what `read` makes of a shelf's answer.
    fn on_shelf<'py, T>(
        &self,
        py: Python<'py>,
        shelf: String,
        operation: RecordOperation,
        read: fn(Found) -> T,
    ) -> PyResult<Bound<'py, PyAny>>
    where
        T: for<'a> IntoPyObject<'a> + 'static,
    {
        let shelf = records::shelf(shelf)?;
        self.ask(py, move |core, completion| {
            Box::pin(async move {
                completion.resolve(core.records(&shelf, &operation).await.map(read));
            })
        })
    }

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
