//! Counters of one worker: written by that worker alone, read by anybody at any time.
//!
//! Each counter is an atomic that only its worker stores to, so an increment is a plain load and
//! store (no locked instruction); readers see values that are at most one burst old.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64, fence};

use crate::id::ServerId;
use crate::tables::{SERVERS_MAX, SERVICES_MAX};
use crate::verdict::{DropReason, PuntClass};

/// A counter with one writer.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker may call this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Sets a gauge. Only the owning worker may call this.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value as of the worker's last burst.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number of flows, up and down, with one writer.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Gauge(AtomicU32);

impl Gauge {
    /// One more.
    #[inline]
    pub fn up(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// One fewer.
    #[inline]
    pub fn down(&self) {
        debug_assert!(self.value() > 0, "a gauge of flows never goes below zero");
        self.0
            .store(self.0.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Sets the value; by its one writer.
    #[inline]
    pub fn set(&self, value: u32) {
        self.0.store(value, Relaxed);
    }

    /// The current value.
    #[inline]
    pub fn value(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// Packets and octets of IP in one direction.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: Counter,
    /// Octets, counted from the IP header, without Ethernet padding.
    pub bytes: Counter,
}

impl Traffic {
    /// Counts one packet of `len` octets.
    #[inline]
    pub fn count(&self, len: usize) {
        self.packets.add(1);
        self.bytes.add(len as u64);
    }
}

/// One service on one worker. One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ServiceCounters {
    /// From clients.
    pub incoming: Traffic,
    /// From servers (NAT only: in DR and TUN they answer directly).
    pub outgoing: Traffic,
    /// Flows started.
    pub connections: Counter,
}

/// One server on one worker. One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ServerCounters {
    /// From clients.
    pub incoming: Traffic,
    /// From the server (NAT only).
    pub outgoing: Traffic,
    /// Flows given to the server.
    pub connections: Counter,
    /// Flows that IPVS counts as active (SYN_SENT, SYN_RECV, ESTABLISHED, SYNACK).
    pub active: Gauge,
    /// All its other flows.
    pub inactive: Gauge,
    /// Active flows on all other workers; stored by the control thread at a stated interval.
    pub active_elsewhere: Gauge,
    /// Inactive flows on all other workers; stored by the control thread.
    pub inactive_elsewhere: Gauge,
}

/// What became of a server's flows on one worker. Apart from [`ServerCounters`], whose line is
/// written for every packet: these move only when a flow fails.
#[derive(Debug, Default)]
pub struct OutcomeCounters {
    /// The generation of the slot that is counted; [`Self::CHANGING`] while it changes hands.
    generation: AtomicU64,
    /// Flows that ended unanswered; see [`Outcomes::unanswered`].
    pub unanswered: Counter,
    /// Flows that the server refused; see [`Outcomes::reset`].
    pub reset: Counter,
}

impl OutcomeCounters {
    /// No generation: those have 32 bits.
    const CHANGING: u64 = u64::MAX;
}

/// What became of the flows that a server was given since it got its slot.
///
/// Each flow counts at most once beyond `connections`, so `unanswered + reset` is never more than
/// `connections`. The rest was answered, or is too young to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Flows given to the server.
    pub connections: u64,
    /// Flows that timed out without a sign that the server answered.
    ///
    /// TCP: the client never went on after its SYN, and in NAT no segment came from the server. So
    /// a flow counts 60 s after its last SYN at the earliest. In DR and tunnels spoofed SYNs look
    /// the same, hence a server stands out only against its peers. UDP: no datagram came back;
    /// NAT only. Flows evicted from a full table do not count, their time was cut short.
    pub unanswered: u64,
    /// Flows whose first answer was a refusal: a RST, or an ICMP destination unreachable from the
    /// server's own address. NAT only, as no other answer passes the director.
    pub reset: u64,
}

impl core::ops::AddAssign for Outcomes {
    /// The same over several workers.
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.unanswered += other.unanswered;
        self.reset += other.reset;
    }
}

impl Traffic {
    fn reset(&self) {
        self.packets.set(0);
        self.bytes.set(0);
    }
}

impl ServiceCounters {
    /// Begins anew, for another service in this slot. By the owning worker.
    pub fn reset(&self) {
        self.incoming.reset();
        self.outgoing.reset();
        self.connections.set(0);
    }
}

impl ServerCounters {
    /// Begins anew, for another server in this slot. What control stores is control's to reset.
    fn reset(&self) {
        self.incoming.reset();
        self.outgoing.reset();
        self.connections.set(0);
        self.active.set(0);
        self.inactive.set(0);
    }
}

