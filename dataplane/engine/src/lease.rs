//! The lease that joins a VRRP role and the packet path.
//!
//! A VIP of a VRRP instance is served while the instance's lease is held. The control thread
//! renews it with every advert that it sends; a control thread that stalls or dies, or a machine
//! that was paused, lets it run out before any other director may take over (V45). Taking over
//! and stepping back are one store each, so no tables need be built for a change of role
//! (docs/adr/0006).
//!
//! Leases outlive the tables: every generation points to the same ones. One thread writes; workers
//! read a cache line that changes once per advert.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::time::Time;

/// Leases, and so VRRP instances. 2^9 cache lines: 32 KiB; see docs/LIMITS.md.
pub const LEASES_MAX: usize = 1 << 9;

/// A VRRP instance's slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct LeaseId(pub u16);

/// One lease, alone in its cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lease {
    /// Nanoseconds of the workers' clock up to which it is held; 0 is not held.
    until: AtomicU64,
    /// Since when it has been held without a gap.
    since: AtomicU64,
}

/// All leases, on the workers' clock.
#[derive(Debug)]
pub struct Leases(Box<[Lease]>);

impl Default for Leases {
    /// None is held.
    fn default() -> Self {
        Self((0..LEASES_MAX).map(|_| Lease::default()).collect())
    }
}

impl Leases {
    /// Holds a lease up to `until`, from `now` on. Only the control thread may call this.
    pub fn renew(&self, id: LeaseId, now: Time, until: Time) {
        let Some(lease) = self.0.get(usize::from(id.0)) else {
            return;
        };
        if !self.is_held(id, now) {
            lease.since.store(now.as_nanos(), Ordering::Relaxed);
        }
        // Release: who sees that it is held sees since when.
        lease.until.store(until.as_nanos(), Ordering::Release);
    }

    /// Gives a lease up at once. Only the control thread may call this.
    pub fn release(&self, id: LeaseId) {
        if let Some(lease) = self.0.get(usize::from(id.0)) {
            lease.until.store(0, Ordering::Release);
        }
    }

    /// Whether a lease is held at `now`.
    #[inline]
    pub fn is_held(&self, id: LeaseId, now: Time) -> bool {
        self.0
            .get(usize::from(id.0))
            .is_some_and(|lease| now.as_nanos() < lease.until.load(Ordering::Acquire))
    }

    /// Since when a lease has been held, if it is held at `now`.
    pub fn held_since(&self, id: LeaseId, now: Time) -> Option<Time> {
        let lease = self.0.get(usize::from(id.0))?;
        self.is_held(id, now)
            .then(|| Time::from_nanos(lease.since.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LeaseId = LeaseId(3);

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn v45_a_lease_runs_out_by_itself() {
        let leases = Leases::default();
        assert!(!leases.is_held(ID, at(0)));
        leases.renew(ID, at(10), at(40));
        assert!(leases.is_held(ID, at(39)));
        assert!(!leases.is_held(LeaseId(2), at(39)));
        assert!(!leases.is_held(ID, at(40)));
    }

    #[test]
    fn it_is_held_since_the_first_renewal_after_a_gap() {
        let leases = Leases::default();
        leases.renew(ID, at(10), at(40));
        leases.renew(ID, at(20), at(50));
        assert_eq!(leases.held_since(ID, at(49)), Some(at(10)));
        assert_eq!(leases.held_since(ID, at(50)), None);
        leases.renew(ID, at(60), at(90));
        assert_eq!(leases.held_since(ID, at(61)), Some(at(60)));
        leases.release(ID);
        assert_eq!(leases.held_since(ID, at(62)), None);
    }

    #[test]
    fn a_slot_that_does_not_exist_is_never_held() {
        let leases = Leases::default();
        let id = LeaseId(u16::MAX);
        leases.renew(id, at(0), at(10));
        assert!(!leases.is_held(id, at(1)));
    }
}
