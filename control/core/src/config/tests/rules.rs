//! Every rule of ports, runtime, checks, VRRP and management: what it lets in, what it refuses.

use super::*;

const PORT: &str =
    "  - {name: wan0, device: net_null0, addresses: [192.0.2.2/24, \"2001:db8::2/64\"]}\n";

/// [`BASE`] with keys added to its port.
fn port(more: &str) -> String {
    with(
        "\"2001:db8::2/64\"]}",
        &format!("\"2001:db8::2/64\"], {more}}}"),
    )
}

/// [`BASE`] with a second port.
fn second(more: &str) -> String {
    with(PORT, &format!("{PORT}  - {{{more}}}\n"))
}

fn run(keys: &str) -> String {
    with("{control: 0}", &format!("{{{keys}}}"))
}

fn check(keys: &str) -> String {
    with("{type: tcp}", &format!("{{{keys}}}"))
}

fn vrrp(keys: &str) -> String {
    with(
        "runtime:",
        &format!("vrrp: [{{name: a, port: wan0, id: 1, {keys}}}]\nruntime:"),
    )
}

#[test]
fn keys_are_known_and_given_once() {
    refuse(
        &with("    port: 80", "    prot: 80"),
        "t.yaml:9:5: error: unknown key `prot`",
    );
    refuse(&port("mtuu: 1500"), "did you mean `mtu`?");
    refuse(&port("weight: 3"), "`weight` is a key of a server");
    refuse(&port("mtu: 1500, mtu: 1500"), "duplicate key `mtu`");
    refuse(
        &with("management:", "xyzzy: 1\nmanagement:"),
        "keys of the configuration: ports,",
    );
}

#[test]
fn values_have_the_right_type() {
    refuse(
        &port("mtu: big"),
        "mtu: expected a whole number, found the text `big`",
    );
    refuse(&port("mtu: \"1500\""), "remove the quotes");
    refuse(
        &port("mtu: 1500.0"),
        "mtu: expected a whole number, found the number `1500.0`",
    );
    refuse(&port("mtu: [1500]"), "found a list");
    refuse(&port("mtu:"), "mtu: has no value");
    refuse(&port("promiscuous: yes"), "write `true`");
    refuse(&port("gateway: 192.0.2.1"), "write `192.0.2.1` in brackets");
    refuse(&with("name: web", "name: 80"), "put it in quotes: \"80\"");
    refuse(
        &with("runtime: {control: 0}", "runtime: [1]"),
        "expected a mapping (runtime), found a list",
    );
    refuse(
        &with("{type: tcp}", "tcp"),
        "expected a mapping (a health check), found the text `tcp`",
    );
    refuse(
        "[1, 2]\n",
        "expected a mapping (the configuration), found a list",
    );
}

#[test]
fn required_keys_are_asked_for() {
    refuse(&second("name: lan0"), "a port needs `device`");
    refuse(&second("device: net_null1"), "a port needs `name`");
    refuse("services: []\n", "the configuration needs `ports`");
    refuse("ports: []\n", "ports: has 0 items");
    refuse("", "the file is empty");
    refuse("# nothing\n", "the file is empty");
    refuse("~\n", "the file is empty");
}

#[test]
fn numbers_and_units_are_bounded() {
    accept(&port("mtu: 9600"));
    refuse(
        &port("mtu: 9601"),
        "allowed: a whole number from 576 to 9600",
    );
    refuse(&port("vlan: 4095"), "out of range");
    refuse(&port("vlan: 0"), "out of range");
    refuse(&port("queues: 0"), "out of range");
    accept(&run("mbuf_data: 10KiB"));
    refuse(&run("mbuf_data: 255B"), "from 256B to 10KiB");
    refuse(&run("mbuf_data: 2048"), "add a unit: `2048B`");
    refuse(&run("heartbeat: 50"), "add a unit: `50s` or `50ms`");
    refuse(&run("heartbeat: 0ms"), "out of range");
    refuse(
        &run("flows_per_worker: 99999999999999999999"),
        "out of range",
    );
    refuse(&run("mbufs: -1"), "expected a whole number");
    refuse(&run("answers_per_second: 10_000"), "plain decimal digits");
}

