//! One pipelined connection, made when it is first needed and again after it broke.
//!
//! redis' own `ConnectionManager` is not used: it answers the first call after an outage with the
//! outage, although Redis is back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ErrorKind, PushInfo, PushKind, RedisError, RedisResult,
    ServerErrorKind,
};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use crate::store::StoreError;

pub(super) struct Link {
    client: Client,
    current: Mutex<Option<Live>>,
    failures: AtomicU64,
    connecting: tokio::sync::Mutex<Option<StoreError>>,
}

/// A connection, and whether it has been found to be of no use.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    broken: Arc<AtomicBool>,
}

impl Link {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            current: Mutex::new(None),
            failures: AtomicU64::new(0),
            connecting: tokio::sync::Mutex::new(None),
        }
    }

    /// The connection that works, as far as is known, or a new one.
    ///
    /// One caller connects and the others wait for it. If it fails, it fails for all that waited:
    /// a crowd in front of a dead Redis makes one attempt and not one each.
    pub(super) async fn connection(&self, deadline: Instant) -> Result<Live, StoreError> {
        if let Some(live) = self.alive() {
            return Ok(live);
        }
        let failures = self.failures.load(Ordering::Relaxed);
        let mut last_failure = timeout_at(deadline, self.connecting.lock())
            .await
            .map_err(|_| StoreError::Timeout)?;
        if let Some(live) = self.alive() {
            return Ok(live);
        }
        if self.failures.load(Ordering::Relaxed) != failures
            && let Some(failure) = last_failure.clone()
        {
            return Err(failure);
        }
        match answer(timeout_at(deadline, connect(&self.client)).await) {
            Ok(live) => {
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(live.clone());
                Ok(live)
            }
            Err(failure) => {
                *last_failure = Some(failure.clone());
                self.failures.fetch_add(1, Ordering::Relaxed);
                Err(failure)
            }
        }
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
    /// The reply, or why there is none; a connection that may be at fault is not used again.
    pub(super) fn checked<T>(
        &self,
        reply: Result<RedisResult<T>, Elapsed>,
    ) -> Result<T, StoreError> {
        let may_work = match &reply {
            Ok(Ok(_)) => true,
            // A primary that was made a replica stays one: its name now leads somewhere else.
            Ok(Err(error)) => !matches!(
                error.kind(),
                ErrorKind::Io | ErrorKind::Parse | ErrorKind::Server(ServerErrorKind::ReadOnly)
            ),
            // Perhaps it is only slow. Perhaps the other end is gone without a word, and then no call
            // would ever be answered.
            Err(_) => false,
        };
        if !may_work {
            self.broken.store(true, Ordering::Relaxed);
        }
        answer(reply)
    }
}

async fn connect(client: &Client) -> RedisResult<Live> {
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
    let connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    Ok(Live { connection, broken })
}

fn answer<T>(reply: Result<RedisResult<T>, Elapsed>) -> Result<T, StoreError> {
    match reply {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(store_error(&error)),
        Err(_) => Err(StoreError::Timeout),
    }
}

fn store_error(error: &RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse => StoreError::Unreachable(error.to_string()),
        _ => StoreError::Refused(error.to_string()),
    }
}
