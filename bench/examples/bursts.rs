//! Does one thing of the engine's many times and nothing else: for instruction counts
//! (`bench/instructions.py`) and profilers.
//!
//! ```text
//! bursts CASE FLOWS ROUNDS
//! ```
//!
//! Prints how often the thing was done. What is made before does not depend on ROUNDS, so two runs
//! that differ only in those tell its cost by subtraction. Without arguments: the cases.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::hint::black_box;
use std::process::ExitCode;

use weir_bench::pipeline::{Bursts, Site, World};
use weir_bench::{BURST, Rounds, datagram, keys, keys_v6, new_flow, segment};
use weir_engine::flow::{FlowKey, FlowMemory, FlowTable, HashKey};
use weir_engine::id::WorkerId;
use weir_engine::maglev::ClientHash;
use weir_engine::maglev::ClusterKey;
use weir_engine::scheduler::SchedulerKind;
use weir_engine::steering::{DEFAULT_KEY, Steering};
use weir_engine::tables::Mode;
use weir_engine::time::Time;
use weir_wire::addr::Address;
use weir_wire::checksum::{self, Delta};
use weir_wire::parse;
use weir_wire::tcp::TcpFlags;

const CASES: &[&str] = &[
    "frames-v4",
    "frames-v6",
    "dr-v4",
    "dr-v6",
    "dr-v4-tcp",
    "dr-v4-shared",
    "dr-v4-foreign",
    "nat-v4",
    "nat-v6",
    "nat-v4-reply",
    "nat-v6-reply",
    "nat-v4-tcp",
    "tunnel-v4",
    "tunnel-v6",
    "new-rr",
    "new-lc",
    "new-maglev",
    "new-nat",
    "new-udp",
    "new-udp-v6",
    "flood-tcp",
    "flood-udp",
    "expire",
    "sweep",
    "parse-v4",
    "parse-v6",
    "lookup-v4",
    "lookup-v6",
    "insert-v4",
    "insert-v6",
    "maglev-hash",
    "checksum-1500",
    "checksum-update",
];
/// Rounds for which there are new clients: more cannot be asked of cases that use them up.
const ROUNDS_MAX: usize = 16;
const NOW: Time = Time::from_nanos(1_000_000_000);

/// How often, and with how many flows.
#[derive(Clone, Copy)]
struct Size {
    flows: u32,
    rounds: usize,
}

impl Size {
    /// Keys of as many flows as come in all rounds that there can be.
    fn all(self) -> u32 {
        self.flows * u32::try_from(ROUNDS_MAX).unwrap_or(1)
    }
}

fn run(case: &str, size: Size) -> Option<usize> {
    let nat = Site::new(Mode::Nat);
    let (dr, tunnel) = (Site::new(Mode::Dr), Site::new(Mode::Tunnel));
    Some(match case {
        "frames-v4" => written(frames(&keys(size.flows)), size),
        "frames-v6" => written(frames(&keys_v6(size.flows)), size),
        "dr-v4" => established(dr, frames(&keys(size.flows)), size),
        "dr-v6" => established(dr.v6(), frames(&keys_v6(size.flows)), size),
        "dr-v4-tcp" => connected(dr.tcp(), size),
        "dr-v4-shared" => established(dr.shared(), frames(&owned(0, size.flows)), size),
        "dr-v4-foreign" => handed_over(dr.shared(), frames(&owned(1, size.flows)), size),
        "nat-v4" => established(nat, frames(&keys(size.flows)), size),
        "nat-v6" => established(nat.v6(), frames(&keys_v6(size.flows)), size),
        "nat-v4-reply" => answered(nat, frames(&keys(size.flows)), size),
        "nat-v6-reply" => answered(nat.v6(), frames(&keys_v6(size.flows)), size),
        "nat-v4-tcp" => connected(nat.tcp(), size),
        "tunnel-v4" => established(tunnel, frames(&keys(size.flows)), size),
        "tunnel-v6" => established(tunnel.v6(), frames(&keys_v6(size.flows)), size),
        "new-rr" => new(dr.tcp(), syns(size.all()), size),
        "new-lc" => {
            let site = dr.tcp().with(SchedulerKind::LeastConnection);
            new(site, syns(size.all()), size)
        }
        "new-maglev" => {
            let site = dr.tcp().with(SchedulerKind::Maglev);
            new(site, syns(size.all()), size)
        }
        "new-nat" => new(nat.tcp(), syns(size.all()), size),
        "new-udp" => new(dr, frames(&keys(size.all())), size),
        "new-udp-v6" => new(dr.v6(), frames(&keys_v6(size.all())), size),
        "flood-tcp" => flooded(dr.tcp(), segments, size),
        "flood-udp" => flooded(dr, |keys, _| frames(keys), size),
        "expire" => expire(size),
        "sweep" => sweep(size),
        "parse-v4" => parsed(&frames(&keys(size.flows)), size),
        "parse-v6" => parsed(&frames(&keys_v6(size.flows)), size),
        "lookup-v4" => looked_up(&keys(size.flows), size),
        "lookup-v6" => looked_up(&keys_v6(size.flows), size),
        "insert-v4" => inserted(&keys(size.all()), size),
        "insert-v6" => inserted(&keys_v6(size.all()), size),
        "maglev-hash" => hashed(&keys(size.flows), size),
        "checksum-1500" => summed(size),
        "checksum-update" => updated(&keys(size.flows), size),
        _ => return None,
    })
}

