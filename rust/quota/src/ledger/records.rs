//! Records, asked for as accounts are: under the same patience, and not at all while the store is known to be down.

use tokio::time::Instant;

use super::Ledger;
use crate::records::{Found, RecordOperation, Shelf, Shelves};
use crate::store::{Store, StoreError};

impl<S: Store + Shelves + 'static> Ledger<S> {
    /// Runs one operation on a shelf. Nothing of it is remembered here: without the store there is no answer.
    ///
    /// # Errors
    /// If the store does not answer: what was to be changed may or may not be.
    pub async fn records(
        &self,
        shelf: &Shelf,
        operation: &RecordOperation,
    ) -> Result<Found, StoreError> {
        let part = self.store.part(shelf.account());
        if let Some(failure) = self.breakers.failure(part) {
            return Err(failure);
        }
        let asked_at = Instant::now();
        let patience = self.settings.patience;
        let answer = self.store.records(shelf, operation, patience).await;
        let kind = answer.as_ref().err().map(|error| error.kind);
        self.watcher.called(asked_at.elapsed().as_secs_f64(), kind);
        match &answer {
            Ok(_) if operation.only_reads() => {}
            Ok(_) => self.answered(part),
            Err(error) => self.failed(part, shelf.account(), error),
        }
        answer
    }
}
