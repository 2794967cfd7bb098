//! IPv4 headers (RFC 791).
//!
//! ```text
//! |Version| IHL | DSCP+ECN |        Total Length         |
//! |    Identification      | 0 D M |  Fragment Offset     |
//! |  TTL   |   Protocol    |       Header Checksum        |
//! |                    Source Address                     |
//! |                  Destination Address                  |
//! |                 Options (0 to 40 octets)              |
//! ```

use core::net::Ipv4Addr;

use crate::ParseError;
use crate::addr::Protocol;
use crate::checksum::{self, Checksum, Delta};
use crate::fragment::Fragment;

/// Octets of a header without options.
pub const HEADER_LEN: usize = 20;
/// Where the header checksum stands.
pub const CHECKSUM_AT: usize = 10;
/// Octets of the longest header: IHL is four bits.
pub const HEADER_LEN_MAX: usize = 60;

/// The fixed part of an IPv4 header.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Ipv4<'a> {
    /// Splits a packet into IPv4 header and payload (RFC 791 §3.1).
    ///
    /// `bytes` starts at the version field and may end in Ethernet padding; the payload does not.
    ///
    /// # Errors
    /// `Truncated` if the fixed header or Total Length runs past `bytes`. `Malformed` if the
    /// version is not 4, IHL is under 5 words, or Total Length is under the header length.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        let ip = Self::of(bytes.first_chunk().ok_or(ParseError::Truncated)?)?;
        let range = ip.header_len()..usize::from(ip.total_len());
        let payload = bytes.get(range).ok_or(ParseError::Truncated)?;
        Ok((ip, payload))
    }

    /// The view of a fixed header, its own fields judged, its surroundings not.
    pub(crate) fn of(header: &'a [u8; HEADER_LEN]) -> Result<Self, ParseError> {
        let ip = Self(header);
        let too_short =
            ip.header_len() < HEADER_LEN || usize::from(ip.total_len()) < ip.header_len();
        if header[0] >> 4 != 4 || too_short {
            return Err(ParseError::Malformed);
        }
        Ok(ip)
    }

    /// The view of a header that an ICMP error quotes, whose Total Length may be anything.
    pub(crate) const fn quoted(header: &'a [u8; HEADER_LEN]) -> Result<Self, ParseError> {
        let ip = Self(header);
        if header[0] >> 4 != 4 || ip.header_len() < HEADER_LEN {
            return Err(ParseError::Malformed);
        }
        Ok(ip)
    }

    /// Header with options, in octets.
    pub const fn header_len(self) -> usize {
        (self.0[0] & 0x0f) as usize * 4
    }

    /// DSCP and ECN.
    pub const fn tos(self) -> u8 {
        self.0[1]
    }

    /// Header and payload together, in octets.
    pub const fn total_len(self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Identification.
    pub const fn id(self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// Whether routers may not fragment this packet (DF).
    pub const fn dont_fragment(self) -> bool {
        self.0[6] & 0x40 != 0
    }

    /// Whether more fragments follow (MF).
    pub const fn more_fragments(self) -> bool {
        self.0[6] & 0x20 != 0
    }

    /// Where the payload belongs in the unfragmented one, in octets.
    pub const fn fragment_offset(self) -> u16 {
        (u16::from_be_bytes([self.0[6], self.0[7]]) & 0x1fff) << 3
    }

    /// Time to live.
    pub const fn ttl(self) -> u8 {
        self.0[8]
    }

    /// What the payload is.
    pub const fn protocol(self) -> Protocol {
        Protocol(self.0[9])
    }

    /// The header checksum as it is.
    pub const fn checksum(self) -> Checksum {
        Checksum([self.0[10], self.0[11]])
    }

    /// Source address.
    pub const fn src(self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[12], self.0[13], self.0[14], self.0[15])
    }

    /// Destination address.
    pub const fn dst(self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[16], self.0[17], self.0[18], self.0[19])
    }

    /// Which part of its packet this is.
    ///
    /// # Errors
    /// `FragmentOverflow`: see [`ParseError`].
    pub fn fragment(self) -> Result<Fragment, ParseError> {
        let (offset, more) = (self.fragment_offset(), self.more_fragments());
        if offset == 0 && !more {
            return Ok(Fragment::Whole);
        }
        let len = usize::from(self.total_len()).saturating_sub(self.header_len());
        Fragment::classify(u32::from(self.id()), offset, more, len, self.header_len())
    }
}