fn frames<A: Address>(keys: &[FlowKey<A>]) -> Vec<Vec<u8>> {
    keys.iter().map(datagram).collect()
}

/// Keys of as many flows of one of two workers.
fn owned(worker: u16, flows: u32) -> Vec<FlowKey<Ipv4Addr>> {
    let steering = Steering::new(2, DEFAULT_KEY);
    let own = |key: &FlowKey<_>| steering.owns(WorkerId(worker), key.client, key.client_port);
    let mut keys = keys(4 * flows);
    keys.retain(own);
    keys.truncate(flows as usize);
    keys
}

/// Frames written into buffers: what the harness itself costs.
fn written(frames: Vec<Vec<u8>>, size: Size) -> usize {
    let mut bursts = Bursts::new(frames);
    let count = size.rounds * bursts.round_len();
    for _ in 0..count {
        black_box(bursts.receive());
    }
    count * BURST
}

/// Frames of flows that are known.
fn established(site: Site, frames: Vec<Vec<u8>>, size: Size) -> usize {
    let mut bursts = Bursts::new(frames);
    let mut world = World::new(site, size.flows as usize);
    world.establish(&mut bursts);
    forwarded(&mut world, &mut bursts, size)
}

/// Frames of flows that are another worker's.
fn handed_over(site: Site, frames: Vec<Vec<u8>>, size: Size) -> usize {
    let mut bursts = Bursts::new(frames);
    let mut world = World::new(site, size.flows as usize);
    let count = size.rounds * bursts.round_len();
    for _ in 0..count {
        world.hand_over(&mut bursts);
    }
    count * BURST
}

fn forwarded(world: &mut World, bursts: &mut Bursts, size: Size) -> usize {
    let count = size.rounds * bursts.round_len();
    for _ in 0..count {
        world.forward(bursts);
    }
    count * BURST
}

/// Segments in the middle of TCP connections.
fn connected(site: Site, size: Size) -> usize {
    let keys = keys(size.flows);
    let mut world = World::new(site, size.flows as usize);
    world.establish(&mut Bursts::new(segments(&keys, TcpFlags::SYN)));
    let mut bursts = Bursts::new(segments(&keys, TcpFlags::ACK));
    for _ in 0..bursts.round_len() {
        world.forward(&mut bursts);
    }
    forwarded(&mut world, &mut bursts, size)
}

/// What servers answer through NAT.
fn answered(site: Site, frames: Vec<Vec<u8>>, size: Size) -> usize {
    let mut bursts = Bursts::new(frames);
    let mut world = World::new(site, size.flows as usize);
    world.establish(&mut bursts);
    let mut answers = bursts.answers(&mut world);
    for _ in 0..answers.round_len() {
        world.forward(&mut answers); // The first answer is noted, the others are as usual.
    }
    forwarded(&mut world, &mut answers, size)
}

fn segments(keys: &[FlowKey<Ipv4Addr>], flags: TcpFlags) -> Vec<Vec<u8>> {
    keys.iter().map(|key| segment(key, flags)).collect()
}

fn syns(count: u32) -> Vec<Vec<u8>> {
    segments(&keys(count), TcpFlags::SYN)
}

/// First frames of new clients: nothing found, a server chosen, a flow made.
fn new(site: Site, frames: Vec<Vec<u8>>, size: Size) -> usize {
    let mut bursts = Bursts::new(frames);
    let mut world = World::new(site, size.all() as usize);
    forwarded_part(&mut world, &mut bursts, size)
}

/// First frames of new clients in a full table, of which half is of flows that yield to nobody,
/// and the rest of clients of the same kind: half-open connections, which yield, or datagrams.
fn flooded(
    site: Site,
    frames: impl Fn(&[FlowKey<Ipv4Addr>], TcpFlags) -> Vec<Vec<u8>>,
    size: Size,
) -> usize {
    let capacity = size.all() as usize;
    let keys = keys(size.all() * 2);
    let (inside, outside) = keys.split_at(capacity);
    let mut world = World::new(site, capacity);
    world.establish(&mut Bursts::new(frames(inside, TcpFlags::SYN)));
    let mut acks = Bursts::new(frames(&inside[..capacity / 2], TcpFlags::ACK));
    for _ in 0..acks.round_len() {
        world.forward(&mut acks);
    }
    let count = size.rounds * size.flows as usize / BURST;
    let mut flood = Bursts::new(frames(outside, TcpFlags::SYN));
    for _ in 0..count {
        world.forward(&mut flood);
    }
    assert_eq!(world.flows(), capacity, "the table is full");
    count * BURST
}

