//! Frames for tests, built octet by octet and with right checksums.
#![allow(dead_code, unreachable_pub, reason = "each test uses its own part")]

use core::net::Ipv4Addr;

use weir_engine::tables::Mode;
use weir_engine::testing::world::{ServiceSpec, Spec, ip};
use weir_wire::addr::Protocol;
use weir_wire::checksum::{self, Sum};

const GATEWAY: [u8; 6] = [2, 0, 0, 0, 2, 0xfe];
const WAN: [u8; 6] = [2, 0, 0, 0, 1, 0];
const LAN: [u8; 6] = [2, 0, 0, 0, 1, 1];
const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

/// The MAC of server `10.1.0.last`.
pub fn mac_of(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 3, last]
}

/// The n-th client.
pub fn client(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 16, 0, n)
}

fn ethernet(dst: [u8; 6], src: [u8; 6], ip: &[u8]) -> Vec<u8> {
    [&dst[..], &src, &[8, 0], ip].concat()
}

/// An IPv4 packet with DF and TTL 64.
pub fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len())
        .expect("short enough")
        .to_be_bytes();
    let mut ip = vec![0x45, 0, len[0], len[1], 0, 7, 0x40, 0, 64, protocol.0, 0, 0];
    ip.extend(src.octets());
    ip.extend(dst.octets());
    let sum = checksum::of(&ip).0;
    ip[10..12].copy_from_slice(&sum);
    ip.extend(payload);
    ip
}

/// Repairs the IPv4 header checksum of an untagged frame.
pub fn fix_ip(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = checksum::of(&frame[14..34]).0;
    frame[24..26].copy_from_slice(&sum);
}

/// A segment without data from a client to the VIP.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    pub source: Ipv4Addr,
    pub port: u16,
    pub flags: u8,
}

impl Tcp {
    pub fn syn(source: Ipv4Addr) -> Self {
        Self::with_flags(source, 0x02)
    }

    pub fn ack(source: Ipv4Addr) -> Self {
        Self::with_flags(source, 0x10)
    }

    pub fn fin(source: Ipv4Addr) -> Self {
        Self::with_flags(source, 0x11)
    }

    pub fn with_flags(source: Ipv4Addr, flags: u8) -> Self {
        Self {
            source,
            port: 80,
            flags,
        }
    }

    fn client_port(self) -> u16 {
        40000 + u16::from(self.source.octets()[3])
    }

    /// From the client to the VIP.
    pub fn frame(self) -> Vec<u8> {
        let segment = segment(self.source, VIP, self.client_port(), self.port, self.flags);
        ethernet(
            WAN,
            GATEWAY,
            &ipv4(self.source, VIP, Protocol::TCP, &segment),
        )
    }

    /// From server `10.1.0.last` to the client.
    pub fn reply(self, last: u8) -> Vec<u8> {
        let server = Ipv4Addr::new(10, 1, 0, last);
        let segment = segment(
            server,
            self.source,
            self.port,
            self.client_port(),
            self.flags,
        );
        ethernet(
            LAN,
            mac_of(last),
            &ipv4(server, self.source, Protocol::TCP, &segment),
        )
    }
}

fn segment(src: Ipv4Addr, dst: Ipv4Addr, sport: u16, dport: u16, flags: u8) -> Vec<u8> {
    let mut tcp = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    tcp.extend([
        0, 0, 3, 0xe8, 0, 0, 0, 9, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0,
    ]);
    let sum = Sum::pseudo(src, dst, Protocol::TCP, 20)
        .over(&tcp)
        .finish()
        .0;
    tcp[16..18].copy_from_slice(&sum);
    tcp
}

fn datagram(src: Ipv4Addr, dst: Ipv4Addr, sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + data.len()).expect("short enough");
    let parts = [
        sport.to_be_bytes(),
        dport.to_be_bytes(),
        len.to_be_bytes(),
        [0, 0],
    ];
    let mut udp = parts.concat();
    udp.extend(data);
    let sum = Sum::pseudo(src, dst, Protocol::UDP, len)
        .over(&udp)
        .finish()
        .for_udp()
        .0;
    udp[6..8].copy_from_slice(&sum);
    udp
}

/// A datagram from a client to the VIP.
pub fn udp(source: Ipv4Addr, port: u16, data: &[u8]) -> Vec<u8> {
    let udp = datagram(source, VIP, 40000, port, data);
    ethernet(WAN, GATEWAY, &ipv4(source, VIP, Protocol::UDP, &udp))
}

