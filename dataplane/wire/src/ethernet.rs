//! Ethernet II headers (IEEE 802.3 §3).
//!
//! ```text
//! | Destination MAC (6) | Source MAC (6) | EtherType (2) | payload …
//! ```

use crate::ParseError;
use crate::addr::{EtherType, MacAddr};

/// Octets of an untagged header.
pub const HEADER_LEN: usize = 14;

/// An Ethernet header. Its EtherType may be a VLAN tag's; see [`crate::vlan`].
#[derive(Clone, Copy, Debug)]
pub struct Ethernet<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Ethernet<'a> {
    /// Splits a frame into header and payload, padding included.
    ///
    /// # Errors
    /// `Truncated` under 14 octets.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        let (header, payload) = bytes.split_first_chunk().ok_or(ParseError::Truncated)?;
        Ok((Self(header), payload))
    }

    /// Destination MAC.
    pub const fn dst(self) -> MacAddr {
        let h = self.0;
        MacAddr([h[0], h[1], h[2], h[3], h[4], h[5]])
    }

    /// Source MAC.
    pub const fn src(self) -> MacAddr {
        let h = self.0;
        MacAddr([h[6], h[7], h[8], h[9], h[10], h[11]])
    }

    /// What follows, or an 802.3 length.
    pub const fn ether_type(self) -> EtherType {
        EtherType::from_be_bytes([self.0[12], self.0[13]])
    }
}

/// An Ethernet header, to be changed.
#[derive(Debug)]
pub struct EthernetMut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> EthernetMut<'a> {
    /// The header at the start of `bytes`.
    ///
    /// # Errors
    /// `Truncated` under 14 octets.
    #[inline]
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, ParseError> {
        bytes
            .first_chunk_mut()
            .map(Self)
            .ok_or(ParseError::Truncated)
    }

    /// The header for reading.
    pub const fn view(&self) -> Ethernet<'_> {
        Ethernet(self.0)
    }

    /// Sets both MACs.
    #[inline]
    pub fn set_macs(&mut self, dst: MacAddr, src: MacAddr) {
        let [d0, d1, d2, d3, d4, d5] = dst.0;
        let [s0, s1, s2, s3, s4, s5] = src.0;
        let [.., hi, lo] = *self.0;
        *self.0 = [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, hi, lo];
    }

    /// Sets the EtherType.
    #[inline]
    pub fn set_ether_type(&mut self, ether_type: EtherType) {
        [self.0[12], self.0[13]] = ether_type.0.to_be_bytes();
    }
}

/// Writes a header over `out`.
#[inline]
pub fn emit(out: &mut [u8; HEADER_LEN], dst: MacAddr, src: MacAddr, ether_type: EtherType) {
    let mut header = EthernetMut(out);
    header.set_macs(dst, src);
    header.set_ether_type(ether_type);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DST: MacAddr = MacAddr([2, 0, 0, 0, 1, 0]);
    const SRC: MacAddr = MacAddr([2, 0, 0, 0, 2, 0xfe]);

    #[test]
    fn a_header_reads_back_what_emit_wrote() {
        let mut out = [0xa5; 16];
        emit(out.first_chunk_mut().unwrap(), DST, SRC, EtherType::IPV6);
        assert_eq!(out, *b"\x02\0\0\0\x01\0\x02\0\0\0\x02\xfe\x86\xdd\xa5\xa5");
        let (header, payload) = Ethernet::parse(&out).unwrap();
        assert_eq!(
            (header.dst(), header.src(), header.ether_type()),
            (DST, SRC, EtherType::IPV6)
        );
        assert_eq!(payload, [0xa5, 0xa5]);
    }

    #[test]
    fn new_macs_leave_the_ether_type() {
        let mut out = [0xa5; 14];
        EthernetMut::parse(&mut out).unwrap().set_macs(DST, SRC);
        assert_eq!(
            Ethernet::parse(&out).unwrap().0.ether_type(),
            EtherType(0xa5a5)
        );
        assert_eq!(Ethernet::parse(&out).unwrap().0.dst(), DST);
    }

    #[test]
    fn d1_fewer_than_14_octets_are_no_frame() {
        for len in 0..HEADER_LEN {
            let mut bytes = [0; HEADER_LEN];
            assert_eq!(
                Ethernet::parse(&bytes[..len]).err(),
                Some(ParseError::Truncated)
            );
            assert!(EthernetMut::parse(&mut bytes[..len]).is_err());
        }
    }
}
