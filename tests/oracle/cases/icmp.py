"""ICMP errors about flows (both directions), echo, and what is not an error.

"From the client's side" is an error that a router sends towards the VIP about a
packet that went VIP > client. "From the server's side" is an error that a real
server, or a router behind it, sends to the client about client > server.
"""
import frames as F
from cases import case
from scenario import RIPS, RIPS6, VIP, VIP6, Client, Scenario, server, service

ROUTER, ROUTER6 = "172.16.99.1", "2001:db8:99::1"
LAN_ROUTER, LAN_ROUTER6 = "10.1.0.13", "fd00:1::13"

# (name, type, code, rest)
KINDS = (("fragmentation needed", 3, 4, 1400), ("port unreachable", 3, 3, 0),
         ("host unreachable", 3, 1, 0), ("time exceeded", 11, 0, 0),
         ("reassembly time exceeded", 11, 1, 0), ("parameter problem", 12, 0, 20 << 24),
         ("source quench", 4, 0, 0), ("redirect", 5, 1, 0x0A000001))
KINDS6 = (("packet too big", 2, 0, 1400), ("port unreachable", 1, 4, 0),
          ("no route", 1, 0, 0), ("time exceeded", 3, 0, 0), ("parameter problem", 4, 0, 6))


def error4(src, dst, kind, code, rest, quoted, octets=28, **ip):
    return F.ipv4(src, dst, F.ICMP, F.icmp4(kind, code, rest, quoted[:octets]), **ip)


def error6(src, dst, kind, code, rest, quoted, octets=1232, **ip):
    return F.ipv6(src, dst, F.ICMP6, F.icmp6(src, dst, kind, code, rest, quoted[:octets]), **ip)


def to_client(c, vip=VIP, ttl=60, data=b"d" * 100):
    """What a router on the way to the client saw: VIP > client."""
    head = F.tcp(vip, c.address, c.port, c.sport, "PA", seq=5001, ack=1001, data=data)
    return F.ipv4(vip, c.address, F.TCP, head, ttl=ttl)


def to_server(c, rip, port, ttl=60):
    """What a real server or a router in front of it saw: client > server."""
    body = F.tcp(c.address, rip, c.sport, port, "A", seq=1001, ack=5001)
    return F.ipv4(c.address, rip, F.TCP, body, ttl=ttl)


def _echoes(s, vip):
    for size in (0, 1, 56, 1472):
        s.wan(F.ipv4("172.16.0.5", vip, F.ICMP, F.icmp4(8, 0, 0x10001, b"e" * size)),
              "echo of %d octets" % size)
    s.wan(F.ipv4("172.16.0.5", vip, F.ICMP, F.icmp4(8, 0, 0x10002, b"e" * 56), tos=0xB8, ttl=1,
                 id=7, df=False), "echo with TTL 1 and a TOS")
    s.wan(F.ipv4("172.16.0.5", vip, F.ICMP, F.patch(F.icmp4(8, 0, 0x10003, b"e" * 56), 2, b"xx")),
          "echo with a wrong checksum")
    s.wan(F.ipv4("172.16.0.5", vip, F.ICMP, F.icmp4(8, 0, 0x10004, b"e" * 8), options=b"\1" * 4),
          "echo with IP options")
    s.wan(F.ipv4("172.16.0.5", vip, F.ICMP, F.icmp4(0, 0, 0x10005, b"e" * 8)), "echo reply")
    s.wan(F.ipv4("172.16.0.5", vip, F.ICMP, F.icmp4(42, 0, 0, b"?" * 8)), "unknown ICMP type")


