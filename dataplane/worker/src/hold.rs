//! Frames that wait: for a neighbour's MAC, or for the first fragment of their packet (D47, D26).
//!
//! Bounded per cause and in all. A held frame is unchanged; when what it waits for may have come,
//! it is taken out and tried again, and when its time is over it is dropped.

use core::net::IpAddr;
use core::time::Duration;

use weir_dpdk::Mbuf;
use weir_engine::id::PortId;
use weir_engine::time::Time;
use weir_engine::verdict::{DropReason, Wait};

/// Frames held for one neighbour.
const PER_NEIGHBOUR_MAX: usize = 3;
/// Fragments held in all.
const FRAGMENTS_MAX: usize = 64;
/// Frames held in all, per worker; each pins an mbuf.
const HELD_MAX: usize = 256;
/// Longer than one ARP retry of Linux (1 s), so that a lost first request costs no frame.
const NEIGHBOUR_TIME: Duration = Duration::from_millis(1500);
/// Fragments that overtake the first one do so by milliseconds.
const FRAGMENT_TIME: Duration = Duration::from_millis(200);

/// What a frame waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Neighbour(PortId, IpAddr),
    FirstFragment,
}

impl Cause {
    /// What the engine said, with the neighbour where it named one.
    pub(crate) fn new(wait: Wait, neighbour: Option<(PortId, IpAddr)>) -> Option<Self> {
        match wait {
            Wait::Neighbour => neighbour.map(|(port, address)| Self::Neighbour(port, address)),
            Wait::FirstFragment => Some(Self::FirstFragment),
        }
    }

    /// The drop reason when the wait was in vain.
    fn in_vain(self) -> DropReason {
        match self {
            Self::Neighbour(..) => Wait::Neighbour.reason(),
            Self::FirstFragment => Wait::FirstFragment.reason(),
        }
    }

    fn limit(self) -> (usize, Duration, DropReason) {
        match self {
            Self::Neighbour(..) => (PER_NEIGHBOUR_MAX, NEIGHBOUR_TIME, DropReason::HoldFull),
            Self::FirstFragment => (FRAGMENTS_MAX, FRAGMENT_TIME, DropReason::FragmentTableFull),
        }
    }
}

#[derive(Debug)]
struct Held {
    frame: Mbuf,
    cause: Cause,
    deadline: Time,
}

/// The frames that wait, oldest first.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Vec<Held>,
}

impl Hold {
    pub(crate) fn new() -> Self {
        Self {
            held: Vec::with_capacity(HELD_MAX),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Keeps a frame, until `deadline` if it has been kept before; the reason to drop it if too
    /// many wait already.
    pub(crate) fn keep(
        &mut self,
        frame: Mbuf,
        cause: Cause,
        now: Time,
        deadline: Option<Time>,
    ) -> Result<(), DropReason> {
        let (max, time, full) = cause.limit();
        let same = self.held.iter().filter(|held| held.cause == cause).count();
        if same >= max || self.held.len() >= HELD_MAX {
            return Err(full);
        }
        self.held.push(Held {
            frame,
            cause,
            deadline: deadline.unwrap_or(now + time),
        });
        Ok(())
    }

    /// Frees one frame whose time is over, and says why it is dropped.
    pub(crate) fn drop_overdue(&mut self, now: Time) -> Option<DropReason> {
        let at = self.held.iter().position(|held| held.deadline <= now)?;
        Some(self.held.remove(at).cause.in_vain())
    }

    /// Takes out the oldest frame with its deadline, to try it again.
    pub(crate) fn take_first(&mut self) -> Option<(Mbuf, Time)> {
        if self.held.is_empty() {
            return None;
        }
        let held = self.held.remove(0);
        Some((held.frame, held.deadline))
    }
}
