//! Starts the workers: engine memory, queues, pinned threads.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use weir_control::config::{Config, CpuId, Idle as IdleSetting};
use weir_dpdk::{Hugepages, PageKind, PinnedThread, leak_slice_with};
use weir_engine::flow::{Bucket, FlowEntry, FlowMemory, HashKey};
use weir_engine::id::WorkerId;
use weir_engine::police::{Policer, PuntLimits};
use weir_engine::{Engine, EngineConfig, EngineMemory};
use weir_wire::addr::Address;
use weir_worker::{ControlLink, Idle, Worker, WorkerConfig, WorkerStats};

use super::devices;
use super::random;
use super::shared::Shared;

/// A worker that has its memory, and waits for queues and tables.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) cpu: usize,
    pub(crate) stats: Arc<WorkerStats>,
    engine: Engine,
    policer: Policer,
}

/// Allocates all workers' tables. Says into `notes` where they had to go.
///
/// # Errors
/// If there is no memory, in one line with the fix.
pub(crate) fn prepare(
    config: &Config,
    cpus: &[CpuId],
    notes: &mut Vec<String>,
) -> anyhow::Result<Vec<Prepared>> {
    let flows = config.runtime.flows_per_worker as usize;
    let hugepages = devices::hugepages(config);
    let mut prepared = Vec::new();
    for (index, cpu) in cpus.iter().enumerate() {
        let memory = EngineMemory {
            v4: flow_memory::<Ipv4Addr>(flows, hugepages, notes)?,
            v6: flow_memory::<Ipv6Addr>(flows, hugepages, notes)?,
        };
        let stats = Arc::new(WorkerStats::new());
        let hash_key = HashKey::new([
            random::word()?,
            random::word()?,
            random::word()?,
            random::word()?,
        ]);
        let engine = EngineConfig {
            worker: worker_id(index)?,
            hash_key,
            seed: random::word()?,
        };
        let engine = Engine::new(engine, memory, Arc::clone(&stats.counters));
        prepared.push(Prepared {
            cpu: usize::from(cpu.0),
            stats,
            engine,
            policer: Policer::new(PuntLimits::default(), hash_key),
        });
    }
    notes.dedup();
    Ok(prepared)
}

fn worker_id(index: usize) -> anyhow::Result<WorkerId> {
    Ok(WorkerId(u16::try_from(index).context("too many workers")?))
}

fn flow_memory<A: Address>(
    flows: usize,
    hugepages: Hugepages,
    notes: &mut Vec<String>,
) -> anyhow::Result<FlowMemory<A>> {
    let (buckets, entries) = FlowMemory::<A>::required(flows);
    let buckets = leak_slice_with(buckets, hugepages, |_| Bucket::EMPTY)?;
    let entries = leak_slice_with(entries, hugepages, |_| FlowEntry::<A>::EMPTY)?;
    if entries.pages == PageKind::Ordinary && hugepages != Hugepages::Off {
        notes.push("flow tables in ordinary pages → more TLB misses per lookup".into());
    }
    Ok(FlowMemory {
        buckets: buckets.slice,
        entries: entries.slice,
    })
}

/// Everything that starting ports and workers takes, once there are tables.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) engines: Vec<Prepared>,
    pub(crate) links: Vec<ControlLink>,
    pub(crate) config: Config,
    pub(crate) shared: Arc<Shared>,
}

impl Launch {
    /// Starts all ports, shares out their queues and starts polling.
    ///
    /// # Errors
    /// One line that names the device or the CPU.
    pub(crate) fn start(self) -> anyhow::Result<Vec<PinnedThread<()>>> {
        let Self {
            engines,
            links,
            config,
            shared,
        } = self;
        let queues = shared.devices.with(|devices| {
            devices
                .iter_mut()
                .map(devices::OpenDevice::start)
                .collect::<anyhow::Result<_>>()
        })?;
        let parts = weir_worker::build(queues, links);
        let tables = shared.tables.load();
        let mut threads = Vec::new();
        for ((index, prepared), parts) in engines.into_iter().enumerate().zip(parts) {
            prepared.stats.generation.set(tables.generation);
            let worker = WorkerConfig {
                id: worker_id(index)?,
                engine: prepared.engine,
                tables: Arc::clone(&tables),
                pool: shared.pool,
                clock: shared.clock,
                idle: idle(&config),
                policer: prepared.policer,
                stats: prepared.stats,
            };
            let run = move || {
                // Costs only the length of naps if the kernel refuses.
                let _ = weir_dpdk::set_timer_slack(Duration::from_micros(1));
                Worker::new(worker, parts).run();
            };
            let name = format!("weir-worker{index}");
            threads.push(weir_dpdk::spawn_pinned(prepared.cpu, &name, run)?);
        }
        Ok(threads)
    }
}

fn idle(config: &Config) -> Idle {
    match config.runtime.idle {
        IdleSetting::Poll => Idle::Poll,
        IdleSetting::Adaptive => Idle::Adaptive,
    }
}
