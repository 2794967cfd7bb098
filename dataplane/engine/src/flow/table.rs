//! The flow table of one worker: entries found through cache-line buckets.
//!
//! Capacity is fixed when the table is made and memory is handed in. Nothing here allocates, grows,
//! rehashes or takes longer than a constant: an insert looks at no more than its two buckets and
//! the other buckets of the keys in them. A flow whose replies come back through the director has
//! two keys and thus two slots, but one entry, and counts once.
//!
//! Measured before choosing (ARCHITECTURE, Flow table): a chained or open-addressed table without
//! batch prefetch costs four times as much at a million flows.

pub(super) mod batch;
pub(super) mod insert;
mod sweep;

use weir_wire::addr::{Address, L4Port};

use super::bucket::{Bucket, Standing};
use super::entry::{FlowEntry, FlowState, ReturnPath};
use super::key::{FlowHash, FlowKey, HashKey};
use super::tcp::{Seen, TcpEvent, TcpState, Timeouts};
use crate::id::{ServerId, ServiceId};
use crate::limits::HALF_OPEN_SHARE;
use crate::time::{Tick, Ticks, Time};

/// The end of the free list.
const NIL: u32 = u32::MAX;

/// The memory of a flow table, filled with [`Bucket::EMPTY`] and [`FlowEntry::EMPTY`].
#[derive(Debug)]
pub struct FlowMemory<A: Address> {
    /// As many as [`FlowMemory::required`] says first.
    pub buckets: &'static mut [Bucket],
    /// One per flow.
    pub entries: &'static mut [FlowEntry<A>],
}

impl<A: Address> FlowMemory<A> {
    /// Buckets and entries for `capacity` flows, all of which may be NAT flows.
    ///
    /// Two slots per flow at a load of 0.8 make a quarter as many buckets as flows: 80 octets per
    /// IPv4 flow and 144 per IPv6 flow. At least two buckets, so that keys have a choice.
    pub const fn required(capacity: usize) -> (usize, usize) {
        let buckets = capacity.div_ceil(4);
        (if buckets < 2 { 2 } else { buckets }, capacity)
    }

    /// Takes memory for `capacity` flows from the heap and never gives it back: for tests and
    /// benches. Workers use hugepages.
    pub fn leak_heap(capacity: usize) -> Self {
        let (buckets, entries) = Self::required(capacity);
        Self {
            buckets: Box::leak(vec![Bucket::EMPTY; buckets].into_boxed_slice()),
            entries: Box::leak(vec![FlowEntry::EMPTY; entries].into_boxed_slice()),
        }
    }
}

/// Which flow: the place of its entry, valid until the flow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct FlowIndex(u32);

impl FlowIndex {
    /// The number of the entry.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the VIP.
    Forward,
    /// From the server to the client.
    Reverse,
}

/// A hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The flow.
    pub index: FlowIndex,
    /// Which of its keys was found.
    pub direction: Direction,
}

/// A flow to be.
#[derive(Clone, Copy, Debug)]
pub struct NewFlow<A: Address> {
    /// Client and VIP.
    pub key: FlowKey<A>,
    /// The server's address.
    pub rip: A,
    /// The server's L4 port.
    pub server_port: L4Port,
    /// The server.
    pub server: ServerId,
    /// The service.
    pub service: ServiceId,
    /// Whether replies come back through the director.
    pub path: ReturnPath,
    /// See [`FlowState::first`].
    pub state: FlowState,
    /// How long the flow may be idle, see [`FlowState::timeout`].
    pub idle_max: Ticks,
}

/// What a packet of a known flow means to it.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// Which way it goes.
    pub direction: Direction,
    /// What it is to TCP; `None` for other protocols and for segments without a class.
    pub event: Option<TcpEvent>,
    /// Length of the IP packet.
    pub octets: u32,
}

/// States before and after a packet, for active and inactive counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub before: FlowState,
    /// The state after.
    pub after: FlowState,
}

/// Why a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// It was idle for too long.
    Expired,
    /// It was half open, or else closing, and a new flow needed its place (D60).
    Evicted,
    /// Its client's next packet, which is no SYN, began another flow in its place.
    Replaced,
    /// Its client's next SYN began another flow in its place: no answer had come.
    Retried,
}

/// What one step of [`FlowTable::expire`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireStep {
    /// Entries looked at.
    pub visited: usize,
    /// Flows that ended.
    pub expired: usize,
}

/// The flows of one worker and one address family.
#[derive(Debug)]
pub struct FlowTable<A: Address> {
    buckets: &'static mut [Bucket],
    entries: &'static mut [FlowEntry<A>],
    bucket_count: u32,
    hash_key: HashKey,
    /// The first free entry below `fresh`.
    free: u32,
    /// Entries from here on were never used.
    fresh: u32,
    len: u32,
    half_open: u32,
    /// Flows whose conversation is over or ending.
    closing: u32,
    /// Where the next look at the entries begins.
    sweep_at: u32,
    /// Flows entered so far. Wraps.
    entered: u32,
}

