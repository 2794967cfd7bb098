//! Scalars with a form of their own: addresses, names, devices, paths.

use super::super::keys::{Kind, Word};
use super::super::types::Pattern;
use super::super::units;
use super::super::value::Value;

pub(in super::super) const L4_PORT: Kind = Kind::Int { min: 1, max: 65535 };

pub(in super::super) static ADDRESS: Word = Word {
    what: "an address of one host",
    allowed: "an IPv4 or IPv6 unicast address",
    pattern: "^[0-9A-Fa-f:.]+$",
    read: |text| units::address(text).map(Value::Address),
    later: &[],
};

pub(in super::super) static PREFIX: Word = Word {
    what: "an address with its prefix length",
    allowed: "an address with its prefix length: 192.0.2.2/24, \"2001:db8::2/64\"",
    pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
    read: |text| units::prefix(text).map(Value::Prefix),
    later: &[],
};

pub(in super::super) static NETWORK: Word = Word {
    what: "a network",
    allowed: "a network with its prefix length: 0.0.0.0/0, 198.51.100.0/24, \"2001:db8::/32\"",
    pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
    read: |text| units::network(text).map(Value::Prefix),
    later: &[],
};

pub(in super::super) static MAC: Word = Word {
    what: "the MAC of one station",
    allowed: "six hexadecimal octets: \"02:00:00:00:00:21\"",
    pattern: "^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$",
    read: |text| units::mac(text).map(Value::Mac),
    later: &[],
};

pub(in super::super) static DEVICE: Word = Word {
    what: "a device",
    allowed: "a PCI address, or a DPDK virtual device DRIVER[N][,key=value…]",
    pattern: "",
    read: |text| units::device(text).map(Value::Device),
    later: &["bond"],
};

pub(in super::super) static NAME: Word = Word {
    what: "a name",
    allowed: "letters, digits and `_ . : -`, at most 63",
    pattern: "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}$",
    read: |text| units::name(text).map(|()| Value::Text(text.into())),
    later: &[],
};

pub(in super::super) static PORT_NAME: Word = Word {
    what: "a port name",
    allowed: "letters, digits and `_ . -`, at most 15",
    pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$",
    read: |text| units::port_name(text).map(|()| Value::Text(text.into())),
    later: &[],
};

pub(in super::super) static URL: Word = Word {
    what: "a path to ask for",
    allowed: "a path with or without a query: /healthz",
    pattern: "^/",
    read: |text| units::url(text).map(|()| Value::Text(text.into())),
    later: &[],
};

pub(in super::super) static HOST: Word = Word {
    what: "a host",
    allowed: "a host name or address, with or without a port",
    pattern: "^[A-Za-z0-9._:\\[\\]-]+$",
    read: |text| units::host(text).map(|()| Value::Text(text.into())),
    later: &[],
};

pub(in super::super) static PATH: Word = Word {
    what: "a path",
    allowed: "an absolute path",
    pattern: "^/",
    read: |text| units::path(text).map(|()| Value::Text(text.into())),
    later: &[],
};

pub(in super::super) static SOCKET_PATH: Word = Word {
    what: "a path of a socket",
    allowed: "an absolute path of at most 107 octets",
    pattern: "^/",
    read: |text| units::socket_path(text).map(|()| Value::Text(text.into())),
    later: &[],
};

pub(in super::super) static LISTEN: Word = Word {
    what: "an address to listen on",
    allowed: "ADDRESS:PORT or [ADDRESS]:PORT, such as 127.0.0.1:9090",
    pattern: "^.+:[0-9]+$",
    read: |text| units::socket(text).map(Value::Socket),
    later: &[],
};

pub(in super::super) static ARGUMENT: Word = Word {
    what: "a word of a command",
    allowed: "a word of at most 4096 octets; the first is the absolute path of a program",
    pattern: "",
    read: |text| match text.len() {
        0 => Err("this is empty".into()),
        1..=4096 => Ok(Value::Text(text.into())),
        len => Err(format!("this has {len} octets")),
    },
    later: &[],
};

pub(in super::super) static PASSWORD: Word = Word {
    what: "a password",
    allowed: "one to eight octets, in quotes",
    pattern: "^.{1,8}$",
    read: |text| match text.len() {
        1..=8 => Ok(Value::Text(text.into())),
        len => Err(format!("this has {len} octets")),
    },
    later: &[],
};

pub(in super::super) static TEXT: Word = Word {
    what: "a text",
    allowed: "a text of at most 1024 octets",
    pattern: "^.{0,1024}$",
    read: |text| match text.len() {
        0..=1024 => Ok(Value::Text(text.into())),
        len => Err(format!("this has {len} octets")),
    },
    later: &[],
};

pub(in super::super) static REGEX: Word = Word {
    what: "a regular expression",
    allowed: "a regular expression of at most 1024 octets, in quotes",
    pattern: "^.{0,1024}$",
    read: |text| match text.len() {
        0..=1024 => Pattern::new(text).map(|_| Value::Text(text.into())),
        len => Err(format!("this has {len} octets")),
    },
    later: &[],
};

pub(in super::super) static SHA256: Word = Word {
    what: "a SHA-256",
    allowed: "64 hexadecimal digits, in quotes",
    pattern: "^[0-9A-Fa-f]{64}$",
    read: |text| units::sha256(text).map(|_| Value::Text(text.into())),
    later: &[],
};

pub(in super::super) static DOMAIN: Word = Word {
    what: "a domain name",
    allowed: "a domain name of at most 253 octets in labels of at most 63",
    pattern: "^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?$",
    read: |text| units::domain(text).map(|()| Value::Text(text.into())),
    later: &[],
};

pub(in super::super) static HEADER: Word = Word {
    what: "a header field",
    allowed: "a field's name, or `Name: part of its value`",
    pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]+( *:.*)?$",
    read: |text| units::header(text).map(|()| Value::Text(text.into())),
    later: &[],
};
