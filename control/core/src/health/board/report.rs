//! What is known of the checked servers, for people and metrics.

use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;

use weir_engine::time::Time;

use super::{Board, Checked, Name};
use crate::health::Verdict;
use crate::health::brake::Group;
use crate::health::histogram::Histogram;
use crate::health::machine::{Entry, HISTORY_COUNT_MAX, State, Tally};

/// What is known of one checked server.
#[derive(Clone, Debug)]
pub struct ServerHealth {
    /// Its service.
    pub service: Arc<str>,
    /// Its name.
    pub server: Arc<str>,
    /// Name of the check.
    pub check: String,
    /// Who is asked: the server's own address.
    pub target: SocketAddr,
    /// By way of which VIP, if the probe goes the clients' way.
    pub vip: Option<SocketAddr>,
    /// What its results say.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// What follows: the brake and a slow start are in here.
    pub verdict: Verdict,
    /// What else there is to know.
    pub standing: Standing,
    /// When its certificate expires, in seconds since 1970.
    pub certificate_expiry: Option<i64>,
    /// The last results, oldest first.
    pub history: Vec<Entry>,
    /// All results together.
    pub tally: Tally,
}

/// Why a server's verdict is not simply its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Plain,
    /// It fell too often and is kept down until then.
    Dampened(Time),
    /// It fell silent with most others and is kept up, until then at most.
    Braked(Time),
    /// It came back, and its weight grows.
    SlowStart,
}

/// A report that is being made.
#[derive(Debug)]
pub(super) struct Draft {
    /// The last server that it has.
    last: Option<Name>,
    servers: Vec<ServerHealth>,
}

impl Board {
    fn health(&self, now: Time, checked: &Checked, history_count: usize) -> ServerHealth {
        let machine = &checked.machine;
        let skip = machine.history().count().saturating_sub(history_count);
        let braked = || {
            let held = checked.verdict.up && !machine.is_up();
            let group = self.groups.get(&checked.check.name).filter(|_| held)?;
            group.holding().map(|(_, _, until)| Standing::Braked(until))
        };
        let dampened = machine.dampened_until(now).filter(|_| !machine.is_up());
        let standing = match (dampened, checked.ramp) {
            (Some(until), _) => Standing::Dampened(until),
            (None, Some(_)) => Standing::SlowStart,
            (None, None) => braked().unwrap_or(Standing::Plain),
        };
        ServerHealth {
            service: checked.name.0.clone(),
            server: checked.name.1.clone(),
            check: checked.check.name.clone(),
            target: checked.target,
            vip: checked.vip,
            state: machine.state(),
            since: machine.since(),
            verdict: checked.verdict,
            standing,
            certificate_expiry: machine.certificate_expiry(),
            history: machine.history().skip(skip).cloned().collect(),
            tally: machine.tally().clone(),
        }
    }

    /// Goes on with a report of all checked servers, by service and name, with their last result
    /// only: for `count` more of them. Returns the report once it is complete.
    pub fn report(&mut self, now: Time, count: usize) -> Option<Vec<ServerHealth>> {
        let mut draft = self.draft.take().unwrap_or_else(|| Draft {
            last: None,
            servers: Vec::with_capacity(self.by_name.len()),
        });
        let from = match draft.last.take() {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let mut rest = self.by_name.range((from, Bound::Unbounded));
        for (name, id) in rest.by_ref().take(count) {
            let checked = self.checks.get(id);
            let health = checked.map(|checked| self.health(now, checked, 1));
            draft.servers.extend(health);
            draft.last = Some(name.clone());
        }
        if rest.next().is_none() {
            return Some(draft.servers);
        }
        self.draft = Some(draft);
        None
    }

    /// Whether a report has been begun and is not complete.
    pub fn is_reporting(&self) -> bool {
        self.draft.is_some()
    }

    /// One checked server with its whole history.
    pub fn report_one(&self, now: Time, service: &str, server: &str) -> Option<ServerHealth> {
        let key = (Arc::from(service), Arc::from(server));
        let checked = self.checks.get(self.by_name.get(&key)?)?;
        Some(self.health(now, checked, HISTORY_COUNT_MAX))
    }

    /// Checks whose brake is on: name, how many servers are kept up, since when, until when.
    pub fn brakes(&self) -> Vec<(String, usize, Time, Time)> {
        let held = |(name, group): (&String, &Group)| {
            let (count, since, until) = group.holding()?;
            Some((name.clone(), count, since, until))
        };
        let mut all: Vec<_> = self.groups.iter().filter_map(held).collect();
        all.sort_unstable();
        all
    }

    /// How long after they were due probes started.
    pub fn lateness(&self) -> &Histogram {
        &self.schedule.lateness
    }
}
