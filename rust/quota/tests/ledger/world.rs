//! One worker: its ledger over a store, and what its watcher was told.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use quota::{
    Count, Denied, Lease, LeaseId, Ledger, OnFailure, Order, Period, Settings, State,
    StoreErrorKind, Unit, Want, Watcher, Window,
};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, sleep};

use crate::model_store::ModelStore;

pub(crate) const PATIENCE: Duration = Duration::from_millis(250);
pub(crate) const LEASE: Duration = Duration::from_secs(60);
pub(crate) const LOCAL_FOR: Duration = Duration::from_secs(600);

/// What a watcher was told.
#[derive(Default)]
pub(crate) struct Watched {
    pub(crate) called: Cell<usize>,
    pub(crate) failed: RefCell<Vec<StoreErrorKind>>,
    pub(crate) changed: RefCell<Vec<State>>,
    pub(crate) alone: RefCell<Vec<OnFailure>>,
    pub(crate) older: RefCell<Vec<String>>,
    pub(crate) waiting: Cell<usize>,
    pub(crate) lost: Cell<u64>,
    pub(crate) counted: Cell<usize>,
}

impl Watcher for Watched {
    fn called(&self, seconds: f64, failure: Option<StoreErrorKind>) {
        assert!(seconds >= 0.0);
        self.called.set(self.called.get() + 1);
        self.failed.borrow_mut().extend(failure);
    }
    fn overcome(&self, _: StoreErrorKind) {}
    fn counted(&self, _: &str, _: &[Count]) {
        self.counted.set(self.counted.get() + 1);
    }
    fn changed(&self, state: &State) {
        self.changed.borrow_mut().push(state.clone());
    }
    fn granted_alone(&self, on_failure: OnFailure) {
        self.alone.borrow_mut().push(on_failure);
    }
    fn older(&self, user: &str) {
        self.older.borrow_mut().push(user.to_owned());
    }
    fn journal(&self, waiting: usize, lost: u64) {
        assert_ne!(
            (waiting, lost),
            (self.waiting.get(), self.lost.get()),
            "told twice"
        );
        self.waiting.set(waiting);
        self.lost.set(lost);
    }
}

/// One worker.
pub(crate) struct Worker {
    pub(crate) ledger: Rc<Ledger<ModelStore>>,
    pub(crate) watched: Rc<Watched>,
    keeper: JoinHandle<()>,
}

impl Worker {
    pub(crate) fn of(store: &ModelStore) -> Self {
        Self::with(store, settings(None))
    }

    /// One that knows the store's time already, and has been told nothing else.
    pub(crate) async fn awake(store: &ModelStore) -> Self {
        let worker = Self::of(store);
        assert_eq!(worker.ledger.state().await.failure, None);
        worker.watched.called.set(0);
        store.forget_calls();
        worker
    }

    pub(crate) fn with(store: &ModelStore, settings: Settings) -> Self {
        let watched = Rc::new(Watched::default());
        let ledger = Ledger::new(
            store.clone(),
            settings,
            Rc::clone(&watched) as Rc<dyn Watcher>,
        );
        let ledger = ledger.unwrap();
        let keeper = tokio::task::spawn_local(Rc::clone(&ledger).run());
        Self {
            ledger,
            watched,
            keeper,
        }
    }

    pub(crate) async fn reserve(&self, order: Order) -> Result<Lease<ModelStore>, Denied> {
        self.ledger.reserve(order).await
    }

    /// Stops as a worker does whose drain is over: no more calls, and what is still there is dropped.
    pub(crate) async fn stop(mut self) {
        self.keeper.abort();
        let _ = (&mut self.keeper).await;
    }

    /// Until nothing waits in the journal.
    pub(crate) async fn settled(&self) {
        until(|| self.watched.waiting.get() == 0).await;
    }

    /// Fails until nobody waits for the store any more.
    pub(crate) async fn open_breaker(&self) {
        for number in 0..5 {
            let order = order(
                "breaker",
                &format!("breaker-{number}"),
                &[want(REQUESTS, 1)],
            );
            let refused = self.reserve(closed(order)).await;
            assert!(matches!(refused, Err(Denied::Closed)));
        }
        assert!(self.ledger.state().await.failure.is_some());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Runs a test on one thread, as the relay does.
pub(crate) async fn on_one_thread(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

/// Until `holds`, within a minute of time that passes at once.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(
            Instant::now() < until,
            "it did not come to hold within a minute"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

pub(crate) fn settings(journal_folder: Option<&Path>) -> Settings {
    Settings {
        timezone: "UTC".to_owned(),
        patience: PATIENCE,
        lease: LEASE,
        share: 0.5,
        local_for: LOCAL_FOR,
        journal_folder: journal_folder.map(PathBuf::from),
    }
}

pub(crate) const fn window(unit: Unit, period: Option<Period>, limit: Option<u64>) -> Window {
    Window {
        unit,
        period,
        limit,
    }
}

pub(crate) const REQUESTS: Window = window(Unit::Requests, Some(Period::Day), Some(10));
pub(crate) const TOKENS: Window = window(Unit::Tokens, Some(Period::Month), Some(1_000));
pub(crate) const PLACES: Window = window(Unit::Concurrent, None, Some(2));

pub(crate) fn want(window: Window, amount: u64) -> Want {
    Want { window, amount }
}

pub(crate) fn order(user: &str, lease: &str, wants: &[Want]) -> Order {
    Order {
        user: user.to_owned(),
        lease: LeaseId::new(lease).unwrap(),
        wants: wants.to_vec(),
        on_failure: OnFailure::Local,
    }
}

pub(crate) fn closed(order: Order) -> Order {
    Order {
        on_failure: OnFailure::Closed,
        ..order
    }
}

pub(crate) fn open(order: Order) -> Order {
    Order {
        on_failure: OnFailure::Open,
        ..order
    }
}

/// The error of a reservation that must have one.
pub(crate) fn denied(answer: Result<Lease<ModelStore>, Denied>) -> Denied {
    match answer {
        Ok(_) => panic!("it was let in"),
        Err(denied) => denied,
    }
}
