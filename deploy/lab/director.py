"""The director: Weir's configuration for a lab, its process, its command line and its metrics."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

from layout import CLIENTS, DIRECTOR, MODES, ROUTER
from net import LabError, is_running, run, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
DRIVER = "net_af_xdp"
FALLBACK = "net_af_packet"
SCHEDULERS = {"dr": "rr", "nat": "wrr", "tunnel": "maglev"}
PERF_PORT = 5201  # iperf3
CHECK = {"interval": 0.5, "timeout": 1.0, "rise": 2, "fall": 2}  # seconds and counts
MEMORY_MAX = 512 << 20  # octets that the director may ever hold
METRICS = "127.0.0.1:9090"

Metric = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
Label = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def binary():
    """The `weir` under test: $WEIR_BIN, or what `make` builds."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    path = Path(os.environ.get("WEIR_BIN", target / "lab" / "weir"))
    if not path.is_file():
        raise LabError(f"{path} is missing: build it with `cargo build --profile lab --locked`")
    return path


def service_name(mode, family=4):
    """Name of a mode's service: the mode, with a 6 for IPv6."""
    return mode if family == 4 else f"{mode}6"


class Director:
    """One Weir in the director's namespace."""

    def __init__(self, lab, fabric, workers=1, perf=()):
        self.lab, self.fabric, self.space = lab, fabric, fabric["director"]
        self.workers = workers
        self.perf = perf  # modes that get services for iperf3 too
        self.driver = os.environ.get("LAB_DRIVER", DRIVER)
        self.config = fabric.directory / "weir.yaml"
        self.socket = fabric.directory / "weir.sock"
        self.log = fabric.directory / "weir.log"
        self.process = None
        self.weights = {server.name: server.weight for server in lab.servers}

    # -- configuration ------------------------------------------------------------------------

    def yaml(self):
        """The configuration of this lab, as an operator would write it."""
        cpus = sorted(os.sched_getaffinity(0))
        lines = ["ports:"]
        for name, device, segment in self.lab.ports:
            addresses = [f"{segment.v4(DIRECTOR)}/24", f"{segment.v6(DIRECTOR)}/64"]
            lines += [f"  - name: {name}",
                      f'    device: "{self.driver},iface={device}"',
                      f"    addresses: {json.dumps(addresses)}"]
            if name == "wan0":
                gateways = [segment.v4(ROUTER), segment.v6(ROUTER)]
                lines += [f"    gateway: {json.dumps(gateways)}"]
        check = ", ".join(
            f"{key}: {f'{int(value * 1000)}ms' if isinstance(value, float) else value}"
            for key, value in CHECK.items())
        lines += [
            "runtime:",
            # The last CPUs work, the first controls; on a small machine they share.
            f"  workers: {cpus[-self.workers:]}",
            f"  control: {cpus[0]}",
            "  flows_per_worker: 16384",
            "  mbufs: 16384",
            "  hugepages: auto",
            "  idle: adaptive",
            "health_checks:",
            f"  web: {{type: http, url: /healthz, {check}}}",
            "services:",
        ]
        for mode in MODES:
            for family in (4, 6):
                lines += self.service(mode, family)
                if mode in self.perf:
                    lines += self.perf_services(mode, family)
        lines += ["management:",
                  f"  socket: {self.socket}",
                  f"  listen: {METRICS}",
                  f"  state: {self.fabric.directory}/state"]
        return "\n".join(lines) + "\n"

    def service(self, mode, family):
        """The web service of one mode and family."""
        lines = [f"  - name: {service_name(mode, family)}",
                 f'    address: "{self.lab.vip(mode, family)}"',
                 "    port: 80",
                 f"    mode: {mode}",
                 f"    scheduler: {SCHEDULERS[mode]}",
                 "    health: web",
                 "    servers:"]
        for index, server in enumerate(self.lab.servers_of(mode)):
            # Tunnels of both kinds: the first server's outer header is of the VIP's family, the
            # second's of the other.
            outer = family if mode != "tunnel" or index == 0 else 10 - family
            lines.append(f'      - {{name: {server.name}, address: "{server.address(outer)}", '
                         f"weight: {self.weights[server.name]}}}")
        return lines

    def perf_services(self, mode, family):
        """iperf3 wants its control and data connections on one server: services with just one."""
        server = self.lab.servers_of(mode)[0]
        lines = []
        for protocol in ("tcp", "udp"):
            lines += [f"  - name: {service_name(mode, family)}-{protocol}",
                      f'    address: "{self.lab.vip(mode, family)}"',
                      f"    port: {PERF_PORT}",
                      f"    protocol: {protocol}",
                      f"    mode: {mode}",
                      "    servers:",
                      f'      - {{name: {server.name}, address: "{server.address(family)}"}}']
        return lines

    # -- process --------------------------------------------------------------------------------

    def start(self, say=print):
        """Starts Weir and returns the seconds until it forwards.

        Where AF_XDP cannot be had, net_af_packet takes its place, which is said; in CI it is an
        error, because then something would go untested silently.
        """
        try:
            return self.launch()
        except LabError as error:
            refused = "xdp" in self.said().lower() and not is_alive(self.process)
            if not refused or self.driver != DRIVER or os.environ.get("CI", "") == "true":
                raise
            say(f"{DRIVER} cannot be used here ({error}); falling back to {FALLBACK}")
            self.driver = FALLBACK
            return self.launch()

    def launch(self):
        """One attempt to start, with the present driver."""
        self.config.write_text(self.yaml(), encoding="ascii")
        with self.log.open("wb") as log:
            self.process = self.space.start(binary(), "run", "-c", self.config, log=log)
        return wait_until(self.is_ready, 20, f"weir did not become ready; see {self.log}")

    def is_ready(self):
        """Whether Weir forwards; LabError with its last words when it has ended."""
        if not is_alive(self.process):
            raise LabError(f"weir ended with exit {self.process.returncode}: {self.last_words()}")
        return self.weir("status", check=False).returncode == 0

    def stop(self):
        """Asks Weir to stop and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=10)

    def reload(self):
        """Writes the configuration anew and sends SIGHUP; returns once it is in force."""
        before = self.metric("weir_config_revision")
        self.config.write_text(self.yaml(), encoding="ascii")
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.metric("weir_config_revision") > before, 5, "reload by SIGHUP")

    def said(self):
        """Everything that Weir logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def taken_out(self):
        """What health has taken out so far, and why: the log's lines, without their time."""
        return [line.partition(" server down ")[2] for line in self.said().splitlines()
                if " server down " in line]

    def last_words(self):
        """The last line of Weir's log."""
        return (self.said().strip().splitlines() or ["nothing logged"])[-1]

    def memory_peak(self):
        """The most memory Weir has held, hugepages included, in octets."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        huge = re.search(r"HugetlbPages:\s+(\d+) kB", status)
        return sum(int(found[1]) for found in (peak, huge) if found) * 1024

    # -- command line and metrics ---------------------------------------------------------------

    def weir(self, *words, check=True, **options):
        """Runs a `weir` command against this director."""
        return run(self.space.exec(binary(), "--socket", self.socket, *words), check=check,
                   **options)

    def metrics(self):
        """All samples of /metrics: {name: [(labels, value)]}."""
        text = self.space.run("curl", "-sfm5", f"http://{METRICS}/metrics").stdout
        samples = {}
        for line in text.splitlines():
            found = Metric.match(line)
            if found:
                labels = dict(Label.findall(found[2] or ""))
                samples.setdefault(found[1], []).append((labels, float(found[3])))
        return samples

    def metric(self, name, **labels):
        """Sum of the samples of a metric that carry these labels; LabError when there is none."""
        values = select(self.metrics(), name, **labels)
        if not values:
            raise LabError(f"/metrics has no {name}{labels or ''}")
        return sum(values)

    def drops(self):
        """Frames dropped so far, by reason; reasons without any are left out."""
        return {have["reason"]: int(value)
                for have, value in self.metrics().get("weir_drops_total", []) if value}

    def wait_server(self, service, server, up, seconds):
        """Waits until health has taken a server out or in; returns how long that took."""
        state = "up" if up else "down"
        return wait_until(
            lambda: self.metric("weir_server_up", service=service, server=server) == up,
            seconds, f"{service}/{server} {state}")

    def wait_all_up(self, seconds=10):
        """Waits until every server of every service passes its check."""
        def down():
            return [f"{have['service']}/{have['server']}"
                    for have, value in self.metrics().get("weir_server_up", []) if value != 1]

        try:
            return wait_until(lambda: not down(), seconds, "all servers up")
        except LabError as late:
            raise LabError(f"{late}; down: {' '.join(down())}") from None

    def conservation(self):
        """Per worker: frames that came in and frames accounted for, once both stand still.

        A worker publishes between bursts, so what it tells is exact as soon as traffic pauses.
        """
        books = []

        def balanced():
            told = json.loads(self.weir("show", "workers", "--json").stdout)
            books[:] = [balance(worker) for worker in told["workers"]]
            return all(taken == given for _, taken, given in books)

        try:
            wait_until(balanced, 3, "conservation", step=0.1)
        except LabError:
            pass  # the caller judges the books
        return books


def is_alive(process):
    """Whether a started process has not ended."""
    return process.poll() is None and is_running(process.pid)


def select(samples, name, **labels):
    """Values of the samples of `name` that carry all of `labels`."""
    return [value for have, value in samples.get(name, [])
            if all(have.get(key) == str(wanted) for key, wanted in labels.items())]


def balance(worker):
    """(worker, frames taken, frames given an end) by the invariant of docs/ARCHITECTURE.md."""
    packets = worker["packets"]
    taken = packets["rx"] + worker["handed_in"] + worker["originated"]
    given = packets["tx"] + sum(
        worker[end] for end in ("handed_out", "punted", "dropped", "held"))
    return worker["worker"], taken, given
