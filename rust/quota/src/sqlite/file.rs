//! The file: its tables, made or brought up to date, and what its failures mean.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, Result, Transaction, TransactionBehavior};

use crate::store::{StoreError, StoreErrorKind};

/// How long a process that starts waits for another that makes or changes the tables.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// `PRAGMA user_version` of these tables; files of the first version say 0, as new ones do.
const VERSION: i64 = 3;

const FIRST_TABLES: &str = "
    CREATE TABLE IF NOT EXISTS counters (
        key TEXT PRIMARY KEY,
        used INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) WITHOUT ROWID, STRICT";

const SECOND_TABLES: &str = "
    ALTER TABLE counters RENAME COLUMN expires_at TO forget_at_s;
    CREATE INDEX counters_to_forget ON counters (forget_at_s);

    CREATE TABLE accounts (
        prefix TEXT PRIMARY KEY,
        epoch INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        forget_at_s INTEGER NOT NULL
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX accounts_to_forget ON accounts (forget_at_s);

    -- taken: the amounts, or null once the lease has ended. dies_at_ms: null unless it is in flight until it is settled.
    CREATE TABLE leases (
        account TEXT NOT NULL,
        lease TEXT NOT NULL,
        taken TEXT,
        dies_at_ms INTEGER,
        forget_at_ms INTEGER NOT NULL,
        PRIMARY KEY (account, lease)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX leases_in_flight ON leases (account, dies_at_ms) WHERE dies_at_ms IS NOT NULL;
    CREATE INDEX leases_to_forget ON leases (forget_at_ms);

    CREATE TABLE notes (
        id INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        note TEXT NOT NULL,
        at_s INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX notes_of_account ON notes (account);
    CREATE INDEX notes_to_forget ON notes (at_s);

    -- Always empty: a probe fills it and empties it again.
    CREATE TABLE probes (filling BLOB NOT NULL) STRICT;

    PRAGMA user_version = 2";

const THIRD_TABLES: &str = "
    CREATE TABLE shelves (
        shelf TEXT PRIMARY KEY,
        sequence INTEGER NOT NULL,
        forget_at_ms INTEGER NOT NULL
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX shelves_to_forget ON shelves (forget_at_ms);

    CREATE TABLE records (
        shelf TEXT NOT NULL,
        name TEXT NOT NULL,
        value BLOB NOT NULL,
        sequence INTEGER NOT NULL,
        forget_at_ms INTEGER NOT NULL,
        PRIMARY KEY (shelf, name)
    ) STRICT;
    CREATE INDEX records_to_forget ON records (forget_at_ms);

    PRAGMA user_version = 3";

/// A connection to the file at `path`, with its tables.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(START_PATIENCE)?;
    patiently(|| connection.pragma_update(None, "journal_mode", "wal"))?;
    // A commit reaches the disk at the next checkpoint: a process that is killed loses nothing, a
    // machine that loses power the last few changes.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.set_prepared_statement_cache_capacity(64);
    patiently(|| bring_up_to_date(&mut connection))?;
    Ok(connection)
}

fn bring_up_to_date(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match version(&transaction)? {
        VERSION => {}
        0 => {
            transaction.execute_batch(FIRST_TABLES)?;
            transaction.execute_batch(SECOND_TABLES)?;
            transaction.execute_batch(THIRD_TABLES)?;
        }
        2 => transaction.execute_batch(THIRD_TABLES)?,
        version => {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISMATCH);
            let cause =
                format!("its tables are of version {version}, and this program knows {VERSION}");
            return Err(rusqlite::Error::SqliteFailure(code, Some(cause)));
        }
    }
    transaction.commit()
}

fn version(transaction: &Transaction<'_>) -> Result<i64> {
    transaction.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Repeats what several starting processes do at once: `SQLite` reports a change of the journal mode
/// that meets another as busy without waiting for it. Of 200 times that 16 opened a new file at
/// once, one of them failed in 22.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + START_PATIENCE;
    loop {
        match attempt() {
            Err(error) if is_busy(&error) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    store_error(error).kind == StoreErrorKind::Busy
}

/// What a failure of the file means to who asked.
pub(super) fn store_error(error: &rusqlite::Error) -> StoreError {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreErrorKind::Busy,
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => {
            StoreErrorKind::Misconfigured
        }
        Some(ErrorCode::ReadOnly) => StoreErrorKind::ReadOnly,
        Some(ErrorCode::PermissionDenied) => StoreErrorKind::Denied,
        Some(ErrorCode::OutOfMemory) => StoreErrorKind::OutOfMemory,
        _ => StoreErrorKind::Refused,
    };
    StoreError::new(kind, error.to_string())
}
