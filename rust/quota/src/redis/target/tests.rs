use super::*;

fn parsed(url: &str) -> Target {
    Target::parse(url, None).unwrap()
}

/// Address, user, password and database.
fn told(info: &ConnectionInfo) -> String {
    let settings = info.redis_settings();
    let scheme = match info.addr() {
        ConnectionAddr::TcpTls { .. } => "tls ",
        _ => "",
    };
    format!(
        "{scheme}{} {:?} {:?} {}",
        info.addr(),
        settings.username(),
        settings.password(),
        settings.db()
    )
}

#[test]
fn names_one_server() {
    let urls = [
        ("redis://h", "h:6379 None None 0"),
        ("redis://h:1/", "h:1 None None 0"),
        ("valkey://h:65535/15", "h:65535 None None 15"),
        ("rediss://h", "tls h:6379 None None 0"),
        ("valkeys://:p@h/2", r#"tls h:6379 None Some("p") 2"#),
        ("redis://[::1]:7/2", "::1:7 None None 2"),
        (
            "redis://u:p@[fe80::1]",
            r#"fe80::1:6379 Some("u") Some("p") 0"#,
        ),
        (
            "redis://%C3%BC:p%40ss%2fw%3Ard%25@h",
            r#"h:6379 Some("ü") Some("p@ss/w:rd%") 0"#,
        ),
        ("redis://u:p:q@r@h", r#"h:6379 Some("u") Some("p:q@r") 0"#),
        ("redis://:@h", "h:6379 None None 0"),
        ("unix:///run/r.sock", "/run/r.sock None None 0"),
        (
            "redis+unix:///run/a%20b.sock?db=1&user=u&pass=p%26",
            r#"/run/a b.sock Some("u") Some("p&") 1"#,
        ),
        ("valkey+unix:///s?pass=p", r#"/s None Some("p") 0"#),
    ];
    for (url, expected) in urls {
        match parsed(url) {
            Target::Single(info) => {
                assert_eq!(told(&info), expected, "{url}");
                let settings = info.redis_settings();
                assert_eq!(settings.protocol(), ProtocolVersion::RESP3, "{url}");
                assert!(info.tcp_settings().nodelay(), "{url}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[test]
fn names_sentinels_and_what_they_watch() {
    let url = "rediss+sentinel://u:p@a,[::1]:7,c:26380/my%20master/3\
               ?sentinel_user=s&sentinel_password=t";
    let Target::Sentinel {
        sentinels,
        master,
        node,
    } = parsed(url)
    else {
        panic!("another target");
    };
    let of_sentinels = r#"Some("s") Some("t") 0"#;
    let expected = ["a:26379", "::1:7", "c:26380"];
    let expected = expected.map(|place| format!("tls {place} {of_sentinels}"));
    assert_eq!(sentinels.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(master, "my master");
    assert_eq!(told(&node.at("x", 9)), r#"tls x:9 Some("u") Some("p") 3"#);

    let plain = parsed("valkey+sentinel://:p@a/m");
    let Target::Sentinel {
        sentinels, node, ..
    } = plain
    else {
        panic!("another target");
    };
    assert_eq!(told(&sentinels[0]), "a:26379 None None 0");
    assert_eq!(told(&node.at("x", 9)), r#"x:9 None Some("p") 0"#);
}

#[test]
fn names_the_seeds_of_a_cluster() {
    for (scheme, tls) in [
        ("redis", ""),
        ("valkey", ""),
        ("rediss", "tls "),
        ("valkeys", "tls "),
    ] {
        let url = format!("{scheme}+cluster://u:p@a:7000,b");
        let Target::Cluster { seeds, node } = parsed(&url) else {
            panic!("another target");
        };
        let with = r#"Some("u") Some("p") 0"#;
        let expected = ["a:7000", "b:6379"].map(|place| format!("{tls}{place} {with}"));
        assert_eq!(seeds.iter().map(told).collect::<Vec<_>>(), expected);
        assert_eq!(told(&node.at("x", 9)), format!("{tls}x:9 {with}"));
    }
}

#[test]
fn says_what_is_wrong() {
    let urls = [
        ("h:6379", "no scheme"),
        ("http://h", "scheme is none"),
        ("redis+tls://h", "scheme is none"),
        ("unix+cluster:///s", "scheme is none"),
        ("rediss+unix:///s", "scheme is none"),
        ("redis://", "host is missing"),
        ("redis://u:hunter2@", "host is missing"),
        ("redis://hunter2@h", "no user:password"),
        ("redis://u:@h", "user without a password"),
        ("redis://u:hunter2@h:0", "port is not"),
        ("redis://u:hunter2@h:hunter2", "port is not"),
        ("redis://u:hunter2/2@h", "database is not"),
        ("redis://u:hunter2", "port is not"),
        ("redis://::1:6379", "not in brackets"),
        ("redis://[::1", "not closed"),
        ("redis://[::1]6379", "not followed by a port"),
        ("redis://h/hunter2", "database is not a number"),
        ("redis://h/-1", "database is not a number"),
        ("redis://h/1/2", "database is not a number"),
        ("redis://a,b", "several hosts"),
        ("redis://h?protocol=resp3", "parameter"),
        ("redis://u:hun#ter2@h", "contains a #"),
        ("rediss://h#insecure", "#insecure is not supported"),
        ("redis://u:%zz@h", "hexadecimal"),
        ("redis://u:a%2@h", "hexadecimal"),
        ("redis://u:%ff@h", "UTF-8"),
        ("unix://h/s", "path of the socket"),
        ("unix://", "path of the socket"),
        ("unix:///s?db=x", "database is not a number"),
        ("redis+sentinel://h", "name of the master"),
        ("redis+sentinel:///m", "host is missing"),
        ("redis+sentinel://h/m?sentinel_user=u", "user without"),
        ("redis+cluster://h/1", "no other database"),
        ("redis+cluster://h,", "host is missing"),
    ];
    for (url, cause) in urls {
        let error = Target::parse(url, None).unwrap_err();
        assert!(error.contains(cause), "{url}: {error}");
        assert!(error.contains("redis+cluster://"), "{url}: {error}");
        assert!(!error.contains("hunter2"), "{url}: {error}");
    }
    let error = Target::parse("redis://h", Some(b"")).unwrap_err();
    assert!(error.contains("not one of TLS"), "{error}");
}
