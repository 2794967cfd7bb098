#!/usr/bin/python3
"""Path checks: what is wrong between VIP and server is found and named, on both directors.

Servers in DR and in tunnels, over IPv4 and IPv6, on one switch with an Active and a Backup. One
after the other a mistake is made and mended: a tunnel that is not set up, the VIP missing on the
loopback interface, nothing listening, reverse path filters that drop what a director sends, plain
and out of the tunnel, the server off. An address-level check would not see the half of it.
"""

import json
import os
import signal
from contextlib import contextmanager

from labtest import LabError, main, take_down, wait_until
from director import DRIVER
from layout import WAN, Layout, Server, build_server
from net import Fabric
from pair import HOSTS, VRID, Weir, cut
from servers import Servers
from session import Answers, end_by_signals

SERVERS = [Server("good", "dr", WAN, 21), Server("bare", "dr", WAN, 22),
           Server("deaf", "dr", WAN, 23), Server("strict", "dr", WAN, 24),
           Server("off", "dr", WAN, 25),
           Server("tun1", "tunnel", WAN, 41), Server("tun2", "tunnel", WAN, 42)]
VIPS = {"dr": 10, "tunnel": 12}
FAMILIES = (4, 6)
PATIENCE = 20  # seconds until a result shows
# The kernel believes a neighbour for up to 45 s (base_reachable_time), then asks for some ten.
FORGOTTEN = 70
KERNELS_MAC = "02:77:65:69:72:00"  # what kernels are told that VIPs have
VIRTUAL_MAC = f"00:00:5e:00:01:{VRID:02x}"


class Director(Weir):
    """Weir with a path check of every server."""

    def yaml(self):
        """Its configuration, as an operator would write it."""
        cpus, port = sorted(os.sched_getaffinity(0)), f"{self.name}0"
        dips = [f"{WAN.v4(HOSTS[self.name])}/24", f"{WAN.v6(HOSTS[self.name])}/64"]
        lines = [
            "ports:",
            f"  - {{name: {port}, device: \"{DRIVER},iface=eth0\", addresses: {json.dumps(dips)}}}",
            f"runtime: {{workers: [{cpus[-1]}], control: {cpus[0]}, flows_per_worker: 16384, "
            "mbufs: 8192, idle: adaptive, heartbeat: 500ms}",
            "vrrp:"]
        for family in FAMILIES:
            vips = [WAN.address(host, family) for host in VIPS.values()]
            keys = {"name": f"edge{family}", "port": port, "id": VRID, "group": "edge",
                    "addresses": vips if family == 4 else ["fe80::10", *vips]}
            lines.append(f"  - {json.dumps(keys | self.vrrp)}")
        lines += [
            "health_checks:",
            "  web: {type: http, url: /healthz, interval: 500ms, timeout: 1s, rise: 2, fall: 2}",
            "services:"]
        for mode, host in VIPS.items():
            for family in FAMILIES:
                vip = WAN.address(host, family)
                lines += [f'  - name: {mode}{family}', f'    address: "{vip}"', "    port: 80",
                          f"    mode: {mode}", "    health: web", "    servers:"]
                lines += [f'      - {{name: {server.name}, address: "{server.address(family)}"}}'
                          for server in SERVERS if server.mode == mode]
        lines += ["management:", f"  socket: {self.socket}",
                  f"  state: {self.fabric.directory}/{self.name}-state"]
        return "\n".join(lines) + "\n"

    def health(self, service, server):
        """One server's health; of its results, the newest is the first."""
        told = self.weir("show", "health", "--json", f"{service}/{server}").stdout
        return json.loads(told)["health"][0]

    def expect(self, report, name, passed, words="", families=FAMILIES, patience=PATIENCE):
        """The newest result of a server says so, and so does its state."""
        mode = next(server.mode for server in SERVERS if server.name == name)
        for family in families:
            seen = {}

            def is_so(service=f"{mode}{family}", seen=seen):
                seen.update(self.health(service, name))
                newest = seen["results"][0] if seen["results"] else None
                return (newest and newest["passed"] == seen["up"] == passed
                        and words in newest["detail"])

            text = f"{self.name}: {mode}{family}/{name} is {'up' if passed else 'down'}"
            try:
                wait_until(is_so, patience, text)
            except LabError:
                report.failed(f"{text}, {words!r}: {seen['up']}, {seen['results'][:1]}")
            else:
                report.check(True, f"{text}: {seen['results'][0]['detail']}")


@contextmanager
def site():
    """Builds the network with the servers running, but no tunnel's end; removes it at the end."""
    if os.geteuid() != 0:
        raise LabError("root is needed: namespaces, devices and DPDK ports are made here")
    tag = str(os.getpid())
    end_by_signals()
    try:
        fabric = Fabric(tag)
        switch = fabric.switch("sw")
        for name in ("a", "b", "client"):
            space = fabric.namespace(name)
            director = name != "client"
            space.sysctl(net__ipv6__conf__default__disable_ipv6=int(director))
            fabric.link(space, "eth0", switch)
            if director:  # as distributions do: Weir must keep it off its own probes
                space.sysctl(net__ipv4__conf__all__rp_filter=1)
            else:
                space.ip(*WAN.assign(HOSTS[name], "eth0"))
        lab = Layout("path", servers=SERVERS)
        servers = Servers(lab, fabric)
        for server in SERVERS:
            build_server(fabric, lab, server, switch)
            servers.start(server.name)
        yield fabric, servers
    finally:
        take_down(tag)


