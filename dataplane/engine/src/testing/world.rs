//! A small network around one engine: ports, routes, neighbours and services given as text, frames
//! in, frames out. Time stands still until it is moved.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::sync::Arc;

use weir_wire::addr::{Address, L4Port, MacAddr, Protocol};

use super::{TestFrame, TestIo};
use crate::counters::WorkerCounters;
use crate::flow::HashKey;
use crate::flow::tcp::Timeouts;
use crate::id::{DeviceId, PortId, ServerId, ServiceId, WorkerId};
use crate::maglev::{ClusterKey, MaglevIdentity, MaglevServer, MaglevSize, MaglevTable};
use crate::routes::Route;
use crate::scheduler::{Candidate, SchedulerKind};
use crate::tables::{
    AnswerLimits, Device, Family, Mode, NatSource, OnServerGone, Port, PortRange, Role, Routes,
    Server, Service, Tables, Unserved, Vip,
};
use crate::time::Time;
use crate::verdict::Verdict;
use crate::{Engine, EngineConfig, EngineMemory, FlowCursor, FlowView, Ingress, Outcome};

/// A server to be.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// Its address.
    pub address: IpAddr,
    /// Its L4 port, if not the client's.
    pub port: Option<u16>,
    /// Its weight.
    pub weight: u16,
    /// How frames reach it.
    pub mode: Mode,
}

/// A service to be.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// The VIP.
    pub vip: IpAddr,
    /// First and last port.
    pub ports: (u16, u16),
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How servers are chosen.
    pub scheduler: SchedulerKind,
    /// Its servers in configured order.
    pub servers: Vec<ServerSpec>,
    /// Segments in mid-stream may start a flow.
    pub sloppy: bool,
    /// What becomes of flows whose server is gone.
    pub on_server_gone: OnServerGone,
    /// Idle time-outs.
    pub timeouts: Timeouts,
}

impl ServiceSpec {
    /// A TCP service under round robin with the servers `10.1.0.x`.
    pub fn tcp(vip: &str, port: u16, mode: Mode, servers: &[u8]) -> Self {
        let server = |last: &u8| ServerSpec {
            address: Ipv4Addr::new(10, 1, 0, *last).into(),
            port: None,
            weight: 1,
            mode,
        };
        Self {
            vip: ip(vip),
            ports: (port, port),
            protocol: Protocol::TCP,
            scheduler: SchedulerKind::RoundRobin,
            servers: servers.iter().map(server).collect(),
            sloppy: false,
            on_server_gone: OnServerGone::Drop,
            timeouts: Timeouts::default(),
        }
    }
}

/// Everything that tables are made of.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// Ports in order; each is a device of its own.
    pub ports: Vec<PortSpec>,
    /// Services in order.
    pub services: Vec<ServiceSpec>,
    /// VIPs that are not Active, or not as usual.
    pub vips: Vec<(IpAddr, Vip)>,
    /// Neighbours by port.
    pub neighbours: Vec<(usize, IpAddr, MacAddr)>,
    /// How many workers share the clients.
    pub workers: u16,
    /// Limits on answers.
    pub answers: AnswerLimits,
}

/// A port to be.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// Its MAC.
    pub mac: MacAddr,
    /// Largest IP packet.
    pub mtu: u16,
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// DIPs.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Default routers.
    pub gateways: Vec<IpAddr>,
}

/// Parses an address.
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

/// Parses a MAC.
pub fn mac(text: &str) -> MacAddr {
    text.parse().expect("a MAC in a test")
}

impl Spec {
    /// The network that most tests use: clients behind a gateway on port 0, servers `10.1.0.11` to
    /// `.15` and `fd00:1::11` to `::15` on port 1, whose MACs end in their number.
    pub fn standard() -> Self {
        let mut neighbours = vec![
            (0, ip("10.0.0.254"), mac("02:00:00:00:02:fe")),
            (0, ip("fd00::254"), mac("02:00:00:00:02:fe")),
        ];
        for last in 11..=15 {
            let mac = MacAddr([2, 0, 0, 0, 3, last]);
            neighbours.push((1, Ipv4Addr::new(10, 1, 0, last).into(), mac));
            neighbours.push((1, ip(&format!("fd00:1::{last}")), mac));
        }
        Self {
            ports: vec![
                PortSpec {
                    mac: mac("02:00:00:00:01:00"),
                    mtu: 1500,
                    vlan: None,
                    addresses: vec![(ip("10.0.0.1"), 24), (ip("fd00::1"), 64)],
                    gateways: vec![ip("10.0.0.254"), ip("fd00::254")],
                },
                PortSpec {
                    mac: mac("02:00:00:00:01:01"),
                    mtu: 1500,
                    vlan: None,
                    addresses: vec![(ip("10.1.0.1"), 24), (ip("fd00:1::1"), 64)],
                    gateways: vec![],
                },
            ],
            services: Vec::new(),
            vips: Vec::new(),
            neighbours,
            workers: 1,
            answers: AnswerLimits::default(),
        }
    }

