//! Rows of what comes and goes while frames flow: pauses, expiry, changed servers, a soak.

use serde_json::{Value, json};

use crate::Failure;
use crate::bench::{Bench, nanos};
use crate::client::Segment;
use crate::director::Plan;
use crate::lane::Lane;
use crate::rows::{CHURN_BASE, FLOOD_BASE, Pace, Servers};
use crate::script::{Both, Connections, Each, Flood};

/// The load of the soak, as a share of what the director can.
const LOAD: f64 = 0.9;
/// The load while tables are reloaded: all of them are cold then, which costs some throughput.
const RELOADING_LOAD: f64 = 0.7;
/// Seconds until as many flows end as begin, where they are remembered for one.
const WARM: f64 = 3.0;
/// Seconds that a connection is remembered at most after its last frame, and some.
const REMEMBERED: u32 = 130;

/// P12: how long turns take while connections come and go and 10,000 servers are reloaded.
pub(crate) fn pauses(pace: Pace) -> Result<Value, Failure> {
    const SERVICES: u16 = 1000;
    const RELOADS: usize = 8;
    let plan = |weight| Plan {
        services: SERVICES,
        servers: (11..21).collect(),
        weight,
        key: "timeouts: {fin: 1s}",
        ..Plan::default()
    };
    let mut bench = Bench::start(&plan(1), 4 * pace.flows as usize)?;
    let mut churn = Connections::new(CHURN_BASE, SERVICES);
    // Until flows end as fast as others begin.
    bench.flood(Lane::Director, WARM, &mut churn, |_, _| {});
    let most = bench.flood(Lane::Director, pace.window, &mut churn, |_, _| {});
    let rate = most.rate() * RELOADING_LOAD;
    let mut pairs = Vec::new();
    for _ in 0..pace.pairs {
        let mut tables = Vec::new();
        for weight in 0..RELOADS {
            bench
                .director
                .plan(&plan(if weight % 2 == 0 { 2 } else { 1 }))?;
            tables.push(bench.director.tables());
        }
        let mut acks = Each::new(Segment::Ack, pace.flows, SERVICES);
        let floor = bench.pace(Lane::Floor, (pace.window, rate), &mut acks, |_, _| {});
        let every = nanos(pace.window) / (RELOADS as u64 + 1);
        let paced = (pace.window, rate);
        let (busy, count) = bench.pace_and_reload(paced, &mut churn, &tables, every);
        pairs.push(json!({ "floor": floor.facts(), "director": busy.facts(), "reloads": count }));
    }
    Ok(
        json!({ "most": most.facts(), "rate_mpps": rate / 1e6, "pairs": pairs,
        "drops": bench.drops(), "memory": bench.rings.memory() }),
    )
}

/// P12: how long turns take while all flows but a few end at once.
pub(crate) fn expiry(pace: Pace) -> Result<Value, Failure> {
    const STAYING: u32 = 1 << 10;
    const RATE: f64 = 1e6;
    let plan = Plan {
        key: "timeouts: {established: 2s}",
        ..Plan::default()
    };
    let mut bench = Bench::start(&plan, pace.flows as usize)?;
    let mut pairs = Vec::new();
    for _ in 0..pace.pairs {
        Servers::establish(&mut bench, pace.flows, 1);
        let before = bench.director.stats[0].counters.flows.value();
        // Those who go on keep their flows; the others' time is over within the window.
        let mut acks = Each::new(Segment::Ack, STAYING, 1);
        let seconds = 4.0;
        let window = bench.pace(Lane::Director, (seconds, RATE), &mut acks, |_, _| {});
        let after = bench.director.stats[0].counters.flows.value();
        let floor = bench.pace(Lane::Floor, (seconds, RATE), &mut acks, |_, _| {});
        pairs.push(json!({ "floor": floor.facts(), "director": window.facts(),
            "flows_before": before, "flows_after": after, "flows_stay": STAYING }));
    }
    Ok(json!({ "pairs": pairs, "drops": bench.drops(), "memory": bench.rings.memory() }))
}

