//! Windows of a tier, and the bucket of a user in a window at a time.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use fault::{Fault, Kind};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// What a window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// One for each request.
    Requests,
}

impl Unit {
    const ALL: [Self; 1] = [Self::Requests];

    /// The word for the configuration and `/quota`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
        }
    }

    /// The unit that a word stands for, if it is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.as_str() == word)
    }
}

/// How long a window lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Period {
    /// From midnight to midnight of the calendar's time zone.
    Day,
}

impl Period {
    const ALL: [Self; 1] = [Self::Day];

    /// The word for the configuration and `/quota`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
        }
    }

    /// The period that a word stands for, if it is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.as_str() == word)
    }
}

/// At most `limit` of `unit` in each `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// What is counted.
    pub unit: Unit,
    /// How long it is counted for.
    pub period: Period,
    /// How much is allowed; none means unlimited.
    pub limit: Option<u64>,
}

/// A window's counter for one user at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The window that is counted.
    pub window: Window,
    /// The counter's name in every store.
    pub key: String,
    /// When the window begins anew, in Unix seconds.
    pub resets_at_s: i64,
}

impl Bucket {
    /// When a store may forget the counter: late enough for an exchange that outlives its window, or
    /// a clock that is behind, to find it.
    pub(crate) fn forget_at_s(&self) -> i64 {
        const GRACE_S: i64 = 3600;
        self.resets_at_s.saturating_add(GRACE_S)
    }
}

/// The days of one time zone.
#[derive(Debug)]
pub struct Calendar {
    zone: TimeZone,
    today: Cell<Option<Day>>,
}

#[derive(Clone, Copy, Debug)]
struct Day {
    date: Date,
    starts_at_s: i64,
    ends_at_s: i64,
}

impl Calendar {
    /// The calendar of an IANA time zone (`UTC`, `Europe/Zurich`), from the zone data built in.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] for a name that is no zone.
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
            today: Cell::new(None),
        })
    }

    /// The bucket of `user` in `window` at `now`.
    ///
    /// The seed's window, requests per day, keeps the seed's key: `quota:{<user>}:<YYYY-MM-DD>`.
    /// The braces are a Redis Cluster hash tag, so all keys of a user live on one slot.
    pub fn bucket(&self, user: &str, window: Window, now: SystemTime) -> Bucket {
        let day = self.day(now);
        let mut key = String::with_capacity("quota:{}:YYYY-MM-DD".len() + user.len());
        key.push_str("quota:{");
        push_escaped(&mut key, user);
        match (window.unit, window.period) {
            (Unit::Requests, Period::Day) => {
                let _ = write!(key, "}}:{}", day.date);
            }
        }
        Bucket {
            window,
            key,
            resets_at_s: day.ends_at_s,
        }
    }

    fn day(&self, now: SystemTime) -> Day {
        let now_s = unix_seconds(now);
        match self.today.get() {
            Some(day) if (day.starts_at_s..day.ends_at_s).contains(&now_s) => day,
            _ => {
                let day = day_at(&self.zone, now_s);
                self.today.set(Some(day));
                day
            }
        }
    }
}

/// The day of `now_s`, from the first midnight that begins it to the first that begins the next.
///
/// Where a clock change after midnight repeats the end of the old day, that hour belongs to the new
/// one: the civil date would go back, and a day already begun would be counted on twice.
fn day_at(zone: &TimeZone, now_s: i64) -> Day {
    let now = Timestamp::from_second(now_s).unwrap_or(Timestamp::MAX);
    let date = zone.to_datetime(now).date();
    let days = [date, date.tomorrow().unwrap_or(Date::MAX)];
    days.into_iter()
        .find_map(|date| {
            let starts_at_s = midnight_s(zone, date)?;
            let ends_at_s = midnight_s(zone, date.tomorrow().ok()?)?;
            (now_s < ends_at_s).then_some(Day {
                date,
                starts_at_s,
                ends_at_s,
            })
        })
        .unwrap_or(Day {
            date,
            starts_at_s: now_s,
            ends_at_s: now_s.saturating_add(1),
        })
}

fn midnight_s(zone: &TimeZone, date: Date) -> Option<i64> {
    Some(zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?.as_second())
}

