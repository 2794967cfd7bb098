//! Which frames may take the straight line.

use core::net::{Ipv4Addr, Ipv6Addr};

use weir_wire::addr::{MacAddr, Protocol};

use super::{Kind, L3, Straight};
use crate::engine::State;
use crate::family::Ip;
use crate::flow::{Direction, FlowTable};
use crate::io::Io;
use crate::pipeline::{FamilyKeys, Ingress, Key, Keys, Row, Span, prefetch_ahead};
use crate::tables::{Family, Port, Role, Tables};
use crate::time::Time;

/// Ethernet, IP without options or extensions, and the first octets of TCP or UDP.
const V4_UDP_LEN: usize = 14 + 20 + 8;
const V4_TCP_LEN: usize = 14 + 20 + 20;
const V6_UDP_LEN: usize = 14 + 40 + 8;
const V6_TCP_LEN: usize = 14 + 40 + 20;

/// What must be zero in the third word of IPv4 behind its length: all but DF.
const DONT_FRAGMENT_MASK: u16 = u16::from_ne_bytes([0xbf, 0xff]);

/// The octets of a MAC in the first eight of a frame.
const MAC_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);

/// The flags of segments in mid-conversation; datagrams count among those.
const ACK: u8 = 0x10;
/// The flags of a connection's first segment.
const SYN: u8 = 0x02;

/// Recognises packets; made once per burst.
#[derive(Debug)]
pub(crate) struct Recogniser<'a> {
    tables: &'a Tables,
    now: Time,
    port: &'a Port,
    /// The MAC that the packet before went to: the port's own, or an Active virtual one.
    mac: u64,
    mtu: u16,
    pub(crate) v4: Known<Ipv4Addr>,
    pub(crate) v6: Known<Ipv6Addr>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entered {
    /// It goes the way that the packet before went.
    AsExpected,
    /// It goes the other way.
    Turned,
    /// It is not entered.
    Not,
}

/// What is known of a family for the length of a burst.
#[derive(Debug)]
pub(crate) struct Known<A> {
    /// The Active VIP that the packet before went to: the next one mostly goes there too.
    vip: Option<A>,
    /// Which way the packet before went.
    direction: Direction,
    /// Whether there may be replies at all.
    translates: bool,
}

impl<A: Ip> Known<A> {
    fn new(family: &Family<A>) -> Self {
        Self {
            vip: None,
            direction: Direction::Forward,
            translates: !(family.nat_sources.is_empty() && family.nat_hosts.is_empty()),
        }
    }
}

