//! Segments of one or two learning switches, and everything that goes wrong on wires.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use weir_engine::time::Time;
use weir_wire::addr::MacAddr;

use super::random::Random;
use super::wire;

/// Octets on their way.
pub(super) type Frame = Rc<[u8]>;

/// Least time from a network card to a switch or back, and how much it varies.
const LATENCY: Duration = Duration::from_micros(20);
const JITTER: Duration = Duration::from_micros(60);
/// MACs that a switch remembers; a run has far fewer, so that more is a mistake of the run.
const FIB_MAX: usize = 256;

/// A port of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlet {
    /// To a network card.
    Nic(usize),
    /// To the segment's other switch.
    Trunk,
}

/// What happens to a frame later.
#[derive(Clone, Debug)]
pub(super) enum Arrival {
    /// It comes to a switch.
    Switch {
        segment: usize,
        switch: usize,
        from: Outlet,
        frame: Frame,
    },
    /// It comes to a network card.
    Nic { nic: usize, frame: Frame },
}

/// How bad a segment is, each in thousandths of frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    /// Frames may overtake each other.
    pub(super) rough: bool,
    pub(super) loss: u16,
    pub(super) duplicate: u16,
    /// Later than those behind them.
    pub(super) late: u16,
    /// By up to so much.
    pub(super) late_by: Duration,
}

/// A host's end of a wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nic {
    pub(super) segment: usize,
    pub(super) switch: usize,
    /// Nothing leaves, and nobody notices.
    pub(super) mute: bool,
    /// Nothing comes in, and nobody notices.
    pub(super) deaf: bool,
    /// Whether there is link, which its host sees.
    pub(super) link: bool,
}

/// One broadcast domain.
#[derive(Debug, Default)]
struct Segment {
    /// What each switch has learned.
    fibs: Vec<BTreeMap<MacAddr, Outlet>>,
    trunk: bool,
    weather: Weather,
}

/// All wires and switches.
#[derive(Debug, Default)]
pub(super) struct Network {
    segments: Vec<Segment>,
    pub(super) nics: Vec<Nic>,
}

impl Network {
    pub(super) fn new(switches: &[usize]) -> Self {
        let segment = |count: &usize| Segment {
            fibs: vec![BTreeMap::new(); *count],
            trunk: true,
            weather: Weather::default(),
        };
        Self {
            segments: switches.iter().map(segment).collect(),
            nics: Vec::new(),
        }
    }

    /// Connects one more network card. Returns its number.
    pub(super) fn connect(&mut self, segment: usize, switch: usize) -> usize {
        let switch = switch % self.segments[segment].fibs.len();
        self.nics.push(Nic {
            segment,
            switch,
            mute: false,
            deaf: false,
            link: true,
        });
        self.nics.len() - 1
    }

    pub(super) fn set_weather(&mut self, segment: usize, weather: Weather) {
        self.segments[segment].weather = weather;
    }

