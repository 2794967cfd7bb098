//! The rows: what is set up, what is measured, and what must have been so for it to count.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::Failure;
use crate::bench::Bench;
use crate::client::{Client, Segment};
use crate::director::Plan;
use crate::fluid::Offer;
use crate::histogram::Histogram;
use crate::lane::Lane;
use crate::pulse::Settling;
use crate::script::{Both, CHURN_BASE, Connections, Each, FLOOD_BASE, Flood, STEPS_LEN};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) pairs: usize,
    /// Seconds of a window.
    pub(crate) window: f64,
    /// Flows that are established.
    pub(crate) flows: u32,
}

/// P8: whole TCP connections through the director, as many as it can.
pub(crate) fn setup(pace: Pace) -> Result<Value, Failure> {
    // What has ended is remembered for a second, so that the table reaches its steady state
    // within the run: flows end as fast as others begin.
    let plan = Plan {
        key: "timeouts: {fin: 1s}",
        ..Plan::default()
    };
    let mut bench = Bench::start(&plan, 1 << 22)?;
    let mut connections = Connections::new(CHURN_BASE, 1);
    bench.flood(Lane::Director, 2.0, &mut connections, |_, _| {});
    let mut pairs = Vec::new();
    for _ in 0..pace.pairs {
        let mut floor = Connections::new(0, 1);
        let floor = bench.flood(Lane::Floor, pace.window, &mut floor, |_, _| {});
        let window = bench.flood(Lane::Director, pace.window, &mut connections, |_, _| {});
        pairs.push(json!({
            "connections_per_second": window.rate() / STEPS_LEN,
            "nanos_per_connection": window.nanos() * STEPS_LEN,
            "floor": floor.facts(),
            "director": window.facts(),
            "flows": bench.director.stats[0].counters.flows.value(),
        }));
    }
    let counters = &bench.director.stats[0].counters;
    Ok(json!({
        "pairs": pairs,
        "begun": connections.begun(),
        "connections": counters.services[0].connections.value(),
        "insert_failures": counters.flow_insert_failures.value(),
        "deferred": counters.flows_deferred.value(),
        "expired": counters.flows_expired.value(),
        "drops": bench.drops(),
        "memory": bench.rings.memory(),
        "mbufs_leaked": bench.mbufs_leaked(),
    }))
}

/// No frame of the flow has come back yet.
const NOBODY: u16 = 0;

/// Which server each flow was given, and which flows came to another one since.
#[derive(Debug)]
pub(crate) struct Servers(Vec<u16>);

impl Servers {
    /// Establishes flows of all clients of [`Each`], and notes the servers that frames come to.
    pub(crate) fn establish(bench: &mut Bench, clients: u32, services: u16) -> Self {
        let mut servers = Self(vec![NOBODY; clients as usize]);
        for segment in [Segment::Syn, Segment::Ack] {
            let mut all = Each::new(segment, clients, services);
            bench.deliver(clients.into(), &mut all, |seen, _| {
                let server = &mut servers.0[seen.client.0 as usize];
                // A SYN that came back was not the last of its flow: the first word counts.
                if *server == NOBODY {
                    *server = seen.server;
                }
            });
        }
        servers
    }

    /// Whether a frame went to another server than its flow's first.
    #[inline]
    pub(crate) fn is_moved(&self, client: Client, server: u16) -> bool {
        let own = self.0.get(client.0 as usize);
        own.is_some_and(|own| *own != server && *own != NOBODY)
    }

    /// Sends a segment of each flow, twice: a frame may be lost on a full wire, a flow that lives
    /// is not. Returns how many are not with their server.
    pub(crate) fn broken(&self, bench: &mut Bench, services: u16) -> usize {
        let clients = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let mut right = vec![false; self.0.len()];
        for _ in 0..2 {
            let mut acks = Each::new(Segment::Ack, clients, services);
            bench.deliver(clients.into(), &mut acks, |seen, _| {
                if let Some(right) = right.get_mut(seen.client.0 as usize) {
                    *right |= !self.is_moved(seen.client, seen.server);
                }
            });
        }
        right.iter().filter(|right| !**right).count()
    }
}

