//! Addresses and the small numbers that name protocols, each a type of its own.
//!
//! IP addresses are `core::net`'s. [`Address`] is what code generic over both families needs from
//! them; it is sealed, because there are two families and there will be two.

use core::fmt::{self, Debug, Display};
use core::hash::Hash;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// An Ethernet (MAC-48) address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// All stations: `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// `00:00:00:00:00:00`, which no station has.
    pub const ZERO: Self = Self([0; 6]);

    /// The octets in transmission order.
    #[inline]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether the group bit is set; broadcast counts (IEEE 802.3 §3.2.3).
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether this is the broadcast address.
    #[inline]
    pub const fn is_broadcast(self) -> bool {
        matches!(self.0, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
    }
}

impl Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// The text is not six hexadecimal octets separated by colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMac;

impl Display for InvalidMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address: expected six hexadecimal octets like 02:00:00:00:00:01")
    }
}

impl core::error::Error for InvalidMac {}

impl FromStr for MacAddr {
    type Err = InvalidMac;

    /// Reads `02:00:00:00:00:01`, in either case, always with two digits per octet.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or(InvalidMac)?;
            // from_str_radix alone would take "+1" and "123" apart wrongly.
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(InvalidMac);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| InvalidMac)?;
        }
        if parts.next().is_some() {
            return Err(InvalidMac);
        }
        Ok(Self(octets))
    }
}

/// A TCP, UDP or SCTP port, in host order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct L4Port(pub u16);

impl L4Port {
    /// No port: later fragments and protocols without ports.
    pub const NONE: Self = Self(0);

    /// Reads a port from network order.
    #[inline]
    pub const fn from_be_bytes(octets: [u8; 2]) -> Self {
        Self(u16::from_be_bytes(octets))
    }

    /// The port in network order.
    #[inline]
    pub const fn to_be_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

impl Display for L4Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl Debug for L4Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// An IP protocol number: IPv4 Protocol, or the last Next Header of an IPv6 chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// IPv4 in IP (RFC 2003, RFC 2473).
    pub const IPIP: Self = Self(4);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// IPv6 in IP.
    pub const IPV6: Self = Self(41);
    /// Generic Routing Encapsulation.
    pub const GRE: Self = Self(47);
    /// IPsec Authentication Header.
    pub const AH: Self = Self(51);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// VRRP.
    pub const VRRP: Self = Self(112);
    /// SCTP.
    pub const SCTP: Self = Self(132);

    /// The lower-case name, or `None` for a protocol this crate has no word for.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::ICMP => "icmp",
            Self::IPIP => "ipip",
            Self::TCP => "tcp",
            Self::UDP => "udp",
            Self::IPV6 => "ipv6",
            Self::GRE => "gre",
            Self::AH => "ah",
            Self::ICMPV6 => "icmpv6",
            Self::VRRP => "vrrp",
            Self::SCTP => "sctp",
            Self(_) => return None,
        })
    }

    /// Whether the first four octets of the L4 header are a source and a destination port.
    #[inline]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => Display::fmt(&self.0, f),
        }
    }
}

/// An EtherType, in host order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP: recognised, never decoded here.
    pub const ARP: Self = Self(0x0806);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// 802.1Q customer tag.
    pub const VLAN: Self = Self(0x8100);
    /// 802.1ad service tag (QinQ).
    pub const QINQ: Self = Self(0x88a8);

    /// Reads an EtherType from network order.
    #[inline]
    pub const fn from_be_bytes(octets: [u8; 2]) -> Self {
        Self(u16::from_be_bytes(octets))
    }

    /// Whether a VLAN tag follows.
    #[inline]
    pub const fn is_vlan(self) -> bool {
        matches!(self, Self::VLAN | Self::QINQ)
    }

    /// Whether this is an 802.3 length instead of a type (IEEE 802.3 §3.2.6).
    ///
    /// 1501 to 1535 are neither; they count as lengths, because no type can be there.
    #[inline]
    pub const fn is_length(self) -> bool {
        self.0 < 0x0600
    }
}

impl Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for core::net::Ipv4Addr {}
    impl Sealed for core::net::Ipv6Addr {}
}

/// An IPv4 or IPv6 address: what code generic over the family needs.
pub trait Address:
    Copy + Eq + Ord + Hash + Debug + Display + Into<IpAddr> + Send + Sync + sealed::Sealed + 'static
{
    /// The octets as they are on the wire.
    type Octets: AsRef<[u8]> + Copy + Eq + Send + Sync;
    /// Octets in an address: 4 or 16.
    const LEN: usize;
    /// The EtherType of the family.
    const ETHER_TYPE: EtherType;
    /// The family's ICMP.
    const ICMP: Protocol;
    /// `0.0.0.0` or `::`.
    const UNSPECIFIED: Self;

    /// The address in network order.
    fn octets(self) -> Self::Octets;
    /// The address as a number, an IPv4 address in the low 32 bits. For hashing and masking.
    fn bits(self) -> u128;
    /// The unfolded one's complement sum of the address, for checksums.
    fn checksum_words(self) -> u64;
    /// Whether no packet that is to be forwarded may come from here (RFC 1812 §5.3.7, RFC 6890).
    ///
    /// IPv4: 0/8, 127/8, 224/4, 240/4 with broadcast. IPv6: `::`, `::1`, ff00::/8 and v4-mapped.
    /// Link-local, private and documentation ranges are left to the operator's ACL.
    fn is_martian_source(self) -> bool;
    /// Whether this is a multicast address, or the limited broadcast of IPv4.
    fn is_multicast(self) -> bool;
}

