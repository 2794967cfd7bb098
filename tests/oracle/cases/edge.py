"""Packets that start no flow, flows that outlive their server, reused ports."""
import frames as F
from cases import case
from scenario import RIPS, RIPS6, VIP, VIP6, Client, Scenario, server, service

ACK = {"seq": 1001, "ack": 5001}


@case("edge-unserved", "no service, no server, no connection: what is answered and how")
def edge_unserved(name, about):
    s = Scenario(name, about, [
        service("web", RIPS[:2]), service("empty", [], port=81),
        service("drained", [server(r, weight=0) for r in RIPS[:2]], port=82),
        service("drained-nat", [server(r, weight=0) for r in RIPS[:2]], port=83, mode="nat"),
        service("empty-udp", [], port=53, protocol="udp")])
    for port, text in ((9999, "port without a service"), (81, "service without servers"),
                       (82, "servers of weight 0"), (83, "NAT servers of weight 0")):
        c = Client(port=port)
        for flags in ("S", "A", "FA", "R", "SA", "PA"):
            extra = {"data": b"hello"} if flags == "PA" else {}
            s.wan(c.tcp(flags, seq=77, ack=99 if "A" in flags else 0, **extra),
                  "%s: %s" % (text, flags))
    c = Client()
    for flags in ("A", "PA", "FA"):
        s.wan(c.tcp(flags, seq=77, ack=99), "no connection: %s" % flags)
    s.wan(Client(port=9999).tcp("S", seq=77, data=b"xyz"), "port without a service: S with data")
    s.wan(Client(port=9999).tcp("FA", seq=77, ack=99, data=b"xyz"),
          "port without a service: FA with data")
    s.wan(Client(port=9999).tcp("S", ip={"ttl": 1, "tos": 0xB9, "id": 5, "df": False}),
          "port without a service: TTL 1, TOS, DF clear")
    s.wan(Client(port=9999).tcp("F", seq=77), "port without a service: F")
    s.wan(Client(port=9999).tcp("", seq=77), "port without a service: no flags")
    s.wan(F.patch(Client(port=9999).tcp("S"), 36, b"\xde\xad"),
          "port without a service: wrong checksum")
    for port, text in ((9999, "UDP port without a service"), (53, "UDP service without servers")):
        s.wan(Client(port=port).udp(b"q"), text)
        s.wan(Client(port=port).udp(b"q" * 600), "%s: 600 octets" % text)
        s.wan(Client(port=port).udp(b"q", ip={"ttl": 1, "tos": 0xBB}), "%s: TTL 1, TOS" % text)
        s.wan(Client(port=port).udp(b"q", zero_checksum=True), "%s: checksum 0" % text)
        s.wan(F.patch(Client(port=port).udp(b"q"), 26, b"\xde\xad"), "%s: wrong checksum" % text)
    s.wan(F.ipv4("172.16.0.5", VIP, 132, bytes(12)), "SCTP")
    s.wan(F.ipv4("172.16.0.5", VIP, 99, b"what?"), "unknown protocol")
    s.wan(F.ipv4("172.16.0.5", VIP, F.IPIP, c.tcp("S")), "IP in IP")
    s.flows()
    s.counters()
    return s


@case("edge-flags", "odd TCP flags to a served port: what makes a connection")
def edge_flags(name, about):
    # One server: what is not scheduled here must not move the next choice.
    s = Scenario(name, about, [service("web", RIPS[:1])])
    flags = ("", "F", "R", "P", "U", "FPU", "SF", "SR", "SFR", "SA", "SFA", "SRA", "SE", "SEC",
             "RA", "SFRPAU", "A")
    for i, f in enumerate(flags):
        s.wan(Client("172.16.0.%d" % (i + 10), 41000 + i).tcp(f, **ACK),
              "flags %s" % (f or "none"))
    s.wan(Client(sport=0).tcp("S"), "source port 0")
    s.wan(Client(port=0).tcp("S"), "destination port 0")
    s.wan(Client(sport=0).tcp("A", **ACK), "source port 0, ACK")
    s.wan(Client("172.16.0.60").tcp("S", data=b"early data"), "SYN with data")
    s.flows()
    s.servers()
    return s


