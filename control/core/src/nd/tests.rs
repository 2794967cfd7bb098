//! Neighbour discovery, octet by octet.

use super::*;

const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const ASKER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const ASKER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);

/// A solicitation for `target`, with a source link-layer address unless it is a probe.
pub(crate) fn solicit(source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let lladdr = (!source.is_unspecified()).then_some(EthernetAddress(ASKER_MAC.0).into());
    let icmp = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
        target_addr: target,
        lladdr,
    });
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: group(target),
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: 255,
    };
    let to = multicast_mac(group(target));
    let mut bytes = vec![0xa5; 14 + 40 + icmp.buffer_len()];
    bytes[..6].copy_from_slice(&to.0);
    bytes[6..12].copy_from_slice(&ASKER_MAC.0);
    bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
    let mut packet = Ipv6Packet::new_unchecked(&mut bytes[14..]);
    ip.emit(&mut packet);
    let mut packet = Icmpv6Packet::new_unchecked(packet.payload_mut());
    icmp.emit(
        &source,
        &group(target),
        &mut packet,
        &ChecksumCapabilities::default(),
    );
    bytes
}

fn parse(bytes: &[u8]) -> Option<Nd> {
    Nd::parse(&Frame::parse(bytes)?)
}

/// Sums ICMPv6 anew after a test changed something (payload without extension headers).
pub(crate) fn fix_checksum(bytes: &mut [u8]) {
    let mut ip = Ipv6Packet::new_unchecked(&mut bytes[14..]);
    let (source, destination) = (ip.src_addr(), ip.dst_addr());
    Icmpv6Packet::new_unchecked(ip.payload_mut()).fill_checksum(&source, &destination);
}

#[test]
fn a_solicitation_is_read_and_every_truncation_refused() {
    let bytes = solicit(ASKER, VIP);
    let expected = Nd::Solicit {
        source: ASKER,
        mac: ASKER_MAC,
        target: VIP,
    };
    assert_eq!(parse(&bytes), Some(expected));
    for len in 0..bytes.len() {
        assert_eq!(parse(&bytes[..len]), None, "{len}");
    }
}

#[test]
fn a13_the_answer_has_s_o_and_our_mac() {
    let bytes = advert(MAC, VIP, Some((ASKER_MAC, ASKER)));
    assert_eq!(
        &bytes[..14],
        [2, 0, 0, 0, 0, 0x99, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]
    );
    assert_eq!(bytes[21], 255);
    assert_eq!(
        (&bytes[22..38], &bytes[38..54]),
        (&VIP.octets()[..], &ASKER.octets()[..])
    );
    assert_eq!((bytes[54], bytes[55], bytes[58]), (136, 0, 0x60)); // NA, code 0, S and O, not R
    assert_eq!(&bytes[62..78], &VIP.octets());
    assert_eq!(&bytes[78..86], [2, 1, 2, 0, 0, 0, 0, 1]);
    assert_eq!(
        parse(&bytes),
        Some(Nd::Advert {
            mac: MAC,
            target: VIP
        })
    );
}

#[test]
fn a13_a_duplicate_address_probe_is_answered_to_all_nodes() {
    let probe = solicit(Ipv6Addr::UNSPECIFIED, VIP);
    let Some(Nd::Solicit { source, .. }) = parse(&probe) else {
        panic!("a probe counts")
    };
    assert!(source.is_unspecified());
    let bytes = advert(MAC, VIP, None);
    assert_eq!(&bytes[..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(&bytes[38..54], &ALL_NODES.octets());
    assert_eq!(bytes[58], 0x20); // O alone
}

#[test]
fn a14_hop_limit_code_checksum_and_option_length_zero() {
    let good = solicit(ASKER, VIP);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        fix_checksum(&mut bytes);
        parse(&bytes)
    };
    assert!(with(0, 0x33).is_some());
    assert_eq!(with(21, 254), None, "hop limit");
    assert_eq!(with(55, 1), None, "code");
    assert_eq!(with(79, 0), None, "option length 0");
    assert_eq!(with(79, 2), None, "option past the end");
    assert_eq!(with(62, 0xff), None, "multicast target");
    let mut bytes = good.clone();
    bytes[57] ^= 1;
    assert_eq!(parse(&bytes), None, "checksum");
    let mut bytes = solicit(Ipv6Addr::UNSPECIFIED, VIP);
    bytes[53] ^= 1;
    fix_checksum(&mut bytes);
    assert_eq!(parse(&bytes), None, "a probe to another group");
}

#[test]
fn a16_router_adverts_and_redirects_are_recognised() {
    let mut bytes = solicit(ASKER, VIP);
    for (kind, expected) in [(134, true), (137, true), (133, false)] {
        bytes[54] = kind;
        bytes[58..].fill(0);
        let len = match kind {
            134 => 16,
            137 => 40,
            _ => 8,
        };
        bytes.resize(54 + len, 0);
        bytes[18..20].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        fix_checksum(&mut bytes);
        assert_eq!(parse(&bytes) == Some(Nd::RouterWord), expected, "{kind}");
    }
}

#[test]
fn a17_a_join_is_an_mldv2_report_for_the_solicited_node_group() {
    let bytes = report(MAC, VIP, Membership::Join);
    assert_eq!(bytes.len(), 14 + 40 + 8 + 28);
    assert_eq!(&bytes[..6], [0x33, 0x33, 0, 0, 0, 0x16]);
    assert_eq!((bytes[20], bytes[21]), (0, 1)); // hop-by-hop follows, hop limit 1
    assert_eq!(&bytes[54..62], [58, 0, 5, 2, 0, 0, 1, 0]);
    assert_eq!((bytes[62], bytes[69], bytes[70]), (143, 1, 4));
    let expected: Ipv6Addr = "ff02::1:ff00:10".parse().unwrap();
    assert_eq!(&bytes[74..90], &expected.octets());
    let icmp = Icmpv6Packet::new_checked(&bytes[62..]).unwrap();
    assert!(icmp.verify_checksum(&link_local(MAC), &ALL_MLD_ROUTERS));
    assert_eq!(
        link_local(MAC),
        "fe80::ff:fe00:1".parse::<Ipv6Addr>().unwrap()
    );
}

#[test]
fn listener_queries_are_recognised() {
    let mut query = report(MAC, VIP, Membership::Join);
    assert!(!is_listener_query(&Frame::parse(&query).unwrap()));
    query[62] = 130;
    assert!(is_listener_query(&Frame::parse(&query).unwrap()));
}
