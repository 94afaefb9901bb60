//! Whose use is counted, and in which bucket of a window at a time.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use fault::{Fault, Kind};
use jiff::civil::{Date, ISOWeekDate, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

use crate::store::LeaseId;
use crate::window::{Period, Unit, Window};

/// One user's keys. All of them have one hash tag, so they lie on one slot of a Redis Cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account(Arc<str>);

impl Account {
    /// The account of `user`: no two users have the same.
    pub fn of(user: &str) -> Self {
        Self::with_prefix("quota:", user)
    }

    /// What belongs to `name` among all that begins with `kind`.
    pub(crate) fn with_prefix(kind: &str, name: &str) -> Self {
        let mut prefix = String::with_capacity(kind.len() + "{}".len() + name.len());
        prefix.push_str(kind);
        prefix.push('{');
        push_escaped(&mut prefix, name);
        if name.is_empty() {
            // An empty hash tag is none, and the keys would lie on many slots. No other user's text is this one's.
            prefix.push('%');
        }
        prefix.push('}');
        Self(prefix.into())
    }

    /// What all keys begin with: `quota:{<user>}`; for what is no user's, another word in place of `quota`.
    pub fn prefix(&self) -> &str {
        &self.0
    }

    /// The key of the account's epoch and sequence.
    pub fn state_key(&self) -> Key<'_> {
        self.key(":state", "")
    }

    /// The key of its leases in flight.
    pub fn open_key(&self) -> Key<'_> {
        self.key(":open", "")
    }

    /// The key of a lease's record.
    pub fn lease_key<'a>(&'a self, lease: &'a LeaseId) -> Key<'a> {
        self.key(":lease:", lease.as_str())
    }

    /// The key of the notes on counters that were set by hand.
    pub fn notes_key(&self) -> Key<'_> {
        self.key(":notes", "")
    }

    /// The key of what is written to see whether it can be.
    pub fn probe_key(&self) -> Key<'_> {
        self.key(":probe", "")
    }

    fn key<'a>(&'a self, kind: &'static str, name: &'a str) -> Key<'a> {
        Key([self.prefix(), kind, name])
    }
}

/// A name in a store, in the parts that it is written of: no text is made of it for that.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a>([&'a str; 3]);

impl<'a> Key<'a> {
    /// What follows on each other in it.
    pub(crate) fn parts(self) -> [&'a str; 3] {
        self.0
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| formatter.write_str(part))
    }
}

/// Appends `user` such that no two users give the same text, and none gives a brace, a colon or a
/// control character.
fn push_escaped(key: &mut String, user: &str) {
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.@+".contains(&byte) {
            key.push(char::from(byte));
        } else {
            let _ = write!(key, "%{byte:02X}");
        }
    }
}

/// A window's counter for one user at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The window that is counted; never one of concurrent requests.
    pub window: Window,
    /// The counter's name in every store.
    pub key: String,
    /// When the window began, in Unix seconds.
    pub starts_at_s: i64,
    /// When it begins anew, in Unix seconds.
    pub resets_at_s: i64,
}

impl Bucket {
    /// When a store may forget the counter: late enough for an exchange that outlives its window, or
    /// a journal that is settled late, to find it.
    pub fn forget_at_s(&self) -> i64 {
        const GRACE_S: i64 = 3600;
        self.resets_at_s.saturating_add(GRACE_S)
    }
}

/// The periods of one time zone.
#[derive(Debug)]
pub struct Calendar {
    zone: TimeZone,
    /// The last span of each period, in the order of [`Period::ALL`]: a request needs no zone's rules.
    last: RefCell<[Option<Span>; Period::ALL.len()]>,
}

/// One period from its beginning to the next one's.
#[derive(Clone, Debug)]
struct Span {
    starts_at_s: i64,
    ends_at_s: i64,
    /// What no other span of the same period is called.
    stamp: String,
}

impl Calendar {
    /// The calendar of an IANA time zone (`UTC`, `Europe/Zurich`), from the zone data built in.
    ///
    /// # Errors
    ///
    /// [`fault::Kind::Config`] for a name that is no zone.
    pub fn new(zone: &str) -> Result<Self, Fault> {
        let zone = TimeZone::get(zone).map_err(|_| {
            let message = format!(
                "quota.timezone {zone:?} is not a known time zone, give an IANA name such as \
                 \"UTC\" or \"Europe/Zurich\""
            );
            Fault::new(Kind::Config, message)
        })?;
        Ok(Self {
            zone,
            last: RefCell::default(),
        })
    }

