//! A store in memory that does what `lua/quota.lua` does, and fails as it is told.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use quota::{
    Account, Call, Claim, Closing, Hold, LeaseId, Lives, Operation, Reply, Store, StoreError,
    StoreErrorKind, Verdict, Version,
};
use tokio::time::{Instant, sleep};

/// How long the store takes to answer when it is well.
pub(crate) const LATENCY: Duration = Duration::from_millis(1);

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It says no, at once and for certain.
    Refuses(StoreErrorKind),
    /// The connection breaks before the call has arrived.
    CutBefore,
    /// The connection breaks after the call took effect.
    CutAfter,
    /// The call never arrives, and nobody says so.
    Lost,
    /// The call takes effect, and the answer never arrives.
    ReplyLost,
    /// The call takes effect so much later, and is answered then if somebody still waits.
    Slow(Duration),
}

/// Handles of one store.
#[derive(Clone, Default)]
pub(crate) struct ModelStore(Rc<Inner>);

struct Inner {
    lives: Lives,
    started_at: Instant,
    clock_ms: Cell<u64>,
    accounts: RefCell<HashMap<String, State>>,
    next: RefCell<VecDeque<Trouble>>,
    lasting: Cell<Option<Trouble>>,
    broken_part: Cell<Option<u64>>,
    parts: Cell<u64>,
    calls: RefCell<Vec<(&'static str, LeaseOrNone)>>,
    in_flight: Cell<usize>,
    most_in_flight: Cell<usize>,
}

type LeaseOrNone = Option<LeaseId>;

#[derive(Clone, Default)]
struct State {
    version: Option<Version>,
    counters: HashMap<String, u64>,
    open: HashMap<LeaseId, u64>,
    records: HashMap<LeaseId, Record>,
    notes: VecDeque<String>,
}

#[derive(Clone)]
struct Record {
    /// None: ended.
    taken: Option<Vec<u64>>,
    dies_at_ms: u64,
}

/// All accounts as they were once.
pub(crate) struct Snapshot(HashMap<String, State>);

impl Default for Inner {
    fn default() -> Self {
        Self {
            lives: Lives::of_lease(60_000),
            started_at: Instant::now(),
            // 23 November 2026, 12:00:30 UTC.
            clock_ms: Cell::new(1_795_435_230_000),
            accounts: RefCell::default(),
            next: RefCell::default(),
            lasting: Cell::new(None),
            broken_part: Cell::new(None),
            parts: Cell::new(1),
            calls: RefCell::default(),
            in_flight: Cell::new(0),
            most_in_flight: Cell::new(0),
        }
    }
}

impl ModelStore {
    pub(crate) fn now_ms(&self) -> u64 {
        let passed = self.0.started_at.elapsed().as_millis();
        self.0.clock_ms.get() + u64::try_from(passed).unwrap()
    }

    /// Sets the store's clock forward or back.
    pub(crate) fn jump(&self, by_ms: i64) {
        let clock_ms = self.0.clock_ms.get();
        self.0
            .clock_ms
            .set(clock_ms.checked_add_signed(by_ms).unwrap());
    }

    /// What goes wrong with the next calls, in this order.
    pub(crate) fn trouble(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.0.next.borrow_mut().extend(troubles);
    }

    /// What goes wrong with every call from now on.
    pub(crate) fn down(&self, trouble: Trouble) {
        self.0.lasting.set(Some(trouble));
    }

    /// The same for one of so many parts.
    pub(crate) fn part_down(&self, part: u64, of: u64, trouble: Trouble) {
        self.0.parts.set(of);
        self.0.broken_part.set(Some(part));
        self.0.lasting.set(Some(trouble));
    }

    pub(crate) fn up(&self) {
        self.0.next.borrow_mut().clear();
        self.0.lasting.set(None);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot(self.0.accounts.borrow().clone())
    }

    /// Comes back with older data.
    pub(crate) fn roll_back(&self, to: &Snapshot) {
        self.0.accounts.borrow_mut().clone_from(&to.0);
    }

    /// Every counter, by its name.
    pub(crate) fn counters(&self) -> HashMap<String, u64> {
        let accounts = self.0.accounts.borrow();
        let counters = accounts.values().flat_map(|state| state.counters.clone());
        counters.collect()
    }

