//! Counters in an `SQLite` file that all processes of a machine share.
//!
//! One thread owns the connection. It takes every call that waits, runs them in one transaction, and
//! answers when that is committed: under load the price of a commit is shared, and no call waits for
//! more than one commit before its own.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fault::{Fault, Kind};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use crate::store::{Backend, Operation, Outcome, StoreError};
use crate::window::Bucket;

const QUEUE_CALLS: usize = 1024;
const BATCH_CALLS: usize = 256;
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS counters (
        key TEXT PRIMARY KEY,
        used INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) WITHOUT ROWID, STRICT";
const READ: &str = "SELECT used FROM counters WHERE key = ?1";
const TAKE: &str = "
    INSERT INTO counters (key, used, expires_at) VALUES (?1, 1, ?2)
    ON CONFLICT (key) DO UPDATE SET used = used + 1
    RETURNING used";
const GIVE_BACK: &str = "UPDATE counters SET used = used - 1 WHERE key = ?1 AND used > 0";
const PRUNE: &str = "DELETE FROM counters WHERE expires_at < ?1";

/// Counts in one `SQLite` file; exact over every process that has it open.
#[derive(Debug)]
pub struct SqliteStore {
    calls: SyncSender<Call>,
    timeout: Duration,
}

#[derive(Debug)]
struct Call {
    operation: Operation,
    buckets: Vec<Bucket>,
    reply: oneshot::Sender<Result<Outcome, StoreError>>,
}

impl Call {
    /// Whether nobody waits any more and doing nothing is what the caller then expects. A record or a
    /// refund is owed whether or not somebody waits.
    fn is_abandoned(&self) -> bool {
        matches!(self.operation, Operation::Reserve | Operation::Read) && self.reply.is_closed()
    }
}

impl SqliteStore {
    /// The store in the file at `path`, made with its folder if missing. Each call may take `timeout`.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] with the path if the file cannot be made, opened or written.
    pub fn open(path: &Path, timeout: Duration) -> Result<Self, Fault> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| unusable(path, &error))?;
        }
        let connection = prepare(path, timeout).map_err(|error| unusable(path, &error))?;
        let (calls, queue) = sync_channel(QUEUE_CALLS);
        std::thread::Builder::new()
            .name("quota-sqlite".into())
            .spawn(move || serve(connection, &queue))
            .map_err(|error| unusable(path, &error))?;
        Ok(Self { calls, timeout })
    }
}

impl Backend for SqliteStore {
    async fn call(&self, operation: Operation, buckets: &[Bucket]) -> Result<Outcome, StoreError> {
        let (reply, answer) = oneshot::channel();
        let call = Call {
            operation,
            buckets: buckets.to_vec(),
            reply,
        };
        self.calls.try_send(call).map_err(|error| {
            StoreError::Unreachable(match error {
                TrySendError::Full(_) => format!("{QUEUE_CALLS} calls are waiting already"),
                TrySendError::Disconnected(_) => "its thread has ended".into(),
            })
        })?;
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(StoreError::Unreachable("its thread has ended".into())),
            Err(_) => Err(StoreError::Timeout),
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.call(Operation::Read, &[]).await.map(drop)
    }
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Fault {
    let message = format!(
        "the quota file {} cannot be used: {error}; give data_dir a folder on a local disk that this \
         process may write, or set QUOTA_REDIS_URL",
        path.display()
    );
    Fault::new(Kind::Config, message)
}

fn prepare(path: &Path, timeout: Duration) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(timeout)?;
    patiently(timeout, || {
        connection.pragma_update(None, "journal_mode", "wal")
    })?;
    // A commit reaches the disk at the next checkpoint: a process that is killed loses nothing, a
    // machine that loses power the last few counts.
    connection.pragma_update(None, "synchronous", "normal")?;
    patiently(timeout, || connection.execute_batch(SCHEMA))?;
    connection.execute(PRUNE, [now_s()])?;
    Ok(connection)
}

/// Repeats what several starting processes do at once: `SQLite` reports a change of the journal mode
/// that meets another as busy without waiting for it. Of 200 times that 16 opened a new file at
/// once, one of them failed in 22.
fn patiently<T>(
    timeout: Duration,
    mut attempt: impl FnMut() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        match attempt() {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

fn serve(mut connection: Connection, queue: &Receiver<Call>) {
    let mut pruned_at = Instant::now();
    while let Ok(first) = queue.recv() {
        let batch: Vec<Call> = std::iter::once(first)
            .chain(queue.try_iter())
            .take(BATCH_CALLS)
            .filter(|call| !call.is_abandoned())
            .collect();
        let prune = pruned_at.elapsed() >= PRUNE_EVERY;
        match run(&mut connection, &batch, prune) {
            Ok(outcomes) => {
                if prune {
                    pruned_at = Instant::now();
                }
                for (call, outcome) in batch.into_iter().zip(outcomes) {
                    let _ = call.reply.send(Ok(outcome));
                }
            }
            Err(error) => {
                for call in batch {
                    let _ = call.reply.send(Err(store_error(&error)));
                }
            }
        }
    }
}

fn run(connection: &mut Connection, batch: &[Call], prune: bool) -> rusqlite::Result<Vec<Outcome>> {
    // Without `immediate`, a transaction that reads first and writes later can fail as busy halfway.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if prune {
        transaction.execute(PRUNE, [now_s()])?;
    }
    let outcomes = batch
        .iter()
        .map(|call| apply(&transaction, call))
        .collect::<rusqlite::Result<_>>()?;
    transaction.commit()?;
    Ok(outcomes)
}

fn apply(transaction: &Transaction<'_>, call: &Call) -> rusqlite::Result<Outcome> {
    let buckets = &call.buckets;
    let mut used = buckets
        .iter()
        .map(|bucket| read(transaction, bucket))
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let is_full =
        |(bucket, used): (&Bucket, &u64)| bucket.window.limit.is_some_and(|limit| *used >= limit);
    let exhausted = match call.operation {
        Operation::Reserve => buckets.iter().zip(&used).position(is_full),
        Operation::Refund | Operation::Record | Operation::Read => None,
    };
    match call.operation {
        Operation::Reserve if exhausted.is_some() => {}
        Operation::Reserve | Operation::Record => {
            for (bucket, used) in buckets.iter().zip(&mut used) {
                *used = take(transaction, bucket)?;
            }
        }
        Operation::Refund => {
            for bucket in buckets {
                transaction
                    .prepare_cached(GIVE_BACK)?
                    .execute([&bucket.key])?;
            }
        }
        Operation::Read => {}
    }
    Ok(Outcome { used, exhausted })
}

fn read(transaction: &Transaction<'_>, bucket: &Bucket) -> rusqlite::Result<u64> {
    let used: Option<i64> = transaction
        .prepare_cached(READ)?
        .query_row([&bucket.key], |row| row.get(0))
        .optional()?;
    Ok(used.map_or(0, not_negative))
}

fn take(transaction: &Transaction<'_>, bucket: &Bucket) -> rusqlite::Result<u64> {
    let mut statement = transaction.prepare_cached(TAKE)?;
    let used = statement.query_row((&bucket.key, bucket.forget_at_s()), |row| row.get(0))?;
    Ok(not_negative(used))
}

fn not_negative(used: i64) -> u64 {
    u64::try_from(used).unwrap_or(0)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn store_error(error: &rusqlite::Error) -> StoreError {
    if is_busy(error) {
        StoreError::Timeout
    } else {
        StoreError::Refused(error.to_string())
    }
}

fn now_s() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}
