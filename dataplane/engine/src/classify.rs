//! The first decision about a packet: is it about a flow, and which; and if not, whose is it?
//!
//! Reads the tables and the packet's headers, and changes nothing. Frames that are not IP end here
//! too. Whether the flow exists is found out afterwards.

use weir_wire::addr::{EtherType, MacAddr, Protocol};
use weir_wire::icmp::{Cause, Message};
use weir_wire::parse::{Fragment, Link, Parsed};

use crate::answer::Answer;
use crate::family::Ip;
use crate::flow::{Direction, FlowKey};
use crate::fragment::table::FragmentPorts;
use crate::id::PortId;
use crate::note::Note;
use crate::path::{self, PORT_FIRST, Probe};
use crate::tables::{Family, NatSource, Port, Role, Tables, Vip};
use crate::time::Time;
use crate::verdict::{DropReason, PuntClass, Verdict};

/// How a frame came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// The device, and for fragments the ports of the whole packet, once they have been found out:
    /// what another worker, or a later try, has to know.
    pub(crate) note: Note,
    /// The port, by device and VLAN.
    pub(crate) port: PortId,
    /// Who sent it on this link.
    pub(crate) from: MacAddr,
}

/// What a packet is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class<A: Ip> {
    /// Decided.
    Verdict(Verdict),
    /// Dropped and answered.
    Answer(DropReason, Answer),
    /// About a flow, if that exists.
    Flow(Subject<A>),
    /// A part of a packet about a flow, whose ports are yet to be known.
    Fragment(Piece<A>),
}

/// The flow that a packet is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<A: Ip> {
    /// The flow's key on the side that the packet came from.
    pub(crate) key: FlowKey<A>,
    /// Which way the packet goes.
    pub(crate) direction: Direction,
    /// What it has to do with the flow.
    pub(crate) part: Part,
}

/// What a packet has to do with a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It is one of the flow's packets.
    Own,
    /// It is an ICMP error that quotes one of the flow's packets.
    Error,
}

/// A fragment that may be a flow's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<A: Ip> {
    /// The client.
    pub(crate) client: A,
    /// Which way it goes, as far as addresses tell.
    pub(crate) direction: Direction,
    /// What becomes of it if no first fragment was a flow's.
    pub(crate) otherwise: Verdict,
}

/// LLDP (IEEE 802.1AB) and slow protocols, LACP among them (IEEE 802.3 annex 57A).
const LINK_PROTOCOLS: [EtherType; 2] = [EtherType(0x88cc), EtherType(0x8809)];

/// Decides what a frame is that carries no IP packet.
pub(crate) fn not_ip(
    (tables, now): (&Tables, Time),
    port: &Port,
    link: &Link,
    ether_type: Option<EtherType>,
) -> Verdict {
    if !link.dst.is_multicast() && !port.takes(link.dst, &tables.leases, now) {
        return Verdict::Drop(DropReason::NotOurMac);
    }
    match ether_type {
        None => Verdict::Punt(PuntClass::Arp),
        Some(ether_type) if LINK_PROTOCOLS.contains(&ether_type) => Verdict::Punt(PuntClass::Link),
        Some(_) => Verdict::Drop(DropReason::UnknownEtherType),
    }
}

/// Says what an IP packet is.
///
/// `to` is the destination MAC; `head` is the first segment of its frame, which holds an ICMP
/// message up to the ports of the packet that it quotes.
#[inline]
pub(crate) fn ip<A: Ip>(
    (tables, now): (&Tables, Time),
    packet: &Parsed<A>,
    to: MacAddr,
    vip: Option<Vip>,
    port: &Port,
    head: &[u8],
) -> Class<A> {
    let cast = to.is_multicast();
    if !cast && !port.takes(to, &tables.leases, now) {
        return Class::Verdict(Verdict::Drop(DropReason::NotOurMac));
    }
    if packet.end - packet.l3 > port.mtu {
        return Class::Verdict(Verdict::Drop(DropReason::Oversize));
    }
    if packet.protocol == Protocol::VRRP {
        return Class::Verdict(Verdict::Punt(PuntClass::Vrrp));
    }
    match vip {
        Some(vip) => to_vip(packet, vip, cast, head),
        None => Class::elsewhere((tables, now), packet, cast, head),
    }
}

/// A packet to a VIP.
#[inline]
fn to_vip<A: Ip>(packet: &Parsed<A>, vip: Vip, cast: bool, head: &[u8]) -> Class<A> {
    if cast {
        return Class::Verdict(Verdict::Drop(DropReason::LinkBroadcast));
    }
    if vip.role != Role::Active {
        return Class::Verdict(Verdict::Drop(DropReason::Backup));
    }
    if matches!(packet.protocol, Protocol::TCP | Protocol::UDP) {
        // RFC 8200 section 8.1; no service of ours asks for RFC 6936's exception.
        if packet.udp_checksum_zero && A::LEN == 16 {
            return Class::Verdict(Verdict::Drop(DropReason::UdpChecksumZero));
        }
        if packet.fragment != Fragment::Whole {
            let otherwise = Verdict::Drop(DropReason::FragmentOrphan);
            return Class::Fragment(Piece {
                client: packet.src,
                direction: Direction::Forward,
                otherwise,
            });
        }
        return Class::own(packet, Direction::Forward);
    }
    other_to_vip(packet, vip, head)
}

