//! A burst's way through the engine, in stages, so that the memory latencies of its packets
//! overlap: parse → look up → decide → rewrite. Begin reading at [`Engine::run`].
//!
//! No allocation, lock, log, clock or growth. Every frame gets exactly one verdict. Frames that
//! are held, handed over or punted leave as they came, but for their note and, at times, how they
//! are cut into segments.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::ParseError;
use weir_wire::parse::{self, Fragment, Frame, HEADERS_LEN_MAX, Parsed};

use crate::answer::{Answer, Draft};
use crate::classify::{self, Arrival, Class, Part, Piece, Subject};
use crate::commit::{NoRoom, commit};
use crate::decide::{self, Plan, Rewrite, Send, Then, View};
use crate::engine::{Engine, State};
use crate::family::Ip;
use crate::flow::{Direction, FlowHash, Hint};
use crate::fragment::table::{FragmentData, FragmentKey, FragmentPorts};
use crate::id::{DeviceId, PortId};
use crate::io::Io;
use crate::note::Note;
use crate::outcome::Outcome;
use crate::rewrite::{self, Exit};
use crate::tables::{Hop, Tables, Vip};
use crate::time::Time;
use crate::verdict::{DropReason, Verdict, Wait};

/// The most frames in one burst.
pub const BURST_MAX: usize = 64;

/// Where a burst comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// A device's queue.
    Device(DeviceId),
    /// Other workers. Each frame's [`Note`] tells its device and, of fragments, the L4 ports.
    HandedIn,
    /// The worker's own holding place: frames that got [`Verdict::Hold`], to be tried again.
    Released,
}

/// A frame after parsing: decided, or waiting for its flow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Done(Verdict),
    V4(Item<Ipv4Addr>),
    V6(Item<Ipv6Addr>),
}

/// A packet that is looked up or answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<A: Ip> {
    packet: Parsed<A>,
    arrival: Arrival,
    task: Task<A>,
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug)]
enum Task<A: Ip> {
    /// Its flow's key is in this place of the stage's keys.
    Flow(Subject<A>, usize),
    /// Nothing but an answer.
    Answer(DropReason, Answer),
}

/// Flow keys of one family, densely.
#[derive(Debug)]
pub(crate) struct FamilyKeys<A> {
    hashes: [FlowHash; BURST_MAX],
    hints: [Hint; BURST_MAX],
    count: usize,
    family: core::marker::PhantomData<A>,
}

/// Flow keys of both families.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) v4: FamilyKeys<Ipv4Addr>,
    pub(crate) v6: FamilyKeys<Ipv6Addr>,
}

/// What the stages hand on.
#[derive(Debug)]
pub(crate) struct Stage {
    work: [Work; BURST_MAX],
    keys: Keys,
}

/// The VIP that the packet before went to, because the next one mostly goes there too.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    pub(crate) v4: Option<(Ipv4Addr, Option<Vip>)>,
    pub(crate) v6: Option<(Ipv6Addr, Option<Vip>)>,
}

impl<A> Default for FamilyKeys<A> {
    fn default() -> Self {
        Self {
            hashes: [FlowHash::default(); BURST_MAX],
            hints: [Hint::Absent; BURST_MAX],
            count: 0,
            family: core::marker::PhantomData,
        }
    }
}

impl Default for Stage {
    fn default() -> Self {
        let none = Work::Done(Verdict::Drop(DropReason::Truncated));
        Self { work: [none; BURST_MAX], keys: Keys::default() }
    }
}

