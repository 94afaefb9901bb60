//! What becomes of calls when the server, or the way to it, fails.

use std::time::{Duration, Instant};

use quota::{StoreErrorKind, Verdict};

use crate::redis_cutter::{Cutter, Turn};
use crate::redis_desk::{Desk, PATIENCE, done};
use crate::redis_server::Server;

const SHORT: Duration = Duration::from_millis(200);
const LITTLE_MORE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_reply_that_was_lost_is_asked_for_again_and_counts_once() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let cutter = Cutter::before(&server).await;
    let desk = Desk::at(&cutter.url, 100);
    done(desk.probe().await);
    cutter.next(Turn::Cut);
    assert_eq!(done(desk.reserve("a").await).used, [1, 10]);
    cutter.next(Turn::Cut);
    assert_eq!(
        desk.settle("a", [1, 4], true).await.unwrap().verdict,
        Verdict::Ended
    );
    assert_eq!(done(desk.read().await).used, [1, 4]);
    let lost = StoreErrorKind::Unreachable;
    assert_eq!(desk.overcame(), [StoreErrorKind::NoScript, lost, lost]);
}

#[tokio::test]
async fn a_reply_that_was_lost_twice_is_a_failure_and_counts_once() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let cutter = Cutter::before(&server).await;
    let desk = Desk::at(&cutter.url, 100);
    done(desk.probe().await);
    cutter.next(Turn::Cut);
    cutter.next(Turn::Cut);
    assert_eq!(desk.kind_of_failure("a").await, StoreErrorKind::Unreachable);
    assert_eq!(done(desk.reserve("a").await).used, [1, 10]);
}

#[tokio::test]
async fn a_counter_is_not_set_twice_when_the_reply_was_lost() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let cutter = Cutter::before(&server).await;
    let desk = Desk::at(&cutter.url, 100);
    done(desk.probe().await);
    cutter.next(Turn::Cut);
    let failure = desk.set(7, "once").await.unwrap_err();
    assert_eq!(failure.kind, StoreErrorKind::Unreachable);
    let notes = desk.notes().await;
    assert_eq!(notes, ["once"]);
}

#[tokio::test]
async fn a_connection_that_fell_silent_is_given_up() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let cutter = Cutter::before(&server).await;
    let desk = Desk::at(&cutter.url, 100);
    done(desk.probe().await);
    cutter.next(Turn::Hush);
    let desk = desk.patient_for(SHORT);
    assert_eq!(desk.kind_of_failure("a").await, StoreErrorKind::Timeout);
    let desk = desk.patient_for(PATIENCE);
    assert_eq!(done(desk.reserve("a").await).used, [1, 10]);
}

#[tokio::test]
async fn survives_a_flush_of_the_script_cache_before_any_call() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    for (number, lease) in (1..).zip(["a", "b", "c"]) {
        server.ask::<()>(&["SCRIPT", "FLUSH"]);
        assert_eq!(done(desk.reserve(lease).await).used, [number, 10 * number]);
    }
    assert_eq!(desk.overcame(), [StoreErrorKind::NoScript; 3]);
}

#[tokio::test]
async fn recovers_at_the_first_call_after_redis_is_back() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    for round in 0..3 {
        done(desk.reserve(&format!("before-{round}")).await);
        server.kill();
        for _ in 0..3 {
            assert_eq!(
                desk.kind_of_failure("down").await,
                StoreErrorKind::Unreachable
            );
        }
        server.start_again();
        done(desk.probe().await);
    }
}

#[tokio::test]
async fn fails_no_call_for_a_restart_between_calls() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    for _ in 0..3 {
        done(desk.probe().await);
        let restart = move || {
            server.kill();
            server.start_again();
            server
        };
        server = tokio::task::spawn_blocking(restart).await.unwrap();
    }
    done(desk.reserve("a").await);
}

#[tokio::test]
async fn begins_to_work_when_redis_starts_after_the_gateway() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    server.kill();
    let desk = Desk::of(&server, 100);
    assert_eq!(desk.kind_of_failure("a").await, StoreErrorKind::Unreachable);
    server.start_again();
    done(desk.reserve("a").await);
}

#[tokio::test]
async fn keeps_what_it_acknowledged_when_redis_is_killed() {
    let Some(mut server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"])
    else {
        return;
    };
    let mut desk = Desk::of(&server, 1_000);
    for round in 1..=5 {
        let reply = done(desk.reserve(&format!("lease-{round}")).await);
        assert_eq!(reply.used, [round, 10 * round]);
        desk.seen = reply.version;
        server.kill();
        server.start_again();
        assert_eq!(done(desk.read().await).used, [round, 10 * round]);
    }
    assert_eq!(
        done(desk.settle("lease-1", [0, 0], false).await).used,
        [4, 40]
    );
}

#[tokio::test]
async fn gives_up_in_time_while_redis_is_stuck() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let connected = Desk::of(&server, 100);
    done(connected.probe().await);
    let connected = connected.patient_for(SHORT);
    let unconnected = Desk::of(&server, 100).patient_for(SHORT);
    server.signal("STOP");
    for desk in [&connected, &unconnected, &connected] {
        let begun = Instant::now();
        assert_eq!(desk.kind_of_failure("a").await, StoreErrorKind::Timeout);
        assert!(
            begun.elapsed() < SHORT + LITTLE_MORE,
            "{:?}",
            begun.elapsed()
        );
    }
    server.signal("CONT");
    server.ask::<()>(&["PING"]);
    done(connected.patient_for(PATIENCE).reserve("b").await);
}

