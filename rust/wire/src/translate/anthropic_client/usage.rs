//! Tokens, as Anthropic counts them: what was read from or written to a cache is no input.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Above any real answer, and far enough below the type's limit that clients can add.
const COUNT_LIMIT_TOKENS: u64 = u32::MAX as u64;

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct OutputDetails {
    thinking_tokens: u64,
}

#[derive(Deserialize, Default)]
struct Given<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens_details: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
struct Details<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_write_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_tokens: Option<&'a RawValue>,
}

impl Usage {
    /// What `usage`, as JSON, says; a number that is missing or none counts as zero.
    pub(super) fn read(usage: &str) -> Self {
        let given: Given<'_> = serde_json::from_str(usage).unwrap_or_default();
        let prompt = details(given.prompt_tokens_details);
        let completion = details(given.completion_tokens_details);
        let tokens = |raw| count(raw).unwrap_or(0);
        let (cached, written) = (
            tokens(prompt.cached_tokens),
            tokens(prompt.cache_write_tokens),
        );
        Self {
            input_tokens: tokens(given.prompt_tokens).saturating_sub(cached + written),
            cache_creation_input_tokens: written,
            cache_read_input_tokens: cached,
            output_tokens: tokens(given.completion_tokens),
            output_tokens_details: count(completion.reasoning_tokens)
                .map(|thinking_tokens| OutputDetails { thinking_tokens }),
        }
    }

    /// What a message begins with: how long the prompt is, and nothing else.
    pub(super) fn at_start(usage: &str) -> Self {
        Self {
            input_tokens: Self::read(usage).input_tokens,
            ..Self::default()
        }
    }

    pub(super) fn to_json(&self) -> String {
        // Numbers have no way to fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn details(raw: Option<&RawValue>) -> Details<'_> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

fn count(raw: Option<&RawValue>) -> Option<u64> {
    let count: u64 = raw?.get().parse().ok()?;
    Some(count.min(COUNT_LIMIT_TOKENS))
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn what_the_cache_had_or_got_is_no_input() {
        let json = r#"{"prompt_tokens":100,"completion_tokens":7,
            "prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":30},
            "completion_tokens_details":{"reasoning_tokens":5}}"#;
        let expected = r#"{"input_tokens":10,"cache_creation_input_tokens":30,"cache_read_input_tokens":60,"output_tokens":7,"output_tokens_details":{"thinking_tokens":5}}"#;
        assert_eq!(Usage::read(json).to_json(), expected);
    }

    #[test]
    fn nonsense_counts_as_nothing() {
        for json in [
            "{}",
            "[]",
            "3",
            r#"{"prompt_tokens":-1,"completion_tokens":"7","prompt_tokens_details":null}"#,
            r#"{"prompt_tokens":null,"prompt_tokens_details":[],"completion_tokens_details":3}"#,
        ] {
            assert_eq!(Usage::read(json), Usage::default(), "{json}");
        }
        let more_cached_than_sent =
            r#"{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":5}}"#;
        assert_eq!(Usage::read(more_cached_than_sent).input_tokens, 0);
        let huge = r#"{"prompt_tokens":18446744073709551615}"#;
        assert_eq!(Usage::read(huge).input_tokens, u64::from(u32::MAX));
    }
}
