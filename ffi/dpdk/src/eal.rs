//! DPDK's environment: started once per process, with the memory that the pools need.
//!
//! The EAL's own threads inherit the affinity of the thread that starts it. So that thread is
//! pinned to the control CPU first; else they would land on the workers' CPUs.

use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_sys as sys;

use crate::device::{self, AttachError};
use crate::hugepages::{self, Hugepages};
use crate::{error_text, log, thread};

/// What the EAL takes for itself, its ports' rings and fragmentation, beyond the pools.
const OVERHEAD_OCTETS: usize = 24 << 20;

/// How to start the EAL.
#[derive(Clone, Debug)]
pub struct EalConfig {
    /// Unique on the machine; names DPDK's run-time directory.
    pub file_prefix: String,
    /// CPU of the control thread: the caller is pinned to it, and DPDK's own threads stay there.
    pub control_cpu: usize,
    /// Whether to use hugepages.
    pub hugepages: Hugepages,
    /// Octets that pools and devices will need: the sum of [`Mempool::octets`].
    ///
    /// [`Mempool::octets`]: crate::Mempool::octets
    pub memory: usize,
    /// PCI addresses of the ports. Without any, the PCI bus is not touched.
    pub pci: Vec<String>,
}

/// Why the EAL did not start. Each is one line with the fix.
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    /// It was started before; once per process is all that DPDK can do.
    #[error("DPDK is already running in this process")]
    AlreadyRunning,
    /// Hugepages are required, and too few are free.
    #[error(
        "hugepages are required: {needed_mib} MiB are needed, {free_mib} MiB are free; \
         fix: sysctl -w vm.nr_hugepages={pages}, or `hugepages: auto`"
    )]
    Hugepages {
        /// What pools and devices need.
        needed_mib: usize,
        /// What is free in pages of all sizes.
        free_mib: usize,
        /// The number of 2 MiB pages that would do.
        pages: usize,
    },
    /// The control CPU cannot be used.
    #[error("control CPU: {0}")]
    Cpu(#[from] thread::ThreadError),
    /// A PCI device does not exist, or the kernel's driver holds it.
    #[error(transparent)]
    Device(#[from] AttachError),
    /// A setting holds a NUL character.
    #[error("{0:?} is not usable as a DPDK argument")]
    Argument(String),
    /// DPDK refused to start.
    #[error("DPDK did not start: {reason} ({log}){fix}")]
    Init {
        /// DPDK's text for its error number.
        reason: String,
        /// What DPDK logged, in one line.
        log: String,
        /// What to do, where that is known.
        fix: &'static str,
    },
}

/// The memory that DPDK works in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages.
    Huge,
    /// Ordinary pages, and why. It costs TLB misses, and PCI devices need an IOMMU.
    Ordinary {
        /// Why not hugepages.
        why: String,
    },
}

/// Proof that the EAL runs. It runs until the process ends.
#[derive(Debug)]
pub struct Eal {
    memory: Memory,
    /// Ports that have been given out.
    pub(crate) claimed: Vec<u16>,
}

impl Eal {
    /// Pins the calling thread to the control CPU and starts the EAL. Once per process, also if
    /// DPDK itself fails: it cannot be started a second time.
    ///
    /// # Errors
    /// See [`EalError`].
    pub fn init(config: &EalConfig) -> Result<Self, EalError> {
        static STARTED: AtomicBool = AtomicBool::new(false);

        let memory = choose_memory(config.hugepages, needed(config), hugepages::free_octets())?;
        let arguments = arguments(config, &memory)?;
        // DPDK would only say that the device cannot be used.
        config
            .pci
            .iter()
            .try_for_each(|address| device::check_pci(address))?;
        if STARTED.load(Ordering::SeqCst) {
            return Err(EalError::AlreadyRunning);
        }
        thread::pin(config.control_cpu)?;
        // From here on DPDK keeps what it has begun, and would refuse a second try.
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyRunning);
        }
        log::capture();
        let mut argv: Vec<_> = arguments.into_iter().map(CString::into_raw).collect();
        let argc = i32::try_from(argv.len()).unwrap_or(i32::MAX);
        // DPDK keeps pointers into the strings and may reorder the array: both live forever.
        let argv = {
            argv.push(std::ptr::null_mut());
            argv.leak()
        };
        // SAFETY: `argv` holds `argc` NUL-terminated strings and a final null, writable and
        // never freed; the swap above lets one thread through, once.
        let result = unsafe { sys::rte_eal_init(argc, argv.as_mut_ptr()) };
        if result < 0 {
            // SAFETY: reads this thread's error number.
            let errno = unsafe { sys::weir_errno() };
            return Err(init_error(errno, &log::take()));
        }
        log::take();
        log::capture_libraries();
        remove_runtime_dir();
        Ok(Self {
            memory,
            claimed: Vec::new(),
        })
    }

    /// What memory DPDK works in.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What DPDK and its drivers have logged since the last call, one event per line.
    #[must_use]
    pub fn take_log(&self) -> String {
        log::take()
    }
}

fn needed(config: &EalConfig) -> usize {
    config.memory + OVERHEAD_OCTETS
}

