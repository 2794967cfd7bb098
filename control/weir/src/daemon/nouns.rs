//! The nouns of `weir show`, built from tables and counters. Read-only.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_control::config;
use weir_engine::counters::{Outcomes, WorkerCounters};
use weir_engine::id::PortId;
use weir_engine::routes::{Hop, Route as TableRoute};
use weir_engine::tables::{Mode, Port as TablePort, Server as TableServer, Tables};
use weir_engine::verdict::DropReason;
use weir_wire::addr::{Address, MacAddr};

use super::shared::Shared;
use super::snapshot::ControlView;
use crate::views::{
    Drop, Drops, InOut, Neighbour, Neighbours, Port, Ports, Route, Routes, RxTx, Server, Servers,
    Service, Services, VERSION, Worker, Workers,
};

pub(crate) fn services(shared: &Shared, control: &ControlView) -> Services {
    let tables = shared.tables.load();
    let list = control.config.services.iter();
    let services = list
        .map(|service| one_service(shared, control, &tables, service))
        .collect();
    Services {
        version: VERSION,
        services,
    }
}

pub(crate) fn servers(shared: &Shared, control: &ControlView) -> Servers {
    let services = services(shared, control).services;
    let servers = services
        .into_iter()
        .flat_map(|service| service.servers)
        .collect();
    Servers {
        version: VERSION,
        servers,
    }
}

fn one_service(
    shared: &Shared,
    control: &ControlView,
    tables: &Tables,
    service: &config::Service,
) -> Service {
    let slot = tables
        .services
        .iter()
        .flatten()
        .find(|entry| *entry.name == *service.name);
    let counters = slot.map(|slot| slot.id.index());
    let sum = |value: fn(&WorkerCounters, usize) -> u64| {
        counters.map_or(0, |id| shared.total(|worker| value(worker, id)))
    };
    let quorum = control.status.quorums.get(&*service.name);
    Service {
        name: service.name.clone(),
        address: service.address.to_string(),
        port: service.ports.to_string(),
        protocol: protocol(service.protocol).into(),
        mode: config_mode(service.mode).into(),
        scheduler: scheduler(service.scheduler).into(),
        packets: InOut {
            incoming: sum(|c, id| c.services[id].incoming.packets.value()),
            outgoing: sum(|c, id| c.services[id].outgoing.packets.value()),
        },
        bytes: InOut {
            incoming: sum(|c, id| c.services[id].incoming.bytes.value()),
            outgoing: sum(|c, id| c.services[id].outgoing.bytes.value()),
        },
        connections: sum(|c, id| c.services[id].connections.value()),
        quorum: service.quorum,
        quorum_weight: quorum.map_or(0, |quorum| quorum.weight),
        quorum_met: quorum.is_some_and(|quorum| quorum.met),
        servers: service
            .all_servers()
            .map(|server| one_server(shared, control, tables, service, server))
            .collect(),
    }
}

fn one_server(
    shared: &Shared,
    control: &ControlView,
    tables: &Tables,
    service: &config::Service,
    server: &config::Server,
) -> Server {
    let slot = tables.servers.iter().flatten().find(|entry| {
        *entry.name == *server.name
            && tables
                .service(entry.service)
                .is_some_and(|s| *s.name == *service.name)
    });
    let sum = |value: fn(&weir_engine::counters::ServerCounters) -> u64| {
        slot.map_or(0, |slot| {
            shared.total(|worker| value(&worker.servers[slot.id.index as usize]))
        })
    };
    let failed = slot.map_or_else(Outcomes::default, |slot| shared.outcomes(slot.id));
    Server {
        service: service.name.clone(),
        name: server.name.clone(),
        address: server.address.to_string(),
        port: server
            .port
            .map_or_else(|| first_port(service), |port| port.0),
        mode: config_mode(server.mode).into(),
        state: control.state_of(service, server).into(),
        weight: slot.map_or(u32::from(server.weight.0), |slot| u32::from(slot.weight)),
        up: control.is_up(&service.name, &server.name),
        usable: slot.is_some_and(|slot| slot.usable),
        neighbour: slot.map_or_else(|| "not in the tables yet".into(), |s| neighbour(s, tables)),
        packets: InOut {
            incoming: sum(|c| c.incoming.packets.value()),
            outgoing: sum(|c| c.outgoing.packets.value()),
        },
        bytes: InOut {
            incoming: sum(|c| c.incoming.bytes.value()),
            outgoing: sum(|c| c.outgoing.bytes.value()),
        },
        connections: sum(|c| c.connections.value()),
        active_connections: sum(|c| u64::from(c.active.value())),
        inactive_connections: sum(|c| u64::from(c.inactive.value())),
        unanswered: failed.unanswered,
        resets: failed.reset,
    }
}

