#!/usr/bin/python3
"""`make demo`: real HTTP clients reach real nginx servers through Weir in every forwarding mode.

What is printed was measured in this run. Each count, share and reaction has a bound; one outside
its bound ends the demo with a non-zero exit status. Nothing is left behind, also on Ctrl-C.
"""

import json
import signal
import sys
import time

import pair

from director import CHECK, MEMORY_MAX, METRICS, SCHEDULERS, select, service_name
from layout import CLIENT, CLIENTS, MODES, PICTURES
from net import LabError, wait_until
from report import Report, paint
from session import end_by_signals, session

HOW = {
    "dr": "servers hold the VIP and answer the client themselves",
    "nat": "addresses are rewritten both ways through the director",
    "tunnel": "IP in IP to servers anywhere, which answer the client themselves",
}
# Part of the requests that the first server of a mode gets: equal turns, weight 3 of 4, and a
# hash over client ports, whose spread over 100 connections stays within four standard deviations.
SHARES = {"dr": (0.45, 0.55), "nat": (0.70, 0.80), "tunnel": (0.30, 0.70)}
REQUESTS = 100  # per mode and family
FEW = 40  # requests in the shorter rounds
# Each failed probe may take its interval and its timeout; then one look at the metrics.
OUT_MAX = CHECK["fall"] * (CHECK["interval"] + CHECK["timeout"]) + 0.5  # seconds
BACK_MAX = CHECK["rise"] * (CHECK["interval"] + CHECK["timeout"]) + 0.5
DROPS_MAX = 0.05  # part of all received frames
LOAD_SECONDS = 1.5  # of a datagram every 2 ms
# Three adverts of 100 ms, the skew of priority 200, and 10 ms of scheduling and measuring.
GAP_MAX = 300 + 100 * 56 / 256 + 10  # ms
BAR = 20  # characters of a full bar


def show_traffic(report, it, mode, family, count):
    """One round of requests: all must be answered, the first server's share lies in its bounds."""
    vip = it.lab.vip(mode, family)
    got = it.requests(vip, count)
    names = [server.name for server in it.lab.servers_of(mode)]
    low, high = SHARES[mode]
    # A shorter round has wider statistics; the full one is where shares are judged.
    if count < REQUESTS:
        low, high = low - 0.2, high + 0.2
    share = got.share(names[0])
    bars = "  ".join(
        f"{name} {got.share(name):4.0%} {'█' * round(got.share(name) * BAR):<{BAR}}"
        for name in names)
    report.check(
        got.answered == got.sent and low <= share <= high,
        f"IPv{family}  {got.answered:3} of {got.sent} answered   {bars.rstrip()}",
        f"all must be answered, and {names[0]} get {low:.0%} to {high:.0%}")


def show_services(report, it, mode):
    """The director's view, as its operator would see it: the rows of a mode."""
    names = [service_name(mode, family) for family in (4, 6)]
    command = ("show", "services")
    report.note(paint(f"$ weir {' '.join(command)}", "dim")
                + f"    (of which {' and '.join(names)}, up to INACT)")
    head, *rows = up_to("INACT", it.director.weir(*command).stdout)
    report.note(head)
    service = None
    for row in rows:
        service = service if row.startswith(" ") else row.split()[0]
        if service in names:
            report.note(row)


def up_to(column, table):
    """The lines of a table without what is right of a right-aligned column: for narrow screens."""
    lines = table.splitlines()
    end = lines[0].index(column) + len(column)
    return [line[:end].rstrip() for line in lines]


def only_other_serves(report, it, mode, gone, text):
    """Requests while a server is out: all answered, none by it."""
    got = it.requests(it.lab.vip(mode), FEW)
    report.check(got.answered == FEW and got.by_server[gone] == 0,
                 f"{text}: {got.answered} of {FEW} requests answered, none by {gone}",
                 f"answers came from {dict(got.by_server)}")


def all_serve(report, it, mode):
    """Requests after a server has come back: all answered, every server took part."""
    names = [server.name for server in it.lab.servers_of(mode)]
    got = it.requests(it.lab.vip(mode), FEW)
    report.check(got.answered == FEW and all(got.by_server[name] for name in names),
                 f"{' and '.join(names)} both serve: {got.answered} of {FEW} answered",
                 f"answers came from {dict(got.by_server)}")


