//! Path checks: what passes from a VIP to a DIP, and how a probe is sent to one server.

mod frames;

use core::net::{IpAddr, SocketAddr};

use frames::{everything, fix_ip, fragments_of};
use weir_engine::explain::Query;
use weir_engine::id::PortId;
use weir_engine::path::{self, PORT_FIRST, Probe, Refusal};
use weir_engine::tables::{Hop, Mode, Role, Server, Unserved, Vip};
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::{ServerSpec, ServiceSpec, Spec, World, ip};
use weir_engine::verdict::{DropReason, PuntClass, Verdict};
use weir_wire::addr::{L4Port, Protocol};
use weir_wire::checksum::{self, Sum};

const WAN: [u8; 6] = [2, 0, 0, 0, 1, 0];
const LAN: [u8; 6] = [2, 0, 0, 0, 1, 1];
const SERVER: [u8; 6] = [2, 0, 0, 0, 3, 11];
const VIPS: [&str; 2] = ["10.9.9.9", "fd00:9::9"];
const DIPS: [&str; 2] = ["10.1.0.1", "fd00:1::1"];

fn ethernet(dst: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = if packet[0] >> 4 == 4 {
        [8, 0]
    } else {
        [0x86, 0xdd]
    };
    [&dst[..], &SERVER, &kind, packet].concat()
}

/// An IP packet of either family, with DF and TTL 64.
fn packet(src: &str, dst: &str, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    match (ip(src), ip(dst)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => frames::ipv4(src, dst, protocol, payload),
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let [hi, lo] = u16::try_from(payload.len())
                .expect("short enough")
                .to_be_bytes();
            let fixed = [0x60, 0, 0, 0, hi, lo, protocol.0, 64];
            [&fixed[..], &src.octets(), &dst.octets(), payload].concat()
        }
        _ => unreachable!("two families"),
    }
}

fn pseudo(src: &str, dst: &str, protocol: Protocol, len: usize) -> Sum {
    let len = u16::try_from(len).expect("short enough");
    match (ip(src), ip(dst)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Sum::pseudo(src, dst, protocol, len),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Sum::pseudo(src, dst, protocol, len),
        _ => unreachable!("two families"),
    }
}

fn tcp((src, sport): (&str, u16), (dst, dport): (&str, u16), flags: u8) -> Vec<u8> {
    let mut tcp = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    tcp.extend([
        0, 0, 3, 0xe8, 0, 0, 0, 9, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0,
    ]);
    let sum = pseudo(src, dst, Protocol::TCP, tcp.len())
        .over(&tcp)
        .finish();
    tcp[16..18].copy_from_slice(&sum.0);
    packet(src, dst, Protocol::TCP, &tcp)
}

fn udp((src, sport): (&str, u16), (dst, dport): (&str, u16), data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + data.len()).expect("short enough");
    let parts = [
        sport.to_be_bytes(),
        dport.to_be_bytes(),
        len.to_be_bytes(),
        [0, 0],
    ];
    let mut udp = parts.concat();
    udp.extend(data);
    let sum = pseudo(src, dst, Protocol::UDP, udp.len())
        .over(&udp)
        .finish()
        .for_udp();
    udp[6..8].copy_from_slice(&sum.0);
    packet(src, dst, Protocol::UDP, &udp)
}

/// ICMP of either family: type and code as for IPv4, of port unreachable or an echo reply.
fn icmp(src: &str, dst: &str, unreachable: bool, data: &[u8]) -> Vec<u8> {
    let v6 = ip(src).is_ipv6();
    let (protocol, head) = match (v6, unreachable) {
        (false, true) => (Protocol::ICMP, [3, 3]),
        (false, false) => (Protocol::ICMP, [0, 0]),
        (true, true) => (Protocol::ICMPV6, [1, 4]),
        (true, false) => (Protocol::ICMPV6, [129, 0]),
    };
    let mut icmp = [&head[..], &[0; 6], data].concat();
    let sum = match v6 {
        true => pseudo(src, dst, protocol, icmp.len()).over(&icmp).finish(),
        false => checksum::of(&icmp),
    };
    icmp[2..4].copy_from_slice(&sum.0);
    packet(src, dst, protocol, &icmp)
}

