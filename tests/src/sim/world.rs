//! The loop of a run: events in order of time, rounds of trouble and calm.

use std::time::Duration;

use weir_engine::time::Time;

use super::Outcome;
use super::director::{BEGIN, Director};
use super::forgery;
use super::host::{self, Deed, Host, Kind};
use super::judge::{Judge, Wrong};
use super::network::{Arrival, Frame, Network};
use super::plan::{Plan, Wish};
use super::queue::Queue;
use super::random::Random;
use super::trouble::{self, Scope, Trouble};
use super::wire::{self, Word};

/// Rounds of trouble in a run.
const ROUNDS: u32 = 2;
/// Events that may wait at once: a run has some hundreds.
const QUEUE_MAX: usize = 20_000;
/// After a split the winner announces at once; who lost may have spoken last, until the winner's
/// next repetition, 1.1 s later.
const ANNOUNCED: Duration = Duration::from_millis(1200);
/// An advert's way, and the turns of two control threads.
const TURNS: Duration = Duration::from_millis(4);
/// FNV-1a, 64 bits.
const HASH_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_PRIME: u64 = 0x0000_0100_0000_01b3;

/// What happens.
#[derive(Debug)]
enum Event {
    Arrival(Arrival),
    /// A director's control thread takes a turn.
    Turn(usize),
    /// A client knocks.
    Tick(usize),
    Trouble(Trouble),
}

/// Everything there is.
pub(super) struct World<'a> {
    plan: Plan,
    random: Random,
    now: Time,
    queue: Queue<Event>,
    network: Network,
    directors: Vec<Director>,
    /// What their operators want now, and with the configuration that is being built.
    wishes: Vec<Wish>,
    built: Vec<Wish>,
    slow: Vec<Duration>,
    /// Cards by director and segment.
    cards: Vec<Vec<usize>>,
    /// Where each instance is.
    segments: Vec<usize>,
    hosts: Vec<Host>,
    judge: Judge,
    knocks: u64,
    /// Calms whose end clients had to see.
    checked: u64,
    period: Duration,
    /// The longest interval that was ever in use.
    interval: Duration,
    events: u64,
    hash: u64,
    seed: u64,
    tell: Option<&'a mut dyn FnMut(&str)>,
}

impl<'a> World<'a> {
    pub(super) fn new(seed: u64, tell: Option<&'a mut dyn FnMut(&str)>) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random);
        let mut network = Network::new(&plan.switches);
        let mut directors = Vec::new();
        let mut cards = Vec::new();
        for number in 0..plan.directors.len() {
            let lag = random.between(Duration::ZERO, BEGIN);
            let ahead = random.between(Duration::ZERO, BEGIN);
            directors.push(Director::new(number, lag, ahead));
            let segments = 0..plan.switches.len();
            cards.push(
                segments
                    .map(|segment| network.connect(segment, number))
                    .collect(),
            );
        }
        let hosts = host::all(&plan, &mut network);
        let interval = plan.directors[0].interval;
        Self {
            segments: plan.instances().iter().map(|i| i.segment).collect(),
            judge: Judge::new(&plan),
            wishes: plan.directors.clone(),
            built: plan.directors.clone(),
            slow: vec![Duration::ZERO; directors.len()],
            period: (interval / 8).clamp(Duration::from_millis(5), Duration::from_millis(60)),
            interval,
            plan,
            random,
            now: Time::ZERO + BEGIN,
            queue: Queue::new(),
            network,
            directors,
            cards,
            hosts,
            knocks: 0,
            checked: 0,
            events: 0,
            hash: HASH_BASIS,
            seed,
            tell,
        }
    }

    /// Plays the run to its end, or to what goes wrong.
    pub(super) fn play(mut self) -> Outcome {
        let plan = format!("{:?}", self.plan);
        self.say(|| plan.clone());
        let wrong = self.rounds().err();
        Outcome {
            hash: self.hash,
            events: self.events,
            time: self.now.since(Time::ZERO + BEGIN),
            served: self.judge.served,
            checked: self.checked,
            plan,
            wrong: wrong.map(|wrong| format!("at {}: {wrong}", self.stamp())),
        }
    }

    /// Tells of something notable, if anybody listens.
    fn say(&mut self, what: impl FnOnce() -> String) {
        let stamp = self.stamp();
        if let Some(tell) = &mut self.tell {
            tell(&format!("{stamp} {}", what()));
        }
    }

    fn stamp(&self) -> String {
        format!("{:.6} s", self.now.since(Time::ZERO + BEGIN).as_secs_f64())
    }

