//! Frames as hosts send them, and what a test asks of those that come out.
//!
//! Everything is written from the RFCs anew and with plain sums, so that no test of the data path
//! takes the data path's word for what is right: RFC 791, 8200, 9293, 768, 792, 4443, 1071.

use std::net::IpAddr;

use weir_wire::addr::MacAddr;

/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// IP in IP, RFC 2003.
pub const IPIP: u8 = 4;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// IPv6 in IP, RFC 2473 and 4213.
pub const IPV6: u8 = 41;
/// The IPv6 Fragment header.
pub const FRAGMENT: u8 = 44;
/// ICMPv6.
pub const ICMPV6: u8 = 58;

/// TCP flags.
pub const FIN: u8 = 1;
/// Synchronise.
pub const SYN: u8 = 2;
/// Reset.
pub const RST: u8 = 4;
/// Push.
pub const PSH: u8 = 8;
/// Acknowledge.
pub const ACK: u8 = 16;

const ETHERNET_LEN: usize = 14;

/// An IP header to be: between whom, and the fields that tests vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source.
    pub src: IpAddr,
    /// Destination, of the same family.
    pub dst: IpAddr,
    /// TTL or Hop Limit.
    pub ttl: u8,
    /// TOS or Traffic Class.
    pub tos: u8,
    /// Identification (of IPv6: in Fragment headers).
    pub id: u16,
    /// IPv4's DF.
    pub dont_fragment: bool,
}

