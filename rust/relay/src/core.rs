//! What every exchange of a worker shares. Lives on the relay's thread.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use fault::{Fault, Kind};
use quota::{
    AnyStore, Count, Found, Ledger, Lives, RecordOperation, RedisStore, Shelf, SqliteStore, State,
    StoreError, Watcher, Window,
};
use tokens::Counter;
use tokio::sync::Semaphore;
use wire::translate::Profile;

use crate::denial;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::settings::{self, Settings, duration};
use crate::store_watch::StoreWatch;
use crate::upstream::Upstream;

/// Texts whose tokens are counted at the same time: more would take the processor from the relay's own thread when many clients
/// leave at once.
const COUNTS_AT_ONCE: usize = 2;

/// Upstreams, quota, metrics.
pub struct Core {
    upstreams: HashMap<String, Rc<Upstream>>,
    served: HashMap<String, Served>,
    ledger: Rc<Ledger<AnyStore>>,
    counting: Semaphore,
    pub(crate) terms: Terms,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for Core {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Core").finish_non_exhaustive()
    }
}

/// What tokens count as, whoever asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// What one that was read from a cache counts as, 0 to 1.
    pub(crate) cache_read_weight: f64,
    /// How much of a request's output limit is reserved; none: all of it.
    pub(crate) reserved_output_tokens: Option<u64>,
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
    pub fn new(settings: &Settings, metrics: Arc<Metrics>, log: Log) -> Result<Self, Fault> {
        let mut upstreams = HashMap::with_capacity(settings.upstreams.len());
        for (name, upstream) in &settings.upstreams {
            upstreams.insert(name.clone(), Rc::new(Upstream::new(name, upstream)?));
        }
        let mut served = HashMap::with_capacity(settings.profiles.len());
        for (key, entry) in &settings.profiles {
            served.insert(key.clone(), Served::new(entry)?);
        }
        let quota = &settings.quota;
        Ok(Self {
            upstreams,
            served,
            ledger: ledger(
                quota,
                StoreWatch::new(Arc::clone(&metrics), move |line| log.line(line)),
            )?,
            counting: Semaphore::new(COUNTS_AT_ONCE),
            terms: Terms {
                cache_read_weight: quota.cache_read_weight,
                reserved_output_tokens: quota.reserved_output_tokens,
            },
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

    /// The state of a user's windows, for `/quota`.
    ///
    /// # Errors
    /// `overloaded` if the store does not answer.
    pub async fn counts(&self, user: &str, windows: &[Window]) -> Result<Vec<Count>, Fault> {
        let counts = self.ledger.counts(user, windows).await;
        counts.map_err(|_| {
            denial::store_down("the quota cannot be read at the moment; try again shortly")
        })
    }

    /// Sets what a user has used of the current bucket of `window`, with a note on who did it and why; what it was before.
    ///
    /// # Errors
    /// `invalid_request` for concurrent requests, which are counted by themselves; `overloaded` if the store does not answer.
    pub async fn set_quota(
        &self,
        user: &str,
        window: Window,
        used: u64,
        note: String,
    ) -> Result<u64, Fault> {
        if window.period.is_none() {
            let message = "concurrent requests cannot be set: they are those in flight";
            return Err(Fault::new(Kind::InvalidRequest, message));
        }
        let set = self.ledger.set(user, window, used, note).await;
        set.map_err(|error| for_operators(&error))
    }

    /// The notes of [`Core::set_quota`], the newest first.
    ///
    /// # Errors
    /// `overloaded` if the store does not answer.
    pub async fn quota_notes(&self, user: &str) -> Result<Vec<String>, Fault> {
        let notes = self.ledger.notes(user).await;
        notes.map_err(|error| for_operators(&error))
    }

    /// Runs one operation on a shelf of records.
    ///
    /// # Errors
    /// `overloaded` if the store does not answer.
    pub async fn records(
        &self,
        shelf: &Shelf,
        operation: &RecordOperation,
    ) -> Result<Found, Fault> {
        let found = self.ledger.records(shelf, operation).await;
        found.map_err(|_| {
            denial::store_down("the store does not answer at the moment; try again shortly")
        })
    }

    /// How the quota store is, for `/health/ready`.
    pub async fn store_state(&self) -> State {
        self.ledger.state().await
    }

    pub(crate) fn ledger(&self) -> &Rc<Ledger<AnyStore>> {
        &self.ledger
    }

    /// What `work` makes on a thread where it may take long, after those that came before; `None` if it panicked.
    pub(crate) async fn count<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _turn = self.counting.acquire().await;
        tokio::task::spawn_blocking(work).await.ok()
    }
}

/// The ledger over the store that the settings name.
fn ledger(quota: &settings::Quota, watch: Rc<StoreWatch>) -> Result<Rc<Ledger<AnyStore>>, Fault> {
    let lease = duration(quota.lease_s);
    let lives = Lives::of_lease(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
    let store = match &quota.redis_url {
        Some(url) => {
            let ca = quota.redis_ca_file.as_deref();
            let ca = ca.map(read_file).transpose()?;
            let overcome = Rc::clone(&watch);
            let overcome = Box::new(move |kind| overcome.overcome(kind));
            AnyStore::Redis(RedisStore::new(url, ca.as_deref(), lives, overcome)?)
        }
        None => AnyStore::Sqlite(SqliteStore::open(Path::new(&quota.sqlite_path), lives)?),
    };
    let settings = quota::Settings {
        timezone: quota.timezone.clone(),
        patience: duration(quota.timeout_s),
        lease,
        share: quota.share,
        local_for: duration(quota.local_for_s),
        journal_folder: quota.journal_folder.as_ref().map(PathBuf::from),
    };
    Ledger::new(store, settings, watch)
}

/// What the operator is told of a store that does not answer.
fn for_operators(error: &StoreError) -> Fault {
    denial::store_down(&error.to_string())
}

fn read_file(path: &str) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|error| Fault::new(Kind::Config, format!("{path}: {error}")))
}