    /// The same with one more service.
    #[must_use]
    pub fn with(mut self, service: ServiceSpec) -> Self {
        self.services.push(service);
        self
    }

    /// Builds the tables of a generation. Servers are numbered through in order, and the
    /// generation of their slots is given by `slots` where it is not 1.
    pub fn tables(&self, generation: u64) -> Tables {
        let mut tables = Tables {
            generation,
            ..Tables::default()
        };
        if self.workers > 1 {
            let key = crate::steering::DEFAULT_KEY;
            tables.steering = crate::steering::Steering::new(self.workers, key);
        }
        tables.answers = self.answers;
        tables.ports = self.ports().into();
        tables.devices = self.devices();
        self.routing(&mut tables.v4);
        self.routing(&mut tables.v6);
        let mut servers = Vec::new();
        for (number, spec) in (0u32..).zip(&self.services) {
            let service = self.service(ServiceId(number), spec, &mut servers, &tables);
            match spec.vip {
                IpAddr::V4(vip) => listen(&mut tables.v4, vip, spec, &service, &servers),
                IpAddr::V6(vip) => listen(&mut tables.v6, vip, spec, &service, &servers),
            }
            let mut all = std::mem::take(&mut tables.services).into_vec();
            all.push(Some(Arc::new(service)));
            tables.services = all.into();
        }
        for (address, vip) in &self.vips {
            match address {
                IpAddr::V4(address) => tables.v4.vips.insert(*address, *vip),
                IpAddr::V6(address) => tables.v6.vips.insert(*address, *vip),
            };
        }
        tables.servers = servers.into_iter().map(Some).collect();
        tables.seal();
        tables
    }

    fn ports(&self) -> Vec<Port> {
        let port = |(number, spec): (u16, &PortSpec)| Port {
            name: format!("port{number}").into(),
            device: DeviceId(number),
            vlan: spec.vlan,
            mac: spec.mac,
            virtual_macs: Box::default(),
            mtu: spec.mtu,
            addresses: spec.addresses.clone().into(),
        };
        (0..).zip(&self.ports).map(port).collect()
    }

    fn devices(&self) -> Box<[Device]> {
        let device = |(number, spec): (u16, &PortSpec)| match spec.vlan {
            None => Device {
                untagged: Some(PortId(number)),
                tagged: Box::default(),
            },
            Some(vid) => Device {
                untagged: None,
                tagged: [(vid, PortId(number))].into(),
            },
        };
        (0..).zip(&self.ports).map(device).collect()
    }

    fn routing<A: Address + TryFromIp>(&self, family: &mut Family<A>) {
        let mut routes = Vec::new();
        for (number, port) in (0..).zip(&self.ports) {
            let id = PortId(number);
            for (address, len) in &port.addresses {
                if let Some(address) = A::try_from_ip(*address) {
                    family.dips.insert(address, id);
                    routes.push((
                        address,
                        *len,
                        Route {
                            port: id,
                            gateway: None,
                            source: None,
                        },
                    ));
                }
            }
            for gateway in port.gateways.iter().filter_map(|ip| A::try_from_ip(*ip)) {
                let route = Route {
                    port: id,
                    gateway: Some(gateway),
                    source: None,
                };
                routes.push((A::UNSPECIFIED, 0, route));
            }
        }
        family.routes = Arc::new(routes.into_iter().collect::<Routes<A>>());
        let neighbours = self.neighbours.iter().filter_map(|(port, address, mac)| {
            let port = PortId(u16::try_from(*port).ok()?);
            Some(((port, A::try_from_ip(*address)?), *mac))
        });
        family.neighbours = Arc::new(neighbours.collect());
    }

