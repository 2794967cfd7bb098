//! What the control thread lets others see of itself: a snapshot, replaced as a whole.

use std::net::IpAddr;
use std::sync::Arc;

use weir_engine::id::PortId;
use weir_engine::tables::{Map, Role, Tables};
use weir_engine::time::Time;

use super::turns::TurnTimes;
use crate::config::Config;
use crate::health::Verdicts;
use crate::health::board::ServerHealth;
use crate::health::histogram::Histogram;
use crate::mirror::Mirror;
use crate::overlay::Overlay;
use crate::reconcile::Quorums;
use crate::suppression::Leak;
use crate::uplink::UplinkCounters;
use crate::vrrp::packet::Reject;
use crate::vrrp::{InstanceStatus, Refusal};

/// Everything that `weir show` and `/metrics` need of the control thread.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The configuration that is run; `None` before the first tables.
    pub config: Option<Arc<Config>>,
    /// The file it came from.
    pub config_file: String,
    /// Runtime changes on top.
    pub overlay: Arc<Overlay>,
    /// Which checked servers are up.
    pub verdicts: Verdicts,
    /// Which services have their quorum.
    pub quorums: Arc<Quorums>,
    /// Checks whose brake is on: name, servers that are kept up, since when, until when at most.
    pub brakes: Vec<(String, usize, Time, Time)>,
    /// How long after they were due probes started.
    pub lateness: Histogram,
    /// All checked servers, with their last result only; at most a second old.
    pub health: Arc<Vec<ServerHealth>>,
    /// The tables that were published last.
    pub tables: Arc<Tables>,
    /// The kernel's addresses, routes and neighbours.
    pub mirror: Mirror,
    /// Link state by port.
    pub links: Map<PortId, bool>,
    /// VIPs as ARP and neighbour discovery see them.
    pub vips: Arc<Vec<VipStatus>>,
    /// ARP and neighbour discovery answers sent.
    pub arp_replies: u64,
    /// Frames between ports and TAPs.
    pub uplink: UplinkCounters,
    /// Who claims a VIP without right.
    pub leaks: Vec<Leak>,
    /// VRRP instances.
    pub vrrp: Vec<InstanceStatus>,
    /// Refused adverts, by [`Reject`].
    pub vrrp_errors: [u64; Reject::COUNT],
    /// The last refused advert of each kind, of late.
    pub vrrp_refusals: Vec<Refusal>,
    /// Accepted configurations since start, the first included.
    pub revision: u64,
    /// Refused ones.
    pub reload_failures: u64,
    /// What changed last, in one line, and when.
    pub last_change: (Time, String),
    /// How long turns of the control thread took.
    pub turns: TurnTimes,
    /// Now, on the clock of every [`Time`] in here.
    pub now: Time,
}

/// A VIP as ARP and neighbour discovery see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipStatus {
    /// The address.
    pub vip: IpAddr,
    /// Whether it is ours to answer for.
    pub role: Role,
    /// On which ports.
    pub ports: Arc<[PortId]>,
    /// How often somebody else claimed it.
    pub conflicts: u64,
}

impl From<(IpAddr, Role, &Arc<[PortId]>, u64)> for VipStatus {
    fn from((vip, role, ports, conflicts): (IpAddr, Role, &Arc<[PortId]>, u64)) -> Self {
        Self {
            vip,
            role,
            ports: Arc::clone(ports),
            conflicts,
        }
    }
}
