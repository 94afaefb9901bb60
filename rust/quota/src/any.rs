//! One type for whichever store the configuration names.

use crate::redis::RedisStore;
use crate::sqlite::SqliteStore;
use crate::store::{Backend, Operation, Outcome, StoreError};
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

impl Backend for AnyStore {
    async fn call(&self, operation: Operation, buckets: &[Bucket]) -> Result<Outcome, StoreError> {
        match self {
            Self::Redis(store) => store.call(operation, buckets).await,
            Self::Sqlite(store) => store.call(operation, buckets).await,
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => Backend::ping(store).await,
            Self::Sqlite(store) => Backend::ping(store).await,
        }
    }
}
