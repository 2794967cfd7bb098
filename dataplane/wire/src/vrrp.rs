//! VRRP messages, versions 2 (RFC 3768 §5.1) and 3 (RFC 9568 §5.1): views and emission.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+---------------+---------------+---------------+
//! |version| type  |  identifier   |   priority    |     count     |
//! +-------+-------+---------------+---------------+---------------+
//! | v2: auth type | v2: seconds   |           checksum            |
//! | v3: rsvd |  centiseconds, 12  |                               |
//! +---------------+---------------+-------------------------------+
//! |  count addresses, 4 or 16 octets each; v2: 8 octets of auth   |
//! ```
//! Structure only: what a value means for an instance is its owner's to judge.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use crate::ParseError;
use crate::addr::Protocol;
use crate::checksum::{self, Checksum, Sum};

/// Octets before the addresses.
pub const HEADER_LEN: usize = 8;
/// Octets of authentication data in version 2.
pub const AUTH_LEN: usize = 8;
/// The only type there is.
pub const TYPE_ADVERT: u8 = 1;
/// Where IPv4 adverts go.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Where IPv6 adverts go.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// A message as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Advert<'a> {
    head: &'a [u8; HEADER_LEN],
    body: &'a [u8],
}

impl<'a> Advert<'a> {
    /// Splits an IP payload, which ends where the IP packet does, into header and body.
    ///
    /// # Errors
    /// `Truncated` if the header is not whole.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (head, body) = bytes.split_first_chunk().ok_or(ParseError::Truncated)?;
        Ok(Self { head, body })
    }

    /// 2 or 3, or something else.
    pub const fn version(&self) -> u8 {
        self.head[0] >> 4
    }

    /// [`TYPE_ADVERT`], or something else.
    pub const fn kind(&self) -> u8 {
        self.head[0] & 0x0f
    }

    /// Virtual router identifier.
    pub const fn id(&self) -> u8 {
        self.head[1]
    }

    /// 0 resigns, 255 owns the addresses.
    pub const fn priority(&self) -> u8 {
        self.head[2]
    }

    /// How many addresses follow, as declared.
    pub const fn count(&self) -> u8 {
        self.head[3]
    }

    /// Authentication type (version 2): 0 none, 1 password.
    pub const fn auth_type(&self) -> u8 {
        self.head[4]
    }

    /// The sender's interval: seconds in version 2, centiseconds in 3 (reserved bits ignored).
    pub fn interval(&self) -> Duration {
        if self.version() == 2 {
            return Duration::from_secs(self.head[5].into());
        }
        let centiseconds = u16::from_be_bytes([self.head[4] & 0x0f, self.head[5]]);
        Duration::from_millis(u64::from(centiseconds) * 10)
    }

    /// Octets behind the header.
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Octets that the body must have, by version, family and count.
    pub fn body_len(&self, is_v4: bool) -> usize {
        let auth = if self.version() == 2 { AUTH_LEN } else { 0 };
        usize::from(self.count()) * address_len(is_v4) + auth
    }

    /// The addresses that are there, at most as many as declared.
    pub fn addresses(&self, is_v4: bool) -> impl Iterator<Item = IpAddr> + 'a {
        let whole = self.body.chunks_exact(address_len(is_v4));
        whole.take(usize::from(self.count())).filter_map(|octets| {
            if let Ok(v4) = <[u8; 4]>::try_from(octets) {
                return Some(IpAddr::from(v4));
            }
            <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
        })
    }

    /// The last eight octets: the password of version 2.
    pub fn auth(&self) -> Option<[u8; AUTH_LEN]> {
        self.body.last_chunk().copied()
    }

    /// Whether the checksum over the message alone is right: version 2, and RFC 9568 over IPv4.
    pub fn is_valid_alone(&self) -> bool {
        Sum::new().over(self.head).over(self.body).is_valid()
    }

    /// Whether the checksum with the pseudo-header of its packet is right: IPv6, and RFC 5798.
    pub fn is_valid_with_pseudo(&self, src: IpAddr, dst: IpAddr) -> bool {
        let len = u16::try_from(HEADER_LEN + self.body.len());
        let sum = len.ok().and_then(|len| pseudo(src, dst, len));
        sum.is_some_and(|sum| sum.over(self.head).over(self.body).is_valid())
    }
}

const fn address_len(is_v4: bool) -> usize {
    if is_v4 { 4 } else { 16 }
}

fn pseudo(src: IpAddr, dst: IpAddr, len: u16) -> Option<Sum> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Sum::pseudo(src, dst, Protocol::VRRP, len)),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Sum::pseudo(src, dst, Protocol::VRRP, len)),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// What a message is made of.
#[derive(Clone, Copy, Debug)]
pub struct Repr<'a> {
    /// 2 or 3.
    pub version: u8,
    /// Virtual router identifier.
    pub id: u8,
    /// 0 resigns.
    pub priority: u8,
    /// Whole seconds in version 2, centiseconds in 3.
    pub interval: Duration,
    /// One family, at most 255.
    pub addresses: &'a [IpAddr],
    /// Password of version 2.
    pub auth: Option<[u8; AUTH_LEN]>,
}

