//! Internet checksums: full sums (RFC 1071) and incremental updates (RFC 1624, equation 3).
//!
//! A [`Checksum`] is two octets as they are in the packet and never a number, so nobody can swap
//! or add it. An update is a [`Delta`]: what a rewrite changes in the sum, computed once (per flow
//! if the caller likes) and applied to any number of checksums. A wrong checksum stays wrong under
//! `apply`, which is what a NAT must do. RFC 1141's formula is absent on purpose: it yields
//! 0xffff where 0x0000 is right.

use crate::addr::{Address, Protocol};

/// A checksum field as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Checksum(pub [u8; 2]);

impl Checksum {
    /// Both octets zero: the field while the sum is taken; in UDP, "no checksum".
    pub const ZERO: Self = Self([0, 0]);
    /// All ones: how a UDP checksum that computes to zero is sent.
    pub const ONES: Self = Self([0xff, 0xff]);

    /// Whether both octets are zero.
    #[inline]
    pub const fn is_zero(self) -> bool {
        matches!(self.0, [0, 0])
    }

    /// The checksum of an IPv4 header whose TTL, the high octet of a word, went down by one: what
    /// [`Delta`] makes of it, in fewer steps.
    ///
    /// The checksum grows by as much as the word falls, and what carries over is added back; 0xffff
    /// is written 0 (RFC 1624 section 3).
    #[inline(always)]
    #[must_use]
    pub const fn after_hop(self) -> Self {
        let one = u16::from_be(0x0100);
        let sum = u16::from_ne_bytes(self.0) as u32 + one as u32;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what carries over has been added"
        )]
        let folded = (sum + (sum >= 0xffff) as u32) as u16;
        Self(folded.to_ne_bytes())
    }

    /// This checksum as a UDP sender writes it: zero becomes 0xffff (RFC 768, RFC 8200 §8.1).
    #[inline]
    pub const fn for_udp(self) -> Self {
        if self.is_zero() { Self::ONES } else { self }
    }
}

/// One's complement addition of 32-bit words; congruent to 16-bit addition, because
/// 2^16 ≡ 1 (mod 0xffff).
#[inline]
const fn add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    // A sum that carried is at most 2^32 - 2, so the end-around carry cannot overflow.
    sum.wrapping_add(carry as u32)
}

/// Folds to 16 bits. Zero only if `sum` is zero.
#[inline]
const fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    #[expect(clippy::cast_possible_truncation, reason = "two folds leave 16 bits")]
    {
        sum as u16
    }
}

#[inline]
const fn fold_u64(sum: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
    add((sum >> 32) as u32, sum as u32)
}

/// A running RFC 1071 sum over pieces of any length and alignment.
///
/// Pieces add up as if they were contiguous, so a segmented buffer is summed piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    acc: u32,
    odd: bool,
}

impl Sum {
    /// The empty sum.
    #[inline]
    pub const fn new() -> Self {
        Self { acc: 0, odd: false }
    }

    /// The pseudo-header of TCP, UDP and ICMPv6 (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1).
    ///
    /// `len` is L4 header and payload, in octets. The same for both families, as the shorter
    /// fields of IPv4 are zero-extended ones of IPv6 to a checksum.
    #[inline]
    pub fn pseudo<A: Address>(src: A, dst: A, protocol: Protocol, len: u16) -> Self {
        let words = src.checksum_words() + dst.checksum_words();
        let acc = fold_u64(words + u64::from(protocol.0) + u64::from(len));
        Self { acc, odd: false }
    }

    /// Adds octets.
    #[inline]
    #[must_use]
    pub fn over(mut self, bytes: &[u8]) -> Self {
        let sum = sum_bytes(bytes);
        // A piece that starts at an odd place has its octets in the other halves of the words.
        let sum = if self.odd { sum.swap_bytes() } else { sum };
        self.acc = add(self.acc, u32::from(sum));
        self.odd ^= !bytes.len().is_multiple_of(2);
        self
    }

    /// The checksum to write: the complement of the sum.
    #[inline]
    pub const fn finish(self) -> Checksum {
        Checksum((!fold(self.acc)).to_be_bytes())
    }

    /// Whether the summed octets, their checksum among them, are intact.
    #[inline]
    pub const fn is_valid(self) -> bool {
        fold(self.acc) == 0xffff
    }
}

