//! Small things that all processes share and that are no quota: what is said of a key, a session, a revocation.

use std::time::Duration;

use crate::calendar::Account;
use crate::store::StoreError;

/// A group of records that lie together: what one call can see. No two names give the same shelf.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shelf(Account);

/// Under which condition a record is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Whatever is there.
    Any,
    /// If there is none of that name.
    Absent,
    /// If there is one of that name.
    Present,
}

/// What is done with a shelf, by the store's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOperation {
    /// Keeps a value for so many milliseconds, if it may.
    Put {
        /// The record's name.
        name: String,
        /// What it says.
        value: Vec<u8>,
        /// How long it lives from now.
        life_ms: u64,
        /// Whether there may or must be one.
        when: When,
        /// How many records the shelf may hold with it, if that is limited.
        most: Option<u64>,
    },
    /// Reads one record.
    Get {
        /// Its name.
        name: String,
    },
    /// Reads one record and removes it: one of several who take it gets it.
    Take {
        /// Its name.
        name: String,
    },
    /// Reads what was put after a sequence number: everything if the shelf's own is smaller, since then it has lost data.
    List {
        /// The sequence number that was last seen, or zero.
        after: u64,
    },
}

/// What a shelf answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whether a record was put; true for all else.
    pub done: bool,
    /// The number of the shelf's last put; grows with each, also over the loss of the shelf. Zero if it is empty.
    pub sequence: u64,
    /// Names and values, in the order of their last put.
    pub rows: Vec<(String, Vec<u8>)>,
}

/// Shelves of records, beside the accounts of the same store.
#[expect(
    async_fn_in_trait,
    reason = "the relay runs on one thread and needs no Send futures"
)]
pub trait Shelves {
    /// Runs one operation, until `patience` is over.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    async fn records(
        &self,
        shelf: &Shelf,
        operation: &RecordOperation,
        patience: Duration,
    ) -> Result<Found, StoreError>;
}

impl Shelf {
    /// The shelf of this name.
    pub fn of(name: &str) -> Self {
        Self(Account::with_prefix("records:", name))
    }

    /// The key of all that is on it.
    pub fn key(&self) -> &str {
        self.0.prefix()
    }

    /// The shelf as a place in the store.
    pub(crate) fn account(&self) -> &Account {
        &self.0
    }
}

impl RecordOperation {
    /// Whether it changes nothing.
    pub(crate) fn only_reads(&self) -> bool {
        matches!(self, Self::Get { .. } | Self::List { .. })
    }

    /// Whether asking for it twice is as good as once. A value that only one may put, or take, may be the first asking's.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Self::Put { when, .. } => *when != When::Absent,
            Self::Take { .. } => false,
            Self::Get { .. } | Self::List { .. } => true,
        }
    }
}
