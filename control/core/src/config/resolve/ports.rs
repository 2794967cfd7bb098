//! Ports: devices, addresses, gateways, neighbours.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::super::diagnostic::{Sink, quoted};
use super::super::types::{Device, Neighbour, Port, Prefix};
use super::super::units::DeviceText;
use super::super::value::{Fields, Value};
use super::Taken;

/// Least MTU of a link that carries IPv6 (RFC 8200 §5).
const MTU_V6_MIN: u16 = 1280;

/// The ports of a file, and what else its names and subnets allow to conclude.
pub(super) struct Ports {
    right: Vec<Port>,
    /// Every name that the file declares, also of ports that are wrong.
    names: Vec<String>,
    /// Whether every port and its addresses were read, so that absence proves something.
    complete: bool,
}

impl Ports {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.iter().map(String::as_str)
    }

    pub(super) fn find(&self, name: &str) -> Option<&Port> {
        self.right.iter().find(|port| port.name == name)
    }

    /// Whether no port has a subnet that holds `address`, as far as can be known.
    pub(super) fn is_off_link(&self, address: IpAddr) -> bool {
        self.complete && !self.right.iter().any(|port| port.is_on_link(address))
    }

    /// The port that has `address` as its own.
    pub(super) fn owner(&self, address: IpAddr) -> Option<&Port> {
        let owns = |port: &&Port| {
            port.addresses
                .iter()
                .any(|prefix| prefix.address == address)
        };
        self.right.iter().find(owns)
    }

    /// The subnets of all ports, for messages.
    pub(super) fn subnets(&self) -> String {
        let all = self.right.iter().flat_map(|port| {
            port.addresses
                .iter()
                .map(|prefix| format!("{prefix} on {}", port.name))
        });
        all.take(6).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn into_ports(self) -> Vec<Port> {
        self.right
    }
}

pub(super) fn read(root: &Fields, sink: &mut Sink<'_>) -> Ports {
    let sections: Vec<&Fields> = root.sections("ports").collect();
    let texts: Vec<Option<DeviceText>> = sections.iter().map(|f| f.read("device")).collect();
    let devices = number_devices(&texts);
    let names: Vec<String> = sections.iter().filter_map(|f| f.read("name")).collect();
    let mut taken = Claims::default();
    let mut right = Vec::new();
    let mut complete = !sections.is_empty();
    for (fields, device) in sections.iter().zip(devices) {
        complete &= !fields.is_bad("addresses") && !fields.is_misspelt("addresses");
        let port = port(fields, device, sink);
        claim(&port, fields, &mut taken, sink);
        right.push(port);
    }
    refuse_own_interfaces(&right, &sections, sink);
    Ports {
        right,
        names,
        complete,
    }
}

/// A port; one without name or device has been reported, and is judged by the rest it says.
fn port(fields: &Fields, device: Option<Device>, sink: &mut Sink<'_>) -> Port {
    let nothing = || Device::Virtual {
        name: String::new(),
        args: String::new(),
    };
    let port = Port {
        name: fields.read("name").unwrap_or_default(),
        device: device.unwrap_or_else(nothing),
        addresses: fields.read::<Vec<Prefix>>("addresses").unwrap_or_default(),
        gateway: fields.read::<Vec<IpAddr>>("gateway").unwrap_or_default(),
        mtu: fields.get("mtu"),
        vlan: fields.read("vlan"),
        queues: fields.read("queues"),
        promiscuous: fields.get("promiscuous"),
        mac: fields.read("mac"),
        neighbours: neighbours(fields),
    };
    let has_v6 = port.addresses.iter().any(|prefix| prefix.address.is_ipv6());
    if has_v6 && port.mtu < MTU_V6_MIN {
        let message = format!("mtu: {} is too small for the port's IPv6 address", port.mtu);
        sink.error(fields.span_of("mtu"), message)
            .label(format!("at least {MTU_V6_MIN}"));
    }
    if !fields.is_bad("addresses") && !fields.is_misspelt("addresses") {
        gateways(&port, fields, sink);
        neighbours_on_link(&port, fields, sink);
    }
    port
}

