"""Weir as a contender: its configuration, its metrics, and the proof that it did the work."""

import http.client
import ipaddress
import os
import re
import socket
from dataclasses import dataclass

import frames
from contenders import CONTROL_CPU, WORKER_CPU, Process
from host import BenchError, built

SERVERS = 8
WAN_MAC, LAN_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
VIP = {4: "198.51.100.1", 6: "2001:db8:5::1"}
LAN = {4: "203.0.113.", 6: "2001:db8:1a::"}
PREFIX = {4: 24, 6: 64}
DIRECTOR = 2  # its host number on the LAN
IPIP = {4: 4, 6: 41}  # protocol numbers of what is inside a tunnel

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


@dataclass(frozen=True)
class Plan:
    """A configuration to be measured."""

    mode: str  # dr | nat | tunnel
    family: int
    devices: tuple  # of the WAN and the LAN port
    mbufs: int
    flows: int
    mbuf_data: int = 2048
    idle: str = "poll"

    def yaml(self, directory):
        """The file that `weir run` gets."""
        own = f"{LAN[self.family]}{DIRECTOR}/{PREFIX[self.family]}"
        address = [server_address(self.family, index) for index in range(SERVERS)]
        neighbours = [f'      - {{address: "{address[index]}", mac: "{server_mac(index)}"}}'
                      for index in range(SERVERS)]
        servers = [f'      - {{name: s{index}, address: "{address[index]}"}}'
                   for index in range(SERVERS)]
        return "\n".join([
            "ports:",
            "  - name: wan0",
            f'    device: "{self.devices[0]}"',
            f'    mac: "{WAN_MAC}"',
            "  - name: lan0",
            f'    device: "{self.devices[1]}"',
            f'    mac: "{LAN_MAC}"',
            f'    addresses: ["{own}"]',
            "    neighbours:", *neighbours,
            "runtime:",
            f"  workers: [{WORKER_CPU}]",
            f"  control: {CONTROL_CPU}",
            f"  flows_per_worker: {self.flows}",
            f"  mbufs: {self.mbufs}",
            f"  mbuf_data: {self.mbuf_data}B",
            "  hugepages: auto",
            f"  idle: {self.idle}",
            "services:",
            "  - name: bench",
            f'    address: "{VIP[self.family]}"',
            f"    port: {frames.VIP_PORT}",
            "    protocol: udp",
            f"    mode: {self.mode}",
            "    scheduler: rr",
            "    servers:", *servers,
            "management:",
            f"  socket: {directory}/weir.sock",
            f"  state: {directory}/state",
        ]) + "\n"


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


class Weir(Process):
    """The real binary, with one worker."""

    name = "weir"

    def __init__(self, plan, directory):
        self.plan, self.socket = plan, directory / "weir.sock"
        config = directory / "weir.yaml"
        config.write_text(plan.yaml(directory), encoding="ascii")
        super().__init__([binary(), "run", "-c", config], directory / "weir.log")

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

    def sent(self):
        return self.metrics().total("weir_worker_packets_total", direction="tx")

    def received(self):
        """Frames received so far."""
        return self.metrics().total("weir_worker_packets_total", direction="rx")

    def verify(self, traffic):
        """Raises BenchError unless all flows of a file are known, nothing was dropped or punted,
        everything received was sent, and every server has its share."""
        seen = self.metrics()
        flows = seen.total("weir_flows")
        connections = seen.values("weir_server_connections_total")
        received = seen.total("weir_worker_packets_total", direction="rx")
        sent = seen.total("weir_worker_packets_total", direction="tx")
        share = traffic.flows / SERVERS
        problems = {
            f"{flows} flows instead of {traffic.flows}": flows != traffic.flows,
            f"drops: {seen.labelled('weir_drops_total', 'reason')}":
                seen.total("weir_drops_total") != 0,
            f"punts: {seen.labelled('weir_punts_total', 'reason')}":
                seen.total("weir_punts_total") != 0,
            f"{received} frames came, {sent} went": received == 0 or sent < 0.99 * received,
            f"connections per server {connections}":
                len(connections) != SERVERS or any(abs(n - share) >= 1 for n in connections),
            "no room for a flow": seen.total("weir_flow_insert_failures_total") != 0,
        }
        wrong = [problem for problem, is_so in problems.items() if is_so]
        if wrong:
            raise BenchError("weir did not do the work: " + "; ".join(wrong))


def judge(plan, sent, received):
    """Raises BenchError unless what came out of a run is what went in, forwarded as the mode says.

    `sent` and `received` are lists of frames. Every frame must come out once, to one of the
    servers' MACs, from the director's, with TTL, addresses and checksums right.
    """
    macs = {bytes.fromhex(server_mac(index).replace(":", "")): server_address(plan.family, index)
            for index in range(SERVERS)}
    source_mac = bytes.fromhex(LAN_MAC.replace(":", ""))
    wanted = {flow_of(frames.parse(frame[14:])): frame for frame in sent}
    used = set()
    for frame in received:
        if frame[6:12] != source_mac or frame[:6] not in macs:
            continue  # Not of the service: what the kernel says on the port's TAP.
        packet, server = frames.parse(frame[14:]), ipaddress.ip_address(macs[frame[:6]])
        used.add(server)
        expect(plan, packet, server, wanted)
    if wanted:
        raise BenchError(f"{plan.mode}: {len(wanted)} of {len(sent)} frames did not come out")
    if len(used) != SERVERS:
        raise BenchError(f"{plan.mode}: only {len(used)} of {SERVERS} servers were used")


def expect(plan, packet, server, wanted):
    """Judges one forwarded packet, and takes it out of those that are `wanted`."""
    vip = ipaddress.ip_address(VIP[plan.family])
    outer = packet
    if plan.mode == "tunnel":
        if (outer.protocol, outer.destination) != (IPIP[plan.family], server):
            raise BenchError(f"tunnel: the outer header is wrong: {outer}")
        packet = frames.parse(outer.payload)
    original = wanted.pop(flow_of(packet), None)
    if original is None:
        raise BenchError(f"{plan.mode}: came out twice, or never went in: {packet}")
    went = frames.parse(original[14:])
    destination = server if plan.mode == "nat" else vip
    if packet.destination != destination or packet.ports[1] != frames.VIP_PORT:
        raise BenchError(f"{plan.mode}: went to {packet.destination}:{packet.ports[1]}")
    if packet.payload[8:] != went.payload[8:] or went.ttl - packet.ttl not in (0, 1):
        raise BenchError(f"{plan.mode}: payload or TTL is wrong: {packet}")


def flow_of(packet):
    """What a client's packet is recognised by."""
    return packet.source, packet.ports[0]