    pub(super) fn set_trunk(&mut self, segment: usize, up: bool) {
        self.segments[segment].trunk = up;
    }

    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Whether two cards of a segment hear each other; faults of the cards apart.
    pub(super) fn are_joined(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.nics[a], self.nics[b]);
        a.segment == b.segment && (a.switch == b.switch || self.segments[a.segment].trunk)
    }

    /// Whether what one card says surely comes to another of its segment.
    pub(super) fn hears(&self, from: usize, to: usize) -> bool {
        let (a, b) = (self.nics[from], self.nics[to]);
        let rough = self.segments[a.segment].weather.rough;
        self.are_joined(from, to) && !(rough || a.mute || b.deaf) && a.link && b.link
    }

    /// Whether everybody on a segment hears everybody.
    pub(super) fn is_fine(&self, segment: usize) -> bool {
        let whole = &self.segments[segment];
        let fine = |nic: &Nic| nic.segment != segment || (nic.link && !nic.mute && !nic.deaf);
        whole.trunk && !whole.weather.rough && self.nics.iter().all(fine)
    }

    /// Makes everything whole, but for the trunks.
    pub(super) fn mend(&mut self) {
        for segment in &mut self.segments {
            segment.weather = Weather::default();
        }
        for nic in &mut self.nics {
            (nic.mute, nic.deaf, nic.link) = (false, false, true);
        }
    }

    /// Takes link from a card: its switch forgets what it learned there.
    pub(super) fn set_link(&mut self, nic: usize, up: bool) {
        self.nics[nic].link = up;
        let Nic {
            segment, switch, ..
        } = self.nics[nic];
        if !up {
            self.segments[segment].fibs[switch].retain(|_, outlet| *outlet != Outlet::Nic(nic));
        }
    }

    /// The card that frames to `mac` come out at, as seen from another card.
    pub(super) fn leads_to(&self, from: usize, mac: MacAddr) -> Option<usize> {
        let Nic {
            segment, switch, ..
        } = self.nics[from];
        let fibs = &self.segments[segment].fibs;
        match fibs[switch].get(&mac)? {
            Outlet::Nic(nic) => Some(*nic),
            Outlet::Trunk => match fibs[1 - switch].get(&mac)? {
                Outlet::Nic(nic) => Some(*nic),
                Outlet::Trunk => None,
            },
        }
    }

    /// A card sends; what comes of it is added to `out`.
    pub(super) fn send(
        &self,
        now: Time,
        nic: usize,
        frame: Frame,
        random: &mut Random,
        out: &mut Vec<(Time, Arrival)>,
    ) {
        let Nic {
            segment,
            switch,
            mute,
            link,
            ..
        } = self.nics[nic];
        if mute || !link {
            return;
        }
        let arrival = Arrival::Switch {
            segment,
            switch,
            from: Outlet::Nic(nic),
            frame,
        };
        self.carry(now, segment, arrival, random, out);
    }

    /// A frame has come to a switch, which learns and passes it on.
    pub(super) fn switch(
        &mut self,
        now: Time,
        (segment, switch, from): (usize, usize, Outlet),
        frame: &Frame,
        random: &mut Random,
        out: &mut Vec<(Time, Arrival)>,
    ) {
        let (to, source) = (wire::destination(frame), wire::source(frame));
        let fib = &mut self.segments[segment].fibs[switch];
        if !source.is_multicast() {
            fib.insert(source, from);
            assert!(fib.len() <= FIB_MAX, "a host invents MACs");
        }
        let known = fib.get(&to).copied().filter(|_| !to.is_multicast());
        match known {
            Some(outlet) if outlet == from => {}
            Some(outlet) => self.leave(now, (segment, switch), outlet, frame, random, out),
            None => {
                let here = |nic: &Nic| (nic.segment, nic.switch) == (segment, switch);
                let nics = (0..self.nics.len()).filter(|nic| here(&self.nics[*nic]));
                let outlets = nics.map(Outlet::Nic).chain([Outlet::Trunk]);
                for outlet in outlets.filter(|outlet| *outlet != from) {
                    self.leave(now, (segment, switch), outlet, frame, random, out);
                }
            }
        }
    }

    fn leave(
        &self,
        now: Time,
        (segment, switch): (usize, usize),
        outlet: Outlet,
        frame: &Frame,
        random: &mut Random,
        out: &mut Vec<(Time, Arrival)>,
    ) {
        let frame = frame.clone();
        let arrival = match outlet {
            Outlet::Nic(nic) => Arrival::Nic { nic, frame },
            Outlet::Trunk => {
                let whole = &self.segments[segment];
                if whole.fibs.len() < 2 || !whole.trunk {
                    return;
                }
                Arrival::Switch {
                    segment,
                    switch: 1 - switch,
                    from: Outlet::Trunk,
                    frame,
                }
            }
        };
        self.carry(now, segment, arrival, random, out);
    }

    /// One wire: late, twice, or never.
    fn carry(
        &self,
        now: Time,
        segment: usize,
        arrival: Arrival,
        random: &mut Random,
        out: &mut Vec<(Time, Arrival)>,
    ) {
        let weather = self.segments[segment].weather;
        if random.chance(weather.loss) {
            return;
        }
        let copies = if random.chance(weather.duplicate) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            // In good weather a wire keeps the order of frames.
            let jitter = if weather.rough {
                JITTER
            } else {
                Duration::ZERO
            };
            let mut after = random.between(LATENCY, LATENCY + jitter);
            if random.chance(weather.late) {
                after += random.between(Duration::ZERO, weather.late_by);
            }
            out.push((now + after, arrival.clone()));
        }
    }
}
