//! The straight line: packets of established IPv4 flows to servers in direct routing.
//!
//! Nearly all frames of a busy director are these. The stages recognise them by a handful of
//! comparisons on the frame's own octets and carry a fifth of what a parsed packet is from stage to
//! stage. Nothing is decided here that `classify` and `decide` would decide otherwise: a packet is
//! taken only where they leave no choice, and whatever is out of the ordinary (a miss, a SYN, a
//! FIN, options, a fragment, a tag, another mode, an unresolved neighbour, an MTU) is left to them
//! untouched. `tests/straight.rs` holds both against each other frame by frame.

use core::net::Ipv4Addr;

use weir_wire::addr::{L4Port, MacAddr, Protocol};
use weir_wire::checksum::{Checksum, Delta};

use super::{FamilyKeys, Ingress};
use crate::commit::{count, count_service};
use crate::engine::State;
use crate::flow::tcp::TcpEvent;
use crate::flow::{Direction, FlowKey, Observed};
use crate::id::{ServiceId, WorkerId};
use crate::io::Io;
use crate::tables::{Hop, Mode, NextHop, Port, Role, Tables};
use crate::time::Time;
use crate::verdict::Verdict;

/// Ethernet, IPv4 without options, and the ports.
const UDP_HEADERS_LEN: usize = 14 + 20 + 8;
/// The same with a TCP header without options.
const TCP_HEADERS_LEN: usize = 14 + 20 + 20;
/// Where the IP header begins.
const L3: u16 = 14;

/// What is kept of a packet on the straight line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Straight {
    key: FlowKey<Ipv4Addr>,
    /// Octets of IP.
    len: u16,
    /// ACK for TCP, nothing for UDP.
    event: Option<TcpEvent>,
}

impl Straight {
    /// For filling arrays.
    pub(crate) const NONE: Self = Self {
        key: FlowKey {
            client: Ipv4Addr::UNSPECIFIED,
            remote: Ipv4Addr::UNSPECIFIED,
            client_port: L4Port::NONE,
            remote_port: L4Port::NONE,
            protocol: Protocol(0),
        },
        len: 0,
        event: None,
    };

    /// The key of its flow.
    #[inline(always)]
    pub(crate) fn key(&self) -> &FlowKey<Ipv4Addr> {
        &self.key
    }
}

/// Recognises packets; made once per burst.
#[derive(Debug)]
pub(super) struct Recogniser<'a> {
    tables: &'a Tables,
    worker: WorkerId,
    now: Time,
    port: &'a Port,
    /// The MAC that the packet before went to: the port's own, or an Active virtual one.
    mac: MacAddr,
    mtu: u16,
    /// The Active VIP that the packet before went to: the next one mostly goes there too.
    vip: Option<Ipv4Addr>,
}

impl<'a> Recogniser<'a> {
    /// For bursts from a device with an untagged port; no other bursts have a straight line.
    pub(super) fn new(
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
            vip: None,
        })
    }

    /// What there is to know of a frame, if it may be one of those. `len` is the whole frame's.
    #[inline(always)]
    pub(super) fn recognise(&mut self, head: &[u8], len: usize) -> Option<Straight> {
        let h: &[u8; UDP_HEADERS_LEN] = head.first_chunk()?;
        let to = MacAddr([h[0], h[1], h[2], h[3], h[4], h[5]]);
        let to_us = to == self.mac || self.is_ours(to);
        // IPv4 without options, whole, and TTL to spare.
        let plain = [h[12], h[13], h[14]] == [0x08, 0x00, 0x45];
        let whole = [h[20] & 0xbf, h[21]] == [0, 0];
        if !(to_us && plain && whole && h[22] > 1 && header_sum_is_right(h)) {
            return None;
        }
        let ip_len = u16::from_be_bytes([h[16], h[17]]);
        if usize::from(ip_len) + usize::from(L3) > len || ip_len > self.mtu {
            return None;
        }
        let protocol = Protocol(h[23]);
        let event = match protocol {
            Protocol::UDP => {
                let udp_len = u16::from_be_bytes([h[38], h[39]]);
                if udp_len < 8 || ip_len < 20 || udp_len > ip_len - 20 {
                    return None;
                }
                None
            }
            Protocol::TCP => {
                let h: &[u8; TCP_HEADERS_LEN] = head.first_chunk()?;
                let tcp_len = u16::from(h[46] >> 4) * 4;
                // Among RST, SYN, FIN and ACK, nothing but ACK.
                if tcp_len < 20 || ip_len < 20 + tcp_len || h[47] & 0x17 != 0x10 {
                    return None;
                }
                Some(TcpEvent::Ack)
            }
            Protocol(_) => return None,
        };
        let key = FlowKey {
            client: Ipv4Addr::new(h[26], h[27], h[28], h[29]),
            remote: Ipv4Addr::new(h[30], h[31], h[32], h[33]),
            client_port: L4Port(u16::from_be_bytes([h[34], h[35]])),
            remote_port: L4Port(u16::from_be_bytes([h[36], h[37]])),
            protocol,
        };
        if self.vip != Some(key.remote) && !self.is_active_vip(key.remote) {
            return None;
        }
        let steering = &self.tables.steering;
        let ours =
            steering.is_single() || steering.owner(key.client, key.client_port) == self.worker;
        ours.then_some(Straight {
            key,
            len: ip_len,
            event,
        })
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
    fn is_active_vip(&mut self, address: Ipv4Addr) -> bool {
        let vip = self.tables.v4.vips.get(&address);
        let active =
            vip.is_some_and(|vip| vip.role.at(&self.tables.leases, self.now) == Role::Active);
        if active {
            self.vip = Some(address);
        }
        active
    }
}

