"""The programs that are compared, each as something that starts, is sampled and stops.

Every one receives from a `net_pcap` (replaying a file for ever), on one forwarding core, and hands
out samples of how many frames it has sent and how long its forwarding thread was on its CPU. What
differs between them is only what is measured.

Several may live at once and share that core: one has its turn, the others rest.

Over memif the files are replayed by a second process, on the control CPU, which takes what is sent
as well. It rests and has its turn with the contender that it feeds.
"""

import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from host import BenchError, built, busiest_thread, cpu_nanos

CONTROL_CPU, WORKER_CPU = 0, 1
DESCRIPTORS = 1024
HEADROOM = 128  # octets, DPDK's default
START_MAX = 60  # seconds
ESTABLISH_MAX = 120  # seconds
STOP_MAX = 20  # seconds
POLLING_MIN = 100_000_000  # nanoseconds on the CPU that only a polling thread reaches
NICE_TURN = -20  # against those that rest: 0.03 % of the CPU for each


@dataclass(frozen=True)
class Sample:
    """A moment of a contender's forwarding thread. All counts begin anywhere."""

    at: float  # seconds
    sent: int  # frames
    ran: int  # nanoseconds on the CPU
    waited: int  # nanoseconds ready, but not on the CPU
    moving: int  # nanoseconds in which frames were moved


@dataclass(frozen=True)
class Setting:
    """What is the same for the contenders of a row."""

    file: Path  # replayed for ever
    first: Path  # replayed once, to establish flows
    flows: int
    frames: int
    burst: int
    mbuf_data: int = 2048
    out: Path = None  # where what is sent goes, if not nowhere
    socket: Path = None  # of memif, if it is another process that replays the files
    spare_mbufs = 16384  # besides one per frame of the file: caches, descriptors, bursts

    @property
    def mbufs(self):
        """Packet buffers: the driver keeps one per frame of the file."""
        return self.frames + self.spare_mbufs

    @property
    def replays(self):
        """The devices that replay the files, for ever and once, in DPDK's words. What is given to
        the second is what is sent."""
        taken = f",tx_pcap={self.out}" if self.out else ""
        return (f"net_pcap0,rx_pcap={self.file},infinite_rx=1",
                f"net_pcap1,rx_pcap={self.first}{taken}")

    def memifs(self, role):
        """The same two as one side of memif has them. The second takes all that the first holds:
        nothing is lost while the other process is held up."""
        return tuple(f"net_memif{number},id={number},role={role},socket={self.socket},"
                     f"socket-abstract=no,rsize={rsize}" for number, rsize in enumerate((10, 12)))

    @property
    def devices(self):
        """A contender's."""
        return self.memifs("server") if self.socket else self.replays

    @property
    def loop(self):
        """The device that frames come in by, for ever."""
        return self.devices[0]

    @property
    def once(self):
        """The device that flows are established by, once, and frames leave by."""
        return self.devices[1]


