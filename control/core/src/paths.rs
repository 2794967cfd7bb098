//! Who probes which server by way of which VIP: the sources of path checks (ARCHITECTURE.md,
//! Health).
//!
//! A path check is a kernel socket bound to a DIP and a reserved port, and connected to a VIP. All
//! servers of a service share that destination, so the source port names the server. It stays
//! taken for a while after the socket is closed: a late answer must not reach the next probe.
//! Sans-I/O; sockets and probes are not known here.

mod tunnel;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use weir_engine::id::{PortId, ServerId};
pub use weir_engine::path::PORT_FIRST;
use weir_engine::path::{self, Probe, Refusal};
use weir_engine::tables::{Hop, Map, Mode, Server, Tables};
use weir_engine::time::Time;
use weir_wire::addr::{MacAddr, Protocol};

use tunnel::{Complaint, What};

/// How long a source stays mapped when its socket is closed. A segment that is older than this
/// would have been retransmitted twice, to a closed socket.
pub const LINGER: Duration = Duration::from_secs(5);
/// How long it is remembered what ICMP said of a tunnel: the time in which a probe gives up.
const COMPLAINT_TIME: Duration = Duration::from_secs(30);
/// Sources of one VIP.
pub const PORTS: usize = 65_536 - PORT_FIRST as usize;

/// What the kernel is told that every VIP's MAC is. Locally administered; it never leaves a TAP,
/// for frames to a VIP are given the MAC of a server or dropped.
pub(crate) const VIP_MAC: MacAddr = MacAddr([0x02, b'w', b'e', b'i', b'r', 0]);

/// What a probe is to bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// A DIP of the VIP's family, and a reserved port.
    pub source: SocketAddr,
    /// Whose TAP the socket is to be bound to (`SO_BINDTODEVICE`).
    pub port: PortId,
}

/// Why a server cannot be probed by way of its VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPath {
    /// The kernel keeps what it sends to its own address: only the server's address can be probed.
    #[error("the VIP is an address of the appliance too")]
    VipIsDip,
    /// No port has an address of the VIP's family that is not link-local.
    #[error("no port has an address of the VIP's family")]
    NoDip,
    /// All sources of the VIP are in use.
    #[error("all {PORTS} source ports for the VIP are in use")]
    NoPort,
    /// The tables have no such VIP, or no such server in DR or tunnel mode.
    #[error("the server is not reached by way of its VIP")]
    NoServer,
}

/// One probe's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    /// The VIP and the L4 port there.
    vip: SocketAddr,
    protocol: Protocol,
    server: ServerId,
    /// What the socket is bound to.
    source: SocketAddr,
    /// Whose TAP the socket is bound to.
    port: PortId,
    /// When the socket was closed.
    closed: Option<Time>,
}

/// The sources of one VIP.
#[derive(Debug, Default)]
struct Sources {
    /// How many ports were ever given out: those from `PORT_FIRST` on.
    used: u16,
    /// Given back, the one that rested longest first.
    rested: VecDeque<u16>,
    taken: Map<u16, Mapping>,
}

/// All probes under way, and what the tables say of their servers.
#[derive(Debug, Default)]
pub struct Paths {
    tables: Arc<Tables>,
    vips: Map<IpAddr, Sources>,
    /// Closed sources in order of time.
    closed: VecDeque<(Time, IpAddr, u16)>,
    /// What ICMP said last of tunnels to servers, and when. At most as many as servers are probed.
    complaints: Map<ServerId, (Time, Complaint)>,
    /// When something was last asked here.
    now: Time,
}

impl Paths {
    /// Takes over new tables.
    pub fn configure(&mut self, tables: &Arc<Tables>) {
        self.tables = Arc::clone(tables);
        // A VIP that is gone keeps its sources while probes hold them: it may come back.
        self.vips
            .retain(|&vip, sources| !sources.taken.is_empty() || is_vip(tables, vip));
        self.complaints.retain(|&id, _| tables.server(id).is_some());
    }

