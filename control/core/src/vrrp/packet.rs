//! Adverts as whole frames: what is accepted, under which reason the rest is refused, and what is
//! sent. RFC 9568 §7.1, RFC 3768 §7.1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, Ipv6Repr};
use weir_wire::addr::{EtherType, MacAddr};
use weir_wire::checksum;
use weir_wire::vrrp::{Advert, GROUP_V4, GROUP_V6, Repr, TYPE_ADVERT};

use crate::config::{VrrpChecksum, VrrpInstance};
use crate::frame::{self, Frame};
use crate::vrrp::machine::{Heard, PRIORITY_OWNER};

/// Adverts come from the link itself.
const HOP_LIMIT: u8 = 255;
/// Internetwork control, as keepalived sends.
const TOS: u8 = 0xc0;
const PROTOCOL: u8 = 112;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const GROUP_V4_MAC: MacAddr = MacAddr([1, 0, 0x5e, 0, 0, 18]);
const GROUP_V6_MAC: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 0x12]);

/// Declares the reasons with their labels and texts.
macro_rules! rejects {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal,)+) => {
        /// Why an advert is not taken. One variant, one counter, one line of the log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reject { $($(#[doc = $doc])+ $variant,)+ }

        impl Reject {
            /// Every reason, in index order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The metric label.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// One sentence for the operator.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

rejects! {
    /// A header runs past the packet.
    Malformed = "malformed",
    /// TTL or Hop Limit is not 255: it did not come from this link.
    Ttl = "ttl",
    /// It was not sent to the VRRP group, or to the group where unicast is configured.
    Destination = "destination",
    /// It is a fragment, or has IPv6 extension headers.
    Fragment = "fragment",
    /// Its version is another than the one configured.
    Version = "version",
    /// It is no advert.
    Type = "type",
    /// It is shorter or longer than its addresses need.
    Length = "length",
    /// It carries no address.
    Count = "count",
    /// Its checksum is wrong.
    Checksum = "checksum",
    /// No instance on this port has its identifier.
    UnknownId = "unknown_id",
    /// Its interval is another than the one configured (version 2), or 0.
    Interval = "interval",
    /// Its authentication is another than the one configured.
    Auth = "auth",
    /// Its first IPv6 address is not link-local.
    LinkLocal = "link_local",
    /// Its addresses are others than those configured (version 2).
    Addresses = "addresses",
    /// It carries our own source address: a loop, or a duplicate address.
    OwnSource = "own_source",
    /// Its sender is no configured peer.
    UnknownPeer = "unknown_peer",
}

/// An advert whose IP header is right.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Who sent it.
    pub source: IpAddr,
    destination: IpAddr,
    advert: Advert<'a>,
}

impl Packet<'_> {
    /// Virtual router identifier: with the family it names the instance on a port.
    pub fn id(&self) -> u8 {
        self.advert.id()
    }

    /// Whether it is an IPv4 packet.
    pub fn is_v4(&self) -> bool {
        self.source.is_ipv4()
    }
}

/// One accepted advert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What counts for the state machine.
    pub heard: Heard,
    /// The addresses that it claims.
    pub addresses: Vec<IpAddr>,
    /// They are others than ours (V17).
    pub differs: bool,
    /// How it was summed up (version 3 over IPv4).
    pub checksum: Option<VrrpChecksum>,
}

