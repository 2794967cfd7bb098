//! What the engine decided for one frame, and every named reason for it.
//!
//! One enum of drop reasons yields the counter, the metric label, the text of the command line and
//! the row in `docs/COUNTERS.md`, so they cannot drift apart.

use crate::id::{PortId, WorkerId};

/// What becomes of one frame. Every frame gets exactly one, and every one is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Rewritten in place; leaves by this port.
    Forward(PortId),
    /// Another worker owns the flow: the frame goes to it unchanged (its note says what we know).
    HandOver(WorkerId),
    /// Something is not known yet: kept unchanged until it is, or dropped in time.
    Hold(Wait),
    /// For the control thread or the kernel, unchanged.
    Punt(PuntClass),
    /// Dropped, or answered (the answer is originated).
    Drop(DropReason),
}

/// What a held frame waits for, and so when the worker tries it again ([`Ingress::Released`]) and
/// why it drops it if that comes too late.
///
/// [`Ingress::Released`]: crate::Ingress::Released
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For the MAC of a next hop: try again with the next tables.
    Neighbour,
    /// For the first fragment of its packet: try again after each burst that brought one
    /// ([`Outcome::first_fragments`](crate::Outcome::first_fragments)).
    FirstFragment,
}

impl Wait {
    /// Why a frame is dropped that waited too long.
    pub const fn reason(self) -> DropReason {
        match self {
            Self::Neighbour => DropReason::NeighbourUnresolved,
            Self::FirstFragment => DropReason::FragmentOrphan,
        }
    }
}

/// Declares a fieldless enum with a dense index, a snake_case label and one sentence for people.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident {
        $($(#[doc = $doc:literal])+ $variant:ident = $label:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[doc = $doc])+ $variant,)+ }

        impl $name {
            /// Every variant, in index order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many variants there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Position in [`Self::ALL`], for arrays of counters.
            #[inline]
            pub const fn index(self) -> usize { self as usize }

            /// The metric label and the name shown by the command line.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// One sentence for the operator: what happened.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// Why a frame was dropped. One variant, one counter, one line in `docs/COUNTERS.md`.
    DropReason {
        /// A header, or the length it declares, runs past the frame.
        Truncated = "truncated",
        /// A header contradicts itself: version, IHL, data offset or length.
        Malformed = "malformed",
        /// The IPv4 header checksum is wrong.
        BadIpChecksum = "bad_ip_checksum",
        /// An IPv4 source-route option or an IPv6 type 0 routing header (RFC 7126, RFC 5095).
        SourceRoute = "source_route",
        /// An IPv6 UDP datagram without a checksum (RFC 8200 section 8.1).
        UdpChecksumZero = "udp_checksum_zero",
        /// A first fragment too small to hold its headers (RFC 1858, RFC 7112).
        TinyFragment = "tiny_fragment",
        /// Fragments that overlap or run past 65,535 octets (RFC 5722).
        BadFragment = "bad_fragment",
        /// A later fragment whose first fragment was never seen.
        FragmentOrphan = "fragment_orphan",
        /// No room to track or hold one more fragmented packet.
        FragmentTableFull = "fragment_table_full",
        /// An IPv6 extension header chain that is too long or unknown.
        ExtensionChain = "extension_chain",
        /// An 802.3 length field or an EtherType that nobody here speaks.
        UnknownEtherType = "unknown_ether_type",
        /// A VLAN tag for which no port is configured on this device.
        UnknownVlan = "unknown_vlan",
        /// The destination MAC is another host's.
        NotOurMac = "not_our_mac",
        /// A unicast VIP packet inside an Ethernet broadcast or multicast (RFC 1122).
        LinkBroadcast = "link_broadcast",
        /// A source address that no host may have, or the VIP's own (RFC 1812 section 5.3.7).
        MartianSource = "martian_source",
        /// TCP flags or ports that no implementation sends: SYN+FIN, none, all, port 0.
        BogusTcpFlags = "bogus_tcp_flags",
        /// A transport protocol to a VIP that Weir does not forward.
        UnknownProtocol = "unknown_protocol",
        /// A frame larger than the port's MTU.
        Oversize = "oversize",
        /// The VIP is a Backup here: another director serves it.
        Backup = "backup",
        /// An echo request to a VIP: answered.
        EchoAnswered = "echo_answered",
        /// No service listens there: answered with RST or port unreachable, or silent if so set.
        Unserved = "unserved",
        /// The service has no usable server: answered with port unreachable.
        NoServer = "no_server",
        /// A TCP segment that belongs to no flow and cannot start one: answered with RST.
        NoFlow = "no_flow",
        /// The flow's server was removed from the configuration.
        ServerGone = "server_gone",
        /// TTL or Hop Limit would reach zero here: answered with time exceeded.
        TtlExpired = "ttl_expired",
        /// Over the MTU of the way to the server and not to be fragmented: answered.
        TooBig = "too_big",
        /// The flow table is full and this flow cannot be forwarded without state.
        FlowTableFull = "flow_table_full",
        /// No route to the next hop.
        NoRoute = "no_route",
        /// The next hop did not answer ARP or neighbour solicitation in time.
        NeighbourUnresolved = "neighbour_unresolved",
        /// Too many frames wait for neighbours already.
        HoldFull = "hold_full",
        /// No headroom for the outer header, or no buffer for a fragment.
        NoHeadroom = "no_headroom",
        /// An ICMP error that quotes no flow of ours.
        IcmpNoFlow = "icmp_no_flow",
        /// An ICMP message to a VIP that is ignored: redirects, implausible MTUs, unknown types.
        IcmpIgnored = "icmp_ignored",
        /// A server's answer or own packet with a VIP as its source on a way it must not take.
        VipSource = "vip_source",
        /// The ring to the worker that owns the flow is full.
        HandOverFull = "hand_over_full",
        /// The transmit queue stayed full.
        TxFull = "tx_full",
        /// More frames of this class for the control thread than its limit allows.
        PuntLimited = "punt_limited",
        /// The ring to the control thread is full.
        PuntFull = "punt_full",
    }
}

reasons! {
    /// Why a frame went to the control thread.
    PuntClass {
        /// ARP, for a VIP or a DIP.
        Arp = "arp",
        /// Neighbour discovery (RFC 4861).
        Nd = "nd",
        /// VRRP adverts (IP protocol 112).
        Vrrp = "vrrp",
        /// Addressed to one of the appliance's own addresses.
        Dip = "dip",
        /// Multicast or broadcast that the kernel may want.
        Multicast = "multicast",
        /// Through us, but of no flow: the kernel routes it.
        Routed = "routed",
        /// Link-layer protocols for the kernel: LLDP, LACP.
        Link = "link",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_texts_are_sentences() {
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::COUNT);
        assert!(DropReason::ALL.iter().all(|r| r.text().ends_with('.')));
        assert!(
            DropReason::ALL
                .iter()
                .enumerate()
                .all(|(i, r)| r.index() == i)
        );
    }
}
