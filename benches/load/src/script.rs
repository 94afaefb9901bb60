//! How a request asks the scripted upstream for an answer: a marker in the text of the message.
//!
//! The text is the one part of a request that every relay hands on, translating ones included. Headers
//! would not do: a gateway that keeps an allow-list drops them.

use memchr::memmem;

const MARKER: &[u8] = b"bench:events=";

/// The streamed answer that is wanted. A request without `stream: true` gets one JSON answer instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// Content deltas in the stream.
    pub events: u64,
    /// Microseconds between two of them; 0 is as fast as possible.
    pub pause_us: u64,
    /// Length of each delta's text, its stamp included.
    pub text_bytes: usize,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            events: 10,
            pause_us: 0,
            text_bytes: 40,
        }
    }
}

impl Script {
    /// The marker to be put into a message's text.
    #[must_use]
    pub fn marker(&self) -> String {
        let Self {
            events,
            pause_us,
            text_bytes,
        } = self;
        format!("bench:events={events}:pause_us={pause_us}:bytes={text_bytes}")
    }

    /// The script that the marker in `body` asks for, or the default one.
    #[must_use]
    pub fn find(body: &[u8]) -> Self {
        Self::parse(body).unwrap_or_default()
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let rest = body.get(memmem::find(body, MARKER)? + MARKER.len()..)?;
        let (events, rest) = number(rest)?;
        let (pause_us, rest) = number(rest.strip_prefix(b":pause_us=")?)?;
        let (text_bytes, _) = number(rest.strip_prefix(b":bytes=")?)?;
        Some(Self {
            events,
            pause_us,
            text_bytes: usize::try_from(text_bytes).ok()?,
        })
    }
}

/// Whether a request's `body` asks for a stream.
///
/// A search for the member, not a parse: the load generator puts the word nowhere else.
#[must_use]
pub fn wants_stream(body: &[u8]) -> bool {
    let Some(start) = memmem::rfind(body, b"\"stream\"") else {
        return false;
    };
    let value = body[start + b"\"stream\"".len()..].trim_ascii_start();
    value
        .strip_prefix(b":")
        .is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at(end);
    Some((str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_found_wherever_its_marker_is() {
        let script = Script {
            events: 200,
            pause_us: 20_000,
            text_bytes: 64,
        };
        let body = format!(
            r#"{{"messages":[{{"content":"{}"}}],"stream":true}}"#,
            script.marker()
        );
        assert_eq!(Script::find(body.as_bytes()), script);
    }

    #[test]
    fn a_request_without_marker_gets_the_default() {
        assert_eq!(Script::find(b"{}"), Script::default());
        assert_eq!(Script::find(b"bench:events=5:pause"), Script::default());
    }

    #[test]
    fn a_stream_is_seen_however_the_member_is_spaced() {
        assert!(wants_stream(br#"{"stream":true}"#));
        assert!(wants_stream(br#"{"stream" : true}"#));
        assert!(!wants_stream(br#"{"stream": false}"#));
        assert!(!wants_stream(br#"{"model":"m"}"#));
    }
}
