//! What a port should be, and what its device lacks of that.

use std::fmt;

/// What a port should be.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Receive queues wanted; the device may have fewer.
    pub rx_queues: u16,
    /// Transmit queues wanted; the device may have fewer.
    pub tx_queues: u16,
    /// Descriptors per receive queue, adjusted to the device's limits.
    pub rx_descriptors: u16,
    /// Descriptors per transmit queue, adjusted to the device's limits.
    pub tx_descriptors: u16,
    /// Octets of an Ethernet payload.
    pub mtu: u16,
    /// Whether to receive frames to any MAC address; virtual MACs need it on most devices.
    pub promiscuous: bool,
    /// The port's MAC address, if not the device's own.
    pub mac: Option<[u8; 6]>,
    /// How the device should spread frames over the receive queues.
    pub rss: Option<RssConfig>,
    /// Whether the device should verify checksums.
    pub checksum: ChecksumOffload,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: 1500,
            promiscuous: true,
            mac: None,
            rss: None,
            checksum: ChecksumOffload::Verify,
        }
    }
}

/// Whether the device should verify received checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumOffload {
    /// Verify what the device can; see [`Mbuf::l4_checksum`](crate::Mbuf::l4_checksum).
    Verify,
    /// Leave it to software.
    Off,
}

/// How a device spreads frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RssConfig {
    /// The Toeplitz key. Longer keys of a device repeat it, which changes no hash: 40 octets
    /// cover the longest input, two IPv6 addresses and two ports.
    pub key: [u8; 40],
    /// What the hash covers.
    pub side: RssSide,
}

/// Which end of a frame's flow the hash covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RssSide {
    /// Both addresses and ports.
    Both,
    /// Source address and port: for ports that face clients.
    Source,
    /// Destination address and port: for ports that face servers.
    Destination,
}

/// Something that was asked for and the device lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// Fewer receive queues.
    RxQueues {
        /// Asked for.
        asked: u16,
        /// Given.
        given: u16,
    },
    /// Fewer transmit queues.
    TxQueues {
        /// Asked for.
        asked: u16,
        /// Given.
        given: u16,
    },
    /// No RSS over addresses and ports.
    Rss,
    /// RSS, but not over one side of the flow.
    RssSide,
    /// The MTU, with the most that the device takes.
    Mtu {
        /// Asked for.
        asked: u16,
        /// The device's.
        given: u16,
    },
    /// The MAC address.
    Mac,
    /// Promiscuous mode.
    Promiscuous,
    /// Verified checksums.
    Checksum,
    /// Receiving frames longer than one mbuf.
    Scatter,
    /// Sending frames of several segments.
    MultiSegment,
}

impl fmt::Display for Shortfall {
    /// Writes "fact → effect".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RxQueues { asked, given } => write!(
                f,
                "{given} of {asked} receive queues → {given} workers receive and hand frames over"
            ),
            Self::TxQueues { asked, given } => write!(
                f,
                "{given} of {asked} transmit queues → workers without one hand frames over"
            ),
            Self::Rss => f.write_str("no RSS → frames are spread by software"),
            Self::RssSide => f.write_str(
                "no RSS over one side of the flow → both directions meet by software hand-over",
            ),
            Self::Mtu { asked, given } => write!(
                f,
                "MTU {asked} refused, the device has {given} → enforced in software"
            ),
            Self::Mac => {
                f.write_str("MAC address refused → frames are sent from and accepted to it anyway")
            }
            Self::Promiscuous => f.write_str(
                "promiscuous mode refused → multicast and frames to virtual MACs may not arrive",
            ),
            Self::Checksum => f.write_str("checksums not verified by the device → by software"),
            Self::Scatter => f.write_str(
                "frames longer than one mbuf cannot be received → they are lost; fix: mbuf_data",
            ),
            Self::MultiSegment => f.write_str(
                "frames of several segments cannot be sent → they are copied into one first",
            ),
        }
    }
}

/// What a configured port is, and what was asked for in vain.
#[derive(Clone, Debug)]
pub struct PortReport {
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Descriptors per receive queue.
    pub rx_descriptors: u16,
    /// Descriptors per transmit queue.
    pub tx_descriptors: u16,
    /// What the device lacks.
    pub shortfalls: Vec<Shortfall>,
}
