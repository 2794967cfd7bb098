//! Who owns which queue, and the rings between workers and to the control thread.
//!
//! Queue `q` of a device goes to worker `q`, when the device has one for each. A device with fewer
//! queues starts at another worker than its neighbour device does, so that two single-queue
//! devices keep two workers busy. Receive work is evened out by hand-over to the flows' owners.

use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};
use weir_dpdk::{Burst, Mbuf, RxQueue, TxQueue};
use weir_engine::id::DeviceId;
use weir_engine::tables::Tables;

use crate::command::{Command, Outgoing, Resolve};
use crate::egress::{Egress, Way};
use crate::punt::Punt;

/// Frames in flight from one worker to another.
const HAND_OVER_RING: usize = 1024;
/// Frames in flight to a device whose queue another worker owns.
const EGRESS_RING: usize = 512;
/// Frames in flight to the control thread, per worker.
const PUNT_RING: usize = 1024;
/// Frames in flight from the control thread, per worker.
const OUTGOING_RING: usize = 1024;
/// Commands in flight; control waits when it is full.
const COMMAND_RING: usize = 64;
/// Neighbours to resolve in flight; the rest are asked for again with the next frame.
const RESOLVE_RING: usize = 64;

/// The queues of one device. Empty transmit queues are an error of the caller.
#[derive(Debug)]
pub struct DeviceQueues {
    /// Receive queues.
    pub rx: Vec<RxQueue>,
    /// Transmit queues, at least one.
    pub tx: Vec<TxQueue>,
}

/// Everything one worker owns apart from its engine.
#[derive(Debug)]
pub struct WorkerParts {
    pub(crate) ingress: Vec<(DeviceId, RxQueue)>,
    pub(crate) egress: Vec<Egress>,
    /// From each other worker.
    pub(crate) handed_in: Vec<Consumer<Mbuf>>,
    /// To each worker; `None` at its own index.
    pub(crate) hand_over: Vec<Option<Producer<Mbuf>>>,
    pub(crate) control: ControlLink,
}

/// The worker's ends of the rings to the control thread.
#[derive(Debug)]
pub struct ControlLink {
    pub(crate) commands: Consumer<Command>,
    pub(crate) outgoing: Consumer<Outgoing>,
    pub(crate) punts: Producer<Punt>,
    pub(crate) resolve: Producer<Resolve>,
    pub(crate) old_tables: Producer<Arc<Tables>>,
}

/// The control thread's ends of the rings to one worker.
#[derive(Debug)]
pub struct ControlEnd {
    /// Commands to the worker.
    pub commands: Producer<Command>,
    /// Frames to send.
    pub outgoing: Producer<Outgoing>,
    /// Frames for control.
    pub punts: Consumer<Punt>,
    /// Neighbours that frames wait for.
    pub resolve: Consumer<Resolve>,
    /// Tables that the worker no longer uses.
    pub old_tables: Consumer<Arc<Tables>>,
}

/// Makes the rings between the control thread and one worker. They exist before the queues do,
/// because no port is started before there are tables.
pub fn control_link() -> (ControlLink, ControlEnd) {
    let (command_sender, commands) = RingBuffer::new(COMMAND_RING);
    let (outgoing_sender, outgoing) = RingBuffer::new(OUTGOING_RING);
    let (punts, punt_receiver) = RingBuffer::new(PUNT_RING);
    let (resolve, resolve_receiver) = RingBuffer::new(RESOLVE_RING);
    let (old_tables, old_receiver) = RingBuffer::new(COMMAND_RING);
    let link = ControlLink {
        commands,
        outgoing,
        punts,
        resolve,
        old_tables,
    };
    let end = ControlEnd {
        commands: command_sender,
        outgoing: outgoing_sender,
        punts: punt_receiver,
        resolve: resolve_receiver,
        old_tables: old_receiver,
    };
    (link, end)
}

/// Shares the queues of all devices (by [`DeviceId`]) out among the workers, one for each link,
/// and makes the rings between them.
///
/// # Panics
/// If there is no worker, or a device without a transmit queue.
pub fn build(devices: Vec<DeviceQueues>, links: Vec<ControlLink>) -> Vec<WorkerParts> {
    let workers = links.len();
    assert!(workers > 0, "at least one worker");
    let mut parts: Vec<_> = links
        .into_iter()
        .map(|control| WorkerParts {
            ingress: Vec::new(),
            egress: Vec::new(),
            handed_in: Vec::new(),
            hand_over: (0..workers).map(|_| None).collect(),
            control,
        })
        .collect();
    for from in 0..workers {
        for to in (0..workers).filter(|&to| to != from) {
            let (producer, consumer) = RingBuffer::new(HAND_OVER_RING);
            parts[from].hand_over[to] = Some(producer);
            parts[to].handed_in.push(consumer);
        }
    }
    for (index, device) in devices.into_iter().enumerate() {
        let id = DeviceId(u16::try_from(index).expect("fewer than 65,536 devices"));
        let shift = if device.rx.len() < workers { index } else { 0 };
        for (queue, rx) in device.rx.into_iter().enumerate() {
            parts[(queue + shift) % workers].ingress.push((id, rx));
        }
        share_transmit(&mut parts, device.tx, shift);
    }
    parts
}

/// Gives every worker a way to one device: its own queue, or a ring to a worker that has one.
fn share_transmit(parts: &mut [WorkerParts], queues: Vec<TxQueue>, shift: usize) {
    assert!(
        !queues.is_empty(),
        "a device has at least one transmit queue"
    );
    let workers = parts.len();
    let owners = queues.len().min(workers);
    let mut rings: Vec<Vec<Consumer<Mbuf>>> = (0..owners).map(|_| Vec::new()).collect();
    let mut ways: Vec<Option<Way>> = (0..workers).map(|_| None).collect();
    for other in owners..workers {
        let (producer, consumer) = RingBuffer::new(EGRESS_RING);
        rings[other % owners].push(consumer);
        ways[(other + shift) % workers] = Some(Way::Ring(producer));
    }
    for (owner, (queue, from_others)) in queues.into_iter().zip(rings).enumerate() {
        let transit = Box::new(Burst::new());
        ways[(owner + shift) % workers] = Some(Way::Queue {
            queue,
            from_others,
            transit,
        });
    }
    for (part, way) in parts.iter_mut().zip(ways) {
        part.egress.push(Egress::new(
            way.expect("every worker is an owner or has a ring"),
        ));
    }
}
