//! Reserving and settling by a ledger, over each store as it is: a Redis of its own, and a file in `SQLite`.
//!
//! Many requests at once, as a busy worker has them: what is shown is the time of one request when neither side waits for the
//! other, not that of one round trip.
#![expect(
    clippy::unwrap_used,
    missing_docs,
    reason = "what is measured is known to be good; the macros make a public item"
)]

use std::cell::Cell;
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quota::{
    AnyStore, Count, LeaseId, Ledger, Lives, OnFailure, Order, RedisStore, Settings, SqliteStore,
    State, StoreErrorKind, Want, Watcher, Window,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, LocalSet};

const AT_ONCE: u64 = 32;
const USERS: u64 = 100;
const PLENTY: u64 = 1_000_000_000_000;
const LIVES: Lives = Lives::of_lease(60_000);
const START: Duration = Duration::from_secs(10);

struct Nobody;

impl Watcher for Nobody {
    fn called(&self, _: f64, failure: Option<StoreErrorKind>) {
        assert_eq!(failure, None, "a call that fails measures nothing");
    }
    fn overcome(&self, _: StoreErrorKind) {}
    fn counted(&self, _: &str, _: &[Count]) {}
    fn changed(&self, _: &State) {}
    fn granted_alone(&self, _: OnFailure) {}
    fn older(&self, _: &str) {}
    fn journal(&self, _: usize, _: u64) {}
}

/// A Redis that ends with the benchmark.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// None where it is not installed.
    fn start(folder: &Path) -> Option<Self> {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(folder)
            .stdout(Stdio::null())
            .spawn();
        let server = Self {
            process: process.ok()?,
            port,
        };
        let asked_at = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(asked_at.elapsed() < START, "redis-server does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A worker's ledger, and requests without an end.
struct Worker {
    runtime: Runtime,
    tasks: LocalSet,
    ledger: Rc<Ledger<AnyStore>>,
    next: Cell<u64>,
}

impl Worker {
    fn over(store: AnyStore) -> Self {
        let settings = Settings {
            timezone: "UTC".into(),
            patience: Duration::from_secs(10),
            lease: Duration::from_secs(60),
            share: 0.5,
            local_for: Duration::from_secs(600),
            journal_folder: None,
        };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self {
            runtime,
            tasks: LocalSet::new(),
            ledger: Ledger::new(store, settings, Rc::new(Nobody)).unwrap(),
            next: Cell::new(0),
        }
    }

    /// [`AT_ONCE`] requests from their beginning to their end.
    fn serve(&self, wants: &[Want], used: &[u64]) {
        let mut requests = JoinSet::new();
        for _ in 0..AT_ONCE {
            let number = self.next.replace(self.next.get() + 1);
            let order = Order {
                user: format!("user-{}", number % USERS),
                lease: LeaseId::new(format!("req_{number:028x}")).unwrap(),
                wants: wants.to_vec(),
                on_failure: OnFailure::Closed,
            };
            let (ledger, used) = (Rc::clone(&self.ledger), used.to_vec());
            let request = async move {
                let lease = ledger.reserve(order).await.unwrap();
                assert_eq!(lease.settle(&used).await.len(), used.len());
            };
            requests.spawn_local_on(request, &self.tasks);
        }
        self.tasks.block_on(&self.runtime, async {
            while let Some(ended) = requests.join_next().await {
                ended.unwrap();
            }
        });
    }
}

fn want(unit: &str, period: Option<&str>, amount: u64) -> Want {
    let window = Window::parse(unit, period, Some(PLENTY)).unwrap();
    Want { window, amount }
}

fn leases(criterion: &mut Criterion, name: &str, store: AnyStore) {
    let worker = Worker::over(store);
    let requests = want("requests", Some("day"), 1);
    let tokens = want("tokens", Some("day"), 900);
    let place = want("concurrent", None, 1);
    let mut group = criterion.benchmark_group(format!("quota-{name}"));
    group.throughput(Throughput::Elements(AT_ONCE));
    // Settled as it is reserved: one call. The others are reserved, then settled.
    group.bench_function("requests", |bencher| {
        bencher.iter(|| worker.serve(&[requests], &[1]));
    });
    group.bench_function("tokens", |bencher| {
        bencher.iter(|| worker.serve(&[requests, tokens], &[1, 700]));
    });
    group.bench_function("tokens-and-places", |bencher| {
        bencher.iter(|| worker.serve(&[requests, tokens, place], &[1, 700, 1]));
    });
    group.finish();
}

fn redis(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else {
        let hint = "quota-redis: skipped, redis-server is not installed";
        let _ = writeln!(io::stderr(), "{hint} (apt-get install redis-server)");
        return;
    };
    let url = format!("redis://127.0.0.1:{}", server.port);
    let store = RedisStore::new(&url, None, LIVES, Box::new(|_| ())).unwrap();
    leases(criterion, "redis", AnyStore::Redis(store));
}

fn sqlite(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("quota.sqlite3"), LIVES).unwrap();
    leases(criterion, "sqlite", AnyStore::Sqlite(store));
}

criterion_group!(quota_benches, redis, sqlite);
criterion_main!(quota_benches);
