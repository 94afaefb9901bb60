//! What holds for every request, however odd.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::translate::{Kind, Memory, Order, Profile, Request, Thinking, Translated, request};
use crate::{Operation, peek};

fn translated(body: &[u8], profile: &Profile) -> Result<Request, fault::Fault> {
    let order = Order {
        operation: Operation::ChatCompletions,
        body,
        profile,
        wire_model: "upstream-model",
    };
    match request(&order)? {
        Translated::Request(request) => Ok(request),
        other => panic!("{other:?}"),
    }
}

/// A text that is blank, or else gets a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    Blank,
    Some,
    Reminder,
}

#[derive(Debug, Clone)]
enum Content {
    Null,
    String(Words),
    Parts(Vec<Words>),
}

#[derive(Debug, Clone)]
struct Message {
    role: &'static str,
    content: Content,
    refusal: bool,
    calls: Vec<(&'static str, &'static str)>,
    function: Option<&'static str>,
    id: &'static str,
}

const IDS: [&str; 6] = ["a", "b", "f:0", "f.0", "", "call_fn_1"];
const ARGUMENTS: [&str; 6] = ["{}", "", "[1]", r#"{"a":1}"#, r#""{\"a\":1}""#, "{"];

fn words() -> impl Strategy<Value = Words> {
    prop_oneof![
        1 => Just(Words::Blank),
        4 => Just(Words::Some),
        1 => Just(Words::Reminder),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let content = prop_oneof![
        1 => Just(Content::Null),
        3 => words().prop_map(Content::String),
        2 => vec(words(), 0..3).prop_map(Content::Parts),
    ];
    let roles = vec![
        "system",
        "developer",
        "user",
        "user",
        "assistant",
        "assistant",
        "assistant",
        "tool",
        "tool",
        "tool",
        "function",
    ];
    let calls = vec((select(&IDS[..]), select(&ARGUMENTS[..])), 0..3);
    let function = option::weighted(0.1, select(vec!["f", "g"]));
    (
        select(roles),
        content,
        prop::bool::weighted(0.1),
        calls,
        function,
        select(&IDS[..]),
    )
        .prop_map(|(role, content, refusal, calls, function, id)| Message {
            role,
            content,
            refusal,
            calls,
            function,
            id,
        })
}

/// A conversation as a client sends it; every text holds its number between two marks, `@` in a system message, else `#`.
#[derive(Debug, Default)]
struct Written {
    texts: usize,
}

impl Written {
    fn text(&mut self, words: Words, mark: char) -> String {
        if words == Words::Blank {
            return " \n".to_owned();
        }
        self.texts += 1;
        let number = format!("{mark}{}{mark}", self.texts);
        match words {
            Words::Reminder => format!("<system-reminder>{number}</system-reminder>"),
            _ => number + " ",
        }
    }

    fn message(&mut self, message: &Message) -> Value {
        let mark = match message.role {
            "system" | "developer" => '@',
            _ => '#',
        };
        let content = match &message.content {
            // A system or user message has to have one.
            Content::Null if matches!(message.role, "system" | "developer" | "user") => json!([]),
            Content::Null => Value::Null,
            Content::String(words) => json!(self.text(*words, mark)),
            Content::Parts(parts) => parts
                .iter()
                .map(|words| json!({"type": "text", "text": self.text(*words, mark)}))
                .collect(),
        };
        let mut written = json!({"role": message.role, "content": content});
        match message.role {
            "assistant" => {
                if message.refusal {
                    written["refusal"] = json!(self.text(Words::Some, mark));
                }
                if let Some(name) = message.function {
                    written["function_call"] = json!({"name": name, "arguments": "{}"});
                }
                let calls = message.calls.iter().map(|(id, arguments)| {
                    let function = json!({"name": "f", "arguments": arguments});
                    json!({"id": id, "type": "function", "function": function})
                });
                written["tool_calls"] = calls.collect();
            }
            "tool" => written["tool_call_id"] = json!(message.id),
            "function" => written["name"] = json!(message.function.unwrap_or("f")),
            _ => {}
        }
        written
    }
}

/// The numbers in the texts of a request, in order.
#[derive(Debug, Default)]
struct Numbers {
    /// Of users and the assistant, and of results that answer no call.
    said: Vec<usize>,
    /// Of results beside their call.
    of_results: Vec<usize>,
    /// Of system messages, wherever they are.
    of_systems: Vec<usize>,
}

impl Numbers {
    fn read(&mut self, blocks: &Value, in_result: bool) {
        for block in blocks.as_array().unwrap() {
            if block["type"] == "tool_result" && block.get("content").is_some() {
                self.read(&block["content"], true);
            }
            let Some(text) = block["text"].as_str() else {
                continue;
            };
            assert!(!text.trim().is_empty());
            let own = if in_result {
                &mut self.of_results
            } else {
                &mut self.said
            };
            for (mark, numbers) in [('#', own), ('@', &mut self.of_systems)] {
                let words = text.split(mark).skip(1).step_by(2);
                numbers.extend(words.map(|number| number.parse::<usize>().unwrap()));
            }
        }
    }

    /// All numbers in ascending order, if each kind of them is so already.
    fn sorted(self) -> Option<Vec<usize>> {
        let kinds = [self.said, self.of_results, self.of_systems];
        let in_order = kinds.iter().all(|kind| kind.is_sorted());
        let mut all = kinds.concat();
        all.sort_unstable();
        in_order.then_some(all)
    }
}

fn ids(turn: &Value, kind: &str, member: &str) -> Vec<String> {
    let blocks = turn["content"].as_array().unwrap().iter();
    blocks
        .filter(|block| block["type"] == kind)
        .map(|block| block[member].as_str().unwrap().to_owned())
        .collect()
}

/// What Anthropic asks of a conversation.
fn check_turns(turns: &[Value]) {
    let role = |turn: &Value| turn["role"].as_str().unwrap().to_owned();
    let mut expected = "user";
    for (at, turn) in turns.iter().enumerate() {
        assert_ne!(turn["content"], json!([]));
        let next = turns.get(at + 1);
        if role(turn) == "system" {
            assert_eq!(role(&turns[at - 1]), "user");
            assert!(next.is_none_or(|next| role(next) == "assistant"));
            continue;
        }
        assert_eq!(role(turn), expected);
        expected = if expected == "user" {
            "assistant"
        } else {
            "user"
        };
        let calls = ids(turn, "tool_use", "id");
        if let Some(next) = next {
            let mut results = ids(next, "tool_result", "tool_use_id");
            let first = next["content"]
                .as_array()
                .unwrap()
                .iter()
                .take(results.len());
            for block in first {
                assert_eq!(block["type"], "tool_result", "results come first");
            }
            let mut calls = calls.clone();
            calls.sort();
            results.sort();
            assert_eq!(calls, results);
        }
        if at == 0 {
            assert_eq!(
                ids(turn, "tool_result", "tool_use_id"),
                Vec::<String>::new()
            );
        }
        for block in turn["content"].as_array().unwrap() {
            if block["type"] == "tool_use" {
                assert!(block["input"].is_object());
            }
        }
    }
    let all: Vec<_> = turns
        .iter()
        .flat_map(|turn| ids(turn, "tool_use", "id"))
        .collect();
    let plain = |id: &String| {
        !id.is_empty()
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    assert!(all.iter().all(plain), "{all:?}");
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![
            "text",
            "user",
            "assistant",
            "tool",
            "function",
            "auto",
            "none",
            "required",
            "json_schema",
            "json_object",
            "allowed_tools",
            "image_url",
            "file",
            "data:image/png;base64,AA==",
            "high",
            "f",
            "{}",
            "\u{1f600}",
            "",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = select(vec![
            "type",
            "role",
            "content",
            "text",
            "function",
            "name",
            "arguments",
            "parameters",
            "id",
            "tool_calls",
            "tool_call_id",
            "function_call",
            "image_url",
            "url",
            "file",
            "file_data",
            "json_schema",
            "schema",
            "allowed_tools",
            "mode",
            "tools",
            "include_usage",
            "refusal",
        ]);
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((name, inner), 0..5).prop_map(|members| {
                let members = members.into_iter();
                Value::Object(
                    members
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

const MEMBERS: [&str; 33] = [
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "response_format",
    "max_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "temperature",
    "top_p",
    "stop",
    "stream_options",
    "user",
    "safety_identifier",
    "service_tier",
    "n",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "modalities",
    "audio",
    "seed",
    "store",
    "verbosity",
    "frequency_penalty",
    "presence_penalty",
    "prediction",
    "metadata",
    "prompt_cache_key",
    "stream",
    "x",
    "\u{1f600}",
];

fn profile() -> impl Strategy<Value = Profile> {
    let thinking = select(vec![Thinking::Adaptive, Thinking::Budget, Thinking::None]);
    (vec(any::<bool>(), 8), thinking).prop_map(|(flags, thinking)| {
        let mut profile = Profile::preset(Kind::Anthropic);
        profile.thinking = thinking;
        for (flag, value) in [
            &mut profile.mid_system,
            &mut profile.vision,
            &mut profile.documents,
            &mut profile.sampling,
            &mut profile.structured_output,
            &mut profile.thinking_off,
            &mut profile.effort,
            &mut profile.strict_tools,
        ]
        .into_iter()
        .zip(flags)
        {
            *flag = value;
        }
        profile
    })
}

proptest! {
    #[test]
    fn every_conversation_becomes_one_that_anthropic_takes(
        messages in vec(message(), 0..12),
        mid_system: bool,
    ) {
        let mut written = Written::default();
        let messages: Value = messages.iter().map(|message| written.message(message)).collect();
        let body = json!({"model": "client-model", "messages": messages}).to_string();
        peek(body.as_bytes(), Operation::ChatCompletions).unwrap();
        let mut profile = Profile::preset(Kind::Anthropic);
        profile.mid_system = mid_system;
        let request = match translated(body.as_bytes(), &profile) {
            Ok(request) => request,
            Err(fault) => {
                // Nobody said or called anything.
                prop_assert!(fault.message.ends_with("must hold a user message that is not empty"), "{}", fault);
                return Ok(());
            }
        };
        let sent: Value = serde_json::from_slice(&request.body).unwrap();
        let turns = sent["messages"].as_array().unwrap();
        check_turns(turns);
        prop_assert!(mid_system || turns.iter().all(|turn| turn["role"] != "system"));

        let mut numbers = Numbers::default();
        if let Some(system) = sent.get("system") {
            numbers.read(system, false);
        }
        for turn in turns {
            numbers.read(&turn["content"], false);
        }
        let told = format!("{numbers:?}");
        prop_assert_eq!(numbers.sorted(), Some((1..=written.texts).collect()), "{}", told);

        let Memory::OpenAiClient(memory) = request.memory else { panic!("another room's memory") };
        for (sent, client) in memory.ids {
            prop_assert!(IDS.contains(&&*client) && sent != client);
        }
    }

    #[test]
    fn any_members_are_refused_or_give_a_request(
        messages in vec(any_json(), 0..3),
        members in vec((select(&MEMBERS[..]), any_json()), 0..6),
        greet: bool,
        profile in profile(),
    ) {
        let mut messages = messages;
        if greet {
            messages = vec![json!({"role": "user", "content": "hello"})];
        }
        let mut body = json!({"model": "client-model", "messages": messages});
        for (name, value) in members {
            body[name] = value;
        }
        let body = body.to_string();
        match translated(body.as_bytes(), &profile) {
            Ok(request) => {
                let sent: Value = serde_json::from_slice(&request.body).unwrap();
                prop_assert_eq!(&sent["model"], "upstream-model");
                prop_assert!(sent["max_tokens"].as_u64().unwrap() > 0);
                check_turns(sent["messages"].as_array().unwrap());
            }
            Err(fault) => {
                prop_assert_eq!(fault.kind, fault::Kind::InvalidRequest);
                prop_assert!(fault.param.is_some(), "{}", fault);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(body: Vec<u8>) {
        let _ = translated(&body, &Profile::preset(Kind::Anthropic));
    }
}

#[test]
fn a_flood_takes_time_by_its_length() {
    let calls = |count: usize| {
        let call = r#"{"id":"x","type":"function","function":{"name":"f","arguments":"{}"}}"#;
        let result = r#"{"role":"tool","tool_call_id":"x","content":"y"}"#;
        let [calls, results] = [call, result].map(|text| vec![text; count].join(","));
        format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"z"}},{{"role":"assistant","tool_calls":[{calls}]}},{results}]}}"#
        )
    };
    let systems = |count: usize| {
        let turns = vec![r#"{"role":"user","content":"z"},{"role":"system","content":"s"}"#; count];
        format!(r#"{{"model":"m","messages":[{}]}}"#, turns.join(","))
    };
    let profile = Profile::preset(Kind::Anthropic);
    for body in [calls(100_000), systems(100_000)] {
        assert!(translated(body.as_bytes(), &profile).is_ok());
    }
}
