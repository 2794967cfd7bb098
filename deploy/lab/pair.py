"""Two directors on one switch, a client and one DR server: Weir, keepalived or FRR on each side.

    client 192.0.2.5 --+-- [switch] --+-- a  192.0.2.2   (director)
    server 192.0.2.21 -+              +-- b  192.0.2.3   (director)
                                      +-- k  192.0.2.4   (a third, where it is wanted)

With an inside, the directors have a second port there, .2 and .3 of 203.0.113.0/24, and a NAT
server n1 (.31) whose default route is the floating gateway .254. The VIP 192.0.2.10 serves HTTP on
port 80 and, for measuring, a UDP echo on port 7.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from director import DRIVER, binary
from layout import LAN, WAN, Layout, Server, build_server
from net import Fabric, LabError, is_running, run, take_down, wait_until
from servers import Servers
from session import ENDING_SIGNALS, end_by_signals

VIP = WAN.v4(10)
GATEWAY = LAN.v4(254)
VRID = 51
HOSTS = {"a": 2, "b": 3, "k": 4, "client": 5}
ECHO_PORT = 7

ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    data, who = s.recvfrom(64)
    s.sendto(data, who)
"""

# Sends a numbered datagram every 2 ms; prints answers, losses and the longest silence.
MEASURE = """
import select, socket, sys, time
vip, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((vip, port))
s.setblocking(False)
print("ready", flush=True)
start = now = time.monotonic()
sent, answers, last, longest = 0, 0, None, 0.0
while now < start + seconds:
    if now >= start + sent * 0.002:
        try:
            s.send(sent.to_bytes(4, "big"))
        except OSError:
            pass
        sent += 1
    select.select([s], [], [], 0.001)
    now = time.monotonic()
    try:
        while s.recv(64):
            answers += 1
            longest = max(longest, now - (last or now))
            last = now
    except OSError:
        pass
print(sent, answers, longest, now - (last or start))
"""


class Weir:
    """Weir as one of the two directors."""

    def __init__(self, fabric, name, vrrp, extra="", inside=None):
        self.fabric, self.name, self.space = fabric, name, fabric[name]
        self.vrrp, self.extra = vrrp, extra
        self.inside = inside  # keys of the floating gateway's instance, where there is an inside
        self.config = fabric.directory / f"{name}.yaml"
        self.socket = fabric.directory / f"{name}.sock"
        self.log = fabric.directory / f"{name}.log"
        self.process = None

    def yaml(self):
        """Its configuration, as an operator would write it."""
        cpus = sorted(os.sched_getaffinity(0))
        keys = {"name": "edge", "port": f"{self.name}0", "id": VRID, "addresses": [VIP]}
        server = f"- {{name: s1, address: {WAN.v4(21)}}}"
        port = second = ""
        if self.inside is not None:
            host = HOSTS[self.name]
            port = (f"  - {{name: lan0, device: \"{DRIVER},iface=eth1\", "
                    f"addresses: [{LAN.v4(host)}/24]}}\n")
            gateway = {"name": "inside", "port": "lan0", "id": VRID, "addresses": [GATEWAY]}
            second = f"  - {json.dumps(gateway | self.inside)}\n"
        return f"""\
ports:
  - name: {self.name}0
    device: "{DRIVER},iface=eth0"
    addresses: [{WAN.v4(HOSTS[self.name])}/24, "{WAN.v6(HOSTS[self.name])}/64"]
{port}runtime:
  workers: [{cpus[-1]}]
  control: {cpus[0]}
  flows_per_worker: 16384
  mbufs: 8192
  idle: adaptive
  heartbeat: 500ms
vrrp:
  - {json.dumps(keys | self.vrrp)}
{second}services:
  - name: web
    address: {VIP}
    port: 80
    servers:
      {server}
  - name: echo
    address: {VIP}
    port: {ECHO_PORT}
    protocol: udp
    servers:
      {server}
{self.extra}management:
  socket: {self.socket}
  state: {self.fabric.directory}/{self.name}-state
"""

    def start(self):
        """Starts it; returns once it is ready."""
        self.config.write_text(self.yaml(), encoding="ascii")
        with self.log.open("ab") as log:
            self.process = self.space.start(binary(), "run", "-c", self.config, log=log)
        wait_until(self.is_ready, 20, f"weir on {self.name}; see {self.log}")

    def is_ready(self):
        """Whether it forwards; LabError when it has ended."""
        if self.process.poll() is not None:
            words = self.log.read_text(errors="replace").strip().splitlines()[-1:]
            raise LabError(f"weir on {self.name} ended: {words}")
        return self.weir("status", check=False).returncode == 0

    def weir(self, *words, **options):
        """Runs a `weir` command against it."""
        return run(self.space.exec(binary(), "--socket", self.socket, *words), **options)

    def state(self):
        """`active`, `backup`, `fault`, `init`; empty if it does not answer."""
        told = self.weir("show", "vrrp", "--json", check=False).stdout
        return json.loads(told)["vrrp"][0]["state"] if told else ""

    def wait(self, state, seconds):
        """Waits for a state; returns how long that took."""
        return wait_until(lambda: self.state() == state, seconds,
                          f"weir on {self.name} {state}", step=0.01)

    def end(self, number):
        """Ends it by a signal, as a crash (SIGKILL) or an operator (SIGTERM) would."""
        self.process.send_signal(number)
        self.process.wait(timeout=15)


