//! A message's content: its parts become blocks.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::place::{At, Raw, Wrong, list, object, optional_text, text};
use super::super::{Dropped, Profile};
use super::blocks::{Block, Source};
use super::data_url::DataUrl;

/// What the translation of a conversation reads and notes besides it.
pub(super) struct Context<'a> {
    pub(super) profile: &'a Profile,
    pub(super) dropped: &'a mut Dropped,
}

/// Which parts a message may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// Texts alone.
    Texts,
    /// Images and files too.
    All,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    text: Raw<'a>,
    #[serde(borrow)]
    refusal: Raw<'a>,
    #[serde(borrow)]
    image_url: Raw<'a>,
    #[serde(borrow)]
    file: Raw<'a>,
}

#[derive(Deserialize)]
struct ImageUrl<'a> {
    #[serde(borrow)]
    url: Raw<'a>,
    #[serde(borrow)]
    detail: Raw<'a>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    filename: Raw<'a>,
    #[serde(borrow, rename = "file_data")]
    data: Raw<'a>,
    #[serde(borrow, rename = "file_id")]
    id: Raw<'a>,
}

impl Context<'_> {
    /// The blocks of a message's `content`, blank texts left out; none if there is no content.
    pub(super) fn content<'a>(
        &mut self,
        content: Raw<'a>,
        parts: Parts,
    ) -> Result<Vec<Block<'a>>, Wrong> {
        match content.map(|raw| raw.get().as_bytes()) {
            None => Ok(Vec::new()),
            Some([b'"', ..]) => {
                let block = Block::unless_blank(text(content)?);
                Ok(block.into_iter().collect())
            }
            Some([b'[', ..]) => {
                let list = list(content)?.into_iter().enumerate();
                list.filter_map(|(index, part)| self.part(part, parts).at(index).transpose())
                    .collect()
            }
            Some(_) => Err(Wrong::new("must be a string or a list of parts")),
        }
    }

    /// The block of one part; none if its text is blank.
    fn part<'a>(&mut self, raw: &'a RawValue, parts: Parts) -> Result<Option<Block<'a>>, Wrong> {
        let part: Part<'_> = object(Some(raw))?;
        match (&*text(part.kind).at("type")?, parts) {
            ("text", _) => text(part.text).at("text").map(Block::unless_blank),
            ("refusal", _) => text(part.refusal).at("refusal").map(Block::unless_blank),
            ("image_url", Parts::All) => self.image(part.image_url).at("image_url").map(Some),
            ("file", Parts::All) => self.file(part.file).at("file"),
            (_, Parts::Texts) => Err(Wrong::new("must be text").at("type")),
            (_, Parts::All) => Err(Wrong::new("must be text, image_url or file").at("type")),
        }
    }

    fn image<'a>(&mut self, raw: Raw<'a>) -> Result<Block<'a>, Wrong> {
        let ImageUrl { url, detail } = object(raw)?;
        if detail.is_some_and(|detail| detail.get() != "\"auto\"") {
            self.dropped.note("image_url.detail");
        }
        let says = match DataUrl::parse(text(url).at("url")?) {
            Ok(data) => match self.binary(data, None) {
                Some(block) => return Ok(block),
                None => "must hold a jpeg, png, gif or webp image or a pdf document",
            },
            Err(url) if is_web(&url) => return Ok(self.visible(Source::Url { url })),
            Err(_) => "must be a data URL or begin with https:// or http://",
        };
        Err(Wrong::new(says).at("url"))
    }

    fn file<'a>(&mut self, raw: Raw<'a>) -> Result<Option<Block<'a>>, Wrong> {
        let file: File<'_> = object(raw)?;
        if file.id.is_some() {
            let says = "means nothing to this model; send the file itself as file_data";
            return Err(Wrong::new(says).at("file_id"));
        }
        let title = optional_text(file.filename).at("filename")?;
        let title = title.filter(|title| !title.trim().is_empty());
        self.data(file.data, title).at("file_data")
    }

    fn data<'a>(
        &mut self,
        raw: Raw<'a>,
        title: Option<Cow<'a, str>>,
    ) -> Result<Option<Block<'a>>, Wrong> {
        let data = DataUrl::parse(text(raw)?).or_else(|bare| {
            // `%PDF-` in base64: a file may come without the head of a data URL.
            if bare.starts_with("JVBERi0") {
                return Ok(DataUrl::bare("application/pdf", bare));
            }
            let says = "must be a data URL, such as data:application/pdf;base64,…";
            Err(Wrong::new(says))
        })?;
        if data.media_type.starts_with("text/") {
            let text = data.into_text();
            let text = text.ok_or_else(|| Wrong::new("must hold text in UTF-8"))?;
            return Ok(self.plain(text, title));
        }
        let says = "must hold a pdf document, a text or a jpeg, png, gif or webp image";
        let block = self.binary(data, title);
        block.map(Some).ok_or_else(|| Wrong::new(says))
    }

    /// The block of an image or a PDF; `None` if it is of another type.
    fn binary<'a>(&mut self, data: DataUrl<'a>, title: Option<Cow<'a, str>>) -> Option<Block<'a>> {
        let media_type = match &*data.media_type {
            "image/jpeg" | "image/jpg" => "image/jpeg",
            "image/png" => "image/png",
            "image/gif" => "image/gif",
            "image/webp" => "image/webp",
            "application/pdf" => "application/pdf",
            _ => return None,
        };
        let data = data.into_base64();
        let source = Source::Base64 { media_type, data };
        Some(if media_type == "application/pdf" {
            self.document(source, title)
        } else {
            self.visible(source)
        })
    }

    /// An image, or what stands for it where the model sees none: it would stay in the history and
    /// break every later turn.
    fn visible<'a>(&mut self, source: Source<'a>) -> Block<'a> {
        if self.profile.vision {
            return Block::Image { source };
        }
        self.dropped.note("image_url");
        Block::text("[image omitted: this model cannot read images]")
    }

    fn document<'a>(&mut self, source: Source<'a>, title: Option<Cow<'a, str>>) -> Block<'a> {
        if self.profile.documents {
            return Block::Document { source, title };
        }
        self.dropped.note("file");
        let title = title.map_or_else(String::new, |title| format!("\"{title}\" "));
        Block::text(format!(
            "[document {title}omitted: this model cannot read PDF files]"
        ))
    }

    /// A plain text with its title; none if it is blank.
    fn plain<'a>(&mut self, text: String, title: Option<Cow<'a, str>>) -> Option<Block<'a>> {
        if text.trim().is_empty() {
            return None;
        }
        if self.profile.documents {
            let source = Source::Text {
                media_type: "text/plain",
                data: Cow::Owned(text),
            };
            return Some(Block::Document { source, title });
        }
        Some(Block::text(match title {
            Some(title) => format!("{title}\n\n{text}"),
            None => text,
        }))
    }
}

fn is_web(url: &str) -> bool {
    let begins = |scheme: &str| {
        url.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    begins("https://") || begins("http://")
}
