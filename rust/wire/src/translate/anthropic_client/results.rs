//! A tool's result: one string for the model, and what has to follow it in a user's message.

use std::borrow::Cow;

use super::super::place::{At, Wrong, flag, text};
use super::block::Block;
use super::chat::Part;
use super::content::Piece;
use super::messages::Context;

/// The types of block that a tool may answer with.
const CONTENT: [&str; 5] = [
    "text",
    "image",
    "document",
    "search_result",
    "tool_reference",
];

/// What a tool has answered.
#[derive(Debug)]
pub(super) struct ToolResult<'a> {
    /// The call that it answers.
    pub(super) id: Cow<'a, str>,
    pub(super) text: Cow<'a, str>,
    pub(super) attached: Vec<Part<'a>>,
}

impl<'a> ToolResult<'a> {
    pub(super) fn read(block: &Block<'a>, context: &mut Context<'_>) -> Result<Self, Wrong> {
        let id = text(block.tool_use_id).at("tool_use_id")?;
        let failed = flag(block.is_error).at("is_error")? == Some(true);
        let Piece { mut text, attached } = match block.content {
            Some(_) => Piece::flat(block.content, &CONTENT, context).at("content")?,
            None => Piece::default(),
        };
        if text.is_empty() {
            text = following(&attached).into();
        }
        if failed {
            text = error(text);
        }
        Ok(Self { id, text, attached })
    }

    /// The text for a result that answers no call: what it says must not be lost.
    pub(super) fn of_unknown_call(&self) -> String {
        let Self { id, text, .. } = self;
        let space = if text.is_empty() { "" } else { " " };
        format!("[result of unknown tool call {id}]{space}{text}")
    }

    /// What is attached, each with a text before it that says whose it is.
    pub(super) fn into_attached(self) -> impl Iterator<Item = Part<'a>> {
        let id = self.id;
        self.attached.into_iter().flat_map(move |part| {
            let word = word(&part);
            [Part::text(format!("[{word} from tool result {id}]")), part]
        })
    }
}

const fn word(part: &Part<'_>) -> &'static str {
    match part {
        Part::Text { .. } => "text",
        Part::ImageUrl { .. } => "image",
        Part::File { .. } => "document",
    }
}

/// What stands in a result that is nothing but attachments.
fn following(attached: &[Part<'_>]) -> String {
    let count = |name: &str| attached.iter().filter(|part| word(part) == name).count();
    let notes = ["image", "document"].map(|name| match count(name) {
        0 => String::new(),
        some => format!("[{some} {name}(s) follow]"),
    });
    notes.concat()
}

// Chat Completions has no flag for a failure: the model has to read it.
fn error(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.is_empty() {
        return Cow::Borrowed("Error: tool failed without output");
    }
    if text.starts_with("Error") || text.starts_with("<tool_use_error>") {
        return text;
    }
    Cow::Owned(format!("Error: {text}"))
}
