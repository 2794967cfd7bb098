"""The real `weir run` with the network of a scenario: frames in, frames out.

Each port is one end of a veth pair, driven by DPDK's `net_pcap`; the
driver holds the other end. The same interface as kernel.py. Must run inside
`sandbox.enter()`, whose network namespace also carries Weir's TAPs.
"""
import json
import os
import subprocess
import sys
import time

import fields
import sandbox
from scenario import own_address
from wire import Wire

HERE = os.path.dirname(os.path.abspath(__file__))
# Not net_af_packet: it asks the kernel to put IPv4 fragments together before Weir sees them.
_DEVICE = "net_pcap%d,rx_iface_in=%s,tx_iface=%s"
_START_SECONDS, _STOP_SECONDS, _COMMAND_SECONDS = 60, 10, 30
# Forwarding as on a director; the kernel routes what is no load balancing.
_SYSCTL = {
    "net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1,
    "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.conf.default.send_redirects": 0, "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.icmp_ratelimit": 0, "net.ipv6.icmp.ratelimit": 0,
    "net.ipv6.conf.default.accept_dad": 0, "net.ipv6.conf.default.router_solicitations": 0,
}


def binary():
    """The program under test: WEIR_BIN, or what cargo built last."""
    named = os.environ.get("WEIR_BIN")
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "..", "..", "target"))
    built = [os.path.join(target, profile, "weir") for profile in ("lab", "release", "debug")]
    found = [p for p in ([named] if named else built) if os.access(p, os.X_OK)]
    if not found:
        sys.exit("no weir program: set WEIR_BIN, or cargo build --profile lab")
    return os.path.abspath(max(found, key=os.path.getmtime))


def service_name(name):
    return name.replace(" ", "-")


def configuration(scenario, services, socket, devices):
    """The scenario as Weir's configuration. JSON is YAML."""
    ports = []
    for i, port in enumerate(scenario["network"]["ports"]):
        ports.append({
            "name": port["name"], "device": _DEVICE % (i, devices[i], devices[i]),
            "mac": port["mac"], "mtu": port["mtu"], "addresses": port["addresses"],
            "gateway": port.get("gateway", []),
            "neighbours": [{"address": a, "mac": m} for a, m in port["neighbours"].items()]})
    return {
        "ports": ports,
        "runtime": {"workers": [min(1, os.cpu_count() - 1)], "control": 0, "idle": "adaptive",
                    "hugepages": "off", "flows_per_worker": 4096, "mbufs": 8192,
                    "answers_per_second": 0, "answers_per_client": 0},
        "services": [_service(scenario, svc) for svc in services],
        "management": {"socket": socket},
    }


def _service(scenario, svc):
    out = {k: svc[k] for k in ("address", "port", "protocol", "mode", "scheduler")}
    out["name"] = service_name(svc["name"])
    out["servers"] = []
    for srv in svc["servers"]:
        entry = {"address": srv["address"], "weight": srv["weight"]}
        if svc["mode"] == "nat":
            entry["port"] = srv["port"]
        out["servers"].append(entry)
    if scenario["timeouts"]:
        keys = ("established", "fin", "udp")
        out["timeouts"] = {k: "%ds" % t for k, t in zip(keys, scenario["timeouts"])}
    return out


