//! The straight line against the stages that know every case: whatever a frame is like, both do
//! the same to it, to its flow and to the counters.
//!
//! Frames that a device received may take the straight line; frames that another worker handed over
//! never do. So every frame goes through two engines, once each way.

mod twins;

use std::time::Duration;

use weir_engine::Ingress;
use weir_engine::id::{DeviceId, WorkerId};
use weir_engine::tables::{Lanes, Mode, OwnAddresses};
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::ip;
use weir_engine::verdict::Verdict;
use weir_wire::addr::MacAddr;

use crate::twins::{ACK, PREFIXES, SYN, Twins, VIPS, seal, spec, to_vip, variants};

/// Sends everything some times over, and lets all flows end.
fn exhaust(twins: &mut Twins) -> usize {
    let mut forwarded = 0;
    for _ in 0..3 {
        for (device, frame) in variants() {
            let verdict = twins.send(device, &TestFrame::new(&frame));
            forwarded += usize::from(matches!(verdict, Verdict::Forward(_)));
        }
        twins.pass(Duration::from_secs(5));
    }
    twins.pass(Duration::from_secs(3600));
    forwarded
}

#[test]
fn every_kind_of_packet_fares_alike_before_and_after_its_flow_exists() {
    assert!(exhaust(&mut Twins::new(&spec())) > 400);
}

#[test]
fn workers_that_share_the_clients_make_no_difference() {
    let mut spec = spec();
    spec.workers = 3;
    let workers = (0..3).map(|worker| Twins::of_worker(&spec, 1024, WorkerId(worker)));
    let forwarded: Vec<_> = workers.map(|mut twins| exhaust(&mut twins)).collect();
    assert!(forwarded.iter().sum::<usize>() > 400, "{forwarded:?}");
}

#[test]
fn tables_that_nobody_sealed_make_no_difference() {
    let mut twins = Twins::new(&spec());
    let tables = &mut twins.straight.tables;
    tables.lanes = Lanes::default();
    (tables.v4.far, tables.v6.far) = (None, None);
    (tables.v4.own, tables.v6.own) = (OwnAddresses::default(), OwnAddresses::default());
    assert!(exhaust(&mut twins) > 400);
}

#[test]
fn tags_and_mtus_of_the_way_out_make_no_difference() {
    for mtu in [1500, 1400, 600] {
        for vlan in [None, Some(7)] {
            let mut spec = spec();
            spec.ports[1].mtu = mtu;
            spec.ports[1].vlan = vlan;
            assert!(exhaust(&mut Twins::new(&spec)) > 150);
        }
    }
}

#[test]
fn clients_nearby_make_no_difference() {
    let client_mac = MacAddr([2, 0, 0, 0, 7, 7]);
    for known in [true, false] {
        let mut spec = spec();
        let own = [("172.16.0.8", 24), ("2001:db8:77::8", 64)];
        for ((_, _, client), (own, prefix)) in PREFIXES.into_iter().zip(own) {
            spec.ports[0].addresses.push((ip(own), prefix));
            if known {
                spec.neighbours.push((0, ip(client), client_mac));
            }
        }
        let forwarded = exhaust(&mut Twins::new(&spec));
        assert!(forwarded > if known { 400 } else { 150 }, "{forwarded}");
    }
}

#[test]
fn a_way_out_that_changes_makes_no_difference_to_replies() {
    for (vlan, mtu, mac) in [(Some(5), 1500, 0xfe), (None, 600, 0xfe), (None, 1500, 0x77)] {
        let mut twins = Twins::new(&spec());
        let mut changed = spec();
        (changed.ports[0].vlan, changed.ports[0].mtu) = (vlan, mtu);
        for (port, _, neighbour) in &mut changed.neighbours {
            neighbour.0[5] = if *port == 0 { mac } else { neighbour.0[5] };
        }
        for (family, vip) in (0..2).flat_map(|family| VIPS.map(|vip| (family, vip))) {
            twins.begin(family, vip);
        }
        for world in [&mut twins.straight, &mut twins.whole] {
            world.swap(changed.tables(2));
        }
        let mut forwarded = 0;
        for (device, frame) in variants().into_iter().filter(|(device, _)| *device == 1) {
            let verdict = twins.send(device, &TestFrame::new(&frame));
            forwarded += usize::from(matches!(verdict, Verdict::Forward(_)));
        }
        assert!(forwarded > 20, "{forwarded}");
    }
}

#[test]
fn a_server_of_another_mode_makes_no_difference_to_flows() {
    let mut twins = Twins::new(&spec());
    for (family, vip) in (0..2).flat_map(|family| VIPS.map(|vip| (family, vip))) {
        twins.begin(family, vip);
    }
    let mut changed = spec();
    let modes = [Mode::Nat, Mode::Tunnel, Mode::Dr];
    for (mode, service) in modes.into_iter().cycle().zip(&mut changed.services) {
        for server in &mut service.servers {
            server.mode = mode;
        }
    }
    for world in [&mut twins.straight, &mut twins.whole] {
        world.swap(changed.tables(2));
    }
    assert!(exhaust(&mut twins) > 100);
}

