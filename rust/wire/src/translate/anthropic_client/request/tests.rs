use fault::{Fault, Kind as FaultKind};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::super::{Kind, Memory, Order, Profile, Translated};
use super::request;
use crate::Operation::{self, CountTokens, Messages};

const HELLO: &str = r#"[{"role":"user","content":"hello"}]"#;

/// The translation of a request with `members` beside a model and a message.
fn translate(profile: &Profile, operation: Operation, members: &str) -> Result<Translated, Fault> {
    let body = format!(r#"{{"model":"client-model","messages":{HELLO},{members}}}"#);
    crate::peek(body.as_bytes(), operation)?;
    request(&order(profile, operation, &body))
}

fn order<'a>(profile: &'a Profile, operation: Operation, body: &'a str) -> Order<'a> {
    Order {
        operation,
        body: body.as_bytes(),
        profile,
        wire_model: "upstream-model",
    }
}

/// What is sent for `members` beside a model, a message and a limit, and what is left out.
pub(in super::super) fn sent(profile: &Profile, members: &str) -> (Value, Vec<String>) {
    let members = format!(r#""max_tokens":1000,{members}"#);
    match translate(profile, Messages, &members) {
        Ok(Translated::Request(request)) => {
            let dropped = request.dropped.names().map(ToOwned::to_owned).collect();
            (serde_json::from_slice(&request.body).unwrap(), dropped)
        }
        other => panic!("{members}: {other:?}"),
    }
}

/// Why a request with `members` beside a model, a message and a limit is refused, and the member.
pub(in super::super) fn refused(profile: &Profile, members: &str) -> (String, &'static str) {
    let members = format!(r#""max_tokens":1000,{members}"#);
    let fault = translate(profile, Messages, &members).expect_err(&members);
    assert_eq!(fault.kind, FaultKind::InvalidRequest);
    (fault.message, fault.param.unwrap())
}

#[test]
fn the_way_back_knows_what_it_needs() {
    let mut profile = Profile::preset(Kind::Vllm);
    profile.lenient_end = true;
    let members = r#""max_tokens":1,"stop_sequences":["a","\ud800\n"],"tools":[{"name":"a.b"}]"#;
    let Ok(Translated::Request(request)) = translate(&profile, Messages, members) else {
        panic!("refused");
    };
    let Memory::AnthropicClient(memory) = request.memory else {
        panic!("{:?}", request.memory);
    };
    assert_eq!(memory.model, "client-model");
    assert_eq!(memory.stop_sequences, ["a", "\u{fffd}\n"]);
    assert!(memory.lenient_end);
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let sent = body["tools"][0]["function"]["name"].as_str().unwrap();
    assert_ne!(sent, "a.b");
    assert_eq!(memory.names.original(sent), "a.b");
}

#[test]
fn counting_needs_no_limit_and_takes_no_notice_of_how_to_generate() {
    let profile = Profile::preset(Kind::Vllm);
    let members = r#""stop_sequences":7,"temperature":"hot","output_config":{"format":1}"#;
    let Ok(Translated::Count(body)) = translate(&profile, CountTokens, members) else {
        panic!("refused");
    };
    let off = r#"{"enable_thinking":false}"#;
    let expected =
        format!(r#"{{"model":"upstream-model","messages":{HELLO},"chat_template_kwargs":{off}}}"#);
    assert_eq!(String::from_utf8(body).unwrap(), expected);
}

#[test]
fn a_request_for_nothing_is_refused_like_any_other() {
    let profile = Profile::preset(Kind::OpenAi);
    for members in [
        r#""max_tokens":0,"tools":{}"#,
        r#""max_tokens":0,"stop_sequences":["a","b","c","d","e"]"#,
    ] {
        assert!(translate(&profile, Messages, members).is_err(), "{members}");
    }
}

/// JSON text of any shape, with what other readers stumble over.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        "-?[1-9][0-9]{0,30}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just(r#""\ud800 \n""#.to_owned()),
        word().prop_map(|word| format!("\"{word}\"")),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let member = (prop_oneof![word(), any::<String>()], inner.clone())
            .prop_map(|(name, value)| format!("{}: {value}", Value::from(name)));
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(|all| format!("[{}]", all.join(" , "))),
            prop::collection::vec(member, 0..6).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    })
}

/// The words that mean something somewhere in a request.
fn word() -> impl Strategy<Value = String> {
    const WORDS: &str = "system tools tool_choice stop_sequences temperature top_p top_k thinking \
        output_config output_format metadata service_tier mcp_servers container \
        chat_template_kwargs min_p repetition_penalty cache_salt priority context_management \
        type name description input_schema strict cache_control defer_loading custom \
        web_search_20250305 auto any tool none disable_parallel_tool_use enabled adaptive disabled \
        between_tools budget_tokens effort format schema json_schema low max user_id \
        standard_only enable_thinking read files.read object properties required \
        additionalProperties anyOf items";
    let words: Vec<_> = WORDS.split_whitespace().map(ToOwned::to_owned).collect();
    prop::sample::select(words)
}

/// What a client could mean by a member, so that what lies behind the first checks is reached.
fn meant() -> impl Strategy<Value = String> {
    let tool = prop_oneof![
        (word(), json()).prop_map(|(name, schema)| {
            format!(r#"{{"name":"{name}","input_schema":{{"properties":{schema}}},"strict":true}}"#)
        }),
        word().prop_map(|kind| format!(r#"{{"type":"{kind}","name":"{kind}"}}"#)),
    ];
    let choice = prop::sample::select(vec!["auto", "any", "tool", "none"]);
    let thinking = prop::sample::select(vec!["enabled", "adaptive", "disabled", "else"]);
    let effort = prop::sample::select(vec!["low", "max", "else"]);
    prop_oneof![
        prop::collection::vec(tool, 1..4).prop_map(|all| format!(r#""tools":[{}]"#, all.join(","))),
        (choice, word()).prop_map(|(kind, name)| {
            format!(r#""tool_choice":{{"type":"{kind}","name":"{name}","x":1}}"#)
        }),
        (thinking, any::<u32>()).prop_map(|(kind, budget_tokens)| {
            format!(r#""thinking":{{"type":"{kind}","budget_tokens":{budget_tokens}}}"#)
        }),
        (effort, json()).prop_map(|(word, schema)| {
            let format = format!(r#"{{"type":"json_schema","schema":{{"x":{schema}}}}}"#);
            format!(r#""output_config":{{"effort":"{word}","format":{format}}}"#)
        }),
        json().prop_map(|user_id| format!(r#""metadata":{{"user_id":{}}}"#, Value::from(user_id))),
        json().prop_map(|value| format!(r#""chat_template_kwargs":{{"a":{value}}}"#)),
        prop::collection::vec(any::<String>(), 0..5)
            .prop_map(|stops| format!(r#""stop_sequences":{}"#, Value::from(stops))),
        any::<i64>().prop_map(|number| format!(r#""top_k":{number},"temperature":{number}.0"#)),
    ]
}

fn profile() -> impl Strategy<Value = Profile> {
    let presets = [Kind::Vllm, Kind::OpenAi].map(Profile::preset).to_vec();
    let flags = any::<[bool; 4]>();
    (prop::sample::select(presets), flags).prop_map(|(mut profile, flags)| {
        [
            profile.strict_tools,
            profile.sampling,
            profile.effort_none,
            profile.send_user,
        ] = flags;
        profile
    })
}

#[derive(Deserialize)]
struct Sent<'a> {
    model: &'a str,
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
}

proptest! {
    #[test]
    fn whatever_is_asked_what_is_sent_is_json_for_the_upstreams_model(
        members in prop::collection::vec(
            prop_oneof![
                1 => (word(), json()).prop_map(|(name, value)| format!("\"{name}\":{value}")),
                4 => meant(),
            ],
            0..8,
        ),
        max_tokens in prop_oneof![1 => json(), 9 => Just("1".to_owned())],
        profile in profile(),
        counting in any::<bool>(),
    ) {
        let members = members.join(",");
        let comma = if members.is_empty() { "" } else { "," };
        let required = format!(r#""model":"m","max_tokens":{max_tokens},"messages":{HELLO}"#);
        let body = format!("{{{members}{comma}{required}}}");
        let operation = if counting { CountTokens } else { Messages };
        let body = match request(&order(&profile, operation, &body)) {
            Ok(Translated::Request(request)) => request.body,
            Ok(Translated::Count(body)) => body,
            Ok(Translated::Answer(_)) => return Ok(()),
            Err(fault) => {
                prop_assert_eq!(fault.kind, FaultKind::InvalidRequest);
                prop_assert!(fault.param.is_some());
                return Ok(());
            }
        };
        // Numbers beyond a float's range are JSON, too.
        let sent: Sent<'_> = serde_json::from_slice(&body)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(sent.model, "upstream-model");
        prop_assert_eq!(sent.messages.last().unwrap().get(), &HELLO[1..HELLO.len() - 1]);
        prop_assert!(sent.tool_choice.is_none() || sent.tools.is_some());
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            json().prop_map(String::into_bytes),
        ],
        profile in profile(),
    ) {
        for operation in [Messages, CountTokens] {
            let body = bytes.as_slice();
            let order = Order { operation, body, profile: &profile, wire_model: "upstream-model" };
            let _ = request(&order);
        }
    }
}
