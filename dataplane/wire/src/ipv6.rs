//! IPv6 headers and their extension chain (RFC 8200, RFC 7112).
//!
//! ```text
//! |Version| Traffic Class |           Flow Label          |
//! |       Payload Length       | Next Header | Hop Limit  |
//! |                 Source Address (16 octets)            |
//! |              Destination Address (16 octets)          |
//! ```

use core::net::Ipv6Addr;
use core::ops::Range;

use crate::ParseError;
use crate::addr::Protocol;
use crate::fragment::{Fragment, FragmentHeader};
use crate::octets::Octets;

/// Octets of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Most extension headers in a chain, inclusive. Real packets have one or two; each costs a turn.
pub const EXTENSIONS_MAX: usize = 8;
/// Most octets of extension headers, inclusive.
pub const EXTENSIONS_LEN_MAX: usize = 256;

/// Extension headers by protocol number.
mod next {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AH: u8 = 51;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
}

/// A fixed IPv6 header.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Ipv6<'a> {
    /// Splits a packet into the fixed header and the payload, which starts with the first extension
    /// header if there is one.
    ///
    /// `bytes` starts at the version field and may end in Ethernet padding; the payload does not.
    ///
    /// # Errors
    /// `Truncated` if the header or Payload Length runs past `bytes`; `Malformed` if the version is
    /// not 6.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        let (header, rest) = bytes.split_first_chunk().ok_or(ParseError::Truncated)?;
        let ip = Self::of(header)?;
        let payload = rest
            .get(..usize::from(ip.payload_len()))
            .ok_or(ParseError::Truncated)?;
        Ok((ip, payload))
    }

    pub(crate) const fn of(header: &'a [u8; HEADER_LEN]) -> Result<Self, ParseError> {
        if header[0] >> 4 != 6 {
            return Err(ParseError::Malformed);
        }
        Ok(Self(header))
    }

    /// DSCP and ECN.
    pub const fn traffic_class(self) -> u8 {
        self.0[0] << 4 | self.0[1] >> 4
    }

    /// Flow label, 20 bits.
    pub const fn flow_label(self) -> u32 {
        u32::from_be_bytes([0, self.0[1] & 0x0f, self.0[2], self.0[3]])
    }

    /// Octets after the fixed header.
    pub const fn payload_len(self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// What follows the fixed header.
    pub const fn next_header(self) -> Protocol {
        Protocol(self.0[6])
    }

    /// Hop limit.
    pub const fn hop_limit(self) -> u8 {
        self.0[7]
    }

    /// Source address.
    pub fn src(self) -> Ipv6Addr {
        address(self.0, 8)
    }

    /// Destination address.
    pub fn dst(self) -> Ipv6Addr {
        address(self.0, 24)
    }
}

/// The address at `at`, which is 8 or 24.
#[inline]
fn address(header: &[u8; HEADER_LEN], at: usize) -> Ipv6Addr {
    let octets = header.get(at..).and_then(|rest| rest.first_chunk::<16>());
    Ipv6Addr::from(octets.copied().unwrap_or_default())
}

/// What follows the fixed header: where the chain ends, and what was on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The protocol after the last extension header. For a later fragment, the Next Header of its
    /// Fragment header.
    pub protocol: Protocol,
    /// Offset of what follows the chain, or of a later fragment's data.
    pub l4: usize,
    /// Offset of the Fragment header; `None` without one. Atomic fragments have one.
    pub fragment_header: Option<usize>,
    /// Which part of its packet this is.
    pub fragment: Fragment,
}

impl Chain {
    /// Walks the extension headers of a packet.
    ///
    /// `bytes` holds the whole packet from offset 0 on; its fixed header is at `l3`.
    ///
    /// # Errors
    /// `Truncated` or, in a first fragment, `TinyFragment` if the chain runs past the packet;
    /// `SourceRoute`, `ExtensionChain`, `FragmentOverflow`, `Jumbogram` as [`ParseError`] says;
    /// `Malformed` for Hop-by-Hop options that are not first and a second Fragment header.
    pub fn parse(bytes: &[u8], l3: usize) -> Result<Self, ParseError> {
        Self::walk(Octets::new(bytes, bytes.len()), l3)
    }