    /// The sum of a user's counters whose name contains `part`.
    pub(crate) fn used(&self, user: &str, part: &str) -> u64 {
        let accounts = self.0.accounts.borrow();
        let state = accounts.get(Account::of(user).prefix());
        let counters = state.iter().flat_map(|state| &state.counters);
        counters
            .filter(|(key, _)| key.contains(part))
            .map(|(_, used)| used)
            .sum()
    }

    /// Leases in flight.
    pub(crate) fn flying(&self, user: &str) -> u64 {
        let accounts = self.0.accounts.borrow();
        let state = accounts.get(Account::of(user).prefix());
        state.map_or(0, |state| state.flying(self.now_ms()))
    }

    /// How often `operation` was asked for since this was asked last.
    pub(crate) fn calls(&self, operation: &str) -> usize {
        let calls = self.0.calls.borrow();
        calls.iter().filter(|(name, _)| *name == operation).count()
    }

    /// The leases that `operation` was asked for, in this order.
    pub(crate) fn asked(&self, operation: &str) -> Vec<String> {
        let calls = self.0.calls.borrow();
        let calls = calls.iter().filter(|(name, _)| *name == operation);
        calls
            .filter_map(|(_, lease)| Some(lease.as_ref()?.as_str().to_owned()))
            .collect()
    }

    pub(crate) fn forget_calls(&self) {
        self.0.calls.borrow_mut().clear();
    }

    /// The most calls that were under way at once.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.0.most_in_flight.replace(0)
    }

    /// Forgets the record of a lease, as a store short of memory does.
    pub(crate) fn evict(&self, user: &str, lease: &str) {
        let mut accounts = self.0.accounts.borrow_mut();
        let state = accounts.get_mut(Account::of(user).prefix()).unwrap();
        state.records.remove(&LeaseId::new(lease).unwrap()).unwrap();
    }

    fn next_trouble(&self, account: &Account) -> Option<Trouble> {
        let lasting = self.0.lasting.get().filter(|_| {
            let broken = self.0.broken_part.get();
            broken.is_none_or(|part| self.part(account) == part)
        });
        self.0.next.borrow_mut().pop_front().or(lasting)
    }

    fn apply(&self, call: &Call) -> Reply {
        let mut accounts = self.0.accounts.borrow_mut();
        let state = accounts
            .entry(call.account.prefix().to_owned())
            .or_default();
        state.apply(call, self.now_ms(), self.0.lives)
    }

    async fn run(&self, call: &Call, patience: Duration) -> Result<Reply, StoreError> {
        let unreachable = || StoreError::new(StoreErrorKind::Unreachable, "the connection broke");
        let timeout = || StoreError::new(StoreErrorKind::Timeout, "no answer in time");
        match self.next_trouble(&call.account) {
            None if patience <= LATENCY => {
                sleep(patience).await;
                self.apply(call);
                Err(timeout())
            }
            None => {
                sleep(LATENCY).await;
                Ok(self.apply(call))
            }
            Some(Trouble::Refuses(kind)) => {
                sleep(LATENCY.min(patience)).await;
                Err(StoreError::new(kind, "as the test says"))
            }
            Some(Trouble::CutBefore) => {
                sleep(LATENCY.min(patience)).await;
                Err(unreachable())
            }
            Some(Trouble::CutAfter) => {
                sleep(LATENCY.min(patience)).await;
                self.apply(call);
                Err(unreachable())
            }
            Some(Trouble::Lost) => {
                sleep(patience).await;
                Err(timeout())
            }
            Some(Trouble::ReplyLost) => {
                self.apply(call);
                sleep(patience).await;
                Err(timeout())
            }
            Some(Trouble::Slow(delay)) => {
                let (store, late) = (self.clone(), call.clone());
                let (sender, answer) = tokio::sync::oneshot::channel();
                tokio::task::spawn_local(async move {
                    sleep(delay).await;
                    let _ = sender.send(store.apply(&late));
                });
                let answer = tokio::time::timeout(patience, answer).await;
                answer.map_or_else(|_| Err(timeout()), |reply| Ok(reply.unwrap()))
            }
        }
    }
}

impl Store for ModelStore {
    async fn call(&self, call: &Call, patience: Duration) -> Result<Reply, StoreError> {
        assert!(!patience.is_zero(), "no call is made without time for it");
        self.0.calls.borrow_mut().push(named(&call.operation));
        let in_flight = &self.0.in_flight;
        in_flight.set(in_flight.get() + 1);
        let most = self.0.most_in_flight.get().max(in_flight.get());
        self.0.most_in_flight.set(most);
        let answer = self.run(call, patience).await;
        in_flight.set(in_flight.get() - 1);
        answer
    }

