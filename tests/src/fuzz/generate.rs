//! Frames that are nearly right: built as hosts build them, then bent in a few places. A parser
//! turns random octets away at the door; these get further in.

use weir_engine::testing::TestFrame;
use weir_wire::addr::MacAddr;

use super::source::Source;
use crate::frames::{self, ACK, FIN, Ip, PSH, RST, SYN, TCP, UDP};

/// VIPs of [`super::pipeline`]'s world and some neighbours of theirs, by family.
const VIPS: [[&str; 8]; 2] = [
    [
        "10.0.0.10",
        "10.0.0.11",
        "10.0.0.12",
        "10.0.0.13",
        "10.0.0.14",
        "10.0.0.1",
        "10.9.9.9",
        "224.0.0.18",
    ],
    [
        "fd00::10",
        "fd00::11",
        "fd00::12",
        "fd00::13",
        "fd00::14",
        "fd00::1",
        "fd09::9",
        "ff02::1:ff00:10",
    ],
];
const CLIENTS: [[&str; 4]; 2] = [
    ["172.16.0.1", "172.16.0.2", "10.0.0.10", "127.0.0.1"],
    ["2001:db8::1", "2001:db8::2", "fd00::10", "::1"],
];
const SERVERS: [[&str; 3]; 2] = [
    ["10.1.0.11", "10.1.0.12", "10.1.0.13"],
    ["fd00:1::11", "fd00:1::12", "fd00:1::13"],
];
const SERVICE_PORTS: [u16; 8] = [80, 80, 443, 8000, 8050, 53, 8080, 0];
const CLIENT_PORTS: [u16; 4] = [1024, 1025, 40_000, 0];
const TTLS: [u8; 6] = [64, 64, 64, 2, 1, 0];
const PAYLOADS: [usize; 8] = [0, 0, 1, 5, 64, 1400, 1452, 1500];
const MACS: [[u8; 6]; 4] = [
    [2, 0, 0, 0, 1, 0],
    [2, 0, 0, 0, 1, 1],
    [255; 6],
    [0x33, 0x33, 0, 0, 0, 1],
];

/// One packet's frames and the device that they come from: several if it is fragmented.
pub(crate) fn frames_of(source: &mut Source<'_>) -> (u16, Vec<TestFrame>) {
    let family = source.below(2);
    let towards_client = source.rarely(3);
    let device = u16::from(towards_client) ^ u16::from(source.rarely(16));
    let mac = if source.rarely(8) {
        source.pick(&MACS)
    } else {
        MACS[usize::from(device)]
    };
    let mut out = Vec::new();
    for packet in packets(source, family, towards_client) {
        let frame = frames::ethernet(MacAddr(mac), MacAddr([2, 0, 0, 0, 9, 9]), &packet);
        let frame = bent(source, frame);
        out.push(segmented(source, &frame));
    }
    if source.rarely(4) {
        out.reverse();
    }
    (device, out)
}

/// Octets as they are, in segments.
pub(crate) fn raw(source: &mut Source<'_>) -> (u16, TestFrame) {
    let device = u16::from(source.rarely(2));
    let len = usize::from(source.octet());
    let octets = source.take(len);
    (device, segmented(source, octets))
}

fn packets(source: &mut Source<'_>, family: usize, towards_client: bool) -> Vec<Vec<u8>> {
    let (client, vip) = (source.pick(&CLIENTS[family]), source.pick(&VIPS[family]));
    let server = source.pick(&SERVERS[family]);
    let (sport, dport) = (source.pick(&CLIENT_PORTS), source.pick(&SERVICE_PORTS));
    let ip = if towards_client {
        Ip::new(server, client)
    } else {
        Ip::new(client, vip)
    };
    let ip = Ip {
        ttl: source.pick(&TTLS),
        tos: source.octet(),
        ..ip
    };
    let ip = if source.rarely(3) {
        ip.may_fragment()
    } else {
        ip
    };
    let (from, to) = if towards_client {
        (dport, sport)
    } else {
        (sport, dport)
    };
    let data = vec![0x5a; source.pick(&PAYLOADS)];
    match source.below(8) {
        0..=2 => vec![ip.tcp(from, to, flags(source), &data)],
        3 => vec![ip.udp(from, to, &data)],
        4 => vec![ip.echo(&data)],
        5 => vec![error(source, ip, (client, vip), (sport, dport))],
        6 => pieces(source, ip, (from, to), &data),
        _ => vec![ip.packet(source.octet(), &data)],
    }
}

