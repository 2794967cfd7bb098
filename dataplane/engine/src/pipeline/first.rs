//! First packets: of flows to be, where everything about them is plain.
//!
//! What it takes to start a flow is asked here in the words of `decide`, and carried out by the
//! pieces of `commit`, but no plan is handed from one to the other: new flows come in floods.
//! Whatever is out of the ordinary (a source that may not speak, another worker's flow, a port
//! where nothing listens, no server, an unresolved neighbour, an MTU) is left to the stages that
//! know every case. `tests/straight.rs` holds both against each other, which frames from other
//! workers take.

use core::net::{Ipv4Addr, Ipv6Addr};

use weir_wire::addr::{L4Port, Protocol};
use weir_wire::parse::{Fragment, Parsed};
use weir_wire::tcp::TcpFlags;

use super::{FamilyKeys, Ingress, Item, Key, Keys, Row, Task, Work};
use crate::classify::{Part, Subject};
use crate::commit::{count, count_start};
use crate::decide::{self, Rewrite, View};
use crate::engine::State;
use crate::family::Ip;
use crate::flow::tcp::TcpEvent;
use crate::flow::{Direction, FlowHash, FlowKey};
use crate::id::ServerId;
use crate::io::Io;
use crate::rewrite::{self, Exit};
use crate::service;
use crate::tables::{NextHop, Port, Server, Service, Tables};
use crate::time::Time;
use crate::verdict::{DropReason, Verdict};

/// What starts the flows of a burst.
#[derive(Debug)]
pub(super) struct Firsts<'a> {
    v4: FamilyFirsts<'a, Ipv4Addr>,
    v6: FamilyFirsts<'a, Ipv6Addr>,
}

impl<'a> Firsts<'a> {
    pub(super) fn new(tables: &'a Tables, now: Time, ingress: Ingress) -> Self {
        Self {
            v4: FamilyFirsts::new(tables, now, ingress),
            v6: FamilyFirsts::new(tables, now, ingress),
        }
    }

    /// Starts a packet's flow, the first's of a row, and carries the packet out: `None` leaves
    /// everything as it is. Drops are counted by the caller.
    #[inline(never)]
    pub(super) fn settle<I: Io>(
        &mut self,
        state: &mut State,
        frame: &mut I::Frame,
        work: &Work,
        keys: &Keys,
    ) -> Option<Verdict> {
        let Self { v4, v6 } = self;
        match work {
            Work::Straight(Row::V4(row)) => {
                v4.settle_straight::<I>(state, frame, &keys.v4.keys[row.first])
            }
            Work::Straight(Row::V6(row)) => {
                v6.settle_straight::<I>(state, frame, &keys.v6.keys[row.first])
            }
            Work::V4(item) => v4.settle::<I>(state, frame, item, &keys.v4),
            Work::V6(item) => v6.settle::<I>(state, frame, item, &keys.v6),
            Work::Done(_) => None,
        }
    }
}

/// The same for one family.
#[derive(Debug)]
struct FamilyFirsts<'a, A> {
    tables: &'a Tables,
    now: Time,
    /// Whether frames come from a device.
    is_fresh: bool,
    listening: Listening<'a, A>,
}

/// The service of the first packet before: the next one mostly goes there too.
#[derive(Debug)]
pub(super) struct Listening<'a, A>(Option<((A, Protocol, L4Port), &'a Service)>);

impl<A> Default for Listening<'_, A> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'a, A: Ip> Listening<'a, A> {
    /// The service that listens where a flow goes.
    #[inline(always)]
    pub(super) fn service(&mut self, tables: &'a Tables, key: &FlowKey<A>) -> Option<&'a Service> {
        let wanted = (key.remote, key.protocol, key.remote_port);
        match self.0 {
            Some((known, service)) if known == wanted => Some(service),
            Some(_) | None => {
                let (vip, protocol, port) = wanted;
                let id = A::family(tables).service(vip, protocol, port)?;
                let service = tables.service(id)?;
                self.0 = Some((wanted, service));
                Some(service)
            }
        }
    }
}

