//! Any order of operations leaves every store in the state of a model that fits on one page.

#![cfg(test)]

#[expect(dead_code, reason = "other tests need more of it")]
mod redis_server;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use quota::{
    Account, Bucket, Calendar, Call, Claim, Closing, Hold, LeaseId, Lives, Operation, RedisStore,
    Reply, SqliteStore, Store, Verdict, Version, Window,
};
use redis_server::Server;

const PATIENCE: Duration = Duration::from_secs(10);
const CASES: u32 = 300;
/// Long enough that nothing dies while a case runs.
const LIVES: Lives = Lives::of_lease(3_600_000);

/// One step, in small numbers.
#[derive(Clone, Debug)]
enum Step {
    Reserve {
        lease: u8,
        amounts: [u64; 2],
        open: bool,
        places: Option<u64>,
        seen: Seen,
        current: bool,
    },
    Settle {
        lease: u8,
        taken: [u64; 2],
        used: [u64; 2],
        sure: bool,
        seen: Seen,
    },
    Extend {
        lease: u8,
        open: bool,
    },
    Read {
        seen: Seen,
        current: bool,
    },
    Restore {
        floors: [u64; 2],
        seen: Seen,
    },
    Reopen {
        lease: u8,
        amounts: [u64; 2],
        open: bool,
    },
    Set {
        used: u64,
    },
    Probe,
}

/// What the caller claims to have seen of the account.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Nothing,
    Now,
    Ahead,
    AnotherEpoch,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lease = 0..4_u8;
    let amounts = || [0..6_u64, 0..40_u64];
    let seen = || {
        prop_oneof![
            4 => Just(Seen::Nothing),
            4 => Just(Seen::Now),
            1 => Just(Seen::Ahead),
            1 => Just(Seen::AnotherEpoch),
        ]
    };
    let current = || prop::bool::weighted(0.9);
    let places = prop::option::weighted(0.3, 0..4_u64);
    let reserve = (
        lease.clone(),
        amounts(),
        any::<bool>(),
        places,
        seen(),
        current(),
    );
    let settle = (lease.clone(), amounts(), amounts(), any::<bool>(), seen());
    let step = prop_oneof![
        6 => reserve.prop_map(|(lease, amounts, open, places, seen, current)| Step::Reserve {
            lease, amounts, open, places, seen, current,
        }),
        5 => settle.prop_map(|(lease, taken, used, sure, seen)| Step::Settle {
            lease, taken, used, sure, seen,
        }),
        1 => (lease.clone(), any::<bool>()).prop_map(|(lease, open)| Step::Extend { lease, open }),
        1 => (seen(), current()).prop_map(|(seen, current)| Step::Read { seen, current }),
        1 => (amounts(), seen()).prop_map(|(floors, seen)| Step::Restore { floors, seen }),
        1 => (lease, amounts(), any::<bool>()).prop_map(|(lease, amounts, open)| Step::Reopen {
            lease, amounts, open,
        }),
        1 => (0..50_u64).prop_map(|used| Step::Set { used }),
        1 => Just(Step::Probe),
    ];
    prop::collection::vec(step, 1..40)
}

/// What an account is, in so many words.
#[derive(Default)]
struct Model {
    counts: HashMap<String, u64>,
    /// What each lease has taken; `None` once it has ended.
    records: HashMap<LeaseId, Option<Vec<u64>>>,
    flying: HashSet<LeaseId>,
    /// Changes so far, and how often another history began.
    sequence: u64,
    epoch: u64,
}

impl Model {
    fn count(&self, bucket: &Bucket) -> u64 {
        self.counts.get(&bucket.key).copied().unwrap_or(0)
    }

    fn add(&mut self, bucket: &Bucket, more: u64, less: u64) {
        let count = (self.count(bucket) + more).saturating_sub(less);
        self.counts.insert(bucket.key.clone(), count);
    }

    fn hold(&mut self, lease: &LeaseId, hold: Hold) {
        if hold == Hold::Open {
            self.flying.insert(lease.clone());
        }
    }

