//! How long turns of the control thread take: the promise is that none exceeds a millisecond.
//!
//! Measured twice, because a busy machine may take the CPU away in the middle of a turn: by the
//! clock on the wall, which is what VRRP sees, and by the thread's own CPU time, which is what Weir
//! did.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Upper bounds of the histogram's buckets, in microseconds.
pub const TURN_BUCKETS_US: [u64; 10] =
    [25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000];

/// Turns by how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// By the first of [`TURN_BUCKETS_US`] that is not less; longer ones in the last.
    pub buckets: [u64; TURN_BUCKETS_US.len() + 1],
    /// All together.
    pub total: Duration,
    /// The longest.
    pub worst: Duration,
}

impl Turns {
    fn record(&mut self, took: Duration) {
        let fits = |bound: &u64| took <= Duration::from_micros(*bound);
        let bucket = TURN_BUCKETS_US.iter().position(fits);
        self.buckets[bucket.unwrap_or(TURN_BUCKETS_US.len())] += 1;
        self.total += took;
        self.worst = self.worst.max(took);
    }
}

/// Turns since start, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnTimes {
    /// By the clock on the wall.
    pub elapsed: Turns,
    /// By the CPU time of the control thread.
    pub cpu: Turns,
}

impl TurnTimes {
    /// A turn that took `elapsed`, and began at `cpu_began` of [`cpu_time`].
    pub(super) fn record(&mut self, elapsed: Duration, cpu_began: Duration) {
        self.elapsed.record(elapsed);
        self.cpu.record(cpu_time().saturating_sub(cpu_began));
    }
}

/// CPU time of this thread since its start.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_by_the_bound_that_they_keep() {
        let mut turns = Turns::default();
        for micros in [0, 25, 26, 1_000, 1_001, 9_999_999] {
            turns.record(Duration::from_micros(micros));
        }
        assert_eq!(turns.buckets, [2, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1]);
        assert_eq!(turns.worst, Duration::from_micros(9_999_999));
        assert_eq!(turns.total, Duration::from_micros(10_002_051));
    }

    #[test]
    fn cpu_time_runs_while_the_thread_does_and_no_faster() {
        let (began, wall) = (cpu_time(), tokio::time::Instant::now());
        let mut sum = 0_u64;
        while cpu_time() - began < Duration::from_millis(2) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0 && wall.elapsed() >= Duration::from_millis(1));
    }
}
