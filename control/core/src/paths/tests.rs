//! The registry of path checks: which source a probe gets, and that no two share one.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use weir_engine::steering::Steering;

use super::*;
use crate::config::{self, Config, Encapsulation, Mode as ConfigMode, Neighbour, Prefix};
use crate::health::Verdicts;
use crate::mirror::Mirror;
use crate::overlay::Overlay;
use crate::reconcile::{Inputs, Snapshot, reconcile};
use crate::testing::{config_with, facts, one, server, service};

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const TUNNEL: ConfigMode = ConfigMode::Tunnel(Encapsulation::Ipip);

/// `web` and `web6` with servers in DR and in tunnels of either family. Those that end in 1 are
/// resolved: 02:…:21 in DR, 02:…:31 in tunnels.
pub(crate) fn config() -> Config {
    let mut services = Vec::new();
    for (name, vip) in [("web", IpAddr::from(VIP)), ("web6", VIP6.into())] {
        let mut web = service(name, &vip.to_string(), one(80), ConfigMode::Dr);
        let dr = match vip {
            IpAddr::V4(_) => ["10.0.0.21", "10.0.0.22"],
            IpAddr::V6(_) => ["fd00::21", "fd00::22"],
        };
        web.servers = vec![
            server("dr", dr[0], ConfigMode::Dr),
            server("off", dr[1], ConfigMode::Dr),
            server("tun4", "10.0.0.31", TUNNEL),
            server("tun6", "fd00::31", TUNNEL),
            server("nat", "10.0.0.41", ConfigMode::Nat),
            server("nowhere", "fd99::1", TUNNEL),
        ];
        services.push(web);
    }
    let mut config = config_with(services);
    let neighbour = |address: &str, last| Neighbour {
        address: address.parse().unwrap(),
        mac: config::MacAddr([2, 0, 0, 0, 0, last]),
    };
    config.ports[1].neighbours = vec![
        neighbour("10.0.0.21", 0x21),
        neighbour("fd00::21", 0x21),
        neighbour("10.0.0.31", 0x31),
        neighbour("fd00::31", 0x31),
    ];
    // So that IPv6 has no way to `nowhere`.
    config.ports[0].gateway.retain(IpAddr::is_ipv4);
    config
}

pub(crate) fn reconciled(config: &Config) -> Snapshot {
    let inputs = Inputs {
        config,
        overlay: &Overlay::default(),
        health: &Verdicts::default(),
        mirror: &Mirror::from_config(config),
        ports: &facts(),
        steering: &Steering::default(),
    };
    reconcile(&Snapshot::default(), &inputs).unwrap()
}

struct World {
    snapshot: Snapshot,
    paths: Paths,
}

fn world_of(config: &Config) -> World {
    let snapshot = reconciled(config);
    let mut paths = Paths::default();
    paths.configure(&snapshot.tables);
    World { snapshot, paths }
}

fn world() -> World {
    world_of(&config())
}

fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

fn vip(service: &str) -> SocketAddr {
    match service {
        "web" => SocketAddr::new(VIP.into(), 80),
        _ => SocketAddr::new(VIP6.into(), 80),
    }
}

impl World {
    fn id(&self, service: &str, server: &str) -> ServerId {
        self.snapshot.server(service, server).unwrap()
    }

    fn open(&mut self, now: Time, service: &str, server: &str) -> Result<Path, NoPath> {
        let id = self.id(service, server);
        self.paths.open(now, vip(service), Protocol::TCP, id)
    }
}

#[test]
fn a_source_is_the_dip_towards_the_server_of_the_vips_family() {
    let mut world = world();
    for (service, server, dip) in [
        ("web", "dr", "10.0.0.1"),
        ("web", "off", "10.0.0.1"),
        ("web", "tun4", "10.0.0.1"),
        ("web", "tun6", "10.0.0.1"),
        ("web6", "dr", "fd00::1"),
        ("web6", "tun4", "fd00::1"),
        // Without a route to it, any will do.
        ("web", "nowhere", "192.0.2.2"),
    ] {
        let path = world.open(at(0), service, server).unwrap();
        let source = path.source.ip().to_string();
        assert_eq!(source, dip, "{service}/{server}");
    }
}

