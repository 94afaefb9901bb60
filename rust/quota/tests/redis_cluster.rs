//! The shared suite over a Redis Cluster, and what becomes of calls while it changes.

#![cfg(test)]

mod cluster_servers;
#[expect(dead_code, reason = "other tests use the rest")]
mod redis_desk;
#[expect(dead_code, reason = "other tests use the rest")]
mod redis_server;
mod suite;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_servers::{Cluster, Migration, Turn, wait_for};
use quota::{Account, Call, Hold, Lives, Operation, RedisStore, Store as _, StoreErrorKind};
use redis_desk::{Desk, bucket, done, id, now_ms};
use redis_server::free_port;
use suite::Fixture;
use tokio::task::{LocalSet, spawn_blocking, spawn_local};
use tokio::time::timeout;

const LIMIT: u64 = 1_000_000_000;
/// What a gateway waits for its store, and what a busy machine may add.
const PATIENCE: Duration = Duration::from_millis(250);
const SLACK: Duration = Duration::from_secs(1);

impl Fixture for Turn {
    type Handle = RedisStore;

    fn open(&self, lives: Lives) -> RedisStore {
        RedisStore::new(&self.cluster.url(), None, lives, Box::new(|_| {})).unwrap()
    }
}

suite::shared_suite!(Cluster::shared());

/// `user` at a store of its own.
fn desk(url: &str, user: &str) -> Desk {
    let mut desk = Desk::at(url, LIMIT);
    desk.account = Account::of(user);
    let windows = [("requests", "day"), ("tokens", "month")];
    let bucket = |(unit, period)| bucket(&desk.account, unit, period, LIMIT, now_ms());
    desk.buckets = windows.map(bucket).to_vec();
    desk
}

/// A user on each primary, in their order.
fn user_of_each(cluster: &Cluster) -> Vec<String> {
    let mut users = BTreeMap::new();
    for number in 0.. {
        let user = format!("user-{number}");
        users
            .entry(cluster.owner_of(Account::of(&user).prefix()))
            .or_insert(user);
        if users.len() == cluster.primaries.len() {
            break;
        }
    }
    users.into_values().collect()
}

async fn follows_a_migration(desk: &Desk, migration: &Migration<'_>) {
    done(desk.reserve("a").await);
    done(desk.reserve("b").await);
    done(desk.reserve("c").await);
    desk.overcome.borrow_mut().clear();
    migration.to.ask::<()>(&["SCRIPT", "FLUSH"]);
    migration.begin();
    // Everything is still where it was, and these need nothing new.
    assert_eq!(done(desk.settle("a", [1, 3], true).await).used, [3, 23]);
    assert_eq!(desk.overcame(), []);
    migration.move_keys();
    assert_eq!(done(desk.settle("b", [1, 4], true).await).used, [3, 17]);
    let hold = Hold::Open;
    let lease = id("c");
    done(desk.call(Operation::Extend { lease, hold }).await);
    // ASK changes nothing for the next call, and is said again before the script's text.
    let [moved, unknown] = [StoreErrorKind::Moved, StoreErrorKind::NoScript];
    assert_eq!(desk.overcame(), [moved, unknown, moved]);
    migration.end();
    desk.overcome.borrow_mut().clear();
    assert_eq!(done(desk.reserve("d").await).used, [4, 27]);
    assert_eq!(done(desk.read().await).used, [4, 27]);
    assert_eq!(desk.overcame(), [moved], "MOVED is met once");
}

