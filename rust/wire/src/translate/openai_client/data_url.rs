//! Data URLs: what a client puts into a request instead of a link.
//!
//! Source: RFC 2397.

use std::borrow::Cow;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A data URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DataUrl<'a> {
    /// In lower case and without parameters.
    pub(super) media_type: String,
    base64: bool,
    payload: Cow<'a, str>,
}

impl<'a> DataUrl<'a> {
    /// The parts of `url`; the URL itself if it is none with data.
    pub(super) fn parse(url: Cow<'a, str>) -> Result<Self, Cow<'a, str>> {
        let is_data = url
            .get(..5)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
        let Some(comma) = url.find(',').filter(|_| is_data) else {
            return Err(url);
        };
        let head = url.get(5..comma).unwrap_or_default();
        let mut words = head.split(';').map(str::trim);
        let media_type = words.next().filter(|media_type| !media_type.is_empty());
        Ok(Self {
            media_type: media_type.unwrap_or("text/plain").to_ascii_lowercase(),
            base64: words.any(|word| word.eq_ignore_ascii_case("base64")),
            payload: after(url, comma + 1),
        })
    }

    /// What `payload`, which is base64 without a head, holds.
    pub(super) fn bare(media_type: &str, payload: Cow<'a, str>) -> Self {
        Self {
            media_type: media_type.to_owned(),
            base64: true,
            payload,
        }
    }

    /// The data as base64.
    pub(super) fn into_base64(self) -> Cow<'a, str> {
        if !self.base64 {
            return Cow::Owned(encode(&unescaped(&self.payload)));
        }
        let odd = |byte: u8| byte == b'%' || byte.is_ascii_whitespace();
        if !self.payload.bytes().any(odd) {
            return self.payload;
        }
        let mut plain = unescaped(&self.payload);
        plain.retain(|byte| !byte.is_ascii_whitespace());
        Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
    }

    /// The data as text, if it is UTF-8.
    pub(super) fn into_text(self) -> Option<String> {
        let bytes = if self.base64 {
            decode(&self.into_base64())?
        } else {
            unescaped(&self.payload)
        };
        String::from_utf8(bytes).ok()
    }
}

/// What follows the byte at `start`.
fn after(text: Cow<'_, str>, start: usize) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(start..).unwrap_or_default()),
        Cow::Owned(mut text) => {
            text.drain(..start);
            Cow::Owned(text)
        }
    }
}

/// The bytes that `text` stands for, where `%41` is `A`.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        let escaped = match tail {
            [high, low, tail @ ..] if *first == b'%' => hex(*high)
                .zip(hex(*low))
                .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
                .map(|byte| (byte, tail)),
            _ => None,
        };
        let (byte, tail) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = tail;
    }
    bytes
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..4 {
            let letter = usize::try_from(bits >> (18 - 6 * index) & 63)
                .ok()
                .and_then(|index| ALPHABET.get(index));
            let used = index <= three.len();
            text.push(char::from(letter.copied().filter(|_| used).unwrap_or(b'=')));
        }
    }
    text
}

/// The bytes of base64 `text`; `None` if it is none.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for four in text.chunks(4) {
        let mut bits: u32 = 0;
        for letter in four {
            bits = bits << 6 | u32::from(digit(*letter)?);
        }
        match four.len() {
            4 => bytes.extend(bits.to_be_bytes().iter().skip(1)),
            3 => bytes.extend((bits >> 2).to_be_bytes().iter().skip(2)),
            2 => bytes.extend((bits >> 4).to_be_bytes().iter().skip(3)),
            _ => return None,
        }
    }
    Some(bytes)
}

/// The place of `letter` in [`ALPHABET`].
const fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::{DataUrl, decode, encode};

    fn parsed(url: &str) -> DataUrl<'_> {
        DataUrl::parse(Cow::Borrowed(url)).unwrap()
    }

    #[test]
    fn base64_is_kept_as_it_is() {
        let url = parsed("data:image/png;base64,iVBORw0KGgo=");
        assert_eq!(url.media_type, "image/png");
        assert!(matches!(url.into_base64(), Cow::Borrowed("iVBORw0KGgo=")));
    }

    #[test]
    fn case_parameters_and_escapes_do_not_matter() {
        for url in [
            "DATA:Image/PNG;name=a.png;BASE64,+/8=",
            "data:image/png; base64 ,+/8=",
            "data:image/png;base64,%2b%2F8%3D",
            "data:image/png;base64,+/\n8=",
            "data:image/png,%fb%FF",
        ] {
            let url = parsed(url);
            assert_eq!(url.media_type, "image/png");
            assert_eq!(url.into_base64(), "+/8=");
        }
        let owned = "data:image/png;base64,+/8=".to_owned();
        let url = DataUrl::parse(Cow::Owned(owned)).unwrap();
        assert_eq!(url.into_base64(), "+/8=");
    }

    #[test]
    fn text_is_read_in_either_form() {
        for url in ["data:,caf%C3%A9", "data:text/plain;base64,Y2Fmw6k="] {
            let url = parsed(url);
            assert_eq!(url.media_type, "text/plain");
            assert_eq!(url.into_text().as_deref(), Some("café"));
        }
        assert_eq!(parsed("data:,%C3").into_text(), None);
        assert_eq!(parsed("data:,100%").into_text().as_deref(), Some("100%"));
        assert_eq!(parsed("data:;base64,!").into_text(), None);
    }

    #[test]
    fn another_url_is_given_back() {
        for url in [
            "https://example.com/a,b.png",
            "data:image/png",
            "dåta:,",
            "",
        ] {
            assert_eq!(DataUrl::parse(Cow::Borrowed(url)), Err(Cow::Borrowed(url)));
        }
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        // Source: RFC 4648, section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(decode("Z"), None);
        assert_eq!(decode("Zm9-"), None);
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }
}