    async fn notes(
        &self,
        account: &Account,
        patience: Duration,
    ) -> Result<Vec<String>, StoreError> {
        if self.next_trouble(account).is_some() {
            sleep(patience).await;
            let cause = "no answer in time";
            return Err(StoreError::new(StoreErrorKind::Timeout, cause));
        }
        sleep(LATENCY).await;
        let accounts = self.0.accounts.borrow();
        let state = accounts.get(account.prefix());
        Ok(state.map_or_else(Vec::new, |state| state.notes.iter().cloned().collect()))
    }

    fn part(&self, account: &Account) -> u64 {
        let sum: u64 = account.prefix().bytes().map(u64::from).sum();
        sum % self.0.parts.get()
    }
}

impl State {
    fn flying(&self, now_ms: u64) -> u64 {
        let alive = self
            .open
            .values()
            .filter(|dies_at_ms| **dies_at_ms > now_ms);
        u64::try_from(alive.count()).unwrap()
    }

    fn apply(&mut self, call: &Call, now_ms: u64, lives: Lives) -> Reply {
        let operation = &call.operation;
        let before = self.version;
        let counters: Vec<(String, u64)> = match operation {
            Operation::Reserve { claims, .. } | Operation::Reopen { claims, .. } => claimed(claims),
            Operation::Restore { floors } => claimed(floors),
            Operation::Settle { closings, .. } => {
                let closing = |closing: &Closing| (closing.bucket.key.clone(), closing.used);
                closings.iter().map(closing).collect()
            }
            Operation::Read { buckets } => buckets
                .iter()
                .map(|bucket| (bucket.key.clone(), 0))
                .collect(),
            Operation::Set { bucket, used, .. } => vec![(bucket.key.clone(), *used)],
            Operation::Extend { .. } | Operation::Probe => Vec::new(),
        };
        let was: Vec<u64> = counters
            .iter()
            .map(|(key, _)| self.counters.get(key).copied().unwrap_or(0))
            .collect();
        let verdict = self.decide(call, now_ms, lives, &was);
        let wrote = verdict.1 && !matches!(operation, Operation::Probe);
        if wrote {
            let restores = matches!(operation, Operation::Restore { .. });
            let version = match before {
                Some(version)
                    if !(restores && call.seen.map(|seen| seen.epoch) == Some(version.epoch)) =>
                {
                    version
                }
                other => Version {
                    // Two in one millisecond are told apart, as microseconds tell them.
                    epoch: (now_ms * 1000).max(other.map_or(0, |version| version.epoch + 1)),
                    sequence: other.map_or(0, |version| version.sequence),
                },
            };
            self.version = Some(Version {
                sequence: version.sequence + 1,
                ..version
            });
        }
        let sets = matches!(operation, Operation::Set { .. });
        let used = counters.iter().zip(was).map(|((key, _), was)| {
            let is = self.counters.get(key).copied().unwrap_or(0);
            if sets { was } else { is }
        });
        Reply {
            verdict: verdict.0,
            now_ms,
            used: used.collect(),
            version: self.version,
            flying: self.flying(now_ms),
        }
    }

