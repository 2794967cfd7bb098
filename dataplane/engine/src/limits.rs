//! Every limit of the engine with its arithmetic, and the token buckets that keep the ones in time.
//!
//! docs/LIMITS.md lists the same numbers for operators. Nothing here reads a clock or grows.

use core::fmt;
use core::time::Duration;

use weir_wire::addr::{Address, MacAddr};

use crate::flow::HashKey;
use crate::time::Time;

/// Default of `runtime.flows_per_worker`: 2^20 flows. 80 MiB for IPv4, 144 MiB for IPv6: a quarter
/// as many 64-octet buckets, and an entry of 64 or 128 octets per flow.
pub const FLOWS_PER_WORKER: usize = 1 << 20;

/// Entries looked at by the expiry sweep in a loop that had frames. A busy loop takes some 5 µs, so
/// a table of 2^20 is swept in 2^16 loops, a third of a second; 16 sequential lines cost 30 ns.
pub const FLOWS_SWEPT_PER_LOOP: usize = 16;

/// Entries looked at by the expiry sweep in a loop that had none. Such a loop takes a fraction of a
/// microsecond, and frames may come meanwhile: 64 lines cost another, and 4 µs if all have expired.
pub const FLOWS_SWEPT_PER_IDLE_LOOP: usize = 64;

/// Entries looked at by the expiry sweep before a nap, which is longer. At naps of 500 µs a table
/// of 2^20 is swept in half a second.
pub const FLOWS_SWEPT_PER_NAP: usize = 1024;

/// Entries looked at by an insert that finds the table full; one that has expired is taken. A flood
/// of 5 M packets/s thus sweeps a table of 2^20 in 50 ms; four lines cost 10 to 20 ns.
pub const FLOWS_SWEPT_WHEN_FULL: usize = 4;

/// The same while there are flows that yield to new ones, half-open or closing: where every fifth
/// flow does, one of 16 does in 97 of 100 cases.
pub const FLOWS_SWEPT_FOR_ROOM: usize = 16;

/// A full table is flooded if one flow in so many is half open: SYNs then go on without a flow. At
/// 2^20 flows that is 131,072: a million connections a second, an eighth of one after their SYN.
pub const HALF_OPEN_SHARE: usize = 8;

/// Fragmented packets that a worker tracks at a time, per address family. At 64 and 96 octets each:
/// 256 and 384 KiB. Packets are forgotten when complete, so this is what may be in flight, or lost,
/// within [`FRAGMENT_LIFE`]; beyond it the oldest of eight goes.
pub const FRAGMENTS: usize = 4096;

/// How long an incomplete fragmented packet is remembered. RFC 791 suggests 15 s, RFC 8200 §4.5
/// says 60 s; Linux takes 30 s.
pub const FRAGMENT_LIFE: Duration = Duration::from_secs(30);

/// Runs of data, with gaps between them, that are told apart in a fragmented packet. In order there
/// is one; six are left for reordering.
pub const FRAGMENT_RUNS: usize = 6;

/// Clients whose answers are limited separately, in pairs of slots of 16 octets: 64 KiB per worker.
/// Clients beyond it share.
pub const ANSWER_CLIENTS: usize = 4096;

/// MACs whose ARP, ND and VRRP for control are limited separately, in pairs of slots of 16 octets:
/// twice 16 KiB per worker. An on-link neighbourhood is some hundred; beyond it they share.
pub const PUNT_SOURCES: usize = 1024;

/// Permission for so many events per second, and for a burst of as many as one second brings.
///
/// Kept as one time stamp (the virtual scheduling of ITU-T I.371, "GCRA"): each event moves it on
/// by one interval, and an event is too early if that has run ahead of the clock by a whole burst.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: Rate,
    due: Due,
}

/// How often, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    /// Nanoseconds from one event to the next; 0: unlimited.
    interval: u64,
    /// How far ahead of the clock events may run, in nanoseconds.
    ahead_max: u64,
}

/// When the bucket is full again.
#[derive(Clone, Copy, Debug, Default)]
struct Due(u64);

