"""TCP through DR and NAT: what is rewritten, what passes, what is dropped."""
import struct

import frames as F
from cases import case
from scenario import RIPS, RIPS6, VIP, VIP6, Client, Scenario, server, service

# MSS 1460, SACK permitted, time stamps, NOP, window scale 7.
OPTIONS = bytes.fromhex("020405b40402080a000000010000000001030307")
REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def conversation(s, c):
    """A client's half of a connection: open, request, close."""
    s.wan(c.tcp("S", options=OPTIONS), "SYN with options")
    s.flows()
    s.wan(c.tcp("A", seq=1001, ack=5001), "ACK")
    s.flows()
    s.wan(c.tcp("PA", seq=1001, ack=5001, data=REQUEST), "request")
    s.wan(c.tcp("FA", seq=1019, ack=5100), "FIN")
    s.flows()
    s.wan(c.tcp("A", seq=1020, ack=5101), "last ACK")
    s.flows()


def both_ways(s, c, n):
    """A whole connection under NAT, with the answers of real server N."""
    s.wan(c.tcp("S", options=OPTIONS), "SYN with options")
    s.lan(n, c.reply_tcp(n, "SA", seq=5000, ack=1001, options=OPTIONS), "SYN+ACK")
    s.flows()
    s.wan(c.tcp("A", seq=1001, ack=5001), "ACK")
    s.flows()
    s.wan(c.tcp("PA", seq=1001, ack=5001, data=REQUEST), "request")
    s.lan(n, c.reply_tcp(n, "PA", seq=5001, ack=1019, data=b"answer" * 33), "answer")
    s.lan(n, c.reply_tcp(n, "A", seq=5199, ack=1019, data=b"q" * 1439), "answer, odd length")
    s.wan(c.tcp("FA", seq=1019, ack=6638), "client's FIN")
    s.flows()
    s.lan(n, c.reply_tcp(n, "FA", seq=6638, ack=1020), "server's FIN")
    s.flows()
    s.wan(c.tcp("A", seq=1020, ack=6639), "last ACK")
    s.flows()


def malformed(s, c):
    """Frames with one thing wrong each, on an established connection."""
    good = c.tcp("A", seq=1001, ack=5001)
    s.wan(F.patch(good, 36, b"\xde\xad"), "wrong TCP checksum")
    s.wan(F.patch(good, 10, b"\xde\xad"), "wrong IP checksum")
    s.wan(F.ipv4_summed(F.patch(good[:32], 2, b"\0\x20")), "TCP header cut to 12 octets")
    s.wan(F.ipv4_summed(F.patch(good[:20], 2, b"\0\x14")), "no TCP header at all")
    s.wan(good[:30], "total length beyond the frame")
    s.wan(F.ipv4_summed(F.patch(good, 0, b"\x44")), "IHL 4")
    s.wan(F.ipv4_summed(F.patch(good, 0, b"\x55")), "IP version 5")
    s.wan(F.patch(good, 32, b"\x10"), "TCP data offset 1")
    s.wan(F.patch(good, 32, b"\xf0"), "TCP data offset beyond the packet")
    s.wan(good, "Ethernet padding to 60 octets", pad_to=60)
    s.wan(good, "trailing octets to 90", pad_to=90)


@case("dr-tcp", "TCP through DR: a connection, RST, options, TTL, checksums, malformed frames")
def dr_tcp(name, about):
    s = Scenario(name, about, [service("web", RIPS[:2])])
    c = Client()
    conversation(s, c)
    d = Client("172.16.0.6", 40002)
    s.wan(d.tcp("S"), "second client: SYN")
    s.wan(d.tcp("R", seq=1001), "second client: RST in SYN_RECV")
    s.flows()
    e = Client("172.16.0.7", 40003)
    s.wan(e.tcp("S"), "third client: SYN")
    s.wan(e.tcp("A", seq=1001, ack=5001), "third client: ACK")
    malformed(s, e)
    s.wan(e.tcp("A", seq=1001, ack=5001, ip={"ttl": 2}), "TTL 2")
    s.wan(e.tcp("A", seq=1001, ack=5001, ip={"ttl": 1}), "TTL 1")
    s.wan(e.tcp("A", seq=1001, ack=5001, ip={"ttl": 0}), "TTL 0")
    s.wan(e.tcp("A", seq=1001, ack=5001, ip={"tos": 0xB9, "id": 0x1234, "df": False}), "TOS, id")
    s.wan(e.tcp("A", seq=1001, ack=5001, ip={"options": b"\x94\x04\0\0"}), "router alert option")
    s.wan(e.tcp("A", seq=1001, ack=5001, ip={"options": b"\x07\x0b\x04" + bytes(9)}),
          "record route option")
    s.wan(e.tcp("A", seq=1001, ack=5001, ip={"options": b"\x83\x07\x04\x0a\x01\x00\x0b\0"}),
          "loose source route option")
    s.wan(e.tcp("PA", seq=1001, ack=5001, data=b"m" * 1460), "1500 octets")
    s.wan(e.tcp("PA", seq=2461, ack=5001, data=b"o" * 99), "odd length")
    s.wan(e.tcp("R", seq=2560), "third client: RST when established")
    s.flows()
    f = Client("172.16.0.8", 40004)
    s.wan(f.tcp("S", ip={"ttl": 1}), "SYN with TTL 1")
    s.flows()
    s.servers()
    s.counters()
    return s


