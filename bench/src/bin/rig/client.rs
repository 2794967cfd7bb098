//! The clients' frames: TCP segments of 60 octets, and what is read in them when they come back.
//!
//! Sequence and acknowledgement number, which a director does not look at, carry a time stamp; the
//! six octets of data carry the client's number. The IPv4 checksum is right, the TCP
//! checksum is not computed: direct routing does not look at it.

use core::net::Ipv4Addr;

use weir_engine::id::WorkerId;
use weir_engine::steering::Steering;
use weir_wire::addr::L4Port;
use weir_wire::checksum::{self, Checksum};

/// A frame from Ethernet header to padding, without FCS.
pub(crate) type Frame = [u8; 60];
/// The IP packet in it: there is no padding, which a director may cut off.
const IP_LEN: u8 = 46;
/// The port of all VIPs.
pub(crate) const VIP_PORT: u16 = 80;
/// The director's MAC on the clients' side.
pub(crate) const WAN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A client: an address and a port of its own for each of 2^32 numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client(pub(crate) u32);

/// A segment that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// SYN.
    Syn,
    /// ACK.
    Ack,
    /// ACK, PSH.
    Data,
    /// FIN, ACK.
    Fin,
}

impl Client {
    /// Address and port. Clients whose numbers differ in the low 23 bits differ in address.
    #[inline]
    fn end(self) -> (u32, u16) {
        let low = self.0 & 0x007f_ffff;
        let address = 0x0a80_0000 | (low.wrapping_mul(0x0053_5a4d) & 0x007f_ffff);
        let port = 1024 + (low.wrapping_mul(0x9e37_79b1) >> 16).wrapping_add(self.0 >> 23) % 64_000;
        (address, u16::try_from(port).unwrap_or(u16::MAX))
    }
}

impl Client {
    /// The worker that owns the client's flows.
    pub(crate) fn owner(self, steering: &Steering) -> WorkerId {
        let (address, port) = self.end();
        steering.owner(Ipv4Addr::from_bits(address), L4Port(port))
    }
}

/// The VIP of a service.
pub(crate) const fn vip(service: u16) -> Ipv4Addr {
    let [high, low] = service.to_be_bytes();
    Ipv4Addr::new(198, 18 + (high >> 7), high, low)
}

/// Writes a client's segment to a service.
#[inline]
pub(crate) fn write(frame: &mut Frame, client: Client, service: u16, segment: Segment, stamp: u64) {
    const TEMPLATE: Frame = template();
    let flags = match segment {
        Segment::Syn => 0x02,
        Segment::Ack => 0x10,
        Segment::Data => 0x18,
        Segment::Fin => 0x11,
    };
    let ((address, port), vip) = (client.end(), vip(service).to_bits());
    *frame = TEMPLATE;
    frame[24..26].copy_from_slice(&header_sum(address, vip).to_be_bytes());
    frame[26..30].copy_from_slice(&address.to_be_bytes());
    frame[30..34].copy_from_slice(&vip.to_be_bytes());
    frame[34..36].copy_from_slice(&port.to_be_bytes());
    frame[38..46].copy_from_slice(&stamp.to_ne_bytes());
    frame[47] = flags;
    frame[54..58].copy_from_slice(&client.0.to_ne_bytes());
}

/// The IPv4 header checksum of [`template`] with these addresses.
#[inline]
fn header_sum(source: u32, destination: u32) -> u16 {
    // Version and so on, length, DF, TTL and protocol.
    let mut sum = 0x4500 + IP_LEN as u32 + 0x4000 + 0x4006;
    for address in [source, destination] {
        sum += (address >> 16) + (address & 0xffff);
    }
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

const fn template() -> Frame {
    let mut frame = [0; 60];
    let [_, mac @ ..] = WAN_MAC;
    frame[0] = 2;
    frame[5] = mac[4];
    (frame[6], frame[11]) = (2, 0xfe);
    (frame[12], frame[14]) = (8, 0x45);
    frame[17] = IP_LEN;
    (frame[20], frame[22], frame[23]) = (0x40, 64, 6);
    [_, frame[37]] = VIP_PORT.to_be_bytes();
    (frame[46], frame[48]) = (0x50, 0xff);
    frame
}

/// A frame that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whose it is.
    pub(crate) client: Client,
    /// The last octets of the MAC that it was sent to: the server.
    pub(crate) server: u16,
    /// When it was sent.
    pub(crate) stamp: u64,
    header: [u8; 20],
}

