//! Durations by size, for metrics: fixed buckets, a few hundred octets.

use std::time::Duration;

/// Upper bounds of the buckets, in milliseconds; a last one has none.
pub const BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000];

/// Durations by size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS_MS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// Adds one.
    pub fn add(&mut self, duration: Duration) {
        let fits = |bound: &u64| duration <= Duration::from_millis(*bound);
        let bucket = BUCKETS_MS.iter().position(fits).unwrap_or(BUCKETS_MS.len());
        self.buckets[bucket] += 1;
        self.sum += duration;
    }

    /// Counts by bucket, each duration in one bucket only; the last is of those beyond all bounds.
    pub fn buckets(&self) -> &[u64; BUCKETS_MS.len() + 1] {
        &self.buckets
    }

    /// All together.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_the_first_bucket_that_it_fits() {
        let mut histogram = Histogram::default();
        for ms in [0, 1, 3, 5000, 5001, 60_000] {
            histogram.add(Duration::from_millis(ms));
        }
        histogram.add(Duration::from_micros(1001));
        assert_eq!(
            *histogram.buckets(),
            [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]
        );
        assert_eq!(histogram.count(), 7);
    }
}
