//! Flow lookup alone, in random order: Weir's flow table against DPDK's `rte_hash` in bulk and
//! `hashbrown` with `ahash`; and what a flow takes in memory.
//!
//! ```text
//! lookups FLOWS ROUNDS CPU        prints `NAME NS…` lines, a figure for each round
//! lookups memory                  prints `NAME OCTETS` lines at 75 % load
//! ```
//!
//! Each round lets every table look all keys up once or, with few flows, a million times, in bursts
//! of 64, in an order that memory does not know. All tables lie in hugepages, if there are enough.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::hint::black_box;
use std::process::ExitCode;

use rustix::time::{ClockId, clock_gettime};
use weir_bench::contender::{Failure, exit};
use weir_bench::{BURST, Rounds, keys, new_flow};
use weir_dpdk::hash::Hash;
use weir_dpdk::{Eal, EalConfig, Hugepages, leak_slice_with, spawn_pinned};
use weir_engine::flow::{Bucket, FlowEntry, FlowKey, FlowMemory, FlowTable, HashKey};
use weir_engine::time::Time;
use weir_prefetch::prefetch_index;

type Key = FlowKey<Ipv4Addr>;

const NOW: Time = Time::from_nanos(1_000_000_000);
/// Lookups of a round at least.
const LOOKUPS_MIN: usize = 1_000_000;
/// Tables are three quarters full.
const LOAD: (usize, usize) = (3, 4);

/// What a flow is to a program that `rte_hash` gives a number: as long as Weir's entry.
#[repr(align(64))]
struct Record([u64; 8]);

/// Room for `flows` at the load.
const fn capacity(flows: usize) -> usize {
    flows * LOAD.1 / LOAD.0
}

/// A key as octets, for tables that know no more.
fn packed(key: &Key) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&key.client.octets());
    octets[4..8].copy_from_slice(&key.remote.octets());
    octets[8..10].copy_from_slice(&key.client_port.0.to_be_bytes());
    octets[10..12].copy_from_slice(&key.remote_port.0.to_be_bytes());
    octets[12] = key.protocol.0;
    octets
}

/// The same as one number: the key that `ahash` takes least time for.
fn number(key: &Key) -> u128 {
    u128::from_ne_bytes(packed(key))
}

fn weir_table(keys: &[Key]) -> Result<FlowTable<Ipv4Addr>, Failure> {
    let (buckets, entries) = FlowMemory::<Ipv4Addr>::required(capacity(keys.len()));
    let memory = FlowMemory {
        buckets: leak_slice_with(buckets, Hugepages::Auto, |_| Bucket::EMPTY)?.slice,
        entries: leak_slice_with(entries, Hugepages::Auto, |_| FlowEntry::EMPTY)?.slice,
    };
    let mut table = FlowTable::new(memory, HashKey::new([1, 2, 3, 4]));
    for key in keys {
        let inserted = table.insert(&new_flow(*key), NOW, &mut |_, _| {});
        inserted.map_err(|error| format!("{error:?}"))?;
    }
    Ok(table)
}

fn rte_table(eal: &Eal, keys: &[Key]) -> Result<Hash<16>, Failure> {
    let mut table = Hash::new(eal, "lookups", u32::try_from(capacity(keys.len()))?)?;
    for (index, key) in (0_u32..).zip(keys) {
        table.insert(&packed(key), index)?;
    }
    Ok(table)
}

/// What this thread has used of its CPU, in nanoseconds: other work on the machine does not count.
fn cpu_nanos() -> f64 {
    let cpu = clock_gettime(ClockId::ThreadCPUTime);
    cpu.tv_sec as f64 * 1e9 + cpu.tv_nsec as f64
}

/// Nanoseconds for each key of a round that looks bursts up with `look_up`.
fn timed(bursts: usize, mut look_up: impl FnMut()) -> f64 {
    let start = cpu_nanos();
    for _ in 0..bursts {
        look_up();
    }
    (cpu_nanos() - start) / (bursts * BURST) as f64
}

