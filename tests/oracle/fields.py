"""The only header fields in which two recordings may differ, by name.

Each is chosen at random by the kernel, per boot or per packet, so no
implementation can be compared in it. Everything else is compared octet by
octet. A field is blanked in both frames before they are compared, together
with the IPv4 header checksum that covers it.
"""
import frames as F

# Remaining times of connections are recorded in seconds, rounded up to a
# multiple of this, so that the moment of looking does not matter.
EXPIRES_STEP = 10


def _is4(frame):
    return len(frame) >= 34 and frame[12:14] == b"\x08\x00"


def _is6(frame):
    return len(frame) >= 54 and frame[12:14] == b"\x86\xdd"


def _df(frame):
    return bool(frame[20] & 0x40)


def _icmp_error(frame):
    """Whether a frame carries an ICMP error message (not the quote in it)."""
    if _is4(frame):
        return frame[23] == F.ICMP and frame[34] in F.ICMP4_ERRORS
    return _is6(frame) and frame[20] == F.ICMP6 and frame[54] < 128


def tunnel_id(sent, out):
    """IPv4 identification of an outer tunnel header with DF clear: counts from
    a random start. With DF set it is 0 and is compared."""
    if _is4(out) and out[23] in (F.IPIP, F.IP6) and not _df(out):
        return 18, 2


def icmp_id(sent, out):
    """IPv4 identification of an ICMP message that the director itself made: an
    echo reply or an error. An error that it passes on keeps the sender's."""
    if _is4(out) and out[23] == F.ICMP and not _df(out) and not _icmp_error(sent):
        return 18, 2


def flow_label(sent, out):
    """IPv6 flow label of a packet that the director itself made (ICMPv6, TCP
    RST): a hash with a random key. Forwarded packets keep theirs; an outer
    tunnel header has 0, which is compared."""
    if not (_is6(out) and _is6(sent)) or _icmp_error(sent):
        return None
    reset = out[20] == F.TCP and len(out) >= 74 and out[67] & F.TCP_FLAGS["R"]
    if out[20] == F.ICMP6 or (reset and out[22:38] == sent[38:54]):
        return 15, 3


def fragment6_id(sent, out):
    """Identification in an IPv6 Fragment header: the kernel draws one for an
    outer tunnel packet, and a new one for a packet that it reassembled."""
    if _is6(out) and out[20] == 44:
        return 58, 4


RANDOM = {"tunnel-id": tunnel_id, "icmp-id": icmp_id, "flow-label": flow_label,
          "fragment6-id": fragment6_id}


def blank(sent, out):
    """`out` without its random fields; `sent` is the frame that caused it,
    empty where time did."""
    for field in RANDOM.values():
        place = field(sent, out)
        if place is None:
            continue
        at, octets = place
        mask = b"\0" * octets
        if at == 15:    # the label shares its first octet with the traffic class
            mask = bytes([out[15] & 0xF0]) + b"\0\0"
        out = F.patch(out, at, mask)
        if at == 18:
            out = F.patch(out, 24, b"\0\0")
    return out


def same(sent, ours, theirs):
    """Whether two lists of (port, frame) are the same answer to `sent`."""
    if [(p, blank(sent, f)) for p, f in ours] != [(p, blank(sent, f)) for p, f in theirs]:
        return False
    return _sound(sent, ours) and _sound(sent, theirs)


def _sound(sent, outs):
    """What blanking would hide: IPv4 header checksums are right, and all
    fragments of one answer carry one identification."""
    ids = set()
    for _, frame in outs:
        if not any(f(sent, frame) for f in (tunnel_id, icmp_id, fragment6_id)):
            continue
        if _is4(frame):
            if F.checksum(frame[14:14 + (frame[14] & 15) * 4]):
                return False
            if frame[20] & 0x3F or frame[21]:
                ids.add(frame[18:20])
        else:
            ids.add(frame[58:62])
    return len(ids) <= 1
