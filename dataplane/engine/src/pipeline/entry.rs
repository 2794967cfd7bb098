//! The first stage: a frame's octets become a flow key, an answer to be given, or a verdict.

use weir_wire::ParseError;
use weir_wire::addr::{MacAddr, Protocol};
use weir_wire::checksum::Sum;
use weir_wire::parse::{self, Fragment, Frame, HEADERS_LEN_MAX, Parsed};

use super::{Ingress, Item, Keys, Memo, Task, Work};
use crate::answer::Answer;
use crate::classify::{self, Arrival, Class, Part, Piece, Subject};
use crate::engine::State;
use crate::family::Ip;
use crate::flow::Direction;
use crate::fragment::table::{FragmentData, FragmentKey, FragmentPorts};
use crate::io::Io;
use crate::note::Note;
use crate::outcome::Outcome;
use crate::tables::{Port, Tables, Vip};
use crate::time::Time;
use crate::verdict::{DropReason, Verdict, Wait};

/// The first stage: from octets to a flow key or a verdict.
pub(super) struct Entry<'a> {
    pub(super) state: &'a mut State,
    pub(super) tables: &'a Tables,
    pub(super) now: Time,
    pub(super) ingress: Ingress,
    pub(super) keys: &'a mut Keys,
    pub(super) memo: Memo,
    pub(super) outcome: &'a mut Outcome,
}

