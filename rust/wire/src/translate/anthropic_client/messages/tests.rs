//! What the golden transcripts show badly: hostile shapes, and what holds for every conversation.

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::Names;
use super::{Context, Messages, messages};
use crate::translate::{Dropped, InlineSystem, Kind, Profile};

mod soup;

fn raw(json: &str) -> Option<&RawValue> {
    serde_json::from_str(json).unwrap()
}

fn translated(profile: &Profile, system: &str, list: &str) -> Result<(Messages, Dropped), String> {
    let mut names = Names::default();
    let mut dropped = Dropped::default();
    let mut context = Context {
        profile,
        names: &mut names,
        dropped: &mut dropped,
    };
    match messages(raw(system), raw(list), &mut context) {
        Ok(messages) => Ok((messages, dropped)),
        Err(fault) => {
            assert_eq!(fault.kind, fault::Kind::InvalidRequest);
            let param = fault.param.unwrap();
            let place = format!("`{param}");
            assert!(fault.message.starts_with(&place), "{}", fault.message);
            Err(fault.message)
        }
    }
}

fn vllm() -> Profile {
    let mut profile = Profile::preset(Kind::Vllm);
    profile.vision = true;
    profile
}

/// The messages that vLLM gets.
fn sent(list: &Value) -> Value {
    let (messages, _) = translated(&vllm(), "null", &list.to_string()).unwrap();
    serde_json::from_slice(&messages.json).unwrap()
}

fn refused(kind: Kind, list: &Value) -> String {
    translated(&Profile::preset(kind), "null", &list.to_string()).unwrap_err()
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn assistant(content: impl Into<Value>) -> Value {
    json!({"role": "assistant", "content": content.into()})
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {}})
}

fn result(id: &str, text: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": text})
}

/// Who speaks, and what: enough to see the order.
fn outline(messages: &Value) -> Vec<String> {
    let line = |message: &Value| {
        let role = message["role"].as_str().unwrap();
        let id = message["tool_call_id"].as_str().unwrap_or_default();
        let mut line = format!("{role}{id}: {}", soup::contents(message));
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            line.push_str(" +");
            line.push_str(call["id"].as_str().unwrap());
        }
        line
    };
    messages.as_array().unwrap().iter().map(line).collect()
}

#[test]
fn a_refusal_names_the_place() {
    let not_here = |kind: &str| {
        format!("is \"{kind}\", which is not supported here for this model; leave the block out")
    };
    let text = "must be a string";
    let object = "must be an object";
    let content = "must be a string or a list of blocks";
    let file = "is a file id, which only means something at Anthropic; send the data itself";
    let role = "must be user, assistant or system";
    let ids = "calls two tools by the id \"a\"; make ids unique";
    for (turn, place, problem) in [
        (json!(["user", "hi"]), "", object),
        (json!({"role": 1}), ".role", text),
        (json!({"role": "developer", "content": "b"}), ".role", role),
        (user(1), ".content", content),
        (json!({"role": "user"}), ".content", content),
        (assistant(json!([call("a"), call("a")])), "", ids),
    ] {
        let message = format!("`messages.1{place}` {problem}");
        assert_eq!(refused(Kind::Vllm, &json!([user("a"), turn])), message);
    }
    let nested = json!({"type": "content", "content": [{"type": "document"}]});
    let in_result = json!([{"type": "text", "text": "a"}, ""]);
    for (block, place, problem) in [
        (json!("text"), "", object),
        (json!({"type": "text"}), ".text", text),
        (json!({"type": "thinking"}), ".type", &*not_here("thinking")),
        (json!({"type": "tool_use"}), ".type", &not_here("tool_use")),
        (json!({"type": "image"}), ".source", "must be an object"),
        (
            json!({"type": "image", "source": {"type": "file"}}),
            ".source",
            file,
        ),
        (
            json!({"type": "image", "source": {"type": "base64", "data": ""}}),
            ".source.media_type",
            text,
        ),
        (
            json!({"type": "document", "source": nested}),
            ".source.content.0.type",
            &not_here("document"),
        ),
        (
            json!({"type": "tool_result", "tool_use_id": "a", "content": in_result}),
            ".content.1",
            object,
        ),
        (
            json!({"type": "tool_result", "tool_use_id": "a", "is_error": "no"}),
            ".is_error",
            "must be true or false",
        ),
    ] {
        let list = json!([
            user("a"),
            user(json!([{"type": "text", "text": ""}, block]))
        ]);
        let message = format!("`messages.1.content.1{place}` {problem}");
        assert_eq!(refused(Kind::Vllm, &list), message);
    }
    let list = json!([user("a"), {"role": "system", "content": [{"type": "image"}]}]);
    let message = format!("`messages.1.content.0.type` {}", not_here("image"));
    assert_eq!(refused(Kind::Vllm, &list), message);
    let message = "`messages` must hold at least one message";
    assert_eq!(refused(Kind::Vllm, &json!([])), message);
}

