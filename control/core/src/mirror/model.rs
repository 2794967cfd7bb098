//! The kernel's announcements, applied one by one; what concerns no TAP of Weir's is ignored.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "netlink's messages and attributes are open-ended; we read what we know"
)]

use std::net::IpAddr;
use std::sync::Arc;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use weir_engine::id::PortId;
use weir_engine::tables::Map;
use weir_wire::addr::MacAddr;

use super::{KernelRoute, Mirror, unspecified};
use crate::config::Prefix;
use crate::paths::VIP_MAC;

/// Which interface is which port's: its TAP, or the netdev under its device.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    /// TAPs by interface index.
    pub taps: Map<u32, PortId>,
    /// Netdevs that carry ports, by name.
    pub netdevs: Vec<(String, PortId)>,
}

/// Everything that the kernel has said so far.
#[derive(Debug, Default)]
pub struct Model {
    interfaces: Interfaces,
    addresses: Vec<(PortId, Prefix)>,
    routes: Vec<KernelRoute>,
    neighbours: Map<(PortId, IpAddr), MacAddr>,
    /// Carrier of ports that have a netdev; absent: not known.
    carriers: Map<PortId, bool>,
    dirty: (bool, bool, bool),
    last: Mirror,
}

impl Model {
    /// Knows nothing yet of `interfaces`.
    pub fn new(interfaces: Interfaces) -> Self {
        let dirty = (true, true, true);
        Self {
            interfaces,
            dirty,
            ..Self::default()
        }
    }

    /// Forgets everything, before a new dump.
    pub fn clear(&mut self) {
        self.addresses.clear();
        self.routes.clear();
        self.neighbours.clear();
        self.dirty = (true, true, true);
    }

    /// Applies one message; `replaces` says that a route takes the place of another.
    pub fn apply(&mut self, message: &RouteNetlinkMessage, replaces: bool) {
        match message {
            RouteNetlinkMessage::NewAddress(m) => self.address(m, true),
            RouteNetlinkMessage::DelAddress(m) => self.address(m, false),
            RouteNetlinkMessage::NewRoute(m) => self.route(m, Some(replaces)),
            RouteNetlinkMessage::DelRoute(m) => self.route(m, None),
            RouteNetlinkMessage::NewNeighbour(m) => self.neighbour(m, true),
            RouteNetlinkMessage::DelNeighbour(m) => self.neighbour(m, false),
            RouteNetlinkMessage::NewLink(m) => self.link(m, true),
            RouteNetlinkMessage::DelLink(m) => self.link(m, false),
            _ => {}
        }
    }

    /// The present view; parts that did not change since the last call are shared with it.
    pub fn snapshot(&mut self) -> Mirror {
        let (addresses, routes, neighbours) = std::mem::take(&mut self.dirty);
        if addresses && *self.last.addresses != *self.addresses {
            self.last.addresses = self.addresses.as_slice().into();
        }
        if routes {
            let best = self.best_routes();
            if *self.last.routes != *best {
                self.last.routes = best.into();
            }
        }
        if neighbours && *self.last.neighbours != self.neighbours {
            self.last.neighbours = Arc::new(self.neighbours.clone());
        }
        self.last.clone()
    }

    /// Whether [`Self::snapshot`] may differ from the one before.
    pub fn is_dirty(&self) -> bool {
        self.dirty != (false, false, false)
    }

    /// Carriers of ports with a netdev.
    pub fn carriers(&self) -> &Map<PortId, bool> {
        &self.carriers
    }

    fn best_routes(&self) -> Vec<KernelRoute> {
        let mut routes = self.routes.clone();
        let place = |r: &KernelRoute| (r.destination.address, r.destination.len);
        routes.sort_by_key(|route| (place(route), route.metric, route.port));
        routes.dedup_by_key(|route| place(route));
        routes
    }

