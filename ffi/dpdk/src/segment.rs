//! One segment of a frame: typed reads and writes of `struct rte_mbuf`'s fields.
//!
//! No FFI call per field: the offsets come from the C headers at build time, because the
//! struct's anonymous nesting changes between DPDK releases. Knows nothing about ownership;
//! that is `mbuf.rs`'s business.

use std::ptr::NonNull;

use dpdk_sys as sys;

/// A pointer to one segment.
///
/// # Invariants
/// Points to an initialised mbuf that is not in its pool, and nobody else reads or writes the
/// mbuf while this value is used: whoever makes one owns the frame that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Segment(NonNull<sys::rte_mbuf>);

/// A getter, perhaps with a setter, of one field, and the proof that C gives it the same size.
macro_rules! field {
    ($get:ident: $ty:ty, $offset:ident, $size:ident $(, set $set:ident)?) => {
        #[inline(always)]
        pub(crate) fn $get(self) -> $ty {
            const { assert!(size_of::<$ty>() == sys::$size as usize) }
            let at = self.0.as_ptr().wrapping_byte_add(sys::$offset as usize);
            // SAFETY: the invariant gives an initialised mbuf with no other writer; offset and
            // size are what `offsetof` and `sizeof` say; alignment is not needed.
            unsafe { at.cast::<$ty>().read_unaligned() }
        }

        $(
            #[inline(always)]
            pub(crate) fn $set(self, value: $ty) {
                let at = self.0.as_ptr().wrapping_byte_add(sys::$offset as usize);
                // SAFETY: as in the getter, and the invariant says that nobody reads it now.
                unsafe { at.cast::<$ty>().write_unaligned(value) }
            }
        )?
    };
}

impl Segment {
    /// # Safety
    /// `mbuf` must uphold the invariants for as long as the result is used.
    #[inline(always)]
    pub(crate) const unsafe fn new(mbuf: NonNull<sys::rte_mbuf>) -> Self {
        Self(mbuf)
    }

    #[inline(always)]
    pub(crate) const fn as_ptr(self) -> *mut sys::rte_mbuf {
        self.0.as_ptr()
    }

    field!(buf_addr: *mut u8, WEIR_MBUF_BUF_ADDR, WEIR_MBUF_BUF_ADDR_SIZE);
    field!(data_off: u16, WEIR_MBUF_DATA_OFF, WEIR_MBUF_DATA_OFF_SIZE, set set_data_off);
    field!(refcnt: u16, WEIR_MBUF_REFCNT, WEIR_MBUF_REFCNT_SIZE);
    field!(nb_segs: u16, WEIR_MBUF_NB_SEGS, WEIR_MBUF_NB_SEGS_SIZE, set set_nb_segs);
    field!(port: u16, WEIR_MBUF_PORT, WEIR_MBUF_PORT_SIZE, set set_port);
    field!(ol_flags: u64, WEIR_MBUF_OL_FLAGS, WEIR_MBUF_OL_FLAGS_SIZE, set set_ol_flags);
    field!(pkt_len: u32, WEIR_MBUF_PKT_LEN, WEIR_MBUF_PKT_LEN_SIZE, set set_pkt_len);
    field!(data_len: u16, WEIR_MBUF_DATA_LEN, WEIR_MBUF_DATA_LEN_SIZE, set set_data_len);
    field!(hash: u64, WEIR_MBUF_HASH, WEIR_MBUF_HASH_SIZE, set set_hash);
    field!(buf_len: u16, WEIR_MBUF_BUF_LEN, WEIR_MBUF_BUF_LEN_SIZE);
    field!(next_ptr: *mut sys::rte_mbuf, WEIR_MBUF_NEXT, WEIR_MBUF_NEXT_SIZE, set set_next_ptr);

    /// The segment after this one; it belongs to the same frame.
    #[inline(always)]
    pub(crate) fn next(self) -> Option<Self> {
        // A chain is owned as a whole, so the invariant holds for its next segment too.
        NonNull::new(self.next_ptr()).map(Self)
    }

    /// The first octet of data.
    #[inline(always)]
    pub(crate) fn data_ptr(self) -> *mut u8 {
        self.buf_addr().wrapping_add(usize::from(self.data_off()))
    }

    /// Free octets before the data.
    #[inline(always)]
    pub(crate) fn headroom(self) -> u16 {
        self.data_off()
    }

    /// Free octets after the data.
    #[inline(always)]
    pub(crate) fn tailroom(self) -> u16 {
        // DPDK keeps data_off + data_len <= buf_len; saturate rather than trust a driver.
        self.buf_len()
            .saturating_sub(self.data_off())
            .saturating_sub(self.data_len())
    }

    /// Returns the segment to its pool. Its neighbours in the chain are not touched.
    ///
    /// # Safety
    /// The segment must have been unlinked from its chain, and must not be used again.
    pub(crate) unsafe fn free(self) {
        // SAFETY: the invariant makes it a live mbuf that we own; the caller gives it up.
        unsafe { sys::weir_mbuf_free_segment(self.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_and_c_agree_on_every_field() {
        let (mut offsets, mut sizes) = ([0_usize; 16], [0_usize; 16]);
        // SAFETY: both arrays hold 16 elements, which is what is passed.
        let count = unsafe { sys::weir_mbuf_layout(offsets.as_mut_ptr(), sizes.as_mut_ptr(), 16) };
        let expected = [
            (sys::WEIR_MBUF_BUF_ADDR, size_of::<*mut u8>()),
            (sys::WEIR_MBUF_DATA_OFF, 2),
            (sys::WEIR_MBUF_REFCNT, 2),
            (sys::WEIR_MBUF_NB_SEGS, 2),
            (sys::WEIR_MBUF_PORT, 2),
            (sys::WEIR_MBUF_OL_FLAGS, 8),
            (sys::WEIR_MBUF_PKT_LEN, 4),
            (sys::WEIR_MBUF_DATA_LEN, 2),
            (sys::WEIR_MBUF_HASH, 8),
            (sys::WEIR_MBUF_BUF_LEN, 2),
            (sys::WEIR_MBUF_POOL, size_of::<*mut u8>()),
            (sys::WEIR_MBUF_NEXT, size_of::<*mut u8>()),
        ];
        assert_eq!(count, expected.len());
        for (i, (offset, size)) in expected.into_iter().enumerate() {
            assert_eq!((offsets[i], sizes[i]), (offset as usize, size), "field {i}");
        }
    }

    #[test]
    fn setters_write_the_field_that_the_getters_read() {
        // SAFETY: all-zero octets are a valid `rte_mbuf`: integers and null pointers.
        let mut zeroed: sys::rte_mbuf = unsafe { std::mem::zeroed() };
        // SAFETY: `zeroed` is initialised, and used through `seg` alone.
        let seg = unsafe { Segment::new(NonNull::from(&mut zeroed)) };
        seg.set_data_off(128);
        seg.set_data_len(60);
        seg.set_pkt_len(60);
        seg.set_nb_segs(1);
        seg.set_port(7);
        seg.set_hash(0x0123_4567_89ab_cdef);
        seg.set_ol_flags(sys::WEIR_RX_RSS_HASH);
        assert_eq!((seg.data_off(), seg.data_len()), (128, 60));
        assert_eq!((seg.pkt_len(), seg.nb_segs(), seg.port()), (60, 1, 7));
        assert_eq!(
            (seg.hash(), seg.ol_flags()),
            (0x0123_4567_89ab_cdef, sys::WEIR_RX_RSS_HASH)
        );
        assert_eq!((seg.headroom(), seg.next()), (128, None));
    }
}
