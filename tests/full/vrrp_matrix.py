#!/usr/bin/python3
"""The interoperability matrix (V59): Weir with keepalived and FRR, every version, every fault.

    vrrp_matrix.py [--write FILE] [WORD...]     only the rows whose names hold every WORD

Each row is a peer in a version; each column a fault, once with Weir as the Active and once as the
Backup. A cell is what was measured, why it failed, or why it cannot be. `make test-full` runs it;
the table is written as Markdown.
"""

import argparse
import os
import signal
import sys
import time
from datetime import date
from pathlib import Path
from threading import Thread

LABS = Path(__file__).resolve().parents[1] / "labs"
sys.path.insert(0, str(LABS))

# pylint: disable=wrong-import-position
from cells import CELLS, SLACK  # noqa: E402
from labtest import LabError, main, run, wait_until  # noqa: E402
from pair import VRID, advertisers, addresses, cut, kernel_host, pair  # noqa: E402
from wire import (Capture, block, last_announcer, learned_at, mute, switch_port,  # noqa: E402
                  two_for, virtual_mac)

HIGH, LOW = 200, 100
FAULTS = ["kill -9", "graceful stop", "link down", "partition", "heal", "one-way loss",
          "priority change", "nopreempt"]
HEAL_SLACK = 0.010  # V60


