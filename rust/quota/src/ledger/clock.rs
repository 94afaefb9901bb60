//! The store's time, known from its answers.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// What time it is in the store: what it said last, and how long ago that was by a clock that nobody can set.
#[derive(Debug)]
pub(super) struct Clock {
    told: Cell<(u64, Instant)>,
    guessed: Cell<bool>,
}

impl Clock {
    /// This machine's time, until the store has told its own.
    pub(super) fn new() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Self {
            told: Cell::new((now_ms, Instant::now())),
            guessed: Cell::new(true),
        }
    }

    /// Takes the store's word for the time, also where it goes back.
    pub(super) fn learn(&self, now_ms: u64) {
        self.told.set((now_ms, Instant::now()));
        self.guessed.set(false);
    }

    /// Whether the store has not told its time yet.
    pub(super) fn is_guess(&self) -> bool {
        self.guessed.get()
    }

    /// The store's time, in Unix milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        let (told_ms, at) = self.told.get();
        let passed_ms = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        told_ms.saturating_add(passed_ms)
    }

    /// The same in whole seconds.
    pub(super) fn now_s(&self) -> i64 {
        i64::try_from(self.now_ms() / 1000).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn goes_on_from_what_the_store_said_and_follows_it_back() {
        let clock = Clock::new();
        assert!(clock.is_guess() && clock.now_ms() > 1_700_000_000_000);
        clock.learn(5_000);
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!((clock.now_ms(), clock.now_s()), (6_500, 6));
        clock.learn(1_000);
        assert_eq!((clock.now_ms(), clock.is_guess()), (1_000, false));
    }
}
