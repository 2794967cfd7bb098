//! Every key of services and servers: what it takes, its default, what it means.

use super::super::keys::{Key, Kind, Section, later, now};
use super::words::{ADDRESS, L4_PORT, NAME};

const MODES: Kind = Kind::Choice(&[now("dr"), now("nat"), now("tunnel"), later("fullnat")]);

const SCHEDULERS: Kind = Kind::Choice(&[
    now("rr"),
    now("wrr"),
    now("lc"),
    now("wlc"),
    now("maglev"),
    later("lblc"),
    later("lblcr"),
    later("dh"),
    later("sh"),
    later("sed"),
    later("nq"),
    later("fo"),
    later("ovf"),
    later("twos"),
    later("mh"),
]);

static PORT_OR_RANGE: Kind = Kind::Span { min: 0, max: 65535 };

pub(in super::super) static SERVICE: Section = Section {
    noun: "a service",
    keys: &[
        Key::new("name", Kind::Word(&NAME), "web", "Unique name.").required(),
        Key::new(
            "address",
            Kind::Word(&ADDRESS),
            "192.0.2.10",
            "The VIP. It need not lie in a port's subnet: it may be routed to Weir.",
        )
        .required(),
        Key::new(
            "port",
            Kind::Span { min: 0, max: 65535 },
            "80",
            "L4 port, a range such as 8000-8100, or 0 for all ports that no other service of the \
             VIP and protocol has. Either `port` or `ports` is required.",
        ),
        Key::new(
            "ports",
            Kind::OneOrList {
                of: &PORT_OR_RANGE,
                max: 256,
            },
            "[80, 443]",
            "Several L4 ports, instead of `port`. A range stands alone.",
        ),
        Key::new(
            "protocol",
            Kind::Choice(&[now("tcp"), now("udp"), later("sctp")]),
            "udp",
            "L4 protocol.",
        )
        .default("tcp"),
        Key::new(
            "mode",
            MODES,
            "nat",
            "How frames reach the servers: dr changes the MACs alone and needs servers in a \
             port's subnet that own the VIP silently; nat rewrites the destination and needs the \
             answers back; tunnel wraps the packet for servers that own the VIP anywhere.",
        )
        .default("dr"),
        Key::new(
            "tunnel",
            Kind::Section(&TUNNEL),
            "{type: ipip}",
            "Details of `mode: tunnel`.",
        ),
        Key::new(
            "scheduler",
            SCHEDULERS,
            "maglev",
            "How a server is chosen for a new flow: rr and wrr in turn, lc and wlc by least \
             connections, maglev by consistent hashing of the client's address and port.",
        )
        .default("wlc"),
        Key::new(
            "maglev_size",
            Kind::Int {
                min: 3,
                max: 8_388_617,
            },
            "65537",
            "Slots of the table of scheduler maglev, a prime of at least a hundred times the \
             servers. Other schedulers fall back to a smaller one when the flow table is full.",
        )
        .default("65537"),
        Key::new(
            "timeouts",
            Kind::Section(&TIMEOUTS),
            "{established: 15m}",
            "Idle times after which a flow is forgotten.",
        ),
        Key::new(
            "health",
            Kind::Word(&NAME),
            "web",
            "Name of a health check.",
        )
        .derived("none: every server counts as up"),
        Key::new(
            "unserved",
            Kind::Choice(&[now("answer"), now("drop")]),
            "drop",
            "What a port of the VIP without a service gets: RST or port unreachable, or nothing. \
             Read from the VIP's first listed service.",
        )
        .default("answer"),
        Key::new(
            "sloppy",
            Kind::Bool,
            "true",
            "Let a TCP segment other than SYN start a flow.",
        )
        .default("false"),
        Key::new(
            "on_server_gone",
            Kind::Choice(&[now("drop"), now("reset"), now("reschedule")]),
            "reset",
            "What packets of flows get whose server is no longer listed.",
        )
        .default("drop"),
        Key::new(
            "servers",
            Kind::List {
                of: &Kind::Section(&SERVER),
                min: 0,
                max: 4096,
            },
            "[{address: 192.0.2.21}]",
            "Servers. Schedulers walk them last-listed first, as IPVS \
             does; ties go to the first met.",
        )
        .default("[]"),
        Key::new(
            "persistence",
            Kind::Section(&PERSISTENCE),
            "{timeout: 300s}",
            "Keep a client on its server.",
        )
        .later_sample("{timeout: 300s, netmask: 32}"),
        Key::new(
            "quorum",
            Kind::Int { min: 1, max: 65535 },
            "1",
            "Sum of the weights of usable servers below which the service has lost its quorum: \
             then the sorry server, if there is one, takes all new flows, and VRRP instances that \
             track the service know.",
        )
        .default("1"),
        Key::new(
            "hysteresis",
            Kind::Int { min: 0, max: 65535 },
            "1",
            "The quorum is lost below `quorum` less this, and found again at `quorum` plus this.",
        )
        .default("0"),
        Key::new(
            "sorry_server",
            Kind::Section(&SORRY_SERVER),
            "{address: 192.0.2.99}",
            "Takes the new flows while the quorum is missed; it is not checked.",
        ),
        Key::new(
            "source_addresses",
            Kind::List {
                of: &Kind::Word(&ADDRESS),
                min: 0,
                max: 256,
            },
            "[192.0.2.100]",
            "Source addresses of `mode: fullnat`.",
        )
        .default("[]")
        .later(),
        Key::new(
            "client_address",
            Kind::Choice(&[
                now("none"),
                later("toa"),
                later("proxy-v1"),
                later("proxy-v2"),
            ]),
            "none",
            "How a server learns the client's address.",
        )
        .default("none")
        .later(),
        Key::new(
            "one_packet",
            Kind::Bool,
            "false",
            "Choose a server for every datagram (UDP).",
        )
        .default("false")
        .later(),
        Key::new(
            "scheduler_flags",
            Kind::List {
                of: &SCHEDULER_FLAG,
                min: 0,
                max: 4,
            },
            "[]",
            "Flags of the schedulers sh and mh.",
        )
        .default("[]")
        .later(),
        Key::new(
            "inhibit_on_failure",
            Kind::Bool,
            "true",
            "Show weight 0 for a server that failed its checks. Its flows go on in either case.",
        )
        .default("false"),
        Key::new(
            "acl",
            Kind::Opaque,
            "{}",
            "Clients that are let in or kept out.",
        )
        .later(),
        Key::new("limits", Kind::Opaque, "{}", "Limits on new flows.").later(),
        Key::new(
            "slow_start",
            Kind::Duration {
                min: 0,
                max: 3_600_000,
            },
            "30s",
            "How long the weight of a server that comes back takes to grow to its full size, in \
             ten steps; 0s is at once. Schedulers rr and lc do not look at weights.",
        )
        .default("0s"),
    ],
};

