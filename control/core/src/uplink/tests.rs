//! The classification table, both ways.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::responder::tests::{
    self as responder, CLIENT, DIP, LAN, MAC, OTHER, VIP, VIP6, WAN, arp_frame, at, tables,
};
use crate::{arp, nd};
use weir_engine::tables::{Role, Tables, Vip};

mod paths;

struct Edge {
    uplink: Uplink,
    responder: Responder,
    paths: Paths,
}

fn edge_with(tables: &Tables) -> Edge {
    let mut edge = Edge {
        uplink: Uplink::default(),
        responder: Responder::default(),
        paths: Paths::default(),
    };
    edge.uplink.configure(tables);
    responder::configure(&mut edge.responder, at(0), tables);
    edge
}

fn edge() -> Edge {
    edge_with(&tables(Role::Active))
}

impl Edge {
    fn up(&mut self, class: PuntClass, bytes: &[u8]) -> Result<Vec<u8>, UplinkDrop> {
        self.up_by(WAN, class, bytes).map(|(_, frame)| frame)
    }

    /// What a frame that came by `port` becomes, and for whose TAP.
    fn up_by(
        &mut self,
        port: PortId,
        class: PuntClass,
        bytes: &[u8],
    ) -> Result<(PortId, Vec<u8>), UplinkDrop> {
        let Self {
            uplink,
            responder,
            paths,
        } = self;
        let mut out = Vec::new();
        let judged = uplink.judge_up(at(0), (port, class), bytes, responder, paths, &mut out);
        judged.map(|(tap, frame)| (tap, frame.into_owned()))
    }

    /// Whether a frame of the kernel's passes as it is.
    fn down(&mut self, bytes: &[u8]) -> Result<(), UplinkDrop> {
        match self.judge_down(bytes)? {
            Down::Send(WAN, frame) if *frame == *bytes => Ok(()),
            other @ (Down::Send(..) | Down::Answer(_)) => panic!("{other:?}"),
        }
    }

    fn judge_down<'a>(&mut self, bytes: &'a [u8]) -> Result<Down<'a>, UplinkDrop> {
        let (responder, paths) = (&self.responder, &self.paths);
        self.uplink.judge_down(at(0), WAN, bytes, responder, paths)
    }
}

