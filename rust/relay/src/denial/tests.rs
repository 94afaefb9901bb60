use fault::{Fault, Kind};
use quota::{Count, Denied, Period, Unit, Want, Window};

use super::{binding, fault, in_words};

/// 2026-11-23T16:05:57Z, and midnight.
const NOW_S: i64 = 1_795_449_957;
const MIDNIGHT_S: i64 = 1_795_478_400;

fn window(unit: Unit, period: Option<Period>, limit: u64) -> Window {
    Window {
        unit,
        period,
        limit: Some(limit),
    }
}

fn count(window: Window, used: u64, resets_at_s: i64) -> Count {
    let timed = window.period.is_some();
    Count {
        window,
        used,
        starts_at_s: timed.then_some(0),
        resets_at_s: timed.then_some(resets_at_s),
    }
}

fn refusal(window: Window, amount: u64, used: u64, resets_at_s: i64) -> Fault {
    let denied = Denied::Full {
        counts: vec![count(window, used, resets_at_s)],
        exhausted: 0,
    };
    fault("free", &[Want { window, amount }], &denied, NOW_S)
}

#[test]
fn names_the_tier_the_window_the_reset_and_what_to_do() {
    let daily = window(Unit::Requests, Some(Period::Day), 10);
    let told = refusal(daily, 1, 10, MIDNIGHT_S);
    assert_eq!(
        told.message,
        "the free tier's quota of 10 requests per day is used up; it resets at 2026-11-24T00:00:00Z, in 7 h 54 min; wait until \
         then or ask for a higher tier"
    );
    assert_eq!(told.kind, Kind::QuotaExceeded);
    assert_eq!(told.retry_after_s, Some(28_443));
    assert_eq!(told.should_retry, Some(false));
}

#[test]
fn says_what_a_request_counts_as_where_a_little_is_left() {
    let daily = window(Unit::Prompts, Some(Period::Day), 10);
    let told = refusal(daily, 5, 8, MIDNIGHT_S);
    assert!(
        told.message
            .contains("has 2 left, and this request counts as 5;")
    );
}

#[test]
fn says_how_many_tokens_are_left_and_would_be_taken() {
    let monthly = window(Unit::Tokens, Some(Period::Month), 1000);
    let told = refusal(monthly, 600, 700, MIDNIGHT_S);
    let expected = "quota of 1000 tokens per month has 300 left, and this request may take up to 600; it resets at";
    assert!(told.message.contains(expected), "{}", told.message);
    assert!(told.message.contains("lower the request's output limit"));
}

#[test]
fn does_not_send_anybody_to_wait_for_room_that_never_comes() {
    let minute = window(Unit::Tokens, Some(Period::Minute), 1000);
    let told = refusal(minute, 1001, 0, NOW_S + 3);
    assert!(
        told.message
            .contains("no reset makes room for it, so shorten it")
    );
    assert_eq!(told.should_retry, Some(false));
}

#[test]
fn a_window_of_a_minute_may_be_waited_for_by_the_client_itself() {
    let minute = window(Unit::Requests, Some(Period::Minute), 5);
    let told = refusal(minute, 1, 5, NOW_S + 3);
    assert_eq!(told.kind, Kind::RateLimited);
    assert_eq!((told.retry_after_s, told.should_retry), (Some(3), None));
    // A reset that has just passed is no reason to come back at once.
    assert_eq!(refusal(minute, 1, 5, NOW_S - 1).retry_after_s, Some(1));
    for period in [Period::Hour, Period::Day, Period::Week, Period::Month] {
        let longer = refusal(window(Unit::Requests, Some(period), 5), 1, 5, NOW_S + 3);
        assert_eq!(
            (longer.kind, longer.should_retry),
            (Kind::QuotaExceeded, Some(false))
        );
    }
}

#[test]
fn a_place_is_waited_for_shortly() {
    let told = refusal(window(Unit::Concurrent, None, 8), 1, 8, 0);
    assert_eq!(
        told.message,
        "8 requests are already in flight, and the free tier may have 8 at once; wait until one has ended, or ask for a higher tier"
    );
    assert_eq!(told.kind, Kind::RateLimited);
    assert_eq!((told.retry_after_s, told.should_retry), (Some(2), None));
    let told = refusal(window(Unit::Concurrent, None, 1), 1, 1, 0);
    assert!(told.message.starts_with("1 request is already in flight"));
}

#[test]
fn each_way_to_be_without_a_store_has_its_own_words() {
    let window = window(Unit::Tokens, Some(Period::Day), 10);
    let wants = [Want { window, amount: 1 }];
    let told = |denied| fault("pro", &wants, &denied, NOW_S);
    let closed = told(Denied::Closed);
    assert_eq!(
        (closed.kind, closed.should_retry),
        (Kind::QuotaUnknown, Some(false))
    );
    assert!(closed.message.contains("the pro tier is closed"));
    let others = [Denied::ShareUsed(0), Denied::TooLong, Denied::JournalFull].map(told);
    for fault in &others {
        assert_eq!(
            (fault.kind, fault.retry_after_s),
            (Kind::Overloaded, Some(5))
        );
        assert_eq!(fault.should_retry, None);
        assert!(fault.message.starts_with("the quota cannot be read"));
    }
    assert!(others[0].message.contains("the tokens that may be let in"));
    assert_ne!(others[0].message, others[1].message);
    assert_ne!(others[1].message, others[2].message);
}

#[test]
fn of_several_full_windows_the_one_that_stays_full_longest_is_named() {
    let windows = [
        window(Unit::Concurrent, None, 1),
        window(Unit::Requests, Some(Period::Minute), 5),
        window(Unit::Requests, Some(Period::Day), 10),
        window(Unit::Tokens, Some(Period::Month), 100),
    ];
    let wants = windows.map(|window| Want { window, amount: 1 });
    let counts = |used: [u64; 4]| {
        let resets = [0, NOW_S + 3, MIDNIGHT_S, MIDNIGHT_S + 86_400];
        let both = windows.into_iter().zip(used).zip(resets);
        both.map(|((window, used), resets)| count(window, used, resets))
            .collect::<Vec<_>>()
    };
    assert_eq!(binding(&wants, &counts([0, 5, 10, 99]), 1), 2);
    assert_eq!(binding(&wants, &counts([1, 5, 9, 99]), 0), 1);
    assert_eq!(binding(&wants, &counts([1, 4, 9, 99]), 0), 0);
    assert_eq!(binding(&wants, &counts([0, 5, 10, 100]), 1), 3);
    // Of two that reset together the first.
    let twice = [wants[2], wants[2]];
    let both = [2, 2].map(|index| counts([0, 0, 10, 0])[index]);
    assert_eq!(binding(&twice, &both, 1), 0);
}

#[test]
fn says_a_wait_in_the_largest_units_that_matter() {
    assert_eq!(in_words(59), "59 s");
    assert_eq!(in_words(125), "2 min");
    assert_eq!(in_words(7 * 3600 + 54 * 60 + 3), "7 h 54 min");
    assert_eq!(in_words(86_400 + 3600 + 61), "1 d 1 h");
}
