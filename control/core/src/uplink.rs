//! What goes up to the kernel and what comes down from it, frame by frame.
//!
//! The kernel's stack must work as on any host, and must never hear or speak of a VIP (but for
//! one that is also its own address). The exception are path checks: what the kernel sends to a
//! VIP from a source of theirs goes to the server that it is to probe, and the answer comes back.
//! The kernel's questions where a VIP is are answered here and never leave.
//!
//! Sans-I/O: every frame gets a decision and a counted reason. Floods of one class are policed so
//! that they cannot starve another.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use weir_engine::id::PortId;
use weir_engine::limits::TokenBucket;
use weir_engine::path::Refusal;
use weir_engine::tables::{Map, Tables};
use weir_engine::time::Time;
use weir_engine::verdict::PuntClass;
use weir_wire::addr::{EtherType, MacAddr, Protocol};
use weir_wire::icmp::{self, Report};
use weir_wire::icmpv6;

use crate::arp::{self, Arp, Operation};
use crate::frame::{self, Frame};
use crate::nd::{self, Nd};
use crate::paths::{Paths, VIP_MAC};
use crate::responder::{Action, Disposition, Responder};

/// How long an answer may take that the kernel asked for: its own retries end sooner.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions remembered; 4,096 of 24 octets. More than the kernel's neighbour tables ask at once.
const QUESTIONS_MAX: usize = 4096;

/// Why a frame did not pass between a port and its TAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UplinkDrop {
    /// Not a whole frame.
    Malformed,
    /// More of its class than the limit allows.
    Limited,
    /// Settled here: ARP or neighbour discovery about a VIP.
    Vip,
    /// An answer that the kernel did not ask for.
    Unasked,
    /// ARP or neighbour discovery about nobody here, or malformed.
    Ignored,
    /// A router advertisement or redirect.
    RouterWord,
    /// IP protocol 112, which the kernel would answer.
    Vrrp,
    /// To a VIP that is not the kernel's address.
    ToVip,
    /// From the kernel: ARP or neighbour discovery about a VIP, or a packet from one.
    KernelVip,
    /// Between the kernel and a VIP, but of no path check that is under way.
    NoPath,
    /// A path check's, whose server has no route or does not answer ARP or neighbour discovery.
    PathHop,
}

impl UplinkDrop {
    /// Every reason, in index order.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Limited,
        Self::Vip,
        Self::Unasked,
        Self::Ignored,
        Self::RouterWord,
        Self::Vrrp,
        Self::ToVip,
        Self::KernelVip,
        Self::NoPath,
        Self::PathHop,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Limited => "limited",
            Self::Vip => "vip",
            Self::Unasked => "unasked",
            Self::Ignored => "ignored",
            Self::RouterWord => "router_word",
            Self::Vrrp => "vrrp",
            Self::ToVip => "to_vip",
            Self::KernelVip => "kernel_vip",
            Self::NoPath => "no_path",
            Self::PathHop => "path_hop",
        }
    }
}

/// Frames counted by what became of them.
#[derive(Clone, Debug, Default)]
pub struct UplinkCounters {
    /// Given to the kernel.
    pub up: u64,
    /// Taken from the kernel and sent.
    pub down: u64,
    /// Taken from the kernel and answered: where VIPs are, and what does not fit.
    pub answered: u64,
    /// Not passed, by [`UplinkDrop`].
    pub dropped: [u64; UplinkDrop::ALL.len()],
}

/// Frames of one class per port and second that control looks at (A11).
const fn rate(class: PuntClass) -> u32 {
    match class {
        PuntClass::Arp | PuntClass::Nd => 2_000,
        // What workers let through of it is sound, and a hundred instances may speak every 10 ms.
        PuntClass::Vrrp => 10_000,
        // Health replies, BGP, ssh: a bulk transfer over the TAP must still be possible.
        PuntClass::Dip => 50_000,
        PuntClass::Routed => 20_000,
        PuntClass::Multicast => 1_000,
        PuntClass::Link => 100,
    }
}

/// What becomes of a frame of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down<'a> {
    /// Sent out of this port.
    Send(PortId, Cow<'a, [u8]>),
    /// Answered with this frame, on the TAP that it came from.
    Answer(Vec<u8>),
}

/// Both directions between all ports and their TAPs.
#[derive(Debug, Default)]
pub struct Uplink {
    macs: Vec<MacAddr>,
    policers: Vec<[TokenBucket; PuntClass::COUNT]>,
    /// What the kernel asked for on which port, and when last.
    questions: Map<(PortId, IpAddr), Time>,
    /// The same in order of time, to forget them.
    asked: VecDeque<(Time, PortId, IpAddr)>,
    /// Identification of the last outer header.
    id: u16,
    counters: UplinkCounters,
}

impl Uplink {
    /// Takes over the ports' MACs from new tables.
    pub fn configure(&mut self, tables: &Tables) {
        self.macs = tables.ports.iter().map(|port| port.mac).collect();
        // As many at once as in a second.
        let bucket = |rate| TokenBucket::new(rate, rate);
        let all = core::array::from_fn(|i| bucket(rate(PuntClass::ALL[i])));
        self.policers.resize(self.macs.len(), all);
    }

