"""Network namespaces, links and processes of one lab, all under one name prefix.

Everything that a lab makes lives in namespaces whose names start with its prefix and in one
run directory, so that taking it down needs no record of what was made: kill what runs in those
namespaces, delete them, remove the directory. Nothing is ever created in the namespace of the
host, and no device of the host is touched.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

# What stands between a frame and the wire's truth: with these on, veth hands over frames
# without checksums and of 64 KiB, which a DPDK port would rightly drop.
OFFLOADS = "tx off rx off gso off gro off tso off".split()


class LabError(Exception):
    """Something in the lab did not work; the text is one line for the person at the terminal."""


def run(command, check=True, timeout=30, **options):
    """Runs a command to its end and returns it with its output as text.

    Raises LabError with the command and the last line of its errors when it fails.
    """
    try:
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=timeout,
            **options)
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(map(str, command))}: no end after {timeout} s") from None
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip().replace("\n", "; ") or "no output"
        raise LabError(f"{' '.join(map(str, command))}: exit {done.returncode}: {said}")
    return done


def wait_until(condition, seconds, what, step=0.02):
    """Polls `condition` until it is true and returns the seconds it took; LabError when late."""
    start = time.monotonic()
    while True:
        if condition():
            return time.monotonic() - start
        if time.monotonic() - start > seconds:
            raise LabError(f"{what}: not within {seconds:g} s")
        time.sleep(step)


class Namespace:
    """One network namespace and the means to run things in it."""

    def __init__(self, prefix, name):
        self.name = name
        self.full_name = prefix + name

    def exec(self, *command):
        """The words that run `command` inside."""
        return ["ip", "netns", "exec", self.full_name, *command]

    def run(self, *command, **options):
        """Runs a command inside to its end; see `run`."""
        return run(self.exec(*command), **options)

    def start(self, *command, log=subprocess.DEVNULL, **options):
        """Starts a long-running command inside, in a session of its own.

        A terminal's Ctrl-C thus reaches only the lab's script, which then ends everything in order.
        """
        return subprocess.Popen(
            [str(word) for word in self.exec(*command)], stdin=subprocess.DEVNULL,
            stdout=options.pop("stdout", log), stderr=options.pop("stderr", log),
            start_new_session=True, **options)

    def ip(self, *lines):
        """Runs `ip` commands inside as one batch."""
        run(["ip", "-n", self.full_name, "-batch", "-"], input="\n".join(lines) + "\n")

    def sysctl(self, **values):
        """Sets kernel parameters; `__` in a name stands for a dot."""
        self.run("sysctl", "-qw", *(f"{k.replace('__', '.')}={v}" for k, v in values.items()))

    def offloads_off(self, *devices):
        """Makes veth ends carry whole frames with whole checksums."""
        for device in devices:
            self.run("ethtool", "-K", device, *OFFLOADS)


def prefix_of(tag):
    """What the names of a lab's namespaces start with."""
    return f"weir-{tag}-"


def directory_of(tag):
    """Where a lab keeps its configuration, logs, sockets and pid files."""
    return Path(f"/run/weir-{tag}")


class Fabric:
    """The namespaces of one lab, their links, and the directory for their files.

    `tag` tells labs apart: the pid of the script that runs one, or `lab` for `make lab`.
    """

    def __init__(self, tag):
        self.tag = tag
        self.directory = directory_of(tag)
        self.directory.mkdir(mode=0o755)
        self.spaces = {}

    def __getitem__(self, name):
        return self.spaces[name]

    def namespace(self, name, forwarding=False):
        """Makes a namespace with loopback up and settings that every host of the lab shares."""
        space = Namespace(prefix_of(self.tag), name)
        run(["ip", "netns", "add", space.full_name])
        self.spaces[name] = space
        # Duplicate address detection and router solicitation only cost seconds here. rp_filter:
        # a VIP's answers come from a side where the router would not look for the VIP.
        settings = {}
        for scope in ("all", "default"):
            settings |= {
                f"net__ipv4__conf__{scope}__rp_filter": 0,
                f"net__ipv4__conf__{scope}__send_redirects": 0,
                f"net__ipv4__conf__{scope}__accept_redirects": 0,
                f"net__ipv6__conf__{scope}__accept_redirects": 0,
                f"net__ipv6__conf__{scope}__accept_dad": 0,
                f"net__ipv6__conf__{scope}__router_solicitations": 0,
            }
        if forwarding:
            settings |= {"net__ipv4__ip_forward": 1, "net__ipv6__conf__all__forwarding": 1}
        space.sysctl(**settings)
        space.ip("link set lo up")
        return space

    def switch(self, name):
        """A bridge in a namespace of its own."""
        space = self.namespace(name)
        space.sysctl(net__ipv6__conf__default__disable_ipv6=1)
        # Without a multicast querier, snooping would stop neighbour solicitations.
        space.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0",
                 "link set br0 up")
        return space

    def link(self, space, device, switch):
        """Joins `device` in `space` by a veth to a switch (a bridge port named after the space)."""
        port = f"{space.name}-{device}"[-15:]
        switch.ip(f"link add {port} type veth peer name {device} netns {space.full_name}",
                  f"link set {port} master br0 up")
        space.ip(f"link set {device} up")
        switch.offloads_off(port)
        space.offloads_off(device)


def spaces_with(prefix):
    """Full names of the existing namespaces that start with `prefix`."""
    names = [line.split()[0] for line in run(["ip", "netns", "list"]).stdout.splitlines() if line]
    return [name for name in names if name.startswith(prefix)]


def is_running(pid):
    """Whether a process exists and has not ended yet (a zombie has)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def end_processes(spaces):
    """Ends whatever runs in these namespaces: asked first, then killed."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        found = [run(["ip", "netns", "pids", space], check=False).stdout for space in spaces]
        pids = [int(pid) for pid in " ".join(found).split()]
        for pid in pids:
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline and any(map(is_running, pids)):
            time.sleep(0.02)


def take_down(tag):
    """Removes a lab, whoever made it and however far: processes, namespaces, files."""
    spaces = spaces_with(prefix_of(tag))
    end_processes(spaces)
    for space in spaces:
        run(["ip", "netns", "del", space], check=False)
    shutil.rmtree(directory_of(tag), ignore_errors=True)


def abandoned():
    """Tags of labs whose script was killed so hard that it could not clean up."""
    tags = {name.split("-")[1] for name in spaces_with("weir-")}
    return sorted(tag for tag in tags if tag.isdigit() and not is_running(int(tag)))
