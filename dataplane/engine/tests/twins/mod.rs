//! Two engines that see the same frames: one on the straight line, where it may, the other never.

mod bursts;

use core::net::IpAddr;
use std::time::Duration;

use weir_engine::Ingress;
use weir_engine::id::{DeviceId, WorkerId};
use weir_engine::io::Io;
use weir_engine::note::Note;
use weir_engine::tables::Mode;
use weir_engine::testing::world::{ServiceSpec, Spec, World, ip};
use weir_engine::testing::{TestFrame, TestIo};
use weir_engine::verdict::Verdict;
use weir_wire::addr::Protocol;
use weir_wire::checksum;

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const CLIENT_PORT: u16 = 40_000;

/// Networks of both families.
pub(crate) const PREFIXES: [(&str, &str, &str); 2] = [
    ("10.9.9.", "10.1.0.", "172.16.0.7"),
    ("2001:db8:9::", "fd00:1::", "2001:db8:77::7"),
];

/// The VIPs by mode; nothing listens at the last.
pub(crate) const VIPS: [(u8, Option<Mode>); 4] = [
    (9, Some(Mode::Dr)),
    (10, Some(Mode::Nat)),
    (11, Some(Mode::Tunnel)),
    (12, None),
];

/// Each mode over TCP and UDP, in both families.
pub(crate) fn spec() -> Spec {
    let mut spec = Spec::standard();
    for (vips, servers, _) in PREFIXES {
        for (vip, mode) in VIPS {
            let Some(mode) = mode else { continue };
            for (protocol, port) in [(Protocol::TCP, 80), (Protocol::UDP, 53)] {
                let mut service = ServiceSpec::tcp(&format!("{vips}{vip}"), port, mode, &[13, 14]);
                service.protocol = protocol;
                for (server, last) in service.servers.iter_mut().zip([13, 14]) {
                    server.address = ip(&format!("{servers}{last}"));
                    // NAT servers listen elsewhere.
                    server.port = (mode == Mode::Nat).then_some(port + 8000);
                }
                spec = spec.with(service);
            }
        }
    }
    spec
}

/// Where a packet comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// 0: clients' side, 1: servers'.
    pub(crate) device: u16,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
}

/// From a client to a VIP.
pub(crate) fn to_vip(family: usize, vip: u8) -> Ends {
    let (vips, _, client) = PREFIXES[family];
    Ends {
        device: 0,
        src: ip(client),
        dst: ip(&format!("{vips}{vip}")),
    }
}

/// From a server to a client.
pub(crate) fn to_client(family: usize, server: u8) -> Ends {
    let (_, servers, client) = PREFIXES[family];
    Ends {
        device: 1,
        src: ip(&format!("{servers}{server}")),
        dst: ip(client),
    }
}

impl Ends {
    /// The ports: the client's, and that of the service or of its server.
    pub(crate) fn ports(self, service: u16) -> Vec<u8> {
        let (from, to) = match self.device {
            0 => (CLIENT_PORT, service),
            _ => (service + 8000, CLIENT_PORT),
        };
        [from.to_be_bytes(), to.to_be_bytes()].concat()
    }

    /// Ethernet and IP around an L4 header and data, IP checksum right.
    pub(crate) fn packet(self, protocol: u8, l4: &[u8]) -> Vec<u8> {
        let mac = [2, 0, 0, 0, 1, u8::try_from(self.device).expect("0 or 1")];
        let mut frame = [mac, [2, 0, 0, 0, 2, 0xfe]].concat();
        let len = |more: usize| u16::try_from(more + l4.len()).expect("a small packet");
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let [hi, lo] = len(20).to_be_bytes();
                frame.extend([8, 0, 0x45, 0xb8, hi, lo, 0, 1, 0x40, 0, 64, protocol, 0, 0]);
                frame.extend([src.octets(), dst.octets()].concat());
                seal(&mut frame);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let [hi, lo] = len(0).to_be_bytes();
                frame.extend([0x86, 0xdd, 0x6b, 0x81, 2, 3, hi, lo, protocol, 64]);
                frame.extend([src.octets(), dst.octets()].concat());
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                unreachable!("ends are of one family")
            }
        }
        frame.extend(l4);
        frame
    }

    /// A segment; its checksum need not be right to be carried on.
    pub(crate) fn segment(self, flags: u8, data: &[u8]) -> Vec<u8> {
        let mut l4 = self.ports(80);
        l4.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 16, 0, 0x12, 0x34, 0, 0]);
        l4.extend(data);
        self.packet(6, &l4)
    }

    /// A datagram with this checksum.
    pub(crate) fn datagram(self, sum: u16, data: &[u8]) -> Vec<u8> {
        let len = u16::try_from(8 + data.len()).expect("a small datagram");
        let mut l4 = self.ports(53);
        l4.extend([len.to_be_bytes(), sum.to_be_bytes()].concat());
        l4.extend(data);
        self.packet(17, &l4)
    }
}

/// Makes the checksum of an IPv4 header right again.
pub(crate) fn seal(frame: &mut [u8]) {
    if frame[12..14] == [8, 0] {
        frame[24..26].fill(0);
        let sum = checksum::of(&frame[14..34]).0;
        frame[24..26].copy_from_slice(&sum);
    }
}

/// Two engines that see the same frames.
pub(crate) struct Twins {
    pub(crate) straight: World,
    pub(crate) whole: World,
}

