//! Who may reach the store, and how.

use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use fault::Kind;
use quota::{
    Hold, Operation, RecordOperation, RedisStore, Shelf, Shelves as _, StoreErrorKind, When,
};

use crate::redis_desk::{Desk, LIVES, PATIENCE, done, id};
use crate::redis_server::{Server, free_port};

fn open(url: &str, ca_pem: Option<&[u8]>) -> Result<RedisStore, fault::Fault> {
    RedisStore::new(url, ca_pem, LIVES, Box::new(|_| {}))
}

/// Every operation there is, once.
async fn use_everything(desk: &Desk, round: &str) {
    done(desk.reserve(round).await);
    let (lease, hold) = (id(round), Hold::Open);
    done(desk.call(Operation::Extend { lease, hold }).await);
    done(desk.settle(round, [1, 2], true).await);
    done(desk.read().await);
    let floors = desk.claims([5, 5]);
    done(desk.call(Operation::Restore { floors }).await);
    let (lease, claims) = (id("reopened"), desk.claims([1, 1]));
    let reopen = Operation::Reopen {
        lease,
        claims,
        hold,
    };
    done(desk.call(reopen).await);
    done(desk.set(3, round).await);
    done(desk.probe().await);
    assert_eq!(desk.notes().await[0], round);
    use_a_shelf(&desk.store, round).await;
}

/// Every operation on records, with one that is over to be cleared away.
async fn use_a_shelf(store: &RedisStore, round: &str) {
    let shelf = Shelf::of(round);
    let put = |name: &str, life_ms| RecordOperation::Put {
        name: name.into(),
        value: b"value".to_vec(),
        life_ms,
        when: When::Any,
        most: Some(9),
    };
    let ask = async |operation: RecordOperation| {
        let answer = store.records(&shelf, &operation, PATIENCE).await;
        answer.unwrap().rows.len()
    };
    ask(put("short", 1)).await;
    ask(put("name", 60_000)).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(ask(RecordOperation::List { after: 0 }).await, 1);
    let name = || "name".to_owned();
    assert_eq!(ask(RecordOperation::Get { name: name() }).await, 1);
    assert_eq!(ask(RecordOperation::Take { name: name() }).await, 1);
}

#[tokio::test]
async fn the_shipped_user_may_do_what_the_gateway_does_and_nothing_else() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/redis/gateway.acl");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.acl");
    std::fs::copy(shipped, &file).unwrap();
    let Some(server) = Server::start(&["--aclfile", file.to_str().unwrap()]) else {
        return;
    };
    let port = server.port;
    let url = format!("redis://gateway:p%40ss%2Fword@127.0.0.1:{port}");
    let failure = Desk::at(&url, 100).kind_of_failure("early").await;
    assert_eq!(failure, StoreErrorKind::Denied, "it has no password yet");
    server.ask::<()>(&["ACL", "SETUSER", "gateway", ">p@ss/word"]);
    let desk = Desk::at(&url, 100);
    use_everything(&desk, "first").await;
    server.ask::<()>(&["SCRIPT", "FLUSH"]);
    use_everything(&desk, "second").await;

    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let commands: &[&[&str]] = &[
        &["GET", "elsewhere"],
        &["SET", "elsewhere", "1"],
        &["EVAL", "return redis.call('GET', 'elsewhere')", "0"],
        &["EVAL", "return redis.call('KEYS', '*')", "0"],
        &[
            "EVAL",
            "return redis.call('DEL', KEYS[1])",
            "1",
            "quota:{alice}:state",
        ],
        &["DEL", "quota:{alice}:state"],
        &["KEYS", "*"],
        &["SCAN", "0"],
        &["FLUSHALL"],
        &["FLUSHDB"],
        &["CONFIG", "GET", "*"],
        &["CONFIG", "SET", "dir", "/"],
        &["ACL", "LIST"],
        &["ACL", "WHOAMI"],
        &["CLIENT", "LIST"],
        &["CLIENT", "KILL", "ID", "1"],
        &["SCRIPT", "FLUSH"],
        &["SCRIPT", "KILL"],
        &["MODULE", "LIST"],
        &["CLUSTER", "RESET"],
        &["REPLICAOF", "NO", "ONE"],
        &["SHUTDOWN", "NOSAVE"],
        &["MONITOR"],
        &["INFO"],
        &["SAVE"],
        &["SUBSCRIBE", "news"],
        &["PUBLISH", "quota:news", "1"],
        &["MIGRATE", "127.0.0.1", "1", "quota:{alice}:state", "0", "1"],
        &["RESTORE", "quota:{alice}:state", "0", ""],
        &["SELECT", "1"],
    ];
    for command in commands {
        let (name, arguments) = command.split_first().unwrap();
        let refusal = redis::cmd(name)
            .arg(arguments)
            .query::<redis::Value>(&mut connection);
        let refusal = refusal.unwrap_err().to_string().to_lowercase();
        let denied = ["permission", "executing the script can", "acl failure"].iter();
        assert!(
            denied.clone().any(|word| refusal.contains(word)),
            "{command:?}: {refusal}"
        );
    }
    assert_eq!(
        done(desk.read().await).used.len(),
        2,
        "nothing of it happened"
    );
}

