//! The clients: frames into the wire to the director, at a pace or as many as fit, and an eye on
//! every frame that comes back.

use std::sync::Arc;

use weir_dpdk::{Burst, Mbuf, Mempool, RxQueue, Tsc, TxQueue};

use crate::client::{self, Frame, Seen};
use crate::pulse::{Pulse, Settling};
use crate::rings::Wire;

/// Frames offered at a time.
pub(crate) const BURST: usize = 32;
/// Bursts that may be caught up after the generator itself was held up; beyond, it leaves them out.
const BEHIND_MAX: u64 = 4;

/// Frames under way when each must come back: half of what a wire holds.
const UNDER_WAY_MAX: u64 = 512;

/// Writes the next frame.
pub(crate) trait Script {
    /// Writes the next frame, sent at `now`.
    fn write(&mut self, frame: &mut Frame, now: u64);
}

/// One side's end of the wires to a lane and back.
#[derive(Debug)]
pub(crate) struct Line {
    tx: TxQueue,
    rx: Vec<RxQueue>,
    /// Frames that are offered and have not been taken.
    pending: Burst,
    /// Frames refused of late.
    refusals: Settling,
    pub(crate) books: Books,
}

/// Frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Books {
    /// Taken by the wire.
    pub(crate) sent: u64,
    /// Lost because the wire was full.
    pub(crate) refused: u64,
    /// Those among them while the forwarding core was not slow.
    pub(crate) refused_calm: u64,
    /// That came back.
    pub(crate) returned: u64,
    /// That came back and were none of the clients'.
    pub(crate) strange: u64,
    /// Bursts left out because the generator itself was held up.
    pub(crate) left_out: u64,
}

impl Books {
    /// Frames that are under way or lost.
    const fn missing(&self) -> u64 {
        self.sent.saturating_sub(self.returned)
    }

    /// What happened since `earlier`.
    pub(crate) const fn since(&self, earlier: &Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            refused: self.refused - earlier.refused,
            refused_calm: self.refused_calm - earlier.refused_calm,
            returned: self.returned - earlier.returned,
            strange: self.strange - earlier.strange,
            left_out: self.left_out - earlier.left_out,
        }
    }
}

impl Line {
    pub(crate) fn new(tx: TxQueue, rx: Vec<RxQueue>, pulse: Arc<Pulse>) -> Self {
        let (pending, books) = (Burst::new(), Books::default());
        Self {
            tx,
            rx,
            pending,
            refusals: Settling::new(pulse),
            books,
        }
    }

    /// Notes that what is pending found no room.
    fn refuse(&mut self, now: u64) {
        let refused = self.pending.len() as u64;
        let calm = &mut self.books.refused_calm;
        if refused > 0 {
            self.books.refused += refused;
            self.refusals.add(now, refused, |refused| *calm += refused);
        } else {
            // Before the pulse forgets.
            self.refusals.pass(now, |refused| *calm += refused);
        }
    }

    /// Tells of the last refusals too whether the core was slow.
    pub(crate) fn settle(&mut self) {
        let calm = &mut self.books.refused_calm;
        self.refusals.finish(|refused| *calm += refused);
    }

    /// A line over one wire there and one back.
    pub(crate) fn over(there: Wire, back: Wire, pulse: &Arc<Pulse>) -> (Self, RxQueue, TxQueue) {
        let own = Self::new(there.tx, vec![back.rx], Arc::clone(pulse));
        (own, there.rx, back.tx)
    }
}

/// The generator.
#[derive(Debug)]
pub(crate) struct Generator {
    pool: Mempool,
    pub(crate) clock: Tsc,
    /// Frames that came back and go out again.
    spare: Vec<Mbuf>,
}

impl Generator {
    pub(crate) fn new(pool: Mempool, clock: Tsc) -> Self {
        let spare = Vec::with_capacity(1 << 15);
        Self { pool, clock, spare }
    }

    /// Offers frames until `end`, as many as the wire takes: what it does not take waits.
    pub(crate) fn flood(
        &mut self,
        line: &mut Line,
        end: u64,
        script: &mut impl Script,
        mut see: impl FnMut(Seen, u64),
    ) {
        loop {
            let now = self.clock.nanos();
            if now >= end {
                break;
            }
            self.fill(line, now, script);
            line.books.sent += line.tx.send(&mut line.pending) as u64;
            self.collect(line, &mut see);
        }
        self.withdraw(line);
    }

