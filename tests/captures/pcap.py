"""Netlink captures: pcap and pcapng files with LINKTYPE_NETLINK, their datagrams, messages and dumps.

Written from the file format's and netlink's definitions alone: it is the tests' own reader.
"""
import struct
from dataclasses import dataclass, field

MAGICS = {struct.pack(order + "I", magic): (order, unit) for order in "<>"
          for magic, unit in ((0xa1b2c3d4, 1000), (0xa1b23c4d, 1))}
SECTION, INTERFACE, ENHANCED = b"\x0a\x0d\x0d\x0a", 1, 6  # blocks of pcapng
LINKTYPE_NETLINK = 253
COOKED = struct.Struct(">HHH8xH")  # packet type, ARPHRD_NETLINK, address length, -, netlink family
ARPHRD_NETLINK = 824
NETLINK_SOCK_DIAG = 4
NLMSG = struct.Struct("=IHHII")
NOOP, ERROR, DONE, OVERRUN = 1, 2, 3, 4
TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY = 18, 20
SOCKETS = (TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY)
ANSWERS = (*SOCKETS, DONE)
NLM_F_REQUEST = 1
INET_DIAG_MSG = 72  # bytes


class Unreadable(Exception):
    """The file is no capture, and why."""


@dataclass
class Packet:
    time: int     # ns since 1970; 0 in a pcapng
    family: int   # netlink's
    data: bytes   # the datagram


@dataclass
class Message:
    kind: int
    flags: int
    sequence: int
    port: int
    payload: bytes
    whole: bytes  # with its header
    place: int = None  # of a socket's: the how many-eth of the file

    @property
    def is_request(self):
        return self.kind in SOCKETS and self.flags & NLM_F_REQUEST

    @property
    def is_socket(self):
        """Of a socket of IPv4 or IPv6; the other families of sock_diag have other structs."""
        return self.kind in SOCKETS and not self.flags & NLM_F_REQUEST and self.payload[:1] in (b"\2", b"\n")


@dataclass
class Dump:
    """The answers to one request, in the order in which they came."""
    time: int
    request: Message = None
    sockets: list = field(default_factory=list)
    done: bool = False


def is_capture(data):
    return data[:4] in MAGICS or data[:4] == SECTION


def packet(data, at, length, original, time):
    """The packet of so many bytes from there on."""
    if at + length > len(data):
        raise Unreadable(f"it ends within a packet, at byte {at}")
    if length != original or length < COOKED.size:
        raise Unreadable(f"the packet at byte {at} is cut: {length} of {original} bytes")
    _, hardware, _, family = COOKED.unpack_from(data, at)
    if hardware != ARPHRD_NETLINK:
        raise Unreadable(f"the packet at byte {at} has another header than netlink's")
    return Packet(time, family, data[at + COOKED.size:at + length])


def check_link(link):
    if link != LINKTYPE_NETLINK:
        raise Unreadable(f"its link type is {link}, not {LINKTYPE_NETLINK}")


def pcap_packets(data):
    if len(data) < 24:
        raise Unreadable("it ends within the file's header")
    order, unit = MAGICS[data[:4]]
    check_link(struct.unpack_from(order + "I", data, 20)[0] & 0xfffffff)
    at = 24
    while at < len(data):
        if at + 16 > len(data):
            raise Unreadable(f"it ends within a packet's header, at byte {at}")
        seconds, fraction, length, original = struct.unpack_from(order + "IIII", data, at)
        yield packet(data, at + 16, length, original, seconds * 10**9 + fraction * unit)
        at += 16 + length


def pcapng_packets(data):
    """Times are left out: nothing here needs them of a pcapng."""
    at, order = 0, "<"
    while at < len(data):
        if data[at:at + 4] == SECTION:
            order = "<" if data[at + 8:at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
        if at + 12 > len(data):
            raise Unreadable(f"it ends within a block, at byte {at}")
        kind, size = struct.unpack_from(order + "II", data, at)
        if size < 12 or size % 4 or at + size > len(data):
            raise Unreadable(f"it ends within a block, at byte {at}")
        if kind == INTERFACE:
            check_link(struct.unpack_from(order + "H", data, at + 8)[0])
        elif kind == ENHANCED:
            length, original = struct.unpack_from(order + "II", data, at + 20)
            yield packet(data, at + 28, length, original, 0)
        at += size


def packets(data):
    """Every packet of a file's bytes."""
    if not is_capture(data):
        raise Unreadable("it starts neither as a pcap nor as a pcapng does")
    return pcapng_packets(data) if data[:4] == SECTION else pcap_packets(data)


def messages(datagram):
    """The messages of a datagram, as far as they are whole."""
    at = 0
    while at + NLMSG.size <= len(datagram):
        length, kind, flags, sequence, port = NLMSG.unpack_from(datagram, at)
        if length < NLMSG.size or at + length > len(datagram):
            return
        yield Message(kind, flags, sequence, port, datagram[at + NLMSG.size:at + length], datagram[at:at + length])
        at += length + 3 & ~3


def sock_diag(data):
    """(time, message) of every sock_diag message of a file's bytes."""
    place = 0
    for packet in packets(data):
        if packet.family == NETLINK_SOCK_DIAG:
            for message in messages(packet.data):
                if message.is_socket:
                    message.place, place = place, place + 1
                yield packet.time, message


def dumps(data):
    """The dumps in a file's bytes.

    ss uses one sequence number for all of its requests, and a request's port may be 0: so answers belong to the last request
    with their sequence number, and from then on their port is that dump's until its NLMSG_DONE.  In a file of answers alone
    a NLMSG_DONE ends a dump.
    """
    found, asked, bound = [], {}, {}
    for time, message in sock_diag(data):
        key = (message.port, message.sequence)
        if message.is_request:
            asked[message.sequence] = Dump(time, message)
            found.append(asked[message.sequence])
            continue
        if key not in bound:
            bound[key] = asked.pop(message.sequence, None) or Dump(time)
            if bound[key].request is None:
                found.append(bound[key])
        if message.is_socket:
            bound[key].sockets.append(message)
        elif message.kind == DONE:
            bound.pop(key).done = True
    return found


def write(path, datagrams, time=1700000000):
    """A file with these datagrams, as the kernel's answers."""
    header = struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, LINKTYPE_NETLINK)
    with open(path, "wb") as file:
        file.write(header)
        for number, datagram in enumerate(datagrams):
            cooked = COOKED.pack(4, ARPHRD_NETLINK, 0, NETLINK_SOCK_DIAG)
            file.write(struct.pack("<IIII", time, number % 10**6, len(datagram) + 16, len(datagram) + 16) + cooked + datagram)


def message(kind, payload, sequence=1, flags=2, port=0):
    """A netlink message's bytes, padded."""
    return NLMSG.pack(NLMSG.size + len(payload), kind, flags, sequence, port) + payload + bytes(-len(payload) % 4)
