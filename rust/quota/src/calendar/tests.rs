use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const DAILY: Window = Window {
    unit: Unit::Requests,
    period: Some(Period::Day),
    limit: Some(10),
};

/// Zones with half hours, quarters, midnights that are skipped or repeated, a day that was left out,
/// changes of half an hour, and one that was off by seconds until 1972.
const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Zurich",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Havana",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "Australia/Lord_Howe",
];

fn seconds(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}

fn at(text: &str) -> u64 {
    u64::try_from(seconds(text)).unwrap() * 1000
}

fn per(period: Period) -> Window {
    Window {
        unit: Unit::Tokens,
        period: Some(period),
        limit: None,
    }
}

fn bucket(zone: &str, window: Window, now_ms: u64) -> Bucket {
    let calendar = Calendar::new(zone).unwrap();
    calendar.bucket(&Account::of("u"), window, now_ms).unwrap()
}

/// What is behind the account's prefix, the beginning and the end.
fn parts(zone: &str, window: Window, now: &str) -> (String, i64, i64) {
    let bucket = bucket(zone, window, at(now));
    let stamp = bucket.key.strip_prefix("quota:{u}:").unwrap().to_owned();
    (stamp, bucket.starts_at_s, bucket.resets_at_s)
}

fn expected(stamp: &str, starts: &str, resets: &str) -> (String, i64, i64) {
    (stamp.to_owned(), seconds(starts), seconds(resets))
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
    let account = Account::of("alice@example.org");
    let bucket = calendar
        .bucket(&account, DAILY, at("2026-02-07T12:00:00Z"))
        .unwrap();
    assert_eq!(bucket.key, "quota:{alice@example.org}:2026-02-07");
    assert_eq!(bucket.starts_at_s, seconds("2026-02-07T00:00:00Z"));
    assert_eq!(bucket.resets_at_s, seconds("2026-02-08T00:00:00Z"));
    assert_eq!(bucket.forget_at_s(), seconds("2026-02-08T01:00:00Z"));
    assert_eq!(bucket.window, DAILY);
}

#[test]
fn calls_every_other_bucket_by_its_unit_its_period_and_its_beginning() {
    let now = "2026-11-23T21:52:40Z";
    let zurich = |period| parts("Europe/Zurich", per(period), now);
    assert_eq!(
        zurich(Period::Minute),
        expected(
            "tokens:minute:2026-11-23T21:52Z",
            "2026-11-23T21:52:00Z",
            "2026-11-23T21:53:00Z"
        )
    );
    assert_eq!(
        zurich(Period::Hour),
        expected(
            "tokens:hour:2026-11-23T21:00Z",
            "2026-11-23T21:00:00Z",
            "2026-11-23T22:00:00Z"
        )
    );
    assert_eq!(
        zurich(Period::Day),
        expected(
            "tokens:day:2026-11-23",
            "2026-11-22T23:00:00Z",
            "2026-11-23T23:00:00Z"
        )
    );
    assert_eq!(
        zurich(Period::Week),
        expected(
            "tokens:week:2026-W48",
            "2026-11-22T23:00:00Z",
            "2026-11-29T23:00:00Z"
        )
    );
    assert_eq!(
        zurich(Period::Month),
        expected(
            "tokens:month:2026-11",
            "2026-10-31T23:00:00Z",
            "2026-11-30T23:00:00Z"
        )
    );
    let hourly_requests = Window {
        unit: Unit::Requests,
        ..per(Period::Hour)
    };
    let (stamp, ..) = parts("UTC", hourly_requests, now);
    assert_eq!(stamp, "requests:hour:2026-11-23T21:00Z");
    let daily_prompts = Window {
        unit: Unit::Prompts,
        ..DAILY
    };
    assert_eq!(parts("UTC", daily_prompts, now).0, "prompts:day:2026-11-23");
}

#[test]
fn has_no_bucket_for_what_has_no_period() {
    let concurrent = Window {
        unit: Unit::Concurrent,
        period: None,
        limit: Some(3),
    };
    let calendar = Calendar::new("UTC").unwrap();
    assert_eq!(calendar.bucket(&Account::of("u"), concurrent, 0), None);
}

#[test]
fn begins_a_new_bucket_at_midnight_and_not_before() {
    let calendar = Calendar::new("UTC").unwrap();
    let account = Account::of("u");
    let key = |now| calendar.bucket(&account, DAILY, at(now)).unwrap().key;
    assert_eq!(key("2026-12-31T23:59:59Z"), "quota:{u}:2026-12-31");
    assert_eq!(key("2027-01-01T00:00:00Z"), "quota:{u}:2027-01-01");
    assert_eq!(
        key("2026-12-31T23:59:59Z"),
        "quota:{u}:2026-12-31",
        "the clock was set back"
    );
}

