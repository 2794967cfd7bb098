//! Which packets are answered, and for whom an answer counts, as real IPVS does it.

mod frames;

use frames::{Tcp, client, fix_ip, udp};
use weir_engine::id::PortId;
use weir_engine::tables::Mode;
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::{ServiceSpec, Spec, World};
use weir_engine::verdict::{DropReason, PuntClass, Verdict};

const VIP: &str = "10.9.9.9";
/// Where these frames have their TTL.
const TTL: usize = 22;
/// Where TCP and UDP have the last octet of their checksums.
const TCP_SUM: usize = 51;
const UDP_SUM: usize = 41;

fn world(mode: Mode) -> World {
    World::new(&Spec::standard().with(ServiceSpec::tcp(VIP, 80, mode, &[11, 12])))
}

/// Sends a frame; returns its verdict and the number of frames that came out.
fn send(world: &mut World, device: u16, frame: &[u8]) -> (Verdict, usize) {
    let sent = world.send(device, TestFrame::new(frame));
    (sent.verdict, sent.out.len())
}

fn with_ttl_1(mut frame: Vec<u8>) -> Vec<u8> {
    frame[TTL] = 1;
    fix_ip(&mut frame);
    frame
}

fn damaged(mut frame: Vec<u8>, at: usize) -> Vec<u8> {
    frame[at] ^= 1;
    frame
}

#[test]
fn d41_damaged_segments_and_datagrams_are_not_answered_as_by_a_host() {
    let mut world = world(Mode::Dr);
    let elsewhere = Tcp {
        port: 81,
        ..Tcp::syn(client(1))
    }
    .frame();
    let datagram = udp(client(1), 81, b"?");
    let stray = Tcp::ack(client(1)).frame();
    let (unserved, no_flow) = (DropReason::Unserved, DropReason::NoFlow);
    for (frame, at, reason) in [
        (elsewhere, TCP_SUM, unserved),
        (datagram, UDP_SUM, unserved),
        (stray, TCP_SUM, no_flow),
    ] {
        let verdict = Verdict::Drop(reason);
        assert_eq!(send(&mut world, 0, &frame), (verdict, 1));
        assert_eq!(send(&mut world, 0, &damaged(frame, at)), (verdict, 0));
    }
}

#[test]
fn d41_nobody_is_answered_by_way_of_a_group() {
    let mut spec = Spec::standard().with(ServiceSpec::tcp(VIP, 80, Mode::Dr, &[11, 12]));
    spec.neighbours.clear(); // Answers go back to where their questions came from.
    let mut world = World::new(&spec);
    let mut frame = udp(client(1), 81, b"?");
    let verdict = Verdict::Drop(DropReason::Unserved);
    assert_eq!(send(&mut world, 0, &frame), (verdict, 1));
    frame[6] |= 1;
    assert_eq!(send(&mut world, 0, &frame), (verdict, 0));
}

#[test]
fn d41_a_datagram_without_a_checksum_is_answered() {
    let mut frame = udp(client(1), 81, b"?");
    frame[UDP_SUM - 1..=UDP_SUM].fill(0);
    let verdict = Verdict::Drop(DropReason::Unserved);
    assert_eq!(send(&mut world(Mode::Dr), 0, &frame), (verdict, 1));
}

#[test]
fn d24_an_error_about_a_flow_counts_as_a_packet_to_its_client_except_under_nat() {
    let mut world = world(Mode::Dr);
    send(&mut world, 0, &Tcp::syn(client(1)).frame());
    let expired = with_ttl_1(Tcp::ack(client(1)).frame());
    let verdict = Verdict::Drop(DropReason::TtlExpired);
    assert_eq!(send(&mut world, 0, &expired), (verdict, 1));
    for counters in [
        &world.counters().servers[1].outgoing,
        &world.counters().services[0].outgoing,
    ] {
        // IPv4 and ICMP headers, and the whole segment as the quote.
        assert_eq!(
            (counters.packets.value(), counters.bytes.value()),
            (1, 20 + 8 + 40)
        );
    }
    assert_eq!(world.counters().servers[1].incoming.packets.value(), 2);

    let mut world = self::world(Mode::Nat);
    send(&mut world, 0, &Tcp::syn(client(1)).frame());
    assert_eq!(send(&mut world, 0, &expired), (verdict, 1));
    let counters = &world.counters().servers[1];
    let counted = [&counters.incoming, &counters.outgoing].map(|c| c.packets.value());
    assert_eq!(counted, [2, 0]);
}

#[test]
fn d24_a_reply_whose_ttl_ends_here_is_answered_and_not_counted() {
    let mut world = world(Mode::Nat);
    send(&mut world, 0, &Tcp::syn(client(1)).frame());
    let expired = with_ttl_1(Tcp::ack(client(1)).reply(12));
    let verdict = Verdict::Drop(DropReason::TtlExpired);
    assert_eq!(send(&mut world, 1, &expired), (verdict, 1));
    assert_eq!(world.counters().servers[1].outgoing.packets.value(), 0);
    assert_eq!(world.counters().services[0].outgoing.packets.value(), 0);
}

#[test]
fn d54_a_removed_nat_server_still_answers_from_the_vip() {
    let spec = Spec::standard().with(ServiceSpec::tcp(VIP, 80, Mode::Nat, &[11, 12]));
    let mut world = World::new(&spec);
    send(&mut world, 0, &Tcp::syn(client(1)).frame());
    let mut without = spec.clone();
    without.services[0].servers.truncate(1);
    world.tables = without.tables(2);
    let sent = world.send(1, TestFrame::new(&Tcp::ack(client(1)).reply(12)));
    assert_eq!(sent.verdict, Verdict::Forward(PortId(0)));
    assert_eq!(sent.out[0].1[26..30], [10, 9, 9, 9]);
    let stranger = Tcp::ack(client(2)).reply(12);
    assert_eq!(
        send(&mut world, 1, &stranger).0,
        Verdict::Punt(PuntClass::Routed)
    );
}
