#!/usr/bin/env python3
"""A tunnel's end in userspace: IP-in-IP arrives on raw sockets, the inner packet goes into a TUN.

Stands in for the kernel's ipip, sit and ip6tnl devices on machines whose kernel lacks them.
Takes 4in4, 6in4, 4in6 and 6in6 (RFC 2003, RFC 2473, RFC 4213), whatever the outer source. It
never encapsulates: the server's answers leave by its own routes.

    decap.py DEVICE      DEVICE is an existing TUN with the VIP on it; prints "ready" and runs on
"""

import fcntl
import select
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
SO_RCVBUFFORCE = 33
RECEIVE_BUFFER = 8 << 20  # octets; the script is slower than a sender's burst
BATCH = 64  # packets per socket before the other sockets get their turn
IPV4, IPV6 = 4, 41  # protocol numbers of the inner packet


def open_tun(name):
    """Attaches to an existing TUN device that carries bare IP packets."""
    tun = open("/dev/net/tun", "r+b", buffering=0)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def open_raw(family, protocol):
    """A raw socket for one outer family and inner protocol.

    The kernel reassembles outer fragments first, and answers no "protocol unreachable" while
    the socket is open.
    """
    raw = socket.socket(family, socket.SOCK_RAW, protocol)
    raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    raw.setblocking(False)
    return raw


def inner(packet, family, protocol):
    """The inner packet, or None when its version is not what the outer header promised."""
    if family == socket.AF_INET:  # an IPv4 raw socket shows the outer header, an IPv6 one does not
        packet = packet[(packet[0] & 0x0F) * 4:]
    version = 4 if protocol == IPV4 else 6
    return packet if packet and packet[0] >> 4 == version else None


def main():
    """Moves packets until killed."""
    tun = open_tun(sys.argv[1])
    kinds = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        for protocol in (IPV4, IPV6):
            kinds[open_raw(family, protocol)] = (family, protocol)
    print("ready", flush=True)
    while True:
        for raw in select.select(list(kinds), [], [])[0]:
            for _ in range(BATCH):
                try:
                    packet = inner(raw.recv(65535), *kinds[raw])
                except BlockingIOError:
                    break
                if packet:
                    try:
                        tun.write(packet)
                    except OSError:
                        pass  # not an IP packet that the kernel wants; a tunnel device drops it too


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
