//! What must hold, whatever happens: judged by what leaves each director, octet by octet, and by
//! the leases that its worker forwards by.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use weir_control::suppression::{LEAK_LIFETIME, Leak};
use weir_engine::time::Time;
use weir_wire::addr::MacAddr;

use super::director::{Director, Speaker, Spoken};
use super::network::Network;
use super::plan::{self, Instance, Plan, SERVER, Shape};
use super::wire::{self, Word};

/// A served datagram takes this long at most on a whole network.
const TRANSIT: Duration = Duration::from_millis(20);
/// Frames that may wait in a director whose turns are on time.
const WAITING_MAX: usize = 64;

/// What the control thread knows is in its status so much later, at the latest.
const SHOWN: Duration = Duration::from_millis(300);

/// What goes wrong, in one sentence.
pub(super) type Wrong = String;

/// Until when a director's last advert lets it serve, by its own clock.
type Leave = Option<Time>;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) instances: Vec<Instance>,
    /// All instances are one sync group.
    is_group: bool,
    /// By director and instance.
    leaves: Vec<Vec<Leave>>,
    /// By instance: who announced it last.
    announcer: Vec<Option<usize>>,
    /// By instance: an Active ended beside another that could not hear of it, so that caches may
    /// follow the one that is gone until they age. No director can know.
    pub(super) stale: Vec<bool>,
    /// By instance: the last that became Active could not announce that to everybody.
    partial: Vec<bool>,
    /// Who was Active after the last step, by instance.
    actives: Vec<Vec<usize>>,
    /// From when on every announcement reaches everybody.
    whole_from: Option<Time>,
    /// By director and instance: it was told to yield, and has not been Active since.
    yields: Vec<Vec<bool>>,
    /// While the network is whole and quiet: who is Active, by instance.
    watched: Option<Vec<Vec<usize>>>,
    /// By director: when it was Active and heard a server answer for a VIP.
    leaks: Vec<Option<Time>>,
    /// Datagrams on their way, with who forwarded them.
    datagrams: BTreeMap<u64, (Time, IpAddr, Option<usize>)>,
    /// Datagrams that arrived while watched.
    pub(super) served: u64,
}

impl Judge {
    pub(super) fn new(plan: &Plan) -> Self {
        let instances = plan.instances();
        let (directors, count) = (plan.directors.len(), instances.len());
        Self {
            instances,
            is_group: plan.shape == Shape::Group,
            leaves: vec![vec![None; count]; directors],
            announcer: vec![None; count],
            stale: vec![false; count],
            partial: vec![false; count],
            actives: vec![Vec::new(); count],
            whole_from: None,
            yields: vec![vec![false; count]; directors],
            watched: None,
            leaks: vec![None; directors],
            datagrams: BTreeMap::new(),
            served: 0,
        }
    }

    fn instance_of(&self, vip: IpAddr) -> Option<usize> {
        self.instances.iter().position(|i| i.vips.contains(&vip))
    }

    /// A director has begun a new life, and owes nothing of the last.
    pub(super) fn born(&mut self, director: usize) {
        self.leaves[director].fill(None);
        self.yields[director].fill(false);
        self.leaks[director] = None;
    }

    /// A frame comes to a director whose control thread runs.
    pub(super) fn heard(&mut self, now: Time, director: usize, frame: &[u8]) {
        let Word::Claim { address, mac, .. } = wire::read(frame) else {
            return;
        };
        if let Some(at) = self.instance_of(address)
            && mac == plan::host_mac(SERVER)
            && self.actives[at].contains(&director)
        {
            self.leaks[director].get_or_insert(now);
        }
    }

    /// Whoever heard a server answer for a VIP names it, as soon as its status is shown again.
    pub(super) fn named(&self, now: Time, directors: &[Director]) -> Result<(), Wrong> {
        for director in directors {
            let shown = |at: &Time| (SHOWN..LEAK_LIFETIME).contains(&now.since(*at));
            let heard = self.leaks[director.number].filter(shown);
            let (Some(_), Some(status)) = (heard, director.status()) else {
                continue;
            };
            let is_named = |leak: &Leak| leak.server.as_ref().is_some_and(|s| s.starts_with("s0/"));
            if !status.leaks.iter().any(is_named) {
                let (number, leaks) = (director.number, &status.leaks);
                return Err(format!(
                    "{number} does not name the server that leaks: {leaks:?}"
                ));
            }
        }
        Ok(())
    }

    /// A director was told to let any other be Active.
    pub(super) fn yielded(&mut self, director: usize) {
        self.yields[director].fill(true);
    }

