//! P20: established flows and connections that come and go, for a long time: what is lost, and what
//! is left over.

use serde_json::{Value, json};

use crate::Failure;
use crate::bench::{Bench, Window};
use crate::churn::WARM;
use crate::client::Segment;
use crate::director::Plan;
use crate::fluid::Offer;
use crate::lane::Lane;
use crate::load::Load;
use crate::machine::Trace;
use crate::rows::{Pace, Servers};
use crate::script::{Both, CHURN_BASE, Connections, Each};

/// How busy the director is kept.
const LOAD: f64 = 0.9;
/// A window of the floor, as a share of the director's.
const FLOOR: f64 = 1.0 / 6.0;
/// Seconds that the machine is watched, before and after; no more than established flows outlive.
const WATCH_MAX: f64 = 5.0;
/// Seconds that a connection is remembered at most after its last frame, and some.
const REMEMBERED: u32 = 130;

/// Frames that were offered, frames that did not come back, busy nanoseconds, seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    offered: u64,
    lost: u64,
    /// Found a full ring while the core was not slow.
    refused_calm: u64,
    returned: u64,
    busy: u64,
    /// Nanoseconds in which the core was slow.
    slow: u64,
    seconds: f64,
}

impl Sum {
    fn add(&mut self, window: &Window) -> (u64, u64) {
        let books = &window.books;
        let offered = books.sent + books.refused;
        let lost = offered.saturating_sub(books.returned);
        self.offered += offered;
        self.lost += lost;
        self.refused_calm += books.refused_calm;
        self.slow += window.turns.slow;
        self.returned += books.returned;
        self.busy += window.turns.busy;
        self.seconds += window.seconds;
        (offered, lost)
    }

    fn rate(&self) -> f64 {
        self.offered as f64 / self.seconds
    }

    /// Sums, and what an ideal worker would have made of the same load with these gaps.
    fn facts(&self, traces: &[Trace]) -> Value {
        let nanos = self.busy as f64 / self.returned as f64;
        let ideal = |trace| Offer::new(self.rate(), nanos, trace).ideal(trace).facts();
        json!({
            "offered": self.offered,
            "lost": self.lost,
            "refused_calm": self.refused_calm,
            "slow": self.slow as f64 / 1e9 / self.seconds,
            "seconds": self.seconds,
            "mean_mpps": self.rate() / 1e6,
            "nanos": nanos,
            "busy": self.busy as f64 / 1e9 / self.seconds,
            "ideal": traces.iter().map(ideal).collect::<Vec<_>>(),
        })
    }
}

fn flows(bench: &Bench) -> u64 {
    bench.director.stats[0].counters.flows.value()
}

/// `pace.pairs` windows of the director, each followed by one of the floor at its mean rate.
pub(crate) fn soak(pace: Pace) -> Result<Value, Failure> {
    // Connections whose last frames are lost end too, before the run does.
    let plan = Plan {
        key: "timeouts: {established: 20s, fin: 1s}",
        ..Plan::default()
    };
    let mut bench = Bench::start(&plan, 4 * pace.flows as usize)?;
    let watched = pace.window.min(WATCH_MAX);
    let mut traces = vec![bench.watch(watched)?];
    let servers = Servers::establish(&mut bench, pace.flows, 1);
    let acks = || Each::new(Segment::Ack, pace.flows, 1);
    let mut both = Both(acks(), Connections::new(CHURN_BASE, 1), false);
    bench.flood(Lane::Director, WARM, &mut both, |_, _| {});
    let most = bench.flood(Lane::Director, 1.0, &mut both, |_, _| {});
    let mut load = Load::new(LOAD, most.rate());
    let (mut all, mut floors) = (Sum::default(), Sum::default());
    let (mut windows, mut moved) = (Vec::new(), 0);
    for _ in 0..pace.pairs {
        let window = bench.follow(pace.window, &mut load, &mut both, |seen, _| {
            moved += u64::from(servers.is_moved(seen.client, seen.server));
        });
        let (offered, lost) = all.add(&window);
        let (so_far, drops) = (flows(&bench), bench.drops());
        let rate = offered as f64 / window.seconds;
        let paced = (pace.window * FLOOR, rate);
        let floor = bench.pace(Lane::Floor, paced, &mut acks(), |_, _| {});
        floors.add(&floor);
        windows.push(json!({
            "director": window.facts(), "floor": floor.facts(), "offered": offered, "lost": lost,
            "rate_mpps": rate / 1e6, "rates_mpps": load.tell(), "flows": so_far, "drops": drops,
        }));
    }
    let (drops, connections) = (bench.drops(), both.1.begun());
    let broken = servers.broken(&mut bench, 1);
    traces.push(bench.watch(watched)?);
    // What has ended is forgotten within a second, what lost a frame within 2 minutes.
    let (mut rounds, mut acks) = (0..REMEMBERED, acks());
    while flows(&bench) != u64::from(pace.flows) && rounds.next().is_some() {
        bench.pace(Lane::Director, (1.0, 1e6), &mut acks, |_, _| {});
    }
    Ok(json!({
        "most": most.facts(),
        "director": all.facts(&traces),
        "floor": floors.facts(&traces),
        "readings": load.readings().0,
        "readings_clean": load.readings().1,
        "machine": traces.iter().map(Trace::facts).collect::<Vec<_>>(),
        "windows": windows,
        "moved": moved,
        "broken": broken,
        "drops": drops,
        "connections": connections,
        "flows": pace.flows,
        "flows_after": flows(&bench),
        "imbalance": bench.director.stats[0].counters.imbalance(),
        "mbufs_leaked": bench.mbufs_leaked(),
        "memory": bench.rings.memory(),
    }))
}