fn choose_memory(wish: Hugepages, needed: usize, free: usize) -> Result<Memory, EalError> {
    let (needed_mib, free_mib) = (needed.div_ceil(1 << 20), free >> 20);
    match wish {
        Hugepages::Off => Ok(Memory::Ordinary {
            why: "switched off".into(),
        }),
        _ if free >= needed => Ok(Memory::Huge),
        Hugepages::Auto => Ok(Memory::Ordinary {
            why: format!("{needed_mib} MiB are needed in hugepages, {free_mib} MiB are free"),
        }),
        Hugepages::Required => Err(EalError::Hugepages {
            needed_mib,
            free_mib,
            pages: needed.div_ceil(2 << 20),
        }),
    }
}

fn arguments(config: &EalConfig, memory: &Memory) -> Result<Vec<CString>, EalError> {
    let mut arguments = vec![
        "weir".to_owned(),
        // Lcore id 0 whatever the CPU's number: DPDK's ids end at 127.
        format!("--lcores=0@{}", config.control_cpu),
        format!("--file-prefix={}", config.file_prefix),
        "--no-telemetry".to_owned(),
        // Warnings and worse, into `log`.
        "--log-level=*:5".to_owned(),
    ];
    match memory {
        Memory::Huge => arguments.push("--in-memory".to_owned()),
        // --in-memory would exclude --no-huge; --no-shconf keeps files off the disk as well.
        Memory::Ordinary { .. } => {
            let mib = needed(config).div_ceil(1 << 20);
            arguments.extend(["--no-huge".to_owned(), "--no-shconf".to_owned()]);
            arguments.extend(["-m".to_owned(), mib.to_string()]);
        }
    }
    if config.pci.is_empty() {
        arguments.push("--no-pci".to_owned());
    }
    for address in &config.pci {
        arguments.extend(["-a".to_owned(), address.clone()]);
    }
    let to_c =
        |argument: String| CString::new(argument.clone()).map_err(|_| EalError::Argument(argument));
    arguments.into_iter().map(to_c).collect()
}

/// DPDK makes a run-time directory even where no file will go there, and never removes it.
fn remove_runtime_dir() {
    // SAFETY: takes nothing, and returns a static buffer that was filled by `rte_eal_init`.
    let path = unsafe { sys::rte_eal_get_runtime_dir() };
    // SAFETY: the buffer is NUL-terminated.
    let path = unsafe { CStr::from_ptr(path) }.to_string_lossy();
    // Fails if a driver keeps something there after all; then it must stay.
    let _ = std::fs::remove_dir(&*path);
}

fn init_error(errno: i32, log: &str) -> EalError {
    let log = log::one_line(log);
    let fix = if log.contains("memory") && log.contains("uge") {
        "; fix: sysctl -w vm.nr_hugepages=N with a greater N, or `hugepages: off`"
    } else if errno == 13 || errno == 1 || log.contains("ermission") {
        "; fix: run as root, or with CAP_IPC_LOCK, CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN"
    } else {
        ""
    };
    EalError::Init {
        reason: error_text(errno),
        log,
        fix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EalConfig {
        EalConfig {
            file_prefix: "weir-test".into(),
            control_cpu: 3,
            hugepages: Hugepages::Auto,
            memory: 100 << 20,
            pci: Vec::new(),
        }
    }

    fn text(memory: &Memory, config: &EalConfig) -> String {
        let arguments = arguments(config, memory).unwrap();
        let words: Vec<_> = arguments.iter().map(|a| a.to_str().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn auto_uses_hugepages_only_if_enough_are_free() {
        assert_eq!(
            choose_memory(Hugepages::Auto, 100, 100).unwrap(),
            Memory::Huge
        );
        let few = choose_memory(Hugepages::Auto, 100 << 20, 6 << 20).unwrap();
        let why = "100 MiB are needed in hugepages, 6 MiB are free".to_owned();
        assert_eq!(few, Memory::Ordinary { why });
    }

    #[test]
    fn required_hugepages_that_are_missing_say_how_many_to_reserve() {
        let error = choose_memory(Hugepages::Required, 101 << 20, 6 << 20).unwrap_err();
        assert!(error.to_string().contains("vm.nr_hugepages=51"), "{error}");
    }

    #[test]
    fn no_huge_and_in_memory_exclude_each_other() {
        let huge = text(&Memory::Huge, &config());
        assert!(
            huge.contains("--in-memory") && !huge.contains("--no-huge"),
            "{huge}"
        );
        let ordinary = text(&Memory::Ordinary { why: String::new() }, &config());
        assert!(
            ordinary.contains("--no-huge --no-shconf -m 124"),
            "{ordinary}"
        );
        assert!(!ordinary.contains("--in-memory"), "{ordinary}");
    }

    #[test]
    fn the_pci_bus_is_left_alone_without_pci_ports() {
        assert!(text(&Memory::Huge, &config()).contains("--no-pci"));
        let pci = EalConfig {
            pci: vec!["0000:03:00.0".into()],
            ..config()
        };
        let with_pci = text(&Memory::Huge, &pci);
        assert!(with_pci.contains("-a 0000:03:00.0") && !with_pci.contains("--no-pci"));
    }
}
