use proptest::prelude::*;

use super::{Observer, Seen, Usage, usage_of_body, usage_of_tail};
use crate::Dialect::{self, Anthropic, OpenAi};

const ANTHROPIC: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":25,"cache_creation_input_tokens":100,"cache_read_input_tokens":2000,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"say \"usage\""}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15,"input_tokens":null}}

event: message_stop
data: {"type":"message_stop"}

"#;

const OPENAI: &str = r#"data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}

data: {"id":"c","choices":[{"index":0,"delta":{"content":"\"finish_reason\":\"stop\""},"finish_reason":null}]}

data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"id":"c","choices":[],"usage":{"prompt_tokens":30,"total_tokens":37,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":16}}}

data: [DONE]

"#;

fn observed(dialect: Dialect, stream: &str) -> Observer {
    let mut observer = Observer::new(dialect);
    observer.observe(stream.as_bytes());
    observer
}

#[test]
fn merges_the_usage_of_an_anthropic_stream() {
    let mut observer = Observer::new(Anthropic);
    assert_eq!(
        observer.observe(ANTHROPIC.as_bytes()),
        Seen {
            content: true,
            frames: 6
        }
    );
    let expected = Usage {
        input_tokens: 25,
        output_tokens: 15,
        cache_read_tokens: 2000,
        cache_creation_tokens: 100,
        seen: true,
        input_told: true,
        output_told: true,
    };
    assert_eq!(observer.usage(), expected);
    assert!(observer.finished());
    assert_eq!(observer.error(), None);
}

#[test]
fn takes_cached_tokens_out_of_the_prompt_of_an_openai_stream() {
    let mut observer = Observer::new(OpenAi);
    assert_eq!(
        observer.observe(OPENAI.as_bytes()),
        Seen {
            content: true,
            frames: 5
        }
    );
    let expected = Usage {
        input_tokens: 14,
        output_tokens: 7,
        cache_read_tokens: 16,
        cache_creation_tokens: 0,
        seen: true,
        input_told: true,
        output_told: true,
    };
    assert_eq!(observer.usage(), expected);
    assert!(observer.finished());
}

#[test]
fn tells_which_frames_carry_content() {
    let content = |dialect, frame: &str| {
        Observer::new(dialect)
            .observe(format!("{frame}\n\n").as_bytes())
            .content
    };
    for frame in [
        "event: ping\ndata: {\"type\":\"ping\"}",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\"}",
        ": comment",
    ] {
        assert!(!content(Anthropic, frame), "{frame}");
    }
    assert!(content(
        Anthropic,
        "data: {\"type\":\"content_block_delta\"}"
    ));
    for (delta, expected) in [
        (r#"{"content":"x"}"#, true),
        (r#"{ "content" : "x" }"#, true),
        (r#"{"reasoning":"x"}"#, true),
        (r#"{"reasoning_content":"x","content":null}"#, true),
        (r#"{"tool_calls":[{"index":0}]}"#, true),
        (r#"{"role":"assistant","content":""}"#, false),
        (r#"{"content":null,"tool_calls":[]}"#, false),
        ("{}", false),
    ] {
        let frame = format!(r#"data: {{"choices":[{{"delta":{delta},"finish_reason":null}}]}}"#);
        assert_eq!(content(OpenAi, &frame), expected, "{frame}");
    }
}

#[test]
fn a_stream_that_breaks_off_is_not_finished() {
    let whole = ANTHROPIC.split_once("event: message_stop").unwrap().0;
    assert!(!observed(Anthropic, whole).finished());
    let whole = OPENAI
        .split_once(r#"data: {"id":"c","choices":[{"index":0,"delta":{}"#)
        .unwrap()
        .0;
    assert!(!observed(OpenAi, whole).finished());
}

#[test]
fn a_finish_reason_ends_an_openai_stream_without_done() {
    let whole = OPENAI.split_once("data: [DONE]").unwrap().0;
    assert!(observed(OpenAi, whole).finished());
    assert!(!observed(OpenAi, whole).closed());
    assert!(observed(OpenAi, &format!("{whole}data: [DONE]\n\n")).closed());
}

#[test]
fn an_error_inside_the_stream_is_kept_and_the_stream_is_not_whole() {
    for (dialect, stream, kind) in [
        (
            Anthropic,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n\
             event: message_stop\ndata: {}\n\n",
            "overloaded_error",
        ),
        (Anthropic, "event: error\ndata: nonsense\n\n", "unknown"),
        (
            Anthropic,
            "data: {\"error\":{\"type\":\"BadRequestError\"}}\n\n",
            "BadRequestError",
        ),
        (
            OpenAi,
            "data: {\"error\": {\"message\":\"m\",\"type\":\"BadRequestError\",\"code\":400}}\n\n\
             data: [DONE]\n\n",
            "BadRequestError",
        ),
        (
            OpenAi,
            "data: {\"object\":\"error\",\"type\":\"ServerError\"}\n\n",
            "ServerError",
        ),
        (
            OpenAi,
            "data: {\"error\":\"text with\\nlines\"}\n\n",
            "unknown",
        ),
        (
            OpenAi,
            "data: {\"error\":{\"type\":\"a\\nb\"}}\n\n",
            "unknown",
        ),
        (
            OpenAi,
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"abort\"}]}\n\n",
            "abort",
        ),
    ] {
        let observer = observed(dialect, stream);
        assert_eq!(
            observer.error().map(|error| error.kind.as_str()),
            Some(kind),
            "{stream}"
        );
        assert!(!observer.finished(), "{stream}");
    }
    assert_eq!(
        observed(OpenAi, "data: {\"id\":\"error\",\"error\":null}\n\n").error(),
        None
    );
}

#[test]
fn nonsense_in_usage_is_absent_or_zero() {
    for (usage, input, output) in [
        (r#"{"input_tokens":-5,"output_tokens":"7"}"#, 0, 0),
        (
            r#"{"input_tokens":1.9,"output_tokens":1e30}"#,
            1,
            u64::from(u32::MAX),
        ),
        (r#"{"input_tokens":{"a":[]},"output_tokens":3}"#, 0, 3),
        ("[]", 0, 0),
        ("\"many\"", 0, 0),
        ("null", 0, 0),
    ] {
        let body = format!(r#"{{"content":[{{"usage":1}}],"usage":{usage}}}"#);
        let found = usage_of_body(Anthropic, body.as_bytes());
        assert_eq!(
            (found.input_tokens, found.output_tokens),
            (input, output),
            "{usage}"
        );
    }
    assert_eq!(usage_of_body(OpenAi, b"<html>"), Usage::default());
}

#[test]
fn takes_what_a_cache_gave_and_got_out_of_the_prompt() {
    for (cached, written, expected) in [
        (3, 2, (4, 3, 2)),
        (0, 9, (0, 0, 9)),
        (10, 0, (0, 9, 0)),
        (8, 8, (0, 8, 1)),
    ] {
        let details = format!(r#"{{"cached_tokens":{cached},"cache_write_tokens":{written}}}"#);
        let usage = format!(r#"{{"prompt_tokens":9,"prompt_tokens_details":{details}}}"#);
        let found = usage_of_body(OpenAi, format!(r#"{{"usage":{usage}}}"#).as_bytes());
        let found = (
            found.input_tokens,
            found.cache_read_tokens,
            found.cache_creation_tokens,
        );
        assert_eq!(found, expected);
    }
}

#[test]
fn reads_the_usage_of_whole_answers() {
    let body = br#"{"type":"message","content":[],"usage":{"input_tokens":3,"output_tokens":4}}"#;
    let found = usage_of_body(Anthropic, body);
    assert_eq!(
        (found.input_tokens, found.output_tokens, found.seen),
        (3, 4, true)
    );
    let body = br#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,
        "prompt_tokens_details":null}}"#;
    let found = usage_of_body(OpenAi, body);
    assert_eq!(
        (found.input_tokens, found.output_tokens, found.seen),
        (3, 4, true)
    );
}

#[test]
fn tells_which_of_input_and_output_were_told() {
    let told = |usage: Usage| (usage.input_told, usage.output_told);
    let begun = ANTHROPIC.split_once("event: message_delta").unwrap().0;
    let usage = observed(Anthropic, begun).usage();
    assert_eq!((told(usage), usage.output_tokens), ((true, false), 1));
    assert_eq!(told(observed(Anthropic, ANTHROPIC).usage()), (true, true));

    let begun = OPENAI
        .split_once(r#"data: {"id":"c","choices":[],"#)
        .unwrap()
        .0;
    assert_eq!(told(observed(OpenAi, begun).usage()), (false, false));
    assert_eq!(told(observed(OpenAi, OPENAI).usage()), (true, true));

    for (usage, expected) in [
        (r#"{"prompt_tokens":9}"#, (true, false)),
        (r#"{"completion_tokens":9}"#, (false, true)),
        (
            r#"{"prompt_tokens":0,"completion_tokens":0}"#,
            (false, false),
        ),
        (
            r#"{"prompt_tokens":-9,"completion_tokens":-9}"#,
            (false, false),
        ),
        (
            r#"{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":9}}"#,
            (true, false),
        ),
    ] {
        let body = format!(r#"{{"usage":{usage}}}"#);
        assert_eq!(told(usage_of_body(OpenAi, body.as_bytes())), expected);
    }
}

#[test]
fn a_late_input_is_told_at_the_end() {
    let stream = ANTHROPIC
        .replace(r#""input_tokens":25,"#, r#""input_tokens":0,"#)
        .replace("2000", "0")
        .replace("100", "0")
        .replace(r#""input_tokens":null"#, r#""input_tokens":7"#);
    let begun = stream.split_once("event: message_delta").unwrap().0;
    assert!(!observed(Anthropic, begun).usage().input_told);
    let usage = observed(Anthropic, &stream).usage();
    assert_eq!((usage.input_tokens, usage.input_told), (7, true));
}

#[test]
fn reads_the_usage_at_the_end_of_a_body() {
    let text = r#"say \"usage\":{\"input_tokens\":1}"#.repeat(50);
    let body = format!(
        r#"{{"type":"message","content":[{{"type":"text","text":"{text}"}}],"usage":{{"input_tokens":3,"output_tokens":4,"server_tool_use":{{"usage":[1]}}}},"container":null}}"#
    );
    let whole = usage_of_body(Anthropic, body.as_bytes());
    let at = body.rfind(r#""usage":{"input"#).unwrap();
    for start in 0..body.len() {
        let found = usage_of_tail(Anthropic, &body.as_bytes()[start..]);
        let expected = if start <= at { whole } else { Usage::default() };
        assert_eq!(found, expected, "{start}");
    }
    let body = br#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
    assert_eq!(usage_of_tail(OpenAi, body), usage_of_body(OpenAi, body));
    for end in 0..body.len() {
        assert!(
            !usage_of_tail(OpenAi, &body[..end]).seen,
            "cut off at {end}"
        );
    }
}

#[test]
fn a_usage_within_the_answer_is_not_the_answers() {
    let call = r#"{"type":"tool_use","name":"report","input":{"usage":{"input_tokens":1,"output_tokens":1}}}"#;
    let before = format!(
        r#"{{"usage":{{"input_tokens":30,"output_tokens":40}},"content":[{call}],"stop_reason":"tool_use"}}"#
    );
    assert_eq!(
        usage_of_tail(Anthropic, before.as_bytes()).output_tokens,
        40
    );
    let tail = &before.as_bytes()[10..];
    assert_eq!(usage_of_tail(Anthropic, tail), Usage::default());
    let after =
        format!(r#"{{"content":[{call}],"usage":{{"input_tokens":30,"output_tokens":40}}}}"#);
    assert_eq!(usage_of_tail(Anthropic, after.as_bytes()).output_tokens, 40);
}

proptest! {
    #[test]
    fn batching_changes_nothing(cuts in prop::collection::vec(any::<bool>(), 6)) {
        for (dialect, stream) in [(Anthropic, ANTHROPIC), (OpenAi, OPENAI)] {
            let whole = observed(dialect, stream);
            let mut observer = Observer::new(dialect);
            let mut batch = Vec::new();
            let mut frames = 0;
            for (frame, cut) in crate::sse::split(stream.as_bytes()).zip(&cuts) {
                batch.extend_from_slice(frame);
                if *cut {
                    frames += observer.observe(&std::mem::take(&mut batch)).frames;
                }
            }
            frames += observer.observe(&batch).frames;
            prop_assert_eq!(observer.usage(), whole.usage());
            prop_assert_eq!(observer.finished(), whole.finished());
            prop_assert_eq!(frames as usize, crate::sse::split(stream.as_bytes()).count());
        }
    }

    #[test]
    fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for dialect in Dialect::ALL {
            Observer::new(dialect).observe(&bytes);
            let _ = usage_of_body(dialect, &bytes);
            let _ = usage_of_tail(dialect, &bytes);
        }
    }
}
