#!/usr/bin/python3
"""`make lab` and `make lab-down`: the demo's network left running, and taken away again.

    lab.py up [two-port|one-port]
    lab.py down
"""

import sys
import textwrap

from director import METRICS, binary
from layout import CLIENT, CLIENTS, LABS, PICTURES
from net import LabError, abandoned, directory_of, prefix_of, spaces_with, take_down
from session import session

TAG = "lab"


def up(name):
    """Builds the lab, leaves it running and says how to use it."""
    if spaces_with(prefix_of(TAG)):
        raise LabError("a lab is running already; `make lab-down` removes it")
    with session(name, tag=TAG, keep=True) as it:
        print(how_to_play(it))


def how_to_play(it):
    """Commands to copy."""
    inside = f"ip netns exec {prefix_of(TAG)}"
    vip, vip6 = it.lab.vip("dr"), it.lab.vip("dr", 6)
    rows = "\n".join(
        f"    {mode:<8}{it.lab.vip(mode):<12} {it.lab.vip(mode, 6):<18} "
        + " ".join(server.name for server in it.lab.servers_of(mode))
        for mode in ("dr", "nat", "tunnel"))
    device = it.lab.ports[0][1]
    return f"""\
The {it.lab.name} lab is running:

{textwrap.indent(PICTURES[it.lab.name], "    ")}

    mode    VIP          VIP (IPv6)         servers
{rows}

Be the client
    {inside}client curl http://{vip}/
    {inside}client curl 'http://[{vip6}]/'
    {inside}client curl -sH 'Connection: close' 'http://{vip}/?[1-10]'

Ask the director
    export WEIR_SOCKET={it.director.socket} PATH=$PATH:{binary().parent}
    weir status
    weir show services
    weir explain tcp {CLIENTS.v4(CLIENT)}:40000 {vip}:80
    weir drain dr/dr1; weir ready dr/dr1
    {inside}director curl -s http://{METRICS}/metrics

Break a server, and mend it
    kill $(cat {it.fabric.directory}/dr1.pid)
    {inside}dr1 nginx -c {it.fabric.directory}/dr1.conf -e {it.fabric.directory}/dr1.log &

Look at the wire (the director's devices belong to DPDK: look from the other end)
    {inside}sw-wan tcpdump -ni director-{device} tcp port 80

Change the configuration: edit {it.director.config}, then
    weir check {it.director.config} && weir apply

Log: {it.director.log}          Remove everything: make lab-down"""


def down():
    """Removes the lab, and what demos that were killed hard have left."""
    stale = abandoned()
    found = bool(spaces_with(prefix_of(TAG)) or directory_of(TAG).exists())
    for tag in [TAG, *stale]:
        take_down(tag)
    print("the lab is gone" if found or stale else "no lab was running")


def main():
    """0 when done, 1 when not, 2 for wrong usage."""
    words = sys.argv[1:]
    try:
        if words == ["down"]:
            down()
        elif words[:1] == ["up"] and len(words) <= 2 and (words[1:] or ["two-port"])[0] in LABS:
            up((words[1:] or ["two-port"])[0])
        else:
            print(__doc__.strip(), file=sys.stderr)
            return 2
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