#[test]
fn counts_a_week_in_the_year_that_has_most_of_it() {
    let week = |now| parts("UTC", per(Period::Week), now);
    let begin = "2026-12-28T00:00:00Z";
    let last = expected("tokens:week:2026-W53", begin, "2027-01-04T00:00:00Z");
    assert_eq!(week(begin), last);
    assert_eq!(week("2027-01-03T23:59:59Z"), last);
    assert_eq!(week("2027-01-04T00:00:00Z").0, "tokens:week:2027-W01");
    assert_eq!(week("2024-12-30T00:00:00Z").0, "tokens:week:2025-W01");
}

#[test]
fn ends_a_month_with_its_last_day() {
    let month = |now| parts("Asia/Kathmandu", per(Period::Month), now);
    let february = expected(
        "tokens:month:2028-02",
        "2028-01-31T18:15:00Z",
        "2028-02-29T18:15:00Z",
    );
    assert_eq!(month("2028-01-31T18:15:00Z"), february);
    assert_eq!(month("2028-02-29T18:14:59Z"), february);
}

#[test]
fn begins_an_hour_at_the_full_hour_of_the_local_clock() {
    assert_eq!(
        parts("Asia/Kolkata", per(Period::Hour), "2026-11-23T21:52:00Z"),
        expected(
            "tokens:hour:2026-11-23T21:30Z",
            "2026-11-23T21:30:00Z",
            "2026-11-23T22:30:00Z"
        )
    );
}

#[test]
fn tells_the_hour_before_a_clock_is_set_back_from_the_one_after() {
    let hour = |now| parts("Europe/Zurich", per(Period::Hour), now).0;
    assert_eq!(
        hour("2026-10-25T00:30:00Z"),
        "tokens:hour:2026-10-25T00:00Z"
    );
    assert_eq!(
        hour("2026-10-25T01:30:00Z"),
        "tokens:hour:2026-10-25T01:00Z"
    );
    // At 02:00 the clocks of Lord Howe go back to 01:30.
    let hour = |now| parts("Australia/Lord_Howe", per(Period::Hour), now);
    assert_eq!(
        hour("2026-04-04T15:10:00Z"),
        expected(
            "tokens:hour:2026-04-04T15:00Z",
            "2026-04-04T15:00:00Z",
            "2026-04-04T15:30:00Z"
        )
    );
    assert_eq!(
        hour("2026-04-04T14:59:59Z"),
        expected(
            "tokens:hour:2026-04-04T14:00Z",
            "2026-04-04T14:00:00Z",
            "2026-04-04T15:00:00Z"
        )
    );
}

#[test]
fn ends_an_hour_where_the_clock_is_set_in_the_midst_of_it() {
    // At 00:01 local time on 7 November 2010 the clocks of St. John's went back to 23:01.
    let hour = |now| parts("America/St_Johns", per(Period::Hour), now);
    let change = "2010-11-07T02:31:00Z";
    assert_eq!(
        hour("2010-11-07T02:30:30Z"),
        expected(
            "tokens:hour:2010-11-07T02:30Z",
            "2010-11-07T02:30:00Z",
            change
        )
    );
    assert_eq!(
        hour("2010-11-07T02:31:30Z"),
        expected(
            "tokens:hour:2010-11-07T02:31Z",
            change,
            "2010-11-07T03:30:00Z"
        )
    );
}

