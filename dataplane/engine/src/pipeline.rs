//! A burst's way through the engine, in stages, so that the memory latencies of its packets
//! overlap: parse → look up → decide → rewrite. Begin reading at [`Engine::run`].
//!
//! No allocation, lock, log, clock or growth. Every frame gets exactly one verdict. Frames that
//! are held, handed over or punted leave as they came, but for their note and, at times, how they
//! are cut into segments.

mod entry;
mod first;
mod straight;
mod way;

use core::net::{Ipv4Addr, Ipv6Addr};

use weir_wire::parse::Parsed;

use self::entry::Entry;
use self::first::Firsts;
pub(crate) use self::straight::Straight;
use self::straight::carry::Carrier;
pub(crate) use self::straight::recogniser::{Known, Recogniser};
use self::way::Way;
use crate::answer::Answer;
use crate::classify::{Arrival, Subject};
use crate::engine::{Engine, State};
use crate::family::Ip;
use crate::flow::{FlowHash, FlowTable, Hint};
use crate::id::DeviceId;
use crate::io::Io;
use crate::outcome::Outcome;
use crate::tables::{Tables, Vip};
use crate::time::Time;
use crate::verdict::{DropReason, Verdict};

/// The most frames in one burst.
pub const BURST_MAX: usize = 64;

/// Where a burst comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// A device's queue.
    Device(DeviceId),
    /// Other workers. Each frame's [`Note`](crate::note::Note) tells its device and, of fragments,
    /// the L4 ports.
    HandedIn,
    /// The worker's own holding place: frames that got [`Verdict::Hold`], to be tried again.
    Released,
}

/// A frame after parsing: decided, or waiting for its flow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Done(Verdict),
    /// On the straight line, and so are those behind it in this row.
    Straight(Row),
    V4(Item<Ipv4Addr>),
    V6(Item<Ipv6Addr>),
}

/// Frames of one family, one behind the other, on the straight line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Row {
    V4(Span),
    V6(Span),
}

/// Where they are among the keys of their family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    first: usize,
    len: usize,
}

/// A packet that is looked up or answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<A: Ip> {
    packet: Parsed<A>,
    arrival: Arrival,
    task: Task<A>,
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug)]
enum Task<A: Ip> {
    /// Its flow's key is in this place of the stage's keys.
    Flow(Subject<A>, usize),
    /// Nothing but an answer.
    Answer(DropReason, Answer),
}

/// Flow keys of one family, densely. There is room for a second key of each frame: one that leaves
/// the straight line is parsed again.
#[derive(Debug)]
pub(crate) struct FamilyKeys<A: Ip> {
    keys: [Key<A>; 2 * BURST_MAX],
    count: usize,
}

/// A flow key on its way through the stages.
#[derive(Clone, Copy, Debug)]
struct Key<A: Ip> {
    hash: FlowHash,
    hint: Hint,
    /// What else there is to know of a packet on the straight line.
    straight: Straight<A>,
}

/// Flow keys of both families.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) v4: FamilyKeys<Ipv4Addr>,
    pub(crate) v6: FamilyKeys<Ipv6Addr>,
}

/// What the stages hand on.
#[derive(Debug)]
pub(crate) struct Stage {
    work: [Work; BURST_MAX],
    keys: Keys,
}

/// The VIP that the packet before went to, because the next one mostly goes there too.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    pub(crate) v4: Option<(Ipv4Addr, Option<Vip>)>,
    pub(crate) v6: Option<(Ipv6Addr, Option<Vip>)>,
}

impl Row {
    const fn len(self) -> usize {
        match self {
            Self::V4(span) | Self::V6(span) => span.len,
        }
    }

    /// What is left behind the first `count`, if there is something.
    #[inline(always)]
    fn behind(self, count: usize) -> Option<Self> {
        let behind = |span: Span| {
            let len = span.len.checked_sub(count).filter(|len| *len > 0)?;
            let first = span.first + count;
            Some(Span { first, len })
        };
        match self {
            Self::V4(span) => behind(span).map(Self::V4),
            Self::V6(span) => behind(span).map(Self::V6),
        }
    }
}

