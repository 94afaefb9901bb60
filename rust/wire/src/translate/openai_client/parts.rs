//! A message's content: its parts become blocks.

use std::borrow::Cow;

use fault::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::{Dropped, Profile};
use super::blocks::{Block, Source};
use super::data_url::DataUrl;
use super::place::Place;

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
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    file: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ImageUrl<'a> {
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    filename: Option<&'a RawValue>,
    #[serde(borrow, rename = "file_data")]
    data: Option<&'a RawValue>,
    #[serde(borrow, rename = "file_id")]
    id: Option<&'a RawValue>,
}

impl Context<'_> {
    /// The blocks of a message's `content`, blank texts left out; none if there is no content.
    pub(super) fn content<'a>(
        &mut self,
        content: Option<&'a RawValue>,
        parts: Parts,
        at: &Place<'_>,
    ) -> Result<Vec<Block<'a>>, Fault> {
        let Some(raw) = content else {
            return Ok(Vec::new());
        };
        match raw.get().as_bytes().first() {
            Some(b'"') => Ok(Block::unless_blank(at.some_text(content)?)
                .into_iter()
                .collect()),
            Some(b'[') => {
                let list = at.list(content)?.into_iter().enumerate();
                list.filter_map(|(index, part)| self.part(part, parts, &at.item(index)).transpose())
                    .collect()
            }
            _ => Err(at.refuse("must be a string or a list of parts")),
        }
    }

    /// The block of one part; none if its text is blank.
    fn part<'a>(
        &mut self,
        raw: &'a RawValue,
        parts: Parts,
        at: &Place<'_>,
    ) -> Result<Option<Block<'a>>, Fault> {
        let part: Part<'_> = at.object(Some(raw))?;
        let kind = at.member("type").some_text(part.kind)?;
        match &*kind {
            "text" => {
                let text = at.member("text").some_text(part.text)?;
                Ok(Block::unless_blank(text))
            }
            "refusal" => {
                let text = at.member("refusal").some_text(part.refusal)?;
                Ok(Block::unless_blank(text))
            }
            "image_url" if parts == Parts::All => self
                .image(part.image_url, &at.member("image_url"))
                .map(Some),
            "file" if parts == Parts::All => self.file(part.file, &at.member("file")),
            _ => Err(at.member("type").refuse(match parts {
                Parts::Texts => "must be text",
                Parts::All => "must be text, image_url or file",
            })),
        }
    }

    fn image<'a>(&mut self, raw: Option<&'a RawValue>, at: &Place<'_>) -> Result<Block<'a>, Fault> {
        let ImageUrl { url, detail } = at.object(raw)?;
        if detail.is_some_and(|detail| detail.get() != "\"auto\"") {
            self.dropped.note("image_url.detail");
        }
        let at = at.member("url");
        let url = match DataUrl::parse(at.some_text(url)?) {
            Ok(data) => {
                let block = self.binary(data, None);
                return block.ok_or_else(|| {
                    at.refuse("must hold a jpeg, png, gif or webp image or a pdf document")
                });
            }
            Err(url) => url,
        };
        let scheme = |scheme: &str| {
            url.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        if !scheme("https://") && !scheme("http://") {
            return Err(at.refuse("must be a data URL or begin with https:// or http://"));
        }
        Ok(self.visible(Source::Url { url }))
    }

    fn file<'a>(
        &mut self,
        raw: Option<&'a RawValue>,
        at: &Place<'_>,
    ) -> Result<Option<Block<'a>>, Fault> {
        let file: File<'_> = at.object(raw)?;
        if file.id.is_some() {
            let problem = "means nothing to this model; send the file itself as file_data";
            return Err(at.member("file_id").refuse(problem));
        }
        let title = at.member("filename").text(file.filename)?;
        let title = title.filter(|title| !title.trim().is_empty());
        let at = at.member("file_data");
        let data = DataUrl::parse(at.some_text(file.data)?).or_else(|bare| {
            // `%PDF-` in base64: a file may come without the head of a data URL.
            if bare.starts_with("JVBERi0") {
                return Ok(DataUrl::bare("application/pdf", bare));
            }
            Err(at.refuse("must be a data URL, such as data:application/pdf;base64,…"))
        })?;
        if data.media_type.starts_with("text/") {
            let text = data.into_text();
            let text = text.ok_or_else(|| at.refuse("must hold text in UTF-8"))?;
            return Ok(self.plain(text, title));
        }
        let block = self.binary(data, title);
        let problem = "must hold a pdf document, a text or a jpeg, png, gif or webp image";
        block.map(Some).ok_or_else(|| at.refuse(problem))
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

    /// An image, or what stands for it where the model sees none: it would stay in the history and break every later turn.
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