/// The port that clients use, where a service has exactly one; 0 where it has several.
fn first_port(service: &config::Service) -> u16 {
    match service.ports {
        config::PortSpec::One(port) => port.0,
        config::PortSpec::All | config::PortSpec::Many(_) | config::PortSpec::Range(..) => 0,
    }
}

fn neighbour(server: &TableServer, tables: &Tables) -> String {
    let name = |port| {
        tables
            .port(port)
            .map_or("?", |port: &TablePort| &*port.name)
    };
    match server.hop {
        Hop::Ready(next) => format!("{} {}", name(next.port), next.mac),
        Hop::Unresolved { port, neighbour } => format!("{} {neighbour} unresolved", name(port)),
        Hop::NoRoute => "no route".into(),
    }
}

pub(crate) fn protocol(protocol: config::Protocol) -> &'static str {
    match protocol {
        config::Protocol::Tcp => "tcp",
        config::Protocol::Udp => "udp",
    }
}

fn config_mode(mode: config::Mode) -> &'static str {
    match mode {
        config::Mode::Dr => "dr",
        config::Mode::Nat => "nat",
        config::Mode::Tunnel(_) => "tunnel",
    }
}

pub(crate) fn table_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Dr => "dr",
        Mode::Nat => "nat",
        Mode::Tunnel => "tunnel",
    }
}

fn scheduler(scheduler: config::Scheduler) -> &'static str {
    match scheduler {
        config::Scheduler::Rr => "rr",
        config::Scheduler::Wrr => "wrr",
        config::Scheduler::Lc => "lc",
        config::Scheduler::Wlc => "wlc",
        config::Scheduler::Maglev => "maglev",
    }
}

pub(crate) fn ports(shared: &Shared, control: &ControlView) -> Ports {
    let tables = shared.tables.load();
    let ids = (0..).map(PortId);
    let ports = ids
        .zip(&tables.ports)
        .filter_map(|(id, port)| one_port(shared, control, id, port));
    let ports = ports.collect();
    Ports {
        version: VERSION,
        ports,
    }
}

fn one_port(shared: &Shared, control: &ControlView, id: PortId, port: &TablePort) -> Option<Port> {
    shared.devices.with(|devices| {
        let device = devices.get(port.device.index())?;
        let stats = device.stats();
        let (rx, tx) = device.queues();
        Some(Port {
            name: port.name.to_string(),
            device: device.device.clone(),
            driver: device
                .ports
                .first()
                .map(|p| p.driver().to_owned())
                .unwrap_or_default(),
            mac: port.mac.to_string(),
            mtu: port.mtu,
            addresses: port
                .addresses
                .iter()
                .map(|(a, len)| format!("{a}/{len}"))
                .collect(),
            up: control.link_is_up(id),
            rx_queues: rx,
            tx_queues: tx,
            rx_packets: stats.rx_frames,
            tx_packets: stats.tx_frames,
            rx_bytes: stats.rx_octets,
            tx_bytes: stats.tx_octets,
            rx_errors: stats.rx_errors + stats.rx_no_mbuf,
            tx_errors: stats.tx_errors,
            rx_missed: stats.rx_missed,
            notes: device.notes.clone(),
        })
    })
}

