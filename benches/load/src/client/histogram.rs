//! Times of any length, kept to a half per cent in fixed memory.

/// Steps between two powers of two.
const STEPS_BITS: u32 = 8;
const STEPS: u64 = 1 << STEPS_BITS;
const BUCKETS: usize = ((64 - STEPS_BITS as usize) + 1) << STEPS_BITS;

/// Counts of nanoseconds, by buckets that grow with the value.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts one time.
    pub(crate) fn record(&mut self, value_ns: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value_ns)) {
            *count += 1;
        }
        self.total += 1;
    }

    /// The time in milliseconds that `share` (0 to 1) of all are not above; `None` when there are none.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let wanted = (share * self.total as f64).max(1.0);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen as f64 >= wanted
        })?;
        Some(middle_ns(bucket as u64) / 1e6)
    }
}

/// Values below `STEPS` have a bucket each; above, the leading bits choose.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(STEPS_BITS + 1);
    let index = u64::from(shift) * STEPS + (value >> shift);
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn middle_ns(bucket: u64) -> f64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    let lowest = (bucket - shift * STEPS) << shift;
    lowest as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_kept_to_half_a_per_cent() {
        let mut value = 1_u64;
        while value < u64::MAX / 3 {
            let kept = middle_ns(bucket(value) as u64);
            assert!(
                (kept / value as f64 - 1.0).abs() < 0.005,
                "{value} became {kept}"
            );
            value = value * 3 / 2 + 1;
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_are_those_of_the_times_counted() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_ms(0.5), None);
        (1..=1000).for_each(|ms| histogram.record(ms * 1_000_000));
        for (share, ms) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = histogram.quantile_ms(share).unwrap();
            assert!((found / ms - 1.0).abs() < 0.005, "{share}: {found}");
        }
    }
}
