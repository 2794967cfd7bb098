//! Which worker owns a flow: a Toeplitz hash over the client's address and L4 port, the part that
//! both directions of a NAT flow, its fragments and the ICMP errors about it have in common.
//!
//! It is the hash that NICs compute for receive-side scaling with source-only (client side) or
//! destination-only (server side) fields, so a NIC that can do that delivers to the owner by
//! itself, and software agrees with it for frames from devices that cannot. Refuses to balance by
//! load: an owner never changes while a process lives.

use std::sync::Arc;

use weir_wire::addr::{Address, L4Port};

use crate::id::WorkerId;

/// Entries of the indirection table: entry `i` names worker `i % workers`, as NICs are set up.
pub const INDIRECTION_LEN: usize = 128;
const _: () = assert!(INDIRECTION_LEN.is_power_of_two()); // index = hash & (len - 1)

/// Octets hashed at most: an IPv6 address and a port.
const INPUT_MAX: usize = 18;

/// The key of the published RSS verification suite; the first 22 octets matter here.
///
/// A NIC takes 40 octets or more, so all 40 are kept. A deployment that must not be predictable
/// passes its own key to [`Steering::new`].
pub const DEFAULT_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// One word per input position and octet value: the hash is their XOR. 18 KiB.
type Words = [[u32; 256]; INPUT_MAX];

/// Which worker owns which client.
#[derive(Clone, Debug)]
pub struct Steering {
    workers: u16,
    key: [u8; 40],
    /// Absent with one worker, who owns everything.
    words: Option<Arc<Words>>,
    indirection: [u8; INDIRECTION_LEN],
}

impl Default for Steering {
    fn default() -> Self {
        Self::new(1, DEFAULT_KEY)
    }
}

impl Steering {
    /// Steering among `workers` workers, 1 to 256.
    ///
    /// # Panics
    /// If `workers` is out of range: the configuration bounds it.
    pub fn new(workers: u16, key: [u8; 40]) -> Self {
        assert!(
            (1..=256).contains(&workers),
            "the configuration bounds the workers"
        );
        let indirection = core::array::from_fn(|i| {
            u8::try_from(i % usize::from(workers)).expect("less than 256 workers' count")
        });
        let words = (workers > 1).then(|| Arc::new(words(&key)));
        Self {
            workers,
            key,
            words,
            indirection,
        }
    }

    /// How many workers there are.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// The Toeplitz key, for the NICs.
    pub fn key(&self) -> &[u8; 40] {
        &self.key
    }

    /// Whether there is a choice at all.
    #[inline]
    pub fn is_single(&self) -> bool {
        self.words.is_none()
    }

    /// The owner of all flows of this client address and L4 port.
    #[inline]
    pub fn owner<A: Address>(&self, client: A, port: L4Port) -> WorkerId {
        let Some(words) = &self.words else {
            return WorkerId(0);
        };
        let hash = toeplitz(words, client.octets().as_ref(), port.to_be_bytes());
        WorkerId(u16::from(
            self.indirection[hash as usize & (INDIRECTION_LEN - 1)],
        ))
    }

    /// Whether this worker owns all flows of this client address and L4 port.
    #[inline(always)]
    pub fn owns<A: Address>(&self, worker: WorkerId, client: A, port: L4Port) -> bool {
        self.is_single() || self.owner(client, port) == worker
    }

    /// The worker that puts a fragmented packet of this client and IP identification in order.
    #[inline]
    pub fn fragment_owner<A: Address>(&self, client: A, id: u32) -> WorkerId {
        // IPv6 identifications have 32 bits, of which senders vary the low ones; both halves count.
        let [a, b, c, d] = id.to_be_bytes();
        self.owner(client, L4Port::from_be_bytes([a ^ c, b ^ d]))
    }
}

#[inline]
fn toeplitz(words: &Words, address: &[u8], port: [u8; 2]) -> u32 {
    let (of_address, of_port) = words.split_at(address.len().min(INPUT_MAX));
    let hash_of = |words: &[[u32; 256]], octets: &[u8]| {
        let words = words.iter().zip(octets);
        words.fold(0, |hash, (word, &octet)| hash ^ word[usize::from(octet)])
    };
    hash_of(of_address, address) ^ hash_of(of_port, &port)
}

/// The 32 key bits that begin at `bit`.
fn window(key: &[u8; 40], bit: usize) -> u32 {
    let wide = key[bit / 8..]
        .iter()
        .take(5)
        .fold(0u64, |wide, &octet| wide << 8 | u64::from(octet));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the 32 bits below the shifted-out ones"
    )]
    {
        (wide >> (8 - bit % 8)) as u32
    }
}

fn words(key: &[u8; 40]) -> Words {
    core::array::from_fn(|position| {
        core::array::from_fn(|octet| {
            (0..8)
                .filter(|bit| octet & (0x80 >> bit) != 0)
                .fold(0, |word, bit| word ^ window(key, position * 8 + bit))
        })
    })
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn toeplitz_agrees_with_a_bit_by_bit_reference() {
        let table = words(&DEFAULT_KEY);
        let input = [66u8, 9, 149, 187, 0x0a, 0xea];
        let mut reference = 0u32;
        for (i, octet) in input.iter().enumerate() {
            for bit in 0..8 {
                if octet >> (7 - bit) & 1 == 1 {
                    reference ^= window(&DEFAULT_KEY, i * 8 + bit);
                }
            }
        }
        assert_eq!(toeplitz(&table, &input[..4], [0x0a, 0xea]), reference);
    }

    #[test]
    fn toeplitz_matches_the_published_vector_for_addresses_only() {
        // The verification suite hashes source 66.9.149.187 and destination 161.142.100.80 to this.
        let table = words(&DEFAULT_KEY);
        let hash = toeplitz(&table, &[66, 9, 149, 187, 161, 142], [100, 80]);
        assert_eq!(hash, 0x323e_8fc2);
    }

    #[test]
    fn one_worker_owns_everything_and_many_share() {
        let client = Ipv4Addr::new(192, 0, 2, 1);
        let one = Steering::default();
        assert!(one.is_single());
        assert_eq!(one.owner(client, L4Port(5)), WorkerId(0));
        let four = Steering::new(4, DEFAULT_KEY);
        let mut shares = [0usize; 4];
        for port in 0..4096 {
            shares[usize::from(four.owner(client, L4Port(port)).0)] += 1;
        }
        assert!(shares.iter().all(|&n| n > 700), "{shares:?}");
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        assert_eq!(four.owner(v6, L4Port(9)), four.owner(v6, L4Port(9)));
    }
}
