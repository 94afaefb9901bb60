//! A streamed answer: chunks become events as they come.
//!
//! What cannot be written yet waits in a queue in the order it came: a block can only be opened
//! when no tool call is in the middle of its arguments, since one that is stopped there can never
//! be ended.

use std::collections::VecDeque;

use fault::{Fault, Kind};
use serde_json::value::RawValue;

use super::super::error::stream_refusal;
use super::super::{Progress, Stamp, json};
use super::Memory;
use super::calls::{Call, Calls, Piece};
use super::completion::{Choice, Completion, Finish, NAMELESS, ToolCall, Why};
use super::ids::{self, ToolIds};
use super::usage::Usage;
use super::writer::{self, Open, Writer, quoted};
use crate::{Dialect, Refusal};

const BROKEN_OFF: Why = "upstream stream ended before it finished";

/// A chat completion's chunks on their way to an Anthropic client.
#[derive(Debug)]
pub(in crate::translate) struct Stream {
    memory: Memory,
    request_id: String,
    upstream_id: Option<String>,
    /// Whether the upstream has said anything of the answer.
    heard: bool,
    /// Whether `message_start` was written.
    started: bool,
    writer: Writer,
    calls: Calls,
    tool_ids: ToolIds,
    /// Blank text that is text only if more follows.
    blank: String,
    queue: VecDeque<Block>,
    /// The last usage, as JSON.
    usage: String,
    finish: Option<Finish>,
    stop_text: Option<String>,
    refused: bool,
    progress: Progress,
}

/// A block that is to be opened, with what it has so far.
#[derive(Debug)]
enum Block {
    Text(String),
    Thinking(String),
    /// A tool call, which keeps its own arguments.
    Call(usize),
}

impl Stream {
    pub(in crate::translate) fn new(memory: Memory, stamp: Stamp<'_>) -> Self {
        Self {
            memory,
            request_id: stamp.request_id.to_owned(),
            upstream_id: None,
            heard: false,
            started: false,
            writer: Writer::default(),
            calls: Calls::default(),
            tool_ids: ToolIds::default(),
            blank: String::new(),
            queue: VecDeque::new(),
            usage: String::new(),
            finish: None,
            stop_text: None,
            refused: false,
            progress: Progress::Open,
        }
    }

    pub(in crate::translate) fn frame(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        if let Some(data) = crate::sse::data(frame) {
            self.step(out, |stream, out| stream.data(data.trim_ascii(), out));
        }
    }

    pub(in crate::translate) fn close(&mut self, out: &mut Vec<u8>) {
        self.step(out, Self::end);
    }

    pub(in crate::translate) fn ping(&mut self, out: &mut Vec<u8>) {
        self.step(out, |stream, out| {
            stream.start(out);
            writer::ping(out);
            Ok(())
        });
    }

    pub(in crate::translate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    pub(in crate::translate) fn upstream_id(&self) -> Option<&str> {
        self.upstream_id.as_deref()
    }

    /// Does `work` unless the end was reached; where it fails the stream is broken.
    fn step(
        &mut self,
        out: &mut Vec<u8>,
        work: impl FnOnce(&mut Self, &mut Vec<u8>) -> Result<(), Why>,
    ) {
        if matches!(self.progress, Progress::Complete | Progress::Broken(_)) {
            return;
        }
        if let Err(why) = work(self, out) {
            let fault = Fault::new(Kind::UpstreamError, why);
            let refusal = Refusal::of(&fault, Dialect::Anthropic, &self.request_id);
            self.progress = Progress::Broken(refusal);
        }
    }

    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Why> {
        match data {
            b"" => return Ok(()),
            b"[DONE]" => return self.end(out),
            _ => {}
        }
        let chunk = Completion::read(data).ok_or(BROKEN_OFF)?;
        if chunk.is_error() {
            self.progress = Progress::Broken(stream_refusal(Dialect::Anthropic, data));
            return Ok(());
        }
        let choices = chunk.choices.unwrap_or_default();
        if let Some(usage) = chunk.usage {
            usage.get().clone_into(&mut self.usage);
        } else if choices.is_empty() {
            return Ok(());
        }
        if self.upstream_id.is_none() {
            let id = chunk.id.and_then(json::text);
            self.upstream_id = id.and_then(|id| ids::usable(&id).map(ToOwned::to_owned));
        }
        self.heard = true;
        self.start(out);
        for choice in choices.iter().filter(|choice| choice.is_first()) {
            self.choice(choice, out)?;
        }
        if choices.is_empty() && self.finish.is_some() {
            return self.end(out);
        }
        Ok(())
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            self.started = true;
            let stem = ids::stem(self.upstream_id.as_deref(), &self.request_id);
            let usage = Usage::at_start(&self.usage);
            self.writer
                .message_start(out, &stem, &self.memory.model, &usage);
        }
    }