class Keepalived:
    """keepalived 2.2.7 as one of the two directors; the VIP is on its interface."""

    def __init__(self, fabric, name, version, priority, interval, password=None, peer=None,
                 vips=(f"{VIP}/32",), preempt=True):
        self.fabric, self.name, self.space = fabric, name, fabric[name]
        self.config = fabric.directory / f"{name}-keepalived.conf"
        self.log = fabric.directory / f"{name}-keepalived.log"
        self.process = None
        self.vips = vips
        auth = (f"authentication {{ auth_type PASS\n auth_pass {password}\n }}"
                if password else "")
        if peer:  # unicast
            auth += f"\n  unicast_src_ip {WAN.v4(HOSTS[name])}\n  unicast_peer {{\n {peer}\n }}"
        self.config.write_text(f"""\
global_defs {{
  vrrp_version {version}
  vrrp_garp_master_delay 1
}}
vrrp_instance edge {{
  state BACKUP
  interface eth0
  virtual_router_id {VRID}
  priority {priority}
  advert_int {interval:g}
  {"" if preempt else "nopreempt"}
  {auth}
  virtual_ipaddress {{
    {chr(10).join(vips)}
  }}
}}
""", encoding="ascii")

    def start(self):
        """Starts its VRRP part alone, in the foreground of a process of ours."""
        pid = [self.fabric.directory / f"{self.name}-{part}.pid" for part in ("k", "v")]
        for file in pid:
            file.unlink(missing_ok=True)  # of a killed one, whose number may be another's by now
        with self.log.open("ab") as log:
            self.process = self.space.start(
                "keepalived", "-n", "-l", "-D", "-P", "-f", self.config,
                "-p", pid[0], "-r", pid[1], log=log)

    def stop(self):
        """Ends it in order: it resigns and takes the VIP away."""
        self.process.terminate()
        self.process.wait(timeout=10)

    def kill(self):
        """A dead host: the processes at once, and the VIP that they leave behind."""
        # Stopped first: the parent would start its child anew, the child resign with its parent.
        self.process.send_signal(signal.SIGSTOP)
        children = run(["pgrep", "-P", self.process.pid], check=False).stdout.split()
        for child in map(int, children):
            os.kill(child, signal.SIGKILL)
        self.process.kill()
        self.process.wait(timeout=5)
        for child in map(int, children):
            wait_until(lambda pid=child: not is_running(pid), 5, "end of keepalived")
        for vip in self.vips:
            run(["ip", "-n", self.space.full_name, "addr", "del", vip, "dev", "eth0"],
                check=False)

    def has_vip(self):
        """Whether it is Active: the VIP is on its interface."""
        told = run(["ip", "-n", self.space.full_name, "-br", "addr", "show", "eth0"]).stdout
        return self.vips[-1] in told

    def wait(self, active, seconds):
        """Waits until it is Active or not; returns how long that took."""
        try:
            return wait_until(lambda: self.has_vip() == active, seconds,
                              f"keepalived on {self.name} {'active' if active else 'backup'}",
                              step=0.01)
        except LabError as late:
            said = self.log.read_text(errors="replace").strip().splitlines()[-3:]
            raise LabError(f"{late}; it said: {'; '.join(said)}") from None

    def refusals(self):
        """Lines of its log that speak of adverts it did not take."""
        words = ("bogus", "invalid", "mismatch", "drop", "ignoring received", "incorrect")
        said = self.log.read_text(errors="replace").splitlines()
        return [line for line in said if any(word in line.lower() for word in words)]


