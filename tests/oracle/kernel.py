"""A real Linux IPVS kernel as a process: frames in, frames out.

Boots the User Mode Linux kernel of Debian's `user-mode-linux` with one TAP per
port and the `ip_vs` modules, and offers what a director needs: a network, an
IPVS table, commands, and `send`, which returns exactly the frames that the
kernel emitted for the one injected. Must run inside `sandbox.enter()`.

The NIC is UML's old `tuntap` transport: it has no checksum or segmentation
offload, so the frames are what would be on a wire (the `vec` transport
offloads checksums and would falsify every NAT comparison).
"""
import glob
import os
import signal
import subprocess
import sys
import time

import plain_fpu
import sandbox
from scenario import own_address
from wire import Wire

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = ("linux.uml", "ipvsadm", "busybox", "ip")
SCHEDULERS = "rr wrr lc wlc sh dh mh sed nq fo ovf".split()
_BOOT_SECONDS, _ANSWER_SECONDS = 60, 30

# Routing as on a director, nothing filtered or rate-limited, no chatter.
_SYSCTL = {
    "net.ipv4.ip_forward": 1,
    "net.ipv4.icmp_ratelimit": 0,
    "net.ipv4.icmp_msgs_per_sec": 10 ** 8,
    "net.ipv4.icmp_msgs_burst": 10 ** 8,
    "net.ipv6.icmp.ratelimit": 0,
    "net.ipv6.conf.all.forwarding": 1,
}
_SYSCTL_EACH = {
    "net.ipv4.conf.%s.rp_filter": 0,
    "net.ipv4.conf.%s.send_redirects": 0,
    "net.ipv6.conf.%s.accept_dad": 0,
    "net.ipv6.conf.%s.router_solicitations": 0,
}


