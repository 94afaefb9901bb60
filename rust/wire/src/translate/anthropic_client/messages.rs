//! The conversation: turns of Anthropic Messages become messages of a chat completion.

use std::borrow::Cow;

use fault::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::place::{At, Raw, Wrong, list, object, optional_text, text};
use super::super::{Dropped, InlineSystem, Kind, Profile, json};
use super::block::{self, Block, Content, unknown};
use super::chat::{Call, Message, Part, append};
use super::content::Piece;
use super::conversation::{Assistant, Conversation, Said};
use super::results::ToolResult;
use super::{Names, server_tools, system};

/// What the translation of a conversation reads and notes besides it.
pub(super) struct Context<'a> {
    pub(super) profile: &'a Profile,
    pub(super) names: &'a mut Names,
    pub(super) dropped: &'a mut Dropped,
}

/// A conversation for Chat Completions.
#[derive(Debug)]
pub(super) struct Messages {
    /// The array `messages` as JSON text.
    pub(super) json: Vec<u8>,
    /// Whether the last turn is the assistant's, to be continued.
    pub(super) prefill: bool,
}

/// Who speaks in a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    System,
    User,
    Assistant,
}

/// A message as the client sent it.
struct Turn<'a> {
    role: Role,
    content: Raw<'a>,
    /// Whether it is no longer shown once the user has spoken again.
    ///
    /// Source: `anthropic` 2.12.0, `types/beta/beta_system_message_param.py`.
    cleared: bool,
}

/// Translates the members `system` and `messages` of a request.
pub(super) fn messages(
    system: Raw<'_>,
    messages: Raw<'_>,
    context: &mut Context<'_>,
) -> Result<Messages, Fault> {
    let prompt = match system {
        Some(raw) => system::texts(raw, context).fault("system")?,
        None => Vec::new(),
    };
    let turns = turns(messages).fault("messages")?;
    let written = conversation(prompt, &turns, context).fault("messages")?;
    let prefill = match written.last() {
        Some(Message::Assistant { .. }) if context.profile.kind != Kind::Vllm => {
            let says = "is the assistant's, which this upstream cannot continue; end with a user's";
            let at = turns.len().saturating_sub(1);
            return Err(Wrong::new(says).at(at).fault("messages"));
        }
        Some(Message::Assistant {
            content: Some(text),
            tool_calls,
            ..
        }) => !text.is_empty() && tool_calls.is_empty(),
        _ => false,
    };
    // Writing strings into memory has no way to fail.
    let json = serde_json::to_vec(&written).unwrap_or_default();
    Ok(Messages { json, prefill })
}

fn turns(messages: Raw<'_>) -> Result<Vec<Turn<'_>>, Wrong> {
    let list = list(messages)?;
    if list.is_empty() {
        return Err(Wrong::new("must hold at least one message"));
    }
    let turns = list.into_iter().enumerate();
    turns
        .map(|(index, raw)| Turn::read(raw).at(index))
        .collect()
}

fn conversation<'a>(
    mut prompt: Vec<Cow<'a, str>>,
    turns: &[Turn<'a>],
    context: &mut Context<'_>,
) -> Result<Vec<Message<'a>>, Wrong> {
    let leading = turns.iter().take_while(|turn| turn.role == Role::System);
    let leading = leading.count();
    let last_user = turns.iter().rposition(|turn| turn.role == Role::User);
    let mut conversation = Conversation::default();
    for (index, turn) in turns.iter().enumerate() {
        if index == leading {
            begin(&mut conversation, &mut prompt);
        }
        match turn.role {
            Role::System if turn.cleared && last_user > Some(index) => {}
            Role::System => {
                let texts = turn.operator(context).at(index)?;
                if index < leading {
                    prompt.extend(texts);
                } else if !texts.is_empty() {
                    inline(
                        &mut conversation,
                        texts.join("\n\n").into(),
                        context.profile,
                    );
                }
            }
            Role::User => conversation.user(turn.user(context).at(index)?),
            Role::Assistant => {
                let spoken = turn.assistant(context).at(index)?;
                conversation.assistant(spoken).at(index)?;
            }
        }
    }
    begin(&mut conversation, &mut prompt);
    Ok(conversation.finish())
}

/// Writes the system prompt, once, before anything else.
fn begin<'a>(conversation: &mut Conversation<'a>, prompt: &mut Vec<Cow<'a, str>>) {
    if let Some(text) = system::prompt(std::mem::take(prompt)) {
        conversation.system(text);
    }
}

fn inline<'a>(conversation: &mut Conversation<'a>, text: Cow<'a, str>, profile: &Profile) {
    match profile.inline_system {
        InlineSystem::Preserve => conversation.system(text),
        InlineSystem::Fold => conversation.reminder(system::reminder(text)),
    }
}