@case("edge-sources", "sources and destinations that no client may use")
def edge_sources(name, about):
    s = Scenario(name, about, [service("web", RIPS[:1])])
    for src, text in ((VIP, "the VIP (LAND)"), ("10.0.0.1", "the director's own address"),
                      ("127.0.0.1", "loopback"), ("0.0.0.0", "zero"), ("224.0.0.1", "multicast"),
                      ("255.255.255.255", "broadcast"), ("240.0.0.1", "class E"),
                      ("169.254.1.1", "link local"), ("10.1.0.11", "a real server, on the WAN")):
        s.wan(Client(src).tcp("S"), "from %s" % text)
    packet = Client().tcp("S")
    mac = s.data["network"]["ports"][0]["mac"]
    for dst, text in (("ff:ff:ff:ff:ff:ff", "broadcast"), ("01:00:5e:00:00:01", "multicast"),
                      ("02:00:00:00:0f:0f", "someone else's"), (mac, "the port's")):
        s.send("wan0", F.ethernet(dst, "02:00:00:00:02:fe", packet), "to %s MAC" % text)
    s.lan(13, Client("10.1.0.13").tcp("S"), "a real server as client, on the LAN")
    s.flows()
    return s


@case("edge-unserved-v6", "IPv6: no service, no server, no connection")
def edge_unserved_v6(name, about):
    s = Scenario(name, about, [
        service("web", RIPS6[:2], VIP6), service("empty", [], VIP6, 81),
        service("empty-udp", [], VIP6, 53, "udp")])
    for port, text in ((9999, "port without a service"), (81, "service without servers"),
                       (80, "no connection")):
        c = Client("2001:db8::5", vip=VIP6, port=port)
        for flags in ("S", "A", "FA", "R") if port != 80 else ("A", "FA"):
            s.wan(c.tcp(flags, seq=77, ack=99 if "A" in flags else 0), "%s: %s" % (text, flags))
    s.wan(Client("2001:db8::5", vip=VIP6, port=9999).tcp("S", ip={"tclass": 0xBB, "hops": 1}),
          "port without a service: class, hop limit 1")
    for port, text in ((9999, "UDP port without a service"), (53, "UDP service without servers")):
        c = Client("2001:db8::5", vip=VIP6, port=port)
        s.wan(c.udp(b"q"), text)
        s.wan(c.udp(b"q" * 1300, ip={"tclass": 0xBB, "label": 0x12345}),
              "%s: 1300 octets, class and label" % text)
        s.wan(c.udp(b"q", zero_checksum=True), "%s: checksum 0" % text)
    s.wan(F.ipv6("2001:db8::5", VIP6, 99, b"what?"), "unknown protocol")
    s.counters()
    return s


@case("edge-reuse", "a SYN that reuses the ports of a connection in each state (D53)")
def edge_reuse(name, about):
    s = Scenario(name, about, [
        service("dr", RIPS[:2]),
        service("nat", [server(r, 8080) for r in RIPS[:2]], port=81, mode="nat")])
    before = {"SYN_RECV": [], "ESTABLISHED": ["A"], "FIN_WAIT": ["A", "FA"],
              "CLOSE": ["A", "R"], "TIME_WAIT": ["FA"]}
    for i, (state, flags) in enumerate(before.items()):
        c = Client("172.16.0.%d" % (20 + i), 42000 + i)
        s.wan(c.tcp("S"), "DR %s: first SYN" % state)
        for f in flags:
            s.wan(c.tcp(f, **ACK), "DR %s: %s" % (state, f))
        s.flows()
        s.wan(c.tcp("S", seq=90000), "DR %s: SYN again" % state)
        s.wan(c.tcp("A", seq=90001, ack=7), "DR %s: ACK after it" % state)
    s.flows()
    s.servers()
    _reuse_nat(s)
    s.flows()
    s.servers()
    s.counters()
    return s


