"""The machine under a benchmark: what it is, its hugepages, and what a thread got of its CPU."""

import os
import platform
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
COMPACT = Path("/proc/sys/vm/compact_memory")
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
HUGEPAGE_TRIES = 4
PAGE = 2 << 20  # octets
REPOSITORY = Path(__file__).resolve().parents[1]


class BenchError(Exception):
    """Something that makes the figures worthless. Its text tells the operator what."""


def facts():
    """What a reader needs to judge or repeat the figures."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="ascii").split("\n\n")[0]
    lines = [line for line in cpuinfo.splitlines() if ":" in line]
    cpu = dict(re.split(r"\s*:\s*", line, maxsplit=1) for line in lines)
    return {
        "cpu": cpu.get("model name", platform.machine()),
        "cpu_family_model": f"{cpu.get('cpu family', '?')}/{cpu.get('model', '?')}",
        "cpu_cache": cpu.get("cache size", "?"),
        "cpu_flags": cpu.get("flags", ""),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "dpdk": output("pkg-config", "--modversion", "libdpdk"),
        "rustc": output("rustc", "--version"),
        "commit": output("git", "-C", REPOSITORY, "rev-parse", "--short=12", "HEAD"),
        "uncommitted": output("git", "-C", REPOSITORY, "status", "--porcelain", "-uno") != "",
    }


def host_class(host):
    """A directory name for machines whose figures may be compared."""
    virtual = "-vm" if "hypervisor" in host["cpu_flags"].split() else ""
    words = re.sub(r"\(r\)|\(tm\)|cpu|processor|@.*", "", host["cpu"].lower())
    name = re.sub(r"[^a-z0-9]+", "-", words).strip("-")
    model = host["cpu_family_model"].replace("/", "-")
    return f"{name}-{model}-{host['cpus']}cpu{virtual}"


def output(*words):
    """What a command says, or "unknown" if it cannot."""
    try:
        done = subprocess.run([str(word) for word in words], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.decode().strip()


def built(package, kind, name):
    """The path of a program of this repository, built first if need be. `kind` is bin or example.

    `BENCH_PROFILE=lab` builds much faster and runs a little slower: for developing a section.
    """
    profile = os.environ.get("BENCH_PROFILE", "release")
    words = ["cargo", "build", "--quiet", "--locked", "--profile", profile, "-p", package,
             f"--{kind}", name]
    if subprocess.run(words, cwd=REPOSITORY, check=False).returncode:
        raise BenchError(f"{' '.join(words)}: failed")
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / profile
    return target / "examples" / name if kind == "example" else target / name


@contextmanager
def hugepages(octets):
    """Reserves 2 MiB pages for as long as the context lasts, besides those that are in use.

    Raises BenchError if the kernel does not have them.
    """
    before = int(HUGEPAGES.read_text(encoding="ascii"))
    wanted = before + -(-octets // PAGE)
    try:
        for _ in range(HUGEPAGE_TRIES):
            HUGEPAGES.write_text(str(wanted), encoding="ascii")
            got = int(HUGEPAGES.read_text(encoding="ascii"))
            if got >= wanted:
                break
            # What the page cache holds lies scattered, and can be read again.
            DROP_CACHES.write_text("1", encoding="ascii")
            COMPACT.write_text("1", encoding="ascii")
        else:
            raise BenchError(f"{wanted} hugepages of 2 MiB are needed and the kernel found {got}: "
                             "free some memory, or choose fewer rows with ROWS=REGEX")
        yield
    finally:
        HUGEPAGES.write_text(str(before), encoding="ascii")


def busiest_thread(pid):
    """The thread of a process that used its CPU most, the main thread aside: of a program with one
    polling core, the one that polls. None if there is no other thread."""
    ran = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            ran[int(task.name)] = cpu_nanos(pid, task.name)[0]
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended meanwhile.
    ran.pop(pid, None)
    return max(ran, key=ran.get, default=None)


def cpu_nanos(pid, thread):
    """How long a thread ran, and how long it waited for its CPU, in nanoseconds."""
    text = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text(encoding="ascii")
    ran, waited, _ = text.split()
    return int(ran), int(waited)


def memory(pid):
    """Memory of a process in octets: resident (VmRSS) and in hugepages."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    octets = lambda key: int(re.search(rf"^{key}:\s+(\d+) kB", status, re.M).group(1)) << 10
    return {"rss": octets("VmRSS"), "hugepages": octets("HugetlbPages")}
