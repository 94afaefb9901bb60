use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::super::{Kind, MaxTokensField, Profile};
use super::super::request::tests::{refused, sent};
use super::Caller;

fn vllm() -> Profile {
    Profile::preset(Kind::Vllm)
}

fn openai() -> Profile {
    Profile::preset(Kind::OpenAi)
}

#[test]
fn the_limit_is_lowered_to_the_models_and_left_out_beyond_the_window() {
    // The client asks for 1000 tokens.
    for (most, window, vllm_sends, openai_sends) in [
        (None, None, Some(1000), 1000),
        (Some(1000), Some(1001), Some(1000), 1000),
        (Some(999), Some(1000), Some(999), 999),
        (None, Some(1000), None, 1000),
        (Some(999), Some(999), None, 999),
        (Some(5000), Some(10), None, 1000),
    ] {
        for (mut profile, expected) in [(vllm(), vllm_sends), (openai(), Some(openai_sends))] {
            profile.max_output_tokens = most;
            profile.context_window = window;
            profile.max_tokens_field = MaxTokensField::MaxTokens;
            let (body, dropped) = sent(&profile, r#""system":"s""#);
            let limit = body.get("max_tokens").and_then(Value::as_u64);
            assert_eq!(limit, expected, "{most:?} {window:?}");
            let lowered = most.is_some_and(|most| most < 1000);
            let name = lowered.then(|| format!("max_tokens>{}", most.unwrap()));
            assert_eq!(dropped, name.into_iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_model_without_structured_output_is_asked_for_none() {
    let mut profile = openai();
    profile.structured_output = false;
    for (place, members) in [
        (
            "output_format",
            r#""output_format":{"type":"json_schema","schema":{}}"#,
        ),
        (
            "output_config.format",
            r#""output_config":{"format":{"type":"json_schema","schema":{}}}"#,
        ),
    ] {
        let (body, dropped) = sent(&profile, members);
        assert!(body.get("response_format").is_none());
        assert_eq!(dropped, [place]);
    }
}

#[test]
fn options_of_the_wrong_shape_are_refused_by_their_place() {
    for (members, message, param) in [
        (
            r#""output_format":{"type":"json_schema"}"#,
            "`output_format.schema` must be an object",
            "output_format",
        ),
        (
            r#""output_config":{"format":{"schema":{}}}"#,
            "`output_config.format.type` must be json_schema",
            "output_config",
        ),
        (
            r#""output_config":{"format":"json_schema"}"#,
            "`output_config.format` must be an object",
            "output_config",
        ),
        (
            r#""stop_sequences":"a""#,
            "`stop_sequences` must be a list",
            "stop_sequences",
        ),
        (r#""top_p":true"#, "`top_p` must be a number", "top_p"),
        (r#""top_k":[1]"#, "`top_k` must be a number", "top_k"),
    ] {
        for profile in [vllm(), openai()] {
            assert_eq!(refused(&profile, members), (message.to_owned(), param));
        }
    }
}

#[test]
fn the_newer_name_of_the_output_format_wins() {
    let (body, _) = sent(
        &vllm(),
        r#""output_config":{"format":{"type":"json_schema","schema":{"a":1}}},
           "output_format":{"type":"json_schema","schema":{"b":1}}"#,
    );
    assert_eq!(
        body["response_format"]["json_schema"]["schema"],
        json!({"a": 1})
    );
}

#[test]
fn a_user_id_of_any_form_is_read() {
    for (user_id, session, user) in [
        (
            r#"{"device_id":"d","account_uuid":"a","session_id":"s"}"#,
            Some("s"),
            Some("a"),
        ),
        (
            r#"{"device_id":"d","account_uuid":"","session_id":"s"}"#,
            Some("s"),
            Some("d"),
        ),
        (r#"{"session_id":["s"]}"#, None, None),
        (
            "user_u_account__session_s",
            Some("s"),
            Some("user_u_account_"),
        ),
        ("somebody", None, Some("somebody")),
        ("{not json", None, Some("{not json")),
    ] {
        let metadata = json!({"user_id": user_id}).to_string();
        let metadata = RawValue::from_string(metadata).unwrap();
        let expected = Caller {
            session: session.map(ToOwned::to_owned),
            user: user.map(ToOwned::to_owned),
        };
        assert_eq!(Caller::read(&metadata), Some(expected), "{user_id}");
    }
    for metadata in ["{}", r#"{"user_id":""}"#, r#"{"user_id":7}"#, "[]", "\"u\""] {
        let metadata = RawValue::from_string(metadata.to_owned()).unwrap();
        assert_eq!(Caller::read(&metadata), None, "{metadata}");
    }
}

#[test]
fn nothing_of_a_user_id_is_sent_as_it_is() {
    let mut profile = openai();
    profile.send_user = true;
    let (body, _) = sent(
        &profile,
        r#""metadata":{"user_id":"user_canary_session_canary"}"#,
    );
    for name in ["prompt_cache_key", "user", "safety_identifier"] {
        assert_eq!(body[name].as_str().unwrap().len(), 64);
    }
    assert!(!body.to_string().contains("canary"));
}
