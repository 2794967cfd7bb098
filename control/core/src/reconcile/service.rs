//! One service for the tables: walking order and consistent-hash table, shared where unchanged.

use std::sync::Arc;

use weir_engine::flow::tcp::Timeouts;
use weir_engine::id::{ServerId, ServiceId};
use weir_engine::maglev::MaglevTable;
use weir_engine::scheduler::{Candidate, SchedulerKind};
use weir_engine::tables::{OnServerGone, Server, Service};

use super::family::protocol;
use crate::config::{self, Scheduler};

/// Maglev slots of a service whose scheduler is another one: the table is only consulted while
/// the flow table is full. 4,093 slots of 2 octets: 8 KiB; 40 servers are balanced within 1 %.
const FALLBACK_SLOTS: u32 = 4093;

/// The key of the Maglev hash. Every director of a cluster must have the same; one that stands
/// alone needs no secret here.
const CLUSTER_KEY: [u8; 16] = [0; 16];

/// Builds the service in slot `id` with `servers` in configured order.
///
/// Returns `old` itself if nothing about the service changed, and keeps `old`'s Maglev table if
/// no usable server came, went or changed its weight.
pub(super) fn build(
    id: ServiceId,
    config: &config::Service,
    servers: &[&Server],
    old: Option<&Arc<Service>>,
) -> Arc<Service> {
    let usable = || servers.iter().filter(|server| server.usable);
    let size = match config.scheduler {
        Scheduler::Maglev => config.maglev_size,
        Scheduler::Rr | Scheduler::Wrr | Scheduler::Lc | Scheduler::Wlc => {
            config.maglev_size.min(FALLBACK_SLOTS)
        }
    };
    let maglev_servers: Box<[ServerId]> = usable().map(|server| server.id).collect();
    let members: Vec<(Vec<u8>, u16)> = usable().map(|s| (identity(s), s.weight)).collect();
    let maglev = old
        .filter(|old| same_members(old, &maglev_servers, &members, size))
        .map_or_else(|| table(size, &members), |old| old.maglev.clone());
    let new = Service {
        id,
        name: config.name.as_str().into(),
        vip: config.address,
        protocol: protocol(config.protocol),
        scheduler: scheduler(config.scheduler),
        // IPVS adds servers at the head of its list, so it meets the last listed first.
        walk: usable().rev().map(|s| Candidate { server: s.id, weight: s.weight }).collect(),
        maglev,
        maglev_servers,
        timeouts: timeouts(config.timeouts),
        sloppy: config.sloppy,
        on_server_gone: on_server_gone(config.on_server_gone),
    };
    match old {
        Some(old) if is_same(old, &new) => old.clone(),
        Some(_) | None => Arc::new(new),
    }
}

/// What names a server to the Maglev hash: the same on every director, whatever the slots are.
fn identity(server: &Server) -> Vec<u8> {
    match server.port {
        Some(port) => format!("{}|{}", server.address, port.0).into_bytes(),
        None => server.address.to_string().into_bytes(),
    }
}

/// Whether `old`'s table was built over just these servers and weights.
fn same_members(
    old: &Service,
    servers: &[ServerId],
    members: &[(Vec<u8>, u16)],
    size: u32,
) -> bool {
    // `walk` is the table's membership backwards, with the weights it was built with.
    let weights = || old.walk.iter().rev().map(|candidate| candidate.weight);
    old.maglev.size() == size as usize
        && *old.maglev_servers == *servers
        && weights().eq(members.iter().map(|(_, weight)| *weight))
}

fn table(size: u32, members: &[(Vec<u8>, u16)]) -> Arc<MaglevTable> {
    let members: Vec<(&[u8], u16)> = members.iter().map(|(id, w)| (id.as_slice(), *w)).collect();
    Arc::new(MaglevTable::build(size as usize, &members, &CLUSTER_KEY))
}

fn scheduler(scheduler: Scheduler) -> SchedulerKind {
    match scheduler {
        Scheduler::Rr => SchedulerKind::Rr,
        Scheduler::Wrr => SchedulerKind::Wrr,
        Scheduler::Lc => SchedulerKind::Lc,
        Scheduler::Wlc => SchedulerKind::Wlc,
        Scheduler::Maglev => SchedulerKind::Maglev,
    }
}

fn timeouts(timeouts: config::Timeouts) -> Timeouts {
    Timeouts::new(timeouts.established, timeouts.fin, timeouts.udp)
}

fn on_server_gone(policy: config::OnServerGone) -> OnServerGone {
    match policy {
        config::OnServerGone::Drop => OnServerGone::Drop,
        config::OnServerGone::Reset => OnServerGone::Reset,
        config::OnServerGone::Reschedule => OnServerGone::Reschedule,
    }
}

/// Whether workers could not tell the two apart.
fn is_same(old: &Service, new: &Service) -> bool {
    // Taken apart, so that a field added to `Service` does not go unnoticed here.
    let Service {
        id,
        name,
        vip,
        protocol,
        scheduler,
        walk,
        maglev,
        maglev_servers,
        timeouts,
        sloppy,
        on_server_gone,
    } = new;
    old.id == *id
        && old.name == *name
        && old.vip == *vip
        && old.protocol == *protocol
        && old.scheduler == *scheduler
        && old.walk == *walk
        && Arc::ptr_eq(&old.maglev, maglev)
        && old.maglev_servers == *maglev_servers
        && old.timeouts == *timeouts
        && old.sloppy == *sloppy
        && old.on_server_gone == *on_server_gone
}
