//! How much a subscriber may still use: windows, leases, and the stores that count them exactly.
//!
//! A [`Calendar`] turns a [`Window`] of a tier into the [`Bucket`] of a user at a time, and a [`Store`]
//! counts in buckets: all of a request's buckets at once, or none. There are two stores with one
//! meaning, kept by one test suite: [`RedisStore`] for several machines, [`SqliteStore`] for one.

mod any;
mod lease;
mod redis;
mod sqlite;
mod store;
mod window;

pub use any::AnyStore;
pub use lease::Lease;
pub use redis::RedisStore;
pub use sqlite::SqliteStore;
pub use store::{Count, Decision, Store, StoreError};
pub use window::{Bucket, Calendar, Period, Unit, Window};
