//! Every key outside of services: what it takes, its default, what it means.
//!
//! Bounds are here and nowhere else. A key that this release lacks is marked `later`.

use super::keys::{Choice, Key, Kind, Section, Word, later, now};
use super::tables_services::{PERSISTENCE, SERVER, SERVICE, SORRY_SERVER, TIMEOUTS, TUNNEL};
use super::units;
use super::value::Value;

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
        )
        .later_sample(VRRP_SAMPLE),
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
pub(super) static SECTIONS: [&Section; 16] = [
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
    &MANAGEMENT,
    &VRRP,
    &VRRP_AUTH,
    &VRRP_UNICAST,
];

pub(super) static PORT: Section = Section {
    noun: "a port",
    keys: &[
        Key::new(
            "name",
            Kind::Word(&PORT_NAME),
            "wan0",
            "Name of the port and of its kernel TAP; not the name of an existing interface.",
        )
        .required(),
        Key::new(
            "device",
            Kind::Word(&DEVICE),
            "\"0000:03:00.0\"",
            "A PCI address, or a DPDK virtual device with its arguments, such as \
             \"net_af_xdp,iface=eth1\". Weir numbers a driver without digits. Ports may share a \
             device if their `vlan`s differ.",
        )
        .required(),
        Key::new(
            "addresses",
            Kind::List {
                of: &Kind::Word(&PREFIX),
                min: 0,
                max: 64,
            },
            "[192.0.2.2/24, \"2001:db8::2/64\"]",
            "The appliance's own addresses (DIPs), put on \
             the TAP.",
        )
        .default("[]"),
        Key::new(
            "gateway",
            Kind::List {
                of: &Kind::Word(&ADDRESS),
                min: 0,
                max: 2,
            },
            "[192.0.2.1]",
            "Default routes, at most one for IPv4 and one for IPv6, each in a \
             subnet of the port; an IPv6 one may be link-local.",
        )
        .default("[]"),
        Key::new(
            "mtu",
            Kind::Int {
                min: 576,
                max: 9600,
            },
            "9000",
            "Largest IP packet in octets. IPv6 needs 1280.",
        )
        .default("1500"),
        Key::new(
            "vlan",
            Kind::Int { min: 1, max: 4094 },
            "100",
            "802.1Q tag of the port's frames.",
        )
        .derived("untagged"),
        Key::new(
            "queues",
            Kind::Int { min: 1, max: 128 },
            "2",
            "Receive and transmit queues.",
        )
        .derived("as many as workers, if the device has them"),
        Key::new(
            "promiscuous",
            Kind::Bool,
            "true",
            "Take frames for every MAC from the device.",
        )
        .default("false"),
        Key::new(
            "mac",
            Kind::Word(&MAC),
            "\"02:00:00:00:00:01\"",
            "MAC of the port and its TAP.",
        )
        .derived("the device's own"),
        Key::new(
            "neighbours",
            Kind::List {
                of: &Kind::Section(&NEIGHBOUR),
                min: 0,
                max: 4096,
            },
            "[{address: 192.0.2.21, mac: \"02:00:00:00:00:21\"}]",
            "Static neighbours, which the kernel is not asked for.",
        )
        .default("[]"),
        Key::new("bond", Kind::Opaque, "{}", "Members of `device: bond`.").later(),
    ],
};

pub(super) static NEIGHBOUR: Section = Section {
    noun: "a neighbour",
    keys: &[
        Key::new(
            "address",
            Kind::Word(&ADDRESS),
            "192.0.2.21",
            "Address of the neighbour, in a subnet of the port.",
        )
        .required(),
        Key::new("mac", Kind::Word(&MAC), "\"02:00:00:00:00:21\"", "Its MAC.").required(),
    ],
};

const RATE: Kind = Kind::Int {
    min: 0,
    max: 10_000_000,
};
const CPU: Kind = Kind::Int { min: 0, max: 1023 };
static CPU_ITEM: Kind = CPU;

pub(super) static RUNTIME: Section = Section {
    noun: "runtime",
    keys: &[
        Key::new(
            "workers",
            Kind::List {
                of: &CPU_ITEM,
                min: 1,
                max: 128,
            },
            "[2, 3]",
            "CPU numbers, one worker each. May include the control CPU, at a cost.",
        )
        .derived("every CPU but the first"),
        Key::new("control", CPU, "0", "CPU of the control thread.").default("0"),
        Key::new(
            "flows_per_worker",
            Kind::Int {
                min: 16,
                max: 1 << 26,
            },
            "4194304",
            "Flows that one worker remembers; a NAT flow counts once.",
        )
        .default("1048576"),
        Key::new(
            "mbufs",
            Kind::Int {
                min: 512,
                max: 1 << 24,
            },
            "131072",
            "Packet buffers of the whole process.",
        )
        .default("65536"),
        Key::new(
            "mbuf_data",
            Kind::Size {
                min: 256,
                max: 10 << 10,
            },
            "2KiB",
            "Data room of one packet buffer, headroom not counted.",
        )
        .default("2KiB"),
        Key::new(
            "answers_per_second",
            RATE,
            "1000",
            "Echo replies, RSTs and ICMP errors per second and worker; 0 is unlimited.",
        )
        .default("1000"),
        Key::new(
            "answers_per_client",
            RATE,
            "100",
            "The same for each client; 0 is unlimited.",
        )
        .default("100"),
        Key::new(
            "hugepages",
            Kind::Choice(&[now("auto"), now("required"), now("off")]),
            "required",
            "Packet memory: auto takes hugepages if there are any, required does not \
             start without, off uses ordinary pages.",
        )
        .default("auto"),
        Key::new(
            "idle",
            Kind::Choice(&[now("poll"), now("adaptive")]),
            "adaptive",
            "What a worker without work does: poll keeps the CPU busy for the least delay, \
             adaptive naps (laptops, CI, small machines).",
        )
        .default("poll"),
        Key::new(
            "heartbeat",
            Kind::Duration {
                min: 1,
                max: 10_000,
            },
            "50ms",
            "A worker silent for longer is stalled; counted only if control was on time itself.",
        )
        .default("50ms"),
    ],
};

