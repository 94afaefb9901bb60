//! What only the Redis store promises, and the shared suite over it, on a real server.

#![cfg(test)]

mod redis_access;
mod redis_cutter;
mod redis_desk;
mod redis_faults;
mod redis_server;
mod suite;

use std::collections::BTreeSet;

use quota::{Bucket, Claim, Hold, Lives, Operation, RedisStore, Verdict, Version};
use redis_desk::{Desk, HOUR_MS, LIVES, bucket, done, id, now_ms};
use redis_server::Server;
use suite::Fixture;

impl Fixture for Server {
    type Handle = RedisStore;

    fn open(&self, lives: Lives) -> RedisStore {
        RedisStore::new(&self.url(), None, lives, Box::new(|_| {})).unwrap()
    }
}

suite::shared_suite!(Server::start(&[]));

#[tokio::test]
async fn keys_of_a_user_have_one_hash_tag_and_the_seeds_is_a_plain_integer() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    done(desk.reserve("a").await);
    done(desk.reserve("b").await);
    done(desk.settle("b", [1, 7], true).await);
    done(desk.set(5, "{}").await);
    let keys: BTreeSet<String> = server.ask(&["KEYS", "*"]);
    let [day, month] = [&desk.buckets[0].key, &desk.buckets[1].key];
    let expected = [":state", ":open", ":lease:a", ":lease:b", ":notes"];
    let expected = expected.map(|end| format!("quota:{{alice}}{end}"));
    let expected: BTreeSet<_> = expected.iter().chain([day, month]).cloned().collect();
    assert_eq!(keys, expected);
    assert!(day.starts_with("quota:{alice}:20"), "{day}");
    assert_eq!(server.ask::<String>(&["GET", day]), "5");
    assert_eq!(server.ask::<String>(&["GET", month]), "17");
}

#[tokio::test]
async fn each_call_is_one_round_trip() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    done(desk.reserve("first").await);
    server.ask::<()>(&["CONFIG", "RESETSTAT"]);
    done(desk.reserve("a").await);
    done(desk.read().await);
    let hold = Hold::Open;
    let lease = id("a");
    done(desk.call(Operation::Extend { lease, hold }).await);
    done(desk.settle("a", [1, 3], true).await);
    done(desk.set(1, "{}").await);
    done(desk.probe().await);
    desk.notes().await;
    let stats: String = server.ask(&["INFO", "commandstats"]);
    let calls = |command: &str| {
        let start = format!("cmdstat_{command}:calls=");
        let mut lines = stats.lines().filter_map(|line| line.strip_prefix(&start));
        lines
            .next()
            .map_or("0", |rest| rest.split(',').next().unwrap())
    };
    assert_eq!(calls("evalsha"), "6", "{stats}");
    assert_eq!(calls("lrange"), "1", "{stats}");
    for other in ["eval", "ping", "script|load", "select", "auth"] {
        assert_eq!(calls(other), "0", "{other} in {stats}");
    }
}

#[tokio::test]
async fn counts_on_from_what_an_operator_set() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    server.ask::<()>(&["SET", &desk.buckets[0].key, "99"]);
    assert_eq!(done(desk.reserve("a").await).used, [100, 10]);
    assert_eq!(desk.reserve("b").await.unwrap().verdict, Verdict::Full(0));
    server.ask::<()>(&["SET", &desk.buckets[0].key, "-1"]);
    assert_eq!(done(desk.read().await).used, [0, 10]);
    assert_eq!(
        done(desk.reserve("b").await).used,
        [0, 20],
        "one was left over"
    );
    assert_eq!(done(desk.reserve("c").await).used, [1, 30]);
}

#[tokio::test]
async fn counts_a_billion_tokens_a_thousand_times_and_writes_them_as_digits() {
    const LARGE: u64 = 1_000_000_000_000;
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 4 * LARGE);
    for (lease, amount) in [("a", LARGE), ("b", 2 * LARGE - 1), ("c", LARGE + 1)] {
        let operation = Operation::Reserve {
            lease: id(lease),
            claims: desk.claims([0, amount]),
            hold: Hold::Open,
            places: None,
        };
        done(desk.call(operation).await);
    }
    let key = &desk.buckets[1].key;
    assert_eq!(server.ask::<String>(&["GET", key]), "4000000000000");
    assert_eq!(desk.reserve("d").await.unwrap().verdict, Verdict::Full(1));
    let record: String = server.ask(&["GET", "quota:{alice}:lease:b"]);
    assert_eq!(record, "g 0 1999999999999");
    let closed = done(desk.settle("b", [0, LARGE - 3], false).await);
    assert_eq!(closed.used, [0, 3 * LARGE - 2]);
    assert_eq!(server.ask::<String>(&["GET", key]), "2999999999998");
    let beyond = || Operation::Restore {
        floors: desk.claims([0, u64::MAX]),
    };
    let most = 999_999_999_999_999;
    assert_eq!(
        done(desk.call(beyond()).await).used,
        [0, most],
        "the most there is"
    );
    assert_eq!(
        done(desk.read().await).used,
        [0, most],
        "which is still a count"
    );
    let more = done(desk.settle("unknown", [0, 5_000], true).await);
    assert_eq!(more.used, [0, most], "and nothing is added to it");
}

