"""Frames for the end-to-end benchmarks: written to pcap files, and read back to be judged.

A file holds frames of clients' flows to the VIP, or of the servers' answers to them, with correct
checksums. Lengths are without FCS: "64 B" is 60 octets. Flows, their order and the order of frames
come from seeds, so that two runs replay the same octets. The order in which flows are established
and the order in which they are replayed are independent of each other.
"""

import ipaddress
import struct
from dataclasses import dataclass

import numpy

PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
TCP, UDP = 6, 17
PROTOCOL = {"tcp": TCP, "udp": UDP}
SYN, ACK = 0x02, 0x10
VIP_PORT = 5300
LEN_MIN = {4: 60, 6: 78}
IMIX = (60,) * 28 + (566,) * 16 + (1514,) * 4  # the 64, 570 and 1518 octets of the wire
CHUNK = 1 << 19  # frames made at once
CLIENTS = {4: "10.0.0.0", 6: "2001:db8:c::"}


@dataclass(frozen=True)
class Traffic:
    """What is replayed: frames of `flows` flows."""

    family: int
    flows: int
    frames: int
    order: str = "uniform"  # or zipf: the k-th flow comes in proportion to 1/k
    size: str = "min"  # min | imix | max
    protocol: str = "udp"

    @property
    def name(self):
        """For people and file names."""
        return f"v{self.family}-{self.protocol}-{self.flows}-{self.frames}-{self.order}-{self.size}"

    def lengths(self):
        """Octets of each frame."""
        cycle = {"min": (LEN_MIN[self.family],), "imix": IMIX, "max": (1514,)}[self.size]
        cycle = numpy.maximum(numpy.random.default_rng(4).permutation(cycle), LEN_MIN[self.family])
        return numpy.resize(cycle, self.frames)

    def sequence(self):
        """Which flow each frame is of."""
        draw = numpy.random.default_rng(2)
        if self.order == "zipf":
            shares = numpy.cumsum(1.0 / numpy.arange(1, self.flows + 1))
            ranks = numpy.searchsorted(shares, draw.random(self.frames) * shares[-1])
            return ranks.astype(numpy.int64)
        if self.frames % self.flows:
            raise ValueError("every flow must come equally often")
        return draw.permutation(numpy.repeat(numpy.arange(self.flows), self.frames // self.flows))

    def clients(self):
        """Addresses (as offsets) and ports of the flows' clients, all different."""
        draw = numpy.random.default_rng(1)
        both = numpy.empty(0, numpy.int64)
        while len(both) < self.flows:
            more = (draw.integers(1, 1 << 24, self.flows + 16) << 16
                    | draw.integers(1024, 65536, self.flows + 16))
            both = numpy.unique(numpy.concatenate([both, more]))
        both = draw.permutation(both)[:self.flows]
        return both >> 16, both & 0xFFFF

    def arrival(self):
        """The order in which flows are established."""
        return numpy.random.default_rng(3).permutation(self.flows)


@dataclass(frozen=True)
class Ends:
    """Who speaks to whom: addresses of servers by turn, or the VIP alone."""

    mac: str  # that frames are sent to
    hosts: tuple  # the VIP, or the servers in the order in which flows are given to them
    reply: bool = False


def checksum(data):
    """The Internet checksum of an even number of octets (RFC 1071)."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def write_replay(path, traffic, ends):
    """Writes the file that is replayed for ever."""
    write(path, traffic, ends, traffic.sequence(), traffic.lengths(), ACK)


def write_first(path, traffic, ends):
    """Writes the file that establishes every flow, once: SYNs if they are TCP's."""
    lengths = numpy.full(traffic.flows, LEN_MIN[traffic.family])
    write(path, traffic, ends, traffic.arrival(), lengths, SYN)


def write(path, traffic, ends, sequence, lengths, flags):
    """Writes a pcap file: one frame for each flow that `sequence` names."""
    hosts, ports = traffic.clients()
    turn = numpy.empty(traffic.flows, numpy.int64)
    turn[traffic.arrival()] = numpy.arange(traffic.flows) % len(ends.hosts)
    templates = {int(length): Template(traffic, ends, int(length), flags)
                 for length in numpy.unique(lengths)}
    with path.open("wb") as out:
        out.write(PCAP_HEADER)
        for start in range(0, len(sequence), CHUNK):
            flows, lens = sequence[start:start + CHUNK], lengths[start:start + CHUNK]
            made = {length: template.fill(hosts[flows], ports[flows], turn[flows])
                    for length, template in templates.items()}
            if len(made) == 1:
                out.write(next(iter(made.values())).tobytes())
            else:
                out.write(b"".join(made[int(length)][at].tobytes()
                                   for at, length in enumerate(lens)))


class Template:
    """Frames of one length: what they share, and where they differ."""

    def __init__(self, traffic, ends, length, flags):
        self.family, self.reply = traffic.family, ends.reply
        wide = 4 if self.family == 4 else 16
        self.l4 = 16 + 14 + (20 if self.family == 4 else 40)  # 16: the record's header
        l4_len = length + 16 - self.l4
        protocol = PROTOCOL[traffic.protocol]
        stamp = struct.pack("<IIII", 0, 0, length, length)
        macs = bytes.fromhex(ends.mac.replace(":", "")) + bytes.fromhex("0200000000c1")
        if self.family == 4:
            header = b"\x08\x00" + struct.pack(">BBHHHBBH", 0x45, 0, 20 + l4_len, 0, 0x4000, 64,
                                               protocol, 0)
        else:
            header = b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, l4_len, protocol, 64)
        if protocol == UDP:
            segment = struct.pack(">HHHH", 0, 0, l4_len, 0)
            self.sum_at = self.l4 + 6
        else:
            segment = struct.pack(">HHIIBBHHH", 0, 0, 1, 1, 0x50, flags, 8192, 0, 0)
            self.sum_at = self.l4 + 16
        segment += bytes(at & 0xFF for at in range(l4_len - len(segment)))
        start = stamp + macs + header
        self.client_at = len(start) + (wide if self.reply else 0)
        self.host_at = len(start) + (0 if self.reply else wide)
        octets = start + bytes(2 * wide) + segment
        self.octets = numpy.frombuffer(octets, numpy.uint8)
        self.hosts = numpy.array([list(ipaddress.ip_address(host).packed) for host in ends.hosts],
                                 numpy.uint8)
        self.base = int(ipaddress.ip_address(CLIENTS[self.family]))
        even = segment + b"\0" * (len(segment) % 2)
        self.pseudo = (~checksum(even) & 0xFFFF) + protocol + l4_len

    def fill(self, clients, ports, turns):
        """A matrix of records, a row for each."""
        rows = numpy.tile(self.octets, (len(clients), 1))
        wide = self.hosts.shape[1]
        address = numpy.frombuffer(self.base.to_bytes(wide, "big"), numpy.uint8)
        rows[:, self.client_at:self.client_at + wide] = address
        for place in range(1, 4):  # 24 bits differ
            rows[:, self.client_at + wide - place] = clients >> 8 * (place - 1) & 0xFF
        rows[:, self.host_at:self.host_at + wide] = self.hosts[turns]
        source, destination = (VIP_PORT, ports) if self.reply else (ports, VIP_PORT)
        put(rows, self.l4, source)
        put(rows, self.l4 + 2, destination)
        if self.family == 4:
            put(rows, self.l4 - 10, summed(rows[:, self.l4 - 20:self.l4]))
        covered = summed(rows[:, self.l4 - 2 * wide:self.l4 + 4], self.pseudo)
        put(rows, self.sum_at, numpy.where(covered == 0, 0xFFFF, covered))
        return rows


def put(rows, at, values):
    """Writes 16 bits into each row."""
    rows[:, at] = numpy.asarray(values) >> 8
    rows[:, at + 1] = numpy.asarray(values) & 0xFF


def summed(octets, start=0):
    """The Internet checksum of each row, an even number of octets, and of what was summed up."""
    words = octets.reshape(len(octets), -1, 2).astype(numpy.int64)
    total = (words[:, :, 0] << 8 | words[:, :, 1]).sum(axis=1) + start
    for _ in range(3):
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def read(path, most=None):
    """The frames of a pcap file, stamped in micro- or nanoseconds; an unfinished last one is left
    out."""
    with path.open("rb") as file:
        head = file.read(24)
        if head[:4] not in (PCAP_HEADER[:4], struct.pack("<I", 0xA1B23C4D)):
            raise ValueError(f"{path.name} is no little-endian pcap file")
        count = 0
        while most is None or count < most:
            record = file.read(16)
            length = struct.unpack_from("<I", record, 8)[0] if len(record) == 16 else 0
            frame = file.read(length)
            if not length or len(frame) < length:
                return
            yield frame
            count += 1


@dataclass(frozen=True)
class Packet:
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

    @property
    def content(self):
        """What no director changes: all but ports and checksum."""
        body = bytearray(self.payload[4:])
        at = 2 if self.protocol == UDP else 12
        body[at:at + 2] = b"\0\0"
        return bytes(body)


def parse(packet):
    """Takes an IP packet apart.

    Raises ValueError if a length or checksum in it is wrong.
    """
    if packet[0] >> 4 == 4:
        if checksum(packet[:20]) != 0:
            raise ValueError("wrong IPv4 header checksum")
        body = packet[20:struct.unpack_from(">H", packet, 2)[0]]
        result = Packet(ipaddress.ip_address(packet[12:16]), ipaddress.ip_address(packet[16:20]),
                        packet[9], packet[8], body)
    else:
        body = packet[40:40 + struct.unpack_from(">H", packet, 4)[0]]
        result = Packet(ipaddress.ip_address(packet[8:24]), ipaddress.ip_address(packet[24:40]),
                        packet[6], packet[7], body)
    if result.protocol in (TCP, UDP):
        pseudo = result.source.packed + result.destination.packed
        pseudo += struct.pack(">II", len(body), result.protocol)
        if checksum(pseudo + body + b"\0" * (len(body) % 2)) != 0:
            raise ValueError("wrong TCP or UDP checksum")
    return result
