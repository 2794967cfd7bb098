//! Attaching devices one by one, so that each failure names its device and the fix.

use std::ffi::{CStr, CString};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use dpdk_sys as sys;

use crate::eal::Eal;
use crate::{error_text, log};

/// Names and device strings are shorter than this in DPDK (`RTE_ETH_NAME_MAX_LEN`).
const NAME_LEN_MAX: usize = 63;

/// DPDK's device lists are not all locked, and a device may be removed by whichever thread drops
/// its last queue.
static HOTPLUG: Mutex<()> = Mutex::new(());

/// An attached device: stopped, closed and, if it is virtual, removed when this value goes.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: u16,
    /// The device string, with its number.
    pub(crate) name: String,
}

impl Drop for Device {
    fn drop(&mut self) {
        // Held to the end: once closed, the port's name looks free, but is so only when the device
        // is removed. An attachment in between would take the name in vain.
        let _guard = HOTPLUG.lock().unwrap_or_else(PoisonError::into_inner);
        let info = info(self.id);
        // Kernel-backed drivers leave their netdev promiscuous otherwise.
        // SAFETY: DPDK checks the port's number, and does nothing if it was not enabled.
        unsafe { sys::rte_eth_promiscuous_disable(self.id) };
        // Stopping is a no-op on a device that never started. Errors leave nothing to do.
        // SAFETY: the last owner is gone, so that no queue of the port is being polled.
        unsafe { sys::rte_eth_dev_stop(self.id) };
        // SAFETY: as above, and the port's number is not used again.
        unsafe { sys::rte_eth_dev_close(self.id) };
        // A PCI device may have other ports; a virtual one exists for this port alone, and its
        // name is free again once it is removed.
        let name = self.name.split(',').next().unwrap_or_default();
        if let Some(info) = info.ok().filter(|_| !is_pci_address(name)) {
            // SAFETY: closing a port leaves its device in place, so that the pointer is valid.
            unsafe { sys::rte_dev_remove(info.device) };
        }
    }
}

/// What DPDK knows about a port, or its error number.
pub(crate) fn info(id: u16) -> Result<sys::rte_eth_dev_info, i32> {
    let mut info = sys::rte_eth_dev_info::default();
    // SAFETY: DPDK checks the port's number and writes one struct.
    match unsafe { sys::rte_eth_dev_info_get(id, &raw mut info) } {
        0 => Ok(info),
        errno => Err(errno),
    }
}

/// An attached device that has not been configured. [`Port::configure`](crate::Port::configure)
/// takes it; dropping it detaches the device.
#[derive(Debug)]
pub struct PortHandle(pub(crate) Device);

impl PortHandle {
    /// The DPDK port number.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.0.id
    }

    /// The device string, with the number that was added where digits were missing.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.0.name
    }
}

/// Why a device could not be attached. Each is one line that names the device.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The string is empty, too long, or holds a NUL character.
    #[error("device {device:?}: neither a PCI address nor DRIVER[N][,key=value…]")]
    Syntax {
        /// The device string.
        device: String,
    },
    /// A port of this name exists; DPDK would merge the two silently.
    #[error("device {device:?}: already in use by another port; fix: give it another number")]
    InUse {
        /// The device string.
        device: String,
    },
    /// There is no PCI device at that address.
    #[error("device {device:?}: no such PCI device; fix: see `lspci -D`")]
    NoPciDevice {
        /// The device string.
        device: String,
    },
    /// The kernel's driver holds the device.
    #[error(
        "device {device:?}: bound to the kernel driver {driver}; \
         fix: dpdk-devbind.py -b vfio-pci {device}"
    )]
    KernelDriver {
        /// The PCI address.
        device: String,
        /// The kernel driver's name.
        driver: String,
    },
    /// The driver's network interface does not exist.
    #[error("device {device:?}: no interface {interface:?} in this network namespace")]
    NoInterface {
        /// The device string.
        device: String,
        /// The interface's name.
        interface: String,
    },
    /// No driver of that name is installed.
    #[error(
        "device {device:?}: no DPDK driver {driver:?}; fix: check the spelling, \
         or install the package with this driver's plug-in"
    )]
    NoDriver {
        /// The device string.
        device: String,
        /// The driver's name.
        driver: String,
    },
    /// The driver refused its arguments or could not open what they name.
    #[error("device {device:?}: {reason}{}{log}", if log.is_empty() { "" } else { ": " })]
    Refused {
        /// The device string.
        device: String,
        /// DPDK's text for its error number.
        reason: String,
        /// What the driver logged, in one line.
        log: String,
    },
}

