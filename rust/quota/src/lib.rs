//! How much a subscriber may still use: windows, accounts, leases, and the stores that count them exactly.
//!
//! A [`Calendar`] turns a [`Window`] of a tier into the [`Bucket`] of an [`Account`] at a time. A [`Store`] runs one
//! operation on one account at once, or not at all; there are two with one meaning, kept by one test suite: [`RedisStore`] for
//! several machines, [`SqliteStore`] for one. The [`Ledger`] is what the relay sees: leases that are reserved, settled or given
//! back exactly once, also while the store cannot be asked.

mod any;
mod calendar;
mod ledger;
mod records;
mod redis;
mod sqlite;
mod store;
mod window;

pub use any::AnyStore;
pub use calendar::{Account, Bucket, Calendar, Key};
pub use ledger::{Count, Denied, Lease, Ledger, OnFailure, Order, Settings, State, Want, Watcher};
pub use records::{Found, RecordOperation, Shelf, Shelves, When};
pub use redis::RedisStore;
pub use sqlite::SqliteStore;
pub use store::{
    Call, Claim, Closing, Hold, LeaseId, Lives, Operation, Overcome, Reply, Store, StoreError,
    StoreErrorKind, Verdict, Version,
};
pub use window::{Period, Unit, Window};
