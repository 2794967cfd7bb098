//! Answers ARP and neighbour solicitations for VIPs, announces them and defends them.
//!
//! Only an Active answers: for a VIP of a VRRP instance with the instance's MAC on its port; for
//! a static VIP with the port's MAC, on the port whose subnet holds the VIP, or on every port if
//! none does. The kernel never sees a frame about a VIP. What is about other addresses is left to
//! it. Nothing is ever learned here. RFC 826, RFC 4861, RFC 5227.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use weir_engine::id::PortId;
use weir_engine::lease::LeaseId;
use weir_engine::tables::{Map, Role, Tables};
use weir_engine::time::Time;
use weir_wire::addr::{EtherType, MacAddr};

use crate::arp::{self, Arp, Operation};
use crate::frame::Frame;
use crate::nd::{self, Nd};

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

/// A VIP as the responder sees it.
#[derive(Clone, Debug, Default)]
struct Vip {
    active: bool,
    /// The VRRP instance that it belongs to, and the MAC of that.
    instance: Option<(LeaseId, MacAddr)>,
    ports: Vec<PortId>,
    conflicts: u64,
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
    macs: Vec<MacAddr>,
    /// The kernel's addresses.
    dips: Map<IpAddr, PortId>,
    vips: Map<IpAddr, Vip>,
    /// VRRP instances that are Active.
    active: std::collections::BTreeSet<LeaseId>,
    due: BTreeMap<(Time, PortId, IpAddr), Due>,
    /// Not before this may the next batch of announcements go.
    paced_until: Time,
    replies: u64,
}

impl Responder {
    /// Takes over VIPs, roles and MACs from new tables; what is newly ours is announced from now.
    pub fn configure(&mut self, now: Time, tables: &Tables) {
        self.macs = tables.ports.iter().map(|port| port.mac).collect();
        let dips4 = tables.v4.dips.iter().map(|(a, p)| (IpAddr::V4(*a), *p));
        let dips6 = tables.v6.dips.iter().map(|(a, p)| (IpAddr::V6(*a), *p));
        self.dips = dips4.chain(dips6).collect();
        let vips4 = tables.v4.vips.iter().map(|(a, v)| (IpAddr::V4(*a), v.role));
        let vips6 = tables.v6.vips.iter().map(|(a, v)| (IpAddr::V6(*a), v.role));
        let mut old = std::mem::take(&mut self.vips);
        for (address, role) in vips4.chain(vips6) {
            let before = old.remove(&address).unwrap_or_default();
            let (active, instance, ports) = match role {
                Role::Active => (true, None, homes(tables, address)),
                Role::Backup => (false, None, homes(tables, address)),
                Role::Leased(lease) => {
                    let Some(instance) = tables.instance(lease) else {
                        continue; // Tables name no lease without its instance.
                    };
                    let active = self.active.contains(&lease);
                    (active, Some((lease, instance.mac)), vec![instance.port])
                }
            };
            let vip = Vip {
                active,
                instance,
                ports,
                ..before
            };
            let known = before.active && before.instance == vip.instance;
            for &port in &vip.ports {
                if vip.active && !(known && before.ports.contains(&port)) {
                    self.due
                        .insert((now, port, address), Due::Announce(ANNOUNCEMENTS));
                }
            }
            if !vip.active || vip.ports != before.ports {
                self.leave(now, address, &before);
            }
            self.vips.insert(address, vip);
        }
        for (address, gone) in old {
            self.leave(now, address, &gone);
        }
    }

