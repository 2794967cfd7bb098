//! Views as text: what `weir show`, `weir status` and `weir explain` print.

mod health;

pub(crate) use health::{list as health, one as one_health};

use crate::table::{Align, Table};
use crate::views::{
    ArpList, Drops, Explanation, Flows, InOut, Neighbours, Ports, Routes, Server, Servers, Service,
    Services, Status, VrrpInstance, VrrpList, Workers,
};

use Align::{Left, Right};

/// `3.2M`: three digits that matter, for people. `--json` has them all.
pub(crate) fn short(count: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (100_000, "k"),
    ];
    for (size, unit) in UNITS {
        if count >= size {
            let size = if unit == "k" { 1_000 } else { size };
            let tenths = count / (size / 10);
            return if tenths >= 1_000 {
                format!("{}{unit}", tenths / 10)
            } else {
                format!("{}.{}{unit}", tenths / 10, tenths % 10)
            };
        }
    }
    count.to_string()
}

/// `4m12s`, `3d4h`: the two largest units.
pub(crate) fn span(seconds: f64) -> String {
    let s = std::time::Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    match s {
        0..60 if seconds < 10.0 => format!("{seconds:.1}s"),
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m{}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d{}h", s / 86_400, s % 86_400 / 3_600),
    }
}

fn both(count: InOut) -> String {
    format!("{}/{}", short(count.incoming), short(count.outgoing))
}

/// Health and state in one word, as an operator says it.
fn condition(server: &Server) -> String {
    match (server.state.as_str(), server.up) {
        ("ready", true) => "up".into(),
        ("ready", false) => "DOWN".into(),
        (state, true) => state.into(),
        (state, false) => format!("{state},DOWN"),
    }
}

fn endpoint(address: &str, port: &str) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

pub(crate) fn services(view: &Services) -> String {
    let mut table = Table::new(&[
        ("SERVICE / server", Left),
        ("ADDRESS", Left),
        ("MODE", Left),
        ("SCHED", Left),
        ("STATE", Left),
        ("WEIGHT", Right),
        ("ACTIVE", Right),
        ("INACT", Right),
        ("CONNS", Right),
        ("PKTS in/out", Right),
        ("BYTES in/out", Right),
    ]);
    for service in &view.services {
        table.row(service_row(service));
        for server in &service.servers {
            table.row(server_row(service, server));
        }
    }
    table.to_string()
}

fn service_row(service: &Service) -> [String; 11] {
    let all = service.servers.as_slice();
    let state = if service.quorum_met {
        ""
    } else {
        ", NO QUORUM"
    };
    let usable = all.iter().filter(|server| server.usable).count();
    let address = endpoint(&service.address, &service.port);
    [
        service.name.clone(),
        format!("{address} {}", service.protocol),
        service.mode.clone(),
        service.scheduler.clone(),
        format!("{usable}/{} usable{state}", all.len()),
        String::new(),
        short(all.iter().map(|server| server.active_connections).sum()),
        short(all.iter().map(|server| server.inactive_connections).sum()),
        short(service.connections),
        both(service.packets),
        both(service.bytes),
    ]
}

fn server_row(service: &Service, server: &Server) -> [String; 11] {
    let mode = (server.mode != service.mode).then(|| server.mode.clone());
    [
        format!("  {}", server.name),
        server_endpoint(server),
        mode.unwrap_or_default(),
        String::new(),
        condition(server),
        server.weight.to_string(),
        short(server.active_connections),
        short(server.inactive_connections),
        short(server.connections),
        both(server.packets),
        both(server.bytes),
    ]
}

fn server_endpoint(server: &Server) -> String {
    match server.port {
        0 => server.address.clone(),
        port => endpoint(&server.address, &port.to_string()),
    }
}

pub(crate) fn servers(view: &Servers) -> String {
    let mut table = Table::new(&[
        ("SERVICE/SERVER", Left),
        ("ADDRESS", Left),
        ("MODE", Left),
        ("STATE", Left),
        ("WEIGHT", Right),
        ("ACTIVE", Right),
        ("INACT", Right),
        ("CONNS", Right),
        ("NEIGHBOUR", Left),
    ]);
    for server in &view.servers {
        table.row([
            format!("{}/{}", server.service, server.name),
            server_endpoint(server),
            server.mode.clone(),
            condition(server),
            server.weight.to_string(),
            short(server.active_connections),
            short(server.inactive_connections),
            short(server.connections),
            server.neighbour.clone(),
        ]);
    }
    table.to_string()
}

