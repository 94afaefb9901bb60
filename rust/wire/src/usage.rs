//! What an answer says about itself as it passes: first content, tokens, its end, an error.
//!
//! Events are looked at, not parsed: a search over the bytes decides which of them carry something
//! to read, a handful per stream. Whatever an upstream reports must not break the exchange, so a
//! number that is missing, negative or nonsense counts as absent or zero.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Dialect, sse};

/// Above any real answer, and far enough below the type's limit that sums cannot overflow.
const COUNT_LIMIT_TOKENS: u64 = u32::MAX as u64;

const ERROR_KIND_LIMIT_BYTES: usize = 64;

/// Tokens of one answer, as the upstream counted them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens neither read from nor written to a cache.
    pub input_tokens: u64,
    /// Tokens produced, thinking included.
    pub output_tokens: u64,
    /// Prompt tokens read from a cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens written to a cache.
    pub cache_creation_tokens: u64,
    /// Whether the upstream reported any number at all.
    pub seen: bool,
}

/// An error that an upstream reported inside a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    /// The upstream's own type word if it is one (at most 64 bytes), else `unknown`.
    pub kind: String,
}

/// What one batch of frames held.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Whether part of the answer itself was in it: text, thinking, or a tool call.
    pub content: bool,
    /// How many frames there were.
    pub frames: u32,
}

/// Looks at the frames of one stream as they pass.
#[derive(Debug)]
pub struct Observer {
    dialect: Dialect,
    usage: Usage,
    ended: bool,
    closed: bool,
    error: Option<StreamError>,
}

impl Observer {
    /// An observer at the start of a stream in `dialect`.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            usage: Usage::default(),
            ended: false,
            closed: false,
            error: None,
        }
    }

    /// Looks at a batch of complete frames, as `Frames::push_ready` gives them.
    pub fn observe(&mut self, batch: &[u8]) -> Seen {
        let mut seen = Seen::default();
        for frame in sse::split(batch) {
            seen.frames = seen.frames.saturating_add(1);
            seen.content |= match self.dialect {
                Dialect::Anthropic => self.anthropic(frame),
                Dialect::OpenAi => self.openai(frame),
            };
        }
        seen
    }

    /// The tokens reported so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Whether the answer is whole: it said so (`message_stop`, `[DONE]` or a finish reason), and
    /// no error was reported.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.ended && self.error.is_none()
    }

    /// Whether the terminal event has been seen (`message_stop`, `[DONE]`): nothing can follow. A finish
    /// reason alone does not close: other choices, or the usage, may follow.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// The first error reported in the stream.
    #[must_use]
    pub fn error(&self) -> Option<&StreamError> {
        self.error.as_ref()
    }

    fn anthropic(&mut self, frame: &[u8]) -> bool {
        match &*anthropic_event(frame) {
            b"content_block_delta" => return true,
            b"message_start" | b"message_delta" => {
                if let Some(data) = sse::data(frame) {
                    self.usage.merge(&anthropic_usage(&Head::of(&data)));
                }
            }
            b"message_stop" => self.close(),
            b"error" => {
                let data = sse::data(frame).unwrap_or_default();
                self.fail(error_kind(&Head::of(&data)));
            }
            _ => {}
        }
        false
    }

    fn openai(&mut self, frame: &[u8]) -> bool {
        let Some(data) = sse::data(frame) else {
            return false;
        };
        if &*data == b"[DONE]" {
            self.close();
            return false;
        }
        if values(&FINDERS.usage, &data).any(|value| !value.starts_with(b"null")) {
            self.usage.merge(&openai_usage(&Head::of(&data)));
        }
        let Some(at) = FINDERS.delta.find(&data) else {
            if FINDERS.error.find(&data).is_some() {
                self.openai_error(&data);
            }
            return false;
        };
        let delta = data.get(at..).unwrap_or_default();
        for reason in values(&FINDERS.finish_reason, delta).filter_map(quoted) {
            // Some servers say so when generation broke off: the answer is not whole.
            if matches!(reason, b"error" | b"abort") {
                self.fail(word(reason));
            }
            self.ended = true;
        }
        FINDERS
            .content
            .iter()
            .any(|name| values(name, delta).any(is_filled))
    }

    fn close(&mut self) {
        self.ended = true;
        self.closed = true;
    }

    fn openai_error(&mut self, data: &[u8]) {
        let head = Head::of(data);
        if head.error.is_some() || head.object.map(RawValue::get) == Some(r#""error""#) {
            self.fail(error_kind(&head));
        }
    }

    fn fail(&mut self, kind: String) {
        self.error.get_or_insert(StreamError { kind });
    }
}

