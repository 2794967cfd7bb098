//! Kernel TAP devices behind a safe API: how the kernel is attached to a port.
//!
//! Whole Ethernet frames, one per read or write, without a header before them
//! (`IFF_TAP | IFF_NO_PI`, no `IFF_VNET_HDR`) and with all offloads off, so that the kernel
//! hands up frames with complete checksums and no larger than the MTU. The device lives in the
//! network namespace of the thread that opens it, and ends with the [`Tap`]. No DPDK here, no
//! addresses, no routes.

mod interface;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rustix::fs::{Mode, OFlags};

use crate::interface::Interface;

/// How to open a TAP.
#[derive(Clone, Debug)]
pub struct TapConfig {
    /// The interface's name: 1 to 15 octets.
    pub name: String,
    /// Its MAC address, if the kernel should not choose one.
    pub mac: Option<[u8; 6]>,
    /// Octets of an Ethernet payload.
    pub mtu: u16,
}

/// Why a TAP could not be opened. Each is one line with the fix.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The name is empty, too long, or has characters that the kernel refuses.
    #[error("TAP {name:?}: not an interface name: 1 to 15 octets without '/', ':' or spaces")]
    Name {
        /// The name.
        name: String,
    },
    /// An interface of that name is there already.
    #[error("TAP {name:?}: an interface of that name exists; fix: another port name, or remove it")]
    Exists {
        /// The name.
        name: String,
    },
    /// The TUN driver is missing.
    #[error("TAP {name:?}: no /dev/net/tun; fix: modprobe tun")]
    NoDriver {
        /// The name.
        name: String,
    },
    /// This process may not make interfaces.
    #[error("TAP {name:?}: not permitted; fix: run as root or with CAP_NET_ADMIN")]
    Permission {
        /// The name.
        name: String,
    },
    /// A step failed for another reason.
    #[error("TAP {name:?}: {step}: {source}")]
    Step {
        /// The name.
        name: String,
        /// What was tried.
        step: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// An open TAP device. Dropping it removes the interface.
#[derive(Debug)]
pub struct Tap {
    file: File,
    interface: Interface,
}

impl Tap {
    /// Makes the interface, down and without carrier, in this thread's network namespace.
    ///
    /// # Errors
    /// See [`TapError`].
    pub fn open(config: &TapConfig) -> Result<Self, TapError> {
        let name = || config.name.clone();
        let step = |step| {
            move |source| TapError::Step {
                name: name(),
                step,
                source,
            }
        };
        let interface = Interface::new(&config.name).map_err(|source| match source {
            interface::Invalid::Name => TapError::Name { name: name() },
            interface::Invalid::Socket(source) => TapError::Step {
                name: name(),
                step: "opening a socket",
                source,
            },
        })?;
        // TUNSETIFF would attach to somebody else's persistent TAP without a word.
        if interface.index().is_ok() {
            return Err(TapError::Exists { name: name() });
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open("/dev/net/tun", flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV) => {
                return Err(TapError::NoDriver { name: name() });
            }
            Err(errno) => return Err(step("opening /dev/net/tun")(errno.into())),
        };
        interface
            .make_tap(file.as_fd())
            .map_err(|source| match source.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => TapError::Permission { name: name() },
                Some(libc::EBUSY | libc::EEXIST) => TapError::Exists { name: name() },
                Some(libc::EINVAL) => TapError::Name { name: name() },
                _ => step("making the interface")(source),
            })?;
        let tap = Self { file, interface };
        interface::no_offloads(tap.as_fd()).map_err(step("switching offloads off"))?;
        tap.set_carrier(false)
            .map_err(step("setting the carrier"))?;
        if let Some(mac) = config.mac {
            tap.set_mac(mac).map_err(step("setting the MAC address"))?;
        }
        tap.set_mtu(config.mtu).map_err(step("setting the MTU"))?;
        Ok(tap)
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.interface.name()
    }

    /// The interface's index, by which netlink knows it.
    ///
    /// # Errors
    /// The kernel's, if somebody removed the interface.
    pub fn ifindex(&self) -> io::Result<u32> {
        self.interface.index()
    }

    /// Sets whether the interface has carrier: routes through it follow.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_carrier(&self, carrier: bool) -> io::Result<()> {
        interface::set_carrier(self.as_fd(), carrier)
    }

    /// Sets the interface administratively up or down.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_up(&self, up: bool) -> io::Result<()> {
        self.interface.set_up(up)
    }

    /// Sets the interface's MAC address.
    ///
    /// # Errors
    /// The kernel's, for a multicast or zero address.
    pub fn set_mac(&self, mac: [u8; 6]) -> io::Result<()> {
        self.interface.set_mac(mac)
    }

    /// Sets the interface's MTU, in octets of Ethernet payload.
    ///
    /// # Errors
    /// The kernel's, for an MTU below 68.
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        self.interface.set_mtu(mtu)
    }

    /// Takes one frame that the kernel sends, and returns its length in octets. A frame that is
    /// longer than `buffer` is cut.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; others are the kernel's.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Gives the kernel one frame to receive.
    ///
    /// # Errors
    /// `WouldBlock` if the kernel's queue is full, an I/O error while the interface is down,
    /// `InvalidInput` for a frame below 14 octets.
    pub fn send(&self, frame: &[u8]) -> io::Result<usize> {
        (&self.file).write(frame)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
