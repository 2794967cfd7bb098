//! VRRP: who of several directors serves the VIPs (RFC 9568, RFC 3768).
//!
//! [`machine`] is one instance's state machine, [`packet`] its frames, and [`Routers`] all
//! instances of a director: sync groups, tracking, statistics. Sans-I/O: after each call carry out
//! all of `out`, then come back at [`Routers::deadline`] or with the next event.

pub mod machine;
pub mod packet;
mod report;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_engine::id::PortId;
use weir_engine::lease::LeaseId;
use weir_engine::tables::{Hop, Role, Tables};
use weir_engine::time::Time;
use weir_wire::addr::MacAddr;

use crate::config::{Config, Tracked, VrrpInstance};
use crate::frame::{self, Frame};
use crate::nd;
use machine::{Event, Machine, PRIORITY_OWNER, Rules, Settings, State, Why};
use packet::{Accepted, Reject};
pub(crate) use report::words;
pub use report::{InstanceStatus, PeerStatus, Refusal};

/// Adverts that were refused within so long are shown: two of the longest usual intervals.
const REFUSAL_LIFETIME: Duration = Duration::from_secs(10);
/// A refused advert is logged at most so often for each reason (V21).
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this frame, without VLAN tag, out of this port.
    Send(PortId, Vec<u8>),
    /// A unicast peer's MAC is not known: ask for it.
    Resolve(PortId, IpAddr),
    /// An instance began or ceased to be Active: the responder and the lease follow.
    Role(LeaseId, Role),
    /// Workers may serve up to this time.
    Renew(LeaseId, Time),
    /// Announce the instance's VIPs again.
    Announce(LeaseId),
    /// Tell the operator of a change of state.
    Changed {
        /// The instance.
        name: String,
        /// What it was.
        from: State,
        /// What it is.
        to: State,
        /// What led to it.
        why: Why,
    },
    /// Tell the operator of a refused advert.
    Refused(Reject, PortId, Option<IpAddr>),
}

/// What instances depend on besides adverts; the driver knows.
pub trait Conditions {
    /// Whether a port has link.
    fn link_is_up(&self, port: PortId) -> bool;
    /// Whether a tracked thing is well.
    fn is_well(&self, instance: &str, tracked: &Tracked) -> bool;
    /// Whether a worker has not taken a turn for too long (V45).
    fn is_stalled(&self) -> bool;
}

/// One instance with all that belongs to it.
#[derive(Debug)]
struct Router {
    config: VrrpInstance,
    lease: LeaseId,
    port: PortId,
    /// The port's MAC and its primary address of the family, once there is one.
    place: Option<(MacAddr, IpAddr)>,
    machine: Machine,
    /// Everything that it needs was well when last looked at.
    well: bool,
    /// The last accepted advert.
    heard: Option<(Time, Accepted)>,
    sent: u64,
    received: u64,
    /// Of these by the checksum's kind: RFC 5798's, RFC 9568's (V9).
    checksums: [u64; 2],
    transitions: u64,
}

/// All instances of a director.
#[derive(Debug, Default)]
pub struct Routers {
    routers: Vec<Router>,
    tables: Arc<Tables>,
    errors: [u64; Reject::COUNT],
    logged: [Option<Time>; Reject::COUNT],
    refused: [Option<Refusal>; Reject::COUNT],
    /// Scratch space of one step.
    steps: Vec<machine::Action>,
}

impl Routers {
    /// Takes over a configuration and the tables that were made of it. Instances that stay keep
    /// their role; others resign, or begin in Init until [`Self::weigh`] finds them well.
    pub fn configure(
        &mut self,
        now: Time,
        config: &Config,
        tables: Arc<Tables>,
        out: &mut Vec<Action>,
    ) {
        self.tables = tables;
        let mut old = std::mem::take(&mut self.routers);
        for instance in &config.vrrp {
            let slot = self.slot(&instance.name);
            let Some((lease, port)) = slot else { continue };
            let place = self.place(port, instance);
            let settings = settings(instance, place);
            let at = old.iter().position(|r| r.is_same(instance, port));
            let router = match at.map(|at| old.swap_remove(at)) {
                Some(mut known) => {
                    known.machine.configure(settings);
                    known.config = instance.clone();
                    (known.lease, known.place) = (lease, place);
                    known
                }
                None => Router::new(instance, (lease, port), place, settings),
            };
            self.routers.push(router);
        }
        // What is gone resigns by its old addresses, before anything else speaks for its lease.
        let kept = std::mem::replace(&mut self.routers, old);
        for at in 0..self.routers.len() {
            self.step(now, at, Event::Stop, out);
        }
        self.routers = kept;
    }

