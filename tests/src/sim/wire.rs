//! Frames of hosts, and what of frames the judge and the hosts look at: octet by octet, so that
//! the code under test has no part in it. RFC 826, RFC 4861, RFC 9568 §5, RFC 3768 §5.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use weir_wire::addr::MacAddr;

use crate::frames::{self, Ip};

/// The UDP port that clients knock at.
pub(super) const PORT: u16 = 53;
/// Octets before the payload of a UDP datagram of a client: Ethernet, IP, UDP.
const DATA_AT_V4: usize = 14 + 20 + 8;
const DATA_AT_V6: usize = 14 + 40 + 8;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A VRRP advert.
    Advert {
        id: u8,
        is_v4: bool,
        priority: u8,
        interval: Duration,
    },
    /// "`address` is at `mac`": an ARP answer or announcement, or a neighbour advertisement.
    Claim {
        address: IpAddr,
        mac: MacAddr,
        /// Nobody asked.
        gratuitous: bool,
    },
    /// "Who has `target`?"
    Question {
        target: IpAddr,
        asker: (MacAddr, IpAddr),
    },
    /// A client's datagram, by its number.
    Datagram { to: IpAddr, number: u64 },
    /// Anything else.
    Other,
}

fn mac_at(frame: &[u8], at: usize) -> Option<MacAddr> {
    frame.get(at..)?.first_chunk().map(|mac| MacAddr(*mac))
}

fn v4_at(frame: &[u8], at: usize) -> Option<IpAddr> {
    let octets = frame.get(at..)?.first_chunk::<4>()?;
    Some(Ipv4Addr::from(*octets).into())
}

fn v6_at(frame: &[u8], at: usize) -> Option<IpAddr> {
    let octets = frame.get(at..)?.first_chunk::<16>()?;
    Some(Ipv6Addr::from(*octets).into())
}

fn number_at(frame: &[u8], at: usize) -> Option<u64> {
    let octets = frame.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*octets))
}

/// Destination of a frame.
pub(super) fn destination(frame: &[u8]) -> MacAddr {
    mac_at(frame, 0).unwrap_or_default()
}

/// Source of a frame.
pub(super) fn source(frame: &[u8]) -> MacAddr {
    mac_at(frame, 6).unwrap_or_default()
}

/// Reads a frame.
pub(super) fn read(frame: &[u8]) -> Word {
    let word = match frame.get(12..14) {
        Some([0x08, 0x06]) => arp(frame),
        Some([0x08, 0x00]) => ipv4(frame),
        Some([0x86, 0xdd]) => ipv6(frame),
        Some(_) | None => None,
    };
    word.unwrap_or(Word::Other)
}

fn arp(frame: &[u8]) -> Option<Word> {
    let (mac, sender) = (mac_at(frame, 22)?, v4_at(frame, 28)?);
    let target = v4_at(frame, 38)?;
    let is_answer = *frame.get(21)? == 2;
    if is_answer || sender == target {
        return Some(Word::Claim {
            address: sender,
            mac,
            gratuitous: sender == target,
        });
    }
    let asker = (mac, sender);
    Some(Word::Question { target, asker })
}

fn ipv4(frame: &[u8]) -> Option<Word> {
    match frame.get(23)? {
        112 => advert(frame.get(34..)?, true),
        17 => Some(Word::Datagram {
            to: v4_at(frame, 30)?,
            number: number_at(frame, DATA_AT_V4)?,
        }),
        _ => None,
    }
}

fn ipv6(frame: &[u8]) -> Option<Word> {
    match (frame.get(20)?, frame.get(54)?) {
        (112, _) => advert(frame.get(54..)?, false),
        (17, _) => Some(Word::Datagram {
            to: v6_at(frame, 38)?,
            number: number_at(frame, DATA_AT_V6)?,
        }),
        (58, 135) => Some(Word::Question {
            target: v6_at(frame, 62)?,
            asker: (source(frame), v6_at(frame, 22)?),
        }),
        (58, 136) => Some(Word::Claim {
            address: v6_at(frame, 62)?,
            mac: mac_at(frame, 80)?,
            gratuitous: frame.get(38)? == &0xff,
        }),
        _ => None,
    }
}

fn advert(body: &[u8], is_v4: bool) -> Option<Word> {
    let [head, id, priority, _, high, low, ..] = *body else {
        return None;
    };
    let interval = match head >> 4 {
        2 => Duration::from_secs(low.into()),
        _ => Duration::from_millis(10) * u32::from(u16::from_be_bytes([high & 15, low])),
    };
    Some(Word::Advert {
        id,
        is_v4,
        priority,
        interval,
    })
}

fn ip(src: IpAddr, dst: IpAddr) -> Ip {
    Ip {
        src,
        dst,
        ttl: 64,
        tos: 0,
        id: 1,
        dont_fragment: true,
    }
}

/// A client's datagram to a VIP.
pub(super) fn datagram(from: (MacAddr, IpAddr), to: (MacAddr, IpAddr), number: u64) -> Vec<u8> {
    let [low, ..] = number.to_le_bytes();
    let packet = ip(from.1, to.1).udp(20_000 + u16::from(low % 8), PORT, &number.to_be_bytes());
    frames::padded(&frames::ethernet(to.0, from.0, &packet), 60)
}

/// The question for a MAC, to everybody or to the solicited-node group.
pub(super) fn question(from: (MacAddr, IpAddr), target: IpAddr) -> Vec<u8> {
    match target {
        IpAddr::V4(_) => arp_frame(1, MacAddr([0xff; 6]), from, (MacAddr::ZERO, target)),
        IpAddr::V6(target) => {
            let [.., a, b, c] = target.octets();
            let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
            let option = [&[1, 1][..], &from.0.0].concat();
            let data = [&target.octets()[..], &option].concat();
            let packet = ip(from.1, group.into())
                .ttl(255)
                .icmp(135, 0, [0; 4], &data);
            frames::ethernet(MacAddr([0x33, 0x33, 0xff, a, b, c]), from.0, &packet)
        }
    }
}

/// The answer to it.
pub(super) fn answer(from: (MacAddr, IpAddr), to: (MacAddr, IpAddr)) -> Vec<u8> {
    match from.1 {
        IpAddr::V4(_) => arp_frame(2, to.0, from, to),
        IpAddr::V6(own) => {
            let option = [&[2, 1][..], &from.0.0].concat();
            let data = [&own.octets()[..], &option].concat();
            let flags = [0x60, 0, 0, 0];
            let packet = ip(from.1, to.1).ttl(255).icmp(136, 0, flags, &data);
            frames::ethernet(to.0, from.0, &packet)
        }
    }
}

fn arp_frame(
    operation: u8,
    to: MacAddr,
    sender: (MacAddr, IpAddr),
    target: (MacAddr, IpAddr),
) -> Vec<u8> {
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    let head = [8, 6, 0, 1, 8, 0, 6, 4, 0, operation];
    let sender_ip = octets(sender.1);
    let target_ip = octets(target.1);
    let parts = [
        &to.0[..],
        &sender.0.0,
        &head,
        &sender.0.0,
        &sender_ip,
        &target.0.0,
        &target_ip,
    ];
    frames::padded(&parts.concat(), 60)
}
