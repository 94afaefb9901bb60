//! Where an answer's body ends (RFC 9112, section 6.3).

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{StatusCode, Version};

use crate::chunked::Chunked;
use crate::error::Error;

/// A body, as far as it has not been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing(Rest);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Nothing,
}

/// What one piece of the connection was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// So many bytes at its front are data of the body now.
    pub data: usize,
    /// So many belonged to the body and its coding.
    pub read: usize,
}

impl Framing {
    /// What the head of an answer to anything but HEAD and CONNECT says of its body.
    ///
    /// # Errors
    /// `Malformed` where it says two things, or what cannot be.
    pub fn of(status: StatusCode, version: Version, headers: &HeaderMap) -> Result<Self, Error> {
        let length = length(headers)?;
        let coding = coding(headers, version)?;
        Ok(Self(match (coding, length) {
            _ if matches!(status.as_u16(), 204 | 304) => Rest::Nothing,
            (true, Some(_)) => {
                return Err(Error::Malformed("both a length and a transfer coding"));
            }
            (true, None) => Rest::Chunked(Chunked::START),
            (false, Some(0)) => Rest::Nothing,
            (false, Some(length)) => Rest::Length(length),
            (false, None) => Rest::UntilClose,
        }))
    }

    /// A chunked body that has not begun.
    #[must_use]
    pub const fn chunked() -> Self {
        Self(Rest::Chunked(Chunked::START))
    }

    /// Moves the data in `piece`, the next of the connection, to its front. What came before a mistake is data too:
    /// [`Framing::check`] tells of it.
    pub fn decode(&mut self, piece: &mut [u8]) -> Decoded {
        let there = piece.len();
        let (data, read) = match &mut self.0 {
            Rest::Length(left) => {
                let data = usize::try_from(*left).map_or(there, |left| left.min(there));
                *left -= data as u64;
                if *left == 0 {
                    self.0 = Rest::Nothing;
                }
                (data, data)
            }
            Rest::Chunked(state) => {
                let (data, read) = state.decode(piece);
                if *state == Chunked::Done {
                    self.0 = Rest::Nothing;
                }
                (data, read)
            }
            Rest::UntilClose => (there, there),
            Rest::Nothing => (0, 0),
        };
        Decoded { data, read }
    }

    /// Whether what came so far was framed as it was to be.
    ///
    /// # Errors
    /// `Malformed` for a chunked coding that is none.
    pub fn check(&self) -> Result<(), Error> {
        match self.0 {
            Rest::Chunked(Chunked::Broken(what)) => Err(Error::Malformed(what)),
            _ => Ok(()),
        }
    }

    /// Notes that the peer has closed the connection.
    ///
    /// # Errors
    /// `Closed` if the body was not at its end.
    pub fn close(&mut self) -> Result<(), Error> {
        match self.0 {
            Rest::UntilClose | Rest::Nothing => {
                self.0 = Rest::Nothing;
                Ok(())
            }
            Rest::Length(_) | Rest::Chunked(_) => Err(Error::Closed),
        }
    }

    /// Whether the body is at its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0 == Rest::Nothing
    }

    /// The bytes that are still to come, where that is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            Rest::Length(left) => Some(left),
            Rest::Nothing => Some(0),
            Rest::Chunked(_) | Rest::UntilClose => None,
        }
    }
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let mut told = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes();
        let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let length = value.to_str().ok().filter(|_| plain);
        let length = length.and_then(|text| text.parse::<u64>().ok());
        let length = length.ok_or(Error::Malformed("the length is no number"))?;
        if told.replace(length).is_some_and(|before| before != length) {
            return Err(Error::Malformed("two lengths"));
        }
    }
    Ok(told)
}

/// Whether the body is chunked: the one coding that is understood.
fn coding(headers: &HeaderMap, version: Version) -> Result<bool, Error> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(false);
    };
    let known = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !known || codings.next().is_some() || version != Version::HTTP_11 {
        return Err(Error::Malformed("a transfer coding that is not understood"));
    }
    Ok(true)
}

/// Whether the peer keeps the connection open after the answer.
pub(crate) fn keeps_alive(version: Version, headers: &HeaderMap) -> bool {
    let closes = |value: &http::HeaderValue| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    version == Version::HTTP_11 && !headers.get_all(CONNECTION).iter().any(closes)
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    fn framing(pairs: &[(&'static str, &'static str)]) -> Result<Framing, Error> {
        Framing::of(StatusCode::OK, Version::HTTP_11, &headers(pairs))
    }

    #[test]
    fn a_body_ends_where_the_head_says() {
        assert_eq!(framing(&[("content-length", "7")]).unwrap().left(), Some(7));
        let same = [("content-length", "7"), ("content-length", "7")];
        assert_eq!(framing(&same).unwrap().left(), Some(7));
        let chunked = framing(&[("transfer-encoding", "Chunked")]).unwrap();
        assert_eq!(chunked, Framing::chunked());
        assert!(framing(&[("content-length", "0")]).unwrap().is_over());
        let mut open = framing(&[]).unwrap();
        assert_eq!((open.left(), open.is_over()), (None, false));
        assert!(open.close().is_ok() && open.is_over());
    }

    #[test]
    fn a_status_without_a_body_has_none() {
        for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
            let headers = headers(&[("content-length", "7")]);
            let framing = Framing::of(status, Version::HTTP_11, &headers).unwrap();
            assert!(framing.is_over());
        }
    }

    #[test]
    fn two_ways_to_end_are_refused() {
        for pairs in [
            &[("content-length", "7"), ("content-length", "8")][..],
            &[("content-length", "7, 7")],
            &[("content-length", "+7")],
            &[("content-length", "0x7")],
            &[("content-length", "")],
            &[("content-length", "99999999999999999999")],
            &[("content-length", "7"), ("transfer-encoding", "chunked")],
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "xchunked")],
            &[("transfer-encoding", "identity")],
        ] {
            assert!(framing(pairs).is_err(), "{pairs:?}");
        }
        let chunked = headers(&[("transfer-encoding", "chunked")]);
        assert!(Framing::of(StatusCode::OK, Version::HTTP_10, &chunked).is_err());
    }

    #[test]
    fn a_length_is_kept_to() {
        let mut framing = framing(&[("content-length", "5")]).unwrap();
        let mut piece = *b"abc";
        assert_eq!(framing.decode(&mut piece), Decoded { data: 3, read: 3 });
        assert!(framing.close().is_err());
        let mut piece = *b"deHTTP/1.1";
        assert_eq!(framing.decode(&mut piece), Decoded { data: 2, read: 2 });
        assert!(framing.is_over());
    }

    #[test]
    fn a_connection_stays_unless_it_is_said_otherwise() {
        assert!(keeps_alive(Version::HTTP_11, &headers(&[])));
        assert!(!keeps_alive(
            Version::HTTP_10,
            &headers(&[("connection", "keep-alive")])
        ));
        for said in ["close", "Close", "x-own , close"] {
            let said = headers(&[("connection", said)]);
            assert!(!keeps_alive(Version::HTTP_11, &said));
        }
    }
}
