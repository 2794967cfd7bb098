//! Frames for the control thread: classed, limited (the engine's police), never in the way of
//! forwarding.

use weir_dpdk::Mbuf;
use weir_engine::id::PortId;
use weir_engine::verdict::PuntClass;

/// A frame for the control thread.
#[derive(Debug)]
pub struct Punt {
    /// Where it came in.
    pub port: PortId,
    /// Why it goes to control.
    pub class: PuntClass,
    /// The frame as it came, VLAN tag included.
    pub frame: Mbuf,
}
