use quota::{Count, Window};
use wire::Dialect::{self, Anthropic, OpenAi};

use super::{Headers, allowed, refused, unknown};

/// 2026-11-23 00:00:00 UTC, a Monday.
const MIDNIGHT_S: i64 = 1_795_392_000;
const NOON_S: i64 = MIDNIGHT_S + 43_200;
const PREFIX: &str = "anthropic-ratelimit-unified-";

fn count(unit: &str, period: Option<&str>, limit: Option<u64>, used: u64) -> Count {
    let length_s = match period {
        Some("minute") => 60,
        Some("hour") => 3600,
        Some("day") => 86_400,
        Some("week") => 7 * 86_400,
        _ => 30 * 86_400,
    };
    Count {
        window: Window::parse(unit, period, limit).unwrap(),
        used,
        starts_at_s: period.map(|_| MIDNIGHT_S),
        resets_at_s: period.map(|_| MIDNIGHT_S + length_s),
    }
}

fn daily(used: u64) -> Count {
    count("requests", Some("day"), Some(100), used)
}

/// The value of a header, which is there once at most.
fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let mut values = headers.iter().filter(|header| header.0 == name);
    let value = values.next().map(|header| &*header.1);
    assert_eq!(values.next(), None, "{name} is there twice");
    value
}

/// The headers for Claude Code, without what they have in common, in the order of their names.
fn unified(headers: &Headers) -> Vec<(&str, &str)> {
    let own = headers.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(PREFIX)?;
        Some((name, &**value))
    });
    let mut own: Vec<_> = own.collect();
    own.sort_unstable();
    own
}

#[test]
fn every_window_with_a_limit_has_a_policy_and_a_state() {
    let counts = [
        daily(95),
        count("prompts", Some("week"), Some(500), 1),
        count("tokens", Some("month"), Some(1_000_000), 1_250_000),
        count("concurrent", None, Some(8), 3),
        count("requests", Some("hour"), None, 7),
    ];
    for dialect in Dialect::ALL {
        let headers = allowed(dialect, &counts, NOON_S);
        assert_eq!(
            value(&headers, "ratelimit-policy"),
            Some(concat!(
                r#""requests-day";q=100;w=86400, "prompts-week";q=500;w=604800, "#,
                r#""tokens-month";q=1000000;qu="tokens";w=2592000, "#,
                r#""concurrent";q=8;qu="concurrent-requests""#,
            ))
        );
        assert_eq!(
            value(&headers, "ratelimit"),
            Some(concat!(
                r#""requests-day";r=5;t=43200, "prompts-week";r=499;t=561600, "#,
                r#""tokens-month";r=0;t=2548800, "concurrent";r=5"#,
            ))
        );
    }
}

