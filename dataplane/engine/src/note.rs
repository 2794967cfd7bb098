//! What one worker tells another about a frame that it hands over: eight octets that travel with
//! the frame buffer. Also kept by frames that are held.

use weir_wire::addr::{L4Port, Protocol};

use crate::fragment::table::FragmentPorts;
use crate::id::DeviceId;

/// The note of a frame that changes hands.
///
/// ```text
///   63    57 56 55     48 47      32 31         16 15        0
///  +--------+--+---------+----------+-------------+-----------+
///  |   0    |P |protocol |  device  | source port | dest. port|
///  +--------+--+---------+----------+-------------+-----------+
/// ```
/// `P`: ports and protocol are known. They are those of the fragmented packet, which its later
/// fragments lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Note(u64);

const PORTS_KNOWN: u64 = 1 << 56;

impl Note {
    /// A frame that `device` received.
    #[inline]
    pub fn new(device: DeviceId) -> Self {
        Self(u64::from(device.0) << 32)
    }

    /// Reads back what [`Self::bits`] gave.
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The eight octets.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The same, for a fragment whose packet has these ports.
    #[inline]
    #[must_use]
    pub fn with_ports(self, ports: FragmentPorts) -> Self {
        let device = self.0 & 0xffff_0000_0000;
        let protocol = u64::from(ports.protocol.0) << 48;
        let (source, destination) = (u64::from(ports.sport.0), u64::from(ports.dport.0));
        Self(PORTS_KNOWN | protocol | device | source << 16 | destination)
    }

    /// The device that received the frame.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the field has 16 bits")]
    pub fn device(self) -> DeviceId {
        DeviceId((self.0 >> 32) as u16)
    }

    /// Ports and protocol, if a fragment owner found them out.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fields have 16 and 8 bits"
    )]
    pub fn ports(self) -> Option<FragmentPorts> {
        (self.0 & PORTS_KNOWN != 0).then_some(FragmentPorts {
            sport: L4Port((self.0 >> 16) as u16),
            dport: L4Port(self.0 as u16),
            protocol: Protocol((self.0 >> 48) as u8),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_back_what_was_written() {
        let note = Note::new(DeviceId(7));
        assert_eq!((note.device(), note.ports()), (DeviceId(7), None));
        let ports = FragmentPorts {
            sport: L4Port(0xffff),
            dport: L4Port(80),
            protocol: Protocol::UDP,
        };
        let note = note.with_ports(ports);
        assert_eq!(Note::from_bits(note.bits()).device(), DeviceId(7));
        assert_eq!(note.ports(), Some(ports));
    }
}
