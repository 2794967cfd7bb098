//! Why bytes are not the header they should be. One variant per cause that a counter can name.

/// Why a frame, or a packet quoted inside one, cannot be used.
///
/// Each cause becomes one drop reason of the engine, except [`ParseError::Split`], which asks for
/// the frame in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ParseError {
    /// A header, or the length it declares, runs past the frame.
    Truncated,
    /// A field contradicts itself: version, IHL under 5 words, data offset under 5 words.
    Malformed,
    /// The headers run past the first segment but not past the frame: gather
    /// [`HEADERS_LEN_MAX`](crate::parse::HEADERS_LEN_MAX) octets and parse again. Never a drop.
    Split,
    /// More octets than [`LEN_MAX`](crate::parse::LEN_MAX).
    Oversize,
    /// 802.3 length where an EtherType should be (LLC, spanning tree and the like).
    LlcFrame,
    /// More than two VLAN tags.
    VlanDepth,
    /// The IPv4 header checksum is wrong.
    BadIpChecksum,
    /// IPv4 loose or strict source route (RFC 7126 §4.3), or an IPv6 Routing header that is type 0
    /// (RFC 5095) or has segments left.
    SourceRoute,
    /// UDP Length is under 8 or more than the IP payload holds.
    BadUdpLength,
    /// A first fragment without its whole L4 header, or a later one that would overwrite it
    /// (RFC 1858, RFC 3128, RFC 7112).
    TinyFragment,
    /// A fragment that no reassembly could use: it ends past octet 65535, or it is not the last
    /// and its length is zero or no multiple of 8.
    FragmentOverflow,
    /// More IPv6 extension headers, or longer ones, than the limits in [`crate::ipv6`].
    ExtensionChain,
    /// An IPv6 jumbogram (RFC 2675).
    Jumbogram,
}