#[test]
fn servers_that_are_gone_and_neighbours_that_are_not_known_make_no_difference() {
    let mut twins = Twins::new(&spec());
    for family in [0, 1] {
        for vip in VIPS {
            twins.begin(family, vip);
        }
    }
    let mut changed = spec();
    changed.neighbours.remove(0);
    changed.services.truncate(8);
    changed.services[2].servers.truncate(1);
    for world in [&mut twins.straight, &mut twins.whole] {
        world.swap(changed.tables(2));
    }
    assert!(exhaust(&mut twins) > 100);
}

#[test]
fn every_octet_of_the_headers_may_be_anything() {
    let mut twins = Twins::new(&spec());
    for (family, vip) in (0..2).flat_map(|family| VIPS.map(|vip| (family, vip))) {
        for ends in twins.begin(family, vip) {
            let (syn, ack) = (ends.segment(SYN, b""), ends.segment(ACK, b"data"));
            for base in [ends.datagram(0xbeef, &[7; 18]), syn, ack] {
                for at in 0..base.len().min(74) {
                    for value in [0, 1, 2, 0x11, 0x45, 0x60, 0x7f, 0x80, 0xff, base[at] ^ 0x40] {
                        let mut frame = base.clone();
                        frame[at] = value;
                        twins.send(ends.device, &TestFrame::new(&frame));
                        if (14..34).contains(&at) && !(24..26).contains(&at) {
                            seal(&mut frame);
                            twins.send(ends.device, &TestFrame::new(&frame));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn padding_truncation_segments_and_headroom_make_no_difference() {
    let mut twins = Twins::new(&spec());
    for (family, vip) in (0..2).flat_map(|family| VIPS.map(|vip| (family, vip))) {
        for ends in twins.begin(family, vip) {
            let (udp, tcp) = (ends.datagram(0xbeef, b"x"), ends.segment(ACK, b"x"));
            for base in [udp, ends.segment(SYN, b""), tcp] {
                let mut padded = base.clone();
                padded.resize(60.max(base.len() + 3), 0xa5);
                for frame in [&base, &padded] {
                    for len in 0..=frame.len() {
                        twins.send(ends.device, &TestFrame::new(&frame[..len]));
                    }
                    for at in 0..frame.len() {
                        twins.send(ends.device, &TestFrame::new(frame).split_at(at));
                    }
                    for octets in [0, 10, 20, 40] {
                        let frame = TestFrame::new(frame).with_headroom(octets);
                        twins.send(ends.device, &frame);
                    }
                }
            }
        }
    }
}

#[test]
fn a_burst_whose_first_packet_starts_the_flow_of_the_others_finds_it() {
    for family in [0, 1] {
        let mut twins = Twins::new(&spec());
        let ends = to_vip(family, 9);
        let frames = [b"a", b"b", b"c"].map(|data| ends.datagram(0xbeef, data));
        let mut burst = frames.each_ref().map(|frame| TestFrame::new(frame));
        let world = &mut twins.straight;
        let first = world.burst(Ingress::Device(DeviceId(0)), &mut burst);
        assert_eq!(first[0], first[1]);
        assert_eq!(first[0], first[2]);
        assert_eq!(twins.straight.counters().flows.value(), 1);
    }
}

#[test]
fn a_full_table_makes_no_difference() {
    for flows in [1, 4, 16] {
        let mut twins = Twins::with_flows(&spec(), flows);
        for port in 1..200_u16 {
            for family in [0, 1] {
                for (vip, _) in VIPS {
                    let ends = to_vip(family, vip);
                    for mut frame in [ends.segment(SYN, b""), ends.datagram(0xbeef, b"x")] {
                        let l4 = [34, 54][family];
                        frame[l4..l4 + 2].copy_from_slice(&(port % 50).to_be_bytes());
                        twins.send(0, &TestFrame::new(&frame));
                    }
                }
            }
            twins.pass(Duration::from_secs(u64::from(port % 7)));
        }
        assert!(twins.straight.counters().flow_insert_failures.value() > 100);
    }
}

#[test]
fn a_flood_of_syns_makes_no_difference() {
    for flows in [16, 64, 256] {
        let mut twins = Twins::with_flows(&spec(), flows);
        for port in 1..600_u16 {
            for family in [0, 1] {
                for (vip, _) in VIPS {
                    let ends = to_vip(family, vip);
                    let l4 = [34, 54][family];
                    // Few go on, some come again.
                    let flags = [SYN, SYN, SYN, ACK, SYN, 0x11, SYN, 0x04][usize::from(port % 8)];
                    let mut frame = ends.segment(flags, b"");
                    frame[l4..l4 + 2].copy_from_slice(&(port / 3 + 1).to_be_bytes());
                    twins.send(0, &TestFrame::new(&frame));
                }
            }
            if port % 100 == 0 {
                twins.pass(Duration::from_secs(u64::from(port % 7) * 10));
            }
        }
        assert!(twins.straight.counters().flows_deferred.value() > 30);
    }
}
