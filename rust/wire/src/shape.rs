//! The one table from a fault to what a client of either dialect sees.
//!
//! Source: `OpenAI` and Anthropic API references on errors; `x-should-retry` and `retry-after` are
//! obeyed by both vendors' SDKs and by Claude Code. A quota that is used up: Claude Code 2.1.330
//! prints the message of a 429 `billing_error` word for word; `OpenAI`, "Error codes": 429
//! `insufficient_quota`, which waiting a moment does not mend, beside `rate_limit_exceeded`, which
//! it does.

use std::borrow::Cow;

use fault::{Fault, Kind};
use serde::Serialize;

use crate::Dialect;

/// An HTTP answer that says what went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Lower-case names with their values; the caller adds the request id.
    pub headers: Vec<(&'static str, String)>,
    /// The JSON body in the client's dialect.
    pub body: Vec<u8>,
}

/// What a fault is called in one dialect.
struct Words {
    status: u16,
    kind: &'static str,
    code: Option<&'static str>,
}

const fn words(kind: Kind, dialect: Dialect) -> Words {
    match dialect {
        Dialect::Anthropic => {
            let (status, kind) = anthropic_words(kind);
            Words {
                status,
                kind,
                code: None,
            }
        }
        Dialect::OpenAi => {
            let (status, kind, code) = openai_words(kind);
            Words { status, kind, code }
        }
    }
}

const fn anthropic_words(kind: Kind) -> (u16, &'static str) {
    match kind {
        Kind::Unauthenticated => (401, "authentication_error"),
        Kind::Forbidden => (403, "permission_error"),
        Kind::NotFound => (404, "not_found_error"),
        Kind::MethodNotAllowed => (405, "invalid_request_error"),
        Kind::InvalidRequest => (400, "invalid_request_error"),
        Kind::TooLarge => (413, "request_too_large"),
        Kind::UnsupportedMediaType => (415, "invalid_request_error"),
        Kind::RequestTimeout => (408, "timeout_error"),
        Kind::QuotaExceeded => (429, "billing_error"),
        Kind::RateLimited | Kind::QuotaUnknown => (429, "rate_limit_error"),
        Kind::Overloaded => (529, "overloaded_error"),
        Kind::NotSupported => (501, "not_supported"),
        Kind::UpstreamError => (502, "api_error"),
        Kind::UpstreamTimeout => (504, "timeout_error"),
        Kind::Canceled => (499, "api_error"),
        Kind::Config | Kind::Internal => (500, "api_error"),
    }
}

const fn openai_words(kind: Kind) -> (u16, &'static str, Option<&'static str>) {
    match kind {
        Kind::Unauthenticated => (401, "invalid_request_error", Some("invalid_api_key")),
        Kind::Forbidden => (403, "permission_error", Some("permission_denied")),
        Kind::NotFound => (404, "invalid_request_error", Some("not_found")),
        Kind::MethodNotAllowed => (405, "invalid_request_error", None),
        Kind::InvalidRequest => (400, "invalid_request_error", None),
        Kind::TooLarge => (413, "invalid_request_error", Some("request_too_large")),
        Kind::UnsupportedMediaType => (415, "invalid_request_error", None),
        Kind::RequestTimeout => (408, "server_error", Some("timeout")),
        Kind::QuotaExceeded => (429, "insufficient_quota", Some("insufficient_quota")),
        Kind::RateLimited => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        Kind::QuotaUnknown => (429, "rate_limit_error", Some("quota_unavailable")),
        Kind::Overloaded => (503, "server_error", Some("overloaded")),
        Kind::NotSupported => (501, "invalid_request_error", Some("not_supported")),
        Kind::UpstreamError => (502, "server_error", Some("upstream_error")),
        Kind::UpstreamTimeout => (504, "server_error", Some("timeout")),
        Kind::Canceled => (499, "server_error", None),
        Kind::Config | Kind::Internal => (500, "server_error", None),
    }
}

/// What a client is told instead of an answer, in the words of its API.
///
/// A [`Fault`] becomes one by the table here, an upstream's own refusal by `translate::refusal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The client's API.
    pub dialect: Dialect,
    /// What it counts as here, in logs and metrics.
    pub fault: Kind,
    /// The HTTP status.
    pub status: u16,
    /// `error.type`.
    pub kind: &'static str,
    /// `error.code`; only `OpenAI`'s API has one.
    pub code: Option<&'static str>,
    /// `error.param`; only `OpenAI`'s API has one.
    pub param: Option<Cow<'static, str>>,
    /// `error.message`.
    pub message: String,
    /// Whole seconds after which trying again makes sense.
    pub retry_after_s: Option<u64>,
    /// Whether a client may repeat the request by itself.
    pub should_retry: Option<bool>,
}

