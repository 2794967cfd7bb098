//! UDP datagrams (RFC 768).
//!
//! ```text
//! | Source Port | Destination Port | Length | Checksum |
//! ```

use crate::ParseError;
use crate::addr::{Address, L4Port, Protocol};
use crate::checksum::{Checksum, Delta, Sum};

/// Octets of the header.
pub const HEADER_LEN: usize = 8;
/// Where the checksum stands in the header.
pub const CHECKSUM_AT: usize = 6;

/// A UDP header.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Udp<'a> {
    /// Splits a datagram into header and payload. What follows Length is not payload.
    ///
    /// # Errors
    /// `Truncated` under 8 octets; `BadUdpLength` if Length is under 8 or runs past `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        let udp = Self(bytes.first_chunk().ok_or(ParseError::Truncated)?);
        let range = HEADER_LEN..usize::from(udp.len());
        let payload = bytes.get(range).ok_or(ParseError::BadUdpLength)?;
        Ok((udp, payload))
    }

    /// Source port.
    pub const fn sport(self) -> L4Port {
        L4Port::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Destination port.
    pub const fn dport(self) -> L4Port {
        L4Port::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Header and payload together, in octets: at least 8.
    #[expect(
        clippy::len_without_is_empty,
        reason = "the field's name; a datagram has a header"
    )]
    pub const fn len(self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// The checksum as it is; zero means none.
    pub const fn checksum(self) -> Checksum {
        Checksum([self.0[6], self.0[7]])
    }
}

/// A UDP header, to be changed. The caller says what its changes mean to the checksum.
#[derive(Debug)]
pub struct UdpMut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> UdpMut<'a> {
    /// The header at the start of `bytes`.
    ///
    /// # Errors
    /// `Truncated` under 8 octets.
    #[inline]
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, ParseError> {
        bytes
            .first_chunk_mut()
            .map(Self)
            .ok_or(ParseError::Truncated)
    }

    /// The header for reading.
    pub const fn view(&self) -> Udp<'_> {
        Udp(self.0)
    }

    /// Sets both ports and updates the checksum by `delta`, which covers the ports and the
    /// addresses of the pseudo-header. No checksum stays none.
    #[inline]
    pub fn set_ports(&mut self, sport: L4Port, dport: L4Port, delta: Delta) {
        [self.0[0], self.0[1]] = sport.to_be_bytes();
        [self.0[2], self.0[3]] = dport.to_be_bytes();
        [self.0[6], self.0[7]] = delta.apply_udp(self.view().checksum()).0;
    }
}

/// Writes a header over the first 8 octets of `datagram`, whose rest is the payload, with Length
/// and checksum. Returns `false`, having written nothing, if it is under 8 or over 65535 octets.
pub fn emit<A: Address>(datagram: &mut [u8], src: (A, L4Port), dst: (A, L4Port)) -> bool {
    let Ok(len) = u16::try_from(datagram.len()) else {
        return false;
    };
    let Some(header) = datagram.first_chunk_mut::<HEADER_LEN>() else {
        return false;
    };
    [header[0], header[1]] = src.1.to_be_bytes();
    [header[2], header[3]] = dst.1.to_be_bytes();
    [header[4], header[5]] = len.to_be_bytes();
    [header[6], header[7]] = [0, 0];
    let sum = Sum::pseudo(src.0, dst.0, Protocol::UDP, len)
        .over(datagram)
        .finish()
        .for_udp();
    if let Some(header) = datagram.first_chunk_mut::<HEADER_LEN>() {
        [header[6], header[7]] = sum.0;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    /// Recorded from Linux IPVS: 172.16.0.5:40001 to 10.9.9.9:53, "q1".
    const RECORDED: [u8; 10] = *b"\x9c\x41\x00\x35\x00\x0a\x33\x0b\x71\x31";
    const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 5);
    const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

    #[test]
    fn emit_writes_the_recorded_datagram() {
        let mut out = [0xa5; 10];
        out[8..].copy_from_slice(b"q1");
        assert!(emit(&mut out, (CLIENT, L4Port(40001)), (VIP, L4Port(53))));
        assert_eq!(out, RECORDED);
        let (udp, payload) = Udp::parse(&out).unwrap();
        assert_eq!(
            (udp.sport(), udp.dport(), udp.len()),
            (L4Port(40001), L4Port(53), 10)
        );
        assert_eq!(
            (udp.checksum(), payload),
            (Checksum([0x33, 0x0b]), &b"q1"[..])
        );
        assert!(!emit(&mut out[..7], (CLIENT, L4Port(1)), (VIP, L4Port(2))));
    }

    #[test]
    fn d34_a_translated_datagram_is_what_linux_ipvs_sent() {
        // Recorded: 10.9.9.9:5353 becomes 10.1.0.12:53.
        let rip = Ipv4Addr::new(10, 1, 0, 12);
        let mut datagram = *b"\x9c\x41\x14\xe9\x00\x0a\x1e\x57\x71\x31";
        let delta = Delta::new().replace_addr(VIP, rip).replace_u16(5353, 53);
        let mut udp = UdpMut::parse(&mut datagram).unwrap();
        udp.set_ports(L4Port(40001), L4Port(53), delta);
        assert_eq!(datagram, *b"\x9c\x41\x00\x35\x00\x0a\x3c\x10\x71\x31");
    }

    #[test]
    fn d18_a_datagram_without_checksum_stays_without() {
        let mut datagram = *b"\x9c\x41\x14\xe9\x00\x0a\x00\x00\x71\x32";
        let delta = Delta::new().replace_u16(5353, 53);
        let mut udp = UdpMut::parse(&mut datagram).unwrap();
        udp.set_ports(L4Port(40001), L4Port(53), delta);
        assert_eq!(udp.view().checksum(), Checksum::ZERO);
    }

    #[test]
    fn d18_a_checksum_that_computes_to_zero_is_sent_as_ones() {
        // The payload is the checksum of everything else, so that the sum is 0xffff.
        let mut out = [0xa5; 10];
        out[8..].copy_from_slice(b"\0\0");
        assert!(emit(&mut out, (CLIENT, L4Port(1)), (VIP, L4Port(2))));
        let first = Udp::parse(&out).unwrap().0.checksum();
        out[8..].copy_from_slice(&first.0);
        assert!(emit(&mut out, (CLIENT, L4Port(1)), (VIP, L4Port(2))));
        assert_eq!(Udp::parse(&out).unwrap().0.checksum(), Checksum::ONES);
    }

    #[test]
    fn d1_lengths_under_8_or_past_the_packet_are_refused() {
        for len in 0..8 {
            assert_eq!(
                Udp::parse(&RECORDED[..len]).err(),
                Some(ParseError::Truncated)
            );
        }
        for len in [8, 9] {
            assert_eq!(
                Udp::parse(&RECORDED[..len]).err(),
                Some(ParseError::BadUdpLength)
            );
        }
        let mut datagram = RECORDED;
        for len in [0, 7, 11] {
            datagram[5] = len;
            assert_eq!(Udp::parse(&datagram).err(), Some(ParseError::BadUdpLength));
        }
        datagram[5] = 8;
        assert_eq!(Udp::parse(&datagram).unwrap().1, b"");
    }
}
