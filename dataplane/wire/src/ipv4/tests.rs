//! IPv4 headers against recorded ones.

use proptest::prelude::*;

use super::*;
use crate::samples::{self, hex};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 5);
const RIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 12);

fn recorded() -> Vec<u8> {
    hex(samples::TCP_V4_SYN).split_off(14)
}

#[test]
fn emit_writes_the_recorded_header() {
    let repr = Ipv4Repr {
        src: CLIENT,
        dst: VIP,
        protocol: Protocol::TCP,
        ttl: 64,
        tos: 0,
        dont_fragment: true,
        id: 0,
        payload_len: 40,
    };
    let mut out = [0xa5; 20];
    emit(&mut out, &repr);
    assert_eq!(out, recorded()[..20]);
}

#[test]
fn a_recorded_packet_reads_as_what_it_is() {
    let mut packet = recorded();
    packet.extend([0xa5; 6]); // Ethernet padding
    let (ip, payload) = Ipv4::parse(&packet).unwrap();
    assert_eq!(
        (ip.src(), ip.dst(), ip.protocol()),
        (CLIENT, VIP, Protocol::TCP)
    );
    assert_eq!(
        (ip.header_len(), ip.total_len(), payload.len()),
        (20, 60, 40)
    );
    assert_eq!(
        (ip.ttl(), ip.tos(), ip.id(), ip.dont_fragment()),
        (64, 0, 0, true)
    );
    assert_eq!(
        (ip.checksum(), ip.more_fragments()),
        (Checksum([0x7b, 0x95]), false)
    );
    assert_eq!(
        (ip.fragment_offset(), ip.fragment()),
        (0, Ok(Fragment::Whole))
    );
}

#[test]
fn d1_every_truncation_of_a_header_is_an_error() {
    let packet = recorded();
    for len in 0..packet.len() {
        assert_eq!(
            Ipv4::parse(&packet[..len]).err(),
            Some(ParseError::Truncated),
            "{len}"
        );
    }
    for (at, octet) in [(0, 0x65), (0, 0x44), (3, 19)] {
        let mut packet = packet.clone();
        packet[at] = octet;
        assert_eq!(Ipv4::parse(&packet).err(), Some(ParseError::Malformed));
    }
    let mut short = [0x45; 19];
    assert_eq!(
        Ipv4Mut::parse(&mut short).err(),
        Some(ParseError::Truncated)
    );
    assert_eq!(
        Ipv4Mut::parse(&mut [0x60; 20]).err(),
        Some(ParseError::Malformed)
    );
}

#[test]
fn d24_decrement_matches_the_full_sum_at_every_ttl() {
    for ttl in 0..=255u8 {
        for protocol in [0, 6, 255] {
            let mut packet = recorded();
            (packet[8], packet[9]) = (ttl, protocol);
            packet[10..12].fill(0);
            let sum = checksum::of(&packet[..20]);
            packet[10..12].copy_from_slice(&sum.0);
            let new = Ipv4Mut::parse(&mut packet).unwrap().decrement_ttl();
            assert_eq!(
                (new, packet[8]),
                (ttl.saturating_sub(1), ttl.saturating_sub(1))
            );
            assert!(checksum::is_valid(&packet[..20]), "ttl {ttl}");
        }
    }
}

#[test]
fn d24_d46_a_forwarded_header_is_what_linux_ipvs_sent() {
    let mut packet = recorded();
    Ipv4Mut::parse(&mut packet).unwrap().decrement_ttl();
    // Recorded: tun-ipip, the inner header of the first packet.
    assert_eq!(
        packet[..20],
        hex("4500003c000040003f067c95ac1000050a090909")
    );
}

#[test]
fn d34_a_translated_header_is_what_linux_ipvs_sent() {
    let recorded_out = hex("45000028000040003f0685aeac1000050a01000c");
    let mut packet = hex(samples::TCP_V4_ACK).split_off(14);
    let mut ip = Ipv4Mut::parse(&mut packet).unwrap();
    ip.set_dst(RIP);
    ip.decrement_ttl();
    assert_eq!(packet[..20], recorded_out);
    let mut packet = hex(samples::TCP_V4_ACK).split_off(14);
    let mut ip = Ipv4Mut::parse(&mut packet).unwrap();
    ip.forward_to(RIP, Delta::new().replace_addr(VIP, RIP));
    assert_eq!(packet[..20], recorded_out);
}

#[test]
fn d3_a_wrong_header_checksum_stays_wrong_under_every_setter() {
    let mut packet = recorded();
    packet[11] ^= 1;
    let mut ip = Ipv4Mut::parse(&mut packet).unwrap();
    ip.set_src(RIP);
    ip.set_dst(CLIENT);
    ip.set_tos(0xb9);
    ip.set_total_len(40);
    ip.decrement_ttl();
    assert!(!checksum::is_valid(&packet[..20]));
}

#[test]
fn options_are_walked_to_their_end() {
    let found: Vec<_> = options(&[1, 7, 4, 9, 8, 148, 2, 0, 131, 3]).collect();
    let expected = [
        Ipv4Option {
            kind: 7,
            data: &[9, 8],
        },
        Ipv4Option {
            kind: 148,
            data: &[],
        },
    ]
    .map(Ok);
    assert_eq!(found, expected);
    assert!(!expected[0].unwrap().is_source_route());
    for broken in [&[7][..], &[7, 0], &[7, 1, 1], &[7, 3]] {
        let found: Vec<_> = options(broken).collect();
        assert_eq!(found, [Err(ParseError::Malformed)], "{broken:?}");
    }
    assert_eq!(options(&[]).count(), 0);
}

proptest! {
    #[test]
    fn d17_every_setter_keeps_the_checksum(
        src in any::<u32>(), dst in any::<u32>(), tos in any::<u8>(), len in any::<u16>(),
        ecn in any::<u8>(), offset in any::<u16>(), more in any::<bool>(),
    ) {
        let mut packet = recorded();
        let mut ip = Ipv4Mut::parse(&mut packet).unwrap();
        ip.set_src(src.into());
        ip.set_dst(dst.into());
        ip.set_tos(tos);
        ip.set_ecn(ecn);
        ip.set_total_len(len);
        ip.set_fragment(offset & 0xfff8, more);
        let ip = ip.view();
        prop_assert_eq!((ip.src(), ip.dst()), (Ipv4Addr::from(src), Ipv4Addr::from(dst)));
        prop_assert_eq!((ip.tos(), ip.total_len()), (tos & 0xfc | ecn & 3, len));
        prop_assert_eq!((ip.fragment_offset(), ip.more_fragments()), (offset & 0xfff8, more));
        prop_assert!(!ip.dont_fragment());
        prop_assert!(checksum::is_valid(&packet[..20]));
    }

    #[test]
    fn option_walks_end(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        prop_assert!(options(&bytes).count() <= bytes.len());
    }
}
