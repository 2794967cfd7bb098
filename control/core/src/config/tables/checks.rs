//! Keys of health checks.

use super::super::keys::{Key, Kind, Section, now};
use super::words::{ARGUMENT, DOMAIN, HEADER, HOST, L4_PORT, PATH, REGEX, SHA256, TEXT, URL};

const PERIOD: Kind = Kind::Duration {
    min: 10,
    max: 3_600_000,
};
const PERCENT: Kind = Kind::Int { min: 1, max: 100 };

pub(in super::super) static HEALTH_CHECK: Section = Section {
    noun: "a health check",
    keys: &[
        Key::new(
            "type",
            Kind::Choice(&[
                now("tcp"),
                now("http"),
                now("https"),
                now("udp"),
                now("dns"),
                now("icmp"),
                now("smtp"),
                now("script"),
                now("passive"),
            ]),
            "http",
            "What passes: tcp a connection that opens; http and https the expected answer; udp \
             an answer, or no port unreachable; dns an answer with the expected response code; \
             icmp an echo reply; smtp a greeting 220; script exit status 0; passive clients' flows \
             that come to something.",
        )
        .required(),
        Key::new(
            "url",
            Kind::Word(&URL),
            "/healthz",
            "Path and query to ask for (http, https).",
        )
        .default("/"),
        Key::new(
            "host",
            Kind::Word(&HOST),
            "www.example.net",
            "`Host` header (http, https).",
        )
        .derived("the server's address"),
        Key::new(
            "tls",
            Kind::Section(&TLS),
            "{name: www.example.net, verify: true}",
            "Details of https. The certificate's last day is reported in any case.",
        ),
        Key::new(
            "send",
            Kind::Word(&TEXT),
            "\"ping\"",
            "What the datagram says (udp).",
        )
        .derived("nothing: an empty datagram"),
        Key::new(
            "query",
            Kind::Word(&DOMAIN),
            "www.example.net",
            "The name to ask for (dns). Required there.",
        ),
        Key::new(
            "query_type",
            Kind::Choice(&[
                now("a"),
                now("aaaa"),
                now("ns"),
                now("soa"),
                now("mx"),
                now("txt"),
            ]),
            "aaaa",
            "The record to ask for (dns).",
        )
        .default("a"),
        Key::new(
            "command",
            Kind::OneOrList {
                of: &Kind::Word(&ARGUMENT),
                max: 64,
            },
            "[/etc/weir/check-db, --fast]",
            "The program of a script check, run as nobody, without a shell, with WEIR_SERVICE, \
             WEIR_SERVER, WEIR_ADDRESS and WEIR_PORT. Required there.",
        ),
        Key::new(
            "passive",
            Kind::Section(&PASSIVE),
            "{share: 50}",
            "When clients' flows speak against a server (passive).",
        ),
        Key::new(
            "expect",
            Kind::Section(&EXPECT),
            "{status: [200]}",
            "What passes.",
        ),
        Key::new(
            "interval",
            PERIOD,
            "2s",
            "From one probe's start to the next; a probe that takes longer delays the next.",
        )
        .default("2s"),
        Key::new(
            "interval_down",
            PERIOD,
            "10s",
            "The same while the server is down.",
        )
        .derived("`interval`"),
        Key::new(
            "jitter",
            Kind::Int { min: 0, max: 50 },
            "10",
            "Percent of the interval by which each is varied, either way.",
        )
        .default("5"),
        Key::new(
            "timeout",
            PERIOD,
            "1s",
            "A probe without its answer by then has failed.",
        )
        .default("1s"),
        Key::new(
            "phase_timeouts",
            Kind::Section(&PHASES),
            "{connect: 200ms}",
            "Tighter limits of single phases.",
        ),
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
        Key::new(
            "initial",
            Kind::Choice(&[now("down"), now("up")]),
            "up",
            "What a server is before its first result: down until it passes, or up until it has \
             failed `fall` times.",
        )
        .default("down"),
        Key::new(
            "dampening",
            Kind::Section(&DAMPENING),
            "{falls: 3}",
            "Keeps a flapping server down for a while.",
        ),
        Key::new(
            "brake",
            Kind::Section(&BRAKE),
            "{servers: 10, hold: 1m}",
            "Keeps servers up that all fall silent at once: then the fault is probably on the way \
             to them. Servers that answer wrongly, or refuse, go down in any number.",
        ),
        Key::new("port", L4_PORT, "8080", "L4 port to ask.")
            .derived("the server's port; of several or a range, the first"),
        Key::new(
            "path",
            Kind::Bool,
            "true",
            "Send the probe the way clients' packets go: to the VIP, by DR or through the tunnel \
             to that one server. Finds a missing VIP on its loopback interface, a tunnel that is \
             not set up, `rp_filter`. Not for icmp, script and passive.",
        )
        .derived("true in modes dr and tunnel; in mode nat both are the same"),
    ],
};

