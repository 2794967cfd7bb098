//! Which frames may take the straight line.

use core::net::{Ipv4Addr, Ipv6Addr};

use weir_wire::addr::{L4Port, MacAddr, Protocol};

use super::{L3, Straight};
use crate::engine::State;
use crate::family::Ip;
use crate::flow::tcp::TcpEvent;
use crate::flow::{Direction, FlowKey};
use crate::id::WorkerId;
use crate::pipeline::{Ingress, Keys, Place};
use crate::tables::{Family, Port, Role, Tables};
use crate::time::Time;

/// Ethernet, IP without options or extensions, and the first octets of TCP or UDP.
const V4_UDP_LEN: usize = 14 + 20 + 8;
const V4_TCP_LEN: usize = 14 + 20 + 20;
const V6_UDP_LEN: usize = 14 + 40 + 8;
const V6_TCP_LEN: usize = 14 + 40 + 20;

/// What must be zero in the third word of IPv4 behind its length: all but DF.
const DONT_FRAGMENT_MASK: u16 = u16::from_ne_bytes([0xbf, 0xff]);

/// Recognises packets; made once per burst.
#[derive(Debug)]
pub(crate) struct Recogniser<'a> {
    tables: &'a Tables,
    worker: WorkerId,
    now: Time,
    port: &'a Port,
    /// The MAC that the packet before went to: the port's own, or an Active virtual one.
    mac: MacAddr,
    mtu: u16,
    pub(crate) v4: Known<Ipv4Addr>,
    pub(crate) v6: Known<Ipv6Addr>,
}

/// What is known of a family for the length of a burst.
#[derive(Debug)]
pub(crate) struct Known<A> {
    /// The Active VIP that the packet before went to: the next one mostly goes there too.
    vip: Option<A>,
    /// Whether there may be replies at all.
    translates: bool,
}

impl<A: Ip> Known<A> {
    fn new(family: &Family<A>) -> Self {
        Self {
            vip: None,
            translates: !(family.nat_sources.is_empty() && family.nat_hosts.is_empty()),
        }
    }
}

