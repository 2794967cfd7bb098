//! When each server is probed next, and how late that was.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_engine::tables::Map;
use weir_engine::time::Time;

use super::{CheckId, PROBES_MAX};
use crate::health::histogram::Histogram;

/// First probes of new servers are spread over so long and a little more for each of them, or one
/// interval if that is shorter (F22).
const FIRST_SPREAD: Duration = Duration::from_millis(300);
const FIRST_SPREAD_EACH: Duration = Duration::from_micros(100);

/// When each server is probed next.
#[derive(Debug)]
pub(super) struct Schedule {
    due: BTreeSet<(Time, CheckId)>,
    /// The same by server; none while a probe is in flight.
    by_id: Map<CheckId, Time>,
    in_flight: usize,
    /// How long after they were due probes started.
    pub(super) lateness: Histogram,
    random: u64,
}

impl Schedule {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            due: BTreeSet::new(),
            by_id: Map::default(),
            in_flight: 0,
            lateness: Histogram::default(),
            random: seed | 1, // xorshift has a fixed point at 0
        }
    }

    /// Schedules the first probe of a server, one of `count` that are new.
    pub(super) fn begin(&mut self, now: Time, id: CheckId, interval: Duration, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let spread = FIRST_SPREAD + FIRST_SPREAD_EACH * count;
        let due = now + self.fraction(spread.min(interval));
        self.put(id, due);
    }

    fn put(&mut self, id: CheckId, due: Time) {
        self.by_id.insert(id, due);
        self.due.insert((due, id));
    }

    /// Probes a server at `latest`, if not before.
    pub(super) fn bring_forward(&mut self, id: CheckId, latest: Time) {
        if let Some(due) = self.by_id.get(&id).copied().filter(|due| *due > latest) {
            self.due.remove(&(due, id));
            self.put(id, latest);
        }
    }

    /// Forgets a server. A probe in flight must end all the same.
    pub(super) fn forget(&mut self, id: CheckId) {
        if let Some(due) = self.by_id.remove(&id) {
            self.due.remove(&(due, id));
        }
    }

    /// The next server that is due, and since when; its probe is in flight from here on.
    pub(super) fn next(&mut self, now: Time) -> Option<(Time, CheckId)> {
        let (due, id) = self.due.first().copied()?;
        if due > now || self.in_flight >= PROBES_MAX {
            return None;
        }
        self.due.pop_first();
        self.by_id.remove(&id);
        self.in_flight += 1;
        Some((due, id))
    }

    /// A probe has ended. Unless the server is gone, its next one is due after `period` from the
    /// last one's start, varied by `jitter` percent.
    pub(super) fn end(&mut self, next: Option<(CheckId, Time, Time, Duration, u8)>) {
        self.in_flight -= 1;
        if let Some((id, now, started, period, jitter)) = next {
            let early = period * u32::from(jitter) / 100;
            let due = started + (period - early) + self.fraction(early * 2);
            self.put(id, due.max(now));
        }
    }

    /// When the next probe is due; `None` while too many are in flight.
    pub(super) fn deadline(&self) -> Option<Time> {
        let next = self.due.first().map(|(due, _)| *due);
        next.filter(|_| self.in_flight < PROBES_MAX)
    }

    /// A random part of `whole`: xorshift64, good enough to spread probes.
    fn fraction(&mut self, whole: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = u32::try_from(self.random >> 44).unwrap_or(0); // 20 bits
        whole * (part >> 10) / 1024
    }
}
