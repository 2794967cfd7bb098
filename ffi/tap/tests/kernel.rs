//! The TAP against the running kernel, in a network namespace of its own. Needs root, and says
//! aloud when it is skipped.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::UnshareFlags;
use weir_tap::{Tap, TapConfig, TapError};

const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x11];

/// Runs `test` on a thread with a network namespace of its own, which ends with the thread.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root to make a network namespace");
        return;
    }
    let run = move || {
        // SAFETY: a thread may leave its network namespace at any time; nothing else is unshared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.expect("root may unshare");
        test();
    };
    std::thread::spawn(run)
        .join()
        .expect("the test's own assertions tell");
}

fn config(name: &str) -> TapConfig {
    TapConfig {
        name: name.into(),
        mac: Some(MAC),
        mtu: 1400,
    }
}

/// `ip` in the namespace of the calling thread, which a child process inherits.
fn ip(arguments: &str) -> String {
    let out = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("iproute2 is there");
    assert!(
        out.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Waits for a frame of this Ethernet type; the kernel sends others of its own accord.
fn recv_type(tap: &Tap, ether_type: [u8; 2]) -> Vec<u8> {
    let mut buffer = [0; 2048];
    loop {
        match tap.recv(&mut buffer) {
            Ok(len) if buffer[12..14] == ether_type => return buffer[..len].to_vec(),
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                let mut fds = [PollFd::new(tap, PollFlags::IN)];
                let limit = Timespec {
                    tv_sec: 5,
                    tv_nsec: 0,
                };
                assert_eq!(
                    poll(&mut fds, Some(&limit)).expect("poll works"),
                    1,
                    "no frame came"
                );
            }
        }
    }
}

#[test]
fn mac_mtu_carrier_and_state_reach_the_kernel_and_drop_removes_the_interface() {
    in_namespace(|| {
        let tap = Tap::open(&config("wan0")).expect("root can open a TAP");
        let link = ip("link show wan0");
        assert!(
            link.contains("02:00:00:00:00:11") && link.contains("mtu 1400"),
            "{link}"
        );
        assert!(link.starts_with(&format!("{}: wan0", tap.ifindex().expect("it exists"))));
        tap.set_up(true).expect("up");
        assert!(ip("link show wan0").contains("NO-CARRIER"));
        tap.set_carrier(true).expect("carrier");
        assert!(ip("link show wan0").contains("LOWER_UP"));
        tap.set_carrier(false).expect("no carrier");
        assert!(ip("link show wan0").contains("NO-CARRIER"));
        tap.set_up(false).expect("down");
        tap.set_mac([2, 0, 0, 0, 0, 0x22]).expect("MAC");
        tap.set_mtu(9000).expect("MTU");
        let link = ip("link show wan0");
        assert!(
            link.contains("02:00:00:00:00:22") && link.contains("mtu 9000"),
            "{link}"
        );
        drop(tap);
        assert!(!ip("link show").contains("wan0"));
    });
}

#[test]
fn frames_pass_both_ways_and_checksums_are_complete() {
    in_namespace(|| {
        let tap = Tap::open(&config("lan0")).expect("root can open a TAP");
        tap.set_up(true).expect("up");
        tap.set_carrier(true).expect("carrier");
        ip("address add 192.0.2.1/24 dev lan0");
        ip("neighbour add 192.0.2.2 lladdr 02:00:00:00:00:99 dev lan0");
        let socket = UdpSocket::bind("192.0.2.1:7000").expect("the address is ours");
        socket
            .send_to(b"to the wire", "192.0.2.2:7001")
            .expect("sent");
        let frame = recv_type(&tap, [0x08, 0x00]);
        assert_eq!(&frame[..6], [2, 0, 0, 0, 0, 0x99], "{frame:x?}");
        assert_eq!(&frame[6..12], MAC);
        assert_eq!(&frame[42..], b"to the wire");
        assert_eq!(
            udp_sum(&frame),
            0xffff,
            "the UDP checksum is partial: {frame:x?}"
        );

        let mut answer = frame.clone();
        answer[..6].copy_from_slice(&frame[6..12]);
        answer[6..12].copy_from_slice(&frame[..6]);
        // Addresses and ports change places, which changes no sum.
        answer[26..30].copy_from_slice(&frame[30..34]);
        answer[30..34].copy_from_slice(&frame[26..30]);
        answer[34..36].copy_from_slice(&frame[36..38]);
        answer[36..38].copy_from_slice(&frame[34..36]);
        assert_eq!(
            tap.send(&answer).expect("the interface is up"),
            answer.len()
        );
        let mut buffer = [0; 64];
        let (len, from) = socket.recv_from(&mut buffer).expect("the answer arrives");
        assert_eq!((&buffer[..len], from.port()), (&b"to the wire"[..], 7001));
    });
}

/// Sum over pseudo header and UDP datagram of an untagged IPv4 frame: 0xffff if it is right.
fn udp_sum(frame: &[u8]) -> u16 {
    let udp = &frame[34..];
    let mut sum = 17 + u32::try_from(udp.len()).expect("short");
    for pair in frame[26..34].chunks(2).chain(udp.chunks(2)) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}

#[test]
fn bad_names_and_names_in_use_are_refused_with_the_name() {
    in_namespace(|| {
        for bad in ["", "a name", "sixteen-octets-x", "a/b", "eth%d", "."] {
            let error = Tap::open(&config(bad)).expect_err("the name is bad");
            assert!(matches!(error, TapError::Name { .. }), "{bad:?}: {error}");
        }
        let _first = Tap::open(&config("twice")).expect("root can open a TAP");
        let error = Tap::open(&config("twice")).expect_err("it is there");
        assert!(matches!(error, TapError::Exists { .. }) && error.to_string().contains("twice"));
        // A persistent TAP of somebody else must not be taken over either.
        ip("tuntap add mode tap name theirs");
        let error = Tap::open(&config("theirs")).expect_err("it is theirs");
        assert!(matches!(error, TapError::Exists { .. }), "{error}");
    });
}

#[test]
fn the_descriptor_is_closed_on_exec_and_does_not_block() {
    in_namespace(|| {
        let tap = Tap::open(&config("quiet")).expect("root can open a TAP");
        let error = tap.recv(&mut [0; 64]).expect_err("nothing was sent");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let flags = rustix::io::fcntl_getfd(tap.as_fd()).expect("it is open");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    });
}
