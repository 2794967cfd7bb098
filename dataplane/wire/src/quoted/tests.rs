//! Quoted packets: recorded translations, and every way in which a quote can be short or odd.

use proptest::prelude::*;

use super::*;
use crate::checksum::{self, Sum};
use crate::icmp;
use crate::samples::{self, ethernet, extension, fragment_header, hex, ipv4, ipv6, tcp, udp};

const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 5);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
const RIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 12);

/// Where the quote starts in an untagged IPv4 frame without options, and in an IPv6 one.
const V4_AT: usize = 14 + 20 + 8;
const V6_AT: usize = 14 + 40 + 8;

/// An IPv4 frame whose ICMP error quotes `quote`.
fn error_v4(quote: &[u8]) -> Vec<u8> {
    let mut message = [&[3, 1, 0, 0, 0, 0, 0, 0], quote].concat();
    let sum = checksum::of(&message);
    message[2..4].copy_from_slice(&sum.0);
    ethernet(&[], 0x0800, &ipv4(&[], 0, 1, &message))
}

fn parse4(quote: &[u8]) -> Result<Quoted<Ipv4Addr>, ParseError> {
    let frame = error_v4(quote);
    parse_v4(&frame, V4_AT, frame.len())
}

fn parse6(quote: &[u8]) -> Result<Quoted<Ipv6Addr>, ParseError> {
    let frame = [vec![0; V6_AT], quote.to_vec()].concat();
    parse_v6(&frame, V6_AT, frame.len())
}

#[test]
fn d32_a_recorded_quote_of_8_octets_names_its_flow() {
    let frame = hex(samples::FRAG_NEEDED_V4);
    let quoted = parse_v4(&frame, V4_AT, frame.len()).unwrap();
    assert_eq!((quoted.src, quoted.sport), (VIP, L4Port(80)));
    assert_eq!((quoted.dst, quoted.dport), (CLIENT, L4Port(40001)));
    assert_eq!((quoted.l3, quoted.l4, quoted.l4_len), (42, 62, 8));
    assert_eq!((quoted.protocol, quoted.has_ports), (Protocol::TCP, true));
    assert_eq!(quoted.checksum_at(), None, "TCP's checksum is cut off");
}

#[test]
fn d32_the_header_and_8_octets_are_needed_and_enough() {
    for packet in [
        ipv4(&[], 0, 6, &tcp(5, 2)),
        ipv4(&[7, 3, 4, 0], 0, 17, &udp(8)),
    ] {
        let header_len = usize::from(packet[0] & 0xf) * 4;
        for len in 0..=packet.len() {
            let found = parse4(&packet[..len]);
            assert_eq!(found.is_ok(), len >= header_len + 8, "{len} octets");
            assert!(found.is_ok() || found == Err(ParseError::Truncated));
        }
    }
    let packet = ipv6(6, &tcp(5, 2));
    for len in 0..=packet.len() {
        assert_eq!(parse6(&packet[..len]).is_ok(), len >= 48, "{len} octets");
    }
}

#[test]
fn d32_unknown_protocols_and_later_fragments_are_no_failure() {
    let quoted = parse4(&ipv4(&[], 0, 253, &[])).unwrap();
    assert_eq!(
        (quoted.has_ports, quoted.protocol, quoted.l4_len),
        (false, Protocol(253), 0)
    );
    assert_eq!((quoted.sport, quoted.checksum_at()), (L4Port::NONE, None));
    let quoted = parse4(&ipv4(&[], 0x0010, 6, &[0xff; 8])).unwrap();
    assert!(quoted.is_later_fragment && !quoted.has_ports && quoted.checksum_at().is_none());
    let packet = ipv6(
        44,
        &[fragment_header(6, 16, false, 1), vec![0xff; 3]].concat(),
    );
    let quoted = parse6(&packet).unwrap();
    assert!(quoted.is_later_fragment && !quoted.has_ports);
}