impl Engine {
    /// Runs one burst of at most [`BURST_MAX`] frames.
    ///
    /// Afterwards the verdict at `i` in `outcome` belongs to `frames[i]`, which has been rewritten
    /// in place if it is to be forwarded. Answers and extra fragments went to
    /// [`Io::originate`]. Drops are counted here, everything else by the worker: see
    /// [`WorkerCounters`](crate::counters::WorkerCounters).
    pub fn run<I: Io>(
        &mut self,
        io: &mut I,
        tables: &Tables,
        now: Time,
        ingress: Ingress,
        frames: &mut [I::Frame],
        outcome: &mut Outcome,
    ) {
        debug_assert!(frames.len() <= BURST_MAX, "the worker receives bursts of BURST_MAX");
        let Self { state, stage } = self;
        let Stage { work, keys } = &mut **stage;
        outcome.begin(frames.len());
        (keys.v4.count, keys.v6.count) = (0, 0);

        let mut memo = Memo::default();
        for at in 0..frames.len().min(BURST_MAX) {
            if let Some(ahead) = frames.get(at + PREFETCH_AHEAD) {
                prefetch_head::<I>(ahead);
            }
            let memo = &mut memo;
            let mut entry = Entry { state, tables, now, ingress, keys, memo, outcome };
            work[at] = entry.parse::<I>(&mut frames[at]);
        }

        state.v4.prefetch_buckets(keys.v4.hashes());
        state.v6.prefetch_buckets(keys.v6.hashes());
        keys.v4.find_hints(&state.v4);
        keys.v6.find_hints(&state.v6);

        for (at, (frame, work)) in frames.iter_mut().zip(work.iter()).enumerate() {
            let mut exit = Way { state, io, tables, now, outcome };
            let verdict = match work {
                Work::Done(verdict) => *verdict,
                Work::V4(item) => exit.settle(frame, item, &keys.v4),
                Work::V6(item) => exit.settle(frame, item, &keys.v6),
            };
            if let Verdict::Drop(reason) = verdict {
                state.counters.dropped[reason.index()].add(1);
            }
            outcome.set(at, verdict);
        }
    }
}

/// How many frames ahead of the parser their first octets are asked for.
const PREFETCH_AHEAD: usize = 4;

#[inline]
fn prefetch_head<I: Io>(frame: &I::Frame) {
    if let Some(first) = I::head(frame).first() {
        weir_prefetch::prefetch_read(first);
    }
}

impl<A: Ip> FamilyKeys<A> {
    #[inline]
    fn hashes(&self) -> &[FlowHash] {
        &self.hashes[..self.count]
    }

    #[inline]
    fn push(&mut self, hash: FlowHash) -> usize {
        let at = self.count;
        self.hashes[at] = hash;
        self.count += 1;
        at
    }

    #[inline]
    fn find_hints(&mut self, flows: &crate::flow::FlowTable<A>) {
        let Self { hashes, hints, count, .. } = self;
        flows.find_hints(&hashes[..*count], &mut hints[..*count]);
    }
}

/// The first stage: from octets to a flow key or a verdict.
struct Entry<'a> {
    state: &'a mut State,
    tables: &'a Tables,
    now: Time,
    ingress: Ingress,
    keys: &'a mut Keys,
    memo: &'a mut Memo,
    outcome: &'a mut Outcome,
}