/// A packet to a VIP that is neither TCP nor UDP.
#[cold]
fn other_to_vip<A: Ip>(packet: &Parsed<A>, vip: Vip, head: &[u8]) -> Class<A> {
    let kernels = |reason| match vip.dip {
        Some(_) => Class::Verdict(Verdict::Punt(PuntClass::Dip)),
        None => Class::Verdict(Verdict::Drop(reason)),
    };
    if packet.protocol != A::ICMP {
        return kernels(DropReason::UnknownProtocol);
    }
    match message::<A>(packet, head) {
        Some(Message::EchoRequest) if vip.dip.is_none() => {
            if packet.src.is_martian_source() || packet.src == packet.dst {
                return Class::Verdict(Verdict::Drop(DropReason::MartianSource));
            }
            Class::Answer(DropReason::EchoAnswered, Answer::Echo)
        }
        Some(Message::Discovery) => Class::Verdict(Verdict::Punt(PuntClass::Nd)),
        Some(Message::Error(cause)) => {
            if implausible::<A>(cause) {
                return Class::Verdict(Verdict::Drop(DropReason::IcmpIgnored));
            }
            match about::<A>(packet, head) {
                // What is quoted went from the VIP to the client.
                Some(quoted) if quoted.src == packet.dst => Class::Flow(Subject {
                    key: FlowKey {
                        client: quoted.dst,
                        remote: quoted.src,
                        client_port: quoted.dport,
                        remote_port: quoted.sport,
                        protocol: quoted.protocol,
                    },
                    direction: Direction::Forward,
                    part: Part::Error,
                }),
                Some(_) | None => kernels(DropReason::IcmpNoFlow),
            }
        }
        Some(Message::Redirect) => Class::Verdict(Verdict::Drop(DropReason::IcmpIgnored)),
        Some(Message::EchoRequest | Message::EchoReply | Message::Listener | Message::Other)
        | None => kernels(DropReason::IcmpIgnored),
    }
}

impl<A: Ip> Class<A> {
    /// One of a flow's own packets, with its ports.
    #[inline]
    fn own(packet: &Parsed<A>, direction: Direction) -> Self {
        let ports = FragmentPorts {
            sport: packet.sport,
            dport: packet.dport,
            protocol: packet.protocol,
        };
        let key = key(packet, direction, ports);
        Self::Flow(Subject {
            key,
            direction,
            part: Part::Own,
        })
    }

    /// A packet to no VIP: a NAT server's reply, the appliance's own, or the kernel's to route.
    fn elsewhere(
        (tables, now): (&Tables, Time),
        packet: &Parsed<A>,
        cast: bool,
        head: &[u8],
    ) -> Self {
        let family = A::family(tables);
        let punt = |class| Self::Verdict(Verdict::Punt(class));
        let discovery = packet.protocol == Protocol::ICMPV6
            && matches!(message::<A>(packet, head), Some(Message::Discovery));
        if discovery {
            return punt(PuntClass::Nd);
        }
        if cast || packet.dst.is_multicast() {
            return punt(PuntClass::Multicast);
        }
        let vip_source = family
            .vips
            .get(&packet.src)
            .is_some_and(|vip| vip.role.at(&tables.leases, now) == Role::Active);
        if vip_source {
            return Self::from_vip(family, packet, head);
        }
        if family.dips.contains_key(&packet.dst) {
            return punt(PuntClass::Dip);
        }
        if family.nat_sources.is_empty() && family.nat_hosts.is_empty() {
            return punt(PuntClass::Routed);
        }
        if matches!(packet.protocol, Protocol::TCP | Protocol::UDP)
            && packet.fragment == Fragment::Whole
        {
            // Even from an address that is no NAT server's now: flows outlive their server (D54),
            // and its answers must not reach clients from an address they do not know.
            return Self::own(packet, Direction::Reverse);
        }
        Self::from_server(tables, packet, head)
    }

    /// A packet from a VIP that is served here: a server's. Only an answer to a path check passes
    /// (D11); which checks are under way, control knows.
    #[cold]
    fn from_vip(family: &Family<A>, packet: &Parsed<A>, head: &[u8]) -> Self {
        let reserved = |probe: &Probe| probe.source.port() >= PORT_FIRST;
        let answers = path::answered_by(packet, head).is_some_and(|probe| reserved(&probe));
        let dips = &family.dips;
        // What is an address of ours has not come from a server.
        let passes = answers && dips.contains_key(&packet.dst) && !dips.contains_key(&packet.src);
        Self::Verdict(match passes {
            true => Verdict::Punt(PuntClass::Dip),
            false => Verdict::Drop(DropReason::VipSource),
        })
    }

