//! Calls to the store: what every answer teaches, what a failure means, and the account that came back older.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::calendar::{Account, Bucket};
use crate::store::{Call, Claim, Operation, Reply, Store, StoreError, StoreErrorKind, Verdict};

use super::Ledger;
use super::flight::Stage;
use super::memory::Telling;

/// How often one question is put before it is given up: the time may have been wrong, and the account older.
const TURNS: u32 = 3;

/// Why a call has no answer.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// What the store said, or did not.
    pub(super) error: StoreError,
    /// Whether the call may have taken effect all the same.
    pub(super) uncertain: bool,
}

/// The accounts that are being raised to what they were.
#[derive(Debug, Default)]
pub(super) struct Healings(RefCell<HashMap<Account, Rc<Notify>>>);

struct Healing<'a>(&'a Healings, &'a Account);

impl<S: Store + 'static> Ledger<S> {
    /// Asks until the answer is of the current time and the account as it is known, until `deadline`.
    pub(super) async fn ask(
        &self,
        user: &str,
        account: &Account,
        deadline: Instant,
        mut operation: impl FnMut() -> Operation,
    ) -> Result<Reply, Failure> {
        for _ in 0..TURNS {
            let seen = self.memory.seen(account);
            let patience = deadline.saturating_duration_since(Instant::now());
            let reply = self.ask_once(account, operation(), patience).await?;
            match reply.verdict {
                Verdict::Older if self.memory.seen(account) == seen => {
                    self.heal(user, account, deadline).await?;
                }
                Verdict::Moved | Verdict::Older => {}
                _ => return Ok(reply),
            }
        }
        Err(Failure::certain(StoreError::new(
            StoreErrorKind::Refused,
            "the time or the history of an account changes with every answer",
        )))
    }

    /// Asks once, unless the store is known to be down.
    pub(super) async fn ask_once(
        &self,
        account: &Account,
        operation: Operation,
        patience: Duration,
    ) -> Result<Reply, Failure> {
        let part = self.store.part(account);
        if let Some(failure) = self.breakers.failure(part) {
            return Err(Failure::certain(failure));
        }
        if patience.is_zero() {
            let cause = "a request's time for the store is used up";
            return Err(Failure::certain(StoreError::new(
                StoreErrorKind::Timeout,
                cause,
            )));
        }
        self.call(part, account, operation, patience).await
    }

    /// Calls the store, whatever is known of it.
    pub(super) async fn call(
        &self,
        part: u64,
        account: &Account,
        operation: Operation,
        patience: Duration,
    ) -> Result<Reply, Failure> {
        let call = Call {
            account: account.clone(),
            seen: self.memory.seen(account),
            operation,
        };
        *self.asked_for.borrow_mut() = Some(call.account.clone());
        let asked_at = Instant::now();
        let answer = self.store.call(&call, patience).await;
        let kind = answer.as_ref().err().map(|error| error.kind);
        self.watcher.called(asked_at.elapsed().as_secs_f64(), kind);
        match answer {
            Ok(reply) => {
                self.clock.learn(reply.now_ms);
                self.learn(&call, &reply);
                // Reading proves little: a replica, and a store whose memory or disk is full, can still be read.
                if reply.verdict == Verdict::Done
                    && !matches!(call.operation, Operation::Read { .. })
                {
                    self.answered(part);
                }
                Ok(reply)
            }
            Err(error) => {
                self.failed(part, account, &error);
                Err(Failure {
                    uncertain: error.kind.is_uncertain(),
                    error,
                })
            }
        }
    }

    /// A part of the store gave no answer about `account`.
    pub(super) fn failed(&self, part: u64, account: &Account, error: &StoreError) {
        self.answered_at.set(None);
        if self.breakers.failed(part, account, error) {
            self.opened.notify_one();
            self.tell_state();
        }
    }

    /// A part of the store has taken a change.
    pub(super) fn answered(&self, part: u64) {
        self.answered_at.set(Some(Instant::now()));
        if self.breakers.succeeded(part) {
            self.journal.unpark();
            self.due.notify_one();
            self.tell_state();
        }
    }

    fn learn(&self, call: &Call, reply: &Reply) {
        let telling = Telling {
            version: reply.version,
            begins: matches!(
                call.operation,
                Operation::Restore { .. } | Operation::Reopen { .. }
            ),
            now_s: self.clock.now_s(),
        };
        let used = reply.used.iter().copied();
        let learn = |buckets: &mut dyn Iterator<Item = &Bucket>| {
            self.memory.learn(&call.account, telling, buckets.zip(used));
        };
        match &call.operation {
            Operation::Reserve { claims, .. }
            | Operation::Reopen { claims, .. }
            | Operation::Restore { floors: claims } => {
                learn(&mut claims.iter().map(|claim| &claim.bucket));
            }
            Operation::Settle { closings, .. } => {
                learn(&mut closings.iter().map(|closing| &closing.bucket));
            }
            Operation::Read { buckets } => learn(&mut buckets.iter()),
            // Its answer is what was there before.
            Operation::Set { bucket, used, .. } => {
                let counts = std::iter::once((bucket, *used));
                self.memory.learn(&call.account, telling, counts);
            }
            Operation::Extend { .. } => learn(&mut std::iter::empty()),
            Operation::Probe => {}
        }
    }

    /// Raises an account that came back older to what it last said, and writes the leases in flight again. One at a time; whoever
    /// else finds it older waits for that.
    async fn heal(&self, user: &str, account: &Account, deadline: Instant) -> Result<(), Failure> {
        let under_way = self.healings.0.borrow().get(account).cloned();
        if let Some(over) = under_way {
            // Whether it went well shows when the account is asked again.
            let _ = timeout_at(deadline, over.notified()).await;
            return Ok(());
        }
        let _healing = self.healings.begin(account);
        self.watcher.older(user);
        let floors = self.memory.floors(account, self.clock.now_s());
        let restored = self
            .ask_once(account, Operation::Restore { floors }, left(deadline))
            .await;
        restored.map_err(Failure::of_another)?;
        for flight in self.flights.of(account) {
            if flight.stage.get() != Stage::Taken {
                continue;
            }
            let reopened = self
                .ask_once(account, flight.reopen(), left(deadline))
                .await;
            reopened.map_err(Failure::of_another)?;
            flight.heard_at.set(Instant::now());
        }
        Ok(())
    }

    /// What `wants` claim now, or will at the next turn.
    pub(super) fn claims(&self, account: &Account, wants: &[super::Want]) -> Vec<Claim> {
        super::count::claims(&self.calendar, account, wants, self.clock.now_ms())
    }
}

impl Failure {
    /// Of a call that certainly had no effect.
    pub(super) fn certain(error: StoreError) -> Self {
        Self {
            error,
            uncertain: false,
        }
    }

    /// As the failure of a call that was to come after this one.
    fn of_another(self) -> Self {
        Self::certain(self.error)
    }
}

impl Healings {
    fn begin<'a>(&'a self, account: &'a Account) -> Healing<'a> {
        let over = Rc::new(Notify::new());
        self.0.borrow_mut().insert(account.clone(), over);
        Healing(self, account)
    }
}

impl Drop for Healing<'_> {
    fn drop(&mut self) {
        if let Some(over) = self.0.0.borrow_mut().remove(self.1) {
            over.notify_waiters();
        }
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
