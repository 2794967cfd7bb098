"""Where Weir deliberately does otherwise than real IPVS: one name each.

Each names its steps, says why, and computes from what IPVS did exactly what
Weir must do instead, so that a deviation is compared octet by octet as well.
docs/COMPLIANCE.md lists the same names. `compare.py` fails on a step, or a
count, that no longer differs.
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
    # Scenario to what counts otherwise: (service, server) to how much more of the connections,
    # packets in and out, octets in and out.
    counts: dict = field(default_factory=dict)
    whole: tuple = ()                               # scenarios compared after reassembly
    lacking: dict = field(default_factory=dict)     # scenario to a test of whole packets


def nothing(sent, ipvs):
    return []


def _passed(sent, port, mac):
    """The frame itself, its TTL one less, out of a port to a neighbour."""
    own = next(p["mac"] for p in S.network()["ports"] if p["name"] == port)
    packet = F.ipv4_summed(F.patch(sent[14:], 8, bytes([sent[22] - 1])))
    return [(port, F.mac(mac) + F.mac(own) + sent[12:14] + packet)]


def to_first(sent, ipvs):
    """In DR to server 10.1.0.11."""
    return _passed(sent, S.LAN, S.server_mac(11))


def to_same(sent, ipvs):
    """In DR to the server that IPVS sent it to, as it came."""
    return _passed(sent, S.LAN, ipvs[0][1][:6].hex(":"))


def not_translated(sent, ipvs):
    """Dropped on the way to a server; on the way to a client routed like any other packet."""
    return [] if sent[30:34] == F.address(S.VIP) else _passed(sent, S.WAN, S.GATEWAY_MAC)


def passed_by_nat4(sent, ipvs):
    """An ICMP error through NAT between 10.9.9.9:80 and 10.1.0.12:8080."""
    vip, rip, quote = F.address(S.VIP), F.address("10.1.0.12"), sent[42:]
    if sent[30:34] == vip:
        out, to, at, here, there = S.LAN, S.server_mac(12), 30, (12, rip), (20, 8080)
    else:
        out, to, at, here, there = S.WAN, S.GATEWAY_MAC, 26, (16, vip), (22, 80)
    new = F.ipv4_summed(F.patch(quote, *here))
    new = F.patch(new, there[0], struct.pack("!H", there[1]))
    frame = F.patch(sent[:42] + new, at, rip if out == S.LAN else vip)
    return [(out, _requoted(_passed(frame, out, to)[0][1], quote, new))]


def keeps_quoted_sum(sent, ipvs):
    """IPVS's frame with the quote's IP checksum as wrong as it came."""
    port, frame = ipvs[0]
    old, new = sent[42:], frame[42:]
    words = [int.from_bytes(p[i:i + 2], "big") for p in (old, new) for i in range(12, 20, 2)]
    total = ~int.from_bytes(old[10:12], "big") & 0xFFFF
    total += sum(~w & 0xFFFF for w in words[:4]) + sum(words[4:])
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    new = F.patch(new, 10, struct.pack("!H", ~total & 0xFFFF))
    return [(port, _requoted(frame, new, new))]


def with_ce_outside(sent, ipvs):
    """IPVS's tunnel packet with the mark Congestion Experienced in the outer header too."""
    port, frame = ipvs[0]
    if frame[12:14] == b"\x08\0":
        packet = F.patch(frame[14:], 1, bytes([frame[15] | 3]))
        return [(port, frame[:14] + F.ipv4_summed(packet))]
    return [(port, F.patch(frame, 15, bytes([frame[15] | 0x30])))]


def from_vip(sent, ipvs):
    """A segment from 10.1.0.11:8080 to its client, as NAT sends the answers of 10.9.9.9:80."""
    frame = F.patch(_passed(sent, S.WAN, S.GATEWAY_MAC)[0][1], 26, F.address(S.VIP))
    return [(S.WAN, _summed(F.patch(frame, 34, struct.pack("!H", 80))))]


def _summed(frame):
    """The frame with the right TCP checksum and IPv4 header checksum."""
    segment = F.patch(frame[34:], 16, b"\0\0")
    total = F.checksum(F.pseudo(frame[26:30], frame[30:34], F.TCP, len(segment)) + segment)
    return frame[:14] + F.ipv4_summed(frame[14:34] + F.patch(segment, 16,
                                                             struct.pack("!H", total)))


