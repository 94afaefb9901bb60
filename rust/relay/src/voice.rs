//! What the client hears of an upstream's frames: the frames themselves, or their translation.

use bytes::Bytes;
use wire::Dialect;
use wire::translate::{Progress, Stream};

/// The way of a stream's frames to the client.
#[derive(Debug)]
pub(crate) enum Voice {
    /// The upstream speaks the client's API.
    AsIs(Dialect),
    /// It speaks the other one.
    Translated(Stream),
}

impl Voice {
    /// What goes out for whole frames that came in.
    pub(crate) fn say(&mut self, part: Vec<Bytes>) -> Vec<Bytes> {
        match self {
            Self::AsIs(_) => part,
            Self::Translated(stream) => written(|out| {
                for piece in part {
                    stream.push(&piece, out);
                }
            }),
        }
    }

    /// A sign of life, if there can be one: a stream that passes as it is must have `begun`.
    pub(crate) fn ping(&mut self, begun: bool) -> Vec<Bytes> {
        match self {
            Self::AsIs(_) if !begun => Vec::new(),
            Self::AsIs(Dialect::Anthropic) => vec![Bytes::from_static(
                b"event: ping\ndata: {\"type\":\"ping\"}\n\n",
            )],
            Self::AsIs(Dialect::OpenAi) => vec![Bytes::from_static(b": ping\n\n")],
            Self::Translated(stream) => written(|out| stream.ping(out)),
        }
    }

    /// What goes out when the upstream has closed, after `tail`, the bytes behind the last whole frame.
    pub(crate) fn close(&mut self, tail: &[u8]) -> Vec<Bytes> {
        match self {
            Self::AsIs(_) => Vec::new(),
            Self::Translated(stream) => written(|out| stream.close(tail, out)),
        }
    }

    /// How far a translation has come; of frames that pass as they are the observer knows.
    pub(crate) fn progress(&self) -> Progress {
        match self {
            Self::AsIs(_) => Progress::Open,
            Self::Translated(stream) => stream.progress(),
        }
    }

    /// The upstream's id for an answer that gets another one.
    pub(crate) fn upstream_id(&self) -> Option<&str> {
        match self {
            Self::AsIs(_) => None,
            Self::Translated(stream) => stream.upstream_id(),
        }
    }

    pub(crate) fn is_translated(&self) -> bool {
        matches!(self, Self::Translated(_))
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<Bytes> {
    let mut out = Vec::new();
    write(&mut out);
    if out.is_empty() {
        Vec::new()
    } else {
        vec![Bytes::from(out)]
    }
}
