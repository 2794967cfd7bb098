//! All checked servers: which probe is due, what came of it.
//!
//! Sans-I/O: call [`Board::expire`] at [`Board::deadline`], run the [`Job`]s it gives, and hand
//! each result to [`Board::finish`].

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_engine::tables::Map;
use weir_engine::time::Time;

use super::Verdicts;
use super::machine::{Entry, HISTORY_COUNT_MAX, Machine, Outcome, State, Tally};
use crate::config::{Config, HealthCheck, ServerState};
use crate::overlay::Overlay;

/// Probes in flight at once: each has one descriptor and one deadline. Others wait their turn.
pub const PROBES_MAX: usize = 1024;
/// First probes of new servers are spread over so long, or one interval if that is shorter (F22).
const FIRST_SPREAD: Duration = Duration::from_millis(300);
/// Every interval is varied by up to one part in this, either way.
const JITTER_PARTS: u32 = 10;

/// Names one checked server for as long as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(u64);

/// A probe to run now.
#[derive(Clone, Debug)]
pub struct Job {
    /// For [`Board::finish`].
    pub id: CheckId,
    /// Whom to ask.
    pub target: SocketAddr,
    /// What to ask, and for how long.
    pub check: Arc<HealthCheck>,
}

/// A server went up or down.
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

/// What is known of one checked server, for people and metrics.
#[derive(Clone, Debug)]
pub struct ServerHealth {
    /// Its service.
    pub service: Arc<str>,
    /// Its name.
    pub server: Arc<str>,
    /// Name of the check.
    pub check: String,
    /// Who is asked.
    pub target: SocketAddr,
    /// The verdict.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// The last results, oldest first.
    pub history: Vec<Entry>,
    /// All results together.
    pub tally: Tally,
}

/// One checked server.
#[derive(Debug)]
struct Checked {
    service: Arc<str>,
    server: Arc<str>,
    target: SocketAddr,
    check: Arc<HealthCheck>,
    machine: Machine,
    /// When the next probe starts; `None` while one is in flight.
    due: Option<Time>,
    /// When the last probe started.
    started: Time,
}

impl Checked {
    fn report(&self, history_count: usize) -> ServerHealth {
        let history = self.machine.history();
        let skip = self.machine.history().count().saturating_sub(history_count);
        ServerHealth {
            service: self.service.clone(),
            server: self.server.clone(),
            check: self.check.name.clone(),
            target: self.target,
            state: self.machine.state(),
            since: self.machine.since(),
            history: history.skip(skip).cloned().collect(),
            tally: self.machine.tally().clone(),
        }
    }
}

/// All checked servers.
#[derive(Debug)]
pub struct Board {
    checks: Map<CheckId, Checked>,
    by_name: Map<(Arc<str>, Arc<str>), CheckId>,
    due: BTreeSet<(Time, CheckId)>,
    in_flight: usize,
    verdicts: Verdicts,
    id_next: u64,
    random: u64,
}

impl Board {
    /// An empty board; `seed` varies the probes' timing between directors.
    pub fn new(seed: u64) -> Self {
        Self {
            checks: Map::default(),
            by_name: Map::default(),
            due: BTreeSet::new(),
            in_flight: 0,
            verdicts: Verdicts::default(),
            id_next: 0,
            random: seed | 1, // xorshift has a fixed point at 0
        }
    }

    /// Takes over a configuration. Servers whose target did not change keep state and history.
    pub fn configure(&mut self, now: Time, config: &Config, overlay: &Overlay) {
        let mut old = std::mem::take(&mut self.by_name);
        for service in &config.services {
            let Some(check) = &service.health else {
                continue;
            };
            let name: Arc<str> = service.name.as_str().into();
            for server in &service.servers {
                let in_use = overlay.effective(service, server).0 != ServerState::Maintenance;
                let Some(port) = service.probe_port(server).filter(|_| in_use) else {
                    continue;
                };
                let target = SocketAddr::new(server.address, port.0);
                let key = (name.clone(), Arc::from(server.name.as_str()));
                let known = old.get(&key).copied();
                let kept = known.and_then(|id| self.checks.get_mut(&id).map(|c| (id, c)));
                match kept.filter(|(_, checked)| checked.target == target) {
                    Some((id, checked)) => {
                        checked.check = check.clone();
                        old.remove(&key);
                        self.by_name.insert(key, id);
                        self.bring_forward(now, id);
                    }
                    None => self.add(now, key, target, check),
                }
            }
        }
        for id in old.into_values() {
            self.remove(id);
        }
    }

