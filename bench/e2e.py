#!/usr/bin/python3
"""End-to-end benchmarks: Weir against DPDK's own forwarder, on the same devices and core.

Method (more in bench/README.md): each row is a ratio, the median of pairs that ran one after the
other, baseline first. Before a row is timed, one run through files proves that the output is right,
and in each timed run counters prove that every flow was established and nothing was dropped.

Rates count frames per second that the forwarding thread was on its CPU, so that a machine with
other work disturbs them little; the share of the CPU that it got is printed next to them.
"""

import os
import re
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import director
import frames
import report
from contenders import Macswap, Setting, Testpmd
from director import Plan, Weir
from frames import Traffic
from host import BenchError, facts, hugepages, memory

BURST = 64  # what a Weir worker asks its queues for
MBUF_OVERHEAD = 512  # octets per mbuf besides its data: headers, headroom, padding
FIXED_MEMORY = 512 << 20  # octets for everything that does not grow with flows or frames
FLOW_MEMORY = 80 + 144  # octets per flow that may be: tables of both families
MEMORY_MAX = 512 << 20  # octets of the demo's director


@dataclass(frozen=True)
class Row:
    """A line of the result."""

    name: str
    contender: str  # dr | nat | tunnel | macswap
    traffic: Traffic
    target: float = None  # least ratio
    mbuf_data: int = 2048
    quick: bool = True


def rows():
    """All rows. Those with a target decide about success."""
    one = lambda family, flows: Traffic(family, flows, flows)
    result = [
        Row("C1 macswap in Rust, 1k frames", "macswap", one(4, 1000), 0.95),
        Row("C1 macswap in Rust, 100k frames", "macswap", one(4, 100_000), quick=False),
        Row("DR, 1k flows", "dr", one(4, 1000), 0.30),
        Row("DR, 100k flows", "dr", one(4, 100_000)),
        Row("DR, 1M flows", "dr", one(4, 1_000_000), 0.35),
        Row("DR, 100k flows, ten frames each, shuffled", "dr", Traffic(4, 100_000, 1_000_000),
            quick=False),
        Row("DR, 1M flows, four frames each, shuffled, 256 B data rooms", "dr",
            Traffic(4, 1_000_000, 4_000_000), mbuf_data=256, quick=False),
        Row("DR over IPv6, 1k flows", "dr", one(6, 1000)),
        Row("DR over IPv6, 1M flows", "dr", one(6, 1_000_000), quick=False),
    ]
    for mode in ("nat", "tunnel"):
        words = {"nat": "NAT", "tunnel": "Tunnel (IPIP)"}[mode]
        result += [Row(f"{words}, 1k flows", mode, one(4, 1000)),
                   Row(f"{words}, 1M flows", mode, one(4, 1_000_000), quick=False)]
    return result


@dataclass(frozen=True)
class Pace:
    """How long and how often."""

    pairs: int
    window: float  # seconds

    @classmethod
    def chosen(cls):
        """By the environment, as `make bench` passes it on."""
        if os.environ.get("QUICK"):
            return cls(pairs=2, window=2.0)
        if os.environ.get("SOAK"):
            return cls(pairs=9, window=20.0)
        return cls(pairs=5, window=4.0)