@case("dr-icmp", "DR: ICMP errors about flows reach the flow's server; echo to the VIP")
def dr_icmp(name, about):
    s = Scenario(name, about, [service("web", RIPS[:2])])
    c, d = Client(), Client("172.16.0.6", 40002)
    stranger = Client("172.16.0.77", 40077)
    for who, text in ((c, "first"), (d, "second")):
        s.wan(who.tcp("S"), "%s client: SYN" % text)
        s.wan(who.tcp("A", seq=1001, ack=5001), "%s client: ACK" % text)
    s.flows()
    for text, kind, code, rest in KINDS:
        s.wan(error4(ROUTER, VIP, kind, code, rest, to_client(d)), "%s" % text)
    quote = to_client(d)
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, quote, 128), "frag needed quoting 128 octets")
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, quote, 24), "frag needed quoting 4 octets of TCP")
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, quote, 20), "frag needed quoting no TCP")
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, quote, 12), "frag needed quoting half an IP header")
    s.wan(error4(ROUTER, VIP, 3, 4, 0, quote), "frag needed with MTU 0")
    s.wan(error4(ROUTER, VIP, 3, 4, 60, quote), "frag needed with MTU 60")
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, F.patch(quote, 10, b"xx")), "wrong checksum in the quote")
    bad = error4(ROUTER, VIP, 3, 4, 1400, quote)
    s.wan(F.patch(bad, 22, b"xx"), "wrong ICMP checksum")
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, quote, ttl=1), "error with TTL 1")
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, quote, tos=0xC0, id=0x5555, df=False), "error with TOS")
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, to_client(stranger)), "about no flow")
    s.wan(error4(ROUTER, VIP, 3, 3, 0, F.patch(quote, 9, b"\x84")), "about an unknown protocol")
    later = F.ipv4_summed(F.patch(quote, 6, b"\0\x10"))
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, later), "about a later fragment")
    s.lan(11, error4(RIPS[0], c.address, 3, 3, 0, to_server(d, VIP, 80)),
          "from the server's side, routed through")
    s.flows()
    _echoes(s, VIP)
    s.counters()
    return s


@case("nat-icmp", "NAT: ICMP errors both ways, rewritten outside and inside")
def nat_icmp(name, about):
    s = Scenario(name, about, [service("web", [server(r, 8080) for r in RIPS[:2]], mode="nat")])
    c = Client(server_port=8080)
    s.wan(c.tcp("S"), "SYN")
    s.lan(12, c.reply_tcp(12, "SA", seq=5000, ack=1001), "SYN+ACK")
    s.wan(c.tcp("A", seq=1001, ack=5001), "ACK")
    for text, kind, code, rest in KINDS:
        s.wan(error4(ROUTER, VIP, kind, code, rest, to_client(c)), "client side: %s" % text)
        s.lan(12, error4(RIPS[1], c.address, kind, code, rest, to_server(c, RIPS[1], 8080)),
              "server side: %s" % text)
    for octets, text in ((140, "a whole segment"), (40, "a whole header"), (24, "4 octets of TCP"),
                         (20, "no TCP")):
        s.wan(error4(ROUTER, VIP, 3, 4, 1400, to_client(c), octets),
              "client side: quoting %s" % text)
        s.lan(12, error4(RIPS[1], c.address, 3, 3, 0, to_server(c, RIPS[1], 8080), octets),
              "server side: quoting %s" % text)
    s.lan(13, error4(LAN_ROUTER, c.address, 11, 0, 0, to_server(c, RIPS[1], 8080)),
          "server side: time exceeded from a router")
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, F.patch(to_client(c), 10, b"xx")),
          "client side: wrong IP checksum in the quote")
    s.wan(F.patch(error4(ROUTER, VIP, 3, 4, 1400, to_client(c)), 22, b"xx"),
          "client side: wrong ICMP checksum")
    s.lan(12, F.patch(error4(RIPS[1], c.address, 3, 3, 0, to_server(c, RIPS[1], 8080)), 22, b"xx"),
          "server side: wrong ICMP checksum")
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, to_client(c), ttl=1), "client side: TTL 1")
    other = Client("172.16.0.77", 40077)
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, to_client(other)), "client side: about no flow")
    s.lan(12, error4(RIPS[1], c.address, 3, 3, 0, to_server(other, RIPS[1], 8080)),
          "server side: about no flow")
    s.flows()
    _echoes(s, VIP)
    s.counters()
    return s


