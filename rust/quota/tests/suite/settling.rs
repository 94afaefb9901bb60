//! The end of a lease: once, by what was really used.

use quota::{Lives, Verdict};

use super::Fixture;
use super::caller::{Caller, LIVES, eventually, now_ms, settle, user, user_for};

pub(crate) async fn settles_once_however_often_it_is_asked(fixture: &impl Fixture) {
    let [caller, other] = [user(fixture), user(fixture)];
    let tokens = caller.bucket("tokens", "day", Some(100));
    caller.fly("lease", &[(&tokens, 40)], None).await;
    let first = caller.settle("lease", &[(&tokens, 40, 25)]).await;
    assert_eq!((first.verdict, first.used), (Verdict::Done, vec![25]));
    for (asking, sure) in [(&caller, false), (&other, true), (&caller, true)] {
        let again = asking
            .call(settle("lease", &[(&tokens, 40, 25)], sure))
            .await;
        assert_eq!((again.verdict, again.used), (Verdict::Ended, vec![25]));
    }
}

pub(crate) async fn corrects_what_was_taken_up_and_down(fixture: &impl Fixture) {
    let caller = user(fixture);
    let requests = caller.bucket("requests", "day", Some(2));
    let tokens = caller.bucket("tokens", "day", Some(100));
    for (lease, used, expected) in [("up", 1_000, 1_000), ("down", 5, 1_005)] {
        let wide = caller.bucket("tokens", "day", None);
        caller
            .fly(lease, &[(&requests, 1), (&wide, 40)], None)
            .await;
        let reply = caller
            .settle(lease, &[(&requests, 1, 1), (&tokens, 40, used)])
            .await;
        assert_eq!(reply.verdict, Verdict::Done);
        assert_eq!(reply.used[1], expected, "{lease}");
    }
    let full = caller.fly("more", &[(&tokens, 1)], None).await;
    assert_eq!(full.verdict, Verdict::Full(0), "beyond the limit");
    let nothing = caller.take("nothing", &[(&tokens, 0)]).await;
    assert_eq!(nothing.verdict, Verdict::Done);
    assert_eq!(caller.used(&[&requests, &tokens]).await, [2, 1_005]);
}

pub(crate) async fn goes_by_its_record_rather_than_by_the_callers_word(fixture: &impl Fixture) {
    let caller = user(fixture);
    let tokens = caller.bucket("tokens", "day", None);
    for (lease, sure) in [("sure", true), ("unsure", false)] {
        caller.fly(lease, &[(&tokens, 40)], None).await;
        caller.call(settle(lease, &[(&tokens, 0, 10)], sure)).await;
    }
    assert_eq!(caller.used(&[&tokens]).await, [20]);
}

pub(crate) async fn gives_nothing_back_after_a_settlement(fixture: &impl Fixture) {
    let caller = user(fixture);
    let requests = caller.bucket("requests", "day", Some(3));
    for lease in ["given-back", "kept"] {
        caller.fly(lease, &[(&requests, 1)], None).await;
    }
    caller.settle("kept", &[(&requests, 1, 1)]).await;
    assert_eq!(caller.settle("kept", &[(&requests, 1, 0)]).await.used, [2]);
    for (turn, verdict) in [(1, Verdict::Done), (2, Verdict::Ended)] {
        let reply = caller.settle("given-back", &[(&requests, 1, 0)]).await;
        assert_eq!((reply.verdict, reply.used), (verdict, vec![1]), "{turn}");
    }
}

pub(crate) async fn corrects_what_was_settled_as_it_was_taken(fixture: &impl Fixture) {
    let caller = user(fixture);
    let requests = caller.bucket("requests", "day", Some(3));
    caller.take("lease", &[(&requests, 1)]).await;
    let back = caller.settle("lease", &[(&requests, 1, 0)]).await;
    assert_eq!((back.verdict, back.used), (Verdict::Done, vec![0]));
    let again = caller.settle("lease", &[(&requests, 1, 0)]).await;
    assert_eq!(again.verdict, Verdict::Ended);
}

