"""A shipper that was taken over harms neither a collector nor the namespacer, and the next one goes on where it was."""
import contextlib
import os
import re
import socket
import struct
import subprocess
import sys

import pytest

import harness
from harness import ROOT, RecordFile, alive, wait_for
from test_kill import no_gaps, whole_snapshots
from test_sandbox import EACCES, ENOSYS, EPERM, calls, memory, opens

PROGRAM = ROOT / "tests" / "hostile" / "fake_shipper.py"
ATTACKS = re.findall(r'^    "([a-z-]+)": ', PROGRAM.read_text().split("ATTACKS = {")[1], re.M)
# What they do to a ring; the link stays as it is.
ON_RINGS = {"jump", "back", "scribble", "sleeper", "hang-up", "descriptors", "take-away", "open-anew", "punch", "deaf", "hostile", "drained", "hostile-nobody", "rights"}
# Those after which the collector itself says why it goes.
REFUSED = {"jump", "back", "scribble"}
UID = 60642


class FakeShipper:
    def __init__(self, socket, attack, folder):
        self.out = folder / "attack.out"
        with open(self.out, "wb") as out:
            self.popen = subprocess.Popen([sys.executable, PROGRAM, socket, str(UID), attack], stdout=out, stdin=subprocess.DEVNULL)

    def said(self, word):
        assert self.popen.poll() is None, "the attacker has ended"
        return self.out.read_text().split().count(word)

    def kill(self):
        self.popen.kill()
        self.popen.wait()


def descriptors(pid):
    """How many, but for those of the host's namespaces, which may be somebody else's."""
    links = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return sum(not link.startswith("net:[") for link in links)


@pytest.fixture
def attacker(tcpdiag, folder):
    made = []

    def start(attack):
        made.append(FakeShipper(tcpdiag.socket, attack, folder))
        wait_for(lambda: harness.listens(tcpdiag.socket), 10, "the attacker's socket")
        return made[0]
    yield start
    for one in made:
        one.kill()


@pytest.mark.parametrize("attack", ATTACKS)
def test_shipper(tcpdiag, world, folder, attacker, attack):
    """The namespacer and the honest namespace's collector live on, and a shipper that comes after it misses nothing."""
    stem = harness.unique()
    honest, victim = (world.named("-l", "established:count=40", name=f"{word}.{stem}") for word in ("honest", "other"))
    evil = attacker(attack)
    namespacer = tcpdiag.namespacer("--netns", f"*.{stem}", "--interval", "100ms", "--shipper-user", UID)
    collector = wait_for(lambda: namespacer.collector(honest.name), 10, "a collector")
    wait_for(lambda: evil.said("attacked"), 20, "the attack")
    before = descriptors(namespacer.pid)
    if attack in ON_RINGS:
        have = evil.said("honest")
        wait_for(lambda: evil.said("honest") >= have + 8, 30, "snapshots of the honest namespace")
    else:
        wait_for(lambda: "lost the shipper" in namespacer.log(), 20, "the end of its connection")
    if attack in REFUSED:
        wait_for(lambda: re.search(rf"{victim.name}: collector \d+ ended, exit code 76", namespacer.log()), 30, "the collector's refusal")
    if attack == "hostile":
        wait_for(lambda: "the shipper found what cannot be in its ring" in namespacer.log(), 20)
    assert not evil.said("broke")
    evil.kill()
    assert namespacer.collector(honest.name) == collector and alive(namespacer.pid)
    # Of each collector that refused, the ring is kept for the next shipper.
    assert descriptors(namespacer.pid) <= before + 16 + 4 * namespacer.log().count("ended, exit code 76")
    assert len(namespacer.log().splitlines()) < 200, "the log is flooded"
    os.unlink(tcpdiag.socket)
    file = RecordFile(folder / "out.jsonl")
    shipper = tcpdiag.shipper("--format", "jsonl", "--sink", f"file:{file.path}", "--batch-age", "50ms", "--shipper-user", UID)
    file.wait_for_snapshots(honest.name, 3, 30)
    file.wait_for_snapshots(victim.name, 2, 60)
    assert namespacer.collector(honest.name) == collector
    namespacer.stop()
    shipper.stop()
    mine = [record for record in file.records() if record["netns"] == honest.name]
    assert len(no_gaps(mine)) == 1
    first = mine[0]["snapshot_sequence"]
    whole_snapshots([record for record in mine if record["snapshot_sequence"] > first], 81)


