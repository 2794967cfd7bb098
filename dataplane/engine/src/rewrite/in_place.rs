//! Rewriting where nothing has to be looked for: untagged frames of the straight line, whose
//! headers have been seen to be whole and to lie where they mostly lie, leave without a tag.

use weir_wire::addr::Protocol;
use weir_wire::checksum::Checksum;

use super::tunnel::Outer;
use super::{Exit, tunnel};
use crate::family::Ip;
use crate::flow::{Direction, Translation};
use crate::io::Io;
use crate::verdict::DropReason;

/// Where the IP header begins.
const L3: usize = 14;

/// Direct routing of a packet of `len` octets of IP: see [`super::direct`].
#[inline(always)]
pub(crate) fn direct<A: Ip, I: Io>(
    frame: &mut I::Frame,
    len: u16,
    exit: &Exit,
) -> Result<(), DropReason> {
    let (ip, _) = headers::<A, I>(frame, len, exit)?;
    A::spend_hop(ip);
    Ok(())
}

/// Translates the far end of a packet of `len` octets of IP, which has a TCP or a UDP header: see
/// [`super::nat::translate`].
#[inline(always)]
pub(crate) fn translate<A: Ip, I: Io>(
    frame: &mut I::Frame,
    (protocol, len): (Protocol, u16),
    direction: Direction,
    Translation { to, deltas }: Translation<A>,
    exit: &Exit,
) -> Result<(), DropReason> {
    let delta = deltas.end.long();
    let (ip, l4) = headers::<A, I>(frame, len, exit)?;
    A::spend_hop_changing(ip, deltas.address.long());
    A::put_far_end(ip, direction, to.0);
    if let Some(ports) = l4.first_chunk_mut::<4>() {
        let [hi, lo] = to.1.0.to_be_bytes();
        match direction {
            Direction::Forward => (ports[2], ports[3]) = (hi, lo),
            Direction::Reverse => (ports[0], ports[1]) = (hi, lo),
        }
    }
    if protocol == Protocol::TCP {
        if let Some(tcp) = l4.first_chunk_mut::<18>() {
            [tcp[16], tcp[17]] = delta.apply(Checksum([tcp[16], tcp[17]])).0;
        }
    } else if let Some(udp) = l4.first_chunk_mut::<8>() {
        [udp[6], udp[7]] = delta.apply_udp(Checksum([udp[6], udp[7]])).0;
    }
    Ok(())
}

/// Wraps a packet of `len` octets of IP. `id` is the outer identification, used where DF is clear:
/// see [`super::tunnel::encapsulate`].
#[inline(always)]
pub(crate) fn wrap<A: Ip, I: Io>(
    frame: &mut I::Frame,
    len: u16,
    outer: Outer,
    id: u16,
    exit: &Exit,
) -> Result<(), DropReason> {
    trim::<I>(frame, len);
    let ip = I::head_mut(frame).get_mut(L3..).unwrap_or_default();
    let carried = A::carried(ip).ok_or(DropReason::Truncated)?;
    A::spend_hop(ip);
    if !I::prepend(frame, usize::from(outer.len())) {
        return Err(DropReason::NoHeadroom);
    }
    let head = I::head_mut(frame);
    let (link, out) = head.split_at_mut_checked(L3).ok_or(DropReason::Truncated)?;
    let ether_type = tunnel::emit::<A>(out, (carried, len), outer, id)?;
    exit.emit_link(link, ether_type);
    Ok(())
}

/// Cuts off what follows `len` octets of IP: padding must not become part of the packet (D2).
#[inline(always)]
fn trim<I: Io>(frame: &mut I::Frame, len: u16) {
    let end = L3 + usize::from(len);
    if I::len(frame) > end {
        I::truncate(frame, end);
    }
}

/// The IP header and what follows it, once padding is cut off and the MACs are those of the way
/// out.
#[inline(always)]
fn headers<'f, A: Ip, I: Io>(
    frame: &'f mut I::Frame,
    len: u16,
    exit: &Exit,
) -> Result<(&'f mut [u8], &'f mut [u8]), DropReason> {
    trim::<I>(frame, len);
    let head = I::head_mut(frame).split_at_mut_checked(L3 + usize::from(A::HEADER_LEN));
    let (head, l4) = head.ok_or(DropReason::Truncated)?;
    let (link, ip) = head.split_at_mut(L3);
    if let Some(macs) = link.first_chunk_mut() {
        *macs = exit.macs;
    }
    Ok((ip, l4))
}
