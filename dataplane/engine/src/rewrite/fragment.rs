//! Fragmenting a finished frame that is larger than its way out allows: RFC 791 section 3.2, and
//! for our own IPv6 tunnel headers RFC 8200 section 4.5. Forwarded IPv6 packets are never
//! fragmented: their senders are told (packet too big).
//!
//! The frame itself becomes the first fragment; the others are copies and go out after it.

use weir_wire::fragment::{self, FRAGMENT_HEADER_LEN, FragmentRepr};
use weir_wire::ipv4::{self, Ipv4Mut};
use weir_wire::ipv6::{self, Ipv6Mut};

use super::Exit;
use crate::id::PortId;
use crate::io::Io;
use crate::verdict::DropReason;

/// Ethernet with a tag, the longest IPv4 header, or IPv6 with a Fragment header.
const HEAD_MAX: usize = 18 + 60;

/// Headers that every fragment begins with.
struct Head {
    octets: [u8; HEAD_MAX],
    len: usize,
}

/// Cuts a frame, link header of `exit` and all, into fragments. Returns how many it originated.
///
/// # Errors
/// `NoHeadroom` if a buffer is missing, too small, or has no headroom for the Fragment header.
/// Fragments that were sent by then stay sent; no receiver can complete them.
pub(crate) fn split<I: Io>(
    io: &mut I,
    frame: &mut I::Frame,
    port: PortId,
    exit: Exit,
    id: u32,
) -> Result<u64, DropReason> {
    let link_len = exit.link_len();
    let mtu = usize::from(exit.mtu);
    match I::head(frame).get(link_len).map(|octet| octet >> 4) {
        Some(4) => split_v4(io, frame, port, link_len, mtu),
        Some(6) => split_v6(io, frame, port, link_len, mtu, id),
        Some(_) | None => Err(DropReason::Malformed),
    }
}

fn split_v4<I: Io>(
    io: &mut I,
    frame: &mut I::Frame,
    port: PortId,
    link_len: usize,
    mtu: usize,
) -> Result<u64, DropReason> {
    let headers = I::head(frame);
    let ihl = headers
        .get(link_len)
        .map_or(0, |octet| usize::from(octet & 0x0f) * 4);
    let mut head = Head::copy(headers, link_len + ihl)?;
    let flags = Ipv4Mut::parse(&mut head.octets[link_len..])
        .map(|ip| (ip.view().fragment_offset(), ip.view().more_fragments()))
        .map_err(|_| DropReason::Malformed)?;
    let unit = mtu.saturating_sub(ihl) & !7;
    let payload = I::len(frame).saturating_sub(head.len);
    if unit == 0 || payload <= unit {
        return Err(DropReason::TooBig);
    }
    set_fragment_v4(I::head_mut(frame), link_len, ihl + unit, flags.0, true);
    blank_options(&mut head.octets[link_len + ipv4::HEADER_LEN..head.len.max(link_len + 20)]);
    repair_v4(&mut head.octets[link_len..], ihl);
    let mut originated = 0;
    for offset in (unit..payload).step_by(unit) {
        let len = unit.min(payload - offset);
        let more = offset + len < payload || flags.1;
        let at = u16::try_from(offset)
            .map_err(|_| DropReason::TooBig)?
            .saturating_add(flags.0);
        set_fragment_v4(&mut head.octets, link_len, ihl + len, at, more);
        send::<I>(io, frame, port, &head, head.len + offset, len)?;
        originated += 1;
    }
    I::truncate(frame, head.len + unit);
    Ok(originated)
}

