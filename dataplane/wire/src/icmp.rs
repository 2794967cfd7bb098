//! ICMP for IPv4 (RFC 792), what it means to a load balancer, and the answers it sends.
//!
//! Whether an answer may be sent at all (rates, roles, policy) is the caller's; what no answer may
//! ever be sent about is [`is_reportable`].
//!
//! ```text
//! | Type | Code | Checksum |   rest of header (4 octets)   | payload …
//! ```

use core::net::Ipv4Addr;

use crate::addr::{Address, Protocol};
use crate::checksum::{self, Checksum, Delta};
use crate::fragment::Fragment;
use crate::ipv4::{self, Ipv4, Ipv4Repr};
use crate::parse::Parsed;
use crate::{ParseError, icmpv6};

/// Octets of the header; an error quotes the packet it is about after them.
pub const HEADER_LEN: usize = 8;
/// Longest error packet to send, in octets with the IP header (RFC 1812 §4.3.2.3).
pub const ERROR_LEN_MAX: usize = 576;
/// Every IPv4 link carries this much, so a smaller MTU in an error is a lie (RFC 791, D36).
pub const MTU_MIN: u32 = 68;
/// TTL of what we originate (RFC 1700).
pub const TTL: u8 = 64;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const REDIRECT: u8 = 5;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;
const FRAG_NEEDED: u8 = 4;

/// What a message of either family means to a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A ping.
    EchoRequest,
    /// A ping's answer.
    EchoReply,
    /// An error about a packet that it quotes; see [`crate::quoted`].
    Error(Cause),
    /// A redirect: ignored (D41).
    Redirect,
    /// IPv6 neighbour discovery (RFC 4861), which control answers.
    Discovery,
    /// IPv6 multicast listener discovery (RFC 2710, RFC 3810).
    Listener,
    /// All else, source quench among it, which RFC 6633 retired.
    Other,
}

/// Why a packet did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Destination unreachable, for other reasons than its size.
    Unreachable,
    /// Fragmentation needed and DF set, or Packet Too Big.
    TooBig {
        /// MTU of the next hop in octets; 0 from IPv4 routers older than RFC 1191.
        mtu: u32,
    },
    /// TTL or Hop Limit ran out, or reassembly took too long.
    TimeExceeded,
    /// A header field that somebody could not process.
    ParameterProblem,
}

/// An ICMP header.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Icmp<'a> {
    /// Splits a message into header and payload.
    ///
    /// # Errors
    /// `Truncated` under 8 octets.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        let (header, payload) = bytes.split_first_chunk().ok_or(ParseError::Truncated)?;
        Ok((Self(header), payload))
    }

    /// The message's type.
    pub const fn kind(self) -> u8 {
        self.0[0]
    }

    /// The type's code.
    pub const fn code(self) -> u8 {
        self.0[1]
    }

    /// The checksum as it is.
    pub const fn checksum(self) -> Checksum {
        Checksum([self.0[2], self.0[3]])
    }

    /// Identifier of an echo.
    pub const fn echo_id(self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// Sequence number of an echo.
    pub const fn echo_seq(self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]])
    }

    /// What the message means.
    pub const fn message(self) -> Message {
        match (self.kind(), self.code()) {
            (ECHO_REPLY, _) => Message::EchoReply,
            (ECHO_REQUEST, _) => Message::EchoRequest,
            (REDIRECT, _) => Message::Redirect,
            (UNREACHABLE, FRAG_NEEDED) => {
                let mtu = u32::from_be_bytes([0, 0, self.0[6], self.0[7]]); // RFC 1191 §4
                Message::Error(Cause::TooBig { mtu })
            }
            (UNREACHABLE, _) => Message::Error(Cause::Unreachable),
            (TIME_EXCEEDED, _) => Message::Error(Cause::TimeExceeded),
            (PARAMETER_PROBLEM, _) => Message::Error(Cause::ParameterProblem),
            _ => Message::Other,
        }
    }
}

/// Changes the checksum of the ICMP or ICMPv6 message at `l4` by `delta`.
///
/// Returns `false` if the frame does not hold the header.
#[inline]
pub fn update_checksum(frame: &mut [u8], l4: usize, delta: Delta) -> bool {
    let header = frame
        .get_mut(l4..)
        .and_then(|rest| rest.first_chunk_mut::<HEADER_LEN>());
    let Some(header) = header else { return false };
    [header[2], header[3]] = delta.apply(Checksum([header[2], header[3]])).0;
    true
}

