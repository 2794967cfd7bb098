//! Everything that a row needs: rings, generator, forwarding core, director; and windows of time.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_engine::verdict::DropReason;
use weir_worker::DeviceQueues;

use crate::Failure;
use crate::client::Seen;
use crate::director::{Director, Plan};
use crate::generator::{Books, Generator, Line, Script};
use crate::lane::{Core, Floor, Lane, Moment};
use crate::load::{Load, READING};
use crate::machine::Trace;
use crate::pulse::Pulse;
use crate::rings::Rings;

/// A run.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) generator: Generator,
    pub(crate) floor: Line,
    pub(crate) line: Line,
    pub(crate) core: Core,
    pub(crate) director: Director,
    pub(crate) rings: Rings,
    mbufs_idle: usize,
}

/// What happened in a window.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) books: Books,
    pub(crate) turns: Moment,
}

impl Window {
    /// Frames that came back, a second.
    pub(crate) fn rate(&self) -> f64 {
        self.books.returned as f64 / self.seconds
    }

    /// Nanoseconds that a frame took: the time of turns that moved frames.
    pub(crate) fn nanos(&self) -> f64 {
        self.turns.busy as f64 / self.books.returned as f64
    }

    /// The share of time in turns that moved frames; where it is 1 the worker is the limit.
    pub(crate) fn busy(&self) -> f64 {
        self.turns.busy as f64 / 1e9 / self.seconds
    }

    /// The share of time in which the core was slow.
    pub(crate) fn slow(&self) -> f64 {
        self.turns.slow as f64 / 1e9 / self.seconds
    }

    /// Durations of turns in microseconds; *calm* are those while the core was not slow.
    pub(crate) fn turns(&self) -> Value {
        let (moving, calm, empty) = (&self.turns.moving, &self.turns.calm, &self.turns.empty);
        let micros = |nanos: f64| nanos / 1e3;
        json!({
            "count": moving.total(),
            "p50": micros(moving.quantile(0.5)),
            "p99": micros(moving.quantile(0.99)),
            "p9999": micros(moving.quantile(0.9999)),
            "worst": micros(moving.longest()),
            "worst_empty": micros(empty.longest()),
            "calm": calm.total(),
            "calm_p9999": micros(calm.quantile(0.9999)),
            "calm_worst": micros(calm.longest()),
        })
    }

    /// What every row tells of a window.
    pub(crate) fn facts(&self) -> Value {
        json!({
            "mpps": self.rate() / 1e6,
            "nanos": self.nanos(),
            "busy": self.busy(),
            "sent": self.books.sent,
            "returned": self.books.returned,
            "turns": self.turns(),
            "refused": self.books.refused,
            "refused_calm": self.books.refused_calm,
            "slow": self.slow(),
            "strange": self.books.strange,
            "left_out": self.books.left_out,
        })
    }
}

impl Bench {
    /// Starts everything for a plan, with room for `flows` flows.
    pub(crate) fn start(plan: &Plan, flows: usize) -> Result<Self, Failure> {
        let mut rings = Rings::start()?;
        let pulse = Arc::new(Pulse::default());
        let (floor, floor_rx, floor_tx) = Line::over(rings.wire()?, rings.wire()?, &pulse);
        let (there, to_servers, to_clients) = (rings.wire()?, rings.wire()?, rings.wire()?);
        // Servers behind direct routing send nothing through the director.
        let from_servers = rings.wire()?;
        let mut director = Director::new(1, plan)?;
        let wan = DeviceQueues {
            rx: vec![there.rx],
            tx: vec![to_clients.tx],
        };
        let lan = DeviceQueues {
            rx: vec![from_servers.rx],
            tx: vec![to_servers.tx],
        };
        let mut workers = director.workers(vec![wan, lan], (rings.pool, rings.clock), flows)?;
        let worker = workers.pop().ok_or("no worker")?;
        let floor_lane = Floor {
            rx: floor_rx,
            tx: floor_tx,
        };
        let stats = Arc::clone(&director.stats[0]);
        let mbufs_idle = rings.pool.in_use();
        let core = Core::start(floor_lane, worker, stats, (rings.clock, Arc::clone(&pulse)))?;
        Ok(Self {
            generator: Generator::new(rings.pool, rings.clock),
            floor,
            line: Line::new(there.tx, vec![to_servers.rx, to_clients.rx], pulse),
            core,
            director,
            rings,
            mbufs_idle,
        })
    }

    /// A window in which as many frames are offered as fit.
    pub(crate) fn flood(
        &mut self,
        lane: Lane,
        seconds: f64,
        script: &mut impl Script,
        mut see: impl FnMut(Seen, u64),
    ) -> Window {
        self.window(lane, seconds, |generator, line, end| {
            generator.flood(line, end, script, &mut see);
        })
    }

