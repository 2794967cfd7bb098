//! Fragments, and workers that share the clients: who owns what, and what travels with a frame.

mod frames;

use frames::{Tcp, client, fragments_of, udp};
use weir_engine::Ingress;
use weir_engine::id::{DeviceId, PortId, WorkerId};
use weir_engine::tables::Mode;
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::{Sent, ServiceSpec, Spec, World};
use weir_engine::verdict::{DropReason, Verdict, Wait};
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

#[test]
fn d26_fragments_follow_the_first_in_every_order_and_mode() {
    for mode in [Mode::Dr, Mode::Nat, Mode::Tunnel] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
            let mut world = World::new(&udp_spec(mode));
            let pieces = fragments_of(&udp(client(1), 53, &[7; 1200]), 400);
            let (mut held, mut out) = (Vec::new(), Vec::new());
            for at in order {
                let sent = send(&mut world, &pieces[at]);
                out.extend(sent.out);
                if sent.verdict == Verdict::Hold(Wait::FirstFragment) {
                    held.push(sent.frame);
                } else if world.outcome().first_fragments() {
                    for frame in held.drain(..) {
                        world.counters().held.set(world.counters().held.value() - 1);
                        world
                            .counters()
                            .received
                            .packets
                            .set(world.counters().received.packets.value() - 1);
                        out.extend(world.send_as(Ingress::Released, frame).out);
                    }
                }
            }
            assert!(held.is_empty() && out.len() == 3, "{mode:?} {order:?}");
            assert!(
                out.iter()
                    .all(|(port, frame)| *port == PortId(1) && frame[5] == 12)
            );
            assert_eq!(world.counters().flows.value(), 1);
        }
    }
}

#[test]
fn d29_overlapping_fragments_are_refused() {
    let mut world = World::new(&udp_spec(Mode::Dr));
    let pieces = fragments_of(&udp(client(1), 53, &[7; 1200]), 400);
    assert_eq!(server(&send(&mut world, &pieces[0])), 12);
    let mut overlap = pieces[1].clone();
    overlap[21] -= 1;
    frames::fix_ip(&mut overlap);
    let verdict = send(&mut world, &overlap).verdict;
    assert_eq!(verdict, Verdict::Drop(DropReason::BadFragment));
}

#[test]
fn d27_fragments_reach_the_flows_owner_with_their_ports() {
    let mut spec = udp_spec(Mode::Nat);
    spec.workers = 4;
    let mut worlds: Vec<World> = (0..4)
        .map(|n| World::of_worker(&spec, 64, WorkerId(n)))
        .collect();
    let mut owners = Vec::new();
    for id in 1..40 {
        let mut whole = udp(client(1), 53, &[7; 1200]);
        whole[18..20].copy_from_slice(&[0, id]);
        for piece in fragments_of(&whole, 400) {
            let (mut at, mut ingress) = (0usize, Ingress::Device(DeviceId(0)));
            let mut frame = TestFrame::new(&piece);
            let mut hops = 0;
            loop {
                let sent = worlds[at].send_as(ingress, frame);
                match sent.verdict {
                    Verdict::HandOver(worker) => (at, frame) = (worker.index(), sent.frame),
                    Verdict::Forward(_) => break,
                    other @ (Verdict::Hold(_) | Verdict::Punt(_) | Verdict::Drop(_)) => {
                        panic!("{other:?}")
                    }
                }
                (ingress, hops) = (Ingress::HandedIn, hops + 1);
                assert!(
                    hops <= 2,
                    "to the fragment owner, and from there to the flow's"
                );
            }
            owners.push(at);
        }
    }
    assert!(
        owners.iter().all(|owner| *owner == owners[0]),
        "one client port, one owner"
    );
}

#[test]
fn both_directions_of_a_nat_flow_belong_to_one_worker() {
    let mut spec = spec(Mode::Nat);
    spec.workers = 3;
    let mut seen = [false; 3];
    for n in 0..30 {
        let mut worlds: Vec<World> = (0..3)
            .map(|w| World::of_worker(&spec, 64, WorkerId(w)))
            .collect();
        let mut owner = 0;
        if let Verdict::HandOver(worker) =
            send(&mut worlds[0], &Tcp::syn(client(n)).frame()).verdict
        {
            owner = worker.index();
            let frame = TestFrame::new(&Tcp::syn(client(n)).frame());
            let sent = worlds[owner].send_as(Ingress::HandedIn, frame);
            assert_eq!(sent.verdict, Verdict::Forward(PortId(1)));
        }
        let reply = TestFrame::new(&Tcp::with_flags(client(n), 0x12).reply(12));
        match worlds[(owner + 1) % 3].send(1, reply.clone()).verdict {
            Verdict::HandOver(worker) => assert_eq!(worker.index(), owner),
            other @ (Verdict::Forward(_)
            | Verdict::Hold(_)
            | Verdict::Punt(_)
            | Verdict::Drop(_)) => panic!("{other:?}"),
        }
        assert_eq!(
            worlds[owner].send(1, reply).verdict,
            Verdict::Forward(PortId(0))
        );
        seen[owner] = true;
    }
    assert_eq!(seen, [true; 3]);
}

#[test]
fn no_worker_begins_a_flow_of_anothers() {
    let specs = [spec(Mode::Dr), udp_spec(Mode::Nat)];
    let first = |spec: &Spec, n| match spec.services[0].protocol {
        Protocol::UDP => udp(client(n), 53, &[7; 20]),
        _ => Tcp::syn(client(n)).frame(),
    };
    // With room for all flows, and flooded.
    for (spec, room) in specs.iter().flat_map(|spec| [(spec, 64), (spec, 2)]) {
        let mut spec = spec.clone();
        spec.workers = 3;
        let workers = (0..3).map(WorkerId);
        let mut worlds: Vec<World> = workers
            .map(|id| World::of_worker(&spec, room, id))
            .collect();
        let mut owners = Vec::new();
        for n in 0..40 {
            let frame = TestFrame::new(&first(&spec, n));
            let verdicts: Vec<_> = worlds
                .iter_mut()
                .map(|world| world.send(0, frame.clone()).verdict)
                .collect();
            let begins = |verdict: &Verdict| matches!(verdict, Verdict::Forward(_));
            let owner = verdicts.iter().position(begins).expect("one owns it");
            for (at, verdict) in verdicts.iter().enumerate() {
                let to_owner = Verdict::HandOver(WorkerId(u16::try_from(owner).unwrap()));
                assert!(at == owner || *verdict == to_owner, "{n}: {verdicts:?}");
            }
            owners.push(owner);
        }
        assert!((0..3).all(|worker| owners.contains(&worker)), "{owners:?}");
    }
}
