//! Which headers cross the gateway: allow-lists, both ways.
//!
//! A header that is not named here stays where it came from: credentials, cookies, hop-by-hop headers and
//! whatever a client names in `Connection` never reach an upstream, and an upstream's account ids, cookies and
//! shared rate limits never reach a client.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use wire::Dialect;

/// Headers a client may send through to any upstream.
const REQUEST: [&str; 3] = ["accept", "content-type", "user-agent"];
/// Those that mean something in the Anthropic dialect only.
const REQUEST_ANTHROPIC: [&str; 3] = ["anthropic-beta", "anthropic-version", "x-app"];
/// Family of headers by which the SDKs describe themselves.
const REQUEST_PREFIX: &str = "x-stainless-";
/// What a translated request is written after. Source: Anthropic, "Versions" (API documentation).
const ANTHROPIC_VERSION: &str = "2023-06-01";
/// Headers an upstream may send through to a client.
const RESPONSE: [&str; 4] = [
    "content-type",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
];

/// Whether a client's header may reach any upstream at all.
#[must_use]
pub fn may_pass(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| passes(name, Dialect::Anthropic))
}

fn passes(name: &str, dialect: Dialect) -> bool {
    REQUEST.contains(&name)
        || name.starts_with(REQUEST_PREFIX)
        || (dialect == Dialect::Anthropic && REQUEST_ANTHROPIC.contains(&name))
}

/// The request headers for an upstream that is spoken to in `dialect`, from what a client of the same API sent (names in
/// lower case).
#[must_use]
pub fn for_upstream(client: &[(Bytes, Bytes)], dialect: Dialect) -> HeaderMap {
    kept(client, |name| passes(name, dialect))
}

/// The request headers for a translated request: what the client says of its own API means nothing there.
#[must_use]
pub fn for_translated(client: &[(Bytes, Bytes)], dialect: Dialect) -> HeaderMap {
    let mut headers = kept(client, |name| name == "user-agent");
    if dialect == Dialect::Anthropic {
        headers.insert(
            "anthropic-version",
            HeaderValue::from_static(ANTHROPIC_VERSION),
        );
    }
    headers
}

fn kept(client: &[(Bytes, Bytes)], passes: impl Fn(&str) -> bool) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(client.len() + 3);
    for (name, value) in client {
        if !std::str::from_utf8(name).is_ok_and(&passes) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_maybe_shared(value.clone()),
        ) {
            headers.append(name, value);
        }
    }
    // Frames are read as they pass; a compressed stream would have to be unpacked first.
    headers.insert(
        http::header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    headers
        .entry(http::header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    headers
}

/// The headers of an upstream's answer that go on to the client.
pub fn for_client(upstream: &HeaderMap) -> impl Iterator<Item = (&'static str, Bytes)> {
    RESPONSE.into_iter().filter_map(|name| {
        upstream
            .get(name)
            .map(|value| (name, Bytes::copy_from_slice(value.as_bytes())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&'static str, &'static str)]) -> Vec<(Bytes, Bytes)> {
        list.iter()
            .map(|(name, value)| (Bytes::from(*name), Bytes::from(*value)))
            .collect()
    }

    #[test]
    fn never_forwards_credentials_cookies_or_hop_by_hop_headers() {
        let sent = pairs(&[
            ("authorization", "Bearer secret"),
            ("x-api-key", "secret"),
            ("cookie", "a=b"),
            ("connection", "anthropic-version, x-api-key"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "secret"),
            ("x-forwarded-for", "10.0.0.1"),
            ("host", "gateway"),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "a,b"),
            ("x-stainless-lang", "python"),
        ]);
        let headers = for_upstream(&sent, Dialect::Anthropic);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept-encoding",
                "anthropic-beta",
                "anthropic-version",
                "content-type",
                "x-stainless-lang"
            ]
        );
    }

    #[test]
    fn keeps_the_anthropic_headers_from_an_openai_upstream() {
        let sent = pairs(&[("anthropic-beta", "a"), ("x-app", "cli"), ("accept", "*/*")]);
        let headers = for_upstream(&sent, Dialect::OpenAi);
        assert!(!headers.contains_key("anthropic-beta"));
        assert!(!headers.contains_key("x-app"));
        assert_eq!(headers["accept"], "*/*");
    }

    #[test]
    fn says_nothing_of_the_clients_own_api_in_a_translated_request() {
        let sent = pairs(&[
            ("anthropic-beta", "a"),
            ("anthropic-version", "2020-01-01"),
            ("x-stainless-lang", "js"),
            ("accept", "text/event-stream"),
            ("user-agent", "claude-cli/2"),
        ]);
        let headers = for_translated(&sent, Dialect::OpenAi);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept-encoding", "content-type", "user-agent"]);
        let headers = for_translated(&sent, Dialect::Anthropic);
        assert_eq!(headers["anthropic-version"], "2023-06-01");
    }

    #[test]
    fn asks_for_an_uncompressed_answer_whatever_the_client_accepts() {
        let headers = for_upstream(&pairs(&[("accept-encoding", "gzip")]), Dialect::OpenAi);
        assert_eq!(headers["accept-encoding"], "identity");
    }

    #[test]
    fn drops_what_an_upstream_says_of_its_own_account() {
        let mut upstream = HeaderMap::new();
        for name in [
            "set-cookie",
            "anthropic-organization-id",
            "server",
            "x-ratelimit-limit",
        ] {
            upstream.insert(name, HeaderValue::from_static("x"));
        }
        upstream.insert("retry-after", HeaderValue::from_static("3"));
        let kept: Vec<_> = for_client(&upstream).collect();
        assert_eq!(kept, [("retry-after", Bytes::from("3"))]);
    }
}
