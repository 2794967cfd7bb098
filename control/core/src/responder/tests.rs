//! The responder against the ARP/ND checklist.

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_engine::tables::{Family, Port, Tables, Unserved, Vip as TablesVip};

use super::*;

pub(crate) const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0]);
pub(crate) const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const ROUTED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(crate) const DIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 5);
pub(crate) const WAN: PortId = PortId(0);
pub(crate) const LAN: PortId = PortId(1);

pub(crate) fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

fn port(index: u8, addresses: &[(&str, u8)]) -> Port {
    Port {
        name: format!("p{index}").into(),
        device: weir_engine::id::DeviceId(u16::from(index)),
        vlan: None,
        mac: MacAddr([2, 0, 0, 0, 0, index]),
        virtual_macs: Box::default(),
        mtu: 1500,
        addresses: addresses
            .iter()
            .map(|(a, len)| (a.parse().unwrap(), *len))
            .collect(),
    }
}

pub(crate) fn tables(role: Role) -> Tables {
    let vip = TablesVip {
        role,
        unserved: Unserved::Answer,
        dip: None,
    };
    Tables {
        ports: [
            port(0, &[("192.0.2.2", 24), ("2001:db8::2", 64)]),
            port(1, &[("10.0.0.1", 16)]),
        ]
        .into(),
        v4: Family {
            vips: [(VIP, vip), (ROUTED, vip)].into_iter().collect(),
            dips: [(DIP, WAN)].into_iter().collect(),
            ..Family::default()
        },
        v6: Family {
            vips: [(VIP6, vip)].into_iter().collect(),
            ..Family::default()
        },
        ..Tables::default()
    }
}

/// Has a responder take over tables.
pub(crate) fn configure(responder: &mut Responder, now: Time, tables: &Tables) {
    responder.configure(now, Homes::of(tables, &responder.homes));
}

fn responder(role: Role) -> Responder {
    let mut responder = Responder::default();
    configure(&mut responder, at(0), &tables(role));
    responder
}

/// An ARP packet from `OTHER`.
pub(crate) fn arp_frame(operation: Operation, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut bytes = arp::reply((OTHER, sender), (MAC, target));
    bytes[21] = if operation == Operation::Request {
        1
    } else {
        2
    };
    bytes
}

fn receive(r: &mut Responder, now: Time, port: PortId, bytes: &[u8]) -> (Disposition, Vec<Action>) {
    let mut out = Vec::new();
    let disposition = r.receive(now, port, &Frame::parse(bytes).unwrap(), &mut out);
    (disposition, out)
}

fn sends(actions: &[Action]) -> Vec<(PortId, &[u8])> {
    let frame = |action: &'_ Action| matches!(action, Action::Send(..));
    let take = |action| match action {
        &Action::Send(port, ref bytes) => (port, bytes.as_slice()),
        Action::Conflict(_) => unreachable!("filtered"),
    };
    actions.iter().filter(|a| frame(a)).map(take).collect()
}

#[test]
fn a2_the_active_answers_unicast_where_the_vip_lives_and_nowhere_else() {
    let mut r = responder(Role::Active);
    let ask = arp_frame(Operation::Request, CLIENT, VIP);
    let (disposition, out) = receive(&mut r, at(1), WAN, &ask);
    assert_eq!(disposition, Disposition::Answered);
    assert_eq!(
        out,
        [Action::Send(WAN, arp::reply((MAC, VIP), (OTHER, CLIENT)))]
    );
    assert_eq!(
        receive(&mut r, at(1), LAN, &ask),
        (Disposition::Silent, vec![])
    );
    assert_eq!(r.replies(), 1);
}

#[test]
fn a2_a_vip_outside_every_subnet_is_answered_on_every_port() {
    let mut r = responder(Role::Active);
    let ask = arp_frame(Operation::Request, CLIENT, ROUTED);
    for port in [WAN, LAN] {
        assert_eq!(receive(&mut r, at(1), port, &ask).0, Disposition::Answered);
    }
}

#[test]
fn a12_a_backup_is_silent_and_other_addresses_are_not_answered_for() {
    let mut r = responder(Role::Backup);
    let ask = arp_frame(Operation::Request, CLIENT, VIP);
    assert_eq!(
        receive(&mut r, at(1), WAN, &ask),
        (Disposition::Silent, vec![])
    );
    let mut out = Vec::new();
    r.expire(at(10_000), &mut out);
    assert_eq!(out, []);

    let mut r = responder(Role::Active);
    let elsewhere = arp_frame(Operation::Request, CLIENT, Ipv4Addr::new(192, 0, 2, 77));
    assert_eq!(
        receive(&mut r, at(1), WAN, &elsewhere),
        (Disposition::Ignored, vec![])
    );
}