impl Seen {
    /// Whether the IPv4 header is what [`write()`] wrote, with one hop less to go.
    pub(crate) fn is_forwarded(&self, service: u16) -> bool {
        let mut sent: Frame = [0; 60];
        write(&mut sent, self.client, service, Segment::Ack, 0);
        sent[22] -= 1;
        sent[24..26].fill(0);
        let Checksum(sum) = checksum::of(&sent[14..34]);
        sent[24..26].copy_from_slice(&sum);
        sent[14..34] == self.header
    }
}

/// Reads what [`write()`] wrote; `None` if it is another frame.
#[inline]
pub(crate) fn read(frame: &[u8]) -> Option<Seen> {
    let frame: &Frame = frame.first_chunk()?;
    let field = |at: usize| [frame[at], frame[at + 1], frame[at + 2], frame[at + 3]];
    let [a, b, c, d] = field(38);
    let [e, f, g, h] = field(42);
    (frame[36..38] == VIP_PORT.to_be_bytes()).then_some(Seen {
        client: Client(u32::from_ne_bytes(field(54))),
        server: u16::from_be_bytes([frame[4], frame[5]]),
        stamp: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        header: *frame[14..].first_chunk()?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use weir_wire::checksum::Delta;
    use weir_wire::parse::{self, Frame as Parsed};

    use super::*;

    #[test]
    fn segments_parse_as_what_they_are() {
        let mut frame = [0xa5; 60];
        for (segment, flags) in [
            (Segment::Syn, 0x02),
            (Segment::Ack, 0x10),
            (Segment::Data, 0x18),
            (Segment::Fin, 0x11),
        ] {
            write(
                &mut frame,
                Client(77_000_000),
                700,
                segment,
                0x0123_4567_89ab_cdef,
            );
            let Ok((link, Parsed::V4(packet))) = parse::parse(&frame, frame.len()) else {
                panic!("no IPv4 packet with a right checksum");
            };
            assert_eq!(link.dst.0, WAN_MAC);
            assert_eq!((packet.dst, packet.dport.0), (vip(700), VIP_PORT));
            assert_eq!(packet.src.to_bits(), Client(77_000_000).end().0);
            assert_eq!((packet.tcp_flags.0, packet.end - packet.l3), (flags, 46));
            let seen = read(&frame).expect("it is ours");
            assert_eq!(
                (seen.client, seen.stamp),
                (Client(77_000_000), 0x0123_4567_89ab_cdef)
            );
        }
    }

    #[test]
    fn a_header_that_came_back_is_judged() {
        let mut frame = [0; 60];
        for number in 0..1000 {
            write(&mut frame, Client(number), 3, Segment::Data, 1);
            let is_right = |frame: &Frame| read(frame).expect("it is ours").is_forwarded(3);
            assert!(!is_right(&frame), "the TTL is as before");
            frame[22] = 63;
            assert!(!is_right(&frame), "so is the checksum");
            let hop = Delta::new().replace_u16(0x4006, 0x3f06);
            let Checksum(sum) = hop.apply(Checksum([frame[24], frame[25]]));
            frame[24..26].copy_from_slice(&sum);
            assert!(is_right(&frame));
            frame[33] ^= 1;
            assert!(!is_right(&frame), "it is for another");
        }
    }

    #[test]
    fn clients_differ_near_and_far() {
        let numbers = (0..100_000).chain((1..500).map(|high| high << 23 | 5));
        let ends: Vec<_> = numbers.map(|number| Client(number).end()).collect();
        let different: HashSet<_> = ends.iter().collect();
        assert_eq!(different.len(), ends.len());
    }
}
