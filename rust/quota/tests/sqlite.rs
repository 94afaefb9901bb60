//! What only the `SQLite` store promises, and the shared suite over it.

#![cfg(test)]

mod sqlite_processes;
mod suite;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use fault::Kind;
use quota::{AnyStore, Call, Hold, Lives, SqliteStore, Store as _, StoreErrorKind, Verdict};
use suite::Fixture;
use suite::caller::{
    Caller, LIVES, PATIENCE, eventually, in_parallel, read, reserve, settle, user,
};
use tempfile::TempDir;
use tokio::task::LocalSet;

/// The tables of the first version.
const FIRST_VERSION: &str = "
    PRAGMA journal_mode = wal;
    CREATE TABLE counters (
        key TEXT PRIMARY KEY,
        used INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) WITHOUT ROWID, STRICT;";

struct File {
    folder: TempDir,
}

impl File {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("made/on/the/way/quota.sqlite3")
    }

    fn open_store(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), LIVES).unwrap()
    }

    /// A connection of somebody else.
    fn connection(&self) -> rusqlite::Connection {
        std::fs::create_dir_all(self.path().parent().unwrap()).unwrap();
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection
    }

    /// A transaction of somebody else that keeps the file from being written.
    fn lock(&self) -> rusqlite::Connection {
        let connection = self.connection();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection
    }
}

impl Fixture for File {
    type Handle = AnyStore;

    fn open(&self, lives: Lives) -> AnyStore {
        AnyStore::Sqlite(SqliteStore::open(&self.path(), lives).unwrap())
    }
}

suite::shared_suite!(Some(File::new()));

#[tokio::test]
async fn keeps_what_was_counted_after_the_store_is_closed() {
    let file = File::new();
    let caller = user(&file);
    let bucket = caller.bucket("requests", "day", Some(10));
    let before = caller.fly("lease", &[(&bucket, 1)], Some(1)).await;
    drop(caller);
    let after = user(&file).look(&[&bucket]).await;
    assert_eq!((after.used, after.flying), (vec![1], 1));
    assert_eq!(after.version, before.version);
}

#[test]
fn opens_for_all_workers_that_start_at_once() {
    for before in ["", FIRST_VERSION] {
        let file = File::new();
        file.connection().execute_batch(before).unwrap();
        let start = Barrier::new(16);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    start.wait();
                    file.open_store();
                });
            }
        });
    }
}

#[tokio::test]
async fn goes_on_with_the_counts_of_the_first_version() {
    let file = File::new();
    let bucket = Caller::new((), "u").bucket("requests", "day", Some(10));
    let connection = file.connection();
    connection.execute_batch(FIRST_VERSION).unwrap();
    let row = (&bucket.key, 9, bucket.forget_at_s());
    connection
        .execute("INSERT INTO counters VALUES (?1, ?2, ?3)", row)
        .unwrap();
    let caller = user(&file);
    let last = caller.take("last", &[(&bucket, 1)]).await;
    assert_eq!((last.verdict, last.used), (Verdict::Done, vec![10]));
    let more = caller.take("more", &[(&bucket, 1)]).await;
    assert_eq!(more.verdict, Verdict::Full(0));
    assert_eq!(user(&file).used(&[&bucket]).await, [10], "opened again");
}

#[tokio::test]
async fn goes_on_with_a_file_that_had_no_records() {
    let file = File::new();
    let caller = user(&file);
    let bucket = caller.bucket("requests", "day", Some(10));
    caller.take("before", &[(&bucket, 9)]).await;
    drop(caller);
    let second_version = "DROP TABLE records; DROP TABLE shelves; PRAGMA user_version = 2";
    file.connection().execute_batch(second_version).unwrap();
    assert_eq!(user(&file).used(&[&bucket]).await, [9]);
    suite::records::gives_a_record_to_one_who_takes_it(&file).await;
}

#[test]
fn lets_others_read_while_it_writes() {
    let file = File::new();
    file.open_store();
    let mode: String = file
        .connection()
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

/// Rows that are over and rows that are not, `many` of each table.
fn fill(connection: &rusqlite::Connection, many: u32) {
    let transaction = "
        BEGIN;
        WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < $many)
            INSERT INTO counters SELECT 'over' || n, 1, unixepoch() - 1 FROM n;
        WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < $many)
            INSERT INTO accounts SELECT 'over' || n, 1, 1, unixepoch() - 1 FROM n;
        WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < $many)
            INSERT INTO leases SELECT 'over', n, '1', 1, 1000 * (unixepoch() - 1) FROM n;
        WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < $many)
            INSERT INTO notes SELECT n, 'over', '{}', unixepoch() - 400 * 86400 FROM n;
        INSERT INTO counters VALUES ('kept', 1, unixepoch() + 60);
        INSERT INTO accounts VALUES ('kept', 1, 1, unixepoch() + 60);
        INSERT INTO leases VALUES ('kept', 'record', NULL, NULL, 1000 * (unixepoch() + 60));
        INSERT INTO leases VALUES ('kept', 'flying', '1', 1000 * (unixepoch() + 60), 1);
        INSERT INTO notes (account, note, at_s) VALUES ('kept', '{}', unixepoch() - 300 * 86400);
        COMMIT;";
    let transaction = transaction.replace("$many", &many.to_string());
    connection.execute_batch(&transaction).unwrap();
}

#[tokio::test]
async fn forgets_what_nobody_will_ask_for_again() {
    let file = File::new();
    file.open_store();
    let connection = file.connection();
    fill(&connection, 1_700);
    let _store = file.open_store();
    let rows = |table: &str| {
        let statement = format!("SELECT count(*) FROM {table}");
        let rows = connection.query_row(&statement, (), |row| row.get::<_, u32>(0));
        rows.unwrap()
    };
    let tables = ["counters", "accounts", "leases", "notes"];
    eventually("only what is kept is left", async || {
        tables.map(rows) == [1, 1, 2, 1]
    })
    .await;
}

