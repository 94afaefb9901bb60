//! One pipelined connection to one server, made when it is first needed and again after it broke.
//!
//! redis' own `ConnectionManager` is not used: it answers the first call after an outage with the
//! outage, although Redis is back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, PushInfo, PushKind, RedisResult,
    Value,
};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::errors::{Failure, ends_connection};

/// The way to one server.
pub(super) struct Link {
    info: ConnectionInfo,
    current: Mutex<Option<Live>>,
    failures: AtomicU64,
    connecting: tokio::sync::Mutex<Option<Failure>>,
}

/// A connection, and whether it has been found to be of no use.
#[derive(Clone)]
pub(super) struct Live {
    connection: MultiplexedConnection,
    broken: Arc<AtomicBool>,
}

impl Link {
    /// The way to the server that `info` names; nobody is connected to yet.
    pub(super) fn new(info: ConnectionInfo) -> Self {
        Self {
            info,
            current: Mutex::new(None),
            failures: AtomicU64::new(0),
            connecting: tokio::sync::Mutex::new(None),
        }
    }

    /// The connection that works, as far as is known, or a new one.
    ///
    /// One caller connects and the others wait for it. If it fails, it fails for all that waited:
    /// a crowd in front of a dead Redis makes one attempt and not one each.
    pub(super) async fn connection(&self, deadline: Instant) -> Result<Live, Failure> {
        if let Some(live) = self.alive() {
            return Ok(live);
        }
        let failures = self.failures.load(Ordering::Relaxed);
        let mut last_failure = timeout_at(deadline, self.connecting.lock())
            .await
            .map_err(|_| Failure::timeout())?;
        if let Some(live) = self.alive() {
            return Ok(live);
        }
        if self.failures.load(Ordering::Relaxed) != failures
            && let Some(failure) = last_failure.clone()
        {
            return Err(failure);
        }
        let failure = match timeout_at(deadline, connect(&self.info)).await {
            Ok(Ok(live)) => {
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(live.clone());
                return Ok(live);
            }
            Ok(Err(error)) => Failure::of(&error),
            Err(_) => Failure::timeout(),
        };
        *last_failure = Some(failure.clone());
        self.failures.fetch_add(1, Ordering::Relaxed);
        Err(failure)
    }

    fn alive(&self) -> Option<Live> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current
            .as_ref()
            .is_some_and(|live| live.broken.load(Ordering::Relaxed))
        {
            *current = None;
        }
        current.clone()
    }
}

impl Live {
    /// The answer to one command.
    pub(super) async fn ask(&self, command: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        let mut connection = self.connection.clone();
        let reply = timeout_at(deadline, connection.send_packed_command(command)).await;
        self.checked(reply)
    }

    /// The answer to the last command of some that are sent together.
    pub(super) async fn ask_last(
        &self,
        commands: &Pipeline,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let mut connection = self.connection.clone();
        let count = commands.len();
        let replies = connection.send_packed_commands(commands, 0, count);
        let reply = timeout_at(deadline, replies).await;
        self.checked(reply.map(|replies| Ok(replies?.pop().unwrap_or(Value::Nil))))
    }

    /// Has the next call made on a new connection.
    pub(super) fn abandon(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    fn checked(&self, reply: Result<RedisResult<Value>, Elapsed>) -> Result<Value, Failure> {
        match reply.map(|reply| reply.and_then(Value::extract_error)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if ends_connection(&error) {
                    self.abandon();
                }
                Err(Failure::of_call(&error))
            }
            Err(_) => {
                // Perhaps it is only slow. Perhaps the other end is gone without a word, and then no call
                // would ever be answered.
                self.abandon();
                Err(Failure::timeout())
            }
        }
    }
}

async fn connect(info: &ConnectionInfo) -> RedisResult<Live> {
    let broken = Arc::new(AtomicBool::new(false));
    let notice = {
        let broken = Arc::clone(&broken);
        move |push: PushInfo| -> Result<(), std::convert::Infallible> {
            if push.kind == PushKind::Disconnection {
                broken.store(true, Ordering::Relaxed);
            }
            Ok(())
        }
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_push_sender(notice);
    let connection = Client::open(info.clone())?
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    Ok(Live { connection, broken })
}