@case("nat-tcp", "TCP through NAT both ways, port 80 to 8080: states, checksums, malformed frames")
def nat_tcp(name, about):
    s = Scenario(name, about, [service("web", [server(r, 8080) for r in RIPS[:2]], mode="nat")])
    c = Client(server_port=8080)
    both_ways(s, c, 12)
    d = Client("172.16.0.6", 40002, server_port=8080)
    s.wan(d.tcp("S"), "second client: SYN")
    s.lan(11, d.reply_tcp(11, "RA", ack=1001), "second client: server's RST")
    s.flows()
    e = Client("172.16.0.7", 40003, server_port=8080)
    s.wan(e.tcp("S"), "third client: SYN")
    s.lan(12, e.reply_tcp(12, "SA", seq=5000, ack=1001), "third client: SYN+ACK")
    s.wan(e.tcp("A", seq=1001, ack=5001), "third client: ACK")
    malformed(s, e)
    answer = e.reply_tcp(12, "A", seq=5001, ack=1001)
    s.lan(12, F.patch(answer, 36, b"\xbe\xef"), "wrong TCP checksum in the answer")
    s.lan(12, answer, "answer with padding", pad_to=60)
    s.lan(12, e.reply_tcp(12, "A", seq=5001, ack=1001, ip={"ttl": 1}), "answer with TTL 1")
    s.wan(e.tcp("A", seq=1001, ack=5001, ip={"ttl": 1}), "TTL 1")
    s.lan(12, e.reply_tcp(12, "FA", seq=5001, ack=1001), "third client: server's FIN first")
    s.flows()
    s.wan(e.tcp("FA", seq=1001, ack=5002), "third client: client's FIN second")
    s.flows()
    f = Client("172.16.0.99", 40009, server_port=8080)
    s.lan(11, f.reply_tcp(11, "SA", seq=1, ack=1), "answer without a connection")
    g = Client("172.16.0.8", 40004, server_port=8080)
    s.wan(g.tcp("S"), "fourth client: SYN")
    s.wan(g.tcp("R", seq=1001), "fourth client: RST in SYN_RECV")
    s.flows()
    h = Client("172.16.0.9", 40005, server_port=8080)
    s.wan(h.tcp("S"), "fifth client: SYN")
    s.lan(12, h.reply_tcp(12, "SA", seq=5000, ack=1001), "fifth client: SYN+ACK")
    s.wan(h.tcp("A", seq=1001, ack=5001), "fifth client: ACK")
    s.wan(h.tcp("R", seq=1001), "fifth client: RST when established")
    s.flows()
    s.servers()
    s.counters()
    return s


@case("nat-corners", "NAT checksum corners: sums that become 0x0000 and 0xffff")
def nat_corners(name, about):
    s = Scenario(name, about, [
        service("web", [server(RIPS[0], 8080)], mode="nat"),
        service("dns", [server(RIPS[0], 5300)], port=53, protocol="udp", mode="nat")])
    c = Client(server_port=8080)
    u = Client(port=53, server_port=5300)
    s.wan(c.tcp("S"), "SYN")
    for target in (0x0000, 0x0001, 0xFFFE, 0xFFFF):
        s.wan(_tuned(c.tcp("PA", seq=1001, ack=5001, data=b"\0\0"), 36, target),
              "TCP checksum %04x in" % target)
        s.lan(11, _tuned(c.reply_tcp(11, "PA", seq=5001, ack=1001, data=b"\0\0"), 36, target),
              "TCP checksum %04x from the server" % target)
    for target in (0x0001, 0xFFFE, 0xFFFF):
        s.wan(_tuned(u.udp(b"\0\0"), 26, target), "UDP checksum %04x in" % target)
        s.lan(11, _tuned(u.reply_udp(11, b"\0\0"), 26, target),
              "UDP checksum %04x from the server" % target)
    # The sum after the rewrite is 0, which UDP must send as 0xffff.
    rewritten = F.ipv4(u.address, RIPS[0], F.UDP, F.udp(u.address, RIPS[0], u.sport, 5300, b"\0\0"))
    filler = _tuned(rewritten, 26, 0xFFFF)[-2:]
    s.wan(u.udp(filler), "UDP checksum that becomes 0 in the rewrite")
    return s


