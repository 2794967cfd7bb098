"""Who is where: the two labs as data and pictures, and the function that builds them.

DR and TUN servers answer the client through the router, NAT servers through the director. In the
two-port lab the TUN servers stand in a network of their own, which is what tunnels are for.
All addresses are from documentation and benchmark ranges.
"""

from dataclasses import dataclass, field

from net import Fabric

MODES = ("dr", "nat", "tunnel")
LABS = ("two-port", "one-port")


@dataclass(frozen=True)
class Segment:
    """A subnet of both families; hosts have the same number in both."""

    name: str
    prefix4: str
    prefix6: str

    def v4(self, host):
        """IPv4 address of a host number."""
        return f"{self.prefix4}.{host}"

    def v6(self, host):
        """IPv6 address of a host number (its digits are used as they stand)."""
        return f"{self.prefix6}::{host}"

    def address(self, host, family):
        """Address of a host number in family 4 or 6."""
        return self.v4(host) if family == 4 else self.v6(host)

    def assign(self, host, device):
        """`ip` commands that give a device this host number."""
        return [f"addr add {self.v4(host)}/24 dev {device}",
                f"addr add {self.v6(host)}/64 dev {device} nodad"]


PICTURES = {
    "two-port": """\
client -- router --[wan]-- wan0 WEIR lan0 --[lan]-- dr1 dr2 nat1 nat2
             |                                |
             +--------------------------------+
             +--[remote]-- tun1 tun2""",
    "one-port": """\
client -- router --[wan]--+-- wan0 WEIR
                          +-- dr1 dr2 nat1 nat2 tun1 tun2""",
}

CLIENTS = Segment("clients", "198.51.100", "2001:db8:c")
WAN = Segment("wan", "192.0.2", "2001:db8:1")
LAN = Segment("lan", "203.0.113", "2001:db8:2")
REMOTE = Segment("remote", "198.18.0", "2001:db8:3")

ROUTER, DIRECTOR, CLIENT = 1, 2, 10
VIP_HOSTS = {"dr": 10, "nat": 11, "tunnel": 12}


@dataclass(frozen=True)
class Server:
    """A real server: namespace name, forwarding mode, place, weight."""

    name: str
    mode: str
    segment: Segment
    host: int
    weight: int = 1

    def address(self, family):
        """RIP of family 4 or 6."""
        return self.segment.address(self.host, family)


@dataclass
class Layout:
    """One of the two labs, before it is built."""

    name: str
    ports: list = field(default_factory=list)  # (port name, device in the namespace, segment)
    servers: list = field(default_factory=list)

    def vip(self, mode, family=4):
        """The address that clients use for a mode."""
        return WAN.address(VIP_HOSTS[mode], family)

    def servers_of(self, mode):
        """The two servers of a mode."""
        return [server for server in self.servers if server.mode == mode]

    def segments(self):
        """Segments with a switch, in the order the router is plugged in."""
        return [WAN] if self.name == "one-port" else [WAN, LAN, REMOTE]


def layout(name):
    """The layout called `two-port` or `one-port`."""
    two = name == "two-port"
    near, far = (LAN, REMOTE) if two else (WAN, WAN)
    lab = Layout(name)
    lab.ports = [("wan0", "eth0", WAN)] + ([("lan0", "eth1", LAN)] if two else [])
    lab.servers = [
        Server("dr1", "dr", near, 21), Server("dr2", "dr", near, 22),
        Server("nat1", "nat", near, 31, weight=3), Server("nat2", "nat", near, 32),
        Server("tun1", "tunnel", far, 41), Server("tun2", "tunnel", far, 42),
    ]
    return lab


def build(lab, tag):
    """Makes the namespaces and links of a layout and returns the Fabric; servers run nothing yet.

    A failure leaves what was made so far: the caller takes the tag down in any case.
    """
    fabric = Fabric(tag)
    switches = {s.name: fabric.switch(f"sw-{s.name}") for s in [CLIENTS, *lab.segments()]}
    client = fabric.namespace("client")
    fabric.link(client, "eth0", switches["clients"])
    client.ip(*CLIENTS.assign(CLIENT, "eth0"), *default_via(CLIENTS, ROUTER))

    router = fabric.namespace("router", forwarding=True)
    for segment in [CLIENTS, *lab.segments()]:
        fabric.link(router, segment.name, switches[segment.name])
        router.ip(*segment.assign(ROUTER, segment.name))

    # The director's devices belong to DPDK: its addresses live on Weir's TAPs, never on these.
    director = fabric.namespace("director")
    director.sysctl(net__ipv6__conf__default__disable_ipv6=1)
    for _, device, segment in lab.ports:
        fabric.link(director, device, switches[segment.name])
    director.sysctl(net__ipv6__conf__default__disable_ipv6=0)

    for server in lab.servers:
        build_server(fabric, lab, server, switches[server.segment.name])
    return fabric


def build_server(fabric, lab, server, switch):
    """One real server, prepared as its forwarding mode asks for."""
    space = fabric.namespace(server.name)
    # A server that holds the VIP must not tell anybody: Weir answers for it.
    space.sysctl(net__ipv4__conf__all__arp_ignore=1, net__ipv4__conf__all__arp_announce=2)
    fabric.link(space, "eth0", switch)
    gateway = DIRECTOR if server.mode == "nat" else ROUTER
    space.ip(*server.segment.assign(server.host, "eth0"), *default_via(server.segment, gateway))
    if server.mode != "nat":
        device = "lo" if server.mode == "dr" else "tun0"
        if device == "tun0":
            space.ip("tuntap add tun0 mode tun", "link set tun0 up")
        space.ip(f"addr add {lab.vip(server.mode)}/32 dev {device}",
                 f"addr add {lab.vip(server.mode, 6)}/128 dev {device} nodad")


def default_via(segment, host):
    """`ip` commands for the default routes of both families."""
    return [f"route add 0.0.0.0/0 via {segment.v4(host)}",
            f"route add ::/0 via {segment.v6(host)}"]