    fn address(&mut self, message: &AddressMessage, exists: bool) {
        let Some(&port) = self.interfaces.taps.get(&message.header.index) else {
            return;
        };
        let (mut local, mut address) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                _ => {}
            }
        }
        // On point-to-point links `Address` is the peer; `Local` is what IPv4 always sends.
        let Some(address) = local.or(address) else {
            return;
        };
        let entry = (
            port,
            Prefix {
                address,
                len: message.header.prefix_len,
            },
        );
        self.addresses.retain(|known| *known != entry);
        if exists {
            self.addresses.push(entry);
        }
        self.dirty.0 = true;
    }

    fn route(&mut self, message: &RouteMessage, added: Option<bool>) {
        let Some(route) = self.read_route(message) else {
            return;
        };
        let same_place = |known: &KernelRoute| {
            known.destination == route.destination && known.metric == route.metric
        };
        match added {
            Some(true) => self.routes.retain(|known| !same_place(known)),
            Some(false) | None => self.routes.retain(|known| {
                !(same_place(known) && known.port == route.port && known.gateway == route.gateway)
            }),
        }
        if added.is_some() {
            self.routes.push(route);
        }
        self.dirty.1 = true;
    }

    /// A unicast route of the main table that leaves by a TAP.
    fn read_route(&self, message: &RouteMessage) -> Option<KernelRoute> {
        let header = &message.header;
        let main = header.table == RouteHeader::RT_TABLE_MAIN;
        if !main || header.kind != RouteType::Unicast {
            return None;
        }
        let (mut destination, mut gateway, mut source) = (None, None, None);
        let (mut metric, mut port) = (0, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(a) => destination = ip(a),
                RouteAttribute::Gateway(a) => gateway = ip(a),
                RouteAttribute::PrefSource(a) => source = ip(a),
                RouteAttribute::Priority(value) => metric = *value,
                RouteAttribute::Oif(index) => port = self.interfaces.taps.get(index).copied(),
                // Of several ways the first one is taken; see docs/LIMITS.md.
                RouteAttribute::MultiPath(hops) => {
                    let hop = hops.first()?;
                    port = self.interfaces.taps.get(&hop.interface_index).copied();
                    gateway = hop.attributes.iter().find_map(|a| match a {
                        RouteAttribute::Gateway(a) => ip(a),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        let any = match header.address_family {
            netlink_packet_route::AddressFamily::Inet => IpAddr::from([0; 4]),
            netlink_packet_route::AddressFamily::Inet6 => IpAddr::from([0; 16]),
            _ => return None,
        };
        let address = destination.unwrap_or(unspecified(any));
        let multicast = address.is_multicast();
        let destination = Prefix {
            address,
            len: header.destination_prefix_length,
        };
        let route = KernelRoute {
            destination,
            port: port?,
            gateway,
            source,
            metric,
        };
        (!multicast).then_some(route)
    }

    fn neighbour(&mut self, message: &NeighbourMessage, exists: bool) {
        let Some(&port) = self.interfaces.taps.get(&message.header.ifindex) else {
            return;
        };
        let (mut address, mut mac) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => {
                    address = Some(IpAddr::V4(*a));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => {
                    address = Some(IpAddr::V6(*a));
                }
                NeighbourAttribute::LinkLayerAddress(octets) => {
                    mac = octets.as_slice().try_into().ok().map(MacAddr);
                }
                _ => {}
            }
        }
        let Some(address) = address else { return };
        let usable = exists && is_valid(message.header.state);
        // Where a VIP is, the kernel has from us; workers must not send there.
        let own = [MacAddr::ZERO, VIP_MAC];
        let mac = mac.filter(|mac| usable && !mac.is_multicast() && !own.contains(mac));
        let changed = match mac {
            Some(mac) => self.neighbours.insert((port, address), mac) != Some(mac),
            None => self.neighbours.remove(&(port, address)).is_some(),
        };
        self.dirty.2 |= changed;
    }

    fn link(&mut self, message: &LinkMessage, exists: bool) {
        let name = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
        let Some(name) = name else { return };
        let up = exists
            && message
                .header
                .flags
                .contains(LinkFlags::Up | LinkFlags::LowerUp);
        for (_, port) in self
            .interfaces
            .netdevs
            .iter()
            .filter(|(netdev, _)| netdev == name)
        {
            self.carriers.insert(*port, up);
        }
    }
}

/// Whether the kernel itself would send to a neighbour in this state (NUD_VALID).
fn is_valid(state: NeighbourState) -> bool {
    match state {
        NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe
        | NeighbourState::Noarp
        | NeighbourState::Permanent => true,
        NeighbourState::Incomplete
        | NeighbourState::Failed
        | NeighbourState::None
        | NeighbourState::Other(_) => false,
        _ => false,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}
