//! Tokens, counted as `OpenAI` does: the prompt with what was read from a cache and written to it, the output with its thinking.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What the upstream counted.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Usage {
    input: u64,
    cache_read: u64,
    cache_creation: u64,
    output: u64,
    thinking: Option<u64>,
}

#[derive(Deserialize)]
struct Counts<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens_details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OutputDetails<'a> {
    #[serde(borrow)]
    thinking_tokens: Option<&'a RawValue>,
}

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
        let Some(counts) = read::<Counts<'_>>(usage) else {
            return;
        };
        for (total, said) in [
            (&mut self.input, counts.input_tokens),
            (&mut self.cache_read, counts.cache_read_input_tokens),
            (&mut self.cache_creation, counts.cache_creation_input_tokens),
            (&mut self.output, counts.output_tokens),
        ] {
            *total = read(said).unwrap_or(*total);
        }
        let details: Option<OutputDetails<'_>> = read(counts.output_tokens_details);
        let thinking = details.and_then(|details| read(details.thinking_tokens));
        self.thinking = thinking.or(self.thinking);
    }

    /// Writes it as the value of `usage`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let prompt = self
            .input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_creation);
        let told = Told {
            prompt_tokens: prompt,
            completion_tokens: self.output,
            total_tokens: prompt.saturating_add(self.output),
            prompt_tokens_details: PromptDetails {
                cached_tokens: self.cache_read,
                cache_write_tokens: self.cache_creation,
            },
            completion_tokens_details: self
                .thinking
                .map(|reasoning_tokens| CompletionDetails { reasoning_tokens }),
        };
        // Writing numbers into memory has no way to fail.
        let _ = serde_json::to_writer(out, &told);
    }
}

fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
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
        let odd = r#"{"input_tokens":-1,"output_tokens":"9","cache_read_input_tokens":null,"output_tokens_details":[]}"#;
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
        assert!(told(&[&said]).starts_with(&format!("{{\"prompt_tokens\":{most},")));
    }
}
