//! Putting a flow into the table: bounded, and never at the expense of an established flow.
//!
//! A key goes to its home bucket, else to its other bucket, else some key of either moves to its
//! own other bucket if that has room. One move is all: at the load that
//! [`FlowMemory::required`](super::FlowMemory::required) sizes for, it is enough up to the last
//! entry, and its worst case is known. When entries or slots have run out, an expired flow is
//! replaced, else a half-open one, else one that is closing (D60); else the insert is refused, and
//! the pipeline forwards without state.

use weir_prefetch::prefetch_index;
use weir_wire::addr::Address;

use super::sweep::Rank;
use super::{Ended, FlowEntry, FlowIndex, FlowTable, Found, NIL, NewFlow};
use crate::flow::bucket::{SLOTS, Standing};
use crate::flow::key::{FlowHash, FlowKey};
use crate::time::{Tick, Time};

/// Why a flow was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// A live flow has this client and VIP.
    Exists(FlowIndex),
    /// A live flow has the same client and server: its replies could not be told apart. Happens
    /// where one server port serves two VIPs.
    ReverseTaken(FlowIndex),
    /// No room, and nothing that may be evicted.
    Full,
}

impl<A: Address> FlowTable<A> {
    /// Inserts a flow. Flows that had to end for it, or were found expired in its place, are passed
    /// to `ended`.
    ///
    /// # Errors
    /// See [`InsertError`]. The table is then unchanged but for what `ended` was told.
    pub fn insert(
        &mut self,
        flow: &NewFlow<A>,
        now: Time,
        ended: &mut impl FnMut(&FlowEntry<A>, Ended),
    ) -> Result<FlowIndex, InsertError> {
        let hash = self.hash(&flow.key);
        match self.find_or_clear(&flow.key, hash, now, ended) {
            Some(found) => Err(InsertError::Exists(found.index)),
            None => self.enter(flow, hash, now, ended),
        }
    }

    /// The live flow that a key belongs to. An expired one ends, which is passed to `ended`, so
    /// that [`Self::enter`] may follow where there is none.
    #[inline]
    pub fn find_or_clear(
        &mut self,
        key: &FlowKey<A>,
        hash: FlowHash,
        now: Time,
        ended: &mut impl FnMut(&FlowEntry<A>, Ended),
    ) -> Option<Found> {
        let found = self.find(key, hash)?;
        if self.entry(found.index).is_live(now.tick()) {
            return Some(found);
        }
        self.clear_the_way(&(*key, hash), now.tick(), ended)
    }

    /// Inserts a flow whose key, which has this hash, is known to be free: see
    /// [`Self::find_or_clear`].
    ///
    /// # Errors
    /// As those of [`Self::insert`].
    pub fn enter(
        &mut self,
        flow: &NewFlow<A>,
        hash: FlowHash,
        now: Time,
        ended: &mut impl FnMut(&FlowEntry<A>, Ended),
    ) -> Result<FlowIndex, InsertError> {
        let now = now.tick();
        let entry = FlowEntry::new(flow, now);
        let reverse = entry.reverse_key().map(|key| (key, self.hash(&key)));
        if let Some(reverse) = &reverse
            && let Some(found) = self.clear_the_way(reverse, now, ended)
        {
            return Err(InsertError::ReverseTaken(found.index));
        }

        let home = hash.home(self.bucket_count);
        let index = self
            .take_entry()
            .or_else(|| self.make_entry(home, now, ended))
            .ok_or(InsertError::Full)?;
        self.entries[index as usize] = entry;
        if !self.place_or_evict(hash, index, now, ended) {
            self.give_back(index);
            return Err(InsertError::Full);
        }
        if let Some((_, reverse)) = reverse
            && !self.place_or_evict(reverse, index, now, ended)
        {
            self.unlink(hash, index);
            self.give_back(index);
            return Err(InsertError::Full);
        }
        self.count(entry.state);
        self.entered = self.entered.wrapping_add(1);
        Ok(FlowIndex(index))
    }

    /// Ends an expired flow that has this key; returns a live one.
    fn clear_the_way(
        &mut self,
        (key, hash): &(FlowKey<A>, FlowHash),
        now: Tick,
        ended: &mut impl FnMut(&FlowEntry<A>, Ended),
    ) -> Option<Found> {
        let found = self.find(key, *hash)?;
        let entry = *self.entry(found.index);
        if !entry.is_expired(now) {
            return Some(found);
        }
        self.release(found.index.0, &entry);
        ended(&entry, Ended::Expired);
        // Another flow may have the key in its other direction.
        self.clear_the_way(&(*key, *hash), now, ended)
    }

