//! Maglev: a consistent-hash table that every director builds alike.
//!
//! Each server walks the table in an order of its own, given by a keyed hash of its address and
//! port, and takes the next free slot when its turn comes; turns follow weights. The result is even
//! and changes little when a server comes or goes (Eisenbud et al., NSDI 2016, §3.4). The size is a
//! prime, fixed per service: were it to follow the number of servers, nearly all slots would move.
//!
//! Directors must agree on tables and on clients' hashes, so both use SipHash with the cluster's
//! key, never the flow table's per-boot hash. Tables are built off the packet path.

use core::net::IpAddr;
use core::{fmt, mem};
use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher24};
use weir_wire::addr::{Address, L4Port, Protocol};

use crate::flow::FlowKey;

/// The secret that all directors of a cluster share: `cluster.key`, or zeros.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterKey(pub [u8; 16]);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(secret)")
    }
}

/// Number of slots: a prime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaglevSize(u32);

impl MaglevSize {
    /// 65,537 slots: 1 % steps for 650 servers; 128 KiB.
    pub const DEFAULT: Self = Self(65_537);
    /// The largest size, 2^23 + 9 slots: 16 MiB. More is surely a mistake.
    pub const MAX: Self = Self(8_388_617);

    /// `None` unless `slots` is a prime from 2 to [`MaglevSize::MAX`].
    pub const fn new(slots: u32) -> Option<Self> {
        if slots < 2 || slots > Self::MAX.0 {
            return None;
        }
        let mut divisor = 2;
        while divisor * divisor <= slots {
            if slots.is_multiple_of(divisor) {
                return None;
            }
            divisor += 1;
        }
        Some(Self(slots))
    }

    /// Enough for a service whose scheduler is another one, and that needs a table only for the
    /// time when the flow table is full: at least 16 slots per server.
    ///
    /// In steps of 16, so that the size seldom follows the number of servers.
    pub const fn fallback(servers: usize) -> Self {
        match servers {
            0..=15 => Self(251),
            16..=255 => Self(4093),
            _ => Self::DEFAULT,
        }
    }

    /// Slots.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What all directors know a server by: its address and L4 port, not its place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaglevIdentity([u8; 18]);

impl MaglevIdentity {
    /// The identity of a server. IPv4 addresses count as v4-mapped.
    pub fn new(address: IpAddr, port: L4Port) -> Self {
        let octets = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let mut identity = [0; 18];
        identity[..16].copy_from_slice(&octets);
        identity[16..].copy_from_slice(&port.to_be_bytes());
        Self(identity)
    }
}

/// A server that is to have slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaglevServer {
    /// Who it is.
    pub identity: MaglevIdentity,
    /// Its share; 0: none.
    pub weight: u32,
}

/// A Maglev table: positions in the list of servers that it was built from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MaglevTable {
    slots: Box<[u16]>,
}

impl fmt::Debug for MaglevTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaglevTable({} slots)", self.slots.len())
    }
}

/// A server that takes turns: its walk through the table.
struct Walker {
    position: u16,
    weight: u64,
    credit: u64,
    next: u32,
    skip: u32,
}

impl MaglevTable {
    /// Servers that a table can tell apart; those after are left out. Control refuses more.
    pub const SERVERS_MAX: usize = 1 << 16;

