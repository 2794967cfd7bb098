//! What a worker tells about itself, readable from any thread.

use std::sync::Arc;

use weir_engine::counters::{Counter, WorkerCounters};

/// Upper bounds (inclusive) of the burst-size histogram.
pub const BURST_BUCKETS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// How many bounds the histogram of turns has: see [`turn_bound`].
pub const TURN_BUCKETS: usize = 14;
/// The first bound, as a power of two in nanoseconds.
const TURN_BOUND_LOG2: u32 = 10;

/// The upper bound, in nanoseconds and inclusive, of a bucket of the histogram of turns: 1.024 µs
/// and its doublings, up to 8.4 ms.
pub const fn turn_bound(bucket: usize) -> u64 {
    1 << (TURN_BOUND_LOG2 as usize + bucket)
}

/// Counters of the packet path and the health of the loop itself.
#[derive(Debug)]
pub struct WorkerStats {
    /// Counters that the engine and the worker share.
    pub counters: Arc<WorkerCounters>,
    /// Nanoseconds since start at the beginning of the last turn: control's view of a stall.
    pub heartbeat: Counter,
    /// Generation of the tables in use.
    pub generation: Counter,
    /// Nanoseconds spent in turns that moved frames.
    pub busy: Counter,
    /// Nanoseconds since the worker started.
    pub elapsed: Counter,
    /// Bursts by size: [`BURST_BUCKETS`].
    pub bursts: [Counter; BURST_BUCKETS.len()],
    /// Turns by their duration; the last ones are beyond all bounds: see [`turn_bound`].
    pub turns: [Counter; TURN_BUCKETS + 1],
    /// Nanoseconds in all turns, empty ones too.
    pub turning: Counter,
    /// Naps taken.
    pub naps: Counter,
}

impl WorkerStats {
    /// All zero.
    pub fn new() -> Self {
        Self {
            counters: Arc::new(WorkerCounters::new()),
            heartbeat: Counter::default(),
            generation: Counter::default(),
            busy: Counter::default(),
            elapsed: Counter::default(),
            bursts: core::array::from_fn(|_| Counter::default()),
            turns: core::array::from_fn(|_| Counter::default()),
            turning: Counter::default(),
            naps: Counter::default(),
        }
    }

    /// Counts one turn.
    #[inline]
    pub(crate) fn count_turn(&self, nanos: u64) {
        let doublings = u64::BITS - (nanos.saturating_sub(1) >> TURN_BOUND_LOG2).leading_zeros();
        self.turns[TURN_BUCKETS.min(doublings as usize)].add(1);
        self.turning.add(nanos);
    }

    /// Counts one burst of `frames` (1 to 64).
    #[inline]
    pub(crate) fn count_burst(&self, frames: usize) {
        let bucket = frames.next_power_of_two().trailing_zeros() as usize;
        if let Some(counter) = self.bursts.get(bucket) {
            counter.add(1);
        }
    }
}

impl Default for WorkerStats {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_lands_in_the_bucket_whose_bound_it_does_not_exceed() {
        for frames in 1..=64_usize {
            let stats = WorkerStats::new();
            stats.count_burst(frames);
            let at = stats
                .bursts
                .iter()
                .position(|c| c.value() == 1)
                .expect("counted");
            assert!(BURST_BUCKETS[at] >= frames as u64);
            assert!(at == 0 || BURST_BUCKETS[at - 1] < frames as u64);
        }
    }

    #[test]
    fn a_turn_lands_in_the_bucket_whose_bound_it_does_not_exceed() {
        let durations =
            (0..40).flat_map(|power| [(1_u64 << power) - 1, 1 << power, (1 << power) + 1]);
        for nanos in durations.chain([0, u64::MAX]) {
            let stats = WorkerStats::new();
            stats.count_turn(nanos);
            let counted = |count: &Counter| count.value() == 1;
            let at = stats.turns.iter().position(counted).expect("counted");
            assert!(at == TURN_BUCKETS || nanos <= turn_bound(at), "{nanos}");
            assert!(at == 0 || nanos > turn_bound(at - 1), "{nanos}");
            assert_eq!(stats.turning.value(), nanos);
        }
    }
}