    /// A frame has left a director.
    pub(super) fn spoke(
        &mut self,
        now: Time,
        plan: &Plan,
        director: &Director,
        spoken: &Spoken,
    ) -> Result<(), Wrong> {
        let (number, clock) = (director.number, director.clock(now));
        match wire::read(&spoken.frame) {
            Word::Advert {
                is_v4,
                priority,
                interval,
                ..
            } => {
                let own = |i: &Instance| (i.segment, i.is_v4()) == (spoken.port, is_v4);
                let at = self.instances.iter().position(own);
                let at = at.ok_or("an advert of no instance")?;
                let until = clock + interval * 5 / 2;
                self.leaves[number][at] = (priority != 0).then_some(until);
                // The owner is Active as soon as it starts, and it starts anew after a fault.
                let claims = (1..=254).contains(&priority);
                match director.unfit(now).filter(|_| claims) {
                    Some(why) => Err(format!("director {number} says it is Active {why}")),
                    None => Ok(()),
                }
            }
            Word::Claim {
                address,
                mac,
                gratuitous,
            } => {
                let Some(at) = self.instance_of(address) else {
                    return Ok(());
                };
                let what = if gratuitous {
                    "announces"
                } else {
                    "answers for"
                };
                self.may_serve((number, at), clock, spoken)
                    .map_err(|why| format!("director {number} {what} {address} {why}"))?;
                let right = self.instances[at].mac(plan, number);
                if (mac, wire::source(&spoken.frame)) != (right, right) {
                    return Err(format!("director {number} {what} {address} with {mac}"));
                }
                if gratuitous {
                    self.announcer[at] = Some(number);
                    self.stale[at] &= self.whole_from.is_none_or(|from| now < from);
                }
                Ok(())
            }
            Word::Datagram { to, number: knock } => {
                if let Some(at) = self.instance_of(to) {
                    self.may_serve((number, at), clock, spoken)
                        .map_err(|why| format!("director {number} forwards for {to} {why}"))?;
                }
                if let Some(sent) = self.datagrams.get_mut(&knock) {
                    sent.2 = Some(number);
                }
                Ok(())
            }
            Word::Question { .. } | Word::Other => Ok(()),
        }
    }

    /// Only with a lease, and only for as long as the last advert carries.
    fn may_serve(
        &self,
        (director, at): (usize, usize),
        clock: Time,
        spoken: &Spoken,
    ) -> Result<(), Wrong> {
        let leave = self.leaves[director][at];
        if spoken.held & (1 << at) == 0 {
            let who = match spoken.speaker {
                Speaker::Control => "from the control thread",
                Speaker::Forwarded | Speaker::Engine => "from the worker",
            };
            return Err(format!("without a lease, {who}"));
        }
        match leave {
            None => Err("without an advert".into()),
            Some(until) if clock >= until => Err("longer than its last advert carries".into()),
            Some(_) => Ok(()),
        }
    }

