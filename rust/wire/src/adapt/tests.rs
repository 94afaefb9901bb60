use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{adapt, betas};
use crate::translate::{Kind, Profile};
use crate::{Operation, peek};

fn profile(json: &Value) -> Profile {
    serde_json::from_value(json.clone()).unwrap()
}

fn anthropic() -> Profile {
    Profile::preset(Kind::Anthropic)
}

fn adapted(body: &str, profile: &Profile, downgraded: bool) -> (String, String) {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let peek = peek(&body, Operation::Messages).unwrap();
    let adapted = adapt(&body, &peek, "small", profile, downgraded, None);
    let dropped = adapted.dropped.header().unwrap_or_default();
    (String::from_utf8(adapted.pieces.concat()).unwrap(), dropped)
}

/// What becomes of members of a request to `small` beside its messages, and what is told of them.
fn members(members: &str, profile_json: &Value) -> (String, String) {
    let body = |members: &str| format!(r#"{{{members}"model":"small","messages":[]}}"#);
    let (text, dropped) = adapted(&body(members), &profile(profile_json), true);
    let rest = body("");
    let kept = text
        .strip_suffix(&rest[1..])
        .unwrap()
        .strip_prefix('{')
        .unwrap();
    (kept.to_owned(), dropped)
}

/// What becomes of messages, and of what stands around them.
fn messages(messages: &str, profile_json: &Value) -> (String, String) {
    let body = format!(r#"{{"model":"small","messages":[{messages}]}}"#);
    let (text, dropped) = adapted(&body, &profile(profile_json), true);
    let kept = text
        .strip_prefix(r#"{"model":"small","messages":["#)
        .unwrap();
    (kept.strip_suffix('}').unwrap().to_owned(), dropped)
}

#[test]
fn with_nothing_to_do_the_body_is_the_clients_own() {
    let body = Bytes::from_static(
        br#" {"model" : "s\u006dall", "thinking": {"type": "adaptive"}, "temperature": 1.0e0,
            "messages": [ {"role":"system","content":"\ud800"} ] , "speed":null } "#,
    );
    let peek = peek(&body, Operation::Messages).unwrap();
    for (downgraded, kind) in [
        (false, Kind::Anthropic),
        (true, Kind::Vllm),
        (false, Kind::Vllm),
    ] {
        let adapted = adapt(
            &body,
            &peek,
            "small",
            &Profile::preset(kind),
            downgraded,
            None,
        );
        assert_eq!(adapted.pieces.len(), 1);
        assert_eq!(adapted.pieces[0].as_ptr(), body.as_ptr());
        assert_eq!(adapted.pieces[0].len(), body.len());
        assert_eq!(adapted.dropped.header(), None);
    }
}

#[test]
fn long_stretches_are_shared_and_short_ones_copied() {
    let long = "x".repeat(10_000);
    let body = format!(
        r#"{{"model":"large","system":"{long}","temperature":0.5,"top_p":1,"messages":[{{"a":"{long}"}}]}}"#
    );
    let body = Bytes::from(body);
    let peek = peek(&body, Operation::Messages).unwrap();
    let profile = profile(&json!({"kind": "anthropic", "sampling": false}));
    let adapted = adapt(&body, &peek, "small", &profile, true, None);
    let pieces: Vec<_> = adapted
        .pieces
        .iter()
        .map(|piece| std::str::from_utf8(piece).unwrap())
        .collect();
    let expected = [
        r#"{"model":"small""#,
        &format!(r#","system":"{long}""#),
        &format!(r#","messages":[{{"a":"{long}"}}]}}"#),
    ];
    assert_eq!(pieces, expected);
    assert_eq!(pieces[1].as_ptr(), body[16..].as_ptr());
}

#[test]
fn names_the_model_as_splice_does() {
    let body = r#"{"messages":[{"model":"large"}],"model":"large","temperature":1}"#;
    let expected = r#"{"messages":[{"model":"large"}],"model":"small","temperature":1}"#;
    assert_eq!(adapted(body, &anthropic(), false).0, expected);
    assert_eq!(adapted(body, &anthropic(), true).0, expected);
}

const SIGNED_HERE: &str = r#"{"model":"small","messages":[
    {"role":"user","content":"\"gw1. in words"},
    {"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"gw1.1"} , {"type":"text","text":"b"}]},
    {"role":"user","content":[{"type":"thinking","signature":"gw1.user"}]},
    {"role":"assistant","content":[{"type":"thinking","signature":"EqQB"},{"type":"thinking","signature":"gw1.2"}]},
    {"role":"assistant","content":[{"type":"thinking","signature":"gw1.3"},{"type":"thinking","signature":"gw1.4"}]},
    {"role":"assistant","content":[{"type":"redacted_thinking","data":"gw1.x"}, {"type":"text","signature":"gw1.5"}]},
    {"role":"assistant","content":[]}]}"#;

#[test]
fn takes_out_thinking_that_only_this_gateway_has_signed() {
    let expected = r#"{"model":"small","messages":[
    {"role":"user","content":"\"gw1. in words"},
    {"role":"assistant","content":[{"type":"text","text":"b"}]},
    {"role":"user","content":[{"type":"thinking","signature":"gw1.user"}]},
    {"role":"assistant","content":[{"type":"thinking","signature":"EqQB"}]},
    {"role":"assistant","content":[{"type":"redacted_thinking","data":"gw1.x"}, {"type":"text","signature":"gw1.5"}]},
    {"role":"assistant","content":[]}]}"#;
    for downgraded in [false, true] {
        let (text, dropped) = adapted(SIGNED_HERE, &anthropic(), downgraded);
        assert_eq!(
            (text.as_str(), dropped.as_str()),
            (expected, "messages.thinking")
        );
    }
    let vllm = Profile::preset(Kind::Vllm);
    assert_eq!(adapted(SIGNED_HERE, &vllm, false).0, SIGNED_HERE);
}

#[test]
fn fits_thinking_to_the_model() {
    let adaptive = r#""max_tokens":64000,"thinking": {"type":"adaptive","display":"omitted"},"#;
    let budget = json!({"kind": "anthropic", "thinking": "budget"});
    let none = json!({"kind": "anthropic", "thinking": "none"});
    for (given, profile, expected, told) in [
        (
            adaptive,
            &budget,
            r#""max_tokens":64000,"thinking": {"type":"enabled","budget_tokens":8192},"#,
            "",
        ),
        (
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"xhigh"},"#,
            &budget,
            r#""thinking":{"type":"enabled","budget_tokens":24576},"output_config":{"effort":"xhigh"},"#,
            "",
        ),
        (
            r#""max_tokens":5001,"thinking":{"type":"adaptive"},"#,
            &budget,
            r#""max_tokens":5001,"thinking":{"type":"enabled","budget_tokens":2500},"#,
            "",
        ),
        (
            r#""max_tokens":2047,"thinking":{"type":"adaptive"},"#,
            &budget,
            r#""max_tokens":2047,"#,
            "thinking",
        ),
        (
            r#""thinking":{"type":"adaptive"},"tool_choice":{"type":"any"},"#,
            &budget,
            r#""tool_choice":{"type":"any"},"#,
            "thinking",
        ),
        (
            r#""max_tokens":100,"thinking":{"type":"enabled","budget_tokens":200},"#,
            &budget,
            r#""max_tokens":100,"thinking":{"type":"enabled","budget_tokens":200},"#,
            "",
        ),
        (adaptive, &none, r#""max_tokens":64000,"#, "thinking"),
        (
            r#""thinking":{"type":"disabled"},"#,
            &json!({"kind": "anthropic", "thinking_off": false}),
            "",
            "thinking",
        ),
        (
            r#""thinking":{"type":"disabled"},"#,
            &budget,
            r#""thinking":{"type":"disabled"},"#,
            "",
        ),
        (
            r#""thinking":{"type":"enabled","budget_tokens":2000},"#,
            &json!({"kind": "anthropic"}),
            r#""thinking":{"type":"adaptive"},"#,
            "thinking.budget_tokens",
        ),
        (r#""thinking":null,"#, &none, r#""thinking":null,"#, ""),
    ] {
        let (kept, dropped) = members(given, profile);
        assert_eq!(
            (kept.as_str(), dropped.as_str()),
            (expected, told),
            "{given}"
        );
    }
}

#[test]
fn lowers_the_limit_and_with_it_the_budget() {
    let profile = json!({"kind": "anthropic", "thinking": "budget", "max_output_tokens": 8192});
    let expected = r#""thinking":{"type":"enabled","budget_tokens":4096},"max_tokens":8192,"#;
    for given in [
        r#""thinking":{"type":"enabled","budget_tokens":20000},"max_tokens":32000,"#,
        r#""thinking":{"type":"enabled","budget_tokens":8192},"max_tokens":8193,"#,
    ] {
        let told = (expected.to_owned(), "max_tokens>8192".to_owned());
        assert_eq!(members(given, &profile), told);
    }
    for untouched in [
        r#""max_tokens":8192,"#,
        r#""max_tokens":8192,"thinking":{"type":"enabled","budget_tokens":8000},"#,
    ] {
        assert_eq!(
            members(untouched, &profile),
            (untouched.to_owned(), String::new())
        );
    }
    let given = r#""thinking":{"type":"enabled","budget_tokens":8191},"max_tokens":8193,"#;
    let expected = r#""thinking":{"type":"enabled","budget_tokens":8191},"max_tokens":8192,"#;
    assert_eq!(members(given, &profile).0, expected);
}

#[test]
fn leaves_out_what_the_model_does_not_know() {
    for (given, profile, expected, told) in [
        (
            r#""temperature":0.5,"top_p":0.9,"x":1,"top_k":5,"#,
            json!({"kind": "anthropic", "sampling": false}),
            r#""x":1,"#,
            "temperature, top_p, top_k",
        ),
        (
            r#""temperature":0.5,"thinking":{"type":"adaptive"},"#,
            json!({"kind": "anthropic", "thinking": "budget"}),
            r#""thinking":{"type":"enabled","budget_tokens":8192},"#,
            "temperature",
        ),
        (
            r#""temperature":0.5,"thinking":{"type":"adaptive"},"#,
            json!({"kind": "anthropic", "thinking": "none"}),
            r#""temperature":0.5,"#,
            "thinking",
        ),
        (
            r#""temperature":0.5,"thinking":{"type":"adaptive"},"#,
            json!({"kind": "vllm"}),
            r#""temperature":0.5,"thinking":{"type":"adaptive"},"#,
            "",
        ),
        (
            r#""output_config":{ "effort":"max", "format" : {"type":"json_schema"}, "other":[ ] },"#,
            json!({"kind": "anthropic", "effort": false}),
            r#""output_config":{ "format" : {"type":"json_schema"}, "other":[ ] },"#,
            "output_config.effort",
        ),
        (
            r#""output_config":{"effort":"max"},"output_format":{},"speed":"fast","#,
            json!({"kind": "anthropic", "effort": false, "structured_output": false}),
            "",
            "output_config.effort, output_format, speed",
        ),
        (
            r#""output_config":{"effort":"max","format":{}},"#,
            json!({"kind": "anthropic", "top_effort": "high", "structured_output": false}),
            r#""output_config":{"effort":"high"},"#,
            "output_config.effort>high, output_config.format",
        ),
        (
            r#""context_management":{"edits":[{"type":"clear_thinking_20251015"},{"type":"clear_tool_uses_20250919"}]},"#,
            json!({"kind": "anthropic"}),
            r#""context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]},"#,
            "context_management.edits",
        ),
        (
            r#""thinking":{"type":"adaptive"},"context_management":{"edits":[{"type":"clear_thinking_20251015"}]},"#,
            json!({"kind": "anthropic", "thinking": "none"}),
            "",
            "thinking, context_management.edits",
        ),
        (
            r#""thinking":{"type":"adaptive"},"context_management":{"edits":[{"type":"clear_thinking_20251015"}]},"#,
            json!({"kind": "anthropic"}),
            r#""thinking":{"type":"adaptive"},"context_management":{"edits":[{"type":"clear_thinking_20251015"}]},"#,
            "",
        ),
    ] {
        let (kept, dropped) = members(given, &profile);
        assert_eq!(
            (kept.as_str(), dropped.as_str()),
            (expected, told),
            "{given}"
        );
    }
}

#[test]
fn says_in_words_what_the_model_cannot_see() {
    let blind = json!({"kind": "anthropic", "vision": false});
    let no_image = r#"{"type":"text","text":"[image omitted: this model cannot read images]"}"#;
    let (kept, dropped) = messages(
        r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"url","url":"u"}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"image"}, {"type":"text","text":"b"}]},
            {"type":"document","source":{"type":"content","content":[{"type":"image"}]}},
            {"type":"document","source":{"type":"base64","data":"JVBERi0="}}]},
        {"role":"assistant","content":[{"type":"tool_use","input":{"type":"image"}}]}"#,
        &blind,
    );
    let expected = format!(
        r#"{{"role":"user","content":[{{"type":"text","text":"a"}},{no_image}]}},
        {{"role":"user","content":[{{"type":"tool_result","tool_use_id":"1","content":[{no_image}, {{"type":"text","text":"b"}}]}},
            {{"type":"document","source":{{"type":"content","content":[{no_image}]}}}},
            {{"type":"document","source":{{"type":"base64","data":"JVBERi0="}}}}]}},
        {{"role":"assistant","content":[{{"type":"tool_use","input":{{"type":"image"}}}}]}}]"#
    );
    assert_eq!((kept, dropped), (expected, "image".to_owned()));

    let unread = json!({"kind": "anthropic", "documents": false});
    let (kept, dropped) = messages(
        r#"{"role":"user","content":[{"type":"document","title":"a \"b\"","source":{"type":"url","url":"u"}},
        {"type":"document","cache_control":{"type":"ephemeral"},"source":{"type":"base64","data":"x"}},
        {"type":"document","source":{"type":"text","data":"x"}},{"type":"image"}]}"#,
        &unread,
    );
    let expected = r#"{"role":"user","content":[{"type":"text","text":"[document \"a \"b\"\" omitted: this model cannot read PDF files]"},
        {"type":"text","text":"[document omitted: this model cannot read PDF files]","cache_control":{"type":"ephemeral"}},
        {"type":"document","source":{"type":"text","data":"x"}},{"type":"image"}]}]"#;
    assert_eq!((kept.as_str(), dropped.as_str()), (expected, "document"));
}