impl Refusal {
    /// How `fault` is told in `dialect`.
    #[must_use]
    pub fn of(fault: &Fault, dialect: Dialect, request_id: &str) -> Self {
        let Words { status, kind, code } = words(fault.kind, dialect);
        Self {
            dialect,
            fault: fault.kind,
            status,
            kind,
            code,
            param: fault.param.map(Cow::Borrowed),
            message: public_message(fault, request_id),
            retry_after_s: fault.retry_after_s,
            should_retry: should_retry(fault),
        }
    }

    /// The HTTP answer, before anything else was sent.
    #[must_use]
    pub fn answer(&self, request_id: &str) -> Answer {
        let body = self.envelope(request_id).into_bytes();
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("content-length", body.len().to_string()),
        ];
        if let Some(seconds) = self.retry_after_s {
            headers.push(("retry-after", seconds.to_string()));
        }
        if let Some(retry) = self.should_retry {
            headers.push(("x-should-retry", retry.to_string()));
        }
        Answer {
            status: self.status,
            headers,
            body,
        }
    }

    /// The last event of a stream that it breaks off.
    ///
    /// No `[DONE]` and no `message_stop` may follow it: a truncated answer must not look whole.
    #[must_use]
    pub fn event(&self, request_id: &str) -> Vec<u8> {
        let data = self.envelope(request_id);
        match self.dialect {
            Dialect::Anthropic => format!("event: error\ndata: {data}\n\n"),
            Dialect::OpenAi => format!("data: {data}\n\n"),
        }
        .into_bytes()
    }

    fn envelope(&self, request_id: &str) -> String {
        let (kind, message) = (self.kind, self.message.as_str());
        let json = match self.dialect {
            Dialect::Anthropic => {
                let error = AnthropicError { kind, message };
                serde_json::to_string(&AnthropicEnvelope {
                    kind: "error",
                    error,
                    request_id,
                })
            }
            Dialect::OpenAi => {
                let error = OpenAiError {
                    message,
                    kind,
                    param: self.param.as_deref(),
                    code: self.code,
                };
                serde_json::to_string(&OpenAiEnvelope { error })
            }
        };
        // Writing strings into a string has no way to fail.
        json.unwrap_or_default()
    }
}

/// The answer for `fault` in the client's dialect, before anything else was sent.
#[must_use]
pub fn shape(fault: &Fault, dialect: Dialect, request_id: &str) -> Answer {
    Refusal::of(fault, dialect, request_id).answer(request_id)
}

/// The last event of a stream that `fault` broke off, in the client's dialect.
#[must_use]
pub fn stream_event(fault: &Fault, dialect: Dialect, request_id: &str) -> Vec<u8> {
    Refusal::of(fault, dialect, request_id).event(request_id)
}

// Claude Code repeats a 401, a 429 or a 5xx for minutes before it tells its user, unless told not
// to; neither a refused credential nor a missing ability nor a quota that is used up changes in that
// time, and a store of quotas that is down must not be met by a storm.
fn should_retry(fault: &Fault) -> Option<bool> {
    match fault.kind {
        Kind::Unauthenticated | Kind::NotSupported | Kind::QuotaExceeded | Kind::QuotaUnknown => {
            Some(false)
        }
        _ => fault.should_retry,
    }
}

// A defect's own words may name files, hosts or settings: they belong in the log, under this id.
fn public_message(fault: &Fault, request_id: &str) -> String {
    match fault.kind {
        Kind::Config | Kind::Internal => format!(
            "the gateway could not handle this request; tell its operator the request id {request_id}"
        ),
        _ => fault.message.clone(),
    }
}

