//! Carrying out what a plan changes: flows, counters, gauges, the scheduler's turn.

use weir_wire::icmp::Cause;

use crate::counters::{Gauge, ServerCounters};
use crate::decide::{Change, Serve, Then};
use crate::engine::State;
use crate::family::Ip;
use crate::flow::tcp::{TcpEvent, Timeouts};
use crate::flow::{Direction, Ended, FlowIndex, NewFlow, Observed};
use crate::id::{ServerId, ServiceId};
use crate::service::Cursor;
use crate::tables::{Mode, Tables};
use crate::time::Time;

/// The flow could not be entered: the table is full, or the server would see two clients' flows
/// under one pair of addresses and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// For flows that outlive their service.
const TIMEOUTS: Timeouts = Timeouts::new(Timeouts::ESTABLISHED, Timeouts::FIN, Timeouts::UDP);

/// Carries out a plan for a packet of `len` octets of IP.
///
/// # Errors
/// `NoRoom`: nothing was counted, and the packet has no flow.
#[inline]
pub(crate) fn commit<A: Ip>(
    state: &mut State,
    tables: &Tables,
    now: Time,
    serve: &Serve<A>,
    len: u16,
) -> Result<(), NoRoom> {
    let timeouts = tables
        .service(serve.service)
        .map_or(&TIMEOUTS, |service| &service.timeouts);
    state.expect(tables, serve.service, serve.server);
    match &serve.change {
        Change::Defer if matches!(serve.then, Then::Send(_)) => state.defer(timeouts, now),
        Change::None | Change::Defer => {}
        Change::Error(index) => {
            // What the client's side complains about, the server has sent.
            if serve.direction == Direction::Forward {
                A::flows_mut(state).answered(*index);
            }
        }
        Change::Touch(index, event) => {
            let observed = Observed {
                direction: serve.direction,
                event: *event,
                octets: u32::from(len),
            };
            // Clients that go on after their SYN are seen by `touch`.
            let word = serve.direction == Direction::Reverse || *event == Some(TcpEvent::Rst);
            if word && A::flows(state).entry(*index).is_unanswered() {
                listen::<A>(state, *index, observed);
            }
            let flows = A::flows_mut(state);
            let change = flows.touch(*index, observed, timeouts, now);
            if change.before != change.after {
                let server = A::flows(state).entry(*index).server();
                let (before, after) = (change.before.is_active(), change.after.is_active());
                state.move_flow(server, before, after);
            }
        }
        Change::Start {
            replaced,
            flow,
            cursor,
        } => {
            if let Some(ended) = replaced.and_then(|index| A::flows_mut(state).remove(index)) {
                let why = if flow.state.is_half_open() {
                    Ended::Retried
                } else {
                    Ended::Replaced
                };
                A::flows_and_census(state).1.uncount(&ended, why);
            }
            let (flows, census) = A::flows_and_census(state);
            let ended = &mut |entry: &_, why| census.uncount(entry, why);
            let index = flows.insert(flow, now, ended).map_err(|_| NoRoom)?;
            count_start(state, now, (index, flow), *cursor, timeouts, len);
        }
    }
    count(
        state,
        serve.direction,
        Some(serve.service.index()),
        serve.server,
        len,
    );
    Ok(())
}

/// Notes the first word that comes of a flow's server: its own, or a client's RST. A client resets
/// what is half open only when it gets an answer that it does not want: because it only looked for
/// open ports, or because somebody forged its address.
#[cold]
fn listen<A: Ip>(state: &mut State, index: FlowIndex, packet: Observed) {
    A::flows_mut(state).answered(index);
    if packet.direction == Direction::Reverse && packet.event == Some(TcpEvent::Rst) {
        count_refusal::<A>(state, index);
    }
}

/// Counts a flow as refused if an ICMP error of its server says so; `from` sent it.
///
/// Only the server's own word counts. What a router says of a server is no answer of it, and easier
/// to forge.
#[cold]
pub(crate) fn hear<A: Ip>(state: &mut State, serve: &Serve<A>, cause: Option<Cause>, from: A) {
    let Change::Error(index) = serve.change else {
        return;
    };
    if serve.direction == Direction::Reverse
        && cause == Some(Cause::Unreachable)
        && from == A::flows(state).entry(index).rip()
        && A::flows_mut(state).answered(index)
    {
        count_refusal::<A>(state, index);
    }
}