    /// The verdict, and whether anything was written.
    fn decide(&mut self, call: &Call, now_ms: u64, lives: Lives, was: &[u64]) -> (Verdict, bool) {
        let operation = &call.operation;
        if *operation == Operation::Probe {
            return (Verdict::Done, true);
        }
        self.records.retain(|_, record| record.dies_at_ms > now_ms);
        let record = named(operation)
            .1
            .and_then(|lease| self.records.get(&lease).cloned());
        let heals = matches!(
            operation,
            Operation::Restore { .. } | Operation::Reopen { .. }
        );
        if let Some(seen) = call.seen.filter(|_| !heals)
            && self
                .version
                .is_none_or(|now| now.epoch != seen.epoch || now.sequence < seen.sequence)
        {
            return (Verdict::Older, false);
        }
        let ended = record.as_ref().is_some_and(|record| record.taken.is_none());
        if ended && !heals || matches!(operation, Operation::Extend { .. }) && record.is_none() {
            return (Verdict::Ended, false);
        }
        let current = |starts_at_s: i64, resets_at_s: i64| {
            let now_s = i64::try_from(now_ms / 1000).unwrap();
            (starts_at_s..resets_at_s).contains(&now_s)
        };
        match operation {
            Operation::Reserve {
                lease,
                claims,
                hold,
                places,
            } => {
                if record.is_some() {
                    return (Verdict::Done, false);
                }
                if !claims
                    .iter()
                    .all(|claim| current(claim.bucket.starts_at_s, claim.bucket.resets_at_s))
                {
                    return (Verdict::Moved, false);
                }
                if places.is_some_and(|most| self.flying(now_ms) >= most) {
                    return (Verdict::Crowded, false);
                }
                let full = |(claim, was): (&Claim, &u64)| {
                    let limit = claim.bucket.window.limit;
                    claim.amount > 0 && limit.is_some_and(|limit| was + claim.amount > limit)
                };
                if let Some(index) = claims.iter().zip(was).position(full) {
                    return (Verdict::Full(index), false);
                }
                for (claim, was) in claims.iter().zip(was) {
                    self.counters
                        .insert(claim.bucket.key.clone(), was + claim.amount);
                }
                self.open_lease(lease, claims, *hold, now_ms, lives);
            }
            Operation::Reopen {
                lease,
                claims,
                hold,
            } => {
                if record.is_some() {
                    return (Verdict::Done, false);
                }
                self.open_lease(lease, claims, *hold, now_ms, lives);
            }
            Operation::Settle {
                lease,
                closings,
                sure,
            } => {
                for (index, (closing, was)) in closings.iter().zip(was).enumerate() {
                    let taken = match &record {
                        Some(record) => record.taken.as_ref().unwrap()[index],
                        None if *sure => closing.taken,
                        None => continue,
                    };
                    let now = (was + closing.used).saturating_sub(taken);
                    self.counters.insert(closing.bucket.key.clone(), now);
                }
                self.open.remove(lease);
                let dies_at_ms = now_ms + lives.record_ms;
                self.records.insert(
                    lease.clone(),
                    Record {
                        taken: None,
                        dies_at_ms,
                    },
                );
            }
            Operation::Extend { lease, hold } => {
                let record = self.records.get_mut(lease).unwrap();
                record.dies_at_ms = now_ms + life_ms(*hold, lives);
                if *hold == Hold::Open {
                    self.open.insert(lease.clone(), now_ms + lives.lease_ms);
                }
            }
            Operation::Read { buckets } => {
                let all = buckets
                    .iter()
                    .all(|bucket| current(bucket.starts_at_s, bucket.resets_at_s));
                return (if all { Verdict::Done } else { Verdict::Moved }, false);
            }
            Operation::Restore { floors } => {
                for (floor, was) in floors.iter().zip(was) {
                    self.counters
                        .insert(floor.bucket.key.clone(), floor.amount.max(*was));
                }
            }
            Operation::Set { bucket, used, note } => {
                if !current(bucket.starts_at_s, bucket.resets_at_s) {
                    return (Verdict::Moved, false);
                }
                self.counters.insert(bucket.key.clone(), *used);
                self.notes.push_front(note.clone());
            }
            Operation::Probe => {}
        }
        (Verdict::Done, true)
    }

    fn open_lease(
        &mut self,
        lease: &LeaseId,
        claims: &[Claim],
        hold: Hold,
        now_ms: u64,
        lives: Lives,
    ) {
        let record = Record {
            taken: Some(claims.iter().map(|claim| claim.amount).collect()),
            dies_at_ms: now_ms + life_ms(hold, lives),
        };
        self.records.insert(lease.clone(), record);
        if hold == Hold::Open {
            self.open.insert(lease.clone(), now_ms + lives.lease_ms);
        }
    }
}

fn life_ms(hold: Hold, lives: Lives) -> u64 {
    match hold {
        Hold::Open => lives.open_record_ms,
        Hold::Settled => lives.record_ms,
    }
}

fn claimed(claims: &[Claim]) -> Vec<(String, u64)> {
    claims
        .iter()
        .map(|claim| (claim.bucket.key.clone(), claim.amount))
        .collect()
}

fn named(operation: &Operation) -> (&'static str, LeaseOrNone) {
    match operation {
        Operation::Reserve { lease, .. } => ("reserve", Some(lease.clone())),
        Operation::Settle { lease, .. } => ("settle", Some(lease.clone())),
        Operation::Extend { lease, .. } => ("extend", Some(lease.clone())),
        Operation::Reopen { lease, .. } => ("reopen", Some(lease.clone())),
        Operation::Read { .. } => ("read", None),
        Operation::Restore { .. } => ("restore", None),
        Operation::Set { .. } => ("set", None),
        Operation::Probe => ("probe", None),
    }
}
