//! Handles to series: cheap to clone, `Send`, `Sync`, and good for as long as they are held.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::map::Map;

/// The cells of one series, and the map that holds them.
#[derive(Debug, Clone)]
pub(crate) struct Cells {
    pub(crate) map: Arc<Map>,
    pub(crate) first: usize,
}

impl Cells {
    fn at(&self, offset: usize) -> &AtomicU64 {
        &self.map.words()[self.first + offset]
    }
}

/// A count that only grows.
#[derive(Debug, Clone)]
pub struct Counter(pub(crate) Cells);

impl Counter {
    /// Counts `amount` more.
    pub fn add(&self, amount: u64) {
        self.0.at(0).fetch_add(amount, Ordering::Relaxed);
    }
}

/// A level that goes up and down, and is forgotten when the worker dies.
#[derive(Debug, Clone)]
pub struct Gauge(pub(crate) Cells);

impl Gauge {
    /// Raises the level by `amount`, or lowers it by a negative one.
    pub fn add(&self, amount: i64) {
        self.0
            .at(0)
            .fetch_add(amount.cast_unsigned(), Ordering::Relaxed);
    }

    /// Replaces this worker's level.
    pub fn set(&self, level: i64) {
        self.0.at(0).store(level.cast_unsigned(), Ordering::Relaxed);
    }
}

/// A value of which the newest over all workers counts.
#[derive(Debug, Clone)]
pub struct Latest(pub(crate) Cells);

impl Latest {
    /// Sets the value as of `at_ms` (milliseconds since the epoch); an older one than known is ignored.
    pub fn set(&self, value: f64, at_ms: u64) {
        self.store(value, at_ms, 0);
    }

    /// As [`Self::set`], and the series is not rendered from `expires_ms` on.
    pub fn set_until(&self, value: f64, at_ms: u64, expires_ms: u64) {
        self.store(value, at_ms, expires_ms.max(1));
    }

    /// Takes a short lock among the threads of this process. A reader may see the new value with the
    /// old stamp for a moment, never an old value with the new stamp: the stamp is written last and
    /// read first.
    fn store(&self, value: f64, at_ms: u64, expires_ms: u64) {
        let _setting = self
            .0
            .map
            .setting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A stamp of 0 means never set.
        let stamp = at_ms.max(1);
        if stamp < self.0.at(2).load(Ordering::Relaxed) {
            return;
        }
        self.0.at(0).store(value.to_bits(), Ordering::Relaxed);
        self.0.at(1).store(expires_ms, Ordering::Relaxed);
        self.0.at(2).store(stamp, Ordering::Release);
    }
}

/// Durations in fixed buckets.
#[derive(Debug, Clone)]
pub struct Histogram {
    pub(crate) cells: Cells,
    pub(crate) bounds: &'static [f64],
}

impl Histogram {
    /// Counts one duration; what is negative or not a number is ignored.
    pub fn observe(&self, seconds: f64) {
        let Ok(duration) = Duration::try_from_secs_f64(seconds) else {
            return;
        };
        let Ok(micros) = u64::try_from((duration.as_nanos() + 500) / 1000) else {
            return;
        };
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.cells.at(bucket).fetch_add(1, Ordering::Relaxed);
        self.cells
            .at(self.bounds.len() + 1)
            .fetch_add(micros, Ordering::Relaxed);
    }
}
