"""Frames for the end-to-end benchmarks: written to pcap files, and read back to be judged.

Every frame is a UDP datagram from a client flow of its own to the VIP, 60 octets long over IPv4
("64 B" with the FCS that no file holds) and 78 over IPv6, with correct checksums. Flows and their
order come from a seed, so that two runs replay the same octets.
"""

import ipaddress
import random
import struct
from dataclasses import dataclass

PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
FRAME_LEN = {4: 60, 6: 78}
UDP = 17
VIP_PORT = 5300


@dataclass(frozen=True)
class Traffic:
    """What a file holds: `frames` frames of `flows` flows."""

    family: int
    flows: int
    frames: int

    @property
    def name(self):
        """File name, without the directory."""
        return f"v{self.family}-{self.flows}-{self.frames}.pcap"


def checksum(data):
    """The Internet checksum of an even number of octets (RFC 1071)."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def write(path, traffic, mac, vip, seed=1):
    """Writes a pcap file: every flow equally often, in random order."""
    if traffic.frames % traffic.flows:
        raise ValueError("every flow must come equally often")
    draw = random.Random(seed)
    record = recorder(traffic.family, mac, vip)
    records = [record(client, port) for client, port in clients(draw, traffic)]
    with path.open("wb") as out:
        out.write(PCAP_HEADER)
        order = list(range(traffic.flows)) * (traffic.frames // traffic.flows)
        draw.shuffle(order)
        for start in range(0, len(order), 1 << 16):
            out.write(b"".join([records[index] for index in order[start:start + (1 << 16)]]))


def clients(draw, traffic):
    """Distinct client addresses and ports."""
    seen = set()
    base = int(ipaddress.ip_address("10.0.0.0" if traffic.family == 4 else "2001:db8:c::"))
    while len(seen) < traffic.flows:
        client = (base + draw.randrange(1, 1 << 24), draw.randrange(1024, 65536))
        if client not in seen:
            seen.add(client)
            yield client


def recorder(family, mac, vip):
    """A function from client and port to a pcap record. The constant part is summed up once."""
    vip = ipaddress.ip_address(vip).packed
    ethernet = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("0200000000c1")
    head_len = 14 + (20 if family == 4 else 40)
    udp_len = FRAME_LEN[family] - head_len
    payload = bytes(range(udp_len - 8))
    pseudo = checksum(vip + struct.pack(">HH", UDP, udp_len) + payload)
    stamp = struct.pack("<IIII", 0, 0, FRAME_LEN[family], FRAME_LEN[family])
    if family == 4:
        ethernet += b"\x08\x00"
        fixed = struct.pack(">BBHHHBB", 0x45, 0, 20 + udp_len, 0, 0x4000, 64, UDP)
    else:
        ethernet += b"\x86\xdd"
        fixed = struct.pack(">IHBB", 6 << 28, udp_len, UDP, 64)

    def record(client, port):
        source = client.to_bytes(4 if family == 4 else 16, "big")
        ports = struct.pack(">HHH", port, VIP_PORT, udp_len)
        total = checksum(struct.pack(">H", ~pseudo & 0xFFFF) + source + ports)
        datagram = ports + struct.pack(">H", total or 0xFFFF) + payload
        if family == 6:
            return stamp + ethernet + fixed + source + vip + datagram
        addresses = source + vip
        header = fixed + struct.pack(">H", checksum(fixed + addresses)) + addresses
        return stamp + ethernet + header + datagram

    return record


def read(path):
    """The frames of a pcap file, stamped in micro- or nanoseconds."""
    data = path.read_bytes()
    if data[:4] not in (PCAP_HEADER[:4], struct.pack("<I", 0xA1B23C4D)):
        raise ValueError(f"{path.name} is no little-endian pcap file")
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        yield data[at + 16:at + 16 + length]
        at += 16 + length


@dataclass(frozen=True)
class Datagram:
    """One IP packet, taken apart."""

    source: ipaddress.IPv4Address
    destination: ipaddress.IPv4Address
    protocol: int
    ttl: int
    payload: bytes

    @property
    def ports(self):
        """Source and destination port."""
        return struct.unpack_from(">HH", self.payload)


def parse(packet):
    """Takes an IP packet apart.

    Raises ValueError if a length or checksum in it is wrong.
    """
    if packet[0] >> 4 == 4:
        if checksum(packet[:20]) != 0:
            raise ValueError("wrong IPv4 header checksum")
        body = packet[20:struct.unpack_from(">H", packet, 2)[0]]
        result = Datagram(ipaddress.ip_address(packet[12:16]), ipaddress.ip_address(packet[16:20]),
                          packet[9], packet[8], body)
    else:
        body = packet[40:40 + struct.unpack_from(">H", packet, 4)[0]]
        result = Datagram(ipaddress.ip_address(packet[8:24]), ipaddress.ip_address(packet[24:40]),
                          packet[6], packet[7], body)
    if result.protocol == UDP:
        pseudo = result.source.packed + result.destination.packed
        pseudo += struct.pack(">II", len(body), UDP)
        if checksum(pseudo + body + b"\0" * (len(body) % 2)) != 0:
            raise ValueError("wrong UDP checksum")
    return result
