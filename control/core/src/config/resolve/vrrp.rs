//! VRRP instances.

use std::net::IpAddr;
use std::time::Duration;

use weir_wire::vrrp::{AUTH_LEN, HEADER_LEN};

use super::super::diagnostic::Sink;
use super::super::tables::{VRRP_AUTH, VRRP_NOTIFY, VRRP_UNICAST};
use super::super::types::{Notify, Service, Track, Tracked, VrrpChecksum, VrrpInstance};
use super::super::units::show_duration;
use super::super::value::{Fields, Value};
use super::ports::Ports;
use super::{Taken, command, dangling};

/// Longest interval of version 3: 4095 centiseconds (RFC 9568 §5.2.7).
const INTERVAL_V3_MAX: Duration = Duration::from_millis(40_950);
/// Addresses of an advert: it counts them in one octet.
const ADDRESSES_MAX: usize = 255;

pub(super) fn read(
    root: &Fields,
    ports: &Ports,
    services: &[Service],
    sink: &mut Sink<'_>,
) -> Vec<VrrpInstance> {
    let mut taken = Claims::default();
    let mut all = Vec::new();
    for fields in root.sections("vrrp") {
        timing(fields, sink);
        versions(fields, sink);
        if let Some(mut instance) = instance(fields) {
            instance.track = tracks(fields, (ports, services), sink);
            instance.notify = notify(fields, sink);
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
        addresses: link_local_first(fields.read("addresses").unwrap_or_default()),
        extra_addresses: fields.read("extra_addresses").unwrap_or_default(),
        auth: fields
            .section("auth", &VRRP_AUTH)
            .read("password")
            .map(padded),
        peers: fields
            .section("unicast", &VRRP_UNICAST)
            .read("peers")
            .unwrap_or_default(),
        group: fields.read("group"),
        checksum: match fields.get("checksum") {
            "rfc9568" => VrrpChecksum::Rfc9568,
            _ => VrrpChecksum::Rfc5798,
        },
        track: Vec::new(),
        notify: Notify::default(),
    })
}

/// The first IPv6 address of an advert is a link-local one (RFC 9568 §5.2.9); the order of the
/// others is the file's.
fn link_local_first(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let link_local = |a: &IpAddr| matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
    addresses.sort_by_key(|address| !link_local(address));
    addresses
}

/// At most eight octets, as the table says.
fn padded(password: String) -> [u8; 8] {
    let mut octets = [0; 8];
    for (octet, letter) in octets.iter_mut().zip(password.bytes()) {
        *octet = letter;
    }
    octets
}

fn notify(fields: &Fields, sink: &mut Sink<'_>) -> Notify {
    let fields = fields.section("notify", &VRRP_NOTIFY);
    Notify {
        master: command(&fields, "master", sink),
        backup: command(&fields, "backup", sink),
        fault: command(&fields, "fault", sink),
        timeout: fields.get("timeout"),
    }
}

fn tracks(
    fields: &Fields,
    (ports, services): (&Ports, &[Service]),
    sink: &mut Sink<'_>,
) -> Vec<Track> {
    let one = |fields: &Fields| track(fields, (ports, services), sink);
    fields.sections("track").filter_map(one).collect()
}

fn track(
    fields: &Fields,
    (ports, services): (&Ports, &[Service]),
    sink: &mut Sink<'_>,
) -> Option<Track> {
    const KINDS: [&str; 4] = ["port", "service", "route", "script"];
    let given: Vec<&str> = KINDS.into_iter().filter(|k| fields.is_given(k)).collect();
    let &[kind] = given.as_slice() else {
        sink.error(fields.span, "track: one of port, service, route and script")
            .label(match given.len() {
                0 => "none of them is given".to_owned(),
                _ => format!("{} are given", given.join(" and ")),
            });
        return None;
    };
    for key in ["interval", "timeout", "rise", "fall"] {
        if kind != "script" && fields.is_given(key) {
            sink.error(fields.span_of(key), format!("{key}: a {kind} is not run"))
                .label("leave it out");
        }
    }
    let what = match kind {
        "port" => {
            let name: String = fields.read("port")?;
            if !ports.names().any(|port| port == name) {
                let span = fields.span_of("port");
                dangling("port", "port", &name, ports.names(), span, sink);
            }
            Tracked::Port(name)
        }
        "service" => {
            let name: String = fields.read("service")?;
            let names = services.iter().map(|service| service.name.as_str());
            if !names.clone().any(|service| service == name) {
                let span = fields.span_of("service");
                dangling("service", "service", &name, names, span, sink);
            }
            Tracked::Service(name)
        }
        "route" => Tracked::Route(fields.read("route")?),
        _ => Tracked::Script {
            argv: command(fields, "script", sink),
            interval: fields.get("interval"),
            timeout: fields.get("timeout"),
            rise: fields.get("rise"),
            fall: fields.get("fall"),
        },
    };
    let weight = fields.get("weight");
    Some(Track { what, weight })
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
    let family = family_name(first.is_ipv4());
    let id = format!("{} on {} for {family}", instance.id, instance.port);
    taken.ids.claim("id", id, name, fields.span_of("id"), sink);
    if instance.version == 2 && !first.is_ipv4() {
        sink.error(
            fields.span_of("addresses"),
            "addresses: VRRP version 2 is IPv4 only",
        )
        .help("write `version: 3`");
    }
    unicast(fields, first.is_ipv4(), ports, sink);
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
        fits(instance, fields, port.mtu, sink);
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

/// An advert is one packet, never a fragment: its addresses must fit (V26).
fn fits(instance: &VrrpInstance, fields: &Fields, mtu: u16, sink: &mut Sink<'_>) {
    let is_v4 = instance.addresses.first().is_none_or(IpAddr::is_ipv4);
    let (ip_len, address_len) = if is_v4 { (20, 4) } else { (40, 16) };
    let auth_len = if instance.version == 2 { AUTH_LEN } else { 0 };
    let room = usize::from(mtu).saturating_sub(ip_len + HEADER_LEN + auth_len);
    let (count, count_max) = (instance.addresses.len(), room / address_len);
    if count <= count_max.min(ADDRESSES_MAX) {
        return;
    }
    let why = if count_max < ADDRESSES_MAX {
        format!("{count_max} fit: port `{}` has mtu {mtu}", instance.port)
    } else {
        format!("{ADDRESSES_MAX} fit: an advert counts them in one octet")
    };
    let message = format!("addresses: {count} do not fit into one advert");
    sink.error(fields.span_of("addresses"), message)
        .label(why)
        .help("list the others in `extra_addresses`: answered for alike, but not advertised");
}

fn family_name(is_v4: bool) -> &'static str {
    if is_v4 { "IPv4" } else { "IPv6" }
}

/// Unicast peers are other directors of the VIPs' family.
fn unicast(fields: &Fields, is_v4: bool, ports: &Ports, sink: &mut Sink<'_>) {
    for peer in fields.section("unicast", &VRRP_UNICAST).items("peers") {
        let Value::Address(address) = peer.value else {
            continue;
        };
        if address.is_ipv4() != is_v4 {
            sink.error(
                peer.span,
                format!("peers: {address} is not {}", family_name(is_v4)),
            )
            .label("peers are of the VIPs' family");
        } else if let Some(port) = ports.owner(address) {
            sink.error(peer.span, format!("peers: {address} is Weir's own address"))
                .label(format!(
                    "on port `{}`; a peer is another director",
                    port.name
                ));
        }
    }
}
