//! Reservations: everything or nothing, exactly up to the limit, once.

use std::rc::Rc;

use quota::{Hold, Operation, Reply, Verdict};

use super::Fixture;
use super::caller::{Caller, LIVES, early_in_a_minute, in_parallel, now_ms, reserve, user};

/// How many of so many reservations at once two handles grant, each of `amount`.
async fn granted_of(fixture: &impl Fixture, calls: usize, limit: u64, amount: u64) -> usize {
    let callers = [user(fixture), user(fixture)].map(Rc::new);
    let calls = (0..calls).map(|call| {
        let caller = Rc::clone(&callers[call % 2]);
        async move {
            let bucket = caller.bucket("requests", "day", Some(limit));
            let lease = format!("lease-{call}");
            caller.take(&lease, &[(&bucket, amount)]).await.verdict
        }
    });
    let verdicts = in_parallel(calls).await;
    let is_known = |verdict: &Verdict| matches!(verdict, Verdict::Done | Verdict::Full(0));
    assert!(verdicts.iter().all(is_known), "{verdicts:?}");
    let granted = verdicts.iter().filter(|verdict| **verdict == Verdict::Done);
    granted.count()
}

pub(crate) async fn grants_exactly_100_of_500_over_two_handles(fixture: &impl Fixture) {
    assert_eq!(granted_of(fixture, 500, 100, 1).await, 100);
    let caller = user(fixture);
    let bucket = caller.bucket("requests", "day", Some(100));
    assert_eq!(caller.used(&[&bucket]).await, [100]);
}

pub(crate) async fn grants_as_many_weights_as_fit_at_once(fixture: &impl Fixture) {
    assert_eq!(granted_of(fixture, 64, 76, 7).await, 10);
    let caller = user(fixture);
    let bucket = caller.bucket("requests", "day", Some(76));
    let more = caller.take("seven-more", &[(&bucket, 7)]).await;
    assert_eq!((more.verdict, more.used), (Verdict::Full(0), vec![70]));
    let fits = caller.take("six-more", &[(&bucket, 6)]).await;
    assert_eq!((fits.verdict, fits.used), (Verdict::Done, vec![76]));
}

pub(crate) async fn takes_from_all_windows_or_from_none(fixture: &impl Fixture) {
    early_in_a_minute().await;
    let first = user(fixture);
    let windows = [
        ("requests", "minute"),
        ("requests", "hour"),
        ("requests", "day"),
        ("prompts", "week"),
        ("tokens", "minute"),
        ("tokens", "month"),
    ];
    for most in 1..=windows.len() {
        for narrow in 0..most {
            let name = format!("{most}-{narrow}");
            let caller = first.another(&name);
            let bucket = |place: usize| {
                let limit = if place == narrow { 20 } else { 1000 };
                caller.bucket(windows[place].0, windows[place].1, Some(limit))
            };
            let buckets: Vec<_> = (0..most).map(bucket).collect();
            let claims: Vec<_> = buckets.iter().zip(5..).collect();
            let once: Vec<u64> = (5..).take(most).collect();
            let fits = 20 / once[narrow];
            for turn in 0..6 {
                let reply = caller.take(&format!("lease-{turn}"), &claims).await;
                let (verdict, times) = if turn < fits {
                    (Verdict::Done, turn + 1)
                } else {
                    (Verdict::Full(narrow), fits)
                };
                let used: Vec<u64> = once.iter().map(|amount| amount * times).collect();
                assert_eq!((reply.verdict, &reply.used), (verdict, &used), "{name}");
                let all: Vec<_> = buckets.iter().collect();
                assert_eq!(caller.used(&all).await, used, "{name}");
            }
        }
    }
}