fn verdict(world: &mut World, packet: &[u8]) -> Verdict {
    world
        .send(1, TestFrame::new(&ethernet(LAN, packet)))
        .verdict
}

#[test]
fn d11_from_a_vip_only_answers_to_path_checks_pass() {
    let mut world = World::new(&everything());
    let (passes, drops) = (
        Verdict::Punt(PuntClass::Dip),
        Verdict::Drop(DropReason::VipSource),
    );
    for ((vip, dip), client) in VIPS.into_iter().zip(DIPS).zip(["172.16.0.1", "fd00:5::1"]) {
        for port in [PORT_FIRST, 50_000, 65_535] {
            let probe = udp((dip, port), (vip, 80), b"?");
            for answer in [
                tcp((vip, 80), (dip, port), 0x12),
                tcp((vip, 81), (dip, port), 0x14),
                udp((vip, 80), (dip, port), b"!"),
                icmp(vip, dip, true, &probe),
            ] {
                assert_eq!(verdict(&mut world, &answer), passes, "{answer:02x?}");
            }
        }
        let whole = udp((vip, 80), (dip, 50_000), &[7; 64]);
        let elsewhere = udp((dip, 50_000), (client, 80), b"?");
        for other in [
            tcp((vip, 80), (dip, PORT_FIRST - 1), 0x12),
            tcp((vip, 50_000), (dip, 22), 0x02),
            udp((vip, 80), (dip, 161), b"!"),
            tcp((vip, 80), (client, 50_000), 0x12),
            icmp(vip, dip, false, &[0; 8]),
            icmp(vip, dip, true, &udp((dip, 22), (vip, 80), b"?")),
            icmp(vip, dip, true, &udp((client, 50_000), (vip, 80), b"?")),
            icmp(vip, dip, true, &elsewhere),
            icmp(vip, dip, true, &whole),
            packet(vip, dip, Protocol(47), &[0; 40]),
        ] {
            assert_eq!(verdict(&mut world, &other), drops, "{other:02x?}");
        }
        for len in 0..8 {
            let cut = icmp(
                vip,
                dip,
                true,
                &udp((dip, 50_000), (vip, 80), b"?")[..20 + len],
            );
            assert_eq!(verdict(&mut world, &cut), drops, "{len}");
        }
    }
    let whole = ethernet(LAN, &udp(("10.9.9.9", 80), ("10.1.0.1", 50_000), &[7; 64]));
    for piece in fragments_of(&whole, 24) {
        let sent = world.send(1, TestFrame::new(&piece));
        assert_eq!(sent.verdict, drops);
    }
}

#[test]
fn d11_a_backup_takes_them_too_and_an_own_address_is_no_server() {
    for (role, dip, expected) in [
        (Role::Backup, None, Verdict::Punt(PuntClass::Dip)),
        (Role::Active, None, Verdict::Punt(PuntClass::Dip)),
        (
            Role::Active,
            Some(PortId(0)),
            Verdict::Drop(DropReason::VipSource),
        ),
    ] {
        let mut spec = everything();
        let unserved = Unserved::Answer;
        // Of a VIP that is a DIP, the standard network knows 10.0.0.1.
        let vip = if dip.is_some() { "10.0.0.1" } else { VIPS[0] };
        spec.vips = vec![(
            ip(vip),
            Vip {
                role,
                unserved,
                dip,
            },
        )];
        let mut world = World::new(&spec);
        let answer = tcp((vip, 80), (DIPS[0], 50_000), 0x12);
        assert_eq!(verdict(&mut world, &answer), expected, "{role:?} {dip:?}");
    }
}

