//! The immutable snapshot that workers forward by.
//!
//! Control builds a new one off the packet path and publishes it to every worker; a worker swaps
//! at a burst boundary and gives the old one back (it never frees). What did not change is shared
//! between generations by `Arc`. Servers and services keep their slots, so a reload touches no
//! flow that it need not: a flow names its server by index and generation.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::sync::Arc;

use weir_wire::addr::{Address, L4Port, MacAddr, Protocol};

use crate::flow::tcp::Timeouts;
use crate::id::{DeviceId, PortId, ServerId, ServiceId};
pub use crate::lane::{Far, Lanes};
use crate::lease::{LeaseId, Leases};
use crate::maglev::MaglevTable;
pub use crate::own::OwnAddresses;
pub use crate::routes::{Hop, NextHop, Route, Routes};
use crate::scheduler::{Candidate, SchedulerKind};
use crate::steering::Steering;
use crate::time::Time;

/// Map of the packet path: hashbrown with ahash, seeded per boot.
pub type Map<K, V> = hashbrown::HashMap<K, V, ahash::RandomState>;

/// Service slots. 2^13 slots of one counter line each: 512 KiB per worker; see docs/LIMITS.md.
pub const SERVICES_MAX: usize = 1 << 13;
/// Server slots, over all services. 2^16 counter lines: 6 MiB per worker; see docs/LIMITS.md.
pub const SERVERS_MAX: usize = 1 << 16;

/// What every worker forwards by, in one generation.
#[derive(Debug, Default)]
pub struct Tables {
    /// Counts up with each publication.
    pub generation: u64,
    /// Which worker owns which client.
    pub steering: Steering,
    /// By [`DeviceId`].
    pub devices: Box<[Device]>,
    /// By [`PortId`].
    pub ports: Box<[Port]>,
    /// What is keyed by IPv4 addresses.
    pub v4: Family<Ipv4Addr>,
    /// What is keyed by IPv6 addresses.
    pub v6: Family<Ipv6Addr>,
    /// By [`ServiceId`]; free slots are `None`.
    pub services: Box<[Option<Arc<Service>>]>,
    /// By [`ServerId::index`]; free slots are `None`.
    pub servers: Box<[Option<Server>]>,
    /// How many answers a worker may originate.
    pub answers: AnswerLimits,
    /// What established flows go by: see [`Tables::seal`].
    pub lanes: Lanes,
    /// VRRP instances by [`LeaseId`]; free slots are `None`.
    pub instances: Box<[Option<Instance>]>,
    /// Which of them are Active now; the same in every generation.
    pub leases: Arc<Leases>,
}

/// A VRRP instance as far as frames are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its name.
    pub name: Box<str>,
    /// Where it speaks, and its VIPs are answered for.
    pub port: PortId,
    /// Its identifier on that port (VRID), apart for each family.
    pub id: u8,
    /// Whether its VIPs are IPv4 addresses.
    pub is_v4: bool,
    /// The MAC of its VIPs: the virtual one, or the port's.
    pub mac: MacAddr,
}

/// A DPDK device and the ports on it.
#[derive(Debug, Default)]
pub struct Device {
    /// The port of untagged (and priority-tagged) frames.
    pub untagged: Option<PortId>,
    /// Ports by VLAN.
    pub tagged: Box<[(u16, PortId)]>,
}

/// A configured port: a device, or one VLAN of it.
#[derive(Debug)]
pub struct Port {
    /// Name, also of the TAP.
    pub name: Box<str>,
    /// Where its frames leave.
    pub device: DeviceId,
    /// Tag of its frames.
    pub vlan: Option<u16>,
    /// Its own MAC.
    pub mac: MacAddr,
    /// Virtual MACs of the VRRP instances here: destinations taken while their leases are held.
    pub virtual_macs: Box<[(MacAddr, LeaseId)]>,
    /// Largest IP packet, in octets.
    pub mtu: u16,
    /// DIPs with their prefix lengths.
    pub addresses: Box<[(IpAddr, u8)]>,
}

/// Everything that is keyed by addresses of one family.
#[derive(Debug)]
pub struct Family<A: Address> {
    /// The VIPs.
    pub vips: Map<A, Vip>,
    /// Services that listen on single L4 ports.
    pub exact: Map<(A, Protocol, L4Port), ServiceId>,
    /// Services that listen on port ranges or on all ports, by VIP and protocol; the narrowest
    /// range first.
    pub ranges: Map<(A, Protocol), Box<[PortRange]>>,
    /// Where replies of NAT servers come from, and which flows' return path that may be.
    pub nat_sources: Map<(A, Protocol, L4Port), NatSource>,
    /// NAT servers of services with a range or all ports: any source port of theirs.
    pub nat_hosts: Map<(A, Protocol), NatSource>,
    /// The appliance's own addresses.
    pub dips: Map<A, PortId>,
    /// Tells most addresses from VIPs and the appliance's own: see [`Tables::seal`].
    pub own: OwnAddresses,
    /// Where packets go.
    pub routes: Arc<Routes<A>>,
    /// MACs of on-link addresses.
    pub neighbours: Arc<Map<(PortId, A), MacAddr>>,
    /// The way to clients that no route but the default one leads to: see [`Tables::seal`].
    pub far: Option<Far>,
}