    pub(crate) fn walk(bytes: Octets<'_>, l3: usize) -> Result<Self, ParseError> {
        let ip = Ipv6::of(bytes.chunk(l3)?)?;
        let start = l3 + HEADER_LEN;
        let mut chain = Self {
            protocol: ip.next_header(),
            l4: start,
            fragment_header: None,
            fragment: Fragment::Whole,
        };
        if ip.payload_len() == 0 && chain.protocol.0 == next::HOP_BY_HOP {
            // The only packets of this form are jumbograms (RFC 2675 §3).
            return Err(ParseError::Jumbogram);
        }
        let end = start + usize::from(ip.payload_len());
        let bytes = bytes.until(end);
        let mut headers = 0;
        while is_extension(chain.protocol) {
            headers += 1;
            let later = chain
                .step(bytes, start..end)
                .map_err(|error| chain.shortage(error))?;
            if headers > EXTENSIONS_MAX || chain.l4 - start > EXTENSIONS_LEN_MAX {
                return Err(ParseError::ExtensionChain);
            }
            if later {
                break;
            }
        }
        Ok(chain)
    }

    /// Steps over one header. Returns whether the rest is a later fragment's data.
    ///
    /// `payload` is what the fixed header declares; `bytes` may end earlier in a quoted packet.
    fn step(&mut self, bytes: Octets<'_>, payload: Range<usize>) -> Result<bool, ParseError> {
        let &[next_header, len, kind, left] = bytes.chunk::<4>(self.l4)?;
        let header_len = match self.protocol.0 {
            next::FRAGMENT => return self.step_fragment(bytes, payload),
            next::HOP_BY_HOP if self.l4 != payload.start => return Err(ParseError::Malformed),
            // RFC 5095 forbids type 0. Of others, one with segments left is on its way to a node
            // that its L4 checksum names and its destination does not.
            next::ROUTING if kind == 0 || left != 0 => return Err(ParseError::SourceRoute),
            next::AH => (usize::from(len) + 2) * 4, // RFC 4302 §2.2: words, minus 2
            _ => (usize::from(len) + 1) * 8,
        };
        if self.l4 + header_len > bytes.end() {
            return Err(ParseError::Truncated);
        }
        self.protocol = Protocol(next_header);
        self.l4 += header_len;
        Ok(false)
    }

    fn step_fragment(
        &mut self,
        bytes: Octets<'_>,
        payload: Range<usize>,
    ) -> Result<bool, ParseError> {
        if self.fragment_header.is_some() {
            return Err(ParseError::Malformed);
        }
        let header = FragmentHeader::of(bytes.chunk(self.l4)?);
        let data = self.l4 + 8;
        let (offset, more) = (header.offset(), header.more());
        // Payload Length of the whole packet: the headers before this one, and the data.
        let unfragmentable = self.l4 - payload.start;
        let len = payload.end - data;
        self.fragment = Fragment::classify(header.id(), offset, more, len, unfragmentable)?;
        self.fragment_header = Some(self.l4);
        self.protocol = header.next_header();
        self.l4 = data;
        Ok(matches!(self.fragment, Fragment::Later { .. }))
    }

    /// RFC 7112 §5: a first fragment must hold the whole chain.
    const fn shortage(&self, error: ParseError) -> ParseError {
        match (error, self.fragment) {
            (ParseError::Truncated, Fragment::First { .. }) => ParseError::TinyFragment,
            (error, _) => error,
        }
    }
}

