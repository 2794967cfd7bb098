//! Resets against what Linux sent.

use super::*;
use crate::ParseError;
use crate::checksum::{self, Sum};
use crate::ipv6::Ipv6;
use crate::parse::{Frame, Link, parse};
use crate::samples::{self, hex};

fn read(frame: &[u8]) -> Result<(Link, Frame), ParseError> {
    parse(frame, frame.len())
}

#[test]
fn d41_a_reset_is_what_linux_sent() {
    // Recorded: edge-nosvc, a SYN to an unserved port, and an ACK without a flow.
    let cases = [
        (
            samples::TCP_V4_UNSERVED,
            "450000280000400040067ba90a090909ac100005270f9c4100000000000003e95014000029700000",
        ),
        (
            samples::TCP_V4_ACK,
            "450000280000400040067ba90a090909ac10000500509c4100000063000000005004000053c50000",
        ),
    ];
    for (segment, sent) in cases {
        let frame = hex(segment);
        let Ok((_, Frame::V4(parsed))) = read(&frame) else {
            panic!("parses")
        };
        let mut out = [0xa5; 44];
        assert_eq!(reset_v4(&mut out, &frame, &parsed), Some(RESET_V4_LEN));
        assert_eq!(out[..40], hex(sent));
        assert_eq!(out[40..], [0xa5; 4]);
        assert!(checksum::is_valid(&out[..20]));
        assert_eq!(reset_v4(&mut out[..39], &frame, &parsed), None);
    }
}

#[test]
fn d41_an_ipv6_reset_answers_from_the_vip() {
    let frame = hex(samples::TCP_V6_SYN);
    let Ok((_, Frame::V6(parsed))) = read(&frame) else {
        panic!("parses")
    };
    let mut out = [0xa5; 64];
    assert_eq!(reset_v6(&mut out, &frame, &parsed), Some(RESET_V6_LEN));
    let (ip, segment) = Ipv6::parse(&out).unwrap();
    assert_eq!(
        (ip.src(), ip.dst(), ip.hop_limit()),
        (parsed.dst, parsed.src, 64)
    );
    assert!(
        Sum::pseudo(ip.src(), ip.dst(), Protocol::TCP, 20)
            .over(segment)
            .is_valid()
    );
    let (tcp, ..) = tcp::Tcp::parse(segment).unwrap();
    assert_eq!(
        (tcp.sport(), tcp.dport(), tcp.ack()),
        (parsed.dport, parsed.sport, 1001)
    );
    assert_eq!(out[60..], [0xa5; 4]);
    assert_eq!(reset_v6(&mut out[..59], &frame, &parsed), None);
}
