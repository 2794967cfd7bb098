"""What stands between client and server: prepares the veths, starts, tells its CPU time."""

import re
import time
from pathlib import Path

from contenders import CONTROL_CPU, WORKER_CPU, Process
from director import Daemon, binary
from host import BenchError
from veths import CLIENT, DIRECTOR, LAN, LAN_DIRECTOR, SERVERS, VIP, WAN

HAPROXY = """\
global
    stats socket {directory}/haproxy.sock
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    maxconn 20000
listen bench
    bind {vip}:80
    balance roundrobin
{servers}
"""
NFT = """\
table ip bench {{
    chain prerouting {{
        type nat hook prerouting priority dstnat
        ip daddr {vip} tcp dport 80 dnat to numgen inc mod {count} map {{ {servers} }}
    }}
}}
"""
MBUFS = 16384


class Kernel:
    """The kernel of the director's namespace forwards."""

    name = "plain routing"
    polls = False
    command = "sysctl net.ipv4.ip_forward=1"
    address = SERVERS[0]

    def __init__(self, veths):
        self.veths = veths

    def __enter__(self):
        self.veths.reset()
        director = self.veths["director"]
        director.ip(f"addr add {DIRECTOR}/24 dev d0", f"addr add {LAN_DIRECTOR}/24 dev d1")
        director.sysctl(net__ipv4__ip_forward=1)
        self.veths["client"].ip(f"route add {LAN}.0/24 via {DIRECTOR}")
        self.veths["server"].ip(f"route add {WAN}.0/24 via {LAN_DIRECTOR}")
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Starts what forwards."""

    def stop(self):
        """Ends it."""

    def busy(self):
        """Seconds of CPU that the balancer's own threads worked so far; None: it has none."""
        return None

    def used(self):
        """Seconds of CPU that its threads took, polling included; None: it has none."""
        return None

    def frames(self):
        """Frames that it received so far; None: it does not tell."""
        return None


class Nftables(Kernel):
    """Destination NAT in the kernel, in turns."""

    name = "nftables DNAT"
    command = "nft: dnat to numgen inc mod 4 map { … }"
    address = VIP

    def start(self):
        self.veths["director"].ip(f"addr add {VIP}/32 dev d0")
        servers = ", ".join(f"{at} : {server}" for at, server in enumerate(SERVERS))
        rules = self.veths.directory / "bench.nft"
        rules.write_text(NFT.format(vip=VIP, count=len(SERVERS), servers=servers),
                         encoding="ascii")
        self.veths["director"].run("nft", "-f", rules)


class Program(Kernel):
    """A program that forwards, in the director's namespace."""

    process = None

    def used(self):
        return process_seconds(self.process.child.pid)

    def stop(self):
        if self.process:
            self.process.stop()

    def launch(self, process):
        """Starts it."""
        self.process = process
        process.__enter__()


class Haproxy(Program):
    """HAProxy, mode tcp."""

    name = "HAProxy mode tcp"
    command = "haproxy -db -f haproxy.cfg"
    address = VIP

    def start(self):
        self.veths["director"].ip(f"addr add {VIP}/32 dev d0")
        self.veths["director"].sysctl(net__ipv4__ip_forward=0)
        servers = "\n".join(f"    server s{at} {server}:80" for at, server in enumerate(SERVERS))
        directory = self.veths.directory
        config = directory / "haproxy.cfg"
        config.write_text(HAPROXY.format(directory=directory, vip=VIP, servers=servers),
                          encoding="ascii")
        words = self.veths["director"].exec("haproxy", "-db", "-f", config)
        self.launch(Listening(words, directory / "haproxy.log", self.veths))

    def busy(self):
        return self.used()


class Listening(Process):
    """A process that is ready when it listens on port 80."""

    def __init__(self, command, log, veths):
        super().__init__(command, log)
        self.veths = veths

    def wait_until_ready(self):
        director = self.veths["director"]
        self.wait_for(lambda: "LISTEN" in director.run("ss", "-Hltn", "sport = :80").stdout,
                      "a listening socket")


def devices(driver):
    """The two DPDK devices."""
    return [f"{driver}{at},iface=d{at}" for at in (0, 1)]