#[test]
fn folds_the_operators_words_forward() {
    let profile = json!({"kind": "anthropic", "mid_system": false});
    let reminder = |text: &str| {
        format!(r#"{{"type":"text","text":"<system-reminder>\n{text}\n</system-reminder>"}}"#)
    };
    let text = |text: &str| format!(r#"{{"type":"text","text":"{text}"}}"#);
    let user = |content: &str| format!(r#"{{"role":"user","content":{content}}}"#);
    let assistant = r#"{"role":"assistant","content":"yes"}"#;
    let system = |content: &str| format!(r#"{{"role":"system","content":"{content}"}}"#);
    let result = |content: &str| format!(r#"{{"type":"tool_result","tool_use_id":"1"{content}}}"#);
    let turn = |parts: &[&str]| user(&format!("[{}]", parts.join(",")));
    let (s, t) = (system("s"), system("t"));

    for (case, given, expected) in [
        (
            "behind a user's turn, to its end",
            vec![user("\"u\""), s.clone(), t.clone(), assistant.to_owned()],
            vec![turn(&[&text("u"), &reminder("s"), &reminder("t")]), assistant.to_owned()],
        ),
        (
            "the same with blocks",
            vec![turn(&[&text("u")]), s.clone()],
            vec![turn(&[&text("u"), &reminder("s")])],
        ),
        (
            "behind an assistant's turn, to the beginning of the user's next one",
            vec![user("\"u\""), assistant.to_owned(), s.clone(), user("\"v\""), t.clone()],
            vec![
                user("\"u\""),
                assistant.to_owned(),
                turn(&[&reminder("s"), &text("v"), &reminder("t")]),
            ],
        ),
        (
            "the same with blocks",
            vec![assistant.to_owned(), s.clone(), turn(&[&text("v")])],
            vec![assistant.to_owned(), turn(&[&reminder("s"), &text("v")])],
        ),
        (
            "behind the results in it",
            vec![assistant.to_owned(), s.clone(), turn(&[&result(""), &text("v")]), t.clone()],
            vec![
                assistant.to_owned(),
                turn(&[&result(""), &reminder("s"), &text("v"), &reminder("t")]),
            ],
        ),
        (
            "into the last result if there are only results",
            vec![
                assistant.to_owned(),
                s.clone(),
                turn(&[&result(""), &result(r#","content":"r""#)]),
                t.clone(),
                turn(&[&result(r#","is_error":true"#)]),
                s.clone(),
                turn(&[&result(&format!(r#","content":[{}]"#, text("r")))]),
                s.clone(),
            ],
            vec![
                assistant.to_owned(),
                turn(&[
                    &result(""),
                    &result(&format!(
                        r#","content":[{},{},{}]"#,
                        text("r"),
                        reminder("s"),
                        reminder("t")
                    )),
                ]),
                turn(&[&result(&format!(r#","is_error":true,"content":[{}]"#, reminder("s")))]),
                turn(&[&result(&format!(r#","content":[{},{}]"#, text("r"), reminder("s")))]),
            ],
        ),
        (
            "a turn of its own before another of the assistant, and at the end",
            vec![assistant.to_owned(), s.clone(), assistant.to_owned(), t.clone(), s.clone()],
            vec![
                assistant.to_owned(),
                turn(&[&reminder("s")]),
                assistant.to_owned(),
                turn(&[&reminder("t"), &reminder("s")]),
            ],
        ),
        (
            "nothing for nothing",
            vec![user("\"u\""), system(""), assistant.to_owned()],
            vec![user("\"u\""), assistant.to_owned()],
        ),
        (
            "what is a reminder stays as it is, with its mark",
            vec![
                user("[]"),
                r#"{"content":[{"type":"text","text":" <system-reminder>x</system-reminder>\n","cache_control":{}}],"role":"system"}"#.to_owned(),
            ],
            vec![user(
                r#"[{"type":"text","text":" <system-reminder>x</system-reminder>\n","cache_control":{}}]"#,
            )],
        ),
    ] {
        let (kept, _) = messages(&given.join(","), &profile);
        assert_eq!(kept, format!("{}]", expected.join(",")), "{case}");
    }
}

#[test]
fn the_operators_first_words_join_the_system_prompt() {
    let profile = profile(&json!({"kind": "anthropic", "mid_system": false}));
    let first = r#"{"role":"system","content":"a"},{"role":"system","content":[{"type":"text","text":"b"},{"type":"tool_addition"}]},"#;
    let user = r#"{"role":"user","content":"u"}"#;
    let joined = r#"{"type":"text","text":"a"},{"type":"text","text":"b"}"#;
    for (given, expected) in [
        (
            r#""system":"p","#,
            format!(r#""system":[{{"type":"text","text":"p"}},{joined}],"#),
        ),
        (
            r#""system":[{"type":"text","text":"p"}],"#,
            format!(r#""system":[{{"type":"text","text":"p"}},{joined}],"#),
        ),
        (r#""system":[],"#, format!(r#""system":[{joined}],"#)),
        (r#""system":null,"#, format!(r#""system":[{joined}],"#)),
    ] {
        let body = format!(r#"{{{given}"messages":[{first}{user}],"model":"small"}}"#);
        let expected = format!(r#"{{{expected}"messages":[{user}],"model":"small"}}"#);
        let told = (expected, "tool_addition".to_owned());
        assert_eq!(adapted(&body, &profile, true), told);
    }
    let body = format!(r#" {{"messages":[{first}{user}],"model":"small"}} "#);
    let expected = format!(r#" {{"messages":[{user}],"model":"small","system":[{joined}]}} "#);
    assert_eq!(adapted(&body, &profile, true).0, expected);
}

#[test]
fn leaves_the_betas_that_are_not_refused() {
    let profile =
        profile(&json!({"kind": "anthropic", "refused_betas": ["context-1m-*", "effort"]}));
    for (value, expected) in [
        ("a-1, b-2", Some("a-1, b-2")),
        ("effort-2", Some("effort-2")),
        ("a-1 , context-1m-2025-08-07,effort,, b-2", Some("a-1,b-2")),
        (" effort ", None),
        ("context-1m-,effort,", None),
    ] {
        assert_eq!(betas(value, &profile).as_deref(), expected, "{value}");
    }
    assert_eq!(betas("effort", &anthropic()).as_deref(), Some("effort"));
}

/// Bodies of what matters here and what does not, laid out in any way.
fn body() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "\"adaptive\"",
        "\"enabled\"",
        "\"disabled\"",
        "\"text\"",
        "\"thinking\"",
        "\"image\"",
        "\"document\"",
        "\"tool_result\"",
        "\"content\"",
        "\"base64\"",
        "\"clear_thinking_1\"",
        "\"gw1.x\"",
        "\"max\"",
        "\"any\"",
        "\"\"",
        "\"\\ud800\"",
        "\"a\\\"b\"",
        "null",
        "true",
        "1025",
        "90000",
        "-1.5e3",
        "[]",
        "{}",
    ]);
    let name = prop::sample::select(vec![
        "type",
        "role",
        "content",
        "text",
        "source",
        "title",
        "signature",
        "thinking",
        "effort",
        "format",
        "edits",
        "budget_tokens",
        "cache_control",
        "\\u0074ype",
        "other",
    ]);
    let role = prop::sample::select(vec!["user", "assistant", "system", "system", "odd"]);
    let space = prop::sample::select(vec!["", "", " ", "\n"]);
    let joined = |items: Vec<String>, space: &str| items.join(&format!("{space},{space}"));
    let value = word
        .prop_map(str::to_owned)
        .prop_recursive(6, 48, 6, move |inner| {
            let members = prop::collection::vec((name.clone(), inner.clone()), 0..6);
            prop_oneof![
                (prop::collection::vec(inner, 0..5), space.clone()).prop_map(
                    move |(items, space)| format!("[{space}{}{space}]", joined(items, space))
                ),
                (members, space.clone()).prop_map(move |(members, space)| {
                    let members = members
                        .into_iter()
                        .map(|(name, value)| format!("\"{name}\"{space}:{space}{value}"));
                    format!("{{{space}{}{space}}}", joined(members.collect(), space))
                }),
            ]
        });
    let message = (role, value.clone())
        .prop_map(|(role, content)| format!(r#"{{"role":"{role}","content":{content}}}"#));
    let message = prop_oneof![4 => message, 1 => value.clone()];
    let top = prop::sample::select(vec![
        "thinking",
        "output_config",
        "output_format",
        "tool_choice",
        "temperature",
        "top_p",
        "speed",
        "context_management",
        "system",
        "tools",
        "other",
    ]);
    let messages = prop::collection::vec(message, 0..6);
    (
        messages,
        prop::collection::vec((top, value), 0..6),
        0..200_000_u32,
        0..3_usize,
    )
        .prop_map(|(messages, members, max_tokens, at)| {
            let mut members: Vec<_> = members
                .into_iter()
                .map(|(name, value)| format!("\"{name}\": {value}"))
                .collect();
            members.insert(
                at.min(members.len()),
                format!("\"messages\":[{}]", messages.join(", ")),
            );
            members.push(format!("\"max_tokens\":{max_tokens}"));
            members.push(r#""model":"large""#.to_owned());
            format!("{{{}}}", members.join(","))
        })
}

fn any_profile() -> impl Strategy<Value = Profile> {
    let kind = prop::sample::select(vec![Kind::Anthropic, Kind::Anthropic, Kind::Vllm]);
    let thinking = prop::sample::select(vec!["adaptive", "budget", "none"]);
    let limit = prop::option::of(1..100_000_u64);
    let flags = prop::array::uniform7(any::<bool>());
    (kind, thinking, limit, flags).prop_map(|(kind, thinking, limit, flags)| {
        let mut profile = profile(&json!({"kind": "anthropic", "thinking": thinking}));
        profile.kind = kind;
        profile.max_output_tokens = limit;
        [
            profile.vision,
            profile.documents,
            profile.thinking_off,
            profile.effort,
            profile.structured_output,
            profile.sampling,
            profile.mid_system,
        ] = flags;
        profile
    })
}

/// The members of an object as they stand in it.
fn spans(body: &str) -> Vec<(String, String)> {
    let mut members = crate::scan::Members::of(body.as_bytes()).unwrap();
    let mut found = Vec::new();
    while let Some((key, value)) = members.next().unwrap() {
        found.push((body[key].to_owned(), body[value.span].to_owned()));
    }
    found
}

const CHANGEABLE: [&str; 14] = [
    "\"model\"",
    "\"messages\"",
    "\"max_tokens\"",
    "\"thinking\"",
    "\"output_config\"",
    "\"output_format\"",
    "\"temperature\"",
    "\"top_p\"",
    "\"top_k\"",
    "\"speed\"",
    "\"context_management\"",
    "\"system\"",
    "\"stream\"",
    "\"metadata\"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_comes_out_is_valid_and_fits_and_the_rest_stands(
        body in body(),
        profile in any_profile(),
        downgraded: bool,
    ) {
        let (text, _) = adapted(&body, &profile, downgraded);
        let peeked = peek(text.as_bytes(), Operation::Messages);
        prop_assert_eq!(peeked.as_ref().map(|peek| peek.model.as_str()), Ok("small"), "{}", text);
        let rest = |body: &str| {
            let mut members = spans(body);
            members.retain(|(name, _)| !CHANGEABLE.contains(&name.as_str()));
            members
        };
        prop_assert_eq!(rest(&body), rest(&text));
        prop_assert_eq!(&adapted(&text, &profile, downgraded).0, &text, "once is enough");
        let signed_here = profile.kind == Kind::Anthropic && body.contains("\"gw1.");
        if !(downgraded || signed_here) {
            prop_assert_eq!(&body.replace("\"large\"", "\"small\""), &text);
        }
        // A lone surrogate stands in no word that matters.
        let value: Value = serde_json::from_str(&text.replace("\\ud800", "")).unwrap();
        for message in value["messages"].as_array().unwrap() {
            let is = |value: &Value, name: &str, word: &str| value[name] == word;
            let blocks = |value: &Value| value["content"].as_array().cloned().unwrap_or_default();
            prop_assert!(!(downgraded && !profile.mid_system && is(message, "role", "system")));
            for block in blocks(message) {
                let signed_here = is(&block, "type", "thinking")
                    && block["signature"].as_str().is_some_and(|text| text.starts_with("gw1."));
                let assistant = is(message, "role", "assistant");
                prop_assert!(!(assistant && signed_here && profile.kind == Kind::Anthropic));
                let blind = downgraded && !profile.vision && is(message, "role", "user");
                prop_assert!(!(blind && is(&block, "type", "image")), "{}", text);
                if blind && is(&block, "type", "tool_result") {
                    let seen = blocks(&block).iter().any(|inner| is(inner, "type", "image"));
                    prop_assert!(!seen, "{}", text);
                }
            }
        }
    }
}

#[test]
fn no_more_is_asked_for_than_a_server_can_write_whoever_asked() {
    let fitted = |max_tokens: u64, downgraded: bool| {
        let body = format!(r#"{{ "model":"m","max_tokens" : {max_tokens},"messages":[ ] }}"#);
        let body = Bytes::from(body);
        let peek = peek(&body, Operation::Messages).unwrap();
        let profile = Profile::preset(Kind::Vllm);
        let adapted = adapt(&body, &peek, "m", &profile, downgraded, Some(8000));
        let text = String::from_utf8(adapted.pieces.concat()).unwrap();
        (text, adapted.dropped.header())
    };
    for downgraded in [false, true] {
        let (text, dropped) = fitted(128_000, downgraded);
        assert_eq!(
            text,
            r#"{ "model":"m","max_tokens" : 8000,"messages":[ ] }"#
        );
        assert_eq!(dropped.as_deref(), Some("max_tokens>8000"));
        let (text, dropped) = fitted(8000, downgraded);
        assert_eq!(
            text,
            r#"{ "model":"m","max_tokens" : 8000,"messages":[ ] }"#
        );
        assert_eq!(dropped, None);
    }
    let body = Bytes::from_static(
        br#"{"model":"m","max_tokens":32000,"temperature":1,
            "thinking":{"type":"enabled","budget_tokens":31999},"messages":[]}"#,
    );
    let peek = peek(&body, Operation::Messages).unwrap();
    let adapted = adapt(&body, &peek, "m", &anthropic(), false, Some(8000));
    let text = String::from_utf8(adapted.pieces.concat()).unwrap();
    let expected = r#"{"model":"m","max_tokens":8000,"temperature":1,
            "thinking":{"type":"enabled","budget_tokens":4000},"messages":[]}"#;
    assert_eq!(text, expected, "a budget has to be less than the limit");
}
