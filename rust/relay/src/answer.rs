//! What the head of an upstream's answer says, and what it becomes where its own words do not pass.

use fault::{Fault, Kind};
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

/// The fault that an upstream's own refusal becomes.
pub(crate) fn in_our_words(status: u16, retry_after: Option<u64>) -> Fault {
    let (kind, message) = match status {
        401 | 403 => (
            Kind::UpstreamError,
            "the upstream refused the gateway's credentials; tell its operator".to_owned(),
        ),
        429 | 503 | 529 => (
            Kind::Overloaded,
            "the upstream is overloaded; try again shortly".to_owned(),
        ),
        408 | 504 => (
            Kind::UpstreamTimeout,
            "the upstream did not answer in time".to_owned(),
        ),
        400..=499 => (
            Kind::InvalidRequest,
            format!("the upstream refused the request with status {status}"),
        ),
        _ => (
            Kind::UpstreamError,
            format!("the upstream answered with status {status}"),
        ),
    };
    let fault = Fault::new(kind, message);
    match retry_after {
        Some(seconds) => fault.retry_after(seconds),
        None => fault,
    }
}

fn content_type_is<B>(response: &Response<B>, wanted: &str) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case(wanted)
        })
}

/// Whether the body is a stream of events.
pub(crate) fn is_event_stream<B>(response: &Response<B>) -> bool {
    content_type_is(response, "text/event-stream")
}

/// Whether the body is JSON.
pub(crate) fn is_json<B>(response: &Response<B>) -> bool {
    content_type_is(response, "application/json")
}

/// Whether the body is what it says: nothing here unpacks a compressed one.
pub(crate) fn is_plain<B>(response: &Response<B>) -> bool {
    response
        .headers()
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The seconds after which the upstream wants to be asked again.
pub(crate) fn retry_after<B>(response: &Response<B>) -> Option<u64> {
    response
        .headers()
        .get("retry-after")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// The upstream's own id for the request, if it is one.
pub(crate) fn request_id<B>(response: &Response<B>) -> Option<String> {
    let value = response
        .headers()
        .get("request-id")
        .or(response.headers().get("x-request-id"))?;
    let text = value.to_str().ok()?;
    let plain = (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    plain.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use fault::Kind;
    use http::Response;

    use super::{in_our_words, is_event_stream, is_json, is_plain, request_id, retry_after};

    fn with(name: &str, value: &str) -> Response<()> {
        Response::builder().header(name, value).body(()).unwrap()
    }

    #[test]
    fn knows_a_type_whatever_its_case_and_parameters() {
        assert!(is_json(&with(
            "content-type",
            "Application/JSON; charset=utf-8"
        )));
        assert!(is_event_stream(&with("content-type", "text/event-stream")));
        for other in ["application/jsonl", "text/html", "", "\u{e9}"] {
            assert!(!is_json(&with("content-type", other)), "{other}");
        }
        assert!(!is_event_stream(&Response::new(())));
    }

    #[test]
    fn a_body_is_plain_without_a_coding() {
        assert!(is_plain(&Response::new(())));
        assert!(is_plain(&with("content-encoding", "Identity")));
        for coding in ["gzip", "identity, gzip", ""] {
            assert!(!is_plain(&with("content-encoding", coding)), "{coding}");
        }
    }

    #[test]
    fn a_wait_is_whole_seconds() {
        assert_eq!(retry_after(&with("retry-after", " 7 ")), Some(7));
        for other in ["-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(retry_after(&with("retry-after", other)), None, "{other}");
        }
    }

    #[test]
    fn an_id_is_short_and_plain() {
        for name in ["request-id", "x-request-id"] {
            assert_eq!(
                request_id(&with(name, "req_1.a-B")).as_deref(),
                Some("req_1.a-B")
            );
        }
        let long = "x".repeat(129);
        for odd in ["a b", "a\"b", "", long.as_str()] {
            assert_eq!(request_id(&with("request-id", odd)), None, "{odd}");
        }
    }

    #[test]
    fn a_refused_key_is_the_operators_matter_and_keeps_the_wait() {
        for status in [401, 403, 301, 500, 600] {
            assert_eq!(
                in_our_words(status, None).kind,
                Kind::UpstreamError,
                "{status}"
            );
        }
        for status in [429, 503, 529] {
            let fault = in_our_words(status, Some(7));
            assert_eq!(
                (fault.kind, fault.retry_after_s),
                (Kind::Overloaded, Some(7))
            );
        }
    }
}
