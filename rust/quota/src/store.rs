//! What a store of accounts promises, whichever it is.

use std::fmt;

use crate::calendar::{Account, Bucket};

/// What no counter exceeds: as far as every store counts exactly.
pub(crate) const MOST: u64 = 999_999_999_999_999;

/// A lease's name: the request's, so that a log line leads to what was counted for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId(String);

/// Where an account's history stands, as a store last told it. Grows with every change; a smaller one, or one of another
/// epoch, is the account as it was before, or another account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// When the account began, or was last found rolled back.
    pub epoch: u64,
    /// Changes since then.
    pub sequence: u64,
}

/// An amount in one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The counter.
    pub bucket: Bucket,
    /// How much.
    pub amount: u64,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The counter.
    pub bucket: Bucket,
    /// What the caller knows was taken. The store goes by the lease's record where it still has it.
    pub taken: u64,
    /// What was used in the end; zero gives everything back.
    pub used: u64,
}

/// How a lease is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nothing will be corrected but in case of failure: it is settled as it is reserved.
    Settled,
    /// In flight until it is settled.
    Open,
}

/// What is done with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Takes all claims, or none: of the counters that have a limit each must have room. With `places`, no more leases than
    /// that may be in flight with this one. Asked again for the same lease, changes nothing and answers as before.
    Reserve {
        /// The lease to take.
        lease: LeaseId,
        /// What it takes.
        claims: Vec<Claim>,
        /// How it is held.
        hold: Hold,
        /// The most leases in flight, with this one.
        places: Option<u64>,
    },
    /// Ends a lease, once. Where its record is gone and the caller is `sure` that it never ended, by the caller's word.
    /// A lease that was never taken is ended too: a reservation that arrives later is refused.
    Settle {
        /// The lease to end.
        lease: LeaseId,
        /// What it took, and used.
        closings: Vec<Closing>,
        /// Whether no other attempt to end it may have reached the store.
        sure: bool,
    },
    /// Lets a lease live on.
    Extend {
        /// The lease.
        lease: LeaseId,
        /// How it is held.
        hold: Hold,
    },
    /// Changes nothing.
    Read {
        /// The counters to read.
        buckets: Vec<Bucket>,
    },
    /// Raises every counter to at least the claim's amount: the store has lost what it had said before.
    Restore {
        /// What each counter said last.
        floors: Vec<Claim>,
    },
    /// Writes the record of a lease in flight again, without counting it: the same loss.
    Reopen {
        /// The lease.
        lease: LeaseId,
        /// What it has taken.
        claims: Vec<Claim>,
        /// How it is held.
        hold: Hold,
    },
    /// Sets one counter to `used`, and keeps `note` among the account's last hundred.
    Set {
        /// The counter.
        bucket: Bucket,
        /// What it is to say.
        used: u64,
        /// One line of JSON: who, when, why.
        note: String,
    },
    /// Writes something that counts nothing: whether the store would take a reservation.
    Probe,
}

/// One operation on one account: at most one round trip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whose.
    pub account: Account,
    /// What the caller last saw of it; none if nothing.
    pub seen: Option<Version>,
    /// What to do.
    pub operation: Operation,
}

/// How an operation went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As asked; or it had been done before.
    Done,
    /// The counter of this index is full; nothing was taken.
    Full(usize),
    /// Too many leases are in flight; nothing was taken.
    Crowded,
    /// A bucket is not the one of the store's time; nothing was done.
    Moved,
    /// The account is older than what the caller saw of it; nothing was done.
    Older,
    /// The lease had ended; nothing was done.
    Ended,
}

/// What a store answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How it went.
    pub verdict: Verdict,
    /// The store's clock, in Unix milliseconds.
    pub now_ms: u64,
    /// Where the account stands now; none if it has no history.
    pub version: Option<Version>,
    /// Leases in flight, of those that are held open. Not counted, hence anything, where nobody may ask: after
    /// [`Verdict::Moved`] and [`Verdict::Older`], and for a reservation that is settled at once and has no places.
    pub flying: u64,
    /// What each counter says now, in the order of the call.
    pub used: Vec<u64>,
}

