//! Worker threads: pinned to one CPU and known to DPDK.

use std::fs;
use std::num::NonZeroU64;
use std::sync::mpsc;
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use core_affinity::CoreId;
use dpdk_sys as sys;

use crate::error_text;

/// Why a pinned thread could not start.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// The CPU does not exist, or this process may not use it.
    #[error("CPU {cpu} cannot be used: CPUs {online} are online")]
    Cpu {
        /// The CPU asked for.
        cpu: usize,
        /// Those that are online, as the kernel writes them: `0-3,6`.
        online: String,
    },
    /// The kernel has no thread left.
    #[error("thread {name}: {source}")]
    Spawn {
        /// The thread's name.
        name: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// DPDK has no lcore id left, or does not run.
    #[error("thread {name}: DPDK does not accept it: {reason}")]
    Register {
        /// The thread's name.
        name: String,
        /// DPDK's words.
        reason: String,
    },
}

/// The CPUs that are online, as the kernel writes them: `0-3,6`.
#[must_use]
pub fn online_cpus() -> String {
    fs::read_to_string("/sys/devices/system/cpu/online")
        .map_or_else(|_| "unknown".to_owned(), |list| list.trim().to_owned())
}

/// Pins the calling thread to one CPU.
pub(crate) fn pin(cpu: usize) -> Result<(), ThreadError> {
    /// Bits in glibc's `cpu_set_t`; `core_affinity` would index past it.
    const CPU_SET_BITS: usize = 1024;
    if cpu < CPU_SET_BITS && core_affinity::set_for_current(CoreId { id: cpu }) {
        return Ok(());
    }
    Err(ThreadError::Cpu {
        cpu,
        online: online_cpus(),
    })
}

/// Gives the lcore id back when the thread ends, also by a panic.
struct Registration;

impl Registration {
    fn new(name: &str) -> Result<Self, ThreadError> {
        // SAFETY: may be called by any thread; before the EAL runs it fails.
        let result = unsafe { sys::rte_thread_register() };
        if result == 0 {
            return Ok(Self);
        }
        // SAFETY: reads this thread's error number.
        let reason = error_text(unsafe { sys::weir_errno() });
        Err(ThreadError::Register {
            name: name.to_owned(),
            reason,
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: the value was made on this thread (it never leaves it), which is registered.
        unsafe { sys::rte_thread_unregister() };
    }
}

/// A thread that is pinned and registered.
#[derive(Debug)]
pub struct PinnedThread<T>(JoinHandle<Option<T>>);

impl<T> PinnedThread<T> {
    /// Waits for the thread to end.
    ///
    /// # Errors
    /// What the thread panicked with.
    ///
    /// # Panics
    /// Never: a thread that reported its start has a result.
    pub fn join(self) -> std::thread::Result<T> {
        Ok(self
            .0
            .join()?
            .expect("a thread without a result never reported its start"))
    }

    /// Whether the thread has ended, so that `join` would not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// The thread, to unpark it.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        self.0.thread()
    }
}

/// Starts `run` on a thread that is pinned to `cpu` and registered with DPDK, so that mempool
/// caches work for it. Returns once the thread is pinned and registered.
///
/// # Errors
/// `Cpu` for a CPU that cannot be used, `Spawn` and `Register` where the kernel or DPDK refuse.
pub fn spawn_pinned<T: Send + 'static>(
    cpu: usize,
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<PinnedThread<T>, ThreadError> {
    let (report, outcome) = mpsc::sync_channel(1);
    let own_name = name.to_owned();
    let body = move || match pin(cpu).and_then(|()| Registration::new(&own_name)) {
        Ok(_registered_until_the_end) => {
            // The spawner waits for exactly this, or for the error below.
            let _ = report.send(Ok(()));
            Some(run())
        }
        Err(error) => {
            let _ = report.send(Err(error));
            None
        }
    };
    let spawn_error = |source| ThreadError::Spawn {
        name: name.to_owned(),
        source,
    };
    let builder = std::thread::Builder::new().name(name.to_owned());
    let handle = builder.spawn(body).map_err(spawn_error)?;
    let ended = |_| {
        Err(spawn_error(std::io::Error::other(
            "it ended before it started",
        )))
    };
    outcome.recv().unwrap_or_else(ended)?;
    Ok(PinnedThread(handle))
}

/// Sets how late the kernel may wake the calling thread from a nap. Adaptive workers want 1 µs;
/// the default is 50 µs.
///
/// # Errors
/// The kernel's, which knows none for a valid duration.
pub fn set_timer_slack(slack: Duration) -> std::io::Result<()> {
    let nanos = u64::try_from(slack.as_nanos()).unwrap_or(u64::MAX);
    // Zero would mean the default.
    rustix::thread::set_current_timer_slack(Some(NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN)))
        .map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_cpu_is_named_with_those_that_exist() {
        for cpu in [1000, 100_000] {
            let error = pin(cpu).unwrap_err().to_string();
            assert!(error.contains(&format!("CPU {cpu} ")), "{error}");
            assert!(error.contains(&online_cpus()), "{error}");
        }
    }

    #[test]
    fn timer_slack_reaches_the_kernel() {
        std::thread::spawn(|| {
            set_timer_slack(Duration::from_micros(1)).unwrap();
            assert_eq!(rustix::thread::current_timer_slack().unwrap(), 1000);
        })
        .join()
        .unwrap();
    }
}