#[derive(Serialize)]
struct AnthropicEnvelope<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: AnthropicError<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct OpenAiEnvelope<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use fault::{Fault, Kind};
    use serde_json::{Value, json};

    use super::{shape, stream_event};
    use crate::Dialect::{self, Anthropic, OpenAi};

    // Kind; status and type for Anthropic; status, type and code for OpenAI.
    const TABLE: &str = "
        unauthenticated         401 authentication_error  401 invalid_request_error invalid_api_key
        forbidden               403 permission_error      403 permission_error permission_denied
        not_found               404 not_found_error       404 invalid_request_error not_found
        method_not_allowed      405 invalid_request_error 405 invalid_request_error null
        invalid_request         400 invalid_request_error 400 invalid_request_error null
        too_large               413 request_too_large     413 invalid_request_error request_too_large
        unsupported_media_type  415 invalid_request_error 415 invalid_request_error null
        request_timeout         408 timeout_error         408 server_error timeout
        quota_exceeded          429 billing_error         429 insufficient_quota insufficient_quota
        rate_limited            429 rate_limit_error      429 rate_limit_error rate_limit_exceeded
        quota_unknown           429 rate_limit_error      429 rate_limit_error quota_unavailable
        overloaded              529 overloaded_error      503 server_error overloaded
        not_supported           501 not_supported         501 invalid_request_error not_supported
        upstream_error          502 api_error             502 server_error upstream_error
        upstream_timeout        504 timeout_error         504 server_error timeout
        canceled                499 api_error             499 server_error null
        config                  500 api_error             500 server_error null
        internal                500 api_error             500 server_error null";

    const DEFECT: &str =
        "the gateway could not handle this request; tell its operator the request id req_1";

    fn message_of(kind: Kind) -> &'static str {
        if matches!(kind, Kind::Config | Kind::Internal) {
            DEFECT
        } else {
            "say \"why\"\n"
        }
    }

    fn body_of(fault: &Fault, dialect: Dialect) -> Value {
        serde_json::from_slice(&shape(fault, dialect, "req_1").body).unwrap()
    }

    #[test]
    fn every_kind_has_its_words_in_both_dialects() {
        let rows: Vec<Vec<&str>> = TABLE
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(rows.len(), Kind::ALL.len());
        for row in rows {
            let kind = Kind::parse(row[0]).unwrap();
            let fault = Fault::new(kind, "say \"why\"\n").with_param("model");
            let message = message_of(kind);

            assert_eq!(
                shape(&fault, Anthropic, "req_1").status.to_string(),
                row[1],
                "{kind}"
            );
            let error = json!({"type": row[2], "message": message});
            let expected = json!({"type": "error", "error": error, "request_id": "req_1"});
            assert_eq!(body_of(&fault, Anthropic), expected);

            assert_eq!(
                shape(&fault, OpenAi, "req_1").status.to_string(),
                row[3],
                "{kind}"
            );
            let code = if row[5] == "null" {
                Value::Null
            } else {
                row[5].into()
            };
            let error = json!({"message": message, "type": row[4], "param": "model", "code": code});
            assert_eq!(body_of(&fault, OpenAi), json!({"error": error}));
        }
    }

    #[test]
    fn every_event_is_one_frame_with_the_answers_body() {
        for kind in Kind::ALL {
            let fault = Fault::new(kind, "two\nlines\r\n\r\n");
            for (dialect, name) in [(Anthropic, Some(&b"error"[..])), (OpenAi, None)] {
                let event = stream_event(&fault, dialect, "req_1");
                assert_eq!(crate::sse::split(&event).count(), 1);
                assert_eq!(crate::sse::event_name(&event), name);
                let body = shape(&fault, dialect, "req_1").body;
                assert_eq!(crate::sse::data(&event).as_deref(), Some(&*body));
            }
        }
    }

    #[test]
    fn the_bytes_of_an_event_are_these() {
        let fault = Fault::new(Kind::Overloaded, "try again");
        assert_eq!(
            String::from_utf8(stream_event(&fault, Anthropic, "req_1")).unwrap(),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
             \"message\":\"try again\"},\"request_id\":\"req_1\"}\n\n"
        );
        assert_eq!(
            String::from_utf8(stream_event(&fault, OpenAi, "req_1")).unwrap(),
            "data: {\"error\":{\"message\":\"try again\",\"type\":\"server_error\",\
             \"param\":null,\"code\":\"overloaded\"}}\n\n"
        );
    }

    #[test]
    fn headers_say_what_the_client_may_do_next() {
        let headers = |fault: Fault| {
            let answer = shape(&fault, Anthropic, "req_1");
            assert_eq!(
                answer.headers[0],
                ("content-type", "application/json".to_owned())
            );
            assert_eq!(
                answer.headers[1],
                ("content-length", answer.body.len().to_string())
            );
            answer.headers[2..].to_vec()
        };
        let retry_after = ("retry-after", "60".to_owned());
        let never = ("x-should-retry", "false".to_owned());
        assert_eq!(headers(Fault::new(Kind::Overloaded, "m")), []);
        assert_eq!(
            headers(Fault::new(Kind::RateLimited, "m").retry_after(60)),
            std::slice::from_ref(&retry_after),
            "clients may repeat by themselves"
        );
        assert_eq!(
            headers(Fault::new(Kind::QuotaExceeded, "m").retry_after(60)),
            [retry_after, never.clone()]
        );
        for kind in [
            Kind::Unauthenticated,
            Kind::NotSupported,
            Kind::QuotaUnknown,
        ] {
            assert_eq!(headers(Fault::new(kind, "m")), std::slice::from_ref(&never));
        }
    }

    #[test]
    fn defects_do_not_leak_their_words() {
        for kind in [Kind::Config, Kind::Internal] {
            let fault = Fault::new(kind, "canary: redis://user:secret@host");
            for dialect in Dialect::ALL {
                for bytes in [
                    shape(&fault, dialect, "req_1").body,
                    stream_event(&fault, dialect, "req_1"),
                ] {
                    let text = String::from_utf8(bytes).unwrap();
                    assert!(!text.contains("canary") && text.contains("req_1"), "{text}");
                }
            }
        }
    }
}
