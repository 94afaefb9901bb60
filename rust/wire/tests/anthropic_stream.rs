//! A streamed completion as events: whatever comes in, what goes out is a message or ends with an
//! error.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what is shared by the tests fails them too"
)]

mod chunks;
mod grammar;

use bytes::Bytes;
use chunks::legal::{blocks, ending, object, script, upstream};
use chunks::odd::odd_events;
use grammar::anthropic::{Block, Message, anthropic};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::string::string_regex;
use serde_json::{Value, json};
use wire::translate::{self, Kind, Memory, Order, Profile, Progress, Stamp, Translated};
use wire::{Frames, Operation};

const STAMP: Stamp<'static> = Stamp {
    request_id: "req_test",
    now_s: 0,
};

fn memory(lenient_end: bool) -> Memory {
    let body = json!({
        "model": "client-model",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "hello"}],
        "stop_sequences": ["END"],
        "stream": true,
    })
    .to_string();
    let mut profile = Profile::preset(Kind::Vllm);
    profile.lenient_end = lenient_end;
    let order = Order {
        operation: Operation::Messages,
        body: body.as_bytes(),
        profile: &profile,
        wire_model: "upstream-model",
    };
    match translate::request(&order).unwrap() {
        Translated::Request(request) => request.memory,
        other => panic!("{other:?}"),
    }
}

/// What a client gets of `upstream`, which is read in pieces that end at `cuts`, with a ping after
/// each where `pings` says so.
///
/// `None` if the answer is an HTTP error.
fn translated(memory: Memory, upstream: &[u8], cuts: &[Index], pings: bool) -> Option<Vec<u8>> {
    let mut ends: Vec<_> = cuts
        .iter()
        .map(|cut| cut.index(upstream.len() + 1))
        .collect();
    ends.push(upstream.len());
    ends.sort_unstable();
    let mut stream = memory.stream(STAMP);
    let mut frames = Frames::new();
    let mut out = Vec::new();
    let mut start = 0;
    for end in ends {
        let piece = Bytes::copy_from_slice(&upstream[start..end]);
        start = end;
        if let Some(ready) = frames.push_ready(piece).unwrap() {
            stream.push(&ready, &mut out);
        }
        if pings {
            stream.ping(&mut out);
        }
    }
    stream.close(&frames.finish().unwrap_or_default(), &mut out);
    match stream.progress() {
        Progress::Complete => Some(out),
        Progress::Broken(refusal) => {
            let begun = !out.is_empty();
            out.extend(refusal.event(STAMP.request_id));
            begun.then_some(out)
        }
        unfinished => panic!("a closed stream is {unfinished:?}"),
    }
}

