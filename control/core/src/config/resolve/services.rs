//! Services and their servers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::diagnostic::{Sink, quoted};
use super::super::tables::{SORRY_SERVER, TIMEOUTS};
use super::super::tree::Span;
use super::super::types::{
    Encapsulation, HealthCheck, L4Port, Mode, OnServerGone, PortSpec, Protocol, SORRY_SERVER_NAME,
    Scheduler, Server, ServerState, Service, Timeouts, Unserved, Weight,
};
use super::super::units::{endpoint, is_prime, primes_around};
use super::super::value::{Fields, Value};
use super::checks::Checks;
use super::ports::Ports;
use super::{Taken, dangling};

/// Servers of all services together: the slots of the tables.
const SERVERS_MAX: usize = 1 << 16;

pub(super) fn read(
    root: &Fields,
    ports: &Ports,
    checks: &Checks,
    sink: &mut Sink<'_>,
) -> Vec<Service> {
    let mut names = Taken::default();
    let mut claimed = Claimed::default();
    let mut unserved = HashMap::new();
    let mut all = Vec::new();
    let mut server_count = 0;
    for fields in root.sections("services") {
        if let Some(name) = fields.read::<String>("name") {
            names.claim("name", name, "", fields.span_of("name"), sink);
        }
        let Some(service) = service(fields, ports, checks, sink) else {
            continue;
        };
        claimed.claim(&service, fields, sink);
        let first = *unserved.entry(service.address).or_insert(service.unserved);
        if fields.is_given("unserved") && first != service.unserved {
            let message = "unserved: has no effect here: the VIP's first listed service decides";
            sink.warning(fields.span_of("unserved"), message);
        }
        server_count += service.servers.len();
        all.push(service);
    }
    if server_count > SERVERS_MAX {
        let message = format!("services: {server_count} servers in all");
        sink.error(root.span_of("services"), message)
            .label(format!("at most {SERVERS_MAX}"));
    }
    all
}

fn service(
    fields: &Fields,
    ports: &Ports,
    checks: &Checks,
    sink: &mut Sink<'_>,
) -> Option<Service> {
    let port_spec = port_spec(fields, sink);
    let mode = mode(fields, None, sink);
    let health = health(fields, checks, sink);
    let sections: Vec<&Fields> = fields.sections("servers").collect();
    let maglev_size = maglev_size(fields, sections.len(), sink);
    let address: Option<IpAddr> = fields.read("address");
    let around = Around {
        vip: address,
        ports: port_spec.as_ref(),
        mode,
        on_links: ports,
    };
    let servers = servers(&sections, &around, sink);
    let sorry_server = sorry_server(fields, &around, &servers, sink);
    if sections.is_empty() && !fields.is_bad("servers") && !fields.is_misspelt("servers") {
        sink.warning(
            fields.span,
            "this service has no servers: its clients are refused",
        );
    }
    let service = Service {
        // Without a name the file is refused; its ports are claimed all the same.
        name: fields.read("name").unwrap_or_default(),
        address: address?,
        ports: port_spec?,
        protocol: match fields.get("protocol") {
            "udp" => Protocol::Udp,
            _ => Protocol::Tcp,
        },
        mode: mode.unwrap_or(Mode::Dr),
        scheduler: scheduler(fields.get("scheduler")),
        maglev_size,
        timeouts: timeouts(&fields.section("timeouts", &TIMEOUTS)),
        health,
        unserved: match fields.get("unserved") {
            "drop" => Unserved::Drop,
            _ => Unserved::Answer,
        },
        sloppy: fields.get("sloppy"),
        on_server_gone: match fields.get("on_server_gone") {
            "reset" => OnServerGone::Reset,
            "reschedule" => OnServerGone::Reschedule,
            _ => OnServerGone::Drop,
        },
        servers,
        quorum: fields.get("quorum"),
        hysteresis: fields.get("hysteresis"),
        sorry_server,
        inhibit_on_failure: fields.get("inhibit_on_failure"),
        slow_start: fields.get("slow_start"),
    };
    quorum(&service, fields, sink);
    probed_port(&service, fields, sink);
    Some(service)
}

/// Refuses a check that would not know which port to ask.
fn probed_port(service: &Service, fields: &Fields, sink: &mut Sink<'_>) {
    let check = service.health.as_ref();
    let needs_port = check.is_some_and(|check| check.probe.asks_port());
    let lacks_port = |server: &Server| service.probe_port(server).is_none();
    if needs_port && service.servers.iter().any(lacks_port) {
        sink.error(
            fields.span_of("health"),
            "health: which port should the check of all ports ask?",
        )
        .help("give the health check a `port`");
    }
}

