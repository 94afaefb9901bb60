//! The families the tests declare, and a strict reader of the page.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a page that is not valid fails the test"
)]

use std::collections::BTreeMap;

use counters::{Family, FamilyKind};

pub(crate) const REQUESTS: Family = Family {
    name: "gateway_requests_total",
    help: "Requests that ended",
    kind: FamilyKind::Counter,
};
pub(crate) const STREAMS: Family = Family {
    name: "gateway_active_streams",
    help: "Streams open now",
    kind: FamilyKind::Gauge,
};
pub(crate) const QUOTA_USED: Family = Family {
    name: "gateway_quota_used",
    help: "Used part of a window,\nas last seen; C:\\ is escaped",
    kind: FamilyKind::Latest,
};
pub(crate) const DURATION: Family = Family {
    name: "gateway_request_duration_seconds",
    help: "Time from request to end",
    kind: FamilyKind::Histogram(&[0.005, 0.25, 1.0, 10.0]),
};
pub(crate) const ALL: &[&Family] = &[&REQUESTS, &STREAMS, &QUOTA_USED, &DURATION];

/// A series' name and its labels, unescaped.
pub(crate) type Series = (String, BTreeMap<String, String>);

/// Every sample of a page; panics at whatever the text format does not allow, a series that is
/// there twice included.
pub(crate) fn parse(page: &str) -> BTreeMap<Series, f64> {
    assert!(page.ends_with('\n'), "the last line has an end");
    let mut samples = BTreeMap::new();
    for line in page
        .split_terminator('\n')
        .filter(|line| !line.starts_with('#'))
    {
        let (series, value) = parse_line(line);
        assert!(samples.insert(series, value).is_none(), "twice: {line:?}");
    }
    samples
}

/// The value of one series, labels given as `name=value`.
pub(crate) fn sample(page: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels = labels
        .iter()
        .map(|(label, value)| ((*label).into(), (*value).into()))
        .collect();
    parse(page).get(&(name.to_owned(), labels)).copied()
}

fn parse_line(line: &str) -> (Series, f64) {
    let end = line.find(['{', ' ']).expect("a name has an end");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line:?}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label has a quoted value");
            assert!(is_name(label), "{line:?}");
            let (value, after) = parse_value(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line:?}");
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = after
                .strip_prefix(',')
                .expect("labels are separated by commas");
        }
    }
    let number = rest.strip_prefix(' ').expect("one space before the value");
    assert!(!number.contains(['e', 'E', ' ']), "{line:?}");
    ((name.to_owned(), labels), number.parse().expect("a number"))
}

fn parse_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next().expect("a quoted value has an end") {
            '"' => return (value, characters.as_str()),
            '\\' => match characters.next() {
                Some('n') => value.push('\n'),
                Some(plain @ ('\\' | '"')) => value.push(plain),
                other => panic!("no escape sequence: {other:?}"),
            },
            control if control.is_control() => panic!("control character in {text:?}"),
            plain => value.push(plain),
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
