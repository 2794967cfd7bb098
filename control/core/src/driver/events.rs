//! What operators' tools want to hear of at once: changes of role, health, links and configuration.
//!
//! The control thread tells and goes on: a full queue loses the event, never time. Numbers go on
//! counting then, so that whoever listens sees the gap.

use std::time::SystemTime;

use tokio::sync::mpsc;
use weir_engine::limits::TokenBucket;
use weir_engine::time::Time;

use crate::suppression::Leak;
use crate::vrrp::machine::State;

/// Events on their way to the management thread, 64 KiB or so. It takes them as fast as it runs.
const EVENTS_QUEUED_MAX: usize = 512;
/// New leaks told in a second, and at once: a flood of claims by invented MACs must not push
/// everything else out of memory.
const LEAKS_PER_SECOND: u32 = 1;
const LEAKS_AT_ONCE: u32 = 32;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// 1 is the first since start. A number that is missing was lost.
    pub sequence: u64,
    /// When, by the wall clock: for people, nothing is timed by it.
    pub time: SystemTime,
    /// What.
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A VRRP instance changed its state.
    Vrrp {
        /// Its name.
        instance: String,
        /// What it was.
        from: State,
        /// What it is.
        to: State,
        /// What led to it.
        why: String,
    },
    /// A server went up or down by health.
    Server {
        /// Its service.
        service: String,
        /// Its name.
        server: String,
        /// What it is now.
        up: bool,
        /// The result that decided.
        reason: String,
    },
    /// A service lost its quorum, or found it again.
    Quorum {
        /// Its name.
        service: String,
        /// Whether it has it now.
        met: bool,
        /// Sum of the weights of its usable servers.
        weight: u32,
    },
    /// A port's link went up or down.
    Link {
        /// Its name.
        port: String,
        /// What it is now.
        up: bool,
    },
    /// A host that claims a VIP without right was found.
    Leak {
        /// The port it was heard on.
        port: String,
        /// Who, what and how.
        leak: Leak,
    },
    /// A configuration was accepted and is run.
    Applied {
        /// Its number, 1 for the one of the start.
        revision: u64,
        /// Its size, and the warnings.
        text: String,
    },
    /// A configuration was refused; the former one is run on.
    Refused {
        /// Every mistake in it, or what else spoke against it.
        text: String,
    },
}

/// What the control thread tells, for the management thread.
pub type Events = mpsc::Receiver<Event>;

/// The control thread's end.
#[derive(Debug)]
pub(super) struct Teller {
    queue: mpsc::Sender<Event>,
    sequence: u64,
    leaks: TokenBucket,
}

impl Teller {
    /// Both ends.
    pub(super) fn new() -> (Self, Events) {
        let (queue, events) = mpsc::channel(EVENTS_QUEUED_MAX);
        let teller = Self {
            queue,
            sequence: 0,
            leaks: TokenBucket::new(LEAKS_PER_SECOND, LEAKS_AT_ONCE),
        };
        (teller, events)
    }

    /// Tells, without waiting for anybody.
    pub(super) fn tell(&mut self, what: Happening) {
        #[expect(
            clippy::disallowed_methods,
            reason = "a date for people, no timing depends on it"
        )]
        let time = SystemTime::now();
        self.sequence += 1;
        let event = Event {
            sequence: self.sequence,
            time,
            what,
        };
        // Full, or nobody listens: the gap in the numbers says so to whoever comes later.
        let _ = self.queue.try_send(event);
    }

    /// Tells of a leak if it is a new one.
    pub(super) fn tell_leak(&mut self, now: Time, port: &str, leak: &Leak) {
        if leak.count == 1 && self.leaks.take(now) {
            self.tell(Happening::Leak {
                port: port.into(),
                leak: leak.clone(),
            });
        }
    }
}

impl Happening {
    /// The kind, as the event stream names it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Vrrp { .. } => "vrrp",
            Self::Server { .. } => "server",
            Self::Quorum { .. } => "quorum",
            Self::Link { .. } => "link",
            Self::Leak { .. } => "leak",
            Self::Applied { .. } | Self::Refused { .. } => "config",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use weir_engine::id::PortId;
    use weir_wire::addr::MacAddr;

    use crate::responder::Claim;

    fn link(n: usize) -> Happening {
        Happening::Link {
            port: format!("p{n}"),
            up: true,
        }
    }

    #[test]
    fn a_full_queue_loses_events_and_shows_the_gap() {
        let (mut teller, mut events) = Teller::new();
        for n in 0..EVENTS_QUEUED_MAX + 3 {
            teller.tell(link(n));
        }
        let first = events.try_recv().unwrap();
        assert_eq!((first.sequence, first.what), (1, link(0)));
        teller.tell(link(9));
        let last = std::iter::from_fn(|| events.try_recv().ok()).last();
        let sequence = EVENTS_QUEUED_MAX as u64 + 4;
        assert_eq!(last.unwrap().sequence, sequence, "three were lost before");
    }

    #[test]
    fn a_flood_of_leaks_tells_of_some_and_of_each_once() {
        let (mut teller, mut events) = Teller::new();
        let leak = |count| Leak {
            vip: IpAddr::from([192, 0, 2, 10]),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            port: PortId(0),
            server: None,
            how: Claim::ArpAnswer,
            first: Time::ZERO,
            last: Time::ZERO,
            count,
        };
        for n in 0..1000 {
            teller.tell_leak(Time::ZERO + Duration::from_millis(n), "p0", &leak(1));
        }
        let told = std::iter::from_fn(|| events.try_recv().ok()).count();
        assert_eq!(told, LEAKS_AT_ONCE as usize);
        teller.tell_leak(Time::ZERO + Duration::from_secs(60), "p0", &leak(2));
        assert!(events.try_recv().is_err(), "it is known already");
    }
}