class Frr:
    """FRR's vrrpd as one of the two directors: the VIP on a macvlan with virtual MAC."""

    def __init__(self, fabric, name, priority, interval, version=3, vip=VIP, preempt=True):
        self.fabric, self.name, self.space = fabric, name, fabric[name]
        self.priority, self.interval, self.version = priority, interval, version
        self.vip, self.preempt = vip, preempt
        self.family = 6 if ":" in vip else 4
        self.device = f"vrrp{self.family}-1"
        self.run = Path(f"/var/run/frr/{self.space.full_name}")
        self.running = []

    def start(self):
        """Starts zebra and vrrpd in the namespace, and configures the instance."""
        mac = f"00:00:5e:00:0{1 if self.family == 4 else 2}:{VRID:02x}"
        length = "24" if self.family == 4 else "64 nodad"
        self.space.ip(f"link add {self.device} link eth0 type macvlan mode bridge",
                      f"link set {self.device} address {mac}")
        if self.family == 6:
            # Random: by the MAC, which both directors have, their link-local addresses would be
            # the same.
            self.space.sysctl(**{f"net__ipv6__conf__{self.device}__disable_ipv6": 0,
                                 f"net__ipv6__conf__{self.device}__addr_gen_mode": 3})
        self.space.ip(f"addr add {self.vip}/{length} dev {self.device}",
                      f"link set {self.device} up")
        self.run.mkdir(parents=True, exist_ok=True)
        shutil.chown(self.run, "frr", "frr")
        self.running = [
            self.space.start(f"/usr/lib/frr/{daemon}", "-N", self.space.full_name,
                             "-f", "/dev/null") for daemon in ("zebra", "vrrpd")]
        for daemon in ("zebra", "vrrpd"):
            wait_until(lambda file=self.run / f"{daemon}.vty": file.exists(), 5, f"FRR's {daemon}")
        # vrrpd must have heard of the devices from zebra; it does not look again by itself.
        wait_until(self.configure, 10, "FRR's instance runs", step=0.2)

    def configure(self):
        """Configures the instance anew; whether it runs."""
        self.vtysh("conf t", "interface eth0", f"no vrrp {VRID}")
        self.vtysh("conf t", "interface eth0", f"vrrp {VRID} version {self.version}",
                   f"vrrp {VRID} priority {self.priority}",
                   f"vrrp {VRID} advertisement-interval {int(self.interval * 1000)}",
                   f"{'' if self.preempt else 'no '}vrrp {VRID} preempt",
                   f"vrrp {VRID} {'ip' if self.family == 4 else 'ipv6'} {self.vip}")
        return self.status() in ("Backup", "Master")

    def status(self):
        """`Initialize`, `Backup` or `Master`."""
        lines = self.vtysh(f"show vrrp {VRID}").splitlines()
        mark = f"Status (v{self.family})"
        return next((line.split()[-1] for line in lines if mark in line), "")

    def vtysh(self, *commands):
        """Runs FRR commands."""
        words = [word for command in commands for word in ("-c", command)]
        return self.space.run("vtysh", "-N", self.space.full_name, *words, check=False).stdout

    def is_active(self):
        """Whether it is Active."""
        return self.status() == "Master"

    def wait(self, active, seconds):
        """Waits until it is Active or not; returns how long that took."""
        return wait_until(lambda: self.is_active() == active, seconds,
                          f"FRR on {self.name} {'active' if active else 'backup'}", step=0.02)

    def stop(self):
        """Ends vrrpd in order: it resigns. The rest goes as with `kill`."""
        self.running[-1].terminate()
        self.running[-1].wait(timeout=10)
        self.kill()

    def kill(self):
        """A dead host: the processes at once, and the device that they leave behind."""
        for process in self.running:
            process.kill()
            process.wait(timeout=5)
        self.space.ip(f"link del {self.device}")
        shutil.rmtree(self.run, ignore_errors=True)


