//! Which ports the first fragment of a packet had, and what has come of that packet since.
//!
//! A bounded table: sets of eight, the oldest of which makes room. Only first fragments take a
//! place in it, so later ones cannot fill it (D28). A packet is forgotten when all of it has come,
//! or after [`FRAGMENT_LIFE`]; nothing has to be swept. Packets whose parts overlap are hostile,
//! whoever sent them (teardrop; RFC 1858, RFC 5722): the rest of such a packet is refused. Of a
//! part that comes twice only the repetition is.
//!
//! Later fragments that come before their first are not kept here; the caller may hold them and ask
//! again. Tiny first fragments are refused by the parser.

use weir_wire::addr::{Address, L4Port, Protocol};

use crate::flow::{FlowKey, HashKey};
use crate::limits::{FRAGMENT_LIFE, FRAGMENT_RUNS};
use crate::time::{Tick, Ticks, Time};

/// What all fragments of a packet have in common, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentKey<A: Address> {
    src: A,
    dst: A,
    id: u32,
    protocol: Protocol,
}

impl<A: Address> FragmentKey<A> {
    /// The key of a fragment.
    ///
    /// `protocol` does not count in IPv6: later fragments may name an extension header there
    /// (RFC 8200 §4.5).
    pub fn new(src: A, dst: A, id: u32, protocol: Protocol) -> Self {
        let protocol = if A::LEN == 4 { protocol } else { Protocol(0) };
        Self {
            src,
            dst,
            id,
            protocol,
        }
    }
}

/// What only the first fragment tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentPorts {
    /// Source port.
    pub sport: L4Port,
    /// Destination port.
    pub dport: L4Port,
    /// The L4 protocol.
    pub protocol: Protocol,
}

/// A fragment's data within its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentData {
    /// Where it begins, in octets.
    pub offset: u16,
    /// Octets. Offset and length together are at most 65,535, which the parser has seen to.
    pub len: u16,
    /// Whether the packet ends here.
    pub last: bool,
}

/// A fragment that must be dropped: it repeats or overlaps another, or its packet was hostile
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap;

/// Packets in a set: a keyed hash names the set, and its oldest packet makes room.
const WAYS: usize = 8;

/// The identification of IPv4 wraps after 65,536 packets, a second or more at the rates at which
/// anybody should fragment. A first fragment repeated after that begins another packet.
const REUSE: Ticks = Ticks::from_duration(core::time::Duration::from_secs(1));

const LIFE: Ticks = Ticks::from_duration(FRAGMENT_LIFE);

/// The fragmented packets that a worker knows of, of one address family.
#[derive(Clone, Debug)]
pub struct FragmentTable<A: Address> {
    packets: Box<[Packet<A>]>,
    set_count: u32,
    hash_key: HashKey,
}

/// A fragmented packet in progress.
#[derive(Clone, Copy, Debug)]
struct Packet<A: Address> {
    key: FragmentKey<A>,
    ports: FragmentPorts,
    state: State,
    since: Tick,
    runs: Runs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Open,
    /// Parts overlapped, but for mere repetitions; everything else of it is refused.
    Hostile,
}

impl<A: Address> FragmentTable<A> {
    /// An empty table for `capacity` packets, rounded up to a multiple of eight. Allocates; for
    /// start-up.
    ///
    /// # Panics
    /// If `capacity` is 2^32 or more.
    pub fn new(capacity: usize, hash_key: HashKey) -> Self {
        let free = Packet {
            key: FragmentKey::new(A::UNSPECIFIED, A::UNSPECIFIED, 0, Protocol(0)),
            ports: FragmentPorts {
                sport: L4Port::NONE,
                dport: L4Port::NONE,
                protocol: Protocol(0),
            },
            state: State::Free,
            since: Tick::default(),
            runs: Runs::default(),
        };
        let packets = vec![free; capacity.max(1).next_multiple_of(WAYS)].into_boxed_slice();
        let set_count = u32::try_from(packets.len() / WAYS).expect("fragment tables are small");
        Self {
            packets,
            set_count,
            hash_key,
        }
    }

    /// Packets that fit.
    pub const fn capacity(&self) -> usize {
        self.packets.len()
    }

    /// Packets in progress. Walks the whole table: for reports.
    pub fn len(&self, now: Time) -> usize {
        self.packets
            .iter()
            .filter(|packet| packet.is_live(now.tick()))
            .count()
    }

    /// Whether no packet is in progress. Walks the table.
    pub fn is_empty(&self, now: Time) -> bool {
        self.len(now) == 0
    }

    /// Notes a first fragment (`data.offset` 0), after which its packet's later ones are known.
    ///
    /// # Errors
    /// [`Overlap`] if the packet had a first fragment within the last second.
    pub fn insert(
        &mut self,
        key: &FragmentKey<A>,
        ports: FragmentPorts,
        data: FragmentData,
        now: Time,
    ) -> Result<(), Overlap> {
        let now = now.tick();
        let set = self.set(key);
        let place = match set
            .iter()
            .position(|packet| packet.is_live(now) && packet.key == *key)
        {
            Some(place) if now.since(set[place].since) < REUSE => {
                if set[place].ports == ports {
                    set[place].refuse(data);
                } else {
                    set[place].state = State::Hostile;
                }
                return Err(Overlap);
            }
            Some(place) => place,
            None => oldest(set, now),
        };
        let mut runs = Runs::default();
        runs.add(data)?;
        set[place] = Packet {
            key: *key,
            ports,
            state: State::Open,
            since: now,
            runs,
        };
        Ok(())
    }