#[test]
fn d32_wrong_checksums_and_mangled_lengths_are_no_failure() {
    let mut packet = ipv4(&[], 0, 6, &tcp(5, 2));
    packet[10..12].copy_from_slice(&[0xde, 0xad]);
    let plain = parse4(&packet).unwrap();
    for total_len in [0u16, 20, 40, 9999, 65535] {
        packet[2..4].copy_from_slice(&total_len.to_be_bytes());
        assert_eq!(parse4(&packet), Ok(plain), "{total_len}");
    }
    packet[0] = 0x65;
    assert_eq!(parse4(&packet), Err(ParseError::Malformed));
    packet[0] = 0x44;
    assert_eq!(parse4(&packet), Err(ParseError::Malformed));
}

#[test]
fn d6_d32_a_quoted_chain_is_walked_and_first_fragments_name_their_flow() {
    let chain = [
        extension(44, 8),
        fragment_header(60, 0, true, 5),
        extension(17, 8),
        udp(99),
    ];
    let mut packet = ipv6(0, &chain.concat());
    // The router quotes the beginning of a full-size fragment, cut anywhere.
    packet.extend([0x5a; 5]);
    packet[4..6].copy_from_slice(&1224u16.to_be_bytes());
    let quoted = parse6(&packet).unwrap();
    assert_eq!((quoted.sport, quoted.dport), (L4Port(40001), L4Port(53)));
    assert_eq!(usize::from(quoted.l4), V6_AT + 40 + 24);
    assert_eq!(quoted.checksum_at(), Some(V6_AT + 40 + 24 + 6));
    assert_eq!(parse6(&packet[..50]).err(), Some(ParseError::Truncated));
}

#[test]
fn d13_a_quote_in_another_segment_asks_to_be_gathered() {
    let frame = hex(samples::FRAG_NEEDED_V4);
    for split in 0..frame.len() {
        let found = parse_v4(&frame[..split], V4_AT, frame.len());
        assert_eq!(found, Err(ParseError::Split), "{split}");
    }
}

/// Rewrites the quote and both checksums of `frame`, as NAT does, except its outer header.
fn translate(frame: &mut [u8], to: Endpoints<Ipv4Addr>) {
    let quoted = parse_v4(frame, V4_AT, frame.len()).unwrap();
    let delta = rewrite(frame, &quoted, &to).unwrap();
    assert!(icmp::update_checksum(frame, 34, delta));
}

#[test]
fn d34_a_translated_quote_is_what_linux_ipvs_sent() {
    let mut frame = hex(samples::FRAG_NEEDED_V4);
    let (sport, dport) = (L4Port(8080), L4Port(40001));
    translate(
        &mut frame,
        Endpoints {
            src: RIP,
            sport,
            dst: CLIENT,
            dport,
        },
    );
    assert_eq!(frame[34..], hex(samples::FRAG_NEEDED_V4_NATTED)[34..]);
    // Recorded: nat-icmp, the server's port unreachable about 172.16.0.5:40001 > 10.1.0.12:8080.
    let mut frame = hex(
        "02000000010102000000030c08004500003800004000400184a30a01000cac10000503033d4300000000450000\
        28000040003c0688aeac1000050a01000c9c411f90000003e8",
    );
    let sent = hex("03035c830000000045000028000040003c067fa9ac1000050a0909099c410050000003e8");
    let (sport, dport) = (L4Port(40001), L4Port(80));
    translate(
        &mut frame,
        Endpoints {
            src: CLIENT,
            sport,
            dst: VIP,
            dport,
        },
    );
    assert_eq!(frame[34..], sent);
}

#[test]
fn d34_a_frame_that_is_too_short_is_not_half_rewritten() {
    let frame = error_v4(&ipv4(&[], 0, 17, &udp(8)));
    let quoted = parse_v4(&frame, V4_AT, frame.len()).unwrap();
    let to = Endpoints {
        src: RIP,
        sport: L4Port(1),
        dst: VIP,
        dport: L4Port(2),
    };
    for len in 0..V4_AT + 28 {
        let mut cut = frame[..len].to_vec();
        assert_eq!(rewrite(&mut cut, &quoted, &to), None);
        assert_eq!(cut, frame[..len]);
    }
}

