//! The network that [`super::pipeline`] plays in, and how it may change: services of every mode,
//! family and scheduler; servers that go, are replaced, or may get no new flow.

use std::sync::Arc;

use weir_engine::id::{PortId, ServerId};
use weir_engine::scheduler::SchedulerKind;
use weir_engine::tables::{
    Family, Map, Mode, NatSource, OnServerGone, Role, Service, Tables, Unserved, Vip,
};
use weir_engine::testing::world::{PortSpec, ServerSpec, ServiceSpec, Spec, ip, mac};
use weir_wire::addr::{Address, Protocol};

/// Services that change: one of each mode and family.
const CHANGING: [usize; 6] = [0, 4, 6, 11, 15, 17];

/// From this variant on, slots have changed hands. Their generations only ever go up, so nothing
/// may follow these while there are flows.
pub(crate) const FIRST_FINAL: usize = 2 + 2 * CHANGING.len();

/// Tables of `spec` first, then others that may follow them. Servers keep their slots, as
/// reconcile has it.
pub(crate) fn variants(spec: &Spec) -> Vec<Tables> {
    let mut variants = vec![spec.tables(1)];
    let mut strangers = spec.clone();
    strangers.neighbours.clear();
    variants.push(strangers.tables(1));
    for service in CHANGING {
        let mut drained = spec.clone();
        drained.services[service]
            .servers
            .iter_mut()
            .for_each(|server| server.weight = 0);
        variants.push(drained.tables(1));
        variants.push(without(spec, service));
    }
    variants.extend(CHANGING.map(|service| replaced(spec, service)));
    variants
}

/// The servers of a service are no longer listed.
fn without(spec: &Spec, service: usize) -> Tables {
    let mut tables = spec.tables(1);
    let mut emptied = spec.clone();
    emptied.services[service].servers.clear();
    tables.services[service] = emptied.tables(1).services[service].take();
    for slot in &mut tables.servers {
        slot.take_if(|server| server.service.index() == service);
    }
    let servers = std::mem::take(&mut tables.servers);
    let is_there = |id: ServerId| servers.get(id.index as usize).is_some_and(Option::is_some);
    sources(&mut tables.v4, |source| match source {
        NatSource::One(id) => is_there(*id),
        NatSource::Many => true,
    });
    sources(&mut tables.v6, |source| match source {
        NatSource::One(id) => is_there(*id),
        NatSource::Many => true,
    });
    tables.servers = servers;
    tables.seal();
    tables
}

/// The servers' slots are given to others with the same addresses.
fn replaced(spec: &Spec, service: usize) -> Tables {
    let mut tables = spec.tables(1);
    let of_service = |server: &weir_engine::tables::Server| server.service.index() == service;
    let indices: Vec<u32> = tables
        .servers
        .iter()
        .flatten()
        .filter(|server| of_service(server))
        .map(|server| server.id.index)
        .collect();
    let renew = |id: &mut ServerId| {
        if indices.contains(&id.index) {
            id.generation = 2;
        }
    };
    tables
        .servers
        .iter_mut()
        .flatten()
        .for_each(|server| renew(&mut server.id));
    let changed: Option<&mut Service> = tables.services[service].as_mut().and_then(Arc::get_mut);
    let changed = changed.expect("nobody shares tables that were just built");
    changed
        .walk
        .iter_mut()
        .for_each(|candidate| renew(&mut candidate.server));
    changed.maglev_servers.iter_mut().for_each(renew);
    let renew_source = |source: &mut NatSource| {
        if let NatSource::One(id) = source {
            renew(id);
        }
        true
    };
    sources(&mut tables.v4, renew_source);
    sources(&mut tables.v6, renew_source);
    tables.seal();
    tables
}

/// Keeps the NAT sources that `keep` says, which may change them.
fn sources<A: Address>(family: &mut Family<A>, mut keep: impl FnMut(&mut NatSource) -> bool) {
    fn retain<K: std::hash::Hash + Eq>(
        map: &mut Map<K, NatSource>,
        keep: &mut impl FnMut(&mut NatSource) -> bool,
    ) {
        map.retain(|_, source| keep(source));
    }
    retain(&mut family.nat_sources, &mut keep);
    retain(&mut family.nat_hosts, &mut keep);
}

