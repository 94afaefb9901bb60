//! What a failure of Redis means to those who asked.

use ::redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::{StoreError, StoreErrorKind};

/// Why there is no answer, and what may be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What the caller of the store is told.
    pub(super) error: StoreError,
    /// The call was sent and its reply is lost: it may have run, and may be asked for again on another connection.
    pub(super) lost: bool,
    /// The node that has the account's slot.
    pub(super) redirect: Option<Redirect>,
}

/// `MOVED` or `ASK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    /// The slot that is elsewhere.
    pub(super) slot: u16,
    /// Its node's host; empty for the one that was asked.
    pub(super) host: String,
    /// Its node's port.
    pub(super) port: u16,
    /// Only this once (`ASK`).
    pub(super) once: bool,
}

impl Failure {
    /// A failure of which nothing more is known.
    pub(super) fn new(kind: StoreErrorKind, cause: impl Into<String>) -> Self {
        Self {
            error: StoreError::new(kind, cause),
            lost: false,
            redirect: None,
        }
    }

    /// The time for an answer is over.
    pub(super) fn timeout() -> Self {
        Self::new(StoreErrorKind::Timeout, "it did not answer in time")
    }

    /// The failure that an answer is, or that takes its place.
    pub(super) fn of(error: &RedisError) -> Self {
        Self {
            error: StoreError::new(kind(error), cause(error)),
            lost: false,
            redirect: redirect(error),
        }
    }

