//! What the tables keep by address: VIPs, who listens there, and where NAT replies come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_engine::id::{PortId, ServerId, ServiceId};
use weir_engine::tables::{Family, Map, NatSource, PortRange, Unserved, Vip};
use weir_wire::addr::{Address, L4Port, Protocol};

use super::instances::Instances;
use super::routing::RoutingFamily;
use crate::config::{self, PortSpec};

/// An address family that an [`IpAddr`] may belong to.
pub(super) trait Split: Address {
    /// The address, if it is of this family.
    fn of(address: IpAddr) -> Option<Self>;
}

impl Split for Ipv4Addr {
    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(a) => Some(a),
            IpAddr::V6(_) => None,
        }
    }
}

impl Split for Ipv6Addr {
    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(a) => Some(a),
        }
    }
}

/// A NAT server and the client-side ports of its service.
#[derive(Clone, Copy, Debug)]
pub(super) struct NatServer<'a> {
    pub(super) id: ServerId,
    pub(super) server: &'a config::Server,
    pub(super) service: &'a config::Service,
}

/// Everything that is keyed by addresses of family `A`.
pub(super) fn family<A: Split>(
    services: &[(ServiceId, &config::Service)],
    nat: &NatSources,
    ports: &[weir_engine::tables::Port],
    instances: &Instances,
    routing: &RoutingFamily<A>,
) -> Family<A> {
    let mut family = Family {
        routes: routing.routes.clone(),
        neighbours: routing.neighbours.clone(),
        ..Family::default()
    };
    for (index, port) in (0..).zip(ports) {
        for (address, _) in &port.addresses {
            if let Some(dip) = A::of(*address) {
                family.dips.entry(dip).or_insert(PortId(index));
            }
        }
    }
    let mut ranges: Map<(A, Protocol), Vec<PortRange>> = Map::default();
    for &(id, service) in services {
        let Some(vip) = A::of(service.address) else {
            continue;
        };
        let protocol = protocol(service.protocol);
        // The first listed service of a VIP decides what its other ports answer.
        family.vips.entry(vip).or_insert_with(|| Vip {
            role: instances.role(service.address),
            unserved: unserved(service.unserved),
            dip: family.dips.get(&vip).copied(),
        });
        for (first, last) in intervals(&service.ports) {
            if first == last {
                family.exact.insert((vip, protocol, first), id);
            } else {
                let range = PortRange {
                    first,
                    last,
                    service: id,
                };
                ranges.entry((vip, protocol)).or_default().push(range);
            }
        }
    }
    for (address, role) in instances.vips() {
        let Some(vip) = A::of(address) else { continue };
        // No service uses it: a floating gateway.
        family.vips.entry(vip).or_insert_with(|| Vip {
            role,
            unserved: Unserved::Answer,
            dip: family.dips.get(&vip).copied(),
        });
    }
    for (key, mut list) in ranges {
        list.sort_by_key(|range| (range.last.0 - range.first.0, range.first));
        family.ranges.insert(key, list.into());
    }
    nat.fill(&mut family);
    family
}

/// First and last client-side ports of a service; single ports are intervals of one.
fn intervals(ports: &PortSpec) -> Vec<(L4Port, L4Port)> {
    match ports {
        PortSpec::All => vec![(L4Port(0), L4Port(u16::MAX))],
        PortSpec::One(port) => vec![(L4Port(port.0), L4Port(port.0))],
        PortSpec::Many(ports) => ports.iter().map(|p| (L4Port(p.0), L4Port(p.0))).collect(),
        PortSpec::Range(first, last) => vec![(L4Port(first.0), L4Port(last.0))],
    }
}

/// The wire's number of a service's protocol.
pub(super) fn protocol(protocol: config::Protocol) -> Protocol {
    match protocol {
        config::Protocol::Tcp => Protocol::TCP,
        config::Protocol::Udp => Protocol::UDP,
    }
}

fn unserved(unserved: config::Unserved) -> Unserved {
    match unserved {
        config::Unserved::Answer => Unserved::Answer,
        config::Unserved::Drop => Unserved::Drop,
    }
}

