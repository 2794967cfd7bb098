#!/usr/bin/python3
"""Quorum and sorry server, the brake, slow start, certificates, and verdicts over a reload.

Four DR servers and a sorry server on one switch, with nginx; a TLS server of openssl on one of
them. Each thing has a real cause: nginx is killed, links are cut, a certificate is about to expire.
"""

import json
import os
import re
import signal
import subprocess
from contextlib import contextmanager

from labtest import main, take_down, wait_until
from director import DRIVER
from layout import WAN, Layout, Server, build_server
from net import Fabric
from pair import HOSTS, Weir, cut
from servers import Servers
from session import end_by_signals

SERVERS = [Server(f"w{number}", "dr", WAN, 20 + number) for number in range(1, 5)]
SORRY = Server("late", "dr", WAN, 29)
VIP = WAN.v4(10)
TLS_PORT, NAME = 8443, "www.example.net"
HOLD, SLOW_START = 4, 4  # seconds


class Director(Weir):
    """Weir with a service that has all of it, and one that is checked over TLS."""

    name_wanted = NAME
    weight = 1

    def yaml(self):
        """Its configuration, as an operator would write it."""
        cpus, directory = sorted(os.sched_getaffinity(0)), self.fabric.directory
        servers = [f"      - {{name: {s.name}, address: {s.address(4)}, weight: {self.weight}}}"
                   for s in SERVERS]
        lines = [
            f"ports: [{{name: a0, device: \"{DRIVER},iface=eth0\", "
            f"addresses: [{WAN.v4(HOSTS['a'])}/24]}}]",
            f"runtime: {{workers: [{cpus[-1]}], control: {cpus[0]}, flows_per_worker: 16384, "
            "mbufs: 8192, idle: adaptive, heartbeat: 500ms}",
            "health_checks:",
            "  web:",
            "    {type: http, url: /healthz, interval: 300ms, timeout: 300ms, rise: 2, fall: 2,",
            f"     expect: {{contains: ok}}, brake: {{servers: 4, hold: {HOLD}s}}}}",
            f"  tls: {{type: https, interval: 300ms, timeout: 1s, fall: 1, port: {TLS_PORT},",
            f"        tls: {{name: {self.name_wanted}, verify: true, ca: {directory}/cert.pem}}}}",
            f"management: {{socket: {self.socket}, state: {directory}/state}}",
            "services:",
            f"  - name: web\n    address: {VIP}\n    port: 80\n    scheduler: wrr\n"
            f"    health: web\n    quorum: {2 * self.weight}\n    slow_start: {SLOW_START}s\n"
            f"    sorry_server: {{address: {SORRY.address(4)}}}\n    servers:",
            *servers,
            f"  - name: tls\n    address: {VIP}\n    port: {TLS_PORT}\n    health: tls\n"
            f"    servers:\n      - {{name: w1, address: {SERVERS[0].address(4)}}}"]
        return "\n".join(lines) + "\n"

    def reload(self):
        """Takes over what `yaml` says now."""
        self.config.write_text(self.yaml(), encoding="ascii")
        self.weir("apply")

    def health(self, name):
        """One server's health."""
        return json.loads(self.weir("show", "health", "--json", name).stdout)["health"][0]

    def up(self):
        """Names of the web servers that are up."""
        return [s.name for s in SERVERS if self.health(f"web/{s.name}")["up"]]

    def status(self):
        """What `weir status` says."""
        return self.weir("status", check=False).stdout


@contextmanager
def site():
    """Builds the network with the servers running; removes it at the end."""
    tag = str(os.getpid())
    end_by_signals()
    try:
        fabric = Fabric(tag)
        switch = fabric.switch("sw")
        for name in ("a", "client"):
            space = fabric.namespace(name)
            space.sysctl(net__ipv6__conf__default__disable_ipv6=1)
            fabric.link(space, "eth0", switch)
        fabric["client"].ip(f"addr add {WAN.v4(HOSTS['client'])}/24 dev eth0")
        lab = Layout("health", servers=[*SERVERS, SORRY])
        servers = Servers(lab, fabric)
        for server in lab.servers:
            build_server(fabric, lab, server, switch)
            servers.start(server.name)
        serve_tls(fabric)
        yield fabric, servers
    finally:
        take_down(tag)


def serve_tls(fabric):
    """A TLS server on the first server, whose certificate expires in three days."""
    directory = fabric.directory
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3",
                    "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
                    "-addext", "basicConstraints=critical,CA:FALSE",
                    "-keyout", directory / "key.pem", "-out", directory / "cert.pem"],
                   check=True, capture_output=True)
    server = fabric[SERVERS[0].name]
    with (directory / "tls.log").open("wb") as log:
        server.start("openssl", "s_server", "-accept", TLS_PORT, "-www", "-quiet",
                     "-key", directory / "key.pem", "-cert", directory / "cert.pem", log=log)


