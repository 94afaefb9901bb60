//! Why there is no answer, or no more of it.

use std::fmt;
use std::io;

/// A failure of a connection or of the peer's side of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The URL of the server is none that can be connected to.
    Url(&'static str),
    /// There is no connection; nothing of the request has gone.
    Connect(String),
    /// The connection broke.
    Io(io::Error),
    /// The peer closed the connection before the end of what it was to send.
    Closed,
    /// What the peer sent is not HTTP/1.1.
    Malformed(&'static str),
}

impl Error {
    /// Whether nothing of the request has gone, so that it may be sent somewhere else.
    #[must_use]
    pub const fn is_connect(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(what) => write!(formatter, "not the URL of a server: {what}"),
            Self::Connect(cause) => write!(formatter, "no connection: {cause}"),
            Self::Io(_) => formatter.write_str("the connection broke"),
            Self::Closed => formatter.write_str("the connection was closed too early"),
            Self::Malformed(what) => write!(formatter, "the answer is not HTTP/1.1: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
