//! The control thread's ends of the rings to the workers: punts in, frames, tables and questions
//! out. Polled by the control thread, because a worker makes no system call to wake it.

use std::sync::Arc;
use std::time::Duration;

use core::net::IpAddr;

use crossbeam::channel::Receiver;
use weir_control::driver::{Dataplane, Outcomes};
use weir_dpdk::Mempool;
use weir_engine::id::{DeviceId, PortId, ServerId};
use weir_engine::tables::Tables;
use weir_engine::time::Time;
use weir_engine::verdict::PuntClass;
use weir_worker::{Command, ControlEnd, Outgoing};

use super::inspect::Question;
use super::shared::Shared;

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
    /// The worker whose punts are looked at next.
    polled: usize,
    scratch: Box<[u8]>,
    /// The newest tables, until every worker has room for the command.
    pending: Option<Arc<Tables>>,
}

impl Rings {
    pub(crate) fn new(
        ends: Vec<ControlEnd>,
        shared: Arc<Shared>,
        questions: Receiver<Question>,
    ) -> Self {
        let workers = ends.len();
        let senders = (0..shared.devices.count())
            .map(|device| device % workers)
            .collect();
        Self {
            ends,
            pool: shared.pool,
            shared,
            questions,
            senders,
            polled: 0,
            scratch: vec![0; FRAME_LEN_MAX].into(),
            pending: None,
        }
    }

    /// Makes every worker forward by the newest tables. While a worker has no room for the
    /// command they wait, and newer ones replace them.
    fn hand_out(&mut self) {
        if self.ends.iter().any(|end| end.commands.is_full()) {
            return;
        }
        let Some(tables) = self.pending.take() else {
            return;
        };
        for end in &mut self.ends {
            let pushed = end.commands.push(Command::Adopt(Arc::clone(&tables)));
            debug_assert!(
                pushed.is_ok(),
                "this thread is the only producer, and there was room"
            );
        }
    }

    /// Tells every worker to send what it has and return.
    fn stop(&mut self) {
        for end in &mut self.ends {
            while end.commands.push(Command::Stop).is_err() && !end.commands.is_abandoned() {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Rings {
    /// Without a control thread nobody renews anything: the workers stop with it.
    fn drop(&mut self) {
        self.stop();
    }
}

impl Dataplane for Rings {
    fn poll_punt(&mut self, take: &mut dyn FnMut(PortId, PuntClass, &[u8])) -> bool {
        // Each worker in turn, so that none starves another.
        let workers = self.ends.len();
        for _ in 0..workers {
            let end = &mut self.ends[self.polled];
            self.polled = (self.polled + 1) % workers;
            let Ok(punt) = end.punts.pop() else { continue };
            let len = punt.frame.len();
            if punt.frame.segment_count() == 1 {
                take(punt.port, punt.class, punt.frame.data());
            } else if let Some(room) = self.scratch.get_mut(..len) {
                punt.frame.copy_to(room);
                take(punt.port, punt.class, room);
            }
            return true;
        }
        false
    }

    fn poll_resolve(&mut self, take: &mut dyn FnMut(PortId, IpAddr)) {
        for end in &mut self.ends {
            while let Ok(wanted) = end.resolve.pop() {
                take(wanted.port, wanted.neighbour);
            }
        }
    }

    fn inject(&mut self, port: PortId, bytes: &[u8]) -> bool {
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

    fn publish(&mut self, tables: Arc<Tables>) {
        // A reload may bring the first virtual MAC of a device.
        self.shared.devices.with(|devices| {
            for port in tables
                .ports
                .iter()
                .filter(|port| !port.virtual_macs.is_empty())
            {
                if let Some(device) = devices.get_mut(port.device.index()) {
                    device.take_all();
                }
            }
        });
        self.shared.tables.store(Arc::clone(&tables));
        self.pending = Some(tables);
        self.hand_out();
    }

    fn link_is_up(&mut self, port: PortId) -> bool {
        let tables = self.shared.tables.load();
        let device = tables.port(port).map(|port| port.device);
        device.is_some_and(|device| self.shared.devices.link_is_up(device))
    }

    fn now(&mut self) -> Time {
        Time::from_nanos(self.shared.clock.nanos())
    }

    fn is_stalled(&mut self, limit: Duration) -> bool {
        let ages = self.shared.heartbeat_ages();
        ages.flatten().any(|age| age > limit)
    }

    fn server_outcomes(&mut self, server: ServerId) -> Outcomes {
        self.shared.outcomes(server)
    }

    /// Frees tables that workers gave back, and passes questions on.
    fn turn(&mut self) {
        self.hand_out();
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
}