/// A quoted packet with right checksums inside an error with a right one.
fn whole_v4(protocol: u8, l4_len: usize) -> Vec<u8> {
    let mut l4 = if protocol == 6 { tcp(5, 0x10) } else { udp(24) };
    l4.resize(24, 0x5a);
    let at = if protocol == 6 { 16 } else { 6 };
    l4[at..at + 2].fill(0);
    let sum = Sum::pseudo(CLIENT, VIP, Protocol(protocol), 24)
        .over(&l4)
        .finish();
    l4[at..at + 2].copy_from_slice(&sum.0);
    let packet = ipv4(&[], 0, protocol, &l4);
    error_v4(&packet[..20 + l4_len])
}

proptest! {
    #[test]
    fn d34_all_checksums_of_a_translated_error_are_right(
        addrs in any::<(u32, u32)>(), ports in any::<(u16, u16)>(), is_tcp in any::<bool>(),
        l4_len in (2..=6usize).prop_map(|words| words * 4),
    ) {
        let protocol = if is_tcp { 6 } else { 17 };
        let mut frame = whole_v4(protocol, l4_len);
        prop_assert!(checksum::is_valid(&frame[34..]));
        let to = Endpoints {
            src: addrs.0.into(), sport: L4Port(ports.0),
            dst: addrs.1.into(), dport: L4Port(ports.1),
        };
        translate(&mut frame, to);
        prop_assert!(checksum::is_valid(&frame[34..]), "the ICMP message");
        prop_assert!(checksum::is_valid(&frame[42..62]), "the quoted IP header");
        let quoted = parse_v4(&frame, V4_AT, frame.len()).unwrap();
        prop_assert_eq!((quoted.src, quoted.sport), (to.src, to.sport));
        prop_assert_eq!((quoted.dst, quoted.dport), (to.dst, to.dport));
        if l4_len == 24 {
            let sum = Sum::pseudo(to.src, to.dst, Protocol(protocol), 24).over(&frame[62..]);
            prop_assert!(sum.is_valid(), "the quoted segment");
        }
    }

    #[test]
    fn d20_d34_an_icmpv6_error_is_right_after_both_its_addresses_and_its_quote_change(
        outer in any::<(u128, u128)>(), inner in any::<(u128, u128)>(),
        new in any::<(u128, u128)>(),
        ports in any::<(u16, u16)>(), l4_len in 4..10usize,
    ) {
        let addr = Ipv6Addr::from;
        let mut quote = ipv6(6, &tcp(5, 0x10));
        quote[8..24].copy_from_slice(&inner.0.to_be_bytes());
        quote[24..40].copy_from_slice(&inner.1.to_be_bytes());
        quote.truncate(40 + l4_len * 2);
        let len = u16::try_from(8 + quote.len()).unwrap();
        let mut frame = [vec![0; 54], vec![2, 0, 0, 0, 0, 0, 5, 0], quote].concat();
        let sum = |frame: &[u8], src, dst| {
            Sum::pseudo(addr(src), addr(dst), Protocol::ICMPV6, len).over(&frame[54..])
        };
        let field = sum(&frame, outer.0, outer.1).finish();
        frame[56..58].copy_from_slice(&field.0);
        let quoted = parse_v6(&frame, V6_AT, frame.len()).unwrap();
        let to = Endpoints {
            src: addr(new.0), sport: L4Port(ports.0), dst: addr(new.1), dport: L4Port(ports.1),
        };
        let delta = rewrite(&mut frame, &quoted, &to).unwrap();
        let delta = delta.replace_addr(addr(outer.1), addr(new.0));
        prop_assert!(icmp::update_checksum(&mut frame, 54, delta));
        prop_assert!(sum(&frame, outer.0, new.0).is_valid());
    }

    #[test]
    fn d32_noise_never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0..220usize, end in 0..260usize,
        start in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()],
    ) {
        let mut bytes = bytes;
        if let Some(octet) = bytes.get_mut(at) {
            *octet = start;
        }
        if let Ok(quoted) = parse_v4(&bytes, at, end) {
            let (sport, dport) = (L4Port(1), L4Port(2));
            let _ = rewrite(&mut bytes, &quoted, &Endpoints { src: RIP, sport, dst: VIP, dport });
        }
        let _ = parse_v6(&bytes, at, end);
    }
}
