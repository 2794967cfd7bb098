//! The flow table, against what a good general-purpose map does with the same keys (C2).
//!
//! Keys are looked up in bursts, in an order that memory does not know. The map's values are as
//! wide as the fields of an entry that the packet path reads, so both touch the same number of
//! cache lines per flow: bucket and entry there, control bytes and pair here.

use core::net::Ipv4Addr;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir_bench::{BURST, Rounds, keys, new_flow};
use weir_engine::flow::{FlowKey, FlowMemory, FlowTable, HashKey};
use weir_engine::time::Time;

type Key = FlowKey<Ipv4Addr>;
type Baseline = hashbrown::HashMap<Key, [u64; 4], ahash::RandomState>;

const COUNTS: [u32; 4] = [1_000, 100_000, 1_000_000, 8_000_000];
const NOW: Time = Time::from_nanos(1_000_000_000);

fn insert(table: &mut FlowTable<Ipv4Addr>, key: Key) {
    let inserted = table.insert(&new_flow(key), NOW, &mut |_, _| {});
    assert!(inserted.is_ok(), "there is room, and the key is new");
}

fn filled(keys: &[Key]) -> FlowTable<Ipv4Addr> {
    let mut table = FlowTable::new(
        FlowMemory::leak_heap(keys.len()),
        HashKey::new([1, 2, 3, 4]),
    );
    for key in keys {
        insert(&mut table, *key);
    }
    table
}

/// Another order than that of insertion, so that entries are not met one after the other.
fn shuffled(keys: &[Key]) -> Vec<Key> {
    let mut keys = keys.to_vec();
    fastrand::Rng::with_seed(2).shuffle(&mut keys);
    keys
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow lookup");
    group.throughput(Throughput::Elements(BURST as u64));
    for count in COUNTS {
        let known = keys(count);
        let asked = shuffled(&known);
        {
            let table = filled(&known);
            let (mut rounds, mut found) = (Rounds::new(asked.len()), [None; BURST]);
            group.bench_function(BenchmarkId::new("weir, burst of 64", count), |b| {
                b.iter(|| {
                    table.lookup_batch(&asked[rounds.advance()], NOW, &mut found);
                    assert!(found.iter().all(Option::is_some), "all flows are known");
                    for found in found.iter().flatten() {
                        black_box(table.entry(found.index).server());
                    }
                });
            });
        }
        let baseline: Baseline = known.iter().map(|key| (*key, [1; 4])).collect();
        let mut rounds = Rounds::new(asked.len());
        group.bench_function(
            BenchmarkId::new("hashbrown + ahash, one by one", count),
            |b| {
                b.iter(|| {
                    for key in &asked[rounds.advance()] {
                        let value = baseline.get(key).expect("all flows are known");
                        black_box(value[0]);
                    }
                });
            },
        );
    }
    group.finish();
}

/// Ends flows of a full table and starts them again, one by one.
fn churning(c: &mut Criterion) {
    const COUNT: u32 = 100_000;
    let mut group = c.benchmark_group("flow end and start");
    group.throughput(Throughput::Elements(BURST as u64));
    let known = keys(COUNT);
    let asked = shuffled(&known);
    let (mut table, mut rounds) = (filled(&known), Rounds::new(asked.len()));
    group.bench_function("weir, full table", |b| {
        b.iter(|| {
            for key in &asked[rounds.advance()] {
                let found = table
                    .lookup(key, table.hash(key), NOW)
                    .expect("all flows are known");
                table.remove(found.index);
                insert(&mut table, *key);
            }
        });
    });
    let mut baseline: Baseline = known.iter().map(|key| (*key, [1; 4])).collect();
    group.bench_function("hashbrown + ahash", |b| {
        b.iter(|| {
            for key in &asked[rounds.advance()] {
                let value = baseline.remove(key).expect("all flows are known");
                baseline.insert(*key, value);
            }
        });
    });
    group.finish();
}

fn expiring(c: &mut Criterion) {
    const BUDGET: usize = 64;
    let mut table = filled(&keys(100_000));
    let mut group = c.benchmark_group("flow expiry");
    group.throughput(Throughput::Elements(BUDGET as u64));
    group.bench_function("a step that finds nothing", |b| {
        b.iter(|| {
            table.expire(NOW, BUDGET, &mut |entry| {
                black_box(entry);
            })
        });
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = short(); targets = lookup, churning, expiring }
criterion_main!(benches);
