//! Where a frame goes that is not simply forwarded, and what the control thread asks for.
//!
//! All of it is off the common path; [`crate::poll`] has the loop.

use std::sync::Arc;

use weir_dpdk::{Burst, Mbuf};
use weir_engine::Ingress;
use weir_engine::id::{DeviceId, PortId, WorkerId};
use weir_engine::note::Note;
use weir_engine::tables::Tables;
use weir_engine::time::Time;
use weir_engine::verdict::{DropReason, PuntClass, Verdict, Wait};
use weir_wire::vlan::Vlan;

use crate::command::{Command, Resolve};
use crate::hold::Cause;
use crate::poll::Worker;
use crate::punt::Punt;

/// Tables that are to be adopted.
#[derive(Debug)]
pub(crate) struct Next {
    tables: Arc<Tables>,
    /// Parts of them that have been fetched: see [`Engine::foresee`](weir_engine::Engine::foresee).
    warmed: usize,
}

/// Commands obeyed per turn.
const COMMANDS_PER_TURN: usize = 4;
/// Control's frames sent per turn.
const OUTGOING_PER_TURN: usize = 64;
/// Both MAC addresses: the tag stands behind them.
const MACS_LEN: usize = 12;

impl Worker {
    /// Sends a frame out of a port of the current tables.
    #[inline]
    pub(crate) fn send(&mut self, port: PortId, frame: Mbuf) {
        let device = self.tables.ports.get(port.index()).map(|port| port.device);
        match device.and_then(|device| self.io.egress.get_mut(device.index())) {
            Some(egress) => egress.push(frame, &self.stats.counters),
            None => self.count_drop(DropReason::NoRoute),
        }
    }

    /// Sends all frames of a burst out of one port, if they are many enough to leave by themselves;
    /// else they stay.
    #[inline]
    pub(crate) fn send_burst(&mut self, port: PortId, burst: &mut Burst) {
        let device = self.tables.ports.get(port.index()).map(|port| port.device);
        if let Some(egress) = device.and_then(|device| self.io.egress.get_mut(device.index())) {
            egress.pass(burst, &self.stats.counters);
        }
    }

    /// Counts a drop of the worker's own making.
    pub(crate) fn count_drop(&self, reason: DropReason) {
        self.stats.counters.dropped[reason.index()].add(1);
    }

    /// Everything but the plain forward.
    #[cold]
    pub(crate) fn dispatch(&mut self, index: usize, frame: Mbuf, ingress: Ingress, now: Time) {
        match self.outcome.verdicts()[index] {
            Verdict::Forward(port) => self.send(port, frame),
            Verdict::HandOver(worker) => self.hand_over(worker, frame),
            Verdict::Hold(wait) => self.keep(index, frame, wait, now, None),
            Verdict::Punt(class) => self.punt(class, frame, ingress, now),
            // The engine has counted it; dropping the mbuf frees it.
            Verdict::Drop(_) => {}
        }
    }

    fn hand_over(&mut self, worker: WorkerId, frame: Mbuf) {
        let ring = self
            .parts
            .hand_over
            .get_mut(worker.index())
            .and_then(Option::as_mut);
        match ring.map(|ring| ring.push(frame)) {
            Some(Ok(())) => self.stats.counters.handed_out.add(1),
            Some(Err(_)) | None => self.count_drop(DropReason::HandOverFull),
        }
    }

    /// Keeps a frame that cannot go yet, and asks control for the neighbour if that is missing.
    fn keep(&mut self, index: usize, frame: Mbuf, wait: Wait, now: Time, deadline: Option<Time>) {
        let neighbour = self.outcome.neighbour(index);
        if let Some((port, neighbour)) = neighbour {
            // A full ring loses nothing: the next frame for this neighbour asks again.
            let _ = self.parts.control.resolve.push(Resolve { port, neighbour });
        }
        let Some(cause) = Cause::new(wait, neighbour) else {
            return self.count_drop(DropReason::NeighbourUnresolved);
        };
        if let Err(reason) = self.hold.keep(frame, cause, now, deadline) {
            self.count_drop(reason);
        }
    }

