#!/usr/bin/python3
"""Draining under load: connections on the drained server go on, new ones go elsewhere."""

from labtest import main, session, wait_until
from director import service_name
from layout import MODES
from load import WHOLE, Download, Requests


def check_drain(report, it, mode):
    """One server of a mode is drained while it serves, and taken back."""
    name = service_name(mode)
    load = Requests(it, it.lab.vip(mode), f"{mode}-new")
    lasting = Download(it, it.lab.vip(mode), f"{mode}-old")
    victim = lasting.server()
    it.director.weir("drain", f"{name}/{victim}")
    # A request may have been under way when the command returned; the ones after it count.
    start = load.count()
    wait_until(lambda: load.count() > start + 100, 15, "a hundred requests")
    served = [server for _, server in load.outcomes()[start + 1:]]
    report.equal(f"{name}: new connections to {victim} while drained", served.count(victim), 0)
    report.check(lasting.is_running(), f"{name}: {victim}'s old connection goes on")
    report.equal(f"{name}: and ends whole", lasting.finish(), WHOLE)

    it.director.weir("ready", f"{name}/{victim}")
    start = load.count()
    wait_until(lambda: load.count() > start + 60, 15, "sixty requests")
    served = [server for _, server in load.outcomes()[start + 1:]]
    report.check(served.count(victim) > 0, f"{name}: {victim} serves again after ready")
    load.stop(report, name)


def all_drains(report):
    """Each mode in turn."""
    with session("two-port", say=report.note) as it:
        for mode in MODES:
            check_drain(report, it, mode)
        refused = it.director.weir("drain", "dr/nobody", check=False)
        report.check(refused.returncode == 1 and "nobody" in refused.stderr,
                     "draining a server that does not exist is refused", refused.stderr)


if __name__ == "__main__":
    main("drain: under load, in all modes", all_drains)
