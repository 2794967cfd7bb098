//! `weir-wire` on arbitrary frames: nothing reads past the end, offsets are in order, a segmented
//! frame gives what the whole one gives (D13), and everything that is emitted parses again.

use core::net::{Ipv4Addr, Ipv6Addr};

use weir_wire::addr::{Address, L4Port};
use weir_wire::icmp::{self, Report};
use weir_wire::parse::{Frame, Link, Parsed, parse as parse_frame};
use weir_wire::quoted::{self, Endpoints, Quoted};
use weir_wire::{ParseError, icmpv6, reply, tcp};

use super::generate;
use super::source::Source;
use crate::frames;

const ETHERNET_LEN: usize = 14;

/// Parses frames of `octets`, and makes all that can be made from them.
///
/// # Panics
/// If a promise of weir-wire is broken.
pub fn parse(octets: &[u8]) {
    let mut source = Source::new(octets);
    let (first_len, room) = (usize::from(source.word()), usize::from(source.word()));
    match source.below(3) {
        0 => judge_frame(source.rest(), first_len, room),
        1 => {
            let mut frame = source.rest().to_vec();
            generate::mend(&mut frame);
            judge_frame(&frame, first_len, room);
        }
        _ => {
            for frame in generate::frames_of(&mut source).1 {
                judge_frame(&frame.bytes(), first_len, room);
            }
        }
    }
}

fn judge_frame(frame: &[u8], first_len: usize, room: usize) {
    let whole = parse_frame(frame, frame.len());
    let first = &frame[..first_len.min(frame.len())];
    let part = parse_frame(first, frame.len());
    assert!(
        part == whole || part == Err(ParseError::Split),
        "{part:?} and {whole:?}"
    );
    let Ok((link, parsed)) = whole else { return };
    match parsed {
        Frame::V4(packet) => {
            bounds(&link, &packet, frame);
            answers_v4(frame, &packet, room);
        }
        Frame::V6(packet) => {
            bounds(&link, &packet, frame);
            answers_v6(frame, &packet, room);
        }
        Frame::Arp | Frame::OtherEther(_) => {}
    }
    let l4 = match parsed {
        Frame::V4(Parsed { l4, .. }) | Frame::V6(Parsed { l4, .. }) => usize::from(l4),
        Frame::Arp | Frame::OtherEther(_) => return,
    };
    let mut segment = frame[l4..].to_vec();
    let before = tcp::mss(&segment);
    let clamped = tcp::clamp_mss(&mut segment, 1200);
    assert_eq!(clamped, before.is_some_and(|mss| mss > 1200));
    assert!(tcp::mss(&segment).is_none_or(|mss| mss <= 1200));
}

/// Offsets lie in the frame and in order.
fn bounds<A>(link: &Link, packet: &Parsed<A>, frame: &[u8]) {
    let (l3, l4, end) = (packet.l3.into(), packet.l4.into(), packet.end.into());
    assert!(ETHERNET_LEN <= l3 && l3 < l4 && l4 <= end && end <= frame.len());
    assert_eq!(usize::from(link.l3), l3);
    let fragment_header = usize::from(packet.fragment_header);
    assert!(fragment_header == 0 || (l3 < fragment_header && fragment_header < l4));
}

fn reports(mtu: u16) -> [Report; 3] {
    [
        Report::PortUnreachable,
        Report::TtlExpired,
        Report::TooBig { mtu: mtu.into() },
    ]
}

/// What was emitted is a right packet, and parses.
fn judge(packet: &[u8]) {
    assert_eq!(frames::check_ip(packet), Ok(()));
    assert_ne!(frames::l4_sum_is_right(packet), Some(false));
    let macs = weir_wire::addr::MacAddr([2, 0, 0, 0, 0, 1]);
    let frame = frames::ethernet(macs, macs, packet);
    assert!(parse_frame(&frame, frame.len()).is_ok());
}

fn answers_v4(frame: &[u8], packet: &Parsed<Ipv4Addr>, room: usize) {
    let (l3, end) = (usize::from(packet.l3), usize::from(packet.end));
    let mut out = vec![0xa5; room.min(2048)];
    if let Some(len) = reply::reset_v4(&mut out, frame, packet) {
        judge(&out[..len]);
    }
    let from = Ipv4Addr::new(192, 0, 2, 1);
    for report in reports(packet.end) {
        let reportable = icmp::is_reportable(frame, packet);
        let written = icmp::emit_error(&mut out, from, &frame[l3..end], report, packet.l4);
        if let Some(len) = written.filter(|_| reportable) {
            judge(&out[..len]);
        }
    }
    let mut echo = frame[l3..end].to_vec();
    if icmp::echo_reply(&mut echo).is_ok() {
        assert_eq!(frames::check_ip(&echo), Ok(()));
        let before = frames::l4_sum_is_right(&frame[l3..end]);
        assert_eq!(
            frames::l4_sum_is_right(&echo),
            before,
            "a wrong sum stays wrong (D4)"
        );
    }
    if let Ok(about) = quoted::parse_v4(frame, usize::from(packet.l4) + 8, end) {
        quote(frame, packet, &about, Ipv4Addr::new(198, 51, 100, 7));
    }
}

fn answers_v6(frame: &[u8], packet: &Parsed<Ipv6Addr>, room: usize) {
    let (l3, end) = (usize::from(packet.l3), usize::from(packet.end));
    let mut out = vec![0xa5; room.min(2048)];
    if let Some(len) = reply::reset_v6(&mut out, frame, packet) {
        judge(&out[..len]);
    }
    let from = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    for report in reports(packet.end) {
        let reportable = icmp::is_reportable(frame, packet);
        let written = icmpv6::emit_error(&mut out, from, &frame[l3..end], report);
        if let Some(len) = written.filter(|_| reportable) {
            judge(&out[..len]);
        }
    }
    let mut echo = frame[l3..end].to_vec();
    if icmpv6::echo_reply(&mut echo).is_ok() {
        assert_eq!(frames::check_ip(&echo), Ok(()));
    }
    if let Ok(about) = quoted::parse_v6(frame, usize::from(packet.l4) + 8, end) {
        quote(
            frame,
            packet,
            &about,
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7),
        );
    }
}

/// A quote is rewritten in place and there alone, and the ICMP sum follows.
fn quote<A: Address>(frame: &[u8], packet: &Parsed<A>, about: &Quoted<A>, new: A) {
    let mut rewritten = frame.to_vec();
    let to = Endpoints {
        src: about.src,
        sport: about.sport,
        dst: new,
        dport: L4Port(about.dport.0 ^ 1),
    };
    let Some(delta) = quoted::rewrite(&mut rewritten, about, &to) else {
        panic!("the quote came from this frame")
    };
    let l4 = usize::from(packet.l4);
    assert!(icmp::update_checksum(&mut rewritten, l4, delta));
    assert_eq!(rewritten[..l4], frame[..l4]);
    assert_eq!(rewritten[l4 + 4..l4 + 8], frame[l4 + 4..l4 + 8]);
    assert_eq!(rewritten[packet.end.into()..], frame[packet.end.into()..]);
}
