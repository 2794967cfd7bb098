#!/usr/bin/python3
"""Starts that cannot work: one clear line that names the trouble, exit 1, nothing left behind."""

import re

from labtest import main, run, session
from director import Director, binary

SECONDS_MAX = 10


def check_refusal(report, it, what, text, names):
    """Weir must refuse `text` (a configuration) and name each of `names` in its last line."""
    path = it.fabric.directory / "refused.yaml"
    path.write_text(text, encoding="ascii")
    done = it.fabric["director"].run(binary(), "run", "-c", path, check=False, timeout=SECONDS_MAX)
    report.equal(f"{what}: exit status", done.returncode, 1)
    told = done.stderr.strip()
    report.check(not re.search(r"panicked|backtrace|core dumped", told), f"{what}: no panic", told)
    last = told.splitlines()[-1] if told else ""
    report.check(all(name in last for name in names), f"{what}: {last[:100]}",
                 f"the last line should name {' and '.join(names)}")
    links = it.fabric["director"].run("ip", "-o", "link").stdout
    if it.director is None:
        report.check(" wan0" not in links, f"{what}: no TAP is left")


def refusals(report):
    """Each with a configuration that is right but for one thing."""
    with session("two-port", weir=False) as it:
        good = Director(it.lab, it.fabric).yaml()
        check_refusal(report, it, "missing device", good.replace("iface=eth1", "iface=nope0"),
                      ["nope0"])
        check_refusal(report, it, "missing CPU",
                      re.sub(r"workers: .*", "workers: [999]", good), ["999"])
        check_refusal(report, it, "no hugepages",
                      good.replace("hugepages: auto", "hugepages: required"), ["hugepages"])
        # A file stands where a directory would have to be: no start may create it.
        check_refusal(report, it, "socket in no directory",
                      re.sub(r"socket: .*", "socket: /dev/null/weir.sock", good), ["/dev/null"])
        missing = run([binary(), "run", "-c", "/nowhere/weir.yaml"], check=False)
        report.check(missing.returncode == 1 and "/nowhere/weir.yaml" in missing.stderr,
                     "missing file", missing.stderr)
        bad = it.fabric.directory / "bad.yaml"
        bad.write_text(good.replace("mode: nat", "mode: natt"), encoding="ascii")
        done = it.fabric["director"].run(binary(), "run", "-c", bad, check=False)
        report.check(done.returncode == 1 and re.search(r"bad\.yaml:\d+:\d+", done.stderr),
                     "a file with a mistake: place and exit 1", done.stderr[-300:])

        it.director = Director(it.lab, it.fabric)
        it.director.start(report.note)
        check_refusal(report, it, "second instance", it.director.yaml(), ["weir.sock"])
        report.equal("the first instance forwards on",
                     it.director.weir("status", check=False).returncode, 0)
        report.equal("and ends when told, exit status", it.director.stop(), 0)
        check_restart_after_kill(report, it)
        gone = run([binary(), "--socket", it.director.socket, "status"], check=False)
        report.equal("a command without a daemon: exit status", gone.returncode, 3)


def check_restart_after_kill(report, it):
    """After kill -9 a plain start works."""
    it.director.start(report.note)
    it.director.process.kill()
    it.director.process.wait(timeout=5)
    it.director.start(report.note)
    report.check(True, "a plain start works after kill -9")
    it.director.wait_all_up()
    got = it.requests(it.lab.vip("dr"), 10)
    report.equal("and forwards", got.answered, 10)
    it.director.stop()


if __name__ == "__main__":
    main("refusals: starts that cannot work", refusals)
