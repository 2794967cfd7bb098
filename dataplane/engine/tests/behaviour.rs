//! What the engine does, told frame by frame: flows, servers that come and go, answers, limits.
//! Fragments and workers are in `workers.rs`, replays of real IPVS in `golden.rs`.

mod frames;

use std::time::Duration;

use frames::{Tcp, client, echo, mac_of, udp, udp_reply};
use weir_engine::Ingress;
use weir_engine::flow::FlowState;
use weir_engine::flow::tcp::TcpState;
use weir_engine::id::{DeviceId, PortId};
use weir_engine::scheduler::SchedulerKind;
use weir_engine::tables::{Mode, OnServerGone, Role, Unserved, Vip};
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::{Sent, ServiceSpec, Spec, World, ip};
use weir_engine::verdict::{DropReason, PuntClass, Verdict, Wait};
use weir_wire::addr::Protocol;

const VIP: &str = "10.9.9.9";

fn spec(mode: Mode) -> Spec {
    Spec::standard().with(ServiceSpec::tcp(VIP, 80, mode, &[11, 12]))
}

fn udp_spec(mode: Mode) -> Spec {
    let mut service = ServiceSpec::tcp(VIP, 53, mode, &[11, 12]);
    service.protocol = Protocol::UDP;
    Spec::standard().with(service)
}

/// Sends a client's frame in by the port that faces clients.
fn send(world: &mut World, frame: &[u8]) -> Sent {
    world.send(0, TestFrame::new(frame))
}

/// The last octet of the server's MAC, and so its number.
fn server(sent: &Sent) -> u8 {
    assert!(
        matches!(sent.verdict, Verdict::Forward(_)),
        "{:?}",
        sent.verdict
    );
    sent.out[0].1[5]
}

fn gauges(world: &World, server: usize) -> (u32, u32) {
    let counters = &world.counters().servers[server];
    (counters.active.value(), counters.inactive.value())
}

#[test]
fn d46_direct_routing_changes_macs_ttl_and_ip_checksum_only() {
    let mut world = World::new(&spec(Mode::Dr));
    let frame = Tcp::syn(client(1)).frame();
    let sent = send(&mut world, &frame);
    let out = &sent.out[0].1;
    assert_eq!(sent.verdict, Verdict::Forward(PortId(1)));
    assert_eq!(
        &out[..6],
        &mac_of(12),
        "rr begins with the server listed last"
    );
    assert_eq!(out[22], 63);
    assert_eq!(
        (&out[14..22], &out[23..24]),
        (&frame[14..22], &frame[23..24])
    );
    assert_eq!(&out[26..], &frame[26..]);
}

#[test]
fn a_flow_stays_with_its_server_and_counts_as_ipvs_counts() {
    let mut world = World::new(&spec(Mode::Dr));
    let first = server(&send(&mut world, &Tcp::syn(client(1)).frame()));
    assert_eq!(gauges(&world, 1), (1, 0), "SYN_RECV is active");
    for _ in 0..3 {
        assert_eq!(
            server(&send(&mut world, &Tcp::ack(client(1)).frame())),
            first
        );
    }
    assert_eq!(
        server(&send(&mut world, &Tcp::fin(client(1)).frame())),
        first
    );
    assert_eq!(gauges(&world, 1), (0, 1), "FIN_WAIT is inactive");
    let counters = &world.counters().servers[1];
    assert_eq!(
        (
            counters.incoming.packets.value(),
            counters.connections.value()
        ),
        (5, 1)
    );
    assert_eq!(world.counters().services[0].incoming.bytes.value(), 5 * 40);
    world.pass(Duration::from_secs(121));
    assert_eq!(
        (gauges(&world, 1), world.counters().flows.value()),
        ((0, 0), 0)
    );
    assert_eq!(world.counters().flows_expired.value(), 1);
}