/// Turns an echo request into its reply, in place, without its Ethernet header.
///
/// `packet` starts at the IPv4 header and may be a first segment: the payload is not read, and a
/// request with a wrong checksum becomes a reply with a wrong one. IP options are blanked (RFC 1122
/// §3.2.2.6 would have them answered), TTL becomes 64, DSCP, identification and DF stay.
///
/// # Errors
/// `Truncated` if the headers run past `packet`; `Malformed` if it is no unfragmented echo request.
pub fn echo_reply(packet: &mut [u8]) -> Result<(), ParseError> {
    let header: &[u8; 20] = packet.first_chunk().ok_or(ParseError::Truncated)?;
    let ip = Ipv4::of(header)?;
    let whole = ip.fragment()? == Fragment::Whole;
    let (src, dst, header_len) = (ip.src(), ip.dst(), ip.header_len());
    let is_icmp = ip.protocol() == Protocol::ICMP;
    let (header, message) = packet
        .split_at_mut_checked(header_len)
        .ok_or(ParseError::Truncated)?;
    let message: &mut [u8; HEADER_LEN] = message.first_chunk_mut().ok_or(ParseError::Truncated)?;
    if !whole || !is_icmp || Icmp(message).message() != Message::EchoRequest {
        return Err(ParseError::Malformed);
    }
    let delta = Delta::new().replace_u16(u16::from(ECHO_REQUEST) << 8, u16::from(ECHO_REPLY) << 8);
    message[0] = ECHO_REPLY;
    update_checksum(message, 0, delta);

    let (fixed, options) = header.split_at_mut(ipv4::HEADER_LEN);
    options.fill(0); // End of Option List
    if let Some(fixed) = fixed.first_chunk_mut::<{ ipv4::HEADER_LEN }>() {
        ipv4::write_addrs(fixed, dst, src);
        fixed[8] = TTL;
        [fixed[10], fixed[11]] = [0, 0];
        // Blank options add nothing to the sum.
        [fixed[10], fixed[11]] = checksum::of(fixed).0;
    }
    Ok(())
}

/// An error that we report, of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Nobody serves the UDP port, or the service has no server.
    PortUnreachable,
    /// The next hop does not answer.
    HostUnreachable,
    /// Forbidden by the operator's rules.
    Prohibited,
    /// The packet does not fit the next link, in octets.
    TooBig {
        /// What would fit.
        mtu: u32,
    },
    /// TTL or Hop Limit ran out here.
    TtlExpired,
}

/// Whether an error may be sent about a packet at all (RFC 1122 §3.2.2, RFC 4443 §2.4 e, D39).
///
/// Never about later fragments, packets from martian addresses (multicast among them) or to
/// multicast, and ICMP other than echo. Frames to a broadcast or multicast MAC are the caller's to
/// exclude.
pub fn is_reportable<A: Address>(frame: &[u8], parsed: &Parsed<A>) -> bool {
    if matches!(parsed.fragment, Fragment::Later { .. })
        || parsed.src.is_martian_source()
        || parsed.dst.is_multicast()
    {
        return false;
    }
    if parsed.protocol != A::ICMP {
        return true;
    }
    let message = frame
        .get(usize::from(parsed.l4)..)
        .and_then(|rest| rest.first_chunk());
    let message = message.map(|header| match A::ICMP {
        Protocol::ICMPV6 => icmpv6::message(header),
        Protocol(_) => Icmp(header).message(),
    });
    matches!(message, Some(Message::EchoRequest | Message::EchoReply))
}

/// Writes an error about `packet` to its source: IPv4 header, ICMP header and quote.
///
/// `packet` starts at its IPv4 header and ends where it ends, or where its first segment does; as
/// much as fits 576 octets is quoted (RFC 1812 §4.3.2.3). `id` is the identification of the new
/// packet, whose DF is clear. Precedence and DSCP follow RFC 1812 §4.3.2.5 as Linux does. Returns
/// the length of the new packet, or `None`, with nothing written, if `packet` is no IPv4 packet or
/// `out` is too short.
pub fn emit_error(
    out: &mut [u8],
    from: Ipv4Addr,
    packet: &[u8],
    report: Report,
    id: u16,
) -> Option<usize> {
    const HEADERS_LEN: usize = ipv4::HEADER_LEN + HEADER_LEN;
    const INTERNETWORK_CONTROL: u8 = 0xc0;
    const TOS_BITS: u8 = 0x1e;
    let about = Ipv4::of(packet.first_chunk()?).ok()?;
    let quote = packet.get(..packet.len().min(ERROR_LEN_MAX - HEADERS_LEN))?;
    let out = out.get_mut(..HEADERS_LEN + quote.len())?;
    let (kind, code, [m0, m1]) = match report {
        Report::HostUnreachable => (UNREACHABLE, 1, [0, 0]),
        Report::PortUnreachable => (UNREACHABLE, 3, [0, 0]),
        Report::Prohibited => (UNREACHABLE, 13, [0, 0]),
        Report::TtlExpired => (TIME_EXCEEDED, 0, [0, 0]),
        Report::TooBig { mtu } => (
            UNREACHABLE,
            FRAG_NEEDED,
            u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes(),
        ),
    };
    let repr = Ipv4Repr {
        src: from,
        dst: about.src(),
        protocol: Protocol::ICMP,
        ttl: TTL,
        tos: about.tos() & TOS_BITS | INTERNETWORK_CONTROL,
        dont_fragment: false,
        id,
        payload_len: u16::try_from(HEADER_LEN + quote.len()).ok()?,
    };
    let (header, message) = out.split_first_chunk_mut()?;
    ipv4::emit(header, &repr);
    let (icmp, body) = message.split_first_chunk_mut::<HEADER_LEN>()?;
    *icmp = [kind, code, 0, 0, 0, 0, m0, m1];
    body.copy_from_slice(quote);
    let sum = checksum::of(message);
    message.get_mut(2..4)?.copy_from_slice(&sum.0);
    Some(HEADERS_LEN + quote.len())
}

#[cfg(test)]
mod tests;
