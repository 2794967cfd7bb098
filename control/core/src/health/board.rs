//! All checked servers: which probe is due, what came of it.
//!
//! Sans-I/O: call [`Board::expire`] at [`Board::deadline`], run the [`Job`]s it gives, and hand
//! each result to [`Board::finish`].

mod passive;
mod report;
mod roster;
mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_engine::counters::Outcomes;
use weir_engine::tables::Map;
use weir_engine::time::Time;

use super::brake::Group;
use super::machine::{Finding, Machine, Outcome, State, Turn};
use super::{Verdict, Verdicts};
use crate::config::HealthCheck;
use passive::Watched;
use report::Draft;
pub use report::{ServerHealth, Standing};
use roster::Pending;
pub use roster::Roster;
use schedule::Schedule;

/// Probes in flight at once: each has one descriptor and one deadline. Others wait their turn.
pub const PROBES_MAX: usize = 8192;
/// Probes that are started in one step: some 100 µs of work.
const PROBES_PER_STEP: usize = 32;
/// Steps in which the weight of a recovered server grows.
const SLOW_START_STEPS: u8 = 10;

/// Names one checked server for as long as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(u64);

impl CheckId {
    #[cfg(test)]
    pub(super) const fn new(id: u64) -> Self {
        Self(id)
    }
}

/// A server by its service and its own name.
pub type Name = (Arc<str>, Arc<str>);

/// A probe to run now.
#[derive(Clone, Debug)]
pub struct Job {
    /// For [`Board::finish`].
    pub id: CheckId,
    /// Its service and name.
    pub name: Name,
    /// The server's own address and port; port 0 where the check asks none.
    pub target: SocketAddr,
    /// The VIP and the same port, if the probe is to go the clients' way.
    pub vip: Option<SocketAddr>,
    /// What to ask, and for how long.
    pub check: Arc<HealthCheck>,
}

/// A server's verdict changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its service.
    pub service: Arc<str>,
    /// Its name.
    pub server: Arc<str>,
    /// What it is now.
    pub up: bool,
    /// The result that decided.
    pub reason: String,
}

/// One checked server.
#[derive(Debug)]
struct Checked {
    name: Name,
    target: SocketAddr,
    vip: Option<SocketAddr>,
    check: Arc<HealthCheck>,
    slow_start: Duration,
    machine: Machine,
    /// While its weight grows: since when.
    ramp: Option<Time>,
    verdict: Verdict,
    /// What its flows had come to at the last look of a passive check.
    flows: Option<Outcomes>,
    /// When the last probe was handed out, and how long after it was due.
    started: (Time, Duration),
}

/// All checked servers.
#[derive(Debug)]
pub struct Board {
    /// A tree: a hash table that grows moves all of them at once.
    checks: BTreeMap<CheckId, Checked>,
    by_name: BTreeMap<Name, CheckId>,
    /// The roster that was given last.
    last: Option<Arc<Roster>>,
    /// What of it is not taken over yet.
    pending: Pending,
    /// The report that is being made.
    draft: Option<Draft>,
    /// By name of the check.
    groups: Map<String, Group>,
    schedule: Schedule,
    /// Services with passive checks.
    watched: Map<Arc<str>, Watched>,
    /// When the first of them is due, or earlier if that one is gone.
    watch_due: Option<Time>,
    /// Steps of slow starts that are due.
    ramps: BTreeSet<(Time, CheckId)>,
    verdicts: Verdicts,
    /// Counts changes of `verdicts`.
    revision: u64,
    id_next: u64,
}

impl Board {
    /// An empty board; `seed` varies the probes' timing between directors.
    pub fn new(seed: u64) -> Self {
        Self {
            checks: BTreeMap::new(),
            by_name: BTreeMap::new(),
            last: None,
            pending: Pending::default(),
            draft: None,
            groups: Map::default(),
            schedule: Schedule::new(seed),
            watched: Map::default(),
            watch_due: None,
            ramps: BTreeSet::new(),
            verdicts: Verdicts::default(),
            revision: 0,
            id_next: 0,
        }
    }