class Row:
    """One peer in one version, Weir being the Active or the Backup, and what each fault gave."""

    def __init__(self, fabric, cell, weir_leads):
        self.fabric, self.cell, self.weir_leads = fabric, cell, weir_leads
        self.results = {}
        self.weir = cell.weir(fabric, HIGH if weir_leads else LOW)
        self.peer = cell.other(fabric, LOW if weir_leads else HIGH)

    # -- either side by its role ----------------------------------------------------------------

    def wait(self, weir=None, peer=None, seconds=None):
        """Waits for roles (True: Active); returns how long that took, in ms."""
        start = time.monotonic()
        bound = self.cell.down(LOW) + SLACK if seconds is None else seconds
        if weir is not None:
            wait_until(lambda: (self.weir.state() == "active") == weir, bound,
                       f"Weir {'Active' if weir else 'not Active'}", step=0.01)
        if peer is not None:
            self.peer.wait(peer, bound)
        return (time.monotonic() - start) * 1e3

    def lead(self, leads):
        """Waits until the leader of this row is Active alone, or the other."""
        weir = leads == self.weir_leads
        return self.wait(weir=weir, peer=not weir, seconds=self.cell.down(LOW) + 3 + SLACK)

    def taken_over(self):
        """Waits until the follower is Active."""
        return self.wait(**({"peer": True} if self.weir_leads else {"weir": True}))

    def start(self):
        """Starts both, the leader first."""
        first, second = (self.weir, self.peer) if self.weir_leads else (self.peer, self.weir)
        first.start()
        self.wait(**({"weir": True} if self.weir_leads else {"peer": True}),
                  seconds=self.cell.down(LOW) + 3 + SLACK)
        second.start()
        self.lead(True)

    def end(self):
        """Ends both."""
        if self.weir.process and self.weir.process.poll() is None:
            self.weir.end(signal.SIGTERM)
        self.peer.kill()

    @property
    def leader(self):
        """The leader's host."""
        return "a" if self.weir_leads else "b"

    # -- the faults -------------------------------------------------------------------------------

    def kill(self):
        """The Active dies; comes back and takes over again."""
        end = (lambda: self.weir.end(signal.SIGKILL)) if self.weir_leads else self.peer.kill
        return self.gone(end, self.cell.down(LOW) + SLACK)

    def stop(self):
        """The Active ends in order: the Backup waits its skew only."""
        end = (lambda: self.weir.end(signal.SIGTERM)) if self.weir_leads else self.peer.stop
        return self.gone(end, self.cell.skew(LOW) + SLACK)

    def gone(self, end, bound):
        """Ends the Active: the time to the take-over. It comes back afterwards."""
        start = time.monotonic()
        ending = Thread(target=end)  # keepalived lives on for a second after its last advert
        ending.start()
        self.taken_over()
        took = time.monotonic() - start
        ending.join()
        if took > bound:
            raise LabError(f"after {took * 1e3:.0f} ms, allowed {bound * 1e3:.0f}")
        (self.weir if self.weir_leads else self.peer).start()
        self.lead(True)
        return f"{took * 1e3:.0f} ms"

    def link_down(self):
        """The Active's link goes down and comes again."""
        cut(self.fabric, self.leader)
        took = self.taken_over()
        cut(self.fabric, self.leader, down=False)
        self.lead(True)
        return f"{took:.0f} ms"

    def partition(self):
        """The switch drops what the Active says and hears: the Backup is Active too."""
        self.capture = Capture(self.fabric, ["a", "b"], self.cell.vips)
        block(self.fabric, self.leader)
        took = self.taken_over()
        self.wait(weir=True, peer=True)
        return f"{took:.0f} ms, both Active"

    def heal(self):
        """The switch lets both hear each other again: V60."""
        block(self.fabric, self.leader, blocked=False)
        start = time.time()
        self.lead(True)
        by = self.cell.peer if self.leader == "b" else "Weir"
        self.cell.wait_reachable(self.fabric, by)
        self.capture.wait_announcement(self.leader)
        events = self.capture.stop()
        loser = "b" if self.leader == "a" else "a"
        took = two_for(events, start, loser)
        said = f"{took * 1e3:.0f} ms"
        if took > self.cell.interval + HEAL_SLACK:
            raise LabError(f"two Active for {said} after the heal")
        if last_announcer(events) == self.leader:
            return f"{said}, last announcement the winner's"
        if by == "FRR":
            mac = virtual_mac(VRID, self.cell.family == 4)
            wait_until(lambda: learned_at(self.fabric, mac) == {switch_port(self.leader)}, 1,
                       "the switch sends the virtual MAC to FRR")
            return f"{said}; FRR does not announce again: same virtual MAC, switch follows adverts"
        raise LabError(f"{said}, but the last announcement is the loser's")

    def one_way(self):
        """The switch drops what the Active says: the Backup is Active too, the other hears it."""
        mute(self.fabric, self.leader)
        try:
            took = self.taken_over()
            # It hears an inferior Active, and stays what it is.
            self.wait(**({"weir": True} if self.weir_leads else {"peer": True}))
        finally:
            mute(self.fabric, self.leader, muted=False)
        self.lead(True)
        return f"{took:.0f} ms, one again after it"

    def priority(self):
        """Weir's priority changes by reload: the peer preempts, or Weir does; and back."""
        own = self.weir.vrrp["priority"]
        peers = LOW if self.weir_leads else HIGH
        took = self.reload(priority=peers - 50 if self.weir_leads else peers + 50)
        self.reload(priority=own)
        return f"{took:.0f} ms"

    def reload(self, **keys):
        """Gives Weir other keys; waits until the roles are as the priorities are."""
        self.weir.vrrp = self.weir.vrrp | keys
        self.weir.config.write_text(self.weir.yaml(), encoding="ascii")
        self.weir.weir("apply")
        peers = LOW if self.weir_leads else HIGH
        return self.lead((self.weir.vrrp["priority"] > peers) == self.weir_leads)

    def nopreempt(self):
        """A superior that may not preempt joins the Active and stays Backup."""
        self.end()
        if self.weir_leads:  # it is Active with the lower priority, and the peer joins
            weir, peer = self.cell.weir(self.fabric, LOW), self.cell.other(self.fabric, HIGH, False)
        else:
            weir = self.cell.weir(self.fabric, HIGH, preempt=False)
            peer = self.cell.other(self.fabric, LOW)
        self.weir, self.peer = weir, peer
        self.start()
        got = advertisers(self.fabric, max(2, 2 * self.cell.down(LOW)))
        if not got or [source in addresses(self.fabric, "b") for source in got] != [
                not self.weir_leads]:
            raise LabError(f"advertisers: {got}")
        self.lead(True)
        return "stays Backup"

    def run_all(self, report):
        """Every fault in turn. After a failure both sides start anew."""
        steps = dict(zip(FAULTS, [self.kill, self.stop, self.link_down, self.partition, self.heal,
                                  self.one_way, self.priority, self.nopreempt]))
        ready = False
        for fault, step in steps.items():
            try:
                if not ready:
                    self.start()
                    ready = True
                self.results[fault] = step()
                report.check(True, f"{fault}: {self.results[fault]}")
            except (LabError, IndexError) as error:
                self.results[fault] = f"**FAIL** {error}"
                report.failed(f"{fault}: {error}")
                ready = False
                self.recover()
        self.end()

    def recover(self):
        """Undoes whatever a fault left behind."""
        block(self.fabric, self.leader, blocked=False)
        cut(self.fabric, self.leader, down=False)
        try:
            self.end()
        except LabError:
            pass  # it had ended already
        self.weir = self.cell.weir(self.fabric, HIGH if self.weir_leads else LOW)
        self.peer = self.cell.other(self.fabric, LOW if self.weir_leads else HIGH)


