"""The peers and versions that Weir shares a VIP with: how to set up both sides of each.

One entry of `CELLS` is a row of the interoperability matrix (V59): a peer, a version, a family.
"""

from dataclasses import dataclass

from labtest import wait_until
from layout import WAN
from pair import VIP, Frr, Keepalived, Weir, addresses, advertisers, answers_http

SLACK = 1.0  # seconds: a process has to start or to be looked at
VIP_6 = WAN.v6(10)
# keepalived and Weir lead with a link-local address; FRR advertises the one of its own device.
LINK_LOCAL_VIP = "fe80::10"


@dataclass(frozen=True)
class Cell:
    """One peer in one version."""

    peer: str  # keepalived or FRR
    version: int
    family: int = 4
    password: str | None = None
    unicast: bool = False

    @property
    def name(self):
        """As the tables show it."""
        words = [f"version {self.version}"]
        words += ["PASS"] if self.password else []
        words += ["unicast"] if self.unicast else []
        words += [f"IPv{self.family}"]
        return f"{self.peer}, {', '.join(words)}"

    @property
    def interval(self):
        """Seconds between adverts: the shortest of version 2, and a tenth of it in version 3."""
        return 1 if self.version == 2 else 0.1

    @property
    def virtual(self):
        """Whether the VIP has a virtual MAC: keepalived as it is by default has none."""
        return self.peer == "FRR"

    @property
    def vips(self):
        """The advertised addresses."""
        if self.family == 4:
            return [VIP]
        return [VIP_6] if self.peer == "FRR" else [LINK_LOCAL_VIP, VIP_6]

    def impossible(self):
        """Why the peer cannot do this, if so."""
        if self.peer == "FRR" and self.unicast:
            return "FRR's vrrpd has no unicast"
        if self.peer == "FRR" and self.password:
            return "FRR's vrrpd refuses every authentication"
        return None

    def skew(self, priority):
        """Skew_Time in seconds (RFC 9568 section 6.1, RFC 3768 section 6.1)."""
        return (256 - priority) / 256 * (1 if self.version == 2 else self.interval)

    def down(self, priority):
        """Active_Down_Interval in seconds."""
        return 3 * self.interval + self.skew(priority)

    def weir(self, fabric, priority, **more):
        """Weir, as director a."""
        keys = {"version": self.version, "interval": f"{int(self.interval * 1000)}ms",
                "priority": priority, "virtual_mac": self.virtual, "addresses": self.vips}
        if self.unicast:
            keys["unicast"] = {"peers": [WAN.v4(3)]}
        if self.password:
            keys["auth"] = {"type": "pass", "password": self.password}
        return Weir(fabric, "a", keys | more)

    def other(self, fabric, priority, preempt=True):
        """The peer, as director b."""
        if self.peer == "FRR":
            return Frr(fabric, "b", priority, self.interval, self.version, self.vips[-1], preempt)
        vips = [f"{vip}/{32 if self.family == 4 else 64}" for vip in self.vips]
        other = WAN.v4(2) if self.unicast else None
        return Keepalived(fabric, "b", self.version, priority, self.interval, self.password, other,
                          vips, preempt)

    def is_reachable(self, fabric):
        """Whether the VIP answers echo: the peer's kernel does it, or Weir."""
        ping = fabric["client"].run("ping", "-c1", "-W1", self.vips[-1], check=False)
        return ping.returncode == 0

    def is_served(self, fabric):
        """Whether Weir serves the VIP: HTTP by its service, echo where there is none."""
        return answers_http(fabric) if self.family == 4 else self.is_reachable(fabric)

    def check_one(self, report, text, fabric, by_peer):
        """One advertiser and no other: the peer, or Weir."""
        got = advertisers(fabric, 3 * self.interval + 0.2)
        peers = [source in addresses(fabric, "b") for source in got]
        report.equal(f"{text}: one advertiser, of {got}", peers, [by_peer])

    def wait_reachable(self, fabric, by):
        """Waits until the VIP answers, or is served if Weir is the Active."""
        holds = self.is_served if by == "Weir" else self.is_reachable
        wait_until(lambda: holds(fabric), 3, f"the client is served by {by}")


KEEPALIVED = [Cell("keepalived", 2), Cell("keepalived", 2, password="1111"),
              Cell("keepalived", 3), Cell("keepalived", 3, family=6),
              Cell("keepalived", 3, unicast=True)]
FRR = [Cell("FRR", 2), Cell("FRR", 2, password="1111"), Cell("FRR", 3), Cell("FRR", 3, family=6),
       Cell("FRR", 3, unicast=True)]
CELLS = KEEPALIVED + FRR
# What every run of `make test` covers; the others are for `make test-full`.
CELLS_OFTEN = KEEPALIVED + [Cell("FRR", 3)]
