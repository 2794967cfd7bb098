//! VRRP instances: read and checked, so that a file written now is right when VRRP is there.

use std::net::IpAddr;
use std::time::Duration;

use super::super::diagnostic::Sink;
use super::super::types::VrrpInstance;
use super::super::units::show_duration;
use super::super::value::{Fields, Value};
use super::ports::Ports;
use super::{Taken, dangling};

/// Longest interval of version 3: 4095 centiseconds (RFC 9568 §5.2.7).
const INTERVAL_V3_MAX: Duration = Duration::from_millis(40_950);

pub(super) fn read(root: &Fields, ports: &Ports, sink: &mut Sink<'_>) -> Vec<VrrpInstance> {
    let mut taken = Claims::default();
    let mut all = Vec::new();
    for fields in root.sections("vrrp") {
        timing(fields, sink);
        versions(fields, sink);
        if let Some(instance) = instance(fields) {
            placed(&instance, fields, ports, &mut taken, sink);
            all.push(instance);
        }
    }
    all
}

/// What only one instance may have.
#[derive(Default)]
struct Claims {
    names: Taken,
    ids: Taken,
    addresses: Taken,
}

fn instance(fields: &Fields) -> Option<VrrpInstance> {
    let owner: bool = fields.get("owner");
    Some(VrrpInstance {
        name: fields.read("name")?,
        port: fields.read("port")?,
        id: fields.read("id")?,
        version: fields.get("version"),
        priority: if owner { 255 } else { fields.get("priority") },
        interval: fields.get("interval"),
        preempt: fields.get("preempt"),
        preempt_delay: fields.get("preempt_delay"),
        virtual_mac: fields.get("virtual_mac"),
        addresses: fields.read::<Vec<IpAddr>>("addresses").unwrap_or_default(),
    })
}

fn timing(fields: &Fields, sink: &mut Sink<'_>) {
    let interval: Duration = fields.get("interval");
    let span = fields.span_of("interval");
    let shown = show_duration(interval);
    match fields.get::<u8>("version") {
        2 if interval.subsec_millis() != 0 => {
            sink.error(
                span,
                format!("interval: VRRP version 2 cannot send every {shown}"),
            )
            .label("allowed: whole seconds from 1s to 255s")
            .help("write `version: 3` for shorter intervals");
        }
        3 if interval > INTERVAL_V3_MAX || !interval.as_millis().is_multiple_of(10) => {
            sink.error(
                span,
                format!("interval: VRRP version 3 cannot send every {shown}"),
            )
            .label("allowed: 10ms to 40950ms in steps of 10ms");
        }
        _ => {}
    }
}

/// What belongs to one version only, or excludes something else.
fn versions(fields: &Fields, sink: &mut Sink<'_>) {
    let version: u8 = fields.get("version");
    if version == 3 && fields.is_given("auth") {
        sink.error(
            fields.span_of("auth"),
            "auth: VRRP version 3 has no authentication",
        )
        .label("leave it out, or write `version: 2`");
    }
    if version == 2 && fields.is_given("checksum") {
        sink.error(
            fields.span_of("checksum"),
            "checksum: VRRP version 2 has one kind only",
        )
        .label("leave it out");
    }
    if fields.get("owner") && fields.is_given("priority") {
        sink.error(
            fields.span_of("priority"),
            "priority: the owner's is always 255",
        )
        .label("leave it out, or `owner`");
    }
}

fn placed(
    instance: &VrrpInstance,
    fields: &Fields,
    ports: &Ports,
    taken: &mut Claims,
    sink: &mut Sink<'_>,
) {
    let name = &instance.name;
    taken
        .names
        .claim("name", name.clone(), "", fields.span_of("name"), sink);
    let Some(first) = instance.addresses.first() else {
        return;
    };
    let family = if first.is_ipv4() { "IPv4" } else { "IPv6" };
    let id = format!("{} on {} for {family}", instance.id, instance.port);
    taken.ids.claim("id", id, name, fields.span_of("id"), sink);
    for key in ["addresses", "extra_addresses"] {
        for item in fields.items(key) {
            let Value::Address(address) = item.value else {
                continue;
            };
            if address.is_ipv4() != first.is_ipv4() {
                sink.error(item.span, format!("{key}: {address} is not {family}"))
                    .label("one family in an instance")
                    .help("make a second instance for the other family; it may have the same id");
            }
            taken
                .addresses
                .claim(key, address.to_string(), name, item.span, sink);
        }
    }
    if !ports.names().any(|port| port == instance.port) {
        dangling(
            "port",
            "port",
            &instance.port,
            ports.names(),
            fields.span_of("port"),
            sink,
        );
    } else if let Some(port) = ports.find(&instance.port) {
        let same_family = |a: IpAddr| a.is_ipv4() == first.is_ipv4();
        if !port
            .addresses
            .iter()
            .any(|prefix| same_family(prefix.address))
        {
            let message = format!("port: {} has no {family} address", instance.port);
            sink.error(fields.span_of("port"), message)
                .label("advertisements need one as their source");
        }
    }
}
