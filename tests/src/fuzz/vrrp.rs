//! VRRP instances between arbitrary frames, times and mishaps: nothing panics, every frame is
//! counted once, roles and leases agree, and the workers' police lets through all that is taken.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_control::config::{self, Config, Tracked};
use weir_control::mirror::Mirror;
use weir_control::ports::PortFact;
use weir_control::reconcile::{Inputs, reconcile};
use weir_control::vrrp::machine::State;
use weir_control::vrrp::{Action, Conditions, Routers};
use weir_engine::id::{DeviceId, PortId};
use weir_engine::police;
use weir_engine::tables::{Role, Tables};
use weir_engine::time::Time;
use weir_wire::addr::{EtherType, MacAddr, Protocol};
use weir_wire::vrrp::{GROUP_V4, GROUP_V6, Repr};
use weir_wire::{ethernet, ipv4, ipv6};

use super::source::Source;

const PORT: PortId = PortId(0);
/// What one input may ask for, so that none runs for minutes.
const STEPS_MAX: usize = 512;
/// Actions of one step: six instances with an advert, a change, a role and a lease each, twice.
const ACTIONS_MAX: usize = 64;

const FILE: &str = "
ports:
  - {name: p0, device: net_null0, addresses: [192.0.2.2/24, '2001:db8::2/64']}
vrrp:
  - {name: a, port: p0, id: 1, version: 2, priority: 100, addresses: [192.0.2.10]}
  - {name: b, port: p0, id: 2, version: 2, addresses: [192.0.2.11], auth: {password: '1111'}}
  - {name: c, port: p0, id: 3, interval: 10ms, addresses: [192.0.2.12, 192.0.2.13], group: g}
  - {name: d, port: p0, id: 3, addresses: ['fe80::10', '2001:db8::10'], group: g}
  - {name: e, port: p0, id: 4, preempt: false, addresses: [192.0.2.14],
     unicast: {peers: [192.0.2.3]}}
  - {name: f, port: p0, id: 5, owner: true, addresses: [192.0.2.2]}
";

/// A director's instances.
struct Director {
    config: Config,
    tables: Arc<Tables>,
    routers: Routers,
    now: Time,
    well: bool,
    fed: u64,
}

/// What the links are like.
struct Links(bool);

impl Conditions for Links {
    fn link_is_up(&self, _: PortId) -> bool {
        self.0
    }

    fn is_well(&self, _: &str, _: &Tracked) -> bool {
        self.0
    }

    fn is_stalled(&self) -> bool {
        false
    }
}

/// Runs instances through what `octets` say.
///
/// # Panics
/// If a promise of `weir_control::vrrp` is broken.
pub fn vrrp(octets: &[u8]) {
    let mut source = Source::new(octets);
    let mut director = Director::new();
    for _ in 0..STEPS_MAX {
        if source.is_empty() {
            break;
        }
        director.step(&mut source);
    }
}