def show_failure(report, it, mode):
    """A server dies, is taken out, comes back, is drained, and serves again."""
    service, victim = service_name(mode), it.lab.servers_of(mode)[0].name
    it.servers.kill(victim)
    took = it.director.wait_server(service, victim, up=False, seconds=OUT_MAX * 3)
    report.check(took <= OUT_MAX, f"nginx on {victim} killed: out after {took:.1f} s",
                 f"the bound is {OUT_MAX:.1f} s")
    only_other_serves(report, it, mode, victim, "while it is down")
    show_services(report, it, mode)
    it.servers.start(victim)
    took = it.director.wait_server(service, victim, up=True, seconds=BACK_MAX * 3)
    report.check(took <= BACK_MAX, f"nginx on {victim} started: back after {took:.1f} s",
                 f"the bound is {BACK_MAX:.1f} s")
    all_serve(report, it, mode)
    it.director.weir("drain", f"{service}/{victim}")
    only_other_serves(report, it, mode, victim, f"weir drain {service}/{victim}")
    it.director.weir("ready", f"{service}/{victim}")
    all_serve(report, it, mode)


def show_mistakes(report, it):
    """The two mistakes that most LVS installations have made, found by Weir itself."""
    report.section("the classic mistakes: the VIP missing on a server, and a server that leaks it")
    vip, (bare, leaky) = it.lab.vip("dr"), it.lab.servers_of("dr")[:2]
    it.fabric[bare.name].ip(f"addr del {vip}/32 dev lo")
    took = it.director.wait_server("dr", bare.name, up=False, seconds=OUT_MAX * 3)
    why = last_result(it, f"dr/{bare.name}")
    report.check(f"{vip} is missing on its lo" in why,
                 f"{vip} taken from {bare.name}'s lo: out after {took:.1f} s, its own address well",
                 why)
    report.note(f"{bare.name}: {why}")
    it.fabric[bare.name].ip(f"addr add {vip}/32 dev lo")
    it.director.wait_server("dr", bare.name, up=True, seconds=BACK_MAX * 3)

    space = it.fabric[leaky.name]
    space.sysctl(net__ipv4__conf__all__arp_announce=0)
    space.run("ip", "neigh", "flush", "all")
    neighbour = it.lab.servers_of("nat")[0].address(4)
    space.run("ping", "-c1", "-W1", "-I", vip, neighbour, check=False)
    took = wait_until(lambda: f"dr/{leaky.name}" in it.director.weir("show", "arp").stdout, 10,
                      f"{leaky.name} named in `weir show arp`")
    report.check(True, f"{leaky.name} asks as {vip} (arp_announce=0): named after {took:.1f} s")
    report.note(paint("$ weir show arp", "dim"))
    report.note(it.director.weir("show", "arp").stdout.rstrip())
    space.sysctl(net__ipv4__conf__all__arp_announce=2)


def last_result(it, server):
    """What the newest probe of a server found, in words."""
    told = json.loads(it.director.weir("show", "health", server, "--json").stdout)
    return told["health"][0]["results"][0]["detail"]


def show_explain(report, it, mode):
    """Weir says what it would do with a packet, and names a server that exists."""
    words = ("explain", "tcp", f"{CLIENTS.v4(CLIENT)}:40000", f"{it.lab.vip(mode)}:80")
    report.note(paint(f"$ weir {' '.join(words)}", "dim"))
    report.note(it.director.weir(*words).stdout.rstrip())
    told = json.loads(it.director.weir(*words, "--json").stdout)
    names = [server.name for server in it.lab.servers_of(mode)]
    report.check(told["service"] == service_name(mode) and told["server"] in names,
                 f"explained: {told['verdict']} to {told['service']}/{told['server']}",
                 f"expected {service_name(mode)} and one of {names}")


def show_books(report, it):
    """The closing tables: what each worker took in and gave an end, and what became of it."""
    report.section("The books")
    for worker, taken, given in it.director.conservation():
        report.check(taken == given and taken > 0,
                     f"worker {worker}: {taken} frames taken in, each ended one way",
                     f"{taken} taken in, {given} accounted for")
    report.note(paint("$ weir show workers", "dim") + "    (up to HELD)")
    report.note("\n".join(up_to("HELD", it.director.weir("show", "workers").stdout)))
    report.note(paint(f"$ curl http://{METRICS}/metrics", "dim") + "    (summed up)")
    samples = it.director.metrics()
    for title, name in (("punted", "weir_punts_total"), ("dropped", "weir_drops_total")):
        by_reason = {}
        for labels, value in samples.get(name, []):
            by_reason[labels["reason"]] = by_reason.get(labels["reason"], 0) + int(value)
        report.note(f"{title:<11}" + (", ".join(
            f"{reason} {n}" for reason, n in sorted(by_reason.items()) if n) or "nothing"))
    report.note(f"{'service':<11}{'packets in':>12}{'packets out':>12}{'connections':>12}")
    for mode in MODES:
        for family in (4, 6):
            show_service_row(report, samples, service_name(mode, family), mode)
    received = sum(select(samples, "weir_worker_packets_total", direction="rx"))
    dropped = sum(select(samples, "weir_drops_total"))
    report.check(dropped <= received * DROPS_MAX, f"{dropped / received:.2%} of the frames dropped",
                 f"the bound is {DROPS_MAX:.0%}")
    peak = it.director.memory_peak()
    report.check(peak <= MEMORY_MAX, f"the director needed {peak >> 20} MiB at most",
                 f"the bound is {MEMORY_MAX >> 20} MiB")


