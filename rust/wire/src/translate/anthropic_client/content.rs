//! What a user or a tool says: texts, images, documents, search results.
//!
//! A tool's result is one string, so everything here becomes text, and what cannot is attached.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json;
use super::super::place::{At, Raw, Wrong, object, optional_text, text};
use super::block::{self, Block, Content, unknown};
use super::chat::{File, Image, Part, Url, append};
use super::messages::Context;

const PDF: &str = "application/pdf";

/// Text, and what only a user's message can hold beside it.
#[derive(Debug, Default)]
pub(super) struct Piece<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) attached: Vec<Part<'a>>,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    media_type: Raw<'a>,
    #[serde(borrow)]
    data: Raw<'a>,
    #[serde(borrow)]
    url: Raw<'a>,
    #[serde(borrow)]
    content: Raw<'a>,
}

impl<'a> Piece<'a> {
    fn of(text: impl Into<Cow<'a, str>>) -> Self {
        Self {
            text: text.into(),
            attached: Vec::new(),
        }
    }

    fn append(&mut self, next: Self) {
        append(&mut self.text, "\n", next.text);
        self.attached.extend(next.attached);
    }

    /// What a block of a user's turn or a tool's result says; `None` if it is of another type.
    pub(super) fn read(
        block: &Block<'a>,
        kind: &str,
        context: &mut Context<'_>,
    ) -> Result<Option<Self>, Wrong> {
        let piece = match kind {
            "text" => Self::of(text(block.text).at("text")?),
            "image" => image(block, context)?,
            "document" => document(block, context)?,
            "search_result" => search_result(block, context)?,
            _ => return Ok(None),
        };
        if block.citations.is_some() {
            context.dropped.note("citations");
        }
        Ok(Some(piece))
    }

    /// A string, or blocks of the types `allowed`, each on lines of its own.
    pub(super) fn flat(
        raw: Raw<'a>,
        allowed: &[&str],
        context: &mut Context<'_>,
    ) -> Result<Self, Wrong> {
        let blocks = match block::content(raw)? {
            Content::Text(text) => return Ok(Self::of(text)),
            Content::Blocks(blocks) => blocks,
        };
        let mut whole = Self::default();
        for (index, raw) in blocks.into_iter().enumerate() {
            whole.append(Self::inner(raw, allowed, context).at(index)?);
        }
        Ok(whole)
    }

    fn inner(
        raw: &'a RawValue,
        allowed: &[&str],
        context: &mut Context<'_>,
    ) -> Result<Self, Wrong> {
        let block = Block::read(raw)?;
        let kind = block.kind()?;
        let refused = || unknown(&kind);
        if !allowed.contains(&&*kind) {
            return Err(refused());
        }
        if kind == "tool_reference" {
            let name = text(block.tool_name).at("tool_name")?;
            return Ok(Self::of(tool_loaded(&name, context)));
        }
        Self::read(&block, &kind, context)?.ok_or_else(refused)
    }
}

/// How a model is told that it has the tool `name` from here on.
pub(super) fn tool_loaded(name: &str, context: &mut Context<'_>) -> String {
    format!("[tool loaded: {}]", context.names.sent(name))
}

fn source<'a>(block: &Block<'a>) -> Result<(Source<'a>, Cow<'a, str>), Wrong> {
    let source: Source<'_> = object(block.source)?;
    let kind = text(source.kind).at("type")?;
    if kind == "file" {
        return Err(Wrong::new(
            "is a file id, which only means something at Anthropic; send the data itself",
        ));
    }
    Ok((source, kind))
}

fn unknown_source(kind: &str, known: &str) -> Wrong {
    Wrong::new(format!("must be {known}, not \"{kind}\"")).at("type")
}

fn data<'a>(source: &Source<'a>) -> Result<Url<'a>, Wrong> {
    Ok(Url::Data {
        media_type: text(source.media_type).at("media_type")?,
        base64: text(source.data).at("data")?,
    })
}

fn image<'a>(block: &Block<'a>, context: &mut Context<'_>) -> Result<Piece<'a>, Wrong> {
    let url = source(block)
        .and_then(|(source, kind)| match &*kind {
            "base64" => data(&source),
            "url" => Ok(Url::Elsewhere(text(source.url).at("url")?)),
            _ => Err(unknown_source(&kind, "base64 or url")),
        })
        .at("source")?;
    if !context.profile.vision {
        context.dropped.note("image");
        return Ok(Piece::of("[image omitted: this model cannot read images]"));
    }
    Ok(Piece {
        text: Cow::Borrowed(""),
        attached: vec![Part::ImageUrl {
            image_url: Image { url },
        }],
    })
}

fn document<'a>(block: &Block<'a>, context: &mut Context<'_>) -> Result<Piece<'a>, Wrong> {
    let title = optional_text(block.title).at("title")?.unwrap_or_default();
    let about = optional_text(block.context)
        .at("context")?
        .unwrap_or_default();
    let (source, kind) = source(block).at("source")?;
    let body = match &*kind {
        "text" => text(source.data).at("data").map(Piece::of),
        "content" => Piece::flat(source.content, &["text", "image"], context).at("content"),
        "base64" if source.media_type.and_then(json::text).as_deref() != Some(PDF) => {
            Err(Wrong::new(format!("must be {PDF}")).at("media_type"))
        }
        "base64" => data(&source).map(|file_data| pdf(&title, file_data, context)),
        // Nothing here fetches what a client names, and a chat completion takes no file's address.
        "url" => text(source.url)
            .at("url")
            .map(|url| omitted(&title, &format!("nobody here fetches {url}"), context)),
        _ => Err(unknown_source(&kind, "base64, text, content or url")),
    }
    .at("source")?;
    let about = Piece::of(about);
    let pieces = match &*kind {
        "text" | "content" => [Piece::of(title), about, body],
        _ => [body, about, Piece::default()],
    };
    let mut whole = Piece::default();
    for piece in pieces {
        whole.append(piece);
    }
    Ok(whole)
}

fn pdf<'a>(title: &Cow<'a, str>, file_data: Url<'a>, context: &mut Context<'_>) -> Piece<'a> {
    if !context.profile.documents {
        return omitted(title, "this model cannot read PDF files", context);
    }
    let filename = if title.is_empty() {
        Cow::Borrowed("document.pdf")
    } else {
        title.clone()
    };
    let file = File {
        filename,
        file_data,
    };
    Piece {
        text: Cow::Borrowed(""),
        attached: vec![Part::File { file }],
    }
}

fn omitted<'a>(title: &str, why: &str, context: &mut Context<'_>) -> Piece<'a> {
    context.dropped.note("document");
    Piece::of(if title.is_empty() {
        format!("[document omitted: {why}]")
    } else {
        format!("[document \"{title}\" omitted: {why}]")
    })
}

fn search_result<'a>(block: &Block<'a>, context: &mut Context<'_>) -> Result<Piece<'a>, Wrong> {
    let title = text(block.title).at("title")?;
    let source = text(block.source).at("source")?;
    let mut whole = Piece::of(format!("{title} ({source})"));
    whole.append(Piece::flat(block.content, &["text"], context).at("content")?);
    Ok(whole)
}