impl Twins {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self::with_flows(spec, 1024)
    }

    pub(crate) fn with_flows(spec: &Spec, flows: usize) -> Self {
        Self::of_worker(spec, flows, WorkerId(0))
    }

    pub(crate) fn of_worker(spec: &Spec, flows: usize, worker: WorkerId) -> Self {
        Self {
            straight: World::of_worker(spec, flows, worker),
            whole: World::of_worker(spec, flows, worker),
        }
    }

    /// What became of a frame, the same in both.
    pub(crate) fn send(&mut self, device: u16, frame: &TestFrame) -> Verdict {
        let by_device = self.straight.send(device, frame.clone());
        let mut noted = frame.clone();
        TestIo::set_note(&mut noted, Note::new(DeviceId(device)).bits());
        let by_worker = self.whole.send_as(Ingress::HandedIn, noted);
        assert_eq!(
            by_device.verdict,
            by_worker.verdict,
            "{:02x?}",
            frame.bytes()
        );
        assert_eq!(by_device.out, by_worker.out, "{:02x?}", frame.bytes());
        self.compare();
        by_device.verdict
    }

    /// Begins a flow of each protocol, and lets its server answer; returns who that is.
    pub(crate) fn begin(&mut self, family: usize, (vip, mode): (u8, Option<Mode>)) -> Vec<Ends> {
        let ends = to_vip(family, vip);
        let mut talk = vec![ends];
        self.send(0, &TestFrame::new(&ends.segment(SYN, b"")));
        self.send(0, &TestFrame::new(&ends.datagram(7, b"")));
        if mode == Some(Mode::Nat) {
            for server in [13, 14] {
                let back = to_client(family, server);
                self.send(1, &TestFrame::new(&back.segment(SYN | ACK, b"")));
                self.send(1, &TestFrame::new(&back.datagram(7, b"")));
                talk.push(back);
            }
        }
        self.send(0, &TestFrame::new(&ends.segment(ACK, b"")));
        talk
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.straight.pass(time);
        self.whole.pass(time);
        self.compare();
    }

    pub(crate) fn compare(&self) {
        let books = |world: &World| {
            let counters = world.counters();
            let services = counters.services.iter().map(|s| {
                let connections = s.connections.value();
                let (incoming, outgoing) = (&s.incoming, &s.outgoing);
                let packets = (incoming.packets.value(), outgoing.packets.value());
                let bytes = (incoming.bytes.value(), outgoing.bytes.value());
                (packets, bytes, connections)
            });
            let servers = counters.servers.iter().map(|s| {
                let gauges = (s.active.value(), s.inactive.value());
                let (incoming, outgoing) = (&s.incoming, &s.outgoing);
                let packets = (incoming.packets.value(), outgoing.packets.value());
                let bytes = (incoming.bytes.value(), outgoing.bytes.value());
                (packets, bytes, gauges, s.connections.value())
            });
            let flows = world.flows();
            let dropped = counters
                .dropped
                .iter()
                .map(|c| c.value())
                .collect::<Vec<_>>();
            let gauges = [
                counters.flow_insert_failures.value(),
                counters.flows_deferred.value(),
                counters.flows.value(),
                counters.flows_half_open.value(),
                counters.flows_expired.value(),
            ];
            (
                services.collect::<Vec<_>>(),
                servers.collect::<Vec<_>>(),
                flows,
                dropped,
                gauges,
            )
        };
        let (straight, whole) = (books(&self.straight), books(&self.whole));
        differ("services", &straight.0, &whole.0);
        differ("servers", &straight.1, &whole.1);
        differ("flows", &straight.2, &whole.2);
        differ("drops", &straight.3, &whole.3);
        differ(
            "flows without room, deferred, all, half open, ended",
            &straight.4,
            &whole.4,
        );
    }
}

/// Fails with the first difference, if there is one.
pub(crate) fn differ<T: PartialEq + std::fmt::Debug>(what: &str, straight: &[T], whole: &[T]) {
    assert_eq!(straight.len(), whole.len(), "{what}");
    for (at, (straight, whole)) in straight.iter().zip(whole).enumerate() {
        assert_eq!(straight, whole, "{what}: {at}");
    }
}

/// Packets of all kinds: of flows and of none, to VIPs and from servers.
pub(crate) fn variants() -> Vec<(u16, Vec<u8>)> {
    let mut frames = Vec::new();
    for family in [0, 1] {
        let forward = VIPS.map(|(vip, _)| to_vip(family, vip));
        let back = [13, 14, 15].map(|server| to_client(family, server));
        let mut odd = [to_client(family, 13); 3];
        odd[0].dst = to_vip(family, 9).dst; // A server asks a VIP.
        odd[1].src = to_vip(family, 9).dst; // A server answers as the VIP.
        odd[2].dst = ip(["10.1.0.1", "fd00:1::1"][family]); // A server talks to the director.
        for ends in forward.into_iter().chain(back).chain(odd) {
            for flags in [
                SYN,
                SYN | ACK,
                ACK,
                ACK | 0x08,
                0x11,
                0x04,
                0x14,
                0,
                0x29,
                0xd0,
                0x30,
            ] {
                frames.push((ends.device, ends.segment(flags, b"data")));
            }
            let room = [1472, 1452][family];
            for len in [
                0,
                1,
                18,
                room - 40,
                room - 39,
                room - 20,
                room - 19,
                room,
                room + 1,
            ] {
                frames.push((ends.device, ends.datagram(0xbeef, &vec![7; len])));
            }
            frames.push((ends.device, ends.datagram(0, b"no checksum")));
            frames.push((ends.device, ends.datagram(0xffff, b"a checksum like none")));
        }
    }
    frames
}
