"""Ethernet frames for the tests: build them, take them apart, print them.

Only what the scenarios need, from the standard library alone. Builders take
and return `bytes`; addresses are text. A header field that a test wants wrong
is overwritten afterwards with `patch`, so builders always make valid packets.
RFC 791, 768, 9293, 792, 8200, 4443, 2003, 1071.
"""
import ipaddress
import struct

TCP_FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128}
ICMP4_ERRORS = (3, 4, 5, 11, 12)
TCP, UDP, ICMP, ICMP6, IPIP, IP6 = 6, 17, 1, 58, 4, 41


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def address(text):
    return ipaddress.ip_address(text).packed


def checksum(data):
    """The Internet checksum of `data` (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def patch(data, offset, new):
    return data[:offset] + new + data[offset + len(new):]


def pseudo(src, dst, protocol, length):
    """The pseudo-header; addresses packed, either family."""
    if len(src) == 4:
        return src + dst + struct.pack("!BBH", 0, protocol, length)
    return src + dst + struct.pack("!IHBB", length, 0, 0, protocol)


def tcp(src, dst, sport, dport, flags, seq=1000, ack=0, window=64240, data=b"", options=b""):
    bits = sum(TCP_FLAGS[f] for f in flags)
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, ack,
                       (20 + len(options)) // 4 << 4, bits, window, 0, 0)
    return _summed(src, dst, TCP, head + options + data, 16)


def udp(src, dst, sport, dport, data=b"", zero_checksum=False):
    segment = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    return segment if zero_checksum else _summed(src, dst, UDP, segment, 6)


def icmp6(src, dst, kind, code, rest=0, data=b""):
    return _summed(src, dst, ICMP6, struct.pack("!BBHI", kind, code, 0, rest) + data, 2)


def _summed(src, dst, protocol, segment, offset):
    src, dst = address(src), address(dst)
    value = checksum(pseudo(src, dst, protocol, len(segment)) + segment)
    return patch(segment, offset, struct.pack("!H", value or 0xFFFF))


def icmp4(kind, code, rest=0, data=b""):
    message = struct.pack("!BBHI", kind, code, 0, rest) + data
    return patch(message, 2, struct.pack("!H", checksum(message)))


def ipv4(src, dst, protocol, payload, ttl=64, id=0, df=True, tos=0, offset=0, more=False,
         options=b""):
    """An IPv4 packet; `offset` in octets, `options` padded by the caller to 4."""
    head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, tos,
                       20 + len(options) + len(payload), id,
                       df << 14 | more << 13 | offset // 8, ttl, protocol, 0)
    return ipv4_summed(head + address(src) + address(dst) + options + payload)


def ipv4_summed(packet):
    """The same packet with a right header checksum."""
    head = patch(packet[:(packet[0] & 15) * 4], 10, b"\0\0")
    return patch(packet, 10, struct.pack("!H", checksum(head)))


def ipv6(src, dst, protocol, payload, hops=64, tclass=0, label=0):
    return (struct.pack("!IHBB", 6 << 28 | tclass << 20 | label, len(payload), protocol, hops)
            + address(src) + address(dst) + payload)


def fragments4(packet, *sizes):
    """Splits a packet; `sizes` are payload octets of all pieces but the last."""
    ihl = (packet[0] & 15) * 4
    body, pieces, at = packet[ihl:], [], 0
    for size in sizes + (len(body),):
        part = body[at:at + size]
        last = at + len(part) == len(body)
        head = patch(packet[:ihl], 2, struct.pack("!H", ihl + len(part)))
        head = patch(head, 6, struct.pack("!H", (not last) << 13 | at // 8))
        pieces.append(ipv4_summed(head + part))
        at += len(part)
    return pieces


def fragments6(packet, id, *sizes):
    """The same for IPv6, with a Fragment header (RFC 8200 §4.5) in each piece."""
    body, pieces, at = packet[40:], [], 0
    for size in sizes + (len(body),):
        part = body[at:at + size]
        more = at + len(part) < len(body)
        extra = struct.pack("!BBHI", packet[6], 0, at | more, id)
        head = patch(packet[:40], 4, struct.pack("!HB", 8 + len(part), 44))
        pieces.append(head + extra + part)
        at += len(part)
    return pieces


def ethernet(dst_mac, src_mac, packet, pad_to=0):
    kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    return (mac(dst_mac) + mac(src_mac) + struct.pack("!H", kind) + packet).ljust(pad_to, b"\0")


def arp(operation, sender_mac, sender_ip, target_ip):
    """A broadcast ARP message; the target hardware address is left zero."""
    return (b"\xff" * 6 + mac(sender_mac)
            + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, operation)
            + mac(sender_mac) + address(sender_ip) + bytes(6) + address(target_ip)).ljust(60, b"\0")


def is_chatter(frame):
    """Whether a frame is a host's own talk: ARP, neighbour and router
    discovery (RFC 4861), multicast listener reports (RFC 3810)."""
    if frame[12:14] != b"\x86\xdd":
        return frame[12:14] == b"\x08\x06"
    if frame[20] == 0 and frame[54] == ICMP6:
        return True
    return frame[20] == ICMP6 and (130 <= frame[54] <= 137 or frame[54] == 143)


# ---- reading -------------------------------------------------------------------------------

def describe(frame):
    """One line for people."""
    kind = frame[12:14].hex()
    if kind not in ("0800", "86dd"):
        return "ethertype %s, %d octets" % (kind, len(frame))
    return "to %s: %s" % (frame[:6].hex(":"), _packet(frame[14:]))


def _packet(p, depth=0):
    if len(p) < 20 or (p[0] >> 4 == 6 and len(p) < 40):
        return "short " + p.hex()
    if p[0] >> 4 == 4:
        ihl, (total, ident, frag) = (p[0] & 15) * 4, struct.unpack("!HHH", p[2:8])
        src, dst, protocol, body = p[12:16], p[16:20], p[9], p[ihl:total]
        text = "%s > %s len %d ttl %d tos %02x id %04x%s%s" % (
            ipaddress.ip_address(src), ipaddress.ip_address(dst), total, p[8], p[1], ident,
            " DF" if frag & 0x4000 else "", " MF" if frag & 0x2000 else "")
        if checksum(p[:ihl]):
            text += " BAD-IP-SUM"
        if ihl > 20:
            text += " options " + p[20:ihl].hex()
        offset, whole = (frag & 0x1FFF) * 8, not frag & 0x2000 and len(p) >= total
    else:
        word, length, protocol, hops = struct.unpack("!IHBB", p[:8])
        src, dst, body = p[8:24], p[24:40], p[40:40 + length]
        text = "%s > %s len %d hops %d tc %02x label %05x" % (
            ipaddress.ip_address(src), ipaddress.ip_address(dst), length, hops,
            word >> 20 & 0xFF, word & 0xFFFFF)
        offset, whole = 0, len(p) >= 40 + length
        if protocol == 44 and len(body) >= 8:
            protocol, bits, ident = body[0], *struct.unpack("!HI", body[2:8])
            offset, whole, body = bits & 0xFFF8, False, body[8:]
            text += " frag id %08x%s" % (ident, " MF" if bits & 1 else "")
    if offset:
        return "%s offset %d" % (text, offset)
    return text + _payload(protocol, body, src, dst, whole, depth)


def _payload(protocol, body, src, dst, whole, depth):
    bad = ""
    if whole and protocol in (TCP, UDP, ICMP6) and len(body) >= 8:
        unsummed = protocol == UDP and body[6:8] == b"\0\0"
        if not unsummed and checksum(pseudo(src, dst, protocol, len(body)) + body):
            bad = " BAD-SUM"
    if protocol == TCP and len(body) >= 20:
        sport, dport, seq, ack, offset, bits, _ = struct.unpack("!HHIIBBH", body[:16])
        names = "".join(n for n, v in TCP_FLAGS.items() if bits & v)
        return " | TCP %d>%d [%s] seq %d ack %d data %d%s" % (
            sport, dport, names, seq, ack, len(body) - (offset >> 4) * 4, bad)
    if protocol == UDP and len(body) >= 8:
        return " | UDP %d>%d len %d sum %s%s" % (*struct.unpack("!HHH", body[:6]),
                                                 body[6:8].hex(), bad)
    if protocol in (IPIP, IP6) and depth < 3:
        return " | IP in IP | " + _packet(body, depth + 1)
    if protocol in (ICMP, ICMP6) and len(body) >= 8:
        if protocol == ICMP and whole and checksum(body):
            bad = " BAD-SUM"
        text = " | ICMP%s %d/%d rest %s%s" % ("" if protocol == ICMP else "6", body[0], body[1],
                                              body[4:8].hex(), bad)
        about = body[0] in ICMP4_ERRORS if protocol == ICMP else body[0] < 128
        return text + (" about " + _packet(body[8:], depth + 1) if about else "")
    return " | protocol %d, %d octets" % (protocol, len(body))
