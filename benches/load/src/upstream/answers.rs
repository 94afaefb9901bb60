//! The bytes of every answer: one JSON document, or a stream that differs from the next only by its stamps.

use std::sync::LazyLock;

use load::script::Script;
use load::stamp;

/// The wire format that a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `/v1/messages`
    Anthropic,
    /// `/v1/chat/completions`
    OpenAi,
}

impl Dialect {
    /// The dialect that is served at `path`, if there is one.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        match path.split('?').next()? {
            "/v1/messages" => Some(Self::Anthropic),
            "/v1/chat/completions" => Some(Self::OpenAi),
            _ => None,
        }
    }
}

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";

/// A stream ready to be sent: each element is one write.
pub(crate) struct StreamAnswer {
    /// The head with the first frame, and the frames before the first delta.
    pub(crate) opening: Vec<Vec<u8>>,
    /// The frame that is repeated.
    pub(crate) delta: Vec<u8>,
    /// Where its stamp begins.
    pub(crate) stamp_at: usize,
    /// The frames after the last delta, and the end of the body.
    pub(crate) closing: Vec<Vec<u8>>,
}

/// The stream that `script` asks for.
pub(crate) fn stream(dialect: Dialect, script: &Script) -> StreamAnswer {
    let (opening, delta, closing) = match dialect {
        Dialect::Anthropic => anthropic_frames(script),
        Dialect::OpenAi => openai_frames(script),
    };
    let mut opening: Vec<_> = opening.iter().map(|frame| chunk(frame)).collect();
    if let Some(first) = opening.first_mut() {
        first.splice(..0, STREAM_HEAD.bytes());
    }
    let mut closing: Vec<_> = closing.iter().map(|frame| chunk(frame)).collect();
    if let Some(last) = closing.last_mut() {
        last.extend_from_slice(b"0\r\n\r\n");
    }
    let delta = chunk(&delta);
    let stamp_at = stamp::position(&delta).unwrap_or_default();
    StreamAnswer {
        opening,
        delta,
        stamp_at,
        closing,
    }
}

type Frames = (Vec<String>, String, Vec<String>);

fn anthropic_frames(script: &Script) -> Frames {
    let text = stamped_text(script.text_bytes);
    let frame = |event: &str, rest: &str| {
        format!("event: {event}\ndata: {{\"type\":\"{event}\"{rest}}}\n\n")
    };
    let opening = vec![
        frame(
            "message_start",
            r#","message":{"id":"msg_bench","type":"message","role":"assistant","model":"bench","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1000,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}"#,
        ),
        frame(
            "content_block_start",
            r#","index":0,"content_block":{"type":"text","text":""}"#,
        ),
        frame("ping", ""),
    ];
    let delta = frame(
        "content_block_delta",
        &format!(r#","index":0,"delta":{{"type":"text_delta","text":"{text}"}}"#),
    );
    let usage = format!(
        r#","delta":{{"stop_reason":"end_turn","stop_sequence":null}},"usage":{{"output_tokens":{}}}"#,
        script.events
    );
    let closing = vec![
        frame("content_block_stop", r#","index":0"#),
        frame("message_delta", &usage),
        frame("message_stop", ""),
    ];
    (opening, delta, closing)
}

fn openai_frames(script: &Script) -> Frames {
    let text = stamped_text(script.text_bytes);
    let frame = |rest: &str| {
        format!(
            r#"data: {{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench",{rest}}}"#
        ) + "\n\n"
    };
    let choice = |delta: &str, finish_reason: &str| {
        frame(&format!(
            r#""choices":[{{"index":0,"delta":{delta},"finish_reason":{finish_reason}}}]"#
        ))
    };
    let opening = vec![choice(r#"{"role":"assistant","content":""}"#, "null")];
    let delta = choice(&format!(r#"{{"content":"{text}"}}"#), "null");
    let usage = format!(
        r#""choices":[],"usage":{{"prompt_tokens":1000,"completion_tokens":{0},"total_tokens":{1}}}"#,
        script.events,
        script.events.saturating_add(1000)
    );
    let closing = vec![
        choice("{}", r#""stop""#),
        frame(&usage),
        "data: [DONE]\n\n".to_owned(),
    ];
    (opening, delta, closing)
}

/// One JSON answer of about 1 kB, head included.
pub(crate) fn document(dialect: Dialect) -> &'static [u8] {
    match dialect {
        Dialect::Anthropic => &ANTHROPIC_DOCUMENT,
        Dialect::OpenAi => &OPENAI_DOCUMENT,
    }
}

static ANTHROPIC_DOCUMENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = prose();
    json(
        "200 OK",
        &format!(
            r#"{{"id":"msg_bench","type":"message","role":"assistant","model":"bench","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":1000,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":180}}}}"#
        ),
    )
});

static OPENAI_DOCUMENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = prose();
    json(
        "200 OK",
        &format!(
            r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1000,"completion_tokens":180,"total_tokens":1180}}}}"#
        ),
    )
});

fn prose() -> String {
    "All of this was written by a script. ".repeat(20)
}

/// A JSON answer with this status and body.
pub(crate) fn json(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn stamped_text(text_bytes: usize) -> String {
    let filler = " word".bytes().cycle().map(char::from);
    stamp::blank()
        + &filler
            .take(text_bytes.saturating_sub(stamp::LENGTH_BYTES))
            .collect::<String>()
}

fn chunk(frame: &str) -> Vec<u8> {
    format!("{:x}\r\n{frame}\r\n", frame.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use load::message::{Body, response_head};

    use super::*;

    fn whole(answer: &StreamAnswer, events: u64) -> Vec<u8> {
        let mut bytes = answer.opening.concat();
        (0..events).for_each(|_| bytes.extend_from_slice(&answer.delta));
        bytes.extend(answer.closing.concat());
        bytes
    }

    fn content(bytes: &[u8]) -> String {
        let head = response_head(bytes).unwrap().unwrap();
        let (mut body, mut content) = (Body::new(head.framing), Vec::new());
        let used = body
            .feed(&bytes[head.length_bytes..], &mut content)
            .unwrap();
        assert!(body.is_done());
        assert_eq!(used + head.length_bytes, bytes.len());
        String::from_utf8(content).unwrap()
    }

    #[test]
    fn every_frame_of_a_stream_is_json_and_every_delta_is_stamped() {
        for dialect in [Dialect::Anthropic, Dialect::OpenAi] {
            let script = Script {
                events: 3,
                pause_us: 0,
                text_bytes: 60,
            };
            let text = content(&whole(&stream(dialect, &script), script.events));
            let data: Vec<_> = text
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .collect();
            let stamped = data
                .iter()
                .filter(|data| stamp::read(data.as_bytes()).is_some())
                .count();
            assert_eq!(stamped, 3);
            for data in data.iter().filter(|data| **data != "[DONE]") {
                serde_json::from_str::<serde_json::Value>(data).unwrap();
            }
        }
    }

    #[test]
    fn the_document_is_json_of_about_a_kilobyte() {
        for dialect in [Dialect::Anthropic, Dialect::OpenAi] {
            let text = content(document(dialect));
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(value["usage"].is_object());
            assert!((900..1200).contains(&text.len()), "{} bytes", text.len());
        }
    }

    #[test]
    fn text_is_never_shorter_than_its_stamp() {
        assert_eq!(stamped_text(0).len(), stamp::LENGTH_BYTES);
        assert_eq!(stamped_text(120).len(), 120);
    }
}
