//! A safe prefetch and the tag compare, for crates that may not use `unsafe`.
//!
//! A prefetch is a hint: it never faults, never changes what a program computes, and on targets
//! without one it is nothing. `no_std`; knows nothing about flows or DPDK.

#![cfg_attr(not(test), no_std)]

/// Octets that one prefetch brings in.
const CACHE_LINE: usize = 64;

/// Asks for the cache line of `place`, to be read soon.
#[inline(always)]
pub fn prefetch_read<T: ?Sized>(place: &T) {
    hint_read(core::ptr::from_ref(place).cast());
}

/// Asks for the cache line of `place`, to be written soon.
#[inline(always)]
pub fn prefetch_write<T: ?Sized>(place: &T) {
    hint_write(core::ptr::from_ref(place).cast());
}

/// Asks for the first cache line of element `index`, to be read soon. An index out of range asks
/// for nothing.
#[inline(always)]
pub fn prefetch_index<T>(slice: &[T], index: usize) {
    if let Some(element) = slice.get(index) {
        prefetch_read(element);
    }
}

/// The same for all of its cache lines. It begins one itself.
#[inline(always)]
pub fn prefetch_whole<T>(slice: &[T], index: usize) {
    const { assert!(align_of::<T>().is_multiple_of(CACHE_LINE)) };
    if let Some(element) = slice.get(index) {
        let first = core::ptr::from_ref(element).cast::<u8>();
        let mut at = 0;
        // As many as there are is known when this is compiled.
        while at < size_of::<T>() {
            hint_read(first.wrapping_add(at));
            at += CACHE_LINE;
        }
    }
}

/// Asks for every cache line of `slice`: for a few lines, not for a table.
#[inline(always)]
pub fn prefetch_range<T>(slice: &[T]) {
    let first = slice.as_ptr().cast::<u8>();
    // The start may lie within a line, so the last line can begin after the last full step.
    let offset = first.addr() % CACHE_LINE;
    let mut at = 0;
    while at < size_of_val(slice) + offset {
        hint_read(first.wrapping_add(at).wrapping_sub(offset));
        at += CACHE_LINE;
    }
}

/// Which of eight tags equal `tag`: bit i for `tags[i]`.
#[inline(always)]
#[must_use]
pub fn match_tags(tags: &[u16; 8], tag: u16) -> u8 {
    // SAFETY: SSE2 is in every x86-64 CPU.
    #[cfg(target_arch = "x86_64")]
    return unsafe { match_tags_sse2(tags, tag) };
    #[cfg(not(target_arch = "x86_64"))]
    match_tags_portable(tags, tag)
}

/// Three instructions for the eight compares.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn match_tags_sse2(tags: &[u16; 8], tag: u16) -> u8 {
    use core::arch::x86_64::{
        _mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16,
        _mm_setzero_si128,
    };
    // SAFETY: reads the 16 octets of `tags`, at any alignment.
    let all = unsafe { _mm_loadu_si128(tags.as_ptr().cast()) };
    let equal = _mm_cmpeq_epi16(all, _mm_set1_epi16(tag.cast_signed()));
    // -1 stays -1 when it is narrowed to an octet; the upper half becomes 0.
    let mask = _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128()));
    mask.to_le_bytes()[0]
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn match_tags_portable(tags: &[u16; 8], tag: u16) -> u8 {
    tags.iter()
        .enumerate()
        .fold(0, |mask, (i, &each)| mask | u8::from(each == tag) << i)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn hint_read(place: *const u8) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: PREFETCHT0 is in every x86-64 CPU, and faults at no address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) }
}

/// PREFETCHW is not in x86-64-v2: a line that comes for reading is upgraded at the write, which
/// costs nothing while no other core holds it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn hint_write(place: *const u8) {
    hint_read(place);
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn hint_read(place: *const u8) {
    // SAFETY: PRFM faults at no address and writes nothing.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) place, options(nostack, readonly));
    }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn hint_write(place: *const u8) {
    // SAFETY: as in `hint_read`.
    unsafe {
        core::arch::asm!("prfm pstl1keep, [{0}]", in(reg) place, options(nostack, readonly));
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn hint_read(_place: *const u8) {}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn hint_write(_place: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mask_of_matches_is_found_by_both_ways() {
        for tag in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
            for mask in 0..=u8::MAX {
                // Neighbours of the tag in both octets, so that a compare of 8 bits would show.
                let tags = core::array::from_fn(|i| {
                    let other = if i % 2 == 0 {
                        tag ^ 0x0100
                    } else {
                        tag ^ 0x0001
                    };
                    if mask >> i & 1 == 1 { tag } else { other }
                });
                assert_eq!(match_tags(&tags, tag), mask, "{tags:x?}");
                assert_eq!(match_tags_portable(&tags, tag), mask, "{tags:x?}");
            }
        }
    }

    #[test]
    fn both_ways_agree_on_arbitrary_tags() {
        let mut state = 0x9e37_79b9_u32;
        let mut next = || {
            // Marsaglia's xorshift32; few values, so that matches are frequent.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            u16::try_from(state % 5).unwrap() * 0x3fff
        };
        for _ in 0..10_000 {
            let tags = core::array::from_fn(|_| next());
            let tag = next();
            assert_eq!(
                match_tags(&tags, tag),
                match_tags_portable(&tags, tag),
                "{tags:x?}"
            );
        }
    }

    #[test]
    fn prefetches_accept_the_ends_of_a_slice_and_what_lies_beyond() {
        let slice = [[7_u8; 48]; 5];
        for index in [0, 4, 5, usize::MAX] {
            prefetch_index(&slice, index);
        }
        prefetch_range(&slice);
        prefetch_range::<u8>(&[]);
        prefetch_read(&slice);
        prefetch_write(&slice[4]);
        assert_eq!(slice, [[7; 48]; 5]);
    }
}
