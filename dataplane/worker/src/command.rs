//! What the control thread asks of a worker between bursts.

use core::net::IpAddr;
use std::sync::Arc;

use weir_dpdk::Mbuf;
use weir_engine::Engine;
use weir_engine::id::PortId;
use weir_engine::tables::Tables;
use weir_engine::time::Time;

/// A question to one worker's engine: runs between two bursts, so it must be short and bounded.
pub type Inspect = Box<dyn FnOnce(&Engine, &Tables, Time) + Send>;

/// One command; a worker obeys a bounded number of them per turn.
pub enum Command {
    /// Forward by these as soon as they have been fetched; the old ones are given back, never
    /// freed here.
    Adopt(Arc<Tables>),
    /// Answer a question (`weir explain`, `weir show flows`).
    Inspect(Inspect),
    /// Send what is queued and return from the loop.
    Stop,
}

impl core::fmt::Debug for Command {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Adopt(tables) => write!(f, "Adopt(generation {})", tables.generation),
            Self::Inspect(_) => f.write_str("Inspect"),
            Self::Stop => f.write_str("Stop"),
        }
    }
}

/// A frame that control or the kernel wants to send.
#[derive(Debug)]
pub struct Outgoing {
    /// By which port.
    pub port: PortId,
    /// The complete frame, with the port's VLAN tag.
    pub frame: Mbuf,
}

/// A neighbour that frames wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// On which port to ask.
    pub port: PortId,
    /// For whom.
    pub neighbour: IpAddr,
}
