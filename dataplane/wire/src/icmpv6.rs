//! ICMP for IPv6 (RFC 4443). Neighbour discovery and MLD are recognised, not decoded.
//!
//! ```text
//! | Type | Code | Checksum |   rest of header (4 octets)   | payload …
//! ```

use core::net::Ipv6Addr;

use crate::ParseError;
use crate::addr::Protocol;
use crate::checksum::{Checksum, Delta, Sum};
use crate::icmp::{self, Cause, HEADER_LEN, Message, Report};
use crate::ipv6::{self, Ipv6, Ipv6Repr};

/// Longest error packet to send, in octets with the IP header (RFC 4443 §2.4 c).
pub const ERROR_LEN_MAX: usize = 1280;
/// Every IPv6 link carries this much, so a smaller MTU in an error is ignored (RFC 8201 §4, D36).
pub const MTU_MIN: u32 = 1280;

const UNREACHABLE: u8 = 1;
const TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;

/// An ICMPv6 header.
#[derive(Clone, Copy, Debug)]
pub struct Icmpv6<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Icmpv6<'a> {
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

    /// What the message means.
    pub const fn message(self) -> Message {
        message(self.0)
    }
}

pub(crate) const fn message(h: &[u8; HEADER_LEN]) -> Message {
    match h[0] {
        UNREACHABLE => Message::Error(Cause::Unreachable),
        TOO_BIG => {
            let mtu = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
            Message::Error(Cause::TooBig { mtu })
        }
        TIME_EXCEEDED => Message::Error(Cause::TimeExceeded),
        PARAMETER_PROBLEM => Message::Error(Cause::ParameterProblem),
        ECHO_REQUEST => Message::EchoRequest,
        ECHO_REPLY => Message::EchoReply,
        137 => Message::Redirect,
        133..=136 => Message::Discovery,
        130..=132 | 143 => Message::Listener,
        _ => Message::Other,
    }
}

/// Turns an echo request into its reply, in place, without its Ethernet header.
///
/// `packet` starts at the IPv6 header and may be a first segment: the payload is not read, and a
/// request with a wrong checksum becomes a reply with a wrong one. Hop Limit becomes 64.
///
/// # Errors
/// `Truncated` if the headers run past `packet`; `Malformed` if the message right behind the fixed
/// header is no echo request (nobody pings through extension headers whom we must answer).
pub fn echo_reply(packet: &mut [u8]) -> Result<(), ParseError> {
    let (header, rest) = packet
        .split_first_chunk_mut::<{ ipv6::HEADER_LEN }>()
        .ok_or(ParseError::Truncated)?;
    let icmp: &mut [u8; HEADER_LEN] = rest.first_chunk_mut().ok_or(ParseError::Truncated)?;
    let ip = Ipv6::of(header)?;
    if ip.next_header() != Protocol::ICMPV6 || message(icmp) != Message::EchoRequest {
        return Err(ParseError::Malformed);
    }
    let (src, dst) = (ip.src(), ip.dst());
    // Exchanged addresses leave the pseudo-header's sum as it was.
    let delta = Delta::new().replace_u16(u16::from(ECHO_REQUEST) << 8, u16::from(ECHO_REPLY) << 8);
    icmp[0] = ECHO_REPLY;
    icmp::update_checksum(icmp, 0, delta);
    ipv6::write_addrs(header, dst, src);
    header[7] = icmp::TTL;
    Ok(())
}

/// Writes an error about `packet` to its source: IPv6 header, ICMPv6 header and quote.
///
/// `packet` starts at its IPv6 header and ends where it ends, or where its first segment does; as
/// much as fits 1280 octets is quoted (RFC 4443 §2.4 c). Returns the length of the new packet, or
/// `None`, with nothing written, if `packet` is no IPv6 packet or `out` is too short.
pub fn emit_error(out: &mut [u8], from: Ipv6Addr, packet: &[u8], report: Report) -> Option<usize> {
    const HEADERS_LEN: usize = ipv6::HEADER_LEN + HEADER_LEN;
    let about = Ipv6::of(packet.first_chunk()?).ok()?;
    let quote = packet.get(..packet.len().min(ERROR_LEN_MAX - HEADERS_LEN))?;
    let out = out.get_mut(..HEADERS_LEN + quote.len())?;
    let (kind, code, mtu) = match report {
        Report::HostUnreachable => (UNREACHABLE, 3, 0),
        Report::PortUnreachable => (UNREACHABLE, 4, 0),
        Report::Prohibited => (UNREACHABLE, 1, 0),
        Report::TtlExpired => (TIME_EXCEEDED, 0, 0),
        Report::TooBig { mtu } => (TOO_BIG, 0, mtu),
    };
    let payload_len = u16::try_from(HEADER_LEN + quote.len()).ok()?;
    let repr = Ipv6Repr {
        src: from,
        dst: about.src(),
        next_header: Protocol::ICMPV6,
        hop_limit: icmp::TTL,
        traffic_class: 0,
        flow_label: 0,
        payload_len,
    };
    let (header, message) = out.split_first_chunk_mut()?;
    ipv6::emit(header, &repr);
    let (icmp, body) = message.split_first_chunk_mut::<HEADER_LEN>()?;
    let [m0, m1, m2, m3] = mtu.to_be_bytes();
    *icmp = [kind, code, 0, 0, m0, m1, m2, m3];
    body.copy_from_slice(quote);
    let sum = Sum::pseudo(from, about.src(), Protocol::ICMPV6, payload_len)
        .over(message)
        .finish();
    message.get_mut(2..4)?.copy_from_slice(&sum.0);
    Some(HEADERS_LEN + quote.len())
}

#[cfg(test)]
mod tests;