impl<'a> Recogniser<'a> {
    /// For bursts from a device with an untagged port; no other bursts have a straight line.
    pub(in crate::pipeline) fn new(
        (tables, now): (&'a Tables, Time),
        worker: WorkerId,
        ingress: Ingress,
    ) -> Option<Self> {
        let Ingress::Device(device) = ingress else {
            return None;
        };
        let port = tables.devices.get(device.index())?.port(None)?;
        let port = tables.port(port)?;
        Some(Self {
            tables,
            worker,
            now,
            port,
            mac: port.mac,
            mtu: port.mtu,
            v4: Known::new(&tables.v4),
            v6: Known::new(&tables.v6),
        })
    }

    /// Enters what there is to know of a frame among `keys`, if it may be one of those. `len` is
    /// the whole frame's.
    #[inline(always)]
    pub(in crate::pipeline) fn recognise(
        &mut self,
        (head, len): (&[u8], usize),
        state: &State,
        keys: &mut Keys,
    ) -> Option<Place> {
        // Both families have as much.
        let h: &[u8; V4_UDP_LEN] = head.first_chunk()?;
        let to = MacAddr([h[0], h[1], h[2], h[3], h[4], h[5]]);
        if to != self.mac && !self.is_ours(to) {
            return None;
        }
        match [h[12], h[13], h[14]] {
            [0x08, 0x00, 0x45] => {
                let packet = self.v4(head, h, len)?;
                let hash = state.v4.hash(&packet.key);
                state.v4.prefetch_bucket(hash);
                Some(Place::V4(keys.v4.push_straight(hash, packet)))
            }
            [0x86, 0xdd, 0x60..=0x6f] => {
                let packet = self.v6(head, len)?;
                let hash = state.v6.hash(&packet.key);
                state.v6.prefetch_bucket(hash);
                Some(Place::V6(keys.v6.push_straight(hash, packet)))
            }
            _ => None,
        }
    }

    /// IPv4 without options, whole, and TTL to spare.
    #[inline(always)]
    fn v4(&mut self, head: &[u8], h: &[u8; V4_UDP_LEN], len: usize) -> Option<Straight<Ipv4Addr>> {
        let whole = u16::from_ne_bytes([h[20], h[21]]) & DONT_FRAGMENT_MASK == 0;
        if !(whole && h[22] > 1 && header_sum_is_right(h)) {
            return None;
        }
        let ip_len = u16::from_be_bytes([h[16], h[17]]);
        if usize::from(ip_len) + usize::from(L3) > len || ip_len > self.mtu {
            return None;
        }
        let room = ip_len.checked_sub(20)?;
        let protocol = Protocol(h[23]);
        let event = match protocol {
            Protocol::UDP => datagram([h[38], h[39]], room)?,
            Protocol::TCP => {
                let h: &[u8; V4_TCP_LEN] = head.first_chunk()?;
                segment(h[46], h[47], room)?
            }
            Protocol(_) => return None,
        };
        let src = Ipv4Addr::new(h[26], h[27], h[28], h[29]);
        let dst = Ipv4Addr::new(h[30], h[31], h[32], h[33]);
        let ports = [h[34], h[35], h[36], h[37]];
        self.packet((src, dst), ports, protocol, (ip_len, event))
    }

    /// IPv6 without extension headers, and Hop Limit to spare.
    #[inline(always)]
    fn v6(&mut self, head: &[u8], len: usize) -> Option<Straight<Ipv6Addr>> {
        let h: &[u8; V6_UDP_LEN] = head.first_chunk()?;
        let room = u16::from_be_bytes([h[18], h[19]]);
        let ip_len = room.checked_add(40)?;
        if usize::from(ip_len) + usize::from(L3) > len || ip_len > self.mtu || h[21] <= 1 {
            return None;
        }
        let protocol = Protocol(h[20]);
        let event = match protocol {
            // A datagram without a checksum is no matter of course here (RFC 8200 section 8.1).
            Protocol::UDP if [h[60], h[61]] != [0, 0] => datagram([h[58], h[59]], room)?,
            Protocol::TCP => {
                let h: &[u8; V6_TCP_LEN] = head.first_chunk()?;
                segment(h[66], h[67], room)?
            }
            Protocol(_) => return None,
        };
        let src: &[u8; 16] = h[22..].first_chunk()?;
        let dst: &[u8; 16] = h[38..].first_chunk()?;
        let addresses = (Ipv6Addr::from_octets(*src), Ipv6Addr::from_octets(*dst));
        let ports = [h[54], h[55], h[56], h[57]];
        self.packet(addresses, ports, protocol, (ip_len, event))
    }

    /// The packet, if it goes to a VIP or may come from a NAT server, and is this worker's.
    #[inline(always)]
    fn packet<A: Ip>(
        &mut self,
        (src, dst): (A, A),
        ports: [u8; 4],
        protocol: Protocol,
        (len, event): (u16, Option<TcpEvent>),
    ) -> Option<Straight<A>> {
        let direction = self.direction(src, dst)?;
        let [a, b, c, d] = ports;
        let [from, to] = [[a, b], [c, d]].map(|port| L4Port(u16::from_be_bytes(port)));
        let key = match direction {
            Direction::Forward => FlowKey {
                client: src,
                remote: dst,
                client_port: from,
                remote_port: to,
                protocol,
            },
            Direction::Reverse => FlowKey {
                client: dst,
                remote: src,
                client_port: to,
                remote_port: from,
                protocol,
            },
        };
        let steering = &self.tables.steering;
        let ours =
            steering.is_single() || steering.owner(key.client, key.client_port) == self.worker;
        ours.then_some(Straight {
            key,
            len,
            event,
            direction,
        })
    }

    /// Which way a packet goes: to an Active VIP, or from and to hosts that are none of ours.
    #[inline(always)]
    fn direction<A: Ip>(&mut self, src: A, dst: A) -> Option<Direction> {
        if A::known(self).vip == Some(dst) {
            return Some(Direction::Forward);
        }
        let own = &A::family(self.tables).own;
        if own.may_hold(dst) {
            return self.is_active_vip(dst).then_some(Direction::Forward);
        }
        let reply = A::known(self).translates && !own.may_hold(src);
        reply.then_some(Direction::Reverse)
    }

    /// Whether a MAC other than the last one is ours too; if so it is remembered.
    #[inline(never)]
    fn is_ours(&mut self, mac: MacAddr) -> bool {
        let ours = self.port.takes(mac, &self.tables.leases, self.now);
        if ours {
            self.mac = mac;
        }
        ours
    }

    /// Looks a VIP up and remembers it if it is served here.
    #[inline(never)]
    fn is_active_vip<A: Ip>(&mut self, address: A) -> bool {
        let vip = A::family(self.tables).vips.get(&address);
        let active =
            vip.is_some_and(|vip| vip.role.at(&self.tables.leases, self.now) == Role::Active);
        if active {
            A::known(self).vip = Some(address);
        }
        active
    }
}

/// A UDP header whose length fits the `room` that IP leaves: no event.
#[inline(always)]
fn datagram(len: [u8; 2], room: u16) -> Option<Option<TcpEvent>> {
    let len = u16::from_be_bytes(len);
    (8..=room).contains(&len).then_some(None)
}

/// A TCP header that fits, with nothing but ACK among RST, SYN, FIN and ACK.
#[inline(always)]
fn segment(offset: u8, flags: u8, room: u16) -> Option<Option<TcpEvent>> {
    let len = u16::from(offset >> 4) * 4;
    ((20..=room).contains(&len) && flags & 0x17 == 0x10).then_some(Some(TcpEvent::Ack))
}

/// Whether the checksum of the 20-octet header at 14 is right: whether its words, in any order of
/// octets, sum up to 0xffff with carries added back (RFC 1071 section 2), which is to say that
/// 0xffff divides their sum, for that is not 0.
#[inline(always)]
fn header_sum_is_right(h: &[u8; V4_UDP_LEN]) -> bool {
    let word = |at: usize| u64::from(u32::from_ne_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]));
    (word(14) + word(18) + word(22) + word(26) + word(30)).is_multiple_of(0xffff)
}