def other_server(sent, ipvs):
    """The other one of servers 10.1.0.11 and .12, whose turn it is."""
    port, frame = ipvs[0]
    frame = F.patch(frame, 5, bytes([frame[5] ^ 0x0B ^ 0x0C]))
    if frame[30:33] == b"\x0a\x01\0":
        frame = _summed(F.patch(frame, 33, bytes([frame[33] ^ 11 ^ 12])))
    return [(port, frame)]


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


def without_clients(*clients):
    """Flows without those of some clients."""
    return lambda rows: [r for r in rows if r[3] not in clients]


def without_odd_flows(rows):
    """Flows, or counts of them, without those of SYN+FIN and port 0."""
    if rows and len(rows[0]) == 6:
        return without_clients("172.16.0.16:41006", "172.16.0.20:41010", "172.16.0.5:0")(rows)
    return [r[:3] + [r[3] - 2, r[4] - 1] for r in rows]


def reused_elsewhere(rows):
    """The servers of reused ports, and of what took its turn after them."""
    swapped = {"172.16.0.22:42002": ["ESTABLISHED"], "172.16.0.41:43001": ["SYN_RECV"],
               "172.16.0.23:42003": ["CLOSE", "ESTABLISHED"], "172.16.0.42:43002": ["CLOSE_WAIT"],
               "172.16.0.24:42004": ["TIME_WAIT", "ESTABLISHED"]}
    if len(rows[0]) == 6:
        other = {"10.1.0.1%d:%d" % (n, port): "10.1.0.1%d:%d" % (3 - n, port)
                 for n in (1, 2) for port in (80, 8080)}
        return [r[:5] + [other[r[5]]] if r[1] in swapped.get(r[3], ()) else r for r in rows]
    # Of five in DR, four and one change places; under NAT, one more goes to the second server.
    moved = {"10.1.0.11:80": {1: 4}, "10.1.0.12:80": {4: 1},
             "10.1.0.11:8080": {1: 0}, "10.1.0.12:8080": {4: 5}}
    return [r[:3] + [moved[r[1]].get(r[3], r[3]), r[4]] for r in rows]


def moved_from_gone(rows):
    """What came for the deleted server has moved to the other one, and stays there."""
    if len(rows[0]) == 6:
        moved = {"172.16.0.5:40001": ["TIME_WAIT", 120, "10.1.0.11:80"],
                 "172.16.0.7:40003": ["UDP", 300, "10.1.0.11:53"],
                 "172.16.0.6:40002": ["ESTABLISHED", 900, ""]}
        return [r[:1] + moved[r[3]][:2] + r[3:5] + moved[r[3]][2:] if r[3] in moved else r
                for r in rows]
    if any(r[2] == 0 for r in rows):    # before it was deleted
        return rows
    more = {"10.1.0.12:80": [-1, 0], "10.1.0.11:80": [0, 1],
            "10.1.0.12:53": [0, -1], "10.1.0.11:53": [0, 1]}
    return [r[:3] + [a + b for a, b in zip(r[3:], more.get(r[1], [0, 0]))] for r in rows]


def flags_behind_extensions(rows):
    """The client's flow is still established."""
    if len(rows[0]) == 6:
        return [r[:1] + ["ESTABLISHED", 900] + r[3:] if r[1] == "CLOSE" else r for r in rows]
    return [r[:3] + [1, 0] if r[0].startswith("tcp") and r[1] == "[fd00:1::11]:80" else r
            for r in rows]


def close_wait_as_fin(rows):
    """CLOSE_WAIT lasts as long as the other closing states."""
    return [r[:2] + [120] + r[3:] if r[1] == "CLOSE_WAIT" else r for r in rows]


_SHORT_UDP = ["%s: %s" % (mode, what) for mode in ("DR", "NAT", "TUN")
              for what in ("UDP length 7", "UDP length 99", "header cut to 4 octets")]

# Services, as they are called in counters.
_DR, _NAT, _UDP = ("tcp 10.9.9.9:80",), ("tcp 10.9.9.9:81",), ("udp 10.9.9.9:53",)
_TCP6, _UDP6 = ("tcp [fd00:9::9]:80",), ("udp [fd00:9::9]:53",)
_NAT6 = ("tcp [fd00:9::9]:81", "[fd00:1::12]:8080")

