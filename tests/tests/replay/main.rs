//! Replays: capture files in, the real binary, capture files out, compared octet by octet.
//!
//! One port, so that the frames of a conversation arrive in the order in which they stand here.
//! What a right director sends is built anew by `weir_tests::frames` from the RFCs and from what
//! Linux IPVS does.

mod director;

use director::{Outcome, Replay};
use serde_json::{Value, json};
use weir_tests::frames::{self, ACK, FIN, IPIP, IPV6, Ip, PSH, SYN, UDP};
use weir_wire::addr::MacAddr;

const PORT: MacAddr = MacAddr([2, 0, 0, 0, 1, 0]);
const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 2, 0xfe]);
/// Of the server `.11`.
const SERVER: MacAddr = MacAddr([2, 0, 0, 0, 3, 11]);
const CLIENT: &str = "172.16.0.1";
const CLIENT6: &str = "2001:db8::1";
const VIP: &str = "10.0.0.10";
const VIP6: &str = "fd00::10";

/// The port that all replays have: clients behind a router, servers on the same link.
fn port() -> Value {
    json!({
        "name": "wan0", "mac": PORT.to_string(), "addresses": ["10.0.0.1/24", "fd00::1/64"],
        "gateway": ["10.0.0.254", "fd00::254"],
        "neighbours": [
            {"address": "10.0.0.254", "mac": ROUTER.to_string()},
            {"address": "fd00::254", "mac": ROUTER.to_string()},
            {"address": "10.0.0.11", "mac": SERVER.to_string()},
            {"address": "fd00::11", "mac": SERVER.to_string()},
        ],
    })
}

fn service(address: &str, mode: &str, protocol: &str) -> Value {
    let family = if address.contains(':') {
        "fd00::11"
    } else {
        "10.0.0.11"
    };
    let mut server = json!({"address": family});
    if mode == "nat" {
        server["port"] = 8080.into();
    }
    json!({
        "name": format!("{mode}-{protocol}"), "address": address, "port": 80, "mode": mode,
        "protocol": protocol, "scheduler": "rr", "servers": [server],
    })
}

fn replay(services: Value, frames: Vec<Vec<u8>>) -> Option<Outcome> {
    Replay {
        ports: vec![port()],
        services,
        flows: 64,
        frames: vec![frames],
    }
    .run()
}

fn from_router(packet: &[u8]) -> Vec<u8> {
    frames::padded(&frames::ethernet(PORT, ROUTER, packet), 60)
}

fn from_server(packet: &[u8]) -> Vec<u8> {
    frames::padded(&frames::ethernet(PORT, SERVER, packet), 60)
}

fn to_server(packet: &[u8]) -> Vec<u8> {
    frames::ethernet(SERVER, PORT, packet)
}

fn to_router(packet: &[u8]) -> Vec<u8> {
    frames::ethernet(ROUTER, PORT, packet)
}

/// The three first packets of a client: opening, acknowledging, asking.
fn opening(ip: Ip, sport: u16, dport: u16) -> Vec<Vec<u8>> {
    let segment = |flags, data: &[u8]| ip.tcp(sport, dport, flags, data);
    vec![
        segment(SYN, b""),
        segment(ACK, b""),
        segment(ACK | PSH, b"GET / HTTP/1.0\r\n\r\n"),
    ]
}

#[track_caller]
fn assert_frames(got: &[Vec<u8>], wanted: &[Vec<u8>]) {
    let hex = |frame: &[u8]| frame.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert!(
            got == wanted,
            "frame {at}:\n got {}\nwant {}",
            hex(got),
            hex(wanted)
        );
    }
    assert_eq!(got.len(), wanted.len(), "as many frames");
}

#[test]
fn d46_direct_routing_changes_macs_and_ttl_only() {
    for (client, vip) in [(CLIENT, VIP), (CLIENT6, VIP6)] {
        let ip = Ip::new(client, vip);
        let sent = opening(ip, 40_000, 80)
            .iter()
            .map(|packet| from_router(packet))
            .collect();
        let Some(outcome) = replay(json!([service(vip, "dr", "tcp")]), sent) else {
            return;
        };
        let wanted: Vec<_> = opening(ip.ttl(63), 40_000, 80)
            .iter()
            .map(|packet| to_server(packet))
            .collect();
        assert_frames(&outcome.out[0], &wanted);
        assert_eq!(outcome.flows.len(), 1, "one flow: {:?}", outcome.flows);
    }
}

