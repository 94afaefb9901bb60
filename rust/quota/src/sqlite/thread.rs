//! The thread that owns the connection: what waits runs in one transaction.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::apply::apply;
use super::file::store_error;
use super::prune::Pruning;
use super::rows::{Now, Rows};
use super::shelves;
use crate::calendar::Account;
use crate::records::{Found, RecordOperation, Shelf};
use crate::store::{Call, Lives, Operation, Reply, StoreError};

const BATCH_CALLS: usize = 256;

/// How much earlier than its caller a call gives up, so that the caller hears that nothing was done.
const WORD_OF_FAILURE: Duration = Duration::from_millis(10);

/// A question that waits for the file.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) question: Question,
    pub(super) until: Instant,
}

#[derive(Debug)]
pub(super) enum Question {
    Call(Call, oneshot::Sender<Result<Reply, StoreError>>),
    Notes(Account, oneshot::Sender<Result<Vec<String>, StoreError>>),
    Records(
        Shelf,
        RecordOperation,
        oneshot::Sender<Result<Found, StoreError>>,
    ),
}

/// What answers a question, once it is committed.
enum Answer {
    Reply(Reply),
    Notes(Vec<String>),
    Found(Found),
    /// Nobody waits for one.
    Nothing,
}

/// Answers what comes through the queue until no handle of the store is left.
pub(super) fn serve(mut connection: Connection, lives: Lives, queue: &Receiver<Waiting>) {
    let mut pruning = Pruning::new();
    loop {
        match queue.recv_timeout(pruning.wait()) {
            Ok(first) => {
                let batch: Vec<Waiting> = std::iter::once(first)
                    .chain(queue.try_iter())
                    .take(BATCH_CALLS)
                    .collect();
                answer(&mut connection, lives, batch);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        pruning.run_if_due(&mut connection);
    }
}

fn answer(connection: &mut Connection, lives: Lives, mut batch: Vec<Waiting>) {
    batch.retain(|waiting| !waiting.question.is_pointless());
    let Some(until) = batch.iter().map(|waiting| waiting.until).max() else {
        return;
    };
    let left = until.saturating_duration_since(Instant::now());
    let patience = left.saturating_sub(WORD_OF_FAILURE);
    match run(connection, lives, &batch, patience) {
        Ok(answers) => {
            for (waiting, answer) in batch.into_iter().zip(answers) {
                waiting.question.answer(answer);
            }
        }
        Err(error) => {
            let error = store_error(&error);
            for waiting in batch {
                waiting.question.fail(error.clone());
            }
        }
    }
}

fn run(
    connection: &mut Connection,
    lives: Lives,
    batch: &[Waiting],
    patience: Duration,
) -> rusqlite::Result<Vec<Answer>> {
    connection.busy_timeout(patience)?;
    let behavior = if batch.iter().all(|waiting| waiting.question.only_reads()) {
        // Reading waits for nobody who writes.
        TransactionBehavior::Deferred
    } else {
        // Else a transaction that reads first and writes later could fail as busy halfway.
        TransactionBehavior::Immediate
    };
    let transaction = connection.transaction_with_behavior(behavior)?;
    let now = Now::read();
    let rows = Rows::new(&transaction, now);
    let answers = batch
        .iter()
        .map(|waiting| match &waiting.question {
            // Whoever waited for the lock with the others may have gone meanwhile.
            question if question.is_pointless() => Ok(Answer::Nothing),
            Question::Call(call, _) => apply(&rows, call, lives).map(Answer::Reply),
            Question::Notes(account, _) => rows.notes(account).map(Answer::Notes),
            Question::Records(shelf, operation, _) => {
                shelves::run(&transaction, now, shelf, operation).map(Answer::Found)
            }
        })
        .collect::<rusqlite::Result<_>>()?;
    transaction.commit()?;
    Ok(answers)
}

impl Question {
    fn only_reads(&self) -> bool {
        match self {
            Self::Call(call, _) => matches!(call.operation, Operation::Read { .. }),
            Self::Notes(..) => true,
            Self::Records(_, operation, _) => operation.only_reads(),
        }
    }

    /// Whether nobody waits any more and nothing is what the caller then expects to have been done. What ends or
    /// restores something is owed whether or not somebody waits.
    fn is_pointless(&self) -> bool {
        match self {
            Self::Call(call, reply) => {
                let of_use_to_the_caller_only = matches!(
                    call.operation,
                    Operation::Reserve { .. } | Operation::Read { .. } | Operation::Probe
                );
                of_use_to_the_caller_only && reply.is_closed()
            }
            Self::Notes(_, reply) => reply.is_closed(),
            Self::Records(_, operation, reply) => operation.only_reads() && reply.is_closed(),
        }
    }

    fn answer(self, answer: Answer) {
        match (self, answer) {
            (Self::Call(_, reply), Answer::Reply(answer)) => drop(reply.send(Ok(answer))),
            (Self::Notes(_, reply), Answer::Notes(answer)) => drop(reply.send(Ok(answer))),
            (Self::Records(_, _, reply), Answer::Found(answer)) => drop(reply.send(Ok(answer))),
            _ => {}
        }
    }

    fn fail(self, error: StoreError) {
        match self {
            Self::Call(_, reply) => drop(reply.send(Err(error))),
            Self::Notes(_, reply) => drop(reply.send(Err(error))),
            Self::Records(_, _, reply) => drop(reply.send(Err(error))),
        }
    }
}
