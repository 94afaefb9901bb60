//! What a worker knows of its leases while their requests last.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::calendar::Account;
use crate::store::{Claim, Closing, Hold, LeaseId, Operation};

use super::journal::Settlement;
use super::{Count, OnFailure, Order, Want, count};

/// One lease.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) user: String,
    pub(super) account: Account,
    pub(super) lease: LeaseId,
    pub(super) wants: Vec<Want>,
    pub(super) on_failure: OnFailure,
    pub(super) hold: Hold,
    /// What was taken, or would have been.
    pub(super) claims: RefCell<Vec<Claim>>,
    pub(super) stage: Cell<Stage>,
    /// What is left of the request's patience with the store.
    pub(super) patience: Cell<Duration>,
    /// When the store last heard that it lives.
    pub(super) heard_at: Cell<Instant>,
    /// The counts after it was taken.
    pub(super) counts: RefCell<Vec<Count>>,
    /// What it used, if it ended before it was known whether it had been taken.
    pub(super) ended: RefCell<Option<Vec<u64>>>,
}

/// Where a lease is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody knows yet.
    Asked,
    /// In the store.
    Taken,
    /// By this worker, which was let go on without the store.
    Alone,
    /// Nowhere: there is nothing to count.
    Nowhere,
}

/// The leases of one worker, by account.
#[derive(Debug, Default)]
pub(super) struct Flights {
    accounts: RefCell<HashMap<Account, Vec<Rc<Flight>>>>,
}

impl Flight {
    /// What an order is about to take.
    pub(super) fn of(order: Order, patience: Duration) -> Rc<Self> {
        Rc::new(Self {
            account: Account::of(&order.user),
            user: order.user,
            lease: order.lease,
            hold: count::hold(&order.wants),
            wants: order.wants,
            on_failure: order.on_failure,
            claims: RefCell::default(),
            stage: Cell::new(Stage::Asked),
            patience: Cell::new(patience),
            heard_at: Cell::new(Instant::now()),
            counts: RefCell::default(),
            ended: RefCell::default(),
        })
    }

    /// What every window of the order was to take.
    pub(super) fn amounts(&self) -> Vec<u64> {
        self.wants.iter().map(|want| want.amount).collect()
    }

    /// Whether `used`, one amount for each want, needs no word to the store.
    pub(super) fn is_settled(&self, used: &[u64]) -> bool {
        self.hold == Hold::Settled
            && count::of_claims(&self.wants, used) == count::of_claims(&self.wants, &self.amounts())
    }

    /// Writes its record again in a store that has lost it.
    pub(super) fn reopen(&self) -> Operation {
        Operation::Reopen {
            lease: self.lease.clone(),
            claims: self.claims.borrow().clone(),
            hold: self.hold,
        }
    }

    /// How much it claims of a counter.
    pub(super) fn claimed(&self, key: &str) -> u64 {
        let claims = self.claims.borrow();
        let mut claims = claims.iter();
        claims
            .find(|claim| claim.bucket.key == key)
            .map_or(0, |claim| claim.amount)
    }

    /// What became of the claims if `used`, one amount for each want, was used.
    pub(super) fn closings(&self, used: &[u64]) -> Vec<Closing> {
        let used = count::of_claims(&self.wants, used);
        let alone = self.stage.get() == Stage::Alone;
        let claims = self.claims.borrow();
        let closing = |(claim, used): (&Claim, u64)| Closing {
            bucket: claim.bucket.clone(),
            taken: if alone { 0 } else { claim.amount },
            used,
        };
        claims.iter().zip(used).map(closing).collect()
    }

    /// How it ended, for the journal.
    pub(super) fn settlement(&self, used: &[u64], tried_at_ms: Option<u64>) -> Settlement {
        Settlement {
            user: self.user.clone(),
            account: self.account.clone(),
            lease: self.lease.clone(),
            closings: self.closings(used),
            tried_at_ms,
        }
    }

    /// That nothing was used of what may have been taken.
    pub(super) fn nothing(&self) -> Settlement {
        let mut settlement = self.settlement(&vec![0; self.wants.len()], None);
        for closing in &mut settlement.closings {
            closing.taken = 0;
        }
        settlement
    }
}

impl Flights {
    /// Adds a lease.
    pub(super) fn add(&self, flight: &Rc<Flight>) {
        let mut accounts = self.accounts.borrow_mut();
        let flights = accounts.entry(flight.account.clone()).or_default();
        flights.push(Rc::clone(flight));
    }

    /// Removes a lease.
    pub(super) fn remove(&self, flight: &Rc<Flight>) {
        let mut accounts = self.accounts.borrow_mut();
        let Some(flights) = accounts.get_mut(&flight.account) else {
            return;
        };
        if let Some(place) = flights.iter().position(|other| Rc::ptr_eq(other, flight)) {
            flights.swap_remove(place);
        }
        if flights.is_empty() {
            accounts.remove(&flight.account);
        }
    }

    /// The leases of an account.
    pub(super) fn of(&self, account: &Account) -> Vec<Rc<Flight>> {
        let accounts = self.accounts.borrow();
        accounts.get(account).cloned().unwrap_or_default()
    }

    /// The leases that the store should hear of, not having done so for `open` or, if there is nothing to settle, `settled`.
    pub(super) fn silent(&self, open: Duration, settled: Duration) -> Vec<Rc<Flight>> {
        let silent = |flight: &&Rc<Flight>| {
            let pause = match flight.hold {
                Hold::Open => open,
                Hold::Settled => settled,
            };
            flight.stage.get() == Stage::Taken && flight.heard_at.get().elapsed() >= pause
        };
        let accounts = self.accounts.borrow();
        accounts
            .values()
            .flatten()
            .filter(silent)
            .cloned()
            .collect()
    }
}