fn read(stream: &[u8]) -> Message {
    anthropic(stream).unwrap_or_else(|why| panic!("{why}\n{}", String::from_utf8_lossy(stream)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_said_arrives_whole_and_in_order(
        script in script(),
        ending in ending(),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let upstream = upstream(&script, &ending);
        let out = translated(memory(false), &upstream, &[], false).unwrap();
        let message = read(&out);
        let blocks = blocks(&script);
        let called = blocks.iter().any(|block| matches!(block, Block::ToolUse { .. }));
        let reason = if called { "tool_use" } else { "end_turn" };
        prop_assert_eq!(&message.blocks, &blocks);
        prop_assert_eq!(message.stop_reason.as_deref(), Some(reason));
        prop_assert_eq!((&*message.id, &*message.model), ("msg_a1", "client-model"));
        let counted = ending.usage || ending.usage_each_time;
        prop_assert_eq!(message.usage["output_tokens"].as_u64(), Some(if counted { 5 } else { 0 }));
        let first = if ending.usage_each_time { 20 } else { 0 };
        prop_assert_eq!(message.first_usage["input_tokens"].as_u64(), Some(first));
        prop_assert_eq!(message.error, None);

        let cut = translated(memory(false), &upstream, &cuts, false);
        prop_assert_eq!(cut, Some(out));
        let pinged = read(&translated(memory(false), &upstream, &cuts, true).unwrap());
        let texts = |blocks: &[Block]| format!("{blocks:?}").replace("gw1.test", "gw1.a1");
        prop_assert_eq!(texts(&pinged.blocks), texts(&blocks));
    }

    #[test]
    fn cut_anywhere_before_its_finish_it_ends_with_an_error(
        script in script(),
        ending in ending(),
        end in any::<Index>(),
    ) {
        let whole = upstream(&script, &ending);
        let finish = whole.windows(16).rposition(|window| window == b"\"finish_reason\":");
        let upstream = &whole[..end.index(finish.unwrap())];
        if let Some(out) = translated(memory(false), upstream, &[], false) {
            let message = read(&out);
            prop_assert_eq!(message.error.map(|(kind, _)| kind), Some("api_error".to_owned()));
            prop_assert_eq!(message.stop_reason, None);
        }
    }

    #[test]
    fn a_whole_answer_holds_the_same_as_a_stream_of_one_chunk(
        thinking in string_regex("[a-z \n]{0,8}").unwrap(),
        text in string_regex("[a-z \n]{0,8}").unwrap(),
        inputs in vec(object(), 0..3),
        finish in select(vec!["stop", "tool_calls", "length", "content_filter", "eos"]),
        stop in select(vec!["END", "OTHER"]),
    ) {
        let calls: Vec<_> = inputs
            .iter()
            .map(|input| json!({"function": {"name": "tool", "arguments": input}}))
            .collect();
        let said = json!({"reasoning": thinking, "content": text, "tool_calls": calls});
        let usage = json!({"prompt_tokens": 20, "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 16}});
        let body = |member: &str| {
            let choice = json!({"index": 0, member: said, "finish_reason": finish, "stop_reason": stop});
            json!({"id": "chatcmpl-a1", "choices": [choice], "usage": usage}).to_string()
        };
        let whole = memory(false).answer(body("message").as_bytes(), STAMP).unwrap();
        let whole: Value = serde_json::from_slice(&whole.body).unwrap();
        let chunk = format!("data: {}\n\n", body("delta"));
        let message = read(&translated(memory(false), chunk.as_bytes(), &[], false).unwrap());
        let blocks: Vec<_> = message.blocks.iter().map(|block| match block {
            Block::Text(text) => json!({"type": "text", "text": text}),
            Block::Thinking { thinking, signature } => {
                json!({"type": "thinking", "thinking": thinking, "signature": signature})
            }
            Block::ToolUse { id, name, input } => {
                let input: Value = serde_json::from_str(input).unwrap();
                json!({"type": "tool_use", "id": id, "name": name, "input": input})
            }
        }).collect();
        prop_assert_eq!(&whole["content"], &json!(blocks));
        prop_assert_eq!(&whole["stop_reason"], &json!(message.stop_reason));
        prop_assert_eq!(&whole["stop_sequence"], &json!(message.stop_sequence));
        prop_assert_eq!(&whole["usage"], &message.usage);
        prop_assert_eq!(&whole["id"], &json!(message.id));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn whatever_comes_what_goes_out_is_a_message_or_ends_with_an_error(
        events in odd_events(),
        lenient_end: bool,
        pings: bool,
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let upstream = events.concat();
        let out = translated(memory(lenient_end), &upstream, &cuts, pings);
        if let Some(out) = &out {
            read(out);
        }
        if !pings {
            prop_assert_eq!(out, translated(memory(lenient_end), &upstream, &[], false));
        }
    }
}

#[test]
fn the_grammar_is_strict() {
    let event =
        |name: &str, rest: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n");
    let usage = r#"{"input_tokens":1,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}"#;
    let start = event(
        "message_start",
        &format!(
            r#","message":{{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{usage}}}"#
        ),
    );
    let open = |index: usize, block: &str| {
        event(
            "content_block_start",
            &format!(r#","index":{index},"content_block":{block}"#),
        )
    };
    let delta = |index: usize, delta: &str| {
        event(
            "content_block_delta",
            &format!(r#","index":{index},"delta":{delta}"#),
        )
    };
    let stop = |index: usize| event("content_block_stop", &format!(r#","index":{index}"#));
    let end = |reason: &str| {
        let delta = format!(
            r#","delta":{{"stop_reason":"{reason}","stop_sequence":null}},"usage":{usage}"#
        );
        event("message_delta", &delta) + &event("message_stop", "")
    };
    let text = |index| open(index, r#"{"type":"text","text":""}"#);
    let said = |index| delta(index, r#"{"type":"text_delta","text":"a"}"#);
    let thinking = open(0, r#"{"type":"thinking","thinking":"","signature":""}"#)
        + &delta(0, r#"{"type":"thinking_delta","thinking":"a"}"#);
    let call = |index| {
        open(
            index,
            r#"{"type":"tool_use","id":"t","name":"n","input":{}}"#,
        )
    };
    let half = delta(0, r#"{"type":"input_json_delta","partial_json":"{"}"#);
    let whole = start.clone() + &text(0) + &said(0) + &stop(0) + &end("end_turn");

    assert_eq!(read(whole.as_bytes()).blocks, [Block::Text("a".to_owned())]);
    for (why, rest) in [
        ("the stream just stops", text(0)),
        ("a second open block", text(0) + &text(1)),
        ("a gap", text(0) + &said(0) + &stop(0) + &text(2)),
        ("another block's index", text(0) + &said(1)),
        ("no block is open", text(0) + &said(0) + &stop(0) + &said(0)),
        (
            "thinking_delta for",
            text(0) + &delta(0, r#"{"type":"thinking_delta","thinking":"a"}"#),
        ),
        (
            "an empty delta",
            text(0) + &delta(0, r#"{"type":"text_delta","text":""}"#),
        ),
        ("an empty text block", text(0) + &stop(0)),
        ("thinking without a signature", thinking + &stop(0)),
        (
            "a block is still open",
            text(0) + &said(0) + &end("end_turn"),
        ),
        ("no message_delta", event("message_stop", "")),
        ("a stop reason of another message", end("tool_use")),
        (
            "an input that is not an object",
            call(0) + &half + &stop(0) + &end("tool_use"),
        ),
        (
            "an id twice",
            call(0) + &stop(0) + &call(1) + &stop(1) + &end("tool_use"),
        ),
        ("a second message_start", start.clone()),
        (
            "something after the end",
            end("end_turn") + &event("ping", ""),
        ),
        ("no event of this API", event("content_block_end", "")),
        (
            "its name is not its type",
            "event: ping\ndata: {\"type\":\"error\"}\n\n".to_owned(),
        ),
        ("1 lines", "data: {\"type\":\"ping\"}\n\n".to_owned()),
        (
            "3 lines",
            "event: ping\ndata: {\"type\":\ndata: \"ping\"}\n\n".to_owned(),
        ),
        (
            "no event of this API",
            "event: done\ndata: {\"type\":\"done\"}\n\n".to_owned(),
        ),
    ] {
        let told = anthropic((start.clone() + &rest).as_bytes()).unwrap_err();
        assert!(told.starts_with(why), "{why}: {told}");
    }
    let cut = start + &call(0) + &half + &stop(0) + &end("max_tokens");
    assert!(anthropic(cut.as_bytes()).is_ok());
}
