//! The way out of the straight line.

use weir_wire::addr::Protocol;
use weir_wire::parse::{Fragment, Parsed};
use weir_wire::tcp::TcpFlags;

use super::{Kind, L3, Run, Straight};
use crate::commit::count;
use crate::engine::State;
use crate::family::{Carried, Ip};
use crate::flow::tcp::TcpEvent;
use crate::flow::{Direction, FlowEntry, FlowKey, Moment, Observed, Translation};
use crate::id::PortId;
use crate::io::Io;
use crate::lane::{Job, Lane, Lanes};
use crate::pipeline::Key;
use crate::pipeline::first::Listening;
use crate::rewrite::{self, Exit, in_place};
use crate::tables::{Mode, Tables};
use crate::time::{Tick, Time};
use crate::verdict::{DropReason, Verdict};

/// Carries packets out; made once per burst and family.
#[derive(Debug)]
pub(in crate::pipeline) struct Carrier<'a, A> {
    pub(super) tables: &'a Tables,
    pub(super) lanes: &'a Lanes,
    pub(super) now: Time,
    /// When the hints were found.
    pub(super) moment: Moment,
    tick: Tick,
    pub(super) forward: Run,
    back: Run,
    router: Router<A>,
    pub(super) listening: Listening<'a, A>,
    /// What the packet before asked for: the next one mostly asks for the same.
    job: Job,
}

/// What a loop made of a packet: sent, or left because it asks for another job. `None`: it may
/// change its flow, or that is not where flows mostly are.
type Attempt = Option<Result<Verdict, Job>>;

/// Packets of one family with their keys and the places of their verdicts.
#[derive(Debug)]
struct Packets<'p, F, A: Ip> {
    frames: &'p mut [F],
    keys: &'p [Key<A>],
    verdicts: &'p mut [Verdict],
}

impl<F, A: Ip> Packets<'_, F, A> {
    /// Those behind the first `count`.
    #[inline(always)]
    fn behind(&mut self, count: usize) -> Packets<'_, F, A> {
        Packets {
            frames: self.frames.get_mut(count..).unwrap_or_default(),
            keys: self.keys.get(count..).unwrap_or_default(),
            verdicts: self.verdicts.get_mut(count..).unwrap_or_default(),
        }
    }
}

/// The router that the reply before went to, of those to clients nearby: the next one mostly goes
/// there too.
#[derive(Debug)]
struct Router<A> {
    /// Port and address.
    neighbour: Option<(PortId, A)>,
    exit: Exit,
}

impl<A: Ip> Router<A> {
    const NONE: Self = Self {
        neighbour: None,
        exit: Exit::NONE,
    };

    /// The way to a client, if everything about it is known.
    #[inline(always)]
    fn way<'s>(&'s mut self, tables: &'s Tables, client: A) -> Option<(PortId, &'s Exit)> {
        let family = A::family(tables);
        if let Some(far) = &family.far
            && family.routes.is_far(client)
        {
            return Some((far.port, &far.exit));
        }
        self.near_way(tables, client)
    }

    /// The same where the default route is not known to lead.
    #[inline(never)]
    fn near_way(&mut self, tables: &Tables, client: A) -> Option<(PortId, &Exit)> {
        let family = A::family(tables);
        let neighbour = family.routes.neighbour(client)?;
        if self.neighbour != Some(neighbour) {
            let mac = *family.neighbours.get(&neighbour)?;
            self.exit = Exit::new(tables.port(neighbour.0)?, mac);
            self.neighbour = Some(neighbour);
        }
        Some((neighbour.0, &self.exit))
    }
}

impl<'a, A: Ip> Carrier<'a, A> {
    pub(in crate::pipeline) fn new(state: &State, tables: &'a Tables, now: Time) -> Self {
        Self {
            tables,
            lanes: &tables.lanes,
            now,
            moment: A::flows(state).moment(),
            tick: now.tick(),
            forward: Run::new(Direction::Forward),
            back: Run::new(Direction::Reverse),
            router: Router::NONE,
            listening: Listening::default(),
            job: Job::Direct,
        }
    }

