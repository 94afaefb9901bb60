//! What the head of an upstream's answer says, and what it becomes where its own words do not pass.

use fault::{Fault, Kind};
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use wire::translate;

/// The fault that an upstream's own refusal becomes.
pub(crate) fn in_our_words(status: u16, retry_after: Option<u64>) -> Fault {
    let (kind, message) = match status {
        401 | 403 => (
            Kind::UpstreamError,
            translate::CREDENTIALS_REFUSED.to_owned(),
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
    match (status, retry_after) {
        // Only the operator can change that.
        (401 | 403, _) => fault.do_not_retry(),
        (_, Some(seconds)) => fault.retry_after(seconds),
        (_, None) => fault,
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

/// The seconds after which the upstream wants to be asked again; a date is so many seconds from now.
pub(crate) fn retry_after<B>(response: &Response<B>) -> Option<u64> {
    let text = response.headers().get("retry-after")?.to_str().ok()?.trim();
    text.parse().ok().or_else(|| {
        let at = jiff::fmt::rfc2822::parse(text).ok()?;
        let wait_s = at.timestamp().as_second() - jiff::Timestamp::now().as_second();
        Some(u64::try_from(wait_s).unwrap_or(0))
    })
}

/// Whether the upstream says that its refusal may be repeated.
pub(crate) fn should_retry<B>(response: &Response<B>) -> Option<bool> {
    let text = response.headers().get("x-should-retry")?.to_str().ok()?;
    text.trim().parse().ok()
}

/// The fault that an answer is which is none.
pub(crate) fn unusable(message: &str) -> Fault {
    Fault::new(Kind::UpstreamError, message)
}

/// The upstream's own id for the request, if it is one.
pub(crate) fn request_id<B>(response: &Response<B>) -> Option<String> {
    let value = response
        .headers()
        .get("request-id")
        .or(response.headers().get("x-request-id"))?;
    plain(value.to_str().ok()?)
}

/// An id that may stand in a log line and a header.
pub(crate) fn plain(id: &str) -> Option<String> {
    let plain = (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    plain.then(|| id.to_owned())
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
        for other in ["-1", "1.5", "soon"] {
            assert_eq!(retry_after(&with("retry-after", other)), None, "{other}");
        }
    }

    #[test]
    fn a_wait_until_a_date_is_told_in_seconds() {
        let past = with("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(retry_after(&past), Some(0));
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(90);
        let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let wait_s = retry_after(&with("retry-after", &date)).unwrap();
        assert!((88..=90).contains(&wait_s), "{wait_s}");
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
