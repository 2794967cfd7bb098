//! What holds for any frame: no panic, no frame lost, no allocation, and no difference whether a
//! buffer is in one piece.

mod frames;

use std::alloc::System;
use std::sync::Arc;

use frames::{Tcp, client, echo, frag_needed, fragments_of, udp};
use proptest::prelude::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use weir_engine::counters::WorkerCounters;
use weir_engine::flow::HashKey;
use weir_engine::id::{DeviceId, PortId, WorkerId};
use weir_engine::io::Io;
use weir_engine::tables::{Mode, Tables};
use weir_engine::testing::world::{ServiceSpec, Spec, World, ip};
use weir_engine::testing::TestFrame;
use weir_engine::time::Time;
use weir_engine::verdict::Verdict;
use weir_engine::{BURST_MAX, Engine, EngineConfig, EngineMemory, Ingress, Outcome};
use weir_wire::addr::Protocol;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Services of every mode and both protocols, each on a port of its own.
fn everything() -> Spec {
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
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for port in [80, 81, 82, 83] {
        seeds.push(Tcp { port, ..Tcp::syn(client(1)) }.frame());
        seeds.push(Tcp { port, ..Tcp::ack(client(1)) }.frame());
        seeds.push(Tcp { port, ..Tcp::ack(client(1)) }.reply(12));
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
    let names = ["v6-nat", "v6-dr", "v6-icmp", "v6-tun-66", "v6-fragments", "nat-icmp", "dr-tcp"];
    let mut frames = Vec::new();
    for name in names {
        let path = format!("{}/../../tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// `World::burst` asserts conservation after every burst.
    #[test]
    fn damaged_frames_never_panic_and_are_conserved(
        picks in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..4u8, 0..3u8),
            1..200,
        ),
        pool in prop::option::of(0usize..20),
    ) {
        let seeds = seeds();
        let mut world = World::with_flows(&everything(), 16);
        world.io.pool = pool;
        for (seed, at, value, how, device) in picks {
            let mut frame = seed.get(&seeds).clone();
            let at = at.index(frame.len());
            match how {
                0 => {}
                1 => frame[at] = value,
                2 => frame.truncate(at),
                _ => {
                    frame[at] ^= value;
                    if frame.len() >= 34 && frame[12..14] == [8, 0] {
                        frames::fix_ip(&mut frame);
                    }
                }
            }
            let frame = TestFrame::new(&frame).with_headroom(usize::from(value));
            world.send(u16::from(device), frame);
        }
    }

    #[test]
    fn noise_never_panics_and_is_conserved(
        noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..64),
    ) {
        let mut world = World::with_flows(&everything(), 16);
        let mut frames: Vec<TestFrame> = noise.iter().map(|bytes| TestFrame::new(bytes)).collect();
        world.burst(Ingress::Device(DeviceId(0)), &mut frames);
        world.burst(Ingress::HandedIn, &mut frames);
    }
}

#[test]
fn every_truncation_of_every_kind_of_frame_is_survived() {
    let mut world = World::with_flows(&everything(), 64);
    for frame in seeds() {
        for len in 0..=frame.len() {
            world.send(0, TestFrame::new(&frame[..len]));
        }
    }
}

#[test]
fn d13_where_a_frame_is_cut_into_segments_makes_no_difference() {
    for frame in seeds() {
        let whole = {
            let mut world = World::with_flows(&everything(), 16);
            open(&mut world);
            let sent = world.send(device_of(&frame), TestFrame::new(&frame));
            (sent.verdict, sent.out)
        };
        for at in 0..=128.min(frame.len()) {
            let mut world = World::with_flows(&everything(), 16);
            open(&mut world);
            let sent = world.send(device_of(&frame), TestFrame::new(&frame).split_at(at));
            assert_eq!((sent.verdict, &sent.out), (whole.0, &whole.1), "cut at {at}");
        }
    }
}

/// Starts the flows that some of the frames belong to.
fn open(world: &mut World) {
    for port in [80, 81, 82] {
        world.send(0, TestFrame::new(&Tcp { port, ..Tcp::syn(client(1)) }.frame()));
    }
}

fn device_of(frame: &[u8]) -> u16 {
    u16::from(frame.get(5) == Some(&1))
}

/// An Io that costs nothing: buffers of fixed size, taken and given back.
struct FixedIo {
    free: Vec<Fixed>,
    sent: Vec<Fixed>,
}

