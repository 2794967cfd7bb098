//! One service for the tables: walking order and consistent-hash table, shared where unchanged.

use std::sync::Arc;

use weir_engine::flow::tcp::Timeouts;
use weir_engine::id::{ServerId, ServiceId};
use weir_engine::maglev::{ClusterKey, MaglevIdentity, MaglevServer, MaglevSize, MaglevTable};
use weir_engine::scheduler::{Candidate, SchedulerKind};
use weir_engine::tables::{OnServerGone, Server, Service};
use weir_wire::addr::L4Port;

use super::family::protocol;
use crate::config::{self, PortSpec, Scheduler};

/// Builds the service in slot `id` with `servers` in configured order, each with the percentage of
/// its weight that it has.
///
/// Returns `old` itself if nothing about the service changed, and keeps `old`'s Maglev table if
/// no usable server came, went or changed its weight.
pub(super) fn build(
    id: ServiceId,
    config: &config::Service,
    servers: &[(&Server, u8)],
    old: Option<&Arc<Service>>,
) -> Arc<Service> {
    let size = match config.scheduler {
        // Validation refuses what is not a prime; the default stands in for the impossible.
        Scheduler::Maglev => MaglevSize::new(config.maglev_size).unwrap_or(MaglevSize::DEFAULT),
        Scheduler::Rr | Scheduler::Wrr | Scheduler::Lc | Scheduler::Wlc => {
            MaglevSize::fallback(config.servers.len())
        }
    };
    let candidates = candidates(servers);
    let usable = || {
        let all = servers.iter().zip(&candidates);
        all.filter(|(_, candidate)| candidate.usable)
    };
    let maglev_servers: Box<[ServerId]> = usable().map(|(_, c)| c.server).collect();
    let weights = || usable().map(|(_, c)| c.weight);
    let maglev = match old {
        Some(old) if is_built_over(old, size, &maglev_servers, weights()) => old.maglev.clone(),
        Some(_) | None => {
            let members: Vec<MaglevServer> = usable()
                .map(|((server, _), c)| member(server, c.weight))
                .collect();
            Arc::new(MaglevTable::build(size, &members, &ClusterKey::default()))
        }
    };
    let new = Service {
        id,
        name: config.name.as_str().into(),
        vip: config.address,
        protocol: protocol(config.protocol),
        port: match &config.ports {
            PortSpec::One(port) => Some(L4Port(port.0)),
            PortSpec::All | PortSpec::Many(_) | PortSpec::Range(..) => None,
        },
        scheduler: scheduler(config.scheduler),
        // IPVS adds servers at the head of its list, so it meets the last listed first.
        walk: candidates.iter().rev().copied().collect(),
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

/// The servers as schedulers see them. While one of them has a share of its weight only, all
/// weights are in hundredths: a weight of 1 could not grow otherwise. Schedulers compare weights
/// with each other, so that changes nothing else.
fn candidates(servers: &[(&Server, u8)]) -> Vec<Candidate> {
    let growing = servers
        .iter()
        .any(|(server, share)| server.usable && *share < 100);
    let candidate = |(server, share): &(&Server, u8)| {
        let weight = u32::from(server.weight);
        let share = u32::from(*share).max(1);
        Candidate {
            server: server.id,
            weight: if growing { weight * share } else { weight },
            usable: server.usable,
        }
    };
    servers.iter().map(candidate).collect()
}

fn member(server: &Server, weight: u32) -> MaglevServer {
    // Without a port of its own, the port is the client's and names nobody.
    let port = server.port.unwrap_or(L4Port::NONE);
    let identity = MaglevIdentity::new(server.address, port);
    MaglevServer { identity, weight }
}

/// Whether `old`'s Maglev table was built over just these servers and weights.
fn is_built_over(
    old: &Service,
    size: MaglevSize,
    servers: &[ServerId],
    weights: impl Iterator<Item = u32>,
) -> bool {
    let slots = if servers.is_empty() {
        0
    } else {
        size.get() as usize
    };
    let old_weights = old.walk.iter().rev().filter(|c| c.usable).map(|c| c.weight);
    old.maglev.slots().len() == slots && *old.maglev_servers == *servers && old_weights.eq(weights)
}

fn scheduler(scheduler: Scheduler) -> SchedulerKind {
    match scheduler {
        Scheduler::Rr => SchedulerKind::RoundRobin,
        Scheduler::Wrr => SchedulerKind::WeightedRoundRobin,
        Scheduler::Lc => SchedulerKind::LeastConnection,
        Scheduler::Wlc => SchedulerKind::WeightedLeastConnection,
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
        port,
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
        && old.port == *port
        && old.scheduler == *scheduler
        && old.walk == *walk
        && Arc::ptr_eq(&old.maglev, maglev)
        && old.maglev_servers == *maglev_servers
        && old.timeouts == *timeouts
        && old.sloppy == *sloppy
        && old.on_server_gone == *on_server_gone
}