pub(crate) async fn says_which_window_is_full_and_what_is_used(fixture: &impl Fixture) {
    let caller = user(fixture);
    let wide = caller.bucket("requests", "day", None);
    let narrow = caller.bucket("tokens", "month", Some(1_000_000_000_000));
    let first = caller
        .take("first", &[(&wide, 1), (&narrow, 999_999_999_999)])
        .await;
    assert_eq!(first.verdict, Verdict::Done);
    assert_eq!(first.used, [1, 999_999_999_999]);
    assert!(first.now_ms.abs_diff(now_ms()) < 10_000, "{first:?}");
    let second = caller.take("second", &[(&wide, 1), (&narrow, 2)]).await;
    assert_eq!(second.verdict, Verdict::Full(1));
    assert_eq!(second.used, [1, 999_999_999_999]);
    let turned = caller.take("turned", &[(&narrow, 2), (&wide, 1)]).await;
    assert_eq!(turned.verdict, Verdict::Full(0));
    assert_eq!(turned.used, [999_999_999_999, 1]);
    let last = caller.take("last", &[(&wide, 1), (&narrow, 1)]).await;
    assert_eq!(last.verdict, Verdict::Done);
    assert_eq!(last.used, [2, 1_000_000_000_000]);
}

pub(crate) async fn refuses_everything_but_nothing_at_a_limit_of_zero(fixture: &impl Fixture) {
    let caller = user(fixture);
    let bucket = caller.bucket("requests", "day", Some(0));
    let one = caller.take("one", &[(&bucket, 1)]).await;
    assert_eq!((one.verdict, one.used), (Verdict::Full(0), vec![0]));
    let nothing = caller.take("nothing", &[(&bucket, 0)]).await;
    assert_eq!((nothing.verdict, nothing.used), (Verdict::Done, vec![0]));
}

pub(crate) async fn never_refuses_without_a_limit(fixture: &impl Fixture) {
    let caller = user(fixture);
    let bucket = caller.bucket("tokens", "week", None);
    for turn in 1..=20 {
        let amount = 100_000_000_000;
        let reply = caller
            .take(&format!("lease-{turn}"), &[(&bucket, amount)])
            .await;
        assert_eq!(reply.verdict, Verdict::Done);
        assert_eq!(reply.used, [turn * amount]);
    }
}

pub(crate) async fn takes_once_however_often_it_is_asked(fixture: &impl Fixture) {
    let [caller, other] = [user(fixture), user(fixture)];
    let requests = caller.bucket("requests", "day", Some(2));
    let tokens = caller.bucket("tokens", "day", Some(100));
    let claims = [(&requests, 1), (&tokens, 60)];
    for asking in [&caller, &other, &caller] {
        let reply = asking.fly("same", &claims, Some(1)).await;
        assert_eq!(reply.verdict, Verdict::Done);
        assert_eq!(reply.used, [1, 60]);
        assert_eq!(reply.flying, 1);
    }
    assert_eq!(caller.take("another", &[(&requests, 1)]).await.used, [2]);
    let late = caller.fly("same", &claims, Some(1)).await;
    assert_eq!((late.verdict, late.used), (Verdict::Done, vec![2, 60]));
}

pub(crate) async fn reads_zero_of_what_was_never_touched(fixture: &impl Fixture) {
    let caller = Caller::new(fixture.open(LIVES), "nobody");
    let limited = caller.bucket("requests", "day", Some(7));
    let unlimited = caller.bucket("tokens", "week", None);
    for _ in 0..2 {
        let reply = caller.look(&[&limited, &unlimited]).await;
        let expected = Reply {
            verdict: Verdict::Done,
            now_ms: reply.now_ms,
            version: None,
            flying: 0,
            used: vec![0, 0],
        };
        assert_eq!(reply, expected);
    }
}

pub(crate) async fn counts_users_with_odd_names_apart(fixture: &impl Fixture) {
    let first = user(fixture);
    let long = "x".repeat(10_000);
    let users = [
        "a:b", "a", "{a}", "}", "*", "a\r\nb", "\0", "a%3Ab", "\u{e4}", "a\u{308}", "", &long,
        "' --", "a:state", "a:open", "a:lease", "a:notes",
    ];
    for (amount, name) in (1..).zip(users) {
        let caller = first.another(name);
        let bucket = caller.bucket("requests", "day", None);
        let reply = caller.fly("same", &[(&bucket, amount)], Some(1)).await;
        assert_eq!(reply.verdict, Verdict::Done, "{name:?}");
        assert_eq!(reply.used, [amount], "{name:?}");
    }
    for (amount, name) in (1..).zip(users) {
        let caller = first.another(name);
        let bucket = caller.bucket("requests", "day", None);
        let reply = caller.look(&[&bucket]).await;
        assert_eq!((reply.used, reply.flying), (vec![amount], 1), "{name:?}");
    }
}

