//! An upstream's refusal in the words of the client's API.
//!
//! The client's API decides which upstream it is: an Anthropic client is refused by a server that speaks as `OpenAI` does, and the
//! other way round. The upstream's own type word is never passed on, as no client knows `BadRequestError`; its message is.

mod overflow;

use std::borrow::Cow;

use fault::Kind;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json;
use crate::{Dialect, Refusal};
use overflow::Told;

/// What a client is told when the gateway's own key was refused: nothing that it could log in for.
pub const CREDENTIALS_REFUSED: &str = "upstream credentials were refused";

const MESSAGE_CHARACTERS: usize = 2000;
const PLAIN_CHARACTERS: usize = 300;

/// What a client is told when the upstream refused with `status` and `body`.
///
/// Source: `docs/reference/translation.md`, section 6.
#[must_use]
pub fn refusal(client: Dialect, status: u16, body: &[u8]) -> Refusal {
    of(client, status, &Said::read(body), None)
}

/// Whether an Anthropic client would do better with the size of its prompt, which the upstream stopped counting.
#[must_use]
pub fn is_uncounted(status: u16, body: &[u8]) -> bool {
    let said = Said::read(body);
    let words = [word(said.code), word(said.kind)];
    overflow::is_uncounted(&said.told(status, &words, None))
}

/// What an Anthropic client is told when its prompt, of `prompt_tokens`, was refused with `status` and `body`.
#[must_use]
pub fn counted_refusal(status: u16, body: &[u8], prompt_tokens: u64) -> Refusal {
    let said = Said::read(body);
    of(Dialect::Anthropic, status, &said, Some(prompt_tokens))
}

/// What a client is told when the upstream reported an error where an answer was expected: in the data of an event, or in a body
/// with a status of 2xx.
///
/// The status is the error's `code` if that is a number, else what its type word stands for in either API, else 500.
pub(super) fn stream_refusal(client: Dialect, body: &[u8]) -> Refusal {
    let said = Said::read(body);
    let code = said.code.and_then(|code| code.get().parse().ok());
    let status = code.filter(|code| (400..600).contains(code));
    let status = status.or_else(|| status_of(&word(said.kind)));
    of(client, status.unwrap_or(500), &said, None)
}

fn of(client: Dialect, status: u16, said: &Said<'_>, counted: Option<u64>) -> Refusal {
    let (told_status, kind, code) = match client {
        Dialect::Anthropic => anthropic_words(status),
        Dialect::OpenAi => openai_words(status),
    };
    let mut refusal = Refusal {
        dialect: client,
        fault: fault_of(status),
        status: told_status,
        kind,
        code,
        param: None,
        message: said.message.clone(),
        retry_after_s: None,
        should_retry: None,
    };
    // The gateway uses its own key there: nobody who asks here could log in again to mend it.
    if matches!(status, 401 | 403) {
        CREDENTIALS_REFUSED.clone_into(&mut refusal.message);
        refusal.should_retry = Some(false);
        return refusal;
    }
    let words = [word(said.code), word(said.kind)];
    let told = said.told(status, &words, counted);
    match client {
        Dialect::Anthropic => {
            if status == 429 && told.words.contains(&"insufficient_quota") {
                refusal.should_retry = Some(false);
            }
            if let Some(message) = overflow::for_anthropic(&told) {
                refusal = invalid(refusal);
                refusal.message = message;
            }
        }
        Dialect::OpenAi => {
            if overflow::for_openai(&told) {
                refusal = invalid(refusal);
                refusal.code = Some("context_length_exceeded");
                refusal.param = Some("messages".into());
            }
        }
    }
    refusal
}

fn invalid(refusal: Refusal) -> Refusal {
    Refusal {
        fault: Kind::InvalidRequest,
        status: 400,
        kind: "invalid_request_error",
        code: None,
        ..refusal
    }
}

const fn anthropic_words(status: u16) -> (u16, &'static str, Option<&'static str>) {
    let (status, kind) = match status {
        400 | 422 => (400, "invalid_request_error"),
        402 => (402, "billing_error"),
        404 => (404, "not_found_error"),
        408 | 504 => (status, "timeout_error"),
        413 => (413, "request_too_large"),
        429 => (429, "rate_limit_error"),
        503 | 529 => (529, "overloaded_error"),
        401 | 403 => (502, "api_error"),
        400..=499 => (status, "invalid_request_error"),
        500..=599 => (status, "api_error"),
        _ => (502, "api_error"),
    };
    (status, kind, None)
}

const fn openai_words(status: u16) -> (u16, &'static str, Option<&'static str>) {
    match status {
        400 | 422 => (400, "invalid_request_error", None),
        402 => (402, "insufficient_quota", Some("insufficient_quota")),
        404 => (404, "invalid_request_error", Some("model_not_found")),
        408 | 504 => (status, "server_error", Some("timeout")),
        413 => (413, "invalid_request_error", Some("request_too_large")),
        429 => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        503 | 529 => (503, "server_error", Some("overloaded")),
        401 | 403 | 502 => (502, "server_error", Some("upstream_error")),
        400..=499 => (status, "invalid_request_error", None),
        500..=599 => (status, "server_error", None),
        _ => (502, "server_error", Some("upstream_error")),
    }
}