/// Frames of established flows, as many as fit: what one takes.
pub(crate) fn forward(pace: Pace) -> Result<Value, Failure> {
    let mut bench = Bench::start(&Plan::default(), pace.flows as usize)?;
    let servers = Servers::establish(&mut bench, pace.flows, 1);
    let acks = || Each::new(Segment::Ack, pace.flows, 1);
    let (mut judged, mut wrong) = (0_u64, 0_u64);
    bench.deliver(pace.flows.into(), &mut acks(), |seen, _| {
        judged += 1;
        wrong += u64::from(!seen.is_forwarded(0));
    });
    let (mut pairs, mut moved) = (Vec::new(), 0);
    for _ in 0..pace.pairs {
        let floor = bench.flood(Lane::Floor, pace.window, &mut acks(), |_, _| {});
        let director = bench.flood(Lane::Director, pace.window, &mut acks(), |seen, _| {
            moved += u64::from(servers.is_moved(seen.client, seen.server));
        });
        pairs.push(json!({ "floor": floor.facts(), "director": director.facts() }));
    }
    Ok(json!({
        "pairs": pairs,
        "judged": judged,
        "wrong": wrong,
        "moved": moved,
        "broken": servers.broken(&mut bench, 1),
        "flows": bench.director.stats[0].counters.flows.value(),
        "drops": bench.drops(),
        "memory": bench.rings.memory(),
        "mbufs_leaked": bench.mbufs_leaked(),
    }))
}

/// P11: SYNs of new clients, more than fit, and established flows alongside.
pub(crate) fn flood(pace: Pace) -> Result<Value, Failure> {
    let mut bench = Bench::start(&Plan::default(), 2 * pace.flows as usize)?;
    let servers = Servers::establish(&mut bench, pace.flows, 1);
    let mut flood = Flood { next: FLOOD_BASE };
    // Fills the table first.
    bench.deliver(u64::from(pace.flows) * 2, &mut flood, |_, _| {});
    let acks = || Each::new(Segment::Ack, pace.flows, 1);
    let (mut pairs, mut moved) = (Vec::new(), 0);
    for _ in 0..pace.pairs {
        let floor = bench.flood(Lane::Floor, pace.window, &mut acks(), |_, _| {});
        let steady = bench.flood(Lane::Director, pace.window, &mut acks(), |_, _| {});
        let mut both = Both(acks(), flood, false);
        let mixed = bench.flood(Lane::Director, pace.window, &mut both, |seen, _| {
            moved += u64::from(servers.is_moved(seen.client, seen.server));
        });
        flood = both.1;
        let only = bench.flood(Lane::Director, pace.window, &mut flood, |_, _| {});
        pairs.push(json!({
            "floor": floor.facts(),
            "steady": steady.facts(),
            "mixed": mixed.facts(),
            "flood": only.facts(),
        }));
    }
    let broken = servers.broken(&mut bench, 1);
    let counters = &bench.director.stats[0].counters;
    Ok(json!({
        "pairs": pairs,
        "established": pace.flows,
        "moved": moved,
        "broken": broken,
        "flows": counters.flows.value(),
        "insert_failures": counters.flow_insert_failures.value(),
        "deferred": counters.flows_deferred.value(),
        "drops": bench.drops(),
        "memory": bench.rings.memory(),
        "mbufs_leaked": bench.mbufs_leaked(),
    }))
}