/// RFC 1071's sum over `octets`, complemented: what the checksum field must hold.
pub fn checksum<'a>(octets: impl IntoIterator<Item = &'a u8>) -> u16 {
    let mut sum = 0_u64;
    for (at, octet) in octets.into_iter().enumerate() {
        sum += u64::from(*octet) << if at % 2 == 0 { 8 } else { 0 };
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn len16(len: usize) -> [u8; 2] {
    u16::try_from(len)
        .expect("tests stay below 64 KiB")
        .to_be_bytes()
}

impl Ip {
    /// From `src` to `dst` with TTL 64, TOS 0, identification 0x1234 and DF set.
    ///
    /// # Panics
    /// If these are no addresses of one family.
    pub fn new(src: &str, dst: &str) -> Self {
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address in a test");
        let (src, dst) = (parse(src), parse(dst));
        assert_eq!(src.is_ipv4(), dst.is_ipv4(), "one family");
        Self {
            src,
            dst,
            ttl: 64,
            tos: 0,
            id: 0x1234,
            dont_fragment: true,
        }
    }

    /// The other direction.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            ..self
        }
    }

    /// The same with this TTL or Hop Limit.
    #[must_use]
    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// The same with DF clear.
    #[must_use]
    pub fn may_fragment(self) -> Self {
        Self {
            dont_fragment: false,
            ..self
        }
    }

    /// A whole packet with this payload.
    pub fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let df = if self.dont_fragment { 0x4000 } else { 0 };
        self.piece(protocol, payload, df)
    }

    /// A packet whose IPv4 flags and fragment offset are `flags` (nothing in IPv6).
    fn piece(&self, protocol: u8, payload: &[u8], flags: u16) -> Vec<u8> {
        let mut packet = Vec::with_capacity(40 + payload.len());
        if self.src.is_ipv4() {
            packet.extend([0x45, self.tos]);
            packet.extend(len16(20 + payload.len()));
            packet.extend(self.id.to_be_bytes());
            packet.extend(flags.to_be_bytes());
            packet.extend([self.ttl, protocol, 0, 0]);
        } else {
            packet.extend([0x60 | self.tos >> 4, self.tos << 4, 0, 0]);
            packet.extend(len16(payload.len()));
            packet.extend([protocol, self.ttl]);
        }
        packet.extend(octets(self.src));
        packet.extend(octets(self.dst));
        if self.src.is_ipv4() {
            let sum = checksum(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        packet.extend(payload);
        packet
    }

    /// The checksum of an L4 message whose checksum field is zero, pseudo-header included.
    pub(crate) fn l4_sum(&self, protocol: u8, message: &[u8]) -> [u8; 2] {
        let mut covered = octets(self.src);
        covered.extend(octets(self.dst));
        covered.extend([0, protocol]);
        covered.extend(len16(message.len()));
        covered.extend(message);
        checksum(&covered).to_be_bytes()
    }

    /// A TCP segment with sequence number 1000 and acknowledgement 2000.
    pub fn tcp(&self, sport: u16, dport: u16, flags: u8, data: &[u8]) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(sport.to_be_bytes());
        segment.extend(dport.to_be_bytes());
        segment.extend([0, 0, 3, 232, 0, 0, 7, 208, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        segment.extend(data);
        let sum = self.l4_sum(TCP, &segment);
        segment[16..18].copy_from_slice(&sum);
        self.packet(TCP, &segment)
    }

    /// A UDP datagram.
    pub fn udp(&self, sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
        self.packet(UDP, &self.datagram(sport, dport, data))
    }

    /// A UDP header and its data.
    pub fn datagram(&self, sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        datagram.extend(sport.to_be_bytes());
        datagram.extend(dport.to_be_bytes());
        datagram.extend(len16(8 + data.len()));
        datagram.extend([0, 0]);
        datagram.extend(data);
        let sum = self.l4_sum(UDP, &datagram);
        let sum = if sum == [0, 0] { [0xff, 0xff] } else { sum };
        datagram[6..8].copy_from_slice(&sum);
        datagram
    }

    /// An ICMP or ICMPv6 message: type, code, the four octets after the checksum, and the rest.
    pub fn icmp(&self, kind: u8, code: u8, word: [u8; 4], data: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0];
        message.extend(word);
        message.extend(data);
        let (protocol, sum) = if self.src.is_ipv4() {
            (ICMP, checksum(&message).to_be_bytes())
        } else {
            (ICMPV6, self.l4_sum(ICMPV6, &message))
        };
        message[2..4].copy_from_slice(&sum);
        self.packet(protocol, &message)
    }

    /// An echo request.
    pub fn echo(&self, data: &[u8]) -> Vec<u8> {
        let kind = if self.src.is_ipv4() { 8 } else { 128 };
        self.icmp(kind, 0, [0, 7, 0, 1], data)
    }

    /// A payload in fragments of at most `step` octets of data each, a multiple of eight.
    pub fn fragments(&self, protocol: u8, payload: &[u8], step: usize) -> Vec<Vec<u8>> {
        let last = payload.len().div_ceil(step).saturating_sub(1);
        let piece = |(at, data): (usize, &[u8])| {
            let [high, low] = len16(at * step);
            let offset = u16::from_be_bytes([high, low]);
            let more = u16::from(at != last);
            if self.src.is_ipv4() {
                return self.piece(protocol, data, (offset / 8) | (more << 13));
            }
            let mut extended = vec![protocol, 0];
            extended.extend((offset | more).to_be_bytes());
            extended.extend([0, 0]);
            extended.extend(self.id.to_be_bytes());
            extended.extend(data);
            self.piece(FRAGMENT, &extended, 0)
        };
        payload.chunks(step).enumerate().map(piece).collect()
    }
}

/// An IP packet in Ethernet.
pub fn ethernet(dst: MacAddr, src: MacAddr, packet: &[u8]) -> Vec<u8> {
    let ether_type = match packet.first().map(|octet| octet >> 4) {
        Some(6) => [0x86, 0xdd],
        _ => [0x08, 0x00],
    };
    [&dst.0[..], &src.0, &ether_type, packet].concat()
}

/// The same frame with an 802.1Q tag in front of what it has.
pub fn tagged(frame: &[u8], vid: u16) -> Vec<u8> {
    let tci = vid.to_be_bytes();
    [&frame[..12], &[0x81, 0, tci[0], tci[1]], &frame[12..]].concat()
}

/// The same frame filled up with zeros to `len` octets, as senders do to 60.
pub fn padded(frame: &[u8], len: usize) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame.resize(len.max(frame.len()), 0);
    frame
}

/// The same frame with the octets at `at` replaced. Sums stay as they are.
pub fn patched(frame: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at..at + with.len()].copy_from_slice(with);
    frame
}

/// The IP packet of a frame with or without one tag: no Ethernet header, no padding.
///
/// `None` if there is no IP, or its length runs past the frame.
pub fn packet_of(frame: &[u8]) -> Option<&[u8]> {
    let at = if frame.get(12..14)? == [0x81, 0] {
        ETHERNET_LEN + 4
    } else {
        ETHERNET_LEN
    };
    let packet = frame.get(at..)?;
    let len = match packet.first()? >> 4 {
        4 => be16(packet, 2)?,
        6 => 40 + be16(packet, 4)?,
        _ => return None,
    };
    packet.get(..len)
}

