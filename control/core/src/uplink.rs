//! What goes up to the kernel and what comes down from it, frame by frame.
//!
//! The kernel's stack must work as on any host, and must never hear or speak of a VIP (but for
//! one that is also its own address). Sans-I/O: every frame gets a decision and a counted reason.
//! Floods of one class are policed so that they cannot starve another.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use weir_engine::id::PortId;
use weir_engine::limits::TokenBucket;
use weir_engine::tables::{Map, Tables};
use weir_engine::time::Time;
use weir_engine::verdict::PuntClass;
use weir_wire::addr::{EtherType, MacAddr, Protocol};

use crate::arp::{Arp, Operation};
use crate::frame::{self, Frame};
use crate::nd::Nd;
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
}

impl UplinkDrop {
    /// Every reason, in index order.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::Limited,
        Self::Vip,
        Self::Unasked,
        Self::Ignored,
        Self::RouterWord,
        Self::Vrrp,
        Self::ToVip,
        Self::KernelVip,
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
    /// Not passed, by [`UplinkDrop`].
    pub dropped: [u64; UplinkDrop::ALL.len()],
}

/// Frames of one class per port and second that control looks at (A11).
const fn rate(class: PuntClass) -> u32 {
    match class {
        PuntClass::Arp | PuntClass::Nd => 2_000,
        PuntClass::Vrrp => 1_000,
        // Health replies, BGP, ssh: a bulk transfer over the TAP must still be possible.
        PuntClass::Dip => 50_000,
        PuntClass::Routed => 20_000,
        PuntClass::Multicast => 1_000,
        PuntClass::Link => 100,
    }
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

    /// Decides about a frame that a worker punted from `port`. `Some` is for the port's TAP;
    /// what is to be sent instead is in `out`.
    pub fn up<'a>(
        &mut self,
        now: Time,
        (port, class): (PortId, PuntClass),
        bytes: &'a [u8],
        responder: &mut Responder,
        out: &mut Vec<Action>,
    ) -> Option<Cow<'a, [u8]>> {
        match self.judge_up(now, (port, class), bytes, responder, out) {
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
        out: &mut Vec<Action>,
    ) -> Result<Cow<'a, [u8]>, UplinkDrop> {
        let (Some(policers), Some(&mac)) = (
            self.policers.get_mut(port.index()),
            self.macs.get(port.index()),
        ) else {
            return Err(UplinkDrop::Malformed);
        };
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
        } else if let Some((_, destination, protocol)) = frame.ip() {
            if protocol == Protocol::VRRP {
                return Err(UplinkDrop::Vrrp);
            }
            if responder.is_vip(destination) && !responder.is_dip(destination) {
                return Err(UplinkDrop::ToVip);
            }
        }
        let foreign = !frame.destination.is_multicast() && frame.destination != mac;
        Ok(if foreign {
            readdress(bytes, mac)
        } else {
            bytes
        })
    }

    /// Decides about a frame that the kernel sends by the TAP of `port`. `true`: send it.
    pub fn down(&mut self, now: Time, port: PortId, bytes: &[u8], responder: &Responder) -> bool {
        let verdict = self.judge_down(now, port, bytes, responder);
        match verdict {
            Ok(()) => self.counters.down += 1,
            Err(reason) => self.counters.dropped[reason as usize] += 1,
        }
        verdict.is_ok()
    }

    fn judge_down(
        &mut self,
        now: Time,
        port: PortId,
        bytes: &[u8],
        responder: &Responder,
    ) -> Result<(), UplinkDrop> {
        let frame = Frame::parse(bytes).ok_or(UplinkDrop::Malformed)?;
        let is_vip = |address| responder.is_vip(address);
        let foreign_vip = |address| responder.is_vip(address) && !responder.is_dip(address);
        if frame.ether_type == EtherType::ARP {
            let arp = Arp::parse(&frame).ok_or(UplinkDrop::Malformed)?;
            let (sender, target) = (IpAddr::V4(arp.sender.1), IpAddr::V4(arp.target));
            // A VIP that is a DIP too may ask; only Weir answers for it or announces it.
            let speaks = arp.operation == Operation::Reply && is_vip(sender);
            if speaks || is_vip(target) || foreign_vip(sender) {
                return Err(UplinkDrop::KernelVip);
            }
            if arp.operation == Operation::Request {
                self.ask(now, port, target);
            }
            return Ok(());
        }
        match Nd::parse(&frame) {
            Some(Nd::Advert { target, .. }) if is_vip(target.into()) => {
                return Err(UplinkDrop::KernelVip);
            }
            Some(Nd::Solicit { source, target, .. }) => {
                if is_vip(target.into()) || foreign_vip(source.into()) {
                    return Err(UplinkDrop::KernelVip);
                }
                self.ask(now, port, target.into());
            }
            Some(Nd::Advert { .. } | Nd::RouterSolicit | Nd::RouterWord) | None => {}
        }
        match frame.ip() {
            Some((source, ..)) if foreign_vip(source) => Err(UplinkDrop::KernelVip),
            Some(_) | None => Ok(()),
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

/// The frame with the TAP's MAC, which is the port's, in place of a virtual one.
fn readdress(bytes: Cow<'_, [u8]>, mac: MacAddr) -> Cow<'_, [u8]> {
    let mut bytes = bytes.into_owned();
    bytes[..6].copy_from_slice(&mac.0);
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests;
