//! Path checks: probes of one server that go the way clients' packets go (D11).
//!
//! A probe's source is a DIP and a reserved port, its destination a VIP. [`forward`] does to it
//! what the packet path does to a client's packet; [`answered`] tells an answer to it from all else
//! that may come from a VIP. Which probes there are is control's to know.

use core::net::SocketAddr;

use weir_wire::addr::{EtherType, Protocol};
use weir_wire::icmp::Message;
use weir_wire::parse::{self, Fragment, Frame, Parsed};

use crate::classify;
use crate::family::{Carried, Ip};
use crate::id::PortId;
use crate::rewrite::tunnel::{self, Outer};
use crate::tables::{Hop, Mode, Server, Tables};
use crate::verdict::DropReason;

/// First of the source ports that path checks use (to 65,535): IANA's dynamic range (RFC 6335
/// section 6).
pub const PORT_FIRST: u16 = 49_152;

/// The way of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The DIP and the port that it comes from.
    pub source: SocketAddr,
    /// The VIP and the port that it goes to.
    pub destination: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Why a probe cannot be sent to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As a client's packet would be dropped.
    Drop(DropReason),
    /// It is larger than fits on the way: `mtu` octets.
    TooBig {
        /// The largest packet that fits.
        mtu: u16,
    },
}

/// The probe that a frame is.
///
/// `frame` begins at the destination MAC. `None` unless it is a whole TCP segment or UDP datagram.
pub fn probe(frame: &[u8]) -> Option<Probe> {
    match parse::parse(frame, frame.len()).ok()?.1 {
        Frame::V4(packet) => whole(&packet),
        Frame::V6(packet) => whole(&packet),
        Frame::Arp | Frame::OtherEther(_) => None,
    }
}

/// The probe that a frame answers, if it was one: a whole segment or datagram answers the one that
/// went the other way; an ICMP error from the address that a probe went to, the one that it quotes.
///
/// `frame` begins at the destination MAC and is in one piece.
pub fn answered(frame: &[u8]) -> Option<Probe> {
    match parse::parse(frame, frame.len()).ok()?.1 {
        Frame::V4(packet) => answered_by(&packet, frame),
        Frame::V6(packet) => answered_by(&packet, frame),
        Frame::Arp | Frame::OtherEther(_) => None,
    }
}

/// As [`answered`], for a packet that has been parsed. `head` is the first segment of its frame.
#[cold]
pub(crate) fn answered_by<A: Ip>(packet: &Parsed<A>, head: &[u8]) -> Option<Probe> {
    if packet.protocol != A::ICMP {
        let Probe {
            source,
            destination,
            protocol,
        } = whole(packet)?;
        return Some(Probe {
            source: destination,
            destination: source,
            protocol,
        });
    }
    let error = matches!(classify::message(packet, head), Some(Message::Error(_)));
    let quoted = classify::about(packet, head).filter(|_| error)?;
    let from_there = (quoted.src, quoted.dst) == (packet.dst, packet.src);
    from_there.then(|| Probe {
        source: SocketAddr::new(quoted.src.into(), quoted.sport.0),
        destination: SocketAddr::new(quoted.dst.into(), quoted.dport.0),
        protocol: quoted.protocol,
    })
}

fn whole<A: Ip>(packet: &Parsed<A>) -> Option<Probe> {
    let has_ports = packet.protocol.has_ports() && packet.fragment == Fragment::Whole;
    has_ports.then(|| Probe {
        source: SocketAddr::new(packet.src.into(), packet.sport.0),
        destination: SocketAddr::new(packet.dst.into(), packet.dport.0),
        protocol: packet.protocol,
    })
}

/// Does to a frame of the appliance's own what the packet path does to a client's for this server:
/// direct routing or a tunnel. `id` is the identification of an outer IPv4 header, where DF is
/// clear.
///
/// Returns the port that it leaves by, and the frame without VLAN tag. Nothing is fragmented: the
/// sender is near enough to be told. Allocates: not for the packet path.
///
/// # Errors
/// `TooBig`, or why the packet path would not have sent it.
pub fn forward(
    tables: &Tables,
    server: &Server,
    frame: &[u8],
    id: u16,
) -> Result<(PortId, Vec<u8>), Refusal> {
    match parse::parse(frame, frame.len()) {
        Ok((_, Frame::V4(packet))) => rewrite(tables, server, &packet, frame, id),
        Ok((_, Frame::V6(packet))) => rewrite(tables, server, &packet, frame, id),
        Ok((_, Frame::Arp | Frame::OtherEther(_))) | Err(_) => {
            Err(Refusal::Drop(DropReason::Malformed))
        }
    }
}

fn rewrite<A: Ip>(
    tables: &Tables,
    server: &Server,
    packet: &Parsed<A>,
    frame: &[u8],
    id: u16,
) -> Result<(PortId, Vec<u8>), Refusal> {
    let dropped = |reason| move || Refusal::Drop(reason);
    let to = match server.hop {
        Hop::Ready(to) => to,
        Hop::Unresolved { .. } => return Err(Refusal::Drop(DropReason::NeighbourUnresolved)),
        Hop::NoRoute => return Err(Refusal::Drop(DropReason::NoRoute)),
    };
    let port = tables
        .port(to.port)
        .ok_or_else(dropped(DropReason::NoRoute))?;
    let outer = match server.mode {
        Mode::Dr => None,
        Mode::Tunnel => {
            let source = server.tunnel_source;
            let outer = source.and_then(|source| Outer::new(source, server.address));
            Some(outer.ok_or_else(dropped(DropReason::NoRoute))?)
        }
        // Neither address would be the client's, so this is no path that clients take.
        Mode::Nat => return Err(Refusal::Drop(DropReason::NoRoute)),
    };
    if packet.ttl <= 1 {
        return Err(Refusal::Drop(DropReason::TtlExpired));
    }
    let room = port.mtu.saturating_sub(outer.map_or(0, Outer::len));
    if packet.end - packet.l3 > room {
        let mtu = room.max(A::MTU_MIN);
        return Err(Refusal::TooBig { mtu });
    }
    let mut header = [0; 40];
    let ether_type: EtherType = match outer {
        None => A::ETHER_TYPE,
        Some(outer) => {
            let inner = (Carried::of(packet), packet.end - packet.l3);
            tunnel::emit::<A>(&mut header, inner, outer, id).map_err(Refusal::Drop)?
        }
    };
    let header = header.get(..outer.map_or(0, |outer| usize::from(outer.len())));
    let inner = frame.get(usize::from(packet.l3)..usize::from(packet.end));
    let (Some(header), Some(inner)) = (header, inner) else {
        return Err(Refusal::Drop(DropReason::Truncated));
    };
    let mut inner = inner.to_vec();
    A::decrement_ttl(&mut inner);
    let kind = ether_type.0.to_be_bytes();
    let out = [&to.mac.0[..], &port.mac.0, &kind, header, &inner].concat();
    Ok((to.port, out))
}
