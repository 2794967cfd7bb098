//! Ports on kernel devices: veth pairs and TAPs in a network namespace of the test's own. Needs
//! root, and says aloud when it is skipped.

mod common;

use std::process::Command;
use std::time::Duration;

use common::{eal, pool};
use rustix::thread::UnshareFlags;
use weir_dpdk::{Burst, Mbuf, Mempool, MempoolConfig, Port, PortConfig, Queues, Shortfall, Tsc};

/// Runs `test` on a thread with a network namespace of its own, which ends with the thread.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root to make a network namespace");
        return;
    }
    // DPDK's control threads keep the namespace of the thread that starts it: the first one's.
    drop(eal());
    let run = move || {
        // SAFETY: a thread may leave its network namespace at any time; nothing else is unshared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.expect("root may unshare");
        test();
    };
    std::thread::spawn(run)
        .join()
        .expect("the test's own assertions tell");
}

/// `ip` in the namespace of the calling thread, which a child process inherits.
fn ip(arguments: &str) {
    let out = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("iproute2 is there");
    assert!(
        out.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// A veth pair that the kernel itself says nothing on.
fn veth_pair(queues: u16) {
    ip(&format!(
        "link add near numtxqueues {queues} numrxqueues {queues} type veth \
         peer name far numtxqueues {queues} numrxqueues {queues}"
    ));
    for end in ["near", "far"] {
        ip(&format!("link set {end} addrgenmode none"));
        ip(&format!("link set {end} up"));
    }
}

fn open(device: &str, pool: Mempool) -> (Port, Queues) {
    let handle = eal()
        .attach(device)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut port = Port::configure(handle, &PortConfig::default(), pool)
        .unwrap_or_else(|error| panic!("{error}"));
    let queues = port.start().unwrap_or_else(|error| panic!("{error}"));
    (port, queues)
}

/// Frame number `i`: broadcast, of an experimental type, longer with `i`.
fn frame(pool: Mempool, i: u8) -> Mbuf {
    let mut bytes = vec![i; 60 + usize::from(i)];
    bytes[..6].fill(0xff);
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    pool.alloc_from(&bytes).expect("the pool is not empty")
}

/// Sends 200 frames from one port to the other, in chains of two segments if so asked, and
/// compares what arrives.
fn pass(from: &mut Queues, to: &mut Queues, pool: Mempool, chained: bool) {
    let tsc = Tsc::calibrate();
    let mut expected = 0_u8;
    let mut sent = 0_u8;
    let (mut out, mut arrived) = (Burst::new(), Burst::new());
    let limit = tsc.nanos() + 5_000_000_000;
    while expected < 200 {
        assert!(tsc.nanos() < limit, "{expected} of 200 frames came through");
        while sent < 200 && sent - expected < 64 && out.room() > 0 {
            let mut next = frame(pool, sent);
            if chained {
                let tail = pool
                    .alloc_from(&next.data()[40..])
                    .expect("the pool is not empty");
                next.truncate(40);
                next.chain(tail).expect("two segments");
            }
            out.push(next).expect("there is room");
            sent += 1;
        }
        from.tx[0].send(&mut out);
        to.rx[0].receive(&mut arrived);
        for got in arrived.drain() {
            if got.data().get(12..14) != Some(&[0x88, 0xb5]) {
                continue;
            }
            let want = frame(pool, expected);
            assert_eq!(got.data(), want.data());
            expected += 1;
        }
        std::thread::yield_now();
    }
}

/// Both directions between two devices.
fn pass_both_ways(pool: Mempool, near: &str, far: &str) {
    let (near, mut near_queues) = open(near, pool);
    let (far, mut far_queues) = open(far, pool);
    for chained in [false, true] {
        pass(&mut near_queues, &mut far_queues, pool, chained);
        pass(&mut far_queues, &mut near_queues, pool, chained);
    }
    for port in [&near, &far] {
        let stats = port.stats();
        assert!(
            stats.rx_frames >= 400 && stats.tx_frames >= 400,
            "{stats:?}"
        );
        assert!(port.link().up);
    }
}

#[test]
fn af_packet_on_veth_passes_frames_both_ways() {
    in_namespace(|| {
        veth_pair(1);
        let pool = pool(&eal(), "packet");
        pass_both_ways(
            pool,
            "net_af_packet0,iface=near",
            "net_af_packet1,iface=far",
        );
        assert_eq!(pool.in_use(), 0);
    });
}

#[test]
fn af_xdp_on_veth_passes_frames_both_ways() {
    in_namespace(|| {
        veth_pair(1);
        // The driver keeps what was in its fill rings when it closes, so there is no balance.
        let pool = pool(&eal(), "xdp");
        pass_both_ways(pool, "net_af_xdp0,iface=near", "net_af_xdp1,iface=far");
    });
}

#[test]
fn af_xdp_knows_its_interface_and_what_it_lacks() {
    in_namespace(|| {
        veth_pair(1);
        let pool = pool(&eal(), "xdplacks");
        let (port, _queues) = open("net_af_xdp5,iface=near", pool);
        assert_eq!(
            (port.driver(), port.interface()),
            ("net_af_xdp", Some("near"))
        );
        assert!(port.interface_index().is_some());
        assert!(port.report().shortfalls.contains(&Shortfall::MultiSegment));
        assert_ne!(port.mac(), [0; 6]);
    });
}

#[test]
fn the_ports_mtu_reaches_the_kernel_and_a_refused_one_is_reported() {
    in_namespace(|| {
        veth_pair(1);
        let pool = pool(&eal(), "mtu");
        let configure = |device: &str, mtu: u16| {
            let handle = eal()
                .attach(device)
                .unwrap_or_else(|error| panic!("{error}"));
            let config = PortConfig {
                mtu,
                ..PortConfig::default()
            };
            Port::configure(handle, &config, pool).unwrap_or_else(|error| panic!("{error}"))
        };
        let _port = configure("net_af_packet20,iface=near", 1400);
        let out = Command::new("ip")
            .args(["link", "show", "near"])
            .output()
            .expect("iproute2");
        let link = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(link.contains("mtu 1400"), "{link}");
        let port = configure("net_af_xdp20,iface=far", 9000);
        let lacks = &port.report().shortfalls;
        let refused = |lack: &Shortfall| matches!(lack, Shortfall::Mtu { asked: 9000, .. });
        assert!(lacks.iter().any(refused), "{lacks:?}");
    });
}

#[test]
fn a_netdev_is_left_as_it_was_found() {
    in_namespace(|| {
        veth_pair(1);
        let pool = pool(&eal(), "left");
        let show = || {
            let out = Command::new("ip")
                .args(["link", "show", "near"])
                .output()
                .expect("iproute2");
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        for device in ["net_af_xdp30,iface=near", "net_af_packet30,iface=near"] {
            let before = show();
            let opened = open(device, pool);
            assert!(show().contains("PROMISC"), "{}", show());
            drop(opened);
            assert_eq!(show(), before, "{device}");
        }
    });
}

#[test]
fn a_pool_too_small_for_the_device_is_named_with_what_it_needs() {
    in_namespace(|| {
        veth_pair(1);
        let eal = &mut *eal();
        let config = MempoolConfig {
            name: "few",
            count: 511,
            data_room: 2048,
            cache: 0,
            node: None,
        };
        let few = Mempool::new(eal, &config).expect("small");
        let handle = eal
            .attach("net_af_xdp9,iface=near")
            .expect("the interface is there");
        let error = Port::configure(handle, &PortConfig::default(), few).expect_err("too few");
        let error = error.to_string();
        assert!(
            error.contains("511 mbufs are free") && error.contains("net_af_xdp9"),
            "{error}"
        );
    });
}

#[test]
fn several_af_xdp_queues_of_one_interface_are_several_ports() {
    in_namespace(|| {
        veth_pair(2);
        let pool = pool(&eal(), "xdpqueues");
        let first = open("net_af_xdp6,iface=near,start_queue=0,queue_count=1", pool);
        let second = open("net_af_xdp7,iface=near,start_queue=1,queue_count=1", pool);
        assert_eq!((first.1.rx.len(), second.1.rx.len()), (1, 1));
    });
}

#[test]
fn a_tap_device_of_dpdk_passes_frames_to_the_kernel() {
    in_namespace(|| {
        let pool = pool(&eal(), "tap");
        let (_tap, mut tap_queues) = open("net_tap0,iface=dtap0", pool);
        ip("link set dtap0 addrgenmode none");
        ip("link set dtap0 up");
        let (_packet, mut packet_queues) = open("net_af_packet8,iface=dtap0", pool);
        pass(&mut tap_queues, &mut packet_queues, pool, false);
        pass(&mut packet_queues, &mut tap_queues, pool, false);
    });
}

#[test]
fn memif_passes_frames_within_the_process() {
    let pool = pool(&eal(), "memif");
    let socket = std::env::temp_dir().join(format!("weir-memif-{}.sock", std::process::id()));
    let socket = socket.display();
    let devices = ["server", "client"].map(|role| {
        let number = u8::from(role == "client");
        format!("net_memif{number},role={role},socket={socket},socket-abstract=no")
    });
    let (near, mut near_queues) = open(&devices[0], pool);
    let (far, mut far_queues) = open(&devices[1], pool);
    // The two connect over the socket, in DPDK's own thread.
    let tsc = Tsc::calibrate();
    let limit = tsc.nanos() + 5_000_000_000;
    while !(near.link().up && far.link().up) {
        assert!(tsc.nanos() < limit, "memif does not connect");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    pass(&mut near_queues, &mut far_queues, pool, true);
    pass(&mut far_queues, &mut near_queues, pool, true);
}
