//! One user at one handle of a store, in few words.

use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quota::{
    Account, Bucket, Calendar, Call, Claim, Closing, Hold, LeaseId, Lives, Operation, Reply, Store,
    Version, Window,
};
use tokio::task::{JoinSet, LocalSet};

use super::Fixture;

/// Long enough for any answer that comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than any test.
pub(crate) const LIVES: Lives = Lives::of_lease(600_000);

pub(crate) struct Caller<S> {
    pub(crate) store: Rc<S>,
    pub(crate) account: Account,
}

impl<S> Caller<S> {
    pub(crate) fn new(store: S, user: &str) -> Self {
        Self {
            store: Rc::new(store),
            account: Account::of(user),
        }
    }

    /// Another user at the same handle.
    pub(crate) fn another(&self, user: &str) -> Self {
        Self {
            store: Rc::clone(&self.store),
            account: Account::of(user),
        }
    }

    /// The current bucket. Days, weeks and months do not end while a test runs.
    pub(crate) fn bucket(&self, unit: &str, period: &str, limit: Option<u64>) -> Bucket {
        self.bucket_at(unit, period, limit, now_ms())
    }

    pub(crate) fn bucket_at(
        &self,
        unit: &str,
        period: &str,
        limit: Option<u64>,
        at_ms: u64,
    ) -> Bucket {
        let window = Window::parse(unit, Some(period), limit).unwrap();
        let calendar = Calendar::new(zone()).unwrap();
        calendar.bucket(&self.account, window, at_ms).unwrap()
    }
}

impl<S: Store> Caller<S> {
    pub(crate) async fn call(&self, operation: Operation) -> Reply {
        self.call_after(None, operation).await
    }

    /// Calls as one who has seen the account at `seen`.
    pub(crate) async fn call_after(&self, seen: Option<Version>, operation: Operation) -> Reply {
        let call = Call {
            account: self.account.clone(),
            seen,
            operation,
        };
        self.store.call(&call, PATIENCE).await.unwrap()
    }

    /// Takes what nothing of is corrected later.
    pub(crate) async fn take(&self, lease: &str, claims: &[(&Bucket, u64)]) -> Reply {
        self.call(reserve(lease, claims, Hold::Settled, None)).await
    }

    /// Takes what is open until it is settled.
    pub(crate) async fn fly(
        &self,
        lease: &str,
        claims: &[(&Bucket, u64)],
        places: Option<u64>,
    ) -> Reply {
        self.call(reserve(lease, claims, Hold::Open, places)).await
    }

    /// Ends a lease that took and used so much.
    pub(crate) async fn settle(&self, lease: &str, closings: &[(&Bucket, u64, u64)]) -> Reply {
        self.call(settle(lease, closings, false)).await
    }

    pub(crate) async fn extend(&self, lease: &str) -> Reply {
        let hold = Hold::Open;
        let lease = id(lease);
        self.call(Operation::Extend { lease, hold }).await
    }

    pub(crate) async fn look(&self, buckets: &[&Bucket]) -> Reply {
        self.call(read(buckets)).await
    }

    pub(crate) async fn used(&self, buckets: &[&Bucket]) -> Vec<u64> {
        self.look(buckets).await.used
    }

    pub(crate) async fn flying(&self) -> u64 {
        self.look(&[]).await.flying
    }
}

/// The user of most tests, with leases that outlive them.
pub(crate) fn user<F: Fixture>(fixture: &F) -> Caller<F::Handle> {
    Caller::new(fixture.open(LIVES), "u")
}

/// The same user, with leases that live so long in flight.
pub(crate) fn user_for<F: Fixture>(fixture: &F, lease_ms: u64) -> Caller<F::Handle> {
    Caller::new(fixture.open(Lives { lease_ms, ..LIVES }), "u")
}

pub(crate) fn reserve(
    lease: &str,
    claims: &[(&Bucket, u64)],
    hold: Hold,
    places: Option<u64>,
) -> Operation {
    Operation::Reserve {
        lease: id(lease),
        claims: amounts(claims),
        hold,
        places,
    }
}

pub(crate) fn settle(lease: &str, closings: &[(&Bucket, u64, u64)], sure: bool) -> Operation {
    let closings = closings.iter().map(|(bucket, taken, used)| Closing {
        bucket: (*bucket).clone(),
        taken: *taken,
        used: *used,
    });
    Operation::Settle {
        lease: id(lease),
        closings: closings.collect(),
        sure,
    }
}

pub(crate) fn read(buckets: &[&Bucket]) -> Operation {
    let buckets = buckets.iter().copied().cloned().collect();
    Operation::Read { buckets }
}

pub(crate) fn amounts(claims: &[(&Bucket, u64)]) -> Vec<Claim> {
    let claims = claims.iter().map(|(bucket, amount)| Claim {
        bucket: (*bucket).clone(),
        amount: *amount,
    });
    claims.collect()
}

pub(crate) fn id(text: &str) -> LeaseId {
    LeaseId::new(text).unwrap()
}

pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

/// A zone in which midnight is hours away.
fn zone() -> &'static str {
    const HOUR_MS: u64 = 3_600_000;
    let hour = now_ms() / HOUR_MS % 24;
    if (6..18).contains(&hour) {
        "UTC"
    } else {
        "Etc/GMT+12"
    }
}

/// Waits for a minute that does not end before five seconds have passed.
pub(crate) async fn early_in_a_minute() {
    while now_ms() % 60_000 > 55_000 {
        tokio::time::sleep(Duration::from_millis(60_000 - now_ms() % 60_000)).await;
    }
}

/// Asks until the answer is yes: what is waited for has no other sign.
pub(crate) async fn eventually(what: &str, mut asked: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !asked().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let over = tokio::time::timeout(PATIENCE, waited).await;
    assert!(over.is_ok(), "it never came to this: {what}");
}

pub(crate) async fn in_parallel<F>(calls: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    let all = async {
        let mut set = JoinSet::new();
        for call in calls {
            set.spawn_local(call);
        }
        set.join_all().await
    };
    LocalSet::new().run_until(all).await
}
