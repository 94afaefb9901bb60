//! What a request counts as, by how it ends: the table of the quota policy, through a whole relay with a real store.

#![cfg(test)]

#[path = "quota/gateway.rs"]
mod gateway;
#[path = "quota/upstream.rs"]
mod upstream;

use std::time::{Duration, Instant};

use gateway::{Gateway, Leaves, Told};
use upstream::{Answer, Upstream};
use wire::Operation::{self, ChatCompletions, CountTokens, Messages};

const TYPED: &str =
    r#"{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"how are you?"}]}"#;
const RESULT: &str = r#"{"model":"m","max_tokens":100,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"4"}]}]}"#;
const STREAM: &str = r#"{"model":"m","stream":true,"max_tokens":100,"messages":[{"role":"user","content":"how are you?"}]}"#;
/// 7 tokens by the gateway's own count: 4 of the text, and those around it.
const ANSWER: &str = r#"{"type":"message","content":[{"type":"text","text":"fine"}],"usage":{"input_tokens":100,"output_tokens":30,"cache_read_input_tokens":50}}"#;
const SILENT_ANSWER: &str =
    r#"{"choices":[{"message":{"role":"assistant","content":"fine, thanks"}}]}"#;
/// The input is told, and the beginning of the output.
const BEGUN: &str = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":100,\"output_tokens\":1}}}\n\n\
    event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"one two three\"}}\n\n";
const STARTED: &str = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":100,\"output_tokens\":1}}}\n\n";
const CHAT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"one two three\"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// 2 × (100 + 30 + 0.1 × 50)
const TOLD_TOKENS: u64 = 270;
/// "one two three"
const WRITTEN_TOKENS: u64 = 3;
const FAILURE: &str = r#"{"type":"error","error":{"type":"api_error","message":"no"}}"#;

struct Run {
    told: Told,
    used: [u64; 4],
    record: serde_json::Value,
}

fn run(answer: Answer, operation: Operation, body: &'static str, leaves: Leaves) -> Run {
    run_at(&Upstream::start(answer), operation, body, leaves)
}

fn run_at(upstream: &Upstream, operation: Operation, body: &'static str, leaves: Leaves) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path(), &upstream.url, Duration::from_secs(5));
    let told = gateway.begin(operation, body, leaves).told();
    let run = Run {
        told,
        used: gateway.used(),
        record: gateway.record(),
    };
    gateway.stop();
    run
}

#[test]
fn a_whole_answer_counts_as_the_upstream_says() {
    let run = run(
        Answer::Json(200, ANSWER.into()),
        Messages,
        TYPED,
        Leaves::Never,
    );
    assert_eq!(run.told.body, ANSWER);
    assert_eq!(run.used, [1, 1, TOLD_TOKENS, 0]);
    assert_eq!(run.record["usage"], serde_json::Value::Null);
    assert!(
        run.told
            .header("ratelimit")
            .is_some_and(|value| value.contains("requests"))
    );
    assert!(
        run.told
            .header("anthropic-ratelimit-unified-status")
            .is_some()
    );
}

#[test]
fn the_result_of_a_tool_is_a_request_and_no_prompt() {
    let run = run(
        Answer::Json(200, ANSWER.into()),
        Messages,
        RESULT,
        Leaves::Never,
    );
    assert_eq!(run.used, [1, 0, TOLD_TOKENS, 0]);
}

#[test]
fn what_an_upstream_does_not_tell_is_counted_here() {
    for (answer, body) in [
        (Answer::Json(200, SILENT_ANSWER.into()), TYPED),
        (Answer::Stream(CHAT), STREAM),
    ] {
        let run = run(answer, ChatCompletions, body, Leaves::Never);
        let (input, output) = (&run.record["input_tokens"], &run.record["output_tokens"]);
        let (input, output) = (input.as_u64().unwrap(), output.as_u64().unwrap());
        assert_eq!(output, WRITTEN_TOKENS);
        assert!((5..30).contains(&input), "{input}");
        assert_eq!(run.used, [1, 1, 2 * (input + output), 0]);
        assert_eq!(run.record["usage"], "estimate");
        assert_eq!(run.record["outcome"], "complete");
    }
}

#[test]
fn an_answer_too_large_to_be_held_is_read_at_its_end() {
    let padding = "x".repeat(3 << 20);
    let answer = ANSWER.replace("fine", &padding);
    let run = run(
        Answer::Json(200, answer.clone()),
        Messages,
        TYPED,
        Leaves::Never,
    );
    assert!(run.told.body == answer);
    assert_eq!(run.used, [1, 1, TOLD_TOKENS, 0]);
}

#[test]
fn what_an_upstream_refused_or_failed_is_given_back() {
    for status in [400, 429, 500] {
        let run = run(
            Answer::Json(status, FAILURE.into()),
            Messages,
            TYPED,
            Leaves::Never,
        );
        assert_eq!(run.told.status, status);
        assert_eq!(run.used, [0; 4], "{status}");
        assert!(run.told.header("ratelimit").is_some());
        assert!(
            run.told
                .header("anthropic-ratelimit-unified-status")
                .is_none()
        );
    }
    let run = run_at(&Upstream::gone(), Messages, TYPED, Leaves::Never);
    assert_eq!((run.told.status, run.used), (502, [0; 4]));
}

