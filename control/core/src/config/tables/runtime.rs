//! Keys of runtime and management.

use super::super::keys::{Key, Kind, Section, now};
use super::words::{LISTEN, PATH, SOCKET_PATH};

const RATE: Kind = Kind::Int {
    min: 0,
    max: 10_000_000,
};

const CPU: Kind = Kind::Int { min: 0, max: 1023 };

static CPU_ITEM: Kind = CPU;

pub(in super::super) static RUNTIME: Section = Section {
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

pub(in super::super) static MANAGEMENT: Section = Section {
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
