//! What only the Redis store promises, and the shared suite over it, on a real server.

#![cfg(test)]

mod redis_server;
mod suite;

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fault::Kind;
use quota::{AnyStore, Decision, RedisStore, Store, StoreError};
use redis_server::Server;
use suite::{Fixture, TIMEOUT, bucket, other_bucket, used};

impl Fixture for Server {
    type Handle = AnyStore;

    fn open(&self) -> AnyStore {
        AnyStore::Redis(open(&self.url(), TIMEOUT))
    }
}

suite::shared_suite!(Server::start(&[]));

fn open(url: &str, timeout: Duration) -> RedisStore {
    RedisStore::new(url, None, timeout).unwrap()
}

#[tokio::test]
async fn keeps_a_plain_integer_at_the_seeds_key_until_after_the_reset() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let buckets = [bucket("alice", Some(10))];
    server.open().reserve(&buckets).await.unwrap();
    server.open().reserve(&buckets).await.unwrap();
    let keys: Vec<String> = server.ask(&["KEYS", "*"]);
    assert_eq!(keys, [buckets[0].key.clone()]);
    assert!(keys[0].starts_with("quota:{alice}:20"), "{}", keys[0]);
    let value: String = server.ask(&["GET", &keys[0]]);
    assert_eq!(value, "2");
    let time_to_live_s: i64 = server.ask(&["TTL", &keys[0]]);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let until_reset_s = buckets[0].resets_at_s - i64::try_from(now).unwrap();
    let grace_s = time_to_live_s - until_reset_s;
    assert!((3590..=3610).contains(&grace_s), "{grace_s}");
}

#[tokio::test]
async fn counts_on_from_what_an_operator_set() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let buckets = [bucket("u", Some(10))];
    let _: () = server.ask(&["SET", &buckets[0].key, "9"]);
    let store = server.open();
    assert!(matches!(
        store.reserve(&buckets).await.unwrap(),
        Decision::Granted(_)
    ));
    assert!(matches!(
        store.reserve(&buckets).await.unwrap(),
        Decision::Refused { .. }
    ));
    let _: () = server.ask(&["SET", &buckets[0].key, "-1"]);
    assert_eq!(used(&store.read(&buckets).await.unwrap()), [0]);
    assert_eq!(
        used(&store.record(&buckets).await.unwrap()),
        [0],
        "one was left over"
    );
    assert_eq!(used(&store.record(&buckets).await.unwrap()), [1]);
}

#[tokio::test]
async fn survives_a_flush_of_the_script_cache() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.open();
    let buckets = [bucket("u", Some(10))];
    for expected in 1..=3 {
        let _: () = server.ask(&["SCRIPT", "FLUSH"]);
        assert_eq!(used(&store.record(&buckets).await.unwrap()), [expected]);
    }
}

#[tokio::test]
async fn recovers_at_the_first_call_after_redis_is_back() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let store = server.open();
    let buckets = [bucket("u", Some(10))];
    for _ in 0..3 {
        store.reserve(&buckets).await.unwrap();
        server.kill();
        for _ in 0..3 {
            let error = store.reserve(&buckets).await.unwrap_err();
            assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
            assert!(matches!(
                store.ping().await,
                Err(StoreError::Unreachable(_))
            ));
        }
        server.start_again();
        store.ping().await.unwrap();
    }
}

#[tokio::test]
async fn fails_no_call_for_a_restart_between_calls() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let store = server.open();
    for _ in 0..3 {
        store.ping().await.unwrap();
        let restart = move || {
            server.kill();
            server.start_again();
            server
        };
        server = tokio::task::spawn_blocking(restart).await.unwrap();
    }
    store.reserve(&[bucket("u", Some(10))]).await.unwrap();
}

#[tokio::test]
async fn begins_to_work_when_redis_starts_after_the_gateway() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    server.kill();
    let store = server.open();
    assert!(matches!(
        store.ping().await,
        Err(StoreError::Unreachable(_))
    ));
    server.start_again();
    store.ping().await.unwrap();
}

#[tokio::test]
async fn gives_up_at_the_deadline_while_redis_is_stuck() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let connected = open(&server.url(), Duration::from_millis(200));
    connected.ping().await.unwrap();
    let unconnected = open(&server.url(), Duration::from_millis(200));
    server.signal("STOP");
    for store in [&connected, &unconnected, &connected] {
        let begun = Instant::now();
        assert_eq!(
            store.reserve(&[bucket("u", Some(10))]).await,
            Err(StoreError::Timeout)
        );
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
    }
    server.signal("CONT");
    server.ask::<()>(&["PING"]);
    connected.ping().await.unwrap();
}

#[tokio::test]
async fn gives_up_at_the_deadline_while_writes_are_paused() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = open(&server.url(), Duration::from_millis(200));
    let buckets = [bucket("u", Some(10))];
    store.reserve(&buckets).await.unwrap();
    let _: () = server.ask(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let begun = Instant::now();
    assert_eq!(store.reserve(&buckets).await, Err(StoreError::Timeout));
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    let _: () = server.ask(&["CLIENT", "UNPAUSE"]);
    store.reserve(&buckets).await.unwrap();
}