/// Which NAT server a reply's source may mean (D56).
#[derive(Debug, Default)]
pub(super) struct NatSources {
    exact: Map<(IpAddr, Protocol, L4Port), NatSource>,
    hosts: Map<(IpAddr, Protocol), NatSource>,
    /// Single ports by host, to find those that ranges hold too.
    ports: Map<(IpAddr, Protocol), Vec<L4Port>>,
}

impl NatSources {
    /// Builds the maps. A source is `One` only if exactly one VIP and port can lie behind it.
    pub(super) fn new(servers: &[NatServer<'_>]) -> Self {
        let mut sources = Self::default();
        let mut wide: Vec<NatServer<'_>> = Vec::new();
        for nat in servers {
            let (address, protocol) = (nat.server.address, protocol(nat.service.protocol));
            let spans = intervals(&nat.service.ports);
            match nat.server.port {
                // Several VIP ports end at one server port: the reply does not tell which.
                Some(port) => {
                    let one = spans.len() == 1 && spans[0].0 == spans[0].1;
                    sources.add((address, protocol, L4Port(port.0)), nat.id, one);
                }
                None => {
                    for &(first, last) in &spans {
                        if first == last {
                            sources.add((address, protocol, first), nat.id, true);
                        } else {
                            sources.add_host((address, protocol), nat.id);
                            wide.push(*nat);
                        }
                    }
                }
            }
        }
        for nat in wide {
            sources.cross(&nat);
        }
        sources
    }

    fn add(&mut self, key: (IpAddr, Protocol, L4Port), id: ServerId, one: bool) {
        let first = if one {
            NatSource::One(id)
        } else {
            NatSource::Many
        };
        let merge = |source: &mut NatSource| *source = NatSource::Many;
        self.exact.entry(key).and_modify(merge).or_insert(first);
        self.ports.entry((key.0, key.1)).or_default().push(key.2);
    }

    fn add_host(&mut self, key: (IpAddr, Protocol), id: ServerId) {
        let merge = |source: &mut NatSource| *source = NatSource::Many;
        self.hosts
            .entry(key)
            .and_modify(merge)
            .or_insert(NatSource::One(id));
    }

    /// Single ports of the same host that `nat`'s range holds too are ambiguous.
    ///
    /// A range never covers a port that another service of its own VIP has, but telling these
    /// apart here would save little: they count as ambiguous as well.
    fn cross(&mut self, nat: &NatServer<'_>) {
        let (address, protocol) = (nat.server.address, protocol(nat.service.protocol));
        for port in self.overlaps(nat) {
            self.exact
                .insert((address, protocol, port), NatSource::Many);
        }
    }

    /// Whether every reply of `nat` can be attributed without a flow.
    pub(super) fn is_stateless(&self, nat: &NatServer<'_>) -> bool {
        let (address, protocol) = (nat.server.address, protocol(nat.service.protocol));
        let own = Some(&NatSource::One(nat.id));
        let exact = |port| self.exact.get(&(address, protocol, port)) == own;
        match nat.server.port {
            Some(port) => exact(L4Port(port.0)),
            None => intervals(&nat.service.ports)
                .into_iter()
                .all(|(first, last)| {
                    if first == last {
                        exact(first)
                    } else {
                        self.hosts.get(&(address, protocol)) == own && self.overlaps(nat).is_empty()
                    }
                }),
        }
    }

    /// Single ports of the same host that lie in `nat`'s range.
    fn overlaps(&self, nat: &NatServer<'_>) -> Vec<L4Port> {
        let spans = intervals(&nat.service.ports);
        let key = (nat.server.address, protocol(nat.service.protocol));
        let ports = self.ports.get(&key).into_iter().flatten().copied();
        ports
            .filter(|port| spans.iter().any(|(a, b)| (*a..=*b).contains(port)))
            .collect()
    }

    fn fill<A: Split>(&self, family: &mut Family<A>) {
        for (&(ip, protocol, port), &source) in &self.exact {
            if let Some(address) = A::of(ip) {
                family.nat_sources.insert((address, protocol, port), source);
            }
        }
        for (&(ip, protocol), &source) in &self.hosts {
            if let Some(address) = A::of(ip) {
                family.nat_hosts.insert((address, protocol), source);
            }
        }
    }
}
