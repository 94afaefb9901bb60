//! The life of a lease: taken, let in alone, ended.

use std::rc::Rc;

use tokio::time::Instant;

use crate::store::{Operation, Reply, Store, Verdict};

use super::ask::Failure;
use super::flight::{Flight, Stage};
use super::{Count, Denied, Lease, Ledger, OnFailure, count};

/// A reservation under way. Dropped, it is given back: it may have happened, or happen yet.
struct Attempt<'a, S: Store + 'static> {
    ledger: &'a Ledger<S>,
    flight: &'a Rc<Flight>,
    over: bool,
}

/// The end of a lease under way. Dropped, it goes into the journal.
struct Ending<'a, S: Store + 'static> {
    ledger: &'a Ledger<S>,
    flight: Rc<Flight>,
    used: Vec<u64>,
    tried_at_ms: Option<u64>,
    over: bool,
}

/// The reservation of a request that did not wait for it. Dropped, the request goes on alone.
struct Noting<S: Store + 'static> {
    ledger: Rc<Ledger<S>>,
    flight: Rc<Flight>,
}

impl<S: Store + 'static> Ledger<S> {
    /// Takes what a flight wants before its request goes on.
    pub(super) async fn take(&self, flight: &Rc<Flight>) -> Result<Vec<Count>, Denied> {
        let mut attempt = Attempt {
            ledger: self,
            flight,
            over: false,
        };
        let answer = self.ask_to_reserve(flight).await;
        attempt.over = true;
        let reply = match answer {
            Ok(reply) => reply,
            Err(failure) => {
                self.let_in(flight, &failure)?;
                return Ok(Vec::new());
            }
        };
        let counts = self.counts_of(flight, &reply);
        let exhausted = match reply.verdict {
            Verdict::Full(claim) => Some(count::want_of(&flight.wants, claim)),
            Verdict::Crowded => count::place(&flight.wants),
            _ => None,
        };
        if let Some(exhausted) = exhausted {
            return Err(Denied::Full { counts, exhausted });
        }
        if reply.verdict != Verdict::Done {
            // Somebody else's request has ended under this id: it cannot be counted apart from that one.
            return Err(Denied::Closed);
        }
        self.begin(flight, Stage::Taken);
        Ok(counts)
    }

    /// Takes what a flight wants while its request goes on already.
    ///
    /// # Errors
    /// If the store is known to be down, and what the request uses can be kept nowhere.
    pub(super) fn note(self: &Rc<Self>, flight: &Rc<Flight>) -> Result<(), Denied> {
        *flight.claims.borrow_mut() = self.claims(&flight.account, &flight.wants);
        if self.breakers.is_open(self.store.part(&flight.account)) {
            return self.keep_alone(flight, OnFailure::Open);
        }
        let noting = Noting {
            ledger: Rc::clone(self),
            flight: Rc::clone(flight),
        };
        tokio::task::spawn_local(noting.run());
        Ok(())
    }

    async fn ask_to_reserve(&self, flight: &Rc<Flight>) -> Result<Reply, Failure> {
        let asked_at = Instant::now();
        let deadline = asked_at + flight.patience.get();
        let reserve = || {
            let claims = self.claims(&flight.account, &flight.wants);
            flight.claims.borrow_mut().clone_from(&claims);
            Operation::Reserve {
                lease: flight.lease.clone(),
                claims,
                hold: flight.hold,
                places: count::places(&flight.wants),
            }
        };
        let answer = self
            .ask(&flight.user, &flight.account, deadline, reserve)
            .await;
        let patience = flight.patience.get();
        flight
            .patience
            .set(patience.saturating_sub(asked_at.elapsed()));
        answer
    }

    /// Lets a request in without the store, if its tier and this worker's share allow it.
    fn let_in(&self, flight: &Rc<Flight>, failure: &Failure) -> Result<(), Denied> {
        if flight.claims.borrow().is_empty() {
            *flight.claims.borrow_mut() = self.claims(&flight.account, &flight.wants);
        }
        let allowed = match flight.on_failure {
            OnFailure::Closed => Err(Denied::Closed),
            OnFailure::Open => self.keep_alone(flight, OnFailure::Open),
            OnFailure::Local => self.let_in_locally(flight),
        };
        if allowed.is_err() && failure.uncertain {
            self.give_back_later(flight);
        }
        allowed
    }

    fn let_in_locally(&self, flight: &Rc<Flight>) -> Result<(), Denied> {
        let account = &flight.account;
        if self.breakers.down_for(self.store.part(account)) > self.settings.local_for {
            return Err(Denied::TooLong);
        }
        let others = self.flights.of(account);
        if let Some(index) = count::place(&flight.wants)
            && let Some(places) = flight.wants[index].window.limit
        {
            let placed = |other: &&Rc<Flight>| count::place(&other.wants).is_some();
            let taken = others.iter().filter(placed).count();
            if u64::try_from(taken).unwrap_or(u64::MAX) >= self.shares.of(places) {
                return Err(Denied::ShareUsed(index));
            }
        }
        let before = |key: &str| {
            let alone = others
                .iter()
                .filter(|other| other.stage.get() == Stage::Alone);
            let given_out = alone.map(|other| other.claimed(key)).sum();
            (self.memory.used(account, key).unwrap_or(0), given_out)
        };
        let claims = flight.claims.borrow().clone();
        self.shares
            .take(account, &claims, before)
            .map_err(|claim| Denied::ShareUsed(count::want_of(&flight.wants, claim)))?;
        let kept = self.keep_alone(flight, OnFailure::Local);
        if kept.is_err() {
            for claim in &claims {
                self.shares
                    .correct(account, &claim.bucket.key, claim.amount, 0);
            }
        }
        kept
    }

    /// Writes down that a request goes on without the store, before it does.
    fn keep_alone(&self, flight: &Rc<Flight>, on_failure: OnFailure) -> Result<(), Denied> {
        let stage = flight.stage.replace(Stage::Alone);
        let kept = self
            .journal
            .let_in(flight.settlement(&flight.amounts(), None));
        self.tell_journal();
        if kept.is_err() {
            flight.stage.set(stage);
            return Err(Denied::JournalFull);
        }
        self.begin(flight, Stage::Alone);
        self.watcher.granted_alone(on_failure);
        Ok(())
    }

    fn begin(&self, flight: &Rc<Flight>, stage: Stage) {
        flight.stage.set(stage);
        flight.heard_at.set(Instant::now());
        self.flights.add(flight);
    }

    fn give_back_later(&self, flight: &Flight) {
        self.journal.push(flight.nothing());
        self.tell_journal();
        self.due.notify_one();
    }

    /// Ends a lease without waiting for the store.
    fn end_later(&self, flight: &Rc<Flight>, used: Vec<u64>, tried_at_ms: Option<u64>) {
        match flight.stage.get() {
            Stage::Asked => {
                *flight.ended.borrow_mut() = Some(used);
                return;
            }
            Stage::Taken => {
                if !flight.is_settled(&used) {
                    self.journal.push(flight.settlement(&used, tried_at_ms));
                }
            }
            Stage::Alone => {
                let used = count::of_claims(&flight.wants, &used);
                for (claim, used) in flight.claims.borrow().iter().zip(&used) {
                    let key = &claim.bucket.key;
                    self.shares
                        .correct(&flight.account, key, claim.amount, *used);
                }
                self.journal.end(&flight.lease, &used);
            }
            Stage::Nowhere => {}
        }
        self.flights.remove(flight);
        self.tell_journal();
        self.due.notify_one();
    }

    fn counts_of(&self, flight: &Flight, reply: &Reply) -> Vec<Count> {
        let windows = flight.wants.iter().map(|want| want.window);
        let claims = flight.claims.borrow();
        let buckets = claims.iter().map(|claim| &claim.bucket);
        let counts = count::counts(windows, buckets, reply);
        self.watcher.counted(&flight.user, &counts);
        counts
    }
}