    fn choice(&mut self, choice: &Choice<'_>, out: &mut Vec<u8>) -> Result<(), Why> {
        if let Some(delta) = &choice.delta {
            for piece in delta.thinking() {
                self.thinking(piece, out)?;
            }
            if let Some(piece) = delta.content {
                self.text(piece, out)?;
            }
            if let Some(piece) = delta.refusal {
                self.refused |= piece.get() != r#""""#;
                self.text(piece, out)?;
            }
            for (position, entry) in delta.tool_calls().iter().enumerate() {
                self.call(position, entry, out)?;
            }
        }
        match choice.finish() {
            Some(Finish::Failed) => return Err(BROKEN_OFF),
            Some(finish) if self.finish.is_none() => {
                self.finish = Some(finish);
                let stop_text = choice.stop_text(&self.memory.stop_sequences);
                self.stop_text = stop_text.map(ToOwned::to_owned);
                self.progress = Progress::Finishing;
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    fn thinking(&mut self, piece: &RawValue, out: &mut Vec<u8>) -> Result<(), Why> {
        if self.writer.open() == Open::Thinking {
            return self.pass(piece, out);
        }
        let text = json::text(piece).ok_or(BROKEN_OFF)?;
        match self.queue.back_mut() {
            _ if text.is_empty() => {}
            Some(Block::Thinking(waiting)) => waiting.push_str(&text),
            _ => self.want(Block::Thinking(text.into_owned()), out),
        }
        Ok(())
    }

    fn text(&mut self, piece: &RawValue, out: &mut Vec<u8>) -> Result<(), Why> {
        if self.writer.open() == Open::Text {
            return self.pass(piece, out);
        }
        let text = json::text(piece).ok_or(BROKEN_OFF)?;
        if let Some(Block::Text(waiting)) = self.queue.back_mut() {
            waiting.push_str(&text);
            return Ok(());
        }
        self.blank.push_str(&text);
        if !text.trim().is_empty() {
            let text = std::mem::take(&mut self.blank);
            self.want(Block::Text(text), out);
        }
        Ok(())
    }

    /// Passes a piece of text on to the open block, as it stands where that is possible.
    fn pass(&mut self, piece: &RawValue, out: &mut Vec<u8>) -> Result<(), Why> {
        match piece.get() {
            r#""""# => {}
            // Half a character, which not every client can read, would be written as such.
            json if json.contains("\\u") => {
                let text = json::text(piece).ok_or(BROKEN_OFF)?;
                self.writer.delta(out, &quoted(&text));
            }
            json if json.starts_with('"') => self.writer.delta(out, json),
            _ => return Err(BROKEN_OFF),
        }
        Ok(())
    }

    fn call(
        &mut self,
        position: usize,
        entry: &ToolCall<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Why> {
        match self.calls.add(position, entry)? {
            Some(Piece::Named(number)) => {
                self.blank.clear();
                self.want(Block::Call(number), out);
            }
            Some(Piece::More(number)) if self.writer.open() == Open::Call(number) => {
                self.pass_arguments(number, out);
                self.settle(out);
            }
            Some(Piece::More(_)) | None => {}
        }
        Ok(())
    }

    fn pass_arguments(&mut self, number: usize, out: &mut Vec<u8>) {
        let piece = self
            .calls
            .get_mut(number)
            .map_or("", |call| call.arguments.take());
        if !piece.is_empty() {
            self.writer.delta(out, &quoted(piece));
        }
    }

    fn want(&mut self, block: Block, out: &mut Vec<u8>) {
        self.queue.push_back(block);
        self.settle(out);
    }

    /// Opens what waits, until a call is open that may still get arguments.
    fn settle(&mut self, out: &mut Vec<u8>) {
        while !matches!(self.writer.open(), Open::Call(number) if !self.calls.is_whole(number)) {
            let Some(block) = self.queue.pop_front() else {
                break;
            };
            self.open(&block, out);
        }
    }

    fn open(&mut self, block: &Block, out: &mut Vec<u8>) {
        match block {
            Block::Text(text) => {
                self.writer.start_text(out);
                self.writer.delta(out, &quoted(text));
            }
            Block::Thinking(text) => {
                self.writer.start_thinking(out);
                self.writer.delta(out, &quoted(text));
            }
            Block::Call(number) => {
                let Some(Call { id, name, .. }) = self.calls.get_mut(*number) else {
                    return;
                };
                let upstream_id = self.upstream_id.as_deref();
                let id = self
                    .tool_ids
                    .take(id.as_deref(), &self.request_id, upstream_id, *number);
                let name = self.memory.names.original(name);
                self.writer.start_call(out, *number, &id, name);
                self.pass_arguments(*number, out);
            }
        }
    }

    /// Writes the end, if the upstream has said that it is one.
    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Why> {
        let lenient = self.memory.lenient_end && self.heard;
        let finish = self
            .finish
            .or(lenient.then_some(Finish::Done))
            .ok_or(BROKEN_OFF)?;
        let cut = finish.is_cut();
        if !cut && self.calls.any_nameless() {
            return Err(NAMELESS);
        }
        self.end_call(cut, out)?;
        while let Some(block) = self.queue.pop_front() {
            // Half a call that nobody has seen yet is better not seen.
            if !matches!(block, Block::Call(number) if cut && !self.calls.is_whole(number)) {
                self.open(&block, out);
                self.end_call(cut, out)?;
            }
        }
        if !self.writer.any_block() && !self.blank.is_empty() {
            let text = std::mem::take(&mut self.blank);
            self.open(&Block::Text(text), out);
        }
        let stop_text = self.stop_text.as_deref();
        let stop_reason =
            finish.stop_reason(self.refused, self.writer.any_call(), stop_text.is_some());
        let stop_sequence = stop_text.filter(|_| stop_reason == "stop_sequence");
        self.writer
            .end(out, stop_reason, stop_sequence, &Usage::read(&self.usage));
        self.progress = Progress::Complete;
        Ok(())
    }

    /// Writes what the open call is still owed, if one is open.
    fn end_call(&mut self, cut: bool, out: &mut Vec<u8>) -> Result<(), Why> {
        let Open::Call(number) = self.writer.open() else {
            return Ok(());
        };
        if let Some(call) = self.calls.get_mut(number) {
            let owed = call.arguments.owed(cut)?;
            if !owed.is_empty() {
                self.writer.delta(out, &quoted(&owed));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
