//! Lanes: what the straight line needs to know of each server, on one cache line.
//!
//! All of it is in [`Server`], [`Service`](crate::tables::Service) and [`Port`] too. A packet of an
//! established flow would have to visit the three of them, and would ask each of them things that
//! are the same for every packet until the next tables.

use core::net::Ipv4Addr;

use weir_wire::addr::Address;

use crate::flow::tcp::TcpState;
use crate::id::{PortId, ServerId, ServiceId};
use crate::rewrite::Exit;
use crate::rewrite::tunnel::Outer;
use crate::tables::{Family, Mode, Port, Server, Tables};
use crate::time::Ticks;
use crate::warm::warm_part;

/// The lanes of all servers, by [`ServerId::index`]: see [`Tables::seal`].
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Box<[Lane]>,
    /// Of those behind a tunnel: the outer header. A lane has no room for IPv6's.
    outers: Box<[Option<Outer>]>,
}

/// The lane of one server.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Lane {
    /// The server; nobody's where there is none.
    pub(crate) id: ServerId,
    pub(crate) service: ServiceId,
    pub(crate) job: Job,
    pub(crate) port: PortId,
    /// The longest packet, in octets of IP, that may go to the server by here. 0 where the way to
    /// it is not known.
    pub(crate) room: u16,
    pub(crate) exit: Exit,
    /// For how long flows may be idle: established ones of TCP, and those of UDP.
    idle: (Ticks, Ticks),
    /// The ends of the tunnel, for [`Job::Wrap`].
    ends: (Ipv4Addr, Ipv4Addr),
}

const _: () = assert!(size_of::<Lane>() == 64);
const _: () = Job::NUMBERED;

/// The way to everywhere that no route but the default one leads to, if its gateway is known: a
/// lane of most clients.
#[derive(Clone, Copy, Debug)]
pub struct Far {
    pub(crate) port: PortId,
    pub(crate) exit: Exit,
}

impl Far {
    /// Of one family.
    pub(crate) fn of<A: Address>(family: &Family<A>, ports: &[Port]) -> Option<Self> {
        let route = family.routes.default_route()?;
        let mac = family.neighbours.get(&(route.port, route.gateway?))?;
        let exit = Exit::new(ports.get(route.port.index())?, *mac);
        let port = route.port;
        Some(Self { port, exit })
    }
}

/// What a frame asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Job {
    /// Other MACs and one hop less (DR).
    Direct,
    /// The server's address and port too (NAT).
    Translate,
    /// A header of IPv4 around them (TUN).
    Wrap,
    /// The same of IPv6.
    WrapV6,
    /// A tag, and whatever the server's mode asks for.
    Tagged,
    /// The way back (NAT): no lane's, for it leads to clients.
    Reply,
}

impl Job {
    /// All of them, by their numbers.
    pub(crate) const ALL: [Self; 6] = [
        Self::Direct,
        Self::Translate,
        Self::Wrap,
        Self::WrapV6,
        Self::Tagged,
        Self::Reply,
    ];

    /// Loops are made for numbers: one that is not its job's would hand packets back for ever.
    const NUMBERED: () = {
        let mut number = 0;
        while number < Self::ALL.len() {
            assert!(Self::ALL[number] as usize == number);
            number += 1;
        }
    };

    const fn of(mode: Mode, outer: Option<Outer>, exit: &Exit) -> Self {
        match (mode, outer) {
            _ if !exit.is_untagged() => Self::Tagged,
            (Mode::Dr, _) => Self::Direct,
            (Mode::Nat, _) => Self::Translate,
            (Mode::Tunnel, Some(Outer::V4(..))) => Self::Wrap,
            // Without an outer header the way is not known either.
            (Mode::Tunnel, Some(Outer::V6(..)) | None) => Self::WrapV6,
        }
    }
}

impl Lane {
    /// For how long flows may be idle, as [`FlowEntry::go_on`](crate::flow::FlowEntry) takes it.
    #[inline(always)]
    pub(crate) const fn idle(&self) -> (Ticks, Ticks) {
        self.idle
    }

    /// The outer header of what is wrapped in IPv4.
    #[inline(always)]
    pub(crate) const fn outer_v4(&self) -> Outer {
        Outer::V4(self.ends.0, self.ends.1)
    }

    /// Of a slot without a server.
    const NONE: Self = Self {
        id: ServerId {
            index: u32::MAX,
            generation: u32::MAX,
        },
        service: ServiceId(0),
        job: Job::Tagged,
        port: PortId(0),
        room: 0,
        exit: Exit::NONE,
        idle: (Ticks::MAX, Ticks::MAX),
        ends: (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED),
    };

    /// The lane of a server; `None` if its service is missing.
    fn of(server: &Server, tables: &Tables) -> Option<Self> {
        let timeouts = &tables.service(server.service)?.timeouts;
        let way = way(server, tables);
        let exit = way.map_or(Exit::NONE, |(_, exit, _)| exit);
        let outer = Outer::of(server);
        Some(Self {
            id: server.id,
            service: server.service,
            job: Job::of(server.mode, outer, &exit),
            port: way.map_or(PortId(0), |(port, ..)| port),
            room: way.map_or(0, |(.., room)| room),
            exit,
            idle: (timeouts.tcp(TcpState::Established), timeouts.udp()),
            ends: match outer {
                Some(Outer::V4(source, destination)) => (source, destination),
                Some(Outer::V6(..)) | None => Self::NONE.ends,
            },
        })
    }
}

/// Where a server's packets leave, and the longest that may; `None` as long as that is not known.
fn way(server: &Server, tables: &Tables) -> Option<(PortId, Exit, u16)> {
    let hop = server.ready()?;
    let port: &Port = tables.port(hop.port)?;
    let around = match server.mode {
        Mode::Dr | Mode::Nat => 0,
        Mode::Tunnel => Outer::of(server)?.len(),
    };
    let exit = Exit::new(port, hop.mac);
    Some((hop.port, exit, port.mtu.saturating_sub(around)))
}

impl Lanes {
    /// The lanes of the servers in `tables`.
    pub(crate) fn new(tables: &Tables) -> Self {
        let lane = |server: &Option<Server>| Lane::of(server.as_ref()?, tables);
        let lanes = tables.servers.iter().map(lane);
        let outers = tables.servers.iter();
        Self {
            lanes: lanes.map(|lane| lane.unwrap_or(Lane::NONE)).collect(),
            outers: outers
                .map(|server| server.as_ref().and_then(Outer::of))
                .collect(),
        }
    }

    /// A server's lane, if its slot is still its own.
    #[inline(always)]
    pub(crate) fn of(&self, id: ServerId) -> Option<&Lane> {
        let lane = self.lanes.get(id.index as usize);
        lane.filter(|lane| lane.id == id)
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> usize {
        self.lanes.len()
    }

    /// See [`Tables::warm`].
    pub(crate) fn warm(&self, part: usize) {
        warm_part(&self.lanes, 1, part);
    }

    /// The outer header of packets by the lane of a tunnel's server.
    #[inline(always)]
    pub(crate) fn outer(&self, lane: &Lane) -> Option<Outer> {
        *self.outers.get(lane.id.index as usize)?
    }
}
