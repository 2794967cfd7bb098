#!/usr/bin/python3
"""The floating gateway: NAT servers' own traffic goes out by whichever director is Active.

Two instances, outside and inside, in one sync group: they move together, when a director dies and
when one of its ports loses link.
"""

import json
import signal

from labtest import main, wait_until
from layout import WAN
from pair import GATEWAY, Weir, cut, pair

CLIENT = WAN.v4(5)
KEYS = {"interval": "100ms", "group": "pair"}


def gets_out(fabric):
    """Whether the NAT server reaches a host outside by its default route."""
    return fabric["n1"].run("ping", "-c1", "-W1", CLIENT, check=False).returncode == 0


def states(director):
    """The states of outside and inside."""
    told = director.weir("show", "vrrp", "--json", check=False).stdout
    return tuple(one["state"] for one in json.loads(told)["vrrp"]) if told else ()


def wait_states(director, wanted):
    """Waits until both instances of a director are what they should be."""
    return wait_until(lambda: states(director) == wanted, 5,
                      f"instances of {director.name}: {wanted}", step=0.02)


def gateway(report):
    """Before, after a kill, after the return, and with one port without link."""
    with pair(inside=True) as fabric:
        a, b = (Weir(fabric, name, KEYS | {"priority": priority},
                     inside=KEYS | {"priority": priority})
                for name, priority in (("a", 250), ("b", 200)))
        a.start()
        wait_states(a, ("active", "active"))
        b.start()
        wait_states(b, ("backup", "backup"))
        wait_until(lambda: gets_out(fabric), 5, f"out by {GATEWAY}")
        report.check(True, f"a NAT server gets out by the floating gateway {GATEWAY}")
        echo = fabric["n1"].run("ping", "-c1", "-W1", GATEWAY, check=False)
        report.equal("the gateway itself answers echo", echo.returncode, 0)

        a.end(signal.SIGKILL)
        took = wait_states(b, ("active", "active"))
        report.check(True, f"the Active killed: the other has both after {took * 1e3:.0f} ms")
        wait_until(lambda: gets_out(fabric), 3, "out by the other director")
        report.check(True, "and the server gets out by it")

        a.start()
        wait_states(a, ("active", "active"))
        wait_states(b, ("backup", "backup"))
        wait_until(lambda: gets_out(fabric), 3, "out again")
        cut(fabric, "a")
        wait_states(b, ("active", "active"))
        wait_until(lambda: gets_out(fabric), 3, "out by the other director")
        report.check("fault" in states(a) and "active" not in states(a),
                     "one port without link: both instances move", f"{states(a)}")
        cut(fabric, "a", down=False)
        wait_states(a, ("active", "active"))
        wait_until(lambda: gets_out(fabric), 3, "out after the return")
        report.check(True, "and come back with the link")


if __name__ == "__main__":
    main("gateway: a VRRP address that no service uses", gateway)
