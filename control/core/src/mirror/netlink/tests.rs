//! The mirror and the TAPs against a real kernel, each test in a network namespace of its own.
//!
//! They need root and `ip`; without, they say so and check nothing.

use weir_engine::id::DeviceId;
use weir_engine::time::Time;
use weir_engine::verdict::PuntClass;
use weir_wire::addr::MacAddr;

use super::*;
use crate::config::Config;
use crate::ports::PortFact;
use crate::responder::Responder;
use crate::taps::Taps;
use crate::testing::Namespace;
use crate::uplink::Uplink;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PORT: PortId = PortId(0);

fn config() -> Config {
    let text = "
ports:
  - {name: wan0, device: net_null0, addresses: [192.0.2.2/24, '2001:db8::2/64'],
     gateway: [192.0.2.1, '2001:db8::1']}
";
    crate::config::parse("test", text).unwrap().config
}

async fn open() -> (Taps, Netlink) {
    let config = config();
    let facts = [PortFact {
        device: DeviceId(0),
        mac: MAC,
        mtu: 1500,
    }];
    let taps = Taps::open(&config, &facts).unwrap();
    let netlink = Netlink::start(taps.interfaces(&config)).await.unwrap();
    taps.configure(netlink.handle(), &config).await.unwrap();
    (taps, netlink)
}

/// Waits until the mirror is as `wanted` says.
async fn until(view: &mut watch::Receiver<View>, wanted: impl Fn(&View) -> bool) {
    let reached = view.wait_for(|view| wanted(view));
    // A bound for a hung test, not a promise: 60,000 routes take seconds on a busy machine.
    let reached = tokio::time::timeout(Duration::from_secs(60), reached)
        .await
        .is_ok();
    assert!(reached, "the mirror never got there: {:?}", *view.borrow());
}

fn gateways(view: &View) -> Vec<String> {
    let routes = view
        .mirror
        .routes
        .iter()
        .filter(|route| route.destination.len == 0);
    routes
        .filter_map(|route| Some(route.gateway?.to_string()))
        .collect()
}

#[test]
fn a_tap_gets_dips_and_default_routes_and_the_mirror_shows_them() {
    let Some(namespace) = Namespace::new("taps") else {
        return;
    };
    namespace.run_async(async || {
        let (taps, netlink) = open().await;
        let mut view = netlink.view();
        until(&mut view, |view| {
            gateways(view) == ["192.0.2.1", "2001:db8::1"]
                && view
                    .mirror
                    .addresses
                    .iter()
                    .filter(|(port, _)| *port == PORT)
                    .count()
                    >= 2
        })
        .await;
        let sysctl = |name| std::fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap();
        assert_eq!(sysctl("ipv4/conf/wan0/rp_filter").trim(), "0");
        assert_eq!(sysctl("ipv6/conf/wan0/accept_ra").trim(), "0");
        drop(taps);
    });
}

#[test]
fn routes_of_other_programs_are_followed() {
    let Some(namespace) = Namespace::new("routes") else {
        return;
    };
    namespace.run_async(async || {
        let (_taps, netlink) = open().await;
        let mut view = netlink.view();
        let via = |gateway: &'static str| {
            move |view: &View| {
                let far = view
                    .mirror
                    .routes
                    .iter()
                    .find(|r| r.destination.to_string() == "198.51.100.0/24");
                far.map(|r| r.gateway.unwrap().to_string()).as_deref() == Some(gateway)
            }
        };
        namespace.ip("route add 198.51.100.0/24 via 192.0.2.7");
        until(&mut view, via("192.0.2.7")).await;
        namespace.ip("route replace 198.51.100.0/24 via 192.0.2.8");
        until(&mut view, via("192.0.2.8")).await;
        // A worse route does not win, and the better one's end brings it out.
        namespace.ip("route add 198.51.100.0/24 via 192.0.2.9 metric 50");
        namespace.ip("route del 198.51.100.0/24 via 192.0.2.8");
        until(&mut view, via("192.0.2.9")).await;
    });
}

