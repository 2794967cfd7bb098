//! What a burst came to: a verdict per frame, and what the worker should see to.

use core::net::{IpAddr, Ipv4Addr};

use crate::id::PortId;
use crate::pipeline::BURST_MAX;
use crate::verdict::{DropReason, Verdict, Wait};

/// The outcome of [`Engine::run`](crate::Engine::run). Made once and used for every burst.
#[derive(Clone, Debug)]
pub struct Outcome {
    verdicts: [Verdict; BURST_MAX],
    count: usize,
    /// For frames that wait for a neighbour: which. Else what an earlier burst left.
    neighbours: [(PortId, IpAddr); BURST_MAX],
    first_fragments: bool,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            verdicts: [Verdict::Drop(DropReason::Truncated); BURST_MAX],
            count: 0,
            neighbours: [(PortId(0), IpAddr::V4(Ipv4Addr::UNSPECIFIED)); BURST_MAX],
            first_fragments: false,
        }
    }
}

impl Outcome {
    /// An outcome to be filled.
    pub fn new() -> Self {
        Self::default()
    }

    /// One verdict per frame of the burst, in its order.
    #[inline]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts[..self.count]
    }

    /// The neighbour that a held frame waits for, and the port that it is on: for control to
    /// resolve. `None` for all other frames.
    pub fn neighbour(&self, index: usize) -> Option<(PortId, IpAddr)> {
        match self.verdicts().get(index)? {
            Verdict::Hold(Wait::Neighbour) => Some(self.neighbours[index]),
            Verdict::Hold(Wait::FirstFragment)
            | Verdict::Forward(_)
            | Verdict::HandOver(_)
            | Verdict::Punt(_)
            | Verdict::Drop(_) => None,
        }
    }

    /// Whether a first fragment came: frames held for one should be tried again now.
    #[inline]
    pub fn first_fragments(&self) -> bool {
        self.first_fragments
    }

    #[inline]
    pub(crate) fn begin(&mut self, count: usize) {
        self.count = count.min(BURST_MAX);
        self.first_fragments = false;
    }

    #[inline]
    pub(crate) fn set(&mut self, at: usize, verdict: Verdict) {
        self.verdicts[at] = verdict;
    }

    /// Those from `at` on, to be set.
    #[inline]
    pub(crate) fn rest_mut(&mut self, at: usize) -> &mut [Verdict] {
        self.verdicts.get_mut(at..self.count).unwrap_or_default()
    }

    pub(crate) fn wait_for(&mut self, at: usize, port: PortId, neighbour: IpAddr) {
        self.neighbours[at] = (port, neighbour);
    }

    pub(crate) fn first_fragment(&mut self) {
        self.first_fragments = true;
    }
}
