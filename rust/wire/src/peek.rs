//! The few top-level members of a request that the gateway needs, in one validating pass.
//!
//! The whole body must be JSON, since an upstream that is more lenient than this reader could see
//! another request than the one that was admitted; duplicate members are refused for the same
//! reason. Nothing but the model's name is built, and the bytes themselves go on unchanged.

use std::borrow::Cow;
use std::ops::Range;

use fault::{Fault, Kind};
use serde::Deserialize;

use crate::scan::{Malformed, Members, Shape, Value};
use crate::{Dialect, Operation};

/// The longest model name accepted, in bytes of UTF-8.
pub const MODEL_LIMIT_BYTES: usize = 256;

/// The most answers (`n`) one chat completion may ask for: each of them occupies the upstream.
pub const ANSWERS_LIMIT: u64 = 128;

const SESSION_LIMIT_BYTES: usize = 256;

/// What the gateway reads of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    /// The model's name as the client wrote it, unescaped.
    pub model: String,
    /// Where the model's JSON string stands in the body, quotes included.
    pub model_span: Range<usize>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The limit on output tokens, if the client gave one.
    pub max_tokens: Option<u64>,
    /// Where the list `messages` stands in the body.
    pub messages: Range<usize>,
    /// Where the value of `metadata` stands in the body.
    pub metadata: Option<Range<usize>>,
    /// Whether there is a member `safeguards`.
    pub safeguards: bool,
}

/// Checks that `body` is a request for `operation` and returns what the gateway needs of it.
///
/// # Errors
///
/// `InvalidRequest` if the body is not one JSON object in UTF-8 (with the byte offset), nests
/// deeper than 128 levels, or has a member among those read here that is missing, given twice or of
/// the wrong type (with `param`).
pub fn peek(body: &[u8], operation: Operation) -> Result<Peek, Fault> {
    let text = utf8(body)?;
    let mut members = Members::of(body).map_err(malformed)?;
    let mut found = Found::default();
    while let Some((key, value)) = members.next().map_err(malformed)? {
        found.keep(text.get(key).unwrap_or_default(), value)?;
    }
    found.read(text, operation)
}

/// The session id that Claude Code puts into `metadata.user_id`, if it is there.
///
/// Source: Claude Code 2.1.330 sends `user_id` as a string holding JSON with `session_id`.
#[must_use]
pub fn session_id(body: &[u8], peek: &Peek) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        user_id: Cow<'a, str>,
    }
    #[derive(Deserialize)]
    struct User {
        session_id: String,
    }
    let metadata: Metadata<'_> = serde_json::from_slice(body.get(peek.metadata.clone()?)?).ok()?;
    let user: User = serde_json::from_str(&metadata.user_id).ok()?;
    let length = user.session_id.len();
    let usable = (1..=SESSION_LIMIT_BYTES).contains(&length)
        && user.session_id.bytes().all(|byte| byte.is_ascii_graphic());
    usable.then_some(user.session_id)
}

/// The members read here, as they stand in the body.
#[derive(Default)]
struct Found {
    model: Option<Value>,
    messages: Option<Value>,
    stream: Option<Value>,
    max_tokens: Option<Value>,
    max_completion_tokens: Option<Value>,
    n: Option<Value>,
    metadata: Option<Value>,
    safeguards: Option<Value>,
}

impl Found {
    /// Keeps `value` if `key`, a JSON string with its quotes, names a member read here.
    fn keep(&mut self, key: &str, value: Value) -> Result<(), Fault> {
        let (name, slot) = match &*unescaped_key(key) {
            "model" => ("model", &mut self.model),
            "messages" => ("messages", &mut self.messages),
            "stream" => ("stream", &mut self.stream),
            "max_tokens" => ("max_tokens", &mut self.max_tokens),
            "max_completion_tokens" => ("max_completion_tokens", &mut self.max_completion_tokens),
            "n" => ("n", &mut self.n),
            "metadata" => ("metadata", &mut self.metadata),
            "safeguards" => ("safeguards", &mut self.safeguards),
            _ => return Ok(()),
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(invalid(name, "is given twice; send it once")),
        }
    }