    fn rounds(&mut self) -> Result<(), Wrong> {
        for number in 0..self.directors.len() {
            let at = self.random.between(Duration::ZERO, self.interval * 2);
            self.later(at, Event::Trouble(Trouble::Start(number)));
        }
        for host in 0..self.hosts.len() {
            if matches!(self.hosts[host].kind, Kind::Client { .. }) {
                let at = self.random.between(Duration::ZERO, self.period);
                self.later(at, Event::Tick(host));
            }
        }
        for _ in 0..ROUNDS {
            self.trouble()?;
            self.calm()?;
        }
        Ok(())
    }

    /// A time in which anything may go wrong.
    fn trouble(&mut self) -> Result<(), Wrong> {
        let span = self.random.between(self.interval * 5, self.interval * 20);
        let span = span.clamp(Duration::from_millis(200), Duration::from_secs(12));
        for _ in 0..self.random.below(10) {
            let scope = Scope {
                wishes: &self.wishes,
                segments: self.network.segments(),
                version: self.plan.version,
                interval: self.interval,
                span,
            };
            for (after, trouble) in trouble::choose(&mut self.random, &scope) {
                if after < span {
                    self.later(after, Event::Trouble(trouble));
                }
            }
        }
        self.run(span)
    }

    /// A time in which all is whole, or stably split, and must become well.
    fn calm(&mut self) -> Result<(), Wrong> {
        self.say(|| "calm".to_owned());
        self.network.mend();
        let split = self.random.chance(200);
        for segment in 0..self.network.segments() {
            let split = split && self.random.chance(700);
            self.network.set_trunk(segment, !split);
        }
        let absent = self
            .random
            .chance(150)
            .then(|| self.random.below(self.directors.len()));
        for number in 0..self.directors.len() {
            self.slow[number] = Duration::ZERO;
            self.happen(Trouble::Wake(number))?;
            self.happen(Trouble::Adopt(number))?;
            for segment in 0..self.network.segments() {
                self.directors[number].set_link(self.now, segment, true);
            }
            let wanted = if absent == Some(number) {
                Trouble::Kill(number)
            } else {
                Trouble::Start(number)
            };
            self.happen(wanted)?;
        }
        if !split {
            self.judge.whole(self.now + self.interval * 2);
        }
        self.run(self.settling())?;
        let wishes: Vec<_> = self
            .wishes
            .iter()
            .map(|w| (w.priority, w.preempts()))
            .collect();
        let (network, cards, segments) = (&self.network, &self.cards, &self.segments);
        let joined = |at: usize, a: usize, b: usize| {
            let segment = segments[at];
            network.are_joined(cards[a][segment], cards[b][segment])
        };
        self.judge
            .settled(self.now, &self.directors, &wishes, joined, !split)?;
        for at in 0..self.segments.len() {
            self.happen(Trouble::Forge(at))?;
        }
        self.run(self.interval * 4 + self.period * 4)?;
        self.judge.named(self.now, &self.directors)?;
        self.judge.drained(&self.directors)?;
        if !split {
            let clients = self
                .hosts
                .iter()
                .filter(|h| matches!(h.kind, Kind::Client { .. }));
            let clients: Vec<usize> = clients.map(|h| h.nic).collect();
            self.judge
                .calm(&self.plan, &self.network, &self.cards, &clients)?;
            if !self.judge.stale.contains(&true) {
                self.judge.all_taken(self.now)?;
                self.checked += 1;
            }
        }
        self.judge.unwatch();
        if split { Ok(()) } else { self.hand_over() }
    }

    /// How long it may take until one director serves and all know it: links are looked at every
    /// 50 ms, then the longest delay before preemption, the wait of a Backup that has just
    /// accepted an advert (three intervals and a skew of at most one, of a second in version 2),
    /// an advert, and the next announcement.
    fn settling(&self) -> Duration {
        let skew = match self.plan.version {
            2 => Duration::from_secs(1),
            _ => self.interval,
        };
        let delay = self.wishes.iter().map(|wish| wish.preempt_delay).max();
        let down = self.interval * 3 + skew;
        let links = Duration::from_millis(100);
        links + delay.unwrap_or_default() + down * 2 + self.interval * 2 + ANNOUNCED
    }

    /// Who is Active now, by instance.
    fn actives(&self) -> Vec<Vec<usize>> {
        let active = |at: usize| {
            let all = self.directors.iter().filter(|d| d.is_active(self.now, at));
            all.map(|d| d.number).collect()
        };
        (0..self.segments.len()).map(active).collect()
    }

