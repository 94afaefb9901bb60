//! What is done for the leases while nobody asks: they are kept alive, a store that is down is probed, and the journal is
//! settled.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until};

use crate::store::{Operation, Store, Verdict};

use super::Ledger;
use super::flight::{Flight, Stage};
use super::journal::{LockedFile, Settlement};

/// Settlements that are delivered at once.
const MOST_DELIVERIES: usize = 32;
/// Leases that are kept alive at once.
const MOST_EXTENSIONS: usize = 64;
/// How often a lease that is settled already is kept from being forgotten, so that it can still be given back.
const SETTLED_PAUSE: Duration = Duration::from_secs(300);
/// How often the journal's disk is looked at, if it failed.
const TIDY_PAUSE: Duration = Duration::from_secs(1);
/// How often the journals of workers that are gone are looked for, in the same rounds.
const ADOPT_EVERY: u32 = 10;

impl<S: Store + 'static> Ledger<S> {
    /// Does all of it; never ends.
    pub(super) async fn keep(self: &Rc<Self>) {
        tokio::join!(self.probe(), self.deliver(), self.extend(), self.tidy());
    }

    async fn probe(self: &Rc<Self>) {
        let mut probes = JoinSet::new();
        loop {
            for (part, account) in self.breakers.due() {
                let ledger = Rc::clone(self);
                probes.spawn_local(async move {
                    let patience = ledger.settings.patience;
                    let answer = ledger.call(part, &account, Operation::Probe, patience);
                    if answer.await.is_err() {
                        ledger.breakers.probed(part);
                    }
                });
            }
            // That it lasts too long is news too.
            self.tell_state();
            let next = self.breakers.next_probe();
            tokio::select! {
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                Some(_) = probes.join_next() => {}
                () = self.opened.notified() => {}
            }
        }
    }

    async fn deliver(self: &Rc<Self>) {
        let mut deliveries = JoinSet::new();
        loop {
            if self.clock.is_guess() && self.journal.waiting() > 0 {
                // Whether a settlement is sure is a matter of the store's time. If it does not tell it now, there is another round.
                let _ = self.probe_now().await;
            }
            while deliveries.len() < MOST_DELIVERIES
                && let Some(settlement) = self.next_settlement()
            {
                deliveries.spawn_local(Rc::clone(self).settle_late(settlement));
            }
            self.tell_journal();
            tokio::select! {
                Some(_) = deliveries.join_next() => {}
                () = self.due.notified() => {}
            }
        }
    }

    fn next_settlement(&self) -> Option<Settlement> {
        if self.clock.is_guess() {
            return None;
        }
        let may_ask = |account: &_| !self.is_down(account);
        self.journal.next(self.clock.now_ms(), may_ask)
    }

    async fn settle_late(self: Rc<Self>, settlement: Settlement) {
        let settle = || Operation::Settle {
            lease: settlement.lease.clone(),
            closings: settlement.closings.clone(),
            sure: settlement.is_sure(self.clock.now_ms()),
        };
        let deadline = Instant::now() + self.settings.patience;
        let answer = self
            .ask(&settlement.user, &settlement.account, deadline, settle)
            .await;
        match answer {
            Ok(_) => self.journal.done(&settlement.lease),
            Err(_) if settlement.is_pointless(self.clock.now_s()) => {
                self.journal.done(&settlement.lease);
            }
            Err(failure) => {
                let tried_at_ms = failure.uncertain.then(|| self.clock.now_ms());
                self.journal.put_back(&settlement.lease, tried_at_ms);
            }
        }
    }

    async fn extend(self: &Rc<Self>) {
        let open_pause = self.settings.lease / 3;
        let pause = (open_pause / 4).clamp(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            sleep(pause).await;
            let mut silent = VecDeque::from(self.flights.silent(open_pause, SETTLED_PAUSE));
            let mut extensions = JoinSet::new();
            while !(silent.is_empty() && extensions.is_empty()) {
                while extensions.len() < MOST_EXTENSIONS
                    && let Some(flight) = silent.pop_front()
                {
                    if !self.is_down(&flight.account) {
                        extensions.spawn_local(Rc::clone(self).extend_one(flight));
                    }
                }
                extensions.join_next().await;
            }
        }
    }

    async fn extend_one(self: Rc<Self>, flight: Rc<Flight>) {
        let extend = || Operation::Extend {
            lease: flight.lease.clone(),
            hold: flight.hold,
        };
        let deadline = Instant::now() + self.settings.patience;
        let answer = self
            .ask(&flight.user, &flight.account, deadline, extend)
            .await;
        let Ok(reply) = answer else {
            return;
        };
        flight.heard_at.set(Instant::now());
        if reply.verdict == Verdict::Ended && flight.stage.get() == Stage::Taken {
            // Nobody ends the lease of another: its record was forgotten, after a long sleep or by a store short of memory.
            let reopened = self.ask_once(&flight.account, flight.reopen(), self.settings.patience);
            // If that fails, it is told again when it is next due.
            let _ = reopened.await;
        }
    }

    async fn tidy(self: &Rc<Self>) {
        let mut rounds = interval(TIDY_PAUSE);
        let mut round = 0_u32;
        loop {
            rounds.tick().await;
            if self.journal.failed() {
                self.journal.check_disk();
                self.tell_journal();
            }
            if round.is_multiple_of(ADOPT_EVERY) {
                self.adopt().await;
            }
            round = round.wrapping_add(1);
            self.shares
                .close(|account| !self.is_down(account) && !self.journal.waits(account));
            self.journal.resume();
            self.due.notify_one();
        }
    }

    /// Takes over what workers that are gone have left.
    async fn adopt(&self) {
        let Some(folder) = self.settings.journal_folder.clone() else {
            return;
        };
        let room = self.journal.room();
        let adopted = tokio::task::spawn_blocking(move || LockedFile::adopt(&folder, room)).await;
        for adopted in adopted.unwrap_or_default() {
            self.journal.adopt(adopted);
        }
    }
}
