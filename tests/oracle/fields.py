"""The only header fields in which two recordings may differ, by name.

Each is chosen at random by the kernel, per boot or per packet, so no
implementation can be compared in it. Everything else is compared octet by
octet. A field is blanked in both frames before they are compared, together
with the IPv4 header checksum that covers it.
"""
import struct

import frames as F

# Seconds by which two views of a connection's remaining time may differ is not
# here: remaining times are recorded rounded up to whole steps of this.
EXPIRES_STEP = 10


def _ipv4(frame):
    return len(frame) >= 34 and frame[12:14] == b"\x08\x00"


def _df(frame):
    return bool(frame[20] & 0x40)


def _icmp_error(frame):
    """Whether a frame carries an ICMP error message (not the quote in it)."""
    if _ipv4(frame):
        return frame[23] == F.ICMP and frame[34] in F.ICMP4_ERRORS
    return frame[12:14] == b"\x86\xdd" and frame[20] == F.ICMP6 and frame[54] < 128


def tunnel_id(sent, out):
    """Identification of an outer IPv4 tunnel header with DF clear: counts from
    a random start. (With DF set it is 0 and is compared.)"""
    return _ipv4(out) and out[23] in (F.IPIP, F.IP6) and not _df(out)


def icmp_id(sent, out):
    """Identification of an ICMP message that the director itself made: an echo
    reply or an error. An error that it passes on keeps the sender's."""
    return _ipv4(out) and out[23] == F.ICMP and not _df(out) and not _icmp_error(sent)


RANDOM = {"tunnel-id": tunnel_id, "icmp-id": icmp_id}


def blank(sent, out):
    """`out` without its random fields; `sent` is the frame that caused it
    (empty if time did). Fragments of one packet must still share one id, which
    `same` checks."""
    for applies in RANDOM.values():
        if applies(sent, out):
            return F.patch(F.patch(out, 18, b"\0\0"), 24, b"\0\0")
    return out


def same(sent, ours, theirs):
    """Whether two lists of (port, frame) are the same answer to `sent`."""
    if [(p, blank(sent, f)) for p, f in ours] != [(p, blank(sent, f)) for p, f in theirs]:
        return False
    return _one_id(sent, ours) and _one_id(sent, theirs)


def _one_id(sent, outs):
    """All fragments of one answer carry the same identification and right
    header checksums."""
    random = [f for _, f in outs if any(a(sent, f) for a in RANDOM.values())]
    if any(F.checksum(f[14:14 + (f[14] & 15) * 4]) for f in random):
        return False
    fragments = {f[18:20] for f in random if struct.unpack("!H", f[20:22])[0] & 0x3FFF}
    return len(fragments) <= 1
