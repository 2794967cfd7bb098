//! Reconcile as a user of its result sees it.

use std::time::{Duration, Instant};

use weir_engine::id::PortId;
use weir_engine::lease::LeaseId;
use weir_engine::tables::{NatSource, NextHop, Role};
use weir_wire::addr::{MacAddr, Protocol};

use super::*;
use crate::config::Unserved;
use crate::overlay::{Edit, State};
use crate::testing::{config_with, facts, one, server, service, vrrp, web};

struct World {
    config: Config,
    overlay: Overlay,
    health: Verdicts,
    mirror: Mirror,
    facts: Vec<PortFact>,
    steering: Steering,
}

impl World {
    fn new(services: Vec<config::Service>) -> Self {
        let config = config_with(services);
        Self {
            mirror: Mirror::from_config(&config),
            config,
            overlay: Overlay::default(),
            health: Verdicts::default(),
            facts: facts(),
            steering: Steering::default(),
        }
    }

    fn after(&self, previous: &Snapshot) -> Snapshot {
        let inputs = Inputs {
            config: &self.config,
            overlay: &self.overlay,
            health: &self.health,
            mirror: &self.mirror,
            ports: &self.facts,
            steering: &self.steering,
        };
        reconcile(previous, &inputs).unwrap()
    }

    fn first(&self) -> Snapshot {
        self.after(&Snapshot::default())
    }

    fn edit(&mut self, server: &str, edit: Edit) {
        self.overlay
            .edit(&self.config, ("web", server), edit, ("test", 0))
            .unwrap();
    }
}

fn find<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Server {
    snapshot
        .tables
        .servers
        .iter()
        .flatten()
        .find(|s| &*s.name == name)
        .unwrap()
}

fn only_service(snapshot: &Snapshot) -> &Arc<Service> {
    let mut all = snapshot.tables.services.iter().flatten();
    let first = all.next().unwrap();
    assert!(all.next().is_none());
    first
}

#[test]
fn the_same_inputs_give_the_same_tables() {
    let world = World::new(vec![web(config::Mode::Nat, 3)]);
    let (a, b) = (world.first(), world.first());
    assert_eq!(
        format!("{:?}", a.tables.servers),
        format!("{:?}", b.tables.servers)
    );
    assert_eq!(only_service(&a).walk, only_service(&b).walk);
    assert_eq!(a.tables.generation, 1);
}

#[test]
fn removing_one_server_leaves_every_other_slot_untouched() {
    let mut world = World::new(vec![web(config::Mode::Dr, 4)]);
    let before = world.first();
    world.config.services[0].servers.remove(1);
    let after = world.after(&before);
    for name in ["web1", "web3", "web4"] {
        assert_eq!(find(&before, name).id, find(&after, name).id, "{name}");
    }
    let gone = find(&before, "web2").id;
    assert!(after.tables.server(gone).is_none());

    // D62: back again before anybody else took the slot.
    let web2 = web(config::Mode::Dr, 2).servers.remove(1);
    world.config.services[0].servers.push(web2);
    assert_eq!(find(&world.after(&after), "web2").id, gone);
}

#[test]
fn draining_and_weights_move_nobody_and_end_with_reset() {
    let mut world = World::new(vec![web(config::Mode::Dr, 3)]);
    let before = world.first();
    world.edit("web2", Edit::State(State::Drain));
    world.edit("web3", Edit::Weight(7));
    let after = world.after(&before);
    for name in ["web1", "web2", "web3"] {
        assert_eq!(find(&before, name).id, find(&after, name).id, "{name}");
    }
    assert!(!find(&after, "web2").usable && find(&after, "web1").usable);
    assert_eq!(find(&after, "web3").weight, 7);
    world.edit("web1", Edit::Weight(0));
    assert!(!find(&world.after(&after), "web1").usable);
    world.overlay.reset();
    assert!(find(&world.after(&after), "web2").usable);
}

#[test]
fn a_checked_server_is_down_until_health_says_otherwise() {
    let mut world = World::new(vec![checked(2)]);
    let before = world.first();
    assert!(!find(&before, "web1").usable);
    world.health.set(&"web".into(), &"web1".into(), Verdict::UP);
    let after = world.after(&before);
    assert!(find(&after, "web1").usable && !find(&after, "web2").usable);
}

