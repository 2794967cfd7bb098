//! Checksums against sums that are too plain to be wrong.

use core::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

/// RFC 1071 as its text says it: 16-bit words, carries added back.
fn plain_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

fn plain(bytes: &[u8]) -> Checksum {
    Checksum((!plain_sum(bytes)).to_be_bytes())
}

const CORNERS: [u16; 9] = [0, 1, 0x00ff, 0x0100, 0x7fff, 0x8000, 0xff00, 0xfffe, 0xffff];

#[test]
fn the_example_of_rfc_1071_sums_to_ddf2() {
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(of(&bytes), Checksum((!0xddf2u16).to_be_bytes()));
}

#[test]
fn the_fast_sum_equals_the_plain_one_at_every_length_and_alignment() {
    let bytes: Vec<u8> = (0..200u32)
        .map(|i| (i * i * 31 + 7).to_le_bytes()[0])
        .collect();
    for start in 0..16 {
        for end in start..=bytes.len() {
            let piece = &bytes[start..end];
            assert_eq!(of(piece), plain(piece), "{start}..{end}");
        }
    }
    let ones = vec![0xff; 65535];
    assert_eq!(of(&ones), plain(&ones));
    assert_eq!(of(&[]), Checksum::ONES);
    assert_eq!(of(&vec![0; 9000]), Checksum::ONES);
}

#[test]
fn d13_a_sum_in_pieces_equals_the_sum_of_the_whole() {
    let bytes: Vec<u8> = (0..128u8).map(|i| i.wrapping_mul(73) ^ 0x5a).collect();
    for a in 0..=bytes.len() {
        for b in a..=bytes.len() {
            let sum = Sum::new()
                .over(&bytes[..a])
                .over(&bytes[a..b])
                .over(&bytes[b..]);
            assert_eq!(sum.finish(), plain(&bytes), "split at {a} and {b}");
        }
    }
}

#[test]
fn an_ipv4_header_is_valid_exactly_if_it_sums_up() {
    let mut header = *b"\x45\0\0\x28\0\0\x40\0\x40\x06\x7b\xa9\xac\x10\0\x05\x0a\x09\x09\x09";
    assert!(is_valid_ipv4(&header) && is_valid(&header));
    for octet in 0..20 {
        for bit in 0..8 {
            header[octet] ^= 1 << bit;
            assert!(
                !is_valid_ipv4(&header) && !is_valid(&header),
                "{octet}.{bit}"
            );
            header[octet] ^= 1 << bit;
        }
    }
    assert!(
        !is_valid_ipv4(&[0; 20]),
        "all zero sums to zero, not to ones"
    );
}

/// Every checksum that data can have, with a field at every corner replaced by every corner.
#[test]
fn d17_incremental_update_matches_full_sum_at_corners() {
    for sum in 0..=u16::MAX {
        for old in CORNERS {
            // Data of which `old` is a word and whose checksum is `sum`.
            let rest = fold(u32::from(!sum) + u32::from(!old));
            let data = [old.to_be_bytes(), rest.to_be_bytes()].concat();
            let before = of(&data);
            for new in CORNERS {
                let data = [new.to_be_bytes(), rest.to_be_bytes()].concat();
                if rest == 0 && (old == 0 || new == 0) {
                    continue; // All-zero data: see the next test.
                }
                let after = Delta::new().replace_u16(old, new).apply(before);
                assert_eq!(after, of(&data), "{sum:#x}: {old:#x} to {new:#x}");
            }
        }
    }
}

/// No packet is all zero, as each has a version or a pseudo-header. If one were, the checksum would
/// still verify: 0x0000 and 0xffff are the same number.
#[test]
fn d17_data_that_becomes_all_zero_still_verifies() {
    for old in CORNERS.into_iter().skip(1) {
        let before = of(&old.to_be_bytes());
        let after = Delta::new().replace_u16(old, 0).apply(before);
        assert!(after == Checksum::ZERO || after == Checksum::ONES);
    }
}

/// RFC 1624 §4: header word 0x5555 becomes 0x3285 under checksum 0xdd2f. RFC 1141's equation
/// gives 0xffff, which is wrong.
#[test]
fn d17_the_example_of_rfc_1624_gives_zero() {
    let after = Delta::new()
        .replace_u16(0x5555, 0x3285)
        .apply(Checksum([0xdd, 0x2f]));
    assert_eq!(after, Checksum([0x00, 0x00]));
}

#[test]
fn d18_udp_zero_stays_zero_and_computed_zero_becomes_ones() {
    let delta = Delta::new().replace_u16(0x5555, 0x3285);
    assert_eq!(delta.apply_udp(Checksum::ZERO), Checksum::ZERO);
    assert_eq!(delta.apply_udp(Checksum([0xdd, 0x2f])), Checksum::ONES);
    for sum in 1..=u16::MAX {
        let sum = Checksum(sum.to_be_bytes());
        for (old, new) in CORNERS.into_iter().zip(CORNERS.into_iter().rev()) {
            let delta = Delta::new().replace_u16(old, new);
            assert!(!delta.apply_udp(sum).is_zero(), "{sum:?} {old:#x} {new:#x}");
            assert_eq!(delta.apply_udp(sum), delta.apply(sum).for_udp());
        }
    }
}