class Io(Program):
    """testpmd `io`: a wire made of DPDK. Client and server see each other at its ends."""

    polls = True
    direct = False
    address = SERVERS[0]

    def __init__(self, veths, driver, direct=False):
        super().__init__(veths)
        self.driver, self.direct = driver, direct
        self.address = VIP if direct else SERVERS[0]
        self.name = f"testpmd io, {driver}" + (", answers direct" if direct else "")

    def __enter__(self):
        veths = self.veths
        veths.reset()
        server, client = veths.mac("server", "s0"), veths.mac("client", "c0")
        if self.direct:
            veths.answer_directly()
            veths.permanent("client", VIP, "c0", server)
        else:
            veths["client"].ip(f"route add {LAN}.0/24 dev c0")
            veths["server"].ip(f"route add {WAN}.0/24 dev s0")
            veths.permanent("client", self.address, "c0", server)
            veths.permanent("server", CLIENT, "s0", client)
        self.start()
        return self

    def start(self):
        words = self.veths["director"].exec(
            "stdbuf", "-oL", "dpdk-testpmd", "-l", f"{CONTROL_CPU},{WORKER_CPU}",
            f"--main-lcore={CONTROL_CPU}", "--in-memory", "--no-pci", "--no-telemetry",
            f"--file-prefix=peers{self.veths.tag}",
            *(f"--vdev={device}" for device in devices(self.driver)), "--",
            "--interactive", "--auto-start", "--forward-mode=io", "--nb-cores=1", "--burst=64",
            "--record-core-cycles", f"--total-num-mbufs={MBUFS}", "--no-mlockall",
            "--no-lsc-interrupt")
        self.command = " ".join(words[words.index("dpdk-testpmd"):])
        self.launch(Interactive(words, self.veths.directory / "testpmd.log"))

    def busy(self):
        return self.process.count()[0]

    def frames(self):
        return self.process.count()[1]


class Interactive(Process):
    """testpmd with its command line."""

    def wait_until_ready(self):
        self.wait_for(lambda: "testpmd> " in self.said(), "a prompt")

    def count(self):
        """Seconds of bursts that had frames, from its own count of cycles, and frames."""
        mark = self.log.stat().st_size
        self.child.stdin.write(b"show fwd stats all\n")
        found = []

        def answered():
            with self.log.open("rb") as log:
                log.seek(mark)
                said = log.read()
            pattern = rb"total cycles=(\d+) / total \w+ packets=(\d+)\) at (\d+) MHz"
            found[:] = [map(int, words) for words in re.findall(pattern, said)]
            # Without frames there is no such line, only the end of the statistics.
            return found or said.count(b"+++++++++++++++") >= 4

        self.wait_for(answered, "statistics")
        cycles, frames, mhz = found[0] if found else (0, 0, 1)
        return cycles / (mhz * 1e6), frames

    def stop(self):
        if self.child.poll() is None:
            self.child.stdin.write(b"quit\n")
            deadline = time.monotonic() + 10
            while self.child.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
        super().stop()


class Weir(Program):
    """The real binary with one worker."""

    polls = True
    command = "weir run -c weir.yaml"
    address = VIP

    def __init__(self, veths, driver, mode, idle="poll"):
        super().__init__(veths)
        self.driver, self.mode, self.idle = driver, mode, idle
        self.polls = idle == "poll"
        words = {"dr": "DR", "nat": "NAT"}[mode]
        self.name = f"Weir {words}, {driver}" + ("" if self.polls else ", idle: adaptive")

    def __enter__(self):
        self.veths.reset()
        if self.mode == "dr":
            self.veths.answer_directly()
        else:
            self.veths["server"].ip(f"route add {WAN}.0/24 via {LAN_DIRECTOR}")
        self.start()
        return self

    def start(self):
        config = self.veths.directory / "weir.yaml"
        config.write_text(self.yaml(), encoding="ascii")
        words = self.veths["director"].exec(binary(), "run", "-c", config)
        self.launch(Daemon(words, self.veths.directory))

    def total(self, name, **labels):
        """The sum of a metric's samples with these labels."""
        found = self.process.metrics().values(name, **labels)
        if not found:
            raise BenchError(f"there is no metric {name}")
        return sum(found)

    def busy(self):
        return self.total("weir_worker_busy_seconds_total")

    def frames(self):
        return self.total("weir_worker_packets_total", direction="rx")

    def yaml(self):
        """Its configuration."""
        first, second = devices(self.driver)
        mac = self.veths.mac("server", "s0")
        neighbours = [f'      - {{address: "{server}", mac: "{mac}"}}' for server in SERVERS]
        servers = [f'      - {{name: s{at}, address: "{server}"}}'
                   for at, server in enumerate(SERVERS)]
        directory = self.veths.directory
        return "\n".join([
            "ports:",
            f'  - {{name: wan0, device: "{first}", addresses: ["{DIRECTOR}/24"]}}',
            "  - name: lan0",
            f'    device: "{second}"',
            f'    addresses: ["{LAN_DIRECTOR}/24"]',
            "    neighbours:", *neighbours,
            "runtime:",
            f"  workers: [{WORKER_CPU}]",
            f"  control: {CONTROL_CPU}",
            "  flows_per_worker: 262144",
            f"  mbufs: {MBUFS}",
            "  hugepages: auto",
            f"  idle: {self.idle}",
            "services:",
            "  - name: bench",
            f'    address: "{VIP}"',
            "    port: 80",
            f"    mode: {self.mode}",
            "    scheduler: rr",
            "    servers:", *servers,
            "management:",
            f"  socket: {directory}/weir.sock",
            f"  state: {directory}/state",
        ]) + "\n"


def process_seconds(pid):
    """Seconds on the CPU of all threads of a process that live."""
    nanos = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        nanos += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return nanos / 1e9