/// Reads the IP header of a frame without VLAN tag.
///
/// # Errors
/// What of RFC 9568 §7.1 the packet itself breaks.
pub(crate) fn open<'a>(frame: &Frame<'a>) -> Result<Packet<'a>, Reject> {
    let (source, destination, payload): (IpAddr, IpAddr, &[u8]) = match frame.ether_type {
        EtherType::IPV4 => {
            let ip = Ipv4Packet::new_checked(frame.payload).map_err(|_| Reject::Malformed)?;
            // The view checks lengths only.
            if ip.version() != 4 {
                return Err(Reject::Malformed);
            }
            if ip.more_frags() || ip.frag_offset() != 0 {
                return Err(Reject::Fragment);
            }
            if ip.hop_limit() != HOP_LIMIT {
                return Err(Reject::Ttl);
            }
            (ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
        }
        EtherType::IPV6 => {
            let ip = Ipv6Packet::new_checked(frame.payload).map_err(|_| Reject::Malformed)?;
            if ip.version() != 6 {
                return Err(Reject::Malformed);
            }
            if u8::from(ip.next_header()) != PROTOCOL {
                return Err(Reject::Fragment);
            }
            if ip.hop_limit() != HOP_LIMIT {
                return Err(Reject::Ttl);
            }
            let payload = frame
                .payload
                .get(IPV6_LEN..IPV6_LEN + usize::from(ip.payload_len()));
            let payload = payload.ok_or(Reject::Malformed)?;
            (ip.src_addr().into(), ip.dst_addr().into(), payload)
        }
        EtherType(_) => return Err(Reject::Malformed),
    };
    let advert = Advert::parse(payload).map_err(|_| Reject::Malformed)?;
    Ok(Packet {
        source,
        destination,
        advert,
    })
}

/// Judges an advert for the instance that it names; `is_ours` tells the director's own addresses.
///
/// # Errors
/// What does not agree with the instance.
pub(crate) fn judge(
    packet: &Packet<'_>,
    instance: &VrrpInstance,
    is_ours: impl Fn(IpAddr) -> bool,
) -> Result<Accepted, Reject> {
    let advert = &packet.advert;
    let is_v4 = packet.is_v4();
    addressed(packet, instance)?;
    if is_ours(packet.source) {
        return Err(Reject::OwnSource);
    }
    if advert.version() != instance.version {
        return Err(Reject::Version);
    }
    if advert.kind() != TYPE_ADVERT {
        return Err(Reject::Type);
    }
    if advert.count() == 0 {
        return Err(Reject::Count);
    }
    if advert.body().len() != advert.body_len(is_v4) {
        return Err(Reject::Length);
    }
    let checksum = summed_up(packet)?;
    authentic(advert, instance)?;
    let interval = advert.interval();
    let agreed = instance.version == 3 || interval == instance.interval;
    if interval.is_zero() || !agreed {
        return Err(Reject::Interval);
    }
    let addresses: Vec<IpAddr> = advert.addresses(is_v4).collect();
    // An operator who leaves the link-local address out (as keepalived lets him) has a pair that
    // agrees on that.
    if is_link_local(instance.addresses.first()) && !is_link_local(addresses.first()) {
        return Err(Reject::LinkLocal);
    }
    let differs = !is_same_set(&addresses, &instance.addresses);
    if differs && instance.version == 2 && advert.priority() != PRIORITY_OWNER {
        return Err(Reject::Addresses);
    }
    let heard = Heard {
        source: packet.source,
        priority: advert.priority(),
        interval,
    };
    Ok(Accepted {
        heard,
        addresses,
        differs,
        checksum,
    })
}

fn addressed(packet: &Packet<'_>, instance: &VrrpInstance) -> Result<(), Reject> {
    let group = packet.destination == group(packet.is_v4());
    if instance.peers.is_empty() != group {
        return Err(Reject::Destination);
    }
    if !group && !instance.peers.contains(&packet.source) {
        return Err(Reject::UnknownPeer);
    }
    Ok(())
}

fn summed_up(packet: &Packet<'_>) -> Result<Option<VrrpChecksum>, Reject> {
    let advert = &packet.advert;
    let with_pseudo = || advert.is_valid_with_pseudo(packet.source, packet.destination);
    match (advert.version(), packet.is_v4()) {
        (2, _) if advert.is_valid_alone() => Ok(None),
        (3, false) if with_pseudo() => Ok(None),
        (3, true) if with_pseudo() => Ok(Some(VrrpChecksum::Rfc5798)),
        (3, true) if advert.is_valid_alone() => Ok(Some(VrrpChecksum::Rfc9568)),
        _ => Err(Reject::Checksum),
    }
}

