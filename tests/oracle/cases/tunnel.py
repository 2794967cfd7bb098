"""IP in IP: outer header fields, sizes around the MTU, all four family pairs."""
import frames as F
from cases import case
from scenario import RIPS, RIPS6, VIP, VIP6, Client, Scenario, service

ACK = {"seq": 1001, "ack": 5001}


def _open(s, c):
    s.wan(c.tcp("S"), "SYN")
    s.wan(c.tcp("A", **ACK), "ACK")


@case("tun-ipip", "TUN 4-in-4: ECN and DSCP, DF, ids, TTL, padding, sizes around the MTU")
def tun_ipip(name, about):
    s = Scenario(name, about, [service("web", RIPS[:2], mode="tunnel")])
    c = Client()
    _open(s, c)
    for tos in (0x01, 0x02, 0x03, 0xB8, 0xBB, 0xFF):
        s.wan(c.tcp("A", **ACK, ip={"tos": tos}), "TOS %02x" % tos)
    s.wan(c.tcp("A", **ACK, ip={"id": 0x1234}), "DF with an id")
    s.wan(c.tcp("A", **ACK, ip={"id": 0x4321, "df": False}), "DF clear")
    s.wan(c.tcp("A", **ACK, ip={"id": 0x4322, "df": False}), "DF clear again")
    for ttl in (255, 17, 2, 1):
        s.wan(c.tcp("A", **ACK, ip={"ttl": ttl}), "TTL %d" % ttl)
    s.wan(c.tcp("A", **ACK), "Ethernet padding to 60", pad_to=60)
    s.wan(c.tcp("A", **ACK), "trailing octets to 90", pad_to=90)
    s.wan(F.patch(c.tcp("A", **ACK), 36, b"\xde\xad"), "wrong TCP checksum")
    s.wan(F.patch(c.tcp("A", **ACK), 10, b"\xde\xad"), "wrong IP checksum")
    s.wan(c.tcp("A", **ACK, ip={"options": b"\x94\x04\0\0"}), "router alert option")
    for size in (1479, 1480, 1481, 1500):
        body = b"m" * (size - 40)
        s.wan(c.tcp("PA", **ACK, data=body, ip={"id": 0x77}), "%d octets, DF" % size)
        s.wan(c.tcp("PA", **ACK, data=body, ip={"id": 0x78, "df": False}),
              "%d octets, DF clear" % size)
    s.wan(c.tcp("PA", **ACK, data=b"m" * 1400, ip={"tos": 0xBB}), "1440 after frag needed")
    s.wan(c.tcp("PA", **ACK, data=b"m" * 1441, ip={"tos": 0xBB}), "1481 octets with TOS")
    s.wan(c.tcp("FA", **ACK), "FIN")
    s.wan(F.ipv4("172.16.0.5", VIP, F.IPIP, c.tcp("A", **ACK)), "IPIP to the VIP")
    s.flows()
    s.counters()
    return s


@case("tun-udp-big", "TUN 4-in-4: client fragments, and UDP around the MTU")
def tun_udp_big(name, about):
    s = Scenario(name, about, [service("dns", RIPS[:2], port=53, protocol="udp", mode="tunnel")])
    c = Client(port=53)
    for size in (1480, 1481, 1500):
        s.wan(c.udp(b"u" * (size - 28), ip={"df": False, "id": size}), "%d octets, DF clear" % size)
        s.wan(c.udp(b"u" * (size - 28), ip={"id": size}), "%d octets, DF" % size)
    whole = c.udp(bytes(range(250)) * 10, ip={"df": False, "id": 0xABCD})
    for i, piece in enumerate(F.fragments4(whole, 1480)):
        s.wan(piece, "fragment %d of a datagram of 2528 octets" % (i + 1))
    small = c.udp(b"s" * 500, ip={"df": False, "id": 0xABCE})
    for i, piece in enumerate(F.fragments4(small, 256)):
        s.wan(piece, "fragment %d of a datagram of 528 octets" % (i + 1))
    s.counters()
    return s


@case("v6-tun-66", "TUN 6-in-6: class, label, hop limit, sizes around the MTU")
def v6_tun_66(name, about):
    s = Scenario(name, about, [service("web", RIPS6[:2], VIP6, mode="tunnel")])
    _v6_client(s, 1460)
    return s


@case("v6-tun-64", "TUN 6-in-4: IPv6 clients, servers with IPv4 addresses")
def v6_tun_64(name, about):
    s = Scenario(name, about, [service("web", RIPS[:2], VIP6, mode="tunnel")])
    _v6_client(s, 1480)
    return s


def _v6_client(s, fits):
    """`fits`: octets of the largest inner packet at MTU 1500."""
    c = Client("2001:db8::5", vip=VIP6)
    _open(s, c)
    for tclass in (0x01, 0x02, 0x03, 0xB8, 0xFF):
        s.wan(c.tcp("A", **ACK, ip={"tclass": tclass}), "class %02x" % tclass)
    s.wan(c.tcp("A", **ACK, ip={"label": 0xABCDE}), "flow label")
    for hops in (255, 17, 2, 1):
        s.wan(c.tcp("A", **ACK, ip={"hops": hops}), "hop limit %d" % hops)
    s.wan(c.tcp("A", **ACK), "trailing octets to 90", pad_to=90)
    s.wan(F.patch(c.tcp("A", **ACK), 56, b"\xde\xad"), "wrong TCP checksum")
    for size in (fits - 1, fits, fits + 1, 1500):
        s.wan(c.tcp("PA", **ACK, data=b"m" * (size - 60)), "%d octets" % size)
    s.wan(c.tcp("FA", **ACK), "FIN")
    s.flows()
    s.counters()


@case("v6-tun-46", "TUN 4-in-6: IPv4 clients, servers with IPv6 addresses")
def v6_tun_46(name, about):
    s = Scenario(name, about, [service("web", RIPS6[:2], mode="tunnel")])
    c = Client()
    _open(s, c)
    for tos in (0x01, 0x02, 0x03, 0xB8, 0xFF):
        s.wan(c.tcp("A", **ACK, ip={"tos": tos}), "TOS %02x" % tos)
    s.wan(c.tcp("A", **ACK, ip={"id": 0x4321, "df": False}), "DF clear")
    for ttl in (255, 17, 2, 1):
        s.wan(c.tcp("A", **ACK, ip={"ttl": ttl}), "TTL %d" % ttl)
    s.wan(c.tcp("A", **ACK), "Ethernet padding to 60", pad_to=60)
    for size in (1459, 1460, 1461, 1500):
        body = b"m" * (size - 40)
        s.wan(c.tcp("PA", **ACK, data=body), "%d octets, DF" % size)
        s.wan(c.tcp("PA", **ACK, data=body, ip={"id": 0x78, "df": False}),
              "%d octets, DF clear" % size)
    s.wan(c.tcp("FA", **ACK), "FIN")
    s.flows()
    s.counters()
    return s
