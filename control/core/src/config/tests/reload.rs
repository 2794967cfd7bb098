//! What a reload may do by itself.

use super::*;

fn changed(from: &str, to: &str) -> Vec<String> {
    restart_needed(&accept(BASE), &accept(&with(from, to)))
}

#[test]
fn what_is_fixed_at_start_needs_a_restart() {
    for (from, to, key) in [
        ("{control: 0}", "{workers: [1]}", "runtime.workers"),
        ("{control: 0}", "{control: 1}", "runtime.control"),
        (
            "{control: 0}",
            "{flows_per_worker: 1024}",
            "runtime.flows_per_worker",
        ),
        ("{control: 0}", "{mbufs: 1024}", "runtime.mbufs"),
        ("{control: 0}", "{mbuf_data: 4KiB}", "runtime.mbuf_data"),
        (
            "{control: 0}",
            "{answers_per_second: 1}",
            "runtime.answers_per_second",
        ),
        (
            "{control: 0}",
            "{answers_per_client: 1}",
            "runtime.answers_per_client",
        ),
        ("{control: 0}", "{hugepages: off}", "runtime.hugepages"),
        ("{control: 0}", "{idle: adaptive}", "runtime.idle"),
        ("{control: 0}", "{heartbeat: 60ms}", "runtime.heartbeat"),
        (
            "{state: /var/lib/weir}",
            "{socket: /tmp/w}",
            "management.socket",
        ),
        ("net_null0", "net_null1", "ports.wan0.device"),
        ("net_null0", "net_null0, queues: 2", "ports.wan0.queues"),
        ("net_null0", "net_null0, mtu: 9000", "ports.wan0.mtu"),
        (
            "net_null0",
            "net_null0, mac: \"02:00:00:00:00:01\"",
            "ports.wan0.mac",
        ),
        ("net_null0", "net_null0, vlan: 5", "ports.wan0.vlan"),
    ] {
        assert_eq!(changed(from, to), [key], "{to}");
    }
    let renamed = changed("name: wan0", "name: wan1");
    assert_eq!(renamed, ["ports: wan0 removed", "ports: wan1 added"]);
}

#[test]
fn everything_else_is_reloaded() {
    for (from, to) in [
        ("port: 80", "port: 81"),
        ("192.0.2.2/24", "192.0.2.3/24"),
        (
            "net_null0",
            "net_null0, promiscuous: true, gateway: [192.0.2.1]",
        ),
        ("type: tcp", "type: http"),
        ("name: s1", "name: s9"),
    ] {
        assert!(changed(from, to).is_empty(), "{to}");
    }
}

fn many(services: std::ops::Range<usize>, servers: usize) -> Config {
    let mut text = String::from("ports: [{name: p, device: net_null}]\nservices:\n");
    for i in services {
        text.push_str(&format!(
            "  - {{name: s{i}, address: 10.1.0.{i}, port: 80, mode: nat, servers: ["
        ));
        for j in 0..servers {
            text.push_str(&format!("{{address: 10.2.{i}.{}}}, ", j + 1));
        }
        text.push_str("]}\n");
    }
    accept(&text)
}

#[test]
fn f8_losing_more_than_half_of_ten_is_refused() {
    let refused = shrink(&many(1..11, 1), &many(1..5, 1));
    assert_eq!(
        refused,
        Some(ShrinkRefusal {
            what: "services",
            removed: 6,
            of: 10
        })
    );
    assert!(
        refused
            .expect("refused")
            .to_string()
            .contains("--allow-shrink")
    );
    assert_eq!(shrink(&many(1..11, 1), &many(1..6, 1)), None);
    assert_eq!(shrink(&many(1..10, 1), &many(1..2, 1)), None);
    let refused = shrink(&many(1..3, 10), &many(1..3, 4));
    assert_eq!(
        refused,
        Some(ShrinkRefusal {
            what: "servers",
            removed: 12,
            of: 20
        })
    );
    assert_eq!(shrink(&many(1..3, 10), &many(1..3, 20)), None);
}

#[test]
fn replacing_all_services_by_others_is_a_loss_too() {
    let refused = shrink(&many(1..11, 1), &many(21..31, 1));
    assert_eq!(
        refused,
        Some(ShrinkRefusal {
            what: "services",
            removed: 10,
            of: 10
        })
    );
}