/// One IPv4 option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Option<'a> {
    /// The option's type octet: copied flag, class and number.
    pub kind: u8,
    /// What follows type and length.
    pub data: &'a [u8],
}

impl Ipv4Option<'_> {
    /// Whether this is a loose or strict source route, the two that decide where a packet goes.
    pub const fn is_source_route(self) -> bool {
        const LOOSE: u8 = 131;
        const STRICT: u8 = 137;
        matches!(self.kind, LOOSE | STRICT)
    }
}

/// Walks the options of a header: the octets from 20 to the header length (RFC 791 §3.1).
///
/// No-operations are skipped; End of Option List ends the walk. Yields `Malformed` once, and then
/// nothing, for an option whose length is under 2 or runs past the header.
pub const fn options(bytes: &[u8]) -> Options<'_> {
    Options(bytes)
}

/// The iterator of [`options`].
#[derive(Clone, Debug)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Result<Ipv4Option<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        const END: u8 = 0;
        const NO_OPERATION: u8 = 1;
        loop {
            let (&kind, rest) = self.0.split_first()?;
            match kind {
                END => self.0 = &[],
                NO_OPERATION => self.0 = rest,
                kind => {
                    let len = usize::from(rest.first().copied().unwrap_or(0));
                    let data = self.0.get(2..len);
                    self.0 = self.0.get(len..).unwrap_or(&[]);
                    if data.is_none() {
                        self.0 = &[];
                    }
                    return Some(
                        data.map(|data| Ipv4Option { kind, data })
                            .ok_or(ParseError::Malformed),
                    );
                }
            }
        }
    }
}

