//! VRRP instances in the tables: whose lease each VIP and virtual MAC follows.
//!
//! Roles themselves are no part of the tables: they change by the leases.

use std::net::IpAddr;

use weir_engine::id::PortId;
use weir_engine::lease::LeaseId;
use weir_engine::tables::{Instance, Map, Port, Role};
use weir_wire::addr::MacAddr;

use super::ReconcileError;
use super::slots::Slots;
use crate::config::{Config, VrrpInstance};
use crate::ports::PortFact;

/// All instances with their slots.
#[derive(Debug, Default)]
pub(super) struct Instances {
    by_slot: Vec<Option<Instance>>,
    by_vip: Map<IpAddr, LeaseId>,
    /// Port, virtual MAC and lease of the instances that have one.
    virtual_macs: Vec<(PortId, MacAddr, LeaseId)>,
}

/// Gives each configured instance its slot.
pub(super) fn place(
    slots: &mut Slots<Box<str>>,
    config: &Config,
    facts: &[PortFact],
) -> Result<Instances, ReconcileError> {
    let count = config.vrrp.len();
    let names: Vec<Box<str>> = config.vrrp.iter().map(|v| v.name.as_str().into()).collect();
    let ids = slots
        .assign(&names)
        .map_err(|_| ReconcileError::Instances { count })?;
    let mut instances = Instances {
        by_slot: vec![None; slots.len()],
        ..Instances::default()
    };
    for ((slot, _), instance) in ids.into_iter().zip(&config.vrrp) {
        let lease = LeaseId(u16::try_from(slot).unwrap_or(u16::MAX));
        let port = config.ports.iter().position(|p| p.name == instance.port);
        let Some((index, fact)) = port.and_then(|at| Some((at, facts.get(at)?))) else {
            continue; // Validation lets no such name through.
        };
        let port = PortId(u16::try_from(index).unwrap_or(u16::MAX));
        instances.add(lease, port, fact.mac, instance);
    }
    Ok(instances)
}

/// The virtual MAC of an instance (RFC 9568 §7.3): one for each family and identifier.
pub(crate) fn virtual_mac(instance: &VrrpInstance) -> MacAddr {
    let is_v4 = instance.addresses.first().is_none_or(IpAddr::is_ipv4);
    MacAddr([0, 0, 0x5e, 0, if is_v4 { 1 } else { 2 }, instance.id])
}

impl Instances {
    fn add(&mut self, lease: LeaseId, port: PortId, mac: MacAddr, instance: &VrrpInstance) {
        self.by_vip.extend(instance.vips().map(|vip| (vip, lease)));
        let mac = match instance.virtual_mac {
            true => virtual_mac(instance),
            false => mac,
        };
        if instance.virtual_mac {
            self.virtual_macs.push((port, mac, lease));
        }
        self.by_slot[usize::from(lease.0)] = Some(Instance {
            name: instance.name.as_str().into(),
            port,
            id: instance.id,
            is_v4: instance.addresses.first().is_none_or(IpAddr::is_ipv4),
            mac,
        });
    }

    /// The role of a VIP: Active unless it belongs to an instance.
    pub(super) fn role(&self, vip: IpAddr) -> Role {
        let lease = self.by_vip.get(&vip).copied();
        lease.map_or(Role::Active, Role::Leased)
    }

    /// All VIPs of instances.
    pub(super) fn vips(&self) -> impl Iterator<Item = (IpAddr, Role)> {
        let all = self.by_vip.iter();
        all.map(|(vip, lease)| (*vip, Role::Leased(*lease)))
    }

    /// Lets the ports take frames to their instances' virtual MACs.
    pub(super) fn add_virtual_macs(&self, ports: &mut [Port]) {
        for (id, port) in (0..).map(PortId).zip(ports) {
            let own = self.virtual_macs.iter().filter(|(at, ..)| *at == id);
            port.virtual_macs = own.map(|&(_, mac, lease)| (mac, lease)).collect();
        }
    }

    /// By [`LeaseId`].
    pub(super) fn into_table(self) -> Box<[Option<Instance>]> {
        self.by_slot.into()
    }
}
