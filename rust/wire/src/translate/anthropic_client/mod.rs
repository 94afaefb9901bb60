//! A client that speaks Anthropic Messages on an upstream that speaks `OpenAI` Chat Completions.

mod answer;
mod arguments;
mod block;
mod calls;
mod chat;
mod completion;
mod content;
mod conversation;
mod given;
mod ids;
mod members;
mod messages;
mod names;
mod object;
mod options;
mod prewarm;
mod request;
mod results;
mod server_tools;
mod stream;
mod strict;
mod system;
mod thinking;
mod tools;
mod usage;
mod writer;

pub(super) use answer::answer;
pub(super) use request::request;
pub(super) use stream::Stream;

use names::Names;

/// What the answer's way back needs to know of an Anthropic client's request.
#[derive(Debug, Default)]
pub struct Memory {
    /// The model as the client named it.
    pub(super) model: String,
    /// The tools' names, there and back.
    pub(super) names: Names,
    /// The stop sequences that were asked for.
    pub(super) stop_sequences: Vec<String>,
    /// Whether a stream may end without a finish reason.
    pub(super) lenient_end: bool,
}