    /// Carries packets of known flows out, one after the other, and returns how many. The one
    /// behind them, if there is one, is for the stages that know every case: its frame and its
    /// flow are untouched.
    pub(in crate::pipeline) fn carry<I: Io>(
        &mut self,
        state: &mut State,
        frames: &mut [I::Frame],
        keys: &[Key<A>],
        verdicts: &mut [Verdict],
    ) -> usize {
        let mut packets = Packets {
            frames,
            keys,
            verdicts,
        };
        let mut carried = 0;
        loop {
            let rest = packets.behind(carried);
            let (count, other) = match self.job {
                Job::Direct => self.forwards::<I, { Job::Direct as usize }>(state, rest),
                Job::Translate => self.forwards::<I, { Job::Translate as usize }>(state, rest),
                Job::Wrap => self.forwards::<I, { Job::Wrap as usize }>(state, rest),
                Job::WrapV6 => self.forwards::<I, { Job::WrapV6 as usize }>(state, rest),
                Job::Tagged => self.forwards::<I, { Job::Tagged as usize }>(state, rest),
                Job::Reply => self.replies::<I>(state, rest),
            };
            carried += count;
            match other {
                Some(other) => self.job = other,
                None => match self.defers::<I>(state, packets.behind(carried)) {
                    0 => return carried,
                    deferred => carried += deferred,
                },
            }
        }
    }

    /// Sends connections' first segments in a row without flows, if the table is flooded, and
    /// returns how many.
    #[inline(always)]
    fn defers<I: Io>(&mut self, state: &mut State, packets: Packets<'_, I::Frame, A>) -> usize {
        let Packets {
            frames,
            keys,
            verdicts,
        } = packets;
        let mut deferred = 0;
        for ((frame, key), verdict) in frames.iter_mut().zip(keys).zip(verdicts) {
            if !key.straight.opens() {
                break;
            }
            let Some(sent) = self.defer::<I>(state, frame, key) else {
                break;
            };
            *verdict = sent;
            deferred += 1;
        }
        deferred
    }

    /// Counts what is not counted yet: at the end of a burst.
    pub(in crate::pipeline) fn flush(&mut self, state: &State) {
        self.forward.flush(state);
        self.back.flush(state);
    }

    /// Carries packets to servers that ask for one job, in a loop that does nothing else. Returns
    /// how many, and what the next one asks for if that is another job.
    #[inline(never)]
    fn forwards<I: Io, const JOB: usize>(
        &mut self,
        state: &mut State,
        packets: Packets<'_, I::Frame, A>,
    ) -> (usize, Option<Job>) {
        self.each::<I>(state, packets, Self::forward::<I, JOB>)
    }

    /// The same for packets to clients.
    #[inline(never)]
    fn replies<I: Io>(
        &mut self,
        state: &mut State,
        packets: Packets<'_, I::Frame, A>,
    ) -> (usize, Option<Job>) {
        self.each::<I>(state, packets, Self::reply::<I>)
    }

    #[inline(always)]
    fn each<I: Io>(
        &mut self,
        state: &mut State,
        packets: Packets<'_, I::Frame, A>,
        carry: impl Fn(&mut Self, &mut State, &mut I::Frame, &Key<A>) -> Attempt,
    ) -> (usize, Option<Job>) {
        let Packets {
            frames,
            keys,
            verdicts,
        } = packets;
        let mut carried = 0;
        for ((frame, key), verdict) in frames.iter_mut().zip(keys).zip(verdicts) {
            *verdict = match carry(self, state, frame, key) {
                Some(Ok(sent)) => sent,
                Some(Err(other)) => return (carried, Some(other)),
                None => match self.carry_another::<I>(state, frame, key) {
                    Some(sent) => sent,
                    None => break,
                },
            };
            carried += 1;
        }
        (carried, None)
    }

    /// Carries a packet to its server, if it leaves its flow as it is and that is where flows
    /// mostly are. An error is the job that it asks for instead.
    #[inline(always)]
    fn forward<I: Io, const JOB: usize>(
        &mut self,
        state: &mut State,
        frame: &mut I::Frame,
        Key {
            hint,
            straight: packet,
            ..
        }: &Key<A>,
    ) -> Attempt {
        match packet.kind {
            Kind::Forward => {}
            Kind::Reverse => return Some(Err(Job::Reply)),
            Kind::Opening => return None,
        }
        let flows = A::flows_mut(state);
        let entry = flows.live_mut(*hint, &packet.key, Direction::Forward, self.tick)?;
        let id = entry.server();
        let lane = self.lanes.of(id)?;
        let job = Job::ALL[JOB];
        if lane.job != job {
            return Some(Err(lane.job));
        }
        if job == Job::Translate && !entry.is_translated() {
            return None;
        }
        if packet.len > lane.room || !entry.go_on(lane.idle(), packet.len, self.tick) {
            return None;
        }
        let to = entry.translation(Direction::Forward);
        self.forward
            .add((state, self.tables), lane.service, packet.len);
        count(state, Direction::Forward, None, Some(id.index), packet.len);
        let sent = self.rewrite::<I>(state, frame, packet, (job, lane, to));
        Some(Ok(verdict(state, sent, lane.port)))
    }

