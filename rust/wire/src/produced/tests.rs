use std::path::Path;

use proptest::prelude::*;

use super::{Produced, TEXT_LIMIT_BYTES, produced_of_body};
use crate::Dialect::{self, Anthropic, OpenAi};

fn streamed(dialect: Dialect, stream: &str) -> Produced {
    let mut produced = Produced::new(dialect);
    produced.observe(stream.as_bytes());
    produced
}

/// The text of a stream of events with these data.
fn text_of(dialect: Dialect, events: &[&str]) -> String {
    let frames: String = events.iter().map(|data| frame(dialect, data)).collect();
    streamed(dialect, &frames).text().to_owned()
}

fn frame(dialect: Dialect, data: &str) -> String {
    match dialect {
        Anthropic => format!(
            "event: {}\ndata: {data}\n\n",
            data.split('"').nth(3).unwrap_or_default()
        ),
        OpenAi => format!("data: {data}\n\n"),
    }
}

fn block(content: &str) -> String {
    format!(r#"{{"type":"content_block_start","index":0,"content_block":{content}}}"#)
}

fn delta(content: &str) -> String {
    format!(r#"{{"type":"content_block_delta","index":0,"delta":{content}}}"#)
}

fn chunk(delta: &str) -> String {
    format!(
        r#"{{"id":"c","choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null}}]}}"#
    )
}

#[test]
fn everything_a_messages_model_writes_is_kept() {
    let events = [
        r#"{"type":"message_start","message":{"content":[],"usage":{"input_tokens":1}}}"#
            .to_owned(),
        block(r#"{"type":"thinking","thinking":"","signature":""}"#),
        delta(r#"{"type":"thinking_delta","thinking":"hm\n"}"#),
        delta(r#"{"type":"signature_delta","signature":"c2lnbmVk"}"#),
        block(r#"{"type":"text","text":""}"#),
        r#"{"type":"ping"}"#.to_owned(),
        delta(r#"{"type":"text_delta","text":"say \"text\": \u00e9\ud83d\ude00 \\"}"#),
        delta(r#"{"text":", tool_result","type":"text_delta"}"#),
        delta(r#"{"type":"citations_delta","citation":{"cited_text":"not its own"}}"#),
        block(r#"{"type":"tool_use","id":"toolu_1","name":"Read","input":{}}"#),
        delta(r#"{"type":"input_json_delta","partial_json":"{\"path\": "}"#),
        delta(r#"{"type":"input_json_delta","partial_json":"\"/a\"}"}"#),
        block(r#"{"type":"web_search_tool_result","content":[{"type":"text","text":"found"}]}"#),
        block(r#"{"type":"redacted_thinking","data":"ZW5jcnlwdGVk"}"#),
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","text":"no"}}"#.to_owned(),
        r#"{"type":"message_stop"}"#.to_owned(),
    ];
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let expected = "hm\nsay \"text\": é😀 \\, tool_resultRead{\"path\": \"/a\"}";
    assert_eq!(text_of(Anthropic, &events), expected);
}

#[test]
fn everything_a_chat_model_writes_is_kept() {
    for (delta, expected) in [
        (r#"{"role":"assistant","content":""}"#, ""),
        (r#"{"content":"a \"content\":\n"}"#, "a \"content\":\n"),
        (r#"{ "content" : "x" }"#, "x"),
        (r#"{"refusal":"no","content":null}"#, "no"),
        (r#"{"reasoning_content":"hm"}"#, "hm"),
        (r#"{"reasoning":"hm","reasoning_content":"hm"}"#, "hm"),
        (
            r#"{"reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm"}]}"#,
            "hm",
        ),
        (
            r#"{"tool_calls":[{"index":0,"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":"}}]}"#,
            "f{\"a\":",
        ),
        (
            r#"{"tool_calls":[{"index":0,"custom":{"name":"g","input":"words"}}]}"#,
            "gwords",
        ),
        (r#"{"function_call":{"name":"f","arguments":"{}"}}"#, "f{}"),
        (
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}"#,
            "hm",
        ),
        (r#"{"content":7,"name":null}"#, ""),
    ] {
        assert_eq!(text_of(OpenAi, &[&chunk(delta)]), expected, "{delta}");
    }
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":3},"system_fingerprint":"content"}"#;
    assert_eq!(text_of(OpenAi, &[usage, "[DONE]"]), "");
}

#[test]
fn a_whole_answer_holds_the_same() {
    let body =
        br#"{"type":"message","content":[{"type":"thinking","thinking":"hm","signature":"x"},
        {"type":"text","text":"a\n","citations":[{"cited_text":"b"}]},
        {"type":"server_tool_use","id":"1","name":"web_search","input":{"query": "q"}},
        {"type":"web_search_tool_result","content":[{"title":"t","text":"c"}]},
        {"type":"tool_use","id":"2","name":"Read","input":{}}, 7]}"#;
    let produced = produced_of_body(Anthropic, body);
    assert_eq!(produced.text(), "hma\nweb_search{\"query\":\"q\"}Read");
    let body = br#"{"choices":[{"index":0,"message":{"role":"assistant","content":"a\n",
        "reasoning":"hm","reasoning_content":"hm","tool_calls":[{"id":"1","type":"function",
        "function":{"name":"Read","arguments":"{\"path\": \"/a\"}"}}]}},
        {"index":1,"message":{"content":"b"}}]}"#;
    let produced = produced_of_body(OpenAi, body);
    assert_eq!(produced.text(), "a\nRead{\"path\": \"/a\"}hmb");
    for dialect in Dialect::ALL {
        for body in [
            &b""[..],
            b"<html>",
            b"[]",
            b"{}",
            br#"{"content":1,"choices":[1]}"#,
        ] {
            assert!(produced_of_body(dialect, body).is_empty());
        }
    }
}

#[test]
fn what_is_told_in_streams_of_either_api_is_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/transcripts");
    let read =
        |case: &str, file: &str| std::fs::read_to_string(folder.join(case).join(file)).unwrap();
    for (case, client, upstream) in [
        ("a2o-stream-4.05-reasoning", Anthropic, OpenAi),
        ("a2o-stream-4.08-call", Anthropic, OpenAi),
        ("a2o-stream-4.12-finish-beside-content", Anthropic, OpenAi),
        ("o2a-stream-5.4-parallel-tools", OpenAi, Anthropic),
        ("o2a-stream-5.2-text-at-the-start", OpenAi, Anthropic),
    ] {
        let told = streamed(client, &read(case, "answer.sse"));
        let heard = streamed(upstream, &read(case, "upstream_answer.sse"));
        assert_eq!(told.text(), heard.text(), "{case}");
        assert!(!told.is_empty(), "{case}");
    }
}

#[test]
fn half_a_character_and_broken_bytes_are_counted_as_they_stand() {
    let half = delta(r#"{"type":"text_delta","text":"a\ud83d"}"#);
    assert_eq!(text_of(Anthropic, &[&half]), r"a\ud83d");
    let mut produced = Produced::new(OpenAi);
    produced.observe(b"data: {\"delta\":{\"content\":\"a\xff\"}}\n\n");
    assert_eq!(produced.text(), "a\u{fffd}");
    for cut in ["\"", "\"a", "\"a\\", "\"a\\\"", ""] {
        let frame = format!("data: {{\"delta\":{{\"content\":{cut}\n\n");
        assert!(streamed(OpenAi, &frame).is_empty(), "{cut}");
    }
}

#[test]
fn a_long_answer_is_kept_within_bounds_and_its_rest_measured() {
    let part = "word ".repeat(1000);
    let chunk = frame(OpenAi, &chunk(&format!(r#"{{"content":"{part}"}}"#)));
    let mut produced = Produced::new(OpenAi);
    for _ in 0..100 {
        produced.observe(chunk.as_bytes());
    }
    let kept = produced.text().len();
    assert!((TEXT_LIMIT_BYTES - part.len()..=TEXT_LIMIT_BYTES).contains(&kept));
    let rest = (100 - kept / part.len()) * (part.len() + 2);
    assert_eq!(produced.surplus_bytes(), rest as u64);

    let huge = chunk.replace(&part, &"x".repeat(TEXT_LIMIT_BYTES));
    let produced = streamed(OpenAi, &huge);
    assert_eq!(produced.text(), "");
    assert_eq!(produced.surplus_bytes(), TEXT_LIMIT_BYTES as u64 + 2);
    assert!(!produced.is_empty());
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail(
        parts in prop::collection::vec(
            prop_oneof![
                Just("data: {\"delta\":{\"content\":\"".to_owned()),
                Just("event: content_block_start\ndata: {\"content_block\":{\"type\":\"tool_use\",".to_owned()),
                Just("event: content_block_delta\ndata: {\"delta\":{\"text\":".to_owned()),
                Just("\"input\":{".to_owned()), Just("\\".to_owned()), Just("\"".to_owned()),
                Just("}}\n\n".to_owned()), ".{0,20}",
            ],
            0..12,
        ),
    ) {
        let bytes = parts.concat();
        for dialect in Dialect::ALL {
            let produced = streamed(dialect, &bytes);
            prop_assert!(produced.text().len() <= 2 * bytes.len());
            let _ = produced_of_body(dialect, bytes.as_bytes());
        }
    }
}
