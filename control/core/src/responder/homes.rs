//! Where VIPs live: on which ports, and whose they are.

use std::net::IpAddr;
use std::sync::Arc;

use weir_engine::id::PortId;
use weir_engine::tables::{Map, Role, Tables};
use weir_wire::addr::MacAddr;

use crate::config::Prefix;

/// Where one VIP is answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// Whether it is ours at all times, never, or with a lease.
    pub(super) role: Role,
    /// The MAC of the VRRP instance that it belongs to.
    pub(super) mac: Option<MacAddr>,
    /// On these.
    pub(super) ports: Arc<[PortId]>,
}

/// The appliance's MACs and addresses as the responder needs them. Made from tables away from the
/// control thread's turns, for there may be thousands of VIPs.
#[derive(Debug, Default)]
pub struct Homes {
    pub(super) macs: Vec<MacAddr>,
    /// The kernel's addresses.
    pub(super) dips: Map<IpAddr, PortId>,
    pub(super) vips: Map<IpAddr, Home>,
    /// VIPs that are new, gone, or have another home than in the homes before.
    pub(super) changed: Vec<IpAddr>,
}

impl Homes {
    /// Those of some tables, with what has changed since the ones `before`; these themselves if
    /// nothing has.
    pub fn of(tables: &Tables, before: &Arc<Self>) -> Arc<Self> {
        let dips4 = tables.v4.dips.iter().map(|(a, p)| (IpAddr::V4(*a), *p));
        let dips6 = tables.v6.dips.iter().map(|(a, p)| (IpAddr::V6(*a), *p));
        let vips4 = tables.v4.vips.iter().map(|(a, v)| (IpAddr::V4(*a), v.role));
        let vips6 = tables.v6.vips.iter().map(|(a, v)| (IpAddr::V6(*a), v.role));
        let vips = vips4.chain(vips6);
        let mut homes = Self {
            macs: tables.ports.iter().map(|port| port.mac).collect(),
            dips: dips4.chain(dips6).collect(),
            vips: vips
                .filter_map(|(vip, role)| Some((vip, home(tables, vip, role)?)))
                .collect(),
            changed: Vec::new(),
        };
        let other = |(vip, home): &(&IpAddr, &Home)| before.vips.get(*vip) != Some(*home);
        let changed = homes.vips.iter().filter(other).map(|(vip, _)| *vip);
        let gone = before
            .vips
            .keys()
            .filter(|vip| !homes.vips.contains_key(*vip));
        homes.changed = changed.chain(gone.copied()).collect();
        let same = homes.changed.is_empty();
        match same && homes.macs == before.macs && homes.dips == before.dips {
            true => Arc::clone(before),
            false => Arc::new(homes),
        }
    }
}

/// Where a VIP lives. With a VRRP instance that is its port; else the ports whose subnet holds the
/// VIP, or all if none does.
fn home(tables: &Tables, vip: IpAddr, role: Role) -> Option<Home> {
    let (mac, ports) = match role {
        Role::Active | Role::Backup => (None, homes(tables, vip)),
        Role::Leased(lease) => {
            // Tables name no lease without its instance.
            let instance = tables.instance(lease)?;
            (Some(instance.mac), vec![instance.port])
        }
    };
    Some(Home {
        role,
        mac,
        ports: ports.into(),
    })
}

/// The ports on which a VIP is answered for.
fn homes(tables: &Tables, vip: IpAddr) -> Vec<PortId> {
    let ids = || (0..).map(PortId).zip(&tables.ports);
    let holds = |port: &weir_engine::tables::Port| {
        port.addresses.iter().any(|&(address, len)| {
            // A host route holds nothing but itself; a link-local subnet is on every port.
            let prefix = Prefix { address, len };
            prefix.contains(vip)
        })
    };
    let at_home: Vec<PortId> = ids()
        .filter(|(_, port)| holds(port))
        .map(|(id, _)| id)
        .collect();
    if at_home.is_empty() {
        ids().map(|(id, _)| id).collect()
    } else {
        at_home
    }
}