/// Refuses a quorum that can never be lost, or never be had.
fn quorum(service: &Service, fields: &Fields, sink: &mut Sink<'_>) {
    let (quorum, hysteresis) = (service.quorum, service.hysteresis);
    if hysteresis >= quorum && hysteresis > 0 {
        let message = format!("hysteresis: {hysteresis} is not below the quorum, {quorum}");
        sink.error(fields.span_of("hysteresis"), message)
            .label("with it the quorum could never be lost");
    }
    let all: u32 = service.servers.iter().map(|s| u32::from(s.weight.0)).sum();
    if (quorum > 1 || hysteresis > 0) && quorum + hysteresis > all {
        let message = format!("quorum: all weights together are only {all}");
        sink.warning(fields.span_of("quorum"), message)
            .help("`quorum` plus `hysteresis` must not be above it, or the quorum is never had");
    }
    let weighted = !matches!(service.scheduler, Scheduler::Rr | Scheduler::Lc);
    if !service.slow_start.is_zero() && !weighted {
        let message = "slow_start: has no effect: this scheduler does not look at weights";
        sink.warning(fields.span_of("slow_start"), message)
            .help("use wrr or wlc");
    }
}

/// The sorry server: a server with a fixed name and weight.
fn sorry_server(
    fields: &Fields,
    around: &Around<'_>,
    servers: &[Server],
    sink: &mut Sink<'_>,
) -> Option<Server> {
    if !fields.is_given("sorry_server") {
        return None;
    }
    let section = fields.section("sorry_server", &SORRY_SERVER);
    let mode = mode(&section, around.mode, sink);
    let (address, port) = place(&section, around, mode, sink)?;
    let same = |s: &&Server| (s.address, s.port) == (address, port) || s.name == SORRY_SERVER_NAME;
    if let Some(server) = servers.iter().find(same) {
        let span = fields.span_of("sorry_server");
        let message = format!("sorry_server: server `{}` is the same", server.name);
        sink.error(span, message)
            .help("the sorry server takes over when those of `servers` do not suffice");
        return None;
    }
    Some(Server {
        name: SORRY_SERVER_NAME.to_owned(),
        address,
        port,
        weight: Weight(1),
        state: ServerState::Ready,
        mode: mode.unwrap_or(Mode::Dr),
    })
}

fn scheduler(name: &str) -> Scheduler {
    match name {
        "rr" => Scheduler::Rr,
        "wrr" => Scheduler::Wrr,
        "lc" => Scheduler::Lc,
        "maglev" => Scheduler::Maglev,
        _ => Scheduler::Wlc,
    }
}

fn timeouts(fields: &Fields) -> Timeouts {
    Timeouts {
        established: fields.get("established"),
        fin: fields.get("fin"),
        udp: fields.get("udp"),
    }
}

fn health(fields: &Fields, checks: &Checks, sink: &mut Sink<'_>) -> Option<Arc<HealthCheck>> {
    let name: String = fields.read("health")?;
    if !checks.names().any(|known| known == name) {
        dangling(
            "health",
            "health check",
            &name,
            checks.names(),
            fields.span_of("health"),
            sink,
        );
    }
    checks.find(&name)
}

fn maglev_size(fields: &Fields, servers: usize, sink: &mut Sink<'_>) -> u32 {
    let size: u32 = fields.get("maglev_size");
    let span = fields.span_of("maglev_size");
    if !is_prime(size) {
        let (below, above) = primes_around(size);
        sink.error(span, format!("maglev_size: {size} is not a prime"))
            .label(format!("nearest: {below} and {above}"));
    } else if u32::try_from(servers).unwrap_or(u32::MAX) > size {
        sink.error(
            span,
            format!("maglev_size: {size} slots for {servers} servers"),
        )
        .label("at least one slot for each, better a hundred");
    }
    size
}

