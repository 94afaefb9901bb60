//! What waits, in the order in which it is delivered: by account, the oldest first.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::calendar::Account;
use crate::store::LeaseId;

use super::line::{Line, Written};
use super::{Settlement, Sheet};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(240);

/// One settlement, and where it is written.
pub(super) struct Entry {
    settlement: Settlement,
    in_flight: bool,
    /// The file that has its first line.
    pub(super) home: Option<Rc<Sheet>>,
    /// Whether that file has everything.
    pub(super) written: bool,
}

/// All settlements of a journal.
#[derive(Default)]
pub(super) struct Entries {
    by_lease: HashMap<LeaseId, Entry>,
    queues: HashMap<Account, Queue>,
    /// Accounts whose turn comes.
    ready: VecDeque<Account>,
    /// Accounts that could not be asked for.
    parked: Vec<Account>,
    /// Accounts whose last delivery failed.
    paused: Vec<(Instant, Account)>,
    waiting: usize,
}

/// Of one account, which is in exactly one of the lists above or being delivered.
#[derive(Default)]
struct Queue {
    leases: VecDeque<LeaseId>,
    pause: Option<Duration>,
}

impl Entry {
    /// Of a request that goes on.
    pub(super) fn in_flight(settlement: Settlement, home: Option<Rc<Sheet>>) -> Self {
        Self {
            written: home.is_some(),
            settlement,
            in_flight: true,
            home,
        }
    }

    /// Of one that has ended.
    pub(super) fn waiting(settlement: Settlement, home: Option<Rc<Sheet>>) -> Self {
        Self {
            in_flight: false,
            ..Self::in_flight(settlement, home)
        }
    }

    /// Tells its file that nothing waits for it there. Not when it is dropped: what still waits then, waits in the file.
    pub(super) fn release(self) {
        if let Some(home) = self.home {
            home.release();
        }
    }

    /// All there is to say of it.
    pub(super) fn line(&self) -> Line {
        let written = Written::from(&self.settlement);
        if self.in_flight {
            Line::Let(written)
        } else {
            Line::Settle(written)
        }
    }
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.by_lease.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn waits(&self, account: &Account) -> bool {
        self.queues.contains_key(account)
    }

    pub(super) fn get_mut(&mut self, lease: &LeaseId) -> Option<&mut Entry> {
        self.by_lease.get_mut(lease)
    }

    /// The entries that no file has in full.
    pub(super) fn unwritten(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.by_lease.values_mut().filter(|entry| !entry.written)
    }

    /// Adds an entry, unless there is one of its lease.
    pub(super) fn insert(&mut self, entry: Entry) {
        let lease = entry.settlement.lease.clone();
        if self.by_lease.contains_key(&lease) {
            entry.release();
            return;
        }
        let waits = (!entry.in_flight).then(|| entry.settlement.account.clone());
        self.by_lease.insert(lease.clone(), entry);
        if let Some(account) = waits {
            self.enqueue(account, lease);
        }
    }

    /// Ends a request that was in flight.
    pub(super) fn end(&mut self, lease: &LeaseId, used: &[u64]) {
        let Some(entry) = self.by_lease.get_mut(lease) else {
            return;
        };
        entry.settlement.use_only(used);
        if std::mem::take(&mut entry.in_flight) {
            let account = entry.settlement.account.clone();
            self.enqueue(account, lease.clone());
        }
    }

    fn enqueue(&mut self, account: Account, lease: LeaseId) {
        self.waiting += 1;
        if let Some(queue) = self.queues.get_mut(&account) {
            queue.leases.push_back(lease);
            return;
        }
        self.ready.push_back(account.clone());
        let queue = Queue {
            leases: VecDeque::from([lease]),
            pause: None,
        };
        self.queues.insert(account, queue);
    }

    /// The oldest of the account whose turn it is; none other of it follows until this is removed or put back.
    pub(super) fn next(&mut self, may_ask: impl Fn(&Account) -> bool) -> Option<Settlement> {
        while let Some(account) = self.ready.pop_front() {
            if !may_ask(&account) {
                self.parked.push(account);
                continue;
            }
            let lease = self.queues.get(&account)?.leases.front()?;
            return Some(self.by_lease.get(lease)?.settlement.clone());
        }
        None
    }

    /// Removes the one that [`Entries::next`] gave, and makes its account ready for its next.
    pub(super) fn remove(&mut self, lease: &LeaseId) -> Option<Entry> {
        let entry = self.by_lease.remove(lease)?;
        let account = &entry.settlement.account;
        if let Some(queue) = self.queues.get_mut(account)
            && queue.leases.front() == Some(lease)
        {
            queue.leases.pop_front();
            queue.pause = None;
            self.waiting -= 1;
            if queue.leases.is_empty() {
                self.queues.remove(account);
            } else {
                self.ready.push_back(account.clone());
            }
        }
        Some(entry)
    }

    /// Puts the one back that [`Entries::next`] gave; its account pauses, each time for longer.
    pub(super) fn put_back(&mut self, lease: &LeaseId, tried_at_ms: Option<u64>) {
        let Some(entry) = self.by_lease.get_mut(lease) else {
            return;
        };
        let tried_at_ms = entry.settlement.tried_at_ms.or(tried_at_ms);
        entry.settlement.tried_at_ms = tried_at_ms;
        let account = entry.settlement.account.clone();
        if let Some(queue) = self.queues.get_mut(&account) {
            let pause = queue.pause.unwrap_or(FIRST_PAUSE);
            queue.pause = Some((pause * 2).min(LONGEST_PAUSE));
            self.paused.push((Instant::now() + pause, account));
        }
    }

    pub(super) fn unpark(&mut self) {
        self.ready.extend(self.parked.drain(..));
    }

    pub(super) fn resume(&mut self) {
        let now = Instant::now();
        let due = self.paused.extract_if(.., |(at, _)| *at <= now);
        self.ready.extend(due.map(|(_, account)| account));
    }
}