    /// The bucket of an account in `window` at `now_ms`, Unix milliseconds; `None` for a window without a period.
    ///
    /// The seed's window, requests per day, keeps the seed's key: `quota:{<user>}:<YYYY-MM-DD>`.
    pub fn bucket(&self, account: &Account, window: Window, now_ms: u64) -> Option<Bucket> {
        let period = window.period?;
        let now_s = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX - 1);
        let mut last = self.last.borrow_mut();
        let last = &mut last[period as usize];
        let span = match last {
            Some(span) if (span.starts_at_s..span.ends_at_s).contains(&now_s) => span,
            _ => last.insert(span_at(&self.zone, period, now_s)),
        };
        let key = match (window.unit, period) {
            (Unit::Requests, Period::Day) => format!("{}:{}", account.0, span.stamp),
            (unit, period) => {
                let (unit, period) = (unit.as_str(), period.as_str());
                format!("{}:{unit}:{period}:{}", account.0, span.stamp)
            }
        };
        Some(Bucket {
            window,
            key,
            starts_at_s: span.starts_at_s,
            resets_at_s: span.ends_at_s,
        })
    }
}

fn span_at(zone: &TimeZone, period: Period, now_s: i64) -> Span {
    match period {
        Period::Minute => {
            let starts_at_s = now_s - now_s.rem_euclid(60);
            clock_span(starts_at_s, starts_at_s.saturating_add(60))
        }
        Period::Hour => {
            let (starts_at_s, ends_at_s) = hour_at(zone, now_s);
            clock_span(starts_at_s, ends_at_s)
        }
        Period::Day | Period::Week | Period::Month => dated_span(zone, period, now_s),
    }
}

/// A span that is called by its beginning in UTC, which a clock that is set back does not repeat.
fn clock_span(starts_at_s: i64, ends_at_s: i64) -> Span {
    let begin = Offset::UTC.to_datetime(timestamp(starts_at_s));
    Span {
        starts_at_s,
        ends_at_s,
        stamp: format!(
            "{}T{:02}:{:02}Z",
            begin.date(),
            begin.hour(),
            begin.minute()
        ),
    }
}

/// The hour of the local clock around `now_s`; one that a change of the offset cuts is two.
fn hour_at(zone: &TimeZone, now_s: i64) -> (i64, i64) {
    const HOUR_S: i64 = 3600;
    let offset_at = |at_s| zone.to_offset(timestamp(at_s));
    let change_after = |at_s| {
        let change = zone.following(timestamp(at_s)).next()?;
        Some(change.timestamp().as_second())
    };
    let offset = offset_at(now_s);
    let local_s = now_s.saturating_add(i64::from(offset.seconds()));
    let starts_at_s = now_s - local_s.rem_euclid(HOUR_S);
    let ends_at_s = starts_at_s.saturating_add(HOUR_S);
    let cut_begin = (offset_at(starts_at_s) != offset).then(|| change_after(starts_at_s));
    let cut_end = (offset_at(ends_at_s - 1) != offset).then(|| change_after(now_s));
    (
        cut_begin.flatten().unwrap_or(starts_at_s),
        cut_end.flatten().unwrap_or(ends_at_s),
    )
}

/// The day, week or month of `now_s`, from the first midnight that begins it to the first that begins the next.
///
/// Where a clock change after midnight repeats the end of the old one, that hour belongs to the new
/// one: the civil date would go back, and a day already begun would be counted on twice.
fn dated_span(zone: &TimeZone, period: Period, now_s: i64) -> Span {
    let today = zone.to_datetime(timestamp(now_s)).date();
    let first = first_day(period, today);
    std::iter::successors(Some(first), |first| next_first_day(period, *first))
        .take(2)
        .find_map(|first| {
            let starts_at_s = midnight_s(zone, first)?;
            let ends_at_s = midnight_s(zone, next_first_day(period, first)?)?;
            (now_s < ends_at_s).then(|| Span {
                starts_at_s,
                ends_at_s,
                stamp: date_stamp(period, first),
            })
        })
        .unwrap_or_else(|| Span {
            starts_at_s: now_s,
            ends_at_s: now_s.saturating_add(1),
            stamp: date_stamp(period, today),
        })
}

fn first_day(period: Period, date: Date) -> Date {
    match period {
        Period::Week => {
            let week = date.iso_week_date();
            ISOWeekDate::new(week.year(), week.week(), Weekday::Monday)
                .map_or(date, ISOWeekDate::date)
        }
        Period::Month => date.first_of_month(),
        Period::Minute | Period::Hour | Period::Day => date,
    }
}

fn next_first_day(period: Period, first: Date) -> Option<Date> {
    let length = match period {
        Period::Week => 1.week(),
        Period::Month => 1.month(),
        Period::Minute | Period::Hour | Period::Day => 1.day(),
    };
    first.checked_add(length).ok()
}

fn date_stamp(period: Period, date: Date) -> String {
    match period {
        Period::Week => {
            let week = date.iso_week_date();
            format!("{:04}-W{:02}", week.year(), week.week())
        }
        Period::Month => format!("{:04}-{:02}", date.year(), date.month()),
        Period::Minute | Period::Hour | Period::Day => date.to_string(),
    }
}

fn midnight_s(zone: &TimeZone, date: Date) -> Option<i64> {
    Some(zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?.as_second())
}

fn timestamp(at_s: i64) -> Timestamp {
    Timestamp::from_second(at_s).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
