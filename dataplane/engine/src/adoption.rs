//! How far an engine has prepared for new tables: a few slots per loop, so that a reload of all
//! services and servers there can be never holds a burst up.

use core::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Server slots looked at in a loop: 64 lines one after the other, most of them as they were.
const SERVERS_PER_LOOP: usize = 64;
/// Service slots looked at in a loop. Each is a walk to its name, three lines anywhere: 1 to 2 µs.
const SERVICES_PER_LOOP: usize = 8;

/// The owner of a free slot.
const NOBODY: u64 = 0;

/// Slots of servers, and numbered slots of services.
type Next<'a, A, B> = (
    &'a [A],
    core::iter::Zip<core::ops::RangeFrom<usize>, core::slice::Iter<'a, B>>,
);

/// How far it is.
#[derive(Debug)]
pub(crate) struct Adoption {
    servers_seen: usize,
    services_seen: usize,
    done: bool,
    /// By service slot: a digest of the name of the service that is counted.
    owners: Box<[u64]>,
    /// By service slot: the last adoption by which its owner was known to be right.
    settled: Box<[u32]>,
    /// Number of the adoption in progress, or done. Wraps; tables come once a second at most.
    number: u32,
}

impl Adoption {
    /// Nothing to do, and room for so many services.
    pub(crate) fn new(services: usize) -> Self {
        Self {
            servers_seen: 0,
            services_seen: 0,
            done: true,
            owners: vec![NOBODY; services].into(),
            settled: vec![0; services].into(),
            number: 0,
        }
    }

    /// New tables have come.
    pub(crate) const fn begin(&mut self) {
        (self.servers_seen, self.services_seen) = (0, 0);
        self.done = false;
        self.number = self.number.wrapping_add(1);
    }

    /// Looks at a service of tables that are still to come: most slots keep their owner.
    pub(crate) fn foresee(&mut self, slot: usize, name: Option<&str>) {
        if self.owners.get(slot) == Some(&digest(name))
            && let Some(settled) = self.settled.get_mut(slot)
        {
            *settled = self.number.wrapping_add(1);
        }
    }

    /// Whether a service slot has its owner under the present tables.
    #[inline]
    pub(crate) fn is_settled(&self, slot: usize) -> bool {
        self.settled.get(slot) == Some(&self.number)
    }

    /// Whether all slots of the present tables have been seen.
    #[inline]
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// The next slots of servers and of services; none of either when all have been seen.
    pub(crate) fn next<'a, A, B>(&mut self, servers: &'a [A], services: &'a [B]) -> Next<'a, A, B> {
        let servers = next(&mut self.servers_seen, servers, SERVERS_PER_LOOP);
        let first = self.services_seen;
        let services = next(&mut self.services_seen, services, SERVICES_PER_LOOP);
        self.done = servers.is_empty() && services.is_empty();
        (servers, (first..).zip(services))
    }

    /// Notes who owns a service slot now. Returns whether it got another owner.
    pub(crate) fn changes_hands(&mut self, slot: usize, name: Option<&str>) -> bool {
        let (Some(owner), Some(settled)) = (self.owners.get_mut(slot), self.settled.get_mut(slot))
        else {
            return false;
        };
        // Of tables still to come nothing is foreseen any more.
        *settled = self.number;
        let digest = digest(name);
        core::mem::replace(owner, digest) != digest && name.is_some()
    }
}

fn digest(name: Option<&str>) -> u64 {
    name.map_or(NOBODY, |name| {
        // Not against anybody: it tells a name from the one before.
        let mut hasher = SipHasher13::new();
        hasher.write(name.as_bytes());
        hasher.finish()
    })
}

fn next<'a, T>(seen: &mut usize, all: &'a [T], count: usize) -> &'a [T] {
    let rest = all.get(*seen..).unwrap_or_default();
    let next = &rest[..count.min(rest.len())];
    *seen += next.len();
    next
}
