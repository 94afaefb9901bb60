//! A content block as a client sends it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json;
use super::super::place::{At, Raw, Wrong, object, text};

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
        object(Some(raw))
    }

    pub(super) fn kind(&self) -> Result<Cow<'a, str>, Wrong> {
        text(self.kind).at("type")
    }
}

/// The refusal of a block that would be lost unseen.
pub(super) fn unknown(kind: &str) -> Wrong {
    let says =
        format!("is \"{kind}\", which is not supported here for this model; leave the block out");
    Wrong::new(says).at("type")
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
