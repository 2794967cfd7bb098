//! ICMP messages and answers against what Linux sent.

use super::*;
use crate::parse::{Frame, parse};
use crate::samples::{self, ethernet, hex, ipv4};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

fn message(kind: u8, code: u8, rest: [u8; 4]) -> Message {
    let [a, b, c, d] = rest;
    Icmp::parse(&[kind, code, 0, 0, a, b, c, d])
        .unwrap()
        .0
        .message()
}

#[test]
fn messages_are_told_apart() {
    assert_eq!(message(8, 0, [0; 4]), Message::EchoRequest);
    assert_eq!(message(0, 0, [0; 4]), Message::EchoReply);
    assert_eq!(message(5, 1, [0; 4]), Message::Redirect);
    assert_eq!(message(4, 0, [0; 4]), Message::Other, "source quench");
    assert_eq!(message(13, 0, [0; 4]), Message::Other);
    assert_eq!(message(11, 1, [0; 4]), Message::Error(Cause::TimeExceeded));
    assert_eq!(
        message(12, 0, [0; 4]),
        Message::Error(Cause::ParameterProblem)
    );
    for code in (0..16).filter(|code| *code != 4) {
        assert_eq!(
            message(3, code, [0, 0, 5, 0]),
            Message::Error(Cause::Unreachable)
        );
    }
    let too_big = Message::Error(Cause::TooBig { mtu: 0x0578 });
    assert_eq!(
        message(3, 4, [0xff, 0xff, 0x05, 0x78]),
        too_big,
        "the unused half is ignored"
    );
}

#[test]
fn d1_fewer_than_8_octets_are_no_message() {
    let frame = hex(samples::ECHO_V4);
    for len in 0..8 {
        assert_eq!(
            Icmp::parse(&frame[34..34 + len]).err(),
            Some(ParseError::Truncated)
        );
    }
    let (icmp, payload) = Icmp::parse(&frame[34..]).unwrap();
    assert_eq!(
        (icmp.kind(), icmp.code(), icmp.checksum()),
        (8, 0, Checksum([0xc8, 0x91]))
    );
    assert_eq!((icmp.echo_id(), icmp.echo_seq(), payload.len()), (1, 1, 56));
}

#[test]
fn d41_an_echo_reply_is_what_linux_sent_but_for_id_and_df() {
    // Recorded: nat-icmp. Linux takes a fresh id, clears DF, and so has another header checksum.
    let recorded = hex("45000054da6f00004001e1120a090909ac1000050000d0910001000170696e67");
    let mut packet = hex(samples::ECHO_V4).split_off(14);
    echo_reply(&mut packet).unwrap();
    for (at, octet) in recorded.iter().enumerate() {
        let differs = (4..8).contains(&at) || (10..12).contains(&at);
        assert!(differs || packet[at] == *octet, "octet {at}");
    }
    assert!(checksum::is_valid(&packet[..20]) && checksum::is_valid(&packet[20..]));
    assert_eq!(
        packet[28..],
        hex(samples::ECHO_V4)[42..],
        "the payload comes back"
    );
}

#[test]
fn d41_an_echo_with_options_is_answered_with_blank_ones() {
    let mut request = hex(samples::ECHO_V4).split_off(34);
    request.truncate(12);
    request[2..4].fill(0);
    let sum = checksum::of(&request);
    request[2..4].copy_from_slice(&sum.0);
    let mut packet = ipv4(&[7, 7, 4, 0, 0, 0, 0, 0], 0, 1, &request);
    echo_reply(&mut packet).unwrap();
    assert_eq!(packet[20..28], [0; 8]);
    assert!(checksum::is_valid(&packet[..28]) && checksum::is_valid(&packet[28..]));
}

#[test]
fn d4_a_broken_echo_gets_a_broken_reply() {
    let mut packet = hex(samples::ECHO_V4).split_off(14);
    packet[22] ^= 0x40;
    echo_reply(&mut packet).unwrap();
    assert!(!checksum::is_valid(&packet[20..]));
}

