//! Finding a server: one attempt for all who need it, and several servers asked at once.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::errors::Failure;

/// Attempts at one thing, one at a time.
pub(super) struct Attempts {
    ended: Cell<u64>,
    last: Mutex<Result<(), Failure>>,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self {
            ended: Cell::new(0),
            last: Mutex::new(Ok(())),
        }
    }

    /// How `attempt` ended; or, if another caller's was under way, how that one did: a crowd in front of a dead server makes one
    /// attempt and not one each.
    pub(super) async fn make(
        &self,
        attempt: impl Future<Output = Result<(), Failure>>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let ended = self.ended.get();
        let mut last = timeout_at(deadline, self.last.lock())
            .await
            .map_err(|_| Failure::timeout())?;
        if self.ended.get() == ended {
            *last = attempt.await;
            self.ended.set(ended + 1);
        }
        last.clone()
    }
}

/// The first success of attempts that are made at once; else the failure of the one that ended last, or `otherwise` if there
/// are none.
pub(super) async fn first_of<T, F>(attempts: Vec<F>, otherwise: Failure) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut attempts: Vec<Pin<Box<F>>> = attempts.into_iter().map(Box::pin).collect();
    let mut last = otherwise;
    poll_fn(|context| {
        let mut success = None;
        attempts.retain_mut(|attempt| {
            if success.is_some() {
                return true;
            }
            match attempt.as_mut().poll(context) {
                Poll::Pending => true,
                Poll::Ready(Ok(value)) => {
                    success = Some(value);
                    false
                }
                Poll::Ready(Err(error)) => {
                    last = error;
                    false
                }
            }
        });
        match (success, attempts.is_empty()) {
            (Some(value), _) => Poll::Ready(Ok(value)),
            (None, true) => Poll::Ready(Err(last.clone())),
            (None, false) => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::store::StoreErrorKind;

    fn down() -> Failure {
        Failure::new(StoreErrorKind::Down, "down")
    }

    #[tokio::test]
    async fn who_waits_for_an_attempt_gets_its_result_and_the_next_makes_another() {
        let attempts = Attempts::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        let (tell, told) = oneshot::channel();
        let made = Cell::new(0);
        let first = attempts.make(
            async {
                made.set(made.get() + 1);
                told.await.unwrap()
            },
            deadline,
        );
        let count = async || {
            made.set(made.get() + 1);
            Ok(())
        };
        let second = attempts.make(count(), deadline);
        let release = async { tell.send(Err(down())) };
        let (first, second, _) = tokio::join!(first, second, release);
        assert_eq!((first, second, made.get()), (Err(down()), Err(down()), 1));
        assert_eq!(
            (attempts.make(count(), deadline).await, made.get()),
            (Ok(()), 2)
        );
    }

    #[tokio::test]
    async fn an_attempt_that_is_given_up_is_made_by_who_waited() {
        let attempts = Attempts::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        {
            let given_up = attempts.make(std::future::pending(), deadline);
            assert!(timeout_at(Instant::now(), given_up).await.is_err());
        }
        let made = attempts.make(async { Err(down()) }, deadline).await;
        assert_eq!(made, Err(down()));
    }

    #[tokio::test]
    async fn the_first_success_counts_and_a_failure_only_where_there_is_none() {
        let after = |turns: u32, result: Result<u32, Failure>| async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            result
        };
        let nobody = || Failure::new(StoreErrorKind::Refused, "nobody");
        let attempts = vec![after(0, Err(down())), after(9, Ok(9)), after(2, Ok(2))];
        assert_eq!(first_of(attempts, nobody()).await.unwrap(), 2);
        let attempts = vec![after(3, Err(down())), after(0, Err(Failure::timeout()))];
        let kind = first_of(attempts, nobody()).await.unwrap_err().error.kind;
        assert_eq!(kind, StoreErrorKind::Down);
        let none: Vec<std::future::Ready<Result<(), Failure>>> = Vec::new();
        let kind = first_of(none, nobody()).await.unwrap_err().error.kind;
        assert_eq!(kind, StoreErrorKind::Refused);
    }
}