/// A checked service with `count` DR servers.
fn checked(count: u8) -> config::Service {
    let mut service = web(config::Mode::Dr, count);
    service.health = Some(Arc::new(crate::testing::check()));
    service
}

#[test]
fn without_its_quorum_a_service_s_new_flows_go_to_the_sorry_server() {
    let mut service = checked(3);
    service.quorum = 2;
    service.sorry_server = Some(config::Server {
        name: config::SORRY_SERVER_NAME.into(),
        address: "10.0.0.99".parse().unwrap(),
        port: None,
        weight: config::Weight(1),
        state: ServerState::Ready,
        mode: config::Mode::Nat,
    });
    let mut world = World::new(vec![service]);
    let usable = |snapshot: &Snapshot| {
        let names = ["web1", "web2", "web3", config::SORRY_SERVER_NAME];
        let used = |name: &&str| find(snapshot, name).usable;
        names.into_iter().filter(used).collect::<Vec<_>>()
    };
    let mut up = |name: &str, verdict| {
        world.health.set(&"web".into(), &name.into(), verdict);
        world.first()
    };
    assert_eq!(usable(&up("web1", Verdict::UP)), ["sorry_server"]);
    let whole = up("web2", Verdict::UP);
    assert_eq!(usable(&whole), ["web1", "web2"]);
    assert_eq!(
        whole.quorums.get("web"),
        Some(&Quorum {
            met: true,
            weight: 2
        })
    );
    world
        .health
        .set(&"web".into(), &"web2".into(), Verdict::DOWN);
    let lost = world.after(&whole);
    assert_eq!(usable(&lost), ["sorry_server"]);
    let expected = Quorum {
        met: false,
        weight: 1,
    };
    assert_eq!(lost.quorum_changes, [("web".into(), expected)]);
    // Nobody's slot moved: flows go on where they are.
    for name in ["web1", "web2", "web3"] {
        assert_eq!(find(&whole, name).id, find(&lost, name).id, "{name}");
    }
}

#[test]
fn a_missed_quorum_without_sorry_server_leaves_the_others_at_work() {
    let mut service = checked(3);
    service.quorum = 3;
    let mut world = World::new(vec![service]);
    world.health.set(&"web".into(), &"web1".into(), Verdict::UP);
    let snapshot = world.first();
    assert!(find(&snapshot, "web1").usable);
    assert!(!snapshot.quorums["web"].met);
}

#[test]
fn a_server_with_a_share_of_its_weight_grows_beside_the_others() {
    let mut world = World::new(vec![checked(2)]);
    let weights = |snapshot: &Snapshot| {
        let walk = only_service(snapshot).walk.iter().rev();
        walk.map(|candidate| candidate.weight).collect::<Vec<_>>()
    };
    world.health.set(&"web".into(), &"web1".into(), Verdict::UP);
    let growing = Verdict {
        up: true,
        share: 30,
    };
    world.health.set(&"web".into(), &"web2".into(), growing);
    let before = world.first();
    assert_eq!(weights(&before), [100, 30]);
    assert_eq!(find(&before, "web2").weight, 1);
    world.health.set(&"web".into(), &"web2".into(), Verdict::UP);
    let after = world.after(&before);
    assert_eq!(weights(&after), [1, 1]);
    let shares = |snapshot: &Snapshot| {
        let id = find(snapshot, "web2").id;
        let slots = only_service(snapshot).maglev.slots();
        let service = only_service(snapshot);
        let own = slots
            .iter()
            .filter(|slot| service.maglev_servers[usize::from(**slot)] == id);
        own.count() * 100 / slots.len()
    };
    assert!((21..=25).contains(&shares(&before)), "30 of 130");
    assert!((48..=52).contains(&shares(&after)), "half");
}

#[test]
fn inhibit_on_failure_shows_weight_0() {
    let mut service = checked(1);
    service.inhibit_on_failure = true;
    let mut world = World::new(vec![service]);
    assert_eq!(find(&world.first(), "web1").weight, 0);
    world.health.set(&"web".into(), &"web1".into(), Verdict::UP);
    assert_eq!(find(&world.first(), "web1").weight, 1);
}

#[test]
fn schedulers_walk_the_last_listed_server_first() {
    let snapshot = World::new(vec![web(config::Mode::Dr, 3)]).first();
    let order: Vec<u32> = only_service(&snapshot)
        .walk
        .iter()
        .map(|c| c.server.index)
        .collect();
    assert_eq!(
        order,
        ["web3", "web2", "web1"].map(|n| find(&snapshot, n).id.index)
    );
}