/// A packet that may be a flow's first.
#[derive(Clone, Copy, Debug)]
struct First<'p, A: Ip> {
    packet: &'p Parsed<A>,
    key: &'p FlowKey<A>,
    hash: FlowHash,
    /// SYN for TCP, nothing for UDP.
    event: Option<TcpEvent>,
}

/// The way to a server, all of which is known.
#[derive(Clone, Copy, Debug)]
struct Road<'a, A: Ip> {
    server: &'a Server,
    port: &'a Port,
    hop: NextHop,
    rewrite: Rewrite<A>,
}

impl<'a, A: Ip> FamilyFirsts<'a, A> {
    fn new(tables: &'a Tables, now: Time, ingress: Ingress) -> Self {
        Self {
            tables,
            now,
            is_fresh: matches!(ingress, Ingress::Device(_)),
            listening: Listening::default(),
        }
    }

    /// A packet that has been parsed.
    #[inline(always)]
    fn settle<I: Io>(
        &mut self,
        state: &mut State,
        frame: &mut I::Frame,
        item: &Item<A>,
        keys: &FamilyKeys<A>,
    ) -> Option<Verdict> {
        let packet = &item.packet;
        let Task::Flow(subject, at) = &item.task else {
            return None;
        };
        let Subject {
            key,
            direction: Direction::Forward,
            part: Part::Own,
        } = subject
        else {
            return None;
        };
        let event = match packet.protocol {
            Protocol::UDP => None,
            Protocol::TCP if is_plain_syn(packet.tcp_flags) => Some(TcpEvent::Syn),
            Protocol(_) => return None,
        };
        let plain = self.is_fresh && packet.fragment == Fragment::Whole && packet.ttl > 1;
        let hash = keys.keys[*at].hash;
        let first = First {
            packet,
            key,
            hash,
            event,
        };
        plain.then(|| self.start::<I>(state, frame, first))?
    }

    /// A packet that has been recognised, not parsed.
    #[inline(always)]
    fn settle_straight<I: Io>(
        &mut self,
        state: &mut State,
        frame: &mut I::Frame,
        Key { hash, straight, .. }: &Key<A>,
    ) -> Option<Verdict> {
        let event = straight.first_event()?;
        let packet = &straight.parsed::<I>(frame)?;
        let (key, hash) = (straight.client_key()?, *hash);
        let first = First {
            packet,
            key,
            hash,
            event,
        };
        self.start::<I>(state, frame, first)
    }

    #[inline(never)]
    fn start<I: Io>(
        &mut self,
        state: &mut State,
        frame: &mut I::Frame,
        first: First<'_, A>,
    ) -> Option<Verdict> {
        let First {
            packet,
            key,
            hash,
            event,
        } = first;
        let (tables, now) = (self.tables, self.now);
        let may_begin = may_speak(tables, key) && is_owned(tables, state, key);
        if !may_begin || decide::is_deferred(A::flows(state), event) {
            return None;
        }
        let service = self.listening.service(tables, key)?;
        let view = View { tables, state, now };
        let (server, cursor) = service::pick(view, service, key)?;
        let road = Road::new(tables, server.id, &first)?;
        // Nothing has changed so far, for there may be a flow after all. One that has ended and is
        // still there counts for its server until here, as it does in `decide`.
        let (flows, census) = A::flows_and_census(state);
        let ended = &mut |entry: &_, why| census.uncount(entry, why);
        if flows.find_or_clear(key, hash, now, ended).is_some() {
            return None;
        }
        let flow = decide::new_flow(service, road.server, key, event);
        state.expect(tables, flow.service, Some(flow.server.index));
        let len = packet.end - packet.l3;
        let (flows, census) = A::flows_and_census(state);
        let ended = &mut |entry: &_, why| census.uncount(entry, why);
        match flows.enter(&flow, hash, now, ended) {
            Ok(index) => {
                let started = (index, &flow);
                count_start(state, now, started, cursor, &service.timeouts, len);
                Some(road.take::<I>(state, frame, packet))
            }
            Err(_) => self.without_state::<I>(state, frame, service, &first),
        }
    }