/// The usage that a whole (not streamed) answer reports.
#[must_use]
pub fn usage_of_body(dialect: Dialect, body: &[u8]) -> Usage {
    let head = Head::of(body);
    let mut usage = Usage::default();
    usage.merge(&match dialect {
        Dialect::Anthropic => anthropic_usage(&head),
        Dialect::OpenAi => openai_usage(&head),
    });
    usage
}

/// Counts as one event reports them: absent ones change nothing.
#[derive(Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
}

impl Usage {
    fn merge(&mut self, counts: &Counts) {
        for (total, count) in [
            (&mut self.input_tokens, counts.input),
            (&mut self.output_tokens, counts.output),
            (&mut self.cache_read_tokens, counts.cache_read),
            (&mut self.cache_creation_tokens, counts.cache_creation),
        ] {
            if let Some(count) = count {
                *total = count;
                self.seen = true;
            }
        }
    }
}

/// The members of an event or body that matter here, not yet read: one of an unexpected type must
/// not hide the others.
#[derive(Deserialize, Default)]
struct Head<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
}

impl<'a> Head<'a> {
    fn of(json: &'a [u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }
}

fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

#[derive(Deserialize, Default)]
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
struct AnthropicUsage<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation_input_tokens: Option<&'a RawValue>,
}

fn anthropic_usage(head: &Head<'_>) -> Counts {
    let message: Head<'_> = read(head.message).unwrap_or_default();
    let usage: AnthropicUsage<'_> = read(message.usage.or(head.usage)).unwrap_or_default();
    Counts {
        input: count(usage.input_tokens),
        output: count(usage.output_tokens),
        cache_read: count(usage.cache_read_input_tokens),
        cache_creation: count(usage.cache_creation_input_tokens),
    }
}

#[derive(Deserialize, Default)]
struct OpenAiUsage<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct PromptDetails<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
}

fn openai_usage(head: &Head<'_>) -> Counts {
    let usage: OpenAiUsage<'_> = read(head.usage).unwrap_or_default();
    let details: PromptDetails<'_> = read(usage.prompt_tokens_details).unwrap_or_default();
    let prompt = count(usage.prompt_tokens);
    // More cached than sent cannot be: the smaller number is the one that was surely sent.
    let cached = count(details.cached_tokens)
        .map(|cached| prompt.map_or(cached, |prompt| cached.min(prompt)));
    Counts {
        input: prompt.map(|prompt| prompt - cached.unwrap_or(0)),
        output: count(usage.completion_tokens),
        cache_read: cached,
        cache_creation: None,
    }
}

fn count(raw: Option<&RawValue>) -> Option<u64> {
    let digits = raw?.get();
    let count = digits.parse().or_else(|_| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates: below zero is zero"
        )]
        digits.parse::<f64>().map(|number| number as u64)
    });
    count.ok().map(|count| count.min(COUNT_LIMIT_TOKENS))
}

/// The event's name; where an upstream leaves it out, the data still says what it is.
fn anthropic_event(frame: &[u8]) -> Cow<'_, [u8]> {
    if let Some(name) = sse::event_name(frame) {
        return Cow::Borrowed(name);
    }
    let data = sse::data(frame).unwrap_or_default();
    let head = Head::of(&data);
    let kind = read(head.kind).or_else(|| head.error.map(|_| "error".to_owned()));
    Cow::Owned(kind.unwrap_or_default().into_bytes())
}

fn error_kind(head: &Head<'_>) -> String {
    let error: Head<'_> = read(head.error).unwrap_or_default();
    // Where the error is not an object of its own, `type` stands beside its message.
    let kind: Option<String> = read(error.kind.or(head.kind));
    kind.map_or_else(|| word(b""), |kind| word(kind.as_bytes()))
}

/// `bytes` if it looks like a type word: it ends up in logs.
fn word(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let usable = (1..=ERROR_KIND_LIMIT_BYTES).contains(&bytes.len()) && bytes.iter().all(plain);
    let word = if usable { bytes } else { b"unknown" };
    String::from_utf8_lossy(word).into_owned()
}