    /// After every step. `hears` tells whether the second director hears what the first says on
    /// an instance's segment, `is_fine` whether everybody there hears everybody.
    pub(super) fn step(
        &mut self,
        now: Time,
        directors: &[Director],
        hears: impl Fn(usize, usize, usize) -> bool,
        is_fine: impl Fn(usize) -> bool,
    ) -> Result<(), Wrong> {
        for at in 0..self.instances.len() {
            let mut actives = Vec::new();
            for director in directors.iter().filter(|d| d.is_active(now, at)) {
                let (number, clock) = (director.number, director.clock(now));
                actives.push(number);
                self.yields[number][at] = false;
                let name = self.instances[at].name;
                match self.leaves[number][at] {
                    None => return Err(format!("{name}: {number} holds a lease unsaid")),
                    Some(until) if clock >= until => {
                        return Err(format!("{name}: {number} holds a lease for too long"));
                    }
                    Some(_) => {}
                }
            }
            let mut gone = self.actives[at].iter().filter(|d| !actives.contains(d));
            let heard = |gone: &usize| actives.iter().all(|other| hears(at, *gone, *other));
            match gone.clone().all(heard) {
                false => self.stale[at] = true,
                // The other was told, and what it announces now reaches everybody.
                true if gone.next().is_some() && is_fine(at) => self.partial[at] = false,
                true => {}
            }
            if actives.iter().any(|d| !self.actives[at].contains(d)) {
                self.partial[at] = !is_fine(at);
            }
            self.actives[at] = actives;
        }
        let actives = &self.actives;
        match &self.watched {
            Some(watched) if watched != actives => Err(format!(
                "the network is whole and quiet, but the Active went from {watched:?} to \
                 {actives:?}"
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// The network is whole; what is still on its way has arrived at `from`.
    pub(super) fn whole(&mut self, from: Time) {
        self.whole_from = Some(from);
        // An Active on either side learns of the other. One that meets nobody cannot know who
        // did not hear it.
        for (stale, (partial, actives)) in self
            .stale
            .iter_mut()
            .zip(self.partial.iter().zip(&self.actives))
        {
            *stale |= *partial && actives.len() == 1;
        }
    }

    /// The settling time is over. `wishes` are priority and preemption of each director, and
    /// `joined` tells whether two directors hear each other on an instance's segment.
    pub(super) fn settled(
        &mut self,
        now: Time,
        directors: &[Director],
        wishes: &[(u8, bool)],
        joined: impl Fn(usize, usize, usize) -> bool,
        is_whole: bool,
    ) -> Result<(), Wrong> {
        let mut watched = Vec::new();
        for (at, instance) in self.instances.iter().enumerate() {
            let name = instance.name;
            let running: Vec<usize> = directors
                .iter()
                .filter(|d| d.is_running())
                .map(|d| d.number)
                .collect();
            let actives: Vec<usize> = running
                .iter()
                .copied()
                .filter(|d| directors[*d].is_active(now, at))
                .collect();
            for one in &running {
                let near = |a: &&usize| **a == *one || joined(at, *one, **a);
                let here: Vec<&usize> = actives.iter().filter(near).collect();
                // Where only one port of a group is cut off, its side has none.
                if here.len() > 1 || (here.is_empty() && is_whole) {
                    return Err(format!("{name}: {here:?} are Active where {one} is"));
                }
                let Some(active) = here.first() else { continue };
                let (priority, preempts) = wishes[*one];
                let should = preempts && !self.yields[*one][at] && is_whole;
                if should && priority > wishes[**active].0 {
                    return Err(format!(
                        "{name}: {active} is Active, though {one} is better"
                    ));
                }
            }
            watched.push(actives);
        }
        // The instances of a group are all in one place, even where their networks differ.
        if self.is_group && watched.iter().any(|actives| *actives != watched[0]) {
            return Err(format!("the group is apart: {watched:?}"));
        }
        self.watched = Some(watched);
        self.datagrams.clear();
        Ok(())
    }

    /// The calm is over.
    pub(super) fn unwatch(&mut self) {
        (self.watched, self.whole_from) = (None, None);
    }

    /// What the calm must have come to. `cards` are each director's cards by segment, `clients`
    /// the clients' cards.
    pub(super) fn calm(
        &self,
        plan: &Plan,
        network: &Network,
        cards: &[Vec<usize>],
        clients: &[usize],
    ) -> Result<(), Wrong> {
        let Some(watched) = &self.watched else {
            return Ok(());
        };
        for ((at, instance), actives) in self.instances.iter().enumerate().zip(watched) {
            let [active] = actives[..] else { continue };
            if self.stale[at] {
                continue;
            }
            let name = instance.name;
            let card = cards[active][instance.segment];
            let mac = instance.mac(plan, active);
            let on_segment = |nic: &&usize| network.nics[**nic].segment == instance.segment;
            for client in clients.iter().filter(on_segment) {
                let out = network.leads_to(*client, mac);
                if out != Some(card) {
                    return Err(format!(
                        "{name}: a switch takes {mac} to {out:?}, not {card}"
                    ));
                }
            }
            if self.announcer[at] != Some(active) {
                let last = self.announcer[at];
                return Err(format!(
                    "{name}: {last:?} announced last, {active} is Active"
                ));
            }
        }
        Ok(())
    }

    /// A client has sent a datagram.
    pub(super) fn knocked(&mut self, now: Time, number: u64, to: IpAddr) {
        if self.watched.is_some() {
            self.datagrams.insert(number, (now, to, None));
        }
    }

    /// A server has taken one, from this MAC.
    pub(super) fn took(&mut self, number: u64, from: MacAddr, leak: bool) -> Result<(), Wrong> {
        let Some((_, to, via)) = self.datagrams.remove(&number) else {
            return Ok(());
        };
        self.served += 1;
        match via {
            Some(_) => Ok(()),
            None if leak => Ok(()),
            None => Err(format!(
                "{number} to {to} came from {from} past all directors"
            )),
        }
    }

    /// Whether every datagram of the calm has been taken.
    pub(super) fn all_taken(&self, now: Time) -> Result<(), Wrong> {
        let late = |sent: &(Time, IpAddr, Option<usize>)| now.since(sent.0) > TRANSIT;
        match self.datagrams.iter().find(|(_, sent)| late(sent)) {
            None if self.served == 0 => Err("no client got through in the calm".into()),
            None => Ok(()),
            Some((number, (_, to, via))) => Err(format!(
                "datagram {number} to {to} was not served; forwarded by {via:?}"
            )),
        }
    }

    /// Nothing piles up where turns are on time.
    pub(super) fn drained(&self, directors: &[Director]) -> Result<(), Wrong> {
        let full = directors.iter().find(|d| d.waiting() > WAITING_MAX);
        full.map_or(Ok(()), |d| {
            Err(format!(
                "{} frames wait in director {}",
                d.waiting(),
                d.number
            ))
        })
    }
}
