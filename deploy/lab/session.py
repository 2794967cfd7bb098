"""A lab from beginning to end: built, used, and taken down however its use ends."""

import os
import re
import signal
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass

from director import Director
from layout import Layout, build, layout
from net import Fabric, LabError, take_down
from servers import Servers

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Session:
    """What a script works with."""

    lab: Layout
    fabric: Fabric
    servers: Servers
    director: Director | None = None

    def requests(self, vip, count, path="/", space="client", timeout=2):
        """Sends HTTP requests from the client, each on a connection of its own, with curl."""
        host = f"[{vip}]" if ":" in vip else vip
        done = self.fabric[space].run(
            "curl", "-s", "--connect-timeout", "1", "-m", timeout, "-H", "Connection: close",
            "-o", "/dev/null", "-w", "%{http_code} %header{served-by}\n",
            f"http://{host}{path}?[1-{count}]", check=False, timeout=60 + count)
        return Answers.read(done.stdout, count)


@dataclass
class Answers:
    """Outcome of a run of requests."""

    sent: int
    answered: int
    by_server: Counter

    @classmethod
    def read(cls, text, count):
        """From curl's lines `STATUS SERVER`."""
        by_server = Counter(re.findall(r"^200 (\S+)$", text, re.MULTILINE))
        return cls(count, sum(by_server.values()), by_server)

    def share(self, server):
        """Part of the answers that came from a server, 0 to 1."""
        return self.by_server[server] / self.answered if self.answered else 0.0


def die_by(number, _frame):
    """Turns a signal into an exception, so that what is open gets closed on the way out."""
    raise SystemExit(128 + number)


def end_by_signals():
    """From now on Ctrl-C, a kill and a closed terminal end the script in order."""
    for number in ENDING_SIGNALS:
        signal.signal(number, die_by)


@contextmanager
def session(name, tag=None, weir=True, say=print, keep=False, **options):
    """Builds the lab `name`, starts servers (and Weir), and removes it all at the end.

    `keep` leaves the lab standing if nothing went wrong. `options` go to the Director.
    """
    if os.geteuid() != 0:
        raise LabError("root is needed: namespaces, devices and DPDK ports are made here")
    tag = tag or str(os.getpid())
    end_by_signals()
    done = False
    try:
        lab = layout(name)
        fabric = build(lab, tag)
        servers = Servers(lab, fabric)
        servers.start_all()
        it = Session(lab, fabric, servers)
        if weir:
            it.director = Director(lab, fabric, **options)
            it.director.start(say)
            it.director.wait_all_up()
        yield it
        done = True
    finally:
        if not (keep and done):
            for number in ENDING_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            take_down(tag)
            end_by_signals()
