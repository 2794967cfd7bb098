//! Keys of ports and neighbours.

use super::super::keys::{Key, Kind, Section};
use super::words::{ADDRESS, DEVICE, MAC, PORT_NAME, PREFIX};

pub(in super::super) static PORT: Section = Section {
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

pub(in super::super) static NEIGHBOUR: Section = Section {
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
