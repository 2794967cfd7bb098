//! Network address translation: one address and one L4 port change, and the checksums with them
//! (RFC 3022, RFC 1624). A wrong checksum stays wrong (D4), an absent one absent (D18).

use weir_wire::addr::{L4Port, Protocol};
use weir_wire::checksum::{Checksum, Delta};
use weir_wire::icmp;
use weir_wire::parse::{Fragment, Parsed};
use weir_wire::quoted::{self, Endpoints};

use super::{Exit, ip_mut, link, trim_padding};
use crate::classify::about;
use crate::family::Ip;
use crate::flow::Direction;
use crate::io::Io;
use crate::verdict::DropReason;

/// Translates a packet of a flow.
///
/// Forward, the destination becomes `to`: a server. In reverse the source does: the VIP. Later
/// fragments have no L4 header, so only their address changes (D30).
#[inline(always)]
pub(crate) fn translate<A: Ip, I: Io>(
    frame: &mut I::Frame,
    packet: &Parsed<A>,
    direction: Direction,
    to: (A, L4Port),
    exit: Exit,
) -> Result<(), DropReason> {
    trim_padding::<A, I>(frame, packet);
    let ip = link::<I>(frame, packet.l3, exit, A::ETHER_TYPE)?;
    let (old, old_port, port_at) = match direction {
        Direction::Forward => (packet.dst, packet.dport, 2),
        Direction::Reverse => (packet.src, packet.sport, 0),
    };
    let address = Delta::new().replace_addr(old, to.0);
    match direction {
        Direction::Forward => A::forward_to(ip, to.0, address),
        Direction::Reverse => A::forward_from(ip, to.0, address),
    }
    if !matches!(packet.fragment, Fragment::Later { .. }) {
        let l4 = ip
            .get_mut(usize::from(packet.l4 - packet.l3)..)
            .unwrap_or(&mut []);
        put(l4, port_at, to.1.to_be_bytes());
        fix_l4(l4, packet.protocol, address.replace_u16(old_port.0, to.1.0));
    }
    Ok(())
}

/// Writes two octets, if they are there.
#[inline(always)]
pub(crate) fn put(bytes: &mut [u8], at: usize, value: [u8; 2]) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value);
    }
}

/// Applies a change to the checksum of an L4 header, if it is there.
#[inline(always)]
pub(crate) fn fix_l4(l4: &mut [u8], protocol: Protocol, delta: Delta) {
    let at = match protocol {
        Protocol::TCP => 16,
        Protocol::UDP => 6,
        Protocol(_) => return,
    };
    let Some(&[hi, lo]) = l4.get(at..at + 2).and_then(|bytes| bytes.first_chunk()) else {
        return;
    };
    let old = Checksum([hi, lo]);
    let new = if protocol == Protocol::UDP {
        delta.apply_udp(old)
    } else {
        delta.apply(old)
    };
    put(l4, at, new.0);
}

/// Translates an ICMP error about a flow (RFC 5508 section 4.2): the outer address, and in the
/// packet that it quotes the address and port of the server or the VIP (D34).
///
/// The quoted packet went the other way: where the error's destination changes, its source does.
#[cold]
pub(crate) fn translate_error<A: Ip, I: Io>(
    frame: &mut I::Frame,
    packet: &Parsed<A>,
    direction: Direction,
    to: (A, L4Port),
    exit: Exit,
) -> Result<(), DropReason> {
    trim_padding::<A, I>(frame, packet);
    let Some(quoted) = about(packet, I::head(frame)) else {
        return Err(DropReason::IcmpNoFlow);
    };
    let (mut ends, old) = (
        Endpoints {
            src: quoted.src,
            sport: quoted.sport,
            dst: quoted.dst,
            dport: quoted.dport,
        },
        match direction {
            Direction::Forward => packet.dst,
            Direction::Reverse => packet.src,
        },
    );
    match direction {
        Direction::Forward => (ends.src, ends.sport) = to,
        Direction::Reverse => (ends.dst, ends.dport) = to,
    }
    let head = I::head_mut(frame);
    let inner = quoted::rewrite(head, &quoted, &ends).ok_or(DropReason::IcmpNoFlow)?;
    let outer = Delta::new().replace_addr(old, to.0);
    // ICMPv6's sum covers the outer addresses, ICMP's does not.
    let delta = if A::LEN == 16 {
        inner.and(outer)
    } else {
        inner
    };
    icmp::update_checksum(head, usize::from(packet.l4), delta);
    let ip = ip_mut::<I>(frame, packet.l3);
    match direction {
        Direction::Forward => A::forward_to(ip, to.0, outer),
        Direction::Reverse => A::forward_from(ip, to.0, outer),
    }
    link::<I>(frame, packet.l3, exit, A::ETHER_TYPE)?;
    Ok(())
}
