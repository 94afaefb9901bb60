//! Whatever happens in whatever order, every unit is counted once.

use std::collections::HashMap;
use std::fs;
use std::mem::forget;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::prelude::*;
use quota::{Lease, OnFailure, Order, Period, Unit, Want, Window};
use tempfile::TempDir;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

use crate::model_store::{ModelStore, Trouble};
use crate::world::{LEASE, Worker, order, settings, want, window};

const WINDOWS: [Window; 6] = [
    window(Unit::Requests, Some(Period::Minute), Some(6)),
    window(Unit::Requests, Some(Period::Day), Some(9)),
    window(Unit::Prompts, Some(Period::Hour), None),
    window(Unit::Tokens, Some(Period::Week), Some(1_000)),
    window(Unit::Tokens, Some(Period::Month), None),
    window(Unit::Concurrent, None, Some(3)),
];
const USERS: [&str; 2] = ["one", "two"];
const MOMENT: Duration = Duration::from_millis(2);

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        worker: usize,
        user: usize,
        windows: u8,
        amount: u64,
        on_failure: OnFailure,
        patient: bool,
    },
    Settle {
        lease: usize,
        percent: u64,
        patient: bool,
    },
    GiveBack {
        lease: usize,
    },
    Drop {
        lease: usize,
    },
    Next {
        trouble: Trouble,
        calls: usize,
    },
    Down {
        trouble: Trouble,
    },
    Up,
    Wait {
        ms: u64,
    },
    Jump {
        by_s: i64,
    },
    Kill {
        worker: usize,
    },
    Drain {
        worker: usize,
    },
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        Just(Trouble::CutBefore),
        Just(Trouble::CutAfter),
        Just(Trouble::Lost),
        Just(Trouble::ReplyLost),
        (1..4_000_u64).prop_map(|ms| Trouble::Slow(Duration::from_millis(ms))),
        Just(Trouble::Refuses(quota::StoreErrorKind::Loading)),
        Just(Trouble::Refuses(quota::StoreErrorKind::Crowded)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let on_failure = prop_oneof![
        2 => Just(OnFailure::Local),
        1 => Just(OnFailure::Open),
        1 => Just(OnFailure::Closed)
    ];
    let reserve = (
        0..2_usize,
        0..2_usize,
        1..64_u8,
        0..300_u64,
        on_failure,
        prop::bool::weighted(0.9),
    );
    prop_oneof![
        12 => reserve.prop_map(|(worker, user, windows, amount, on_failure, patient)| {
            Step::Reserve { worker, user, windows, amount, on_failure, patient }
        }),
        6 => (0..50_usize, 0..150_u64, prop::bool::weighted(0.8)).prop_map(|(lease, percent, patient)| {
            Step::Settle { lease, percent, patient }
        }),
        2 => (0..50_usize).prop_map(|lease| Step::GiveBack { lease }),
        2 => (0..50_usize).prop_map(|lease| Step::Drop { lease }),
        3 => (trouble(), 1..5_usize).prop_map(|(trouble, calls)| Step::Next { trouble, calls }),
        1 => trouble().prop_map(|trouble| Step::Down { trouble }),
        2 => Just(Step::Up),
        3 => (0..6_000_u64).prop_map(|ms| Step::Wait { ms }),
        1 => (-100..100_i64).prop_map(|by_s| Step::Jump { by_s }),
        1 => (0..2_usize).prop_map(|worker| Step::Kill { worker }),
        1 => (0..2_usize).prop_map(|worker| Step::Drain { worker }),
    ]
}

/// A request in flight.
struct Running {
    worker: usize,
    user: usize,
    wants: Vec<Want>,
    lease: Lease<ModelStore>,
}

struct World {
    store: ModelStore,
    workers: Vec<(Worker, TempDir)>,
    running: Vec<Running>,
    leases: usize,
    /// What must have been counted in the end, by user and window.
    expected: HashMap<(usize, usize), u64>,
    /// What was let in without the store, by the same.
    alone: HashMap<(usize, usize), u64>,
}