    /// Has a VIP leave its groups that was ours until now (A17).
    fn leave(&mut self, now: Time, address: IpAddr, before: &Vip) {
        if before.active && address.is_ipv6() {
            for &port in &before.ports {
                // What is announced at this moment stays.
                self.due.entry((now, port, address)).or_insert(Due::Leave);
            }
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
        for (&address, vip) in &mut self.vips {
            if vip.instance.is_some_and(|(of, _)| of == lease) {
                vip.active = active;
                for &port in vip
                    .ports
                    .iter()
                    .filter(|_| changed && !active && address.is_ipv6())
                {
                    self.due.insert((now, port, address), Due::Leave);
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
        let Self { vips, due, .. } = self;
        let own = |vip: &Vip| vip.active && vip.instance.is_some_and(|(of, _)| of == lease);
        // What was due later goes now.
        due.retain(|(_, _, address), _| !vips.get(address).is_some_and(own));
        for (&address, vip) in vips.iter().filter(|(_, vip)| own(vip)) {
            for &port in &vip.ports {
                due.insert((now, port, address), Due::Announce(ANNOUNCEMENTS));
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
        if self.macs.contains(&frame.source) {
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
        if self.macs.contains(&asker) {
            return Disposition::Ignored;
        }
        let claimed = self.vips.contains_key(&IpAddr::from(sender));
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
        let ours = match self.vips.get(&target) {
            Some(vip) => vip.active && vip.ports.contains(&port),
            None if self.dips.get(&target) != Some(&port) => return Disposition::Ignored,
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
            Nd::Advert { mac, .. } if self.macs.contains(&mac) => return Disposition::Ignored,
            Nd::Advert { mac, target } if self.may_claim(target.into(), mac) => {
                return Disposition::Silent;
            }
            Nd::Advert { mac, target } if self.vips.contains_key(&IpAddr::from(target)) => {
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
        let claimed = self.vips.contains_key(&IpAddr::from(source));
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
        let ours = match self.vips.get(&address) {
            Some(vip) => vip.active && vip.ports.contains(&port),
            // Every port has the link-local address of its own MAC, whichever the mirror lists.
            None if self.dips.get(&address) != Some(&port) && !target.is_unicast_link_local() => {
                return Disposition::Ignored;
            }
            None if !claimed => return Disposition::KernelRequest,
            None => self.dips.get(&address) == Some(&port),
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
        let Some(vip) = self.vips.get_mut(&conflict.vip) else {
            return;
        };
        vip.conflicts += 1;
        out.push(Action::Conflict(conflict));
        let rested = vip
            .defended
            .is_none_or(|at| now.since(at) >= DEFEND_INTERVAL);
        if vip.active && rested && vip.ports.contains(&conflict.port) {
            vip.defended = Some(now);
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
            let here = |vip: &Vip| vip.active && vip.ports.contains(&port);
            let ours = self.vips.get(&address).is_some_and(here);
            if !ours && due != Due::Leave {
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
        let here = |(a, vip): (&IpAddr, &Vip)| {
            (vip.active && a.is_ipv6() && vip.ports.contains(&port)).then_some(*a)
        };
        for address in self.vips.iter().filter_map(here) {
            // An announcement due at this very moment reports as well.
            self.due.entry((now, port, address)).or_insert(Due::Report);
        }
    }

    /// Whether a claim of a VIP is another director's, who has every right to it: it comes from
    /// the instance's virtual MAC, or we are Backup and our peers speak with their ports' MACs.
    fn may_claim(&self, vip: IpAddr, mac: MacAddr) -> bool {
        self.vips.get(&vip).is_some_and(|vip| {
            vip.instance.is_some_and(|(_, own)| {
                let peers_unknown = self.macs.contains(&own) && !vip.active;
                own == mac || peers_unknown
            })
        })
    }

    /// The MAC that an address of ours is answered for and announced with on a port.
    fn mac_of(&self, address: IpAddr, port: PortId) -> Option<MacAddr> {
        let instance = self.vips.get(&address).and_then(|vip| vip.instance);
        instance
            .map(|(_, mac)| mac)
            .or_else(|| self.macs.get(port.index()).copied())
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
        if let (Some(&mac), IpAddr::V6(vip)) = (self.macs.get(port.index()), vip) {
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
        let vip = |(a, vip): (&IpAddr, &Vip)| vip.active && vip.ports.contains(&port) && listens(a);
        let mac = self.macs.get(port.index());
        self.vips.iter().any(vip)
            || self.dips.iter().any(|(a, on)| *on == port && listens(a))
            || mac.is_some_and(|mac| nd::group(nd::link_local(*mac)) == group)
    }

    /// Whether `address` is a VIP, ours to serve or not.
    pub(crate) fn is_vip(&self, address: IpAddr) -> bool {
        self.vips.contains_key(&address)
    }

    /// Whether `address` is one of the appliance's own.
    pub(crate) fn is_dip(&self, address: IpAddr) -> bool {
        self.dips.contains_key(&address)
    }

    /// Whether a VIP is ours to serve now.
    pub fn is_active(&self, vip: IpAddr) -> bool {
        self.vips.get(&vip).is_some_and(|vip| vip.active)
    }

    /// Answers sent.
    pub fn replies(&self) -> u64 {
        self.replies
    }

    /// Each VIP: role, ports that answer, conflicts seen.
    pub fn vips(&self) -> impl Iterator<Item = (IpAddr, Role, &[PortId], u64)> {
        self.vips.iter().map(|(address, vip)| {
            let role = if vip.active {
                Role::Active
            } else {
                Role::Backup
            };
            (*address, role, vip.ports.as_slice(), vip.conflicts)
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

/// The ports on which a VIP is answered for.
fn homes(tables: &Tables, vip: IpAddr) -> Vec<PortId> {
    let ids = || (0..).map(PortId).zip(&tables.ports);
    let holds = |port: &weir_engine::tables::Port| {
        port.addresses.iter().any(|&(address, len)| {
            // A host route holds nothing but itself; a link-local subnet is on every port.
            let prefix = crate::config::Prefix { address, len };
            prefix.contains(vip)
        })
    };
    let at_home: Vec<PortId> = ids()
        .filter(|(_, port)| holds(port))
        .map(|(id, _)| id)
        .collect();
    if at_home.is_empty() {
        ids().map(|(id, _)| id).collect()
    } else {
        at_home
    }
}

#[cfg(test)]
pub(crate) mod tests;
