//! What frames come by and go out by: ports, workers, neighbours, routes.

use super::short;
use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::views::{Neighbours, Ports, Routes, Workers};

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
