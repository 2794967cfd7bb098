//! Counters of one worker: written by that worker alone, read by anybody at any time.
//!
//! Each counter is an atomic that only its worker stores to, so an increment is a plain load and
//! store (no locked instruction); readers see values that are at most one burst old.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

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
    /// Begins anew, for another server in this slot. By the owning worker; what control stores is
    /// control's to reset.
    pub fn reset(&self) {
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
    /// Flows that were forwarded without an entry because the table was full.
    pub flow_insert_failures: Counter,
    /// Flows that ended by time-out.
    pub flows_expired: Counter,
    /// By service slot.
    pub services: Box<[ServiceCounters]>,
    /// By server slot.
    pub servers: Box<[ServerCounters]>,
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
            flow_insert_failures: Counter::default(),
            flows_expired: Counter::default(),
            services: (0..services).map(|_| ServiceCounters::default()).collect(),
            servers: (0..servers).map(|_| ServerCounters::default()).collect(),
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
