//! What is kept of a flow: one cache line for IPv4, two for IPv6.

use core::net::{Ipv4Addr, Ipv6Addr};

use weir_wire::addr::{Address, L4Port, Protocol};

use super::key::FlowKey;
use super::table::{Direction, NewFlow};
use super::tcp::{Seen, TcpEvent, TcpState, Timeouts};
use super::translation::{Deltas, Translation};
use crate::id::{ServerId, ServiceId};
use crate::time::{Tick, Ticks, Time};

/// Whether replies of a flow come back through the director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReturnPath {
    /// They go to the client past the director (DR, TUN).
    Direct,
    /// They come back through it and are rewritten (NAT): the flow has a reverse key.
    Through,
}

/// The state of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// A TCP connection.
    Tcp(TcpState),
    /// A UDP pseudo-connection, or any other protocol's: idle or not is all that is known.
    Udp,
}

impl FlowState {
    /// The state after the first packet of a flow, which its client sent.
    pub const fn first(event: Option<TcpEvent>, path: ReturnPath) -> Self {
        let seen = match path {
            ReturnPath::Direct => Seen::InputOnly,
            ReturnPath::Through => Seen::Input,
        };
        match event {
            Some(event) => Self::Tcp(TcpState::None.next(seen, event)),
            None => Self::Udp,
        }
    }

    /// Whether the server counts the flow in ActiveConn; else it is in InActConn.
    #[inline]
    pub const fn is_active(self) -> bool {
        match self {
            Self::Tcp(state) => state.is_active(),
            Self::Udp => false,
        }
    }

    /// Whether this is a TCP flow of which only the client's SYN has been seen.
    #[inline]
    pub const fn is_half_open(self) -> bool {
        match self {
            Self::Tcp(state) => state.is_half_open(),
            Self::Udp => false,
        }
    }

    /// Whether this is a TCP flow that is over or ending.
    #[inline]
    pub const fn is_closing(self) -> bool {
        match self {
            Self::Tcp(state) => state.is_closing(),
            Self::Udp => false,
        }
    }

    /// Whether a flow that begins like this has yet to be answered by its server, in a way that
    /// the director will notice: a TCP client goes on only after an answer, whichever way that
    /// takes, but an answer by UDP is seen only where it comes back through the director.
    pub const fn awaits_answer(self, path: ReturnPath) -> bool {
        match (self, path) {
            (Self::Tcp(state), ReturnPath::Direct | ReturnPath::Through) => state.is_half_open(),
            (Self::Udp, ReturnPath::Direct) => false,
            (Self::Udp, ReturnPath::Through) => true,
        }
    }

    /// How long a flow in this state may be idle.
    #[inline]
    pub const fn timeout(self, timeouts: &Timeouts) -> Ticks {
        match self {
            Self::Tcp(state) => timeouts.tcp(state),
            Self::Udp => timeouts.udp(),
        }
    }

    /// The name that `ipvsadm -Lnc` prints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp(state) => state.name(),
            Self::Udp => "UDP",
        }
    }
}

/// A flow.
///
/// Its fields are read through methods; [`FlowTable`](super::FlowTable) alone writes them, because
/// it keeps counts of them.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct FlowEntry<A: Address> {
    // In the order of a key, so that a comparison of the two is one of a few words: see `pair`.
    client: A,
    vip: A,
    client_port: L4Port,
    vip_port: L4Port,
    protocol: Protocol,
    pub(super) state: FlowState,
    server_port: L4Port,
    rip: A,
    pub(super) expires: Tick,
    path: ReturnPath,
    pub(super) used: bool,
    /// Nothing has shown yet that the server answered, of a flow whose answer would show.
    pub(super) unanswered: bool,
    server: ServerId,
    service: ServiceId,
    created: Tick,
    /// The next free entry, while this one is free.
    pub(super) next_free: u32,
    pub(super) packets: u32,
    /// What translation forward changes in checksums, of a flow that has a reverse key.
    deltas: Deltas,
    pub(super) octets: u64,
}

const _: () = assert!(size_of::<FlowEntry<Ipv4Addr>>() == 64);
const _: () = assert!(size_of::<FlowEntry<Ipv6Addr>>() == 128);

impl<A: Address> FlowEntry<A> {
    /// A free entry, for filling memory.
    pub const EMPTY: Self = Self {
        client: A::UNSPECIFIED,
        vip: A::UNSPECIFIED,
        rip: A::UNSPECIFIED,
        client_port: L4Port::NONE,
        vip_port: L4Port::NONE,
        server_port: L4Port::NONE,
        protocol: Protocol(0),
        state: FlowState::Udp,
        expires: Time::ZERO.tick(),
        path: ReturnPath::Direct,
        used: false,
        unanswered: false,
        server: ServerId {
            index: 0,
            generation: 0,
        },
        service: ServiceId(0),
        created: Time::ZERO.tick(),
        next_free: 0,
        packets: 0,
        deltas: Deltas::NONE,
        octets: 0,
    };

