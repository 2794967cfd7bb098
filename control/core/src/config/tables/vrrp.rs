//! Keys of VRRP instances.

use super::super::keys::{Key, Kind, Section, now};
use super::words::{ADDRESS, ARGUMENT, NAME, NETWORK, PASSWORD, PORT_NAME};

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
                max: 4096,
            },
            "[192.0.2.10]",
            "VIPs in advertised order, at most 255 and as many as one packet holds; one that no \
             service uses is a floating gateway.",
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
            Kind::Section(&VRRP_NOTIFY),
            "{master: /etc/weir/became-active}",
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
            Kind::List {
                of: &Kind::Section(&VRRP_TRACK),
                min: 0,
                max: 32,
            },
            "[{port: lan0}, {service: web, weight: -50}]",
            "What must be well for the instance to be Active, or changes its priority. The \
             instance's own port always is tracked.",
        )
        .default("[]"),
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

/// A command: a program, or a program with its arguments.
const COMMAND: Kind = Kind::OneOrList {
    of: &Kind::Word(&ARGUMENT),
    max: 64,
};

pub(in super::super) static VRRP_NOTIFY: Section = Section {
    noun: "notify",
    keys: &[
        Key::new(
            "master",
            COMMAND,
            "/etc/weir/became-active",
            "Run when the instance becomes Active.",
        ),
        Key::new(
            "backup",
            COMMAND,
            "[/etc/weir/notify, backup]",
            "Run when the instance becomes Backup.",
        ),
        Key::new(
            "fault",
            COMMAND,
            "[/etc/weir/notify, fault]",
            "Run when the instance can be neither.",
        ),
        Key::new(
            "timeout",
            Kind::Duration {
                min: 100,
                max: 60_000,
            },
            "10s",
            "A program that runs longer is ended.",
        )
        .default("10s"),
    ],
};

pub(in super::super) static VRRP_TRACK: Section = Section {
    noun: "a tracked thing",
    keys: &[
        Key::new(
            "port",
            Kind::Word(&PORT_NAME),
            "lan0",
            "A port, which must have link.",
        ),
        Key::new(
            "service",
            Kind::Word(&NAME),
            "web",
            "A service, which must have its quorum.",
        ),
        Key::new(
            "route",
            Kind::Word(&NETWORK),
            "0.0.0.0/0",
            "A route that the kernel must have by one of the ports.",
        ),
        Key::new(
            "script",
            COMMAND,
            "[/etc/weir/uplink-works]",
            "A program, which must exit with status 0.",
        ),
        Key::new(
            "weight",
            Kind::Signed {
                min: -253,
                max: 253,
            },
            "-50",
            "Below 0: added to the priority while it is not well; above 0: while it is. 0: the \
             instance is in fault while it is not well.",
        )
        .default("0"),
        Key::new(
            "interval",
            Kind::Duration {
                min: 100,
                max: 3_600_000,
            },
            "1s",
            "Between two runs (script).",
        )
        .default("1s"),
        Key::new(
            "timeout",
            Kind::Duration {
                min: 100,
                max: 60_000,
            },
            "5s",
            "A run that takes longer has failed (script).",
        )
        .default("5s"),
        Key::new(
            "rise",
            Kind::Int { min: 1, max: 1000 },
            "1",
            "Successes in a row until it is well (script).",
        )
        .default("1"),
        Key::new(
            "fall",
            Kind::Int { min: 1, max: 1000 },
            "1",
            "Failures in a row until it is not (script).",
        )
        .default("1"),
    ],
};
