//! Frames against the checklist: every reason to refuse, and what is sent.

use super::*;
use crate::testing::vrrp;

const PORT: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THEM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));

fn instance() -> VrrpInstance {
    vrrp("edge", "wan0", 51, &["192.0.2.10", "192.0.2.11"])
}

fn version_2(auth: Option<[u8; 8]>) -> VrrpInstance {
    VrrpInstance {
        version: 2,
        auth,
        ..instance()
    }
}

fn six() -> VrrpInstance {
    vrrp("six", "wan0", 51, &["fe80::51", "2001:db8::10"])
}

fn from(instance: &VrrpInstance) -> IpAddr {
    match instance.addresses[0] {
        IpAddr::V4(_) => THEM,
        IpAddr::V6(_) => "fe80::3".parse().unwrap(),
    }
}

fn frame(instance: &VrrpInstance, priority: u8) -> Vec<u8> {
    let source = from(instance);
    emit(
        instance,
        priority,
        (PORT, source),
        to_group(source.is_ipv4()),
    )
    .unwrap()
}

fn take(bytes: &[u8], instance: &VrrpInstance) -> Result<Accepted, Reject> {
    let packet = open(&Frame::parse(bytes).unwrap())?;
    judge(&packet, instance, |ip| ip == IpAddr::from([192, 0, 2, 2]))
}

/// Changes octets of an IPv4 frame and makes both checksums right again.
fn altered(mut bytes: Vec<u8>, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut bytes);
    bytes[24..26].fill(0);
    let sum = checksum::of(&bytes[14..34]).0;
    bytes[24..26].copy_from_slice(&sum);
    let end = 14 + usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let end = end.min(bytes.len());
    if end >= 42 {
        bytes[40..42].fill(0);
        let sum = checksum::of(&bytes[34..end]).0;
        bytes[40..42].copy_from_slice(&sum);
    }
    bytes
}

#[test]
fn v23_adverts_go_to_the_group_with_ttl_255_and_class_six_and_are_taken_back() {
    for instance in [
        instance(),
        version_2(None),
        version_2(Some(*b"1111\0\0\0\0")),
        six(),
    ] {
        let bytes = frame(&instance, 150);
        assert!(bytes.len() >= 60);
        let accepted = take(&bytes, &instance).unwrap();
        assert_eq!(accepted.heard.priority, 150);
        assert_eq!(accepted.heard.source, from(&instance));
        assert_eq!(accepted.heard.interval, instance.interval);
        assert_eq!(accepted.addresses, instance.addresses);
        assert!(!accepted.differs);
    }
    let bytes = frame(&instance(), 150);
    assert_eq!(bytes[..6], [1, 0, 0x5e, 0, 0, 18]);
    assert_eq!((bytes[15], bytes[22], bytes[23]), (0xc0, 255, 112));
    let bytes = frame(&six(), 150);
    assert_eq!(bytes[..6], [0x33, 0x33, 0, 0, 0, 0x12]);
    assert_eq!(
        (bytes[14], bytes[15], bytes[20], bytes[21]),
        (0x6c, 0, 112, 255)
    );
}

#[test]
fn v1_every_ttl_but_255_is_refused() {
    for ttl in [0, 1, 64, 254] {
        let bytes = altered(frame(&instance(), 100), |b| b[22] = ttl);
        assert_eq!(take(&bytes, &instance()), Err(Reject::Ttl), "{ttl}");
    }
    let mut bytes = frame(&six(), 100);
    bytes[21] = 254;
    assert_eq!(take(&bytes, &six()), Err(Reject::Ttl));
}

