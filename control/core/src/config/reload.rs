//! What a reload may not do by itself: change what is fixed at start, or lose half the services.

use std::collections::HashSet;
use std::fmt;

use super::types::{Config, Port};

/// Fewer services or servers than this may vanish at will.
const SHRINK_FLOOR: usize = 10;

/// The keys whose change needs a restart, in the operator's words; empty if a reload will do.
pub fn restart_needed(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    let mut note = |changed: bool, key: String| {
        if changed {
            keys.push(key);
        }
    };
    let (a, b) = (&old.runtime, &new.runtime);
    note(a.workers != b.workers, "runtime.workers".into());
    note(a.control != b.control, "runtime.control".into());
    note(
        a.flows_per_worker != b.flows_per_worker,
        "runtime.flows_per_worker".into(),
    );
    note(a.mbufs != b.mbufs, "runtime.mbufs".into());
    note(a.mbuf_data != b.mbuf_data, "runtime.mbuf_data".into());
    note(
        a.answers_per_second != b.answers_per_second,
        "runtime.answers_per_second".into(),
    );
    note(
        a.answers_per_client != b.answers_per_client,
        "runtime.answers_per_client".into(),
    );
    note(a.hugepages != b.hugepages, "runtime.hugepages".into());
    note(a.idle != b.idle, "runtime.idle".into());
    note(a.heartbeat != b.heartbeat, "runtime.heartbeat".into());
    note(
        old.management.socket != new.management.socket,
        "management.socket".into(),
    );
    for port in &old.ports {
        match new.ports.iter().find(|other| other.name == port.name) {
            Some(other) => keys.extend(port_changes(port, other)),
            None => keys.push(format!("ports: {} removed", port.name)),
        }
    }
    for port in &new.ports {
        if !old.ports.iter().any(|other| other.name == port.name) {
            keys.push(format!("ports: {} added", port.name));
        }
    }
    keys
}

fn port_changes(old: &Port, new: &Port) -> impl Iterator<Item = String> {
    let changed = [
        (old.device != new.device, "device"),
        (old.queues != new.queues, "queues"),
        (old.mtu != new.mtu, "mtu"),
        (old.mac != new.mac, "mac"),
        (old.vlan != new.vlan, "vlan"),
    ];
    let name = old.name.clone();
    let changed = changed.into_iter().filter(|(changed, _)| *changed);
    changed.map(move |(_, key)| format!("ports.{name}.{key}"))
}

/// A reload that would remove more than half of at least ten services or servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShrinkRefusal {
    /// `services` or `servers`.
    pub what: &'static str,
    /// How many would vanish.
    pub removed: usize,
    /// How many there are.
    pub of: usize,
}

impl fmt::Display for ShrinkRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, removed, of } = self;
        write!(
            f,
            "this would remove {removed} of {of} {what}; pass --allow-shrink if it should"
        )
    }
}

impl std::error::Error for ShrinkRefusal {}

/// Whether `new` loses more than half of at least ten services or servers of `old`.
///
/// Services are known by name, servers by service and name.
pub fn shrink(old: &Config, new: &Config) -> Option<ShrinkRefusal> {
    let services = |config| {
        names(config)
            .map(|(service, _)| service)
            .collect::<HashSet<_>>()
    };
    let servers = |config| {
        names(config)
            .filter_map(|(service, server)| Some((service, server?)))
            .collect()
    };
    judge("services", &services(old), &services(new))
        .or_else(|| judge::<(&str, &str)>("servers", &servers(old), &servers(new)))
}

/// Every service once alone and once with each of its servers.
fn names(config: &Config) -> impl Iterator<Item = (&str, Option<&str>)> {
    config.services.iter().flat_map(|service| {
        let servers = service
            .servers
            .iter()
            .map(|server| Some(server.name.as_str()));
        std::iter::once(None)
            .chain(servers)
            .map(|server| (service.name.as_str(), server))
    })
}

fn judge<T: Eq + std::hash::Hash>(
    what: &'static str,
    old: &HashSet<T>,
    new: &HashSet<T>,
) -> Option<ShrinkRefusal> {
    let removed = old.difference(new).count();
    let refused = old.len() >= SHRINK_FLOOR && removed * 2 > old.len();
    refused.then_some(ShrinkRefusal {
        what,
        removed,
        of: old.len(),
    })
}
