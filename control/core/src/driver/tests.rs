//! The loop against a data path of vectors, with real files, and without TAPs.

use std::path::Path;
use std::sync::Mutex;

use weir_engine::id::DeviceId;
use weir_wire::addr::MacAddr;

use super::*;
use crate::overlay::{Edit, State};
use crate::{config, frame};

/// What the loop handed out and took in, seen from outside.
#[derive(Clone, Debug, Default)]
struct Wire(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    punts: Vec<(PortId, PuntClass, Vec<u8>)>,
    sent: Vec<(PortId, Vec<u8>)>,
    tables: Vec<Arc<Tables>>,
}

impl Dataplane for Wire {
    fn poll_punt(&mut self, take: &mut dyn FnMut(PortId, PuntClass, &[u8])) -> bool {
        let mut inner = self.0.lock().unwrap();
        if inner.punts.is_empty() {
            return false;
        }
        let (port, class, frame) = inner.punts.remove(0);
        take(port, class, &frame);
        true
    }

    fn inject(&mut self, port: PortId, frame: &[u8]) -> bool {
        self.0.lock().unwrap().sent.push((port, frame.to_vec()));
        true
    }

    fn poll_resolve(&mut self, _: &mut dyn FnMut(PortId, IpAddr)) {}

    fn publish(&mut self, tables: Arc<Tables>) {
        self.0.lock().unwrap().tables.push(tables);
    }

    fn link_is_up(&mut self, _: PortId) -> bool {
        true
    }

    fn now(&mut self) -> Time {
        Time::ZERO
    }

    fn is_stalled(&mut self, _: Duration) -> bool {
        false
    }

    fn server_outcomes(&mut self, _: ServerId) -> Outcomes {
        Outcomes::default()
    }
}

const FILE: &str = "
ports:
  - {name: p0, device: net_null0, addresses: [192.0.2.2/24], vlan: 7}
services:
  - name: web
    address: 192.0.2.10
    port: 80
    servers:
      - {name: web1, address: 192.0.2.21}
      - {name: web2, address: 192.0.2.22}
";

/// Without TAPs.
fn with_control<F: Future<Output = ()>>(
    name: &str,
    test: impl FnOnce(ControlHandle, Wire, PathBuf) -> F,
) {
    with_taps(false, name, test);
}

/// With TAPs, in a network namespace.
fn with_kernel<F: Future<Output = ()>>(
    name: &str,
    test: impl FnOnce(ControlHandle, Wire, PathBuf) -> F,
) {
    with_taps(true, name, test);
}

/// Runs `test` beside a control thread that runs [`FILE`] from a directory of its own.
fn with_taps<F: Future<Output = ()>>(
    taps: bool,
    name: &str,
    test: impl FnOnce(ControlHandle, Wire, PathBuf) -> F,
) {
    let directory = std::env::temp_dir().join(format!("weir-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("weir.yaml");
    std::fs::write(&path, FILE).unwrap();
    let mac = MacAddr([2, 0, 0, 0, 0, 0]);
    let setup = Setup {
        config: config::load(&path).unwrap().config,
        config_path: path,
        facts: vec![PortFact {
            device: DeviceId(0),
            mac,
            mtu: 1500,
        }],
        steering: Steering::default(),
        state: Some(directory.clone()),
        overlay: Overlay::load(&directory).unwrap(),
        taps,
        seed: 7,
    };
    let wire = Wire::default();
    let (handle, commands, _events) = channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let control = run(setup, wire.clone(), commands, || ready.send(()).unwrap());
        let script = async {
            if is_ready.await.is_err() {
                return; // It did not start; its own error says why.
            }
            test(handle.clone(), wire, directory.clone()).await;
            handle.stop().await;
        };
        let (ended, ()) = tokio::join!(control, script);
        ended.unwrap();
    });
    std::fs::remove_dir_all(&directory).unwrap();
}

fn weight(status: &Status, server: &str) -> Option<u16> {
    let mut servers = status.tables.servers.iter().flatten();
    servers
        .find(|s| &*s.name == server && s.usable)
        .map(|s| s.weight)
}

