//! An HTTP/1.1 client for upstreams (RFC 9112).
//!
//! A connection is a socket and a few words of state: who awaits an answer reads it himself, in his own task, and the
//! bytes of one read come out as one piece, whatever chunks they were cut into. No connection has a task, a
//! queue or a buffer of its own, so that an open stream that is silent costs next to nothing.
//!
//! Stricter than most: an answer that can be framed in two ways is refused, since what one reader takes for a body another
//! takes for the next answer.

mod body;
mod chunked;
mod client;
mod connect;
mod connection;
mod error;
mod framing;
mod head;
mod io;
mod pool;
mod scratch;

pub use body::Body;
pub use client::{Client, Settings};
pub use connection::Request;
pub use error::Error;
pub use framing::{Decoded, Framing};