#[tokio::test]
async fn users_lie_on_all_nodes_and_fail_together_with_those_on_the_same() {
    let Some(Turn { cluster, .. }) = &Cluster::shared() else {
        return;
    };
    let store = RedisStore::new(&cluster.url(), None, redis_desk::LIVES, Box::new(|_| {})).unwrap();
    let mut parts: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    assert_eq!(store.part(&Account::of("user-0")), 0);
    for number in 0..60 {
        let account = Account::of(&format!("user-{number}"));
        let call = Call {
            account: account.clone(),
            seen: None,
            operation: Operation::Reserve {
                lease: id("a"),
                claims: Vec::new(),
                hold: Hold::Open,
                places: None,
            },
        };
        done(store.call(&call, redis_desk::PATIENCE).await);
        let owner = cluster.owner_of(account.prefix());
        parts.entry(owner).or_default().insert(store.part(&account));
    }
    let distinct: BTreeSet<u64> = parts.values().flatten().copied().collect();
    assert_eq!((parts.len(), distinct.len()), (3, 3), "{parts:?}");
    assert!(
        parts.values().all(|of_node| of_node.len() == 1),
        "{parts:?}"
    );
    for node in &cluster.primaries {
        assert!(node.ask::<u64>(&["DBSIZE"]) > 0);
    }
}

#[tokio::test]
async fn a_call_follows_its_slot_through_every_step_of_a_migration() {
    let Some(Turn { cluster, .. }) = &Cluster::shared() else {
        return;
    };
    let desk = desk(&cluster.url(), "mover");
    let migration = cluster.migration_of(desk.account.prefix());
    follows_a_migration(&desk, &migration).await;
    let back = migration.back();
    back.begin();
    back.move_keys();
    back.end();
}

#[tokio::test]
async fn the_last_lease_is_settled_whole_while_its_slot_moves() {
    let Some(Turn { cluster, .. }) = &Cluster::shared() else {
        return;
    };
    let desk = desk(&cluster.url(), "mover");
    let migration = cluster.migration_of(desk.account.prefix());
    done(desk.reserve("a").await);
    migration.begin();
    // Its place goes, and with it the key of the places: the node takes a key that is missing for one that has moved.
    let settled = desk.settle("a", [1, 3], true).await;
    migration.move_keys();
    migration.end();
    let back = migration.back();
    back.begin();
    back.move_keys();
    back.end();
    let settled = done(settled);
    assert_eq!((settled.flying, settled.used), (0, vec![1, 3]));
    assert_eq!(done(desk.read().await).used, [1, 3]);
}