fn flags(source: &mut Source<'_>) -> u8 {
    let usual = [
        SYN,
        SYN,
        ACK,
        ACK | PSH,
        FIN | ACK,
        RST,
        RST | ACK,
        SYN | ACK,
        SYN | FIN,
        0,
        63,
    ];
    source.pick(&usual)
}

/// An ICMP error about a packet that went the other way.
fn error(
    source: &mut Source<'_>,
    ip: Ip,
    (client, vip): (&str, &str),
    (sport, dport): (u16, u16),
) -> Vec<u8> {
    let about = Ip::new(vip, client);
    let about = if source.rarely(2) {
        about
    } else {
        ip.reversed()
    };
    let quoted = if source.rarely(2) {
        about.tcp(dport, sport, ACK, b"quoted data")
    } else {
        about.udp(dport, sport, b"quoted data")
    };
    let kept = [quoted.len(), 28, 48, 20, 8, 0][source.below(6)].min(quoted.len());
    let mtu = source.word().to_be_bytes();
    let (kind, code) = match ip.src.is_ipv4() {
        true => source.pick(&[(3, 4), (3, 3), (11, 0), (12, 0), (5, 1)]),
        false => source.pick(&[(2, 0), (1, 4), (3, 0), (4, 0), (137, 0)]),
    };
    ip.icmp(kind, code, [0, 0, mtu[0], mtu[1]], &quoted[..kept])
}

/// A fragmented datagram or segment, perhaps with pieces missing or out of order.
fn pieces(
    source: &mut Source<'_>,
    ip: Ip,
    (sport, dport): (u16, u16),
    data: &[u8],
) -> Vec<Vec<u8>> {
    let ip = Ip {
        id: u16::from(source.octet()),
        dont_fragment: false,
        ..ip
    };
    let whole = if source.rarely(3) {
        ip.tcp(sport, dport, flags(source), data)
    } else {
        ip.udp(sport, dport, data)
    };
    let (protocol, header_len) = match whole.first().map(|octet| octet >> 4) {
        Some(4) => (whole[9], 20),
        _ => (whole[6], 40),
    };
    debug_assert!(protocol == TCP || protocol == UDP);
    let step = source.pick(&[8, 24, 64, 512, 1400]);
    let mut pieces = ip.fragments(protocol, &whole[header_len..], step);
    pieces.truncate(1 + source.below(8));
    if pieces.len() > 1 && source.rarely(4) {
        pieces.remove(source.below(pieces.len()));
    }
    pieces
}

/// The frame with a few things wrong with it, or nothing.
fn bent(source: &mut Source<'_>, mut frame: Vec<u8>) -> Vec<u8> {
    for _ in 0..source.below(8).saturating_sub(4) {
        match source.below(6) {
            0 => {
                let at = usize::from(source.octet()).min(frame.len() - 1);
                frame[at] = source.octet();
            }
            1 => {
                let at = usize::from(source.octet()).min(frame.len() - 1);
                frame[at] ^= 1 << source.below(8);
                mend(&mut frame);
            }
            2 => frame.truncate(1 + usize::from(source.word()) % frame.len()),
            3 => frame = frames::padded(&frame, 60 + source.below(32)),
            4 if frame.len() > 14 => frame = frames::tagged(&frame, source.pick(&[100, 0, 7])),
            _ => frame.extend(source.take(16)),
        }
    }
    frame
}

/// Makes the IPv4 header checksum right again, so that a bent header gets past that check.
pub(crate) fn mend(frame: &mut [u8]) {
    if frame.get(12..14) != Some(&[8, 0]) {
        return;
    }
    let Some(header_len) = frame.get(14).map(|octet| usize::from(octet & 15) * 4) else {
        return;
    };
    let Some(header) = frame.get_mut(14..14 + header_len).filter(|h| h.len() >= 20) else {
        return;
    };
    header[10..12].fill(0);
    let sum = frames::checksum(&*header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The frame cut into up to three segments, with as little headroom as one may meet.
fn segmented(source: &mut Source<'_>, octets: &[u8]) -> TestFrame {
    let frame = TestFrame::new(octets);
    let frame = if source.rarely(8) {
        frame.with_headroom(source.below(64))
    } else {
        frame
    };
    match source.below(6) {
        0 => frame.split_at(source.octet().into()),
        1 => {
            let (first, second) = (source.octet(), source.octet());
            frame
                .split_at(first.max(second).into())
                .split_at(first.min(second).into())
        }
        _ => frame,
    }
}