pub(crate) fn flows(view: &Flows) -> String {
    let mut table = Table::new(&[
        ("PROTO", Left),
        ("CLIENT", Left),
        ("VIP", Left),
        ("SERVER", Left),
        ("SERVICE/SERVER", Left),
        ("STATE", Left),
        ("EXPIRES", Right),
        ("WORKER", Right),
    ]);
    for flow in &view.flows {
        table.row([
            flow.protocol.clone(),
            flow.client.clone(),
            flow.vip.clone(),
            flow.server_address.clone(),
            format!("{}/{}", flow.service, flow.server),
            flow.state.clone(),
            format!("{}s", flow.expires_seconds),
            flow.worker.to_string(),
        ]);
    }
    let mut text = table.to_string();
    if view.truncated {
        text.push_str(
            "… more match: narrow with --service, --server, --client, or raise --limit\n",
        );
    }
    text
}

pub(crate) fn ports(view: &Ports) -> String {
    let mut table = Table::new(&[
        ("PORT", Left),
        ("LINK", Left),
        ("MAC", Left),
        ("MTU", Right),
        ("QUEUES rx/tx", Right),
        ("PKTS rx/tx", Right),
        ("BYTES rx/tx", Right),
        ("MISSED", Right),
        ("ERRORS rx/tx", Right),
        ("DEVICE", Left),
    ]);
    for port in &view.ports {
        table.row([
            port.name.clone(),
            if port.up { "up".into() } else { "DOWN".into() },
            port.mac.clone(),
            port.mtu.to_string(),
            format!("{}/{}", port.rx_queues, port.tx_queues),
            format!("{}/{}", short(port.rx_packets), short(port.tx_packets)),
            format!("{}/{}", short(port.rx_bytes), short(port.tx_bytes)),
            short(port.rx_missed),
            format!("{}/{}", short(port.rx_errors), short(port.tx_errors)),
            port.device.clone(),
        ]);
    }
    let mut text = table.to_string();
    for port in &view.ports {
        for note in &port.notes {
            text.push_str(&format!("{}: {note}\n", port.name));
        }
    }
    text
}

pub(crate) fn workers(view: &Workers) -> String {
    let mut table = Table::new(&[
        ("WORKER", Right),
        ("CPU", Right),
        ("BUSY", Right),
        ("RX", Right),
        ("TX", Right),
        ("HANDED in/out", Right),
        ("ORIGINATED", Right),
        ("PUNTED", Right),
        ("DROPPED", Right),
        ("HELD", Right),
        ("FLOWS", Right),
        ("TABLES", Right),
    ]);
    for worker in &view.workers {
        table.row([
            worker.worker.to_string(),
            worker.cpu.to_string(),
            format!("{:.0}%", worker.busy_ratio * 100.0),
            short(worker.packets.rx),
            short(worker.packets.tx),
            format!("{}/{}", short(worker.handed_in), short(worker.handed_out)),
            short(worker.originated),
            short(worker.punted),
            short(worker.dropped),
            worker.held.to_string(),
            format!("{}/{}", short(worker.flows), short(worker.flows_capacity)),
            worker.generation.to_string(),
        ]);
    }
    table.to_string()
}

pub(crate) fn neighbours(view: &Neighbours) -> String {
    let mut table = Table::new(&[("PORT", Left), ("ADDRESS", Left), ("MAC", Left)]);
    for neighbour in &view.neighbours {
        table.row([
            neighbour.port.clone(),
            neighbour.address.clone(),
            neighbour.mac.clone(),
        ]);
    }
    table.to_string()
}

pub(crate) fn routes(view: &Routes) -> String {
    let mut table = Table::new(&[
        ("DESTINATION", Left),
        ("PORT", Left),
        ("GATEWAY", Left),
        ("SOURCE", Left),
    ]);
    for route in &view.routes {
        table.row([
            route.destination.clone(),
            route.port.clone(),
            route.gateway.clone().unwrap_or_else(|| "on-link".into()),
            route.source.clone().unwrap_or_default(),
        ]);
    }
    table.to_string()
}

pub(crate) fn arp(view: &ArpList) -> String {
    let mut table = Table::new(&[
        ("VIP", Left),
        ("ROLE", Left),
        ("PORTS", Left),
        ("CLAIMS BY OTHERS", Right),
    ]);
    for vip in &view.arp {
        table.row([
            vip.vip.clone(),
            vip.role.clone(),
            vip.ports.join(" "),
            vip.conflicts.to_string(),
        ]);
    }
    let mut text = table.to_string();
    for (vip, leak) in view
        .arp
        .iter()
        .flat_map(|vip| vip.leaks.iter().map(move |l| (vip, l)))
    {
        text.push_str(&format!(
            "LEAK: {} on {} answers for {}: {}, {} times, last {} ago\n    fix: {}\n",
            leak.server.as_deref().unwrap_or("a host"),
            format_args!("{} ({})", leak.port, leak.mac),
            vip.vip,
            leak.how,
            leak.count,
            span(leak.last_seconds),
            leak.fix,
        ));
    }
    text
}

