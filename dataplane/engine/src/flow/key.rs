//! What a flow is found by, and the keyed hash of it.

use core::fmt;
use core::net::Ipv6Addr;

use weir_wire::addr::{Address, L4Port, MacAddr, Protocol};

/// The two ends of a flow, as seen on one side of the director.
///
/// `client` is the client in both directions: the source of what goes to servers, the destination
/// of what comes back. `remote` is the VIP on the way in and, for flows whose replies come back
/// through the director, the server's own address on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey<A: Address> {
    /// The client.
    pub client: A,
    /// The VIP, or the RIP in the reverse direction.
    pub remote: A,
    /// The client's L4 port.
    pub client_port: L4Port,
    /// The VIP's L4 port, or the server's in the reverse direction.
    pub remote_port: L4Port,
    /// TCP, UDP…
    pub protocol: Protocol,
}

impl<A: Address> FlowKey<A> {
    /// The key of a packet that goes the other way.
    #[inline]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            client: self.remote,
            remote: self.client,
            client_port: self.remote_port,
            remote_port: self.client_port,
            protocol: self.protocol,
        }
    }

    /// Whether both ends have a port: a flow may begin only between such.
    #[inline(always)]
    pub(crate) fn has_ports(&self) -> bool {
        self.client_port != L4Port::NONE && self.remote_port != L4Port::NONE
    }
}

/// The hash of a flow key: its high half names buckets, its low 16 bits are the tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct FlowHash(pub(super) u64);

impl FlowHash {
    /// The 64 bits, for whoever needs a per-boot keyed hash of a flow anyway.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The bucket's tag; never 0, which marks a free slot.
    #[inline]
    pub(super) const fn tag(self) -> u16 {
        let [low, high, ..] = self.0.to_le_bytes();
        let tag = u16::from_le_bytes([low, high]);
        if tag == 0 { 1 } else { tag }
    }

    /// The home bucket among `count`, without a division.
    #[inline]
    pub(crate) const fn home(self, count: u32) -> u32 {
        // The product of two 32-bit numbers, shifted right by 32, is below `count`.
        (((self.0 >> 32) * count as u64) >> 32) as u32
    }
}

/// The hash's secret, drawn at start and never shown (HashDoS, D66).
///
/// The hash folds 64×64→128-bit products of the key xored with secrets, twice in a row. ahash does
/// the same where AES instructions are missing; our own is used so that the result does not hang
/// on the build's target features, and because 13 and 37 octets need no length handling: 2 ns, a
/// tenth of SipHash-1-3. It need not agree between directors or boots.
#[derive(Clone, Copy)]
pub struct HashKey([u64; 4]);

impl HashKey {
    /// Takes 32 random octets.
    pub const fn new(seed: [u64; 4]) -> Self {
        // A secret of 0 would let input words through as they are. Each xor keeps the entropy.
        Self([
            seed[0] ^ 0x9e37_79b9_7f4a_7c15,
            seed[1] ^ 0xbf58_476d_1ce4_e5b9,
            seed[2] ^ 0x94d0_49bb_1331_11eb,
            seed[3] ^ 0xd6e8_feb8_6659_fd93,
        ])
    }

    /// Hashes an address.
    #[inline]
    pub fn hash_address<A: Address>(&self, address: A) -> u64 {
        let [k0, k1, k2, k3] = self.0;
        let (high, low) = halves(address.bits());
        fold(fold(high ^ k1, low ^ k0) ^ k2, k3)
    }

    /// Hashes a MAC.
    #[inline]
    pub fn hash_mac(&self, MacAddr([a, b, c, d, e, f]): MacAddr) -> u64 {
        self.hash_address(Ipv6Addr::from([
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f,
        ]))
    }

