//! The loop of one worker: on one screen, in [`Worker::turn`].

use std::sync::Arc;

use weir_dpdk::{Burst, Mempool, Tsc};
use weir_engine::id::{PortId, WorkerId};
use weir_engine::limits::{FLOWS_SWEPT_PER_IDLE_LOOP, FLOWS_SWEPT_PER_LOOP, FLOWS_SWEPT_PER_NAP};
use weir_engine::police::Policer;
use weir_engine::tables::Tables;
use weir_engine::time::Time;
use weir_engine::verdict::Verdict;
use weir_engine::{Engine, Ingress, Outcome};

use crate::dispatch::Next;
use crate::egress::{fill, octets};
use crate::hold::Hold;
use crate::idle::{Backoff, Idle};
use crate::io::DpdkIo;
use crate::mesh::WorkerParts;
use crate::stats::WorkerStats;

/// What a worker is made of, besides queues and rings.
#[derive(Debug)]
pub struct WorkerConfig {
    /// Its index.
    pub id: WorkerId,
    /// Its engine.
    pub engine: Engine,
    /// The first tables: a worker receives nothing before it has them.
    pub tables: Arc<Tables>,
    /// Where originated frames come from.
    pub pool: Mempool,
    /// The clock, shared by all threads.
    pub clock: Tsc,
    /// Poll, or nap when idle.
    pub idle: Idle,
    /// Limits frames for control.
    pub policer: Policer,
    /// Where it counts.
    pub stats: Arc<WorkerStats>,
}

/// One poll-mode worker.
#[derive(Debug)]
pub struct Worker {
    pub(crate) engine: Engine,
    pub(crate) tables: Arc<Tables>,
    pub(crate) next: Option<Next>,
    clock: Tsc,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) parts: WorkerParts,
    pub(crate) io: DpdkIo,
    pub(crate) outcome: Outcome,
    pub(crate) hold: Hold,
    pub(crate) policer: Policer,
    pub(crate) stopping: bool,
    pub(crate) retry_held: bool,
    backoff: Backoff,
    started: Time,
}

impl Worker {
    /// A worker that has not started. Call [`Self::run`] on its own pinned thread.
    pub fn new(config: WorkerConfig, mut parts: WorkerParts) -> Self {
        let io = DpdkIo::new(config.pool, core::mem::take(&mut parts.egress));
        Self {
            engine: config.engine,
            tables: config.tables,
            next: None,
            started: Time::from_nanos(config.clock.nanos()),
            clock: config.clock,
            stats: config.stats,
            parts,
            io,
            outcome: Outcome::new(),
            hold: Hold::new(),
            retry_held: false,
            policer: config.policer,
            backoff: Backoff::new(config.idle),
            stopping: false,
        }
    }

    /// Polls until told to stop.
    pub fn run(mut self) {
        while !self.stopping {
            let moved = self.turn();
            if self.next.is_some() {
                continue; // Tables wait: no time for a nap.
            }
            if let Some(nap) = self.backoff.after_turn(moved) {
                self.stats.naps.add(1);
                let now = Time::from_nanos(self.clock.nanos());
                self.engine.expire(now, FLOWS_SWEPT_PER_NAP);
                #[expect(clippy::disallowed_methods, reason = "this is the idle back-off")]
                std::thread::sleep(nap);
            }
        }
    }

    /// One turn: obey, receive, forward, take over, send, expire. Returns how many frames moved.
    pub fn turn(&mut self) -> usize {
        let now = Time::from_nanos(self.clock.nanos());
        self.stats.heartbeat.set(now.as_nanos());
        let mut moved = self.obey(now);
        self.warm();
        for index in 0..self.parts.ingress.len() {
            moved += self.receive(index, now);
        }
        for index in 0..self.parts.handed_in.len() {
            moved += self.take_over(index, now);
        }
        self.try_held(now);
        for egress in &mut self.io.egress {
            egress.flush(&self.stats.counters);
            moved += egress.relay();
        }
        let swept = if moved > 0 {
            FLOWS_SWEPT_PER_LOOP
        } else {
            FLOWS_SWEPT_PER_IDLE_LOOP
        };
        self.engine.expire(now, swept);
        self.engine.continue_adoption(&self.tables);
        self.account(now, moved);
        moved
    }

    fn receive(&mut self, index: usize, now: Time) -> usize {
        let mut burst = Burst::new();
        let (device, queue) = &mut self.parts.ingress[index];
        let device = *device;
        let received = queue.receive(&mut burst);
        if received == 0 {
            return 0;
        }
        self.stats.counters.received.packets.add(received as u64);
        self.stats.counters.received.bytes.add(octets(&burst));
        self.stats.count_burst(received);
        self.forward(burst, Ingress::Device(device), now);
        received
    }

    /// Takes a burst over from another worker.
    fn take_over(&mut self, index: usize, now: Time) -> usize {
        let mut burst = Burst::new();
        let taken = fill(&mut burst, &mut self.parts.handed_in[index]);
        if taken > 0 {
            self.stats.counters.handed_in.add(taken as u64);
            self.forward(burst, Ingress::HandedIn, now);
        }
        taken
    }

    /// Asks the engine, and moves every frame where its verdict says.
    fn forward(&mut self, mut burst: Burst, ingress: Ingress, now: Time) {
        let frames = burst.as_mut_slice();
        self.engine.run(
            &mut self.io,
            &self.tables,
            now,
            ingress,
            frames,
            &mut self.outcome,
        );
        if let Some(port) = common_port(self.outcome.verdicts()) {
            self.send_burst(port, &mut burst);
        }
        for (index, frame) in burst.drain().enumerate() {
            match self.outcome.verdicts()[index] {
                Verdict::Forward(port) => self.send(port, frame),
                Verdict::HandOver(_) | Verdict::Hold(_) | Verdict::Punt(_) | Verdict::Drop(_) => {
                    self.dispatch(index, frame, ingress, now);
                }
            }
        }
        self.retry_held |= self.outcome.first_fragments();
        self.send_originated();
    }

    /// Sends what the engine made itself, in its order; it has counted that as originated.
    #[inline]
    pub(crate) fn send_originated(&mut self) {
        if self.io.originated.is_empty() {
            return;
        }
        let mut originated = core::mem::take(&mut self.io.originated);
        for (port, frame) in originated.drain(..) {
            self.send(port, frame);
        }
        self.io.originated = originated; // Its memory is kept: nothing is allocated here.
    }

    /// Publishes how the loop is doing.
    fn account(&self, now: Time, moved: usize) {
        let end = Time::from_nanos(self.clock.nanos());
        let taken = end.as_nanos().saturating_sub(now.as_nanos());
        self.stats.count_turn(taken);
        if moved > 0 {
            self.stats.busy.add(taken);
        }
        self.stats
            .elapsed
            .set(end.as_nanos().saturating_sub(self.started.as_nanos()));
    }
}

/// The port that all frames of a burst leave by, if they do.
#[inline]
fn common_port(verdicts: &[Verdict]) -> Option<PortId> {
    let Verdict::Forward(port) = *verdicts.first()? else {
        return None;
    };
    let same = |verdict: &Verdict| *verdict == Verdict::Forward(port);
    verdicts.iter().all(same).then_some(port)
}
