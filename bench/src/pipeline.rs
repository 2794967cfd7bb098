//! An engine in a small network, fed with bursts of its flows' frames.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::sync::Arc;

use weir_engine::counters::WorkerCounters;
use weir_engine::flow::{FlowKey, HashKey};
use weir_engine::id::{DeviceId, WorkerId};
use weir_engine::io::Io as _;
use weir_engine::tables::{Mode, Tables};
use weir_engine::testing::world::{ServiceSpec, Spec};
use weir_engine::testing::{TestFrame, TestIo};
use weir_engine::time::Time;
use weir_engine::verdict::Verdict;
use weir_engine::{Engine, EngineConfig, EngineMemory, Ingress, Outcome};
use weir_wire::addr::{MacAddr, Protocol};

use crate::{BURST, Frame, Rounds, VIP, VIP_PORT, frame};

/// Last octets of the servers' addresses.
const SERVERS: [u8; 8] = [11, 12, 13, 14, 15, 16, 17, 18];

/// Frames that come again and again, in bursts.
#[derive(Debug)]
pub struct Bursts {
    frames: Vec<Frame>,
    rounds: Rounds,
    buffers: Vec<TestFrame>,
}

impl Bursts {
    /// One frame per flow.
    pub fn new(keys: &[FlowKey<Ipv4Addr>]) -> Self {
        let mut frames: Vec<Frame> = keys.iter().map(frame).collect();
        // Whole bursts, so that each flow comes once per round.
        frames.truncate(frames.len() / BURST * BURST);
        let rounds = Rounds::new(frames.len());
        let buffers = vec![TestFrame::new(&[0; 60]); BURST];
        Self {
            frames,
            rounds,
            buffers,
        }
    }

    /// Bursts until everything has come once.
    pub fn round_len(&self) -> usize {
        self.frames.len() / BURST
    }

    /// The next burst, written into the buffers of the last.
    #[inline]
    pub fn receive(&mut self) -> &mut [TestFrame] {
        for (buffer, frame) in self
            .buffers
            .iter_mut()
            .zip(&self.frames[self.rounds.advance()])
        {
            let grown = TestIo::len(buffer) - frame.len();
            if grown > 0 {
                TestIo::trim_front(buffer, grown); // What a tunnel had put before it.
            }
            TestIo::head_mut(buffer).copy_from_slice(frame);
        }
        &mut self.buffers
    }
}

/// An engine with one UDP service and eight servers.
#[derive(Debug)]
pub struct World {
    engine: Engine,
    tables: Tables,
    io: TestIo,
    outcome: Outcome,
    now: Time,
}

impl World {
    /// An engine with room for `flows` flows.
    pub fn new(mode: Mode, flows: usize) -> Self {
        let mut service = ServiceSpec::tcp("198.51.100.1", VIP_PORT.0, mode, &SERVERS);
        service.protocol = Protocol::UDP;
        debug_assert_eq!(service.vip, IpAddr::from(VIP));
        let mut spec = Spec::standard().with(service);
        for last in SERVERS {
            let address = Ipv4Addr::new(10, 1, 0, last);
            spec.neighbours
                .push((1, address.into(), MacAddr([2, 0, 0, 0, 3, last])));
        }
        let tables = spec.tables(1);
        let config = EngineConfig {
            worker: WorkerId(0),
            hash_key: HashKey::new([1, 2, 3, 4]),
            seed: 7,
        };
        let counters = Arc::new(WorkerCounters::with_slots(64, 256));
        let mut engine = Engine::new(config, EngineMemory::leak_heap(flows), counters);
        engine.adopt(&Tables::default(), &tables);
        let now = Time::ZERO + Duration::from_secs(1);
        Self {
            engine,
            tables,
            io: TestIo::default(),
            outcome: Outcome::new(),
            now,
        }
    }

    /// Lets every frame come once, and checks that each got a flow of its own.
    ///
    /// # Panics
    /// If one did not.
    pub fn establish(&mut self, bursts: &mut Bursts) {
        for _ in 0..bursts.round_len() {
            self.forward(bursts.receive());
        }
        let flows = self.engine.counters().flows.value();
        assert_eq!(
            flows,
            bursts.frames.len() as u64,
            "every frame is of a flow of its own"
        );
    }

    /// Runs a burst; all of it must be forwarded.
    ///
    /// # Panics
    /// If a frame is not forwarded.
    #[inline]
    pub fn forward(&mut self, frames: &mut [TestFrame]) {
        let Self {
            engine,
            tables,
            io,
            outcome,
            now,
        } = self;
        let ingress = Ingress::Device(DeviceId(0));
        engine.run(io, tables, *now, ingress, frames, outcome);
        let forwarded = |verdict: &Verdict| matches!(verdict, Verdict::Forward(_));
        assert!(
            outcome.verdicts().iter().all(forwarded),
            "{:?}",
            outcome.verdicts()
        );
    }
}