pub(crate) fn vrrp(view: &VrrpList) -> String {
    if view.vrrp.is_empty() {
        return "no VRRP instance is configured: every VIP is Active here\n".into();
    }
    let mut table = Table::new(&[
        ("INSTANCE", Left),
        ("STATE", Left),
        ("SINCE", Right),
        ("PORT", Left),
        ("ID", Right),
        ("V", Right),
        ("PRIORITY", Right),
        ("INTERVAL", Right),
        ("ADVERTS sent/received", Right),
        ("LAST HEARD", Left),
    ]);
    for instance in &view.vrrp {
        let heard = instance.peer.as_ref().map_or_else(
            || "nobody".to_owned(),
            |peer| {
                let ago = span(peer.ago_seconds);
                format!("{} priority {} ({ago} ago)", peer.address, peer.priority)
            },
        );
        table.row([
            instance.name.clone(),
            instance.state.clone(),
            span(instance.since_seconds),
            instance.port.clone(),
            instance.id.to_string(),
            instance.version.to_string(),
            instance.priority.to_string(),
            format!("{}s", instance.interval_seconds),
            format!("{}/{}", instance.adverts_sent, instance.adverts_received),
            heard,
        ]);
    }
    let mut text = table.to_string();
    view.vrrp
        .iter()
        .for_each(|instance| vrrp_notes(instance, &mut text));
    text
}

/// Why an instance is what it is, and where its peer differs.
fn vrrp_notes(instance: &VrrpInstance, text: &mut String) {
    let name = &instance.name;
    text.push_str(&format!("{name}: {}: {}\n", instance.state, instance.why));
    text.push_str(&format!(
        "{name}: addresses {}\n",
        instance.addresses.join(" ")
    ));
    let Some(peer) = &instance.peer else { return };
    for (what, list) in [
        ("does not advertise", &peer.missing),
        ("also advertises", &peer.unknown),
    ] {
        if !list.is_empty() {
            text.push_str(&format!(
                "{name}: {} {what} {}\n",
                peer.address,
                list.join(" ")
            ));
        }
    }
    if (peer.interval_seconds - instance.interval_seconds).abs() > 1e-9 {
        let text_of = format!(
            "{name}: {} advertises every {}s\n",
            peer.address, peer.interval_seconds
        );
        text.push_str(&text_of);
    }
}

pub(crate) fn drops(view: &Drops) -> String {
    if view.drops.is_empty() {
        return "nothing was dropped\n".into();
    }
    let mut table = Table::new(&[("COUNT", Right), ("REASON", Left), ("WHAT IT MEANS", Left)]);
    for drop in &view.drops {
        table.row([
            drop.count.to_string(),
            drop.reason.clone(),
            drop.text.clone(),
        ]);
    }
    table.to_string()
}

pub(crate) fn status(view: &Status) -> String {
    let ready = if view.ready {
        "FORWARDING"
    } else {
        "NOT READY"
    };
    let mut text = format!(
        "{ready} for {}; revision {} of {}\n\
         {} services, {}/{} servers up, {} of {} flows\n\
         last change: {}\n",
        span(view.since_seconds),
        view.config_revision,
        view.config_file,
        view.services,
        view.servers_up,
        view.servers,
        short(view.flows),
        short(view.flows_capacity),
        view.last_change,
    );
    if view.problems.is_empty() {
        text.push_str("no problems\n");
    }
    for problem in &view.problems {
        text.push_str(&format!(
            "{}: {}: {}\n",
            problem.severity, problem.subject, problem.text
        ));
        if !problem.fix.is_empty() {
            text.push_str(&format!("    fix: {}\n", problem.fix));
        }
    }
    text
}

pub(crate) fn explanation(view: &Explanation) -> String {
    let mut table = Table::new(&[("STAGE", Left), ("RESULT", Left), ("DETAIL", Left)]);
    for step in &view.steps {
        // A header within a header gets a line of its own, for terminals are not that wide.
        let mut parts = step.result.split(", ");
        let first = parts.next().unwrap_or_default();
        table.row([step.stage.clone(), first.to_owned(), step.detail.clone()]);
        for part in parts {
            table.row([String::new(), part.to_owned(), String::new()]);
        }
    }
    let reason = view
        .reason
        .as_deref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    let server = match (&view.service, &view.server) {
        (Some(service), Some(server)) => format!(" to {service}/{server}"),
        _ => String::new(),
    };
    format!("{table}\nverdict: {}{server}{reason}\n", view.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_three_digits_that_matter() {
        assert_eq!(short(99_999), "99999");
        assert_eq!(short(123_456), "123k");
        assert_eq!(short(1_234_567), "1.2M");
        assert_eq!(short(12_345_678_901), "12.3G");
    }

    #[test]
    fn spans_show_the_two_largest_units() {
        assert_eq!(span(0.25), "0.2s");
        assert_eq!(span(252.0), "4m12s");
        assert_eq!(span(90_000.0), "1d1h");
    }
}
