//! How often a duration occurred, to within 3 percent: written by one thread, read by any.

use weir_engine::counters::Counter;

/// Buckets per doubling, as a power of two.
const STEPS_LOG2: u32 = 5;
const STEPS: u64 = 1 << STEPS_LOG2;
/// Up to 2^37 ns: two minutes.
const BUCKETS: usize = (37 - STEPS_LOG2 as usize + 1) << STEPS_LOG2;

/// Counts of durations in nanoseconds.
#[derive(Debug)]
pub(crate) struct Histogram(Box<[Counter]>);

impl Default for Histogram {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| Counter::default()).collect())
    }
}

impl Histogram {
    /// Counts one; only one thread may.
    #[inline]
    pub(crate) fn add(&self, nanos: u64) {
        self.0[bucket(nanos)].add(1);
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> Counts {
        Counts(self.0.iter().map(Counter::value).collect())
    }
}

/// Counts of a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Vec<u64>);

impl Counts {
    /// What was counted since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let pairs = self.0.iter().zip(&earlier.0);
        Self(pairs.map(|(now, then)| now - then).collect())
    }

    /// How many there are.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The duration in nanoseconds that this share of the counts does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let wanted = self.total() as f64 * share;
        let mut seen = 0;
        for (index, count) in self.0.iter().enumerate() {
            seen += count;
            if seen > 0 && seen as f64 >= wanted {
                return upper_bound(index) as f64;
            }
        }
        0.0
    }

    /// The longest, in nanoseconds.
    pub(crate) fn longest(&self) -> f64 {
        let last = self.0.iter().rposition(|&count| count > 0);
        last.map_or(0.0, |index| upper_bound(index) as f64)
    }
}

/// The bucket of a duration: by its highest bit and the bits that follow.
#[inline]
fn bucket(nanos: u64) -> usize {
    let index = if nanos < STEPS {
        nanos
    } else {
        let shift = nanos.ilog2() - STEPS_LOG2;
        ((u64::from(shift) + 1) << STEPS_LOG2) + (nanos >> shift) - STEPS
    };
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The longest duration of a bucket.
fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let shift = (index >> STEPS_LOG2) - 1;
    let first = ((index & (STEPS - 1)) + STEPS) << shift;
    first + (1 << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_in_a_bucket_that_ends_at_most_3_percent_above_it() {
        for nanos in (0..5_000).chain((13..36).map(|bits| (1 << bits) + 12_345)) {
            let bound = upper_bound(bucket(nanos));
            assert!(
                nanos <= bound && bound <= nanos + nanos / 32,
                "{nanos} {bound}"
            );
        }
    }

    #[test]
    fn quantiles_are_of_what_was_counted_since() {
        let histogram = Histogram::default();
        histogram.add(5_000_000);
        let before = histogram.counts();
        for nanos in 0..100 {
            histogram.add(nanos);
        }
        let counts = histogram.counts().since(&before);
        assert_eq!(counts.total(), 100);
        assert!((counts.quantile(0.5) - 49.0).abs() <= 2.0);
        assert!((counts.longest() - 99.0).abs() <= 3.0);
    }
}
