//! What the exchanges of a core share on the Python side.

use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fault::{Fault, Kind};
use pyo3::prelude::*;
use relay::core::Core;
use relay::log::Log;
use relay::metrics::Metrics;
use relay::runtime::{Job, Relay, Ticket, Whole};
use relay::settings::Settings;

use crate::future::EventLoop;
use crate::plan::Plans;

/// The relay, and what records of requests need.
pub(crate) struct Shared {
    relay: Mutex<Relay>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Log,
    pub(crate) event_loop: EventLoop,
    pub(crate) plans: Plans,
}

impl Shared {
    /// Opens the worker's metrics and log, and starts its relay.
    pub(crate) fn start(
        settings: &[u8],
        metrics_folder: &str,
        drain_s: f64,
        event_loop: EventLoop,
    ) -> Result<Self, Fault> {
        let settings: Settings = serde_json::from_slice(settings)
            .map_err(|error| Fault::new(Kind::Config, format!("core settings: {error}")))?;
        let metrics = Metrics::open(Path::new(metrics_folder), &settings.metrics)
            .map_err(|error| Fault::new(Kind::Config, format!("{metrics_folder}: {error}")))?;
        let metrics = Arc::new(metrics);
        let log = Log::start(metrics.log_dropped())
            .map_err(|error| Fault::new(Kind::Internal, format!("log thread: {error}")))?;
        let drain = Duration::try_from_secs_f64(drain_s).unwrap_or_default();
        let relay = Mutex::new(Relay::start(
            settings,
            Arc::clone(&metrics),
            log.clone(),
            drain,
            within_one_thread_state,
        )?);
        Ok(Self {
            relay,
            metrics,
            log,
            event_loop,
            plans: Plans::default(),
        })
    }

    pub(crate) fn admit(&self) -> Result<Ticket, Fault> {
        self.relay().admit()
    }

    pub(crate) fn submit<F>(&self, ticket: Ticket, job: F)
    where
        F: FnOnce(Rc<Core>) -> Job + Send + 'static,
    {
        self.relay().submit(ticket, job);
    }

    /// Blocks until the exchanges in flight have ended, or the drain time is over.
    pub(crate) fn stop(&self) {
        let thread = self.relay().close();
        if let Some(thread) = thread {
            // A panic there has been counted; there is nobody left to tell.
            let _ = thread.join();
        }
        self.log.flush();
    }

    fn relay(&self) -> MutexGuard<'_, Relay> {
        self.relay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the relay's thread one state in the interpreter for its life: without it each hold would make one and throw it away.
fn within_one_thread_state(relay: Whole) {
    Python::attach(|py| py.detach(relay));
}
