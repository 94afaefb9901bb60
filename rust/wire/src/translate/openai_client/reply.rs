//! What a whole answer and a stream have in common.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json;
use super::Memory;

/// The forced tool whose input is the answer.
pub(super) const RESPOND_TOOL: &str = "respond";

const REFUSED: &str = "content_filter";
const ID_BYTES: usize = 128;

/// The upstream's id of the answer, if it is one.
pub(super) fn upstream_id(raw: Option<&RawValue>) -> Option<String> {
    let id = raw.and_then(json::text)?;
    let plain = id.bytes().all(|byte| byte.is_ascii_graphic());
    ((1..=ID_BYTES).contains(&id.len()) && plain).then(|| id.into_owned())
}

/// The id of the completion.
pub(super) fn completion_id(upstream_id: Option<&str>, request_id: &str) -> String {
    // A vLLM that speaks Anthropic's API calls its messages as it does its completions.
    let given = upstream_id.map(|id| {
        let foreign = id.strip_prefix("msg_");
        foreign
            .or_else(|| id.strip_prefix("chatcmpl-"))
            .unwrap_or(id)
    });
    let own = request_id.strip_prefix("req_").unwrap_or(request_id);
    let unique = given.filter(|id| !id.is_empty()).unwrap_or(own);
    format!("chatcmpl-{unique}")
}

/// The word for why the answer ended.
pub(super) fn finish_reason(stop_reason: Option<&RawValue>, memory: &Memory) -> &'static str {
    match stop_reason.map_or("", RawValue::get) {
        r#""max_tokens""# | r#""model_context_window_exceeded""# => "length",
        r#""tool_use""# if !memory.respond_tool => "tool_calls",
        r#""refusal""# => REFUSED,
        _ => "stop",
    }
}

/// Why the model refused, in its own words, if that is why the answer ended.
pub(super) fn explanation<'a>(
    finish_reason: &str,
    stop_details: Option<&'a RawValue>,
) -> Option<&'a RawValue> {
    if finish_reason != REFUSED {
        return None;
    }
    let details: Details<'_> = serde_json::from_str(stop_details?.get()).ok()?;
    details.explanation.filter(|text| is_filled(text))
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    explanation: Option<&'a RawValue>,
}

/// A tool call, from the block that holds or begins it.
pub(super) struct Call<'a> {
    /// Its number among the calls of the answer.
    pub(super) index: usize,
    pub(super) id: Option<&'a RawValue>,
    pub(super) name: Option<&'a RawValue>,
}

impl Call<'_> {
    /// Writes the members `id`, `type` and `function`.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        memory: &Memory,
        completion_id: &str,
        arguments: &str,
    ) {
        let id = self.id.and_then(json::text).filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| {
            // Without an id a call cannot be answered: one that no other call has.
            let unique = completion_id.trim_start_matches("chatcmpl-");
            format!("call_{unique}_{}", self.index).into()
        });
        let changed = memory.ids.iter().find(|(upstream, _)| *upstream == *id);
        out.extend_from_slice(b"\"id\":");
        json::push_string(out, changed.map_or(&id, |(_, client)| client));
        out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
        json::push_string(out, &self.name.and_then(json::text).unwrap_or_default());
        out.extend_from_slice(b",\"arguments\":");
        json::push_string(out, arguments);
        out.push(b'}');
    }
}

/// The arguments of a call as the block that holds or begins it has them.
pub(super) fn arguments(input: Option<&RawValue>) -> Cow<'_, str> {
    input.map_or("{}".into(), json::compact)
}

/// Whether it is a text with something in it.
pub(super) fn is_filled(raw: &RawValue) -> bool {
    raw.get().starts_with('"') && raw.get() != "\"\""
}

/// Writes a JSON string without its quotes: as it stands, but for halves of characters, which many
/// a client cannot read.
pub(super) fn push_inner(out: &mut Vec<u8>, raw: &RawValue) {
    let quoted = raw.get().strip_prefix('"');
    let Some(inner) = quoted.and_then(|quoted| quoted.strip_suffix('"')) else {
        return;
    };
    if inner.contains("\\ud") || inner.contains("\\uD") {
        push_text(out, &json::text(raw).unwrap_or_default());
    } else {
        out.extend_from_slice(inner.as_bytes());
    }
}

/// Writes a text as a JSON string without its quotes.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    let mut string = Vec::with_capacity(text.len() + 2);
    json::push_string(&mut string, text);
    let inner = string.get(1..string.len().saturating_sub(1));
    out.extend_from_slice(inner.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::completion_id;

    #[test]
    fn a_completion_has_an_id_of_its_own_whatever_the_upstream_calls_it() {
        for (upstream_id, expected) in [
            (Some("msg_1"), "chatcmpl-1"),
            (Some("chatcmpl-1"), "chatcmpl-1"),
            (Some("other"), "chatcmpl-other"),
            (Some("msg_"), "chatcmpl-7"),
            (None, "chatcmpl-7"),
        ] {
            assert_eq!(
                completion_id(upstream_id, "req_7"),
                expected,
                "{upstream_id:?}"
            );
        }
    }
}
