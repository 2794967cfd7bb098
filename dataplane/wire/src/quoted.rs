//! The packet that an ICMP error quotes.
//!
//! A quote may end 8 octets after the IP header (RFC 792, D32), its checksums may be wrong or cut
//! off, and routers are known to mangle Total Length; so only what names the flow is required.
//! Nothing here trusts the quote: that a quoted packet was ever sent is the caller's to find out.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::addr::{Address, L4Port, Protocol};
use crate::checksum::{Checksum, Delta};
use crate::fragment::Fragment;
use crate::ipv4::{self, Ipv4};
use crate::ipv6::{self, Chain, Ipv6};
use crate::octets::Octets;
use crate::{ParseError, tcp, udp};

/// What an ICMP error says of the packet that it is about. Offsets are octets from the start of
/// the frame that carries the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<A> {
    /// Who sent the quoted packet: it came from here and failed to reach `dst`.
    pub src: A,
    /// Whom the quoted packet was to reach.
    pub dst: A,
    /// Source port; 0 without ports.
    pub sport: L4Port,
    /// Destination port; 0 without ports.
    pub dport: L4Port,
    /// The quoted IP header.
    pub l3: u16,
    /// The quoted L4 header.
    pub l4: u16,
    /// Octets at hand from `l4` on.
    pub l4_len: u16,
    /// The quoted protocol.
    pub protocol: Protocol,
    /// Whether the ports are there: a known protocol, and no later fragment.
    pub has_ports: bool,
    /// Whether a later fragment is quoted, which names no flow.
    pub is_later_fragment: bool,
}

impl<A: Address> Quoted<A> {
    /// Offset of the quoted L4 checksum that covers the addresses, if it is at hand.
    pub fn checksum_at(&self) -> Option<usize> {
        let at = match self.protocol {
            Protocol::TCP => tcp::CHECKSUM_AT,
            Protocol::UDP => udp::CHECKSUM_AT,
            Protocol::ICMPV6 => 2,
            Protocol(_) => return None,
        };
        let at_hand = !self.is_later_fragment && usize::from(self.l4_len) >= at + 2;
        at_hand.then_some(usize::from(self.l4) + at)
    }
}

/// Parses the IPv4 packet quoted at `at`: 8 octets after the start of the ICMP error.
///
/// `frame` is the frame or its first segment; `end` is where the error's packet ends. The quoted
/// header checksum is not verified.
///
/// # Errors
/// `Truncated` if `end` leaves no whole IP header, or under 8 octets of a protocol with ports;
/// `Malformed` if the version or IHL is wrong; `Split` if the quote lies in another segment.
pub fn parse_v4(frame: &[u8], at: usize, end: usize) -> Result<Quoted<Ipv4Addr>, ParseError> {
    let bytes = Octets::new(frame, end);
    let ip = Ipv4::quoted(bytes.chunk(at)?)?;
    let l4 = at + ip.header_len();
    bytes.slice(at, ip.header_len())?;
    let (total_len, header_len) = (usize::from(ip.total_len()), ip.header_len());
    // A mangled Total Length does not unmake the octets that are there.
    let bytes = if total_len > header_len {
        bytes.until(at + total_len)
    } else {
        bytes
    };
    let later = ip.fragment_offset() != 0;
    finish(bytes, ip.src(), ip.dst(), ip.protocol(), at, l4, later)
}

/// Parses the IPv6 packet quoted at `at`; the rest is as with [`parse_v4`].
///
/// # Errors
/// Those of [`parse_v4`], and those of [`Chain::parse`].
pub fn parse_v6(frame: &[u8], at: usize, end: usize) -> Result<Quoted<Ipv6Addr>, ParseError> {
    let bytes = Octets::new(frame, end);
    let ip = Ipv6::of(bytes.chunk(at)?)?;
    let chain = Chain::walk(bytes, at)?;
    let later = matches!(chain.fragment, Fragment::Later { .. });
    let bytes = bytes.until(at + ipv6::HEADER_LEN + usize::from(ip.payload_len()));
    finish(
        bytes,
        ip.src(),
        ip.dst(),
        chain.protocol,
        at,
        chain.l4,
        later,
    )
}