impl World {
    fn new() -> Self {
        let store = ModelStore::default();
        // Near enough to this machine's time for a worker that begins while the store is down.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now_ms = i64::try_from(now.as_millis()).unwrap();
        store.jump(now_ms - i64::try_from(store.now_ms()).unwrap());
        let worker = || worker(&store, tempfile::tempdir().unwrap());
        Self {
            workers: vec![worker(), worker()],
            store,
            running: Vec::new(),
            leases: 0,
            expected: HashMap::new(),
            alone: HashMap::new(),
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Reserve {
                worker,
                user,
                windows,
                amount,
                on_failure,
                patient,
            } => {
                let order = self.order(user, windows, amount, on_failure);
                self.reserve(worker, user, order, patient).await;
            }
            Step::Settle {
                lease,
                percent,
                patient,
            } => {
                if let Some(running) = self.take(lease) {
                    let used: Vec<u64> = running
                        .wants
                        .iter()
                        .map(|want| want.amount * percent / 100)
                        .collect();
                    self.expect(&running, &used);
                    let settle = running.lease.settle(&used);
                    if patient {
                        settle.await;
                    } else {
                        let _ = timeout(MOMENT, settle).await;
                    }
                }
            }
            Step::GiveBack { lease } => {
                if let Some(running) = self.take(lease) {
                    running.lease.give_back().await;
                }
            }
            Step::Drop { lease } => {
                if let Some(running) = self.take(lease) {
                    drop(self.stands(running));
                }
            }
            Step::Next { trouble, calls } => self.store.trouble(vec![trouble; calls]),
            Step::Down { trouble } => self.store.down(trouble),
            Step::Up => self.store.up(),
            Step::Wait { ms } => sleep(Duration::from_millis(ms)).await,
            Step::Jump { by_s } => self.store.jump(by_s * 1_000),
            Step::Kill { worker } => self.kill(worker).await,
            Step::Drain { worker } => self.drain(worker).await,
        }
    }

    fn order(&mut self, user: usize, windows: u8, amount: u64, on_failure: OnFailure) -> Order {
        self.leases += 1;
        let chosen = (0..WINDOWS.len()).filter(|index| windows & (1 << index) != 0);
        let want_one = |index: usize| match WINDOWS[index].unit {
            Unit::Tokens => want(WINDOWS[index], amount),
            Unit::Prompts => want(WINDOWS[index], amount % 2),
            _ => want(WINDOWS[index], 1),
        };
        let wants: Vec<Want> = chosen.map(want_one).collect();
        Order {
            on_failure,
            ..order(USERS[user], &format!("lease-{}", self.leases), &wants)
        }
    }

    async fn reserve(&mut self, worker: usize, user: usize, order: Order, patient: bool) {
        let wants = order.wants.clone();
        let before = Instant::now();
        let patience = if patient {
            Duration::from_secs(1)
        } else {
            MOMENT
        };
        let ledger = &self.workers[worker].0.ledger;
        let Ok(Ok(lease)) = timeout(patience, ledger.reserve(order)).await else {
            return;
        };
        assert!(before.elapsed() <= Duration::from_millis(250));
        let noted = wants.iter().all(|want| want.window.limit.is_none());
        for count in lease.counts() {
            let amount = wants
                .iter()
                .find(|want| want.window == count.window)
                .unwrap()
                .amount;
            let fits = count.window.limit.is_none_or(|limit| count.used <= limit);
            assert!(fits || amount == 0, "granted beyond its limit: {count:?}");
        }
        if lease.counts().is_empty() && !noted {
            for want in &wants {
                *self.alone.entry((user, place(want.window))).or_default() += want.amount;
            }
        }
        self.running.push(Running {
            worker,
            user,
            wants,
            lease,
        });
    }

    fn take(&mut self, lease: usize) -> Option<Running> {
        let count = self.running.len();
        (count > 0).then(|| self.running.swap_remove(lease % count))
    }

