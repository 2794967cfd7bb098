//! Ports, routes and neighbours: from the kernel's view to the tables, and the way to a server.

use std::net::IpAddr;
use std::sync::Arc;

use weir_engine::id::PortId;
use weir_engine::tables::{Device, Hop, Map, Port, Route, Routes};
use weir_wire::addr::{Address, MacAddr};

use super::family::Split;
use crate::config::Config;
use crate::mirror::{KernelRoute, Mirror};
use crate::ports::PortFact;

/// Routes and neighbours of both families, and what they were made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Routing {
    source: Mirror,
    neighbours_static: Vec<(PortId, IpAddr, MacAddr)>,
    /// IPv4.
    pub(super) v4: RoutingFamily<std::net::Ipv4Addr>,
    /// IPv6.
    pub(super) v6: RoutingFamily<std::net::Ipv6Addr>,
}

/// Routes and neighbours of one family.
#[derive(Clone, Debug)]
pub(super) struct RoutingFamily<A: Address> {
    pub(super) routes: Arc<Routes<A>>,
    pub(super) neighbours: Arc<Map<(PortId, A), MacAddr>>,
}

impl<A: Address> Default for RoutingFamily<A> {
    fn default() -> Self {
        Self {
            routes: Arc::default(),
            neighbours: Arc::default(),
        }
    }
}

impl Routing {
    /// The routing of `mirror` and the static neighbours of `config`; what did not change since
    /// `self` is shared with it.
    pub(super) fn update(&self, config: &Config, mirror: &Mirror) -> Self {
        let fixed = static_neighbours(config);
        let mut next = self.clone();
        if !Arc::ptr_eq(&self.source.routes, &mirror.routes) {
            next.v4.routes = routes(&mirror.routes);
            next.v6.routes = routes(&mirror.routes);
        }
        if !Arc::ptr_eq(&self.source.neighbours, &mirror.neighbours)
            || fixed != self.neighbours_static
        {
            next.v4.neighbours = neighbours(mirror, &fixed);
            next.v6.neighbours = neighbours(mirror, &fixed);
        }
        next.source = mirror.clone();
        next.neighbours_static = fixed;
        next
    }

    /// The way to `address`.
    pub(super) fn hop(&self, address: IpAddr) -> Hop {
        match address {
            IpAddr::V4(a) => self.v4.routes.hop(a, &self.v4.neighbours),
            IpAddr::V6(a) => self.v6.routes.hop(a, &self.v6.neighbours),
        }
    }
}

fn routes<A: Address + Split>(all: &[KernelRoute]) -> Arc<Routes<A>> {
    let family = all.iter().filter_map(|route| {
        let destination = A::of(route.destination.address)?;
        let (gateway, source) = (route.gateway.and_then(A::of), route.source.and_then(A::of));
        // A gateway of the other family (RFC 8950) cannot be followed yet: no route at all is
        // better than one that looks on-link.
        let usable = gateway.is_some() == route.gateway.is_some();
        let port = route.port;
        usable.then_some((
            destination,
            route.destination.len,
            Route {
                port,
                gateway,
                source,
            },
        ))
    });
    Arc::new(family.collect())
}

fn neighbours<A: Address + Split>(
    mirror: &Mirror,
    fixed: &[(PortId, IpAddr, MacAddr)],
) -> Arc<Map<(PortId, A), MacAddr>> {
    let learned = mirror
        .neighbours
        .iter()
        .map(|(&(port, address), &mac)| (port, address, mac));
    // The operator's entries come last and win.
    let all = learned.chain(fixed.iter().copied());
    Arc::new(
        all.filter_map(|(port, ip, mac)| Some(((port, A::of(ip)?), mac)))
            .collect(),
    )
}

fn static_neighbours(config: &Config) -> Vec<(PortId, IpAddr, MacAddr)> {
    let of_port = |(index, port)| {
        let port: &crate::config::Port = port;
        port.neighbours
            .iter()
            .map(move |n| (PortId(index), n.address, MacAddr(n.mac.0)))
    };
    (0..).zip(&config.ports).flat_map(of_port).collect()
}

/// The tables' ports, in configured order.
pub(super) fn ports(config: &Config, facts: &[PortFact], mirror: &Mirror) -> Box<[Port]> {
    let port = |(index, (port, fact)): (u16, (&crate::config::Port, &PortFact))| {
        let mut addresses: Vec<(IpAddr, u8)> =
            port.addresses.iter().map(|p| (p.address, p.len)).collect();
        for (owner, prefix) in mirror.addresses.iter() {
            let entry = (prefix.address, prefix.len);
            if *owner == PortId(index) && !addresses.contains(&entry) {
                addresses.push(entry);
            }
        }
        Port {
            name: port.name.as_str().into(),
            device: fact.device,
            vlan: port.vlan.map(|vlan| vlan.0),
            mac: fact.mac,
            virtual_macs: Box::default(),
            mtu: fact.mtu,
            addresses: addresses.into(),
        }
    };
    (0..)
        .zip(config.ports.iter().zip(facts))
        .map(port)
        .collect()
}

/// The tables' devices: which port takes which tag.
pub(super) fn devices(ports: &[Port]) -> Box<[Device]> {
    let count = ports
        .iter()
        .map(|port| port.device.index() + 1)
        .max()
        .unwrap_or(0);
    let mut untagged: Vec<Option<PortId>> = vec![None; count];
    let mut tagged: Vec<Vec<(u16, PortId)>> = vec![Vec::new(); count];
    for (index, port) in (0..).zip(ports) {
        match port.vlan {
            None => untagged[port.device.index()] = Some(PortId(index)),
            Some(vlan) => tagged[port.device.index()].push((vlan, PortId(index))),
        }
    }
    let device = |(untagged, tagged): (_, Vec<_>)| Device {
        untagged,
        tagged: tagged.into(),
    };
    untagged.into_iter().zip(tagged).map(device).collect()
}
