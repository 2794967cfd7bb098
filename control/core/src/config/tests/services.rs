//! Every rule of services and servers: what it lets in, what it refuses.

use super::*;

/// [`BASE`] with lines added to its service.
fn service(more: &str) -> String {
    with("    health: up\n", &format!("    health: up\n    {more}\n"))
}

/// [`BASE`] with its first server replaced.
fn server(keys: &str) -> String {
    with("{name: s1, address: 192.0.2.21}", &format!("{{{keys}}}"))
}

/// [`BASE`] with a second service.
fn second(keys: &str) -> String {
    let servers = "servers: [{address: 192.0.2.31}]";
    with(
        "management:",
        &format!("  - {{name: two, {keys}, {servers}}}\nmanagement:"),
    )
}

fn ports(text: &str) -> PortSpec {
    accept(&with("port: 80", text)).services[0].ports.clone()
}

#[test]
fn ports_are_one_several_a_range_or_all() {
    let p = L4Port;
    assert_eq!(ports("port: 80"), PortSpec::One(p(80)));
    assert_eq!(ports("port: 8000-8100"), PortSpec::Range(p(8000), p(8100)));
    assert_eq!(
        ports("ports: [443, 80]"),
        PortSpec::Many(vec![p(80), p(443)])
    );
    assert_eq!(
        ports("ports: [8000-8100]"),
        PortSpec::Range(p(8000), p(8100))
    );
    assert_eq!(ports("ports: 8000-8100"), PortSpec::Range(p(8000), p(8100)));
    assert_eq!(ports("ports: [80]"), PortSpec::One(p(80)));
    assert_eq!(ports("port: 80-80"), PortSpec::One(p(80)));
    let all = with("port: 80", "port: 0").replace("{type: tcp}", "{type: tcp, port: 22}");
    assert_eq!(accept(&all).services[0].ports, PortSpec::All);
}

#[test]
fn ports_are_said_once_and_in_order() {
    refuse(&with("    port: 80\n", ""), "neither `port` nor `ports`");
    refuse(
        &with("port: 80", "port: 80\n    ports: [81]"),
        "ports: given besides `port`",
    );
    refuse(&with("port: 80", "port: 90-80"), "turn it round: `80-90`");
    refuse(&with("port: 80", "port: 0-80"), "a range begins at 1");
    refuse(&with("port: 80", "port: 65536"), "out of range");
    refuse(&with("port: 80", "port: \"80\""), "remove the quotes");
    refuse(
        &with("port: 80", "port: http"),
        "expected a whole number or range",
    );
    refuse(&with("port: 80", "ports: [80, 80]"), "80 is listed twice");
    refuse(&with("port: 80", "ports: [80, 90-99]"), "stands alone");
    refuse(&with("port: 80", "ports: [80, 0]"), "stands alone");
    refuse(
        &with("port: 80", "port: 0"),
        "which port should the check of all ports ask?",
    );
}

#[test]
fn a_vips_port_belongs_to_one_service_of_each_protocol() {
    accept(&second("address: 192.0.2.10, port: 81"));
    accept(&second("address: 192.0.2.11, port: 80"));
    accept(&second("address: 192.0.2.10, port: 80, protocol: udp"));
    accept(&second("address: 192.0.2.10, port: 0"));
    refuse(
        &second("address: 192.0.2.10, port: 80"),
        "port: overlaps service `web`",
    );
    refuse(
        &second("address: 192.0.2.10, ports: [79, 80]"),
        "it has port 80 of 192.0.2.10",
    );
    refuse(
        &second("address: 192.0.2.10, port: 1-1024"),
        "overlaps service `web`",
    );
    let all = second("address: 192.0.2.10, port: 0").replace("port: 80\n    health: up", "port: 0");
    refuse(&all, "it has all ports of 192.0.2.10");
}

#[test]
fn names_are_unique_and_resolve() {
    refuse(
        &second("address: 192.0.2.11, port: 80").replace("name: two", "name: web"),
        "given twice",
    );
    refuse(
        &with("health: up", "health: upp"),
        "there is no health check `upp`",
    );
    refuse(&with("health: up", "health: upp"), "did you mean `up`?");
    refuse(&with("name: s2", "name: s1"), "name: `s1` is given twice");
}

#[test]
fn servers_are_listed_once() {
    refuse(
        &server("name: s1, address: 192.0.2.22"),
        "address: `192.0.2.22` is given twice",
    );
    refuse(
        &server("address: 192.0.2.22"),
        "address: `192.0.2.22` is given twice",
    );
    refuse(&server("name: s1"), "a server needs `address`");
}

