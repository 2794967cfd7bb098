//! Runs the board's probes on a thread of their own: a TLS handshake or a regular expression never
//! takes from the control thread's turns. Jobs go there and results come back over channels.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::thread;

use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_engine::counters::Outcomes;
use weir_engine::time::Time;

use super::board::{Board, Change, Job, Name, Roster, ServerHealth};
use super::machine::Outcome;
use super::probe::{self, Way};

/// Results that are taken in at once: some 100 µs of work if each changes a verdict.
const RESULTS_PER_TURN: usize = 16;

/// Whoever knows how probes get to their servers.
pub trait Ways {
    /// The way of a probe that is about to start.
    fn open(&mut self, now: Time, job: &Job) -> Way;
    /// The probe has ended: its way is not used any more. What is known of the way may be added
    /// to the outcome's reason.
    fn close(&mut self, now: Time, job: &Job, way: &Way, outcome: &mut Outcome);
    /// What became of the flows of a server, by the names of its service and itself; sums.
    fn flows(&mut self, name: &Name) -> Option<Outcomes>;
}

/// A probe that the thread is to run, and when it was handed over.
type Order = (Job, Way, Instant);
/// What it came to.
type Result = (Job, Way, Outcome);

/// A board with its probes in flight.
#[derive(Debug)]
pub struct Runner {
    board: Board,
    /// Started with the first probe.
    thread: Option<Thread>,
    jobs: Vec<Job>,
}

/// Both ends of the thread. It ends when this is dropped.
#[derive(Debug)]
struct Thread {
    orders: mpsc::UnboundedSender<Order>,
    results: mpsc::UnboundedReceiver<Result>,
}

impl Thread {
    fn start() -> io::Result<Self> {
        // Both are bounded by the number of probes in flight.
        let (orders, incoming) = mpsc::unbounded_channel();
        let (outgoing, results) = mpsc::unbounded_channel();
        let body = move || {
            // It inherits the control thread's; leaving the CPU to turns needs no right.
            let _ = rustix::process::setpriority_process(None, 0);
            raise_descriptor_limit();
            let mut builder = tokio::runtime::Builder::new_current_thread();
            match builder.enable_all().build() {
                Ok(runtime) => runtime.block_on(serve(incoming, outgoing)),
                Err(error) => tracing::error!(%error, "no runtime for probes"),
            }
        };
        thread::Builder::new()
            .name("weir-health".into())
            .spawn(body)?;
        Ok(Self { orders, results })
    }
}

impl Runner {
    /// A runner without servers; `seed` varies the probes' timing between directors.
    pub fn new(seed: u64) -> Self {
        Self {
            board: Board::new(seed),
            thread: None,
            jobs: Vec::new(),
        }
    }

    /// Takes over a roster; see [`Board::configure`].
    pub fn configure(&mut self, now: Time, roster: &Arc<Roster>) {
        self.board.configure(now, roster);
    }

    /// Goes on with a report; see [`Board::report`].
    pub fn report(&mut self, now: Time, count: usize) -> Option<Vec<ServerHealth>> {
        self.board.report(now, count)
    }

    /// Takes in some of the results that have arrived and starts some of what is due; never waits,
    /// and leaves the rest to the next call. Servers that went up or down are added to `changes`.
    pub fn turn(&mut self, now: Time, ways: &mut dyn Ways, changes: &mut Vec<Change>) {
        if let Some(thread) = &mut self.thread {
            for _ in 0..RESULTS_PER_TURN {
                let Ok((job, way, mut outcome)) = thread.results.try_recv() else {
                    break;
                };
                ways.close(now, &job, &way, &mut outcome);
                self.board.finish(now, job.id, outcome, changes);
            }
        }
        if self.board.deadline().is_none_or(|at| now < at) {
            return;
        }
        self.board.watch(now, &mut |name| ways.flows(name), changes);
        self.board.expire(now, &mut self.jobs, changes);
        for job in std::mem::take(&mut self.jobs) {
            let way = ways.open(now, &job);
            if let Err(failed) = self.order((job, way, Instant::now())) {
                let (mut outcome, (job, way, _)) = *failed;
                ways.close(now, &job, &way, &mut outcome);
                self.board.finish(now, job.id, outcome, changes);
            }
        }
    }

    /// Hands an order to the thread, which is started if it does not run.
    fn order(&mut self, order: Order) -> std::result::Result<(), Box<(Outcome, Order)>> {
        let failed = |error: &dyn Display| Outcome::local(format!("no thread for probes: {error}"));
        let thread = match self.thread.take().map_or_else(Thread::start, Ok) {
            Ok(thread) => self.thread.insert(thread),
            Err(error) => return Err(Box::new((failed(&error), order))),
        };
        thread.orders.send(order).map_err(|unsent| {
            let outcome = failed(&unsent);
            self.thread = None; // It has ended; the next order starts another.
            Box::new((outcome, unsent.0))
        })
    }

    /// The verdicts and reports.
    pub fn board(&self) -> &Board {
        &self.board
    }
}

/// Allows as many descriptors as the system lets us: each probe in flight has one, and the usual
/// soft limit of 1,024 is below what a thousand silent servers need.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of descriptors stays: many probes may fail locally");
    }
}

/// The thread: one task for each order.
async fn serve(mut orders: mpsc::UnboundedReceiver<Order>, results: mpsc::UnboundedSender<Result>) {
    while let Some((job, way, ordered)) = orders.recv().await {
        let results = results.clone();
        tokio::spawn(async move {
            let waited = ordered.elapsed();
            let outcome = probe::run(&job, &way).await;
            let _ = results.send((job, way, Outcome { waited, ..outcome }));
        });
    }
}