    fn expect(&mut self, running: &Running, used: &[u64]) {
        for (want, used) in running.wants.iter().zip(used) {
            *self
                .expected
                .entry((running.user, place(want.window)))
                .or_default() += used;
        }
    }

    fn stands(&mut self, running: Running) -> Lease<ModelStore> {
        let amounts: Vec<u64> = running.wants.iter().map(|want| want.amount).collect();
        self.expect(&running, &amounts);
        running.lease
    }

    /// The end of a worker that nothing could be done about, and the next one, who finds its files.
    async fn kill(&mut self, index: usize) {
        // What has no limit is counted without anybody waiting for it: let it be heard of.
        sleep(Duration::from_millis(300)).await;
        let left = tempfile::tempdir().unwrap();
        for file in fs::read_dir(self.workers[index].1.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
        }
        for lease in self.leave(index) {
            forget(lease);
        }
        self.workers[index] = worker(&self.store, left);
        // The old one's tasks are gone when they are next looked at.
        tokio::task::yield_now().await;
    }

    /// The end of a worker whose time to drain was over.
    async fn drain(&mut self, index: usize) {
        let leases = self.leave(index);
        let (new, folder) = worker(&self.store, tempfile::tempdir().unwrap());
        let (old, old_folder) = std::mem::replace(&mut self.workers[index], (new, folder));
        old.stop().await;
        drop(leases);
        sleep(Duration::from_millis(300)).await;
        self.workers[index] = worker(&self.store, old_folder);
    }

    fn leave(&mut self, index: usize) -> Vec<Lease<ModelStore>> {
        let (gone, stay) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|running| running.worker == index);
        self.running = stay;
        let gone: Vec<Running> = gone;
        gone.into_iter()
            .map(|running| self.stands(running))
            .collect()
    }

    async fn end(mut self) {
        while let Some(running) = self.take(0) {
            drop(self.stands(running));
        }
        self.store.up();
        for _ in 0..100 {
            sleep(Duration::from_secs(5)).await;
            let waiting = |worker: &(Worker, TempDir)| worker.0.watched.waiting.get();
            if self.workers.iter().map(waiting).sum::<usize>() == 0 {
                break;
            }
        }
        for (worker, folder) in std::mem::take(&mut self.workers) {
            let told = (worker.watched.waiting.get(), worker.watched.lost.get());
            assert_eq!(told, (0, 0));
            worker.stop().await;
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        // The clock may have gone back by as much as it was told to, in sixty steps.
        sleep(LEASE + Duration::from_secs(60 * 100)).await;
        for (user, name) in USERS.iter().enumerate() {
            assert_eq!(
                self.store.flying(name),
                0,
                "a lease is in flight after its time"
            );
            for (index, window) in WINDOWS.iter().enumerate() {
                if window.period.is_none() {
                    continue;
                }
                let expected = self.expected.get(&(user, index)).copied().unwrap_or(0);
                assert_eq!(self.used(name, *window), expected, "{name} {window:?}");
            }
        }
    }

    fn used(&self, user: &str, window: Window) -> u64 {
        match (window.unit, window.period) {
            (Unit::Requests, Some(Period::Day)) => self.store.used(user, "}:2"),
            (unit, Some(period)) => self
                .store
                .used(user, &format!(":{}:{}:", unit.as_str(), period.as_str())),
            (_, None) => 0,
        }
    }
}

fn worker(store: &ModelStore, folder: TempDir) -> (Worker, TempDir) {
    (Worker::with(store, settings(Some(folder.path()))), folder)
}

fn place(window: Window) -> usize {
    WINDOWS.iter().position(|other| *other == window).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_unit_is_counted_once_whatever_happens(steps in vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let story = async {
            let mut world = World::new();
            for step in steps {
                world.step(step).await;
            }
            world.end().await;
        };
        runtime.block_on(LocalSet::new().run_until(story));
    }
}
