//! What the pipeline does differently for IPv4 and IPv6, so that everything else is written once
//! and compiled for each.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::addr::{Address, Protocol};
use weir_wire::checksum::{Checksum, Delta};
use weir_wire::icmp::{self, Icmp, Message, Report};
use weir_wire::icmpv6::{self, Icmpv6};
use weir_wire::ipv4::{self, Ipv4Mut, Ipv4Repr};
use weir_wire::ipv6::{self, Ipv6Mut, Ipv6Repr};
use weir_wire::parse::Parsed;
use weir_wire::quoted::{self, Quoted};

use crate::engine::{Census, State};
use crate::flow::{Direction, FlowTable};
use crate::fragment::table::FragmentTable;
use crate::pipeline::{FamilyKeys, Item, Keys, Known, Memo, Recogniser, Straight, Work};
use crate::tables::{Family, Tables, Vip};

/// An IP header to be written, without options or extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repr<A> {
    pub(crate) src: A,
    pub(crate) dst: A,
    pub(crate) protocol: Protocol,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    /// IPv4 only, as is `id`.
    pub(crate) dont_fragment: bool,
    pub(crate) id: u16,
    pub(crate) payload_len: u16,
}

/// What a tunnel's outer header takes from the packet that it carries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    /// TTL or Hop Limit.
    pub(crate) ttl: u8,
    /// DSCP and ECN.
    pub(crate) tos: u8,
    /// Whether routers may not fragment.
    pub(crate) dont_fragment: bool,
}

impl Carried {
    /// The same of a packet that has been parsed.
    #[inline(always)]
    pub(crate) const fn of<A: Address>(packet: &Parsed<A>) -> Self {
        Self {
            ttl: packet.ttl,
            tos: packet.tos,
            dont_fragment: packet.dont_fragment,
        }
    }
}

/// An address family with its header operations.
///
/// The slices begin at the IP header of a packet that has been parsed; on anything else the
/// operations do nothing.
pub(crate) trait Ip: Address {
    /// Octets of a header without options and extensions.
    const HEADER_LEN: u16;
    /// This family's packets inside IP.
    const IN_IP: Protocol;
    /// The shortest MTU that an honest router may report (RFC 791, RFC 8200 section 5).
    const MTU_MIN: u16;
    /// ICMP types of echo request and reply.
    const ECHO: (u8, u8);