impl Eal {
    /// Attaches a device: a PCI address, or `DRIVER[N][,key=value…]` in DPDK's own words. A
    /// missing N is filled in with the first that is free.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn attach(&mut self, device: &str) -> Result<PortHandle, AttachError> {
        let syntax = || AttachError::Syntax {
            device: device.to_owned(),
        };
        let name = device.split(',').next().unwrap_or_default();
        if name.is_empty() || name.len() > NAME_LEN_MAX {
            return Err(syntax());
        }
        let _guard = HOTPLUG.lock().unwrap_or_else(PoisonError::into_inner);
        let device = if is_pci_address(name) {
            check_pci(name)?;
            device.to_owned()
        } else {
            check_interface(device)?;
            numbered(device, name)
        };
        let name = device.split(',').next().unwrap_or_default();
        let (c_name, c_device) = (CString::new(name), CString::new(device.as_str()));
        let (c_name, c_device) = (
            c_name.map_err(|_| syntax())?,
            c_device.map_err(|_| syntax())?,
        );
        // PCI devices of `EalConfig::pci` have been probed at start.
        if let Some(id) = port_by_name(&c_name) {
            return if is_pci_address(name) && !self.claimed.contains(&id) {
                self.claimed.push(id);
                Ok(PortHandle(Device { id, name: device }))
            } else {
                Err(AttachError::InUse { device })
            };
        }
        log::take();
        // SAFETY: `&mut Eal` proves that the EAL runs, the lock that nobody else attaches or
        // removes; the string is NUL-terminated and copied.
        let result = unsafe { sys::rte_dev_probe(c_device.as_ptr()) };
        if result < 0 {
            return Err(refused(&device, name, result));
        }
        let Some(id) = port_by_name(&c_name).or_else(|| first_port(&c_device)) else {
            return Err(refused(&device, name, -19));
        };
        self.claimed.push(id);
        Ok(PortHandle(Device { id, name: device }))
    }
}

fn port_by_name(name: &CStr) -> Option<u16> {
    let mut id = 0;
    // SAFETY: the name is NUL-terminated, and `id` is ours to write.
    (unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut id) } == 0).then_some(id)
}