impl<'a> Recogniser<'a> {
    /// For bursts from a device with an untagged port; no other bursts have a straight line.
    pub(in crate::pipeline) fn new(
        (tables, now): (&'a Tables, Time),
        ingress: Ingress,
    ) -> Option<Self> {
        let Ingress::Device(device) = ingress else {
            return None;
        };
        let port = tables.devices.get(device.index())?.port(None)?;
        let port = tables.port(port)?;
        Some(Self {
            tables,
            now,
            port,
            mac: mac_word(port.mac),
            mtu: port.mtu,
            v4: Known::new(&tables.v4),
            v6: Known::new(&tables.v6),
        })
    }

    /// Enters what there is to know of the first frames among `keys`, as many in a row as may be of
    /// established flows, or the first of new ones, and are of one family.
    #[inline(always)]
    pub(in crate::pipeline) fn row<I: Io>(
        &mut self,
        frames: &[I::Frame],
        state: &State,
        keys: &mut Keys,
    ) -> Option<Row> {
        if let Some(span) = self.enter::<_, I>(frames, state, &mut keys.v4) {
            return Some(Row::V4(span));
        }
        self.enter::<_, I>(frames, state, &mut keys.v6).map(Row::V6)
    }

    /// The same for one family.
    #[inline(always)]
    fn enter<A: Ip, I: Io>(
        &mut self,
        frames: &[I::Frame],
        state: &State,
        keys: &mut FamilyKeys<A>,
    ) -> Option<Span> {
        let flows = A::flows(state);
        let first = keys.count;
        loop {
            let frames = frames.get(keys.count - first..).unwrap_or_default();
            let turned = match A::known(self).direction {
                Direction::Forward => self.forwards::<A, I>(frames, flows, keys),
                Direction::Reverse => self.replies::<A, I>(frames, flows, keys),
            };
            if !turned {
                break;
            }
        }
        let len = keys.count - first;
        (len > 0).then_some(Span { first, len })
    }

    /// Enters packets in a loop that expects clients'. Returns whether it stopped because a packet
    /// that it has entered was none.
    #[inline(never)]
    fn forwards<A: Ip, I: Io>(
        &mut self,
        frames: &[I::Frame],
        flows: &FlowTable<A>,
        keys: &mut FamilyKeys<A>,
    ) -> bool {
        self.each::<A, I>(frames, keys, |recogniser, key, packet| {
            key.straight = packet;
            let flow = &packet.key;
            if A::known(recogniser).vip == Some(flow.remote) {
                key.seek(flows, flow);
                Entered::AsExpected
            } else {
                recogniser.enter_another(flows, key)
            }
        })
    }

    /// The same for replies.
    #[inline(never)]
    fn replies<A: Ip, I: Io>(
        &mut self,
        frames: &[I::Frame],
        flows: &FlowTable<A>,
        keys: &mut FamilyKeys<A>,
    ) -> bool {
        self.each::<A, I>(frames, keys, |recogniser, key, packet| {
            let reply = packet.turned_back();
            if recogniser.is_reply(&packet) {
                key.straight = reply;
                key.seek(flows, &reply.key);
                Entered::AsExpected
            } else {
                key.straight = packet;
                recogniser.enter_another(flows, key)
            }
        })
    }

    /// Recognises packets and lets `enter` enter them, until one is not or turns the other way.
    /// Returns whether it was the latter.
    #[inline(always)]
    fn each<A: Ip, I: Io>(
        &mut self,
        frames: &[I::Frame],
        keys: &mut FamilyKeys<A>,
        enter: impl Fn(&mut Self, &mut Key<A>, Straight<A>) -> Entered,
    ) -> bool {
        let free = keys.keys.get_mut(keys.count..).unwrap_or_default();
        let (mut len, mut turned) = (0, false);
        for (key, frame) in free.iter_mut().zip(frames) {
            prefetch_ahead::<I>(frames, len);
            let octets = (I::head(frame), I::len(frame));
            let Some(packet) = A::recognise(self, octets) else {
                break;
            };
            match enter(self, key, packet) {
                Entered::AsExpected => len += 1,
                Entered::Turned => {
                    (len, turned) = (len + 1, true);
                    break;
                }
                Entered::Not => break,
            }
        }
        keys.count += len;
        turned
    }

    /// Enters a packet that goes to another address than the one before, or the other way, if it
    /// goes to an Active VIP too or may be a reply.
    #[inline(never)]
    fn enter_another<A: Ip>(&mut self, flows: &FlowTable<A>, key: &mut Key<A>) -> Entered {
        if self.is_reply(&key.straight) {
            key.straight = key.straight.turned_back();
        } else if !self.is_active_vip(key.straight.key.remote) {
            return Entered::Not;
        }
        let (flow, direction) = (key.straight.key, key.straight.direction());
        key.seek(flows, &flow);
        let known = A::known(self);
        if core::mem::replace(&mut known.direction, direction) == direction {
            Entered::AsExpected
        } else {
            Entered::Turned
        }
    }

    /// Whether a packet is from and to hosts that are none of ours, as only replies may be. Servers
    /// open no connections.
    #[inline(always)]
    fn is_reply<A: Ip>(&mut self, packet: &Straight<A>) -> bool {
        let (own, key) = (&A::family(self.tables).own, &packet.key);
        A::known(self).translates
            && packet.kind != Kind::Opening
            && !own.may_hold(key.remote)
            && !own.may_hold(key.client)
    }

    /// IPv4 without options, whole, and TTL to spare. `len` is the whole frame's.
    #[inline(always)]
    pub(crate) fn v4(&mut self, (head, len): (&[u8], usize)) -> Option<Straight<Ipv4Addr>> {
        let h: &[u8; V4_UDP_LEN] = head.first_chunk()?;
        let whole = u16::from_ne_bytes([h[20], h[21]]) & DONT_FRAGMENT_MASK == 0;
        if !(self.is_ours(h)
            && [h[12], h[13]] == [0x08, 0x00]
            && h[14] == 0x45
            && whole
            && h[22] > 1)
        {
            return None;
        }
        let ip_len = u16::from_be_bytes([h[16], h[17]]);
        if usize::from(ip_len) + usize::from(L3) > len || ip_len > self.mtu {
            return None;
        }
        let room = ip_len.checked_sub(20)?;
        let protocol = Protocol(h[23]);
        let (fits, kind) = match protocol {
            Protocol::UDP => (is_datagram([h[38], h[39]], room), Kind::Forward),
            Protocol::TCP => {
                let h: &[u8; V4_TCP_LEN] = head.first_chunk()?;
                (is_segment(h[46], h[47], room), kind_of(h[47]))
            }
            Protocol(_) => (false, Kind::Forward),
        };
        if !(fits && header_sum_is_right(h)) {
            return None;
        }
        let (src, dst) = (h[26..].first_chunk()?, h[30..].first_chunk()?);
        let addresses = (Ipv4Addr::from_octets(*src), Ipv4Addr::from_octets(*dst));
        let ports = h[34..].first_chunk()?;
        Some(Straight::forward(
            addresses,
            *ports,
            protocol,
            (ip_len, kind),
        ))
    }

    /// IPv6 without extension headers, and Hop Limit to spare.
    #[inline(always)]
    pub(crate) fn v6(&mut self, (head, len): (&[u8], usize)) -> Option<Straight<Ipv6Addr>> {
        let h: &[u8; V6_UDP_LEN] = head.first_chunk()?;
        if !(self.is_ours(h) && [h[12], h[13]] == [0x86, 0xdd] && h[14] >> 4 == 6 && h[21] > 1) {
            return None;
        }
        let room = u16::from_be_bytes([h[18], h[19]]);
        let ip_len = room.checked_add(40)?;
        if usize::from(ip_len) + usize::from(L3) > len || ip_len > self.mtu {
            return None;
        }
        let protocol = Protocol(h[20]);
        let (fits, kind) = match protocol {
            // A datagram without a checksum is no matter of course here (RFC 8200 section 8.1).
            Protocol::UDP => {
                let sums = [h[60], h[61]] != [0, 0];
                (sums && is_datagram([h[58], h[59]], room), Kind::Forward)
            }
            Protocol::TCP => {
                let h: &[u8; V6_TCP_LEN] = head.first_chunk()?;
                (is_segment(h[66], h[67], room), kind_of(h[67]))
            }
            Protocol(_) => (false, Kind::Forward),
        };
        if !fits {
            return None;
        }
        let (src, dst) = (h[22..].first_chunk()?, h[38..].first_chunk()?);
        let addresses = (Ipv6Addr::from_octets(*src), Ipv6Addr::from_octets(*dst));
        let ports = h[54..].first_chunk()?;
        Some(Straight::forward(
            addresses,
            *ports,
            protocol,
            (ip_len, kind),
        ))
    }

    /// Whether a frame goes to a MAC of ours.
    #[inline(always)]
    fn is_ours<const N: usize>(&mut self, h: &[u8; N]) -> bool {
        let first = u64::from_ne_bytes([h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]]);
        first & MAC_MASK == self.mac || self.is_another_of_ours(h)
    }

