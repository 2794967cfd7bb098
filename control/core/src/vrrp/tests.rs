//! All instances of a director: what reaches the wire, groups, tracking, reload.

use super::*;
use crate::config::{Service, Track};
use crate::testing::{config_with, vrrp};

const WAN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0]);
const THEM: (MacAddr, IpAddr) = (
    MacAddr([2, 0, 0, 0, 0, 0x99]),
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3)),
);

fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

/// What is not well, by port and service.
#[derive(Default)]
struct World {
    down: Vec<PortId>,
    ill: Vec<Tracked>,
    stalled: bool,
}

impl Conditions for World {
    fn link_is_up(&self, port: PortId) -> bool {
        !self.down.contains(&port)
    }

    fn is_well(&self, _: &str, tracked: &Tracked) -> bool {
        !self.ill.contains(tracked)
    }

    fn is_stalled(&self) -> bool {
        self.stalled
    }
}

/// A director with instances, and what it did.
struct Director {
    routers: Routers,
    config: Config,
    out: Vec<Action>,
}

impl Director {
    fn new(instances: Vec<VrrpInstance>) -> Self {
        let mut director = Self {
            routers: Routers::default(),
            config: config_with(Vec::<Service>::new()),
            out: Vec::new(),
        };
        director.configure(0, instances);
        director.weigh(0, &World::default());
        director
    }

    fn configure(&mut self, ms: u64, instances: Vec<VrrpInstance>) -> Vec<Action> {
        self.config.vrrp = instances;
        let facts = crate::testing::facts();
        let inputs = crate::reconcile::Inputs {
            config: &self.config,
            overlay: &crate::overlay::Overlay::default(),
            health: &crate::health::Verdicts::default(),
            mirror: &crate::mirror::Mirror::from_config(&self.config),
            ports: &facts,
            steering: &weir_engine::steering::Steering::default(),
        };
        let snapshot = crate::reconcile::reconcile(&Default::default(), &inputs).unwrap();
        let tables = snapshot.tables.clone();
        self.routers
            .configure(at(ms), &self.config, tables, &mut self.out);
        std::mem::take(&mut self.out)
    }

    fn weigh(&mut self, ms: u64, world: &World) -> Vec<Action> {
        self.routers.weigh(at(ms), world, &mut self.out);
        std::mem::take(&mut self.out)
    }

    fn expire(&mut self, ms: u64) -> Vec<Action> {
        self.routers.expire(at(ms), &mut self.out);
        std::mem::take(&mut self.out)
    }

    /// Lets time pass, looking as often as the driver does when it is slow.
    fn pass(&mut self, from_ms: u64, to_ms: u64) {
        for ms in (from_ms..=to_ms).step_by(50) {
            self.expire(ms);
        }
    }

    /// An advert of the other director about an instance of ours.
    fn hear(&mut self, ms: u64, index: usize, priority: u8) -> Vec<Action> {
        let instance = &self.config.vrrp[index];
        let bytes = packet::emit(instance, priority, THEM, packet::to_group(true)).unwrap();
        let port = if instance.port == "wan0" { 0 } else { 1 };
        let frame = Frame::parse(&bytes).unwrap();
        self.routers
            .receive(at(ms), PortId(port), &frame, &mut self.out);
        std::mem::take(&mut self.out)
    }

    fn states(&self) -> Vec<State> {
        self.routers.report().iter().map(|i| i.state).collect()
    }
}

fn edge() -> VrrpInstance {
    vrrp("edge", "wan0", 51, &["192.0.2.10"])
}

/// Outside and inside of a floating gateway.
fn pair() -> Vec<VrrpInstance> {
    let mut both = vec![edge(), vrrp("inside", "lan0", 52, &["10.0.0.254"])];
    for instance in &mut both {
        instance.group = Some("pair".into());
    }
    both
}

