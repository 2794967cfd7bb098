//! Ethernet and IP headers as far as the control side must look at whole frames.
//!
//! Frames on this side carry no VLAN tag: [`untag`] and [`tag`] stand at its edge.

use std::net::IpAddr;

use smoltcp::wire::{Ipv4Packet, Ipv6Packet};
use weir_wire::addr::{EtherType, MacAddr, Protocol};

/// Octets of an Ethernet header.
pub(crate) const HEADER_LEN: usize = 14;
/// Shortest frame without its check sequence; shorter ones are padded with zeros.
pub(crate) const FRAME_LEN_MIN: usize = 60;

/// An Ethernet II frame without tag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) destination: MacAddr,
    pub(crate) source: MacAddr,
    pub(crate) ether_type: EtherType,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Splits a frame; `None` if it is shorter than its header.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (destination, rest) = bytes.split_first_chunk::<6>()?;
        let (source, rest) = rest.split_first_chunk::<6>()?;
        let (ether_type, payload) = rest.split_first_chunk::<2>()?;
        Some(Self {
            destination: MacAddr(*destination),
            source: MacAddr(*source),
            ether_type: EtherType::from_be_bytes(*ether_type),
            payload,
        })
    }

    /// Source, destination and protocol of an IP packet; `None` for anything else.
    pub(crate) fn ip(&self) -> Option<(IpAddr, IpAddr, Protocol)> {
        match self.ether_type {
            EtherType::IPV4 => {
                let ip = Ipv4Packet::new_checked(self.payload).ok()?;
                let protocol = Protocol(ip.next_header().into());
                Some((ip.src_addr().into(), ip.dst_addr().into(), protocol))
            }
            EtherType::IPV6 => {
                let ip = Ipv6Packet::new_checked(self.payload).ok()?;
                let protocol = Protocol(ip.next_header().into());
                Some((ip.src_addr().into(), ip.dst_addr().into(), protocol))
            }
            EtherType(_) => None,
        }
    }
}

/// Starts a frame: its header, and `payload_len` zero octets to fill in, padded to the minimum.
pub(crate) fn start(to: MacAddr, from: MacAddr, kind: EtherType, payload_len: usize) -> Vec<u8> {
    let mut frame = vec![0; (HEADER_LEN + payload_len).max(FRAME_LEN_MIN)];
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&from.0);
    frame[12..14].copy_from_slice(&kind.0.to_be_bytes());
    frame
}

/// Removes one 802.1Q tag, as received frames may have; `None` for a truncated frame.
///
/// The tag itself was judged by the worker, who found the port by it.
pub(crate) fn untag(bytes: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
    let frame = Frame::parse(bytes)?;
    if frame.ether_type != EtherType::VLAN {
        return Some(bytes.into());
    }
    let inner = bytes.get(16..)?;
    Some([&bytes[..12], inner].concat().into())
}

/// Inserts an 802.1Q tag of priority 0 if the port has a VLAN.
pub(crate) fn tag(bytes: &[u8], vlan: Option<u16>) -> std::borrow::Cow<'_, [u8]> {
    let Some(vlan) = vlan.filter(|_| bytes.len() >= 12) else {
        return bytes.into();
    };
    let [a, b] = vlan.to_be_bytes();
    let [c, d] = EtherType::VLAN.0.to_be_bytes();
    [&bytes[..12], &[c, d, a, b], &bytes[12..]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_goes_in_and_comes_out() {
        let plain: Vec<u8> = (0..64).collect();
        let tagged = tag(&plain, Some(100));
        assert_eq!(&tagged[12..16], [0x81, 0x00, 0, 100]);
        assert_eq!(tagged.len(), 68);
        assert_eq!(*untag(&tagged).unwrap(), plain);
        assert_eq!(*tag(&plain, None), plain);
        assert_eq!(*untag(&plain).unwrap(), plain);
    }

    #[test]
    fn truncated_frames_are_refused_at_every_length() {
        let tagged = tag(&[0u8; 20], Some(1)).into_owned();
        for len in 0..14 {
            assert!(Frame::parse(&tagged[..len]).is_none());
        }
        for len in 0..16 {
            assert!(untag(&tagged[..len]).is_none(), "{len}");
        }
    }
}