#[expect(clippy::cast_precision_loss, reason = "ratios for people")]
pub(crate) fn workers(shared: &Shared) -> Workers {
    let now = shared.clock.nanos();
    let sum = |list: &[weir_engine::counters::Counter]| {
        list.iter().map(weir_engine::counters::Counter::value).sum()
    };
    let one = |(index, worker): (usize, &super::shared::WorkerFacts)| {
        let counters = &worker.stats.counters;
        let age = now.saturating_sub(worker.stats.heartbeat.value());
        Worker {
            worker: u16::try_from(index).unwrap_or(u16::MAX),
            cpu: worker.cpu,
            packets: RxTx {
                rx: counters.received.packets.value(),
                tx: counters.sent.packets.value(),
            },
            bytes: RxTx {
                rx: counters.received.bytes.value(),
                tx: counters.sent.bytes.value(),
            },
            handed_in: counters.handed_in.value(),
            handed_out: counters.handed_out.value(),
            originated: counters.originated.value(),
            punted: sum(&counters.punted),
            dropped: sum(&counters.dropped),
            held: counters.held.value(),
            flows: counters.flows.value(),
            flows_capacity: shared.flows_per_worker,
            flow_insert_failures: counters.flow_insert_failures.value(),
            busy_ratio: worker.stats.busy.value() as f64
                / worker.stats.elapsed.value().max(1) as f64,
            heartbeat_seconds: age as f64 / 1e9,
            generation: worker.stats.generation.value(),
        }
    };
    Workers {
        version: VERSION,
        workers: shared.workers.iter().enumerate().map(one).collect(),
    }
}

pub(crate) fn neighbours(shared: &Shared) -> Neighbours {
    let tables = shared.tables.load();
    let name = |port| {
        tables
            .port(port)
            .map_or_else(String::new, |port| port.name.to_string())
    };
    let row = |(port, address, mac): (_, IpAddr, MacAddr)| Neighbour {
        port: name(port),
        address: address.to_string(),
        mac: mac.to_string(),
    };
    let v4 = tables
        .v4
        .neighbours
        .iter()
        .map(|((port, a), mac)| row((*port, (*a).into(), *mac)));
    let v6 = tables
        .v6
        .neighbours
        .iter()
        .map(|((port, a), mac)| row((*port, (*a).into(), *mac)));
    let mut neighbours: Vec<_> = v4.chain(v6).collect();
    neighbours.sort_by(|a, b| (&a.port, &a.address).cmp(&(&b.port, &b.address)));
    Neighbours {
        version: VERSION,
        neighbours,
    }
}

pub(crate) fn routes(shared: &Shared) -> Routes {
    let tables = shared.tables.load();
    let v4 = tables.v4.routes.iter().map(|(bits, len, route)| {
        let prefix = u32::try_from(bits).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from_bits);
        one_route(&tables, prefix.into(), len, route)
    });
    let v6 =
        tables.v6.routes.iter().map(|(bits, len, route)| {
            one_route(&tables, Ipv6Addr::from_bits(bits).into(), len, route)
        });
    Routes {
        version: VERSION,
        routes: v4.chain(v6).collect(),
    }
}

fn one_route<A: Address>(tables: &Tables, prefix: IpAddr, len: u8, route: &TableRoute<A>) -> Route {
    Route {
        destination: format!("{prefix}/{len}"),
        port: tables
            .port(route.port)
            .map_or_else(String::new, |port| port.name.to_string()),
        gateway: route.gateway.map(|gateway| gateway.into().to_string()),
        source: route.source.map(|source| source.into().to_string()),
    }
}

pub(crate) fn drops(shared: &Shared) -> Drops {
    let one = |reason: &DropReason| Drop {
        reason: reason.label().into(),
        count: shared.sum(|counters| &counters.dropped[reason.index()]),
        text: reason.text().into(),
    };
    let mut drops: Vec<_> = DropReason::ALL
        .iter()
        .map(one)
        .filter(|drop| drop.count > 0)
        .collect();
    drops.sort_by_key(|drop| core::cmp::Reverse(drop.count));
    Drops {
        version: VERSION,
        drops,
    }
}

/// An endpoint as people write it: IPv6 in brackets.
pub(crate) fn endpoint(address: IpAddr, port: u16) -> String {
    core::net::SocketAddr::new(address, port).to_string()
}
