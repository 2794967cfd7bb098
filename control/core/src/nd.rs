//! Neighbour discovery (RFC 4861) and multicast listener reports (RFC 3810): frames, no decisions.

use std::net::Ipv6Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr,
    NdiscNeighborFlags, NdiscRepr,
};
use weir_wire::addr::{EtherType, MacAddr};

use crate::frame::{self, Frame};

const IPV6_LEN: usize = 40;
/// Neighbour discovery must come from the link itself (RFC 4861 §7.1).
const HOP_LIMIT: u8 = 255;
/// `ff02::1`
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// `ff02::16`, where version 2 reports go.
const ALL_MLD_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// What a neighbour discovery frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nd {
    /// Who has `target`?
    Solicit {
        /// `::` while the asker checks that nobody else has `target` (RFC 4862 §5.4).
        source: Ipv6Addr,
        /// Where to answer.
        mac: MacAddr,
        target: Ipv6Addr,
    },
    /// I have `target`.
    Advert { mac: MacAddr, target: Ipv6Addr },
    /// Router solicitation.
    RouterSolicit,
    /// Router advertisement or redirect: Weir's routes are the operator's.
    RouterWord,
}

impl Nd {
    /// Reads a frame; `None` if it is no neighbour discovery that RFC 4861 lets count: hop limit
    /// 255, code 0, a right checksum, no option of length 0, consistent addresses (A14).
    pub(crate) fn parse(frame: &Frame<'_>) -> Option<Self> {
        let ip = Ipv6Packet::new_checked(frame.payload).ok()?;
        if ip.hop_limit() != HOP_LIMIT || ip.next_header() != IpProtocol::Icmpv6 {
            return None;
        }
        let (source, destination) = (ip.src_addr(), ip.dst_addr());
        let icmp = Icmpv6Packet::new_checked(ip.payload()).ok()?;
        let options = match u8::from(icmp.msg_type()) {
            133 => 8,
            134 => 16,
            135 | 136 => 24,
            137 => 40,
            _ => return None,
        };
        if icmp.msg_code() != 0 || !options_are_sound(ip.payload().get(options..)?) {
            return None;
        }
        let checksums = ChecksumCapabilities::default();
        let Icmpv6Repr::Ndisc(repr) =
            Icmpv6Repr::parse(&source, &destination, &icmp, &checksums).ok()?
        else {
            return None;
        };
        match repr {
            NdiscRepr::NeighborSolicit {
                target_addr: target,
                lladdr,
            } => {
                let probe = source.is_unspecified();
                let answerable = !source.is_multicast() && !target.is_multicast();
                let wrong_probe = probe && (lladdr.is_some() || destination != group(target));
                let mac = lladdr.and_then(station).unwrap_or(frame.source);
                (answerable && !wrong_probe).then_some(Self::Solicit {
                    source,
                    mac,
                    target,
                })
            }
            NdiscRepr::NeighborAdvert {
                flags,
                target_addr: target,
                lladdr,
            } => {
                let solicited = flags.contains(NdiscNeighborFlags::SOLICITED);
                if target.is_multicast() || (destination.is_multicast() && solicited) {
                    return None;
                }
                let mac = lladdr.and_then(station).unwrap_or(frame.source);
                Some(Self::Advert { mac, target })
            }
            NdiscRepr::RouterSolicit { .. } => Some(Self::RouterSolicit),
            NdiscRepr::RouterAdvert { .. } | NdiscRepr::Redirect { .. } => Some(Self::RouterWord),
        }
    }
}

/// Whether a list of options holds together: none of length 0, none past the end (RFC 4861 §4.6).
fn options_are_sound(mut options: &[u8]) -> bool {
    while let [_, words, ..] = *options {
        match options.get(usize::from(words) * 8..) {
            Some(rest) if words > 0 => options = rest,
            Some(_) | None => return false,
        }
    }
    options.is_empty()
}

/// A link-layer address option that is a station's.
fn station(address: smoltcp::wire::RawHardwareAddress) -> Option<MacAddr> {
    let octets: [u8; 6] = address.as_bytes().try_into().ok()?;
    let mac = MacAddr(octets);
    (!mac.is_multicast() && mac != MacAddr::ZERO).then_some(mac)
}

/// The answer to a solicitation (A13): S=1 O=1 and our MAC, unicast to the asker; a duplicate
/// address probe has no address to answer to, so it goes to all nodes with S=0 (RFC 4861 §7.2.4).
pub(crate) fn advert(mac: MacAddr, vip: Ipv6Addr, to: Option<(MacAddr, Ipv6Addr)>) -> Vec<u8> {
    let (to_mac, to_ip) = to.unwrap_or((multicast_mac(ALL_NODES), ALL_NODES));
    let mut flags = NdiscNeighborFlags::OVERRIDE;
    flags.set(NdiscNeighborFlags::SOLICITED, to.is_some());
    let nd = NdiscRepr::NeighborAdvert {
        flags,
        target_addr: vip,
        lladdr: Some(EthernetAddress(mac.0).into()),
    };
    emit(nd, (mac, vip), (to_mac, to_ip))
}

