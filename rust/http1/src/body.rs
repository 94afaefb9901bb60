//! An answer's body as it comes.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::connection::Connection;
use crate::error::Error;
use crate::framing::Framing;
use crate::pool::Pool;

/// A body that is read from its connection by whoever polls it. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    /// What came with the head.
    first: Option<Bytes>,
    /// None once the body is at its end.
    connection: Option<Connection>,
    /// Where the connection goes then, if it can be used again.
    pool: Option<Rc<Pool>>,
}

impl Body {
    /// A body of which `rest` came with the head.
    pub(crate) fn new(
        framing: Framing,
        mut rest: Vec<u8>,
        connection: Connection,
        pool: Option<Rc<Pool>>,
    ) -> Self {
        let mut body = Self {
            framing,
            first: None,
            connection: Some(connection),
            pool,
        };
        let decoded = body.framing.decode(&mut rest);
        if body.framing.is_over() {
            body.release(decoded.read == rest.len());
        }
        if decoded.data > 0 {
            rest.truncate(decoded.data);
            body.first = Some(Bytes::from(rest));
        }
        body
    }

    /// Lets go of the connection: bytes behind the end of an answer belong to nothing that was asked.
    fn release(&mut self, is_clean: bool) {
        let connection = self.connection.take();
        if let (Some(connection), Some(pool), true) = (connection, self.pool.take(), is_clean) {
            pool.give(connection);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    /// All data that one read of the connection brought.
    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        loop {
            let (Some(connection), framing) = (&mut this.connection, &mut this.framing) else {
                return Poll::Ready(None);
            };
            if let Err(error) = framing.check() {
                this.connection = None;
                return Poll::Ready(Some(Err(error)));
            }
            let read = ready!(connection.poll_read(context, |piece| {
                if piece.is_empty() {
                    framing.close()?;
                    return Ok((Bytes::new(), false));
                }
                let decoded = framing.decode(piece);
                let data = Bytes::copy_from_slice(&piece[..decoded.data]);
                Ok((data, decoded.read == piece.len()))
            }));
            match read.flatten() {
                Ok((data, is_clean)) => {
                    if this.framing.is_over() {
                        this.release(is_clean);
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Err(error) => {
                    this.connection = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, Bytes::len) as u64;
        self.framing
            .left()
            .map_or_else(SizeHint::new, |left| SizeHint::with_exact(left + first))
    }
}