    fn read(self, text: &str, operation: Operation) -> Result<Peek, Fault> {
        let model = self
            .model
            .ok_or_else(|| invalid("model", "is missing; name a model"))?;
        let messages = match self.messages {
            Some(value) if value.shape == Shape::Array => value.span,
            Some(_) => return Err(invalid("messages", "must be a list")),
            None => return Err(invalid("messages", "is missing; send a list of messages")),
        };
        let mut max_tokens = count(text, "max_tokens", self.max_tokens.as_ref())?;
        if operation.dialect() == Dialect::OpenAi {
            let newer = self.max_completion_tokens.as_ref();
            max_tokens = count(text, "max_completion_tokens", newer)?.or(max_tokens);
            let answers = count(text, "n", self.n.as_ref())?;
            if answers.is_some_and(|answers| !(1..=ANSWERS_LIMIT).contains(&answers)) {
                return Err(invalid("n", "must be from 1 to 128"));
            }
        }
        Ok(Peek {
            model: model_name(text, &model)?,
            model_span: model.span,
            stream: flag("stream", self.stream.as_ref())?,
            max_tokens,
            messages,
            metadata: self.metadata.map(|value| value.span),
            safeguards: self.safeguards.is_some(),
        })
    }
}

fn utf8(body: &[u8]) -> Result<&str, Fault> {
    let refuse = |message: String| Fault::new(Kind::InvalidRequest, message);
    if body.is_empty() {
        return Err(refuse("the body is empty; send a JSON object".to_owned()));
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        let message = "the body starts with a byte order mark at byte 0; send UTF-8 without one";
        return Err(refuse(message.to_owned()));
    }
    std::str::from_utf8(body).map_err(|error| {
        refuse(format!(
            "the body is not UTF-8 at byte {}",
            error.valid_up_to()
        ))
    })
}

fn malformed(Malformed { at, what }: Malformed) -> Fault {
    let message = format!("the body is not valid JSON: {what} at byte {at}");
    Fault::new(Kind::InvalidRequest, message)
}

fn invalid(name: &'static str, problem: &str) -> Fault {
    Fault::new(Kind::InvalidRequest, format!("`{name}` {problem}")).with_param(name)
}

/// The text of `key` without its quotes; a name written with escapes is the same name.
fn unescaped_key(key: &str) -> Cow<'_, str> {
    if key.contains('\\') {
        // A lone surrogate fails here, and is in none of the names that matter.
        return serde_json::from_str(key).map_or(Cow::Borrowed(""), Cow::Owned);
    }
    Cow::Borrowed(key.trim_matches('"'))
}

fn model_name(text: &str, value: &Value) -> Result<String, Fault> {
    // Six bytes of escape stand for at least one byte of name.
    const RAW_LIMIT_BYTES: usize = 6 * MODEL_LIMIT_BYTES + 2;
    let raw = text.get(value.span.clone()).unwrap_or_default();
    if value.shape != Shape::String {
        return Err(invalid("model", "must be a string"));
    }
    if raw.len() > RAW_LIMIT_BYTES {
        return Err(invalid("model", "must be at most 256 bytes long"));
    }
    let Ok(name) = serde_json::from_str::<String>(raw) else {
        return Err(invalid("model", "must not contain a lone surrogate"));
    };
    if name.is_empty() {
        return Err(invalid("model", "must not be empty"));
    }
    if name.len() > MODEL_LIMIT_BYTES {
        return Err(invalid("model", "must be at most 256 bytes long"));
    }
    if name.chars().any(char::is_control) {
        return Err(invalid("model", "must not contain control characters"));
    }
    Ok(name)
}

fn flag(name: &'static str, value: Option<&Value>) -> Result<bool, Fault> {
    match value.map(|value| value.shape) {
        None | Some(Shape::Null | Shape::False) => Ok(false),
        Some(Shape::True) => Ok(true),
        Some(_) => Err(invalid(name, "must be true or false")),
    }
}

