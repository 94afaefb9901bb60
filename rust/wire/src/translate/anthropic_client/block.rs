//! A content block as a client sends it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json;
use super::wrong::{At, Wrong};

/// A member that may be missing or `null`.
pub(super) type Raw<'a> = Option<&'a RawValue>;

/// The members of every type of block that mean something to a chat completion; `cache_control`,
/// signatures and whatever is encrypted are not among them.
///
/// Source: `anthropic` 2.12.0, `types/beta/beta_content_block_param.py`.
#[derive(Deserialize)]
pub(super) struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    pub(super) text: Raw<'a>,
    #[serde(borrow)]
    pub(super) citations: Raw<'a>,
    #[serde(borrow)]
    pub(super) source: Raw<'a>,
    #[serde(borrow)]
    pub(super) title: Raw<'a>,
    #[serde(borrow)]
    pub(super) context: Raw<'a>,
    #[serde(borrow)]
    pub(super) content: Raw<'a>,
    #[serde(borrow)]
    pub(super) thinking: Raw<'a>,
    #[serde(borrow)]
    pub(super) id: Raw<'a>,
    #[serde(borrow)]
    pub(super) name: Raw<'a>,
    #[serde(borrow)]
    pub(super) server_name: Raw<'a>,
    #[serde(borrow)]
    pub(super) input: Raw<'a>,
    #[serde(borrow)]
    pub(super) tool_use_id: Raw<'a>,
    #[serde(borrow)]
    pub(super) is_error: Raw<'a>,
    #[serde(borrow)]
    pub(super) tool_name: Raw<'a>,
    #[serde(borrow)]
    pub(super) tool: Raw<'a>,
    #[serde(borrow)]
    pub(super) file_id: Raw<'a>,
}

impl<'a> Block<'a> {
    pub(super) fn read(raw: &'a RawValue) -> Result<Self, Wrong> {
        object(raw)
    }

    pub(super) fn kind(&self) -> Result<Cow<'a, str>, Wrong> {
        text(self.kind).at("type")
    }
}

/// The refusal of a block that would be lost unseen.
pub(super) fn unknown(kind: &str) -> Wrong {
    let says = format!("\"{kind}\" is not supported here for this model; leave the block out");
    Wrong::new(says).at("type")
}

/// The members of an object.
pub(super) fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Wrong> {
    // A struct would be read from an array as well.
    let read = raw
        .get()
        .starts_with('{')
        .then(|| serde_json::from_str(raw.get()));
    read.and_then(Result::ok)
        .ok_or_else(|| Wrong::new("must be an object that names no member twice"))
}

/// A string that has to be there.
pub(super) fn text(raw: Raw<'_>) -> Result<Cow<'_, str>, Wrong> {
    raw.and_then(json::text)
        .ok_or_else(|| Wrong::new("must be a string"))
}

/// A string, empty if it is not there.
pub(super) fn optional_text(raw: Raw<'_>) -> Result<Cow<'_, str>, Wrong> {
    if json::is_null(raw) {
        return Ok(Cow::Borrowed(""));
    }
    text(raw)
}

/// What `content` consists of.
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Blocks(Vec<&'a RawValue>),
}

/// The value of a member `content`.
pub(super) fn content(raw: Raw<'_>) -> Result<Content<'_>, Wrong> {
    raw.and_then(|raw| {
        let text = json::text(raw).map(Content::Text);
        text.or_else(|| json::list(raw).map(Content::Blocks))
    })
    .ok_or_else(|| Wrong::new("must be a string or a list of blocks"))
}
