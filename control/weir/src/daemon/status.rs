//! `weir status`: one screen, worst first.

use core::time::Duration;

use super::api::Api;
use super::shared::Shared;
use super::snapshot::{ControlView, seconds};
use crate::views::{Problem, Server, Status, VERSION};

/// The screen. Never fails: what is not known yet is "not ready".
pub(crate) fn view(api: &Api) -> Status {
    let shared = &api.shared;
    let Ok(control) = api.view() else {
        return starting(shared);
    };
    let servers = super::nouns::servers(shared, &control).servers;
    let status = &control.status;
    let (changed, what) = &status.last_change;
    let mut problems = problems(shared, &control, &servers);
    problems.sort_by_key(|problem| rank(&problem.severity));
    Status {
        version: VERSION,
        ready: is_forwarding(shared),
        since_seconds: status.now.as_nanos() as f64 / 1e9,
        config_revision: status.revision,
        config_file: status.config_file.clone(),
        last_change: format!(
            "{what} ({} ago)",
            crate::show::span(seconds(status.now, *changed))
        ),
        services: control.config.services.len(),
        servers_up: servers.iter().filter(|server| server.up).count(),
        servers: servers.len(),
        flows: shared.sum(|counters| &counters.flows),
        flows_capacity: shared.flows_per_worker * shared.workers.len() as u64,
        control_turn_worst_seconds: status.turns.elapsed.worst.as_secs_f64(),
        control_turn_worst_cpu_seconds: status.turns.cpu.worst.as_secs_f64(),
        problems,
    }
}

/// Whether every worker has tables and takes turns.
pub(crate) fn is_forwarding(shared: &Shared) -> bool {
    shared.tables.load().generation > 0 && shared.heartbeat_ages().all(|age| age.is_some())
}

fn starting(shared: &Shared) -> Status {
    Status {
        version: VERSION,
        ready: false,
        since_seconds: 0.0,
        config_revision: 0,
        config_file: String::new(),
        last_change: "starting".into(),
        services: 0,
        servers: 0,
        servers_up: 0,
        flows: 0,
        flows_capacity: shared.flows_per_worker * shared.workers.len() as u64,
        control_turn_worst_seconds: 0.0,
        control_turn_worst_cpu_seconds: 0.0,
        problems: Vec::new(),
    }
}

fn rank(severity: &str) -> u8 {
    match severity {
        "critical" => 0,
        "warning" => 1,
        _ => 2,
    }
}

fn problems(shared: &Shared, control: &ControlView, servers: &[Server]) -> Vec<Problem> {
    let mut list = Vec::new();
    stalled(&mut list, shared, control.config.runtime.heartbeat);
    full(&mut list, shared);
    for (index, port) in control.config.ports.iter().enumerate() {
        let id = weir_engine::id::PortId(u16::try_from(index).unwrap_or(u16::MAX));
        if !control.link_is_up(id) {
            let fix = "check cable, switch port and `ip link` of the device's netdev";
            list.push(Problem::new(
                "critical",
                format!("port {}", port.name),
                "link down".into(),
                fix,
            ));
        }
    }
    super::vrrp::problems(control, &mut list);
    super::vrrp::refusals(control, &mut list);
    super::health::problems(control, &mut list);
    for service in &control.config.services {
        let own = || {
            servers
                .iter()
                .filter(|server| server.service == service.name)
        };
        let usable = own().filter(|server| server.usable).count();
        let subject = format!("service {}", service.name);
        if usable == 0 {
            let text = format!("no usable server of {}", own().count());
            list.push(Problem::new(
                "critical",
                subject,
                text,
                "see `weir show health`",
            ));
        }
    }
    for server in servers
        .iter()
        .filter(|server| !server.up && server.state == "ready")
    {
        let subject = format!("server {}/{}", server.service, server.name);
        let fix = format!("weir show health {}/{}", server.service, server.name);
        list.push(Problem::new(
            "warning",
            subject,
            "down by health".into(),
            &fix,
        ));
    }
    for server in servers.iter().filter(|server| server.state != "ready") {
        let subject = format!("server {}/{}", server.service, server.name);
        let text = format!("in {}", server.state);
        list.push(Problem::new(
            "note",
            subject,
            text,
            "`weir ready` puts it back to work",
        ));
    }
    super::arp::problems(control, &mut list);
    list.extend(shared.notes.iter().map(|note| {
        let (subject, text) = note.split_once(": ").unwrap_or(("machine", note));
        Problem::new("note", subject.into(), text.into(), "")
    }));
    list
}

fn stalled(list: &mut Vec<Problem>, shared: &Shared, limit: Duration) {
    for (index, age) in shared.heartbeat_ages().enumerate() {
        if let Some(age) = age.filter(|age| *age > limit) {
            let text = format!("has taken no turn for {} ms", age.as_millis());
            let fix =
                "is its CPU shared? isolate it (isolcpus), or choose another in runtime.workers";
            list.push(Problem::new(
                "critical",
                format!("worker {index}"),
                text,
                fix,
            ));
        }
    }
}

/// Flow tables without room. Each family has its own; their flows are counted together.
fn full(list: &mut Vec<Problem>, shared: &Shared) {
    for (index, worker) in shared.workers.iter().enumerate() {
        let counters = &worker.stats.counters;
        let (flows, half_open) = (counters.flows.value(), counters.flows_half_open.value());
        if counters.flow_tables_full.value() == 0 {
            continue;
        }
        let text = format!("flow table full: {flows} flows, {half_open} of them half open");
        let fix = if counters.flow_tables_flooded.value() > 0 {
            "a flood of SYNs? Flows go on; new ones begin by consistent hashing when clients answer"
        } else {
            "raise runtime.flows_per_worker: new flows go by consistent hashing, without state"
        };
        list.push(Problem::new(
            "warning",
            format!("worker {index}"),
            text,
            fix,
        ));
    }
}
