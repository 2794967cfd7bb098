//! DR on Weir's I/O layer with another flow table: what the choice of the table is worth.
//!
//! The same work as Weir's straight line: recognise a UDP packet to the VIP, check its IP checksum,
//! look its flow up, new MACs, TTL less one, touch the flow, count. Flows are made by the frames
//! that come in by `--tx` once; then those that come in by `--rx` are forwarded. Each line of input
//! is answered with how many frames were sent; the end of input is the end.
//!
//! ```text
//! tabled --table hashbrown|rte_hash --flows 1000 --rx DEVICE --tx DEVICE --cpu 1
//! ```

use std::process::ExitCode;

use weir_bench::BURST;
use weir_bench::contender::{Failure, Options, Shared, exit};
use weir_dpdk::hash::Hash;
use weir_dpdk::{Burst, Eal, Hugepages, RxQueue, Tsc, TxQueue, leak_slice_with};
use weir_prefetch::prefetch_index;
use weir_wire::checksum::{Checksum, Delta, is_valid_ipv4};

/// Client, VIP, ports, protocol, padding.
type Key = [u8; 16];

const VIP: [u8; 4] = [198, 51, 100, 1];
const SERVERS: usize = 8;
/// Ethernet, IPv4 without options, UDP.
const HEADERS_LEN: usize = 14 + 20 + 8;
const IDLE_NANOS: u64 = 300_000_000_000;

/// What is kept of a flow: no more than Weir keeps.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    server: u32,
    packets: u32,
    octets: u64,
    expires: u64,
}

/// A flow table of one of the kinds.
trait Table {
    /// Adds a flow; false if it is there already.
    fn insert(&mut self, key: &Key, flow: Flow) -> Result<bool, Failure>;

    /// Lets `each` touch the flows of a burst, by position. Returns how many were found.
    fn touch(&mut self, keys: &[Key], each: impl FnMut(usize, &mut Flow)) -> usize;
}

/// C2: a good general-purpose map.
struct Brown(hashbrown::HashMap<u128, Flow, ahash::RandomState>);

impl Table for Brown {
    fn insert(&mut self, key: &Key, flow: Flow) -> Result<bool, Failure> {
        Ok(self.0.insert(u128::from_ne_bytes(*key), flow).is_none())
    }

    #[inline(always)]
    fn touch(&mut self, keys: &[Key], mut each: impl FnMut(usize, &mut Flow)) -> usize {
        let mut found = 0;
        for (at, key) in keys.iter().enumerate() {
            if let Some(flow) = self.0.get_mut(&u128::from_ne_bytes(*key)) {
                each(at, flow);
                found += 1;
            }
        }
        found
    }
}

/// C3: DPDK's own, looked up in bulk; flows lie in an array.
struct Rte {
    table: Hash<16>,
    flows: &'static mut [Flow],
    used: usize,
}

impl Table for Rte {
    fn insert(&mut self, key: &Key, flow: Flow) -> Result<bool, Failure> {
        if self.table.lookup(&[*key], &mut [0]) == 1 {
            return Ok(false);
        }
        self.table.insert(key, u32::try_from(self.used)?)?;
        *self
            .flows
            .get_mut(self.used)
            .ok_or("more flows than said")? = flow;
        self.used += 1;
        Ok(true)
    }

    #[inline(always)]
    fn touch(&mut self, keys: &[Key], mut each: impl FnMut(usize, &mut Flow)) -> usize {
        let mut places = [0; BURST];
        let hits = self.table.lookup(keys, &mut places);
        let is_hit = |at: usize| hits >> at & 1 == 1;
        for (at, &place) in places[..keys.len()].iter().enumerate() {
            if is_hit(at) {
                prefetch_index(self.flows, place as usize);
            }
        }
        for (at, &place) in places[..keys.len()].iter().enumerate() {
            if is_hit(at) {
                each(at, &mut self.flows[place as usize]);
            }
        }
        hits.count_ones() as usize
    }
}

/// The key of a UDP packet to the VIP that may be forwarded as it is.
#[inline(always)]
fn recognise(frame: &[u8]) -> Option<Key> {
    let h: &[u8; HEADERS_LEN] = frame.first_chunk()?;
    let plain = [h[12], h[13], h[14], h[23]] == [0x08, 0x00, 0x45, 17];
    let whole = [h[20] & 0xbf, h[21]] == [0, 0] && h[22] > 1;
    let len = usize::from(u16::from_be_bytes([h[16], h[17]]));
    if !plain || !whole || len + 14 > frame.len() || [h[30], h[31], h[32], h[33]] != VIP {
        return None;
    }
    if !h[14..].first_chunk().is_some_and(is_valid_ipv4) {
        return None;
    }
    let mut key = [0; 16];
    key[..12].copy_from_slice(&h[26..38]);
    key[12] = h[23];
    Some(key)
}