fn be16(octets: &[u8], at: usize) -> Option<usize> {
    let pair = *octets.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(pair).into())
}

/// Says what is wrong with an IP packet that a router sends: its lengths, its header checksum, a
/// TTL that ran out. `packet` is all that follows the link header.
///
/// # Errors
/// The first thing found.
pub fn check_ip(packet: &[u8]) -> Result<(), String> {
    let version = packet.first().ok_or("an empty packet")? >> 4;
    let (header_len, len, ttl) = match version {
        4 => (
            usize::from(packet[0] & 15) * 4,
            be16(packet, 2),
            packet.get(8),
        ),
        6 => (40, be16(packet, 4).map(|len| len + 40), packet.get(7)),
        _ => return Err(format!("IP version {version}")),
    };
    let header = packet
        .get(..header_len)
        .ok_or("a header that was cut off")?;
    if len != Some(packet.len()) {
        return Err(format!(
            "{} octets, where the header says {len:?}",
            packet.len()
        ));
    }
    if version == 4 && checksum(header) != 0 {
        return Err("a wrong header checksum".into());
    }
    if ttl == Some(&0) {
        Err("TTL 0".into())
    } else {
        Ok(())
    }
}

/// Whether the TCP, UDP, ICMP or ICMPv6 checksum of a whole packet without IPv6 extension headers
/// is right. `None`: it has none.
pub fn l4_sum_is_right(packet: &[u8]) -> Option<bool> {
    let (protocol, addresses, message) = match packet.first()? >> 4 {
        4 => (
            packet[9],
            packet.get(12..20)?,
            packet.get(usize::from(packet[0] & 15) * 4..)?,
        ),
        _ => (packet[6], packet.get(8..40)?, packet.get(40..)?),
    };
    let mut covered = Vec::new();
    match protocol {
        UDP if message.get(6..8)? == [0, 0] => return None,
        TCP | UDP | ICMPV6 => {
            covered.extend(addresses);
            covered.extend([0, protocol]);
            covered.extend(len16(message.len()));
        }
        ICMP => {}
        _ => return None,
    }
    covered.extend(message);
    Some(checksum(&covered) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: (MacAddr, MacAddr) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));

    #[test]
    fn built_packets_are_what_a_host_would_send() {
        for ip in [
            Ip::new("10.0.0.1", "10.0.0.2"),
            Ip::new("fd00::1", "fd00::2"),
        ] {
            let packets = [
                ip.tcp(1, 2, SYN, b"abc"),
                ip.udp(3, 4, b"xy"),
                ip.echo(b"hello"),
            ];
            for packet in packets {
                assert_eq!(check_ip(&packet), Ok(()));
                assert_eq!(l4_sum_is_right(&packet), Some(true));
                let frame = padded(&tagged(&ethernet(MACS.0, MACS.1, &packet), 7), 200);
                assert_eq!(packet_of(&frame), Some(&packet[..]));
                let broken = patched(&packet, packet.len() - 1, &[0x55]);
                assert_eq!(l4_sum_is_right(&broken), Some(false));
            }
        }
    }

    #[test]
    fn fragments_hold_the_payload_and_say_where() {
        let payload: Vec<u8> = (0..100).collect();
        let v4 = Ip::new("10.0.0.1", "10.0.0.2").fragments(UDP, &payload, 48);
        assert_eq!(v4.len(), 3);
        assert_eq!(
            [&v4[0][6..8], &v4[1][6..8], &v4[2][6..8]],
            [[0x20, 0], [0x20, 6], [0, 12]]
        );
        assert_eq!(
            v4.iter()
                .flat_map(|f| &f[20..])
                .copied()
                .collect::<Vec<u8>>(),
            payload
        );
        let v6 = Ip::new("fd00::1", "fd00::2").fragments(UDP, &payload, 48);
        assert_eq!(
            [&v6[0][42..44], &v6[1][42..44], &v6[2][42..44]],
            [[0, 1], [0, 49], [0, 96]]
        );
        assert!(
            v4.iter()
                .chain(&v6)
                .all(|packet| check_ip(packet) == Ok(()))
        );
    }
}
