//! A primary and its replica behind Sentinel, and what becomes of calls when they change places.

#![cfg(test)]

#[expect(dead_code, reason = "other tests use the rest")]
mod redis_desk;
#[expect(dead_code, reason = "other tests use the rest")]
mod redis_server;

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quota::StoreErrorKind;
use redis_desk::{Desk, done};
use redis_server::{Server, free_port};
use tempfile::TempDir;

const LIMIT: u64 = 100;
/// What a gateway waits for its store, and what a busy machine may add.
const PATIENCE: Duration = Duration::from_millis(250);
const SLACK: Duration = Duration::from_secs(1);

/// A process that watches over the group `quota`.
struct Sentinel {
    process: Child,
    port: u16,
    _folder: TempDir,
}

/// A primary, its replica, and those who watch over them.
struct Group {
    primary: Server,
    replica: Server,
    sentinels: Vec<Sentinel>,
}

impl Sentinel {
    /// One that has found the replica of `primary`.
    fn start(primary: &Server, quorum: usize, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, primary_port) = (free_port(), primary.port);
        let file = folder.path().join("sentinel.conf");
        let lines = [
            format!("sentinel monitor quota 127.0.0.1 {primary_port} {quorum}"),
            "sentinel down-after-milliseconds quota 500".into(),
            "sentinel failover-timeout quota 5000".into(),
        ];
        std::fs::write(&file, lines.join("\n")).unwrap();
        let program = std::env::var_os("LLM_GATEWAY_REDIS_SERVER");
        let mut process = Command::new(program.unwrap_or("redis-server".into()))
            .arg(&file)
            .args(["--sentinel", "--port", &port.to_string()])
            .args(["--bind", "127.0.0.1", "--dir"])
            .arg(folder.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stdout.take().unwrap());
        // The log must be read on, or the process blocks once the pipe is full.
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(drop));
        wait_for("a sentinel", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self {
            process,
            port,
            _folder: folder,
        }
    }

    fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        let mut connection = client.get_connection()?;
        redis::cmd(command[0])
            .arg(&command[1..])
            .query(&mut connection)
    }

    fn knows(&self, name: &str, value: &str) -> bool {
        let said: redis::RedisResult<std::collections::HashMap<String, String>> =
            self.ask(&["SENTINEL", "MASTER", "quota"]);
        said.is_ok_and(|said| said.get(name).is_some_and(|said| said == value))
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Group {
    fn start(count: usize) -> Option<Self> {
        let primary = Server::start(&["--repl-diskless-sync-delay", "0"])?;
        let replica = Server::start(&["--repl-diskless-sync-delay", "0"])?;
        replica.ask::<()>(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
        wait_for("the replica to follow", || {
            replica.info("replication", "master_link_status") == "up"
        });
        let quorum = count / 2 + 1;
        let sentinels: Vec<_> = (0..count)
            .map(|_| Sentinel::start(&primary, quorum, &[]))
            .collect();
        let others = (count - 1).to_string();
        for sentinel in &sentinels {
            wait_for("the sentinels to know everybody", || {
                sentinel.knows("num-slaves", "1")
                    && sentinel.knows("num-other-sentinels", &others)
                    && sentinel.knows("flags", "master")
            });
        }
        Some(Self {
            primary,
            replica,
            sentinels,
        })
    }

    fn url(&self) -> String {
        let places: Vec<_> = self
            .sentinels
            .iter()
            .map(|one| format!("127.0.0.1:{}", one.port))
            .collect();
        format!("redis+sentinel://{}/quota", places.join(","))
    }

    /// Waits until the replica has all that was written.
    fn replicate(&self) {
        let offset =
            |node: &Server, name| -> u64 { node.info("replication", name).parse().unwrap() };
        let written = offset(&self.primary, "master_repl_offset");
        wait_for("the replica to have it all", || {
            offset(&self.replica, "slave_repl_offset") >= written
        });
    }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reserves until it succeeds: how often it did not.
async fn reserve_in_the_end(desk: &Desk, expected: [u64; 2]) -> usize {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        match desk.reserve("after").await {
            Ok(reply) => {
                assert_eq!(
                    done(Ok(reply)).used,
                    expected,
                    "what was counted is still counted"
                );
                return failures;
            }
            Err(failure) => {
                failures += 1;
                assert!(begun.elapsed() < PATIENCE + SLACK, "{:?}", begun.elapsed());
                assert!(begun < deadline, "{failure}");
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn goes_on_after(count: usize, fail: impl FnOnce(&mut Group)) {
    let Some(mut group) = Group::start(count) else {
        return;
    };
    let mut desk = Desk::at(&group.url(), LIMIT);
    done(desk.reserve("a").await);
    desk.seen = done(desk.settle("a", [1, 7], true).await).version;
    group.replicate();
    fail(&mut group);
    let desk = desk.patient_for(PATIENCE);
    let failures = reserve_in_the_end(&desk, [2, 17]).await;
    assert!(failures > 0, "nothing failed");
    assert_eq!(group.replica.info("replication", "role"), "master");
}

#[tokio::test]
async fn goes_on_with_the_replica_that_one_sentinel_promotes() {
    goes_on_after(1, |group| group.primary.kill()).await;
}

#[tokio::test]
async fn goes_on_with_the_replica_that_three_sentinels_promote() {
    goes_on_after(3, |group| group.primary.kill()).await;
}

#[tokio::test]
async fn goes_on_when_the_primary_hangs_and_a_sentinel_is_gone() {
    goes_on_after(3, |group| {
        group.primary.signal("STOP");
        group.sentinels[0].process.kill().unwrap();
    })
    .await;
}

#[tokio::test]
async fn follows_a_primary_that_was_made_a_replica() {
    let Some(group) = Group::start(1) else {
        return;
    };
    let desk = Desk::at(&group.url(), LIMIT);
    done(desk.reserve("a").await);
    group.replicate();
    // It refuses until it has heard from the replica itself.
    wait_for("the sentinel to begin", || {
        let begun = group.sentinels[0].ask::<()>(&["SENTINEL", "FAILOVER", "quota"]);
        begun.is_ok()
    });
    let port = group.replica.port.to_string();
    wait_for("the sentinel to name the other one", || {
        group.sentinels[0].knows("port", &port)
    });
    wait_for("the old primary to follow", || {
        group.primary.info("replication", "role") == "slave"
    });
    assert_eq!(done(desk.reserve("b").await).used, [2, 20]);
    assert_eq!(group.replica.info("replication", "role"), "master");
}

#[tokio::test]
async fn asks_again_at_once_when_the_primary_has_become_read_only() {
    let Some(group) = Group::start(1) else {
        return;
    };
    let desk = Desk::at(&group.url(), LIMIT);
    done(desk.reserve("a").await);
    group.replicate();
    desk.overcome.borrow_mut().clear();
    // The connections stay as they are, unlike in a failover that a sentinel makes.
    group.sentinels[0]
        .ask::<()>(&["SENTINEL", "REMOVE", "quota"])
        .unwrap();
    group.replica.ask::<()>(&["REPLICAOF", "NO", "ONE"]);
    let port = group.replica.port.to_string();
    group.sentinels[0]
        .ask::<()>(&["SENTINEL", "MONITOR", "quota", "127.0.0.1", &port, "1"])
        .unwrap();
    group.primary.ask::<()>(&["REPLICAOF", "127.0.0.1", &port]);
    assert_eq!(done(desk.reserve("b").await).used, [2, 20]);
    assert_eq!(desk.overcame()[0], StoreErrorKind::ReadOnly);
    assert_eq!(group.replica.info("replication", "role"), "master");
}

#[tokio::test]
async fn does_not_believe_a_sentinel_that_names_a_replica() {
    let Some(group) = Group::start(1) else {
        return;
    };
    let port = group.replica.port.to_string();
    let sentinel = &group.sentinels[0];
    sentinel
        .ask::<()>(&["SENTINEL", "MONITOR", "behind", "127.0.0.1", &port, "1"])
        .unwrap();
    let url = group.url().replace("/quota", "/behind");
    let failure = Desk::at(&url, LIMIT).reserve("a").await.unwrap_err();
    assert_eq!(failure.kind, StoreErrorKind::Down, "{failure}");
    assert!(
        failure.cause.contains("a primary that is a replica"),
        "{failure}"
    );
}

#[tokio::test]
async fn says_which_name_no_sentinel_knows() {
    let Some(group) = Group::start(1) else {
        return;
    };
    let url = group.url().replace("/quota", "/mymaster");
    let failure = Desk::at(&url, LIMIT).reserve("a").await.unwrap_err();
    assert_eq!(failure.kind, StoreErrorKind::Down);
    assert!(failure.cause.contains("\"mymaster\""), "{failure}");
    let nobody = format!("redis+sentinel://127.0.0.1:{}/quota", free_port());
    let failure = Desk::at(&nobody, LIMIT).kind_of_failure("a").await;
    assert_eq!(failure, StoreErrorKind::Unreachable);
}

#[tokio::test]
async fn sentinels_and_servers_have_users_of_their_own() {
    let rights = include_str!("../../../deploy/redis/gateway.acl").trim();
    let rights: Vec<&str> = rights.split(' ').skip(2).collect();
    let Some(primary) = Server::start(&[]) else {
        return;
    };
    let set_user = ["ACL", "SETUSER", "gateway"];
    primary.ask::<()>(&[&set_user, &rights[..], &[">p@ss"]].concat());
    let sentinel = Sentinel::start(&primary, 1, &["--requirepass", "other"]);
    let port = sentinel.port;
    let url =
        |query: &str| format!("redis+sentinel://gateway:p%40ss@127.0.0.1:{port}/quota{query}");
    done(
        Desk::at(&url("?sentinel_password=other"), LIMIT)
            .reserve("a")
            .await,
    );
    for query in ["", "?sentinel_password=p%40ss"] {
        let desk = Desk::at(&url(query), LIMIT);
        assert_eq!(
            desk.kind_of_failure("b").await,
            StoreErrorKind::Denied,
            "{query}"
        );
    }
}
