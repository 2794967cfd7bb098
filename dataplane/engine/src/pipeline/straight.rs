//! The straight line: packets of established flows, in both directions and all modes.
//!
//! Nearly all frames of a busy director are these. [`recogniser`] knows them by a handful of
//! comparisons on the frame's own octets, a fifth of what a parsed packet is goes from stage to
//! stage, and [`carry`] sends them out. Nothing is decided here that `classify` and `decide` would
//! decide otherwise: a packet is taken only where they leave no choice, and whatever is out of the
//! ordinary (a miss, a SYN, a FIN, options, a fragment, a tag, an unresolved neighbour, an MTU) is
//! left to them untouched. `tests/straight.rs` holds both against each other frame by frame.

pub(super) mod carry;
pub(super) mod recogniser;

use weir_wire::addr::{L4Port, Protocol};

use crate::commit::count_service;
use crate::engine::State;
use crate::family::Ip;
use crate::flow::tcp::TcpEvent;
use crate::flow::{Direction, FlowKey};
use crate::id::ServiceId;

/// Where the IP header begins: there is no tag.
const L3: u16 = 14;

/// What is kept of a packet on the straight line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Straight<A: Ip> {
    key: FlowKey<A>,
    /// Octets of IP.
    len: u16,
    /// ACK for TCP, nothing for UDP.
    event: Option<TcpEvent>,
    direction: Direction,
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
        event: None,
        direction: Direction::Forward,
    };
}

/// Packets of one service and direction in a row, counted together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    service: ServiceId,
    direction: Direction,
    packets: u64,
    octets: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            service: ServiceId::default(),
            direction: Direction::Forward,
            packets: 0,
            octets: 0,
        }
    }
}

impl Run {
    #[inline(always)]
    fn add(&mut self, state: &State, service: ServiceId, direction: Direction, len: u16) {
        if self.service != service || self.direction != direction {
            self.flush(state);
            (self.service, self.direction) = (service, direction);
        }
        self.packets += 1;
        self.octets += u64::from(len);
    }

    /// Counts what has come together; at the end of every burst.
    #[inline]
    pub(super) fn flush(&mut self, state: &State) {
        if self.packets > 0 {
            let sum = (self.packets, self.octets);
            count_service(state, self.service, self.direction, sum);
            *self = Self::default();
        }
    }
}