    /// Reserves a source for one probe of `server` by way of `vip`, its address and L4 port.
    ///
    /// Ports are given out in turn, so that each rests for as long as possible.
    ///
    /// # Errors
    /// See [`NoPath`]; nothing is reserved then.
    pub fn open(
        &mut self,
        now: Time,
        vip: SocketAddr,
        protocol: Protocol,
        server: ServerId,
    ) -> Result<Path, NoPath> {
        self.expire(now);
        let tables = &self.tables;
        if !is_vip(tables, vip.ip()) {
            return Err(NoPath::NoServer);
        }
        if is_dip(tables, vip.ip()) {
            return Err(NoPath::VipIsDip);
        }
        let target = tables.server(server).filter(|s| s.mode != Mode::Nat);
        let target = target.ok_or(NoPath::NoServer)?;
        let dip = source(tables, vip.ip(), target).ok_or(NoPath::NoDip)?;
        let port = interface(tables, vip.ip(), target).unwrap_or(dip.0);
        let sources = self.vips.entry(vip.ip()).or_default();
        let number = sources.take().ok_or(NoPath::NoPort)?;
        let source = SocketAddr::new(dip.1, number);
        let mapping = Mapping {
            vip,
            protocol,
            server,
            source,
            port,
            closed: None,
        };
        sources.taken.insert(number, mapping);
        Ok(Path { source, port })
    }

    /// The probe's socket is closed; its source stays mapped for [`LINGER`], so that late answers
    /// find it. A source that is not reserved is ignored.
    pub fn close(&mut self, now: Time, vip: SocketAddr, port: u16) {
        self.expire(now);
        let sources = self.vips.get_mut(&vip.ip());
        if let Some(mapping) = sources.and_then(|sources| sources.taken.get_mut(&port))
            && mapping.closed.is_none()
        {
            mapping.closed = Some(now);
            self.closed.push_back((now, vip.ip(), port));
        }
    }

    /// Why a path's server could not be reached right now, if that is known.
    pub fn hop_failure(&self, server: ServerId) -> Option<String> {
        let server = self.tables.server(server)?;
        match server.hop {
            Hop::NoRoute => Some(format!("no route to {}", server.address)),
            Hop::Unresolved { neighbour, .. } => {
                let asked = if neighbour.is_ipv4() { "ARP" } else { "ND" };
                Some(format!("no {asked} answer from {neighbour}"))
            }
            Hop::Ready(_) if server.mode == Mode::Tunnel && server.tunnel_source.is_none() => {
                let family = if server.address.is_ipv4() { 4 } else { 6 };
                Some(format!("no IPv{family} address here for the tunnel"))
            }
            Hop::Ready(_) => self.complaint(server),
        }
    }

    /// What ICMP said of the tunnel to a server, if it did so lately.
    fn complaint(&self, server: &Server) -> Option<String> {
        let (at, complaint) = self.complaints.get(&server.id)?;
        let Complaint { from, what, .. } = complaint;
        let said = match what {
            What::NoTunnel => format!("no tunnel is set up on {from}: it says so by ICMP"),
            What::Unreachable => format!("no way to {}: ICMP from {from}", server.address),
        };
        (self.now.since(*at) < COMPLAINT_TIME).then_some(said)
    }

    /// Rewrites a frame of the kernel's to a VIP for the server that it is to probe: the port that
    /// it leaves by, and the frame. `id` is the identification of an outer IPv4 header.
    ///
    /// `None` unless it is a probe under way; a [`Refusal`] if its server cannot be reached.
    pub(crate) fn forward(
        &self,
        now: Time,
        frame: &[u8],
        id: u16,
    ) -> Option<Result<(PortId, Vec<u8>), Refusal>> {
        let mapping = self.under_way(now, &path::probe(frame)?)?;
        let server = self.tables.server(mapping.server)?;
        Some(path::forward(&self.tables, server, frame, id))
    }

    /// The port whose TAP waits for this frame from a VIP; `None` unless it answers a probe under
    /// way.
    pub(crate) fn answered(&mut self, now: Time, frame: &[u8]) -> Option<PortId> {
        let &Mapping { server, port, .. } = self.under_way(now, &path::answered(frame)?)?;
        self.complaints.remove(&server);
        Some(port)
    }

