//! What tools that ran at Anthropic left in a conversation, as text: the model's next words refer
//! to it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json;
use super::super::place::{At, Raw, Wrong, object, optional_text, text};
use super::block::Block;

/// How far a result is read into; a fetched document's text is three objects deep.
const DEPTH: u32 = 4;

/// What can be read in a result of any such tool.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    title: Raw<'a>,
    #[serde(borrow)]
    url: Raw<'a>,
    #[serde(borrow)]
    text: Raw<'a>,
    #[serde(borrow)]
    stdout: Raw<'a>,
    #[serde(borrow)]
    stderr: Raw<'a>,
    #[serde(borrow)]
    error_code: Raw<'a>,
    #[serde(borrow)]
    tool_name: Raw<'a>,
    #[serde(borrow)]
    tool_references: Raw<'a>,
    #[serde(borrow)]
    content: Raw<'a>,
    #[serde(borrow)]
    source: Raw<'a>,
    #[serde(borrow)]
    data: Raw<'a>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    query: Raw<'a>,
    #[serde(borrow)]
    url: Raw<'a>,
}

/// `[web_search: the query]`
pub(super) fn used(block: &Block<'_>) -> Result<String, Wrong> {
    let mut label = text(block.name).at("name")?.into_owned();
    if let Some(server) = optional_text(block.server_name).at("server_name")? {
        label = format!("{server}.{label}");
    }
    let argument = match block.input {
        None => Cow::Borrowed(""),
        Some(input) => argument(input).at("input")?,
    };
    Ok(if argument.is_empty() {
        format!("[{label}]")
    } else {
        format!("[{label}: {argument}]")
    })
}

fn argument(input: &RawValue) -> Result<Cow<'_, str>, Wrong> {
    let Input { query, url } = object(Some(input))?;
    if let Some(text) = query.or(url).and_then(json::text) {
        return Ok(text);
    }
    let json = json::compact(input);
    Ok(if json == "{}" {
        Cow::Borrowed("")
    } else {
        json
    })
}

/// The lines of a result that can be read: titles with addresses, texts, output, what went wrong.
pub(super) fn result(block: &Block<'_>) -> Result<String, Wrong> {
    let mut lines = Vec::new();
    read(block.content, DEPTH, &mut lines).at("content")?;
    Ok(lines.join("\n"))
}

fn read<'a>(raw: Raw<'a>, depth: u32, lines: &mut Vec<Cow<'a, str>>) -> Result<(), Wrong> {
    let Some(raw) = raw else { return Ok(()) };
    if let Some(text) = json::text(raw) {
        push(text, lines);
    } else if let Some(items) = json::list(raw) {
        for (index, item) in items.into_iter().enumerate() {
            read_item(item, depth, lines).at(index)?;
        }
    } else {
        read_item(raw, depth, lines)?;
    }
    Ok(())
}

fn read_item<'a>(
    raw: &'a RawValue,
    depth: u32,
    lines: &mut Vec<Cow<'a, str>>,
) -> Result<(), Wrong> {
    let Some(depth) = depth.checked_sub(1) else {
        return Ok(());
    };
    let item: Item<'_> = object(Some(raw))?;
    let member = |raw: Raw<'a>| raw.and_then(json::text).unwrap_or_default();
    push(linked(member(item.title), member(item.url)), lines);
    push(member(item.text), lines);
    push(member(item.stdout), lines);
    push(member(item.stderr), lines);
    for (word, raw) in [("error", item.error_code), ("tool loaded", item.tool_name)] {
        if let Some(text) = raw.and_then(json::text) {
            push(format!("[{word}: {text}]").into(), lines);
        }
    }
    // The data of a PDF is none that can be read.
    if item.kind.and_then(json::text).as_deref() == Some("text") {
        push(member(item.data), lines);
    }
    read(item.tool_references, depth, lines).at("tool_references")?;
    read(item.content, depth, lines).at("content")?;
    read(item.source, depth, lines).at("source")
}

fn linked<'a>(title: Cow<'a, str>, url: Cow<'a, str>) -> Cow<'a, str> {
    match (title.is_empty(), url.is_empty()) {
        (false, false) => Cow::Owned(format!("{title} — {url}")),
        (true, _) => url,
        (_, true) => title,
    }
}

fn push<'a>(text: Cow<'a, str>, lines: &mut Vec<Cow<'a, str>>) {
    if !text.is_empty() {
        lines.push(text);
    }
}