fn neighbours(fields: &Fields) -> Vec<Neighbour> {
    let one = |f: &Fields| {
        Some(Neighbour {
            address: f.read("address")?,
            mac: f.read("mac")?,
        })
    };
    fields.sections("neighbours").filter_map(one).collect()
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn gateways(port: &Port, fields: &Fields, sink: &mut Sink<'_>) {
    let mut families = HashSet::new();
    for item in fields.items("gateway") {
        let Value::Address(gateway) = item.value else {
            continue;
        };
        if !families.insert(gateway.is_ipv4()) {
            let family = if gateway.is_ipv4() { "IPv4" } else { "IPv6" };
            sink.error(
                item.span,
                format!("gateway: {gateway} is a second {family} gateway"),
            )
            .label("at most one for each family");
        } else if port
            .addresses
            .iter()
            .any(|prefix| prefix.address == gateway)
        {
            sink.error(
                item.span,
                format!("gateway: {gateway} is the port's own address"),
            )
            .label("give the router's address");
        } else if !port.is_on_link(gateway) && !is_link_local(gateway) {
            sink.error(
                item.span,
                format!("gateway: {gateway} is not on the port's link"),
            )
            .label(on_link_label(port));
        }
    }
}

fn on_link_label(port: &Port) -> String {
    let subnets: Vec<_> = port.addresses.iter().map(Prefix::to_string).collect();
    match subnets.is_empty() {
        true => format!("port `{}` has no addresses", port.name),
        false => format!(
            "it must lie in a subnet of `addresses`: {}",
            subnets.join(", ")
        ),
    }
}

fn neighbours_on_link(port: &Port, fields: &Fields, sink: &mut Sink<'_>) {
    let mut seen = HashSet::new();
    for section in fields.sections("neighbours") {
        let Some(address) = section.read::<IpAddr>("address") else {
            continue;
        };
        let span = section.span_of("address");
        if !seen.insert(address) {
            sink.error(span, format!("address: neighbour {address} is given twice"))
                .label("keep one of them");
        } else if !port.is_on_link(address) && !is_link_local(address) {
            sink.error(
                span,
                format!("address: neighbour {address} is not on the port's link"),
            )
            .label(on_link_label(port));
        }
    }
}

/// What only one port may have.
#[derive(Default)]
struct Claims {
    names: Taken,
    addresses: Taken,
    /// By device name: arguments, and the ports' VLANs.
    devices: HashMap<String, (String, Taken)>,
}

fn claim(port: &Port, fields: &Fields, taken: &mut Claims, sink: &mut Sink<'_>) {
    if !port.name.is_empty() {
        taken
            .names
            .claim("name", port.name.clone(), "", fields.span_of("name"), sink);
    }
    for item in fields.items("addresses") {
        if let Value::Prefix(prefix) = item.value {
            let address = prefix.address.to_string();
            taken
                .addresses
                .claim("addresses", address, &port.name, item.span, sink);
        }
    }
    if port.device.name().is_empty() {
        return;
    }
    let span = fields.span_of("device");
    let fresh = || (port.device.args().to_owned(), Taken::default());
    let (args, vlans) = taken
        .devices
        .entry(port.device.name().into())
        .or_insert_with(fresh);
    if args != port.device.args() {
        let name = quoted(port.device.name());
        sink.error(
            span,
            format!("device: {name} is given twice with different arguments"),
        )
        .label("DPDK would merge them")
        .help("give each virtual device its own number, or leave the numbers out");
    } else if !fields.is_bad("vlan") {
        let vlan = port
            .vlan
            .map_or("no vlan".into(), |vlan| format!("vlan {}", vlan.0));
        let what = format!("{} with {vlan}", port.device.name());
        vlans.claim("device", what, &port.name, span, sink);
    }
}

/// Numbers the drivers that have no digits; ports with the same text share a device.
fn number_devices(texts: &[Option<DeviceText>]) -> Vec<Option<Device>> {
    let is_numbered = |d: &DeviceText| d.pci || d.name.ends_with(|c: char| c.is_ascii_digit());
    let numbered = texts.iter().flatten().filter(|d| is_numbered(d));
    let mut used: HashSet<String> = numbered.map(|d| d.name.clone()).collect();
    let mut given: Vec<(&DeviceText, String)> = Vec::new();
    let mut devices = Vec::with_capacity(texts.len());
    for text in texts {
        devices.push(text.as_ref().map(|text| {
            let args = text.args.clone();
            if text.pci {
                return Device::Pci {
                    address: text.name.clone(),
                    args,
                };
            }
            let shared = given.iter().find(|(other, _)| *other == text);
            let name = match shared {
                Some((_, name)) => name.clone(),
                None if is_numbered(text) => text.name.clone(),
                None => free_name(&text.name, &mut used),
            };
            given.push((text, name.clone()));
            Device::Virtual { name, args }
        }));
    }
    devices
}

/// The driver with the least number that no device has.
fn free_name(driver: &str, used: &mut HashSet<String>) -> String {
    let mut number = 0;
    loop {
        let name = format!("{driver}{number}");
        if used.insert(name.clone()) {
            return name;
        }
        number += 1;
    }
}

/// A TAP cannot have the name of the kernel interface that its port (or another) sits on.
fn refuse_own_interfaces(ports: &[Port], sections: &[&Fields], sink: &mut Sink<'_>) {
    let interfaces: HashSet<&str> = ports.iter().filter_map(|p| p.device.arg("iface")).collect();
    for fields in sections {
        let Some(name) = fields.read::<String>("name") else {
            continue;
        };
        if interfaces.contains(name.as_str()) {
            let message = format!(
                "name: {} is the name of a device's interface",
                quoted(&name)
            );
            sink.error(fields.span_of("name"), message)
                .label("the TAP needs a name of its own");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::units::device;
    use super::*;

    #[test]
    fn drivers_without_digits_get_free_numbers_and_equal_texts_share() {
        let texts = [
            "net_ring",
            "net_ring0",
            "net_null,size=64",
            "net_null",
            "net_null",
            "03:00.0",
        ];
        let texts: Vec<_> = texts.iter().map(|t| device(t).ok()).collect();
        let names: Vec<_> = number_devices(&texts).into_iter().flatten().collect();
        let names: Vec<_> = names.iter().map(Device::name).collect();
        assert_eq!(
            names,
            [
                "net_ring1",
                "net_ring0",
                "net_null0",
                "net_null1",
                "net_null1",
                "0000:03:00.0"
            ]
        );
    }
}
