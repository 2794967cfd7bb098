//! Finds real servers that answer for a VIP, the mistake that breaks most LVS installations, and
//! names them (A5).
//!
//! Whatever claims a VIP on the wire is recorded by MAC and named as the configured server behind
//! it. A server that answers only whoever asks it is not heard by others, so the Active asks: every
//! server that holds a VIP (direct routing, tunnel) is sent an ARP request or a neighbour
//! solicitation for it, unicast, which a sound server ignores. Answers are never learned. Sans-I/O.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_engine::id::PortId;
use weir_engine::tables::{Hop, Map, Mode as Way, Tables};
use weir_engine::time::Time;
use weir_wire::addr::MacAddr;

use crate::config::Prefix;
use crate::responder::{Claim, Conflict};
use crate::{arp, nd};

/// From one round of questions, to every server about every VIP, to the next.
pub const ROUND_INTERVAL: Duration = Duration::from_secs(30);
/// The same when servers have changed meanwhile, so that a new one need not wait for long.
const ROUND_INTERVAL_CHANGED: Duration = Duration::from_secs(10);
/// The first question, after the announcements that a start makes.
const PROBE_DELAY: Duration = Duration::from_secs(2);
/// Questions in one step, and the time to the next: 800 a second at most.
const PROBE_BATCH: usize = 8;
const PROBE_PACE: Duration = Duration::from_millis(10);
/// A leak that was not seen for so long is mended: three rounds of questions.
pub const LEAK_LIFETIME: Duration = Duration::from_secs(95);
/// Leaks kept; of more the oldest go.
const LEAKS_MAX: usize = 1024;

/// A server that holds a VIP and is on-link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    vip: IpAddr,
    port: PortId,
    mac: MacAddr,
    /// Our own MAC and address on that port, of the VIP's family.
    from: (MacAddr, IpAddr),
}

impl Holder {
    fn question(&self) -> Option<Vec<u8>> {
        match (self.from.1, self.vip) {
            (IpAddr::V4(from), IpAddr::V4(vip)) => {
                Some(arp::question((self.from.0, from), self.mac, vip))
            }
            (IpAddr::V6(from), IpAddr::V6(vip)) => {
                Some(nd::question((self.from.0, from), self.mac, vip))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }
}

/// Who holds a VIP, and how servers are called. Made from tables away from the control thread's
/// turns: there may be 65,536 servers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// In order, each once.
    list: Vec<Holder>,
    /// Names of servers by port and MAC.
    names: Map<(PortId, MacAddr), String>,
}

impl Holders {
    /// Those of some tables.
    pub fn of(tables: &Tables) -> Self {
        let mut holders = Self::default();
        for server in tables.servers.iter().flatten() {
            let (Hop::Ready(hop), Some(service)) = (&server.hop, tables.service(server.service))
            else {
                continue;
            };
            let Some(port) = tables.port(hop.port) else {
                continue;
            };
            let holds =
                |&&(address, len): &&(IpAddr, u8)| Prefix { address, len }.contains(server.address);
            // Beyond a gateway the MAC is the gateway's.
            let Some(&(dip, _)) = port.addresses.iter().find(holds) else {
                continue;
            };
            let name = format!("{}/{}", service.name, server.name);
            let names = &mut holders.names;
            names.entry((hop.port, hop.mac)).or_insert(name);
            let from = match service.vip {
                IpAddr::V4(_) if dip.is_ipv4() => dip,
                IpAddr::V4(_) => continue, // It is known by IPv6 only: there is no one to ask from.
                IpAddr::V6(_) => nd::link_local(port.mac).into(),
            };
            if matches!(server.mode, Way::Dr | Way::Tunnel) {
                holders.list.push(Holder {
                    vip: service.vip,
                    port: hop.port,
                    mac: hop.mac,
                    from: (port.mac, from),
                });
            }
        }
        holders.list.sort_unstable();
        holders.list.dedup();
        holders
    }
}

/// Somebody who claims a VIP without right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// What is claimed.
    pub vip: IpAddr,
    /// By whom.
    pub mac: MacAddr,
    /// Where.
    pub port: PortId,
    /// `SERVICE/SERVER` of the configured server with that MAC.
    pub server: Option<String>,
    /// How it was last seen.
    pub how: Claim,
    /// When it was first seen.
    pub first: Time,
    /// When it was last seen.
    pub last: Time,
    /// How often.
    pub count: u64,
}

