//! An owned frame, in one segment or several.
//!
//! Room before the data lets headers grow (`prepend`) without a copy; `pull` makes headers
//! contiguous, so that a parser needs one slice. Nothing here allocates.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::slice;

use dpdk_sys as sys;

use crate::segment::Segment;

/// A frame that this value owns: dropping it returns all segments to their pool.
///
/// # Invariants
/// Points to the first segment of a chain that nobody else refers to: reference counts are 1,
/// `nb_segs` and `pkt_len` describe the chain, and each segment's data lies within its buffer.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: the chain has one owner, and pools accept frees from any thread: their default
// operations are multi-producer, and a thread without an lcore id has no cache to race for.
unsafe impl Send for Mbuf {}
// SAFETY: `&Mbuf` only reads; everything that writes takes `&mut self` or `self`.
unsafe impl Sync for Mbuf {}

/// What the device says about a received checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumVerdict {
    /// Not looked at.
    Unknown,
    /// Verified.
    Good,
    /// Wrong.
    Bad,
}

impl Mbuf {
    /// # Safety
    /// `mbuf` must uphold the invariants, and the caller gives up its ownership.
    #[inline(always)]
    pub(crate) const unsafe fn from_raw(mbuf: NonNull<sys::rte_mbuf>) -> Self {
        Self(mbuf)
    }

    /// Gives up ownership without freeing.
    #[inline(always)]
    pub(crate) fn into_raw(self) -> NonNull<sys::rte_mbuf> {
        ManuallyDrop::new(self).0
    }

    #[inline(always)]
    fn head(&self) -> Segment {
        // SAFETY: the first segment is a live mbuf that `self` owns; the callers in this file
        // write through it only where they hold `&mut self`.
        let head = unsafe { Segment::new(self.0) };
        debug_assert_eq!(head.refcnt(), 1, "a shared mbuf would alias");
        head
    }

    fn segments(&self) -> impl Iterator<Item = Segment> {
        std::iter::successors(Some(self.head()), |segment| segment.next())
    }

