//! Keys of health checks.

use super::super::keys::{Key, Kind, Section, now};
use super::words::{HOST, L4_PORT, URL};

pub(in super::super) static HEALTH_CHECK: Section = Section {
    noun: "a health check",
    keys: &[
        Key::new(
            "type",
            Kind::Choice(&[now("tcp"), now("http")]),
            "http",
            "tcp passes when a connection opens, http when the answer's status is expected.",
        )
        .required(),
        Key::new(
            "url",
            Kind::Word(&URL),
            "/healthz",
            "Path and query to ask for (http).",
        )
        .default("/"),
        Key::new(
            "host",
            Kind::Word(&HOST),
            "www.example.net",
            "`Host` header (http).",
        )
        .derived("the server's address"),
        Key::new(
            "expect",
            Kind::Section(&EXPECT),
            "{status: [200]}",
            "What passes (http).",
        ),
        Key::new(
            "interval",
            Kind::Duration {
                min: 10,
                max: 3_600_000,
            },
            "2s",
            "From one probe's start to the next; a probe that takes longer delays the next.",
        )
        .default("2s"),
        Key::new(
            "timeout",
            Kind::Duration {
                min: 10,
                max: 3_600_000,
            },
            "1s",
            "A probe without its answer by then has failed.",
        )
        .default("1s"),
        Key::new(
            "rise",
            Kind::Int { min: 1, max: 1000 },
            "2",
            "Passes in a row that bring a server up. The first pass after the start is enough \
             for the first time.",
        )
        .default("2"),
        Key::new(
            "fall",
            Kind::Int { min: 1, max: 1000 },
            "3",
            "Failures in a row that take a server down.",
        )
        .default("3"),
        Key::new("port", L4_PORT, "8080", "L4 port to ask.")
            .derived("the server's port; of several or a range, the first"),
        Key::new(
            "path",
            Kind::Bool,
            "true",
            "Send the probe the way clients' packets go.",
        )
        .default("false")
        .later_sample("true"),
    ],
};

pub(in super::super) static EXPECT: Section = Section {
    noun: "expect",
    keys: &[Key::new(
        "status",
        Kind::List {
            of: &Kind::Span { min: 100, max: 599 },
            min: 1,
            max: 64,
        },
        "[200, 300-399]",
        "Status codes or ranges that pass.",
    )
    .default("[200-299]")],
};