/// Searches for member names with their quotes. Inside a JSON string the quotes would be escaped,
/// so a hit followed by a colon is a member.
struct Finders {
    usage: Finder<'static>,
    error: Finder<'static>,
    delta: Finder<'static>,
    finish_reason: Finder<'static>,
    content: [Finder<'static>; 6],
}

static FINDERS: LazyLock<Finders> = LazyLock::new(|| Finders {
    usage: Finder::new(r#""usage""#),
    error: Finder::new(r#""error""#),
    delta: Finder::new(r#""delta""#),
    finish_reason: Finder::new(r#""finish_reason""#),
    content: [
        r#""content""#,
        r#""reasoning""#,
        r#""reasoning_content""#,
        r#""tool_calls""#,
        r#""refusal""#,
        r#""function_call""#,
    ]
    .map(Finder::new),
});

/// What follows the colon of each member that `name` finds in `json`, to the end of `json`.
fn values<'a>(name: &Finder<'static>, json: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let length = name.needle().len();
    name.find_iter(json).filter_map(move |at| {
        let after = json.get(at + length..)?.trim_ascii_start();
        Some(after.strip_prefix(b":")?.trim_ascii_start())
    })
}

/// The text of the JSON string at the start of `json`, if there is one without escapes.
fn quoted(json: &[u8]) -> Option<&[u8]> {
    json.strip_prefix(b"\"")?.split(|&byte| byte == b'"').next()
}

/// Whether `json` starts with a string, list or object that is not empty.
fn is_filled(json: &[u8]) -> bool {
    match json {
        [b'"', first, ..] => *first != b'"',
        [b'[', first, ..] => *first != b']',
        [b'{', first, ..] => *first != b'}',
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Observer, Seen, Usage, usage_of_body};
    use crate::Dialect::{self, Anthropic, OpenAi};

    const ANTHROPIC: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":25,"cache_creation_input_tokens":100,"cache_read_input_tokens":2000,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"say \"usage\""}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15,"input_tokens":null}}

event: message_stop
data: {"type":"message_stop"}

"#;

    const OPENAI: &str = r#"data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}

data: {"id":"c","choices":[{"index":0,"delta":{"content":"\"finish_reason\":\"stop\""},"finish_reason":null}]}

data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"id":"c","choices":[],"usage":{"prompt_tokens":30,"total_tokens":37,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":16}}}

data: [DONE]

"#;

    fn observed(dialect: Dialect, stream: &str) -> Observer {
        let mut observer = Observer::new(dialect);
        observer.observe(stream.as_bytes());
        observer
    }

    #[test]
    fn merges_the_usage_of_an_anthropic_stream() {
        let mut observer = Observer::new(Anthropic);
        assert_eq!(
            observer.observe(ANTHROPIC.as_bytes()),
            Seen {
                content: true,
                frames: 6
            }
        );
        let expected = Usage {
            input_tokens: 25,
            output_tokens: 15,
            cache_read_tokens: 2000,
            cache_creation_tokens: 100,
            seen: true,
        };
        assert_eq!(observer.usage(), expected);
        assert!(observer.finished());
        assert_eq!(observer.error(), None);
    }

    #[test]
    fn takes_cached_tokens_out_of_the_prompt_of_an_openai_stream() {
        let mut observer = Observer::new(OpenAi);
        assert_eq!(
            observer.observe(OPENAI.as_bytes()),
            Seen {
                content: true,
                frames: 5
            }
        );
        let expected = Usage {
            input_tokens: 14,
            output_tokens: 7,
            cache_read_tokens: 16,
            cache_creation_tokens: 0,
            seen: true,
        };
        assert_eq!(observer.usage(), expected);
        assert!(observer.finished());
    }

    #[test]
    fn tells_which_frames_carry_content() {
        let content = |dialect, frame: &str| {
            Observer::new(dialect)
                .observe(format!("{frame}\n\n").as_bytes())
                .content
        };
        for frame in [
            "event: ping\ndata: {\"type\":\"ping\"}",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\"}",
            ": comment",
        ] {
            assert!(!content(Anthropic, frame), "{frame}");
        }
        assert!(content(
            Anthropic,
            "data: {\"type\":\"content_block_delta\"}"
        ));
        for (delta, expected) in [
            (r#"{"content":"x"}"#, true),
            (r#"{ "content" : "x" }"#, true),
            (r#"{"reasoning":"x"}"#, true),
            (r#"{"reasoning_content":"x","content":null}"#, true),
            (r#"{"tool_calls":[{"index":0}]}"#, true),
            (r#"{"role":"assistant","content":""}"#, false),
            (r#"{"content":null,"tool_calls":[]}"#, false),
            ("{}", false),
        ] {
            let frame =
                format!(r#"data: {{"choices":[{{"delta":{delta},"finish_reason":null}}]}}"#);
            assert_eq!(content(OpenAi, &frame), expected, "{frame}");
        }
    }

    #[test]
    fn a_stream_that_breaks_off_is_not_finished() {
        let whole = ANTHROPIC.split_once("event: message_stop").unwrap().0;
        assert!(!observed(Anthropic, whole).finished());
        let whole = OPENAI
            .split_once(r#"data: {"id":"c","choices":[{"index":0,"delta":{}"#)
            .unwrap()
            .0;
        assert!(!observed(OpenAi, whole).finished());
    }

    #[test]
    fn a_finish_reason_ends_an_openai_stream_without_done() {
        let whole = OPENAI.split_once("data: [DONE]").unwrap().0;
        assert!(observed(OpenAi, whole).finished());
        assert!(!observed(OpenAi, whole).closed());
        assert!(observed(OpenAi, &format!("{whole}data: [DONE]\n\n")).closed());
    }

    #[test]
    fn an_error_inside_the_stream_is_kept_and_the_stream_is_not_whole() {
        for (dialect, stream, kind) in [
            (
                Anthropic,
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n\
                 event: message_stop\ndata: {}\n\n",
                "overloaded_error",
            ),
            (Anthropic, "event: error\ndata: nonsense\n\n", "unknown"),
            (
                Anthropic,
                "data: {\"error\":{\"type\":\"BadRequestError\"}}\n\n",
                "BadRequestError",
            ),
            (
                OpenAi,
                "data: {\"error\": {\"message\":\"m\",\"type\":\"BadRequestError\",\"code\":400}}\n\n\
                 data: [DONE]\n\n",
                "BadRequestError",
            ),
            (
                OpenAi,
                "data: {\"object\":\"error\",\"type\":\"ServerError\"}\n\n",
                "ServerError",
            ),
            (
                OpenAi,
                "data: {\"error\":\"text with\\nlines\"}\n\n",
                "unknown",
            ),
            (
                OpenAi,
                "data: {\"error\":{\"type\":\"a\\nb\"}}\n\n",
                "unknown",
            ),
            (
                OpenAi,
                "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"abort\"}]}\n\n",
                "abort",
            ),
        ] {
            let observer = observed(dialect, stream);
            assert_eq!(
                observer.error().map(|error| error.kind.as_str()),
                Some(kind),
                "{stream}"
            );
            assert!(!observer.finished(), "{stream}");
        }
        assert_eq!(
            observed(OpenAi, "data: {\"id\":\"error\",\"error\":null}\n\n").error(),
            None
        );
    }

    #[test]
    fn nonsense_in_usage_is_absent_or_zero() {
        for (usage, input, output) in [
            (r#"{"input_tokens":-5,"output_tokens":"7"}"#, 0, 0),
            (
                r#"{"input_tokens":1.9,"output_tokens":1e30}"#,
                1,
                u64::from(u32::MAX),
            ),
            (r#"{"input_tokens":{"a":[]},"output_tokens":3}"#, 0, 3),
            ("[]", 0, 0),
            ("\"many\"", 0, 0),
            ("null", 0, 0),
        ] {
            let body = format!(r#"{{"content":[{{"usage":1}}],"usage":{usage}}}"#);
            let found = usage_of_body(Anthropic, body.as_bytes());
            assert_eq!(
                (found.input_tokens, found.output_tokens),
                (input, output),
                "{usage}"
            );
        }
        assert_eq!(usage_of_body(OpenAi, b"<html>"), Usage::default());
        let body = br#"{"usage":{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":9}}}"#;
        let found = usage_of_body(OpenAi, body);
        assert_eq!((found.input_tokens, found.cache_read_tokens), (0, 5));
    }

    #[test]
    fn reads_the_usage_of_whole_answers() {
        let body =
            br#"{"type":"message","content":[],"usage":{"input_tokens":3,"output_tokens":4}}"#;
        let found = usage_of_body(Anthropic, body);
        assert_eq!(
            (found.input_tokens, found.output_tokens, found.seen),
            (3, 4, true)
        );
        let body = br#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,
            "prompt_tokens_details":null}}"#;
        let found = usage_of_body(OpenAi, body);
        assert_eq!(
            (found.input_tokens, found.output_tokens, found.seen),
            (3, 4, true)
        );
    }

    proptest! {
        #[test]
        fn batching_changes_nothing(cuts in prop::collection::vec(any::<bool>(), 6)) {
            for (dialect, stream) in [(Anthropic, ANTHROPIC), (OpenAi, OPENAI)] {
                let whole = observed(dialect, stream);
                let mut observer = Observer::new(dialect);
                let mut batch = Vec::new();
                let mut frames = 0;
                for (frame, cut) in crate::sse::split(stream.as_bytes()).zip(&cuts) {
                    batch.extend_from_slice(frame);
                    if *cut {
                        frames += observer.observe(&std::mem::take(&mut batch)).frames;
                    }
                }
                frames += observer.observe(&batch).frames;
                prop_assert_eq!(observer.usage(), whole.usage());
                prop_assert_eq!(observer.finished(), whole.finished());
                prop_assert_eq!(frames as usize, crate::sse::split(stream.as_bytes()).count());
            }
        }

        #[test]
        fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for dialect in Dialect::ALL {
                Observer::new(dialect).observe(&bytes);
                let _ = usage_of_body(dialect, &bytes);
            }
        }
    }
}