impl Address for Ipv4Addr {
    type Octets = [u8; 4];
    const LEN: usize = 4;
    const ETHER_TYPE: EtherType = EtherType::IPV4;
    const ICMP: Protocol = Protocol::ICMP;
    const UNSPECIFIED: Self = Ipv4Addr::UNSPECIFIED;

    #[inline]
    fn octets(self) -> [u8; 4] {
        Ipv4Addr::octets(&self)
    }

    #[inline]
    fn bits(self) -> u128 {
        u128::from(self.to_bits())
    }

    #[inline]
    fn checksum_words(self) -> u64 {
        u64::from(self.to_bits())
    }

    #[inline]
    fn is_martian_source(self) -> bool {
        let first = Ipv4Addr::octets(&self)[0];
        first == 0 || first == 127 || first >= 224
    }

    #[inline]
    fn is_multicast(self) -> bool {
        Ipv4Addr::is_multicast(&self) || self == Ipv4Addr::BROADCAST
    }
}

impl Address for Ipv6Addr {
    type Octets = [u8; 16];
    const LEN: usize = 16;
    const ETHER_TYPE: EtherType = EtherType::IPV6;
    const ICMP: Protocol = Protocol::ICMPV6;
    const UNSPECIFIED: Self = Ipv6Addr::UNSPECIFIED;

    #[inline]
    fn octets(self) -> [u8; 16] {
        Ipv6Addr::octets(&self)
    }

    #[inline]
    fn bits(self) -> u128 {
        self.to_bits()
    }

    #[inline]
    fn checksum_words(self) -> u64 {
        let bits = self.to_bits();
        let word = |shift: u32| u64::from(((bits >> shift) & 0xffff_ffff) as u32);
        word(0) + word(32) + word(64) + word(96)
    }

    #[inline]
    fn is_martian_source(self) -> bool {
        // 0 and 1 are :: and ::1; the upper 96 bits 0:0:0:0:0:ffff are v4-mapped.
        self.to_bits() <= 1 || Ipv6Addr::is_multicast(&self) || self.to_bits() >> 32 == 0xffff
    }

    #[inline]
    fn is_multicast(self) -> bool {
        Ipv6Addr::is_multicast(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_text_goes_both_ways() {
        let mac = MacAddr([0x02, 0, 0xab, 0, 1, 0xfe]);
        assert_eq!(mac.to_string(), "02:00:ab:00:01:fe");
        assert_eq!("02:00:AB:00:01:fe".parse(), Ok(mac));
        assert!(!mac.is_multicast() && MacAddr::BROADCAST.is_multicast());
        assert!(MacAddr::BROADCAST.is_broadcast() && !mac.is_broadcast());
        assert_eq!(mac.octets(), mac.0);
    }

    #[test]
    fn mac_text_that_is_not_six_pairs_is_refused() {
        for text in [
            "",
            "02",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "2:0:0:0:0:1",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(InvalidMac), "{text}");
        }
        for text in [
            "+2:00:00:00:00:01",
            "02-00-00-00-00-01",
            "0g:00:00:00:00:01",
            "é:00:0:0:0:0",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(InvalidMac), "{text}");
        }
    }

    #[test]
    fn d11_martian_sources_are_recognised() {
        let bad4 = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.18",
            "240.0.0.1",
            "255.255.255.255",
        ];
        let good4 = [
            "1.0.0.1",
            "10.0.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "223.255.255.255",
        ];
        let bad6 = ["::", "::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:0.0.0.0"];
        let good6 = [
            "fd00::1",
            "2001:db8::1",
            "fe80::1",
            "::2",
            "64:ff9b::a00:1",
            "::1:ffff:0:1",
        ];
        for text in bad4 {
            assert!(
                text.parse::<Ipv4Addr>().unwrap().is_martian_source(),
                "{text}"
            );
        }
        for text in good4 {
            assert!(
                !text.parse::<Ipv4Addr>().unwrap().is_martian_source(),
                "{text}"
            );
        }
        for text in bad6 {
            assert!(
                text.parse::<Ipv6Addr>().unwrap().is_martian_source(),
                "{text}"
            );
        }
        for text in good6 {
            assert!(
                !text.parse::<Ipv6Addr>().unwrap().is_martian_source(),
                "{text}"
            );
        }
    }

    #[test]
    fn protocols_have_names_and_unknown_ones_have_numbers() {
        assert_eq!(Protocol::TCP.to_string(), "tcp");
        assert_eq!(Protocol(253).to_string(), "253");
        assert_eq!(Protocol(253).name(), None);
        assert!(Protocol::SCTP.has_ports() && !Protocol::ICMP.has_ports());
    }

    #[test]
    fn d8_ether_types_below_0x600_are_lengths() {
        assert!(EtherType(1500).is_length() && EtherType(0x5ff).is_length());
        assert!(!EtherType(0x600).is_length() && !EtherType::IPV4.is_length());
    }
}
