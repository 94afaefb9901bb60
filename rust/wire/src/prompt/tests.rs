use std::path::Path;

use proptest::prelude::*;

use super::is_prompt;
use crate::Dialect::{self, Anthropic, OpenAi};
use crate::{Operation, peek};

fn prompt(dialect: Dialect, messages: &str) -> bool {
    let body = format!(r#"{{"model":"m","max_tokens":1,"messages":{messages},"stream":true}}"#);
    of_body(dialect, body.as_bytes())
}

fn of_body(dialect: Dialect, body: &[u8]) -> bool {
    is_prompt(
        body,
        &peek(body, Operation::generate(dialect)).unwrap(),
        dialect,
    )
}

const RESULT: &str = r#"{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"x"}],"is_error":false}"#;
const REMINDER: &str = r#"{"type":"text","text":"<system-reminder>\n\"tool_result\"</system-reminder>","cache_control":{"type":"ephemeral"}}"#;

#[test]
fn what_a_person_typed_is_a_prompt_to_a_messages_model() {
    for messages in [
        r#"[{"role":"user","content":"hello"}]"#,
        r#"[{"content":"hello","role":"user"}]"#,
        r#"[{"role":"user","content":[{"type":"text","text":"\"type\":\"tool_result\""}]}]"#,
        &format!(r#"[{{"role":"user","content":[{REMINDER},{REMINDER}]}}]"#),
        &format!(
            r#"[{{"role":"user","content":[{RESULT}]}},{{"role":"assistant","content":"done"}},{{"role":"user","content":"next"}}]"#
        ),
        r#"[{"role":"user","content":[{"type":"image","source":{"type":"tool_result"}}]}]"#,
        r#"[{"role":"user","content":[]}]"#,
        "[]",
    ] {
        assert!(prompt(Anthropic, messages), "{messages}");
    }
}

#[test]
fn the_result_of_a_tool_is_none_whatever_stands_beside_it() {
    let system = r#"{"role":"system","content":"the user opened a file"}"#;
    for content in [
        format!("[{RESULT}]"),
        format!("[{RESULT},{REMINDER}]"),
        format!("[{REMINDER},{RESULT},{RESULT}]"),
        r#"[{"type":"tool\u005fresult"}]"#.to_owned(),
    ] {
        let turn =
            format!(r#"{{"role":"user","content":"go"}},{{"role":"user","content":{content}}}"#);
        assert!(!prompt(Anthropic, &format!("[{turn}]")), "{content}");
        let told = format!("[{turn},{system}, {system} ]");
        assert!(!prompt(Anthropic, &told), "instructions are no turn");
    }
}

#[test]
fn the_last_turn_decides_in_a_chat_completion() {
    for (last, expected) in [
        (r#"{"role":"user","content":"hello"}"#, true),
        (r#"{"role":"assistant","content":"he"}"#, true),
        (r#"{"role":"tool","tool_call_id":"1","content":"x"}"#, false),
        (r#"{"role":"function","name":"f","content":"x"}"#, false),
    ] {
        for end in [
            "",
            r#",{"role":"developer","content":"x"}"#,
            r#",{"role":"system","content":"x"}"#,
        ] {
            let messages = format!(r#"[{{"role":"tool","content":"x"}},{last}{end}]"#);
            assert_eq!(prompt(OpenAi, &messages), expected, "{messages}");
        }
    }
}

#[test]
fn what_cannot_be_told_for_a_result_is_counted() {
    let result = format!(r#"{{"role":"user","content":[{RESULT}]}}"#);
    for last in [
        "1",
        "null",
        r#"{"content":[]}"#,
        r#"{"role":7}"#,
        r#"{"role":"\ud800"}"#,
        r#"{"role":"user","role":"system"}"#,
    ] {
        assert!(prompt(Anthropic, &format!("[{result},{last}]")), "{last}");
    }
    let instructions = r#",{"role":"system","content":"x"}"#.repeat(super::INSTRUCTIONS_LIMIT);
    let hidden = format!("[{result}{instructions}]");
    assert!(prompt(Anthropic, &hidden), "further back nobody looks");
    let blocks = format!(r#"[{{"role":"user","content":[7,"x",{{}},{RESULT}]}}]"#);
    assert!(!prompt(Anthropic, &blocks), "odd blocks hide no result");
}

#[test]
fn the_turns_of_the_transcripts_are_told_apart() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/transcripts");
    for (case, dialect, expected) in [
        ("a2o-1.10-user-text", Anthropic, true),
        ("a2o-1.31-results-and-text", Anthropic, false),
        ("a2o-1.05-system-after-results", Anthropic, true),
        ("a2o-1.05-system-after-user", Anthropic, true),
        ("a2o-1.33-images-in-results", Anthropic, false),
        ("o2a-2.10-late-result", OpenAi, false),
        ("o2a-2.03-parts", OpenAi, true),
    ] {
        let body = std::fs::read(folder.join(case).join("request.json")).unwrap();
        assert_eq!(of_body(dialect, &body), expected, "{case}");
    }
}

proptest! {
    #[test]
    fn no_body_makes_it_fail(
        messages in prop::collection::vec(
            prop_oneof![
                Just("[".to_owned()), Just("]".to_owned()), Just("{}".to_owned()),
                Just(RESULT.to_owned()), Just(REMINDER.to_owned()),
                Just(r#"{"role":"user","content":["#.to_owned()), Just("]}".to_owned()),
                Just(r#"{"role":"system"}"#.to_owned()), Just(",".to_owned()), ".{0,20}",
            ],
            0..12,
        ),
    ) {
        let body = format!(r#"{{"model":"m","messages":[{}]}}"#, messages.concat());
        for operation in Operation::ALL {
            if let Ok(found) = peek(body.as_bytes(), operation) {
                let _ = is_prompt(body.as_bytes(), &found, operation.dialect());
                // Spans of another body must not make it fail either.
                let _ = is_prompt(&body.as_bytes()[..body.len() / 2], &found, operation.dialect());
            }
        }
    }
}