pub(in super::super) static EXPECT: Section = Section {
    noun: "expect",
    keys: &[
        Key::new(
            "status",
            Kind::List {
                of: &Kind::Span { min: 100, max: 599 },
                min: 1,
                max: 64,
            },
            "[200, 300-399]",
            "Status codes or ranges that pass (http, https).",
        )
        .default("[200-299]"),
        Key::new(
            "contains",
            Kind::Word(&TEXT),
            "\"all well\"",
            "Text in the first 64 KiB of the body (http, https) or in the answer (udp).",
        ),
        Key::new(
            "matches",
            Kind::Word(&REGEX),
            "\"^(ok|degraded)$\"",
            "Regular expression for the same, of linear time: no look-around, no back references.",
        ),
        Key::new(
            "sha256",
            Kind::Word(&SHA256),
            "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
            "SHA-256 of the same.",
        ),
        Key::new(
            "headers",
            Kind::List {
                of: &Kind::Word(&HEADER),
                min: 0,
                max: 16,
            },
            "[\"X-Ready: yes\"]",
            "Header fields that the answer has (http, https): a name, or a name with a part of its \
             value.",
        )
        .default("[]"),
        Key::new(
            "rcodes",
            Kind::List {
                of: &Kind::Int { min: 0, max: 15 },
                min: 1,
                max: 16,
            },
            "[0, 3]",
            "Response codes that pass (dns): 0 no error, 3 no such name.",
        )
        .default("[0]"),
    ],
};

pub(in super::super) static TLS: Section = Section {
    noun: "tls",
    keys: &[
        Key::new(
            "name",
            Kind::Word(&DOMAIN),
            "www.example.net",
            "Server name to send (SNI) and to verify.",
        )
        .derived("`host`, or the server's address"),
        Key::new(
            "verify",
            Kind::Bool,
            "true",
            "Whether the certificate must be valid: in time, for the name, from a trusted issuer.",
        )
        .default("false"),
        Key::new(
            "ca",
            Kind::Word(&PATH),
            "/etc/weir/ca.pem",
            "Issuers to trust, PEM.",
        )
        .derived("the system's: /etc/ssl/certs/ca-certificates.crt"),
    ],
};

pub(in super::super) static PHASES: Section = Section {
    noun: "phase_timeouts",
    keys: &[
        Key::new("connect", PERIOD, "200ms", "The TCP handshake.").derived("`timeout`"),
        Key::new("tls", PERIOD, "500ms", "The TLS handshake.").derived("`timeout`"),
        Key::new(
            "answer",
            PERIOD,
            "500ms",
            "From the request to the first octet of the answer.",
        )
        .derived("`timeout`"),
    ],
};

pub(in super::super) static DAMPENING: Section = Section {
    noun: "dampening",
    keys: &[
        Key::new(
            "falls",
            Kind::Int { min: 0, max: 100 },
            "3",
            "A server that goes down so often, at least twice, is kept down; 0 turns it off.",
        )
        .default("0"),
        Key::new("within", PERIOD, "10m", "Over so long.").default("5m"),
        Key::new(
            "hold",
            PERIOD,
            "5m",
            "Kept down for so long after the last fall.",
        )
        .default("1m"),
    ],
};

pub(in super::super) static BRAKE: Section = Section {
    noun: "brake",
    keys: &[
        Key::new(
            "share",
            PERCENT,
            "80",
            "Percent of the check's good servers that fall silent within one interval and \
             time-out.",
        )
        .default("100"),
        Key::new(
            "servers",
            Kind::Int { min: 0, max: 65535 },
            "10",
            "At least so many; 0 turns it off.",
        )
        .default("4"),
        Key::new(
            "hold",
            PERIOD,
            "1m",
            "They are kept up for so long at most.",
        )
        .default("5m"),
    ],
};

pub(in super::super) static PASSIVE: Section = Section {
    noun: "passive",
    keys: &[
        Key::new(
            "share",
            PERCENT,
            "80",
            "Percent of a server's new flows in one interval that time out before they are \
             established (after a minute) or are refused by it (mode nat). The server must also \
             lose twice as many as its peers: a SYN flood makes all look dead.",
        )
        .default("50"),
        Key::new(
            "flows",
            Kind::Int {
                min: 1,
                max: 1_000_000,
            },
            "50",
            "Fewer new flows than so many in an interval say nothing.",
        )
        .default("20"),
        Key::new(
            "hold",
            PERIOD,
            "1m",
            "How long such a server gets no new flow before it is tried again. Flows of before \
             count for up to two minutes.",
        )
        .default("2m"),
    ],
};
