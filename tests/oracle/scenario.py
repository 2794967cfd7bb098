"""One differential test as data, and the builder that makes it.

A scenario is a dictionary that both sides are driven from: real IPVS
(record.py) and Weir (compare.py). README.md describes its keys. The builder
keeps the table of services as structured data, so that the same scenario
yields `ipvsadm` rules and a Weir configuration.
"""
import copy
import json

import frames as F

WAN, LAN = "wan0", "lan0"
VIP, VIP6 = "10.9.9.9", "fd00:9::9"
GATEWAY_MAC = "02:00:00:00:02:fe"
RIPS = ["10.1.0.%d" % n for n in range(11, 16)]
RIPS6 = ["fd00:1::%d" % n for n in range(11, 16)]


def server_mac(n):
    """MAC of 10.1.0.N and fd00:1::N."""
    return "02:00:00:00:03:%02x" % n


def network(wan_mtu=1500, lan_mtu=1500):
    """A routed director with two arms: clients come through a gateway."""
    neighbours = {}
    for n in range(11, 16):
        neighbours["10.1.0.%d" % n] = neighbours["fd00:1::%d" % n] = server_mac(n)
    return {"ports": [
        {"name": WAN, "mac": "02:00:00:00:01:00", "mtu": wan_mtu,
         "addresses": ["10.0.0.1/24", "fd00::1/64"], "gateway": ["10.0.0.254", "fd00::254"],
         "neighbours": {"10.0.0.254": GATEWAY_MAC, "fd00::254": GATEWAY_MAC}},
        {"name": LAN, "mac": "02:00:00:00:01:01", "mtu": lan_mtu,
         "addresses": ["10.1.0.1/24", "fd00:1::1/64"], "neighbours": neighbours},
    ]}


def own_address(port):
    """The director's IPv4 address on a port."""
    return next(a for a in port["addresses"] if "." in a).split("/")[0]


def server(address, port=None, weight=1):
    return {"address": address, "port": port, "weight": weight}


def service(name, servers, address=VIP, port=80, protocol="tcp", scheduler="rr", mode="dr"):
    """`servers`: addresses, or what `server` returns. A server without a port
    takes the service's."""
    table = [server(s) if isinstance(s, str) else dict(s) for s in servers]
    for s in table:
        s["port"] = s["port"] or port
    return {"name": name, "address": address, "port": port, "protocol": protocol,
            "scheduler": scheduler, "mode": mode, "servers": table}


# ---- the table in ipvsadm's words ----------------------------------------------------------

_MODES = {"dr": "-g", "nat": "-m", "tunnel": "-i"}


def _endpoint(address, port):
    return ("[%s]:%d" if ":" in address else "%s:%d") % (address, port)


def _service_words(svc):
    return "%s %s" % ({"tcp": "-t", "udp": "-u"}[svc["protocol"]],
                      _endpoint(svc["address"], svc["port"]))


def _server_words(svc, srv):
    return "%s -r %s" % (_service_words(svc), _endpoint(srv["address"], srv["port"]))


def ipvs_rules(services):
    """The whole table in the format of `ipvsadm -S`."""
    lines = []
    for svc in services:
        lines.append("-A %s -s %s" % (_service_words(svc), svc["scheduler"]))
        for srv in svc["servers"]:
            lines.append("-a %s %s -w %d" % (_server_words(svc, srv), _MODES[svc["mode"]],
                                             srv["weight"]))
    return "\n".join(lines) + "\n"


def ipvs_change(services, change):
    """One `ipvsadm` rule for a step's change of the table."""
    svc, srv = _find(services, change)
    if change["do"] == "remove":
        return "-d %s\n" % _server_words(svc, srv)
    verb = {"add": "-a", "weight": "-e"}[change["do"]]
    return "%s %s %s -w %d\n" % (verb, _server_words(svc, srv), _MODES[svc["mode"]],
                                 change["weight"])


def _find(services, change):
    svc = next(s for s in services if s["name"] == change["service"])
    for srv in svc["servers"]:
        if srv["address"] == change["server"]:
            return svc, srv
    return svc, server(change["server"], change.get("port") or svc["port"])


def changed(services, change):
    """The table after a step's change; the input is left alone."""
    services = copy.deepcopy(services)
    svc, srv = _find(services, change)
    if change["do"] == "remove":
        svc["servers"].remove(srv)
    else:
        srv["weight"] = change["weight"]
        if change["do"] == "add":
            svc["servers"].append(srv)
    return services


# ---- the builder ---------------------------------------------------------------------------

