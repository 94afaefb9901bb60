//! Accounts in an `SQLite` file that all processes of a machine share.
//!
//! One thread owns the connection. It takes every call that waits, runs them in one transaction, and
//! answers when that is committed: under load the price of a commit is shared, and no call waits for
//! more than one commit before its own.

mod apply;
mod file;
mod prune;
mod rows;
mod shelves;
mod thread;

use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use fault::{Fault, Kind};
use tokio::sync::oneshot;

use crate::calendar::Account;
use crate::records::{Found, RecordOperation, Shelf, Shelves};
use crate::store::{Call, Lives, Reply, Store, StoreError, StoreErrorKind};

use thread::{Question, Waiting};

const QUEUE_CALLS: usize = 1024;

/// Accounts in one `SQLite` file; exact over every process that has it open.
#[derive(Debug)]
pub struct SqliteStore {
    queue: SyncSender<Waiting>,
}

impl SqliteStore {
    /// The store in the file at `path`, made with its folder if missing.
    ///
    /// # Errors
    ///
    /// [`fault::Kind::Config`] with the path if the file cannot be made, opened or written.
    pub fn open(path: &Path, lives: Lives) -> Result<Self, Fault> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| unusable(path, &error))?;
        }
        let connection = file::open(path).map_err(|error| unusable(path, &error))?;
        let (queue, calls) = sync_channel(QUEUE_CALLS);
        std::thread::Builder::new()
            .name("quota-sqlite".into())
            .spawn(move || thread::serve(connection, lives, &calls))
            .map_err(|error| unusable(path, &error))?;
        Ok(Self { queue })
    }

    async fn ask<T>(
        &self,
        question: Question,
        answer: oneshot::Receiver<Result<T, StoreError>>,
        patience: Duration,
    ) -> Result<T, StoreError> {
        let waiting = Waiting {
            question,
            until: Instant::now() + patience,
        };
        self.queue.try_send(waiting).map_err(|error| match error {
            TrySendError::Full(_) => {
                let cause = format!("{QUEUE_CALLS} calls wait for its file already");
                StoreError::new(StoreErrorKind::Crowded, cause)
            }
            TrySendError::Disconnected(_) => ended(),
        })?;
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ended()),
            Err(_) => {
                let cause = format!("its file gave no answer in {} ms", patience.as_millis());
                Err(StoreError::new(StoreErrorKind::Timeout, cause))
            }
        }
    }
}

impl Store for SqliteStore {
    async fn call(&self, call: &Call, patience: Duration) -> Result<Reply, StoreError> {
        let (reply, answer) = oneshot::channel();
        let question = Question::Call(call.clone(), reply);
        self.ask(question, answer, patience).await
    }

    async fn notes(
        &self,
        account: &Account,
        patience: Duration,
    ) -> Result<Vec<String>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let question = Question::Notes(account.clone(), reply);
        self.ask(question, answer, patience).await
    }

    fn part(&self, _account: &Account) -> u64 {
        0
    }
}

impl Shelves for SqliteStore {
    async fn records(
        &self,
        shelf: &Shelf,
        operation: &RecordOperation,
        patience: Duration,
    ) -> Result<Found, StoreError> {
        let (reply, answer) = oneshot::channel();
        let question = Question::Records(shelf.clone(), operation.clone(), reply);
        self.ask(question, answer, patience).await
    }
}

fn ended() -> StoreError {
    StoreError::new(StoreErrorKind::Unreachable, "its thread has ended")
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Fault {
    let message = format!(
        "the quota file {} cannot be used: {error}; give data_dir a folder on a local disk that this \
         process may write, or set QUOTA_REDIS_URL",
        path.display()
    );
    Fault::new(Kind::Config, message)
}
