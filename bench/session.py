"""How the end-to-end contenders are run: files made, output judged, windows sampled."""

import re
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace

import director
import frames
from contenders import Generator, Macswap, Setting, Tabled, Testpmd
from director import Plan, Weir
from frames import Ends, Traffic
from host import BenchError

BURST = 64  # what a Weir worker asks its queues for
MBUF_OVERHEAD = 384  # octets per mbuf besides its data: headers, headroom, padding
FIXED_MEMORY = 128 << 20  # octets for everything that does not grow with flows or frames
FLOW_MEMORY = 80 + 144  # octets per flow that may be: tables of both families
TOGETHER_MAX = 10 << 30  # octets of hugepages for contenders that live together
LEAD_IN = 500_000  # frames of a turn before anything is measured; the whole file at least
LONG_FILE = 2_000_000  # frames: to meet all of them takes longer than to measure
DEMO_FLOWS = 16384
JUDGED_MAX = 20_000  # frames that came out
MODES = {"dr": "dr", "nat": "nat", "reply": "nat", "tunnel": "tunnel"}
BASELINE = "testpmd"


@dataclass(frozen=True)
class Group:
    """Traffic that contenders share, with one baseline in each round."""

    words: str
    traffic: Traffic
    contenders: tuple
    mbuf_data: int = 2048
    quick: tuple = ()  # those that a quick run measures
    memif: bool = False  # whether another process replays the files

    def share(self):
        """Hugepage memory of one contender in octets."""
        mbufs = (self.traffic.frames + Setting.spare_mbufs) * (2 if self.memif else 1)
        flows = self.traffic.flows * FLOW_MEMORY
        return mbufs * (self.mbuf_data + MBUF_OVERHEAD) + flows + FIXED_MEMORY

    def batches(self, contenders):
        """Those that live together, each time with the baseline: all, if memory is enough."""
        if self.share() * (1 + len(contenders)) <= TOGETHER_MAX:
            return [contenders]
        return [(contender,) for contender in contenders]

    def needs(self, contenders):
        """Hugepage memory in octets."""
        return self.share() * (1 + max(map(len, self.batches(contenders))))


