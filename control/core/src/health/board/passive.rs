//! Passive checks: how clients' flows fare says whether a server is well.
//!
//! A server stands out only against its peers. When all of a service's servers lose flows alike,
//! it is a flood of SYNs or the way back to clients, and says nothing about any of them; and who
//! has no peers is left alone, for taking out the only server helps nobody.

use std::sync::Arc;

use weir_engine::counters::Outcomes;
use weir_engine::time::Time;

use super::{Board, Change, CheckId, Name};
use crate::config::{HealthCheck, Passive, Probe};
use crate::health::machine::{Finding, Outcome, State};

/// Services that are judged in one step: some 100 µs of work, if each has some ten servers.
const SERVICES_PER_STEP: usize = 4;

/// Servers of one service that are watched.
#[derive(Debug)]
pub(super) struct Watched {
    due: Time,
    check: Arc<HealthCheck>,
    servers: Vec<CheckId>,
}

/// What became of one server's flows over an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flows {
    /// As many as say something: new ones, or more if more were lost of those before.
    count: u64,
    /// Timed out or were refused before they were established.
    lost: u64,
}

impl Flows {
    fn between(before: Outcomes, after: Outcomes) -> Self {
        let since = |after: u64, before: u64| after.saturating_sub(before);
        let lost = since(after.unanswered, before.unanswered) + since(after.reset, before.reset);
        Self {
            count: since(after.connections, before.connections).max(lost),
            lost,
        }
    }
}

impl Board {
    /// Counts a server among those that are watched, and keeps when they are judged next.
    pub(super) fn begin_watch(&mut self, now: Time, id: CheckId) {
        let Some(checked) = self.checks.get(&id) else {
            return;
        };
        if !matches!(checked.check.probe, Probe::Passive(_)) {
            return;
        }
        let due = now + checked.check.interval;
        let service = self
            .watched
            .entry(checked.name.0.clone())
            .or_insert_with(|| Watched {
                due,
                check: checked.check.clone(),
                servers: Vec::new(),
            });
        service.check = checked.check.clone();
        service.servers.push(id);
        let due = service.due;
        self.watch_due = Some(self.watch_due.map_or(due, |at| at.min(due)));
    }

    /// Watches a server no more.
    pub(super) fn end_watch(&mut self, id: CheckId) {
        let Some(checked) = self.checks.get(&id) else {
            return;
        };
        if let Some(service) = self.watched.get_mut(&checked.name.0) {
            service.servers.retain(|other| *other != id);
            if service.servers.is_empty() {
                self.watched.remove(&checked.name.0);
            }
        }
    }

    /// When [`Self::watch`] has something to do.
    pub(super) fn watch_deadline(&self) -> Option<Time> {
        self.watch_due
    }

    /// Judges some of the servers that are due by what became of their flows; `outcomes` tells the
    /// sums of one server, by the names of its service and itself.
    pub fn watch(
        &mut self,
        now: Time,
        outcomes: &mut dyn FnMut(&Name) -> Option<Outcomes>,
        out: &mut Vec<Change>,
    ) {
        if self.watch_due.is_none_or(|at| now < at) {
            return;
        }
        let due = self.watched.values_mut().filter(|s| s.due <= now);
        let due = due.take(SERVICES_PER_STEP);
        let mut judged = Vec::new();
        for service in due {
            service.due = now + service.check.interval;
            let Probe::Passive(rule) = service.check.probe else {
                continue;
            };
            judged.push((rule, service.servers.clone()));
        }
        self.watch_due = self.watched.values().map(|service| service.due).min();
        for (rule, servers) in judged {
            let flows: Vec<Flows> = servers
                .iter()
                .map(|id| self.since_last(*id, outcomes))
                .collect();
            let all = flows.iter().fold(Flows::default(), |sum, one| Flows {
                count: sum.count + one.count,
                lost: sum.lost + one.lost,
            });
            for (id, own) in servers.into_iter().zip(flows) {
                let peers = Flows {
                    count: all.count - own.count,
                    lost: all.lost - own.lost,
                };
                self.judge_flows(now, id, rule, (own, peers), out);
            }
        }
    }

    fn since_last(
        &mut self,
        id: CheckId,
        outcomes: &mut dyn FnMut(&Name) -> Option<Outcomes>,
    ) -> Flows {
        let Some(checked) = self.checks.get_mut(&id) else {
            return Flows::default();
        };
        let after = outcomes(&checked.name).unwrap_or_default();
        // What was before the first look is not this interval's.
        let before = checked.flows.replace(after).unwrap_or(after);
        Flows::between(before, after)
    }

