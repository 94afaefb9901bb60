//! What a client is told whose request the quota does not let in: what is used up, when it resets, and what to do.

use std::cmp::Reverse;

use fault::{Fault, Kind};
use quota::{Count, Denied, Period, Unit, Want};

/// A place among concurrent requests is free again when one of them ends: nobody knows when.
const PLACE_WAIT_S: u64 = 2;
/// A store that is down is asked again by itself, so a client may come back soon.
const STORE_WAIT_S: u64 = 5;

/// The refusal of a request of `tier` that wanted `wants`, at `now_s` in Unix seconds.
pub(crate) fn fault(tier: &str, wants: &[Want], denied: &Denied, now_s: i64) -> Fault {
    match denied {
        Denied::Full { counts, exhausted } => {
            let amount = wants.get(*exhausted).map_or(1, |want| want.amount);
            match counts.get(*exhausted) {
                Some(count) if count.window.unit == Unit::Concurrent => crowded(tier, count),
                Some(count) => full(tier, count, amount, now_s),
                None => Fault::new(Kind::QuotaExceeded, "the quota is used up").do_not_retry(),
            }
        }
        Denied::Closed => Fault::new(
            Kind::QuotaUnknown,
            format!(
                "the quota cannot be read at the moment, and the {tier} tier is closed until it can; try again in a minute, \
                 and tell the operator if that does not help"
            ),
        )
        .do_not_retry(),
        Denied::ShareUsed(index) => {
            let unit = wants.get(*index).map_or("requests", |want| noun(want.window.unit));
            store_down(&format!(
                "the quota cannot be read at the moment, and the {unit} that may be let in without it are used up; try again shortly"
            ))
        }
        Denied::TooLong => store_down(
            "the quota cannot be read, and has not been for too long to go on without it; try again shortly, and tell the \
             operator if that does not help",
        ),
        Denied::JournalFull => store_down(
            "the quota cannot be read at the moment, and what is used meanwhile can be kept nowhere; try again shortly, and \
             tell the operator if that does not help",
        ),
    }
}

/// Of the windows that are full, the index of the first of those that are so for the longest: the others' resets help nobody. `found`
/// is the one that the store found.
pub(crate) fn binding(wants: &[Want], counts: &[Count], found: usize) -> usize {
    let full = wants
        .iter()
        .zip(counts)
        .enumerate()
        .filter(|(_, (want, count))| {
            let limit = want.window.limit.unwrap_or(u64::MAX);
            want.amount > 0 && count.used.saturating_add(want.amount) > limit
        });
    full.filter_map(|(index, (_, count))| Some((count.resets_at_s?, index)))
        .max_by_key(|(resets_at_s, index)| (*resets_at_s, Reverse(*index)))
        .map_or(found, |(_, index)| index)
}

fn crowded(tier: &str, count: &Count) -> Fault {
    let (used, limit) = (count.used, limit(count));
    let are = if used == 1 {
        "1 request is"
    } else {
        &format!("{used} requests are")
    };
    let message = format!(
        "{are} already in flight, and the {tier} tier may have {limit} at once; wait until one has ended, or ask for a higher tier"
    );
    Fault::new(Kind::RateLimited, message).retry_after(PLACE_WAIT_S)
}

fn full(tier: &str, count: &Count, amount: u64, now_s: i64) -> Fault {
    let (unit, limit) = (noun(count.window.unit), limit(count));
    let period = count.window.period.map_or("period", Period::as_str);
    let resets_at_s = count.resets_at_s.unwrap_or(now_s);
    let wait_s = u64::try_from(resets_at_s.saturating_sub(now_s))
        .unwrap_or(0)
        .max(1);
    let reset = jiff::Timestamp::from_second(resets_at_s)
        .map_or_else(|_| "the end of the period".to_owned(), |at| at.to_string());
    let state = match (count.window.unit, limit.saturating_sub(count.used)) {
        (Unit::Tokens, left) => {
            format!("has {left} left, and this request may take up to {amount}")
        }
        (_, 0) => "is used up".to_owned(),
        (_, left) => format!("has {left} left, and this request counts as {amount}"),
    };
    let never = amount > limit;
    let advice = match (count.window.unit, never) {
        (Unit::Tokens, true) => {
            "no reset makes room for it, so shorten it, lower its output limit, or ask for a higher tier"
        }
        (_, true) => "no reset makes room for it, so use another model or ask for a higher tier",
        (Unit::Tokens, false) => {
            "wait until then, lower the request's output limit, or ask for a higher tier"
        }
        (_, false) => "wait until then or ask for a higher tier",
    };
    let message = format!(
        "the {tier} tier's quota of {limit} {unit} per {period} {state}; it resets at {reset}, in {}; {advice}",
        in_words(wait_s)
    );
    // A minute is short enough for clients to wait by themselves.
    let soon = count.window.period == Some(Period::Minute);
    let kind = if soon {
        Kind::RateLimited
    } else {
        Kind::QuotaExceeded
    };
    let fault = Fault::new(kind, message).retry_after(wait_s);
    if soon && !never {
        fault
    } else {
        fault.do_not_retry()
    }
}

/// What a client is told while a request cannot be let in without the store.
pub(crate) fn store_down(message: &str) -> Fault {
    Fault::new(Kind::Overloaded, message).retry_after(STORE_WAIT_S)
}

fn limit(count: &Count) -> u64 {
    count.window.limit.unwrap_or(count.used)
}

const fn noun(unit: Unit) -> &'static str {
    match unit {
        Unit::Concurrent => "concurrent requests",
        counted => counted.as_str(),
    }
}

fn in_words(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests;
