//! Adverts that must not count: each is right, and better than any director's, but for one thing
//! (RFC 9568 §7.1, RFC 3768 §7.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::addr::MacAddr;

use super::plan::{self, ID, Instance, PASSWORD, Plan};
use super::random::Random;
use crate::frames::{self, Ip};

const PROTOCOL: u8 = 112;
/// Octets before the addresses.
const HEAD_LEN: usize = 8;
/// Last octet of the forger's address, which no director has.
const FORGER: u8 = 99;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Ttl,
    Version,
    Kind,
    Id,
    Count,
    Length,
    Checksum,
    Noise,
}

const FLAWS: [Flaw; 8] = [
    Flaw::Ttl,
    Flaw::Version,
    Flaw::Kind,
    Flaw::Id,
    Flaw::Count,
    Flaw::Length,
    Flaw::Checksum,
    Flaw::Noise,
];

/// A forged advert about an instance, from this MAC.
pub(super) fn forge(
    plan: &Plan,
    instance: &Instance,
    from: MacAddr,
    random: &mut Random,
) -> Vec<u8> {
    let flaw = random.pick(&FLAWS);
    let (source, group, group_mac): (IpAddr, IpAddr, _) = match instance.is_v4() {
        true => (
            plan::v4(instance.segment, FORGER),
            Ipv4Addr::new(224, 0, 0, 18).into(),
            MacAddr([1, 0, 0x5e, 0, 0, 18]),
        ),
        false => (
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, FORGER.into()).into(),
            Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12).into(),
            MacAddr([0x33, 0x33, 0, 0, 0, 0x12]),
        ),
    };
    let ip = Ip {
        src: source,
        dst: group,
        ttl: if flaw == Flaw::Ttl { 254 } else { 255 },
        tos: 0xc0,
        id: 1,
        dont_fragment: false,
    };
    let mut body = advert(plan, instance, flaw, random);
    let sum = match plan.version {
        2 => frames::checksum(&body).to_be_bytes(),
        _ => ip.l4_sum(PROTOCOL, &body),
    };
    body[6..8].copy_from_slice(&sum);
    if flaw == Flaw::Checksum {
        body[7] ^= 1 + random.octet() % 255;
    }
    let packet = ip.packet(PROTOCOL, &body);
    frames::padded(&frames::ethernet(group_mac, from, &packet), 60)
}

/// An advert of priority 255 or 0, its checksum zero.
fn advert(plan: &Plan, instance: &Instance, flaw: Flaw, random: &mut Random) -> Vec<u8> {
    let interval = plan.directors[0].interval;
    let count = u8::try_from(instance.vips.len()).unwrap_or(u8::MAX);
    let timing = match plan.version {
        2 => [0, u8::try_from(interval.as_secs()).unwrap_or(u8::MAX)],
        _ => u16::try_from(interval.as_millis() / 10)
            .unwrap_or(1)
            .to_be_bytes(),
    };
    let mut body = vec![plan.version << 4 | 1, ID, random.pick(&[0, 255]), count];
    body.extend(timing);
    body.extend([0, 0]);
    for vip in &instance.vips {
        match vip {
            IpAddr::V4(vip) => body.extend(vip.octets()),
            IpAddr::V6(vip) => body.extend(vip.octets()),
        }
    }
    if plan.version == 2 {
        body[4] = plan.auth.into();
        let password = if plan.auth {
            PASSWORD
        } else {
            "\0\0\0\0\0\0\0\0"
        };
        body.extend(password.bytes());
    }
    match flaw {
        Flaw::Version => body[0] = (5 - plan.version) << 4 | 1,
        Flaw::Kind => body[0] = plan.version << 4 | 2,
        Flaw::Id => body[1] = ID + 1,
        Flaw::Count => body[3] = 0,
        Flaw::Length => body.truncate(HEAD_LEN + random.below(4)),
        // Of any content, but of no version that exists.
        Flaw::Noise => body[1..].fill_with(|| random.octet()),
        Flaw::Ttl | Flaw::Checksum => {}
    }
    if flaw == Flaw::Noise {
        body[0] = 0x71;
        body[6..8].fill(0);
    }
    body
}