#[test]
fn v44_a_take_over_sends_the_advert_then_role_and_lease() {
    let mut director = Director::new(vec![edge()]);
    assert_eq!(director.states(), [State::Backup]);
    let out = director.expire(3700);
    let Action::Send(PortId(0), frame) = &out[0] else {
        panic!("{out:?}");
    };
    assert_eq!(frame[6..12], [0, 0, 0x5e, 0, 1, 51], "from the virtual MAC");
    assert_eq!(out[1], Action::Role(LeaseId(0), Role::Active));
    assert!(matches!(
        out[2],
        Action::Changed {
            to: State::Active,
            ..
        }
    ));
    assert_eq!(out[3], Action::Renew(LeaseId(0), at(3700 + 2500)));
}

#[test]
fn v11_an_unknown_identifier_is_counted_and_never_answered() {
    let mut director = Director::new(vec![edge()]);
    director.config.vrrp[0].id = 77;
    let out = director.hear(10, 0, 200);
    let refused = Action::Refused(Reject::UnknownId, PortId(0), Some(THEM.1));
    assert_eq!(out, [refused]);
    director.config.vrrp[0].id = 51;
    director.config.vrrp[0].port = "lan0".into();
    director.hear(20, 0, 200); // The right identifier on another port.
    assert_eq!(director.routers.errors()[Reject::UnknownId as usize], 2);
    let shown = |ms| director.routers.refusals(at(ms));
    let [last] = shown(10_019)[..] else {
        panic!("shown once for each reason");
    };
    assert_eq!((last.reason, last.at), (Reject::UnknownId, at(20)));
    assert!(shown(10_020).is_empty());
}

#[test]
fn v21_a_flood_of_bad_adverts_logs_once_a_second_and_changes_nothing() {
    let mut director = Director::new(vec![edge()]);
    director.config.vrrp[0].version = 2;
    let logged: usize = (0..100_000_u64)
        .map(|n| director.hear(n / 100, 0, 255).len())
        .sum();
    assert_eq!(logged, 1);
    assert_eq!(director.states(), [State::Backup]);
    director.config.vrrp[0].version = 3;
    assert!(
        director.hear(1000, 0, 200).is_empty(),
        "a good one is taken"
    );
    assert_eq!(director.routers.report()[0].received, 1);
}

#[test]
fn v42_a_group_becomes_active_together_and_falls_together() {
    let mut director = Director::new(pair());
    // Only the outside falls silent.
    for ms in (500..6000).step_by(500) {
        director.hear(ms, 1, 150);
        director.expire(ms);
    }
    assert_eq!(director.states(), [State::Backup; 2]);
    director.expire(9800);
    assert_eq!(director.states(), [State::Active; 2]);
    // A higher priority outside takes the inside along, which resigns.
    let out = director.hear(10_000, 0, 200);
    assert_eq!(director.states(), [State::Backup; 2]);
    let resigned = |action: &Action| matches!(action, Action::Send(PortId(1), f) if f[36] == 0);
    assert!(out.iter().any(resigned));
}

#[test]
fn a_fault_takes_the_group_out_until_it_is_mended() {
    let mut director = Director::new(pair());
    director.expire(3700);
    assert_eq!(director.states(), [State::Active; 2]);
    let mut world = World::default();
    world.down.push(PortId(1));
    director.weigh(4000, &world);
    assert_eq!(director.states(), [State::Backup, State::Fault]);
    director.expire(9000);
    director.expire(15_000);
    assert_eq!(
        director.states(),
        [State::Backup, State::Fault],
        "alone it does not lead"
    );
    director.weigh(15_050, &World::default());
    director.pass(15_050, 18_700);
    assert_eq!(director.states(), [State::Active; 2]);
}

#[test]
fn v42_what_ails_a_whole_group_keeps_it_out_no_longer_than_it_lasts() {
    let stalled = World {
        stalled: true,
        ..World::default()
    };
    let unplugged = World {
        down: vec![PortId(0), PortId(1)],
        ..World::default()
    };
    for world in [stalled, unplugged] {
        let mut director = Director::new(pair());
        director.expire(3700);
        director.weigh(4000, &world);
        assert_eq!(director.states(), [State::Fault; 2]);
        director.weigh(4050, &World::default());
        assert_eq!(director.states(), [State::Backup; 2]);
        director.pass(4050, 7700);
        assert_eq!(director.states(), [State::Active; 2]);
    }
}

