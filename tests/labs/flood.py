#!/usr/bin/python3
"""Floods of bad adverts and of ARP from one host: the directors hear each other, clients get answers.

V21: adverts that no instance could take, from invented MACs and from the virtual one. A11: one
host's ARP questions, as fast as it can send.
"""

import json
import subprocess

from labtest import main
from pair import VIP, VRID, Weir, pair

SECONDS = 5
INTERVAL = 0.1
RATE = 100_000  # frames a second that are tried; the lab's switch may carry less

# Sends frames of one kind for some seconds, at most at a rate; prints how many.
FLOOD = f"""
import os, socket, struct, sys, time
kind, seconds, rate = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
os.nice(10)
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
own = s.getsockname()[4]
virtual = bytes.fromhex("00005e0001{VRID:02x}")
source, group, vip = (socket.inet_aton(a) for a in ("192.0.2.4", "224.0.0.18", "{VIP}"))

def advert(mac, ttl, vrid, checksum):
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0xc0, 32, 0, 0, ttl, 112, 0, source, group)
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xffff) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~((total & 0xffff) + (total >> 16)) & 0xffff) + ip[12:]
    message = struct.pack("!BBBBHH4s", 0x31, vrid, 254, 1, 10, checksum, vip)
    return bytes.fromhex("01005e000012") + mac + b"\\x08\\x00" + ip + message + bytes(14)

def question(n):
    arp = bytes.fromhex("0001080006040001") + own + source + bytes(6) + vip
    return b"\\xff" * 6 + own + b"\\x08\\x06" + arp + bytes(18)

frames = {{
    "ttl": [advert(own, 64, {VRID}, 0)],
    "checksum": [advert(virtual, 255, {VRID}, 1)],
    "identifier": [advert(bytes([2, 9, 9, 9, 9, n]), 255, 200, 0) for n in range(250)],
    "arp": [question(0)],
}}[kind]
start = now = time.monotonic()
sent = 0
while now < start + seconds:
    for _ in range(min(64, int((now - start) * rate) + 64 - sent)):
        try:
            s.send(frames[sent % len(frames)])
        except OSError:
            pass
        sent += 1
    now = time.monotonic()
print(int(sent / seconds))
"""


def instance(weir):
    """What a director says of its instance."""
    return json.loads(weir.weir("show", "vrrp", "--json").stdout)["vrrp"][0]


def under(report, fabric, both, kind):
    """One flood, and a client that asks for the VIP meanwhile."""
    before = [instance(weir) for weir in both]
    flood = fabric["k"].start("/usr/bin/python3", "-c", FLOOD, kind, SECONDS, RATE,
                              stdout=subprocess.PIPE, text=True)
    asked = fabric["client"].run("arping", "-b", "-c", SECONDS, "-w", SECONDS + 1,
                                 "-I", "eth0", VIP, check=False, timeout=SECONDS + 10).stdout
    rate = int(flood.stdout.readline())
    flood.wait(timeout=10)
    after = [instance(weir) for weir in both]
    report.note(f"{kind}: {rate} frames a second")
    changes = [b["transitions"] - a["transitions"] for a, b in zip(before, after)]
    report.equal(f"{kind}: changes of state", changes, [0, 0])
    heard = after[1]["adverts_received"] - before[1]["adverts_received"]
    # A worker that shares its CPU with the flood sleeps at times, and its device's ring overflows:
    # that loses good and bad alike. What reaches the worker is proven frame by frame in the
    # engine's tests; here a limit without regard of the sender would let through one in a hundred.
    sent = after[0]["adverts_sent"] - before[0]["adverts_sent"]
    report.check(heard >= sent * 0.7 > SECONDS / INTERVAL / 3,
                 f"{kind}: the Backup heard {heard} adverts of {sent}")
    answers = asked.count("bytes from") + asked.count("reply from")
    report.check(answers > SECONDS / 2, f"{kind}: {answers} ARP answers for a client", asked)


def floods(report):
    """Two directors and a third host that floods."""
    with pair() as fabric:
        both = [Weir(fabric, name, {"interval": f"{INTERVAL * 1e3:.0f}ms", "priority": priority})
                for name, priority in (("a", 250), ("b", 100))]
        for weir in both:
            weir.start()
        both[0].wait("active", 5)
        both[1].wait("backup", 5)
        fabric["k"].ip("addr add 192.0.2.4/24 dev eth0")
        for kind in ("ttl", "checksum", "identifier", "arp"):
            under(report, fabric, both, kind)
        metrics = both[1].weir("show", "drops").stdout
        report.check("punt_limited" in metrics, "what was too much is counted", metrics)
        report.equal("one line of log a second and reason at most",
                     both[1].log.read_text(errors="replace").count("advert refused") <=
                     4 * (SECONDS + 2), True)


if __name__ == "__main__":
    main("flood: bad adverts and ARP from one host", floods)
