//! Balance, disruption, and that every director builds the same.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::*;

const KEY: ClusterKey = ClusterKey(*b"0123456789abcdef");
const PINNED: [u16; 31] = [
    4, 2, 3, 4, 4, 3, 0, 0, 0, 0, 1, 3, 0, 1, 2, 2, 4, 1, 2, 2, 3, 4, 0, 0, 1, 4, 3, 1, 2, 3, 1,
];
const PINNED_HASH: u64 = 17_302_829_544_891_356_766;

fn server(n: u32, weight: u32) -> MaglevServer {
    let address = Ipv4Addr::from_bits(0x0a01_0000 + n);
    MaglevServer {
        identity: MaglevIdentity::new(IpAddr::V4(address), L4Port(80)),
        weight,
    }
}

fn servers(count: u32) -> Vec<MaglevServer> {
    (0..count).map(|n| server(n, 1)).collect()
}

fn build(servers: &[MaglevServer]) -> MaglevTable {
    MaglevTable::build(MaglevSize::DEFAULT, servers, &KEY)
}

/// The table as the paper has it: every walk step by step, to the end.
fn walked(size: MaglevSize, servers: &[MaglevServer]) -> Vec<u16> {
    let mut walkers: Vec<(MaglevIdentity, Walker)> = (0..)
        .zip(servers)
        .map(|(position, server)| (server.identity, walker(server, position, size, &KEY)))
        .collect();
    walkers.sort_unstable_by_key(|(identity, _)| *identity);
    let mut slots = vec![None; size.0 as usize];
    let mut turns = (0..walkers.len()).cycle();
    while slots.contains(&None) {
        let (_, walker) = &mut walkers[turns.next().unwrap()];
        while slots[walker.next as usize].is_some() {
            walker.next = (walker.next + walker.skip) % size.0;
        }
        slots[walker.next as usize] = Some(walker.position);
    }
    slots.into_iter().map(Option::unwrap).collect()
}

#[test]
fn a_table_is_what_the_walks_make_step_by_step() {
    for (slots, count) in [
        (2, 1),
        (2, 2),
        (31, 5),
        (127, 300),
        (131, 7),
        (251, 100),
        (4093, 50),
    ] {
        let (size, list) = (MaglevSize::new(slots).unwrap(), servers(count));
        let table = MaglevTable::build(size, &list, &KEY);
        assert_eq!(
            table.slots(),
            walked(size, &list),
            "{slots} slots, {count} servers"
        );
    }
}

/// Slots by position.
fn shares(table: &MaglevTable, count: usize) -> Vec<f64> {
    let mut shares = vec![0.0; count];
    for &position in table.slots() {
        shares[usize::from(position)] += 1.0;
    }
    shares
}

#[test]
fn d63_any_insertion_order_gives_the_same_table() {
    let forward = servers(100);
    let mut shuffled = forward.clone();
    shuffled.reverse();
    shuffled.swap(3, 77);
    let (a, b) = (build(&forward), build(&shuffled));
    let named = |table: &MaglevTable, list: &[MaglevServer]| -> Vec<MaglevIdentity> {
        table
            .slots()
            .iter()
            .map(|&p| list[usize::from(p)].identity)
            .collect()
    };
    assert!(named(&a, &forward) == named(&b, &shuffled));
    let other = MaglevTable::build(MaglevSize::DEFAULT, &forward, &ClusterKey([7; 16]));
    assert!(a != other, "the key matters");
}

#[test]
fn a_table_is_pinned_so_that_releases_agree() {
    let table = MaglevTable::build(MaglevSize::new(31).unwrap(), &servers(5), &KEY);
    let expected: [u16; 31] = PINNED;
    assert_eq!(table.slots(), expected);
    let key = FlowKey {
        client: Ipv4Addr::new(192, 0, 2, 1),
        remote: Ipv4Addr::new(198, 51, 100, 1),
        client_port: L4Port(40_000),
        remote_port: L4Port(443),
        protocol: Protocol::TCP,
    };
    assert_eq!(ClientHash::of(&key, &KEY), ClientHash(PINNED_HASH));
}

#[test]
fn d63_the_shares_of_equal_servers_differ_by_one_slot_at_most() {
    for count in [1, 2, 3, 100, 1000] {
        let shares = shares(&build(&servers(count)), count as usize);
        let max = shares.iter().copied().fold(f64::MIN, f64::max);
        let min = shares.iter().copied().fold(f64::MAX, f64::min);
        assert!(max - min <= 1.0, "{count} servers: {min}..{max}");
    }
}

