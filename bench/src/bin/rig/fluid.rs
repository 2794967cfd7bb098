//! The ideal worker: what a worker that does nothing but serve would lose and delay, were it given
//! a machine's gaps. Frames are a fluid: they flow into a ring at a rate, and out of it at the
//! worker's, except in gaps; what finds the ring full is lost.
//!
//! What a director loses beyond that is its own: turns that do something else, bursts that come
//! together.

use serde_json::{Value, json};

use crate::machine::Trace;

/// Frames that a wire holds.
const RING: f64 = 1024.0;

/// What is offered to the ideal worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Frames per nanosecond.
    pub(crate) rate: f64,
    /// Nanoseconds that the worker takes for a frame, gaps not included.
    pub(crate) cost: f64,
}

/// What the ideal worker made of an offer.
#[derive(Clone, Debug)]
pub(crate) struct Ideal {
    /// The share of frames that were lost.
    pub(crate) loss: f64,
    /// How long the others waited.
    waits: Vec<Wait>,
}

/// So many frames, of which the first waited this long and the last that long; evenly between.
#[derive(Clone, Copy, Debug)]
struct Wait {
    frames: f64,
    first: f64,
    last: f64,
}

/// A stretch of time in which frames pass a point evenly: their numbers, and when they pass.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    frames: (f64, f64),
    times: (f64, f64),
}

impl Stretch {
    /// When a frame of the stretch passes.
    fn time_of(&self, frame: f64) -> f64 {
        let share = (frame - self.frames.0) / (self.frames.1 - self.frames.0);
        self.times.0 + share * (self.times.1 - self.times.0)
    }
}

/// Ring and worker at a time, and who came and went so far.
#[derive(Debug, Default)]
struct Queue {
    now: f64,
    waiting: f64,
    offered: f64,
    came: Vec<Stretch>,
    left: Vec<Stretch>,
}

impl Queue {
    /// Lets time go by until `end`, while the worker serves `served` frames per nanosecond.
    fn run(&mut self, end: f64, offered: f64, served: f64) {
        while self.now < end {
            // The next moment at which the ring becomes full or empty, and a rate changes.
            let (came, left) = if self.waiting >= RING && offered > served {
                (served, served)
            } else if self.waiting <= 0.0 && offered < served {
                (offered, offered)
            } else {
                (offered, served)
            };
            let grows = came - left;
            let room = if grows > 0.0 {
                RING - self.waiting
            } else {
                self.waiting
            };
            let until = if grows.abs() > 0.0 {
                self.now + room / grows.abs()
            } else {
                end
            };
            let ends_there = until <= end;
            let until = until.min(end);
            let taken = until - self.now;
            pass(&mut self.came, (self.now, until), came * taken);
            pass(&mut self.left, (self.now, until), left * taken);
            self.offered += offered * taken;
            self.waiting = match (ends_there && grows.abs() > 0.0, grows > 0.0) {
                (true, true) => RING,
                (true, false) => 0.0,
                (false, _) => (self.waiting + grows * taken).clamp(0.0, RING),
            };
            self.now = until;
        }
    }
}

/// Notes that so many frames more passed.
fn pass(stretches: &mut Vec<Stretch>, times: (f64, f64), frames: f64) {
    let before = stretches.last().map_or(0.0, |last| last.frames.1);
    if before + frames > before {
        stretches.push(Stretch {
            frames: (before, before + frames),
            times,
        });
    }
}

impl Offer {
    /// So many frames a second, to a worker that took so many nanoseconds for each on a machine
    /// with such gaps: those that fell into its turns are in them, and taken out here.
    pub(crate) fn new(rate: f64, nanos: f64, trace: &Trace) -> Self {
        Self {
            rate: rate / 1e9,
            cost: nanos * (1.0 - trace.lost()),
        }
    }

    /// What becomes of it with these gaps.
    pub(crate) fn ideal(&self, trace: &Trace) -> Ideal {
        let mut queue = Queue::default();
        for gap in &trace.gaps {
            queue.run(gap.start as f64, self.rate, 1.0 / self.cost);
            queue.run((gap.start + gap.nanos) as f64, self.rate, 0.0);
        }
        queue.run(trace.nanos as f64, self.rate, 1.0 / self.cost);
        let came = queue.came.last().map_or(0.0, |last| last.frames.1);
        Ideal {
            loss: 1.0 - came / queue.offered,
            waits: waits(&queue.came, &queue.left),
        }
    }
}

/// How long frames waited: the time at which each left less that at which it came.
fn waits(came: &[Stretch], left: &[Stretch]) -> Vec<Wait> {
    let (mut waits, mut at) = (Vec::new(), 0.0);
    let (mut came, mut left) = (came.iter().peekable(), left.iter().peekable());
    while let (Some(from), Some(to)) = (came.peek(), left.peek()) {
        let end = from.frames.1.min(to.frames.1);
        if end > at {
            waits.push(Wait {
                frames: end - at,
                first: to.time_of(at) - from.time_of(at),
                last: to.time_of(end) - from.time_of(end),
            });
            at = end;
        }
        let (is_over, is_gone) = (from.frames.1 <= end, to.frames.1 <= end);
        if is_over {
            came.next();
        }
        if is_gone {
            left.next();
        }
    }
    waits
}

