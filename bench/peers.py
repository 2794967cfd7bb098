"""Section `peers`: Weir against what a user would take instead, on the same veths.

Each round runs every contender once, one after the other; a figure is the median over the rounds.
"""

import os
import statistics
from dataclasses import dataclass
from pathlib import Path

import balancers
from contenders import CONTROL_CPU, WORKER_CPU
from host import BenchError
from section import Line, Plot, Row, Section
from veths import CONNECTIONS, LabError, Veths, pin

PER = 100_000  # connections that CPU seconds are told for
USER_HZ = 100  # of /proc/stat
HUGEPAGES = 512 << 20  # octets, for testpmd
TARGET = 1 / 15
ROUTING, NFT, HAPROXY = "plain routing", "nftables DNAT", "HAProxy mode tcp"
XDP, PACKET = "net_af_xdp", "net_af_packet"
IPVS = "IPVS"
PROSE = f"""\
A client, a director and a server in namespaces, joined by veth pairs without offloads; wrk with
{CONNECTIONS} connections on one thread, one nginx behind four addresses, a body of three octets.
With `Connection: close` each request is a connection; without, connections last. Every round runs
all contenders one after the other, so that what else happens on the machine meets them alike.

**Placement.** The kernel's paths and HAProxy (default settings, as many threads as CPUs) share both
CPUs with wrk and nginx. A polling contender (testpmd, Weir with `idle: poll`) has CPU
{WORKER_CPU} to itself, and wrk and nginx are left with CPU {CONTROL_CPU}. With
`idle: adaptive` Weir naps when there is nothing to do, and shares both CPUs as the others do. With
two CPUs in all, rates tell what is left for wrk and nginx, not what a balancer could carry.

**CPU per connection.** *Polled* contenders: time of turns that had frames, from
`weir_worker_busy_seconds_total` and from testpmd's `--record-core-cycles`; both are the forwarding
thread's time stamps, and both contain what the kernel does within a send: on veth that is the
receiving side's whole TCP. So only the difference of the two on the same path is Weir's own.
*HAProxy*: `schedstat` of all its threads, which contains the same. *Above routing*: the whole
machine's CPU time (/proc/stat, all but idle and steal) per connection, less that of plain routing
in the same round: it counts what a contender makes the kernel do, also outside of its own threads.
The kernel's paths have no threads of their own, so for them there is nothing else.

**P19**: Weir's above testpmd `io` on the same path, over HAProxy's above plain routing. The raw
ratio, without anything taken off, is of the first two: worker's busy time over HAProxy's threads'.

IPVS is compared frame by frame in `tests/oracle`. It runs there in User Mode Linux, where a system
call costs many times the real one, so it is not timed: this kernel has no `ip_vs`.
"""


@dataclass(frozen=True)
class Run:
    """One contender under one kind of load. CPU is in seconds per request."""

    rate: float
    machine: float
    stolen: float  # what the machine's own host gave to others meanwhile
    busy: float = None
    used: float = None
    frames: float = None  # that passed, per request


@dataclass(frozen=True)
class Pace:
    """How long and how often."""

    rounds: int
    keeping: int  # rounds of them in which connections are kept too
    seconds: int  # of each load


def contenders(veths, quick):
    """All, in the order in which a round runs them."""
    weir, io = balancers.Weir, balancers.Io
    telling = [
        balancers.Kernel(veths), balancers.Haproxy(veths), balancers.Nftables(veths),
        io(veths, XDP), weir(veths, XDP, "nat"),
        io(veths, XDP, direct=True), weir(veths, XDP, "dr"),
    ]
    return telling if quick else telling + [
        weir(veths, XDP, "nat", "adaptive"), weir(veths, XDP, "dr", "adaptive"),
        io(veths, PACKET), weir(veths, PACKET, "nat"),
    ]


def machine_seconds():
    """CPU time of the whole machine so far: used, and stolen by its host."""
    words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, words[1:9])
    return (user + nice + system + irq + softirq) / USER_HZ, steal / USER_HZ


def run(veths, balancer, seconds, close):
    """One load through one contender that has been started."""
    cpus = [CONTROL_CPU] if balancer.polls else [CONTROL_CPU, WORKER_CPU]
    pin(veths.nginx.pid, cpus)
    read = lambda: (*machine_seconds(), balancer.busy(), balancer.used(), balancer.frames())
    before = read()
    load = veths.load(balancer.address, seconds, close, cpus)
    after = read()
    if after[-1] is not None and after[-1] <= before[-1]:
        raise BenchError(f"{balancer.name}: nothing passed through it")
    return Run(load.rate, *(None if end is None else (end - start) / load.requests
                            for start, end in zip(before, after)))


def one_round(veths, number, pace, context, results):
    """Every contender once. One that fails is noted, and fails the rows it is in."""
    for balancer in contenders(veths, context.quick):
        name = balancer.name
        kept = results.setdefault(name, {"close": [], "keep": [], "error": None})
        try:
            with balancer:
                veths.check(balancer.address)
                kept["close"].append(run(veths, balancer, pace.seconds, True))
                if number < pace.keeping:
                    kept["keep"].append(run(veths, balancer, pace.seconds, False))
        except (BenchError, OSError, LabError) as error:
            kept["error"] = str(error).strip().splitlines()[0]
            context.say(f"  {name}: failed: {error}")
            continue
        finally:
            kept["command"] = balancer.command
        closing = kept["close"][-1]
        own = "" if closing.busy is None else f", {closing.busy * 1e6:.1f} µs each of its own"
        context.say(f"  round {number + 1}, {name}: {closing.rate:.0f} connections/s, "
                    f"{closing.machine * 1e6:.0f} µs of the machine{own}, "
                    f"{closing.stolen * 1e6:.0f} stolen; {kept['keep'][-1].rate:.0f} requests/s "
                    "when kept")


