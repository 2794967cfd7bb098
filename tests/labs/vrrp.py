#!/usr/bin/python3
"""Weir and real keepalived, Weir and real FRR hold a VIP together, in each version they speak.

In each: Weir behind its peer and before it; killed, ended, cut off by the switch and joined again.
After every heal there is one advertiser within an interval, and the client is served all along.
"""

import signal
import time
from pathlib import Path

from cells import CELLS_OFTEN, SLACK
from labtest import main, run, wait_until
from pair import VRID, Keepalived, cut, kernel_host, pair
from wire import Capture, block, check_heal, learned_at, two_for, virtual_mac


def behind(report, fabric, cell):
    """The peer has the higher priority: it dies, comes back, is cut off and joined again."""
    weir, peer = cell.weir(fabric, 100), cell.other(fabric, 200)
    bound = cell.down(100) + SLACK
    peer.start()
    peer.wait(True, bound + 3)
    weir.start()
    weir.wait("backup", bound)
    cell.wait_reachable(fabric, cell.peer)
    report.check(weir.state() == "backup", f"Weir stays Backup behind {cell.peer}")

    peer.kill()
    took = weir.wait("active", bound)
    report.check(True, f"{cell.peer} killed: Weir took over after {took * 1e3:.0f} ms")
    cell.wait_reachable(fabric, "Weir")

    peer.start()
    peer.wait(True, bound + 3)
    weir.wait("backup", SLACK)
    cell.check_one(report, f"{cell.peer} is back and preempted", fabric, by_peer=True)
    link_down(report, fabric, cell, weir, peer)
    split(report, fabric, cell, weir)
    check_refusals(report, cell, peer)
    weir.end(signal.SIGTERM)
    peer.kill()


def check_refusals(report, cell, peer):
    """keepalived says in its log what it does not take; FRR does not say."""
    if isinstance(peer, Keepalived):
        report.equal(f"adverts that {cell.peer} refused", peer.refusals(), [])


def link_down(report, fabric, cell, weir, peer):
    """The peer's link goes down and comes again."""
    bound = cell.down(100) + SLACK
    cut(fabric, "b")
    weir.wait("active", bound)
    cell.wait_reachable(fabric, "Weir")
    cut(fabric, "b", down=False)
    # The peer sees its link go and come, and needs its own time to be Active again.
    peer.wait(True, bound + 3)
    weir.wait("backup", SLACK + 3 * cell.interval)
    cell.check_one(report, "link down and up", fabric, by_peer=True)
    cell.wait_reachable(fabric, cell.peer)


def split(report, fabric, cell, weir):
    """The switch separates both, with their links up, and joins them again: V60."""
    capture = Capture(fabric, ["a", "b"], cell.vips)
    block(fabric, "b")
    weir.wait("active", cell.down(100) + SLACK)
    cell.wait_reachable(fabric, "Weir")
    block(fabric, "b", blocked=False)
    start = time.time()
    weir.wait("backup", SLACK + 3 * cell.interval)
    cell.wait_reachable(fabric, cell.peer)
    if cell.peer == "FRR":
        # It never announces a second time; the MAC is the same, and the switch must follow it.
        wait_until(lambda: learned_at(fabric, virtual_mac(VRID)) == {"b-eth0"}, 2,
                   "the switch sends the virtual MAC to FRR")
        took = two_for(capture.stop(), start, "a")
        report.check(took <= cell.interval + 0.010,
                     f"split and healed: one Active after {took * 1e3:.0f} ms")
        return
    capture.wait_announcement("b")
    check_heal(report, "split and healed", capture.stop(), start, "b", cell.interval, "a")


def before(report, fabric, cell):
    """Weir has the higher priority: it is killed, comes back, and ends in order."""
    weir, peer = cell.weir(fabric, 200), cell.other(fabric, 100)
    bound = cell.down(100) + SLACK
    weir.start()
    weir.wait("active", bound)
    peer.start()
    cell.wait_reachable(fabric, "Weir")
    cell.check_one(report, f"Weir before {cell.peer}", fabric, by_peer=False)
    weir.end(signal.SIGKILL)
    took = peer.wait(True, bound + 1)
    report.check(True, f"Weir killed: {cell.peer} took over after {took * 1e3:.0f} ms")
    weir.start()
    weir.wait("active", bound + 1)
    peer.wait(False, SLACK)
    cell.wait_reachable(fabric, "Weir")
    weir.end(signal.SIGTERM)
    took = peer.wait(True, cell.skew(100) + SLACK)
    report.check(True, f"Weir ended: {cell.peer} took over after {took * 1e3:.0f} ms")
    check_refusals(report, cell, peer)
    peer.kill()


def check_capture(report, file):
    """tshark decodes all adverts, Weir's among them, without complaint."""
    said = run(["tshark", "-r", file, "-Y", "vrrp", "-T", "fields",
                "-e", "vrrp.type", "-e", "_ws.expert.message"]).stdout.splitlines()
    wrong = [line for line in said if line.split("\t")[1:] != [""] or not line.startswith("1")]
    report.check(len(said) > 10 and not wrong,
                 f"tshark reads {len(said)} adverts, Weir's among them",
                 f"complaints: {wrong[:3]}")


def all_cells(report):
    """Every cell in one network."""
    with pair() as fabric:
        kernel_host(fabric, "b")
        file = Path(fabric.directory / "adverts.pcap")
        capture = fabric["sw"].start("tcpdump", "-Uni", "br0", "-w", file,
                                     "ip proto 112 or ip6 proto 112")
        for cell in CELLS_OFTEN:
            report.section(cell.name)
            behind(report, fabric, cell)
            before(report, fabric, cell)
        capture.send_signal(signal.SIGTERM)
        capture.wait(timeout=5)
        check_capture(report, file)


if __name__ == "__main__":
    main("vrrp: Weir with keepalived and FRR", all_cells)