#[test]
fn a3_a_probe_is_answered_and_not_learned() {
    let mut r = responder(Role::Active);
    let probe = arp_frame(Operation::Request, Ipv4Addr::UNSPECIFIED, VIP);
    let (disposition, out) = receive(&mut r, at(1), WAN, &probe);
    // Answered means: the kernel, which alone learns, never sees it.
    assert_eq!(disposition, Disposition::Answered);
    let expected = arp::reply((MAC, VIP), (OTHER, Ipv4Addr::UNSPECIFIED));
    assert_eq!(sends(&out), [(WAN, expected.as_slice())]);
}

#[test]
fn a1_a_dip_is_the_kernels_but_a_sender_that_claims_a_vip_is_never_learned() {
    let mut r = responder(Role::Active);
    let ask = arp_frame(Operation::Request, CLIENT, DIP);
    assert_eq!(
        receive(&mut r, at(1), WAN, &ask),
        (Disposition::KernelRequest, vec![])
    );
    // A real server that asks for its gateway with the VIP as its own address.
    let leak = arp_frame(Operation::Request, VIP, DIP);
    let (disposition, out) = receive(&mut r, at(1), WAN, &leak);
    assert_eq!(disposition, Disposition::Answered);
    assert_eq!(
        out[0],
        Action::Conflict(Conflict {
            vip: VIP.into(),
            mac: OTHER,
            port: WAN,
            how: Claim::ArpQuestion,
        })
    );
    assert_eq!(
        out[2],
        Action::Send(WAN, arp::reply((MAC, DIP), (OTHER, VIP)))
    );
}

#[test]
fn a4_a_claim_is_told_each_time_and_defended_once_in_ten_seconds() {
    let mut r = responder(Role::Active);
    let claim = arp_frame(Operation::Reply, VIP, CLIENT);
    let defences = |r: &mut Responder, ms| {
        let (disposition, out) = receive(r, at(ms), WAN, &claim);
        assert_eq!(disposition, Disposition::Silent);
        assert!(matches!(out[0], Action::Conflict(_)));
        sends(&out).len()
    };
    assert_eq!(defences(&mut r, 0), 1);
    assert_eq!(defences(&mut r, 9_999), 0);
    assert_eq!(defences(&mut r, 10_000), 1);
    let conflicts: u64 = r.vips().map(|(.., conflicts)| conflicts).sum();
    assert_eq!(conflicts, 3);
}

#[test]
fn a4_our_own_frames_are_no_claim() {
    let mut r = responder(Role::Active);
    let own = arp::announcement(MAC, VIP);
    assert_eq!(
        receive(&mut r, at(0), WAN, &own),
        (Disposition::Ignored, vec![])
    );
}

#[test]
fn a9_answers_about_other_addresses_are_named_to_the_caller() {
    let mut r = responder(Role::Active);
    let answer = arp_frame(Operation::Reply, CLIENT, DIP);
    let (disposition, out) = receive(&mut r, at(0), WAN, &answer);
    assert_eq!(
        (disposition, out),
        (Disposition::KernelAnswer(CLIENT.into()), vec![])
    );
    // Nobody asked for a gratuitous ARP, so nobody learns from it.
    let gratuitous = arp_frame(Operation::Request, CLIENT, CLIENT);
    assert_eq!(
        receive(&mut r, at(0), WAN, &gratuitous),
        (Disposition::Ignored, vec![])
    );
}

#[test]
fn a7_five_announcements_more_than_a_second_apart_then_refreshes() {
    let mut r = responder(Role::Active);
    let mut times = Vec::new();
    while let Some(now) = r.deadline().filter(|&now| now < at(210_000)) {
        let mut out = Vec::new();
        r.expire(now, &mut out);
        let vip = arp::announcement(MAC, VIP);
        if sends(&out).contains(&(WAN, &vip)) {
            times.push(now.since(Time::ZERO).as_millis());
        }
    }
    assert_eq!(times, [0, 1100, 2200, 3300, 4400, 104_400, 204_400]);
}

#[test]
fn a6_many_vips_are_announced_at_a_bounded_pace() {
    let mut many = tables(Role::Active);
    let vip = many.v4.vips[&VIP];
    many.v4.vips = (0..200)
        .map(|i| (Ipv4Addr::new(192, 0, 2, i), vip))
        .collect();
    let mut r = Responder::default();
    configure(&mut r, at(0), &many);
    let mut all = 0;
    for step in 0..6 {
        let mut out = Vec::new();
        r.expire(at(step * 10), &mut out);
        r.expire(at(step * 10 + 9), &mut out);
        assert_eq!(out.len(), ANNOUNCE_BATCH, "{step}");
        all += out.len();
    }
    let mut out = Vec::new();
    r.expire(at(60), &mut out);
    // 200 VIPs of IPv4; the one of IPv6 has a report besides.
    assert_eq!(all + out.len(), 202);
}