const fn is_extension(protocol: Protocol) -> bool {
    use next::{AH, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(
        protocol.0,
        HOP_BY_HOP | ROUTING | FRAGMENT | AH | DESTINATION_OPTIONS
    )
}

/// A fixed IPv6 header, to be changed.
#[derive(Debug)]
pub struct Ipv6Mut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> Ipv6Mut<'a> {
    /// The header at the start of `bytes`.
    ///
    /// # Errors
    /// `Truncated` under 40 octets, `Malformed` if the version is not 6.
    #[inline]
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, ParseError> {
        let header: &mut [u8; HEADER_LEN] = bytes.first_chunk_mut().ok_or(ParseError::Truncated)?;
        if header[0] >> 4 != 6 {
            return Err(ParseError::Malformed);
        }
        Ok(Self(header))
    }

    /// The header for reading.
    pub const fn view(&self) -> Ipv6<'_> {
        Ipv6(self.0)
    }

    /// Sets the source address. The L4 checksum, which covers it, is the caller's.
    #[inline]
    pub fn set_src(&mut self, src: Ipv6Addr) {
        let dst = self.view().dst();
        write_addrs(self.0, src, dst);
    }

    /// Sets the destination address. The L4 checksum, which covers it, is the caller's.
    #[inline]
    pub fn set_dst(&mut self, dst: Ipv6Addr) {
        let src = self.view().src();
        write_addrs(self.0, src, dst);
    }

    /// Sets both addresses. The L4 checksum, which covers them, is the caller's.
    #[inline]
    pub fn set_addrs(&mut self, src: Ipv6Addr, dst: Ipv6Addr) {
        write_addrs(self.0, src, dst);
    }

    /// Takes one from the hop limit and returns the new one; zero stays zero.
    #[inline]
    pub fn decrement_hop_limit(&mut self) -> u8 {
        self.0[7] = self.0[7].saturating_sub(1);
        self.0[7]
    }

    /// Sets DSCP and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, class: u8) {
        self.0[0] = 0x60 | class >> 4;
        self.0[1] = class << 4 | self.0[1] & 0x0f;
    }

    /// Sets the ECN bits and leaves DSCP (RFC 3168).
    #[inline]
    pub fn set_ecn(&mut self, ecn: u8) {
        let class = self.view().traffic_class();
        self.set_traffic_class(class & !3 | ecn & 3);
    }

    /// Sets Payload Length, in octets.
    #[inline]
    pub fn set_payload_len(&mut self, len: u16) {
        [self.0[4], self.0[5]] = len.to_be_bytes();
    }
}

/// Overwrites both addresses.
#[inline]
pub(crate) fn write_addrs(header: &mut [u8; HEADER_LEN], src: Ipv6Addr, dst: Ipv6Addr) {
    let (_, addrs) = header.split_at_mut(8);
    let (src_at, dst_at) = addrs.split_at_mut(16);
    src_at.copy_from_slice(&src.octets());
    dst_at.copy_from_slice(&dst.octets());
}

/// What [`emit`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Repr {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// What follows.
    pub next_header: Protocol,
    /// Hop limit.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits; higher ones are ignored.
    pub flow_label: u32,
    /// Octets after the fixed header.
    pub payload_len: u16,
}

/// Writes a fixed header over `out`.
#[inline(always)]
pub fn emit(out: &mut [u8; HEADER_LEN], repr: &Ipv6Repr) {
    let class = u32::from(repr.traffic_class);
    let first = 6 << 28 | class << 20 | repr.flow_label & 0x000f_ffff;
    let [len_hi, len_lo] = repr.payload_len.to_be_bytes();
    let second = [len_hi, len_lo, repr.next_header.0, repr.hop_limit];
    let (start, _) = out.split_at_mut(8);
    let fixed = u64::from(first) << 32 | u64::from(u32::from_be_bytes(second));
    start.copy_from_slice(&fixed.to_be_bytes());
    write_addrs(out, repr.src, repr.dst);
}

#[cfg(test)]
mod tests;
