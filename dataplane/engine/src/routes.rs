//! Where packets go: routes by longest prefix, and the next hop of an address.
//!
//! A mirror of the kernel's routing table as far as Weir needs it: unicast routes of the main
//! table. Multipath and policy routing stay with the kernel.

use core::net::IpAddr;

use weir_wire::addr::{Address, MacAddr};

use crate::id::PortId;
use crate::tables::Map;

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Everything is known.
    Ready(NextHop),
    /// The neighbour's MAC is not known yet.
    Unresolved {
        /// The port that leads there.
        port: PortId,
        /// The neighbour to ask for: a gateway, or the address itself.
        neighbour: IpAddr,
    },
    /// No route.
    NoRoute,
}

/// A resolved next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The port that leads there.
    pub port: PortId,
    /// The neighbour's MAC.
    pub mac: MacAddr,
}

/// Routes of one family, for longest-prefix match.
#[derive(Debug)]
pub struct Routes<A: Address> {
    /// Longest prefix first; one map per prefix length in use.
    lengths: Vec<(u8, Map<u128, Route<A>>)>,
    /// The first 16 bits of addresses, by number, that some other route than the default one may
    /// hold: 8 KiB. Most clients are nowhere near them.
    near: Box<[u64; 1024]>,
    /// The route to everywhere else.
    default: Option<Route<A>>,
}

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<A: Address> {
    /// The port that leads there.
    pub port: PortId,
    /// The next router; `None`: the destination is on-link.
    pub gateway: Option<A>,
    /// Preferred source address, from the kernel (`src`), or a DIP of the port.
    pub source: Option<A>,
}

impl<A: Address> Default for Routes<A> {
    fn default() -> Self {
        Self {
            lengths: Vec::new(),
            near: Box::new([0; 1024]),
            default: None,
        }
    }
}

/// The first `len` bits of an address, as a number.
#[inline]
fn prefix<A: Address>(address: A, len: u8) -> u128 {
    let host_bits = (A::LEN * 8).saturating_sub(usize::from(len));
    let mask = u128::MAX
        .checked_shl(u32::try_from(host_bits).unwrap_or(128))
        .unwrap_or(0);
    address.bits() & mask
}

/// The place of an address's first 16 bits among [`Routes::near`].
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "16 bits are left")]
fn near<A: Address>(address: A) -> (usize, u32) {
    let first = (address.bits() >> (A::LEN * 8 - 16)) as usize;
    (first / 64, (first % 64) as u32)
}

/// Marks what a route with a prefix of at least one bit may hold.
fn mark<A: Address>(near_bits: &mut [u64; 1024], address: A, len: u8) {
    let (word, bit) = near(address);
    let first = word * 64 + bit as usize;
    // A prefix shorter than 16 bits covers a power of two of them.
    let covered = 1 << 16_u8.saturating_sub(len);
    let begin = first & !(covered - 1);
    for place in begin..begin + covered {
        near_bits[place / 64] |= 1 << (place % 64);
    }
}

impl<A: Address> Routes<A> {
    /// Whether no route but the default one may hold an address.
    #[inline(always)]
    pub(crate) fn is_far(&self, address: A) -> bool {
        let (word, bit) = near(address);
        self.near[word] >> bit & 1 == 0
    }

    /// The default route.
    pub(crate) const fn default_route(&self) -> Option<Route<A>> {
        self.default
    }

    /// The route with the longest prefix that holds `address`. One map look-up per prefix length
    /// in use, or one in all if only the default route can hold it.
    #[inline]
    pub fn lookup(&self, address: A) -> Option<Route<A>> {
        if self.is_far(address) {
            return self.default;
        }
        self.lengths
            .iter()
            .find_map(|(len, map)| map.get(&prefix(address, *len)).copied())
    }

    /// The port that leads to an address, and the neighbour there that takes its frames: a gateway,
    /// or the address itself.
    #[inline]
    pub fn neighbour(&self, address: A) -> Option<(PortId, A)> {
        let route = self.lookup(address)?;
        Some((route.port, route.gateway.unwrap_or(address)))
    }

