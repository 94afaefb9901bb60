//! The messages of a chat completion, as they are written.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

#[derive(Debug, Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(super) enum Message<'a> {
    System {
        content: Cow<'a, str>,
    },
    User {
        content: Parts<'a>,
    },
    Assistant {
        content: Option<Cow<'a, str>>,
        // vLLM 0.32 reads the new name, and on `/tokenize` no other; older ones and SGLang read the
        // old name. Whoever knows both takes one of them.
        #[serde(skip_serializing_if = "str::is_empty")]
        reasoning: Cow<'a, str>,
        #[serde(skip_serializing_if = "str::is_empty")]
        reasoning_content: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Call<'a>>,
    },
    Tool {
        tool_call_id: Cow<'a, str>,
        content: Cow<'a, str>,
    },
}

/// What a user says: a lone text is written as a string, which every server and template takes.
#[derive(Debug)]
pub(super) struct Parts<'a>(pub(super) Vec<Part<'a>>);

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: Image<'a> },
    File { file: File<'a> },
}

#[derive(Debug, Serialize)]
pub(super) struct Image<'a> {
    pub(super) url: Url<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct File<'a> {
    pub(super) filename: Cow<'a, str>,
    pub(super) file_data: Url<'a>,
}

/// Where something is, or the thing itself.
#[derive(Debug)]
pub(super) enum Url<'a> {
    Elsewhere(Cow<'a, str>),
    Data {
        media_type: Cow<'a, str>,
        base64: Cow<'a, str>,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct Call<'a> {
    pub(super) id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    name: Cow<'a, str>,
    arguments: Cow<'a, str>,
}

impl<'a> Call<'a> {
    pub(super) fn new(id: Cow<'a, str>, name: Cow<'a, str>, arguments: Cow<'a, str>) -> Self {
        Self {
            id,
            kind: "function",
            function: Function { name, arguments },
        }
    }
}

impl<'a> Part<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text { text: text.into() }
    }
}

impl Serialize for Parts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.0 {
            [] => serializer.serialize_str(""),
            [Part::Text { text }] => serializer.serialize_str(text),
            parts => parts.serialize(serializer),
        }
    }
}

impl Serialize for Url<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Elsewhere(url) => serializer.serialize_str(url),
            // An image is megabytes of base64: it is written without being put together first.
            Self::Data { media_type, base64 } => {
                serializer.collect_str(&format_args!("data:{media_type};base64,{base64}"))
            }
        }
    }
}

/// Adds `text` behind `to`, with `separator` between them if neither is empty.
pub(super) fn append<'a>(to: &mut Cow<'a, str>, separator: &str, text: Cow<'a, str>) {
    if to.is_empty() {
        *to = text;
    } else if !text.is_empty() {
        let to = to.to_mut();
        to.push_str(separator);
        to.push_str(&text);
    }
}