fn write(directory: &Path, text: &str) {
    std::fs::write(directory.join("weir.yaml"), text).unwrap();
}

#[test]
fn runtime_changes_reach_the_tables_and_survive_reload_and_restart() {
    with_control("overlay", async |handle, _, directory| {
        let drain = Edit::State(State::Drain);
        handle.edit("web", "web1", drain, "test").await.unwrap();
        handle
            .edit("web", "web2", Edit::Weight(9), "test")
            .await
            .unwrap();
        assert_eq!(weight(&handle.status(), "web1"), None);
        assert_eq!(weight(&handle.status(), "web2"), Some(9));
        handle.apply(None, false).await.unwrap();
        assert_eq!(weight(&handle.status(), "web2"), Some(9));
        // What a restart would read.
        let kept = Overlay::load(&directory).unwrap();
        assert_eq!(kept.changes().count(), 2);
        assert!(
            handle
                .edit("web", "web3", drain, "test")
                .await
                .unwrap_err()
                .contains("web3")
        );
        handle.reset().await.unwrap();
        assert_eq!(weight(&handle.status(), "web1"), Some(1));
        assert!(Overlay::load(&directory).unwrap().is_empty());
    });
}

#[test]
fn f7_a_bad_file_changes_nothing_and_says_where() {
    with_control("bad", async |handle, wire, directory| {
        write(&directory, &FILE.replace("port: 80", "prot: 80"));
        let error = handle.apply(None, false).await.unwrap_err();
        assert!(error.contains("weir.yaml:7:"), "{error}");
        let status = handle.status();
        assert_eq!((status.revision, status.reload_failures), (1, 1));
        assert_eq!(wire.0.lock().unwrap().tables.len(), 1);
        write(&directory, FILE);
        handle.apply(None, false).await.unwrap();
        assert_eq!(handle.status().revision, 2);
        assert_eq!(
            std::fs::read_to_string(directory.join(LAST_GOOD)).unwrap(),
            FILE
        );
    });
}

#[test]
fn f7_what_needs_a_restart_is_refused_whole() {
    with_control("restart", async |handle, _, directory| {
        write(
            &directory,
            &FILE.replace("vlan: 7", "vlan: 8").replace("web2", "other"),
        );
        let error = handle.apply(None, false).await.unwrap_err();
        assert!(error.starts_with("needs restart: "), "{error}");
        assert_eq!(weight(&handle.status(), "web2"), Some(1));
    });
}

#[test]
fn a_reload_keeps_the_slots_of_unchanged_servers() {
    with_control("reload", async |handle, wire, directory| {
        let slot = |status: &Status, name: &str| {
            status
                .tables
                .servers
                .iter()
                .flatten()
                .find(|s| &*s.name == name)
                .map(|s| s.id)
        };
        let before = slot(&handle.status(), "web2");
        write(
            &directory,
            &FILE.replace("{name: web1, address: 192.0.2.21}", "{address: 192.0.2.23}"),
        );
        let message = handle.apply(None, false).await.unwrap();
        assert!(message.contains("1 services, 2 servers"), "{message}");
        let status = handle.status();
        assert_eq!(
            (slot(&status, "web2"), slot(&status, "web1")),
            (before, None)
        );
        assert_eq!(wire.0.lock().unwrap().tables.len(), 2);
    });
}

#[test]
fn f8_a_shrinking_file_needs_the_operators_word() {
    with_control("shrink", async |handle, _, directory| {
        let servers: String = (30..60)
            .map(|i| format!("      - {{name: s{i}, address: 192.0.2.{i}}}\n"))
            .collect();
        write(&directory, &format!("{FILE}{servers}"));
        handle.apply(None, false).await.unwrap();
        write(&directory, FILE);
        assert!(
            handle
                .apply(None, false)
                .await
                .unwrap_err()
                .contains("--allow-shrink")
        );
        handle.apply(None, true).await.unwrap();
    });
}

