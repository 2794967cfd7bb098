//! The way out of the straight line.

use weir_wire::addr::Protocol;
use weir_wire::parse::{Fragment, Parsed};
use weir_wire::tcp::TcpFlags;

use super::{L3, Run, Straight};
use crate::commit::count;
use crate::engine::State;
use crate::family::{Carried, Ip};
use crate::flow::{Direction, FlowKey, Observed};
use crate::id::PortId;
use crate::io::Io;
use crate::pipeline::{FamilyKeys, Key};
use crate::rewrite::tunnel::Outer;
use crate::rewrite::{self, Exit};
use crate::tables::{Family, Mode, NextHop, Server, Tables};
use crate::time::Time;
use crate::verdict::{DropReason, Verdict};

/// The router that the reply before went to: the next one mostly goes there too.
#[derive(Debug)]
pub(in crate::pipeline) struct Router<A>(Option<((PortId, A), NextHop)>);

impl<A> Default for Router<A> {
    fn default() -> Self {
        Self(None)
    }
}

impl<A: Ip> Router<A> {
    /// The way to a client, if everything about it is known.
    #[inline(always)]
    fn hop(&mut self, family: &Family<A>, client: A) -> Option<NextHop> {
        let neighbour = family.routes.neighbour(client)?;
        match &self.0 {
            Some((known, hop)) if *known == neighbour => Some(*hop),
            Some(_) | None => {
                let mac = *family.neighbours.get(&neighbour)?;
                let port = neighbour.0;
                let hop = NextHop { port, mac };
                self.0 = Some((neighbour, hop));
                Some(hop)
            }
        }
    }
}

/// Carries a packet of a known flow out: `None` leaves frame and flow untouched, for the stages
/// that know every case.
#[inline(always)]
pub(in crate::pipeline) fn settle<A: Ip, I: Io>(
    (state, tables, now): (&mut State, &Tables, Time),
    frame: &mut I::Frame,
    (keys, at): (&FamilyKeys<A>, usize),
    (run, router): (&mut Run, &mut Router<A>),
) -> Option<Verdict> {
    let Key {
        hash,
        hint,
        straight: packet,
    } = &keys.keys[at];
    let flows = A::flows_mut(state);
    let (entry, direction) = flows.confirm_mut(&packet.key, *hash, *hint, now)?;
    if direction != packet.direction {
        return None;
    }
    let id = entry.server();
    let server = tables.server(id)?;
    let (service, hop, outer) = match direction {
        Direction::Forward => (server.service, server.ready()?, outer(server)?),
        // The server's first word is noted elsewhere.
        Direction::Reverse if entry.is_unanswered() => return None,
        Direction::Reverse => {
            let hop = router.hop(A::family(tables), packet.key.client)?;
            (entry.service(), hop, None)
        }
    };
    let port = tables.port(hop.port)?;
    let room = outer.map_or(port.mtu, |outer| port.mtu.saturating_sub(outer.len()));
    if packet.len > room {
        return None;
    }
    let timeouts = &tables.service(service)?.timeouts;
    let observed = Observed {
        direction,
        event: packet.event,
        octets: u32::from(packet.len),
    };
    let to = entry.far_end(direction);
    let change = entry.note(observed, timeouts, now.tick());
    if change.before != change.after {
        flows.moved(change);
        state.move_flow(id, change.before.is_active(), change.after.is_active());
    }
    run.add(state, service, direction, packet.len);
    count(state, direction, None, Some(id.index), packet.len);
    let exit = Exit { port, mac: hop.mac };
    let sent = match (direction, server.mode) {
        (Direction::Forward, Mode::Dr) => {
            rewrite::direct::<A, I>(frame, &parsed(packet, Carried::default()), exit)
        }
        (Direction::Forward, Mode::Tunnel) => wrap::<A, I>(state, frame, packet, outer, exit),
        (Direction::Forward, Mode::Nat)
        | (Direction::Reverse, Mode::Dr | Mode::Nat | Mode::Tunnel) => {
            let packet = parsed(packet, Carried::default());
            rewrite::nat::translate::<A, I>(frame, &packet, direction, to, exit)
        }
    };
    match sent {
        Ok(()) => Some(Verdict::Forward(hop.port)),
        Err(reason) => {
            state.counters.dropped[reason.index()].add(1);
            Some(Verdict::Drop(reason))
        }
    }
}

/// The outer header of packets to a server; `None` if there are none because one of its addresses
/// is missing.
#[inline(always)]
#[expect(
    clippy::option_option,
    reason = "whether it is known, and whether there is one"
)]
fn outer(server: &Server) -> Option<Option<Outer>> {
    match server.mode {
        Mode::Dr | Mode::Nat => Some(None),
        Mode::Tunnel => Outer::new(server.tunnel_source?, server.address).map(Some),
    }
}

/// Wraps a packet.
#[inline(always)]
fn wrap<A: Ip, I: Io>(
    state: &mut State,
    frame: &mut I::Frame,
    packet: &Straight<A>,
    outer: Option<Outer>,
    exit: Exit<'_>,
) -> Result<(), DropReason> {
    let header = I::head(frame).get(usize::from(L3)..).unwrap_or(&[]);
    let carried = A::carried(header).ok_or(DropReason::Truncated)?;
    let outer = outer.ok_or(DropReason::NoRoute)?;
    let id = state.take_id_u16();
    rewrite::tunnel::encapsulate::<A, I>(frame, &parsed(packet, carried), outer, id, exit)
}

impl<A: Ip> Straight<A> {
    /// The key, if it is a datagram's from a client.
    #[inline(always)]
    pub(in crate::pipeline) fn datagram(&self) -> Option<&FlowKey<A>> {
        let datagram = self.key.protocol == Protocol::UDP && self.direction == Direction::Forward;
        datagram.then_some(&self.key)
    }

    /// The packet of a frame as the parser would see it.
    #[inline(always)]
    pub(in crate::pipeline) fn parsed<I: Io>(&self, frame: &I::Frame) -> Option<Parsed<A>> {
        let header = I::head(frame).get(usize::from(L3)..)?;
        Some(parsed(self, A::carried(header)?))
    }
}

/// The packet as the parser would see it: the compiler keeps only what is read of it.
#[inline(always)]
fn parsed<A: Ip>(packet: &Straight<A>, carried: Carried) -> Parsed<A> {
    let Straight {
        key,
        len,
        direction,
        ..
    } = packet;
    let client = (key.client, key.client_port);
    let remote = (key.remote, key.remote_port);
    let ((src, sport), (dst, dport)) = match direction {
        Direction::Forward => (client, remote),
        Direction::Reverse => (remote, client),
    };
    Parsed {
        src,
        dst,
        sport,
        dport,
        l3: L3,
        l4: L3 + A::HEADER_LEN,
        end: L3 + len,
        fragment_header: 0,
        fragment: Fragment::Whole,
        protocol: key.protocol,
        ttl: carried.ttl,
        tos: carried.tos,
        tcp_flags: TcpFlags::ACK,
        dont_fragment: carried.dont_fragment,
        udp_checksum_zero: false,
    }
}