    /// Offers `rate` frames a second until `end`: what the wire does not take is lost. `also` runs
    /// between bursts, and must be short.
    pub(crate) fn pace(
        &mut self,
        line: &mut Line,
        (rate, end): (f64, u64),
        script: &mut impl Script,
        mut see: impl FnMut(Seen, u64),
        mut also: impl FnMut(u64),
    ) {
        let gap = BURST as f64 * 1e9 / rate;
        let start = self.clock.nanos();
        let mut burst = 0_u64;
        loop {
            let now = self.clock.nanos();
            if now >= end {
                break;
            }
            #[expect(clippy::cast_possible_truncation, reason = "nanoseconds of a run")]
            #[expect(clippy::cast_sign_loss, reason = "neither is negative")]
            let due = ((now - start) as f64 / gap) as u64;
            if burst < due {
                if due - burst > BEHIND_MAX {
                    line.books.left_out += due - burst - 1;
                    burst = due - 1;
                }
                burst += 1;
                self.fill(line, now, script);
                line.books.sent += line.tx.send(&mut line.pending) as u64;
                line.refuse(now);
                self.withdraw(line);
            }
            self.collect(line, &mut see);
            also(now);
        }
    }

    /// Sends `count` frames, a multiple of [`BURST`], waiting for room, and then until no more
    /// comes back.
    pub(crate) fn deliver(
        &mut self,
        line: &mut Line,
        count: u64,
        script: &mut impl Script,
        mut see: impl FnMut(Seen, u64),
    ) {
        let goal = line.books.sent + count;
        let mut missing = line.books.missing();
        while line.books.sent < goal {
            let now = self.clock.nanos();
            // Should the generator be held up, what is under way still fits the wire back. What has
            // not come within a millisecond never will.
            while line.books.missing() > missing + UNDER_WAY_MAX {
                self.collect(line, &mut see);
                if self.clock.nanos() > now + 1_000_000 {
                    missing = line.books.missing();
                }
            }
            self.fill(line, now, script);
            // All of them go, in their order, before the next are written.
            while !line.pending.is_empty() {
                self.collect(line, &mut see);
                line.books.sent += line.tx.send(&mut line.pending) as u64;
            }
            self.collect(line, &mut see);
        }
        self.drain(line, see);
    }

    /// Takes what comes back until nothing has come for 10 ms.
    pub(crate) fn drain(&mut self, line: &mut Line, mut see: impl FnMut(Seen, u64)) {
        let mut quiet = self.clock.nanos();
        while self.clock.nanos() < quiet + 10_000_000 {
            if self.collect(line, &mut see) > 0 {
                quiet = self.clock.nanos();
            }
        }
    }

    /// Writes frames until a burst is pending.
    #[inline]
    fn fill(&mut self, line: &mut Line, now: u64, script: &mut impl Script) {
        while line.pending.len() < BURST {
            let Some(mut frame) = self.spare.pop().or_else(|| self.fresh()) else {
                return; // All are on their way.
            };
            if let Some(octets) = frame.data_mut().first_chunk_mut() {
                script.write(octets, now);
            }
            if line.pending.push(frame).is_err() {
                return;
            }
        }
    }

    #[cold]
    fn fresh(&self) -> Option<Mbuf> {
        self.pool.alloc_from(&[0; size_of::<Frame>()])
    }

    /// Takes what has come back. Returns how many frames.
    #[inline]
    fn collect(&mut self, line: &mut Line, see: &mut impl FnMut(Seen, u64)) -> usize {
        let mut burst = Burst::new();
        let mut taken = 0;
        for rx in &mut line.rx {
            taken += rx.receive(&mut burst);
            if burst.is_empty() {
                continue;
            }
            let now = self.clock.nanos();
            for frame in burst.drain() {
                match client::read(frame.data()) {
                    Some(seen) if frame.len() == size_of::<Frame>() => {
                        see(seen, now);
                        self.spare.push(frame);
                    }
                    Some(_) | None => line.books.strange += 1,
                }
            }
        }
        line.books.returned += taken as u64;
        taken
    }

    /// Takes back what the wire has not taken.
    fn withdraw(&mut self, line: &mut Line) {
        while let Some(frame) = line.pending.pop() {
            self.spare.push(frame);
        }
    }

    /// Gives all frames back to the pool.
    pub(crate) fn give_back(&mut self) {
        self.spare.clear();
    }
}