#[test]
fn a_mistake_in_the_system_prompt_is_one_of_system() {
    for (system, message) in [
        ("1", "`system` must be a string or a list of blocks"),
        (
            r#"[{"type":"text","text":"a"},{"type":"text"}]"#,
            "`system.1.text` must be a string",
        ),
    ] {
        let got = translated(&vllm(), system, r#"[{"role":"user","content":"a"}]"#);
        assert_eq!(got.unwrap_err(), message);
    }
}

#[test]
fn a_member_given_twice_is_refused() {
    let list = r#"[{"role":"user","content":"a","role":"assistant"}]"#;
    let message = "`messages.0` must be an object that names no member twice";
    assert_eq!(translated(&vllm(), "null", list).unwrap_err(), message);
}

#[test]
fn names_written_with_escapes_are_names_and_lone_surrogates_are_replaced() {
    let list =
        r#"[{"rol\u0065":"us\u0065r","content":[{"type":"text","text":"a\ud83db","\ud83d":1}]}]"#;
    assert!(
        translated(&vllm(), "null", list).is_err(),
        "the name of a member is no text"
    );
    let list = r#"[{"rol\u0065":"us\u0065r","content":[{"type":"text","text":"a\ud83db"}]}]"#;
    let (messages, _) = translated(&vllm(), "null", list).unwrap();
    let expected = "[{\"role\":\"user\",\"content\":\"a\u{fffd}b\"}]";
    assert_eq!(String::from_utf8(messages.json).unwrap(), expected);
}

#[test]
fn big_numbers_and_the_order_of_members_survive_in_a_call() {
    let list = r#"[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f",
        "input": { "z": 12345678901234567890, "a": 1.50, "cache_control": {"x": "y z"} }}]}]"#;
    let (messages, _) = translated(&vllm(), "null", list).unwrap();
    let json: Value = serde_json::from_slice(&messages.json).unwrap();
    assert_eq!(
        json[0]["tool_calls"][0]["function"]["arguments"],
        r#"{"z":12345678901234567890,"a":1.50,"cache_control":{"x":"y z"}}"#
    );
}

#[test]
fn results_find_their_calls_across_turns() {
    let list = json!([
        user("go"),
        assistant(json!([{"type": "text", "text": "one"}, call("a")])),
        assistant(json!([call("b"), call("c")])),
        user(json!([result("b", "rb"), {"type": "text", "text": "x"}])),
        user(json!([result("a", "ra"), result("a", "again")])),
        assistant("done"),
        user(json!([result("c", "late")])),
    ]);
    let expected = [
        "user: go",
        "assistant: one +a",
        "toola: ra",
        "assistant:  +b +c",
        "toolb: rb",
        "toolc: Error: no result was recorded",
        "user: x",
        "user: [result of unknown tool call a] again",
        "assistant: done",
        "user: [result of unknown tool call c] late",
    ];
    assert_eq!(outline(&sent(&list)), expected);
}