    /// Carries a reply to its client, likewise.
    #[inline(always)]
    fn reply<I: Io>(
        &mut self,
        state: &mut State,
        frame: &mut I::Frame,
        Key {
            hint,
            straight: packet,
            ..
        }: &Key<A>,
    ) -> Attempt {
        if packet.kind != Kind::Reverse {
            return Some(Err(Job::Direct));
        }
        let flows = A::flows_mut(state);
        let entry = flows.live_mut(*hint, &packet.key, Direction::Reverse, self.tick)?;
        let id = entry.server();
        let lane = self.lanes.of(id).filter(|lane| answers(entry, lane))?;
        let (port, exit) = self.router.way(self.tables, packet.key.client)?;
        if packet.len > exit.mtu || !entry.go_on(lane.idle(), packet.len, self.tick) {
            return None;
        }
        let to = entry.translation(Direction::Reverse);
        self.back
            .add((state, self.tables), lane.service, packet.len);
        count(state, Direction::Reverse, None, Some(id.index), packet.len);
        let sent = translate::<A, I>(frame, packet, to, exit);
        Some(Ok(verdict(state, sent, port)))
    }

    /// The same for packets that change their flow's state, or whose flow is not where flows mostly
    /// are.
    #[inline(never)]
    fn carry_another<I: Io>(
        &mut self,
        state: &mut State,
        frame: &mut I::Frame,
        key: &Key<A>,
    ) -> Option<Verdict> {
        let packet = &key.straight;
        if packet.kind == Kind::Opening {
            return None;
        }
        let flows = A::flows_mut(state);
        let (entry, direction) = flows.confirm_mut(&packet.key, key.hash, key.hint, self.now)?;
        if direction != packet.direction() {
            return None;
        }
        let id = entry.server();
        let lane = self.lanes.of(id)?;
        let (port, exit, room) = match direction {
            Direction::Forward => (lane.port, &lane.exit, lane.room),
            Direction::Reverse if answers(entry, lane) => {
                let (port, exit) = self.router.way(self.tables, packet.key.client)?;
                (port, exit, exit.mtu)
            }
            Direction::Reverse => return None,
        };
        if packet.len > room {
            return None;
        }
        if lane.job == Job::Translate && !entry.is_translated() {
            return None;
        }
        let to = entry.translation(direction);
        let timeouts = &self.tables.service(lane.service)?.timeouts;
        let change = entry.note(observed(packet), timeouts, self.tick);
        if change.before != change.after {
            flows.moved(change);
            state.move_flow(id, change.before.is_active(), change.after.is_active());
        }
        let run = match direction {
            Direction::Forward => &mut self.forward,
            Direction::Reverse => &mut self.back,
        };
        run.add((state, self.tables), lane.service, packet.len);
        count(state, direction, None, Some(id.index), packet.len);
        let sent = match direction {
            Direction::Forward => self.rewrite::<I>(state, frame, packet, (lane.job, lane, to)),
            Direction::Reverse => translate::<A, I>(frame, packet, to, exit),
        };
        Some(verdict(state, sent, port))
    }
}

impl<A: Ip> Carrier<'_, A> {
    /// Does a lane's job.
    #[inline(always)]
    pub(super) fn rewrite<I: Io>(
        &self,
        state: &mut State,
        frame: &mut I::Frame,
        packet: &Straight<A>,
        (job, lane, to): (Job, &Lane, Translation<A>),
    ) -> Result<(), DropReason> {
        match job {
            Job::Direct => in_place::direct::<A, I>(frame, packet.len, &lane.exit),
            Job::Translate => translate::<A, I>(frame, packet, to, &lane.exit),
            Job::Wrap => {
                let id = state.take_id_u16();
                in_place::wrap::<A, I>(frame, packet.len, lane.outer_v4(), id, &lane.exit)
            }
            Job::WrapV6 => {
                let outer = self.lanes.outer(lane).ok_or(DropReason::NoRoute)?;
                let id = state.take_id_u16();
                in_place::wrap::<A, I>(frame, packet.len, outer, id, &lane.exit)
            }
            Job::Tagged | Job::Reply => self.rewrite_tagged::<I>(state, frame, packet, (lane, to)),
        }
    }

    /// The same for frames that leave with a tag.
    #[inline(never)]
    fn rewrite_tagged<I: Io>(
        &self,
        state: &mut State,
        frame: &mut I::Frame,
        packet: &Straight<A>,
        (lane, to): (&Lane, Translation<A>),
    ) -> Result<(), DropReason> {
        let server = self.tables.server(lane.id).ok_or(DropReason::NoRoute)?;
        let parsed = packet.parsed::<I>(frame).ok_or(DropReason::Truncated)?;
        match server.mode {
            Mode::Nat => translate::<A, I>(frame, packet, to, &lane.exit),
            Mode::Dr => rewrite::direct::<A, I>(frame, &parsed, lane.exit),
            Mode::Tunnel => {
                let outer = self.lanes.outer(lane).ok_or(DropReason::NoRoute)?;
                let id = state.take_id_u16();
                rewrite::tunnel::encapsulate::<A, I>(frame, &parsed, outer, id, lane.exit)
            }
        }
    }
}