impl Leak {
    /// What the operator has to do on the server.
    pub fn fix(&self) -> &'static str {
        match self.how {
            Claim::ArpAnswer => {
                "on the server: sysctl net.ipv4.conf.all.arp_ignore=1 (`lo` alone does nothing)"
            }
            Claim::ArpQuestion | Claim::ArpAnnouncement => {
                "on the server: sysctl net.ipv4.conf.all.arp_announce=2"
            }
            Claim::Neighbour => "on the server: put the VIP on `lo` with /128, not on its Ethernet",
        }
    }
}

/// Questions and leaks; see the module's text.
#[derive(Debug, Default)]
pub struct Suppression {
    holders: Arc<Holders>,
    /// Who is asked next; 0 between two rounds.
    next: usize,
    /// When the present round began, or the last one.
    began: Time,
    /// When the next question is due.
    due: Time,
    /// The holders are others than when the present round began.
    changed: bool,
    leaks: Vec<Leak>,
}

impl Suppression {
    /// Takes over who holds VIPs. A round that is under way goes on where it was.
    pub fn configure(&mut self, now: Time, holders: Arc<Holders>) {
        if Arc::ptr_eq(&holders, &self.holders) {
            return;
        }
        let first = self.holders.list.is_empty();
        if let Some(next) = self.holders.list.get(self.next).filter(|_| self.next > 0) {
            self.next = holders.list.partition_point(|holder| holder < next);
        }
        self.holders = holders;
        self.changed = true;
        if first {
            (self.next, self.began, self.due) = (0, now, now + PROBE_DELAY);
        } else if self.next >= self.holders.list.len() {
            self.end_round(now);
        } else if self.next == 0 {
            self.due = self.due.min(self.began + ROUND_INTERVAL_CHANGED);
        }
    }

    fn end_round(&mut self, now: Time) {
        self.next = 0;
        let interval = match self.changed {
            true => ROUND_INTERVAL_CHANGED,
            false => ROUND_INTERVAL,
        };
        self.due = (self.began + interval).max(now + PROBE_PACE);
    }

