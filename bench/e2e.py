"""Section `e2e`: Weir against DPDK's own forwarder, on the same devices and core.

Method (more in bench/README.md): each row is measured in pairs that run one after the other,
baseline first. Before a row is timed, one run through files proves that the output is right, and in
each timed run counters prove that every flow was established and nothing was dropped.

Rates count frames per second that the forwarding thread was on its CPU, so that a machine with
other work disturbs them little; the share of the CPU that it got is printed next to them.
"""

import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import director
import frames
from contenders import Macswap, Setting, Testpmd
from director import Plan, Weir
from frames import Traffic
from host import BenchError, memory
from section import Row, Section

BURST = 64  # what a Weir worker asks its queues for
MBUF_OVERHEAD = 512  # octets per mbuf besides its data: headers, headroom, padding
FIXED_MEMORY = 512 << 20  # octets for everything that does not grow with flows or frames
FLOW_MEMORY = 80 + 144  # octets per flow that may be: tables of both families
MEMORY_MAX = 512  # MiB of the demo's director
MEMORY_ROW = "Memory of the director with the demo's settings, under traffic"

PROSE = """
Frames of 60 octets (IPv6: 78) from `net_pcap,infinite_rx=1` to `net_null`, bursts of {burst}, one
direction, every flow established, eight servers, one worker. C0 is `dpdk-testpmd
--forward-mode=macswap` on the same devices and core. *Tax* is what Weir takes for a frame above
C0; medians of {pairs} pairs of {window} s each, with their spread. Times count while the
forwarding thread was on its CPU; *CPU* is the least share of it that a run got.

For scale: DPVS 1.10 on DPDK 24.11, built and measured by us with the same kind of files on an
Intel Emerald Rapids virtual machine, reaches 0.13 of testpmd `macswap` with 1k flows and 0.09 with
1M (DR; 7.2 and 1.8 Mpps). Ratios from different machines are near each other, not comparable digit
by digit.
"""


@dataclass(frozen=True)
class Case:
    """What is measured for a row."""

    name: str
    contender: str  # dr | nat | tunnel | macswap
    traffic: Traffic
    target: float = None  # least ratio
    mbuf_data: int = 2048
    quick: bool = True


def cases():
    """All cases. Those with a target decide about success."""
    one = lambda family, flows: Traffic(family, flows, flows)
    result = [
        Case("C1 macswap in Rust, 1k frames", "macswap", one(4, 1000), 0.95),
        Case("C1 macswap in Rust, 100k frames", "macswap", one(4, 100_000), quick=False),
        Case("DR, 1k flows", "dr", one(4, 1000), 0.30),
        Case("DR, 100k flows", "dr", one(4, 100_000)),
        Case("DR, 1M flows", "dr", one(4, 1_000_000), 0.35),
        Case("DR, 100k flows, ten frames each, shuffled", "dr", Traffic(4, 100_000, 1_000_000),
            quick=False),
        Case("DR, 1M flows, four frames each, shuffled, 256 B data rooms", "dr",
            Traffic(4, 1_000_000, 4_000_000), mbuf_data=256, quick=False),
        Case("DR over IPv6, 1k flows", "dr", one(6, 1000)),
        Case("DR over IPv6, 1M flows", "dr", one(6, 1_000_000), quick=False),
    ]
    for mode in ("nat", "tunnel"):
        words = {"nat": "NAT", "tunnel": "Tunnel (IPIP)"}[mode]
        result += [Case(f"{words}, 1k flows", mode, one(4, 1000)),
                   Case(f"{words}, 1M flows", mode, one(4, 1_000_000), quick=False)]
    return result


