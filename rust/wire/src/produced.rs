//! What a model has produced: the text to count where the upstream told no usage, or was not heard
//! to its end.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memchr2};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::translate::json::{compact, list, text};
use crate::usage::{anthropic_event, read, values};
use crate::{Dialect, sse};

/// So much text is kept: more than models write in one answer, but for the longest.
const TEXT_LIMIT_BYTES: usize = 256 * 1024;

/// The text of one answer: what the model said and thought, and its calls' names and arguments.
///
/// Looks for members in the frames of a stream and parses none, like [`crate::Observer`]. Of a thought that
/// is encrypted nothing is known. What belongs together may stand apart: it is for counting.
#[derive(Debug)]
pub struct Produced {
    dialect: Dialect,
    text: String,
    surplus_bytes: u64,
}

impl Produced {
    /// Nothing yet, of an answer in `dialect`.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            text: String::new(),
            surplus_bytes: 0,
        }
    }

    /// Takes what a batch of complete frames adds, as `Frames::push_ready` gives them.
    pub fn observe(&mut self, batch: &[u8]) {
        for frame in sse::split(batch) {
            match self.dialect {
                Dialect::Anthropic => self.anthropic(frame),
                Dialect::OpenAi => self.openai(frame),
            }
        }
    }

    /// The text so far, escapes undone; what came after the first 256 KiB is not in it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many bytes more there were, escapes as they stood.
    #[must_use]
    pub fn surplus_bytes(&self) -> u64 {
        self.surplus_bytes
    }

    /// Whether the model has produced nothing that can be counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.surplus_bytes == 0
    }

    fn anthropic(&mut self, frame: &[u8]) {
        match &*anthropic_event(frame) {
            b"content_block_start" => {
                let data = sse::data(frame).unwrap_or_default();
                let start: Start<'_> = serde_json::from_slice(&data).unwrap_or_default();
                self.anthropic_block(start.content_block);
            }
            b"content_block_delta" => {
                let data = sse::data(frame).unwrap_or_default();
                if let Some(at) = FINDERS.delta.find(&data) {
                    self.strings(&FINDERS.anthropic, data.get(at..).unwrap_or_default());
                }
            }
            _ => {}
        }
    }

    fn openai(&mut self, frame: &[u8]) {
        let data = sse::data(frame).unwrap_or_default();
        if let Some(at) = FINDERS.delta.find(&data) {
            self.openai_message(data.get(at..).unwrap_or_default());
        }
    }

    /// Takes a message of a completion, or what a chunk adds to one.
    fn openai_message(&mut self, json: &[u8]) {
        let said = self.strings(&FINDERS.openai, json);
        // Servers that renamed the member send both for a while, with the same thought.
        let [name, old_name] = &FINDERS.reasoning;
        let thought = self.strings([name], json) || self.strings([old_name], json);
        // Mistral's content is a list of parts; others repeat in parts what they have said.
        if !said && !thought {
            self.strings([&FINDERS.text], json);
        }
    }

    fn anthropic_block(&mut self, block: Option<&RawValue>) {
        let block: Block<'_> = read(block).unwrap_or_default();
        let kind = block.kind.and_then(text).unwrap_or_default();
        let strings = match &*kind {
            "text" => [block.text, None],
            "thinking" => [block.thinking, None],
            // What tools of the server answered, no model has written.
            kind if kind.ends_with("tool_use") => [block.name, block.input.filter(is_filled)],
            _ => return,
        };
        for raw in strings.into_iter().flatten() {
            let piece = text(raw).unwrap_or_else(|| compact(raw));
            self.push(&piece, raw.get().len());
        }
    }

    /// Takes the members of these names that are strings; whether any of them held something.
    fn strings<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a Finder<'static>>,
        json: &[u8],
    ) -> bool {
        let mut found = false;
        for value in names.into_iter().flat_map(|name| values(name, json)) {
            let Some(string) = string(value).filter(|string| string.len() > 2) else {
                continue;
            };
            found = true;
            if string.len() > TEXT_LIMIT_BYTES {
                self.surplus_bytes += string.len() as u64;
            } else {
                self.push(&unescaped(string), string.len());
            }
        }
        found
    }

    /// Adds a text that took so many bytes on the wire.
    fn push(&mut self, text: &str, wire_bytes: usize) {
        if self.text.len() + text.len() > TEXT_LIMIT_BYTES {
            self.surplus_bytes += wire_bytes as u64;
        } else {
            self.text.push_str(text);
        }
    }
}

/// What a whole (not streamed) answer holds; of a body that is none, nothing.
#[must_use]
pub fn produced_of_body(dialect: Dialect, body: &[u8]) -> Produced {
    let mut produced = Produced::new(dialect);
    let body: Body<'_> = serde_json::from_slice(body).unwrap_or_default();
    match dialect {
        Dialect::Anthropic => {
            for block in body.content.and_then(list).unwrap_or_default() {
                produced.anthropic_block(Some(block));
            }
        }
        Dialect::OpenAi => {
            for choice in body.choices.and_then(list).unwrap_or_default() {
                let choice: Choice<'_> = read(Some(choice)).unwrap_or_default();
                produced.openai_message(choice.message.map_or("", RawValue::get).as_bytes());
            }
        }
    }
    produced
}

#[derive(Deserialize, Default)]
struct Body<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Start<'a> {
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// Whether a call's input is there: in a stream it comes later.
fn is_filled(input: &&RawValue) -> bool {
    input.get() != "{}"
}

/// The JSON string at the start of `json`, quotes included, if there is a whole one.
fn string(json: &[u8]) -> Option<&[u8]> {
    let mut at = json.starts_with(b"\"").then_some(1)?;
    loop {
        at += memchr2(b'"', b'\\', json.get(at..)?)?;
        if json.get(at) == Some(&b'"') {
            return json.get(..=at);
        }
        at += 2;
    }
}

/// The text of a JSON string. Half a character as an escape, or bytes that are no UTF-8, are counted
/// as they stand.
fn unescaped(string: &[u8]) -> Cow<'_, str> {
    let escaped = memchr(b'\\', string).is_some();
    if escaped && let Ok(text) = serde_json::from_slice(string) {
        return Cow::Owned(text);
    }
    String::from_utf8_lossy(string.get(1..string.len() - 1).unwrap_or_default())
}

struct Finders {
    delta: Finder<'static>,
    text: Finder<'static>,
    anthropic: [Finder<'static>; 3],
    openai: [Finder<'static>; 5],
    reasoning: [Finder<'static>; 2],
}

static FINDERS: LazyLock<Finders> = LazyLock::new(|| Finders {
    delta: Finder::new(r#""delta""#),
    text: Finder::new(r#""text""#),
    anthropic: [r#""text""#, r#""thinking""#, r#""partial_json""#].map(Finder::new),
    openai: [
        r#""content""#,
        r#""refusal""#,
        r#""name""#,
        r#""arguments""#,
        r#""input""#,
    ]
    .map(Finder::new),
    reasoning: [r#""reasoning""#, r#""reasoning_content""#].map(Finder::new),
});

#[cfg(test)]
mod tests;