#[test]
fn homes_say_what_has_changed_since_those_before() {
    let first = Homes::of(&tables(Role::Active), &Arc::default());
    assert_eq!(first.changed.len(), 3);
    let same = Homes::of(&tables(Role::Active), &first);
    assert!(Arc::ptr_eq(&same, &first));
    let mut other = tables(Role::Active);
    other.v4.vips.remove(&ROUTED);
    if let Some(vip) = other.v4.vips.get_mut(&VIP) {
        vip.role = Role::Backup;
    }
    let mut changed = Homes::of(&other, &first).changed.clone();
    changed.sort_unstable();
    assert_eq!(changed, [IpAddr::from(VIP), ROUTED.into()]);
}

#[test]
fn a_vip_that_becomes_ours_is_announced_and_a_kept_one_is_not_again() {
    let mut r = responder(Role::Backup);
    configure(&mut r, at(0), &tables(Role::Active));
    let mut out = Vec::new();
    r.expire(at(0), &mut out);
    // VIP on one port, ROUTED on two, VIP6 with its report on one.
    assert_eq!(out.len(), 5);
    configure(&mut r, at(1), &tables(Role::Active));
    r.expire(at(1), &mut out);
    assert_eq!(out.len(), 5);
}

#[test]
fn a13_solicitations_and_probes_for_a_vip_are_answered() {
    let mut r = responder(Role::Active);
    let client: Ipv6Addr = "2001:db8::5".parse().unwrap();
    let (disposition, out) = receive(&mut r, at(0), WAN, &nd::tests::solicit(client, VIP6));
    assert_eq!(disposition, Disposition::Answered);
    assert_eq!(
        out,
        [Action::Send(
            WAN,
            nd::advert(MAC, VIP6, Some((OTHER, client)))
        )]
    );
    let probe = nd::tests::solicit(Ipv6Addr::UNSPECIFIED, VIP6);
    let (_, out) = receive(&mut r, at(0), WAN, &probe);
    assert_eq!(out, [Action::Send(WAN, nd::advert(MAC, VIP6, None))]);
}

#[test]
fn a17_a_listener_query_is_answered_with_reports() {
    let mut r = responder(Role::Active);
    r.expire(at(0), &mut Vec::new());
    let mut query = nd::report(OTHER, VIP6, nd::Membership::Join);
    query[62] = 130;
    assert_eq!(
        receive(&mut r, at(100), WAN, &query).0,
        Disposition::KernelRequest
    );
    let mut out = Vec::new();
    r.expire(at(100), &mut out);
    let join = nd::report(MAC, VIP6, nd::Membership::Join);
    assert_eq!(out, [Action::Send(WAN, join)]);
}

#[test]
fn a17_the_group_of_a_vip_that_goes_is_left_unless_another_address_needs_it() {
    let leave = nd::report(MAC, VIP6, nd::Membership::Leave);
    let left = |before: &Tables, after: &Tables| {
        let mut r = Responder::default();
        configure(&mut r, at(0), before);
        r.expire(at(0), &mut Vec::new());
        configure(&mut r, at(100), after);
        let mut out = Vec::new();
        r.expire(at(100), &mut out);
        out.contains(&Action::Send(WAN, leave.clone()))
    };
    let before = tables(Role::Active);
    let mut gone = tables(Role::Active);
    let vip = gone.v6.vips.remove(&VIP6).unwrap();
    assert!(left(&before, &gone));
    assert!(left(&before, &tables(Role::Backup)));
    assert!(!left(&before, &before));
    assert!(!left(&tables(Role::Backup), &gone));
    // The same last three octets make the same group.
    let neighbour: Ipv6Addr = "2001:db8::1:0:10".parse().unwrap();
    gone.v6.dips.insert(neighbour, WAN);
    assert!(!left(&before, &gone));
    gone.v6.dips.remove(&neighbour);
    gone.v6.vips.insert(neighbour, vip);
    assert!(!left(&before, &gone));
}

const LEASE: LeaseId = LeaseId(0);
const VIRTUAL_MAC: MacAddr = MacAddr([0, 0, 0x5e, 0, 1, 51]);

/// Tables whose VIPs belong to an instance on `WAN` that answers with `mac`.
fn leased(mac: MacAddr) -> Tables {
    let instance = weir_engine::tables::Instance {
        name: "edge".into(),
        port: WAN,
        id: 51,
        is_v4: true,
        mac,
    };
    Tables {
        instances: [Some(instance)].into(),
        ..tables(Role::Leased(LEASE))
    }
}

