"""Packets made whole: for directors that treat fragments differently.

IPVS puts a client's fragments together, schedules once and takes the packet
apart again; Weir sends each fragment on as it comes. What the server gets in
the end must be the same. `packets` takes tunnels off and reassembles both
layers, so that only that is compared.
"""
import frames as F


def packets(outs):
    """Whole packets in a list of (port, frame), in a canonical order. What never
    became whole is left out; identifications are not part of the result."""
    done = _join([(port, frame[:12], frame[14:]) for port, frame in outs])
    inner = []
    for port, macs, packet in done:
        protocol, header = (packet[9], (packet[0] & 15) * 4) if packet[0] >> 4 == 4 \
            else (packet[6], 40)
        if protocol in (F.IPIP, F.IP6):
            inner.append((port, macs + packet[:header], packet[header:]))
        else:
            inner.append((port, macs, packet))
    return sorted(_join(inner))


def _join(pieces):
    """Reassembles (port, context, packet) triples."""
    waiting, done = {}, []
    for port, context, packet in pieces:
        key, offset, more, body, head = _piece(packet)
        if key is None:
            done.append((port, _bare(context), head + body))
            continue
        parts = waiting.setdefault((port, key), {})
        parts[offset] = (body, more, head, context)
        whole = _assembled(parts)
        if whole:
            first = parts[0]
            done.append((port, _bare(first[3]), first[2] + whole))
            del waiting[port, key]
    return done


def _piece(packet):
    """Key (None: not a fragment), offset, more, payload, header without length,
    identification, fragment fields and checksum."""
    if packet[0] >> 4 == 4:
        header = (packet[0] & 15) * 4
        bits = int.from_bytes(packet[6:8], "big")
        head = F.patch(F.patch(packet[:header], 2, bytes(4)), 10, b"\0\0")
        head = F.patch(head, 6, bytes([0, 0]))
        if not bits & 0x3FFF:
            return None, 0, False, packet[header:], head
        return packet[4:6] + packet[9:10] + packet[12:20], (bits & 0x1FFF) * 8, \
            bool(bits & 0x2000), packet[header:], head
    head = F.patch(packet[:40], 4, b"\0\0")
    if packet[6] != 44:
        return None, 0, False, packet[40:], head
    bits = int.from_bytes(packet[42:44], "big")
    head = F.patch(head, 6, packet[40:41])
    return packet[8:40] + packet[44:48], bits & 0xFFF8, bool(bits & 1), packet[48:], head


def _assembled(parts):
    body, more = b"", True
    for offset in sorted(parts):
        piece, more, _, _ = parts[offset]
        if offset > len(body):
            return None
        body = body[:offset] + piece
    return None if more or 0 not in parts else body


def _bare(context):
    """MACs and, under a tunnel, the outer header without what varies."""
    if len(context) <= 12:
        return context
    outer = context[12:]
    if outer[0] >> 4 == 4:
        outer = F.patch(F.patch(outer, 2, bytes(6)), 10, b"\0\0")
    else:
        outer = F.patch(outer, 4, b"\0\0")
    return context[:12] + outer