    /// The way to an address, given the MACs of neighbours.
    #[inline]
    pub fn hop(&self, address: A, neighbours: &Map<(PortId, A), MacAddr>) -> Hop {
        let Some((port, neighbour)) = self.neighbour(address) else {
            return Hop::NoRoute;
        };
        match neighbours.get(&(port, neighbour)) {
            Some(&mac) => Hop::Ready(NextHop { port, mac }),
            None => Hop::Unresolved {
                port,
                neighbour: neighbour.into(),
            },
        }
    }

    /// All routes, longest prefix first: the prefix as a number, its length, the route.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u8, &Route<A>)> {
        let rows = self.lengths.iter();
        rows.flat_map(|(len, map)| map.iter().map(|(bits, route)| (*bits, *len, route)))
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// How many routes there are.
    pub fn count(&self) -> usize {
        self.lengths.iter().map(|(_, map)| map.len()).sum()
    }
}

impl<A: Address> FromIterator<(A, u8, Route<A>)> for Routes<A> {
    /// Builds from (prefix, prefix length, route); of two routes to one prefix the first stays.
    ///
    /// Host bits of the prefix are ignored, and lengths past the address are host routes.
    fn from_iter<I: IntoIterator<Item = (A, u8, Route<A>)>>(routes: I) -> Self {
        let mut all = Self::default();
        let lengths = &mut all.lengths;
        for (address, len, route) in routes {
            let len = len.min(u8::try_from(A::LEN * 8).unwrap_or(u8::MAX));
            let at = lengths
                .binary_search_by(|(other, _)| len.cmp(other))
                .unwrap_or_else(|at| {
                    lengths.insert(at, (len, Map::default()));
                    at
                });
            lengths[at].1.entry(prefix(address, len)).or_insert(route);
            if len == 0 {
                all.default.get_or_insert(route);
            } else {
                mark(&mut all.near, address, len);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn via<A: Address>(port: u16) -> Route<A> {
        Route {
            port: PortId(port),
            gateway: None,
            source: None,
        }
    }

    #[test]
    fn the_longest_prefix_wins() {
        let routes: Routes<Ipv4Addr> = [
            (Ipv4Addr::new(0, 0, 0, 0), 0, via(0)),
            (Ipv4Addr::new(10, 1, 2, 3), 8, via(1)),
            (Ipv4Addr::new(10, 1, 0, 0), 16, via(2)),
            (Ipv4Addr::new(10, 1, 0, 7), 32, via(3)),
            (Ipv4Addr::new(10, 1, 0, 0), 16, via(9)),
        ]
        .into_iter()
        .collect();
        let port = |a, b, c, d| routes.lookup(Ipv4Addr::new(a, b, c, d)).unwrap().port.0;
        assert_eq!(
            [port(8, 8, 8, 8), port(10, 9, 9, 9), port(10, 1, 9, 9)],
            [0, 1, 2]
        );
        assert_eq!(port(10, 1, 0, 7), 3);
        assert_eq!(routes.count(), 4);
    }

    #[test]
    fn an_address_far_from_all_prefixes_takes_the_default_route_or_none() {
        let short = [(Ipv4Addr::new(64, 0, 0, 0), 3, via(1))];
        let with_default = [(Ipv4Addr::UNSPECIFIED, 0, via(0))];
        let routes: Routes<Ipv4Addr> = short.into_iter().chain(with_default).collect();
        let port = |a: u8| routes.lookup(Ipv4Addr::new(a, 255, 0, 1)).map(|r| r.port.0);
        let ports = [63, 64, 95, 96].map(port);
        assert_eq!(ports, [Some(0), Some(1), Some(1), Some(0)]);
        let routes: Routes<Ipv4Addr> = short.into_iter().collect();
        assert_eq!(routes.lookup(Ipv4Addr::new(96, 0, 0, 1)), None);
        assert_eq!(routes.lookup(Ipv4Addr::new(65, 0, 0, 1)), Some(via(1)));
    }

    #[test]
    fn ipv6_prefixes_of_every_length_hold_their_own_address() {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 0xffff);
        for len in 0..=128 {
            let routes: Routes<Ipv6Addr> = [(address, len, via(1))].into_iter().collect();
            assert_eq!(routes.lookup(address), Some(via(1)), "/{len}");
            let flipped = Ipv6Addr::from_bits(address.to_bits() ^ 1 << 127);
            assert_eq!(routes.lookup(flipped).is_some(), len == 0, "/{len}");
        }
        assert!(Routes::<Ipv6Addr>::default().lookup(address).is_none());
    }
}
