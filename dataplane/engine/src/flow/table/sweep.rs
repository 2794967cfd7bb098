//! The hand that goes round over the entries, a few steps at a time: it ends what has expired, and
//! when the table is full it finds the flow that is to make room.
//!
//! Entries are read one after the other, which the memory is good at. What the hand ends has its
//! slot in a bucket anywhere, so it looks ahead and asks for those buckets in time.

use weir_prefetch::prefetch_index;
use weir_wire::addr::Address;

use super::{Ended, ExpireStep, FlowEntry, FlowTable};
use crate::limits::{FLOWS_SWEPT_FOR_ROOM, FLOWS_SWEPT_WHEN_FULL};
use crate::time::{Tick, Time};

/// How many entries ahead of the hand the buckets are asked for; the entries themselves come twice
/// as early.
const AHEAD: u32 = 8;

impl<A: Address> FlowTable<A> {
    /// Looks at the next `budget` entries and ends the expired flows among them, each of which is
    /// passed to `ended`. Call once per loop; a sequential read of `budget` lines.
    pub fn expire(
        &mut self,
        now: Time,
        budget: usize,
        ended: &mut impl FnMut(&FlowEntry<A>),
    ) -> ExpireStep {
        let now = now.tick();
        let mut step = ExpireStep::default();
        while step.visited < budget.min(self.fresh as usize) {
            let index = self.advance(|entry| entry.is_expired(now));
            let entry = &self.entries[index as usize];
            if entry.used && entry.is_expired(now) {
                self.end(index, ended);
                step.expired += 1;
            }
            step.visited += 1;
        }
        step
    }

    /// Ends a flow of a full table: the next that has expired or is half open, else one that is
    /// closing. `false`: there is none within a few steps.
    ///
    /// Entries are used again in the hand's order, so what it meets first is about the oldest. To
    /// meet none but established flows costs little, as long as there are no others.
    pub(super) fn make_room(
        &mut self,
        now: Tick,
        ended: &mut impl FnMut(&FlowEntry<A>, Ended),
    ) -> bool {
        let yielding = self.half_open + self.closing;
        let steps = match yielding {
            0 => FLOWS_SWEPT_WHEN_FULL,
            _ => FLOWS_SWEPT_FOR_ROOM,
        };
        let mut closing = None;
        for step in 0..steps.min(self.fresh as usize) {
            let index = self.advance(|entry| Rank::of(entry, now).is_some());
            let entry = &self.entries[index as usize];
            match Rank::of(entry, now).filter(|_| entry.used) {
                Some(rank @ (Rank::Expired | Rank::HalfOpen)) => {
                    self.end(index, &mut |entry| ended(entry, rank.why()));
                    return true;
                }
                Some(Rank::Closing) => closing = closing.or(Some(index)),
                None => {}
            }
            if closing.is_some() && (self.half_open == 0 || step >= FLOWS_SWEPT_WHEN_FULL) {
                break;
            }
        }
        closing.is_some_and(|index| {
            self.end(index, &mut |entry| ended(entry, Rank::Closing.why()));
            true
        })
    }

    /// Moves the hand, and returns the entry that it was at. Asks for what it will need soon: the
    /// buckets of entries that `ends` says will be ended.
    #[inline]
    fn advance(&mut self, ends: impl Fn(&FlowEntry<A>) -> bool) -> u32 {
        if self.sweep_at >= self.fresh {
            self.sweep_at = 0;
        }
        let index = self.sweep_at;
        self.sweep_at += 1;
        let ahead = (index + AHEAD) as usize;
        prefetch_index(self.entries, ahead + AHEAD as usize);
        if let Some(entry) = self.entries.get(ahead)
            && entry.used
            && ends(entry)
        {
            let home = self.hash(&entry.key()).home(self.bucket_count);
            prefetch_index(self.buckets, home as usize);
        }
        index
    }

    /// Ends the flow of a used entry.
    fn end(&mut self, index: u32, ended: &mut impl FnMut(&FlowEntry<A>)) {
        let entry = self.entries[index as usize];
        self.release(index, &entry);
        ended(&entry);
    }
}

/// Who makes room first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Expired,
    HalfOpen,
    Closing,
}

impl Rank {
    /// `None`: the flow stays.
    #[inline]
    pub(super) fn of<A: Address>(entry: &FlowEntry<A>, now: Tick) -> Option<Self> {
        if entry.is_expired(now) {
            Some(Self::Expired)
        } else if entry.state.is_half_open() {
            Some(Self::HalfOpen)
        } else {
            entry.state.is_closing().then_some(Self::Closing)
        }
    }

    /// What becomes of the flow.
    pub(super) const fn why(self) -> Ended {
        match self {
            Self::Expired => Ended::Expired,
            Self::HalfOpen | Self::Closing => Ended::Evicted,
        }
    }
}
