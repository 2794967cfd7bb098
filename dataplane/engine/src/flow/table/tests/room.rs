//! Who makes room in a full table.

use core::net::Ipv4Addr;

use super::{at, flow, get, key, nobody, table};
use crate::flow::tcp::TcpState;
use crate::flow::{Ended, FlowEntry, InsertError, ReturnPath};

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
