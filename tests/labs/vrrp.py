#!/usr/bin/python3
"""Weir and real keepalived, Weir and real FRR hold a VIP together, in each version they speak.

In each: Weir behind its peer and before it; killed, ended, cut off by the switch and joined again.
After every heal there is one advertiser, and the client is served all along.
"""

import signal
from pathlib import Path

from labtest import main, run, wait_until
from pair import Frr, Keepalived, Weir, addresses, advertisers, answers_http, cut, kernel_host, pair
from layout import WAN

# Peer, version, password, interval in seconds.
CELLS = {
    "keepalived, version 2": ("keepalived", 2, None, 1),
    "keepalived, version 2, PASS": ("keepalived", 2, "1111", 1),
    "keepalived, version 3": ("keepalived", 3, None, 0.1),
    "keepalived, version 3, unicast": ("unicast", 3, None, 0.1),
    "keepalived, version 3, IPv6": ("IPv6", 3, None, 0.1),
    "FRR, version 3": ("FRR", 3, None, 0.1),
}
VIPS_6 = ["fe80::10", WAN.v6(10)]  # link-local first
SLACK = 1.0  # seconds: a process has to start or to be looked at


def down_interval(version, interval, priority):
    """Active_Down_Interval in seconds (RFC 9568 section 6.1, RFC 3768 section 6.1)."""
    return 3 * interval + (256 - priority) / 256 * (1 if version == 2 else interval)


def weir_keys(cell, priority):
    """The instance as YAML keys. keepalived answers with its interface's MAC, and so does Weir then."""
    kind, version, password, interval = cell
    keys = {"version": version, "interval": f"{int(interval * 1000)}ms", "priority": priority,
            "virtual_mac": kind == "FRR"}
    if kind == "unicast":
        keys["unicast"] = {"peers": [WAN.v4(3)]}
    if kind == "IPv6":
        keys["addresses"] = VIPS_6
    return keys | ({"auth": {"type": "pass", "password": password}} if password else {})


def peer_of(fabric, cell, priority):
    """The other director."""
    kind, version, password, interval = cell
    if kind == "FRR":
        return Frr(fabric, "b", priority, interval)
    if kind == "IPv6":
        vips = [f"{vip}/64" for vip in VIPS_6]
        return Keepalived(fabric, "b", version, priority, interval, vips=vips)
    other = WAN.v4(2) if kind == "unicast" else None
    return Keepalived(fabric, "b", version, priority, interval, password, other)


def is_reachable(fabric, cell):
    """Whether the VIP answers echo: the peer's kernel does it, or Weir."""
    vip = VIPS_6[-1] if cell[0] == "IPv6" else WAN.v4(10)
    return fabric["client"].run("ping", "-c1", "-W1", vip, check=False).returncode == 0


def is_served(fabric, cell):
    """Whether Weir serves the VIP: HTTP by its service, echo where there is none."""
    return is_reachable(fabric, cell) if cell[0] == "IPv6" else answers_http(fabric)


def check_one(report, text, fabric, interval, by_peer):
    """One advertiser and no other: the peer, or Weir."""
    got = advertisers(fabric, 3 * interval + 0.2)
    peers = [source in addresses(fabric, "b") for source in got]
    report.equal(f"{text}: one advertiser, of {got}", peers, [by_peer])


def behind(report, fabric, cell):
    """The peer has the higher priority: it dies, comes back, is cut off and joined again."""
    kind, version, _, interval = cell
    name = "FRR" if kind == "FRR" else "keepalived"
    weir = Weir(fabric, "a", weir_keys(cell, 100))
    peer = peer_of(fabric, cell, 200)
    bound = down_interval(version, interval, 100) + SLACK
    peer.start()
    peer.wait(True, bound + 3)
    weir.start()
    weir.wait("backup", bound)
    wait_until(lambda: is_reachable(fabric, cell), 3, f"{name} answers for the VIP")
    report.check(weir.state() == "backup", f"Weir stays Backup behind {name}")

    peer.kill()
    took = weir.wait("active", bound)
    report.check(True, f"{name} killed: Weir took over after {took * 1e3:.0f} ms")
    wait_until(lambda: is_served(fabric, cell), 3, "the client is served by Weir")

    peer.start()
    peer.wait(True, bound + 3)
    weir.wait("backup", SLACK)
    check_one(report, f"{name} is back and preempted", fabric, interval, by_peer=True)
    partition(report, fabric, weir, peer, cell)
    check_refusals(report, name, peer)
    weir.end(signal.SIGTERM)
    peer.kill()