ALL = [
    Difference(
        "runt-l4", "D1", "a TCP or UDP header that does not fit its packet is dropped, in DR and "
        "TUN too, where IPVS needs the ports only",
        {"dr-tcp": ["TCP header cut to 12 octets", "TCP data offset 1",
                    "TCP data offset beyond the packet"],
         "nat-tcp": ["TCP data offset 1", "TCP data offset beyond the packet"],
         "udp": [s for s in _SHORT_UDP if s != "NAT: header cut to 4 octets"]}, nothing,
        counts={"dr-tcp": {_DR + ("10.1.0.12:80",): (0, -3, 0, -112, 0)},
                "nat-tcp": {_DR + ("10.1.0.12:8080",): (0, -3, 0, -112, 0)},
                "udp": {("udp 10.9.9.9:%d" % v, "10.1.0.12:%d" % r): (0, -3, 0, -84, 0)
                        for v, r in ((53, 53), (5353, 5300), (5354, 5354))}}),
    Difference(
        "record-route", "D5", "IPv4 options travel as they came: Weir does not record itself in a "
        "route or a timestamp option",
        {"dr-tcp": ["record route option"]}, to_same),
    Difference(
        "udp-zero-checksum", "D18", "an IPv4 UDP checksum of 0 stays 0 under NAT; IPVS makes one",
        {"udp": ["NAT: checksum 0", "NAT: answer with checksum 0"]}, keeps_udp_zero),
    Difference(
        "udp6-zero-checksum", "D19", "IPv6 UDP without a checksum is dropped",
        {"v6-dr": ["UDP checksum 0"], "v6-nat": ["UDP checksum 0"],
         "edge-unserved-v6": ["UDP service without servers: checksum 0"]}, nothing,
        counts={"v6-dr": {_UDP6 + ("[fd00:1::12]:53",): (0, -1, 0, -53, 0)},
                "v6-nat": {_UDP6 + ("[fd00:1::12]:5300",): (0, -1, 0, -53, 0)}}),
    Difference(
        "routing-header-0", "D6", "RFC 5095: routing header type 0 is dropped",
        {"v6-dr": ["routing header type 0"]}, nothing,
        counts={"v6-dr": {_TCP6 + ("[fd00:1::11]:80",): (0, -1, 0, -68, 0)}}),
    Difference(
        "flags-behind-extensions", "D6", "IPVS reads TCP flags 40 octets behind the IPv6 header's "
        "beginning, also where extension headers are, and takes one for a RST",
        tables={"v6-dr": ["flows", "servers"]}, expect_rows=flags_behind_extensions),
    Difference(
        "no-flow-from-odd-flags", "D12", "SYN+FIN and port 0 start no flow; IPVS schedules them",
        {"edge-flags": ["flags SF", "flags SFA", "source port 0"]}, nothing,
        {"edge-flags": ["flows", "servers"]}, without_odd_flows),
    Difference(
        "martian-class-e", "D11", "240.0.0.0/4 is no source of a client",
        {"edge-sources": ["from class E"]}, nothing,
        {"edge-sources": ["flows"]}, without_clients("240.0.0.1:40001")),
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
                      "parameter problem", "from a router")]}, passed_by_nat6,
        counts={"v6-icmp": {_NAT6: (0, 0, 6, 0, 648)}}),
    Difference(
        "parameter-problem", "D33, D34", "an ICMP parameter problem reaches the flow's other end "
        "like the other errors; IPVS knows it in IPv6 only",
        {"dr-icmp": ["parameter problem"]}, to_first,
        counts={"dr-icmp": {_DR + ("10.1.0.11:80",): (0, 1, 0, 56, 0)}}),
    Difference(
        "parameter-problem-nat", "D34", "the same through NAT, translated; IPVS routes a server's "
        "untranslated",
        {"nat-icmp": ["client side: parameter problem", "server side: parameter problem"]},
        passed_by_nat4,
        counts={"nat-icmp": {_DR + ("10.1.0.12:8080",): (0, 1, 1, 56, 56)}}),
    Difference(
        "source-quench", "D41", "RFC 6633 retired source quench: none reaches a server, and a "
        "server's is no part of a flow",
        {"dr-icmp": ["source quench"],
         "nat-icmp": ["client side: source quench", "server side: source quench"]},
        not_translated,
        counts={"dr-icmp": {_DR + ("10.1.0.11:80",): (0, -1, 0, -56, 0)},
                "nat-icmp": {_DR + ("10.1.0.12:8080",): (0, -1, -1, -56, -56)}}),
    Difference(
        "short-quote", "D32", "an ICMP error must quote the 8 octets behind the IP header that "
        "RFC 792 promises; IPVS is content with the ports",
        {"dr-icmp": ["frag needed quoting 4 octets of TCP"],
         "nat-icmp": ["client side: quoting 4 octets of TCP",
                      "server side: quoting 4 octets of TCP"]}, not_translated,
        counts={"dr-icmp": {_DR + ("10.1.0.11:80",): (0, -1, 0, -52, 0)},
                "nat-icmp": {_DR + ("10.1.0.12:8080",): (0, -1, -1, -52, -52)}}),
    Difference(
        "quoted-later-fragment", "D32", "a later fragment has no ports: an error about one names "
        "no flow; IPVS takes what is there for ports",
        {"dr-icmp": ["about a later fragment"]}, nothing,
        counts={"dr-icmp": {_DR + ("10.1.0.11:80",): (0, -1, 0, -56, 0)}}),
    Difference(
        "quoted-ip-checksum", "D34", "a wrong IP checksum in a quote stays wrong under NAT; IPVS "
        "makes a right one",
        {"nat-icmp": ["client side: wrong IP checksum in the quote"]}, keeps_quoted_sum),
    Difference(
        "dr-server-errors", "D33", "an ICMP error from a DR server's own address is routed, not "
        "counted; IPVS counts it for the flow that it is about",
        counts={"dr-icmp": {_DR + ("10.1.0.11:80",): (0, 0, -1, 0, -56)}}),
    Difference(
        "tiny-mtu", "D36", "an error that claims an MTU below the protocol's least is ignored",
        {"dr-icmp": ["frag needed with MTU 60"],
         "v6-icmp": ["DR: MTU below 1280", "NAT: MTU below 1280"]}, nothing,
        counts={"dr-icmp": {_DR + ("10.1.0.11:80",): (0, -1, 0, -56, 0)},
                "v6-icmp": {_TCP6 + ("[fd00:1::12]:80",): (0, -1, 0, -108, 0),
                            _NAT6: (0, -1, 0, -108, 0)}}),
    Difference(
        "tunnel-ce", "D42", "RFC 6040: Congestion Experienced is copied into the tunnel header; "
        "Linux follows RFC 3168 and writes ECT(0)",
        {"tun-ipip": ["TOS 03", "TOS bb", "TOS ff", "1440 after frag needed"],
         "v6-tun-46": ["TOS 03", "TOS ff"], "v6-tun-64": ["class 03", "class ff"],
         "v6-tun-66": ["class 03", "class ff"]}, with_ce_outside),
    Difference(
        "reuse-of-closing", "D53", "a SYN on any closing flow is scheduled anew; IPVS does that in "
        "TIME_WAIT and CLOSE only",
        {"edge-reuse": ["DR FIN_WAIT: SYN again", "DR FIN_WAIT: ACK after it"]
         + ["DR CLOSE: " + what for what in ("first SYN", "A", "R", "SYN again", "ACK after it")]
         + ["DR TIME_WAIT: " + what for what in ("first SYN", "FA", "SYN again", "ACK after it")]
         + ["NAT FIN_WAIT: SYN again", "NAT CLOSE_WAIT: first SYN", "NAT CLOSE_WAIT: packet 0 A",
            "NAT CLOSE_WAIT: packet 1 FA"]}, other_server,
        {"edge-reuse": ["flows", "servers"]}, reused_elsewhere,
        counts={"edge-reuse": {_DR + ("10.1.0.11:80",): (1, 1, 0, 40, 0),
                               _DR + ("10.1.0.12:80",): (0, -1, 0, -40, 0),
                               _NAT + ("10.1.0.11:8080",): (1, 2, 0, 80, 0),
                               _NAT + ("10.1.0.12:8080",): (1, -2, 0, -80, 0)}}),
    Difference(
        "gone-server", "D54, D59", "a SYN or datagram for a deleted server is scheduled at once, "
        "and the flow then stays there; IPVS drops it until the flow expires",
        {"edge-drain": ["deleted: UDP goes on", "deleted: SYN on the established connection",
                        "deleted: DR's FIN", "back: DR goes on", "back: UDP goes on"]}, to_first,
        {"edge-drain": ["flows", "servers"]}, moved_from_gone,
        counts={"edge-drain": {_DR + ("10.1.0.11:80",): (1, 3, 0, 124, 0),
                               _DR + ("10.1.0.12:80",): (0, -1, 0, -44, 0),
                               # The service counts an answer of its deleted server.
                               _NAT + (None,): (0, 0, 1, 0, 40),
                               _UDP + ("10.1.0.11:53",): (1, 2, 0, 58, 0),
                               _UDP + ("10.1.0.12:53",): (0, -1, 0, -29, 0)}}),
    Difference(
        "answer-without-flow", "D56", "a NAT server's segment without a flow is rewritten from the "
        "configuration; IPVS routes it as it is",
        {"nat-tcp": ["answer without a connection"]}, from_vip,
        counts={"nat-tcp": {_DR + ("10.1.0.11:8080",): (0, 0, 1, 0, 40)}}),
    Difference(
        "close-wait", "D58", "a download goes on after the client's FIN for as long as a FIN "
        "timeout (120 s); IPVS forgets it after 60 s of silence",
        tables={n: ["flows"] for n in ("nat-tcp", "v6-nat", "edge-reuse", "lc-active")},
        expect_rows=close_wait_as_fin),
    Difference(
        "fragments-pass", "D26", "fragments follow their first one as they come; IPVS reassembles, "
        "schedules and fragments again",
        counts={"fragments": {_UDP + ("10.1.0.11:53",): (0, 1, 0, 20, 0),
                              _UDP + ("10.1.0.12:53",): (0, 10, 0, 800, 0),
                              ("udp 10.9.9.9:54", "10.1.0.11:5300"): (0, 1, 0, 20, 0),
                              ("udp 10.9.9.9:54", "10.1.0.12:5300"): (0, 9, 1, 180, 20)},
                "v6-fragments": {_UDP6 + ("[fd00:1::12]:53",): (0, 2, 0, 120, 0),
                                 ("udp [fd00:9::9]:54", "[fd00:1::12]:5300"): (0, 2, 1, 120, 56)},
                "tun-udp-big": {_UDP + ("10.1.0.12:53",): (0, 2, 0, 40, 0)}},
        whole=("fragments", "v6-fragments", "tun-udp-big")),
    Difference(
        "tiny-first-fragment", "D29", "RFC 1858: a first fragment without the whole L4 header is "
        "dropped, and the rest with it",
        tables={"fragments": ["flows"]}, expect_rows=without_clients("172.16.0.9:40005"),
        counts={"fragments": {_DR + ("10.1.0.12:80",): (-1, -1, 0, -40, 0)}},
        lacking={"fragments": lambda packet: packet[2][9] == F.TCP}),
]


def of_step(name, note):
    """The difference that a step is listed under, or None."""
    return next((d for d in ALL if note in d.steps.get(name, ())), None)


def of_table(name, show):
    """All differences that a table is listed under."""
    return [d for d in ALL if show in d.tables.get(name, ())
            or show == "counters" and name in d.counts]


def table(name, show, rows):
    """What Weir must show where IPVS shows `rows`."""
    for difference in of_table(name, show):
        if show == "counters":
            rows = [_counted(difference.counts[name], row) for row in rows]
        else:
            rows = difference.expect_rows(rows)
    return rows


def _counted(counts, row):
    """A row of counters with the differences of a server, or of all servers of a service."""
    for (service, server), more in counts.items():
        if service == row[0] and row[1] in (server, None):
            row = row[:2] + [a + b for a, b in zip(row[2:], more)]
    return row


def of_whole(name, packets):
    """What Weir must have sent where IPVS sent these packets, made whole."""
    for difference in ALL:
        if name in difference.lacking:
            packets = [p for p in packets if not difference.lacking[name](p)]
    return packets


def compared_whole(name):
    return next((d for d in ALL if name in d.whole), None)
