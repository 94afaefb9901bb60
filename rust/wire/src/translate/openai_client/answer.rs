//! A whole answer.

use fault::{Fault, Kind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::error::stream_refusal;
use super::super::{Answer, Stamp, json};
use super::Memory;
use super::reply::{self, Call};
use super::usage::Usage;
use crate::{Dialect, Refusal};

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_details: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// The chat completion for a message.
pub(in crate::translate) fn answer(
    memory: &Memory,
    body: &[u8],
    stamp: Stamp<'_>,
) -> Result<Answer, Refusal> {
    let message: Option<Message<'_>> = serde_json::from_slice(body).ok();
    if message
        .as_ref()
        .is_some_and(|message| message.error.is_some())
    {
        return Err(stream_refusal(Dialect::OpenAi, body));
    }
    let blocks = message.and_then(|message| Some((json::list(message.content?)?, message)));
    let Some((blocks, message)) = blocks else {
        let said = "upstream answered with something that is no message";
        let fault = Fault::new(Kind::UpstreamError, said);
        return Err(Refusal::of(&fault, Dialect::OpenAi, stamp.request_id));
    };
    let upstream_id = reply::upstream_id(message.id);
    let id = reply::completion_id(upstream_id.as_deref(), stamp.request_id);
    let finish_reason = reply::finish_reason(message.stop_reason, memory);
    let mut parts = Parts::of(&blocks, &id, memory);
    if let Some(text) = reply::explanation(finish_reason, message.stop_details) {
        reply::push_inner(parts.refusal.get_or_insert_default(), text);
    }
    let mut usage = Usage::default();
    usage.merge(message.usage);

    let mut out = Vec::with_capacity(body.len() + 512);
    out.extend_from_slice(b"{\"id\":");
    json::push_string(&mut out, &id);
    out.extend_from_slice(b",\"object\":\"chat.completion\",\"created\":");
    out.extend_from_slice(stamp.now_s.to_string().as_bytes());
    out.extend_from_slice(b",\"model\":");
    json::push_string(&mut out, &memory.model);
    out.extend_from_slice(b",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\"");
    parts.write(&mut out);
    out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":");
    json::push_string(&mut out, finish_reason);
    out.extend_from_slice(b"}],\"usage\":");
    usage.write(&mut out);
    out.push(b'}');
    Ok(Answer {
        body: out,
        upstream_id,
    })
}

/// What the blocks become; texts are JSON strings without their quotes, `None` if there was nothing
/// to say.
#[derive(Default)]
struct Parts {
    content: Option<Vec<u8>>,
    refusal: Option<Vec<u8>>,
    reasoning: Option<Vec<u8>>,
    /// A list without its brackets.
    calls: Vec<u8>,
    call_count: usize,
    /// Whether the forced tool was called.
    responded: bool,
}

impl Parts {
    fn of(blocks: &[&RawValue], completion_id: &str, memory: &Memory) -> Self {
        let mut parts = Self::default();
        let blocks = blocks.iter().map(|block| serde_json::from_str(block.get()));
        for block in blocks.flatten() {
            let block: Block<'_> = block;
            match block.kind.map_or("", RawValue::get) {
                r#""text""# => parts.text(block.text),
                r#""thinking""# => parts.thinking(block.thinking),
                r#""tool_use""# if memory.respond_tool => parts.respond(&block),
                r#""tool_use""# => parts.call(&block, completion_id, memory),
                // Redacted thinking is of use to nobody, and what server tools did the client
                // cannot be asked to do.
                _ => {}
            }
        }
        parts
    }

    fn text(&mut self, text: Option<&RawValue>) {
        if let Some(text) = text.filter(|text| reply::is_filled(text)) {
            reply::push_inner(self.content.get_or_insert_default(), text);
        }
    }

    fn thinking(&mut self, thinking: Option<&RawValue>) {
        if let Some(thinking) = thinking.filter(|text| reply::is_filled(text)) {
            if let Some(before) = &mut self.reasoning {
                before.extend_from_slice(br"\n\n");
            }
            reply::push_inner(self.reasoning.get_or_insert_default(), thinking);
        }
    }

    fn respond(&mut self, block: &Block<'_>) {
        let name = block.name.and_then(json::text);
        if name.as_deref() == Some(reply::RESPOND_TOOL) && !self.responded {
            self.responded = true;
            let content = self.content.get_or_insert_default();
            reply::push_text(content, &reply::arguments(block.input));
        }
    }

    fn call(&mut self, block: &Block<'_>, completion_id: &str, memory: &Memory) {
        let call = Call {
            index: self.call_count,
            id: block.id,
            name: block.name,
        };
        self.call_count += 1;
        let separator: &[u8] = if call.index == 0 { b"{" } else { b",{" };
        self.calls.extend_from_slice(separator);
        let arguments = reply::arguments(block.input);
        call.write(&mut self.calls, memory, completion_id, &arguments);
        self.calls.push(b'}');
    }

    /// Writes the message's members after `role`.
    fn write(&self, out: &mut Vec<u8>) {
        push_member(out, "content", self.content.as_deref());
        push_member(out, "refusal", self.refusal.as_deref());
        if self.reasoning.is_some() {
            push_member(out, "reasoning_content", self.reasoning.as_deref());
            push_member(out, "reasoning", self.reasoning.as_deref());
        }
        if self.call_count > 0 {
            out.extend_from_slice(b",\"tool_calls\":[");
            out.extend_from_slice(&self.calls);
            out.push(b']');
        }
    }
}

/// Writes a member whose value is a string, given without its quotes, or `null`.
fn push_member(out: &mut Vec<u8>, name: &str, inner: Option<&[u8]>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    let Some(inner) = inner else {
        return out.extend_from_slice(b"null");
    };
    out.push(b'"');
    out.extend_from_slice(inner);
    out.push(b'"');
}

#[cfg(test)]
mod tests;