MADV_REMOVE, PROT_WRITE, CLONE_NEWUSER = 9, 3, 0x10000000


def test_what_a_real_shipper_reaches(tcpdiag, world, folder):
    """Behind its filter and its rules of Landlock: no abstract socket of somebody else's, no memory by /proc, no data of a ring, no signal."""
    namespace, file = world.named("-l", "established:count=4"), RecordFile(folder / "out.jsonl")
    daemon = tcpdiag.stream("--netns", namespace.name, "--interval", "100ms", "--format", "jsonl", "--sink", f"file:{file.path}", "--batch-age", "10ms",
                            "--sandbox", "robust")
    file.wait_for_snapshots(namespace.name)
    shipper = daemon.find("shipper")[0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        name = f"\0{harness.unique()}"
        listener.bind(name)
        listener.listen(1)
        peer = calls(shipper, "socket", socket.AF_UNIX, socket.SOCK_STREAM, 0)
        address = struct.pack("=H", socket.AF_UNIX) + name.encode()
        assert calls(shipper, "connect", peer, memory(address), len(address)) == -EPERM
        assert calls(shipper, "close", peer) == 0
    # Its sink is a file, so that it has nobody to connect to.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = calls(shipper, "socket", socket.AF_INET, socket.SOCK_STREAM, 0)
        address = struct.pack("=H2s4s8x", socket.AF_INET, struct.pack("!H", listener.getsockname()[1]), socket.inet_aton("127.0.0.1"))
        assert calls(shipper, "connect", peer, memory(address), len(address)) == -EACCES
        assert calls(shipper, "close", peer) == 0
    assert opens(shipper, "/proc/self/mem", os.O_RDWR) == -EACCES
    # Flags in memory, which no filter sees: a namespace of users, with all capabilities in it.
    assert calls(shipper, "clone3", memory(struct.pack("=11Q", CLONE_NEWUSER, *[0] * 10)), 88) == -ENOSYS
    maps = open(f"/proc/{shipper}/maps").read()
    rings = [(int(start, 16), int(end, 16)) for start, end in re.findall(r"^(\w+)-(\w+) .*tcpdiag-ring-data", maps, re.M)]
    assert rings
    for start, end in rings:
        assert calls(shipper, "madvise", start, end - start, MADV_REMOVE) == -EACCES
        assert calls(shipper, "mprotect", start, end - start, PROT_WRITE) == -EACCES
    file.wait_for_snapshots(namespace.name, 2)
    assert calls(shipper, "kill", os.getpid(), 0) is None
    wait_for(lambda: "refused system call kill" in daemon.log(), 10, "its end")


def test_a_link_where_the_shipper_listens(tcpdiag):
    """Its folder is the shipper's: a link to a service that listens to root gets a connection, and not a byte by it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as service:
        service.bind(str(tcpdiag.socket.with_name("service.sock")))
        service.listen(5)
        service.settimeout(20 * harness.PATIENCE)
        tcpdiag.socket.symlink_to(tcpdiag.socket.with_name("service.sock"))
        namespacer = tcpdiag.namespacer(*harness.OURS, "--interval", "100ms")
        with service.accept()[0] as peer:
            peer.settimeout(20 * harness.PATIENCE)
            assert peer.recv(65536) == b""
        wait_for(lambda: "who listens there is not the shipper's user" in namespacer.log(), 10, "that it is said")
        namespacer.stop()
