//! DPDK, its pool, and wires between two cores: each is one direction of a `net_ring` device, whose
//! sending end one core has and whose receiving end the other.

use weir_dpdk::{
    ChecksumOffload, Eal, EalConfig, Hugepages, Mempool, MempoolConfig, Port, PortConfig, RxQueue,
    Tsc, TxQueue,
};

use crate::Failure;

/// CPU of the generator, which is also control.
pub(crate) const CONTROL_CPU: usize = 0;
/// CPU of the worker.
pub(crate) const WORKER_CPU: usize = 1;
/// Frames on all wires, in caches and in hands.
const MBUFS: u32 = 16_383;
const DATA_ROOM: u16 = 2048;

/// DPDK, started.
#[derive(Debug)]
pub(crate) struct Rings {
    eal: Eal,
    /// Where frames come from.
    pub(crate) pool: Mempool,
    /// The clock that all threads share.
    pub(crate) clock: Tsc,
    ports: Vec<Port>,
}

/// One direction of a wire: what is sent into `tx` comes out of `rx`. It holds 1,024 frames.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) tx: TxQueue,
    pub(crate) rx: RxQueue,
}

impl Rings {
    /// Starts DPDK and makes the pool.
    pub(crate) fn start() -> Result<Self, Failure> {
        Self::with_pool(MBUFS, DATA_ROOM)
    }

    /// The same with another pool.
    pub(crate) fn with_pool(mbufs: u32, data_room: u16) -> Result<Self, Failure> {
        let eal = Eal::init(&EalConfig {
            file_prefix: format!("weir-rig-{}", std::process::id()),
            control_cpu: CONTROL_CPU,
            hugepages: Hugepages::Auto,
            memory: Mempool::octets(mbufs, data_room) + (16 << 20),
            pci: Vec::new(),
        })?;
        let pool = Mempool::new(
            &eal,
            &MempoolConfig {
                name: "frames",
                count: mbufs,
                data_room,
                cache: 256,
                node: None,
            },
        )?;
        Ok(Self {
            eal,
            pool,
            clock: Tsc::calibrate(),
            ports: Vec::new(),
        })
    }

    /// The memory that DPDK works in, for the record.
    pub(crate) fn memory(&self) -> String {
        format!("{:?}", self.eal.memory())
    }

    /// A wire.
    pub(crate) fn wire(&mut self) -> Result<Wire, Failure> {
        let (mut rx, mut tx) = self.device("net_ring", 1)?;
        match (rx.pop(), tx.pop()) {
            (Some(rx), Some(tx)) => Ok(Wire { tx, rx }),
            _ => Err("a ring without queues".into()),
        }
    }

    /// Starts a device.
    pub(crate) fn device(
        &mut self,
        device: &str,
        tx_queues: u16,
    ) -> Result<(Vec<RxQueue>, Vec<TxQueue>), Failure> {
        let config = PortConfig {
            checksum: ChecksumOffload::Off,
            tx_queues,
            ..PortConfig::default()
        };
        let mut port = Port::configure(self.eal.attach(device)?, &config, self.pool)?;
        let queues = port.start()?;
        self.ports.push(port);
        Ok((queues.rx, queues.tx))
    }
}
