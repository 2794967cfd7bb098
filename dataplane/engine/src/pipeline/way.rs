//! The last stages: what is decided is carried out, and the frame rewritten or answered.

use core::net::IpAddr;

use weir_wire::addr::L4Port;
use weir_wire::parse::{Fragment, Parsed};

use super::entry::is_intact;
use super::{FamilyKeys, Item, Key, Task};
use crate::answer::{Answer, Draft};
use crate::classify::{self, Part, Subject};
use crate::commit::{NoRoom, commit, count_error, hear};
use crate::decide::{self, Plan, Rewrite, Send, Serve, Then, View};
use crate::engine::State;
use crate::family::Ip;
use crate::flow::Direction;
use crate::id::PortId;
use crate::io::Io;
use crate::outcome::Outcome;
use crate::rewrite::{self, Exit};
use crate::tables::{Hop, Tables};
use crate::time::Time;
use crate::verdict::{DropReason, Verdict, Wait};

/// The last stages: what is decided is carried out and the frame rewritten.
pub(super) struct Way<'a, I: Io> {
    pub(super) state: &'a mut State,
    pub(super) io: &'a mut I,
    pub(super) tables: &'a Tables,
    pub(super) now: Time,
    pub(super) outcome: &'a mut Outcome,
    /// The frame's place in the burst.
    pub(super) at: usize,
}

