//! The counts in a `usage` of either API, in Anthropic's terms: what a cache had or got is no input.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::read;

/// Above any real answer, and far enough below the type's limit that sums cannot overflow.
const COUNT_LIMIT_TOKENS: u64 = u32::MAX as u64;

/// Tokens as one `usage` tells them; `None` where it says nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
    pub(crate) cache_read: Option<u64>,
    pub(crate) cache_creation: Option<u64>,
    /// What of the output was thinking.
    pub(crate) thinking: Option<u64>,
}

#[derive(Deserialize, Default)]
struct AnthropicUsage<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens_details: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct OpenAiUsage<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens_details: Option<&'a RawValue>,
}

/// The details of either API's prompt and output.
#[derive(Deserialize, Default)]
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
struct Details<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_write_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking_tokens: Option<&'a RawValue>,
}

impl Counts {
    /// What a message's `usage` says.
    pub(crate) fn anthropic(usage: Option<&RawValue>) -> Self {
        let usage: AnthropicUsage<'_> = read(usage).unwrap_or_default();
        let details: Details<'_> = read(usage.output_tokens_details).unwrap_or_default();
        Self {
            input: count(usage.input_tokens),
            output: count(usage.output_tokens),
            cache_read: count(usage.cache_read_input_tokens),
            cache_creation: count(usage.cache_creation_input_tokens),
            thinking: count(details.thinking_tokens),
        }
    }

    /// What a chat completion's `usage` says, number by number.
    pub(crate) fn openai(usage: Option<&RawValue>) -> Self {
        let said = Self::openai_said(usage);
        let cached = said.cache_read.unwrap_or(0) + said.cache_creation.unwrap_or(0);
        Self {
            input: said.input.map(|prompt| prompt.saturating_sub(cached)),
            ..said
        }
    }

    /// The same, where it is settled by: more cached than sent cannot be, and the smaller number is
    /// the one that was surely sent.
    pub(crate) fn openai_bounded(usage: Option<&RawValue>) -> Self {
        let said = Self::openai_said(usage);
        let (cache_read, rest) = taken(said.cache_read, said.input);
        let (cache_creation, input) = taken(said.cache_creation, rest);
        Self {
            input,
            cache_read,
            cache_creation,
            ..said
        }
    }

    /// The numbers as they stand: `input` is the whole prompt.
    fn openai_said(usage: Option<&RawValue>) -> Self {
        let usage: OpenAiUsage<'_> = read(usage).unwrap_or_default();
        let prompt: Details<'_> = read(usage.prompt_tokens_details).unwrap_or_default();
        let output: Details<'_> = read(usage.completion_tokens_details).unwrap_or_default();
        Self {
            input: count(usage.prompt_tokens),
            output: count(usage.completion_tokens),
            cache_read: count(prompt.cached_tokens),
            cache_creation: count(prompt.cache_write_tokens),
            thinking: count(output.reasoning_tokens),
        }
    }

    /// Takes over what `later` says.
    pub(crate) fn merge(&mut self, later: Self) {
        for (total, count) in [
            (&mut self.input, later.input),
            (&mut self.output, later.output),
            (&mut self.cache_read, later.cache_read),
            (&mut self.cache_creation, later.cache_creation),
            (&mut self.thinking, later.thinking),
        ] {
            *total = count.or(*total);
        }
    }
}

/// `part`, no larger than `whole`, and what is left of that.
fn taken(part: Option<u64>, whole: Option<u64>) -> (Option<u64>, Option<u64>) {
    let part = part.map(|part| whole.map_or(part, |whole| part.min(whole)));
    (part, whole.map(|whole| whole - part.unwrap_or(0)))
}

fn count(raw: Option<&RawValue>) -> Option<u64> {
    let digits = raw?.get();
    let count = digits.parse().or_else(|_| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates: below zero is zero"
        )]
        digits.parse::<f64>().map(|number| number as u64)
    });
    count.ok().map(|count| count.min(COUNT_LIMIT_TOKENS))
}
