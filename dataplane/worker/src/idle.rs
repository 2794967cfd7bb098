//! What a worker does when there is nothing to do.
//!
//! DPDK's virtual devices have no usable receive interrupt, so `adaptive` backs off: it polls for
//! a while, then naps for doubling times. One frame ends the back-off, so there is no nap under
//! load. Naps are honest only with a timer slack of 1 µs (set when the worker starts).

use core::time::Duration;

/// Empty turns before the first nap. A turn is about a microsecond.
const TURNS_BEFORE_NAP: u32 = 64;
/// The first nap.
const NAP_MIN: Duration = Duration::from_micros(10);
/// The longest nap: the price is at most this much latency for the first frame after a silence.
const NAP_MAX: Duration = Duration::from_micros(500);

/// How a worker idles (`runtime.idle`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Polls without pause.
    #[default]
    Poll,
    /// Naps when nothing has come for a while.
    Adaptive,
}

/// Back-off state.
#[derive(Debug)]
pub(crate) struct Backoff {
    idle: Idle,
    empty_turns: u32,
    nap: Duration,
}

impl Backoff {
    pub(crate) fn new(idle: Idle) -> Self {
        Self {
            idle,
            empty_turns: 0,
            nap: NAP_MIN,
        }
    }

    /// Notes how many frames a turn moved; the nap to take before the next turn, if any.
    #[inline]
    pub(crate) fn after_turn(&mut self, moved: usize) -> Option<Duration> {
        if moved > 0 || self.idle == Idle::Poll {
            self.empty_turns = 0;
            self.nap = NAP_MIN;
            return None;
        }
        self.empty_turns = self.empty_turns.saturating_add(1);
        if self.empty_turns < TURNS_BEFORE_NAP {
            return None;
        }
        let nap = self.nap;
        self.nap = (nap * 2).min(NAP_MAX);
        Some(nap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_never_naps() {
        let mut backoff = Backoff::new(Idle::Poll);
        assert!((0..10_000).all(|_| backoff.after_turn(0).is_none()));
    }

    #[test]
    fn naps_double_up_to_the_limit_and_a_frame_ends_them() {
        let mut backoff = Backoff::new(Idle::Adaptive);
        let naps: Vec<_> = (0..80).filter_map(|_| backoff.after_turn(0)).collect();
        assert_eq!(naps[0], NAP_MIN);
        assert_eq!(naps[1], NAP_MIN * 2);
        assert_eq!(naps[naps.len() - 1], NAP_MAX);
        assert_eq!(backoff.after_turn(1), None);
        assert_eq!(backoff.after_turn(0), None, "polls again before it naps");
    }
}