#[test]
fn two_packets_of_a_new_flow_in_one_burst_find_the_same_server() {
    let mut world = World::new(&spec(Mode::Dr));
    let frames = [Tcp::syn(client(1)).frame(), Tcp::ack(client(1)).frame()];
    let mut frames = frames.map(|frame| TestFrame::new(&frame));
    let verdicts = world.burst(Ingress::Device(DeviceId(0)), &mut frames);
    assert_eq!(verdicts, [Verdict::Forward(PortId(1)); 2]);
    assert_eq!(frames[0].bytes()[..6], frames[1].bytes()[..6]);
    assert_eq!(world.flows().len(), 1);
}

#[test]
fn d53_a_syn_on_a_closing_flow_is_rescheduled_and_forwarded() {
    let mut world = World::new(&spec(Mode::Dr));
    let first = server(&send(&mut world, &Tcp::syn(client(1)).frame()));
    send(&mut world, &Tcp::ack(client(1)).frame());
    assert_eq!(
        server(&send(&mut world, &Tcp::syn(client(1)).frame())),
        first,
        "ESTABLISHED"
    );
    send(&mut world, &Tcp::fin(client(1)).frame());
    let again = server(&send(&mut world, &Tcp::syn(client(1)).frame()));
    assert_ne!(again, first);
    let all = world.flows();
    assert_eq!(
        (all.len(), all[0].state),
        (1, FlowState::Tcp(TcpState::SynRecv))
    );
    assert_eq!((gauges(&world, 0), gauges(&world, 1)), ((1, 0), (0, 0)));
}

#[test]
fn d53_a_closing_flow_of_a_drained_server_starts_anew_elsewhere() {
    let mut world = World::new(&spec(Mode::Dr));
    let first = server(&send(&mut world, &Tcp::syn(client(1)).frame()));
    assert_eq!(first, 12);
    send(&mut world, &Tcp::fin(client(1)).frame());
    let mut drained = spec(Mode::Dr);
    drained.services[0].servers[1].weight = 0;
    world.swap(drained.tables(2));
    assert_eq!(server(&send(&mut world, &Tcp::syn(client(1)).frame())), 11);
}

#[test]
fn d61_a_drained_server_keeps_its_flows_and_gets_no_new_ones() {
    let mut world = World::new(&spec(Mode::Dr));
    assert_eq!(server(&send(&mut world, &Tcp::syn(client(1)).frame())), 12);
    let mut drained = spec(Mode::Dr);
    drained.services[0].servers[1].weight = 0;
    world.swap(drained.tables(2));
    assert_eq!(server(&send(&mut world, &Tcp::ack(client(1)).frame())), 12);
    for n in 2..6 {
        assert_eq!(server(&send(&mut world, &Tcp::syn(client(n)).frame())), 11);
    }
}

/// Tables without server 12, whose slot is free.
fn without_12(spec: &Spec) -> weir_engine::tables::Tables {
    let mut drained = spec.clone();
    drained.services[0].servers[1].weight = 0;
    let mut tables = drained.tables(2);
    tables.servers[1] = None;
    tables
}

#[test]
fn d54_packets_for_a_removed_server_follow_the_policy_and_syns_are_rescheduled() {
    let policies = [
        OnServerGone::Drop,
        OnServerGone::Reset,
        OnServerGone::Reschedule,
    ];
    for (policy, answers) in policies.into_iter().zip([0, 1, 1]) {
        let mut spec = spec(Mode::Dr);
        spec.services[0].on_server_gone = policy;
        let mut world = World::new(&spec);
        assert_eq!(server(&send(&mut world, &Tcp::syn(client(1)).frame())), 12);
        send(&mut world, &Tcp::ack(client(1)).frame());
        world.swap(without_12(&spec));
        let sent = send(&mut world, &Tcp::ack(client(1)).frame());
        assert_eq!(sent.out.len(), answers, "{policy:?}");
        if policy == OnServerGone::Reschedule {
            assert_eq!(server(&sent), 11);
        } else {
            assert_eq!(sent.verdict, Verdict::Drop(DropReason::ServerGone));
        }
        assert_eq!(server(&send(&mut world, &Tcp::syn(client(1)).frame())), 11);
    }
}

