//! Outer headers of IP-in-IP tunnels, all four ways: 4 and 6 in 4 and 6 (RFC 2003, RFC 2473,
//! RFC 4213).
//!
//! The outer header has its own TTL; DSCP is copied; ECN follows RFC 6040 §4.1 (normal mode: the
//! outer field is a copy). Which MTU applies, and when DF is set, is the caller's to decide.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::addr::Protocol;
use crate::ipv4::{self, Ipv4Repr};
use crate::ipv6::{self, Ipv6Repr};

/// Octets that an IPv4 outer header adds.
pub const OVERHEAD_V4: usize = ipv4::HEADER_LEN;
/// Octets that an IPv6 outer header adds. No Tunnel Encapsulation Limit option is sent.
pub const OVERHEAD_V6: usize = ipv6::HEADER_LEN;

/// The packet to be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// [`Protocol::IPIP`] for an IPv4 packet, [`Protocol::IPV6`] for an IPv6 one.
    pub protocol: Protocol,
    /// The packet's octets, without Ethernet padding.
    pub len: u16,
    /// DSCP and ECN.
    pub tos: u8,
}

/// An outer IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterV4 {
    /// The tunnel's near end.
    pub src: Ipv4Addr,
    /// The tunnel's far end.
    pub dst: Ipv4Addr,
    /// The outer TTL.
    pub ttl: u8,
    /// Whether the outer packet may not be fragmented.
    pub dont_fragment: bool,
    /// Identification; must differ between packets where DF is clear (RFC 6864).
    pub id: u16,
}

/// An outer IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterV6 {
    /// The tunnel's near end.
    pub src: Ipv6Addr,
    /// The tunnel's far end.
    pub dst: Ipv6Addr,
    /// The outer Hop Limit.
    pub hop_limit: u8,
    /// Flow label, 20 bits; constant per flow so that paths hash alike (RFC 6438).
    pub flow_label: u32,
}

/// Writes an outer IPv4 header over `out`.
///
/// Returns `false`, with nothing written, if the outer packet would pass 65535 octets.
#[inline(always)]
pub fn emit_v4(out: &mut [u8; ipv4::HEADER_LEN], outer: &OuterV4, inner: Inner) -> bool {
    if inner.len > u16::MAX - 20 {
        return false;
    }
    let repr = Ipv4Repr {
        src: outer.src,
        dst: outer.dst,
        protocol: inner.protocol,
        ttl: outer.ttl,
        tos: inner.tos,
        dont_fragment: outer.dont_fragment,
        id: outer.id,
        payload_len: inner.len,
    };
    ipv4::emit(out, &repr);
    true
}

/// Writes an outer IPv6 header over `out`.
#[inline(always)]
pub fn emit_v6(out: &mut [u8; ipv6::HEADER_LEN], outer: &OuterV6, inner: Inner) {
    let repr = Ipv6Repr {
        src: outer.src,
        dst: outer.dst,
        next_header: inner.protocol,
        hop_limit: outer.hop_limit,
        traffic_class: inner.tos,
        flow_label: outer.flow_label,
        payload_len: inner.len,
    };
    ipv6::emit(out, &repr);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum;
    use crate::ipv6::Ipv6;

    #[test]
    fn d43_the_outer_header_is_what_linux_ipvs_sent() {
        // Recorded from Linux IPVS, tun-ipip, frame 5: DSCP and ECN copied, inner id not.
        let recorded =
            *b"\x45\xb9\x00\x3c\x00\x00\x40\x00\x10\x04\x55\xf7\x0a\x01\x00\x01\x0a\x01\x00\x0c";
        let outer = OuterV4 {
            src: Ipv4Addr::new(10, 1, 0, 1),
            dst: Ipv4Addr::new(10, 1, 0, 12),
            ttl: 16,
            dont_fragment: true,
            id: 0,
        };
        let mut out = [0xa5; 20];
        assert!(emit_v4(
            &mut out,
            &outer,
            Inner {
                protocol: Protocol::IPIP,
                len: 40,
                tos: 0xb9
            }
        ));
        assert_eq!(out, recorded);
        assert!(checksum::is_valid(&out));
        assert!(!emit_v4(
            &mut out,
            &outer,
            Inner {
                protocol: Protocol::IPV6,
                len: 65516,
                tos: 0
            }
        ));
        assert_eq!(out, recorded);
    }

    #[test]
    fn an_outer_ipv6_header_reads_back() {
        let outer = OuterV6 {
            src: "fd00:1::1".parse().unwrap(),
            dst: "fd00:1::12".parse().unwrap(),
            hop_limit: 64,
            flow_label: 0xf_1234,
        };
        let mut out = [0xa5; 40];
        emit_v6(
            &mut out,
            &outer,
            Inner {
                protocol: Protocol::IPIP,
                len: 40,
                tos: 0xb9,
            },
        );
        let mut bytes = [0xa5; 80];
        bytes[..40].copy_from_slice(&out);
        let (ip, payload) = Ipv6::parse(&bytes).unwrap();
        assert_eq!(
            (ip.src(), ip.dst(), payload.len()),
            (outer.src, outer.dst, 40)
        );
        assert_eq!((ip.traffic_class(), ip.flow_label()), (0xb9, 0xf_1234));
        assert_eq!((ip.next_header(), ip.hop_limit()), (Protocol::IPIP, 64));
    }
}
