//! The packet path allocates nothing: run under an allocator that counts. Alone in its program,
//! because the count is of the whole process.

mod frames;

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use frames::{everything, seeds};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use weir_engine::counters::WorkerCounters;
use weir_engine::flow::HashKey;
use weir_engine::id::{DeviceId, WorkerId};
use weir_engine::testing::fixed::{FixedFrame, FixedIo};
use weir_engine::time::Time;
use weir_engine::verdict::Verdict;
use weir_engine::{BURST_MAX, Engine, EngineConfig, EngineMemory, Ingress, Outcome};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn the_packet_path_allocates_nothing() {
    let spec = everything();
    let tables = spec.tables(1);
    let config = EngineConfig {
        worker: WorkerId(0),
        hash_key: HashKey::new([1, 2, 3, 4]),
        seed: 1,
    };
    let counters = Arc::new(WorkerCounters::with_slots(64, 256));
    let mut engine = Engine::new(config, EngineMemory::leak_heap(64), counters);
    engine.adopt(&tables);
    let mut outcome = Outcome::new();
    let mut io = FixedIo::new(4096);
    let seeds: Vec<Vec<u8>> = seeds()
        .into_iter()
        .filter(|seed| seed.len() < 1900)
        .collect();
    let mut frames: Vec<FixedFrame> = seeds.iter().map(|seed| FixedFrame::new(seed)).collect();
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
        now = now + Duration::from_secs(20);
        engine.expire(now, 1024);
        io.take_back();
    }
    let change = region.change();
    assert!(forwarded > 100, "the frames are worth running: {forwarded}");
    assert_eq!(
        (
            change.allocations,
            change.deallocations,
            change.reallocations
        ),
        (0, 0, 0)
    );
}