impl<I: Io> Way<'_, I> {
    /// Notes a frame's verdict, and counts it if it is a drop.
    #[inline]
    pub(super) fn conclude(&mut self, verdict: Verdict) {
        if let Verdict::Drop(reason) = verdict {
            self.state.counters.dropped[reason.index()].add(1);
        }
        self.outcome.set(self.at, verdict);
    }

    /// Decides about a packet and carries that out.
    #[inline]
    pub(super) fn settle<A: Ip>(
        &mut self,
        frame: &mut I::Frame,
        item: &Item<A>,
        keys: &FamilyKeys<A>,
    ) -> Verdict {
        let (subject, at) = match &item.task {
            Task::Flow(subject, at) => (subject, *at),
            Task::Answer(reason, answer) => {
                self.answer(frame, item, Direction::Forward, *reason, *answer);
                return Verdict::Drop(*reason);
            }
        };
        let flows = A::flows(self.state);
        let Key { hash, hint, .. } = keys.keys[at];
        let found = flows
            .confirm(&subject.key, hash, hint, self.now)
            // An earlier packet of this very burst may have started the flow.
            .or_else(|| flows.lookup(&subject.key, hash, self.now));
        let view = View {
            tables: self.tables,
            state: self.state,
            now: self.now,
        };
        let plan = decide::plan(view, subject, &item.packet, found);
        let plan = match plan {
            Plan::Serve(serve) => {
                let len = item.packet.end - item.packet.l3;
                match commit(self.state, self.tables, self.now, &serve, len) {
                    Ok(()) => return self.then(frame, item, &serve),
                    Err(NoRoom) => self.without_state(item, subject),
                }
            }
            Plan::Drop(..) | Plan::Punt(_) | Plan::Hold(..) => plan,
        };
        match plan {
            Plan::Drop(reason, None) => Verdict::Drop(reason),
            Plan::Drop(reason, Some(answer)) => {
                self.answer(frame, item, subject.direction, reason, answer);
                Verdict::Drop(reason)
            }
            Plan::Punt(class) => Verdict::Punt(class),
            Plan::Hold(port, neighbour) => self.hold(frame, item, port, neighbour),
            Plan::Serve(serve) => self.then(frame, item, &serve),
        }
    }

    /// Plans again for a packet whose flow found no room.
    #[cold]
    fn without_state<A: Ip>(&mut self, item: &Item<A>, subject: &Subject<A>) -> Plan<A> {
        let counters = &self.state.counters;
        counters.flow_insert_failures.add(1);
        let view = View {
            tables: self.tables,
            state: self.state,
            now: self.now,
        };
        let plan = decide::without_state(view, subject, &item.packet);
        if let Plan::Serve(serve) = &plan {
            if let Some(service) = self.tables.service(serve.service) {
                let timeouts = &service.timeouts;
                self.state.forward_without_state(timeouts, self.now);
            }
            let len = item.packet.end - item.packet.l3;
            // Nothing is entered, so nothing can fail.
            let _ = commit(self.state, self.tables, self.now, serve, len);
        }
        plan
    }

    #[inline]
    fn then<A: Ip>(&mut self, frame: &mut I::Frame, item: &Item<A>, serve: &Serve<A>) -> Verdict {
        match &serve.then {
            Then::Answer(reason, answer) => {
                let direction = serve.direction;
                if let Some(len) = self.answer(frame, item, direction, *reason, *answer) {
                    count_error(self.state, self.tables, serve, len);
                }
                Verdict::Drop(*reason)
            }
            Then::Send(send) => match self.send(frame, item, serve, send) {
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
        serve: &Serve<A>,
        send: &Send<A>,
    ) -> Result<(), DropReason> {
        let port = self.tables.port(send.to.port).ok_or(DropReason::NoRoute)?;
        let exit = Exit::new(port, send.to.mac);
        let (packet, direction) = (&item.packet, serve.direction);
        match send.rewrite {
            Rewrite::Direct => rewrite::direct::<A, I>(frame, packet, exit)?,
            Rewrite::Translate(address, l4_port) => {
                let to = (address, l4_port);
                if item.is_error() {
                    self.translate_error(frame, packet, serve, to, exit)?;
                } else {
                    rewrite::nat::translate::<A, I>(frame, packet, direction, to, exit)?;
                }
            }
            Rewrite::Tunnel(outer) => {
                let id = self.state.take_id_u16();
                rewrite::tunnel::encapsulate::<A, I>(frame, packet, outer, id, exit)?;
            }
        }
        if send.oversize {
            self.fragment(frame, send.to.port, exit)?;
        }
        Ok(())
    }

    /// Translates an ICMP error, and notes what it tells of its flow's server.
    #[cold]
    fn translate_error<A: Ip>(
        &mut self,
        frame: &mut I::Frame,
        packet: &Parsed<A>,
        serve: &Serve<A>,
        to: (A, L4Port),
        exit: Exit,
    ) -> Result<(), DropReason> {
        let cause = classify::cause(packet, I::head(frame));
        hear(self.state, serve, cause, packet.src);
        rewrite::nat::translate_error::<A, I>(frame, packet, serve.direction, to, exit)
    }

    #[cold]
    fn fragment(
        &mut self,
        frame: &mut I::Frame,
        port: PortId,
        exit: Exit,
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
        I::set_note(frame, item.arrival.note.bits());
        self.outcome.wait_for(self.at, port, neighbour);
        Verdict::Hold(Wait::Neighbour)
    }

    /// Answers the sender of a frame that is dropped; returns the answer's octets of IP.
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
    ) -> Option<u16> {
        // In a flood most answers end here: before their way is looked for and their packet summed.
        if !self.state.may_answer_somebody(self.now) {
            return None;
        }
        let Item {
            packet, arrival, ..
        } = item;
        let (port_id, mac) = match A::family(self.tables).hop(packet.src) {
            Hop::Ready(hop) => (hop.port, hop.mac),
            // No honest station's address is a group's; an answer would go to all of that group.
            Hop::Unresolved { .. } | Hop::NoRoute if arrival.from.is_multicast() => return None,
            Hop::Unresolved { .. } | Hop::NoRoute => (arrival.port, arrival.from),
        };
        let port = self.tables.port(port_id)?;
        let from = match direction {
            Direction::Forward => packet.dst,
            // A server is told by the router it sees, which is this director's own address.
            Direction::Reverse => port
                .addresses
                .iter()
                .find_map(|(dip, _)| A::from_ip(*dip))?,
        };
        // A host does not see a damaged segment or datagram; a router, and IPVS for a service
        // without servers, looks at IP and ports only.
        let as_host = answer == Answer::Reset || reason == DropReason::Unserved;
        let whole = packet.fragment == Fragment::Whole;
        if as_host && whole && !is_intact::<A, I>(frame, packet) {
            return None;
        }
        if !self.state.may_answer(packet.src, self.now) {
            return None;
        }
        let id = self.state.take_id_u16();
        let exit = Exit::new(port, mac);
        let link_len = exit.link_len();
        let draft = Draft {
            packet,
            from,
            exit,
            id,
        };
        let new = draft.write(self.io, frame, answer)?;
        let len = u16::try_from(I::len(&new) - link_len).ok();
        self.state.counters.originated.add(1);
        self.io.originate(port_id, new);
        len
    }
}

impl<A: Ip> Item<A> {
    #[inline]
    fn is_error(&self) -> bool {
        matches!(
            &self.task,
            Task::Flow(
                Subject {
                    part: Part::Error,
                    ..
                },
                _
            )
        )
    }
}