impl Director {
    fn new() -> Self {
        let config = config::parse("fuzz", FILE).expect("a right file").config;
        let inputs = Inputs {
            config: &config,
            overlay: &Default::default(),
            health: &Default::default(),
            mirror: &Mirror::from_config(&config),
            ports: &[PortFact {
                device: DeviceId(0),
                mac: MacAddr([2, 0, 0, 0, 0, 1]),
                mtu: 1500,
            }],
            steering: &Default::default(),
        };
        let tables = reconcile(&Default::default(), &inputs)
            .expect("it fits")
            .tables;
        let mut routers = Routers::default();
        routers.configure(Time::ZERO, &config, Arc::clone(&tables), &mut Vec::new());
        routers.weigh(Time::ZERO, &Links(true), &mut Vec::new());
        Self {
            config,
            tables,
            routers,
            now: Time::ZERO,
            well: true,
            fed: 0,
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        let mut out = Vec::new();
        match source.below(8) {
            0 => {
                self.now = self.now + Duration::from_millis(source.word().into());
                self.routers.expire(self.now, &mut out);
                let due = self.routers.deadline();
                assert!(due.is_none_or(|at| at > self.now), "it would turn for ever");
            }
            1 => {
                let len = usize::from(source.word() % 2048);
                self.hear(source.take(len).to_vec(), &mut out);
            }
            2 => {
                self.well = !self.well;
                let links = Links(self.well);
                self.routers.weigh(self.now, &links, &mut out);
            }
            3 if source.rarely(4) => {
                self.routers.resign(self.now, None, &mut out);
            }
            3 => {
                let tables = Arc::clone(&self.tables);
                self.routers
                    .configure(self.now, &self.config, tables, &mut out);
            }
            _ => {
                let frame = advert(source);
                self.hear(frame, &mut out);
            }
        }
        self.judge(&out);
    }

    fn hear(&mut self, frame: Vec<u8>, out: &mut Vec<Action>) {
        let taken = |routers: &Routers| -> u64 {
            routers
                .report()
                .iter()
                .map(|instance| instance.received)
                .sum()
        };
        let before = taken(&self.routers);
        if self.routers.hear(self.now, PORT, &frame, out) {
            self.fed += 1;
        }
        if taken(&self.routers) > before {
            let expected = police::is_expected(&self.tables, PORT, &frame);
            assert!(expected, "a worker would not have let through {frame:02x?}");
        }
    }

    fn judge(&self, out: &[Action]) {
        assert!(out.len() <= ACTIONS_MAX, "{} actions", out.len());
        let report = self.routers.report();
        let received: u64 = report.iter().map(|instance| instance.received).sum();
        let refused: u64 = self.routers.errors().iter().sum();
        assert_eq!(received + refused, self.fed, "every frame is counted once");
        for action in out {
            match action {
                Action::Renew(lease, until) => {
                    let name = &self.tables.instance(*lease).expect("one of ours").name;
                    let of = report.iter().find(|instance| *instance.name == **name);
                    let of = of.expect("it is reported");
                    let span = of.interval * 5 / 2;
                    assert!(*until <= self.now + span, "a lease outlasts silence");
                }
                Action::Role(_, role) => assert!(!matches!(role, Role::Leased(_))),
                Action::Changed { from, to, .. } => assert_ne!(from, to),
                Action::Send(port, frame) => {
                    assert!(*port == PORT && frame.len() >= 60);
                }
                Action::Announce(_) | Action::Resolve(..) | Action::Refused(..) => {}
            }
        }
        let group: Vec<State> = report
            .iter()
            .filter(|instance| ["c", "d"].contains(&instance.name.as_str()))
            .map(|instance| instance.state)
            .collect();
        let active = group.iter().filter(|s| **s == State::Active).count();
        assert!(
            active == 0 || active == group.len(),
            "a group moves together"
        );
    }
}

/// An advert that may be right in all, or wrong in anything.
fn advert(source: &mut Source<'_>) -> Vec<u8> {
    let is_v4 = !source.rarely(3);
    let addresses: Vec<IpAddr> = (0..source.below(4))
        .map(|_| match is_v4 {
            true => IpAddr::from([192, 0, 2, 10 + source.octet() % 6]),
            false => source
                .pick(&["fe80::10", "2001:db8::10"])
                .parse()
                .expect("an address"),
        })
        .collect();
    let message = Repr {
        version: source.pick(&[2, 3, 3, 0]),
        id: source.octet() % 7,
        priority: source.pick(&[0, 1, 99, 100, 101, 200, 254, 255]),
        interval: Duration::from_millis(u64::from(source.word()) * 10),
        addresses: &addresses,
        auth: source.rarely(2).then_some(*b"1111\0\0\0\0"),
    };
    let head_len = 14
        + if is_v4 {
            ipv4::HEADER_LEN
        } else {
            ipv6::HEADER_LEN
        };
    let mut frame = vec![0; head_len + message.buffer_len()];
    let hop_limit = source.pick(&[255, 255, 255, 64]);
    let (from, to) = ends(is_v4, source);
    head(&mut frame, (from, to), hop_limit, message.buffer_len());
    let pseudo = (!source.rarely(3)).then_some((from, to));
    if message.emit(&mut frame[head_len..], pseudo).is_none() {
        frame.truncate(head_len); // It has no address, and so no family.
    }
    if source.rarely(4) {
        let at = usize::from(source.word()) % frame.len();
        frame[at] ^= 1 << source.below(8);
    }
    if source.rarely(4) {
        frame.truncate(usize::from(source.word()) % (frame.len() + 1));
    }
    frame
}

fn ends(is_v4: bool, source: &mut Source<'_>) -> (IpAddr, IpAddr) {
    let group: IpAddr = if is_v4 {
        GROUP_V4.into()
    } else {
        GROUP_V6.into()
    };
    let (peer, own) = match is_v4 {
        true => (IpAddr::from([192, 0, 2, 3]), IpAddr::from([192, 0, 2, 2])),
        false => (
            "fe80::3".parse().expect("an address"),
            "2001:db8::2".parse().expect("an address"),
        ),
    };
    (
        source.pick(&[peer, peer, own]),
        source.pick(&[group, group, own]),
    )
}

fn head(frame: &mut [u8], ends: (IpAddr, IpAddr), hop_limit: u8, len: usize) {
    let macs = (MacAddr([1, 0, 0x5e, 0, 0, 18]), MacAddr([2, 0, 0, 0, 0, 9]));
    let (ether_type, rest) = match ends.0 {
        IpAddr::V4(_) => (EtherType::IPV4, ipv4::HEADER_LEN),
        IpAddr::V6(_) => (EtherType::IPV6, ipv6::HEADER_LEN),
    };
    let (first, packet) = frame.split_first_chunk_mut().expect("room for the head");
    ethernet::emit(first, macs.0, macs.1, ether_type);
    match ends {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let total = u16::try_from(rest + len).expect("short");
            packet[..10].copy_from_slice(&[0x45, 0xc0, 0, 0, 0, 0, 0, 0, hop_limit, 112]);
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            packet[12..16].copy_from_slice(&src.octets());
            packet[16..20].copy_from_slice(&dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let repr = ipv6::Ipv6Repr {
                src,
                dst,
                next_header: Protocol::VRRP,
                hop_limit,
                traffic_class: 0xc0,
                flow_label: 0,
                payload_len: u16::try_from(len).expect("short"),
            };
            ipv6::emit(packet.first_chunk_mut().expect("room for the head"), &repr);
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            unreachable!("both ends are of one family")
        }
    }
}
