//! What becomes of a server's flows: answered, refused, or neither. The facts that passive health
//! goes by.

mod frames;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use frames::{Tcp, client, udp, udp_reply};
use proptest::prelude::*;
use weir_engine::counters::Outcomes;
use weir_engine::id::ServerId;
use weir_engine::tables::{Mode, OnServerGone, Tables};
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::{Sent, ServiceSpec, Spec, World, ip};
use weir_engine::verdict::Verdict;
use weir_wire::addr::Protocol;
use weir_wire::checksum::Sum;
use weir_wire::icmp::{self, Report};
use weir_wire::{icmpv6, ipv6};

const VIP: &str = "10.9.9.9";
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = SYN | ACK;
const FIN_ACK: u8 = 0x11;

/// IPVS's SYN_RECV time-out, and a tick.
const SYN_RECV: Duration = Duration::from_secs(61);
/// Longer than any flow may be idle.
const FOREVER: Duration = Duration::from_secs(1000);

/// One server, 10.1.0.11.
fn spec(mode: Mode, protocol: Protocol) -> Spec {
    let mut service = ServiceSpec::tcp(VIP, 80, mode, &[11]);
    service.protocol = protocol;
    Spec::standard().with(service)
}

fn world(mode: Mode) -> World {
    World::new(&spec(mode, Protocol::TCP))
}

fn udp_world(mode: Mode) -> World {
    World::new(&spec(mode, Protocol::UDP))
}

/// A client's segment to the VIP.
fn send(world: &mut World, n: u8, flags: u8) -> Sent {
    let frame = Tcp::with_flags(client(n), flags).frame();
    world.send(0, TestFrame::new(&frame))
}

/// The server's segment to a client.
fn reply(world: &mut World, n: u8, flags: u8) -> Sent {
    let frame = Tcp::with_flags(client(n), flags).reply(11);
    world.send(1, TestFrame::new(&frame))
}

fn ask(world: &mut World, n: u8) -> Sent {
    world.send(0, TestFrame::new(&udp(client(n), 80, b"?")))
}

fn outcomes_of(world: &World, index: u32, generation: u32) -> Outcomes {
    world.counters().outcomes(ServerId { index, generation })
}

/// Connections, unanswered, reset.
fn outcomes(world: &World) -> (u64, u64, u64) {
    let seen = outcomes_of(world, 0, 1);
    (seen.connections, seen.unanswered, seen.reset)
}

/// An ICMP error about the packet that was just forwarded, from `from`, on the servers' side.
fn error(sent: &Sent, from: IpAddr, report: Report) -> TestFrame {
    let about = &sent.out[0].1[14..];
    let mut out = [0; 1280];
    let (len, ether_type) = match from {
        IpAddr::V4(from) => (icmp::emit_error(&mut out, from, about, report, 7), [8, 0]),
        IpAddr::V6(from) => (
            icmpv6::emit_error(&mut out, from, about, report),
            [0x86, 0xdd],
        ),
    };
    let ip = &out[..len.expect("an error about a packet")];
    let link = [&[2, 0, 0, 0, 1, 1], &frames::mac_of(11)[..], &ether_type].concat();
    TestFrame::new(&[&link[..], ip].concat())
}

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 11));
const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 250));

#[test]
fn a_syn_that_nothing_follows_counts_when_its_flow_expires() {
    for mode in [Mode::Dr, Mode::Tunnel, Mode::Nat] {
        let mut world = world(mode);
        send(&mut world, 1, SYN);
        world.pass(Duration::from_secs(59));
        assert_eq!(outcomes(&world), (1, 0, 0), "{mode:?}: there is still hope");
        world.pass(Duration::from_secs(2));
        assert_eq!(outcomes(&world), (1, 1, 0), "{mode:?}");
        world.pass(FOREVER);
        assert_eq!(outcomes(&world), (1, 1, 0), "{mode:?}: once");
    }
}

#[test]
fn a_syn_that_is_sent_again_is_the_same_flow_and_counts_once() {
    for mode in [Mode::Dr, Mode::Nat] {
        let mut world = world(mode);
        for gap in [1, 2, 4, 8, 16] {
            send(&mut world, 1, SYN);
            world.pass(Duration::from_secs(gap));
        }
        world.pass(Duration::from_secs(40));
        assert_eq!(outcomes(&world), (1, 0, 0), "60 s after the last SYN");
        world.pass(Duration::from_secs(10));
        assert_eq!(outcomes(&world), (1, 1, 0));
    }
}

