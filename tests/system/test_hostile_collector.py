"""A collector that was taken over has one channel to the namespacer: what it says there costs nobody but itself."""
import array
import contextlib
import ctypes
import os
import random
import re
import signal
import socket
import struct

import pytest

import harness
from harness import RecordFile, alive, wait_for
from test_sandbox import EFAULT, NETLINK, calls, memory

HEADER = struct.Struct("=II")
SNAPSHOT, IDENTITY, READY, FAILED, WAITING, TAKEN, TRAPPED = range(20, 27)
SIZES = {IDENTITY: 16, READY: 0, FAILED: 64, WAITING: 0, TAKEN: 80, TRAPPED: 8}
SYS_pidfd_getfd = 438
CONTROL = 0  # COLLECTOR_FD_CONTROL


class Hijacked:
    """A collector that stands still, and its end of the channel in our hand."""

    def __init__(self, pid):
        self.pid = pid
        os.kill(pid, signal.SIGSTOP)
        libc = ctypes.CDLL(None, use_errno=True)
        pidfd = os.pidfd_open(pid)
        fd = libc.syscall(SYS_pidfd_getfd, pidfd, CONTROL, 0)
        os.close(pidfd)
        assert fd != -1, os.strerror(ctypes.get_errno())
        self.channel = socket.socket(fileno=fd)

    def send(self, kind, payload=b"", fds=(), length=None):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        head = HEADER.pack(kind, len(payload) if length is None else length)
        # A namespacer that has no room, or has hung up, is no concern of an attacker's.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.channel.sendmsg([head + payload], control, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def order(self):
        """The sequence of the next snapshot that it is told to take."""
        def received():
            with contextlib.suppress(BlockingIOError):
                return self.channel.recv(4096, socket.MSG_DONTWAIT)
            return None
        data = wait_for(received, 10, "an order")
        assert HEADER.unpack_from(data)[0] == SNAPSHOT
        return struct.unpack_from("=Q", data, HEADER.size)[0]

    def taken(self, sequence, number=2**64 - 1):
        self.send(TAKEN, struct.pack("=Q", sequence) + struct.pack("=Q", number) * 4 + b"\xff" * 40)


def again(kind):
    return lambda taken_over: taken_over.send(kind, bytes(SIZES[kind]))


def noise(one):
    for _ in range(50):
        one.send(random.choice([*range(60), random.getrandbits(32)]), random.randbytes(random.randrange(2000)),
                 length=random.choice([None, 0, 8, random.getrandbits(32)]))


def flood(one):
    for _ in range(20000):
        one.send(TRAPPED, struct.pack("=iI", -1, 2**32 - 1))


def waits_twice(one):
    one.order()
    one.send(WAITING)
    one.send(WAITING)


def another_snapshot(one):
    one.taken(one.order() + 1)


def unordered(one):
    for _ in range(20):
        one.taken(0)


# What is said, and what the namespacer says of it.
ATTACKS = {
    "noise": (noise, "does not keep to the protocol|spoke out of turn"),
    "empty": (lambda one: one.channel.send(b"x"), "does not keep to the protocol"),
    "unknown": (lambda one: one.send(99), "does not keep to the protocol"),
    "orders-its-master": (lambda one: one.send(SNAPSHOT, bytes(16)), "does not keep to the protocol"),
    "short": (lambda one: one.send(TAKEN, bytes(SIZES[TAKEN] - 1)), "does not keep to the protocol"),
    "long": (lambda one: one.send(TAKEN, bytes(60000)), "does not keep to the protocol"),
    "lies-of-length": (lambda one: one.send(READY, b"", length=2**32 - 8), "does not keep to the protocol"),
    "ready-again": (again(READY), "spoke out of turn"),
    "rights": (lambda one: one.send(READY, fds=[0, 1, 2] * 40), "does not keep to the protocol|spoke out of turn"),
    "another-identity": (lambda one: one.send(IDENTITY, struct.pack("=QQ", 1, 1)), "spoke out of turn"),
    "failed-after-all": (lambda one: one.send(FAILED, b"\x1b" * SIZES[FAILED]), "spoke out of turn"),
    "waits-twice": (waits_twice, "spoke out of turn"),
    "unordered": (unordered, "spoke out of turn|ended a snapshot that nobody ordered"),
    "another-snapshot": (another_snapshot, "ended a snapshot that nobody ordered"),
    "flood": (flood, "spoke out of turn"),
}


