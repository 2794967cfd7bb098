//! Reading frames and correcting checksums.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_bench::{BURST, Rounds, datagram, keys, keys_v6};
use weir_wire::checksum::{self, Delta};
use weir_wire::parse;

/// Frames that stay in the first-level cache: the parser is measured, not memory.
const FRAMES: u32 = 128;

fn parsing(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(BURST as u64));
    let v4: Vec<_> = keys(FRAMES).iter().map(datagram).collect();
    let mut rounds = Rounds::new(v4.len());
    group.bench_function("v4 udp, burst of 64", |b| {
        b.iter(|| {
            for frame in &v4[rounds.advance()] {
                let _ = black_box(parse::parse(black_box(frame), frame.len()));
            }
        });
    });
    let v6: Vec<_> = keys_v6(FRAMES).iter().map(datagram).collect();
    group.bench_function("v6 udp, burst of 64", |b| {
        b.iter(|| {
            for frame in &v6[rounds.advance()] {
                let _ = black_box(parse::parse(black_box(frame), frame.len()));
            }
        });
    });
    group.finish();
}

fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for len in [20, 60, 1500] {
        let bytes: Vec<u8> = (0..len)
            .map(|i| u8::try_from(i % 251).unwrap_or(0))
            .collect();
        group.bench_function(format!("{len} octets"), |b| {
            b.iter(|| checksum::of(black_box(&bytes)));
        });
    }
    let (old, new) = (keys(2)[0], keys(2)[1]);
    let sum = checksum::of(&datagram(&old));
    group.bench_function("NAT update (RFC 1624), address and port", |b| {
        b.iter(|| {
            let (old, new) = black_box((old, new));
            Delta::new()
                .replace_addr(old.client, new.client)
                .replace_u16(old.client_port.0, new.client_port.0)
                .apply(black_box(sum))
        });
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = short(); targets = parsing, checksums }
criterion_main!(benches);
