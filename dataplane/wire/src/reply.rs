//! Whole packets that answer a TCP segment nobody serves.
//!
//! ICMP's answers are in [`crate::icmp`] and [`crate::icmpv6`]. Fields follow RFC 9293 §3.10.7.1
//! and, where it is silent, Linux: TTL 64, DF set, identification and window 0.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::addr::Protocol;
use crate::icmp::TTL;
use crate::ipv4::{self, Ipv4Repr};
use crate::ipv6::{self, Ipv6Repr};
use crate::parse::Parsed;
use crate::tcp;

/// Octets of what [`reset_v4`] writes.
pub const RESET_V4_LEN: usize = ipv4::HEADER_LEN + tcp::HEADER_LEN;
/// Octets of what [`reset_v6`] writes.
pub const RESET_V6_LEN: usize = ipv6::HEADER_LEN + tcp::HEADER_LEN;
const TCP_LEN: u16 = 20;

/// Writes the reset that answers the segment in `frame`: IPv4 and TCP header, 40 octets.
///
/// Returns the length, or `None`, if nothing may answer (see [`tcp::emit_reset`]) or `out` is too
/// short.
pub fn reset_v4(out: &mut [u8], frame: &[u8], parsed: &Parsed<Ipv4Addr>) -> Option<usize> {
    let (header, rest) = out.split_first_chunk_mut()?;
    tcp::emit_reset(rest.first_chunk_mut()?, frame, parsed)?;
    let repr = Ipv4Repr {
        src: parsed.dst,
        dst: parsed.src,
        protocol: Protocol::TCP,
        ttl: TTL,
        tos: 0,
        dont_fragment: true,
        id: 0,
        payload_len: TCP_LEN,
    };
    ipv4::emit(header, &repr);
    Some(RESET_V4_LEN)
}

/// Writes the reset that answers the segment in `frame`: IPv6 and TCP header, 60 octets.
///
/// Returns as [`reset_v4`] does.
pub fn reset_v6(out: &mut [u8], frame: &[u8], parsed: &Parsed<Ipv6Addr>) -> Option<usize> {
    let (header, rest) = out.split_first_chunk_mut()?;
    tcp::emit_reset(rest.first_chunk_mut()?, frame, parsed)?;
    let repr = Ipv6Repr {
        src: parsed.dst,
        dst: parsed.src,
        next_header: Protocol::TCP,
        hop_limit: TTL,
        traffic_class: 0,
        flow_label: 0,
        payload_len: TCP_LEN,
    };
    ipv6::emit(header, &repr);
    Some(RESET_V6_LEN)
}

#[cfg(test)]
mod tests;
