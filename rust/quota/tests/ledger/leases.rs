//! Leases while the store answers, and while single calls fail.

use std::rc::Rc;
use std::time::Duration;

use quota::{Denied, Period, StoreErrorKind, Unit, Window};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};

use crate::model_store::{LATENCY, ModelStore, Trouble};
use crate::world::{
    LEASE, PATIENCE, PLACES, REQUESTS, TOKENS, Worker, closed, denied, on_one_thread, order, pass,
    until, want, window,
};

const ALL: [Window; 6] = [
    window(Unit::Requests, Some(Period::Minute), Some(100)),
    window(Unit::Concurrent, None, Some(8)),
    window(Unit::Prompts, Some(Period::Week), Some(100)),
    window(Unit::Tokens, Some(Period::Hour), Some(1_000)),
    window(Unit::Tokens, Some(Period::Month), None),
    window(Unit::Requests, Some(Period::Day), Some(10)),
];

#[tokio::test(start_paused = true)]
async fn takes_all_windows_with_one_call_and_corrects_them_with_another() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::awake(&store).await;
        let wants = [1, 1, 0, 300, 300, 1];
        let wants: Vec<_> = ALL
            .iter()
            .zip(wants)
            .map(|(window, amount)| want(*window, amount))
            .collect();
        let lease = worker.reserve(order("u", "a", &wants)).await.unwrap();
        let used: Vec<u64> = lease.counts().iter().map(|count| count.used).collect();
        assert_eq!(used, [1, 1, 0, 300, 300, 1]);
        let windows: Vec<_> = lease.counts().iter().map(|count| count.window).collect();
        assert_eq!(windows, ALL);
        assert_eq!(lease.counts()[1].resets_at_s, None);
        assert_eq!(lease.counts()[5].resets_at_s, Some(1_795_478_400));
        assert_eq!(store.flying("u"), 1);
        let used = lease.settle(&[1, 1, 0, 120, 130, 1]).await;
        let used: Vec<u64> = used.iter().map(|count| count.used).collect();
        assert_eq!(used, [1, 0, 0, 120, 130, 1]);
        assert_eq!(
            (worker.watched.called.get(), worker.watched.counted.get()),
            (2, 2)
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn settles_requests_and_prompts_as_they_are_reserved() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::awake(&store).await;
        let prompts = window(Unit::Prompts, Some(Period::Hour), Some(5));
        let lease = worker
            .reserve(order("u", "a", &[want(REQUESTS, 1), want(prompts, 1)]))
            .await;
        let counts = lease.unwrap().settle(&[1, 1]).await;
        assert_eq!(
            counts.iter().map(|count| count.used).collect::<Vec<_>>(),
            [1, 1]
        );
        drop(
            worker
                .reserve(order("u", "b", &[want(REQUESTS, 1)]))
                .await
                .unwrap(),
        );
        pass(1).await;
        assert_eq!(
            worker.watched.called.get(),
            2,
            "one round trip for each request"
        );
        assert_eq!(store.used("u", "}:2026-11-23"), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn gives_everything_back() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        for wants in [
            &[want(REQUESTS, 1)][..],
            &[want(TOKENS, 70), want(PLACES, 1), want(REQUESTS, 2)],
        ] {
            let lease = worker
                .reserve(order("u", &format!("a{}", wants.len()), wants))
                .await
                .unwrap();
            assert!(store.used("u", "") > 0);
            lease.give_back().await;
            assert_eq!((store.used("u", ""), store.flying("u")), (0, 0));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn says_which_window_is_full() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        let wants = [want(PLACES, 1), want(TOKENS, 600), want(REQUESTS, 1)];
        let first = worker.reserve(order("u", "a", &wants)).await.unwrap();
        let Denied::Full { counts, exhausted } =
            denied(worker.reserve(order("u", "b", &wants)).await)
        else {
            panic!("not full");
        };
        assert_eq!(exhausted, 1);
        assert_eq!(
            counts.iter().map(|count| count.used).collect::<Vec<_>>(),
            [1, 600, 1]
        );
        let wants = [want(REQUESTS, 1), want(PLACES, 1)];
        let _second = worker.reserve(order("u", "c", &wants)).await.unwrap();
        let Denied::Full { counts, exhausted } =
            denied(worker.reserve(order("u", "d", &wants)).await)
        else {
            panic!("not full");
        };
        assert_eq!((exhausted, counts[1].used), (1, 2));
        first.give_back().await;
        assert!(worker.reserve(order("u", "e", &wants)).await.is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_order_of_nothing_reaches_nobody() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        let lease = worker.reserve(order("u", "a", &[])).await.unwrap();
        assert!(lease.settle(&[]).await.is_empty());
        assert_eq!(worker.watched.called.get(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn goes_by_the_stores_clock_wherever_it_jumps() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::awake(&store).await;
        for (jump_ms, day) in [(86_400_000, "2026-11-24"), (-86_400_000 * 40, "2026-10-15")] {
            store.jump(jump_ms);
            store.forget_calls();
            let before = Instant::now();
            let lease = worker
                .reserve(order("u", &format!("lease{day}"), &[want(REQUESTS, 1)]))
                .await;
            assert_eq!(lease.unwrap().counts()[0].used, 1, "{day}");
            assert_eq!(store.used("u", day), 1, "{day}");
            assert!(before.elapsed() <= 2 * LATENCY);
            assert_eq!(
                store.calls("reserve"),
                2,
                "the second time at the store's time"
            );
        }
        store.forget_calls();
        worker
            .reserve(order("v", "x", &[want(REQUESTS, 1)]))
            .await
            .unwrap()
            .give_back()
            .await;
        assert_eq!(store.calls("reserve"), 1, "the time is known now");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_outlives_its_window_is_settled_where_it_was_taken() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        let lease = worker
            .reserve(order("u", "a", &[want(TOKENS, 100)]))
            .await
            .unwrap();
        store.jump(86_400_000 * 10);
        lease.settle(&[40]).await;
        assert_eq!(store.used("u", "2026-11"), 40);
        assert_eq!(store.used("u", "2026-12"), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_window_without_a_limit() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        // It learns the time: what is asked for the wrong day is asked for twice.
        worker.ledger.state().await;
        let unlimited = window(Unit::Tokens, Some(Period::Day), None);
        let before = Instant::now();
        let lease = worker
            .reserve(order("u", "a", &[want(unlimited, 50)]))
            .await
            .unwrap();
        assert!(lease.counts().is_empty());
        assert_eq!((before.elapsed(), store.used("u", "")), (Duration::ZERO, 0));
        assert!(lease.settle(&[20]).await.is_empty());
        assert_eq!(before.elapsed(), Duration::ZERO);
        until(|| store.used("u", "") == 20).await;
        assert_eq!(store.asked("reserve"), ["a"]);
        drop(
            worker
                .reserve(order("u", "b", &[want(unlimited, 50)]))
                .await
                .unwrap(),
        );
        until(|| store.used("u", "") == 70 && store.flying("u") == 0).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_unlimited_is_counted_once_whatever_becomes_of_its_reservation() {
    on_one_thread(async {
        let unlimited = window(Unit::Requests, Some(Period::Day), None);
        for trouble in [
            Trouble::CutBefore,
            Trouble::CutAfter,
            Trouble::Lost,
            Trouble::ReplyLost,
        ] {
            let store = ModelStore::default();
            let worker = Worker::of(&store);
            store.trouble([trouble]);
            let kept = worker
                .reserve(closed(order("u", "kept", &[want(unlimited, 1)])))
                .await
                .unwrap();
            let given_back = closed(order("u", "given_back", &[want(unlimited, 1)]));
            let given_back = worker.reserve(given_back).await.unwrap();
            kept.settle(&[1]).await;
            given_back.give_back().await;
            pass(1).await;
            worker.settled().await;
            assert_eq!(store.used("u", ""), 1, "{trouble:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_lease_stands_and_its_place_is_free() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        drop(
            worker
                .reserve(order("u", "a", &[want(TOKENS, 50), want(PLACES, 1)]))
                .await
                .unwrap(),
        );
        worker.settled().await;
        until(|| store.flying("u") == 0).await;
        assert_eq!(store.used("u", "tokens"), 50);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reservation_nobody_waits_for_any_more_is_given_back() {
    on_one_thread(async {
        let slow = Trouble::Slow(Duration::from_secs(3));
        for trouble in [Trouble::ReplyLost, Trouble::Lost, slow] {
            let store = ModelStore::default();
            let worker = Worker::of(&store);
            store.trouble([trouble]);
            let reserve = worker.reserve(order("u", "a", &[want(REQUESTS, 1), want(PLACES, 1)]));
            assert!(timeout(Duration::from_millis(10), reserve).await.is_err());
            worker.settled().await;
            pass(5).await;
            assert_eq!(
                (store.used("u", ""), store.flying("u")),
                (0, 0),
                "{trouble:?}"
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn settles_once_when_the_reply_is_lost() {
    on_one_thread(async {
        let slow = Trouble::Slow(Duration::from_secs(3));
        for trouble in [
            Trouble::CutBefore,
            Trouble::CutAfter,
            Trouble::ReplyLost,
            Trouble::Lost,
            slow,
        ] {
            let store = ModelStore::default();
            let worker = Worker::of(&store);
            let other = worker
                .reserve(order("u", "other", &[want(TOKENS, 100)]))
                .await
                .unwrap();
            let lease = worker
                .reserve(order("u", "a", &[want(TOKENS, 100)]))
                .await
                .unwrap();
            store.trouble([trouble, trouble]);
            assert!(lease.settle(&[30]).await.is_empty());
            worker.settled().await;
            pass(5).await;
            assert_eq!(store.used("u", ""), 130, "{trouble:?}");
            other.settle(&[100]).await;
            assert_eq!(store.used("u", ""), 130, "{trouble:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn settles_once_when_nobody_waits_for_it_any_more() {
    on_one_thread(async {
        for trouble in [Trouble::ReplyLost, Trouble::Lost] {
            let store = ModelStore::default();
            let worker = Worker::of(&store);
            let lease = worker
                .reserve(order("u", "a", &[want(TOKENS, 100)]))
                .await
                .unwrap();
            store.trouble([trouble]);
            let settle = lease.settle(&[30]);
            assert!(timeout(Duration::from_millis(10), settle).await.is_err());
            worker.settled().await;
            assert_eq!(
                (store.used("u", ""), store.flying("u")),
                (30, 0),
                "{trouble:?}"
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn all_that_a_request_asks_of_the_store_takes_one_patience() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        store.down(Trouble::Slow(Duration::from_millis(200)));
        let before = Instant::now();
        let lease = worker
            .reserve(order("u", "a", &[want(TOKENS, 100)]))
            .await
            .unwrap();
        assert!(lease.settle(&[30]).await.is_empty());
        assert_eq!(before.elapsed(), PATIENCE);
        let unlimited = window(Unit::Tokens, Some(Period::Day), None);
        let before = Instant::now();
        let lease = worker
            .reserve(order("v", "b", &[want(unlimited, 100)]))
            .await
            .unwrap();
        lease.settle(&[40]).await;
        assert!(before.elapsed() <= PATIENCE);
        store.up();
        worker.settled().await;
        assert_eq!((store.used("u", ""), store.used("v", "")), (30, 40));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_lives_as_long_as_its_exchange() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        let lease = worker
            .reserve(order("u", "long", &[want(TOKENS, 10), want(PLACES, 1)]))
            .await
            .unwrap();
        let settled = worker
            .reserve(order("u", "settled", &[want(REQUESTS, 1)]))
            .await
            .unwrap();
        for _ in 0..40 {
            tokio::time::sleep(LEASE / 2).await;
            assert_eq!(store.flying("u"), 1);
        }
        let of = |lease: &str| {
            store
                .asked("extend")
                .iter()
                .filter(|id| *id == lease)
                .count()
        };
        assert!((40..=60).contains(&of("long")), "{}", of("long"));
        assert_eq!(of("settled"), 3, "every five minutes of twenty");
        lease.settle(&[7, 0]).await;
        settled.give_back().await;
        assert_eq!(
            (store.used("u", "tokens"), store.used("u", "2026-11-23")),
            (7, 0)
        );
        store.forget_calls();
        tokio::time::sleep(LEASE * 10).await;
        assert_eq!(store.calls("extend"), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn leases_are_kept_alive_in_batches_and_not_while_the_store_is_down() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        let many = window(Unit::Tokens, Some(Period::Month), Some(1_000_000));
        let mut leases = Vec::new();
        for number in 0..500 {
            let order = order("u", &format!("a{number}"), &[want(many, 1)]);
            leases.push(worker.reserve(order).await.unwrap());
        }
        store.most_in_flight();
        tokio::time::sleep(LEASE / 2).await;
        assert_eq!(store.most_in_flight(), 64);
        assert!(store.calls("extend") >= 500);
        store.down(Trouble::Lost);
        worker.open_breaker().await;
        store.forget_calls();
        tokio::time::sleep(LEASE * 3).await;
        assert_eq!(store.calls("extend"), 0);
        assert_eq!(store.flying("u"), 0, "all places are free");
        store.up();
        until(|| store.flying("u") == 500).await;
        for lease in leases {
            lease.settle(&[2]).await;
        }
        assert_eq!((store.used("u", ""), store.flying("u")), (1_000, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_record_is_gone_is_settled_once_all_the_same() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        let lease = worker
            .reserve(order("u", "a", &[want(TOKENS, 100), want(PLACES, 1)]))
            .await
            .unwrap();
        let second = worker
            .reserve(order("u", "b", &[want(TOKENS, 100)]))
            .await
            .unwrap();
        store.evict("u", "a");
        store.evict("u", "b");
        tokio::time::sleep(LEASE / 2).await;
        assert_eq!(store.calls("reopen"), 2);
        assert_eq!(store.used("u", ""), 200);
        lease.settle(&[30, 0]).await;
        store.evict("u", "b");
        second.settle(&[40]).await;
        assert_eq!((store.used("u", ""), store.flying("u")), (70, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_came_back_older_is_raised_to_what_it_had_said() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Rc::new(Worker::of(&store));
        let other = Worker::of(&store);
        worker
            .reserve(order("u", "before", &[want(REQUESTS, 2)]))
            .await
            .unwrap()
            .settle(&[2])
            .await;
        let older = store.snapshot();
        worker
            .reserve(order("u", "lost", &[want(REQUESTS, 3)]))
            .await
            .unwrap()
            .settle(&[3])
            .await;
        let lease = worker
            .reserve(order("u", "open", &[want(TOKENS, 100), want(PLACES, 1)]))
            .await
            .unwrap();
        let others = other
            .reserve(order("u", "others", &[want(TOKENS, 50), want(PLACES, 1)]))
            .await
            .unwrap();
        store.roll_back(&older);
        assert_eq!(
            (store.used("u", "2026-11-23"), store.used("u", "tokens")),
            (2, 0)
        );
        let mut reserving = Vec::new();
        for number in 0..6 {
            let worker = Rc::clone(&worker);
            let order = order("u", &format!("after{number}"), &[want(REQUESTS, 1)]);
            reserving.push(spawn_local(
                async move { worker.reserve(order).await.map(drop) },
            ));
        }
        let mut granted = 0;
        for reserving in reserving {
            granted += usize::from(reserving.await.unwrap().is_ok());
        }
        assert_eq!(granted, 5, "ten less five");
        assert_eq!(
            *worker.watched.older.borrow(),
            ["u"],
            "one finds it, for all"
        );
        assert_eq!(
            (store.calls("restore"), store.asked("reopen")),
            (1, vec!["open".to_owned()])
        );
        assert_eq!(store.flying("u"), 1, "its place is taken again");
        others.settle(&[20, 0]).await;
        lease.settle(&[10, 0]).await;
        assert_eq!(*other.watched.older.borrow(), ["u"]);
        assert_eq!(
            (store.used("u", "2026-11-23"), store.used("u", "tokens")),
            (10, 30)
        );
        assert_eq!(store.flying("u"), 0);
        store.forget_calls();
        worker
            .reserve(order("v", "v", &[want(REQUESTS, 1)]))
            .await
            .unwrap()
            .settle(&[1])
            .await;
        assert_eq!(store.calls("restore"), 0, "others are not concerned");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_late_word_of_the_older_store_is_no_second_loss() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Rc::new(Worker::awake(&store).await);
        let before = store.snapshot();
        drop(
            worker
                .reserve(order("u", "a", &[want(REQUESTS, 4)]))
                .await
                .unwrap(),
        );
        store.roll_back(&before);
        store.trouble([Trouble::Slow(LATENCY), Trouble::Slow(LATENCY * 50)]);
        let reserve = |lease: &str| {
            let (worker, order) = (Rc::clone(&worker), order("u", lease, &[want(REQUESTS, 1)]));
            spawn_local(async move { worker.reserve(order).await.map(drop) })
        };
        for reserving in [reserve("b"), reserve("c")] {
            reserving.await.unwrap().unwrap();
        }
        assert_eq!((store.calls("restore"), store.used("u", "")), (1, 6));
        assert_eq!(worker.watched.older.borrow().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_certainly_failed_is_sure_however_late_it_comes() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        let lease = worker
            .reserve(order("u", "a", &[want(TOKENS, 100)]))
            .await
            .unwrap();
        store.down(Trouble::Refuses(StoreErrorKind::Loading));
        assert!(lease.settle(&[30]).await.is_empty());
        pass(20 * 60).await;
        store.evict("u", "a");
        store.up();
        worker.settled().await;
        assert_eq!(store.used("u", ""), 30);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_everything_goes_on_where_it_was() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        let empty = store.snapshot();
        for number in 0..10 {
            let lease = worker
                .reserve(order("u", &format!("a{number}"), &[want(REQUESTS, 1)]))
                .await;
            lease.unwrap().settle(&[1]).await;
            store.roll_back(&empty);
        }
        let full = denied(worker.reserve(order("u", "b", &[want(REQUESTS, 1)])).await);
        assert!(matches!(full, Denied::Full { .. }));
        let counts = worker.ledger.counts("u", &[REQUESTS]).await.unwrap();
        assert_eq!(counts[0].used, 10);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reads_sets_and_notes() {
    on_one_thread(async {
        let store = ModelStore::default();
        let worker = Worker::of(&store);
        let _lease = worker
            .reserve(order("u", "a", &[want(REQUESTS, 3), want(PLACES, 1)]))
            .await
            .unwrap();
        let counts = worker
            .ledger
            .counts("u", &[PLACES, REQUESTS, TOKENS])
            .await
            .unwrap();
        assert_eq!(
            counts.iter().map(|count| count.used).collect::<Vec<_>>(),
            [1, 3, 0]
        );
        assert!(worker.ledger.counts("u", &[]).await.unwrap().is_empty());
        for (used, before) in [(8, 3), (1, 8)] {
            let set = worker
                .ledger
                .set("u", REQUESTS, used, format!("to {used}"))
                .await;
            assert_eq!(set.unwrap(), before);
        }
        assert_eq!(worker.ledger.notes("u").await.unwrap(), ["to 1", "to 8"]);
        store.jump(86_400_000);
        assert_eq!(
            worker
                .ledger
                .set("u", REQUESTS, 4, "tomorrow".into())
                .await
                .unwrap(),
            0
        );
        assert_eq!(store.used("u", "2026-11-24"), 4, "at the store's time");
        let refused = worker
            .ledger
            .set("u", PLACES, 4, String::new())
            .await
            .unwrap_err();
        assert_eq!(refused.kind, StoreErrorKind::Refused);
        let older = store.snapshot();
        worker
            .ledger
            .set("u", REQUESTS, 9, "raised".into())
            .await
            .unwrap();
        store.roll_back(&older);
        assert_eq!(
            worker.ledger.counts("u", &[REQUESTS]).await.unwrap()[0].used,
            9
        );
    })
    .await;
}