    /// The same, of a call that was sent.
    pub(super) fn of_call(error: &RedisError) -> Self {
        Self {
            lost: is_broken(error),
            ..Self::of(error)
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// Whether the connection is of no use after this.
pub(super) fn ends_connection(error: &RedisError) -> bool {
    // A primary that was made a replica stays one: its name now leads somewhere else.
    is_broken(error) || kind(error) == StoreErrorKind::ReadOnly
}

fn is_broken(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse)
}

/// Source: the errors of `src/server.c` and `src/script.c` of Redis 7.0; what a script's command meets has the same codes.
fn kind(error: &RedisError) -> StoreErrorKind {
    if is_broken(error) {
        return StoreErrorKind::Unreachable;
    }
    match code(error) {
        Some("NOSCRIPT") => StoreErrorKind::NoScript,
        Some("LOADING") => StoreErrorKind::Loading,
        Some("BUSY") => StoreErrorKind::Busy,
        Some("READONLY") => StoreErrorKind::ReadOnly,
        Some("OOM") => StoreErrorKind::OutOfMemory,
        Some("MISCONF") => StoreErrorKind::Misconfigured,
        Some("MOVED" | "ASK") => StoreErrorKind::Moved,
        Some("CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "NOREPLICAS") => StoreErrorKind::Down,
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => StoreErrorKind::Denied,
        _ => match error.kind() {
            ErrorKind::AuthenticationFailed => StoreErrorKind::Denied,
            _ => StoreErrorKind::Refused,
        },
    }
}

/// Before Redis 7, what a script's command met is wrapped: `ERR Error running script (call to …): …: -OOM command not allowed`.
fn code(error: &RedisError) -> Option<&str> {
    let detail = error.detail().unwrap_or_default();
    match detail.split_once(": -") {
        Some((wrapping, met)) if wrapping.starts_with("Error running script") => {
            met.split_whitespace().next()
        }
        _ => error.code(),
    }
}

fn cause(error: &RedisError) -> String {
    let Some(code) = error.code() else {
        return error.to_string();
    };
    // A server that does not know a command repeats its arguments, and one of `HELLO` is the password.
    let detail = error.detail().unwrap_or_default();
    let detail = detail
        .split_once(", with args beginning with")
        .map_or(detail, |(before, _)| before);
    format!("{code} {detail}").trim_end().to_owned()
}

fn redirect(error: &RedisError) -> Option<Redirect> {
    let (address, slot) = error.redirect_node()?;
    // An address of IPv6 has no brackets here.
    let (host, port) = address.rsplit_once(':')?;
    Some(Redirect {
        slot,
        host: host.to_owned(),
        port: port.parse().ok()?,
        once: error.kind() == ErrorKind::Server(ServerErrorKind::Ask),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server says that answers with this line.
    fn said(line: &str) -> RedisError {
        let reply = ::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        reply.extract_error().unwrap_err()
    }

    #[test]
    fn every_code_has_its_kind() {
        let kinds = [
            ("NOSCRIPT No matching script.", StoreErrorKind::NoScript),
            (
                "LOADING Redis is loading the dataset in memory",
                StoreErrorKind::Loading,
            ),
            ("BUSY Redis is busy running a script.", StoreErrorKind::Busy),
            (
                "READONLY You can't write against a read only replica.",
                StoreErrorKind::ReadOnly,
            ),
            ("OOM command not allowed", StoreErrorKind::OutOfMemory),
            (
                "MISCONF Redis is configured to save RDB snapshots",
                StoreErrorKind::Misconfigured,
            ),
            ("MOVED 3999 127.0.0.1:6381", StoreErrorKind::Moved),
            ("ASK 3999 127.0.0.1:6381", StoreErrorKind::Moved),
            ("CLUSTERDOWN Hash slot not served", StoreErrorKind::Down),
            ("MASTERDOWN Link with MASTER is down", StoreErrorKind::Down),
            ("TRYAGAIN Multiple keys request", StoreErrorKind::Down),
            ("NOREPLICAS Not enough good replicas", StoreErrorKind::Down),
            ("NOAUTH Authentication required.", StoreErrorKind::Denied),
            (
                "WRONGPASS invalid username-password pair",
                StoreErrorKind::Denied,
            ),
            (
                "NOPERM User x has no permissions to run the 'get' command",
                StoreErrorKind::Denied,
            ),
            (
                "ERR Error running script (call to f_0a): @user_script:9: @user_script: 9: -OOM command not allowed",
                StoreErrorKind::OutOfMemory,
            ),
            ("ERR something else: -OOM", StoreErrorKind::Refused),
            ("WRONGTYPE Operation against a key", StoreErrorKind::Refused),
        ];
        for (line, kind) in kinds {
            let failure = Failure::of_call(&said(line));
            assert_eq!(failure.error.kind, kind, "{line}");
            assert_eq!(failure.error.cause, line);
            assert!(!failure.lost, "{line}");
        }
    }

    #[test]
    fn only_a_broken_connection_loses_a_reply() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset).into();
        assert!(Failure::of_call(&broken).lost);
        assert!(
            !Failure::of(&broken).lost,
            "nothing was sent before there was a connection"
        );
        assert_eq!(Failure::of(&broken).error.kind, StoreErrorKind::Unreachable);
        assert!(ends_connection(&broken));
        assert!(ends_connection(&said("READONLY You can't write")));
        assert!(!ends_connection(&said("LOADING Redis is loading")));
    }

    #[test]
    fn a_redirection_names_slot_and_node() {
        let of = |line| Failure::of_call(&said(line)).redirect;
        let expected = |host: &str, once| {
            Some(Redirect {
                slot: 3999,
                host: host.into(),
                port: 6381,
                once,
            })
        };
        assert_eq!(
            of("MOVED 3999 127.0.0.1:6381"),
            expected("127.0.0.1", false)
        );
        assert_eq!(of("ASK 3999 node-2:6381"), expected("node-2", true));
        assert_eq!(of("MOVED 3999 ::1:6381"), expected("::1", false));
        assert_eq!(of("MOVED 3999 :6381"), expected("", false));
        assert_eq!(of("ERR MOVED"), None);
    }

    #[test]
    fn a_password_that_a_server_repeats_is_left_out() {
        for line in [
            "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'u' 'hunter2' ",
            "ERR unknown command `EVALSHA`, with args beginning with: `x`, `hunter2`, ",
        ] {
            let failure = Failure::of(&said(line));
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
            assert!(failure.error.cause.contains("unknown command"));
        }
    }
}