def _reuse_nat(s):
    """The same under NAT, where the director sees both halves. `n` is the
    server that rr gives the first SYN: it alternates, and the reuse of a
    TIME_WAIT connection takes a turn too."""
    halves = (
        ("ESTABLISHED", 12, [("c", "A")]),
        ("FIN_WAIT", 11, [("c", "A"), ("s", "FA")]),
        ("CLOSE_WAIT", 12, [("c", "A"), ("c", "FA")]),
        ("TIME_WAIT", 11, [("c", "A"), ("c", "FA"), ("s", "FA"), ("c", "A")]),
        ("CLOSE", 11, [("s", "RA")]))
    for i, (state, n, packets) in enumerate(halves):
        c = Client("172.16.0.%d" % (40 + i), 43000 + i, port=81, server_port=8080)
        s.wan(c.tcp("S"), "NAT %s: first SYN" % state)
        s.lan(n, c.reply_tcp(n, "SA", seq=5000, ack=1001), "NAT %s: SYN+ACK" % state)
        for j, (side, f) in enumerate(packets):
            note = "NAT %s: packet %d %s" % (state, j, f)
            if side == "c":
                s.wan(c.tcp(f, **ACK), note)
            else:
                s.lan(n, c.reply_tcp(n, f, seq=5001, ack=1001), note)
        s.flows()
        s.wan(c.tcp("S", seq=90000), "NAT %s: SYN again" % state)


@case("edge-drain", "weight 0, a deleted server and its return: old and new connections")
def edge_drain(name, about):
    s = Scenario(name, about, [
        service("dr", RIPS[:2]),
        service("nat", [server(r, 8080) for r in RIPS[:2]], port=81, mode="nat"),
        service("udp", RIPS[:2], port=53, protocol="udp")])
    # rr gives each first client the last server, .12.
    dr = Client("172.16.0.5", 40001)
    nat = Client("172.16.0.6", 40002, port=81, server_port=8080)
    udp = Client("172.16.0.7", 40003, port=53)
    s.wan(dr.tcp("S"), "DR: SYN")
    s.wan(dr.tcp("A", **ACK), "DR: ACK")
    s.wan(nat.tcp("S"), "NAT: SYN")
    s.lan(12, nat.reply_tcp(12, "SA", seq=5000, ack=1001), "NAT: SYN+ACK")
    s.wan(nat.tcp("A", **ACK), "NAT: ACK")
    s.wan(udp.udp(b"q"), "UDP: first")

    def old(when):
        s.wan(dr.tcp("PA", **ACK, data=b"more"), "%s: DR goes on" % when)
        s.wan(nat.tcp("PA", **ACK, data=b"more"), "%s: NAT goes on" % when)
        s.lan(12, nat.reply_tcp(12, "A", seq=5001, ack=1005), "%s: NAT server answers" % when)
        s.wan(udp.udp(b"q"), "%s: UDP goes on" % when)

    for name in ("dr", "nat", "udp"):
        s.weight(name, RIPS[1], 0)
    old("weight 0")
    for i, name in enumerate(("dr", "nat", "udp")):
        s.spread(name, 4, first=100 * i)
    s.servers()
    for name in ("dr", "nat", "udp"):
        s.remove(name, RIPS[1])
    old("deleted")
    s.wan(dr.tcp("S", seq=80000), "deleted: SYN on the established connection")
    s.wan(dr.tcp("FA", **ACK), "deleted: DR's FIN")
    for i, name in enumerate(("dr", "nat", "udp")):
        s.spread(name, 4, first=100 * i + 50)
    s.flows()
    s.add("dr", RIPS[1])
    s.add("nat", RIPS[1], port=8080)
    s.add("udp", RIPS[1])
    old("back")
    s.servers()
    s.counters()
    return s
