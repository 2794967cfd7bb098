//! Answers ARP and neighbour solicitations for VIPs, announces them and defends them.
//!
//! Only an Active answers: for a VIP of a VRRP instance with the instance's MAC on its port; for
//! a static VIP with the port's MAC, on the port whose subnet holds the VIP, or on every port if
//! none does. The kernel never sees a frame about a VIP. What is about other addresses is left to
//! it. Nothing is ever learned here. RFC 826, RFC 4861, RFC 5227.

mod homes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_engine::id::PortId;
use weir_engine::lease::LeaseId;
use weir_engine::tables::{Map, Role};
use weir_engine::time::Time;
use weir_wire::addr::{EtherType, MacAddr};

use crate::arp::{self, Arp, Operation};
use crate::frame::Frame;
use crate::nd::{self, Nd};
use homes::Home;
pub use homes::Homes;

/// Announcements of a VIP that became ours.
const ANNOUNCEMENTS: u8 = 5;
/// Between them: more than the second during which Linux may ignore an update (`locktime`, A7).
const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(1100);
/// Thereafter, so that switches do not forget the MAC, which they do after 300 s (A8).
const REFRESH_INTERVAL: Duration = Duration::from_secs(100);
/// Announcements in one step, and the time to the next: 3,200 frames per second at most.
const ANNOUNCE_BATCH: usize = 32;
const ANNOUNCE_PACE: Duration = Duration::from_millis(10);
/// At most one defence of a VIP in this time (RFC 5227 §2.4, DEFEND_INTERVAL).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this frame, without VLAN tag, out of this port.
    Send(PortId, Vec<u8>),
    /// Tell the operator: somebody else claims a VIP.
    Conflict(Conflict),
}

/// Somebody else claims a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The VIP.
    pub vip: IpAddr,
    /// Who claims it.
    pub mac: MacAddr,
    /// Where.
    pub port: PortId,
    /// By what.
    pub how: Claim,
}

/// What a VIP is claimed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// An ARP answer.
    ArpAnswer,
    /// An ARP question with the VIP as its sender.
    ArpQuestion,
    /// A gratuitous ARP.
    ArpAnnouncement,
    /// A neighbour advertisement, or a solicitation from the VIP.
    Neighbour,
}

impl Claim {
    /// As shown, and the metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ArpAnswer => "arp_answer",
            Self::ArpQuestion => "arp_question",
            Self::ArpAnnouncement => "arp_announcement",
            Self::Neighbour => "neighbour",
        }
    }
}

/// What became of a received ARP or neighbour discovery frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It was about a VIP, and that is settled.
    Answered,
    /// About a VIP that is not answered for here, or claims one.
    Silent,
    /// A request for an address of the kernel's.
    KernelRequest,
    /// An answer from this address, for the kernel if it asked.
    KernelAnswer(IpAddr),
    /// A router advertisement or redirect: ignored (A16).
    RouterWord,
    /// About nothing of ours, or malformed, or sent by ourselves.
    Ignored,
}

/// Claims of a VIP by others.
#[derive(Clone, Copy, Debug, Default)]
struct Claims {
    count: u64,
    /// When the VIP was defended last.
    defended: Option<Time>,
}

/// What is due for a VIP on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Announce, and again so many times at the short interval.
    Announce(u8),
    /// Report the solicited-node group, because a router asked.
    Report,
    /// Leave the solicited-node group, because the VIP is no longer ours.
    Leave,
}

/// The state machine; see the module's text.
#[derive(Debug, Default)]
pub struct Responder {
    homes: Arc<Homes>,
    /// Of VIPs that were claimed.
    claims: Map<IpAddr, Claims>,
    /// VRRP instances that are Active.
    active: BTreeSet<LeaseId>,
    due: BTreeMap<(Time, PortId, IpAddr), Due>,
    /// Not before this may the next batch of announcements go.
    paced_until: Time,
    replies: u64,
    /// Counts changes of what [`Self::vips`] tells.
    revision: u64,
}

impl Responder {
    /// Takes over VIPs and MACs, made from those that were taken over before; what is newly ours is
    /// announced from now.
    pub fn configure(&mut self, now: Time, homes: Arc<Homes>) {
        if Arc::ptr_eq(&homes, &self.homes) {
            return;
        }
        self.revision += 1;
        let before = std::mem::replace(&mut self.homes, Arc::clone(&homes));
        for &vip in &homes.changed {
            let was = before.vips.get(&vip).filter(|home| self.is_ours(home));
            let is = homes.vips.get(&vip).filter(|home| self.is_ours(home));
            for &port in is.iter().flat_map(|home| home.ports.iter()) {
                let owner = |home: &Home| (home.role, home.mac);
                let same = |was: &&Home| is.map(owner) == Some(owner(was));
                let known = was
                    .filter(same)
                    .is_some_and(|was| was.ports.contains(&port));
                if !known {
                    let announce = Due::Announce(ANNOUNCEMENTS);
                    self.due.insert((now, port, vip), announce);
                }
            }
            let ports = |home: Option<&Home>| home.map(|home| Arc::clone(&home.ports));
            if let Some(was) = was.filter(|_| ports(was) != ports(is)) {
                self.leave(now, vip, was);
            }
            if !homes.vips.contains_key(&vip) {
                self.claims.remove(&vip);
            }
        }
    }

