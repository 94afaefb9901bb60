//! What every exchange of a worker shares. Lives on the relay's thread.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fault::{Fault, Kind};
use quota::{
    AnyStore, Bucket, Calendar, Count, RedisStore, SqliteStore, Store, StoreError, Window,
};

use crate::metrics::Metrics;
use crate::settings::{Settings, duration};
use crate::upstream::Upstream;

/// Upstreams, quota store, metrics.
#[derive(Debug)]
pub struct Core {
    upstreams: HashMap<String, Upstream>,
    store: AnyStore,
    calendar: Calendar,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
}

impl Core {
    /// Prepares everything `settings` names; reaches nobody yet.
    ///
    /// # Errors
    /// `config` for anything in the settings that cannot be used.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Result<Self, Fault> {
        let mut upstreams = HashMap::with_capacity(settings.upstreams.len());
        for (name, upstream) in &settings.upstreams {
            upstreams.insert(name.clone(), Upstream::new(name, upstream)?);
        }
        let timeout = duration(settings.quota.timeout_s);
        let store = match &settings.quota.redis_url {
            Some(url) => {
                let ca = settings
                    .quota
                    .redis_ca_file
                    .as_deref()
                    .map(read_file)
                    .transpose()?;
                AnyStore::Redis(RedisStore::new(url, ca.as_deref(), timeout)?)
            }
            None => AnyStore::Sqlite(SqliteStore::open(
                Path::new(&settings.quota.sqlite_path),
                timeout,
            )?),
        };
        let calendar = Calendar::new(&settings.quota.timezone)?;
        Ok(Self {
            upstreams,
            store,
            calendar,
            metrics,
        })
    }

    /// The backend of that name.
    ///
    /// # Errors
    /// `internal`: policy only names configured ones.
    pub(crate) fn upstream(&self, name: &str) -> Result<&Upstream, Fault> {
        self.upstreams
            .get(name)
            .ok_or_else(|| Fault::new(Kind::Internal, format!("no upstream named {name}")))
    }

    /// The counters of `user` for `windows` at this moment.
    #[must_use]
    pub fn buckets(&self, user: &str, windows: &[Window]) -> Vec<Bucket> {
        let now = SystemTime::now();
        windows
            .iter()
            .map(|window| self.calendar.bucket(user, *window, now))
            .collect()
    }

    /// The state of a user's windows, for `/quota`.
    ///
    /// # Errors
    /// `overloaded` if the store does not answer.
    pub async fn counts(&self, user: &str, windows: &[Window]) -> Result<Vec<Count>, Fault> {
        self.call(self.store.read(&self.buckets(user, windows)))
            .await
            .map_err(|_| store_down())
    }

    /// Whether the store answers; a word for `/health/ready`.
    pub async fn store_state(&self) -> Result<(), StoreError> {
        self.call(self.store.ping()).await
    }

    pub(crate) fn store(&self) -> &AnyStore {
        &self.store
    }

    /// Runs one call to the store, measured.
    pub(crate) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let result = call.await;
        self.metrics
            .store_call(started.elapsed().as_secs_f64(), result.is_err());
        self.metrics.store_mode(result.is_ok());
        result
    }

    pub(crate) fn show(&self, user: &str, counts: &[Count]) {
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |passed| u64::try_from(passed.as_millis()).unwrap_or(0));
        for count in counts {
            self.metrics.quota_used(user, count, now_ms);
        }
    }
}

/// What a client is told while nothing can be counted. Modes per tier come with the store-down issue.
pub(crate) fn store_down() -> Fault {
    Fault::new(
        Kind::Overloaded,
        "the quota cannot be read at the moment; try again shortly",
    )
    .retry_after(5)
}

fn read_file(path: &str) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|error| Fault::new(Kind::Config, format!("{path}: {error}")))
}