const fn fault_of(status: u16) -> Kind {
    match status {
        408 | 504 => Kind::UpstreamTimeout,
        429 | 503 | 529 => Kind::Overloaded,
        // Its key, or what is paid for it, is the operator's.
        401..=403 => Kind::UpstreamError,
        400..=499 => Kind::InvalidRequest,
        _ => Kind::UpstreamError,
    }
}

/// The status that an API's own type word stands for.
fn status_of(kind: &str) -> Option<u16> {
    Some(match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "insufficient_quota" => 429,
        "api_error" | "server_error" => 500,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => return None,
    })
}

/// What an upstream said.
struct Said<'a> {
    /// On one line, of bounded length.
    message: String,
    kind: Option<&'a RawValue>,
    code: Option<&'a RawValue>,
    /// llama.cpp's count of the prompt.
    prompt_tokens: Option<u64>,
    /// llama.cpp's size of the context.
    context_tokens: Option<u64>,
}

/// An error, or what holds one.
#[derive(Deserialize, Default)]
struct Body<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    n_prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    n_ctx: Option<&'a RawValue>,
}

/// One complaint of a server that validates with pydantic.
#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(borrow)]
    loc: Option<&'a RawValue>,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
}

impl<'a> Said<'a> {
    /// Reads `{error: {message, type, code}}`, `{object: error, message}`, `{error: text}`, `{detail}`, `{message}`, a list of one
    /// of these, or what is no JSON at all.
    fn read(body: &'a [u8]) -> Self {
        let value: Option<&RawValue> = serde_json::from_slice(body).ok();
        let first = value.and_then(json::list);
        let first = first.and_then(|list| list.first().copied()).or(value);
        let Some(top) = first.and_then(object) else {
            return Self::plain(first, body);
        };
        let error = top.error.and_then(object);
        let message = match &error {
            Some(error) => error.message.or(error.detail),
            None => top.error,
        };
        let message = message.or(top.message).or(top.detail).map(sentence);
        let error = error.unwrap_or(top);
        let count = |raw: Option<&RawValue>| raw.and_then(|raw| raw.get().parse().ok());
        Self {
            message: one_line(&message.unwrap_or_default(), MESSAGE_CHARACTERS),
            kind: error.kind,
            code: error.code,
            prompt_tokens: count(error.n_prompt_tokens),
            context_tokens: count(error.n_ctx),
        }
    }

    fn told<'b>(
        &'b self,
        status: u16,
        words: &'b [Cow<'b, str>; 2],
        counted: Option<u64>,
    ) -> Told<'b> {
        Told {
            status,
            words: words.each_ref().map(AsRef::as_ref),
            message: &self.message,
            prompt_tokens: self.prompt_tokens,
            context_tokens: self.context_tokens,
            counted_tokens: counted,
        }
    }

    fn plain(value: Option<&RawValue>, body: &[u8]) -> Self {
        // A character has at most four bytes.
        let head = body.get(..PLAIN_CHARACTERS * 4).unwrap_or(body);
        let head = String::from_utf8_lossy(head);
        let lower = head.trim_start().to_ascii_lowercase();
        let text = match value.and_then(json::text) {
            Some(text) => text,
            None if lower.starts_with("<!doctype html") || lower.contains("<html") => {
                "upstream returned an HTML page".into()
            }
            None => head,
        };
        Self {
            message: one_line(&text, PLAIN_CHARACTERS),
            kind: None,
            code: None,
            prompt_tokens: None,
            context_tokens: None,
        }
    }
}

fn word(raw: Option<&RawValue>) -> Cow<'_, str> {
    raw.and_then(json::text).unwrap_or_default()
}

fn object(raw: &RawValue) -> Option<Body<'_>> {
    // A list would be read as well, its elements taken for the members.
    let json = raw.get().starts_with('{').then(|| raw.get())?;
    serde_json::from_str(json).ok()
}

/// A text, the complaints of a list, or whatever else as it stands.
fn sentence(raw: &RawValue) -> String {
    let Some(list) = json::list(raw) else {
        return plain(raw).into_owned();
    };
    let complaints = list.into_iter().map(|item| {
        let detail: Option<Detail<'_>> = serde_json::from_str(item.get()).ok();
        let detail = detail.and_then(|detail| Some((detail.loc, json::text(detail.msg?)?)));
        let Some((place, says)) = detail else {
            return plain(item).into_owned();
        };
        let place = place.and_then(json::list).unwrap_or_default();
        let place: Vec<_> = place.into_iter().map(plain).collect();
        if place.is_empty() {
            return says.into_owned();
        }
        format!("{}: {says}", place.join("."))
    });
    complaints.collect::<Vec<_>>().join("; ")
}

fn plain(raw: &RawValue) -> Cow<'_, str> {
    json::text(raw).unwrap_or(Cow::Borrowed(raw.get()))
}

/// `text` without control characters and line ends, cut after so many characters.
fn one_line(text: &str, most_characters: usize) -> String {
    let breaks =
        |character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
    let pieces = text.split(breaks).filter(|piece| !piece.is_empty());
    let line = pieces.collect::<Vec<_>>().join(" ");
    let line = line.trim();
    if line.is_empty() {
        return "upstream gave no reason".to_owned();
    }
    match line.char_indices().nth(most_characters) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests;
