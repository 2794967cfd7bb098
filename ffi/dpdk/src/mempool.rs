//! Pools of frames: fixed at start, never freed.

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};

use dpdk_sys as sys;

use crate::burst::Burst;
use crate::eal::{Eal, Memory};
use crate::mbuf::Mbuf;
use crate::{error_text, log};

/// Octets before a fresh frame's data, for headers that tunnels put in front.
pub const HEADROOM: usize = sys::WEIR_HEADROOM as usize;

/// What a pool should hold.
#[derive(Clone, Debug)]
pub struct MempoolConfig<'a> {
    /// Unique in the process; at most 25 octets.
    pub name: &'a str,
    /// Frames. One less than a power of two wastes no memory.
    pub count: u32,
    /// Octets per segment, without headroom.
    pub data_room: u16,
    /// Frames that each worker keeps to itself; refills cost an atomic operation each.
    pub cache: u32,
    /// NUMA node, or any.
    pub node: Option<u8>,
}

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MempoolError {
    /// The EAL's memory is too small.
    #[error(
        "pool {name}: no memory for {count} mbufs of {data_room} octets (about {needed_mib} MiB); \
         fix: fewer mbufs, or more hugepages (sysctl vm.nr_hugepages)"
    )]
    Memory {
        /// The pool's name.
        name: String,
        /// Frames asked for.
        count: u32,
        /// Octets per segment asked for.
        data_room: u16,
        /// About what they take.
        needed_mib: usize,
    },
    /// DPDK refused it for another reason: a name that exists, or a cache that is too big.
    #[error("pool {name}: {reason}")]
    Refused {
        /// The pool's name.
        name: String,
        /// DPDK's words.
        reason: String,
    },
}

/// The kernel's number for a lack of memory, which DPDK uses as well.
const ENOMEM: i32 = 12;

/// A pool of frames, shared by all threads. It lives as long as the process.
///
/// # Invariants
/// Points to a pool made by `create`, which is never freed.
#[derive(Clone, Copy, Debug)]
pub struct Mempool {
    pool: NonNull<sys::rte_mempool>,
    data_room: u16,
}

// SAFETY: pools use DPDK's default operations, a ring that is safe for many producers and
// consumers. The caches in front of it are one per lcore id: `thread::spawn_pinned` registers
// workers, so that each has an id of its own, and a thread without one goes to the ring directly.
unsafe impl Send for Mempool {}
// SAFETY: as above; no method hands out references into the pool.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Makes a pool; its memory is taken from the EAL's now.
    ///
    /// # Errors
    /// `Memory` if it does not fit; `Refused` for a name that exists or a cache over 512 frames
    /// or over two thirds of the pool.
    pub fn new(eal: &Eal, config: &MempoolConfig<'_>) -> Result<Self, MempoolError> {
        let refused = |reason: String| MempoolError::Refused {
            name: config.name.into(),
            reason,
        };
        let name = CString::new(config.name).map_err(|e| refused(e.to_string()))?;
        let data_room = u16::try_from(HEADROOM + usize::from(config.data_room))
            .map_err(|_| refused(format!("{} octets is too much", config.data_room)))?;
        log::take();
        create(eal, &name, config, data_room)
            .map(|pool| Self {
                pool,
                data_room: config.data_room,
            })
            .map_err(|errno| match errno {
                ENOMEM => MempoolError::Memory {
                    name: config.name.into(),
                    count: config.count,
                    data_room: config.data_room,
                    needed_mib: Self::octets(config.count, config.data_room) >> 20,
                },
                errno => refused(error_text(errno)),
            })
    }

    /// About what a pool takes, in octets, rounded up: for [`EalConfig::memory`].
    ///
    /// [`EalConfig::memory`]: crate::EalConfig::memory
    #[must_use]
    pub fn octets(count: u32, data_room: u16) -> usize {
        /// Pool header, mbuf and at most three cache lines that spread objects over channels.
        const PER_FRAME: usize = 64 + 128 + 3 * 64 + 64;
        /// The pool's own header with a cache per possible lcore: 128 × 12.1 KiB and a bit.
        const PER_POOL: usize = 2 << 20;
        let count = count as usize;
        let ring = (count + 1).next_power_of_two() * size_of::<*mut u8>();
        PER_POOL + ring + count * (PER_FRAME + HEADROOM + usize::from(data_room))
    }

    /// Octets per segment, without headroom.
    #[must_use]
    pub const fn data_room(&self) -> u16 {
        self.data_room
    }

    /// Frames that are not in the pool or its caches. Exact while no worker runs.
    #[must_use]
    pub fn in_use(&self) -> usize {
        // SAFETY: the pool lives forever, and the count only reads.
        unsafe { sys::rte_mempool_in_use_count(self.as_ptr()) as usize }
    }

    /// Frames that are in the pool or its caches. As exact as [`in_use`](Self::in_use).
    #[must_use]
    pub fn available(&self) -> usize {
        // SAFETY: as in `in_use`.
        unsafe { sys::rte_mempool_avail_count(self.as_ptr()) as usize }
    }

    /// An empty frame with [`HEADROOM`] before its data, or `None` if the pool is empty.
    #[inline]
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives forever and may be used from any thread (see `Sync`).
        let mbuf = unsafe { sys::weir_mbuf_alloc(self.as_ptr()) };
        // SAFETY: DPDK gives a fresh, reset, single-segment mbuf that nobody else refers to.
        NonNull::new(mbuf).map(|mbuf| unsafe { Mbuf::from_raw(mbuf) })
    }

    /// A frame with `bytes` in it, in as many segments as they need.
    ///
    /// `None` if the pool runs empty; nothing is lost then.
    #[must_use]
    pub fn alloc_from(&self, bytes: &[u8]) -> Option<Mbuf> {
        let mut frame = self.alloc()?;
        let (first, mut rest) = bytes.split_at(bytes.len().min(frame.tailroom()));
        if !frame.copy_from(first) {
            return None;
        }
        while !rest.is_empty() {
            let mut next = self.alloc()?;
            let (part, after) = rest.split_at(rest.len().min(next.tailroom()));
            if part.is_empty() || !next.copy_from(part) {
                return None;
            }
            frame.chain(next).ok()?;
            rest = after;
        }
        Some(frame)
    }

    /// Adds `count` empty frames to `burst`; all of them or none.
    #[inline]
    #[must_use]
    pub fn alloc_bulk(&self, burst: &mut Burst, count: usize) -> bool {
        let (slots, room) = burst.spare();
        let Some(count) = u16::try_from(count).ok().filter(|&count| count <= room) else {
            return false;
        };
        // SAFETY: `slots` has room for `count` pointers; the pool lives forever.
        let result = unsafe { sys::weir_mbuf_alloc_bulk(self.as_ptr(), slots, u32::from(count)) };
        if result == 0 {
            // SAFETY: on success DPDK has written all `count` slots, and the frames are ours.
            unsafe { burst.grow(count) };
        }
        result == 0
    }

    pub(crate) const fn as_ptr(self) -> *mut sys::rte_mempool {
        self.pool.as_ptr()
    }
}

