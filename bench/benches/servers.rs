//! Choosing a server for a new flow, and the Maglev table.

use core::net::Ipv4Addr;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use weir_bench::{Rounds, VIP_PORT, keys};
use weir_engine::id::ServerId;
use weir_engine::maglev::{
    ClientHash, ClusterKey, MaglevIdentity, MaglevServer, MaglevSize, MaglevTable,
};
use weir_engine::scheduler::{Candidate, Load, Pool, Request, SchedulerKind, SchedulerState};

const CLUSTER: ClusterKey = ClusterKey([7; 16]);

fn id(index: u32) -> ServerId {
    ServerId {
        index,
        generation: 1,
    }
}

fn maglev_servers(count: u32) -> Vec<MaglevServer> {
    let server = |index: u32| MaglevServer {
        identity: MaglevIdentity::new(Ipv4Addr::from_bits(0xcb00_7100 + index).into(), VIP_PORT),
        weight: 1,
    };
    (0..count).map(server).collect()
}

fn choosing(c: &mut Criterion) {
    let mut group = c.benchmark_group("choose among");
    for count in [8, 100] {
        let candidates: Vec<Candidate> = (0..count)
            .map(|index| Candidate {
                server: id(index),
                weight: 1 + index % 3,
                usable: true,
            })
            .collect();
        let servers: Vec<ServerId> = (0..count).map(id).collect();
        let table = MaglevTable::build(MaglevSize::DEFAULT, &maglev_servers(count), &CLUSTER);
        let pool = Pool {
            candidates: &candidates,
            maglev: &table,
            maglev_servers: &servers,
            generation: 1,
        };
        let loads = |server: ServerId| Load {
            active: server.index * 7 % 13,
            inactive: 3,
        };
        let asked = keys(1024);
        for kind in SchedulerKind::ALL {
            let mut state = SchedulerState::default();
            let mut next = (0..asked.len()).cycle();
            group.bench_function(BenchmarkId::new(kind.name(), count), |b| {
                b.iter(|| {
                    let key = &asked[next.next().unwrap_or(0)];
                    let request = Request {
                        key,
                        cluster: &CLUSTER,
                    };
                    let choice = kind.choose(&state, &pool, &request, &loads);
                    let choice = choice.expect("servers are usable");
                    state.commit(&choice);
                    choice.server
                });
            });
        }
    }
    group.finish();
}

fn maglev(c: &mut Criterion) {
    let mut group = c.benchmark_group("maglev");
    for count in [10, 1000] {
        let servers = maglev_servers(count);
        group.bench_function(
            BenchmarkId::new("build, 65537 slots, servers", count),
            |b| {
                b.iter(|| MaglevTable::build(MaglevSize::DEFAULT, black_box(&servers), &CLUSTER));
            },
        );
    }
    let table = MaglevTable::build(MaglevSize::DEFAULT, &maglev_servers(100), &CLUSTER);
    let asked = keys(100_000);
    let mut rounds = Rounds::new(asked.len());
    group.bench_function("hash and pick, burst of 64", |b| {
        b.iter(|| {
            for key in &asked[rounds.advance()] {
                black_box(table.pick(ClientHash::of(key, &CLUSTER)));
            }
        });
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700))
}

criterion_group! { name = benches; config = short(); targets = choosing, maglev }
criterion_main!(benches);
