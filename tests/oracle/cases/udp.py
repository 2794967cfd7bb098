"""UDP: DR, NAT both ways, TUN; checksum 0, expiry, length mistakes."""
import struct

import frames as F
from cases import case
from scenario import RIPS, Client, Scenario, server, service


@case("udp", "UDP through DR, NAT and TUN: checksum 0, padding, lengths, TTL")
def udp(name, about):
    s = Scenario(name, about, [
        service("dr", RIPS[:2], port=53, protocol="udp"),
        service("nat", [server(r, 5300) for r in RIPS[:2]], port=5353, protocol="udp", mode="nat"),
        service("tun", RIPS[:2], port=5354, protocol="udp", mode="tunnel")])
    for port, text in ((53, "DR"), (5353, "NAT"), (5354, "TUN")):
        c = Client(port=port, server_port=5300)
        s.wan(c.udp(b"q1"), "%s: first" % text)
        s.wan(c.udp(b"q22"), "%s: second, odd length" % text)
        s.wan(Client("172.16.0.6", 40002, port=port).udp(b"q"), "%s: other client" % text)
        s.wan(c.udp(b"q1", zero_checksum=True), "%s: checksum 0" % text)
        s.wan(F.patch(c.udp(b"q1"), 26, b"\xde\xad"), "%s: wrong checksum" % text)
        s.wan(c.udp(b""), "%s: empty" % text)
        s.wan(c.udp(b"q"), "%s: padded to 60" % text, pad_to=60)
        s.wan(F.patch(c.udp(b"q1"), 24, struct.pack("!H", 7)), "%s: UDP length 7" % text)
        s.wan(F.patch(c.udp(b"q1"), 24, struct.pack("!H", 99)), "%s: UDP length 99" % text)
        s.wan(F.ipv4_summed(F.patch(c.udp(b"q1")[:24], 2, b"\0\x18")),
              "%s: header cut to 4 octets" % text)
        s.wan(c.udp(b"q1", ip={"ttl": 1}), "%s: TTL 1" % text)
        s.wan(c.udp(b"q1", ip={"tos": 0x2E << 2 | 1, "id": 99, "df": False}), "%s: DSCP" % text)
    c = Client(port=5353, server_port=5300)
    s.lan(12, c.reply_udp(12, b"a1"), "NAT: answer")
    s.lan(12, c.reply_udp(12, b"a1", zero_checksum=True), "NAT: answer with checksum 0")
    s.lan(12, F.patch(c.reply_udp(12, b"a1"), 26, b"\xbe\xef"), "NAT: answer, wrong checksum")
    s.lan(11, Client("172.16.0.99", port=5353, server_port=5300).reply_udp(11, b"a1"),
          "NAT: answer without a flow")
    s.flows()
    s.servers()
    s.counters()
    return s


@case("udp-expiry", "UDP flows end after their timeout: the next datagram is scheduled anew")
def udp_expiry(name, about):
    s = Scenario(name, about, [service("dns", RIPS[:2], port=53, protocol="udp")],
                 timeouts=[900, 120, 2])
    c = Client(port=53)
    s.wan(c.udp(b"q1"), "first")
    s.wan(c.udp(b"q2"), "second, at once")
    s.servers()
    s.wait(4)
    s.flows()
    s.servers()
    s.wan(c.udp(b"q3"), "after the timeout")
    s.flows()
    return s
