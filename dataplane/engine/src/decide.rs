//! What to do with a packet about a flow: the one place where forwarding is decided, read-only, so
//! that `weir explain` walks the very same code. What a plan changes is carried out by
//! [`commit`](crate::commit).
//!
//! Hits take their flow's server. Misses go through: may the source speak, does a service listen,
//! may a flow start with this packet, which server. Then, for both: is there a way to the server,
//! is TTL left, does the packet fit.

mod miss;

use core::net::IpAddr;

use weir_wire::addr::{L4Port, Protocol};
use weir_wire::parse::Parsed;

use self::miss::{choose, error_without_flow, reply_without_flow, start};
pub(crate) use self::miss::{is_deferred, new_flow, without_state};
use crate::answer::Answer;
use crate::classify::{Part, Subject};
use crate::engine::State;
use crate::family::Ip;
use crate::flow::tcp::TcpEvent;
use crate::flow::{Direction, FlowEntry, FlowIndex, FlowKey, FlowState, Found, NewFlow};
use crate::id::{PortId, ServiceId};
use crate::rewrite::tunnel::Outer;
use crate::service::Cursor;
use crate::tables::{Hop, Mode, NextHop, OnServerGone, Port, Server, Service, Tables};
use crate::time::Time;
use crate::verdict::{DropReason, PuntClass};

/// What a decision may look at.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) state: &'a State,
    pub(crate) now: Time,
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan<A: Ip> {
    /// Dropped, perhaps with an answer; no state changes.
    Drop(DropReason, Option<Answer>),
    /// The kernel's; no state changes.
    Punt(PuntClass),
    /// Waits for a neighbour; no state changes, so that it can be decided again.
    Hold(PortId, IpAddr),
    /// A packet of a service.
    Serve(Serve<A>),
}

/// A packet of a service, its flow and its server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Serve<A: Ip> {
    /// Whom it is counted for.
    pub(crate) service: ServiceId,
    /// The server's slot; `None` if the server is gone.
    pub(crate) server: Option<u32>,
    /// Which way it goes.
    pub(crate) direction: Direction,
    /// What becomes of the flow.
    pub(crate) change: Change<A>,
    /// What becomes of the packet.
    pub(crate) then: Then<A>,
}

/// What becomes of a flow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<A: Ip> {
    /// Nothing: a packet that is forwarded without state.
    None,
    /// It would start, but the table is flooded: its next packet is to start it.
    Defer,
    /// An ICMP error is about it, and neither refreshes nor closes it (D35).
    Error(FlowIndex),
    /// It has one more packet.
    Touch(FlowIndex, Option<TcpEvent>),
    /// It starts, perhaps in place of another.
    Start {
        /// The flow that ends for it (port reuse, or its server is gone).
        replaced: Option<FlowIndex>,
        /// The flow.
        flow: NewFlow<A>,
        /// The scheduler's state after the choice.
        cursor: Cursor,
    },
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then<A: Ip> {
    /// Dropped and answered.
    Answer(DropReason, Answer),
    /// Forwarded.
    Send(Send<A>),
}

/// How a packet is forwarded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Send<A: Ip> {
    /// What is rewritten.
    pub(crate) rewrite: Rewrite<A>,
    /// Where it leaves, and to whom.
    pub(crate) to: NextHop,
    /// It is larger than the port's MTU and is fragmented on the way out.
    pub(crate) oversize: bool,
}

/// What is rewritten in a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rewrite<A: Ip> {
    /// The MACs.
    Direct,
    /// The far end: the destination forward, the source in reverse.
    Translate(A, L4Port),
    /// Nothing, but it is wrapped.
    Tunnel(Outer),
}

/// Decides about a packet, given its flow if it has one.
#[inline]
pub(crate) fn plan<A: Ip>(
    view: View<'_>,
    subject: &Subject<A>,
    packet: &Parsed<A>,
    found: Option<Found>,
) -> Plan<A> {
    if let Some(found) = found {
        return hit(view, subject, packet, found);
    }
    match (subject.direction, subject.part) {
        (Direction::Forward, Part::Own) => start(view, subject, packet, None),
        (Direction::Forward, Part::Error) => error_without_flow(view, subject, packet),
        (Direction::Reverse, Part::Own) => reply_without_flow(view, subject, packet),
        (Direction::Reverse, Part::Error) => Plan::Punt(PuntClass::Routed),
    }
}

