//! One cache line of the flow table: ten slots of a 16-bit tag and a 32-bit entry index.
//!
//! A key has two buckets that it may be in: its home, and one other that follows from home and tag.
//! Most keys are at home. A bucket counts the keys that had to leave it, so that a search goes on
//! to the other bucket only if there is something to be found.

/// Slots in a bucket: ten tags and ten indices leave four octets of a cache line for bookkeeping.
pub(super) const SLOTS: usize = 10;

/// Ten slots of the flow table.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Bucket {
    tags: [u16; 8],
    more_tags: [u16; 2],
    /// How many keys whose home this is live in their other bucket.
    departed: u16,
    /// Slots, as bits, whose keys are not at home here.
    guests: u16,
    indices: [u32; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// Tag of a free slot.
const FREE: u16 = 0;

/// Where a key stands that is in one of its two buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Home,
    Guest,
}

impl Bucket {
    /// A bucket with ten free slots.
    pub const EMPTY: Self = Self {
        tags: [FREE; 8],
        more_tags: [FREE; 2],
        departed: 0,
        guests: 0,
        indices: [0; SLOTS],
    };

    /// The slots with this tag.
    #[inline]
    pub(super) fn matching(&self, tag: u16) -> Slots {
        let low = u16::from(weir_prefetch::match_tags(&self.tags, tag));
        let high = u16::from(self.more_tags[0] == tag) | u16::from(self.more_tags[1] == tag) << 1;
        Slots(low | high << 8)
    }

    /// The first slot with this tag. The last two slots are seldom in use, so they are looked at
    /// only if need be.
    #[inline(always)]
    pub(super) fn first(&self, tag: u16) -> Option<usize> {
        let low = weir_prefetch::match_tags(&self.tags, tag);
        if low != 0 {
            return Some(low.trailing_zeros() as usize);
        }
        let high = self.more_tags.iter().position(|more| *more == tag)?;
        Some(8 + high)
    }

    /// A free slot, if there is one.
    #[inline]
    pub(super) fn free(&self) -> Option<usize> {
        self.matching(FREE).next()
    }

    /// Whether some key that belongs here lives in its other bucket.
    #[inline]
    pub(super) const fn has_departed(&self) -> bool {
        self.departed != 0
    }

    /// Notes that a key that belongs here lives elsewhere; `false` if that cannot be counted.
    #[inline]
    pub(super) fn depart(&mut self) -> bool {
        // Only keys chosen with the secret in hand get near this many.
        self.departed = match self.departed.checked_add(1) {
            Some(count) => count,
            None => return false,
        };
        true
    }

    /// Takes back one [`Bucket::depart`].
    #[inline]
    pub(super) fn come_home(&mut self) {
        debug_assert!(self.departed != 0, "a key came home that never left");
        self.departed = self.departed.saturating_sub(1);
    }

    /// The entry index in a slot.
    #[inline]
    pub(super) const fn index(&self, slot: usize) -> u32 {
        self.indices[slot]
    }

    /// The tag in a slot.
    #[inline]
    pub(super) const fn tag(&self, slot: usize) -> u16 {
        if slot < 8 {
            self.tags[slot]
        } else {
            self.more_tags[slot - 8]
        }
    }

    /// Whether there is a key in a slot.
    #[inline]
    pub(super) const fn is_taken(&self, slot: usize) -> bool {
        self.tag(slot) != FREE
    }

    /// Whether the key in a slot is at home here.
    #[inline]
    pub(super) const fn standing(&self, slot: usize) -> Standing {
        if self.guests >> slot & 1 == 0 {
            Standing::Home
        } else {
            Standing::Guest
        }
    }

    /// Fills a slot.
    #[inline]
    pub(super) fn set(&mut self, slot: usize, tag: u16, index: u32, standing: Standing) {
        self.put_tag(slot, tag);
        self.indices[slot] = index;
        match standing {
            Standing::Home => self.guests &= !(1 << slot),
            Standing::Guest => self.guests |= 1 << slot,
        }
    }

    /// Frees a slot.
    #[inline]
    pub(super) fn clear(&mut self, slot: usize) {
        self.put_tag(slot, FREE);
        self.guests &= !(1 << slot);
    }

    #[inline]
    fn put_tag(&mut self, slot: usize, tag: u16) {
        match slot.checked_sub(8) {
            None => self.tags[slot] = tag,
            Some(slot) => self.more_tags[slot] = tag,
        }
    }
}

/// A set of slots, and the iterator over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slots(u16);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ten_slots_are_found_by_tag_and_as_free() {
        let mut bucket = Bucket::EMPTY;
        for slot in 0..SLOTS {
            assert_eq!(bucket.free(), Some(slot));
            bucket.set(slot, 7, 100, Standing::Home);
        }
        assert_eq!(bucket.free(), None);
        assert_eq!(
            bucket.matching(7).collect::<Vec<_>>(),
            (0..SLOTS).collect::<Vec<_>>()
        );
        assert_eq!(bucket.matching(8).next(), None);
        for slot in [0, 7, 8, 9] {
            bucket.set(slot, 9, 55, Standing::Guest);
            assert_eq!((bucket.tag(slot), bucket.index(slot)), (9, 55));
            assert_eq!(bucket.standing(slot), Standing::Guest);
            assert_eq!(bucket.matching(9).collect::<Vec<_>>(), [slot]);
            bucket.clear(slot);
            assert_eq!(bucket.free(), Some(slot));
            assert_eq!(bucket.standing(slot), Standing::Home);
            bucket.set(slot, 7, 0, Standing::Home);
        }
    }
}