/// P18: how long frames take, there and back, at half of what the director can.
pub(crate) fn latency(pace: Pace) -> Result<Value, Failure> {
    let mut bench = Bench::start(&Plan::default(), pace.flows as usize)?;
    Servers::establish(&mut bench, pace.flows, 1);
    let acks = || Each::new(Segment::Ack, pace.flows, 1);
    let mut pairs = Vec::new();
    for _ in 0..pace.pairs {
        // The machine's speed changes from pair to pair, and what is half of it does.
        let most = bench.flood(Lane::Director, pace.window / 4.0, &mut acks(), |_, _| {});
        let rate = most.rate() / 2.0;
        let trace = bench.watch(pace.window)?;
        let mut sides = Vec::new();
        for lane in [Lane::Floor, Lane::Director] {
            let (latency, calm) = (Histogram::default(), Histogram::default());
            let mut settling = Settling::new(Arc::clone(&bench.core.pulse));
            let see = |seen: crate::client::Seen, now: u64| {
                let taken = now.saturating_sub(seen.stamp);
                latency.add(taken);
                settling.add(now, taken, |taken| calm.add(taken));
            };
            let window = bench.pace(lane, (pace.window, rate), &mut acks(), see);
            settling.finish(|taken| calm.add(taken));
            let (counts, calm) = (latency.counts(), calm.counts());
            let ideal = Offer::new(rate, window.nanos(), &trace).ideal(&trace);
            sides.push(json!({
                "p50": counts.quantile(0.5) / 1e3,
                "p99": counts.quantile(0.99) / 1e3,
                "calm": calm.total(),
                "calm_p50": calm.quantile(0.5) / 1e3,
                "calm_p99": calm.quantile(0.99) / 1e3,
                "p999": counts.quantile(0.999) / 1e3,
                "worst": counts.longest() / 1e3,
                "window": window.facts(),
                "ideal": ideal.facts(),
            }));
        }
        pairs.push(json!({ "rate_mpps": rate / 1e6, "most": most.facts(),
            "machine": trace.facts(), "floor": sides[0], "director": sides[1] }));
    }
    Ok(json!({ "pairs": pairs, "drops": bench.drops(), "memory": bench.rings.memory() }))
}

/// P13: reloads of 1,000 services with 10 servers each while all of them are busy.
pub(crate) fn reload(pace: Pace) -> Result<Value, Failure> {
    const SERVICES: u16 = 1000;
    let plan = |weight| Plan {
        services: SERVICES,
        servers: (11..21).collect(),
        weight,
        ..Plan::default()
    };
    let mut bench = Bench::start(&plan(1), pace.flows as usize)?;
    let servers = Servers::establish(&mut bench, pace.flows, SERVICES);
    let acks = || Each::new(Segment::Ack, pace.flows, SERVICES);
    let most = bench.flood(Lane::Director, pace.window, &mut acks(), |_, _| {});
    let rate = most.rate() * 0.9;
    let mut tables = Vec::new();
    for weight in 0..40 {
        bench.director.plan(&plan(1 + weight % 2))?;
        tables.push(bench.director.tables());
    }
    let mut tables = tables.chunks(tables.len() / pace.pairs.max(1));
    let mut pairs = Vec::new();
    for _ in 0..pace.pairs {
        let floor = bench.pace(Lane::Floor, (pace.window, rate), &mut acks(), |_, _| {});
        let calm = bench.pace(Lane::Director, (pace.window, rate), &mut acks(), |_, _| {});
        let now = tables.next().unwrap_or_default();
        let every = crate::bench::nanos(pace.window) / (now.len() as u64 + 1);
        let (busy, count) = bench.pace_and_reload((pace.window, rate), &mut acks(), now, every);
        let adopting = &busy.turns.adopting;
        pairs.push(json!({
            "floor": floor.facts(), "calm": calm.facts(), "reloading": busy.facts(),
            "reloads": count,
            "adopting_p50": adopting.quantile(0.5) / 1e3,
            "adopting_worst": adopting.longest() / 1e3,
        }));
    }
    let broken = servers.broken(&mut bench, SERVICES);
    Ok(
        json!({ "most": most.facts(), "rate_mpps": rate / 1e6, "pairs": pairs, "broken": broken,
        "flows": pace.flows, "drops": bench.drops(), "memory": bench.rings.memory() }),
    )
}