#[tokio::test]
async fn a_wrong_password_is_told_apart_and_never_shown() {
    let Some(server) = Server::start(&["--requirepass", "right"]) else {
        return;
    };
    let port = server.port;
    for user in ["", "somebody"] {
        let desk = Desk::at(&format!("redis://{user}:hunter2@127.0.0.1:{port}"), 100);
        let failure = desk.reserve("a").await.unwrap_err();
        assert_eq!(failure.kind, StoreErrorKind::Denied, "{failure}");
        let shown = format!("{failure} {failure:?} {:?}", desk.store);
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let without = Desk::of(&server, 100);
    assert_eq!(without.kind_of_failure("a").await, StoreErrorKind::Denied);
    let right = Desk::at(&format!("redis://:right@127.0.0.1:{port}"), 100);
    use_everything(&right, "a").await;
}

#[tokio::test]
async fn counts_over_a_unix_socket_in_the_database_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis socket");
    let socket = socket.to_str().unwrap();
    let Some(server) = Server::start(&["--unixsocket", socket]) else {
        return;
    };
    let path = socket.replace(' ', "%20");
    use_everything(&Desk::at(&format!("unix://{path}?db=3"), 100), "a").await;
    assert_eq!(server.ask::<i64>(&["DBSIZE"]), 0);
    assert!(server.info("keyspace", "db3").starts_with("keys="));
    let tcp = Desk::at(&format!("valkey://127.0.0.1:{}/3", server.port), 100);
    assert_eq!(done(tcp.read().await).used, [3, 5]);
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
        let fault = open(url, None).unwrap_err();
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
        let fault = open(url, Some(pem)).unwrap_err();
        assert_eq!(fault.kind, Kind::Config);
        assert!(!fault.message.contains("hunter2"), "{}", fault.message);
    }
}

#[tokio::test]
async fn counts_over_tls_and_trusts_only_the_given_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    make_certificate(&key, &certificate);
    let tls_port = free_port();
    let tls_port_text = tls_port.to_string();
    let arguments = [
        "--tls-port",
        &tls_port_text,
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
    ];
    let Some(_server) = Server::start(&arguments) else {
        return;
    };
    let pem = std::fs::read(&certificate).unwrap();
    for (scheme, host) in [("rediss", "127.0.0.1"), ("valkeys", "localhost")] {
        let url = format!("{scheme}://{host}:{tls_port}");
        let store = open(&url, Some(&pem)).unwrap();
        use_everything(&Desk::with(store, Rc::default(), 100), scheme).await;
        let failure = Desk::at(&url, 100).reserve("c").await.unwrap_err();
        assert_eq!(failure.kind, StoreErrorKind::Unreachable);
        assert!(failure.cause.contains("certificate"), "{failure}");
    }
}

fn make_certificate(key: &str, certificate: &str) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=quota"])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-keyout", key, "-out", certificate])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}
