//! The way out of the straight line.

use weir_wire::addr::{L4Port, Protocol};
use weir_wire::parse::{Fragment, Parsed};
use weir_wire::tcp::TcpFlags;

use super::{L3, Run, Straight};
use crate::commit::count;
use crate::engine::State;
use crate::family::{Carried, Ip};
use crate::flow::tcp::TcpEvent;
use crate::flow::{Direction, FlowEntry, FlowKey, Observed};
use crate::id::{PortId, ServerId};
use crate::io::Io;
use crate::lane::{Lane, Lanes};
use crate::pipeline::Key;
use crate::rewrite::tunnel::Outer;
use crate::rewrite::{self, Exit, in_place};
use crate::tables::{Mode, Server, Tables};
use crate::time::{Tick, Time};
use crate::verdict::{DropReason, Verdict};

/// Carries packets out; made once per burst and family.
#[derive(Debug)]
pub(in crate::pipeline) struct Carrier<'a, A> {
    tables: &'a Tables,
    lanes: &'a Lanes,
    now: Time,
    tick: Tick,
    forward: Run,
    back: Run,
    router: Router<A>,
}

/// The router that the reply before went to: the next one mostly goes there too.
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
    fn way(&mut self, tables: &Tables, client: A) -> Option<(PortId, &Exit)> {
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
    pub(in crate::pipeline) fn new(tables: &'a Tables, now: Time) -> Self {
        Self {
            tables,
            lanes: &tables.lanes,
            now,
            tick: now.tick(),
            forward: Run::new(Direction::Forward),
            back: Run::new(Direction::Reverse),
            router: Router::NONE,
        }
    }

    /// Carries packets of known flows out, one after the other, and returns how many. The one
    /// behind them, if there is one, is for the stages that know every case: its frame and its
    /// flow are untouched.
    #[inline(never)]
    pub(in crate::pipeline) fn carry<I: Io>(
        &mut self,
        state: &mut State,
        frames: &mut [I::Frame],
        keys: &[Key<A>],
        verdicts: &mut [Verdict],
    ) -> usize {
        let mut carried = 0;
        for ((frame, key), verdict) in frames.iter_mut().zip(keys).zip(verdicts) {
            let Some(sent) = self.carry_one::<I>(state, frame, key) else {
                break;
            };
            *verdict = sent;
            carried += 1;
        }
        carried
    }

    /// Counts what is not counted yet: at the end of a burst.
    pub(in crate::pipeline) fn flush(&mut self, state: &State) {
        self.forward.flush(state);
        self.back.flush(state);
    }

    #[inline(always)]
    fn carry_one<I: Io>(
        &mut self,
        state: &mut State,
        frame: &mut I::Frame,
        key: &Key<A>,
    ) -> Option<Verdict> {
        if key.straight.opens {
            return None;
        }
        let carried = match key.straight.direction {
            Direction::Forward => self.forward::<I>(state, frame, key),
            Direction::Reverse => self.reply::<I>(state, frame, key),
        };
        carried.or_else(|| self.carry_another::<I>(state, frame, key))
    }

    /// Carries a packet to its server, if it leaves its flow as it is and that is where flows
    /// mostly are.
    #[inline(always)]
    fn forward<I: Io>(
        &mut self,
        state: &mut State,
        frame: &mut I::Frame,
        Key {
            hint,
            straight: packet,
            ..
        }: &Key<A>,
    ) -> Option<Verdict> {
        let flows = A::flows_mut(state);
        let entry = flows.live_mut(*hint, &packet.key, Direction::Forward, self.tick)?;
        let id = entry.server();
        let lane = self.lanes.of(id).filter(|lane| packet.len <= lane.room)?;
        if !entry.go_on(lane.idle(), packet.len, self.tick) {
            return None;
        }
        let to = (!lane.in_place).then(|| entry.far_end(Direction::Forward));
        self.forward.add(state, lane.service, packet.len);
        count(state, Direction::Forward, None, Some(id.index), packet.len);
        let sent = match to {
            None => in_place::direct::<A, I>(frame, packet.len, &lane.exit),
            Some(to) => rewrite::<A, I>((state, self.tables), frame, packet, (lane, id), to),
        };
        Some(match sent {
            Ok(()) => Verdict::Forward(lane.port),
            Err(reason) => dropped(state, reason),
        })
    }

    /// Carries a reply to its client, likewise.
    #[inline(never)]
    fn reply<I: Io>(
        &mut self,
        state: &mut State,
        frame: &mut I::Frame,
        Key {
            hint,
            straight: packet,
            ..
        }: &Key<A>,
    ) -> Option<Verdict> {
        let flows = A::flows_mut(state);
        let entry = flows.live_mut(*hint, &packet.key, Direction::Reverse, self.tick)?;
        let id = entry.server();
        let lane = self.lanes.of(id)?;
        if !answers(entry, lane) {
            return None;
        }
        let (port, exit) = self.router.way(self.tables, packet.key.client)?;
        if packet.len > exit.mtu || !entry.go_on(lane.idle(), packet.len, self.tick) {
            return None;
        }
        let to = entry.far_end(Direction::Reverse);
        self.back.add(state, lane.service, packet.len);
        count(state, Direction::Reverse, None, Some(id.index), packet.len);
        Some(match translate::<A, I>(frame, packet, to, exit) {
            Ok(()) => Verdict::Forward(port),
            Err(reason) => dropped(state, reason),
        })
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
        let flows = A::flows_mut(state);
        let (entry, direction) = flows.confirm_mut(&packet.key, key.hash, key.hint, self.now)?;
        if direction != packet.direction {
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
        let to = entry.far_end(direction);
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
        run.add(state, lane.service, packet.len);
        count(state, direction, None, Some(id.index), packet.len);
        let sent = match direction {
            Direction::Forward => {
                rewrite::<A, I>((state, self.tables), frame, packet, (lane, id), to)
            }
            Direction::Reverse => translate::<A, I>(frame, packet, to, exit),
        };
        Some(match sent {
            Ok(()) => Verdict::Forward(port),
            Err(reason) => dropped(state, reason),
        })
    }
}

/// Whether a reply of a flow's server may be carried by its lane: the server's first word is noted
/// elsewhere.
#[inline(always)]
fn answers<A: Ip>(entry: &FlowEntry<A>, lane: &Lane) -> bool {
    !entry.is_unanswered() && entry.service() == lane.service
}

/// Does the work of a server's mode.
#[inline(never)]
fn rewrite<A: Ip, I: Io>(
    (state, tables): (&mut State, &Tables),
    frame: &mut I::Frame,
    packet: &Straight<A>,
    (lane, id): (&Lane, ServerId),
    to: (A, L4Port),
) -> Result<(), DropReason> {
    match lane.mode {
        Mode::Nat => translate::<A, I>(frame, packet, to, &lane.exit),
        Mode::Dr => rewrite::direct::<A, I>(frame, &parsed(packet, Carried::default()), lane.exit),
        Mode::Tunnel => wrap::<A, I>(state, frame, packet, tables.server(id), lane.exit),
    }
}

/// Translates a packet.
#[inline(always)]
fn translate<A: Ip, I: Io>(
    frame: &mut I::Frame,
    packet: &Straight<A>,
    to: (A, L4Port),
    exit: &Exit,
) -> Result<(), DropReason> {
    let (key, direction) = (&packet.key, packet.direction);
    if exit.is_untagged() {
        let from = (key.remote, key.remote_port);
        let size = (key.protocol, packet.len);
        in_place::translate::<A, I>(frame, size, direction, (from, to), exit)
    } else {
        let packet = parsed(packet, Carried::default());
        rewrite::nat::translate::<A, I>(frame, &packet, direction, to, *exit)
    }
}

/// What a packet on the straight line means to its flow.
#[inline(always)]
fn observed<A: Ip>(packet: &Straight<A>) -> Observed {
    Observed {
        direction: packet.direction,
        event: (packet.key.protocol == Protocol::TCP).then_some(TcpEvent::Ack),
        octets: u32::from(packet.len),
    }
}

#[cold]
fn dropped(state: &State, reason: DropReason) -> Verdict {
    state.counters.dropped[reason.index()].add(1);
    Verdict::Drop(reason)
}

/// Wraps a packet.
#[inline(always)]
fn wrap<A: Ip, I: Io>(
    state: &mut State,
    frame: &mut I::Frame,
    packet: &Straight<A>,
    server: Option<&Server>,
    exit: Exit,
) -> Result<(), DropReason> {
    let outer = server.and_then(Outer::of).ok_or(DropReason::NoRoute)?;
    let header = I::head(frame).get(usize::from(L3)..).unwrap_or(&[]);
    let carried = A::carried(header).ok_or(DropReason::Truncated)?;
    let id = state.take_id_u16();
    rewrite::tunnel::encapsulate::<A, I>(frame, &parsed(packet, carried), outer, id, exit)
}

impl<A: Ip> Straight<A> {
    /// The key, if the packet is a client's.
    #[inline(always)]
    pub(in crate::pipeline) fn client_key(&self) -> Option<&FlowKey<A>> {
        (self.direction == Direction::Forward).then_some(&self.key)
    }

    /// What the packet means to TCP if it may be its flow's first: `None` if it may not.
    #[inline(always)]
    pub(in crate::pipeline) fn first_event(&self) -> Option<Option<TcpEvent>> {
        match self.key.protocol {
            Protocol::UDP => Some(None),
            Protocol(_) => self.opens.then_some(Some(TcpEvent::Syn)),
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
    let Straight {
        key,
        len,
        direction,
        opens: _,
    } = packet;
    let client = (key.client, key.client_port);
    let remote = (key.remote, key.remote_port);
    let ((src, sport), (dst, dport)) = match direction {
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
