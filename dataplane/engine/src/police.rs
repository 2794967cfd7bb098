//! How many frames go to the control thread: by class, by source, and adverts by what they are.
//!
//! A flood of one class leaves the others alone, and a flood of one source the other sources. Of
//! VRRP adverts only those that an instance could take count as such (V21, A11): the rest, which
//! anybody can send without end, share a trickle that is enough to count and name them.

use core::net::IpAddr;

use weir_wire::addr::{EtherType, MacAddr, Protocol};
use weir_wire::ethernet::Ethernet;
use weir_wire::ipv4::Ipv4;
use weir_wire::ipv6::Ipv6;
use weir_wire::vlan::Vlan;
use weir_wire::vrrp::{Advert, TYPE_ADVERT};

use crate::flow::HashKey;
use crate::id::PortId;
use crate::limits::{ClientBuckets, PUNT_SOURCES, TokenBucket};
use crate::tables::{Instance, Tables};
use crate::time::Time;
use crate::verdict::PuntClass;

/// Hop limit of what comes from the link itself (RFC 9568 §5.1.1.3).
const HOP_LIMIT: u8 = 255;
/// Octets of both MACs.
const MACS_LEN: usize = 12;

/// Frames per second that one worker gives to control. Bursts are of a tenth; 0 is unlimited.
#[derive(Clone, Copy, Debug)]
pub struct PuntLimits {
    /// By [`PuntClass`].
    pub per_second: [u32; PuntClass::COUNT],
    /// ARP and neighbour discovery of one MAC: a router that asks for a thousand VIPs at once
    /// needs a second.
    pub resolution_per_source: u32,
    /// VRRP of one MAC: fifty instances with the port's MAC at their shortest interval.
    pub vrrp_per_source: u32,
    /// VRRP that no instance could take, from all sources together.
    pub vrrp_unexpected: u32,
}

impl Default for PuntLimits {
    fn default() -> Self {
        let mut per_second = [0; PuntClass::COUNT];
        for &class in PuntClass::ALL {
            per_second[class.index()] = match class {
                PuntClass::Vrrp | PuntClass::Link => 10_000,
                PuntClass::Arp | PuntClass::Nd => 5_000,
                PuntClass::Multicast => 2_000,
                // The kernel's own traffic: ssh, BGP, health checks, servers' outbound traffic.
                PuntClass::Dip | PuntClass::Routed => 200_000,
            };
        }
        Self {
            per_second,
            resolution_per_source: 1_000,
            vrrp_per_source: 5_000,
            vrrp_unexpected: 200,
        }
    }
}

/// The buckets of one worker.
#[derive(Debug)]
pub struct Policer {
    classes: [TokenBucket; PuntClass::COUNT],
    resolvers: ClientBuckets,
    advertisers: ClientBuckets,
    unexpected: TokenBucket,
}

impl Policer {
    /// Full buckets. Allocates; for start-up.
    pub fn new(limits: PuntLimits, hash_key: HashKey) -> Self {
        let of_sources = |rate| ClientBuckets::new(PUNT_SOURCES, rate, rate / 10, hash_key);
        Self {
            classes: limits
                .per_second
                .map(|rate| TokenBucket::new(rate, rate / 10)),
            resolvers: of_sources(limits.resolution_per_source),
            advertisers: of_sources(limits.vrrp_per_source),
            unexpected: TokenBucket::new(limits.vrrp_unexpected, limits.vrrp_unexpected / 10),
        }
    }

    /// Whether a frame of this class that `port` received may go to control. `frame` is its first
    /// segment, VLAN tag included.
    pub fn admits(
        &mut self,
        tables: &Tables,
        (port, class): (PortId, PuntClass),
        frame: &[u8],
        now: Time,
    ) -> bool {
        let sources = match class {
            PuntClass::Vrrp if !is_expected(tables, port, frame) => {
                return self.unexpected.take(now);
            }
            PuntClass::Vrrp => Some(&mut self.advertisers),
            PuntClass::Arp | PuntClass::Nd => Some(&mut self.resolvers),
            PuntClass::Dip | PuntClass::Multicast | PuntClass::Routed | PuntClass::Link => None,
        };
        // The source's own limit first: what it refuses must not use up the class's.
        if let Some(sources) = sources
            && !sources.take_mac(source(frame), now)
        {
            return false;
        }
        self.classes[class.index()].take(now)
    }
}

fn source(frame: &[u8]) -> MacAddr {
    Ethernet::parse(frame).map_or(MacAddr([0; 6]), |(ethernet, _)| ethernet.src())
}

/// Whether a frame holds an advert that an instance on `port` could take: whole, from this link,
/// rightly summed up, and with an identifier of ours. Control judges the rest, which needs state.
pub fn is_expected(tables: &Tables, port: PortId, frame: &[u8]) -> bool {
    let Some((ether_type, packet)) = network_layer(frame) else {
        return false;
    };
    match ether_type {
        EtherType::IPV4 => Ipv4::parse(packet).is_ok_and(|(ip, payload)| {
            let addresses = (ip.src().into(), ip.dst().into());
            let whole = ip.fragment_offset() == 0 && !ip.more_fragments();
            whole && ip.ttl() == HOP_LIMIT && is_of_instance(tables, port, addresses, payload)
        }),
        EtherType::IPV6 => Ipv6::parse(packet).is_ok_and(|(ip, payload)| {
            let addresses = (ip.src().into(), ip.dst().into());
            // Behind extension headers an advert is refused anyway.
            let plain = ip.next_header() == Protocol::VRRP;
            plain && ip.hop_limit() == HOP_LIMIT && is_of_instance(tables, port, addresses, payload)
        }),
        EtherType(_) => false,
    }
}

/// What follows the MACs and a tag, if there is one: the EtherType and its packet.
fn network_layer(frame: &[u8]) -> Option<(EtherType, &[u8])> {
    let behind_macs = frame.get(MACS_LEN..)?;
    let untagged = Vlan::parse(behind_macs).map_or(behind_macs, |(_, rest)| rest);
    let (ether_type, packet) = untagged.split_first_chunk()?;
    Some((EtherType::from_be_bytes(*ether_type), packet))
}

fn is_of_instance(
    tables: &Tables,
    port: PortId,
    (src, dst): (IpAddr, IpAddr),
    payload: &[u8],
) -> bool {
    let Ok(advert) = Advert::parse(payload) else {
        return false;
    };
    let is_v4 = src.is_ipv4();
    let named = |instance: &Instance| {
        (instance.port, instance.id, instance.is_v4) == (port, advert.id(), is_v4)
    };
    advert.kind() == TYPE_ADVERT
        && advert.body().len() == advert.body_len(is_v4)
        && tables.instances.iter().flatten().any(named)
        && match (advert.version(), is_v4) {
            (2, _) => advert.is_valid_alone(),
            (3, true) => advert.is_valid_with_pseudo(src, dst) || advert.is_valid_alone(),
            (3, false) => advert.is_valid_with_pseudo(src, dst),
            _ => false,
        }
}

#[cfg(test)]
mod tests;
