//! What the micro benches share: flows, their frames, and how long Criterion may take.
//!
//! These benches compare parts of Weir with each other and with what they replaced; how fast Weir
//! is, only `make bench` can tell. Everything comes from a seed, so every run sees the same keys.
#![forbid(unsafe_code)]

pub mod pipeline;

use core::net::{Ipv4Addr, Ipv6Addr};

use weir_engine::flow::FlowKey;
use weir_wire::addr::{L4Port, Protocol};
use weir_wire::checksum::{self, Sum};

/// The VIP of all flows.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The VIP's UDP port.
pub const VIP_PORT: L4Port = L4Port(5300);
/// The MAC that frames are sent to: of port 0 of [`weir_engine::testing::world::Spec::standard`].
const PORT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc1];
/// Frames per burst: what a worker receives at most.
pub const BURST: usize = weir_engine::BURST_MAX;

/// A 60-octet frame, Ethernet to UDP payload.
pub type Frame = [u8; 60];
/// A 78-octet frame over IPv6.
pub type FrameV6 = [u8; 78];

/// The keys of `count` different UDP flows from random clients, in random order.
pub fn keys(count: u32) -> Vec<FlowKey<Ipv4Addr>> {
    let mut draw = fastrand::Rng::with_seed(1);
    let mut hosts: Vec<u32> = (0..count).collect();
    draw.shuffle(&mut hosts);
    let mut key = |host: u32| FlowKey {
        // Hosts differ, so flows do; none is an address of the director.
        client: Ipv4Addr::from_bits(0x0a80_0000 + host),
        remote: VIP,
        client_port: L4Port(draw.u16(1024..)),
        remote_port: VIP_PORT,
        protocol: Protocol::UDP,
    };
    hosts.into_iter().map(&mut key).collect()
}

/// The frame of a flow's client, with right checksums.
pub fn frame(key: &FlowKey<Ipv4Addr>) -> Frame {
    let mut frame = [0; 60];
    ethernet(&mut frame, 0x0800);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17]);
    frame[26..30].copy_from_slice(&key.client.octets());
    frame[30..34].copy_from_slice(&key.remote.octets());
    let sum = checksum::of(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.0);
    udp(&mut frame[34..], key.client_port, key.remote_port);
    let pseudo = Sum::pseudo(key.client, key.remote, Protocol::UDP, 26);
    let sum = pseudo.over(&frame[34..]).finish().for_udp();
    frame[40..42].copy_from_slice(&sum.0);
    frame
}

/// A frame over IPv6 from one of many clients. Its UDP checksum is not right: DR does not look.
pub fn frame_v6(client: u16) -> FrameV6 {
    let mut frame = [0; 78];
    ethernet(&mut frame, 0x86dd);
    frame[14..22].copy_from_slice(&[0x60, 0, 0, 0, 0, 24, 17, 64]);
    let source = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, client);
    let vip = Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 1);
    frame[22..38].copy_from_slice(&source.octets());
    frame[38..54].copy_from_slice(&vip.octets());
    udp(&mut frame[54..], L4Port(client | 1024), VIP_PORT);
    frame
}

fn ethernet(frame: &mut [u8], ether_type: u16) {
    frame[..6].copy_from_slice(&PORT_MAC);
    frame[6..12].copy_from_slice(&CLIENT_MAC);
    frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
}

fn udp(datagram: &mut [u8], source: L4Port, destination: L4Port) {
    let len = u16::try_from(datagram.len()).expect("short frames");
    datagram[..2].copy_from_slice(&source.0.to_be_bytes());
    datagram[2..4].copy_from_slice(&destination.0.to_be_bytes());
    datagram[4..6].copy_from_slice(&len.to_be_bytes());
}

/// A place that goes round through `len` things in bursts; `len` is at least [`BURST`].
#[derive(Debug)]
pub struct Rounds {
    at: usize,
    len: usize,
}

impl Rounds {
    /// Begins at the first of `len` things.
    pub fn new(len: usize) -> Self {
        assert!(len >= BURST, "not enough for a burst");
        Self { at: 0, len }
    }

    /// The range of the next burst.
    #[inline]
    pub fn advance(&mut self) -> core::ops::Range<usize> {
        if self.at + BURST > self.len {
            self.at = 0;
        }
        let start = self.at;
        self.at += BURST;
        start..start + BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::parse::{self, Frame as Parsed};

    #[test]
    fn a_flow_s_frame_parses_to_its_key_and_its_checksums_are_right() {
        let key = keys(100)[42];
        let bytes = frame(&key);
        let Ok((_, Parsed::V4(packet))) = parse::parse(&bytes, bytes.len()) else {
            panic!("not parsed as IPv4");
        };
        assert_eq!((packet.src, packet.sport), (key.client, key.client_port));
        assert_eq!((packet.dst, packet.dport), (key.remote, key.remote_port));
        assert!(checksum::is_valid(&bytes[14..34]));
        let pseudo = Sum::pseudo(key.client, key.remote, Protocol::UDP, 26);
        assert!(pseudo.over(&bytes[34..]).is_valid());
    }

    #[test]
    fn keys_differ_and_come_in_no_order() {
        let keys = keys(1000);
        let sorted = keys.is_sorted_by_key(|key| key.client);
        assert!(!sorted);
        let different: std::collections::HashSet<_> = keys.iter().map(|key| key.client).collect();
        assert_eq!(different.len(), 1000);
    }
}
