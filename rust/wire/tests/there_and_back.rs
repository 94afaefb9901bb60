//! An Anthropic request that goes through Chat Completions and back means the same.

#![cfg(test)]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use wire::translate::{Kind, Order, Profile, Translated, request};
use wire::{Operation, peek};

const PNG: &str = "iVBORw0KGgo=";

fn text() -> impl Strategy<Value = String> {
    "[a-zé\u{1f600}\"\\\\<] ?[a-z0-9 \n]{0,12}"
}

/// What a tool takes and gets: odd enough to break if it were read and written again.
fn object() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<u64>().prop_map(Value::from),
        text().prop_map(Value::from),
        vec(any::<bool>(), 0..2).prop_map(Value::from),
    ];
    let name = select(vec!["z", "a", "cache_control", "type"]);
    vec((name, value), 0..3).prop_map(|members| {
        let members = members.into_iter();
        Value::Object(
            members
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    })
}

fn texts() -> impl Strategy<Value = Vec<Value>> {
    vec(
        text().prop_map(|text| json!({"type": "text", "text": text})),
        1..3,
    )
}

/// What a tool gave back: its content, and whether that is an error.
fn outcome() -> impl Strategy<Value = (Value, bool)> {
    let content = prop_oneof![
        Just(json!("")),
        text().prop_map(Value::from),
        texts().prop_map(Value::from),
    ];
    (content, prop::bool::weighted(0.2))
}

/// What the user says, what the assistant answers, and what its calls give: one round of a conversation.
#[derive(Debug, Clone)]
struct Round {
    user: Vec<Value>,
    image: bool,
    thinking: bool,
    said: Option<String>,
    calls: Vec<(usize, Value, (Value, bool))>,
}

fn round() -> impl Strategy<Value = Round> {
    let calls = vec((0..2_usize, object(), outcome()), 0..3);
    (
        texts(),
        any::<bool>(),
        any::<bool>(),
        option::of(text()),
        calls,
    )
        .prop_map(|(user, image, thinking, said, calls)| Round {
            user,
            image,
            thinking,
            said,
            calls,
        })
}

