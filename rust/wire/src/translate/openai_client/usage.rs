//! Tokens, counted as `OpenAI` does: the prompt with what was read from a cache and written to it,
//! the output with its thinking.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::usage::Counts;

/// What the upstream counted.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Usage(Counts);

#[derive(Serialize)]
struct Told {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl Usage {
    /// Takes over the numbers of an object `usage`; what it does not say stays.
    pub(super) fn merge(&mut self, usage: Option<&RawValue>) {
        self.0.merge(Counts::anthropic(usage));
    }

    /// Writes it as the value of `usage`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let [input, cached_tokens, cache_write_tokens, completion_tokens] = [
            self.0.input,
            self.0.cache_read,
            self.0.cache_creation,
            self.0.output,
        ]
        .map(Option::unwrap_or_default);
        let prompt_tokens = input + cached_tokens + cache_write_tokens;
        let thinking = self.0.thinking;
        let told = Told {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptDetails {
                cached_tokens,
                cache_write_tokens,
            },
            completion_tokens_details: thinking
                .map(|reasoning_tokens| CompletionDetails { reasoning_tokens }),
        };
        // Writing numbers into memory has no way to fail.
        let _ = serde_json::to_writer(out, &told);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::Usage;

    fn told(said: &[&str]) -> String {
        let mut usage = Usage::default();
        for said in said {
            let raw: Box<RawValue> = serde_json::from_str(said).unwrap();
            usage.merge(Some(&raw));
        }
        let mut out = Vec::new();
        usage.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_not_said_or_no_count_changes_nothing() {
        let expected = "{\"prompt_tokens\":5,\"completion_tokens\":0,\"total_tokens\":5,\
                        \"prompt_tokens_details\":{\"cached_tokens\":0,\"cache_write_tokens\":0}}";
        let odd = r#"{"input_tokens":[],"output_tokens":"9","cache_read_input_tokens":null,"output_tokens_details":[]}"#;
        assert_eq!(
            told(&[r#"{"input_tokens":5}"#, odd, "7", "[]", "{}"]),
            expected
        );
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let most = u64::MAX;
        let said = format!(
            r#"{{"input_tokens":{most},"cache_read_input_tokens":{most},"output_tokens":{most}}}"#
        );
        let limit = u64::from(u32::MAX);
        let expected = format!(
            "{{\"prompt_tokens\":{},\"completion_tokens\":{limit},\"total_tokens\":{},",
            2 * limit,
            3 * limit
        );
        assert!(told(&[&said]).starts_with(&expected));
    }
}
