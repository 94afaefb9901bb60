//! Where bytes are read to before they are copied out, exactly as many as there are: a connection that waits holds no buffer.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::error::Error;

/// What one read takes at most; a part of an answer is not larger either.
const BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BYTES].into());
}

/// Reads once and hands what came to `take`; nothing at all at the peer's end.
pub(crate) fn poll_read<T>(
    io: &mut (impl AsyncRead + Unpin),
    context: &mut Context<'_>,
    take: impl FnOnce(&mut [u8]) -> T,
) -> Poll<Result<T, Error>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(io).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(take(buffer.filled_mut())))
    })
}
