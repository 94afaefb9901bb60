//! Chunks as any other server might send them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

/// A member that is often not there and sometimes not what it should be.
fn member(values: Vec<Value>) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        40 => Just(None),
        40 => select(values).prop_map(Some),
        1 => select(vec![json!(null), json!(3), json!([]), json!({}), json!("")]).prop_map(Some),
    ]
}

fn with(members: Vec<(&'static str, Option<Value>)>) -> Value {
    let members = members.into_iter();
    members
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

fn texts(texts: &[&str]) -> Vec<Value> {
    texts.iter().copied().map(Value::from).collect()
}

fn entry() -> impl Strategy<Value = Value> {
    let fragments = [
        "{",
        "}",
        "{}",
        "{\"a\":",
        "1",
        "\"b",
        "\"",
        "\\",
        "[",
        "]",
        " ",
        "x",
        "\"{}\"",
        "{\"a\":1}",
        "",
        "\n",
    ];
    let index = member(vec![json!(0), json!(0), json!(1), json!(2)]);
    let id = member(texts(&["call_1", "call_2", "a:b", "a_b"]));
    let name = member(texts(&["one", "two", "with \"quotes\""]));
    let arguments = member(texts(&fragments));
    (index, id, name, arguments).prop_map(|(index, id, name, arguments)| {
        let function = with(vec![("name", name), ("arguments", arguments)]);
        with(vec![
            ("index", index),
            ("id", id),
            ("function", Some(function)),
        ])
    })
}

fn odd_chunk() -> impl Strategy<Value = Value> {
    let said = || member(texts(&["hello", "\n", " ", "a\u{1f600}", "\u{2028}"]));
    let calls =
        prop_oneof![2 => Just(None), 3 => vec(entry(), 0..3).prop_map(|list| Some(json!(list)))];
    let refusal = prop_oneof![30 => Just(None), 1 => member(texts(&["no"]))];
    let delta = (said(), said(), said(), refusal, calls);
    let delta = delta.prop_map(|(content, reasoning, other, refusal, calls)| {
        with(vec![
            ("content", content),
            ("reasoning", reasoning),
            ("reasoning_content", other),
            ("refusal", refusal),
            ("tool_calls", calls),
        ])
    });
    let finish = prop_oneof![
        40 => Just(json!(null)),
        1 => select(texts(&["stop", "length", "content_filter", "tool_calls", "error", ""])),
    ];
    let usage = json!({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}});
    let usage = member(vec![
        usage,
        json!({"prompt_tokens": -1, "completion_tokens": "x"}),
    ]);
    let id = member(texts(&["chatcmpl-a", "b:c", "\n"]));
    (delta, finish, 0..8, usage, id).prop_map(|(delta, finish, index, usage, id)| {
        let choice = json!({"index": index / 7, "delta": delta, "finish_reason": finish});
        with(vec![
            ("id", id),
            ("choices", Some(json!([choice]))),
            ("usage", usage),
        ])
    })
}

fn odd_event() -> impl Strategy<Value = Vec<u8>> {
    let others = [
        "{\"choices\":[]}",
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":7}}",
        "{\"error\":{\"message\":\"no\",\"code\":429}}",
        "{\"object\":\"error\",\"message\":\"no\"}",
        "[DONE]",
        "{\"choices\":[{\"delta\":{\"content\":\"\\ud83d\"}}]}",
        "",
        "null",
    ];
    let data = |data: &str| format!("data: {data}\n\n").into_bytes();
    prop_oneof![
        30 => odd_chunk().prop_map(move |chunk| data(&chunk.to_string())),
        3 => select(others.to_vec()).prop_map(data),
        1 => (odd_chunk(), any::<Index>(), any::<u8>()).prop_map(move |(chunk, at, byte)| {
            let mut bytes = data(&chunk.to_string());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
        1 => any::<Vec<u8>>(),
    ]
}

/// Events of which some make sense, and often a finish.
pub fn odd_events() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let finish = select(vec!["stop", "length", "tool_calls", "content_filter"]);
    let finish = finish.prop_map(|reason| {
        let choice = json!({"index": 0, "delta": {}, "finish_reason": reason});
        format!("data: {}\n\n", json!({"choices": [choice]})).into_bytes()
    });
    let finish = prop_oneof![1 => Just(Vec::new()), 3 => finish];
    (vec(odd_event(), 0..12), finish).prop_map(|(mut events, finish)| {
        events.push(finish);
        events
    })
}