/// `port` or `ports`, whichever is given; `None` if neither is right.
fn port_spec(fields: &Fields, sink: &mut Sink<'_>) -> Option<PortSpec> {
    let (one, many) = (fields.is_given("port"), fields.is_given("ports"));
    if one && many {
        sink.error(fields.span_of("ports"), "ports: given besides `port`")
            .label("keep one of them");
        return None;
    }
    if !one && !many && (fields.is_misspelt("port") || fields.is_misspelt("ports")) {
        return None;
    }
    if !one && !many {
        sink.error(fields.span, "this service has neither `port` nor `ports`")
            .help("add `port: 80`, `ports: [80, 443]`, `port: 8000-8100` or `port: 0` for all");
        return None;
    }
    let narrow = |n: u64| L4Port(u16::try_from(n).unwrap_or(u16::MAX));
    let single = |first, last, span, sink: &mut Sink<'_>| match (first, last) {
        (0, 0) => Some(PortSpec::All),
        (0, _) => {
            sink.error(span, "port: a range begins at 1")
                .help("`port: 0` means all ports");
            None
        }
        _ if first == last => Some(PortSpec::One(narrow(first))),
        _ => Some(PortSpec::Range(narrow(first), narrow(last))),
    };
    if let Some(Value::Span(first, last)) = fields.value("port") {
        return single(first, last, fields.span_of("port"), sink);
    }
    let items = fields.items("ports");
    let mut list = Vec::with_capacity(items.len());
    for item in &items {
        let Value::Span(first, last) = item.value else {
            continue;
        };
        if items.len() == 1 {
            return single(first, last, item.span, sink);
        }
        if first != last || first == 0 {
            sink.error(item.span, "ports: a range, or 0 for all, stands alone")
                .help("make it a service of its own");
            return None;
        }
        if list.contains(&narrow(first)) {
            sink.error(item.span, format!("ports: {first} is listed twice"))
                .label("keep one of them");
        }
        list.push(narrow(first));
    }
    list.sort_unstable();
    (list.len() > 1).then_some(PortSpec::Many(list))
}

/// The mode a section names, or `inherited`; `None` if it is wrong.
fn mode(fields: &Fields, inherited: Option<Mode>, sink: &mut Sink<'_>) -> Option<Mode> {
    if fields.is_bad("mode") {
        return None;
    }
    let mode = match (fields.read("mode"), inherited) {
        (Some("nat"), _) => Some(Mode::Nat),
        // Only IPIP passes the decoder.
        (Some("tunnel"), _) => Some(Mode::Tunnel(Encapsulation::Ipip)),
        (Some(_), _) => Some(Mode::Dr),
        (None, inherited) => inherited,
    };
    let is_tunnel = matches!(mode, Some(Mode::Tunnel(_)));
    // A service in another mode may keep `tunnel` for servers that choose it.
    if fields.section.noun == "a server" && fields.is_given("tunnel") && !is_tunnel {
        sink.error(
            fields.span_of("tunnel"),
            "tunnel: this server's mode is not tunnel",
        )
        .help("add `mode: tunnel`");
    }
    mode
}

/// What a server is judged by.
struct Around<'a> {
    vip: Option<IpAddr>,
    ports: Option<&'a PortSpec>,
    mode: Option<Mode>,
    on_links: &'a Ports,
}

fn servers(sections: &[&Fields], around: &Around<'_>, sink: &mut Sink<'_>) -> Vec<Server> {
    let mut uses: HashMap<IpAddr, u32> = HashMap::new();
    for address in sections.iter().filter_map(|f| f.read::<IpAddr>("address")) {
        *uses.entry(address).or_default() += 1;
    }
    let (mut names, mut endpoints) = (Taken::default(), Taken::default());
    let mut all = Vec::with_capacity(sections.len());
    for fields in sections {
        let mode = mode(fields, around.mode, sink);
        let Some(server) = server(fields, around, mode, &uses, sink) else {
            continue;
        };
        let place = match server.port {
            Some(port) => endpoint(server.address, port),
            None => server.address.to_string(),
        };
        let span = fields.span_of("address");
        let fresh = endpoints.claim("address", place, &server.name, span, sink);
        // An unnamed server listed twice has been reported by its address.
        if fresh || fields.is_given("name") {
            names.claim(
                "name",
                server.name.clone(),
                "",
                fields.span_of("name"),
                sink,
            );
        }
        all.push(server);
    }
    all
}

fn server(
    fields: &Fields,
    around: &Around<'_>,
    mode: Option<Mode>,
    uses: &HashMap<IpAddr, u32>,
    sink: &mut Sink<'_>,
) -> Option<Server> {
    thresholds(fields, sink);
    let (address, port) = place(fields, around, mode, sink)?;
    let name = fields.read("name").unwrap_or_else(|| match port {
        Some(port) if uses.get(&address).is_some_and(|n| *n > 1) => endpoint(address, port),
        _ => address.to_string(),
    });
    Some(Server {
        name,
        address,
        port,
        weight: fields.get("weight"),
        state: match fields.get("state") {
            "drain" => ServerState::Drain,
            "maintenance" => ServerState::Maintenance,
            _ => ServerState::Ready,
        },
        mode: mode.unwrap_or(Mode::Dr),
    })
}

