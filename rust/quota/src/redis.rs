//! Counters in Redis or Valkey that all replicas share: one script, one round trip for each call.

mod link;

use std::fmt;
use std::time::Duration;

use ::redis::{
    Client, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, ProtocolVersion, RedisResult,
    Script, TlsCertificates,
};
use fault::{Fault, Kind};
use tokio::time::{Instant, timeout_at};

use crate::store::{Backend, Operation, Outcome, StoreError};
use crate::window::Bucket;
use link::Link;

/// Counts in Redis or Valkey (6.0 or later); exact over every process that uses the same one.
///
/// A user that an access control list restricts needs `~quota:*` and
/// `+evalsha +script|load +get +incrby +expireat +ping`.
pub struct RedisStore {
    link: Link,
    script: Script,
    timeout: Duration,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisStore")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// The store at `url`, which is not connected to before the first call. `ca_pem` are the
    /// certificates trusted instead of the system's. Each call may take `timeout`, connecting included.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] if the URL or the certificates cannot be used, without the password.
    pub fn new(url: &str, ca_pem: Option<&[u8]>, timeout: Duration) -> Result<Self, Fault> {
        // Fails where the process has chosen a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = client(url, ca_pem).map_err(|error| {
            let error = error.to_string();
            let cause = error.trim_end_matches(" - InvalidClientConfig");
            let message = format!(
                "the URL of the quota store (QUOTA_REDIS_URL) cannot be used: {cause}; give \
                 redis://[user:password@]host[:port][/database], or rediss:// for TLS, with special \
                 characters in the password percent-encoded"
            );
            Fault::new(Kind::Config, message)
        })?;
        let script = Script::new(include_str!("lua/quota.lua"));
        Ok(Self {
            link: Link::new(client),
            script,
            timeout,
        })
    }
}

impl Backend for RedisStore {
    async fn call(&self, operation: Operation, buckets: &[Bucket]) -> Result<Outcome, StoreError> {
        let mut invocation = self.script.prepare_invoke();
        invocation.arg(word(operation));
        for bucket in buckets {
            let limit = bucket
                .window
                .limit
                .map(|limit| limit.to_string())
                .unwrap_or_default();
            invocation
                .key(&bucket.key)
                .arg(limit)
                .arg(bucket.forget_at_s());
        }
        let deadline = Instant::now() + self.timeout;
        let mut live = self.link.connection(deadline).await?;
        // Sends the script and asks again where Redis does not know it: nothing ran then. Nothing else
        // is ever asked twice.
        let reply = timeout_at(deadline, invocation.invoke_async(&mut live.connection)).await;
        let reply: Vec<i64> = live.checked(reply)?;
        outcome(&reply, buckets.len())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.timeout;
        let mut live = self.link.connection(deadline).await?;
        let command = ::redis::cmd("PING");
        let reply = timeout_at(deadline, command.exec_async(&mut live.connection)).await;
        live.checked(reply)
    }
}

fn client(url: &str, ca_pem: Option<&[u8]>) -> RedisResult<Client> {
    let url = ::redis::parse_redis_url(url).ok_or((
        ErrorKind::InvalidClientConfig,
        "not a URL that begins with redis://",
    ))?;
    let info = url.into_connection_info()?;
    if let ConnectionAddr::TcpTls { insecure: true, .. } = info.addr() {
        let refusal = "#insecure is not supported, set a CA file instead";
        return Err((ErrorKind::InvalidClientConfig, refusal).into());
    }
    // RESP3 because only there the connection tells that it has broken, so that a call after that is
    // sent on a new one instead of lost. Without `nodelay`, a call waits for the one before it.
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    let tcp_settings = info.tcp_settings().clone().set_nodelay(true);
    let info = info
        .set_redis_settings(settings)
        .set_tcp_settings(tcp_settings);
    match ca_pem {
        None => Client::open(info),
        Some(pem) => {
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: Some(pem.to_vec()),
            };
            Client::build_with_tls(info, certificates)
        }
    }
}

fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Reserve => "reserve",
        Operation::Refund => "refund",
        Operation::Record => "record",
        Operation::Read => "read",
    }
}

fn outcome(reply: &[i64], buckets: usize) -> Result<Outcome, StoreError> {
    match reply {
        [full, used @ ..] if used.len() == buckets => Ok(Outcome {
            used: used
                .iter()
                .map(|used| u64::try_from(*used).unwrap_or(0))
                .collect(),
            exhausted: usize::try_from(*full)
                .ok()
                .and_then(|place| place.checked_sub(1)),
        }),
        _ => Err(StoreError::Refused(
            "the script answered with something else than counts".into(),
        )),
    }
}