#[test]
fn d50_nat_rewrites_both_directions() {
    for (client, vip, server) in [(CLIENT, VIP, "10.0.0.11"), (CLIENT6, VIP6, "fd00::11")] {
        let (outer, inner) = (Ip::new(client, vip), Ip::new(client, server));
        let (back, forth) = (inner.reversed(), outer.reversed());
        let mut sent: Vec<_> = opening(outer, 40_000, 80)
            .iter()
            .map(|p| from_router(p))
            .collect();
        sent.insert(1, from_server(&back.tcp(8080, 40_000, SYN | ACK, b"")));
        sent.push(from_server(&back.tcp(
            8080,
            40_000,
            FIN | ACK,
            b"HTTP/1.0 200 OK\r\n\r\n",
        )));
        let Some(outcome) = replay(json!([service(vip, "nat", "tcp")]), sent) else {
            return;
        };
        let (inner, forth) = (inner.ttl(63), forth.ttl(63));
        let mut wanted: Vec<_> = opening(inner, 40_000, 8080)
            .iter()
            .map(|p| to_server(p))
            .collect();
        wanted.insert(1, to_router(&forth.tcp(80, 40_000, SYN | ACK, b"")));
        wanted.push(to_router(&forth.tcp(
            80,
            40_000,
            FIN | ACK,
            b"HTTP/1.0 200 OK\r\n\r\n",
        )));
        assert_frames(&outcome.out[0], &wanted);
    }
}

#[test]
fn d2_d44_tunnels_carry_the_packet_without_ethernet_padding() {
    let cases = [
        (CLIENT, VIP, "10.0.0.1", "10.0.0.11", IPIP),
        (CLIENT6, VIP6, "fd00::1", "fd00::11", IPV6),
    ];
    for (client, vip, dip, server, protocol) in cases {
        let inner = Ip::new(client, vip);
        let sent = opening(inner, 40_000, 80)
            .iter()
            .map(|packet| from_router(packet))
            .collect();
        let Some(outcome) = replay(json!([service(vip, "tunnel", "tcp")]), sent) else {
            return;
        };
        // The outer TTL is the inner one after the hop, DF is copied, and with it goes id 0.
        let outer = Ip {
            id: 0,
            ..Ip::new(dip, server).ttl(63)
        };
        let inside = opening(inner.ttl(63), 40_000, 80);
        let wanted: Vec<_> = inside
            .iter()
            .map(|packet| to_server(&outer.packet(protocol, packet)))
            .collect();
        assert_frames(&outcome.out[0], &wanted);
    }
}

#[test]
fn d38_a_packet_too_big_for_the_tunnel_is_answered_to_the_client() {
    let ip = Ip::new(CLIENT, VIP);
    let data = vec![7; 1500 - 28];
    let sent = vec![from_router(&ip.udp(5000, 80, &data))];
    let Some(outcome) = replay(json!([service(VIP, "tunnel", "udp")]), sent) else {
        return;
    };
    let [answer] = &outcome.out[0][..] else {
        panic!("one answer: {:?}", outcome.out)
    };
    let packet = frames::packet_of(answer).expect("IP");
    assert_eq!(answer[..6], ROUTER.0);
    assert_eq!(
        (&packet[12..16], &packet[16..20]),
        (&[10, 0, 0, 10][..], &[172, 16, 0, 1][..])
    );
    assert_eq!(packet[20..22], [3, 4], "fragmentation needed");
    assert_eq!(
        packet[26..28],
        1480_u16.to_be_bytes(),
        "the MTU less the outer header"
    );
    assert_eq!(packet[6..8], [0, 0], "an error is never a fragment");
    assert_eq!(frames::l4_sum_is_right(packet), Some(true));
    let quoted = &ip.ttl(63).udp(5000, 80, &data)[..packet.len() - 28];
    assert_eq!(
        &packet[28..],
        quoted,
        "what is quoted is what came, a hop later"
    );
    assert_eq!(outcome.drops.get("too_big"), Some(&1));
}

#[test]
fn d26_fragments_follow_the_first_one_in_any_order() {
    let ip = Ip::new(CLIENT, VIP).may_fragment();
    let datagram = ip.datagram(5000, 80, &[9; 3000]);
    let pieces = |ip: Ip| ip.fragments(UDP, &datagram, 1480);
    let mut sent = pieces(ip);
    let (next, later) = (Ip { id: 77, ..ip }, Ip { id: 78, ..ip });
    let mut disordered = pieces(next);
    disordered.reverse();
    sent.extend(disordered);
    sent.push(pieces(later).remove(1)); // its first one never comes
    let sent = sent.iter().map(|packet| from_router(packet)).collect();
    let Some(outcome) = replay(json!([service(VIP, "dr", "udp")]), sent) else {
        return;
    };
    let wanted: Vec<_> = pieces(ip.ttl(63))
        .iter()
        .map(|packet| to_server(packet))
        .collect();
    assert_frames(&outcome.out[0][..3], &wanted);
    let mut held: Vec<_> = pieces(next.ttl(63))
        .iter()
        .map(|packet| to_server(packet))
        .collect();
    let mut got = outcome.out[0][3..].to_vec();
    held.sort();
    got.sort();
    assert_frames(&got, &held);
    assert_eq!(
        outcome.drops.get("fragment_orphan"),
        Some(&1),
        "{:?}",
        outcome.drops
    );
    assert_eq!(outcome.flows.len(), 1, "all of them are one flow");
}

