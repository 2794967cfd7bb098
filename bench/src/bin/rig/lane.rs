//! The forwarding core: one thread that takes turns of one lane at a time, and times each.
//!
//! It can also watch the clock, and see what the machine takes from it.
//!
//! A lane is the director, or the plain MAC swap that it is compared with (C0 in Rust; `make bench`
//! compares that with testpmd's). Both live on the one thread for the whole run, so that neither
//! gets a better CPU, and the other's memory stays where it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use weir_dpdk::{Burst, PinnedThread, RxQueue, Tsc, TxQueue, spawn_pinned};
use weir_engine::counters::Counter;
use weir_worker::{Worker, WorkerStats};

use crate::Failure;
use crate::histogram::{Counts, Histogram};
use crate::machine::{self, Trace};
use crate::pulse::{Heart, Pulse, Settling};
use crate::rings::WORKER_CPU;

/// Which lane turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The MAC swap.
    Floor,
    /// The director.
    Director,
}

const NONE: usize = 0;
const FLOOR: usize = 1;
const DIRECTOR: usize = 2;
const END: usize = 3;
const WATCH: usize = 4;

/// What the forwarding core tells.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    wanted: AtomicUsize,
    running: AtomicUsize,
    /// Nanoseconds that the clock is watched.
    watched: AtomicU64,
    /// Durations of turns that moved frames.
    moving: Histogram,
    /// Those among them while the core was not slow.
    calm: Histogram,
    /// Durations of turns that moved none.
    empty: Histogram,
    /// Durations of turns in which new tables were adopted.
    adopting: Histogram,
    /// Nanoseconds in turns that moved frames.
    busy: Counter,
    /// Frames that came in by turns.
    frames: Counter,
    /// Nanoseconds in which the core was slow.
    slow: Counter,
}

/// A moment of the forwarding core's books.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) moving: Counts,
    pub(crate) calm: Counts,
    pub(crate) empty: Counts,
    pub(crate) adopting: Counts,
    pub(crate) busy: u64,
    pub(crate) frames: u64,
    pub(crate) slow: u64,
}

/// A plain MAC swap.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) rx: RxQueue,
    pub(crate) tx: TxQueue,
}

impl Floor {
    #[inline]
    pub(crate) fn turn(&mut self) -> usize {
        let mut burst = Burst::new();
        let received = self.rx.receive(&mut burst);
        if received > 0 {
            for frame in burst.iter_mut() {
                if let Some(start) = frame.data_mut().first_chunk_mut::<12>() {
                    start.rotate_left(6);
                }
            }
            // Frames that do not fit are lost, as in testpmd.
            self.tx.send(&mut burst);
        }
        received
    }
}

/// The core's heart, and turns of which it is not known yet whether it was slow in them.
#[derive(Debug)]
struct Beats {
    heart: Heart,
    turns: Settling,
}

impl Beats {
    fn new(clock: Tsc, pulse: Arc<Pulse>) -> Self {
        Self {
            heart: Heart::new(clock, Arc::clone(&pulse)),
            turns: Settling::new(pulse),
        }
    }

    /// Begins anew: what is not settled belonged to another lane.
    fn begin(&mut self) {
        self.heart.rest();
        self.turns.finish(|_| {});
    }
}

/// The forwarding core.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) turns: Arc<Turns>,
    pub(crate) pulse: Arc<Pulse>,
    traces: Receiver<Trace>,
    thread: Option<PinnedThread<()>>,
}