    /// Hashes a key.
    #[inline]
    pub fn hash<A: Address>(&self, key: &FlowKey<A>) -> FlowHash {
        let [k0, k1, k2, k3] = self.0;
        // In the order in which a key lies in memory, for that takes no time.
        let ports = u64::from(key.client_port.0)
            | u64::from(key.remote_port.0) << 16
            | u64::from(key.protocol.0) << 32;
        let addresses = if A::LEN == 4 {
            (halves(key.client.bits()).1 << 32 | halves(key.remote.bits()).1).swap_bytes()
        } else {
            let (client, remote) = (halves(key.client.bits()), halves(key.remote.bits()));
            fold(
                fold(client.0 ^ k2, client.1 ^ k3) ^ remote.0 ^ k0,
                remote.1 ^ k1,
            )
        };
        let mixed = fold(addresses ^ k0, ports ^ k1);
        FlowHash(fold(mixed ^ k2, addresses.rotate_left(32) ^ k3))
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

/// The high and low halves.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "splits a number in two")]
const fn halves(wide: u128) -> (u64, u64) {
    ((wide >> 64) as u64, wide as u64)
}

/// The two halves of the product, xored.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let (high, low) = halves(a as u128 * b as u128);
    high ^ low
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn key(client: u32, port: u16) -> FlowKey<Ipv4Addr> {
        FlowKey {
            client: Ipv4Addr::from_bits(client),
            remote: Ipv4Addr::new(10, 9, 9, 9),
            client_port: L4Port(port),
            remote_port: L4Port(80),
            protocol: Protocol::TCP,
        }
    }

    #[test]
    fn d66_another_boot_gives_another_hash() {
        let (a, b) = (HashKey::new([1, 2, 3, 4]), HashKey::new([1, 2, 3, 5]));
        let differ = (0..1000)
            .filter(|&i| a.hash(&key(i, 1)) != b.hash(&key(i, 1)))
            .count();
        assert_eq!(differ, 1000);
    }

    #[test]
    fn every_input_bit_moves_about_half_of_the_hash() {
        let hasher = HashKey::new([11, 22, 33, 44]);
        let wide = FlowKey {
            client: Ipv6Addr::from_bits(0x2001_0db8_0000_0001_0203_0405_0607_0809),
            remote: Ipv6Addr::from_bits(0xfd00_0009_0000_0000_0000_0000_0000_0009),
            client_port: L4Port(40_000),
            remote_port: L4Port(443),
            protocol: Protocol::TCP,
        };
        let base = hasher.hash(&wide).bits();
        for bit in 0..128 {
            let mut other = wide;
            other.client = Ipv6Addr::from_bits(wide.client.to_bits() ^ 1 << bit);
            let flipped = (hasher.hash(&other).bits() ^ base).count_ones();
            assert!((14..=50).contains(&flipped), "client bit {bit}: {flipped}");
            let mut other = wide;
            other.remote = Ipv6Addr::from_bits(wide.remote.to_bits() ^ 1 << bit);
            let flipped = (hasher.hash(&other).bits() ^ base).count_ones();
            assert!((14..=50).contains(&flipped), "remote bit {bit}: {flipped}");
        }
        let base = hasher.hash(&key(0x0a00_0001, 1)).bits();
        for bit in 0..32 {
            let flipped = (hasher.hash(&key(0x0a00_0001 ^ 1 << bit, 1)).bits() ^ base).count_ones();
            assert!(
                (14..=50).contains(&flipped),
                "IPv4 client bit {bit}: {flipped}"
            );
        }
    }

    #[test]
    fn home_buckets_and_tags_are_spread_evenly() {
        let hasher = HashKey::new([5, 6, 7, 8]);
        let (mut homes, mut tags) = ([0_u32; 64], [0_u32; 64]);
        for i in 0..64_000 {
            let hash = hasher.hash(&key(0xac10_0000 + i / 250, 1024 + (i % 250) as u16));
            homes[hash.home(64) as usize] += 1;
            tags[usize::from(hash.tag() % 64)] += 1;
        }
        // 1000 expected, standard deviation 32: five of them.
        assert!(
            homes.iter().chain(&tags).all(|n| (840..=1160).contains(n)),
            "{homes:?} {tags:?}"
        );
    }
}
