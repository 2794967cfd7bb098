//! Big fixed tables in hugepages: made at start, never freed.
//!
//! A table of cache-line buckets is read at random; with 4 KiB pages nearly each read would miss
//! the TLB too. Packet-path memory is fixed for the life of the process, so the result is
//! `'static`. Pages are placed by first touch: call this on the thread that will use the table,
//! and its NUMA node holds it.

use std::mem::MaybeUninit;
use std::ptr;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use crate::hugepages::Hugepages;

/// Octets per hugepage. Tables below half a page would waste more than they gain.
const HUGEPAGE: usize = 2 << 20;

/// The pages that a table lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Reserved 2 MiB pages.
    Huge,
    /// Ordinary memory that the kernel was asked to back with transparent hugepages.
    Transparent,
    /// 4 KiB pages.
    Ordinary,
}

/// A table and the pages that it lies in.
#[derive(Debug)]
pub struct Leaked<T: 'static> {
    /// The elements.
    pub slice: &'static mut [T],
    /// Where they are, for the report at start.
    pub pages: PageKind,
}

/// Why a table could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HugememError {
    /// The size overflows, or the element's alignment exceeds a page.
    #[error("a table of {len} elements of {size} octets is not possible")]
    Size {
        /// Elements asked for.
        len: usize,
        /// Octets per element.
        size: usize,
    },
    /// Hugepages are required, and too few are free.
    #[error(
        "hugepages are required: {mib} MiB more are needed; \
         fix: raise vm.nr_hugepages by {pages}, or `hugepages: auto`"
    )]
    Hugepages {
        /// The table's size.
        mib: usize,
        /// The same in 2 MiB pages.
        pages: usize,
    },
    /// The kernel has no memory.
    #[error("no memory for a table of {mib} MiB: {source}")]
    Memory {
        /// The table's size.
        mib: usize,
        /// The kernel's reason.
        source: std::io::Error,
    },
}

/// Makes a table of `len` elements, each constructed in place by `init(index)`.
///
/// Every page is touched here, so that none faults on the packet path.
///
/// # Errors
/// See [`HugememError`].
pub fn leak_slice_with<T>(
    len: usize,
    hugepages: Hugepages,
    mut init: impl FnMut(usize) -> T,
) -> Result<Leaked<T>, HugememError> {
    let size = size_of::<T>();
    let octets = len
        .checked_mul(size)
        .and_then(|octets| octets.checked_next_multiple_of(HUGEPAGE))
        .filter(|&octets| align_of::<T>() <= 4096 && isize::try_from(octets).is_ok())
        .ok_or(HugememError::Size { len, size })?;
    if octets == 0 {
        // No element has an address to keep; the layout of an empty box is fine.
        let empty: Vec<T> = (0..len).map(init).collect();
        return Ok(Leaked {
            slice: empty.leak(),
            pages: PageKind::Ordinary,
        });
    }
    let (memory, pages) = map(octets, len * size, hugepages)?;
    let first = memory.cast::<MaybeUninit<T>>();
    // SAFETY: the mapping has `len` elements' octets, page-aligned, is never unmapped, and is
    // known to nobody else. A panic in `init` leaks it.
    let slots = unsafe { std::slice::from_raw_parts_mut(first, len) };
    for (index, slot) in slots.iter_mut().enumerate() {
        slot.write(init(index));
    }
    // SAFETY: the loop has initialised every element, and the layouts are the same.
    let slice = unsafe { &mut *(ptr::from_mut(slots) as *mut [T]) };
    Ok(Leaked { slice, pages })
}

/// Maps `octets`, a multiple of the hugepage, of which `used` will be used.
fn map(
    octets: usize,
    used: usize,
    hugepages: Hugepages,
) -> Result<(*mut u8, PageKind), HugememError> {
    let mib = octets >> 20;
    let worthwhile = used >= HUGEPAGE / 2;
    if hugepages == Hugepages::Required || (hugepages == Hugepages::Auto && worthwhile) {
        // The kernel reserves the pages now or fails now; it never fails at first touch.
        let flags = MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::HUGE_2MB;
        if let Ok(memory) = map_anonymous(octets, flags) {
            return Ok((memory, PageKind::Huge));
        }
        if hugepages == Hugepages::Required {
            return Err(HugememError::Hugepages {
                mib,
                pages: octets / HUGEPAGE,
            });
        }
    }
    // A hugepage more, so that the table can start where a hugepage can.
    let memory = map_anonymous(octets + HUGEPAGE, MapFlags::PRIVATE)
        .map_err(|source| HugememError::Memory { mib, source })?;
    if hugepages == Hugepages::Off || !worthwhile {
        return Ok((memory, PageKind::Ordinary));
    }
    let aligned = memory.wrapping_add(memory.align_offset(HUGEPAGE));
    // SAFETY: `octets` from `aligned` lie within the mapping, and the advice changes no content.
    let advised = unsafe { madvise(aligned.cast(), octets, Advice::LinuxHugepage) };
    let pages = if advised.is_ok() {
        PageKind::Transparent
    } else {
        PageKind::Ordinary
    };
    Ok((aligned, pages))
}

fn map_anonymous(octets: usize, flags: MapFlags) -> std::io::Result<*mut u8> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice replaces nothing.
    let memory = unsafe { mmap_anonymous(ptr::null_mut(), octets, access, flags) }?;
    Ok(memory.cast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    #[derive(Debug, PartialEq)]
    struct Line([u64; 8]);

    #[test]
    fn every_element_is_constructed_in_place_and_aligned() {
        for hugepages in [Hugepages::Auto, Hugepages::Off] {
            let table = leak_slice_with(40_000, hugepages, |i| Line([i as u64; 8])).unwrap();
            assert_eq!(table.slice.as_ptr().addr() % 64, 0);
            assert_eq!(table.slice.len(), 40_000);
            for (i, line) in table.slice.iter().enumerate() {
                assert_eq!(*line, Line([i as u64; 8]));
            }
        }
    }

    #[test]
    fn off_means_ordinary_pages_and_tables_below_half_a_page_take_them_too() {
        let off = leak_slice_with(1 << 20, Hugepages::Off, |_| 0_u64).unwrap();
        assert_eq!(off.pages, PageKind::Ordinary);
        let small = leak_slice_with(100, Hugepages::Auto, |_| 0_u64).unwrap();
        assert_eq!(small.pages, PageKind::Ordinary);
    }

    #[test]
    fn sizes_that_cannot_be_are_errors_and_empty_tables_are_not() {
        let huge = leak_slice_with(usize::MAX, Hugepages::Auto, |_| 0_u64);
        assert!(matches!(huge, Err(HugememError::Size { .. })));
        assert_eq!(
            leak_slice_with(0, Hugepages::Required, |_| 0_u64)
                .unwrap()
                .slice
                .len(),
            0
        );
        assert_eq!(
            leak_slice_with(3, Hugepages::Auto, |_| ())
                .unwrap()
                .slice
                .len(),
            3
        );
    }
}