/// Whether the checksum of the 20-octet header at 14 is right. Its words may be summed up in any
/// order of octets (RFC 1071 section 2).
#[inline(always)]
fn header_sum_is_right(h: &[u8; UDP_HEADERS_LEN]) -> bool {
    let word = |at: usize| u64::from(u32::from_ne_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]));
    let sum = word(14) + word(18) + word(22) + word(26) + word(30);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

/// Packets of one service in a row, counted together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    service: ServiceId,
    packets: u64,
    octets: u64,
}

impl Run {
    #[inline(always)]
    fn add(&mut self, state: &State, service: ServiceId, len: u16) {
        if self.service != service {
            self.flush(state);
            self.service = service;
        }
        self.packets += 1;
        self.octets += u64::from(len);
    }

    /// Counts what has come together; at the end of every burst.
    #[inline]
    pub(super) fn flush(&mut self, state: &State) {
        if self.packets > 0 {
            count_service(state, self.service, self.packets, self.octets);
            *self = Self::default();
        }
    }
}

/// Carries a packet of a known flow out: `None` leaves frame and flow untouched, for the stages
/// that know every case.
#[inline(always)]
pub(super) fn settle<I: Io>(
    (state, tables, now): (&mut State, &Tables, Time),
    frame: &mut I::Frame,
    (packet, keys, at): (&Straight, &FamilyKeys<Ipv4Addr>, usize),
    run: &mut Run,
) -> Option<Verdict> {
    let found = state
        .v4
        .confirm(&packet.key, keys.hashes[at], keys.hints[at], now)?;
    if found.direction != Direction::Forward {
        return None;
    }
    let entry = state.v4.entry(found.index);
    let (server, service) = (entry.server(), entry.service());
    let to = tables.server(server)?;
    let (Mode::Dr, Hop::Ready(hop)) = (to.mode, &to.hop) else {
        return None;
    };
    let port = tables.port(hop.port)?;
    if port.vlan.is_some() || packet.len > port.mtu {
        return None;
    }
    let timeouts = &tables.service(service)?.timeouts;
    rewrite::<I>(frame, packet.len, hop, port.mac)?;
    let observed = Observed {
        direction: Direction::Forward,
        event: packet.event,
        octets: u32::from(packet.len),
    };
    let change = state.v4.touch(found.index, observed, timeouts, now);
    if change.before != change.after {
        state.move_flow(server, change.before.is_active(), change.after.is_active());
    }
    run.add(state, service, packet.len);
    count(
        state,
        Direction::Forward,
        None,
        Some(server.index),
        packet.len,
    );
    Some(Verdict::Forward(hop.port))
}

/// New MACs and TTL less one (D46), Ethernet padding cut off (D2); `None` changes nothing.
#[inline(always)]
fn rewrite<I: Io>(frame: &mut I::Frame, len: u16, hop: &NextHop, from: MacAddr) -> Option<()> {
    let end = usize::from(L3 + len);
    if I::len(frame) > end {
        I::truncate(frame, end);
    }
    let h: &mut [u8; 34] = I::head_mut(frame).first_chunk_mut()?;
    let [d0, d1, d2, d3, d4, d5] = hop.mac.0;
    let [s0, s1, s2, s3, s4, s5] = from.0;
    [h[0], h[1], h[2], h[3], h[4], h[5]] = [d0, d1, d2, d3, d4, d5];
    [h[6], h[7], h[8], h[9], h[10], h[11]] = [s0, s1, s2, s3, s4, s5];
    let old = u16::from_be_bytes([h[22], h[23]]);
    let new = old.wrapping_sub(0x0100);
    let sum = Delta::new()
        .replace_u16(old, new)
        .apply(Checksum([h[24], h[25]]));
    h[22] = h[22].wrapping_sub(1);
    [h[24], h[25]] = sum.0;
    Some(())
}