    /// The ports of a later fragment's packet; `None`: its first fragment has not come, or too long
    /// ago. Notes the fragment, and forgets the packet if it was the last one missing.
    ///
    /// # Errors
    /// [`Overlap`] if the fragment overlaps another, or one of its packet did before.
    pub fn lookup(
        &mut self,
        key: &FragmentKey<A>,
        data: FragmentData,
        now: Time,
    ) -> Result<Option<FragmentPorts>, Overlap> {
        let now = now.tick();
        let set = self.set(key);
        let known = set
            .iter_mut()
            .find(|packet| packet.is_live(now) && packet.key == *key);
        let Some(packet) = known else { return Ok(None) };
        if packet.state == State::Hostile {
            return Err(Overlap);
        }
        if let Err(overlap) = packet.runs.add(data) {
            packet.refuse(data);
            return Err(overlap);
        }
        if packet.runs.is_complete() {
            packet.state = State::Free;
        }
        Ok(Some(packet.ports))
    }

    fn set(&mut self, key: &FragmentKey<A>) -> &mut [Packet<A>] {
        let [a, b, c, d] = key.id.to_be_bytes();
        let hash = self.hash_key.hash(&FlowKey {
            client: key.src,
            remote: key.dst,
            client_port: L4Port::from_be_bytes([a, b]),
            remote_port: L4Port::from_be_bytes([c, d]),
            protocol: key.protocol,
        });
        let first = hash.home(self.set_count) as usize * WAYS;
        &mut self.packets[first..first + WAYS]
    }
}

impl<A: Address> Packet<A> {
    fn is_live(&self, now: Tick) -> bool {
        self.state != State::Free && now.since(self.since) < LIFE
    }

    /// Condemns the packet for a fragment that does not fit in, unless it brings nothing new: links
    /// do repeat frames, and the server gets only the first of both (RFC 8200 section 4.5).
    fn refuse(&mut self, data: FragmentData) {
        if !self.runs.cover(data) {
            self.state = State::Hostile;
        }
    }
}

/// A free place, else the oldest packet's.
fn oldest<A: Address>(set: &[Packet<A>], now: Tick) -> usize {
    let age = |packet: &Packet<A>| (!packet.is_live(now), now.since(packet.since));
    let ages = (0..).zip(set).max_by_key(|(_, packet)| age(packet));
    ages.map_or(0, |(place, _)| place)
}

/// The parts of a packet that have come, as runs without gaps, in order.
///
/// Overlaps are seen as long as the runs suffice; a packet in more pieces than that is passed on
/// unjudged, for the server's own reassembly to judge.
#[derive(Clone, Copy, Debug, Default)]
struct Runs {
    /// First and past-the-end octets; `len` of them count.
    runs: [(u16, u16); FRAGMENT_RUNS],
    len: u8,
    /// The packet's length, once its end has come.
    total: Option<u16>,
    /// There were more runs than fit: neither overlaps nor completeness are known any more.
    lost: bool,
}

impl Runs {
    fn add(&mut self, data: FragmentData) -> Result<(), Overlap> {
        let (start, end) = (
            data.offset,
            data.offset.checked_add(data.len).ok_or(Overlap)?,
        );
        if self.lost {
            return Ok(());
        }
        let len = usize::from(self.len);
        let beyond = self.total.is_some_and(|total| data.last || end > total);
        let cut_off = data.last && len > 0 && self.runs[len - 1].1 > end;
        // Runs are in order: those before `at` begin before the fragment.
        let at = self.runs[..len].partition_point(|run| run.0 < start);
        let overlaps = at > 0 && self.runs[at - 1].1 > start || at < len && self.runs[at].0 < end;
        if beyond || cut_off || overlaps {
            return Err(Overlap);
        }
        if data.last {
            self.total = Some(end);
        }
        let (joins_left, joins_right) = (
            at > 0 && self.runs[at - 1].1 == start,
            at < len && self.runs[at].0 == end,
        );
        match (joins_left, joins_right) {
            (true, true) => {
                self.runs[at - 1].1 = self.runs[at].1;
                self.runs.copy_within(at + 1..len, at);
                self.len -= 1;
            }
            (true, false) => self.runs[at - 1].1 = end,
            (false, true) => self.runs[at].0 = start,
            (false, false) if len < FRAGMENT_RUNS => {
                self.runs.copy_within(at..len, at + 1);
                self.runs[at] = (start, end);
                self.len += 1;
            }
            (false, false) => self.lost = true,
        }
        Ok(())
    }

    /// Whether all of a fragment has come before.
    fn cover(&self, data: FragmentData) -> bool {
        let end = data.offset.saturating_add(data.len);
        let runs = &self.runs[..usize::from(self.len)];
        let same_end = !data.last || self.total == Some(end);
        same_end && runs.iter().any(|run| run.0 <= data.offset && end <= run.1)
    }

    fn is_complete(&self) -> bool {
        !self.lost && self.len == 1 && self.total.is_some_and(|total| self.runs[0] == (0, total))
    }
}

#[cfg(test)]
mod tests;
