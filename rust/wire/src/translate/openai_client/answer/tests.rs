use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Memory, answer};
use crate::translate::Stamp;

const STAMP: Stamp<'static> = Stamp {
    request_id: "req_7",
    now_s: 9,
};

fn told(memory: &Memory, body: &str) -> Value {
    let answer = answer(memory, body.as_bytes(), STAMP).unwrap();
    serde_json::from_slice(&answer.body).unwrap()
}

fn choice(memory: &Memory, content: &str, stop_reason: &str) -> Value {
    let body = format!(r#"{{"content":{content},"stop_reason":{stop_reason}}}"#);
    told(memory, &body)["choices"][0].clone()
}

#[test]
fn every_stop_reason_has_its_word() {
    for (stop_reason, expected, with_forced_tool) in [
        (r#""end_turn""#, "stop", "stop"),
        (r#""stop_sequence""#, "stop", "stop"),
        (r#""pause_turn""#, "stop", "stop"),
        (r#""max_tokens""#, "length", "length"),
        (r#""model_context_window_exceeded""#, "length", "length"),
        (r#""tool_use""#, "tool_calls", "stop"),
        (r#""refusal""#, "content_filter", "content_filter"),
        (r#""of_tomorrow""#, "stop", "stop"),
        ("null", "stop", "stop"),
        ("{}", "stop", "stop"),
    ] {
        for (respond_tool, expected) in [(false, expected), (true, with_forced_tool)] {
            let memory = Memory {
                respond_tool,
                ..Memory::default()
            };
            assert_eq!(
                choice(&memory, "[]", stop_reason)["finish_reason"],
                expected
            );
        }
    }
}

#[test]
fn what_is_no_message_is_told_as_an_error() {
    for (body, status, message) in [
        (
            "",
            502,
            "upstream answered with something that is no message",
        ),
        (
            "<html>",
            502,
            "upstream answered with something that is no message",
        ),
        (
            "[]",
            502,
            "upstream answered with something that is no message",
        ),
        (
            "{}",
            502,
            "upstream answered with something that is no message",
        ),
        (
            r#"{"content":"hi"}"#,
            502,
            "upstream answered with something that is no message",
        ),
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
            503,
            "m",
        ),
        (r#"{"error":"m"}"#, 500, "m"),
    ] {
        let refusal = answer(&Memory::default(), body.as_bytes(), STAMP).unwrap_err();
        assert_eq!(
            (refusal.status, refusal.message.as_str()),
            (status, message),
            "{body}"
        );
    }
}

#[test]
fn odd_blocks_are_left_out_and_odd_members_made_good() {
    let content = r#"[null, "hi", {}, {"type":"text"}, {"type":"text","text":7}, {"type":"thinking","thinking":null},
        {"type":"text","text":"\ud83d!"}, {"type":"tool_use"}, {"type":"tool_use","id":"a_0","input":[ 1 ]}]"#;
    let memory = Memory {
        ids: vec![("a_0".to_owned(), "a:0".to_owned())],
        ..Memory::default()
    };
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "", "arguments": arguments}});
    let expected = json!({
        "role": "assistant", "content": "\u{fffd}!", "refusal": null,
        "tool_calls": [call("call_7_0", "{}"), call("a:0", "[1]")],
    });
    assert_eq!(choice(&memory, content, "null")["message"], expected);
}

#[test]
fn the_forced_tools_input_is_the_content_once() {
    let memory = Memory {
        respond_tool: true,
        ..Memory::default()
    };
    let content = r#"[{"type":"tool_use","id":"t","name":"other","input":{}},
        {"type":"tool_use","id":"t","name":"respond","input":{"a": "b\n"}},
        {"type":"tool_use","id":"t","name":"respond","input":{}}]"#;
    let message = choice(&memory, content, r#""tool_use""#)["message"].clone();
    let expected = json!({"role": "assistant", "content": "{\"a\":\"b\\n\"}", "refusal": null});
    assert_eq!(message, expected);
}

#[test]
fn ids_and_time_come_from_the_gateway_where_the_upstream_has_none() {
    let told = told(&Memory::default(), r#"{"id":"a b","content":[]}"#);
    assert_eq!(
        (&told["id"], &told["created"]),
        (&"chatcmpl-7".into(), &9.into())
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = answer(&Memory::default(), &body, STAMP);
    }
}