#[test]
fn zero_answers_is_unlimited() {
    let config = accept(&run("answers_per_second: 0, answers_per_client: 0"));
    assert_eq!(config.runtime.answers_per_second, None);
    assert_eq!(config.runtime.answers_per_client, None);
}

#[test]
fn workers_are_cpus_each_once() {
    let config = accept(&run("workers: [3, 1]"));
    assert_eq!(
        config.runtime.workers,
        Workers::Cpus(vec![CpuId(3), CpuId(1)])
    );
    refuse(&run("workers: [1, 1]"), "workers: CPU 1 is listed twice");
    refuse(&run("workers: []"), "workers: has 0 items");
    refuse(&run("workers: [1024]"), "out of range");
    warn(
        &run("workers: [0, 1]"),
        "CPU 0 is also the control thread's",
    );
    let cpus = [CpuId(0), CpuId(1), CpuId(2)];
    assert_eq!(Workers::AllButFirst.resolve(&cpus), [CpuId(1), CpuId(2)]);
    assert_eq!(Workers::AllButFirst.resolve(&cpus[..1]), [CpuId(0)]);
}

#[test]
fn port_names_suit_the_kernel() {
    refuse(
        &with("name: wan0", "name: port-name-of-16c"),
        "16 characters are too many",
    );
    refuse(&with("name: wan0", "name: \"a/b\""), "is not a port name");
    refuse(
        &second("name: wan0, device: net_null1"),
        "name: `wan0` is given twice",
    );
    let own = "name: eth1, device: \"net_af_packet,iface=eth1\"";
    refuse(
        &second(own),
        "name: `eth1` is the name of a device's interface",
    );
}

#[test]
fn devices_are_shared_by_vlan_only() {
    let config = accept(&with(
        PORT,
        "  - {name: wan0, device: net_null, addresses: [192.0.2.2/24], vlan: 1}\n  \
         - {name: wan1, device: net_null, vlan: 2}\n",
    ));
    assert_eq!(config.ports[0].device, config.ports[1].device);
    refuse(&second("name: lan0, device: net_null0"), "is given twice");
    refuse(
        &second("name: lan0, device: \"net_null0,size=9\", vlan: 2"),
        "different arguments",
    );
    refuse(
        &second("name: lan0, device: bond"),
        "not in this release: device: bond",
    );
    refuse(&second("name: lan0, device: eth5"), "net_af_xdp,iface=eth5");
}

#[test]
fn addresses_belong_to_one_port() {
    refuse(
        &second("name: lan0, device: net_null1, addresses: [192.0.2.2/25]"),
        "addresses: `192.0.2.2` is given twice",
    );
    refuse(
        &second("name: lan0, device: net_null1, addresses: [10.0.0.0/8]"),
        "this is the network's address",
    );
    refuse(&port("mtu: 1279"), "too small for the port's IPv6 address");
}

#[test]
fn gateways_are_on_link_and_one_for_each_family() {
    accept(&port("gateway: [192.0.2.1, \"2001:db8::1\"]"));
    accept(&port("gateway: [\"fe80::1\"]"));
    refuse(
        &port("gateway: [198.51.100.1]"),
        "gateway: 198.51.100.1 is not on the port's link",
    );
    refuse(
        &port("gateway: [192.0.2.1, 192.0.2.3]"),
        "a second IPv4 gateway",
    );
    refuse(&port("gateway: [192.0.2.2]"), "the port's own address");
}

#[test]
fn neighbours_are_on_link_stations() {
    let config = accept(&port(
        "neighbours: [{address: 192.0.2.9, mac: \"02:00:00:00:00:09\"}]",
    ));
    assert_eq!(
        config.ports[0].neighbours[0].mac,
        MacAddr([2, 0, 0, 0, 0, 9])
    );
    let far = "neighbours: [{address: 10.0.0.9, mac: \"02:00:00:00:00:09\"}]";
    refuse(&port(far), "neighbour 10.0.0.9 is not on the port's link");
    let one = "{address: 192.0.2.9, mac: \"02:00:00:00:00:09\"}";
    refuse(
        &port(&format!("neighbours: [{one}, {one}]")),
        "is given twice",
    );
    refuse(
        &port("neighbours: [{address: 192.0.2.9}]"),
        "a neighbour needs `mac`",
    );
    refuse(&port("mac: \"01:00:5e:00:00:01\""), "group address");
}

