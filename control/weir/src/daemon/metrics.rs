//! `/metrics`: every name of INTERFACES §4 that this release has, read at the moment of the scrape.

use weir_control::uplink::UplinkDrop;
use weir_engine::counters::{Counter, Outcomes, ServerCounters, WorkerCounters};
use weir_engine::tables::Tables;
use weir_engine::verdict::{DropReason, PuntClass};
use weir_worker::{BURST_BUCKETS, TURN_BUCKETS, turn_bound};

use super::families::Families;
use super::shared::Shared;
use super::snapshot::ControlView;

/// Name, help and source of one family.
type Row<T> = (&'static str, &'static str, fn(&T) -> u64);
/// The same for a family with both directions: from clients, from servers. The second argument of
/// a source is the service's slot.
type InOutRow = (
    &'static str,
    &'static str,
    [fn(&WorkerCounters, usize) -> u64; 2],
);

/// The whole page.
pub(crate) fn text(shared: &Shared, control: &ControlView) -> Result<String, prometheus::Error> {
    let mut families = Families::default();
    build(&mut families);
    workers(&mut families, shared);
    reasons(&mut families, shared);
    services(&mut families, shared, &shared.tables.load());
    servers(&mut families, shared, control, &shared.tables.load());
    control_side(&mut families, control);
    super::vrrp::metrics(&mut families, control);
    super::arp::metrics(&mut families, control);
    super::turns::metrics(&mut families, control);
    ports(&mut families, shared, control);
    families.text()
}

fn build(families: &mut Families) {
    let dpdk = weir_dpdk::dpdk_version();
    families
        .gauge("weir_build_info", "Versions; the value is always 1.")
        .add(
            &[("version", env!("CARGO_PKG_VERSION")), ("dpdk", &dpdk)],
            1,
        );
}

/// One value per worker.
fn per_worker(
    shared: &Shared,
    mut add: impl FnMut(&str, &weir_worker::WorkerStats, &WorkerCounters),
) {
    for (index, worker) in shared.workers.iter().enumerate() {
        add(&index.to_string(), &worker.stats, &worker.stats.counters);
    }
}

fn workers(families: &mut Families, shared: &Shared) {
    let mut family = families.counter(
        "weir_worker_packets_total",
        "Frames received and sent by a worker.",
    );
    per_worker(shared, |worker, _, counters| {
        family.add(
            &[("worker", worker), ("direction", "rx")],
            counters.received.packets.value(),
        );
        family.add(
            &[("worker", worker), ("direction", "tx")],
            counters.sent.packets.value(),
        );
    });
    let mut family = families.counter(
        "weir_worker_bytes_total",
        "Octets received and sent by a worker.",
    );
    per_worker(shared, |worker, _, counters| {
        family.add(
            &[("worker", worker), ("direction", "rx")],
            counters.received.bytes.value(),
        );
        family.add(
            &[("worker", worker), ("direction", "tx")],
            counters.sent.bytes.value(),
        );
    });
    flow_counters(families, shared);
    loop_health(families, shared);
}