/// An IPv4 packet without payload.
fn ipv4(to: MacAddr, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Vec<u8> {
    let mut bytes = frame::start(to, OTHER, EtherType::IPV4, 20);
    bytes[14] = 0x45;
    bytes[17] = 20;
    bytes[22] = 64;
    bytes[23] = protocol;
    bytes[26..30].copy_from_slice(&source.octets());
    bytes[30..34].copy_from_slice(&destination.octets());
    bytes
}

#[test]
fn what_is_the_kernels_goes_up_and_what_is_not_never_does() {
    let mut edge = edge();
    let tcp = |to| ipv4(MAC, CLIENT, to, 6);
    assert_eq!(edge.up(PuntClass::Dip, &tcp(DIP)), Ok(tcp(DIP)));
    let elsewhere = Ipv4Addr::new(198, 51, 100, 1);
    assert_eq!(
        edge.up(PuntClass::Routed, &tcp(elsewhere)),
        Ok(tcp(elsewhere))
    );
    assert_eq!(edge.up(PuntClass::Dip, &tcp(VIP)), Err(UplinkDrop::ToVip));
    assert_eq!(
        edge.up(PuntClass::Routed, &tcp(VIP)),
        Err(UplinkDrop::ToVip)
    );
    let vrrp = ipv4(
        MacAddr([1, 0, 0x5e, 0, 0, 18]),
        CLIENT,
        Ipv4Addr::new(224, 0, 0, 18),
        112,
    );
    assert_eq!(edge.up(PuntClass::Vrrp, &vrrp), Err(UplinkDrop::Vrrp));
    assert_eq!(edge.up(PuntClass::Multicast, &vrrp), Err(UplinkDrop::Vrrp));
    assert_eq!(
        edge.up(PuntClass::Dip, &[0; 13]),
        Err(UplinkDrop::Malformed)
    );
}

#[test]
fn a_vip_that_is_a_dip_goes_up() {
    let mut tables = tables(Role::Active);
    let vip: Vip = tables.v4.vips[&VIP];
    tables.v4.vips.insert(
        DIP,
        Vip {
            dip: Some(WAN),
            ..vip
        },
    );
    let mut edge = edge_with(&tables);
    let frame = ipv4(MAC, CLIENT, DIP, 6);
    assert_eq!(edge.up(PuntClass::Dip, &frame), Ok(frame));
    // ARP for it is still answered by Weir alone, and the kernel may ask from it.
    let ask = arp_frame(Operation::Request, CLIENT, DIP);
    assert_eq!(edge.up(PuntClass::Arp, &ask), Err(UplinkDrop::Vip));
    assert_eq!(
        edge.down(&arp_frame(Operation::Request, DIP, CLIENT)),
        Ok(())
    );
    assert_eq!(
        edge.down(&arp_frame(Operation::Reply, DIP, CLIENT)),
        Err(UplinkDrop::KernelVip)
    );
    assert_eq!(
        edge.down(&arp::announcement(MAC, DIP)),
        Err(UplinkDrop::KernelVip)
    );
}

#[test]
fn frames_to_a_virtual_mac_reach_the_tap_under_its_own() {
    let mut edge = edge();
    let virtual_mac = MacAddr([0, 0, 0x5e, 0, 1, 51]);
    let frame = edge
        .up(PuntClass::Routed, &ipv4(virtual_mac, CLIENT, DIP, 6))
        .unwrap();
    assert_eq!(frame[..6], MAC.0);
    let multicast = MacAddr([1, 0, 0x5e, 0, 0, 5]);
    let ospf = ipv4(multicast, CLIENT, Ipv4Addr::new(224, 0, 0, 5), 89);
    assert_eq!(edge.up(PuntClass::Multicast, &ospf), Ok(ospf));
}

#[test]
fn vlan_tags_end_at_the_tap() {
    let mut edge = edge();
    let plain = ipv4(MAC, CLIENT, DIP, 6);
    let tagged = frame::tag(&plain, Some(7)).into_owned();
    assert_eq!(edge.up(PuntClass::Dip, &tagged), Ok(plain));
}

#[test]
fn a9_of_answers_only_those_to_the_kernels_own_questions_go_up() {
    let mut edge = edge();
    let answer = arp_frame(Operation::Reply, CLIENT, DIP);
    assert_eq!(edge.up(PuntClass::Arp, &answer), Err(UplinkDrop::Unasked));
    assert_eq!(
        edge.down(&arp_frame(Operation::Request, DIP, CLIENT)),
        Ok(())
    );
    assert_eq!(edge.up(PuntClass::Arp, &answer), Ok(answer.clone()));
    // Not on another port, and not later.
    let Edge {
        uplink,
        responder,
        paths,
    } = &mut edge;
    let class = PuntClass::Arp;
    for (ms, port) in [(6_000, WAN), (0, LAN)] {
        let mut out = Vec::new();
        let given = uplink.up(at(ms), (port, class), &answer, responder, paths, &mut out);
        assert_eq!(given, None);
    }
    assert_eq!(uplink.counters().dropped[UplinkDrop::Unasked as usize], 2);
}

#[test]
fn a9_a_million_questions_do_not_grow_the_memory() {
    let mut edge = edge();
    for i in 0..20_000u32 {
        edge.down(&arp_frame(
            Operation::Request,
            DIP,
            Ipv4Addr::from_bits(0x0a00_0000 + i),
        ))
        .unwrap();
    }
    assert!(edge.uplink.questions.len() <= QUESTIONS_MAX);
    assert!(edge.uplink.asked.len() <= QUESTIONS_MAX);
}

#[test]
fn the_kernel_never_speaks_of_a_vip() {
    let mut edge = edge();
    for frame in [
        arp_frame(Operation::Request, Ipv4Addr::UNSPECIFIED, VIP),
        arp_frame(Operation::Request, VIP, VIP),
        arp_frame(Operation::Request, VIP, CLIENT),
        arp_frame(Operation::Reply, VIP, CLIENT),
        nd::advert(MAC, VIP6, None),
        nd::tests::solicit(Ipv6Addr::UNSPECIFIED, VIP6),
        ipv4(MAC, VIP, CLIENT, 6),
    ] {
        assert_eq!(
            edge.down(&frame),
            Err(UplinkDrop::KernelVip),
            "{frame:02x?}"
        );
    }
    assert_eq!(edge.down(&ipv4(MAC, DIP, CLIENT, 6)), Ok(()));
}

#[test]
fn a16_router_adverts_never_reach_the_kernel() {
    let mut edge = edge();
    let mut advert = nd::tests::solicit("fe80::1".parse().unwrap(), VIP6);
    advert[54] = 134;
    advert.truncate(54 + 16);
    advert[18..20].copy_from_slice(&[0, 16]);
    nd::tests::fix_checksum(&mut advert);
    assert_eq!(edge.up(PuntClass::Nd, &advert), Err(UplinkDrop::RouterWord));
}

#[test]
fn a11_a_flood_of_one_class_leaves_the_others_alone() {
    let mut edge = edge();
    let ask = arp_frame(Operation::Request, CLIENT, DIP);
    let passed = (0..10_000)
        .filter(|_| edge.up(PuntClass::Arp, &ask).is_ok())
        .count();
    assert_eq!(passed, rate(PuntClass::Arp) as usize);
    assert_eq!(edge.up(PuntClass::Arp, &ask), Err(UplinkDrop::Limited));
    assert!(edge.up(PuntClass::Dip, &ipv4(MAC, CLIENT, DIP, 6)).is_ok());
}

#[test]
fn reasons_have_unique_labels_in_index_order() {
    let mut labels: Vec<_> = UplinkDrop::ALL
        .iter()
        .map(|reason| reason.label())
        .collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), UplinkDrop::ALL.len());
    assert!(
        UplinkDrop::ALL
            .iter()
            .enumerate()
            .all(|(i, reason)| *reason as usize == i)
    );
}
