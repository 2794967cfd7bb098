//! Services and their servers.

use super::{both, endpoint, short};
use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::views::{Server, Servers, Service, Services};

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

/// Health and state in one word, as an operator says it.
fn condition(server: &Server) -> String {
    match (server.state.as_str(), server.up) {
        ("ready", true) => "up".into(),
        ("ready", false) => "DOWN".into(),
        (state, true) => state.into(),
        (state, false) => format!("{state},DOWN"),
    }
}
