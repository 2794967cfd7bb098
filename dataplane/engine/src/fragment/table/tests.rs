//! In order, out of order, hostile, and too many.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use proptest::prelude::*;

use super::*;

const PORTS: FragmentPorts = FragmentPorts {
    sport: L4Port(40_000),
    dport: L4Port(53),
    protocol: Protocol::UDP,
};

fn table(capacity: usize) -> FragmentTable<Ipv4Addr> {
    FragmentTable::new(capacity, HashKey::new([1, 2, 3, 4]))
}

fn key(id: u32) -> FragmentKey<Ipv4Addr> {
    let (src, dst) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(10, 9, 9, 9));
    FragmentKey::new(src, dst, id, Protocol::UDP)
}

fn data(offset: u16, len: u16) -> FragmentData {
    FragmentData {
        offset,
        len,
        last: false,
    }
}

fn last(offset: u16, len: u16) -> FragmentData {
    FragmentData {
        offset,
        len,
        last: true,
    }
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

#[test]
fn d26_later_fragments_learn_the_ports_of_the_first_and_a_whole_packet_is_forgotten() {
    let mut table = table(64);
    assert_eq!(table.lookup(&key(7), data(1480, 1480), at(0)), Ok(None));
    assert_eq!(table.insert(&key(7), PORTS, data(0, 1480), at(0)), Ok(()));
    assert_eq!(table.lookup(&key(8), data(1480, 1480), at(0)), Ok(None));
    assert_eq!(
        table.lookup(&key(7), data(1480, 1480), at(0)),
        Ok(Some(PORTS))
    );
    assert_eq!(table.len(at(0)), 1);
    assert_eq!(
        table.lookup(&key(7), last(2960, 100), at(0)),
        Ok(Some(PORTS))
    );
    assert!(table.is_empty(at(0)));
    // The same identification is free for the next packet at once.
    assert_eq!(table.insert(&key(7), PORTS, data(0, 1480), at(0)), Ok(()));
}

#[test]
fn d26_the_order_of_later_fragments_does_not_matter() {
    let mut table = table(64);
    table.insert(&key(1), PORTS, data(0, 800), at(0)).unwrap();
    for offset in [5, 3, 1, 4, 2_u16] {
        let data = FragmentData {
            offset: offset * 800,
            len: 800,
            last: offset == 5,
        };
        assert_eq!(table.lookup(&key(1), data, at(0)), Ok(Some(PORTS)));
    }
    assert!(table.is_empty(at(0)));
}

#[test]
fn d28_an_incomplete_packet_is_forgotten_after_thirty_seconds() {
    let mut table = table(64);
    table.insert(&key(1), PORTS, data(0, 800), at(0)).unwrap();
    assert_eq!(
        table.lookup(&key(1), data(800, 800), at(29)),
        Ok(Some(PORTS))
    );
    assert_eq!(table.lookup(&key(1), data(1600, 800), at(31)), Ok(None));
    assert!(table.is_empty(at(31)));
}

#[test]
fn d28_a_flood_of_first_fragments_takes_the_oldest_places() {
    let mut table = table(64);
    for id in 0..100_000 {
        assert_eq!(
            table.insert(&key(id), PORTS, data(0, 800), at(u64::from(id) / 5000)),
            Ok(())
        );
        assert_eq!(
            table.lookup(&key(id), data(800, 8), at(u64::from(id) / 5000)),
            Ok(Some(PORTS))
        );
    }
    assert!(table.len(at(19)) <= table.capacity());
}

#[test]
fn d29_overlapping_fragments_condemn_their_packet() {
    let overlapping = [
        data(792, 1600), // teardrop: begins inside the first
        data(1592, 800), // begins inside a later one
        last(1000, 16),  // ends before what has come
        last(800, 16),
    ];
    for bad in overlapping {
        let mut table = table(64);
        table.insert(&key(1), PORTS, data(0, 800), at(0)).unwrap();
        table.lookup(&key(1), data(800, 800), at(0)).unwrap();
        assert_eq!(table.lookup(&key(1), bad, at(0)), Err(Overlap), "{bad:?}");
        assert_eq!(
            table.lookup(&key(1), data(8000, 800), at(1)),
            Err(Overlap),
            "the rest too"
        );
    }
}

#[test]
fn d29_a_fragment_that_brings_nothing_new_is_refused_and_condemns_nothing() {
    let repeated = [
        data(800, 800), // a link repeated a frame
        data(8, 800),   // would rewrite the TCP flags (RFC 1858)
        data(0, 8),
        data(1592, 8),
    ];
    for again in repeated {
        let mut table = table(64);
        table.insert(&key(1), PORTS, data(0, 800), at(0)).unwrap();
        table.lookup(&key(1), data(800, 800), at(0)).unwrap();
        assert_eq!(table.lookup(&key(1), again, at(0)), Err(Overlap));
        let first = table.insert(&key(1), PORTS, data(0, 800), at(0));
        assert_eq!(first, Err(Overlap));
        let rest = table.lookup(&key(1), last(1600, 800), at(0));
        assert_eq!(rest, Ok(Some(PORTS)), "{again:?}");
    }
}

#[test]
fn d29_nothing_may_follow_the_end() {
    let mut table = table(64);
    table.insert(&key(1), PORTS, data(0, 800), at(0)).unwrap();
    table.lookup(&key(1), last(2400, 10), at(0)).unwrap();
    assert_eq!(table.lookup(&key(1), data(2416, 800), at(0)), Err(Overlap));
}

#[test]
fn d29_a_second_first_fragment_condemns_and_after_a_second_begins_anew() {
    let mut table = table(64);
    let other = FragmentPorts {
        dport: L4Port(54),
        ..PORTS
    };
    table.insert(&key(1), PORTS, data(0, 800), at(0)).unwrap();
    assert_eq!(
        table.insert(&key(1), other, data(0, 800), at(0)),
        Err(Overlap)
    );
    assert_eq!(table.lookup(&key(1), data(800, 800), at(0)), Err(Overlap));
    assert_eq!(table.insert(&key(1), other, data(0, 800), at(2)), Ok(()));
    assert_eq!(
        table.lookup(&key(1), data(800, 800), at(2)),
        Ok(Some(other))
    );
}

#[test]
fn more_pieces_than_are_tracked_pass_unjudged() {
    let mut table = table(64);
    table.insert(&key(1), PORTS, data(0, 8), at(0)).unwrap();
    for n in 1..40 {
        assert_eq!(
            table.lookup(&key(1), data(n * 16, 8), at(0)),
            Ok(Some(PORTS))
        );
    }
}

#[test]
fn ipv6_fragments_match_whatever_next_header_they_name() {
    let mut table: FragmentTable<Ipv6Addr> = FragmentTable::new(64, HashKey::new([1, 2, 3, 4]));
    let key = |protocol| {
        FragmentKey::new(
            Ipv6Addr::LOCALHOST,
            Ipv6Addr::LOCALHOST,
            0x1234_5678,
            protocol,
        )
    };
    table
        .insert(&key(Protocol::UDP), PORTS, data(0, 1232), at(0))
        .unwrap();
    let found = table.lookup(&key(Protocol(60)), data(1232, 1232), at(0));
    assert_eq!(found, Ok(Some(PORTS)));
}

proptest! {
    #[test]
    fn any_cut_in_any_order_is_recognised_as_complete_and_any_repeat_as_overlap(
        cuts in proptest::collection::btree_set(1..1000_u16, 1..6),
        seed in any::<u64>(),
    ) {
        let mut bounds = vec![0];
        bounds.extend(cuts.iter().map(|cut| cut * 8));
        bounds.push(8000);
        let mut later: Vec<_> = bounds.windows(2).skip(1)
            .map(|w| FragmentData { offset: w[0], len: w[1] - w[0], last: w[1] == 8000 })
            .collect();
        let count = later.len() as u64;
        later.sort_by_key(|d| u64::from(d.offset).wrapping_mul(seed | 1) % 1009);
        let mut table = table(64);
        table.insert(&key(1), PORTS, data(0, bounds[1]), at(0)).unwrap();
        for (n, &piece) in (1..).zip(&later) {
            prop_assert_eq!(table.lookup(&key(1), piece, at(0)), Ok(Some(PORTS)));
            if n < count {
                let mut again = table.clone();
                prop_assert_eq!(again.lookup(&key(1), piece, at(0)), Err(Overlap));
            }
        }
        prop_assert!(table.is_empty(at(0)));
    }
}
