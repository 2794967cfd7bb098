//! What the management thread may read: counters, published snapshots, and ways to ask.
//!
//! Nothing here can stall control or a worker: counters are atomics, snapshots are swapped whole,
//! questions go through bounded channels.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use weir_dpdk::{Mempool, Tsc};
use weir_engine::counters::{Counter, Outcomes, WorkerCounters};
use weir_engine::id::{DeviceId, ServerId};
use weir_engine::tables::Tables;
use weir_worker::WorkerStats;

use super::devices::OpenDevice;
use super::inspect::Inspector;

/// A value that is replaced as a whole; readers get the newest.
#[derive(Debug)]
pub(crate) struct Latest<T>(Mutex<Arc<T>>);

impl<T> Latest<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self(Mutex::new(value))
    }

    /// The newest value. The lock is held for the copy of a pointer only.
    pub(crate) fn load(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the value.
    pub(crate) fn store(&self, value: Arc<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

/// All devices. The lock is taken to start them, and by whoever reads their counters.
#[derive(Debug)]
pub(crate) struct Devices(Mutex<Vec<OpenDevice>>);

impl Devices {
    pub(crate) fn new(devices: Vec<OpenDevice>) -> Self {
        Self(Mutex::new(devices))
    }

    pub(crate) fn count(&self) -> usize {
        self.with(|devices| devices.len())
    }

    /// Whether the driver says that the link of any of the device's ports is up.
    pub(crate) fn link_is_up(&self, device: DeviceId) -> bool {
        self.with(|devices| {
            let device = devices.get(device.index());
            device.is_some_and(|device| device.ports.iter().any(|port| port.link().up))
        })
    }

    /// Looks at them.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Vec<OpenDevice>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One worker.
#[derive(Debug)]
pub(crate) struct WorkerFacts {
    pub(crate) cpu: usize,
    pub(crate) stats: Arc<WorkerStats>,
}

/// Everything the management thread reads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Tsc,
    pub(crate) workers: Vec<WorkerFacts>,
    pub(crate) flows_per_worker: u64,
    pub(crate) pool: Mempool,
    pub(crate) devices: Devices,
    /// What the machine lacks and what it costs, said at start.
    pub(crate) notes: Vec<String>,
    pub(crate) tables: Latest<Tables>,
    pub(crate) inspector: Inspector,
}

impl Shared {
    /// How long each worker has taken no turn; `None` before its first.
    pub(crate) fn heartbeat_ages(&self) -> impl Iterator<Item = Option<Duration>> {
        let now = self.clock.nanos();
        self.workers.iter().map(move |worker| {
            let last = worker.stats.heartbeat.value();
            (last > 0).then(|| Duration::from_nanos(now.saturating_sub(last)))
        })
    }

    /// The sum of one counter over all workers.
    pub(crate) fn sum(&self, counter: impl Fn(&WorkerCounters) -> &Counter) -> u64 {
        self.workers
            .iter()
            .map(|worker| counter(&worker.stats.counters).value())
            .sum()
    }

    /// The sum of one counter, read as a number, over all workers.
    pub(crate) fn total(&self, value: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.workers
            .iter()
            .map(|worker| value(&worker.stats.counters))
            .sum()
    }

    /// What became of a server's flows, over all workers.
    pub(crate) fn outcomes(&self, server: ServerId) -> Outcomes {
        let mut sum = Outcomes::default();
        for worker in &self.workers {
            sum += worker.stats.counters.outcomes(server);
        }
        sum
    }
}
