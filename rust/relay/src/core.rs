//! What every exchange of a worker shares. Lives on the relay's thread.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fault::{Fault, Kind};
use quota::{
    AnyStore, Bucket, Calendar, Count, RedisStore, SqliteStore, Store, StoreError, Window,
};
use tokens::Counter;
use wire::translate::Profile;

use crate::metrics::Metrics;
use crate::settings::{self, Settings, duration};
use crate::upstream::Upstream;

/// Upstreams, quota store, metrics.
#[derive(Debug)]
pub struct Core {
    upstreams: HashMap<String, Rc<Upstream>>,
    served: HashMap<String, Served>,
    store: AnyStore,
    calendar: Calendar,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
}

/// A model as it is served.
#[derive(Debug)]
pub(crate) struct Served {
    /// What it understands.
    pub(crate) profile: Profile,
    /// Counts its tokens where the upstream does not; `None`: as well as can be without its own tokenizer.
    pub(crate) tokenizer: Option<Counter>,
}

impl Served {
    fn new(settings: &settings::Served) -> Result<Self, Fault> {
        let file = settings.tokenizer_file.as_ref();
        Ok(Self {
            profile: settings.wire.clone(),
            tokenizer: file
                .map(|file| Counter::from_file(Path::new(file)))
                .transpose()?,
        })
    }
}

impl Core {
    /// Prepares everything `settings` names; reaches nobody yet.
    ///
    /// # Errors
    /// `config` for anything in the settings that cannot be used.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Result<Self, Fault> {
        let mut upstreams = HashMap::with_capacity(settings.upstreams.len());
        for (name, upstream) in &settings.upstreams {
            upstreams.insert(name.clone(), Rc::new(Upstream::new(name, upstream)?));
        }
        let mut served = HashMap::with_capacity(settings.profiles.len());
        for (key, entry) in &settings.profiles {
            served.insert(key.clone(), Served::new(entry)?);
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
            served,
            store,
            calendar,
            metrics,
        })
    }

    /// The backend of that name.
    ///
    /// # Errors
    /// `internal`: policy only names configured ones.
    pub(crate) fn upstream(&self, name: &str) -> Result<Rc<Upstream>, Fault> {
        self.upstreams
            .get(name)
            .cloned()
            .ok_or_else(|| Fault::new(Kind::Internal, format!("no upstream named {name}")))
    }

    /// What is known of a model, by the key that a plan names.
    ///
    /// # Errors
    /// `internal`: policy only names configured ones.
    pub(crate) fn served(&self, key: &str) -> Result<&Served, Fault> {
        self.served
            .get(key)
            .ok_or_else(|| Fault::new(Kind::Internal, format!("no profile named {key}")))
    }

    /// What the backend of that name speaks, in words; it is asked if it has not been.
    ///
    /// # Errors
    /// `upstream_error` or `upstream_timeout` if it cannot be asked, `internal` if there is none of that name.
    pub async fn probe(&self, name: &str) -> Result<String, Fault> {
        let upstream = self.upstream(name)?;
        let spoken = upstream.spoken().await;
        spoken
            .map(ToString::to_string)
            .map_err(|failure| failure.fault)
    }

    /// The backends that have to be asked what they speak.
    pub(crate) fn unknown_upstreams(&self) -> impl Iterator<Item = (String, Rc<Upstream>)> {
        let unknown = self.upstreams.iter();
        unknown
            .filter(|(_, upstream)| upstream.is_unknown())
            .map(|(name, upstream)| (name.clone(), Rc::clone(upstream)))
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