/// A non-negative whole number written as digits alone: what `1e3` or `10.0` means to an upstream
/// is not certain, and a quota must not depend on it.
fn count(text: &str, name: &'static str, value: Option<&Value>) -> Result<Option<u64>, Fault> {
    match value {
        None
        | Some(Value {
            shape: Shape::Null, ..
        }) => Ok(None),
        Some(Value {
            shape: Shape::Number,
            span,
        }) => text
            .get(span.clone())
            .and_then(|digits| digits.parse().ok())
            .map(Some)
            .ok_or_else(|| {
                invalid(
                    name,
                    "must be a whole number from 0 to 18446744073709551615",
                )
            }),
        Some(_) => Err(invalid(name, "must be a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use fault::{Fault, Kind};

    use super::{Peek, peek, session_id};
    use crate::Operation::{self, ChatCompletions, CountTokens, Messages};

    fn refused(body: impl AsRef<[u8]>, operation: Operation) -> Fault {
        let body = body.as_ref();
        let fault = peek(body, operation).expect_err(&String::from_utf8_lossy(body));
        assert_eq!(fault.kind, Kind::InvalidRequest);
        fault
    }

    fn with(member: &str, operation: Operation) -> Result<Peek, Fault> {
        peek(
            format!(r#"{{"model":"m","messages":[],{member}}}"#).as_bytes(),
            operation,
        )
    }

    #[test]
    fn reads_the_members_wherever_they_stand() {
        let body = br#" {"messages":[{"model":"inner","stream":true}],"metadata":{"user_id":"u"},
            "max_tokens":32000,"thinking":{"type":"adaptive"},"safeguards":{},
            "stream" : true,"model": "claude-\u006fpus-5-5"} "#;
        let found = peek(body, Messages).unwrap();
        assert_eq!(found.model, "claude-opus-5-5");
        assert_eq!(&body[found.model_span], br#""claude-\u006fpus-5-5""#);
        assert_eq!(&body[found.metadata.unwrap()], br#"{"user_id":"u"}"#);
        assert_eq!(
            &body[found.messages],
            br#"[{"model":"inner","stream":true}]"#
        );
        assert_eq!(
            (found.stream, found.max_tokens, found.safeguards),
            (true, Some(32000), true)
        );
    }

    #[test]
    fn takes_absent_and_null_members_for_absent() {
        for member in [r#""x":0"#, r#""stream":null,"max_tokens":null,"n":null"#] {
            let found = with(member, ChatCompletions).unwrap();
            assert_eq!((found.stream, found.max_tokens), (false, None));
            assert_eq!((found.metadata, found.safeguards), (None, false));
        }
    }

    #[test]
    fn refuses_what_is_not_json_and_says_where() {
        for (body, words) in [
            (&b""[..], "the body is empty"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b"{\"model\":\"\xff\"}", "not UTF-8 at byte 10"),
            (b"{\"model\":\"m\"", "unexpected end at byte 12"),
            (b"{\"a\":NaN}", "expected a value at byte 5"),
            (b"{} {}", "unexpected data after the object at byte 3"),
            (b"[]", "expected an object at byte 0"),
        ] {
            let fault = refused(body, Messages);
            assert!(fault.message.contains(words), "{fault}");
        }
    }

    #[test]
    fn passes_lone_surrogates_but_not_in_the_model() {
        assert!(with(r#""system":"\ud800""#, Messages).is_ok());
        assert_eq!(
            refused(r#"{"model":"\ud800","messages":[]}"#, Messages).param,
            Some("model")
        );
    }

    #[test]
    fn refuses_a_member_given_twice_however_it_is_written() {
        for name in [
            "model",
            "messages",
            "stream",
            "max_tokens",
            "max_completion_tokens",
            "n",
            "metadata",
        ] {
            let body = format!(r#"{{"{name}":1,"x":[],"{name}":1}}"#);
            let fault = refused(body, ChatCompletions);
            assert_eq!(
                fault.message,
                format!("`{name}` is given twice; send it once")
            );
            assert_eq!(fault.param, Some(name));
        }
        let fault = refused(r#"{"model":"a","mod\u0065l":"b","messages":[]}"#, Messages);
        assert_eq!(fault.param, Some("model"));
        assert!(
            with(r#""x":1,"x":2"#, Messages).is_ok(),
            "others are the upstream's business"
        );
    }

    #[test]
    fn refuses_models_that_are_no_names() {
        let long = format!("\"{}\"", "m".repeat(257));
        let long_raw = format!("\"{}\"", "\\u006d".repeat(2000));
        for model in [
            "null",
            "[]",
            "[\"m\"]",
            "1",
            "\"\"",
            r#""a\u0000""#,
            r#""a\r\nb""#,
            r#""\u001b[1m""#,
        ]
        .into_iter()
        .chain([long.as_str(), long_raw.as_str()])
        {
            let fault = refused(format!(r#"{{"model":{model},"messages":[]}}"#), Messages);
            assert_eq!(fault.param, Some("model"), "{fault}");
        }
        assert_eq!(refused(r#"{"messages":[]}"#, Messages).param, Some("model"));
        let longest = "m".repeat(256);
        let body = format!(r#"{{"model":"{longest}","messages":[]}}"#);
        assert_eq!(peek(body.as_bytes(), Messages).unwrap().model, longest);
    }

    #[test]
    fn refuses_messages_that_are_no_list() {
        for operation in Operation::ALL {
            for body in [r#"{"model":"m"}"#, r#"{"model":"m","messages":{}}"#] {
                assert_eq!(refused(body, operation).param, Some("messages"));
            }
        }
    }

    #[test]
    fn refuses_numbers_a_quota_cannot_count() {
        for value in [
            "1.5", "-1", "-0", "\"10\"", "true", "1e999", "1e3", "10.0", "[]",
        ]
        .into_iter()
        .chain(["1000000000000000000000000000000", "18446744073709551616"])
        {
            for operation in [Messages, CountTokens, ChatCompletions] {
                let fault = with(&format!(r#""max_tokens":{value}"#), operation).unwrap_err();
                assert_eq!(fault.param, Some("max_tokens"), "{value}");
            }
            let member = format!(r#""max_completion_tokens":{value}"#);
            assert_eq!(
                with(&member, ChatCompletions).unwrap_err().param,
                Some("max_completion_tokens")
            );
            assert!(with(&member, Messages).is_ok(), "unknown to this dialect");
        }
        let found = with(r#""max_tokens":18446744073709551615"#, Messages).unwrap();
        assert_eq!(found.max_tokens, Some(u64::MAX));
    }

    #[test]
    fn lets_the_newer_limit_win_on_chat_completions() {
        let member = r#""max_completion_tokens":7,"max_tokens":9"#;
        assert_eq!(with(member, ChatCompletions).unwrap().max_tokens, Some(7));
        assert_eq!(with(member, Messages).unwrap().max_tokens, Some(9));
        let member = r#""max_completion_tokens":null,"max_tokens":9"#;
        assert_eq!(with(member, ChatCompletions).unwrap().max_tokens, Some(9));
    }

    #[test]
    fn bounds_the_number_of_answers() {
        for n in ["0", "129", "1000000", "-1", "1.0", "\"1\""] {
            let fault = with(&format!(r#""n":{n}"#), ChatCompletions).unwrap_err();
            assert_eq!(fault.param, Some("n"), "{n}");
        }
        assert!(with(r#""n":128"#, ChatCompletions).is_ok());
        assert!(
            with(r#""n":1000000"#, Messages).is_ok(),
            "unknown to this dialect"
        );
    }

    #[test]
    fn refuses_a_stream_flag_that_is_no_boolean() {
        for value in ["\"true\"", "1", "{}"] {
            let fault = with(&format!(r#""stream":{value}"#), Messages).unwrap_err();
            assert_eq!(fault.param, Some("stream"));
        }
    }

    #[test]
    fn reads_the_session_of_claude_code_and_never_fails() {
        let session = |metadata: &str| {
            let body = format!(r#"{{"model":"m","messages":[],"metadata":{metadata}}}"#);
            session_id(body.as_bytes(), &peek(body.as_bytes(), Messages).unwrap())
        };
        let user =
            r#"{"user_id":"{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"5f-1\"}"}"#;
        assert_eq!(session(user).as_deref(), Some("5f-1"));
        for metadata in [
            "null",
            "[]",
            "{}",
            r#"{"user_id":1}"#,
            r#"{"user_id":"plain"}"#,
            r#"{"user_id":"{\"session_id\":7}"}"#,
            r#"{"user_id":"{\"session_id\":\"\"}"}"#,
            r#"{"user_id":"{\"session_id\":\"a\\nb\"}"}"#,
        ] {
            assert_eq!(session(metadata), None, "{metadata}");
        }
    }
}
