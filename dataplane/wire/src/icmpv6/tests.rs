//! ICMPv6 messages and answers.

use super::*;
use crate::parse::{Frame, parse};
use crate::samples::{self, ethernet, hex, ipv6};

fn addr(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn is_valid(packet: &[u8]) -> bool {
    let (ip, message) = Ipv6::parse(packet).unwrap();
    let len = u16::try_from(message.len()).unwrap();
    Sum::pseudo(ip.src(), ip.dst(), Protocol::ICMPV6, len)
        .over(message)
        .is_valid()
}

fn echo_request() -> Vec<u8> {
    let mut message = hex("8000000000010007");
    message.extend(b"ping!");
    let len = u16::try_from(message.len()).unwrap();
    let (src, dst) = (addr("2001:db8::5"), addr("fd00:9::9"));
    let sum = Sum::pseudo(src, dst, Protocol::ICMPV6, len)
        .over(&message)
        .finish();
    message[2..4].copy_from_slice(&sum.0);
    ipv6(58, &message)
}

#[test]
fn messages_are_told_apart() {
    let of = |kind: u8| {
        Icmpv6::parse(&[kind, 0, 0, 0, 0, 0, 5, 0])
            .unwrap()
            .0
            .message()
    };
    assert_eq!(of(1), Message::Error(Cause::Unreachable));
    assert_eq!(of(2), Message::Error(Cause::TooBig { mtu: 1280 }));
    assert_eq!(of(3), Message::Error(Cause::TimeExceeded));
    assert_eq!(of(4), Message::Error(Cause::ParameterProblem));
    assert_eq!(
        (of(128), of(129)),
        (Message::EchoRequest, Message::EchoReply)
    );
    for kind in 133..=136 {
        assert_eq!(of(kind), Message::Discovery);
    }
    assert_eq!(of(137), Message::Redirect);
    for kind in [130, 131, 132, 143] {
        assert_eq!(of(kind), Message::Listener);
    }
    for kind in [0, 5, 100, 127, 138, 255] {
        assert_eq!(of(kind), Message::Other);
    }
    let (icmp, payload) = Icmpv6::parse(&[1, 4, 0xab, 0xcd, 0, 0, 0, 0, 9]).unwrap();
    assert_eq!((icmp.kind(), icmp.code(), payload), (1, 4, &[9][..]));
    assert_eq!(icmp.checksum(), Checksum([0xab, 0xcd]));
    assert_eq!(Icmpv6::parse(&[1; 7]).err(), Some(ParseError::Truncated));
}

#[test]
fn d20_d41_an_echo_reply_has_a_right_checksum() {
    let request = echo_request();
    assert!(is_valid(&request));
    let mut reply = request.clone();
    echo_reply(&mut reply).unwrap();
    assert!(is_valid(&reply));
    let (ip, message) = Ipv6::parse(&reply).unwrap();
    assert_eq!(
        (ip.src(), ip.dst()),
        (addr("fd00:9::9"), addr("2001:db8::5"))
    );
    assert_eq!(
        (ip.hop_limit(), message[0], &message[8..]),
        (64, 129, &b"ping!"[..])
    );
    let mut broken = request;
    broken[42] ^= 1;
    echo_reply(&mut broken).unwrap();
    assert!(!is_valid(&broken), "a wrong checksum is not repaired");
}

#[test]
fn what_is_no_echo_request_is_not_answered_and_not_changed() {
    let request = echo_request();
    for len in 0..48 {
        let mut cut = request[..len].to_vec();
        assert_eq!(echo_reply(&mut cut), Err(ParseError::Truncated), "{len}");
        assert_eq!(cut, request[..len]);
    }
    let tcp = hex(samples::TCP_V6_SYN).split_off(14);
    let hidden = ipv6(
        60,
        &[samples::extension(58, 8), hex("8000000000010007")].concat(),
    );
    for packet in [tcp, hidden, ipv6(58, &hex("8100000000010007"))] {
        let mut answer = packet.clone();
        assert_eq!(echo_reply(&mut answer), Err(ParseError::Malformed));
        assert_eq!(answer, packet);
    }
}

#[test]
fn d38_a_packet_too_big_quotes_up_to_1280_octets() {
    let about = ipv6(17, &[samples::udp(1460), vec![0x5a; 1452]].concat());
    let mut out = [0xa5; 1500];
    let report = Report::TooBig { mtu: 1460 };
    let len = emit_error(&mut out, addr("fd00:9::9"), &about, report).unwrap();
    assert_eq!(len, 1280);
    assert!(is_valid(&out[..len]));
    assert_eq!(out[48..len], about[..1232]);
    assert_eq!(out[len..], [0xa5; 220]);
    let (icmp, _) = Icmpv6::parse(&out[40..]).unwrap();
    assert_eq!(icmp.message(), Message::Error(Cause::TooBig { mtu: 1460 }));
}

#[test]
fn every_report_reads_back_as_its_cause() {
    let about = hex(samples::TCP_V6_ACK).split_off(14);
    let reports = [
        (Report::PortUnreachable, 1, 4, Cause::Unreachable),
        (Report::HostUnreachable, 1, 3, Cause::Unreachable),
        (Report::Prohibited, 1, 1, Cause::Unreachable),
        (Report::TtlExpired, 3, 0, Cause::TimeExceeded),
        (
            Report::TooBig { mtu: 70_000 },
            2,
            0,
            Cause::TooBig { mtu: 70_000 },
        ),
    ];
    for (report, kind, code, cause) in reports {
        let mut out = [0xa5; 108];
        assert_eq!(
            emit_error(&mut out, addr("fd00:9::9"), &about, report),
            Some(108)
        );
        let (ip, message) = Ipv6::parse(&out).unwrap();
        assert_eq!(
            (ip.src(), ip.dst()),
            (addr("fd00:9::9"), addr("2001:db8::5"))
        );
        assert_eq!((message[0], message[1]), (kind, code));
        assert_eq!(
            Icmpv6::parse(message).unwrap().0.message(),
            Message::Error(cause)
        );
        assert_eq!(message[8..], about);
        assert!(is_valid(&out));
        let mut short = [0xa5; 107];
        assert_eq!(emit_error(&mut short, addr("::2"), &about, report), None);
        assert_eq!(short, [0xa5; 107]);
    }
}

#[test]
fn d39_no_errors_about_errors_and_discovery() {
    for (kind, fine) in [
        (128, true),
        (129, true),
        (1, false),
        (2, false),
        (135, false),
        (137, false),
        (143, false),
    ] {
        let frame = ethernet(&[], 0x86dd, &ipv6(58, &[kind, 0, 0, 0, 0, 0, 0, 0]));
        let Ok((_, Frame::V6(parsed))) = parse(&frame, frame.len()) else {
            panic!("parses")
        };
        assert_eq!(icmp::is_reportable(&frame, &parsed), fine, "{kind}");
    }
}
