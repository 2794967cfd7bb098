//! Frames that nobody in his right mind would send, both ways.

use proptest::prelude::*;

use super::*;

/// What happens to a good frame on its way.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Set(usize, u8),
    Cut(usize),
    Pad(usize),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let damage = prop_oneof![
        // Headers matter most.
        6 => (0usize..100, any::<u8>()).prop_map(|(at, value)| Damage::Set(at, value)),
        1 => (0usize..120).prop_map(Damage::Cut),
        1 => (1usize..64).prop_map(Damage::Pad),
    ];
    prop::collection::vec(damage, 0..5)
}

fn damaged(mut frame: Vec<u8>, all: &[Damage]) -> Vec<u8> {
    for damage in all {
        match *damage {
            Damage::Set(at, value) => frame.iter_mut().skip(at).take(1).for_each(|o| *o = value),
            Damage::Cut(len) => frame.truncate(len),
            Damage::Pad(len) => frame.resize(frame.len() + len, 0xa5),
        }
    }
    // Or nothing would be looked at behind a wrong checksum.
    if frame.len() >= 34 && frame[12..14] == [8, 0] {
        frame[24..26].fill(0);
        let sum = checksum::of(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.0);
    }
    frame
}

/// A site with a probe of each server, and frames of all kinds about them.
fn besieged() -> (Site, Vec<Vec<u8>>) {
    let mut site = site();
    let mut frames = vec![
        arp_frame(Operation::Request, Ipv4Addr::new(10, 0, 0, 1), VIP),
        nd::tests::solicit("fd00::1".parse().unwrap(), VIP6),
        nd::advert(MAC, VIP6, None),
    ];
    for service in ["web", "web6"] {
        for server in ["dr", "tun4", "tun6", "off"] {
            for protocol in [Protocol::TCP, Protocol::UDP] {
                let path = site.open(service, server, protocol);
                let (source, vip) = (path.source, vip(service));
                let probe = match protocol {
                    Protocol::TCP => tcp(FROM_KERNEL, source, vip, SYN),
                    Protocol(_) => udp(FROM_KERNEL, source, vip, &[7; 64]),
                };
                let answer = match protocol {
                    Protocol::TCP => tcp(FROM_SERVER, vip, source, SYN_ACK),
                    Protocol(_) => udp(FROM_SERVER, vip, source, b"!"),
                };
                let error = unreachable(vip.ip(), source.ip(), &probe);
                if let Ok((_, sent)) = site.sent(&probe)
                    && let Some((from, to, _)) = Frame::parse(&sent).unwrap().ip()
                {
                    frames.push(unreachable(to, from, &sent));
                }
                frames.extend([probe, answer, error]);
            }
        }
    }
    (site, frames)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the kernel sends: to a VIP goes only a probe, and only to its own server.
    #[test]
    fn what_the_kernel_sends_reaches_no_vip_but_as_a_probe(
        which in any::<prop::sample::Index>(),
        damage in damage(),
    ) {
        let (mut site, frames) = besieged();
        let frame = damaged(which.get(&frames).clone(), &damage);
        let Ok(Down::Send(port, sent)) = site.edge.judge_down(&frame) else {
            return Ok(());
        };
        if *sent == frame {
            let ip = Frame::parse(&frame).and_then(|frame| frame.ip());
            let vips = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];
            let about = |(from, to, _)| vips.contains(&from) || vips.contains(&to);
            prop_assert!(!ip.is_some_and(about), "{frame:02x?}");
            prop_assert_eq!(port, WAN);
        } else {
            let probe = path::probe(&frame).expect("only probes are rewritten");
            prop_assert!(site.edge.paths.forward(at(0), &frame, 0).is_some());
            prop_assert!(probe.source.port() >= crate::paths::PORT_FIRST);
            prop_assert_eq!(port, LAN);
            prop_assert_eq!(&sent[6..12], &LAN_MAC.0[..]);
            prop_assert!([DR_MAC.0, TUN_MAC.0].iter().any(|mac| sent[..6] == *mac));
            prop_assert!(sent.len() <= 1514);
        }
    }

    /// Whatever comes from the wire: from a VIP goes up only what answers a probe.
    #[test]
    fn from_a_vip_the_kernel_gets_only_answers(
        which in any::<prop::sample::Index>(),
        damage in damage(),
        dip in any::<bool>(),
    ) {
        let (mut site, frames) = besieged();
        let frame = damaged(which.get(&frames).clone(), &damage);
        let class = if dip { PuntClass::Dip } else { PuntClass::Routed };
        let Ok((_, given)) = site.edge.up_by(LAN, class, &frame) else {
            return Ok(());
        };
        let Some((from, to, _)) = Frame::parse(&given).and_then(|frame| frame.ip()) else {
            return Ok(());
        };
        let vips = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];
        prop_assert!(!vips.contains(&to));
        if vips.contains(&from) && site.edge.responder.is_dip(to) {
            prop_assert!(site.edge.paths.answered(at(0), &frame).is_some(), "{frame:02x?}");
        }
    }
}
