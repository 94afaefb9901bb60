//! Quota for the requests of one worker: reserved, settled or given back, once each, whatever becomes of the store.
//!
//! Lives on the relay's thread.

mod ask;
mod breaker;
mod clock;
mod count;
mod flight;
mod journal;
mod keeper;
mod lease;
mod memory;
mod records;
mod share;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use fault::Fault;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::calendar::{Account, Calendar};
use crate::store::{LeaseId, Operation, Store, StoreError, StoreErrorKind};
use crate::window::Window;

use ask::Healings;
use breaker::Breakers;
use clock::Clock;
use flight::{Flight, Flights, Stage};
use journal::Journal;
use memory::Memory;
use share::Shares;

/// How a ledger works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The IANA time zone in which days end.
    pub timezone: String,
    /// What all calls to the store may take together for one request.
    pub patience: Duration,
    /// How long a lease in flight lives without a sign of life.
    pub lease: Duration,
    /// The part of what is left of a window that this worker may give out while the store is down, 0 to 1.
    pub share: f64,
    /// How long it may do that.
    pub local_for: Duration,
    /// Where journals are kept, shared by the workers; none: in memory only.
    pub journal_folder: Option<PathBuf>,
}

/// What holds for a request while the store cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It takes from this worker's share of what was left.
    Local,
    /// It is refused.
    Closed,
    /// It is let in.
    Open,
}

/// What a request takes of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The window.
    pub window: Window,
    /// How much; for [`crate::Unit::Concurrent`] always one place.
    pub amount: u64,
}

/// What is asked for a request.
#[derive(Clone, Debug)]
pub struct Order {
    /// Who asks.
    pub user: String,
    /// The request's id.
    pub lease: LeaseId,
    /// What it takes: distinct windows.
    pub wants: Vec<Want>,
    /// What holds if the store fails.
    pub on_failure: OnFailure,
}

/// How much of one window is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The window, with its limit.
    pub window: Window,
    /// What was taken and not given back; may exceed the limit after a settlement.
    pub used: u64,
    /// When the window began, in Unix seconds; none for concurrent requests.
    pub starts_at_s: Option<i64>,
    /// When it begins anew.
    pub resets_at_s: Option<i64>,
}

/// Why a request may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A window has no room; nothing was taken.
    Full {
        /// Every window of the order, as it is.
        counts: Vec<Count>,
        /// The index of the first that is full.
        exhausted: usize,
    },
    /// The store cannot be asked, and the tier is closed then.
    Closed,
    /// The store cannot be asked, and this worker's share of the window of this index is used up.
    ShareUsed(usize),
    /// The store could not be asked for longer than [`Settings::local_for`].
    TooLong,
    /// What would have to be settled later can be kept neither on disk nor in memory.
    JournalFull,
}

/// How the store is.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The last failure, while it is down; none: it answers.
    pub failure: Option<StoreError>,
    /// How long it has been down.
    pub down_for: Duration,
    /// Whether tiers may still go on from the last known counts: see [`Settings::local_for`].
    pub local: bool,
    /// Settlements that wait for the store.
    pub waiting: usize,
    /// Whether the journal cannot be written.
    pub journal_failed: bool,
}

/// Who is told what happens.
pub trait Watcher {
    /// One call to the store took so many seconds, and failed or not.
    fn called(&self, seconds: f64, failure: Option<StoreErrorKind>);
    /// A store overcame a failure by itself (`NOSCRIPT`, `MOVED`).
    fn overcome(&self, kind: StoreErrorKind);
    /// An account's counts were seen.
    fn counted(&self, user: &str, counts: &[Count]);
    /// The store went down, or came back.
    fn changed(&self, state: &State);
    /// A request was let in without the store.
    fn granted_alone(&self, on_failure: OnFailure);
    /// An account was found to be older than it had been.
    fn older(&self, user: &str);
    /// So many settlements wait; `lost` of them could be kept nowhere.
    fn journal(&self, waiting: usize, lost: u64);
}

/// Accounts whose last counts are remembered, and as many again.
const REMEMBERED: usize = 20_000;
/// An answer this young says that the store is well without its being asked again.
const FRESH: Duration = Duration::from_secs(1);

/// The ledger of one worker, over its store.
pub struct Ledger<S> {
    store: S,
    settings: Settings,
    watcher: Rc<dyn Watcher>,
    calendar: Calendar,
    clock: Clock,
    memory: Memory,
    breakers: Breakers,
    shares: Shares,
    journal: Journal,
    flights: Flights,
    healings: Healings,
    /// Rings when a breaker opens.
    opened: Notify,
    /// Rings when something of the journal may be deliverable.
    due: Notify,
    /// When the store last took a change, and an account that lies on it.
    answered_at: Cell<Option<Instant>>,
    asked_for: RefCell<Option<Account>>,
    /// Down, local, journal failed; waiting, lost: as the watcher was told last.
    told: Cell<(bool, bool, bool)>,
    told_journal: Cell<(usize, u64)>,
}

/// What a request holds until it ends. Dropped, what was taken stands, and the place among concurrent requests is free.
#[must_use = "a lease ends by `settle` or `give_back`"]
pub struct Lease<S: Store + 'static> {
    ledger: Rc<Ledger<S>>,
    flight: Option<Rc<Flight>>,
    counts: Vec<Count>,
}

