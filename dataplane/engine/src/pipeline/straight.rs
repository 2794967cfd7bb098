//! The straight line: packets of established flows, in both directions and all modes.
//!
//! Nearly all frames of a busy director are these. [`recogniser`] knows them by a handful of
//! comparisons on the frame's own octets, a fifth of what a parsed packet is goes from stage to
//! stage, and [`carry`] sends them out. Nothing is decided here that `classify` and `decide` would
//! decide otherwise: a packet is taken only where they leave no choice, and whatever is out of the
//! ordinary (a miss, another worker's flow, a FIN, options, a fragment, a tag, an unresolved
//! neighbour, an MTU) is left to them untouched; SYNs are [`first`](super::first)'s, and
//! [`defer`]'s in a flood. `tests/straight.rs` holds both against each other frame by frame.

pub(super) mod carry;
mod defer;
pub(super) mod recogniser;

use weir_wire::addr::{L4Port, Protocol};

use crate::commit::count_service;
use crate::engine::State;
use crate::family::Ip;
use crate::flow::{Direction, FlowKey, FlowTable};
use crate::id::ServiceId;
use crate::pipeline::Key;
use crate::tables::Tables;

/// Where the IP header begins: there is no tag.
const L3: u16 = 14;

/// What is kept of a packet on the straight line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Straight<A: Ip> {
    key: FlowKey<A>,
    /// Octets of IP.
    len: u16,
    kind: Kind,
}

/// What a packet is to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A client's.
    Forward,
    /// A server's.
    Reverse,
    /// A client's that opens a connection, so that no flow is known.
    Opening,
}

impl<A: Ip> Straight<A> {
    /// For filling arrays.
    pub(crate) const NONE: Self = Self {
        key: FlowKey {
            client: A::UNSPECIFIED,
            remote: A::UNSPECIFIED,
            client_port: L4Port::NONE,
            remote_port: L4Port::NONE,
            protocol: Protocol(0),
        },
        len: 0,
        kind: Kind::Forward,
    };
}

impl<A: Ip> Straight<A> {
    /// Whether this is a connection's first segment.
    #[inline(always)]
    pub(in crate::pipeline) fn opens(&self) -> bool {
        self.kind == Kind::Opening
    }

    #[inline(always)]
    const fn direction(&self) -> Direction {
        match self.kind {
            Kind::Forward | Kind::Opening => Direction::Forward,
            Kind::Reverse => Direction::Reverse,
        }
    }

    /// A reply, of what was taken for a client's packet.
    #[inline(always)]
    fn turned_back(self) -> Self {
        Self {
            key: self.key.reversed(),
            kind: Kind::Reverse,
            ..self
        }
    }

    /// A packet to a VIP.
    #[inline(always)]
    fn forward(
        (src, dst): (A, A),
        ports: [u8; 4],
        protocol: Protocol,
        (len, kind): (u16, Kind),
    ) -> Self {
        let [a, b, c, d] = ports;
        let [client_port, remote_port] =
            [[a, b], [c, d]].map(|port| L4Port(u16::from_be_bytes(port)));
        Self {
            key: FlowKey {
                client: src,
                remote: dst,
                client_port,
                remote_port,
                protocol,
            },
            len,
            kind,
        }
    }
}

impl<A: Ip> Key<A> {
    /// Hashes the key of a flow, which is in here too, and asks for its bucket.
    #[inline(always)]
    fn seek(&mut self, flows: &FlowTable<A>, key: &FlowKey<A>) {
        self.hash = flows.hash(key);
        flows.prefetch_bucket(self.hash);
    }
}

/// Before the first packet: no service has this number.
const NOBODY: ServiceId = ServiceId(u32::MAX);

/// Packets of one service and direction in a row, counted together.
#[derive(Clone, Copy, Debug)]
struct Run {
    direction: Direction,
    service: ServiceId,
    // Of another size than the octets, so that each is added to where it lies.
    packets: u32,
    octets: u64,
}

impl Run {
    const fn new(direction: Direction) -> Self {
        Self {
            direction,
            service: NOBODY,
            packets: 0,
            octets: 0,
        }
    }

    #[inline(always)]
    fn add(&mut self, world: (&mut State, &Tables), service: ServiceId, len: u16) {
        if self.service != service {
            self.turn_to(world, service);
        }
        self.packets += 1;
        self.octets += u64::from(len);
    }

    /// Begins to count for another service. Its slot may have been another one's, and waits for its
    /// turn to be taken over: what is counted before would be lost.
    #[inline(never)]
    fn turn_to(&mut self, (state, tables): (&mut State, &Tables), service: ServiceId) {
        self.flush(state);
        state.expect(tables, service, None);
        self.service = service;
    }

    /// Counts what has come together.
    fn flush(&mut self, state: &State) {
        let sum = (u64::from(self.packets), self.octets);
        count_service(state, self.service, self.direction, sum);
        (self.packets, self.octets) = (0, 0);
    }
}
