//! What only the `SQLite` store promises, and the shared suite over it.

#![cfg(test)]

mod suite;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use fault::Kind;
use quota::{AnyStore, Decision, SqliteStore, Store, StoreError};
use suite::{Fixture, TIMEOUT, bucket, in_parallel, used};
use tempfile::TempDir;

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

    fn open_for(&self, timeout: Duration) -> SqliteStore {
        SqliteStore::open(&self.path(), timeout).unwrap()
    }

    /// A transaction of somebody else that keeps the file from being written.
    fn lock(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection
    }
}

impl Fixture for File {
    type Handle = AnyStore;

    fn open(&self) -> AnyStore {
        AnyStore::Sqlite(self.open_for(TIMEOUT))
    }
}

suite::shared_suite!(Some(File::new()));

#[test]
fn grants_exactly_the_limit_over_four_processes() {
    const LIMIT: usize = 100;
    let file = File::new();
    let this_program = std::env::current_exe().unwrap();
    let mut processes: Vec<Child> = (0..4)
        .map(|_| {
            Command::new(&this_program)
                .args([
                    "--exact",
                    "one_of_four_processes",
                    "--ignored",
                    "--nocapture",
                ])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for process in &mut processes {
        let mut input = process.stdin.take().unwrap();
        writeln!(input, "{}", file.path().display()).unwrap();
    }
    let granted: usize = processes
        .into_iter()
        .map(|mut process| {
            let output = BufReader::new(process.stdout.take().unwrap());
            let granted = output
                .lines()
                .filter_map(|line| {
                    line.unwrap()
                        .split_once("granted=")?
                        .1
                        .parse::<usize>()
                        .ok()
                })
                .sum::<usize>();
            assert!(process.wait().unwrap().success());
            granted
        })
        .sum();
    assert_eq!(granted, LIMIT);
}

#[tokio::test]
#[ignore = "started by grants_exactly_the_limit_over_four_processes"]
async fn one_of_four_processes() {
    let mut path = String::new();
    std::io::stdin().read_line(&mut path).unwrap();
    let store = Rc::new(SqliteStore::open(path.trim_end().as_ref(), TIMEOUT).unwrap());
    let mut granted = 0;
    for _ in 0..10 {
        let calls = (0..10).map(|_| {
            let store = Rc::clone(&store);
            async move { store.reserve(&[bucket("u", Some(100))]).await.unwrap() }
        });
        let decisions = in_parallel(calls).await;
        granted += decisions
            .iter()
            .filter(|one| matches!(one, Decision::Granted(_)))
            .count();
    }
    println!("granted={granted}");
}

#[tokio::test]
async fn keeps_counts_after_the_store_is_closed() {
    let file = File::new();
    let buckets = [bucket("u", Some(10))];
    file.open().record(&buckets).await.unwrap();
    assert_eq!(used(&file.open().read(&buckets).await.unwrap()), [1]);
}

#[test]
fn lets_others_read_while_it_writes() {
    let file = File::new();
    file.open();
    let connection = rusqlite::Connection::open(file.path()).unwrap();
    let mode: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn opens_for_all_workers_that_start_at_once() {
    let file = File::new();
    let start = Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                start.wait();
                file.open();
            });
        }
    });
}

#[tokio::test]
async fn forgets_windows_long_over() {
    let file = File::new();
    let mut long_over = bucket("u", Some(10));
    long_over.resets_at_s -= 2 * 86_400;
    let current = bucket("v", Some(10));
    file.open()
        .record(&[long_over.clone(), current.clone()])
        .await
        .unwrap();
    assert_eq!(
        used(&file.open().read(&[long_over, current]).await.unwrap()),
        [0, 1]
    );
}

#[tokio::test]
async fn gives_up_at_the_deadline_while_another_process_holds_the_file() {
    let file = File::new();
    let store = file.open_for(Duration::from_millis(200));
    let buckets = [bucket("u", Some(10))];
    let lock = file.lock();
    let begun = Instant::now();
    assert_eq!(store.reserve(&buckets).await, Err(StoreError::Timeout));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    drop(lock);
    let patient = file.open();
    patient.reserve(&buckets).await.unwrap();
}

#[tokio::test]
async fn turns_calls_away_at_once_when_too_many_wait() {
    let file = File::new();
    let store = Rc::new(file.open_for(Duration::from_millis(500)));
    let lock = file.lock();
    let calls = (0..3000).map(|_| {
        let store = Rc::clone(&store);
        async move {
            let begun = Instant::now();
            (
                store.record(&[bucket("u", None)]).await.unwrap_err(),
                begun.elapsed(),
            )
        }
    });
    let errors = in_parallel(calls).await;
    let turned_away: Vec<_> = errors
        .iter()
        .filter(|(error, _)| matches!(error, StoreError::Unreachable(_)))
        .collect();
    assert!(
        turned_away.len() >= 3000 - 1024 - 256,
        "{}",
        turned_away.len()
    );
    assert!(
        turned_away
            .iter()
            .all(|(_, waited)| *waited < Duration::from_millis(250))
    );
    drop(lock);
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
    let below_a_file = not_a_database.join("quota.sqlite3");
    for path in [&not_a_database, &below_a_file, &folder.path().to_path_buf()] {
        let fault = SqliteStore::open(path, TIMEOUT).unwrap_err();
        assert_eq!(fault.kind, Kind::Config);
        assert!(
            fault.message.contains(path.to_str().unwrap()),
            "{}",
            fault.message
        );
    }
}
