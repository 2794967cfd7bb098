//! One pass over a frame for all that the engine must know of it.
//!
//! [`parse`] reads Ethernet, up to two VLAN tags, IPv4 with options or IPv6 with extension headers,
//! and the L4 ports, and checks every length on the way. The common shapes (no tag, no option, no
//! fragment; TCP or UDP) take a straight line with one length proof; all else, and all errors, go
//! out of line. What the straight line accepts, the other path parses to the same result; the
//! other path alone decides which error a frame is.
//!
//! L4 checksums are not verified: DR and TUN pass them on and NAT keeps a wrong one wrong. Martian
//! addresses, forbidden flags and port 0 are policy, for the caller.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::addr::{EtherType, L4Port, MacAddr, Protocol};
use crate::checksum;
use crate::tcp::TcpFlags;
use crate::{ParseError, ipv6};

pub use crate::fragment::Fragment;

mod general;

/// Octets of a frame without VLAN tag before the IP header.
pub const ETHERNET_LEN: usize = 14;

/// The most octets of a frame that [`parse`] can need: Ethernet, two tags, the longest IP headers,
/// and a fixed TCP header.
pub const HEADERS_LEN_MAX: usize =
    ETHERNET_LEN + 2 * 4 + ipv6::HEADER_LEN + ipv6::EXTENSIONS_LEN_MAX + 20;
// The IPv6 chain is the longer one: IPv4 has at most 60 octets of header.
const _: () = assert!(ipv6::HEADER_LEN + ipv6::EXTENSIONS_LEN_MAX > 60);

/// Longest frame, inclusive: offsets are 16 bits, and no port's MTU comes near.
pub const LEN_MAX: usize = u16::MAX as usize;

/// Everything the engine needs to know of one IP packet. Offsets are octets from the frame's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port; 0 where there is none (later fragments, ICMP, unknown protocols).
    pub sport: L4Port,
    /// Destination port; 0 where there is none.
    pub dport: L4Port,
    /// The IP header.
    pub l3: u16,
    /// What follows IP options or extension headers: the L4 header, or a later fragment's data.
    pub l4: u16,
    /// The end of the IP packet. Ethernet padding, if any, begins here.
    pub end: u16,
    /// The IPv6 Fragment header, also of an atomic fragment; 0 without one, and in IPv4.
    pub fragment_header: u16,
    /// Which part of its packet this is.
    pub fragment: Fragment,
    /// The protocol at `l4`. In a later IPv6 fragment this may name an extension header.
    pub protocol: Protocol,
    /// TTL or Hop Limit as received.
    pub ttl: u8,
    /// DSCP and ECN: IPv4's second octet, or Traffic Class.
    pub tos: u8,
    /// TCP's control bits; none for other protocols and later fragments.
    pub tcp_flags: TcpFlags,
    /// Whether a router may not fragment this packet: DF; always so in IPv6.
    pub dont_fragment: bool,
    /// A UDP header whose checksum is zero: legal in IPv4 ("none"), forbidden in IPv6 unless the
    /// service allows it (RFC 8200 §8.1, RFC 6936).
    pub udp_checksum_zero: bool,
}

impl<A> Parsed<A> {
    /// Whether this is an unfragmented packet of `protocol`.
    #[inline]
    pub fn is_whole(&self, protocol: Protocol) -> bool {
        self.protocol == protocol && self.fragment == Fragment::Whole
    }
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An IPv4 packet.
    V4(Parsed<Ipv4Addr>),
    /// An IPv6 packet.
    V6(Parsed<Ipv6Addr>),
    /// ARP, which control reads.
    Arp,
    /// Some other protocol.
    OtherEther(EtherType),
}

/// The Ethernet header with its VLAN tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Destination MAC.
    pub dst: MacAddr,
    /// Source MAC.
    pub src: MacAddr,
    /// VID of the first tag that has one. A tag with VID 0 carries only a priority (802.1Q §9.6).
    pub vlan: Option<u16>,
    /// VID of a second tag inside the first (QinQ). A port of one VLAN does not want such frames.
    pub inner_vlan: Option<u16>,
    /// Where the payload starts: 14 without tags.
    pub l3: u16,
}

/// Parses a frame.
///
/// `frame` is the frame from its destination MAC on, or its first segment; `len` is the length of
/// all segments together, without FCS.
///
/// # Errors
/// One [`ParseError`] per cause. `Split` asks to gather [`HEADERS_LEN_MAX`] octets and call again.
#[inline]
pub fn parse(frame: &[u8], len: usize) -> Result<(Link, Frame), ParseError> {
    // Results are built in place and branch by branch: an Option of the whole pair, tried in turn,
    // costs a copy of it and twice the time.
    if let Some(h) = frame.first_chunk() {
        match ether_type(h) {
            EtherType::IPV4 => {
                if let Some(parsed) = plain_v4(frame, len) {
                    return Ok((untagged(h), Frame::V4(parsed)));
                }
            }
            EtherType::IPV6 => {
                if let Some(parsed) = plain_v6(frame, len) {
                    return Ok((untagged(h), Frame::V6(parsed)));
                }
            }
            EtherType(_) => {}
        }
    }
    general::parse(frame, len)
}

/// An untagged IPv4 header and UDP's.
const V4_HEAD: usize = ETHERNET_LEN + 20 + 8;
/// An untagged IPv6 header and UDP's.
const V6_HEAD: usize = ETHERNET_LEN + 40 + 8;

