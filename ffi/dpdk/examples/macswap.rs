//! Swaps the MAC addresses of every frame between two ports: the cost of Weir's I/O layer alone.
//!
//! `testpmd --forward-mode=macswap` does the same in C, with the same burst and descriptors, so
//! the two rates compare the layers. Prints `NAME VALUE` lines for a script to read.
//!
//! ```text
//! macswap --rx net_pcap0,rx_pcap=in.pcap,infinite_rx=1 --tx net_null0 --cpu 1 --seconds 5
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use weir_dpdk::{
    Burst, ChecksumOffload, Eal, EalConfig, Hugepages, Mempool, MempoolConfig, Port, PortConfig,
    RxQueue, Tsc, TxQueue, spawn_pinned,
};

type Failure = Box<dyn std::error::Error>;

struct Options {
    rx: String,
    tx: String,
    cpu: usize,
    control_cpu: usize,
    seconds: u64,
    burst: usize,
    mbufs: u32,
    hugepages: Hugepages,
}

fn options() -> Result<Options, Failure> {
    let mut options = Options {
        rx: "net_null0".into(),
        tx: "net_null1".into(),
        cpu: 1,
        control_cpu: 0,
        seconds: 5,
        burst: 32,
        mbufs: 65_535,
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
            "--seconds" => options.seconds = value.parse()?,
            "--burst" => options.burst = value.parse()?,
            "--mbufs" => options.mbufs = value.parse()?,
            "--hugepages" if value == "off" => options.hugepages = Hugepages::Off,
            _ => return Err(format!("unknown option {flag}").into()),
        }
    }
    Ok(options)
}

/// What the worker did.
struct Done {
    received: u64,
    sent: u64,
    nanos: u64,
    /// What the worker's thread used of them; less where the machine is shared.
    cpu_nanos: u64,
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

fn forward(
    mut rx: RxQueue,
    mut tx: TxQueue,
    burst_len: usize,
    stop: &AtomicBool,
    tsc: Tsc,
) -> Done {
    let mut burst = Burst::new();
    let (mut received, mut sent) = (0, 0);
    let start = tsc.nanos();
    while !stop.load(Ordering::Relaxed) {
        received += rx.receive_up_to(&mut burst, burst_len) as u64;
        for frame in burst.iter_mut() {
            swap_macs(frame.data_mut());
        }
        sent += tx.send(&mut burst) as u64;
        burst.clear();
    }
    let cpu = clock_gettime(ClockId::ThreadCPUTime);
    let cpu_nanos = cpu.tv_sec.cast_unsigned() * 1_000_000_000 + cpu.tv_nsec.cast_unsigned();
    Done {
        received,
        sent,
        nanos: tsc.nanos() - start,
        cpu_nanos,
    }
}

fn run() -> Result<(), Failure> {
    const DATA_ROOM: u16 = 2048;
    let options = options()?;
    let mut eal = Eal::init(&EalConfig {
        file_prefix: format!("macswap-{}", std::process::id()),
        control_cpu: options.control_cpu,
        hugepages: options.hugepages,
        memory: Mempool::octets(options.mbufs, DATA_ROOM),
        pci: Vec::new(),
    })?;
    println!("memory {:?}", eal.memory());
    let pool = Mempool::new(
        &eal,
        &MempoolConfig {
            name: "frames",
            count: options.mbufs,
            data_room: DATA_ROOM,
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
    let (mut rx, mut tx) = (rx_port.start()?.rx, tx_port.start()?.tx);
    for port in [&rx_port, &tx_port] {
        for shortfall in &port.report().shortfalls {
            println!("lacks {}: {shortfall}", port.device());
        }
    }
    let (Some(rx), Some(tx)) = (rx.pop(), tx.pop()) else {
        return Err("no queue".into());
    };

    let tsc = Tsc::calibrate();
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, burst) = (Arc::clone(&stop), options.burst);
    let worker = spawn_pinned(options.cpu, "macswap", move || {
        forward(rx, tx, burst, &flag, tsc)
    })?;
    std::thread::park_timeout(Duration::from_secs(options.seconds));
    stop.store(true, Ordering::Relaxed);
    let done = worker.join().map_err(|_| "the worker panicked")?;
    println!("received {}", done.received);
    println!("sent {}", done.sent);
    println!("seconds {:.3}", done.nanos as f64 / 1e9);
    println!("mpps {:.2}", done.sent as f64 * 1e3 / done.nanos as f64);
    println!(
        "mpps_cpu {:.2}",
        done.sent as f64 * 1e3 / done.cpu_nanos as f64
    );
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