#[test]
fn resets_at_local_midnight_on_days_of_23_and_25_hours() {
    let zurich = |now| parts("Europe/Zurich", DAILY, now);
    let spring = expected("2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
    assert_eq!(zurich("2026-03-28T23:00:00Z"), spring);
    assert_eq!(zurich("2026-03-29T21:59:59Z"), spring);
    let autumn = expected("2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
    assert_eq!(zurich("2026-10-24T22:00:00Z"), autumn);
    assert_eq!(zurich("2026-10-25T22:59:59Z"), autumn);
}

#[test]
fn resets_at_one_where_the_clock_skips_midnight() {
    let zone = "America/Sao_Paulo";
    let change = "2018-11-04T03:00:00Z";
    let now = "2018-11-03T12:00:00Z";
    assert_eq!(
        parts(zone, DAILY, now),
        expected("2018-11-03", "2018-11-03T03:00:00Z", change)
    );
    assert_eq!(parts(zone, DAILY, change).1, seconds(change));
}

#[test]
fn never_goes_back_where_the_clock_repeats_midnight() {
    // At 00:01 local time on 7 November 2010 the clocks of St. John's went back to 23:01.
    let zone = "America/St_Johns";
    let midnight = "2010-11-07T02:30:00Z";
    let next = expected("2010-11-07", midnight, "2010-11-08T03:30:00Z");
    assert_eq!(
        parts(zone, DAILY, "2010-11-07T02:29:59Z").2,
        seconds(midnight)
    );
    assert_eq!(parts(zone, DAILY, midnight), next);
    assert_eq!(parts(zone, DAILY, "2010-11-07T03:00:00Z"), next);
    // And so they did on 1 November 2009, into October.
    let month = |now| parts(zone, per(Period::Month), now).0;
    assert_eq!(month("2009-11-01T02:29:59Z"), "tokens:month:2009-10");
    for after in [
        "2009-11-01T02:30:00Z",
        "2009-11-01T02:45:00Z",
        "2009-11-01T03:20:00Z",
    ] {
        assert_eq!(month(after), "tokens:month:2009-11", "{after}");
    }
}

#[test]
fn leaves_out_a_day_that_the_clock_left_out() {
    // Samoa went from 29 to 31 December 2011.
    let change = "2011-12-30T10:00:00Z";
    let day = |now| parts("Pacific/Apia", DAILY, now);
    assert_eq!(
        day("2011-12-30T09:59:59Z"),
        expected("2011-12-29", "2011-12-29T10:00:00Z", change)
    );
    assert_eq!(
        day(change),
        expected("2011-12-31", change, "2011-12-31T10:00:00Z")
    );
}

#[test]
fn survives_a_clock_that_is_off_by_ages() {
    let calendar = Calendar::new("Pacific/Kiritimati").unwrap();
    let account = Account::of("u");
    for period in Period::ALL {
        for now_ms in [
            0,
            253_402_207_199_999,
            253_402_300_799_000,
            1 << 50,
            u64::MAX,
        ] {
            let bucket = calendar.bucket(&account, per(period), now_ms).unwrap();
            let now_s = i64::try_from(now_ms / 1000).unwrap();
            assert!(
                bucket.starts_at_s <= now_s && now_s < bucket.resets_at_s,
                "{bucket:?}"
            );
        }
    }
}

#[test]
fn gives_no_two_users_the_same_keys() {
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
    let accounts: HashSet<Account> = users.iter().map(|user| Account::of(user)).collect();
    assert_eq!(accounts.len(), users.len());
    for account in accounts {
        let user = account
            .prefix()
            .strip_prefix("quota:{")
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap();
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@+%".contains(&byte);
        assert!(user.bytes().all(safe), "{user}");
        assert!(!user.is_empty(), "an empty hash tag is none");
    }
}

#[test]
fn names_the_keys_that_are_no_counters() {
    let account = Account::of("a:b");
    let lease = LeaseId::new("req_1").unwrap();
    assert_eq!(account.prefix(), "quota:{a%3Ab}");
    assert_eq!(account.state_key().to_string(), "quota:{a%3Ab}:state");
    assert_eq!(account.open_key().to_string(), "quota:{a%3Ab}:open");
    assert_eq!(
        account.lease_key(&lease).to_string(),
        "quota:{a%3Ab}:lease:req_1"
    );
    assert_eq!(account.notes_key().to_string(), "quota:{a%3Ab}:notes");
}

/// A second between 1970 and 2100; half of them within a day of a change of the zone's clock.
///
/// Not in the first hundred days: the month before would begin before the clock of Unix does.
fn moments() -> impl Strategy<Value = (&'static str, i64)> {
    let zone = proptest::sample::select(&ZONES[..]);
    let second = 8_640_000..4_102_444_800_i64;
    let away = prop_oneof![-90_000..90_000_i64, -4_000..4_000_i64, -70..70_i64];
    (zone, second, any::<bool>(), away).prop_map(|(name, second, near, away)| {
        let change = TimeZone::get(name)
            .unwrap()
            .following(timestamp(second))
            .next()
            .filter(|_| near)
            .map(|change| change.timestamp().as_second() + away);
        (name, change.unwrap_or(second))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn puts_every_time_into_one_bucket_with_or_without_cache(
        (zone, now_s) in moments(),
        period in proptest::sample::select(&Period::ALL[..]),
        part in 0.0..1.0_f64,
    ) {
        let account = Account::of("u");
        let cached = Calendar::new(zone).unwrap();
        let at = |calendar: &Calendar, second: i64| {
            let now_ms = u64::try_from(second).unwrap() * 1000 + 999;
            calendar.bucket(&account, per(period), now_ms).unwrap()
        };
        let here = at(&cached, now_s);
        prop_assert!(here.starts_at_s <= now_s && now_s < here.resets_at_s);
        #[expect(clippy::cast_possible_truncation, reason = "a part of a month")]
        let inside = here.starts_at_s + (part * (here.resets_at_s - here.starts_at_s) as f64) as i64;
        for second in [here.starts_at_s, inside, here.resets_at_s - 1] {
            prop_assert_eq!(&at(&cached, second), &here);
            prop_assert_eq!(&at(&Calendar::new(zone).unwrap(), second), &here);
        }
        let next = at(&cached, here.resets_at_s);
        prop_assert_eq!(next.starts_at_s, here.resets_at_s);
        prop_assert_ne!(&next.key, &here.key);
        let before = at(&cached, here.starts_at_s - 1);
        prop_assert_eq!(before.resets_at_s, here.starts_at_s);
        prop_assert_ne!(&before.key, &here.key);
        prop_assert_eq!(&at(&cached, now_s), &here);
    }
}
