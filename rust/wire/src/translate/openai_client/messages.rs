//! The conversation, read message by message.

use std::borrow::Cow;

use fault::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::arguments::Input;
use super::blocks::Block;
use super::conversation::{Call, Conversation, Finished};
use super::ids::Key;
use super::parts::{Context, Parts};
use super::place::Place;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    audio: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_call_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    function: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Reads `messages`.
///
/// # Errors
///
/// `InvalidRequest`, with the place, for what cannot be told to an Anthropic model.
pub(super) fn messages<'a>(
    messages: Option<&'a RawValue>,
    context: &mut Context<'_>,
) -> Result<Finished<'a>, Fault> {
    let at = Place::Top("messages");
    let mut conversation = Conversation::new(context.profile.mid_system);
    for (index, raw) in at.list(messages)?.into_iter().enumerate() {
        let at = at.item(index);
        let message = at.object(Some(raw))?;
        context.message(&message, &mut conversation, &at)?;
    }
    let finished = conversation.finish();
    if finished.turns.is_empty() {
        return Err(at.refuse("must hold a user message that is not empty"));
    }
    Ok(finished)
}

impl Context<'_> {
    fn message<'a>(
        &mut self,
        message: &Message<'a>,
        conversation: &mut Conversation<'a>,
        at: &Place<'_>,
    ) -> Result<(), Fault> {
        let role = at.member("role").some_text(message.role)?;
        let content = at.member("content");
        if message.content.is_none() && matches!(&*role, "system" | "developer" | "user") {
            return Err(content.refuse("is missing"));
        }
        if message.name.is_some() && !matches!(&*role, "tool" | "function") {
            self.dropped.note("name");
        }
        match &*role {
            "system" | "developer" => {
                conversation.system(self.content(message.content, Parts::Texts, &content)?);
            }
            "user" => conversation.user(self.content(message.content, Parts::All, &content)?),
            "assistant" => {
                let blocks = self.said(message, at)?;
                conversation.assistant(blocks, calls(message, at)?);
            }
            "tool" => {
                let id = at.member("tool_call_id").some_text(message.tool_call_id)?;
                let blocks = self.content(message.content, Parts::All, &content)?;
                conversation.result(&Key::Id(id), blocks);
            }
            "function" => {
                let name = at.member("name").some_text(message.name)?;
                let blocks = self.content(message.content, Parts::All, &content)?;
                conversation.result(&Key::Function(name), blocks);
            }
            _ => {
                let roles = "must be system, developer, user, assistant, tool or function";
                return Err(at.member("role").refuse(roles));
            }
        }
        Ok(())
    }

    /// What the assistant said; what it thought has no signature and would be refused.
    fn said<'a>(&mut self, message: &Message<'a>, at: &Place<'_>) -> Result<Vec<Block<'a>>, Fault> {
        if message.audio.is_some() {
            let problem = "cannot be read by this model; send what was said as content";
            return Err(at.member("audio").refuse(problem));
        }
        for (name, member) in [
            ("reasoning_content", message.reasoning_content),
            ("reasoning", message.reasoning),
        ] {
            if member.is_some() {
                self.dropped.note(name);
            }
        }
        let mut blocks = self.content(message.content, Parts::Texts, &at.member("content"))?;
        let refusal = at.member("refusal").text(message.refusal)?;
        blocks.extend(refusal.and_then(Block::unless_blank));
        Ok(blocks)
    }
}

/// The calls of an assistant message, of tools and of the functions before them.
fn calls<'a>(message: &Message<'a>, at: &Place<'_>) -> Result<Vec<Call<'a>>, Fault> {
    let list = at.member("tool_calls");
    let raws = list.list(message.tool_calls)?;
    let mut calls = Vec::with_capacity(raws.len());
    for (index, raw) in raws.into_iter().enumerate() {
        let at = list.item(index);
        let call: ToolCall<'_> = at.object(Some(raw))?;
        let kind = at.member("type").text(call.kind)?;
        if kind.is_some_and(|kind| kind != "function") {
            return Err(at.member("type").refuse("must be function"));
        }
        let id = at.member("id").some_text(call.id)?;
        let (name, input) = function(call.function, &at.member("function"))?;
        let key = Key::Id(id);
        calls.push(Call { key, name, input });
    }
    if message.function_call.is_some() {
        let (name, input) = function(message.function_call, &at.member("function_call"))?;
        let key = Key::Function(name.clone());
        calls.push(Call { key, name, input });
    }
    Ok(calls)
}

fn function<'a>(
    raw: Option<&'a RawValue>,
    at: &Place<'_>,
) -> Result<(Cow<'a, str>, Input<'a>), Fault> {
    let function: Function<'_> = at.object(raw)?;
    let name = at.member("name").some_text(function.name)?;
    Ok((name, Input::of(function.arguments)))
}
