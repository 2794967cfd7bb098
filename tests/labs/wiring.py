#!/usr/bin/python3
"""The lab itself is sound: every piece works before Weir takes part.

Without this, a fault of the lab would look like a fault of Weir. The router stands in for the
director where it can: a host route through a server is what DR forwarding does.
"""

import sys

from labtest import LabError, main, session, wait_until
from layout import CLIENTS, CLIENT, LABS, MODES, WAN

ASK_FOR_VIP = """
import sys
from scapy.all import ARP, Ether, srp1
device, vip = sys.argv[1:]
answer = srp1(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst=vip), iface=device, timeout=0.4, verbose=0)
print(answer.hwsrc if answer else "nobody")
"""

SEND_TUNNELLED = """
import sys
from scapy.all import ICMP, IP, AsyncSniffer, ICMPv6EchoRequest, IPv6, send
server, client, vip = sys.argv[1:]
four = "." in vip
inner = IP(src=client, dst=vip) / ICMP(id=77) if four else (
    IPv6(src=client, dst=vip) / ICMPv6EchoRequest(id=77))
outer = IP(dst=server, proto=4 if four else 41) if "." in server else (
    IPv6(dst=server, nh=4 if four else 41))
wanted = f"src host {vip} and dst host {client} and {'icmp' if four else 'icmp6'}"
sniffer = AsyncSniffer(iface="clients", filter=wanted, count=1, timeout=3)
sniffer.start()
while not getattr(sniffer, "stop_cb", None):
    pass
send(outer / inner, verbose=0)
sniffer.join()
print(len(sniffer.results))
"""


def check_servers(checks, lab, fabric):
    """Each server answers the router under its own name."""
    for server in lab.servers:
        for family in (4, 6):
            address = server.address(family)
            host = f"[{address}]" if family == 6 else address
            got = fabric["router"].run("curl", "-sm2", f"http://{host}/").stdout.strip()
            checks.equal(f"{server.name} answers on {address}", got, server.name)


def check_vips_are_silent(checks, lab, fabric):
    """No server answers ARP for a VIP that it holds."""
    for segment in lab.segments():
        for mode in MODES:
            vip = lab.vip(mode)
            got = fabric["router"].run(
                sys.executable, "-c", ASK_FOR_VIP, segment.name, vip).stdout.strip()
            checks.equal(f"who has {vip} on {segment.name}?", got, "nobody")


def check_dr_path(checks, lab, fabric):
    """A DR server takes the VIP's packets and answers the client through the router."""
    for family in (4, 6):
        vip = lab.vip("dr", family)
        for server in lab.servers_of("dr"):
            route = f"{vip}/{32 if family == 4 else 128} via {server.address(family)}"
            fabric["router"].ip(f"route add {route}")
            host = f"[{vip}]" if family == 6 else vip
            got = fabric["client"].run("curl", "-sm2", f"http://{host}/").stdout.strip()
            fabric["router"].ip(f"route del {route}")
            checks.equal(f"client reaches {vip} by way of {server.name}", got, server.name)


def check_decapsulation(checks, lab, fabric):
    """An echo request in each of four kinds of tunnel is answered from the VIP."""
    for server in lab.servers_of("tunnel"):
        for outer in (4, 6):
            for family in (4, 6):
                got = fabric["router"].run(
                    sys.executable, "-c", SEND_TUNNELLED, server.address(outer),
                    CLIENTS.address(CLIENT, family), lab.vip("tunnel", family)).stdout.strip()
                checks.equal(f"{family}in{outer} to {server.name} is answered by the VIP", got, "1")


def check_dpdk_device(checks, lab, fabric, driver):
    """DPDK's testpmd joins wan and lan on the director's devices, and TCP passes."""
    director, router, server = fabric["director"], fabric["router"], fabric["nat1"]
    log = fabric.directory / f"testpmd-{driver}.log"
    with log.open("wb") as out:
        testpmd = director.start(
            "dpdk-testpmd", "--no-huge", "-m", "256", "--no-pci", "--no-telemetry",
            "--file-prefix", f"weir-{fabric.tag}",
            *(f"--vdev={driver}{i},iface={device}" for i, (_, device, _) in enumerate(lab.ports)),
            "--", "--total-num-mbufs=16384", "--forward-mode=io", "--auto-start",
            "--no-mlockall", "--stats-period=3600", log=out)
    try:
        wait_until(lambda: "packet forwarding" in log.read_text(errors="replace"), 15,
                   f"testpmd starts to forward on {driver}")
        got = router.run("curl", "-s", "--retry", "5", "--retry-all-errors", "--retry-delay", "1",
                         "-m", "20", "-o", "/dev/null", "-w", "%{http_code} %{size_download}",
                         f"http://{WAN.v4(77)}/download").stdout
        checks.equal(f"8 MiB over TCP through testpmd on two {driver} ports", got, "200 8388608")
    except LabError as error:
        checks.failed(str(error))
    finally:
        testpmd.terminate()
        testpmd.wait(timeout=10)
    server.ip("neigh flush all")
    router.ip("neigh flush all")


def all_pieces(checks):
    """Builds each lab once and checks its pieces."""
    for name in LABS:
        with session(name, weir=False) as it:
            checks.section(name)
            check_servers(checks, it.lab, it.fabric)
            check_vips_are_silent(checks, it.lab, it.fabric)
            check_dr_path(checks, it.lab, it.fabric)
            check_decapsulation(checks, it.lab, it.fabric)
            if name == "two-port":
                # One more address of the wan subnet, behind the director: ARP must cross it too.
                it.fabric["nat1"].ip(f"addr add {WAN.v4(77)}/24 dev eth0")
                it.fabric["router"].sysctl(net__ipv4__conf__all__arp_ignore=1)
                for driver in ("net_af_xdp", "net_af_packet"):
                    check_dpdk_device(checks, it.lab, it.fabric, driver)


if __name__ == "__main__":
    main("wiring: the labs without Weir", all_pieces)
