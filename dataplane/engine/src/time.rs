//! Time as the engine sees it: an argument.
//!
//! The worker reads its clock once per burst and passes [`Time`] in; nothing here reads a clock.
//! Tables hold [`Tick`], a coarse 32-bit stamp, because four octets per flow are what a cache line
//! has left.

use core::ops::{Add, Sub};
use core::time::Duration;

/// Nanoseconds on the monotonic clock since the process started. Wraps after 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Time(u64);

impl Time {
    /// The start of the process.
    pub const ZERO: Self = Self(0);

    /// A time so many nanoseconds after the start.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The coarse stamp of this time, rounded down.
    #[inline]
    pub const fn tick(self) -> Tick {
        #[expect(clippy::cast_possible_truncation, reason = "a tick is defined to wrap")]
        Tick((self.0 >> TICK_SHIFT) as u32)
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at the end of time.
    #[inline]
    fn add(self, after: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub for Time {
    type Output = Duration;

    /// As [`Time::since`].
    #[inline]
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// A tick is 2^24 ns = 16.8 ms: fine enough for time-outs of seconds, cheap to make from a `Time`.
const TICK_SHIFT: u32 = 24;

/// A stamp that wraps after 2^32 ticks = 2.28 years.
///
/// Compared by wrapping distance, so stamps may lie up to 2^31 ticks = 1.14 years apart; the
/// longest time-out is bounded by [`Ticks::MAX`], and expired entries are swept within seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Tick(u32);

impl Tick {
    /// Whether this stamp lies before `now`; a stamp is not before itself.
    #[inline]
    pub const fn is_before(self, now: Self) -> bool {
        now.0.wrapping_sub(self.0).cast_signed() > 0
    }

    /// Ticks from `earlier` to this stamp; zero if `earlier` lies ahead.
    #[inline]
    pub const fn since(self, earlier: Self) -> Ticks {
        let ahead = self.0.wrapping_sub(earlier.0);
        Ticks(if ahead < 1 << 31 { ahead } else { 0 })
    }
}

impl Add<Ticks> for Tick {
    type Output = Self;

    #[inline]
    fn add(self, after: Ticks) -> Self {
        Self(self.0.wrapping_add(after.0))
    }
}

/// A span of ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Ticks(u32);

impl Ticks {
    /// The longest span, 2^30 ticks = 208 days: half of what stamps can tell apart.
    pub const MAX: Self = Self(1 << 30);

    /// A span of at least `duration`, at most [`Ticks::MAX`].
    pub const fn from_duration(duration: Duration) -> Self {
        let ticks = duration.as_nanos().div_ceil(1 << TICK_SHIFT);
        if ticks >= Self::MAX.0 as u128 {
            return Self::MAX;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most Ticks::MAX, as just checked"
        )]
        Self(ticks as u32)
    }

    /// As a `Duration`.
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos((self.0 as u64) << TICK_SHIFT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_never_shorter_than_the_duration_it_was_made_from() {
        for nanos in [0, 1, (1 << 24) - 1, 1 << 24, (1 << 24) + 1, 900_000_000_000] {
            let span = Ticks::from_duration(Duration::from_nanos(nanos)).as_duration();
            assert!(span >= Duration::from_nanos(nanos));
            assert!(span < Duration::from_nanos(nanos + (1 << 24)));
        }
        assert_eq!(Ticks::from_duration(Duration::MAX), Ticks::MAX);
    }

    #[test]
    fn stamps_compare_across_the_wrap() {
        let before = Tick(u32::MAX - 1);
        let after = before + Ticks(5);
        assert_eq!(after, Tick(3));
        assert!(before.is_before(after) && !after.is_before(before) && !after.is_before(after));
        assert_eq!(after.since(before), Ticks(5));
        assert_eq!(before.since(after), Ticks(0));
    }

    #[test]
    fn time_saturates_instead_of_wrapping() {
        let late = Time::from_nanos(u64::MAX - 1);
        assert_eq!(late + Duration::MAX, Time::from_nanos(u64::MAX));
        assert_eq!(Time::ZERO - late, Duration::ZERO);
        assert_eq!(
            Time::from_nanos(7) - Time::from_nanos(4),
            Duration::from_nanos(3)
        );
    }
}