    fn slot(&self, name: &str) -> Option<(LeaseId, PortId)> {
        let mut all = (0..).map(LeaseId).zip(&self.tables.instances);
        all.find_map(|(id, instance)| {
            let instance = instance.as_ref().filter(|i| &*i.name == name)?;
            Some((id, instance.port))
        })
    }

    /// The port's MAC and the address that adverts come from: the first IPv4 address, or the
    /// link-local one that the TAP has by the port's MAC (never one of a virtual MAC, V54).
    fn place(&self, port: PortId, instance: &VrrpInstance) -> Option<(MacAddr, IpAddr)> {
        let port = self.tables.port(port)?;
        let is_v4 = instance.addresses.first()?.is_ipv4();
        if !is_v4 {
            return Some((port.mac, nd::link_local(port.mac).into()));
        }
        let own = |(address, _): &&(IpAddr, u8)| {
            address.is_ipv4() && !instance.vips().any(|vip| vip == *address)
        };
        let first = port.addresses.iter().find(own);
        // The owner of the addresses may have no other.
        let any = || port.addresses.iter().find(|(address, _)| address.is_ipv4());
        Some((port.mac, first.or_else(any)?.0))
    }

    /// A whole frame that `port` received, with its VLAN tag if it has one. `false`: it is too
    /// short to be one, and counts as nothing.
    pub fn hear(&mut self, now: Time, port: PortId, octets: &[u8], out: &mut Vec<Action>) -> bool {
        let untagged = frame::untag(octets);
        let Some(frame) = untagged.as_deref().and_then(Frame::parse) else {
            return false;
        };
        self.receive(now, port, &frame, out);
        true
    }

