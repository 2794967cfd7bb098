//! IPv6 headers against recorded ones. Chains are tested through the parser.

use super::*;
use crate::samples::{self, hex};

fn recorded() -> Vec<u8> {
    hex(samples::TCP_V6_SYN).split_off(14)
}

fn addr(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

#[test]
fn emit_writes_the_recorded_header() {
    let repr = Ipv6Repr {
        src: addr("2001:db8::5"),
        dst: addr("fd00:9::9"),
        next_header: Protocol::TCP,
        hop_limit: 64,
        traffic_class: 0,
        flow_label: 0,
        payload_len: 40,
    };
    let mut out = [0xa5; 40];
    emit(&mut out, &repr);
    assert_eq!(out, recorded()[..40]);
}

#[test]
fn a_recorded_packet_reads_as_what_it_is() {
    let mut packet = recorded();
    packet.extend([0xa5; 6]);
    let (ip, payload) = Ipv6::parse(&packet).unwrap();
    assert_eq!(
        (ip.src(), ip.dst()),
        (addr("2001:db8::5"), addr("fd00:9::9"))
    );
    assert_eq!((ip.next_header(), ip.hop_limit()), (Protocol::TCP, 64));
    assert_eq!((ip.payload_len(), payload.len()), (40, 40));
    assert_eq!((ip.traffic_class(), ip.flow_label()), (0, 0));
}

#[test]
fn d1_every_truncation_is_an_error() {
    let packet = recorded();
    for len in 0..packet.len() {
        assert_eq!(
            Ipv6::parse(&packet[..len]).err(),
            Some(ParseError::Truncated),
            "{len}"
        );
        assert_eq!(
            Chain::parse(&packet[..len.min(39)], 0),
            Err(ParseError::Truncated)
        );
    }
    assert_eq!(Ipv6::parse(&[0x40; 40]).err(), Some(ParseError::Malformed));
    assert_eq!(
        Ipv6Mut::parse(&mut [0x60; 39]).err(),
        Some(ParseError::Truncated)
    );
    assert_eq!(
        Ipv6Mut::parse(&mut [0x40; 40]).err(),
        Some(ParseError::Malformed)
    );
}

#[test]
fn setters_change_their_field_and_no_other() {
    let mut packet = recorded();
    packet[1] |= 0x0f; // flow label
    let mut ip = Ipv6Mut::parse(&mut packet).unwrap();
    ip.set_src(addr("::1"));
    assert_eq!(
        (ip.view().src(), ip.view().dst()),
        (addr("::1"), addr("fd00:9::9"))
    );
    ip.set_dst(addr("ff02::1"));
    assert_eq!(
        (ip.view().src(), ip.view().dst()),
        (addr("::1"), addr("ff02::1"))
    );
    ip.set_addrs(addr("fd00::a"), addr("fd00::b"));
    assert_eq!(
        (ip.view().src(), ip.view().dst()),
        (addr("fd00::a"), addr("fd00::b"))
    );
    ip.set_traffic_class(0xb9);
    assert_eq!(
        (ip.view().traffic_class(), ip.view().flow_label()),
        (0xb9, 0xf_0000)
    );
    ip.set_ecn(0b110);
    assert_eq!(ip.view().traffic_class(), 0xba);
    ip.set_payload_len(1234);
    assert_eq!(ip.view().payload_len(), 1234);
    assert_eq!(
        (ip.view().next_header(), ip.view().hop_limit()),
        (Protocol::TCP, 64)
    );
}

#[test]
fn d24_the_hop_limit_goes_down_by_one_to_zero() {
    for limit in 0..=255u8 {
        let mut packet = recorded();
        packet[7] = limit;
        let new = Ipv6Mut::parse(&mut packet).unwrap().decrement_hop_limit();
        assert_eq!(
            (new, packet[7]),
            (limit.saturating_sub(1), limit.saturating_sub(1))
        );
    }
}