class Scenario:
    """Collects the steps of one differential test."""

    def __init__(self, name, about, services, lan_mtu=1500, timeouts=None):
        self.data = {"name": name, "about": about, "network": network(lan_mtu=lan_mtu),
                     "timeouts": timeouts, "services": services, "steps": []}
        self._notes = set()

    def _step(self, step):
        self.data["steps"].append(step)

    def send(self, port, frame, note):
        """One frame into a port. `note` is its name: unique in the scenario."""
        assert note not in self._notes, "%s: %r twice" % (self.data["name"], note)
        self._notes.add(note)
        self._step({"note": note, "port": port, "send": frame.hex()})

    def wan(self, packet, note, **ethernet):
        """An IP packet from the clients' gateway."""
        self.send(WAN, self._framed(0, GATEWAY_MAC, packet, **ethernet), note)

    def lan(self, n, packet, note, **ethernet):
        """An IP packet from real server 10.1.0.N (fd00:1::N)."""
        self.send(LAN, self._framed(1, server_mac(n), packet, **ethernet), note)

    def _framed(self, port, source, packet, **ethernet):
        mac = self.data["network"]["ports"][port]["mac"]
        return F.ethernet(mac, source, packet, **ethernet)

    def wait(self, seconds):
        self._step({"wait": seconds})

    def weight(self, service, server, weight):
        self._step({"change": {"do": "weight", "service": service, "server": server,
                               "weight": weight}})

    def remove(self, service, server):
        self._step({"change": {"do": "remove", "service": service, "server": server}})

    def add(self, service, server, weight=1, port=None):
        self._step({"change": {"do": "add", "service": service, "server": server,
                               "weight": weight, "port": port}})

    def flows(self):
        """Records every connection: endpoints, state, remaining time."""
        self._step({"show": "flows"})

    def servers(self):
        """Records active and inactive connections and weight per server."""
        self._step({"show": "servers"})

    def counters(self):
        """Records connections, packets and IP octets per server."""
        self._step({"show": "counters"})

    def spread(self, service, count, first=0):
        """Sends one SYN (UDP: datagram) from each of `count` new clients and
        records the server that each got; see `spread_frame`."""
        self._step({"spread": {"service": service, "first": first, "count": count}})


def spread_frame(scenario, svc, k):
    """Frame of client number `k` of a spread step."""
    src, sport = "172.16.%d.%d" % (k // 250, 1 + k % 250), 40000 + k % 20000
    if ":" in svc["address"]:
        src = "2001:db8::%x" % (k + 1)
    if svc["protocol"] == "tcp":
        body, number = F.tcp(src, svc["address"], sport, svc["port"], "S"), F.TCP
    else:
        body, number = F.udp(src, svc["address"], sport, svc["port"], b"x"), F.UDP
    packet = (F.ipv6 if ":" in src else F.ipv4)(src, svc["address"], number, body)
    return F.ethernet(scenario["network"]["ports"][0]["mac"], GATEWAY_MAC, packet)


class Client:
    """A client with one port, and the server's side of its conversation.

    `c.tcp(flags, …)` and `c.udp(data, …)` are packets to the VIP; `c.reply_tcp`
    and `c.reply_udp` are the answers of real server N under NAT, from its own
    address and port. Keyword arguments of the IP header go in `ip`.
    """

    def __init__(self, address="172.16.0.5", sport=40001, vip=VIP, port=80, server_port=None):
        self.address, self.sport, self.vip, self.port = address, sport, vip, port
        self.server_port = server_port or port
        self._ip = F.ipv6 if ":" in vip else F.ipv4

    def tcp(self, flags, ip=None, **segment):
        body = F.tcp(self.address, self.vip, self.sport, self.port, flags, **segment)
        return self._ip(self.address, self.vip, F.TCP, body, **(ip or {}))

    def udp(self, data=b"x", ip=None, **segment):
        body = F.udp(self.address, self.vip, self.sport, self.port, data, **segment)
        return self._ip(self.address, self.vip, F.UDP, body, **(ip or {}))

    def _rip(self, n):
        return ("fd00:1::%d" if ":" in self.vip else "10.1.0.%d") % n

    def reply_tcp(self, n, flags, ip=None, **segment):
        src = self._rip(n)
        body = F.tcp(src, self.address, self.server_port, self.sport, flags, **segment)
        return self._ip(src, self.address, F.TCP, body, **(ip or {}))

    def reply_udp(self, n, data=b"x", ip=None, **segment):
        src = self._rip(n)
        body = F.udp(src, self.address, self.server_port, self.sport, data, **segment)
        return self._ip(src, self.address, F.UDP, body, **(ip or {}))


# ---- files ---------------------------------------------------------------------------------

def dump(scenario):
    """JSON text with one step per line, so that a change reads well in a diff."""
    head = {k: v for k, v in scenario.items() if k != "steps"}
    lines = ["%s: %s" % (json.dumps(k), json.dumps(v)) for k, v in head.items()]
    steps = ",\n".join("  " + json.dumps(s) for s in scenario["steps"])
    return "{%s,\n\"steps\": [\n%s\n]}\n" % (",\n".join(lines), steps)
