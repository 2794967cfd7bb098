//! The verdict about one server: rise, fall, dampening, history.
//!
//! ```text
//!            first pass                fall failures in a row
//!   unknown ───────────►   up   ──────────────────────────────►  down
//!      │                    ▲                                      │ ▲
//!      │                    └────────── rise passes in a row ──────┘ │
//!      └──────────────────────── first failure ──────────────────────┘
//! ```
//! A check with `initial: up` begins at up. A server that falls too often is dampened: it stays
//! down for a while, whatever its probes say (F12). Failures of our own (no route, no descriptors)
//! say nothing about the server and count neither way (F13).

use std::collections::VecDeque;
use std::time::Duration;

use weir_engine::time::Time;

use super::histogram::Histogram;
use crate::config::{HealthCheck, Initial};

/// Results kept for `weir show health SERVICE/SERVER`.
pub const HISTORY_COUNT_MAX: usize = 20;

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The server answered as it should.
    Pass,
    /// It answered otherwise, or refused.
    Fail,
    /// It did not answer in its time: the fault may be its own or on the way.
    Silent,
    /// The probe never got as far as the network.
    Local,
}

/// How long the parts of a probe took; `None` where it did not get so far, or has no such part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// The TCP handshake.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// Handing the request to the kernel.
    pub send: Option<Duration>,
    /// From there to the first octet of the answer.
    pub first_byte: Option<Duration>,
}

/// One probe's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it found.
    pub finding: Finding,
    /// From its start to its end.
    pub duration: Duration,
    /// The same in parts.
    pub phases: Phases,
    /// Why, in words: `status 503`, `timed out after 1s connecting`.
    pub reason: String,
    /// When the server's certificate expires, in seconds since 1970 (https).
    pub certificate_expiry: Option<i64>,
    /// How long the job waited for its start after it had been handed out.
    pub waited: Duration,
}

impl Outcome {
    /// A probe that could not be made, for `reason`.
    pub fn local(reason: String) -> Self {
        Self {
            finding: Finding::Local,
            duration: Duration::ZERO,
            phases: Phases::default(),
            reason,
            certificate_expiry: None,
            waited: Duration::ZERO,
        }
    }
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
    /// How long those took.
    pub durations: Histogram,
}

/// A change that an outcome brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// From not up to up.
    Rose,
    /// From up to down; whether the last failure was silence.
    Fell {
        /// The server did not answer at all.
        silent: bool,
    },
}

/// The state machine of one checked server.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    state: State,
    /// Results in a row that contradict the state.
    streak: u16,
    since: Time,
    /// When it fell of late; as many as dampening counts.
    falls: VecDeque<Time>,
    /// Until when dampening keeps it down.
    dampened_until: Option<Time>,
    history: VecDeque<Entry>,
    tally: Tally,
    certificate_expiry: Option<i64>,
}

impl Machine {
    /// A server without results.
    pub fn new(now: Time, check: &HealthCheck) -> Self {
        let state = match check.initial {
            Initial::Up => State::Up,
            Initial::Down => State::Unknown,
        };
        Self {
            state,
            since: now,
            ..Self::default()
        }
    }

    /// Takes in one outcome. Returns the change that it brought, if any.
    pub fn step(&mut self, now: Time, outcome: Outcome, check: &HealthCheck) -> Option<Turn> {
        self.tally.count(&outcome);
        let finding = outcome.finding;
        let next = match (self.state, finding) {
            (State::Unknown, Finding::Pass) => State::Up,
            (State::Unknown, Finding::Fail | Finding::Silent) => State::Down,
            (State::Up, Finding::Pass) => self.confirmed(),
            (State::Down, Finding::Fail | Finding::Silent) => self.confirmed(),
            (State::Up, Finding::Fail | Finding::Silent) => {
                self.contradicted(check.fall, State::Down)
            }
            (State::Down, Finding::Pass) if self.is_dampened(now) => self.confirmed(),
            (State::Down, Finding::Pass) => self.contradicted(check.rise, State::Up),
            (state, Finding::Local) => state,
        };
        if outcome.certificate_expiry.is_some() || finding == Finding::Pass {
            self.certificate_expiry = outcome.certificate_expiry;
        }
        if self.history.len() == HISTORY_COUNT_MAX {
            self.history.pop_front();
        }
        self.history.push_back(Entry { at: now, outcome });
        if next == self.state {
            return None;
        }
        let was_up = self.is_up();
        (self.state, self.streak, self.since) = (next, 0, now);
        match (was_up, self.is_up()) {
            (false, true) => Some(Turn::Rose),
            (true, false) => {
                self.fell(now, check);
                let silent = finding == Finding::Silent;
                Some(Turn::Fell { silent })
            }
            (false, false) | (true, true) => None,
        }
    }

    fn confirmed(&mut self) -> State {
        self.streak = 0;
        self.state
    }

    fn contradicted(&mut self, wanted: u16, then: State) -> State {
        self.streak += 1;
        if self.streak >= wanted {
            then
        } else {
            self.state
        }
    }