    /// Sends a packet whose flow found no room, as [`decide::without_state`] says.
    #[inline(never)]
    fn without_state<I: Io>(
        &self,
        state: &mut State,
        frame: &mut I::Frame,
        service: &Service,
        first: &First<'_, A>,
    ) -> Option<Verdict> {
        let (tables, now) = (self.tables, self.now);
        let view = View { tables, state, now };
        let Some((server, _)) = service::pick_stateless(view, service, first.key) else {
            state.counters.flow_insert_failures.add(1);
            return Some(Verdict::Drop(DropReason::FlowTableFull));
        };
        let road = Road::new(tables, server.id, first)?;
        state.expect(tables, service.id, Some(road.server.id.index));
        state.counters.flow_insert_failures.add(1);
        state.forward_without_state(&service.timeouts, now);
        Some(road.take::<I>(state, frame, first.packet))
    }
}

/// Whether a segment asks for a connection and tries no tricks.
#[inline(always)]
fn is_plain_syn(flags: TcpFlags) -> bool {
    let others = TcpFlags::ACK.union(TcpFlags::FIN).union(TcpFlags::RST);
    flags.intersects(TcpFlags::SYN) && !flags.intersects(others)
}

/// Whether a flow's client may be one. VIPs and our own addresses may not, and neither may what
/// looks like them.
#[inline(always)]
pub(super) fn may_speak<A: Ip>(tables: &Tables, key: &FlowKey<A>) -> bool {
    key.has_ports()
        && !key.client.is_martian_source()
        && !A::family(tables).own.may_hold(key.client)
}

/// Whether a flow is this worker's to begin. Another's may come by the straight line, which asks
/// nobody: a flow that is known is one's own.
#[inline(always)]
pub(super) fn is_owned<A: Ip>(tables: &Tables, state: &State, key: &FlowKey<A>) -> bool {
    let steering = &tables.steering;
    steering.owns(state.worker, key.client, key.client_port)
}

impl<'a, A: Ip> Road<'a, A> {
    /// `None`: something is missing, or the packet does not fit.
    #[inline(always)]
    fn new(tables: &'a Tables, server: ServerId, first: &First<'_, A>) -> Option<Self> {
        let First { packet, key, .. } = first;
        let server = tables.server(server)?;
        let hop = server.ready()?;
        let port = tables.port(hop.port)?;
        let rewrite = decide::forward_rewrite(server, key, None)?;
        (packet.end - packet.l3 <= decide::room(port, rewrite)).then_some(Self {
            server,
            port,
            hop,
            rewrite,
        })
    }

    /// Counts a packet and sends it out.
    #[inline(always)]
    fn take<I: Io>(&self, state: &mut State, frame: &mut I::Frame, packet: &Parsed<A>) -> Verdict {
        let Self { server, hop, .. } = self;
        let (service, slot) = (server.service.index(), server.id.index);
        let len = packet.end - packet.l3;
        count(state, Direction::Forward, Some(service), Some(slot), len);
        match self.send::<I>(state, frame, packet) {
            Ok(()) => Verdict::Forward(hop.port),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    #[inline(always)]
    fn send<I: Io>(
        &self,
        state: &mut State,
        frame: &mut I::Frame,
        packet: &Parsed<A>,
    ) -> Result<(), DropReason> {
        let Self { port, hop, .. } = *self;
        let exit = Exit::new(port, hop.mac);
        match self.rewrite {
            Rewrite::Direct => rewrite::direct::<A, I>(frame, packet, exit),
            Rewrite::Translate(address, l4_port) => {
                let (direction, to) = (Direction::Forward, (address, l4_port));
                rewrite::nat::translate::<A, I>(frame, packet, direction, to, exit)
            }
            Rewrite::Tunnel(outer) => {
                let id = state.take_id_u16();
                rewrite::tunnel::encapsulate::<A, I>(frame, packet, outer, id, exit)
            }
        }
    }
}