/// New MACs, and TTL less one.
#[inline(always)]
fn rewrite(frame: &mut [u8], server: u32) {
    let Some(h) = frame.first_chunk_mut::<HEADERS_LEN>() else {
        return;
    };
    let last = server.to_be_bytes()[3];
    h[..12].copy_from_slice(&[2, 0, 0, 0, 1, last, 2, 0, 0, 0, 0, 2]);
    let old = u16::from_be_bytes([h[22], h[23]]);
    let delta = Delta::new().replace_u16(old, old.wrapping_sub(0x0100));
    let sum = delta.apply(Checksum([h[24], h[25]]));
    h[22] -= 1;
    [h[24], h[25]] = sum.0;
}

struct Worker<T> {
    near: RxQueue,
    far: (RxQueue, TxQueue),
    table: T,
    flows: usize,
    /// Packets and octets of each server.
    counts: [(u64, u64); SERVERS],
    tsc: Tsc,
}

impl<T: Table> Worker<T> {
    /// Makes flows of what comes in by the far port, until there are as many as were said.
    fn establish(&mut self, shared: &Shared) -> Result<(), Failure> {
        let (mut burst, mut made) = (Burst::new(), 0_u32);
        while (made as usize) < self.flows && !shared.is_over() {
            self.far.0.receive_up_to(&mut burst, BURST);
            for frame in burst.iter_mut() {
                let flow = Flow {
                    server: made % 8,
                    ..Flow::default()
                };
                if let Some(key) = recognise(frame.data())
                    && self.table.insert(&key, flow)?
                {
                    made += 1;
                }
            }
            burst.clear();
        }
        Ok(())
    }

    /// Forwards one burst and returns how many frames left.
    #[inline(always)]
    fn turn(&mut self, burst: &mut Burst, burst_len: usize) -> usize {
        let expires = self.tsc.nanos() + IDLE_NANOS;
        self.far.0.receive_up_to(burst, burst_len); // Nothing comes any more; testpmd asks too.
        let received = self.near.receive_up_to(burst, burst_len);
        let (mut keys, mut lens, mut servers) = ([[0; 16]; BURST], [0; BURST], [0; BURST]);
        for (at, frame) in burst.iter_mut().enumerate() {
            let data = frame.data();
            keys[at] = recognise(data).unwrap_or_default();
            lens[at] = data.len() as u64 - 14;
        }
        let counts = &mut self.counts;
        let found = self.table.touch(&keys[..received], |at, flow| {
            flow.expires = expires;
            flow.packets = flow.packets.wrapping_add(1);
            flow.octets += lens[at];
            let count = &mut counts[flow.server as usize];
            (count.0, count.1) = (count.0 + 1, count.1 + lens[at]);
            servers[at] = flow.server;
        });
        assert_eq!(found, received, "all flows are known");
        for (frame, server) in burst.iter_mut().zip(servers) {
            rewrite(frame.data_mut(), server);
        }
        let sent = self.far.1.send(burst);
        burst.clear();
        sent
    }

    fn run(mut self, burst_len: usize, shared: &Shared) -> Result<(), Failure> {
        self.establish(shared)?;
        let mut burst = Burst::new();
        let sent = shared.forward(|| self.turn(&mut burst, burst_len));
        assert_eq!(self.counts.iter().map(|count| count.0).sum::<u64>(), sent);
        Ok(())
    }
}

/// Starts the worker with a table, and answers until input ends.
fn serve<T: Table + Send + 'static>(
    (mut eal, options): (Eal, Options),
    (table, flows): (T, usize),
) -> Result<(), Failure> {
    let mut ports = options.ports(&mut eal)?;
    let worker = Worker {
        near: ports.near.rx.pop().ok_or("no queue")?,
        far: (
            ports.far.rx.pop().ok_or("no queue")?,
            ports.far.tx.pop().ok_or("no queue")?,
        ),
        table,
        flows,
        counts: [(0, 0); SERVERS],
        tsc: Tsc::calibrate(),
    };
    let burst = options.burst;
    options.serve("tabled", move |shared| worker.run(burst, shared))
}

fn run() -> Result<(), Failure> {
    let (mut kind, mut flows) = (String::new(), 0_u32);
    let options = Options::read(|flag, value| {
        match flag {
            "--table" => kind = value.to_owned(),
            "--flows" => flows = value.parse()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let room = flows + flows / 3; // Three quarters full.
    let eal = options.eal("tabled", Hugepages::Auto, Hash::<16>::octets(room))?;
    let count = flows as usize;
    match kind.as_str() {
        "hashbrown" => {
            let state = ahash::RandomState::default();
            let map = hashbrown::HashMap::with_capacity_and_hasher(room as usize, state);
            serve((eal, options), (Brown(map), count))
        }
        "rte_hash" => {
            let table = Hash::new(&eal, "flows", room.max(16))?;
            let slots = leak_slice_with(count, Hugepages::Auto, |_| Flow::default())?;
            let table = Rte {
                table,
                flows: slots.slice,
                used: 0,
            };
            serve((eal, options), (table, count))
        }
        other => Err(format!("no table {other:?}").into()),
    }
}

fn main() -> ExitCode {
    exit("tabled", run())
}