    /// Counts a fall, and dampens the server if there were too many.
    fn fell(&mut self, now: Time, check: &HealthCheck) {
        let Some(rule) = check.dampening else {
            self.falls.clear();
            return;
        };
        self.falls.push_back(now);
        while self.falls.len() > usize::from(rule.falls) {
            self.falls.pop_front();
        }
        let first = self.falls.front().copied().unwrap_or(now);
        let too_often =
            self.falls.len() == usize::from(rule.falls) && now.since(first) <= rule.within;
        // One that falls again soon after it was let go has not been mended.
        let relapsed = self
            .dampened_until
            .is_some_and(|until| now.since(until) <= rule.within);
        if too_often || relapsed {
            self.dampened_until = Some(now + rule.hold);
        }
    }

    fn is_dampened(&self, now: Time) -> bool {
        self.dampened_until.is_some_and(|until| now < until)
    }

    /// Until when the server is kept down for having fallen too often.
    pub fn dampened_until(&self, now: Time) -> Option<Time> {
        self.dampened_until.filter(|until| now < *until)
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

    /// When the server's certificate expires, in seconds since 1970, as the last handshake showed.
    pub fn certificate_expiry(&self) -> Option<i64> {
        self.certificate_expiry
    }
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        match outcome.finding {
            Finding::Pass => self.passes += 1,
            Finding::Fail | Finding::Silent => self.failures += 1,
            Finding::Local => return,
        }
        // A passive check takes no time.
        if !outcome.duration.is_zero() {
            self.durations.add(outcome.duration);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::Dampening;
    use crate::testing::{check, outcome};

    fn secs(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    /// Feeds `findings` with rise 2 and fall 3; `*` marks a change: `P` pass, `F` fail, `S` silent,
    /// `L` local.
    fn run(machine: &mut Machine, findings: &str) -> String {
        let mut seen = String::new();
        for letter in findings.chars() {
            let finding = match letter {
                'P' => Finding::Pass,
                'F' => Finding::Fail,
                'S' => Finding::Silent,
                _ => Finding::Local,
            };
            seen.push(letter);
            if machine
                .step(Time::ZERO, outcome(finding), &check())
                .is_some()
            {
                seen.push('*');
            }
        }
        seen
    }

    #[test]
    fn rise_and_fall_count_results_in_a_row() {
        let mut machine = Machine::default();
        assert_eq!(run(&mut machine, "PFSPFSFFPSPPFF"), "P*FSPFSF*FPSPP*FF");
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
        use Finding::{Fail, Local, Pass, Silent};
        use State::{Down, Unknown, Up};
        let table = [
            (Unknown, Pass, Up),
            (Unknown, Fail, Down),
            (Unknown, Silent, Down),
            (Unknown, Local, Unknown),
            (Up, Pass, Up),
            (Up, Fail, Down),
            (Up, Silent, Down),
            (Up, Local, Up),
            (Down, Pass, Up),
            (Down, Fail, Down),
            (Down, Silent, Down),
            (Down, Local, Down),
        ];
        for (state, finding, next) in table {
            let mut machine = Machine {
                state,
                ..Machine::default()
            };
            let at_once = HealthCheck {
                rise: 1,
                fall: 1,
                ..check()
            };
            machine.step(Time::ZERO, outcome(finding), &at_once);
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
        assert_eq!(machine.tally().durations.count(), 30);
    }

    #[test]
    fn a_server_that_is_up_at_first_falls_after_fall_failures() {
        let initially_up = HealthCheck {
            initial: Initial::Up,
            ..check()
        };
        let mut machine = Machine::new(Time::ZERO, &initially_up);
        assert!(machine.is_up());
        assert_eq!(run(&mut machine, "FFF"), "FFF*");
    }

    #[test]
    fn f12_a_server_that_falls_too_often_is_kept_down_for_the_hold() {
        let check = HealthCheck {
            rise: 1,
            fall: 1,
            dampening: Some(Dampening {
                falls: 3,
                within: Duration::from_secs(60),
                hold: Duration::from_secs(30),
            }),
            ..check()
        };
        let mut machine = Machine::default();
        let mut changes = Vec::new();
        // A pass and a failure every second, for four minutes.
        for second in 0..240 {
            let finding = [Finding::Pass, Finding::Fail][usize::from(second % 2 == 1)];
            if machine
                .step(secs(second), outcome(finding), &check)
                .is_some()
            {
                changes.push(second);
            }
        }
        // Three falls at once, and then one up and down for each hold.
        let expected = [0, 1, 2, 3, 4, 5, 36, 37, 68, 69, 100, 101];
        assert_eq!(changes[..12], expected, "{changes:?}");
        assert_eq!(changes.len(), 6 + 2 * ((240 - 6) / 32));
        assert_eq!(
            machine.dampened_until(secs(240)).is_some(),
            !machine.is_up()
        );
    }

    #[test]
    fn f12_falls_that_are_far_apart_dampen_nothing() {
        let check = HealthCheck {
            rise: 1,
            fall: 1,
            dampening: Some(Dampening {
                falls: 2,
                within: Duration::from_secs(10),
                hold: Duration::from_secs(30),
            }),
            ..check()
        };
        let mut machine = Machine::default();
        for round in 0..5 {
            machine.step(secs(round * 20), outcome(Finding::Pass), &check);
            assert!(machine.is_up());
            machine.step(secs(round * 20 + 1), outcome(Finding::Fail), &check);
        }
    }
}
