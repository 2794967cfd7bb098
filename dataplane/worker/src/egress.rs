//! Where frames leave: one transmit queue per device, or a ring to the worker that owns it.
//!
//! A device may have fewer transmit queues than there are workers. Then its queue belongs to one
//! worker, and the others reach it over single-producer single-consumer rings that the owner
//! drains with back-pressure: it takes from a ring only what the queue accepts, so a frame that
//! has entered the ring is as good as sent, and the worker that decided counts it.

use rtrb::{Consumer, Producer};
use weir_dpdk::{Burst, Mbuf, TxQueue};
use weir_engine::counters::WorkerCounters;
use weir_engine::verdict::DropReason;

/// How often a full queue is tried again before its frames are dropped: each try of a kernel-backed
/// driver also kicks the kernel to empty it.
const TRIES_MAX: usize = 8;

/// Fewest frames that are sent on by themselves; fewer wait for others of the same turn. At 16 the
/// driver's cost per call is a small part of its cost per frame.
const PASSED_MIN: usize = 16;

/// How this worker reaches a device.
#[derive(Debug)]
pub(crate) enum Way {
    /// It owns a queue; other workers' frames for it arrive on the rings.
    Queue {
        queue: TxQueue,
        from_others: Vec<Consumer<Mbuf>>,
        transit: Box<Burst>,
    },
    /// Another worker owns the queue.
    Ring(Producer<Mbuf>),
}

/// The frames of one worker for one device, and the way out.
#[derive(Debug)]
pub(crate) struct Egress {
    burst: Burst,
    way: Way,
}

impl Egress {
    pub(crate) fn new(way: Way) -> Self {
        Self {
            burst: Burst::new(),
            way,
        }
    }

    /// Queues a frame; a full burst leaves at once.
    #[inline]
    pub(crate) fn push(&mut self, frame: Mbuf, counters: &WorkerCounters) {
        if self.burst.room() == 0 {
            self.flush(counters);
        }
        self.burst
            .push(frame)
            .expect("flush leaves the burst empty");
    }

    /// Passes a burst straight to the queue, without a copy. Does nothing if that would change the
    /// order of frames, if they are too few for a call to the driver of their own, or if the queue
    /// is another worker's: then they are to be pushed.
    #[inline]
    pub(crate) fn pass(&mut self, burst: &mut Burst, counters: &WorkerCounters) {
        if !self.burst.is_empty() || burst.len() < PASSED_MIN {
            return;
        }
        if let Way::Queue { queue, .. } = &mut self.way {
            flush_queue(queue, burst, counters);
        }
    }

    /// Sends what is queued. Frames that still do not fit after some tries are dropped and counted.
    #[inline]
    pub(crate) fn flush(&mut self, counters: &WorkerCounters) {
        if self.burst.is_empty() {
            return;
        }
        match &mut self.way {
            Way::Queue { queue, .. } => flush_queue(queue, &mut self.burst, counters),
            Way::Ring(ring) => flush_ring(ring, &mut self.burst, counters),
        }
    }

    /// Passes on what other workers left in the rings. Returns how many frames moved.
    pub(crate) fn relay(&mut self) -> usize {
        let Way::Queue {
            queue,
            from_others,
            transit,
        } = &mut self.way
        else {
            return 0;
        };
        let mut moved = 0;
        for ring in from_others {
            fill(transit, ring);
            if !transit.is_empty() {
                moved += queue.send(transit);
            }
            if !transit.is_empty() {
                break; // The queue is full: what is left goes first next time.
            }
        }
        moved
    }
}

fn flush_queue(queue: &mut TxQueue, burst: &mut Burst, counters: &WorkerCounters) {
    let mut bytes = octets(burst);
    let mut sent = 0;
    for _ in 0..TRIES_MAX {
        sent += queue.send(burst);
        if burst.is_empty() {
            break;
        }
    }
    if !burst.is_empty() {
        bytes -= octets(burst);
    }
    counters.sent.packets.add(sent as u64);
    counters.sent.bytes.add(bytes);
    if !burst.is_empty() {
        counters.dropped[DropReason::TxFull.index()].add(burst.len() as u64);
        burst.clear();
    }
}

fn flush_ring(ring: &mut Producer<Mbuf>, burst: &mut Burst, counters: &WorkerCounters) {
    for frame in burst.drain() {
        let len = frame.len();
        match ring.push(frame) {
            Ok(()) => counters.sent.count(len),
            Err(rtrb::PushError::Full(_)) => counters.dropped[DropReason::TxFull.index()].add(1),
        }
    }
}

/// Moves frames from a ring into a burst, as many as fit. Returns how many.
pub(crate) fn fill(burst: &mut Burst, ring: &mut Consumer<Mbuf>) -> usize {
    let mut moved = 0;
    while burst.room() > 0 {
        let Ok(frame) = ring.pop() else { break };
        if burst.push(frame).is_err() {
            break; // Cannot be: there was room.
        }
        moved += 1;
    }
    moved
}

/// Octets of all frames.
#[inline]
pub(crate) fn octets(burst: &Burst) -> u64 {
    burst.iter().map(|frame| frame.len() as u64).sum()
}
