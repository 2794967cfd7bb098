"""The ends of a director's ports: frames in one by one, frames out in order.

Each port of the director is the other side of a kernel interface (a TAP of the
guest kernel, a veth whose peer Weir drives). `send` injects one frame and
returns exactly what it caused.
"""
import select
import socket
import time

import frames as F

_ETH_P_ALL, _PACKET_OUTGOING, _SO_RCVBUFFORCE = 3, 4, 33
_SILENT_SECONDS = 30


class Wire:
    """`interfaces` in the order of the director's ports; `targets` is the
    director's IPv4 address on each."""

    def __init__(self, interfaces, targets, again):
        """`again`: seconds after which an unanswered barrier is asked anew."""
        self._interfaces, self._targets, self._again = interfaces, targets, again
        self._out, self._serial, self._answered = [], 0, b""
        # One unbound socket sees all interfaces, hence one total order.
        self._watch = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._watch.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        self._into = []
        for name in interfaces:
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            s.bind((name, 0))
            self._into.append(s)

    def close(self):
        for s in [self._watch] + self._into:
            s.close()

    def send(self, port, frame):
        """Injects one frame into a port (index); what came out, in order, as
        (port index, frame)."""
        self._into[port].send(frame)
        # The port that it went into first: when that has answered, what leaves by the others is
        # on its way, and ahead of their answers.
        for each in sorted(range(len(self._into)), key=lambda other: other != port):
            self._barrier(each)
        return self.take()

    def pause(self, seconds):
        """Lets time pass; what came out meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._readable([], left)
        for port in range(len(self._interfaces)):
            self._barrier(port)
        return self.take()

    def take(self):
        """What came out since the last look."""
        out, self._out = self._out, []
        return out

    def wait(self, stream, seconds):
        """Until `stream` can be read, True, or the time is over, False. Frames
        that arrive meanwhile are kept."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if stream in self._readable([stream], left):
                return True
        return False

    def _barrier(self, port):
        """Returns once the director has dealt with all earlier frames of a port.

        A director takes the frames of a port in order, so the answer to an ARP
        probe for its own address follows whatever they caused. The probe has
        sender address 0 (RFC 5227), which leaves no neighbour behind, and a
        sender MAC that is its serial number.
        """
        self._serial += 1
        mac = "02:ba:%s" % self._serial.to_bytes(4, "big").hex(":")
        end = time.monotonic() + _SILENT_SECONDS
        while self._answered != F.mac(mac):
            if time.monotonic() > end:
                raise TimeoutError("no answer to ARP on " + self._interfaces[port])
            self._into[port].send(F.arp(1, mac, "0.0.0.0", self._targets[port]))
            again = time.monotonic() + self._again
            while self._answered != F.mac(mac) and (left := again - time.monotonic()) > 0:
                self._readable([], left)

    def _readable(self, streams, seconds):
        ready, _, _ = select.select(streams + [self._watch], [], [], seconds)
        while True:
            try:
                frame, source = self._watch.recvfrom(70000, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return ready
            if source[2] == _PACKET_OUTGOING or source[0] not in self._interfaces:
                continue
            if frame[:2] == b"\x02\xba":
                self._answered = frame[:6]
            elif not F.is_chatter(frame):
                self._out.append((self._interfaces.index(source[0]), frame))
