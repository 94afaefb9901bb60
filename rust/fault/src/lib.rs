//! What can go wrong in the gateway: one type for every layer.
//!
//! A [`Kind`] is chosen where the cause is known, never read back from a message. How a fault looks
//! to a client is decided in one place, `wire::shape`.

use std::fmt;

/// What went wrong, as a client needs to tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No credential, or one that is wrong, expired or revoked.
    Unauthenticated,
    /// Known, but without a subscription or the right to do this.
    Forbidden,
    /// No such path or object.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The request cannot be understood or asks for what the tier does not have.
    InvalidRequest,
    /// The body is larger than the limit.
    TooLarge,
    /// The body is not JSON by its own declaration, or is compressed.
    UnsupportedMediaType,
    /// The client did not send its body in time.
    RequestTimeout,
    /// A quota window of an hour or more is used up: repeating the request soon cannot help.
    QuotaExceeded,
    /// Too much within a minute, or at once: there is room again in a moment.
    RateLimited,
    /// What is left of the quota cannot be told, and the tier is closed then.
    QuotaUnknown,
    /// This gateway, or the upstream, cannot take more at the moment.
    Overloaded,
    /// The client's and the upstream's APIs differ in a way that is not served.
    NotSupported,
    /// The upstream could not be reached, broke off, or answered nonsense.
    UpstreamError,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The client went away.
    Canceled,
    /// The operator's configuration is at fault.
    Config,
    /// A defect of the gateway.
    Internal,
}

impl Kind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 18] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::InvalidRequest,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::RequestTimeout,
        Self::QuotaExceeded,
        Self::RateLimited,
        Self::QuotaUnknown,
        Self::Overloaded,
        Self::NotSupported,
        Self::UpstreamError,
        Self::UpstreamTimeout,
        Self::Canceled,
        Self::Config,
        Self::Internal,
    ];

    /// The stable word for logs, metrics and the Python side.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::InvalidRequest => "invalid_request",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::RequestTimeout => "request_timeout",
            Self::QuotaExceeded => "quota_exceeded",
            Self::RateLimited => "rate_limited",
            Self::QuotaUnknown => "quota_unknown",
            Self::Overloaded => "overloaded",
            Self::NotSupported => "not_supported",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Canceled => "canceled",
            Self::Config => "config",
            Self::Internal => "internal",
        }
    }

    /// The kind a stable word stands for, if it is one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One failure: its kind, a sentence for the person who asked, and what a client may do next.
///
/// Messages are lower case, without a full stop and without secrets, and say what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: Kind,
    /// The sentence shown to the client.
    pub message: String,
    /// The member of the request that is at fault (`model`, `max_tokens`, …).
    pub param: Option<&'static str>,
    /// Whole seconds after which trying again makes sense.
    pub retry_after_s: Option<u64>,
    /// `x-should-retry`: tells SDKs and Claude Code whether to repeat by themselves.
    pub should_retry: Option<bool>,
}

impl Fault {
    /// A fault of `kind` with `message`, and no advice about retrying.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            param: None,
            retry_after_s: None,
            should_retry: None,
        }
    }

    /// The same fault, naming the request member that caused it.
    #[must_use]
    pub fn with_param(mut self, param: &'static str) -> Self {
        self.param = Some(param);
        self
    }

    /// The same fault, with the seconds to wait before another attempt.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The same fault, telling clients not to repeat the request by themselves.
    #[must_use]
    pub fn do_not_retry(mut self) -> Self {
        self.should_retry = Some(false);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("nonsense"), None);
    }
}
