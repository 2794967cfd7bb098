//! Tests of the whole path from text to configuration.

mod checks;
mod hostile;
mod reload;
mod rules;
mod services;
mod tables;

use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// A file with one of everything that most rules need.
const BASE: &str = "\
ports:
  - {name: wan0, device: net_null0, addresses: [192.0.2.2/24, \"2001:db8::2/64\"]}
runtime: {control: 0}
health_checks:
  up: {type: tcp}
services:
  - name: web
    address: 192.0.2.10
    port: 80
    health: up
    servers:
      - {name: s1, address: 192.0.2.21}
      - {name: s2, address: 192.0.2.22}
management: {state: /var/lib/weir}
";

/// [`BASE`] with one part replaced.
fn with(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "the base has no {from:?}");
    BASE.replacen(from, to, 1)
}

/// Parses what must be right.
#[track_caller]
fn accept(text: &str) -> Config {
    match parse("t.yaml", text) {
        Ok(loaded) => loaded.config,
        Err(errors) => panic!("refused:\n{errors}"),
    }
}

/// Parses what must be wrong in exactly one place, and finds `expected` in the message.
#[track_caller]
fn refuse(text: &str, expected: &str) {
    let errors = parse("t.yaml", text).expect_err("accepted");
    assert_eq!(errors.errors, 1, "one mistake, one message:\n{errors}");
    let shown = errors.to_string();
    assert!(shown.contains(expected), "{expected:?} is not in:\n{shown}");
}

/// Parses what must be right with one warning that contains `expected`.
#[track_caller]
fn warn(text: &str, expected: &str) {
    let loaded = parse("t.yaml", text).expect("accepted");
    let shown: Vec<_> = loaded.warnings.iter().map(Diagnostic::to_string).collect();
    assert!(
        shown.len() == 1 && shown[0].contains(expected),
        "{expected:?} is not in {shown:?}"
    );
}

fn examples() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/examples"
    ))
}

#[test]
fn the_sample_of_the_interfaces_passes_and_says_what_waits() {
    let loaded = load(&examples().join("weir.yaml")).expect("the sample always passes");
    let waits: Vec<_> = loaded.warnings.iter().map(|w| w.message.as_str()).collect();
    let keys = ["persistence", "max_connections", "min_connections"];
    let expected = keys.map(|key| format!("not in this release: {key}: ignored until then"));
    assert_eq!(waits, expected);
    let web = &loaded.config.services[0];
    assert_eq!((web.scheduler, web.mode), (Scheduler::Wlc, Mode::Dr));
    assert_eq!(web.servers[0].weight, Weight(3));
    let check = web.health.as_ref().expect("resolved");
    let status = vec![(200, 200)];
    assert_eq!(
        check.probe,
        Probe::Http(HttpProbe {
            url: "/healthz".into(),
            host: None,
            tls: None,
            status,
            body: None,
            headers: Vec::new(),
        })
    );
}

#[test]
fn every_example_passes() {
    let mut count = 0;
    for entry in std::fs::read_dir(examples()).expect("there are examples") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|ext| ext == "yaml") {
            let loaded = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            let is_sample = path.ends_with("weir.yaml");
            assert!(
                is_sample || loaded.warnings.is_empty(),
                "{:?}",
                loaded.warnings
            );
            count += 1;
        }
    }
    assert!(count >= 5, "{count} examples");
}

#[test]
fn ten_mistakes_make_ten_good_messages() {
    let text = include_str!("../testdata/ten_mistakes.yaml");
    let errors = parse("ten_mistakes.yaml", text).expect_err("ten mistakes");
    assert_eq!(errors.errors, 10, "{errors}");
    let shown = format!("{errors}\n");
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/config/testdata/ten_mistakes.txt"
    );
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(golden, &shown).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(golden).expect("a golden file; BLESS=1 writes it");
    assert_eq!(
        shown, expected,
        "run with BLESS=1 if the new messages are better"
    );
}

