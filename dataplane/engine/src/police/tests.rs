//! Floods between good frames, under virtual time.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use weir_wire::vrrp::{GROUP_V4, GROUP_V6, Repr};
use weir_wire::{checksum, ethernet, ipv6};

use super::*;
use crate::tables::Instance;

const PORT: PortId = PortId(0);
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));
const GROUP: IpAddr = IpAddr::V4(GROUP_V4);
const VRID: u8 = 51;
const VIRTUAL_MAC: MacAddr = MacAddr([0, 0, 0x5e, 0, 1, VRID]);
const BAD_PER_SECOND: u64 = 100_000;

fn tables() -> Tables {
    let instance = |is_v4| {
        Some(Instance {
            name: "edge".into(),
            port: PORT,
            id: VRID,
            is_v4,
            mac: VIRTUAL_MAC,
        })
    };
    Tables {
        instances: [None, instance(true), instance(false)].into(),
        ..Tables::default()
    }
}

fn policer() -> Policer {
    Policer::new(PuntLimits::default(), HashKey::new([1, 2, 3, 4]))
}

/// An advert as a whole frame.
fn advert(mac: MacAddr, id: u8, version: u8) -> Vec<u8> {
    let message = Repr {
        version,
        id,
        priority: 100,
        interval: Duration::from_secs(1),
        addresses: &["192.0.2.10".parse().unwrap()],
        auth: None,
    };
    let mut frame = vec![0; 34 + message.buffer_len()];
    ethernet::emit(
        frame.first_chunk_mut().unwrap(),
        MacAddr([1, 0, 0x5e, 0, 0, 18]),
        mac,
        EtherType::IPV4,
    );
    let len = u8::try_from(20 + message.buffer_len()).unwrap();
    frame[14..24].copy_from_slice(&[0x45, 0xc0, 0, len, 0, 0, 0, 0, 255, 112]);
    frame[26..30].copy_from_slice(&[192, 0, 2, 3]);
    frame[30..34].copy_from_slice(&GROUP_V4.octets());
    let pseudo = (version == 3).then_some((PEER, GROUP));
    message.emit(&mut frame[34..], pseudo).unwrap();
    frame
}

fn advert_v6(hop_limit: u8) -> Vec<u8> {
    let (src, dst): (Ipv6Addr, Ipv6Addr) = ("fe80::3".parse().unwrap(), GROUP_V6);
    let message = Repr {
        version: 3,
        id: VRID,
        priority: 100,
        interval: Duration::from_secs(1),
        addresses: &["fe80::10".parse().unwrap()],
        auth: None,
    };
    let mut frame = vec![0; 54 + message.buffer_len()];
    let to = MacAddr([0x33, 0x33, 0, 0, 0, 0x12]);
    ethernet::emit(
        frame.first_chunk_mut().unwrap(),
        to,
        VIRTUAL_MAC,
        EtherType::IPV6,
    );
    let repr = ipv6::Ipv6Repr {
        src,
        dst,
        next_header: Protocol::VRRP,
        hop_limit,
        payload_len: u16::try_from(message.buffer_len()).unwrap(),
        traffic_class: 0,
        flow_label: 0,
    };
    ipv6::emit(frame[14..].first_chunk_mut().unwrap(), &repr);
    let pseudo = Some((src.into(), dst.into()));
    message.emit(&mut frame[54..], pseudo).unwrap();
    frame
}