    /// Some of the probes to start at `now`, as many as may be in flight; and what else is due.
    /// What is left is due at once.
    pub fn expire(&mut self, now: Time, out: &mut Vec<Job>, changes: &mut Vec<Change>) {
        self.follow(now);
        while let Some(&(_, id)) = self.ramps.first().filter(|(due, _)| *due <= now) {
            self.ramps.pop_first();
            self.grow(now, id);
        }
        let released: Vec<CheckId> = self
            .groups
            .values_mut()
            .filter_map(|group| group.expire(now))
            .flatten()
            .collect();
        let reason = "the brake's time is over and it still does not answer";
        changes.extend(released.into_iter().filter_map(|id| self.told(id, reason)));
        for _ in 0..PROBES_PER_STEP {
            let Some((due, id)) = self.schedule.next(now) else {
                return;
            };
            let Some(checked) = self.checks.get_mut(&id) else {
                self.schedule.end(None);
                continue;
            };
            checked.started = (now, now.since(due));
            out.push(Job {
                id,
                name: checked.name.clone(),
                target: checked.target,
                vip: checked.vip,
                check: checked.check.clone(),
            });
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        if !self.pending.is_empty() {
            return Some(Time::ZERO);
        }
        let ramp = self.ramps.first().map(|(due, _)| *due);
        let brakes = self.groups.values().filter_map(Group::holding);
        let brake = brakes.map(|(_, _, until)| until).min();
        [self.schedule.deadline(), self.watch_deadline(), ramp, brake]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes in what a job came to. Every job must end here, once.
    pub fn finish(&mut self, now: Time, id: CheckId, outcome: Outcome, out: &mut Vec<Change>) {
        let Some(checked) = self.checks.get(&id).filter(|c| c.check.probe.asks()) else {
            self.schedule.end(None); // Removed, or not asked any more, in the meantime.
            return;
        };
        let (started, late) = checked.started;
        self.schedule.lateness.add(late + outcome.waited);
        self.take(now, id, outcome, out);
        if let Some(checked) = self.checks.get(&id) {
            let (period, jitter) = (interval(checked), checked.check.jitter);
            self.schedule.end(Some((id, now, started, period, jitter)));
        }
    }

    /// What follows from an outcome, for the server and for the others of its check.
    fn take(&mut self, now: Time, id: CheckId, outcome: Outcome, out: &mut Vec<Change>) {
        let Some(checked) = self.checks.get_mut(&id) else {
            return;
        };
        let (finding, reason) = (outcome.finding, outcome.reason.clone());
        let was_down = checked.machine.state() == State::Down;
        let turn = checked.machine.step(now, outcome, &checked.check);
        let group = self.groups.entry(checked.check.name.clone()).or_default();
        let mut touched: BTreeSet<CheckId> = BTreeSet::from([id]);
        match turn {
            Some(Turn::Rose) => {
                touched.extend(group.rose(id).into_iter().flatten());
                let slow = was_down && !checked.slow_start.is_zero();
                checked.ramp = slow.then_some(now);
            }
            Some(Turn::Fell { silent }) => {
                checked.ramp = None;
                let check = checked.check.clone();
                touched.extend(group.fell(now, id, silent, &check).into_iter().flatten());
            }
            None if finding == Finding::Fail => {
                group.reached(id);
            }
            None => {}
        }
        for other in touched {
            let reason = if other == id {
                reason.as_str()
            } else {
                "others of its check fell silent, or answer again, at once"
            };
            out.extend(self.told(other, reason));
        }
        if turn == Some(Turn::Rose) {
            self.grow(now, id);
        }
    }

    /// One more step of a slow start, if it has not ended.
    fn grow(&mut self, now: Time, id: CheckId) {
        let Some(checked) = self.checks.get_mut(&id) else {
            return;
        };
        let Some(since) = checked.ramp else { return };
        let step = checked.slow_start / u32::from(SLOW_START_STEPS);
        let steps = (1..SLOW_START_STEPS).take_while(|n| since + step * u32::from(*n) <= now);
        let done = u8::try_from(steps.count()).unwrap_or(SLOW_START_STEPS) + 1;
        if done >= SLOW_START_STEPS {
            checked.ramp = None;
        } else {
            self.ramps.insert((since + step * u32::from(done), id));
        }
        self.judge_with(id, done * (100 / SLOW_START_STEPS));
    }

    /// Judges a server anew, and says so if it went up or down.
    fn told(&mut self, id: CheckId, reason: &str) -> Option<Change> {
        let before = self.checks.get(&id)?.verdict.up;
        let up = self.judge(id)?;
        let (service, server) = self.checks.get(&id)?.name.clone();
        (before != up).then(|| Change {
            service,
            server,
            up,
            reason: reason.to_owned(),
        })
    }

    /// Makes a server's verdict what its results and the brake say. Returns whether it is up.
    fn judge(&mut self, id: CheckId) -> Option<bool> {
        let checked = self.checks.get(&id)?;
        let share = match checked.ramp {
            Some(_) => checked.verdict.share,
            None => 100,
        };
        self.judge_with(id, share)
    }

    fn judge_with(&mut self, id: CheckId, share: u8) -> Option<bool> {
        let checked = self.checks.get_mut(&id)?;
        let group = self.groups.get(&checked.check.name);
        let held = group.is_some_and(|group| group.is_held(id));
        let up = checked.machine.is_up() || held;
        let verdict = Verdict { up, share };
        let (service, server) = &checked.name;
        checked.verdict = verdict;
        if self.verdicts.said(service, server) != Some(verdict) {
            self.verdicts.set(service, server, verdict);
            self.revision += 1;
        }
        Some(up)
    }

    /// All verdicts now.
    pub fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// Counts changes of the verdicts.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

/// How long until a server's next probe.
fn interval(checked: &Checked) -> Duration {
    match checked.machine.state() {
        State::Down => checked.check.interval_down,
        State::Up | State::Unknown => checked.check.interval,
    }
}

#[cfg(test)]
pub(crate) mod tests;