    /// Takes an entry from the free list, or one that was never used.
    fn take_entry(&mut self) -> Option<u32> {
        let index = if self.free != NIL {
            let index = self.free;
            self.free = self.entries[index as usize].next_free;
            index
        } else if (self.fresh as usize) < self.entries.len() {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return None;
        };
        self.len += 1;
        Some(index)
    }

    /// Ends a flow for its entry: one that the hand meets within a few steps, else one of the
    /// bucket of the new flow.
    ///
    /// The hand costs a fraction of looking at the flows of a bucket, which lie scattered. A flood
    /// that meets none but established flows pays no more than that.
    fn make_entry(
        &mut self,
        home: u32,
        now: Tick,
        ended: &mut impl FnMut(&FlowEntry<A>, Ended),
    ) -> Option<u32> {
        let yielding = self.half_open + self.closing > 0;
        let made = self.make_room(now, ended) || yielding && self.evict_from(home, NIL, now, ended);
        if made { self.take_entry() } else { None }
    }

    fn place_or_evict(
        &mut self,
        hash: FlowHash,
        index: u32,
        now: Tick,
        ended: &mut impl FnMut(&FlowEntry<A>, Ended),
    ) -> bool {
        self.place(hash, index)
            || self.evict_from(hash.home(self.bucket_count), index, now, ended)
                && self.place(hash, index)
    }

    /// Gives a key a slot: at home, in its other bucket, or where one other key makes room.
    pub(super) fn place(&mut self, hash: FlowHash, index: u32) -> bool {
        let (home, tag) = (hash.home(self.bucket_count), hash.tag());
        if let Some(slot) = self.buckets[home as usize].free() {
            self.buckets[home as usize].set(slot, tag, index, Standing::Home);
            return true;
        }
        let other = self.other(home, tag);
        if other == home {
            let made = self.move_one(home);
            return made.is_some_and(|slot| {
                self.buckets[home as usize].set(slot, tag, index, Standing::Home);
                true
            });
        }
        if let Some(slot) = self.buckets[other as usize].free() {
            return self.settle_as_guest(home, other, slot, tag, index);
        }
        if let Some(slot) = self.move_one(home) {
            self.buckets[home as usize].set(slot, tag, index, Standing::Home);
            return true;
        }
        match self.move_one(other) {
            Some(slot) => self.settle_as_guest(home, other, slot, tag, index),
            None => false,
        }
    }

    fn settle_as_guest(&mut self, home: u32, host: u32, slot: usize, tag: u16, index: u32) -> bool {
        if !self.buckets[home as usize].depart() {
            return false;
        }
        self.buckets[host as usize].set(slot, tag, index, Standing::Guest);
        true
    }

    /// Moves one key of a full bucket to its other bucket and returns the slot that it left.
    fn move_one(&mut self, bucket: u32) -> Option<usize> {
        for slot in 0..SLOTS {
            let full = self.buckets[bucket as usize];
            let (tag, index) = (full.tag(slot), full.index(slot));
            let target = self.other(bucket, tag);
            if target == bucket {
                continue;
            }
            let Some(target_slot) = self.buckets[target as usize].free() else {
                continue;
            };
            let moved = match full.standing(slot) {
                Standing::Home => self.settle_as_guest(bucket, target, target_slot, tag, index),
                Standing::Guest => {
                    let home = &mut self.buckets[target as usize];
                    home.come_home();
                    home.set(target_slot, tag, index, Standing::Home);
                    true
                }
            };
            if moved {
                self.buckets[bucket as usize].clear(slot);
                return Some(slot);
            }
        }
        None
    }

    /// Ends one flow of a bucket: an expired one, else the half-open one that is oldest, else the
    /// oldest one that is closing; never `keep`. `false`: all are to stay.
    fn evict_from(
        &mut self,
        bucket: u32,
        keep: u32,
        now: Tick,
        ended: &mut impl FnMut(&FlowEntry<A>, Ended),
    ) -> bool {
        let line = self.buckets[bucket as usize];
        let taken = (0..SLOTS).filter(|&slot| line.is_taken(slot));
        // Ten scattered lines, asked for together: halves the cost of an insert into a full table.
        for slot in taken.clone() {
            prefetch_index(self.entries, line.index(slot) as usize);
        }
        let mut victim: Option<(u32, Rank)> = None;
        for slot in taken {
            let index = line.index(slot);
            let entry = &self.entries[index as usize];
            let rank = Rank::of(entry, now).filter(|_| index != keep);
            let Some(rank) = rank else { continue };
            let better = victim.is_none_or(|(other, best)| {
                let older = entry
                    .created()
                    .is_before(self.entries[other as usize].created());
                rank < best || rank == best && older
            });
            if better {
                victim = Some((index, rank));
            }
        }
        let Some((index, rank)) = victim else {
            return false;
        };
        let entry = self.entries[index as usize];
        self.release(index, &entry);
        ended(&entry, rank.why());
        true
    }
}
