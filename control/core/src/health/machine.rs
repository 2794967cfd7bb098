//! The verdict about one server: rise, fall, history.
//!
//! ```text
//!            first pass                fall failures in a row
//!   unknown ───────────►   up   ──────────────────────────────►  down
//!      │                    ▲                                      │ ▲
//!      │                    └────────── rise passes in a row ──────┘ │
//!      └──────────────────────── first failure ──────────────────────┘
//! ```
//! Failures of our own (no route, no descriptors) say nothing about the server and count neither
//! way (F13).

use std::collections::VecDeque;
use std::time::Duration;

use weir_engine::time::Time;

/// Results kept for `weir show health SERVICE/SERVER`.
pub const HISTORY_COUNT_MAX: usize = 20;

/// Upper bounds of the duration histogram's buckets, in milliseconds; a last one has none.
pub const BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000];

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The server answered as it should.
    Pass,
    /// It did not.
    Fail,
    /// The probe never got as far as the server.
    Local,
}

/// One probe's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it found.
    pub finding: Finding,
    /// From its start to its end.
    pub duration: Duration,
    /// Why, in words: `status 503`, `timed out after 1s connecting`.
    pub reason: String,
}

/// An outcome and when it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When the probe ended.
    pub at: Time,
    /// What it found.
    pub outcome: Outcome,
}

/// What is known of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No probe has come back yet; counts as down.
    #[default]
    Unknown,
    /// Fit for new flows.
    Up,
    /// Not fit.
    Down,
}

/// Sums of all probes, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Probes that passed.
    pub passes: u64,
    /// Probes that failed.
    pub failures: u64,
    /// Probes by duration: counts of the buckets [`BUCKETS_MS`] and of all longer ones, each
    /// outcome in one bucket only.
    pub buckets: [u64; BUCKETS_MS.len() + 1],
    /// All durations together.
    pub duration: Duration,
}

/// The state machine of one checked server.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    state: State,
    /// Results in a row that contradict the state.
    streak: u16,
    since: Time,
    history: VecDeque<Entry>,
    tally: Tally,
}

impl Machine {
    /// Takes in one outcome. Returns whether the server changed from up to down or back.
    pub fn step(&mut self, now: Time, outcome: Outcome, rise: u16, fall: u16) -> bool {
        self.tally.count(&outcome);
        let next = match (self.state, outcome.finding) {
            (State::Unknown, Finding::Pass) => State::Up,
            (State::Unknown, Finding::Fail) => State::Down,
            (State::Up, Finding::Pass) | (State::Down, Finding::Fail) => {
                self.streak = 0;
                self.state
            }
            (State::Up, Finding::Fail) => self.contradicted(fall, State::Down),
            (State::Down, Finding::Pass) => self.contradicted(rise, State::Up),
            (state, Finding::Local) => state,
        };
        if self.history.len() == HISTORY_COUNT_MAX {
            self.history.pop_front();
        }
        self.history.push_back(Entry { at: now, outcome });
        let was_up = self.is_up();
        if next != self.state {
            self.state = next;
            self.streak = 0;
            self.since = now;
        }
        was_up != self.is_up()
    }

    fn contradicted(&mut self, wanted: u16, then: State) -> State {
        self.streak += 1;
        if self.streak >= wanted {
            then
        } else {
            self.state
        }
    }

    /// Whether new flows may go there.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// What is known of the server.
    pub fn state(&self) -> State {
        self.state
    }

    /// When the state last changed.
    pub fn since(&self) -> Time {
        self.since
    }

    /// The last results, oldest first.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.history.iter()
    }

    /// All results together.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        match outcome.finding {
            Finding::Pass => self.passes += 1,
            Finding::Fail => self.failures += 1,
            Finding::Local => return,
        }
        let ms = outcome.duration.as_millis();
        let fits = |bound: &u64| ms <= u128::from(*bound);
        let bucket = BUCKETS_MS.iter().position(fits).unwrap_or(BUCKETS_MS.len());
        self.buckets[bucket] += 1;
        self.duration += outcome.duration;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(finding: Finding) -> Outcome {
        Outcome {
            finding,
            duration: Duration::from_millis(3),
            reason: "test".into(),
        }
    }

    /// Feeds `findings` with rise 2 and fall 3; `*` marks a change: `P` pass, `F` fail, `L` local.
    fn run(machine: &mut Machine, findings: &str) -> String {
        let mut seen = String::new();
        for letter in findings.chars() {
            let finding = match letter {
                'P' => Finding::Pass,
                'F' => Finding::Fail,
                _ => Finding::Local,
            };
            seen.push(letter);
            if machine.step(Time::ZERO, outcome(finding), 2, 3) {
                seen.push('*');
            }
        }
        seen
    }

    #[test]
    fn rise_and_fall_count_results_in_a_row() {
        let mut machine = Machine::default();
        assert_eq!(run(&mut machine, "PFFPFFFFPFPPFF"), "P*FFPFFF*FPFPP*FF");
        assert_eq!(machine.state(), State::Up);
    }

    #[test]
    fn the_first_result_decides_and_before_it_the_server_is_down() {
        let mut machine = Machine::default();
        assert!(!machine.is_up());
        assert_eq!(run(&mut machine, "FPP"), "FPP*");
        assert_eq!(machine.state(), State::Up);
    }

    #[test]
    fn every_state_and_finding_has_its_successor() {
        use Finding::{Fail, Local, Pass};
        use State::{Down, Unknown, Up};
        let table = [
            (Unknown, Pass, Up),
            (Unknown, Fail, Down),
            (Unknown, Local, Unknown),
            (Up, Pass, Up),
            (Up, Fail, Down),
            (Up, Local, Up),
            (Down, Pass, Up),
            (Down, Fail, Down),
            (Down, Local, Down),
        ];
        for (state, finding, next) in table {
            let mut machine = Machine {
                state,
                ..Machine::default()
            };
            machine.step(Time::ZERO, outcome(finding), 1, 1);
            assert_eq!(machine.state(), next, "{state:?} {finding:?}");
        }
    }

    #[test]
    fn f12_a_server_that_flaps_at_every_probe_changes_nothing() {
        let mut machine = Machine::default();
        run(&mut machine, "P");
        assert!(!run(&mut machine, &"FP".repeat(100)).contains('*'));
    }

    #[test]
    fn f13_our_own_failures_take_no_server_down() {
        let mut machine = Machine::default();
        run(&mut machine, "P");
        assert!(!run(&mut machine, &"L".repeat(50)).contains('*'));
        assert_eq!(machine.tally().failures, 0);
    }

    #[test]
    fn the_history_is_bounded_and_the_histogram_complete() {
        let mut machine = Machine::default();
        run(&mut machine, &"P".repeat(30));
        assert_eq!(machine.history().count(), HISTORY_COUNT_MAX);
        assert_eq!(machine.tally().buckets[2], 30); // 3 ms: over 2, at most 5
        assert_eq!(machine.tally().buckets.iter().sum::<u64>(), 30);
    }
}