class Bench:
    """One session in one temporary directory."""

    def __init__(self, directory, pace):
        self.directory, self.pace = directory, pace
        self.commands = {}
        self.judged = set()  # modes and families whose output has been found right

    def file(self, traffic):
        """The pcap file of a kind of traffic, made once."""
        path = self.directory / traffic.name
        if not path.exists():
            say(f"writing {traffic.frames} frames of {traffic.flows} IPv{traffic.family} flows")
            frames.write(path, traffic, director.WAN_MAC, director.VIP[traffic.family])
        return path

    def setting(self, row):
        """What both sides of a row share."""
        return Setting(self.file(row.traffic), row.traffic.frames, BURST, row.mbuf_data)

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

    def run(self, row):
        """Measures a row. Raises BenchError if it cannot be trusted."""
        if row.contender != "macswap":
            self.check_output(row.contender, row.traffic.family)
        pairs = []
        for number in range(self.pace.pairs):
            pair = self.baseline(row), self.contender(row)
            pairs.append(pair)
            say(f"  {row.name}, pair {number + 1}: {pair[0]['mpps']:.2f} and {pair[1]['mpps']:.2f} "
                f"Mpps, ratio {pair[1]['mpps'] / pair[0]['mpps']:.3f}")
        return summary(row, pairs)

    def baseline(self, row):
        """One run of testpmd."""
        setting = self.setting(row)
        with Testpmd(setting, self.directory / "testpmd.log") as testpmd:
            self.remember("testpmd", testpmd)
            return self.window(testpmd, setting.frames)

    def contender(self, row):
        """One run of the other side."""
        setting = self.setting(row)
        if row.contender == "macswap":
            seconds = max(2, round(self.pace.window))
            with Macswap(setting, self.directory / "macswap.log", seconds) as macswap:
                self.remember("macswap", macswap)
                return rate(*macswap.measure())
        plan = Plan(row.contender, row.traffic.family, setting.devices, setting.mbufs,
                    row.traffic.flows, row.mbuf_data)
        with Weir(plan, self.directory) as weir:
            self.remember("weir", weir)
            result = self.window(weir, setting.frames)
            weir.verify(row.traffic)
            return result

    def window(self, process, frame_count):
        """Samples a process after the file has gone through it twice."""
        process.wait_for(lambda: process.sent() >= 2 * frame_count, "warm-up")
        first = process.sample()
        time.sleep(self.pace.window)
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


def summary(row, pairs):
    """A row's result: ratios of the pairs, medians of the rest."""
    ratios = [other["mpps"] / base["mpps"] for base, other in pairs]
    middle = lambda side, key: statistics.median(pair[side][key] for pair in pairs)
    base, other = middle(0, "mpps"), middle(1, "mpps")
    ratio = statistics.median(ratios)
    return {
        "name": row.name, "flows": row.traffic.flows, "frames": row.traffic.frames,
        "frame_len": frames.FRAME_LEN[row.traffic.family], "pairs": len(pairs),
        "ratio": ratio, "ratio_min": min(ratios), "ratio_max": max(ratios), "ratios": ratios,
        "baseline_mpps": base, "mpps": other, "tax_ns": 1e3 / other - 1e3 / base,
        "baseline_mpps_wall": middle(0, "mpps_wall"), "mpps_wall": middle(1, "mpps_wall"),
        "cpu_share": min(min(side["cpu_share"] for side in pair) for pair in pairs),
        "target": row.target, "passed": row.target is None or ratio >= row.target,
    }


def say(text):
    """Progress, for people."""
    print(text, file=sys.stderr, flush=True)


def needs(row):
    """Hugepage memory for a row in octets."""
    mbufs = Setting(Path(), row.traffic.frames, BURST).mbufs
    flows = row.traffic.flows * FLOW_MEMORY
    return mbufs * (row.mbuf_data + MBUF_OVERHEAD) + flows + FIXED_MEMORY


def measure(directory, chosen, pace):
    """All rows. A row that fails is a result too."""
    bench = Bench(directory, pace)
    results = []
    for row in chosen:
        say(f"{row.name}:")
        try:
            results.append(bench.run(row))
        except BenchError as error:
            say(f"  failed: {error}")
            results.append({"name": row.name, "target": row.target, "passed": False,
                            "error": str(error).splitlines()[0]})
    return bench, results


def main():
    """Runs everything; the exit code says whether all targets were met."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    quick = bool(os.environ.get("QUICK"))
    wanted = re.compile(os.environ.get("ROWS", ""))
    chosen = [row for row in rows() if wanted.search(row.name) and (row.quick or not quick)]
    if not chosen:
        raise BenchError("no row has such a name")
    pace, host = Pace.chosen(), facts()
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as name, \
            hugepages(max(needs(row) for row in chosen)):
        bench, results = measure(Path(name), chosen, pace)
        held = bench.demo_memory() if not os.environ.get("ROWS") else None
    record = {"host": host, "pairs": pace.pairs, "window_seconds": pace.window, "burst": BURST,
              "commands": bench.commands, "rows": results}
    if held:
        total = held["rss"] + held["hugepages"]
        record["memory"] = {**held, "limit": MEMORY_MAX, "passed": total <= MEMORY_MAX}
    print(report.markdown(record))
    if os.environ.get("SAVE") or not (quick or os.environ.get("ROWS")):
        say(f"written to {report.save(record)}")
    passed = all(row["passed"] for row in results) and (not held or record["memory"]["passed"])
    return 0 if passed else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as problem:
        sys.exit(f"bench: {problem}")
