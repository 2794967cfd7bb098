#!/usr/bin/python3
"""An interrupted demo leaves nothing: no namespace, no process, no file. Nor does lab-down."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from labtest import LabError, main, run
from net import directory_of, prefix_of, spaces_with

LAB = Path(__file__).resolve().parents[2] / "deploy" / "lab"
SECONDS_MAX = 60


def leftovers(tag):
    """What is left of a lab: namespaces, its directory, processes that name either."""
    left = spaces_with(prefix_of(tag))
    left += [str(directory_of(tag))] if directory_of(tag).exists() else []
    words = (prefix_of(tag), f"{directory_of(tag)}/")
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError, PermissionError):
            continue
        if any(word in line for word in words):
            left.append(f"{entry.name}: {line}")
    return left


def check_interruption(report, what, sign, is_time):
    """Starts the demo, interrupts it when `is_time(line)`, and looks for leftovers."""
    demo = subprocess.Popen([sys.executable, LAB / "demo.py"], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True)
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if is_time(line):
            break
    else:
        raise LabError(f"{what}: the moment did not come; the demo said {lines[-1:]}")
    demo.send_signal(sign)
    started = time.monotonic()
    demo.stdout.read()
    status = demo.wait(timeout=SECONDS_MAX)
    report.equal(f"{what}: exit status", status, 128 + sign)
    report.between(f"{what}: seconds to clean up", round(time.monotonic() - started, 1), 0, 15)
    report.equal(f"{what}: left behind", leftovers(demo.pid), [])


def check_lab_down(report):
    """`make lab` outlives its script, serves, and goes as a whole."""
    if spaces_with(prefix_of("lab")):
        report.skip("make lab: a lab is running, which is not this test's to remove")
        return
    done = run([sys.executable, LAB / "lab.py", "up"], check=False, timeout=SECONDS_MAX)
    report.check(done.returncode == 0, "make lab comes up", done.stderr + done.stdout)
    try:
        got = run(["ip", "netns", "exec", f"{prefix_of('lab')}client", "curl", "-sm2",
                   "http://192.0.2.10/"], check=False).stdout.strip()
        report.check(got in ("dr1", "dr2"), f"the lab serves: {got}")
        again = run([sys.executable, LAB / "lab.py", "up"], check=False)
        report.equal("a second make lab is refused", again.returncode, 1)
    finally:
        done = run([sys.executable, LAB / "lab.py", "down"], check=False)
    report.equal("make lab-down: exit status", done.returncode, 0)
    report.equal("make lab-down: left behind", leftovers("lab"), [])


def interruptions(report):
    """At different moments, by different signals."""
    for what, sign, moment in (
            ("Ctrl-C while building", signal.SIGINT, "two-port lab"),
            ("Ctrl-C in traffic", signal.SIGINT, "IPv4"),
            ("SIGTERM in traffic", signal.SIGTERM, "killed: out after"),
            ("terminal closed", signal.SIGHUP, "weir drain")):
        check_interruption(report, what, sign, lambda line, moment=moment: moment in line)
    check_lab_down(report)


if __name__ == "__main__":
    main("interrupted: nothing is left behind", interruptions)