impl<A: Ip> Default for FamilyKeys<A> {
    fn default() -> Self {
        let none = Key {
            hash: FlowHash::default(),
            hint: Hint::ABSENT,
            straight: Straight::NONE,
        };
        Self {
            keys: [none; 2 * BURST_MAX],
            count: 0,
        }
    }
}

impl Default for Stage {
    fn default() -> Self {
        let none = Work::Done(Verdict::Drop(DropReason::Truncated));
        Self {
            work: [none; BURST_MAX],
            keys: Keys::default(),
        }
    }
}

impl Engine {
    /// Runs one burst of at most [`BURST_MAX`] frames.
    ///
    /// Afterwards the verdict at `i` in `outcome` belongs to `frames[i]`, which has been rewritten
    /// in place if it is to be forwarded. Answers and extra fragments went to
    /// [`Io::originate`]. Drops are counted here, everything else by the worker: see
    /// [`WorkerCounters`](crate::counters::WorkerCounters).
    pub fn run<I: Io>(
        &mut self,
        io: &mut I,
        tables: &Tables,
        now: Time,
        ingress: Ingress,
        frames: &mut [I::Frame],
        outcome: &mut Outcome,
    ) {
        debug_assert!(
            frames.len() <= BURST_MAX,
            "the worker receives bursts of BURST_MAX"
        );
        let Self { state, stage } = self;
        let world = (tables, now);
        outcome.begin(frames.len());
        stage.parse::<I>(state, world, ingress, frames, outcome);
        stage.look_up(state);
        stage.settle(state, io, world, ingress, frames, outcome);
    }
}

impl Stage {
    /// The first stage: from octets to a flow key or a verdict.
    #[inline(always)]
    fn parse<I: Io>(
        &mut self,
        state: &mut State,
        (tables, now): (&Tables, Time),
        ingress: Ingress,
        frames: &mut [I::Frame],
        outcome: &mut Outcome,
    ) {
        let Self { work, keys } = self;
        (keys.v4.count, keys.v6.count) = (0, 0);
        let mut recogniser = Recogniser::new((tables, now), ingress);
        let memo = Memo::default();
        let mut entry = Entry {
            state,
            tables,
            now,
            ingress,
            keys,
            memo,
            outcome,
        };
        let (mut at, end) = (0, frames.len().min(BURST_MAX));
        while at < end {
            let rest = &mut frames[at..end];
            let known = recogniser.as_mut();
            let row = known.and_then(|r| r.row::<I>(rest, entry.state, entry.keys));
            if let Some(row) = row {
                work[at] = Work::Straight(row);
                at += row.len();
            } else {
                prefetch_ahead::<I>(rest, 0);
                work[at] = entry.parse::<I>(&mut rest[0]);
                at += 1;
            }
        }
    }

    /// The second stage: all buckets, which the first stage has asked for. It asks for all entries
    /// that may be the flows.
    #[inline(always)]
    fn look_up(&mut self, state: &State) {
        self.keys.v4.find_hints(&state.v4);
        self.keys.v6.find_hints(&state.v6);
    }

