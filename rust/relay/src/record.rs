//! What is remembered of one request, and told when it ends, however it ends.
//!
//! A [`Record`] is made when the request's head is known and counts its metrics and writes its line when it is
//! dropped: a path that forgets to finish it still leaves its trace (as `outcome: "lost"`).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fault::Kind;
use serde::Serialize;
use wire::{Operation, Usage};

use crate::log::Log;
use crate::metrics::Metrics;
use crate::plan::Plan;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody said; a defect.
    Lost,
    /// The upstream's answer was delivered whole.
    Complete,
    /// Refused before the upstream was called.
    Refused,
    /// The upstream failed, or refused.
    Failed,
    /// The stream broke after something had been delivered.
    Broken,
    /// The client left.
    ClientLeft,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Complete => "complete",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::ClientLeft => "client_left",
        }
    }
}

/// One request's trace.
#[derive(Debug)]
pub struct Record {
    metrics: Arc<Metrics>,
    log: Log,
    started: Instant,
    /// Given to the client as `request-id`.
    pub request_id: String,
    /// What was asked.
    pub operation: Operation,
    /// Who asked, once known.
    pub user: Option<String>,
    /// Their tier, once known.
    pub tier: Option<String>,
    /// What was decided, once it is.
    pub plan: Option<Arc<Plan>>,
    /// The upstream's own id for the request.
    pub upstream_request_id: Option<String>,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// The status sent, or that would have been sent.
    pub status: u16,
    /// How it ended.
    outcome: Outcome,
    fault: Option<Kind>,
    detail: Option<String>,
    /// Usage as the upstream told it.
    pub usage: Usage,
    /// What was counted in its place, if the upstream told too little.
    pub(crate) estimate: Option<Usage>,
    upstream_called: Option<Duration>,
    upstream_head: Option<Duration>,
    first_token: Option<Duration>,
}

#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    level: &'static str,
    event: &'static str,
    request_id: &'a str,
    api: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_request_id: Option<&'a str>,
    stream: bool,
    status: u16,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_creation_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_called_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_head_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttfb_ms: Option<f64>,
    total_ms: f64,
}

impl Record {
    /// Starts the trace of a request to `operation`.
    #[must_use]
    pub fn start(metrics: Arc<Metrics>, log: Log, operation: Operation) -> Self {
        Self {
            metrics,
            log,
            started: Instant::now(),
            request_id: format!("req_{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
            operation,
            user: None,
            tier: None,
            plan: None,
            upstream_request_id: None,
            stream: false,
            status: 0,
            outcome: Outcome::Lost,
            fault: None,
            detail: None,
            usage: Usage::default(),
            estimate: None,
            upstream_called: None,
            upstream_head: None,
            first_token: None,
        }
    }

    /// Notes why the request was refused or failed.
    pub fn blame(&mut self, kind: Kind) {
        self.fault = Some(kind);
    }

    /// Ends the trace: counts its metrics and writes its line, with the status that was sent.
    pub fn end(mut self, outcome: Outcome, status: u16) {
        self.ended(outcome, status);
    }

    /// Notes how the request has ended, while something is still to be done for it.
    pub(crate) fn ended(&mut self, outcome: Outcome, status: u16) {
        self.outcome = outcome;
        self.status = status;
    }

    /// Adds a sentence for the operator. Never bodies, tokens or keys.
    pub fn note(&mut self, detail: impl Into<String>) {
        self.detail = Some(detail.into());
    }

    pub(crate) fn upstream_called(&mut self) {
        let passed = self.started.elapsed();
        self.upstream_called = Some(passed);
        self.metrics.overhead(passed.as_secs_f64());
    }

    pub(crate) fn upstream_answered(&mut self) {
        self.upstream_head = Some(self.started.elapsed());
    }

    pub(crate) fn content_delivered(&mut self) {
        self.first_token
            .get_or_insert_with(|| self.started.elapsed());
    }

    pub(crate) fn has_content(&self) -> bool {
        self.first_token.is_some()
    }

    /// The `server-timing` header: the gateway's own part and the upstream's, in milliseconds.
    pub(crate) fn server_timing(&self) -> String {
        let gateway = self
            .upstream_called
            .unwrap_or_else(|| self.started.elapsed());
        let upstream = self.upstream_head.map(|head| head.saturating_sub(gateway));
        match upstream {
            Some(upstream) => {
                format!(
                    "gateway;dur={:.3}, upstream;dur={:.3}",
                    ms(gateway),
                    ms(upstream)
                )
            }
            None => format!("gateway;dur={:.3}", ms(gateway)),
        }
    }

    fn line(&self, total: Duration) -> String {
        let plan = self.plan.as_deref();
        let route = plan.map(|plan| format!("{} -> {}", plan.asked, plan.served));
        let usage = self.estimate.unwrap_or(self.usage);
        let line = Line {
            ts: timestamp(),
            level: if self.status >= 500 { "error" } else { "info" },
            event: "request",
            request_id: &self.request_id,
            api: self.operation.as_str(),
            user: self.user.as_deref(),
            tier: self.tier.as_deref(),
            route,
            upstream: plan.map(|plan| plan.upstream.as_str()),
            upstream_request_id: self.upstream_request_id.as_deref(),
            stream: self.stream,
            status: self.status,
            outcome: self.outcome.as_str(),
            fault: self.fault.map(Kind::as_str),
            detail: self.detail.as_deref(),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            cache_creation_tokens: usage.cache_creation_tokens,
            usage: self.estimate.is_some().then_some("estimate"),
            upstream_called_ms: self.upstream_called.map(ms),
            upstream_head_ms: self.upstream_head.map(ms),
            ttfb_ms: self.first_token.map(ms),
            total_ms: ms(total),
        };
        serde_json::to_string(&line).unwrap_or_default()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let total = self.started.elapsed();
        let tier = self.tier.as_deref().unwrap_or("none");
        let metrics = &self.metrics;
        metrics.request(
            tier,
            self.operation.as_str(),
            self.status,
            self.outcome.as_str(),
            total.as_secs_f64(),
        );
        if let Some(passed) = self.first_token {
            metrics.first_token(tier, passed.as_secs_f64());
        }
        if let Some(plan) = &self.plan {
            metrics.route(&plan.asked, &plan.served);
            metrics.tokens(&plan.served, &self.usage);
            if self.outcome == Outcome::Complete && self.has_content() && !self.usage.seen {
                metrics.usage_missing(&plan.served);
            }
            if let Some(kind) = self.fault
                && matches!(self.outcome, Outcome::Failed | Outcome::Broken)
            {
                metrics.upstream_error(&plan.upstream, kind.as_str());
            }
        }
        self.log.line(self.line(total));
    }
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

pub(crate) fn timestamp() -> String {
    jiff::Timestamp::try_from(SystemTime::now())
        .map(|now| format!("{now:.6}"))
        .unwrap_or_default()
}