#[tokio::test]
async fn a_slot_that_moves_while_calls_run_loses_and_doubles_nothing() {
    const CALLERS: usize = 6;
    const MOVES: usize = 10;
    let Some(turn) = Cluster::shared() else {
        return;
    };
    let cluster = Arc::clone(&turn.cluster);
    let desks: Vec<_> = (0..CALLERS)
        .map(|_| desk(&cluster.url(), "mover"))
        .map(Rc::new)
        .collect();
    let met: Rc<Cell<u64>> = Rc::default();
    let tokens: Rc<Cell<u64>> = Rc::default();
    let all = async {
        let moves = spawn_blocking(move || {
            let there = cluster.migration_of("{mover}");
            for number in 0..MOVES {
                let migration = if number % 2 == 0 {
                    there.back().back()
                } else {
                    there.back()
                };
                migration.begin();
                migration.move_keys();
                migration.end();
            }
        });
        let moves = Rc::new(moves);
        let callers: Vec<_> = desks
            .iter()
            .enumerate()
            .map(|(caller, desk)| {
                let (desk, moves, met, tokens) = (
                    Rc::clone(desk),
                    Rc::clone(&moves),
                    Rc::clone(&met),
                    Rc::clone(&tokens),
                );
                spawn_local(async move {
                    for number in 0.. {
                        if moves.is_finished() {
                            return;
                        }
                        let lease = format!("{caller}-{number}");
                        let used = number % 30;
                        done(desk.reserve(&lease).await);
                        done(desk.settle(&lease, [1, used], true).await);
                        met.set(met.get() + 1);
                        tokens.set(tokens.get() + used);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        Rc::into_inner(moves).unwrap().await.unwrap();
    };
    LocalSet::new().run_until(all).await;
    let last = done(desks[0].read().await);
    assert_eq!((last.flying, last.used), (0, vec![met.get(), tokens.get()]));
    let overcame: Vec<_> = desks.iter().flat_map(|desk| desk.overcame()).collect();
    assert!(overcame.contains(&StoreErrorKind::Moved), "{overcame:?}");
}

#[tokio::test]
async fn a_slot_that_nobody_serves_is_waited_for_within_patience() {
    let Some(Turn { cluster, .. }) = &Cluster::shared() else {
        return;
    };
    let patient = Rc::new(desk(&cluster.url(), "orphan"));
    done(patient.reserve("a").await);
    patient.overcome.borrow_mut().clear();
    let prefix = patient.account.prefix();
    let owner = &cluster.primaries[cluster.owner_of(prefix)];
    let slot = cluster.slot_of(prefix).to_string();
    owner.ask::<()>(&["CLUSTER", "DELSLOTS", &slot]);
    let hasty = desk(&cluster.url(), "orphan").patient_for(PATIENCE);
    let begun = Instant::now();
    let failure = hasty.kind_of_failure("b").await;
    let took = begun.elapsed();
    let all = async {
        let waiting = spawn_local({
            let patient = Rc::clone(&patient);
            async move { patient.reserve("c").await }
        });
        let met = async {
            while patient.overcame().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(redis_desk::PATIENCE, met).await.unwrap();
        owner.ask::<()>(&["CLUSTER", "ADDSLOTS", &slot]);
        waiting.await.unwrap()
    };
    let reply = LocalSet::new().run_until(all).await;
    assert_eq!(failure, StoreErrorKind::Down);
    assert!(took < PATIENCE + SLACK, "{took:?}");
    assert_eq!(done(reply).used, [2, 20]);
    assert_eq!(patient.overcame()[0], StoreErrorKind::Down);
}

#[tokio::test]
async fn a_seed_that_is_gone_hinders_nobody() {
    let Some(Turn { cluster, .. }) = &Cluster::shared() else {
        return;
    };
    let (gone, there) = (free_port(), cluster.primaries[0].port);
    let url = format!("redis+cluster://127.0.0.1:{gone},127.0.0.1:{there}");
    for user in user_of_each(cluster) {
        done(desk(&url, &user).reserve("a").await);
    }
    let url = format!("redis+cluster://127.0.0.1:{gone}");
    let alone = desk(&url, "u");
    assert_eq!(
        alone.kind_of_failure("a").await,
        StoreErrorKind::Unreachable
    );
}

#[tokio::test]
async fn a_server_that_is_in_no_cluster_is_told_of() {
    let Some(server) = redis_server::Server::start(&[]) else {
        return;
    };
    let url = format!("redis+cluster://127.0.0.1:{}", server.port);
    let failure = desk(&url, "u").reserve("a").await.unwrap_err();
    assert!(
        failure.cause.contains("cluster support disabled"),
        "{failure}"
    );
}

#[tokio::test]
async fn nodes_that_name_no_host_are_where_the_first_one_is() {
    let unnamed = ["--cluster-preferred-endpoint-type", "unknown-endpoint"];
    let Some(cluster) = Cluster::start(&unnamed) else {
        return;
    };
    for user in user_of_each(&cluster) {
        done(desk(&cluster.url(), &user).reserve("a").await);
    }
    let desk = desk(&cluster.url(), "mover");
    follows_a_migration(&desk, &cluster.migration_of(desk.account.prefix())).await;
}

#[tokio::test]
async fn the_shipped_user_may_do_all_that_a_cluster_asks_for() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/redis/gateway.acl");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.acl");
    std::fs::copy(shipped, &file).unwrap();
    let Some(cluster) = Cluster::start(&["--aclfile", file.to_str().unwrap()]) else {
        return;
    };
    for node in &cluster.primaries {
        node.ask::<()>(&["ACL", "SETUSER", "gateway", ">p@ss"]);
    }
    let port = cluster.primaries[1].port;
    let url = format!("redis+cluster://gateway:p%40ss@127.0.0.1:{port}");
    for user in user_of_each(&cluster) {
        done(desk(&url, &user).reserve("a").await);
    }
    let desk = desk(&url, "mover");
    follows_a_migration(&desk, &cluster.migration_of(desk.account.prefix())).await;
}

#[tokio::test]
async fn nodes_that_are_learned_are_spoken_to_over_tls_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=quota"])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-keyout", &key, "-out", &certificate])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let mut arguments = vec!["--tls-cluster", "yes", "--tls-auth-clients", "no"];
    arguments.extend(["--tls-cert-file", &certificate, "--tls-key-file", &key]);
    arguments.extend(["--tls-ca-cert-file", &certificate]);
    let Some(cluster) = Cluster::start(&arguments) else {
        return;
    };
    let pem = std::fs::read(&certificate).unwrap();
    let url = cluster.url().replace("redis+", "rediss+");
    for user in user_of_each(&cluster) {
        let store = RedisStore::new(&url, Some(&pem), redis_desk::LIVES, Box::new(|_| {})).unwrap();
        let desk = Desk {
            store,
            ..desk(&url, &user)
        };
        done(desk.reserve("a").await);
        let owner = &cluster.primaries[cluster.owner_of(desk.account.prefix())];
        assert_eq!(owner.ask::<String>(&["GET", &desk.buckets[0].key]), "1");
    }
}

#[tokio::test]
async fn a_primary_that_hands_over_is_followed() {
    let Some(cluster) = Cluster::with_replicas(&[]) else {
        return;
    };
    let user = &user_of_each(&cluster)[0];
    let desk = desk(&cluster.url(), user);
    done(desk.reserve("a").await);
    cluster.replicas[0].ask::<()>(&["CLUSTER", "FAILOVER"]);
    wait_for("the hand-over", || {
        cluster.primaries[0].info("replication", "role") == "slave"
    });
    assert_eq!(done(desk.reserve("b").await).used, [2, 20]);
    assert!(desk.overcame().contains(&StoreErrorKind::Moved));
}

/// The first primary fails, and its replica takes over.
async fn goes_on_without(fail: impl FnOnce(&mut Cluster)) {
    let Some(mut cluster) = Cluster::with_replicas(&[]) else {
        return;
    };
    let users = user_of_each(&cluster);
    let mut desks: Vec<_> = users
        .iter()
        .map(|user| desk(&cluster.url(), user).patient_for(PATIENCE))
        .collect();
    for desk in &mut desks {
        let patience = std::mem::replace(&mut desk.patience, redis_desk::PATIENCE);
        desk.seen = done(desk.reserve("a").await).version;
        desk.patience = patience;
    }
    let before = desks[0].store.part(&desks[0].account);
    let offset = |node: &redis_server::Server, name| -> u64 {
        node.info("replication", name).parse().unwrap()
    };
    let written = offset(&cluster.primaries[0], "master_repl_offset");
    wait_for("the replica to have it all", || {
        offset(&cluster.replicas[0], "slave_repl_offset") >= written
    });
    fail(&mut cluster);
    for round in 0..5 {
        let lease = format!("during-{round}");
        let begun = Instant::now();
        let failure = desks[0].kind_of_failure(&lease).await;
        assert!(failure.is_uncertain(), "{failure:?}");
        assert!(begun.elapsed() < PATIENCE + SLACK, "{:?}", begun.elapsed());
        for desk in &mut desks[1..] {
            desk.seen = done(desk.reserve(&lease).await).version;
        }
    }
    cluster.replicas[0].ask::<()>(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
    let deadline = Instant::now() + Duration::from_secs(15);
    let reply = loop {
        match desks[0].reserve("after").await {
            Ok(reply) => break reply,
            Err(failure) => assert!(Instant::now() < deadline, "{failure}"),
        }
        for (number, desk) in desks[1..].iter_mut().enumerate() {
            let lease = format!("meanwhile-{number}-{}", now_ms());
            desk.seen = done(desk.reserve(&lease).await).version;
        }
    };
    assert_eq!(
        done(Ok(reply)).used,
        [2, 20],
        "what was counted is still counted"
    );
    assert_ne!(desks[0].store.part(&desks[0].account), before);
}

#[tokio::test]
async fn a_dead_primary_fails_its_users_only_until_its_replica_takes_over() {
    goes_on_without(|cluster| cluster.primaries[0].kill()).await;
}

#[tokio::test]
async fn a_hanging_primary_fails_its_users_only_until_its_replica_takes_over() {
    goes_on_without(|cluster| cluster.primaries[0].signal("STOP")).await;
}