/// How long leases live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// A lease in flight that is not extended, in milliseconds.
    pub lease_ms: u64,
    /// The record of one that is settled or ended: as long as somebody may still ask for it again.
    pub record_ms: u64,
    /// The record of one in flight: its gateway may have been cut off for long.
    pub open_record_ms: u64,
}

impl Lives {
    /// The lives for leases that live `lease_ms`: records are kept a quarter of an hour, of those in flight a day.
    pub const fn of_lease(lease_ms: u64) -> Self {
        Self {
            lease_ms,
            record_ms: 15 * 60 * 1000,
            open_record_ms: 24 * 3600 * 1000,
        }
    }
}

/// Why a store gave no answer, in kinds that are counted. Never contains a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// What kind of failure.
    pub kind: StoreErrorKind,
    /// A sentence for the operator.
    pub cause: String,
}

/// The kinds of failures of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// No connection, or one that broke: whether the call took effect is unknown.
    Unreachable,
    /// No answer within the deadline: whether the call took effect is unknown.
    Timeout,
    /// More calls wait than may.
    Crowded,
    /// The script is not known (`NOSCRIPT`); it is sent along then.
    NoScript,
    /// It reads its data (`LOADING`).
    Loading,
    /// It runs somebody's script (`BUSY`).
    Busy,
    /// A replica, or a primary that was made one (`READONLY`).
    ReadOnly,
    /// Its memory is full (`OOM`).
    OutOfMemory,
    /// It cannot persist (`MISCONF`), or its disk is full.
    Misconfigured,
    /// The account lies on another node (`MOVED`, `ASK`).
    Moved,
    /// A part of the cluster, or the primary, is down (`CLUSTERDOWN`, `MASTERDOWN`, `TRYAGAIN`).
    Down,
    /// The credentials or their rights do not suffice (`NOAUTH`, `WRONGPASS`, `NOPERM`).
    Denied,
    /// Anything else that it said.
    Refused,
}

impl StoreErrorKind {
    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Crowded => "crowded",
            Self::NoScript => "noscript",
            Self::Loading => "loading",
            Self::Busy => "busy",
            Self::ReadOnly => "readonly",
            Self::OutOfMemory => "oom",
            Self::Misconfigured => "misconf",
            Self::Moved => "moved",
            Self::Down => "down",
            Self::Denied => "denied",
            Self::Refused => "refused",
        }
    }

    /// Whether the call may have taken effect all the same.
    pub const fn is_uncertain(self) -> bool {
        matches!(self, Self::Unreachable | Self::Timeout)
    }
}

impl StoreError {
    /// An error of `kind`.
    pub fn new(kind: StoreErrorKind, cause: impl Into<String>) -> Self {
        Self {
            kind,
            cause: cause.into(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind.as_str(), self.cause)
    }
}

impl std::error::Error for StoreError {}

/// Failures that a store overcame by itself are counted all the same.
pub type Overcome = Box<dyn Fn(StoreErrorKind)>;

/// Accounts, exact over all processes that share the store.
///
/// The keys of one call's counters are distinct. A call that fails may be repeated: everything but [`Operation::Set`] happens
/// once, however often it is asked for.
#[expect(
    async_fn_in_trait,
    reason = "the relay runs on one thread and needs no Send futures"
)]
pub trait Store {
    /// Runs one operation, until `patience` is over.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    async fn call(&self, call: &Call, patience: std::time::Duration) -> Result<Reply, StoreError>;

    /// The last notes of [`Operation::Set`], the newest first.
    async fn notes(
        &self,
        account: &Account,
        patience: std::time::Duration,
    ) -> Result<Vec<String>, StoreError>;

    /// Which part of the store an account lies on: what fails together.
    fn part(&self, account: &Account) -> u64;
}

impl LeaseId {
    /// The id of this text: 1 to 64 letters, digits, `_` and `-`.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        ((1..=64).contains(&text.len()) && text.bytes().all(plain)).then_some(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
