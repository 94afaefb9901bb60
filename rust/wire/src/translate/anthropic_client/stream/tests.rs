use fault::Kind;
use proptest::prelude::*;

use super::super::super::{Progress, Stamp};
use super::{BROKEN_OFF, Memory, Stream};

const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
const HELLO: &str = r#"{"id":"chatcmpl-a1","choices":[{"index":0,"delta":{"content":"hello"}}]}"#;
const STOP: &str =
    r#"{"id":"chatcmpl-a1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;

fn stream() -> Stream {
    lenient(false)
}

fn lenient(lenient_end: bool) -> Stream {
    let memory = Memory {
        model: "client-model".to_owned(),
        lenient_end,
        ..Memory::default()
    };
    let request_id = "req_7";
    Stream::new(
        memory,
        Stamp {
            request_id,
            now_s: 0,
        },
    )
}

impl Stream {
    /// What is written when `data` comes.
    fn on(&mut self, data: &str) -> String {
        let mut out = Vec::new();
        self.frame(format!("data: {data}\n\n").as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn pinged(&mut self) -> String {
        let mut out = Vec::new();
        self.ping(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn closed(&mut self) -> String {
        let mut out = Vec::new();
        self.close(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn broken(&self) -> Option<String> {
        match self.progress() {
            Progress::Broken(refusal) => {
                assert_eq!(
                    (refusal.fault, refusal.kind),
                    (Kind::UpstreamError, "api_error")
                );
                Some(refusal.message)
            }
            _ => None,
        }
    }
}

#[test]
fn a_ping_before_the_first_event_begins_the_message() {
    let mut stream = stream();
    let first = stream.pinged();
    let (start, ping) = first.split_at(first.len() - PING.len());
    assert!(start.starts_with("event: message_start\n") && start.contains(r#""id":"msg_7""#));
    assert_eq!(ping, PING);
    assert_eq!(stream.pinged(), PING);

    // The message keeps the name that it was begun with, the upstream's id is told all the same.
    let thinking = r#"{"id":"chatcmpl-a1","choices":[{"delta":{"reasoning":"hm"}}]}"#;
    assert!(
        stream
            .on(thinking)
            .starts_with("event: content_block_start\n")
    );
    assert_eq!(stream.upstream_id(), Some("chatcmpl-a1"));
    stream.on(STOP);
    assert!(stream.on("[DONE]").contains(r#""signature":"gw1.7""#));
}

#[test]
fn progress_follows_the_stream() {
    let mut stream = stream();
    assert_eq!(stream.progress(), Progress::Open);
    stream.on(HELLO);
    assert_eq!(stream.progress(), Progress::Open);
    assert_eq!(stream.on(STOP), "");
    assert_eq!(stream.progress(), Progress::Finishing);
    assert!(
        stream
            .on(USAGE)
            .ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
    );
    assert_eq!(stream.progress(), Progress::Complete);
}

#[test]
fn nothing_is_written_after_an_end() {
    let mut complete = stream();
    for data in [HELLO, STOP, "[DONE]"] {
        complete.on(data);
    }
    let mut broken = stream();
    broken.on(HELLO);
    broken.on("[DONE]");
    assert_eq!(broken.broken().as_deref(), Some(BROKEN_OFF));
    for mut stream in [complete, broken] {
        let before = stream.progress();
        assert_eq!(
            [HELLO, "nonsense", USAGE, "[DONE]"]
                .map(|data| stream.on(data))
                .concat(),
            ""
        );
        assert_eq!(stream.pinged() + &stream.closed(), "");
        assert_eq!(stream.progress(), before);
    }
}

#[test]
fn silence_after_the_finish_is_an_end_and_before_it_none() {
    let mut finished = stream();
    finished.on(HELLO);
    finished.on(STOP);
    assert!(finished.closed().contains("message_stop"));
    assert_eq!(finished.progress(), Progress::Complete);

    let mut open = stream();
    open.on(HELLO);
    assert_eq!(open.closed(), "");
    assert_eq!(open.broken().as_deref(), Some(BROKEN_OFF));
}

#[test]
fn a_lenient_end_needs_something_that_ends() {
    for unheard in ["", ": comment", "data: {\"choices\":[]}"] {
        let mut stream = lenient(true);
        stream.pinged();
        stream.frame(format!("{unheard}\n\n").as_bytes(), &mut Vec::new());
        assert_eq!(stream.closed(), "", "{unheard}");
        assert_eq!(stream.broken().as_deref(), Some(BROKEN_OFF));
    }
    let mut stream = lenient(true);
    stream.on(HELLO);
    assert!(stream.closed().contains(r#""stop_reason":"end_turn""#));
    assert_eq!(stream.progress(), Progress::Complete);
}

#[test]
fn what_is_no_chunk_breaks_the_stream_and_is_not_passed_over() {
    for data in [
        "1",
        "[]",
        r#"[{"error":{"message":"no"}}]"#,
        "nonsense",
        r#"{"choices":3}"#,
        r#"{"choices":[3]}"#,
        r#"{"choices":[{"delta":"hello"}]}"#,
        r#"{"choices":[{"delta":{"content":["hello"]}}]}"#,
        r#"{"choices":[{"delta":{"content":"a","refusal":{}}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":{}}}]}"#,
    ] {
        let mut stream = stream();
        stream.on(data);
        assert_eq!(stream.broken().as_deref(), Some(BROKEN_OFF), "{data}");
    }
}

#[test]
fn what_says_nothing_changes_nothing() {
    for data in [
        "",
        "{}",
        r#"{"choices":null,"usage":null,"error":null}"#,
        r#"{"id":"x","object":"chat.completion.chunk","choices":[]}"#,
        r#"{"error":"","choices":[]}"#,
    ] {
        let mut stream = stream();
        assert_eq!(stream.on(data), "", "{data}");
        assert_eq!(
            (stream.progress(), stream.upstream_id()),
            (Progress::Open, None)
        );
    }
    let mut stream = stream();
    stream.on(HELLO);
    for data in [
        r#"{"choices":[{"delta":null}]}"#,
        r#"{"choices":[{"delta":{"content":null,"tool_calls":null,"reasoning":null}}]}"#,
        r#"{"choices":[{"delta":{"content":"","tool_calls":[{}]},"finish_reason":""}]}"#,
        r#"{"error":false,"choices":[{"index":1,"delta":{"content":"other"},"finish_reason":"stop"}]}"#,
    ] {
        assert_eq!(stream.on(data), "", "{data}");
        assert_eq!(stream.progress(), Progress::Open, "{data}");
    }
}

#[test]
fn many_calls_do_not_make_it_slow() {
    let entries: Vec<_> = (0..100_000)
        .map(|number| format!(r#"{{"index":{number},"id":"call_{number}"}}"#))
        .collect();
    let data = format!(
        r#"{{"choices":[{{"delta":{{"tool_calls":[{}]}}}}]}}"#,
        entries.join(",")
    );
    let mut stream = stream();
    let start = std::time::Instant::now();
    stream.on(&data);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    assert_eq!(stream.progress(), Progress::Open);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(frames in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let mut stream = stream();
        let mut out = Vec::new();
        for frame in frames {
            let frame = [b"data: ".as_slice(), &frame, b"\n\n"].concat();
            stream.frame(&frame, &mut out);
        }
        stream.close(&mut out);
        prop_assert!(matches!(stream.progress(), Progress::Complete | Progress::Broken(_)));
    }
}