#[test]
fn an_id_may_come_again_in_a_later_turn() {
    let turn = [
        assistant(json!([call("call_0")])),
        user(json!([result("call_0", "r")])),
    ];
    let list: Vec<_> = turn.iter().chain(&turn).cloned().collect();
    let expected = ["assistant:  +call_0", "toolcall_0: r"];
    assert_eq!(outline(&sent(&list.into())), expected.repeat(2));
}

#[test]
fn an_empty_turn_of_the_user_stays_and_one_of_the_assistant_goes() {
    let empty = json!([{"type": "text", "text": ""}]);
    let list = json!([user(empty.clone()), assistant(empty), user("")]);
    assert_eq!(outline(&sent(&list)), ["user: ", "user: "]);
}

#[test]
fn only_an_assistants_own_words_are_continued() {
    let thinking = json!([{"type": "thinking", "thinking": "t"}]);
    for (last, prefill) in [
        (assistant("The"), true),
        (
            assistant(json!([{"type": "text", "text": "The"}, call("a")])),
            false,
        ),
        (assistant(thinking), false),
        (assistant(""), false),
        (user("b"), false),
    ] {
        let list = json!([user("a"), last]).to_string();
        let (messages, _) = translated(&vllm(), "null", &list).unwrap();
        assert_eq!(messages.prefill, prefill, "{list}");
    }
}

#[test]
fn another_upstream_is_not_asked_to_continue() {
    let message =
        "`messages.1` is the assistant's, which this upstream cannot continue; end with a user's";
    for last in [assistant("The"), assistant(json!([call("a")]))] {
        assert_eq!(refused(Kind::OpenAi, &json!([user("a"), last])), message);
    }
    let list = json!([
        user("a"),
        assistant(json!([{"type": "thinking", "thinking": "t"}]))
    ]);
    let openai = Profile::preset(Kind::OpenAi);
    let (messages, dropped) = translated(&openai, "null", &list.to_string()).unwrap();
    assert_eq!(messages.json, br#"[{"role":"user","content":"a"}]"#);
    assert_eq!(dropped.header().unwrap(), "thinking");
}

#[test]
fn what_is_left_out_is_noted_by_its_name() {
    let list = json!([
        user(json!([
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        ])),
        assistant(json!([
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "a", "citations": [{}], "cache_control": {}},
        ])),
        user("b"),
    ]);
    let preset = Profile::preset(Kind::Vllm);
    let (_, dropped) = translated(&preset, "null", &list.to_string()).unwrap();
    assert_eq!(
        dropped.header().unwrap(),
        "image, document, redacted_thinking, citations"
    );
}

#[test]
fn a_reminder_waits_for_the_results_of_every_call() {
    let system = |text: &str| json!({"role": "system", "content": text});
    let list = json!([
        user("go"),
        assistant(json!([call("a")])),
        system("S"),
        assistant(json!([call("b")])),
        user(json!([result("a", "ra")])),
        system("T"),
        user(json!([result("b", "rb")])),
    ]);
    let reminder = |text: &str| format!("<system-reminder>\n{text}\n</system-reminder>");
    let expected = [
        "user: go".to_owned(),
        "assistant:  +a".to_owned(),
        format!("toola: ra\n\n{}\n\n{}", reminder("S"), reminder("T")),
        "assistant:  +b".to_owned(),
        "toolb: rb".to_owned(),
    ];
    assert_eq!(outline(&sent(&list)), expected);
}

#[test]
fn a_system_message_may_carry_no_text() {
    let effort = json!({"role": "system", "content": [], "output_config": {"effort": "low"}});
    let bare = json!({"role": "system", "output_config": {"effort": "low"}});
    let list = json!([effort, user("a"), effort, assistant("b"), bare, user("c")]);
    assert_eq!(
        outline(&sent(&list)),
        ["user: a", "assistant: b", "user: c"]
    );
}