#[test]
fn a_window_is_as_long_as_its_bucket() {
    let mut short = daily(0);
    short.resets_at_s = Some(MIDNIGHT_S + 82_800);
    let headers = allowed(OpenAi, &[short], MIDNIGHT_S + 82_801);
    let expected = [
        (
            "ratelimit-policy",
            r#""requests-day";q=100;w=82800"#.to_owned(),
        ),
        ("ratelimit", r#""requests-day";r=100;t=0"#.to_owned()),
    ];
    assert_eq!(
        headers, expected,
        "summer time began, and the bucket is over"
    );
}

#[test]
fn no_integer_is_longer_than_a_structured_field_allows() {
    let endless = count("tokens", Some("day"), Some(u64::MAX), 0);
    let headers = allowed(OpenAi, &[endless], NOON_S);
    let policy = value(&headers, "ratelimit-policy").unwrap();
    assert!(policy.contains(";q=999999999999999;"), "{policy}");
    let state = value(&headers, "ratelimit").unwrap();
    assert!(state.contains(";r=999999999999999;"), "{state}");
}

#[test]
fn without_a_limit_nothing_is_told() {
    let unlimited = count("requests", Some("day"), None, 12);
    for dialect in Dialect::ALL {
        assert_eq!(allowed(dialect, &[unlimited], NOON_S), []);
        assert_eq!(allowed(dialect, &[], NOON_S), []);
        assert_eq!(refused(dialect, &[], 0, NOON_S), []);
    }
}

#[test]
fn claude_code_is_told_how_much_is_used_and_warned() {
    for (used, status, utilization, threshold) in [
        (0, "allowed", "0.00", None),
        (5, "allowed", "0.05", None),
        (74, "allowed", "0.74", None),
        (75, "allowed_warning", "0.75", Some("0.75")),
        (94, "allowed_warning", "0.94", Some("0.75")),
        (95, "allowed_warning", "0.95", Some("0.95")),
        (100, "allowed_warning", "0.99", Some("0.95")),
        (130, "allowed_warning", "0.99", Some("0.95")),
    ] {
        let headers = allowed(Anthropic, &[daily(used)], NOON_S);
        let resets_at_s = (MIDNIGHT_S + 86_400).to_string();
        let mut expected = vec![
            ("overage-reset", &*resets_at_s),
            ("overage-status", status),
            ("overage-utilization", utilization),
            ("representative-claim", "overage"),
            ("reset", &*resets_at_s),
            ("status", status),
        ];
        expected.extend(threshold.map(|part| ("overage-surpassed-threshold", part)));
        expected.sort_unstable();
        assert_eq!(unified(&headers), expected, "{used}");
        assert_eq!(unified(&allowed(OpenAi, &[daily(used)], NOON_S)), []);
    }
}

#[test]
fn a_part_is_told_rounded_down() {
    let count = |used, limit| count("tokens", Some("day"), Some(limit), used);
    for (used, limit, expected) in [
        (2, 3, "0.66"),
        (749_999, 1_000_000, "0.74"),
        (u64::MAX, u64::MAX, "0.99"),
        (u64::MAX, 1, "0.99"),
        (0, 0, "0.99"),
    ] {
        let headers = allowed(Anthropic, &[count(used, limit)], NOON_S);
        let told = value(&headers, &format!("{PREFIX}overage-utilization"));
        assert_eq!(told, Some(expected), "{used} of {limit}");
    }
}

#[test]
fn the_window_that_is_used_up_the_most_stands_for_all() {
    let counts = [
        count("requests", Some("day"), Some(100), 50),
        count("tokens", Some("week"), Some(1000), 801),
        count("prompts", Some("month"), Some(10), 8),
        count("requests", Some("hour"), None, 1_000_000),
        count("concurrent", None, Some(1), 1),
    ];
    let headers = allowed(Anthropic, &counts, NOON_S);
    let reset = value(&headers, &format!("{PREFIX}reset"));
    assert_eq!(reset, Some(&*(MIDNIGHT_S + 7 * 86_400).to_string()));
    let even = [
        count("requests", Some("hour"), Some(4), 2),
        count("requests", Some("day"), Some(8), 4),
    ];
    for counts in [even, [even[1], even[0]]] {
        let headers = allowed(Anthropic, &counts, NOON_S);
        let reset = value(&headers, &format!("{PREFIX}reset"));
        assert_eq!(
            reset,
            Some(&*(MIDNIGHT_S + 86_400).to_string()),
            "the longer"
        );
    }
    let places = [count("concurrent", None, Some(1), 1)];
    let headers = allowed(Anthropic, &places, NOON_S);
    assert_eq!(unified(&headers), [], "places are no budget");
    assert_eq!(headers.len(), 2);
}

#[test]
fn a_spent_budget_is_told_as_one() {
    for (period, word, length_s) in [
        ("hour", "hourly", 3600),
        ("day", "daily", 86_400),
        ("week", "weekly", 7 * 86_400),
        ("month", "monthly", 30 * 86_400),
    ] {
        let counts = [
            count("requests", Some("minute"), Some(9), 9),
            count("tokens", Some(period), Some(100), 90),
        ];
        let headers = refused(Anthropic, &counts, 1, NOON_S);
        let resets_at_s = (MIDNIGHT_S + length_s).to_string();
        assert_eq!(
            unified(&headers),
            [
                ("overage-disabled-reason", "org_spend_cap_reached"),
                ("overage-period", word),
                ("overage-reset", &*resets_at_s),
                ("overage-surpassed-threshold", "1"),
                ("overage-utilization", "1"),
                ("reset", &*resets_at_s),
                ("status", "rejected"),
            ]
        );
        assert!(value(&headers, "ratelimit").unwrap().contains(";r=10;"));
        assert_eq!(unified(&refused(OpenAi, &counts, 1, NOON_S)), []);
    }
}

#[test]
fn what_is_free_again_in_a_moment_is_no_spent_budget() {
    let counts = [
        count("requests", Some("minute"), Some(9), 9),
        count("concurrent", None, Some(1), 1),
        daily(100),
    ];
    for exhausted in [0, 1, 7] {
        for dialect in Dialect::ALL {
            let headers = refused(dialect, &counts, exhausted, NOON_S);
            let names: Vec<_> = headers.iter().map(|header| header.0).collect();
            assert_eq!(names, ["ratelimit-policy", "ratelimit"]);
        }
    }
}

#[test]
fn a_count_that_cannot_be_read_is_told_to_claude_code_only() {
    let headers = unknown(Anthropic);
    assert_eq!(
        unified(&headers),
        [("overage-disabled-reason", "fetch_error")]
    );
    assert_eq!(headers.len(), 1);
    assert_eq!(unknown(OpenAi), []);
}