/// Counts a flow that its server refuses.
#[cold]
fn count_refusal<A: Ip>(state: &State, index: FlowIndex) {
    let server = A::flows(state).entry(index).server();
    let slot = server.index as usize;
    if state.generations.get(slot) == Some(&server.generation)
        && let Some(outcomes) = state.counters.outcomes.get(slot)
    {
        outcomes.reset.add(1);
    }
}

/// Counts a flow that has been entered with a packet of `len` octets of IP.
#[inline]
pub(crate) fn count_start<A: Ip>(
    state: &mut State,
    now: Time,
    (index, flow): (FlowIndex, &NewFlow<A>),
    cursor: Cursor,
    timeouts: &Timeouts,
    len: u16,
) {
    state.publish_flows();
    // The first packet has moved the state already; without an event it is only counted.
    let first = Observed {
        direction: Direction::Forward,
        event: None,
        octets: u32::from(len),
    };
    A::flows_mut(state).touch(index, first, timeouts, now);
    if let (Some(choice), Some(scheduler)) =
        (cursor, state.schedulers.get_mut(flow.service.index()))
    {
        scheduler.commit(&choice);
    }
    if let Some(counters) = state.counters.services.get(flow.service.index()) {
        counters.connections.add(1);
    }
    if let Some(counters) = state.counters.servers.get(flow.server.index as usize) {
        counters.connections.add(1);
    }
    if let Some(counters) = state.gauges(flow.server) {
        gauge(counters, flow.state.is_active()).up();
    }
}

/// Counts an error about a packet of a service, as one that goes back to its client. As in IPVS,
/// not under NAT, where a packet from the VIP is nothing that a server sent.
#[cold]
pub(crate) fn count_error<A: Ip>(state: &State, tables: &Tables, serve: &Serve<A>, len: u16) {
    let server = serve
        .server
        .and_then(|slot| tables.servers.get(slot as usize)?.as_ref());
    if server.is_none_or(|server| server.mode == Mode::Nat) {
        return;
    }
    count(
        state,
        Direction::Reverse,
        Some(serve.service.index()),
        serve.server,
        len,
    );
}

/// Counts a packet for its service and server.
#[inline]
pub(crate) fn count(
    state: &State,
    direction: Direction,
    service: Option<usize>,
    server: Option<u32>,
    len: u16,
) {
    let len = usize::from(len);
    if let Some(counters) = service.and_then(|slot| state.counters.services.get(slot)) {
        match direction {
            Direction::Forward => counters.incoming.count(len),
            Direction::Reverse => counters.outgoing.count(len),
        }
    }
    let server = server.and_then(|slot| state.counters.servers.get(slot as usize));
    if let Some(counters) = server {
        match direction {
            Direction::Forward => counters.incoming.count(len),
            Direction::Reverse => counters.outgoing.count(len),
        }
    }
}

/// Counts packets and their octets for their service.
#[inline]
pub(crate) fn count_service(
    state: &State,
    service: ServiceId,
    direction: Direction,
    (packets, octets): (u64, u64),
) {
    if let Some(counters) = state.counters.services.get(service.index()) {
        let traffic = match direction {
            Direction::Forward => &counters.incoming,
            Direction::Reverse => &counters.outgoing,
        };
        traffic.packets.add(packets);
        traffic.bytes.add(octets);
    }
}

fn gauge(counters: &ServerCounters, active: bool) -> &Gauge {
    if active {
        &counters.active
    } else {
        &counters.inactive
    }
}

impl State {
    /// The counters of a server, if the slot still is this server's.
    fn gauges(&self, server: ServerId) -> Option<&ServerCounters> {
        let slot = server.index as usize;
        let own = self.generations.get(slot) == Some(&server.generation);
        self.counters.servers.get(slot).filter(|_| own)
    }

    /// A flow's state changed.
    #[cold]
    pub(crate) fn move_flow(&self, server: ServerId, before: bool, after: bool) {
        self.publish_flows();
        if before == after {
            return;
        }
        if let Some(counters) = self.gauges(server) {
            gauge(counters, before).down();
            gauge(counters, after).up();
        }
    }
}