    /// Octets in all segments.
    #[inline(always)]
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "an empty frame never occurs on a wire"
    )]
    pub fn len(&self) -> usize {
        self.head().pkt_len() as usize
    }

    /// Number of segments, at least 1.
    #[inline(always)]
    #[must_use]
    pub fn segment_count(&self) -> usize {
        usize::from(self.head().nb_segs())
    }

    /// The first segment's octets: all of the frame if [`segment_count`](Self::segment_count)
    /// is 1.
    #[inline(always)]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        let head = self.head();
        // SAFETY: the invariant keeps data within the buffer, the buffer lives as long as the
        // mbuf, and pool memory was initialised by the kernel when it was mapped.
        unsafe { slice::from_raw_parts(head.data_ptr(), usize::from(head.data_len())) }
    }

    /// The first segment's octets, for writing.
    #[inline(always)]
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let head = self.head();
        // SAFETY: as in `data`; the frame has one owner, borrowed mutably here.
        unsafe { slice::from_raw_parts_mut(head.data_ptr(), usize::from(head.data_len())) }
    }

    /// The octets of each segment, in order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.segments().map(|segment| {
            let len = usize::from(segment.data_len());
            // SAFETY: as in `data`, for each segment of the chain.
            unsafe { slice::from_raw_parts(segment.data_ptr(), len) }
        })
    }

    /// Free octets before the first segment's data.
    #[inline(always)]
    #[must_use]
    pub fn headroom(&self) -> usize {
        usize::from(self.head().headroom())
    }

    /// Free octets after the first segment's data.
    #[inline(always)]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        usize::from(self.head().tailroom())
    }

    /// Grows the frame by `len` octets at its front and returns them, their content unspecified.
    ///
    /// `None`, and no change, if the headroom is too small.
    #[inline]
    pub fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        let head = self.head();
        let added = u16::try_from(len).ok()?;
        let data_off = head.data_off().checked_sub(added)?;
        let data_len = head.data_len().checked_add(added)?;
        let pkt_len = head.pkt_len().checked_add(u32::from(added))?;
        head.set_data_off(data_off);
        head.set_data_len(data_len);
        head.set_pkt_len(pkt_len);
        // The new octets are the first of the data, which now starts `len` earlier.
        self.data_mut().get_mut(..len)
    }

    /// Grows a frame by `len` octets at its end and returns them, their content unspecified.
    ///
    /// `None`, and no change, if the last segment's tailroom is too small.
    pub fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        let head = self.head();
        let last = self.segments().last().unwrap_or(head);
        let added = u16::try_from(len)
            .ok()
            .filter(|&added| added <= last.tailroom())?;
        let pkt_len = head.pkt_len().checked_add(u32::from(added))?;
        let end = last.data_ptr().wrapping_add(usize::from(last.data_len()));
        // No overflow: data_len + tailroom is at most buf_len.
        last.set_data_len(last.data_len() + added);
        head.set_pkt_len(pkt_len);
        // SAFETY: `len` octets of tailroom follow the old end, in memory that is initialised as
        // in `data`; the frame is borrowed mutably.
        Some(unsafe { slice::from_raw_parts_mut(end, len) })
    }

    /// Removes `len` octets from the front. False, and no change, if the first segment has
    /// fewer; [`pull`](Self::pull) them first.
    #[inline]
    #[must_use]
    pub fn trim_front(&mut self, len: usize) -> bool {
        let head = self.head();
        let Some(removed) = u16::try_from(len)
            .ok()
            .filter(|&removed| removed <= head.data_len())
        else {
            return false;
        };
        // No overflow: data_off + data_len is at most buf_len, pkt_len at least data_len.
        head.set_data_off(head.data_off() + removed);
        head.set_data_len(head.data_len() - removed);
        head.set_pkt_len(head.pkt_len() - u32::from(removed));
        true
    }

    /// Cuts the frame to its first `len` octets; segments without any are freed. A frame that
    /// is no longer than that stays as it is.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        let head = self.head();
        let Ok(len) = u32::try_from(len) else { return };
        if len >= head.pkt_len() {
            return;
        }
        if head.nb_segs() == 1 {
            // Lossless: len < pkt_len == data_len.
            head.set_data_len(u16::try_from(len).unwrap_or(u16::MAX));
        } else {
            self.truncate_chain(len);
        }
        head.set_pkt_len(len);
    }

    fn truncate_chain(&mut self, len: u32) {
        let head = self.head();
        let (mut last, mut kept, mut left) = (head, 1_u16, len);
        while left > u32::from(last.data_len()) {
            let Some(next) = last.next() else { return };
            left -= u32::from(last.data_len());
            (last, kept) = (next, kept.saturating_add(1));
        }
        // Lossless: the loop ended with left <= data_len.
        last.set_data_len(u16::try_from(left).unwrap_or(u16::MAX));
        let rest = last.next();
        last.set_next_ptr(std::ptr::null_mut());
        head.set_nb_segs(kept);
        free_chain(rest);
    }

    /// Makes the first `len` octets contiguous, so that [`data`](Self::data) has at least `len`.
    ///
    /// Copies from later segments into the first one's tailroom, and frees those it empties.
    /// False, and no change, if the frame is shorter or the tailroom too small.
    #[inline]
    #[must_use]
    pub fn pull(&mut self, len: usize) -> bool {
        usize::from(self.head().data_len()) >= len || self.pull_from_chain(len)
    }

    #[cold]
    fn pull_from_chain(&mut self, len: usize) -> bool {
        let head = self.head();
        let missing = len - usize::from(head.data_len());
        if len > self.len() || missing > usize::from(head.tailroom()) {
            return false;
        }
        // Lossless: `missing` is at most the tailroom, a u16.
        let mut missing = u16::try_from(missing).unwrap_or(u16::MAX);
        while missing > 0 {
            let Some(next) = head.next() else {
                return false;
            };
            let moved = missing.min(next.data_len());
            let to = head.data_ptr().wrapping_add(usize::from(head.data_len()));
            // SAFETY: `moved` octets of tailroom follow `to`, `next` has as many, and two
            // segments never share a buffer.
            unsafe {
                next.data_ptr()
                    .copy_to_nonoverlapping(to, usize::from(moved))
            };
            head.set_data_len(head.data_len() + moved);
            next.set_data_off(next.data_off() + moved);
            next.set_data_len(next.data_len() - moved);
            missing -= moved;
            if next.data_len() == 0 {
                head.set_next_ptr(next.next_ptr());
                head.set_nb_segs(head.nb_segs() - 1);
                next.set_next_ptr(std::ptr::null_mut());
                // SAFETY: `next` has just been unlinked, and is not used again.
                unsafe { next.free() };
            }
        }
        true
    }

    /// Makes the frame one segment. False, and no change, if it does not fit the first one.
    #[inline]
    #[must_use]
    pub fn linearize(&mut self) -> bool {
        // Empty segments at the end survive a pull of the length; truncating cannot see them.
        if self.segment_count() == 1 {
            return true;
        }
        let len = self.len();
        if !self.pull(len) {
            return false;
        }
        let head = self.head();
        let rest = head.next();
        head.set_next_ptr(std::ptr::null_mut());
        head.set_nb_segs(1);
        free_chain(rest);
        true
    }

    /// Appends the segments of `tail`. Gives it back if the chain would get too long.
    ///
    /// # Errors
    /// `tail` itself, if the sum of lengths or of segments overflows their fields.
    pub fn chain(&mut self, tail: Self) -> Result<(), Self> {
        let (head, other) = (self.head(), tail.head());
        let lens = head.pkt_len().checked_add(other.pkt_len());
        let counts = head.nb_segs().checked_add(other.nb_segs());
        let (Some(pkt_len), Some(nb_segs)) = (lens, counts) else {
            return Err(tail);
        };
        let last = self.segments().last().unwrap_or(head);
        last.set_next_ptr(tail.into_raw().as_ptr());
        head.set_pkt_len(pkt_len);
        head.set_nb_segs(nb_segs);
        Ok(())
    }

    /// Replaces the frame's content by `bytes`, in one segment with the headroom that it has.
    ///
    /// False if they do not fit; the content is unspecified then.
    #[must_use]
    pub fn copy_from(&mut self, bytes: &[u8]) -> bool {
        self.truncate(0);
        match self.append(bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Copies the frame into `buffer` and returns how many octets: the shorter of both.
    pub fn copy_to(&self, buffer: &mut [u8]) -> usize {
        let mut copied = 0;
        for bytes in self.slices() {
            let Some(room) = buffer.get_mut(copied..) else {
                break;
            };
            let len = bytes.len().min(room.len());
            let (room, _) = room.split_at_mut(len);
            room.copy_from_slice(&bytes[..len]);
            copied += len;
        }
        copied
    }

    /// Fills `out` with octets from `offset` on, over segments. False if the frame ends before;
    /// `out` is unspecified then.
    #[must_use]
    pub fn copy_out(&self, offset: usize, out: &mut [u8]) -> bool {
        let (mut skip, mut filled) = (offset, 0);
        for bytes in self.slices() {
            let Some(bytes) = bytes.get(skip..) else {
                skip -= bytes.len();
                continue;
            };
            skip = 0;
            let len = bytes.len().min(out.len() - filled);
            out[filled..filled + len].copy_from_slice(&bytes[..len]);
            filled += len;
            if filled == out.len() {
                return true;
            }
        }
        filled == out.len() && skip == 0
    }

    /// The DPDK port that received the frame.
    #[inline(always)]
    #[must_use]
    pub fn port(&self) -> u16 {
        self.head().port()
    }

    /// Sets what [`port`](Self::port) returns.
    #[inline(always)]
    pub fn set_port(&mut self, port: u16) {
        self.head().set_port(port);
    }

    /// The RSS hash that the device computed, until [`set_note`](Self::set_note) takes its place.
    #[inline(always)]
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        let head = self.head();
        let known = head.ol_flags() & sys::WEIR_RX_RSS_HASH != 0;
        // `rss` is the first u32 of the union.
        let octets = head.hash().to_ne_bytes();
        known.then(|| u32::from_ne_bytes([octets[0], octets[1], octets[2], octets[3]]))
    }

    /// Eight octets that travel with the frame from worker to worker. Unspecified until set.
    #[inline(always)]
    #[must_use]
    pub fn note(&self) -> u64 {
        self.head().hash()
    }

    /// Writes the note. It uses the field of the RSS hash, which is in a cache line that is hot
    /// anyway, so [`rss_hash`](Self::rss_hash) is `None` from here on.
    #[inline(always)]
    pub fn set_note(&mut self, note: u64) {
        let head = self.head();
        head.set_ol_flags(head.ol_flags() & !sys::WEIR_RX_RSS_HASH);
        head.set_hash(note);
    }

    /// The device's verdict on the IPv4 header checksum.
    #[inline(always)]
    #[must_use]
    pub fn ip_checksum(&self) -> ChecksumVerdict {
        let flags = self.head().ol_flags() & sys::WEIR_RX_IP_CKSUM_MASK;
        verdict(flags, sys::WEIR_RX_IP_CKSUM_GOOD, sys::WEIR_RX_IP_CKSUM_BAD)
    }

    /// The device's verdict on the TCP or UDP checksum.
    #[inline(always)]
    #[must_use]
    pub fn l4_checksum(&self) -> ChecksumVerdict {
        let flags = self.head().ol_flags() & sys::WEIR_RX_L4_CKSUM_MASK;
        verdict(flags, sys::WEIR_RX_L4_CKSUM_GOOD, sys::WEIR_RX_L4_CKSUM_BAD)
    }
}

/// Good and bad together mean "not computable", which is no verdict.
#[inline(always)]
fn verdict(flags: u64, good: u64, bad: u64) -> ChecksumVerdict {
    if flags == good {
        ChecksumVerdict::Good
    } else if flags == bad {
        ChecksumVerdict::Bad
    } else {
        ChecksumVerdict::Unknown
    }
}

/// Frees segments that were cut off a chain.
fn free_chain(mut rest: Option<Segment>) {
    while let Some(segment) = rest {
        rest = segment.next();
        segment.set_next_ptr(std::ptr::null_mut());
        // SAFETY: the caller unlinked the chain, this loop unlinks the segment from the rest.
        unsafe { segment.free() };
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `self` owns the whole chain, and is not used after `drop`.
        unsafe { sys::weir_mbuf_free(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("len", &self.len())
            .field("segments", &self.segment_count())
            .field("port", &self.port())
            .finish_non_exhaustive()
    }
}