#[test]
fn d4_a_wrong_checksum_stays_as_wrong_as_it_was() {
    let mut data = *b"\x12\x34\x56\x78\x9a\xbc\xde\xf0";
    let right = of(&data);
    for error in 1..0xffffu16 {
        let wrong = fold(u32::from(u16::from_be_bytes(right.0)) + u32::from(error));
        let delta = Delta::new().replace_u16(0x1234, 0xabcd);
        let after = delta.apply(Checksum(wrong.to_be_bytes()));
        data[..2].copy_from_slice(&[0xab, 0xcd]);
        let full = u16::from_be_bytes(of(&data).0);
        // The same error, in one's complement, where 0 and 0xffff are one number.
        let off = fold(u32::from(full) + u32::from(error));
        let same = |a: u16, b: u16| a % 0xffff == b % 0xffff;
        assert!(same(u16::from_be_bytes(after.0), off), "error {error:#x}");
        assert_ne!(after, Checksum(full.to_be_bytes()));
        data[..2].copy_from_slice(&[0x12, 0x34]);
    }
}

/// A transport message under a pseudo-header, summed plainly.
fn plain_l4<A: Address>(src: A, dst: A, protocol: u8, message: &[u8]) -> Checksum {
    let mut all = [src.octets().as_ref(), dst.octets().as_ref()].concat();
    all.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    all.extend([0, 0, 0, protocol]);
    all.extend(message);
    plain(&all)
}

proptest! {
    #[test]
    fn the_fast_sum_equals_the_plain_one(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(of(&bytes), plain(&bytes));
    }

    #[test]
    fn pseudo_header_sums_equal_the_plain_ones(
        src4 in any::<u32>(), dst4 in any::<u32>(), src6 in any::<u128>(), dst6 in any::<u128>(),
        message in proptest::collection::vec(any::<u8>(), 1..300),
    ) {
        let len = u16::try_from(message.len()).unwrap();
        let (src, dst) = (Ipv4Addr::from(src4), Ipv4Addr::from(dst4));
        let sum = Sum::pseudo(src, dst, Protocol::TCP, len).over(&message).finish();
        prop_assert_eq!(sum, plain_l4(src, dst, 6, &message));
        let (src, dst) = (Ipv6Addr::from(src6), Ipv6Addr::from(dst6));
        let sum = Sum::pseudo(src, dst, Protocol::ICMPV6, len).over(&message).finish();
        prop_assert_eq!(sum, plain_l4(src, dst, 58, &message));
    }

    #[test]
    fn d17_one_delta_for_addresses_and_ports_matches_the_full_sum_v4(
        old in any::<(u32, u16, u32)>(), new in any::<(u32, u16, u32)>(), dst in any::<u32>(),
        tail in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let message = |(_, port, word): (u32, u16, u32)| {
            let mut bytes = port.to_be_bytes().to_vec();
            bytes.extend([0, 1]);
            bytes.extend(word.to_be_bytes());
            bytes.extend(&tail);
            bytes
        };
        let addr = |(bits, _, _): (u32, u16, u32)| Ipv4Addr::from(bits);
        let dst = Ipv4Addr::from(dst);
        let before = plain_l4(addr(old), dst, 6, &message(old));
        let delta = Delta::new()
            .replace_addr(addr(old), addr(new))
            .replace_u16(old.1, new.1)
            .and(Delta::new().replace_u32(old.2, new.2));
        prop_assert_eq!(delta.apply(before), plain_l4(addr(new), dst, 6, &message(new)));
    }

    #[test]
    fn d20_one_delta_for_an_address_matches_the_full_sum_v6(
        old in any::<u128>(), new in any::<u128>(), dst in any::<u128>(),
        message in proptest::collection::vec(any::<u8>(), 8..64),
    ) {
        let (old, new, dst) = (Ipv6Addr::from(old), Ipv6Addr::from(new), Ipv6Addr::from(dst));
        let before = plain_l4(old, dst, 58, &message);
        let after = Delta::new().replace_addr(old, new).apply(before);
        prop_assert_eq!(after, plain_l4(new, dst, 58, &message));
    }
}

#[test]
fn a_hop_less_is_what_an_update_makes_of_it_for_every_checksum() {
    let delta = Delta::new().replace_u16(0x4006, 0x3f06);
    for old in 0..=u16::MAX {
        let old = Checksum(old.to_be_bytes());
        assert_eq!(old.after_hop(), delta.apply(old), "{old:?}");
    }
}

#[test]
fn a_short_update_does_what_the_long_one_does_and_takes_it_back() {
    let ports = [0, 1, 80, 0x7fff, 0x8000, 0xfffe, 0xffff];
    // No address is all zeros.
    let words = [
        1,
        0x0a01_000c,
        0x7fff_ffff,
        0xffff_0000,
        0xffff_fffe,
        u32::MAX,
    ];
    let updates = words.iter().flat_map(|old| words.map(|new| (*old, new)));
    for (old, new) in updates.filter(|(old, new)| old != new) {
        for (from, to) in ports.iter().flat_map(|from| ports.map(|to| (*from, to))) {
            let there = Delta::new().replace_u32(old, new).replace_u16(from, to);
            let back = Delta::new().replace_u32(new, old).replace_u16(to, from);
            for sum in ports.map(|sum| Checksum(sum.to_be_bytes())) {
                let short = there.short();
                assert_eq!(short.long().apply(sum), there.apply(sum));
                assert_eq!(short.reversed().long().apply(sum), back.apply(sum));
                assert_eq!(short.long().apply_udp(sum), there.apply_udp(sum));
            }
        }
    }
}