impl Entry<'_> {
    /// Parses a frame and says what is to be done with it.
    #[inline]
    pub(super) fn parse<I: Io>(&mut self, frame: &mut I::Frame) -> Work {
        let note = match self.ingress {
            Ingress::Device(device) => Note::new(device),
            Ingress::HandedIn | Ingress::Released => Note::from_bits(I::note(frame)),
        };
        let (link, found) = match parse_frame::<I>(frame) {
            Ok(found) => found,
            Err(error) => return Work::Done(Verdict::Drop(reason(error))),
        };
        let device = self.tables.devices.get(note.device().index());
        let id = device.and_then(|device| device.port(link.vlan));
        let known = id.and_then(|id| Some((id, self.tables.port(id)?)));
        let Some((id, port)) = known.filter(|_| link.inner_vlan.is_none()) else {
            return Work::Done(Verdict::Drop(DropReason::UnknownVlan));
        };
        let arrival = Arrival {
            note,
            port: id,
            from: link.src,
        };
        let world = (self.tables, self.now);
        match found {
            Frame::V4(packet) => self.packet::<_, I>(frame, &packet, arrival, link.dst, port),
            Frame::V6(packet) => self.packet::<_, I>(frame, &packet, arrival, link.dst, port),
            Frame::Arp => Work::Done(classify::not_ip(world, port, &link, None)),
            Frame::OtherEther(other) => {
                Work::Done(classify::not_ip(world, port, &link, Some(other)))
            }
        }
    }

    #[inline]
    fn packet<A: Ip, I: Io>(
        &mut self,
        frame: &mut I::Frame,
        packet: &Parsed<A>,
        arrival: Arrival,
        to: MacAddr,
        port: &Port,
    ) -> Work {
        if packet.protocol == A::ICMP {
            gather_icmp::<A, I>(frame, packet);
        }
        let vip = self.vip(packet.dst);
        let world = (self.tables, self.now);
        match classify::ip(world, packet, to, vip, port, I::head(frame)) {
            Class::Flow(subject) if subject.part == Part::Own => {
                self.look_up::<A, I>(frame, packet, arrival, subject)
            }
            class @ (Class::Verdict(_)
            | Class::Answer(..)
            | Class::Flow(_)
            | Class::Fragment(_)) => self.unusual::<A, I>(frame, packet, arrival, class),
        }
    }

    /// Puts a flow's key among those to be looked up, if the flow is this worker's.
    #[inline]
    fn look_up<A: Ip, I: Io>(
        &mut self,
        frame: &mut I::Frame,
        packet: &Parsed<A>,
        arrival: Arrival,
        subject: Subject<A>,
    ) -> Work {
        let steering = &self.tables.steering;
        if !steering.is_single() {
            let owner = steering.owner(subject.key.client, subject.key.client_port);
            if owner != self.state.worker {
                I::set_note(frame, arrival.note.bits());
                return Work::Done(Verdict::HandOver(owner));
            }
        }
        let flows = A::flows(self.state);
        let hash = flows.hash(&subject.key);
        flows.prefetch_bucket(hash);
        let at = A::keys(self.keys).push(hash);
        A::work(Item {
            packet: *packet,
            arrival,
            task: Task::Flow(subject, at),
        })
    }

    /// Whatever is not one of a flow's own packets in one piece.
    #[cold]
    fn unusual<A: Ip, I: Io>(
        &mut self,
        frame: &mut I::Frame,
        packet: &Parsed<A>,
        mut arrival: Arrival,
        class: Class<A>,
    ) -> Work {
        match class {
            Class::Verdict(verdict) => Work::Done(verdict),
            Class::Answer(_, Answer::Echo) | Class::Flow(_)
                if !is_intact::<A, I>(frame, packet) =>
            {
                Work::Done(Verdict::Drop(DropReason::Malformed))
            }
            Class::Answer(reason, answer) => {
                let task = Task::Answer(reason, answer);
                A::work(Item {
                    packet: *packet,
                    arrival,
                    task,
                })
            }
            Class::Flow(subject) => self.look_up::<A, I>(frame, packet, arrival, subject),
            Class::Fragment(piece) => match self.ports(packet, &arrival, &piece) {
                Ok(ports) => {
                    arrival.note = arrival.note.with_ports(ports);
                    let subject = classify::piece(packet, ports, piece.direction);
                    self.look_up::<A, I>(frame, packet, arrival, subject)
                }
                Err(verdict) => {
                    I::set_note(frame, arrival.note.bits());
                    Work::Done(verdict)
                }
            },
        }
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
        if let Some(ports) = arrival.note.ports() {
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
        let data = FragmentData {
            offset,
            len: packet.end - packet.l4,
            last,
        };
        let fragments = A::fragments(self.state);
        let bad = |_| Verdict::Drop(DropReason::BadFragment);
        if offset == 0 {
            let Parsed {
                sport,
                dport,
                protocol,
                ..
            } = *packet;
            let ports = FragmentPorts {
                sport,
                dport,
                protocol,
            };
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

    /// The VIP at an address, with its role now.
    #[inline]
    fn vip<A: Ip>(&mut self, address: A) -> Option<Vip> {
        let memo = A::memo(&mut self.memo);
        if let Some((last, vip)) = memo
            && *last == address
        {
            return *vip;
        }
        let vip = A::family(self.tables).vips.get(&address).map(|vip| Vip {
            role: vip.role.at(&self.tables.leases, self.now),
            ..*vip
        });
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

/// Whether the checksum of an unfragmented packet's ICMP message, segment or datagram is right.
///
/// What is acted upon or answered must not be damaged; what is forwarded is its receiver's to
/// check (D4).
#[cold]
pub(super) fn is_intact<A: Ip, I: Io>(frame: &I::Frame, packet: &Parsed<A>) -> bool {
    const CHUNK: usize = 256;
    if packet.udp_checksum_zero && A::LEN == 4 {
        return true;
    }
    let (l4, end) = (usize::from(packet.l4), usize::from(packet.end));
    let mut sum = match packet.protocol {
        Protocol::ICMP => Sum::new(),
        protocol => Sum::pseudo(packet.src, packet.dst, protocol, packet.end - packet.l4),
    };
    for at in (l4..end).step_by(CHUNK) {
        let mut chunk = [0; CHUNK];
        let chunk = &mut chunk[..CHUNK.min(end - at)];
        if !I::copy_out(frame, at, chunk) {
            return false;
        }
        sum = sum.over(chunk);
    }
    sum.is_valid()
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
