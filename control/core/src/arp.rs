//! ARP frames (RFC 826, RFC 5227): parsing and emitting, no decisions.

use std::net::Ipv4Addr;

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};
use weir_wire::addr::{EtherType, MacAddr};

use crate::frame::{self, Frame};

/// Octets of an ARP packet for Ethernet and IPv4.
const PACKET_LEN: usize = 28;

/// An ARP request or reply between IPv4 hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arp {
    pub(crate) operation: Operation,
    /// SHA and SPA.
    pub(crate) sender: (MacAddr, Ipv4Addr),
    /// TPA.
    pub(crate) target: Ipv4Addr,
}

/// The two operations that exist here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Request,
    Reply,
}

impl Arp {
    /// Reads an ARP packet.
    ///
    /// `None` unless hardware type is Ethernet, protocol IPv4, lengths 6 and 4, the operation 1 or
    /// 2, and the sender's hardware address a station's (A1): such packets are no one's business.
    pub(crate) fn parse(frame: &Frame<'_>) -> Option<Self> {
        let packet = ArpPacket::new_checked(frame.payload).ok()?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } = ArpRepr::parse(&packet).ok()?
        else {
            return None;
        };
        let mac = MacAddr(source_hardware_addr.0);
        if mac.is_multicast() || mac == MacAddr::ZERO {
            return None;
        }
        let operation = match operation {
            ArpOperation::Request => Operation::Request,
            ArpOperation::Reply => Operation::Reply,
            ArpOperation::Unknown(_) => return None,
        };
        Some(Self {
            operation,
            sender: (mac, source_protocol_addr),
            target: target_protocol_addr,
        })
    }

    /// Sender and target are the same: an announcement, nobody asks for anything (RFC 5227 §3).
    pub(crate) fn is_gratuitous(&self) -> bool {
        self.sender.1 == self.target
    }
}

/// The unicast answer "`ip` is at `mac`" to whoever asked.
pub(crate) fn reply((mac, ip): (MacAddr, Ipv4Addr), to: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    emit(Operation::Reply, to.0, (mac, ip), to)
}

/// The unicast question to `to` whether it answers for `target`.
pub(crate) fn question(from: (MacAddr, Ipv4Addr), to: MacAddr, target: Ipv4Addr) -> Vec<u8> {
    emit(Operation::Request, to, from, (MacAddr::ZERO, target))
}

/// A gratuitous ARP in request form, which Linux takes at once, whatever `locktime` says (A7).
pub(crate) fn announcement(mac: MacAddr, ip: Ipv4Addr) -> Vec<u8> {
    emit(
        Operation::Request,
        MacAddr::BROADCAST,
        (mac, ip),
        (MacAddr::ZERO, ip),
    )
}

fn emit(
    operation: Operation,
    to: MacAddr,
    sender: (MacAddr, Ipv4Addr),
    target: (MacAddr, Ipv4Addr),
) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation: match operation {
            Operation::Request => ArpOperation::Request,
            Operation::Reply => ArpOperation::Reply,
        },
        source_hardware_addr: EthernetAddress(sender.0.0),
        source_protocol_addr: sender.1,
        target_hardware_addr: EthernetAddress(target.0.0),
        target_protocol_addr: target.1,
    };
    let mut bytes = frame::start(to, sender.0, EtherType::ARP, PACKET_LEN);
    repr.emit(&mut ArpPacket::new_unchecked(
        &mut bytes[frame::HEADER_LEN..],
    ));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tcpdump of `arping -c1 192.0.2.10` on Linux 6.1, MAC replaced.
    const REQUEST: [u8; 42] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x99, 0x08, 0x06, 0, 1, 8, 0, 6, 4,
        0, 1, 0x02, 0, 0, 0, 0, 0x99, 192, 0, 2, 5, 0, 0, 0, 0, 0, 0, 192, 0, 2, 10,
    ];
    const ASKER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    fn parse(bytes: &[u8]) -> Option<Arp> {
        Arp::parse(&Frame::parse(bytes)?)
    }

    #[test]
    fn a_real_request_is_read() {
        let arp = parse(&REQUEST).unwrap();
        assert_eq!(arp.operation, Operation::Request);
        assert_eq!(arp.sender, (ASKER, Ipv4Addr::new(192, 0, 2, 5)));
        assert_eq!(arp.target, VIP);
        assert!(!arp.is_gratuitous());
    }

    #[test]
    fn every_truncation_is_refused() {
        for len in 0..REQUEST.len() {
            assert_eq!(parse(&REQUEST[..len]), None, "{len}");
        }
    }

    #[test]
    fn a1_only_ethernet_ipv4_requests_and_replies_of_stations_count() {
        // Hardware type, protocol, the two lengths, operation, sender's hardware address.
        let wrong = [
            (15, 6),
            (16, 0x86),
            (18, 8),
            (19, 16),
            (21, 3),
            (21, 0),
            (22, 0x03),
        ];
        for (at, value) in wrong {
            let mut bytes = REQUEST;
            bytes[at] = value;
            assert_eq!(parse(&bytes), None, "octet {at} = {value}");
        }
        let mut zero = REQUEST;
        zero[22..28].fill(0);
        assert_eq!(parse(&zero), None);
    }

    #[test]
    fn a2_a_reply_is_unicast_from_the_given_mac_and_60_octets_long() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let bytes = reply((mac, VIP), (ASKER, Ipv4Addr::new(192, 0, 2, 5)));
        assert_eq!(bytes.len(), 60);
        assert_eq!(&bytes[..14], [2, 0, 0, 0, 0, 0x99, 2, 0, 0, 0, 0, 1, 8, 6]);
        assert_eq!(&bytes[14..22], [0, 1, 8, 0, 6, 4, 0, 2]);
        assert_eq!(&bytes[22..32], [2, 0, 0, 0, 0, 1, 192, 0, 2, 10]);
        assert_eq!(&bytes[32..42], [2, 0, 0, 0, 0, 0x99, 192, 0, 2, 5]);
        assert!(bytes[42..].iter().all(|&octet| octet == 0));
    }

    #[test]
    fn a7_announcements_have_the_form_of_requests() {
        let bytes = announcement(MacAddr([2, 0, 0, 0, 0, 1]), VIP);
        assert_eq!((bytes.len(), bytes[21]), (60, 1));
        assert!(bytes[..6].iter().all(|&octet| octet == 0xff));
        assert!(parse(&bytes).unwrap().is_gratuitous());
    }
}
