//! The parser on recorded frames, on every shape that nobody records, and on noise.

use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::samples::{self, ethernet, extension, fragment_header, hex, ipv4, ipv6, tcp, udp};

mod fragments;

pub(super) const SYN: u8 = 0x02;
/// IPv4's flag for "more fragments".
pub(super) const MF: u16 = 0x2000;

fn whole(frame: &[u8]) -> Result<(Link, Frame), ParseError> {
    parse(frame, frame.len())
}

pub(super) fn v4(frame: &[u8]) -> Result<Parsed<Ipv4Addr>, ParseError> {
    whole(frame).map(|(_, frame)| match frame {
        Frame::V4(parsed) => parsed,
        Frame::V6(_) | Frame::Arp | Frame::OtherEther(_) => panic!("not IPv4: {frame:?}"),
    })
}

pub(super) fn v6(frame: &[u8]) -> Result<Parsed<Ipv6Addr>, ParseError> {
    whole(frame).map(|(_, frame)| match frame {
        Frame::V6(parsed) => parsed,
        Frame::V4(_) | Frame::Arp | Frame::OtherEther(_) => panic!("not IPv6: {frame:?}"),
    })
}

pub(super) fn frame_v4(packet: &[u8]) -> Vec<u8> {
    ethernet(&[], 0x0800, packet)
}

pub(super) fn frame_v6(packet: &[u8]) -> Vec<u8> {
    ethernet(&[], 0x86dd, packet)
}

/// Frames of every shape that parses.
fn valid() -> Vec<Vec<u8>> {
    let mut frames = samples::recorded();
    let tcp = tcp(5, SYN);
    let chain = [
        extension(44, 8),
        fragment_header(60, 0, false, 9),
        extension(6, 16),
        tcp.clone(),
    ];
    frames.extend([
        frame_v4(&ipv4(&[1; 40], 0, 6, &tcp)),
        frame_v4(&ipv4(&[], MF, 17, &udp(100))),
        frame_v4(&ipv4(&[], MF | 3, 6, &[0; 16])),
        frame_v4(&ipv4(&[], 0, 132, &[7; 12])),
        frame_v4(&ipv4(&[], 0, 253, &[])),
        frame_v6(&ipv6(0, &chain.concat())),
        frame_v6(&ipv6(
            44,
            &[fragment_header(17, 8, true, 1), vec![0; 16]].concat(),
        )),
        frame_v6(&ipv6(17, &udp(8))),
        ethernet(&[[0x8100, 100]], 0x0800, &ipv4(&[], 0, 6, &tcp)),
        ethernet(&[[0x88a8, 7], [0x8100, 100]], 0x86dd, &ipv6(6, &tcp)),
        ethernet(&[], 0x0806, &[0; 28]),
        ethernet(&[], 0x88cc, &[0; 46]),
    ]);
    frames
}

#[test]
fn a_recorded_syn_parses_to_what_it_is() {
    let (link, frame) = whole(&hex(samples::TCP_V4_SYN)).unwrap();
    assert_eq!(link.dst, MacAddr([2, 0, 0, 0, 1, 0]));
    assert_eq!(link.src, MacAddr([2, 0, 0, 0, 2, 0xfe]));
    assert_eq!((link.vlan, link.inner_vlan, link.l3), (None, None, 14));
    let expected = Parsed {
        src: Ipv4Addr::new(172, 16, 0, 5),
        dst: Ipv4Addr::new(10, 9, 9, 9),
        sport: L4Port(40001),
        dport: L4Port(80),
        l3: 14,
        l4: 34,
        end: 74,
        fragment_header: 0,
        fragment: Fragment::Whole,
        protocol: Protocol::TCP,
        ttl: 64,
        tos: 0,
        tcp_flags: TcpFlags::SYN,
        dont_fragment: true,
        udp_checksum_zero: false,
    };
    assert_eq!(frame, Frame::V4(expected));
}