pub(crate) async fn never_counts_below_zero(fixture: &impl Fixture) {
    let caller = user(fixture);
    let requests = caller.bucket("requests", "day", Some(3));
    let tokens = caller.bucket("tokens", "day", Some(100));
    caller.take("lease", &[(&requests, 1), (&tokens, 10)]).await;
    let lost = settle("lost", &[(&requests, 2, 0), (&tokens, 4, 0)], true);
    assert_eq!(caller.call(lost).await.used, [0, 6]);
    assert_eq!(caller.take("more", &[(&requests, 1)]).await.used, [1]);
}

pub(crate) async fn settles_what_was_never_taken_only_for_who_is_sure(fixture: &impl Fixture) {
    let caller = user(fixture);
    let tokens = caller.bucket("tokens", "day", Some(100));
    caller.take("before", &[(&tokens, 50)]).await;
    let sure = caller.call(settle("sure", &[(&tokens, 0, 7)], true)).await;
    assert_eq!((sure.verdict, sure.used), (Verdict::Done, vec![57]));
    let forgotten = settle("forgotten", &[(&tokens, 20, 9)], true);
    assert_eq!(caller.call(forgotten).await.used, [46]);
    let unsure = caller
        .call(settle("unsure", &[(&tokens, 0, 7)], false))
        .await;
    assert_eq!((unsure.verdict, unsure.used), (Verdict::Done, vec![46]));
}

pub(crate) async fn refuses_a_reservation_that_comes_after_its_end(fixture: &impl Fixture) {
    let caller = user(fixture);
    let tokens = caller.bucket("tokens", "day", Some(100));
    for (lease, sure, expected) in [("sure", true, 7), ("unsure", false, 7)] {
        let closings = [(&tokens, 0, if sure { 7 } else { 0 })];
        let ended = caller.call(settle(lease, &closings, sure)).await;
        assert_eq!((ended.verdict, ended.used), (Verdict::Done, vec![expected]));
        let late = caller.fly(lease, &[(&tokens, 40)], Some(1)).await;
        assert_eq!((late.verdict, late.used), (Verdict::Ended, vec![expected]));
        assert_eq!(late.flying, 0);
    }
}

pub(crate) async fn settles_in_a_bucket_that_is_over(fixture: &impl Fixture) {
    const MINUTE_MS: u64 = 60_000;
    let caller = user(fixture);
    let over = caller.bucket_at("tokens", "minute", Some(100), now_ms() - 2 * MINUTE_MS);
    let late = caller.call(settle("late", &[(&over, 0, 30)], true)).await;
    assert_eq!((late.verdict, late.used), (Verdict::Done, vec![30]));
    let later = caller.call(settle("later", &[(&over, 10, 0)], true)).await;
    assert_eq!((later.verdict, later.used), (Verdict::Done, vec![20]));
}

pub(crate) async fn settles_once_after_the_lease_is_over(fixture: &impl Fixture) {
    let caller = user_for(fixture, 50);
    let tokens = caller.bucket("tokens", "day", Some(100));
    caller.fly("frozen", &[(&tokens, 40)], Some(1)).await;
    eventually("its place is free", async || caller.flying().await == 0).await;
    assert_eq!(caller.used(&[&tokens]).await, [40], "what it took stands");
    let late = caller.settle("frozen", &[(&tokens, 40, 25)]).await;
    assert_eq!((late.verdict, late.used), (Verdict::Done, vec![25]));
    let again = caller.settle("frozen", &[(&tokens, 40, 25)]).await;
    assert_eq!((again.verdict, again.used), (Verdict::Ended, vec![25]));
}

pub(crate) async fn forgets_an_end_after_its_life(fixture: &impl Fixture) {
    let lives = Lives {
        record_ms: 50,
        ..LIVES
    };
    let caller = Caller::new(fixture.open(lives), "u");
    let requests = caller.bucket("requests", "day", Some(10));
    caller.fly("in-flight", &[(&requests, 1)], None).await;
    caller.fly("ended", &[(&requests, 1)], None).await;
    caller.settle("ended", &[(&requests, 1, 1)]).await;
    eventually("its end is forgotten", async || {
        let again = caller.take("ended", &[(&requests, 1)]).await;
        again.verdict == Verdict::Done && again.used == [3]
    })
    .await;
    let known = caller.fly("in-flight", &[(&requests, 1)], None).await;
    assert_eq!((known.verdict, known.used), (Verdict::Done, vec![3]));
}
