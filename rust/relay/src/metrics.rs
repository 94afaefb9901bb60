//! Every metric of the process, declared here and nowhere else.

use counters::{Bounded, Counter, Family, FamilyKind, Gauge, Histogram, Registry};
use quota::{Count, Period, StoreErrorKind, Window};
use sha2::{Digest, Sha256};

use crate::settings::{self, UserLabel};

const SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];
const SHORT_SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
];

macro_rules! families {
    ($($constant:ident = $kind:expr, $name:literal, $help:literal;)*) => {
        $(static $constant: Family = Family { name: $name, help: $help, kind: $kind };)*
        /// All families, in the order they are rendered.
        static FAMILIES: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    REQUESTS = FamilyKind::Counter, "gateway_requests_total",
        "Requests to the model endpoints by tier, API, status and outcome.";
    DURATION = FamilyKind::Histogram(SECONDS), "gateway_request_duration_seconds",
        "Time from the request's head to the end of the answer.";
    QUOTA_USED = FamilyKind::Latest, "gateway_quota_used",
        "Use of the current window by user, as last seen.";
    ROUTES = FamilyKind::Counter, "gateway_model_routes_total",
        "Requests by the model asked for and the model that served them.";
    FIRST_TOKEN = FamilyKind::Histogram(SECONDS), "gateway_time_to_first_token_seconds",
        "Time from the request's head to the first content handed to the client.";
    BETWEEN_TOKENS = FamilyKind::Histogram(SHORT_SECONDS), "gateway_time_between_tokens_seconds",
        "Time between batches of content events in a stream.";
    OVERHEAD = FamilyKind::Histogram(SHORT_SECONDS), "gateway_overhead_seconds",
        "Time the gateway itself took before the upstream was called, quota included.";
    TOKENS = FamilyKind::Counter, "gateway_tokens_total",
        "Tokens as the upstreams reported them, by kind and served model.";
    USAGE_MISSING = FamilyKind::Counter, "gateway_usage_missing_total",
        "Whole answers whose tokens the upstream did not report, by served model.";
    DROPPED = FamilyKind::Counter, "gateway_dropped_fields_total",
        "Members of requests that were left out because the upstream does not know them, by name.";
    ACTIVE = FamilyKind::Gauge, "gateway_active_streams",
        "Exchanges with an upstream that are in flight.";
    REFUSALS = FamilyKind::Counter, "gateway_quota_refusals_total",
        "Requests refused because a window was used up.";
    UPSTREAM_ERRORS = FamilyKind::Counter, "gateway_upstream_errors_total",
        "Failures of upstreams by kind.";
    STORE_ERRORS = FamilyKind::Counter, "gateway_store_errors_total",
        "Failures of the quota store by kind, those overcome at once included.";
    STORE_SECONDS = FamilyKind::Histogram(SHORT_SECONDS), "gateway_store_latency_seconds",
        "Round trips to the quota store.";
    STORE_MODE = FamilyKind::Gauge, "gateway_store_mode",
        "1 for the mode the quota store is in, summed over workers.";
    LOCAL_GRANTS = FamilyKind::Counter, "gateway_quota_local_grants_total",
        "Requests let in while the quota store could not be asked, by what the tier wants then.";
    JOURNAL_ENTRIES = FamilyKind::Gauge, "gateway_quota_journal_entries",
        "Settlements that wait for the quota store.";
    JOURNAL_LOST = FamilyKind::Counter, "gateway_quota_journal_lost_total",
        "Settlements that could be kept neither on disk nor in memory.";
    STORE_OLDER = FamilyKind::Counter, "gateway_quota_older_total",
        "Accounts that the quota store had lost something of, each time it was found and mended.";
    JWKS_AGE = FamilyKind::Latest, "gateway_jwks_age_seconds",
        "Age of the token verification keys when they were last looked at.";
    PANICS = FamilyKind::Counter, "gateway_panics_total",
        "Requests that ended in a defect of the gateway.";
    LOG_DROPPED = FamilyKind::Counter, "gateway_log_dropped_total",
        "Log lines lost because standard error was not read.";
}

/// Names of models that may be label values; beyond that they are counted as `other`.
const MODEL_SERIES: usize = 256;
/// The same for members of requests: clients may send any.
const MEMBER_SERIES: usize = 64;

/// The process's metrics: a handle to the shared counters and the rules for labels.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    user_label: UserLabel,
    users: Bounded,
    models: Bounded,
    members: Bounded,
    active: Gauge,
    between_tokens: Histogram,
    overhead: Histogram,
    store_seconds: Histogram,
    store_up: Gauge,
    store_down: Gauge,
    journal_entries: Gauge,
    panics: Counter,
}

