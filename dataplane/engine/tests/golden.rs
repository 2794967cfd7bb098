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
use weir_wire::addr::Protocol;

fn load(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(format!("{name}.json"));
    serde_json::from_str(&fs::read_to_string(&path).expect("a golden file")).expect("JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn number(value: &Value, key: &str, default: u16) -> u16 {
    value[key].as_u64().map_or(default, |n| u16::try_from(n).expect("16 bits"))
}

fn spec(golden: &Value) -> Spec {
    let mut spec = Spec { workers: 1, ..Spec::default() };
    for (at, port) in golden["network"]["ports"].as_array().expect("ports").iter().enumerate() {
        let list = |key: &str| port[key].as_array().cloned().unwrap_or_default();
        let prefix = |text: &Value| {
            let (address, len) = text.as_str().expect("text").split_once('/').expect("a prefix");
            (ip(address), len.parse().expect("a length"))
        };
        spec.ports.push(PortSpec {
            mac: mac(text(port, "mac")),
            mtu: number(port, "mtu", 1500),
            vlan: None,
            addresses: list("addresses").iter().map(prefix).collect(),
            gateways: list("gateway").iter().map(|g| ip(g.as_str().expect("text"))).collect(),
        });
        for (address, of) in port["neighbours"].as_object().into_iter().flatten() {
            spec.neighbours.push((at, ip(address), mac(of.as_str().expect("text"))));
        }
    }
    let seconds = golden["timeouts"].as_array().map(|t| {
        t.iter().map(|s| Duration::from_secs(s.as_u64().expect("seconds"))).collect::<Vec<_>>()
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
    let servers = service["servers"].as_array().expect("servers").iter().map(|server| ServerSpec {
        address: ip(text(server, "address")),
        port: server["port"].as_u64().and_then(|p| u16::try_from(p).ok()).filter(|p| *p != port),
        weight: number(server, "weight", 1),
        mode: mode(server),
    });
    ServiceSpec {
        vip: ip(text(service, "address")),
        ports: (port, port),
        protocol: if text(service, "protocol") == "udp" { Protocol::UDP } else { Protocol::TCP },
        scheduler: text(service, "scheduler").parse::<SchedulerKind>().expect("a scheduler"),
        servers: servers.collect(),
        sloppy: service["sloppy"].as_bool().unwrap_or(false),
        on_server_gone: OnServerGone::Drop,
        timeouts,
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
}

/// What may differ: the IPv4 identification where DF is clear, which is random per boot, and so
/// the header checksum; also in the outer header of a tunnel.
fn masked(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let is_v4 = frame.get(12..14) == Some(&[8, 0]);
    if is_v4 && frame.len() >= 34 && frame[20] & 0x40 == 0 {
        frame[18..20].fill(0);
        frame[24..26].fill(0);
    }
    frame
}

fn replay(name: &str) {
    let golden = load(name);
    let mut world = World::new(&spec(&golden));
    let mut sent = 0;
    for (at, step) in golden["steps"].as_array().expect("steps").iter().enumerate() {
        let Some(hex) = step["send"].as_str() else { continue };
        let ports = golden["network"]["ports"].as_array().expect("ports");
        let named = |name: &Value| ports.iter().position(|port| port["name"] == *name);
        let device = named(&step["port"]).expect("a port");
        let device = u16::try_from(device).expect("few ports");
        let got = world.send(device, TestFrame::new(&bytes(hex)));
        let got_frames: Vec<(usize, Vec<u8>)> =
            got.out.iter().map(|(port, frame)| (port.index(), masked(frame))).collect();
        let wanted: Vec<(usize, Vec<u8>)> = step["out"]
            .as_array()
            .expect("out")
            .iter()
            .map(|out| (named(&out[0]).expect("port"), masked(&bytes(out[1].as_str().expect("hex")))))
            .collect();
        assert!(
            got_frames == wanted,
            "{name}, step {at}, {}: {:?}\n got {}\nwant {}",
            step["note"],
            got.verdict,
            show(&got_frames),
            show(&wanted),
        );
        sent += 1;
    }
    assert!(sent > 0, "{name} sends nothing");
}

fn show(frames: &[(usize, Vec<u8>)]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    frames.iter().map(|(port, frame)| format!("{port}:{} ", hex(frame))).collect()
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
    d53_port_reuse_as_ipvs = "edge-reuse",
    mtu_as_ipvs = "mtu",
    nat_corners_as_ipvs = "nat-corners",
    rr_as_ipvs = "sched-rr",
    wrr_as_ipvs = "sched-wrr",
    lc_as_ipvs = "sched-lc",
    wlc_as_ipvs = "sched-wlc",
    d12_flags_as_ipvs = "edge-flags",
    d11_sources_as_ipvs = "edge-sources",
}