#[test]
fn a_recorded_ipv6_ack_parses_to_what_it_is() {
    let parsed = v6(&hex(samples::TCP_V6_ACK)).unwrap();
    assert_eq!(parsed.src, "2001:db8::5".parse::<Ipv6Addr>().unwrap());
    assert_eq!(parsed.dst, "fd00:9::9".parse::<Ipv6Addr>().unwrap());
    assert_eq!((parsed.sport, parsed.dport), (L4Port(40001), L4Port(80)));
    assert_eq!(
        (parsed.l3, parsed.l4, parsed.end, parsed.ttl),
        (14, 54, 74, 64)
    );
    assert_eq!(
        (parsed.tcp_flags, parsed.dont_fragment),
        (TcpFlags::ACK, true)
    );
}

#[test]
fn d18_d19_a_zero_udp_checksum_is_reported() {
    assert!(!v4(&hex(samples::UDP_V4)).unwrap().udp_checksum_zero);
    assert!(v4(&hex(samples::UDP_V4_NO_SUM)).unwrap().udp_checksum_zero);
    let mut datagram = udp(8);
    assert!(
        !v6(&frame_v6(&ipv6(17, &datagram)))
            .unwrap()
            .udp_checksum_zero
    );
    datagram[6..].fill(0);
    assert!(
        v6(&frame_v6(&ipv6(17, &datagram)))
            .unwrap()
            .udp_checksum_zero
    );
    let behind = [extension(17, 8), datagram].concat();
    assert!(v6(&frame_v6(&ipv6(60, &behind))).unwrap().udp_checksum_zero);
}

#[test]
fn d1_every_truncation_of_every_frame_is_an_error_or_a_parse() {
    for frame in valid() {
        let full = whole(&frame).unwrap();
        for len in 0..frame.len() {
            match whole(&frame[..len]) {
                // ARP and other protocols have no length to run past.
                Ok(cut) => assert_eq!(cut.1, full.1, "{len} octets of {frame:02x?}"),
                Err(error) => assert_eq!(error, ParseError::Truncated, "{len} of {frame:02x?}"),
            }
            let is_ip = matches!(full.1, Frame::V4(_) | Frame::V6(_));
            assert!(
                !is_ip || whole(&frame[..len]).is_err(),
                "{len} octets of {frame:02x?}"
            );
        }
    }
}

#[test]
fn d13_a_frame_split_anywhere_parses_alike_or_asks_to_be_gathered() {
    for frame in valid() {
        let full = whole(&frame);
        for split in 0..=frame.len().min(128) {
            let first = parse(&frame[..split], frame.len());
            assert!(
                first == full || first == Err(ParseError::Split),
                "{split}: {frame:02x?}"
            );
        }
        let gathered = &frame[..frame.len().min(HEADERS_LEN_MAX)];
        assert_eq!(
            parse(gathered, frame.len()),
            full,
            "what Split asks for is enough"
        );
    }
}

#[test]
fn d13_the_longest_headers_fit_what_split_asks_for() {
    let chain = [
        extension(60, 128),
        extension(6, 128),
        tcp(5, SYN),
        vec![0; 64],
    ]
    .concat();
    let frame = ethernet(&[[0x88a8, 1], [0x8100, 2]], 0x86dd, &ipv6(60, &chain));
    assert_eq!(parse(&frame[..HEADERS_LEN_MAX], frame.len()), whole(&frame));
    assert!(whole(&frame).is_ok());
    assert_eq!(
        parse(&frame[..HEADERS_LEN_MAX - 1], frame.len()),
        Err(ParseError::Split)
    );
}