/// The figures of each table, by rounds.
fn measure(eal: &Eal, flows: u32, rounds: usize) -> Result<[Vec<f64>; 4], Failure> {
    let known = keys(flows);
    let weir = weir_table(&known)?;
    let rte = rte_table(eal, &known)?;
    let records = leak_slice_with(known.len(), Hugepages::Auto, |_| Record([1; 8]))?.slice;
    let brown: hashbrown::HashMap<u128, [u64; 4], ahash::RandomState> =
        known.iter().map(|key| (number(key), [1; 4])).collect();
    let mut asked = known;
    fastrand::Rng::with_seed(2).shuffle(&mut asked);
    let octets: Vec<[u8; 16]> = asked.iter().map(packed).collect();
    let numbers: Vec<u128> = asked.iter().map(number).collect();
    let bursts = asked.len().max(LOOKUPS_MIN) / BURST;
    let mut results = [const { Vec::new() }; 4];
    let [weirs, rtes, reads, browns] = &mut results;
    for _ in 0..rounds {
        let (mut at, mut found) = (Rounds::new(asked.len()), [None; BURST]);
        weirs.push(timed(bursts, || {
            weir.lookup_batch(&asked[at.advance()], NOW, &mut found);
            assert!(found.iter().all(Option::is_some), "all flows are known");
            for found in found.iter().flatten() {
                black_box(weir.entry(found.index).server());
            }
        }));
        let (mut at, mut values) = (Rounds::new(asked.len()), [0; BURST]);
        rtes.push(timed(bursts, || {
            let hits = rte.lookup(&octets[at.advance()], &mut values);
            assert_eq!(hits, u64::MAX, "all flows are known");
            black_box(&values);
        }));
        let (mut at, mut values) = (Rounds::new(asked.len()), [0; BURST]);
        reads.push(timed(bursts, || {
            let hits = rte.lookup(&octets[at.advance()], &mut values);
            assert_eq!(hits, u64::MAX, "all flows are known");
            for value in values {
                prefetch_index(records, value as usize);
            }
            for value in values {
                black_box(records[value as usize].0[0]);
            }
        }));
        let mut at = Rounds::new(asked.len());
        browns.push(timed(bursts, || {
            for key in &numbers[at.advance()] {
                black_box(brown[key][0]);
            }
        }));
    }
    Ok(results)
}

fn print_memory() {
    let each = |octets: usize| octets as f64 * LOAD.1 as f64 / LOAD.0 as f64 / FLOWS as f64;
    const FLOWS: usize = 1 << 20;
    let (buckets, entries) = FlowMemory::<Ipv4Addr>::required(FLOWS);
    let v4 = buckets * size_of::<Bucket>() + entries * size_of::<FlowEntry<Ipv4Addr>>();
    let (buckets, entries) = FlowMemory::<Ipv6Addr>::required(FLOWS);
    let v6 = buckets * size_of::<Bucket>() + entries * size_of::<FlowEntry<Ipv6Addr>>();
    println!("v4 {:.1}\nv6 {:.1}", each(v4), each(v6));
}

fn run() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["memory"] {
        print_memory();
        return Ok(());
    }
    let [flows, rounds, cpu] = &words[..] else {
        return Err("wants FLOWS, ROUNDS and CPU, or memory".into());
    };
    let (flows, rounds, cpu): (u32, usize, usize) = (flows.parse()?, rounds.parse()?, cpu.parse()?);
    let room = u32::try_from(capacity(flows as usize))?;
    let eal = Eal::init(&EalConfig {
        file_prefix: format!("lookups-{}", std::process::id()),
        control_cpu: 0,
        hugepages: Hugepages::Auto,
        memory: Hash::<16>::octets(room),
        pci: Vec::new(),
    })?;
    // On a thread of its own, pinned as a worker is.
    let worker = spawn_pinned(cpu, "lookups", move || measure(&eal, flows, rounds))?;
    let results = worker.join().map_err(|_| "the worker panicked")??;
    for (name, figures) in ["weir", "rte_hash", "rte_hash_read", "hashbrown"]
        .iter()
        .zip(results)
    {
        let figures: Vec<String> = figures.iter().map(|ns| format!("{ns:.2}")).collect();
        println!("{name} {}", figures.join(" "));
    }
    Ok(())
}

fn main() -> ExitCode {
    exit("lookups", run())
}