    /// Whether a VIP with this home is ours to serve.
    fn is_ours(&self, home: &Home) -> bool {
        match home.role {
            Role::Active => true,
            Role::Backup => false,
            Role::Leased(lease) => self.active.contains(&lease),
        }
    }

    /// The home of a VIP that is ours to serve on `port`.
    fn own(&self, vip: IpAddr, port: PortId) -> Option<&Home> {
        let home = self.homes.vips.get(&vip)?;
        (self.is_ours(home) && home.ports.contains(&port)).then_some(home)
    }

    /// Has a VIP leave its groups that was ours until now (A17).
    fn leave(&mut self, now: Time, vip: IpAddr, home: &Home) {
        for &port in home.ports.iter().filter(|_| vip.is_ipv6()) {
            // What is announced at this moment stays.
            self.due.entry((now, port, vip)).or_insert(Due::Leave);
        }
    }

    /// Takes over the role of a VRRP instance. Who becomes Active announces all its VIPs from now
    /// on, paced (V32, V52); a Backup falls silent at once, but for leaving its groups (A17).
    pub fn set_role(&mut self, now: Time, lease: LeaseId, role: Role) {
        let active = role == Role::Active;
        let changed = match active {
            true => self.active.insert(lease),
            false => self.active.remove(&lease),
        };
        self.revision += u64::from(changed);
        if changed && !active {
            let Self { homes, due, .. } = self;
            for (&vip, home) in homes.vips.iter().filter(|(vip, _)| vip.is_ipv6()) {
                for &port in home
                    .ports
                    .iter()
                    .filter(|_| home.role == Role::Leased(lease))
                {
                    due.insert((now, port, vip), Due::Leave);
                }
            }
        }
        if changed && active {
            self.announce_all(now, lease);
        }
    }

    /// Announces the VIPs of a VRRP instance from now on, as on take-over: after a split has
    /// healed, caches and switches may follow the one that lost (V35).
    pub fn announce_all(&mut self, now: Time, lease: LeaseId) {
        if !self.active.contains(&lease) {
            return;
        }
        let Self { homes, due, .. } = self;
        let own = |home: &Home| home.role == Role::Leased(lease);
        // What was due later goes now.
        due.retain(|(_, _, vip), _| !homes.vips.get(vip).is_some_and(own));
        for (&vip, home) in homes.vips.iter().filter(|(_, home)| own(home)) {
            for &port in &*home.ports {
                due.insert((now, port, vip), Due::Announce(ANNOUNCEMENTS));
            }
        }
    }

