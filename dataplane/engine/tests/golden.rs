//! Real IPVS as the judge: frames that went into a Linux kernel and what came out, recorded under
//! `tests/golden`, must come out of the engine alike.
//!
//! Only steps that send frames take part; what texts the tools printed is checked elsewhere. What
//! may differ is declared in one place: [`masked`].

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use weir_engine::flow::tcp::Timeouts;
use weir_engine::scheduler::SchedulerKind;
use weir_engine::tables::{Mode, OnServerGone};
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::{PortSpec, ServerSpec, ServiceSpec, Spec, World, ip, mac};
use weir_engine::verdict::Verdict;
use weir_wire::addr::Protocol;

fn load(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(format!("{name}.json"));
    serde_json::from_str(&fs::read_to_string(&path).expect("a golden file")).expect("JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn number(value: &Value, key: &str, default: u16) -> u16 {
    value[key]
        .as_u64()
        .map_or(default, |n| u16::try_from(n).expect("16 bits"))
}

fn spec(golden: &Value) -> Spec {
    let mut spec = Spec {
        workers: 1,
        ..Spec::default()
    };
    for (at, port) in golden["network"]["ports"]
        .as_array()
        .expect("ports")
        .iter()
        .enumerate()
    {
        let list = |key: &str| port[key].as_array().cloned().unwrap_or_default();
        let prefix = |text: &Value| {
            let (address, len) = text
                .as_str()
                .expect("text")
                .split_once('/')
                .expect("a prefix");
            (ip(address), len.parse().expect("a length"))
        };
        spec.ports.push(PortSpec {
            mac: mac(text(port, "mac")),
            mtu: number(port, "mtu", 1500),
            vlan: None,
            addresses: list("addresses").iter().map(prefix).collect(),
            gateways: list("gateway")
                .iter()
                .map(|g| ip(g.as_str().expect("text")))
                .collect(),
        });
        for (address, of) in port["neighbours"].as_object().into_iter().flatten() {
            spec.neighbours
                .push((at, ip(address), mac(of.as_str().expect("text"))));
        }
    }
    let seconds = golden["timeouts"].as_array().map(|t| {
        t.iter()
            .map(|s| Duration::from_secs(s.as_u64().expect("seconds")))
            .collect::<Vec<_>>()
    });
    let timeouts = seconds.map_or_else(Timeouts::default, |t| Timeouts::new(t[0], t[1], t[2]));
    for service in golden["services"].as_array().expect("services") {
        spec.services.push(read_service(service, timeouts));
    }
    spec
}

fn read_service(service: &Value, timeouts: Timeouts) -> ServiceSpec {
    let mode = |value: &Value| match value["mode"].as_str().or(service["mode"].as_str()) {
        Some("nat") => Mode::Nat,
        Some("tunnel") => Mode::Tunnel,
        Some("dr") | None => Mode::Dr,
        Some(other) => panic!("mode {other}"),
    };
    let port = number(service, "port", 0);
    let servers = service["servers"]
        .as_array()
        .expect("servers")
        .iter()
        .map(|server| ServerSpec {
            address: ip(text(server, "address")),
            port: server["port"]
                .as_u64()
                .and_then(|p| u16::try_from(p).ok())
                .filter(|p| *p != port),
            weight: number(server, "weight", 1),
            mode: mode(server),
        });
    ServiceSpec {
        vip: ip(text(service, "address")),
        ports: (port, port),
        protocol: if text(service, "protocol") == "udp" {
            Protocol::UDP
        } else {
            Protocol::TCP
        },
        scheduler: text(service, "scheduler")
            .parse::<SchedulerKind>()
            .expect("a scheduler"),
        servers: servers.collect(),
        sloppy: service["sloppy"].as_bool().unwrap_or(false),
        on_server_gone: OnServerGone::Drop,
        timeouts,
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex"))
        .collect()
}

/// What may differ: IPv4 identifications where DF is clear and IPv6 Fragment identifications, which
/// are random per boot, with the IPv4 header checksum; the flow label of what Linux originates; and
/// the ECN bits of an outer header, where Linux follows RFC 3168 and Weir RFC 6040 (D42).
fn masked(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let tunnel = |protocol: u8| matches!(protocol, 4 | 41);
    if frame.get(12..14) == Some(&[8, 0]) && frame.len() >= 34 {
        if tunnel(frame[23]) {
            frame[15] &= 0xfc;
            frame[24..26].fill(0);
        }
        if frame[20] & 0x40 == 0 {
            frame[18..20].fill(0);
            frame[24..26].fill(0);
        }
    }
    if frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.len() >= 54 {
        frame[15] &= if tunnel(frame[20]) { 0xc0 } else { 0xf0 };
        frame[16..18].fill(0);
        if frame[20] == 44 && frame.len() >= 62 {
            frame[15] &= 0xc0;
            frame[58..62].fill(0);
        }
    }
    frame
}

fn replay(name: &str) {
    let golden = load(name);
    let mut world = World::new(&spec(&golden));
    let (mut sent, mut differences) = (0, Vec::new());
    for (at, step) in golden["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .enumerate()
    {
        let Some(hex) = step["send"].as_str() else {
            continue;
        };
        let ports = golden["network"]["ports"].as_array().expect("ports");
        let named = |name: &Value| ports.iter().position(|port| port["name"] == *name);
        let device = named(&step["port"]).expect("a port");
        let device = u16::try_from(device).expect("few ports");
        let got = world.send(device, TestFrame::new(&bytes(hex)));
        let got_frames: Vec<(usize, Vec<u8>)> = got
            .out
            .iter()
            .map(|(port, frame)| (port.index(), masked(frame)))
            .collect();
        let wanted: Vec<(usize, Vec<u8>)> = step["out"]
            .as_array()
            .expect("out")
            .iter()
            .map(|out| {
                (
                    named(&out[0]).expect("port"),
                    masked(&bytes(out[1].as_str().expect("hex"))),
                )
            })
            .collect();
        // What goes to the kernel here went through the kernel there.
        let kernels = matches!(got.verdict, Verdict::Punt(_));
        if got_frames != wanted && !kernels && !differs(name, step) {
            differences.push(format!(
                "step {at}, {}: {:?}\n  in {hex}\n got {}\nwant {}",
                step["note"],
                got.verdict,
                show(&got_frames),
                show(&wanted),
            ));
        }
        sent += 1;
    }
    assert!(sent > 0, "{name} sends nothing");
    assert!(
        differences.is_empty(),
        "{name}:\n{}",
        differences.join("\n")
    );
}

fn show(frames: &[(usize, Vec<u8>)]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    frames
        .iter()
        .map(|(port, frame)| format!("{port}:{} ", hex(frame)))
        .collect()
}

/// Steps in which Weir differs on purpose, by the beginning of their note.
const DIFFERENT: &[(&str, &str, &str)] = &[
    (
        "dr-tcp",
        "TCP header cut",
        "D1: an L4 header that is not all there is not forwarded",
    ),
    (
        "dr-tcp",
        "TCP data offset",
        "D1: nor one that contradicts itself",
    ),
    (
        "dr-tcp",
        "record route option",
        "D5: options are forwarded as they came; Weir is no hop that records itself",
    ),
    ("nat-tcp", "TCP header cut", "D1"),
    ("nat-tcp", "TCP data offset", "D1"),
    (
        "nat-tcp",
        "answer without a connection",
        "D56: the configuration tells whose it is",
    ),
    ("udp", "DR: UDP length", "D1"),
    ("udp", "NAT: UDP length", "D1"),
    ("udp", "TUN: UDP length", "D1"),
    ("udp", "DR: header cut", "D1"),
    ("udp", "NAT: header cut", "D1"),
    ("udp", "TUN: header cut", "D1"),
    (
        "udp",
        "NAT: checksum 0",
        "D18: no checksum stays no checksum",
    ),
    ("udp", "NAT: answer with checksum 0", "D18"),
    ("v6-dr", "routing header type 0", "D6: RFC 5095"),
    ("v6-dr", "UDP checksum 0", "D19: RFC 8200 forbids it"),
    ("v6-nat", "UDP checksum 0", "D19"),
    (
        "edge-unserved-v6",
        "UDP service without servers: checksum 0",
        "D19",
    ),
    (
        "dr-icmp",
        "parameter problem",
        "D33: IPVS ignores this error, Weir delivers it",
    ),
    ("dr-icmp", "source quench", "D41: RFC 6633 retired it"),
    (
        "dr-icmp",
        "frag needed quoting 4 octets",
        "D32: RFC 792 promises 8",
    ),
    (
        "dr-icmp",
        "about a later fragment",
        "D37: a fragment without ports names no flow",
    ),
    (
        "dr-icmp",
        "frag needed with MTU 60",
        "D36: no link has such an MTU",
    ),
    (
        "nat-icmp",
        "client side: parameter problem",
        "D34: IPVS ignores this error, Weir delivers it",
    ),
    ("nat-icmp", "server side: parameter problem", "D34"),
    ("nat-icmp", "client side: source quench", "D41"),
    (
        "nat-icmp",
        "client side: quoting",
        "D34: the quoted checksum is translated too; 8 octets at least",
    ),
    ("nat-icmp", "server side: quoting a whole", "D34"),
    (
        "nat-icmp",
        "client side: wrong IP checksum in the quote",
        "D34: what was wrong stays wrong",
    ),
    ("nat-icmp", "client side: frag needed with MTU", "D36"),
    (
        "udp-icmp",
        "NAT, client side: port unreachable",
        "D34: the quoted checksum is translated too",
    ),
    ("udp-icmp", "NAT, client side: frag needed", "D34"),
    ("udp-icmp", "NAT, server side: port unreachable", "D34"),
    ("v6-icmp", "DR: MTU below 1280", "D36"),
    ("v6-icmp", "NAT: MTU below 1280", "D36"),
    (
        "v6-icmp",
        "NAT: ",
        "D34: the quoted checksum is translated too",
    ),
    (
        "v6-icmp",
        "server side: ",
        "D34: IPVS leaves these to the router",
    ),
    (
        "edge-unserved",
        "unknown protocol",
        "D15: dropped, not answered",
    ),
    ("edge-unserved", "IP in IP", "D15"),
    ("edge-unserved-v6", "unknown protocol", "D15"),
    ("tun-ipip", "IPIP to the VIP", "D45: dropped, not answered"),
    ("edge-flags", "flags SF", "D12: SYN with FIN starts nothing"),
    ("edge-flags", "source port 0", "D12: port 0 starts nothing"),
    (
        "edge-sources",
        "from class E",
        "D11: 240.0.0.0/4 is no source",
    ),
];

fn differs(name: &str, step: &Value) -> bool {
    let note = step["note"].as_str().unwrap_or_default();
    DIFFERENT
        .iter()
        .any(|(file, start, _)| *file == name && note.starts_with(start))
}

macro_rules! golden {
    ($($name:ident = $file:literal,)+) => {
        $(#[test]
        fn $name() {
            replay($file);
        })+
    };
}

golden! {
    d46_dr_tcp_as_ipvs = "dr-tcp",
    d33_dr_icmp_as_ipvs = "dr-icmp",
    d50_nat_tcp_as_ipvs = "nat-tcp",
    d34_nat_icmp_as_ipvs = "nat-icmp",
    d42_tunnel_ipip_as_ipvs = "tun-ipip",
    d44_tunnel_6_in_6_as_ipvs = "v6-tun-66",
    d44_tunnel_6_in_4_as_ipvs = "v6-tun-64",
    d44_tunnel_4_in_6_as_ipvs = "v6-tun-46",
    udp_in_all_modes_as_ipvs = "udp",
    udp_icmp_as_ipvs = "udp-icmp",
    v6_dr_as_ipvs = "v6-dr",
    v6_nat_as_ipvs = "v6-nat",
    v6_icmp_as_ipvs = "v6-icmp",
    d41_unserved_as_ipvs = "edge-unserved",
    d41_unserved_v6_as_ipvs = "edge-unserved-v6",
    d42_mtu_as_ipvs = "mtu",
    nat_corners_as_ipvs = "nat-corners",
    d12_flags_as_ipvs = "edge-flags",
    d11_sources_as_ipvs = "edge-sources",
}
