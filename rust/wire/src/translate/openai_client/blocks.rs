//! Turns and their blocks, as they are written.

use std::borrow::Cow;

use serde::Serialize;

use super::super::arguments::Input;

/// One turn of the conversation.
#[derive(Debug, Serialize)]
pub(super) struct Turn<'a> {
    pub(super) role: Role,
    pub(super) content: Vec<Block<'a>>,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// The person, and what the tools gave back.
    User,
    /// The model.
    Assistant,
    /// Instructions in mid-conversation.
    System,
}

/// One block of a turn, or of a tool's result.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    /// Words.
    Text { text: Cow<'a, str> },
    /// A picture.
    Image { source: Source<'a> },
    /// A PDF or a plain text.
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<Cow<'a, str>>,
    },
    /// A call of a tool.
    ToolUse {
        id: String,
        name: Cow<'a, str>,
        input: Input<'a>,
    },
    /// What a tool gave back.
    ToolResult {
        tool_use_id: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Block<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

/// Where the bytes of an image or document are.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source<'a> {
    /// In the request, as base64.
    Base64 {
        media_type: &'static str,
        data: Cow<'a, str>,
    },
    /// In the request, as text.
    Text {
        media_type: &'static str,
        data: Cow<'a, str>,
    },
    /// Elsewhere; whoever reads it fetches it.
    Url { url: Cow<'a, str> },
}

impl<'a> Block<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text { text: text.into() }
    }

    /// A block of `text`; none if it is blank, which Anthropic refuses.
    pub(super) fn unless_blank(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let text = text.into();
        (!text.trim().is_empty()).then_some(Self::Text { text })
    }
}
