"""Load that lasts while something happens to the director: used by the reload and drain tests."""

from collections import Counter

from labtest import LabError, wait_until

# Requests a second. Flows of DR and TUN last two minutes after the client's FIN: without a limit, a
# fast machine fills the lab's flow table, whose connections then have no flow that is kept.
RATE = 200
DOWNLOAD_LEN = 8 << 20  # octets; at 1 MiB/s


class Requests:
    """New connections one after the other until stopped; each one's outcome is kept."""

    def __init__(self, it, vip, name):
        self.director = it.director
        host = f"[{vip}]" if ":" in vip else vip
        self.log = it.fabric.directory / f"load-{name}"
        with self.log.open("wb") as out:
            self.process = it.fabric["client"].start(
                "curl", "-sN", "--rate", f"{RATE}/s", "--connect-timeout", "1", "-m", "3",
                "-H", "Connection: close", "-o", "/dev/null", "-w", "%{stderr}%{http_code} %header{served-by}\n",
                f"http://{host}/?[1-1000000]", stderr=out)
        wait_until(lambda: self.count() > 0, 5, f"first answer from {vip}")

    def outcomes(self):
        """Every finished request so far: (status, server)."""
        lines = self.log.read_text().split("\n")[:-1]  # the last may be half written
        return [tuple((line.split(" ") + [""])[:2]) for line in lines]

    def count(self):
        """How many requests have finished."""
        return len(self.outcomes())

    def stop(self, report, name):
        """Ends the load, and checks that none of it failed, nor went on without a flow."""
        if self.process.poll() is not None:
            raise LabError(f"the load ended by itself with exit {self.process.returncode}")
        self.process.terminate()
        self.process.wait(timeout=5)
        outcomes = Counter(self.outcomes())
        failed = {what: n for what, n in outcomes.items() if what[0] != "200"}
        report.check(not failed, f"{name}: of {sum(outcomes.values())} requests none failed",
                     f"{failed}; Weir dropped {self.director.drops() or 'nothing'} and took out "
                     f"{self.director.taken_out() or 'nobody'}")
        report.equal(f"{name}: flows that found the table full",
                     self.director.metric("weir_flow_insert_failures_total"), 0)


class Download:
    """One connection that lasts about eight seconds."""

    def __init__(self, it, vip, name):
        host = f"[{vip}]" if ":" in vip else vip
        self.headers = it.fabric.directory / f"headers-{name}"
        self.result = it.fabric.directory / f"download-{name}"
        with self.result.open("wb") as out:
            self.process = it.fabric["client"].start(
                "curl", "-s", "-m", "30", "-D", self.headers, "-o", "/dev/null", "-w",
                "%{http_code} %{size_download}", f"http://{host}/slow", stdout=out)
        wait_until(self.server, 5, f"headers of the download from {vip}")

    def server(self):
        """The server that answers, or None before its headers have come."""
        text = self.headers.read_text() if self.headers.exists() else ""
        names = [line.split()[1] for line in text.splitlines() if line.startswith("Served-By:")]
        return names[0] if names else None

    def is_running(self):
        """Whether it goes on."""
        return self.process.poll() is None

    def finish(self):
        """Waits for its end: (exit status, `STATUS OCTETS`)."""
        return self.process.wait(timeout=40), self.result.read_text()


WHOLE = (0, f"200 {DOWNLOAD_LEN}")
