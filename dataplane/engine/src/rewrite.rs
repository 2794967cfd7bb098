//! Turning a packet that has been decided into the frame that leaves.
//!
//! Every mode ends in [`link`]: the MACs and the VLAN tag of the port that it leaves by. What does
//! not fit the headroom fails; the frame is then dropped by the caller.

use weir_wire::addr::{EtherType, MacAddr};

use crate::family::Ip;
use crate::io::Io;
use crate::tables::Port;
use crate::verdict::DropReason;
use weir_wire::parse::Parsed;

pub(crate) mod fragment;
pub(crate) mod in_place;
pub(crate) mod nat;
pub(crate) mod tunnel;

/// How a frame leaves: by a port, to the neighbour that takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    /// The neighbour's and the port's own, as they are on the wire.
    macs: [u8; MACS_LEN],
    /// The port's tag.
    vlan: Option<u16>,
    /// The port's.
    pub(crate) mtu: u16,
}

const MACS_LEN: usize = 12;

impl Exit {
    /// For filling arrays.
    pub(crate) const NONE: Self = Self {
        macs: [0; MACS_LEN],
        vlan: None,
        mtu: 0,
    };

    /// By `port` to the neighbour with this MAC.
    #[inline(always)]
    pub(crate) fn new(port: &Port, to: MacAddr) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (to.0, port.mac.0);
        Self {
            macs: [a, b, c, d, e, f, g, h, i, j, k, l],
            vlan: port.vlan,
            mtu: port.mtu,
        }
    }

    /// Whether frames leave without a tag.
    pub(crate) const fn is_untagged(&self) -> bool {
        self.vlan.is_none()
    }

    /// Octets of the Ethernet header, with the port's tag if it has one.
    #[inline]
    pub(crate) const fn link_len(&self) -> usize {
        if self.vlan.is_some() { 18 } else { 14 }
    }

    /// Writes the Ethernet header over the first octets of `head`.
    #[inline(always)]
    pub(crate) fn emit_link(&self, head: &mut [u8], ether_type: EtherType) {
        let [hi, lo] = ether_type.0.to_be_bytes();
        if let Some((macs, rest)) = head.split_first_chunk_mut::<MACS_LEN>() {
            *macs = self.macs;
            match (self.vlan, rest) {
                (None, [to_hi, to_lo, ..]) => (*to_hi, *to_lo) = (hi, lo),
                (Some(vid), [a, b, c, d, to_hi, to_lo, ..]) => {
                    let [vid_hi, vid_lo] = vid.to_be_bytes();
                    (*a, *b, *c, *d) = (0x81, 0x00, vid_hi & 0x0f, vid_lo);
                    (*to_hi, *to_lo) = (hi, lo);
                }
                (None | Some(_), _) => debug_assert!(false, "a parsed frame has a whole header"),
            }
        }
    }
}

/// Cuts off what follows the IP packet: Ethernet padding must not become part of it (D2).
#[inline(always)]
pub(crate) fn trim_padding<A: Ip, I: Io>(frame: &mut I::Frame, packet: &Parsed<A>) {
    if I::len(frame) > usize::from(packet.end) {
        I::truncate(frame, usize::from(packet.end));
    }
}

/// The octets from the IP header on.
#[inline(always)]
pub(crate) fn ip_mut<I: Io>(frame: &mut I::Frame, l3: u16) -> &mut [u8] {
    I::head_mut(frame)
        .get_mut(usize::from(l3)..)
        .unwrap_or(&mut [])
}

/// Direct routing: TTL and MACs change, nothing else (D46).
#[inline(always)]
pub(crate) fn direct<A: Ip, I: Io>(
    frame: &mut I::Frame,
    packet: &Parsed<A>,
    exit: Exit,
) -> Result<(), DropReason> {
    trim_padding::<A, I>(frame, packet);
    let ip = link::<I>(frame, packet.l3, exit, A::ETHER_TYPE)?;
    A::decrement_ttl(ip);
    Ok(())
}

/// Gives the frame, whose IP header is at `l3`, the Ethernet header of its way out. Returns the
/// octets from the IP header on.
#[inline(always)]
pub(crate) fn link<I: Io>(
    frame: &mut I::Frame,
    l3: u16,
    exit: Exit,
    ether_type: EtherType,
) -> Result<&mut [u8], DropReason> {
    let (old, new) = (usize::from(l3), exit.link_len());
    if new < old {
        I::trim_front(frame, old - new);
    } else if new > old && !I::prepend(frame, new - old) {
        return Err(DropReason::NoHeadroom);
    }
    let head = I::head_mut(frame);
    exit.emit_link(head, ether_type);
    Ok(head.get_mut(new..).unwrap_or(&mut []))
}
