"""Where Weir deliberately does otherwise than real IPVS: one name each.

Each names its steps, says why, and computes from what IPVS did exactly what
Weir must do instead, so that a deviation is compared octet by octet as well.
docs/COMPLIANCE.md lists the same names. `compare.py` fails on one that no
longer happens.
"""
import struct
from dataclasses import dataclass, field
from typing import Callable

import frames as F


@dataclass
class Difference:
    """One deliberate deviation."""
    name: str
    item: str           # of the data path checklist
    reason: str
    steps: dict = field(default_factory=dict)       # scenario to notes
    expect: Callable = None                         # (sent, ipvs) to [(port, frame)]
    tables: dict = field(default_factory=dict)      # scenario to "flows", "servers", "counters"
    expect_rows: Callable = None                    # rows of IPVS to rows of Weir
    whole: tuple = ()                               # scenarios compared after reassembly


def nothing(sent, ipvs):
    return []


def passed_to(port, mac):
    """The frame itself, its TTL one less, towards a server in DR."""
    def expect(sent, ipvs):
        out = F.patch(sent[14:], 8, bytes([sent[22] - 1]))
        packet = F.ipv4_summed(out)[:int.from_bytes(sent[16:18], "big")]
        return [(port, F.mac(mac) + ipvs[0][1][6:12] + sent[12:14] + packet)]
    return expect


def keeps_udp_zero(sent, ipvs):
    """IPVS's frame with the UDP checksum left out, as it came."""
    return [(port, F.patch(frame, 40, b"\0\0")) for port, frame in ipvs]


def with_quoted_sum(sent, ipvs):
    """IPVS's ICMP error with the L4 checksum in the quote brought along
    (RFC 5508 REQ-4), and the ICMP checksum made right again."""
    port, frame = ipvs[0]
    old, new = sent[42:], frame[42:]
    at = {F.TCP: 36, F.UDP: 26}[new[9]]
    if len(new) < at + 2 or new[at:at + 2] == b"\0\0" and new[9] == F.UDP:
        return ipvs
    was, now = (p[12:20] + p[20:24] for p in (old, new))
    total = ~struct.unpack("!H", new[at:at + 2])[0] & 0xFFFF
    total += sum(~w & 0xFFFF for w in struct.unpack("!6H", was)) + sum(struct.unpack("!6H", now))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    message = F.patch(frame[34:], 8 + at, struct.pack("!H", ~total & 0xFFFF))
    message = F.patch(F.patch(message, 2, b"\0\0"), 2,
                      struct.pack("!H", F.checksum(F.patch(message, 2, b"\0\0"))))
    return [(port, frame[:34] + message)]


_SHORT_UDP = ["%s: %s" % (mode, what) for mode in ("DR", "NAT", "TUN")
              for what in ("UDP length 7", "UDP length 99", "header cut to 4 octets")]

ALL = [
    Difference(
        "runt-l4", "D1", "a TCP or UDP header that does not fit its packet is dropped, in DR and "
        "TUN too, where IPVS needs the ports only",
        {"dr-tcp": ["TCP header cut to 12 octets", "TCP data offset 1",
                    "TCP data offset beyond the packet"],
         "nat-tcp": ["TCP data offset 1", "TCP data offset beyond the packet"],
         "udp": [s for s in _SHORT_UDP if s != "NAT: header cut to 4 octets"]}, nothing),
    Difference(
        "udp-zero-checksum", "D18", "an IPv4 UDP checksum of 0 stays 0 under NAT; IPVS computes one",
        {"udp": ["NAT: checksum 0", "NAT: answer with checksum 0"]}, keeps_udp_zero),
    Difference(
        "udp6-zero-checksum", "D19", "IPv6 UDP without a checksum is dropped",
        {"v6-dr": ["UDP checksum 0"], "v6-nat": ["UDP checksum 0"],
         "edge-unserved-v6": ["UDP service without servers: checksum 0"]}, nothing),
    Difference(
        "routing-header-0", "D6", "RFC 5095: routing header type 0 is dropped",
        {"v6-dr": ["routing header type 0"]}, nothing),
    Difference(
        "no-flow-from-odd-flags", "D12", "SYN with FIN and port 0 start no flow; IPVS schedules them",
        {"edge-flags": ["flags SF", "flags SFA", "source port 0", "source port 0, ACK",
                        "destination port 0"]}, nothing),
    Difference(
        "martian-class-e", "D11", "240.0.0.0/4 is no source of a client",
        {"edge-sources": ["from class E"]}, nothing),
    Difference(
        "unknown-protocol", "D15", "an unserved protocol to a VIP is dropped and counted; the Linux "
        "host answers protocol unreachable",
        {"edge-unserved": ["unknown protocol", "IP in IP"], "tun-ipip": ["IPIP to the VIP"],
         "edge-unserved-v6": ["unknown protocol"]}, nothing),
    Difference(
        "quoted-checksum", "D34", "NAT of an ICMP error brings the L4 checksum in the quote along; "
        "IPVS leaves it stale",
        {"nat-icmp": ["client side: quoting a whole segment", "server side: quoting a whole segment",
                      "client side: quoting a whole header", "server side: quoting a whole header"],
         "udp-icmp": ["NAT, client side: port unreachable", "NAT, client side: frag needed",
                      "NAT, server side: port unreachable"]}, with_quoted_sum),
    Difference(
        "tiny-mtu", "D36", "an error that claims an MTU below the protocol's least is ignored",
        {"dr-icmp": ["frag needed with MTU 60"],
         "v6-icmp": ["DR: MTU below 1280", "NAT: MTU below 1280"]}, nothing),
    Difference(
        "fragments-pass", "D26", "fragments follow their first one as they come; IPVS reassembles, "
        "schedules and fragments again",
        whole=("fragments", "v6-fragments", "tun-udp-big")),
]


def of_step(name, note):
    """The difference that a step is listed under, or None."""
    return next((d for d in ALL if note in d.steps.get(name, ())), None)


def of_table(name, show):
    return next((d for d in ALL if show in d.tables.get(name, ())), None)


def compared_whole(name):
    return next((d for d in ALL if name in d.whole), None)
