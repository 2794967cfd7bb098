#!/usr/bin/python3
"""HTTP through every forwarding mode, IPv4 and IPv6, in both labs, and what surrounds it.

Shares, bodies longer than a tunnel's MTU in both directions, ARP and echo for the VIPs, a port
that nobody serves, the director's own address, conservation of frames and the memory bound.
"""

import sys

from labtest import main, session
from director import CHECK, MEMORY_MAX, SCHEDULERS, service_name
from layout import DIRECTOR, LABS, MODES, WAN

REQUESTS = 60
UPLOAD_LEN = 4 << 20  # octets
SHARES = {"rr": (0.48, 0.52), "wrr": (0.72, 0.78), "maglev": (0.25, 0.75)}  # of the first server

ASK = """
import sys
from scapy.all import ARP, Ether, srp
vip = sys.argv[1]
answers, _ = srp(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst=vip), iface="wan", timeout=0.5,
                 multi=True, verbose=0)
print(*sorted(answer.hwsrc for _, answer in answers))
"""


def in_url(address):
    """An address as a URL has it."""
    return f"[{address}]" if ":" in address else address


def check_requests(report, it, mode, family):
    """All requests are answered and shared as the scheduler says."""
    name = service_name(mode, family)
    before = it.director.metric("weir_service_connections_total", service=name)
    got = it.requests(it.lab.vip(mode, family), REQUESTS)
    report.equal(f"{name}: requests answered", got.answered, REQUESTS)
    first = it.lab.servers_of(mode)[0].name
    report.between(f"{name}: share of {first}", got.share(first), *SHARES[SCHEDULERS[mode]])
    counted = it.director.metric("weir_service_connections_total", service=name) - before
    report.equal(f"{name}: connections counted", counted, REQUESTS)


def check_long_bodies(report, it, mode, family):
    """Full-sized segments pass both ways, through tunnels by way of ICMP to the client."""
    name, host = service_name(mode, family), in_url(it.lab.vip(mode, family))
    client = it.fabric["client"]
    body = it.fabric.directory / "upload"
    if not body.exists():
        body.write_bytes(bytes(UPLOAD_LEN))
    got = client.run("curl", "-sm20", "-o", "/dev/null", "-w", "%{http_code} %{size_upload}",
                     "--data-binary", f"@{body}", f"http://{host}/upload", check=False).stdout
    report.equal(f"{name}: {UPLOAD_LEN >> 20} MiB up", got, f"200 {UPLOAD_LEN}")
    got = client.run("sh", "-c", f"curl -sm20 http://{host}/download | sha256sum").stdout
    want = it.fabric["client"].run("sha256sum", it.fabric.directory / "www/download").stdout
    report.equal(f"{name}: 8 MiB down, same digest", got.split()[0], want.split()[0])


def check_vip(report, it, mode):
    """The VIP is Weir's alone: one ARP answer, echo, RST where nothing is served."""
    vip, name = it.lab.vip(mode), service_name(mode)
    mac = it.fabric["director"].run("cat", "/sys/class/net/wan0/address").stdout.strip()
    got = it.fabric["router"].run(sys.executable, "-c", ASK, vip).stdout.strip()
    report.equal(f"{name}: who has {vip}?", got, mac)
    for address in (vip, it.lab.vip(mode, 6)):
        ping = it.fabric["client"].run("ping", "-nqc3", "-i0.2", "-W1", address, check=False)
        report.check(" 0% packet loss" in ping.stdout, f"{name}: echo to {address}",
                     ping.stdout.strip()[-120:])
        # curl says 7 for a refused connection, 28 for silence.
        got = it.fabric["client"].run("curl", "-sm2", f"http://{in_url(address)}:81/", check=False)
        report.equal(f"{name}: {address} port 81 is refused", got.returncode, 7)


def check_director(report, it):
    """The appliance's own address is an ordinary host's."""
    for address in (WAN.v4(DIRECTOR), WAN.v6(DIRECTOR)):
        ping = it.fabric["router"].run("ping", "-nqc3", "-i0.2", "-W1", address, check=False)
        report.check(" 0% packet loss" in ping.stdout, f"echo to the DIP {address}",
                     ping.stdout.strip()[-120:])
    for worker, taken, given in it.director.conservation():
        report.check(taken == given > 0, f"worker {worker}: every frame accounted for",
                     f"{taken} in, {given} out")
    report.check(it.director.memory_peak() <= MEMORY_MAX,
                 f"memory at most {it.director.memory_peak() >> 20} MiB")


def check_failure(report, it, mode):
    """A dead server gets no requests once health has seen it, and gets them again later."""
    name, victim = service_name(mode), it.lab.servers_of(mode)[0].name
    bound = CHECK["fall"] * (CHECK["interval"] + CHECK["timeout"]) + 0.5
    it.servers.kill(victim)
    took = it.director.wait_server(name, victim, up=False, seconds=10)
    report.between(f"{name}: seconds until {victim} is out", round(took, 2), 0, bound)
    it.director.wait_server(service_name(mode, 6), victim, up=False, seconds=10)
    for family in (4, 6):
        got = it.requests(it.lab.vip(mode, family), 20)
        report.equal(f"{service_name(mode, family)}: answered without {victim}",
                     (got.answered, got.by_server[victim]), (20, 0))
    it.servers.start(victim)
    it.director.wait_all_up()
    got = it.requests(it.lab.vip(mode), 40)
    report.check(got.answered == 40 and got.by_server[victim] > 0, f"{name}: {victim} serves again",
                 f"{dict(got.by_server)}")


def all_modes(report):
    """Everything above, in both labs."""
    for lab in LABS:
        report.section(lab)
        with session(lab, say=report.note) as it:
            for mode in MODES:
                for family in (4, 6):
                    check_requests(report, it, mode, family)
                    check_long_bodies(report, it, mode, family)
                check_vip(report, it, mode)
                check_failure(report, it, mode)
            check_director(report, it)


if __name__ == "__main__":
    main("modes: nginx and curl through DR, NAT and TUN", all_modes)
