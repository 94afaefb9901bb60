//! What all clients of a run saw together.

use serde::Serialize;

use crate::histogram::Histogram;

/// Counts and times of a run as it goes on.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) latency: Histogram,
    pub(crate) first_event: Histogram,
    pub(crate) delay: Histogram,
    pub(crate) requests: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    errors: u64,
    first_error: Option<String>,
}

/// The result of a run: one line of JSON. Times are in milliseconds, and null where there were none.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    elapsed_s: f64,
    requests: u64,
    requests_per_s: f64,
    events: u64,
    events_per_s: f64,
    latency_p50_ms: Option<f64>,
    latency_p99_ms: Option<f64>,
    first_event_p50_ms: Option<f64>,
    first_event_p99_ms: Option<f64>,
    delay_p50_ms: Option<f64>,
    delay_p99_ms: Option<f64>,
    delay_p999_ms: Option<f64>,
    errors: u64,
    first_error: Option<String>,
    bytes: u64,
}

impl Tally {
    /// Counts one exchange that went wrong; the first one's cause is kept.
    pub(crate) fn fail(&mut self, cause: &str) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| cause.to_owned());
    }

    /// The result, for a run of `elapsed_s`.
    pub(crate) fn report(&self, elapsed_s: f64) -> Report {
        Report {
            elapsed_s,
            requests: self.requests,
            requests_per_s: self.requests as f64 / elapsed_s,
            events: self.events,
            events_per_s: self.events as f64 / elapsed_s,
            latency_p50_ms: self.latency.quantile_ms(0.5),
            latency_p99_ms: self.latency.quantile_ms(0.99),
            first_event_p50_ms: self.first_event.quantile_ms(0.5),
            first_event_p99_ms: self.first_event.quantile_ms(0.99),
            delay_p50_ms: self.delay.quantile_ms(0.5),
            delay_p99_ms: self.delay.quantile_ms(0.99),
            delay_p999_ms: self.delay.quantile_ms(0.999),
            errors: self.errors,
            first_error: self.first_error.clone(),
            bytes: self.bytes,
        }
    }
}
