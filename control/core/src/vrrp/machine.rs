//! The state machine of one VRRP instance (RFC 9568 §6, RFC 3768 §6).
//!
//! ```text
//!              start, 255                       start
//!         ┌─────────────────────── Init ───────────────────────┐
//!         ▼                        ▲ stop                      ▼
//!       Active ◄──────────── Active_Down ran out ──────────  Backup
//!         │  ─────── higher priority heard, or late ────────►  │
//!         └───────────► Fault ◄── something is not well ───────┘
//!                         └──────── well again: as at start
//! ```
//!
//! Sans-I/O: after each [`Machine::step`] carry out all of `out` in order, then come back at
//! [`Machine::deadline`] with [`Event::Expired`], or with the next event. Times are monotonic. What
//! is not in the RFCs: a delay before preempting, groups that move together, a router that was
//! woken late listens first (V40), one that resigned lets any other be Active, and one that yields
//! to a superior says so once.

use std::net::IpAddr;
use std::time::Duration;

use weir_engine::time::Time;

/// An Active does not answer inferior adverts more often: the shortest interval of version 3.
const REPLY_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// VIPs are announced again after a split at most so often.
const ANNOUNCE_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Base of the skew in version 2, whose intervals are whole seconds (RFC 3768 §6.1).
const SKEW_BASE_V2: Duration = Duration::from_secs(1);
/// The owner of the addresses (RFC 9568 §5.2.4).
pub const PRIORITY_OWNER: u8 = 255;
/// An Active that resigns.
pub const PRIORITY_RESIGN: u8 = 0;

/// Which protocol's rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// RFC 3768: intervals are configured alike, inferior adverts are ignored silently.
    V2,
    /// RFC 9568: the interval is learned, inferior adverts are answered.
    V3,
}

/// What the operator wants of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Protocol version.
    pub rules: Rules,
    /// 1 to 254, or 255 for the owner; tracking changes the effective one.
    pub priority: u8,
    /// Between own adverts.
    pub interval: Duration,
    /// Take over from a living Active of lower priority.
    pub preempt: bool,
    /// And so long after it was first heard.
    pub preempt_delay: Duration,
    /// Own address on the wire, which breaks ties.
    pub source: IpAddr,
    /// Others have to be able to be Active at the same time: ask before becoming so.
    pub grouped: bool,
}

/// Where an instance stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Not running: before start and after stop.
    #[default]
    Init,
    /// Another serves, or may.
    Backup,
    /// This one serves.
    Active,
    /// Something that it needs is not well.
    Fault,
}

impl State {
    /// As shown: `init`, `backup`, `active`, `fault`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Backup => "backup",
            Self::Active => "active",
            Self::Fault => "fault",
        }
    }
}

/// What happens to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It may run: everything it needs is well.
    Start,
    /// Something it needs is not well.
    Fault,
    /// It ends: by shutdown or configuration.
    Stop,
    /// The operator wants another to be Active.
    Resign,
    /// A valid advert came in.
    Heard(Heard),
    /// The deadline has passed.
    Expired,
    /// The effective priority changed.
    Priority(u8),
    /// The group it belongs to may become Active.
    Promote,
    /// The group it belongs to cannot stay Active.
    Demote,
}

/// What counts of an advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who sent it.
    pub source: IpAddr,
    /// 0 resigns.
    pub priority: u8,
    /// Its sender's interval.
    pub interval: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send an advert of this priority.
    Advert(u8),
    /// Announce the VIPs once more; on becoming Active that follows from the change.
    Announce,
    /// The state changed.
    Change {
        /// What it was.
        from: State,
        /// What it is.
        to: State,
        /// What led to it.
        why: Why,
    },
}

/// Why a state changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// It has started.
    #[default]
    Started,
    /// Nothing was heard of an Active in time.
    Silence,
    /// Another has the higher priority.
    Superior(Heard),
    /// Something it needs is not well.
    Fault,
    /// It was ended.
    Stopped,
    /// The operator asked for it.
    Resigned,
    /// It was woken too late to still be sure of its role (V40).
    Late,
    /// Its group moved.
    Group,
}

/// One instance; see the module's text.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Settings,
    /// Priority with what tracking adds.
    effective: u8,
    state: State,
    since: Time,
    why: Why,
    /// The Active's interval as learned (version 3), or one's own.
    active_interval: Duration,
    /// When the next advert is due (Active), or the Active is given up (Backup).
    timer: Option<Time>,
    /// When the last advert was sent; as Active only.
    sent: Time,
    announced: Time,
    /// An inferior Active was heard, and the VIPs were not announced since.
    owes_announcement: bool,
    /// From when on a living Active of lower priority is preempted.
    preempt_at: Option<Time>,
    /// After a resignation any Active is accepted, until none is heard.
    yields: bool,
    /// Nothing speaks against becoming Active but the group.
    wants: bool,
}