#[test]
fn unnamed_servers_on_one_address_are_named_with_their_port() {
    let text = service("mode: nat")
        .replace(
            "{name: s1, address: 192.0.2.21}",
            "{address: 192.0.2.21, port: 8001}",
        )
        .replace(
            "{name: s2, address: 192.0.2.22}",
            "{address: 192.0.2.21, port: 8002}",
        );
    let config = accept(&text);
    let names: Vec<_> = config.services[0]
        .servers
        .iter()
        .map(|s| s.name.as_str())
        .collect();
    assert_eq!(names, ["192.0.2.21:8001", "192.0.2.21:8002"]);
}

#[test]
fn d48_a_dr_server_off_link_is_refused() {
    refuse(
        &server("name: s1, address: 10.0.0.1"),
        "address: DR server 10.0.0.1 is off-link",
    );
    accept(&server("name: s1, address: 10.0.0.1, mode: nat"));
    accept(&server("name: s1, address: 10.0.0.1, mode: tunnel"));
}

#[test]
fn an_unreadable_port_makes_no_server_off_link() {
    let text = server("name: s1, address: 10.0.0.1").replace("192.0.2.2/24", "192.0.2.2");
    refuse(&text, "add the prefix length");
}

#[test]
fn families_mix_in_tunnels_only() {
    refuse(
        &server("address: \"2001:db8::21\""),
        "an IPv6 server behind an IPv4 VIP",
    );
    refuse(
        &server("address: \"2001:db8::21\", mode: nat"),
        "an IPv6 server behind an IPv4 VIP",
    );
    accept(&server("address: \"2001:db8::21\", mode: tunnel"));
}

#[test]
fn a_server_is_another_machine() {
    refuse(&server("address: 192.0.2.10"), "is the service's own VIP");
    refuse(&server("address: 192.0.2.2"), "is Weir's own address");
}

#[test]
fn only_nat_changes_the_port() {
    let config = accept(&server("address: 192.0.2.21, port: 8080, mode: nat"));
    assert_eq!(config.services[0].servers[0].port, Some(L4Port(8080)));
    let config = accept(&server("address: 192.0.2.21, port: 80"));
    assert_eq!(config.services[0].servers[0].port, None);
    refuse(
        &server("address: 192.0.2.21, port: 8080"),
        "port: 8080 differs from the client's port",
    );
    refuse(
        &server("address: 192.0.2.21, port: 8080, mode: tunnel"),
        "differs",
    );
    let range = server("address: 192.0.2.21, port: 80").replace("    port: 80", "    port: 80-81");
    refuse(&range, "differs");
}

#[test]
fn a_probe_asks_the_checks_port_then_the_servers_then_the_services() {
    let probe = |text: &str| {
        let config = accept(text);
        config.services[0].probe_port(&config.services[0].servers[0])
    };
    let nat = server("address: 192.0.2.21, port: 8080, mode: nat");
    assert_eq!(
        probe(&with("port: 80", "ports: [443, 80]")),
        Some(L4Port(80))
    );
    assert_eq!(probe(&nat), Some(L4Port(8080)));
    assert_eq!(
        probe(&nat.replace("{type: tcp}", "{type: tcp, port: 22}")),
        Some(L4Port(22))
    );
}

#[test]
fn modes_of_this_release() {
    for (text, mode) in [
        ("mode: dr", Mode::Dr),
        ("mode: nat", Mode::Nat),
        ("mode: tunnel", Mode::Tunnel(Encapsulation::Ipip)),
        (
            "mode: tunnel\n    tunnel: {type: ipip}",
            Mode::Tunnel(Encapsulation::Ipip),
        ),
    ] {
        let config = accept(&service(text));
        assert_eq!(config.services[0].servers[1].mode, mode);
    }
    refuse(
        &service("mode: fullnat"),
        "not in this release: mode: fullnat",
    );
    refuse(&service("mode: natt"), "did you mean `nat`?");
    refuse(
        &service("tunnel: {type: gre}"),
        "not in this release: tunnel.type: gre",
    );
    refuse(
        &service("tunnel: {port: 6080}"),
        "not in this release: tunnel.port",
    );
    refuse(
        &service("tunnel: {checksum: csum}"),
        "not in this release: tunnel.checksum",
    );
    refuse(
        &server("address: 192.0.2.21, tunnel: {type: ipip}"),
        "mode is not tunnel",
    );
}

