"""Which server each new connection gets, and how live connections count."""
from cases import case
from scenario import RIPS, RIPS6, VIP6, Client, Scenario, server, service

WEIGHTS = {
    "equal": [1, 1, 1, 1, 1],
    "rising": [1, 2, 3, 4, 5],
    "falling": [5, 4, 3, 2, 1],
    "common factor": [2, 4, 6, 8, 10],
    "one weight 0": [3, 0, 2, 1, 1],
    "large": [100, 1, 50, 7, 65535],
    "two to one": [2, 1],
    "alone": [7],
    "all weight 0": [0, 0],
}
ACK = {"seq": 1001, "ack": 5001}


def _tables(s, scheduler, protocol="tcp"):
    """One service per set of weights on its own port, 60 new clients each."""
    for i, (name, weights) in enumerate(WEIGHTS.items()):
        servers = [server(RIPS[n], weight=w) for n, w in enumerate(weights)]
        s.data["services"].append(service(name, servers, port=1000 + i, protocol=protocol,
                                          scheduler=scheduler))
        s.spread(name, 60, first=100 * i)
    s.servers()


@case("sched-rr", "rr: 60 SYNs for each of nine sets of weights")
def sched_rr(name, about):
    s = Scenario(name, about, [])
    _tables(s, "rr")
    return s


@case("sched-wrr", "wrr: 60 SYNs for each of nine sets of weights")
def sched_wrr(name, about):
    s = Scenario(name, about, [])
    _tables(s, "wrr")
    return s


@case("sched-lc", "lc: 60 SYNs for each of nine sets of weights")
def sched_lc(name, about):
    s = Scenario(name, about, [])
    _tables(s, "lc")
    return s


@case("sched-wlc", "wlc: 60 SYNs for each of nine sets of weights")
def sched_wlc(name, about):
    s = Scenario(name, about, [])
    _tables(s, "wlc")
    return s


@case("sched-udp", "wlc over UDP, whose connections count as inactive: 60 datagrams per set")
def sched_udp(name, about):
    s = Scenario(name, about, [])
    _tables(s, "wlc", "udp")
    return s


@case("sched-v6", "rr, wrr, lc, wlc over IPv6")
def sched_v6(name, about):
    s = Scenario(name, about, [])
    for i, scheduler in enumerate(("rr", "wrr", "lc", "wlc")):
        servers = [server(r, weight=w) for r, w in zip(RIPS6, (1, 2, 3))]
        s.data["services"].append(service(scheduler, servers, VIP6, 1000 + i,
                                          scheduler=scheduler))
        s.spread(scheduler, 60, first=100 * i)
    s.servers()
    return s


@case("sched-changes", "rr, wrr, lc, wlc while weights change and servers leave and return")
def sched_changes(name, about):
    s = Scenario(name, about, [])
    for i, scheduler in enumerate(("rr", "wrr", "lc", "wlc")):
        servers = [server(RIPS[0], weight=3), server(RIPS[1], weight=1), server(RIPS[2], weight=2)]
        s.data["services"].append(service(scheduler, servers, port=1000 + i, scheduler=scheduler))
        first = 200 * i
        s.spread(scheduler, 7, first)
        s.weight(scheduler, RIPS[0], 1)
        s.spread(scheduler, 7, first + 10)
        s.weight(scheduler, RIPS[1], 0)
        s.spread(scheduler, 7, first + 20)
        s.add(scheduler, RIPS[3], weight=4)
        s.spread(scheduler, 13, first + 30)
        s.remove(scheduler, RIPS[2])
        s.spread(scheduler, 13, first + 50)
        s.weight(scheduler, RIPS[1], 2)
        s.spread(scheduler, 13, first + 70)
        s.add(scheduler, RIPS[2], weight=2)
        s.spread(scheduler, 13, first + 90)
    s.servers()
    return s


def _lives(s, scheduler, port, weights, mode):
    """Connections that end differently; after each, the next choice shows how
    the kernel counts it. The server is not known beforehand, so only the
    client's half is sent: the director sees no more in DR either."""
    servers = [server(r, weight=w) for r, w in zip(RIPS, weights)]
    name = "%s %s" % (scheduler, mode)
    s.data["services"].append(service(name, servers, port=port, scheduler=scheduler, mode=mode))
    # What the client sends after its SYN, by connection number modulo 6.
    lives = (["A"], ["A", "FA"], [], ["A", "R"], ["FA"], ["A", "PA"])
    for k in range(24):
        c = Client("172.16.1.%d" % (k + 1), 41000 + k, port=port)
        for i, flags in enumerate(["S"] + lives[k % len(lives)]):
            s.wan(c.tcp(flags, **({} if flags == "S" else ACK)),
                  "%s connection %d packet %d %s" % (name, k, i, flags))
    s.servers()


@case("lc-active", "lc and wlc with half-open, established, closing and reset connections")
def lc_active(name, about):
    s = Scenario(name, about, [])
    _lives(s, "lc", 1000, [2, 1, 1], "dr")
    _lives(s, "wlc", 1001, [2, 1, 1], "dr")
    _lives(s, "wlc", 1002, [3, 2, 1], "nat")
    s.flows()
    return s