    fn service(
        &self,
        id: ServiceId,
        spec: &ServiceSpec,
        servers: &mut Vec<Server>,
        tables: &Tables,
    ) -> Service {
        let first = servers.len();
        for spec in &spec.servers {
            let index = u32::try_from(servers.len()).expect("few servers in a test");
            servers.push(self.server(
                ServerId {
                    index,
                    generation: 1,
                },
                id,
                spec,
                tables,
            ));
        }
        let own = &servers[first..];
        let candidate = |server: &Server| Candidate {
            server: server.id,
            weight: u32::from(server.weight),
            usable: server.usable,
        };
        let maglev = |server: &Server| MaglevServer {
            identity: MaglevIdentity::new(server.address, server.port.unwrap_or_default()),
            weight: u32::from(server.weight),
        };
        let maglev: Vec<MaglevServer> = own.iter().map(maglev).collect();
        Service {
            id,
            name: format!("service{}", id.0).into(),
            vip: spec.vip,
            protocol: spec.protocol,
            port: (spec.ports.0 == spec.ports.1).then_some(L4Port(spec.ports.0)),
            scheduler: spec.scheduler,
            walk: own.iter().rev().map(candidate).collect(),
            maglev: Arc::new(MaglevTable::build(
                MaglevSize::new(251).expect("a prime"),
                &maglev,
                &ClusterKey::default(),
            )),
            maglev_servers: own.iter().map(|server| server.id).collect(),
            timeouts: spec.timeouts,
            sloppy: spec.sloppy,
            on_server_gone: spec.on_server_gone,
        }
    }

    fn server(
        &self,
        id: ServerId,
        service: ServiceId,
        spec: &ServerSpec,
        tables: &Tables,
    ) -> Server {
        let hop = tables.hop(spec.address);
        let source = self
            .ports
            .iter()
            .flat_map(|port| &port.addresses)
            .find(|(dip, len)| same_subnet(*dip, spec.address, *len));
        Server {
            id,
            service,
            name: spec.address.to_string().into(),
            address: spec.address,
            port: spec.port.map(L4Port),
            mode: spec.mode,
            usable: spec.weight > 0,
            weight: spec.weight,
            hop,
            tunnel_source: source.map(|(dip, _)| *dip),
            stateless: true,
        }
    }
}

fn same_subnet(a: IpAddr, b: IpAddr, len: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            u64::from(a.to_bits() ^ b.to_bits()) >> (32 - u32::from(len)) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits())
                .checked_shr(128 - u32::from(len))
                .unwrap_or(0)
                == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Turns an [`IpAddr`] into an address of one family.
pub trait TryFromIp: Sized {
    /// The address, if it is of this family.
    fn try_from_ip(address: IpAddr) -> Option<Self>;
}

impl TryFromIp for Ipv4Addr {
    fn try_from_ip(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
}

impl TryFromIp for Ipv6Addr {
    fn try_from_ip(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        }
    }
}

fn listen<A: Address + TryFromIp>(
    family: &mut Family<A>,
    vip: A,
    spec: &ServiceSpec,
    service: &Service,
    servers: &[Server],
) {
    let usual = Vip {
        role: Role::Active,
        unserved: Unserved::Answer,
        dip: None,
    };
    family.vips.entry(vip).or_insert(usual);
    let (first, last) = (L4Port(spec.ports.0), L4Port(spec.ports.1));
    if first == last {
        family.exact.insert((vip, spec.protocol, first), service.id);
    } else {
        let range = PortRange {
            first,
            last,
            service: service.id,
        };
        let mut ranges = family
            .ranges
            .remove(&(vip, spec.protocol))
            .unwrap_or_default()
            .into_vec();
        ranges.push(range);
        ranges.sort_by_key(|range| range.last.0 - range.first.0);
        family.ranges.insert((vip, spec.protocol), ranges.into());
    }
    for server in servers
        .iter()
        .filter(|s| s.service == service.id && s.mode == Mode::Nat)
    {
        let Some(address) = A::try_from_ip(server.address) else {
            continue;
        };
        match server.port.or(service.port) {
            Some(port) => {
                family
                    .nat_sources
                    .entry((address, spec.protocol, port))
                    .and_modify(|source| *source = NatSource::Many)
                    .or_insert(NatSource::One(server.id));
            }
            None => {
                let source = NatSource::One(server.id);
                family.nat_hosts.insert((address, spec.protocol), source);
            }
        }
    }
}