#[test]
fn ipv6_needs_the_port_that_routes_to_the_vip_and_ipv4_does_not() {
    let mut world = world();
    assert_eq!(world.open(at(0), "web", "dr").unwrap().port, PortId(1));
    assert_eq!(world.open(at(0), "web6", "dr").unwrap().port, PortId(0));
}

#[test]
fn the_servers_own_subnet_comes_first_and_vips_and_link_local_addresses_never() {
    let mut config = config();
    let prefix = |address: &str, len| Prefix {
        address: address.parse().unwrap(),
        len,
    };
    config.ports[1].addresses = vec![
        prefix("fe80::1", 64),
        prefix("169.254.0.1", 16),
        prefix("172.16.0.1", 16),
        prefix("10.0.0.77", 16),
        prefix("10.0.0.1", 16),
        prefix("fd00::1", 64),
    ];
    let mut floating = service("gateway", "10.0.0.77", one(80), ConfigMode::Dr);
    floating.servers = vec![server("dr", "10.0.0.21", ConfigMode::Dr)];
    config.services.push(floating);
    let mut world = world_of(&config);
    let source = |path: Path| path.source.ip().to_string();
    let (v4, v6) = (
        world.open(at(0), "web", "dr"),
        world.open(at(0), "web6", "dr"),
    );
    assert_eq!(v4.map(source), Ok("10.0.0.1".into()));
    assert_eq!(v6.map(source), Ok("fd00::1".into()));
    let own = SocketAddr::new("10.0.0.77".parse().unwrap(), 80);
    let id = world.id("gateway", "dr");
    let refused = world.paths.open(at(0), own, Protocol::TCP, id);
    assert_eq!(refused, Err(NoPath::VipIsDip));
}

#[test]
fn there_is_no_path_to_what_is_not_there() {
    let mut world = world();
    assert_eq!(world.open(at(0), "web", "nat"), Err(NoPath::NoServer));
    let mut stale = world.id("web", "dr");
    let elsewhere = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 11).into(), 80);
    let (paths, tcp) = (&mut world.paths, Protocol::TCP);
    let refused = Err(NoPath::NoServer);
    assert_eq!(paths.open(at(0), elsewhere, tcp, stale), refused);
    stale.generation += 1;
    assert_eq!(paths.open(at(0), vip("web"), tcp, stale), refused);
    assert_eq!(paths.hop_failure(stale), None);

    let mut config = config();
    for port in &mut config.ports {
        port.addresses.retain(|prefix| prefix.address.is_ipv6());
    }
    let refused = Err(NoPath::NoDip);
    assert_eq!(world_of(&config).open(at(0), "web", "dr"), refused);
}

#[test]
fn all_ports_are_given_out_in_turn_and_again_when_they_have_rested() {
    let mut world = world();
    for i in 0..PORTS {
        let path = world.open(at(0), "web", "dr").unwrap();
        assert_eq!(usize::from(path.source.port()), usize::from(PORT_FIRST) + i);
    }
    assert_eq!(world.open(at(0), "web", "dr"), Err(NoPath::NoPort));
    // Another VIP has sources of its own.
    assert!(world.open(at(0), "web6", "dr").is_ok());
    world.paths.close(at(1_000), vip("web"), 50_000);
    world.paths.close(at(2_000), vip("web"), PORT_FIRST);
    // A second time, and what is not reserved: nothing happens.
    world.paths.close(at(4_000), vip("web"), 50_000);
    world.paths.close(at(4_000), vip("web6"), 50_000);
    world.paths.close(at(4_000), vip("web"), 80);
    let mut open = |ms| {
        world
            .open(at(ms), "web", "dr")
            .map(|path| path.source.port())
    };
    assert_eq!(open(5_999), Err(NoPath::NoPort));
    assert_eq!(open(6_000), Ok(50_000));
    assert_eq!(open(6_999), Err(NoPath::NoPort));
    assert_eq!(open(7_000), Ok(PORT_FIRST));
}

#[test]
fn a_closed_source_is_found_for_five_seconds_more() {
    let mut world = world();
    let path = world.open(at(0), "web", "dr").unwrap();
    let port = path.source.port();
    let found = |world: &World, ms| world.paths.find(at(ms), VIP.into(), port).copied();
    let mapping = found(&world, 60_000).unwrap();
    assert_eq!((mapping.source, mapping.vip), (path.source, vip("web")));
    assert_eq!(mapping.server, world.id("web", "dr"));
    world.paths.close(at(60_000), vip("web"), port);
    assert!(found(&world, 64_999).is_some());
    assert!(found(&world, 65_000).is_none());
    assert!(world.paths.find(at(0), VIP6.into(), port).is_none());
    assert!(world.paths.find(at(0), VIP.into(), port + 1).is_none());
}

