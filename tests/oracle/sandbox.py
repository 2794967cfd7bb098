"""A disposable place to run in: own network, process and mount namespaces.

`enter()` restarts the running script under util-linux's `unshare`. Everything
the script makes afterwards (interfaces, processes, files in `scratch()`) lives
in namespaces that the kernel takes away when the script ends, however it ends:
the script is process 1 of its process namespace, so even `kill -9` leaves
nothing behind. The host's network is never touched.
"""
import os
import shutil
import subprocess
import sys
import tempfile

_MARK = "WEIR_TEST_SANDBOX"
# Every Debian has this folder, nothing needs it here, and the guest kernel sees
# it (it hides /dev, /proc, /sys and /run behind its own).
_SCRATCH = "/boot"

# Debian package that carries each program this folder starts.
PACKAGES = {
    "linux.uml": "user-mode-linux",
    "ipvsadm": "ipvsadm",
    "busybox": "busybox-static",
    "ip": "iproute2",
    "ethtool": "ethtool",
    "unshare": "util-linux",
    "mount": "mount",
}


def require(*programs):
    """Ends the process with one line that names every package to install."""
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"
    lacking = sorted({PACKAGES[p] for p in programs if shutil.which(p) is None})
    if lacking:
        sys.exit("missing: apt-get install --no-install-recommends " + " ".join(lacking))
    if os.geteuid() != 0:
        sys.exit("must be root: makes namespaces and TAP or veth interfaces of its own")


def enter():
    """Restarts this script inside fresh namespaces; returns once it is there."""
    if os.environ.get(_MARK) != "1":
        require("unshare", "mount", "ip")
        os.environ[_MARK] = "1"
        # Process 1 ignores SIGINT by default and unshare does too while it
        # waits; --kill-child ends the namespace together with unshare.
        os.execvp("unshare", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child",
                              "--mount-proc", sys.executable] + sys.argv)
    # A kernel in user mode keeps its memory in an executable file, which the
    # host's temporary folders may not allow.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", _SCRATCH], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    del os.environ[_MARK]


def scratch(prefix):
    """A fresh folder that vanishes with the sandbox."""
    return tempfile.mkdtemp(prefix=prefix, dir=_SCRATCH)
