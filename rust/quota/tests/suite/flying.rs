//! Places among the requests in flight.

use std::rc::Rc;

use quota::{Hold, Operation, Verdict};

use super::Fixture;
use super::caller::{eventually, id, in_parallel, user, user_for};

pub(crate) async fn lets_no_more_fly_than_there_are_places(fixture: &impl Fixture) {
    let caller = user(fixture);
    let requests = caller.bucket("requests", "day", Some(100));
    for (lease, flying) in [("first", 1), ("second", 2)] {
        let reply = caller.fly(lease, &[(&requests, 1)], Some(2)).await;
        assert_eq!((reply.verdict, reply.flying), (Verdict::Done, flying));
    }
    let third = caller.fly("third", &[(&requests, 1)], Some(2)).await;
    assert_eq!((third.verdict, third.flying), (Verdict::Crowded, 2));
    assert_eq!(third.used, [2], "nothing was taken");
    let none = caller.fly("none", &[(&requests, 1)], Some(0)).await;
    assert_eq!(none.verdict, Verdict::Crowded);
    let wider = caller.fly("third", &[(&requests, 1)], Some(3)).await;
    assert_eq!((wider.verdict, wider.flying), (Verdict::Done, 3));
    let unlimited = caller.fly("fourth", &[(&requests, 1)], None).await;
    assert_eq!((unlimited.verdict, unlimited.flying), (Verdict::Done, 4));
}

pub(crate) async fn grants_exactly_the_places_at_once_over_two_handles(fixture: &impl Fixture) {
    let callers = [user(fixture), user(fixture)].map(Rc::new);
    let calls = (0..60).map(|call| {
        let caller = Rc::clone(&callers[call % 2]);
        async move {
            let requests = caller.bucket("requests", "day", Some(100));
            let lease = format!("lease-{call}");
            let reply = caller.fly(&lease, &[(&requests, 1)], Some(8)).await;
            reply.verdict == Verdict::Done
        }
    });
    let granted = in_parallel(calls).await.into_iter().filter(|done| *done);
    assert_eq!(granted.count(), 8);
    let requests = callers[0].bucket("requests", "day", Some(100));
    let reply = callers[0].look(&[&requests]).await;
    assert_eq!((reply.flying, reply.used), (8, vec![8]));
}

pub(crate) async fn frees_a_place_when_its_lease_is_settled(fixture: &impl Fixture) {
    let caller = user(fixture);
    let requests = caller.bucket("requests", "day", Some(100));
    for turn in 1..=3 {
        let lease = format!("lease-{turn}");
        let reply = caller.fly(&lease, &[(&requests, 1)], Some(1)).await;
        assert_eq!((reply.verdict, reply.flying), (Verdict::Done, 1));
        let ended = caller.settle(&lease, &[(&requests, 1, 1)]).await;
        assert_eq!((ended.verdict, ended.flying), (Verdict::Done, 0));
        assert_eq!(ended.used, [turn]);
    }
}

pub(crate) async fn frees_a_place_whose_lease_is_silent_for_its_life(fixture: &impl Fixture) {
    let caller = user_for(fixture, 100);
    let requests = caller.bucket("requests", "day", Some(100));
    let taken = caller.fly("killed", &[(&requests, 1)], Some(1)).await;
    assert_eq!(taken.verdict, Verdict::Done);
    eventually("the place is free", async || {
        let next = caller.fly("next", &[(&requests, 1)], Some(1)).await;
        assert!(next.now_ms >= taken.now_ms + 100 || next.verdict == Verdict::Crowded);
        next.verdict == Verdict::Done
    })
    .await;
    let next = caller.look(&[&requests]).await;
    assert_eq!(next.used, [2], "what the killed one took stands");
}

pub(crate) async fn keeps_a_place_whose_lease_is_extended(fixture: &impl Fixture) {
    let caller = user_for(fixture, 1_000);
    let requests = caller.bucket("requests", "day", Some(100));
    for lease in ["silent", "alive"] {
        caller.fly(lease, &[(&requests, 1)], None).await;
    }
    let taken = caller.look(&[]).await;
    eventually("both would have been silent for their life", async || {
        let reply = caller.extend("alive").await;
        assert_eq!(reply.verdict, Verdict::Done);
        reply.now_ms > taken.now_ms + 1_000
    })
    .await;
    let more = caller.fly("more", &[(&requests, 1)], Some(1)).await;
    assert_eq!((more.verdict, more.flying), (Verdict::Crowded, 1));
    let ended = caller.settle("alive", &[(&requests, 1, 1)]).await;
    assert_eq!((ended.verdict, ended.flying), (Verdict::Done, 0));
}

pub(crate) async fn lets_a_lease_fly_again_that_was_silent_for_long(fixture: &impl Fixture) {
    let caller = user_for(fixture, 100);
    let tokens = caller.bucket("tokens", "day", Some(100));
    caller.fly("frozen", &[(&tokens, 10)], None).await;
    eventually("its place is free", async || caller.flying().await == 0).await;
    let thawed = caller.extend("frozen").await;
    assert_eq!((thawed.verdict, thawed.flying), (Verdict::Done, 1));
    let ended = caller.settle("frozen", &[(&tokens, 10, 3)]).await;
    assert_eq!((ended.verdict, ended.used), (Verdict::Done, vec![3]));
}

pub(crate) async fn extends_nothing_that_has_ended(fixture: &impl Fixture) {
    let caller = user(fixture);
    let tokens = caller.bucket("tokens", "day", Some(100));
    assert_eq!(caller.extend("unknown").await.verdict, Verdict::Ended);
    caller.fly("lease", &[(&tokens, 10)], None).await;
    caller.settle("lease", &[(&tokens, 10, 3)]).await;
    let late = caller.extend("lease").await;
    assert_eq!((late.verdict, late.flying), (Verdict::Ended, 0));
    assert_eq!(caller.used(&[&tokens]).await, [3]);
}

pub(crate) async fn holds_no_place_for_what_is_settled_as_it_is_taken(fixture: &impl Fixture) {
    let caller = user(fixture);
    let requests = caller.bucket("requests", "day", Some(100));
    for lease in ["first", "second"] {
        let reply = caller.take(lease, &[(&requests, 1)]).await;
        assert_eq!((reply.verdict, reply.flying), (Verdict::Done, 0));
    }
    let extend = Operation::Extend {
        lease: id("first"),
        hold: Hold::Settled,
    };
    let extended = caller.call(extend).await;
    assert_eq!((extended.verdict, extended.flying), (Verdict::Done, 0));
    assert_eq!(caller.used(&[&requests]).await, [2]);
}
