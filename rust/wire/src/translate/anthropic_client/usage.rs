//! Tokens, as Anthropic counts them: what was read from or written to a cache is no input.

use serde::Serialize;

use crate::usage::Counts;

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

impl Usage {
    /// What `usage`, as JSON, says; a number that is missing or none counts as zero.
    pub(super) fn read(usage: &str) -> Self {
        let counts = Counts::openai(serde_json::from_str(usage).ok());
        let thinking = counts.thinking;
        Self {
            input_tokens: counts.input.unwrap_or(0),
            cache_creation_input_tokens: counts.cache_creation.unwrap_or(0),
            cache_read_input_tokens: counts.cache_read.unwrap_or(0),
            output_tokens: counts.output.unwrap_or(0),
            output_tokens_details: thinking
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
