//! Reconcile: configuration, overlay, health, roles and the kernel's view become [`Tables`].
//!
//! A pure function: the same arguments give the same tables, and nothing else reaches the data
//! path. Servers and services keep their slots, unchanged services and consistent-hash tables are
//! shared with the generation before, and removing, draining or re-weighting one server leaves
//! every other slot as it was.
//!
//! Maglev tables are built over *usable* servers (ready, up, weight above 0), so a look-up never
//! meets a dead one; by Maglev's design a server that goes or comes back moves little more than
//! its own share of the slots, and with it no flow that a flow table knows.

mod family;
mod instances;
mod names;
mod quorum;
mod routing;
mod service;
mod slots;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_engine::id::{ServerId, ServiceId};
use weir_engine::lease::LEASES_MAX;
use weir_engine::steering::Steering;
use weir_engine::tables::{
    AnswerLimits, Hop, Lanes, Mode, SERVERS_MAX, SERVICES_MAX, Server, Service, Tables,
};
use weir_wire::addr::L4Port;

use crate::config::{self, Config, PortSpec, ServerState};
use crate::health::{Verdict, Verdicts};
use crate::mirror::Mirror;
use crate::overlay::Overlay;
use crate::ports::PortFact;
use family::{NatServer, NatSources};
pub use names::ServersByName;
pub use quorum::{Quorum, Quorums};
use routing::Routing;
use slots::Slots;

/// How long frames wait for their next hop's MAC.
const HOLD: Duration = Duration::from_secs(1);

/// Everything that tables follow from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The operator's file.
    pub config: &'a Config,
    /// Runtime changes on top of it.
    pub overlay: &'a Overlay,
    /// Which checked servers are up, and how much of their weight they have.
    pub health: &'a Verdicts,
    /// The kernel's addresses, routes and neighbours.
    pub mirror: &'a Mirror,
    /// What the devices are really like, by position in `config.ports`.
    pub ports: &'a [PortFact],
    /// Which worker owns which client: fixed at start.
    pub steering: &'a Steering,
}

impl Inputs<'_> {
    /// What health says of a server; one that is not checked is up.
    fn verdict(&self, service: &config::Service, server: &config::Server) -> Verdict {
        match service.is_checked(&server.name) {
            true => self.health.of(&service.name, &server.name),
            false => Verdict::UP,
        }
    }
}

/// Why there are no new tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError {
    /// The configuration names more services than there are slots.
    #[error("services: {count} are configured, at most {SERVICES_MAX} fit")]
    Services {
        /// How many are configured.
        count: usize,
    },
    /// The configuration names more servers than there are slots.
    #[error("servers: {count} are configured over all services, at most {SERVERS_MAX} fit")]
    Servers {
        /// How many are configured.
        count: usize,
    },
    /// The configuration names more VRRP instances than there are leases.
    #[error("vrrp: {count} instances are configured, at most {LEASES_MAX} fit")]
    Instances {
        /// How many are configured.
        count: usize,
    },
    /// The caller's port facts do not belong to this configuration.
    #[error("ports: {configured} are configured, {opened} are open: restart to change ports")]
    Ports {
        /// Ports of the configuration.
        configured: usize,
        /// Ports that are open.
        opened: usize,
    },
}

/// One generation of tables, and what the next one needs to know of it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What workers forward by.
    pub tables: Arc<Tables>,
    /// Which slot a configured server has.
    pub servers_by_name: Arc<ServersByName>,
    /// Which services have their quorum.
    pub quorums: Arc<Quorums>,
    /// Those that lost or found it with these tables.
    pub quorum_changes: Vec<(Arc<str>, Quorum)>,
    pub(crate) ground: Arc<Ground>,
}

/// What the next generation builds on: who has which slot, and the routes.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    services: Slots<ServiceKey>,
    servers: Slots<ServerKey>,
    /// VRRP instances by name: their slots are those of the leases.
    instances: Slots<Box<str>>,
    routing: Routing,
}