/// Share of slots that changed their server although their server stayed.
fn moved_needlessly(before: &MaglevTable, after: &MaglevTable, changed: u16) -> f64 {
    let slots = before.slots().iter().zip(after.slots());
    let moved = slots
        .filter(|(a, b)| a != b && **a != changed && **b != changed)
        .count();
    moved as f64 / before.slots().len() as f64
}

#[test]
fn d63_removing_one_of_n_moves_one_nth_and_one_percent_at_most() {
    for count in [2_u32, 10, 100, 1000] {
        let before = build(&servers(count));
        let mut total = 0.0;
        let samples = count.min(20);
        for sample in 0..samples {
            let removed = sample * count / samples;
            let mut list = servers(count);
            list[removed as usize].weight = 0;
            let after = build(&list);
            let changed = before
                .slots()
                .iter()
                .zip(after.slots())
                .filter(|(a, b)| a != b)
                .count();
            let changed = changed as f64 / before.slots().len() as f64;
            assert!(
                changed <= 1.0 / f64::from(count) + 0.01,
                "{removed} of {count}: {changed}"
            );
            total += moved_needlessly(&before, &after, u16::try_from(removed).unwrap());
        }
        let mean = total / f64::from(samples);
        println!(
            "{count} servers: {:.3} % of slots moved needlessly",
            mean * 100.0
        );
        assert!(mean <= 0.0065, "{count} servers: {mean}");
    }
}

#[test]
fn d65_shares_follow_weights_within_a_percent() {
    let list: Vec<_> = (0..10).map(|n| server(n, n * 10)).collect();
    let shares = shares(&build(&list), 10);
    assert!(shares[0] == 0.0, "weight 0 has no slot");
    for (n, share) in shares.iter().enumerate().skip(1) {
        let expected = 65_537.0 * n as f64 / 45.0;
        assert!(
            (share - expected).abs() <= expected * 0.01,
            "weight {n}: {share} of {expected}"
        );
    }
}

#[test]
fn extreme_weights_terminate_and_are_respected() {
    let mut list = servers(100);
    list[7].weight = 65_535;
    let shares = shares(&build(&list), 100);
    assert!(shares[7] > 65_537.0 * 0.99);
}

#[test]
fn a_hash_picks_the_slot_in_proportion_and_an_empty_table_none() {
    let table = build(&servers(3));
    let slot = |n: usize| Some(usize::from(table.slots()[n]));
    assert_eq!(table.pick(ClientHash(0)), slot(0));
    assert_eq!(table.pick(ClientHash(u64::MAX)), slot(65_536));
    assert_eq!(table.pick(ClientHash(1 << 63)), slot(32_768));
    assert_eq!(build(&[]).pick(ClientHash(5)), None);
    assert_eq!(build(&[server(1, 0)]).pick(ClientHash(5)), None);
    assert_eq!(stateless_pick(&MaglevTable::default(), ClientHash(5)), None);
}

#[test]
fn connections_spread_within_five_percent_over_a_hundred_servers() {
    let table = build(&servers(100));
    let mut counts = vec![0_u32; 100];
    for n in 0..1_000_000_u32 {
        let [a, b, c, d] = n.to_be_bytes();
        let key = FlowKey {
            client: Ipv6Addr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]),
            remote: Ipv6Addr::LOCALHOST,
            client_port: L4Port(u16::from_be_bytes([d, c])),
            remote_port: L4Port(443),
            protocol: Protocol::TCP,
        };
        counts[table.pick(ClientHash::of(&key, &KEY)).unwrap()] += 1;
    }
    let max = counts.iter().max().copied().unwrap_or(0);
    assert!(max <= 10_500, "P16: {max} against 10,000 on average");
}

#[test]
fn sizes_are_primes() {
    assert_eq!(MaglevSize::new(65_537), Some(MaglevSize::DEFAULT));
    assert_eq!(
        MaglevSize::new(MaglevSize::MAX.get()),
        Some(MaglevSize::MAX)
    );
    for bad in [0, 1, 4, 65_536, 65_539 * 3, u32::MAX] {
        assert_eq!(MaglevSize::new(bad), None, "{bad}");
    }
    for count in [0, 1, 15, 16, 255, 256, 65_535] {
        let size = MaglevSize::fallback(count);
        assert_eq!(MaglevSize::new(size.get()), Some(size));
    }
}
