//! Fragments and IPv6 extension chains.

use super::*;

fn later(offset: u16, last: bool, id: u32) -> Fragment {
    Fragment::Later { id, offset, last }
}

#[test]
fn d26_fragments_of_one_ipv4_packet_carry_its_id() {
    let first = [udp(40), vec![0xa5; 8]].concat();
    let parsed = v4(&frame_v4(&ipv4(&[], MF, 17, &first))).unwrap();
    assert_eq!(parsed.fragment, Fragment::First { id: 0x1234 });
    assert_eq!((parsed.sport, parsed.dport), (L4Port(40001), L4Port(53)));
    let parsed = v4(&frame_v4(&ipv4(&[], MF | 2, 17, &[0xa5; 16]))).unwrap();
    assert_eq!(parsed.fragment, later(16, false, 0x1234));
    assert_eq!(
        (parsed.sport, parsed.dport, parsed.l4),
        (L4Port::NONE, L4Port::NONE, 34)
    );
    let parsed = v4(&frame_v4(&ipv4(&[], 4, 17, &[0xa5; 3]))).unwrap();
    assert_eq!(parsed.fragment, later(32, true, 0x1234));
    assert!(!parsed.udp_checksum_zero && parsed.tcp_flags == TcpFlags::NONE);
}

#[test]
fn d29_tiny_and_overwriting_first_fragments_are_refused() {
    let tiny = Err(ParseError::TinyFragment);
    // RFC 1858: the flags would be in the second fragment.
    assert_eq!(v4(&frame_v4(&ipv4(&[], MF, 6, &tcp(5, SYN)[..16]))), tiny);
    // A header whose options run into the second fragment.
    assert_eq!(v4(&frame_v4(&ipv4(&[], MF, 6, &tcp(10, SYN)[..24]))), tiny);
    assert!(v4(&frame_v4(&ipv4(&[], MF, 6, &tcp(10, SYN)))).is_ok());
    // RFC 3128: a later fragment over the ports, the sequence number or the flags.
    for words in [1, 2] {
        assert_eq!(v4(&frame_v4(&ipv4(&[], words, 6, &[0; 24]))), tiny);
    }
    assert!(v4(&frame_v4(&ipv4(&[], 3, 6, &[0; 24]))).is_ok());
    assert!(v4(&frame_v4(&ipv4(&[], 1, 17, &[0; 24]))).is_ok());
    assert_eq!(
        v4(&frame_v4(&ipv4(&[], MF, 1, &[]))),
        Err(ParseError::FragmentOverflow)
    );
}

#[test]
fn d29_fragments_past_65535_or_off_the_grid_are_refused() {
    let overflow = Some(ParseError::FragmentOverflow);
    assert_eq!(
        v4(&frame_v4(&ipv4(&[], 0x1fff, 17, &[0; 8]))).err(),
        overflow
    );
    assert_eq!(
        v4(&frame_v4(&ipv4(&[], MF | 4, 17, &[0; 9]))).err(),
        overflow
    );
    let odd = [fragment_header(17, 32, true, 1), vec![0; 9]].concat();
    assert_eq!(v6(&frame_v6(&ipv6(44, &odd))).err(), overflow);
    let death = [fragment_header(17, 65528, false, 1), vec![0; 9]].concat();
    assert_eq!(v6(&frame_v6(&ipv6(44, &death))).err(), overflow);
}

#[test]
fn d29_an_atomic_fragment_is_whole_and_its_header_is_remembered() {
    let atomic = [fragment_header(6, 0, false, 77), tcp(5, SYN)].concat();
    let parsed = v6(&frame_v6(&ipv6(44, &atomic))).unwrap();
    assert_eq!(
        (parsed.fragment, parsed.fragment_header),
        (Fragment::Whole, 54)
    );
    assert_eq!((parsed.l4, parsed.dport), (62, L4Port(80)));
    assert_eq!(
        v6(&frame_v6(&ipv6(6, &tcp(5, SYN))))
            .unwrap()
            .fragment_header,
        0
    );
}