#[test]
fn what_an_upstream_died_before_is_given_back() {
    for events in ["", STARTED] {
        let run = run(Answer::Cut(events), Messages, STREAM, Leaves::Never);
        assert_eq!(run.used, [0; 4], "{events}");
    }
}

#[test]
fn an_upstream_that_dies_midway_is_paid_what_was_delivered() {
    let run = run(Answer::Cut(BEGUN), Messages, STREAM, Leaves::Never);
    assert!(run.told.body.contains("event: error"));
    assert_eq!(run.used, [1, 1, 2 * (100 + WRITTEN_TOKENS), 0]);
    assert_eq!(
        (&run.record["outcome"], &run.record["usage"]),
        (&"broken".into(), &"estimate".into())
    );
}

#[test]
fn a_client_that_leaves_midway_pays_the_input_and_what_was_produced() {
    let run = run(Answer::Held(BEGUN), Messages, STREAM, Leaves::Midway);
    assert_eq!(run.record["outcome"], "client_left");
    assert_eq!(run.used, [1, 1, 2 * (100 + WRITTEN_TOKENS), 0]);
}

#[test]
fn a_client_that_leaves_before_the_first_byte_pays_the_input() {
    for body in [TYPED, STREAM] {
        let run = run(Answer::Silent, Messages, body, Leaves::AtOnce);
        assert_eq!(run.record["outcome"], "client_left");
        let input = run.record["input_tokens"].as_u64().unwrap();
        assert!((5..30).contains(&input), "{input}");
        assert_eq!(run.used, [1, 1, 2 * input, 0]);
    }
}

#[test]
fn counting_tokens_counts_nothing() {
    let answer = Answer::Json(200, r#"{"input_tokens":9}"#.into());
    let run = run(answer, CountTokens, TYPED, Leaves::Never);
    assert_eq!((run.told.status, run.used), (200, [0; 4]));
    assert!(run.told.header("ratelimit").is_none());
}

#[test]
fn a_place_is_taken_while_a_request_lasts_and_free_when_it_has_ended() {
    let upstream = Upstream::start(Answer::Held(BEGUN));
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path(), &upstream.url, Duration::from_millis(100));
    let flying = [(); 2].map(|()| gateway.begin(Messages, STREAM, Leaves::Never));
    flying.iter().for_each(gateway::Asking::begun);
    assert_eq!(gateway.used()[3], 2);
    let refused = gateway.begin(Messages, STREAM, Leaves::Never).told();
    assert_eq!(refused.status, 429);
    assert!(
        refused
            .message()
            .starts_with("2 requests are already in flight")
    );
    assert_eq!(refused.header("retry-after"), Some("2"));
    assert_eq!(refused.header("x-should-retry"), None);
    assert_eq!(gateway.used()[0], 2, "a refused request is not counted");
    assert_eq!(upstream.requests(), 2, "nor sent");
    let refusals = r#"gateway_quota_refusals_total{period="none",unit="concurrent"} 1"#;
    assert!(gateway.page().contains(refusals), "{}", gateway.page());

    // Exchanges that the drain cuts off keep what they took, and the next process frees their places.
    let taken = gateway.used();
    gateway.stop();
    let gateway = Gateway::start(folder.path(), &upstream.url, Duration::from_secs(5));
    let began = Instant::now();
    while gateway.used()[3] > 0 {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(gateway.used()[..3], taken[..3]);
    gateway.stop();
}

#[test]
fn of_several_full_windows_the_one_that_stays_full_longest_is_named() {
    let upstream = Upstream::start(Answer::Held(BEGUN));
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path(), &upstream.url, Duration::from_millis(100));
    for _ in 0..3 {
        gateway.begin(Messages, STREAM, Leaves::Midway).told();
    }
    let flying = [(); 2].map(|()| gateway.begin(Messages, STREAM, Leaves::Never));
    flying.iter().for_each(gateway::Asking::begun);
    let refused = gateway.begin(Messages, STREAM, Leaves::Never).told();
    let message = refused.message();
    assert!(
        message.contains("quota of 5 requests per day is used up"),
        "{message}"
    );
    gateway.stop();
}

#[test]
fn a_used_up_window_refuses_in_the_words_of_each_api() {
    let upstream = Upstream::start(Answer::Json(200, ANSWER.into()));
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path(), &upstream.url, Duration::from_secs(5));
    for _ in 0..5 {
        assert_eq!(
            gateway.begin(Messages, TYPED, Leaves::Never).told().status,
            200
        );
    }
    for (operation, kind) in [
        (Messages, "billing_error"),
        (ChatCompletions, "insufficient_quota"),
    ] {
        let refused = gateway.begin(operation, TYPED, Leaves::Never).told();
        assert_eq!(refused.status, 429);
        assert!(refused.body.contains(kind), "{}", refused.body);
        assert!(
            refused
                .message()
                .contains("the free tier's quota of 5 requests per day is used up")
        );
        assert_eq!(refused.header("x-should-retry"), Some("false"));
        let unified = refused.header("anthropic-ratelimit-unified-status");
        assert_eq!(unified, (operation == Messages).then_some("rejected"));
    }
    assert_eq!(upstream.requests(), 5);
    assert_eq!(gateway.used()[0], 5);
    gateway.stop();
}