/// The question to the station `to` whether it answers for `target`: to the group that whoever has
/// the address on that link listens to, but to this one's MAC (as [`crate::arp::question`]).
pub(crate) fn question(from: (MacAddr, Ipv6Addr), to: MacAddr, target: Ipv6Addr) -> Vec<u8> {
    let nd = NdiscRepr::NeighborSolicit {
        target_addr: target,
        lladdr: Some(EthernetAddress(from.0.0).into()),
    };
    emit(nd, from, (to, group(target)))
}

fn emit(nd: NdiscRepr<'_>, from: (MacAddr, Ipv6Addr), to: (MacAddr, Ipv6Addr)) -> Vec<u8> {
    let icmp = Icmpv6Repr::Ndisc(nd);
    let ip = Ipv6Repr {
        src_addr: from.1,
        dst_addr: to.1,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: HOP_LIMIT,
    };
    let len = IPV6_LEN + icmp.buffer_len();
    let mut bytes = frame::start(to.0, from.0, EtherType::IPV6, len);
    let mut packet = Ipv6Packet::new_unchecked(&mut bytes[frame::HEADER_LEN..]);
    ip.emit(&mut packet);
    let mut packet = Icmpv6Packet::new_unchecked(packet.payload_mut());
    let capabilities = ChecksumCapabilities::default();
    icmp.emit(&from.1, &to.1, &mut packet, &capabilities);
    bytes
}

/// What an MLDv2 report says of a group: the record's type (RFC 3810 §5.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Membership {
    /// `CHANGE_TO_INCLUDE {}`: from nobody any more.
    Leave = 3,
    /// `CHANGE_TO_EXCLUDE {}`: from everybody.
    Join = 4,
}

/// An MLDv2 report about the solicited-node group of `vip`, so that a snooping switch lets
/// solicitations for it through (A17), and no longer than needed. It comes from the port's EUI-64
/// link-local address.
///
/// ```text
///  IPv6 (hop limit 1) | hop-by-hop: router alert | type 143, 1 record
/// ```
pub(crate) fn report(mac: MacAddr, vip: Ipv6Addr, membership: Membership) -> Vec<u8> {
    const PAYLOAD_LEN: usize = 8 + 28;
    let source = link_local(mac);
    let to = multicast_mac(ALL_MLD_ROUTERS);
    let mut bytes = frame::start(to, mac, EtherType::IPV6, IPV6_LEN + PAYLOAD_LEN);
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: ALL_MLD_ROUTERS,
        next_header: IpProtocol::HopByHop,
        payload_len: PAYLOAD_LEN,
        hop_limit: 1,
    };
    let mut packet = Ipv6Packet::new_unchecked(&mut bytes[frame::HEADER_LEN..]);
    ip.emit(&mut packet);
    let payload = packet.payload_mut();
    // Next header ICMPv6, 8 octets; router alert with value MLD (RFC 2711); PadN.
    payload[..8].copy_from_slice(&[58, 0, 5, 2, 0, 0, 1, 0]);
    let report = &mut payload[8..];
    report[..8].copy_from_slice(&[143, 0, 0, 0, 0, 0, 0, 1]);
    report[8..12].copy_from_slice(&[membership as u8, 0, 0, 0]);
    report[12..28].copy_from_slice(&group(vip).octets());
    let mut icmp = Icmpv6Packet::new_unchecked(report);
    icmp.fill_checksum(&source, &ALL_MLD_ROUTERS);
    bytes
}

/// Whether this is an MLD query, which asks for reports (RFC 3810 §5.1).
pub(crate) fn is_listener_query(frame: &Frame<'_>) -> bool {
    let Ok(ip) = Ipv6Packet::new_checked(frame.payload) else {
        return false;
    };
    // Behind a hop-by-hop header of 8 octets, always (RFC 3810 §5).
    ip.next_header() == IpProtocol::HopByHop
        && ip.hop_limit() == 1
        && matches!(ip.payload(), [58, 0, _, _, _, _, _, _, 130, ..])
}

/// The solicited-node multicast address (RFC 4291 §2.7.1).
pub(crate) fn group(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

fn multicast_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// The link-local address made of a MAC (RFC 4291 appendix A).
pub(crate) fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}

#[cfg(test)]
pub(crate) mod tests;
