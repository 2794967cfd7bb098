//! What the micro benches share: flows, their frames, and how long Criterion may take.
//!
//! These benches compare parts of Weir with each other and with what they replaced; how fast Weir
//! is, only `make bench` can tell. Everything comes from a seed, so every run sees the same keys.
#![forbid(unsafe_code)]

pub mod contender;
pub mod pipeline;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_engine::flow::tcp::Timeouts;
use weir_engine::flow::{FlowKey, FlowState, NewFlow, ReturnPath};
use weir_engine::id::{ServerId, ServiceId};
use weir_engine::time::Ticks;
use weir_wire::addr::{Address, L4Port, MacAddr, Protocol};
use weir_wire::checksum::Sum;
use weir_wire::ethernet;
use weir_wire::ipv4::{self, Ipv4Repr};
use weir_wire::ipv6::{self, Ipv6Repr};
use weir_wire::tcp::TcpFlags;

/// The MAC that clients' frames are sent to: of port 0 of
/// [`weir_engine::testing::world::Spec::standard`].
const WAN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 0]);
const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc1]);
/// The VIP of all IPv4 flows.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The VIP of all IPv6 flows.
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 1);
/// The VIPs' L4 port.
pub const VIP_PORT: L4Port = L4Port(5300);
/// Frames per burst: what a worker receives at most.
pub const BURST: usize = weir_engine::BURST_MAX;

/// The keys of `count` different UDP flows from random clients, in random order.
pub fn keys(count: u32) -> Vec<FlowKey<Ipv4Addr>> {
    // None is an address of the director.
    random_keys(count, VIP, |host| Ipv4Addr::from_bits(0x0a80_0000 + host))
}

/// The same over IPv6.
pub fn keys_v6(count: u32) -> Vec<FlowKey<Ipv6Addr>> {
    let net = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0).to_bits();
    random_keys(count, VIP_V6, |host| {
        Ipv6Addr::from_bits(net + u128::from(host))
    })
}

fn random_keys<A: Address>(count: u32, vip: A, client: impl Fn(u32) -> A) -> Vec<FlowKey<A>> {
    let mut draw = fastrand::Rng::with_seed(1);
    let mut hosts: Vec<u32> = (0..count).collect();
    draw.shuffle(&mut hosts);
    let mut key = |host: u32| FlowKey {
        client: client(host), // Hosts differ, so flows do.
        remote: vip,
        client_port: L4Port(draw.u16(1024..)),
        remote_port: VIP_PORT,
        protocol: Protocol::UDP,
    };
    hosts.into_iter().map(&mut key).collect()
}

/// A flow as DR makes one for a UDP client.
pub fn new_flow<A: Address>(key: FlowKey<A>) -> NewFlow<A> {
    NewFlow {
        key,
        rip: key.remote, // In no key of the flow, and read by nothing here.
        server_port: VIP_PORT,
        server: ServerId {
            index: 0,
            generation: 1,
        },
        service: ServiceId(0),
        path: ReturnPath::Direct,
        state: FlowState::Udp,
        idle_max: Ticks::from_duration(Timeouts::UDP),
    }
}

/// A UDP frame of a flow's client, with right checksums: 60 octets over IPv4, 78 over IPv6.
pub fn datagram<A: Address>(key: &FlowKey<A>) -> Vec<u8> {
    let mut l4 = vec![0; if A::LEN == 4 { 26 } else { 24 }];
    let (client, vip) = ((key.client, key.client_port), (key.remote, key.remote_port));
    assert!(
        weir_wire::udp::emit(&mut l4, client, vip),
        "a short datagram"
    );
    packet(key.client, key.remote, Protocol::UDP, &l4)
}

/// A TCP frame of a flow's client without payload, with right checksums: 60 octets over IPv4 with
/// Ethernet's padding, 74 over IPv6.
pub fn segment<A: Address>(key: &FlowKey<A>, flags: TcpFlags) -> Vec<u8> {
    let mut l4 = vec![0; 20];
    l4[..2].copy_from_slice(&key.client_port.to_be_bytes());
    l4[2..4].copy_from_slice(&key.remote_port.to_be_bytes());
    (l4[12], l4[13], l4[15]) = (5 << 4, flags.0, 0xff);
    let sum = Sum::pseudo(key.client, key.remote, Protocol::TCP, 20).over(&l4);
    l4[16..18].copy_from_slice(&sum.finish().0);
    packet(key.client, key.remote, Protocol::TCP, &l4)
}

/// Ethernet and IP around an L4 packet from a client.
fn packet<A: Address>(src: A, dst: A, protocol: Protocol, l4: &[u8]) -> Vec<u8> {
    let len = u16::try_from(l4.len()).expect("short frames");
    let mut frame = vec![0; ethernet::HEADER_LEN];
    let head = frame.first_chunk_mut().expect("just made");
    ethernet::emit(head, WAN_MAC, CLIENT_MAC, A::ETHER_TYPE);
    match (src.into(), dst.into()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = [0; ipv4::HEADER_LEN];
            let repr = Ipv4Repr {
                src,
                dst,
                protocol,
                ttl: 64,
                tos: 0,
                dont_fragment: true,
                id: 0,
                payload_len: len,
            };
            ipv4::emit(&mut header, &repr);
            frame.extend(header);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut header = [0; ipv6::HEADER_LEN];
            let repr = Ipv6Repr {
                src,
                dst,
                next_header: protocol,
                hop_limit: 64,
                traffic_class: 0,
                flow_label: 0,
                payload_len: len,
            };
            ipv6::emit(&mut header, &repr);
            frame.extend(header);
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            unreachable!("addresses of one type")
        }
    }
    frame.extend(l4);
    frame.resize(frame.len().max(60), 0);
    frame
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
    use weir_wire::checksum;
    use weir_wire::parse::{self, Frame as Parsed};

    #[test]
    fn a_flow_s_frame_parses_to_its_key_and_its_checksums_are_right() {
        let key = keys(100)[42];
        for (bytes, protocol) in [
            (datagram(&key), Protocol::UDP),
            (segment(&key, TcpFlags::SYN), Protocol::TCP),
        ] {
            assert_eq!(bytes.len(), 60);
            let Ok((_, Parsed::V4(packet))) = parse::parse(&bytes, bytes.len()) else {
                panic!("not parsed as IPv4");
            };
            assert_eq!((packet.src, packet.sport), (key.client, key.client_port));
            assert_eq!((packet.dst, packet.dport), (key.remote, key.remote_port));
            assert!(checksum::is_valid(&bytes[14..34]));
            assert_l4(key.client, key.remote, protocol, &bytes[34..]);
        }
    }

    #[test]
    fn the_same_over_ipv6() {
        let key = keys_v6(100)[42];
        for (bytes, protocol) in [
            (datagram(&key), Protocol::UDP),
            (segment(&key, TcpFlags::ACK), Protocol::TCP),
        ] {
            let Ok((_, Parsed::V6(packet))) = parse::parse(&bytes, bytes.len()) else {
                panic!("not parsed as IPv6");
            };
            assert_eq!((packet.src, packet.sport), (key.client, key.client_port));
            assert_eq!((packet.dst, packet.dport), (key.remote, key.remote_port));
            assert_l4(key.client, key.remote, protocol, &bytes[54..]);
        }
    }

    fn assert_l4<A: Address>(src: A, dst: A, protocol: Protocol, padded: &[u8]) {
        let len = if protocol == Protocol::TCP {
            20
        } else {
            padded.len()
        };
        let pseudo = Sum::pseudo(src, dst, protocol, u16::try_from(len).unwrap());
        assert!(pseudo.over(&padded[..len]).is_valid());
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
