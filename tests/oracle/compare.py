#!/usr/bin/python3
"""Runs the recorded scenarios through `weir run` and compares with real IPVS.

    compare.py [--all]            every recording
    compare.py [-v] NAME...       these; -v tells every step

WEIR_BIN names the program (default: what cargo built last). Each frame, table
and counter must equal the recording but for the random fields of fields.py and
the deviations of differences.py, which are listed at the end. A deviation that
is listed but does not happen is a failure too. Must be root; see README.md.
"""
import argparse
import os
import sys

import differences
import fields
import record
import sandbox
import scenario as S
import weir
import whole


class Report:
    """Counts, and the lines of what failed."""

    def __init__(self, verbose):
        self.passed = self.failed = 0
        self.verbose = verbose
        self.used = {}

    def step(self, name, what, fits, listed, lines):
        """One compared step and its differences; `lines` tells both sides."""
        if fits:
            self.passed += 1
            for difference in listed:
                self.used.setdefault(difference.name, []).append("%s: %s" % (name, what))
        else:
            self.failed += 1
        if not fits or self.verbose:
            note = " [%s]" % ", ".join(d.name for d in listed) if listed else ""
            print("%s %s: %s%s" % ("ok  " if fits else "FAIL", name, what, note))
            if not fits:
                print("\n".join("    " + line for line in lines), flush=True)


def run(golden, program, report):
    """One recording against one daemon."""
    name = golden["name"]
    with weir.Weir(golden, program) as w:
        names = [p["name"] for p in golden["network"]["ports"]]
        ours, theirs = [], []
        for i, step in enumerate(golden["steps"]):
            if "out" in step:
                sent = bytes.fromhex(step.get("send", ""))
                got = w.send(names.index(step["port"]), sent) if sent else w.pause(step["wait"])
                got = [(names[port], frame) for port, frame in got]
                ours += got
                theirs += record.unhex(step["out"])
                if not differences.compared_whole(name):
                    _frames(report, name, step, sent, got)
            elif "change" in step:
                w.apply(S.changed(w.services, step["change"]))
            elif "spread" in step:
                _spread(report, w, golden, step)
            else:
                _table(report, w, name, i, step)
        if differences.compared_whole(name):
            _whole(report, name, ours, theirs)


def _frames(report, name, step, sent, got):
    note = step.get("note", "after waiting %s s" % step.get("wait"))
    ipvs = record.unhex(step["out"])
    difference = differences.of_step(name, note)
    wanted = difference.expect(sent, ipvs) if difference else ipvs
    fits = fields.same(sent, got, wanted)
    lines = record.told("in  ", [[step.get("port", ""), step["send"]]] if sent else []) \
        + record.told("ipvs", step["out"]) + record.told("want", _hexed(wanted)) \
        + record.told("weir", _hexed(got))
    if fits and difference and fields.same(sent, got, ipvs):
        fits, lines = False, ["no longer differs from IPVS: take it out of differences.py"]
    report.step(name, note, fits, [difference] if difference else [], lines)


def _hexed(pairs):
    return [[port, frame.hex()] for port, frame in pairs]


def _spread(report, w, golden, step):
    spread = step["spread"]
    svc = next(s for s in w.services if s["name"] == spread["service"])
    by_mac = dict(record.neighbours_of(golden, svc))
    got = []
    for n in range(spread["first"], spread["first"] + spread["count"]):
        out = w.send(0, S.spread_frame(golden, svc, n))
        got.append(by_mac.get(out[0][1][:6]) if out and out[0][0] == 1 else None)
    report.step(golden["name"], "%(count)d new clients of %(service)s" % spread,
                got == step["servers"], [],
                ["ipvs %s" % record.last_words(step["servers"]),
                 "weir %s" % record.last_words(got)])


def _table(report, w, name, i, step):
    what = "%s after step %d" % (step["show"], i)
    listed = differences.of_table(name, step["show"])
    wanted = sorted(differences.table(name, step["show"], step["result"]), key=str)
    got = sorted(getattr(w, step["show"])(), key=str)
    lines = ["ipvs %s" % r for r in wanted if r not in got] \
        + ["weir %s" % r for r in got if r not in wanted]
    report.step(name, what, got == wanted, listed, lines)


def _whole(report, name, ours, theirs):
    difference = differences.compared_whole(name)
    wanted, got = differences.of_whole(name, whole.packets(theirs)), whole.packets(ours)
    lines = ["ipvs %s %s" % (p[0], p[2].hex()) for p in wanted if p not in got] \
        + ["weir %s %s" % (p[0], p[2].hex()) for p in got if p not in wanted]
    report.step(name, "%d packets made whole" % len(wanted), got == wanted, [difference], lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    args = parser.parse_args()
    known = sorted(f[:-5] for f in os.listdir(record.GOLDEN) if f.endswith(".json"))
    names = args.names or known
    unknown = [n for n in names if n not in known]
    if unknown:
        parser.error("no recording: %s; there are: %s" % (" ".join(unknown), " ".join(known)))
    sandbox.require("ip", "ethtool")
    program = weir.binary()
    sandbox.enter()
    report = Report(args.verbose)
    for name in names:
        before = report.failed
        try:
            run(record.load(name), program, report)
        except (RuntimeError, TimeoutError, OSError) as e:
            report.failed += 1
            print("FAIL %s: %s" % (name, e), flush=True)
        print("%-4s %s" % ("ok" if report.failed == before else "FAIL", name), flush=True)
    for difference in differences.ALL:
        where = report.used.get(difference.name, [])
        if where:
            print("differs on purpose, %s (%d steps): %s" % (difference.name, len(where),
                                                            difference.reason))
    print("%d passed, %d failed, 0 skipped" % (report.passed, report.failed))
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
