//! Path checks on their way: from the kernel to one server, and its answers back.

use std::net::SocketAddr;

use weir_engine::id::ServerId;
use weir_engine::lease::LeaseId;
use weir_engine::path;
use weir_wire::checksum::{self, Sum};

use super::*;
use crate::config::{Config, Prefix};
use crate::paths::Path;
use crate::paths::tests::{VIP, VIP6, config, reconciled};
use crate::reconcile::Snapshot;

mod hostile;
mod kernel;
mod tunnel;

const WAN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0]);
const LAN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const DR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x21]);
const TUN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x31]);
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;

/// An edge whose tables are those of `config`, and what they were made of.
struct Site {
    edge: Edge,
    snapshot: Snapshot,
}

fn site_of(config: &Config) -> Site {
    let snapshot = reconciled(config);
    let mut edge = edge_with(&snapshot.tables);
    edge.paths.configure(&snapshot.tables);
    Site { edge, snapshot }
}

fn site() -> Site {
    site_of(&config())
}

fn vip(service: &str) -> SocketAddr {
    let address = match service {
        "web" => IpAddr::V4(VIP),
        _ => IpAddr::V6(VIP6),
    };
    SocketAddr::new(address, 80)
}

impl Site {
    fn id(&self, service: &str, server: &str) -> ServerId {
        self.snapshot.server(service, server).unwrap()
    }

    fn open(&mut self, service: &str, server: &str, protocol: Protocol) -> Path {
        let id = self.id(service, server);
        let paths = &mut self.edge.paths;
        paths.open(at(0), vip(service), protocol, id).unwrap()
    }

    /// The port and the frame that a probe's frame becomes.
    fn sent(&mut self, frame: &[u8]) -> Result<(PortId, Vec<u8>), UplinkDrop> {
        match self.edge.judge_down(frame)? {
            Down::Send(port, frame) => Ok((port, frame.into_owned())),
            Down::Answer(answer) => panic!("{answer:02x?}"),
        }
    }

    fn answered(&mut self, frame: &[u8]) -> Vec<u8> {
        match self.edge.judge_down(frame) {
            Ok(Down::Answer(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }
}

/// A packet with DF and TTL 64, in a frame.
fn frame((to, from): (MacAddr, MacAddr), src: IpAddr, dst: IpAddr, kind: u8, l4: &[u8]) -> Vec<u8> {
    let mut ip = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let [hi, lo] = u16::try_from(20 + l4.len()).unwrap().to_be_bytes();
            let mut ip = vec![0x45, 0, hi, lo, 0, 7, 0x40, 0, 64, kind, 0, 0];
            ip.extend([src.octets(), dst.octets()].concat());
            let sum = checksum::of(&ip);
            ip[10..12].copy_from_slice(&sum.0);
            ip
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let [hi, lo] = u16::try_from(l4.len()).unwrap().to_be_bytes();
            let fixed = [0x60, 0, 0, 0, hi, lo, kind, 64];
            [&fixed[..], &src.octets(), &dst.octets()].concat()
        }
        other => panic!("two families: {other:?}"),
    };
    let ether_type: [u8; 2] = if src.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
    ip.extend(l4);
    [&to.0[..], &from.0, &ether_type, &ip].concat()
}

fn pseudo(src: IpAddr, dst: IpAddr, kind: u8, len: usize) -> Sum {
    let (kind, len) = (Protocol(kind), u16::try_from(len).unwrap());
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Sum::pseudo(src, dst, kind, len),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Sum::pseudo(src, dst, kind, len),
        other => panic!("two families: {other:?}"),
    }
}