def row(name, values, unit, **more):
    """The median of a list with its spread."""
    return Row(name, statistics.median(values), unit, (min(values), max(values)), **more)


def rates(results, kind, head, unit):
    """Rows of what each contender reached."""
    base = results[ROUTING][kind]
    found = []
    for name, kept in results.items():
        title = f"{head}: {name}"
        if kept["error"] or not base:
            found.append(Row.failed(title, kept["error"] or "no baseline"))
            continue
        ratios = [own.rate / other.rate for own, other in zip(kept[kind], base)]
        found.append(row(title, [own.rate for own in kept[kind]], unit,
                         baseline=statistics.median(other.rate for other in base),
                         ratio=statistics.median(ratios),
                         ratio_spread=(min(ratios), max(ratios))))
    return found


def above(runs, base):
    """CPU seconds per connection of the whole machine, less the baseline's, round by round."""
    return [own.machine - other.machine for own, other in zip(runs, base)]


def costs(results):
    """Rows of CPU seconds per 100k connections."""
    base = results[ROUTING]["close"]
    found = []
    for name, kept in results.items():
        if kept["error"] or not base:
            continue
        runs = kept["close"]
        head = f"CPU seconds per 100k connections: {name}"
        if "adaptive" in name:
            found.append(row(head, [own.used * PER for own in runs], "s",
                             note="all threads, polling included: what `top` shows"))
        elif runs[0].busy is not None:
            what = "its threads" if name == HAPROXY else (
                f"turns that had frames; {runs[0].frames:.1f} frames each")
            found.append(row(head, [own.busy * PER for own in runs], "s", note=what))
        if runs[0].busy is None or name == HAPROXY:
            note = "whole machine" if name == ROUTING else "whole machine, above plain routing"
            values = [own.machine for own in runs] if name == ROUTING else above(runs, base)
            title = head if runs[0].busy is None else f"{head}, above routing"
            found.append(row(title, [value * PER for value in values], "s", note=note))
    return found


def p19(results, mode, io, weir):
    """Weir's CPU per connection against HAProxy's: above the same path each, and raw."""
    name = f"P19 CPU per connection above the path, Weir {mode} ÷ HAProxy"
    target = "≤ 1/15 (0.067)"
    parts = (ROUTING, HAPROXY, io, weir)
    errors = [f"{part}: {results[part]['error']}" for part in parts if results[part]["error"]]
    if errors:
        return [Row.failed(name, errors[0], target)]
    routing, haproxy, floor, own = (results[part]["close"] for part in parts)
    taxes = [run.busy - other.busy for run, other in zip(own, floor)]
    theirs = above(haproxy, routing)
    ratios = [tax / other for tax, other in zip(taxes, theirs)]
    raw = [run.busy / other.busy for run, other in zip(own, haproxy)]
    middle = statistics.median
    note = (f"{middle(taxes) * 1e6:.2f} µs above testpmd io ({min(taxes) * 1e6:.2f} to "
            f"{max(taxes) * 1e6:.2f}) ÷ {middle(theirs) * 1e6:.1f} µs above plain routing")
    return [row(name, ratios, "", target=target, passed=middle(ratios) <= TARGET, note=note),
            row(f"Raw CPU per connection, Weir {mode} ÷ HAProxy", raw, "",
                note="busy time of the worker ÷ CPU time of HAProxy's threads")]


def rows(results):
    """All rows."""
    names = list(results)
    io, weir, io_direct, weir_direct = (names[at] for at in (3, 4, 5, 6))
    return [
        *p19(results, "NAT", io, weir), *p19(results, "DR", io_direct, weir_direct),
        *costs(results),
        *rates(results, "close", "Connections per second", "1/s"),
        *rates(results, "keep", "Requests per second", "1/s"),
        Row(IPVS, note="compared by behaviour only, see above"),
    ]


def plots(results):
    """Bars of the rates."""
    good = {name: kept for name, kept in results.items() if not kept["error"]}
    bars = lambda kind: [(name, statistics.median(own.rate for own in kept[kind]))
                         for name, kept in good.items()]
    return [Plot(title, "", "per second", [Line(title, bars(kind))], kind="bars")
            for title, kind in (("Connections per second", "close"),
                                ("Requests per second, connections kept", "keep"))]


def measure(context):
    """Runs the rounds."""
    context.program("weir", "weir")
    pace = context.chosen(Pace(1, 1, 1), Pace(7, 3, 1), Pace(15, 5, 5))
    results = {}
    with context.hugepages(HUGEPAGES), Veths() as veths:
        for number in range(pace.rounds):
            one_round(veths, number, pace, context, results)
    found = [row for row in rows(results) if context.wants(row.name)]
    return Section("peers", "Against what a user would take instead", PROSE, found,
                   plots=plots(results), baseline_is="plain routing",
                   commands={name: kept["command"] for name, kept in results.items()})
