//! VRRP roles on the packet path: a VIP is served while its instance's lease is held, and a Backup
//! is silent in every way.

mod frames;

use std::time::Duration;

use frames::{Tcp, client, echo};
use weir_engine::Ingress;
use weir_engine::id::DeviceId;
use weir_engine::lease::LeaseId;
use weir_engine::tables::{Mode, Role, Tables, Unserved, Vip};
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::{Sent, ServiceSpec, Spec, World, ip};
use weir_engine::verdict::{DropReason, PuntClass, Verdict};
use weir_wire::addr::{MacAddr, Protocol};

const VIP: &str = "10.9.9.9";
const LEASE: LeaseId = LeaseId(7);
/// 00-00-5E-00-01-VRID
const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];
const LEASE_TIME: Duration = Duration::from_secs(3);
/// `timeouts.established`
const LIFETIME: Duration = Duration::from_secs(900);

/// Tables whose VIP belongs to an instance on the port that faces clients.
fn tables(spec: &Spec) -> Tables {
    let mut tables = spec.tables(1);
    tables.ports[0].virtual_macs = Box::new([(MacAddr(VIRTUAL_MAC), LEASE)]);
    tables
}

fn world() -> World {
    let mut spec = Spec::standard().with(ServiceSpec::tcp(VIP, 80, Mode::Dr, &[11, 12]));
    let vip = Vip {
        role: Role::Leased(LEASE),
        unserved: Unserved::Answer,
        dip: None,
    };
    spec.vips = vec![(ip(VIP), vip)];
    let mut world = World::new(&spec);
    world.swap(tables(&spec));
    world
}

fn renew(world: &World) {
    let until = world.now + LEASE_TIME;
    world.tables.leases.renew(LEASE, world.now, until);
}

fn send(world: &mut World, frame: &[u8]) -> Sent {
    world.send(0, TestFrame::new(frame))
}

/// The same frame to the instance's virtual MAC.
fn to_virtual(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&VIRTUAL_MAC);
    frame
}

#[test]
fn v48_a_backup_answers_and_forwards_nothing_of_ten_thousand_frames() {
    let mut world = world();
    for n in 0..2_500_u16 {
        let source = client(n.to_le_bytes()[0]);
        let to_port = [Tcp::syn(source).frame(), echo(source)];
        for frame in &to_port {
            let sent = send(&mut world, frame);
            assert_eq!(sent.verdict, Verdict::Drop(DropReason::Backup));
            assert!(sent.out.is_empty());
            // The virtual MAC is the Active's: on a Backup it is another station's.
            let sent = send(&mut world, &to_virtual(frame.clone()));
            assert_eq!(sent.verdict, Verdict::Drop(DropReason::NotOurMac));
            assert!(sent.out.is_empty());
        }
    }
}

#[test]
fn v45_a_lease_that_nobody_renews_ends_the_service_in_time() {
    let mut world = world();
    renew(&world);
    for frame in [Tcp::syn(client(1)).frame(), Tcp::ack(client(1)).frame()] {
        assert!(matches!(
            send(&mut world, &frame).verdict,
            Verdict::Forward(_)
        ));
        let sent = send(&mut world, &to_virtual(frame));
        assert!(matches!(sent.verdict, Verdict::Forward(_)));
    }
    world.pass(LEASE_TIME - Duration::from_nanos(1));
    let ack = Tcp::ack(client(1)).frame();
    assert!(matches!(
        send(&mut world, &ack).verdict,
        Verdict::Forward(_)
    ));
    world.pass(Duration::from_nanos(1));
    let sent = send(&mut world, &ack);
    assert_eq!(sent.verdict, Verdict::Drop(DropReason::Backup));
    let sent = send(&mut world, &to_virtual(ack.clone()));
    assert_eq!(sent.verdict, Verdict::Drop(DropReason::NotOurMac));
    // And one that is given up ends it at once.
    renew(&world);
    assert!(matches!(
        send(&mut world, &ack).verdict,
        Verdict::Forward(_)
    ));
    world.tables.leases.release(LEASE);
    assert_eq!(
        send(&mut world, &ack).verdict,
        Verdict::Drop(DropReason::Backup)
    );
}

#[test]
fn v47_the_virtual_mac_takes_what_is_to_be_routed_while_active() {
    let mut world = world();
    let mut through = to_virtual(Tcp::syn(client(1)).frame());
    through[30..34].copy_from_slice(&[198, 51, 100, 1]);
    frames::fix_ip(&mut through);
    let sent = send(&mut world, &through);
    assert_eq!(sent.verdict, Verdict::Drop(DropReason::NotOurMac));
    renew(&world);
    let sent = send(&mut world, &through);
    assert_eq!(sent.verdict, Verdict::Punt(PuntClass::Routed));
}

#[test]
fn d55_after_a_change_to_active_flows_of_the_other_director_are_adopted_for_a_while() {
    let mut world = world();
    renew(&world);
    let ack = Tcp::ack(client(1)).frame();
    assert!(matches!(
        send(&mut world, &ack).verdict,
        Verdict::Forward(_)
    ));
    // Renewed all the time, and so Active since long: what is unknown now was never another's.
    let mut passed = Duration::ZERO;
    while passed < LIFETIME + Duration::from_secs(4) {
        world.pass(Duration::from_secs(2));
        passed += Duration::from_secs(2);
        renew(&world);
    }
    let sent = send(&mut world, &Tcp::ack(client(2)).frame());
    assert_eq!(sent.verdict, Verdict::Drop(DropReason::NoFlow));
    assert_eq!(sent.out[0].1[47], 0x04, "RST");
    // After a gap the other director may have had the VIP.
    world.tables.leases.release(LEASE);
    world.pass(Duration::from_secs(1));
    renew(&world);
    let sent = send(&mut world, &Tcp::ack(client(3)).frame());
    assert!(matches!(sent.verdict, Verdict::Forward(_)));
}

#[test]
fn frames_to_both_macs_in_one_burst_are_all_ours() {
    let mut world = world();
    renew(&world);
    let syn = Tcp::syn(client(1)).frame();
    send(&mut world, &syn);
    let ack = Tcp::ack(client(1)).frame();
    let mut burst: Vec<TestFrame> = [ack.clone(), to_virtual(ack.clone()), ack.clone()]
        .iter()
        .map(|frame| TestFrame::new(frame))
        .collect();
    let verdicts = world.burst(Ingress::Device(DeviceId(0)), &mut burst);
    let forwarded = |verdict: &Verdict| matches!(verdict, Verdict::Forward(_));
    assert!(verdicts.iter().all(forwarded), "{verdicts:?}");
}

#[test]
fn v49_adverts_go_to_control_whatever_the_role_and_are_never_forwarded() {
    let mut world = world();
    let group = [224, 0, 0, 18].into();
    let packet = frames::ipv4(
        client(1),
        group,
        Protocol::VRRP,
        &[0x31, 51, 100, 0, 0, 100, 0, 0],
    );
    let head = [1, 0, 0x5e, 0, 0, 18, 2, 0, 0, 0, 2, 0xfe, 8, 0];
    let advert = [&head[..], &packet].concat();
    for _ in 0..2 {
        let sent = send(&mut world, &advert);
        assert_eq!(sent.verdict, Verdict::Punt(PuntClass::Vrrp));
        assert!(sent.out.is_empty());
        renew(&world);
    }
}