impl Repr<'_> {
    /// Octets of the message.
    pub fn buffer_len(&self) -> usize {
        let is_v4 = self.addresses.first().is_none_or(IpAddr::is_ipv4);
        let auth = if self.version == 2 { AUTH_LEN } else { 0 };
        HEADER_LEN + self.addresses.len() * address_len(is_v4) + auth
    }

    /// Writes the message into the first [`Self::buffer_len`] octets of `out`. `pseudo`: source and
    /// destination, if the checksum covers them.
    ///
    /// `None` if `out` is shorter, and nothing is to be used then.
    pub fn emit(&self, out: &mut [u8], pseudo_header: Option<(IpAddr, IpAddr)>) -> Option<()> {
        let out = out.get_mut(..self.buffer_len())?;
        out.fill(0);
        let (head, mut body) = out.split_first_chunk_mut::<HEADER_LEN>()?;
        let timing = if self.version == 2 {
            let seconds = u8::try_from(self.interval.as_secs()).unwrap_or(u8::MAX);
            [u8::from(self.auth.is_some()), seconds]
        } else {
            let centiseconds = self.interval.as_millis() / 10;
            u16::try_from(centiseconds)
                .unwrap_or(0x0fff)
                .min(0x0fff)
                .to_be_bytes()
        };
        head[0] = self.version << 4 | TYPE_ADVERT;
        head[1] = self.id;
        head[2] = self.priority;
        head[3] = u8::try_from(self.addresses.len()).ok()?;
        [head[4], head[5]] = timing;
        for address in self.addresses {
            let rest = match address {
                IpAddr::V4(a) => put(body, &a.octets())?,
                IpAddr::V6(a) => put(body, &a.octets())?,
            };
            body = rest;
        }
        if let (2, Some(auth)) = (self.version, self.auth) {
            put(body, &auth)?;
        }
        let sum = match pseudo_header {
            Some((src, dst)) => pseudo(src, dst, u16::try_from(out.len()).ok()?)?
                .over(out)
                .finish(),
            None => checksum::of(out),
        };
        let Checksum(octets) = sum;
        out.get_mut(6..8)?.copy_from_slice(&octets);
        Some(())
    }
}

fn put<'b>(body: &'b mut [u8], octets: &[u8]) -> Option<&'b mut [u8]> {
    let (place, rest) = body.split_at_mut_checked(octets.len())?;
    place.copy_from_slice(octets);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRC: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    const DST: IpAddr = IpAddr::V4(GROUP_V4);

    fn emit(repr: &Repr<'_>, pseudo: Option<(IpAddr, IpAddr)>) -> ([u8; 64], usize) {
        let mut out = [0xa5; 64];
        repr.emit(&mut out, pseudo).expect("there is room");
        (out, repr.buffer_len())
    }

    #[test]
    fn v5_v7_a_version_2_message_has_seconds_and_a_password_under_its_checksum() {
        let addresses = [IpAddr::from([192, 0, 2, 10])];
        let repr = Repr {
            version: 2,
            id: 51,
            priority: 150,
            interval: Duration::from_secs(1),
            addresses: &addresses,
            auth: Some(*b"1111\0\0\0\0"),
        };
        let (out, len) = emit(&repr, None);
        assert_eq!(len, 20);
        assert_eq!(out[..6], [0x21, 51, 150, 1, 1, 1]);
        assert_eq!(out[8..20], *b"\xc0\x00\x02\x0a1111\0\0\0\0");
        let advert = Advert::parse(&out[..len]).unwrap();
        assert!(advert.is_valid_alone());
        assert_eq!(advert.interval(), Duration::from_secs(1));
        assert_eq!(advert.auth(), Some(*b"1111\0\0\0\0"));
        assert_eq!(advert.body_len(true), advert.body().len());
    }

    #[test]
    fn v8_v9_a_version_3_message_sums_up_with_or_without_pseudo_header() {
        let addresses = [IpAddr::from([192, 0, 2, 10]), IpAddr::from([192, 0, 2, 11])];
        let repr = Repr {
            version: 3,
            id: 1,
            priority: 100,
            interval: Duration::from_millis(40_950),
            addresses: &addresses,
            auth: None,
        };
        let (mut out, len) = emit(&repr, Some((SRC, DST)));
        assert_eq!(out[..6], [0x31, 1, 100, 2, 0x0f, 0xff]);
        out[4] |= 0xf0; // V14: reserved bits are ignored, but they are summed up.
        let advert = Advert::parse(&out[..len]).unwrap();
        assert_eq!(advert.interval(), Duration::from_millis(40_950));
        assert!(!advert.is_valid_with_pseudo(SRC, DST));
        out[4] &= 0x0f;
        let advert = Advert::parse(&out[..len]).unwrap();
        assert!(advert.is_valid_with_pseudo(SRC, DST) && !advert.is_valid_alone());
        assert!(advert.addresses(true).eq(addresses));
        let (out, len) = emit(&repr, None);
        let advert = Advert::parse(&out[..len]).unwrap();
        assert!(advert.is_valid_alone() && !advert.is_valid_with_pseudo(SRC, DST));
    }

    #[test]
    fn v6_a_count_beyond_the_body_yields_only_what_is_there() {
        let mut bytes = [0; 14];
        bytes[..4].copy_from_slice(&[0x31, 1, 100, 255]);
        let advert = Advert::parse(&bytes).unwrap();
        assert_eq!(advert.addresses(true).count(), 1);
        assert_eq!(advert.addresses(false).count(), 0);
        assert_eq!(advert.body_len(true), 1020);
        for len in 0..HEADER_LEN {
            assert!(Advert::parse(&bytes[..len]).is_err());
        }
    }
}
