//! HTTP/1.1 messages as a benchmark's two ends need them: heads, and bodies by length or in chunks.

use std::io;

const HEADERS: usize = 64;

/// How the body of a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With an empty chunk.
    Chunked,
    /// When the peer closes the connection.
    Close,
}

/// What is needed of a request's head.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// `POST`, `GET`, …
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// How the body ends.
    pub framing: Framing,
    /// Bytes that the head took.
    pub length_bytes: usize,
}

/// What is needed of a response's head.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the connection can serve another exchange.
    pub keep_alive: bool,
    /// Bytes that the head took.
    pub length_bytes: usize,
}

/// The head of the request at the start of `bytes`, or `None` while it is not whole.
pub fn request_head(bytes: &[u8]) -> io::Result<Option<RequestHead>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length_bytes) = request.parse(bytes).map_err(invalid)? else {
        return Ok(None);
    };
    Ok(Some(RequestHead {
        method: request.method.unwrap_or_default().to_owned(),
        path: request.path.unwrap_or_default().to_owned(),
        framing: framing(request.headers)?.unwrap_or(Framing::Length(0)),
        length_bytes,
    }))
}

/// The head of the response at the start of `bytes`, or `None` while it is not whole.
pub fn response_head(bytes: &[u8]) -> io::Result<Option<ResponseHead>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length_bytes) = response.parse(bytes).map_err(invalid)? else {
        return Ok(None);
    };
    let framing = framing(response.headers)?.unwrap_or(Framing::Close);
    let closes = header(response.headers, "connection")
        .is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
    Ok(Some(ResponseHead {
        status: response.code.unwrap_or_default(),
        framing,
        keep_alive: !closes && framing != Framing::Close,
        length_bytes,
    }))
}

fn framing(headers: &[httparse::Header<'_>]) -> io::Result<Option<Framing>> {
    if let Some(coding) = header(headers, "transfer-encoding") {
        if coding.eq_ignore_ascii_case(b"chunked") {
            return Ok(Some(Framing::Chunked));
        }
        return Err(invalid("unknown transfer coding"));
    }
    let Some(length) = header(headers, "content-length") else {
        return Ok(None);
    };
    let length = str::from_utf8(length).map_err(invalid)?;
    Ok(Some(Framing::Length(length.parse().map_err(invalid)?)))
}

fn header<'head>(headers: &[httparse::Header<'head>], name: &str) -> Option<&'head [u8]> {
    headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// An error of a peer that does not keep to the protocol.
pub fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

/// Takes a body out of its framing, in pieces of any size.
#[derive(Debug)]
pub struct Body {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes left of a body of known length.
    Length(u64),
    UntilClose,
    /// The size of a chunk as far as it was read.
    Size(u64),
    /// The rest of a size line, which may hold extensions.
    SizeEnd(u64),
    /// Bytes left of a chunk.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// A line after the last chunk, and its length as far as it was read.
    Trailer(usize),
    Done,
}

