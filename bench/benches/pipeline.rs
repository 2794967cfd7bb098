//! The whole engine without devices: bursts of frames of established flows.
//!
//! Each burst's frames are first written over the last one's, as a receiving driver does; that
//! alone is the first row, to be subtracted.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir_bench::pipeline::{Bursts, Site, World};
use weir_bench::{BURST, datagram, keys};
use weir_engine::tables::Mode;

fn engine(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(BURST as u64));
    for count in [1_000, 1_000_000] {
        let mut bursts = Bursts::new(keys(count).iter().map(datagram).collect());
        group.bench_function(
            BenchmarkId::new("frames written, nothing else", count),
            |b| {
                b.iter(|| black_box(bursts.receive()).len());
            },
        );
        for mode in [Mode::Dr, Mode::Nat, Mode::Tunnel] {
            let mut world = World::new(Site::new(mode), count as usize);
            world.establish(&mut bursts);
            let name = format!("{mode:?}").to_lowercase();
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| world.forward(&mut bursts));
            });
        }
    }
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = short(); targets = engine }
criterion_main!(benches);
