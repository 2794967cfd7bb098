//! TCP headers, options and resets.

use core::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::parse::{Frame, parse};
use crate::samples::{self, ethernet, hex, ipv4, ipv6};

const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 5);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

fn recorded() -> Vec<u8> {
    hex(samples::TCP_V4_SYN).split_off(34)
}

fn is_valid(segment: &[u8]) -> bool {
    let len = u16::try_from(segment.len()).unwrap();
    Sum::pseudo(CLIENT, VIP, Protocol::TCP, len)
        .over(segment)
        .is_valid()
}

#[test]
fn a_recorded_syn_reads_as_what_it_is() {
    let segment = recorded();
    let (tcp, options, payload) = Tcp::parse(&segment).unwrap();
    assert_eq!((tcp.sport(), tcp.dport()), (L4Port(40001), L4Port(80)));
    assert_eq!((tcp.seq(), tcp.ack(), tcp.window()), (1000, 0, 64240));
    assert_eq!(
        (tcp.header_len(), options.len(), payload.len()),
        (40, 20, 0)
    );
    assert_eq!(
        (tcp.flags(), tcp.checksum()),
        (TcpFlags::SYN, Checksum([0xed, 0x6d]))
    );
    assert_eq!(mss(&segment), Some(1460));
    assert!(is_valid(&segment));
}

#[test]
fn d1_every_truncation_is_an_error_and_offsets_under_5_are_malformed() {
    let segment = recorded();
    for len in 0..segment.len() {
        assert_eq!(
            Tcp::parse(&segment[..len]).err(),
            Some(ParseError::Truncated),
            "{len}"
        );
        assert_eq!(mss(&segment[..len]), None);
        assert!(!clamp_mss(&mut segment[..len].to_vec(), 1));
        assert_eq!(
            TcpMut::parse(&mut segment[..len].to_vec()).is_ok(),
            len >= 20
        );
    }
    for words in 0..5 {
        let segment = samples::tcp(words, 2);
        assert_eq!(Tcp::parse(&segment).err(), Some(ParseError::Malformed));
    }
}

#[test]
fn d34_a_translated_segment_is_what_linux_ipvs_sent() {
    // Recorded: nat-tcp, 10.9.9.9:80 becomes 10.1.0.12:8080.
    let rip = Ipv4Addr::new(10, 1, 0, 12);
    let mut segment = hex("9c410050000003e8000000005002faf055510000");
    let delta = Delta::new().replace_addr(VIP, rip).replace_u16(80, 8080);
    let mut tcp = TcpMut::parse(&mut segment).unwrap();
    tcp.set_ports(L4Port(40001), L4Port(8080), delta);
    assert_eq!(segment, hex("9c411f90000003e8000000005002faf03f160000"));
}

#[test]
fn d34_a_translated_ipv6_segment_is_what_linux_ipvs_sent() {
    // Recorded: v6-nat, [fd00:9::9]:80 becomes [fd00:1::12]:8080.
    let vip: Ipv6Addr = "fd00:9::9".parse().unwrap();
    let delta = Delta::new()
        .replace_addr(vip, "fd00:1::12".parse().unwrap())
        .replace_u16(80, 8080);
    let mut segment = hex(samples::TCP_V6_ACK).split_off(54);
    let mut tcp = TcpMut::parse(&mut segment).unwrap();
    tcp.set_ports(L4Port(40001), L4Port(8080), delta);
    assert_eq!(segment, hex("9c411f90000003e9000013895010faf0b6ce0000"));
}

#[test]
fn a_clamped_mss_keeps_the_checksum_at_even_and_odd_places() {
    for pad in [&[][..], &[1], &[1, 1]] {
        let mut segment = hex("9c410050000003e8000000007002faf000000000");
        segment.extend(pad);
        segment.extend([2, 4, 0x05, 0xb4]);
        segment.resize(28, 0);
        let sum = Sum::pseudo(CLIENT, VIP, Protocol::TCP, 28)
            .over(&segment)
            .finish();
        segment[16..18].copy_from_slice(&sum.0);
        assert!(!clamp_mss(&mut segment, 1460), "not larger than the limit");
        assert!(clamp_mss(&mut segment, 1240));
        assert_eq!(mss(&segment), Some(1240));
        assert!(is_valid(&segment), "{pad:?}");
    }
}

#[test]
fn options_that_cannot_be_read_hide_the_mss() {
    for options in [
        [1, 1, 2, 4],
        [3, 0, 2, 4],
        [3, 9, 2, 4],
        [0, 2, 4, 5],
        [2, 3, 1, 1],
    ] {
        let mut segment = samples::tcp(6, 2);
        segment[20..].copy_from_slice(&options);
        assert_eq!(mss(&segment), None, "{options:?}");
    }
}

