"""Weir as a contender: its configuration, its metrics, and the proof that it did the work."""

import http.client
import ipaddress
import os
import re
import signal
import socket
from contextlib import contextmanager
from dataclasses import dataclass

import frames
from contenders import CONTROL_CPU, ESTABLISH_MAX, WORKER_CPU, Process
from host import BenchError, built, memory

SERVERS = 8
WAN_MAC, LAN_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
CLIENTS_MAC = "02:00:00:00:00:c1"  # of the router that clients are behind
GATE_ID = 77
GATE_MAC = f"00:00:5e:00:01:{GATE_ID:02x}"  # RFC 9568 section 7.3
VIP = {4: "198.51.100.1", 6: "2001:db8:5::1"}
WAN = {4: "192.0.2.", 6: "2001:db8:aa::"}
LAN = {4: "203.0.113.", 6: "2001:db8:1a::"}
PREFIX = {4: 24, 6: 64}
ROUTER, DIRECTOR, GATE = 1, 2, 9  # host numbers
IPIP = {4: 4, 6: 41}  # protocol numbers of what is inside a tunnel
ACTIVE = 2  # weir_vrrp_state
SCRAPES = 3  # tries: one reads a counter after the other, and frames go on meanwhile

Metric = re.compile(r"^(\w+)(?:\{(.*?)\})? (\S+)$", re.M)


def binary():
    """The `weir` to measure."""
    return os.environ.get("BENCH_WEIR") or built("weir", "bin", "weir")


def server_address(family, index):
    """Address of a server."""
    return f"{LAN[family]}{11 + index}"


def server_mac(index):
    """MAC of a server."""
    return f"02:00:00:00:01:{index:02x}"


def turns(family):
    """The servers in the order in which round robin gives flows to them: the last listed first."""
    return tuple(server_address(family, index) for index in reversed(range(SERVERS)))


@dataclass(frozen=True)
class Plan:
    """A configuration to be measured.

    What is measured comes in by one port, for ever, to the virtual MAC of a VRRP instance. That is
    taken into the configuration when the frames that came in by the other port, once, have
    established all flows: so flows are made in an order of their own, and none by what is measured.
    For clients' frames the ports are wan0 and lan0, for servers' answers the other way round.
    """

    mode: str  # dr | nat | tunnel
    traffic: frames.Traffic
    loop: str  # the device of what is measured
    once: str  # the other
    mbufs: int
    mbuf_data: int = 2048
    reply: bool = False
    flow_room: int = 16  # at least; as many as there are fit in any case
    idle: str = "poll"

    def yaml(self, directory, gate):
        """The file that `weir run` gets, with the gate open or not."""
        family = self.traffic.family
        addresses = [server_address(family, index) for index in range(SERVERS)]
        listed = [f'      - {{name: s{index}, address: "{address}"}}'
                  for index, address in enumerate(addresses)]
        neighbours = [f'      - {{address: "{address}", mac: "{server_mac(index)}"}}'
                      for index, address in enumerate(addresses)]
        return "\n".join([
            "ports:",
            *self.port("wan0", self.once if self.reply else self.loop, WAN_MAC, WAN, 4),
            f'    gateway: ["{WAN[4]}{ROUTER}"]',
            f'    neighbours: [{{address: "{WAN[4]}{ROUTER}", mac: "{CLIENTS_MAC}"}}]',
            *self.port("lan0", self.loop if self.reply else self.once, LAN_MAC, LAN, family),
            "    neighbours:", *neighbours,
            *(self.gate() if gate else []),
            "runtime:",
            f"  workers: [{WORKER_CPU}]",
            f"  control: {CONTROL_CPU}",
            f"  flows_per_worker: {max(self.flow_room, self.traffic.flows)}",
            f"  mbufs: {self.mbufs}",
            f"  mbuf_data: {self.mbuf_data}B",
            "  hugepages: auto",
            f"  idle: {self.idle}",
            "  heartbeat: 10s",  # workers that rest are not stalled
            "services:",
            "  - name: bench",
            f'    address: "{VIP[family]}"',
            f"    port: {frames.VIP_PORT}",
            f"    protocol: {self.traffic.protocol}",
            f"    mode: {self.mode}",
            "    scheduler: rr",
            "    servers:", *listed,
            "management:",
            f"  socket: {directory}/weir.sock",
            f"  state: {directory}/state",
        ]) + "\n"

    @staticmethod
    def port(name, device, mac, subnet, family):
        """The first lines of a port with an address."""
        return [f"  - name: {name}", f'    device: "{device}"', f'    mac: "{mac}"',
                f'    addresses: ["{subnet[family]}{DIRECTOR}/{PREFIX[family]}"]']

    def gate(self):
        """The VRRP instance whose virtual MAC the replayed frames are sent to."""
        port, subnet = ("lan0", LAN) if self.reply else ("wan0", WAN)
        return ["vrrp:", "  - name: gate", f"    port: {port}", f"    id: {GATE_ID}",
                "    interval: 100ms", f'    addresses: ["{subnet[4]}{GATE}"]']


