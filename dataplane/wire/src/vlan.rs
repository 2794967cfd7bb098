//! VLAN tags: 802.1Q, and the service tag of 802.1ad (QinQ).
//!
//! A tag stands between the source MAC and the EtherType. VID 0 names no VLAN: the tag carries
//! only a priority (802.1Q §9.6).
//!
//! ```text
//! | TPID (0x8100, 0x88a8) | PCP (3) | DEI (1) | VID (12) |
//! ```

use crate::ParseError;
use crate::addr::EtherType;

/// Octets of a tag.
pub const TAG_LEN: usize = 4;
/// Octets of the two MACs before a tag.
const MACS_LEN: usize = 12;

/// A tag: TPID and control information.
#[derive(Clone, Copy, Debug)]
pub struct Vlan<'a>(&'a [u8; TAG_LEN]);

impl<'a> Vlan<'a> {
    /// The tag at the start of `bytes`, which start where an EtherType would be, and what follows:
    /// the next EtherType.
    ///
    /// # Errors
    /// `Truncated` under 4 octets; `Malformed` if the EtherType is not a tag's.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        let (tag, rest) = bytes.split_first_chunk().ok_or(ParseError::Truncated)?;
        let tag = Self(tag);
        if !tag.tpid().is_vlan() {
            return Err(ParseError::Malformed);
        }
        Ok((tag, rest))
    }

    /// Which kind of tag.
    pub const fn tpid(self) -> EtherType {
        EtherType::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Priority code point, 0 to 7.
    pub const fn priority(self) -> u8 {
        self.0[2] >> 5
    }

    /// VLAN identifier; `None` for a priority tag.
    pub const fn vid(self) -> Option<u16> {
        match u16::from_be_bytes([self.0[2] & 0x0f, self.0[3]]) {
            0 => None,
            vid => Some(vid),
        }
    }
}

/// Makes room for a tag and writes it, with priority 0.
///
/// `frame` starts with 4 free octets, before the destination MAC; afterwards it starts with that.
/// Returns `false` and changes nothing if `frame` does not hold the MACs.
#[inline]
pub fn insert(frame: &mut [u8], tpid: EtherType, vid: u16) -> bool {
    let Some(head) = frame.first_chunk_mut::<{ MACS_LEN + TAG_LEN }>() else {
        return false;
    };
    head.copy_within(TAG_LEN.., 0);
    let [tpid_hi, tpid_lo] = tpid.0.to_be_bytes();
    let [hi, lo] = (vid & 0x0fff).to_be_bytes();
    [head[12], head[13], head[14], head[15]] = [tpid_hi, tpid_lo, hi, lo];
    true
}

/// Moves the MACs over the first tag; the frame then starts [`TAG_LEN`] octets later.
///
/// Returns `false` and changes nothing if there is no tag.
#[inline]
pub fn remove(frame: &mut [u8]) -> bool {
    let tagged = frame
        .get(MACS_LEN..)
        .is_some_and(|rest| Vlan::parse(rest).is_ok());
    if tagged {
        frame.copy_within(..MACS_LEN, TAG_LEN);
    }
    tagged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_is_inserted_reads_back_and_comes_off() {
        let mut frame = *b"\xa5\xa5\xa5\xa5DSTMACSRCMAC\x08\x00payload";
        assert!(insert(&mut frame, EtherType::QINQ, 100));
        assert_eq!(&frame, b"DSTMACSRCMAC\x88\xa8\x00\x64\x08\x00payload");
        let (tag, rest) = Vlan::parse(&frame[12..]).unwrap();
        assert_eq!(
            (tag.tpid(), tag.vid(), tag.priority()),
            (EtherType::QINQ, Some(100), 0)
        );
        assert_eq!(&rest[..2], b"\x08\x00");
        assert!(remove(&mut frame));
        assert_eq!(&frame[4..], b"DSTMACSRCMAC\x08\x00payload");
        assert!(!remove(&mut frame[4..]), "no tag is left");
    }

    #[test]
    fn d7_vid_zero_names_no_vlan() {
        let (tag, _) = Vlan::parse(b"\x81\x00\xe0\x00\x08\x00").unwrap();
        assert_eq!((tag.vid(), tag.priority()), (None, 7));
    }

    #[test]
    fn no_short_frame_is_changed_or_read_past() {
        for len in 0..16 {
            let mut frame = [0xa5; 16];
            assert!(!insert(&mut frame[..len], EtherType::VLAN, 1));
            assert!(!remove(&mut frame[..len]));
            assert_eq!(frame, [0xa5; 16]);
        }
        for len in 0..4 {
            assert_eq!(
                Vlan::parse(&b"\x81\x00\x00\x01"[..len]).err(),
                Some(ParseError::Truncated)
            );
        }
        assert_eq!(
            Vlan::parse(b"\x08\x00\x45\x00").err(),
            Some(ParseError::Malformed)
        );
    }
}