#[test]
fn checks_have_what_their_type_uses() {
    accept(&check(
        "type: http, url: /x, host: www.example, expect: {status: [200, 300-399]}",
    ));
    refuse(&check("type: ping"), "type: `ping` is not a choice");
    refuse(&check("type: http, url: x"), "begin with `/`: `/x`");
    refuse(
        &check("type: http, expect: {status: [600]}"),
        "out of range",
    );
    refuse(&check("type: http, expect: {status: []}"), "has 0 items");
    refuse(&check("interval: 2s"), "a health check needs `type`");
    refuse(&check("type: tcp, interval: 1ms"), "out of range");
    refuse(&check("type: tcp, path: 1"), "expected true or false");
    refuse(
        &with(
            "  up: {type: tcp}",
            "  up: {type: tcp}\n  \"a b\": {type: tcp}",
        ),
        "is not a name",
    );
}

#[test]
fn a_wrong_check_does_not_make_its_users_dangle() {
    refuse(&check("type: tcpp"), "did you mean `tcp`?");
}

#[test]
fn management_paths_and_listener() {
    let manage = |keys: &str| with("{state: /var/lib/weir}", &format!("{{{keys}}}"));
    let config = accept(&manage(
        "listen: \"[::1]:9090\", socket: /tmp/s, metrics_detail: service",
    ));
    assert_eq!(config.management.metrics_detail, MetricsDetail::Service);
    refuse(
        &manage("listen: 9090"),
        "name the address: `127.0.0.1:9090`",
    );
    refuse(
        &manage("listen: \":9090\""),
        "name the address: `127.0.0.1:9090`",
    );
    refuse(&manage("socket: run/weir.sock"), "begin with `/`");
    refuse(&manage("state: /var/../x"), "without `..`");
    refuse(
        &manage("tls: {cert: /a}"),
        "not in this release: management.tls",
    );
    refuse(
        &manage("tokens: [a]"),
        "not in this release: management.tokens",
    );
}

#[test]
fn sections_of_later_releases_are_refused_unless_empty() {
    for key in ["snat", "bgp", "cluster"] {
        let text = format!("{BASE}{key}: {{a: 1}}\n");
        refuse(&text, &format!("not in this release: {key}"));
        accept(&format!("{BASE}{key}: {{}}\n"));
    }
    accept(&with("runtime:", "vrrp: []\nruntime:"));
}

#[track_caller]
fn refuse_vrrp(keys: &str, expected: &str) {
    refuse(&vrrp(keys), expected);
}

#[test]
fn v25_a_sub_second_interval_needs_vrrp_version_3() {
    refuse_vrrp(
        "addresses: [192.0.2.10], version: 2, interval: 500ms",
        "cannot send every 500ms",
    );
    refuse_vrrp(
        "addresses: [192.0.2.10], version: 2, interval: 1500ms",
        "whole seconds",
    );
    refuse_vrrp("addresses: [192.0.2.10], interval: 41s", "10ms to 40950ms");
    refuse_vrrp("addresses: [192.0.2.10], interval: 15ms", "steps of 10ms");
    accept(&vrrp("addresses: [192.0.2.10], interval: 500ms"));
}

/// An instance with so many VIPs, on wan0 of this MTU, without IPv6 if that is too small for it.
fn many(first: &str, count: u16, keys: &str, mtu: u16) -> String {
    let vips: Vec<String> = (1..=count)
        .map(|n| match first {
            "v4" => format!("198.51.{}.{}", n >> 8, n & 255),
            _ => format!("\"2001:db8:1::{n:x}\""),
        })
        .collect();
    let text = vrrp(&format!("addresses: [{}], {keys}", vips.join(", ")));
    let dips = if mtu < 1280 {
        ""
    } else {
        ", \"2001:db8::2/64\""
    };
    text.replace(
        "addresses: [192.0.2.2/24, \"2001:db8::2/64\"]",
        &format!("addresses: [192.0.2.2/24{dips}], mtu: {mtu}"),
    )
}

