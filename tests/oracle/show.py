#!/usr/bin/python3
"""Prints recorded scenarios as text: show.py NAME..."""
import json
import sys

import frames as F
import record


def show(sc):
    print("%s: %s" % (sc["name"], sc["about"]))
    for svc in sc["services"]:
        print("  %s" % json.dumps(svc))
    for step in sc["steps"]:
        if "send" in step:
            print("\n%s\n  in  %s %s" % (step["note"], step["port"],
                                         F.describe(bytes.fromhex(step["send"]))))
            print("\n".join(record.told("out", step["out"])))
        elif "result" in step:
            print("\n%s" % step["show"], *("  %s" % json.dumps(r) for r in step["result"]), sep="\n")
        else:
            print("\n%s" % json.dumps(step))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        show(record.load(name))