class Metrics:
    """One scrape."""

    def __init__(self, text):
        self.samples = [(name, dict(re.findall(r'(\w+)="(.*?)"', labels)), float(value))
                        for name, labels, value in Metric.findall(text)]

    def values(self, name, **labels):
        """All samples of a metric with these labels."""
        return [value for sample, found, value in self.samples
                if sample == name and labels.items() <= found.items()]

    def total(self, name, **labels):
        """Their sum, as a whole number."""
        return int(sum(self.values(name, **labels)))

    def labelled(self, name, key):
        """The non-zero samples of a metric, by one of their labels."""
        return {found[key]: int(value) for sample, found, value in self.samples
                if sample == name and value}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Daemon(Process):
    """A `weir run` that is asked over its socket, `weir.sock` in a directory."""

    def __init__(self, command, directory):
        super().__init__(command, directory / "weir.log")
        self.socket = directory / "weir.sock"

    def wait_until_ready(self):
        self.wait_for(self.is_ready, "readiness")

    def fetch(self, path):
        """Status and body of a page."""
        connection = UnixConnection(self.socket)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def is_ready(self):
        """Whether it forwards."""
        try:
            return self.fetch("/readyz")[0] == 200
        except OSError:
            return False

    def metrics(self):
        """A scrape."""
        status, text = self.fetch("/metrics")
        if status != 200:
            raise BenchError(f"/metrics answered {status}")
        return Metrics(text)


class Weir(Daemon):
    """The real binary, with one worker."""

    def __init__(self, plan, directory):
        self.plan, self.directory = plan, directory
        self.config = directory / "weir.yaml"
        self.config.write_text(plan.yaml(directory, gate=False), encoding="ascii")
        # Several may live at once, with ports of the same names.
        command = ["unshare", "--net", binary(), "run", "-c", self.config]
        super().__init__(command, directory)

    def wait_until_prepared(self):
        self.wait_for(self.is_established, "all flows", ESTABLISH_MAX)
        self.config.write_text(self.plan.yaml(self.directory, gate=True), encoding="ascii")
        self.child.send_signal(signal.SIGHUP)
        self.wait_for(lambda: self.metrics().values("weir_vrrp_state") == [ACTIVE], "the gate")

    def is_established(self):
        """Whether every flow of the file is there, and nothing has come but what made them."""
        seen = self.metrics()
        flows = seen.total("weir_flows")
        if flows < self.plan.traffic.flows:
            return False
        forwarded = seen.total("weir_service_packets_total", direction="in")
        if (flows, forwarded) != (self.plan.traffic.flows,) * 2:
            raise BenchError(f"{flows} flows by {forwarded} frames, instead of "
                             f"{self.plan.traffic.flows}")
        return True

    def sent(self):
        return self.metrics().total("weir_worker_packets_total", direction="tx")

    def moving(self):
        return int(sum(self.metrics().values("weir_worker_busy_seconds_total")) * 1e9)

    def memory(self):
        """What it holds, in octets."""
        return memory(self.child.pid)

    @contextmanager
    def verified(self):
        """A context; what happens in it is verified afterwards."""
        before = self.metrics()
        yield
        self.verify(before)

    def verify(self, before):
        """Raises BenchError unless since the scrape `before` everything that came was forwarded by
        the flows that are there, and every server has its share of them."""
        for _ in range(SCRAPES):
            wrong = self.problems(before)
            if not wrong:
                return
        raise BenchError("weir did not do the work: " + "; ".join(wrong))

    def problems(self, before):
        """What speaks against that, by one more scrape."""
        seen, flows = self.metrics(), self.plan.traffic.flows
        since = lambda name, **labels: seen.total(name, **labels) - before.total(name, **labels)
        received = since("weir_worker_packets_total", direction="rx")
        direction = "out" if self.plan.reply else "in"
        forwarded = since("weir_service_packets_total", direction=direction)
        connections = seen.values("weir_server_connections_total")
        share = flows / SERVERS
        problems = {
            f"{seen.total('weir_flows')} flows instead of {flows}":
                seen.total("weir_flows") != flows,
            f"drops: {seen.labelled('weir_drops_total', 'reason')}":
                since("weir_drops_total") != 0,
            f"punts: {seen.labelled('weir_punts_total', 'reason')}":
                since("weir_punts_total") != 0,
            f"{received} frames came, {forwarded} were forwarded":
                received == 0 or abs(forwarded - received) > 0.001 * received,
            f"connections per server {connections}":
                len(connections) != SERVERS or any(abs(n - share) >= 1 for n in connections),
            "no room for a flow": seen.total("weir_flow_insert_failures_total") != 0,
        }
        return [problem for problem, is_so in problems.items() if is_so]