/// L4 ports `first..=last` and the service that listens on them.
#[derive(Clone, Copy, Debug)]
pub struct PortRange {
    /// First port.
    pub first: L4Port,
    /// Last port, inclusive.
    pub last: L4Port,
    /// The service.
    pub service: ServiceId,
}

/// The server behind a NAT reply's source, when only one is possible (D56).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatSource {
    /// Exactly one service uses this server address and port: a reply without a flow can be
    /// rewritten from the configuration alone.
    One(ServerId),
    /// Several do: only the flow tells which VIP the client used.
    Many,
}

/// A virtual address.
#[derive(Clone, Copy, Debug)]
pub struct Vip {
    /// Whether this director serves it.
    pub role: Role,
    /// What a client gets that knocks where nothing listens.
    pub unserved: Unserved,
    /// The VIP is also an address of the appliance on this port: what has no service is the
    /// kernel's.
    pub dip: Option<PortId>,
}

/// VRRP role of a VIP (RFC 9568).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Answers and forwards.
    #[default]
    Active,
    /// Silent.
    Backup,
    /// Active while the lease is held, else Backup.
    Leased(LeaseId),
}

/// What a client gets that knocks where nothing listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unserved {
    /// RST or port unreachable, as IPVS does.
    #[default]
    Answer,
    /// Nothing.
    Drop,
}

/// How frames reach a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Direct routing: only the MACs change.
    #[default]
    Dr,
    /// Destination NAT; replies come back through Weir.
    Nat,
    /// IP in IP.
    Tunnel,
}

/// What happens to packets in mid-stream whose server was removed (D54).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnServerGone {
    /// Silently dropped, as IPVS does by default.
    #[default]
    Drop,
    /// Answered with RST.
    Reset,
    /// Given to another server.
    Reschedule,
}

/// A service as the packet path sees it.
#[derive(Debug)]
pub struct Service {
    /// Its slot.
    pub id: ServiceId,
    /// Its name.
    pub name: Box<str>,
    /// The address that clients use.
    pub vip: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The VIP's L4 port, if the service listens on just one: what a NAT server's own port is
    /// turned back into without a flow (D56).
    pub port: Option<L4Port>,
    /// How servers are chosen.
    pub scheduler: SchedulerKind,
    /// Servers in the order in which schedulers walk them: last listed first, as IPVS does.
    pub walk: Box<[Candidate]>,
    /// The consistent-hash table of `scheduler: maglev`, and of the fall-back when the flow table
    /// is full. It yields positions in [`Self::maglev_servers`].
    pub maglev: Arc<MaglevTable>,
    /// Servers by position in the Maglev table.
    pub maglev_servers: Box<[ServerId]>,
    /// Idle time-outs by state.
    pub timeouts: Timeouts,
    /// Segments in mid-stream may start a flow.
    pub sloppy: bool,
    /// What becomes of flows whose server was removed.
    pub on_server_gone: OnServerGone,
}

/// A server as the packet path sees it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its slot and the slot's generation.
    pub id: ServerId,
    /// The service it belongs to.
    pub service: ServiceId,
    /// Its name.
    pub name: Box<str>,
    /// Its address.
    pub address: IpAddr,
    /// Its L4 port; `None`: the port that the client used.
    pub port: Option<L4Port>,
    /// How frames reach it.
    pub mode: Mode,
    /// New flows may be given to it: ready, weight above 0, and up by health.
    pub usable: bool,
    /// Its share, 0 to 65,535.
    pub weight: u16,
    /// Where its frames go.
    pub hop: Hop,
    /// Outer source address in tunnel mode: a DIP of the server's family on the port that leads
    /// to it.
    pub tunnel_source: Option<IpAddr>,
    /// Its replies can be attributed without a flow (NAT, D56), so that a full table may still
    /// forward to it. Always true in DR and TUN.
    pub stateless: bool,
}

/// Limits on answers (echo, RST, ICMP errors), per worker; 0 means unlimited.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerLimits {
    /// In all.
    pub per_second: u32,
    /// To one client address.
    pub per_client: u32,
    /// How long an unresolved neighbour's frames are held.
    pub hold: Duration,
}