/// P14: which flows come to another server when servers change.
pub(crate) fn changes(pace: Pace) -> Result<Value, Failure> {
    let first = Plan::default();
    let mut bench = Bench::start(&first, 2 * pace.flows as usize)?;
    let servers = Servers::establish(&mut bench, pace.flows, 1);
    let more = Plan {
        servers: (11..20).collect(),
        ..Plan::default()
    };
    let weighted = Plan {
        weight: 7,
        scheduler: "wlc",
        ..Plan::default()
    };
    let drained = Plan {
        drained: Some(11),
        ..Plan::default()
    };
    let steps = [
        ("a server is added", &more),
        ("another one is removed", &first),
        ("new weights and scheduler", &weighted),
        ("reload of the same file", &weighted),
        ("a server is drained", &drained),
    ];
    let mut result = Vec::new();
    for (name, plan) in steps {
        bench.director.plan(plan)?;
        let tables = bench.director.tables();
        bench.director.hand_out(&tables);
        while !bench.director.take_back() {
            std::hint::spin_loop();
        }
        let broken = servers.broken(&mut bench, 1);
        result.push(json!({ "change": name, "broken": broken }));
    }
    // New clients, while a server is drained.
    let (mut came, mut drained) = (0, 0);
    let mut flood = Flood { next: FLOOD_BASE };
    bench.deliver(1 << 16, &mut flood, |seen, _| {
        came += 1;
        drained += u64::from(seen.server.to_be_bytes()[1] == 11);
    });
    Ok(
        json!({ "flows": pace.flows, "changes": result, "new": came, "new_to_drained": drained,
        "drops": bench.drops(), "memory": bench.rings.memory() }),
    )
}

/// P20: established flows and connections that come and go, for a long time: what is lost, and what
/// is left over. `pace.pairs` windows.
pub(crate) fn soak(pace: Pace) -> Result<Value, Failure> {
    // Connections whose last frames are lost end too, before the run does.
    let plan = Plan {
        key: "timeouts: {established: 20s, fin: 1s}",
        ..Plan::default()
    };
    let mut bench = Bench::start(&plan, 4 * pace.flows as usize)?;
    let servers = Servers::establish(&mut bench, pace.flows, 1);
    let acks = || Each::new(Segment::Ack, pace.flows, 1);
    let mut both = Both(acks(), Connections::new(CHURN_BASE, 1), false);
    bench.flood(Lane::Director, WARM, &mut both, |_, _| {});
    let most = bench.flood(Lane::Director, 1.0, &mut both, |_, _| {});
    let rate = most.rate() * LOAD;
    let floor_seconds = pace.window.min(10.0);
    let floor = bench.pace(Lane::Floor, (floor_seconds, rate), &mut acks(), |_, _| {});
    let (mut windows, mut moved, mut connections) = (Vec::new(), 0, both.1);
    for _ in 0..pace.pairs {
        let mut both = Both(acks(), connections, false);
        let window = bench.pace(Lane::Director, (pace.window, rate), &mut both, |seen, _| {
            moved += u64::from(servers.is_moved(seen.client, seen.server));
        });
        connections = both.1;
        let offered = window.books.sent + window.books.refused;
        windows.push(json!({
            "director": window.facts(), "offered": offered,
            "lost": offered - window.books.returned.min(offered),
        }));
    }
    let drops = bench.drops();
    let broken = servers.broken(&mut bench, 1);
    // What has ended is forgotten within a second, what lost a frame within 2 minutes.
    let flows = |bench: &Bench| bench.director.stats[0].counters.flows.value();
    let (mut rounds, mut acks) = (0..REMEMBERED, acks());
    while flows(&bench) != u64::from(pace.flows) && rounds.next().is_some() {
        bench.pace(Lane::Director, (1.0, 1e6), &mut acks, |_, _| {});
    }
    let flows = flows(&bench);
    Ok(json!({
        "most": most.facts(),
        "rate_mpps": rate / 1e6,
        "floor": floor.facts(),
        "floor_seconds": floor_seconds,
        "windows": windows,
        "moved": moved,
        "broken": broken,
        "drops": drops,
        "connections": connections.begun(),
        "flows": pace.flows,
        "flows_after": flows,
        "imbalance": bench.director.stats[0].counters.imbalance(),
        "mbufs_leaked": bench.mbufs_leaked(),
        "memory": bench.rings.memory(),
    }))
}