    /// The verdict on `operation`; `known` says whether the caller has seen nothing that the account has not, and `current`
    /// whether its buckets are those of this time.
    fn run(
        &mut self,
        operation: &Operation,
        known: bool,
        current: bool,
        same_epoch: bool,
    ) -> Verdict {
        let verdict = self.decide(operation, known, current);
        let changes = !matches!(operation, Operation::Read { .. } | Operation::Probe);
        let repeated = matches!(operation, Operation::Reserve { lease, .. } | Operation::Reopen { lease, .. } if self.records.contains_key(lease));
        if verdict != Verdict::Done || !changes || repeated {
            return verdict;
        }
        match operation {
            Operation::Reserve {
                lease,
                claims,
                hold,
                ..
            } => {
                for claim in claims {
                    self.add(&claim.bucket, claim.amount, 0);
                }
                let amounts = claims.iter().map(|claim| claim.amount).collect();
                self.records.insert(lease.clone(), Some(amounts));
                self.hold(lease, *hold);
            }
            Operation::Settle {
                lease,
                closings,
                sure,
            } => {
                let taken = self.records.insert(lease.clone(), None);
                let taken = taken.flatten().or_else(|| {
                    sure.then(|| closings.iter().map(|closing| closing.taken).collect())
                });
                if let Some(taken) = taken {
                    for (closing, taken) in closings.iter().zip(taken) {
                        self.add(&closing.bucket, closing.used, taken);
                    }
                }
                self.flying.remove(lease);
            }
            Operation::Extend { lease, hold } => self.hold(lease, *hold),
            Operation::Restore { floors } => {
                for floor in floors {
                    let more = floor.amount.saturating_sub(self.count(&floor.bucket));
                    self.add(&floor.bucket, more, 0);
                }
            }
            Operation::Reopen {
                lease,
                claims,
                hold,
            } => {
                let amounts = claims.iter().map(|claim| claim.amount).collect();
                self.records.insert(lease.clone(), Some(amounts));
                self.hold(lease, *hold);
            }
            Operation::Set { bucket, used, .. } => {
                self.counts.insert(bucket.key.clone(), *used);
            }
            Operation::Read { .. } | Operation::Probe => {}
        }
        if self.sequence == 0 || (same_epoch && matches!(operation, Operation::Restore { .. })) {
            self.epoch += 1;
        }
        self.sequence += 1;
        verdict
    }

    fn decide(&self, operation: &Operation, known: bool, current: bool) -> Verdict {
        let record = match operation {
            Operation::Reserve { lease, .. }
            | Operation::Settle { lease, .. }
            | Operation::Extend { lease, .. } => self.records.get(lease),
            _ => None,
        };
        let restores = matches!(
            operation,
            Operation::Restore { .. } | Operation::Reopen { .. } | Operation::Probe
        );
        match (operation, record) {
            _ if !known && !restores => Verdict::Older,
            (_, Some(None)) | (Operation::Extend { .. }, None) => Verdict::Ended,
            (Operation::Reserve { .. }, Some(Some(_))) => Verdict::Done,
            (Operation::Reserve { .. } | Operation::Read { .. }, _) if !current => Verdict::Moved,
            (Operation::Reserve { places, claims, .. }, None) => {
                if places.is_some_and(|places| self.flying.len() as u64 >= places) {
                    return Verdict::Crowded;
                }
                let has_room = |claim: &Claim| {
                    let limit = claim.bucket.window.limit.unwrap_or(u64::MAX);
                    claim.amount == 0 || self.count(&claim.bucket) + claim.amount <= limit
                };
                let full = claims.iter().position(|claim| !has_room(claim));
                full.map_or(Verdict::Done, Verdict::Full)
            }
            _ => Verdict::Done,
        }
    }
}

/// One account of a real store beside the model.
struct Beside<'a, S> {
    store: &'a S,
    account: Account,
    buckets: Vec<Bucket>,
    model: Model,
    /// What the store last told.
    version: Option<Version>,
}

impl<'a, S: Store> Beside<'a, S> {
    fn new(store: &'a S) -> Self {
        static USERS: AtomicU64 = AtomicU64::new(0);
        let account = Account::of(&format!("user-{}", USERS.fetch_add(1, Ordering::Relaxed)));
        let calendar = Calendar::new("UTC").unwrap();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now_ms = u64::try_from(since_epoch.as_millis()).unwrap();
        let windows = [("requests", Some(12)), ("tokens", Some(90))];
        let buckets = windows.map(|(unit, limit)| {
            let window = Window::parse(unit, Some("month"), limit).unwrap();
            calendar.bucket(&account, window, now_ms).unwrap()
        });
        Self {
            store,
            account,
            buckets: buckets.to_vec(),
            model: Model::default(),
            version: None,
        }
    }

    fn claims(&self, amounts: [u64; 2], current: bool) -> Vec<Claim> {
        let buckets = self.buckets.iter().zip(amounts);
        let claim = |(bucket, amount): (&Bucket, u64)| Claim {
            bucket: dated(bucket, current),
            amount,
        };
        buckets.map(claim).collect()
    }

