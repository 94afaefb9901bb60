//! What the ledger tells of the quota store, as metrics and lines of the log.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use quota::{Count, OnFailure, State, StoreErrorKind, Watcher};
use serde_json::json;

use crate::metrics::Metrics;
use crate::record;

/// The one whom a worker's ledger tells.
pub(crate) struct StoreWatch {
    metrics: Arc<Metrics>,
    log: Box<dyn Fn(String)>,
    told: Cell<Told>,
}

/// What the log has last said.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    down: bool,
    journal_failed: bool,
    /// Settlements lost since the start.
    lost: u64,
}

impl StoreWatch {
    /// A watch whose lines go to `log`.
    pub(crate) fn new(metrics: Arc<Metrics>, log: impl Fn(String) + 'static) -> Rc<Self> {
        let log = Box::new(log);
        let told = Cell::default();
        Rc::new(Self { metrics, log, told })
    }

    fn line(&self, level: &str, event: &str, more: serde_json::Value) {
        let mut line = json!({"ts": record::timestamp(), "level": level, "event": event});
        if let (Some(line), serde_json::Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        (self.log)(line.to_string());
    }
}

impl Watcher for StoreWatch {
    fn called(&self, seconds: f64, failure: Option<StoreErrorKind>) {
        self.metrics.store_call(seconds);
        self.metrics.store_mode(failure.is_none());
        if let Some(kind) = failure {
            self.metrics.store_error(kind);
        }
    }

    fn overcome(&self, kind: StoreErrorKind) {
        self.metrics.store_error(kind);
    }

    fn counted(&self, user: &str, counts: &[Count]) {
        if counts.is_empty() || !self.metrics.shows_users() {
            return;
        }
        let user = self.metrics.user(user);
        let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
        for count in counts {
            self.metrics.quota_used(&user, count, now_ms);
        }
    }

    fn changed(&self, state: &State) {
        let down = state.failure.is_some();
        self.metrics.store_mode(!down);
        let told = self.told.get();
        self.told.set(Told {
            down,
            journal_failed: state.journal_failed,
            ..told
        });
        match &state.failure {
            Some(failure) if !told.down => {
                let more = json!({"kind": failure.kind.as_str(), "cause": failure.cause});
                self.line("error", "store_down", more);
            }
            None if told.down => {
                let down_s = (state.down_for.as_secs_f64() * 1e3).round() / 1e3;
                let more = json!({"down_s": down_s, "waiting": state.waiting});
                self.line("info", "store_back", more);
            }
            _ => {}
        }
        if state.journal_failed && !told.journal_failed {
            let more = json!({"waiting": state.waiting});
            self.line("error", "journal_failed", more);
        }
    }

    fn granted_alone(&self, on_failure: OnFailure) {
        self.metrics.local_grant(match on_failure {
            OnFailure::Local => "local",
            OnFailure::Open => "open",
            OnFailure::Closed => "closed",
        });
    }

    fn older(&self, user: &str) {
        self.metrics.store_older();
        let more = json!({"user": self.metrics.user(user)});
        self.line("warning", "store_older", more);
    }

    fn journal(&self, waiting: usize, lost: u64) {
        self.metrics.journal_entries(waiting);
        let told = self.told.get();
        if lost > told.lost {
            self.told.set(Told { lost, ..told });
            self.metrics.journal_lost(lost - told.lost);
            let more = json!({"waiting": waiting, "lost": lost});
            self.line("error", "journal_failed", more);
        }
    }
}

#[cfg(test)]
mod tests;