/// A packet of a known flow.
#[inline]
fn hit<A: Ip>(view: View<'_>, subject: &Subject<A>, packet: &Parsed<A>, found: Found) -> Plan<A> {
    let entry = A::flows(view.state).entry(found.index);
    let change = match subject.part {
        Part::Own => Change::Touch(found.index, event(packet)),
        Part::Error => Change::Error(found.index),
    };
    let server = view.tables.server(entry.server());
    if found.direction == Direction::Reverse {
        // Also if the server is gone: what it says to its clients is still an answer.
        let (vip, port) = entry.far_end(Direction::Reverse);
        let rewrite = Rewrite::Translate(vip, port);
        let from = From {
            service: entry.service(),
            server: server.map(|server| server.id.index),
        };
        return back(view, subject, packet, from, change, rewrite);
    }
    let Some(server) = server else {
        return gone(view, subject, packet, found.index);
    };
    let reused = packet.tcp_flags.is_syn()
        && subject.part == Part::Own
        && matches!(entry.state(), FlowState::Tcp(state) if state.is_closing());
    if reused {
        // D53: a new connection under old ports; this packet starts it.
        return start(view, subject, packet, Some(found.index));
    }
    let rewrite = forward_rewrite(server, &subject.key, Some(entry));
    deliver(view, packet, server, change, rewrite)
}

/// A packet whose flow's server is no longer configured (D54).
#[cold]
fn gone<A: Ip>(
    view: View<'_>,
    subject: &Subject<A>,
    packet: &Parsed<A>,
    index: FlowIndex,
) -> Plan<A> {
    if subject.part == Part::Error {
        return Plan::Drop(DropReason::ServerGone, None);
    }
    let anew = packet.tcp_flags.is_syn() || packet.protocol == Protocol::UDP;
    let Some(service) = listening(view.tables, subject) else {
        return start(view, subject, packet, Some(index));
    };
    match service.on_server_gone {
        _ if anew => start(view, subject, packet, Some(index)),
        OnServerGone::Drop => Plan::Drop(DropReason::ServerGone, None),
        OnServerGone::Reset => Plan::Drop(DropReason::ServerGone, Some(Answer::Reset)),
        OnServerGone::Reschedule => choose(view, subject, packet, service, Some(index)),
    }
}

/// The service that listens where a packet goes.
fn listening<'a, A: Ip>(tables: &'a Tables, subject: &Subject<A>) -> Option<&'a Service> {
    let key = &subject.key;
    let family = A::family(tables);
    tables.service(family.service(key.remote, key.protocol, key.remote_port)?)
}

/// Whose packet it is that goes back to a client.
struct From {
    service: ServiceId,
    server: Option<u32>,
}

/// Sends a packet back to its client.
#[inline]
fn back<A: Ip>(
    view: View<'_>,
    subject: &Subject<A>,
    packet: &Parsed<A>,
    from: From,
    change: Change<A>,
    rewrite: Rewrite<A>,
) -> Plan<A> {
    let hop = A::family(view.tables).hop(subject.key.client);
    let From { service, server } = from;
    let direction = Direction::Reverse;
    let plan = go(view, packet, hop, rewrite, |then| Serve {
        service,
        server,
        direction,
        change,
        then,
    });
    match plan {
        // A router looks at TTL and size before it translates: the flow never sees such a packet.
        Plan::Serve(Serve {
            then: Then::Answer(reason, answer),
            ..
        }) => Plan::Drop(reason, Some(answer)),
        Plan::Serve(_) | Plan::Drop(..) | Plan::Punt(_) | Plan::Hold(..) => plan,
    }
}

