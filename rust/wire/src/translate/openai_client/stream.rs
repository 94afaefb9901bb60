//! A streamed answer: of each event a chunk, of most others nothing.

use std::collections::BTreeMap;

use fault::{Fault, Kind};
use serde_json::value::RawValue;

use super::super::error::stream_refusal;
use super::super::{Progress, Stamp, json};
use super::Memory;
use super::event::{Event, Inner};
use super::reply::{self, Call};
use super::usage::Usage;
use crate::{Dialect, Refusal, sse};

/// The translator of one stream.
#[derive(Debug)]
pub(in crate::translate) struct Stream {
    memory: Memory,
    request_id: String,
    created_s: u64,
    upstream_id: Option<String>,
    /// The completion's id; empty until the first chunk.
    id: String,
    /// What every chunk begins with, up to its choices.
    head: Vec<u8>,
    /// The blocks that have begun and not ended, by their index.
    open: BTreeMap<u64, Block>,
    /// How many tool calls have begun.
    calls: usize,
    /// Whether there was any thinking.
    thought: bool,
    /// Whether the forced tool was called.
    responded: bool,
    usage: Usage,
    finish_reason: Option<&'static str>,
    refusal: Option<Box<RawValue>>,
    progress: Progress,
}

/// What a block becomes.
#[derive(Debug)]
enum Block {
    Text,
    Thinking {
        /// Whether any of it was written.
        begun: bool,
    },
    /// Pieces of the arguments of a tool call.
    Arguments {
        place: Place,
        /// What they are if no piece comes: the start's `input`.
        otherwise: String,
        begun: bool,
    },
    /// Nothing.
    Silent,
}

/// Where the input of a tool goes.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// To the call of this number.
    Call(usize),
    /// It is the content, as the tool was this gateway's idea.
    Content,
}

impl Stream {
    pub(in crate::translate) fn new(memory: Memory, stamp: Stamp<'_>) -> Self {
        Self {
            memory,
            request_id: stamp.request_id.to_owned(),
            created_s: stamp.now_s,
            upstream_id: None,
            id: String::new(),
            head: Vec::new(),
            open: BTreeMap::new(),
            calls: 0,
            thought: false,
            responded: false,
            usage: Usage::default(),
            finish_reason: None,
            refusal: None,
            progress: Progress::Open,
        }
    }

