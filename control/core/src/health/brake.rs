//! The brake: when most servers of a check fall silent at once, the fault is probably on the way
//! to them, and the last good state is kept (F13).
//!
//! Only silence counts. A server that refuses or answers wrongly has been reached, and goes down
//! in whatever company. Sans-I/O: one [`Group`] for the servers of one check.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use weir_engine::time::Time;

use super::board::CheckId;
use crate::config::{Brake, HealthCheck};

/// The servers of one check.
#[derive(Debug, Default)]
pub struct Group {
    /// How many are up by their own results.
    up: usize,
    /// Who fell silent of late.
    falls: VecDeque<(Time, CheckId)>,
    hold: Option<Hold>,
}

/// Servers that are kept up.
#[derive(Debug)]
struct Hold {
    servers: BTreeSet<CheckId>,
    /// How many there were at most.
    most: usize,
    since: Time,
    until: Time,
}

impl Group {
    /// A server came up, or is new and up.
    ///
    /// `Some`: the brake lets go of these.
    pub fn rose(&mut self, id: CheckId) -> Option<BTreeSet<CheckId>> {
        self.up += 1;
        let hold = self.hold.as_mut()?;
        hold.servers.remove(&id);
        // Half of them answer again, so the way is clear: the others are down by themselves.
        if hold.servers.len() * 2 <= hold.most {
            return self.release();
        }
        None
    }

    /// A server fell. `Some`: all of these are kept up from now on.
    pub fn fell(
        &mut self,
        now: Time,
        id: CheckId,
        silent: bool,
        check: &HealthCheck,
    ) -> Option<BTreeSet<CheckId>> {
        self.up -= 1;
        let rule = check.brake.filter(|_| silent)?;
        if let Some(hold) = &mut self.hold {
            hold.servers.insert(id);
            hold.most = hold.most.max(hold.servers.len());
            return Some(BTreeSet::from([id]));
        }
        let window = window(check);
        while self
            .falls
            .front()
            .is_some_and(|(at, _)| now.since(*at) > window)
        {
            self.falls.pop_front();
        }
        self.falls.push_back((now, id));
        if !self.is_mass(rule) {
            return None;
        }
        let servers: BTreeSet<CheckId> = self.falls.drain(..).map(|(_, id)| id).collect();
        self.hold = Some(Hold {
            most: servers.len(),
            servers: servers.clone(),
            since: now,
            until: now + rule.hold,
        });
        Some(servers)
    }

    fn is_mass(&self, rule: Brake) -> bool {
        let fallen = self.falls.len();
        fallen >= usize::from(rule.servers)
            && fallen * 100 >= usize::from(rule.share) * (self.up + fallen)
    }

    /// A held server answered, wrongly: it was reached, and is down. Whether it was held.
    pub fn reached(&mut self, id: CheckId) -> bool {
        let hold = self.hold.as_mut();
        let held = hold.is_some_and(|hold| hold.servers.remove(&id));
        self.hold = self.hold.take().filter(|hold| !hold.servers.is_empty());
        held
    }

    /// A server is checked no more.
    pub fn forget(&mut self, id: CheckId, was_up: bool) {
        self.up -= usize::from(was_up);
        self.falls.retain(|(_, fallen)| *fallen != id);
        self.reached(id);
    }

    /// Lets go of everybody whose time is over.
    pub fn expire(&mut self, now: Time) -> Option<BTreeSet<CheckId>> {
        let over = self.hold.as_ref().is_some_and(|hold| hold.until <= now);
        if over { self.release() } else { None }
    }

    fn release(&mut self) -> Option<BTreeSet<CheckId>> {
        self.hold.take().map(|hold| hold.servers)
    }

    /// Whether a server is kept up.
    pub fn is_held(&self, id: CheckId) -> bool {
        let hold = self.hold.as_ref();
        hold.is_some_and(|hold| hold.servers.contains(&id))
    }

    /// How many are kept up, since when and until when at most.
    pub fn holding(&self) -> Option<(usize, Time, Time)> {
        let hold = self.hold.as_ref()?;
        Some((hold.servers.len(), hold.since, hold.until))
    }
}

/// How far apart the last failures of servers come that fall silent at the same moment: each is
/// somewhere in its own, jittered interval.
fn window(check: &HealthCheck) -> Duration {
    check.interval * 3 / 2 + check.timeout
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    fn ids(range: std::ops::Range<u64>) -> BTreeSet<CheckId> {
        range.map(CheckId::new).collect()
    }

    /// A group of `count` servers that are up.
    fn group(count: u64) -> Group {
        let mut group = Group::default();
        for id in ids(0..count) {
            assert_eq!(group.rose(id), None);
        }
        group
    }

    fn rule(share: u8, servers: u16) -> HealthCheck {
        HealthCheck {
            brake: Some(Brake {
                share,
                servers,
                hold: Duration::from_secs(60),
            }),
            ..check()
        }
    }

    /// All of `range` fall at `now`; returns who is held in the end.
    fn fall(group: &mut Group, now: Time, range: std::ops::Range<u64>, silent: bool) -> usize {
        for id in ids(range) {
            let _ = group.fell(now, id, silent, &rule(100, 4));
        }
        group.holding().map_or(0, |(count, ..)| count)
    }

    #[test]
    fn f13_servers_that_all_fall_silent_at_once_are_kept_up() {
        let mut group = group(10);
        assert_eq!(fall(&mut group, at(0), 0..9, true), 0);
        assert_eq!(fall(&mut group, at(500), 9..10, true), 10);
        assert!(group.is_held(CheckId::new(0)));
    }

    #[test]
    fn servers_that_answer_wrongly_go_down_in_any_number() {
        let mut group = group(10);
        assert_eq!(fall(&mut group, at(0), 0..10, false), 0);
    }

    #[test]
    fn one_after_the_other_is_no_mass_failure_and_few_servers_neither() {
        let mut slow = group(10);
        for id in 0..10 {
            assert_eq!(fall(&mut slow, at(id * 10_000), id..id + 1, true), 0);
        }
        let mut few = group(3);
        assert_eq!(fall(&mut few, at(0), 0..3, true), 0);
    }

    #[test]
    fn a_share_below_all_is_enough_if_the_rule_says_so() {
        let mut group = group(10);
        for id in ids(0..7) {
            assert_eq!(group.fell(at(0), id, true, &rule(80, 4)), None);
        }
        let held = group.fell(at(1), CheckId::new(7), true, &rule(80, 4));
        assert_eq!(held, Some(ids(0..8)));
    }

    #[test]
    fn it_lets_go_when_half_answer_again_or_the_time_is_over_and_one_by_one_of_those_reached() {
        let mut group = group(4);
        fall(&mut group, at(0), 0..4, true);
        assert!(group.reached(CheckId::new(0)) && !group.is_held(CheckId::new(0)));
        assert_eq!(group.rose(CheckId::new(1)), Some(ids(2..4)));
        assert_eq!(group.holding(), None);
        let mut late = self::group(4);
        fall(&mut late, at(0), 0..4, true);
        assert_eq!(late.expire(at(59_999)), None);
        assert_eq!(late.expire(at(60_000)), Some(ids(0..4)));
    }

    #[test]
    fn a_server_that_is_checked_no_more_is_forgotten() {
        let mut group = group(5);
        fall(&mut group, at(0), 0..4, true);
        group.forget(CheckId::new(3), false);
        // Its fall does not count any more: four of five are left, and only three fell.
        assert_eq!(fall(&mut group, at(1), 4..5, true), 4);
        group.forget(CheckId::new(4), false);
        assert!(!group.is_held(CheckId::new(4)));
    }
}