impl Machine {
    /// An instance that has not started.
    pub fn new(settings: Settings) -> Self {
        Self {
            effective: settings.priority,
            active_interval: settings.interval,
            settings,
            state: State::Init,
            since: Time::ZERO,
            why: Why::Started,
            timer: None,
            sent: Time::ZERO,
            announced: Time::ZERO,
            owes_announcement: false,
            preempt_at: None,
            yields: false,
            wants: false,
        }
    }

    /// Takes over changed settings; the role stays.
    pub fn configure(&mut self, settings: Settings) {
        if self.settings.interval != settings.interval && self.state != State::Backup {
            self.active_interval = settings.interval;
        }
        self.settings = settings;
    }

    /// Takes one event in; what follows is added to `out`.
    pub fn step(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        use State::{Active, Backup, Fault, Init};
        match (self.state, event) {
            (Init | Fault, Event::Start) => self.start(now, out),
            (Backup | Active, Event::Start) => {}

            (Active, Event::Fault) => self.leave(now, Fault, Why::Fault, out),
            (Init | Backup, Event::Fault) => self.turn(now, Fault, Why::Fault, out),
            (Fault, Event::Fault) => {}

            // RFC 9568 §6.4.3: an Active that ends says so, and the next takes over after its skew.
            (Active, Event::Stop) => self.leave(now, Init, Why::Stopped, out),
            (Backup | Fault, Event::Stop) => self.turn(now, Init, Why::Stopped, out),
            (Init, Event::Stop) => {}

            (Active, Event::Resign) => {
                self.yields = true;
                self.leave(now, Backup, Why::Resigned, out);
            }
            (Backup, Event::Resign) => self.yields = true,
            (Init | Fault, Event::Resign) => {}

            (Backup, Event::Heard(heard)) => self.heard_as_backup(now, heard),
            (Active, Event::Heard(heard)) => self.heard_as_active(now, heard, out),
            (Init | Fault, Event::Heard(_)) => {}

            (Backup, Event::Expired) => self.active_down(now, out),
            (Active, Event::Expired) => self.advert_due(now, out),
            (Init | Fault, Event::Expired) => {}

            (_, Event::Priority(priority)) => self.effective = priority,

            (Backup, Event::Promote) if self.wants => {
                self.turn(now, Active, Why::Silence, out);
            }
            (Init | Backup | Active | Fault, Event::Promote) => {}

            (Active, Event::Demote) => self.leave(now, Backup, Why::Group, out),
            (Init | Backup | Fault, Event::Demote) => {}
        }
    }

    /// When [`Event::Expired`] is due.
    pub fn deadline(&self) -> Option<Time> {
        self.timer
    }

    /// RFC 9568 §6.4.1: the owner is Active at once, all others listen first (V27).
    fn start(&mut self, now: Time, out: &mut Vec<Action>) {
        self.active_interval = self.settings.interval;
        let owner = self.effective == PRIORITY_OWNER && !self.yields;
        if owner && !self.settings.grouped {
            return self.turn(now, State::Active, Why::Started, out);
        }
        self.turn(now, State::Backup, Why::Started, out);
        self.wants = owner;
    }

    /// RFC 9568 §6.4.2.
    fn heard_as_backup(&mut self, now: Time, heard: Heard) {
        if heard.priority == PRIORITY_RESIGN {
            // The Active resigned: wait only the skew (V28).
            self.wants = false;
            self.timer = Some(now + self.skew());
        } else if self.accepts(now, heard.priority) {
            // V29: learn the interval, start the clock anew.
            self.wants = false;
            self.learn(heard.interval);
            self.timer = Some(now + self.down());
        }
        // V30: an inferior Active is discarded; the clock runs on.
    }

    /// Whether the sender of an advert of this priority stays the Active.
    fn accepts(&mut self, now: Time, priority: u8) -> bool {
        let preempts = self.settings.preempt || self.effective == PRIORITY_OWNER; // V37
        if self.yields || !preempts || priority >= self.effective {
            self.preempt_at = None;
            return true;
        }
        let delay = self.settings.preempt_delay;
        let at = *self.preempt_at.get_or_insert(now + delay);
        now < at
    }

    /// RFC 9568 §6.4.3.
    fn heard_as_active(&mut self, now: Time, heard: Heard, out: &mut Vec<Action>) {
        if heard.priority == PRIORITY_RESIGN {
            // V33. It was Active beside this one, and caches may still follow it.
            self.advertise(now, out);
            self.owes_announcement = true;
            self.announce(now, out);
        } else if heard.priority > self.effective
            || (heard.priority == self.effective && is_greater(heard.source, self.settings.source))
        {
            // V34. A last word first: the other must learn that there were two, because caches and
            // switches may follow this one, and only V35 makes it announce the VIPs again (V60).
            out.push(Action::Advert(self.effective));
            self.learn(heard.interval);
            self.turn(now, State::Backup, Why::Superior(heard), out);
        } else {
            // V35: the inferior one must learn of us, and so must its followers.
            let rested = now.since(self.sent) >= REPLY_INTERVAL_MIN;
            if self.settings.rules == Rules::V3 && rested {
                self.advertise(now, out);
            }
            self.owes_announcement = true;
            self.announce(now, out);
        }
    }