#[test]
fn neighbours_come_and_go_with_the_kernels_table() {
    let Some(namespace) = Namespace::new("neigh") else {
        return;
    };
    namespace.run_async(async || {
        let (_taps, netlink) = open().await;
        let mut view = netlink.view();
        let server: IpAddr = "192.0.2.21".parse().unwrap();
        // Told earlier, so that it would be seen first: a VIP is no neighbour.
        let vip: IpAddr = "192.0.2.10".parse().unwrap();
        let told = crate::paths::VIP_MAC;
        namespace.ip(&format!(
            "neigh add {vip} lladdr {told} dev wan0 nud reachable"
        ));
        namespace.ip("neigh add 192.0.2.21 lladdr 02:00:00:00:00:21 dev wan0 nud reachable");
        let mac = MacAddr([2, 0, 0, 0, 0, 0x21]);
        until(&mut view, |v| {
            v.mirror.neighbours.get(&(PORT, server)) == Some(&mac)
        })
        .await;
        assert!(!view.borrow().mirror.neighbours.contains_key(&(PORT, vip)));
        namespace.ip("neigh del 192.0.2.21 dev wan0");
        until(&mut view, |v| {
            !v.mirror.neighbours.contains_key(&(PORT, server))
        })
        .await;
    });
}

#[test]
fn what_is_only_in_the_first_of_two_lists_is_found() {
    let found = |these: &[u8], those: &[u8]| beyond(these, those).copied().collect::<Vec<_>>();
    assert_eq!(found(&[1, 2, 3, 5, 8], &[0, 2, 4, 5, 9]), [1, 3, 8]);
    assert_eq!(found(&[1, 2], &[]), [1, 2]);
    assert!(found(&[], &[1, 2]).is_empty());
    assert!(found(&[1, 2], &[1, 2]).is_empty());
}

