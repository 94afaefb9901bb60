//! A prompt that does not fit: every server says it in other words, and clients know one vendor's.
//!
//! Claude Code compacts the conversation when it reads `prompt is too long: N tokens > M maximum`, and asks for less output when
//! it reads the other form. A number that is wrong sends it round in circles, so none is made up.

/// Below so few tokens of room for an answer, less output does not help.
const ROOM_TOKENS: u64 = 1024;

/// Parts of messages that speak of nothing else, in lower case.
///
/// Source: vLLM 0.6 to 0.32, `SGLang`, llama.cpp, `LiteLLM`, `OpenAI`.
const SIGNS: [&str; 9] = [
    "maximum context length is",
    "maximum context length of",
    "exceeds the available context size",
    "exceeds the context window",
    "contextwindowexceedederror",
    "max_tokens must be at least 1, got -",
    "longer than the maximum model length of",
    "longer than the model's context length",
    "exceeds the maximum allowed length",
];

/// What stands before the size of the context.
const MAXIMUM: [&str; 6] = [
    "maximum context length is ",
    "maximum context length of ",
    "maximum model length of ",
    "available context size (",
    "model's context length (",
    "maximum allowed length (",
];

/// What stands after the size of the prompt.
const PROMPT_BEFORE: [&str; 4] = [
    " in the messages",
    " in your prompt",
    " input tokens",
    " tokens from the input messages",
];

/// What stands before the size of the prompt.
const PROMPT_AFTER: [&str; 5] = [
    "resulted in ",
    "prompt (length ",
    "request (",
    "input (",
    "input length (",
];

/// What stands after the number of tokens that were asked for.
const OUTPUT_BEFORE: [&str; 5] = [
    " in the completion",
    " for the completion",
    " tokens for the completion",
    " output",
    " 'max_tokens'",
];

/// An upstream's refusal as far as it matters here.
pub(super) struct Told<'a> {
    pub(super) status: u16,
    /// Its code and its type word.
    pub(super) words: [&'a str; 2],
    pub(super) message: &'a str,
    pub(super) prompt_tokens: Option<u64>,
    pub(super) context_tokens: Option<u64>,
    /// The prompt's size as it was counted afterwards.
    pub(super) counted_tokens: Option<u64>,
}

/// What is known of the prompt's size.
#[derive(Clone, Copy)]
enum Prompt {
    Exact(u64),
    /// Where the server stopped counting.
    AtLeast(u64),
}

/// The message for an Anthropic client, if it was the prompt or the output limit that was too long.
pub(super) fn for_anthropic(told: &Told<'_>) -> Option<String> {
    let text = told.message.to_ascii_lowercase();
    if let Some(message) = output_limit(&text) {
        return Some(format!("{message} ({})", told.message));
    }
    if !is_one(told, &text) {
        return None;
    }
    let maximum = MAXIMUM.iter().find_map(|before| after(&text, before));
    let maximum = maximum.or(told.context_tokens);
    let counted = told.counted_tokens.map(Prompt::Exact);
    let prompt = counted.or_else(|| prompt(&text, told.prompt_tokens));
    let said = match (prompt, maximum) {
        (Some(Prompt::Exact(prompt)), Some(maximum))
            if prompt <= maximum.saturating_sub(ROOM_TOKENS) =>
        {
            // What does not fit by one: the true number cannot be smaller.
            let least = (maximum - prompt).saturating_add(1);
            let output = output(&text).unwrap_or(least).max(least);
            format!(
                "input length and `max_tokens` exceed context limit: {prompt} + {output} > {maximum}, \
                 decrease input length or `max_tokens` and try again"
            )
        }
        (Some(Prompt::Exact(prompt) | Prompt::AtLeast(prompt)), Some(maximum)) => {
            let prompt = prompt.max(maximum.saturating_add(1));
            format!("prompt is too long: {prompt} tokens > {maximum} maximum")
        }
        _ => "prompt is too long (capability_rejected: prompt_too_long)".to_owned(),
    };
    Some(format!("{said} ({})", told.message))
}

/// Whether the prompt was too long, and its size is not known.
pub(super) fn is_uncounted(told: &Told<'_>) -> bool {
    let text = told.message.to_ascii_lowercase();
    let prompt = prompt(&text, told.prompt_tokens);
    is_one(told, &text) && !matches!(prompt, Some(Prompt::Exact(_)))
}

/// Whether it was the prompt that was too long, in Anthropic's words or those of a server that speaks its API.
pub(super) fn for_openai(told: &Told<'_>) -> bool {
    let text = told.message.to_ascii_lowercase();
    let by_text = text.contains("prompt is too long") || text.contains("exceed context limit");
    by_text && matches!(told.status, 400 | 413 | 422) || is_one(told, &text)
}

fn is_one(told: &Told<'_>, text: &str) -> bool {
    let by_word = ["context_length_exceeded", "exceed_context_size_error"]
        .iter()
        .any(|word| told.words.contains(word));
    // llama.cpp answered 500 for a while, and an error in a stream may come without a status.
    let by_text = matches!(told.status, 400 | 413 | 422 | 500);
    by_word || by_text && SIGNS.iter().any(|sign| text.contains(sign))
}

/// vLLM refuses such a limit before it looks at the prompt, whose size therefore nobody knows.
fn output_limit(text: &str) -> Option<String> {
    let than = " cannot be greater than max_model_len=";
    let (limit, maximum) = (before(text, than)?, after(text, than)?);
    Some(format!(
        "`max_tokens` is too large: {limit} > {maximum}, the context window of this model; \
         decrease `max_tokens` and try again"
    ))
}

fn prompt(text: &str, counted: Option<u64>) -> Option<Prompt> {
    if text.contains("characters (more than") {
        return None;
    }
    if let Some(least) = after(text, "prompt contains at least ") {
        // Where a total is told, the prompt's part of it is only where counting stopped.
        let total = after(text, "total of at least ");
        return Some(Prompt::AtLeast(total.unwrap_or(least)));
    }
    let functions = before(text, " in the functions").unwrap_or(0);
    PROMPT_BEFORE
        .iter()
        .find_map(|phrase| before(text, phrase))
        .map(|prompt| prompt.saturating_add(functions))
        .or_else(|| PROMPT_AFTER.iter().find_map(|phrase| after(text, phrase)))
        .or(counted)
        .map(Prompt::Exact)
}

fn output(text: &str) -> Option<u64> {
    let mut phrases = OUTPUT_BEFORE.iter();
    phrases
        .find_map(|phrase| before(text, phrase))
        .or_else(|| after(text, "is too large: "))
}

/// The number right after `phrase`.
fn after(text: &str, phrase: &str) -> Option<u64> {
    let mut found = text.match_indices(phrase);
    found.find_map(|(at, _)| {
        let rest = text.get(at + phrase.len()..)?;
        let end = rest.find(|character: char| !character.is_ascii_digit());
        rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
    })
}

/// The number right before `phrase`.
fn before(text: &str, phrase: &str) -> Option<u64> {
    let mut found = text.match_indices(phrase);
    found.find_map(|(at, _)| {
        let rest = text.get(..at)?;
        let digits = rest.trim_end_matches(|character: char| character.is_ascii_digit());
        rest.get(digits.len()..)?.parse().ok()
    })
}
