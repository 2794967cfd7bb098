#!/usr/bin/python3
"""Servers that refuse or swallow their clients' connections: counted, each under its own name.

Under NAT a server without its nginx resets connections, until its check takes it out. In direct
routing one without the VIP on its loopback swallows them, though its own address answers well.
"""

from labtest import main, session, wait_until
from layout import MODES

SYN_RECV = 60  # seconds until an unanswered flow ends
REQUESTS = 20


def counted(it, name, service, server):
    """A counter of one server."""
    return it.director.metric(f"weir_server_{name}_total", service=service, server=server)


def check_refused(report, it):
    """Every request that is lost is a reset of the server that has no nginx."""
    first, second = (server.name for server in it.lab.servers_of("nat"))
    it.servers.kill(first)
    got = it.requests(it.lab.vip("nat"), REQUESTS)
    lost = REQUESTS - got.answered
    report.check(lost > 0, f"{first} without nginx: {lost} of {REQUESTS} requests lost")
    report.equal(f"resets of {first}", counted(it, "resets", "nat", first), lost)
    report.equal(f"resets of {second}", counted(it, "resets", "nat", second), 0)
    it.servers.start(first)


def check_swallowed(report, it):
    """Every request that is lost ends unanswered with the server that has no VIP."""
    first, second = (server.name for server in it.lab.servers_of("dr"))
    vip = it.lab.vip("dr")
    it.fabric[second].run("ip", "address", "del", f"{vip}/32", "dev", "lo")
    got = it.requests(vip, REQUESTS // 2)
    lost = REQUESTS // 2 - got.answered
    report.check(lost > 0, f"{second} without the VIP: {lost} of {REQUESTS // 2} requests lost")
    report.equal("unanswered, while clients may still be answered",
                 counted(it, "unanswered", "dr", second), 0)
    wait_until(lambda: counted(it, "unanswered", "dr", second) >= lost, SYN_RECV + 10,
               f"{lost} flows of {second} end", step=0.5)
    report.equal(f"unanswered of {second}", counted(it, "unanswered", "dr", second), lost)
    report.equal(f"unanswered of {first}", counted(it, "unanswered", "dr", first), 0)


def outcomes(report):
    """First the fast sign, then the slow one; nothing is counted that worked."""
    with session("two-port") as it:
        for mode in MODES:
            got = it.requests(it.lab.vip(mode), REQUESTS)
            report.equal(f"{mode}: requests answered", got.answered, REQUESTS)
        check_refused(report, it)
        check_swallowed(report, it)
        report.equal("resets in direct routing and tunnels",
                     [counted(it, "resets", service, server.name)
                      for service in ("dr", "tunnel") for server in it.lab.servers_of(service)],
                     [0] * 4)
        report.equal("unanswered elsewhere",
                     [counted(it, "unanswered", service, server.name)
                      for service in ("nat", "tunnel") for server in it.lab.servers_of(service)],
                     [0] * 4)


if __name__ == "__main__":
    main("outcomes: servers that refuse or swallow connections", outcomes)
