"""Capture files, taken apart by Python alone."""
import struct
import subprocess
from typing import NamedTuple

REQUEST, MULTI = 1, 2
ERROR, DONE, GETSOCK, BY_FAMILY = 2, 3, 18, 20
INFO, MARK, MD5SIG = 2, 15, 18
COOKED = bytes.fromhex("0004 0338 00000000000000000000 0004")
MESSAGE = 72  # bytes of struct inet_diag_msg


class Message(NamedTuple):
    kind: int
    flags: int
    sequence: int
    pid: int
    payload: bytes

    @property
    def cookie(self):
        return struct.unpack_from("=Q", self.payload, 44)[0]

    @property
    def attributes(self):
        found, rest = [], self.payload[MESSAGE:]
        while rest:
            length, kind = struct.unpack_from("=HH", rest)
            found.append((kind, rest[4:length]))
            rest = rest[length + 3 & ~3:]
        return found


def packets(data):
    """(ns since 1970, bytes) of each packet of a classic pcap of this machine's byte order."""
    magic, major, minor, zone, accuracy, _, link = struct.unpack_from("=IHHIIII", data)
    assert (magic, major, minor, zone, accuracy, link) == (0xa1b2c3d4, 2, 4, 0, 0, 253)
    position, found = 24, []
    while position < len(data):
        seconds, micro, length, original = struct.unpack_from("=IIII", data, position)
        assert length == original and position + 16 + length <= len(data)
        found.append((seconds * 10**9 + micro * 1000, data[position + 16:position + 16 + length]))
        position += 16 + length
    return found


def messages(packet):
    assert packet[:16] == COOKED
    found, rest = [], packet[16:]
    while rest:
        length, kind, flags, sequence, pid = struct.unpack_from("=IHHII", rest)
        assert 16 <= length <= len(rest)
        found.append(Message(kind, flags, sequence, pid, rest[16:length]))
        rest = rest[length + 3 & ~3:]
    return found


def read(data):
    return [message for _, packet in packets(data) for message in messages(packet)]


def answers(found):
    return [message for message in found if message.kind in (GETSOCK, BY_FAMILY) and not message.flags & REQUEST]


def tshark(file, *words):
    done = subprocess.run(["tshark", "-n", "-r", file, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
