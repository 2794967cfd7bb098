//! P17: one worker and two, each on a core of its own, replaying from `net_pcap` into `net_null`,
//! so that no generator needs a core. Each gets the frames of the clients that it owns, as a NIC's
//! receive-side scaling would deliver them. The MAC swap goes first, on the same cores.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use weir_dpdk::spawn_pinned;
use weir_engine::steering::{DEFAULT_KEY, Steering};
use weir_worker::DeviceQueues;

use crate::Failure;
use crate::bench::nanos;
use crate::client::{self, Client, Frame, Segment};
use crate::director::{Director, Plan};
use crate::lane::Floor;
use crate::rings::{CONTROL_CPU, Rings, WORKER_CPU};
use crate::rows::Pace;

/// Flows, and frames of the file, of each worker.
const FLOWS: usize = 1 << 16;
/// The cores, in the order in which they get workers.
const CPUS: [usize; 2] = [WORKER_CPU, CONTROL_CPU];

/// Frames, and nanoseconds on the CPU.
type Done = (u64, u64);

/// One thread's turn.
type Turn = Box<dyn FnMut() -> usize + Send>;

/// As many workers, or MAC swaps, as there are cores in use.
struct Side {
    floors: Vec<Turn>,
    workers: Vec<Turn>,
    director: Director,
}

/// Millions of frames per second of CPU, on one core and on two, in turns.
pub(crate) fn scale(pace: Pace) -> Result<Value, Failure> {
    // Floor and director each keep a frame of their own for each of a file's.
    let mbufs = u32::try_from(2 * (1 + CPUS.len()) * FLOWS + 16_384)?;
    let mut rings = Rings::with_pool(mbufs, 256)?;
    let mut one = side(&mut rings, 1)?;
    let mut two = side(&mut rings, CPUS.len())?;
    let mut pairs = Vec::new();
    for _ in 0..pace.pairs {
        let floors = [
            run(&rings, pace.window, &mut one.floors)?,
            run(&rings, pace.window, &mut two.floors)?,
        ];
        let directors = [
            run(&rings, pace.window, &mut one.workers)?,
            run(&rings, pace.window, &mut two.workers)?,
        ];
        pairs.push(json!({ "floor": floors, "director": directors }));
    }
    let sides = [(&one.director, 1), (&two.director, CPUS.len())];
    let sides = sides.map(|(director, workers)| {
        let counters = director.stats.iter().map(|stats| &stats.counters);
        let flows: u64 = counters.clone().map(|c| c.flows.value()).sum();
        let handed: u64 = counters.map(|c| c.handed_out.value()).sum();
        json!({ "flows": flows, "expected": workers * FLOWS, "handed_over": handed })
    });
    Ok(json!({ "pairs": pairs, "sides": sides }))
}

/// Starts the floors and the director of so many workers.
fn side(rings: &mut Rings, workers: usize) -> Result<Side, Failure> {
    let files = write_files(workers)?;
    let mut floors = Vec::new();
    let mut rx = Vec::new();
    for file in &files {
        let replay = format!("net_pcap,rx_pcap={file},infinite_rx=1");
        let (mut own, _) = rings.device(&replay, 1)?;
        rx.append(&mut own);
        let (mut floor_rx, _) = rings.device(&replay, 1)?;
        let (_, mut floor_tx) = rings.device("net_null,no-rx=1", 1)?;
        if let (Some(rx), Some(tx)) = (floor_rx.pop(), floor_tx.pop()) {
            floors.push(Floor { rx, tx });
        }
    }
    files.iter().try_for_each(fs::remove_file)?;
    let queues = u16::try_from(workers)?;
    let (_, to_clients) = rings.device("net_null,no-rx=1", queues)?;
    let (_, to_servers) = rings.device("net_null,no-rx=1", queues)?;
    let plan = Plan {
        key: "sloppy: true", // Each file begins in the middle of its flows.
        ..Plan::default()
    };
    let mut director = Director::new(queues, &plan)?;
    let devices = vec![
        DeviceQueues { rx, tx: to_clients },
        DeviceQueues {
            rx: Vec::new(),
            tx: to_servers,
        },
    ];
    let made = director.workers(devices, (rings.pool, rings.clock), 2 * FLOWS)?;
    let floors = floors.into_iter();
    let workers = made.into_iter();
    Ok(Side {
        floors: floors
            .map(|mut floor| Box::new(move || floor.turn()) as Turn)
            .collect(),
        workers: workers
            .map(|mut worker| Box::new(move || worker.turn()) as Turn)
            .collect(),
        director,
    })
}

/// Lets every turn run on a core of its own for so long: millions of frames per second of CPU, all
/// of them together.
fn run(rings: &Rings, seconds: f64, turns: &mut Vec<Turn>) -> Result<f64, Failure> {
    let (clock, go) = (rings.clock, Arc::new(AtomicBool::new(false)));
    let mut threads = Vec::new();
    for (mut turn, cpu) in turns.drain(..).zip(CPUS) {
        let go = Arc::clone(&go);
        let body = move || {
            while !go.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            // All flows are entered, and the memory is warm, within the first tenth.
            let start = clock.nanos();
            while clock.nanos() < start + nanos(seconds / 10.0) {
                turn();
            }
            let (start, before) = (clock.nanos(), on_cpu());
            let mut moved = 0;
            while clock.nanos() < start + nanos(seconds) {
                for _ in 0..64 {
                    moved += turn() as u64;
                }
            }
            ((moved, on_cpu() - before), turn)
        };
        threads.push(spawn_pinned(cpu, "forwarding", body)?);
    }
    go.store(true, Ordering::Release);
    let mut rate = 0.0;
    for thread in threads {
        let ((frames, nanos), turn): (Done, Turn) = thread.join().map_err(|_| "a core panicked")?;
        rate += frames as f64 / nanos as f64 * 1e3;
        turns.push(turn);
    }
    Ok(rate)
}

/// Nanoseconds that the calling thread was on its CPU.
fn on_cpu() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.unwrap_or(0)
}

/// A file for each worker, with a frame of each of its flows.
fn write_files(workers: usize) -> Result<Vec<String>, Failure> {
    let steering = Steering::new(u16::try_from(workers)?, DEFAULT_KEY);
    let mut records = vec![Vec::new(); workers];
    let mut number = 0;
    while records.iter().any(|frames| frames.len() < FLOWS) {
        number += 1;
        let client = Client(number);
        let mut frame: Frame = [0; 60];
        client::write(&mut frame, client, 0, Segment::Ack, 0);
        let owner = client.owner(&steering).index();
        if records[owner].len() < FLOWS {
            records[owner].push(frame);
        }
    }
    let directory = std::env::temp_dir();
    let mut files = Vec::new();
    for (worker, frames) in records.iter().enumerate() {
        let path = directory.join(format!("weir-rig-{}-{worker}.pcap", std::process::id()));
        let mut out = BufWriter::new(File::create(&path)?);
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1_u32] {
            out.write_all(&word.to_ne_bytes())?;
        }
        for frame in frames {
            for word in [0, 0, 60, 60_u32] {
                out.write_all(&word.to_ne_bytes())?;
            }
            out.write_all(frame)?;
        }
        out.flush()?;
        files.push(path.display().to_string());
    }
    Ok(files)
}