/// What makes a service the same one over reloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ServiceKey {
    name: Box<str>,
    vip: IpAddr,
    protocol: config::Protocol,
    ports: PortSpec,
}

/// What makes a server the same one over reloads: its name, weight and state do not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ServerKey {
    /// Slot and generation of its service.
    service: (u32, u32),
    address: IpAddr,
    port: Option<L4Port>,
    mode: Mode,
}

/// A configured server with its slot.
#[derive(Clone, Copy, Debug)]
struct Placed<'a> {
    id: ServerId,
    service: (ServiceId, &'a config::Service),
    server: &'a config::Server,
}

impl Default for Ground {
    /// Before the first configuration: no slots.
    fn default() -> Self {
        Self {
            services: Slots::new(SERVICES_MAX),
            servers: Slots::new(SERVERS_MAX),
            instances: Slots::new(LEASES_MAX),
            routing: Routing::default(),
        }
    }
}

impl Snapshot {
    /// The slot of a server, by the names of its service and of itself. Costs one look-up.
    pub fn server(&self, service: &str, server: &str) -> Option<ServerId> {
        names::find(&self.servers_by_name, service, server)
    }
}

/// The tables that follow from `inputs`, sharing what did not change since `previous`.
///
/// Costs a few milliseconds for 1,000 services of 10 servers when little changed, plus the time to
/// build the Maglev tables of services whose usable servers changed: never call it in a turn of
/// the control thread.
///
/// # Errors
/// [`ReconcileError`] if the configuration does not fit; `previous` is untouched in any case.
pub fn reconcile(previous: &Snapshot, inputs: &Inputs<'_>) -> Result<Snapshot, ReconcileError> {
    let config = inputs.config;
    if config.ports.len() != inputs.ports.len() {
        let (configured, opened) = (config.ports.len(), inputs.ports.len());
        return Err(ReconcileError::Ports { configured, opened });
    }
    let mut ground = (*previous.ground).clone();
    let slots = place_services(&mut ground.services, config)?;
    let ids = slots.iter().map(|(index, _)| ServiceId(*index));
    let services: Vec<(ServiceId, &config::Service)> = ids.zip(&config.services).collect();
    let placed = place_servers(&mut ground.servers, &slots, config)?;
    ground.routing = ground.routing.update(config, inputs.mirror);
    let routing = &ground.routing;
    let instances = instances::place(&mut ground.instances, config, inputs.ports)?;
    let mut ports = routing::ports(config, inputs.ports, inputs.mirror);
    instances.add_virtual_macs(&mut ports);
    let nat: Vec<NatServer<'_>> = placed.iter().filter_map(Placed::nat).collect();
    let nat = NatSources::new(&nat);

    let mut servers: Vec<Option<Server>> = (0..ground.servers.len()).map(|_| None).collect();
    for p in &placed {
        let stateless = p.nat().is_none_or(|server| nat.is_stateless(&server));
        servers[p.id.index as usize] = Some(server(p, inputs, routing, stateless));
    }
    let mut built: Vec<Option<Arc<Service>>> = vec![None; ground.services.len()];
    let (quorums, quorum_changes) = settle(&placed, &previous.quorums, &mut servers);
    let mut rest = placed.as_slice();
    for &(id, configured) in &services {
        let (own, others) = rest.split_at(configured.all_servers().count());
        rest = others;
        let share = |p: &Placed<'_>| inputs.verdict(configured, p.server).share;
        let own: Vec<(&Server, u8)> = own
            .iter()
            .filter_map(|p| Some((servers[p.id.index as usize].as_ref()?, share(p))))
            .collect();
        let old = previous
            .tables
            .services
            .get(id.index())
            .and_then(Option::as_ref);
        built[id.index()] = Some(service::build(id, configured, &own, old));
    }
    let runtime = &config.runtime;
    let mut tables = Tables {
        generation: previous.tables.generation + 1,
        steering: inputs.steering.clone(),
        devices: routing::devices(&ports),
        v4: family::family(&services, &nat, &ports, &instances, &routing.v4),
        v6: family::family(&services, &nat, &ports, &instances, &routing.v6),
        ports,
        services: built.into(),
        servers: servers.into(),
        answers: AnswerLimits {
            per_second: runtime.answers_per_second.map_or(0, u32::from),
            per_client: runtime.answers_per_client.map_or(0, u32::from),
            hold: HOLD,
        },
        lanes: Lanes::default(),
        instances: instances.into_table(),
        leases: Arc::clone(&previous.tables.leases),
    };
    tables.seal();
    Ok(Snapshot {
        tables: Arc::new(tables),
        servers_by_name: names::of(&placed, &previous.servers_by_name),
        quorums,
        quorum_changes,
        ground: Arc::new(ground),
    })
}

