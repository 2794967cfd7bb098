#!/usr/bin/python3
"""Weir and real keepalived hold a VIP together: version 2, version 2 with a password, version 3.

In each: Weir behind keepalived and before it; killed, ended, cut off by the switch and joined again.
After every heal there is one advertiser, and the client is served all along.
"""

import signal
from pathlib import Path

from labtest import main, run, wait_until
from pair import Keepalived, Weir, advertisers, answers_http, cut, kernel_host, pair
from layout import WAN

# Version, password, interval in seconds.
CELLS = {"version 2": (2, None, 1), "version 2, PASS": (2, "1111", 1), "version 3": (3, None, 0.1)}
SLACK = 1.0  # seconds: a process has to start or to be looked at


def down_interval(version, interval, priority):
    """Active_Down_Interval in seconds (RFC 9568 section 6.1, RFC 3768 section 6.1)."""
    return 3 * interval + (256 - priority) / 256 * (1 if version == 2 else interval)


def weir_keys(version, password, interval, priority):
    """The instance as YAML keys; keepalived answers with its interface's MAC, and so does Weir."""
    keys = {"version": version, "interval": f"{int(interval * 1000)}ms", "priority": priority,
            "virtual_mac": False}
    return keys | ({"auth": {"type": "pass", "password": password}} if password else {})


def is_reachable(fabric):
    """Whether the VIP answers echo: keepalived's kernel does it, or Weir."""
    done = fabric["client"].run("ping", "-c1", "-W1", WAN.v4(10), check=False)
    return done.returncode == 0


def behind(report, fabric, cell):
    """keepalived has the higher priority: it dies, comes back, is cut off and joined again."""
    version, password, interval = cell
    weir = Weir(fabric, "a", weir_keys(version, password, interval, 100))
    peer = Keepalived(fabric, "b", version, 200, interval, password)
    bound = down_interval(version, interval, 100) + SLACK
    peer.start()
    peer.wait(True, bound + 3)
    weir.start()
    weir.wait("backup", bound)
    wait_until(lambda: is_reachable(fabric), 3, "keepalived answers for the VIP")
    report.check(weir.state() == "backup", "Weir stays Backup behind keepalived")

    peer.kill()
    took = weir.wait("active", bound)
    report.check(True, f"keepalived killed: Weir took over after {took * 1e3:.0f} ms")
    wait_until(lambda: answers_http(fabric), 3, "the client is served by Weir")

    peer.start()
    peer.wait(True, bound + 3)
    weir.wait("backup", SLACK)
    report.equal("keepalived is back and preempted: one advertiser",
                 advertisers(fabric, 3 * interval + 0.2), [WAN.v4(3)])
    partition(report, fabric, weir, peer, (bound, interval))
    report.equal("adverts that keepalived refused", peer.refusals(), [])
    weir.end(signal.SIGTERM)
    peer.kill()


def partition(report, fabric, weir, peer, times):
    """The switch cuts keepalived off and joins it again: both Active, then one."""
    bound, interval = times
    cut(fabric, "b")
    weir.wait("active", bound)
    wait_until(lambda: answers_http(fabric), 3, "the client is served by Weir")
    cut(fabric, "b", down=False)
    # keepalived itself sees the link go and come, and needs its own time to be Active again.
    peer.wait(True, bound + 3)
    weir.wait("backup", SLACK + 3 * interval)
    report.equal("cut off and joined again: one advertiser",
                 advertisers(fabric, 3 * interval + 0.2), [WAN.v4(3)])
    wait_until(lambda: is_reachable(fabric), 3, "the VIP answers after the heal")


def before(report, fabric, cell):
    """Weir has the higher priority: it is killed, comes back, and ends in order."""
    version, password, interval = cell
    weir = Weir(fabric, "a", weir_keys(version, password, interval, 200))
    peer = Keepalived(fabric, "b", version, 100, interval, password)
    bound = down_interval(version, interval, 100) + SLACK
    weir.start()
    weir.wait("active", bound)
    peer.start()
    wait_until(lambda: answers_http(fabric), 3, "the client is served by Weir")
    report.equal("Weir before keepalived: one advertiser",
                 advertisers(fabric, 3 * interval + 0.2), [WAN.v4(2)])
    weir.end(signal.SIGKILL)
    took = peer.wait(True, bound + 1)
    report.check(True, f"Weir killed: keepalived took over after {took * 1e3:.0f} ms")
    weir.start()
    weir.wait("active", bound + 1)
    peer.wait(False, SLACK)
    wait_until(lambda: answers_http(fabric), 3, "the client is served by Weir again")
    weir.end(signal.SIGTERM)
    skew = 156 / 256 * (1 if version == 2 else interval)
    took = peer.wait(True, skew + SLACK)
    report.check(True, f"Weir ended: keepalived took over after {took * 1e3:.0f} ms")
    report.equal("adverts that keepalived refused", peer.refusals(), [])
    peer.kill()


def check_capture(report, file):
    """tshark decodes Weir's adverts without complaint."""
    said = run(["tshark", "-r", file, "-Y", f"vrrp && ip.src == {WAN.v4(2)}", "-T", "fields",
                "-e", "vrrp.type", "-e", "_ws.expert.message"]).stdout.splitlines()
    wrong = [line for line in said if line.split("\t")[1:] != [""] or not line.startswith("1")]
    report.check(len(said) > 10 and not wrong, f"tshark reads {len(said)} of Weir's adverts",
                 f"complaints: {wrong[:3]}")


def all_cells(report):
    """Every cell in one network."""
    with pair("vrrp") as fabric:
        kernel_host(fabric, "b")
        file = Path(fabric.directory / "adverts.pcap")
        capture = fabric["sw"].start("tcpdump", "-Uni", "br0", "-w", file, "ip proto 112")
        for name, cell in CELLS.items():
            report.section(name)
            behind(report, fabric, cell)
            before(report, fabric, cell)
        capture.send_signal(signal.SIGTERM)
        capture.wait(timeout=5)
        check_capture(report, file)


if __name__ == "__main__":
    main("vrrp: Weir and keepalived", all_cells)