#[tokio::test]
async fn counts_nothing_that_is_over_before_it_is_deleted() {
    let file = File::new();
    let caller = user(&file);
    let bucket = caller.bucket("tokens", "day", Some(10));
    caller.fly("lease", &[(&bucket, 7)], None).await;
    let over = "
        UPDATE counters SET forget_at_s = 1;
        UPDATE accounts SET forget_at_s = 1;
        UPDATE leases SET forget_at_ms = 1, dies_at_ms = 1;";
    file.connection().execute_batch(over).unwrap();
    let gone = caller.look(&[&bucket]).await;
    assert_eq!((gone.used, gone.flying), (vec![0], 0));
    assert_eq!(gone.version, None);
    let anew = caller.fly("lease", &[(&bucket, 7)], Some(1)).await;
    assert_eq!((anew.used, anew.flying), (vec![7], 1));
    assert_eq!(anew.version.unwrap().sequence, 1);
    assert_eq!(caller.used(&[&bucket]).await, [7]);
}

#[tokio::test]
async fn gives_up_within_its_patience_while_another_process_holds_the_file() {
    let file = File::new();
    let caller = user(&file);
    let bucket = caller.bucket("requests", "day", Some(10));
    let call = Call {
        account: caller.account.clone(),
        seen: None,
        operation: reserve("lease", &[(&bucket, 1)], Hold::Open, None),
    };
    let lock = file.lock();
    for _ in 0..2 {
        let begun = Instant::now();
        let patience = Duration::from_millis(200);
        let error = caller.store.call(&call, patience).await.unwrap_err();
        let kinds = [StoreErrorKind::Busy, StoreErrorKind::Timeout];
        assert!(kinds.contains(&error.kind), "{error}");
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(2), "{waited:?}");
    }
    assert_eq!(
        caller.used(&[&bucket]).await,
        [0],
        "reading waits for nobody"
    );
    drop(lock);
    assert_eq!(caller.take("lease", &[(&bucket, 1)]).await.used, [1]);
}

#[tokio::test]
async fn takes_nothing_for_a_caller_who_has_gone_and_settles_all_the_same() {
    let file = File::new();
    let caller = Rc::new(user(&file));
    let bucket = caller.bucket("tokens", "day", Some(100));
    caller.fly("settled", &[(&bucket, 40)], None).await;
    let lock = file.lock();
    let gone = async {
        let operations = [
            reserve("gone", &[(&bucket, 10)], Hold::Open, None),
            settle("settled", &[(&bucket, 40, 25)], false),
            reserve("gone-too", &[(&bucket, 10)], Hold::Open, None),
        ];
        let asked = operations.map(|operation| {
            let caller = Rc::clone(&caller);
            tokio::task::spawn_local(async move { caller.call(operation).await })
        });
        // As far as the queue, from which the thread takes them to wait for the lock.
        tokio::task::yield_now().await;
        for asked in asked {
            asked.abort();
        }
        tokio::task::yield_now().await;
    };
    LocalSet::new().run_until(gone).await;
    drop(lock);
    let used = async || caller.used(&[&bucket]).await;
    eventually("it is settled", async || used().await != [40]).await;
    let reply = caller.fly("after", &[(&bucket, 1)], None).await;
    assert_eq!((reply.used, reply.flying), (vec![26], 1));
}

#[tokio::test]
async fn turns_calls_away_at_once_when_too_many_wait() {
    let file = File::new();
    let caller = Rc::new(user(&file));
    let lock = file.lock();
    let calls = (0..3000).map(|number| {
        let caller = Rc::clone(&caller);
        async move {
            let begun = Instant::now();
            let call = Call {
                account: caller.account.clone(),
                seen: None,
                operation: reserve(&format!("lease-{number}"), &[], Hold::Open, None),
            };
            let patience = Duration::from_millis(500);
            let error = caller.store.call(&call, patience).await.unwrap_err();
            (error.kind, begun.elapsed())
        }
    });
    let errors = in_parallel(calls).await;
    let turned_away: Vec<_> = errors
        .iter()
        .filter(|(kind, _)| *kind == StoreErrorKind::Crowded)
        .map(|(_, waited)| *waited)
        .collect();
    assert!(turned_away.len() >= 3000 - 1024 - 256, "{errors:?}");
    let longest = turned_away.iter().max().unwrap();
    assert!(*longest < Duration::from_millis(250), "{longest:?}");
    drop(lock);
    eventually("the queue is empty again", async || {
        let call = Call {
            account: caller.account.clone(),
            seen: None,
            operation: read(&[]),
        };
        let reply = caller.store.call(&call, PATIENCE).await;
        reply.is_ok_and(|reply| reply.flying == 0)
    })
    .await;
}

#[test]
fn names_the_file_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let not_a_database = folder.path().join("not-a-database");
    std::fs::write(
        &not_a_database,
        "what somebody else keeps here ".repeat(200),
    )
    .unwrap();
    let newer = folder.path().join("newer");
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", 4).unwrap();
    let below_a_file = not_a_database.join("quota.sqlite3");
    let unusable = folder.path().to_path_buf();
    for path in [&not_a_database, &below_a_file, &unusable, &newer] {
        let fault = SqliteStore::open(path, LIVES).unwrap_err();
        assert_eq!(fault.kind, Kind::Config);
        assert!(
            fault.message.contains(path.to_str().unwrap()),
            "{}",
            fault.message
        );
    }
}