#[test]
fn tools_that_come_and_go_are_told() {
    let change =
        |kind: &str| json!({"type": kind, "tool": {"type": "tool_reference", "name": "f"}});
    let list = json!([
        {"role": "system", "content": [change("tool_addition"), change("tool_removal")]},
        user("a"),
    ]);
    let expected = ["system: [tool loaded: f]\n\n[tool removed: f]", "user: a"];
    assert_eq!(outline(&sent(&list)), expected);
}

#[test]
fn nothing_costs_more_than_its_length() {
    let mut list = Vec::new();
    for turn in 0..20_000 {
        let id = format!("call_{turn}");
        list.push(assistant(json!([call(&id)])));
        list.push(json!({"role": "system", "content": "s"}));
    }
    list.push(user(
        (0..20_000)
            .map(|turn| result(&format!("call_{turn}"), "r"))
            .collect::<Vec<_>>(),
    ));
    list.extend((0..20_000).map(|_| json!({"role": "system", "content": "s"})));
    let start = std::time::Instant::now();
    assert_eq!(sent(&list.into()).as_array().unwrap().len(), 40_000);
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn deep_nesting_costs_no_stack() {
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    for content in [
        deep.clone(),
        format!(r#"[{{"type":"web_search_tool_result","content":{deep}}}]"#),
        format!(r#"[{{"type":"tool_use","id":"a","name":"f","input":{{"a":{deep}}}}}]"#),
    ] {
        let list = format!(r#"[{{"role":"assistant","content":{content}}}]"#);
        let _ = translated(&vllm(), "null", &list);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let words = [
        "role",
        "content",
        "type",
        "text",
        "user",
        "assistant",
        "system",
        "tool_use",
        "tool_result",
        "tool_use_id",
        "id",
        "name",
        "input",
        "image",
        "document",
        "source",
        "base64",
        "url",
        "data",
        "media_type",
        "thinking",
        "is_error",
        "web_search_tool_result",
        "server_tool_use",
        "title",
    ];
    let word = proptest::sample::select(words.to_vec());
    let leaf = prop_oneof![
        word.clone().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(word.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_it_panic(list in any_json(), system in any_json()) {
        for kind in [Kind::Vllm, Kind::OpenAi] {
            let profile = Profile::preset(kind);
            let translated = translated(&profile, &system.to_string(), &list.to_string());
            if let Ok((messages, _)) = translated {
                let messages: Value = serde_json::from_slice(&messages.json).unwrap();
                soup::every_call_is_answered(&messages);
            }
        }
    }

    #[test]
    fn calls_are_answered_and_no_text_is_lost(soup in soup::soup(), preserve: bool) {
        let mut profile = vllm();
        if preserve {
            profile.inline_system = InlineSystem::Preserve;
        }
        let (list, texts) = soup::written(&soup);
        if let Ok((messages, _)) = translated(&profile, "null", &list.to_string()) {
            let messages: Value = serde_json::from_slice(&messages.json).unwrap();
            soup::every_call_is_answered(&messages);
            soup::every_text_survives(&messages, &texts);
            soup::texts_keep_their_order(&messages, &texts, soup::has_awaiting_turns(&soup));
        }
    }

    #[test]
    fn what_a_model_has_answered_is_never_changed(soup in soup::soup()) {
        let (list, _) = soup::written(&soup);
        let Ok((whole, _)) = translated(&vllm(), "null", &list.to_string()) else { return Ok(()) };
        let whole: Vec<Value> = serde_json::from_slice(&whole.json).unwrap();
        for asked in soup::asked(&soup) {
            let earlier = Value::from(list.as_array().unwrap()[..asked].to_vec());
            let (earlier, _) = translated(&vllm(), "null", &earlier.to_string()).unwrap();
            let earlier: Vec<Value> = serde_json::from_slice(&earlier.json).unwrap();
            prop_assert!(whole.starts_with(&earlier), "{earlier:#?} does not begin {whole:#?}");
        }
    }
}
