//! Fragments of IPv4 (RFC 791 §3.2) and IPv6 (RFC 8200 §4.5).
//!
//! Says what part of a packet a fragment is and refuses those that no reassembly could use. Whether
//! fragments overlap each other takes state, which is the caller's.
//!
//! ```text
//! +-------------+-------------+-------------------------+--+-+
//! | Next Header |  reserved   | Fragment Offset (8 oct) |  |M|   IPv6 Fragment header
//! +-------------+-------------+-------------------------+--+-+
//! |                     Identification                       |
//! +----------------------------------------------------------+
//! ```

use crate::ParseError;
use crate::addr::Protocol;

/// Which part of its packet a frame carries.
///
/// Fragments of one packet share source, destination and `id`, in IPv4 the protocol too (RFC 791);
/// in IPv6 the protocol of a later fragment may name an extension header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it. An atomic IPv6 fragment (RFC 6946) is whole.
    Whole,
    /// The beginning, with the whole L4 header.
    First {
        /// Identification; 16 bits in IPv4.
        id: u32,
    },
    /// A part without L4 header.
    Later {
        /// Identification; 16 bits in IPv4.
        id: u32,
        /// Where it belongs in the packet's payload, in octets.
        offset: u16,
        /// Whether the packet ends here.
        last: bool,
    },
}

impl Fragment {
    /// Judges a fragment.
    ///
    /// `offset` and `len` are those of its data, in octets; `unfragmentable` is what precedes the
    /// data and counts against the 65535 octets of the reassembled packet.
    ///
    /// # Errors
    /// `FragmentOverflow` if the packet would be too long, or if data that others must follow is
    /// empty or ends at no multiple of 8.
    pub(crate) fn classify(
        id: u32,
        offset: u16,
        more: bool,
        len: usize,
        unfragmentable: usize,
    ) -> Result<Self, ParseError> {
        let end = unfragmentable + usize::from(offset) + len;
        if end > usize::from(u16::MAX) || (more && (len == 0 || !len.is_multiple_of(8))) {
            return Err(ParseError::FragmentOverflow);
        }
        Ok(match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First { id },
            (offset, more) => Self::Later {
                id,
                offset,
                last: !more,
            },
        })
    }
}

/// An IPv6 Fragment header.
#[derive(Clone, Copy, Debug)]
pub struct FragmentHeader<'a>(&'a [u8; 8]);

/// Octets of the Fragment header.
pub const FRAGMENT_HEADER_LEN: usize = 8;

impl<'a> FragmentHeader<'a> {
    /// Reads the header at the start of `bytes` and returns it with what follows.
    ///
    /// # Errors
    /// `Truncated` under 8 octets.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        let (header, rest) = bytes.split_first_chunk().ok_or(ParseError::Truncated)?;
        Ok((Self(header), rest))
    }

    pub(crate) const fn of(header: &'a [u8; 8]) -> Self {
        Self(header)
    }

    /// What the fragmentable part starts with.
    pub const fn next_header(self) -> Protocol {
        Protocol(self.0[0])
    }

    /// Offset of the data in the fragmentable part, in octets.
    pub const fn offset(self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]]) & 0xfff8
    }

    /// Whether more fragments follow.
    pub const fn more(self) -> bool {
        self.0[3] & 1 != 0
    }

    /// Identification.
    pub const fn id(self) -> u32 {
        u32::from_be_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }
}

/// What [`emit`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentRepr {
    /// What the fragmentable part starts with.
    pub next_header: Protocol,
    /// Offset of the data in octets: a multiple of 8.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
    /// Identification.
    pub id: u32,
}

/// Writes an IPv6 Fragment header over `out`.
pub fn emit(out: &mut [u8; FRAGMENT_HEADER_LEN], repr: FragmentRepr) {
    let [hi, lo] = ((repr.offset & 0xfff8) | u16::from(repr.more)).to_be_bytes();
    let [a, b, c, d] = repr.id.to_be_bytes();
    *out = [repr.next_header.0, 0, hi, lo, a, b, c, d];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_reads_back_what_emit_wrote() {
        let repr = FragmentRepr {
            next_header: Protocol::UDP,
            offset: 1448,
            more: true,
            id: 0xdead_beef,
        };
        let mut out = [0xa5; 8];
        emit(&mut out, repr);
        assert_eq!(out, [17, 0, 0x05, 0xa9, 0xde, 0xad, 0xbe, 0xef]);
        let (header, rest) = FragmentHeader::parse(&out).unwrap();
        assert!(rest.is_empty());
        assert_eq!(
            (header.next_header(), header.offset()),
            (Protocol::UDP, 1448)
        );
        assert_eq!((header.more(), header.id()), (true, 0xdead_beef));
        for len in 0..8 {
            assert_eq!(
                FragmentHeader::parse(&out[..len]).err(),
                Some(ParseError::Truncated)
            );
        }
    }

    #[test]
    fn d29_fragments_that_cannot_be_reassembled_are_refused() {
        let overflow = Err(ParseError::FragmentOverflow);
        // The ping of death: the last fragment ends past 65535.
        assert_eq!(Fragment::classify(1, 65528, false, 100, 20), overflow);
        assert_eq!(Fragment::classify(1, 0, true, 1001, 20), overflow);
        assert_eq!(Fragment::classify(1, 8, true, 0, 20), overflow);
        let last = Fragment::Later {
            id: 1,
            offset: 8,
            last: true,
        };
        assert_eq!(Fragment::classify(1, 8, false, 1001, 20), Ok(last));
        // Exactly 65535 octets is still a packet.
        let last = Fragment::Later {
            id: 1,
            offset: 65512,
            last: true,
        };
        assert_eq!(Fragment::classify(1, 65512, false, 3, 20), Ok(last));
        assert_eq!(Fragment::classify(1, 65512, false, 4, 20), overflow);
    }

    #[test]
    fn d29_an_atomic_fragment_is_whole() {
        assert_eq!(Fragment::classify(7, 0, false, 13, 0), Ok(Fragment::Whole));
    }
}