fn split_v6<I: Io>(
    io: &mut I,
    frame: &mut I::Frame,
    port: PortId,
    link_len: usize,
    mtu: usize,
    id: u32,
) -> Result<u64, DropReason> {
    let fixed = link_len + ipv6::HEADER_LEN;
    let mut head = Head::copy(I::head(frame), fixed)?;
    let next = head.octets[link_len + 6];
    head.octets[link_len + 6] = 44;
    head.len += FRAGMENT_HEADER_LEN;
    let unit = mtu.saturating_sub(ipv6::HEADER_LEN + FRAGMENT_HEADER_LEN) & !7;
    let payload = I::len(frame).saturating_sub(fixed);
    if unit == 0 || payload <= unit {
        return Err(DropReason::TooBig);
    }
    let mut originated = 0;
    for offset in (unit..payload).step_by(unit) {
        let len = unit.min(payload - offset);
        set_fragment_v6(
            &mut head,
            link_len,
            next,
            id,
            offset,
            len,
            offset + len < payload,
        )?;
        send::<I>(io, frame, port, &head, fixed + offset, len)?;
        originated += 1;
    }
    I::truncate(frame, fixed + unit);
    if !I::prepend(frame, FRAGMENT_HEADER_LEN) {
        return Err(DropReason::NoHeadroom);
    }
    set_fragment_v6(&mut head, link_len, next, id, 0, unit, true)?;
    if let Some(to) = I::head_mut(frame).get_mut(..head.len) {
        to.copy_from_slice(&head.octets[..head.len]);
    }
    Ok(originated)
}

impl Head {
    fn copy(from: &[u8], len: usize) -> Result<Self, DropReason> {
        let mut octets = [0; HEAD_MAX];
        let from = from
            .get(..len)
            .filter(|_| len <= HEAD_MAX)
            .ok_or(DropReason::Malformed)?;
        octets[..len].copy_from_slice(from);
        Ok(Self { octets, len })
    }
}

/// Sends a fragment: the headers and `len` octets of `frame` from `from` on.
fn send<I: Io>(
    io: &mut I,
    frame: &I::Frame,
    port: PortId,
    head: &Head,
    from: usize,
    len: usize,
) -> Result<(), DropReason> {
    let mut new = io.alloc().ok_or(DropReason::NoHeadroom)?;
    if !I::append(&mut new, head.len + len) {
        return Err(DropReason::NoHeadroom);
    }
    let (to, data) = I::head_mut(&mut new).split_at_mut(head.len);
    to.copy_from_slice(&head.octets[..head.len]);
    if !I::copy_out(frame, from, data) {
        return Err(DropReason::Truncated);
    }
    io.originate(port, new);
    Ok(())
}

fn set_fragment_v4(head: &mut [u8], l3: usize, total_len: usize, offset: u16, more: bool) {
    if let Some(Ok(mut ip)) = head.get_mut(l3..).map(Ipv4Mut::parse) {
        ip.set_total_len(u16::try_from(total_len).unwrap_or(u16::MAX));
        ip.set_fragment(offset, more);
    }
}

fn set_fragment_v6(
    head: &mut Head,
    l3: usize,
    next: u8,
    id: u32,
    offset: usize,
    len: usize,
    more: bool,
) -> Result<(), DropReason> {
    let offset = u16::try_from(offset).map_err(|_| DropReason::TooBig)?;
    let len = u16::try_from(FRAGMENT_HEADER_LEN + len).map_err(|_| DropReason::TooBig)?;
    if let Ok(mut ip) = Ipv6Mut::parse(&mut head.octets[l3..]) {
        ip.set_payload_len(len);
    }
    if let Some(out) = head.octets[l3 + ipv6::HEADER_LEN..].first_chunk_mut() {
        let next_header = weir_wire::addr::Protocol(next);
        fragment::emit(
            out,
            FragmentRepr {
                next_header,
                offset,
                more,
                id,
            },
        );
    }
    Ok(())
}

/// Overwrites options that belong into the first fragment alone with no-operations (RFC 791: the
/// copied flag).
fn blank_options(options: &mut [u8]) {
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        let len = match kind {
            0 => return,
            1 => 1,
            _ => options.get(at + 1).map_or(0, |len| usize::from(*len)),
        };
        let Some(option) = options.get_mut(at..at + len).filter(|o| !o.is_empty()) else {
            return;
        };
        if kind & 0x80 == 0 {
            option.fill(1);
        }
        at += len;
    }
}

/// Recomputes the header checksum after the options changed.
fn repair_v4(ip: &mut [u8], ihl: usize) {
    if let Some(header) = ip
        .get_mut(..ihl)
        .filter(|header| header.len() >= ipv4::HEADER_LEN)
    {
        header[10..12].fill(0);
        let sum = weir_wire::checksum::of(header);
        header[10..12].copy_from_slice(&sum.0);
    }
}