#[test]
fn v26_an_advert_is_one_packet_and_counts_its_addresses_in_one_octet() {
    accept(&many("v4", 255, "version: 3", 1500));
    refuse(
        &many("v4", 256, "version: 3", 1500),
        "256 do not fit into one advert",
    );
    refuse(&many("v4", 256, "version: 2", 9000), "255 fit: an advert");
    accept(&many("v4", 243, "version: 3", 1000));
    refuse(
        &many("v4", 244, "version: 3", 1000),
        "243 fit: port `wan0` has mtu 1000",
    );
    // Version 2 ends in eight octets of authentication, used or not.
    accept(&many("v4", 241, "version: 2", 1000));
    refuse(&many("v4", 242, "version: 2", 1000), "241 fit");
    accept(&many("v6", 90, "version: 3", 1500));
    refuse(&many("v6", 91, "version: 3", 1500), "90 fit");
    refuse(&many("v6", 91, "version: 3", 1500), "`extra_addresses`");
}

#[test]
fn vrrp_instances_fit_their_port_and_version() {
    refuse_vrrp(
        "addresses: [192.0.2.10, \"2001:db8::a\"]",
        "2001:db8::a is not IPv4",
    );
    refuse_vrrp("addresses: [192.0.2.10, 192.0.2.10]", "is given twice");
    refuse_vrrp(
        "addresses: [192.0.2.10], auth: {password: \"1\"}",
        "has no authentication",
    );
    refuse_vrrp(
        "addresses: [192.0.2.10], version: 2, checksum: rfc9568",
        "one kind only",
    );
    refuse_vrrp(
        "addresses: [192.0.2.10], owner: true, priority: 9",
        "always 255",
    );
    let elsewhere = vrrp("addresses: [192.0.2.10]").replace("port: wan0", "port: wan1");
    let errors = parse("t.yaml", &elsewhere)
        .expect_err("dangling")
        .to_string();
    assert!(errors.contains("there is no port `wan1`"), "{errors}");
    let bare = vrrp("addresses: [192.0.2.10]")
        .replace("192.0.2.2/24, ", "")
        .replace(": up", ": up\n    mode: nat");
    let errors = parse("t.yaml", &bare).expect_err("no address").to_string();
    assert!(errors.contains("wan0 has no IPv4 address"), "{errors}");
    for (keys, what) in [
        ("priority: 255", "254"),
        ("id: 256", "255"),
        ("id: 0", "255"),
    ] {
        let text = vrrp("addresses: [192.0.2.10]").replace("id: 1", keys);
        let errors = parse("t.yaml", &text)
            .expect_err("out of range")
            .to_string();
        assert!(errors.contains(&format!("to {what}")), "{errors}");
    }
}

#[test]
fn what_a_vrrp_instance_tracks_and_runs_exists() {
    let track = |keys: &str| vrrp(&format!("addresses: [192.0.2.10], track: [{keys}]"));
    for good in [
        "{port: wan0}",
        "{service: web, weight: -50}",
        "{route: 0.0.0.0/0, weight: 20}",
        "{script: /usr/bin/true, interval: 500ms, fall: 3}",
        "{script: [/usr/bin/test, -e, /etc/passwd]}",
    ] {
        accept(&track(good));
    }
    refuse(&track("{port: wan7}"), "there is no port `wan7`");
    refuse(&track("{service: wob}"), "there is no service `wob`");
    refuse(&track("{weight: 3}"), "none of them is given");
    refuse(
        &track("{port: wan0, service: web}"),
        "port and service are given",
    );
    refuse(&track("{port: wan0, interval: 2s}"), "a port is not run");
    refuse(&track("{port: wan0, weight: 254}"), "-253 to 253");
    refuse(&track("{route: 10.0.0.1/8}"), "the network is 10.0.0.0/8");
    refuse(&track("{script: check}"), "no absolute path");
    let notify = "addresses: [192.0.2.10], notify: {master: [notify, up]}";
    refuse(&vrrp(notify), "no absolute path");
}

#[test]
fn v20_unicast_peers_are_other_directors_of_the_same_family() {
    let peers = |list: &str| {
        vrrp(&format!(
            "addresses: [192.0.2.10], unicast: {{peers: [{list}]}}"
        ))
    };
    accept(&peers("192.0.2.3"));
    refuse(&peers("192.0.2.2"), "Weir's own address");
    refuse(&peers("\"2001:db8::3\""), "is not IPv4");
    refuse_vrrp("addresses: [\"2001:db8::a\"], version: 2", "IPv4 only");
}