/// What `rte_pktmbuf_pool_create` does, but that function lets no caller pass flags.
///
/// With 4 KiB pages DPDK keeps each object within one page, in case a device reads physical
/// addresses: one 2.3 KiB mbuf per page wastes nearly half. Without hugepages DPDK uses virtual
/// addresses for devices, so contiguity is given, and the flag saves that half.
fn create(
    eal: &Eal,
    name: &CStr,
    config: &MempoolConfig<'_>,
    data_room: u16,
) -> Result<NonNull<sys::rte_mempool>, i32> {
    let flags = match eal.memory() {
        Memory::Huge => 0,
        Memory::Ordinary { .. } => sys::WEIR_MEMPOOL_NO_IOVA_CONTIG,
    };
    let mut private = sys::rte_pktmbuf_pool_private {
        mbuf_data_room_size: data_room,
        ..Default::default()
    };
    let private_len = u32::try_from(size_of_val(&private)).unwrap_or(u32::MAX);
    // SAFETY: `eal` proves that the EAL runs; `name` is NUL-terminated and copied; DPDK checks
    // the numbers and locks its list of pools.
    let pool = unsafe {
        sys::rte_mempool_create_empty(
            name.as_ptr(),
            config.count,
            sys::WEIR_MBUF_SIZE + u32::from(data_room),
            config.cache,
            private_len,
            config.node.map_or(sys::WEIR_SOCKET_ANY, i32::from),
            flags,
        )
    };
    // SAFETY: reads this thread's error number.
    let pool = NonNull::new(pool).ok_or_else(|| unsafe { sys::weir_errno() })?;
    populate(pool, &mut private).inspect_err(|_| {
        // SAFETY: the pool was made above, and no frame has been taken from it.
        unsafe { sys::rte_mempool_free(pool.as_ptr()) };
    })?;
    Ok(pool)
}

/// Gives a new pool its operations, its memory and its mbufs.
fn populate(
    pool: NonNull<sys::rte_mempool>,
    private: &mut sys::rte_pktmbuf_pool_private,
) -> Result<(), i32> {
    let pool = pool.as_ptr();
    // SAFETY: takes nothing, and returns a static string: ring_mp_mc unless a device of the
    // machine has its own pools, which are as safe for many threads.
    let operations = unsafe { sys::rte_mbuf_best_mempool_ops() };
    // SAFETY: the pool is new and has no operations yet; the name is NUL-terminated.
    match unsafe { sys::rte_mempool_set_ops_byname(pool, operations, ptr::null_mut()) } {
        0 => {}
        errno => return Err(errno.abs()),
    }
    // SAFETY: the pool has room for this private area, whose content DPDK copies.
    unsafe { sys::rte_pktmbuf_pool_init(pool, ptr::from_mut(private).cast()) };
    // SAFETY: the pool has its operations, and no memory yet.
    let populated = unsafe { sys::rte_mempool_populate_default(pool) };
    if populated < 0 {
        return Err(populated.abs());
    }
    // SAFETY: `rte_pktmbuf_init` is made for this: it initialises each object as an mbuf, by the
    // private area above.
    unsafe { sys::rte_mempool_obj_iter(pool, Some(sys::rte_pktmbuf_init), ptr::null_mut()) };
    Ok(())
}