fn unix_seconds(now: SystemTime) -> i64 {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    const DAILY: Window = Window {
        unit: Unit::Requests,
        period: Period::Day,
        limit: Some(10),
    };

    fn at(text: &str) -> SystemTime {
        let timestamp: Timestamp = text.parse().unwrap();
        UNIX_EPOCH + Duration::from_secs(u64::try_from(timestamp.as_second()).unwrap())
    }

    fn seconds(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    fn key_and_reset(zone: &str, now: &str) -> (String, i64) {
        let bucket = Calendar::new(zone).unwrap().bucket("u", DAILY, at(now));
        (bucket.key, bucket.resets_at_s)
    }

    #[test]
    fn every_word_stands_for_what_it_names() {
        for unit in Unit::ALL {
            assert_eq!(Unit::parse(unit.as_str()), Some(unit));
        }
        for period in Period::ALL {
            assert_eq!(Period::parse(period.as_str()), Some(period));
        }
        assert_eq!(Unit::parse("Requests"), None);
        assert_eq!(Period::parse(""), None);
    }

    #[test]
    fn refuses_a_zone_that_is_none() {
        for zone in ["Mars/Olympus", "", "UTC+25", "../etc/passwd"] {
            let fault = Calendar::new(zone).unwrap_err();
            assert_eq!(fault.kind, Kind::Config);
            assert!(
                fault.message.contains("quota.timezone"),
                "{}",
                fault.message
            );
        }
    }

    #[test]
    fn keeps_the_seeds_key() {
        let calendar = Calendar::new("UTC").unwrap();
        let bucket = calendar.bucket("alice@example.org", DAILY, at("2026-02-07T12:00:00Z"));
        assert_eq!(bucket.key, "quota:{alice@example.org}:2026-02-07");
        assert_eq!(bucket.resets_at_s, seconds("2026-02-08T00:00:00Z"));
        assert_eq!(bucket.window, DAILY);
    }

    #[test]
    fn begins_a_new_bucket_at_midnight_and_not_before() {
        let calendar = Calendar::new("UTC").unwrap();
        let key = |now| calendar.bucket("u", DAILY, at(now)).key;
        assert_eq!(key("2026-12-31T23:59:59Z"), "quota:{u}:2026-12-31");
        assert_eq!(key("2027-01-01T00:00:00Z"), "quota:{u}:2027-01-01");
        assert_eq!(
            key("2026-12-31T23:59:59Z"),
            "quota:{u}:2026-12-31",
            "the clock was set back"
        );
    }

    #[test]
    fn resets_at_local_midnight_on_days_of_23_and_25_hours() {
        let zurich = |now| key_and_reset("Europe/Zurich", now);
        let spring = (
            "quota:{u}:2026-03-29".into(),
            seconds("2026-03-29T22:00:00Z"),
        );
        assert_eq!(zurich("2026-03-28T23:00:00Z"), spring);
        assert_eq!(zurich("2026-03-29T21:59:59Z"), spring);
        let autumn = (
            "quota:{u}:2026-10-25".into(),
            seconds("2026-10-25T23:00:00Z"),
        );
        assert_eq!(zurich("2026-10-24T22:00:00Z"), autumn);
        assert_eq!(zurich("2026-10-25T22:59:59Z"), autumn);
    }

    #[test]
    fn resets_at_one_where_the_clock_skips_midnight() {
        let (key, resets_at_s) = key_and_reset("America/Sao_Paulo", "2018-11-03T12:00:00Z");
        assert_eq!(key, "quota:{u}:2018-11-03");
        assert_eq!(resets_at_s, seconds("2018-11-04T03:00:00Z"));
    }

    #[test]
    fn never_goes_back_a_day_where_the_clock_repeats_midnight() {
        // At 00:01 local time on 7 November 2010 the clocks of St. John's went back to 23:01.
        let next = (
            "quota:{u}:2010-11-07".into(),
            seconds("2010-11-08T03:30:00Z"),
        );
        let zone = "America/St_Johns";
        assert_eq!(
            key_and_reset(zone, "2010-11-07T02:29:59Z").1,
            seconds("2010-11-07T02:30:00Z")
        );
        assert_eq!(key_and_reset(zone, "2010-11-07T02:30:00Z"), next);
        assert_eq!(key_and_reset(zone, "2010-11-07T03:00:00Z"), next);
    }

    #[test]
    fn gives_the_same_bucket_with_and_without_its_cache() {
        for zone in [
            "UTC",
            "America/St_Johns",
            "Pacific/Apia",
            "Asia/Kathmandu",
            "Africa/Cairo",
        ] {
            let calendar = Calendar::new(zone).unwrap();
            let mut ends_at_s = 0;
            for step in 0..20_000_u64 {
                let now = at("2010-01-01T00:00:00Z") + Duration::from_secs(step * 2_417);
                let bucket = calendar.bucket("u", DAILY, now);
                assert_eq!(bucket, Calendar::new(zone).unwrap().bucket("u", DAILY, now));
                assert!(bucket.resets_at_s > unix_seconds(now), "{zone} {now:?}");
                assert!(bucket.resets_at_s >= ends_at_s, "{zone} {now:?}");
                ends_at_s = bucket.resets_at_s;
            }
        }
    }

    #[test]
    fn survives_a_clock_that_is_off_by_ages() {
        let calendar = Calendar::new("Pacific/Kiritimati").unwrap();
        for seconds in [0, 253_402_207_199, 253_402_300_799, 1 << 40] {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            assert!(
                calendar
                    .bucket("u", DAILY, now)
                    .key
                    .starts_with("quota:{u}:")
            );
        }
        let before_1970 = UNIX_EPOCH - Duration::from_secs(1);
        let calendar = Calendar::new("UTC").unwrap();
        assert_eq!(
            calendar.bucket("u", DAILY, before_1970).key,
            "quota:{u}:1970-01-01"
        );
    }

    #[test]
    fn gives_no_two_users_the_same_key() {
        let pieces = [
            "a", "A", ":", "{", "}", "%", "%25", "%3A", "\0", "\r\n", "*", "é", " ", "7B",
        ];
        let mut users = vec![String::new()];
        for _ in 0..4 {
            let longer = users
                .iter()
                .flat_map(|user| pieces.iter().map(move |piece| format!("{user}{piece}")));
            users = longer.chain(users.iter().cloned()).collect();
        }
        users.sort_unstable();
        users.dedup();
        let calendar = Calendar::new("UTC").unwrap();
        let keys: HashSet<String> = users
            .iter()
            .map(|user| calendar.bucket(user, DAILY, at("2026-02-07T12:00:00Z")).key)
            .collect();
        assert_eq!(keys.len(), users.len());
        for key in keys {
            let user = key
                .strip_prefix("quota:{")
                .and_then(|rest| rest.strip_suffix("}:2026-02-07"))
                .unwrap();
            let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@+%".contains(&byte);
            assert!(user.bytes().all(safe), "{user}");
        }
    }
}
