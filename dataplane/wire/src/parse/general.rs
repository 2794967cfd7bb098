//! The parser for every shape of frame, and the only judge of the wrong ones.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::{Frame, LEN_MAX, Link, Parsed};
use crate::ParseError;
use crate::addr::{EtherType, L4Port, MacAddr, Protocol};
use crate::checksum;
use crate::fragment::Fragment;
use crate::ipv4::{self, Ipv4};
use crate::ipv6::{self, Chain, Ipv6};
use crate::octets::Octets;
use crate::tcp::TcpFlags;

/// VLAN tags to look behind: a service and a customer tag (802.1ad).
const TAGS_MAX: usize = 2;

#[cold]
#[inline(never)]
pub(super) fn parse(frame: &[u8], len: usize) -> Result<(Link, Frame), ParseError> {
    if len > LEN_MAX {
        return Err(ParseError::Oversize);
    }
    let bytes = Octets::new(frame, len);
    let (link, ether_type) = link(bytes)?;
    let l3 = usize::from(link.l3);
    let found = match ether_type {
        EtherType::IPV4 => Frame::V4(packet_v4(bytes, l3)?),
        EtherType::IPV6 => Frame::V6(packet_v6(bytes, l3)?),
        EtherType::ARP => Frame::Arp,
        other if other.is_vlan() => return Err(ParseError::VlanDepth),
        other if other.is_length() => return Err(ParseError::LlcFrame),
        other => Frame::OtherEther(other),
    };
    Ok((link, found))
}

/// Reads MACs and tags. The EtherType is what follows the last tag.
fn link(bytes: Octets<'_>) -> Result<(Link, EtherType), ParseError> {
    let &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, hi, lo] = bytes.chunk::<14>(0)?;
    let mut ether_type = EtherType::from_be_bytes([hi, lo]);
    let mut link = Link {
        dst: MacAddr([d0, d1, d2, d3, d4, d5]),
        src: MacAddr([s0, s1, s2, s3, s4, s5]),
        vlan: None,
        inner_vlan: None,
        l3: 14,
    };
    for _ in 0..TAGS_MAX {
        if !ether_type.is_vlan() {
            break;
        }
        let &[tci_hi, tci_lo, type_hi, type_lo] = bytes.chunk::<4>(usize::from(link.l3))?;
        let vid = u16::from_be_bytes([tci_hi & 0x0f, tci_lo]);
        match (vid, link.vlan) {
            (0, _) => {} // A priority tag names no VLAN.
            (vid, None) => link.vlan = Some(vid),
            (vid, Some(_)) => link.inner_vlan = Some(vid),
        }
        ether_type = EtherType::from_be_bytes([type_hi, type_lo]);
        link.l3 += 4;
    }
    Ok((link, ether_type))
}

fn packet_v4(bytes: Octets<'_>, l3: usize) -> Result<Parsed<Ipv4Addr>, ParseError> {
    let ip = Ipv4::of(bytes.chunk(l3)?)?;
    let end = l3 + usize::from(ip.total_len());
    if end > bytes.end() {
        return Err(ParseError::Truncated);
    }
    let header = bytes.slice(l3, ip.header_len())?;
    if !checksum::is_valid(header) {
        return Err(ParseError::BadIpChecksum);
    }
    for option in ipv4::options(header.get(ipv4::HEADER_LEN..).unwrap_or(&[])) {
        if option?.is_source_route() {
            return Err(ParseError::SourceRoute);
        }
    }
    let fragment = ip.fragment()?;
    let at = l3 + ip.header_len();
    let l4 = l4(bytes.until(end), ip.protocol(), at, fragment)?;
    Ok(Parsed {
        src: ip.src(),
        dst: ip.dst(),
        sport: l4.sport,
        dport: l4.dport,
        l3: offset(l3),
        l4: offset(at),
        end: offset(end),
        fragment_header: 0,
        fragment,
        protocol: ip.protocol(),
        ttl: ip.ttl(),
        tos: ip.tos(),
        tcp_flags: l4.flags,
        dont_fragment: ip.dont_fragment(),
        udp_checksum_zero: l4.udp_checksum_zero,
    })
}