    fn punt(&mut self, class: PuntClass, frame: Mbuf, ingress: Ingress, now: Time) {
        let device = match ingress {
            Ingress::Device(device) => device,
            Ingress::HandedIn | Ingress::Released => Note::from_bits(frame.note()).device(),
        };
        let Some(port) = self.port_of(device, frame.data()) else {
            return self.count_drop(DropReason::UnknownVlan);
        };
        if !(self.policer).admits(&self.tables, (port, class), frame.data(), now) {
            return self.count_drop(DropReason::PuntLimited);
        }
        match self.parts.control.punts.push(Punt { port, class, frame }) {
            Ok(()) => self.stats.counters.punted[class.index()].add(1),
            Err(_) => self.count_drop(DropReason::PuntFull),
        }
    }

    /// The configured port that a frame from `device` belongs to.
    fn port_of(&self, device: DeviceId, head: &[u8]) -> Option<PortId> {
        let tag = head.get(MACS_LEN..).and_then(|rest| Vlan::parse(rest).ok());
        let vlan = tag.and_then(|(tag, _)| tag.vid());
        self.tables.devices.get(device.index())?.port(vlan)
    }

    /// Tries held frames again when tables are new, and gives up on those whose time is over.
    pub(crate) fn try_held(&mut self, now: Time) {
        if self.hold.len() == 0 {
            return;
        }
        while let Some(reason) = self.hold.drop_overdue(now) {
            self.count_drop(reason);
        }
        if core::mem::take(&mut self.retry_held) {
            for _ in 0..self.hold.len() {
                self.try_oldest(now);
            }
        }
        self.stats.counters.held.set(self.hold.len() as u64);
    }

    fn try_oldest(&mut self, now: Time) {
        let Some((mut frame, deadline)) = self.hold.take_first() else {
            return;
        };
        let frames = core::slice::from_mut(&mut frame);
        let ingress = Ingress::Released;
        self.engine.run(
            &mut self.io,
            &self.tables,
            now,
            ingress,
            frames,
            &mut self.outcome,
        );
        match self.outcome.verdicts()[0] {
            Verdict::Hold(wait) => self.keep(0, frame, wait, now, Some(deadline)),
            Verdict::Forward(_) | Verdict::HandOver(_) | Verdict::Punt(_) | Verdict::Drop(_) => {
                self.dispatch(0, frame, ingress, now);
            }
        }
        self.send_originated();
    }

    /// Obeys control: new tables, questions, its frames. Returns how many frames it sent.
    pub(crate) fn obey(&mut self, now: Time) -> usize {
        for _ in 0..COMMANDS_PER_TURN {
            match self.parts.control.commands.pop() {
                Ok(Command::Adopt(tables)) => {
                    self.adopt_next();
                    self.next = Some(Next { tables, warmed: 0 });
                }
                // Whoever asks after a change wants to hear of it.
                Ok(Command::Inspect(question)) => {
                    self.adopt_next();
                    question(&self.engine, &self.tables, now);
                }
                Ok(Command::Stop) => self.stopping = true,
                Err(_) => break,
            }
        }
        for sent in 0..OUTGOING_PER_TURN {
            let Ok(outgoing) = self.parts.control.outgoing.pop() else {
                return sent;
            };
            self.stats.counters.originated.add(1);
            self.send(outgoing.port, outgoing.frame);
        }
        OUTGOING_PER_TURN
    }

    /// Fetches some more of the tables that come, and adopts them when all is there.
    #[inline]
    pub(crate) fn warm(&mut self) {
        if self.next.is_some() {
            self.warm_next();
        }
    }

    #[cold]
    fn warm_next(&mut self) {
        if let Some(Next { tables, warmed }) = &mut self.next {
            self.engine.foresee(tables, *warmed);
            *warmed += 1;
            if *warmed >= tables.parts() {
                self.adopt_next();
            }
        }
    }

    fn adopt_next(&mut self) {
        let Some(Next { tables, .. }) = self.next.take() else {
            return;
        };
        self.engine.begin_adoption(&tables);
        self.stats.generation.set(tables.generation);
        let old = core::mem::replace(&mut self.tables, tables);
        // As long as the command ring, so it has room; if control is gone, freeing here is right.
        let _ = self.parts.control.old_tables.push(old);
        self.retry_held = true;
    }
}