#[test]
fn v2_v20_multicast_and_unicast_are_not_mixed_and_peers_are_listed() {
    let ours = MacAddr([2, 0, 0, 0, 0, 2]);
    let to = (ours, IpAddr::from([192, 0, 2, 2]));
    let unicast = emit(&instance(), 100, (PORT, THEM), to).unwrap();
    assert_eq!(take(&unicast, &instance()), Err(Reject::Destination));
    let peers = |list: &[IpAddr]| VrrpInstance {
        peers: list.to_vec(),
        ..instance()
    };
    // V10: summed up with the real destination.
    assert!(take(&unicast, &peers(&[THEM])).is_ok());
    let stranger = peers(&[IpAddr::from([192, 0, 2, 9])]);
    assert_eq!(take(&unicast, &stranger), Err(Reject::UnknownPeer));
    let group = frame(&instance(), 100);
    assert_eq!(take(&group, &peers(&[THEM])), Err(Reject::Destination));
}

#[test]
fn v3_v4_other_versions_and_types_are_refused() {
    assert_eq!(
        take(&frame(&version_2(None), 100), &instance()),
        Err(Reject::Version)
    );
    assert_eq!(
        take(&frame(&instance(), 100), &version_2(None)),
        Err(Reject::Version)
    );
    let bytes = altered(frame(&instance(), 100), |b| b[34] = 0x32);
    assert_eq!(take(&bytes, &instance()), Err(Reject::Type));
}

#[test]
fn v5_v6_lengths_must_fit_the_addresses_and_padding_does_not_count() {
    let whole = frame(&instance(), 100);
    let padded = [&whole[..], &[0xff; 20]].concat();
    assert!(take(&padded, &instance()).is_ok());
    // One address fewer declared: a surplus in the packet. One more: too short.
    for (count, reason) in [
        (0, Reject::Count),
        (1, Reject::Length),
        (3, Reject::Length),
        (255, Reject::Length),
    ] {
        let bytes = altered(whole.clone(), |b| b[37] = count);
        assert_eq!(take(&bytes, &instance()), Err(reason), "{count}");
    }
    for len in 14..whole.len() {
        // Never more than the octets that are there, whatever is declared.
        let taken = take(&whole[..len], &instance());
        assert!(len >= 50 || taken.is_err(), "{len}");
    }
}

#[test]
fn v7_v8_v9_checksums_right_in_either_way_of_version_3_over_ipv4() {
    let ours = instance();
    let other = VrrpInstance {
        checksum: VrrpChecksum::Rfc9568,
        ..instance()
    };
    for (sender, kind) in [
        (&ours, VrrpChecksum::Rfc5798),
        (&other, VrrpChecksum::Rfc9568),
    ] {
        let accepted = take(&frame(sender, 100), &ours).unwrap();
        assert_eq!(accepted.checksum, Some(kind));
    }
    for instance in [instance(), version_2(None), six()] {
        let mut bytes = frame(&instance, 100);
        let at = if instance.addresses[0].is_ipv4() {
            36
        } else {
            56
        };
        bytes[at] ^= 1;
        assert_eq!(take(&bytes, &instance), Err(Reject::Checksum));
    }
}

#[test]
fn v12_v13_v14_intervals_agree_in_version_2_and_are_learned_in_version_3() {
    let slow = |version| VrrpInstance {
        version,
        interval: std::time::Duration::from_secs(2),
        ..instance()
    };
    assert_eq!(
        take(&frame(&slow(2), 100), &version_2(None)),
        Err(Reject::Interval)
    );
    let accepted = take(&frame(&slow(3), 100), &instance()).unwrap();
    assert_eq!(accepted.heard.interval.as_secs(), 2);
    let zero = altered(frame(&instance(), 100), |b| (b[38], b[39]) = (0, 0));
    assert_eq!(take(&zero, &instance()), Err(Reject::Interval));
    let reserved = altered(frame(&instance(), 100), |b| b[38] |= 0xf0);
    assert!(take(&reserved, &instance()).is_ok());
    assert_eq!(frame(&instance(), 100)[38] & 0xf0, 0);
}

