#!/usr/bin/python3
"""`/v1/events`: each kind is told when it happens, readers resume, and none harms the others.

One director on the real socket; every event has a real cause.
"""

import json
import os
import signal
import socket
import time
from datetime import datetime, timezone

from labtest import main, wait_until
from pair import VIP, Weir, cut, pair

READERS_MAX = 16
CHECKED = f"""\
  - name: checked
    address: {VIP}
    port: 8080
    mode: nat
    health: web
    servers:
      - {{name: s1, address: 192.0.2.21, port: 80}}
health_checks:
  web: {{type: http, url: /, interval: 200ms, timeout: 100ms, rise: 1, fall: 1}}
"""

# A gratuitous ARP for an address, from the MAC of this host.
CLAIM = """
import socket, sys
device, vip = sys.argv[1:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x806))
s.bind((device, 0))
mac, ip = s.getsockname()[4], socket.inet_aton(vip)
arp = bytes.fromhex("0001080006040001") + mac + ip + bytes(6) + ip
s.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + arp + bytes(18))
"""


class Reader:
    """One connection to the stream, as a tool would hold it."""

    def __init__(self, weir, last=None, patient=True):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(5)
        self.socket.connect(str(weir.socket))
        resume = f"Last-Event-ID: {last}\r\n" if last is not None else ""
        self.socket.sendall(f"GET /v1/events HTTP/1.1\r\nHost: weir\r\n{resume}\r\n".encode())
        self.text, self.status = "", None
        if patient:
            wait_until(self.has_begun, 5, "the head of the stream")

    def read(self):
        """Takes in what has come, without waiting."""
        self.socket.setblocking(False)
        try:
            while more := self.socket.recv(1 << 16):
                self.text += more.decode()
        except BlockingIOError:
            pass

    def has_begun(self):
        """Whether the answer's head is here."""
        self.read()
        head, ends, _ = self.text.partition("\r\n\r\n")
        if ends:
            self.status = int(head.split()[1])
        return bool(ends)

    def events(self):
        """[(id, kind, data)] so far. Chunk sizes stand on lines of their own."""
        self.read()
        found = []
        for block in self.text.split("\r\n\r\n", 1)[1].replace("\r", "").split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines()
                          if line.startswith(("id: ", "event: ", "data: ")))
            if "data" in fields:
                data = json.loads(fields["data"])
                found.append((fields.get("id"), fields["event"], data))
        return found

    def wait(self, kind, seconds=5, **wanted):
        """Waits for an event of this kind with these fields; returns (id, data)."""
        def match():
            return [(number, data) for number, event, data in self.events()
                    if event == kind and wanted.items() <= data.items()]
        wait_until(match, seconds, f"event {kind} {wanted}")
        return match()[0]

    def close(self):
        """Hangs up."""
        self.socket.close()


def causes(report, fabric, weir, reader):
    """Every kind has its cause, and comes at once."""
    reader.wait("server", service="checked", server="s1", up=True)
    _, told = reader.wait("vrrp", instance="edge", to="active")
    report.equal("a VRRP change says from what, and why", (told["from"], bool(told["why"])),
                 ("backup", True))
    age = datetime.now(timezone.utc) - datetime.fromisoformat(told["time"])
    report.between("its time is of now (seconds)", age.total_seconds(), 0, 30)

    pid = int((fabric.directory / "s1.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    _, told = reader.wait("server", service="checked", server="s1", up=False)
    report.check(told["reason"], f"a server down: {told['reason']}")
    os.kill(pid, signal.SIGCONT)

    fabric["k"].run("/usr/bin/python3", "-c", CLAIM, "eth0", VIP)
    _, told = reader.wait("leak", vip=VIP)
    report.equal("a leak: where and how", (told["port"], told["how"]), ("a0", "arp_announcement"))

    good = weir.config.read_text()
    weir.config.write_text(good.replace("protocol: udp", "protocol: upd"))
    report.equal("a bad file is refused", weir.weir("apply", check=False).returncode, 1)
    _, told = reader.wait("config", applied=False)
    report.check("a.yaml:" in told["text"], "and told of with its place", told["text"])
    weir.config.write_text(good)
    weir.weir("apply")
    _, told = reader.wait("config", applied=True)
    report.equal("a good one with its revision", told["revision"], 2)

    cut(fabric, "a")
    reader.wait("link", port="a0", up=False)
    last, _ = reader.wait("vrrp", instance="edge", to="fault")
    cut(fabric, "a", down=False)
    reader.wait("vrrp", **{"from": "fault"})
    report.check(True, "a link down and the fault that follows")
    return last


def resumption(report, weir, reader, last):
    """Who comes back gets what it missed; nothing twice, nothing missing."""
    at = [number for number, _, _ in reader.events()].index(last)
    wait_until(lambda: len(reader.events()) > at + 1, 5, "events after the fault")
    late = Reader(weir, last)
    missed = reader.events()[at + 1:]
    wait_until(lambda: len(late.events()) >= len(missed), 5, "what was missed")
    report.equal(f"Last-Event-ID {last} brings what came since", late.events()[:len(missed)],
                 missed)
    everything = Reader(weir, "0")
    numbers = [data["sequence"] for _, _, data in everything.events()]
    wait_until(lambda: everything.events(), 5, "everything that is kept")
    numbers = [data["sequence"] for _, _, data in everything.events()]
    report.equal("an unknown one brings all, numbered without a gap", numbers,
                 list(range(1, len(numbers) + 1)))
    late.close()
    everything.close()


def crowd(report, weir):
    """Readers that never read, and too many of them: refused, and the director goes on."""
    silent = [Reader(weir, "0", patient=False) for _ in range(READERS_MAX - 1)]
    extra = None

    def is_refused():
        nonlocal extra
        extra = Reader(weir)
        extra.close()
        return extra.status == 503
    wait_until(is_refused, 5, "one reader too many is refused")
    report.check("application/problem+json" in extra.text, "one reader too many is told why (503)",
                 extra.text)
    for _ in range(3):  # each a change of role and more: the silent ones take nothing
        weir.weir("vrrp", "resign")
        weir.wait("active", 5)
    report.equal("the director answers all the same", weir.weir("status").returncode, 0)
    for one in silent:
        one.close()

    def has_room():
        again = Reader(weir)
        again.close()
        return again.status == 200
    wait_until(has_room, 5, "room after they left")
    report.check(True, "who leaves makes room")


def stream(report):
    """One Weir, one reader from the start, then others."""
    with pair() as fabric:
        keys = {"interval": "100ms", "priority": 200}
        weir = Weir(fabric, "a", keys, CHECKED)
        weir.start()
        reader = Reader(weir, "0")
        last = causes(report, fabric, weir, reader)
        resumption(report, weir, reader, last)
        crowd(report, weir)
        numbers = [data["sequence"] for _, _, data in reader.events()]
        report.equal("the first reader missed nothing meanwhile", numbers,
                     list(range(1, len(numbers) + 1)))
        began = time.monotonic()
        weir.end(signal.SIGTERM)
        report.check(time.monotonic() - began < 5, "open streams do not delay the end")


if __name__ == "__main__":
    main("events: what happens, as it happens", stream)