    /// Remembers what an ICMP message to a DIP says, if it is about a probe in a tunnel.
    pub(crate) fn hear(&mut self, now: Time, frame: &[u8]) {
        self.now = now;
        let Some(complaint) = tunnel::complaint(frame) else {
            return;
        };
        let mapping = self.under_way(now, &complaint.probe);
        let server = mapping.and_then(|mapping| self.tables.server(mapping.server));
        if let Some(server) = server
            && (server.tunnel_source, server.address)
                == (Some(complaint.outer.0), complaint.outer.1)
        {
            let id = server.id;
            self.complaints.insert(id, (now, complaint));
        }
    }

    fn under_way(&self, now: Time, probe: &Probe) -> Option<&Mapping> {
        let mapping = self.find(now, probe.destination.ip(), probe.source.port())?;
        let same = mapping.source == probe.source
            && mapping.vip == probe.destination
            && mapping.protocol == probe.protocol;
        same.then_some(mapping)
    }

    /// The probe that uses this port of a DIP to reach `vip`.
    fn find(&self, now: Time, vip: IpAddr, port: u16) -> Option<&Mapping> {
        let mapping = self.vips.get(&vip)?.taken.get(&port)?;
        let rests = mapping.closed.is_some_and(|at| now.since(at) >= LINGER);
        (!rests).then_some(mapping)
    }

    /// Gives back the sources that have rested.
    fn expire(&mut self, now: Time) {
        self.now = now;
        while let Some(&(at, vip, port)) = self.closed.front()
            && now.since(at) >= LINGER
        {
            self.closed.pop_front();
            if let Some(sources) = self.vips.get_mut(&vip) {
                sources.taken.remove(&port);
                sources.rested.push_back(port);
            }
        }
    }
}

impl Sources {
    /// A port that nobody uses.
    fn take(&mut self) -> Option<u16> {
        if usize::from(self.used) < PORTS {
            let port = PORT_FIRST + self.used;
            self.used += 1;
            return Some(port);
        }
        self.rested.pop_front()
    }
}

fn is_vip(tables: &Tables, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => tables.v4.vips.contains_key(&a),
        IpAddr::V6(a) => tables.v6.vips.contains_key(&a),
    }
}

fn is_dip(tables: &Tables, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => tables.v4.dips.contains_key(&a),
        IpAddr::V6(a) => tables.v6.dips.contains_key(&a),
    }
}

/// The port that leads to a server.
fn way(server: &Server) -> Option<PortId> {
    match server.hop {
        Hop::Ready(next) => Some(next.port),
        Hop::Unresolved { port, .. } => Some(port),
        Hop::NoRoute => None,
    }
}

/// The DIP that a server is to answer to, and its port: of the VIP's family, on the port that leads
/// to the server, in its own subnet if possible. Never a VIP, which servers have themselves.
fn source(tables: &Tables, vip: IpAddr, server: &Server) -> Option<(PortId, IpAddr)> {
    let way = way(server);
    let ports = (0..).map(PortId).zip(&tables.ports);
    let dips = ports.flat_map(|(id, port)| port.addresses.iter().map(move |dip| (id, dip)));
    let usable = |address: IpAddr| {
        let link_local = match address {
            IpAddr::V4(a) => a.is_link_local(),
            IpAddr::V6(a) => a.is_unicast_link_local(),
        };
        address.is_ipv4() == vip.is_ipv4() && !link_local && !is_vip(tables, address)
    };
    let rank = |id: PortId, dip: IpAddr, len: u8| {
        let prefix = crate::config::Prefix { address: dip, len };
        (Some(id) != way, !prefix.contains(server.address))
    };
    // Of several that are as good, the first: `min_by_key` keeps the order of configuration.
    dips.filter(|(_, (dip, _))| usable(*dip))
        .min_by_key(|(id, (dip, len))| rank(*id, *dip, *len))
        .map(|(id, (dip, _))| (id, *dip))
}

/// The port whose TAP a probe leaves the kernel by.
///
/// IPv4 takes any destination for on-link where no route says otherwise, so the server's own port
/// will do; IPv6 sends nothing without a route to the VIP.
fn interface(tables: &Tables, vip: IpAddr, server: &Server) -> Option<PortId> {
    let routed = match vip {
        IpAddr::V4(_) => None,
        IpAddr::V6(a) => tables.v6.routes.lookup(a).map(|route| route.port),
    };
    routed.or_else(|| way(server))
}

#[cfg(test)]
pub(crate) mod tests;
