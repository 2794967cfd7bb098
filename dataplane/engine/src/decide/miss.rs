//! Packets without a flow: may one start with it, which server takes it, and what becomes of those
//! that may not or have no room.

use weir_wire::addr::Protocol;
use weir_wire::parse::{Fragment, Parsed};
use weir_wire::tcp::TcpFlags;

use super::{Change, From, Plan, Rewrite, View, back, deliver, event, forward_rewrite, listening};
use crate::answer::Answer;
use crate::classify::{Subject, nat_source};
use crate::family::Ip;
use crate::flow::tcp::{TcpEvent, TcpState};
use crate::flow::{FlowIndex, FlowKey, FlowState, FlowTable, NewFlow, ReturnPath};
use crate::service::{self, Cursor};
use crate::tables::{Mode, NatSource, Role, Server, Service, Unserved};
use crate::verdict::{DropReason, PuntClass};

/// A packet from a client that may start a flow.
#[inline(never)]
pub(super) fn start<A: Ip>(
    view: View<'_>,
    subject: &Subject<A>,
    packet: &Parsed<A>,
    replaced: Option<FlowIndex>,
) -> Plan<A> {
    let family = A::family(view.tables);
    if packet.src.is_martian_source() || packet.src == packet.dst {
        return Plan::Drop(DropReason::MartianSource, None);
    }
    if family.own.may_hold(packet.src) {
        if family.dips.contains_key(&packet.src) {
            return Plan::Drop(DropReason::MartianSource, None);
        }
        if family.vips.contains_key(&packet.src) {
            return Plan::Drop(DropReason::VipSource, None);
        }
    }
    let Some(service) = listening(view.tables, subject) else {
        return unserved(view, packet);
    };
    let later = matches!(packet.fragment, Fragment::Later { .. });
    let tcp = subject.key.protocol == Protocol::TCP;
    if tcp && !later && packet.tcp_flags.is_bogus() {
        // Linux resets what has no SYN, and so do we. SYN with FIN or RST tries to trick somebody.
        let answer = !packet.tcp_flags.intersects(TcpFlags::SYN);
        return Plan::Drop(DropReason::BogusTcpFlags, answer.then_some(Answer::Reset));
    }
    match event(packet) {
        None if tcp => Plan::Drop(DropReason::NoFlow, None),
        None | Some(TcpEvent::Syn) => choose(view, subject, packet, service, replaced),
        Some(event) => mid_stream(view, subject, packet, service, replaced, event),
    }
}

/// A segment of a connection that is not known here.
///
/// Where flows went without state or through another director a while ago, their packets must find
/// the same server, if that can be told without a flow.
fn mid_stream<A: Ip>(
    view: View<'_>,
    subject: &Subject<A>,
    packet: &Parsed<A>,
    service: &Service,
    replaced: Option<FlowIndex>,
    event: TcpEvent,
) -> Plan<A> {
    let known = flows_may_be_unknown(view, packet.dst, service)
        .then(|| service::pick_stateless(view, service, &subject.key))
        .flatten();
    match (event, known) {
        (TcpEvent::Rst, Some((server, _))) => pass(view, subject, packet, server, Change::None),
        (TcpEvent::Rst, None) => Plan::Drop(DropReason::NoFlow, None),
        (_, Some(_)) => begin(view, subject, packet, service, replaced, known),
        (_, None) if service.sloppy => choose(view, subject, packet, service, replaced),
        (_, None) => Plan::Drop(DropReason::NoFlow, Some(Answer::Reset)),
    }
}

/// Whether flows to a VIP may be alive that this worker does not know: the table was full, or
/// another director had the VIP until a while ago (D55).
fn flows_may_be_unknown<A: Ip>(view: View<'_>, vip: A, service: &Service) -> bool {
    if view.now < view.state.stateless_until.max(view.state.deferred_until) {
        return true;
    }
    let role = A::family(view.tables).vips.get(&vip).map(|vip| vip.role);
    let Some(Role::Leased(lease)) = role else {
        return false; // A static Active never adopts.
    };
    let held_since = view.tables.leases.held_since(lease, view.now);
    let lifetime = service.timeouts.tcp(TcpState::Established).as_duration();
    held_since.is_some_and(|since| view.now < since + lifetime)
}

/// A packet to a VIP where nothing listens.
fn unserved<A: Ip>(view: View<'_>, packet: &Parsed<A>) -> Plan<A> {
    let Some(vip) = A::family(view.tables).vips.get(&packet.dst) else {
        return Plan::Drop(DropReason::Unserved, None);
    };
    let answer = if packet.protocol == Protocol::TCP {
        Answer::Reset
    } else {
        Answer::PortUnreachable
    };
    match (vip.dip, vip.unserved) {
        (Some(_), _) => Plan::Punt(PuntClass::Dip),
        (None, Unserved::Drop) => Plan::Drop(DropReason::Unserved, None),
        (None, Unserved::Answer) => Plan::Drop(DropReason::Unserved, Some(answer)),
    }
}

/// Sends a packet that has no flow to a server.
fn pass<A: Ip>(
    view: View<'_>,
    subject: &Subject<A>,
    packet: &Parsed<A>,
    server: &Server,
    change: Change<A>,
) -> Plan<A> {
    let rewrite = forward_rewrite(server, &subject.key, None);
    deliver(view, packet, server, change, rewrite)
}