impl Metrics {
    /// Opens this worker's counters in `folder`.
    ///
    /// # Errors
    /// If no file can be made or mapped there.
    pub fn open(folder: &std::path::Path, settings: &settings::Metrics) -> std::io::Result<Self> {
        let registry = Registry::open(folder, FAMILIES)?;
        let store_up = registry.gauge(&STORE_MODE, &[("mode", "ok")]);
        store_up.set(1);
        Ok(Self {
            user_label: settings.user_label,
            users: Bounded::new(settings.user_series),
            models: Bounded::new(MODEL_SERIES),
            members: Bounded::new(MEMBER_SERIES),
            active: registry.gauge(&ACTIVE, &[]),
            between_tokens: registry.histogram(&BETWEEN_TOKENS, &[]),
            overhead: registry.histogram(&OVERHEAD, &[]),
            store_seconds: registry.histogram(&STORE_SECONDS, &[]),
            store_up,
            store_down: registry.gauge(&STORE_MODE, &[("mode", "down")]),
            journal_entries: registry.gauge(&JOURNAL_ENTRIES, &[]),
            panics: registry.counter(&PANICS, &[]),
            registry,
        })
    }

    /// The page of all workers in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.registry.render()
    }

    /// The counter of lost log lines.
    #[must_use]
    pub fn log_dropped(&self) -> Counter {
        self.registry.counter(&LOG_DROPPED, &[])
    }

    /// Sets the age of the token verification keys.
    pub fn jwks_age(&self, seconds: f64, now_ms: u64) {
        self.registry.latest(&JWKS_AGE, &[]).set(seconds, now_ms);
    }

    pub(crate) fn stream_started(&self) {
        self.active.add(1);
    }

    pub(crate) fn stream_ended(&self) {
        self.active.add(-1);
    }

    pub(crate) fn between_tokens(&self, seconds: f64) {
        self.between_tokens.observe(seconds);
    }

    pub(crate) fn overhead(&self, seconds: f64) {
        self.overhead.observe(seconds);
    }

    pub(crate) fn store_call(&self, seconds: f64) {
        self.store_seconds.observe(seconds);
    }

    pub(crate) fn store_error(&self, kind: StoreErrorKind) {
        self.registry
            .counter(&STORE_ERRORS, &[("kind", kind.as_str())])
            .add(1);
    }

    /// Tells which mode the store is in: `ok` or `down`.
    pub(crate) fn store_mode(&self, reachable: bool) {
        self.store_up.set(i64::from(reachable));
        self.store_down.set(i64::from(!reachable));
    }

    pub(crate) fn local_grant(&self, mode: &str) {
        self.registry
            .counter(&LOCAL_GRANTS, &[("mode", mode)])
            .add(1);
    }

    pub(crate) fn journal_entries(&self, waiting: usize) {
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        self.journal_entries.set(waiting);
    }

    pub(crate) fn journal_lost(&self, entries: u64) {
        self.registry.counter(&JOURNAL_LOST, &[]).add(entries);
    }

    pub(crate) fn store_older(&self) {
        self.registry.counter(&STORE_OLDER, &[]).add(1);
    }

    pub(crate) fn panic(&self) {
        self.panics.add(1);
    }

    pub(crate) fn quota_refusal(&self, window: &Window) {
        let (unit, period) = (window.unit.as_str(), period(window));
        self.registry
            .counter(&REFUSALS, &[("unit", unit), ("period", period)])
            .add(1);
    }

    pub(crate) fn upstream_error(&self, upstream: &str, kind: &str) {
        self.registry
            .counter(&UPSTREAM_ERRORS, &[("upstream", upstream), ("kind", kind)])
            .add(1);
    }

    pub(crate) fn route(&self, from: &str, to: &str) {
        let from = self.models.admit(from);
        let to = self.models.admit(to);
        self.registry
            .counter(&ROUTES, &[("from", from), ("to", to)])
            .add(1);
    }

    pub(crate) fn tokens(&self, model: &str, usage: &wire::Usage) {
        let model = self.models.admit(model);
        let kinds = [
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cache_read", usage.cache_read_tokens),
            ("cache_creation", usage.cache_creation_tokens),
        ];
        for (kind, tokens) in kinds.into_iter().filter(|(_, tokens)| *tokens > 0) {
            self.registry
                .counter(&TOKENS, &[("kind", kind), ("model", model)])
                .add(tokens);
        }
    }

    pub(crate) fn usage_missing(&self, model: &str) {
        let model = self.models.admit(model);
        self.registry
            .counter(&USAGE_MISSING, &[("model", model)])
            .add(1);
    }

    pub(crate) fn dropped(&self, member: &str) {
        let member = self.members.admit(member);
        self.registry
            .counter(&DROPPED, &[("member", member)])
            .add(1);
    }

    pub(crate) fn request(&self, tier: &str, api: &str, status: u16, outcome: &str, seconds: f64) {
        let status = status.to_string();
        let labels = [
            ("tier", tier),
            ("api", api),
            ("status", &status),
            ("outcome", outcome),
        ];
        self.registry.counter(&REQUESTS, &labels).add(1);
        self.registry
            .histogram(&DURATION, &[("tier", tier), ("api", api)])
            .observe(seconds);
    }

    pub(crate) fn first_token(&self, tier: &str, seconds: f64) {
        self.registry
            .histogram(&FIRST_TOKEN, &[("tier", tier)])
            .observe(seconds);
    }

    /// Whether users have series of their own.
    pub(crate) fn shows_users(&self) -> bool {
        self.user_label != UserLabel::None
    }

    /// A user as metrics and the log may name them.
    pub(crate) fn user(&self, user: &str) -> String {
        match self.user_label {
            UserLabel::Name => user.to_owned(),
            UserLabel::Pseudonym | UserLabel::None => pseudonym(user),
        }
    }

    /// Shows the use of a window by `user`, named as [`Metrics::user`] does, until that window ends; requests in flight have no
    /// end that could be known.
    pub(crate) fn quota_used(&self, user: &str, count: &Count, now_ms: u64) {
        let Some(resets_at_s) = count.resets_at_s else {
            return;
        };
        let user = self.users.admit(user);
        if user == Bounded::OTHER {
            return;
        }
        let labels = [
            ("user", user),
            ("unit", count.window.unit.as_str()),
            ("period", period(&count.window)),
        ];
        let expires_ms = u64::try_from(resets_at_s).unwrap_or(0).saturating_mul(1000);
        let used = self.registry.latest(&QUOTA_USED, &labels);
        used.set_until(count.used as f64, now_ms, expires_ms);
    }
}

/// The label of a window's period: an empty one would be no label.
fn period(window: &Window) -> &'static str {
    window.period.map_or("none", Period::as_str)
}

/// A stable name for a user that does not say who it is: the same on every replica, twelve hex digits.
fn pseudonym(user: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(format!("llm-gateway user {user}"));
    let mut name = String::from("u-");
    for byte in digest.iter().take(6) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::pseudonym;

    #[test]
    fn a_pseudonym_is_stable_and_does_not_hold_the_name() {
        assert_eq!(pseudonym("alice"), pseudonym("alice"));
        assert_ne!(pseudonym("alice"), pseudonym("bob"));
        assert!(!pseudonym("alice").contains("alice"));
    }
}
