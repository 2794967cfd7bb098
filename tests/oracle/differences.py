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
import scenario as S


@dataclass
class Difference:
    """One deliberate deviation."""
    name: str
    item: str           # of the data path checklist
    reason: str
    steps: dict = field(default_factory=dict)       # scenario to notes
    expect: Callable = None                         # (sent, ipvs) to [(port, frame)]
    tables: dict = field(default_factory=dict)      # scenario to the kinds of "show"
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
    return [(port, _requoted(frame, _quote(sent), _quote(frame)))]


def passed_by_nat6(sent, ipvs):
    """A server's ICMPv6 error as NAT must pass it to the client: from the VIP,
    about the VIP."""
    vip, old = F.address(S.VIP6), _quote(sent)
    new = F.patch(F.patch(old, 24, vip), 42, struct.pack("!H", 81))
    wan = S.network()["ports"][0]["mac"]
    head = F.patch(sent[:62], 0, F.mac(S.GATEWAY_MAC) + F.mac(wan))
    head = F.patch(F.patch(head, 21, bytes([sent[21] - 1])), 22, vip)
    return [(S.WAN, _requoted(head + new, old, new))]


def _quote(frame):
    """The packet that an ICMP error is about."""
    return frame[42:] if frame[12:14] == b"\x08\0" else frame[62:]


def _requoted(frame, old, new):
    """The frame with its quote's L4 checksum updated from what it was right for
    (`old`) to what the quote is now (`new`), and its own checksum right."""
    v4 = frame[12:14] == b"\x08\0"
    protocol, addresses, l4 = (new[9], slice(12, 20), 20) if v4 else (new[6], slice(8, 40), 40)
    at = l4 + {F.TCP: 16, F.UDP: 6}[protocol]
    if len(new) >= at + 2 and not (protocol == F.UDP and new[at:at + 2] == b"\0\0"):
        words = [p[addresses] + p[l4:l4 + 4] for p in (old, new)]
        was, now = ([int.from_bytes(w[i:i + 2], "big") for i in range(0, len(w), 2)]
                    for w in words)
        total = ~int.from_bytes(old[at:at + 2], "big") & 0xFFFF
        total += sum(~w & 0xFFFF for w in was) + sum(now)
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        new = F.patch(new, at, struct.pack("!H", ~total & 0xFFFF))
    start = 34 if v4 else 54
    message = F.patch(frame[start:start + 8] + new, 2, b"\0\0")
    covered = message if v4 else F.pseudo(frame[22:38], frame[38:54], F.ICMP6, len(message)) \
        + message
    return frame[:start] + F.patch(message, 2, struct.pack("!H", F.checksum(covered)))


def without_odd_flows(rows):
    """Flows, or counts of them, without those of SYN+FIN and port 0."""
    if rows and len(rows[0]) == 6:
        odd = ("172.16.0.16:41006", "172.16.0.20:41010", "172.16.0.5:0")
        return [r for r in rows if r[3] not in odd]
    return [r[:3] + [r[3] - 2, r[4] - 1] for r in rows]


def close_wait_as_fin(rows):
    """CLOSE_WAIT lasts as long as the other closing states."""
    return [r[:2] + [120] + r[3:] if r[1] == "CLOSE_WAIT" else r for r in rows]


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
        "udp-zero-checksum", "D18", "an IPv4 UDP checksum of 0 stays 0 under NAT; IPVS makes one",
        {"udp": ["NAT: checksum 0", "NAT: answer with checksum 0"]}, keeps_udp_zero),
    Difference(
        "udp6-zero-checksum", "D19", "IPv6 UDP without a checksum is dropped",
        {"v6-dr": ["UDP checksum 0"], "v6-nat": ["UDP checksum 0"],
         "edge-unserved-v6": ["UDP service without servers: checksum 0"]}, nothing),
    Difference(
        "routing-header-0", "D6", "RFC 5095: routing header type 0 is dropped",
        {"v6-dr": ["routing header type 0"]}, nothing),
    Difference(
        "no-flow-from-odd-flags", "D12", "SYN+FIN and port 0 start no flow; IPVS schedules them",
        {"edge-flags": ["flags SF", "flags SFA", "source port 0", "source port 0, ACK",
                        "destination port 0"]}, nothing,
        {"edge-flags": ["flows", "servers"]}, without_odd_flows),
    Difference(
        "martian-class-e", "D11", "240.0.0.0/4 is no source of a client",
        {"edge-sources": ["from class E"]}, nothing),
    Difference(
        "unknown-protocol", "D15", "an unserved protocol to a VIP is dropped and counted; the "
        "Linux host answers protocol unreachable",
        {"edge-unserved": ["unknown protocol", "IP in IP"], "tun-ipip": ["IPIP to the VIP"],
         "edge-unserved-v6": ["unknown protocol"]}, nothing),
    Difference(
        "quoted-checksum", "D34", "NAT of an ICMP error brings the L4 checksum in the quote along; "
        "IPVS leaves it stale",
        {"nat-icmp": ["%s side: quoting a whole %s" % (side, what)
                      for side in ("client", "server") for what in ("segment", "header")],
         "udp-icmp": ["NAT, client side: port unreachable", "NAT, client side: frag needed",
                      "NAT, server side: port unreachable"],
         "v6-icmp": ["NAT: packet too big", "NAT: port unreachable", "NAT: no route",
                     "NAT: time exceeded", "NAT: parameter problem", "NAT: quoting the header"]},
        with_quoted_sum),
    Difference(
        "nat6-server-errors", "D34", "ICMPv6 errors of NAT servers reach the client; IPVS drops "
        "them unless the NIC verified their checksum: its own check omits the pseudo-header",
        {"v6-icmp": ["server side: " + what for what in
                     ("packet too big", "port unreachable", "no route", "time exceeded",
                      "parameter problem", "from a router")]}, passed_by_nat6),
    Difference(
        "tiny-mtu", "D36", "an error that claims an MTU below the protocol's least is ignored",
        {"dr-icmp": ["frag needed with MTU 60"],
         "v6-icmp": ["DR: MTU below 1280", "NAT: MTU below 1280"]}, nothing),
    Difference(
        "close-wait", "D58", "a download goes on after the client's FIN for as long as a FIN "
        "timeout (120 s); IPVS forgets it after 60 s of silence",
        tables={n: ["flows"] for n in ("nat-tcp", "v6-nat", "edge-reuse", "lc-active")},
        expect_rows=close_wait_as_fin),
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