/// Lets the service's scheduler choose a server for a new flow, unless that is deferred.
pub(super) fn choose<A: Ip>(
    view: View<'_>,
    subject: &Subject<A>,
    packet: &Parsed<A>,
    service: &Service,
    replaced: Option<FlowIndex>,
) -> Plan<A> {
    let key = &subject.key;
    if replaced.is_none()
        && key.has_ports()
        && is_deferred(A::flows(view.state), event(packet))
        && let Some((server, _)) = service::pick_stateless(view, service, key)
    {
        return pass(view, subject, packet, server, Change::Defer);
    }
    let picked = service::pick(view, service, key);
    begin(view, subject, packet, service, replaced, picked)
}

/// Begins a flow with the server that was picked for it.
fn begin<A: Ip>(
    view: View<'_>,
    subject: &Subject<A>,
    packet: &Parsed<A>,
    service: &Service,
    replaced: Option<FlowIndex>,
    picked: Option<(&Server, Cursor)>,
) -> Plan<A> {
    let key = &subject.key;
    if !key.has_ports() {
        return Plan::Drop(DropReason::BogusTcpFlags, None);
    }
    let Some((server, cursor)) = picked else {
        return Plan::Drop(DropReason::NoServer, Some(Answer::PortUnreachable));
    };
    let flow = new_flow(service, server, key, event(packet));
    let change = Change::Start {
        replaced,
        flow,
        cursor,
    };
    pass(view, subject, packet, server, change)
}

/// Whether a packet goes on without a flow, which its client's next one is to begin: SYNs into a
/// flooded table. One half-open flow for another would be no gain, and be bad for clients whose
/// answer takes longer than the flood to fill the table. Whoever answers makes them give way.
#[inline(always)]
pub(crate) const fn is_deferred<A: Ip>(flows: &FlowTable<A>, event: Option<TcpEvent>) -> bool {
    matches!(event, Some(TcpEvent::Syn)) && flows.is_flooded()
}

/// The flow that a packet with this event begins.
#[inline(always)]
pub(crate) fn new_flow<A: Ip>(
    service: &Service,
    server: &Server,
    key: &FlowKey<A>,
    event: Option<TcpEvent>,
) -> NewFlow<A> {
    let path = match server.mode {
        Mode::Nat => ReturnPath::Through,
        Mode::Dr | Mode::Tunnel => ReturnPath::Direct,
    };
    let state = match key.protocol {
        Protocol::TCP => FlowState::first(event.or(Some(TcpEvent::Ack)), path),
        Protocol(_) => FlowState::Udp,
    };
    NewFlow {
        key: *key,
        rip: A::from_ip(server.address).unwrap_or(A::UNSPECIFIED),
        server_port: server.port.unwrap_or(key.remote_port),
        server: server.id,
        service: service.id,
        path,
        state,
        idle_max: state.timeout(&service.timeouts),
    }
}

/// The same packet without state: the table is full (counted by the caller).
#[cold]
pub(crate) fn without_state<A: Ip>(
    view: View<'_>,
    subject: &Subject<A>,
    packet: &Parsed<A>,
) -> Plan<A> {
    let Some(service) = listening(view.tables, subject) else {
        return Plan::Drop(DropReason::FlowTableFull, None);
    };
    match service::pick_stateless(view, service, &subject.key) {
        Some((server, _)) => pass(view, subject, packet, server, Change::None),
        None => Plan::Drop(DropReason::FlowTableFull, None),
    }
}

/// An ICMP error about a flow that is not known here: under ECMP it may be another director's, and
/// consistent hashing tells whose it is (D37).
#[cold]
pub(super) fn error_without_flow<A: Ip>(
    view: View<'_>,
    subject: &Subject<A>,
    packet: &Parsed<A>,
) -> Plan<A> {
    let consistent = |service: &&Service| {
        service::is_consistent(service) || flows_may_be_unknown(view, packet.dst, service)
    };
    let server = listening(view.tables, subject)
        .filter(consistent)
        .and_then(|service| service::pick_stateless(view, service, &subject.key));
    match server {
        Some((server, _)) => pass(view, subject, packet, server, Change::None),
        None => Plan::Drop(DropReason::IcmpNoFlow, None),
    }
}

/// A packet from a NAT server's address and port, without a flow (D56).
///
/// A TCP segment that is part of a connection is a reply, so the configuration tells what to do. A
/// datagram may as well be the server's own question to somebody, unless flows went without state
/// recently.
#[cold]
pub(super) fn reply_without_flow<A: Ip>(
    view: View<'_>,
    subject: &Subject<A>,
    packet: &Parsed<A>,
) -> Plan<A> {
    let connected = packet
        .tcp_flags
        .intersects(TcpFlags::ACK.union(TcpFlags::RST));
    let reply = connected || view.now < view.state.stateless_until;
    let source = match nat_source(view.tables, &subject.key) {
        Some(NatSource::One(server)) if reply => view.tables.server(server),
        Some(NatSource::One(_) | NatSource::Many) | None => None,
    };
    let Some(server) = source.filter(|server| server.stateless) else {
        return Plan::Punt(PuntClass::Routed);
    };
    let vip = view.tables.service(server.service).and_then(|service| {
        let port = if server.port.is_some() {
            service.port
        } else {
            Some(packet.sport)
        };
        Some((service.id, A::from_ip(service.vip)?, port?))
    });
    let Some((service, vip, port)) = vip else {
        return Plan::Punt(PuntClass::Routed);
    };
    let from = From {
        service,
        server: Some(server.id.index),
    };
    back(
        view,
        subject,
        packet,
        from,
        Change::None,
        Rewrite::Translate(vip, port),
    )
}