impl Rate {
    /// `rate` 0 is unlimited; a `burst` of 0 counts as 1.
    const fn new(rate: u32, burst: u32) -> Self {
        if rate == 0 {
            return Self {
                interval: 0,
                ahead_max: 0,
            };
        }
        let interval = 1_000_000_000_u64.div_ceil(rate as u64);
        Self {
            interval,
            ahead_max: interval * (burst as u64).saturating_sub(1),
        }
    }
}

impl Due {
    #[inline]
    fn is_ready(self, rate: Rate, now: Time) -> bool {
        self.0.saturating_sub(now.as_nanos()) <= rate.ahead_max
    }

    #[inline]
    fn take(&mut self, rate: Rate, now: Time) -> bool {
        if !self.is_ready(rate, now) {
            return false;
        }
        self.0 = self.0.max(now.as_nanos()).saturating_add(rate.interval);
        true
    }
}

impl TokenBucket {
    /// A full bucket of `burst` tokens that gains `rate` per second; `rate` 0 is unlimited.
    pub const fn new(rate: u32, burst: u32) -> Self {
        Self {
            rate: Rate::new(rate, burst),
            due: Due(0),
        }
    }

    /// Whether there is a token.
    #[inline]
    pub fn is_ready(&self, now: Time) -> bool {
        self.due.is_ready(self.rate, now)
    }

    /// Takes a token. `false`: there is none.
    #[inline]
    pub fn take(&mut self, now: Time) -> bool {
        self.due.take(self.rate, now)
    }

    /// Changes rate and burst, and keeps what has been taken.
    pub const fn set(&mut self, rate: u32, burst: u32) {
        self.rate = Rate::new(rate, burst);
    }
}

/// A token bucket for each of many clients, in a table of fixed size.
///
/// A client has two slots to be in, by a hash that is keyed per boot. If both are busy with others,
/// it shares the first: it may be refused for their sake, never allowed more than its rate. That is
/// the side to err on for answers, which spoofed sources ask for (D39).
pub struct ClientBuckets {
    rate: Rate,
    hash_key: HashKey,
    slots: Box<[ClientSlot]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ClientSlot {
    client: u64,
    due: Due,
}

const _: () = assert!(size_of::<ClientSlot>() == 16);

impl fmt::Debug for ClientBuckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientBuckets({} slots)", self.slots.len())
    }
}

impl ClientBuckets {
    /// Full buckets for `clients` clients, at least two. Allocates; for start-up.
    pub fn new(clients: usize, rate: u32, burst: u32, hash_key: HashKey) -> Self {
        let slots = clients.max(2).next_multiple_of(2);
        Self {
            rate: Rate::new(rate, burst),
            hash_key,
            slots: vec![ClientSlot::default(); slots].into_boxed_slice(),
        }
    }

    /// Takes a token of a client's. `false`: it has none.
    #[inline]
    pub fn take<A: Address>(&mut self, client: A, now: Time) -> bool {
        self.rate.interval == 0 || self.take_hashed(self.hash_key.hash_address(client), now)
    }

    /// The same for a client that is known by its MAC.
    pub fn take_mac(&mut self, client: MacAddr, now: Time) -> bool {
        self.rate.interval == 0 || self.take_hashed(self.hash_key.hash_mac(client), now)
    }

    fn take_hashed(&mut self, client: u64, now: Time) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "usize has 64 bits where DPDK runs"
        )]
        let first = client as usize % (self.slots.len() / 2) * 2;
        let pair = &mut self.slots[first..first + 2];
        let slot = if let Some(own) = pair.iter().position(|slot| slot.client == client) {
            own
        } else if let Some(idle) = pair.iter().position(|slot| slot.due.0 <= now.as_nanos()) {
            pair[idle] = ClientSlot {
                client,
                due: Due(0),
            };
            idle
        } else {
            0
        };
        pair[slot].due.take(self.rate, now)
    }

    /// Changes rate and burst, and keeps what has been taken.
    pub const fn set(&mut self, rate: u32, burst: u32) {
        self.rate = Rate::new(rate, burst);
    }
}

#[cfg(test)]
mod tests;