#[test]
fn v15_passwords_agree_or_the_advert_is_refused() {
    let (right, wrong) = (Some(*b"1111\0\0\0\0"), Some(*b"1112\0\0\0\0"));
    for (sender, receiver, taken) in [
        (None, None, true),
        (right, right, true),
        (wrong, right, false),
        (None, right, false),
        (right, None, false),
    ] {
        let result = take(&frame(&version_2(sender), 100), &version_2(receiver));
        assert_eq!(result.err(), (!taken).then_some(Reject::Auth));
    }
}

#[test]
fn v16_an_ipv6_list_begins_link_local_unless_ours_does_not() {
    let bare = vrrp("six", "wan0", 51, &["2001:db8::10"]);
    assert_eq!(take(&frame(&bare, 100), &six()), Err(Reject::LinkLocal));
    assert!(take(&frame(&bare, 100), &bare).is_ok());
}

#[test]
fn v17_other_addresses_are_told_in_version_3_and_refused_in_version_2() {
    let fewer = |version| VrrpInstance {
        version,
        addresses: vec![IpAddr::from([192, 0, 2, 10])],
        ..instance()
    };
    assert!(take(&frame(&fewer(3), 100), &instance()).unwrap().differs);
    assert_eq!(
        take(&frame(&fewer(2), 100), &version_2(None)),
        Err(Reject::Addresses)
    );
    assert!(
        take(&frame(&fewer(2), 255), &version_2(None))
            .unwrap()
            .differs
    );
}

#[test]
fn v19_our_own_words_come_back_are_refused() {
    let own = (PORT, IpAddr::from([192, 0, 2, 2]));
    let bytes = emit(&instance(), 100, own, to_group(true)).unwrap();
    assert_eq!(take(&bytes, &instance()), Err(Reject::OwnSource));
}

#[test]
fn v22_fragments_and_extension_headers_are_refused_and_options_are_skipped() {
    let first = altered(frame(&instance(), 100), |b| b[20] |= 0x20);
    assert_eq!(take(&first, &instance()), Err(Reject::Fragment));
    let later = altered(frame(&instance(), 100), |b| b[21] = 1);
    assert_eq!(take(&later, &instance()), Err(Reject::Fragment));
    let mut behind = frame(&six(), 100);
    behind[20] = 0;
    assert_eq!(take(&behind, &six()), Err(Reject::Fragment));
    // Four octets of IPv4 options.
    let mut bytes = frame(&instance(), 100);
    bytes.splice(34..34, [1, 1, 1, 0]);
    bytes[14] = 0x46;
    let len = u16::from_be_bytes([bytes[16], bytes[17]]) + 4;
    bytes[16..18].copy_from_slice(&len.to_be_bytes());
    bytes[24..26].fill(0);
    let sum = checksum::of(&bytes[14..38]).0;
    bytes[24..26].copy_from_slice(&sum);
    assert!(take(&bytes, &instance()).is_ok());
}

#[test]
fn v24_priority_0_resigns() {
    let accepted = take(&frame(&instance(), 0), &instance()).unwrap();
    assert_eq!(accepted.heard.priority, 0);
}

#[test]
fn labels_are_unique_and_texts_are_sentences() {
    let mut labels: Vec<_> = Reject::ALL.iter().map(|r| r.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Reject::COUNT);
    assert!(Reject::ALL.iter().all(|r| r.text().ends_with('.')));
    assert!(
        Reject::ALL
            .iter()
            .enumerate()
            .all(|(i, r)| *r as usize == i)
    );
}

#[test]
fn noise_in_a_valid_advert_never_panics() {
    let instances = [instance(), version_2(Some([7; 8])), six()];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..30_000 {
        let instance = &instances[round % instances.len()];
        let mut bytes = frame(instance, 100);
        for _ in 0..1 + round % 4 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let [at, value, ..] = random.to_le_bytes();
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= value;
        }
        bytes.truncate(bytes.len() - round % 7);
        let _ = take(&bytes, instance);
    }
}