    /// The Active was not heard of for too long.
    fn active_down(&mut self, now: Time, out: &mut Vec<Action>) {
        let Some(due) = self.timer.filter(|due| *due <= now) else {
            return;
        };
        // V40: who slept over its own deadline may have slept over adverts too.
        let late = now.since(due) > self.active_interval.max(self.settings.interval);
        if late {
            self.timer = Some(now + self.active_interval + self.skew());
        } else if self.settings.grouped {
            self.wants = true;
            self.timer = None;
        } else {
            self.turn(now, State::Active, Why::Silence, out);
        }
    }

    /// The next own advert is due.
    fn advert_due(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.timer.is_none_or(|due| now < due) {
            return;
        }
        // V40: by now another may have taken over, so listen before claiming anything.
        if now.since(self.sent) >= self.settings.interval * 3 {
            self.active_interval = self.settings.interval;
            return self.turn(now, State::Backup, Why::Late, out);
        }
        self.advertise(now, out);
        self.announce(now, out);
    }

    /// Announces the VIPs again if that is owed and the last time is long enough ago.
    fn announce(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.owes_announcement && now.since(self.announced) >= ANNOUNCE_INTERVAL_MIN {
            (self.announced, self.owes_announcement) = (now, false);
            out.push(Action::Announce);
        }
    }

    fn advertise(&mut self, now: Time, out: &mut Vec<Action>) {
        out.push(Action::Advert(self.effective));
        self.sent = now;
        self.timer = Some(now + self.settings.interval);
    }

    /// Gives the role up and says so (V36).
    fn leave(&mut self, now: Time, to: State, why: Why, out: &mut Vec<Action>) {
        self.active_interval = self.settings.interval;
        self.turn(now, to, why, out);
        out.push(Action::Advert(PRIORITY_RESIGN));
    }

    fn turn(&mut self, now: Time, to: State, why: Why, out: &mut Vec<Action>) {
        let from = std::mem::replace(&mut self.state, to);
        (self.since, self.why) = (now, why);
        (self.wants, self.preempt_at) = (false, None);
        self.owes_announcement = false;
        match to {
            State::Active => {
                self.yields = false;
                self.announced = now;
                // V32: the advert goes first, so that rivals are silent before caches turn.
                self.advertise(now, out);
            }
            State::Backup => self.timer = Some(now + self.down()),
            State::Init | State::Fault => self.timer = None,
        }
        out.push(Action::Change { from, to, why });
    }

    fn learn(&mut self, interval: Duration) {
        if self.settings.rules == Rules::V3 {
            self.active_interval = interval;
        }
    }

    /// Skew_Time (RFC 9568 §6.1): the higher the priority, the shorter. In nanoseconds, because in
    /// whole centiseconds it would be 0 for short intervals (V38).
    pub fn skew(&self) -> Duration {
        let base = match self.settings.rules {
            Rules::V2 => SKEW_BASE_V2,
            Rules::V3 => self.active_interval,
        };
        base * (256 - u32::from(self.effective)) / 256
    }

    /// Active_Down_Interval (RFC 9568 §6.1): three adverts plus skew. 3.609375 s at priority 100
    /// with adverts every second.
    pub fn down(&self) -> Duration {
        self.active_interval * 3 + self.skew()
    }

    /// Until when workers may serve, if this instance is Active: half an interval before the
    /// quickest other could take over (V45).
    pub fn lease(&self) -> Option<Time> {
        let span = self.settings.interval * 5 / 2;
        (self.state == State::Active).then(|| self.sent + span)
    }

    /// Where it stands, since when, and why.
    pub fn state(&self) -> (State, Time, Why) {
        (self.state, self.since, self.why)
    }

    /// Whether it is Active, or would be if its group were.
    pub fn is_willing(&self) -> bool {
        self.wants || self.state == State::Active
    }

    /// The priority that it advertises.
    pub fn priority(&self) -> u8 {
        self.effective
    }

    /// The interval that it reckons with as Backup.
    pub fn active_interval(&self) -> Duration {
        self.active_interval
    }

    /// What the operator wants of it.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Compares addresses as unsigned numbers in network order (V34).
fn is_greater(theirs: IpAddr, ours: IpAddr) -> bool {
    match (theirs, ours) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets() > b.octets(),
        (IpAddr::V6(a), IpAddr::V6(b)) => a.octets() > b.octets(),
        // An instance has one family; the parser lets no other in.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests;