def mistakes(report, fabric, servers, directors):
    """One after the other is made, seen by both directors, and mended."""
    def everywhere(*what, **options):
        for director in directors:
            director.expect(report, *what, **options)

    report.section("a tunnel that is not set up")
    everywhere("tun2", False, "no tunnel is set up on")
    servers.start_decap(SERVERS[-1])
    everywhere("tun2", True)

    report.section("the VIP missing on the loopback interface")
    bare = fabric["bare"]
    vips = [f"{WAN.v4(10)}/32", f"{WAN.v6(10)}/128"]
    bare.ip(*(f"addr del {vip} dev lo" for vip in vips))
    everywhere("bare", False, "is missing on its lo")
    for address in (WAN.v4(22), f"[{WAN.v6(22)}]"):
        got = fabric["client"].run("curl", "-sm2", f"http://{address}/healthz", check=False)
        report.equal(f"and {address} itself answers", got.stdout, "ok\n")
    bare.ip(*(f"addr add {vip} dev lo" for vip in vips))
    everywhere("bare", True)

    report.section("nothing listening")
    servers.kill("deaf")
    everywhere("deaf", False, "refused")
    servers.start("deaf")
    everywhere("deaf", True)

    report.section("a reverse path filter on the server, which looks for directors elsewhere")
    strict, elsewhere = fabric["strict"], fabric.switch("elsewhere")
    fabric.link(strict, "eth1", elsewhere)
    strict.sysctl(net__ipv4__conf__eth0__rp_filter=1)
    dips = [WAN.v4(HOSTS[name]) for name in ("a", "b")]
    strict.ip(*(f"route add {dip}/32 dev eth1" for dip in dips))
    everywhere("strict", False, "its own address is silent too", families=(4,))
    strict.ip(*(f"route del {dip}/32 dev eth1" for dip in dips))
    everywhere("strict", True)

    report.section("a reverse path filter at the tunnel's end, whose packets do not leave there")
    fabric["tun1"].sysctl(net__ipv4__conf__tun0__rp_filter=1)
    everywhere("tun1", False, "its own address answers", families=(4,))
    fabric["tun1"].sysctl(net__ipv4__conf__tun0__rp_filter=0)
    everywhere("tun1", True)

    report.section("the server off")
    cut(fabric, "off")
    everywhere("off", False, "answer from", patience=FORGOTTEN)
    cut(fabric, "off", down=False)
    everywhere("off", True)


def seen_on_the_wire(report, fabric, capture):
    """Nothing of it shows where it should not."""
    def count(what):
        return int(fabric["sw"].run("tcpdump", "-nr", capture, "--count", what,
                                    check=False).stdout.split()[0])

    vip, dips = WAN.v4(VIPS["dr"]), [WAN.v4(HOSTS[name]) for name in ("a", "b")]
    for dip in dips:
        probes = count(f"tcp and src {dip} and dst {vip}")
        report.check(probes > 0, f"{probes} segments of probes from {dip} to {vip}")
    report.equal("frames with the MAC that kernels are told", count(f"ether host {KERNELS_MAC}"), 0)
    report.equal("probes from the virtual MAC",
                 count(f"ether src {VIRTUAL_MAC} and (tcp or udp)"), 0)
    asked = " or ".join(f"arp src host {dip}" for dip in dips)
    report.equal("questions of a director's kernel where the VIP is",
                 count(f"arp and ether broadcast and ({asked}) and arp dst host {vip}"), 0)


def paths(report):
    """All right; each mistake; and the same servers after a take-over."""
    with site() as (fabric, servers):
        capture = fabric.directory / "wire.pcap"
        tcpdump = fabric["sw"].start("tcpdump", "-Z", "root", "-ni", "br0", "-s", "96", "-w",
                                     capture)
        servers.start_decap(next(server for server in SERVERS if server.name == "tun1"))
        a, b = (Director(fabric, name, {"interval": "100ms", "priority": priority})
                for name, priority in (("a", 200), ("b", 100)))
        a.start()
        a.wait("active", 5)
        b.start()
        report.section("all right")
        for director in (a, b):
            for name in ("good", "bare", "deaf", "strict", "off", "tun1"):
                director.expect(report, name, True)
            by_way = director.health("dr4", "good")["path"]
            report.equal(f"{director.name} probes by way of the VIP", by_way, f"{WAN.v4(10)}:80")
        mistakes(report, fabric, servers, (a, b))

        report.section("after all")
        report.equal("the roles stayed", (a.state(), b.state()), ("active", "backup"))
        got = requests(fabric, 40)
        report.equal("requests answered", got.answered, 40)
        a.end(signal.SIGKILL)
        b.wait("active", 5)
        names = ("good", "bare", "deaf", "strict", "off")
        tally = {name: b.health("dr4", name) for name in names}
        wait_until(lambda: b.health("dr4", "good")["pass"] >= tally["good"]["pass"] + 4, 10,
                   "probes of the new Active")
        report.equal("probes that failed since the Backup is Active",
                     sum(b.health("dr4", name)["fail"] - tally[name]["fail"] for name in names), 0)
        got = requests(fabric, 40)
        report.equal("requests answered by the other director", got.answered, 40)
        tcpdump.send_signal(signal.SIGTERM)
        tcpdump.wait(timeout=5)
        seen_on_the_wire(report, fabric, capture)


def requests(fabric, count):
    """Sends HTTP requests from the client, each on a connection of its own."""
    done = fabric["client"].run(
        "curl", "-s", "--connect-timeout", "1", "-m", "2", "-H", "Connection: close", "-o",
        "/dev/null", "-w", "%{http_code} %header{served-by}\n",
        f"http://{WAN.v4(10)}/?[1-{count}]", check=False, timeout=60 + count)
    return Answers.read(done.stdout, count)


if __name__ == "__main__":
    main("path: what is wrong on the way from the VIP to a server", paths)