/// One engine in its network.
#[derive(Debug)]
pub struct World {
    /// The engine.
    pub engine: Engine,
    /// The present tables.
    pub tables: Tables,
    /// What the engine sent by itself.
    pub io: TestIo,
    /// The present time.
    pub now: Time,
    outcome: Outcome,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The verdict.
    pub verdict: Verdict,
    /// The frame afterwards.
    pub frame: TestFrame,
    /// Frames that left: the frame itself, if it is forwarded, then those that the engine made.
    pub out: Vec<(PortId, Vec<u8>)>,
}

impl World {
    /// An engine with room for 1,024 flows of each family.
    pub fn new(spec: &Spec) -> Self {
        Self::with_flows(spec, 1024)
    }

    /// An engine with room for `flows` flows of each family.
    pub fn with_flows(spec: &Spec, flows: usize) -> Self {
        Self::of_worker(spec, flows, WorkerId(0))
    }

    /// The engine of one of several workers.
    pub fn of_worker(spec: &Spec, flows: usize, worker: WorkerId) -> Self {
        let config = EngineConfig {
            worker,
            hash_key: HashKey::new([1, 2, 3, 4]),
            seed: 7,
        };
        let counters = Arc::new(WorkerCounters::with_slots(64, 256));
        let mut engine = Engine::new(config, EngineMemory::leak_heap(flows), counters);
        let tables = spec.tables(1);
        engine.adopt(&tables);
        let now = Time::ZERO + Duration::from_secs(1);
        Self {
            engine,
            tables,
            io: TestIo::default(),
            now,
            outcome: Outcome::new(),
        }
    }

    /// Swaps the tables, which need not be sealed.
    pub fn swap(&mut self, mut tables: Tables) {
        tables.seal();
        self.engine.adopt(&tables);
        self.tables = tables;
    }

    /// All live flows.
    pub fn flows(&self) -> Vec<FlowView> {
        let (mut found, mut cursor) = (Vec::new(), Some(FlowCursor::default()));
        while let Some(at) = cursor {
            let mut note = |flow| found.push(flow);
            cursor = self.engine.flows(self.now, at, 64, &mut note);
        }
        found
    }

    /// The counters.
    pub fn counters(&self) -> &WorkerCounters {
        self.engine.counters()
    }

    /// Lets time pass, and idle flows end.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.engine.expire(self.now, usize::MAX);
    }

    /// Runs a burst that a device received, and checks that no frame got lost.
    pub fn burst(&mut self, ingress: Ingress, frames: &mut [TestFrame]) -> Vec<Verdict> {
        let came: Vec<usize> = frames.iter().map(|frame| frame.bytes().len()).collect();
        let Self {
            engine,
            tables,
            io,
            now,
            outcome,
        } = self;
        engine.run(io, tables, *now, ingress, frames, outcome);
        let verdicts = outcome.verdicts().to_vec();
        assert_eq!(verdicts.len(), frames.len());
        let counters = engine.counters();
        for ((frame, verdict), came) in frames.iter().zip(&verdicts).zip(came) {
            TestIo::count(counters, came, frame, *verdict);
        }
        for (_, frame) in &io.originated {
            counters.sent.count(frame.bytes().len());
        }
        assert_eq!(
            counters.imbalance(),
            0,
            "frames are conserved: {verdicts:?}"
        );
        verdicts
    }

    /// Runs one frame that `device` received.
    pub fn send(&mut self, device: u16, frame: TestFrame) -> Sent {
        self.send_as(Ingress::Device(DeviceId(device)), frame)
    }

    /// Runs one frame.
    pub fn send_as(&mut self, ingress: Ingress, frame: TestFrame) -> Sent {
        let mut frames = [frame];
        let verdict = self.burst(ingress, &mut frames)[0];
        let [frame] = frames;
        let mut out = Vec::new();
        if let Verdict::Forward(port) = verdict {
            out.push((port, frame.bytes()));
        }
        out.extend(
            self.io
                .originated
                .drain(..)
                .map(|(port, frame)| (port, frame.bytes())),
        );
        Sent {
            verdict,
            frame,
            out,
        }
    }

    /// The outcome of the last burst.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }
}