    /// This family's part of the tables.
    fn family(tables: &Tables) -> &Family<Self>;
    /// This family's flows.
    fn flows(state: &State) -> &FlowTable<Self>;
    /// This family's flows.
    fn flows_mut(state: &mut State) -> &mut FlowTable<Self>;
    /// This family's fragmented packets in progress.
    fn fragments(state: &mut State) -> &mut FragmentTable<Self>;
    /// This family's flows, and what counts those that end.
    fn flows_and_census(state: &mut State) -> (&mut FlowTable<Self>, Census<'_>);
    /// An item of the pipeline's stage.
    fn work(item: Item<Self>) -> Work;
    /// This family's keys in the pipeline's stage.
    fn keys(stage: &mut Keys) -> &mut FamilyKeys<Self>;
    /// The VIP that was looked up last.
    fn memo(memo: &mut Memo) -> &mut Option<(Self, Option<Vip>)>;
    /// The address, if it is of this family.
    fn from_ip(address: IpAddr) -> Option<Self>;
    /// Writes a header over the first octets of `packet`.
    fn emit(packet: &mut [u8], repr: &Repr<Self>);
    /// Writes an ICMP error about `packet`; see [`weir_wire::icmp::emit_error`].
    fn emit_error(
        out: &mut [u8],
        from: Self,
        packet: &[u8],
        report: Report,
        id: u16,
    ) -> Option<usize>;
    /// Reads the packet that an ICMP error quotes.
    fn quoted(frame: &[u8], at: usize, end: usize) -> Option<Quoted<Self>>;
    /// What an ICMP header means.
    fn message(header: &[u8; 8]) -> Message;
    /// Of a header what a tunnel carries on.
    fn carried(packet: &[u8]) -> Option<Carried>;
    /// A packet that may be an established flow's: see [`Recogniser`]. The frame's first segment,
    /// and how long all of it is.
    fn recognise(recogniser: &mut Recogniser<'_>, octets: (&[u8], usize))
    -> Option<Straight<Self>>;
    /// What is known for a burst's straight line.
    fn known<'a>(recogniser: &'a mut Recogniser<'_>) -> &'a mut Known<Self>;
    /// Takes one from TTL or Hop Limit.
    fn decrement_ttl(packet: &mut [u8]);
    /// The same where there is one to take.
    fn spend_hop(packet: &mut [u8]);
    /// The same with one checksum update: `delta` is what else changes in the header.
    fn spend_hop_changing(packet: &mut [u8], delta: Delta);
    /// Writes the address of a packet's far end: its destination forward, its source in reverse.
    /// The header's checksum stays as it is.
    fn put_far_end(packet: &mut [u8], direction: Direction, address: Self);
    /// Sets the source and takes one from TTL or Hop Limit; `delta` is what the address changes in
    /// checksums.
    fn forward_from(packet: &mut [u8], src: Self, delta: Delta);
    /// The same for the destination.
    fn forward_to(packet: &mut [u8], dst: Self, delta: Delta);
}

impl Ip for Ipv4Addr {
    const HEADER_LEN: u16 = 20;
    const IN_IP: Protocol = Protocol::IPIP;
    const MTU_MIN: u16 = 68;
    const ECHO: (u8, u8) = (8, 0);

    fn emit(packet: &mut [u8], repr: &Repr<Self>) {
        let Repr {
            src,
            dst,
            protocol,
            ttl,
            tos,
            dont_fragment,
            id,
            payload_len,
        } = *repr;
        if let Some(out) = packet.first_chunk_mut() {
            let repr = Ipv4Repr {
                src,
                dst,
                protocol,
                ttl,
                tos,
                dont_fragment,
                id,
                payload_len,
            };
            ipv4::emit(out, &repr);
        }
    }

    fn emit_error(
        out: &mut [u8],
        from: Self,
        packet: &[u8],
        report: Report,
        id: u16,
    ) -> Option<usize> {
        icmp::emit_error(out, from, packet, report, id)
    }

    fn quoted(frame: &[u8], at: usize, end: usize) -> Option<Quoted<Self>> {
        quoted::parse_v4(frame, at, end).ok()
    }

    fn message(header: &[u8; 8]) -> Message {
        Icmp::parse(header).map_or(Message::Other, |(icmp, _)| icmp.message())
    }

    #[inline]
    fn family(tables: &Tables) -> &Family<Self> {
        &tables.v4
    }

    #[inline]
    fn flows(state: &State) -> &FlowTable<Self> {
        &state.v4
    }

    #[inline]
    fn flows_mut(state: &mut State) -> &mut FlowTable<Self> {
        &mut state.v4
    }

    fn fragments(state: &mut State) -> &mut FragmentTable<Self> {
        &mut state.fragments_v4
    }

    #[inline]
    fn flows_and_census(state: &mut State) -> (&mut FlowTable<Self>, Census<'_>) {
        let State {
            v4,
            counters,
            generations,
            ..
        } = state;
        (v4, Census::new(counters, generations))
    }

    #[inline]
    fn work(item: Item<Self>) -> Work {
        Work::V4(item)
    }

    #[inline]
    fn keys(stage: &mut Keys) -> &mut FamilyKeys<Self> {
        &mut stage.v4
    }

    #[inline]
    fn memo(memo: &mut Memo) -> &mut Option<(Self, Option<Vip>)> {
        &mut memo.v4
    }

    #[inline]
    fn from_ip(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    #[inline(always)]
    fn carried(packet: &[u8]) -> Option<Carried> {
        let h: &[u8; ipv4::HEADER_LEN] = packet.first_chunk()?;
        Some(Carried {
            ttl: h[8],
            tos: h[1],
            dont_fragment: h[6] & 0x40 != 0,
        })
    }

    #[inline(always)]
    fn known<'a>(recogniser: &'a mut Recogniser<'_>) -> &'a mut Known<Self> {
        &mut recogniser.v4
    }

    #[inline(always)]
    fn recognise(
        recogniser: &mut Recogniser<'_>,
        octets: (&[u8], usize),
    ) -> Option<Straight<Self>> {
        recogniser.v4(octets)
    }

    #[inline(always)]
    fn spend_hop(packet: &mut [u8]) {
        if let Some(h) = packet.first_chunk_mut::<{ ipv4::HEADER_LEN }>() {
            h[8] = h[8].wrapping_sub(1);
            [h[10], h[11]] = Checksum([h[10], h[11]]).after_hop().0;
        }
    }

    #[inline(always)]
    fn spend_hop_changing(packet: &mut [u8], delta: Delta) {
        if let Some(h) = packet.first_chunk_mut::<{ ipv4::HEADER_LEN }>() {
            h[8] = h[8].wrapping_sub(1);
            // TTL is the high octet of its word: it falls by 0x100, whatever the low octet is.
            let delta = delta.replace_u16(0x0100, 0);
            [h[10], h[11]] = delta.apply(Checksum([h[10], h[11]])).0;
        }
    }

    #[inline(always)]
    fn put_far_end(packet: &mut [u8], direction: Direction, address: Self) {
        let at = match direction {
            Direction::Forward => 16,
            Direction::Reverse => 12,
        };
        if let Some(place) = packet.get_mut(at..at + 4) {
            place.copy_from_slice(&address.octets());
        }
    }

    #[inline(always)]
    fn decrement_ttl(packet: &mut [u8]) {
        if let Ok(mut ip) = Ipv4Mut::parse(packet) {
            ip.decrement_ttl();
        }
    }

    #[inline(always)]
    fn forward_from(packet: &mut [u8], src: Self, delta: Delta) {
        if let Ok(mut ip) = Ipv4Mut::parse(packet) {
            ip.forward_from(src, delta);
        }
    }

    #[inline(always)]
    fn forward_to(packet: &mut [u8], dst: Self, delta: Delta) {
        if let Ok(mut ip) = Ipv4Mut::parse(packet) {
            ip.forward_to(dst, delta);
        }
    }
}

impl Ip for Ipv6Addr {
    const HEADER_LEN: u16 = 40;
    const IN_IP: Protocol = Protocol::IPV6;
    const MTU_MIN: u16 = 1280;
    const ECHO: (u8, u8) = (128, 129);

    fn emit(packet: &mut [u8], repr: &Repr<Self>) {
        if let Some(out) = packet.first_chunk_mut() {
            let repr = Ipv6Repr {
                src: repr.src,
                dst: repr.dst,
                next_header: repr.protocol,
                hop_limit: repr.ttl,
                traffic_class: repr.tos,
                flow_label: 0,
                payload_len: repr.payload_len,
            };
            ipv6::emit(out, &repr);
        }
    }

    fn emit_error(
        out: &mut [u8],
        from: Self,
        packet: &[u8],
        report: Report,
        _: u16,
    ) -> Option<usize> {
        icmpv6::emit_error(out, from, packet, report)
    }

    fn quoted(frame: &[u8], at: usize, end: usize) -> Option<Quoted<Self>> {
        quoted::parse_v6(frame, at, end).ok()
    }

    fn message(header: &[u8; 8]) -> Message {
        Icmpv6::parse(header).map_or(Message::Other, |(icmp, _)| icmp.message())
    }

    #[inline]
    fn family(tables: &Tables) -> &Family<Self> {
        &tables.v6
    }

    #[inline]
    fn flows(state: &State) -> &FlowTable<Self> {
        &state.v6
    }

    #[inline]
    fn flows_mut(state: &mut State) -> &mut FlowTable<Self> {
        &mut state.v6
    }

    fn fragments(state: &mut State) -> &mut FragmentTable<Self> {
        &mut state.fragments_v6
    }

    #[inline]
    fn flows_and_census(state: &mut State) -> (&mut FlowTable<Self>, Census<'_>) {
        let State {
            v6,
            counters,
            generations,
            ..
        } = state;
        (v6, Census::new(counters, generations))
    }

    #[inline]
    fn work(item: Item<Self>) -> Work {
        Work::V6(item)
    }

    #[inline]
    fn keys(stage: &mut Keys) -> &mut FamilyKeys<Self> {
        &mut stage.v6
    }

    #[inline]
    fn memo(memo: &mut Memo) -> &mut Option<(Self, Option<Vip>)> {
        &mut memo.v6
    }

    #[inline]
    fn from_ip(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        }
    }

    #[inline(always)]
    fn carried(packet: &[u8]) -> Option<Carried> {
        let h: &[u8; ipv6::HEADER_LEN] = packet.first_chunk()?;
        Some(Carried {
            ttl: h[7],
            tos: h[0] << 4 | h[1] >> 4,
            dont_fragment: true,
        })
    }

    #[inline(always)]
    fn known<'a>(recogniser: &'a mut Recogniser<'_>) -> &'a mut Known<Self> {
        &mut recogniser.v6
    }

    #[inline(always)]
    fn recognise(
        recogniser: &mut Recogniser<'_>,
        octets: (&[u8], usize),
    ) -> Option<Straight<Self>> {
        recogniser.v6(octets)
    }

    #[inline(always)]
    fn spend_hop(packet: &mut [u8]) {
        if let Some(hop_limit) = packet.get_mut(7) {
            *hop_limit = hop_limit.wrapping_sub(1);
        }
    }

    #[inline(always)]
    fn spend_hop_changing(packet: &mut [u8], _: Delta) {
        Self::spend_hop(packet);
    }

    #[inline(always)]
    fn put_far_end(packet: &mut [u8], direction: Direction, address: Self) {
        let at = match direction {
            Direction::Forward => 24,
            Direction::Reverse => 8,
        };
        if let Some(place) = packet.get_mut(at..at + 16) {
            place.copy_from_slice(&address.octets());
        }
    }

    #[inline(always)]
    fn decrement_ttl(packet: &mut [u8]) {
        if let Ok(mut ip) = Ipv6Mut::parse(packet) {
            ip.decrement_hop_limit();
        }
    }

    #[inline(always)]
    fn forward_from(packet: &mut [u8], src: Self, _: Delta) {
        if let Ok(mut ip) = Ipv6Mut::parse(packet) {
            ip.set_src(src);
            ip.decrement_hop_limit();
        }
    }

    #[inline(always)]
    fn forward_to(packet: &mut [u8], dst: Self, _: Delta) {
        if let Ok(mut ip) = Ipv6Mut::parse(packet) {
            ip.set_dst(dst);
            ip.decrement_hop_limit();
        }
    }
}
