//! What a store of counters promises, whichever it is.

use std::fmt;

use crate::window::{Bucket, Window};

/// How much of one window is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// What was taken and not given back; may exceed `limit` after [`Store::record`].
    pub used: u64,
    /// The window's limit; none means unlimited.
    pub limit: Option<u64>,
    /// When the window begins anew, in Unix seconds.
    pub resets_at_s: i64,
    /// The window that is counted.
    pub window: Window,
}

/// The answer to [`Store::reserve`], with one count for each bucket, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Every bucket had room and one was taken from each; the counts include it.
    Granted(Vec<Count>),
    /// Some bucket is full and nothing was taken.
    Refused {
        /// The counts as they are.
        counts: Vec<Count>,
        /// Index of the first bucket that is full.
        exhausted: usize,
    },
}

/// What a store is asked to do with buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Reserve,
    Refund,
    Record,
    Read,
}

/// What a store did: `used` of each bucket, and the first that was full where that stopped it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) used: Vec<u64>,
    pub(crate) exhausted: Option<usize>,
}

impl Outcome {
    pub(crate) fn into_counts(self, buckets: &[Bucket]) -> Vec<Count> {
        let count = |(bucket, used): (&Bucket, u64)| Count {
            used,
            limit: bucket.window.limit,
            resets_at_s: bucket.resets_at_s,
            window: bucket.window,
        };
        buckets.iter().zip(self.used).map(count).collect()
    }

    pub(crate) fn into_decision(self, buckets: &[Bucket]) -> Decision {
        let exhausted = self.exhausted;
        let counts = self.into_counts(buckets);
        match exhausted {
            None => Decision::Granted(counts),
            Some(exhausted) => Decision::Refused { counts, exhausted },
        }
    }
}

/// Why a store gave no answer. Never contains a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// No connection, or a queue that is full, and nothing was changed; or a connection that broke
    /// before the answer, and whether the call took effect is unknown.
    Unreachable(String),
    /// No answer within the deadline. Whether the call took effect is unknown.
    Timeout,
    /// The store answered that it will not do it; nothing was changed.
    Refused(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(cause) => {
                write!(formatter, "the quota store is unreachable: {cause}")
            }
            Self::Timeout => formatter.write_str("the quota store did not answer in time"),
            Self::Refused(cause) => write!(formatter, "the quota store refused: {cause}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Counters in buckets, exact over all processes that share the store.
///
/// The keys of one call's buckets are distinct. Every call ends within the store's deadline and is
/// never repeated after a lost reply, which could count twice. A bucket without a limit is counted
/// but never refuses.
#[expect(
    async_fn_in_trait,
    reason = "the relay runs on one thread and needs no Send futures"
)]
pub trait Store {
    /// Takes one from every bucket if all of them have room, else from none.
    async fn reserve(&self, buckets: &[Bucket]) -> Result<Decision, StoreError>;

    /// Gives one back to every bucket; a count never falls below zero.
    async fn refund(&self, buckets: &[Bucket]) -> Result<(), StoreError>;

    /// Takes one from every bucket whatever its limit, and returns the counts including it.
    async fn record(&self, buckets: &[Bucket]) -> Result<Vec<Count>, StoreError>;

    /// Returns the counts without changing them; an untouched bucket counts zero.
    async fn read(&self, buckets: &[Bucket]) -> Result<Vec<Count>, StoreError>;

    /// Returns once the store has answered.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// What a store has to do to be one: a single call for every operation, and an answer when asked for a sign of life.
pub(crate) trait Backend {
    /// Runs one operation on all buckets at once.
    async fn call(&self, operation: Operation, buckets: &[Bucket]) -> Result<Outcome, StoreError>;

    /// Returns once the store has answered.
    async fn ping(&self) -> Result<(), StoreError>;
}

impl<T: Backend> Store for T {
    async fn reserve(&self, buckets: &[Bucket]) -> Result<Decision, StoreError> {
        let outcome = self.call(Operation::Reserve, buckets).await?;
        Ok(outcome.into_decision(buckets))
    }

    async fn refund(&self, buckets: &[Bucket]) -> Result<(), StoreError> {
        self.call(Operation::Refund, buckets).await.map(drop)
    }

    async fn record(&self, buckets: &[Bucket]) -> Result<Vec<Count>, StoreError> {
        let outcome = self.call(Operation::Record, buckets).await?;
        Ok(outcome.into_counts(buckets))
    }

    async fn read(&self, buckets: &[Bucket]) -> Result<Vec<Count>, StoreError> {
        let outcome = self.call(Operation::Read, buckets).await?;
        Ok(outcome.into_counts(buckets))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Backend::ping(self).await
    }
}