/// A datagram from server `10.1.0.last` to a client.
pub fn udp_reply(to: Ipv4Addr, port: u16, last: u8) -> Vec<u8> {
    let server = Ipv4Addr::new(10, 1, 0, last);
    let udp = datagram(server, to, port, 40000, b"!");
    ethernet(LAN, mac_of(last), &ipv4(server, to, Protocol::UDP, &udp))
}

/// An echo request to the VIP.
pub fn echo(source: Ipv4Addr) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4];
    let sum = checksum::of(&icmp).0;
    icmp[2..4].copy_from_slice(&sum);
    ethernet(WAN, GATEWAY, &ipv4(source, VIP, Protocol::ICMP, &icmp))
}

/// A router's complaint about a segment from the VIP to a client.
pub fn frag_needed(to: Ipv4Addr, port: u16, mtu: u16) -> Vec<u8> {
    let client_port = 40000 + u16::from(to.octets()[3]);
    let quoted = ipv4(
        VIP,
        to,
        Protocol::TCP,
        &segment(VIP, to, port, client_port, 0x10),
    );
    let [hi, lo] = mtu.to_be_bytes();
    let mut icmp = vec![3, 4, 0, 0, 0, 0, hi, lo];
    icmp.extend(&quoted[..28]);
    let sum = checksum::of(&icmp).0;
    icmp[2..4].copy_from_slice(&sum);
    let router = Ipv4Addr::new(172, 16, 99, 1);
    ethernet(WAN, GATEWAY, &ipv4(router, VIP, Protocol::ICMP, &icmp))
}

/// A whole packet in fragments of `unit` octets of payload.
pub fn fragments_of(frame: &[u8], unit: usize) -> Vec<Vec<u8>> {
    let (head, payload) = frame.split_at(34);
    let pieces = payload.chunks(unit).enumerate().map(|(n, piece)| {
        let mut out = [head, piece].concat();
        let len = u16::try_from(20 + piece.len()).expect("short enough");
        out[16..18].copy_from_slice(&len.to_be_bytes());
        let more = (n + 1) * unit < payload.len();
        let field =
            u16::try_from(n * unit / 8).expect("short enough") | if more { 0x2000 } else { 0 };
        out[20..22].copy_from_slice(&field.to_be_bytes());
        fix_ip(&mut out);
        out
    });
    pieces.collect()
}

/// Services of every mode and both protocols, each on a port of its own.
pub fn everything() -> Spec {
    let mut spec = Spec::standard();
    for (port, mode) in [(80, Mode::Dr), (81, Mode::Nat), (82, Mode::Tunnel)] {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let mut service = ServiceSpec::tcp("10.9.9.9", port, mode, &[11, 12]);
            service.protocol = protocol;
            spec.services.push(service.clone());
            service.vip = ip("fd00:9::9");
            for server in &mut service.servers {
                server.address = match server.address.to_string().as_str() {
                    "10.1.0.11" => ip("fd00:1::11"),
                    _ => ip("fd00:1::12"),
                };
            }
            spec.services.push(service);
        }
    }
    spec
}

/// Valid frames of many kinds, to be sent as they are or damaged.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for port in [80, 81, 82, 83] {
        seeds.push(
            Tcp {
                port,
                ..Tcp::syn(client(1))
            }
            .frame(),
        );
        seeds.push(
            Tcp {
                port,
                ..Tcp::ack(client(1))
            }
            .frame(),
        );
        seeds.push(
            Tcp {
                port,
                ..Tcp::ack(client(1))
            }
            .reply(12),
        );
        seeds.push(udp(client(1), port, &[7; 100]));
        seeds.push(udp(client(1), port, &[7; 1472]));
        seeds.push(frag_needed(client(1), port, 1400));
        seeds.extend(fragments_of(&udp(client(1), port, &[7; 1200]), 400));
    }
    seeds.push(echo(client(1)));
    seeds.extend(golden_frames());
    seeds
}

/// Frames of the recorded runs: IPv6, extension headers, ICMP of both families, odd packets.
fn golden_frames() -> Vec<Vec<u8>> {
    let names = [
        "v6-nat",
        "v6-dr",
        "v6-icmp",
        "v6-tun-66",
        "v6-fragments",
        "nat-icmp",
        "dr-tcp",
    ];
    let mut frames = Vec::new();
    for name in names {
        let path = format!(
            "{}/../../tests/golden/{name}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(path).expect("a golden file");
        let golden: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for step in golden["steps"].as_array().expect("steps") {
            if let Some(hex) = step["send"].as_str() {
                let octet = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
                frames.push((0..hex.len()).step_by(2).map(octet).collect());
            }
        }
    }
    frames
}