#[test]
fn d12_exactly_the_flags_that_no_sender_sets_are_bogus() {
    let bogus = [
        0x00,
        0x01,
        0x03,
        0x06,
        0x08,
        0x20,
        0x29,
        0x3f,
        0x28,
        0x07,
        0x12 | 1,
        0x05,
    ];
    let sane = [
        0x02, 0x12, 0x10, 0x18, 0x11, 0x19, 0x04, 0x14, 0x38, 0xc2, 0x52, 0x15,
    ];
    for flags in bogus {
        assert!(TcpFlags(flags).is_bogus(), "{:?}", TcpFlags(flags));
    }
    for flags in sane {
        assert!(!TcpFlags(flags).is_bogus(), "{:?}", TcpFlags(flags));
    }
    // ECN and PSH, URG decide nothing.
    for flags in 0..=255u8 {
        let bare = TcpFlags(flags & 0x17);
        assert_eq!(TcpFlags(flags).is_bogus(), bare.is_bogus());
        assert_eq!(TcpFlags(flags).is_syn(), bare == TcpFlags::SYN);
    }
    assert_eq!(
        format!("{:?} {:?}", TcpFlags(0x12), TcpFlags::NONE),
        "SYN|ACK none"
    );
}

fn reset_of(segment: &[u8]) -> Option<Vec<u8>> {
    let frame = ethernet(&[], 0x0800, &ipv4(&[], 0, 6, segment));
    let Ok((_, Frame::V4(parsed))) = parse(&frame, frame.len()) else {
        panic!("parses")
    };
    let mut out = [0xa5; 20];
    emit_reset(&mut out, &frame, &parsed).map(|()| out.to_vec())
}

#[test]
fn d41_resets_follow_the_acknowledgment_or_the_length() {
    let segment = |flags, payload: &[u8]| {
        let mut segment = samples::tcp(5, flags);
        segment[8..12].copy_from_slice(&7777u32.to_be_bytes());
        segment.extend(payload);
        segment
    };
    let read = |out: &[u8]| {
        let (tcp, ..) = Tcp::parse(out)
            .map(|(tcp, a, b)| (tcp, a.len(), b.len()))
            .unwrap();
        assert_eq!(
            (tcp.sport(), tcp.dport(), tcp.window()),
            (L4Port(80), L4Port(40001), 0)
        );
        assert!(
            Sum::pseudo(VIP, CLIENT, Protocol::TCP, 20)
                .over(out)
                .is_valid()
        );
        (tcp.seq(), tcp.ack(), tcp.flags())
    };
    let rst_ack = TcpFlags::RST.union(TcpFlags::ACK);
    // <SEQ=SEG.ACK><CTL=RST>
    let out = reset_of(&segment(0x10, b"data")).unwrap();
    assert_eq!(read(&out), (7777, 0, TcpFlags::RST));
    assert_eq!(
        read(&reset_of(&segment(0x12, b"")).unwrap()),
        (7777, 0, TcpFlags::RST)
    );
    // <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>; SYN and FIN count one each.
    assert_eq!(
        read(&reset_of(&segment(0x02, b"")).unwrap()),
        (0, 1001, rst_ack)
    );
    assert_eq!(
        read(&reset_of(&segment(0x02, b"data")).unwrap()),
        (0, 1005, rst_ack)
    );
    assert_eq!(
        read(&reset_of(&segment(0x01, b"x")).unwrap()),
        (0, 1002, rst_ack)
    );
    let mut last = segment(0x02, b"");
    last[4..8].fill(0xff);
    assert_eq!(read(&reset_of(&last).unwrap()), (0, 0, rst_ack));
    // Options are not payload.
    assert_eq!(
        read(&reset_of(&samples::tcp(8, 0x02)).unwrap()),
        (0, 1001, rst_ack)
    );
}

#[test]
fn d41_a_reset_is_never_answered_with_a_reset() {
    assert_eq!(reset_of(&samples::tcp(5, 0x04)), None);
    assert_eq!(reset_of(&samples::tcp(5, 0x14)), None);
}

#[test]
fn d39_fragments_and_other_protocols_get_no_reset() {
    let packets = [
        ipv4(&[], 0x2000, 6, &[samples::tcp(5, 2), vec![0; 4]].concat()),
        ipv4(&[], 0x0003, 6, &samples::tcp(5, 2)),
        ipv4(&[], 0, 17, &samples::udp(8)),
    ];
    for packet in packets {
        let frame = ethernet(&[], 0x0800, &packet);
        let Ok((_, Frame::V4(parsed))) = parse(&frame, frame.len()) else {
            panic!("parses")
        };
        let mut out = [0xa5; 20];
        assert_eq!(emit_reset(&mut out, &frame, &parsed), None);
        assert_eq!(out, [0xa5; 20], "nothing is written");
    }
    let frame = ethernet(&[], 0x86dd, &ipv6(6, &samples::tcp(5, 2)));
    let Ok((_, Frame::V6(parsed))) = parse(&frame, frame.len()) else {
        panic!("parses")
    };
    assert!(emit_reset(&mut [0; 20], &frame, &parsed).is_some());
    assert_eq!(
        emit_reset(&mut [0; 20], &frame[..60], &parsed),
        None,
        "not the whole header"
    );
}

proptest! {
    #[test]
    fn option_noise_never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..80), max in any::<u16>(),
    ) {
        let mut bytes = bytes;
        let before = mss(&bytes);
        if clamp_mss(&mut bytes, max) {
            prop_assert!(before > Some(max) && mss(&bytes) == Some(max));
        }
    }
}
