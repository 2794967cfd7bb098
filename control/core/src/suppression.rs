//! Finds real servers that answer for a VIP, the mistake that breaks most LVS installations, and
//! names them (A5).
//!
//! Whatever claims a VIP on the wire is recorded by MAC and named as the configured server behind
//! it. A server that answers only whoever asks it is not heard by others, so the Active asks: every
//! server that holds a VIP (direct routing, tunnel) is sent an ARP request for it, unicast, which a
//! sound server ignores. Answers are never learned. Sans-I/O; IPv6 servers are found passively.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use weir_engine::id::PortId;
use weir_engine::tables::{Hop, Map, Mode, Tables};
use weir_engine::time::Time;
use weir_wire::addr::MacAddr;

use crate::arp;
use crate::config::Prefix;
use crate::responder::{Claim, Conflict};

/// Between two questions to one server about one VIP.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(30);
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
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    vip: Ipv4Addr,
    port: PortId,
    mac: MacAddr,
    /// Our own MAC and address on that port.
    from: (MacAddr, Ipv4Addr),
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
    holders: Vec<Holder>,
    /// Names of servers by port and MAC.
    names: Map<(PortId, MacAddr), String>,
    due: BTreeMap<(Time, usize), ()>,
    paced_until: Time,
    leaks: Vec<Leak>,
}

impl Suppression {
    /// Takes over servers and neighbours from new tables.
    pub fn configure(&mut self, now: Time, tables: &Tables) {
        self.names.clear();
        let mut holders = Vec::new();
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
            let Some((dip, _)) = port.addresses.iter().find(holds) else {
                continue;
            };
            let name = format!("{}/{}", service.name, server.name);
            self.names.entry((hop.port, hop.mac)).or_insert(name);
            if let (IpAddr::V4(vip), IpAddr::V4(dip), Mode::Dr | Mode::Tunnel) =
                (service.vip, *dip, server.mode)
            {
                let from = (port.mac, dip);
                let (port, mac) = (hop.port, hop.mac);
                holders.push(Holder {
                    vip,
                    port,
                    mac,
                    from,
                });
            }
        }
        holders.sort_unstable_by_key(|h| (h.vip, h.port, h.mac.0));
        holders.dedup();
        if holders != self.holders {
            let first = now + PROBE_DELAY;
            self.due = (0..holders.len()).map(|at| ((first, at), ())).collect();
            self.holders = holders;
        }
    }

    /// Asks what is due at `now`; `is_active` tells the VIPs that are ours to serve. Frames and
    /// their ports are added to `out`.
    pub fn expire(
        &mut self,
        now: Time,
        is_active: impl Fn(IpAddr) -> bool,
        out: &mut Vec<(PortId, Vec<u8>)>,
    ) {
        if now < self.paced_until {
            return;
        }
        for _ in 0..PROBE_BATCH {
            let Some(entry) = self.due.first_entry().filter(|e| e.key().0 <= now) else {
                return;
            };
            let ((_, at), ()) = entry.remove_entry();
            self.due.insert((now + PROBE_INTERVAL, at), ());
            // A Backup is silent (A12).
            if let Some(holder) = self.holders.get(at).filter(|h| is_active(h.vip.into())) {
                let frame = arp::question(holder.from, holder.mac, holder.vip);
                out.push((holder.port, frame));
            }
        }
        self.paced_until = now + PROBE_PACE;
    }

    /// When [`Self::expire`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        let first = self.due.keys().next();
        first.map(|(at, _)| self.paced_until.max(*at))
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
        leak.server = self.names.get(&(conflict.port, conflict.mac)).cloned();
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
    use crate::testing::{config_with, facts, web};

    const WEB1: MacAddr = MacAddr([2, 0, 0, 0, 3, 1]);

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    /// Two DR servers on lan0, whose MACs are known.
    fn suppression(mode: crate::config::Mode) -> Suppression {
        let mut config = config_with(vec![web(mode, 2)]);
        for n in 1..=2_u8 {
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
        let mut suppression = Suppression::default();
        suppression.configure(at(0), &snapshot.tables);
        suppression
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
        let mut asked = suppression(crate::config::Mode::Dr);
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
    fn a5_a_nat_server_holds_no_vip_and_is_not_asked() {
        assert_eq!(suppression(crate::config::Mode::Nat).deadline(), None);
    }

    #[test]
    fn a5_each_kind_of_leak_names_the_server_and_what_mends_it() {
        for (how, sysctl) in [
            (Claim::ArpAnswer, "arp_ignore=1"),
            (Claim::ArpQuestion, "arp_announce=2"),
            (Claim::ArpAnnouncement, "arp_announce=2"),
            (Claim::Neighbour, "on `lo`"),
        ] {
            let mut seen = suppression(crate::config::Mode::Dr);
            let leak = seen.claim(at(10), &conflict(WEB1, how));
            assert_eq!(leak.server.as_deref(), Some("web/web1"));
            assert!(leak.fix().contains(sysctl));
        }
        let mut seen = suppression(crate::config::Mode::Dr);
        let stranger = MacAddr([2, 9, 9, 9, 9, 9]);
        assert_eq!(
            seen.claim(at(10), &conflict(stranger, Claim::ArpAnswer))
                .server,
            None
        );
    }

    #[test]
    fn a5_a_mended_leak_is_forgotten_and_memory_is_bounded() {
        let mut seen = suppression(crate::config::Mode::Dr);
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