#[tokio::test]
async fn refuses_a_value_that_is_none_of_its_own_and_changes_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    let month = desk.buckets[1].key.clone();
    let odd = [
        "many",
        "1e3",
        "01",
        "+1",
        "-0",
        "1.0",
        " 1",
        "",
        "9999999999999999999",
    ];
    let mut spoiled: Vec<_> = odd.map(|value| vec!["SET", &month, value]).to_vec();
    spoiled.push(vec!["LPUSH", &month, "1"]);
    spoiled.push(vec!["SET", "quota:{alice}:state", "new"]);
    spoiled.push(vec!["LPUSH", "quota:{alice}:state", "1"]);
    spoiled.push(vec!["SET", "quota:{alice}:open", "1"]);
    spoiled.push(vec!["LPUSH", "quota:{alice}:lease:a", "1"]);
    for command in spoiled {
        server.ask::<()>(&["FLUSHALL"]);
        server.ask::<redis::Value>(&command);
        let failures = [
            desk.reserve("a").await.unwrap_err(),
            desk.settle("a", [5, 5], true).await.unwrap_err(),
        ];
        for failure in failures {
            assert_eq!(failure.kind.as_str(), "refused", "{command:?}: {failure}");
        }
        assert_eq!(server.ask::<i64>(&["DBSIZE"]), 1, "{command:?}");
    }
    server.ask::<()>(&["FLUSHALL"]);
    server.ask::<()>(&["SET", "quota:{alice}:notes", "1"]);
    assert!(desk.set(7, "{}").await.is_err());
    assert_eq!(server.ask::<i64>(&["DBSIZE"]), 1);
}

#[tokio::test]
async fn a_gateway_whose_clock_is_off_learns_the_time_and_takes_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    for wrong_ms in [now_ms() + HOUR_MS, now_ms() - HOUR_MS] {
        let mut desk = Desk::of(&server, 100);
        desk.buckets[1] = bucket(&desk.account, "requests", "hour", 10, wrong_ms);
        for reply in [desk.reserve("a").await, desk.read().await] {
            let reply = reply.unwrap();
            assert_eq!(reply.verdict, Verdict::Moved);
            assert!(now_ms().abs_diff(reply.now_ms) < 5_000, "{}", reply.now_ms);
        }
        let set = Operation::Set {
            bucket: desk.buckets[1].clone(),
            used: 3,
            note: "{}".into(),
        };
        assert_eq!(desk.call(set).await.unwrap().verdict, Verdict::Moved);
    }
    assert_eq!(server.ask::<i64>(&["DBSIZE"]), 0);
}

#[tokio::test]
async fn a_reservation_repeated_after_midnight_is_the_one_of_the_day_before() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut desk = Desk::of(&server, 100);
    let before = done(desk.reserve("a").await);
    desk.buckets[0].resets_at_s = desk.buckets[0].starts_at_s + 1;
    let again = done(desk.reserve("a").await);
    assert_eq!((again.version, again.used), (before.version, before.used));
    assert_eq!(desk.reserve("b").await.unwrap().verdict, Verdict::Moved);
}

#[tokio::test]
async fn nothing_is_kept_longer_than_somebody_may_ask_for_it() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    done(desk.take("open", Hold::Open, None).await);
    done(desk.take("settled", Hold::Settled, None).await);
    done(desk.take("ended", Hold::Open, None).await);
    done(desk.settle("ended", [1, 1], true).await);
    done(desk.set(1, "{}").await);
    done(desk.probe().await);
    let life = |key: &str, expected_ms: u64| {
        let left_ms: u64 = server.ask(&["PTTL", key]);
        let range = expected_ms.saturating_sub(5_000)..=expected_ms;
        assert!(
            range.contains(&left_ms),
            "{key}: {left_ms} of {expected_ms}"
        );
    };
    life("quota:{alice}:lease:open", LIVES.open_record_ms);
    life("quota:{alice}:lease:settled", LIVES.record_ms);
    life("quota:{alice}:lease:ended", LIVES.record_ms);
    life("quota:{alice}:open", 2 * LIVES.lease_ms);
    life("quota:{alice}:state", 8 * 24 * HOUR_MS);
    life("quota:{alice}:probe", 1_000);
    life("quota:{alice}:notes", 366 * 24 * HOUR_MS);
    for bucket in &desk.buckets {
        let reset_ms = u64::try_from(bucket.resets_at_s).unwrap() * 1_000;
        life(&bucket.key, reset_ms + HOUR_MS - now_ms());
    }
    server.ask::<i64>(&["PEXPIRE", "quota:{alice}:lease:open", "10000"]);
    let (lease, hold) = (id("open"), Hold::Open);
    done(desk.call(Operation::Extend { lease, hold }).await);
    life("quota:{alice}:lease:open", LIVES.open_record_ms);
    let bytes: u64 = server.ask(&["MEMORY", "USAGE", "quota:{alice}:lease:settled"]);
    assert!(bytes <= 128, "{bytes} bytes for the record of a lease");
}

