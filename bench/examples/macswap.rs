//! Swaps the MAC addresses of every frame between two ports: the cost of Weir's I/O layer alone.
//!
//! `testpmd --forward-mode=macswap` does the same in C, with the same burst and descriptors, so
//! the two rates compare the layers. Frames go both ways, and those from `--rx` to `--tx` count.
//! Each line of input is answered with how many there were; the end of input is the end.
//!
//! ```text
//! macswap --rx net_pcap0,rx_pcap=in.pcap,infinite_rx=1 --tx net_null0--cpu 1
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_dpdk::{
    Burst, ChecksumOffload, Eal, EalConfig, Hugepages, Mempool, MempoolConfig, Port, PortConfig,
    RxQueue, TxQueue, spawn_pinned,
};

type Failure = Box<dyn std::error::Error>;

struct Options {
    rx: String,
    tx: String,
    cpu: usize,
    control_cpu: usize,
    burst: usize,
    mbufs: u32,
    data_room: u16,
    hugepages: Hugepages,
}

fn options() -> Result<Options, Failure> {
    let mut options = Options {
        rx: "net_null0".into(),
        tx: "net_null1".into(),
        cpu: 1,
        control_cpu: 0,
        burst: 32,
        mbufs: 65_535,
        data_room: 2048,
        hugepages: Hugepages::Auto,
    };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--rx" => options.rx = value,
            "--tx" => options.tx = value,
            "--cpu" => options.cpu = value.parse()?,
            "--control-cpu" => options.control_cpu = value.parse()?,
            "--burst" => options.burst = value.parse()?,
            "--mbufs" => options.mbufs = value.parse()?,
            "--data-room" => options.data_room = value.parse()?,
            "--hugepages" if value == "off" => options.hugepages = Hugepages::Off,
            _ => return Err(format!("unknown option {flag}").into()),
        }
    }
    Ok(options)
}

/// One load, one rotation, one store: the 12 octets are rotated by 6, the next 4 stay.
#[inline(always)]
fn swap_macs(frame: &mut [u8]) {
    const ADDRESSES: u128 = (1 << 96) - 1;
    if let Some(start) = frame.first_chunk_mut::<16>() {
        let all = u128::from_le_bytes(*start);
        let (addresses, rest) = (all & ADDRESSES, all & !ADDRESSES);
        *start = (rest | addresses >> 48 | (addresses << 48) & ADDRESSES).to_le_bytes();
    }
}

/// Both ends of one direction.
struct Path {
    rx: RxQueue,
    tx: TxQueue,
}

impl Path {
    /// One burst; returns how many frames left.
    #[inline(always)]
    fn turn(&mut self, burst: &mut Burst, burst_len: usize) -> usize {
        if self.rx.receive_up_to(burst, burst_len) == 0 {
            return 0;
        }
        for frame in burst.iter_mut() {
            swap_macs(frame.data_mut());
        }
        let sent = self.tx.send(burst);
        burst.clear();
        sent
    }
}

/// What the main thread and the worker tell each other.
#[derive(Default)]
struct Shared {
    sent: AtomicU64,
    stop: AtomicBool,
}

/// Forwards both ways, as testpmd does, and counts what goes the first way.
fn forward([mut there, mut back]: [Path; 2], burst_len: usize, shared: &Shared) {
    let (mut burst, mut sent) = (Burst::new(), 0);
    while !shared.stop.load(Ordering::Relaxed) {
        sent += there.turn(&mut burst, burst_len) as u64;
        shared.sent.store(sent, Ordering::Relaxed);
        back.turn(&mut burst, burst_len);
    }
}

fn run() -> Result<(), Failure> {
    let options = options()?;
    let data_room = options.data_room;
    let mut eal = Eal::init(&EalConfig {
        file_prefix: format!("macswap-{}", std::process::id()),
        control_cpu: options.control_cpu,
        hugepages: options.hugepages,
        memory: Mempool::octets(options.mbufs, data_room),
        pci: Vec::new(),
    })?;
    println!("memory {:?}", eal.memory());
    let pool = Mempool::new(
        &eal,
        &MempoolConfig {
            name: "frames",
            count: options.mbufs,
            data_room,
            cache: 256,
            node: None,
        },
    )?;
    let config = PortConfig {
        checksum: ChecksumOffload::Off,
        ..PortConfig::default()
    };
    let mut rx_port = Port::configure(eal.attach(&options.rx)?, &config, pool)?;
    let mut tx_port = Port::configure(eal.attach(&options.tx)?, &config, pool)?;
    let (mut near, mut far) = (rx_port.start()?, tx_port.start()?);
    for port in [&rx_port, &tx_port] {
        for shortfall in &port.report().shortfalls {
            println!("lacks {}: {shortfall}", port.device());
        }
    }
    let path = |rx: Option<RxQueue>, tx: Option<TxQueue>| {
        let (rx, tx) = (rx.ok_or("no queue")?, tx.ok_or("no queue")?);
        Ok::<_, Failure>(Path { rx, tx })
    };
    let there = path(near.rx.pop(), far.tx.pop())?;
    let paths = [there, path(far.rx.pop(), near.tx.pop())?];

    let (shared, burst_len) = (Arc::new(Shared::default()), options.burst);
    let theirs = Arc::clone(&shared);
    let worker = spawn_pinned(options.cpu, "macswap", move || {
        forward(paths, burst_len, &theirs);
    })?;
    println!("ready");
    for line in std::io::stdin().lines() {
        line?;
        println!("sent {}", shared.sent.load(Ordering::Relaxed));
    }
    shared.stop.store(true, Ordering::Relaxed);
    worker.join().map_err(|_| "the worker panicked")?;
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("macswap: {error}");
            ExitCode::FAILURE
        }
    }
}
