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
pub(crate) mod nat;
pub(crate) mod tunnel;

/// Where a frame leaves: a port and the neighbour that takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit<'a> {
    /// The port.
    pub(crate) port: &'a Port,
    /// The neighbour.
    pub(crate) mac: MacAddr,
}

impl Exit<'_> {
    /// Octets of the Ethernet header, with the port's tag if it has one.
    #[inline]
    pub(crate) fn link_len(&self) -> usize {
        if self.port.vlan.is_some() { 18 } else { 14 }
    }

    /// Writes the Ethernet header over the first octets of `head`.
    #[inline(always)]
    pub(crate) fn emit_link(&self, head: &mut [u8], ether_type: EtherType) {
        let [hi, lo] = ether_type.0.to_be_bytes();
        if let Some((macs, rest)) = head.split_first_chunk_mut::<12>() {
            let (to, from) = macs.split_at_mut(6);
            to.copy_from_slice(&self.mac.0);
            from.copy_from_slice(&self.port.mac.0);
            match (self.port.vlan, rest) {
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
    exit: Exit<'_>,
) -> Result<(), DropReason> {
    trim_padding::<A, I>(frame, packet);
    let ip = link::<I>(frame, packet.l3, exit, A::ETHER_TYPE)?;
    A::decrement_ttl(ip);
    Ok(())
}

/// Gives the frame, whose IP header is at `l3`, the Ethernet header of its way out. Returns the
/// octets from the IP header on.
#[inline(always)]
pub(crate) fn link<'f, I: Io>(
    frame: &'f mut I::Frame,
    l3: u16,
    exit: Exit<'_>,
    ether_type: EtherType,
) -> Result<&'f mut [u8], DropReason> {
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