fn question(r: &mut Responder, ms: u64) -> (Disposition, Vec<Action>) {
    let mut out = Vec::new();
    let bytes = arp_frame(Operation::Request, CLIENT, VIP);
    let frame = Frame::parse(&bytes).unwrap();
    (r.receive(at(ms), WAN, &frame, &mut out), out)
}

#[test]
fn v47_v48_only_the_active_answers_and_with_the_virtual_mac() {
    let mut r = Responder::default();
    configure(&mut r, at(0), &leased(VIRTUAL_MAC));
    assert_eq!(question(&mut r, 1), (Disposition::Silent, Vec::new()));
    assert_eq!(r.deadline(), None, "a Backup announces nothing");
    r.set_role(at(2), LEASE, Role::Active);
    let (disposition, out) = question(&mut r, 3);
    assert_eq!(disposition, Disposition::Answered);
    let answer = arp::reply((VIRTUAL_MAC, VIP), (OTHER, CLIENT));
    assert_eq!(out, [Action::Send(WAN, answer)]);
    r.set_role(at(4), LEASE, Role::Backup);
    assert_eq!(question(&mut r, 5), (Disposition::Silent, Vec::new()));
    let mut out = Vec::new();
    r.expire(at(5), &mut out);
    let left = Action::Send(WAN, nd::report(MAC, VIP6, nd::Membership::Leave));
    assert_eq!(out, [left], "and nothing that was due before goes out");
}

#[test]
fn a17_who_steps_back_leaves_the_group_unless_it_is_active_again_by_then() {
    let leave = Action::Send(WAN, nd::report(MAC, VIP6, nd::Membership::Leave));
    for (again, leaves) in [(false, true), (true, false)] {
        let mut r = Responder::default();
        configure(&mut r, at(0), &leased(VIRTUAL_MAC));
        r.set_role(at(0), LEASE, Role::Active);
        r.expire(at(0), &mut Vec::new());
        r.set_role(at(10), LEASE, Role::Backup);
        if again {
            r.set_role(at(11), LEASE, Role::Active);
        }
        let mut out = Vec::new();
        r.expire(at(20), &mut out);
        assert_eq!(out.contains(&leave), leaves);
        // Who was Backup all along, or hears of it twice, has nothing to leave.
        r.set_role(at(30), LEASE, Role::Backup);
        r.expire(at(30), &mut Vec::new());
        out.clear();
        r.set_role(at(40), LEASE, Role::Backup);
        r.expire(at(40), &mut out);
        assert!(out.is_empty());
    }
}

#[test]
fn a6_v51_who_becomes_active_announces_every_vip_at_once_and_on_its_port_only() {
    let mut r = Responder::default();
    configure(&mut r, at(0), &leased(VIRTUAL_MAC));
    r.set_role(at(10), LEASE, Role::Active);
    assert_eq!(r.deadline(), Some(at(10)));
    let mut out = Vec::new();
    r.expire(at(10), &mut out);
    for vip in [VIP, ROUTED] {
        let frame = arp::announcement(VIRTUAL_MAC, vip);
        assert!(out.contains(&Action::Send(WAN, frame)), "{vip}");
    }
    let advert = nd::advert(VIRTUAL_MAC, VIP6, None);
    assert!(out.contains(&Action::Send(WAN, advert)));
    let on_wan = |action: &Action| matches!(action, Action::Send(WAN, _));
    assert!(out.iter().all(on_wan));
}

#[test]
fn v35_after_a_split_all_vips_are_announced_again() {
    let mut r = Responder::default();
    configure(&mut r, at(0), &leased(VIRTUAL_MAC));
    r.set_role(at(0), LEASE, Role::Active);
    let mut out = Vec::new();
    r.expire(at(0), &mut out);
    let first = out.len();
    out.clear();
    r.announce_all(at(50), LEASE);
    r.expire(at(50), &mut out);
    assert_eq!(out.len(), first);
}

#[test]
fn the_active_s_own_claim_is_no_conflict_for_a_backup() {
    for (mac, claimant) in [(VIRTUAL_MAC, VIRTUAL_MAC), (MAC, OTHER)] {
        let mut r = Responder::default();
        configure(&mut r, at(0), &leased(mac));
        let mut out = Vec::new();
        let mut bytes = arp::announcement(claimant, VIP);
        let frame = Frame::parse(&bytes).unwrap();
        r.receive(at(1), WAN, &frame, &mut out);
        assert!(out.is_empty(), "{out:?}");
        // A station that is no director.
        bytes = arp::announcement(OTHER, VIP);
        let frame = Frame::parse(&bytes).unwrap();
        r.set_role(at(2), LEASE, Role::Active);
        r.receive(at(3), WAN, &frame, &mut out);
        let conflict = |action: &Action| matches!(action, Action::Conflict(_));
        assert!(out.iter().any(conflict));
    }
}