    /// A window with so many frames a second; `also` runs between bursts.
    pub(crate) fn pace(
        &mut self,
        lane: Lane,
        (seconds, rate): (f64, f64),
        script: &mut impl Script,
        mut see: impl FnMut(Seen, u64),
    ) -> Window {
        self.window(lane, seconds, |generator, line, end| {
            generator.pace(line, (rate, end), script, &mut see, |_| {});
        })
    }

    /// The same, adopting these tables in turn every `every` nanoseconds.
    pub(crate) fn pace_and_reload(
        &mut self,
        (seconds, rate): (f64, f64),
        script: &mut impl Script,
        tables: &[Arc<weir_engine::tables::Tables>],
        every: u64,
    ) -> (Window, usize) {
        let (mut next, mut count) = (self.generator.clock.nanos() + every, 0);
        let director = &mut self.director;
        let parts = (&self.core, &mut self.generator, &mut self.line);
        let window = window(parts, (Lane::Director, seconds), |generator, line, end| {
            let reload = |now| {
                if now >= next {
                    next = now + every;
                    count += usize::from(director.hand_out(&tables[count % tables.len()]));
                }
            };
            generator.pace(line, (rate, end), script, |_, _| {}, reload);
        });
        (window, count)
    }

    /// A window in which the director is offered a load that follows what it can.
    pub(crate) fn follow(
        &mut self,
        seconds: f64,
        load: &mut Load,
        script: &mut impl Script,
        mut see: impl FnMut(Seen, u64),
    ) -> Window {
        let core = &self.core;
        let parts = (core, &mut self.generator, &mut self.line);
        window(parts, (Lane::Director, seconds), |generator, line, end| {
            let (mut before, mut refused) = (core.done(), line.books.refused);
            while generator.clock.nanos() < end {
                let reading = end.min(generator.clock.nanos() + READING);
                generator.pace(line, (load.rate, reading), script, &mut see, |_| {});
                let now = core.done();
                load.read(
                    now.0 - before.0,
                    now.1 - before.1,
                    line.books.refused - refused,
                );
                (before, refused) = (now, line.books.refused);
            }
        })
    }

    /// Lets the forwarding core watch the clock: what the machine takes from it.
    pub(crate) fn watch(&mut self, seconds: f64) -> Result<Trace, Failure> {
        self.core.watch(nanos(seconds))
    }

    /// Sends `count` frames through the director and waits for what comes back.
    pub(crate) fn deliver(
        &mut self,
        count: u64,
        script: &mut impl Script,
        see: impl FnMut(Seen, u64),
    ) -> Books {
        let before = self.line.books;
        self.core.turn(Some(Lane::Director));
        self.generator.deliver(&mut self.line, count, script, see);
        self.line.books.since(&before)
    }

    fn window(
        &mut self,
        lane: Lane,
        seconds: f64,
        run: impl FnOnce(&mut Generator, &mut Line, u64),
    ) -> Window {
        let line = match lane {
            Lane::Floor => &mut self.floor,
            Lane::Director => &mut self.line,
        };
        let parts = (&self.core, &mut self.generator, line);
        window(parts, (lane, seconds), run)
    }

    /// Frames dropped by the director so far, by reason.
    pub(crate) fn drops(&self) -> Value {
        let counters = &self.director.stats[0].counters;
        let of = |reason: &DropReason| counters.dropped[reason.index()].value();
        let all = DropReason::ALL.iter().filter(|reason| of(reason) > 0);
        all.map(|reason| (reason.label().to_owned(), of(reason).into()))
            .collect::<serde_json::Map<String, Value>>()
            .into()
    }

    /// Mbufs that are neither in the pool nor where they were at start. All lanes must be idle.
    pub(crate) fn mbufs_leaked(&mut self) -> i64 {
        self.generator.give_back();
        let now = i64::try_from(self.rings.pool.in_use()).unwrap_or(i64::MAX);
        now - i64::try_from(self.mbufs_idle).unwrap_or(i64::MAX)
    }
}

/// Lets a lane turn while `run` runs, and keeps the books of that time.
fn window(
    (core, generator, line): (&Core, &mut Generator, &mut Line),
    (lane, seconds): (Lane, f64),
    run: impl FnOnce(&mut Generator, &mut Line, u64),
) -> Window {
    core.turn(Some(lane));
    let (before, books) = (core.moment(), line.books);
    let start = generator.clock.nanos();
    run(generator, line, start + nanos(seconds));
    let taken = generator.clock.nanos() - start;
    let turns = core.moment().since(&before);
    generator.drain(line, |_, _| {});
    line.settle();
    let books = line.books.since(&books);
    core.turn(None);
    Window {
        seconds: taken as f64 / 1e9,
        books,
        turns,
    }
}

/// Seconds as nanoseconds.
#[expect(clippy::cast_possible_truncation, reason = "a run is short")]
#[expect(clippy::cast_sign_loss, reason = "a run is not negative")]
pub(crate) fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
