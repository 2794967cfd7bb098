//! IP in IP: RFC 2003 (4-in-4), RFC 2473 (anything in 6), RFC 4213 (6-in-4), as IPVS writes it.
//!
//! The outer TTL is the inner one after its decrement; DSCP and ECN are copied whole (which is also
//! RFC 6040's normal mode); DF is copied from an inner IPv4 header and clear around IPv6.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::addr::EtherType;
use weir_wire::ipip::{self, Inner, OuterV4, OuterV6};
use weir_wire::parse::Parsed;

use super::{Exit, ip_mut, trim_padding};
use crate::family::{Carried, Ip};
use crate::io::Io;
use crate::tables::Server;
use crate::verdict::DropReason;

/// Source and destination of an outer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outer {
    /// IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Outer {
    /// Both addresses must be of one family.
    #[inline(always)]
    pub(crate) fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Self::V4(source, destination)),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::V6(source, destination)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// The outer header of packets to a server; `None` if one of its addresses is missing, or they
    /// do not go together.
    pub(crate) fn of(server: &Server) -> Option<Self> {
        Self::new(server.tunnel_source?, server.address)
    }

    /// Octets that the outer header adds.
    #[inline]
    pub(crate) const fn len(self) -> u16 {
        match self {
            Self::V4(..) => 20,
            Self::V6(..) => 40,
        }
    }
}

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(source, destination) => write!(f, "{source} > {destination}"),
            Self::V6(source, destination) => write!(f, "{source} > {destination}"),
        }
    }
}

/// Wraps a packet. `id` is the outer identification, used where DF is clear.
#[inline(always)]
pub(crate) fn encapsulate<A: Ip, I: Io>(
    frame: &mut I::Frame,
    packet: &Parsed<A>,
    outer: Outer,
    id: u16,
    exit: Exit,
) -> Result<(), DropReason> {
    trim_padding::<A, I>(frame, packet);
    A::decrement_ttl(ip_mut::<I>(frame, packet.l3));
    let link_len = exit.link_len();
    // Outer header and link header take the place of the old link header, which is shorter.
    let growth = (usize::from(outer.len()) + link_len).saturating_sub(usize::from(packet.l3));
    if !I::prepend(frame, growth) {
        return Err(DropReason::NoHeadroom);
    }
    let head = I::head_mut(frame);
    let out = head.get_mut(link_len..).unwrap_or(&mut []);
    let inner = (Carried::of(packet), packet.end - packet.l3);
    let ether_type = emit::<A>(out, inner, outer, id)?;
    exit.emit_link(head, ether_type);
    Ok(())
}

/// Writes the outer header of a packet of `len` octets, whose own TTL counts as before its
/// decrement, over the first octets of `out`. Returns what it is to the link.
#[inline(always)]
pub(crate) fn emit<A: Ip>(
    out: &mut [u8],
    (carried, len): (Carried, u16),
    outer: Outer,
    id: u16,
) -> Result<EtherType, DropReason> {
    let ttl = carried.ttl.saturating_sub(1);
    let inner = Inner {
        protocol: A::IN_IP,
        len,
        tos: carried.tos,
    };
    Ok(match outer {
        Outer::V4(src, dst) => {
            let dont_fragment = carried.dont_fragment && A::LEN == 4;
            let id = if dont_fragment { 0 } else { id };
            let outer = OuterV4 {
                src,
                dst,
                ttl,
                dont_fragment,
                id,
            };
            if !out
                .first_chunk_mut()
                .is_some_and(|out| ipip::emit_v4(out, &outer, inner))
            {
                return Err(DropReason::Oversize);
            }
            EtherType::IPV4
        }
        Outer::V6(src, dst) => {
            if let Some(out) = out.first_chunk_mut() {
                ipip::emit_v6(
                    out,
                    &OuterV6 {
                        src,
                        dst,
                        hop_limit: ttl,
                        flow_label: 0,
                    },
                    inner,
                );
            }
            EtherType::IPV6
        }
    })
}