#[test]
fn a_vip_that_comes_back_finds_its_probes() {
    let mut world = world();
    let path = world.open(at(0), "web", "dr").unwrap();
    let mut without = config();
    without.services.remove(0);
    let gone = reconciled(&without).tables;
    world.paths.configure(&gone);
    let known = world.snapshot.tables.clone();
    world.paths.configure(&known);
    assert_ne!(world.open(at(0), "web", "dr").unwrap().source, path.source);
    // Once nothing is under way it is forgotten.
    for port in [PORT_FIRST, PORT_FIRST + 1] {
        world.paths.close(at(0), vip("web"), port);
    }
    world.paths.close(at(5_000), vip("web6"), 1);
    world.paths.configure(&gone);
    assert!(!world.paths.vips.contains_key(&IpAddr::from(VIP)));
}

#[test]
fn the_hop_that_fails_is_named() {
    let world = world();
    let why = |service, server| world.paths.hop_failure(world.id(service, server));
    assert_eq!(why("web", "dr"), None);
    assert_eq!(why("web", "tun6"), None);
    assert_eq!(why("web", "off").unwrap(), "no ARP answer from 10.0.0.22");
    assert_eq!(why("web6", "off").unwrap(), "no ND answer from fd00::22");
    assert_eq!(why("web", "nowhere").unwrap(), "no route to fd99::1");
}

/// What happens to probes.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Open(bool),
    Close(bool, u16),
    Reload,
}

/// A deed, and the milliseconds since the one before.
fn deed() -> impl Strategy<Value = (Deed, u64)> {
    let deed = prop_oneof![
        4 => any::<bool>().prop_map(Deed::Open),
        4 => (any::<bool>(), 0u16..40).prop_map(|(v6, port)| Deed::Close(v6, port)),
        1 => Just(Deed::Reload),
    ];
    (deed, 0u64..500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With only the last ports of the range left, so that they are used again and again.
    #[test]
    fn no_two_live_probes_share_a_source(deeds in prop::collection::vec(deed(), 1..200)) {
        const LEFT: u16 = 20;
        let mut world = world();
        for vip in [IpAddr::from(VIP), VIP6.into()] {
            let sources = world.paths.vips.entry(vip).or_default();
            sources.used = u16::try_from(PORTS).unwrap() - LEFT;
        }
        // By VIP and port: still open, or closed when.
        let mut live: Map<(bool, u16), Option<u64>> = Map::default();
        let mut now = 0;
        for (deed, pause) in deeds {
            now += pause;
            let service = |v6| if v6 { "web6" } else { "web" };
            live.retain(|_, closed| closed.is_none_or(|at| now < at + 5_000));
            match deed {
                Deed::Open(v6) => match world.open(at(now), service(v6), "dr") {
                    Ok(path) => {
                        let before = live.insert((v6, path.source.port()), None);
                        prop_assert_eq!(before, None, "in use");
                    }
                    Err(error) => {
                        prop_assert_eq!(error, NoPath::NoPort);
                        let taken = live.keys().filter(|(of, _)| *of == v6).count();
                        prop_assert_eq!(taken, usize::from(LEFT));
                    }
                },
                Deed::Close(v6, port) => {
                    let port = 65_535 - port;
                    world.paths.close(at(now), vip(service(v6)), port);
                    if let Some(closed @ None) = live.get_mut(&(v6, port)) {
                        *closed = Some(now);
                    }
                }
                Deed::Reload => {
                    let tables = world.snapshot.tables.clone();
                    world.paths.configure(&tables);
                }
            }
            for v6 in [false, true] {
                let address = vip(service(v6)).ip();
                let found: HashSet<u16> = (65_535 - 2 * LEFT..=65_535)
                    .filter(|port| world.paths.find(at(now), address, *port).is_some())
                    .collect();
                let of_this = live.keys().filter(|(of, _)| *of == v6);
                prop_assert_eq!(found, of_this.map(|(_, port)| *port).collect());
            }
        }
    }
}