fn finish<A>(
    bytes: Octets<'_>,
    src: A,
    dst: A,
    protocol: Protocol,
    l3: usize,
    l4: usize,
    is_later_fragment: bool,
) -> Result<Quoted<A>, ParseError> {
    let has_ports = protocol.has_ports() && !is_later_fragment;
    let (mut sport, mut dport) = (L4Port::NONE, L4Port::NONE);
    if has_ports {
        let &[s0, s1, d0, d1, ..] = bytes.chunk::<8>(l4)?;
        sport = L4Port::from_be_bytes([s0, s1]);
        dport = L4Port::from_be_bytes([d0, d1]);
    }
    let narrow = |at: usize| u16::try_from(at).map_err(|_| ParseError::Oversize);
    Ok(Quoted {
        src,
        dst,
        sport,
        dport,
        l3: narrow(l3)?,
        l4: narrow(l4)?,
        l4_len: narrow(bytes.end().saturating_sub(l4))?,
        protocol,
        has_ports,
        is_later_fragment,
    })
}

/// The addresses and ports that a quoted packet is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints<A> {
    /// Source address.
    pub src: A,
    /// Source port.
    pub sport: L4Port,
    /// Destination address.
    pub dst: A,
    /// Destination port.
    pub dport: L4Port,
}

/// Rewrites a quoted packet as NAT must (RFC 5508 §4): addresses, ports, the IPv4 header checksum
/// and the L4 checksum, where they are at hand.
///
/// Returns what that changes in the sum of the ICMP message, for
/// [`icmp::update_checksum`](crate::icmp::update_checksum); in ICMPv6 the outer addresses count
/// too. `None`, with nothing written, if `frame` is not the frame that `quoted` came from.
pub fn rewrite<A: Address>(
    frame: &mut [u8],
    quoted: &Quoted<A>,
    to: &Endpoints<A>,
) -> Option<Delta> {
    let is_v4 = A::LEN == 4;
    let (l3, l4) = (usize::from(quoted.l3), usize::from(quoted.l4));
    let addrs_at = l3 + if is_v4 { 12 } else { 8 };
    let ip_checksum_at = is_v4.then_some(l3 + ipv4::CHECKSUM_AT);
    // One proof that all of it is there, so that nothing is half rewritten.
    let ports_end = if quoted.has_ports { l4 + 4 } else { l4 };
    let end = quoted
        .checksum_at()
        .map_or(ports_end, |at| ports_end.max(at + 2));
    let packet = frame.get_mut(..end)?;

    let addrs = packet.get_mut(addrs_at..addrs_at + 2 * A::LEN)?;
    let (src, dst) = addrs.split_at_mut_checked(A::LEN)?;
    src.copy_from_slice(to.src.octets().as_ref());
    dst.copy_from_slice(to.dst.octets().as_ref());
    let addrs = Delta::new()
        .replace_addr(quoted.src, to.src)
        .replace_addr(quoted.dst, to.dst);
    let mut delta = addrs;
    if let Some(at) = ip_checksum_at {
        delta = delta.and(update(packet, at, |sum| addrs.apply(sum))?);
    }
    let mut covered = addrs;
    if quoted.has_ports {
        let ports: &mut [u8; 4] = packet.get_mut(l4..)?.first_chunk_mut()?;
        [ports[0], ports[1]] = to.sport.to_be_bytes();
        [ports[2], ports[3]] = to.dport.to_be_bytes();
        let ports = Delta::new()
            .replace_u16(quoted.sport.0, to.sport.0)
            .replace_u16(quoted.dport.0, to.dport.0);
        covered = covered.and(ports);
        delta = delta.and(ports);
    }
    if let Some(at) = quoted.checksum_at() {
        let is_udp = quoted.protocol == Protocol::UDP;
        let new = |sum| {
            if is_udp {
                covered.apply_udp(sum)
            } else {
                covered.apply(sum)
            }
        };
        delta = delta.and(update(packet, at, new)?);
    }
    Some(delta)
}

/// Replaces the checksum at `at` and returns what that changes in an outer sum.
fn update(packet: &mut [u8], at: usize, new: impl Fn(Checksum) -> Checksum) -> Option<Delta> {
    let field: &mut [u8; 2] = packet.get_mut(at..)?.first_chunk_mut()?;
    let old = *field;
    *field = new(Checksum(old)).0;
    Some(Delta::new().replace_u16(u16::from_be_bytes(old), u16::from_be_bytes(*field)))
}

#[cfg(test)]
mod tests;
