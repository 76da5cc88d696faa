"""Captures that are damaged: never a crash, and for every message a record or an error that is counted.

Run with MODE=asan, too, which sees a read beyond the end.
"""
import collections
import os
import pathlib
import random
import re
import struct
import subprocess

import pytest

import pcap
import second
import shapes
import tcpdiag

FUZZER = pathlib.Path(os.environ["TCPDIAG_BUILD"]) / "tests" / "fuzz" / "fuzz_datagram"
MUTATIONS = 20000
TCP, DATA = 6, 65
BAD = ("malformed", "cut short", "of a machine of the other byte order")
FUZZER_FILES = 250
BASES = 16  # messages that are cut at every byte, two in a datagram


# --- what has to become of a datagram ------------------------------------------------------------

def asks_tcp(message):
    """What a request is for; None if it is none for sockets."""
    if message.kind == pcap.TCPDIAG_GETSOCK:
        return True
    if message.kind == pcap.SOCK_DIAG_BY_FAMILY and len(message.payload) >= 56:  # struct inet_diag_req_v2
        return message.payload[1] == TCP
    return None


def book_of(message, asked, records):
    """Where a whole message is counted; a socket's record is appended."""
    if message.kind == pcap.NOOP:
        return "messages that say nothing"
    if message.kind in (pcap.ERROR, pcap.DONE):
        if len(message.payload) < 4:
            return "malformed"
        return "errors of the kernel" if any(message.payload[:4]) else "ends of dumps"
    if message.flags & pcap.NLM_F_REQUEST:
        asked |= {} if asks_tcp(message) is None else {message.sequence: asks_tcp(message)}
        return "requests"
    if message.kind not in pcap.SOCKETS:
        return "messages of other kinds"
    if message.payload and not message.is_socket or not asked.get(message.sequence, True):
        return "sockets that are not TCP"
    try:
        socket = second.Socket(message.payload)
    except second.Malformed:
        return "malformed"
    if socket.values.get(("PROTOCOL", ""), TCP) != TCP:
        return "sockets that are not TCP"
    records.append(socket.record())
    return "records"


def expected(datagrams):
    """(records, {book: number}) of datagrams."""
    books, records, asked = collections.Counter(), [], {}
    for datagram in datagrams:
        at = 0
        for message in pcap.messages(datagram):
            books[book_of(message, asked, records)] += 1
            at += len(message.whole) + 3 & ~3
        if at < len(datagram):
            left = datagram[at:]
            swapped = int.from_bytes(left[:4], "big") if len(left) >= 16 else 0
            books["of a machine of the other byte order" if 16 <= swapped <= len(left) else "malformed"] += 1
    return records, books


def told(stderr):
    """{book: number} of replay's summary."""
    books = collections.Counter()
    for line in stderr.decode().split("\n"):
        found = re.search(r": (?:(?=records: )|skipped: |not decoded: )(.*)$", line)
        if found:
            books.update({name: int(number) for name, number in re.findall(r"(?:^|, )([^:,]+): (\d+)", found[1])})
    del books["dumps with sockets"]
    return books


def check(path, datagrams):
    """Every message is a record or a counted error, the sums balance, and the records are right."""
    pcap.write(path, datagrams)
    done = tcpdiag.run("--format", "protobuf", path)
    records, books = expected(datagrams)
    bad = sum(books[name] for name in BAD)
    assert done.returncode == (DATA if bad else 0), done.stderr.decode()[-2000:]
    assert told(done.stderr) == +books
    got = [tcpdiag.from_kernel(message) for message in map(tcpdiag.pb.XtcpFlatRecord.FromString, tcpdiag.delimited(done.stdout))]
    assert len(got) == len(records) == books["records"]
    for number, (ours, theirs) in enumerate(zip(got, records)):
        theirs = {name: value for name, value in theirs.items() if value}
        assert ours == theirs, f"record {number}: {dict(ours.items() ^ theirs.items())}"


# --- damage ----------------------------------------------------------------------------------------

def with_sequence(datagram, number):
    """Of its own: one that becomes a request speaks for those with its number."""
    return datagram[:8] + struct.pack("=I", number) + datagram[12:]


@pytest.fixture(scope="module", name="bases")
def bases_fixture():
    found = shapes.messages()
    assert found, "there are no captures"
    return [with_sequence(message, number) for number, message in enumerate(found, 1)]


def test_truncation_at_every_byte(bases, tmp_path):
    """Datagrams of two messages and the end of a dump, cut at every byte."""
    step = max(1, len(bases) // BASES)
    datagrams = []
    for one, other in zip(bases[::step], bases[::-step]):
        whole = one + other + pcap.message(pcap.DONE, bytes(4))
        datagrams += [whole[:length] for length in range(1, len(whole) + 1)]
    check(tmp_path / "cut.pcap", datagrams)


def mutate(chance, datagram, others):
    """A few edits, as a fuzzer makes them."""
    data = bytearray(datagram)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data)) if data else 0
        kind = chance.randrange(5)
        if kind == 0 and data:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and data:
            data[at] = chance.choice((0, 1, 4, 0x7f, 0x80, 0xff))
        elif kind == 2 and len(data) >= 4:
            at = at % (len(data) - 3) & ~3  # a length or a number
            struct.pack_into("=H", data, at, chance.choice((0, 1, 3, 4, 5, 8, 16, 100, 0xffff, len(data) - at & 0xffff)))
        elif kind == 3:
            del data[at:at + chance.randrange(1, 40)]
        else:
            other = chance.choice(others)
            start = chance.randrange(len(other))
            data[at:at] = other[start:start + chance.randrange(1, 80)]
    return bytes(data)


@pytest.mark.parametrize("seed", [4, 44])
def test_mutations(bases, seed, tmp_path):
    chance = random.Random(seed)
    datagrams = []
    for number in range(MUTATIONS):
        pieces = chance.choices(bases, k=chance.randint(1, 2))
        whole = b"".join(with_sequence(piece, 1000 + 2 * number + place) for place, piece in enumerate(pieces))
        datagrams.append(mutate(chance, whole, bases))
    check(tmp_path / "mutated.pcap", [datagram for datagram in datagrams if datagram])


def test_messages_in_the_collectors_own_code(bases, tmp_path):
    """The fuzz target over the captures' messages: each cut at every byte, and mutated, with every promise of a record checked."""
    for number, message in enumerate(bases[:FUZZER_FILES]):
        (tmp_path / f"message-{number:03}").write_bytes(message)
    done = subprocess.run([FUZZER, tmp_path], capture_output=True, check=False, timeout=120)
    assert done.returncode == 0 and b"\nok 1 " in done.stdout, (done.stdout + done.stderr).decode()[-2000:]


def test_file_cut_at_every_byte(bases, tmp_path):
    """The file's own headers: records up to the damage, and one error that names the file and the place."""
    whole, path = tmp_path / "whole.pcap", tmp_path / "cut.pcap"
    pcap.write(whole, [min(bases, key=len)] * 2)
    data = whole.read_bytes()
    first = 24 + 16 + 16 + len(min(bases, key=len))
    lengths = [*range(100), *range(first - 8, first + 48), len(data) - 1]
    for length in lengths:
        path.write_bytes(data[:length])
        done = tcpdiag.run("--format", "protobuf", path)
        assert done.returncode == (0 if length in (24, first) else DATA), f"{length} bytes: {done.returncode}, {done.stderr.decode()}"
        assert len(tcpdiag.delimited(done.stdout)) == (length >= first)
        assert done.returncode == 0 or str(path).encode() in done.stderr
