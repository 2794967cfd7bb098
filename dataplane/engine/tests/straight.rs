//! The straight line against the stages that know every case: whatever a frame is like, both do
//! the same to it, to its flow and to the counters.
//!
//! Frames that a device received may take the straight line; frames that another worker handed over
//! never do. So every frame goes through two engines, once each way.

use std::time::Duration;

use weir_engine::Ingress;
use weir_engine::id::DeviceId;
use weir_engine::io::Io;
use weir_engine::note::Note;
use weir_engine::tables::Mode;
use weir_engine::testing::world::{ServiceSpec, Spec, World};
use weir_engine::testing::{TestFrame, TestIo};
use weir_wire::addr::Protocol;
use weir_wire::checksum;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn spec() -> Spec {
    let mut dns = ServiceSpec::tcp("10.9.9.9", 53, Mode::Dr, &[11, 12]);
    dns.protocol = Protocol::UDP;
    let mut nat = ServiceSpec::tcp("10.9.9.10", 53, Mode::Nat, &[13, 14]);
    nat.protocol = Protocol::UDP;
    Spec::standard()
        .with(ServiceSpec::tcp("10.9.9.9", 80, Mode::Dr, &[11, 12]))
        .with(dns)
        .with(nat)
        .with(ServiceSpec::tcp("10.9.9.11", 80, Mode::Tunnel, &[15]))
}

/// Ethernet and IPv4 around an L4 header and data, IP checksum right.
fn packet(protocol: u8, vip: u8, l4: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 2, 0xfe, 8, 0];
    let len = u16::try_from(20 + l4.len())
        .expect("a small packet")
        .to_be_bytes();
    let ip = [
        0x45, 0, len[0], len[1], 0, 1, 0x40, 0, 64, protocol, 0, 0, 172, 16, 0, 7,
    ];
    frame.extend(ip);
    frame.extend([10, 9, 9, vip]);
    seal(&mut frame);
    frame.extend(l4);
    frame
}

/// Makes the IP checksum right again.
fn seal(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = checksum::of(&frame[14..34]).0;
    frame[24..26].copy_from_slice(&sum);
}

fn segment(vip: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut l4 = vec![
        0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 16, 0, 0, 0, 0, 0,
    ];
    l4.extend(data);
    packet(6, vip, &l4)
}

fn datagram(vip: u8, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + data.len())
        .expect("a small datagram")
        .to_be_bytes();
    let mut l4 = vec![0x9c, 0x40, 0, 53, len[0], len[1], 0, 0];
    l4.extend(data);
    packet(17, vip, &l4)
}

/// Two engines that see the same frames.
struct Twins {
    straight: World,
    whole: World,
}

impl Twins {
    fn new() -> Self {
        let spec = spec();
        Self {
            straight: World::new(&spec),
            whole: World::new(&spec),
        }
    }

    fn send(&mut self, frame: &TestFrame) {
        let by_device = self.straight.send(0, frame.clone());
        let mut noted = frame.clone();
        TestIo::set_note(&mut noted, Note::new(DeviceId(0)).bits());
        let by_worker = self.whole.send_as(Ingress::HandedIn, noted);
        assert_eq!(
            by_device.verdict,
            by_worker.verdict,
            "{:02x?}",
            frame.bytes()
        );
        assert_eq!(by_device.out, by_worker.out, "{:02x?}", frame.bytes());
        self.compare();
    }

    fn pass(&mut self, time: Duration) {
        self.straight.pass(time);
        self.whole.pass(time);
        self.compare();
    }

    fn compare(&self) {
        let books = |world: &World| {
            let counters = world.counters();
            let services = counters.services.iter().map(|s| {
                let connections = s.connections.value();
                (
                    s.incoming.packets.value(),
                    s.incoming.bytes.value(),
                    connections,
                )
            });
            let servers = counters.servers.iter().map(|s| {
                let gauges = (s.active.value(), s.inactive.value());
                (s.incoming.packets.value(), s.incoming.bytes.value(), gauges)
            });
            let mut flows = Vec::new();
            let mut cursor = Some(weir_engine::FlowCursor::default());
            while let Some(from) = cursor {
                cursor = world
                    .engine
                    .flows(world.now, from, 1024, &mut |flow| flows.push(flow));
            }
            let dropped = counters
                .dropped
                .iter()
                .map(|c| c.value())
                .collect::<Vec<_>>();
            (
                services.collect::<Vec<_>>(),
                servers.collect::<Vec<_>>(),
                flows,
                dropped,
            )
        };
        assert_eq!(books(&self.straight), books(&self.whole));
    }
}

fn variants() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for vip in [9, 10, 11, 12] {
        for flags in [
            SYN,
            ACK,
            ACK | 0x08,
            0x11,
            0x04,
            0x14,
            SYN | ACK,
            0,
            0x29,
            0xd0,
            ACK | 0x20,
        ] {
            frames.push(segment(vip, flags, b"data"));
        }
        for len in [0, 1, 18, 1400, 1472, 1473] {
            frames.push(datagram(vip, &vec![7; len]));
        }
    }
    frames
}

#[test]
fn every_kind_of_packet_fares_alike_before_and_after_its_flow_exists() {
    let mut twins = Twins::new();
    for _ in 0..3 {
        for frame in variants() {
            twins.send(&TestFrame::new(&frame));
        }
        twins.pass(Duration::from_secs(5));
    }
    twins.pass(Duration::from_secs(3600));
}

#[test]
fn every_octet_of_the_headers_may_be_anything() {
    let mut twins = Twins::new();
    for base in [datagram(9, &[7; 18]), segment(9, ACK, b"data")] {
        twins.send(&TestFrame::new(&segment(9, SYN, b"")));
        twins.send(&TestFrame::new(&datagram(9, b"")));
        for at in 0..base.len().min(54) {
            for value in [0, 1, 2, 0x11, 0x45, 0x46, 0x7f, 0x80, 0xff, base[at] ^ 0x40] {
                let mut frame = base.clone();
                frame[at] = value;
                twins.send(&TestFrame::new(&frame));
                if (14..34).contains(&at) && !(24..26).contains(&at) {
                    seal(&mut frame);
                    twins.send(&TestFrame::new(&frame));
                }
            }
        }
    }
}

#[test]
fn padding_truncation_and_segments_make_no_difference() {
    let mut twins = Twins::new();
    for base in [
        datagram(9, b"x"),
        segment(9, SYN, b""),
        segment(9, ACK, b"x"),
    ] {
        let mut padded = base.clone();
        padded.resize(60.max(base.len() + 3), 0xa5);
        for frame in [&base, &padded] {
            for len in 0..=frame.len() {
                twins.send(&TestFrame::new(&frame[..len]));
            }
            for at in 0..frame.len() {
                twins.send(&TestFrame::new(frame).split_at(at));
            }
        }
    }
}

#[test]
fn a_burst_whose_first_packet_starts_the_flow_of_the_others_finds_it() {
    let mut twins = Twins::new();
    let frames = [datagram(9, b"a"), datagram(9, b"b"), datagram(9, b"c")];
    let mut burst = frames.each_ref().map(|frame| TestFrame::new(frame));
    let first = twins
        .straight
        .burst(Ingress::Device(DeviceId(0)), &mut burst);
    assert_eq!(first[0], first[1]);
    assert_eq!(first[0], first[2]);
    assert_eq!(twins.straight.counters().flows.value(), 1);
}