#[tokio::test]
async fn a_dead_lease_holds_no_place_while_others_fly() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    server.ask::<i64>(&["ZADD", "quota:{alice}:open", "1000", "dead"]);
    assert_eq!(done(desk.read().await).flying, 0);
    assert_eq!(done(desk.take("a", Hold::Open, Some(1)).await).flying, 1);
    let left: Vec<String> = server.ask(&["ZRANGE", "quota:{alice}:open", "0", "-1"]);
    assert_eq!(left, ["a"]);
}

#[tokio::test]
async fn what_is_settled_after_its_bucket_was_forgotten_leaves_nothing_behind() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut desk = Desk::of(&server, 100);
    let long_ago = |bucket: &mut Bucket| {
        bucket.starts_at_s = 1_000_000_000;
        bucket.resets_at_s = 1_000_086_400;
    };
    desk.buckets.iter_mut().for_each(long_ago);
    done(desk.settle("a", [3, 30], true).await);
    for bucket in &desk.buckets {
        assert!(server.ask::<i64>(&["PTTL", &bucket.key]) <= 1_000);
    }
}

#[tokio::test]
async fn setting_a_counter_tells_what_it_was_and_keeps_the_last_hundred_notes() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 1_000);
    done(desk.reserve("a").await);
    assert_eq!(done(desk.set(500, "0").await).used, [1]);
    for number in 1..=100 {
        assert_eq!(
            done(desk.set(number, &number.to_string()).await).used.len(),
            1
        );
    }
    assert_eq!(done(desk.read().await).used, [100, 10]);
    let notes = desk.notes().await;
    let newest_first: Vec<_> = (1..=100)
        .rev()
        .map(|number: u64| number.to_string())
        .collect();
    assert_eq!(notes, newest_first);
}

#[tokio::test]
async fn a_store_that_came_back_with_older_data_is_found_out_and_mended() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let mut desk = Desk::of(&server, 100);
    done(desk.reserve("a").await);
    server.ask::<()>(&["SAVE"]);
    let last = done(desk.reserve("b").await);
    desk.seen = last.version;
    server.kill();
    server.start_again();
    let older = desk.reserve("c").await.unwrap();
    assert_eq!(older.verdict, Verdict::Older);
    assert_eq!(
        desk.settle("b", [1, 1], false).await.unwrap().verdict,
        Verdict::Older
    );
    assert_eq!(desk.read().await.unwrap().verdict, Verdict::Older);
    let floors = || Operation::Restore {
        floors: desk.claims([2, 20]),
    };
    let restored = done(desk.call(floors()).await);
    assert_eq!(restored.used, [2, 20]);
    let reopen = Operation::Reopen {
        lease: id("b"),
        claims: desk.claims([1, 10]),
        hold: Hold::Open,
    };
    assert_eq!(done(desk.call(reopen).await).flying, 2);

    // Somebody else who saw the old history finds out too, and does not begin another one.
    assert_eq!(desk.read().await.unwrap().verdict, Verdict::Older);
    let again = done(desk.call(floors()).await);
    assert_eq!(
        again.version.unwrap().epoch,
        restored.version.unwrap().epoch
    );
    desk.seen = again.version;
    assert_eq!(done(desk.settle("b", [1, 4], false).await).used, [2, 14]);

    // The same with nothing left at all.
    server.ask::<()>(&["FLUSHALL"]);
    assert_eq!(desk.reserve("c").await.unwrap().verdict, Verdict::Older);
    let floor: Vec<Claim> = desk.claims([2, 14]);
    let renewed = done(desk.call(Operation::Restore { floors: floor }).await);
    let Some(Version { epoch, .. }) = renewed.version else {
        panic!("no version");
    };
    assert!(epoch > again.version.unwrap().epoch);
    assert_eq!(renewed.used, [2, 14]);
}

#[tokio::test]
async fn a_probe_writes_and_touches_no_account() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut desk = Desk::of(&server, 100);
    desk.seen = done(desk.reserve("a").await).version;
    for _ in 0..3 {
        assert_eq!(done(desk.probe().await).version, None);
    }
    assert_eq!(done(desk.read().await).used, [1, 10]);
    server.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(desk.probe().await.unwrap_err().kind.as_str(), "readonly");
}