class Process:
    """A child with its output in a log file. Subclasses say which, and how to count its frames."""

    nice_turn = NICE_TURN
    feeder = None  # the process that frames come from, if there is one

    def __init__(self, command, log):
        self.command = [str(word) for word in command]
        self.log = log
        self.child = None
        self.thread = None  # the forwarding one

    def ask(self, question, answer):
        """Writes a line to its input and waits for words among what it says then."""
        mark = self.log.stat().st_size
        self.child.stdin.write(question)
        found = []
        def answered():
            with self.log.open("rb") as log:
                log.seek(mark)
                found[:] = re.findall(answer, log.read())
            return bool(found)
        self.wait_for(answered, "an answer", pause=0.001)
        return found[0]

    def __enter__(self):
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=log,
                                          stderr=subprocess.STDOUT, bufsize=0)
        try:
            self.wait_until_ready()
            if self.feeder:
                self.feeder.__enter__()
            self.wait_until_prepared()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_until_ready(self):
        """Waits until there is something to sample."""

    def wait_until_prepared(self):
        """Waits until it has what it needs to be measured, now that frames come."""

    def wait_for(self, condition, what, seconds=START_MAX, pause=0.01):
        """Polls for a condition while the child lives."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.child.poll() is not None:
                raise BenchError(f"{self.command[0]} ended, waiting for {what}:\n{self.said()}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.command[0]}: no {what} in {seconds} s:\n{self.said()}")
            time.sleep(pause)

    def said(self):
        """The end of its output."""
        return self.log.read_text(errors="replace")[-2000:]

    def stop(self):
        """Ends it: politely, then not."""
        if self.feeder and self.feeder.child:
            self.feeder.stop()
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(STOP_MAX)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child.stdin.close()

    def sent(self):
        """Frames sent so far."""
        raise NotImplementedError

    def moving(self):
        """Nanoseconds in which it moved frames so far."""
        raise NotImplementedError

    def rest(self):
        """Leaves the core to others from now on."""
        if self.feeder:
            self.feeder.rest()
        self.wait_for(self.is_polling, "polling thread")
        os.sched_setscheduler(self.thread, os.SCHED_IDLE, os.sched_param(0))

    def is_polling(self):
        """Whether a thread is known by now to be the one that polls."""
        self.thread = busiest_thread(self.child.pid)
        return self.thread and cpu_nanos(self.child.pid, self.thread)[0] > POLLING_MIN

    @contextmanager
    def turn(self):
        """A context in which it has the core."""
        os.sched_setscheduler(self.thread, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, self.thread, self.nice_turn)
        try:
            with self.feeder.turn() if self.feeder else nullcontext():
                yield
        finally:
            os.sched_setscheduler(self.thread, os.SCHED_IDLE, os.sched_param(0))

    def sample(self):
        """Counts and clocks, read as close together as can be."""
        before = time.monotonic()
        sent = self.sent()
        moving = self.moving() if self.feeder else None
        ran, waited = cpu_nanos(self.child.pid, self.thread)
        at = (before + time.monotonic()) / 2
        # There is always a next frame in a file, so that no turn is without.
        return Sample(at, sent, ran, waited, ran if moving is None else moving)


class Testpmd(Process):
    """C0: DPDK's own forwarder, swapping MAC addresses."""

    def __init__(self, setting, log):
        options = ["--auto-start", "--forward-mode=macswap"]
        if setting.socket:
            options.append("--record-core-cycles")
        super().__init__(self.words(setting, log, WORKER_CPU, setting.devices, options), log)

    @staticmethod
    def words(setting, log, cpu, devices, options):
        """A command. The main core is the control CPU's, so the one worker core forwards."""
        return [
            "stdbuf", "-oL", "dpdk-testpmd",
            f"--lcores=0@{CONTROL_CPU},1@{cpu}", "--main-lcore=0",
            "--in-memory", "--no-pci", "--no-telemetry",
            f"--file-prefix=bench{os.getpid()}-{log.stem}",
            *(f"--vdev={device}" for device in devices), "--",
            "--interactive", *options, "--nb-cores=1",
            f"--burst={setting.burst}", f"--rxd={DESCRIPTORS}", f"--txd={DESCRIPTORS}",
            f"--total-num-mbufs={setting.mbufs}", f"--mbuf-size={setting.mbuf_data + HEADROOM}",
            "--no-mlockall", "--no-lsc-interrupt",
        ]

    def wait_until_ready(self):
        self.wait_for(lambda: "testpmd> " in self.said(), "prompt")

    def sent(self):
        return int(self.ask(b"show port stats 1\n", rb"TX-packets: (\d+)\s"))

    def moving(self):
        cycles, megahertz = self.ask(b"show fwd stats all\n",
                                     rb"total cycles=(\d+) .*\) at (\d+) MHz")
        return int(cycles) * 1000 // int(megahertz)

    def stop(self):
        if self.child.poll() is None:
            self.child.stdin.write(b"quit\n")
            try:
                self.child.wait(STOP_MAX)
            except subprocess.TimeoutExpired:
                pass
        super().stop()


class Generator(Testpmd):
    """What feeds a contender over memif: DPDK's forwarder between the files and its ends of memif.

    It waits where a ring is full, so that a contender gets all that it can take.
    """

    nice_turn = 0  # Control lives on the same CPU.
    FULL_MAX = 100_000  # microseconds

    def __init__(self, setting, log):
        loop, once = setting.replays
        there, back = setting.memifs("client")
        # Ports in pairs: the file that is replayed for ever feeds the first memif; the second gets
        # the other file, and what comes back from it is what the contender sent.
        devices = loop, there, back, once
        options = ["--forward-mode=io", "--port-topology=paired", "--no-flush-rx"]
        Process.__init__(self, self.words(setting, log, CONTROL_CPU, devices, options), log)

    def wait_until_ready(self):
        super().wait_until_ready()
        for port in (1, 2):
            self.wait_for(lambda port=port: self.is_up(port), "memif")
        self.child.stdin.write(b"set fwd io retry\nset burst tx delay 1 retry %d\nstart\n"
                               % self.FULL_MAX)

    def is_up(self, port):
        """Whether a port is connected."""
        return self.ask(b"show port info %d\n" % port, rb"Link status: (\w+)") == b"up"


class Counter(Process):
    """A program of ours that forwards until its input ends, and counts when it is asked."""

    def wait_until_ready(self):
        self.wait_for(lambda: "ready" in self.said(), "readiness", ESTABLISH_MAX)

    def sent(self):
        return int(self.ask(b"\n", rb"sent (\d+)\n"))

    @staticmethod
    def options(setting):
        """What such programs are told alike."""
        return ["--rx", setting.loop, "--tx", setting.once, "--cpu", WORKER_CPU,
                "--control-cpu", CONTROL_CPU, "--burst", setting.burst, "--mbufs", setting.mbufs,
                "--data-room", setting.mbuf_data]


class Macswap(Counter):
    """C1: a macswap in Rust on Weir's I/O layer, without Weir."""

    def __init__(self, setting, log):
        program = built("weir-bench", "example", "macswap")
        super().__init__([program, *self.options(setting)], log)


class Tabled(Counter):
    """C2 and C3: the pipeline of DR with another flow table."""

    def __init__(self, setting, log, table):
        program = built("weir-bench", "example", "tabled")
        super().__init__([program, "--table", table, "--flows", setting.flows,
                          *self.options(setting)], log)