    /// Whether the port's limit allows one more VRRP frame; the kernel never sees one.
    pub fn admit_vrrp(&mut self, now: Time, port: PortId) -> bool {
        let policers = self.policers.get_mut(port.index());
        let admitted = policers.is_some_and(|p| p[PuntClass::Vrrp.index()].take(now));
        if !admitted {
            self.counters.dropped[UplinkDrop::Limited as usize] += 1;
        }
        admitted
    }

    /// Decides about a frame that a worker punted from `port`. `Some` is for the TAP of the port
    /// that it names; what is to be sent instead is in `out`.
    pub fn up<'a>(
        &mut self,
        now: Time,
        (port, class): (PortId, PuntClass),
        bytes: &'a [u8],
        responder: &mut Responder,
        paths: &mut Paths,
        out: &mut Vec<Action>,
    ) -> Option<(PortId, Cow<'a, [u8]>)> {
        match self.judge_up(now, (port, class), bytes, responder, paths, out) {
            Ok(frame) => {
                self.counters.up += 1;
                Some(frame)
            }
            Err(reason) => {
                self.counters.dropped[reason as usize] += 1;
                None
            }
        }
    }

    fn judge_up<'a>(
        &mut self,
        now: Time,
        (port, class): (PortId, PuntClass),
        bytes: &'a [u8],
        responder: &mut Responder,
        paths: &mut Paths,
        out: &mut Vec<Action>,
    ) -> Result<(PortId, Cow<'a, [u8]>), UplinkDrop> {
        let policers = self.policers.get_mut(port.index());
        let policers = policers.ok_or(UplinkDrop::Malformed)?;
        let mut tap = port;
        if !policers[class.index()].take(now) {
            return Err(UplinkDrop::Limited);
        }
        let bytes = frame::untag(bytes).ok_or(UplinkDrop::Malformed)?;
        let frame = Frame::parse(&bytes).ok_or(UplinkDrop::Malformed)?;
        let resolution =
            matches!(class, PuntClass::Arp | PuntClass::Nd) || frame.ether_type == EtherType::ARP;
        if resolution {
            match responder.receive(now, port, &frame, out) {
                Disposition::Answered | Disposition::Silent => return Err(UplinkDrop::Vip),
                Disposition::Ignored => return Err(UplinkDrop::Ignored),
                Disposition::RouterWord => return Err(UplinkDrop::RouterWord),
                Disposition::KernelAnswer(from) if !self.is_asked(now, port, from) => {
                    return Err(UplinkDrop::Unasked);
                }
                Disposition::KernelAnswer(_) | Disposition::KernelRequest => {}
            }
        } else if let Some((source, destination, protocol)) = frame.ip() {
            let foreign_vip = |a| responder.is_vip(a) && !responder.is_dip(a);
            if protocol == Protocol::VRRP {
                return Err(UplinkDrop::Vrrp);
            }
            if foreign_vip(destination) {
                return Err(UplinkDrop::ToVip);
            }
            if foreign_vip(source) && responder.is_dip(destination) {
                // Servers answer by their own routes, but a socket hears only its own TAP.
                tap = paths.answered(now, &bytes).ok_or(UplinkDrop::NoPath)?;
            }
            if matches!(protocol, Protocol::ICMP | Protocol::ICMPV6) {
                paths.hear(now, &bytes);
            }
        }
        let mac = *self.macs.get(tap.index()).ok_or(UplinkDrop::Malformed)?;
        let foreign = !frame.destination.is_multicast() && frame.destination != mac;
        let frame = if foreign {
            readdress(bytes, mac)
        } else {
            bytes
        };
        Ok((tap, frame))
    }

    /// Decides about a frame that the kernel sends by the TAP of `port`. `None`: dropped.
    pub fn down<'a>(
        &mut self,
        now: Time,
        port: PortId,
        bytes: &'a [u8],
        responder: &Responder,
        paths: &Paths,
    ) -> Option<Down<'a>> {
        let verdict = self.judge_down(now, port, bytes, responder, paths);
        match &verdict {
            Ok(Down::Send(..)) => self.counters.down += 1,
            Ok(Down::Answer(_)) => self.counters.answered += 1,
            Err(reason) => self.counters.dropped[*reason as usize] += 1,
        }
        verdict.ok()
    }

    fn judge_down<'a>(
        &mut self,
        now: Time,
        port: PortId,
        bytes: &'a [u8],
        responder: &Responder,
        paths: &Paths,
    ) -> Result<Down<'a>, UplinkDrop> {
        let frame = Frame::parse(bytes).ok_or(UplinkDrop::Malformed)?;
        let is_vip = |address| responder.is_vip(address);
        let foreign_vip = |address| responder.is_vip(address) && !responder.is_dip(address);
        let as_it_is = Ok(Down::Send(port, bytes.into()));
        if frame.ether_type == EtherType::ARP {
            let arp = Arp::parse(&frame).ok_or(UplinkDrop::Malformed)?;
            let (sender, target) = (IpAddr::V4(arp.sender.1), IpAddr::V4(arp.target));
            let asks = arp.operation == Operation::Request;
            // A probe for a duplicate address (RFC 5227) asks for nothing that it could send to.
            if asks && foreign_vip(target) && !is_vip(sender) && !sender.is_unspecified() {
                let mine = (VIP_MAC, arp.target);
                return Ok(Down::Answer(arp::reply(mine, arp.sender)));
            }
            // A VIP that is a DIP too may ask; only Weir answers for it or announces it.
            if (!asks && is_vip(sender)) || is_vip(target) || foreign_vip(sender) {
                return Err(UplinkDrop::KernelVip);
            }
            if asks {
                self.ask(now, port, target);
            }
            return as_it_is;
        }
        match Nd::parse(&frame) {
            Some(Nd::Advert { target, .. }) if is_vip(target.into()) => {
                return Err(UplinkDrop::KernelVip);
            }
            Some(Nd::Solicit {
                source,
                mac,
                target,
            }) => {
                let nobody = is_vip(source.into()) || source.is_unspecified();
                if foreign_vip(target.into()) && !nobody {
                    let advert = nd::advert(VIP_MAC, target, Some((mac, source)));
                    return Ok(Down::Answer(advert));
                }
                if is_vip(target.into()) || foreign_vip(source.into()) {
                    return Err(UplinkDrop::KernelVip);
                }
                self.ask(now, port, target.into());
            }
            Some(Nd::Advert { .. } | Nd::RouterSolicit | Nd::RouterWord) | None => {}
        }
        match frame.ip() {
            Some((source, ..)) if foreign_vip(source) => Err(UplinkDrop::KernelVip),
            Some((_, vip, _)) if foreign_vip(vip) => self.probe(now, vip, &frame, bytes, paths),
            Some(_) | None => as_it_is,
        }
    }

    /// A packet from the kernel to a VIP: for the server that it is to probe, or for nobody.
    fn probe<'a>(
        &mut self,
        now: Time,
        vip: IpAddr,
        frame: &Frame<'_>,
        bytes: &[u8],
        paths: &Paths,
    ) -> Result<Down<'a>, UplinkDrop> {
        self.id = self.id.wrapping_add(1);
        let forwarded = paths.forward(now, bytes, self.id);
        match forwarded.ok_or(UplinkDrop::NoPath)? {
            Ok((port, bytes)) => Ok(Down::Send(port, bytes.into())),
            Err(Refusal::Drop(_)) => Err(UplinkDrop::PathHop),
            Err(Refusal::TooBig { mtu }) => {
                let answer = too_big(vip, frame, mtu).ok_or(UplinkDrop::Malformed)?;
                Ok(Down::Answer(answer))
            }
        }
    }

    /// Remembers that the kernel asked for `target`, for a while and within bounds.
    fn ask(&mut self, now: Time, port: PortId, target: IpAddr) {
        while let Some(&(at, port, target)) = self.asked.front() {
            if self.asked.len() < QUESTIONS_MAX && now.since(at) <= ANSWER_TIMEOUT {
                break;
            }
            self.asked.pop_front();
            if self.questions.get(&(port, target)) == Some(&at) {
                self.questions.remove(&(port, target));
            }
        }
        self.questions.insert((port, target), now);
        self.asked.push_back((now, port, target));
    }

    fn is_asked(&self, now: Time, port: PortId, from: IpAddr) -> bool {
        let asked = self.questions.get(&(port, from));
        asked.is_some_and(|at| now.since(*at) <= ANSWER_TIMEOUT)
    }

    /// All counters.
    pub fn counters(&self) -> &UplinkCounters {
        &self.counters
    }
}

/// The answer to a packet that does not fit on the way to its server: the kernel sends smaller ones
/// to this VIP from then on (RFC 1191, RFC 8201).
fn too_big(vip: IpAddr, frame: &Frame<'_>, mtu: u16) -> Option<Vec<u8>> {
    let report = Report::TooBig { mtu: mtu.into() };
    let mut packet = [0; icmpv6::ERROR_LEN_MAX];
    let len = match vip {
        IpAddr::V4(vip) => icmp::emit_error(&mut packet, vip, frame.payload, report, 0)?,
        IpAddr::V6(vip) => icmpv6::emit_error(&mut packet, vip, frame.payload, report)?,
    };
    let (to, from) = (frame.source, frame.destination);
    let mut answer = frame::start(to, from, frame.ether_type, len);
    let place = answer.get_mut(frame::HEADER_LEN..)?.get_mut(..len)?;
    place.copy_from_slice(packet.get(..len)?);
    Some(answer)
}

/// The frame with the TAP's MAC, which is the port's, in place of a virtual one.
fn readdress(bytes: Cow<'_, [u8]>, mac: MacAddr) -> Cow<'_, [u8]> {
    let mut bytes = bytes.into_owned();
    bytes[..6].copy_from_slice(&mac.0);
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests;