    fn add(
        &mut self,
        now: Time,
        key: (Arc<str>, Arc<str>),
        target: SocketAddr,
        check: &Arc<HealthCheck>,
    ) {
        let id = CheckId(self.id_next);
        self.id_next += 1;
        let spread = FIRST_SPREAD.min(check.interval);
        let due = now + self.fraction(spread);
        let (service, server) = key.clone();
        self.verdicts.set(&service, &server, false);
        let check = check.clone();
        let machine = Machine::default();
        let checked = Checked {
            service,
            server,
            target,
            check,
            machine,
            due: Some(due),
            started: now,
        };
        self.checks.insert(id, checked);
        self.due.insert((due, id));
        self.by_name.insert(key, id);
    }

    fn remove(&mut self, id: CheckId) {
        let Some(checked) = self.checks.remove(&id) else {
            return;
        };
        if let Some(due) = checked.due {
            self.due.remove(&(due, id));
        }
        let (service, server) = (&checked.service, &checked.server);
        // The name may be in use again, with another target.
        if !self
            .by_name
            .contains_key(&(service.clone(), server.clone()))
        {
            self.verdicts.remove(service, server);
        }
    }

    /// A shorter interval takes effect at once.
    fn bring_forward(&mut self, now: Time, id: CheckId) {
        let Some(checked) = self.checks.get_mut(&id) else {
            return;
        };
        let latest = now + checked.check.interval;
        if let Some(due) = checked.due.filter(|due| *due > latest) {
            self.due.remove(&(due, id));
            self.due.insert((latest, id));
            checked.due = Some(latest);
        }
    }

    /// The probes to start at `now`, as many as may be in flight.
    pub fn expire(&mut self, now: Time, out: &mut Vec<Job>) {
        while self.in_flight < PROBES_MAX {
            let Some((_, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) else {
                return;
            };
            self.due.pop_first();
            let Some(checked) = self.checks.get_mut(&id) else {
                continue;
            };
            checked.due = None;
            checked.started = now;
            self.in_flight += 1;
            out.push(Job {
                id,
                target: checked.target,
                check: checked.check.clone(),
            });
        }
    }

    /// When [`Self::expire`] has something to do; `None` while too many probes are in flight.
    pub fn deadline(&self) -> Option<Time> {
        let next = self.due.first().map(|(due, _)| *due);
        next.filter(|_| self.in_flight < PROBES_MAX)
    }

    /// Takes in what a job came to. Every job must end here, once.
    pub fn finish(&mut self, now: Time, id: CheckId, outcome: Outcome) -> Option<Change> {
        self.in_flight -= 1;
        let spread = self.fraction(Duration::from_secs(1)).as_millis();
        let checked = self.checks.get_mut(&id)?; // Removed in the meantime.
        let interval = checked.check.interval;
        let early = interval / JITTER_PARTS;
        let vary = early * 2 * u32::try_from(spread).unwrap_or(0) / 1000;
        let due = (checked.started + (interval - early) + vary).max(now);
        checked.due = Some(due);
        self.due.insert((due, id));
        let reason = outcome.reason.clone();
        let (rise, fall) = (checked.check.rise, checked.check.fall);
        if !checked.machine.step(now, outcome, rise, fall) {
            return None;
        }
        let up = checked.machine.is_up();
        let (service, server) = (checked.service.clone(), checked.server.clone());
        self.verdicts.set(&service, &server, up);
        Some(Change {
            service,
            server,
            up,
            reason,
        })
    }

    /// All verdicts now.
    pub fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// All checked servers, by service and name, with their last result only.
    pub fn report(&self) -> Vec<ServerHealth> {
        let mut all: Vec<ServerHealth> = self.checks.values().map(|c| c.report(1)).collect();
        all.sort_unstable_by(|a, b| (&a.service, &a.server).cmp(&(&b.service, &b.server)));
        all
    }

    /// One checked server with its whole history.
    pub fn report_one(&self, service: &str, server: &str) -> Option<ServerHealth> {
        let key = (Arc::from(service), Arc::from(server));
        let checked = self.checks.get(self.by_name.get(&key)?)?;
        Some(checked.report(HISTORY_COUNT_MAX))
    }

    /// A random part of `whole`: xorshift64, good enough to spread probes.
    fn fraction(&mut self, whole: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = u32::try_from(self.random >> 44).unwrap_or(0); // 20 bits
        whole * (part >> 10) / 1024
    }
}

#[cfg(test)]
mod tests;