    /// Fragments and ICMP errors that NAT servers may have sent.
    #[cold]
    fn from_server(tables: &Tables, packet: &Parsed<A>, head: &[u8]) -> Self {
        let family = A::family(tables);
        let routed = Verdict::Punt(PuntClass::Routed);
        if packet.protocol == A::ICMP {
            let error = matches!(message::<A>(packet, head), Some(Message::Error(_)));
            return match about::<A>(packet, head).filter(|_| error) {
                // What is quoted went from the client to the server.
                Some(quoted)
                    if family
                        .nat_source(quoted.dst, quoted.protocol, quoted.dport)
                        .is_some() =>
                {
                    Self::Flow(Subject {
                        key: FlowKey {
                            client: quoted.src,
                            remote: quoted.dst,
                            client_port: quoted.sport,
                            remote_port: quoted.dport,
                            protocol: quoted.protocol,
                        },
                        direction: Direction::Reverse,
                        part: Part::Error,
                    })
                }
                Some(_) | None => Self::Verdict(routed),
            };
        }
        let from_nat = match packet.fragment {
            Fragment::Whole => false,
            Fragment::First { .. } => family
                .nat_source(packet.src, packet.protocol, packet.sport)
                .is_some(),
            // Only its first fragment could tell.
            Fragment::Later { .. } => true,
        };
        if !from_nat {
            return Self::Verdict(routed);
        }
        Self::Fragment(Piece {
            client: packet.dst,
            direction: Direction::Reverse,
            otherwise: routed,
        })
    }
}

/// The key of the flow that a packet with these ports would belong to.
#[inline]
fn key<A: Ip>(
    packet: &Parsed<A>,
    direction: Direction,
    FragmentPorts {
        sport,
        dport,
        protocol,
    }: FragmentPorts,
) -> FlowKey<A> {
    match direction {
        Direction::Forward => FlowKey {
            client: packet.src,
            remote: packet.dst,
            client_port: sport,
            remote_port: dport,
            protocol,
        },
        Direction::Reverse => FlowKey {
            client: packet.dst,
            remote: packet.src,
            client_port: dport,
            remote_port: sport,
            protocol,
        },
    }
}

/// The flow of a fragment whose packet's ports have been found out.
pub(crate) fn piece<A: Ip>(
    packet: &Parsed<A>,
    ports: FragmentPorts,
    direction: Direction,
) -> Subject<A> {
    Subject {
        key: key(packet, direction, ports),
        direction,
        part: Part::Own,
    }
}

/// Whose reply a packet from a server's side is, without a flow to tell.
pub(crate) fn nat_source<A: Ip>(tables: &Tables, key: &FlowKey<A>) -> Option<NatSource> {
    A::family(tables).nat_source(key.remote, key.protocol, key.remote_port)
}

/// Why the packet that an ICMP error quotes did not arrive; `None` if it is no error.
pub(crate) fn cause<A: Ip>(packet: &Parsed<A>, head: &[u8]) -> Option<Cause> {
    match message::<A>(packet, head)? {
        Message::Error(cause) => Some(cause),
        Message::EchoRequest
        | Message::EchoReply
        | Message::Redirect
        | Message::Discovery
        | Message::Listener
        | Message::Other => None,
    }
}

/// What an unfragmented ICMP packet says.
pub(crate) fn message<A: Ip>(packet: &Parsed<A>, head: &[u8]) -> Option<Message> {
    if packet.fragment != Fragment::Whole || packet.end - packet.l4 < 8 {
        return None;
    }
    Some(A::message(
        head.get(usize::from(packet.l4)..)?.first_chunk()?,
    ))
}

/// The packet that an ICMP error is about, if it names a flow that could be ours.
pub(crate) fn about<A: Ip>(
    packet: &Parsed<A>,
    head: &[u8],
) -> Option<weir_wire::quoted::Quoted<A>> {
    let quoted = A::quoted(head, usize::from(packet.l4) + 8, usize::from(packet.end))?;
    let ours = quoted.has_ports && matches!(quoted.protocol, Protocol::TCP | Protocol::UDP);
    ours.then_some(quoted)
}

/// Whether an error claims an MTU that no link has (D36). Routers older than RFC 1191 say 0.
fn implausible<A: Ip>(cause: Cause) -> bool {
    match cause {
        Cause::TooBig { mtu: 0 } => A::LEN == 16,
        Cause::TooBig { mtu } => mtu < u32::from(A::MTU_MIN),
        Cause::Unreachable | Cause::TimeExceeded | Cause::ParameterProblem => false,
    }
}