def who_serves(fabric, count=24):
    """Names of the servers that answer, by what they say."""
    got = fabric["client"].run("sh", "-c", f"for i in $(seq {count}); do "
                               f"curl -sm1 http://{VIP}/; done", check=False).stdout
    return sorted(set(got.split()))


def quorum(report, fabric, servers, weir):
    """Three of four refuse: the sorry server takes over, and gives back."""
    report.section("the quorum is lost and found")
    every = [server.name for server in SERVERS]
    report.equal("served by", who_serves(fabric), every)
    for name in every[:3]:
        servers.kill(name)
    wait_until(lambda: weir.up() == ["w4"], 5, "three servers down")
    wait_until(lambda: who_serves(fabric, 4) == [SORRY.name], 5, "the sorry server serves")
    report.check("quorum lost: weight 1 of 2" in weir.status(), "status tells of the quorum",
                 weir.status())
    for name in every[:3]:
        servers.start(name)
    wait_until(lambda: weir.up() == every, 10, "all up again")
    report.equal("served by", who_serves(fabric), every)


def slow_start(report, weir):
    """Those that came back grow into their weight."""
    shares = []
    def grown(name="web/w1"):
        shares.append(weir.health(name)["share"])
        return shares[-1] == 100
    wait_until(grown, 2 * SLOW_START, "the whole weight", step=0.1)
    report.check(shares == sorted(shares) and len(set(shares)) > 3 and shares[0] < 100,
                 f"w1's share of its weight grew: {sorted(set(shares))}", str(shares))
    report.equal("and w4, which never fell, has all of it", weir.health("web/w4")["share"], 100)


def brake(report, fabric, weir):
    """All links are cut at once: the last state is kept for a while."""
    report.section("all servers fall silent at once")
    for server in SERVERS:
        cut(fabric, server.name)
    took = wait_until(lambda: "fell silent at once" in weir.status(), 5, "the brake")
    report.check(len(weir.up()) == 4, f"the brake keeps all four up after {took:.1f} s")
    wait_until(lambda: weir.up() == [], HOLD + 3, "the brake lets go")
    report.check(who_serves(fabric, 4) == [SORRY.name], "its time is over: the sorry server serves")
    for server in SERVERS:
        cut(fabric, server.name, down=False)
    wait_until(lambda: len(weir.up()) == 4, 10, "all up again")


def certificate(report, weir):
    """Its expiry is told, and a wrong name takes the server down."""
    report.section("certificates")
    wait_until(lambda: weir.health("tls/w1")["up"], 5, "the TLS server is up again")
    expiry = weir.health("tls/w1")["certificate_expiry"]
    report.check(re.match(r"20\d\d-\d\d-\d\dT", expiry) is not None, f"expires {expiry}")
    report.check("its certificate expires" in weir.status(), "status warns of it", weir.status())
    weir.name_wanted = "other.example.net"
    weir.reload()
    wait_until(lambda: not weir.health("tls/w1")["up"], 5, "another name is not taken")
    why = weir.health("tls/w1")["results"][0]["detail"]
    report.check("not valid for name" in why, f"another name: {why}")


def reload(report, weir):
    """An unchanged server keeps its state and its history."""
    report.section("a reload")
    before = weir.health("web/w1")
    weir.weight = 2
    weir.reload()
    after = weir.health("web/w1")
    report.check(after["up"] and after["pass"] >= before["pass"]
                 and after["since_seconds"] >= before["since_seconds"],
                 "w1 keeps verdict, history and counts", f"{before} {after}")
    report.check(len(after["results"]) >= len(before["results"]), "and its last results")
    phases = after["results"][0]["phases"]
    report.check(all(phases[key] is not None for key in
                     ("connect_seconds", "send_seconds", "first_byte_seconds")),
                 "each result has the time of its phases", str(phases))
    report.note(weir.weir("show", "health", "web/w1").stdout)


def health(report):
    """One after the other, on one director."""
    with site() as (fabric, servers):
        weir = Director(fabric, "a", {})
        weir.start()
        wait_until(lambda: len(weir.up()) == 4 and weir.health("tls/w1")["up"], 10, "all up")
        quorum(report, fabric, servers, weir)
        slow_start(report, weir)
        brake(report, fabric, weir)
        reload(report, weir)
        certificate(report, weir)
        weir.end(signal.SIGTERM)


if __name__ == "__main__":
    main("health: quorum, brake, slow start, certificates, reload", health)