#[test]
fn d7_a_tagged_port_takes_and_sends_its_vlan_alone() {
    let ip = Ip::new(CLIENT, VIP);
    let syn = from_router(&ip.tcp(40_000, 80, SYN, b""));
    let sent = vec![
        frames::tagged(&syn, 100),
        frames::tagged(&syn, 101),
        frames::tagged(&frames::tagged(&syn, 7), 100), // QinQ
        syn,
    ];
    let mut tagged = port();
    tagged["vlan"] = 100.into();
    let services = json!([service(VIP, "dr", "tcp")]);
    let replay = Replay {
        ports: vec![tagged],
        services,
        flows: 64,
        frames: vec![sent],
    };
    let Some(outcome) = replay.run() else { return };
    let wanted = to_server(&ip.ttl(63).tcp(40_000, 80, SYN, b""));
    assert_frames(&outcome.out[0], &[frames::tagged(&wanted, 100)]);
    assert_eq!(
        outcome.drops.get("unknown_vlan"),
        Some(&3),
        "{:?}",
        outcome.drops
    );
}

#[test]
fn d33_d34_errors_about_a_flow_reach_its_server() {
    let ip = Ip::new(CLIENT, VIP);
    let router = Ip::new("172.16.0.254", VIP);
    let mtu = [0, 0, 0x04, 0xb0]; // 1200
    let about = |src: &str, sport| Ip::new(src, CLIENT).tcp(sport, 40_000, ACK, b"payload");
    let sent = vec![
        from_router(&ip.tcp(40_000, 80, SYN, b"")),
        from_router(&router.icmp(3, 4, mtu, &about(VIP, 80)[..28])),
    ];
    let Some(outcome) = replay(json!([service(VIP, "dr", "tcp")]), sent.clone()) else {
        return;
    };
    let error = router.ttl(63).icmp(3, 4, mtu, &about(VIP, 80)[..28]);
    assert_frames(&outcome.out[0][1..], &[to_server(&error)]);
    let Some(outcome) = replay(json!([service(VIP, "nat", "tcp")]), sent) else {
        return;
    };
    let to = Ip::new("172.16.0.254", "10.0.0.11").ttl(63);
    let error = to.icmp(3, 4, mtu, &about("10.0.0.11", 8080)[..28]);
    assert_frames(&outcome.out[0][1..], &[to_server(&error)]);
}

/// Frames that are wrong, each with the reason that must count it.
fn zoo() -> Vec<(&'static str, Vec<u8>)> {
    let ip = Ip::new(CLIENT, VIP);
    let ip6 = Ip::new(CLIENT6, VIP6);
    let syn = frames::ethernet(PORT, ROUTER, &ip.tcp(40_000, 80, SYN, b""));
    let flags = |flags| from_router(&ip.tcp(40_000, 80, flags, b""));
    let from = |src: &str| from_router(&Ip::new(src, VIP).tcp(40_000, 80, SYN, b""));
    let mut unsummed = ip6.udp(5000, 80, b"data");
    unsummed[46..48].fill(0);
    let mut long = ip.udp(5000, 80, &[0; 1473]);
    long.truncate(1501);
    let may = ip.may_fragment();
    vec![
        ("truncated", syn[..30].to_vec()),
        ("truncated", frames::patched(&syn, 16, &[0x05, 0xdc])),
        ("malformed", frames::patched(&syn, 14, &[0x44])),
        ("bad_ip_checksum", frames::patched(&syn, 24, &[0, 0])),
        ("udp_checksum_zero", from_router(&unsummed)),
        (
            "tiny_fragment",
            from_router(&may.fragments(6, &[0; 16], 8)[0]),
        ),
        (
            "unknown_ether_type",
            frames::patched(&syn, 12, &[0x12, 0x34]),
        ),
        ("not_our_mac", frames::patched(&syn, 0, &[2, 9, 9, 9, 9, 9])),
        ("link_broadcast", frames::patched(&syn, 0, &[0xff; 6])),
        ("martian_source", from("127.0.0.1")),
        ("martian_source", from("224.0.0.1")),
        ("martian_source", from(VIP)),
        ("bogus_tcp_flags", flags(SYN | FIN)),
        ("bogus_tcp_flags", flags(0)),
        ("unknown_protocol", from_router(&ip.packet(47, &[0; 8]))),
        ("oversize", from_router(&long)),
        ("unserved", from_router(&ip.tcp(40_000, 81, SYN, b""))),
        ("no_flow", flags(ACK)),
        ("echo_answered", from_router(&ip.echo(b"hello"))),
        ("echo_answered", from_router(&ip6.echo(b"hello"))),
        (
            "ttl_expired",
            from_router(&ip.ttl(1).tcp(40_001, 80, SYN, b"")),
        ),
        (
            "icmp_no_flow",
            from_router(&ip.icmp(3, 3, [0; 4], &ip.reversed().udp(1, 2, b""))),
        ),
        (
            "icmp_ignored",
            from_router(&ip.icmp(5, 1, [10, 0, 0, 9], &ip.reversed().udp(1, 2, b""))),
        ),
    ]
}