/// The request for a conversation that the user began and goes on with.
fn written(system: &[Value], rounds: &[Round], last: &[Value], more: &Value) -> Value {
    let mut messages = Vec::new();
    let mut results = Vec::new();
    let mut calls_so_far = 0;
    for round in rounds {
        let mut content = std::mem::take(&mut results);
        content.extend(round.user.iter().cloned());
        if round.image {
            let source = json!({"type": "base64", "media_type": "image/png", "data": PNG});
            content.push(json!({"type": "image", "source": source}));
        }
        messages.push(json!({"role": "user", "content": content}));
        let mut content = Vec::new();
        if round.thinking {
            content.push(json!({"type": "thinking", "thinking": "hm", "signature": "s"}));
        }
        content.extend(
            round
                .said
                .iter()
                .map(|text| json!({"type": "text", "text": text})),
        );
        for (tool, input, (given, is_error)) in &round.calls {
            let id = format!("toolu_{calls_so_far}");
            calls_so_far += 1;
            let name = format!("tool_{tool}");
            content.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
            results.push(json!({
                "type": "tool_result", "tool_use_id": id, "content": given, "is_error": is_error,
            }));
        }
        if round.said.is_none() && round.calls.is_empty() {
            content.push(json!({"type": "text", "text": "well"}));
        }
        messages.push(json!({"role": "assistant", "content": content}));
    }
    let content: Vec<_> = results.into_iter().chain(last.iter().cloned()).collect();
    messages.push(json!({"role": "user", "content": content}));
    let mut body = json!({"model": "client-model", "max_tokens": 1000, "messages": messages});
    if !system.is_empty() {
        body["system"] = json!(system);
    }
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// What else a request says, as it has to come back.
fn more() -> impl Strategy<Value = Value> {
    let choices = vec![
        Value::Null,
        json!({"type": "auto"}),
        json!({"type": "any"}),
        json!({"type": "none"}),
        json!({"type": "tool", "name": "tool_1"}),
        json!({"type": "auto", "disable_parallel_tool_use": true}),
        json!({"type": "tool", "name": "tool_0", "disable_parallel_tool_use": true}),
    ];
    let stops = vec(select(vec!["END", "\"stop\"", "\u{1f600}"]), 0..3);
    (object(), select(choices), stops, any::<bool>(), any::<bool>()).prop_map(
        |(properties, choice, stops, format, stream)| {
            let schema = json!({"type": "object", "properties": {"p": properties}, "required": []});
            let tool = |name: &str| json!({"name": name, "description": "does it", "input_schema": schema});
            let mut more = json!({
                "tools": [tool("tool_0"), tool("tool_1"), {"name": "plain", "input_schema": {"type": "object"}}],
                "temperature": 0.5,
            });
            if !choice.is_null() {
                more["tool_choice"] = choice;
            }
            if !stops.is_empty() {
                more["stop_sequences"] = json!(stops);
            }
            if format {
                more["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
            }
            if stream {
                more["stream"] = json!(true);
            }
            more
        },
    )
}

/// One thing that is said in a conversation; space and the borders of texts are not part of it.
#[derive(Debug, PartialEq)]
enum Item {
    Text(String),
    Image(Value),
    Call(Value, Value, Value),
    Result(Value, String),
}

fn push_text(items: &mut Vec<Item>, text: &str) {
    let plain: String = text.split_whitespace().collect();
    match items.last_mut() {
        Some(Item::Text(before)) => before.push_str(&plain),
        _ => items.push(Item::Text(plain)),
    }
}

fn plain(content: &Value) -> String {
    match content {
        Value::String(text) => text.split_whitespace().collect(),
        Value::Array(blocks) => blocks.iter().map(|block| plain(&block["text"])).collect(),
        _ => String::new(),
    }
}

fn items(blocks: &Value) -> Vec<Item> {
    let mut items = Vec::new();
    for block in blocks.as_array().unwrap() {
        let member = |name: &str| block[name].clone();
        match block["type"].as_str().unwrap() {
            "text" => push_text(&mut items, block["text"].as_str().unwrap()),
            "image" => items.push(Item::Image(member("source"))),
            "tool_use" => items.push(Item::Call(member("id"), member("name"), member("input"))),
            "tool_result" => {
                let mut text = plain(&block["content"]);
                if block["is_error"] == true && text.is_empty() {
                    text.push_str("Error:toolfailedwithoutoutput");
                } else if block["is_error"] == true && !text.starts_with("Error") {
                    text.insert_str(0, "Error:");
                }
                items.push(Item::Result(member("tool_use_id"), text));
            }
            // A client of Chat Completions has no signatures, so that thinking does not come back.
            "thinking" => {}
            other => panic!("a block of type {other}"),
        }
    }
    items
}

fn meaning(request: &Value) -> Vec<(Value, Vec<Item>)> {
    let system = request
        .get("system")
        .map(|system| (json!("system"), items(system)));
    let turns = request["messages"].as_array().unwrap().iter();
    let turns = turns.map(|turn| (turn["role"].clone(), items(&turn["content"])));
    system.into_iter().chain(turns).collect()
}

fn translated(operation: Operation, body: &[u8], kind: Kind) -> Vec<u8> {
    peek(body, operation).unwrap();
    let order = Order {
        operation,
        body,
        profile: &Profile::preset(kind),
        wire_model: "client-model",
    };
    match request(&order).unwrap() {
        Translated::Request(request) => request.body,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn a_request_means_the_same_after_going_there_and_back(
        system in prop_oneof![Just(Vec::new()), texts()],
        rounds in vec(round(), 0..4),
        last in texts(),
        more in more(),
        kind in select(vec![Kind::OpenAi, Kind::Vllm]),
    ) {
        let mut sent = written(&system, &rounds, &last, &more);
        if kind == Kind::Vllm {
            // A text in its place is all that a model without vision gets.
            for turn in sent["messages"].as_array_mut().unwrap() {
                turn["content"].as_array_mut().unwrap().retain(|block| block["type"] != "image");
            }
        }
        let there = translated(Operation::Messages, sent.to_string().as_bytes(), kind);
        let back = translated(Operation::ChatCompletions, &there, Kind::Anthropic);
        let back: Value = serde_json::from_slice(&back).unwrap();
        prop_assert_eq!(meaning(&back), meaning(&sent));
        for name in ["tools", "tool_choice", "max_tokens", "stop_sequences", "temperature", "output_config", "stream"] {
            prop_assert_eq!(back.get(name), sent.get(name), "{}", name);
        }
    }
}
