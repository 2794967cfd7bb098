#!/usr/bin/python3
"""A split heals: how long two directors are Active, whose announcement is the last, and where the
switch sends the virtual MAC (V60), with virtual MACs and with the ports' own.

The switch drops one director's frames while its link stays up, so that both are Active.
"""

import time

from labtest import main, wait_until
from pair import VIP, VRID, Weir, answers_http, pair
from wire import Capture, block, check_heal, learned_at, switch_port, virtual_mac

INTERVAL = 0.1
ROUNDS = 6  # each with the adverts at another distance


def port_mac(fabric, name):
    """The MAC that a director's port has: its kernel device's."""
    return fabric[name].run("cat", "/sys/class/net/eth0/address").stdout.strip()


def client_knows(fabric, mac):
    """Whether the client's neighbour table has this MAC for the VIP."""
    return mac in fabric["client"].run("ip", "neigh", "show", VIP).stdout


def one_round(report, fabric, winner, loser, mac):
    """Splits and heals once."""
    capture = Capture(fabric, [winner.name, loser.name], [VIP])
    block(fabric, winner.name)
    loser.wait("active", 3)
    wait_until(lambda: answers_http(fabric), 3, "the loser serves during the split")
    report.equal("both are Active during the split", (winner.state(), loser.state()),
                 ("active", "active"))
    # Nothing is waited for: this moves the heal to another place between two adverts.
    time.sleep(0.017 * (one_round.count % ROUNDS))
    one_round.count += 1
    block(fabric, winner.name, blocked=False)
    start = time.time()
    loser.wait("backup", 2)
    wait_until(lambda: learned_at(fabric, mac) == {switch_port(winner.name)}, 2,
               "the switch sends the VIP's MAC to the winner")
    wait_until(lambda: answers_http(fabric), 3, "the winner serves after the heal")
    report.check(client_knows(fabric, mac), "the client has the winner's MAC")
    capture.wait_announcement(winner.name)
    events = capture.stop()
    return check_heal(report, "healed", events, start, winner.name, INTERVAL, loser.name)


one_round.count = 0


def heals(report):
    """Two Weirs, split again and again."""
    for virtual in (True, False):
        report.section("virtual MAC" if virtual else "the ports' MACs")
        with pair() as fabric:
            keys = {"interval": f"{INTERVAL * 1e3:.0f}ms", "virtual_mac": virtual}
            winner, loser = (Weir(fabric, name, keys | {"priority": priority})
                             for name, priority in (("a", 200), ("b", 100)))
            winner.start()
            loser.start()
            winner.wait("active", 5)
            loser.wait("backup", 5)
            mac = virtual_mac(VRID) if virtual else port_mac(fabric, "a")
            took = [one_round(report, fabric, winner, loser, mac) for _ in range(ROUNDS)]
            report.note(f"{ROUNDS} heals: two were Active for "
                        f"{', '.join(f'{t * 1e3:.0f}' for t in took)} ms")


if __name__ == "__main__":
    main("heal: one Active, and everybody knows which", heals)