#[test]
fn unchanged_services_and_maglev_tables_are_shared() {
    let mut world = World::new(vec![web(config::Mode::Dr, 3)]);
    let first = world.first();
    let second = world.after(&first);
    assert!(Arc::ptr_eq(only_service(&first), only_service(&second)));
    world.config.services[0].sloppy = true;
    let third = world.after(&second);
    assert!(!Arc::ptr_eq(only_service(&second), only_service(&third)));
    assert!(Arc::ptr_eq(
        &only_service(&second).maglev,
        &only_service(&third).maglev
    ));
    world.edit("web1", Edit::Weight(5));
    let fourth = world.after(&third);
    assert!(!Arc::ptr_eq(
        &only_service(&third).maglev,
        &only_service(&fourth).maglev
    ));
}

#[test]
fn a_service_keeps_its_servers_over_a_rename_and_over_new_ports() {
    let mut world = World::new(vec![web(config::Mode::Dr, 2)]);
    let before = world.first();
    world.config.services[0].name = "www".into();
    let renamed = world.after(&before);
    assert_eq!(find(&renamed, "web1").id, find(&before, "web1").id);
    world.config.services[0].ports = PortSpec::Many(vec![config::L4Port(80), config::L4Port(443)]);
    let widened = world.after(&renamed);
    assert_eq!(find(&widened, "web2").id, find(&before, "web2").id);
    world.config.services[0].address = "192.0.2.11".parse().unwrap();
    let moved = world.after(&widened);
    assert_ne!(find(&moved, "web2").id, find(&before, "web2").id);
}

#[test]
fn hops_follow_the_kernel_and_static_neighbours() {
    let mut far = web(config::Mode::Nat, 1);
    far.servers
        .push(server("far", "198.51.100.7", config::Mode::Nat));
    let mut world = World::new(vec![far]);
    let before = world.first();
    let (lan, wan) = (PortId(1), PortId(0));
    let address: IpAddr = "10.0.0.21".parse().unwrap();
    let gateway: IpAddr = "192.0.2.1".parse().unwrap();
    assert_eq!(
        find(&before, "web1").hop,
        Hop::Unresolved {
            port: lan,
            neighbour: address
        }
    );
    assert_eq!(
        find(&before, "far").hop,
        Hop::Unresolved {
            port: wan,
            neighbour: gateway
        }
    );

    let mac = MacAddr([2, 0, 0, 0, 9, 9]);
    world.mirror.neighbours = Arc::new([((lan, address), mac)].into_iter().collect());
    let after = world.after(&before);
    assert_eq!(
        find(&after, "web1").hop,
        Hop::Ready(NextHop { port: lan, mac })
    );
    // Routes did not change, so they are the same object.
    assert!(Arc::ptr_eq(
        &before.tables.v4.routes,
        &after.tables.v4.routes
    ));

    let fixed = config::MacAddr([2, 0, 0, 0, 7, 7]);
    world.config.ports[1].neighbours.push(config::Neighbour {
        address,
        mac: fixed,
    });
    let last = world.after(&after);
    let hop = Hop::Ready(NextHop {
        port: lan,
        mac: MacAddr(fixed.0),
    });
    assert_eq!(find(&last, "web1").hop, hop);

    world.mirror = Mirror::default();
    assert_eq!(find(&world.after(&last), "far").hop, Hop::NoRoute);
}

#[test]
fn tunnels_start_at_a_dip_of_the_servers_family() {
    let tunnel = config::Mode::Tunnel(config::Encapsulation::Ipip);
    let mut service = web(tunnel, 1);
    service.servers.push(server("six", "fd00::9", tunnel));
    let snapshot = World::new(vec![service]).first();
    let source = |name| find(&snapshot, name).tunnel_source.unwrap().to_string();
    assert_eq!([source("web1"), source("six")], ["10.0.0.1", "fd00::1"]);
}

