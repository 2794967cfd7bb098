//! A tunnel that is not set up is named, from what its host says by ICMP.

use super::*;

/// Sends a probe of `server` and has its host complain; what is known of the server afterwards.
fn after(site: &mut Site, service: &str, server: &str, head: [u8; 2]) -> Option<String> {
    let path = site.open(service, server, Protocol::TCP);
    let syn = tcp(FROM_KERNEL, path.source, vip(service), SYN);
    let (_, sent) = site.sent(&syn).unwrap();
    let (from, to, _) = Frame::parse(&sent).unwrap().ip().unwrap();
    let error = icmp_error(head, to, from, &sent);
    // The kernel sees it all the same.
    let given = site.edge.up_by(LAN, PuntClass::Dip, &error);
    assert_eq!(given, Ok((LAN, error)));
    site.edge.paths.hop_failure(site.id(service, server))
}

#[test]
fn a_tunnel_that_is_not_set_up_is_named_all_four_ways() {
    for (service, server, heads, host) in [
        ("web", "tun4", [[3, 2], [3, 3]], "10.0.0.31"),
        ("web", "tun6", [[4, 1], [1, 4]], "fd00::31"),
        ("web6", "tun4", [[3, 2], [3, 3]], "10.0.0.31"),
        ("web6", "tun6", [[4, 1], [1, 4]], "fd00::31"),
    ] {
        for head in heads {
            let mut site = site();
            let told = after(&mut site, service, server, head).unwrap();
            let expected = format!("no tunnel is set up on {host}: it says so by ICMP");
            assert_eq!(told, expected, "{service}/{server} {head:?}");
            // Nobody else is blamed.
            for other in ["dr", if server == "tun4" { "tun6" } else { "tun4" }] {
                let other = site.edge.paths.hop_failure(site.id(service, other));
                assert_eq!(other, None);
            }
        }
    }
}

#[test]
fn a_host_that_cannot_be_reached_is_named_and_other_messages_are_not_about_it() {
    let mut site = site();
    let told = after(&mut site, "web", "tun4", [3, 13]).unwrap();
    assert_eq!(told, "no way to 10.0.0.31: ICMP from 10.0.0.31");
    for (server, head) in [
        ("tun4", [3, 4]),
        ("tun4", [11, 0]),
        ("tun4", [5, 1]),
        ("tun6", [2, 0]),
    ] {
        assert_eq!(
            after(&mut self::site(), "web", server, head),
            None,
            "{head:?}"
        );
    }
}

#[test]
fn what_was_said_is_forgotten_by_an_answer_and_by_time() {
    let mut site = site();
    assert!(after(&mut site, "web", "tun4", [3, 2]).is_some());
    let id = site.id("web", "tun4");
    let answered = |site: &Site| site.edge.paths.hop_failure(id).is_none();
    let path = site.open("web", "tun4", Protocol::TCP);
    assert!(!answered(&site));
    let answer = tcp(FROM_SERVER, vip("web"), path.source, SYN_ACK);
    site.edge.up_by(LAN, PuntClass::Dip, &answer).unwrap();
    assert!(answered(&site));

    assert!(after(&mut site, "web", "tun4", [3, 2]).is_some());
    site.edge.paths.close(at(29_999), vip("web"), 1);
    assert!(!answered(&site));
    site.edge.paths.close(at(30_000), vip("web"), 1);
    assert!(answered(&site));
}

#[test]
fn only_who_holds_a_probe_of_ours_is_believed() {
    let mut site = site();
    let path = site.open("web", "tun4", Protocol::TCP);
    let syn = tcp(FROM_KERNEL, path.source, vip("web"), SYN);
    let (_, sent) = site.sent(&syn).unwrap();
    let (dip, host) = ("10.0.0.1".parse().unwrap(), "10.0.0.31".parse().unwrap());
    let id = site.id("web", "tun4");
    let mut known_after = |quoted: &[u8]| {
        let error = icmp_error([3, 2], host, dip, quoted);
        site.edge.up_by(LAN, PuntClass::Dip, &error).unwrap();
        site.edge.paths.hop_failure(id)
    };
    // Another outer destination, another source port, another VIP port, no inner packet.
    for at in [14 + 19, 14 + 20 + 21, 14 + 20 + 23] {
        let mut quoted = sent.clone();
        quoted[at] ^= 1;
        assert_eq!(known_after(&quoted), None, "{at}");
    }
    for len in 14..14 + 20 + 20 + 8 {
        assert_eq!(known_after(&sent[..len]), None, "{len}");
    }
    assert!(known_after(&sent[..14 + 20 + 20 + 8]).is_some());
}
