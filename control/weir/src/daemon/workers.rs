//! Starts the workers: engine memory, rings, pinned threads.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use core::net::{Ipv4Addr, Ipv6Addr};
use weir_control::config::{Config, CpuId, Idle as IdleSetting};
use weir_dpdk::{Hugepages, Mempool, PageKind, PinnedThread, Tsc, leak_slice_with};
use weir_engine::flow::{Bucket, FlowEntry, FlowMemory, HashKey};
use weir_engine::id::WorkerId;
use weir_engine::tables::Tables;
use weir_engine::{Engine, EngineConfig, EngineMemory};
use weir_worker::{Idle, PuntLimits, Worker, WorkerConfig, WorkerParts, WorkerStats};

/// A worker that has everything but its first tables.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) cpu: usize,
    pub(crate) stats: Arc<WorkerStats>,
    engine: Engine,
    parts: WorkerParts,
}

/// Allocates one worker's tables. Says into `notes` where they had to go.
pub(crate) fn prepare(
    config: &Config,
    index: usize,
    cpu: CpuId,
    parts: WorkerParts,
    notes: &mut Vec<String>,
) -> anyhow::Result<Ready> {
    let flows = config.runtime.flows_per_worker as usize;
    let hugepages = match config.runtime.hugepages {
        weir_control::config::Hugepages::Auto => Hugepages::Auto,
        weir_control::config::Hugepages::Required => Hugepages::Required,
        weir_control::config::Hugepages::Off => Hugepages::Off,
    };
    let memory = EngineMemory {
        v4: flow_memory::<Ipv4Addr>(flows, hugepages, notes)?,
        v6: flow_memory::<Ipv6Addr>(flows, hugepages, notes)?,
    };
    let stats = Arc::new(WorkerStats::new());
    let [a, b, c, d, seed] = random()?;
    let engine_config = EngineConfig {
        worker: WorkerId(u16::try_from(index).context("too many workers")?),
        hash_key: HashKey::new([a, b, c, d]),
        seed,
    };
    let engine = Engine::new(engine_config, memory, Arc::clone(&stats.counters));
    Ok(Ready {
        cpu: usize::from(cpu.0),
        stats,
        engine,
        parts,
    })
}

impl Ready {
    /// Starts polling on its CPU.
    pub(crate) fn start(
        self,
        index: usize,
        config: &Config,
        tables: Arc<Tables>,
        pool: Mempool,
        clock: Tsc,
    ) -> anyhow::Result<PinnedThread<()>> {
        let idle = match config.runtime.idle {
            IdleSetting::Poll => Idle::Poll,
            IdleSetting::Adaptive => Idle::Adaptive,
        };
        let worker = WorkerConfig {
            id: WorkerId(u16::try_from(index).context("too many workers")?),
            engine: self.engine,
            tables,
            pool,
            clock,
            idle,
            punt_limits: PuntLimits::default(),
            stats: self.stats,
        };
        let parts = self.parts;
        let name = format!("weir-worker{index}");
        let run = move || {
            // Costs only latency of naps if the kernel refuses.
            let _ = weir_dpdk::set_timer_slack(Duration::from_micros(1));
            Worker::new(worker, parts).run();
        };
        Ok(weir_dpdk::spawn_pinned(self.cpu, &name, run)?)
    }
}

fn flow_memory<A: weir_wire::addr::Address>(
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

/// Secrets of this start, from the kernel (getrandom(2) by way of its device).
fn random() -> anyhow::Result<[u64; 5]> {
    let mut octets = [0; 40];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut device| device.read_exact(&mut octets))
        .context("/dev/urandom")?;
    let mut words = octets.chunks_exact(8);
    Ok([(); 5].map(|()| {
        let word = words.next().and_then(|word| word.try_into().ok());
        u64::from_ne_bytes(word.unwrap_or_default())
    }))
}
