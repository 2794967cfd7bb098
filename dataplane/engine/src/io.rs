//! The engine's only view of frames and of the world: a trait that the worker implements on DPDK
//! and tests implement on vectors. The engine never owns a device.

use crate::id::PortId;

/// Frame buffers and originated frames. All accessors are static, so that an implementation is a
/// thin shim over a foreign frame type and everything is inlined.
pub trait Io {
    /// One owned frame, possibly of several segments.
    type Frame;

    /// The first segment, which begins at the destination MAC.
    fn head(frame: &Self::Frame) -> &[u8];
    /// The first segment, to rewrite.
    fn head_mut(frame: &mut Self::Frame) -> &mut [u8];
    /// Octets in all segments.
    fn len(frame: &Self::Frame) -> usize;
    /// Grows the frame by `octets` at the front; `false` leaves it unchanged: no headroom.
    fn prepend(frame: &mut Self::Frame, octets: usize) -> bool;
    /// Grows the last segment at the end; `false` leaves it unchanged: no tailroom.
    fn append(frame: &mut Self::Frame, octets: usize) -> bool;
    /// Removes `octets` (fewer than the first segment has) from the front.
    fn trim_front(frame: &mut Self::Frame, octets: usize);
    /// Cuts the frame to `len` octets in all; longer frames only.
    fn truncate(frame: &mut Self::Frame, len: usize);
    /// Makes the first `octets` contiguous in the first segment; `false`: does not fit.
    fn pull(frame: &mut Self::Frame, octets: usize) -> bool;
    /// Copies `out.len()` octets starting at `offset` (over segments); `false`: past the end.
    fn copy_out(frame: &Self::Frame, offset: usize, out: &mut [u8]) -> bool;
    /// Eight octets that travel with the frame from worker to worker (see [`crate::note::Note`]).
    fn note(frame: &Self::Frame) -> u64;
    /// Sets the note.
    fn set_note(frame: &mut Self::Frame, note: u64);

    /// An empty frame with headroom for encapsulation; `None`: the pool is exhausted.
    fn alloc(&mut self) -> Option<Self::Frame>;
    /// Sends a frame that the engine made itself, behind those of the present burst: answers, and
    /// the fragments that follow a first one. The engine counts it as originated; what becomes of
    /// it (sent, `tx_full`) is the worker's to count.
    fn originate(&mut self, port: PortId, frame: Self::Frame);
}
