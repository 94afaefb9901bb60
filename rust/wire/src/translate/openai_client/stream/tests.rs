use super::{Memory, Stream};
use crate::translate::{Progress, Stamp};

const STAMP: Stamp<'static> = Stamp {
    request_id: "req_7",
    now_s: 0,
};

fn memory() -> Memory {
    Memory {
        model: "m".to_owned(),
        ..Memory::default()
    }
}

/// What is written for `events`, each a pair of type and further members.
fn written(stream: &mut Stream, events: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    for (kind, members) in events {
        let frame = format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{members}}}\n\n");
        stream.frame(frame.as_bytes(), &mut out);
    }
    String::from_utf8(out).unwrap()
}

/// The deltas of the chunks in `written`, and what else there is.
fn deltas(written: &str) -> Vec<&str> {
    let frames = written.split_terminator("\n\n");
    frames
        .map(|frame| match frame.split_once("\"delta\":") {
            Some((_, delta)) => delta
                .strip_suffix(",\"finish_reason\":null}]}")
                .unwrap_or(delta),
            None => frame,
        })
        .collect()
}

const ROLE: &str = r#"{"role":"assistant","content":""}"#;
const START: (&str, &str) = ("message_start", r#","message":{"id":"msg_1"}"#);
const STOP: (&str, &str) = ("message_delta", r#","delta":{"stop_reason":"end_turn"}"#);
const END: (&str, &str) = ("message_stop", "");
const FINISH: [&str; 2] = [r#"{},"finish_reason":"stop"}]}"#, "data: [DONE]"];

fn begin(kind: &str) -> (&str, &str) {
    ("content_block_start", kind)
}

fn delta(members: &str) -> (&str, &str) {
    ("content_block_delta", members)
}

#[test]
fn progress_follows_the_stream_and_nothing_comes_after_its_end() {
    let mut stream = Stream::new(memory(), STAMP);
    assert_eq!(stream.progress(), Progress::Open);
    written(&mut stream, &[START]);
    assert_eq!(
        (stream.progress(), stream.upstream_id()),
        (Progress::Open, Some("msg_1"))
    );
    written(
        &mut stream,
        &[("message_delta", r#","delta":{"stop_reason":null}"#)],
    );
    assert_eq!(stream.progress(), Progress::Open);
    assert_eq!(written(&mut stream, &[STOP]), "");
    assert_eq!(stream.progress(), Progress::Finishing);
    assert_eq!(deltas(&written(&mut stream, &[END])), FINISH);
    assert_eq!(stream.progress(), Progress::Complete);
    assert_eq!(
        written(
            &mut stream,
            &[START, STOP, END, ("error", ""), ("ping", "")]
        ),
        ""
    );
    assert_eq!(stream.progress(), Progress::Complete);
}

#[test]
fn a_ping_is_a_comment_even_before_the_first_event() {
    let mut stream = Stream::new(memory(), STAMP);
    let mut out = Vec::new();
    stream.ping(&mut out);
    assert_eq!(out, b": ping\n\n");
    assert_eq!(deltas(&written(&mut stream, &[START])), [ROLE]);
}

#[test]
fn a_start_that_is_missing_is_made_up_once() {
    let mut stream = Stream::new(memory(), STAMP);
    let text = delta(r#","index":0,"delta":{"type":"text_delta","text":"a"}"#);
    let got = written(&mut stream, &[text, START, START, STOP, END]);
    assert_eq!(
        deltas(&got),
        [ROLE, r#"{"content":"a"}"#, FINISH[0], FINISH[1]]
    );
    assert_eq!(got.matches(r#"{"id":"chatcmpl-7","#).count(), 3);
}

#[test]
fn an_id_that_is_none_is_replaced() {
    for id in [
        r#""""#,
        r#""a b""#,
        "1",
        &format!("\"{}\"", "x".repeat(200)),
    ] {
        let mut stream = Stream::new(memory(), STAMP);
        let members = format!(",\"message\":{{\"id\":{id}}}");
        let got = written(&mut stream, &[("message_start", &members)]);
        assert!(got.starts_with(r#"data: {"id":"chatcmpl-7","#), "{got}");
        assert_eq!(stream.upstream_id(), None);
    }
}

#[test]
fn an_id_keeps_what_is_its_own() {
    for id in ["msg_1", "chatcmpl-1", "1"] {
        let mut stream = Stream::new(memory(), STAMP);
        let members = format!(",\"message\":{{\"id\":\"{id}\"}}");
        let got = written(&mut stream, &[("message_start", &members)]);
        assert!(got.starts_with(r#"data: {"id":"chatcmpl-1","#), "{got}");
        assert_eq!(stream.upstream_id(), Some(id));
    }
}

#[test]
fn blocks_may_run_side_by_side() {
    let tool = |index: u32| {
        format!(
            r#","index":{index},"content_block":{{"type":"tool_use","id":"t{index}","name":"n","input":{{}}}}"#
        )
    };
    let piece = |index: u32, text: &str| {
        format!(r#","index":{index},"delta":{{"type":"input_json_delta","partial_json":"{text}"}}"#)
    };
    let (one, other) = (tool(4), tool(2));
    let pieces = [piece(4, "{"), piece(2, "[]"), piece(4, "}")];
    let mut stream = Stream::new(memory(), STAMP);
    let mut events = vec![START, begin(&one), begin(&other)];
    events.extend(pieces.iter().map(|piece| delta(piece)));
    let got = written(&mut stream, &events);
    let call = |index: u32, text: &str| {
        format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":"{text}"}}}}]}}"#)
    };
    assert_eq!(
        deltas(&got)[3..],
        [call(0, "{"), call(1, "[]"), call(0, "}")]
    );
}

#[test]
fn a_block_that_never_ended_still_has_arguments() {
    let tool = r#","content_block":{"type":"tool_use","id":"t","name":"n","input":{"a": 1}}"#;
    let arguments = |index: u32| {
        format!(
            r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":"{{\"a\":1}}"}}}}]}}"#
        )
    };
    let mut stream = Stream::new(memory(), STAMP);
    // Without an index the second takes the place of the first.
    let got = written(&mut stream, &[START, begin(tool), begin(tool), STOP, END]);
    let got = deltas(&got);
    assert_eq!((got[2], got[4]), (&*arguments(0), &*arguments(1)));
    assert_eq!(got[5..], FINISH);
}

#[test]
fn a_delta_of_another_kind_than_its_block_is_left_out() {
    let mut stream = Stream::new(memory(), STAMP);
    let got = written(
        &mut stream,
        &[
            START,
            begin(
                r#","index":0,"content_block":{"type":"tool_use","id":"t","name":"n","text":"x"}"#,
            ),
            delta(r#","index":0,"delta":{"type":"text_delta","text":"x"}"#),
            begin(r#","index":1,"content_block":{"type":"text","partial_json":"x","text":7}"#),
            delta(r#","index":1,"delta":{"type":"input_json_delta","partial_json":"x"}"#),
            delta(r#","index":1,"delta":{"type":"text_delta","text":["x"]}"#),
            delta(r#","index":1,"delta":"x""#),
            delta(r#","index":9,"delta":{"type":"input_json_delta","partial_json":"x"}"#),
            ("content_block_stop", r#","index":8"#),
        ],
    );
    assert_eq!(deltas(&got).len(), 2, "{got}");
}

#[test]
fn a_call_without_id_gets_one_of_its_own_and_a_changed_id_is_undone() {
    let ids = vec![("a_0".to_owned(), "a:0".to_owned())];
    let mut stream = Stream::new(Memory { ids, ..memory() }, STAMP);
    let tools = [
        "",
        r#""id":null,"#,
        r#""id":"","#,
        r#""id":"a_0","#,
        r#""id":"b","#,
    ]
    .map(|id| format!(r#","content_block":{{{id}"type":"tool_use","name":"n"}}"#));
    let events: Vec<_> = tools.iter().map(|tool| begin(tool)).collect();
    let got = written(&mut stream, &events);
    for id in ["call_7_0", "call_7_1", "call_7_2", "a:0", "b"] {
        let start =
            format!(r#""id":"{id}","type":"function","function":{{"name":"n","arguments":""}}"#);
        assert_eq!(got.matches(&start).count(), 1, "{id}: {got}");
    }
}

#[test]
fn half_a_character_becomes_a_replacement_and_other_escapes_stay() {
    let mut stream = Stream::new(memory(), STAMP);
    let got = written(
        &mut stream,
        &[
            delta(r#","delta":{"text":"\ud83d"}"#),
            delta(r#","delta":{"text":"\uDE00!"}"#),
            delta(r#","delta":{"text":"\ud83d\ude00"}"#),
            delta(r#","delta":{"text":"\u00e9\/\n\\ud83d"}"#),
        ],
    );
    let expected = [
        ROLE,
        "{\"content\":\"\u{fffd}\"}",
        "{\"content\":\"\u{fffd}!\"}",
        "{\"content\":\"😀\"}",
        r#"{"content":"é/\n\\ud83d"}"#,
    ];
    assert_eq!(deltas(&got), expected);
}

#[test]
fn only_the_forced_tool_answers_and_only_once() {
    let memory = Memory {
        respond_tool: true,
        ..memory()
    };
    let mut stream = Stream::new(memory, STAMP);
    let got = written(
        &mut stream,
        &[
            START,
            begin(
                r#","content_block":{"type":"tool_use","id":"t","name":"other","input":{"a":1}}"#,
            ),
            begin(
                r#","content_block":{"type":"tool_use","id":"t","name":"respond","input":{"a": "b"}}"#,
            ),
            begin(r#","content_block":{"type":"tool_use","id":"t","name":"respond","input":{}}"#),
            ("message_delta", r#","delta":{"stop_reason":"tool_use"}"#),
            END,
        ],
    );
    let content = r#"{"content":"{\"a\":\"b\"}"}"#;
    assert_eq!(deltas(&got), [ROLE, content, FINISH[0], FINISH[1]]);
}

#[test]
fn an_error_is_one_by_its_type_its_name_or_its_member() {
    for frame in [
        "data: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\"}}\n\n",
        "event: error\ndata: {\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\"}}\n\n",
        "data: {\"error\":{\"type\":\"RateLimitError\",\"code\":429,\"message\":\"m\"}}\n\n",
    ] {
        let mut stream = Stream::new(memory(), STAMP);
        let mut out = Vec::new();
        stream.frame(frame.as_bytes(), &mut out);
        let Progress::Broken(refusal) = stream.progress() else {
            panic!("{frame}");
        };
        assert_eq!((refusal.status, refusal.kind), (429, "rate_limit_error"));
        assert!(out.is_empty());
    }
}

#[test]
fn an_error_after_the_stop_reason_still_breaks_the_stream() {
    let mut stream = Stream::new(memory(), STAMP);
    written(
        &mut stream,
        &[START, STOP, ("error", r#","error":{"type":"api_error"}"#)],
    );
    assert!(matches!(stream.progress(), Progress::Broken(_)));
}