impl<S: Store + 'static> Lease<S> {
    /// The windows of the order after it was reserved, in its order; empty where nobody waited for the store, or could ask it.
    pub fn counts(&self) -> &[Count] {
        &self.counts
    }

    /// Corrects what was taken to `used`, one amount for each want; the counts then, empty where the store could not be asked (it
    /// is settled later).
    ///
    /// # Cancel safety
    /// Dropped, it is settled later.
    pub async fn settle(mut self, used: &[u64]) -> Vec<Count> {
        let Some(flight) = self.flight.take() else {
            return Vec::new();
        };
        if !self.counts.is_empty() {
            *flight.counts.borrow_mut() = std::mem::take(&mut self.counts);
        }
        let mut ending = Ending {
            ledger: &self.ledger,
            flight,
            used: used.to_owned(),
            tried_at_ms: None,
            over: false,
        };
        ending.run().await
    }

    /// Gives everything back.
    ///
    /// # Cancel safety
    /// Dropped, it is given back later.
    pub async fn give_back(self) {
        let nothing = match &self.flight {
            Some(flight) => vec![0; flight.wants.len()],
            None => return,
        };
        self.settle(&nothing).await;
    }
}

impl<S: Store + 'static> Drop for Lease<S> {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            let used = flight.amounts();
            self.ledger.end_later(&flight, used, None);
        }
    }
}