    /// The Active ends, in order or not, on a network that is whole: another takes over in time
    /// (V28, V32, V36, V38).
    fn hand_over(&mut self) -> Result<(), Wrong> {
        let Some(&[active]) = self.actives().first().map(Vec::as_slice) else {
            return Ok(());
        };
        let others = self
            .directors
            .iter()
            .filter(|d| d.is_running() && d.number != active);
        let slowest = others.map(|d| self.wishes[d.number].priority).min();
        let Some(slowest) = slowest else {
            return Ok(());
        };
        let base = match self.plan.version {
            2 => Duration::from_secs(1),
            _ => self.interval,
        };
        let skew = base * (256 - u32::from(slowest)) / 256;
        let in_order = self.random.chance(500);
        let (end, within) = match in_order {
            true => (Trouble::Stop(active), skew + TURNS),
            false => (Trouble::Kill(active), self.interval * 3 + skew + TURNS),
        };
        self.happen(end)?;
        self.run(within)?;
        for (instance, actives) in self.judge.instances.iter().zip(self.actives()) {
            // An instance of the other family may have had another Active all along.
            if actives.is_empty() {
                let name = instance.name;
                return Err(format!(
                    "{name}: nobody took over from {active} in {within:?}"
                ));
            }
        }
        Ok(())
    }

    /// Lets this much time pass.
    fn run(&mut self, span: Duration) -> Result<(), Wrong> {
        let end = self.now + span;
        while let Some((at, event)) = self.queue.pop(end) {
            self.now = at;
            self.note(&at.as_nanos().to_le_bytes());
            self.events += 1;
            self.take(event)?;
            self.judge_step()?;
            assert!(self.queue.len() < QUEUE_MAX, "events pile up");
        }
        self.now = end;
        Ok(())
    }

    fn judge_step(&mut self) -> Result<(), Wrong> {
        let Self {
            directors,
            network,
            cards,
            segments,
            ..
        } = self;
        let hears = |at: usize, from: usize, to: usize| {
            let card = |director: usize| cards[director][segments[at]];
            let awake = |director: usize| {
                let director: &Director = &directors[director];
                director.is_running() && director.halted.is_none()
            };
            awake(from) && awake(to) && network.hears(card(from), card(to))
        };
        let is_fine = |at: usize| network.is_fine(segments[at]);
        self.judge.step(self.now, directors, hears, is_fine)
    }

    fn note(&mut self, octets: &[u8]) {
        for octet in octets {
            self.hash = (self.hash ^ u64::from(*octet)).wrapping_mul(HASH_PRIME);
        }
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.queue.push(self.now + after, event);
    }

    fn take(&mut self, event: Event) -> Result<(), Wrong> {
        match event {
            Event::Arrival(Arrival::Switch {
                segment,
                switch,
                from,
                frame,
            }) => {
                let mut out = Vec::new();
                let place = (segment, switch, from);
                let Self {
                    network, random, ..
                } = self;
                network.switch(self.now, place, &frame, random, &mut out);
                self.plan_arrivals(out);
                Ok(())
            }
            Event::Arrival(Arrival::Nic { nic, frame }) => self.deliver(nic, &frame),
            Event::Turn(number) => self.turn(number),
            Event::Tick(host) => {
                let deeds = self.hosts[host].tick(&mut self.knocks);
                self.later(self.period, Event::Tick(host));
                deeds.into_iter().try_for_each(|deed| self.deed(host, deed))
            }
            Event::Trouble(trouble) => self.happen(trouble),
        }
    }

    fn plan_arrivals(&mut self, arrivals: Vec<(Time, Arrival)>) {
        for (at, arrival) in arrivals {
            self.queue.push(at, Event::Arrival(arrival));
        }
    }

    fn send(&mut self, nic: usize, frame: Frame) {
        self.note(&frame);
        let mut out = Vec::new();
        self.network
            .send(self.now, nic, frame, &mut self.random, &mut out);
        self.plan_arrivals(out);
    }

    fn deliver(&mut self, nic: usize, frame: &Frame) -> Result<(), Wrong> {
        let card = self.network.nics[nic];
        if card.deaf || !card.link {
            return Ok(());
        }
        if let Some(number) = self.cards.iter().position(|cards| cards.contains(&nic)) {
            if self.directors[number].control_runs() {
                self.judge.heard(self.now, number, frame);
            }
            self.directors[number].receive(self.now, card.segment, frame);
            return self.listen(number);
        }
        let Some(host) = self.hosts.iter().position(|host| host.nic == nic) else {
            return Ok(());
        };
        match self.hosts[host].receive(frame) {
            Some(deed) => self.deed(host, deed),
            None => Ok(()),
        }
    }

    fn deed(&mut self, host: usize, deed: Deed) -> Result<(), Wrong> {
        let nic = self.hosts[host].nic;
        match deed {
            Deed::Send(frame) => self.send(nic, frame.into()),
            Deed::Knock(frame, number) => {
                if let Word::Datagram { to, .. } = wire::read(&frame) {
                    self.judge.knocked(self.now, number, to);
                }
                self.send(nic, frame.into());
            }
            Deed::Took(number, from) => self.judge.took(number, from, self.plan.leak)?,
        }
        Ok(())
    }