def _tuned(packet, offset, target):
    """The packet with its last two octets chosen so that the checksum at
    `offset` is right when it reads `target`. Its payload ends in two zeroes."""
    now = struct.unpack("!H", packet[offset:offset + 2])[0]
    # ~sum is kept: what the checksum loses the payload gains.
    word = (now - target) % 0xFFFF
    return F.patch(F.patch(packet, offset, struct.pack("!H", target)),
                   len(packet) - 2, struct.pack("!H", word))


@case("v6-dr", "IPv6 TCP and UDP through DR: hop limit, traffic class, extension headers")
def v6_dr(name, about):
    s = Scenario(name, about, [service("web", RIPS6[:2], VIP6),
                               service("dns", RIPS6[:2], VIP6, 53, "udp")])
    c = Client("2001:db8::5", vip=VIP6)
    conversation(s, c)
    ack = {"seq": 1001, "ack": 5001}
    d = Client("2001:db8::6", 40002, vip=VIP6)
    s.wan(d.tcp("S"), "second client: SYN")
    s.wan(d.tcp("A", **ack, ip={"hops": 2, "tclass": 0xB9, "label": 0xABCDE}), "class and label")
    s.wan(d.tcp("A", **ack, ip={"hops": 1}), "hop limit 1")
    s.wan(F.patch(d.tcp("A", **ack), 56, b"\xde\xad"), "wrong TCP checksum")
    s.wan(d.tcp("A", **ack)[:50], "payload length beyond the frame")
    s.wan(d.tcp("A", **ack), "trailing octets to 90", pad_to=90)
    s.wan(d.tcp("PA", **ack, data=b"m" * 1440), "1500 octets")
    s.wan(_extended(d.tcp("A", **ack), 0, b"\0\0\x01\x04\0\0\0\0"), "hop-by-hop options header")
    s.wan(_extended(d.tcp("A", **ack), 60, b"\0\0\x01\x04\0\0\0\0"), "destination options header")
    s.wan(_extended(d.tcp("A", **ack), 43, b"\0\0\0\x01\0\0\0\0"), "routing header type 0")
    u = Client("2001:db8::7", 40003, vip=VIP6, port=53)
    s.wan(u.udp(b"query"), "UDP")
    s.wan(u.udp(b"query", zero_checksum=True), "UDP checksum 0")
    s.flows()
    s.servers()
    s.counters()
    return s


def _extended(packet, kind, header):
    """The packet with an 8-octet extension header put in."""
    header = packet[6:7] + header[1:]
    return F.patch(packet[:40], 4, struct.pack("!HB", len(packet) - 40 + 8, kind)) \
        + header + packet[40:]


@case("v6-nat", "IPv6 TCP and UDP through NAT both ways, port 80 to 8080")
def v6_nat(name, about):
    s = Scenario(name, about, [
        service("web", [server(r, 8080) for r in RIPS6[:2]], VIP6, mode="nat"),
        service("dns", [server(r, 5300) for r in RIPS6[:2]], VIP6, 53, "udp", mode="nat")])
    c = Client("2001:db8::5", vip=VIP6, server_port=8080)
    both_ways(s, c, 12)
    s.wan(c.tcp("A", seq=1020, ack=6639, ip={"hops": 1}), "hop limit 1")
    s.lan(12, c.reply_tcp(12, "A", seq=6639, ack=1020, ip={"hops": 1}), "answer with hop limit 1")
    u = Client("2001:db8::7", 40003, vip=VIP6, port=53, server_port=5300)
    s.wan(u.udp(b"query"), "UDP")
    s.lan(12, u.reply_udp(12, b"reply!"), "UDP answer")
    s.wan(u.udp(b"query", zero_checksum=True), "UDP checksum 0")
    s.flows()
    s.counters()
    return s


@case("mtu", "a smaller MTU towards the servers: DR and NAT, both families, DF set and clear")
def mtu(name, about):
    s = Scenario(name, about, [
        service("dr", RIPS[:2]), service("nat", RIPS[:2], port=81, mode="nat"),
        service("dr6", RIPS6[:2], VIP6), service("nat6", RIPS6[:2], VIP6, 81, mode="nat")],
        lan_mtu=1400)
    ack = {"seq": 1001, "ack": 5001}
    for text, address, vip, port, head in (
            ("DR", "172.16.0.5", VIP, 80, 40), ("NAT", "172.16.0.5", VIP, 81, 40),
            ("DR v6", "2001:db8::5", VIP6, 80, 60), ("NAT v6", "2001:db8::5", VIP6, 81, 60)):
        c = Client(address, vip=vip, port=port)
        s.wan(c.tcp("S"), "%s: SYN" % text)
        for size in (1400, 1401, 1500):
            data = b"m" * (size - head)
            s.wan(c.tcp("A", **ack, data=data), "%s: %d octets" % (text, size))
            if vip == VIP:
                s.wan(c.tcp("A", **ack, data=data, ip={"df": False, "id": size}),
                      "%s: %d octets, DF clear" % (text, size))
    s.counters()
    return s