pub(crate) async fn grants_what_wants_nothing(fixture: &impl Fixture) {
    let caller = user(fixture);
    assert_eq!(caller.take("lease", &[]).await.verdict, Verdict::Done);
    assert_eq!(caller.settle("lease", &[]).await.verdict, Verdict::Done);
    assert_eq!(caller.look(&[]).await.used, [0; 0]);
}

pub(crate) async fn takes_nothing_from_a_bucket_of_another_time(fixture: &impl Fixture) {
    const HOUR_MS: u64 = 3_600_000;
    let caller = user(fixture);
    let day = caller.bucket("requests", "day", Some(10));
    for at_ms in [now_ms() - HOUR_MS, now_ms() + HOUR_MS] {
        let other = caller.bucket_at("tokens", "minute", Some(10), at_ms);
        for claims in [[(&day, 1), (&other, 1)], [(&other, 1), (&day, 1)]] {
            let reply = caller.fly("lease", &claims, None).await;
            assert_eq!(reply.verdict, Verdict::Moved);
            assert!(reply.now_ms.abs_diff(now_ms()) < 10_000, "{reply:?}");
        }
        assert_eq!(caller.look(&[&other]).await.verdict, Verdict::Moved);
    }
    let reply = caller.look(&[&day]).await;
    assert_eq!((reply.used, reply.flying), (vec![0], 0));
    let again = caller.fly("lease", &[(&day, 1)], None).await;
    assert_eq!((again.verdict, again.used), (Verdict::Done, vec![1]));
}

pub(crate) async fn answers_as_before_when_the_bucket_is_over_meanwhile(fixture: &impl Fixture) {
    const DAY_MS: u64 = 86_400_000;
    let caller = user(fixture);
    let today = caller.bucket("requests", "day", Some(10));
    let yesterday = caller.bucket_at("requests", "day", Some(10), now_ms() - DAY_MS);
    for lease in ["taken", "ended"] {
        caller.fly(lease, &[(&today, 1)], None).await;
    }
    caller.settle("ended", &[(&today, 1, 1)]).await;
    for (lease, verdict) in [
        ("taken", Verdict::Done),
        ("ended", Verdict::Ended),
        ("unknown", Verdict::Moved),
    ] {
        let reply = caller.fly(lease, &[(&yesterday, 1)], Some(1)).await;
        assert_eq!(reply.verdict, verdict, "{lease}");
    }
    assert_eq!(caller.used(&[&today]).await, [2]);
}

pub(crate) async fn counts_as_far_as_numbers_are_exact(fixture: &impl Fixture) {
    const MOST: u64 = 999_999_999_999_999;
    let caller = user(fixture);
    let bucket = caller.bucket("tokens", "day", None);
    for (lease, amount) in [("some", 5), ("most", MOST - 7), ("far", u64::MAX)] {
        caller.fly(lease, &[(&bucket, amount)], None).await;
    }
    assert_eq!(caller.used(&[&bucket]).await, [MOST]);
}

pub(crate) async fn probes_without_counting(fixture: &impl Fixture) {
    let caller = user(fixture);
    let bucket = caller.bucket("requests", "day", Some(1));
    for _ in 0..2 {
        let reply = caller.call(Operation::Probe).await;
        assert_eq!(reply.verdict, Verdict::Done);
        assert!(reply.now_ms.abs_diff(now_ms()) < 10_000, "{reply:?}");
    }
    assert_eq!(caller.look(&[&bucket]).await.version, None);
    let taken = caller.take("lease", &[(&bucket, 1)]).await;
    assert_eq!((taken.verdict, taken.used), (Verdict::Done, vec![1]));
    caller.call(Operation::Probe).await;
    let reserve = reserve("lease", &[(&bucket, 1)], Hold::Settled, None);
    let again = caller.call_after(taken.version, reserve).await;
    assert_eq!((again.verdict, again.used), (Verdict::Done, vec![1]));
}
