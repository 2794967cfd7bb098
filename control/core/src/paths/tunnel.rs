//! What ICMP says of a probe that went through a tunnel: that nobody takes it out of there.
//!
//! The error quotes the outer packet, and in it the probe, so that it is known whose it was
//! (RFC 2003 section 4). Linux quotes enough of both.

use std::net::{IpAddr, SocketAddr};

use weir_engine::path::Probe;
use weir_wire::ParseError;
use weir_wire::addr::{Address, Protocol};
use weir_wire::parse::{self, Fragment, Frame, Parsed};
use weir_wire::quoted::{self, Quoted};

/// An ICMP error about a tunnel packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Who sent it.
    pub(super) from: IpAddr,
    /// Outer source and destination.
    pub(super) outer: (IpAddr, IpAddr),
    /// What was inside.
    pub(super) probe: Probe,
    pub(super) what: What,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The host is there, but the protocol is not: no tunnel is set up.
    NoTunnel,
    /// The host cannot be reached, or refuses.
    Unreachable,
}

/// Reads a frame. `None` unless it is such an error; that of one too big is the kernel's affair.
pub(super) fn complaint(frame: &[u8]) -> Option<Complaint> {
    match parse::parse(frame, frame.len()).ok()?.1 {
        Frame::V4(packet) => {
            let what = match header(&packet, frame)? {
                // Protocol unreachable; port unreachable where Linux has the module and no tunnel.
                [3, 2 | 3] => What::NoTunnel,
                [3, 4] => return None,
                [3, _] => What::Unreachable,
                [_, _] => return None,
            };
            read(&packet, frame, what, quoted::parse_v4)
        }
        Frame::V6(packet) => {
            let what = match header(&packet, frame)? {
                // Unrecognised next header (RFC 4443 section 3.4), and as above.
                [4, 1] | [1, 4] => What::NoTunnel,
                [1, _] => What::Unreachable,
                [_, _] => return None,
            };
            read(&packet, frame, what, quoted::parse_v6)
        }
        Frame::Arp | Frame::OtherEther(_) => None,
    }
}

/// Type and code of an ICMP message in one piece.
fn header<A: Address>(packet: &Parsed<A>, frame: &[u8]) -> Option<[u8; 2]> {
    let whole = packet.protocol == A::ICMP && packet.fragment == Fragment::Whole;
    let message = frame.get(usize::from(packet.l4)..usize::from(packet.end))?;
    message.first_chunk().copied().filter(|_| whole)
}

/// How a family's quoted packet is read: from a frame, at an offset, up to an end.
type ParseQuoted<A> = fn(&[u8], usize, usize) -> Result<Quoted<A>, ParseError>;

/// Reads both quotes, of which the outer one is of the error's own family.
fn read<A: Address>(
    packet: &Parsed<A>,
    frame: &[u8],
    what: What,
    quoted: ParseQuoted<A>,
) -> Option<Complaint> {
    let end = usize::from(packet.end);
    let outer = quoted(frame, usize::from(packet.l4) + 8, end).ok()?;
    let inside = usize::from(outer.l4);
    let probe = match outer.protocol {
        Protocol::IPIP => inner(quoted::parse_v4(frame, inside, end).ok()?),
        Protocol::IPV6 => inner(quoted::parse_v6(frame, inside, end).ok()?),
        Protocol(_) => None,
    }?;
    Some(Complaint {
        from: packet.src.into(),
        outer: (outer.src.into(), outer.dst.into()),
        probe,
        what,
    })
}

fn inner<A: Address>(quoted: Quoted<A>) -> Option<Probe> {
    quoted.has_ports.then(|| Probe {
        source: SocketAddr::new(quoted.src.into(), quoted.sport.0),
        destination: SocketAddr::new(quoted.dst.into(), quoted.dport.0),
        protocol: quoted.protocol,
    })
}
