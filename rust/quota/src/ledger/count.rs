//! From the windows of an order to the counters of a call, and from its answer back to counts.

use crate::calendar::{Account, Bucket, Calendar};
use crate::store::{Claim, Hold, Reply};
use crate::window::{Unit, Window};

use super::{Count, Want};

/// How the lease of an order is held: open if there is something to correct when it ends.
pub(super) fn hold(wants: &[Want]) -> Hold {
    let corrected = |want: &Want| matches!(want.window.unit, Unit::Tokens | Unit::Concurrent);
    if wants.iter().any(corrected) {
        Hold::Open
    } else {
        Hold::Settled
    }
}

/// The most leases in flight, where that is limited.
pub(super) fn places(wants: &[Want]) -> Option<u64> {
    place(wants).and_then(|index| wants[index].window.limit)
}

/// Which want is that of a place among concurrent requests.
pub(super) fn place(wants: &[Want]) -> Option<usize> {
    wants
        .iter()
        .position(|want| want.window.unit == Unit::Concurrent)
}

/// What an order takes of the counters that are current at `now_ms`. Places have none.
pub(super) fn claims(
    calendar: &Calendar,
    account: &Account,
    wants: &[Want],
    now_ms: u64,
) -> Vec<Claim> {
    let claim = |want: &Want| {
        let bucket = calendar.bucket(account, want.window, now_ms)?;
        Some(Claim {
            bucket,
            amount: want.amount,
        })
    };
    wants.iter().filter_map(claim).collect()
}

/// Which want a claim of [`claims`] is of.
pub(super) fn want_of(wants: &[Want], claim: usize) -> usize {
    let mut counted = (0..wants.len()).filter(|index| wants[*index].window.period.is_some());
    counted.nth(claim).unwrap_or(0)
}

/// The amounts for the counters among `amounts` for all wants; where there is none, what was wanted.
pub(super) fn of_claims(wants: &[Want], amounts: &[u64]) -> Vec<u64> {
    let all = wants.iter().enumerate();
    all.filter(|(_, want)| want.window.period.is_some())
        .map(|(index, want)| amounts.get(index).copied().unwrap_or(want.amount))
        .collect()
}

/// What an answer says of `windows`, whose counters are `buckets`.
pub(super) fn counts<'a>(
    windows: impl Iterator<Item = Window>,
    buckets: impl Iterator<Item = &'a Bucket>,
    reply: &Reply,
) -> Vec<Count> {
    let mut told = buckets.zip(reply.used.iter().copied());
    let count = |window: Window| {
        if window.period.is_none() {
            return Some(Count {
                window,
                used: reply.flying,
                starts_at_s: None,
                resets_at_s: None,
            });
        }
        let (bucket, used) = told.next()?;
        Some(Count {
            window,
            used,
            starts_at_s: Some(bucket.starts_at_s),
            resets_at_s: Some(bucket.resets_at_s),
        })
    };
    windows.filter_map(count).collect()
}
