//! How a stream ended, and what it leaves behind.

use bytes::Bytes;
use wire::{Produced, Refusal, Usage};

use crate::client::Head;

/// How a stream ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Whole; `last` is still to be sent.
    Complete { last: Vec<Bytes> },
    /// The upstream told an error inside the stream, which has been, or is in, `last`.
    Told { last: Vec<Bytes> },
    /// The upstream broke off, or told an error in other words; `last` are whole frames that came before. Both are still to be
    /// sent.
    Broken { last: Vec<Bytes>, refusal: Refusal },
    /// The client left, or stopped reading.
    ClientLeft,
}

/// What a stream leaves behind.
pub(crate) struct Rest<B> {
    /// The head, if nothing has been sent.
    pub(crate) head: Option<Head>,
    /// Whether anything has gone to the client.
    pub(crate) delivered: bool,
    /// The usage that the upstream told.
    pub(crate) usage: Usage,
    /// What the model has written, if it was collected.
    pub(crate) produced: Option<Produced>,
    /// The upstream's body, to be read to its end.
    pub(crate) body: B,
}
