//! The conversation, read message by message.

use std::borrow::Cow;

use fault::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::arguments::Input;
use super::super::place::{At, Raw, Wrong, list, object, optional_text, text};
use super::blocks::Block;
use super::conversation::{Call, Conversation, Finished};
use super::function::{Function, Wrapped};
use super::ids::Key;
use super::parts::{Context, Parts};

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Raw<'a>,
    #[serde(borrow)]
    content: Raw<'a>,
    #[serde(borrow)]
    name: Raw<'a>,
    #[serde(borrow)]
    refusal: Raw<'a>,
    #[serde(borrow)]
    audio: Raw<'a>,
    #[serde(borrow)]
    reasoning: Raw<'a>,
    #[serde(borrow)]
    reasoning_content: Raw<'a>,
    #[serde(borrow)]
    tool_calls: Raw<'a>,
    #[serde(borrow)]
    function_call: Raw<'a>,
    #[serde(borrow)]
    tool_call_id: Raw<'a>,
}

/// Reads `messages`.
///
/// # Errors
///
/// `InvalidRequest`, with the place, for what cannot be told to an Anthropic model.
pub(super) fn messages<'a>(
    messages: Raw<'a>,
    context: &mut Context<'_>,
) -> Result<Finished<'a>, Fault> {
    context.conversation(messages).fault("messages")
}

impl Context<'_> {
    fn conversation<'a>(&mut self, messages: Raw<'a>) -> Result<Finished<'a>, Wrong> {
        let mut conversation = Conversation::new(self.profile.mid_system);
        for (index, raw) in list(messages)?.into_iter().enumerate() {
            self.message(raw, &mut conversation).at(index)?;
        }
        let finished = conversation.finish();
        if finished.turns.is_empty() {
            return Err(Wrong::new("must hold a user message that is not empty"));
        }
        Ok(finished)
    }

    fn message<'a>(
        &mut self,
        raw: &'a RawValue,
        conversation: &mut Conversation<'a>,
    ) -> Result<(), Wrong> {
        let message: Message<'_> = object(Some(raw))?;
        let role = text(message.role).at("role")?;
        if message.content.is_none() && matches!(&*role, "system" | "developer" | "user") {
            return Err(Wrong::new("is missing").at("content"));
        }
        if message.name.is_some() && !matches!(&*role, "tool" | "function") {
            self.dropped.note("name");
        }
        let mut content = |parts| self.content(message.content, parts).at("content");
        match &*role {
            "system" | "developer" => conversation.system(content(Parts::Texts)?),
            "user" => conversation.user(content(Parts::All)?),
            "assistant" => conversation.assistant(self.said(&message)?, calls(&message)?),
            "tool" => {
                let id = text(message.tool_call_id).at("tool_call_id")?;
                conversation.result(&Key::Id(id), content(Parts::All)?);
            }
            "function" => {
                let name = text(message.name).at("name")?;
                conversation.result(&Key::Function(name), content(Parts::All)?);
            }
            _ => {
                let roles = "must be system, developer, user, assistant, tool or function";
                return Err(Wrong::new(roles).at("role"));
            }
        }
        Ok(())
    }

    /// What the assistant said; what it thought has no signature and would be refused.
    fn said<'a>(&mut self, message: &Message<'a>) -> Result<Vec<Block<'a>>, Wrong> {
        if message.audio.is_some() {
            let says = "cannot be read by this model; send what was said as content";
            return Err(Wrong::new(says).at("audio"));
        }
        for (name, member) in [
            ("reasoning_content", message.reasoning_content),
            ("reasoning", message.reasoning),
        ] {
            if member.is_some() {
                self.dropped.note(name);
            }
        }
        let mut blocks = self.content(message.content, Parts::Texts).at("content")?;
        let refusal = optional_text(message.refusal).at("refusal")?;
        blocks.extend(refusal.and_then(Block::unless_blank));
        Ok(blocks)
    }
}

/// The calls of an assistant message, of tools and of the functions before them.
fn calls<'a>(message: &Message<'a>) -> Result<Vec<Call<'a>>, Wrong> {
    let raws = list(message.tool_calls).at("tool_calls")?;
    let mut calls = Vec::with_capacity(raws.len());
    for (index, raw) in raws.into_iter().enumerate() {
        calls.push(call(raw).at(index).at("tool_calls")?);
    }
    if message.function_call.is_some() {
        let (name, input) = function(message.function_call).at("function_call")?;
        let key = Key::Function(name.clone());
        calls.push(Call { key, name, input });
    }
    Ok(calls)
}

fn call(raw: &RawValue) -> Result<Call<'_>, Wrong> {
    let call = Wrapped::read(raw)?;
    let key = Key::Id(text(call.id).at("id")?);
    let (name, input) = function(call.function).at("function")?;
    Ok(Call { key, name, input })
}

fn function(raw: Raw<'_>) -> Result<(Cow<'_, str>, Input<'_>), Wrong> {
    let function: Function<'_> = object(raw)?;
    let name = text(function.name).at("name")?;
    Ok((name, Input::given(function.arguments)))
}
