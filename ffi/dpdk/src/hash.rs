//! DPDK's hash table (`rte_hash`: cuckoo, buckets of eight, CRC of the key where the CPU has it),
//! looked up in bulk.
//!
//! A baseline that Weir's flow table is compared with; the director does not use it. Keys are
//! fixed arrays, values 32-bit numbers. There is no removal: a baseline needs none.

use std::cell::Cell;
use std::ffi::{CString, c_void};
use std::marker::PhantomData;
use std::ptr;

use dpdk_sys as sys;

use crate::{Eal, error_text};

/// Keys of one lookup at most (`RTE_HASH_LOOKUP_BULK_MAX`).
pub const LOOKUP_MAX: usize = 64;

/// Why a table could not be made, or a key not be added.
#[derive(Debug, thiserror::Error)]
#[error("rte_hash {name}: {reason}")]
pub struct HashError {
    name: String,
    reason: String,
}

/// A table of keys of `N` octets.
///
/// # Invariants
/// `table` came from `rte_hash_create` with a key length of `N`, without flags, and is freed once.
#[derive(Debug)]
pub struct Hash<const N: usize> {
    table: *mut sys::rte_hash,
    name: String,
    not_sync: PhantomData<Cell<()>>,
}

// SAFETY: without flags, `rte_hash` ties nothing to the thread that made it; it only forbids use by
// two threads at once, and `Hash` is not `Sync`.
unsafe impl<const N: usize> Send for Hash<N> {}

impl<const N: usize> Hash<N> {
    /// Makes a table with room for about `entries` keys; see [`Self::octets`] for its memory.
    ///
    /// # Errors
    /// With DPDK's reason: no memory, a name that exists or is too long, too many entries.
    pub fn new(_eal: &Eal, name: &str, entries: u32) -> Result<Self, HashError> {
        const ANY_SOCKET: i32 = -1;
        let failed = |reason: String| HashError {
            name: name.into(),
            reason,
        };
        let c_name = CString::new(name).map_err(|error| failed(error.to_string()))?;
        let parameters = sys::rte_hash_parameters {
            name: c_name.as_ptr(),
            entries,
            key_len: u32::try_from(N).map_err(|error| failed(error.to_string()))?,
            socket_id: ANY_SOCKET,
            ..Default::default()
        };
        // SAFETY: the EAL runs, as `_eal` proves; `parameters` and the name in it live until the
        // call returns, which copies both. A null hash function means DPDK's default.
        let table = unsafe { sys::rte_hash_create(&raw const parameters) };
        if table.is_null() {
            // SAFETY: reads the calling thread's error number.
            let errno = unsafe { sys::weir_errno() };
            return Err(failed(error_text(errno)));
        }
        Ok(Self {
            table,
            name: name.into(),
            not_sync: PhantomData,
        })
    }

    /// About what a table takes, in octets, rounded up: for [`crate::EalConfig::memory`].
    #[must_use]
    pub const fn octets(entries: u32) -> usize {
        const BUCKET: usize = 64;
        const KEYS_PER_BUCKET: usize = 8;
        let entries = entries as usize;
        let buckets = entries.div_ceil(KEYS_PER_BUCKET).next_power_of_two() * BUCKET;
        let keys = (entries + 1) * (8 + N).next_multiple_of(16);
        let free_list = (entries + 1).next_power_of_two() * 4;
        buckets + keys + free_list + (4 << 20)
    }

    /// Adds a key, or gives it another value.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn insert(&mut self, key: &[u8; N], value: u32) -> Result<(), HashError> {
        let data = ptr::without_provenance_mut::<c_void>(value as usize);
        // SAFETY: `table` is valid and used by this thread alone (`&mut self`); the key has the
        // table's length and is copied; `data` is kept as a number and never followed.
        let answer =
            unsafe { sys::rte_hash_add_key_data(self.table, ptr::from_ref(key).cast(), data) };
        if answer < 0 {
            return Err(HashError {
                name: self.name.clone(),
                reason: error_text(answer),
            });
        }
        Ok(())
    }

    /// Looks up as many keys as there are, [`LOOKUP_MAX`] at most, and writes the values of those
    /// that are found into `values`, by position. Bit n of the result says whether key n was.
    ///
    /// # Panics
    /// If `values` is shorter than `keys`.
    #[inline]
    pub fn lookup(&self, keys: &[[u8; N]], values: &mut [u32]) -> u64 {
        let count = keys.len().min(LOOKUP_MAX);
        if count == 0 {
            return 0;
        }
        let mut places = [ptr::null::<c_void>(); LOOKUP_MAX];
        for (place, key) in places.iter_mut().zip(keys) {
            *place = ptr::from_ref(key).cast();
        }
        let mut data = [ptr::null_mut::<c_void>(); LOOKUP_MAX];
        let mut hits = 0_u64;
        #[expect(clippy::cast_possible_truncation, reason = "64 at most")]
        let asked = count as u32;
        // SAFETY: `table` is valid, and nobody changes it meanwhile (`&self`, not `Sync`);
        // `places` holds `asked` keys of the table's length; `data` has room for as many.
        let answer = unsafe {
            sys::rte_hash_lookup_bulk_data(
                self.table,
                places.as_mut_ptr(),
                asked,
                &raw mut hits,
                data.as_mut_ptr(),
            )
        };
        debug_assert!(answer >= 0, "the count is from 1 to 64");
        for (value, data) in values[..count].iter_mut().zip(data) {
            // What was not found has data of no meaning; it is a number in any case.
            #[expect(clippy::cast_possible_truncation, reason = "it was made from 32 bits")]
            let number = data.addr() as u32;
            *value = number;
        }
        hits
    }
}

impl<const N: usize> Drop for Hash<N> {
    fn drop(&mut self) {
        // SAFETY: the invariant; nothing uses `table` afterwards.
        unsafe { sys::rte_hash_free(self.table) };
    }
}
