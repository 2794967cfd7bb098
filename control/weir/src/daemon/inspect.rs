//! Questions to workers: from the management thread, through the control thread's ring, and back.

use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use weir_engine::Engine;
use weir_engine::id::WorkerId;
use weir_engine::tables::Tables;
use weir_engine::time::Time;
use weir_worker::Inspect;

/// Questions waiting for the control thread.
const QUESTIONS_MAX: usize = 64;
/// A worker answers between two bursts; one that has not by now is stalled.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// A question on its way to a worker.
pub(crate) struct Question {
    pub(crate) worker: WorkerId,
    pub(crate) ask: Inspect,
}

impl core::fmt::Debug for Question {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Question(worker {})", self.worker.0)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectError {
    #[error("too many questions at once; try again")]
    Busy,
    #[error("worker {0} does not answer: it is stalled or stopping")]
    Silent(u16),
}

/// Asks workers. Blocks its caller, never a worker.
#[derive(Clone, Debug)]
pub(crate) struct Inspector {
    questions: Sender<Question>,
}

impl Inspector {
    /// An inspector, and where the control thread takes its questions.
    pub(crate) fn new() -> (Self, Receiver<Question>) {
        let (questions, receiver) = bounded(QUESTIONS_MAX);
        (Self { questions }, receiver)
    }

    /// Runs `ask` on the worker's thread between two bursts and returns what it says.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        worker: WorkerId,
        ask: impl FnOnce(&Engine, &Tables, Time) -> T + Send + 'static,
    ) -> Result<T, InspectError> {
        let (reply, answer) = bounded(1);
        let ask: Inspect = Box::new(move |engine, tables, now| {
            // The asker may have given up; then nobody needs the answer.
            let _ = reply.send(ask(engine, tables, now));
        });
        self.questions
            .try_send(Question { worker, ask })
            .map_err(|_| InspectError::Busy)?;
        answer
            .recv_timeout(ANSWER_TIME_MAX)
            .map_err(|_| InspectError::Silent(worker.0))
    }
}