/// The fixed part of an IPv4 header, to be changed. Every setter keeps the header checksum: a right
/// one stays right and a wrong one wrong.
#[derive(Debug)]
pub struct Ipv4Mut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> Ipv4Mut<'a> {
    /// The header at the start of `bytes`.
    ///
    /// # Errors
    /// `Truncated` under 20 octets, `Malformed` if the version is not 4.
    #[inline]
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, ParseError> {
        let header: &mut [u8; HEADER_LEN] = bytes.first_chunk_mut().ok_or(ParseError::Truncated)?;
        if header[0] >> 4 != 4 {
            return Err(ParseError::Malformed);
        }
        Ok(Self(header))
    }

    /// The header for reading.
    pub const fn view(&self) -> Ipv4<'_> {
        Ipv4(self.0)
    }

    #[inline(always)]
    fn apply(&mut self, delta: Delta) {
        let [hi, lo] = delta.apply(self.view().checksum()).0;
        (self.0[10], self.0[11]) = (hi, lo);
    }

    /// Sets the source address.
    #[inline]
    pub fn set_src(&mut self, src: Ipv4Addr) {
        let old = self.view().src();
        [self.0[12], self.0[13], self.0[14], self.0[15]] = src.octets();
        self.apply(Delta::new().replace_addr(old, src));
    }

    /// Sets the destination address.
    #[inline]
    pub fn set_dst(&mut self, dst: Ipv4Addr) {
        let old = self.view().dst();
        [self.0[16], self.0[17], self.0[18], self.0[19]] = dst.octets();
        self.apply(Delta::new().replace_addr(old, dst));
    }

    /// Sets the source and takes one from the TTL, with one checksum update; `delta` is what the
    /// address changes, as from [`Delta::replace_addr`]: the hot path needs it for L4 as well.
    #[inline(always)]
    pub fn forward_from(&mut self, src: Ipv4Addr, delta: Delta) {
        [self.0[12], self.0[13], self.0[14], self.0[15]] = src.octets();
        self.forward(delta);
    }

    /// The same for the destination.
    #[inline(always)]
    pub fn forward_to(&mut self, dst: Ipv4Addr, delta: Delta) {
        [self.0[16], self.0[17], self.0[18], self.0[19]] = dst.octets();
        self.forward(delta);
    }

    /// Takes one from the TTL and returns the new one; zero stays zero.
    #[inline(always)]
    pub fn decrement_ttl(&mut self) -> u8 {
        self.forward(Delta::new())
    }

    #[inline(always)]
    fn forward(&mut self, delta: Delta) -> u8 {
        let Some(ttl) = self.0[8].checked_sub(1) else {
            self.apply(delta);
            return 0;
        };
        self.0[8] = ttl;
        // TTL is the high octet of its word, so the word falls by 0x100, whatever the low octet is.
        self.apply(delta.replace_u16(0x0100, 0));
        ttl
    }

    /// Sets DSCP and ECN.
    #[inline]
    pub fn set_tos(&mut self, tos: u8) {
        let old = self.0[1];
        self.0[1] = tos;
        self.apply(Delta::new().replace_u16(u16::from(old), u16::from(tos)));
    }

    /// Sets the ECN bits and leaves DSCP (RFC 3168).
    #[inline]
    pub fn set_ecn(&mut self, ecn: u8) {
        self.set_tos(self.0[1] & !3 | ecn & 3);
    }

    /// Sets Total Length, in octets.
    #[inline]
    pub fn set_total_len(&mut self, len: u16) {
        let old = self.view().total_len();
        [self.0[2], self.0[3]] = len.to_be_bytes();
        self.apply(Delta::new().replace_u16(old, len));
    }

    /// Sets More Fragments and the fragment offset (octets, a multiple of 8); DF is cleared.
    pub fn set_fragment(&mut self, offset: u16, more: bool) {
        let old = u16::from_be_bytes([self.0[6], self.0[7]]);
        let new = (offset >> 3) | if more { 0x2000 } else { 0 };
        [self.0[6], self.0[7]] = new.to_be_bytes();
        self.apply(Delta::new().replace_u16(old, new));
    }
}

/// Overwrites both addresses; the checksum is the caller's.
#[inline]
pub(crate) fn write_addrs(header: &mut [u8; HEADER_LEN], src: Ipv4Addr, dst: Ipv4Addr) {
    [header[12], header[13], header[14], header[15]] = src.octets();
    [header[16], header[17], header[18], header[19]] = dst.octets();
}

/// What [`emit`] writes: a header without options or fragmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// What the payload is.
    pub protocol: Protocol,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Whether routers may not fragment.
    pub dont_fragment: bool,
    /// Identification; matters where DF is clear (RFC 6864).
    pub id: u16,
    /// Octets after the header. Total Length saturates at 65535.
    pub payload_len: u16,
}

/// Writes a header over `out`, checksum included.
#[inline(always)]
pub fn emit(out: &mut [u8; HEADER_LEN], repr: &Ipv4Repr) {
    let [len_hi, len_lo] = repr.payload_len.saturating_add(20).to_be_bytes();
    let [id_hi, id_lo] = repr.id.to_be_bytes();
    let flags = if repr.dont_fragment { 0x40 } else { 0 };
    // Summed up as words, before they are octets: what has just been written octet by octet cannot
    // be read as words without waiting for it.
    let mut words = [
        u32::from_ne_bytes([0x45, repr.tos, len_hi, len_lo]),
        u32::from_ne_bytes([id_hi, id_lo, flags, 0]),
        u32::from_ne_bytes([repr.ttl, repr.protocol.0, 0, 0]),
        u32::from_ne_bytes(repr.src.octets()),
        u32::from_ne_bytes(repr.dst.octets()),
    ];
    let Checksum([sum_hi, sum_lo]) = checksum::of_words(&words);
    words[2] |= u32::from_ne_bytes([0, 0, sum_hi, sum_lo]);
    let (places, _) = out.as_chunks_mut::<4>();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_ne_bytes();
    }
}

#[cfg(test)]
mod tests;
