#!/usr/bin/python3
"""Servers that refuse or swallow their clients' connections: counted, each under its own name.

Under NAT a server without its nginx resets connections, until its check takes it out. In direct
routing one without the VIP on its loopback swallows them, though its own address answers well.
"""

import json
import re

from labtest import main, session, wait_until
from layout import MODES

SYN_RECV = 60  # seconds until an unanswered flow ends
REQUESTS = 20
FLOWS, TRIED_AGAIN = 10, 5  # of the passive check: flows in an interval, seconds
PASSIVE = f"""\
health_checks:
  flows:
    {{type: passive, interval: 1s, rise: 1, fall: 2,
     passive: {{flows: {FLOWS}, hold: {TRIED_AGAIN}s}}}}"""


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


def check_passive(report, it):
    """With a passive check the server that refuses is taken out by its clients' flows alone."""
    config = it.director.config
    text = config.read_text(encoding="ascii").replace("health_checks:", PASSIVE)
    config.write_text(re.sub(r"(- name: nat\n(?:    .*\n)*?    health: )web", r"\1flows", text),
                      encoding="ascii")
    it.director.weir("apply")
    victim, vip = it.lab.servers_of("nat")[0].name, it.lab.vip("nat")
    report.equal("a server is up before it had any flow",
                 it.director.metric("weir_server_up", service="nat", server=victim), 1)

    def is_up():
        it.requests(vip, 2 * FLOWS + 4)
        return it.director.metric("weir_server_up", service="nat", server=victim) == 1

    wait_until(is_up, 2, f"{victim} serves")
    it.servers.kill(victim)
    took = wait_until(lambda: not is_up(), 15, f"{victim} out")
    why = json.loads(it.director.weir("show", "health", f"nat/{victim}", "--json").stdout)
    why = why["health"][0]["results"][0]["detail"]
    report.check("came to nothing" in why, f"{victim} refuses: out after {took:.1f} s: {why}")
    got = it.requests(vip, REQUESTS)
    report.equal("requests answered by the other", got.answered, REQUESTS)
    it.servers.start(victim)
    took = wait_until(is_up, TRIED_AGAIN + 10, f"{victim} tried again")
    report.check(True, f"{victim} well again: tried again after {took:.1f} s")


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
        check_passive(report, it)


if __name__ == "__main__":
    main("outcomes: servers that refuse or swallow connections", outcomes)
