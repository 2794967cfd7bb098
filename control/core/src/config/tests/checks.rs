//! Health checks and what services make of them.

use std::time::Duration;

use super::*;

fn check(keys: &str) -> String {
    with("{type: tcp}", &format!("{{{keys}}}"))
}

fn read(keys: &str) -> HealthCheck {
    HealthCheck::clone(&accept(&check(keys)).health_checks[0])
}

fn service(more: &str) -> String {
    with("    health: up\n", &format!("    health: up\n    {more}\n"))
}

#[test]
fn every_type_has_its_keys() {
    let Probe::Http(https) = read(
        "type: https, url: /x, tls: {name: a.example, verify: true, ca: /etc/ca.pem}, \
         expect: {status: [200, 300-399], contains: well, headers: [X-A, \"X-B: yes\"]}",
    )
    .probe
    else {
        panic!("not HTTP")
    };
    let tls = https.tls.expect("TLS");
    assert_eq!((tls.name.as_deref(), tls.verify), (Some("a.example"), true));
    assert_eq!(https.status, [(200, 200), (300, 399)]);
    assert_eq!(https.body, Some(BodyExpect::Contains("well".into())));
    assert_eq!(https.headers[1].value.as_deref(), Some("yes"));
    assert_eq!(
        read("type: dns, query: www.example., query_type: aaaa, expect: {rcodes: [0, 3]}").probe,
        Probe::Dns {
            name: b"\x03www\x07example\x00".to_vec(),
            kind: 28,
            rcodes: vec![0, 3],
        }
    );
    let udp = read("type: udp, send: ping, expect: {matches: \"^p.ng$\"}").probe;
    let Probe::Udp { send, expect } = udp else {
        panic!("not UDP")
    };
    let pattern = Pattern::new("^p.ng$").expect("a pattern");
    assert_eq!(send, b"ping");
    assert_eq!(expect, Some(BodyExpect::Matches(pattern)));
    assert_eq!(read("type: icmp").probe, Probe::Icmp);
    assert_eq!(read("type: smtp").probe, Probe::Smtp);
    let script = Probe::Script(vec!["/bin/check".into(), "-v".into()]);
    assert_eq!(
        read("type: script, command: [/bin/check, -v]").probe,
        script
    );
    let passive = Probe::Passive(Passive {
        share: 80,
        flows: 20,
        hold: Duration::from_secs(120),
    });
    assert_eq!(read("type: passive, passive: {share: 80}").probe, passive);
}

#[test]
fn timing_brake_and_dampening_have_defaults() {
    let plain = read("type: tcp, interval: 3s");
    assert_eq!(plain.interval_down, Duration::from_secs(3));
    assert_eq!((plain.jitter, plain.initial), (5, Initial::Down));
    assert_eq!((plain.path, plain.dampening), (None, None));
    let brake = plain.brake.expect("on by default");
    assert_eq!((brake.share, brake.servers), (100, 4));
    let full = read(
        "type: tcp, interval_down: 9s, initial: up, path: false, brake: {servers: 0}, \
         dampening: {falls: 3}, phase_timeouts: {connect: 200ms}",
    );
    assert_eq!(full.interval_down, Duration::from_secs(9));
    assert_eq!((full.initial, full.path), (Initial::Up, Some(false)));
    assert_eq!(
        (full.brake, full.dampening.map(|d| d.falls)),
        (None, Some(3))
    );
    let connect = Some(Duration::from_millis(200));
    assert_eq!(full.phase_timeouts.connect, connect);
}

#[test]
fn keys_of_another_type_are_refused() {
    for (keys, expected) in [
        (
            "type: tcp, url: /x",
            "url: a check of type tcp does not use it",
        ),
        (
            "type: icmp, path: true",
            "path: a check of type icmp does not use it",
        ),
        ("type: http, tls: {verify: true}", "types that do: https"),
        (
            "type: udp, expect: {status: [200]}",
            "status: a check of type udp",
        ),
        ("type: dns", "a dns check without `query`"),
        ("type: script", "a script check without `command`"),
        ("type: script, command: [check]", "no absolute path"),
        ("type: https, tls: {ca: /x}", "ca: nothing is verified"),
        ("type: http, expect: {matches: \"(\"}", "unclosed group"),
        (
            "type: http, expect: {sha256: \"12\"}",
            "64 hexadecimal digits",
        ),
        (
            "type: http, expect: {contains: a, matches: b}",
            "matches: given besides `contains`",
        ),
        (
            "type: http, expect: {headers: [\"a b: c\"]}",
            "a field's name",
        ),
        ("type: dns, query: a..b", "a domain name"),
        ("type: tcp, dampening: {falls: 1}", "at least 2"),
        ("type: tcp, jitter: 51", "out of range"),
        (
            "type: passive, initial: down",
            "initial: a check of type passive",
        ),
    ] {
        refuse(&check(keys), expected);
    }
}

#[test]
fn a_hostile_expression_is_refused_for_its_size() {
    let keys = "type: http, expect: {matches: \"((a{100}){100}){100}\"}";
    refuse(&check(keys), "exceeds size limit");
}

#[test]
fn quorum_and_sorry_server_are_those_of_keepalived() {
    let config = accept(&service(
        "quorum: 2\n    hysteresis: 1\n    slow_start: 30s\n    inhibit_on_failure: true\n    \
         sorry_server: {address: 192.0.2.99}",
    ));
    let service = &config.services[0];
    assert_eq!((service.quorum, service.hysteresis), (2, 1));
    assert_eq!(service.slow_start, Duration::from_secs(30));
    assert!(service.inhibit_on_failure);
    let sorry = service.sorry_server.as_ref().expect("a sorry server");
    assert_eq!(
        (sorry.name.as_str(), sorry.mode),
        ("sorry_server", Mode::Dr)
    );
    assert_eq!(service.all_servers().count(), 3);
}

#[test]
fn a_quorum_that_can_never_be_lost_or_had_is_said() {
    refuse(&service("hysteresis: 1"), "could never be lost");
    warn(&service("quorum: 3"), "all weights together are only 2");
    let sorry = "sorry_server: {address: 192.0.2.21}";
    refuse(&service(sorry), "server `s1` is the same");
    let sorry = "sorry_server: {address: 198.51.100.1}";
    refuse(&service(sorry), "off-link");
    let rr = "scheduler: rr\n    slow_start: 5s";
    warn(&service(rr), "does not look at weights");
}
