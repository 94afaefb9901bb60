//! What an answer's headers say of the quota.
//!
//! `RateLimit-Policy` and `RateLimit` for everybody, and on Messages what Claude Code shows to its
//! user. A window without a limit is not told: there is no number for it.
//!
//! Source: draft-ietf-httpapi-ratelimit-headers-11 (May 2026); RFC 9651, section 3.3.1; Claude Code 2.1.330
//! for `anthropic-ratelimit-unified-*`.

use std::fmt::Write as _;

use quota::{Count, Period, Unit};
use wire::Dialect;

/// The largest integer of a structured field.
const INTEGER_LIMIT: u64 = 999_999_999_999_999;
/// From so many percent on Claude Code warns: "You've used 75% …".
const THRESHOLDS: [(u128, &str); 2] = [(95, "0.95"), (75, "0.75")];
/// All of a limit is told to be used where a request is refused, and only there.
const LET_IN_PERCENT: u128 = 99;
const UTILIZATION: &str = "anthropic-ratelimit-unified-overage-utilization";
const SURPASSED: &str = "anthropic-ratelimit-unified-overage-surpassed-threshold";
const DISABLED_REASON: &str = "anthropic-ratelimit-unified-overage-disabled-reason";

/// Lower-case names with their values.
pub(crate) type Headers = Vec<(&'static str, String)>;

/// The headers of an answer to a request that was let in and left `counts`, at `now_s` in Unix seconds.
pub(crate) fn allowed(dialect: Dialect, counts: &[Count], now_s: i64) -> Headers {
    let mut headers = limits(counts, now_s);
    if dialect == Dialect::Anthropic {
        let budgets = counts.iter().filter_map(Budget::of);
        headers.extend(budgets.max().iter().flat_map(Budget::let_in));
    }
    headers
}

/// The headers of a refusal because the window of index `exhausted` in `counts` has no room.
pub(crate) fn refused(dialect: Dialect, counts: &[Count], exhausted: usize, now_s: i64) -> Headers {
    let mut headers = limits(counts, now_s);
    if dialect == Dialect::Anthropic {
        let spent = counts.get(exhausted).and_then(Budget::of);
        headers.extend(spent.iter().flat_map(Budget::spent));
    }
    headers
}

/// The headers of a refusal because the counts cannot be read.
pub(crate) fn unknown(dialect: Dialect) -> Headers {
    match dialect {
        Dialect::Anthropic => vec![(DISABLED_REASON, "fetch_error".to_owned())],
        Dialect::OpenAi => Vec::new(),
    }
}

/// `RateLimit-Policy` and `RateLimit`: a member for each window with a limit.
fn limits(counts: &[Count], now_s: i64) -> Headers {
    let (policies, states): (Vec<_>, Vec<_>) = counts
        .iter()
        .filter_map(|count| Some((policy(count)?, state(count, now_s)?)))
        .unzip();
    if policies.is_empty() {
        return Vec::new();
    }
    vec![
        ("ratelimit-policy", policies.join(", ")),
        ("ratelimit", states.join(", ")),
    ]
}

fn policy(count: &Count) -> Option<String> {
    let limit = count.window.limit?.min(INTEGER_LIMIT);
    let mut policy = format!("{};q={limit}", name(count));
    // A request is the default. A token is in no registry yet, and everybody knows what it is.
    match count.window.unit {
        Unit::Requests | Unit::Prompts => {}
        Unit::Tokens => policy.push_str(r#";qu="tokens""#),
        Unit::Concurrent => policy.push_str(r#";qu="concurrent-requests""#),
    }
    if let (Some(start_s), Some(end_s)) = (count.starts_at_s, count.resets_at_s) {
        // Writing into memory has no way to fail.
        let _ = write!(policy, ";w={}", end_s.saturating_sub(start_s).max(1));
    }
    Some(policy)
}

fn state(count: &Count, now_s: i64) -> Option<String> {
    let left = count.window.limit?.saturating_sub(count.used);
    let mut state = format!("{};r={}", name(count), left.min(INTEGER_LIMIT));
    if let Some(resets_at_s) = count.resets_at_s {
        let _ = write!(state, ";t={}", resets_at_s.saturating_sub(now_s).max(0));
    }
    Some(state)
}

/// The window's name as a string of a structured field, such as `"requests-day"`.
fn name(count: &Count) -> String {
    let unit = count.window.unit.as_str();
    match count.window.period {
        Some(period) => format!("\"{unit}-{}\"", period.as_str()),
        None => format!("\"{unit}\""),
    }
}

/// A window as Claude Code shows it. The greatest of several is the one that is used up the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Budget {
    /// What is used, in parts per million of the limit.
    used_ppm: u128,
    period: Period,
    resets_at_s: i64,
}

impl Budget {
    /// `None` for a window without a limit or without a period, and for a minute: it is free again in a moment, and Claude Code
    /// would show a spent budget, and stop.
    fn of(count: &Count) -> Option<Self> {
        let limit = u128::from(count.window.limit?);
        let used = u128::from(count.used) * 1_000_000;
        Some(Self {
            used_ppm: used.checked_div(limit).unwrap_or(1_000_000),
            period: count
                .window
                .period
                .filter(|period| *period != Period::Minute)?,
            resets_at_s: count.resets_at_s?,
        })
    }

    /// The headers while requests are let in.
    fn let_in(&self) -> Headers {
        let percent = (self.used_ppm / 10_000).min(LET_IN_PERCENT);
        let passed = THRESHOLDS.iter().find(|(at, _)| percent >= *at);
        let status = passed.map_or("allowed", |_| "allowed_warning");
        let mut headers = vec![
            ("anthropic-ratelimit-unified-status", status.to_owned()),
            (
                "anthropic-ratelimit-unified-overage-status",
                status.to_owned(),
            ),
            (
                "anthropic-ratelimit-unified-representative-claim",
                "overage".to_owned(),
            ),
            (UTILIZATION, format!("0.{percent:02}")),
        ];
        headers.extend(passed.map(|(_, part)| (SURPASSED, (*part).to_owned())));
        headers.extend(self.resets());
        headers
    }

    /// The headers when the window is used up.
    fn spent(&self) -> Headers {
        let period = match self.period {
            Period::Minute => "minutely",
            Period::Hour => "hourly",
            Period::Day => "daily",
            Period::Week => "weekly",
            Period::Month => "monthly",
        };
        let mut headers = vec![
            ("anthropic-ratelimit-unified-status", "rejected".to_owned()),
            (UTILIZATION, "1".to_owned()),
            (SURPASSED, "1".to_owned()),
            (
                "anthropic-ratelimit-unified-overage-period",
                period.to_owned(),
            ),
            (DISABLED_REASON, "org_spend_cap_reached".to_owned()),
        ];
        headers.extend(self.resets());
        headers
    }

    fn resets(&self) -> [(&'static str, String); 2] {
        [
            "anthropic-ratelimit-unified-reset",
            "anthropic-ratelimit-unified-overage-reset",
        ]
        .map(|name| (name, self.resets_at_s.to_string()))
    }
}

#[cfg(test)]
mod tests;
