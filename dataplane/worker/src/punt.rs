//! Frames for the control thread: classed, limited, and never in the way of forwarding.

use weir_dpdk::Mbuf;
use weir_engine::id::PortId;
use weir_engine::limits::TokenBucket;
use weir_engine::time::Time;
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

/// Frames per second that one worker gives to control, by class.
///
/// VRRP, ARP and ND are kept apart from the bulk classes, so that a flood of one starves no other.
#[derive(Clone, Copy, Debug)]
pub struct PuntLimits {
    /// Frames per second by [`PuntClass`]; 0 means unlimited.
    pub per_second: [u32; PuntClass::COUNT],
}

impl Default for PuntLimits {
    fn default() -> Self {
        let mut per_second = [0; PuntClass::COUNT];
        for &class in PuntClass::ALL {
            per_second[class.index()] = match class {
                PuntClass::Vrrp | PuntClass::Link => 10_000,
                PuntClass::Arp | PuntClass::Nd => 5_000,
                PuntClass::Multicast => 2_000,
                // The kernel's own traffic: ssh, BGP, health checks, servers' outbound traffic.
                PuntClass::Dip | PuntClass::Routed => 200_000,
            };
        }
        Self { per_second }
    }
}

/// The buckets of one worker.
#[derive(Debug)]
pub(crate) struct PuntPolicer([TokenBucket; PuntClass::COUNT]);

impl PuntPolicer {
    pub(crate) fn new(limits: PuntLimits) -> Self {
        Self(
            limits
                .per_second
                .map(|rate| TokenBucket::new(rate, rate / 10)),
        )
    }

    #[inline]
    pub(crate) fn admits(&mut self, class: PuntClass, now: Time) -> bool {
        self.0[class.index()].take(now)
    }
}