/// Whether a reply of a flow's server may be carried by its lane: the server's first word is noted
/// elsewhere.
#[inline(always)]
fn answers<A: Ip>(entry: &FlowEntry<A>, lane: &Lane) -> bool {
    !entry.is_unanswered() && entry.service() == lane.service
}

/// Translates a packet.
#[inline(always)]
fn translate<A: Ip, I: Io>(
    frame: &mut I::Frame,
    packet: &Straight<A>,
    to: Translation<A>,
    exit: &Exit,
) -> Result<(), DropReason> {
    let direction = packet.direction();
    if exit.is_untagged() {
        let size = (packet.key.protocol, packet.len);
        in_place::translate::<A, I>(frame, size, direction, to, exit)
    } else {
        let packet = parsed(packet, Carried::default());
        rewrite::nat::translate::<A, I>(frame, &packet, direction, to.to, *exit)
    }
}

/// What a packet on the straight line means to its flow.
#[inline(always)]
fn observed<A: Ip>(packet: &Straight<A>) -> Observed {
    Observed {
        direction: packet.direction(),
        event: (packet.key.protocol == Protocol::TCP).then_some(TcpEvent::Ack),
        octets: u32::from(packet.len),
    }
}

/// What becomes of a frame that has been rewritten, or could not be.
#[inline(always)]
pub(super) fn verdict(state: &State, sent: Result<(), DropReason>, port: PortId) -> Verdict {
    match sent {
        Ok(()) => Verdict::Forward(port),
        Err(reason) => dropped(state, reason),
    }
}

#[cold]
fn dropped(state: &State, reason: DropReason) -> Verdict {
    state.counters.dropped[reason.index()].add(1);
    Verdict::Drop(reason)
}

impl<A: Ip> Straight<A> {
    /// The key, if the packet is a client's.
    #[inline(always)]
    pub(in crate::pipeline) fn client_key(&self) -> Option<&FlowKey<A>> {
        (self.direction() == Direction::Forward).then_some(&self.key)
    }

    /// What the packet means to TCP if it may be its flow's first: `None` if it may not.
    #[inline(always)]
    pub(in crate::pipeline) fn first_event(&self) -> Option<Option<TcpEvent>> {
        match self.key.protocol {
            Protocol::UDP => Some(None),
            Protocol(_) => self.opens().then_some(Some(TcpEvent::Syn)),
        }
    }

    /// The packet of a frame as the parser would see it.
    #[inline(always)]
    pub(in crate::pipeline) fn parsed<I: Io>(&self, frame: &I::Frame) -> Option<Parsed<A>> {
        let header = I::head(frame).get(usize::from(L3)..)?;
        Some(parsed(self, A::carried(header)?))
    }
}

/// The packet as the parser would see it: the compiler keeps only what is read of it.
#[inline(always)]
fn parsed<A: Ip>(packet: &Straight<A>, carried: Carried) -> Parsed<A> {
    let Straight { key, len, kind: _ } = packet;
    let client = (key.client, key.client_port);
    let remote = (key.remote, key.remote_port);
    let ((src, sport), (dst, dport)) = match packet.direction() {
        Direction::Forward => (client, remote),
        Direction::Reverse => (remote, client),
    };
    Parsed {
        src,
        dst,
        sport,
        dport,
        l3: L3,
        l4: L3 + A::HEADER_LEN,
        end: L3 + len,
        fragment_header: 0,
        fragment: Fragment::Whole,
        protocol: key.protocol,
        ttl: carried.ttl,
        tos: carried.tos,
        tcp_flags: TcpFlags::ACK,
        dont_fragment: carried.dont_fragment,
        udp_checksum_zero: false,
    }
}
