//! Which parts of the store are known to be down, so that nobody waits for them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::calendar::Account;
use crate::store::{StoreError, StoreErrorKind};

/// Failures in a row after which a part is taken to be down.
const PATIENT_FOR: u32 = 5;
/// How long after the failure the first probe goes out; each further one waits twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A part that is back is noticed within this, and readiness within five seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// One breaker for each part of a store.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    parts: RefCell<HashMap<u64, Breaker>>,
}

#[derive(Debug)]
enum Breaker {
    Closed { failures: u32 },
    Open(Outage),
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    failure: StoreError,
    /// Whose call failed first: what is probed.
    account: Account,
    pause: Duration,
    /// When to probe; none while a probe is under way.
    probe_at: Option<Instant>,
}

impl Breakers {
    /// Why nobody should ask that part; none if it may be asked.
    pub(super) fn failure(&self, part: u64) -> Option<StoreError> {
        match self.parts.borrow().get(&part) {
            Some(Breaker::Open(outage)) => Some(outage.failure.clone()),
            _ => None,
        }
    }

    /// Whether nobody should ask that part.
    pub(super) fn is_open(&self, part: u64) -> bool {
        matches!(self.parts.borrow().get(&part), Some(Breaker::Open(_)))
    }

    /// How long that part has been down.
    pub(super) fn down_for(&self, part: u64) -> Duration {
        match self.parts.borrow().get(&part) {
            Some(Breaker::Open(outage)) => outage.since.elapsed(),
            _ => Duration::ZERO,
        }
    }

    /// What has been down for longest, and how long.
    pub(super) fn worst(&self) -> Option<(StoreError, Duration)> {
        let parts = self.parts.borrow();
        let outages = parts.values().filter_map(Breaker::outage);
        outages
            .min_by_key(|outage| outage.since)
            .map(|outage| (outage.failure.clone(), outage.since.elapsed()))
    }

    /// Notes that a part took a change; says whether it had been down.
    pub(super) fn succeeded(&self, part: u64) -> bool {
        matches!(
            self.parts.borrow_mut().remove(&part),
            Some(Breaker::Open(_))
        )
    }

    /// Notes a failure; says whether the part is taken to be down from now on.
    pub(super) fn failed(&self, part: u64, account: &Account, failure: &StoreError) -> bool {
        if !counts(failure.kind) {
            return false;
        }
        let mut parts = self.parts.borrow_mut();
        let breaker = parts.entry(part).or_insert(Breaker::Closed { failures: 0 });
        match breaker {
            Breaker::Open(outage) => outage.failure = failure.clone(),
            Breaker::Closed { failures } => {
                *failures += 1;
                if *failures < PATIENT_FOR {
                    return false;
                }
                let now = Instant::now();
                *breaker = Breaker::Open(Outage {
                    since: now,
                    failure: failure.clone(),
                    account: account.clone(),
                    pause: FIRST_PAUSE,
                    probe_at: Some(now + FIRST_PAUSE),
                });
                return true;
            }
        }
        false
    }

    /// When the next probe is due.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        let parts = self.parts.borrow();
        let outages = parts.values().filter_map(Breaker::outage);
        outages.filter_map(|outage| outage.probe_at).min()
    }

    /// The parts to probe now, each with an account that lies on it. They are due again after [`Breakers::probed`].
    pub(super) fn due(&self) -> Vec<(u64, Account)> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (part, breaker) in &mut *self.parts.borrow_mut() {
            if let Breaker::Open(outage) = breaker
                && outage.probe_at.is_some_and(|at| at <= now)
            {
                outage.probe_at = None;
                due.push((*part, outage.account.clone()));
            }
        }
        due
    }

    /// Notes that a probe has failed.
    pub(super) fn probed(&self, part: u64) {
        if let Some(Breaker::Open(outage)) = self.parts.borrow_mut().get_mut(&part) {
            outage.pause = (outage.pause * 2).min(LONGEST_PAUSE);
            outage.probe_at = Some(Instant::now() + outage.pause);
        }
    }
}

impl Breaker {
    fn outage(&self) -> Option<&Outage> {
        match self {
            Self::Open(outage) => Some(outage),
            Self::Closed { .. } => None,
        }
    }
}

/// Whether a failure says that the store cannot be asked: not if this gateway asks too much, or it was overcome.
const fn counts(kind: StoreErrorKind) -> bool {
    !matches!(
        kind,
        StoreErrorKind::Crowded | StoreErrorKind::NoScript | StoreErrorKind::Moved
    )
}