static SCHEDULER_FLAG: Kind = Kind::Choice(&[
    later("sh-port"),
    later("sh-fallback"),
    later("mh-port"),
    later("mh-fallback"),
]);

pub(in super::super) static SERVER: Section = Section {
    noun: "a server",
    keys: &[
        Key::new(
            "name",
            Kind::Word(&NAME),
            "web1",
            "Name, unique in the service.",
        )
        .derived("its address; with its port, where the address is listed twice"),
        Key::new(
            "address",
            Kind::Word(&ADDRESS),
            "192.0.2.21",
            "Address of the server (RIP).",
        )
        .required(),
        Key::new(
            "port",
            L4_PORT,
            "8080",
            "Another L4 port than the client's (nat).",
        )
        .derived("the client's destination port"),
        Key::new(
            "weight",
            Kind::Int { min: 0, max: 65535 },
            "3",
            "Share of new flows; 0 takes none.",
        )
        .default("1"),
        Key::new(
            "state",
            Kind::Choice(&[now("ready"), now("drain"), now("maintenance")]),
            "drain",
            "ready takes flows, drain keeps those it has, maintenance takes none and is not \
             checked.",
        )
        .default("ready"),
        Key::new("mode", MODES, "nat", "How frames reach this server.").derived("the service's"),
        Key::new(
            "tunnel",
            Kind::Section(&TUNNEL),
            "{type: ipip}",
            "Details of `mode: tunnel`.",
        ),
        Key::new(
            "max_connections",
            Kind::Int {
                min: 0,
                max: 100_000_000,
            },
            "0",
            "Above, the server takes no new flow; 0 is unlimited.",
        )
        .default("0")
        .later_sample("10000"),
        Key::new(
            "min_connections",
            Kind::Int {
                min: 0,
                max: 100_000_000,
            },
            "0",
            "Below, it takes new flows again.",
        )
        .default("0")
        .later_sample("9000"),
    ],
};

pub(in super::super) static TUNNEL: Section = Section {
    noun: "tunnel",
    keys: &[
        Key::new(
            "type",
            Kind::Choice(&[now("ipip"), later("gre"), later("gue")]),
            "ipip",
            "Encapsulation: ipip carries IPv4 and IPv6 in either.",
        )
        .default("ipip"),
        Key::new("port", L4_PORT, "6080", "UDP port of gue.").later(),
        Key::new(
            "checksum",
            Kind::Choice(&[now("none"), later("csum"), later("remcsum")]),
            "none",
            "Checksums of gre and gue.",
        )
        .default("none")
        .later(),
    ],
};

const TIMEOUT: Kind = Kind::Duration {
    min: 1000,
    max: 604_800_000,
};

pub(in super::super) static TIMEOUTS: Section = Section {
    noun: "timeouts",
    keys: &[
        Key::new("established", TIMEOUT, "15m", "An established TCP flow.").default("15m"),
        Key::new("fin", TIMEOUT, "2m", "A TCP flow after a FIN.").default("2m"),
        Key::new("udp", TIMEOUT, "5m", "A UDP flow.").default("5m"),
    ],
};

pub(in super::super) static PERSISTENCE: Section = Section {
    noun: "persistence",
    keys: &[
        Key::new(
            "timeout",
            TIMEOUT,
            "300s",
            "How long the choice lasts without a flow.",
        )
        .default("300s"),
        Key::new(
            "netmask",
            Kind::Int { min: 1, max: 128 },
            "32",
            "Prefix length of clients that share a choice.",
        )
        .default("32"),
    ],
};

pub(in super::super) static SORRY_SERVER: Section = Section {
    noun: "sorry_server",
    keys: &[
        Key::new(
            "address",
            Kind::Word(&ADDRESS),
            "192.0.2.99",
            "Its address.",
        )
        .required(),
        Key::new("port", L4_PORT, "8080", "Its L4 port (nat).")
            .derived("the client's destination port"),
        Key::new("mode", MODES, "nat", "How frames reach it.").derived("the service's"),
    ],
};