#[test]
fn a2_arp_for_a_vip_is_answered_through_the_loop_with_the_ports_tag() {
    with_control("arp", async |_, wire, _| {
        let asker = MacAddr([2, 0, 0, 0, 0, 9]);
        let client = std::net::Ipv4Addr::new(192, 0, 2, 5);
        let vip = std::net::Ipv4Addr::new(192, 0, 2, 10);
        let mut ask = crate::arp::reply((asker, client), (MacAddr::BROADCAST, vip));
        ask[21] = 1;
        let tagged = frame::tag(&ask, Some(7)).into_owned();
        wire.0
            .lock()
            .unwrap()
            .punts
            .push((PortId(0), PuntClass::Arp, tagged));
        let expected = crate::arp::reply((MacAddr([2, 0, 0, 0, 0, 0]), vip), (asker, client));
        let expected = (PortId(0), frame::tag(&expected, Some(7)).into_owned());
        let answered = || wire.0.lock().unwrap().sent.contains(&expected);
        tokio::time::timeout(Duration::from_secs(5), async {
            while !answered() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("answered in time");
    });
}

#[test]
fn a_health_verdict_reaches_the_tables() {
    let Some(namespace) = crate::testing::Namespace::new("health") else {
        return;
    };
    namespace.ip("link set lo up");
    namespace.ip("addr add 192.0.2.21/32 dev lo");
    namespace.run(|| with_control("health", health_follows_a_listener));
}

async fn health_follows_a_listener(handle: ControlHandle, _: Wire, directory: PathBuf) {
    let listener = tokio::net::TcpListener::bind("192.0.2.21:80")
        .await
        .unwrap();
    let text = FILE.replace("    servers:", "    health: tcp\n    servers:");
    let check = "{type: tcp, interval: 100ms, timeout: 50ms, rise: 1, fall: 1, path: false}";
    write(
        &directory,
        &format!("{text}health_checks:\n  tcp: {check}\n"),
    );
    handle.apply(None, false).await.unwrap();
    let wait = async |up: bool| {
        tokio::time::timeout(Duration::from_secs(10), async {
            while weight(&handle.status(), "web1").is_some() != up {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the verdict arrives");
    };
    wait(true).await;
    drop(listener);
    wait(false).await;
    let health = handle.health("web", "web1").await.unwrap();
    assert!(health.history.len() > 1);
    assert!(
        health
            .history
            .last()
            .unwrap()
            .outcome
            .reason
            .contains("refused")
    );
}

#[test]
fn the_first_tables_have_the_kernels_routes_and_the_tap_answers_for_the_dip() {
    let Some(namespace) = crate::testing::Namespace::new("loop") else {
        return;
    };
    namespace.run(|| {
        with_kernel("loop", async |_, wire, _| {
            let tables = wire.0.lock().unwrap().tables[0].clone();
            assert_eq!(tables.v4.routes.count(), 1, "the DIP's subnet");
            // ARP for the DIP goes up to the kernel, and its answer comes out of the port.
            let asker = MacAddr([2, 0, 0, 0, 0, 9]);
            let client = std::net::Ipv4Addr::new(192, 0, 2, 5);
            let dip = std::net::Ipv4Addr::new(192, 0, 2, 2);
            let mut ask = crate::arp::reply((asker, client), (MacAddr::BROADCAST, dip));
            ask[21] = 1;
            wire.0
                .lock()
                .unwrap()
                .punts
                .push((PortId(0), PuntClass::Arp, ask));
            let mac = MacAddr([2, 0, 0, 0, 0, 0]);
            let answer = crate::arp::reply((mac, dip), (asker, client));
            let answer = frame::tag(&answer[..42], Some(7)).into_owned();
            let sent = || {
                let inner = wire.0.lock().unwrap();
                inner
                    .sent
                    .iter()
                    .any(|(_, bytes)| bytes.starts_with(&answer))
            };
            tokio::time::timeout(Duration::from_secs(10), async {
                while !sent() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            })
            .await
            .expect("the kernel answers for its address");
        });
    });
}

/// One of a pair that speaks with its port's MAC, so that caches tell who is Active.
const ONE_OF_A_PAIR: &str = "
ports:
  - {name: p0, device: net_null0, addresses: [192.0.2.2/24]}
vrrp:
  - {name: edge, port: p0, id: 51, interval: 100ms, virtual_mac: false, addresses: [192.0.2.10]}
services:
  - {name: web, address: 192.0.2.10, port: 80, servers: [{address: 192.0.2.21}]}
";
const VIP: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 0, 2, 10);
const OTHER: (MacAddr, std::net::Ipv4Addr) = (
    MacAddr([2, 0, 0, 0, 0, 0x99]),
    std::net::Ipv4Addr::new(192, 0, 2, 3),
);

fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

/// A control thread by hand, which is Active since 400 ms.
fn active() -> (Control<Wire>, Wire) {
    let setup = Setup {
        config: config::parse("pair.yaml", ONE_OF_A_PAIR).unwrap().config,
        config_path: PathBuf::new(),
        facts: vec![PortFact {
            device: DeviceId(0),
            mac: MacAddr([2, 0, 0, 0, 0, 0]),
            mtu: 1500,
        }],
        steering: Steering::default(),
        state: None,
        overlay: Overlay::default(),
        taps: false,
        seed: 7,
    };
    let wire = Wire::default();
    let (_, commands, _) = channel();
    let mut control = Control::without_kernel(at(0), setup, wire.clone(), commands).unwrap();
    control.turn(at(0));
    control.turn(at(400));
    assert_eq!(kinds(&wire), ["advert 100", "arp"], "it takes over");
    (control, wire)
}

/// What was sent since the last call.
fn kinds(wire: &Wire) -> Vec<String> {
    let sent = std::mem::take(&mut wire.0.lock().unwrap().sent);
    let kind = |frame: &Vec<u8>| match frame[12..14] {
        [0x08, 0x06] => "arp".to_owned(),
        _ => format!("advert {}", frame[36]),
    };
    sent.iter().map(|(_, frame)| kind(frame)).collect()
}

/// These frames, of VRRP or ARP, come in.
fn come(wire: &Wire, frames: Vec<Vec<u8>>) {
    let class = |frame: &[u8]| match frame[12..14] {
        [0x08, 0x06] => PuntClass::Arp,
        _ => PuntClass::Vrrp,
    };
    let punts = frames.into_iter().map(|f| (PortId(0), class(&f), f));
    wire.0.lock().unwrap().punts.extend(punts);
}

#[test]
fn v34_who_steps_back_does_not_defend_its_vips_against_the_new_active() {
    let (mut control, wire) = active();
    let instance = control.world.config.vrrp[0].clone();
    let (mac, ip) = OTHER;
    let to = crate::vrrp::packet::to_group(true);
    let advert = crate::vrrp::packet::emit(&instance, 150, (mac, ip.into()), to).unwrap();
    let question = crate::arp::question(OTHER, MacAddr::BROADCAST, VIP);
    // A take-over is an advert and an announcement at once, so one turn sees both.
    let announcement = crate::arp::announcement(mac, VIP);
    come(&wire, vec![advert, announcement, question]);
    control.turn(at(450));
    assert_eq!(kinds(&wire), ["advert 100"], "its last word, and silence");
}

#[test]
fn v45_who_wakes_late_answers_nothing_before_it_has_its_lease_again() {
    // Late by less than another needs to take over: the advert goes first.
    let question = crate::arp::question(OTHER, MacAddr::BROADCAST, VIP);
    let (mut control, wire) = active();
    come(&wire, vec![question.clone()]);
    control.turn(at(690));
    assert_eq!(kinds(&wire), ["advert 100", "arp"]);
    // By more: another may be Active.
    let (mut control, wire) = active();
    come(&wire, vec![question]);
    control.turn(at(710));
    assert_eq!(kinds(&wire), [""; 0]);
}
