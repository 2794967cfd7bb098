//! The control thread's ends of the rings to the workers: punts in, frames, tables and questions
//! out. Polled by the control thread, because a worker makes no system call to wake it.

use std::sync::Arc;

use core::net::IpAddr;

use crossbeam::channel::Receiver;
use weir_dpdk::Mempool;
use weir_engine::id::{DeviceId, PortId};
use weir_engine::tables::Tables;
use weir_engine::verdict::PuntClass;
use weir_worker::{Command, ControlEnd, Outgoing};

use super::inspect::Question;
use super::shared::Shared;

/// Frames taken from one worker per poll, so that a flood of one class cannot hold the thread.
const PUNTS_PER_POLL: usize = 64;
/// Largest frame handed to control: a jumbo frame in several segments.
const FRAME_LEN_MAX: usize = 16 << 10;

/// All workers, as the control thread sees them.
#[derive(Debug)]
pub(crate) struct Rings {
    ends: Vec<ControlEnd>,
    pool: Mempool,
    shared: Arc<Shared>,
    questions: Receiver<Question>,
    /// By device: the worker that sends control's frames there.
    senders: Vec<usize>,
    scratch: Box<[u8]>,
}

impl Rings {
    pub(crate) fn new(
        ends: Vec<ControlEnd>,
        shared: Arc<Shared>,
        questions: Receiver<Question>,
    ) -> Self {
        let workers = ends.len();
        let senders = (0..shared.devices.len())
            .map(|device| device % workers)
            .collect();
        let scratch = vec![0; FRAME_LEN_MAX].into();
        Self {
            ends,
            pool: shared.pool,
            shared,
            questions,
            senders,
            scratch,
        }
    }

    /// Gives every waiting punt (a bounded number of them) to `take`.
    pub(crate) fn poll_punts(&mut self, take: &mut dyn FnMut(PortId, PuntClass, &[u8])) {
        for end in &mut self.ends {
            for _ in 0..PUNTS_PER_POLL {
                let Ok(punt) = end.punts.pop() else { break };
                let len = punt.frame.len();
                if punt.frame.segment_count() == 1 {
                    take(punt.port, punt.class, punt.frame.data());
                } else if let Some(room) = self.scratch.get_mut(..len) {
                    punt.frame.copy_to(room);
                    take(punt.port, punt.class, room);
                }
            }
        }
    }

    /// Gives every neighbour that frames wait for to `take`.
    pub(crate) fn poll_resolve(&mut self, take: &mut dyn FnMut(PortId, IpAddr)) {
        for end in &mut self.ends {
            while let Ok(wanted) = end.resolve.pop() {
                take(wanted.port, wanted.neighbour);
            }
        }
    }

    /// Sends a frame out of a port; `false`: no buffer or the ring is full.
    pub(crate) fn inject(&mut self, port: PortId, bytes: &[u8]) -> bool {
        let tables = self.shared.tables.load();
        let device = tables.port(port).map_or(DeviceId(0), |port| port.device);
        let worker = self.senders.get(device.index()).copied().unwrap_or(0);
        let Some(frame) = self.pool.alloc_from(bytes) else {
            return false;
        };
        self.ends[worker]
            .outgoing
            .push(Outgoing { port, frame })
            .is_ok()
    }

    /// Makes every worker forward by these tables. `false`: a worker's ring is full, try again.
    pub(crate) fn publish(&mut self, tables: &Arc<Tables>) -> bool {
        if self.ends.iter().any(|end| end.commands.is_full()) {
            return false;
        }
        self.shared.tables.store(Arc::clone(tables));
        for end in &mut self.ends {
            let pushed = end.commands.push(Command::Adopt(Arc::clone(tables)));
            debug_assert!(
                pushed.is_ok(),
                "this thread is the only producer, and there was room"
            );
        }
        true
    }

    /// Frees tables that workers gave back, and passes questions on.
    pub(crate) fn tend(&mut self) {
        for end in &mut self.ends {
            while let Ok(old) = end.old_tables.pop() {
                drop(old);
            }
        }
        while let Ok(question) = self.questions.try_recv() {
            if let Some(end) = self.ends.get_mut(question.worker.index()) {
                // If the ring is full the question is dropped, and its asker told by time-out.
                let _ = end.commands.push(Command::Inspect(question.ask));
            }
        }
    }

    /// Tells every worker to send what it has and return.
    pub(crate) fn stop(&mut self) {
        for end in &mut self.ends {
            while end.commands.push(Command::Stop).is_err() {
                if end.commands.is_abandoned() {
                    break;
                }
                std::thread::yield_now();
            }
        }
    }
}
