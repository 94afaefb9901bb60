//! What an answer says about itself as it passes: first content, tokens, its end, an error.
//!
//! Events are looked at, not parsed: a search over the bytes decides which of them carry something
//! to read, a handful per stream. Whatever an upstream reports must not break the exchange, so a
//! number that is missing, negative or nonsense counts as absent or zero.

mod counts;

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};
use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) use counts::Counts;

use crate::{Dialect, sse};

const ERROR_KIND_LIMIT_BYTES: usize = 64;
/// Members named `usage` at the end of a body that are looked at, the last first.
const TAIL_ATTEMPTS: usize = 8;

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
    /// Whether it told the input. A zero tells nothing: no prompt is empty.
    pub input_told: bool,
    /// Whether it told the output, not only its beginning. A zero tells nothing: if it is true, there
    /// is nothing to count either.
    pub output_told: bool,
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

    /// Whether the terminal event has been seen (`message_stop`, `[DONE]`): nothing can follow. A
    /// finish reason alone does not close: other choices, or the usage, may follow.
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
            name @ (b"message_start" | b"message_delta") => {
                if let Some(data) = sse::data(frame) {
                    // What a message begins with says of its output that it has begun.
                    let ends = name == b"message_delta";
                    self.usage.merge(Head::of(&data).anthropic_counts(), ends);
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
            self.usage
                .merge(Counts::openai_bounded(Head::of(&data).usage), true);
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
    let counts = match dialect {
        Dialect::Anthropic => head.anthropic_counts(),
        Dialect::OpenAi => Counts::openai_bounded(head.usage),
    };
    let mut usage = Usage::default();
    usage.merge(counts, true);
    usage
}

/// The usage that a whole answer reports, from the end of its body: for one that is too large to be
/// held. Nothing is known if the `usage` is not whole in `tail`, or not one of the answer itself.
#[must_use]
pub fn usage_of_tail(dialect: Dialect, tail: &[u8]) -> Usage {
    let places = memmem::rfind_iter(tail, FINDERS.usage.needle());
    let mut usages = places.take(TAIL_ATTEMPTS).map(|at| {
        // With a bracket before it the rest is an object again, but only at the outermost level:
        // elsewhere, as in a tool's input, more is closed than was opened.
        let member = tail.get(at..).unwrap_or_default();
        usage_of_body(dialect, &[b"{", member].concat())
    });
    usages.find(|usage| usage.seen).unwrap_or_default()
}

impl Usage {
    /// Takes over `counts`; `ends`: their output is the answer's, so far at least.
    fn merge(&mut self, counts: Counts, ends: bool) {
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
        self.input_told =
            self.input_tokens + self.cache_read_tokens + self.cache_creation_tokens > 0;
        self.output_told |= ends && counts.output.is_some_and(|output| output > 0);
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

    /// The counts of a message, or of the event that begins or ends one.
    fn anthropic_counts(&self) -> Counts {
        let message: Head<'_> = read(self.message).unwrap_or_default();
        Counts::anthropic(message.usage.or(self.usage))
    }
}

pub(crate) fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// The event's name; where an upstream leaves it out, the data still says what it is.
pub(crate) fn anthropic_event(frame: &[u8]) -> Cow<'_, [u8]> {
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
pub(crate) fn values<'a>(name: &Finder<'static>, json: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
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
mod tests;
