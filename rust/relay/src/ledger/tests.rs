use bytes::Bytes;
use quota::{OnFailure, Period, Unit, Window};
use wire::Operation;
use wire::translate::{Kind, Profile};

use super::{Reserved, wants};
use crate::exchange::Asked;
use crate::plan::{Plan, Weights};

const TYPED: &str =
    r#"{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"how are you?"}]}"#;
const RESULT: &str = r#"{"model":"m","max_tokens":100,"messages":[{"role":"user","content":[
    {"type":"tool_result","tool_use_id":"t","content":"4"}]}]}"#;
const UNLIMITED: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

const ALL: Reserved = Reserved {
    output_tokens: None,
    context_window: None,
};

fn asked(operation: Operation, body: &'static str) -> Asked {
    let body = Bytes::from_static(body.as_bytes());
    Asked {
        user: "alice".into(),
        operation,
        peek: wire::peek(&body, operation).unwrap(),
        body,
        headers: Vec::new(),
        query: String::new(),
    }
}

/// A plan that counts everything: requests a day, prompts a day, tokens a minute and a month, places.
fn plan(requests: u64, prompts: u64, tokens: f64) -> Plan {
    let window = |unit, period| Window {
        unit,
        period,
        limit: Some(1_000_000),
    };
    Plan {
        tier: "free".into(),
        asked: "m".into(),
        model: "m".into(),
        served: "m".into(),
        wire_model: "m".into(),
        upstream: "u".into(),
        profile: "p".into(),
        adapt: false,
        windows: vec![
            window(Unit::Requests, Some(Period::Day)),
            window(Unit::Prompts, Some(Period::Day)),
            window(Unit::Tokens, Some(Period::Minute)),
            window(Unit::Tokens, Some(Period::Month)),
            window(Unit::Concurrent, None),
        ],
        weights: Weights {
            requests,
            prompts,
            tokens,
        },
        on_failure: OnFailure::Local,
    }
}

fn amounts(asked: &Asked, plan: &Plan, profile: &Profile, reserved: Reserved) -> Vec<u64> {
    let wants = wants(asked, plan, profile, reserved);
    assert!(
        wants
            .iter()
            .map(|want| want.window)
            .eq(plan.windows.iter().copied())
    );
    wants.into_iter().map(|want| want.amount).collect()
}

/// What is reserved of the tokens of `body`.
fn tokens(body: &'static str, profile: &Profile, reserved: Reserved) -> u64 {
    let asked = asked(Operation::Messages, body);
    amounts(&asked, &plan(1, 1, 1.0), profile, reserved)[2]
}

#[test]
fn a_request_takes_of_each_window_what_it_counts_as() {
    let profile = Profile::preset(Kind::Anthropic);
    let asked = asked(Operation::Messages, TYPED);
    let input = wire::input_bound_tokens(TYPED.as_bytes());
    let plain = amounts(&asked, &plan(1, 1, 1.0), &profile, ALL);
    assert_eq!(plain, [1, 1, input + 100, input + 100, 1]);
    let heavy = amounts(&asked, &plan(5, 3, 2.5), &profile, ALL);
    let weighted = ((input + 100) * 5).div_ceil(2);
    assert_eq!(heavy, [5, 3, weighted, weighted, 1]);
    let free = amounts(&asked, &plan(0, 0, 0.0), &profile, ALL);
    assert_eq!(free, [0, 0, 0, 0, 1]);
}

#[test]
fn only_what_a_person_typed_is_a_prompt() {
    let profile = Profile::preset(Kind::Anthropic);
    let result = asked(Operation::Messages, RESULT);
    assert_eq!(
        amounts(&result, &plan(1, 1, 1.0), &profile, ALL)[..2],
        [1, 0]
    );
    let chat = asked(Operation::ChatCompletions, UNLIMITED);
    assert_eq!(amounts(&chat, &plan(1, 1, 1.0), &profile, ALL)[..2], [1, 1]);
}

#[test]
fn the_output_that_is_reserved_is_bounded_by_what_can_be_written() {
    let mut profile = Profile::preset(Kind::Vllm);
    let input = wire::input_bound_tokens(UNLIMITED.as_bytes());
    let output = |profile: &Profile, reserved| {
        let asked = asked(Operation::ChatCompletions, UNLIMITED);
        amounts(&asked, &plan(1, 1, 1.0), profile, reserved)[2] - input
    };
    assert_eq!(output(&profile, ALL), profile.default_max_tokens);
    profile.max_output_tokens = Some(700);
    assert_eq!(output(&profile, ALL), 700);
    let little = Reserved {
        output_tokens: Some(64),
        ..ALL
    };
    assert_eq!(output(&profile, little), 64);
    assert_eq!(
        tokens(TYPED, &profile, little) - wire::input_bound_tokens(TYPED.as_bytes()),
        64
    );
}

#[test]
fn no_more_is_reserved_than_the_context_window_holds() {
    let profile = Profile::preset(Kind::Vllm);
    let small = Reserved {
        context_window: Some(50),
        ..ALL
    };
    assert_eq!(tokens(TYPED, &profile, small), 50);
}