    /// A frame of type ARP or ICMPv6 that `port` received, without VLAN tag.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        port: PortId,
        frame: &Frame<'_>,
        out: &mut Vec<Action>,
    ) -> Disposition {
        if self.homes.macs.contains(&frame.source) {
            return Disposition::Ignored; // Our own words, come back by a loop or a hub.
        }
        match frame.ether_type {
            EtherType::ARP => match Arp::parse(frame) {
                Some(arp) => self.arp(now, port, arp, out),
                None => Disposition::Ignored,
            },
            EtherType(_) => match Nd::parse(frame) {
                Some(nd) => self.nd(now, port, nd, out),
                None if nd::is_listener_query(frame) => {
                    self.report_groups(now, port);
                    Disposition::KernelRequest
                }
                None => Disposition::Ignored,
            },
        }
    }

    fn arp(&mut self, now: Time, port: PortId, arp: Arp, out: &mut Vec<Action>) -> Disposition {
        let (asker, sender) = arp.sender;
        if self.homes.macs.contains(&asker) {
            return Disposition::Ignored;
        }
        let claimed = self.homes.vips.contains_key(&IpAddr::from(sender));
        if claimed && !self.may_claim(sender.into(), asker) {
            self.conflict(
                now,
                Conflict {
                    vip: sender.into(),
                    mac: asker,
                    port,
                    how: claim_of(&arp),
                },
                out,
            );
        }
        if arp.operation == Operation::Reply {
            let answer = Disposition::KernelAnswer(sender.into());
            return if claimed { Disposition::Silent } else { answer };
        }
        if arp.is_gratuitous() {
            return if claimed {
                Disposition::Silent
            } else {
                Disposition::Ignored
            };
        }
        let target = IpAddr::V4(arp.target);
        let ours = match self.homes.vips.get(&target) {
            Some(_) => self.own(target, port).is_some(),
            None if self.homes.dips.get(&target) != Some(&port) => return Disposition::Ignored,
            None if !claimed => return Disposition::KernelRequest,
            // The kernel would learn the VIP from this request of a server without
            // `arp_announce=2`, which still needs its answer.
            None => true,
        };
        match self.mac_of(target, port) {
            Some(mac) if ours => {
                self.replies += 1;
                out.push(Action::Send(
                    port,
                    arp::reply((mac, arp.target), arp.sender),
                ));
                Disposition::Answered
            }
            Some(_) | None => Disposition::Silent,
        }
    }

    fn nd(&mut self, now: Time, port: PortId, nd: Nd, out: &mut Vec<Action>) -> Disposition {
        let (source, asker, target) = match nd {
            Nd::RouterSolicit => return Disposition::KernelRequest,
            Nd::RouterWord => return Disposition::RouterWord,
            Nd::Advert { mac, .. } if self.homes.macs.contains(&mac) => {
                return Disposition::Ignored;
            }
            Nd::Advert { mac, target } if self.may_claim(target.into(), mac) => {
                return Disposition::Silent;
            }
            Nd::Advert { mac, target } if self.homes.vips.contains_key(&IpAddr::from(target)) => {
                self.conflict(
                    now,
                    Conflict {
                        vip: target.into(),
                        mac,
                        port,
                        how: Claim::Neighbour,
                    },
                    out,
                );
                return Disposition::Silent;
            }
            Nd::Advert { target, .. } => return Disposition::KernelAnswer(target.into()),
            Nd::Solicit {
                source,
                mac,
                target,
            } => (source, mac, target),
        };
        let claimed = self.homes.vips.contains_key(&IpAddr::from(source));
        if claimed && !self.may_claim(source.into(), asker) {
            self.conflict(
                now,
                Conflict {
                    vip: source.into(),
                    mac: asker,
                    port,
                    how: Claim::Neighbour,
                },
                out,
            );
        }
        let address = IpAddr::V6(target);
        let ours = match self.homes.vips.get(&address) {
            Some(_) => self.own(address, port).is_some(),
            // Every port has the link-local address of its own MAC, whichever the mirror lists.
            None if self.homes.dips.get(&address) != Some(&port)
                && !target.is_unicast_link_local() =>
            {
                return Disposition::Ignored;
            }
            None if !claimed => return Disposition::KernelRequest,
            None => self.homes.dips.get(&address) == Some(&port),
        };
        match self.mac_of(address, port) {
            Some(mac) if ours => {
                self.replies += 1;
                let to = (!source.is_unspecified()).then_some((asker, source));
                out.push(Action::Send(port, nd::advert(mac, target, to)));
                Disposition::Answered
            }
            Some(_) | None => Disposition::Silent,
        }
    }

    /// Counts, tells, and defends a VIP that is ours, but not more often than RFC 5227 wants.
    fn conflict(&mut self, now: Time, conflict: Conflict, out: &mut Vec<Action>) {
        let ours = self.own(conflict.vip, conflict.port).is_some();
        let claims = self.claims.entry(conflict.vip).or_default();
        claims.count += 1;
        self.revision += 1;
        out.push(Action::Conflict(conflict));
        let last = claims.defended;
        if ours && last.is_none_or(|at| now.since(at) >= DEFEND_INTERVAL) {
            claims.defended = Some(now);
            self.announce(conflict.port, conflict.vip, out);
        }
    }

    /// Sends what is due at `now`, in batches.
    pub fn expire(&mut self, now: Time, out: &mut Vec<Action>) {
        if now < self.paced_until {
            return;
        }
        let mut sent = 0;
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            if sent == ANNOUNCE_BATCH {
                self.paced_until = now + ANNOUNCE_PACE;
                return;
            }
            let ((_, port, address), due) = entry.remove_entry();
            if self.own(address, port).is_none() && due != Due::Leave {
                continue; // Removed, or another director's by now.
            }
            sent += 1;
            match due {
                Due::Leave if self.needs_group(port, address) => {}
                Due::Leave => self.report(port, address, nd::Membership::Leave, out),
                Due::Report => self.report(port, address, nd::Membership::Join, out),
                Due::Announce(left) => {
                    self.announce(port, address, out);
                    self.report(port, address, nd::Membership::Join, out);
                    let (wait, left) = match left {
                        0 | 1 => (REFRESH_INTERVAL, 0),
                        more => (ANNOUNCE_INTERVAL, more - 1),
                    };
                    self.due
                        .insert((now + wait, port, address), Due::Announce(left));
                }
            }
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        self.due
            .keys()
            .next()
            .map(|(at, _, _)| self.paced_until.max(*at))
    }

    /// Joins the groups of all VIPs again, spread by the pace of announcements.
    fn report_groups(&mut self, now: Time, port: PortId) {
        let here = |vip: &&IpAddr| vip.is_ipv6() && self.own(**vip, port).is_some();
        let vips: Vec<IpAddr> = self.homes.vips.keys().filter(here).copied().collect();
        for vip in vips {
            // An announcement due at this very moment reports as well.
            self.due.entry((now, port, vip)).or_insert(Due::Report);
        }
    }

    /// Whether a claim of a VIP is another director's, who has every right to it: it comes from
    /// the instance's virtual MAC, or we are Backup and our peers speak with their ports' MACs.
    fn may_claim(&self, vip: IpAddr, mac: MacAddr) -> bool {
        self.homes.vips.get(&vip).is_some_and(|home| {
            home.mac.is_some_and(|own| {
                let peers_unknown = self.homes.macs.contains(&own) && !self.is_ours(home);
                own == mac || peers_unknown
            })
        })
    }

    /// The MAC that an address of ours is answered for and announced with on a port.
    fn mac_of(&self, address: IpAddr, port: PortId) -> Option<MacAddr> {
        let virtual_mac = self.homes.vips.get(&address).and_then(|home| home.mac);
        virtual_mac.or_else(|| self.homes.macs.get(port.index()).copied())
    }

    fn announce(&self, port: PortId, vip: IpAddr, out: &mut Vec<Action>) {
        let Some(mac) = self.mac_of(vip, port) else {
            return;
        };
        let frame = match vip {
            IpAddr::V4(vip) => arp::announcement(mac, vip),
            IpAddr::V6(vip) => nd::advert(mac, vip, None),
        };
        out.push(Action::Send(port, frame));
    }

    fn report(&self, port: PortId, vip: IpAddr, membership: nd::Membership, out: &mut Vec<Action>) {
        if let (Some(&mac), IpAddr::V6(vip)) = (self.homes.macs.get(port.index()), vip) {
            out.push(Action::Send(port, nd::report(mac, vip, membership)));
        }
    }

    /// Whether something else on the port listens to the solicited-node group of `address`: a
    /// switch knows members by port, so leaving would cut off that too.
    fn needs_group(&self, port: PortId, address: IpAddr) -> bool {
        let IpAddr::V6(address) = address else {
            return false;
        };
        let group = nd::group(address);
        let listens = |other: &IpAddr| matches!(other, IpAddr::V6(a) if nd::group(*a) == group);
        let vip = |vip: &IpAddr| listens(vip) && self.own(*vip, port).is_some();
        let mac = self.homes.macs.get(port.index());
        self.homes.vips.keys().any(vip)
            || self
                .homes
                .dips
                .iter()
                .any(|(a, on)| *on == port && listens(a))
            || mac.is_some_and(|mac| nd::group(nd::link_local(*mac)) == group)
    }

    /// Whether `address` is a VIP, ours to serve or not.
    pub(crate) fn is_vip(&self, address: IpAddr) -> bool {
        self.homes.vips.contains_key(&address)
    }

    /// Whether `address` is one of the appliance's own.
    pub(crate) fn is_dip(&self, address: IpAddr) -> bool {
        self.homes.dips.contains_key(&address)
    }

    /// Whether a VIP is ours to serve now.
    pub fn is_active(&self, vip: IpAddr) -> bool {
        self.homes
            .vips
            .get(&vip)
            .is_some_and(|home| self.is_ours(home))
    }

    /// Answers sent.
    pub fn replies(&self) -> u64 {
        self.replies
    }

    /// Counts changes of what [`Self::vips`] tells.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Each VIP: role, ports that answer, conflicts seen.
    pub fn vips(&self) -> impl Iterator<Item = (IpAddr, Role, &Arc<[PortId]>, u64)> {
        self.homes.vips.iter().map(|(vip, home)| {
            let role = match self.is_ours(home) {
                true => Role::Active,
                false => Role::Backup,
            };
            let conflicts = self.claims.get(vip).map_or(0, |claims| claims.count);
            (*vip, role, &home.ports, conflicts)
        })
    }
}

fn claim_of(arp: &Arp) -> Claim {
    match arp.operation {
        _ if arp.is_gratuitous() => Claim::ArpAnnouncement,
        Operation::Reply => Claim::ArpAnswer,
        Operation::Request => Claim::ArpQuestion,
    }
}

#[cfg(test)]
pub(crate) mod tests;