#[test]
fn d56_a_nat_reply_has_one_source_only_if_one_vip_can_lie_behind_it() {
    let mode = config::Mode::Nat;
    let mut other = service("other", "192.0.2.11", one(80), mode);
    other.servers.push(server("both", "10.0.0.22", mode));
    let mut mapped = service(
        "mapped",
        "192.0.2.12",
        PortSpec::Many(vec![config::L4Port(80), config::L4Port(443)]),
        mode,
    );
    mapped.servers.push(server("mapped1", "10.0.0.30", mode));
    mapped.servers[0].port = Some(config::L4Port(8080));
    let range = PortSpec::Range(config::L4Port(70), config::L4Port(90));
    let mut ranged = service("ranged", "192.0.2.13", range, mode);
    ranged.servers.push(server("range1", "10.0.0.40", mode));
    ranged.servers.push(server("range2", "10.0.0.21", mode));
    let snapshot = World::new(vec![web(mode, 3), other, mapped, ranged]).first();

    let family = &snapshot.tables.v4;
    let at = |ip: &str, port| {
        family.nat_source(
            ip.parse().unwrap(),
            Protocol::TCP,
            weir_wire::addr::L4Port(port),
        )
    };
    assert_eq!(
        at("10.0.0.23", 80),
        Some(NatSource::One(find(&snapshot, "web3").id))
    );
    assert_eq!(at("10.0.0.23", 81), None);
    assert_eq!(at("10.0.0.22", 80), Some(NatSource::Many));
    assert_eq!(at("10.0.0.30", 8080), Some(NatSource::Many));
    assert_eq!(
        at("10.0.0.40", 77),
        Some(NatSource::One(find(&snapshot, "range1").id))
    );
    // web's server web1 also serves the range, which holds port 80.
    assert_eq!(at("10.0.0.21", 80), Some(NatSource::Many));

    let stateless = |name| find(&snapshot, name).stateless;
    assert!(stateless("web3") && stateless("range1"));
    assert!(!stateless("web2") && !stateless("both") && !stateless("mapped1"));
    assert!(!stateless("web1") && !stateless("range2"));
}

#[test]
fn vips_know_role_unserved_and_dip() {
    let mut own = service("own", "192.0.2.2", one(443), config::Mode::Dr);
    own.unserved = Unserved::Drop;
    let second = service("second", "192.0.2.2", one(444), config::Mode::Dr);
    let mut world = World::new(vec![web(config::Mode::Dr, 1), own, second]);
    world.config.vrrp = vec![vrrp("edge", "wan0", 51, &["192.0.2.10"])];
    let tables = world.first().tables;
    let vip = |ip: &str| tables.v4.vips[&ip.parse::<std::net::Ipv4Addr>().unwrap()];
    assert_eq!(
        (vip("192.0.2.10").role, vip("192.0.2.10").dip),
        (Role::Leased(LeaseId(0)), None)
    );
    assert_eq!(
        (vip("192.0.2.2").role, vip("192.0.2.2").dip),
        (Role::Active, Some(PortId(0)))
    );
    assert_eq!(
        vip("192.0.2.2").unserved,
        weir_engine::tables::Unserved::Drop
    );
    assert_eq!(tables.v4.vips.len(), 2);
    assert_eq!(tables.devices.len(), 2);
}

#[test]
fn v46_instances_bring_virtual_macs_gateways_and_leases_that_stay() {
    let mut world = World::new(vec![web(config::Mode::Dr, 1)]);
    let mut plain = vrrp("plain", "lan0", 9, &["10.0.0.254"]);
    plain.virtual_mac = false;
    let six = vrrp("six", "wan0", 51, &["fe80::51", "2001:db8::10"]);
    world.config.vrrp = vec![vrrp("edge", "wan0", 51, &["192.0.2.10"]), six, plain];
    let snapshot = world.first();
    let tables = &snapshot.tables;
    let mac = |family, id| MacAddr([0, 0, 0x5e, 0, family, id]);
    let macs = [(mac(1, 51), LeaseId(0)), (mac(2, 51), LeaseId(1))];
    assert_eq!(*tables.ports[0].virtual_macs, macs);
    assert!(tables.ports[1].virtual_macs.is_empty());
    let plain = tables.instance(LeaseId(2)).unwrap();
    assert_eq!((plain.port, plain.mac), (PortId(1), facts()[1].mac));
    // No service uses it: a floating gateway, which answers as any VIP does.
    let gateway = tables.v4.vips[&"10.0.0.254".parse::<std::net::Ipv4Addr>().unwrap()];
    assert_eq!(gateway.role, Role::Leased(LeaseId(2)));
    // Another order, one gone: the others keep their leases, and these keep what they hold.
    let now = weir_engine::time::Time::ZERO;
    tables
        .leases
        .renew(LeaseId(2), now, now + Duration::from_secs(1));
    world.config.vrrp.reverse();
    world.config.vrrp.pop();
    let next = world.after(&snapshot).tables;
    assert_eq!(&*next.instance(LeaseId(2)).unwrap().name, "plain");
    assert!(next.instance(LeaseId(0)).is_none());
    assert!(next.leases.is_held(LeaseId(2), now));
}

