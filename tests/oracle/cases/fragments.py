"""Client fragments: order, NAT, what a later fragment does when it is first."""
import frames as F
from cases import case
from scenario import RIPS, RIPS6, VIP6, Client, Scenario, server, service


def _datagram(c, id, size=1200):
    return c.udp(bytes(range(200)) * (size // 200), ip={"df": False, "id": id})


def _orders(s, text, c, others):
    """One datagram in pieces, in several orders, then its neighbours."""
    for i, order in enumerate(((0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2))):
        pieces = F.fragments4(_datagram(c, 0x1000 + i), 400, 408)
        for n, k in enumerate(order):
            s.wan(pieces[k], "%s: order %s piece %d" % (text, "".join(map(str, order)), n + 1))
    for i, other in enumerate(others):
        pieces = F.fragments4(_datagram(other, 0x2000 + i), 600)
        s.wan(pieces[0], "%s: other client %d, first" % (text, i))
        s.wan(pieces[1], "%s: other client %d, last" % (text, i))


@case("fragments", "IPv4 fragments in DR, NAT and TUN, in every order; overlap, tiny, alone")
def fragments(name, about):
    s = Scenario(name, about, [
        service("dr", RIPS[:2], port=53, protocol="udp"),
        service("nat", [server(r, 5300) for r in RIPS[:2]], port=54, protocol="udp", mode="nat"),
        service("web", RIPS[:2])])
    _orders(s, "DR", Client(port=53), [Client("172.16.0.6", 40002, port=53)])
    _orders(s, "NAT", Client(port=54), [Client("172.16.0.6", 40002, port=54)])
    for text, port in (("DR", 53), ("NAT", 54)):
        c = Client("172.16.0.8", 40004, port=port)
        first, second = F.fragments4(_datagram(c, 0x3001), 600)
        s.wan(first, "%s: first of two" % text)
        s.wan(first, "%s: first again" % text)
        s.wan(second, "%s: second of two" % text)
        first, second = F.fragments4(_datagram(c, 0x3002), 600)
        s.wan(first, "%s: first, then overlap" % text)
        s.wan(F.ipv4_summed(F.patch(second, 6, b"\0\x40")), "%s: overlapping piece" % text)
    answers = F.fragments4(Client(port=54, server_port=5300).reply_udp(
        12, b"a" * 1000, ip={"df": False, "id": 0x4000}), 504)
    s.lan(12, answers[0], "NAT: first piece of an answer")
    s.lan(12, answers[1], "NAT: last piece of an answer")
    c = Client("172.16.0.9", 40005)
    tiny = F.fragments4(c.tcp("S", ip={"df": False, "id": 0x5000}), 8)
    s.wan(tiny[0], "TCP: tiny first fragment")
    s.wan(tiny[1], "TCP: the rest of it")
    one = F.fragments4(_datagram(Client("172.16.0.10", port=53), 0x6000), 600)[1]
    s.wan(one, "a last piece alone")
    s.flows()
    s.counters()
    return s


@case("v6-fragments", "IPv6 fragments in DR and NAT: in order, reversed, atomic")
def v6_fragments(name, about):
    s = Scenario(name, about, [
        service("dr", RIPS6[:2], VIP6, 53, "udp"),
        service("nat", [server(r, 5300) for r in RIPS6[:2]], VIP6, 54, "udp", mode="nat")])
    for text, port in (("DR", 53), ("NAT", 54)):
        c = Client("2001:db8::5", vip=VIP6, port=port, server_port=5300)
        whole = c.udp(bytes(range(200)) * 6)
        for i, order in enumerate(((0, 1), (1, 0))):
            pieces = F.fragments6(whole, 0x1000 + i, 608)
            for k in order:
                s.wan(pieces[k], "%s: order %d%d piece %d" % (text, *order, k))
        s.wan(F.fragments6(c.udp(b"whole"), 0x2000)[0], "%s: atomic fragment" % text)
    pieces = F.fragments6(c.reply_udp(12, b"a" * 1000), 0x3000, 504)
    s.lan(12, pieces[0], "NAT: first piece of an answer")
    s.lan(12, pieces[1], "NAT: last piece of an answer")
    s.flows()
    s.counters()
    return s