#[test]
fn d1_to_d41_each_wrong_frame_is_counted_under_its_reason() {
    let services = json!([service(VIP, "dr", "tcp"), service(VIP6, "dr", "udp")]);
    let sent = zoo().into_iter().map(|(_, frame)| frame).collect();
    let Some(outcome) = replay(services, sent) else {
        return;
    };
    let mut wanted = std::collections::BTreeMap::new();
    for (reason, _) in zoo() {
        *wanted.entry(reason.to_owned()).or_insert(0_u64) += 1;
    }
    assert_eq!(outcome.drops, wanted);
    // Answers, and nothing else, leave: two echoes, one time exceeded, and RST for the unserved
    // port, for the ACK without a flow and, as Linux does, for the segment without any flag.
    assert_eq!(outcome.out[0].len(), 6, "{:02x?}", outcome.out[0]);
    for frame in &outcome.out[0] {
        let packet = frames::packet_of(frame).expect("IP");
        assert_eq!(frames::check_ip(packet), Ok(()));
        assert_eq!(frames::l4_sum_is_right(packet), Some(true));
        assert_eq!(frame[..6], ROUTER.0);
    }
}

/// Datagrams of 200 clients.
fn crowd(vip: &str, ttl: u8) -> impl Iterator<Item = Vec<u8>> {
    let ip = Ip::new(CLIENT, vip).ttl(ttl);
    (0..200).map(move |client| ip.udp(20_000 + client, 80, b"hello"))
}

#[test]
fn d60_a_full_flow_table_stops_no_direct_routing() {
    let sent = crowd(VIP, 64).map(|packet| from_router(&packet)).collect();
    let services = json!([service(VIP, "dr", "udp")]);
    let replay = Replay {
        ports: vec![port()],
        services,
        flows: 16,
        frames: vec![sent],
    };
    let Some(outcome) = replay.run() else { return };
    let wanted: Vec<_> = crowd(VIP, 63).map(|packet| to_server(&packet)).collect();
    assert_frames(&outcome.out[0], &wanted);
    assert_eq!(outcome.flows.len(), 16);
    let failures = "weir_flow_insert_failures_total{worker=\"0\"} 184\n";
    assert!(
        outcome.metrics.contains(failures),
        "200 clients and 16 flows"
    );
}

#[test]
fn d60_a_flood_of_syns_is_forwarded_and_told() {
    let crowd = |ttl| {
        let ip = Ip::new(CLIENT, VIP).ttl(ttl);
        (0..200).map(move |client| ip.tcp(20_000 + client, 80, SYN, b""))
    };
    let replay = Replay {
        ports: vec![port()],
        services: json!([service(VIP, "dr", "tcp")]),
        flows: 16,
        frames: vec![crowd(64).map(|packet| from_router(&packet)).collect()],
    };
    let Some(outcome) = replay.run() else { return };
    let wanted: Vec<_> = crowd(63).map(|packet| to_server(&packet)).collect();
    assert_frames(&outcome.out[0], &wanted);
    assert_eq!(outcome.flows.len(), 16);
    let deferred = "weir_flows_deferred_total{worker=\"0\"} 184\n";
    assert!(outcome.metrics.contains(deferred), "{}", outcome.metrics);
    let mut texts = outcome.problems.iter().map(|problem| &problem["text"]);
    let told = "flow table full: 16 flows, 16 of them half open";
    assert!(texts.any(|text| text == told), "{:?}", outcome.problems);
}

#[test]
fn d60_a_full_flow_table_refuses_nat_that_could_not_be_undone() {
    // Two VIPs with one server port behind them: a reply does not say which of them it is from.
    let mut other = service("10.0.0.20", "nat", "udp");
    other["name"] = "other".into();
    let services = json!([service(VIP, "nat", "udp"), other]);
    let sent = crowd(VIP, 64).map(|packet| from_router(&packet)).collect();
    let replay = Replay {
        ports: vec![port()],
        services,
        flows: 16,
        frames: vec![sent],
    };
    let Some(outcome) = replay.run() else { return };
    assert_eq!(outcome.out[0].len(), 16);
    assert_eq!(
        outcome.drops.get("flow_table_full"),
        Some(&184),
        "{:?}",
        outcome.drops
    );
}