impl<'a> Turn<'a> {
    fn read(raw: &'a RawValue) -> Result<Self, Wrong> {
        #[derive(Deserialize)]
        struct Members<'a> {
            #[serde(borrow)]
            role: Raw<'a>,
            #[serde(borrow)]
            content: Raw<'a>,
            #[serde(borrow)]
            clear_at: Raw<'a>,
        }
        let members: Members<'_> = object(Some(raw))?;
        let role = match &*text(members.role).at("role")? {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => {
                return Err(Wrong::new("must be user, assistant or system").at("role"));
            }
        };
        let clear_at = optional_text(members.clear_at).at("clear_at")?;
        Ok(Self {
            role,
            content: members.content,
            cleared: clear_at.as_deref() == Some("next_user_message"),
        })
    }

    /// The texts of a system message; it may have none where it carries other settings.
    fn operator(&self, context: &mut Context<'_>) -> Result<Vec<Cow<'a, str>>, Wrong> {
        match self.content {
            Some(raw) => system::texts(raw, context).at("content"),
            None => Ok(Vec::new()),
        }
    }

    fn user(&self, context: &mut Context<'_>) -> Result<Vec<Said<'a>>, Wrong> {
        let mut said = Vec::new();
        match block::content(self.content).at("content")? {
            Content::Text(text) => say(&mut said, text),
            Content::Blocks(blocks) => {
                for (index, raw) in blocks.into_iter().enumerate() {
                    user_block(raw, &mut said, context)
                        .at(index)
                        .at("content")?;
                }
            }
        }
        Ok(said)
    }

    fn assistant(&self, context: &mut Context<'_>) -> Result<Assistant<'a>, Wrong> {
        let mut speech = Speech::default();
        match block::content(self.content).at("content")? {
            Content::Text(text) => speech.turn.text = text,
            Content::Blocks(blocks) => {
                for (index, raw) in blocks.into_iter().enumerate() {
                    speech.hear(raw, context).at(index).at("content")?;
                }
            }
        }
        Ok(speech.turn)
    }
}

fn say<'a>(said: &mut Vec<Said<'a>>, text: Cow<'a, str>) {
    if !text.is_empty() {
        said.push(Said::Part(Part::text(text)));
    }
}

fn user_block<'a>(
    raw: &'a RawValue,
    said: &mut Vec<Said<'a>>,
    context: &mut Context<'_>,
) -> Result<(), Wrong> {
    let block = Block::read(raw)?;
    let kind = block.kind()?;
    match &*kind {
        "tool_result" => said.push(Said::Result(ToolResult::read(&block, context)?)),
        "container_upload" => say(said, uploaded(&block)?),
        _ => {
            let piece = Piece::read(&block, &kind, context)?;
            let piece = piece.ok_or_else(|| unknown(&kind))?;
            say(said, piece.text);
            said.extend(piece.attached.into_iter().map(Said::Part));
        }
    }
    Ok(())
}

fn uploaded<'a>(block: &Block<'_>) -> Result<Cow<'a, str>, Wrong> {
    let file = text(block.file_id).at("file_id")?;
    Ok(format!("[container_upload: {file}]").into())
}

/// An assistant's turn that is being read.
#[derive(Default)]
struct Speech<'a> {
    turn: Assistant<'a>,
    /// Whether a block that is no text came after the last text.
    apart: bool,
}

impl<'a> Speech<'a> {
    fn hear(&mut self, raw: &'a RawValue, context: &mut Context<'_>) -> Result<(), Wrong> {
        let block = Block::read(raw)?;
        let kind = block.kind()?;
        if kind == "text" {
            if block.citations.is_some() {
                context.dropped.note("citations");
            }
            let separator = if self.apart { "\n\n" } else { "" };
            let text = text(block.text).at("text")?;
            self.apart &= text.is_empty();
            append(&mut self.turn.text, separator, text);
            return Ok(());
        }
        self.apart = true;
        let aside = match &*kind {
            "thinking" if context.profile.kind == Kind::Vllm => {
                let thinking = text(block.thinking).at("thinking")?;
                append(&mut self.turn.reasoning, "\n\n", thinking);
                return Ok(());
            }
            // The last two, a change of models and a server's list of tools, no model gets to see.
            "thinking" | "redacted_thinking" | "fallback" | "mcp_tool_listing" => {
                context.dropped.note(kind.into_owned());
                return Ok(());
            }
            "tool_use" => {
                self.turn.calls.push(call(&block, context)?);
                return Ok(());
            }
            "server_tool_use" | "mcp_tool_use" => server_tools::used(&block)?.into(),
            "container_upload" => uploaded(&block)?,
            "compaction" => optional_text(block.content)
                .at("content")?
                .unwrap_or_default(),
            kind if kind.ends_with("_tool_result") => server_tools::result(&block)?.into(),
            _ => return Err(unknown(&kind)),
        };
        append(&mut self.turn.text, "\n\n", aside);
        Ok(())
    }
}

fn call<'a>(block: &Block<'a>, context: &mut Context<'_>) -> Result<Call<'a>, Wrong> {
    let id = text(block.id).at("id")?;
    let name = match text(block.name).at("name")? {
        Cow::Borrowed(name) => context.names.sent(name),
        Cow::Owned(name) => Cow::Owned(context.names.sent(&name).into_owned()),
    };
    let arguments = match block.input {
        None => Cow::Borrowed("{}"),
        Some(input) if input.get().starts_with('{') => json::compact(input),
        Some(_) => return Err(Wrong::new("must be an object").at("input")),
    };
    Ok(Call::new(id, name, arguments))
}

#[cfg(test)]
mod tests;
