//! The ioctls of a network interface and of the TUN driver; all `unsafe` of this crate is here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Offload bits for TUNSETOFFLOAD: none, so that no frame has a partial checksum.
const NO_OFFLOADS: libc::c_ulong = 0;

/// Why there can be no interface of a name.
#[derive(Debug)]
pub(crate) enum Invalid {
    /// The kernel would refuse the name.
    Name,
    /// No socket to ask the kernel through.
    Socket(io::Error),
}

/// An interface by name, and a socket to configure it through. The socket stays in the network
/// namespace where it was opened, so that the interface is found there from any thread.
#[derive(Debug)]
pub(crate) struct Interface {
    name: String,
    socket: OwnedFd,
}

impl Interface {
    pub(crate) fn new(name: &str) -> Result<Self, Invalid> {
        // dev_valid_name() in the kernel, and '%', which would be a pattern for TUNSETIFF.
        let bad = |c: char| c == '/' || c == ':' || c == '%' || c == '\0' || c.is_whitespace();
        let len_bad = name.is_empty() || name.len() >= libc::IFNAMSIZ;
        if len_bad || name == "." || name == ".." || name.contains(bad) {
            return Err(Invalid::Name);
        }
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)
            .map_err(|errno| Invalid::Socket(errno.into()))?;
        Ok(Self {
            name: name.to_owned(),
            socket,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes this interface the TAP behind `tun`, an open /dev/net/tun.
    pub(crate) fn make_tap(&self, tun: BorrowedFd<'_>) -> io::Result<()> {
        let mut request = self.request();
        // TUN_EXCL closes the race with somebody who makes the name after we looked.
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_TUN_EXCL;
        request.ifr_ifru.ifru_flags = short(flags);
        ioctl(tun, libc::TUNSETIFF, &mut request)
    }

    pub(crate) fn index(&self) -> io::Result<u32> {
        let mut request = self.request();
        ioctl(self.socket.as_fd(), libc::SIOCGIFINDEX, &mut request)?;
        // SAFETY: SIOCGIFINDEX has written this member of the union.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        Ok(index.cast_unsigned())
    }

    pub(crate) fn set_up(&self, up: bool) -> io::Result<()> {
        let mut request = self.request();
        ioctl(self.socket.as_fd(), libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS has written this member of the union.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        let bit = short(libc::IFF_UP);
        request.ifr_ifru.ifru_flags = if up { flags | bit } else { flags & !bit };
        ioctl(self.socket.as_fd(), libc::SIOCSIFFLAGS, &mut request)
    }

    pub(crate) fn set_mac(&self, mac: [u8; 6]) -> io::Result<()> {
        let mut request = self.request();
        let mut address = libc::sockaddr {
            sa_family: libc::ARPHRD_ETHER,
            sa_data: [0; 14],
        };
        for (to, octet) in address.sa_data.iter_mut().zip(mac) {
            // `c_char` is signed on some targets; the bits stay.
            *to = libc::c_char::from_ne_bytes([octet]);
        }
        request.ifr_ifru.ifru_hwaddr = address;
        ioctl(self.socket.as_fd(), libc::SIOCSIFHWADDR, &mut request)
    }

    pub(crate) fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_mtu = i32::from(mtu);
        ioctl(self.socket.as_fd(), libc::SIOCSIFMTU, &mut request)
    }

    /// A request that names this interface, otherwise zero.
    fn request(&self) -> libc::ifreq {
        // SAFETY: all-zero octets are a valid `ifreq`: integers, arrays, and a null pointer.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // `new` left room for the final NUL.
        for (to, &octet) in request.ifr_name.iter_mut().zip(self.name.as_bytes()) {
            *to = libc::c_char::from_ne_bytes([octet]);
        }
        request
    }
}

pub(crate) fn no_offloads(tun: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value; `tun` is open.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETOFFLOAD, NO_OFFLOADS) })
}

pub(crate) fn set_carrier(tun: BorrowedFd<'_>, carrier: bool) -> io::Result<()> {
    let carrier = libc::c_int::from(carrier);
    // SAFETY: TUNSETCARRIER reads one int through the pointer; `tun` is open.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETCARRIER, &raw const carrier) })
}

/// Interface flags fit the 16 bits that the kernel gives them.
fn short(flags: libc::c_int) -> libc::c_short {
    let octets = flags.to_le_bytes();
    libc::c_short::from_le_bytes([octets[0], octets[1]])
}

fn ioctl(fd: BorrowedFd<'_>, number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the requests that this file passes here read and write one `ifreq`; `fd` is open.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), number, std::ptr::from_mut(request)) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