struct Fixed {
    octets: Box<[u8; 2048]>,
    start: usize,
    end: usize,
    note: u64,
}

impl Fixed {
    fn new(bytes: &[u8]) -> Self {
        let mut octets = Box::new([0; 2048]);
        octets[128..128 + bytes.len()].copy_from_slice(bytes);
        Self { octets, start: 128, end: 128 + bytes.len(), note: 0 }
    }

    fn set(&mut self, bytes: &[u8]) {
        (self.start, self.end) = (128, 128 + bytes.len());
        self.octets[128..128 + bytes.len()].copy_from_slice(bytes);
    }
}

impl Io for FixedIo {
    type Frame = Fixed;

    fn head(frame: &Fixed) -> &[u8] {
        &frame.octets[frame.start..frame.end]
    }
    fn head_mut(frame: &mut Fixed) -> &mut [u8] {
        &mut frame.octets[frame.start..frame.end]
    }
    fn len(frame: &Fixed) -> usize {
        frame.end - frame.start
    }
    fn prepend(frame: &mut Fixed, octets: usize) -> bool {
        let start = frame.start.checked_sub(octets);
        start.inspect(|start| frame.start = *start).is_some()
    }
    fn append(frame: &mut Fixed, octets: usize) -> bool {
        let fits = frame.end + octets <= 2048;
        frame.end += if fits { octets } else { 0 };
        fits
    }
    fn trim_front(frame: &mut Fixed, octets: usize) {
        frame.start += octets;
    }
    fn truncate(frame: &mut Fixed, len: usize) {
        frame.end = frame.start + len;
    }
    fn pull(frame: &mut Fixed, octets: usize) -> bool {
        octets <= Self::len(frame)
    }
    fn copy_out(frame: &Fixed, offset: usize, out: &mut [u8]) -> bool {
        let from = Self::head(frame).get(offset..offset + out.len());
        from.inspect(|from| out.copy_from_slice(from)).is_some()
    }
    fn note(frame: &Fixed) -> u64 {
        frame.note
    }
    fn set_note(frame: &mut Fixed, note: u64) {
        frame.note = note;
    }
    fn alloc(&mut self) -> Option<Fixed> {
        let mut frame = self.free.pop()?;
        frame.set(&[]);
        Some(frame)
    }
    fn originate(&mut self, _: PortId, frame: Fixed) {
        self.sent.push(frame);
    }
}

#[test]
fn the_packet_path_allocates_nothing() {
    let spec = everything();
    let tables = spec.tables(1);
    let config =
        EngineConfig { worker: WorkerId(0), hash_key: HashKey::new([1, 2, 3, 4]), seed: 1 };
    let counters = Arc::new(WorkerCounters::with_slots(64, 256));
    let mut engine = Engine::new(config, EngineMemory::leak_heap(64), counters);
    engine.adopt(&Tables::default(), &tables);
    let mut outcome = Outcome::new();
    let mut io = FixedIo {
        free: (0..4096).map(|_| Fixed::new(&[])).collect(),
        sent: Vec::with_capacity(4096),
    };
    let seeds: Vec<Vec<u8>> = seeds().into_iter().filter(|seed| seed.len() < 1900).collect();
    let mut frames: Vec<Fixed> = seeds.iter().map(|seed| Fixed::new(seed)).collect();
    let mut forwarded = 0;
    let mut now = Time::ZERO;
    let region = Region::new(ALLOCATOR);
    for round in 0..8u16 {
        for (burst, seeds) in frames.chunks_mut(BURST_MAX).zip(seeds.chunks(BURST_MAX)) {
            for (frame, seed) in burst.iter_mut().zip(seeds) {
                frame.set(seed);
            }
            let ingress = Ingress::Device(DeviceId(round % 2));
            engine.run(&mut io, &tables, now, ingress, burst, &mut outcome);
            let is_forward = |verdict: &&Verdict| matches!(verdict, Verdict::Forward(_));
            forwarded += outcome.verdicts().iter().filter(is_forward).count();
        }
        now = now + std::time::Duration::from_secs(20);
        engine.expire(now, 1024);
        io.free.append(&mut io.sent);
    }
    let change = region.change();
    assert!(forwarded > 100, "the frames are worth running: {forwarded}");
    assert_eq!((change.allocations, change.deallocations, change.reallocations), (0, 0, 0));
}
