#!/usr/bin/python3
"""5,000 servers are probed every second, on time; and all of them at once after a cold start.

The servers are addresses of one host behind the TAP and the data path, with nginx on all of them.
"""

import http.client
import json
import os
import re
import signal
import socket
import time
from pathlib import Path

from labtest import main, wait_until
from director import DRIVER
from layout import WAN
from pair import HOSTS, Weir, pair

SERVICES, SERVERS = 5, 1000
PROBED = "198.18.0.0/15"
INTERVAL = 1.0  # seconds
WINDOW = 15.0  # seconds of measuring
PERIOD_ERROR_MAX = 0.10
RESIDENT_MAX = 400 << 20  # octets


def address(service, server):
    """The address of one of the servers."""
    return f"198.{18 + service // 250}.{service * 4 + server // 250}.{server % 250 + 1}"


class Prober(Weir):
    """Weir with very many NAT servers behind a gateway."""

    def yaml(self):
        """Its configuration, as a generator would write it."""
        cpus = sorted(os.sched_getaffinity(0))
        lines = [
            f"ports: [{{name: wan0, device: \"{DRIVER},iface=eth0\", "
            f"addresses: [{WAN.v4(HOSTS[self.name])}/24], gateway: [{WAN.v4(21)}]}}]",
            f"runtime: {{workers: [{cpus[-1]}], control: {cpus[0]}, flows_per_worker: 16384, "
            "mbufs: 16384, idle: adaptive, heartbeat: 500ms}",
            "health_checks:",
            "  web: {type: http, url: /healthz, interval: 1s, timeout: 1s, rise: 1, fall: 2}",
            f"management: {{socket: {self.socket}, state: {self.fabric.directory}/state, "
            "metrics_detail: service}",
            "services:"]
        for service in range(SERVICES):
            lines += [f"  - name: s{service}", f"    address: 192.0.2.{100 + service}",
                      "    port: 80", "    mode: nat", "    health: web", "    servers:"]
            lines += [f"      - {{name: n{server}, address: {address(service, server)}}}"
                      for server in range(SERVERS)]
        return "\n".join(lines) + "\n"

    def health(self):
        """{server: its entry}."""
        told = json.loads(self.weir("show", "health", "--json").stdout)["health"]
        return {f"{one['service']}/{one['server']}": one for one in told}

    def get(self, path):
        """The body of an answer on the management socket."""
        connection = http.client.HTTPConnection("weir")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.socket))
        connection.request("GET", path)
        return connection.getresponse().read().decode()

    def lateness(self, share):
        """The bucket's bound (seconds) below which this share of all probes started late."""
        buckets = self.histogram("weir_health_lateness_seconds")
        return next(bound for bound, count in buckets if count >= share * buckets[-1][1])

    def probed(self):
        """How many probes have ended so far."""
        return self.histogram("weir_health_lateness_seconds")[-1][1]

    def cpu_seconds(self):
        """CPU time that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def resident(self):
        """Octets of memory in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) << 10

    def histogram(self, name):
        """[(bound, count)] of a histogram without other labels."""
        lines = re.findall(rf'^{name}_bucket{{le="(.*)"}} (.*)$', self.get("/metrics"), re.M)
        return [(float(bound), float(count)) for bound, count in lines]


def counts(health):
    """{server: probes so far}."""
    return {name: one["pass"] + one["fail"] for name, one in health.items()}


def up(health):
    """How many are up."""
    return sum(one["up"] for one in health.values())


def probes(report):
    """Cold start, a quarter of a minute of probing, and everything dead at once."""
    with pair() as fabric:
        fabric["s1"].ip(f"route add local {PROBED} dev lo")
        weir = Prober(fabric, "a", {})
        weir.start()
        begin = time.monotonic()
        every = SERVICES * SERVERS
        wait_until(lambda: up(weir.health()) == every, 30, f"{every} servers up", step=0.2)
        report.note(f"{every} servers up {time.monotonic() - begin:.1f} s after the start")

        before, busy = counts(weir.health()), weir.cpu_seconds()
        begin, probed = time.monotonic(), weir.probed()
        time.sleep(WINDOW)
        took, mean = time.monotonic() - begin, (weir.probed() - probed) / every
        busy, after = weir.cpu_seconds() - busy, counts(weir.health())
        error = abs(took / mean / INTERVAL - 1)
        report.check(error <= PERIOD_ERROR_MAX,
                     f"period {took / mean:.3f} s, error {100 * error:.1f} %")
        # A server's own count is off by one at either end, and up to a second old.
        rates = sorted((after[name] - before[name]) for name in after)
        fewest = took / (rates[0] + 2) / INTERVAL - 1
        report.check(fewest <= PERIOD_ERROR_MAX,
                     f"the server with the fewest probes had {rates[0]} in {took:.1f} s")
        report.check(up(weir.health()) == every, "nobody fell meanwhile")
        report.note(f"{busy / took:.2f} CPUs for everything: probes, TAP, control, data path")
        late = weir.lateness(0.99)
        report.check(late <= INTERVAL / 2, f"99 % of the probes started within {late * 1e3:.0f} ms")
        report.check(weir.resident() <= RESIDENT_MAX,
                     f"{weir.resident() >> 20} MiB resident")

        os.kill(int((fabric.directory / "s1.pid").read_text()), signal.SIGKILL)
        begin = time.monotonic()
        # They refuse, so the brake has no say.
        wait_until(lambda: up(weir.health()) == 0, 20, "all servers down", step=0.2)
        report.note(f"all down {time.monotonic() - begin:.1f} s after nginx died")
        weir.end(signal.SIGTERM)


if __name__ == "__main__":
    main("probes: 5,000 servers every second", probes)