def is_forwarded(plan, frame):
    """Whether a frame that left was sent by the director to a server or a client: the kernel speaks
    on the port's TAP as well."""
    source = octets(WAN_MAC if plan.reply else LAN_MAC)
    there = [CLIENTS_MAC] if plan.reply else [server_mac(index) for index in range(SERVERS)]
    return frame[6:12] == source and frame[:6] in map(octets, there)


def judge(plan, sent, received):
    """Raises BenchError unless what came out of a run is what went in, forwarded as the mode says.

    `sent` and `received` are lists of frames, the latter all forwarded (`is_forwarded`). Each of
    them must be one of those that were sent, to the right MAC, with TTL, addresses and checksums
    right, and every flow must come out.
    """
    macs = {octets(server_mac(index)): server_address(plan.traffic.family, index)
            for index in range(SERVERS)}
    went = {}
    for frame in sent:
        packet = frames.parse(frame[14:])
        went[client_of(packet, plan.reply)] = packet
    missing, used = set(went), set()
    for frame in received:
        packet = frames.parse(frame[14:])
        if plan.reply:
            client = client_of(packet, True)
            expect_reply(plan, packet, went.get(client))
            used.add(went[client].source)
        else:
            server = ipaddress.ip_address(macs[frame[:6]])
            packet = inner(plan, packet, server)
            client = client_of(packet, False)
            expect(plan, packet, server, went.get(client))
            used.add(server)
        missing.discard(client)
    if missing:
        raise BenchError(f"{plan.mode}: {len(missing)} of {len(went)} flows did not come out")
    if len(used) != SERVERS:
        raise BenchError(f"{plan.mode}: only {len(used)} of {SERVERS} servers were used")


def octets(mac):
    """A MAC's octets."""
    return bytes.fromhex(mac.replace(":", ""))


def client_of(packet, reply):
    """What a flow is recognised by."""
    if reply:
        return packet.destination, packet.ports[1]
    return packet.source, packet.ports[0]


def inner(plan, packet, server):
    """What a tunnel carries, or else the packet itself."""
    if plan.mode != "tunnel":
        return packet
    if (packet.protocol, packet.destination) != (IPIP[plan.traffic.family], server):
        raise BenchError(f"tunnel: the outer header is wrong: {packet}")
    return frames.parse(packet.payload)


def expect(plan, packet, server, went):
    """Judges a packet to a server. `went` is what it was, or None."""
    vip = ipaddress.ip_address(VIP[plan.traffic.family])
    destination = server if plan.mode == "nat" else vip
    right = went and (packet.destination, packet.ports[1]) == (destination, frames.VIP_PORT)
    if not right or not same(packet, went):
        raise BenchError(f"{plan.mode}: {went} came out as {packet}")


def expect_reply(plan, packet, went):
    """Judges a packet to a client. `went` is what it was, or None."""
    vip = ipaddress.ip_address(VIP[plan.traffic.family])
    right = went and (packet.source, packet.ports[0]) == (vip, frames.VIP_PORT)
    if not right or not same(packet, went):
        raise BenchError(f"{plan.mode} reply: {went} came out as {packet}")


def same(packet, went):
    """Whether content is untouched, and TTL at most one less."""
    return packet.content == went.content and went.ttl - packet.ttl in (0, 1)
