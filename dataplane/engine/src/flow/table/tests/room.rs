//! Who makes room in a full table.

use core::net::Ipv4Addr;

use super::{V4, at, flow, get, key, nobody, table};
use crate::flow::tcp::TcpState;
use crate::flow::{Direction, Ended, FlowEntry, FlowHash, Hint, InsertError, ReturnPath};

#[test]
fn d60_a_syn_flood_into_a_full_table_evicts_half_open_flows_only() {
    let mut table = table(1000);
    for n in 0..600 {
        let new = flow(n, ReturnPath::Through, TcpState::Established);
        table.insert(&new, at(0), &mut nobody).unwrap();
    }
    let (mut evicted, mut refused) = (0, 0);
    for n in 600..100_000 {
        let new = flow(n, ReturnPath::Direct, TcpState::SynRecv);
        let result = table.insert(&new, at(1), &mut |entry, why| {
            assert_eq!((entry.state().is_half_open(), why), (true, Ended::Evicted));
            evicted += 1;
        });
        refused += u32::from(result.is_err());
        assert!(table.len() <= 1000 && table.half_open() == table.len() - 600);
    }
    assert!(evicted > 80_000, "{evicted} evicted, {refused} refused");
    for n in 0..600 {
        assert!(
            get(&table, &key(n), at(1)).is_some(),
            "established flow {n} is gone"
        );
    }
}

#[test]
fn d60_half_open_flows_make_room_in_the_order_in_which_they_came() {
    let mut table = table(40);
    for n in 0..40 {
        let new = flow(n, ReturnPath::Direct, TcpState::SynRecv);
        table.insert(&new, at(n.into()), &mut nobody).unwrap();
    }
    let mut gone = Vec::new();
    for n in 40..80 {
        let new = flow(n, ReturnPath::Direct, TcpState::Established);
        let mut note = |entry: &FlowEntry<Ipv4Addr>, why| gone.push((entry.key(), why));
        table.insert(&new, at(50), &mut note).unwrap();
    }
    let all: Vec<_> = (0..40).map(|n| (key(n), Ended::Evicted)).collect();
    assert_eq!(gone, all);
}

#[test]
fn d60_closing_flows_make_room_after_half_open_ones_and_established_ones_never() {
    use TcpState::{CloseWait, Established, FinWait, SynRecv, TimeWait};
    let states = [
        FinWait,
        Established,
        TimeWait,
        CloseWait,
        SynRecv,
        Established,
    ];
    let mut table = table(6);
    for (n, state) in (0..).zip(states) {
        let new = flow(n, ReturnPath::Through, state);
        table.insert(&new, at(0), &mut nobody).unwrap();
    }
    let mut gone = Vec::new();
    for n in 6..10 {
        let new = flow(n, ReturnPath::Through, Established);
        let mut note = |entry: &FlowEntry<Ipv4Addr>, _| gone.push(entry.key());
        table.insert(&new, at(1), &mut note).unwrap();
    }
    assert_eq!(gone[0], key(4), "the half-open one");
    gone.sort_by_key(|key| key.client_port.0);
    assert_eq!(gone, [0, 2, 3, 4].map(key));
    let new = flow(10, ReturnPath::Through, SynRecv);
    assert_eq!(
        table.insert(&new, at(1), &mut nobody),
        Err(InsertError::Full)
    );
    assert_eq!((table.half_open, table.closing), (0, 0));
}

/// Hints after both looks, and whether the second one was needed.
fn hint(table: &V4, hash: FlowHash) -> (Hint, bool) {
    match table.find_hint(hash) {
        Hint::ELSEWHERE => (table.find_hint_elsewhere(hash), true),
        hint => (hint, false),
    }
}

#[test]
fn in_a_full_table_hints_lead_to_every_flow_and_to_no_other() {
    let mut table = table(60_000);
    for n in 0..60_000 {
        let new = flow(n, ReturnPath::Through, TcpState::Established);
        table.insert(&new, at(0), &mut nobody).unwrap();
    }
    let mut left_home = 0;
    for n in 0..60_000 {
        let forward = key(n);
        let found = get(&table, &forward, at(1)).unwrap();
        let reverse = table.entry(found.index).reverse_key().unwrap();
        for (key, direction) in [(forward, Direction::Forward), (reverse, Direction::Reverse)] {
            let hash = table.hash(&key);
            let (hint, elsewhere) = hint(&table, hash);
            left_home += u32::from(elsewhere);
            assert_ne!(hint, Hint::ABSENT, "{n}");
            let confirmed = table.confirm(&key, hash, hint, at(1)).unwrap();
            assert_eq!(
                (confirmed.index, confirmed.direction),
                (found.index, direction)
            );
        }
    }
    assert!(
        left_home > 2_000,
        "{left_home} of 120,000 keys had left home"
    );
    let strangers = (60_000..120_000).map(key);
    let led = strangers.filter(|key| hint(&table, table.hash(key)).0 != Hint::ABSENT);
    let led = led.count();
    assert!(led < 600, "{led} of 60,000 strangers share a tag");
}
