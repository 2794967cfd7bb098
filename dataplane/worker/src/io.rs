//! The engine's [`Io`] on DPDK: mbufs as frames, egress bursts for what it originates.

use weir_dpdk::{Mbuf, Mempool};
use weir_engine::id::PortId;
use weir_engine::io::Io;

use crate::egress::Egress;

/// Most originated frames waiting for dispatch within one burst: an answer per frame, or the
/// fragments of a burst of over-MTU frames.
const ORIGINATED_MAX: usize = 256;

/// Buffers for the engine, and where its own frames wait until the burst is dispatched.
#[derive(Debug)]
pub struct DpdkIo {
    pool: Mempool,
    /// By device.
    pub(crate) egress: Vec<Egress>,
    pub(crate) originated: Vec<(PortId, Mbuf)>,
}

impl DpdkIo {
    pub(crate) fn new(pool: Mempool, egress: Vec<Egress>) -> Self {
        Self {
            pool,
            egress,
            originated: Vec::with_capacity(ORIGINATED_MAX),
        }
    }
}

impl Io for DpdkIo {
    type Frame = Mbuf;

    #[inline]
    fn head(frame: &Mbuf) -> &[u8] {
        frame.data()
    }

    #[inline]
    fn head_mut(frame: &mut Mbuf) -> &mut [u8] {
        frame.data_mut()
    }

    #[inline]
    fn len(frame: &Mbuf) -> usize {
        frame.len()
    }

    #[inline]
    fn prepend(frame: &mut Mbuf, octets: usize) -> bool {
        frame.prepend(octets).is_some()
    }

    #[inline]
    fn append(frame: &mut Mbuf, octets: usize) -> bool {
        frame.append(octets).is_some()
    }

    #[inline]
    fn trim_front(frame: &mut Mbuf, octets: usize) {
        let trimmed = frame.trim_front(octets);
        debug_assert!(trimmed, "the engine trims at most the first segment");
    }

    #[inline]
    fn truncate(frame: &mut Mbuf, len: usize) {
        frame.truncate(len);
    }

    #[inline]
    fn pull(frame: &mut Mbuf, octets: usize) -> bool {
        frame.pull(octets)
    }

    fn copy_out(frame: &Mbuf, offset: usize, out: &mut [u8]) -> bool {
        frame.copy_out(offset, out)
    }

    #[inline]
    fn note(frame: &Mbuf) -> u64 {
        frame.note()
    }

    #[inline]
    fn set_note(frame: &mut Mbuf, note: u64) {
        frame.set_note(note);
    }

    #[inline]
    fn alloc(&mut self) -> Option<Mbuf> {
        // Room is kept for everything that one burst can originate: never grow here.
        if self.originated.len() == self.originated.capacity() {
            return None;
        }
        self.pool.alloc()
    }

    #[inline]
    fn originate(&mut self, port: PortId, frame: Mbuf) {
        if self.originated.len() < self.originated.capacity() {
            self.originated.push((port, frame));
        }
    }
}