@contextmanager
def pair(inside=False):
    """Builds the network with the server's programs running, and removes it at the end."""
    if os.geteuid() != 0:
        raise LabError("root is needed: namespaces, devices and DPDK ports are made here")
    tag = f"{os.getpid()}"
    end_by_signals()
    try:
        fabric = build(tag)
        if inside:
            add_inside(fabric)
        yield fabric
    finally:
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        take_down(tag)
        end_by_signals()


def build(tag):
    """Namespaces, links, nginx and the UDP echo on the VIP."""
    fabric = Fabric(tag)
    switch = fabric.switch("sw")
    for name, host in HOSTS.items():
        space = fabric.namespace(name)
        director = name != "client"
        space.sysctl(net__ipv6__conf__default__disable_ipv6=int(director))
        fabric.link(space, "eth0", switch)
        if not director:
            space.ip(*WAN.assign(host, "eth0"))
    lab = Layout("pair", servers=[Server("s1", "dr", WAN, 21)])
    build_server(fabric, lab, lab.servers[0], switch)
    Servers(lab, fabric).start_all()
    echo = fabric["s1"].start(sys.executable, "-c", ECHO, VIP, ECHO_PORT,
                              stdout=subprocess.PIPE, text=True)
    if echo.stdout.readline().strip() != "ready":
        raise LabError("the UDP echo did not start")
    return fabric


def add_inside(fabric):
    """A second switch with a NAT server, whose way out is the floating gateway."""
    switch = fabric.switch("sw-in")
    for name in ("a", "b"):
        fabric.link(fabric[name], "eth1", switch)
        fabric[name].sysctl(net__ipv4__ip_forward=1)
    server = fabric.namespace("n1")
    fabric.link(server, "eth0", switch)
    server.ip(*LAN.assign(31, "eth0"), f"route add 0.0.0.0/0 via {GATEWAY}")
    # What comes back goes by the outside VIP, which moves with the gateway.
    fabric["client"].ip(f"route add {LAN.v4(0)}/24 via {VIP}")


def kernel_host(fabric, name):
    """Gives a director's namespace its address on the kernel's own device, for keepalived."""
    fabric[name].sysctl(net__ipv6__conf__eth0__disable_ipv6=0)
    fabric[name].ip(*WAN.assign(HOSTS[name], "eth0"))


def measure(fabric, seconds):
    """Starts to measure; `silence` of the result waits for the end."""
    process = fabric["client"].start(sys.executable, "-c", MEASURE, VIP, ECHO_PORT, seconds,
                                     stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def silence(process):
    """(answered, lost, longest silence in ms, silence at the end in ms) of a measurement."""
    sent, answers, longest, rest = process.stdout.readline().split()
    process.wait(timeout=5)
    return int(answers), int(sent) - int(answers), float(longest) * 1e3, float(rest) * 1e3


def cut(fabric, name, down=True):
    """Cuts a director off at the switch, or joins it again."""
    state = "down" if down else "up"
    fabric["sw"].ip(f"link set {name}-eth0 {state}")


def advertisers(fabric, seconds):
    """Source addresses of the adverts (but resignations) on the switch during some time."""
    told = fabric["sw"].run("timeout", seconds, "tcpdump", "-lnni", "br0",
                            "ip proto 112 or ip6 proto 112", check=False,
                            timeout=seconds + 10).stdout
    live = [line for line in told.splitlines() if "prio 0," not in line]
    return sorted({line.split(" > ")[0].split()[-1] for line in live if " > " in line})


def addresses(fabric, name):
    """All addresses of a namespace."""
    told = run(["ip", "-n", fabric[name].full_name, "-br", "addr"]).stdout
    return {word.split("/")[0] for word in told.split() if "/" in word}


def answers_http(fabric):
    """Whether the VIP serves the client."""
    done = fabric["client"].run("curl", "-s", "-m", "2", f"http://{VIP}/", check=False)
    return done.stdout.strip() == "s1"