/// The slot and generation of each configured service.
fn place_services(
    slots: &mut Slots<ServiceKey>,
    config: &Config,
) -> Result<Vec<(u32, u32)>, ReconcileError> {
    let keys: Vec<ServiceKey> = config.services.iter().map(ServiceKey::of).collect();
    for (old, new) in moved(slots, &keys) {
        slots.rename(&old, new);
    }
    slots
        .assign(&keys)
        .map_err(|_| ReconcileError::Services { count: keys.len() })
}

/// Services that are the same under another key: other ports under the same name, VIP and
/// protocol, or another name at the same VIP, protocol and ports.
fn moved(slots: &Slots<ServiceKey>, keys: &[ServiceKey]) -> Vec<(ServiceKey, ServiceKey)> {
    let wanted: hashbrown::HashSet<&ServiceKey, ahash::RandomState> = keys.iter().collect();
    let mut gone: Vec<&ServiceKey> = slots
        .owners()
        .map(|(key, _)| key)
        .filter(|key| !wanted.contains(key))
        .collect();
    if gone.is_empty() {
        return Vec::new();
    }
    let known: hashbrown::HashSet<&ServiceKey, ahash::RandomState> =
        slots.owners().map(|(key, _)| key).collect();
    let mut moved = Vec::new();
    for key in keys.iter().filter(|key| !known.contains(key)) {
        let same_place = |old: &&ServiceKey| old.vip == key.vip && old.protocol == key.protocol;
        let by_name = gone
            .iter()
            .position(|old| same_place(old) && old.name == key.name);
        let by_ports = || {
            gone.iter()
                .position(|old| same_place(old) && old.ports == key.ports)
        };
        if let Some(at) = by_name.or_else(by_ports) {
            moved.push((gone.swap_remove(at).clone(), key.clone()));
        }
    }
    moved
}

/// Gives each configured server its slot, in configured order.
fn place_servers<'a>(
    slots: &mut Slots<ServerKey>,
    services: &[(u32, u32)],
    config: &'a Config,
) -> Result<Vec<Placed<'a>>, ReconcileError> {
    let all = || {
        let services = services.iter().copied().zip(&config.services);
        services.flat_map(|s| s.1.all_servers().map(move |server| (s, server)))
    };
    let keys: Vec<ServerKey> = all()
        .map(|(s, server)| ServerKey::of(s.0, server))
        .collect();
    let count = keys.len();
    let ids = slots
        .assign(&keys)
        .map_err(|_| ReconcileError::Servers { count })?;
    let ids = ids
        .into_iter()
        .map(|(index, generation)| ServerId { index, generation });
    let place = |(id, ((slot, service), server)): (_, ((_, _), _))| {
        let (index, _): (u32, u32) = slot;
        Placed {
            id,
            service: (ServiceId(index), service),
            server,
        }
    };
    Ok(ids.zip(all()).map(place).collect())
}

