use serde_json::{Value, json};

use super::super::super::{Effort, Kind, Profile, Thinking, ThinkingSwitch};
use super::super::request::tests::{refused, sent};

fn openai() -> Profile {
    Profile::preset(Kind::OpenAi)
}

fn effort(profile: &Profile, members: &str) -> Value {
    sent(profile, members).0["reasoning_effort"].clone()
}

#[test]
fn a_budget_is_an_effort_and_never_above_the_top() {
    for (budget_tokens, word, lowered) in [
        (0_u64, "low", "low"),
        (1024, "low", "low"),
        (4095, "low", "low"),
        (4096, "medium", "low"),
        (16_383, "medium", "low"),
        (16_384, "high", "low"),
        (u64::MAX, "high", "low"),
    ] {
        let thinking =
            format!(r#""thinking":{{"type":"enabled","budget_tokens":{budget_tokens}}}"#);
        assert_eq!(effort(&openai(), &thinking), word, "{budget_tokens}");
        let mut profile = openai();
        profile.top_effort = Effort::Low;
        assert_eq!(effort(&profile, &thinking), lowered, "{budget_tokens}");
    }
}

#[test]
fn every_wish_at_every_kind_of_switch() {
    // `thinking`; at vLLM: enable_thinking; at OpenAI: reasoning_effort without and with an effort,
    // and the same where `none` is understood.
    let low = r#","output_config":{"effort":"low"}"#;
    for (thinking, on, plain, with, none, none_with) in [
        ("null", false, None, Some("low"), Some("none"), Some("low")),
        (
            r#"{"type":"disabled"}"#,
            false,
            None,
            Some("low"),
            Some("none"),
            Some("none"),
        ),
        (
            r#"{"type":"between_tools"}"#,
            false,
            None,
            Some("low"),
            Some("none"),
            Some("none"),
        ),
        (
            r#"{"type":"adaptive"}"#,
            true,
            None,
            Some("low"),
            None,
            Some("low"),
        ),
        (
            r#"{"type":"enabled"}"#,
            true,
            None,
            Some("low"),
            None,
            Some("low"),
        ),
        (
            r#"{"type":"enabled","budget_tokens":5000}"#,
            true,
            Some("medium"),
            Some("low"),
            Some("medium"),
            Some("low"),
        ),
    ] {
        let members = format!(r#""thinking":{thinking}"#);
        let (body, _) = sent(&Profile::preset(Kind::Vllm), &members);
        assert_eq!(
            body["chat_template_kwargs"],
            json!({"enable_thinking": on}),
            "{thinking}"
        );
        assert!(body.get("reasoning_effort").is_none());

        let members_with = format!("{members}{low}");
        let mut understands = openai();
        understands.effort_none = true;
        for (profile, members, expected) in [
            (&openai(), &members, plain),
            (&openai(), &members_with, with),
            (&understands, &members, none),
            (&understands, &members_with, none_with),
        ] {
            let (body, _) = sent(profile, members);
            let word = body.get("reasoning_effort").and_then(Value::as_str);
            assert_eq!(word, expected, "{members}");
            assert!(body.get("chat_template_kwargs").is_none());
        }
    }
}

#[test]
fn a_model_that_cannot_think_is_told_nothing_of_it() {
    for mut profile in [openai(), Profile::preset(Kind::Vllm)] {
        profile.thinking = Thinking::None;
        profile.effort_none = true;
        profile.thinking_budget = true;
        for thinking in ["null", r#"{"type":"enabled","budget_tokens":5000}"#] {
            let members = format!(r#""thinking":{thinking},"output_config":{{"effort":"high"}}"#);
            let (body, dropped) = sent(&profile, &members);
            for name in [
                "chat_template_kwargs",
                "thinking_token_budget",
                "reasoning_effort",
            ] {
                assert!(body.get(name).is_none(), "{body}");
            }
            assert_eq!(dropped.last().unwrap(), "output_config.effort");
            assert_eq!(dropped.contains(&"thinking".to_owned()), thinking != "null");
        }
    }
}

#[test]
fn an_effort_switch_works_at_vllm_too() {
    let mut profile = Profile::preset(Kind::Vllm);
    profile.thinking_switch = ThinkingSwitch::ReasoningEffort;
    let members = r#""thinking":{"type":"enabled","budget_tokens":5000}"#;
    let (body, dropped) = sent(&profile, members);
    assert_eq!(body["reasoning_effort"], "medium");
    assert!(body.get("chat_template_kwargs").is_none());
    assert!(dropped.is_empty());
}

#[test]
fn an_unknown_effort_is_left_out_and_named() {
    let (body, dropped) = sent(&openai(), r#""output_config":{"effort":"extreme"}"#);
    assert!(body.get("reasoning_effort").is_none());
    assert_eq!(dropped, ["output_config.effort"]);
}

#[test]
fn a_null_is_no_switch_of_the_clients() {
    let members = r#""chat_template_kwargs":{"enable_thinking":null,"b":1.0}"#;
    let (body, _) = sent(&Profile::preset(Kind::Vllm), members);
    let expected = json!({"enable_thinking": false, "b": 1.0});
    assert_eq!(body["chat_template_kwargs"], expected);
}

#[test]
fn wishes_of_the_wrong_shape_are_refused_by_their_place() {
    for (members, message, param) in [
        (
            r#""thinking":true"#,
            "`thinking` must be an object",
            "thinking",
        ),
        (
            r#""thinking":{}"#,
            "`thinking.type` must be a string",
            "thinking",
        ),
        (
            r#""thinking":{"type":"enabled","budget_tokens":1e4}"#,
            "`thinking.budget_tokens` must be a whole number",
            "thinking",
        ),
        (
            r#""output_config":{"effort":3}"#,
            "`output_config.effort` must be a string",
            "output_config",
        ),
        (
            r#""output_config":"high""#,
            "`output_config` must be an object",
            "output_config",
        ),
        (
            r#""chat_template_kwargs":[]"#,
            "`chat_template_kwargs` must be an object",
            "chat_template_kwargs",
        ),
    ] {
        let expected = (message.to_owned(), param);
        assert_eq!(refused(&Profile::preset(Kind::Vllm), members), expected);
    }
}
