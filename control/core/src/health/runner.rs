//! Runs the board: tokio tasks for probes, one channel for their results.

use std::sync::Arc;

use tokio::sync::mpsc;
use weir_engine::time::Time;

use super::board::{Board, Change, CheckId, Job, PROBES_MAX};
use super::machine::Outcome;
use super::probe;
use crate::config::Config;
use crate::overlay::Overlay;

/// A board with its probes in flight.
#[derive(Debug)]
pub struct Runner {
    board: Board,
    sender: mpsc::Sender<(CheckId, Outcome)>,
    results: mpsc::Receiver<(CheckId, Outcome)>,
    jobs: Vec<Job>,
}

impl Runner {
    /// A runner without servers; `seed` varies the probes' timing between directors.
    pub fn new(seed: u64) -> Self {
        // Room for every probe in flight, so that none ever waits to report.
        let (sender, results) = mpsc::channel(PROBES_MAX);
        Self {
            board: Board::new(seed),
            sender,
            results,
            jobs: Vec::new(),
        }
    }

    /// Takes over a configuration; see [`Board::configure`].
    pub fn configure(&mut self, now: Time, config: &Config, overlay: &Overlay) {
        self.board.configure(now, config, overlay);
    }

    /// Takes in results that have arrived and starts what is due; never waits. Changes of
    /// verdicts are added to `changes`.
    ///
    /// Must be called on a tokio runtime.
    pub fn turn(&mut self, now: Time, changes: &mut Vec<Change>) {
        while let Ok((id, outcome)) = self.results.try_recv() {
            changes.extend(self.board.finish(now, id, outcome));
        }
        self.board.expire(now, &mut self.jobs);
        for job in self.jobs.drain(..) {
            let sender = self.sender.clone();
            tokio::spawn(async move {
                let outcome = probe::run(job.target, &Arc::clone(&job.check)).await;
                // The receiver only goes away with the whole runner.
                let _ = sender.send((job.id, outcome)).await;
            });
        }
    }

    /// When [`Self::turn`] has a probe to start.
    pub fn deadline(&self) -> Option<Time> {
        self.board.deadline()
    }

    /// The verdicts and reports.
    pub fn board(&self) -> &Board {
        &self.board
    }
}