class Weir:
    """A running daemon with a scenario's network and services."""

    def __init__(self, scenario, program):
        self.scenario, self.services, self._program = scenario, scenario["services"], program
        self.ports = scenario["network"]["ports"]
        self.dir = sandbox.scratch("weir-")
        self._files = 0
        self._veths()
        self._log = open(self.dir + "/log", "wb")
        self.process = subprocess.Popen(
            [program, "run", "-c", self._config(), "--state", self.dir + "/state"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, cwd=self.dir)
        try:
            self._wait_ready()
            self._neighbours()
            self.wire = Wire(["peer%d" % i for i in range(len(self.ports))],
                             [own_address(p) for p in self.ports], again=1)
            self.send, self.pause = self.wire.send, self.wire.pause
            self.pause(0)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Ends the daemon; one that does not end, or ends badly, is a failure."""
        if hasattr(self, "wire"):
            self.wire.close()
        died = self.process.poll()
        self.process.terminate()
        try:
            status = self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = "none within %d s of SIGTERM" % _STOP_SECONDS
        self._log.close()
        for i, _ in enumerate(self.ports):
            subprocess.run(["ip", "link", "del", "peer%d" % i], check=True)
        if died is not None or status not in (0, -15):
            raise RuntimeError("weir: exit status %s\n%s" % (status, self.log()))

    def log(self):
        with open(self.dir + "/log", errors="replace") as f:
            return f.read()[-3000:]

    def _veths(self):
        for key, value in _SYSCTL.items():
            _sysctl(key, value)
        for i, port in enumerate(self.ports):
            _run("ip link add peer%d mtu 2000 type veth peer name port%d mtu 2000" % (i, i))
            for end in ("peer%d" % i, "port%d" % i):
                _sysctl("net.ipv6.conf.%s.disable_ipv6" % end, 1)
                # No partial checksum and no segment larger than a frame.
                for what in ("rx", "tx", "tso", "gso", "gro"):
                    _run("ethtool -K %s %s off" % (end, what))
                _run("ip link set %s arp off up" % end)

    def _config(self):
        self._files += 1
        path = "%s/weir%d.yaml" % (self.dir, self._files)
        devices = ["port%d" % i for i in range(len(self.ports))]
        with open(path, "w") as f:
            json.dump(configuration(self.scenario, self.services, self.dir + "/socket", devices),
                      f, indent=1)
        return path

    def command(self, *words):
        """Output of one `weir` command; an exit status other than 0 is an error. Where cores are
        shared a worker may miss the deadline of one request, so that is asked again, for a while."""
        end = time.monotonic() + _COMMAND_SECONDS
        while True:
            done = subprocess.run([self._program, "--socket", self.dir + "/socket", *words],
                                  capture_output=True, text=True, timeout=_COMMAND_SECONDS)
            if done.returncode == 0:
                return done.stdout
            if "does not answer" not in done.stderr or time.monotonic() > end:
                raise RuntimeError("weir %s: exit %d: %s%s" % (" ".join(words), done.returncode,
                                                               done.stdout, done.stderr))

    def _wait_ready(self):
        """Until it forwards and nothing ails a port: links are found up a moment later."""
        end, status = time.monotonic() + _START_SECONDS, None
        while self.process.poll() is None and time.monotonic() < end:
            try:
                status = json.loads(self.command("status", "--json"))
                down = [p for p in status["problems"] if p["subject"].startswith("port ")]
                if status["ready"] and not down:
                    return
            except RuntimeError:
                pass
            time.sleep(0.05)
        raise RuntimeError("weir does not start: %s\n%s" % (status, self.log()))

    def _neighbours(self):
        """The kernel behind Weir's TAPs routes with the same neighbours, as the recorded one."""
        for port in self.ports:
            for address, mac in port["neighbours"].items():
                if any((":" in a) == (":" in address) for a in port["addresses"]):
                    _run("ip neigh replace %s lladdr %s dev %s nud permanent"
                         % (address, mac, port["name"]))

    # ---- the table -------------------------------------------------------------------------

    def apply(self, services):
        """Makes the daemon run with these services."""
        self.services = services
        self.command("apply", "--allow-shrink", self._config())

    def flows(self):
        """As record.py: [protocol, state, seconds left, client, virtual, server]"""
        step = fields.EXPIRES_STEP
        listed = json.loads(self.command("show", "flows", "--limit", "10000", "--json"))["flows"]
        return sorted([f["protocol"], f["state"].upper(), -(-f["expires_seconds"] // step) * step,
                       f["client"], f["vip"], f["server_address"]] for f in listed)

    def servers(self):
        """As record.py: [service, server, weight, active, inactive]"""
        return sorted([virtual, _endpoint(s, svc), s["weight"], s["active_connections"],
                       s["inactive_connections"]]
                      for svc, virtual in self._listed() for s in svc["servers"])

    def counters(self):
        """As record.py: connections, packets in and out, octets in and out."""
        rows = []
        for svc, virtual in self._listed():
            rows.append([virtual, None] + _counts(svc))
            rows += [[virtual, _endpoint(s, svc)] + _counts(s) for s in svc["servers"]]
        return sorted(rows, key=str)

    def _listed(self):
        for svc in json.loads(self.command("show", "services", "--json"))["services"]:
            form = "%s [%s]:%s" if ":" in svc["address"] else "%s %s:%s"
            yield svc, form % (svc["protocol"], svc["address"], svc["port"])


def _endpoint(server, svc):
    address = server["address"].strip("[]")
    form = "[%s]:%s" if ":" in address else "%s:%s"
    return form % (address, server["port"] or svc["port"])


def _counts(noun):
    return [noun["connections"], noun["packets"]["in"], noun["packets"]["out"],
            noun["bytes"]["in"], noun["bytes"]["out"]]


def _sysctl(key, value):
    with open("/proc/sys/" + key.replace(".", "/"), "w") as f:
        f.write(str(value))


def _run(line):
    subprocess.run(line.split(), check=True, stdout=subprocess.DEVNULL)
