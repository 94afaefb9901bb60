//! One user at one store, in few words.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quota::{
    Account, Bucket, Calendar, Call, Claim, Closing, Hold, LeaseId, Lives, Operation, RedisStore,
    Reply, Store as _, StoreError, StoreErrorKind, Verdict, Version, Window,
};

use crate::redis_server::Server;

/// Long enough for any answer that comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const LIVES: Lives = Lives::of_lease(60_000);
pub(crate) const HOUR_MS: u64 = 3_600_000;

pub(crate) struct Desk {
    pub(crate) store: RedisStore,
    pub(crate) account: Account,
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) patience: Duration,
    /// What the store overcame.
    pub(crate) overcome: Rc<RefCell<Vec<StoreErrorKind>>>,
    pub(crate) seen: Option<Version>,
}

impl Desk {
    /// A user with at most `limit` requests a day and as many tokens a month.
    pub(crate) fn at(url: &str, limit: u64) -> Self {
        let overcome = Rc::default();
        let told: Rc<RefCell<Vec<_>>> = Rc::clone(&overcome);
        let tell = Box::new(move |kind| told.borrow_mut().push(kind));
        Self::with(
            RedisStore::new(url, None, LIVES, tell).unwrap(),
            overcome,
            limit,
        )
    }

    pub(crate) fn of(server: &Server, limit: u64) -> Self {
        Self::at(&server.url(), limit)
    }

    pub(crate) fn with(
        store: RedisStore,
        overcome: Rc<RefCell<Vec<StoreErrorKind>>>,
        limit: u64,
    ) -> Self {
        let account = Account::of("alice");
        let windows = [("requests", "day"), ("tokens", "month")];
        let buckets = windows
            .map(|(unit, period)| bucket(&account, unit, period, limit, now_ms()))
            .to_vec();
        Self {
            store,
            account,
            buckets,
            patience: PATIENCE,
            overcome,
            seen: None,
        }
    }

    pub(crate) fn patient_for(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(crate) async fn call(&self, operation: Operation) -> Result<Reply, StoreError> {
        let call = Call {
            account: self.account.clone(),
            seen: self.seen,
            operation,
        };
        self.store.call(&call, self.patience).await
    }

    /// Takes one request and ten tokens.
    pub(crate) async fn reserve(&self, lease: &str) -> Result<Reply, StoreError> {
        self.take(lease, Hold::Open, None).await
    }

    pub(crate) async fn take(
        &self,
        lease: &str,
        hold: Hold,
        places: Option<u64>,
    ) -> Result<Reply, StoreError> {
        let operation = Operation::Reserve {
            lease: id(lease),
            claims: self.claims([1, 10]),
            hold,
            places,
        };
        self.call(operation).await
    }

    pub(crate) async fn settle(
        &self,
        lease: &str,
        used: [u64; 2],
        sure: bool,
    ) -> Result<Reply, StoreError> {
        let closings = self.buckets.iter().zip([1, 10]).zip(used);
        let closings = closings.map(|((bucket, taken), used)| Closing {
            bucket: bucket.clone(),
            taken,
            used,
        });
        let operation = Operation::Settle {
            lease: id(lease),
            closings: closings.collect(),
            sure,
        };
        self.call(operation).await
    }

    pub(crate) async fn set(&self, used: u64, note: &str) -> Result<Reply, StoreError> {
        let operation = Operation::Set {
            bucket: self.buckets[0].clone(),
            used,
            note: note.into(),
        };
        self.call(operation).await
    }

    pub(crate) async fn read(&self) -> Result<Reply, StoreError> {
        let buckets = self.buckets.clone();
        self.call(Operation::Read { buckets }).await
    }

    pub(crate) async fn notes(&self) -> Vec<String> {
        let notes = self.store.notes(&self.account, self.patience);
        notes.await.unwrap()
    }

    pub(crate) async fn probe(&self) -> Result<Reply, StoreError> {
        self.call(Operation::Probe).await
    }

    pub(crate) async fn kind_of_failure(&self, lease: &str) -> StoreErrorKind {
        self.reserve(lease).await.unwrap_err().kind
    }

    pub(crate) fn claims(&self, amounts: [u64; 2]) -> Vec<Claim> {
        let claims = self.buckets.iter().zip(amounts);
        let claims = claims.map(|(bucket, amount)| Claim {
            bucket: bucket.clone(),
            amount,
        });
        claims.collect()
    }

    pub(crate) fn overcame(&self) -> Vec<StoreErrorKind> {
        self.overcome.borrow().clone()
    }
}

pub(crate) fn done(reply: Result<Reply, StoreError>) -> Reply {
    let reply = reply.unwrap();
    assert_eq!(reply.verdict, Verdict::Done);
    reply
}

pub(crate) fn id(text: &str) -> LeaseId {
    LeaseId::new(text).unwrap()
}

pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

pub(crate) fn bucket(
    account: &Account,
    unit: &str,
    period: &str,
    limit: u64,
    now_ms: u64,
) -> Bucket {
    let window = Window::parse(unit, Some(period), Some(limit)).unwrap();
    let calendar = Calendar::new("UTC").unwrap();
    calendar.bucket(account, window, now_ms).unwrap()
}
