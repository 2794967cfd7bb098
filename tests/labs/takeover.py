#!/usr/bin/python3
"""Weir takes over from Weir: killed, resigned, ended, paused; how long nothing is forwarded.

    takeover.py [RUNS]      kills, 20 unless given
"""

import json
import math
import signal
import statistics
import sys
import time

from labtest import main, wait_until
from pair import Weir, advertisers, answers_http, measure, pair, silence

INTERVAL = 0.1  # seconds between adverts
PRIORITY = {"a": 250, "b": 200}
SKEW = INTERVAL * (256 - PRIORITY["b"]) / 256
SLACK = 10  # ms: scheduling and the distance of the measuring datagrams
KILL_MAX = (3 * INTERVAL + SKEW) * 1e3 + SLACK  # 332 ms
RESIGN_MAX = SKEW * 1e3 + SLACK


def settled(active, backup):
    """Waits until one is Active and the other Backup."""
    active.wait("active", 5)
    backup.wait("backup", 5)


def heard(director):
    """Whose advert a director accepted last."""
    told = json.loads(director.weir("show", "vrrp", "--json").stdout)["vrrp"][0]
    return (told["peer"] or {}).get("address")


def kills(report, fabric, a, b, runs):
    """kill -9 of the Active, again and again."""
    gaps = []
    for _ in range(runs):
        settled(a, b)
        wait_until(lambda: answers_http(fabric), 5, "the VIP answers")
        process = measure(fabric, 1.2)
        time.sleep(0.3)  # established before; this is the load, not a wait for anything
        a.end(signal.SIGKILL)
        gaps.append(silence(process)[2])
        b.wait("active", 2)
        a.start()
    gaps.sort()
    # Of a hundred runs the 99th; of fewer the 19th of 20, for a shared machine stands still by
    # itself at times, and even then within an interval more.
    judged = gaps[math.ceil((0.99 if runs >= 100 else 0.95) * runs) - 1]
    report.note(f"{runs} kills: silence median {statistics.median(gaps):.0f} ms, "
                f"judged {judged:.0f} ms, worst {gaps[-1]:.0f} ms")
    report.check(judged <= KILL_MAX and gaps[-1] <= KILL_MAX + INTERVAL * 1e3,
                 f"forwarding again within {KILL_MAX:.0f} ms of kill -9",
                 f"{judged:.0f} ms, worst {gaps[-1]:.0f} ms")


def handed_over(report, what, gaps):
    """The median of some hand-overs lies within the bound."""
    shown = ", ".join(f"{gap:.0f}" for gap in gaps)
    report.check(statistics.median(gaps) <= RESIGN_MAX, f"{what}: {shown} ms of silence",
                 f"the bound is {RESIGN_MAX:.0f} ms")


def planned(report, fabric, a, b):
    """The operator's two ways to hand over."""
    resigned, ended = [], []
    for _ in range(3):
        settled(a, b)
        process = measure(fabric, 1.0)
        a.weir("vrrp", "resign")
        resigned.append(max(silence(process)[2:]))
        report.equal("who resigned stays Backup", (a.state(), b.state()), ("backup", "active"))
        b.weir("vrrp", "resign")
    handed_over(report, "weir vrrp resign", resigned)
    for _ in range(3):
        settled(a, b)
        process = measure(fabric, 1.5)
        a.end(signal.SIGTERM)
        ended.append(max(silence(process)[2:]))
        a.start()
    handed_over(report, "SIGTERM", ended)


def paused(report, fabric, a, b):
    """A machine that stood still steps back and listens first (V40), and serves nothing (V45)."""
    settled(a, b)
    a.process.send_signal(signal.SIGSTOP)
    pid = a.process.pid
    b.wait("active", 3)
    report.check(answers_http(fabric), "the Active is stopped (SIGSTOP): the other serves")
    before = b.state()
    a.process.send_signal(signal.SIGCONT)
    a.wait("active", 5)
    told = a.log.read_text(errors="replace")
    report.check("woken too late" in told, f"woken again it listened first (pid {pid}, {before})",
                 told[-300:])
    settled(a, b)
    report.equal("one advertiser afterwards", advertisers(fabric, 1), ["192.0.2.2"])


def takeovers(report):
    """Two Weirs, interval 100 ms."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with pair() as fabric:
        common = {"interval": f"{INTERVAL * 1e3:.0f}ms"}
        a, b = (Weir(fabric, name, common | {"priority": PRIORITY[name]}) for name in "ab")
        a.start()
        b.start()
        settled(a, b)
        report.check(answers_http(fabric), "the Active serves")
        wait_until(lambda: heard(b) == "192.0.2.2", 2, "the Backup hears its Active")
        report.check(True, "the Backup knows its Active")
        report.equal("one advertiser", advertisers(fabric, 1), ["192.0.2.2"])
        kills(report, fabric, a, b, runs)
        planned(report, fabric, a, b)
        paused(report, fabric, a, b)


if __name__ == "__main__":
    main("takeover: from Weir to Weir", takeovers)
