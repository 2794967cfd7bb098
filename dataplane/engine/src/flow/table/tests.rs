//! The table against a model, when it is full, and under attack.

use std::collections::HashMap;
use std::time::Duration;

use core::net::{Ipv4Addr, Ipv6Addr};
use proptest::prelude::*;
use weir_wire::addr::Protocol;

use super::*;
use crate::flow::InsertError;
use crate::flow::tcp::TcpState;
use crate::time::Tick;

mod room;

type V4 = FlowTable<Ipv4Addr>;

const SEED: [u64; 4] = [0x1234_5678, 0x9abc_def0, 0x0fed_cba9, 0x8765_4321];

fn table(capacity: usize) -> V4 {
    FlowTable::new(FlowMemory::leak_heap(capacity), HashKey::new(SEED))
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn key(n: u32) -> FlowKey<Ipv4Addr> {
    FlowKey {
        client: Ipv4Addr::from_bits(0xac10_0000 + n / 60_000),
        remote: Ipv4Addr::new(10, 9, 9, 9),
        client_port: L4Port((n % 60_000) as u16 + 1024),
        remote_port: L4Port(80),
        protocol: Protocol::TCP,
    }
}

fn flow(n: u32, path: ReturnPath, state: TcpState) -> NewFlow<Ipv4Addr> {
    NewFlow {
        key: key(n),
        rip: Ipv4Addr::new(10, 1, 0, 11),
        server_port: L4Port(8080),
        server: ServerId {
            index: n % 8,
            generation: 0,
        },
        service: ServiceId(0),
        path,
        state: FlowState::Tcp(state),
        idle_max: FlowState::Tcp(state).timeout(&Timeouts::default()),
    }
}

fn nobody(entry: &FlowEntry<Ipv4Addr>, why: Ended) {
    panic!("{why:?}: {entry:?}");
}

fn get(table: &V4, key: &FlowKey<Ipv4Addr>, now: Time) -> Option<Found> {
    let found = table.lookup(key, table.hash(key), now);
    let mut batch = [None];
    table.lookup_batch(core::slice::from_ref(key), now, &mut batch);
    assert_eq!(batch[0], found, "batch and single lookup agree");
    found
}

#[test]
fn sizes_are_cache_lines_and_within_the_memory_targets() {
    assert_eq!(size_of::<FlowEntry<Ipv4Addr>>(), 64);
    assert_eq!(size_of::<FlowEntry<Ipv6Addr>>(), 128);
    assert_eq!(align_of::<FlowEntry<Ipv4Addr>>(), 64);
    let (buckets, entries) = FlowMemory::<Ipv4Addr>::required(1 << 20);
    assert_eq!((buckets, entries), (1 << 18, 1 << 20));
    // Octets per flow when the table is at 75 %.
    let per_flow = |entry: usize| (buckets * 64 + entries * entry) / (entries * 3 / 4);
    assert_eq!(per_flow(64), 106);
    assert_eq!(per_flow(128), 192);
}

#[test]
fn a_nat_flow_is_found_in_both_directions_and_counts_once() {
    let mut table = table(16);
    let new = flow(1, ReturnPath::Through, TcpState::SynRecv);
    let index = table.insert(&new, at(0), &mut nobody).unwrap();
    let reverse = FlowKey {
        remote: new.rip,
        remote_port: new.server_port,
        ..new.key
    };
    let hit = |direction| Some(Found { index, direction });
    assert_eq!(get(&table, &new.key, at(1)), hit(Direction::Forward));
    assert_eq!(get(&table, &reverse, at(1)), hit(Direction::Reverse));
    assert_eq!((table.len(), table.half_open()), (1, 1));
    let gone = table.remove(index).unwrap();
    assert_eq!((gone.rip(), gone.server().index), (new.rip, 1));
    assert_eq!(get(&table, &new.key, at(1)), None);
    assert_eq!(get(&table, &reverse, at(1)), None);
    assert_eq!((table.len(), table.half_open()), (0, 0));
    assert!(table.remove(index).is_none());
}

#[test]
fn a_second_flow_with_a_key_of_a_live_one_is_refused() {
    let mut table = table(16);
    let first = flow(1, ReturnPath::Through, TcpState::Established);
    let index = table.insert(&first, at(0), &mut nobody).unwrap();
    assert_eq!(
        table.insert(&first, at(1), &mut nobody),
        Err(InsertError::Exists(index))
    );
    let mut other_vip = first;
    other_vip.key.remote = Ipv4Addr::new(10, 9, 9, 10);
    let refused = table.insert(&other_vip, at(1), &mut nobody);
    assert_eq!(refused, Err(InsertError::ReverseTaken(index)));
    assert_eq!(table.len(), 1);
    // Once the first has expired, its place is free, and its end is reported.
    let mut ends = Vec::new();
    let replaced = table.insert(&other_vip, at(901), &mut |e, why| ends.push((e.key(), why)));
    assert!(replaced.is_ok());
    assert_eq!(ends, [(first.key, Ended::Expired)]);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_server_that_is_its_own_vip_makes_no_trouble() {
    let mut table = table(16);
    let mut own = flow(1, ReturnPath::Through, TcpState::Established);
    (own.rip, own.server_port) = (own.key.remote, own.key.remote_port);
    let index = table.insert(&own, at(0), &mut nobody).unwrap();
    assert!(get(&table, &own.key, at(0)).is_some());
    assert!(table.remove(index).is_some());
    assert_eq!(get(&table, &own.key, at(0)), None);
    assert!(
        table
            .buckets
            .iter()
            .all(|b| b.free() == Some(0) && !b.has_departed())
    );
}

#[test]
fn an_expired_flow_is_never_a_hit_even_before_it_is_swept() {
    let mut table = table(16);
    let new = flow(1, ReturnPath::Direct, TcpState::SynRecv);
    table.insert(&new, at(0), &mut nobody).unwrap();
    assert!(get(&table, &new.key, at(60)).is_some());
    assert!(get(&table, &new.key, at(61)).is_none());
    assert_eq!(table.len(), 1);
    let mut swept = 0;
    let step = table.expire(at(61), 100, &mut |_| swept += 1);
    assert_eq!((step.visited, step.expired, swept), (1, 1, 1));
    assert_eq!((table.len(), table.half_open()), (0, 0));
}

#[test]
fn a_packet_moves_the_state_restarts_the_timer_and_counts() {
    let mut table = table(16);
    let new = flow(1, ReturnPath::Through, TcpState::SynRecv);
    let index = table.insert(&new, at(0), &mut nobody).unwrap();
    let timeouts = Timeouts::default();
    let packet = |direction, event| Observed {
        direction,
        event,
        octets: 100,
    };
    let mut touch = |direction, event, seconds| {
        let change = table.touch(index, packet(direction, event), &timeouts, at(seconds));
        (change.before.name(), change.after.name(), table.half_open())
    };
    let (fore, back) = (Direction::Forward, Direction::Reverse);
    let (ack, fin) = (Some(TcpEvent::Ack), Some(TcpEvent::Fin));
    assert_eq!(
        touch(back, Some(TcpEvent::Syn), 1),
        ("SYN_RECV", "SYN_RECV", 1)
    );
    assert_eq!(touch(fore, ack, 2), ("SYN_RECV", "ESTABLISHED", 0));
    assert_eq!(touch(fore, None, 500), ("ESTABLISHED", "ESTABLISHED", 0));
    assert_eq!(
        table
            .entry(index)
            .expires_in(at(500).tick())
            .as_duration()
            .as_secs(),
        402
    );
    let mut touch = |direction, event, seconds| {
        table
            .touch(index, packet(direction, event), &timeouts, at(seconds))
            .after
            .name()
    };
    assert_eq!(touch(fore, fin, 600), "CLOSE_WAIT");
    assert_eq!(touch(back, fin, 610), "TIME_WAIT");
    assert_eq!(
        (table.entry(index).packets(), table.entry(index).octets()),
        (5, 500)
    );
    assert!(get(&table, &new.key, at(729)).is_some());
    assert!(get(&table, &new.key, at(731)).is_none());
}

#[test]
fn every_entry_can_be_used_when_all_flows_are_nat() {
    for capacity in [1, 2, 7, 100, 4096, 200_000_u32] {
        let mut table = table(capacity as usize);
        for n in 0..capacity {
            let new = flow(n, ReturnPath::Through, TcpState::Established);
            let inserted = table.insert(&new, at(0), &mut nobody);
            assert!(inserted.is_ok(), "flow {n} of {capacity}: {inserted:?}");
        }
        assert_eq!(table.len(), capacity as usize);
        for n in 0..capacity {
            assert!(get(&table, &key(n), at(1)).is_some());
        }
        let new = flow(capacity, ReturnPath::Direct, TcpState::SynRecv);
        assert_eq!(
            table.insert(&new, at(1), &mut nobody),
            Err(InsertError::Full)
        );
    }
}

/// Keys that all have one home bucket, as only somebody could choose who knows the secret.
fn colliding(table: &V4, home: u32, count: usize) -> Vec<u32> {
    (0..u32::MAX)
        .filter(|&n| table.hash(&key(n)).home(table.bucket_count) == home)
        .take(count)
        .collect()
}

#[test]
fn d66_keys_that_collide_fail_cleanly_and_harm_nobody_else() {
    let mut table = table(4000);
    let attack = colliding(&table, 3, 3000);
    let mut inside = Vec::new();
    for &n in &attack {
        let new = flow(n, ReturnPath::Direct, TcpState::Established);
        match table.insert(&new, at(0), &mut nobody) {
            Ok(_) => inside.push(n),
            Err(why) => assert_eq!(why, InsertError::Full),
        }
    }
    assert_eq!(table.len(), inside.len());
    for &n in &inside {
        assert!(get(&table, &key(n), at(1)).is_some());
    }
    // Everything can be taken out again, and no bookkeeping is left over.
    for &n in &inside {
        let found = get(&table, &key(n), at(1)).unwrap();
        assert!(table.remove(found.index).is_some());
    }
    assert!(
        table
            .buckets
            .iter()
            .all(|b| b.free() == Some(0) && !b.has_departed())
    );
}

#[test]
fn d66_the_same_hash_for_all_keys_costs_twenty_slots_and_no_more() {
    let mut table = table(4000);
    let target = table.hash(&key(0));
    let stored = (0..100).filter(|&index| table.place(target, index)).count();
    // Both buckets take ten; when they are full their keys have nowhere else to go.
    assert_eq!(stored, 20);
    for index in 0..20 {
        assert!(table.unlink(target, index));
    }
    assert!(
        table
            .buckets
            .iter()
            .all(|b| b.free() == Some(0) && !b.has_departed())
    );
}

#[test]
fn a_scan_shows_every_live_flow_once() {
    let mut table = table(1000);
    for n in 0..1000 {
        let new = flow(n, ReturnPath::Direct, TcpState::Established);
        table.insert(&new, at(0), &mut nobody).unwrap();
    }
    for n in (0..1000).step_by(3) {
        let found = get(&table, &key(n), at(0)).unwrap();
        table.remove(found.index);
    }
    let (mut cursor, mut seen, mut steps) = (Some(0), Vec::new(), 0);
    while let Some(from) = cursor {
        cursor = table.scan(from, 64, at(1), |_, entry| seen.push(entry.key()));
        steps += 1;
    }
    assert_eq!(steps, 16);
    let mut expected: Vec<_> = (0..1000).filter(|n| n % 3 != 0).map(key).collect();
    let order = |k: &FlowKey<Ipv4Addr>| (k.client, k.client_port);
    expected.sort_by_key(order);
    seen.sort_by_key(order);
    assert_eq!(seen, expected);
}

#[test]
fn an_expiry_step_never_visits_more_than_its_budget() {
    let mut table = table(1000);
    assert_eq!(table.expire(at(0), 8, &mut |_| {}), ExpireStep::default());
    for n in 0..1000 {
        let new = flow(n, ReturnPath::Direct, TcpState::SynRecv);
        table.insert(&new, at(0), &mut nobody).unwrap();
    }
    for _ in 0..125 {
        assert_eq!(
            table.expire(at(100), 8, &mut |_| {}),
            ExpireStep {
                visited: 8,
                expired: 8
            }
        );
    }
    assert!(table.is_empty());
    assert_eq!(table.expire(at(100), 8, &mut |_| {}).expired, 0);
}

#[derive(Clone, Debug)]
enum Op {
    Insert { n: u32, nat: bool, half_open: bool },
    Remove { n: u32 },
    Touch { n: u32, reverse: bool },
    Expire { budget: usize },
    Wait { seconds: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let n = 0..300_u32;
    prop_oneof![
        5 => (n.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(n, nat, half_open)| Op::Insert { n, nat, half_open }),
        2 => n.clone().prop_map(|n| Op::Remove { n }),
        2 => (n, any::<bool>()).prop_map(|(n, reverse)| Op::Touch { n, reverse }),
        1 => (0..100_usize).prop_map(|budget| Op::Expire { budget }),
        1 => (0..400_u64).prop_map(|seconds| Op::Wait { seconds }),
    ]
}

/// What the model keeps of a flow.
#[derive(Clone, Copy)]
struct Model {
    nat: bool,
    half_open: bool,
    expires: Tick,
}

fn check(table: &V4, model: &HashMap<u32, Model>, now: Time) {
    assert_eq!(table.len(), model.len());
    assert_eq!(
        table.half_open(),
        model.values().filter(|m| m.half_open).count()
    );
    for n in 0..300 {
        let (new, live) = (
            flow(n, ReturnPath::Through, TcpState::Established),
            model.get(&n),
        );
        let live = live.filter(|m| !m.expires.is_before(now.tick()));
        let fore = get(table, &new.key, now);
        assert_eq!(
            fore.map(|f| f.direction),
            live.map(|_| Direction::Forward),
            "flow {n}"
        );
        let reverse = FlowKey {
            remote: new.rip,
            remote_port: new.server_port,
            ..new.key
        };
        let back = get(table, &reverse, now);
        let expected = live.filter(|m| m.nat).map(|_| Direction::Reverse);
        assert_eq!(back.map(|f| f.direction), expected, "flow {n}, reverse");
        if let (Some(fore), Some(back)) = (fore, back) {
            assert_eq!(fore.index, back.index);
        }
    }
}

fn number(entry: &FlowEntry<Ipv4Addr>) -> u32 {
    u32::from(entry.key().client_port.0) - 1024
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_table_equals_a_hash_map(ops in proptest::collection::vec(op(), 1..400)) {
        // Room for 128 of 300 flows, so that it is full most of the time.
        let (mut table, mut model, mut now) = (table(128), HashMap::new(), at(1));
        for op in ops {
            apply(op, &mut table, &mut model, &mut now);
        }
        check(&table, &model, now);
    }
}

fn insert(
    table: &mut V4,
    model: &mut HashMap<u32, Model>,
    now: Time,
    (n, nat, half_open): (u32, bool, bool),
) {
    let live = |model: &HashMap<u32, Model>| {
        let entry = model.get(&n).copied();
        entry.filter(|m| !m.expires.is_before(now.tick()))
    };
    let path = if nat {
        ReturnPath::Through
    } else {
        ReturnPath::Direct
    };
    let state = if half_open {
        TcpState::SynRecv
    } else {
        TcpState::Established
    };
    let new = flow(n, path, state);
    let mut ends = Vec::new();
    let result = table.insert(&new, now, &mut |e, why| ends.push((number(e), why)));
    for (gone, why) in ends {
        let was = model.remove(&gone).expect("what ended was there");
        let expired = was.expires.is_before(now.tick());
        assert_eq!(why == Ended::Expired, expired);
        assert!(expired || was.half_open);
    }
    assert_eq!(
        live(model).is_some(),
        matches!(result, Err(InsertError::Exists(_)))
    );
    if result.is_ok() {
        let expires = now.tick() + new.idle_max;
        assert!(
            model
                .insert(
                    n,
                    Model {
                        nat,
                        half_open,
                        expires
                    }
                )
                .is_none()
        );
    } else if result == Err(InsertError::Full) {
        assert!(model.len() == table.capacity());
    }
}

fn apply(op: Op, table: &mut V4, model: &mut HashMap<u32, Model>, now: &mut Time) {
    match op {
        Op::Insert { n, nat, half_open } => insert(table, model, *now, (n, nat, half_open)),
        Op::Remove { n } => {
            if let Some(found) = get(table, &key(n), *now) {
                assert_eq!(table.remove(found.index).map(|e| number(&e)), Some(n));
                assert!(model.remove(&n).is_some());
            }
        }
        Op::Touch { n, reverse } => {
            if let Some(found) = get(table, &key(n), *now) {
                let event = Some(TcpEvent::Ack);
                let was = model.get_mut(&n).expect("a hit is in the model");
                let direction = if reverse && was.nat {
                    Direction::Reverse
                } else {
                    found.direction
                };
                let packet = Observed {
                    direction,
                    event,
                    octets: 60,
                };
                let change = table.touch(found.index, packet, &Timeouts::default(), *now);
                assert_eq!(change.before.is_half_open(), was.half_open);
                was.half_open = false;
                was.expires = now.tick() + change.after.timeout(&Timeouts::default());
            }
        }
        Op::Expire { budget } => {
            let mut ends = Vec::new();
            let step = table.expire(*now, budget, &mut |entry| ends.push(number(entry)));
            assert!(step.visited <= budget && step.expired == ends.len());
            for n in ends {
                let was = model.remove(&n).expect("what expired was there");
                assert!(was.expires.is_before(now.tick()));
            }
        }
        Op::Wait { seconds } => *now = *now + Duration::from_secs(seconds),
    }
}

#[test]
fn ipv6_flows_behave_the_same() {
    let mut table: FlowTable<Ipv6Addr> =
        FlowTable::new(FlowMemory::leak_heap(5000), HashKey::new(SEED));
    let new = |n: u16| NewFlow {
        key: FlowKey {
            client: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, n >> 8, n),
            remote: Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 9),
            client_port: L4Port(n),
            remote_port: L4Port(443),
            protocol: Protocol::UDP,
        },
        rip: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x11),
        server_port: L4Port(8443),
        server: ServerId::default(),
        service: ServiceId(1),
        path: ReturnPath::Through,
        state: FlowState::first(None, ReturnPath::Through),
        idle_max: Timeouts::default().udp(),
    };
    for n in 0..5000 {
        assert!(
            table
                .insert(&new(n), at(0), &mut |_, _| panic!("nothing ends"))
                .is_ok()
        );
    }
    let keys: Vec<_> = (0..5000).map(|n| new(n).key).collect();
    let mut found = vec![None; keys.len()];
    table.lookup_batch(&keys, at(300), &mut found);
    assert!(
        found
            .iter()
            .all(|f| f.is_some_and(|f| f.direction == Direction::Forward))
    );
    table.lookup_batch(&keys, at(301), &mut found);
    assert!(found.iter().all(Option::is_none));
}