@case("udp-icmp", "UDP in DR and NAT: port unreachable and frag needed about datagrams")
def udp_icmp(name, about):
    s = Scenario(name, about, [
        service("dr", RIPS[:2], port=53, protocol="udp"),
        service("nat", [server(r, 5300) for r in RIPS[:2]], port=5353, protocol="udp",
                mode="nat")])
    c, n = Client(port=53), Client("172.16.0.6", 40002, port=5353, server_port=5300)
    s.wan(c.udp(b"query"), "DR datagram")
    s.wan(n.udp(b"query"), "NAT datagram")
    s.lan(12, n.reply_udp(12, b"reply"), "NAT answer")
    for who, text in ((c, "DR"), (n, "NAT")):
        seen = F.ipv4(VIP, who.address, F.UDP,
                      F.udp(VIP, who.address, who.port, who.sport, b"reply"))
        s.wan(error4(ROUTER, VIP, 3, 3, 0, seen), "%s, client side: port unreachable" % text)
        s.wan(error4(ROUTER, VIP, 3, 4, 1400, seen), "%s, client side: frag needed" % text)
    unsummed = F.ipv4(VIP, n.address, F.UDP,
                      F.udp(VIP, n.address, 5353, n.sport, b"reply", zero_checksum=True))
    s.wan(error4(ROUTER, VIP, 3, 4, 1400, unsummed), "NAT, client side: quote with checksum 0")
    seen = F.ipv4(n.address, RIPS[1], F.UDP, F.udp(n.address, RIPS[1], n.sport, 5300, b"query"))
    s.lan(12, error4(RIPS[1], n.address, 3, 3, 0, seen, 33), "NAT, server side: port unreachable")
    s.flows()
    s.counters()
    return s


@case("v6-icmp", "IPv6 in DR and NAT: ICMPv6 errors both ways, echo to the VIP")
def v6_icmp(name, about):
    s = Scenario(name, about, [
        service("dr", RIPS6[:2], VIP6),
        service("nat", [server(r, 8080) for r in RIPS6[:2]], VIP6, 81, mode="nat")])
    c = Client("2001:db8::5", vip=VIP6)
    n = Client("2001:db8::6", 40002, vip=VIP6, port=81, server_port=8080)
    for who, text in ((c, "DR"), (n, "NAT")):
        s.wan(who.tcp("S"), "%s: SYN" % text)
        s.wan(who.tcp("A", seq=1001, ack=5001), "%s: ACK" % text)
    for who, text in ((c, "DR"), (n, "NAT")):
        seen = F.ipv6(VIP6, who.address, F.TCP,
                      F.tcp(VIP6, who.address, who.port, who.sport, "PA", data=b"d" * 1300))
        for word, kind, code, rest in KINDS6:
            s.wan(error6(ROUTER6, VIP6, kind, code, rest, seen), "%s: %s" % (text, word))
        s.wan(error6(ROUTER6, VIP6, 2, 0, 1400, seen, 48), "%s: quoting 8 octets of TCP" % text)
        s.wan(error6(ROUTER6, VIP6, 2, 0, 1400, seen, 60), "%s: quoting the header" % text)
        s.wan(error6(ROUTER6, VIP6, 2, 0, 1000, seen, 60), "%s: MTU below 1280" % text)
        s.wan(error6(ROUTER6, VIP6, 2, 0, 1400, seen, 60, hops=1), "%s: hop limit 1" % text)
    seen = F.ipv6(n.address, RIPS6[1], F.TCP,
                  F.tcp(n.address, RIPS6[1], n.sport, 8080, "A", seq=1001, ack=5001))
    for word, kind, code, rest in KINDS6:
        s.lan(12, error6(RIPS6[1], n.address, kind, code, rest, seen), "server side: %s" % word)
    s.lan(13, error6(LAN_ROUTER6, n.address, 3, 0, 0, seen), "server side: from a router")
    for size in (0, 1, 56, 1432):
        s.wan(F.ipv6("2001:db8::5", VIP6, F.ICMP6,
                     F.icmp6("2001:db8::5", VIP6, 128, 0, 0x10001, b"e" * size)),
              "echo of %d octets" % size)
    s.wan(F.ipv6("2001:db8::5", VIP6, F.ICMP6, F.icmp6("2001:db8::5", VIP6, 128, 0, 1, b"e" * 9),
                 tclass=0xB8, hops=1, label=0x12345), "echo with class, label and hop limit 1")
    s.flows()
    s.counters()
    return s