#[tokio::test]
async fn refuses_a_value_that_is_no_count_and_changes_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.open();
    let [good, bad] = [bucket("u", Some(10)), other_bucket("u", Some(10))];
    let buckets = [good.clone(), bad.clone()];
    let mut values = [
        "many",
        "1e3",
        "01",
        "+1",
        "-0",
        "1.0",
        " 1",
        "",
        "9999999999999999999",
    ]
    .map(|value| vec!["SET", &bad.key, value])
    .to_vec();
    values.push(vec!["LPUSH", &bad.key, "1"]);
    for command in values {
        let _: i64 = server.ask(&["DEL", &bad.key]);
        let _: redis::Value = server.ask(&command);
        let refused =
            |error: StoreError| assert!(matches!(error, StoreError::Refused(_)), "{error}");
        refused(store.reserve(&buckets).await.unwrap_err());
        refused(store.record(&buckets).await.unwrap_err());
        refused(store.refund(&buckets).await.unwrap_err());
        refused(store.read(&buckets).await.unwrap_err());
        assert_eq!(server.ask::<i64>(&["EXISTS", &good.key]), 0, "{command:?}");
    }
    store.ping().await.unwrap();
}

#[tokio::test]
async fn refuses_when_memory_is_full_and_changes_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.open();
    let buckets = [bucket("u", Some(10)), other_bucket("u", Some(10))];
    store.reserve(&buckets).await.unwrap();
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = store.reserve(&buckets).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Refused(cause) if cause.contains("OOM")),
        "{error}"
    );
    assert_eq!(used(&store.read(&buckets).await.unwrap()), [1, 1]);
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    store.reserve(&buckets).await.unwrap();
}

#[tokio::test]
async fn reconnects_when_the_primary_was_made_a_replica() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.open();
    let buckets = [bucket("u", Some(10))];
    store.reserve(&buckets).await.unwrap();
    let connections = || {
        let stats: String = server.ask(&["INFO", "stats"]);
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().parse::<u64>().unwrap()
    };
    let _: () = server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(matches!(
        store.reserve(&buckets).await,
        Err(StoreError::Refused(_))
    ));
    let before = connections();
    let _ = store.reserve(&buckets).await;
    assert_eq!(
        connections() - before,
        2,
        "one of the store, one of this count"
    );
}

#[tokio::test]
async fn works_with_only_the_rights_it_names() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let rights = "~quota:* +evalsha +script|load +get +incrby +expireat +ping";
    let mut command = vec!["ACL", "SETUSER", "gateway", "on", ">p@ss/word"];
    command.extend(rights.split(' '));
    let _: () = server.ask(&command);
    let url = format!("redis://gateway:p%40ss%2Fword@127.0.0.1:{}", server.port);
    let store = open(&url, TIMEOUT);
    let buckets = [bucket("u", Some(10))];
    store.ping().await.unwrap();
    store.reserve(&buckets).await.unwrap();
    store.refund(&buckets).await.unwrap();
    assert_eq!(used(&store.read(&buckets).await.unwrap()), [0]);
}

#[tokio::test]
async fn never_shows_the_password() {
    let Some(server) = Server::start(&["--requirepass", "right"]) else {
        return;
    };
    for url in [
        "redis://:hunter2@127.0.0.1",
        "redis://somebody:hunter2@127.0.0.1",
    ] {
        let store = open(&format!("{url}:{}", server.port), TIMEOUT);
        let error = store.ping().await.unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{error}");
        assert!(
            !format!("{error} {error:?} {store:?}").contains("hunter2"),
            "{error:?}"
        );
    }
    let no_password = open(&server.url(), TIMEOUT);
    assert!(matches!(
        no_password.ping().await,
        Err(StoreError::Refused(_))
    ));
    let right = open(
        &format!("redis://:right@127.0.0.1:{}", server.port),
        TIMEOUT,
    );
    right.ping().await.unwrap();
}

#[test]
fn says_what_is_wrong_with_a_url_without_the_password() {
    let urls = [
        "valkey.ai-hub.svc:6379",
        "http://u:hunter2@h",
        "redis://u:hunter2@h:99999",
        "redis://u:hunter2@h/first",
        "redis://u:hunter2@",
        "redis://u:hunter2/x@h",
        "rediss://u:hunter2@h/#insecure",
        "",
    ];
    for url in urls {
        let fault = RedisStore::new(url, None, TIMEOUT).unwrap_err();
        assert_eq!(fault.kind, Kind::Config);
        assert!(
            fault.message.contains("QUOTA_REDIS_URL"),
            "{}",
            fault.message
        );
        assert!(!fault.message.contains("hunter2"), "{}", fault.message);
    }
    let pem = b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n";
    for url in ["rediss://:hunter2@h", "redis://:hunter2@h"] {
        let fault = RedisStore::new(url, Some(pem), TIMEOUT).unwrap_err();
        assert_eq!(fault.kind, Kind::Config);
        assert!(!fault.message.contains("hunter2"), "{}", fault.message);
    }
}

#[tokio::test]
async fn counts_over_tls_and_trusts_only_the_given_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=quota",
            "-newkey",
            "ec",
        ])
        .args([
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let tls_port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let tls_port_text = tls_port.to_string();
    let arguments = [
        "--tls-port",
        &tls_port_text,
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
    ];
    let files = [
        &certificate[..],
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
    ];
    let Some(_server) = Server::start(&[&arguments[..], &files[..]].concat()) else {
        return;
    };
    let url = format!("rediss://127.0.0.1:{tls_port}");
    let pem = std::fs::read(&certificate).unwrap();
    let trusting = RedisStore::new(&url, Some(&pem), TIMEOUT).unwrap();
    assert_eq!(
        used(&trusting.record(&[bucket("u", None)]).await.unwrap()),
        [1]
    );
    let error = open(&url, TIMEOUT).ping().await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unreachable(cause) if cause.contains("certificate")),
        "{error}"
    );
}
