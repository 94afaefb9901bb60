use quota::{Period, Unit, Want, Window};
use wire::Usage;

use super::{Rates, Row, rounded_up};
use crate::record::Outcome;

const RATES: Rates = Rates {
    tokens: 2.0,
    cache_read: 0.1,
};
/// 2 × (100 + 30 + 7 + 0.1 × 50), and without the output.
const WHOLE: u64 = 284;
const INPUT: u64 = 224;

fn told() -> Usage {
    Usage {
        input_tokens: 100,
        output_tokens: 30,
        cache_read_tokens: 50,
        cache_creation_tokens: 7,
        seen: true,
        input_told: true,
        output_told: true,
    }
}

fn want(unit: Unit, amount: u64) -> Want {
    let period = (unit != Unit::Concurrent).then_some(Period::Day);
    let window = Window {
        unit,
        period,
        limit: Some(10),
    };
    Want { window, amount }
}

/// What requests (three each), prompts, tokens (900 reserved) and places use.
fn used(outcome: Outcome, delivered: bool) -> [u64; 4] {
    let row = Row::of(outcome, delivered);
    let wants = [
        want(Unit::Requests, 3),
        want(Unit::Prompts, 1),
        want(Unit::Tokens, 900),
        want(Unit::Concurrent, 1),
    ];
    wants.map(|want| row.used(&want, &told(), RATES))
}

#[test]
fn gives_back_what_an_upstream_refused_or_failed() {
    for delivered in [false, true] {
        assert_eq!(used(Outcome::Failed, delivered), [0; 4]);
        assert_eq!(used(Outcome::Refused, delivered), [0; 4]);
    }
}

#[test]
fn a_whole_answer_is_one_and_what_the_upstream_says() {
    assert_eq!(used(Outcome::Complete, true), [3, 1, WHOLE, 1]);
    // An answer may be empty.
    assert_eq!(used(Outcome::Complete, false), [3, 1, WHOLE, 1]);
}

#[test]
fn a_client_that_leaves_before_the_first_byte_pays_the_input() {
    assert_eq!(used(Outcome::ClientLeft, false), [3, 1, INPUT, 1]);
}

#[test]
fn a_client_that_leaves_midway_pays_the_input_and_what_was_produced() {
    assert_eq!(used(Outcome::ClientLeft, true), [3, 1, WHOLE, 1]);
}

#[test]
fn an_upstream_that_dies_midway_is_paid_what_was_delivered() {
    assert_eq!(used(Outcome::Broken, true), [3, 1, WHOLE, 1]);
}

#[test]
fn gives_back_what_an_upstream_died_before() {
    assert_eq!(used(Outcome::Broken, false), [0; 4]);
}

#[test]
fn a_turn_that_nobody_typed_stays_none() {
    let row = Row::of(Outcome::Complete, true);
    assert_eq!(row.used(&want(Unit::Prompts, 0), &told(), RATES), 0);
}

#[test]
fn counts_here_only_what_counts_and_nobody_told() {
    let silent = Usage::default();
    let lacks = |row: Row, usage: &Usage| (row.lacks_input(usage), row.lacks_output(usage));
    assert_eq!(lacks(Row::Nothing, &silent), (false, false));
    assert_eq!(lacks(Row::Input, &silent), (true, false));
    assert_eq!(lacks(Row::SoFar, &silent), (true, true));
    assert_eq!(lacks(Row::Whole, &silent), (true, true));
    assert_eq!(lacks(Row::Whole, &told()), (false, false));
    let begun = Usage {
        output_told: false,
        ..told()
    };
    assert_eq!(lacks(Row::SoFar, &begun), (false, true));
}

#[test]
fn rounds_up_what_is_no_whole_token_and_nothing_else() {
    let read = |cache_read_tokens| {
        let usage = Usage {
            cache_read_tokens,
            ..Usage::default()
        };
        let rates = Rates {
            tokens: 1.0,
            ..RATES
        };
        Row::Whole.used(&want(Unit::Tokens, 0), &usage, rates)
    };
    assert_eq!([read(0), read(1), read(10), read(11)], [0, 1, 1, 2]);
    // 0.1 × 3 is a little more than 0.3 in floating point.
    assert_eq!(rounded_up(10.0 * (0.1 * 3.0)), 3);
    assert_eq!(rounded_up(f64::from(u32::MAX)), u64::from(u32::MAX));
    assert_eq!((rounded_up(-1.0), rounded_up(f64::NAN)), (0, 0));
    assert_eq!(rounded_up(f64::INFINITY), u64::MAX);
}
