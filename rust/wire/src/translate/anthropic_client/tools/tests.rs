use serde_json::json;

use super::super::super::{Kind, Profile};
use super::super::request::tests::{refused, sent};

fn vllm() -> Profile {
    Profile::preset(Kind::Vllm)
}

#[test]
fn a_tool_of_the_wrong_shape_is_refused_by_its_place() {
    for (tool, message) in [
        ("1", "`tools.0` must be an object"),
        ("[\"read\"]", "`tools.0` must be an object"),
        ("{}", "`tools.0.name` is missing; name the tool"),
        (r#"{"name":""}"#, "`tools.0.name` is missing; name the tool"),
        (r#"{"name":7}"#, "`tools.0.name` must be a string"),
        (
            r#"{"type":7,"name":"a"}"#,
            "`tools.0.type` must be a string",
        ),
        (
            r#"{"name":"a","description":[]}"#,
            "`tools.0.description` must be a string",
        ),
        (
            r#"{"name":"a","input_schema":[]}"#,
            "`tools.0.input_schema` must be an object",
        ),
        (
            r#"{"name":"a","strict":1}"#,
            "`tools.0.strict` must be true or false",
        ),
    ] {
        let expected = (message.to_owned(), "tools");
        assert_eq!(refused(&vllm(), &format!("\"tools\":[{tool}]")), expected);
    }
    let expected = ("`tools` must be a list".to_owned(), "tools");
    assert_eq!(refused(&vllm(), r#""tools":{"name":"a"}"#), expected);
}

#[test]
fn a_choice_of_the_wrong_shape_is_refused_by_its_place() {
    for (choice, place) in [
        ("\"auto\"", "`tool_choice` "),
        ("{}", "`tool_choice.type` "),
        (r#"{"type":["auto"]}"#, "`tool_choice.type` "),
        (r#"{"type":"tool"}"#, "`tool_choice.name` "),
        (
            r#"{"type":"any","disable_parallel_tool_use":"yes"}"#,
            "`tool_choice.disable_parallel_tool_use` ",
        ),
    ] {
        let (message, param) = refused(&vllm(), &format!("\"tool_choice\":{choice}"));
        assert!(message.starts_with(place), "{message}");
        assert_eq!(param, "tool_choice");
    }
}

#[test]
fn a_name_is_told_apart_from_one_that_another_is_changed_to() {
    let (body, _) = sent(&vllm(), r#""tools":[{"name":"a.b"}]"#);
    let changed = body["tools"][0]["function"]["name"].as_str().unwrap();
    let tools = format!(r#""tools":[{{"name":"{changed}"}},{{"name":"a.b"}}]"#);
    let (message, _) = refused(&vllm(), &tools);
    assert!(message.starts_with("`tools.1.name` "), "{message}");
}

#[test]
fn no_schema_and_one_without_rules_are_an_objects() {
    for schema in ["", r#","input_schema":null"#, r#","input_schema":{ }"#] {
        let (body, _) = sent(&vllm(), &format!(r#""tools":[{{"name":"a"{schema}}}]"#));
        let function = &body["tools"][0]["function"];
        let expected = json!({"name": "a", "parameters": {"type": "object", "properties": {}}});
        assert_eq!(*function, expected);
    }
}

#[test]
fn a_lone_surrogate_in_a_description_is_replaced() {
    let (body, _) = sent(
        &vllm(),
        r#""tools":[{"name":"a","description":"cut \ud83d"}]"#,
    );
    assert_eq!(body["tools"][0]["function"]["description"], "cut \u{fffd}");
}

#[test]
fn one_call_at_a_time_says_nothing_where_there_is_none() {
    let choice = r#""tool_choice":{"type":"none","disable_parallel_tool_use":true}"#;
    let (body, _) = sent(&vllm(), &format!(r#""tools":[{{"name":"a"}}],{choice}"#));
    assert_eq!(body["tool_choice"], "none");
    assert!(body.get("parallel_tool_calls").is_none());
}

#[test]
fn a_type_of_any_length_is_quoted_in_part() {
    let kind = "é".repeat(1000);
    let tools = format!(r#""tools":[{{"type":"{kind}","name":"a"}}]"#);
    let (message, _) = refused(&vllm(), &tools);
    assert!(message.starts_with("tools.0: Input tag 'é"), "{message}");
    assert!(message.len() < 300, "{message}");
}
