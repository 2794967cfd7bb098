//! The safe wrapper over DPDK: the only crate where `unsafe` is normal.
//!
//! Ownership mirrors DPDK's rules, so that breaking one does not compile:
//! - an [`Mbuf`] has one owner and is freed by `Drop`, or given away to a [`TxQueue`];
//! - an [`RxQueue`] or [`TxQueue`] has one owner, is `Send`, and is neither `Clone` nor `Sync`;
//! - a device stops and closes when its [`Port`] and its last queue are gone;
//! - memory pools and the EAL live as long as the process.
//!
//! It refuses to know what a frame means, and to log: what went wrong comes back as an error of
//! one line that names the device and the fix.

mod burst;
mod clock;
mod device;
mod eal;
#[cfg(feature = "hash")]
pub mod hash;
mod hugemem;
mod hugepages;
mod log;
mod mbuf;
mod mempool;
mod plan;
mod port;
mod queue;
mod report;
mod segment;
mod stats;
mod thread;

pub use burst::{BURST_MAX, Burst, Drain};
pub use clock::Tsc;
pub use device::{AttachError, PortHandle};
pub use eal::{Eal, EalConfig, EalError, Memory};
pub use hugemem::{HugememError, Leaked, PageKind, leak_slice_with};
pub use hugepages::{Hugepages, free_octets as hugepages_free_octets};
pub use mbuf::{ChecksumVerdict, Mbuf};
pub use mempool::{HEADROOM, Mempool, MempoolConfig, MempoolError};
pub use port::{Port, PortError, Queues};

pub use queue::{RxQueue, TxQueue};
pub use report::{ChecksumOffload, PortConfig, PortReport, RssConfig, RssSide, Shortfall};
pub use stats::{Link, PortStats, Xstat};
pub use thread::{PinnedThread, ThreadError, online_cpus, set_timer_slack, spawn_pinned};

use std::ffi::CStr;

/// DPDK's text for one of its error numbers, of either sign.
fn error_text(errno: i32) -> String {
    // SAFETY: `rte_strerror` accepts any number and returns a static or thread-local string.
    let text = unsafe { dpdk_sys::rte_strerror(errno.abs()) };
    // SAFETY: the string is NUL-terminated, and nothing on this thread replaces it meanwhile.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// The DPDK release that this process runs on, such as "DPDK 22.11.11".
#[must_use]
pub fn dpdk_version() -> String {
    // SAFETY: `rte_version` takes nothing and returns a static string.
    let text = unsafe { dpdk_sys::rte_version() };
    // SAFETY: the string is static and NUL-terminated.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