#[test]
fn a_kept_neighbour_makes_the_kernel_ask_on_the_tap() {
    let Some(namespace) = Namespace::new("keep") else {
        return;
    };
    namespace.run_async(async || {
        let (taps, netlink) = open().await;
        let server: IpAddr = "192.0.2.21".parse().unwrap();
        assert!(netlink.keep(vec![(PORT, server)].into()));
        let mut buffer = [0; 2048];
        let asked = async {
            loop {
                match taps.tap(PORT).unwrap().recv(&mut buffer) {
                    // An ARP request whose target is the server.
                    Ok(len) if len >= 42 && buffer[12..14] == [8, 6] => {
                        if buffer[38..42] == [192, 0, 2, 21] {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), asked)
            .await
            .expect("a question");
        // Its answer reaches the mirror.
        let answer = crate::arp::reply(
            (MacAddr([2, 0, 0, 0, 0, 0x21]), [192, 0, 2, 21].into()),
            (MAC, [192, 0, 2, 2].into()),
        );
        taps.tap(PORT).unwrap().send(&answer).unwrap();
        let mut view = netlink.view();
        until(&mut view, |v| {
            v.mirror.neighbours.contains_key(&(PORT, server))
        })
        .await;
        // And nobody keeps it any longer than it is wanted.
        assert!(netlink.keep(Arc::default()));
        until(&mut view, |v| {
            !v.mirror.neighbours.contains_key(&(PORT, server))
        })
        .await;
    });
}

/// What stands between workers and TAPs, for [`config`].
fn edge() -> (Uplink, Responder) {
    let config = config();
    let inputs = crate::reconcile::Inputs {
        config: &config,
        overlay: &crate::overlay::Overlay::default(),
        health: &crate::health::Verdicts::default(),
        mirror: &Mirror::from_config(&config),
        ports: &[PortFact {
            device: DeviceId(0),
            mac: MAC,
            mtu: 1500,
        }],
        steering: &weir_engine::steering::Steering::default(),
    };
    let tables = crate::reconcile::reconcile(&Default::default(), &inputs);
    let tables = tables.unwrap().tables;
    let (mut uplink, mut responder) = (Uplink::default(), Responder::default());
    uplink.configure(&tables);
    crate::responder::tests::configure(&mut responder, Time::ZERO, &tables);
    (uplink, responder)
}

/// A broadcast question for our address, or an unasked answer to us, from an invented host.
fn spoofed(n: u32) -> Vec<u8> {
    let [_, a, b, c] = n.to_be_bytes();
    let (mac, source) = (
        MacAddr([2, 9, 9, a, b, c]),
        [192, 0, 2, c.clamp(30, 250)].into(),
    );
    let dip = [192, 0, 2, 2].into();
    if n.is_multiple_of(2) {
        return crate::arp::question((mac, source), MacAddr::BROADCAST, dip);
    }
    crate::arp::reply((mac, source), (MAC, dip))
}

#[test]
fn a9_a_million_spoofed_senders_evict_and_change_nothing_that_is_kept() {
    let Some(namespace) = Namespace::new("spoof") else {
        return;
    };
    namespace.run_async(async || {
        let (taps, netlink) = open().await;
        let tap = taps.tap(PORT).unwrap();
        let server: IpAddr = "192.0.2.21".parse().unwrap();
        let mac = MacAddr([2, 0, 0, 0, 0, 0x21]);
        assert!(netlink.keep(vec![(PORT, server)].into()));
        let kept = async |view: &mut watch::Receiver<View>| {
            until(view, |v| {
                v.mirror.neighbours.get(&(PORT, server)) == Some(&mac)
            })
            .await;
        };
        let answer = crate::arp::reply((mac, [192, 0, 2, 21].into()), (MAC, [192, 0, 2, 2].into()));
        let mut view = netlink.view();
        // The kernel takes an answer once it has asked.
        let mut buffer = [0; 2048];
        let ask = [192, 0, 2, 21];
        let asked = async {
            while !matches!(tap.recv(&mut buffer), Ok(42..) if buffer[38..42] == ask) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), asked);
        in_time.await.expect("a question");
        tap.send(&answer).unwrap();
        kept(&mut view).await;

        // All that the limits of class and port let through in 500 seconds, and more.
        let mut edge = edge();
        let mut up = |now: Time, bytes: &[u8]| {
            let (uplink, responder) = &mut edge;
            let class = (PORT, PuntClass::Arp);
            let mut paths = crate::paths::Paths::default();
            let up = uplink.up(now, class, bytes, responder, &mut paths, &mut Vec::new());
            up.map(|(_, frame)| frame.into_owned())
        };
        let mut passed = 0_u32;
        for n in 0..1_000_000 {
            let now = Time::ZERO + Duration::from_micros(u64::from(n) * 500);
            if let Some(frame) = up(now, &spoofed(n)) {
                passed += 1;
                tap.send(&frame).unwrap();
            }
            if n.is_multiple_of(1000) {
                while tap.recv(&mut buffer).is_ok() {} // The kernel's answers.
                tokio::task::yield_now().await;
            }
        }
        assert!(
            (400_000..=500_000).contains(&passed),
            "questions pass, unasked answers do not"
        );
        kept(&mut view).await;
        // An answer about the server itself that nobody asked for changes nothing either.
        let forged = crate::arp::reply(
            (MacAddr([2, 9, 9, 9, 9, 9]), [192, 0, 2, 21].into()),
            (MAC, [192, 0, 2, 2].into()),
        );
        assert_eq!(up(Time::ZERO + Duration::from_secs(600), &forged), None);
        assert!(
            view.borrow().mirror.neighbours.len() < 300,
            "a subnet's worth at most"
        );
    });
}

#[test]
fn a_name_that_is_taken_is_refused_with_a_remedy() {
    let Some(namespace) = Namespace::new("clash") else {
        return;
    };
    namespace.ip("link add name wan0 type bridge");
    namespace.run_async(async || {
        let facts = [PortFact {
            device: DeviceId(0),
            mac: MAC,
            mtu: 1500,
        }];
        let error = Taps::open(&config(), &facts).unwrap_err().to_string();
        assert!(
            error.contains("wan0") && error.contains("exists"),
            "{error}"
        );
    });
}

#[test]
fn lost_announcements_lead_to_a_new_dump() {
    let Some(namespace) = Namespace::new("overrun") else {
        return;
    };
    namespace.run_async(async || {
        let (_taps, netlink) = open().await;
        let mut view = netlink.view();
        // More routes than the buffer holds, added while this thread, and with it the reader,
        // waits for the commands to end.
        let batch: String = (0..60_000u32)
            .map(|i| {
                format!(
                    "route add 10.{}.{}.{}/32 dev wan0\n",
                    i >> 16,
                    (i >> 8) & 255,
                    i & 255
                )
            })
            .collect();
        let path = std::env::temp_dir().join(format!("weir-routes-{}", std::process::id()));
        std::fs::write(&path, batch).unwrap();
        namespace.ip(&format!("-batch {}", path.display()));
        std::fs::remove_file(&path).unwrap();
        until(&mut view, |view| {
            view.mirror.routes.len() > 60_000 && view.dumps > 1
        })
        .await;
    });
}
