#!/usr/bin/python3
"""Reloads under load: no request fails, no connection breaks, a bad file changes nothing."""

from labtest import main, session
from layout import MODES
from load import WHOLE, Download, Requests

ROUNDS = 6  # reloads of each kind


def reload_under_load(report):
    """SIGHUP and `weir apply` in turn while connections come, go and last, in all modes."""
    with session("two-port", say=report.note) as it:
        vips = {f"{mode}-{family}": it.lab.vip(mode, family) for mode in MODES for family in (4, 6)}
        loads = {name: Requests(it, vip, name) for name, vip in vips.items()}
        lasting = {name: Download(it, vip, name) for name, vip in vips.items()}
        revision = it.director.metric("weir_config_revision")

        other = it.fabric.directory / "other.yaml"
        for turn in range(ROUNDS):
            # Weights change, services come and go; what flows must not notice.
            it.director.weights.update(dr1=1 + turn % 3, nat2=1 + turn % 2, tun1=2 - turn % 2)
            it.director.perf = (MODES[turn % 3],)
            it.director.reload()
            it.director.perf = () if turn % 2 else (MODES[(turn + 1) % 3],)
            other.write_text(it.director.yaml(), encoding="ascii")
            it.director.weir("apply", other)
        report.check(it.director.metric("weir_config_revision") >= revision + 2 * ROUNDS,
                     f"{ROUNDS} reloads by SIGHUP and {ROUNDS} by weir apply took effect")
        check_bad_file(report, it)
        check_shrink(report, it)

        for name, load in loads.items():
            report.check(load.count() > 50, f"{name}: {load.count()} requests")
            load.stop(report, name)
        for name, download in lasting.items():
            report.equal(f"{name}: the connection that was open all the time", download.finish(),
                         WHOLE)
        for worker, taken, given in it.director.conservation():
            report.check(taken == given > 0, f"worker {worker}: every frame accounted for",
                         f"{taken} in, {given} out")


def check_bad_file(report, it):
    """A file with a mistake is refused by SIGHUP and by apply, and nothing changes."""
    revision = it.director.metric("weir_config_revision")
    bad = it.fabric.directory / "bad.yaml"
    bad.write_text(it.director.yaml().replace("scheduler: rr", "scheduler: rrr"), encoding="ascii")
    done = it.director.weir("apply", bad, check=False)
    told = done.stderr + done.stdout
    report.check(done.returncode == 1 and "rrr" in told and "bad.yaml:" in told,
                 "apply of a file with a mistake is refused with its place", told[-300:])
    report.equal("and changes nothing", it.director.metric("weir_config_revision"), revision)


def check_shrink(report, it):
    """A file that takes most services away needs the operator's word."""
    it.director.perf = MODES
    it.director.reload()
    it.director.perf = ()
    small = it.fabric.directory / "small.yaml"
    small.write_text(it.director.yaml(), encoding="ascii")
    revision = it.director.metric("weir_config_revision")
    done = it.director.weir("apply", small, check=False)
    report.check(done.returncode == 1 and "12 of 18 services" in done.stderr,
                 "apply of a file without most services is refused", done.stderr)
    report.equal("and changes nothing", it.director.metric("weir_config_revision"), revision)
    it.director.weir("apply", small, "--allow-shrink")
    report.equal("with --allow-shrink it is done",
                 len(it.director.metrics()["weir_service_connections_total"]), 6)


if __name__ == "__main__":
    main("reload: under load, in all modes", reload_under_load)