#[test]
fn d62_a_server_that_returns_to_its_slot_gets_its_flows_back() {
    let spec = spec(Mode::Dr);
    let mut world = World::new(&spec);
    assert_eq!(server(&send(&mut world, &Tcp::syn(client(1)).frame())), 12);
    send(&mut world, &Tcp::ack(client(1)).frame());
    world.swap(without_12(&spec));
    assert_eq!(
        send(&mut world, &Tcp::ack(client(1)).frame()).verdict,
        Verdict::Drop(DropReason::ServerGone)
    );
    world.swap(spec.tables(3));
    assert_eq!(server(&send(&mut world, &Tcp::ack(client(1)).frame())), 12);
    assert_eq!(gauges(&world, 1), (1, 0));
}

#[test]
fn a_slot_that_changes_hands_gets_none_of_the_old_servers_flows() {
    let spec = spec(Mode::Dr);
    let mut world = World::new(&spec);
    assert_eq!(server(&send(&mut world, &Tcp::syn(client(1)).frame())), 12);
    send(&mut world, &Tcp::ack(client(1)).frame());
    let mut tables = spec.tables(2);
    tables.servers[1].as_mut().unwrap().id.generation = 2;
    world.swap(tables);
    assert_eq!(gauges(&world, 1), (0, 0), "counters of the slot begin anew");
    assert_eq!(
        send(&mut world, &Tcp::ack(client(1)).frame()).verdict,
        Verdict::Drop(DropReason::ServerGone)
    );
    world.pass(Duration::from_secs(1000));
    assert_eq!(
        gauges(&world, 1),
        (0, 0),
        "the old flow's end is not the new server's"
    );
}

#[test]
fn d59_udp_to_a_removed_server_is_rescheduled_at_once() {
    let spec = udp_spec(Mode::Dr);
    let mut world = World::new(&spec);
    assert_eq!(server(&send(&mut world, &udp(client(1), 53, b"?"))), 12);
    assert_eq!(server(&send(&mut world, &udp(client(1), 53, b"?"))), 12);
    world.swap(without_12(&spec));
    assert_eq!(server(&send(&mut world, &udp(client(1), 53, b"?"))), 11);
}

#[test]
fn d55_a_segment_in_mid_stream_starts_a_flow_only_where_sloppy() {
    let mut world = World::new(&spec(Mode::Dr));
    let sent = send(&mut world, &Tcp::ack(client(1)).frame());
    assert_eq!(
        (sent.verdict, sent.out.len()),
        (Verdict::Drop(DropReason::NoFlow), 1)
    );
    assert_eq!(sent.out[0].1[47], 0x04, "RST");
    let mut sloppy = spec(Mode::Dr);
    sloppy.services[0].sloppy = true;
    let mut world = World::new(&sloppy);
    assert_eq!(server(&send(&mut world, &Tcp::ack(client(1)).frame())), 12);
    let sent = send(&mut world, &Tcp::with_flags(client(2), 0x04).frame());
    assert_eq!(
        (sent.verdict, sent.out.len()),
        (Verdict::Drop(DropReason::NoFlow), 0)
    );
}

#[test]
fn d12_no_nonsense_creates_state() {
    let mut world = World::new(&spec(Mode::Dr));
    for flags in [0x00, 0x01, 0x03, 0x06, 0x07, 0x29, 0x3f, 0x2b] {
        let sent = send(&mut world, &Tcp::with_flags(client(1), flags).frame());
        let dropped = Verdict::Drop(DropReason::BogusTcpFlags);
        assert_eq!(sent.verdict, dropped, "flags {flags:#x}");
    }
    assert!(world.flows().is_empty());
}