#[tokio::test]
async fn gives_up_in_time_while_writes_are_paused() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    done(desk.reserve("a").await);
    server.ask::<()>(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let desk = desk.patient_for(SHORT);
    let begun = Instant::now();
    assert_eq!(desk.kind_of_failure("b").await, StoreErrorKind::Timeout);
    assert!(
        begun.elapsed() < SHORT + LITTLE_MORE,
        "{:?}",
        begun.elapsed()
    );
    server.ask::<()>(&["CLIENT", "UNPAUSE"]);
    done(desk.patient_for(PATIENCE).reserve("c").await);
}

#[tokio::test]
async fn says_that_redis_reads_its_data_and_works_when_it_has() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    done(desk.reserve("a").await);
    let fill = "for i = 1, 1000 do redis.call('SET', 'filler:' .. i, string.rep('x', 200)) end";
    server.ask::<()>(&["EVAL", fill, "0"]);
    server.ask::<()>(&["SAVE"]);
    server.kill();
    let slowly = [
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    server.start_loading(&slowly);
    assert_eq!(desk.kind_of_failure("b").await, StoreErrorKind::Loading);
    let reply = loop {
        match desk.reserve("b").await {
            Ok(reply) => break reply,
            Err(failure) => assert_eq!(failure.kind, StoreErrorKind::Loading),
        }
    };
    assert_eq!(reply.used, [2, 20]);
}

#[tokio::test]
async fn says_that_redis_runs_somebodys_script() {
    let Some(server) = Server::start(&["--lua-time-limit", "5"]) else {
        return;
    };
    let desk = Desk::of(&server, 1_000);
    done(desk.reserve("a").await);
    let url = server.url();
    let endless = std::thread::spawn(move || {
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let endless = redis::cmd("EVAL").arg("while true do end").arg(0).clone();
        endless.query::<()>(&mut connection).unwrap_err()
    });
    // The first calls may be answered before the script begins.
    let mut number = 0;
    let failure = loop {
        number += 1;
        if let Err(failure) = desk.reserve(&format!("early-{number}")).await {
            break failure;
        }
        assert!(number < 50, "the script never ran");
    };
    assert_eq!(failure.kind, StoreErrorKind::Busy);
    server.ask::<()>(&["SCRIPT", "KILL"]);
    endless.join().unwrap();
    assert!(desk.reserve("b").await.is_ok());
}

#[tokio::test]
async fn reconnects_when_the_primary_was_made_a_replica() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    done(desk.reserve("a").await);
    let connections = || -> u64 {
        let count = server.info("stats", "total_connections_received");
        count.parse().unwrap()
    };
    server.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(desk.kind_of_failure("b").await, StoreErrorKind::ReadOnly);
    let before = connections();
    assert_eq!(desk.kind_of_failure("b").await, StoreErrorKind::ReadOnly);
    assert_eq!(
        connections() - before,
        2,
        "one of the store, one of this count"
    );
    server.ask::<()>(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    assert_eq!(desk.kind_of_failure("b").await, StoreErrorKind::Down);
    server.ask::<()>(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(done(desk.reserve("b").await).used, [2, 20]);
}

#[tokio::test]
async fn refuses_when_memory_is_full_and_changes_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    done(desk.reserve("a").await);
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let keys: i64 = server.ask(&["DBSIZE"]);
    assert_eq!(desk.kind_of_failure("b").await, StoreErrorKind::OutOfMemory);
    let settled = desk.settle("a", [0, 0], true).await.unwrap_err();
    assert_eq!(settled.kind, StoreErrorKind::OutOfMemory);
    assert_eq!(
        desk.probe().await.unwrap_err().kind,
        StoreErrorKind::OutOfMemory
    );
    assert_eq!(done(desk.read().await).used, [1, 10]);
    assert_eq!(server.ask::<i64>(&["DBSIZE"]), keys);
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(done(desk.settle("a", [0, 0], true).await).used, [0, 0]);
}

#[tokio::test]
async fn refuses_when_redis_cannot_persist_and_changes_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let desk = Desk::of(&server, 100);
    done(desk.reserve("a").await);
    let state: String = server.ask(&["GET", "quota:{alice}:state"]);
    server.ask::<()>(&["CONFIG", "SET", "save", "3600 1000000"]);
    // No file can take the place of a folder.
    let folder = server.folder().join("dump.rdb");
    std::fs::create_dir(&folder).unwrap();
    save(&server, "err");
    assert_eq!(
        desk.kind_of_failure("b").await,
        StoreErrorKind::Misconfigured
    );
    let settled = desk.settle("a", [0, 0], true).await.unwrap_err();
    assert_eq!(settled.kind, StoreErrorKind::Misconfigured);
    assert_eq!(server.ask::<String>(&["GET", "quota:{alice}:state"]), state);
    std::fs::remove_dir(&folder).unwrap();
    save(&server, "ok");
    assert_eq!(done(desk.reserve("b").await).used, [2, 20]);
}

fn save(server: &Server, status: &str) {
    server.ask::<redis::Value>(&["BGSAVE"]);
    let begun = Instant::now();
    while server.info("persistence", "rdb_bgsave_in_progress") == "1"
        || server.info("persistence", "rdb_last_bgsave_status") != status
    {
        assert!(begun.elapsed() < Duration::from_secs(20), "not {status}");
        std::thread::yield_now();
    }
}