/// The folded sum of `bytes`, as a number whose high octet weighs the even places.
#[inline]
fn sum_bytes(bytes: &[u8]) -> u16 {
    // Sums of native words are octet-swapped sums of big-endian ones (RFC 1071 §2 B), so words are
    // taken as they lie, eight octets a time in four lanes that the compiler makes vectors of.
    let mut lanes = [0u64; 4];
    let (blocks, tail) = bytes.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            let word = u64::from_ne_bytes(*word);
            // Two 32-bit halves: 2^31 blocks before a lane could overflow.
            *lane += (word >> 32) + (word & 0xffff_ffff);
        }
    }
    let (words, tail) = tail.as_chunks::<4>();
    for word in words {
        lanes[0] += u64::from(u32::from_ne_bytes(*word));
    }
    if !tail.is_empty() {
        let mut word = [0; 4];
        for (to, from) in word.iter_mut().zip(tail) {
            *to = *from;
        }
        lanes[1] += u64::from(u32::from_ne_bytes(word));
    }
    let [a, b, c, d] = lanes.map(fold_u64);
    u16::from_be_bytes(fold(add(add(a, b), add(c, d))).to_ne_bytes())
}

/// Whether a header whose checksum covers itself alone (IPv4, ICMP) is intact.
#[inline]
pub fn is_valid(bytes: &[u8]) -> bool {
    Sum::new().over(bytes).is_valid()
}

/// The checksum over `bytes`, in which the checksum field must be zero.
#[inline]
pub fn of(bytes: &[u8]) -> Checksum {
    Sum::new().over(bytes).finish()
}

/// The checksum of a header that is still words, each with its octets as they will lie in memory,
/// its field zero.
#[inline(always)]
pub(crate) fn of_words(words: &[u32; 5]) -> Checksum {
    let sum = fold(fold_u64(words.iter().map(|&word| u64::from(word)).sum()));
    // The sum of words as they lie is the sum as it lies (RFC 1071 section 2 B).
    Checksum((!sum).to_ne_bytes())
}

/// Whether the 20 octets of an option-less IPv4 header sum up. Branch-free.
#[inline]
pub fn is_valid_ipv4(header: &[u8; 20]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    let sum = words
        .iter()
        .map(|word| u64::from(u32::from_ne_bytes(*word)))
        .sum();
    fold(fold_u64(sum)) == 0xffff
}

/// What a rewrite changes in a checksum (RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`).
///
/// Folds any number of replaced fields into one word. Every field must start at an even place of
/// the summed data, as all header fields of IP, TCP, UDP and ICMP do.
///
/// The word is the sum of fields as they lie in memory (RFC 1071 section 2 B): checksums and ports
/// need not be turned round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[must_use]
pub struct Delta(u32);

impl Delta {
    /// No change.
    #[inline]
    pub const fn new() -> Self {
        Self(0)
    }

    /// A 16-bit field changes from `old` to `new` (host order): a port, a length.
    #[inline]
    pub const fn replace_u16(self, old: u16, new: u16) -> Self {
        Self(add(self.0, (!old).to_be() as u32 + new.to_be() as u32))
    }

    /// A 32-bit field changes from `old` to `new` (host order).
    #[inline]
    pub const fn replace_u32(self, old: u32, new: u32) -> Self {
        Self(add(add(self.0, (!old).to_be()), new.to_be()))
    }

    /// An address changes, in the header or in the pseudo-header.
    #[inline]
    pub fn replace_addr<A: Address>(self, old: A, new: A) -> Self {
        let (old, new) = (old.checksum_words(), new.checksum_words());
        Self(add(
            add(self.0, (!fold_u64(old)).to_be()),
            fold_u64(new).to_be(),
        ))
    }

    /// The change in two octets.
    #[inline]
    pub const fn short(self) -> ShortDelta {
        ShortDelta(fold(self.0))
    }

    /// Both changes together.
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(add(self.0, other.0))
    }

    /// The checksum after the change, for IPv4 headers, TCP and ICMP.
    #[inline]
    #[must_use]
    pub const fn apply(self, old: Checksum) -> Checksum {
        let sum = !u16::from_ne_bytes(old.0);
        Checksum((!fold(add(self.0, sum as u32))).to_ne_bytes())
    }

    /// The UDP checksum after the change: zero (none) stays zero, and one that computes to zero
    /// is written 0xffff (RFC 768; RFC 6936 for IPv6).
    #[inline(always)]
    #[must_use]
    pub const fn apply_udp(self, old: Checksum) -> Checksum {
        if old.is_zero() {
            old
        } else {
            self.apply(old).for_udp()
        }
    }
}

/// A [`Delta`] in two octets, for whoever keeps it: it changes checksums in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct ShortDelta(u16);

impl ShortDelta {
    /// The change that takes this one back, of addresses and ports that are not all zeros.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        // Of the two zeros of one's complement only 0xffff is the sum of something.
        match !self.0 {
            0 => self,
            reversed => Self(reversed),
        }
    }

    /// The change in its long form.
    #[inline(always)]
    pub const fn long(self) -> Delta {
        Delta(self.0 as u32)
    }
}

#[cfg(test)]
mod tests;