#[test]
fn d11_explain_says_so() {
    let world = World::new(&everything());
    for (port, expected) in [
        (50_000, ("punt", Some("dip"))),
        (PORT_FIRST - 1, ("drop", Some("vip_source"))),
    ] {
        for (vip, dip) in VIPS.into_iter().zip(DIPS) {
            let query = Query {
                protocol: Protocol::TCP,
                source: (ip(vip), L4Port(80)),
                destination: (ip(dip), L4Port(port)),
                port: Some(PortId(1)),
            };
            let walk = world.engine.explain(&world.tables, world.now, &query);
            assert_eq!((walk.verdict, walk.reason), expected, "{vip} {port}");
        }
    }
}

/// Services on port 80 of either VIP, each with the one server.
fn one_server(address: &str, mode: Mode) -> World {
    let mut spec = Spec::standard();
    for vip in VIPS {
        let mut service = ServiceSpec::tcp(vip, 80, mode, &[]);
        service.servers = vec![ServerSpec {
            address: ip(address),
            port: None,
            weight: 1,
            mode,
        }];
        spec.services.push(service);
    }
    World::new(&spec)
}

fn forward(world: &World, frame: &[u8]) -> Result<(PortId, Vec<u8>), Refusal> {
    let server = world.tables.servers[0].as_ref().expect("one server");
    path::forward(&world.tables, server, frame, 0x1234)
}

#[test]
fn a_probe_is_sent_as_a_clients_packet_is() {
    for (vip, client) in VIPS.into_iter().zip(["172.16.0.1", "fd00:5::1"]) {
        let same_family = |address| ip(address).is_ipv4() == ip(vip).is_ipv4();
        for (server, mode) in [
            ("10.1.0.11", Mode::Dr),
            ("fd00:1::11", Mode::Dr),
            ("10.1.0.11", Mode::Tunnel),
            ("fd00:1::11", Mode::Tunnel),
        ] {
            if mode == Mode::Dr && !same_family(server) {
                continue;
            }
            let mut world = one_server(server, mode);
            // Ethernet padding is not the packet's.
            let mut frame = ethernet(WAN, &tcp((client, 40_000), (vip, 80), 0x02));
            frame.extend([0xa5; 6]);
            let (port, mut probe) = forward(&world, &frame).unwrap();
            let sent = world.send(0, TestFrame::new(&frame));
            assert_eq!(
                sent.verdict,
                Verdict::Forward(port),
                "{vip} {server} {mode:?}"
            );
            let mut packet = sent.out[0].1.clone();
            if mode == Mode::Tunnel && ip(vip).is_ipv6() && ip(server).is_ipv4() {
                // DF is clear here, so each has an identification of its own.
                assert_eq!(probe[18..20], [0x12, 0x34]);
                for frame in [&mut probe, &mut packet] {
                    assert!(checksum::is_valid(&frame[14..34]));
                    frame[18..20].fill(0);
                    fix_ip(frame);
                }
            }
            assert_eq!(probe, packet, "{vip} {server} {mode:?}");
        }
    }
}

#[test]
fn a_tagged_port_gives_the_tag_later() {
    let mut spec = Spec::standard().with(ServiceSpec::tcp(VIPS[0], 80, Mode::Dr, &[11]));
    spec.ports[1].vlan = Some(7);
    let world = World::new(&spec);
    let frame = ethernet(WAN, &tcp(("10.1.0.1", 50_000), (VIPS[0], 80), 0x02));
    let (_, probe) = forward(&world, &frame).unwrap();
    assert_eq!(probe[..14], [&SERVER[..], &LAN, &[8, 0]].concat());
    assert_eq!(probe.len(), frame.len());
}

