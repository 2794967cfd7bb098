//! Who is to be checked, and how a board takes over that this has changed.
//!
//! There may be thousands of servers, so a roster is made away from the control thread's turns,
//! says what is different from the one before, and is taken over some servers at a time.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_engine::tables::Map;
use weir_engine::time::Time;

use super::{Board, CheckId, Checked, Name, interval};
use crate::config::{Config, HealthCheck, Mode, Server, ServerState, Service};
use crate::health::Verdict;
use crate::health::machine::Machine;
use crate::overlay::Overlay;

/// Servers that are taken over in one step: some 50 µs of work.
const SERVERS_PER_STEP: usize = 16;

/// One server that is to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) target: SocketAddr,
    pub(super) vip: Option<SocketAddr>,
    pub(super) check: Arc<HealthCheck>,
    pub(super) slow_start: Duration,
}

/// All servers that are to be checked: those that have a check and are not in maintenance.
#[derive(Debug, Default)]
pub struct Roster {
    entries: Map<Name, Entry>,
    /// Those that the roster before did not have, or had otherwise, or that are gone: in
    /// configured order, the gone ones last.
    changed: Vec<Name>,
    /// How many of them have no place in the roster before.
    fresh: usize,
    /// Names of all checks in use.
    checks: BTreeSet<String>,
}

impl Roster {
    /// The roster of a configuration, with what has changed since the one `before`; that itself if
    /// nothing has.
    pub fn of(config: &Config, overlay: &Overlay, before: &Arc<Self>) -> Arc<Self> {
        let mut roster = Self::default();
        for (service, server, check) in checked(config, overlay) {
            let port = service.probe_port(server).map_or(0, |port| port.0);
            let entry = Entry {
                target: SocketAddr::new(server.address, port),
                vip: is_path(check, server).then(|| SocketAddr::new(service.address, port)),
                check: check.clone(),
                slow_start: service.slow_start,
            };
            let name: Name = (Arc::from(&*service.name), Arc::from(&*server.name));
            let known = before.entries.get(&name);
            roster.fresh += usize::from(known.is_none());
            if known != Some(&entry) {
                roster.changed.push(name.clone());
            }
            roster.entries.insert(name, entry);
            if !roster.checks.contains(&check.name) {
                roster.checks.insert(check.name.clone());
            }
        }
        let names = before.entries.keys();
        let gone = names.filter(|name| !roster.entries.contains_key(*name));
        roster.changed.extend(gone.cloned());
        match roster.changed.is_empty() {
            true => Arc::clone(before),
            false => Arc::new(roster),
        }
    }
}

/// Rosters whose changes are not all taken over yet, and how many of the first one's are.
#[derive(Debug, Default)]
pub(super) struct Pending {
    rosters: VecDeque<Arc<Roster>>,
    taken: usize,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.rosters.is_empty()
    }
}