impl Entry<'_> {
    #[inline]
    fn parse<I: Io>(&mut self, frame: &mut I::Frame) -> Work {
        let (device, ports) = match self.ingress {
            Ingress::Device(device) => (device, None),
            Ingress::HandedIn | Ingress::Released => {
                let note = Note::from_bits(I::note(frame));
                (note.device(), note.ports())
            }
        };
        let (link, found) = match parse_frame::<I>(frame) {
            Ok(found) => found,
            Err(error) => return Work::Done(Verdict::Drop(reason(error))),
        };
        let port_id = self.tables.devices.get(device.index()).and_then(|d| d.port(link.vlan));
        let known = port_id.and_then(|id| Some((id, self.tables.port(id)?)));
        let Some((port_id, port)) = known.filter(|_| link.inner_vlan.is_none()) else {
            return Work::Done(Verdict::Drop(DropReason::UnknownVlan));
        };
        let arrival = Arrival { device, port: port_id, link, ports };
        match found {
            Frame::V4(packet) => self.packet::<_, I>(frame, packet, arrival),
            Frame::V6(packet) => self.packet::<_, I>(frame, packet, arrival),
            Frame::Arp => Work::Done(classify::not_ip(port, &link, None)),
            Frame::OtherEther(other) => {
                Work::Done(classify::not_ip(port, &link, Some(other)))
            }
        }
    }

    #[inline]
    fn packet<A: Ip, I: Io>(
        &mut self,
        frame: &mut I::Frame,
        packet: Parsed<A>,
        arrival: Arrival,
    ) -> Work {
        let tables = self.tables;
        let Some(port) = tables.port(arrival.port) else {
            return Work::Done(Verdict::Drop(DropReason::UnknownVlan));
        };
        if packet.protocol == A::ICMP {
            gather_icmp::<A, I>(frame, &packet);
        }
        let vip = self.vip(packet.dst);
        let mut arrival = arrival;
        let subject = match classify::ip(tables, &packet, &arrival, vip, port, I::head(frame)) {
            Class::Verdict(verdict) => return Work::Done(verdict),
            Class::Answer(reason, answer) => {
                return A::work(Item { packet, arrival, task: Task::Answer(reason, answer) });
            }
            Class::Flow(subject) => subject,
            Class::Fragment(piece) => {
                let ports = match self.ports(&packet, &arrival, &piece) {
                    Ok(ports) => ports,
                    Err(verdict) => {
                        I::set_note(frame, arrival.note().bits());
                        return Work::Done(verdict);
                    }
                };
                arrival.ports = Some(ports);
                classify::piece(&packet, ports, piece.direction)
            }
        };
        let owner = tables.steering.owner(subject.key.client, subject.key.client_port);
        if owner != self.state.worker && !tables.steering.is_single() {
            I::set_note(frame, arrival.note().bits());
            return Work::Done(Verdict::HandOver(owner));
        }
        let hash = A::flows(self.state).hash(&subject.key);
        let at = A::keys(self.keys).push(hash);
        A::work(Item { packet, arrival, task: Task::Flow(subject, at) })
    }

    /// The ports of a fragment's packet, or what becomes of the fragment without them.
    ///
    /// One worker, the fragment owner, sees all fragments of a packet first. What it finds out
    /// travels with the frame, so that nobody asks twice.
    #[cold]
    fn ports<A: Ip>(
        &mut self,
        packet: &Parsed<A>,
        arrival: &Arrival,
        piece: &Piece<A>,
    ) -> Result<FragmentPorts, Verdict> {
        if let Some(ports) = arrival.ports {
            return Ok(ports);
        }
        let (id, offset, last) = match packet.fragment {
            Fragment::Whole => (0, 0, true),
            Fragment::First { id } => (id, 0, false),
            Fragment::Later { id, offset, last } => (id, offset, last),
        };
        let steering = &self.tables.steering;
        let owner = steering.fragment_owner(piece.client, id);
        if owner != self.state.worker && !steering.is_single() {
            return Err(Verdict::HandOver(owner));
        }
        let key = FragmentKey::new(packet.src, packet.dst, id, packet.protocol);
        let data = FragmentData { offset, len: packet.end - packet.l4, last };
        let fragments = A::fragments(self.state);
        let bad = |_| Verdict::Drop(DropReason::BadFragment);
        if offset == 0 {
            let Parsed { sport, dport, protocol, .. } = *packet;
            let ports = FragmentPorts { sport, dport, protocol };
            fragments.insert(&key, ports, data, self.now).map_err(bad)?;
            self.outcome.first_fragment();
            return Ok(ports);
        }
        match fragments.lookup(&key, data, self.now).map_err(bad)? {
            Some(ports) => Ok(ports),
            None if piece.direction == Direction::Reverse => Err(piece.otherwise),
            None => Err(Verdict::Hold(Wait::FirstFragment)),
        }
    }

    /// The VIP at an address.
    #[inline]
    fn vip<A: Ip>(&mut self, address: A) -> Option<Vip> {
        let memo = A::memo(self.memo);
        if let Some((last, vip)) = memo
            && *last == address
        {
            return *vip;
        }
        let vip = A::family(self.tables).vips.get(&address).copied();
        *memo = Some((address, vip));
        vip
    }
}

/// Parses a frame, gathering its headers in the first segment if they are not there.
#[inline]
fn parse_frame<I: Io>(frame: &mut I::Frame) -> Result<(parse::Link, Frame), ParseError> {
    let len = I::len(frame);
    match parse::parse(I::head(frame), len) {
        Err(ParseError::Split) => {
            I::pull(frame, len.min(HEADERS_LEN_MAX));
            parse::parse(I::head(frame), len)
        }
        parsed => parsed,
    }
}

/// Gathers an ICMP message up to the ports of the packet that it may quote.
#[cold]
fn gather_icmp<A: Ip, I: Io>(frame: &mut I::Frame, packet: &Parsed<A>) {
    const QUOTE_HEADERS_MAX: usize = 8 + 40 + weir_wire::ipv6::EXTENSIONS_LEN_MAX + 20;
    let wanted = usize::from(packet.end).min(usize::from(packet.l4) + QUOTE_HEADERS_MAX);
    if I::head(frame).len() < wanted {
        I::pull(frame, wanted);
    }
}