#[test]
fn a_client_that_goes_on_has_been_answered_whatever_becomes_of_the_flow() {
    for mode in [Mode::Dr, Mode::Tunnel, Mode::Nat] {
        for next in [ACK, FIN_ACK, RST, RST | ACK] {
            let mut world = world(mode);
            send(&mut world, 1, SYN);
            send(&mut world, 1, next);
            // Half open again, as only a forger makes it.
            send(&mut world, 1, SYN_ACK);
            world.pass(FOREVER);
            assert_eq!(outcomes(&world), (1, 0, 0), "{mode:?} {next:#x}");
        }
    }
}

#[test]
fn a_flow_that_is_adopted_in_mid_stream_has_been_answered() {
    let mut sloppy = spec(Mode::Dr, Protocol::TCP);
    sloppy.services[0].sloppy = true;
    let mut world = World::new(&sloppy);
    send(&mut world, 1, ACK);
    world.pass(FOREVER);
    assert_eq!(outcomes(&world), (1, 0, 0));
}

#[test]
fn an_error_from_the_clients_side_shows_that_the_server_sent_something() {
    for mode in [Mode::Dr, Mode::Nat] {
        let mut world = world(mode);
        send(&mut world, 1, SYN);
        let error = frames::frag_needed(client(1), 80, 1400);
        world.send(0, TestFrame::new(&error));
        world.pass(SYN_RECV);
        assert_eq!(outcomes(&world), (1, 0, 0), "{mode:?}");
    }
}

#[test]
fn under_nat_a_syn_flood_that_the_server_answers_is_not_the_servers_fault() {
    let mut world = world(Mode::Nat);
    for n in 1..=9 {
        send(&mut world, n, SYN);
        reply(&mut world, n, SYN_ACK);
    }
    world.pass(SYN_RECV);
    assert_eq!(outcomes(&world), (9, 0, 0));
}

#[test]
fn a_reset_in_answer_to_the_syn_counts_at_once_and_for_every_attempt() {
    let mut world = world(Mode::Nat);
    for attempt in 1..=3 {
        send(&mut world, 1, SYN);
        let sent = reply(&mut world, 1, RST | ACK);
        assert!(matches!(sent.verdict, Verdict::Forward(_)));
        assert_eq!(outcomes(&world), (attempt, 0, attempt));
    }
    world.pass(FOREVER);
    assert_eq!(outcomes(&world), (3, 0, 3));
}

#[test]
fn only_the_first_answer_can_be_a_refusal() {
    let after: [&[(bool, u8)]; 3] = [
        &[(true, SYN_ACK)],
        &[(false, ACK)],
        &[(true, SYN_ACK), (false, ACK), (true, ACK)],
    ];
    for before in after {
        let mut world = world(Mode::Nat);
        send(&mut world, 1, SYN);
        for (from_server, flags) in before {
            match from_server {
                true => reply(&mut world, 1, *flags),
                false => send(&mut world, 1, *flags),
            };
        }
        reply(&mut world, 1, RST);
        world.pass(FOREVER);
        assert_eq!(outcomes(&world), (1, 0, 0), "{before:?}");
    }
}

#[test]
fn a_flow_that_a_forger_opens_again_is_refused_once() {
    let mut world = world(Mode::Nat);
    send(&mut world, 1, SYN);
    for _ in 0..5 {
        reply(&mut world, 1, RST | ACK);
        // Not a SYN that starts a flow, but it moves the state back.
        send(&mut world, 1, SYN_ACK);
    }
    world.pass(FOREVER);
    assert_eq!(outcomes(&world), (1, 0, 1));
}

#[test]
fn udp_counts_under_nat_only_and_only_without_any_answer() {
    let mut world = udp_world(Mode::Nat);
    ask(&mut world, 1);
    ask(&mut world, 1);
    world.pass(FOREVER);
    assert_eq!(outcomes(&world), (1, 1, 0));
    let mut world = udp_world(Mode::Nat);
    ask(&mut world, 1);
    world.send(1, TestFrame::new(&udp_reply(client(1), 80, 11)));
    world.pass(FOREVER);
    assert_eq!(outcomes(&world), (1, 0, 0));
    for mode in [Mode::Dr, Mode::Tunnel] {
        let mut world = udp_world(mode);
        ask(&mut world, 1);
        world.pass(FOREVER);
        assert_eq!(outcomes(&world), (1, 0, 0), "{mode:?}: nobody would see");
    }
}