    /// The last stages: each packet is decided, its flow moved, its frame rewritten.
    #[inline(always)]
    fn settle<I: Io>(
        &mut self,
        state: &mut State,
        io: &mut I,
        (tables, now): (&Tables, Time),
        ingress: Ingress,
        frames: &mut [I::Frame],
        outcome: &mut Outcome,
    ) {
        let Self { work, keys } = self;
        let mut v4 = Carrier::new(state, tables, now);
        let mut v6 = Carrier::new(state, tables, now);
        let mut firsts = Firsts::new(tables, now, ingress);
        let (mut at, end) = (0, frames.len().min(BURST_MAX));
        while at < end {
            if let Work::Straight(row) = work[at] {
                let mut left = row;
                if !keys.begin_new(row, state) {
                    let (rest, verdicts) = (&mut frames[at..end], outcome.rest_mut(at));
                    let carried = match row {
                        Row::V4(span) => v4.carry::<I>(state, rest, keys.v4.of(span), verdicts),
                        Row::V6(span) => v6.carry::<I>(state, rest, keys.v6.of(span), verdicts),
                    };
                    at += carried;
                    left = match row.behind(carried) {
                        Some(left) => left,
                        None => continue,
                    };
                    work[at] = Work::Straight(left);
                }
                // One leaves the straight line, and those behind it go on.
                if let Some(rest) = left.behind(1) {
                    work[at + 1] = Work::Straight(rest);
                }
            }
            let frame = &mut frames[at];
            if let Some(verdict) = firsts.settle::<I>(state, frame, &work[at], keys) {
                work[at] = Work::Done(verdict);
            } else if let Work::Straight(_) = work[at] {
                let world = (&mut *state, tables, now);
                work[at] = leave_straight_line::<I>(world, ingress, frame, keys, outcome);
            }
            let mut way = Way {
                state,
                io,
                tables,
                now,
                outcome,
                at,
            };
            let frame = &mut frames[at];
            let verdict = match &work[at] {
                Work::Done(verdict) => *verdict,
                Work::V4(item) => way.settle(frame, item, &keys.v4),
                Work::V6(item) => way.settle(frame, item, &keys.v6),
                // A packet leaves the straight line for good.
                Work::Straight(_) => Verdict::Drop(DropReason::Malformed),
            };
            way.conclude(verdict);
            at += 1;
        }
        v4.flush(state);
        v6.flush(state);
    }
}

/// Parses a frame that was taken for an established flow's and is not.
#[cold]
fn leave_straight_line<I: Io>(
    (state, tables, now): (&mut State, &Tables, Time),
    ingress: Ingress,
    frame: &mut I::Frame,
    keys: &mut Keys,
    outcome: &mut Outcome,
) -> Work {
    let memo = Memo::default();
    let mut entry = Entry {
        state,
        tables,
        now,
        ingress,
        keys,
        memo,
        outcome,
    };
    entry.parse::<I>(frame)
}

/// How many frames ahead of the parser their first octets are asked for.
const PREFETCH_AHEAD: usize = 4;

#[inline(always)]
fn prefetch_ahead<I: Io>(frames: &[I::Frame], at: usize) {
    if let Some(first) = frames
        .get(at + PREFETCH_AHEAD)
        .and_then(|ahead| I::head(ahead).first())
    {
        weir_prefetch::prefetch_read(first);
    }
}

impl Keys {
    /// Whether a row begins with a packet whose flow is to begin.
    #[inline(always)]
    fn begin_new(&self, row: Row, state: &State) -> bool {
        match row {
            Row::V4(span) => self.v4.keys[span.first].is_new(&state.v4),
            Row::V6(span) => self.v6.keys[span.first].is_new(&state.v6),
        }
    }
}

impl<A: Ip> Key<A> {
    #[inline(always)]
    fn is_new(&self, flows: &FlowTable<A>) -> bool {
        if self.straight.opens() {
            !flows.is_flooded()
        } else {
            self.hint == Hint::ABSENT
        }
    }
}

impl<A: Ip> FamilyKeys<A> {
    /// The keys of a row.
    fn of(&self, Span { first, len }: Span) -> &[Key<A>] {
        self.keys.get(first..first + len).unwrap_or_default()
    }

    /// Enters any packet.
    #[inline]
    fn push(&mut self, hash: FlowHash) -> usize {
        let at = self.count;
        self.keys[at].hash = hash;
        // Until the hints are found, or for good if that has been done already.
        self.keys[at].hint = Hint::ABSENT;
        self.count += 1;
        at
    }

    #[inline(always)]
    fn find_hints(&mut self, flows: &FlowTable<A>) {
        let keys = &mut self.keys[..self.count];
        flows.find_hints(keys, |key| (key.hash, &mut key.hint));
    }
}
