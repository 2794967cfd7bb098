//! What the machine takes away: a core that only watches the clock sees it stand still for
//! microseconds at a time, wherever somebody else (a hypervisor, an interrupt) had the CPU.

use serde_json::{Value, json};
use weir_dpdk::Tsc;

use crate::Failure;
use crate::bench::Bench;
use crate::client::Segment;
use crate::director::Plan;
use crate::fluid::Offer;
use crate::lane::Lane;
use crate::pulse::Heart;
use crate::rows::{Pace, Servers};
use crate::script::Each;

/// Nanoseconds between two looks at the clock that count as a gap: some hundred times what a look
/// takes.
const GAP_MIN: u64 = 2_000;
/// Gaps that are kept: a watch ends when it has seen so many, a minute at a thousand a second.
const GAPS_MAX: usize = 1 << 16;

/// A time in which the core did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Nanoseconds since the watch began.
    pub(crate) start: u64,
    /// Its length in nanoseconds.
    pub(crate) nanos: u64,
}

/// What a watch saw.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// Nanoseconds from the first look to the last.
    pub(crate) nanos: u64,
    /// In their order.
    pub(crate) gaps: Vec<Gap>,
    /// Nanoseconds in which the core was slow.
    pub(crate) slow: u64,
}

/// Watches the clock for `nanos` nanoseconds, on the core of the caller.
pub(crate) fn watch(clock: Tsc, nanos: u64, heart: &mut Heart) -> Trace {
    let mut gaps = Vec::with_capacity(GAPS_MAX);
    let (start, slow) = (clock.nanos(), heart.slow());
    let mut last = start;
    while last < start + nanos && gaps.len() < GAPS_MAX {
        let now = clock.nanos();
        if now - last > GAP_MIN {
            gaps.push(Gap {
                start: last - start,
                nanos: now - last,
            });
        }
        last = now;
        heart.beat();
    }
    Trace {
        nanos: last - start,
        gaps,
        slow: heart.slow() - slow,
    }
}

impl Trace {
    /// The share of time in gaps.
    pub(crate) fn lost(&self) -> f64 {
        let lost: u64 = self.gaps.iter().map(|gap| gap.nanos).sum();
        lost as f64 / self.nanos as f64
    }

    /// Gaps a second that are longer than `nanos`.
    pub(crate) fn longer(&self, nanos: u64) -> f64 {
        let count = self.gaps.iter().filter(|gap| gap.nanos > nanos).count();
        count as f64 * 1e9 / self.nanos as f64
    }

    /// The longest gap, in nanoseconds.
    pub(crate) fn worst(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.nanos).max().unwrap_or(0)
    }

    /// The length in nanoseconds that gaps exceed `rate` times a second: what is comparable with a
    /// quantile of turns, of which so many a second are longer. 0 where gaps are rarer.
    pub(crate) fn exceeded(&self, rate: f64) -> u64 {
        let mut lengths: Vec<u64> = self.gaps.iter().map(|gap| gap.nanos).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let seconds = self.nanos as f64 / 1e9;
        let longer = |index: &usize| *index as f64 >= rate * seconds;
        let index = (0..lengths.len()).find(longer);
        index.map_or(0, |index| lengths[index])
    }

    /// What every row tells of the machine; times in microseconds.
    pub(crate) fn facts(&self) -> Value {
        json!({
            "seconds": self.nanos as f64 / 1e9,
            "lost": self.lost(),
            "slow": self.slow as f64 / self.nanos as f64,
            "gaps_per_second": self.longer(0),
            "above_50_us_per_second": self.longer(50_000),
            "above_150_us_per_second": self.longer(150_000),
            "worst": self.worst() as f64 / 1e3,
        })
    }
}

/// The machine alone, and what an ideal worker would make of it at the loads of the rows.
pub(crate) fn machine(pace: Pace) -> Result<Value, Failure> {
    let mut bench = Bench::start(&Plan::default(), pace.flows as usize)?;
    Servers::establish(&mut bench, pace.flows, 1);
    let mut pairs = Vec::new();
    for _ in 0..pace.pairs {
        let mut acks = Each::new(Segment::Ack, pace.flows, 1);
        let most = bench.flood(Lane::Director, pace.window, &mut acks, |_, _| {});
        let trace = bench.watch(pace.window)?;
        let ideal = |load: f64| {
            let offer = Offer::new(most.rate() * load, most.nanos(), &trace);
            offer.ideal(&trace).facts()
        };
        pairs.push(json!({ "most": most.facts(), "machine": trace.facts(),
            "ideal_at_half": ideal(0.5), "ideal_at_nine_tenths": ideal(0.9) }));
    }
    Ok(json!({ "pairs": pairs, "memory": bench.rings.memory() }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn trace() -> Trace {
        let gap = |start, nanos| Gap { start, nanos };
        let gaps = vec![
            gap(100_000_000, 20_000),
            gap(300_000_000, 60_000),
            gap(1_000_000_000, 200_000),
            gap(1_900_000_000, 30_000),
        ];
        Trace {
            nanos: 2_000_000_000,
            gaps,
            slow: 0,
        }
    }

    #[test]
    fn a_trace_is_summed_up() {
        let trace = trace();
        assert!((trace.lost() - 310e3 / 2e9).abs() < 1e-12);
        assert!((trace.longer(50_000) - 1.0).abs() < 1e-9);
        assert!((trace.longer(150_000) - 0.5).abs() < 1e-9);
        assert_eq!(trace.worst(), 200_000);
    }

    #[test]
    fn a_length_is_exceeded_so_often() {
        let trace = trace();
        assert_eq!(trace.exceeded(0.5), 60_000);
        assert_eq!(trace.exceeded(1.0), 30_000);
        assert_eq!(trace.exceeded(5.0), 0);
        let calm = Trace {
            nanos: 1_000_000_000,
            gaps: Vec::new(),
            slow: 0,
        };
        assert_eq!((calm.exceeded(0.1), calm.worst()), (0, 0));
    }

    #[test]
    fn a_watch_lasts_as_long_as_it_is_told_and_its_gaps_are_in_it() {
        let clock = Tsc::calibrate();
        let mut heart = Heart::new(clock, Arc::default());
        let trace = watch(clock, 20_000_000, &mut heart);
        assert!(trace.nanos >= 20_000_000);
        let mut end = 0;
        for gap in &trace.gaps {
            assert!(gap.start >= end && gap.nanos > GAP_MIN, "{gap:?}");
            end = gap.start + gap.nanos;
        }
        assert!(end <= trace.nanos);
    }
}