#[test]
fn an_icmp_unreachable_of_the_server_is_a_refusal() {
    for protocol in [Protocol::TCP, Protocol::UDP] {
        for report in [
            Report::PortUnreachable,
            Report::HostUnreachable,
            Report::Prohibited,
        ] {
            let mut world = World::new(&spec(Mode::Nat, protocol));
            let sent = match protocol {
                Protocol::UDP => ask(&mut world, 1),
                Protocol(_) => send(&mut world, 1, SYN),
            };
            for _ in 0..2 {
                let back = world.send(1, error(&sent, SERVER, report));
                assert!(matches!(back.verdict, Verdict::Forward(_)));
                assert_eq!(outcomes(&world), (1, 0, 1), "{report:?}: once per flow");
            }
            world.pass(FOREVER);
            assert_eq!(outcomes(&world), (1, 0, 1), "refused is not unanswered");
        }
    }
}

#[test]
fn other_errors_and_other_senders_refuse_nothing() {
    for (from, report) in [
        (ROUTER, Report::HostUnreachable),
        (ROUTER, Report::PortUnreachable),
        (SERVER, Report::TtlExpired),
        (SERVER, Report::TooBig { mtu: 1400 }),
    ] {
        let mut world = world(Mode::Nat);
        let sent = send(&mut world, 1, SYN);
        let back = world.send(1, error(&sent, from, report));
        assert!(matches!(back.verdict, Verdict::Forward(_)));
        assert_eq!(outcomes(&world), (1, 0, 0), "{from} {report:?}");
        world.pass(SYN_RECV);
        assert_eq!(outcomes(&world), (1, 1, 0), "{from} {report:?}");
    }
}

#[test]
fn an_unreachable_about_a_flow_that_was_answered_is_no_refusal() {
    let mut world = world(Mode::Nat);
    let sent = send(&mut world, 1, SYN);
    reply(&mut world, 1, SYN_ACK);
    world.send(1, error(&sent, SERVER, Report::PortUnreachable));
    let mut asked = udp_world(Mode::Nat);
    let sent = ask(&mut asked, 1);
    asked.send(1, TestFrame::new(&udp_reply(client(1), 80, 11)));
    asked.send(1, error(&sent, SERVER, Report::PortUnreachable));
    for mut world in [world, asked] {
        world.pass(FOREVER);
        assert_eq!(outcomes(&world), (1, 0, 0));
    }
}

/// A datagram from `fd00:c::1` to the IPv6 VIP.
fn udp_v6() -> TestFrame {
    let (from, to): (Ipv6Addr, Ipv6Addr) = (
        Ipv6Addr::new(0xfd00, 0xc, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 9),
    );
    let mut datagram = [0x9c, 0x40, 0, 80, 0, 8, 0, 0];
    let sum = Sum::pseudo(from, to, Protocol::UDP, 8).over(&datagram);
    datagram[6..].copy_from_slice(&sum.finish().for_udp().0);
    let repr = ipv6::Ipv6Repr {
        src: from,
        dst: to,
        next_header: Protocol::UDP,
        hop_limit: 64,
        traffic_class: 0,
        flow_label: 0,
        payload_len: 8,
    };
    let mut header = [0; ipv6::HEADER_LEN];
    ipv6::emit(&mut header, &repr);
    let link = [2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 2, 0xfe, 0x86, 0xdd];
    TestFrame::new(&[&link[..], &header, &datagram].concat())
}

#[test]
fn ipv6_counts_alike() {
    let mut v6 = spec(Mode::Nat, Protocol::UDP);
    v6.services[0].vip = ip("fd00:9::9");
    v6.services[0].servers[0].address = ip("fd00:1::11");
    let mut world = World::new(&v6);
    let sent = world.send(0, udp_v6());
    world.pass(FOREVER);
    assert_eq!(outcomes(&world), (1, 1, 0));
    world.send(0, udp_v6());
    let back = world.send(1, error(&sent, ip("fd00:1::11"), Report::PortUnreachable));
    assert!(matches!(back.verdict, Verdict::Forward(_)));
    assert_eq!(outcomes(&world), (2, 1, 1));
}

/// The tables without the only server.
fn without_server(spec: &Spec) -> Tables {
    let mut tables = spec.tables(2);
    tables.servers[0] = None;
    tables
}

