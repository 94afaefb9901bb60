//! One type for whichever store the configuration names.

use std::time::Duration;

use crate::calendar::Account;
use crate::records::{Found, RecordOperation, Shelf, Shelves};
use crate::redis::RedisStore;
use crate::sqlite::SqliteStore;
use crate::store::{Call, Reply, Store, StoreError};

/// The store that the configuration names.
#[derive(Debug)]
pub enum AnyStore {
    /// Shared by several machines.
    Redis(RedisStore),
    /// A file shared by the processes of one machine.
    Sqlite(SqliteStore),
}

impl Store for AnyStore {
    async fn call(&self, call: &Call, patience: Duration) -> Result<Reply, StoreError> {
        match self {
            Self::Redis(store) => store.call(call, patience).await,
            Self::Sqlite(store) => store.call(call, patience).await,
        }
    }

    async fn notes(
        &self,
        account: &Account,
        patience: Duration,
    ) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Redis(store) => store.notes(account, patience).await,
            Self::Sqlite(store) => store.notes(account, patience).await,
        }
    }

    fn part(&self, account: &Account) -> u64 {
        match self {
            Self::Redis(store) => store.part(account),
            Self::Sqlite(store) => store.part(account),
        }
    }
}

impl Shelves for AnyStore {
    async fn records(
        &self,
        shelf: &Shelf,
        operation: &RecordOperation,
        patience: Duration,
    ) -> Result<Found, StoreError> {
        match self {
            Self::Redis(store) => store.records(shelf, operation, patience).await,
            Self::Sqlite(store) => store.records(shelf, operation, patience).await,
        }
    }
}
