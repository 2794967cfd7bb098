#!/usr/bin/python3
"""iperf3 through every mode, both directions, TCP and UDP: sustained streams keep flowing.

The bounds are far under what any machine reaches. They find a stream that stalls (a lost ICMP
"too big", checksums gone wrong, a ring that fills up), not a slow one: `make bench` measures.
"""

import json

from labtest import main, session, wait_until
from director import PERF_PORT, service_name
from layout import MODES

SECONDS = 3
# Mbit/s at least. The TUN servers decapsulate in a script, which limits what goes through it.
MBPS_MIN = {"dr": 100, "nat": 100, "tunnel": 20}
UDP_MBPS, UDP_LOSS_MAX = 10, 1.0  # offered rate; per cent lost at most


def iperf(it, vip, *options):
    """Runs one iperf3 client and returns its report."""
    done = it.fabric["client"].run(
        "iperf3", "-c", vip, "-p", PERF_PORT, "-t", SECONDS, "-J", "--connect-timeout", "2000",
        *options, check=False, timeout=SECONDS + 20)
    return json.loads(done.stdout or '{"error": "no output"}')


def check_streams(report, it, mode, family):
    """Up, down and datagrams through one service."""
    name, vip = service_name(mode, family), it.lab.vip(mode, family)
    for direction, options in (("up", ()), ("down", ("-R",))):
        told = iperf(it, vip, *options)
        rate = told.get("end", {}).get("sum_received", {}).get("bits_per_second", 0) / 1e6
        report.check(rate >= MBPS_MIN[mode], f"{name}: TCP {direction} {rate:.0f} Mbit/s",
                     told.get("error", f"at least {MBPS_MIN[mode]} expected"))
    told = iperf(it, vip, "-u", "-b", f"{UDP_MBPS}M", "-l", "1200")
    lost = told.get("end", {}).get("sum", {}).get("lost_percent", 100.0)
    report.check(lost <= UDP_LOSS_MAX, f"{name}: UDP {UDP_MBPS} Mbit/s, {lost:.2f} % lost",
                 told.get("error", f"at most {UDP_LOSS_MAX} % expected"))


def all_streams(report):
    """Streams through all modes of the two-port lab; then nothing may be missing."""
    with session("two-port", say=report.note, perf=True) as it:
        for mode in MODES:
            space = it.fabric[it.lab.servers_of(mode)[0].name]
            space.start("iperf3", "-s", "-p", PERF_PORT)
            wait_until(lambda: space.run("ss", "-Hltn", f"sport = :{PERF_PORT}").stdout, 5,
                       "iperf3 listens")
            for family in (4, 6):
                check_streams(report, it, mode, family)
        for worker, taken, given in it.director.conservation():
            report.check(taken == given > 0, f"worker {worker}: every frame accounted for",
                         f"{taken} in, {given} out")


if __name__ == "__main__":
    main("throughput: iperf3 through DR, NAT and TUN", all_streams)