pub(super) static HEALTH_CHECK: Section = Section {
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

pub(super) static EXPECT: Section = Section {
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

pub(super) static MANAGEMENT: Section = Section {
    noun: "management",
    keys: &[
        Key::new(
            "socket",
            Kind::Word(&SOCKET_PATH),
            "/run/weir/weir.sock",
            "Unix socket of the command line and the API; the peer's credentials decide its role.",
        )
        .default("/run/weir/weir.sock"),
        Key::new(
            "listen",
            Kind::Word(&LISTEN),
            "127.0.0.1:9090",
            "Address and port of metrics and dashboard, read-only.",
        )
        .derived("not served over TCP"),
        Key::new(
            "state",
            Kind::Word(&PATH),
            "/var/lib/weir",
            "Directory of the overlay and the last accepted file: created, locked, one daemon \
             each.",
        )
        .default("/var/lib/weir"),
        Key::new(
            "metrics_detail",
            Kind::Choice(&[now("service"), now("server")]),
            "service",
            "How fine the metrics are: one series for each service, or for each server too.",
        )
        .default("server"),
        Key::new(
            "tls",
            Kind::Opaque,
            "{}",
            "Certificates of the TCP listener.",
        )
        .later(),
        Key::new("tokens", Kind::Opaque, "[]", "Who may write over TLS.").later(),
    ],
};

/// The `vrrp` of the documented sample.
const VRRP_SAMPLE: &str = "[{name: edge, port: wan0, id: 51, version: 3, priority: 150, \
    interval: 1s, preempt: true, preempt_delay: 0s, virtual_mac: true, \
    addresses: [192.0.2.10, 192.0.2.11]}]";

pub(super) static VRRP: Section = Section {
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

pub(super) static VRRP_AUTH: Section = Section {
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

pub(super) static VRRP_UNICAST: Section = Section {
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

pub(super) const L4_PORT: Kind = Kind::Int { min: 1, max: 65535 };

pub(super) static ADDRESS: Word = Word {
    what: "an address of one host",
    allowed: "an IPv4 or IPv6 unicast address",
    pattern: "^[0-9A-Fa-f:.]+$",
    read: |text| units::address(text).map(Value::Address),
    later: &[],
};

static PREFIX: Word = Word {
    what: "an address with its prefix length",
    allowed: "an address with its prefix length: 192.0.2.2/24, \"2001:db8::2/64\"",
    pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
    read: |text| units::prefix(text).map(Value::Prefix),
    later: &[],
};

static MAC: Word = Word {
    what: "the MAC of one station",
    allowed: "six hexadecimal octets: \"02:00:00:00:00:21\"",
    pattern: "^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$",
    read: |text| units::mac(text).map(Value::Mac),
    later: &[],
};

static DEVICE: Word = Word {
    what: "a device",
    allowed: "a PCI address, or a DPDK virtual device DRIVER[N][,key=value…]",
    pattern: "",
    read: |text| units::device(text).map(Value::Device),
    later: &["bond"],
};

pub(super) static NAME: Word = Word {
    what: "a name",
    allowed: "letters, digits and `_ . : -`, at most 63",
    pattern: "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}$",
    read: |text| units::name(text).map(|()| Value::Text(text.into())),
    later: &[],
};

static PORT_NAME: Word = Word {
    what: "a port name",
    allowed: "letters, digits and `_ . -`, at most 15",
    pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$",
    read: |text| units::port_name(text).map(|()| Value::Text(text.into())),
    later: &[],
};

static URL: Word = Word {
    what: "a path to ask for",
    allowed: "a path with or without a query: /healthz",
    pattern: "^/",
    read: |text| units::url(text).map(|()| Value::Text(text.into())),
    later: &[],
};

static HOST: Word = Word {
    what: "a host",
    allowed: "a host name or address, with or without a port",
    pattern: "^[A-Za-z0-9._:\\[\\]-]+$",
    read: |text| units::host(text).map(|()| Value::Text(text.into())),
    later: &[],
};

static PATH: Word = Word {
    what: "a path",
    allowed: "an absolute path",
    pattern: "^/",
    read: |text| units::path(text).map(|()| Value::Text(text.into())),
    later: &[],
};

static SOCKET_PATH: Word = Word {
    what: "a path of a socket",
    allowed: "an absolute path of at most 107 octets",
    pattern: "^/",
    read: |text| units::socket_path(text).map(|()| Value::Text(text.into())),
    later: &[],
};

static LISTEN: Word = Word {
    what: "an address to listen on",
    allowed: "ADDRESS:PORT or [ADDRESS]:PORT, such as 127.0.0.1:9090",
    pattern: "^.+:[0-9]+$",
    read: |text| units::socket(text).map(Value::Socket),
    later: &[],
};

static PASSWORD: Word = Word {
    what: "a password",
    allowed: "one to eight octets, in quotes",
    pattern: "^.{1,8}$",
    read: |text| match text.len() {
        1..=8 => Ok(Value::Text(text.into())),
        len => Err(format!("this has {len} octets")),
    },
    later: &[],
};

/// Choices of a key that takes none in this release but its default.
pub(super) const CHECKSUMS: &[Choice] = &[now("none"), later("csum"), later("remcsum")];
