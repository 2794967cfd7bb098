//! The time stamp counter as a clock: a few nanoseconds per read, no syscall, no vDSO.
//!
//! All threads must share one [`Tsc`]: two calibrations differ by parts per million, which adds
//! up to milliseconds per hour.

use rustix::time::{ClockId, clock_gettime};

/// How long to measure. The two ends are known to about 50 ns, which makes the rate good to
/// 2 parts per million.
const CALIBRATION_NANOS: u64 = 50_000_000;

/// A clock that counts nanoseconds since its calibration.
#[derive(Clone, Copy, Debug)]
pub struct Tsc {
    start: u64,
    /// Nanoseconds per tick as 32.32 fixed point.
    nanos_per_tick: u64,
}

impl Tsc {
    /// Measures the counter's rate against the kernel's monotonic clock; takes 50 ms.
    ///
    /// Where the counter is not invariant (its rate follows the CPU's), the monotonic clock is
    /// used itself, at its greater cost.
    #[must_use]
    pub fn calibrate() -> Self {
        if !counter_is_invariant() {
            return Self {
                start: monotonic_nanos(),
                nanos_per_tick: 0,
            };
        }
        let (first_ticks, first_nanos) = paired_reading();
        let end = first_nanos + CALIBRATION_NANOS;
        while monotonic_nanos() < end {
            std::hint::spin_loop();
        }
        let (last_ticks, last_nanos) = paired_reading();
        let ticks = last_ticks.wrapping_sub(first_ticks).max(1);
        let nanos = last_nanos - first_nanos;
        // 50 ms is below 2^26 ns: the shift cannot overflow.
        Self {
            start: first_ticks,
            nanos_per_tick: (nanos << 32) / ticks,
        }
    }

    /// Nanoseconds since calibration. Read it once per burst. Wraps after 584 years.
    #[inline(always)]
    #[must_use]
    pub fn nanos(&self) -> u64 {
        if self.nanos_per_tick == 0 {
            return monotonic_nanos().wrapping_sub(self.start);
        }
        let ticks = read_counter().wrapping_sub(self.start);
        let nanos = (u128::from(ticks) * u128::from(self.nanos_per_tick)) >> 32;
        // Lossy only after 584 years.
        #[expect(clippy::cast_possible_truncation, reason = "wraps, as documented")]
        {
            nanos as u64
        }
    }

    /// Ticks per second, or `None` where the counter is not used.
    #[must_use]
    pub fn hertz(&self) -> Option<u64> {
        let nanos_per_tick = u128::from(self.nanos_per_tick);
        let hertz = (1_000_000_000_u128 << 32).checked_div(nanos_per_tick)?;
        u64::try_from(hertz).ok()
    }
}

fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The monotonic clock starts at zero: neither part is negative.
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// The counter and the clock at one moment: of several tries, the one that took least, so that
/// an interruption between the reads does not count.
fn paired_reading() -> (u64, u64) {
    let tries = (0..32).map(|_| {
        let before = read_counter();
        let nanos = monotonic_nanos();
        let after = read_counter();
        let span = after.wrapping_sub(before);
        (span, (before.wrapping_add(span / 2), nanos))
    });
    tries
        .min_by_key(|&(span, _)| span)
        .map_or((0, 0), |(_, pair)| pair)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn read_counter() -> u64 {
    // SAFETY: RDTSC is in every x86-64 CPU, and Linux does not forbid it to processes unless
    // they ask for that by prctl(PR_SET_TSC).
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn read_counter() -> u64 {
    // SAFETY: takes nothing, and reads the counter that DPDK uses on this architecture.
    unsafe { dpdk_sys::weir_rdtsc() }
}

/// CPUID 8000_0007h EDX bit 8: the rate does not follow the CPU's, also in deep sleep.
#[cfg(target_arch = "x86_64")]
fn counter_is_invariant() -> bool {
    use core::arch::x86_64::__cpuid;
    __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & 1 << 8 != 0
}

/// Other architectures' counters have a fixed rate by definition.
#[cfg(not(target_arch = "x86_64"))]
fn counter_is_invariant() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_keeps_pace_with_the_kernel() {
        let tsc = Tsc::calibrate();
        let (kernel, ours) = (monotonic_nanos(), tsc.nanos());
        while monotonic_nanos() < kernel + 100_000_000 {
            std::hint::spin_loop();
        }
        // A preemption between the paired reads would look like drift: take the best of a few.
        let drift = (0..20)
            .map(|_| (monotonic_nanos() - kernel).abs_diff(tsc.nanos() - ours))
            .min()
            .unwrap_or(u64::MAX);
        assert!(
            drift < 100_000,
            "{drift} ns in 100 ms, over 1000 parts per million"
        );
    }

    #[test]
    fn the_clock_never_runs_backwards() {
        let tsc = Tsc::calibrate();
        let mut last = tsc.nanos();
        for _ in 0..100_000 {
            let now = tsc.nanos();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn a_clock_without_the_counter_is_the_kernels() {
        let clock = Tsc {
            start: monotonic_nanos(),
            nanos_per_tick: 0,
        };
        assert_eq!(clock.hertz(), None);
        let first = clock.nanos();
        assert!(first < 1_000_000_000 && clock.nanos() >= first);
    }
}
