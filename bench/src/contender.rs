//! What the contenders of `make bench` share: options, devices, and how they are asked.

use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_dpdk::{
    ChecksumOffload, Eal, EalConfig, Hugepages, Mempool, MempoolConfig, Port, PortConfig, Queues,
    spawn_pinned,
};

use crate::BURST;

/// Whatever went wrong.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a contender is told.
#[derive(Debug)]
pub struct Options {
    /// The device whose frames count.
    pub rx: String,
    /// The device that they leave by.
    pub tx: String,
    /// The worker's CPU.
    pub cpu: usize,
    /// Everything else's.
    pub control_cpu: usize,
    /// Frames asked for at a time.
    pub burst: usize,
    /// Packet buffers.
    pub mbufs: u32,
    /// Octets in each.
    pub data_room: u16,
}

impl Options {
    /// Reads the command line. Flags that are not common to all are given to `other`, which says
    /// whether it knows them.
    ///
    /// # Errors
    /// A flag that nobody knows, one without a value, or a bad value.
    pub fn read(
        mut other: impl FnMut(&str, &str) -> Result<bool, Failure>,
    ) -> Result<Self, Failure> {
        let mut options = Self {
            rx: "net_null0".into(),
            tx: "net_null1".into(),
            cpu: 1,
            control_cpu: 0,
            burst: 32,
            mbufs: 65_535,
            data_room: 2048,
        };
        let mut words = std::env::args().skip(1);
        while let Some(flag) = words.next() {
            let value = words.next();
            let value = value.ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--rx" => options.rx = value,
                "--tx" => options.tx = value,
                "--cpu" => options.cpu = number(&value)?,
                "--control-cpu" => options.control_cpu = number(&value)?,
                "--burst" => options.burst = number::<usize>(&value)?.min(BURST),
                "--mbufs" => options.mbufs = number(&value)?,
                "--data-room" => options.data_room = number(&value)?,
                _ if other(&flag, &value)? => {}
                _ => return Err(format!("unknown option {flag}").into()),
            }
        }
        Ok(options)
    }

    /// Starts DPDK with memory for the packet buffers and `more` octets.
    ///
    /// # Errors
    /// Why it did not start.
    pub fn eal(&self, name: &str, hugepages: Hugepages, more: usize) -> Result<Eal, Failure> {
        Ok(Eal::init(&EalConfig {
            file_prefix: format!("{name}-{}", std::process::id()),
            control_cpu: self.control_cpu,
            hugepages,
            memory: Mempool::octets(self.mbufs, self.data_room) + more,
            pci: Vec::new(),
        })?)
    }

    /// Configures and starts both devices, one queue each way. What a device lacks is told.
    ///
    /// # Errors
    /// What cannot be had.
    pub fn ports(&self, eal: &mut Eal) -> Result<Ports, Failure> {
        let pool = Mempool::new(
            eal,
            &MempoolConfig {
                name: "frames",
                count: self.mbufs,
                data_room: self.data_room,
                cache: 256,
                node: None,
            },
        )?;
        let config = PortConfig {
            checksum: ChecksumOffload::Off,
            ..PortConfig::default()
        };
        let mut near = Port::configure(eal.attach(&self.rx)?, &config, pool)?;
        let mut far = Port::configure(eal.attach(&self.tx)?, &config, pool)?;
        let queues = (near.start()?, far.start()?);
        for port in [&near, &far] {
            for shortfall in &port.report().shortfalls {
                println!("lacks {}: {shortfall}", port.device());
            }
        }
        Ok(Ports {
            near: queues.0,
            far: queues.1,
            _open: [near, far],
        })
    }

    /// Runs `work` on the worker's CPU until input ends. Each line of input is answered with how
    /// many frames were sent.
    ///
    /// # Errors
    /// What `work` failed with, or that it panicked.
    pub fn serve(
        &self,
        name: &str,
        work: impl FnOnce(&Shared) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let worker = spawn_pinned(self.cpu, name, move || work(&theirs))?;
        while !shared.ready.load(Ordering::Relaxed) && !worker.is_finished() {
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        println!("ready");
        for line in std::io::stdin().lines() {
            line?;
            println!("sent {}", shared.sent.load(Ordering::Relaxed));
        }
        shared.stop.store(true, Ordering::Relaxed);
        worker.join().map_err(|_| "the worker panicked")?
    }
}

fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    text: &str,
) -> Result<T, Failure> {
    Ok(text.parse()?)
}

/// Two devices that run as long as this lives.
#[derive(Debug)]
pub struct Ports {
    /// Queues of the device whose frames count.
    pub near: Queues,
    /// Queues of the other.
    pub far: Queues,
    _open: [Port; 2],
}

/// What the main thread and the worker tell each other.
#[derive(Debug, Default)]
pub struct Shared {
    ready: AtomicBool,
    sent: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    /// Forwards with `turn`, which returns how many frames it sent, until it is time to stop.
    /// Returns how many there were.
    pub fn forward(&self, mut turn: impl FnMut() -> usize) -> u64 {
        self.ready.store(true, Ordering::Relaxed);
        let mut sent = 0;
        while !self.is_over() {
            sent += turn() as u64;
            self.sent.store(sent, Ordering::Relaxed);
        }
        sent
    }

    /// Whether it is time to stop.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Turns a contender's end into an exit code; failures are told.
pub fn exit(name: &str, end: Result<(), Failure>) -> ExitCode {
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
