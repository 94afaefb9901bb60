//! The client's side of an exchange, as the relay sees it. `py` implements it over the server's `send`.

use bytes::Bytes;
use tokio::sync::oneshot;

/// Status and headers of an answer.
#[derive(Debug, Clone)]
pub struct Head {
    /// HTTP status.
    pub status: u16,
    /// Header names in lower case, and values.
    pub headers: Vec<(Bytes, Bytes)>,
}

impl Head {
    /// A head with `status` and no headers.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::with_capacity(12),
        }
    }

    /// Adds one header.
    pub fn push(&mut self, name: &'static str, value: impl Into<Bytes>) {
        self.headers
            .push((Bytes::from_static(name.as_bytes()), value.into()));
    }
}

/// What became of a part that was handed to the server.
#[derive(Debug)]
pub enum Sent {
    /// Taken; the next part may follow at once.
    Ready,
    /// Taken, but the server's queue is full: wait for this before sending more.
    Full(oneshot::Receiver<()>),
    /// Not taken: the server is done with this client.
    Gone,
}

/// The one who asked.
pub trait Client {
    /// Hands over the next part of the answer: the head if it has not gone yet, then `body`, in one go.
    ///
    /// Nothing may be sent before the last part's future has resolved, and its [`Sent::Full`], nor after a part with
    /// `more == false`. A client that has left swallows what it is sent; only [`Client::left`] tells.
    ///
    /// # Cancel safety
    /// The part goes even if the future is dropped.
    fn send(
        &mut self,
        head: Option<Head>,
        body: Vec<Bytes>,
        more: bool,
    ) -> impl Future<Output = Sent>;

    /// Resolves with `Ok` once the client has left. The first call arms the watch, which costs something:
    /// short answers never ask.
    fn left(&mut self) -> oneshot::Receiver<()>;
}
