#!/usr/bin/python3
"""Two workers on ports that have one queue: frames are handed to the worker that owns the flow.

Each must forward more than a fifth, hand-overs must happen, and NAT's answers must find the flow.
"""

import os

from labtest import main, session
from director import select
from layout import MODES

REQUESTS = 200
SHARE_MIN = 0.20  # of all frames forwarded


def two_workers(report):
    """Requests in all modes with two workers, then the books."""
    if len(os.sched_getaffinity(0)) < 2:
        report.skip("two workers need two CPUs, this machine has one")
        return
    with session("two-port", say=report.note, workers=2) as it:
        before = it.director.metrics()
        for mode in MODES:
            for family in (4, 6):
                got = it.requests(it.lab.vip(mode, family), REQUESTS)
                report.equal(f"{mode}: IPv{family} requests answered", got.answered, REQUESTS)
        after = it.director.metrics()

        def grown(name, **labels):
            return sum(select(after, name, **labels)) - sum(select(before, name, **labels))

        sent = [grown("weir_worker_packets_total", worker=worker, direction="tx")
                for worker in (0, 1)]
        for worker in (0, 1):
            share = sent[worker] / (sum(sent) or 1)
            report.check(share > SHARE_MIN, f"worker {worker} forwarded {share:.0%}",
                         f"more than {SHARE_MIN:.0%} expected")
        handed = grown("weir_worker_handed_in_total")
        report.check(handed > 0, f"{handed:.0f} frames were handed over")
        books = it.director.conservation()
        for worker, taken, given in books:
            report.check(taken == given > 0, f"worker {worker}: every frame accounted for",
                         f"{taken} in, {given} out")
        received, given = (sum(select(it.director.metrics(), name)) for name in (
            "weir_worker_handed_in_total", "weir_worker_handed_out_total"))
        report.equal("what one hands out another takes in", received, given)


if __name__ == "__main__":
    main("workers: two of them share the flows", two_workers)