impl Core {
    /// Starts the thread with nothing to do.
    pub(crate) fn start(
        mut floor: Floor,
        mut worker: Worker,
        stats: Arc<WorkerStats>,
        (clock, pulse): (Tsc, Arc<Pulse>),
    ) -> Result<Self, Failure> {
        let turns = Arc::new(Turns::default());
        let own = Arc::clone(&turns);
        let beating = Arc::clone(&pulse);
        let (seen, traces) = channel();
        let body = move || {
            // On this core: it is the one whose quickest beat counts.
            let mut beats = Beats::new(clock, beating);
            loop {
                let wanted = own.wanted.load(Ordering::Acquire);
                if own.running.load(Ordering::Relaxed) != wanted {
                    beats.begin();
                    own.running.store(wanted, Ordering::Release);
                }
                match wanted {
                    FLOOR => own.take(clock, &mut beats, || floor.turn()),
                    DIRECTOR => {
                        let generation = stats.generation.value();
                        let nanos = own.take(clock, &mut beats, || worker.turn());
                        if stats.generation.value() != generation {
                            own.adopting.add(nanos);
                        }
                        nanos
                    }
                    WATCH => {
                        let trace = machine::watch(
                            clock,
                            own.watched.load(Ordering::Relaxed),
                            &mut beats.heart,
                        );
                        own.slow.set(beats.heart.slow());
                        own.wanted.store(NONE, Ordering::Release);
                        // Whoever wanted it may have gone.
                        let _ = seen.send(trace);
                        0
                    }
                    END => break,
                    _ => {
                        std::hint::spin_loop();
                        0
                    }
                };
            }
        };
        let thread = Some(spawn_pinned(WORKER_CPU, "forwarding", body)?);
        Ok(Self {
            turns,
            pulse,
            traces,
            thread,
        })
    }

    /// Lets a lane turn, or none, from now on.
    pub(crate) fn turn(&self, lane: Option<Lane>) {
        self.want(match lane {
            None => NONE,
            Some(Lane::Floor) => FLOOR,
            Some(Lane::Director) => DIRECTOR,
        });
    }

    fn want(&self, what: usize) {
        self.turns.wanted.store(what, Ordering::Release);
        while what != END && self.turns.running.load(Ordering::Acquire) != what {
            std::hint::spin_loop();
        }
    }

    /// Watches the clock for so many nanoseconds, while the caller's core is as busy as it is in a
    /// window.
    pub(crate) fn watch(&self, nanos: u64) -> Result<Trace, Failure> {
        self.turns.watched.store(nanos, Ordering::Relaxed);
        self.turns.wanted.store(WATCH, Ordering::Release);
        loop {
            match self.traces.try_recv() {
                Ok(trace) => return Ok(trace),
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
                Err(error @ TryRecvError::Disconnected) => return Err(error.into()),
            }
        }
    }

    /// Frames that came in by turns so far, and nanoseconds of turns that moved some.
    pub(crate) fn done(&self) -> (u64, u64) {
        (self.turns.frames.value(), self.turns.busy.value())
    }

    /// The books now.
    pub(crate) fn moment(&self) -> Moment {
        let turns = &self.turns;
        Moment {
            moving: turns.moving.counts(),
            calm: turns.calm.counts(),
            empty: turns.empty.counts(),
            adopting: turns.adopting.counts(),
            busy: turns.busy.value(),
            frames: turns.frames.value(),
            slow: turns.slow.value(),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.want(END);
        if let Some(thread) = self.thread.take() {
            // A panic there has been told on its way; the books of this run are worthless then.
            assert!(thread.join().is_ok(), "the forwarding core panicked");
        }
    }
}

impl Turns {
    #[inline]
    fn take(&self, clock: Tsc, beats: &mut Beats, turn: impl FnOnce() -> usize) -> u64 {
        let before = clock.nanos();
        let moved = turn();
        let now = clock.nanos();
        let nanos = now - before;
        if moved > 0 {
            self.moving.add(nanos);
            beats.turns.add(now, nanos, |nanos| self.calm.add(nanos));
            self.busy.add(nanos);
            self.frames.add(moved as u64);
        } else {
            self.empty.add(nanos);
        }
        beats.heart.beat();
        self.slow.set(beats.heart.slow());
        nanos
    }
}

impl Moment {
    /// What happened since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            moving: self.moving.since(&earlier.moving),
            calm: self.calm.since(&earlier.calm),
            empty: self.empty.since(&earlier.empty),
            adopting: self.adopting.since(&earlier.adopting),
            busy: self.busy - earlier.busy,
            frames: self.frames - earlier.frames,
            slow: self.slow - earlier.slow,
        }
    }
}