/// The first port of a device whose ports are not named after it.
fn first_port(device: &CStr) -> Option<u16> {
    let mut iterator = sys::rte_dev_iterator::default();
    // SAFETY: the iterator is zeroed, as DPDK wants it; the string outlives its use here.
    if unsafe { sys::rte_eth_iterator_init(&raw mut iterator, device.as_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the iterator has been initialised.
    let id = unsafe { sys::rte_eth_iterator_next(&raw mut iterator) };
    if id == sys::WEIR_PORTS_MAX {
        // DPDK has cleaned up when it finds no more.
        return None;
    }
    // SAFETY: the iterator has been initialised, and stopped early.
    unsafe { sys::rte_eth_iterator_cleanup(&raw mut iterator) };
    Some(id)
}

/// `device` with the first free number if its name ends without one.
fn numbered(device: &str, name: &str) -> String {
    if name.ends_with(|c: char| c.is_ascii_digit()) {
        return device.to_owned();
    }
    let arguments = &device[name.len()..];
    let free = (0..u16::MAX).find(|n| {
        CString::new(format!("{name}{n}")).is_ok_and(|name| port_by_name(&name).is_none())
    });
    format!("{name}{}{arguments}", free.unwrap_or(0))
}

/// `0000:03:00.0`, or without the domain.
fn is_pci_address(name: &str) -> bool {
    let hex =
        |part: &str, len: usize| part.len() == len && part.chars().all(|c| c.is_ascii_hexdigit());
    let Some((bus, function)) = name.rsplit_once('.') else {
        return false;
    };
    let mut parts = bus.rsplit(':');
    let (device, bus, domain) = (parts.next(), parts.next(), parts.next());
    hex(function, 1)
        && device.is_some_and(|part| hex(part, 2))
        && bus.is_some_and(|part| hex(part, 2))
        && domain.is_none_or(|part| hex(part, 4))
        && parts.next().is_none()
}

/// A PCI device must exist, and not be held by a kernel driver that DPDK cannot share.
pub(crate) fn check_pci(address: &str) -> Result<(), AttachError> {
    /// Drivers that DPDK works through; mlx and mana devices stay with their kernel driver.
    const USABLE: [&str; 7] = [
        "vfio-pci",
        "igb_uio",
        "uio_pci_generic",
        "nfp",
        "mlx4_core",
        "mlx5_core",
        "mana",
    ];
    let full = if address.len() == 7 {
        format!("0000:{address}")
    } else {
        address.to_owned()
    };
    let entry = Path::new("/sys/bus/pci/devices").join(&full);
    if !entry.exists() {
        return Err(AttachError::NoPciDevice {
            device: address.to_owned(),
        });
    }
    let driver = fs::read_link(entry.join("driver")).ok();
    let driver = driver
        .as_deref()
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy());
    match driver {
        Some(driver) if USABLE.contains(&&*driver) => Ok(()),
        driver => Err(AttachError::KernelDriver {
            device: full,
            driver: driver.map_or_else(|| "(none)".into(), |name| name.into_owned()),
        }),
    }
}

/// The netdev behind a kernel-backed virtual device, as its arguments name it.
pub(crate) fn interface(device: &str) -> Option<&str> {
    let (name, arguments) = device.split_once(',')?;
    let backed = ["net_af_xdp", "net_af_packet", "eth_af_xdp", "eth_af_packet"];
    if !backed.iter().any(|driver| name.starts_with(driver)) {
        return None;
    }
    arguments
        .split(',')
        .find_map(|argument| argument.strip_prefix("iface="))
}

/// The drivers' own words about a missing interface are many and vague.
fn check_interface(device: &str) -> Result<(), AttachError> {
    match interface(device) {
        Some(name) if interface_index(name).is_none() => Err(AttachError::NoInterface {
            device: device.to_owned(),
            interface: name.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is NUL-terminated.
    let index = unsafe { sys::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// Turns DPDK's verdict into one line; its log says more than its error number.
fn refused(device: &str, name: &str, result: i32) -> AttachError {
    /// Most drivers return -1 for anything, which is not EPERM.
    const ANYTHING: i32 = -1;
    let log = log::take();
    // The bus of virtual devices knows its drivers by name only.
    if log.contains("failed to parse device") {
        let driver = name.trim_end_matches(|c: char| c.is_ascii_digit());
        return AttachError::NoDriver {
            device: device.to_owned(),
            driver: driver.to_owned(),
        };
    }
    // Consequences that DPDK logs after the cause.
    let echoes = [
        "Driver cannot attach the device",
        "Failed to attach device on primary",
    ];
    let causes: Vec<&str> = log
        .lines()
        .filter(|line| !echoes.iter().any(|echo| line.contains(echo)))
        .collect();
    let reason = match result {
        ANYTHING => "the driver refused it; fix: check its arguments".to_owned(),
        errno => error_text(errno),
    };
    let log = log::one_line(&causes.join("\n"));
    AttachError::Refused {
        device: device.to_owned(),
        reason,
        log,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_told_from_driver_names() {
        for yes in ["0000:03:00.0", "03:00.1", "abcd:ef:1f.7"] {
            assert!(is_pci_address(yes), "{yes}");
        }
        for no in [
            "net_null0",
            "0000:03:00",
            "0:0000:03:00.0",
            "03:00.",
            "net_pcap0.1",
            "",
        ] {
            assert!(!is_pci_address(no), "{no}");
        }
    }

    #[test]
    fn the_interface_is_found_behind_kernel_backed_drivers_only() {
        assert_eq!(
            interface("net_af_xdp0,start_queue=1,iface=eth1"),
            Some("eth1")
        );
        assert_eq!(
            interface("net_af_packet,iface=veth0,qpairs=2"),
            Some("veth0")
        );
        assert_eq!(interface("net_tap0,iface=new"), None);
        assert_eq!(interface("net_null0"), None);
    }

    #[test]
    fn a_missing_pci_device_is_named() {
        let error = check_pci("ffff:ff:1f.7").unwrap_err().to_string();
        assert!(error.contains("ffff:ff:1f.7") && error.contains("no such PCI device"));
    }
}
