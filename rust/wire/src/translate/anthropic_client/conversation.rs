//! Turns in order: who spoke last decides where the next words go.
//!
//! A chat completion wants every call answered directly behind the assistant's message. So the
//! assistant's turns are held back until it speaks again behind a user: by then all results that
//! can come have come.

use std::borrow::Cow;
use std::collections::HashMap;
use std::mem;

use super::super::place::Wrong;
use super::chat::{Call, Message, Part, Parts, append};
use super::results::ToolResult;

/// The result of a call that the conversation went on without.
const NO_RESULT: &str = "Error: no result was recorded";

/// What an assistant's turn consists of.
#[derive(Debug, Default)]
pub(super) struct Assistant<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) reasoning: Cow<'a, str>,
    pub(super) calls: Vec<Call<'a>>,
    /// What each of its calls gave, if it has.
    results: Vec<Option<Cow<'a, str>>>,
}

/// A piece of a user's turn.
#[derive(Debug)]
pub(super) enum Said<'a> {
    Part(Part<'a>),
    Result(ToolResult<'a>),
}

/// Where a call is: the turn in `assistants`, the call in the turn.
type Place = (usize, usize);

/// A conversation that is being put together.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    done: Vec<Message<'a>>,
    /// The assistant's turns since the last user's.
    assistants: Vec<Assistant<'a>>,
    /// The calls in them that have no result yet.
    open: HashMap<Cow<'a, str>, Place>,
    /// The last of them that has one.
    answered: Option<Place>,
    /// What follows them and their results.
    rest: Vec<Message<'a>>,
    /// Reminders for the beginning of the user's next turn.
    pending: Vec<Cow<'a, str>>,
}

impl<'a> Conversation<'a> {
    /// The operator's words as a message, here.
    pub(super) fn system(&mut self, content: Cow<'a, str>) {
        self.rest.push(Message::System { content });
    }

    /// The operator's words at the end of what stands there by now, so that nothing before them
    /// changes from one request to the next; behind an assistant's turn they wait for the user's.
    pub(super) fn reminder(&mut self, text: Cow<'a, str>) {
        if let Some(Message::User { content }) = self.rest.last_mut() {
            content.0.push(Part::text(text));
            return;
        }
        let last = self.answered.and_then(|place| self.result(place));
        match last.and_then(Option::as_mut) {
            Some(result) => append(result, "\n\n", text),
            None => self.pending.push(text),
        }
    }

    /// A turn of the assistant.
    pub(super) fn assistant(&mut self, turn: Assistant<'a>) -> Result<(), Wrong> {
        // Between calls and their results nothing may stand: then a reminder waits on.
        if self.open.is_empty() {
            self.speak_pending();
        }
        if self.is_answered() {
            self.settle();
        }
        match self.assistants.last_mut() {
            Some(last) if last.calls.is_empty() => {
                append(&mut last.text, "\n\n", turn.text);
                append(&mut last.reasoning, "\n\n", turn.reasoning);
                last.calls = turn.calls;
            }
            _ => self.assistants.push(turn),
        }
        let at = self.assistants.len() - 1;
        if let Some(last) = self.assistants.last_mut() {
            last.results.resize(last.calls.len(), None);
            for (nth, call) in last.calls.iter().enumerate() {
                if self.open.insert(call.id.clone(), (at, nth)).is_some() {
                    let says =
                        format!("calls two tools by the id \"{}\"; make ids unique", call.id);
                    return Err(Wrong::new(says));
                }
            }
        }
        Ok(())
    }

    /// A turn of the user: each result behind its call, then the rest.
    pub(super) fn user(&mut self, said: Vec<Said<'a>>) {
        let mut parts = Vec::with_capacity(said.len());
        let mut only_results = false;
        for piece in said {
            match piece {
                Said::Part(part) => parts.push(part),
                Said::Result(mut result) => {
                    only_results = true;
                    if !self.answer(&mut result) {
                        parts.push(Part::text(result.of_unknown_call()));
                    }
                    parts.extend(result.into_attached());
                }
            }
        }
        only_results &= parts.is_empty();
        let reminders = mem::take(&mut self.pending).into_iter();
        if only_results {
            reminders.for_each(|text| self.reminder(text));
        } else {
            self.speak(reminders.map(Part::text).chain(parts).collect());
        }
    }

    /// All messages, once the last turn is in.
    pub(super) fn finish(mut self) -> Vec<Message<'a>> {
        self.speak_pending();
        self.settle();
        self.done
    }

    fn speak(&mut self, parts: Vec<Part<'a>>) {
        let content = Parts(parts);
        self.rest.push(Message::User { content });
    }

    fn speak_pending(&mut self) {
        if !self.pending.is_empty() {
            let reminders = mem::take(&mut self.pending).into_iter();
            self.speak(reminders.map(Part::text).collect());
        }
    }

    /// Puts the result behind its call; false if no call waits for it.
    fn answer(&mut self, result: &mut ToolResult<'a>) -> bool {
        let Some(place) = self.open.remove(&result.id) else {
            return false;
        };
        if let Some(gave) = self.result(place) {
            *gave = Some(mem::take(&mut result.text));
        }
        self.answered = self.answered.max(Some(place));
        true
    }

    fn result(&mut self, (at, nth): Place) -> Option<&mut Option<Cow<'a, str>>> {
        self.assistants.get_mut(at)?.results.get_mut(nth)
    }

    /// Whether anybody spoke behind the assistant.
    fn is_answered(&self) -> bool {
        self.answered.is_some() || !self.rest.is_empty()
    }

    /// Moves the assistant's turns and what followed them to the end of the conversation.
    fn settle(&mut self) {
        let last = self.assistants.len().saturating_sub(1);
        let is_answered = self.is_answered();
        for (at, mut one) in mem::take(&mut self.assistants).into_iter().enumerate() {
            if is_answered || at < last {
                for gave in &mut one.results {
                    gave.get_or_insert(Cow::Borrowed(NO_RESULT));
                }
            }
            one.write(&mut self.done);
        }
        self.open.clear();
        self.answered = None;
        self.done.append(&mut self.rest);
    }
}

impl<'a> Assistant<'a> {
    /// Writes the message, if anything is left of it, and the results in the order of their calls.
    ///
    /// Clients send them as the tools finish; templates such as Qwen3's leave the ids out, so that
    /// only the order says which is whose.
    fn write(self, out: &mut Vec<Message<'a>>) {
        if self.text.is_empty() && self.reasoning.is_empty() && self.calls.is_empty() {
            return;
        }
        let silent = self.text.is_empty() && !self.calls.is_empty();
        let ids: Vec<_> = self.calls.iter().map(|call| call.id.clone()).collect();
        out.push(Message::Assistant {
            content: (!silent).then_some(self.text),
            reasoning: self.reasoning.clone(),
            reasoning_content: self.reasoning,
            tool_calls: self.calls,
        });
        let results = ids.into_iter().zip(self.results);
        out.extend(results.filter_map(|(tool_call_id, gave)| {
            Some(Message::Tool {
                tool_call_id,
                content: gave?,
            })
        }));
    }
}
