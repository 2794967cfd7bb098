//! What a burst came to: a verdict per frame, and what the worker should see to.

use core::net::IpAddr;

use crate::id::PortId;
use crate::pipeline::BURST_MAX;
use crate::verdict::{DropReason, Verdict, Wait};

/// Neighbours that one burst can ask for. What does not fit is asked for by the next burst.
const UNRESOLVED_MAX: usize = 8;

/// The outcome of [`Engine::run`](crate::Engine::run). Made once and used for every burst.
#[derive(Clone, Debug)]
pub struct Outcome {
    verdicts: [Verdict; BURST_MAX],
    count: usize,
    unresolved: [Option<(PortId, IpAddr)>; UNRESOLVED_MAX],
    /// By frame: the place in `unresolved` of the neighbour that it is held for.
    waits_for: [u8; BURST_MAX],
    /// The place that the last call of `unresolved` found.
    last_place: u8,
    first_fragments: bool,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            verdicts: [Verdict::Drop(DropReason::Quarantined); BURST_MAX],
            count: 0,
            unresolved: [None; UNRESOLVED_MAX],
            waits_for: [0; BURST_MAX],
            last_place: 0,
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

    /// Next hops whose MAC is not known, for control to resolve: frames are held for them.
    pub fn unresolved_neighbours(&self) -> impl Iterator<Item = (PortId, IpAddr)> + '_ {
        self.unresolved.iter().map_while(|entry| *entry)
    }

    /// The neighbour that frame `at` is held for; `None` if the burst met too many of them.
    pub fn neighbour(&self, at: usize) -> Option<(PortId, IpAddr)> {
        let place = self.waits_for.get(at).copied().map(usize::from)?;
        self.unresolved.get(place).copied().flatten()
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
        if self.unresolved[0].is_some() {
            self.unresolved = [None; UNRESOLVED_MAX];
        }
    }

    #[inline]
    pub(crate) fn set(&mut self, at: usize, verdict: Verdict) {
        self.verdicts[at] = verdict;
        if verdict == Verdict::Hold(Wait::Neighbour) {
            self.waits_for[at] = self.last_place;
        }
    }

    pub(crate) fn unresolved(&mut self, port: PortId, neighbour: IpAddr) {
        let wanted = Some((port, neighbour));
        let place = self.unresolved.iter().position(|at| at.is_none() || *at == wanted);
        let place = place.unwrap_or(UNRESOLVED_MAX);
        if let Some(entry) = self.unresolved.get_mut(place) {
            *entry = wanted;
        }
        self.last_place = u8::try_from(place).unwrap_or(u8::MAX);
    }

    pub(crate) fn first_fragment(&mut self) {
        self.first_fragments = true;
    }
}