    fn turn(&mut self, number: usize) -> Result<(), Wrong> {
        let director = &mut self.directors[number];
        if director.turn_at != Some(self.now) {
            return Ok(()); // Another was planned in its place.
        }
        director.turn_at = None;
        if !director.control_runs() {
            return Ok(());
        }
        let worked = director.turn(self.now);
        self.heed(number)?;
        self.plan_turn(number, worked);
        Ok(())
    }

    /// Passes on what a director said, and plans its next turn.
    fn listen(&mut self, number: usize) -> Result<(), Wrong> {
        self.heed(number)?;
        self.plan_turn(number, false);
        Ok(())
    }

    fn heed(&mut self, number: usize) -> Result<(), Wrong> {
        for spoken in self.directors[number].spoken() {
            let director = &self.directors[number];
            self.judge.spoke(self.now, &self.plan, director, &spoken)?;
            if !matches!(wire::read(&spoken.frame), Word::Datagram { .. }) {
                let word = wire::read(&spoken.frame);
                self.say(|| format!("director {number}: {word:?}"));
            }
            let nic = self.cards[number][spoken.port];
            self.send(nic, spoken.frame.into());
        }
        Ok(())
    }

    fn plan_turn(&mut self, number: usize, worked: bool) {
        let director = &self.directors[number];
        if !director.control_runs() {
            return;
        }
        let Some(mut at) = director.next_turn(self.now, worked) else {
            return;
        };
        let planned = director.turn_at;
        if planned.is_some_and(|planned| planned <= at && planned >= self.now) {
            return;
        }
        if !self.slow[number].is_zero() {
            at = at + self.random.between(Duration::ZERO, self.slow[number]);
        }
        self.directors[number].turn_at = Some(at);
        self.queue.push(at, Event::Turn(number));
    }

    fn happen(&mut self, trouble: Trouble) -> Result<(), Wrong> {
        self.say(|| format!("{trouble:?}"));
        let now = self.now;
        match trouble {
            Trouble::Kill(number) => self.directors[number].kill(),
            Trouble::Stop(number) => {
                if self.directors[number].control_runs() {
                    self.directors[number].stop(now);
                    self.heed(number)?;
                    self.directors[number].kill();
                }
            }
            Trouble::Start(number) => return self.start(number),
            Trouble::Halt(number, halt) => self.directors[number].halt(now, halt),
            Trouble::Wake(number) => {
                self.directors[number].wake(now, self.interval);
                return self.listen(number);
            }
            Trouble::Resign(number) => {
                if self.directors[number].control_runs() {
                    self.judge.yielded(number);
                    self.directors[number].resign(now);
                    return self.listen(number);
                }
            }
            Trouble::Slow(number, by) => self.slow[number] = by,
            Trouble::Reload(number, wish) => {
                if self.directors[number].control_runs() {
                    let config = self.plan.config(number, &wish);
                    self.directors[number].reload(config);
                    self.built[number] = wish;
                }
            }
            Trouble::Adopt(number) => {
                if self.directors[number].control_runs() {
                    self.wishes[number] = self.built[number];
                    self.interval = self.interval.max(self.wishes[number].interval);
                    let before = self.actives();
                    self.directors[number].adopt(now);
                    if self.actives() != before {
                        return Err(format!("a reload of {number} changed who is Active"));
                    }
                    return self.listen(number);
                }
            }
            Trouble::Cut {
                director,
                segment,
                mute,
                deaf,
            } => {
                let nic = &mut self.network.nics[self.cards[director][segment]];
                (nic.mute, nic.deaf) = (mute, deaf);
            }
            Trouble::Link(number, segment, up) => {
                self.network.set_link(self.cards[number][segment], up);
                self.directors[number].set_link(now, segment, up);
            }
            Trouble::Trunk(segment, up) => self.network.set_trunk(segment, up),
            Trouble::Weather(segment, weather) => self.network.set_weather(segment, weather),
            Trouble::Forge(at) => self.forge(at),
        }
        Ok(())
    }

    /// Somebody beside the directors sends a broken advert about an instance.
    fn forge(&mut self, at: usize) {
        let instance = self.judge.instances[at % self.judge.instances.len()].clone();
        let here = |host: &&Host| self.network.nics[host.nic].segment == instance.segment;
        if let Some(host) = self.hosts.iter().find(here) {
            let nic = host.nic;
            let frame = forgery::forge(&self.plan, &instance, host.mac, &mut self.random);
            self.send(nic, frame.into());
        }
    }

    fn start(&mut self, number: usize) -> Result<(), Wrong> {
        if self.directors[number].is_running() {
            return Ok(());
        }
        self.built[number] = self.wishes[number];
        let config = self.plan.config(number, &self.wishes[number]);
        self.judge.born(number);
        self.directors[number].halted = None;
        self.directors[number].start(self.now, config, self.seed);
        self.listen(number)
    }
}
