//! A whole answer.

use std::borrow::Cow;

use fault::{Fault, Kind};
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::arguments::Input;
use super::super::error::stream_refusal;
use super::super::{Answer, SIGNATURE_PREFIX, Stamp, json};
use super::Memory;
use super::completion::{Completion, Finish, NAMELESS, Said, Why};
use super::ids::{self, ToolIds};
use super::usage::Usage;
use crate::{Dialect, Refusal};

const NONE: Why = "upstream answered with something that is not a chat completion";
const NO_CHOICE: Why = "upstream answered without choices";
const FAILED: Why = "upstream broke off its answer";

#[derive(Serialize)]
struct Message<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
    usage: Usage,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Thinking {
        thinking: Cow<'a, str>,
        signature: String,
    },
    Text {
        text: Cow<'a, str>,
    },
    ToolUse {
        id: String,
        name: String,
        input: Input<'a>,
    },
}

/// The message that a chat completion is.
///
/// # Errors
///
/// What the client is told where it is none, or says itself that it broke off.
pub(in crate::translate) fn answer(
    memory: &Memory,
    body: &[u8],
    stamp: Stamp<'_>,
) -> Result<Answer, Refusal> {
    let body = body.trim_ascii();
    let told = |why| {
        let fault = Fault::new(Kind::UpstreamError, why);
        Refusal::of(&fault, Dialect::Anthropic, stamp.request_id)
    };
    let completion = Completion::read(body).ok_or_else(|| told(NONE))?;
    if completion.is_error() {
        return Err(stream_refusal(Dialect::Anthropic, body));
    }
    translated(memory, &completion, stamp).map_err(told)
}

fn translated(
    memory: &Memory,
    completion: &Completion<'_>,
    stamp: Stamp<'_>,
) -> Result<Answer, Why> {
    let choice = completion
        .choices
        .as_deref()
        .and_then(<[_]>::first)
        .ok_or(NO_CHOICE)?;
    let said = choice.message.as_ref().ok_or(NONE)?;
    let finish = choice.finish().unwrap_or(Finish::Done);
    if finish == Finish::Failed {
        return Err(FAILED);
    }
    let id = completion.id.and_then(json::text);
    let upstream_id = id.as_deref().and_then(ids::usable);
    let stem = ids::stem(upstream_id, stamp.request_id);

    let mut content = Vec::new();
    let thinking = thinking(said)?;
    if !thinking.is_empty() {
        let signature = format!("{SIGNATURE_PREFIX}{stem}");
        content.push(Block::Thinking {
            thinking,
            signature,
        });
    }
    let refusal = text(said.refusal)?;
    let refused = !refusal.is_empty();
    let texts = [text(said.content)?, refusal]
        .into_iter()
        .filter(|text| !text.is_empty());
    content.extend(texts.map(|text| Block::Text { text }));
    let mut ids = ToolIds::default();
    for (number, call) in calls(said, finish.is_cut(), &content)?
        .into_iter()
        .enumerate()
    {
        content.push(Block::ToolUse {
            id: ids.take(call.id.as_deref(), stamp.request_id, upstream_id, number),
            name: memory.names.original(&call.name).to_owned(),
            input: call.input,
        });
    }
    // Servers leave line breaks between thinking and calls, and a client that sent them back would
    // be refused.
    if content.iter().any(|block| !block.is_blank()) {
        content.retain(|block| !block.is_blank());
    }

    let called = content
        .iter()
        .any(|block| matches!(block, Block::ToolUse { .. }));
    let stop_text = choice.stop_text(&memory.stop_sequences);
    let stop_reason = finish.stop_reason(refused, called, stop_text.is_some());
    let message = Message {
        id: format!("msg_{stem}"),
        kind: "message",
        role: "assistant",
        model: &memory.model,
        content,
        stop_reason,
        stop_sequence: stop_text.filter(|_| stop_reason == "stop_sequence"),
        usage: completion
            .usage
            .map(|usage| Usage::read(usage.get()))
            .unwrap_or_default(),
    };
    Ok(Answer {
        body: serde_json::to_vec(&message).map_err(|_| NONE)?,
        upstream_id: upstream_id.map(ToOwned::to_owned),
    })
}

/// The text of a string, empty if there is none.
fn text(raw: Option<&RawValue>) -> Result<Cow<'_, str>, Why> {
    raw.map_or(Ok(Cow::Borrowed("")), |raw| json::text(raw).ok_or(NONE))
}

fn thinking<'a>(said: &Said<'a>) -> Result<Cow<'a, str>, Why> {
    let mut pieces = said.thinking().map(|piece| text(Some(piece)));
    let first = pieces.next().transpose()?.unwrap_or_default();
    let second = pieces.next().transpose()?.unwrap_or_default();
    Ok(match (first.is_empty(), second.is_empty()) {
        (_, true) => first,
        (true, false) => second,
        (false, false) if first == second => first,
        (false, false) => Cow::Owned(format!("{first}\n\n{second}")),
    })
}

struct Call<'a> {
    id: Option<Cow<'a, str>>,
    name: Cow<'a, str>,
    input: Input<'a>,
    partial: bool,
}

/// The tool calls; of an answer that was `cut` not the one that is half there, if anything else is
/// left.
fn calls<'a>(said: &Said<'a>, cut: bool, others: &[Block<'_>]) -> Result<Vec<Call<'a>>, Why> {
    let mut calls = Vec::new();
    for call in said.tool_calls() {
        let arguments = call.arguments();
        let blank = arguments.trim().is_empty();
        let Some(name) = call.name() else {
            if cut || blank {
                continue;
            }
            return Err(NAMELESS);
        };
        let input = Input::of(arguments);
        let partial = cut && (blank || matches!(input, Input::Malformed { .. }));
        let id = call.id();
        calls.push(Call {
            id,
            name,
            input,
            partial,
        });
    }
    let others = others.iter().any(|block| !block.is_blank());
    if others || calls.iter().any(|call| !call.partial) {
        calls.retain(|call| !call.partial);
    }
    Ok(calls)
}

impl Block<'_> {
    fn is_blank(&self) -> bool {
        matches!(self, Self::Text { text } if text.trim().is_empty())
    }
}

#[cfg(test)]
mod tests;
