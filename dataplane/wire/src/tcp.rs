//! TCP segments (RFC 9293 §3.1), their options, and the reset that answers one.
//!
//! ```text
//! |      Source Port       |      Destination Port      |
//! |                  Sequence Number                    |
//! |               Acknowledgment Number                 |
//! | Offset | 0 |  Flags    |          Window            |
//! |       Checksum         |      Urgent Pointer        |
//! |               Options (0 to 40 octets)              |
//! ```

use core::fmt;

use crate::ParseError;
use crate::addr::{Address, L4Port, Protocol};
use crate::checksum::{Checksum, Delta, Sum};
use crate::parse::Parsed;

/// Octets of a header without options.
pub const HEADER_LEN: usize = 20;
/// Where the checksum stands in the header.
pub const CHECKSUM_AT: usize = 16;

/// The eight control bits of a TCP header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No bit set; also what a packet that is not TCP has.
    pub const NONE: Self = Self(0);
    /// The sender has finished sending.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement field is significant.
    pub const ACK: Self = Self(0x10);
    /// The urgent field is significant.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Bits of both.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this opens a connection: SYN without ACK, RST or FIN.
    #[inline]
    pub const fn is_syn(self) -> bool {
        self.0 & (Self::SYN.0 | Self::ACK.0 | Self::RST.0 | Self::FIN.0) == Self::SYN.0
    }

    /// Whether no honest sender sets these together: none of SYN, ACK, FIN and RST (null, xmas),
    /// SYN with FIN or RST, or FIN without ACK. Such a segment must never create state.
    #[inline]
    pub const fn is_bogus(self) -> bool {
        let syn = self.intersects(Self::SYN);
        let fin = self.intersects(Self::FIN);
        let rst = self.intersects(Self::RST);
        let ack = self.intersects(Self::ACK);
        (syn && (fin || rst)) || (fin && !ack) || !(syn || ack || rst)
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let mut first = true;
        for (bit, name) in names.iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                f.write_str(if first { "" } else { "|" })?;
                f.write_str(name)?;
                first = false;
            }
        }
        if first { f.write_str("none") } else { Ok(()) }
    }
}

/// The fixed part of a TCP header.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Tcp<'a> {
    /// Splits a segment into header, options and payload.
    ///
    /// # Errors
    /// `Truncated` if the header runs past `bytes`; `Malformed` if Data Offset is under 5 words.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8], &'a [u8]), ParseError> {
        let tcp = Self(bytes.first_chunk().ok_or(ParseError::Truncated)?);
        if tcp.header_len() < HEADER_LEN {
            return Err(ParseError::Malformed);
        }
        let (header, payload) = bytes
            .split_at_checked(tcp.header_len())
            .ok_or(ParseError::Truncated)?;
        Ok((tcp, header.get(HEADER_LEN..).unwrap_or(&[]), payload))
    }

    /// Source port.
    pub const fn sport(self) -> L4Port {
        L4Port::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Destination port.
    pub const fn dport(self) -> L4Port {
        L4Port::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Sequence number of the first octet, or of SYN.
    pub const fn seq(self) -> u32 {
        u32::from_be_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    /// Acknowledgment number; means something only with ACK.
    pub const fn ack(self) -> u32 {
        u32::from_be_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }

    /// Header with options, in octets.
    pub const fn header_len(self) -> usize {
        (self.0[12] >> 4) as usize * 4
    }

    /// Control bits.
    pub const fn flags(self) -> TcpFlags {
        TcpFlags(self.0[13])
    }

    /// Window, unscaled.
    pub const fn window(self) -> u16 {
        u16::from_be_bytes([self.0[14], self.0[15]])
    }

    /// The checksum as it is.
    pub const fn checksum(self) -> Checksum {
        Checksum([self.0[16], self.0[17]])
    }
}

/// A TCP header, to be changed. The caller says what its changes mean to the checksum.
#[derive(Debug)]
pub struct TcpMut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> TcpMut<'a> {
    /// The header at the start of `bytes`.
    ///
    /// # Errors
    /// `Truncated` under 20 octets.
    #[inline]
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, ParseError> {
        bytes
            .first_chunk_mut()
            .map(Self)
            .ok_or(ParseError::Truncated)
    }

    /// The header for reading.
    pub const fn view(&self) -> Tcp<'_> {
        Tcp(self.0)
    }

    /// Sets both ports and updates the checksum by `delta`, which covers the ports and the
    /// addresses of the pseudo-header.
    #[inline]
    pub fn set_ports(&mut self, sport: L4Port, dport: L4Port, delta: Delta) {
        [self.0[0], self.0[1]] = sport.to_be_bytes();
        [self.0[2], self.0[3]] = dport.to_be_bytes();
        [self.0[16], self.0[17]] = delta.apply(self.view().checksum()).0;
    }
}