#[test]
fn d11_sources_that_cannot_be_are_dropped() {
    let mut world = World::new(&spec(Mode::Dr));
    for source in [
        "127.0.0.1",
        "0.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        VIP,
        "10.0.0.1",
    ] {
        let frame = Tcp {
            source: source.parse().unwrap(),
            ..Tcp::syn(client(1))
        }
        .frame();
        let sent = send(&mut world, &frame);
        assert!(
            matches!(sent.verdict, Verdict::Drop(DropReason::MartianSource)),
            "{source}: {:?}",
            sent.verdict
        );
        assert!(sent.out.is_empty());
    }
}

#[test]
fn d41_a_backup_is_silent_and_unserved_may_be() {
    let mut spec = spec(Mode::Dr);
    let vip = |role, unserved| Vip {
        role,
        unserved,
        dip: None,
    };
    spec.vips = vec![(ip(VIP), vip(Role::Backup, Unserved::Answer))];
    let mut world = World::new(&spec);
    for frame in [Tcp::syn(client(1)).frame(), echo(client(1))] {
        let sent = send(&mut world, &frame);
        let silent = sent.out.is_empty();
        assert_eq!(
            (sent.verdict, silent),
            (Verdict::Drop(DropReason::Backup), true)
        );
    }
    spec.vips = vec![(ip(VIP), vip(Role::Active, Unserved::Drop))];
    world.swap(spec.tables(2));
    let sent = send(
        &mut world,
        &Tcp {
            port: 81,
            ..Tcp::syn(client(1))
        }
        .frame(),
    );
    let silent = sent.out.is_empty();
    assert_eq!(
        (sent.verdict, silent),
        (Verdict::Drop(DropReason::Unserved), true)
    );
    let sent = send(&mut world, &echo(client(1)));
    assert_eq!(
        (sent.verdict, sent.out.len()),
        (Verdict::Drop(DropReason::EchoAnswered), 1)
    );
}

#[test]
fn a_vip_that_is_a_dip_keeps_services_and_leaves_the_rest_to_the_kernel() {
    let mut spec = spec(Mode::Dr);
    let vip = Vip {
        role: Role::Active,
        unserved: Unserved::Answer,
        dip: Some(PortId(0)),
    };
    spec.vips = vec![(ip(VIP), vip)];
    let mut world = World::new(&spec);
    assert_eq!(server(&send(&mut world, &Tcp::syn(client(1)).frame())), 12);
    for frame in [
        Tcp {
            port: 22,
            ..Tcp::syn(client(1))
        }
        .frame(),
        echo(client(1)),
    ] {
        assert_eq!(
            send(&mut world, &frame).verdict,
            Verdict::Punt(PuntClass::Dip)
        );
    }
}

#[test]
fn d39_answers_are_limited_in_all_and_per_client() {
    let mut spec = spec(Mode::Dr);
    (spec.answers.per_second, spec.answers.per_client) = (10, 4);
    let mut world = World::new(&spec);
    let answers = |world: &mut World, n: u8| {
        (0..20)
            .map(|_| send(world, &echo(client(n))).out.len())
            .sum::<usize>()
    };
    let counts = [
        answers(&mut world, 1),
        answers(&mut world, 2),
        answers(&mut world, 3),
    ];
    assert_eq!(counts, [4, 4, 2]);
}

#[test]
fn d9_frames_to_other_macs_are_not_ours_and_d10_broadcast_carries_no_vip() {
    let mut world = World::new(&spec(Mode::Dr));
    let mut frame = Tcp::syn(client(1)).frame();
    frame[5] = 0x77;
    assert_eq!(
        send(&mut world, &frame).verdict,
        Verdict::Drop(DropReason::NotOurMac)
    );
    for mac in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
        frame[..6].copy_from_slice(&mac);
        let verdict = send(&mut world, &frame).verdict;
        assert_eq!(verdict, Verdict::Drop(DropReason::LinkBroadcast));
    }
}