    /// Translates one whole frame.
    pub(in crate::translate) fn frame(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        if self.is_over() {
            return;
        }
        let Some(data) = sse::data(frame).filter(|data| !data.is_empty()) else {
            return;
        };
        let Ok(event) = serde_json::from_slice::<Event<'_>>(&data) else {
            return self.close(out);
        };
        let index = event.index();
        match event.kind(frame) {
            b"content_block_delta" => self.piece(index, &Inner::of(event.delta), out),
            b"content_block_start" => self.begin(index, &Inner::of(event.content_block), out),
            b"content_block_stop" => {
                if let Some(block) = self.open.remove(&index) {
                    self.end(block, out);
                }
            }
            b"message_start" => {
                let message = Inner::of(event.message);
                self.usage.merge(message.usage);
                self.upstream_id = self.upstream_id.take().or(reply::upstream_id(message.id));
                self.start(out);
            }
            b"message_delta" => {
                self.usage.merge(event.usage);
                self.stop(&Inner::of(event.delta));
            }
            b"message_stop" => self.finish(out),
            b"ping" => self.ping(out),
            kind if kind == b"error" || event.error.is_some() => {
                self.progress = Progress::Broken(stream_refusal(Dialect::OpenAi, &data));
            }
            _ => {}
        }
    }

    /// The upstream has nothing more to say.
    pub(in crate::translate) fn close(&mut self, out: &mut Vec<u8>) {
        if self.is_over() {
            return;
        }
        if self.finish_reason.is_some() {
            return self.finish(out);
        }
        let fault = Fault::new(
            Kind::UpstreamError,
            "upstream stream ended before it finished",
        );
        let refusal = Refusal::of(&fault, Dialect::OpenAi, &self.request_id);
        self.progress = Progress::Broken(refusal);
    }

    /// Writes a comment, which keeps the connection and every client's patience alive.
    pub(in crate::translate) fn ping(&mut self, out: &mut Vec<u8>) {
        if !self.is_over() {
            out.extend_from_slice(b": ping\n\n");
        }
    }

    pub(in crate::translate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    pub(in crate::translate) fn upstream_id(&self) -> Option<&str> {
        self.upstream_id.as_deref()
    }

    fn is_over(&self) -> bool {
        matches!(self.progress, Progress::Complete | Progress::Broken(_))
    }

    /// Writes the chunk with the role, once.
    fn start(&mut self, out: &mut Vec<u8>) {
        if !self.id.is_empty() {
            return;
        }
        self.id = reply::completion_id(self.upstream_id.as_deref(), &self.request_id);
        let head = &mut self.head;
        head.extend_from_slice(b"data: {\"id\":");
        json::push_string(head, &self.id);
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        head.extend_from_slice(self.created_s.to_string().as_bytes());
        head.extend_from_slice(b",\"model\":");
        json::push_string(head, &self.memory.model);
        head.extend_from_slice(b",\"choices\":[");
        self.chunk(out, |_, out| {
            out.extend_from_slice(b"\"role\":\"assistant\",\"content\":\"\"");
        });
    }

    /// Writes a chunk whose delta has the members that `delta` writes.
    fn chunk(&mut self, out: &mut Vec<u8>, delta: impl FnOnce(&Self, &mut Vec<u8>)) {
        self.start(out);
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":0,\"delta\":{");
        delta(self, out);
        out.extend_from_slice(b"},\"finish_reason\":null}]");
        self.chunk_end(out);
    }

    fn chunk_end(&self, out: &mut Vec<u8>) {
        if self.memory.include_usage {
            out.extend_from_slice(b",\"usage\":null");
        }
        out.extend_from_slice(b"}\n\n");
    }

    /// Writes a chunk whose delta is one member with a text, whose inside `text` writes.
    fn text_chunk(&mut self, name: &[u8], out: &mut Vec<u8>, text: impl FnOnce(&mut Vec<u8>)) {
        self.chunk(out, |_, out| {
            out.push(b'"');
            out.extend_from_slice(name);
            out.extend_from_slice(b"\":\"");
            text(out);
            out.push(b'"');
        });
    }

    fn begin(&mut self, index: u64, block: &Inner<'_>, out: &mut Vec<u8>) {
        if let Some(before) = self.open.remove(&index) {
            self.end(before, out);
        }
        let begun = match block.kind() {
            r#""text""# => Block::Text,
            r#""thinking""# => Block::Thinking { begun: false },
            r#""tool_use""# => self.begin_tool(block, out),
            _ => Block::Silent,
        };
        self.open.insert(index, begun);
        self.piece(index, block, out);
    }

    fn begin_tool(&mut self, block: &Inner<'_>, out: &mut Vec<u8>) -> Block {
        let place = if self.memory.respond_tool {
            let name = block.name.and_then(json::text);
            if self.responded || name.as_deref() != Some(reply::RESPOND_TOOL) {
                return Block::Silent;
            }
            self.responded = true;
            Place::Content
        } else {
            let index = self.calls;
            self.calls += 1;
            let (id, name) = (block.id, block.name);
            self.chunk(out, |stream, out| {
                push_call_index(out, index);
                let call = Call { index, id, name };
                call.write(out, &stream.memory, &stream.id, "");
                out.extend_from_slice(b"}]");
            });
            Place::Call(index)
        };
        Block::Arguments {
            place,
            otherwise: reply::arguments(block.input).into_owned(),
            begun: false,
        }
    }

    /// Writes what a delta, or the start of a block, holds for the block `index`: its kind says
    /// which member that is.
    fn piece(&mut self, index: u64, from: &Inner<'_>, out: &mut Vec<u8>) {
        let filled = |raw: Option<&'_ RawValue>| raw.is_some_and(reply::is_filled);
        let block = self.open.entry(index).or_insert_with(|| {
            // Some server forgot to begin it: what it says of itself is no reason to lose its text.
            match from {
                _ if filled(from.text) => Block::Text,
                _ if filled(from.thinking) => Block::Thinking { begun: false },
                _ => Block::Silent,
            }
        });
        let said = match block {
            Block::Text => from.text,
            Block::Thinking { .. } => from.thinking,
            Block::Arguments { .. } => from.partial_json,
            Block::Silent => None,
        };
        let Some(said) = said.filter(|said| reply::is_filled(said)) else {
            return;
        };
        match block {
            Block::Text => self.text_chunk(b"content", out, |out| reply::push_inner(out, said)),
            Block::Thinking { begun } => {
                let again = !std::mem::replace(begun, true) && self.thought;
                self.thought = true;
                self.text_chunk(b"reasoning_content", out, |out| {
                    if again {
                        out.extend_from_slice(br"\n\n");
                    }
                    reply::push_inner(out, said);
                });
            }
            Block::Arguments { place, begun, .. } => {
                *begun = true;
                let place = *place;
                self.arguments(place, out, |out| reply::push_inner(out, said));
            }
            Block::Silent => {}
        }
    }

    fn arguments(&mut self, place: Place, out: &mut Vec<u8>, piece: impl FnOnce(&mut Vec<u8>)) {
        let Place::Call(index) = place else {
            return self.text_chunk(b"content", out, piece);
        };
        self.chunk(out, |_, out| {
            push_call_index(out, index);
            out.extend_from_slice(b"\"function\":{\"arguments\":\"");
            piece(out);
            out.extend_from_slice(b"\"}}]");
        });
    }

    fn end(&mut self, block: Block, out: &mut Vec<u8>) {
        if let Block::Arguments {
            place,
            otherwise,
            begun: false,
        } = block
        {
            self.arguments(place, out, |out| reply::push_text(out, &otherwise));
        }
    }

    /// Notes why the answer ends.
    fn stop(&mut self, delta: &Inner<'_>) {
        if delta.stop_reason.is_none() {
            return;
        }
        let reason = reply::finish_reason(delta.stop_reason, &self.memory);
        self.finish_reason = Some(reason);
        let refusal = reply::explanation(reason, delta.stop_details);
        self.refusal = refusal.map(ToOwned::to_owned);
        self.progress = Progress::Finishing;
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.start(out);
        for block in std::mem::take(&mut self.open).into_values() {
            self.end(block, out);
        }
        if let Some(refusal) = self.refusal.take() {
            self.text_chunk(b"refusal", out, |out| reply::push_inner(out, &refusal));
        }
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":0,\"delta\":{},\"finish_reason\":");
        let reason = reply::finish_reason(None, &self.memory);
        json::push_string(out, self.finish_reason.unwrap_or(reason));
        out.extend_from_slice(b"}]");
        self.chunk_end(out);
        if self.memory.include_usage {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b"],\"usage\":");
            self.usage.write(out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        self.progress = Progress::Complete;
    }
}

fn push_call_index(out: &mut Vec<u8>, index: usize) {
    out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
    out.extend_from_slice(index.to_string().as_bytes());
    out.push(b',');
}

#[cfg(test)]
mod tests;
