//! Lookup of a whole burst in stages, so that memory latencies overlap.
//!
//! Each stage touches only what the stage before has asked the memory for: first all buckets, then
//! the entries that tags point to, then keys. A key that may have left home takes a stage of its
//! own between: its other bucket first. In a full table one NAT flow in twenty has, and if it were
//! looked for when its turn comes, the burst would wait for memory that often.
//! Callers that have other work for the burst between stages call them one by one.

use weir_prefetch::{prefetch_index, prefetch_whole};
use weir_wire::addr::Address;

use super::{Bucket, Direction, FlowEntry, FlowHash, FlowIndex, FlowKey, FlowTable, Found};
use crate::time::{Tick, Time};

/// Where a key may be found, by its tag: in the entry of this number, or else wherever a full
/// search finds it. No entry has the numbers below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Hint(u32);

impl Hint {
    /// Nowhere.
    pub const ABSENT: Self = Self(u32::MAX);
    /// Not at home, but keys have left home: within stage 2 only.
    pub(super) const ELSEWHERE: Self = Self(u32::MAX - 1);
}

/// A moment in a table's life: what was found absent then is so until the next flow is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u32);

impl<A: Address> FlowTable<A> {
    /// Now: taken after stage 2, before anything is entered.
    #[inline]
    pub const fn moment(&self) -> Moment {
        Moment(self.entered)
    }

    /// Whether a key with this hint, found at this moment, surely has no flow, nor an expired one.
    #[inline(always)]
    pub fn is_absent(&self, hint: Hint, moment: Moment) -> bool {
        hint == Hint::ABSENT && self.entered == moment.0
    }

    /// Stage 1: asks for the home bucket of a key.
    #[inline(always)]
    pub fn prefetch_bucket(&self, hash: FlowHash) {
        prefetch_index(self.buckets, hash.home(self.bucket_count) as usize);
    }

    /// Stage 2: compares tags and asks for what they point to, for all keys of a burst. `of` tells
    /// a key's hash and the place of its hint.
    #[inline(always)]
    pub fn find_hints<K>(&self, keys: &mut [K], of: impl Fn(&mut K) -> (FlowHash, &mut Hint)) {
        let mut left_home = false;
        for key in &mut *keys {
            let (hash, hint) = of(key);
            *hint = self.find_hint(hash);
            left_home |= *hint == Hint::ELSEWHERE;
        }
        if left_home {
            for (hash, hint) in keys.iter_mut().map(of) {
                if *hint == Hint::ELSEWHERE {
                    *hint = self.find_hint_elsewhere(hash);
                }
            }
        }
    }

    /// The first look: at home.
    #[inline(always)]
    pub(super) fn find_hint(&self, hash: FlowHash) -> Hint {
        let (home, tag) = (hash.home(self.bucket_count), hash.tag());
        let bucket = &self.buckets[home as usize];
        if let Some(slot) = bucket.first(tag) {
            self.hint_at(bucket, slot)
        } else if bucket.has_departed() {
            prefetch_index(self.buckets, self.other(home, tag) as usize);
            Hint::ELSEWHERE
        } else {
            Hint::ABSENT
        }
    }

    /// The second look, at keys with the hint [`Hint::ELSEWHERE`]: at their other bucket, which the
    /// first one has asked for.
    #[inline(never)]
    pub(super) fn find_hint_elsewhere(&self, hash: FlowHash) -> Hint {
        let (home, tag) = (hash.home(self.bucket_count), hash.tag());
        let bucket = &self.buckets[self.other(home, tag) as usize];
        let slot = bucket.first(tag);
        slot.map_or(Hint::ABSENT, |slot| self.hint_at(bucket, slot))
    }

    #[inline(always)]
    fn hint_at(&self, bucket: &Bucket, slot: usize) -> Hint {
        let index = bucket.index(slot);
        prefetch_whole(self.entries, index as usize);
        Hint(index)
    }

    /// Stage 3: compares the key. A live flow, as [`FlowTable::lookup`] would find it.
    ///
    /// The table may have changed since stage 2: a flow that was inserted for an earlier packet of
    /// the burst is not found by an absent hint. Look such a key up before inserting it.
    #[inline(always)]
    pub fn confirm(
        &self,
        key: &FlowKey<A>,
        hash: FlowHash,
        hint: Hint,
        now: Time,
    ) -> Option<Found> {
        let entry = self.entries.get(hint.0 as usize)?;
        match entry.direction_of(key) {
            Some(direction) if entry.is_live(now.tick()) => Some(Found {
                index: FlowIndex(hint.0),
                direction,
            }),
            Some(Direction::Forward | Direction::Reverse) | None => self.search(key, hash, now),
        }
    }

    /// The flow itself, if it is live and where its hint says, which most are.
    #[inline(always)]
    pub(crate) fn live_mut(
        &mut self,
        hint: Hint,
        key: &FlowKey<A>,
        direction: Direction,
        now: Tick,
    ) -> Option<&mut FlowEntry<A>> {
        let entry = self.entries.get_mut(hint.0 as usize)?;
        (entry.is(key, direction) && entry.is_live(now)).then_some(entry)
    }

    /// The same as [`Self::confirm`], with the flow itself: to be changed by [`FlowEntry::note`]
    /// alone, and what that returns is to be passed to [`FlowTable::moved`].
    #[inline(always)]
    pub(crate) fn confirm_mut(
        &mut self,
        key: &FlowKey<A>,
        hash: FlowHash,
        hint: Hint,
        now: Time,
    ) -> Option<(&mut FlowEntry<A>, Direction)> {
        let Found { index, direction } = self.confirm(key, hash, hint, now)?;
        Some((&mut self.entries[index.0 as usize], direction))
    }

    /// What few keys need: kept out of the way of the others.
    #[inline(never)]
    fn search(&self, key: &FlowKey<A>, hash: FlowHash, now: Time) -> Option<Found> {
        self.lookup(key, hash, now)
    }

    /// All stages for up to 64 keys. Slices are of one length; the shortest counts.
    pub fn lookup_batch(&self, keys: &[FlowKey<A>], now: Time, found: &mut [Option<Found>]) {
        const BATCH_MAX: usize = 64;
        for (keys, found) in keys.chunks(BATCH_MAX).zip(found.chunks_mut(BATCH_MAX)) {
            let mut stages = [(FlowHash::default(), Hint::ABSENT); BATCH_MAX];
            let stages = &mut stages[..keys.len()];
            for ((hash, _), key) in stages.iter_mut().zip(keys) {
                *hash = self.hash(key);
                self.prefetch_bucket(*hash);
            }
            self.find_hints(stages, |(hash, hint)| (*hash, hint));
            for ((key, &mut (hash, hint)), found) in keys.iter().zip(stages).zip(found) {
                *found = self.confirm(key, hash, hint, now);
            }
        }
    }
}
