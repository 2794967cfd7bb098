//! Receive and transmit queues: one owner each.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use dpdk_sys as sys;

use crate::burst::Burst;
use crate::device::Device;

/// `Send`, but not `Sync`: a queue may move to a worker, but two threads never share it.
type NotSync = PhantomData<Cell<()>>;

/// A receive queue of a started port.
///
/// # Invariants
/// The port is started and stays so while `device` lives; no other value names this queue.
#[derive(Debug)]
pub struct RxQueue {
    device: Arc<Device>,
    index: u16,
    not_sync: NotSync,
}

/// A transmit queue of a started port. Same invariants as [`RxQueue`].
#[derive(Debug)]
pub struct TxQueue {
    device: Arc<Device>,
    index: u16,
    /// The driver takes frames of several segments.
    multi_segment: bool,
    not_sync: NotSync,
}

impl RxQueue {
    /// # Safety
    /// The device must be started, and the queue configured and named only once.
    pub(crate) unsafe fn new(device: Arc<Device>, index: u16) -> Self {
        Self {
            device,
            index,
            not_sync: PhantomData,
        }
    }

    /// The DPDK port that the queue belongs to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.device.id
    }

    /// The queue's number on its port.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Receives as many frames as `burst` has room for, and returns how many came.
    #[inline(always)]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        self.receive_up_to(burst, crate::BURST_MAX)
    }

    /// Receives at most `count` frames into `burst`, after those that are in it.
    #[inline(always)]
    pub fn receive_up_to(&mut self, burst: &mut Burst, count: usize) -> usize {
        let (slots, room) = burst.spare();
        let count = u16::try_from(count).unwrap_or(room).min(room);
        // SAFETY: `rte_eth_rx_burst` needs
        // - a started port and a configured queue: `new`'s contract, kept by `device`;
        // - one caller per queue: `&mut self`, and `RxQueue` is neither `Clone` nor `Sync`;
        // - room for `count` pointers: that is what `spare` gives.
        let received = unsafe { sys::weir_rx_burst(self.device.id, self.index, slots, count) };
        // SAFETY: DPDK wrote the first `received` slots with frames that are ours now.
        unsafe { burst.grow(received) };
        usize::from(received)
    }
}

impl TxQueue {
    /// # Safety
    /// The device must be started, and the queue configured and named only once.
    pub(crate) unsafe fn new(device: Arc<Device>, index: u16, multi_segment: bool) -> Self {
        Self {
            device,
            index,
            multi_segment,
            not_sync: PhantomData,
        }
    }

    /// The DPDK port that the queue belongs to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.device.id
    }

    /// The queue's number on its port.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Gives frames to the device, from the front, and returns how many it took.
    ///
    /// The others stay in `burst`, in order: because the device's ring is full, or, on devices
    /// that send single segments only, because a frame does not fit one. How often to try again
    /// is the caller's policy.
    ///
    /// An empty `burst` is worth a call now and then: drivers take back frames that the device
    /// has sent only while they send.
    #[inline(always)]
    pub fn send(&mut self, burst: &mut Burst) -> usize {
        let sendable = if self.multi_segment {
            burst.len()
        } else {
            linearize(burst)
        };
        let (frames, count) = burst.front(sendable);
        // SAFETY: `rte_eth_tx_burst` needs
        // - a started port and a configured queue: `new`'s contract, kept by `device`;
        // - one caller per queue: `&mut self`, and `TxQueue` is neither `Clone` nor `Sync`;
        // - `count` frames that we own, of one segment where the driver cannot do more.
        let sent = unsafe { sys::weir_tx_burst(self.device.id, self.index, frames, count) };
        // SAFETY: DPDK owns the first `sent` frames now.
        unsafe { burst.forget_front(sent) };
        usize::from(sent)
    }
}

/// Makes every frame one segment, moves those that do not fit one to the end, and returns how
/// many come before them.
#[inline]
fn linearize(burst: &mut Burst) -> usize {
    let mut sendable = 0;
    for i in 0..burst.len() {
        if burst[i].segment_count() == 1 || burst[i].linearize() {
            burst.swap(i, sendable);
            sendable += 1;
        }
    }
    sendable
}
