//! A client that speaks `OpenAI` Chat Completions on an upstream that speaks Anthropic Messages.

mod answer;
mod blocks;
mod conversation;
mod data_url;
mod event;
mod function;
mod ids;
mod messages;
mod options;
mod parts;
mod reply;
mod request;
mod stream;
mod thinking;
mod tools;
mod usage;

pub(super) use answer::answer;
pub(super) use request::request;
pub(super) use stream::Stream;

/// What the answer's way back needs to know of an `OpenAI` client's request.
#[derive(Debug, Default)]
pub struct Memory {
    /// The model as the client named it.
    pub(super) model: String,
    /// Tool call ids that were changed, as (upstream's, client's).
    pub(super) ids: Vec<(String, String)>,
    /// Whether a stream ends with a chunk that holds the usage.
    pub(super) include_usage: bool,
    /// Whether the answer is the input of the forced tool `respond`.
    pub(super) respond_tool: bool,
}