fn server(address: &str, port: Option<u16>, weight: u16, mode: Mode) -> ServerSpec {
    ServerSpec {
        address: ip(address),
        port,
        weight,
        mode,
    }
}

/// Services of every mode, family and scheduler, and VIPs that are not served.
pub(crate) fn spec(workers: u16) -> Spec {
    let mut spec = Spec::standard();
    spec.workers = workers;
    spec.ports.push(PortSpec {
        mac: mac("02:00:00:00:01:02"),
        mtu: 1400,
        vlan: Some(100),
        addresses: vec![(ip("10.2.0.1"), 24)],
        gateways: vec![],
    });
    spec.neighbours
        .push((2, ip("10.2.0.11"), mac("02:00:00:00:04:0b")));
    let families = [("10.0.0.", "10.1.0."), ("fd00::", "fd00:1::")];
    for (vips, servers) in families {
        services(&mut spec, vips, servers);
    }
    let silent = Vip {
        role: Role::Active,
        unserved: Unserved::Drop,
        dip: None,
    };
    let backup = Vip {
        role: Role::Backup,
        ..silent
    };
    let own = Vip {
        dip: Some(PortId(0)),
        ..silent
    };
    for (address, vip) in [
        ("10.0.0.13", silent),
        ("10.0.0.14", backup),
        ("10.0.0.1", own),
    ] {
        spec.vips.push((ip(address), vip));
    }
    for (address, vip) in [("fd00::13", silent), ("fd00::14", backup), ("fd00::1", own)] {
        spec.vips.push((ip(address), vip));
    }
    spec
}

fn services(spec: &mut Spec, vips: &str, servers: &str) {
    let at = |last: u16| format!("{servers}{last}");
    let basic =
        |vip: u16, port: u16| ServiceSpec::tcp(&format!("{vips}{vip}"), port, Mode::Dr, &[]);
    let three = |mode, port| {
        let of = |(last, weight)| server(&at(last), port, weight, mode);
        [(11, 1), (12, 2), (13, 0)].map(of).to_vec()
    };
    let dr = ServiceSpec {
        servers: three(Mode::Dr, None),
        ..basic(10, 80)
    };
    spec.services.push(ServiceSpec {
        sloppy: true,
        ..dr.clone()
    });
    spec.services.push(ServiceSpec {
        ports: (8000, 8100),
        ..dr.clone()
    });
    spec.services.push(ServiceSpec {
        protocol: Protocol::UDP,
        ports: (53, 53),
        ..dr
    });
    let nat = ServiceSpec {
        servers: three(Mode::Nat, Some(8080)),
        scheduler: SchedulerKind::WeightedLeastConnection,
        on_server_gone: OnServerGone::Reset,
        ..basic(11, 80)
    };
    spec.services.push(ServiceSpec {
        protocol: Protocol::UDP,
        ports: (53, 53),
        ..nat.clone()
    });
    spec.services.push(nat);
    let mut both = three(Mode::Tunnel, None);
    both.push(server("10.1.0.14", None, 1, Mode::Tunnel));
    both.push(server("fd00:1::14", None, 1, Mode::Tunnel));
    both.push(server("10.2.0.11", None, 1, Mode::Tunnel));
    let tunnel = ServiceSpec {
        servers: both,
        scheduler: SchedulerKind::Maglev,
        on_server_gone: OnServerGone::Reschedule,
        ..basic(12, 80)
    };
    spec.services.push(ServiceSpec {
        protocol: Protocol::UDP,
        ports: (1, 65_535),
        ..tunnel.clone()
    });
    spec.services.push(tunnel);
    spec.services.push(basic(12, 443));
    let all = ServiceSpec {
        ports: (1, 65_535),
        scheduler: SchedulerKind::WeightedRoundRobin,
        servers: three(Mode::Nat, None),
        ..basic(13, 80)
    };
    spec.services.push(all);
    spec.services.push(ServiceSpec {
        servers: three(Mode::Dr, None),
        ..basic(14, 80)
    });
    spec.services.push(ServiceSpec {
        servers: three(Mode::Dr, None),
        ..basic(1, 443)
    });
}