#[test]
fn schedulers_of_this_release() {
    for (name, scheduler) in [
        ("rr", Scheduler::Rr),
        ("wrr", Scheduler::Wrr),
        ("lc", Scheduler::Lc),
        ("wlc", Scheduler::Wlc),
        ("maglev", Scheduler::Maglev),
    ] {
        let config = accept(&service(&format!("scheduler: {name}")));
        assert_eq!(config.services[0].scheduler, scheduler);
    }
    for name in [
        "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "twos", "mh",
    ] {
        let expected = format!("not in this release: scheduler: {name}");
        refuse(&service(&format!("scheduler: {name}")), &expected);
    }
    refuse(&service("scheduler: wlcc"), "did you mean `wlc`?");
    refuse(
        &service("protocol: sctp"),
        "not in this release: protocol: sctp",
    );
}

#[test]
fn maglev_sizes_are_primes_with_room() {
    assert_eq!(
        accept(&service("maglev_size: 251")).services[0].maglev_size,
        251
    );
    refuse(&service("maglev_size: 65536"), "nearest: 65521 and 65537");
    refuse(&service("maglev_size: 20000000"), "out of range");
}

#[test]
fn later_keys_are_refused_but_at_their_defaults() {
    for (key, value) in [
        ("persistence", "{timeout: 10s}"),
        ("source_addresses", "[192.0.2.3]"),
        ("client_address", "toa"),
        ("one_packet", "true"),
        ("scheduler_flags", "[sh-port]"),
        ("acl", "{allow: [10.0.0.0/8]}"),
        ("limits", "{rate: 1}"),
    ] {
        let expected = format!("not in this release: {key}");
        refuse(&service(&format!("{key}: {value}")), &expected);
    }
    for text in [
        "one_packet: false",
        "scheduler_flags: []",
        "client_address: none",
    ] {
        accept(&service(text));
    }
    refuse(
        &server("address: 192.0.2.21, max_connections: 5"),
        "not in this release: max_connections",
    );
    accept(&server("address: 192.0.2.21, max_connections: 0"));
}

#[test]
fn the_samples_own_later_values_warn() {
    let persistence = service("persistence: {timeout: 300s, netmask: 32}");
    warn(&persistence, "ignored until then");
}

#[test]
fn thresholds_are_in_order() {
    let text = server("address: 192.0.2.21, max_connections: 10000, min_connections: 10001");
    let errors = parse("t.yaml", &text)
        .expect_err("min above max")
        .to_string();
    assert!(
        errors.contains("min_connections: 10001 is above max_connections, 10000"),
        "{errors}"
    );
}

#[test]
fn weights_states_and_the_rest() {
    let config = accept(&server("address: 192.0.2.21, weight: 65535, state: drain"));
    assert_eq!(config.services[0].servers[0].weight, Weight(65535));
    assert_eq!(config.services[0].servers[0].state, ServerState::Drain);
    refuse(
        &server("address: 192.0.2.21, weight: 65536"),
        "from 0 to 65535",
    );
    refuse(
        &server("address: 192.0.2.21, state: down"),
        "allowed: one of ready, drain, maintenance",
    );
    let config = accept(&service(
        "on_server_gone: reschedule\n    sloppy: true\n    unserved: drop",
    ));
    let service_ = &config.services[0];
    assert_eq!(service_.on_server_gone, OnServerGone::Reschedule);
    assert!(service_.sloppy);
    assert_eq!(service_.unserved, Unserved::Drop);
    refuse(&service("timeouts: {established: 0s}"), "out of range");
    refuse(
        &service("timeouts: {tcp: 1s}"),
        "keys of timeouts: established, fin, udp",
    );
}

#[test]
fn unserved_is_read_from_the_first_service_of_the_vip() {
    warn(
        &second("address: 192.0.2.10, port: 81, unserved: drop"),
        "has no effect here",
    );
}

#[test]
fn a_service_without_servers_warns() {
    let (head, rest) = BASE
        .split_once("    servers:\n")
        .expect("the base has servers");
    let (_, tail) = rest
        .split_once("management:")
        .expect("the base has management");
    let text = format!("{head}management:{tail}");
    warn(&text, "has no servers");
}

#[test]
fn vips_name_hosts_and_may_be_weirs_own_or_routed() {
    accept(&with("address: 192.0.2.10", "address: 192.0.2.2"));
    accept(&with("address: 192.0.2.10", "address: 203.0.113.10"));
    refuse(
        &with("address: 192.0.2.10", "address: 224.0.0.1"),
        "multicast",
    );
    refuse(
        &with("address: 192.0.2.10", "address: 192.0.2.10/32"),
        "leave the prefix length out",
    );
}