/// What is wrong with a flood's frames, and the nth of them.
type Bad = (&'static str, fn(u64) -> Vec<u8>);

/// As `good`, with one octet changed.
fn broken(good: &[u8], at: usize) -> Vec<u8> {
    let mut frame = good.to_vec();
    frame[at] ^= 1;
    frame
}

fn numbered(n: u64) -> MacAddr {
    let [.., a, b, c, d] = n.to_be_bytes();
    MacAddr([2, 9, a, b, c, d])
}

/// Three seconds of a flood with a good frame every 10 ms: (good admitted of 300, bad admitted).
fn flood(class: PuntClass, good: &[u8], bad: impl Fn(u64) -> Vec<u8>) -> (usize, usize) {
    let (tables, mut policer) = (tables(), policer());
    let (mut good_admitted, mut bad_admitted) = (0, 0);
    let per_good = BAD_PER_SECOND / 100;
    for n in 0..BAD_PER_SECOND * 3 {
        let now = Time::ZERO + Duration::from_nanos(n * (1_000_000_000 / BAD_PER_SECOND));
        let admitted = policer.admits(&tables, (PORT, class), &bad(n), now);
        bad_admitted += usize::from(admitted);
        if n % per_good == per_good - 1 {
            let admitted = policer.admits(&tables, (PORT, class), good, now);
            good_admitted += usize::from(admitted);
        }
    }
    (good_admitted, bad_admitted)
}

#[test]
fn v21_good_adverts_pass_between_a_hundred_thousand_bad_ones_a_second() {
    let good = advert(VIRTUAL_MAC, VRID, 3);
    let bad_kinds: [Bad; 6] = [
        ("a checksum", |_| {
            broken(&advert(VIRTUAL_MAC, VRID, 3), 34 + 6)
        }),
        ("a hop limit", |_| broken(&advert(VIRTUAL_MAC, VRID, 3), 22)),
        ("a version", |_| {
            broken(&advert(VIRTUAL_MAC, VRID, 3), 34) // Version and type are one octet.
        }),
        ("the identifier, from any MAC", |n| {
            advert(numbered(n), VRID + 1, 3)
        }),
        ("the length", |n| {
            let mut frame = advert(numbered(n), VRID, 3);
            frame[17] -= 1;
            frame
        }),
        ("nothing but the sender", |_| advert(numbered(1), VRID, 3)),
    ];
    for (what, bad) in bad_kinds {
        let (passed, trickle) = flood(PuntClass::Vrrp, &good, bad);
        assert_eq!(passed, 300, "good ones, others bad by {what}");
        let bound = if what.contains("sender") {
            50_500
        } else {
            2_020
        };
        assert!((1..=bound).contains(&trickle), "{what}: {trickle}");
    }
}

#[test]
fn a11_one_source_of_arp_leaves_room_for_another() {
    let arp = |mac: MacAddr| {
        let mut frame = vec![0; 60];
        let to = MacAddr::BROADCAST;
        ethernet::emit(frame.first_chunk_mut().unwrap(), to, mac, EtherType::ARP);
        frame
    };
    for class in [PuntClass::Arp, PuntClass::Nd] {
        let (passed, flooded) = flood(class, &arp(MacAddr([2, 0, 0, 0, 0, 5])), |_| {
            arp(numbered(1))
        });
        assert_eq!(passed, 300);
        assert!(flooded <= 3_100, "{flooded}");
    }
    // From any number of sources, the class's limit holds.
    let (_, flooded) = flood(PuntClass::Arp, &arp(numbered(7)), |n| arp(numbered(n)));
    assert!((13_000..=15_500).contains(&flooded), "{flooded}");
}

#[test]
fn v21_what_an_instance_could_take_is_told_from_what_none_could() {
    let tables = tables();
    let expected = |frame: &[u8]| is_expected(&tables, PORT, frame);
    let good = advert(VIRTUAL_MAC, VRID, 3);
    assert!(expected(&good));
    assert!(expected(&advert(numbered(1), VRID, 2)));
    assert!(expected(&advert_v6(255)) && !expected(&advert_v6(64)));
    // RFC 9568 sums up the message alone.
    let mut alone = good.clone();
    alone[40..42].fill(0);
    let sum = checksum::of(&alone[34..]).0;
    alone[40..42].copy_from_slice(&sum);
    assert!(expected(&alone));
    // Tagged, and padded to the shortest frame.
    let tagged = [&good[..12], &[0x81, 0, 0, 7], &good[12..], &[0; 20]].concat();
    assert!(expected(&tagged));
    assert!(!is_expected(&tables, PortId(1), &good), "another port");
    for len in 0..good.len() {
        assert!(!expected(&good[..len]));
    }
    // One bit anywhere in the message, or in what of the IP header counts.
    for at in (34..good.len()).chain([14, 22, 26, 30]) {
        assert!(!expected(&broken(&good, at)), "octet {at}");
    }
}
