//! Every key: what it takes, its default, what it means.
//!
//! Bounds are here and nowhere else. A key that this release lacks is marked `later`.

mod checks;
mod ports;
mod runtime;
mod services;
mod vrrp;
mod words;

pub(super) use checks::{BRAKE, DAMPENING, EXPECT, HEALTH_CHECK, PASSIVE, PHASES, TLS};
pub(super) use ports::{NEIGHBOUR, PORT};
pub(super) use runtime::{MANAGEMENT, RUNTIME};
pub(super) use services::{PERSISTENCE, SERVER, SERVICE, SORRY_SERVER, TIMEOUTS, TUNNEL};
pub(super) use vrrp::{VRRP, VRRP_AUTH, VRRP_NOTIFY, VRRP_TRACK, VRRP_UNICAST};
pub(super) use words::NAME;

use super::keys::{Key, Kind, Section};

/// The document.
pub(super) static ROOT: Section = Section {
    noun: "the configuration",
    keys: &[
        Key::new(
            "ports",
            Kind::List {
                of: &Kind::Section(&PORT),
                min: 1,
                max: 32,
            },
            "[…]",
            "DPDK ports. Each has a kernel TAP of the same name that carries its addresses.",
        )
        .required(),
        Key::new(
            "runtime",
            Kind::Section(&RUNTIME),
            "{workers: [2, 3]}",
            "Workers, memory and answers, fixed from start to stop.",
        ),
        Key::new(
            "vrrp",
            Kind::List {
                of: &Kind::Section(&VRRP),
                min: 0,
                max: 255,
            },
            "[…]",
            "VRRP instances. A VIP in none of them is always Active.",
        ),
        Key::new(
            "health_checks",
            Kind::Named {
                of: &HEALTH_CHECK,
                max: 1024,
            },
            "{web: {type: tcp}}",
            "Health checks by name, for `health` of services.",
        ),
        Key::new(
            "services",
            Kind::List {
                of: &Kind::Section(&SERVICE),
                min: 0,
                max: 8192,
            },
            "[…]",
            "Services: a VIP with L4 ports and a protocol, and the servers behind it.",
        ),
        Key::new(
            "management",
            Kind::Section(&MANAGEMENT),
            "{listen: \"127.0.0.1:9090\"}",
            "How people and machines reach the daemon.",
        ),
        Key::new(
            "snat",
            Kind::Opaque,
            "[]",
            "Source NAT of what servers send.",
        )
        .later(),
        Key::new("bgp", Kind::Opaque, "{}", "Announcing VIPs by BGP.").later(),
        Key::new(
            "cluster",
            Kind::Opaque,
            "{}",
            "What several directors share.",
        )
        .later(),
    ],
};

/// Every section, for "is a key of".
pub(super) static SECTIONS: [&Section; 23] = [
    &ROOT,
    &PORT,
    &NEIGHBOUR,
    &RUNTIME,
    &SERVICE,
    &SERVER,
    &TUNNEL,
    &TIMEOUTS,
    &PERSISTENCE,
    &SORRY_SERVER,
    &HEALTH_CHECK,
    &EXPECT,
    &TLS,
    &PHASES,
    &DAMPENING,
    &BRAKE,
    &PASSIVE,
    &MANAGEMENT,
    &VRRP,
    &VRRP_AUTH,
    &VRRP_NOTIFY,
    &VRRP_TRACK,
    &VRRP_UNICAST,
];
