//! Nanoseconds per packet of the engine alone: established UDP flows of 64-octet frames through DR,
//! in random order, from buffers in the first-level cache.
//!
//! `cargo run --release -p weir-engine --example burst [FLOWS] [PACKETS]`

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use weir_engine::counters::WorkerCounters;
use weir_engine::flow::HashKey;
use weir_engine::id::{DeviceId, WorkerId};
use weir_engine::tables::Mode;
use weir_engine::testing::fixed::{FixedFrame, FixedIo};
use weir_engine::testing::world::{ServiceSpec, Spec};
use weir_engine::time::Time;
use weir_engine::{Engine, EngineConfig, EngineMemory, Ingress, Outcome};
use weir_wire::addr::Protocol;
use weir_wire::checksum;

const BURST: u16 = 32;

fn main() {
    let argument = |n: usize, default: u32| {
        let text = std::env::args().nth(n);
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let (flows, packets) = (argument(1, 1000), argument(2, 4_000_000));
    let mut service = ServiceSpec::tcp("10.9.9.9", 53, Mode::Dr, &[11, 12, 13, 14]);
    service.protocol = Protocol::UDP;
    let tables = Spec::standard().with(service).tables(1);
    let config = EngineConfig {
        worker: WorkerId(0),
        hash_key: HashKey::new([1, 2, 3, 4]),
        seed: 1,
    };
    let memory = EngineMemory::leak_heap(flows as usize);
    let counters = Arc::new(WorkerCounters::with_slots(64, 256));
    let mut engine = Engine::new(config, memory, counters);
    engine.adopt(&tables);
    let (mut io, mut outcome) = (FixedIo::new(64), Outcome::new());
    let mut burst: Vec<FixedFrame> = (0..BURST).map(|_| FixedFrame::new(&[])).collect();
    let mut run = |first: u32, step: u32, packets: u32| {
        let mut at = first;
        for _ in 0..packets / u32::from(BURST) {
            for frame in &mut burst {
                frame.set(&datagram(at % flows));
                at = at.wrapping_add(step);
            }
            let ingress = Ingress::Device(DeviceId(0));
            engine.run(
                &mut io,
                &tables,
                Time::ZERO,
                ingress,
                &mut burst,
                &mut outcome,
            );
        }
    };
    run(0, 1, flows.next_multiple_of(32) * 2);
    // The same without the engine, to be taken off.
    let empty = timed(|| {
        let mut at = 7u32;
        for _ in 0..packets {
            std::hint::black_box(datagram(at % flows));
            at = at.wrapping_add(7919);
        }
    });
    let full = timed(|| run(7, 7919, packets));
    let each = (full - empty) * 1e9 / f64::from(packets);
    println!("{flows} flows: {each:.1} ns per packet");
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn datagram(flow: u32) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 2, 0xfe, 8, 0]);
    let ip = [0x45, 0, 0, 46, 0, 1, 0x40, 0, 64, 17, 0, 0];
    frame[14..26].copy_from_slice(&ip);
    frame[26..30].copy_from_slice(&Ipv4Addr::from_bits(0xac10_0000 + flow).octets());
    frame[30..34].copy_from_slice(&[10, 9, 9, 9]);
    let sum = checksum::of(&frame[14..34]).0;
    frame[24..26].copy_from_slice(&sum);
    frame[34..40].copy_from_slice(&[0x9c, 0x40, 0, 53, 0, 26]);
    frame
}
