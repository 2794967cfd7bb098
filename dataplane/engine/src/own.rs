//! A filter that tells most addresses from the director's own in a nanosecond.

use weir_wire::addr::Address;

use crate::warm::warm_part;

/// Bits for each address: one stranger in 64 is taken for one of ours and looked up in vain.
const BITS_PER_ADDRESS: usize = 64;
/// Fewest bits: eight cache lines.
const BITS_MIN: usize = 4096;
/// Most bits, 16 KiB: half of a first-level cache.
const BITS_MAX: usize = 1 << 17;

/// Words of 64 bits.
const WORDS_PER_LINE: usize = 8;

/// A set of addresses that may hold more than was put in, never less (a Bloom filter of one hash).
#[derive(Clone, Debug)]
pub struct OwnAddresses {
    words: Box<[u64]>,
    /// What a hash is shifted right by to become the number of a bit.
    shift: u32,
}

impl Default for OwnAddresses {
    /// Holds every address: nothing is known.
    fn default() -> Self {
        Self {
            words: Box::new([u64::MAX]),
            shift: 58,
        }
    }
}

impl OwnAddresses {
    /// Holds these.
    pub fn new<A: Address>(addresses: impl Iterator<Item = A> + Clone) -> Self {
        let wanted = addresses.clone().count() * BITS_PER_ADDRESS;
        let bits = wanted.clamp(BITS_MIN, BITS_MAX).next_power_of_two();
        let mut own = Self {
            words: vec![0; bits / 64].into(),
            shift: 64 - bits.trailing_zeros(),
        };
        for address in addresses {
            let (word, bit) = own.place(address);
            own.words[word] |= 1 << bit;
        }
        own
    }

    /// Whether an address may be one of these. `false` is certain.
    #[inline(always)]
    pub fn may_hold<A: Address>(&self, address: A) -> bool {
        let (word, bit) = self.place(address);
        self.words[word] >> bit & 1 != 0
    }

    /// Its cache lines.
    pub(crate) const fn lines(&self) -> usize {
        self.words.len().div_ceil(WORDS_PER_LINE)
    }

    /// See [`Tables::warm`](crate::tables::Tables::warm).
    pub(crate) fn warm(&self, part: usize) {
        warm_part(&self.words, WORDS_PER_LINE, part);
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "halves of a number")]
    fn place<A: Address>(&self, address: A) -> (usize, u32) {
        let bits = address.bits();
        let folded = (bits >> 64) as u64 ^ bits as u64;
        // Fibonacci hashing: the high bits of the product depend on all bits of the address.
        let place = (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        (place / 64, (place % 64) as u32)
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn what_was_put_in_is_held_and_few_others_are() {
        let mine = (0..1000_u32).map(|n| Ipv4Addr::from_bits(0xc633_6400 + n));
        let own = OwnAddresses::new(mine.clone());
        assert!(mine.clone().all(|address| own.may_hold(address)));
        let strangers = (0..100_000_u32).map(|n| Ipv4Addr::from_bits(0x0a00_0000 + 7 * n));
        let taken = strangers.filter(|address| own.may_hold(*address)).count();
        assert!(taken < 100_000 / 32, "{taken} of 100,000");
    }

    #[test]
    fn ipv6_addresses_are_told_apart_by_either_half() {
        let mine = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
        let own = OwnAddresses::new([mine].into_iter());
        assert!(own.may_hold(mine));
        for bit in 0..128 {
            let other = Ipv6Addr::from_bits(mine.to_bits() ^ 1 << bit);
            assert!(!own.may_hold(other), "{other}");
        }
    }

    #[test]
    fn nothing_known_holds_everything_and_nothing_put_in_holds_nothing() {
        let any = Ipv4Addr::new(192, 0, 2, 1);
        assert!(OwnAddresses::default().may_hold(any));
        assert!(!OwnAddresses::new(core::iter::empty::<Ipv4Addr>()).may_hold(any));
    }
}
