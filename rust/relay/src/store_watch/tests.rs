use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quota::{Count, OnFailure, Period, State, StoreError, StoreErrorKind, Unit, Watcher, Window};

use super::StoreWatch;
use crate::metrics::Metrics;
use crate::settings::{self, UserLabel};

/// A watch, the lines that it logs, and its metrics in a folder that lasts as long.
struct Seen {
    watch: Rc<StoreWatch>,
    lines: std::sync::mpsc::Receiver<String>,
    metrics: Arc<Metrics>,
    _folder: tempfile::TempDir,
}

fn seen(user_label: UserLabel) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings::Metrics {
        user_label,
        user_series: 10,
    };
    let metrics = Arc::new(Metrics::open(folder.path(), &settings).unwrap());
    let (log, lines) = std::sync::mpsc::channel();
    Seen {
        watch: StoreWatch::new(Arc::clone(&metrics), move |line| log.send(line).unwrap()),
        lines,
        metrics,
        _folder: folder,
    }
}

impl Seen {
    /// The events logged since the last call, each as JSON without its time.
    fn events(&self) -> Vec<serde_json::Value> {
        let lines = self.lines.try_iter();
        lines
            .map(|line| {
                let mut line: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert!(line.as_object_mut().unwrap().remove("ts").is_some());
                line
            })
            .collect()
    }

    fn has(&self, series: &str) -> bool {
        self.metrics.render().lines().any(|line| line == series)
    }
}

fn state(failure: Option<StoreErrorKind>, journal_failed: bool) -> State {
    State {
        failure: failure.map(|kind| StoreError::new(kind, "no answer")),
        down_for: Duration::from_millis(1500),
        local: true,
        waiting: 3,
        journal_failed,
    }
}

#[test]
fn says_once_that_the_store_went_down_and_came_back() {
    let seen = seen(UserLabel::Pseudonym);
    assert!(seen.has(r#"gateway_store_mode{mode="ok"} 1"#));
    for _ in 0..2 {
        seen.watch
            .changed(&state(Some(StoreErrorKind::Timeout), false));
    }
    assert!(seen.has(r#"gateway_store_mode{mode="ok"} 0"#));
    assert!(seen.has(r#"gateway_store_mode{mode="down"} 1"#));
    let down = serde_json::json!({"level": "error", "event": "store_down", "kind": "timeout", "cause": "no answer"});
    assert_eq!(seen.events(), [down]);
    for _ in 0..2 {
        seen.watch.changed(&state(None, false));
    }
    let back =
        serde_json::json!({"level": "info", "event": "store_back", "down_s": 1.5, "waiting": 3});
    assert_eq!(seen.events(), [back]);
    assert!(seen.has(r#"gateway_store_mode{mode="down"} 0"#));
}

#[test]
fn says_that_the_journal_fails_and_what_was_lost() {
    let seen = seen(UserLabel::Pseudonym);
    seen.watch.changed(&state(None, true));
    seen.watch.changed(&state(None, true));
    assert_eq!(seen.events().len(), 1);
    seen.watch.journal(7, 0);
    assert!(seen.has("gateway_quota_journal_entries 7"));
    assert!(seen.events().is_empty());
    seen.watch.journal(9, 2);
    seen.watch.journal(9, 5);
    assert!(seen.has("gateway_quota_journal_lost_total 5"));
    assert_eq!(seen.events().last().unwrap()["lost"], 5);
}

#[test]
fn counts_failures_by_kind_those_overcome_too() {
    let seen = seen(UserLabel::Pseudonym);
    seen.watch.called(0.002, None);
    seen.watch.called(0.25, Some(StoreErrorKind::Timeout));
    seen.watch.overcome(StoreErrorKind::NoScript);
    assert!(seen.has(r#"gateway_store_errors_total{kind="timeout"} 1"#));
    assert!(seen.has(r#"gateway_store_errors_total{kind="noscript"} 1"#));
    assert!(seen.has("gateway_store_latency_seconds_count 2"));
    assert!(seen.has(r#"gateway_store_mode{mode="down"} 1"#));
    seen.watch.granted_alone(OnFailure::Local);
    seen.watch.granted_alone(OnFailure::Open);
    seen.watch.granted_alone(OnFailure::Open);
    assert!(seen.has(r#"gateway_quota_local_grants_total{mode="local"} 1"#));
    assert!(seen.has(r#"gateway_quota_local_grants_total{mode="open"} 2"#));
}

#[test]
fn names_users_only_where_metrics_may() {
    for (label, named) in [
        (UserLabel::Pseudonym, false),
        (UserLabel::Name, true),
        (UserLabel::None, false),
    ] {
        let seen = seen(label);
        seen.watch.older("alice");
        assert!(seen.has("gateway_quota_older_total 1"));
        let events = seen.events();
        assert_eq!(events[0]["event"], "store_older");
        assert_eq!(events[0]["user"] == "alice", named, "{label:?}");
    }
}

#[test]
fn shows_what_is_used_of_windows_but_not_of_places() {
    let count = |unit, period: Option<Period>| Count {
        window: Window {
            unit,
            period,
            limit: Some(10),
        },
        used: 4,
        starts_at_s: period.map(|_| 0),
        resets_at_s: period.map(|_| 4_000_000_000),
    };
    let counts = [
        count(Unit::Requests, Some(Period::Day)),
        count(Unit::Concurrent, None),
    ];
    let seen = seen(UserLabel::Name);
    seen.watch.counted("alice", &counts);
    let page = seen.metrics.render();
    let shown: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("gateway_quota_used{"))
        .collect();
    assert_eq!(
        shown,
        [r#"gateway_quota_used{period="day",unit="requests",user="alice"} 4"#]
    );
    let none = self::seen(UserLabel::None);
    none.watch.counted("alice", &counts);
    assert!(!none.metrics.render().contains("gateway_quota_used{"));
}
