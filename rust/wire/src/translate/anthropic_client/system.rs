//! What the operator says: the system prompt, and reminders in the middle of a conversation.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::place::{At, Raw, Wrong, object, text};
use super::block::{self, Block, Content, unknown};
use super::content::tool_loaded;
use super::messages::Context;

/// The first line of Claude Code's prompt: it changes with every request, which would spoil every
/// prefix cache.
const ATTRIBUTION: &str = "x-anthropic-billing-header:";
const OPENING: &str = "<system-reminder>";
const CLOSING: &str = "</system-reminder>";

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    name: Raw<'a>,
}

/// The texts of a system prompt or a system message, none of them empty.
pub(super) fn texts<'a>(
    raw: &'a RawValue,
    context: &mut Context<'_>,
) -> Result<Vec<Cow<'a, str>>, Wrong> {
    let texts = match block::content(Some(raw))? {
        Content::Text(text) => vec![text],
        Content::Blocks(blocks) => {
            let read = |(index, raw)| read(raw, context).at(index);
            let texts: Result<_, _> = blocks.into_iter().enumerate().map(read).collect();
            texts?
        }
    };
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

fn read<'a>(raw: &'a RawValue, context: &mut Context<'_>) -> Result<Cow<'a, str>, Wrong> {
    let block = Block::read(raw)?;
    let kind = block.kind()?;
    match &*kind {
        "text" => text(block.text).at("text"),
        // Every tool is sent with the request, so only their order in time has to be told.
        "tool_addition" => Ok(tool_loaded(&tool(&block)?, context).into()),
        "tool_removal" => {
            let name = tool(&block)?;
            Ok(format!("[tool removed: {}]", context.names.sent(&name)).into())
        }
        _ => Err(unknown(&kind)),
    }
}

/// The name of a tool that is among the request's `tools`.
fn tool<'a>(block: &Block<'a>) -> Result<Cow<'a, str>, Wrong> {
    let tool: Tool<'_> = object(block.tool).at("tool")?;
    if text(tool.kind).at("tool.type")? != "tool_reference" {
        let says = "must be tool_reference for this model; define the tool in `tools`";
        return Err(Wrong::new(says).at("tool.type"));
    }
    text(tool.name).at("tool.name")
}

/// One prompt out of `texts`; `None` if nothing is left.
pub(super) fn prompt(mut texts: Vec<Cow<'_, str>>) -> Option<Cow<'_, str>> {
    if let Some(first) = texts.first_mut()
        && first.starts_with(ATTRIBUTION)
    {
        *first = match first.split_once('\n') {
            Some((_, rest)) => Cow::Owned(rest.to_owned()),
            None => Cow::Borrowed(""),
        };
    }
    texts.retain(|text| !text.is_empty());
    match texts.len() {
        0 => None,
        1 => texts.pop(),
        _ => Some(Cow::Owned(texts.join("\n\n"))),
    }
}

/// `text` marked as the operator's words, since a user's turn will hold it.
pub(super) fn reminder(text: Cow<'_, str>) -> Cow<'_, str> {
    let trimmed = text.trim();
    if trimmed.starts_with(OPENING) && trimmed.ends_with(CLOSING) {
        return text;
    }
    Cow::Owned(format!("{OPENING}\n{text}\n{CLOSING}"))
}