def show_service_row(report, samples, name, mode):
    """One service's packets; DR and TUN answers pass the director by, NAT's do not."""
    inward, outward = (sum(select(samples, "weir_service_packets_total", service=name,
                                  direction=direction)) for direction in ("in", "out"))
    connections = sum(select(samples, "weir_service_connections_total", service=name))
    report.note(f"{name:<11}{inward:>12.0f}{outward:>12.0f}{connections:>12.0f}")
    if inward == 0 or (outward == 0) == (mode == "nat"):
        report.failed(f"{name}: {inward:.0f} packets in and {outward:.0f} out cannot be")


def demo(report):
    """Both labs: everything in the one with two ports, the traffic again in the one with one."""
    for name in ("two-port", "one-port"):
        report.section(f"{name} lab")
        report.note(PICTURES[name])
        with session(name, say=report.note) as it:
            report.note(f"{len(it.fabric.spaces)} namespaces, {len(it.lab.servers)} nginx servers, "
                        f"weir on {it.director.driver}")
            for mode in MODES:
                report.section(f"{mode}: {HOW[mode]}\n    service {service_name(mode)} on "
                               f"{it.lab.vip(mode)} and {it.lab.vip(mode, 6)}, {SCHEDULERS[mode]}")
                for family in (4, 6):
                    show_traffic(report, it, mode, family, REQUESTS if name == "two-port" else FEW)
                if name == "two-port":
                    show_failure(report, it, mode)
                    show_explain(report, it, mode)
            if name == "two-port":
                show_mistakes(report, it)
            show_books(report, it)


def show_pair(report):
    """Two directors hold the VIP by VRRP: the Active is killed; keepalived takes part too."""
    report.section("two directors: the VIP moves by VRRP, adverts every 100 ms")
    with pair.pair() as fabric:
        keys = {"interval": "100ms"}
        first = pair.Weir(fabric, "a", keys | {"priority": 250})
        second = pair.Weir(fabric, "b", keys | {"priority": 200})
        first.start()
        first.wait("active", 5)
        second.start()
        second.wait("backup", 5)
        load = pair.measure(fabric, LOAD_SECONDS)
        time.sleep(LOAD_SECONDS / 3)  # of load before the crash
        first.end(signal.SIGKILL)
        answered, lost, gap, _ = pair.silence(load)
        report.check(gap <= GAP_MAX, f"the Active killed (kill -9) under load: {answered} answered, "
                     f"{lost} lost, {gap:.0f} ms of silence", f"the bound is {GAP_MAX:.0f} ms")
        report.note(paint("$ weir show vrrp", "dim"))
        report.note(second.weir("show", "vrrp").stdout.rstrip())
        show_keepalived(report, fabric, second)


def show_keepalived(report, fabric, weir):
    """keepalived takes over from Weir, and Weir from keepalived."""
    pair.kernel_host(fabric, "k")
    peer = pair.Keepalived(fabric, "k", 3, 100, 0.1)
    peer.start()
    weir.end(signal.SIGTERM)
    took = peer.wait(True, 3)
    report.check(True, f"Weir ends: keepalived is Active after {took * 1e3:.0f} ms")
    weir.start()
    weir.wait("active", 5)
    peer.wait(False, 3)
    wait_until(lambda: pair.answers_http(fabric), 3, "the VIP is served again")
    report.check(True, "Weir is back: it preempts keepalived, and the client is served")
    peer.kill()


def main():
    """Runs the demo; 0 when everything was within its bounds."""
    end_by_signals()
    report = Report("Weir: layer-4 load balancing on DPDK, shown in network namespaces")
    try:
        demo(report)
        show_pair(report)
    except LabError as error:
        report.failed(str(error))
    except SystemExit as ending:
        print("\ninterrupted; everything is cleaned up")
        return ending.code
    return report.done()


if __name__ == "__main__":
    sys.exit(main())