/// Judges every service's quorum, and what follows for its servers in `all`. Returns the quorums,
/// which are those `before` if nothing changed (the control thread frees old ones), and those that
/// were lost or found.
fn settle(
    placed: &[Placed<'_>],
    before: &Arc<Quorums>,
    all: &mut [Option<Server>],
) -> (Arc<Quorums>, Vec<(Arc<str>, Quorum)>) {
    let (mut quorums, mut changes) = (Quorums::default(), Vec::new());
    for own in placed.chunk_by(|a, b| a.service.0 == b.service.0) {
        let Some((_, service)) = own.first().map(|first| first.service) else {
            continue;
        };
        let slots = own.iter().map(|p| p.id.index as usize);
        let mut servers: Vec<Server> = slots.filter_map(|slot| all[slot].take()).collect();
        let was = before.get(&*service.name).copied();
        let quorum = quorum::settle(service, &mut servers, was);
        for server in servers {
            let slot = server.id.index as usize;
            all[slot] = Some(server);
        }
        let name: Arc<str> = service.name.as_str().into();
        if was.is_some_and(|was| was.met != quorum.met) {
            changes.push((name.clone(), quorum));
        }
        quorums.insert(name, quorum);
    }
    let quorums = match quorums == **before {
        true => Arc::clone(before),
        false => Arc::new(quorums),
    };
    (quorums, changes)
}

/// The server as workers see it.
fn server(placed: &Placed<'_>, inputs: &Inputs<'_>, routing: &Routing, stateless: bool) -> Server {
    let Placed {
        id,
        service: (service_id, service),
        server,
    } = *placed;
    let (state, weight) = inputs.overlay.effective(service, server);
    let up = inputs.verdict(service, server).up;
    let weight = match up || !service.inhibit_on_failure {
        true => weight.0,
        false => 0,
    };
    let hop = routing.hop(server.address);
    Server {
        id,
        service: service_id,
        name: server.name.as_str().into(),
        address: server.address,
        port: server.port.map(|port| L4Port(port.0)),
        mode: mode(server.mode),
        usable: state == ServerState::Ready && weight > 0 && up,
        weight,
        hop,
        tunnel_source: match server.mode {
            config::Mode::Tunnel(_) => tunnel_source(server.address, hop, inputs),
            config::Mode::Dr | config::Mode::Nat => None,
        },
        stateless,
    }
}

/// A DIP of the server's family on the port that leads to it: one in the server's own subnet if
/// there is one, else the first that is not link-local.
fn tunnel_source(server: IpAddr, hop: Hop, inputs: &Inputs<'_>) -> Option<IpAddr> {
    let port = match hop {
        Hop::Ready(next) => next.port,
        Hop::Unresolved { port, .. } => port,
        Hop::NoRoute => return None,
    };
    let configured = inputs
        .config
        .ports
        .get(port.index())?
        .addresses
        .iter()
        .copied();
    let learned = inputs
        .mirror
        .addresses
        .iter()
        .filter(|(p, _)| *p == port)
        .map(|(_, a)| *a);
    let usable = |dip: &config::Prefix| {
        dip.address.is_ipv4() == server.is_ipv4() && !is_link_local(dip.address)
    };
    let dips: Vec<config::Prefix> = configured.chain(learned).filter(usable).collect();
    let nearest = dips
        .iter()
        .find(|dip| dip.contains(server))
        .or(dips.first());
    nearest.map(|dip| dip.address)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local(),
    }
}

fn mode(mode: config::Mode) -> Mode {
    match mode {
        config::Mode::Dr => Mode::Dr,
        config::Mode::Nat => Mode::Nat,
        config::Mode::Tunnel(config::Encapsulation::Ipip) => Mode::Tunnel,
    }
}

impl ServiceKey {
    fn of(service: &config::Service) -> Self {
        Self {
            name: service.name.as_str().into(),
            vip: service.address,
            protocol: service.protocol,
            ports: service.ports.clone(),
        }
    }
}

impl ServerKey {
    fn of(service: (u32, u32), server: &config::Server) -> Self {
        Self {
            service,
            address: server.address,
            port: server.port.map(|port| L4Port(port.0)),
            mode: mode(server.mode),
        }
    }
}

impl<'a> Placed<'a> {
    fn nat(&self) -> Option<NatServer<'a>> {
        let nat = self.server.mode == config::Mode::Nat;
        nat.then_some(NatServer {
            id: self.id,
            server: self.server,
            service: self.service.1,
        })
    }
}