fn flow_counters(families: &mut Families, shared: &Shared) {
    let counters: [Row<WorkerCounters>; 6] = [
        (
            "weir_worker_handed_in_total",
            "Frames taken over from other workers.",
            |c| c.handed_in.value(),
        ),
        (
            "weir_worker_handed_out_total",
            "Frames given to the worker that owns the flow.",
            |c| c.handed_out.value(),
        ),
        (
            "weir_worker_originated_total",
            "Frames made here: answers, control's frames, extra fragments.",
            |c| c.originated.value(),
        ),
        (
            "weir_flow_insert_failures_total",
            "New flows without an entry, because the flow table was full.",
            |c| c.flow_insert_failures.value(),
        ),
        (
            "weir_flows_deferred_total",
            "SYNs forwarded without an entry: the flow table was full, much of it half open.",
            |c| c.flows_deferred.value(),
        ),
        (
            "weir_flows_expired_total",
            "Flows that ended by time-out.",
            |c| c.flows_expired.value(),
        ),
    ];
    for (name, help, value) in counters {
        let mut family = families.counter(name, help);
        per_worker(shared, |worker, _, counters| {
            family.add(&[("worker", worker)], value(counters));
        });
    }
    let gauges: [Row<WorkerCounters>; 3] = [
        (
            "weir_worker_held",
            "Frames waiting for a neighbour now.",
            |c| c.held.value(),
        ),
        ("weir_flows", "Flows in the table now.", |c| c.flows.value()),
        (
            "weir_flows_half_open",
            "Half-open TCP flows among them.",
            |c| c.flows_half_open.value(),
        ),
    ];
    for (name, help, value) in gauges {
        let mut family = families.gauge(name, help);
        per_worker(shared, |worker, _, counters| {
            family.add(&[("worker", worker)], value(counters));
        });
    }
    let mut family = families.gauge("weir_flows_capacity", "Usable flows of a worker.");
    per_worker(shared, |worker, _, _| {
        family.add(&[("worker", worker)], shared.flows_per_worker);
    });
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
fn loop_health(families: &mut Families, shared: &Shared) {
    let mut family = families.counter(
        "weir_worker_busy_seconds_total",
        "Time that a worker spent moving frames.",
    );
    per_worker(shared, |worker, stats, _| {
        family.add_f64(&[("worker", worker)], stats.busy.value() as f64 / 1e9);
    });
    let mut family = families.gauge(
        "weir_worker_busy_ratio",
        "Share of the time since start that a worker spent moving frames.",
    );
    per_worker(shared, |worker, stats, _| {
        let elapsed = stats.elapsed.value().max(1) as f64;
        family.add_f64(&[("worker", worker)], stats.busy.value() as f64 / elapsed);
    });
    let mut family = families.gauge(
        "weir_worker_heartbeat_seconds",
        "Age of a worker's last turn; more than runtime.heartbeat is a stall.",
    );
    let now = shared.clock.nanos();
    per_worker(shared, |worker, stats, _| {
        let age = now.saturating_sub(stats.heartbeat.value());
        family.add_f64(&[("worker", worker)], age as f64 / 1e9);
    });
    let mut family = families.histogram("weir_worker_burst_size", "Frames per received burst.");
    per_worker(shared, |worker, stats, counters| {
        let buckets = BURST_BUCKETS.iter().zip(&stats.bursts);
        family.add_histogram(
            &[("worker", worker)],
            buckets.map(|(bound, count)| (*bound as f64, count.value())),
            0,
            counters.received.packets.value() as f64,
        );
    });
    let name = "weir_worker_turn_seconds";
    let mut family = families.histogram(name, "How long turns of a worker's loop took.");
    per_worker(shared, |worker, stats, _| {
        let turns = stats.turns.each_ref().map(Counter::value);
        let bounds = (0..TURN_BUCKETS).map(|bucket| turn_bound(bucket) as f64 / 1e9);
        let total = stats.turning.value() as f64 / 1e9;
        family.add_histogram(
            &[("worker", worker)],
            bounds.zip(turns),
            turns[TURN_BUCKETS],
            total,
        );
    });
    families
        .gauge(
            "weir_mbufs_in_use",
            "Packet buffers in use, of runtime.mbufs.",
        )
        .add(&[], shared.pool.in_use() as u64);
}

fn reasons(families: &mut Families, shared: &Shared) {
    let mut family = families.counter(
        "weir_drops_total",
        "Frames dropped or answered, by reason (docs/COUNTERS.md).",
    );
    for reason in DropReason::ALL {
        let count = shared.sum(|counters| &counters.dropped[reason.index()]);
        family.add(&[("reason", reason.label())], count);
    }
    let mut family = families.counter(
        "weir_punts_total",
        "Frames given to the control thread, by class.",
    );
    for class in PuntClass::ALL {
        let count = shared.sum(|counters| &counters.punted[class.index()]);
        family.add(&[("reason", class.label())], count);
    }
}

fn services(families: &mut Families, shared: &Shared, tables: &Tables) {
    let list: Vec<_> = tables.services.iter().flatten().collect();
    let totals: [InOutRow; 2] = [
        (
            "weir_service_packets_total",
            "Packets from clients (in) and from NAT servers (out).",
            [
                |c, id| c.services[id].incoming.packets.value(),
                |c, id| c.services[id].outgoing.packets.value(),
            ],
        ),
        (
            "weir_service_bytes_total",
            "IP octets from clients (in) and from NAT servers (out).",
            [
                |c, id| c.services[id].incoming.bytes.value(),
                |c, id| c.services[id].outgoing.bytes.value(),
            ],
        ),
    ];
    for (name, help, [incoming, outgoing]) in totals {
        let mut family = families.counter(name, help);
        for service in &list {
            let id = service.id.index();
            for (direction, value) in [("in", incoming), ("out", outgoing)] {
                let labels = [("service", &*service.name), ("direction", direction)];
                family.add(&labels, shared.total(|counters| value(counters, id)));
            }
        }
    }
    let mut family = families.counter("weir_service_connections_total", "Flows started.");
    for service in &list {
        let count = shared.sum(|counters| &counters.services[service.id.index()].connections);
        family.add(&[("service", &service.name), ("direction", "in")], count);
    }
}

const SERVER_TOTALS: [Row<ServerCounters>; 3] = [
    (
        "weir_server_packets_total",
        "Packets to and from a server.",
        |c| c.incoming.packets.value() + c.outgoing.packets.value(),
    ),
    (
        "weir_server_bytes_total",
        "IP octets to and from a server.",
        |c| c.incoming.bytes.value() + c.outgoing.bytes.value(),
    ),
    (
        "weir_server_connections_total",
        "Flows given to a server.",
        |c| c.connections.value(),
    ),
];

const SERVER_GAUGES: [Row<ServerCounters>; 2] = [
    (
        "weir_server_active_connections",
        "Established and opening flows.",
        |c| u64::from(c.active.value()),
    ),
    (
        "weir_server_inactive_connections",
        "Closing flows and UDP.",
        |c| u64::from(c.inactive.value()),
    ),
];

const SERVER_FAILURES: [Row<Outcomes>; 2] = [
    (
        "weir_server_unanswered_total",
        "Flows that timed out without an answer.",
        |seen| seen.unanswered,
    ),
    (
        "weir_server_resets_total",
        "Flows that the server refused; NAT only.",
        |seen| seen.reset,
    ),
];

fn servers(families: &mut Families, shared: &Shared, control: &ControlView, tables: &Tables) {
    if control.hides_servers() {
        return;
    }
    let list: Vec<_> = tables.servers.iter().flatten().collect();
    let name = |server: &weir_engine::tables::Server| {
        let service = tables
            .services
            .get(server.service.index())
            .and_then(Option::as_ref);
        service
            .map(|service| service.name.clone())
            .unwrap_or_default()
    };
    for (metric, help, value) in SERVER_TOTALS {
        let mut family = families.counter(metric, help);
        for server in &list {
            let count = shared.total(|counters| value(&counters.servers[server.id.index as usize]));
            let labels = [("service", &*name(server)), ("server", &*server.name)];
            family.add(&labels, count);
        }
    }
    for (metric, help, value) in SERVER_FAILURES {
        let mut family = families.counter(metric, help);
        for server in &list {
            let labels = [("service", &*name(server)), ("server", &*server.name)];
            family.add(&labels, value(&shared.outcomes(server.id)));
        }
    }
    for (metric, help, value) in SERVER_GAUGES {
        let mut family = families.gauge(metric, help);
        for server in &list {
            let count = shared.total(|counters| value(&counters.servers[server.id.index as usize]));
            let labels = [("service", &*name(server)), ("server", &*server.name)];
            family.add(&labels, count);
        }
    }
    let mut family = families.gauge("weir_server_weight", "A server's share, 0 to 65535.");
    for server in &list {
        let labels = [("service", &*name(server)), ("server", &*server.name)];
        family.add(&labels, u64::from(server.weight));
    }
    let mut family = families.gauge("weir_server_up", "1: up by health, or not checked.");
    for server in &list {
        let up = control.is_up(&name(server), &server.name);
        family.add(
            &[("service", &name(server)), ("server", &server.name)],
            u64::from(up),
        );
    }
}

fn control_side(families: &mut Families, control: &ControlView) {
    let status = &control.status;
    families
        .gauge(
            "weir_config_revision",
            "Counts up with each accepted configuration.",
        )
        .add(&[], status.revision);
    families
        .counter(
            "weir_config_reload_failures_total",
            "Configurations that were refused.",
        )
        .add(&[], status.reload_failures);
    families
        .counter(
            "weir_arp_replies_total",
            "ARP and neighbour discovery answers for VIPs.",
        )
        .add(&[], status.arp_replies);
    let mut family = families.counter("weir_arp_conflicts_total", "Others' claims of a VIP.");
    for vip in status.vips.iter() {
        family.add(&[("vip", &vip.vip.to_string())], vip.conflicts);
    }
    let mut family = families.counter("weir_uplink_frames_total", "Frames to and from the kernel.");
    family.add(&[("direction", "up")], status.uplink.up);
    family.add(&[("direction", "down")], status.uplink.down);
    family.add(&[("direction", "answered")], status.uplink.answered);
    let mut family = families.counter(
        "weir_uplink_drops_total",
        "Frames that did not pass between port and kernel.",
    );
    for reason in UplinkDrop::ALL {
        family.add(
            &[("reason", reason.label())],
            status.uplink.dropped[reason as usize],
        );
    }
    super::health::metrics(families, control);
}

fn ports(families: &mut Families, shared: &Shared, control: &ControlView) {
    let ports = super::nouns::ports(shared, control).ports;
    let counters: [Row<crate::views::Port>; 7] = [
        (
            "weir_port_rx_packets_total",
            "Frames that the device received.",
            |p| p.rx_packets,
        ),
        (
            "weir_port_tx_packets_total",
            "Frames that the device sent.",
            |p| p.tx_packets,
        ),
        (
            "weir_port_rx_bytes_total",
            "Octets that the device received.",
            |p| p.rx_bytes,
        ),
        (
            "weir_port_tx_bytes_total",
            "Octets that the device sent.",
            |p| p.tx_bytes,
        ),
        (
            "weir_port_rx_errors_total",
            "Frames with errors, or without a buffer.",
            |p| p.rx_errors,
        ),
        (
            "weir_port_tx_errors_total",
            "Frames that the device failed to send.",
            |p| p.tx_errors,
        ),
        (
            "weir_port_rx_missed_total",
            "Frames lost because the queue was full.",
            |p| p.rx_missed,
        ),
    ];
    for (name, help, value) in counters {
        let mut family = families.counter(name, help);
        for port in &ports {
            family.add(&[("port", &port.name)], value(port));
        }
    }
    let mut family = families.gauge("weir_port_up", "1: the link is up.");
    for port in &ports {
        family.add(&[("port", &port.name)], u64::from(port.up));
    }
}