/// All counters of one worker.
///
/// **Who counts what**, so that frames are conserved ([`Self::imbalance`]): the worker counts each
/// frame that comes (`received`, `handed_in`) and each that leaves or stays (`sent`, `handed_out`,
/// `punted`, `held`), and drops of its own making (`hand_over_full`, `tx_full`, `hold_full`, those
/// of frames held too long, `punt_limited`, `punt_full`, `quarantined`, and `oversize` of its
/// port). The engine counts drops that it decides, and each frame that it makes (`originated`), at
/// the moment it gives it to [`Io::originate`](crate::io::Io::originate); the worker then counts
/// it as `sent` or dropped, like any other. Control's frames are `originated` by the worker. A
/// verdict other than a drop is counted by the worker when it carries it out, never by the engine.
/// A frame tried again after a hold comes off `held` first. All that is per service, server and
/// flow is the engine's.
#[derive(Debug)]
pub struct WorkerCounters {
    /// Frames and octets received from ports.
    pub received: Traffic,
    /// Frames and octets sent to ports.
    pub sent: Traffic,
    /// Frames taken over from other workers.
    pub handed_in: Counter,
    /// Frames given to other workers.
    pub handed_out: Counter,
    /// Frames made here: answers, control's frames, extra fragments.
    pub originated: Counter,
    /// Frames that wait for a neighbour or a first fragment now.
    pub held: Counter,
    /// Frames given to the control thread, by class.
    pub punted: [Counter; PuntClass::COUNT],
    /// Frames dropped or answered, by reason.
    pub dropped: [Counter; DropReason::COUNT],
    /// Flows in the tables now (IPv4 and IPv6).
    pub flows: Counter,
    /// Half-open flows among them.
    pub flows_half_open: Counter,
    /// Flow tables without room now: none, one family's, or both.
    pub flow_tables_full: Counter,
    /// Those among them of which an eighth and more is half open.
    pub flow_tables_flooded: Counter,
    /// Flows that were forwarded without an entry because the table was full.
    pub flow_insert_failures: Counter,
    /// SYNs that were forwarded without a flow, because the table was flooded.
    pub flows_deferred: Counter,
    /// Flows that ended by time-out.
    pub flows_expired: Counter,
    /// By service slot.
    pub services: Box<[ServiceCounters]>,
    /// By server slot.
    pub servers: Box<[ServerCounters]>,
    /// By server slot.
    pub outcomes: Box<[OutcomeCounters]>,
}

impl WorkerCounters {
    /// All zero, with room for every slot there can be.
    pub fn new() -> Self {
        Self::with_slots(SERVICES_MAX, SERVERS_MAX)
    }

    /// All zero, with fewer slots (tests).
    pub fn with_slots(services: usize, servers: usize) -> Self {
        Self {
            received: Traffic::default(),
            sent: Traffic::default(),
            handed_in: Counter::default(),
            handed_out: Counter::default(),
            originated: Counter::default(),
            held: Counter::default(),
            punted: core::array::from_fn(|_| Counter::default()),
            dropped: core::array::from_fn(|_| Counter::default()),
            flows: Counter::default(),
            flows_half_open: Counter::default(),
            flow_tables_full: Counter::default(),
            flow_tables_flooded: Counter::default(),
            flow_insert_failures: Counter::default(),
            flows_deferred: Counter::default(),
            flows_expired: Counter::default(),
            services: (0..services).map(|_| ServiceCounters::default()).collect(),
            servers: (0..servers).map(|_| ServerCounters::default()).collect(),
            outcomes: (0..servers).map(|_| OutcomeCounters::default()).collect(),
        }
    }

    /// Begins to count for another server in its slot. By the owning worker, when it adopts the
    /// tables in which the slot is that server's.
    pub fn begin(&self, server: ServerId) {
        let slot = server.index as usize;
        let (Some(counters), Some(outcomes)) = (self.servers.get(slot), self.outcomes.get(slot))
        else {
            return;
        };
        // Whoever reads a zero from below reads no older generation after it; see `outcomes`.
        outcomes
            .generation
            .store(OutcomeCounters::CHANGING, Relaxed);
        fence(Release);
        counters.reset();
        outcomes.unanswered.set(0);
        outcomes.reset.set(0);
        outcomes
            .generation
            .store(u64::from(server.generation), Release);
    }

    /// What became of a server's flows on this worker: nothing yet, if the worker still goes by
    /// tables in which the slot is another server's, or goes by newer ones already. By anybody.
    pub fn outcomes(&self, server: ServerId) -> Outcomes {
        let slot = server.index as usize;
        let (Some(counters), Some(outcomes)) = (self.servers.get(slot), self.outcomes.get(slot))
        else {
            return Outcomes::default();
        };
        let before = outcomes.generation.load(Acquire);
        // A flow is counted as a connection first, so that is read last.
        let (unanswered, reset) = (outcomes.unanswered.value(), outcomes.reset.value());
        fence(Acquire);
        let connections = counters.connections.value();
        fence(Acquire);
        let after = outcomes.generation.load(Relaxed);
        let own = u64::from(server.generation);
        if (before, after) != (own, own) {
            return Outcomes::default();
        }
        Outcomes {
            connections,
            unanswered,
            reset,
        }
    }

    /// Frames in minus frames out: zero between bursts (invariant 1 of ARCHITECTURE).
    ///
    /// Meaningful only when read by the worker itself, or when it is quiet.
    pub fn imbalance(&self) -> i64 {
        let sum = |list: &[Counter]| list.iter().map(Counter::value).sum::<u64>();
        let came = self.received.packets.value() + self.handed_in.value() + self.originated.value();
        let went = self.sent.packets.value()
            + self.handed_out.value()
            + sum(&self.punted)
            + sum(&self.dropped)
            + self.held.value();
        came.wrapping_sub(went).cast_signed()
    }
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self::new()
    }
}
