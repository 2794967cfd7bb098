//! Rows of what comes and goes while frames flow: pauses, expiry, changed servers.

use serde_json::{Value, json};

use crate::Failure;
use crate::bench::{Bench, Window, nanos};
use crate::client::Segment;
use crate::director::Plan;
use crate::lane::Lane;
use crate::machine::Trace;
use crate::rows::{Pace, Servers};
use crate::script::{CHURN_BASE, Connections, Each, FLOOD_BASE, Flood};

/// The load while tables are reloaded: all of them are cold then, which costs some throughput.
const RELOADING_LOAD: f64 = 0.7;
/// Seconds until as many flows end as begin, where they are remembered for one.
pub(crate) const WARM: f64 = 3.0;

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
        let trace = bench.watch(pace.window)?;
        let floor = bench.pace(Lane::Floor, (pace.window, rate), &mut acks, |_, _| {});
        let every = nanos(pace.window) / (RELOADS as u64 + 1);
        let paced = (pace.window, rate);
        let (busy, count) = bench.pace_and_reload(paced, &mut churn, &tables, every);
        pairs.push(
            json!({ "floor": floor.facts(), "director": busy.facts(), "reloads": count,
            "machine": trace.facts(), "gap_p9999": gap_p9999(&busy, &trace) }),
        );
    }
    Ok(
        json!({ "most": most.facts(), "rate_mpps": rate / 1e6, "pairs": pairs,
        "drops": bench.drops(), "memory": bench.rings.memory() }),
    )
}

/// The gap in microseconds that is exceeded as often as one of 10,000 turns that move frames is
/// met, given that no other time counts: the machine's part in such a quantile.
fn gap_p9999(window: &Window, trace: &Trace) -> f64 {
    let rare = window.turns.moving.total() as f64 / 1e4;
    trace.exceeded(rare / (window.seconds * window.busy())) as f64 / 1e3
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
        let trace = bench.watch(pace.window)?;
        Servers::establish(&mut bench, pace.flows, 1);
        let before = bench.director.stats[0].counters.flows.value();
        // Those who go on keep their flows; the others' time is over within the window.
        let mut acks = Each::new(Segment::Ack, STAYING, 1);
        let seconds = 4.0;
        let window = bench.pace(Lane::Director, (seconds, RATE), &mut acks, |_, _| {});
        let after = bench.director.stats[0].counters.flows.value();
        let floor = bench.pace(Lane::Floor, (seconds, RATE), &mut acks, |_, _| {});
        pairs.push(json!({ "floor": floor.facts(), "director": window.facts(),
            "flows_before": before, "flows_after": after, "flows_stay": STAYING,
            "machine": trace.facts(), "gap_p9999": gap_p9999(&window, &trace) }));
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
