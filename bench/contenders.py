"""The programs that are compared, each as something that starts, is sampled and stops.

Every one receives from `net_pcap` (replaying a file for ever) and sends to `net_null`, on one
forwarding core, and hands out samples of how many frames it has sent and how long its forwarding
thread was on its CPU. What differs between them is only what is measured.
"""

import os
import re
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from host import BenchError, built, busiest_thread, cpu_nanos

CONTROL_CPU, WORKER_CPU = 0, 1
DESCRIPTORS = 1024
HEADROOM = 128  # octets, DPDK's default
SPARE_MBUFS = 16384  # besides one per frame of the file: caches, descriptors, bursts
START_MAX = 60  # seconds
STOP_MAX = 20  # seconds


@dataclass(frozen=True)
class Sample:
    """A moment of a contender's forwarding thread. All counts begin anywhere."""

    at: float  # seconds
    sent: int  # frames
    ran: int  # nanoseconds on the CPU
    waited: int  # nanoseconds ready, but not on the CPU


@dataclass(frozen=True)
class Setting:
    """What is the same for the contenders of a row."""

    file: Path
    frames: int
    burst: int
    mbuf_data: int = 2048

    @property
    def mbufs(self):
        """Packet buffers: the driver keeps one per frame of the file."""
        return self.frames + SPARE_MBUFS

    @property
    def devices(self):
        """The receiving and the sending device in DPDK's words."""
        return f"net_pcap0,rx_pcap={self.file},infinite_rx=1", "net_null0,no-rx=1"


class Process:
    """A child with its output in a log file. Subclasses say which, and how to count its frames."""

    def __init__(self, command, log):
        self.command = [str(word) for word in command]
        self.log = log
        self.child = None

    def __enter__(self):
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=log,
                                          stderr=subprocess.STDOUT, bufsize=0)
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_until_ready(self):
        """Waits until there is something to sample."""

    def wait_for(self, condition, what):
        """Polls for a condition while the child lives."""
        deadline = time.monotonic() + START_MAX
        while not condition():
            if self.child.poll() is not None:
                raise BenchError(f"{self.command[0]} ended, waiting for {what}:\n{self.said()}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.command[0]}: no {what} in {START_MAX} s:\n{self.said()}")
            time.sleep(0.01)

    def said(self):
        """The end of its output."""
        return self.log.read_text(errors="replace")[-2000:]

    def stop(self):
        """Ends it: politely, then not."""
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

    def sample(self):
        """Counts and clocks, read as close together as can be."""
        before = time.monotonic()
        sent = self.sent()
        ran, waited = cpu_nanos(self.child.pid, busiest_thread(self.child.pid))
        return Sample((before + time.monotonic()) / 2, sent, ran, waited)


class Testpmd(Process):
    """C0: DPDK's own forwarder, swapping MAC addresses."""

    # The main core is the control CPU's, so the one worker core forwards.
    name = "testpmd macswap"

    def __init__(self, setting, log):
        receive, send = setting.devices
        super().__init__([
            "stdbuf", "-oL", "dpdk-testpmd",
            "-l", f"{CONTROL_CPU},{WORKER_CPU}", f"--main-lcore={CONTROL_CPU}",
            "--in-memory", "--no-pci", "--no-telemetry", f"--file-prefix=bench{os.getpid()}",
            f"--vdev={receive}", f"--vdev={send}", "--",
            "--interactive", "--auto-start", "--forward-mode=macswap", "--nb-cores=1",
            f"--burst={setting.burst}", f"--rxd={DESCRIPTORS}", f"--txd={DESCRIPTORS}",
            f"--total-num-mbufs={setting.mbufs}", f"--mbuf-size={setting.mbuf_data + HEADROOM}",
            "--no-mlockall", "--no-lsc-interrupt",
        ], log)

    def sent(self):
        mark = self.log.stat().st_size
        self.child.stdin.write(b"show port stats 1\n")
        found = []
        def answered():
            with self.log.open("rb") as log:
                log.seek(mark)
                found[:] = re.findall(rb"TX-packets: (\d+)\s", log.read())
            return bool(found)
        self.wait_for(answered, "port statistics")
        return int(found[0])

    def stop(self):
        if self.child.poll() is None:
            self.child.stdin.write(b"quit\n")
            try:
                self.child.wait(STOP_MAX)
            except subprocess.TimeoutExpired:
                pass
        super().stop()


class Macswap(Process):
    """C1: a macswap in Rust on Weir's I/O layer, without Weir."""

    name = "weir-dpdk macswap"

    def __init__(self, setting, log, seconds):
        receive, send = setting.devices
        super().__init__([
            built("weir-dpdk", "example", "macswap"), "--rx", receive, "--tx", send,
            "--cpu", WORKER_CPU, "--control-cpu", CONTROL_CPU, "--seconds", seconds,
            "--burst", setting.burst, "--mbufs", setting.mbufs,
        ], log)

    def measure(self):
        """Waits for its end, and returns the samples before and after.

        It counts for itself, over its whole life; when it has told, its thread has gone, so the
        time on the CPU is the last that was seen, stretched to the time it counted for.
        """
        ran, waited = 0, 1
        while self.child.poll() is None:
            try:
                thread = busiest_thread(self.child.pid)
                ran, waited = max((ran, waited), cpu_nanos(self.child.pid, thread or "none"))
            except (FileNotFoundError, ProcessLookupError):
                pass  # There is none yet, or no longer.
            time.sleep(0.02)
        text = self.log.read_text(errors="replace")
        values = dict(re.findall(r"^(\w+) ([\d.]+)$", text, re.M))
        if self.child.returncode or "sent" not in values:
            raise BenchError(f"macswap failed:\n{self.said()}")
        seconds, share = float(values["seconds"]), ran / (ran + waited)
        start = Sample(0, 0, 0, 0)
        nanos = int(seconds * 1e9 * share)
        return start, Sample(seconds, int(values["sent"]), nanos, int(seconds * 1e9) - nanos)
