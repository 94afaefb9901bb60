//! How many tokens a request's input may be, from its bytes alone: what is reserved before the
//! upstream has counted.
//!
//! Text is taken for a token every 3 bytes, rather too many for prose and code. Pictures and
//! documents are text on the wire but not to the model: a screenshot of 1 MB would be reserved as
//! 450 000 tokens and is charged as 2 000.

use memchr::memrchr;

/// Bytes of a request's JSON that make one token. Measured with o200k: prose and code have 4 to 5,
/// Chinese 3.6; encodings that came later make up to a half more of the same. Base64 or hex pasted
/// as text has 1.5: what is reserved is too little then, and settled as it was used.
const TEXT_BYTES: u64 = 3;
/// What a picture is at least. Source: Anthropic, "Vision": width × height ÷ 750, at most about
/// 1 600, or 4 784 for models that see more; `OpenAI`'s tiles and patches stay below.
const PICTURE_TOKENS: u64 = 1600;
/// Base64 of a picture or sound that makes one token more: with the 7 MB of the largest picture
/// that is accepted they come to 5 000.
const PICTURE_BYTES: u64 = 2000;
/// Base64 of a PDF that makes one token. Source: Anthropic, "PDF support": a page is 1 500 to 3 000
/// tokens of text, and a picture. Pages have between 5 kB and, scanned, 1 MB; here 35 kB are one.
const PDF_BYTES: u64 = 20;
/// What `%PDF-` is in base64.
const PDF_START: &[u8] = b"JVBERi";

/// Shorter data counts as text: it is cheaper than the smallest picture.
const STRIDE_BYTES: usize = 2048;
/// Text has no so many bytes without a space, a quote or a comma, almost never.
const PROBE_BYTES: usize = 32;
/// A data URL's type and parameters.
const DATA_URL_BYTES: usize = 128;

/// A bound of the input's tokens: too large for most requests, and never by the bytes of pictures.
///
/// What is not in the body (a picture by its URL or file id) is not in it. Allocates nothing.
#[must_use]
pub fn input_bound_tokens(body: &[u8]) -> u64 {
    let media = Media::of(body);
    let text_bytes = (body.len() as u64).saturating_sub(media.bytes);
    text_bytes.div_ceil(TEXT_BYTES) + media.tokens
}

/// About how many tokens the pictures, sounds and documents within a request are: what there is to
/// add to its texts.
#[must_use]
pub fn media_bound_tokens(body: &[u8]) -> u64 {
    Media::of(body).tokens
}

/// The data in a request that is no text.
#[derive(Default)]
struct Media {
    bytes: u64,
    tokens: u64,
}

impl Media {
    /// Looks at every 2 048th place only: data that is long enough to matter covers one of them.
    fn of(body: &[u8]) -> Self {
        let mut media = Self::default();
        let mut passed = 0;
        let mut at = 0;
        while let Some(probe) = body.get(at..at + PROBE_BYTES) {
            if !are_base64(probe) {
                at += STRIDE_BYTES;
                continue;
            }
            let before = body.get(passed..at).unwrap_or_default();
            let before = before.iter().rev();
            let start = at - before.take_while(|&&byte| is_base64(byte)).count();
            let end = at + base64_length(body.get(at..).unwrap_or_default());
            if end - start >= STRIDE_BYTES && is_data(body.get(..start).unwrap_or_default()) {
                media.count(body.get(start..end).unwrap_or_default());
            }
            passed = end;
            at = end + 1;
        }
        media
    }

    fn count(&mut self, base64: &[u8]) {
        let bytes = base64.len() as u64;
        self.bytes += bytes;
        self.tokens += PICTURE_TOKENS
            + if base64.starts_with(PDF_START) {
                bytes / PDF_BYTES
            } else {
                bytes / PICTURE_BYTES
            };
    }
}

/// Whether what stands `before` base64 says that it is data: the member `data` of a source, or a
/// data URL that is a value of its own. Inside a text the quotes would be escaped, and the model
/// reads every byte.
fn is_data(before: &[u8]) -> bool {
    if let Some(before) = before.strip_suffix(b"\"") {
        let name = before.trim_ascii_end().strip_suffix(b":");
        return name.is_some_and(|name| name.trim_ascii_end().ends_with(b"\"data\""));
    }
    let near = before.len().saturating_sub(DATA_URL_BYTES);
    let near = before.get(near..).unwrap_or_default();
    let Some((outside, url)) = memrchr(b'"', near).and_then(|quote| near.split_at_checked(quote))
    else {
        return false;
    };
    url.starts_with(b"\"data:") && url.ends_with(b"base64,") && !outside.ends_with(b"\\")
}

/// How many bytes at the front are base64.
fn base64_length(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<PROBE_BYTES>();
    let whole = chunks.iter().take_while(|chunk| are_base64(*chunk)).count();
    let length = whole * PROBE_BYTES;
    let rest = bytes.get(length..).unwrap_or_default();
    length + rest.iter().take_while(|&&byte| is_base64(byte)).count()
}

/// Whether all of `bytes` are base64; looks at all of them, so that the compiler can look at many at
/// once.
fn are_base64(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, &byte| all & is_base64(byte))
}

/// Either alphabet of base64, and the backslash: some clients escape its slashes, or break lines.
const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'\\')
}

#[cfg(test)]
mod tests;