    /// Builds the table. The order of `servers` decides only what their positions are called.
    ///
    /// Empty if no server has a weight. About 1 ms for 65,537 slots and 1000 servers of one weight;
    /// up to slots × servers steps where weights differ extremely. Never on the packet path.
    pub fn build(size: MaglevSize, servers: &[MaglevServer], key: &ClusterKey) -> Self {
        let with_weight = servers.iter().zip(0..=u16::MAX);
        let with_weight = with_weight.filter(|(server, _)| server.weight > 0);
        let mut order: Vec<_> = with_weight
            .map(|(server, position)| (server.identity, position))
            .collect();
        order.sort_unstable();
        // Walkers are small, so that those of a thousand servers stay in the first-level cache.
        let mut walkers: Vec<Walker> = order
            .iter()
            .map(|&(_, position)| walker(&servers[usize::from(position)], position, size, key))
            .collect();
        let Some(weight_max) = walkers.iter().map(|walker| walker.weight).max() else {
            return Self::default();
        };
        let mut slots = vec![0_u16; size.0 as usize].into_boxed_slice();
        let mut taken = Bits::new(size);
        let mut left = size.0;
        while left > 0 {
            for walker in &mut walkers {
                walker.credit += walker.weight;
                if walker.credit < weight_max {
                    continue;
                }
                walker.credit -= weight_max;
                slots[walker.take(&mut taken, size) as usize] = walker.position;
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        Self { slots }
    }

    /// The position of the server for a client's hash; `None` if the table is empty.
    #[inline]
    pub fn pick(&self, hash: ClientHash) -> Option<usize> {
        // Multiply and shift: as even as a remainder, without a division.
        let slot = (u128::from(hash.0) * self.slots.len() as u128) >> 64;
        #[expect(clippy::cast_possible_truncation, reason = "below the number of slots")]
        self.slots
            .get(slot as usize)
            .map(|&position| usize::from(position))
    }

    /// The positions in all slots.
    pub const fn slots(&self) -> &[u16] {
        &self.slots
    }

    /// Octets of memory.
    pub const fn memory(&self) -> usize {
        mem::size_of_val::<[u16]>(&self.slots)
    }
}

fn walker(server: &MaglevServer, position: u16, size: MaglevSize, key: &ClusterKey) -> Walker {
    let mut hasher = SipHasher24::new_with_key(&key.0);
    hasher.write(&server.identity.0);
    let hash = hasher.finish128();
    #[expect(clippy::cast_possible_truncation, reason = "remainders of a u32")]
    let (next, skip) = (
        (hash.h1 % u64::from(size.0)) as u32,
        (hash.h2 % u64::from(size.0 - 1) + 1) as u32,
    );
    Walker {
        position,
        weight: u64::from(server.weight),
        credit: 0,
        next,
        skip,
    }
}

impl Walker {
    /// Takes the next free slot of the walk. There must be one.
    #[inline]
    fn take(&mut self, taken: &mut Bits, size: MaglevSize) -> u32 {
        loop {
            let slot = self.next;
            // Modulo the size. Each step waits for the one before, so it is two instructions long:
            // an addition that carries where the end was passed, and a choice by the carry.
            let (wrapped, past_end) = slot.overflowing_add(self.skip.wrapping_sub(size.0));
            self.next = if past_end { wrapped } else { slot + self.skip };
            if taken.set(slot) {
                return slot;
            }
        }
    }
}

/// A set of slots, small enough for the first-level cache.
struct Bits(Box<[u64]>);

impl Bits {
    fn new(size: MaglevSize) -> Self {
        Self(vec![0; size.0.div_ceil(64) as usize].into_boxed_slice())
    }

    /// Sets a bit; `false` if it was set before.
    #[inline]
    fn set(&mut self, bit: u32) -> bool {
        let (word, mask) = (&mut self.0[(bit / 64) as usize], 1 << (bit % 64));
        let fresh = *word & mask == 0;
        *word |= mask;
        fresh
    }
}

/// A client's hash, the same on every director of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientHash(pub u64);

impl ClientHash {
    /// Hashes client and VIP of a forward key.
    pub fn of<A: Address>(key: &FlowKey<A>, cluster: &ClusterKey) -> Self {
        let (client, remote) = (key.client.octets(), key.remote.octets());
        let [c0, c1] = key.client_port.to_be_bytes();
        let [r0, r1] = key.remote_port.to_be_bytes();
        let Protocol(protocol) = key.protocol;
        // One write of 13 or 37 octets: SipHash is slow to begin and to end one.
        let mut octets = [0; 37];
        let addresses = 2 * A::LEN;
        octets[..A::LEN].copy_from_slice(client.as_ref());
        octets[A::LEN..addresses].copy_from_slice(remote.as_ref());
        octets[addresses..addresses + 5].copy_from_slice(&[c0, c1, r0, r1, protocol]);
        let mut hasher = SipHasher13::new_with_key(&cluster.0);
        hasher.write(&octets[..addresses + 5]);
        Self(hasher.finish())
    }
}

/// The position of the server that a flow is given without being remembered (flow table full).
///
/// Needs the service's [`MaglevTable`], which control builds for every service (of
/// [`MaglevSize::fallback`] slots unless its scheduler is `maglev`), from servers whose replies can
/// be told apart without a flow: all in DR and TUN, in NAT those whose address and port serve one
/// VIP only.
#[inline]
pub fn stateless_pick(table: &MaglevTable, hash: ClientHash) -> Option<usize> {
    table.pick(hash)
}

#[cfg(test)]
mod tests;