    /// Whether a MAC other than the last one is ours too; if so it is remembered.
    #[inline(never)]
    fn is_another_of_ours(&mut self, h: &[u8]) -> bool {
        let mac = h.first_chunk().copied().map(MacAddr).unwrap_or_default();
        let ours = self.port.takes(mac, &self.tables.leases, self.now);
        if ours {
            self.mac = mac_word(mac);
        }
        ours
    }

    /// Looks an address up, and remembers it if it is a VIP that is served here.
    fn is_active_vip<A: Ip>(&mut self, address: A) -> bool {
        if !A::family(self.tables).own.may_hold(address) {
            return false;
        }
        let vip = A::family(self.tables).vips.get(&address);
        let active =
            vip.is_some_and(|vip| vip.role.at(&self.tables.leases, self.now) == Role::Active);
        if active {
            A::known(self).vip = Some(address);
        }
        active
    }
}

/// A MAC as it is found in the first eight octets of a frame.
const fn mac_word(MacAddr([a, b, c, d, e, f]): MacAddr) -> u64 {
    u64::from_ne_bytes([a, b, c, d, e, f, 0, 0])
}

/// Whether the length of a UDP header fits the `room` that IP leaves.
#[inline(always)]
fn is_datagram(len: [u8; 2], room: u16) -> bool {
    (8..=room).contains(&u16::from_be_bytes(len))
}

/// Whether a TCP header fits, with [`ACK`] or else [`SYN`] alone among RST, SYN, FIN and ACK.
#[inline(always)]
fn is_segment(offset: u8, flags: u8, room: u16) -> bool {
    let fits = (20..=room).contains(&(u16::from(offset >> 4) * 4));
    fits && matches!(flags & 0x17, ACK | SYN)
}

/// What a segment that [`is_segment`] is to its flow, if a client sent it.
#[inline(always)]
fn kind_of(flags: u8) -> Kind {
    if flags & SYN == 0 {
        Kind::Forward
    } else {
        Kind::Opening
    }
}

/// Whether the checksum of the 20-octet header at 14 is right: whether its words, in any order of
/// octets, sum up to 0xffff with carries added back (RFC 1071 section 2), which is to say that
/// 0xffff divides their sum, for that is not 0.
#[inline(always)]
fn header_sum_is_right(h: &[u8; V4_UDP_LEN]) -> bool {
    let word = |at: usize| u64::from(u32::from_ne_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]));
    (word(14) + word(18) + word(22) + word(26) + word(30)).is_multiple_of(0xffff)
}
