//! Frames that Weir originates to answer a client: echo replies, RST, ICMP errors. As a Linux
//! director answers them, so that a client cannot tell the difference.
//!
//! The packets are weir-wire's; here they get a frame and a way out. Never answered: ICMP errors,
//! RST, later fragments, multicast and martian sources (RFC 1122 section 3.2.2). Rate limits are
//! the engine's.

use weir_wire::addr::Protocol;
use weir_wire::checksum::{Checksum, Delta};
use weir_wire::icmp::{self, Report};
use weir_wire::parse::Parsed;
use weir_wire::tcp;

use crate::family::{Ip, Repr};
use crate::io::Io;
use crate::rewrite::{Exit, ip_mut};

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its own echo request, turned round.
    Echo,
    /// RST: nothing listens there, or the connection is not known.
    Reset,
    /// ICMP port unreachable.
    PortUnreachable,
    /// ICMP time exceeded in transit.
    TimeExceeded,
    /// ICMP fragmentation needed, or packet too big.
    TooBig {
        /// The largest packet that fits, in octets.
        mtu: u16,
    },
}

/// The longest packet that is ever quoted into an error, of either family.
const QUOTE_MAX: usize = weir_wire::icmpv6::ERROR_LEN_MAX;

/// The ECN bits, which are the connection's own and not copied into a reset.
const ECN: u8 = 3;

/// An answer in the making.
pub(crate) struct Draft<'a, A: Ip> {
    /// The packet that is answered.
    pub(crate) packet: &'a Parsed<A>,
    /// Source of an ICMP error; everything else comes from where the client sent to.
    pub(crate) from: A,
    /// Where it leaves.
    pub(crate) exit: Exit,
    /// IPv4 identification, where the answer may be fragmented.
    pub(crate) id: u16,
}

impl<A: Ip> Draft<'_, A> {
    /// Writes the answer to the packet in `frame` into a new frame.
    ///
    /// `frame` is to be dropped afterwards: its TTL may have changed. `None`: there is no buffer
    /// large enough, or nobody may answer such a packet.
    pub(crate) fn write<I: Io>(
        &self,
        io: &mut I,
        frame: &mut I::Frame,
        answer: Answer,
    ) -> Option<I::Frame> {
        let report = match answer {
            Answer::Echo => return self.echo(io, frame),
            Answer::Reset => return self.reset(io, frame),
            Answer::PortUnreachable => Report::PortUnreachable,
            Answer::TimeExceeded => Report::TtlExpired,
            Answer::TooBig { mtu } => {
                // The size is found wrong on the way out, after the hop was counted.
                A::decrement_ttl(ip_mut::<I>(frame, self.packet.l3));
                Report::TooBig {
                    mtu: u32::from(mtu),
                }
            }
        };
        self.error(io, frame, report)
    }

    /// A frame with a link header and room for `len` octets behind it.
    fn start<I: Io>(&self, io: &mut I, len: usize) -> Option<I::Frame> {
        let mut new = io.alloc()?;
        if !I::append(&mut new, self.exit.link_len() + len) {
            return None;
        }
        self.exit.emit_link(I::head_mut(&mut new), A::ETHER_TYPE);
        Some(new)
    }

    fn echo<I: Io>(&self, io: &mut I, frame: &I::Frame) -> Option<I::Frame> {
        let l4 = usize::from(self.packet.l4);
        let payload_len = self.packet.end - self.packet.l4;
        let mut new = self.start(io, usize::from(A::HEADER_LEN + payload_len))?;
        let ip = I::head_mut(&mut new).get_mut(self.exit.link_len()..)?;
        let (tos, id) = (self.packet.tos, self.id);
        A::emit(ip, &self.repr(A::ICMP, tos, false, id, payload_len));
        let message = ip.get_mut(usize::from(A::HEADER_LEN)..)?;
        if !I::copy_out(frame, l4, message) {
            return None;
        }
        let (request, reply) = A::ECHO;
        let [kind, _, hi, lo, ..] = message else {
            return None;
        };
        *kind = reply;
        // Swapped addresses sum up to the same, so in ICMPv6 too only the type changes.
        let delta = Delta::new().replace_u16(u16::from(request) << 8, u16::from(reply) << 8);
        [*hi, *lo] = delta.apply(Checksum([*hi, *lo])).0;
        Some(new)
    }

    fn reset<I: Io>(&self, io: &mut I, frame: &I::Frame) -> Option<I::Frame> {
        let mut segment = [0; tcp::HEADER_LEN];
        tcp::emit_reset(&mut segment, I::head(frame), self.packet)?;
        let mut new = self.start(io, usize::from(A::HEADER_LEN) + segment.len())?;
        let ip = I::head_mut(&mut new).get_mut(self.exit.link_len()..)?;
        A::emit(
            ip,
            &self.repr(Protocol::TCP, self.packet.tos & !ECN, true, 0, 20),
        );
        ip.get_mut(usize::from(A::HEADER_LEN)..)?
            .copy_from_slice(&segment);
        Some(new)
    }

    fn error<I: Io>(&self, io: &mut I, frame: &mut I::Frame, report: Report) -> Option<I::Frame> {
        if !icmp::is_reportable(I::head(frame), self.packet) {
            return None;
        }
        let (l3, end) = (usize::from(self.packet.l3), usize::from(self.packet.end));
        // A quote is taken from the first segment. Where buffers are too small for all that may be
        // quoted, the quote is shorter, which is allowed.
        let wanted = end.min(l3 + QUOTE_MAX);
        if I::head(frame).len() < wanted {
            I::pull(frame, wanted);
        }
        let mut new = self.start(io, QUOTE_MAX)?;
        let head = I::head(frame);
        let packet = head.get(l3..end.min(head.len()))?;
        let out = I::head_mut(&mut new).get_mut(self.exit.link_len()..)?;
        let len = A::emit_error(out, self.from, packet, report, self.id)?;
        I::truncate(&mut new, self.exit.link_len() + len);
        Some(new)
    }

    fn repr(
        &self,
        protocol: Protocol,
        tos: u8,
        dont_fragment: bool,
        id: u16,
        payload_len: u16,
    ) -> Repr<A> {
        Repr {
            src: self.packet.dst,
            dst: self.packet.src,
            protocol,
            ttl: icmp::TTL,
            tos,
            dont_fragment,
            id,
            payload_len,
        }
    }
}
