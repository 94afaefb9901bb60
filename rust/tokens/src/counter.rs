//! What counts: a built-in encoding, or a model's tokenizer file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use fault::{Fault, Kind};
use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};
use tokenizers::Tokenizer;

use crate::pieces::pieces;

/// The encodings that are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Of GPT-4o and everything after it, gpt-oss too.
    O200k,
    /// Of GPT-4 and GPT-3.5.
    Cl100k,
}

/// How many there are of what a chat template writes around a request's texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// Messages: each has a role, a beginning and an end. The result of a tool is one.
    pub messages: u64,
    /// Tools the model may call.
    pub tools: u64,
    /// Calls of tools in the messages.
    pub tool_calls: u64,
}

impl Parts {
    /// What Qwen3's chat template adds, rendered with and without each part. `ChatML` and Llama 3 have
    /// the same 5 tokens a message. `OpenAI` has 4, and does not say how it writes tools.
    /// Source: `chat_template` in Qwen3's `tokenizer_config.json`; `OpenAI` Cookbook, "How to count
    /// tokens with tiktoken": 3 a message, 1 for its role, 3 for the reply.
    const MESSAGE_TOKENS: u64 = 5;
    const REPLY_TOKENS: u64 = 3;
    const TOOL_CALL_TOKENS: u64 = 12;
    /// How a tool is called, said once if there are any.
    const TOOLS_TOKENS: u64 = 78;
    const TOOL_TOKENS: u64 = 1;

    fn tokens(self) -> u64 {
        let instructions = if self.tools == 0 {
            0
        } else {
            Self::TOOLS_TOKENS
        };
        Self::REPLY_TOKENS
            + Self::MESSAGE_TOKENS * self.messages
            + Self::TOOL_CALL_TOKENS * self.tool_calls
            + Self::TOOL_TOKENS * self.tools
            + instructions
    }
}

/// Counts the tokens of texts. A clone shares the tables.
#[derive(Clone)]
pub struct Counter(Source);

impl fmt::Debug for Counter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Counter").finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Source {
    BuiltIn(&'static CoreBPE),
    File(Arc<Tokenizer>),
}

impl Counter {
    /// The counter of a built-in encoding. The first of a process loads its table: 0.1 s, 50 MB.
    #[must_use]
    pub fn built_in(encoding: Encoding) -> Self {
        Self(Source::BuiltIn(match encoding {
            Encoding::O200k => o200k_base_singleton(),
            Encoding::Cl100k => cl100k_base_singleton(),
        }))
    }

    /// The counter of a `tokenizer.json` as Hugging Face's library writes it. Each call loads it
    /// anew: 0.3 s and 90 MB for a vocabulary of 150 000.
    ///
    /// # Errors
    /// [`Kind::Config`] with the path and what is wrong with the file.
    pub fn from_file(path: &Path) -> Result<Self, Fault> {
        let unusable = |what: String| {
            let message = format!("tokenizer file {}: {what}", path.display());
            Fault::new(Kind::Config, message)
        };
        let bytes = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| {
            unusable(format!(
                "not a tokenizer.json as Hugging Face's library writes it, {error}"
            ))
        })?;
        // Some files cut or fill up every text to the length their model was trained with.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self(Source::File(Arc::new(tokenizer))))
    }

    /// The tokens of `text`. A file's special tokens count as one, as the upstream reads them; the
    /// built-in encodings read theirs as text.
    ///
    /// The time is linear in the text, whatever is in it: about 25 MB/s built in and 3 MB/s from a
    /// file, so a large request belongs on a thread that may take long.
    pub fn count(&self, text: &str) -> u64 {
        pieces(text)
            .map(|piece| self.count_piece(piece) as u64)
            .sum()
    }

    /// About how many tokens a request is to the model: its texts, and what surrounds its `parts`.
    ///
    /// `texts` are what the model reads: the messages' texts, the names and arguments of tool calls,
    /// each tool as its JSON; no roles, no identifiers, no data of images.
    pub fn count_request<'a>(&self, texts: impl IntoIterator<Item = &'a str>, parts: Parts) -> u64 {
        let texts: u64 = texts.into_iter().map(|text| self.count(text)).sum();
        texts + parts.tokens()
    }

    fn count_piece(&self, piece: &str) -> usize {
        match &self.0 {
            Source::BuiltIn(encoding) => encoding.count_ordinary(piece),
            // A vocabulary without every byte cannot encode every text: then characters, at worst.
            Source::File(tokenizer) => tokenizer
                .encode_fast(piece, false)
                .map_or_else(|_| piece.chars().count(), |encoded| encoded.len()),
        }
    }
}