#[test]
fn defaults_are_those_of_the_interfaces() {
    let config = accept(
        "ports: [{name: p, device: net_null}]\nservices: [{name: s, address: 192.0.2.1, port: 53, \
         mode: nat, servers: [{address: 192.0.2.9}]}]\n",
    );
    let port = &config.ports[0];
    assert_eq!(
        (port.mtu, port.vlan, port.queues, port.promiscuous),
        (1500, None, None, false)
    );
    assert_eq!(port.device.to_string(), "net_null0");
    let run = &config.runtime;
    assert_eq!(
        (&run.workers, run.control),
        (&Workers::AllButFirst, CpuId(0))
    );
    assert_eq!(
        (run.flows_per_worker, run.mbufs, run.mbuf_data),
        (1_048_576, 65536, 2048)
    );
    assert_eq!(run.answers_per_second.map(u32::from), Some(1000));
    assert_eq!(run.answers_per_client.map(u32::from), Some(100));
    assert_eq!((run.hugepages, run.idle), (Hugepages::Auto, Idle::Poll));
    assert_eq!(run.heartbeat, Duration::from_millis(50));
    let service = &config.services[0];
    assert_eq!(
        (service.protocol, service.scheduler),
        (Protocol::Tcp, Scheduler::Wlc)
    );
    assert_eq!((service.maglev_size, service.sloppy), (65537, false));
    assert_eq!(service.timeouts.established, Duration::from_secs(900));
    assert_eq!(service.timeouts.fin, Duration::from_secs(120));
    assert_eq!(service.timeouts.udp, Duration::from_secs(300));
    assert_eq!(
        (service.unserved, &service.health),
        (Unserved::Answer, &None)
    );
    assert_eq!(service.on_server_gone, OnServerGone::Drop);
    let server = &service.servers[0];
    assert_eq!(
        (server.name.as_str(), server.port, server.weight),
        ("192.0.2.9", None, Weight(1))
    );
    assert_eq!((server.state, server.mode), (ServerState::Ready, Mode::Nat));
    assert_eq!(
        config.management.socket.to_str(),
        Some("/run/weir/weir.sock")
    );
    assert_eq!(
        (config.management.listen, config.management.metrics_detail),
        (None, MetricsDetail::Server,)
    );
}

#[test]
fn check_defaults_are_those_of_the_interfaces() {
    let config = accept(&with("up: {type: tcp}", "up: {type: http}"));
    let check = &config.health_checks[0];
    assert_eq!(check.interval, Duration::from_secs(2));
    assert_eq!(check.timeout, Duration::from_secs(1));
    assert_eq!((check.rise, check.fall, check.port), (2, 3, None));
    let status = vec![(200, 299)];
    assert_eq!(
        check.probe,
        Probe::Http(HttpProbe {
            url: "/".into(),
            host: None,
            tls: None,
            status,
            body: None,
            headers: Vec::new(),
        })
    );
}

#[test]
fn json_is_yaml() {
    let config = accept(
        r#"{"ports": [{"name": "p", "device": "net_null", "mtu": 9000}],
            "runtime": {"heartbeat": "100ms", "workers": [1]}}"#,
    );
    assert_eq!(config.ports[0].mtu, 9000);
    assert_eq!(config.runtime.heartbeat, Duration::from_millis(100));
}

#[test]
fn addresses_and_macs_need_no_quotes_where_yaml_does_not() {
    let config = accept(
        "ports: [{name: p, device: net_null, addresses: [2001:db8::2/64], mac: 02:00:00:00:00:01, \
         neighbours: [{address: fe80::1, mac: 52:54:00:12:34:56}]}]\n",
    );
    assert_eq!(config.ports[0].addresses[0].to_string(), "2001:db8::2/64");
    assert_eq!(
        config.ports[0].neighbours[0].mac.to_string(),
        "52:54:00:12:34:56"
    );
}

#[test]
fn anchors_and_merge_keys_save_repetition() {
    let text = with(
        "      - {name: s1, address: 192.0.2.21}\n",
        "      - &one {name: s1, address: 192.0.2.21, weight: 7}\n      - {<<: *one, name: s3, \
         address: 192.0.2.23}\n",
    );
    let config = accept(&text);
    let weights: Vec<_> = config.services[0]
        .servers
        .iter()
        .map(|s| s.weight.0)
        .collect();
    assert_eq!(weights, [7, 7, 1]);
}

#[test]
fn a_hundred_services_parse_in_a_few_milliseconds() {
    let mut text =
        String::from("ports: [{name: p, device: net_null, addresses: [10.0.0.1/8]}]\nservices:\n");
    for i in 0..100 {
        text.push_str(&format!(
            "  - name: s{i}\n    address: 10.1.0.{i}\n    port: 80\n"
        ));
        text.push_str("    servers:\n");
        for j in 1..=10 {
            text.push_str(&format!(
                "      - {{name: r{j}, address: 10.2.{i}.{j}, weight: {j}}}\n"
            ));
        }
    }
    #[expect(clippy::disallowed_methods, reason = "this test is about time")]
    let start = std::time::Instant::now();
    let config = accept(&text);
    let took = start.elapsed();
    assert_eq!(
        config
            .services
            .iter()
            .map(|s| s.servers.len())
            .sum::<usize>(),
        1000
    );
    // 8 ms in release on a 2-core machine. The bound leaves room for a debug build on a busy one,
    // and would still show quadratic work.
    assert!(took < Duration::from_millis(500), "{took:?}");
}