#[test]
fn d26_fragments_of_one_ipv6_packet_carry_its_id() {
    let first = [
        fragment_header(17, 0, true, 0xabcd_0001),
        udp(40),
        vec![0; 8],
    ]
    .concat();
    let parsed = v6(&frame_v6(&ipv6(44, &first))).unwrap();
    assert_eq!(parsed.fragment, Fragment::First { id: 0xabcd_0001 });
    assert_eq!(
        (parsed.dport, parsed.l4, parsed.fragment_header),
        (L4Port(53), 62, 54)
    );
    // What a later fragment's header names is not walked: its octets are from the middle.
    let second = [fragment_header(60, 16, false, 0xabcd_0001), vec![0xff; 5]].concat();
    let parsed = v6(&frame_v6(&ipv6(44, &second))).unwrap();
    assert_eq!(parsed.fragment, later(16, true, 0xabcd_0001));
    assert_eq!(
        (parsed.protocol, parsed.l4, parsed.dport),
        (Protocol(60), 62, L4Port::NONE)
    );
}

#[test]
fn d6_the_walk_finds_the_ports_behind_every_kind_of_header() {
    let ah = |next| [vec![next, 4, 0, 0], vec![0xa5; 20]].concat(); // 6 words of 4 octets
    let routing = |next| vec![next, 0, 4, 0, 0, 0, 0, 0]; // type 4, no segments left
    let chains = [
        vec![extension(6, 8), tcp(5, SYN)],
        vec![extension(60, 8), extension(6, 24), tcp(5, SYN)],
        vec![
            extension(43, 8),
            routing(44),
            fragment_header(51, 0, false, 1),
            ah(6),
            tcp(5, SYN),
        ],
    ];
    for chain in chains {
        let before: usize = chain[..chain.len() - 1].iter().map(Vec::len).sum();
        let parsed = v6(&frame_v6(&ipv6(0, &chain.concat()))).unwrap();
        assert_eq!(usize::from(parsed.l4), 54 + before);
        assert_eq!((parsed.protocol, parsed.dport), (Protocol::TCP, L4Port(80)));
        assert_eq!(parsed.tcp_flags, TcpFlags::SYN);
    }
}

#[test]
fn d6_routing_headers_that_route_are_refused() {
    for (kind, left) in [(0, 0), (0, 1), (2, 1), (4, 3), (253, 1)] {
        let chain = [vec![6, 0, kind, left, 0, 0, 0, 0], tcp(5, SYN)].concat();
        assert_eq!(
            v6(&frame_v6(&ipv6(43, &chain))),
            Err(ParseError::SourceRoute),
            "{kind} {left}"
        );
    }
}

#[test]
fn d6_chains_past_8_headers_or_256_octets_are_refused() {
    let headers = |count: usize, len: usize| {
        let mut chain: Vec<u8> = (1..count).flat_map(|_| extension(60, len)).collect();
        chain.extend([extension(6, len), tcp(5, SYN)].concat());
        v6(&frame_v6(&ipv6(60, &chain)))
    };
    assert!(headers(8, 8).is_ok() && headers(8, 32).is_ok() && headers(1, 256).is_ok());
    assert_eq!(headers(9, 8), Err(ParseError::ExtensionChain));
    assert_eq!(headers(7, 40), Err(ParseError::ExtensionChain));
    assert_eq!(headers(1, 264), Err(ParseError::ExtensionChain));
}

#[test]
fn d6_headers_out_of_place_are_malformed() {
    let late = [extension(0, 8), extension(6, 8), tcp(5, SYN)].concat();
    assert_eq!(v6(&frame_v6(&ipv6(60, &late))), Err(ParseError::Malformed));
    let twice = [
        fragment_header(44, 0, false, 1),
        fragment_header(6, 0, false, 1),
        tcp(5, SYN),
    ];
    assert_eq!(
        v6(&frame_v6(&ipv6(44, &twice.concat()))),
        Err(ParseError::Malformed)
    );
}

#[test]
fn d6_a_first_fragment_without_the_full_chain_is_tiny() {
    let whole = [
        fragment_header(60, 0, true, 1),
        extension(6, 16),
        tcp(5, SYN),
        vec![0; 4],
    ]
    .concat();
    assert!(v6(&frame_v6(&ipv6(44, &whole))).is_ok());
    for len in [16, 24, 32, 40] {
        let cut = &whole[..len];
        assert_eq!(
            v6(&frame_v6(&ipv6(44, cut))),
            Err(ParseError::TinyFragment),
            "{len}"
        );
    }
}