impl<S: Store + 'static> Ending<'_, S> {
    async fn run(&mut self) -> Vec<Count> {
        let flight = &self.flight;
        if flight.stage.get() == Stage::Asked {
            // Nobody waited for the reservation, and nobody does for its end: dropped, it follows when the reservation is known.
            return Vec::new();
        }
        if flight.stage.get() != Stage::Taken || flight.is_settled(&self.used) {
            return flight.counts.borrow().clone();
        }
        let asked_at = Instant::now();
        let closings = flight.closings(&self.used);
        let settle = || Operation::Settle {
            lease: flight.lease.clone(),
            closings: closings.clone(),
            sure: true,
        };
        // Until it is known to have failed for certain, it may have reached the store.
        self.tried_at_ms = Some(self.ledger.clock.now_ms());
        let answer = self
            .ledger
            .ask(
                &flight.user,
                &flight.account,
                asked_at + flight.patience.get(),
                settle,
            )
            .await;
        match answer {
            Ok(reply) => {
                self.over = true;
                self.ledger.flights.remove(flight);
                self.ledger.counts_of(flight, &reply)
            }
            Err(failure) => {
                if !failure.uncertain {
                    self.tried_at_ms = None;
                }
                Vec::new()
            }
        }
    }
}

impl<S: Store + 'static> Drop for Ending<'_, S> {
    fn drop(&mut self) {
        if !self.over {
            let used = std::mem::take(&mut self.used);
            self.ledger.end_later(&self.flight, used, self.tried_at_ms);
        }
    }
}

impl<S: Store + 'static> Drop for Attempt<'_, S> {
    fn drop(&mut self) {
        if !self.over {
            self.ledger.give_back_later(self.flight);
        }
    }
}

impl<S: Store + 'static> Noting<S> {
    async fn run(self) {
        let answer = self.ledger.ask_to_reserve(&self.flight).await;
        let Ok(reply) = answer else {
            return;
        };
        if reply.verdict == Verdict::Done {
            *self.flight.counts.borrow_mut() = self.ledger.counts_of(&self.flight, &reply);
            self.ledger.begin(&self.flight, Stage::Taken);
        }
    }
}

impl<S: Store + 'static> Drop for Noting<S> {
    fn drop(&mut self) {
        let (ledger, flight) = (&self.ledger, &self.flight);
        if flight.stage.get() == Stage::Asked {
            flight.stage.set(Stage::Alone);
            let settlement = flight.settlement(&flight.amounts(), None);
            ledger.journal.let_on(settlement);
            ledger.tell_journal();
            ledger.begin(flight, Stage::Alone);
            ledger.watcher.granted_alone(OnFailure::Open);
        }
        let ended = flight.ended.take();
        if let Some(used) = ended {
            ledger.end_later(flight, used, None);
        }
    }
}
