//! One request on one connection, up to the head of its answer.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::Method;
use http::header::HeaderMap;
use http::uri::PathAndQuery;
use tokio::io::AsyncWrite;

use crate::error::Error;
use crate::head::{self, Head};
use crate::io::Io;
use crate::scratch;

/// Pieces that are written at once.
const SLICES: usize = 16;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a Method,
    /// What stands behind the server's own path.
    pub target: &'a PathAndQuery,
    /// Its headers; `host` and `content-length` are the client's own.
    pub headers: &'a HeaderMap,
    /// Its body, in pieces.
    pub body: &'a [Bytes],
}

/// A connection that nobody uses, or one that an answer comes from.
#[derive(Debug)]
pub(crate) struct Connection(Io);

/// The beginning of an answer.
pub(crate) struct Begun {
    pub(crate) head: Head,
    /// What came of the body with the head.
    pub(crate) rest: Vec<u8>,
    /// Whether all of the request has gone.
    pub(crate) is_sent: bool,
}

impl Connection {
    pub(crate) const fn new(io: Io) -> Self {
        Self(io)
    }

    /// Sends a request of this head and body, and reads the head of the answer.
    ///
    /// An answer that comes before all of the request has gone ends the sending, also where the sending has failed: that is
    /// how a server refuses one that is too large, and it may not read the rest.
    ///
    /// # Errors
    /// `Io` or `Closed` if the connection breaks before the answer, `Malformed` if the answer is none.
    pub(crate) async fn begin(&mut self, head: &[u8], body: &[Bytes]) -> Result<Begun, Error> {
        let mut unsent = Unsent::new(head, body);
        let mut came = Vec::new();
        poll_fn(|context| {
            let sending = self.send(&mut unsent, context);
            match self.read_head(&mut came, context) {
                Poll::Ready(Ok((head, rest))) => Poll::Ready(Ok(Begun {
                    head,
                    rest,
                    is_sent: matches!(sending, Poll::Ready(Ok(()))),
                })),
                Poll::Ready(Err(error)) => Poll::Ready(Err(match sending {
                    Poll::Ready(Err(first)) => first,
                    _ => error,
                })),
                Poll::Pending => match sending {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Pending,
                },
            }
        })
        .await
    }

    fn send(
        &mut self,
        unsent: &mut Unsent<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        while !unsent.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let slices = unsent.slices(&mut slices);
            let written = ready!(Pin::new(&mut self.0).poll_write_vectored(context, slices))?;
            if written == 0 {
                return Poll::Ready(Err(Error::Closed));
            }
            unsent.advance(written);
        }
        Pin::new(&mut self.0).poll_flush(context).map_err(Error::Io)
    }

    fn read_head(
        &mut self,
        came: &mut Vec<u8>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(Head, Vec<u8>), Error>> {
        loop {
            let before = came.len();
            ready!(self.poll_read(context, |bytes| came.extend_from_slice(bytes)))?;
            if came.len() == before {
                return Poll::Ready(Err(Error::Closed));
            }
            if memchr::memchr(b'\n', &came[before..]).is_none() && came.len() <= head::HEAD_BYTES {
                continue;
            }
            if let Some((head, length)) = head::parse(came)? {
                came.drain(..length);
                return Poll::Ready(Ok((head, std::mem::take(came))));
            }
        }
    }

    /// Reads once and hands what came to `take`: nothing, if the peer has closed.
    pub(crate) fn poll_read<T>(
        &mut self,
        context: &mut Context<'_>,
        take: impl FnOnce(&mut [u8]) -> T,
    ) -> Poll<Result<T, Error>> {
        scratch::poll_read(&mut self.0, context, take)
    }

    /// Whether the peer has neither closed the connection nor said anything unasked.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.poll_read(&mut context, |_| ()).is_pending()
    }
}

/// What has not gone of a request.
struct Unsent<'a> {
    head: &'a [u8],
    body: &'a [Bytes],
    /// How much of the first piece has gone.
    gone: usize,
}

impl<'a> Unsent<'a> {
    fn new(head: &'a [u8], body: &'a [Bytes]) -> Self {
        Self {
            head,
            body,
            gone: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    fn slices<'room>(&'room self, room: &'room mut [IoSlice<'a>]) -> &'room [IoSlice<'a>] {
        let body = self.body.iter().enumerate();
        let body = body.map(|(index, piece)| &piece[if index == 0 { self.gone } else { 0 }..]);
        let pieces = std::iter::once(self.head).chain(body);
        let mut count = 0;
        for (slot, piece) in room.iter_mut().zip(pieces) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        &room[..count]
    }

    fn advance(&mut self, mut written: usize) {
        let head = written.min(self.head.len());
        self.head = &self.head[head..];
        written -= head;
        self.gone += written;
        while let Some((first, others)) = self.body.split_first() {
            if self.gone < first.len() {
                break;
            }
            self.gone -= first.len();
            self.body = others;
        }
    }
}
