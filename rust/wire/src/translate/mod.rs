//! Any client on any upstream: Anthropic Messages ⇄ `OpenAI` Chat Completions.
//!
//! Two rooms with the same files, named after the client's API: `anthropic_client` (its request
//! becomes a chat completion, the completion becomes its answer) and `openai_client`. Requests and
//! whole answers are functions, streams are state machines fed with frames. What the answer's way
//! back needs to know of the request is its [`Memory`].
//!
//! Source: `docs/reference/translation.md`, one golden transcript a row.

mod anthropic_client;
mod arguments;
mod count;
mod dropped;
mod error;
pub(crate) mod json;
mod openai_client;
mod place;
mod profile;

use fault::Fault;

pub use count::{Prompt, counted, prompt_of, prompt_texts, token_count};
pub use dropped::Dropped;
pub use error::{CREDENTIALS_REFUSED, counted_refusal, is_uncounted, refusal};
pub use profile::{
    Effort, InlineSystem, Kind, MaxTokensField, Profile, Thinking, ThinkingSwitch, WhenAbsent,
};

use crate::{Dialect, Operation, Refusal};

/// The prefix of signatures that this gateway gives to thinking blocks: no upstream can verify
/// them.
pub const SIGNATURE_PREFIX: &str = "gw1.";

/// A request to be translated; its body has passed [`crate::peek()`].
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// What the client asks for, and so in which dialect.
    pub operation: Operation,
    /// The client's body.
    pub body: &'a [u8],
    /// What the upstream understands.
    pub profile: &'a Profile,
    /// The model's name there.
    pub wire_model: &'a str,
}

/// What a request became.
#[derive(Debug)]
pub enum Translated {
    /// A request for the upstream.
    Request(Request),
    /// A count of tokens was asked for: `messages`, `tools` and what else makes the prompt, as a
    /// body for vLLM's `/tokenize`.
    Count(Vec<u8>),
    /// The answer is known without the upstream.
    Answer(Known),
}

/// A request in the upstream's dialect.
#[derive(Debug)]
pub struct Request {
    /// Its body.
    pub body: Vec<u8>,
    /// What was left out.
    pub dropped: Dropped,
    /// What the way back needs.
    pub memory: Memory,
}

/// An answer that needs no upstream.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// Whether `body` is a stream of events, else it is JSON.
    pub stream: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// Translates a request into the other dialect.
///
/// # Errors
///
/// `InvalidRequest`, with the place in the body, for a request that this upstream cannot be asked
/// without being asked something else: the client would act on a false answer.
pub fn request(order: &Order<'_>) -> Result<Translated, Fault> {
    match order.operation.dialect() {
        Dialect::Anthropic => anthropic_client::request(order),
        Dialect::OpenAi => openai_client::request(order),
    }
}

/// What the answer's way back needs to know of the request.
#[derive(Debug)]
pub enum Memory {
    /// Of a client that speaks Anthropic Messages.
    AnthropicClient(anthropic_client::Memory),
    /// Of a client that speaks `OpenAI` Chat Completions.
    OpenAiClient(openai_client::Memory),
}

/// What is not in the bytes: ids and time.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// The gateway's id for the request.
    pub request_id: &'a str,
    /// Unix time in seconds.
    pub now_s: u64,
}

/// A whole answer for the client.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// JSON in the client's dialect.
    pub body: Vec<u8>,
    /// The id that the upstream gave it.
    pub upstream_id: Option<String>,
}

impl Memory {
    /// The API that the upstream answers in.
    #[must_use]
    pub const fn upstream(&self) -> Dialect {
        match self {
            Self::AnthropicClient(_) => Dialect::OpenAi,
            Self::OpenAiClient(_) => Dialect::Anthropic,
        }
    }

    /// Translates a whole (not streamed) answer of status 2xx.
    ///
    /// # Errors
    ///
    /// What to tell the client where the upstream's answer is none: not JSON, an error with status
    /// 200, without choices.
    pub fn answer(&self, body: &[u8], stamp: Stamp<'_>) -> Result<Answer, Refusal> {
        match self {
            Self::AnthropicClient(memory) => anthropic_client::answer(memory, body, stamp),
            Self::OpenAiClient(memory) => openai_client::answer(memory, body, stamp),
        }
    }

    /// The translator of a stream that is about to begin.
    #[must_use]
    pub fn stream(self, stamp: Stamp<'_>) -> Stream {
        Stream(match self {
            Self::AnthropicClient(memory) => {
                Machine::AnthropicClient(Box::new(anthropic_client::Stream::new(memory, stamp)))
            }
            Self::OpenAiClient(memory) => {
                Machine::OpenAiClient(Box::new(openai_client::Stream::new(memory, stamp)))
            }
        })
    }
}

/// How far a stream has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    Open,
    /// The answer is there; usage or the end mark may follow within a moment.
    Finishing,
    /// The last event has been written.
    Complete,
    /// It broke off, or the upstream told an error: this is still to be told, as HTTP if nothing
    /// was written, else as the last event ([`Refusal::event`]).
    Broken(Refusal),
}

/// A stream on its way into the client's dialect: frames in, frames out.
///
/// However the upstream's bytes were cut, the same bytes come out. Every frame that is written is
/// whole.
#[derive(Debug)]
pub struct Stream(Machine);

#[derive(Debug)]
enum Machine {
    AnthropicClient(Box<anthropic_client::Stream>),
    OpenAiClient(Box<openai_client::Stream>),
}

impl Stream {
    /// Translates whole frames, as `Frames::push_ready` gives them; appends to `out`. After the end
    /// nothing is written.
    pub fn push(&mut self, frames: &[u8], out: &mut Vec<u8>) {
        for frame in crate::sse::split(frames) {
            match &mut self.0 {
                Machine::AnthropicClient(stream) => stream.frame(frame, out),
                Machine::OpenAiClient(stream) => stream.frame(frame, out),
            }
        }
    }

    /// The upstream has closed, or is silent after it had finished: writes what is owed. Then the
    /// stream is complete or broken.
    ///
    /// `tail` is what came after the last whole frame; some servers leave out the empty line there.
    pub fn close(&mut self, tail: &[u8], out: &mut Vec<u8>) {
        if is_whole(tail) {
            self.push(tail, out);
        }
        match &mut self.0 {
            Machine::AnthropicClient(stream) => stream.close(out),
            Machine::OpenAiClient(stream) => stream.close(out),
        }
    }

    /// Writes a sign of life; before the first event also what a stream has to begin with.
    pub fn ping(&mut self, out: &mut Vec<u8>) {
        match &mut self.0 {
            Machine::AnthropicClient(stream) => stream.ping(out),
            Machine::OpenAiClient(stream) => stream.ping(out),
        }
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        match &self.0 {
            Machine::AnthropicClient(stream) => stream.progress(),
            Machine::OpenAiClient(stream) => stream.progress(),
        }
    }

    /// The id that the upstream gave the answer, once known.
    #[must_use]
    pub fn upstream_id(&self) -> Option<&str> {
        match &self.0 {
            Machine::AnthropicClient(stream) => stream.upstream_id(),
            Machine::OpenAiClient(stream) => stream.upstream_id(),
        }
    }
}

/// Whether a frame without its empty line is all there: half a number or string would not be JSON.
fn is_whole(frame: &[u8]) -> bool {
    crate::sse::data(frame).is_some_and(|data| {
        &*data == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok()
    })
}