#[test]
fn d1_lengths_that_contradict_themselves_are_malformed() {
    let mut ihl = ipv4(&[], 0, 6, &tcp(5, SYN));
    ihl[0] = 0x44;
    assert_eq!(v4(&frame_v4(&ihl)), Err(ParseError::Malformed));
    let mut version = ipv4(&[], 0, 6, &tcp(5, SYN));
    version[0] = 0x65;
    assert_eq!(v4(&frame_v4(&version)), Err(ParseError::Malformed));
    let mut short = ipv4(&[], 0, 6, &tcp(5, SYN));
    short[2..4].copy_from_slice(&[0, 19]);
    assert_eq!(v4(&frame_v4(&short)), Err(ParseError::Malformed));
    for words in 0..5 {
        assert_eq!(
            v4(&frame_v4(&ipv4(&[], 0, 6, &tcp(words, SYN)))),
            Err(ParseError::Malformed)
        );
        assert_eq!(
            v6(&frame_v6(&ipv6(6, &tcp(words, SYN)))),
            Err(ParseError::Malformed)
        );
    }
    // Data Offset past the packet, though not past the frame.
    let mut segment = tcp(5, SYN);
    segment[12] = 0x60;
    let mut frame = frame_v4(&ipv4(&[], 0, 6, &segment));
    frame.resize(frame.len() + 20, 0);
    assert_eq!(v4(&frame), Err(ParseError::Truncated));
    let mut version = ipv6(6, &tcp(5, SYN));
    version[0] = 0x40;
    assert_eq!(v6(&frame_v6(&version)), Err(ParseError::Malformed));
}

#[test]
fn d1_udp_lengths_are_held_against_the_packet() {
    for len in [0, 7, 9, 0xffff] {
        let error = Some(ParseError::BadUdpLength);
        assert_eq!(
            v4(&frame_v4(&ipv4(&[], 0, 17, &udp(len)))).err(),
            error,
            "{len}"
        );
        assert_eq!(v6(&frame_v6(&ipv6(17, &udp(len)))).err(), error, "{len}");
        // Not against padding, which is no payload.
        let mut padded = frame_v4(&ipv4(&[], 0, 17, &udp(len)));
        padded.resize(60, 0);
        assert_eq!(v4(&padded).err(), error, "{len}");
    }
    let surplus = [udp(8), vec![0xa5; 8]].concat();
    assert!(v4(&frame_v4(&ipv4(&[], 0, 17, &surplus))).is_ok());
}

#[test]
fn d2_padding_is_cut_off_and_a_length_past_the_frame_is_truncation() {
    for mut frame in [
        frame_v4(&ipv4(&[], 0, 6, &tcp(5, SYN))),
        frame_v6(&ipv6(17, &udp(8))),
    ] {
        let bare = whole(&frame).unwrap();
        let end = frame.len();
        frame.resize(80, 0);
        assert_eq!(whole(&frame).unwrap(), bare);
        let found = match bare.1 {
            Frame::V4(parsed) => parsed.end,
            Frame::V6(parsed) => parsed.end,
            Frame::Arp | Frame::OtherEther(_) => 0,
        };
        assert_eq!(usize::from(found), end);
        assert_eq!(parse(&frame, end - 1), Err(ParseError::Truncated));
    }
}

#[test]
fn d2_a_jumbogram_is_named() {
    let jumbo = [vec![6, 0, 0xc2, 4, 0, 1, 0, 0], tcp(5, SYN)].concat();
    let mut packet = ipv6(0, &jumbo);
    packet[4..6].fill(0);
    assert_eq!(v6(&frame_v6(&packet)), Err(ParseError::Jumbogram));
}

#[test]
fn d3_a_wrong_header_checksum_is_refused_in_every_bit() {
    for packet in [
        ipv4(&[], 0, 6, &tcp(5, SYN)),
        ipv4(&[1; 4], 0, 6, &tcp(5, SYN)),
    ] {
        let header_len = packet.len() - 20;
        for octet in 8..header_len {
            for bit in 0..8 {
                let mut packet = packet.clone();
                packet[octet] ^= 1 << bit;
                assert_eq!(v4(&frame_v4(&packet)), Err(ParseError::BadIpChecksum));
            }
        }
    }
}