/// The tables with 10.1.0.11 gone and 10.1.0.12 in another slot.
fn with_12_instead(spec: &Spec) -> Tables {
    let mut other = spec.clone();
    let servers = &mut other.services[0].servers;
    servers[0].weight = 0;
    servers.push(servers[0].clone());
    servers[1].weight = 1;
    servers[1].address = ip("10.1.0.12");
    let mut tables = other.tables(2);
    tables.servers[0] = None;
    tables
}

#[test]
fn a_half_open_flow_whose_client_tries_again_elsewhere_counts_for_the_server_that_is_gone() {
    for mode in [Mode::Dr, Mode::Nat] {
        let spec = spec(mode, Protocol::TCP);
        let mut world = World::new(&spec);
        send(&mut world, 1, SYN);
        send(&mut world, 2, SYN);
        send(&mut world, 2, ACK);
        world.swap(with_12_instead(&spec));
        assert_eq!(send(&mut world, 1, SYN).out[0].1[5], 12);
        assert_eq!(send(&mut world, 2, SYN).out[0].1[5], 12);
        assert_eq!(outcomes(&world), (2, 1, 0), "{mode:?}: of two replaced");
        let moved = outcomes_of(&world, 1, 1);
        assert_eq!((moved.connections, moved.unanswered), (2, 0), "{mode:?}");
        world.pass(FOREVER);
        assert_eq!(outcomes(&world), (2, 1, 0), "{mode:?}");
    }
}

#[test]
fn a_half_open_flow_that_an_ack_moves_elsewhere_had_been_answered() {
    let mut spec = spec(Mode::Dr, Protocol::TCP);
    spec.services[0].on_server_gone = OnServerGone::Reschedule;
    let mut world = World::new(&spec);
    send(&mut world, 1, SYN);
    world.swap(with_12_instead(&spec));
    assert_eq!(send(&mut world, 1, ACK).out[0].1[5], 12);
    assert_eq!(outcomes(&world), (1, 0, 0));
}

#[test]
fn a_udp_flow_that_moves_elsewhere_did_not_have_its_time() {
    let spec = spec(Mode::Nat, Protocol::UDP);
    let mut world = World::new(&spec);
    ask(&mut world, 1);
    world.swap(with_12_instead(&spec));
    assert_eq!(ask(&mut world, 1).out[0].1[5], 12);
    world.pass(FOREVER);
    assert_eq!(outcomes(&world), (1, 0, 0));
    assert_eq!(outcomes_of(&world, 1, 1).unanswered, 1);
}

#[test]
fn a_flow_that_is_evicted_did_not_have_its_time() {
    let mut world = World::with_flows(&spec(Mode::Dr, Protocol::TCP), 8);
    // Two of these make room for those who answer.
    for n in 1..=2 {
        send(&mut world, n, SYN);
    }
    for n in 3..=10 {
        send(&mut world, n, SYN);
        send(&mut world, n, ACK);
    }
    assert_eq!(world.counters().flows_half_open.value(), 0);
    assert_eq!(outcomes(&world), (10, 0, 0));
    world.pass(SYN_RECV);
    assert_eq!(outcomes(&world), (10, 0, 0));
}