def versions():
    """What was tested with what, one line."""
    weir = run([os.environ.get("WEIR_BIN", "target/lab/weir"), "--version"]).stdout.strip()
    keepalived = run(["keepalived", "--version"]).stderr.splitlines()[0]
    frr = run(["/usr/lib/frr/vrrpd", "--version"]).stdout.splitlines()[0]
    kernel = os.uname().release
    return f"{weir}; {keepalived}; {frr}; Linux {kernel}"


def table(rows):
    """The rows as Markdown, one table for each role of Weir."""
    lines = []
    for leads in (True, False):
        lines += ["", f"## Weir is the {'Active' if leads else 'Backup'}", "",
                  f"| peer | {' | '.join(FAULTS)} |", "|---" * (len(FAULTS) + 1) + "|"]
        for cell, weir_leads, results in rows:
            if weir_leads == leads:
                got = " | ".join(results.get(fault, "") for fault in FAULTS)
                lines.append(f"| {cell.name} | {got} |")
    return lines


def document(rows):
    """The whole file."""
    return "\n".join([
        f"# VRRP interoperability matrix, {date.today()}", "",
        f"`{' '.join(['tests/full/vrrp_matrix.py', *sys.argv[1:]])}` on {os.cpu_count()} CPUs.",
        versions() + ".", "",
        "A time is from the fault to the take-over, as a poll of both sides saw it (or, for *heal*, how long two directors went on "
        "advertising). Version 2 advertises every second, version 3 every 100 ms; priorities are "
        f"{HIGH} and {LOW}. *link down*: the switch's port of the Active goes down. *partition*: "
        "the switch drops the Active's frames both ways with its link up. *one-way loss*: it drops "
        "what the Active sends. *priority change*: Weir's, by reload. *nopreempt*: a superior joins "
        "an Active and may not preempt.",
        *table(rows)]) + "\n"


def matrix(report, only, write):
    """All rows that are wanted, in one network each: a fault must not reach into the next."""
    rows = []
    for cell in CELLS:
        if not all(word in cell.name for word in only):
            continue
        for weir_leads in (True, False):
            role = "Active" if weir_leads else "Backup"
            report.section(f"{cell.name}: Weir is the {role}")
            why = cell.impossible()
            if why:
                report.note(why)
                rows.append((cell, weir_leads, {fault: f"n/a: {why}" for fault in FAULTS}))
                continue
            with pair() as fabric:
                kernel_host(fabric, "b")
                row = Row(fabric, cell, weir_leads)
                row.run_all(report)
            rows.append((cell, weir_leads, row.results))
            if write:  # after each row: it takes a quarter of an hour in all
                Path(write).write_text(document(rows), encoding="utf-8")
    if write:
        Path(write).write_text(document(rows), encoding="utf-8")
        report.note(f"written: {write}")
    else:
        report.note("\n".join(table(rows)))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write", metavar="FILE")
    arguments.add_argument("only", nargs="*", metavar="WORD")
    wanted = arguments.parse_args()
    main("vrrp: the interoperability matrix",
         lambda report: matrix(report, wanted.only, wanted.write))
