//! What nobody will ask for again is deleted, a few rows at a time: no call waits for many.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Result, TransactionBehavior};

use super::rows::Now;

const EVERY: Duration = Duration::from_secs(60);
/// Until the next part of what is more than one.
const NEXT_PART: Duration = Duration::from_millis(100);
const MOST_ROWS: usize = 500;

const NOTE_LIFE_S: u64 = 366 * 86_400;

const LEASES: &str = "
    DELETE FROM leases WHERE (account, lease) IN (
        SELECT account, lease FROM leases WHERE forget_at_ms <= ?1 AND ifnull(dies_at_ms, 0) <= ?1
        LIMIT ?2)";
const COUNTERS: &str = "
    DELETE FROM counters WHERE key IN (
        SELECT key FROM counters WHERE forget_at_s <= ?1 LIMIT ?2)";
const ACCOUNTS: &str = "
    DELETE FROM accounts WHERE prefix IN (
        SELECT prefix FROM accounts WHERE forget_at_s <= ?1 LIMIT ?2)";
const NOTES: &str = "
    DELETE FROM notes WHERE id IN (
        SELECT id FROM notes WHERE at_s <= ?1 LIMIT ?2)";
const RECORDS: &str = "
    DELETE FROM records WHERE (shelf, name) IN (
        SELECT shelf, name FROM records WHERE forget_at_ms <= ?1 LIMIT ?2)";
const SHELVES: &str = "
    DELETE FROM shelves WHERE shelf IN (
        SELECT shelf FROM shelves WHERE forget_at_ms <= ?1 LIMIT ?2)";

/// When the file is pruned next.
#[derive(Debug)]
pub(super) struct Pruning {
    due: Instant,
}

impl Pruning {
    /// Due at once.
    pub(super) fn new() -> Self {
        Self {
            due: Instant::now(),
        }
    }

    pub(super) fn wait(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// Deletes one part, if it is time. A failure is no matter: another process may be at it, and there is a next time.
    pub(super) fn run_if_due(&mut self, connection: &mut Connection) {
        if !self.wait().is_zero() {
            return;
        }
        let pause = match prune(connection) {
            Ok(deleted) if deleted >= MOST_ROWS => NEXT_PART,
            Ok(_) | Err(_) => EVERY,
        };
        self.due = Instant::now() + pause;
    }
}

/// Deletes up to so many rows of each table; returns the most of any.
fn prune(connection: &mut Connection) -> Result<usize> {
    let now = Now::read();
    connection.busy_timeout(Duration::ZERO)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables = [
        (LEASES, now.unix_ms()),
        (COUNTERS, now.unix_s()),
        (ACCOUNTS, now.unix_s()),
        (NOTES, now.unix_s().saturating_sub(NOTE_LIFE_S)),
        (RECORDS, now.unix_ms()),
        (SHELVES, now.unix_ms()),
    ];
    let mut most = 0;
    for (statement, until) in tables {
        let until = i64::try_from(until).unwrap_or(i64::MAX);
        let limit = i64::try_from(MOST_ROWS).unwrap_or(i64::MAX);
        let deleted = transaction
            .prepare_cached(statement)?
            .execute((until, limit))?;
        most = most.max(deleted);
    }
    transaction.commit()?;
    Ok(most)
}