class Session:
    """One session in one temporary directory."""

    def __init__(self, context):
        self.directory, self.say = context.directory, context.say
        self.rounds = context.chosen(quick=3, normal=15, soak=60)
        self.rounds_long = context.chosen(quick=3, normal=7, soak=20)
        self.seconds = context.chosen(quick=0.3, normal=0.4, soak=2)
        self.commands = {}
        self.judged = set()  # contenders and kinds of traffic whose output has been found right

    def pairs(self, group, contenders):
        """For each contender, what it and the baseline did in each round.

        Raises BenchError if a run cannot be trusted.
        """
        for contender in contenders:
            self.check_output(contender, group)
        found = {}
        for some in group.batches(contenders):
            rounds = self.batch(group, (BASELINE, *some))
            found.update({one: [(runs[BASELINE], runs[one]) for runs in rounds] for one in some})
        for path in self.directory.glob("*.pcap"):
            path.unlink()  # Memory is needed for the next group's.
        return found

    def batch(self, group, contenders):
        """Lets contenders live together and take turns, and returns what each did by rounds."""
        with ExitStack() as stack:
            running = {}
            for one in contenders:
                running[one] = stack.enter_context(self.process(one, group))
                self.remember(one, running[one], group)
                running[one].rest()
            rounds = []
            long = group.traffic.frames > LONG_FILE
            for number in range(self.rounds_long if long else self.rounds):
                runs = {one: self.turn(process, group) for one, process in running.items()}
                rounds.append(runs)
                rates = ", ".join(f"{one} {run['mpps']:.2f}" for one, run in runs.items())
                self.say(f"  round {number + 1}: {rates} Mpps")
            return rounds

    def process(self, contender, group, out=None):
        """A contender, not started, with what feeds it. What it sends goes to the file `out`."""
        setting = self.setting(group.traffic, group.mbuf_data, contender == "reply")
        setting = replace(setting, out=out)
        if not group.memif:
            return self.forwarder(contender, group, setting)
        setting = replace(setting, socket=self.directory / f"{contender}.memif")
        process = self.forwarder(contender, group, setting)
        process.feeder = Generator(setting, self.directory / f"{contender}-generator.log")
        return process

    def forwarder(self, contender, group, setting):
        """A contender on its devices."""
        log = self.directory / f"{contender}.log"
        if contender == BASELINE:
            return Testpmd(setting, log)
        if contender in MODES:
            directory = self.directory / contender
            directory.mkdir(exist_ok=True)
            return Weir(self.plan(contender, group.traffic, setting), directory)
        if contender == "macswap":
            return Macswap(setting, log)
        return Tabled(setting, log, contender)

    def turn(self, process, group):
        """What one process does while it has the core, after it has met all frames once."""
        with process.turn():
            start = process.sent() + max(group.traffic.frames, LEAD_IN)
            process.wait_for(lambda: process.sent() >= start, "lead-in")
            if isinstance(process, Weir):
                with process.verified():
                    return self.window(process)
            return self.window(process)

    def window(self, process):
        """The rates of a process that is warm."""
        first = process.sample()
        time.sleep(self.seconds)
        return rate(first, process.sample())

    def setting(self, traffic, mbuf_data=2048, reply=False):
        """What all contenders share; its files are made once."""
        vip = director.VIP[traffic.family],
        hosts = director.turns(traffic.family) if reply else vip
        kind = "reply" if reply else "forward"
        replay = self.directory / f"{traffic.name}-{kind}.pcap"
        first = self.directory / f"{traffic.name}-{kind}-first.pcap"
        if not replay.exists():
            self.say(f"  writing {replay.stem}")
            frames.write_replay(replay, traffic, Ends(director.GATE_MAC, hosts, reply))
            mac = director.WAN_MAC if reply else director.LAN_MAC
            frames.write_first(first, traffic, Ends(mac, vip))
        return Setting(replay, first, traffic.flows, traffic.frames, BURST, mbuf_data)

    @staticmethod
    def plan(contender, traffic, setting):
        """Weir's configuration."""
        return Plan(MODES[contender], traffic, setting.loop, setting.once, setting.mbufs,
                    setting.mbuf_data, reply=contender == "reply")

    def check_output(self, contender, group):
        """Sends traffic of the kind through Weir into a file, and judges what comes out."""
        traffic = group.traffic
        kind = contender, traffic.family, traffic.protocol, traffic.size, group.memif
        if contender not in MODES or kind in self.judged:
            return
        few = Traffic(traffic.family, 960, 960, size=traffic.size, protocol=traffic.protocol)
        out = self.directory / "out.pcap"
        few_group = Group("few", few, (contender,), memif=group.memif)
        with self.process(contender, few_group, out) as weir:
            wanted = weir.sent() + 2 * few.frames
            weir.wait_for(lambda: weir.sent() >= wanted, "all frames twice")
        # The first of them that came out are those that established flows.
        received = [frame for frame in frames.read(out, few.flows + JUDGED_MAX)
                    if director.is_forwarded(weir.plan, frame)][few.flows:]
        went = self.setting(few, reply=weir.plan.reply).file
        director.judge(weir.plan, list(frames.read(went)), received)
        out.unlink()
        self.judged.add(kind)

    def demo_memory(self):
        """What the director holds with the demo's settings, in octets, under traffic."""
        traffic = Traffic(4, 1000, 1000)
        setting = self.setting(traffic)
        plan = replace(self.plan("dr", traffic, setting), mbufs=16384, flow_room=DEMO_FLOWS,
                       idle="adaptive")
        with Weir(plan, self.directory) as weir:
            weir.rest()
            self.turn(weir, Group("demo", traffic, ()))
            return weir.memory()

    def remember(self, name, process, group):
        """Keeps a command for the record, free of temporary paths."""
        if process.feeder:
            self.remember("generator", process.feeder, replace(group, memif=False))
        name += " over memif" if group.memif else ""
        words = [word.replace(str(self.directory), "$DIR") for word in process.command]
        words = [re.sub(r"--file-prefix=\S+", "--file-prefix=bench", word) for word in words]
        words = [re.sub(r"^/.*/", "", word) for word in words]
        self.commands.setdefault(name, " ".join(words))


def rate(first, last):
    """Millions of frames per second of CPU and of wall time, nanoseconds that one took, the share
    of the time on the CPU in which there were any, and the share of the CPU."""
    sent, ran = last.sent - first.sent, last.ran - first.ran
    wall = last.at - first.at
    if sent <= 0 or ran <= 0:
        raise BenchError("nothing was sent during the window")
    moving = last.moving - first.moving
    return {"mpps": sent / ran * 1e3, "mpps_wall": sent / wall / 1e6, "nanos": moving / sent,
            "busy": moving / ran, "cpu_share": min(1.0, ran / 1e9 / wall)}
