//! The slice of the configuration that the core needs, as it crosses the boundary once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use wire::Dialect;
use wire::translate::Profile;

/// Everything the core is told; made by `config/core.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Backends by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// What upstreams and models understand, by the key that a plan names.
    pub profiles: BTreeMap<String, Served>,
    /// Where use is counted.
    pub quota: Quota,
    /// What metrics may show.
    pub metrics: Metrics,
    /// What one worker admits.
    pub limits: Limits,
}

/// How an upstream wants the gateway's own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum KeyHeader {
    /// `x-api-key: …`
    #[serde(rename = "x-api-key")]
    ApiKey,
    /// `authorization: Bearer …`
    #[serde(rename = "bearer")]
    Bearer,
}

/// Which APIs a backend speaks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Apis {
    /// `auto`: the server is asked once.
    Asked(Auto),
    /// As configured.
    Listed(Vec<Dialect>),
}

/// The one word of [`Apis::Asked`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// `auto`
    Auto,
}

/// A model at its upstream, or the upstream itself for models that are not configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Served {
    /// What it understands.
    pub wire: Profile,
    /// A `tokenizer.json` to count its tokens with.
    pub tokenizer_file: Option<String>,
}

/// One backend.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Base URLs of the replicas, without `/v1`.
    pub urls: Vec<String>,
    /// The APIs it speaks.
    pub apis: Apis,
    /// The gateway's own key there.
    pub api_key: Option<String>,
    /// Where that key goes.
    pub auth_header: KeyHeader,
    /// A PEM bundle trusted beside the system's roots.
    pub ca_file: Option<String>,
    /// Seconds an idle pooled connection is trusted.
    pub keep_alive_s: f64,
    /// Seconds to connect, TLS included.
    pub connect_s: f64,
    /// Seconds until the head of the answer.
    pub first_byte_s: f64,
    /// Seconds of silence inside an answer that end it.
    pub idle_s: f64,
    /// Seconds of silence after which the client of a stream gets a sign of life.
    pub ping_s: f64,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Upstream")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

/// Where use is counted: Redis if `redis_url` is set, else the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// `redis://…`, `rediss://…` or `unix://…`.
    pub redis_url: Option<String>,
    /// A PEM bundle for `rediss`.
    pub redis_ca_file: Option<String>,
    /// The embedded store's file.
    pub sqlite_path: String,
    /// Where settlements wait while the store is down; none: in memory only.
    pub journal_folder: Option<String>,
    /// The zone in which days end.
    pub timezone: String,
    /// Seconds that all calls to the store may take together for one request.
    pub timeout_s: f64,
    /// Seconds that a request in flight keeps what it has taken without a sign of life.
    pub lease_s: f64,
    /// The part of what is left that this worker may give out while the store is down, 0 to 1.
    pub share: f64,
    /// Seconds it may do that for.
    pub local_for_s: f64,
    /// What a token read from a cache counts as, 0 to 1.
    pub cache_read_weight: f64,
    /// How much of a request's output limit is reserved; none: all of it.
    pub reserved_output_tokens: Option<u64>,
}

impl std::fmt::Debug for Quota {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Quota")
            .field("timezone", &self.timezone)
            .finish_non_exhaustive()
    }
}

/// How users appear in metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserLabel {
    /// A stable hash.
    Pseudonym,
    /// The user id itself.
    Name,
    /// No user series at all.
    None,
}

/// What metrics may show.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// How users appear.
    pub user_label: UserLabel,
    /// At most this many users have a series of their own.
    pub user_series: usize,
}

/// What one worker admits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Exchanges in flight at once.
    pub exchanges: usize,
}

/// Seconds of the configuration as a duration; a figure that makes none (never after validation) is one second.
#[must_use]
pub fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1))
}
