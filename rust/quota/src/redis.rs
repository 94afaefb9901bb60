//! Accounts in Redis or Valkey that all replicas share: one script, one round trip for each call.

mod attempt;
mod cluster;
mod errors;
mod link;
mod script;
mod sentinel;
mod shelves;
mod target;
mod words;

use std::fmt;
use std::time::Duration;

use ::redis::Value;
use fault::{Fault, Kind};
use tokio::time::Instant;

use crate::calendar::Account;
use crate::records::{Found, RecordOperation, Shelf, Shelves};
use crate::store::{Call, Lives, Overcome, Reply, Store, StoreError};
use cluster::Cluster;
use errors::Failure;
use link::Link;
use script::Invocation;
use sentinel::Sentinel;
use target::Target;

/// Accounts in Redis or Valkey (6.2 or later): one server, Sentinel or Cluster.
///
/// A user that an access control list restricts needs the rights of `deploy/redis/gateway.acl`.
pub struct RedisStore {
    // It is large, and the store is moved about.
    route: Box<Route>,
    lives: Lives,
    overcome: Overcome,
}

/// The way to the server that has an account.
enum Route {
    Single(Link),
    Sentinel(Sentinel),
    Cluster(Cluster),
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisStore")
            .field("lives", &self.lives)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// The store at `url`, which is not connected to before the first call. `ca_pem` are the certificates trusted
    /// instead of the system's.
    ///
    /// # Errors
    ///
    /// [`fault::Kind::Config`] if the URL or the certificates cannot be used, without the password.
    pub fn new(
        url: &str,
        ca_pem: Option<&[u8]>,
        lives: Lives,
        overcome: Overcome,
    ) -> Result<Self, Fault> {
        // Fails where the process has chosen a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let target = Target::parse(url, ca_pem).map_err(|cause| {
            let message =
                format!("the URL of the quota store (QUOTA_REDIS_URL) cannot be used: {cause}");
            Fault::new(Kind::Config, message)
        })?;
        let route = match target {
            Target::Single(info) => Route::Single(Link::new(info)),
            Target::Sentinel {
                sentinels,
                master,
                node,
            } => Route::Sentinel(Sentinel::new(sentinels, master, node)),
            Target::Cluster { seeds, node } => Route::Cluster(Cluster::new(&seeds, node)),
        };
        Ok(Self {
            route: Box::new(route),
            lives,
            overcome,
        })
    }

    /// The answer; asked for again once, on another connection, where the first was lost. Every operation but
    /// [`crate::Operation::Set`] happens once by its lease's id, or changes nothing the second time.
    async fn ask(
        &self,
        account: &Account,
        invocation: &Invocation,
        patience: Duration,
    ) -> Result<Value, StoreError> {
        let deadline = Instant::now() + patience;
        match self.run(account, invocation, deadline).await {
            Err(failure) if failure.lost && invocation.repeatable => {
                (self.overcome)(failure.error.kind);
                Ok(self.run(account, invocation, deadline).await?)
            }
            answer => Ok(answer?),
        }
    }

    async fn run(
        &self,
        account: &Account,
        invocation: &Invocation,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let overcome = &self.overcome;
        match self.route.as_ref() {
            Route::Single(link) => {
                let live = link.connection(deadline).await?;
                invocation.run(&live, false, deadline, overcome).await
            }
            Route::Sentinel(sentinel) => sentinel.run(invocation, deadline, overcome).await,
            Route::Cluster(cluster) => cluster.run(account, invocation, deadline, overcome).await,
        }
    }
}

impl Store for RedisStore {
    async fn call(&self, call: &Call, patience: Duration) -> Result<Reply, StoreError> {
        let invocation = Invocation::of(call, self.lives);
        script::reply(&self.ask(&call.account, &invocation, patience).await?)
    }

    async fn notes(
        &self,
        account: &Account,
        patience: Duration,
    ) -> Result<Vec<String>, StoreError> {
        let invocation = Invocation::notes(account);
        script::notes(self.ask(account, &invocation, patience).await?)
    }

    fn part(&self, account: &Account) -> u64 {
        match self.route.as_ref() {
            Route::Single(_) | Route::Sentinel(_) => 0,
            Route::Cluster(cluster) => cluster.part(account),
        }
    }
}

impl Shelves for RedisStore {
    async fn records(
        &self,
        shelf: &Shelf,
        operation: &RecordOperation,
        patience: Duration,
    ) -> Result<Found, StoreError> {
        let invocation = shelves::invocation(shelf, operation);
        shelves::found(self.ask(shelf.account(), &invocation, patience).await?)
    }
}