def check_refusals(report, name, peer):
    """keepalived says in its log what it does not take; FRR does not say."""
    if isinstance(peer, Keepalived):
        report.equal(f"adverts that {name} refused", peer.refusals(), [])


def partition(report, fabric, weir, peer, cell):
    """The switch cuts the peer off and joins it again: both Active, then one."""
    _, version, _, interval = cell
    bound = down_interval(version, interval, 100) + SLACK
    cut(fabric, "b")
    weir.wait("active", bound)
    wait_until(lambda: is_served(fabric, cell), 3, "the client is served by Weir")
    cut(fabric, "b", down=False)
    # The peer itself sees the link go and come, and needs its own time to be Active again.
    peer.wait(True, bound + 3)
    weir.wait("backup", SLACK + 3 * interval)
    check_one(report, "cut off and joined again", fabric, interval, by_peer=True)
    wait_until(lambda: is_reachable(fabric, cell), 3, "the VIP answers after the heal")


def before(report, fabric, cell):
    """Weir has the higher priority: it is killed, comes back, and ends in order."""
    kind, version, _, interval = cell
    name = "FRR" if kind == "FRR" else "keepalived"
    weir = Weir(fabric, "a", weir_keys(cell, 200))
    peer = peer_of(fabric, cell, 100)
    bound = down_interval(version, interval, 100) + SLACK
    weir.start()
    weir.wait("active", bound)
    peer.start()
    wait_until(lambda: is_served(fabric, cell), 3, "the client is served by Weir")
    check_one(report, f"Weir before {name}", fabric, interval, by_peer=False)
    weir.end(signal.SIGKILL)
    took = peer.wait(True, bound + 1)
    report.check(True, f"Weir killed: {name} took over after {took * 1e3:.0f} ms")
    weir.start()
    weir.wait("active", bound + 1)
    peer.wait(False, SLACK)
    wait_until(lambda: is_served(fabric, cell), 3, "the client is served by Weir again")
    weir.end(signal.SIGTERM)
    skew = 156 / 256 * (1 if version == 2 else interval)
    took = peer.wait(True, skew + SLACK)
    report.check(True, f"Weir ended: {name} took over after {took * 1e3:.0f} ms")
    check_refusals(report, name, peer)
    peer.kill()


def check_capture(report, file):
    """tshark decodes all adverts, Weir's among them, without complaint."""
    said = run(["tshark", "-r", file, "-Y", "vrrp", "-T", "fields",
                "-e", "vrrp.type", "-e", "_ws.expert.message"]).stdout.splitlines()
    wrong = [line for line in said if line.split("\t")[1:] != [""] or not line.startswith("1")]
    report.check(len(said) > 10 and not wrong, f"tshark reads {len(said)} adverts, Weir's among them",
                 f"complaints: {wrong[:3]}")


def all_cells(report):
    """Every cell in one network."""
    with pair() as fabric:
        kernel_host(fabric, "b")
        file = Path(fabric.directory / "adverts.pcap")
        capture = fabric["sw"].start("tcpdump", "-Uni", "br0", "-w", file,
                                     "ip proto 112 or ip6 proto 112")
        for name, cell in CELLS.items():
            report.section(name)
            behind(report, fabric, cell)
            before(report, fabric, cell)
        capture.send_signal(signal.SIGTERM)
        capture.wait(timeout=5)
        check_capture(report, file)


if __name__ == "__main__":
    main("vrrp: Weir with keepalived and FRR", all_cells)