/// The drop reason of a frame that cannot be parsed.
#[cold]
fn reason(error: ParseError) -> DropReason {
    match error {
        // Headers that do not even fit a buffer of their own.
        ParseError::Truncated | ParseError::Split => DropReason::Truncated,
        ParseError::Malformed | ParseError::BadUdpLength | ParseError::Jumbogram => {
            DropReason::Malformed
        }
        ParseError::Oversize => DropReason::Oversize,
        ParseError::LlcFrame => DropReason::UnknownEtherType,
        ParseError::VlanDepth => DropReason::UnknownVlan,
        ParseError::BadIpChecksum => DropReason::BadIpChecksum,
        ParseError::SourceRoute => DropReason::SourceRoute,
        ParseError::TinyFragment => DropReason::TinyFragment,
        ParseError::FragmentOverflow => DropReason::BadFragment,
        ParseError::ExtensionChain => DropReason::ExtensionChain,
    }
}

/// The last stages: what is decided is carried out and the frame rewritten.
struct Way<'a, I: Io> {
    state: &'a mut State,
    io: &'a mut I,
    tables: &'a Tables,
    now: Time,
    outcome: &'a mut Outcome,
}

impl<I: Io> Way<'_, I> {
    /// Decides about a packet and carries that out.
    #[inline]
    fn settle<A: Ip>(
        &mut self,
        frame: &mut I::Frame,
        item: &Item<A>,
        keys: &FamilyKeys<A>,
    ) -> Verdict {
        let (subject, at) = match &item.task {
            Task::Flow(subject, at) => (subject, *at),
            Task::Answer(reason, answer) => {
                return self.answer(frame, item, Direction::Forward, *reason, *answer);
            }
        };
        let flows = A::flows(self.state);
        let (hash, candidate) = (keys.hashes[at], keys.hints[at]);
        let found = flows
            .confirm(&subject.key, hash, candidate, self.now)
            // An earlier packet of this very burst may have started the flow.
            .or_else(|| flows.lookup(&subject.key, hash, self.now));
        let view = View { tables: self.tables, state: self.state, now: self.now };
        let plan = decide::plan(view, subject, &item.packet, found);
        let plan = match plan {
            Plan::Serve(serve) => {
                let len = item.packet.end - item.packet.l3;
                match commit(self.state, self.tables, self.now, &serve, len) {
                    Ok(()) => return self.then(frame, item, serve.direction, serve.then),
                    Err(NoRoom) => self.without_state(item, subject),
                }
            }
            plan => plan,
        };
        match plan {
            Plan::Drop(reason, None) => Verdict::Drop(reason),
            Plan::Drop(reason, Some(answer)) => {
                self.answer(frame, item, subject.direction, reason, answer)
            }
            Plan::Punt(class) => Verdict::Punt(class),
            Plan::Hold(port, neighbour) => self.hold(frame, item, port, neighbour),
            Plan::Serve(serve) => self.then(frame, item, serve.direction, serve.then),
        }
    }

    /// Plans again for a packet whose flow found no room.
    #[cold]
    fn without_state<A: Ip>(&mut self, item: &Item<A>, subject: &Subject<A>) -> Plan<A> {
        let counters = &self.state.counters;
        counters.flow_insert_failures.add(1);
        let view = View { tables: self.tables, state: self.state, now: self.now };
        let plan = decide::without_state(view, subject, &item.packet);
        if let Plan::Serve(serve) = &plan {
            // All of the flow's packets come without an entry, for as long as it may live.
            let service = self.tables.service(serve.service);
            let established = crate::flow::tcp::TcpState::Established;
            let span = service.map(|s| s.timeouts.tcp(established).as_duration());
            self.state.stateless_until = self.now + span.unwrap_or_default();
            let len = item.packet.end - item.packet.l3;
            // Nothing is entered, so nothing can fail.
            let _ = commit(self.state, self.tables, self.now, serve, len);
        }
        plan
    }

    #[inline]
    fn then<A: Ip>(
        &mut self,
        frame: &mut I::Frame,
        item: &Item<A>,
        direction: Direction,
        then: Then<A>,
    ) -> Verdict {
        match then {
            Then::Answer(reason, answer) => self.answer(frame, item, direction, reason, answer),
            Then::Send(send) => match self.send(frame, item, direction, &send) {
                Ok(()) => Verdict::Forward(send.to.port),
                Err(reason) => Verdict::Drop(reason),
            },
        }
    }

    /// Rewrites a frame for its way out.
    #[inline]
    fn send<A: Ip>(
        &mut self,
        frame: &mut I::Frame,
        item: &Item<A>,
        direction: Direction,
        send: &Send<A>,
    ) -> Result<(), DropReason> {
        let port = self.tables.port(send.to.port).ok_or(DropReason::NoRoute)?;
        let exit = Exit { port, mac: send.to.mac };
        let packet = &item.packet;
        match send.rewrite {
            Rewrite::Direct => rewrite::direct::<A, I>(frame, packet, exit)?,
            Rewrite::Translate(address, l4_port) => {
                let to = (address, l4_port);
                if item.is_error() {
                    rewrite::nat::translate_error::<A, I>(frame, packet, direction, to, exit)?;
                } else {
                    rewrite::nat::translate::<A, I>(frame, packet, direction, to, exit)?;
                }
            }
            Rewrite::Tunnel(outer) => {
                let [id, ..] = split_id(self.state.take_id());
                rewrite::tunnel::encapsulate::<A, I>(frame, packet, outer, id, exit)?;
            }
        }
        if send.oversize {
            self.fragment(frame, send.to.port, exit)?;
        }
        Ok(())
    }

    #[cold]
    fn fragment(
        &mut self,
        frame: &mut I::Frame,
        port: PortId,
        exit: Exit<'_>,
    ) -> Result<(), DropReason> {
        let id = self.state.take_id();
        let originated = rewrite::fragment::split(self.io, frame, port, exit, id)?;
        self.state.counters.originated.add(originated);
        Ok(())
    }

    /// Keeps a frame until its next hop is known.
    #[cold]
    fn hold<A: Ip>(
        &mut self,
        frame: &mut I::Frame,
        item: &Item<A>,
        port: PortId,
        neighbour: IpAddr,
    ) -> Verdict {
        I::set_note(frame, item.arrival.note().bits());
        self.outcome.unresolved(port, neighbour);
        Verdict::Hold(Wait::Neighbour)
    }

    /// Answers the sender of a frame that is dropped.
    ///
    /// The answer takes the route to its receiver. If there is none, or its next hop is not
    /// resolved, it goes back to where the frame came from, which did just now reach the client;
    /// waiting for ARP is not worth it for an answer that a client will ask for again.
    #[cold]
    fn answer<A: Ip>(
        &mut self,
        frame: &mut I::Frame,
        item: &Item<A>,
        direction: Direction,
        reason: DropReason,
        answer: Answer,
    ) -> Verdict {
        let verdict = Verdict::Drop(reason);
        let Item { packet, arrival, .. } = item;
        let (port_id, mac) = match A::family(self.tables).hop(packet.src) {
            Hop::Ready(hop) => (hop.port, hop.mac),
            Hop::Unresolved { .. } | Hop::NoRoute => (arrival.port, arrival.link.src),
        };
        let Some(port) = self.tables.port(port_id) else { return verdict };
        let from = match direction {
            Direction::Forward => Some(packet.dst),
            // A server is told by the router it sees, which is this director's own address.
            Direction::Reverse => port.addresses.iter().find_map(|(dip, _)| A::from_ip(*dip)),
        };
        let Some(from) = from else { return verdict };
        if !self.state.may_answer(packet.src, self.now) {
            return verdict;
        }
        let [id, ..] = split_id(self.state.take_id());
        let draft = Draft { packet, from, exit: Exit { port, mac }, id };
        if let Some(new) = draft.write(self.io, frame, answer) {
            self.state.counters.originated.add(1);
            self.io.originate(port_id, new);
        }
        verdict
    }
}

impl<A: Ip> Item<A> {
    #[inline]
    fn is_error(&self) -> bool {
        matches!(&self.task, Task::Flow(Subject { part: Part::Error, .. }, _))
    }
}

impl Arrival {
    /// What another worker, or a later try, has to know of the frame.
    fn note(&self) -> Note {
        let note = Note::new(self.device);
        match self.ports {
            Some(ports) => note.with_ports(ports),
            None => note,
        }
    }
}

/// The low and high half of an identification.
fn split_id(id: u32) -> [u16; 2] {
    let [a, b, c, d] = id.to_le_bytes();
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}
