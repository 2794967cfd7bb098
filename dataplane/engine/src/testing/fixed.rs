//! An [`Io`] on buffers of fixed size that are taken and given back, so that what is measured is
//! the engine: for benches, and for counting allocations.

use crate::id::PortId;
use crate::io::Io;

/// Octets in a buffer, as of DPDK's mbufs.
const LEN: usize = 2048 + super::HEADROOM;

/// A pool of buffers, and what the engine sent by itself.
#[derive(Debug)]
pub struct FixedIo {
    free: Vec<FixedFrame>,
    sent: Vec<FixedFrame>,
}

/// A frame in one buffer.
#[derive(Debug)]
pub struct FixedFrame {
    octets: Box<[u8; LEN]>,
    start: usize,
    end: usize,
    note: u64,
}

impl FixedIo {
    /// A pool of `buffers` free buffers.
    pub fn new(buffers: usize) -> Self {
        let free = (0..buffers).map(|_| FixedFrame::new(&[])).collect();
        Self {
            free,
            sent: Vec::with_capacity(buffers),
        }
    }

    /// Takes back what has been sent.
    pub fn take_back(&mut self) {
        self.free.append(&mut self.sent);
    }
}

impl FixedFrame {
    /// A frame in a buffer of its own. `bytes` are at most 2,048.
    pub fn new(bytes: &[u8]) -> Self {
        let mut frame = Self {
            octets: Box::new([0; LEN]),
            start: 0,
            end: 0,
            note: 0,
        };
        frame.set(bytes);
        frame
    }

    /// Fills the buffer anew.
    pub fn set(&mut self, bytes: &[u8]) {
        (self.start, self.end) = (super::HEADROOM, super::HEADROOM + bytes.len());
        self.octets[self.start..self.end].copy_from_slice(bytes);
    }
}

impl Io for FixedIo {
    type Frame = FixedFrame;

    fn head(frame: &FixedFrame) -> &[u8] {
        &frame.octets[frame.start..frame.end]
    }
    fn head_mut(frame: &mut FixedFrame) -> &mut [u8] {
        &mut frame.octets[frame.start..frame.end]
    }
    fn len(frame: &FixedFrame) -> usize {
        frame.end - frame.start
    }
    fn prepend(frame: &mut FixedFrame, octets: usize) -> bool {
        let start = frame.start.checked_sub(octets);
        start.inspect(|start| frame.start = *start).is_some()
    }
    fn append(frame: &mut FixedFrame, octets: usize) -> bool {
        let fits = frame.end + octets <= LEN;
        frame.end += if fits { octets } else { 0 };
        fits
    }
    fn trim_front(frame: &mut FixedFrame, octets: usize) {
        frame.start += octets;
    }
    fn truncate(frame: &mut FixedFrame, len: usize) {
        frame.end = frame.start + len;
    }
    fn pull(frame: &mut FixedFrame, octets: usize) -> bool {
        octets <= Self::len(frame)
    }
    fn copy_out(frame: &FixedFrame, offset: usize, out: &mut [u8]) -> bool {
        let from = Self::head(frame).get(offset..offset + out.len());
        from.inspect(|from| out.copy_from_slice(from)).is_some()
    }
    fn note(frame: &FixedFrame) -> u64 {
        frame.note
    }
    fn set_note(frame: &mut FixedFrame, note: u64) {
        frame.note = note;
    }
    fn alloc(&mut self) -> Option<FixedFrame> {
        let mut frame = self.free.pop()?;
        frame.set(&[]);
        Some(frame)
    }
    fn originate(&mut self, _: PortId, frame: FixedFrame) {
        self.sent.push(frame);
    }
}