class Kernel:
    """A booted guest with the network of a scenario (see scenario.py)."""

    def __init__(self, network, vips, modules=()):
        self.ports = network["ports"]
        self.dir = sandbox.scratch("ipvs-")
        self._files = 0
        self._taps()
        self._boot(modules)
        self._configure(vips)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The whole group: the guest has helper processes of its own.
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.wire.close()
        for i, _ in enumerate(self.ports):
            _run("ip link del uml%d" % i)

    # ---- host side ---------------------------------------------------------------------

    def _taps(self):
        for scope in ("all", "default"):
            with open("/proc/sys/net/ipv6/conf/%s/disable_ipv6" % scope, "w") as f:
                f.write("1")
        names = ["uml%d" % i for i in range(len(self.ports))]
        for name, port in zip(names, self.ports):
            _run("ip tuntap add dev %s mode tap" % name)
            _run("ip link set %s arp off mtu %d txqueuelen 10000 up" % (name, port["mtu"]))
        # The tuntap driver can miss the interrupt of a lone frame until the
        # next one arrives, so a barrier is soon asked again.
        self.wire = Wire(names, [own_address(p) for p in self.ports], again=0.5)
        self.send, self.pause = self.wire.send, self.wire.pause

    def _boot(self, modules):
        with open(self.dir + "/kernel.log", "wb") as log:
            self.process = subprocess.Popen(
                self._program() + ["umid=ipvs", "uml_dir=" + self.dir, "mem=192M", "quiet",
                 "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
                 "init=" + HERE + "/guest-init.sh", "MODULES=" + self._modules(modules),
                 "con=null", "con0=null,fd:2", "ssl=null", "ssl0=fd:0,fd:1"]
                + (plain_fpu.GUEST if plain_fpu.is_needed() else [])
                + ["eth%d=tuntap,uml%d,%s" % (i, i, p["mac"]) for i, p in enumerate(self.ports)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=self.dir,
                env=dict(os.environ, HOME=self.dir, TMPDIR=self.dir), start_new_session=True)
        if self._answer(_BOOT_SECONDS)[1] != "ready":
            raise RuntimeError("the guest did not start:\n" + self._log())

    def _program(self):
        """The User Mode kernel, as this CPU lets it run."""
        kernel = ["linux.uml"]
        if plain_fpu.is_needed():
            kernel = [sys.executable, plain_fpu.__file__] + kernel
        return kernel

    def _modules(self, more):
        """A file of module paths, dependencies first."""
        tables = sorted(glob.glob("/usr/lib/uml/modules/*/modules.dep"))
        if not tables:
            raise FileNotFoundError("no kernel modules: package user-mode-linux is incomplete")
        needs = {}
        with open(tables[-1]) as f:
            for line in f:
                path, _, rest = line.partition(":")
                needs[os.path.basename(path)[:-3]] = [path] + rest.split()
        order = []
        for name in ["ipv6", "ip_vs", *("ip_vs_" + s for s in SCHEDULERS), *more]:
            order += [m for m in reversed(needs[name]) if m not in order]
        return self.file("".join("%s/%s\n" % (os.path.dirname(tables[-1]), m) for m in order))

    def _log(self):
        with open(self.dir + "/kernel.log", errors="replace") as f:
            return f.read()[-2000:]

    # ---- commands in the guest ---------------------------------------------------------

    def file(self, text):
        """A file with `text` that the guest can read. Each gets a new name,
        because the guest caches file contents."""
        self._files += 1
        path = "%s/file%d" % (self.dir, self._files)
        with open(path, "w") as f:
            f.write(text)
        return path

    def command(self, line):
        """Output of one shell line; any other exit status than 0 is an error."""
        self.process.stdin.write(("{ %s; } 2>&1\n" % line).encode())
        self.process.stdin.flush()
        output, status = self._answer(_ANSWER_SECONDS)
        if status != "0":
            raise RuntimeError("%s: exit %s: %s" % (line, status, output))
        return output

    def script(self, lines):
        self.command("sh -e " + self.file("\n".join(lines) + "\n"))

    def ipvsadm(self, rules):
        """Applies rules in the format of `ipvsadm -S`, on top of what is there."""
        self.command("ipvsadm -R < " + self.file(rules))

    def _answer(self, seconds):
        """Output up to the next mark of guest-init.sh, and what the mark says."""
        text, end = b"", time.monotonic() + seconds
        while not (text.endswith(b"\n") and b"\1" in text):
            if not self.wire.wait(self.process.stdout, end - time.monotonic()):
                raise TimeoutError("no answer from the guest\n" + self._log())
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                raise RuntimeError("the guest ended: %r\n%s" % (text, self._log()))
            text += piece
        output, mark = text.decode().rsplit("\1", 1)
        return output, mark.strip()

    # ---- network -----------------------------------------------------------------------

    def _configure(self, vips):
        values = dict(_SYSCTL)
        for scope in ["all", "default"] + ["eth%d" % i for i in range(len(self.ports))]:
            values.update({k % scope: v for k, v in _SYSCTL_EACH.items()})
        lines = ["echo %s > /proc/sys/%s" % (v, k.replace(".", "/")) for k, v in values.items()]
        for i, port in enumerate(self.ports):
            dev = "eth%d" % i
            lines.append("ip link set %s mtu %d up" % (dev, port["mtu"]))
            for a in port["addresses"]:
                lines.append("ip addr add %s dev %s%s" % (a, dev, " nodad" if ":" in a else ""))
            # Permanent neighbours: no ARP or ND in the middle of a recording.
            for ip, mac in port["neighbours"].items():
                lines.append("ip neigh add %s lladdr %s dev %s nud permanent" % (ip, mac, dev))
            for gateway in port.get("gateway", []):
                lines.append("ip %s route add default via %s"
                             % ("-6" if ":" in gateway else "-4", gateway))
        lines += ["ip addr add %s dev lo%s" % (v, " nodad" if ":" in v else "") for v in vips]
        self.script(lines)


def _run(line):
    subprocess.run(line.split(), check=True)
