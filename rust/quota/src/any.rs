//! One type for whichever store the configuration names.

use crate::redis::RedisStore;
use crate::sqlite::SqliteStore;
use crate::store::{Count, Decision, Store, StoreError};
use crate::window::Bucket;

/// The store that the configuration names.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one of it")]
pub enum AnyStore {
    /// Shared by several machines.
    Redis(RedisStore),
    /// A file shared by the processes of one machine.
    Sqlite(SqliteStore),
}

impl Store for AnyStore {
    async fn reserve(&self, buckets: &[Bucket]) -> Result<Decision, StoreError> {
        match self {
            Self::Redis(store) => store.reserve(buckets).await,
            Self::Sqlite(store) => store.reserve(buckets).await,
        }
    }

    async fn refund(&self, buckets: &[Bucket]) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.refund(buckets).await,
            Self::Sqlite(store) => store.refund(buckets).await,
        }
    }

    async fn record(&self, buckets: &[Bucket]) -> Result<Vec<Count>, StoreError> {
        match self {
            Self::Redis(store) => store.record(buckets).await,
            Self::Sqlite(store) => store.record(buckets).await,
        }
    }

    async fn read(&self, buckets: &[Bucket]) -> Result<Vec<Count>, StoreError> {
        match self {
            Self::Redis(store) => store.read(buckets).await,
            Self::Sqlite(store) => store.read(buckets).await,
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.ping().await,
            Self::Sqlite(store) => store.ping().await,
        }
    }
}