fn packet_v6(bytes: Octets<'_>, l3: usize) -> Result<Parsed<Ipv6Addr>, ParseError> {
    let ip = Ipv6::of(bytes.chunk(l3)?)?;
    let end = l3 + ipv6::HEADER_LEN + usize::from(ip.payload_len());
    if end > bytes.end() {
        return Err(ParseError::Truncated);
    }
    let chain = Chain::walk(bytes, l3)?;
    let l4 = l4(bytes.until(end), chain.protocol, chain.l4, chain.fragment)?;
    Ok(Parsed {
        src: ip.src(),
        dst: ip.dst(),
        sport: l4.sport,
        dport: l4.dport,
        l3: offset(l3),
        l4: offset(chain.l4),
        end: offset(end),
        fragment_header: chain.fragment_header.map_or(0, offset),
        fragment: chain.fragment,
        protocol: chain.protocol,
        ttl: ip.hop_limit(),
        tos: ip.traffic_class(),
        tcp_flags: l4.flags,
        dont_fragment: true,
        udp_checksum_zero: l4.udp_checksum_zero,
    })
}

/// What of the L4 header matters.
#[derive(Default)]
struct L4 {
    sport: L4Port,
    dport: L4Port,
    flags: TcpFlags,
    udp_checksum_zero: bool,
}

/// Reads the L4 header at `at`; `bytes` ends where the packet ends.
fn l4(
    bytes: Octets<'_>,
    protocol: Protocol,
    at: usize,
    fragment: Fragment,
) -> Result<L4, ParseError> {
    let short = match fragment {
        Fragment::Later { offset, .. } if protocol == Protocol::TCP && offset < TCP_FIRST_LEN => {
            return Err(ParseError::TinyFragment);
        }
        Fragment::Later { .. } => return Ok(L4::default()),
        Fragment::First { .. } => ParseError::TinyFragment,
        Fragment::Whole => ParseError::Truncated,
    };
    header(bytes, protocol, at, fragment).map_err(|error| {
        if error == ParseError::Truncated {
            short
        } else {
            error
        }
    })
}

/// A first fragment that holds the 20 fixed octets of TCP has at least 24, the next multiple of 8.
/// A later one that starts before would overwrite it (RFC 1858 §3, RFC 3128).
const TCP_FIRST_LEN: u16 = 24;

fn header(
    bytes: Octets<'_>,
    protocol: Protocol,
    at: usize,
    fragment: Fragment,
) -> Result<L4, ParseError> {
    let l4_len = bytes.end().saturating_sub(at);
    match protocol {
        Protocol::TCP => {
            let h = bytes.chunk::<20>(at)?;
            let header_len = usize::from(h[12] >> 4) * 4;
            if header_len < 20 {
                return Err(ParseError::Malformed);
            }
            if header_len > l4_len {
                return Err(ParseError::Truncated);
            }
            Ok(L4 {
                flags: TcpFlags(h[13]),
                ..ports(h[0], h[1], h[2], h[3])
            })
        }
        Protocol::UDP => {
            let h = bytes.chunk::<8>(at)?;
            let udp_len = usize::from(u16::from_be_bytes([h[4], h[5]]));
            // In a first fragment UDP Length is that of the whole datagram.
            if udp_len < 8 || (udp_len > l4_len && fragment == Fragment::Whole) {
                return Err(ParseError::BadUdpLength);
            }
            let udp_checksum_zero = h[6..8] == [0, 0];
            Ok(L4 {
                udp_checksum_zero,
                ..ports(h[0], h[1], h[2], h[3])
            })
        }
        Protocol::SCTP => {
            // Common header (RFC 9260 §3.1): ports, verification tag, CRC32c.
            let h = bytes.chunk::<12>(at)?;
            Ok(ports(h[0], h[1], h[2], h[3]))
        }
        Protocol::ICMP | Protocol::ICMPV6 => bytes.chunk::<8>(at).map(|_| L4::default()),
        Protocol(_) => Ok(L4::default()),
    }
}

fn ports(a: u8, b: u8, c: u8, d: u8) -> L4 {
    L4 {
        sport: L4Port::from_be_bytes([a, b]),
        dport: L4Port::from_be_bytes([c, d]),
        ..L4::default()
    }
}

/// An offset in a frame of at most [`LEN_MAX`] octets.
fn offset(at: usize) -> u16 {
    debug_assert!(at <= LEN_MAX);
    u16::try_from(at).unwrap_or(u16::MAX)
}