#[test]
fn d7_tags_choose_the_port_and_leave_with_its_own() {
    let mut spec = spec(Mode::Dr);
    spec.ports[0].vlan = Some(100);
    spec.ports[1].vlan = Some(200);
    let mut world = World::new(&spec);
    let tagged = |vid: u16| {
        let mut frame = Tcp::syn(client(1)).frame();
        let [hi, lo] = vid.to_be_bytes();
        frame.splice(12..12, [0x81, 0x00, hi, lo]);
        frame
    };
    let sent = send(&mut world, &tagged(100));
    assert_eq!(sent.verdict, Verdict::Forward(PortId(1)));
    assert_eq!(sent.out[0].1[12..16], [0x81, 0, 0, 200]);
    for wrong in [0, 7] {
        let verdict = send(&mut world, &tagged(wrong)).verdict;
        assert_eq!(
            verdict,
            Verdict::Drop(DropReason::UnknownVlan),
            "VID {wrong}"
        );
    }
    let mut double = tagged(100);
    double.splice(12..12, [0x88, 0xa8, 0, 100]);
    assert_eq!(
        send(&mut world, &double).verdict,
        Verdict::Drop(DropReason::UnknownVlan)
    );
    // From tagged to untagged and with VID 0, which is no tag at all.
    spec.ports[0].vlan = None;
    spec.ports[1].vlan = None;
    world.swap(spec.tables(2));
    let sent = send(&mut world, &tagged(0));
    assert_eq!(sent.out[0].1[12..14], [8, 0]);
    assert_eq!(sent.out[0].1.len(), 54);
}

#[test]
fn d14_a_frame_larger_than_the_ports_mtu_is_dropped_and_counted() {
    let mut world = World::new(&udp_spec(Mode::Dr));
    let sent = send(&mut world, &udp(client(1), 53, &[0; 1473]));
    assert_eq!(sent.verdict, Verdict::Drop(DropReason::Oversize));
    assert_eq!(
        server(&send(&mut world, &udp(client(1), 53, &[0; 1472]))),
        12
    );
}

#[test]
fn d2_padding_does_not_travel() {
    for (mode, len) in [(Mode::Dr, 54), (Mode::Nat, 54), (Mode::Tunnel, 74)] {
        let mut world = World::new(&spec(mode));
        let mut frame = Tcp::syn(client(1)).frame();
        frame.extend([0xa5; 6]);
        assert_eq!(send(&mut world, &frame).out[0].1.len(), len, "{mode:?}");
    }
}

#[test]
fn d43_no_headroom_is_a_counted_drop() {
    let mut world = World::new(&spec(Mode::Tunnel));
    let frame = TestFrame::new(&Tcp::syn(client(1)).frame()).with_headroom(19);
    assert_eq!(
        world.send(0, frame).verdict,
        Verdict::Drop(DropReason::NoHeadroom)
    );
    let frame = TestFrame::new(&Tcp::ack(client(1)).frame()).with_headroom(20);
    assert_eq!(world.send(0, frame).verdict, Verdict::Forward(PortId(1)));
}

#[test]
fn d47_a_frame_for_an_unresolved_neighbour_is_held_unchanged_and_tried_again() {
    let mut spec = spec(Mode::Dr);
    let neighbours = core::mem::take(&mut spec.neighbours);
    let mut world = World::new(&spec);
    let frame = Tcp::syn(client(1)).frame();
    let sent = send(&mut world, &frame);
    assert_eq!(sent.verdict, Verdict::Hold(Wait::Neighbour));
    assert_eq!(
        world.outcome().neighbour(0),
        Some((PortId(1), ip("10.1.0.12")))
    );
    assert_eq!(sent.frame.bytes(), frame);
    assert!(world.flows().is_empty(), "what is held has started nothing");
    spec.neighbours = neighbours;
    world.swap(spec.tables(2));
    world.counters().held.set(0);
    world.counters().received.packets.set(0);
    let mut frames = [sent.frame];
    let verdicts = world.burst(Ingress::Released, &mut frames);
    assert_eq!(verdicts, [Verdict::Forward(PortId(1))]);
    assert_eq!(frames[0].bytes()[5], 12);
}