fn tcp(macs: (MacAddr, MacAddr), src: SocketAddr, dst: SocketAddr, flags: u8) -> Vec<u8> {
    let mut tcp = [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
    tcp.extend([
        0, 0, 3, 0xe8, 0, 0, 0, 9, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0,
    ]);
    let sum = pseudo(src.ip(), dst.ip(), 6, tcp.len()).over(&tcp).finish();
    tcp[16..18].copy_from_slice(&sum.0);
    frame(macs, src.ip(), dst.ip(), 6, &tcp)
}

fn udp(macs: (MacAddr, MacAddr), src: SocketAddr, dst: SocketAddr, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + data.len()).unwrap().to_be_bytes();
    let ports = [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
    let mut udp = [&ports[..], &len, &[0, 0], data].concat();
    let sum = pseudo(src.ip(), dst.ip(), 17, udp.len()).over(&udp);
    udp[6..8].copy_from_slice(&sum.finish().for_udp().0);
    frame(macs, src.ip(), dst.ip(), 17, &udp)
}

/// Port unreachable about the packet of `quoted`.
fn unreachable(src: IpAddr, dst: IpAddr, quoted: &[u8]) -> Vec<u8> {
    let head = if src.is_ipv4() { [3, 3] } else { [1, 4] };
    icmp_error(head, src, dst, quoted)
}

/// An ICMP error of a type and code about the packet of `quoted`.
fn icmp_error(head: [u8; 2], src: IpAddr, dst: IpAddr, quoted: &[u8]) -> Vec<u8> {
    let kind = if src.is_ipv4() { 1 } else { 58 };
    let mut icmp = [&head[..], &[0; 6], &quoted[14..]].concat();
    let sum = match src {
        IpAddr::V4(_) => checksum::of(&icmp),
        IpAddr::V6(_) => pseudo(src, dst, kind, icmp.len()).over(&icmp).finish(),
    };
    icmp[2..4].copy_from_slice(&sum.0);
    frame((LAN_MAC, DR_MAC), src, dst, kind, &icmp)
}

/// From the kernel, which has been told [`VIP_MAC`].
const FROM_KERNEL: (MacAddr, MacAddr) = (VIP_MAC, WAN_MAC);
/// From a server to the port that leads to it.
const FROM_SERVER: (MacAddr, MacAddr) = (LAN_MAC, DR_MAC);

/// The IP packet of a frame, which has one hop behind it: its TTL is 63, its checksums are right.
fn check_inner(packet: &[u8], original: &[u8]) {
    let (mut expected, is_v4) = (original[14..].to_vec(), packet[0] >> 4 == 4);
    if is_v4 {
        expected[8] = 63;
        expected[10..12].fill(0);
        let sum = checksum::of(&expected[..20]);
        expected[10..12].copy_from_slice(&sum.0);
        assert!(checksum::is_valid(&packet[..20]));
    } else {
        expected[7] = 63;
    }
    assert_eq!(packet, expected);
}

#[test]
fn a_probe_of_a_dr_server_changes_its_macs_and_loses_a_hop() {
    for service in ["web", "web6"] {
        let mut site = site();
        let path = site.open(service, "dr", Protocol::TCP);
        let syn = tcp(FROM_KERNEL, path.source, vip(service), SYN);
        let (port, sent) = site.sent(&syn).unwrap();
        assert_eq!(port, LAN);
        assert_eq!(sent[..6], DR_MAC.0, "{service}");
        assert_eq!(sent[6..12], LAN_MAC.0, "{service}");
        assert_eq!(sent[12..14], syn[12..14]);
        check_inner(&sent[14..], &syn);
    }
}

#[test]
fn a_probe_of_a_tunnels_server_is_wrapped_all_four_ways() {
    for (service, server, from, to) in [
        ("web", "tun4", "10.0.0.1", "10.0.0.31"),
        ("web", "tun6", "fd00::1", "fd00::31"),
        ("web6", "tun4", "10.0.0.1", "10.0.0.31"),
        ("web6", "tun6", "fd00::1", "fd00::31"),
    ] {
        let mut site = site();
        let path = site.open(service, server, Protocol::UDP);
        let question = udp(FROM_KERNEL, path.source, vip(service), b"path?");
        let (port, sent) = site.sent(&question).unwrap();
        assert_eq!(
            (port, &sent[..6], &sent[6..12]),
            (LAN, &TUN_MAC.0[..], &LAN_MAC.0[..])
        );
        let outer = Frame::parse(&sent).unwrap().ip().unwrap();
        let kind = if service == "web" {
            Protocol::IPIP
        } else {
            Protocol::IPV6
        };
        let addresses = (from.parse().unwrap(), to.parse().unwrap());
        assert_eq!(
            outer,
            (addresses.0, addresses.1, kind),
            "{service}/{server}"
        );
        let outer = &sent[14..];
        let inner_len = question.len() - 14;
        let header_len = match server {
            "tun4" => {
                assert!(checksum::is_valid(&outer[..20]));
                assert_eq!(
                    usize::from(u16::from_be_bytes([outer[2], outer[3]])),
                    20 + inner_len
                );
                // DF as in the inner IPv4 header, clear around IPv6, where each has an id.
                let df_and_id = ([outer[6], outer[7]], [outer[4], outer[5]]);
                let expected = if service == "web" {
                    ([0x40, 0], [0, 0])
                } else {
                    ([0, 0], [0, 1])
                };
                assert_eq!((df_and_id, outer[8]), (expected, 63));
                20
            }
            _ => {
                assert_eq!(
                    usize::from(u16::from_be_bytes([outer[4], outer[5]])),
                    inner_len
                );
                assert_eq!(outer[7], 63);
                40
            }
        };
        check_inner(&outer[header_len..], &question);
    }
}

#[test]
fn an_answer_reaches_the_tap_of_the_probes_socket() {
    for (service, tap, mac) in [("web", LAN, LAN_MAC), ("web6", WAN, WAN_MAC)] {
        let mut site = site();
        let path = site.open(service, "dr", Protocol::TCP);
        assert_eq!(path.port, tap);
        let answer = tcp(FROM_SERVER, vip(service), path.source, SYN_ACK);
        let mut expected = answer.clone();
        expected[..6].copy_from_slice(&mac.0);
        let given = site.edge.up_by(LAN, PuntClass::Dip, &answer);
        assert_eq!(given, Ok((tap, expected)), "{service}");
        // Whatever port it comes by.
        assert!(site.edge.up_by(WAN, PuntClass::Dip, &answer).is_ok());
    }
}

#[test]
fn an_icmp_error_about_a_probe_reaches_its_socket() {
    for service in ["web", "web6"] {
        let mut site = site();
        let path = site.open(service, "dr", Protocol::UDP);
        let question = udp(FROM_KERNEL, path.source, vip(service), b"path?");
        let error = unreachable(vip(service).ip(), path.source.ip(), &question);
        assert!(site.edge.up_by(LAN, PuntClass::Dip, &error).is_ok());
        let mut other = path.source;
        other.set_port(path.source.port() + 1);
        let question = udp(FROM_KERNEL, other, vip(service), b"path?");
        let error = unreachable(vip(service).ip(), path.source.ip(), &question);
        let refused = site.edge.up_by(LAN, PuntClass::Dip, &error);
        assert_eq!(refused, Err(UplinkDrop::NoPath));
    }
}

/// Each differs from the probe of `path` in one thing.
fn strangers(service: &str, path: Path) -> Vec<(SocketAddr, SocketAddr)> {
    let change = |of: SocketAddr, port: u16, address: Option<&str>| {
        let address = address.map_or(of.ip(), |a| a.parse().unwrap());
        SocketAddr::new(address, port)
    };
    let (source, vip) = (path.source, vip(service));
    let dip = if service == "web" {
        "192.0.2.2"
    } else {
        "2001:db8::2"
    };
    vec![
        (change(source, source.port() + 1, None), vip),
        (change(source, 22, None), vip),
        (change(source, source.port(), Some(dip)), vip),
        (source, change(vip, 81, None)),
        (source, change(vip, 0, None)),
    ]
}

#[test]
fn what_is_no_probe_passes_neither_way() {
    for service in ["web", "web6"] {
        let mut site = site();
        let path = site.open(service, "dr", Protocol::TCP);
        let vip = vip(service);
        for (source, to) in strangers(service, path) {
            let sent = site.sent(&tcp(FROM_KERNEL, source, to, SYN));
            assert_eq!(sent, Err(UplinkDrop::NoPath), "{source} {to}");
            let answer = tcp(FROM_SERVER, to, source, SYN_ACK);
            let given = site.edge.up_by(LAN, PuntClass::Dip, &answer);
            assert_eq!(given, Err(UplinkDrop::NoPath), "{source} {to}");
        }
        let other_protocol = udp(FROM_KERNEL, path.source, vip, b"");
        assert_eq!(site.sent(&other_protocol), Err(UplinkDrop::NoPath));
        let other_protocol = frame(FROM_KERNEL, path.source.ip(), vip.ip(), 47, &[0; 40]);
        assert_eq!(site.sent(&other_protocol), Err(UplinkDrop::NoPath));
        // Nobody may speak as the VIP, least of all to it.
        let reflected = tcp(FROM_KERNEL, vip, vip, SYN);
        assert_eq!(site.sent(&reflected), Err(UplinkDrop::KernelVip));
        let whole = tcp(FROM_KERNEL, path.source, vip, SYN);
        for len in 14..whole.len() {
            let cut = site.sent(&whole[..len]);
            // Too short to be seen to be to a VIP: no receiver would take it.
            let harmless =
                cut == Ok((WAN, whole[..len].to_vec())) && path::probe(&whole[..len]).is_none();
            assert!(
                harmless || cut == Err(UplinkDrop::NoPath),
                "{len}: {cut:02x?}"
            );
        }
    }
}

#[test]
fn a_fragment_is_no_probe() {
    let mut site = site();
    let path = site.open("web", "dr", Protocol::UDP);
    let mut fragment = udp(FROM_KERNEL, path.source, vip("web"), &[7; 64]);
    for field in [[0x20, 0], [0, 8], [0x20, 8]] {
        fragment[20..22].copy_from_slice(&field);
        fragment[24..26].fill(0);
        let sum = checksum::of(&fragment[14..34]);
        fragment[24..26].copy_from_slice(&sum.0);
        assert_eq!(
            site.sent(&fragment),
            Err(UplinkDrop::NoPath),
            "{field:02x?}"
        );
    }
}

#[test]
fn a_closed_probe_is_heard_for_five_seconds_and_a_removed_server_not_at_all() {
    let mut site = site();
    let path = site.open("web", "dr", Protocol::TCP);
    let reset = tcp(FROM_KERNEL, path.source, vip("web"), 0x04);
    let answer = tcp(FROM_SERVER, vip("web"), path.source, SYN_ACK);
    let Edge {
        uplink,
        responder,
        paths,
    } = &mut site.edge;
    paths.close(at(0), vip("web"), path.source.port());
    for (ms, passes) in [(4_999, true), (5_000, false)] {
        let mut out = Vec::new();
        let class = (LAN, PuntClass::Dip);
        let up = uplink.up(at(ms), class, &answer, responder, paths, &mut out);
        let down = uplink.down(at(ms), LAN, &reset, responder, paths);
        assert_eq!((up.is_some(), down.is_some()), (passes, passes), "{ms}");
    }
    assert_eq!(uplink.counters().dropped[UplinkDrop::NoPath as usize], 2);
    assert_eq!((uplink.counters().up, uplink.counters().down), (1, 1));

    let path = site.open("web", "dr", Protocol::TCP);
    let mut without = config();
    without.services[0].servers.remove(0);
    let tables = reconciled(&without).tables;
    site.edge.paths.configure(&tables);
    let syn = tcp(FROM_KERNEL, path.source, vip("web"), SYN);
    // Its slot is another server's there, or nobody's: never is that one probed.
    let sent = site.sent(&syn);
    assert!(
        !matches!(&sent, Ok((_, frame)) if frame[..6] == TUN_MAC.0),
        "{sent:02x?}"
    );
}

#[test]
fn a_server_that_is_not_resolved_is_not_sent_to() {
    let mut site = site();
    for (service, server) in [("web", "off"), ("web", "nowhere"), ("web6", "off")] {
        let path = site.open(service, server, Protocol::TCP);
        let syn = tcp(FROM_KERNEL, path.source, vip(service), SYN);
        assert_eq!(
            site.sent(&syn),
            Err(UplinkDrop::PathHop),
            "{service}/{server}"
        );
    }
}

#[test]
fn what_does_not_fit_into_the_tunnel_is_answered_with_the_size_that_does() {
    for (service, server, room) in [
        ("web", "tun4", 1480u16),
        ("web", "tun6", 1460),
        ("web6", "tun4", 1480),
        ("web6", "tun6", 1460),
    ] {
        let mut site = site();
        let path = site.open(service, server, Protocol::UDP);
        let headers_len = if service == "web" { 28 } else { 48 };
        let question = |len: u16| {
            let data = vec![7; usize::from(len) - headers_len];
            udp(FROM_KERNEL, path.source, vip(service), &data)
        };
        let (_, sent) = site.sent(&question(room)).unwrap();
        assert_eq!(sent.len(), 1500 + 14, "{service}/{server}");
        let question = question(room + 1);
        let answer = site.answered(&question);
        assert_eq!(
            (&answer[..6], &answer[6..12]),
            (&WAN_MAC.0[..], &VIP_MAC.0[..])
        );
        let ip = Frame::parse(&answer).unwrap().ip().unwrap();
        let (l4, kind) = if service == "web" { (34, 1) } else { (54, 58) };
        assert_eq!(ip, (vip(service).ip(), path.source.ip(), Protocol(kind)));
        let (head, mtu) = match service {
            "web" => ([3, 4], u16::from_be_bytes([answer[l4 + 6], answer[l4 + 7]])),
            _ => ([2, 0], u16::from_be_bytes([answer[l4 + 6], answer[l4 + 7]])),
        };
        assert_eq!(
            (&answer[l4..l4 + 2], mtu),
            (&head[..], room),
            "{service}/{server}"
        );
        let sum = match service {
            "web" => Sum::new(),
            _ => pseudo(ip.0, ip.1, kind, answer.len() - l4),
        };
        assert!(sum.over(&answer[l4..]).is_valid());
        assert_eq!(answer[l4 + 8..], question[14..14 + answer.len() - l4 - 8]);
    }
}

#[test]
fn the_kernel_is_told_where_a_vip_is_and_nobody_else_is_asked() {
    let mut site = site();
    let dip = Ipv4Addr::new(10, 0, 0, 1);
    let ask = arp_frame(Operation::Request, dip, VIP);
    assert_eq!(
        site.answered(&ask),
        arp::reply((VIP_MAC, VIP), (OTHER, dip))
    );
    let dip = "fd00::1".parse().unwrap();
    let ask = nd::tests::solicit(dip, VIP6);
    let asker = MacAddr(ask[6..12].try_into().unwrap());
    let advert = site.answered(&ask);
    assert_eq!(advert, nd::advert(VIP_MAC, VIP6, Some((asker, dip))));
    // Solicited, and overriding what was known (RFC 4861 section 4.4).
    assert_eq!(advert[58], 0x60);
    assert!(VIP_MAC.0[0] & 3 == 2, "locally administered, of a station");
    let other = tcp(
        FROM_KERNEL,
        "10.0.0.1:22".parse().unwrap(),
        "192.0.2.5:80".parse().unwrap(),
        SYN,
    );
    assert_eq!(site.edge.down(&other), Ok(()));
}

#[test]
fn a_vip_that_is_a_dip_is_the_kernels_own_affair() {
    let mut config = config();
    config.ports[0].addresses.push(Prefix {
        address: VIP.into(),
        len: 24,
    });
    let mut site = site_of(&config);
    let dip = Ipv4Addr::new(10, 0, 0, 1);
    let ask = arp_frame(Operation::Request, dip, VIP);
    assert_eq!(site.sent(&ask), Err(UplinkDrop::KernelVip));
    let own = tcp(
        FROM_KERNEL,
        "10.0.0.1:50000".parse().unwrap(),
        vip("web"),
        SYN,
    );
    assert_eq!(site.edge.down(&own), Ok(()));
}

#[test]
fn a_backup_probes_from_its_ports_own_mac() {
    let mut config = config();
    let instance = crate::testing::vrrp("edge", "wan0", 51, &["192.0.2.10"]);
    config.vrrp = vec![instance];
    for role in [Role::Backup, Role::Active] {
        let mut site = site_of(&config);
        let responder = &mut site.edge.responder;
        responder.set_role(at(0), LeaseId(0), role);
        assert_eq!(responder.is_active(VIP.into()), role == Role::Active);
        let path = site.open("web", "dr", Protocol::TCP);
        let (port, sent) = site
            .sent(&tcp(FROM_KERNEL, path.source, vip("web"), SYN))
            .unwrap();
        assert_eq!(
            (port, &sent[..6], &sent[6..12]),
            (LAN, &DR_MAC.0[..], &LAN_MAC.0[..])
        );
        let answer = tcp(FROM_SERVER, vip("web"), path.source, SYN_ACK);
        assert!(site.edge.up_by(LAN, PuntClass::Dip, &answer).is_ok());
    }
}
