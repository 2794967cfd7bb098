//! How the Maglev table is built and changes, and how evenly connections are shared out: prints
//! figures as JSON, for `bench/micro.py`.

use core::net::Ipv4Addr;
use std::hint::black_box;
use std::time::Instant;

use weir_bench::pipeline::{Bursts, Site, World};
use weir_bench::{VIP_PORT, keys, segment};
use weir_engine::maglev::{ClusterKey, MaglevIdentity, MaglevServer, MaglevSize, MaglevTable};
use weir_engine::scheduler::SchedulerKind;
use weir_engine::tables::Mode;
use weir_wire::tcp::TcpFlags;

const CLUSTER: ClusterKey = ClusterKey([7; 16]);
/// Servers of the table whose building and changes are measured.
const MANY: u32 = 1000;
const BUILDS: usize = 25;
const CHANGES: u32 = 20;
/// Servers and new connections of the balance.
const SERVERS: u8 = 100;
const CONNECTIONS: u32 = 1_000_000;

fn servers(count: u32) -> Vec<MaglevServer> {
    let server = |index: u32| MaglevServer {
        identity: MaglevIdentity::new(Ipv4Addr::from_bits(0xcb00_7100 + index).into(), VIP_PORT),
        weight: 1,
    };
    (0..count).map(server).collect()
}

fn build(servers: &[MaglevServer]) -> MaglevTable {
    MaglevTable::build(MaglevSize::DEFAULT, servers, &CLUSTER)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn build_ms() -> Vec<f64> {
    let servers = servers(MANY);
    let once = |_| {
        let start = Instant::now();
        black_box(build(black_box(&servers)));
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..BUILDS).map(once).collect()
}

/// Per cent of slots whose server stayed and which moved all the same, when one server goes: each
/// of some in turn.
fn moved_percent() -> Vec<f64> {
    let list = servers(MANY);
    let before = build(&list);
    let without = |n: u32| {
        let gone = n * MANY / CHANGES;
        let mut fewer = list.clone();
        fewer[gone as usize].weight = 0;
        let after = build(&fewer);
        let slots = before.slots().iter().zip(after.slots());
        let moved = slots.filter(|(a, b)| a != b && u32::from(**a) != gone);
        moved.count() as f64 * 100.0 / f64::from(MaglevSize::DEFAULT.get())
    };
    (0..CHANGES).map(without).collect()
}

/// The most connections that a server got, over the mean: SYNs of different clients through the
/// engine, all of which stay.
fn most_over_mean(scheduler: SchedulerKind) -> f64 {
    let mut site = Site::new(Mode::Dr).tcp();
    (site.scheduler, site.servers) = (scheduler, SERVERS);
    let syn = |key: &_| segment(key, TcpFlags::SYN);
    let mut bursts = Bursts::new(keys(CONNECTIONS).iter().map(syn).collect());
    let mut world = World::new(site, CONNECTIONS as usize);
    world.establish(&mut bursts);
    let given = world.connections();
    assert_eq!(given.len(), usize::from(SERVERS));
    let all: u64 = given.iter().sum();
    let most = given.iter().max().copied().unwrap_or(0);
    most as f64 * f64::from(SERVERS) / all as f64
}

fn main() {
    let balance = [
        SchedulerKind::Maglev,
        SchedulerKind::RoundRobin,
        SchedulerKind::LeastConnection,
    ]
    .map(|kind| format!("\"{}\": {:.5}", kind.name(), most_over_mean(kind)));
    println!(
        "{{\"build_ms\": {:?}, \"moved_percent\": {:?}, \"most_over_mean\": {{{}}}}}",
        build_ms(),
        moved_percent(),
        balance.join(", ")
    );
}
