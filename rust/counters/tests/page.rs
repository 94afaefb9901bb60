//! What a page looks like.

#![expect(
    clippy::float_cmp,
    reason = "the values are whole numbers, or compared as written"
)]

mod families;

use std::collections::BTreeMap;

use counters::Registry;
use families::{ALL, DURATION, QUOTA_USED, REQUESTS, STREAMS, parse, sample};
use proptest::prelude::*;

const NOW_MS: u64 = 1_800_000_000_000;

#[test]
fn renders_the_golden_page() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path(), ALL).unwrap();
    registry
        .counter(&REQUESTS, &[("tier", "pro"), ("status", "200")])
        .add(3);
    registry
        .counter(&REQUESTS, &[("tier", "free"), ("status", "429")])
        .add(1 << 60);
    registry.gauge(&STREAMS, &[]).add(-2);
    registry
        .latest(&QUOTA_USED, &[("user", "a\\b\"c\nd")])
        .set(0.25, NOW_MS);
    let duration = registry.histogram(&DURATION, &[("api", "anthropic")]);
    for seconds in [0.001, 0.005, 0.3, 60.0] {
        duration.observe(seconds);
    }
    registry.histogram(&DURATION, &[]).observe(0.25);
    assert_eq!(registry.render_at(NOW_MS), include_str!("golden/page.txt"));
}

#[test]
fn buckets_are_cumulative_and_the_sum_is_in_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path(), ALL).unwrap();
    let duration = registry.histogram(&DURATION, &[]);
    for seconds in [0.004, 0.005, 0.006, 1.5, 1e6, 0.000_000_6] {
        duration.observe(seconds);
    }
    for nonsense in [-1.0, f64::NAN, f64::INFINITY, f64::MAX] {
        duration.observe(nonsense);
    }
    let page = registry.render();
    let bucket = |bound| {
        sample(
            &page,
            "gateway_request_duration_seconds_bucket",
            &[("le", bound)],
        )
    };
    assert_eq!(
        ["0.005", "0.25", "1", "10", "+Inf"].map(bucket),
        [3.0, 4.0, 4.0, 5.0, 6.0].map(Some)
    );
    assert_eq!(
        sample(&page, "gateway_request_duration_seconds_count", &[]),
        Some(6.0)
    );
    assert_eq!(
        sample(&page, "gateway_request_duration_seconds_sum", &[]),
        Some(1_000_001.515_001)
    );
}

#[test]
fn a_series_is_the_same_whatever_the_order_of_its_labels() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path(), ALL).unwrap();
    registry
        .counter(&REQUESTS, &[("a", "1"), ("b", "2")])
        .add(1);
    registry
        .counter(&REQUESTS, &[("b", "2"), ("a", "1")])
        .add(1);
    let page = registry.render();
    assert_eq!(
        sample(&page, "gateway_requests_total", &[("a", "1"), ("b", "2")]),
        Some(2.0)
    );
}

#[test]
fn a_value_cannot_fake_a_line_and_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path(), ALL).unwrap();
    let hostile = format!("x\"}} 1\nfake 1\r\x1b[31m{}", "ä".repeat(1000));
    registry.counter(&REQUESTS, &[("tier", &hostile)]).add(1);
    let page = registry.render();
    assert!(!page.lines().any(|line| line.starts_with("fake")));
    let series: Vec<_> = parse(&page)
        .into_keys()
        .filter(|(_, labels)| !labels.is_empty())
        .collect();
    let expected = format!(
        "x\"}} 1\nfake 1\u{fffd}\u{fffd}[31m{}",
        "ä".repeat(120 - 18)
    );
    assert_eq!(series[0].1["tier"], expected);
}

#[test]
fn a_family_used_as_another_kind_or_not_declared_counts_as_overflow_only() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path(), &[&REQUESTS]).unwrap();
    registry.gauge(&REQUESTS, &[]).set(7);
    registry.counter(&STREAMS, &[]).add(1);
    registry.histogram(&DURATION, &[]).observe(100.0);
    registry.latest(&QUOTA_USED, &[]).set(1.0, 1);
    let expected = BTreeMap::from([(("counters_overflow_total".to_owned(), BTreeMap::new()), 4.0)]);
    let page = registry.render();
    let samples: BTreeMap<_, _> = parse(&page)
        .into_iter()
        .filter(|(_, value)| *value != 0.0)
        .collect();
    assert_eq!(samples, expected);
}

#[test]
fn a_full_file_counts_on_in_the_overflow_series() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path(), ALL).unwrap();
    let mut total = 0;
    let overflowed = |page: &str| sample(page, "counters_overflow_total", &[]).unwrap() > 0.0;
    while !overflowed(&registry.render()) {
        for number in 0..4000 {
            let user = format!("{total}-{number}-{}", "u".repeat(100));
            registry.counter(&REQUESTS, &[("user", &user)]).add(1);
        }
        total += 4000;
        assert!(total < 100_000, "the file is never full");
    }
    registry
        .histogram(&DURATION, &[("late", &"l".repeat(120))])
        .observe(2.0);
    let page = registry.render();
    let samples = parse(&page);
    let sum: f64 = samples
        .iter()
        .filter(|((name, _), _)| name == "gateway_requests_total")
        .map(|(_, value)| value)
        .sum();
    assert_eq!(sum, f64::from(total));
    let late = sample(
        &page,
        "gateway_request_duration_seconds_count",
        &[("overflow", "true")],
    );
    assert_eq!(late, Some(1.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_label_values_read_back_with_their_counts(
        values in prop::collection::btree_map(".{0,130}|[\\\\\"\n{},= ]{0,8}", 1_u32.., 1..12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path(), ALL).unwrap();
        let mut expected: BTreeMap<String, f64> = BTreeMap::new();
        for (value, count) in &values {
            registry.counter(&REQUESTS, &[("tier", value)]).add(u64::from(*count));
            let plain = |character: char| {
                if character.is_control() && character != '\n' { '\u{fffd}' } else { character }
            };
            *expected.entry(value.chars().take(120).map(plain).collect()).or_default() +=
                f64::from(*count);
        }
        let found: BTreeMap<String, f64> = parse(&registry.render())
            .into_iter()
            .filter(|((name, _), _)| name == "gateway_requests_total")
            .map(|((_, labels), value)| (labels["tier"].clone(), value))
            .collect();
        prop_assert_eq!(found, expected);
    }
}