#[test]
fn v45_a_stalled_worker_makes_every_instance_resign() {
    let mut director = Director::new(vec![edge()]);
    director.expire(3700);
    let world = World {
        stalled: true,
        ..World::default()
    };
    let out = director.weigh(3750, &world);
    assert_eq!(director.states(), [State::Fault]);
    let sent = |action: &&Action| matches!(action, Action::Send(..));
    let Some(Action::Send(_, frame)) = out.iter().rfind(sent) else {
        panic!("{out:?}");
    };
    assert_eq!(frame[36], 0, "and says so");
    assert!(out.contains(&Action::Role(LeaseId(0), Role::Backup)));
}

#[test]
fn tracking_changes_the_priority_within_its_bounds_or_faults() {
    let service = Tracked::Service("web".into());
    let route = Tracked::Route(crate::config::Prefix {
        address: IpAddr::from([0, 0, 0, 0]),
        len: 0,
    });
    let mut instance = edge();
    let track = |what: &Tracked, weight| Track {
        what: what.clone(),
        weight,
    };
    instance.track = vec![track(&service, -50), track(&route, 250)];
    let mut director = Director::new(vec![instance.clone()]);
    let priority = |director: &Director| director.routers.report()[0].priority;
    assert_eq!(priority(&director), 254);
    let mut world = World {
        ill: vec![route.clone()],
        ..World::default()
    };
    director.weigh(10, &world);
    assert_eq!(priority(&director), 100);
    world.ill.push(service.clone());
    director.weigh(20, &world);
    assert_eq!(priority(&director), 50);
    // An owner stays the owner, and weight 0 is a fault.
    instance.priority = PRIORITY_OWNER;
    instance.track.push(track(&service, 0));
    let mut director = Director::new(vec![instance]);
    assert_eq!(
        (director.states()[0], priority(&director)),
        (State::Active, 255)
    );
    director.weigh(30, &world);
    assert_eq!(director.states(), [State::Fault]);
}

#[test]
fn v36_v41_a_reload_keeps_the_role_and_a_removed_instance_resigns() {
    let mut director = Director::new(vec![edge()]);
    director.expire(3700);
    let mut changed = edge();
    changed.priority = 120;
    changed.addresses.push(IpAddr::from([192, 0, 2, 11]));
    let out = director.configure(3800, vec![changed]);
    assert!(out.is_empty(), "{out:?}");
    director.weigh(3850, &World::default());
    assert_eq!(director.states(), [State::Active]);
    assert_eq!(director.routers.report()[0].priority, 120);
    let out = director.configure(4000, Vec::new());
    let resigned = |action: &Action| matches!(action, Action::Send(_, f) if f[36] == 0);
    assert!(out.iter().any(resigned), "{out:?}");
    assert!(out.contains(&Action::Role(LeaseId(0), Role::Backup)));
}

#[test]
fn v54_adverts_of_ipv6_come_from_the_port_s_own_link_local_address() {
    let mut director = Director::new(vec![vrrp("six", "wan0", 9, &["fe80::9", "2001:db8::9"])]);
    let out = director.expire(3700);
    let Action::Send(_, frame) = &out[0] else {
        panic!("{out:?}");
    };
    assert_eq!(frame[6..12], [0, 0, 0x5e, 0, 2, 9]);
    assert_eq!(frame[22..38], nd::link_local(WAN_MAC).octets());
}

#[test]
fn a_unicast_peer_without_a_mac_is_asked_for() {
    let mut instance = edge();
    instance.peers = vec![THEM.1];
    let mut director = Director::new(vec![instance]);
    let out = director.expire(3700);
    assert_eq!(out[0], Action::Resolve(PortId(0), THEM.1));
    assert_eq!(director.states(), [State::Active]);
}

#[test]
fn who_resigned_stays_backup_while_another_is_heard() {
    let mut director = Director::new(pair());
    director.expire(3700);
    let count = director
        .routers
        .resign(at(4000), Some("edge"), &mut director.out);
    assert_eq!(count, 2, "its group goes along");
    for ms in (4100..20_000).step_by(500) {
        director.hear(ms, 0, 1);
        director.hear(ms, 1, 1);
        director.expire(ms);
    }
    assert_eq!(director.states(), [State::Backup; 2]);
}