impl<A: Address> FlowTable<A> {
    /// Makes an empty table.
    ///
    /// # Panics
    /// At start-up only: if there is no bucket, or more than 2^31 buckets or entries.
    pub fn new(memory: FlowMemory<A>, hash_key: HashKey) -> Self {
        let FlowMemory { buckets, entries } = memory;
        assert!(!buckets.is_empty(), "a flow table needs a bucket");
        assert!(
            buckets.len() < 1 << 31 && entries.len() < 1 << 31,
            "flow indices are 32 bits"
        );
        #[expect(
            clippy::cast_possible_truncation,
            reason = "below 2^31, as just asserted"
        )]
        let bucket_count = buckets.len() as u32;
        Self {
            buckets,
            entries,
            bucket_count,
            hash_key,
            free: NIL,
            fresh: 0,
            len: 0,
            half_open: 0,
            closing: 0,
            sweep_at: 0,
            entered: 0,
        }
    }

    /// Flows in the table, a NAT flow counted once, expired ones until they are swept.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no flow.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Flows of which only the client's SYN has been seen.
    #[inline]
    pub const fn half_open(&self) -> usize {
        self.half_open as usize
    }

    /// Whether no flow fits unless another one ends.
    #[inline]
    pub const fn is_full(&self) -> bool {
        self.len as usize == self.entries.len()
    }

    /// Whether the table is full, and many of its flows are half open.
    #[inline]
    pub const fn is_flooded(&self) -> bool {
        let half_open = self.half_open as usize;
        self.is_full() && half_open > 0 && half_open >= self.entries.len() / HALF_OPEN_SHARE
    }

    /// Flows that fit.
    pub const fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Hashes a key, with this table's secret.
    #[inline]
    pub fn hash(&self, key: &FlowKey<A>) -> FlowHash {
        self.hash_key.hash(key)
    }

    /// The flow at `index`.
    ///
    /// # Panics
    /// If `index` is another table's. The index of a flow that has ended names a free entry or
    /// another flow.
    #[inline]
    pub fn entry(&self, index: FlowIndex) -> &FlowEntry<A> {
        &self.entries[index.0 as usize]
    }

    /// The live flow that `key` belongs to. Expired flows are not found.
    #[inline]
    pub fn lookup(&self, key: &FlowKey<A>, hash: FlowHash, now: Time) -> Option<Found> {
        self.find(key, hash)
            .filter(|found| !self.entry(found.index).is_expired(now.tick()))
    }

    /// Notes a packet: moves the state machine, restarts the timer, counts.
    ///
    /// A TCP segment without a class is counted but changes nothing.
    #[inline]
    pub fn touch(
        &mut self,
        index: FlowIndex,
        packet: Observed,
        timeouts: &Timeouts,
        now: Time,
    ) -> Change {
        let change = self.entries[index.0 as usize].note(packet, timeouts, now.tick());
        self.moved(change);
        change
    }

    /// Counts what [`FlowEntry::note`] has changed.
    #[inline(always)]
    pub(crate) fn moved(&mut self, Change { before, after }: Change) {
        if before != after {
            self.uncount(before);
            self.count(after);
        }
    }

    /// Counts a flow under its state.
    #[inline]
    fn count(&mut self, state: FlowState) {
        self.half_open += u32::from(state.is_half_open());
        self.closing += u32::from(state.is_closing());
    }

    /// Takes back one [`Self::count`].
    #[inline]
    fn uncount(&mut self, state: FlowState) {
        self.half_open -= u32::from(state.is_half_open());
        self.closing -= u32::from(state.is_closing());
    }

    /// Notes that the server of a flow has answered. Returns whether that is news.
    #[inline]
    pub fn answered(&mut self, index: FlowIndex) -> bool {
        let entry = &mut self.entries[index.0 as usize];
        core::mem::take(&mut entry.unanswered)
    }

    /// Ends a flow and returns what it was; `None` if there is no flow at `index`.
    pub fn remove(&mut self, index: FlowIndex) -> Option<FlowEntry<A>> {
        let entry = *self
            .entries
            .get(index.0 as usize)
            .filter(|entry| entry.used)?;
        self.release(index.0, &entry);
        Some(entry)
    }

    /// Shows live flows to `f`: those among the next `budget` entries from `cursor`, which begins
    /// at 0. Returns the next cursor, or `None` at the end. Flows that come and go meanwhile may be
    /// missed; none is shown twice.
    pub fn scan(
        &self,
        cursor: u32,
        budget: usize,
        now: Time,
        mut f: impl FnMut(FlowIndex, &FlowEntry<A>),
    ) -> Option<u32> {
        let budget = u32::try_from(budget).unwrap_or(u32::MAX);
        let end = cursor.saturating_add(budget).min(self.fresh);
        for index in cursor..end {
            let entry = &self.entries[index as usize];
            if entry.used && !entry.is_expired(now.tick()) {
                f(FlowIndex(index), entry);
            }
        }
        (end < self.fresh).then_some(end)
    }

    /// The other bucket of a key with this tag that may be in `bucket`. Its own inverse.
    #[inline]
    fn other(&self, bucket: u32, tag: u16) -> u32 {
        // Spread the tag over all buckets, then reflect: other = spread - bucket (mod count).
        let spread = u64::from(u32::from(tag).wrapping_mul(0x9e37_79b1));
        let spread = ((spread * u64::from(self.bucket_count)) >> 32) as u32;
        if spread >= bucket {
            spread - bucket
        } else {
            spread + self.bucket_count - bucket
        }
    }

    /// The flow that `key` belongs to, expired or not.
    #[inline]
    fn find(&self, key: &FlowKey<A>, hash: FlowHash) -> Option<Found> {
        let home = hash.home(self.bucket_count);
        let bucket = &self.buckets[home as usize];
        let found = self.find_in(bucket, key, hash.tag());
        if found.is_some() || !bucket.has_departed() {
            return found;
        }
        self.find_in(
            &self.buckets[self.other(home, hash.tag()) as usize],
            key,
            hash.tag(),
        )
    }

    #[inline]
    fn find_in(&self, bucket: &Bucket, key: &FlowKey<A>, tag: u16) -> Option<Found> {
        bucket.matching(tag).find_map(|slot| {
            let index = bucket.index(slot);
            let direction = self.entries[index as usize].direction_of(key)?;
            Some(Found {
                index: FlowIndex(index),
                direction,
            })
        })
    }

    /// Frees a flow's slots and entry.
    fn release(&mut self, index: u32, entry: &FlowEntry<A>) {
        let unlinked = self.unlink(self.hash(&entry.key()), index);
        debug_assert!(unlinked, "a used entry has a slot for its key");
        if let Some(reverse) = entry.reverse_key() {
            let unlinked = self.unlink(self.hash(&reverse), index);
            debug_assert!(unlinked, "a NAT entry has a slot for its reverse key");
        }
        self.uncount(entry.state);
        self.give_back(index);
    }

    /// Puts an entry without slots on the free list.
    fn give_back(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.used = false;
        entry.next_free = self.free;
        self.free = index;
        self.len -= 1;
    }

    /// Frees the slot of one key. `false`: there was none.
    fn unlink(&mut self, hash: FlowHash, index: u32) -> bool {
        let (home, tag) = (hash.home(self.bucket_count), hash.tag());
        if self.clear_slot(home, tag, index, Standing::Home) {
            return true;
        }
        let other = self.other(home, tag);
        if self.clear_slot(other, tag, index, Standing::Guest) {
            self.buckets[home as usize].come_home();
            return true;
        }
        false
    }

    fn clear_slot(&mut self, bucket: u32, tag: u16, index: u32, standing: Standing) -> bool {
        let bucket = &mut self.buckets[bucket as usize];
        let slot = bucket
            .matching(tag)
            .find(|&slot| bucket.index(slot) == index && bucket.standing(slot) == standing);
        slot.inspect(|&slot| bucket.clear(slot)).is_some()
    }
}