/// Where a server is: its address, and its port where that is not the client's.
fn place(
    fields: &Fields,
    around: &Around<'_>,
    mode: Option<Mode>,
    sink: &mut Sink<'_>,
) -> Option<(IpAddr, Option<L4Port>)> {
    let address: IpAddr = fields.read("address")?;
    reachable(address, fields.span_of("address"), around, mode, sink);
    let port: Option<L4Port> = fields.read("port");
    let is_same = port.is_some_and(|port| around.ports == Some(&PortSpec::One(port)));
    if let (Some(port), Some(mode), Some(_)) = (port, mode, around.ports)
        && mode != Mode::Nat
        && !is_same
    {
        let message = format!("port: {port} differs from the client's port");
        sink.error(fields.span_of("port"), message)
            .label("only mode nat can change the port")
            .help("leave it out, or write `mode: nat`");
    }
    Some((address, port.filter(|_| !is_same)))
}

/// Refuses a server whose frames could not get there.
fn reachable(
    address: IpAddr,
    span: Span,
    around: &Around<'_>,
    mode: Option<Mode>,
    sink: &mut Sink<'_>,
) {
    let Some(vip) = around.vip else { return };
    let Some(mode) = mode else { return };
    let is_tunnel = matches!(mode, Mode::Tunnel(_));
    if address == vip {
        sink.error(span, format!("address: {address} is the service's own VIP"))
            .label("give the server's own address");
    } else if let Some(port) = around.on_links.owner(address) {
        sink.error(span, format!("address: {address} is Weir's own address"))
            .label(format!(
                "on port `{}`; a server is another machine",
                port.name
            ));
    } else if vip.is_ipv4() != address.is_ipv4() && !is_tunnel {
        let family = |a: IpAddr| if a.is_ipv4() { "IPv4" } else { "IPv6" };
        let (server, vip) = (family(address), family(vip));
        sink.error(
            span,
            format!("address: an {server} server behind an {vip} VIP"),
        )
        .label("only mode tunnel carries one family in the other")
        .help("give an address of the VIP's family, or write `mode: tunnel`");
    } else if mode == Mode::Dr && around.on_links.is_off_link(address) {
        sink.error(span, format!("address: DR server {address} is off-link"))
            .label("in no subnet of a port; DR changes MACs alone and cannot be routed")
            .help(match around.on_links.subnets() {
                none if none.is_empty() => "give a port `addresses` in the server's subnet".into(),
                subnets => format!("subnets: {subnets}; else use mode tunnel or nat"),
            });
    }
}

fn thresholds(fields: &Fields, sink: &mut Sink<'_>) {
    let (Some(Value::Int(max)), Some(Value::Int(min))) = (
        fields.value("max_connections"),
        fields.value("min_connections"),
    ) else {
        return;
    };
    if max > 0 && min > max {
        let message = format!("min_connections: {min} is above max_connections, {max}");
        sink.error(fields.span_of("min_connections"), message)
            .label(format!("allowed: 0 to {max}"));
    }
}

/// Who has which ports of a VIP and protocol.
#[derive(Default)]
struct Claimed {
    by: HashMap<(IpAddr, Protocol), Vec<Claim>>,
}

struct Claim {
    first: L4Port,
    last: L4Port,
    service: String,
    line: usize,
}

impl Claimed {
    /// Claims a service's ports, or reports who has one of them. `port: 0` yields to all others.
    fn claim(&mut self, service: &Service, fields: &Fields, sink: &mut Sink<'_>) {
        let key = if fields.is_given("port") {
            "port"
        } else {
            "ports"
        };
        let span = fields.span_of(key);
        let spans: Vec<(L4Port, L4Port)> = match &service.ports {
            PortSpec::All => vec![(L4Port(0), L4Port(0))],
            PortSpec::One(port) => vec![(*port, *port)],
            PortSpec::Range(first, last) => vec![(*first, *last)],
            PortSpec::Many(ports) => ports.iter().map(|port| (*port, *port)).collect(),
        };
        let claims = self
            .by
            .entry((service.address, service.protocol))
            .or_default();
        let clash = claims.iter().find(|claim| {
            spans
                .iter()
                .any(|(first, last)| *first <= claim.last && claim.first <= *last)
        });
        if let Some(clash) = clash {
            let what = match clash.first {
                L4Port(0) => "all ports".to_owned(),
                first if first == clash.last => format!("port {first}"),
                first => format!("ports {first}-{}", clash.last),
            };
            let message = format!("{key}: overlaps service {}", quoted(&clash.service));
            let address = service.address;
            sink.error(span, message)
                .label(format!(
                    "it has {what} of {address} since line {}",
                    clash.line
                ))
                .help("a VIP's port belongs to one service of each protocol");
            return;
        }
        claims.extend(spans.into_iter().map(|(first, last)| Claim {
            first,
            last,
            service: service.name.clone(),
            line: span.line,
        }));
    }
}
