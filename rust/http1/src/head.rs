//! Heads: how a request's is written and an answer's is read.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use crate::connection::Request;
use crate::error::Error;

/// A head is not larger than this, and that of an interim answer counts.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;
/// An answer has not more headers than this.
const HEADERS: usize = 128;

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
}

/// A request's head; its body's length is `length`.
///
/// Nothing in it can end a line early: names, values and targets of these types hold no control characters.
pub(crate) fn write(
    request: &Request<'_>,
    host: &HeaderValue,
    path: &str,
    length: usize,
) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(request.method.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(path.as_bytes());
    head.extend_from_slice(request.target.as_str().as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    line(&mut head, &HOST, host.as_bytes());
    for (name, value) in request.headers {
        if name != HOST && name != CONTENT_LENGTH {
            line(&mut head, name, value.as_bytes());
        }
    }
    if length > 0 || request.method == http::Method::POST {
        line(&mut head, &CONTENT_LENGTH, length.to_string().as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn line(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// The head that `input` begins with and its length, interim answers passed over; `None` if it is not all there yet.
///
/// # Errors
/// `Malformed` if it is none, is too large, or changes the protocol.
pub(crate) fn parse(input: &[u8]) -> Result<Option<(Head, usize)>, Error> {
    let mut start = 0;
    loop {
        let Some((head, length)) = parse_one(&input[start..])? else {
            if input.len() > HEAD_BYTES {
                return Err(Error::Malformed("the head is too large"));
            }
            return Ok(None);
        };
        start += length;
        if start > HEAD_BYTES {
            return Err(Error::Malformed("the head is too large"));
        }
        match head.status {
            StatusCode::SWITCHING_PROTOCOLS => {
                return Err(Error::Malformed("it changes the protocol, unasked"));
            }
            status if status.is_informational() => {}
            _ => return Ok(Some((head, start))),
        }
    }
}

fn parse_one(input: &[u8]) -> Result<Option<(Head, usize)>, Error> {
    let mut room = [const { MaybeUninit::uninit() }; HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, input, &mut room)
        .map_err(|error| match error {
            httparse::Error::TooManyHeaders => Error::Malformed("too many headers"),
            httparse::Error::Version => Error::Malformed("another version"),
            httparse::Error::Status => Error::Malformed("a bad status line"),
            _ => Error::Malformed("a bad head"),
        })?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let status = StatusCode::from_u16(status).map_err(|_| Error::Malformed("a bad status"))?;
    let version = match response.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    // Values share one copy of the head instead of having one each.
    let whole = Bytes::copy_from_slice(&input[..length]);
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for header in response.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| Error::Malformed("a bad header name"))?;
        let start = header.value.as_ptr().addr() - input.as_ptr().addr();
        let value = whole.slice(start..start + header.value.len());
        let value = HeaderValue::from_maybe_shared(value)
            .map_err(|_| Error::Malformed("a bad header value"))?;
        headers.append(name, value);
    }
    let head = Head {
        status,
        version,
        headers,
    };
    Ok(Some((head, length)))
}
