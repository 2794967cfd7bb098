//! What the engine takes for a connection, without any I/O: the first packet of one, with all that
//! it sets off (a server is chosen, the flow is entered, another one's time is over), against a
//! packet of a known flow.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_dpdk::{Tsc, spawn_pinned};
use weir_engine::counters::WorkerCounters;
use weir_engine::flow::HashKey;
use weir_engine::id::{DeviceId, WorkerId};
use weir_engine::limits::FLOWS_SWEPT_PER_LOOP;
use weir_engine::tables::Tables;
use weir_engine::testing::fixed::{FixedFrame, FixedIo};
use weir_engine::time::Time;
use weir_engine::verdict::Verdict;
use weir_engine::{BURST_MAX, Engine, EngineConfig, EngineMemory, Ingress, Outcome};

use crate::Failure;
use crate::client::{Frame, Segment};
use crate::director::{Director, Plan, flow_memory};
use crate::generator::Script;
use crate::rings::{Rings, WORKER_CPU};
use crate::rows::Pace;
use crate::script::{Each, FLOOD_BASE, Flood};

/// How long a half-open flow lives, in nanoseconds.
const LIFE: u64 = 60_000_000_000;

struct Bench {
    engine: Engine,
    tables: Arc<Tables>,
    io: FixedIo,
    outcome: Outcome,
    frames: Vec<FixedFrame>,
    clock: Tsc,
    /// The engine's time runs as fast as makes flows end as fast as they begin.
    now: u64,
    forwarded: u64,
}

impl Bench {
    /// Runs `bursts` bursts; nanoseconds per packet that the engine took, the sweep included.
    fn run(&mut self, bursts: u64, gap: u64, script: &mut impl Script) -> f64 {
        let mut taken = 0;
        for _ in 0..bursts {
            for frame in &mut self.frames {
                let mut octets: Frame = [0; 60];
                script.write(&mut octets, 0);
                frame.set(&octets);
            }
            self.now += gap;
            let now = Time::from_nanos(self.now);
            let before = self.clock.nanos();
            self.engine.run(
                &mut self.io,
                &self.tables,
                now,
                Ingress::Device(DeviceId(0)),
                &mut self.frames,
                &mut self.outcome,
            );
            self.engine.expire(now, FLOWS_SWEPT_PER_LOOP);
            taken += self.clock.nanos() - before;
            let verdicts = self.outcome.verdicts().iter();
            let forwarded = verdicts.filter(|verdict| matches!(verdict, Verdict::Forward(_)));
            self.forwarded += forwarded.count() as u64;
        }
        taken as f64 / (bursts * BURST_MAX as u64) as f64
    }

    /// Lets new clients' flows run out, and sweeps a table of so many: nanoseconds.
    fn end(&mut self, entries: usize) -> f64 {
        self.now += LIFE;
        let before = self.clock.nanos();
        self.engine.expire(Time::from_nanos(self.now), entries);
        (self.clock.nanos() - before) as f64
    }
}

/// P9: nanoseconds for a connection.
pub(crate) fn connection(pace: Pace) -> Result<Value, Failure> {
    let rings = Rings::start()?;
    let director = Director::new(1, &Plan::default())?;
    let (clock, tables) = (rings.clock, director.tables());
    let counters: Arc<WorkerCounters> = Arc::default();
    let memory = EngineMemory {
        v4: flow_memory(pace.flows as usize)?,
        v6: flow_memory(1024)?,
    };
    let own = Arc::clone(&counters);
    let thread = spawn_pinned(WORKER_CPU, "engine", move || {
        let config = EngineConfig {
            worker: WorkerId(0),
            hash_key: HashKey::new([1, 2, 3, 4]),
            seed: 7,
        };
        let mut engine = Engine::new(config, memory, own);
        engine.adopt(&tables);
        let mut bench = Bench {
            engine,
            tables,
            io: FixedIo::new(64),
            outcome: Outcome::new(),
            frames: (0..BURST_MAX).map(|_| FixedFrame::new(&[0; 60])).collect(),
            clock,
            now: LIFE,
            forwarded: 0,
        };
        measure(&mut bench, pace)
    })?;
    let (pairs, packets, forwarded) = thread.join().map_err(|_| "the engine panicked")?;
    Ok(
        json!({ "pairs": pairs, "packets": packets, "forwarded": forwarded,
        "connections": counters.services[0].connections.value(),
        "insert_failures": counters.flow_insert_failures.value(),
        "deferred": counters.flows_deferred.value(),
        "expired": counters.flows_expired.value(), "flows": counters.flows.value() }),
    )
}

fn measure(bench: &mut Bench, pace: Pace) -> (Vec<Value>, u64, u64) {
    let burst = BURST_MAX as u64;
    // Three quarters of the table are known clients, who stay; the others come and go in half of
    // the rest.
    let known = pace.flows / 2;
    let bursts = u64::from(known) / burst;
    let gap = LIFE * burst / u64::from(pace.flows / 8);
    bench.run(bursts, 0, &mut Each::new(Segment::Syn, known, 1));
    let mut packets = bursts * burst;
    let mut flood = Flood { next: FLOOD_BASE };
    let mut pairs = Vec::new();
    for pair in 0..=pace.pairs {
        let hits = bench.run(bursts, 0, &mut Each::new(Segment::Ack, known, 1));
        // Less than the life of an established flow in all.
        let count = u64::from(pace.flows / 4) / burst;
        let starts = bench.run(count, gap, &mut flood);
        // Time goes by a thousand times too fast for the sweep between bursts to keep up: what it
        // left to do is done now, and belongs to the same connections.
        let starts = starts + bench.end(pace.flows as usize) / (count * burst) as f64;
        packets += (bursts + count) * burst;
        if pair > 0 {
            pairs.push(json!({ "hit": hits, "start": starts }));
        }
    }
    (pairs, packets, bench.forwarded)
}