#[test]
fn a_slot_that_changes_hands_counts_from_zero_and_tells_its_owners_apart() {
    let spec = spec(Mode::Nat, Protocol::TCP);
    let mut world = World::new(&spec);
    send(&mut world, 1, SYN);
    world.pass(SYN_RECV);
    send(&mut world, 2, SYN);
    send(&mut world, 3, SYN);
    assert_eq!(outcomes(&world), (3, 1, 0));
    let new = || {
        let mut tables = spec.tables(2);
        tables.servers[0].as_mut().unwrap().id.generation = 2;
        tables
    };
    assert_eq!(outcomes_of(&world, 0, 2), Outcomes::default(), "not yet");
    world.swap(without_server(&spec));
    assert_eq!(outcomes(&world), (3, 1, 0), "the same server may come back");
    world.swap(new());
    assert_eq!(
        outcomes_of(&world, 0, 1),
        Outcomes::default(),
        "not any more"
    );
    assert_eq!(outcomes_of(&world, 0, 2), Outcomes::default());
    reply(&mut world, 3, RST);
    world.pass(FOREVER);
    assert_eq!(
        outcomes_of(&world, 0, 2),
        Outcomes::default(),
        "flows of the old server are nobody's"
    );
    assert_eq!(outcomes_of(&world, 9999, 1), Outcomes::default());
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    Client { n: u8, flags: u8 },
    Server { n: u8, flags: u8 },
    Ask { n: u8 },
    Answer { n: u8 },
    Unreachable { n: u8 },
    Pass { seconds: u64 },
    Remove,
    Return,
    HandOver,
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop::sample::select(vec![SYN, SYN_ACK, ACK, FIN_ACK, RST, RST | ACK, 0]);
    let n = 1..6_u8;
    prop_oneof![
        6 => (n.clone(), flags.clone()).prop_map(|(n, flags)| Step::Client { n, flags }),
        4 => (n.clone(), flags).prop_map(|(n, flags)| Step::Server { n, flags }),
        2 => n.clone().prop_map(|n| Step::Ask { n }),
        1 => n.clone().prop_map(|n| Step::Answer { n }),
        1 => n.prop_map(|n| Step::Unreachable { n }),
        2 => (1..90_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => prop::sample::select(vec![Step::Remove, Step::Return, Step::HandOver]),
    ]
}

/// A TCP and a UDP service, each with one server, to which anything may happen.
struct Play {
    spec: Spec,
    world: World,
    /// Of both servers' slots.
    generation: u32,
    /// Each client's last segment that reached a server.
    last: [Option<Sent>; 6],
    /// What was read last.
    before: [Outcomes; 2],
}

impl Play {
    fn new(mode: Mode, flows: usize) -> Self {
        let mut spec = spec(mode, Protocol::TCP);
        let udp = self::spec(mode, Protocol::UDP);
        spec.services.extend(udp.services);
        Self {
            world: World::with_flows(&spec, flows),
            spec,
            generation: 1,
            last: [const { None }; 6],
            before: [Outcomes::default(); 2],
        }
    }

    fn take(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Client { n, flags } => {
                let sent = send(world, n, flags);
                let arrived = matches!(sent.verdict, Verdict::Forward(_));
                self.last[usize::from(n)] = arrived.then_some(sent);
            }
            Step::Server { n, flags } => {
                reply(world, n, flags);
            }
            Step::Ask { n } => {
                ask(world, n);
            }
            Step::Answer { n } => {
                world.send(1, TestFrame::new(&udp_reply(client(n), 80, 11)));
            }
            Step::Unreachable { n } => {
                if let Some(sent) = self.last[usize::from(n)].take() {
                    world.send(1, error(&sent, SERVER, Report::PortUnreachable));
                }
            }
            Step::Pass { seconds } => world.pass(Duration::from_secs(seconds)),
            Step::Remove => self.publish(false),
            Step::Return => self.publish(true),
            Step::HandOver => {
                self.generation += 1;
                self.before = Default::default();
                self.publish(true);
            }
        }
    }

    fn publish(&mut self, present: bool) {
        let mut tables = self.spec.tables(2);
        for slot in &mut tables.servers {
            let mut server = slot.take().filter(|_| present);
            if let Some(server) = &mut server {
                server.id.generation = self.generation;
            }
            *slot = server;
        }
        self.world.swap(tables);
    }

    fn check(&mut self) {
        for (slot, before) in (0_u32..).zip(&mut self.before) {
            let now = outcomes_of(&self.world, slot, self.generation);
            assert!(now.unanswered + now.reset <= now.connections, "{now:?}");
            let grows = now.connections >= before.connections
                && now.unanswered >= before.unanswered
                && now.reset >= before.reset;
            assert!(grows, "{before:?} then {now:?}");
            *before = now;
            let former = outcomes_of(&self.world, slot, self.generation - 1);
            assert_eq!(former, Outcomes::default(), "a slot has one owner");
        }
    }
}

proptest! {
    #[test]
    fn no_flow_fails_more_than_once_whatever_is_sent(
        mode in prop::sample::select(vec![Mode::Dr, Mode::Nat]),
        flows in prop::sample::select(vec![2_usize, 64]),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut play = Play::new(mode, flows);
        for step in steps {
            play.take(step);
            play.check();
        }
        play.take(Step::Pass { seconds: FOREVER.as_secs() });
        play.check();
        if mode == Mode::Dr {
            prop_assert_eq!(play.before.map(|seen| seen.reset), [0, 0], "nobody could see");
        }
    }
}
