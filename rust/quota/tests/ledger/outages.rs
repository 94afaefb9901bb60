//! What holds while the store cannot be asked, and afterwards.

use std::rc::Rc;
use std::time::Duration;

use quota::{Denied, OnFailure, StoreErrorKind, Unit, Window};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use crate::model_store::{ModelStore, Trouble};
use crate::world::{
    LOCAL_FOR, PATIENCE, PLACES, REQUESTS, TOKENS, Worker, closed, denied, on_one_thread, open,
    order, pass, until, want, window,
};

const SLOW: Trouble = Trouble::Slow(Duration::from_secs(5));

#[tokio::test(start_paused = true)]
async fn a_slow_store_costs_one_patience_and_then_nothing() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Rc::new(Worker::awake(&store).await);
        store.down(SLOW);
        let mut requests = Vec::new();
        for number in 0..300 {
            let worker = Rc::clone(&worker);
            requests.push(spawn_local(async move {
                let before = Instant::now();
                let wants = [want(REQUESTS, 1), want(TOKENS, 9)];
                let order = order(&format!("u{number}"), &format!("a{number}"), &wants);
                let lease = worker.reserve(open(order)).await.unwrap();
                let _ = lease.settle(&[1, 7]).await;
                before.elapsed()
            }));
        }
        for request in requests {
            assert!(request.await.unwrap() <= PATIENCE);
        }
        for number in 0..100 {
            let before = Instant::now();
            let order = order(
                "u",
                &format!("b{number}"),
                &[want(REQUESTS, 1), want(TOKENS, 9)],
            );
            let lease = worker.reserve(open(order)).await.unwrap();
            let _ = lease.settle(&[1, 7]).await;
            assert!(worker.ledger.counts("u", &[TOKENS]).await.is_err());
            assert!(worker.ledger.notes("u").await.is_err());
            assert!(worker.ledger.state().await.failure.is_some());
            assert_eq!(
                before.elapsed(),
                Duration::ZERO,
                "nobody waits while the breaker is open"
            );
        }
        store.forget_calls();
        pass(60).await;
        let probes = store.calls("probe");
        assert!((14..=18).contains(&probes), "{probes} probes in a minute");
        assert_eq!(store.calls("reserve") + store.calls("settle"), 0);
        store.up();
        let before = Instant::now();
        until(|| worker.watched.changed.borrow().len() == 2).await;
        assert!(before.elapsed() <= Duration::from_secs(5));
        worker.settled().await;
        assert!(before.elapsed() <= Duration::from_secs(10));
        pass(10).await;
        assert_eq!(store.used("u", "tokens"), 700);
        assert_eq!(store.counters().values().sum::<u64>(), 800 + 300 * 8);
        assert_eq!(store.flying("u"), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_of_any_kind_open_the_breaker() {
    on_one_thread(async {
        use StoreErrorKind as Kind;
        for kind in [
            Kind::Timeout,
            Kind::Unreachable,
            Kind::Loading,
            Kind::Busy,
            Kind::ReadOnly,
            Kind::OutOfMemory,
            Kind::Misconfigured,
            Kind::Down,
            Kind::Denied,
            Kind::Refused,
        ] {
            let store = ModelStore::default();
            let worker = Worker::awake(&store).await;
            let trouble = Trouble::Refuses(kind);
            let read = async || worker.ledger.counts("u", &[REQUESTS]).await.is_ok();
            store.trouble([trouble; 4]);
            for _ in 0..4 {
                assert!(!read().await);
            }
            let change = worker.reserve(order("u", "a", &[want(REQUESTS, 1)])).await;
            assert!(
                change.is_ok(),
                "it is answered, and failures are counted anew"
            );
            store.forget_calls();
            store.down(trouble);
            for _ in 0..10 {
                assert!(!read().await);
            }
            assert_eq!(store.calls("read"), 5, "{kind:?}");
            assert_eq!(worker.ledger.state().await.failure.unwrap().kind, kind);
        }
        for kind in [Kind::Crowded, Kind::NoScript, Kind::Moved] {
            let store = ModelStore::default();
            let worker = Worker::awake(&store).await;
            store.trouble([Trouble::Refuses(kind); 20]);
            for number in 0..20 {
                let order = order("u", &format!("a{number}"), &[want(REQUESTS, 1)]);
                assert_eq!(denied(worker.reserve(closed(order)).await), Denied::Closed);
            }
            assert_eq!(
                worker.watched.changed.borrow().len(),
                0,
                "{kind:?} says nothing of the store"
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_can_only_be_read_is_down() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::awake(&store).await;
        for number in 0..5 {
            store.trouble([Trouble::Refuses(StoreErrorKind::ReadOnly)]);
            let order = order("u", &format!("a{number}"), &[want(REQUESTS, 1)]);
            assert_eq!(denied(worker.reserve(closed(order)).await), Denied::Closed);
            let read = worker.ledger.counts("u", &[REQUESTS]).await;
            assert_eq!(read.is_ok(), number < 4);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_down_concerns_its_users_only() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        // It learns the time: what is asked for the wrong day is asked for twice.
        worker.ledger.state().await;
        store.part_down(1, 2, Trouble::Refuses(StoreErrorKind::Loading));
        let (mut well, mut down) = (0, 0);
        for number in 0..40 {
            let order = order(
                &format!("user{number}"),
                &format!("a{number}"),
                &[want(REQUESTS, 1)],
            );
            match worker.reserve(closed(order)).await {
                Ok(lease) => {
                    well += 1;
                    drop(lease);
                }
                Err(_) => down += 1,
            }
        }
        assert_eq!((well, down), (20, 20));
        assert_eq!(store.calls("reserve"), well + 5);
        assert!(worker.ledger.state().await.failure.is_some());
        store.up();
        until(|| worker.watched.changed.borrow().len() == 2).await;
        assert_eq!(worker.ledger.state().await.failure, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn local_gives_out_this_workers_share_of_what_was_left() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        let take = async |number: u32| {
            worker
                .reserve(order("u", &format!("a{number}"), &[want(REQUESTS, 1)]))
                .await
        };
        for number in 0..3 {
            let _ = take(number).await.unwrap().settle(&[1]).await;
        }
        store.down(Trouble::CutBefore);
        let mut leases = Vec::new();
        for number in 10..14 {
            leases.push(take(number).await.unwrap());
        }
        assert_eq!(
            denied(take(20).await),
            Denied::ShareUsed(0),
            "half of seven, rounded up"
        );
        leases.pop().unwrap().give_back().await;
        leases.push(take(21).await.unwrap());
        assert_eq!(denied(take(22).await), Denied::ShareUsed(0));
        assert!(leases.iter().all(|lease| lease.counts().is_empty()));
        assert_eq!(*worker.watched.alone.borrow(), [OnFailure::Local; 5]);
        for lease in leases {
            assert!(lease.settle(&[1]).await.is_empty());
        }
        assert_eq!(denied(take(23).await), Denied::ShareUsed(0));
        store.up();
        worker.settled().await;
        assert_eq!(store.used("u", "2026"), 7);
        pass(2).await;
        let counts = worker.ledger.counts("u", &[REQUESTS]).await.unwrap();
        assert_eq!(counts[0].used, 7);
        store.down(Trouble::CutBefore);
        let _ = take(30).await.unwrap();
        let _ = take(31).await.unwrap();
        assert_eq!(
            denied(take(32).await),
            Denied::ShareUsed(0),
            "half of three, rounded up"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_given_out_in_an_outage_counts_in_the_next() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::awake(&store).await;
        let take = async |lease: &str| {
            worker
                .reserve(order("u", lease, &[want(REQUESTS, 1)]))
                .await
        };
        store.down(Trouble::CutBefore);
        let _running = (
            take("a").await.unwrap(),
            take("b").await.unwrap(),
            take("c").await.unwrap(),
        );
        store.up();
        pass(10).await;
        store.down(Trouble::CutBefore);
        let _more = (take("d").await.unwrap(), take("e").await.unwrap());
        assert_eq!(denied(take("f").await), Denied::ShareUsed(0), "half of ten");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn local_gives_a_stranger_the_share_of_everything() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        store.down(Trouble::CutBefore);
        let tokens =
            |lease: &str, amount| order("u", lease, &[want(REQUESTS, 1), want(TOKENS, amount)]);
        let lease = worker.reserve(tokens("a", 400)).await.unwrap();
        assert_eq!(
            denied(worker.reserve(tokens("b", 101)).await),
            Denied::ShareUsed(1)
        );
        let _ = worker.reserve(tokens("c", 100)).await.unwrap();
        let _ = lease.settle(&[1, 10]).await;
        let _ = worker.reserve(tokens("d", 390)).await.unwrap();
        let none = window(Unit::Tokens, Some(quota::Period::Day), Some(0));
        assert_eq!(
            denied(worker.reserve(order("u", "e", &[want(none, 1)])).await),
            Denied::ShareUsed(0)
        );
        assert!(
            worker
                .reserve(order("u", "f", &[want(none, 0)]))
                .await
                .is_ok()
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn local_gives_out_this_workers_share_of_places() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        let places = Window {
            limit: Some(5),
            ..PLACES
        };
        let take = async |lease: &str| {
            worker
                .reserve(order("u", lease, &[want(REQUESTS, 0), want(places, 1)]))
                .await
        };
        let first = take("a").await.unwrap();
        store.down(Trouble::CutBefore);
        let (_b, _c) = (take("b").await.unwrap(), take("c").await.unwrap());
        assert_eq!(
            denied(take("d").await),
            Denied::ShareUsed(1),
            "half of five, rounded up"
        );
        first.give_back().await;
        assert!(take("e").await.is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn local_ends_after_its_time_and_open_does_not() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        store.down(Trouble::CutBefore);
        worker.open_breaker().await;
        assert!(
            worker
                .reserve(order("u", "a", &[want(REQUESTS, 1)]))
                .await
                .is_ok()
        );
        assert!(worker.ledger.state().await.local);
        sleep(LOCAL_FOR + Duration::from_secs(5)).await;
        assert_eq!(
            denied(worker.reserve(order("u", "b", &[want(REQUESTS, 1)])).await),
            Denied::TooLong
        );
        assert!(
            worker
                .reserve(open(order("u", "c", &[want(REQUESTS, 1)])))
                .await
                .is_ok()
        );
        let state = worker.ledger.state().await;
        assert!(!state.local && state.down_for > LOCAL_FOR, "{state:?}");
        store.up();
        until(|| worker.watched.changed.borrow().len() == 3).await;
        let changed = worker.watched.changed.borrow().clone();
        let told: Vec<_> = changed
            .iter()
            .map(|state| (state.failure.is_some(), state.local))
            .collect();
        assert_eq!(
            told,
            [(true, true), (true, false), (false, true)],
            "each change once"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_let_in_is_counted_once_whether_it_had_been_reserved_or_not() {
    on_one_thread(async {
        let late = Trouble::Slow(Duration::from_secs(1));
        for trouble in [
            Trouble::CutBefore,
            Trouble::CutAfter,
            Trouble::Lost,
            Trouble::ReplyLost,
            late,
        ] {
            for on_failure in [OnFailure::Local, OnFailure::Open, OnFailure::Closed] {
                let store = ModelStore::default();
                let worker = Worker::awake(&store).await;
                let mut granted = Vec::new();
                store.down(trouble);
                for number in 0..3 {
                    let wants = [want(REQUESTS, 1), want(TOKENS, 100), want(PLACES, 1)];
                    let mut order = order(&format!("u{number}"), &format!("a{number}"), &wants);
                    order.on_failure = on_failure;
                    granted.push(worker.reserve(order).await.ok());
                }
                assert_eq!(
                    granted.iter().flatten().count(),
                    if on_failure == OnFailure::Closed {
                        0
                    } else {
                        3
                    }
                );
                store.up();
                let mut granted = granted.into_iter().flatten();
                if let (Some(settled), Some(given_back), Some(dropped)) =
                    (granted.next(), granted.next(), granted.next())
                {
                    let _ = settled.settle(&[1, 30, 1]).await;
                    given_back.give_back().await;
                    drop(dropped);
                }
                worker.settled().await;
                pass(5).await;
                let used = [
                    store.used("u0", ""),
                    store.used("u1", ""),
                    store.used("u2", ""),
                ];
                let expected = if on_failure == OnFailure::Closed {
                    [0, 0, 0]
                } else {
                    [31, 0, 101]
                };
                assert_eq!(used, expected, "{trouble:?} {on_failure:?}");
                for user in ["u0", "u1", "u2"] {
                    assert_eq!(store.flying(user), 0);
                }
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_ends_while_the_store_is_down_is_settled_when_it_is_back() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        let mut leases = Vec::new();
        for number in 0..200 {
            let order = order(
                &format!("u{}", number % 50),
                &format!("a{number}"),
                &[want(TOKENS, 100)],
            );
            leases.push(worker.reserve(order).await.unwrap());
        }
        store.down(Trouble::Lost);
        worker.open_breaker().await;
        for lease in leases {
            let before = Instant::now();
            assert!(lease.settle(&[40]).await.is_empty());
            assert_eq!(before.elapsed(), Duration::ZERO);
        }
        assert!(worker.ledger.state().await.waiting >= 200);
        pass(3600).await;
        store.up();
        store.most_in_flight();
        store.forget_calls();
        worker.settled().await;
        assert_eq!(store.used("u7", ""), 160);
        assert_eq!(store.counters().values().sum::<u64>(), 200 * 40);
        assert!((20..=32).contains(&store.most_in_flight()));
        let first: Vec<_> = store
            .asked("settle")
            .into_iter()
            .filter(|lease| lease.starts_with('a'))
            .take(50)
            .collect();
        let oldest: Vec<_> = (0..50).map(|number| format!("a{number}")).collect();
        assert_eq!(first, oldest, "the oldest of each user first");
        assert_eq!(worker.watched.lost.get(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn readiness_sees_a_loss_without_traffic_and_the_recovery() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        assert_eq!(worker.ledger.state().await.failure, None);
        pass(1).await;
        store.down(Trouble::CutBefore);
        assert_eq!(
            worker.ledger.state().await.failure.unwrap().kind,
            StoreErrorKind::Unreachable
        );
        for _ in 0..4 {
            worker.ledger.state().await;
        }
        store.forget_calls();
        assert!(worker.ledger.state().await.failure.is_some());
        assert_eq!(store.calls("probe"), 0, "told from memory");
        pass(100).await;
        store.up();
        pass(5).await;
        let state = worker.ledger.state().await;
        assert_eq!(
            (state.failure, state.down_for, state.local),
            (None, Duration::ZERO, true)
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reservation_that_arrives_after_it_was_refused_takes_nothing() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        store.trouble([Trouble::Slow(Duration::from_secs(30))]);
        let order = order("u", "a", &[want(TOKENS, 100), want(PLACES, 1)]);
        assert_eq!(denied(worker.reserve(closed(order)).await), Denied::Closed);
        worker.settled().await;
        pass(60).await;
        assert_eq!((store.used("u", ""), store.flying("u")), (0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_account_keeps_nobody_else_from_being_settled() {
    on_one_thread(async {
        let store = ModelStore::default();
        store.part_down(1, 2, Trouble::Refuses(StoreErrorKind::Crowded));
        let worker = Worker::of(&store);
        for number in 0..20 {
            let order = order(
                &format!("user{number}"),
                &format!("a{number}"),
                &[want(TOKENS, 10)],
            );
            drop(worker.reserve(open(order)).await.unwrap());
        }
        until(|| worker.watched.waiting.get() == 10).await;
        store.forget_calls();
        pass(3600).await;
        let calls = store.calls("settle");
        assert!(
            (100..250).contains(&calls),
            "{calls} attempts of ten in an hour"
        );
        store.up();
        pass(300).await;
        assert_eq!(worker.watched.waiting.get(), 0);
        assert_eq!(store.counters().values().sum::<u64>(), 200);
    })
    .await;
}
