//! The relay's own thread: one per worker, with a current-thread runtime and tasks that never leave it.
//!
//! It is born inside the worker process (threads do not survive a fork) and ends with it.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fault::{Fault, Kind};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::core::Core;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::record;
use crate::settings::Settings;
use crate::upstream::Upstream;

/// How long after a defect the ledger's own work is begun again.
const KEEPER_PAUSE: Duration = Duration::from_secs(1);

/// Work on the relay's thread.
pub type Job = LocalBoxFuture<'static, ()>;

/// All that the relay's thread does.
pub type Whole = Box<dyn FnOnce() + Send>;

type Start = Box<dyn FnOnce(Rc<Core>) -> Job + Send>;

/// A handle to the running relay; lives on the Python side.
#[derive(Debug)]
pub struct Relay {
    jobs: Option<mpsc::Sender<Start>>,
    thread: Option<JoinHandle<()>>,
    active: Arc<AtomicUsize>,
    limit: usize,
}

impl Relay {
    /// Starts the thread and prepares everything `settings` names. `within` gets what the thread does, and does it.
    ///
    /// # Errors
    /// `config` for settings that cannot be used, `internal` if no thread can be had.
    pub fn start<W>(
        settings: Settings,
        metrics: Arc<Metrics>,
        log: Log,
        drain: Duration,
        within: W,
    ) -> Result<Self, Fault>
    where
        W: FnOnce(Whole) + Send + 'static,
    {
        let limit = settings.limits.exchanges;
        let (jobs, queue) = mpsc::channel(limit);
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("gateway-relay".into())
            .spawn(move || {
                within(Box::new(move || {
                    main(&settings, metrics, &log, queue, drain, &ready);
                }));
            })
            .map_err(|error| Fault::new(Kind::Internal, format!("relay thread: {error}")))?;
        started
            .recv()
            .unwrap_or_else(|_| Err(Fault::new(Kind::Internal, "the relay did not start")))?;
        let active = Arc::new(AtomicUsize::new(0));
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            active,
            limit,
        })
    }

    /// A place for one more job.
    ///
    /// # Errors
    /// `overloaded` if as many jobs as the limit allows are in flight, or the relay is stopping.
    pub fn admit(&self) -> Result<Ticket, Fault> {
        if self.jobs.is_none() {
            return Err(overloaded());
        }
        Ticket::take(&self.active, self.limit)
    }

    /// Runs a job on the relay's thread.
    pub fn submit<F>(&self, ticket: Ticket, job: F)
    where
        F: FnOnce(Rc<Core>) -> Job + Send + 'static,
    {
        let start: Start = Box::new(move |core| {
            let work = job(core);
            Box::pin(async move {
                work.await;
                drop(ticket);
            })
        });
        if let Some(jobs) = &self.jobs {
            // The queue has a place for every ticket: only a relay that stops at this moment drops the job, and
            // dropping it tells everyone who waits.
            let _ = jobs.try_send(start);
        }
    }

    /// Takes no more jobs and hands out the thread, which ends when those in flight have, or the drain time is over.
    pub fn close(&mut self) -> Option<JoinHandle<()>> {
        self.jobs = None;
        self.thread.take()
    }
}

/// The right to one job; gives its place back when dropped.
#[derive(Debug)]
pub struct Ticket(Arc<AtomicUsize>);

impl Ticket {
    fn take(active: &Arc<AtomicUsize>, limit: usize) -> Result<Self, Fault> {
        if active.fetch_add(1, Ordering::Relaxed) >= limit {
            active.fetch_sub(1, Ordering::Relaxed);
            return Err(overloaded());
        }
        Ok(Self(Arc::clone(active)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn overloaded() -> Fault {
    Fault::new(
        Kind::Overloaded,
        "the gateway is at its limit of requests in flight; try again shortly",
    )
    .retry_after(2)
}

/// Asks a backend what it speaks before the first request has to wait for it, and says what was found.
async fn ask(name: String, upstream: Rc<Upstream>, log: Log) {
    log.line(match upstream.spoken().await {
        Ok(spoken) => event("info", &name, ("speaks", &spoken.to_string())),
        Err(failure) => {
            let cause = failure.cause.unwrap_or(failure.fault.message);
            event("warning", &name, ("problem", &cause))
        }
    });
}

fn event(level: &str, upstream: &str, (key, value): (&str, &str)) -> String {
    let ts = record::timestamp();
    let line = serde_json::json!({
        "ts": ts, "level": level, "event": "upstream_asked", "upstream": upstream, key: value,
    });
    line.to_string()
}

/// Keeps the ledger going: without it leases would run out under requests in flight, and nothing would come back to the store.
async fn keep(core: Rc<Core>) {
    let (ledger, metrics) = (Rc::clone(core.ledger()), Arc::clone(&core.metrics));
    drop(core);
    while AssertUnwindSafe(Rc::clone(&ledger).run())
        .catch_unwind()
        .await
        .is_err()
    {
        metrics.panic();
        tokio::time::sleep(KEEPER_PAUSE).await;
    }
}

fn main(
    settings: &Settings,
    metrics: Arc<Metrics>,
    log: &Log,
    mut queue: mpsc::Receiver<Start>,
    drain: Duration,
    ready: &std::sync::mpsc::SyncSender<Result<(), Fault>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(Fault::new(Kind::Internal, format!("runtime: {error}"))));
            return;
        }
    };
    let local = LocalSet::new();
    runtime.block_on(async {
        // Inside the runtime, since clients and stores bind to it when they are made.
        let core = match Core::new(settings, metrics, log.clone()) {
            Ok(core) => Rc::new(core),
            Err(fault) => {
                let _ = ready.send(Err(fault));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        let (busy, mut idle) = mpsc::channel::<()>(1);
        let end = local
            .run_until(async {
                let keeping = tokio::task::spawn_local(keep(Rc::clone(&core)));
                for (name, upstream) in core.unknown_upstreams() {
                    tokio::task::spawn_local(ask(name, upstream, log.clone()));
                }
                while let Some(job) = queue.recv().await {
                    let (job, busy) = (job(Rc::clone(&core)), busy.clone());
                    tokio::task::spawn_local(async move {
                        job.await;
                        drop(busy);
                    });
                }
                let end = Instant::now() + drain;
                drop(busy);
                // Until the last exchange has ended its lease is to live on, and what waits for the store may still go.
                let _ = tokio::time::timeout_at(end, idle.recv()).await;
                keeping.abort();
                end
            })
            .await;
        // The last to let go of it closes the idle connections, whose tasks would otherwise be waited for too.
        drop(core);
        let _ = tokio::time::timeout_at(end, local).await;
    });
}
