//! The forwarding core's pulse: how fast the core itself is, from moment to moment.
//!
//! A virtual machine's core may run at a tenth of its speed for some hundredths of a second, and at
//! its own again: no gap shows that, for it never stands still. A chain of multiplications, each of
//! which needs the one before, takes the same cycles at all times; so the core beats it every now
//! and then between two turns, and its nanoseconds tell how fast the core is. What falls into
//! milliseconds around a slow beat is the machine's, and can be told apart.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_dpdk::Tsc;

/// Nanoseconds between two beats, or a turn.
const BEAT: u64 = 20_000;
/// Multiplications of a beat: some 100 ns.
const LINKS: u64 = 64;
/// A beat is slow if it takes so many times as long as the quickest.
const SLOW: u64 = 2;
/// Nanoseconds of a slot.
const SLOT: u64 = 1_000_000;
/// Slots that are remembered: a second.
const SLOTS: usize = 1 << 10;
/// Slots around a slow one that it disturbs: a full ring is served within two.
const AFTER: u64 = 2;
const BEFORE: u64 = 1;

/// In which milliseconds the core was slow: written by it, read by any.
#[derive(Debug)]
pub(crate) struct Pulse(Box<[AtomicU64]>);

impl Default for Pulse {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(u64::MAX)).collect())
    }
}

impl Pulse {
    fn of(&self, slot: u64) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(slot).ok()? % SLOTS)
    }

    /// Notes that the core was slow at a time.
    fn note(&self, now: u64) {
        let slot = now / SLOT;
        if let Some(place) = self.of(slot) {
            place.store(slot, Ordering::Release);
        }
    }

    /// Whether a slot, which was over a while ago, and those around it saw no slow beat.
    fn is_calm(&self, slot: u64) -> bool {
        let is_slow = |at: u64| self.of(at).is_some_and(|p| p.load(Ordering::Acquire) == at);
        !(slot.saturating_sub(AFTER)..=slot + BEFORE).any(is_slow)
    }
}

/// What beats: the forwarding core's.
#[derive(Debug)]
pub(crate) struct Heart {
    clock: Tsc,
    pulse: Arc<Pulse>,
    quickest: u64,
    last: u64,
    /// Nanoseconds so far between two beats of which the second was slow.
    slow: u64,
}

impl Heart {
    pub(crate) fn new(clock: Tsc, pulse: Arc<Pulse>) -> Self {
        let last = clock.nanos();
        let quickest = (0..1000).map(|_| chain(clock)).min().unwrap_or(u64::MAX);
        Self {
            clock,
            pulse,
            quickest,
            last,
            slow: 0,
        }
    }

    /// Beats if it is time to.
    #[inline]
    pub(crate) fn beat(&mut self) {
        if self.clock.nanos() >= self.last + BEAT {
            self.beat_now();
        }
    }

    #[inline(never)]
    fn beat_now(&mut self) {
        let taken = chain(self.clock);
        let now = self.clock.nanos();
        self.quickest = self.quickest.min(taken);
        if taken > SLOW * self.quickest {
            self.pulse.note(self.last);
            self.pulse.note(now);
            self.slow += now - self.last;
        }
        self.last = now;
    }

    /// Nanoseconds of slowness so far.
    pub(crate) const fn slow(&self) -> u64 {
        self.slow
    }

    /// Begins anew after a rest.
    pub(crate) fn rest(&mut self) {
        self.last = self.clock.nanos();
    }
}

/// The nanoseconds that a chain of multiplications takes.
#[inline(never)]
fn chain(clock: Tsc) -> u64 {
    let before = clock.nanos();
    let mut link = black_box(before | 1);
    for _ in 0..LINKS {
        // The compiler cannot take turned products together.
        link = link.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7);
    }
    black_box(link);
    clock.nanos() - before
}

/// Values of the last milliseconds, kept until it is known whether the core was slow then.
#[derive(Debug)]
pub(crate) struct Settling {
    pulse: Arc<Pulse>,
    slots: VecDeque<(u64, Vec<u64>)>,
    unused: Vec<Vec<u64>>,
}

impl Settling {
    pub(crate) const fn new(pulse: Arc<Pulse>) -> Self {
        Self {
            pulse,
            slots: VecDeque::new(),
            unused: Vec::new(),
        }
    }

    /// Adds a value, and passes older ones to `calm` if the core was not slow when they came.
    #[inline]
    pub(crate) fn add(&mut self, now: u64, value: u64, calm: impl FnMut(u64)) {
        let slot = now / SLOT;
        match self.slots.back_mut() {
            Some((newest, values)) if *newest == slot => values.push(value),
            Some(_) | None => self.turn_over(slot, value, calm),
        }
    }

    #[inline(never)]
    fn turn_over(&mut self, slot: u64, value: u64, mut calm: impl FnMut(u64)) {
        self.settle(slot, &mut calm);
        let mut values = self.unused.pop().unwrap_or_default();
        values.push(value);
        self.slots.push_back((slot, values));
    }

    /// Passes older values to `calm` where none is added.
    #[inline]
    pub(crate) fn pass(&mut self, now: u64, mut calm: impl FnMut(u64)) {
        if !self.slots.is_empty() {
            self.settle(now / SLOT, &mut calm);
        }
    }

    /// Passes on what is old enough at a slot.
    fn settle(&mut self, now: u64, calm: &mut impl FnMut(u64)) {
        while let Some((slot, _)) = self.slots.front()
            && slot + BEFORE < now
            && let Some((slot, mut values)) = self.slots.pop_front()
        {
            if self.pulse.is_calm(slot) {
                values.iter().copied().for_each(&mut *calm);
            }
            values.clear();
            self.unused.push(values);
        }
    }

    /// Passes on all that is left; the core has beaten since.
    pub(crate) fn finish(&mut self, mut calm: impl FnMut(u64)) {
        self.settle(u64::MAX, &mut calm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_around_a_slow_beat_are_left_out() {
        let pulse = Arc::new(Pulse::default());
        let mut settling = Settling::new(Arc::clone(&pulse));
        let mut calm = Vec::new();
        for slot in 5_000..5_010 {
            settling.add(slot * SLOT + 7, slot, |value| calm.push(value));
            if slot == 5_004 {
                pulse.note(slot * SLOT + 9);
            }
        }
        settling.finish(|value| calm.push(value));
        assert_eq!(calm, [5_000, 5_001, 5_002, 5_007, 5_008, 5_009]);
    }

    #[test]
    fn a_slot_is_not_taken_for_one_a_second_before() {
        let pulse = Pulse::default();
        pulse.note(10 * SLOT);
        assert!(!pulse.is_calm(10));
        assert!(pulse.is_calm(10 + SLOTS as u64));
    }

    #[test]
    fn a_heart_beats_no_oftener_than_it_should() {
        let clock = Tsc::calibrate();
        let mut heart = Heart::new(clock, Arc::default());
        let (begin, mut beats) = (clock.nanos(), 0);
        while clock.nanos() < begin + 10 * BEAT {
            let last = heart.last;
            heart.beat();
            beats += usize::from(heart.last != last);
        }
        assert!((1..=10).contains(&beats), "{beats}");
    }
}