impl Body {
    /// The decoder of a body with this framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size(0),
            Framing::Close => State::UntilClose,
        };
        Self { state }
    }

    /// Whether the whole body was seen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the body is whole if the peer closes now.
    #[must_use]
    pub fn may_close(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// Appends the content in `input` to `content`; returns how many bytes of `input` belong to this body.
    pub fn feed(&mut self, input: &[u8], content: &mut Vec<u8>) -> io::Result<usize> {
        let mut used = 0;
        while used < input.len() && !self.is_done() {
            used += match self.state {
                State::Length(left) | State::Chunk(left) => {
                    self.copy(left, &input[used..], content)
                }
                State::UntilClose => {
                    content.extend_from_slice(&input[used..]);
                    input.len() - used
                }
                _ => {
                    self.step(input[used])?;
                    1
                }
            };
        }
        Ok(used)
    }

    fn copy(&mut self, left: u64, input: &[u8], content: &mut Vec<u8>) -> usize {
        let taken = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        content.extend_from_slice(&input[..taken]);
        let left = left - taken as u64;
        self.state = match (self.state, left) {
            (State::Length(_), 0) => State::Done,
            (State::Length(_), _) => State::Length(left),
            (_, 0) => State::ChunkEnd,
            _ => State::Chunk(left),
        };
        taken
    }

    fn step(&mut self, byte: u8) -> io::Result<()> {
        self.state = match (self.state, byte) {
            (State::Trailer(1..), b'\n') => State::Trailer(0),
            (State::Size(size) | State::SizeEnd(size), b'\n') => match size {
                0 => State::Trailer(0),
                _ => State::Chunk(size),
            },
            (State::Size(size), b'\r' | b';' | b' ') => State::SizeEnd(size),
            (State::Size(size), _) => {
                let digit = char::from(byte)
                    .to_digit(16)
                    .ok_or_else(|| invalid("bad chunk size"))?;
                let shifted = size
                    .checked_mul(16)
                    .ok_or_else(|| invalid("chunk too large"))?;
                State::Size(shifted + u64::from(digit))
            }
            (State::ChunkEnd, b'\n') => State::Size(0),
            (State::ChunkEnd, b'\r') => State::ChunkEnd,
            (State::ChunkEnd, _) => return Err(invalid("chunk longer than its size")),
            (State::Trailer(0), b'\n') => State::Done,
            (State::Trailer(length), b'\r') => State::Trailer(length),
            (State::Trailer(length), _) => State::Trailer(length + 1),
            (state, _) => state,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(framing: Framing, input: &[u8], piece_bytes: usize) -> (Vec<u8>, usize, bool) {
        let mut body = Body::new(framing);
        let (mut content, mut used) = (Vec::new(), 0);
        for piece in input.chunks(piece_bytes) {
            used += body.feed(piece, &mut content).unwrap();
        }
        (content, used, body.is_done())
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same_body() {
        let chunked = b"5\r\nhello\r\n11;name=value\r\n, world and more\n\r\n0\r\nx: y\r\n\r\nNEXT";
        for piece_bytes in 1..=chunked.len() {
            let (content, used, done) = decode(Framing::Chunked, chunked, piece_bytes);
            assert_eq!(
                content, b"hello, world and more\n",
                "pieces of {piece_bytes}"
            );
            assert_eq!(used, chunked.len() - b"NEXT".len());
            assert!(done);
        }
    }

    #[test]
    fn a_body_of_known_length_ends_there() {
        assert_eq!(
            decode(Framing::Length(3), b"abcdef", 2),
            (b"abc".to_vec(), 3, true)
        );
        assert_eq!(
            decode(Framing::Length(9), b"abcdef", 2),
            (b"abcdef".to_vec(), 6, false)
        );
        assert_eq!(
            decode(Framing::Length(0), b"abcdef", 2),
            (Vec::new(), 0, true)
        );
    }

    #[test]
    fn a_chunk_that_lies_about_its_size_is_refused() {
        assert!(
            Body::new(Framing::Chunked)
                .feed(b"2\r\nabc\r\n", &mut Vec::new())
                .is_err()
        );
        assert!(
            Body::new(Framing::Chunked)
                .feed(b"zz\r\n", &mut Vec::new())
                .is_err()
        );
    }

    #[test]
    fn heads_say_how_their_bodies_end() {
        let head =
            request_head(b"POST /v1/messages HTTP/1.1\r\nContent-Length: 12\r\n\r\n{").unwrap();
        let head = head.unwrap();
        assert_eq!((head.framing, head.length_bytes), (Framing::Length(12), 50));
        let head = response_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let head = head.unwrap();
        assert_eq!(
            (head.status, head.framing, head.keep_alive),
            (200, Framing::Chunked, true)
        );
        assert_eq!(response_head(b"HTTP/1.1 200 OK\r\n").unwrap(), None);
        let closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert!(!response_head(closing).unwrap().unwrap().keep_alive);
    }
}
