//! Several frames at once, and what happens between them.

use std::sync::Arc;
use std::time::Duration;

use weir_engine::Ingress;
use weir_engine::id::{DeviceId, WorkerId};
use weir_engine::io::Io;
use weir_engine::note::Note;
use weir_engine::scheduler::SchedulerKind;
use weir_engine::testing::{TestFrame, TestIo};

use super::{ACK, SYN, Twins, VIPS, spec, to_vip, variants};

#[test]
fn first_segments_and_others_in_turn_fare_alike() {
    const TURNS: [(u16, u8); 9] = [
        (1, SYN),
        (1, ACK),
        (2, SYN),
        (1, ACK),
        (2, SYN),
        (2, ACK),
        (3, ACK),
        (3, SYN),
        (1, ACK),
    ];
    let workers = (0..3).map(|worker| (3, WorkerId(worker)));
    for (count, worker) in workers.chain([(1, WorkerId(0))]) {
        let mut spec = spec();
        spec.workers = count;
        let places = [(0, 34), (1, 54)].into_iter();
        for ((family, ports), (vip, _)) in places.flat_map(|at| VIPS.map(|vip| (at, vip))) {
            let mut twins = Twins::of_worker(&spec, 1024, worker);
            let ends = to_vip(family, vip);
            let frame = |(client, octets): (u16, &[u8])| {
                let mut octets = octets.to_vec();
                octets[ports..ports + 2].copy_from_slice(&client.to_be_bytes());
                TestFrame::new(&octets)
            };
            let segments = TURNS.map(|(client, flags)| (client, ends.segment(flags, b"")));
            let datagrams = TURNS.map(|(client, _)| (client, ends.datagram(7, b"")));
            // The second time there are flows.
            for _ in 0..2 {
                let all = segments.iter().chain(&datagrams);
                let mut straight: Vec<_> = all.map(|(c, octets)| frame((*c, octets))).collect();
                let mut whole = straight.clone();
                for frame in &mut whole {
                    TestIo::set_note(frame, Note::new(DeviceId(0)).bits());
                }
                let device = Ingress::Device(DeviceId(0));
                let verdicts = twins.straight.burst(device, &mut straight);
                assert_eq!(verdicts, twins.whole.burst(Ingress::HandedIn, &mut whole));
                for (straight, whole) in straight.iter().zip(&whole) {
                    assert_eq!(straight.bytes(), whole.bytes());
                }
                twins.compare();
            }
        }
    }
}

#[test]
fn bursts_of_all_kinds_fare_as_their_frames_one_by_one() {
    for kind in [SchedulerKind::RoundRobin, SchedulerKind::LeastConnection] {
        let mut spec = spec();
        spec.services
            .iter_mut()
            .for_each(|service| service.scheduler = kind);
        let mut twins = Twins::new(&spec);
        for (family, vip) in (0..2).flat_map(|family| VIPS.map(|vip| (family, vip))) {
            twins.begin(family, vip);
        }
        let (all, mut random) = (variants(), fastrand::Rng::with_seed(11));
        for _ in 0..400 {
            let device = random.u16(..2);
            let frames: Vec<_> = core::iter::repeat_with(|| random.choice(&all).expect("some"))
                .filter(|(from, _)| *from == device)
                .map(|(_, octets)| TestFrame::new(octets))
                .take(48)
                .collect();
            let mut burst = frames.clone();
            let by_device = Ingress::Device(DeviceId(device));
            let verdicts = twins.straight.burst(by_device, &mut burst);
            twins.straight.io.originated.clear();
            for ((mut frame, verdict), straight) in frames.into_iter().zip(verdicts).zip(burst) {
                TestIo::set_note(&mut frame, Note::new(DeviceId(device)).bits());
                let whole = twins.whole.send_as(Ingress::HandedIn, frame);
                assert_eq!(
                    (verdict, straight.bytes()),
                    (whole.verdict, whole.frame.bytes())
                );
            }
            twins.compare();
            twins.pass(Duration::from_millis(random.u64(..4000)));
        }
    }
}

#[test]
fn a_flow_that_has_ended_counts_until_its_place_is_taken() {
    for family in [0, 1] {
        for (vip, ends) in [9, 10, 11].map(|vip| (vip, to_vip(family, vip))) {
            let mut spec = spec();
            let lc = SchedulerKind::LeastConnection;
            spec.services
                .iter_mut()
                .for_each(|service| service.scheduler = lc);
            let mut twins = Twins::new(&spec);
            let packets = [ends.segment(SYN, b""), ends.datagram(7, b"")];
            let send_all = |twins: &mut Twins| {
                for packet in &packets {
                    twins.send(0, &TestFrame::new(packet));
                }
            };
            for round in 0..3 {
                send_all(&mut twins);
                // All flows have ended, and nobody has swept.
                for world in [&mut twins.straight, &mut twins.whole] {
                    world.now = world.now + Duration::from_secs(3600);
                }
                if round == 1 {
                    // Nobody takes what comes: what was there stays.
                    let mut none = spec.clone();
                    none.services
                        .iter_mut()
                        .for_each(|service| service.servers.clear());
                    for (world, spec) in [(&mut twins.straight, &none), (&mut twins.whole, &none)] {
                        world.swap(spec.tables(2));
                    }
                    send_all(&mut twins);
                    for world in [&mut twins.straight, &mut twins.whole] {
                        world.swap(spec.tables(3));
                    }
                }
            }
            assert!(twins.straight.counters().flows.value() > 0, "{vip}");
        }
    }
}

#[test]
fn a_service_that_waits_for_its_slot_is_counted() {
    for family in [0, 1] {
        let mut twins = Twins::new(&spec());
        let ends = to_vip(family, 9);
        twins.begin(family, VIPS[0]);
        for world in [&mut twins.straight, &mut twins.whole] {
            let mut tables = spec().tables(2);
            for service in tables.services.iter_mut().flatten() {
                let service = Arc::get_mut(service).expect("nobody else has it yet");
                service.name = format!("renamed {}", service.name).into();
            }
            tables.seal();
            world.engine.begin_adoption(&tables);
            world.tables = tables;
        }
        twins.send(0, &TestFrame::new(&ends.segment(ACK, b"data")));
        twins.send(0, &TestFrame::new(&ends.datagram(7, b"data")));
        for world in [&mut twins.straight, &mut twins.whole] {
            while !world.engine.continue_adoption(&world.tables) {}
        }
        twins.compare();
        let services = &twins.straight.counters().services;
        let packets = services
            .iter()
            .map(|service| service.incoming.packets.value());
        assert_eq!(packets.sum::<u64>(), 2, "since the tables changed");
    }
}