/// Sends a packet to its server.
#[inline]
fn deliver<A: Ip>(
    view: View<'_>,
    packet: &Parsed<A>,
    server: &Server,
    change: Change<A>,
    rewrite: Option<Rewrite<A>>,
) -> Plan<A> {
    let Some(rewrite) = rewrite else {
        return Plan::Drop(DropReason::NoRoute, None);
    };
    let (service, direction) = (server.service, Direction::Forward);
    let server_slot = Some(server.id.index);
    go(view, packet, server.hop, rewrite, |then| Serve {
        service,
        server: server_slot,
        direction,
        change,
        then,
    })
}

/// The last steps of every way out: neighbour, TTL, size.
#[inline]
fn go<A: Ip>(
    view: View<'_>,
    packet: &Parsed<A>,
    hop: Hop,
    rewrite: Rewrite<A>,
    serve: impl FnOnce(Then<A>) -> Serve<A>,
) -> Plan<A> {
    let to = match hop {
        Hop::Ready(to) => to,
        Hop::Unresolved { port, neighbour } => return Plan::Hold(port, neighbour),
        Hop::NoRoute => return Plan::Drop(DropReason::NoRoute, None),
    };
    let Some(port) = view.tables.port(to.port) else {
        return Plan::Drop(DropReason::NoRoute, None);
    };
    if packet.ttl <= 1 {
        return Plan::Serve(serve(Then::Answer(
            DropReason::TtlExpired,
            Answer::TimeExceeded,
        )));
    }
    let len = packet.end - packet.l3;
    let room = room(port, rewrite);
    if len > room && !may_fragment::<A>(packet, len, rewrite) {
        let mtu = room.max(A::MTU_MIN);
        return Plan::Serve(serve(Then::Answer(
            DropReason::TooBig,
            Answer::TooBig { mtu },
        )));
    }
    Plan::Serve(serve(Then::Send(Send {
        rewrite,
        to,
        oversize: len > room,
    })))
}

/// The octets of IP that fit a port.
#[inline(always)]
pub(crate) fn room<A: Ip>(port: &Port, rewrite: Rewrite<A>) -> u16 {
    match rewrite {
        Rewrite::Direct | Rewrite::Translate(..) => port.mtu,
        Rewrite::Tunnel(outer) => port.mtu.saturating_sub(outer.len()),
    }
}

/// Whether a packet that does not fit is fragmented, as IPVS does, instead of being answered.
///
/// IPv4 where DF is clear, and ICMP in any case, about which nobody may complain. IPv6 only inside
/// a tunnel and up to 1,280 octets, which every IPv6 sender may send (RFC 2473 section 7.1).
#[cold]
fn may_fragment<A: Ip>(packet: &Parsed<A>, len: u16, rewrite: Rewrite<A>) -> bool {
    if A::LEN == 4 {
        return !packet.dont_fragment || packet.protocol == A::ICMP;
    }
    matches!(rewrite, Rewrite::Tunnel(_)) && len <= A::MTU_MIN
}

/// How a packet reaches a server. `None`: the server's address is of the wrong family, which
/// control refuses to configure.
#[inline]
pub(crate) fn forward_rewrite<A: Ip>(
    server: &Server,
    key: &FlowKey<A>,
    entry: Option<&FlowEntry<A>>,
) -> Option<Rewrite<A>> {
    Some(match server.mode {
        Mode::Dr => Rewrite::Direct,
        Mode::Nat => match entry {
            Some(entry) => {
                let (rip, port) = entry.far_end(Direction::Forward);
                Rewrite::Translate(rip, port)
            }
            None => {
                let port = server.port.unwrap_or(key.remote_port);
                Rewrite::Translate(A::from_ip(server.address)?, port)
            }
        },
        Mode::Tunnel => Rewrite::Tunnel(Outer::new(server.tunnel_source?, server.address)?),
    })
}

/// What a packet means to TCP; `None` for other protocols and for later fragments.
#[inline]
pub(crate) fn event<A: Ip>(packet: &Parsed<A>) -> Option<TcpEvent> {
    match packet.protocol {
        Protocol::TCP => TcpEvent::of(packet.tcp_flags),
        Protocol(_) => None,
    }
}