#[inline(always)]
const fn ether_type(h: &[u8; ETHERNET_LEN]) -> EtherType {
    EtherType::from_be_bytes([h[12], h[13]])
}

/// The Ethernet header of a frame whose EtherType is no tag's.
#[inline(always)]
const fn untagged(h: &[u8; ETHERNET_LEN]) -> Link {
    Link {
        dst: MacAddr([h[0], h[1], h[2], h[3], h[4], h[5]]),
        src: MacAddr([h[6], h[7], h[8], h[9], h[10], h[11]]),
        vlan: None,
        inner_vlan: None,
        l3: 14,
    }
}

/// Accepts unfragmented TCP and UDP over IPv4 without tags and options; judges nothing else.
#[inline(always)]
fn plain_v4(frame: &[u8], len: usize) -> Option<Parsed<Ipv4Addr>> {
    let h: &[u8; V4_HEAD] = frame.first_chunk()?;
    let header: &[u8; 20] = h.get(14..)?.first_chunk()?;
    let total_len = u16::from_be_bytes([h[16], h[17]]);
    let fragment = u16::from_be_bytes([h[20], h[21]]) & 0x3fff;
    let protocol = Protocol(h[23]);
    let fits = usize::from(total_len) + ETHERNET_LEN <= len && len <= LEN_MAX;
    if h[14] != 0x45 || fragment != 0 || !fits || !checksum::is_valid_ipv4(header) {
        return None;
    }
    let l4_len = total_len.checked_sub(20)?;
    let tcp = tcp_octets(frame, protocol, 34)?;
    let (flags, zero) = plain_l4(protocol, l4_len, [h[38], h[39]], [h[40], h[41]], tcp)?;
    Some(Parsed {
        src: Ipv4Addr::new(h[26], h[27], h[28], h[29]),
        dst: Ipv4Addr::new(h[30], h[31], h[32], h[33]),
        sport: L4Port::from_be_bytes([h[34], h[35]]),
        dport: L4Port::from_be_bytes([h[36], h[37]]),
        l3: 14,
        l4: 34,
        end: total_len + 14,
        fragment_header: 0,
        fragment: Fragment::Whole,
        protocol,
        ttl: h[22],
        tos: h[15],
        tcp_flags: flags,
        dont_fragment: h[20] & 0x40 != 0,
        udp_checksum_zero: zero,
    })
}

/// Accepts TCP and UDP right behind an IPv6 header without tags; judges nothing else.
#[inline(always)]
fn plain_v6(frame: &[u8], len: usize) -> Option<Parsed<Ipv6Addr>> {
    let h: &[u8; V6_HEAD] = frame.first_chunk()?;
    let l4_len = u16::from_be_bytes([h[18], h[19]]);
    let protocol = Protocol(h[20]);
    let fits = usize::from(l4_len) + (ETHERNET_LEN + 40) <= len && len <= LEN_MAX;
    if h[14] >> 4 != 6 || !fits {
        return None;
    }
    let tcp = tcp_octets(frame, protocol, 54)?;
    let (flags, zero) = plain_l4(protocol, l4_len, [h[58], h[59]], [h[60], h[61]], tcp)?;
    let (addrs, _) = h.get(22..)?.as_chunks::<16>();
    let &[src, dst] = addrs else { return None };
    Some(Parsed {
        src: Ipv6Addr::from(src),
        dst: Ipv6Addr::from(dst),
        sport: L4Port::from_be_bytes([h[54], h[55]]),
        dport: L4Port::from_be_bytes([h[56], h[57]]),
        l3: 14,
        l4: 54,
        end: l4_len + 54,
        fragment_header: 0,
        fragment: Fragment::Whole,
        protocol,
        ttl: h[21],
        tos: h[14] << 4 | h[15] >> 4,
        tcp_flags: flags,
        dont_fragment: true,
        udp_checksum_zero: zero,
    })
}

/// Data offset and flags of the TCP header at `l4`, which must be there in full; zeros for another
/// protocol, whose packet may have ended there.
#[inline(always)]
fn tcp_octets(frame: &[u8], protocol: Protocol, l4: usize) -> Option<[u8; 2]> {
    if protocol != Protocol::TCP {
        return Some([0; 2]);
    }
    let header: &[u8; 20] = frame.get(l4..)?.first_chunk()?;
    Some([header[12], header[13]])
}

/// Flags and whether a UDP checksum is zero, if the L4 header is in order.
#[inline(always)]
fn plain_l4(
    protocol: Protocol,
    l4_len: u16,
    udp_len: [u8; 2],
    udp_checksum: [u8; 2],
    [offset, flags]: [u8; 2],
) -> Option<(TcpFlags, bool)> {
    match protocol {
        Protocol::TCP => {
            let header_len = u16::from(offset >> 4) * 4;
            (header_len >= 20 && header_len <= l4_len).then_some((TcpFlags(flags), false))
        }
        Protocol::UDP => {
            let udp_len = u16::from_be_bytes(udp_len);
            (udp_len >= 8 && udp_len <= l4_len).then_some((TcpFlags::NONE, udp_checksum == [0, 0]))
        }
        Protocol(_) => None,
    }
}

#[cfg(test)]
mod tests;
