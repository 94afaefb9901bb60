//! The request: a chat completion that asks for the same.

use fault::{Fault, Kind};

use super::super::json::text;
use super::super::{Dropped, Order, Profile, Request, Translated};
use super::given::Given;
use super::messages::{Context, messages};
use super::object::Object;
use super::thinking::Wish;
use super::tools::Choice;
use super::{Memory, Names, prewarm};
use crate::Operation;

/// The chat completion being written, and what is noted on the way.
pub(super) struct Draft<'a> {
    pub(super) profile: &'a Profile,
    pub(super) body: Object,
    pub(super) names: Names,
    pub(super) dropped: Dropped,
}

/// Translates a request to generate, or to count what it would be asked with.
pub(in crate::translate) fn request(order: &Order<'_>) -> Result<Translated, Fault> {
    let body = std::str::from_utf8(order.body)
        .map_err(|_| Fault::new(Kind::InvalidRequest, "the body is not UTF-8"))?;
    let mut dropped = Dropped::default();
    let given = Given::read(body, &mut dropped)?;
    let mut draft = Draft {
        profile: order.profile,
        body: Object::new(body.len()),
        names: Names::default(),
        dropped,
    };
    draft.body.text("model", order.wire_model);
    let prefill = draft.messages(&given)?;
    let choice = Choice::read(given.tool_choice)?;
    let has_tools = draft.tools(given.tools, choice.as_ref())?;
    let wish = Wish::read(given.thinking, &mut draft.dropped)?;
    if order.operation == Operation::CountTokens {
        draft.chat_template_kwargs(wish, given.chat_template_kwargs)?;
        draft.prefill(prefill);
        return Ok(Translated::Count(draft.body.close()));
    }
    draft.tool_choice(choice, has_tools);
    draft.response_format(&given)?;
    let max_tokens = draft.max_tokens(&given)?;
    let stop_sequences = draft.stop(&given)?;
    draft.sampling(&given)?;
    draft.chat_template_kwargs(wish, given.chat_template_kwargs)?;
    draft.thinking(wish, given.effort)?;
    draft.caller(&given);
    draft.service_tier(&given);
    draft.prefill(prefill);
    draft.stream(&given);
    draft.extensions(&given);
    let model = given.model.and_then(text).unwrap_or_default().into_owned();
    if max_tokens == 0 {
        let known = prewarm::answer(&model, given.stream, order.body);
        return Ok(Translated::Answer(known));
    }
    Ok(Translated::Request(Request {
        body: draft.body.close(),
        dropped: draft.dropped,
        memory: super::super::Memory::AnthropicClient(Memory {
            model,
            names: draft.names,
            stop_sequences,
            lenient_end: order.profile.lenient_end,
        }),
    }))
}

impl Draft<'_> {
    /// Writes the conversation and returns whether its last turn is the assistant's, to be
    /// continued.
    fn messages(&mut self, given: &Given<'_>) -> Result<bool, Fault> {
        let mut context = Context {
            profile: self.profile,
            names: &mut self.names,
            dropped: &mut self.dropped,
        };
        let conversation = messages(given.system, given.messages, &mut context)?;
        self.body.json("messages", conversation.json);
        Ok(conversation.prefill)
    }

    /// vLLM would begin a turn of its own after the one to be continued.
    fn prefill(&mut self, prefill: bool) {
        if prefill {
            self.body.flag("add_generation_prompt", false);
            self.body.flag("continue_final_message", true);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