impl<A: Address> Default for Family<A> {
    fn default() -> Self {
        Self {
            vips: Map::default(),
            exact: Map::default(),
            ranges: Map::default(),
            nat_sources: Map::default(),
            nat_hosts: Map::default(),
            dips: Map::default(),
            own: OwnAddresses::default(),
            routes: Arc::new(Routes::default()),
            neighbours: Arc::new(Map::default()),
            far: None,
        }
    }
}

impl Device {
    /// The port of frames with this VLAN tag, or without one.
    #[inline]
    pub fn port(&self, vlan: Option<u16>) -> Option<PortId> {
        match vlan {
            None => self.untagged,
            Some(vid) => self
                .tagged
                .iter()
                .find(|(tag, _)| *tag == vid)
                .map(|(_, port)| *port),
        }
    }
}

impl Port {
    /// Whether frames to this MAC are ours: the port's own, or the virtual one of an instance that
    /// is Active (V48).
    #[inline]
    pub fn takes(&self, mac: MacAddr, leases: &Leases, now: Time) -> bool {
        mac == self.mac || self.takes_virtual(mac, leases, now)
    }

    /// Whether this MAC is the virtual one of an instance that is Active.
    pub fn takes_virtual(&self, mac: MacAddr, leases: &Leases, now: Time) -> bool {
        // IPv4 and IPv6 instances have MACs of their own, so at most one entry matches.
        let mut entries = self.virtual_macs.iter();
        entries.any(|&(virtual_mac, lease)| virtual_mac == mac && leases.is_held(lease, now))
    }
}

impl<A: Address> Family<A> {
    /// Fills [`Self::own`] and [`Self::far`].
    fn seal(&mut self, ports: &[Port]) {
        self.own = OwnAddresses::new(self.vips.keys().chain(self.dips.keys()).copied());
        self.far = Far::of(self, ports);
    }

    /// The service that listens on a VIP's L4 port: single ports before ranges, narrow ranges
    /// before wide ones.
    #[inline]
    pub fn service(&self, vip: A, protocol: Protocol, port: L4Port) -> Option<ServiceId> {
        if let Some(service) = self.exact.get(&(vip, protocol, port)) {
            return Some(*service);
        }
        // Most VIPs have no ranges, so the map is empty and costs nothing.
        let ranges = self.ranges.get(&(vip, protocol))?;
        let range = ranges.iter().find(|r| (r.first..=r.last).contains(&port))?;
        Some(range.service)
    }

    /// The NAT servers whose reply may come from this address and L4 port.
    #[inline]
    pub fn nat_source(&self, address: A, protocol: Protocol, port: L4Port) -> Option<NatSource> {
        let exact = self.nat_sources.get(&(address, protocol, port));
        exact
            .or_else(|| self.nat_hosts.get(&(address, protocol)))
            .copied()
    }

    /// The way to an address.
    #[inline]
    pub fn hop(&self, address: A) -> Hop {
        self.routes.hop(address, &self.neighbours)
    }
}

impl Server {
    /// Where its frames go, if that is known.
    #[inline]
    pub fn ready(&self) -> Option<NextHop> {
        match self.hop {
            Hop::Ready(hop) => Some(hop),
            Hop::Unresolved { .. } | Hop::NoRoute => None,
        }
    }
}

impl Role {
    /// The role at `now`: never [`Self::Leased`].
    #[inline]
    pub fn at(self, leases: &Leases, now: Time) -> Self {
        match self {
            Self::Active | Self::Backup => self,
            Self::Leased(id) if leases.is_held(id, now) => Self::Active,
            Self::Leased(_) => Self::Backup,
        }
    }
}

impl Tables {
    /// Prepares what established flows go by, once everything else is there, and again when
    /// something has changed. Without it everything works, but packets take the long way.
    pub fn seal(&mut self) {
        self.v4.seal(&self.ports);
        self.v6.seal(&self.ports);
        self.lanes = Lanes::new(self);
    }

    /// The VRRP instance in this slot.
    pub fn instance(&self, id: LeaseId) -> Option<&Instance> {
        self.instances.get(usize::from(id.0))?.as_ref()
    }

    /// The way to an address of either family.
    pub fn hop(&self, address: IpAddr) -> Hop {
        match address {
            IpAddr::V4(address) => self.v4.hop(address),
            IpAddr::V6(address) => self.v6.hop(address),
        }
    }

    /// The port with this number.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(id.index())
    }

    /// The service in this slot.
    #[inline]
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(id.index())?.as_deref()
    }

    /// The server in this slot, if the slot's generation is still the one meant.
    #[inline]
    pub fn server(&self, id: ServerId) -> Option<&Server> {
        let server = self.servers.get(id.index as usize)?.as_ref()?;
        (server.id == id).then_some(server)
    }
}