fn forwarded_part(world: &mut World, bursts: &mut Bursts, size: Size) -> usize {
    let count = size.rounds * size.flows as usize / BURST;
    for _ in 0..count {
        world.forward(bursts);
    }
    assert_eq!(world.flows(), count * BURST, "each made a flow");
    count * BURST
}

fn full(size: Size) -> World {
    let mut world = World::new(Site::new(Mode::Dr), size.all() as usize);
    world.establish(&mut Bursts::new(frames(&keys(size.all()))));
    world
}

/// Flows that end because they were idle.
fn expire(size: Size) -> usize {
    let mut world = full(size);
    world.pass(Duration::from_secs(24 * 3600));
    let count = size.rounds * size.flows as usize / BURST;
    let before = world.flows();
    for _ in 0..count {
        world.expire(BURST);
    }
    assert_eq!(
        before - world.flows(),
        count * BURST,
        "each entry had ended"
    );
    count * BURST
}

/// Flows that are looked at and stay.
fn sweep(size: Size) -> usize {
    let mut world = full(size);
    let count = size.rounds * size.flows as usize / BURST;
    for _ in 0..count {
        world.expire(BURST);
    }
    count * BURST
}

fn parsed(frames: &[Vec<u8>], size: Size) -> usize {
    for _ in 0..size.rounds {
        for frame in frames {
            let _ = black_box(parse::parse(black_box(frame), frame.len()));
        }
    }
    size.rounds * frames.len()
}

fn insert<A: Address>(table: &mut FlowTable<A>, keys: &[FlowKey<A>]) {
    for key in keys {
        let inserted = table.insert(&new_flow(*key), NOW, &mut |_, _| {});
        assert!(inserted.is_ok(), "there is room, and the key is new");
    }
}

fn table<A: Address>(keys: &[FlowKey<A>]) -> FlowTable<A> {
    FlowTable::new(
        FlowMemory::leak_heap(keys.len()),
        HashKey::new([1, 2, 3, 4]),
    )
}

/// Keys hashed and found in the flow table.
fn looked_up<A: Address>(keys: &[FlowKey<A>], size: Size) -> usize {
    let mut table = table(keys);
    insert(&mut table, keys);
    let (mut rounds, mut found) = (Rounds::new(keys.len()), [None; BURST]);
    let count = size.rounds * keys.len() / BURST;
    for _ in 0..count {
        table.lookup_batch(&keys[rounds.advance()], NOW, &mut found);
        assert!(
            black_box(&found).iter().all(Option::is_some),
            "all are known"
        );
    }
    count * BURST
}

fn inserted<A: Address>(keys: &[FlowKey<A>], size: Size) -> usize {
    let mut table = table(keys);
    let count = size.rounds * size.flows as usize;
    insert(&mut table, &keys[..count]);
    count
}

/// The hash that directors agree on.
fn hashed(keys: &[FlowKey<Ipv4Addr>], size: Size) -> usize {
    let cluster = ClusterKey([7; 16]);
    for _ in 0..size.rounds {
        for key in keys {
            black_box(ClientHash::of(black_box(key), &cluster));
        }
    }
    size.rounds * keys.len()
}

fn summed(size: Size) -> usize {
    let packet = vec![0x5a; 1500];
    for _ in 0..size.rounds * BURST {
        black_box(checksum::of(black_box(&packet)));
    }
    size.rounds * BURST
}

/// Address and port replaced under a checksum (RFC 1624).
fn updated(keys: &[FlowKey<Ipv4Addr>], size: Size) -> usize {
    let sum = checksum::of(&[0x5a; 60]);
    for _ in 0..size.rounds {
        for pair in keys.windows(2) {
            let [old, new] = black_box([pair[0], pair[1]]);
            let delta = Delta::new()
                .replace_addr(old.client, new.client)
                .replace_u16(old.client_port.0, new.client_port.0);
            black_box(delta.apply(black_box(sum)));
        }
    }
    size.rounds * (keys.len() - 1)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [case, flows, rounds] = words.as_slice() else {
        println!("{}", CASES.join("\n"));
        return ExitCode::SUCCESS;
    };
    let size = || {
        let (flows, rounds) = (flows.parse().ok()?, rounds.parse().ok()?);
        (rounds <= ROUNDS_MAX).then_some(Size { flows, rounds })
    };
    if let Some(count) = size().and_then(|size| run(case, size)) {
        println!("{count}");
        return ExitCode::SUCCESS;
    }
    eprintln!("bursts: wants CASE, FLOWS and ROUNDS (at most {ROUNDS_MAX})");
    ExitCode::from(2)
}
