#!/usr/bin/python3
"""Runs scenarios against the real IPVS kernel and keeps what it answered.

    record.py NAME...         write tests/golden/NAME.json
    record.py --all           the same for every scenario
    record.py --verify ...    write nothing: a fresh recording must equal the
                              kept one but for the fields named in fields.py
    record.py --list          names and what they are about

Must be root; see README.md.
"""
import argparse
import json
import os
import re
import sys

import cases
import fields
import frames as F
import kernel
import sandbox
import scenario as S

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")
# The kernel refreshes the counters that ipvsadm shows every 2 s.
_COUNTERS_SECONDS = 2.2


def golden_path(name):
    return os.path.join(GOLDEN, name + ".json")


def load(name):
    with open(golden_path(name)) as f:
        return json.load(f)


def record(sc):
    """A scenario with the kernel's answer in every step."""
    sc = json.loads(json.dumps(sc))
    vips = sorted({s["address"] for s in sc["services"]})
    services = sc["services"]
    with kernel.Kernel(sc["network"], [v + ("/128" if ":" in v else "/32") for v in vips]) as k:
        k.ipvsadm(S.ipvs_rules(services))
        if sc["timeouts"]:
            k.command("ipvsadm --set %d %d %d" % tuple(sc["timeouts"]))
        names = [p["name"] for p in sc["network"]["ports"]]
        for step in sc["steps"]:
            if "send" in step:
                sent = bytes.fromhex(step["send"])
                step["out"] = _out(names, k.send(names.index(step["port"]), sent))
            elif "wait" in step:
                step["out"] = _out(names, k.pause(step["wait"]))
            elif "change" in step:
                k.ipvsadm(S.ipvs_change(services, step["change"]))
                services = S.changed(services, step["change"])
            elif "spread" in step:
                step["servers"] = _spread(k, sc, services, step["spread"])
            else:
                step["result"] = _SHOW[step["show"]](k)
    return sc


def _out(names, pairs):
    return [[names[i], frame.hex()] for i, frame in pairs]


def _spread(k, sc, services, spread):
    """The server that each of the new clients got, `null` for none."""
    svc = next(s for s in services if s["name"] == spread["service"])
    by_mac = dict(neighbours_of(sc, svc))
    got = []
    for n in range(spread["first"], spread["first"] + spread["count"]):
        out = k.send(0, S.spread_frame(sc, svc, n))
        got.append(by_mac[out[0][1][:6]] if out and out[0][0] == 1 else None)
    return got


def neighbours_of(sc, svc):
    """(MAC, address) of each neighbour of the service's family."""
    return [(F.mac(m), ip) for p in sc["network"]["ports"] for ip, m in p["neighbours"].items()
            if (":" in ip) == (":" in svc["address"])]


def _flows(k):
    """[protocol, state, seconds left (rounded up), client, virtual, server]"""
    rows = []
    for line in k.command("ipvsadm -Lnc").splitlines():
        m = re.match(r"(TCP|UDP) (\d+):(\d+) +(\S+) +(\S+) +(\S+) +(\S+)", line)
        if m:
            left = int(m[2]) * 60 + int(m[3])
            up = -(-(left + 1) // fields.EXPIRES_STEP) * fields.EXPIRES_STEP
            rows.append([m[1].lower(), m[4], up, m[5], m[6], m[7]])
    return sorted(rows)


def _table(text, columns):
    """Rows [service, server or null, *numbers] of an ipvsadm listing."""
    rows, service = [], None
    for line in text.splitlines()[3:]:
        word = line.split()
        if word[0] == "->":
            rows.append([service, word[1]] + [int(n) for n in word[-columns:]])
        else:
            service = word[0].lower() + " " + word[1]
            if word[-1].isdigit():
                rows.append([service, None] + [int(n) for n in word[-columns:]])
    return rows


def _servers(k):
    """[service, server, weight, active, inactive]"""
    return _table(k.command("ipvsadm -Ln"), 3)


def _counters(k):
    """[service, server or null, connections, packets in and out, octets in and out]"""
    k.pause(_COUNTERS_SECONDS)
    return _table(k.command("ipvsadm -Ln --stats --exact"), 5)


_SHOW = {"flows": _flows, "servers": _servers, "counters": _counters}


# ---- comparing two recordings --------------------------------------------------------------

def unhex(pairs):
    return [(port, bytes.fromhex(frame)) for port, frame in pairs]


def differing(old, new):
    """Human lines for every step in which two recordings differ."""
    lines = []
    if {k: v for k, v in old.items() if k != "steps"} != \
            {k: v for k, v in new.items() if k != "steps"}:
        lines.append("network, services or timeouts changed")
    if len(old["steps"]) != len(new["steps"]):
        lines.append("%d steps, were %d" % (len(new["steps"]), len(old["steps"])))
    for i, (a, b) in enumerate(zip(old["steps"], new["steps"])):
        if "out" in a and "out" in b:
            sent = bytes.fromhex(a.get("send", ""))
            if a.get("send") != b.get("send") or a.get("note") != b.get("note") \
                    or not fields.same(sent, unhex(a["out"]), unhex(b["out"])):
                lines += ["step %d %s" % (i, a.get("note", "wait"))] \
                    + told("was", a["out"]) + told("now", b["out"])
        elif a != b:
            lines += ["step %d" % i, "  was %s" % json.dumps(a), "  now %s" % json.dumps(b)]
    return lines


def told(word, out):
    return ["  %s %s %s" % (word, port, F.describe(bytes.fromhex(frame))) for port, frame in out] \
        or ["  %s nothing" % word]


def last_words(servers):
    """A list of addresses, shortened to what tells them apart."""
    return " ".join(s.replace(":", ".").split(".")[-1] if s else "-" for s in servers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    known = cases.build()
    if args.list:
        for name, sc in known.items():
            print("%-16s %3d steps  %s" % (name, len(sc["steps"]), sc["about"]))
        return
    names = list(known) if args.all else args.names
    unknown = [n for n in names if n not in known]
    if unknown or not names:
        parser.error("no such scenario: %s; known: %s" % (" ".join(unknown), " ".join(known)))
    sandbox.require(*kernel.PROGRAMS)
    sandbox.enter()
    bad = 0
    for name in names:
        fresh = record(known[name])
        if args.verify:
            lines = differing(load(name), json.loads(S.dump(fresh)))
            print("%-16s %s" % (name, "differs" if lines else "equal"))
            print(*lines, sep="\n", end="\n" if lines else "", flush=True)
            bad += bool(lines)
        else:
            with open(golden_path(name), "w") as f:
                f.write(S.dump(fresh))
            print("%-16s recorded" % name, flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