/// Compares in constant time, though a password on the wire is no secret (V15).
fn authentic(advert: &Advert<'_>, instance: &VrrpInstance) -> Result<(), Reject> {
    if instance.version != 2 {
        return Ok(());
    }
    let right = match (instance.auth, advert.auth_type(), advert.auth()) {
        (None, 0, _) => true,
        (Some(ours), 1, Some(theirs)) => {
            ours.iter().zip(theirs).fold(0, |d, (a, b)| d | (a ^ b)) == 0
        }
        _ => false,
    };
    if right { Ok(()) } else { Err(Reject::Auth) }
}

fn is_link_local(address: Option<&IpAddr>) -> bool {
    matches!(address, Some(IpAddr::V6(a)) if a.is_unicast_link_local())
}

fn is_same_set(a: &[IpAddr], b: &[IpAddr]) -> bool {
    let sorted = |list: &[IpAddr]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        list
    };
    sorted(a) == sorted(b)
}

fn group(is_v4: bool) -> IpAddr {
    if is_v4 {
        GROUP_V4.into()
    } else {
        GROUP_V6.into()
    }
}

/// Where an advert goes: to the group, or to a unicast peer whose MAC is known.
pub(crate) fn to_group(is_v4: bool) -> (MacAddr, IpAddr) {
    let mac = if is_v4 { GROUP_V4_MAC } else { GROUP_V6_MAC };
    (mac, group(is_v4))
}

/// A complete frame with an advert of `priority`, from and to the given MACs and addresses.
///
/// `None` if the addresses are of different families, which no configuration has.
pub(crate) fn emit(
    instance: &VrrpInstance,
    priority: u8,
    (from_mac, from): (MacAddr, IpAddr),
    (to_mac, to): (MacAddr, IpAddr),
) -> Option<Vec<u8>> {
    let message = Repr {
        version: instance.version,
        id: instance.id,
        priority,
        interval: instance.interval,
        addresses: &instance.addresses,
        auth: instance.auth,
    };
    let alone =
        instance.version == 2 || (from.is_ipv4() && instance.checksum == VrrpChecksum::Rfc9568);
    let pseudo = (!alone).then_some((from, to));
    match (from, to) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let len = IPV4_LEN + message.buffer_len();
            let mut bytes = frame::start(to_mac, from_mac, EtherType::IPV4, len);
            let (ip, payload) = bytes[frame::HEADER_LEN..].split_first_chunk_mut()?;
            message.emit(payload, pseudo)?;
            *ip = ipv4_header(src, dst, u16::try_from(len).ok()?);
            Some(bytes)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let len = IPV6_LEN + message.buffer_len();
            let mut bytes = frame::start(to_mac, from_mac, EtherType::IPV6, len);
            let (ip, payload) = bytes[frame::HEADER_LEN..].split_at_mut(IPV6_LEN);
            message.emit(payload, pseudo)?;
            ipv6_header(ip, src, dst, message.buffer_len());
            Some(bytes)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

fn ipv4_header(src: Ipv4Addr, dst: Ipv4Addr, len: u16) -> [u8; IPV4_LEN] {
    let mut ip = [0; IPV4_LEN];
    ip[0] = 0x45;
    ip[1] = TOS;
    ip[2..4].copy_from_slice(&len.to_be_bytes());
    ip[8] = HOP_LIMIT;
    ip[9] = PROTOCOL;
    ip[12..16].copy_from_slice(&src.octets());
    ip[16..20].copy_from_slice(&dst.octets());
    let sum = checksum::of(&ip).0;
    ip[10..12].copy_from_slice(&sum);
    ip
}

fn ipv6_header(out: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr, payload_len: usize) {
    let ip = Ipv6Repr {
        src_addr: src,
        dst_addr: dst,
        next_header: IpProtocol::Unknown(PROTOCOL),
        payload_len,
        hop_limit: HOP_LIMIT,
    };
    let mut packet = Ipv6Packet::new_unchecked(out);
    ip.emit(&mut packet);
    packet.set_traffic_class(TOS);
}

#[cfg(test)]
mod tests;