    /// A VRRP frame that `port` received, without VLAN tag.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        port: PortId,
        frame: &Frame<'_>,
        out: &mut Vec<Action>,
    ) {
        let mut source = None;
        let judged = packet::open(frame).and_then(|packet| {
            source = Some(packet.source);
            let named = |r: &Router| {
                (r.port, r.config.id, r.is_v4()) == (port, packet.id(), packet.is_v4())
            };
            let at = self.routers.iter().position(named);
            let at = at.ok_or(Reject::UnknownId)?;
            let accepted = packet::judge(&packet, &self.routers[at].config, |ip| self.is_own(ip))?;
            Ok((at, accepted))
        });
        match judged {
            Ok((at, accepted)) => {
                let heard = accepted.heard;
                let router = &mut self.routers[at];
                router.received += 1;
                if let Some(kind) = accepted.checksum {
                    router.checksums[kind as usize] += 1;
                }
                router.heard = Some((now, accepted));
                self.step(now, at, Event::Heard(heard), out);
                self.settle_groups(now, out);
            }
            Err(reason) => {
                self.errors[reason as usize] += 1;
                self.refused[reason as usize] = Some(Refusal {
                    reason,
                    at: now,
                    port,
                    source,
                });
                let last = &mut self.logged[reason as usize];
                if last.is_none_or(|at| now.since(at) >= LOG_INTERVAL) {
                    *last = Some(now);
                    out.push(Action::Refused(reason, port, source));
                }
            }
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let of_port = |port: &weir_engine::tables::Port| {
            port.addresses.iter().any(|(own, _)| *own == address)
                || address == IpAddr::from(nd::link_local(port.mac))
        };
        self.tables.ports.iter().any(of_port)
    }

    /// Does what is due at `now`. Adverts that have come in belong before it, for a Backup that
    /// is woken late must hear them first.
    pub fn expire(&mut self, now: Time, out: &mut Vec<Action>) {
        self.expire_where(now, |_| true, out);
    }

    /// Does what is due at `now` for those that are Active, which speak before they listen: one
    /// that is woken late must not answer for a lease that ran out (V45).
    pub fn advertise(&mut self, now: Time, out: &mut Vec<Action>) {
        self.expire_where(now, |state| state == State::Active, out);
    }

    fn expire_where(&mut self, now: Time, is_meant: fn(State) -> bool, out: &mut Vec<Action>) {
        let mut is_due = false;
        for at in 0..self.routers.len() {
            let machine = &self.routers[at].machine;
            let due = machine.deadline().is_some_and(|due| due <= now);
            if due && is_meant(machine.state().0) {
                is_due = true;
                self.step(now, at, Event::Expired, out);
            }
        }
        if is_due {
            self.settle_groups(now, out);
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        self.routers
            .iter()
            .filter_map(|r| r.machine.deadline())
            .min()
    }

    /// Looks at everything that instances depend on: starts those that are well, faults those that
    /// are not, and changes priorities.
    pub fn weigh(&mut self, now: Time, conditions: &impl Conditions, out: &mut Vec<Action>) {
        let stalled = conditions.is_stalled();
        for at in 0..self.routers.len() {
            let priority = self.routers[at].judge(stalled, conditions);
            if priority != self.routers[at].machine.priority() {
                self.step(now, at, Event::Priority(priority), out);
            }
        }
        // All are judged before any starts: what ailed a whole group must not outlast itself
        // because each waits for the others.
        for at in 0..self.routers.len() {
            let state = self.routers[at].machine.state().0;
            match (self.routers[at].well, state) {
                (true, State::Init | State::Fault) if self.group_is_well(at) => {
                    self.step(now, at, Event::Start, out);
                }
                (false, State::Init | State::Backup | State::Active) => {
                    self.step(now, at, Event::Fault, out);
                }
                _ => {}
            }
        }
        self.settle_groups(now, out);
    }

    /// Whether all of the instance's group are well; until then none of it starts.
    fn group_is_well(&self, at: usize) -> bool {
        let group = &self.routers[at].config.group;
        let ill = |r: &Router| r.config.group == *group && !r.well;
        group.is_none() || !self.routers.iter().any(ill)
    }

    /// Instances of a group change role together (V42): all become Active when all would, and none
    /// stays Active beside one that cannot be.
    fn settle_groups(&mut self, now: Time, out: &mut Vec<Action>) {
        for first in 0..self.routers.len() {
            let Some(group) = self.routers[first].config.group.clone() else {
                continue;
            };
            let of_group = |r: &Router| r.config.group.as_ref() == Some(&group);
            let members: Vec<usize> = (0..self.routers.len())
                .filter(|at| of_group(&self.routers[*at]))
                .collect();
            if members[0] != first {
                continue; // Settled already.
            }
            let all_willing = members
                .iter()
                .all(|at| self.routers[*at].machine.is_willing());
            let event = if all_willing {
                Event::Promote
            } else {
                Event::Demote
            };
            for at in members {
                self.step(now, at, event, out);
            }
        }
    }

    /// Makes an Active instance step down in favour of any other director; without a name all.
    /// Returns how many did.
    pub fn resign(&mut self, now: Time, name: Option<&str>, out: &mut Vec<Action>) -> usize {
        let group = name.and_then(|name| {
            let named = self.routers.iter().find(|r| r.config.name == name)?;
            named.config.group.clone()
        });
        let mut count = 0;
        for at in 0..self.routers.len() {
            let router = &self.routers[at];
            let named = name.is_none_or(|name| router.config.name == name)
                || (group.is_some() && router.config.group == group);
            if named {
                count += usize::from(router.machine.state().0 == State::Active);
                self.step(now, at, Event::Resign, out);
            }
        }
        count
    }

    /// Ends all instances: those that are Active say so (V36).
    pub fn stop(&mut self, now: Time, out: &mut Vec<Action>) {
        for at in 0..self.routers.len() {
            self.step(now, at, Event::Stop, out);
        }
    }

    /// One step of one instance, and what follows from it outside.
    fn step(&mut self, now: Time, at: usize, event: Event, out: &mut Vec<Action>) {
        let mut steps = std::mem::take(&mut self.steps);
        self.routers[at].machine.step(now, event, &mut steps);
        for action in steps.drain(..) {
            let router = &mut self.routers[at];
            match action {
                machine::Action::Advert(priority) => {
                    router.sent += 1;
                    router.advertise(priority, &self.tables, out);
                }
                machine::Action::Announce => out.push(Action::Announce(router.lease)),
                machine::Action::Change { from, to, why } => {
                    router.transitions += 1;
                    let role = match to {
                        State::Active => Role::Active,
                        State::Init | State::Backup | State::Fault => Role::Backup,
                    };
                    if (from == State::Active) != (to == State::Active) {
                        out.push(Action::Role(router.lease, role));
                    }
                    let name = router.config.name.clone();
                    out.push(Action::Changed {
                        name,
                        from,
                        to,
                        why,
                    });
                }
            }
        }
        self.steps = steps;
        let router = &self.routers[at];
        if let Some(until) = router.machine.lease() {
            out.push(Action::Renew(router.lease, until));
        }
    }

    /// Refused adverts by [`Reject`].
    pub fn errors(&self) -> &[u64; Reject::COUNT] {
        &self.errors
    }

    /// The last refused advert of each kind, if there was one within 10 s.
    pub fn refusals(&self, now: Time) -> Vec<Refusal> {
        let lately = |refusal: &&Refusal| now.since(refusal.at) < REFUSAL_LIFETIME;
        self.refused
            .iter()
            .flatten()
            .filter(lately)
            .copied()
            .collect()
    }

    /// All instances, for people and metrics.
    pub fn report(&self) -> Vec<InstanceStatus> {
        self.routers.iter().map(Router::report).collect()
    }
}

impl Router {
    fn new(
        config: &VrrpInstance,
        (lease, port): (LeaseId, PortId),
        place: Option<(MacAddr, IpAddr)>,
        settings: Settings,
    ) -> Self {
        Self {
            config: config.clone(),
            lease,
            port,
            place,
            machine: Machine::new(settings),
            well: false,
            heard: None,
            sent: 0,
            received: 0,
            checksums: [0; 2],
            transitions: 0,
        }
    }

    /// Looks at what the instance depends on. Returns the priority that follows.
    fn judge(&mut self, stalled: bool, conditions: &impl Conditions) -> u8 {
        let base = i32::from(self.config.priority);
        let (mut well, mut priority) = (!stalled && self.place.is_some(), base);
        well &= conditions.link_is_up(self.port);
        for track in &self.config.track {
            let fine = conditions.is_well(&self.config.name, &track.what);
            match track.weight {
                0 => well &= fine,
                below if below < 0 && !fine => priority += i32::from(below),
                above if above > 0 && fine => priority += i32::from(above),
                _ => {}
            }
        }
        self.well = well;
        if base == i32::from(PRIORITY_OWNER) {
            return PRIORITY_OWNER;
        }
        u8::try_from(priority.clamp(1, 254)).unwrap_or(1)
    }

    fn is_v4(&self) -> bool {
        self.config.addresses.first().is_none_or(IpAddr::is_ipv4)
    }

    /// Whether a configured instance is this one, so that it keeps its role.
    fn is_same(&self, config: &VrrpInstance, port: PortId) -> bool {
        let key = |c: &VrrpInstance| (c.id, c.version, c.addresses.first().map(IpAddr::is_ipv4));
        self.config.name == config.name && self.port == port && key(&self.config) == key(config)
    }

    /// The frames of one advert: to the group from the MAC that switches shall learn, or to each
    /// peer from the port's.
    fn advertise(&self, priority: u8, tables: &Tables, out: &mut Vec<Action>) {
        let Some((mac, source)) = self.place else {
            return;
        };
        if self.config.peers.is_empty() {
            let mac = tables
                .instance(self.lease)
                .map_or(mac, |instance| instance.mac);
            let to = packet::to_group(source.is_ipv4());
            let frame = packet::emit(&self.config, priority, (mac, source), to);
            out.extend(frame.map(|frame| Action::Send(self.port, frame)));
        }
        for &peer in &self.config.peers {
            match tables.hop(peer) {
                Hop::Ready(hop) => {
                    let to = (hop.mac, peer);
                    let frame = packet::emit(&self.config, priority, (mac, source), to);
                    out.extend(frame.map(|frame| Action::Send(hop.port, frame)));
                }
                Hop::Unresolved { port, neighbour } => out.push(Action::Resolve(port, neighbour)),
                Hop::NoRoute => {}
            }
        }
    }
}

fn settings(instance: &VrrpInstance, place: Option<(MacAddr, IpAddr)>) -> Settings {
    Settings {
        rules: if instance.version == 2 {
            Rules::V2
        } else {
            Rules::V3
        },
        priority: instance.priority,
        interval: instance.interval,
        preempt: instance.preempt,
        preempt_delay: instance.preempt_delay,
        source: place.map_or(IpAddr::from([0, 0, 0, 0]), |(_, source)| source),
        grouped: instance.group.is_some(),
    }
}