/// Where in a segment the value of its Maximum Segment Size option stands (RFC 9293 §3.7.1).
///
/// `None` without one, or where the options cannot be read on.
fn mss_at(segment: &[u8]) -> Option<usize> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const MSS: u8 = 2;
    let (_, options, _) = Tcp::parse(segment).ok()?;
    let mut at = 0;
    loop {
        match *options.get(at)? {
            END => return None,
            NO_OPERATION => at += 1,
            kind => {
                let len = usize::from(*options.get(at + 1)?);
                if len < 2 || at + len > options.len() {
                    return None;
                }
                if kind == MSS && len == 4 {
                    return Some(HEADER_LEN + at + 2);
                }
                at += len;
            }
        }
    }
}

/// The Maximum Segment Size that a segment offers. `segment` starts at the TCP header.
pub fn mss(segment: &[u8]) -> Option<u16> {
    let value = segment.get(mss_at(segment)?..)?.first_chunk()?;
    Some(u16::from_be_bytes(*value))
}

/// Lowers the Maximum Segment Size option to `mss_max` and updates the checksum.
///
/// Returns whether anything changed. Only SYNs carry the option; the caller looks at the flags.
pub fn clamp_mss(segment: &mut [u8], mss_max: u16) -> bool {
    let Some((at, old)) = mss_at(segment).zip(mss(segment)) else {
        return false;
    };
    if old <= mss_max {
        return false;
    }
    if let Some(value) = segment
        .get_mut(at..)
        .and_then(|rest| rest.first_chunk_mut())
    {
        *value = mss_max.to_be_bytes();
    }
    // At an odd place the value's octets lie in the other halves of their checksum words.
    let even = at % 2 == 0;
    let weigh = |mss: u16| if even { mss } else { mss.swap_bytes() };
    let delta = Delta::new().replace_u16(weigh(old), weigh(mss_max));
    let Ok(mut tcp) = TcpMut::parse(segment) else {
        return false;
    };
    let (sport, dport) = (tcp.view().sport(), tcp.view().dport());
    tcp.set_ports(sport, dport, delta);
    true
}

/// Writes the reset that a closed port sends in answer to a segment (RFC 9293 §3.10.7.1).
///
/// `frame` is the frame `parsed` came from. Only the TCP header is written: from `parsed.dst` to
/// `parsed.src`, 20 octets. `None`, with nothing written, for what must not be answered: a reset,
/// a fragment, another protocol.
pub fn emit_reset<A: Address>(
    out: &mut [u8; HEADER_LEN],
    frame: &[u8],
    parsed: &Parsed<A>,
) -> Option<()> {
    if !parsed.is_whole(Protocol::TCP) {
        return None;
    }
    let segment = Tcp(frame.get(usize::from(parsed.l4)..)?.first_chunk()?);
    let flags = segment.flags();
    if flags.intersects(TcpFlags::RST) {
        return None;
    }
    let (seq, ack, answer) = if flags.intersects(TcpFlags::ACK) {
        (segment.ack(), 0, TcpFlags::RST)
    } else {
        let payload_len = usize::from(parsed.end - parsed.l4).checked_sub(segment.header_len())?;
        let syn_fin =
            u32::from(flags.intersects(TcpFlags::SYN)) + u32::from(flags.intersects(TcpFlags::FIN));
        let len = u32::try_from(payload_len).ok()? + syn_fin;
        (
            0,
            segment.seq().wrapping_add(len),
            TcpFlags::RST.union(TcpFlags::ACK),
        )
    };
    let ([s0, s1], [d0, d1]) = (parsed.dport.to_be_bytes(), parsed.sport.to_be_bytes());
    let ([q0, q1, q2, q3], [a0, a1, a2, a3]) = (seq.to_be_bytes(), ack.to_be_bytes());
    *out = [
        s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, 0x50, answer.0, 0, 0, 0, 0, 0, 0,
    ];
    let sum = Sum::pseudo(parsed.dst, parsed.src, Protocol::TCP, 20)
        .over(out)
        .finish();
    [out[16], out[17]] = sum.0;
    Some(())
}

#[cfg(test)]
mod tests;