    /// Asks what is due at `now`; `is_active` tells the VIPs that are ours to serve. Frames and
    /// their ports are added to `out`.
    pub fn expire(
        &mut self,
        now: Time,
        is_active: impl Fn(IpAddr) -> bool,
        out: &mut Vec<(PortId, Vec<u8>)>,
    ) {
        if self.deadline().is_none_or(|at| now < at) {
            return;
        }
        if self.next == 0 {
            (self.began, self.changed) = (now, false);
        }
        let batch = self.holders.list.iter().skip(self.next).take(PROBE_BATCH);
        // A Backup is silent (A12).
        for holder in batch.filter(|holder| is_active(holder.vip)) {
            out.extend(holder.question().map(|frame| (holder.port, frame)));
        }
        self.next += PROBE_BATCH;
        self.due = now + PROBE_PACE;
        if self.next >= self.holders.list.len() {
            self.end_round(now);
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        (!self.holders.list.is_empty()).then_some(self.due)
    }

    /// Records a claim.
    pub fn claim(&mut self, now: Time, conflict: &Conflict) -> &Leak {
        let same = |leak: &Leak| (leak.vip, leak.mac) == (conflict.vip, conflict.mac);
        let at = self.leaks.iter().position(same).unwrap_or_else(|| {
            if self.leaks.len() == LEAKS_MAX {
                let oldest = (0..LEAKS_MAX).min_by_key(|at| self.leaks[*at].last);
                self.leaks.swap_remove(oldest.unwrap_or(0));
            }
            self.leaks.push(Leak {
                vip: conflict.vip,
                mac: conflict.mac,
                port: conflict.port,
                server: None,
                how: conflict.how,
                first: now,
                last: now,
                count: 0,
            });
            self.leaks.len() - 1
        });
        let leak = &mut self.leaks[at];
        if now.since(leak.last) >= LEAK_LIFETIME {
            (leak.first, leak.count) = (now, 0); // It was mended, and is back.
        }
        (leak.port, leak.how, leak.last) = (conflict.port, conflict.how, now);
        leak.count += 1;
        leak.server = self
            .holders
            .names
            .get(&(conflict.port, conflict.mac))
            .cloned();
        leak
    }

    /// Who claimed a VIP within [`LEAK_LIFETIME`].
    pub fn leaks(&self, now: Time) -> Vec<Leak> {
        let fresh = |leak: &&Leak| now.since(leak.last) < LEAK_LIFETIME;
        self.leaks.iter().filter(fresh).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use crate::testing::{config_with, facts, web};

    const WEB1: MacAddr = MacAddr([2, 0, 0, 0, 3, 1]);

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    /// Two servers on lan0, whose MACs are known.
    fn suppression(mode: Mode) -> Suppression {
        let mut suppression = Suppression::default();
        suppression.configure(at(0), holders(web(mode, 2)));
        suppression
    }

    fn holders(service: crate::config::Service) -> Arc<Holders> {
        let mut config = config_with(vec![service]);
        for n in 1..=9_u8 {
            config.ports[1].neighbours.push(crate::config::Neighbour {
                address: format!("10.0.0.2{n}").parse().unwrap(),
                mac: MacAddr([2, 0, 0, 0, 3, n]),
            });
        }
        let facts = facts();
        let inputs = crate::reconcile::Inputs {
            config: &config,
            overlay: &crate::overlay::Overlay::default(),
            health: &crate::health::Verdicts::default(),
            mirror: &crate::mirror::Mirror::from_config(&config),
            ports: &facts,
            steering: &weir_engine::steering::Steering::default(),
        };
        let snapshot = crate::reconcile::reconcile(&Default::default(), &inputs).unwrap();
        Arc::new(Holders::of(&snapshot.tables))
    }

    fn conflict(mac: MacAddr, how: Claim) -> Conflict {
        Conflict {
            vip: "192.0.2.10".parse().unwrap(),
            mac,
            port: PortId(1),
            how,
        }
    }

    #[test]
    fn a5_every_server_that_holds_a_vip_is_asked_in_turn_by_the_active_alone() {
        let mut asked = suppression(Mode::Dr);
        assert_eq!(asked.deadline(), Some(at(2000)));
        let mut out = Vec::new();
        asked.expire(at(2000), |_| false, &mut out);
        assert!(out.is_empty(), "a Backup is silent");
        asked.expire(at(32_000), |_| true, &mut out);
        let to: Vec<&[u8]> = out.iter().map(|(_, frame)| &frame[..6]).collect();
        assert_eq!(to, [&[2, 0, 0, 0, 3, 1], &[2, 0, 0, 0, 3, 2]]);
        assert!(out.iter().all(|(port, _)| *port == PortId(1)));
        let vip_asked = out[0].1[38..42] == [192, 0, 2, 10];
        let from_dip = out[0].1[28..32] == [10, 0, 0, 1];
        assert!(vip_asked && from_dip);
        assert_eq!(asked.deadline(), Some(at(62_000)));
    }

    #[test]
    fn a5_servers_of_an_ipv6_vip_are_asked_by_solicitation_however_they_are_reached() {
        let mut service = web(Mode::Tunnel(crate::config::Encapsulation::Ipip), 2);
        service.address = "2001:db8::10".parse().unwrap();
        let mut asked = Suppression::default();
        asked.configure(at(0), holders(service));
        let mut out = Vec::new();
        asked.expire(at(2000), |_| true, &mut out);
        assert_eq!(out.len(), 2);
        let (port, bytes) = &out[0];
        let frame = crate::frame::Frame::parse(bytes).unwrap();
        assert_eq!((*port, frame.destination), (PortId(1), WEB1));
        let ours = crate::testing::facts()[1].mac;
        let question = nd::Nd::Solicit {
            source: nd::link_local(ours),
            mac: ours,
            target: "2001:db8::10".parse().unwrap(),
        };
        assert_eq!(nd::Nd::parse(&frame), Some(question));
    }

    /// Who is asked between two times, by the last octet of the server's MAC.
    fn asked_until(asked: &mut Suppression, ms: core::ops::Range<u64>) -> Vec<u8> {
        let mut out = Vec::new();
        ms.for_each(|ms| asked.expire(at(ms), |_| true, &mut out));
        out.iter().map(|(_, frame)| frame[5]).collect()
    }

    #[test]
    fn a5_other_servers_neither_restart_a_round_nor_wait_for_a_whole_one() {
        let mut asked = suppression(Mode::Dr);
        // Changes every second, as when neighbours come and go: the first round begins in time.
        asked.configure(at(1000), holders(web(Mode::Dr, 3)));
        asked.configure(at(1900), holders(web(Mode::Dr, 2)));
        assert_eq!(asked_until(&mut asked, 0..2500), [1, 2]);
        // The new one is asked after ten seconds, and then all are left in peace.
        asked.configure(at(3000), holders(web(Mode::Dr, 3)));
        assert_eq!(asked_until(&mut asked, 3000..12_500), [1, 2, 3]);
        assert_eq!(asked.deadline(), Some(at(42_000)));
        // In the middle of a round it goes on where it was.
        let mut asked = Suppression::default();
        asked.configure(at(0), holders(web(Mode::Dr, 9)));
        assert_eq!(asked_until(&mut asked, 0..2001), [1, 2, 3, 4, 5, 6, 7, 8]);
        let mut fewer = web(Mode::Dr, 9);
        fewer.servers.remove(0);
        asked.configure(at(2005), holders(fewer));
        assert_eq!(asked_until(&mut asked, 2005..2500), [9]);
        // The rest of a round vanishes: the next one comes.
        asked.configure(at(3000), holders(web(Mode::Dr, 9)));
        assert_eq!(asked_until(&mut asked, 12_000..12_001).len(), 8);
        asked.configure(at(12_005), holders(web(Mode::Dr, 1)));
        assert_eq!(asked_until(&mut asked, 12_005..22_001), [1]);
    }

    #[test]
    fn a5_a_nat_server_holds_no_vip_and_is_not_asked() {
        assert_eq!(suppression(Mode::Nat).deadline(), None);
    }

    #[test]
    fn a5_each_kind_of_leak_names_the_server_and_what_mends_it() {
        for (how, sysctl) in [
            (Claim::ArpAnswer, "arp_ignore=1"),
            (Claim::ArpQuestion, "arp_announce=2"),
            (Claim::ArpAnnouncement, "arp_announce=2"),
            (Claim::Neighbour, "on `lo`"),
        ] {
            let mut seen = suppression(Mode::Dr);
            let leak = seen.claim(at(10), &conflict(WEB1, how));
            assert_eq!(leak.server.as_deref(), Some("web/web1"));
            assert!(leak.fix().contains(sysctl));
        }
        let mut seen = suppression(Mode::Dr);
        let stranger = MacAddr([2, 9, 9, 9, 9, 9]);
        assert_eq!(
            seen.claim(at(10), &conflict(stranger, Claim::ArpAnswer))
                .server,
            None
        );
    }

    #[test]
    fn a5_a_mended_leak_is_forgotten_and_memory_is_bounded() {
        let mut seen = suppression(Mode::Dr);
        seen.claim(at(0), &conflict(WEB1, Claim::ArpAnswer));
        seen.claim(at(30_000), &conflict(WEB1, Claim::ArpAnswer));
        assert_eq!(seen.leaks(at(60_000))[0].count, 2);
        assert!(seen.leaks(at(126_000)).is_empty());
        let back = seen.claim(at(130_000), &conflict(WEB1, Claim::ArpAnswer));
        assert_eq!((back.first, back.count), (at(130_000), 1), "a new leak");
        for n in 0..5000_u16 {
            let [a, b] = n.to_be_bytes();
            let mac = MacAddr([2, 9, 9, 9, a, b]);
            seen.claim(at(200_000 + u64::from(n)), &conflict(mac, Claim::ArpAnswer));
        }
        assert_eq!(seen.leaks(at(210_000)).len(), LEAKS_MAX);
    }
}