#[test]
fn what_does_not_fit_is_an_error_and_changes_nothing() {
    let mut world = World::new(Vec::new());
    world.facts.pop();
    let inputs = Inputs {
        config: &world.config,
        overlay: &world.overlay,
        health: &world.health,
        mirror: &world.mirror,
        ports: &world.facts,
        steering: &world.steering,
    };
    let error = reconcile(&Snapshot::default(), &inputs).unwrap_err();
    assert_eq!(
        error,
        ReconcileError::Ports {
            configured: 2,
            opened: 1
        }
    );
}

#[test]
fn a_thousand_services_of_ten_servers_reconcile_in_milliseconds() {
    let services: Vec<_> = (0..1000u16)
        .map(|i| {
            let mut s = service(
                &format!("s{i}"),
                "192.0.2.10",
                one(1000 + i),
                config::Mode::Dr,
            );
            s.servers = (0..10)
                .map(|j| server(&format!("r{j}"), &format!("10.0.{j}.1"), config::Mode::Dr))
                .collect();
            s
        })
        .collect();
    let mut world = World::new(services);
    #[expect(
        clippy::disallowed_methods,
        reason = "the test prints what a reconcile costs"
    )]
    let clock = Instant::now;
    let start = clock();
    let first = world.first();
    let built = start.elapsed();
    world.config.services[500].servers[5].state = ServerState::Drain;
    let start = clock();
    let second = world.after(&first);
    let again = start.elapsed();
    println!("10,000 servers: first reconcile {built:?}, next one {again:?}");
    // Ten times what the development machine needs: only a change of complexity fails this.
    assert!(again < Duration::from_millis(200), "{again:?}");
    let same = first.tables.services.iter().zip(&second.tables.services);
    let changed = same.filter(|(a, b)| match (a, b) {
        (Some(a), Some(b)) => !Arc::ptr_eq(a, b),
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
    });
    assert_eq!(changed.count(), 1);
}

#[test]
fn d63_a_server_that_goes_down_moves_little_more_than_its_own_maglev_slots() {
    let mut maglev = web(config::Mode::Dr, 5);
    maglev.scheduler = config::Scheduler::Maglev;
    let mut world = World::new(vec![maglev]);
    let before = world.first();
    world.edit("web3", Edit::State(State::Drain));
    let after = world.after(&before);
    let owners = |snapshot: &Snapshot| -> Vec<ServerId> {
        let service = only_service(snapshot);
        let position = |p: &u16| service.maglev_servers[usize::from(*p)];
        service.maglev.slots().iter().map(position).collect()
    };
    let (old, new) = (owners(&before), owners(&after));
    let gone = find(&before, "web3").id;
    let kept = old.iter().filter(|id| **id != gone).count();
    let moved = old
        .iter()
        .zip(&new)
        .filter(|(a, b)| **a != gone && a != b)
        .count();
    assert_eq!((old.len(), new.contains(&gone)), (65_537, false));
    assert!(
        moved * 20 < kept,
        "{moved} of {kept} slots of other servers moved"
    );
}

#[test]
fn servers_are_found_by_name_and_the_map_is_shared_while_names_stay() {
    let mut world = World::new(vec![web(config::Mode::Dr, 3)]);
    let before = world.first();
    assert_eq!(before.server("web", "web2"), Some(find(&before, "web2").id));
    assert_eq!(before.server("web", "web9"), None);
    assert_eq!(before.server("we", "bweb2"), None);
    world.edit("web2", Edit::Weight(7));
    let after = world.after(&before);
    assert!(Arc::ptr_eq(&before.servers_by_name, &after.servers_by_name));
    world.config.services[0].servers.remove(0);
    let after = world.after(&before);
    assert_eq!(after.server("web", "web1"), None);
    assert_eq!(after.server("web", "web3"), before.server("web", "web3"));
    let key = ("web".into(), "web3".into());
    assert_eq!(after.servers_by_name[&key], find(&after, "web3").id);
}
