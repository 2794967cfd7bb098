//! One EAL per test binary: DPDK starts once per process. Ordinary pages, so that the tests run
//! on any machine.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use weir_dpdk::{Eal, EalConfig, Hugepages, Mempool, MempoolConfig};

/// Frames in the pool that a test makes for itself: af_xdp keeps 2048 per receive queue.
pub(crate) const POOL_COUNT: u32 = 8191;

/// Octets per segment of these pools.
pub(crate) const DATA_ROOM: u16 = 2048;

static EAL: LazyLock<Mutex<Eal>> = LazyLock::new(|| {
    let config = EalConfig {
        file_prefix: format!("weir-test-{}", std::process::id()),
        control_cpu: 0,
        hugepages: Hugepages::Off,
        memory: 16 * Mempool::octets(POOL_COUNT, DATA_ROOM),
        pci: Vec::new(),
    };
    Mutex::new(Eal::init(&config).expect("DPDK starts on ordinary pages"))
});

/// The EAL, for one test at a time. A test that failed leaves it usable.
pub(crate) fn eal() -> MutexGuard<'static, Eal> {
    EAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pool of the test's own, so that its balance shows what the test did.
pub(crate) fn pool(eal: &Eal, name: &str) -> Mempool {
    let config = MempoolConfig {
        name,
        count: POOL_COUNT,
        data_room: DATA_ROOM,
        cache: 32,
        node: None,
    };
    Mempool::new(eal, &config).expect("the test's EAL has memory for 16 pools")
}
