//! Up to [`BURST_MAX`] owned frames, in the layout that DPDK's burst functions take.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::{ptr, slice};

use dpdk_sys as sys;

use crate::mbuf::Mbuf;

/// Most frames in one burst. More would not be faster: 64 frames' headers fill a tenth of L1.
pub const BURST_MAX: usize = 64;

/// A fixed array of owned frames. Derefs to `[Mbuf]`.
///
/// # Invariants
/// The first `len` slots hold frames, and `len <= BURST_MAX`.
pub struct Burst {
    slots: [MaybeUninit<Mbuf>; BURST_MAX],
    len: usize,
}

impl Burst {
    /// An empty burst.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: [const { MaybeUninit::uninit() }; BURST_MAX],
            len: 0,
        }
    }

    /// The frames.
    #[inline(always)]
    #[must_use]
    pub fn as_slice(&self) -> &[Mbuf] {
        // SAFETY: the first `len` slots are initialised, and MaybeUninit has Mbuf's layout.
        unsafe { slice::from_raw_parts(self.slots.as_ptr().cast(), self.len) }
    }

    /// The frames, for writing; they can be swapped, but none can be taken out.
    #[inline(always)]
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [Mbuf] {
        // SAFETY: as in `as_slice`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast(), self.len) }
    }

    /// Frames that still fit.
    #[inline(always)]
    #[must_use]
    pub const fn room(&self) -> usize {
        BURST_MAX - self.len
    }

    /// Adds a frame at the end.
    ///
    /// # Errors
    /// The frame itself, if the burst is full.
    #[inline(always)]
    pub fn push(&mut self, frame: Mbuf) -> Result<(), Mbuf> {
        match self.slots.get_mut(self.len) {
            Some(slot) => {
                slot.write(frame);
                self.len += 1;
                Ok(())
            }
            None => Err(frame),
        }
    }

    /// Takes the last frame.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Mbuf> {
        let last = self.len.checked_sub(1)?;
        self.len = last;
        // SAFETY: slot `last` held a frame, and is out of the burst since `len` went down.
        Some(unsafe { self.slots[last].assume_init_read() })
    }

    /// Takes frame `index`; the last one takes its place.
    #[inline(always)]
    pub fn swap_remove(&mut self, index: usize) -> Option<Mbuf> {
        let last = self.len.checked_sub(1).filter(|&last| index <= last)?;
        self.slots.swap(index, last);
        self.pop()
    }

    /// Takes all frames, in order. What the iterator does not yield, it frees.
    #[inline(always)]
    pub fn drain(&mut self) -> Drain<'_> {
        let end = self.len;
        // Should the iterator be leaked, its frames leak with it, and none is freed twice.
        self.len = 0;
        Drain {
            burst: self,
            next: 0,
            end,
        }
    }

    /// Frees all frames at once.
    #[inline]
    pub fn clear(&mut self) {
        let count = self.len;
        self.len = 0;
        self.free(0, count);
    }

    /// Frees slots `from..to`, which must hold frames that `len` does not count any more.
    fn free(&mut self, from: usize, to: usize) {
        // Lossless: at most BURST_MAX.
        let count = u32::try_from(to - from).unwrap_or(0);
        if count == 0 {
            return;
        }
        let first = self.slots[from..to].as_mut_ptr();
        // SAFETY: these are `count` pointers to frames that we own (Mbuf is a transparent
        // pointer), and nothing uses the slots again before they are written.
        unsafe { sys::rte_pktmbuf_free_bulk(first.cast(), count) };
    }

    /// The free slots as DPDK wants them.
    #[inline(always)]
    pub(crate) fn spare(&mut self) -> (*mut *mut sys::rte_mbuf, u16) {
        let room = self.room();
        let first = self.slots[self.len..].as_mut_ptr();
        (first.cast(), u16::try_from(room).unwrap_or(0))
    }

    /// Counts `added` more frames.
    ///
    /// # Safety
    /// The `added` slots after the last frame must have been written with frames given to us.
    #[inline(always)]
    pub(crate) unsafe fn grow(&mut self, added: u16) {
        self.len += usize::from(added);
        debug_assert!(
            self.len <= BURST_MAX,
            "a driver returned more than it was asked for"
        );
    }

    /// The first `count` frames as DPDK wants them.
    #[inline(always)]
    pub(crate) fn front(&mut self, count: usize) -> (*mut *mut sys::rte_mbuf, u16) {
        let count = count.min(self.len);
        (
            self.slots.as_mut_ptr().cast(),
            u16::try_from(count).unwrap_or(0),
        )
    }

    /// Forgets the first `count` frames and moves the others up.
    ///
    /// # Safety
    /// Those frames must have been given away.
    #[inline(always)]
    pub(crate) unsafe fn forget_front(&mut self, count: u16) {
        let count = usize::from(count).min(self.len);
        let left = self.len - count;
        if left > 0 {
            let from = self.slots[count..].as_ptr();
            // SAFETY: both ranges lie within the array, and `copy` allows them to overlap. The
            // slots that are left behind are not counted by `len`.
            unsafe { ptr::copy(from, self.slots.as_mut_ptr(), left) };
        }
        self.len = left;
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Deref for Burst {
    type Target = [Mbuf];

    #[inline(always)]
    fn deref(&self) -> &[Mbuf] {
        self.as_slice()
    }
}

impl DerefMut for Burst {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [Mbuf] {
        self.as_mut_slice()
    }
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Takes the frames of a [`Burst`], in order.
///
/// # Invariants
/// Slots `next..end` of `burst` hold frames, and `burst.len` is 0.
#[derive(Debug)]
pub struct Drain<'a> {
    burst: &'a mut Burst,
    next: usize,
    end: usize,
}

impl Iterator for Drain<'_> {
    type Item = Mbuf;

    #[inline(always)]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.end {
            return None;
        }
        let slot = &self.burst.slots[self.next];
        self.next += 1;
        // SAFETY: the slot holds a frame, and `next` has moved past it.
        Some(unsafe { slot.assume_init_read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        let (from, to) = (self.next, self.end);
        self.burst.free(from, to);
    }
}
