//! Floods of SYNs: once the table is full they leave its flows alone, and whoever answers gets a
//! flow.

mod frames;

use core::net::Ipv4Addr;
use std::time::Duration;

use frames::Tcp;
use weir_engine::explain::Query;
use weir_engine::flow::FlowState;
use weir_engine::flow::tcp::TcpState;
use weir_engine::tables::Mode;
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::{Sent, ServiceSpec, Spec, World, ip};
use weir_engine::verdict::{DropReason, PuntClass, Verdict};
use weir_wire::addr::{L4Port, Protocol};

const VIP: &str = "10.9.9.9";
const CAPACITY: usize = 64;
const MODES: [Mode; 3] = [Mode::Dr, Mode::Nat, Mode::Tunnel];

fn spec(mode: Mode) -> Spec {
    Spec::standard().with(ServiceSpec::tcp(VIP, 80, mode, &[11, 12]))
}

/// One of many clients.
fn client(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(172, 16, 0, 0).to_bits() + n)
}

fn send(world: &mut World, segment: Tcp) -> Sent {
    world.send(0, TestFrame::new(&segment.frame()))
}

/// The number of the server that a segment comes to.
fn server(world: &mut World, segment: Tcp) -> u8 {
    let sent = send(world, segment);
    let forwarded = matches!(sent.verdict, Verdict::Forward(_));
    assert!(forwarded, "{:?}", sent.verdict);
    sent.out[0].1[5]
}

fn state_of(world: &World, client: Ipv4Addr) -> Option<FlowState> {
    let flow = world.flows().into_iter();
    let mut own = flow.filter(|flow| flow.client.0 == client);
    own.next().map(|flow| flow.state)
}

/// SYNs of clients that say nothing more.
fn flood(world: &mut World, count: u32) {
    for n in 0..count {
        server(world, Tcp::syn(client(10_000 + n)));
    }
}

/// A world in the midst of a flood.
fn flooded(spec: &Spec) -> World {
    let mut world = World::with_flows(spec, CAPACITY);
    flood(&mut world, 1000);
    world
}

#[test]
fn d60_a_flood_into_a_full_table_moves_nothing_and_whoever_answers_gets_a_flow() {
    for mode in MODES {
        let mut world = World::with_flows(&spec(mode), CAPACITY);
        let mut own = Vec::new();
        for n in 0..16 {
            let first = server(&mut world, Tcp::syn(client(n)));
            server(&mut world, Tcp::ack(client(n)));
            own.push(first);
        }
        flood(&mut world, 1000);
        world.engine.expire(world.now, 0);
        let counters = world.counters();
        assert_eq!(counters.flows_half_open.value(), 48, "{mode:?}");
        assert_eq!(counters.flows_deferred.value(), 952);
        assert_eq!(counters.flow_insert_failures.value(), 0);
        let full = (&counters.flow_tables_full, &counters.flow_tables_flooded);
        assert_eq!((full.0.value(), full.1.value()), (1, 1));
        assert_eq!(counters.services[0].connections.value(), 64);
        // More new clients than one, and both servers get some.
        let mut servers = Vec::new();
        for n in 100..120 {
            let first = server(&mut world, Tcp::syn(client(n)));
            assert_eq!(state_of(&world, client(n)), None);
            assert_eq!(server(&mut world, Tcp::syn(client(n))), first, "once more");
            assert_eq!(server(&mut world, Tcp::ack(client(n))), first);
            let established = Some(FlowState::Tcp(TcpState::Established));
            assert_eq!(state_of(&world, client(n)), established);
            assert_eq!(server(&mut world, Tcp::ack(client(n))), first);
            servers.push(first);
        }
        assert!(servers.contains(&11) && servers.contains(&12));
        for (n, first) in (0..16).zip(own) {
            assert_eq!(server(&mut world, Tcp::ack(client(n))), first);
        }
        assert_eq!(world.counters().flow_insert_failures.value(), 0);
    }
}

#[test]
fn d60_a_nat_server_s_answer_to_a_deferred_syn_finds_its_client() {
    let mut world = flooded(&spec(Mode::Nat));
    let first = server(&mut world, Tcp::syn(client(1)));
    let syn_ack = Tcp::with_flags(client(1), 0x12).reply(first);
    let sent = world.send(1, TestFrame::new(&syn_ack));
    assert!(matches!(sent.verdict, Verdict::Forward(_)));
    assert_eq!(sent.out[0].1[26..30], [10, 9, 9, 9]);
    assert_eq!(server(&mut world, Tcp::ack(client(1))), first);
}

#[test]
fn d60_half_open_flows_leave_within_a_minute_and_the_scheduler_is_back() {
    let mut world = flooded(&spec(Mode::Dr));
    let stray = Tcp::ack(client(9));
    assert!(matches!(
        send(&mut world, stray).verdict,
        Verdict::Forward(_)
    ));
    world.pass(Duration::from_secs(61));
    assert_eq!(world.counters().flow_tables_full.value(), 0);
    let deferred = world.counters().flows_deferred.value();
    for n in 200..202 {
        server(&mut world, Tcp::syn(client(n)));
        let half_open = Some(FlowState::Tcp(TcpState::SynRecv));
        assert_eq!(state_of(&world, client(n)), half_open);
    }
    assert_eq!(world.counters().flows_deferred.value(), deferred);
    // What comes without a flow now was never deferred.
    let sent = send(&mut world, Tcp::ack(client(300)));
    assert_eq!(sent.verdict, Verdict::Drop(DropReason::NoFlow));
}