@pytest.fixture
def fleet(tcpdiag, world, folder):
    """Two namespaces that are read by the real daemons, and where their records go."""
    class Fleet:
        def __init__(self, *words):
            self.honest, self.victim = world.named("-l", "listen"), world.named("-l", "listen")
            self.file = RecordFile(folder / "out.jsonl")
            self.shipper = tcpdiag.shipper("--format", "jsonl", "--sink", f"file:{self.file.path}", "--batch-age", "50ms")
            self.namespacer = tcpdiag.namespacer("--netns", self.honest.name, "--netns", self.victim.name, "--interval", "100ms", *words)
            for one in (self.honest, self.victim):
                self.file.wait_for_snapshots(one.name, 2)
            self.pids = [self.namespacer.collector(one.name) for one in (self.honest, self.victim)]

        def descriptors(self):
            return len(os.listdir(f"/proc/{self.namespacer.pid}/fd"))

        def end(self):
            """The honest one has lived on, and the other is read again."""
            self.file.wait_for_snapshots(self.honest.name, 3)
            self.file.wait_for_snapshots(self.victim.name, 2, 30)
            assert self.namespacer.collector(self.honest.name) == self.pids[0]
            self.namespacer.stop()
            self.shipper.stop()
            mine = [record for record in self.file.records() if record["netns"] == self.honest.name]
            assert [record["record_sequence"] for record in mine] == list(range(1, len(mine) + 1))
            assert len({record["collector_epoch"] for record in mine}) == 1
    return Fleet


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_collector_says(fleet, attack):
    """It is ended, with one line that says why; its neighbour does not notice."""
    act, why = ATTACKS[attack]
    one = fleet()
    before = one.descriptors()
    evil = Hijacked(one.pids[1])
    act(evil)
    wait_for(lambda: not alive(evil.pid), 20, "its end")
    evil.channel.close()
    line = wait_for(lambda: re.search(rf"{one.victim.name}: collector {evil.pid} ended.*", one.namespacer.log()), 10)[0]
    assert re.search(why, line), line
    assert "\x1b" not in one.namespacer.log()
    wait_for(lambda: one.namespacer.collector(one.victim.name) not in (None, evil.pid), 20, "another collector")
    # One scan of /proc, or a ring that is not drained yet, may be open as well.
    wait_for(lambda: one.descriptors() <= before, 10, "as few descriptors as before")
    one.end()


def test_a_greedy_collector(fleet):
    """However large it says that its namespace is, its next ring is within the limit."""
    one = fleet("--ring-limit", "256KiB")
    evil = Hijacked(one.pids[1])
    evil.taken(evil.order())
    successor = wait_for(lambda: (pid := one.namespacer.collector(one.victim.name)) != evil.pid and pid, 20, "a collector with another ring")
    wait_for(lambda: one.victim.name in harness.title(successor), 5)
    maps = open(f"/proc/{successor}/maps").read()
    sizes = [int(end, 16) - int(start, 16) for start, end in re.findall(r"^(\w+)-(\w+) .*tcpdiag-ring-data", maps, re.M)]
    assert sizes and max(sizes) <= 256 * 1024 + 64 * 1024
    evil.channel.close()
    one.end()


SOCKSTAT, MSG_DONTWAIT = 4, 0x40


def test_the_kernel_writes_no_request(fleet):
    """Answers, counts and events that a collector wants to have in the page of its requests: that is read-only for the kernel too."""
    one = fleet()
    collector = one.pids[1]
    page, = [int(line.split("-")[0], 16) for line in re.split(r"^(?=[0-9a-f]+-)", open(f"/proc/{collector}/smaps").read(), flags=re.M)
             if re.match(r"\S+ r--p 00000000 00:00 0 *\n", line) and re.search(r"^VmFlags:.* sl\b", line, re.M)]
    before = read_memory(collector, page, 4096)
    assert calls(collector, "pread64", SOCKSTAT, page, 4096, 0) == -EFAULT
    # The first message is the dump of all: sent, its answer is asked for where the message stands.
    assert calls(collector, "sendmsg", NETLINK, page, 0) > 0
    assert calls(collector, "recvfrom", NETLINK, page, 4096, MSG_DONTWAIT, 0, 0) == -EFAULT
    assert calls(collector, "recvmmsg", NETLINK, page, 1, MSG_DONTWAIT, 0) < 0
    assert calls(collector, "ppoll", page, 1, memory(bytes(16)), 0, 0) == -EFAULT
    assert read_memory(collector, page, 4096) == before
    one.end()


def read_memory(pid, address, size):
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as whole:
        whole.seek(address)
        return whole.read(size)