impl Board {
    /// Takes over a roster that was made from the one given before. Servers whose target did not
    /// change keep state and history. Of many changes most are left to [`Board::expire`].
    pub fn configure(&mut self, now: Time, roster: &Arc<Roster>) {
        if self
            .last
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, roster))
        {
            return;
        }
        self.last = Some(Arc::clone(roster));
        self.pending.rosters.push_back(Arc::clone(roster));
        self.follow(now);
    }

    /// Takes over some of what has changed.
    pub(super) fn follow(&mut self, now: Time) {
        let Some(roster) = self.pending.rosters.front().map(Arc::clone) else {
            return;
        };
        let rest = roster.changed.iter().skip(self.pending.taken);
        for name in rest.take(SERVERS_PER_STEP) {
            match roster.entries.get(name) {
                Some(entry) => self.enlist(now, name, entry, roster.fresh),
                None => {
                    let id = self.by_name.remove(name);
                    id.into_iter().for_each(|id| self.remove(id));
                }
            }
        }
        self.pending.taken += SERVERS_PER_STEP;
        if self.pending.taken >= roster.changed.len() {
            self.pending.rosters.pop_front();
            self.pending.taken = 0;
            self.groups.retain(|name, _| roster.checks.contains(name));
        }
    }

    /// Takes over one server, one of `fresh` that are new.
    fn enlist(&mut self, now: Time, name: &Name, entry: &Entry, fresh: usize) {
        let known = self.by_name.get(name).copied();
        let same = |id: &CheckId| {
            self.checks
                .get(id)
                .is_some_and(|c| c.target == entry.target)
        };
        if let Some(id) = known.filter(same) {
            self.keep(now, id, entry, fresh);
            return;
        }
        let id = CheckId(self.id_next);
        self.id_next += 1;
        self.by_name.insert(name.clone(), id);
        let checked = Checked {
            name: name.clone(),
            target: entry.target,
            vip: entry.vip,
            check: entry.check.clone(),
            slow_start: entry.slow_start,
            machine: Machine::new(now, &entry.check),
            ramp: None,
            verdict: Verdict::DOWN,
            flows: None,
            started: (now, Duration::ZERO),
        };
        self.checks.insert(id, checked);
        known.into_iter().for_each(|old| self.remove(old));
        if entry.check.probe.asks() {
            self.schedule.begin(now, id, entry.check.interval, fresh);
        }
        self.join(id);
        self.judge(id);
        self.begin_watch(now, id);
    }

    /// Takes over what has changed about a server that stays.
    fn keep(&mut self, now: Time, id: CheckId, entry: &Entry, fresh: usize) {
        self.end_watch(id);
        let Some(checked) = self.checks.get_mut(&id) else {
            return;
        };
        let check = &entry.check;
        let moved = checked.check.name != check.name;
        let (asked, asks) = (checked.check.probe.asks(), check.probe.asks());
        if moved {
            let was_up = checked.machine.is_up();
            if let Some(group) = self.groups.get_mut(&checked.check.name) {
                group.forget(id, was_up);
            }
        }
        (checked.vip, checked.slow_start) = (entry.vip, entry.slow_start);
        checked.check = check.clone();
        match (asked, asks) {
            (true, true) => {
                let latest = now + interval(checked);
                self.schedule.bring_forward(id, latest);
            }
            (false, true) => self.schedule.begin(now, id, check.interval, fresh),
            (true, false) => self.schedule.forget(id),
            (false, false) => {}
        }
        if moved {
            self.join(id);
            self.judge(id);
        }
        self.begin_watch(now, id);
    }

    /// Counts a server in the group of its check.
    fn join(&mut self, id: CheckId) {
        let Some(checked) = self.checks.get(&id) else {
            return;
        };
        let group = self.groups.entry(checked.check.name.clone()).or_default();
        if checked.machine.is_up() {
            let released = group.rose(id);
            for id in released.into_iter().flatten() {
                self.judge(id);
            }
        }
    }

    /// Forgets a server that its name does not lead to any more.
    fn remove(&mut self, id: CheckId) {
        self.end_watch(id);
        let Some(checked) = self.checks.remove(&id) else {
            return;
        };
        self.schedule.forget(id);
        if let Some(group) = self.groups.get_mut(&checked.check.name) {
            group.forget(id, checked.machine.is_up());
        }
        // The name may be in use again, with another target.
        if !self.by_name.contains_key(&checked.name) {
            self.verdicts.remove(&checked.name.0, &checked.name.1);
            self.revision += 1;
        }
    }
}

/// Whether a probe of `server` goes the clients' way.
fn is_path(check: &HealthCheck, server: &Server) -> bool {
    let rewritten = match server.mode {
        Mode::Dr | Mode::Tunnel(_) => true,
        Mode::Nat => false, // A client's packet reaches it at its own address too.
    };
    rewritten && check.path.unwrap_or(true) && check.probe.asks_port()
}

/// Every server that has a check and is not in maintenance.
fn checked<'a>(
    config: &'a Config,
    overlay: &'a Overlay,
) -> impl Iterator<Item = (&'a Service, &'a Server, &'a Arc<HealthCheck>)> {
    let services = config.services.iter();
    services
        .filter_map(|service| Some((service, service.health.as_ref()?)))
        .flat_map(move |(service, check)| {
            let in_use = move |server: &&Server| {
                overlay.effective(service, server).0 != ServerState::Maintenance
            };
            let servers = service.servers.iter().filter(in_use);
            servers.map(move |server| (service, server, check))
        })
}