class Bench:
    """One session in one temporary directory."""

    def __init__(self, context):
        self.directory, self.say = context.directory, context.say
        self.pairs = context.chosen(quick=2, normal=5, soak=9)
        self.seconds = context.chosen(quick=2, normal=4, soak=20)
        self.commands = {}
        self.judged = set()  # modes and families whose output has been found right

    def file(self, traffic):
        """The pcap file of a kind of traffic, made once."""
        path = self.directory / traffic.name
        if not path.exists():
            self.say(f"writing {traffic.name}")
            frames.write(path, traffic, director.WAN_MAC, director.VIP[traffic.family])
        return path

    def setting(self, case):
        """What both sides of a case share."""
        return Setting(self.file(case.traffic), case.traffic.frames, BURST, case.mbuf_data)

    def check_output(self, mode, family):
        """Sends a file through Weir once, into another file, and judges what comes out."""
        if (mode, family) in self.judged:
            return
        traffic = Traffic(family, 1000, 1000)
        source, out = self.file(traffic), self.directory / "out.pcap"
        devices = f"net_pcap0,rx_pcap={source}", f"net_pcap1,tx_pcap={out}"
        plan = Plan(mode, family, devices, mbufs=16384, flows=traffic.flows)
        with Weir(plan, self.directory) as weir:
            # What the kernel says on the ports counts as sent too, so that alone proves nothing.
            weir.wait_for(lambda: min(weir.received(), weir.sent()) >= traffic.frames,
                          "all frames")
            weir.verify(traffic)
        director.judge(plan, list(frames.read(source)), list(frames.read(out)))
        out.unlink()
        self.judged.add((mode, family))

    def run(self, case):
        """Measures a case. Raises BenchError if it cannot be trusted."""
        if case.contender != "macswap":
            self.check_output(case.contender, case.traffic.family)
        pairs = []
        for number in range(self.pairs):
            pair = self.baseline(case), self.contender(case)
            pairs.append(pair)
            base, other = (side["mpps"] for side in pair)
            self.say(f"  pair {number + 1}: {base:.2f} and {other:.2f} Mpps, tax "
                     f"{1e3 / other - 1e3 / base:.1f} ns")
        return result(case, pairs)

    def baseline(self, case):
        """One run of testpmd."""
        setting = self.setting(case)
        with Testpmd(setting, self.directory / "testpmd.log") as testpmd:
            self.remember("testpmd", testpmd)
            return self.window(testpmd, setting.frames)

    def contender(self, case):
        """One run of the other side."""
        setting = self.setting(case)
        if case.contender == "macswap":
            seconds = self.seconds
            with Macswap(setting, self.directory / "macswap.log", seconds) as macswap:
                self.remember("macswap", macswap)
                return rate(*macswap.measure())
        plan = Plan(case.contender, case.traffic.family, setting.devices, setting.mbufs,
                    case.traffic.flows, case.mbuf_data)
        with Weir(plan, self.directory) as weir:
            self.remember("weir", weir)
            result = self.window(weir, setting.frames)
            weir.verify(case.traffic)
            return result

    def window(self, process, frame_count):
        """Samples a process after the file has gone through it twice."""
        process.wait_for(lambda: process.sent() >= 2 * frame_count, "warm-up")
        first = process.sample()
        time.sleep(self.seconds)
        return rate(first, process.sample())

    def demo_memory(self):
        """What the director holds with the demo's settings, in octets, under traffic."""
        traffic = Traffic(4, 1000, 1000)
        setting = Setting(self.file(traffic), traffic.frames, BURST)
        plan = Plan("dr", 4, setting.devices, mbufs=16384, flows=16384, idle="adaptive")
        with Weir(plan, self.directory) as weir:
            self.window(weir, traffic.frames)
            weir.verify(traffic)
            return memory(weir.child.pid)

    def remember(self, name, process):
        """Keeps a command for the record, free of temporary paths."""
        words = [word.replace(str(self.directory), "$DIR") for word in process.command]
        words = [re.sub(r"--file-prefix=\S+", "--file-prefix=bench", word) for word in words]
        words = [re.sub(r"^/.*/", "", word) for word in words]
        self.commands.setdefault(name, " ".join(words))


def rate(first, last):
    """Millions of frames per second of CPU and of wall time, and the share of the CPU."""
    sent, ran = last.sent - first.sent, last.ran - first.ran
    wall = last.at - first.at
    if sent <= 0 or ran <= 0:
        raise BenchError("nothing was sent during the window")
    return {"mpps": sent / ran * 1e3, "mpps_wall": sent / wall / 1e6,
            "cpu_share": min(1.0, ran / 1e9 / wall)}


def result(case, pairs):
    """A case's row: the tax, and the ratio of rates, as medians of the pairs."""
    taxes = [1e3 / other["mpps"] - 1e3 / base["mpps"] for base, other in pairs]
    ratios = [other["mpps"] / base["mpps"] for base, other in pairs]
    middle = lambda side, key: statistics.median(pair[side][key] for pair in pairs)
    ratio = statistics.median(ratios)
    share = min(side["cpu_share"] for pair in pairs for side in pair)
    return Row(
        case.name, statistics.median(taxes), "ns", (min(taxes), max(taxes)),
        baseline=1e3 / middle(0, "mpps"), ratio=ratio, ratio_spread=(min(ratios), max(ratios)),
        target=f"ratio ≥ {case.target:.2f}" if case.target else "",
        passed=ratio >= case.target if case.target else None,
        note=f"{middle(1, 'mpps'):.2f} of {middle(0, 'mpps'):.2f} Mpps; CPU {share:.0%}",
        details={"pairs": pairs, "flows": case.traffic.flows, "frames": case.traffic.frames})


def needs(case):
    """Hugepage memory for a case in octets."""
    mbufs = Setting(Path(), case.traffic.frames, BURST).mbufs
    flows = case.traffic.flows * FLOW_MEMORY
    return mbufs * (case.mbuf_data + MBUF_OVERHEAD) + flows + FIXED_MEMORY


def memory_row(bench):
    """What the director holds with the demo's settings."""
    held = bench.demo_memory()
    mib = {key: octets / (1 << 20) for key, octets in held.items()}
    total = sum(mib.values())
    return Row(MEMORY_ROW, total, "MiB", target=f"≤ {MEMORY_MAX} MiB", passed=total <= MEMORY_MAX,
               note=f"{mib['rss']:.0f} resident, {mib['hugepages']:.0f} in hugepages")


def measure(context):
    """All cases that are wanted. One that fails is a result too."""
    chosen = [case for case in cases()
              if context.wants(case.name) and (case.quick or not context.quick)]
    bench, rows = Bench(context), []
    with context.hugepages(max([FIXED_MEMORY, *map(needs, chosen)])):
        for case in chosen:
            rows.append(context.row(case.name, lambda: bench.run(case), "measured"))
        if context.wants(MEMORY_ROW):
            rows.append(context.row(MEMORY_ROW, lambda: memory_row(bench), "measured"))
    prose = PROSE.format(pairs=bench.pairs, window=bench.seconds, burst=BURST)
    return Section("e2e", "Weir against testpmd, one core", prose, rows, commands=bench.commands,
                   value_is="tax", baseline_is="C0", ratio_is="rate ÷ C0's",
                   order=[*(case.name for case in cases()), MEMORY_ROW])