#[test]
fn what_is_no_whole_echo_request_is_not_answered_and_not_changed() {
    let request = hex(samples::ECHO_V4).split_off(14);
    for len in 0..28 {
        let mut cut = request[..len].to_vec();
        assert_eq!(echo_reply(&mut cut), Err(ParseError::Truncated), "{len}");
        assert_eq!(cut, request[..len]);
    }
    let others = [
        hex(samples::UDP_V4).split_off(14),
        hex(samples::FRAG_NEEDED_V4).split_off(14),
        ipv4(&[], 0x2000, 1, &[8, 0, 0, 0, 0, 0, 0, 0]),
        ipv4(&[], 0x0003, 1, &[8, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for packet in others {
        let mut answer = packet.clone();
        assert_eq!(echo_reply(&mut answer), Err(ParseError::Malformed));
        assert_eq!(answer, packet);
    }
}

#[test]
fn d41_a_port_unreachable_is_what_linux_sent() {
    // Recorded: edge-nosvc, about a SYN to a service without servers.
    let about =
        hex("450000280000400040067ba9ac1000050a0909099c410051000003e8000000005002faf055500000");
    let sent = hex(
        "45c00044be4500004001fc8c0a090909ac1000050303bc3e00000000450000280000400040067ba9ac1000050a\
        0909099c410051000003e8000000005002faf055500000",
    );
    let mut out = [0xa5; 100];
    let len = emit_error(&mut out, VIP, &about, Report::PortUnreachable, 0xbe45).unwrap();
    assert_eq!(out[..len], sent);
    assert_eq!(out[len..], [0xa5; 32]);
}

#[test]
fn d38_a_frag_needed_quotes_up_to_576_octets_like_linux() {
    // Recorded: tun-ipip, MTU 1480, about a segment of 1481 octets full of 'a'.
    let mut about =
        hex("450005c9000040003f067708ac1000050a0909099c410050000003e9000000015010faf00cbe0000");
    about.resize(1481, b'a');
    let head =
        hex("45c00240d0a300004001e8320a090909ac1000050304605a000005c8450005c9000040003f067708");
    let mut out = [0xa5; 1500];
    let len = emit_error(&mut out, VIP, &about, Report::TooBig { mtu: 1480 }, 0xd0a3).unwrap();
    assert_eq!((len, &out[..40]), (576, &head[..]));
    assert!(checksum::is_valid(&out[..20]) && checksum::is_valid(&out[20..576]));
    assert_eq!(out[6..8], [0, 0], "no fragment offset, no DF");
    assert_eq!(out[576..], [0xa5; 1500 - 576]);
}

#[test]
fn every_report_reads_back_as_its_cause() {
    let about = hex(samples::UDP_V4).split_off(14);
    let reports = [
        (Report::PortUnreachable, 3, 3, Cause::Unreachable),
        (Report::HostUnreachable, 3, 1, Cause::Unreachable),
        (Report::Prohibited, 3, 13, Cause::Unreachable),
        (Report::TtlExpired, 11, 0, Cause::TimeExceeded),
        (
            Report::TooBig { mtu: 1400 },
            3,
            4,
            Cause::TooBig { mtu: 1400 },
        ),
    ];
    for (report, kind, code, cause) in reports {
        let mut out = [0xa5; 58];
        assert_eq!(emit_error(&mut out, VIP, &about, report, 7), Some(58));
        let icmp = Icmp::parse(&out[20..]).unwrap().0;
        assert_eq!((icmp.kind(), icmp.code()), (kind, code));
        assert_eq!(icmp.message(), Message::Error(cause));
        assert!(checksum::is_valid(&out[..20]) && checksum::is_valid(&out[20..]));
        let mut short = [0xa5; 57];
        assert_eq!(emit_error(&mut short, VIP, &about, report, 7), None);
        assert_eq!(short, [0xa5; 57]);
    }
    for len in 0..20 {
        assert_eq!(
            emit_error(&mut [0; 99], VIP, &about[..len], Report::TtlExpired, 7),
            None
        );
    }
}

fn reportable(packet: &[u8]) -> bool {
    let frame = ethernet(&[], 0x0800, packet);
    let Ok((_, Frame::V4(parsed))) = parse(&frame, frame.len()) else {
        panic!("parses")
    };
    is_reportable(&frame, &parsed)
}

#[test]
fn d39_no_errors_about_errors_later_fragments_multicast_and_martians() {
    let udp = samples::udp(8);
    assert!(reportable(&ipv4(&[], 0, 17, &udp)));
    assert!(reportable(&ipv4(&[], 0x2000, 17, &udp)), "a first fragment");
    assert!(!reportable(&ipv4(&[], 0x0001, 17, &udp)));
    for (kind, fine) in [
        (8, true),
        (0, true),
        (3, false),
        (11, false),
        (12, false),
        (5, false),
        (4, false),
    ] {
        assert_eq!(
            reportable(&ipv4(&[], 0, 1, &[kind, 0, 0, 0, 0, 0, 0, 0])),
            fine,
            "{kind}"
        );
    }
    let with = |at: usize, addr: [u8; 4]| {
        let mut packet = ipv4(&[], 0, 17, &udp);
        packet[at..at + 4].copy_from_slice(&addr);
        packet[10..12].fill(0);
        let sum = checksum::of(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.0);
        packet
    };
    for addr in [
        [0, 0, 0, 0],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [255, 255, 255, 255],
    ] {
        assert!(!reportable(&with(12, addr)), "from {addr:?}");
    }
    for addr in [[224, 0, 0, 18], [255, 255, 255, 255]] {
        assert!(!reportable(&with(16, addr)), "to {addr:?}");
    }
}