#[test]
fn what_does_not_fit_is_refused_with_the_size_that_does() {
    for (vip, dip, server, mode, mtu) in [
        (VIPS[0], DIPS[0], "10.1.0.11", Mode::Dr, 1500),
        (VIPS[0], DIPS[0], "10.1.0.11", Mode::Tunnel, 1480),
        (VIPS[0], DIPS[0], "fd00:1::11", Mode::Tunnel, 1460),
        (VIPS[1], DIPS[1], "10.1.0.11", Mode::Tunnel, 1480),
        (VIPS[1], DIPS[1], "fd00:1::11", Mode::Tunnel, 1460),
    ] {
        let world = one_server(server, mode);
        let empty = udp((dip, 50_000), (vip, 80), b"").len();
        let frame = |len: usize| {
            let data = vec![7; len - empty];
            ethernet(WAN, &udp((dip, 50_000), (vip, 80), &data))
        };
        assert!(forward(&world, &frame(mtu)).is_ok(), "{vip} {server}");
        let refused = forward(&world, &frame(mtu + 1));
        let mtu = u16::try_from(mtu).unwrap();
        assert_eq!(refused, Err(Refusal::TooBig { mtu }), "{vip} {server}");
    }
}

#[test]
fn what_cannot_be_sent_is_refused_with_the_packet_paths_reason() {
    let world = one_server("10.1.0.11", Mode::Tunnel);
    let server = world.tables.servers[0].as_ref().unwrap();
    let frame = ethernet(WAN, &tcp((DIPS[0], 50_000), (VIPS[0], 80), 0x02));
    let refused =
        |server: &Server, frame: &[u8]| match path::forward(&world.tables, server, frame, 0) {
            Err(Refusal::Drop(reason)) => reason,
            other => panic!("{other:?}"),
        };
    let mut unresolved = server.clone();
    unresolved.hop = Hop::Unresolved {
        port: PortId(1),
        neighbour: unresolved.address,
    };
    let mut lost = server.clone();
    lost.hop = Hop::NoRoute;
    let mut sourceless = server.clone();
    sourceless.tunnel_source = None;
    let mut nat = server.clone();
    nat.mode = Mode::Nat;
    assert_eq!(
        refused(&unresolved, &frame),
        DropReason::NeighbourUnresolved
    );
    for server in [&lost, &sourceless, &nat] {
        assert_eq!(refused(server, &frame), DropReason::NoRoute);
    }
    let mut last = frame.clone();
    last[22] = 1;
    fix_ip(&mut last);
    assert_eq!(refused(server, &last), DropReason::TtlExpired);
    for len in 0..frame.len() {
        assert_eq!(
            refused(server, &frame[..len]),
            DropReason::Malformed,
            "{len}"
        );
    }
}

#[test]
fn a_probe_and_its_answers_name_the_same_way() {
    for (vip, dip) in VIPS.into_iter().zip(DIPS) {
        let way = |protocol| Probe {
            source: SocketAddr::new(ip(dip), 50_000),
            destination: SocketAddr::new(ip(vip), 80),
            protocol,
        };
        let (syn, answer) = (
            ethernet(LAN, &tcp((dip, 50_000), (vip, 80), 0x02)),
            ethernet(LAN, &tcp((vip, 80), (dip, 50_000), 0x12)),
        );
        assert_eq!(path::probe(&syn), Some(way(Protocol::TCP)));
        assert_eq!(path::answered(&answer), Some(way(Protocol::TCP)));
        let question = udp((dip, 50_000), (vip, 80), b"?");
        let error = ethernet(LAN, &icmp(vip, dip, true, &question));
        assert_eq!(path::answered(&error), Some(way(Protocol::UDP)));
        assert_eq!(path::probe(&error), None);
        for len in 0..answer.len() {
            assert_eq!(path::probe(&answer[..len]), None);
            assert_eq!(path::answered(&answer[..len]), None);
        }
    }
    let arp = [&[0xff; 6][..], &SERVER, &[8, 6], &[0; 46]].concat();
    assert_eq!((path::probe(&arp), path::answered(&arp)), (None, None));
}
