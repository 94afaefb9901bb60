use fault::Kind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::super::Stamp;
use super::{Memory, answer};
use crate::Refusal;

const STAMP: Stamp<'static> = Stamp {
    request_id: "req_7",
    now_s: 0,
};

fn translated(body: &Value) -> Result<Value, Refusal> {
    let answer = answer(&Memory::default(), body.to_string().as_bytes(), STAMP)?;
    Ok(serde_json::from_slice(&answer.body).unwrap())
}

/// The blocks of an answer that says `message` and ends with `finish`.
fn content(message: &Value, finish: &str) -> Value {
    let choice = json!({"message": message, "finish_reason": finish});
    translated(&json!({"choices": [choice]})).unwrap()["content"].clone()
}

#[test]
fn without_a_usable_id_the_request_names_the_message() {
    for id in [json!(null), json!(""), json!(7), json!("a\nb")] {
        let body = json!({"id": id, "choices": [{"message": {"reasoning": "hm"}}]});
        let answer = answer(&Memory::default(), body.to_string().as_bytes(), STAMP).unwrap();
        assert_eq!(answer.upstream_id, None);
        let message: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(message["id"], "msg_7");
        assert_eq!(message["content"][0]["signature"], "gw1.7");
    }
}

#[test]
fn thinking_that_differs_between_its_two_names_is_kept_whole() {
    let message = json!({"reasoning": "one", "reasoning_content": "two"});
    assert_eq!(content(&message, "stop")[0]["thinking"], "one\n\ntwo");
    let message = json!({"reasoning": "", "reasoning_content": "two"});
    assert_eq!(content(&message, "stop")[0]["thinking"], "two");
}

#[test]
fn an_answer_and_a_refusal_are_two_texts() {
    let message = json!({"content": "one", "refusal": "two"});
    let expected = json!([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]);
    assert_eq!(content(&message, "stop"), expected);
}

#[test]
fn a_call_without_arguments_is_half_a_call_only_where_the_answer_was_cut() {
    let call = json!({"id": "call_1", "function": {"name": "list", "arguments": ""}});
    let message = json!({"content": "Listing.", "tool_calls": [call]});
    assert_eq!(content(&message, "tool_calls").as_array().unwrap().len(), 2);
    assert_eq!(
        content(&message, "length"),
        json!([{"type": "text", "text": "Listing."}])
    );
}

#[test]
fn a_call_that_nobody_could_run_is_an_error_unless_it_says_nothing() {
    for (function, runs) in [
        (json!(null), true),
        (json!({"name": "", "arguments": ""}), true),
        (json!({"name": null, "arguments": "{}"}), false),
    ] {
        let message = json!({"tool_calls": [{"id": "call_1", "function": function}]});
        let body = json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]});
        let translated = translated(&body);
        assert_eq!(translated.is_ok(), runs, "{function}");
        if let Err(refusal) = translated {
            assert_eq!((refusal.status, refusal.fault), (502, Kind::UpstreamError));
        }
    }
}

#[test]
fn what_is_no_completion_is_an_error() {
    for body in [
        json!(1),
        json!([]),
        json!({}),
        json!({"choices": null}),
        json!({"choices": [{}]}),
        json!({"choices": [{"message": "hello"}]}),
        json!({"choices": [{"message": {"content": {"text": "hello"}}}]}),
        json!({"choices": [{"message": {"refusal": 3}}]}),
    ] {
        let refusal = translated(&body).unwrap_err();
        assert_eq!((refusal.status, refusal.kind), (502, "api_error"), "{body}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, text: String) {
        let _ = answer(&Memory::default(), &bytes, STAMP);
        let said = json!({"content": text, "reasoning": text, "refusal": text});
        let body = json!({"choices": [{"message": said, "finish_reason": text}]});
        prop_assert!(answer(&Memory::default(), body.to_string().as_bytes(), STAMP).is_ok()
            || ["abort", "error"].contains(&text.as_str()));
    }
}