#[test]
fn d60_where_replies_are_ambiguous_flows_begin_with_their_syn_in_any_case() {
    let mut world = World::with_flows(&spec(Mode::Nat), CAPACITY);
    for server in world.tables.servers.iter_mut().flatten() {
        server.stateless = false;
    }
    flood(&mut world, 1000);
    assert_eq!(world.counters().flows_deferred.value(), 0);
    assert_eq!(world.flows().len(), CAPACITY, "the oldest make room");
}

#[test]
fn d60_what_cannot_be_told_without_a_flow_is_reset_as_ever_or_scheduled_where_sloppy() {
    for sloppy in [false, true] {
        let mut spec = spec(Mode::Nat).with(ServiceSpec::tcp("10.9.9.8", 80, Mode::Dr, &[11, 12]));
        spec.services[0].sloppy = sloppy;
        let mut world = flooded(&spec);
        for server in world.tables.servers.iter_mut().flatten() {
            server.stateless = server.mode == Mode::Dr;
        }
        assert!(world.counters().flows_deferred.value() > 0);
        let sent = send(&mut world, Tcp::ack(client(1)));
        if sloppy {
            assert!(matches!(sent.verdict, Verdict::Forward(_)));
        } else {
            assert_eq!(sent.verdict, Verdict::Drop(DropReason::NoFlow));
            assert_eq!(sent.out[0].1[47], 0x04, "RST");
        }
    }
}

#[test]
fn d60_a_host_whose_address_was_forged_resets_what_it_did_not_ask_for() {
    for mode in MODES {
        let mut world = flooded(&spec(mode));
        let first = server(&mut world, Tcp::syn(client(1)));
        let reset = Tcp::with_flags(client(1), 0x04);
        assert_eq!(server(&mut world, reset), first);
        assert_eq!(state_of(&world, client(1)), None);
    }
}

#[test]
fn d56_d60_a_server_s_own_datagrams_are_its_own_in_a_flood_too() {
    let mut names = ServiceSpec::tcp("10.9.9.9", 53, Mode::Nat, &[11, 12]);
    names.protocol = Protocol::UDP;
    let mut world = flooded(&spec(Mode::Dr).with(names));
    assert!(world.counters().flows_deferred.value() > 0);
    let own = frames::udp_reply(client(7), 53, 11);
    let verdict = world.send(1, TestFrame::new(&own)).verdict;
    assert_eq!(verdict, Verdict::Punt(PuntClass::Routed));
}

#[test]
fn d60_only_what_is_forwarded_was_deferred() {
    let mut world = flooded(&spec(Mode::Dr));
    let before = world.counters().flows_deferred.value();
    let mut frame = Tcp::syn(client(1)).frame();
    frame[22] = 1;
    frames::fix_ip(&mut frame);
    let verdict = world.send(0, TestFrame::new(&frame)).verdict;
    assert_eq!(verdict, Verdict::Drop(DropReason::TtlExpired));
    assert_eq!(world.counters().flows_deferred.value(), before);
}

#[test]
fn d53_d60_a_syn_on_a_closing_flow_begins_anew_in_a_flood_too() {
    let mut world = World::with_flows(&spec(Mode::Dr), CAPACITY);
    server(&mut world, Tcp::syn(client(1)));
    server(&mut world, Tcp::ack(client(1)));
    server(&mut world, Tcp::fin(client(1)));
    flood(&mut world, 1000);
    let first = server(&mut world, Tcp::syn(client(1)));
    let half_open = Some(FlowState::Tcp(TcpState::SynRecv));
    assert_eq!(state_of(&world, client(1)), half_open);
    assert_eq!(server(&mut world, Tcp::ack(client(1))), first);
}

#[test]
fn d55_d60_a_sloppy_service_sends_a_deferred_flow_where_its_syn_went() {
    let mut spec = spec(Mode::Dr);
    spec.services[0].sloppy = true;
    let mut world = flooded(&spec);
    for n in 0..20 {
        let first = server(&mut world, Tcp::syn(client(n)));
        assert_eq!(server(&mut world, Tcp::ack(client(n))), first);
    }
}

#[test]
fn explain_names_the_consistent_hash_in_a_flood() {
    let mut world = flooded(&spec(Mode::Dr));
    let syn = Tcp::syn(client(1));
    let query = Query {
        protocol: Protocol::TCP,
        source: (syn.source.into(), L4Port(40_001)),
        destination: (ip(VIP), L4Port(80)),
        port: None,
    };
    let walk = world.engine.explain(&world.tables, world.now, &query);
    let mut steps = walk.steps.iter();
    let step = steps.find(|step| step.stage == "scheduler");
    let step = step.expect("it says who chose");
    assert_eq!(step.result, "consistent hash");
    assert!(step.detail.contains("flood of SYNs"), "{}", step.detail);
    let said = walk.server.expect("a server takes it");
    let last = server(&mut world, syn);
    assert_eq!(&*said, format!("10.1.0.{last}"));
}
