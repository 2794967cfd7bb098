#!/usr/bin/python3
"""Real servers that answer for the VIP: found, named, and told what mends them.

Three mistakes of real Linux servers: `arp_ignore` on `lo` alone, as the classic script sets it;
`arp_announce` left out; an IPv6 VIP on the Ethernet device, asked for and advertised.
"""

import json

from labtest import main, session, wait_until
from director import Director

ADVERTISE = """
import sys
from scapy.all import Ether, ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6, get_if_hwaddr, sendp
device, vip = sys.argv[1:]
mac = get_if_hwaddr(device)
sendp(Ether(dst="33:33:00:00:00:01") / IPv6(src=vip, dst="ff02::1", hlim=255)
      / ICMPv6ND_NA(tgt=vip, S=0, O=1, R=0) / ICMPv6NDOptDstLLAddr(lladdr=mac),
      iface=device, verbose=0)
"""


def leaks(it):
    """{(server, how)} of all VIPs."""
    told = json.loads(it.director.weir("show", "arp", "--json").stdout)["arp"]
    return {(leak["server"], leak["how"]) for vip in told for leak in vip["leaks"]}


def check_named(report, it, server, how, sysctl):
    """The leak is in `show arp` under its server's name, and `status` says how to mend it."""
    wait_until(lambda: (server, how) in leaks(it), 10, f"{server} found by {how}")
    status = it.director.weir("status").stdout
    report.check(server in status and sysctl in status, f"{server} is named ({how}): {sysctl}",
                 status)


def all_leaks(report):
    """One server after the other makes its mistake."""
    with session("two-port", weir=False) as it:
        first, second = it.fabric["dr1"], it.fabric["dr2"]
        first.sysctl(net__ipv4__conf__all__arp_ignore=0, net__ipv4__conf__lo__arp_ignore=1,
                     net__ipv4__conf__lo__arp_announce=2)
        # An IPv6 VIP on the Ethernet device: nobody hears it, but it answers whoever asks.
        second.ip(f"addr add {it.lab.vip('dr', 6)}/128 dev eth0 nodad")
        it.director = Director(it.lab, it.fabric)
        it.director.start(report.note)
        it.director.wait_all_up()
        check_named(report, it, "dr/dr1", "arp_answer", "arp_ignore=1")
        wait_until(lambda: ("dr/dr2", "neighbour") in leaks(it)
                   or ("dr6/dr2", "neighbour") in leaks(it), 10, "dr2 asked by solicitation")
        report.check(True, "dr2 is named, which answers solicitations for the IPv6 VIP")
        second.ip(f"addr del {it.lab.vip('dr', 6)}/128 dev eth0")
        first_leaks = {(server, how) for server, how in leaks(it) if how != "neighbour"}
        report.equal("and nobody else is", first_leaks, {("dr/dr1", "arp_answer")})

        second.sysctl(net__ipv4__conf__all__arp_announce=0)
        second.run("ip", "neigh", "flush", "all")
        vip = it.lab.vip("dr")
        second.run("ping", "-c1", "-W1", "-I", vip, it.lab.servers_of("nat")[0].address(4),
                   check=False)
        check_named(report, it, "dr/dr2", "arp_question", "arp_announce=2")

        first.run("/usr/bin/python3", "-c", ADVERTISE, "eth0", it.lab.vip("dr", 6))
        wait_until(lambda: ("dr/dr1", "neighbour") in leaks(it)
                   or ("dr6/dr1", "neighbour") in leaks(it), 5, "the neighbour advertisement")
        report.check(True, "dr1 is named (neighbour)")
        got = it.requests(vip, 20)
        report.equal("the clients are served all the same", got.answered, 20)
        report.note(it.director.weir("show", "arp").stdout)


if __name__ == "__main__":
    main("arp: real servers that answer for the VIP", all_leaks)
