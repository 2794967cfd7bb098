//! Who else is on the wire: servers that take what is forwarded, and clients that knock.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_wire::addr::MacAddr;

use super::network::Network;
use super::plan::{self, CLIENT, Plan, SERVER, SERVERS};
use super::wire::{self, Word};

/// What a host is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Asks for the VIPs' MACs, keeps them, and sends a datagram each time.
    Client {
        vips: Vec<IpAddr>,
        neighbours: BTreeMap<IpAddr, MacAddr>,
    },
    /// Takes datagrams; `leaks` names VIPs that it wrongly answers for.
    Server { leaks: Vec<IpAddr> },
}

/// A host with one network card.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) nic: usize,
    pub(super) mac: MacAddr,
    pub(super) addresses: [IpAddr; 2],
    pub(super) kind: Kind,
}

/// What a host does.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// It sends this.
    Send(Vec<u8>),
    /// A client sends a datagram with this number to a VIP.
    Knock(Vec<u8>, u64),
    /// A server took the datagram with this number, which came from this MAC.
    Took(u64, MacAddr),
}

impl Host {
    fn own(&self, of: IpAddr) -> IpAddr {
        self.addresses[usize::from(of.is_ipv6())]
    }

    /// A frame has come.
    pub(super) fn receive(&mut self, frame: &[u8]) -> Option<Deed> {
        let to = wire::destination(frame);
        if to != self.mac && !to.is_multicast() {
            return None;
        }
        match (wire::read(frame), &mut self.kind) {
            (Word::Question { target, asker }, kind) => {
                let leaks = matches!(kind, Kind::Server { leaks } if leaks.contains(&target));
                let answers = self.addresses.contains(&target) || leaks;
                answers.then(|| Deed::Send(wire::answer((self.mac, target), asker)))
            }
            (
                Word::Claim {
                    address,
                    mac,
                    gratuitous,
                },
                Kind::Client { neighbours, vips },
            ) => {
                // Unasked words change what is known, and add nothing (RFC 826).
                if vips.contains(&address) && (!gratuitous || neighbours.contains_key(&address)) {
                    neighbours.insert(address, mac);
                }
                None
            }
            (Word::Datagram { number, .. }, Kind::Server { .. }) => {
                Some(Deed::Took(number, wire::source(frame)))
            }
            (Word::Claim { .. } | Word::Datagram { .. }, _)
            | (Word::Advert { .. } | Word::Other, _) => None,
        }
    }

    /// A client knocks at every VIP, or asks where it is.
    pub(super) fn tick(&self, number: &mut u64) -> Vec<Deed> {
        let Kind::Client { vips, neighbours } = &self.kind else {
            return Vec::new();
        };
        let deed = |vip: &IpAddr| {
            let from = (self.mac, self.own(*vip));
            let Some(mac) = neighbours.get(vip) else {
                return Deed::Send(wire::question(from, *vip));
            };
            *number += 1;
            Deed::Knock(wire::datagram(from, (*mac, *vip), *number), *number)
        };
        vips.iter().map(deed).collect()
    }
}

/// Servers and clients, spread over the switches.
pub(super) fn all(plan: &Plan, network: &mut Network) -> Vec<Host> {
    let mut hosts = Vec::new();
    let mut add = |segment: usize, last: u8, kind: Kind| {
        hosts.push(Host {
            nic: network.connect(segment, last.into()),
            mac: plan::host_mac(last),
            addresses: [plan::v4(segment, last), plan::v6(segment, last)],
            kind,
        });
    };
    for last in SERVER..SERVER + SERVERS {
        let leaks = match plan.leak && last == SERVER {
            true => plan.services(),
            false => Vec::new(),
        };
        add(plan.server_segment(), last, Kind::Server { leaks });
    }
    for last in CLIENT..CLIENT + plan.clients {
        let kind = Kind::Client {
            vips: plan.services(),
            neighbours: BTreeMap::new(),
        };
        add(0, last, kind);
    }
    hosts
}
