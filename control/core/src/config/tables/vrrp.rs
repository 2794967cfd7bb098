//! Keys of VRRP instances.

use super::super::keys::{Key, Kind, Section, now};
use super::words::{ADDRESS, NAME, PASSWORD, PORT_NAME};

/// The `vrrp` of the documented sample.
pub(in super::super) const VRRP_SAMPLE: &str = "[{name: edge, port: wan0, id: 51, \
    version: 3, priority: 150, interval: 1s, preempt: true, preempt_delay: 0s, virtual_mac: true, \
    addresses: [192.0.2.10, 192.0.2.11]}]";

pub(in super::super) static VRRP: Section = Section {
    noun: "a VRRP instance",
    keys: &[
        Key::new("name", Kind::Word(&NAME), "edge", "Unique name.").required(),
        Key::new(
            "port",
            Kind::Word(&PORT_NAME),
            "wan0",
            "Name of the port it speaks on.",
        )
        .required(),
        Key::new(
            "id",
            Kind::Int { min: 1, max: 255 },
            "51",
            "Virtual router identifier (VRID).",
        )
        .required(),
        Key::new(
            "version",
            Kind::Int { min: 2, max: 3 },
            "3",
            "VRRP version.",
        )
        .default("3"),
        Key::new(
            "priority",
            Kind::Int { min: 1, max: 254 },
            "150",
            "The highest becomes Active.",
        )
        .default("100"),
        Key::new(
            "owner",
            Kind::Bool,
            "true",
            "The VIPs are this port's own addresses: priority 255.",
        )
        .default("false"),
        Key::new(
            "interval",
            Kind::Duration {
                min: 10,
                max: 255_000,
            },
            "1s",
            "Between advertisements: 10ms to 40950ms in version 3, whole seconds in version 2.",
        )
        .default("1s"),
        Key::new(
            "preempt",
            Kind::Bool,
            "false",
            "Whether a higher priority takes over from a living Active.",
        )
        .default("true"),
        Key::new(
            "preempt_delay",
            Kind::Duration {
                min: 0,
                max: 3_600_000,
            },
            "30s",
            "How long a preempting router waits first.",
        )
        .default("0s"),
        Key::new(
            "virtual_mac",
            Kind::Bool,
            "false",
            "Answer for the VIPs with the virtual MAC; false takes the port's own, as keepalived \
             without use_vmac.",
        )
        .default("true"),
        Key::new(
            "addresses",
            Kind::List {
                of: &Kind::Word(&ADDRESS),
                min: 1,
                max: 255,
            },
            "[192.0.2.10]",
            "VIPs in advertised order; one that no service uses is a floating \
             gateway.",
        )
        .required(),
        Key::new(
            "extra_addresses",
            Kind::List {
                of: &Kind::Word(&ADDRESS),
                min: 0,
                max: 4096,
            },
            "[192.0.2.12]",
            "VIPs that are answered for and not advertised.",
        )
        .default("[]"),
        Key::new(
            "notify",
            Kind::Opaque,
            "{}",
            "Programs to run on a change of role.",
        ),
        Key::new(
            "auth",
            Kind::Section(&VRRP_AUTH),
            "{type: pass, password: \"1111\"}",
            "Authentication (version 2).",
        ),
        Key::new(
            "unicast",
            Kind::Section(&VRRP_UNICAST),
            "{peers: [192.0.2.3]}",
            "Peers that are sent to instead of the group.",
        ),
        Key::new(
            "track",
            Kind::Opaque,
            "[]",
            "What must be well for the instance to be Active.",
        ),
        Key::new(
            "group",
            Kind::Word(&NAME),
            "pair",
            "Instances that change role together.",
        ),
        Key::new(
            "checksum",
            Kind::Choice(&[now("rfc5798"), now("rfc9568")]),
            "rfc9568",
            "Checksum with or without pseudo-header (version 3 over IPv4).",
        )
        .default("rfc5798"),
    ],
};

pub(in super::super) static VRRP_AUTH: Section = Section {
    noun: "auth",
    keys: &[
        Key::new(
            "type",
            Kind::Choice(&[now("pass")]),
            "pass",
            "Kind of authentication.",
        )
        .default("pass"),
        Key::new(
            "password",
            Kind::Word(&PASSWORD),
            "\"1111\"",
            "One to eight octets.",
        )
        .required(),
    ],
};

pub(in super::super) static VRRP_UNICAST: Section = Section {
    noun: "unicast",
    keys: &[Key::new(
        "peers",
        Kind::List {
            of: &Kind::Word(&ADDRESS),
            min: 1,
            max: 255,
        },
        "[192.0.2.3]",
        "Addresses of the other directors.",
    )
    .required()],
};