    /// A used entry that has counted no packet yet.
    pub(super) fn new(flow: &NewFlow<A>, now: Tick) -> Self {
        Self {
            client: flow.key.client,
            vip: flow.key.remote,
            rip: flow.rip,
            client_port: flow.key.client_port,
            vip_port: flow.key.remote_port,
            server_port: flow.server_port,
            protocol: flow.key.protocol,
            state: flow.state,
            expires: now + flow.idle_max,
            path: flow.path,
            used: true,
            unanswered: flow.state.awaits_answer(flow.path),
            server: flow.server,
            service: flow.service,
            created: now,
            next_free: 0,
            packets: 0,
            deltas: match flow.path {
                ReturnPath::Direct => Deltas::NONE,
                ReturnPath::Through => {
                    let vip = (flow.key.remote, flow.key.remote_port);
                    Deltas::new(vip, (flow.rip, flow.server_port))
                }
            },
            octets: 0,
        }
    }

    /// Which of the flow's directions `key` is, if any.
    #[inline]
    pub(super) fn direction_of(&self, key: &FlowKey<A>) -> Option<Direction> {
        [Direction::Forward, Direction::Reverse]
            .into_iter()
            .find(|direction| self.is(key, *direction))
    }

    /// Whether `key` is this direction of the flow.
    #[inline(always)]
    pub(super) fn is(&self, key: &FlowKey<A>, direction: Direction) -> bool {
        match direction {
            Direction::Forward => {
                pair(self.client, self.vip) == pair(key.client, key.remote)
                    && ports(self.client_port, self.vip_port)
                        == ports(key.client_port, key.remote_port)
                    && self.protocol == key.protocol
            }
            Direction::Reverse => {
                self.path == ReturnPath::Through
                    && self.client == key.client
                    && self.rip == key.remote
                    && self.client_port == key.client_port
                    && self.server_port == key.remote_port
                    && self.protocol == key.protocol
            }
        }
    }

    /// Client and VIP.
    #[inline]
    pub const fn key(&self) -> FlowKey<A> {
        FlowKey {
            client: self.client,
            remote: self.vip,
            client_port: self.client_port,
            remote_port: self.vip_port,
            protocol: self.protocol,
        }
    }

    /// Client and server, if replies come back through the director.
    #[inline]
    pub const fn reverse_key(&self) -> Option<FlowKey<A>> {
        match self.path {
            ReturnPath::Direct => None,
            ReturnPath::Through => Some(FlowKey {
                client: self.client,
                remote: self.rip,
                client_port: self.client_port,
                remote_port: self.server_port,
                protocol: self.protocol,
            }),
        }
    }

    /// The server's address.
    #[inline]
    pub const fn rip(&self) -> A {
        self.rip
    }

    /// What NAT puts in place of a packet's far end: the server forward, the VIP in reverse.
    #[inline(always)]
    pub const fn far_end(&self, direction: Direction) -> (A, L4Port) {
        match direction {
            Direction::Forward => (self.rip, self.server_port),
            Direction::Reverse => (self.vip, self.vip_port),
        }
    }

    /// The same with what it changes in checksums, of a flow that has a reverse key.
    #[inline(always)]
    pub(crate) const fn translation(&self, direction: Direction) -> Translation<A> {
        Translation {
            to: self.far_end(direction),
            deltas: self.deltas.towards(direction),
        }
    }

    /// The server that the flow was given.
    #[inline]
    pub const fn server(&self) -> ServerId {
        self.server
    }

    /// The service that the flow belongs to.
    #[inline]
    pub const fn service(&self) -> ServiceId {
        self.service
    }

    /// Whether replies come back through the director.
    #[inline]
    pub const fn path(&self) -> ReturnPath {
        self.path
    }

    /// Whether NAT translates the flow's packets. A server's mode does not change, but this asks
    /// nobody to believe that.
    #[inline(always)]
    pub(crate) fn is_translated(&self) -> bool {
        self.path == ReturnPath::Through
    }

    /// The state.
    #[inline]
    pub const fn state(&self) -> FlowState {
        self.state
    }

    /// Whether nothing has shown yet that the server answered, though its answer would have shown
    /// (see [`FlowState::awaits_answer`]).
    #[inline]
    pub const fn is_unanswered(&self) -> bool {
        self.unanswered
    }

    /// Whether there is a flow, and it has not been idle for too long.
    #[inline(always)]
    pub(super) const fn is_live(&self, now: Tick) -> bool {
        self.used && !self.is_expired(now)
    }

    /// Whether the flow has been idle for too long; it is then as good as gone.
    #[inline]
    pub const fn is_expired(&self, now: Tick) -> bool {
        self.expires.is_before(now)
    }

    /// How much longer the flow may be idle.
    pub const fn expires_in(&self, now: Tick) -> Ticks {
        self.expires.since(now)
    }

    /// When the flow began.
    #[inline]
    pub const fn created(&self) -> Tick {
        self.created
    }

    /// Packets in both directions that the director saw. Wraps.
    pub const fn packets(&self) -> u32 {
        self.packets
    }

    /// Octets of those packets.
    pub const fn octets(&self) -> u64 {
        self.octets
    }
}

/// Two addresses that lie side by side as one word, or two for IPv6: one comparison, not two.
#[inline(always)]
fn pair<A: Address>(first: A, second: A) -> (u128, u128) {
    let (first, second) = (first.bits(), second.bits());
    if A::LEN == 4 {
        (first << 32 | second, 0)
    } else {
        (first, second)
    }
}

/// The same of ports.
#[inline(always)]
fn ports(first: L4Port, second: L4Port) -> u32 {
    u32::from(first.0) | u32::from(second.0) << 16
}
