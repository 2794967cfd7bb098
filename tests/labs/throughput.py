#!/usr/bin/python3
"""iperf3 through every mode, both directions, TCP and UDP: sustained streams keep flowing.

The bounds are far under what any machine reaches. They find a stream that stalls (a lost ICMP
"too big", checksums gone wrong, a ring that fills up), not a slow one: `make bench` measures.
"""

import json
from contextlib import contextmanager

from labtest import LabError, main, session, wait_until
from director import PERF_PORT, service_name
from layout import MODES

SECONDS = 2
# Mbit/s at least. The TUN servers decapsulate in a script, which limits what goes through it.
MBPS_MIN = {"dr": 100, "nat": 100, "tunnel": 20}
UDP_MBPS = 10  # offered rate
FORWARDED_MIN = 0.99  # part of the datagrams sent that Weir forwards
# Per cent lost on the whole way, at most. Wide, for iperf3's own socket holds a tenth of a second,
# and drops what comes while a busy machine lets it wait.
UDP_LOSS_MAX = 50.0


@contextmanager
def server(it, mode, family):
    """An iperf3 server for one test: between two tests it closes its socket, and resets who waits.

    It is bound to the address that clients speak to, which in DR and TUN is the VIP: an unbound UDP
    socket would answer from the server's own address.
    """
    first = it.lab.servers_of(mode)[0]
    space = it.fabric[first.name]
    address = first.address(family) if mode == "nat" else it.lab.vip(mode, family)
    socket = f"[{address}]:{PERF_PORT}" if family == 6 else f"{address}:{PERF_PORT}"
    process = space.start("iperf3", "-s", "-1", "-B", address, "-p", PERF_PORT)
    try:
        wait_until(lambda: space.run("ss", "-Hltn", "src", socket).stdout, 5,
                   f"iperf3 listens on {socket}")
        yield
    finally:
        process.terminate()
        process.wait(timeout=5)


def iperf(it, mode, family, *options):
    """Runs one iperf3 test and returns the client's report."""
    with server(it, mode, family):
        try:
            done = it.fabric["client"].run(
                "iperf3", "-c", it.lab.vip(mode, family), "-p", PERF_PORT, "-t", SECONDS, "-J",
                "--connect-timeout", "2000", *options, check=False, timeout=SECONDS + 10)
        except LabError as late:
            return {"error": str(late)}
        return json.loads(done.stdout or '{"error": "no output"}')


def check_streams(report, it, mode, family):
    """Up, down and datagrams through one service."""
    name = service_name(mode, family)
    for direction, options in (("up", ()), ("down", ("-R",))):
        told = iperf(it, mode, family, *options)
        rate = told.get("end", {}).get("sum_received", {}).get("bits_per_second", 0) / 1e6
        report.check(rate >= MBPS_MIN[mode], f"{name}: TCP {direction} {rate:.0f} Mbit/s",
                     told.get("error", f"at least {MBPS_MIN[mode]} expected"))
    told = iperf(it, mode, family, "-u", "-b", f"{UDP_MBPS}M", "-l", "1200")
    end = told.get("end", {}).get("sum", {})
    sent, lost = end.get("packets", 0), end.get("lost_percent", 100.0)
    forwarded = it.director.metric("weir_service_packets_total", service=f"{name}-udp",
                                   direction="in")
    report.check(0 < sent * FORWARDED_MIN <= forwarded,
                 f"{name}: UDP {UDP_MBPS} Mbit/s, {sent} datagrams forwarded",
                 told.get("error", f"only {forwarded:.0f}; dropped: {it.director.drops()}"))
    report.check(lost <= UDP_LOSS_MAX, f"{name}: and {100 - lost:.1f} % received",
                 told.get("error", f"at least {100 - UDP_LOSS_MAX} % expected"))


def all_streams(report):
    """Streams through all modes of the two-port lab; then nothing may be missing."""
    with session("two-port", say=report.note, perf=MODES) as it:
        for mode in MODES:
            for family in (4, 6):
                check_streams(report, it, mode, family)
        for worker, taken, given in it.director.conservation():
            report.check(taken == given > 0, f"worker {worker}: every frame accounted for",
                         f"{taken} in, {given} out")


if __name__ == "__main__":
    main("throughput: iperf3 through DR, NAT and TUN", all_streams)
