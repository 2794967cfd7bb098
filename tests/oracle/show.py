#!/usr/bin/python3
"""Prints recorded scenarios as text: show.py [--brief] NAME...

--brief leaves out the frames that went in and says only how an outgoing frame
was made from it, where it was.
"""
import json
import sys

import frames as F
import record


def show(sc, brief):
    print("%s: %s" % (sc["name"], sc["about"]))
    for svc in sc["services"]:
        print("  %(protocol)s %(address)s port %(port)s %(mode)s %(scheduler)s: " % svc
              + ", ".join("%(address)s port %(port)s weight %(weight)s" % s
                          for s in svc["servers"]))
    for step in sc["steps"]:
        if "send" in step and brief:
            sent = bytes.fromhex(step["send"])
            print("%-44s %s" % (step["note"] + ":", "; ".join(
                "%s %s" % (port, _made(sent, bytes.fromhex(frame)))
                for port, frame in step["out"]) or "nothing"))
        elif "send" in step:
            print("\n%s\n  in  %s %s" % (step["note"], step["port"],
                                         F.describe(bytes.fromhex(step["send"]))))
            print("\n".join(record.told("out", step["out"])))
        elif "result" in step:
            print(step["show"], *("  %s" % json.dumps(r) for r in step["result"]), sep="\n")
        else:
            print(json.dumps(step))


def _made(sent, out):
    """An outgoing frame in terms of the one that went in."""
    packet = sent[14:]
    if sent[12:14] == b"\x08\0":
        passed = F.ipv4_summed(F.patch(packet, 8, bytes([max(packet[8] - 1, 0)])))
        passed = passed[:int.from_bytes(packet[2:4], "big")]
    else:
        passed = F.patch(packet, 7, bytes([max(packet[7] - 1, 0)]))
        passed = passed[:40 + int.from_bytes(packet[4:6], "big")]
    if out[14:] == passed:
        return "to %s: as it came, TTL - 1" % out[:6].hex(":")
    return F.describe(out)


if __name__ == "__main__":
    for name in [a for a in sys.argv[1:] if a != "--brief"]:
        show(record.load(name), "--brief" in sys.argv)