    fn judge_flows(
        &mut self,
        now: Time,
        id: CheckId,
        rule: Passive,
        (own, peers): (Flows, Flows),
        out: &mut Vec<Change>,
    ) {
        let Some(checked) = self.checks.get_mut(&id) else {
            return;
        };
        let down_for = now.since(checked.machine.since());
        let found = match checked.machine.state() {
            // Without new flows nothing is learned, so it is let in again after a while.
            State::Down if down_for < rule.hold => None,
            State::Down => Some((Finding::Pass, "tried again".to_owned())),
            State::Up | State::Unknown => judge(rule, own, peers),
        };
        if let Some((finding, reason)) = found {
            let outcome = Outcome {
                finding,
                ..Outcome::local(reason)
            };
            self.take(now, id, outcome, out);
        }
    }
}

/// What an interval's flows say, if anything.
fn judge(rule: Passive, own: Flows, peers: Flows) -> Option<(Finding, String)> {
    if own.count < u64::from(rule.flows) {
        return None;
    }
    let share = |flows: Flows| flows.lost * 100 / flows.count.max(1);
    let text = format!("{} of {} new flows came to nothing", own.lost, own.count);
    if share(own) < u64::from(rule.share) {
        return Some((Finding::Pass, text));
    }
    if peers.count < u64::from(rule.flows) {
        return Some((Finding::Local, format!("{text}; no peer to compare with")));
    }
    let theirs = share(peers);
    if theirs * 2 > share(own) {
        let text = format!("{text}; {theirs} % of its peers' too: a flood, or the way back");
        return Some((Finding::Local, text));
    }
    Some((Finding::Fail, format!("{text}; {theirs} % of its peers'")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Initial;
    use crate::health::board::tests::configure;
    use crate::overlay::Overlay;
    use crate::testing::{check, config_with, web};
    use weir_engine::tables::Map;

    const RULE: Passive = Passive {
        share: 50,
        flows: 20,
        hold: Duration::from_secs(30),
    };

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    /// A board that watches three servers, and what their flows came to so far.
    struct Scene {
        board: Board,
        sums: Map<Arc<str>, Outcomes>,
        now: u64,
    }

    impl Scene {
        fn new() -> Self {
            let mut service = web(crate::config::Mode::Dr, 3);
            service.health = Some(Arc::new(HealthCheck {
                probe: Probe::Passive(RULE),
                initial: Initial::Up,
                fall: 2,
                rise: 1,
                ..check()
            }));
            let mut board = Board::new(1);
            configure(
                &mut board,
                at(0),
                &config_with(vec![service]),
                &Overlay::default(),
            );
            Self {
                board,
                sums: Map::default(),
                now: 0,
            }
        }

        /// A second in which each server gets `new` flows and loses so many.
        fn second(&mut self, new: u64, lost: [u64; 3]) -> Vec<Change> {
            self.now += 1;
            for (name, lost) in ["web1", "web2", "web3"].into_iter().zip(lost) {
                let sum = self.sums.entry(name.into()).or_default();
                sum.connections += new;
                sum.unanswered += lost;
            }
            let mut changes = Vec::new();
            let sums = &self.sums;
            let mut tell = |name: &Name| sums.get(&name.1).copied();
            self.board.watch(at(self.now), &mut tell, &mut changes);
            changes
        }
    }

    #[test]
    fn a_server_that_loses_flows_unlike_its_peers_goes_down_and_is_tried_again() {
        let mut scene = Scene::new();
        assert!(scene.board.verdicts().is_up("web", "web2"));
        for _ in 0..5 {
            assert_eq!(scene.second(40, [0, 1, 0]), []);
        }
        assert_eq!(scene.second(40, [0, 30, 1]), []);
        let changes = scene.second(40, [0, 30, 1]);
        assert_eq!((changes.len(), changes[0].up), (1, false));
        assert_eq!(&*changes[0].server, "web2");
        let since = scene.now;
        let back = loop {
            if let [change] = &scene.second(40, [0, 0, 0])[..] {
                break change.clone();
            }
        };
        assert_eq!((back.up, scene.now), (true, since + 30));
    }

    #[test]
    fn a_flood_that_makes_all_look_dead_takes_nobody_out() {
        let mut scene = Scene::new();
        for _ in 0..10 {
            assert_eq!(scene.second(100, [90, 95, 85]), []);
        }
    }

    #[test]
    fn few_flows_and_flows_of_before_the_first_look_say_nothing() {
        let mut scene = Scene::new();
        scene.sums.insert(
            "web1".into(),
            Outcomes {
                connections: 1_000,
                unanswered: 1_000,
                reset: 0,
            },
        );
        for _ in 0..10 {
            assert_eq!(scene.second(19, [19, 0, 0]), []);
        }
    }

    #[test]
    fn the_only_server_is_left_alone() {
        let own = Flows {
            count: 100,
            lost: 100,
        };
        let found = judge(RULE, own, Flows::default()).expect("enough flows");
        assert_eq!(found.0, Finding::Local);
    }
}