impl Wait {
    /// How many of the frames waited at most `nanos`.
    fn within(&self, nanos: f64) -> f64 {
        let (least, most) = (self.first.min(self.last), self.first.max(self.last));
        let share = if nanos >= most {
            1.0
        } else if nanos < least {
            0.0
        } else {
            (nanos - least) / (most - least)
        };
        self.frames * share
    }
}

impl Ideal {
    /// The wait in nanoseconds that this share of the frames does not exceed, to a nanosecond.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let wanted = share * self.waits.iter().map(|wait| wait.frames).sum::<f64>();
        let within = |nanos| {
            self.waits
                .iter()
                .map(|wait| wait.within(nanos))
                .sum::<f64>()
        };
        let longest = |longest: f64, wait: &Wait| longest.max(wait.first).max(wait.last);
        let (mut least, mut most) = (0.0, self.waits.iter().fold(0.0, longest));
        if within(least) >= wanted {
            return least;
        }
        while most - least > 1.0 {
            let middle = (least + most) / 2.0;
            if within(middle) < wanted {
                least = middle;
            } else {
                most = middle;
            }
        }
        most
    }

    /// What rows tell; waits in microseconds.
    pub(crate) fn facts(&self) -> Value {
        json!({ "loss": self.loss, "p50": self.quantile(0.5) / 1e3,
            "p99": self.quantile(0.99) / 1e3 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Gap;

    fn trace(nanos: u64, gaps: &[(u64, u64)]) -> Trace {
        let gap = |&(start, nanos): &(u64, u64)| Gap { start, nanos };
        Trace {
            slow: 0,
            nanos,
            gaps: gaps.iter().map(gap).collect(),
        }
    }

    fn near(value: f64, wanted: f64) {
        let enough = 1e-9 * wanted.abs().max(1.0);
        assert!((value - wanted).abs() < enough, "{value}, not {wanted}");
    }

    /// Half of what the worker can: a frame each 200 ns.
    const HALF: Offer = Offer {
        rate: 0.005,
        cost: 100.0,
    };

    #[test]
    fn nothing_waits_and_nothing_is_lost_without_gaps() {
        let ideal = HALF.ideal(&trace(1_000_000, &[]));
        near(ideal.loss, 0.0);
        near(ideal.quantile(0.99), 0.0);
    }

    #[test]
    fn a_gap_that_the_ring_outlasts_delays_and_loses_nothing() {
        // 100 µs bring 500 frames; the next 100 µs serve 1,000 and bring 500. So a fifth of the
        // millisecond's frames wait: the first of them 100 µs, the last not at all.
        let ideal = HALF.ideal(&trace(1_000_000, &[(200_000, 100_000)]));
        near(ideal.loss, 0.0);
        near(ideal.quantile(0.5), 0.0);
        near(ideal.quantile(0.8), 0.0);
        assert!((ideal.quantile(0.9) - 50_000.0).abs() <= 1.0);
        assert!((ideal.quantile(0.99) - 95_000.0).abs() <= 1.0);
    }

    #[test]
    fn what_finds_the_ring_full_is_lost() {
        // 300 µs bring 1,500 frames of which 1,024 fit; of the 5,000 in all 476 are lost.
        let ideal = HALF.ideal(&trace(1_000_000, &[(200_000, 300_000)]));
        near(ideal.loss, 476.0 / 5_000.0);
        // The longest wait is that of the gap's first frame.
        assert!((ideal.quantile(1.0) - 300_000.0).abs() <= 1.0);
    }

    #[test]
    fn gaps_that_follow_each_other_find_what_is_left_of_the_ring() {
        // At 90 %, 1,024 frames are not served by the second gap, 10 µs later: 100 frames go in
        // that time and 90 come, so that the second gap has room for 10 of its 900.
        let offer = Offer {
            rate: 0.009,
            cost: 100.0,
        };
        let ideal = offer.ideal(&trace(10_000_000, &[(0, 200_000), (210_000, 100_000)]));
        near(ideal.loss, (1_800.0 - 1_024.0 + 900.0 - 10.0) / 90_000.0);
    }

    #[test]
    fn an_overload_is_lost_with_no_gap_at_all() {
        // 20 frames a microsecond of which 10 are served: the ring is full after 102.4 µs.
        let offer = Offer {
            rate: 0.02,
            cost: 100.0,
        };
        let ideal = offer.ideal(&trace(1_000_000, &[]));
        near(ideal.loss, (10_000.0 - 1_024.0) / 20_000.0);
        assert!((ideal.quantile(1.0) - 102_400.0).abs() <= 1.0);
    }

    #[test]
    fn what_gaps_took_is_not_the_cost_of_frames() {
        let offer = Offer::new(5e6, 100.0, &trace(1_000_000, &[(0, 100_000)]));
        near(offer.cost, 90.0);
        near(offer.rate, 0.005);
    }
}