#[test]
fn d60_a_full_table_goes_on_without_state_and_refuses_nobody() {
    for mode in [Mode::Dr, Mode::Nat, Mode::Tunnel] {
        let mut world = World::with_flows(&spec(mode), 8);
        for n in 0..8 {
            send(&mut world, &Tcp::syn(client(n)).frame());
            send(&mut world, &Tcp::ack(client(n)).frame());
        }
        let servers: Vec<Vec<u8>> = (20..40)
            .map(|n| {
                let syn = send(&mut world, &Tcp::syn(client(n)).frame());
                let ack = send(&mut world, &Tcp::ack(client(n)).frame());
                assert_eq!(server(&syn), server(&ack), "{mode:?}: consistent");
                syn.out[0].1.clone()
            })
            .collect();
        assert!(
            servers.iter().any(|out| out[5] != servers[0][5]),
            "both servers are used"
        );
        assert_eq!(world.counters().flow_insert_failures.value(), 40);
        assert_eq!(world.flows().len(), 8, "established flows are safe");
    }
}

#[test]
fn d60_nat_whose_replies_are_ambiguous_is_refused_when_the_table_is_full() {
    let mut world = World::with_flows(&spec(Mode::Nat), 2);
    for n in 0..2 {
        send(&mut world, &Tcp::syn(client(n)).frame());
        send(&mut world, &Tcp::ack(client(n)).frame());
    }
    for server in world.tables.servers.iter_mut().flatten() {
        server.stateless = false;
    }
    let sent = send(&mut world, &Tcp::syn(client(9)).frame());
    assert_eq!(sent.verdict, Verdict::Drop(DropReason::FlowTableFull));
}

#[test]
fn d56_a_nat_reply_without_a_flow_is_rewritten_from_the_configuration() {
    let mut world = World::new(&spec(Mode::Nat));
    let reply = Tcp::ack(client(1)).reply(11);
    let sent = world.send(1, TestFrame::new(&reply));
    assert_eq!(sent.verdict, Verdict::Forward(PortId(0)));
    assert_eq!(sent.out[0].1[26..30], [10, 9, 9, 9]);
    // A SYN of the server's own is the kernel's to route, as is a datagram.
    let own = Tcp::syn(client(1)).reply(11);
    let verdict = world.send(1, TestFrame::new(&own)).verdict;
    assert_eq!(verdict, Verdict::Punt(PuntClass::Routed));
    let mut world = World::new(&udp_spec(Mode::Nat));
    let verdict = world
        .send(1, TestFrame::new(&udp_reply(client(1), 53, 11)))
        .verdict;
    assert_eq!(verdict, Verdict::Punt(PuntClass::Routed));
}

#[test]
fn d37_an_icmp_error_without_a_flow_follows_maglev() {
    let mut maglev = spec(Mode::Dr);
    maglev.services[0].scheduler = SchedulerKind::Maglev;
    for n in 0..8 {
        let (mut a, mut b) = (World::new(&maglev), World::new(&maglev));
        let chosen = server(&send(&mut a, &Tcp::syn(client(n)).frame()));
        let error = frames::frag_needed(client(n), 80, 1400);
        assert_eq!(server(&send(&mut b, &error)), chosen);
        assert!(b.flows().is_empty(), "D35: errors create nothing");
    }
    let mut world = World::new(&spec(Mode::Dr));
    let verdict = send(&mut world, &frames::frag_needed(client(1), 80, 1400)).verdict;
    assert_eq!(verdict, Verdict::Drop(DropReason::IcmpNoFlow));
}

#[test]
fn d35_an_icmp_error_neither_refreshes_nor_closes_a_flow() {
    let mut world = World::new(&spec(Mode::Dr));
    send(&mut world, &Tcp::syn(client(1)).frame());
    world.pass(Duration::from_secs(30));
    let before = world.flows();
    let sent = send(&mut world, &frames::frag_needed(client(1), 80, 1400));
    assert_eq!(server(&sent), 12);
    assert_eq!(world.flows(), before);
}