    fn seen(&self, seen: Seen) -> Option<Version> {
        let version = self.version.unwrap_or(Version {
            epoch: 1,
            sequence: 1,
        });
        match seen {
            Seen::Nothing => None,
            Seen::Now => self.version,
            Seen::Ahead => Some(Version {
                sequence: version.sequence + 1,
                ..version
            }),
            Seen::AnotherEpoch => Some(Version {
                epoch: version.epoch + 1,
                ..version
            }),
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let hold = |open: bool| if open { Hold::Open } else { Hold::Settled };
        let (operation, seen, current) = match step.clone() {
            Step::Reserve {
                lease,
                amounts,
                open,
                places,
                seen,
                current,
            } => {
                let reserve = Operation::Reserve {
                    lease: named(lease),
                    claims: self.claims(amounts, current),
                    hold: hold(open),
                    places,
                };
                (reserve, seen, current)
            }
            Step::Settle {
                lease,
                taken,
                used,
                sure,
                seen,
            } => {
                let buckets = self.buckets.iter().zip(taken).zip(used);
                let closings = buckets.map(|((bucket, taken), used)| Closing {
                    bucket: bucket.clone(),
                    taken,
                    used,
                });
                let settle = Operation::Settle {
                    lease: named(lease),
                    closings: closings.collect(),
                    sure,
                };
                (settle, seen, true)
            }
            Step::Extend { lease, open } => {
                let (lease, hold) = (named(lease), hold(open));
                (Operation::Extend { lease, hold }, Seen::Nothing, true)
            }
            Step::Read { seen, current } => {
                let buckets = self.buckets.iter().map(|bucket| dated(bucket, current));
                let buckets = buckets.collect();
                (Operation::Read { buckets }, seen, current)
            }
            Step::Restore { floors, seen } => {
                let floors = self.claims(floors, true);
                (Operation::Restore { floors }, seen, true)
            }
            Step::Reopen {
                lease,
                amounts,
                open,
            } => {
                let reopen = Operation::Reopen {
                    lease: named(lease),
                    claims: self.claims(amounts, true),
                    hold: hold(open),
                };
                (reopen, Seen::Nothing, true)
            }
            Step::Set { used } => {
                let set = Operation::Set {
                    bucket: self.buckets[0].clone(),
                    used,
                    note: "{}".into(),
                };
                (set, Seen::Nothing, true)
            }
            Step::Probe => (Operation::Probe, Seen::Nothing, true),
        };
        let seen = self.seen(seen);
        let before: Vec<u64> = self.buckets.iter().map(|b| self.model.count(b)).collect();
        let known = seen.is_none_or(|seen| {
            self.version.is_some_and(|version| {
                version.epoch == seen.epoch && version.sequence >= seen.sequence
            })
        });
        let same_epoch = seen.is_some_and(|seen| {
            self.version
                .is_some_and(|version| version.epoch == seen.epoch)
        });
        let verdict = self.model.run(&operation, known, current, same_epoch);
        let call = Call {
            account: self.account.clone(),
            seen,
            operation,
        };
        let reply = self.store.call(&call, PATIENCE).await.unwrap();
        self.compare(&call.operation, verdict, &before, &reply)
    }

    fn compare(
        &mut self,
        operation: &Operation,
        verdict: Verdict,
        before: &[u64],
        reply: &Reply,
    ) -> Result<(), TestCaseError> {
        prop_assert_eq!(reply.verdict, verdict);
        if matches!(verdict, Verdict::Older | Verdict::Moved | Verdict::Ended) {
            // Nothing was done, and the caller has to ask in another way: the counts are not for it.
            return Ok(());
        }
        let now: Vec<u64> = self.buckets.iter().map(|b| self.model.count(b)).collect();
        let expected = match operation {
            Operation::Probe => return Ok(()),
            Operation::Set { .. } => &before[..1],
            Operation::Extend { .. } => &[],
            _ => &now[..],
        };
        prop_assert_eq!(&reply.used[..], expected);
        let asks_for_flying = !matches!(
            operation,
            Operation::Reserve {
                hold: Hold::Settled,
                places: None,
                ..
            }
        );
        if asks_for_flying {
            prop_assert_eq!(reply.flying, self.model.flying.len() as u64);
        }
        let sequence = reply.version.map_or(0, |version| version.sequence);
        prop_assert_eq!(sequence, self.model.sequence);
        if let (Some(old), Some(new)) = (self.version, reply.version) {
            prop_assert!(new.epoch >= old.epoch);
        }
        self.version = reply.version;
        Ok(())
    }
}

fn named(lease: u8) -> LeaseId {
    LeaseId::new(format!("lease-{lease}")).unwrap()
}

/// A bucket of this time, or one that has ended.
fn dated(bucket: &Bucket, current: bool) -> Bucket {
    let mut bucket = bucket.clone();
    if !current {
        bucket.resets_at_s = bucket.starts_at_s + 1;
        bucket.starts_at_s -= 1;
    }
    bucket
}

fn agrees_with_the_model<S: Store>(store: &S, runtime: &tokio::runtime::Runtime) {
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(async {
                let mut beside = Beside::new(store);
                for step in &steps {
                    beside.step(step).await?;
                }
                Ok(())
            })
        })
        .unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn redis_agrees_with_the_model_in_any_order() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = RedisStore::new(&server.url(), None, LIVES, Box::new(|_| {})).unwrap();
    agrees_with_the_model(&store, &runtime());
}

#[test]
fn sqlite_agrees_with_the_model_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("quota.sqlite3"), LIVES).unwrap();
    agrees_with_the_model(&store, &runtime());
}
