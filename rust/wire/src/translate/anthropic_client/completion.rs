//! A chat completion as servers send it, whole or in chunks, and why it ended.
//!
//! Members that differ from server to server are read leniently; what is said must be text, or it
//! would be lost unseen.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json;

/// Why an answer is none, as the client is told.
pub(super) type Why = &'static str;

pub(super) const NAMELESS: Why = "upstream sent a tool call without a name";

#[derive(Deserialize)]
pub(super) struct Completion<'a> {
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) message: Option<Said<'a>>,
    #[serde(borrow)]
    pub(super) delta: Option<Said<'a>>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    matched_stop: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Said<'a> {
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl<'a> Completion<'a> {
    /// `None` for what is not a JSON object, or has something else where choices and what they say
    /// belong.
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        // A list would pass for a struct.
        if !data.starts_with(b"{") {
            return None;
        }
        serde_json::from_slice(data).ok()
    }

    /// Whether it is an error in the place of an answer. Some servers put an empty one into every
    /// answer.
    pub(super) fn is_error(&self) -> bool {
        let told =
            |error: &RawValue| error.get().starts_with(['{', '[', '"']) && error.get() != r#""""#;
        self.error.is_some_and(told) || self.object.map(RawValue::get) == Some(r#""error""#)
    }
}

impl Choice<'_> {
    /// Whether it is the one that was asked for.
    pub(super) fn is_first(&self) -> bool {
        self.index.is_none_or(|index| index.get() == "0")
    }

    pub(super) fn finish(&self) -> Option<Finish> {
        Finish::read(&text(self.finish_reason)?)
    }

    /// The stop sequence that ended it, if it is one of `listed`: servers also name those of their
    /// chat template.
    pub(super) fn stop_text<'b>(&self, listed: &'b [String]) -> Option<&'b str> {
        let named = [self.stop_reason, self.matched_stop].map(text);
        let stop = named.into_iter().flatten();
        let mut found = stop.filter_map(|stop| listed.iter().find(|listed| **listed == stop));
        found.next().map(String::as_str)
    }
}

impl<'a> Said<'a> {
    /// The thinking in it, in one or two pieces: vLLM renamed the member, and some servers send
    /// both.
    pub(super) fn thinking(&self) -> impl Iterator<Item = &'a RawValue> + use<'a> {
        let again = self.reasoning.map(RawValue::get) == self.reasoning_content.map(RawValue::get);
        let other = self.reasoning_content.filter(|_| !again);
        self.reasoning.into_iter().chain(other)
    }

    pub(super) fn tool_calls(&self) -> &[ToolCall<'a>] {
        self.tool_calls.as_deref().unwrap_or_default()
    }
}

impl<'a> ToolCall<'a> {
    pub(super) fn index(&self) -> Option<u64> {
        self.index?.get().parse().ok()
    }

    pub(super) fn id(&self) -> Option<Cow<'a, str>> {
        text(self.id).filter(|id| !id.is_empty())
    }

    pub(super) fn name(&self) -> Option<Cow<'a, str>> {
        text(self.function.as_ref()?.name).filter(|name| !name.is_empty())
    }

    /// The arguments as text, which they should be; some servers send the value itself.
    pub(super) fn arguments(&self) -> Cow<'a, str> {
        let arguments = self
            .function
            .as_ref()
            .and_then(|function| function.arguments);
        arguments.map_or_else(Cow::default, |raw| {
            json::text(raw).unwrap_or_else(|| json::compact(raw))
        })
    }
}

fn text(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    json::text(raw?)
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// By itself, whatever word the server has for it.
    Done,
    /// At the limit of tokens.
    Length,
    /// By a filter.
    Filtered,
    /// Generation broke off.
    Failed,
}

impl Finish {
    fn read(reason: &str) -> Option<Self> {
        match reason {
            // Some servers say so in every chunk but the last.
            "" => None,
            "length" => Some(Self::Length),
            "content_filter" => Some(Self::Filtered),
            "abort" | "error" => Some(Self::Failed),
            _ => Some(Self::Done),
        }
    }

    /// Whether the last thing that was said may be half of it.
    pub(super) fn is_cut(self) -> bool {
        self != Self::Done
    }

    /// Anthropic's word for it. What was produced decides: a forced call ends with `stop`, and
    /// `tool_calls` may come without one.
    pub(super) fn stop_reason(self, refused: bool, called: bool, stopped: bool) -> &'static str {
        match self {
            _ if refused => "refusal",
            Self::Length => "max_tokens",
            Self::Filtered => "refusal",
            _ if called => "tool_use",
            _ if stopped => "stop_sequence",
            Self::Done | Self::Failed => "end_turn",
        }
    }
}