impl<S: Store + 'static> Ledger<S> {
    /// The ledger over `store`; reaches nobody yet.
    ///
    /// # Errors
    /// `config` for a time zone that is none.
    pub fn new(store: S, settings: Settings, watcher: Rc<dyn Watcher>) -> Result<Rc<Self>, Fault> {
        Ok(Rc::new(Self {
            store,
            watcher,
            calendar: Calendar::new(&settings.timezone)?,
            clock: Clock::new(),
            memory: Memory::new(REMEMBERED),
            breakers: Breakers::default(),
            shares: Shares::new(settings.share),
            journal: Journal::new(settings.journal_folder.clone()),
            settings,
            flights: Flights::default(),
            healings: Healings::default(),
            opened: Notify::new(),
            due: Notify::new(),
            answered_at: Cell::new(None),
            asked_for: RefCell::new(None),
            told: Cell::new((false, true, false)),
            told_journal: Cell::new((0, 0)),
        }))
    }

    /// Keeps leases alive, probes a store that is down, and settles what waits in the journal; never ends. One task of the
    /// relay's runtime.
    pub async fn run(self: Rc<Self>) {
        self.keep().await;
    }

    /// Takes everything an order wants, or nothing. Where no window has a limit, nobody waits for the store: the lease is
    /// there at once, without counts.
    ///
    /// # Cancel safety
    /// Dropped, nothing is taken in the end.
    ///
    /// # Errors
    /// Why the request may not go on.
    pub async fn reserve(self: &Rc<Self>, order: Order) -> Result<Lease<S>, Denied> {
        let flight = Flight::of(order, self.settings.patience);
        let mut counts = Vec::new();
        if flight.wants.is_empty() {
            flight.stage.set(Stage::Nowhere);
        } else if flight.wants.iter().all(|want| want.window.limit.is_none()) {
            self.note(&flight)?;
        } else {
            counts = self.take(&flight).await?;
        }
        Ok(Lease {
            ledger: Rc::clone(self),
            flight: Some(flight),
            counts,
        })
    }

    /// The state of a user's windows.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn counts(&self, user: &str, windows: &[Window]) -> Result<Vec<Count>, StoreError> {
        let account = Account::of(user);
        let mut buckets = Vec::new();
        let read = || {
            let now_ms = self.clock.now_ms();
            let bucket = |window: &Window| self.calendar.bucket(&account, *window, now_ms);
            buckets = windows.iter().filter_map(bucket).collect();
            Operation::Read {
                buckets: buckets.clone(),
            }
        };
        let reply = self.ask(user, &account, self.deadline(), read).await;
        let reply = reply.map_err(|failure| failure.error)?;
        let counts = count::counts(windows.iter().copied(), buckets.iter(), &reply);
        self.watcher.counted(user, &counts);
        Ok(counts)
    }

    /// Sets what is used of the current bucket of a window, which must have a period, and keeps `note` (one line of JSON) with it.
    /// Returns what was used before.
    ///
    /// # Errors
    /// If the store does not answer: it may or may not have taken effect.
    pub async fn set(
        &self,
        user: &str,
        window: Window,
        used: u64,
        note: String,
    ) -> Result<u64, StoreError> {
        let account = Account::of(user);
        let bucket_now = || self.calendar.bucket(&account, window, self.clock.now_ms());
        let Some(mut bucket) = bucket_now() else {
            let cause = "a window without a period counts nothing that could be set";
            return Err(StoreError::new(StoreErrorKind::Refused, cause));
        };
        let set = || {
            bucket = bucket_now().unwrap_or_else(|| bucket.clone());
            Operation::Set {
                bucket: bucket.clone(),
                used,
                note: note.clone(),
            }
        };
        let reply = self.ask(user, &account, self.deadline(), set).await;
        let reply = reply.map_err(|failure| failure.error)?;
        Ok(reply.used.first().copied().unwrap_or(0))
    }

    /// The last notes of [`Ledger::set`], the newest first.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn notes(&self, user: &str) -> Result<Vec<String>, StoreError> {
        let account = Account::of(user);
        if let Some(failure) = self.breakers.failure(self.store.part(&account)) {
            return Err(failure);
        }
        self.store.notes(&account, self.settings.patience).await
    }

    /// How the store is, asked now unless it is known to be down.
    pub async fn state(&self) -> State {
        let known = self.known_state();
        let fresh = self.answered_at.get().map(|at| at.elapsed() < FRESH);
        if known.failure.is_some() || fresh == Some(true) {
            return known;
        }
        let failure = self.probe_now().await.err();
        State {
            failure,
            ..self.known_state()
        }
    }

    /// Asks the store whether it would take a change, unless it is known to be down.
    async fn probe_now(&self) -> Result<(), StoreError> {
        let account = self.asked_for.borrow().clone();
        let account = account.unwrap_or_else(|| Account::of("nobody"));
        let probe = self.ask_once(&account, Operation::Probe, self.settings.patience);
        let answer = probe.await;
        answer.map(drop).map_err(|failure| failure.error)
    }

    /// The store's time, in Unix seconds, as far as it is known: what windows begin and end by.
    pub fn now_s(&self) -> i64 {
        self.clock.now_s()
    }

    fn known_state(&self) -> State {
        let (failure, down_for) = self.breakers.worst().unzip();
        let down_for = down_for.unwrap_or_default();
        State {
            failure,
            down_for,
            local: down_for <= self.settings.local_for,
            waiting: self.journal.waiting(),
            journal_failed: self.journal.failed(),
        }
    }

    /// Tells the watcher how the store is, if that is news.
    fn tell_state(&self) {
        let state = self.known_state();
        let news = (state.failure.is_some(), state.local, state.journal_failed);
        if self.told.replace(news) != news {
            self.watcher.changed(&state);
        }
    }

    /// Tells the watcher how the journal is, if that is news.
    fn tell_journal(&self) {
        let news = (self.journal.waiting(), self.journal.lost());
        if self.told_journal.replace(news) != news {
            self.watcher.journal(news.0, news.1);
        }
        self.tell_state();
    }

    fn is_down(&self, account: &Account) -> bool {
        self.breakers.is_open(self.store.part(account))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.settings.patience
    }
}