impl<A: Address> FlowEntry<A> {
    /// See [`FlowTable::touch`]; the table's own counts are left to [`FlowTable::moved`].
    #[inline(always)]
    pub(crate) fn note(&mut self, packet: Observed, timeouts: &Timeouts, now: Tick) -> Change {
        self.count(packet.octets);
        let before = self.state;
        let after = match (before, packet.event) {
            (FlowState::Udp, _) => before,
            (FlowState::Tcp(state), Some(event)) => {
                FlowState::Tcp(state.next(seen(self.path(), packet.direction), event))
            }
            (FlowState::Tcp(_), None) => {
                return Change {
                    before,
                    after: before,
                };
            }
        };
        self.expires = now + after.timeout(timeouts);
        if before != after {
            self.state = after;
            // A client that goes on has been answered.
            self.unanswered &= after.is_half_open();
        }
        Change { before, after }
    }

    /// Notes a packet in mid-conversation, if the flow's state is one that such a packet leaves as
    /// it is; it may then be idle for as long as that state may: established, or UDP's.
    #[inline(always)]
    pub(crate) fn go_on(&mut self, idle: (Ticks, Ticks), octets: u16, now: Tick) -> bool {
        let idle_max = match self.state {
            FlowState::Udp => idle.1,
            FlowState::Tcp(TcpState::Established) => idle.0,
            FlowState::Tcp(_) => return false,
        };
        self.count(u32::from(octets));
        self.expires = now + idle_max;
        true
    }

    #[inline(always)]
    fn count(&mut self, octets: u32) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(u64::from(octets));
    }
}

/// The row of the state table.
#[inline]
const fn seen(path: ReturnPath, direction: Direction) -> Seen {
    match (direction, path) {
        (Direction::Reverse, _) => Seen::Output,
        (Direction::Forward, ReturnPath::Through) => Seen::Input,
        (Direction::Forward, ReturnPath::Direct) => Seen::InputOnly,
    }
}

#[cfg(test)]
mod tests;