#[test]
fn d5_options_are_skipped_by_ihl_and_source_routes_are_refused() {
    let record_route = [7, 7, 4, 0, 0, 0, 0, 0];
    let parsed = v4(&frame_v4(&ipv4(&record_route, 0, 6, &tcp(5, SYN)))).unwrap();
    assert_eq!((parsed.l4, parsed.dport), (42, L4Port(80)));
    for kind in [131, 137] {
        let option = [1, kind, 7, 4, 10, 0, 0, 1];
        let frame = frame_v4(&ipv4(&option, 0, 6, &tcp(5, SYN)));
        assert_eq!(v4(&frame), Err(ParseError::SourceRoute), "{kind}");
    }
    // Behind the end of the list nothing is an option.
    assert!(v4(&frame_v4(&ipv4(&[0, 131, 3, 4], 0, 6, &tcp(5, SYN)))).is_ok());
    for broken in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
        let frame = frame_v4(&ipv4(&broken, 0, 6, &tcp(5, SYN)));
        assert_eq!(v4(&frame), Err(ParseError::Malformed), "{broken:?}");
    }
}

#[test]
fn d7_tags_are_read_and_vid_zero_is_none() {
    let packet = ipv4(&[], 0, 6, &tcp(5, SYN));
    let plain = v4(&frame_v4(&packet)).unwrap();
    type Case = (&'static [[u16; 2]], Option<u16>, Option<u16>);
    let cases: [Case; 6] = [
        (&[[0x8100, 0x0064]], Some(100), None),
        (&[[0x8100, 0xe064]], Some(100), None),
        (&[[0x8100, 0xe000]], None, None),
        (&[[0x88a8, 7], [0x8100, 100]], Some(7), Some(100)),
        (&[[0x8100, 0], [0x8100, 100]], Some(100), None),
        (&[[0x8100, 7], [0x8100, 0]], Some(7), None),
    ];
    for (tags, vlan, inner_vlan) in cases {
        let (link, frame) = whole(&ethernet(tags, 0x0800, &packet)).unwrap();
        let shift = u16::try_from(tags.len() * 4).unwrap();
        assert_eq!(
            (link.vlan, link.inner_vlan, link.l3),
            (vlan, inner_vlan, 14 + shift)
        );
        let moved = Parsed {
            l3: 14 + shift,
            l4: 34 + shift,
            end: plain.end + shift,
            ..plain
        };
        assert_eq!(frame, Frame::V4(moved), "{tags:x?}");
    }
    let three = ethernet(&[[0x88a8, 1], [0x8100, 2], [0x8100, 3]], 0x0800, &packet);
    assert_eq!(whole(&three), Err(ParseError::VlanDepth));
}

#[test]
fn d8_frames_with_a_length_are_llc() {
    for ether_type in [0, 3, 46, 1500, 1535] {
        let frame = ethernet(&[], ether_type, &[0x42, 0x42, 3, 0, 0]);
        assert_eq!(whole(&frame), Err(ParseError::LlcFrame));
        let frame = ethernet(&[[0x8100, 5]], ether_type, &[0x42, 0x42, 3, 0, 0]);
        assert_eq!(whole(&frame), Err(ParseError::LlcFrame));
    }
}

#[test]
fn arp_and_other_protocols_are_recognised_and_left_alone() {
    assert_eq!(whole(&ethernet(&[], 0x0806, &[])).unwrap().1, Frame::Arp);
    assert_eq!(
        whole(&ethernet(&[[0x8100, 9]], 0x0806, &[]))
            .unwrap()
            .0
            .vlan,
        Some(9)
    );
    let lldp = Frame::OtherEther(EtherType(0x88cc));
    assert_eq!(whole(&ethernet(&[], 0x88cc, &[])).unwrap().1, lldp);
}

#[test]
fn d12_bogus_flags_and_port_zero_parse_and_are_the_callers_to_refuse() {
    for flags in [0x00, 0x03, 0x29, 0x01, 0x06] {
        let parsed = v4(&frame_v4(&ipv4(&[], 0, 6, &tcp(5, flags)))).unwrap();
        assert!(parsed.tcp_flags.is_bogus(), "{:?}", parsed.tcp_flags);
    }
    let mut segment = tcp(5, SYN);
    segment[..4].fill(0);
    let parsed = v4(&frame_v4(&ipv4(&[], 0, 6, &segment))).unwrap();
    assert_eq!((parsed.sport, parsed.dport), (L4Port::NONE, L4Port::NONE));
}

#[test]
fn d14_a_jumbo_frame_parses_and_one_past_the_offsets_does_not() {
    let payload = [tcp(5, SYN), vec![0xa5; 8940]].concat();
    assert_eq!(
        v4(&frame_v4(&ipv4(&[], 0, 6, &payload))).unwrap().end,
        14 + 8980
    );
    let frame = hex(samples::TCP_V4_SYN);
    assert!(parse(&frame, LEN_MAX).is_ok());
    assert_eq!(parse(&frame, LEN_MAX + 1), Err(ParseError::Oversize));
}

#[test]
fn d15_protocols_without_ports_have_ports_zero() {
    for (protocol, len) in [
        (1, 8),
        (4, 20),
        (41, 40),
        (47, 4),
        (50, 8),
        (51, 24),
        (112, 8),
        (253, 0),
    ] {
        let payload: Vec<u8> = vec![0xa5; len];
        let parsed = v4(&frame_v4(&ipv4(&[], 0, protocol, &payload))).unwrap();
        assert_eq!(
            (parsed.sport, parsed.dport),
            (L4Port::NONE, L4Port::NONE),
            "{protocol}"
        );
        assert_eq!(parsed.protocol, Protocol(protocol));
    }
    let sctp = v4(&frame_v4(&ipv4(
        &[],
        0,
        132,
        &[0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0],
    )))
    .unwrap();
    assert_eq!((sctp.sport, sctp.dport), (L4Port(1), L4Port(2)));
    // No Next Header and ESP end an IPv6 chain.
    for protocol in [59, 50] {
        let parsed = v6(&frame_v6(&ipv6(protocol, &[0xa5; 8]))).unwrap();
        assert_eq!((parsed.protocol, parsed.l4), (Protocol(protocol), 54));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn d1_noise_never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), len in 0..300usize,
    ) {
        let _ = parse(&bytes, bytes.len());
        let _ = parse(&bytes, len);
    }

    /// Changes a few octets of a valid frame, repairs the IP checksum half of the time, and holds
    /// the straight line against the general path, and every offset against the frame.
    #[test]
    fn mutated_frames_parse_alike_on_both_paths(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        repair in any::<bool>(), cut in 0..4usize,
    ) {
        let frames = valid();
        let mut frame = which.get(&frames).clone();
        for (at, octet) in changes {
            let at = at.index(frame.len());
            frame[at] = octet;
        }
        if repair && frame.len() >= 34 {
            frame[24..26].fill(0);
            let sum = checksum::of(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.0);
        }
        frame.truncate(frame.len() - cut);
        let found = parse(&frame, frame.len());
        prop_assert_eq!(found, general::parse(&frame, frame.len()));
        let (l3, l4, end) = match found {
            Ok((_, Frame::V4(p))) => (p.l3, p.l4, p.end),
            Ok((_, Frame::V6(p))) => (p.l3, p.l4, p.end),
            Ok((_, Frame::Arp | Frame::OtherEther(_))) | Err(_) => return Ok(()),
        };
        prop_assert!(l3 < l4 && l4 <= end && usize::from(end) <= frame.len());
    }
}

/// Not a benchmark, only a guard against a slow path that has swallowed the fast one; prints what
/// it measures with `--release -- --nocapture`.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a stopwatch is what this test is"
)]
fn the_common_frame_takes_the_straight_line() {
    for (name, text) in [
        ("tcp4", samples::TCP_V4_ACK),
        ("udp4", samples::UDP_V4),
        ("tcp6", samples::TCP_V6_ACK),
    ] {
        let frame = hex(text);
        let plain = plain_v4(&frame, frame.len()).is_some();
        assert!(plain || plain_v6(&frame, frame.len()).is_some());
        const TURNS: u32 = 1_000_000;
        let start = std::time::Instant::now();
        for _ in 0..TURNS {
            let frame = core::hint::black_box(&frame[..]);
            let _ = core::hint::black_box(parse(frame, frame.len()));
        }
        let took: Duration = start.elapsed();
        println!(
            "{name}: {:.1} ns per frame",
            took.as_secs_f64() * 1e9 / f64::from(TURNS)
        );
    }
}
