//! What a granted reservation holds until its exchange ends.

use crate::store::{Store, StoreError};
use crate::window::Bucket;

/// One request taken from each of its buckets.
///
/// Dropping a lease lets the count stand, as [`settle`](Self::settle) does: a gateway that is killed
/// or panics in the middle of an exchange may have used the upstream, and a count given back wrongly
/// could be taken again and again.
#[derive(Debug)]
#[must_use = "a lease ends by `settle` or `refund`"]
pub struct Lease {
    buckets: Vec<Bucket>,
}

impl Lease {
    /// The lease on `buckets`, which [`Store::reserve`] has just granted.
    pub fn granted(buckets: Vec<Bucket>) -> Self {
        Self { buckets }
    }

    /// The buckets that were taken from.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Ends the lease: what was taken is used.
    pub fn settle(self) {}

    /// Ends the lease and gives back what was taken.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the count standing, or given back; never given back twice.
    pub async fn refund(self, store: &impl Store) -> Result<(), StoreError> {
        store.refund(&self.buckets).await
    }
}
