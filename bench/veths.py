"""A client, a director and a server in namespaces, joined by veth pairs, and HTTP between them.

    client c0 ── d0 director d1 ── s0 server
           r0 ────────────────────── r1        answers of direct routing

Every contender stands in the middle of the same devices. Offloads are off, so that each frame is
one that could be on a wire. The server is one nginx behind several addresses.
"""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from host import REPOSITORY, BenchError

sys.path.append(str(REPOSITORY / "deploy" / "lab"))

# pylint: disable=wrong-import-position
from net import Fabric, LabError, take_down, wait_until  # noqa: E402

WAN, LAN = "192.0.2", "203.0.113"
CLIENT, DIRECTOR, VIP = f"{WAN}.10", f"{WAN}.2", f"{WAN}.100"
LAN_DIRECTOR = f"{LAN}.2"
SERVERS = [f"{LAN}.{host}" for host in (11, 12, 13, 14)]
CONNECTIONS = 64

NGINX = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/nginx.tmp;
    proxy_temp_path {directory}/nginx.tmp;
    fastcgi_temp_path {directory}/nginx.tmp;
    uwsgi_temp_path {directory}/nginx.tmp;
    scgi_temp_path {directory}/nginx.tmp;
    server {{
        listen 80 backlog=4096;
        location / {{ return 200 "ok\\n"; }}
    }}
}}
"""


@dataclass(frozen=True)
class Load:
    """What wrk reached."""

    requests: int
    seconds: float

    @property
    def rate(self):
        """Requests per second; connections too if each is one's own."""
        return self.requests / self.seconds


class Veths:
    """The namespaces, from `with` to its end."""

    def __init__(self):
        self.tag = str(os.getpid())
        self.fabric = self.nginx = None

    def __enter__(self):
        try:
            self.build()
            self.serve()
        except LabError as error:
            self.__exit__()
            raise BenchError(str(error)) from None
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        take_down(self.tag)

    def __getitem__(self, name):
        return self.fabric[name]

    @property
    def directory(self):
        """Where files of programs go."""
        return self.fabric.directory

    def build(self):
        """Namespaces and links, without what a contender adds."""
        self.fabric = Fabric(self.tag)
        for name in ("client", "director", "server"):
            space = self.fabric.namespace(name)
            space.sysctl(net__ipv6__conf__all__disable_ipv6=1, net__core__somaxconn=4096,
                         net__ipv6__conf__default__disable_ipv6=1,
                         net__ipv4__ip_local_port_range="1024 65535",
                         net__ipv4__tcp_max_syn_backlog=4096)
        for (space, device), (peer, other) in (
                (("client", "c0"), ("director", "d0")), (("director", "d1"), ("server", "s0")),
                (("client", "r0"), ("server", "r1"))):
            there = self[peer]
            self[space].ip(f"link add {device} type veth peer name {other} "
                           f"netns {there.full_name}", f"link set {device} up")
            there.ip(f"link set {other} up")
            self[space].offloads_off(device)
            there.offloads_off(other)
        self["client"].ip(f"addr add {CLIENT}/24 dev c0")
        self["server"].ip(*(f"addr add {server}/24 dev s0" for server in SERVERS))

    def serve(self):
        """Starts nginx."""
        (self.directory / "nginx.tmp").mkdir()
        conf = self.directory / "nginx.conf"
        conf.write_text(NGINX.format(directory=self.directory), encoding="ascii")
        with (self.directory / "nginx.log").open("wb") as log:
            self.nginx = self["server"].start("nginx", "-c", conf, "-e", "/dev/stderr", log=log)
        wait_until(lambda: "LISTEN" in self["server"].run("ss", "-Hltn", "sport = :80").stdout, 10,
                   "nginx listens")

    def mac(self, space, device):
        """The MAC of a device."""
        return self[space].run("cat", f"/sys/class/net/{device}/address").stdout.strip()

    def reset(self):
        """Takes away what the contender before had added: addresses, routes, neighbours, rules."""
        director = self["director"]
        for device in ("d0", "d1"):
            director.ip(f"addr flush dev {device}")
        director.run("nft", "flush", "ruleset")
        director.sysctl(net__ipv4__ip_forward=0)
        self["server"].ip("addr flush dev lo to 192.0.2.0/24")
        self["client"].run("ip", "route", "flush", "root", f"{LAN}.0/24")
        self["server"].run("ip", "route", "flush", "root", f"{WAN}.0/24")
        for name in ("client", "server"):
            for device in ("c0", "r0") if name == "client" else ("s0", "r1"):
                self[name].run("ip", "neigh", "flush", "dev", device, "nud", "all")

    def permanent(self, space, address, device, mac):
        """Tells a host a neighbour, once and for all."""
        self[space].ip(f"neigh replace {address} lladdr {mac} dev {device} nud permanent")

    def answer_directly(self):
        """The server holds the VIP and answers past the director, as direct routing has it."""
        self["server"].ip(f"addr add {VIP}/32 dev lo", f"route add {WAN}.0/24 dev r1")
        self.permanent("server", CLIENT, "r1", self.mac("client", "r0"))

    def check(self, address):
        """Raises BenchError unless a request to this address is answered."""
        done = self["client"].run("curl", "-sm2", "--retry", "5", "--retry-connrefused",
                                  f"http://{address}/", check=False, timeout=30)
        if done.stdout != "ok\n":
            raise BenchError(f"no answer from {address} (curl: {done.returncode})")

    def load(self, address, seconds, close, cpus):
        """Runs wrk. With `close`, each request is a connection of its own."""
        options = ["-H", "Connection: close"] if close else []
        done = self["client"].run("taskset", "-c", ",".join(map(str, cpus)), "wrk", "-t1",
                                  f"-c{CONNECTIONS}", f"-d{seconds}s", *options,
                                  f"http://{address}/", timeout=seconds + 20)
        found = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout)
        errors = re.search(r"Socket errors: (.*)|Non-2xx.*", done.stdout)
        if not found or not int(found.group(1)):
            raise BenchError(f"wrk: {done.stdout} {done.stderr}")
        # What is under way at wrk's end counts as nothing; anything else is a failure.
        failed = sum(map(int, re.findall(r"\d+", errors.group(0)))) if errors else 0
        if failed > CONNECTIONS:
            raise BenchError(f"{address}: {errors.group(0)}")
        return Load(int(found.group(1)), float(found.group(2)))


def pin(pid, cpus):
    """Moves all threads of a process to these CPUs."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cpus)
