"""What the namespacer promises at its borders: names, users, peers, set-up faults, one-shot runs."""
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
import time

import harness
from harness import BIN, ROOT, RecordFile, alive, sockets, wait_for

VERSION = int(re.search(r"PROTOCOL_VERSION\s+(\d+)", (ROOT / "common" / "protocol.h").read_text())[1])


def test_a_control_character_in_a_name_costs_nobody_anything(tcpdiag, world, folder):
    """A name is made valid before it is identity; an honest namespace beside it is read all the same."""
    watched = folder / "netns"
    watched.mkdir()
    odd = world.named("-l", "listen", folder=watched, name="x\u0085\x1b[2Jy")
    honest = world.named("-l", "listen")
    records = tcpdiag.records("--netns-folder", watched, "--netns", "x*y", "--netns", honest.name)
    assert {record["netns"] for record in records} == {"x___[2Jy", honest.name}, odd.name


def test_it_reads_the_namespace_it_was_started_in(tcpdiag, world):
    """Below a PID 1 of the test's own, which lives elsewhere and may be looked at on every machine."""
    namespace = world.named("-l", "listen")
    inside = f"nsenter --net={namespace.file} {BIN}/tcpdiag run --once --socket {tcpdiag.socket} --format jsonl --netns {namespace.name}; exit $?"
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", inside],
                          capture_output=True, timeout=60, check=True)
    assert len(sockets(harness.parse_jsonl(done.stdout.decode()))) == 1, done.stderr


def test_it_is_not_in_the_namespace_that_its_unit_gave_it(tcpdiag, world):
    """PrivateNetwork=: nobody else is in there, so there is nothing to read."""
    namespace = world.named("-l", "listen")
    socket_path = tcpdiag.socket
    inside = (f"{BIN}/tcpdiag-shipper --once --socket {socket_path} --format jsonl --snapshot-ends yes & "
              f"unshare --net sh -c 'readlink /proc/self/ns/net >&2; exec {BIN}/tcpdiag-namespacer --once --socket {socket_path} "
              f"--netns {namespace.name} --netns netns:*'; wait")
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", inside],
                          capture_output=True, timeout=60, check=True)
    own = int(re.search(rb"net:\[(\d+)\]", done.stderr).group(1))
    records = harness.parse_jsonl(done.stdout.decode())
    assert namespace.name in {record["netns"] for record in records}, done.stderr
    assert own not in {record["netns_inode"] for record in records}, done.stderr


def test_no_namespace_matches(tcpdiag, world):
    done = tcpdiag.run("run", "--once", "--socket", tcpdiag.socket, "--netns", "nobody-has-this-name")
    assert done.returncode == 0 and done.stdout.count(b"\n") <= 1
    assert "no namespace has a name that --netns asks for" in done.stderr


def test_ns_heeds_netns(tcpdiag, world):
    first, second = world.named(), world.named()
    listed = tcpdiag.run("ns", "--netns", first.name).stdout.decode()
    assert first.name in listed and second.name not in listed


def test_an_incomplete_one_shot_run_says_so(tcpdiag, world):
    """Nobody reads the output, so the snapshot cannot end before its deadline."""
    namespace = world.named("-l", "established:count=2000")
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    daemon = subprocess.Popen([BIN / "tcpdiag", "run", "--once", "--socket", tcpdiag.socket, "--netns", namespace.name,
                               "--format", "jsonl", "--deadline", "300ms", "--batch-bytes", "64KiB", "--ring-size", "64KiB"],
                              stdout=writer, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    os.close(writer)
    try:
        told = b""
        while b"is incomplete (deadline)" not in told:
            line = daemon.stderr.readline()
            assert line, told
            told += line
        with os.fdopen(reader, "rb") as rest:
            records = harness.parse_jsonl(rest.read().decode())
        assert daemon.wait(30) == 75
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stderr.close()
    # What was read before the deadline is there: 2,000 connections are 4,000 sockets and a listener.
    assert 0 < len(sockets(records)) < 4001


def test_a_set_up_fault_is_told_and_waits(tcpdiag, world, folder):
    """One whose collectors cannot be set up says which step failed, and a one-shot run does not hang."""
    place = folder / "netns"
    place.mkdir()
    for _ in range(4):
        world.named("-l", "listen", folder=place)
    # Each namespace of the host takes a descriptor, so that the others of this one are hidden.
    words = harness.at_level("tcpdiag", ("run", "--once", "--socket", tcpdiag.socket, "--netns-folder", place))
    inside = f"mount -t tmpfs none /run/netns && ulimit -n 60 && {BIN}/tcpdiag {' '.join(map(str, words))}"
    start = time.monotonic()
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", inside], capture_output=True,
                          text=True, timeout=60 * harness.PATIENCE, check=False)
    assert done.returncode == 75 and time.monotonic() - start < 30 * harness.PATIENCE, done.stderr
    assert "before it was ready" in done.stderr and "could not" in done.stderr, done.stderr


def test_a_ring_goes_to_the_shippers_user_only(tcpdiag, world, folder):
    """Whoever listens there as another user gets nothing; the log says why."""
    namespace = world.named("-l", "listen")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as impostor:
        impostor.bind(str(tcpdiag.socket))
        impostor.listen(8)
        daemon = tcpdiag.namespacer("--netns", namespace.name, "--interval", "200ms")
        wait_for(lambda: "who listens there is not the shipper's user" in daemon.log(), 10)
        impostor.settimeout(10)
        peer, _ = impostor.accept()
        with peer:
            data, ancillary, _, _ = peer.recvmsg(4096, 1024)
        assert data == b"" and ancillary == []
    daemon.stop()
    os.unlink(tcpdiag.socket)


def test_another_version_is_told_and_not_fed(tcpdiag, world, folder):
    """A shipper of another version: one line, no ring."""
    namespace = world.named("-l", "listen")
    uid = 60642
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.bind(str(tcpdiag.socket))
        # SO_PEERCRED shows who called listen(2).
        os.setegid(uid)
        os.seteuid(uid)
        try:
            other.listen(8)
        finally:
            os.seteuid(0)
            os.setegid(0)
        daemon = tcpdiag.namespacer("--netns", namespace.name, "--interval", "200ms", "--shipper-user", str(uid))
        other.settimeout(10)
        for _ in range(2):
            peer, _ = other.accept()
            with peer:
                kind, length, name, version, _ = struct.unpack("=II8sII", peer.recv(4096))
                assert (kind, length, name.rstrip(b"\0"), version) == (1, 16, b"tcpdiag", VERSION)
                peer.send(struct.pack("=II8sII", 1, 16, b"tcpdiag", version + 1, 0))
                assert peer.recvmsg(4096, 1024)[:2] == (b"", [])
        assert daemon.log().count("another version") == 1
    daemon.stop()
    os.unlink(tcpdiag.socket)


def test_a_refused_call_is_named(tcpdiag, world, folder):
    """A collector that does what it may not: the log names the call, and the namespace is read again."""
    namespace = world.named("-l", "listen")
    file = RecordFile(folder / "out.jsonl")
    daemon = tcpdiag.stream("--netns", namespace.name, "--interval", "200ms", "--format", "jsonl", "--sink", f"file:{file.path}")
    file.wait_for_snapshots(namespace.name)
    collector = daemon.collector(namespace.name)
    # SIGSYS as the kernel sends it needs a call; from outside, the signal's end is the same but for the name.
    os.kill(collector, signal.SIGSYS)
    wait_for(lambda: not alive(collector), 10, "the end of the collector")
    wait_for(lambda: "exit code 80" in daemon.log() and "refused system call" in daemon.log(), 10)
    file.wait_for_snapshots(namespace.name, 2)
    daemon.stop()


def test_orphans_beyond_their_limit_are_told(tcpdiag, world):
    """Without a shipper, the ring of a dead collector is kept only up to orphan-rings."""
    namespace = world.named("-l", "listen")
    shipper = tcpdiag.shipper("--sink", "null")
    namespacer = tcpdiag.namespacer("--netns", namespace.name, "--interval", "100ms", "--orphan-rings", "0")
    wait_for(lambda: namespacer.collector(namespace.name), 10)
    wait_for(lambda: "connected to the shipper" in namespacer.log(), 10)
    shipper.kill()
    wait_for(lambda: "lost the shipper" in namespacer.log(), 10)
    os.kill(namespacer.collector(namespace.name), signal.SIGKILL)
    wait_for(lambda: "is lost: more than orphan-rings" in namespacer.log(), 10)
    namespacer.stop()
    assert "1 rings lost" in namespacer.log()


def test_rings_that_nobody_took_are_told_at_the_end(tcpdiag, world):
    """The namespacer ends while no shipper is there: what it still held is lost, and it says how much."""
    namespace = world.named("-l", "established:count=200")
    shipper = tcpdiag.shipper("--sink", "null")
    namespacer = tcpdiag.namespacer("--netns", namespace.name, "--interval", "100ms")
    wait_for(lambda: namespacer.collector(namespace.name), 10)
    wait_for(lambda: "connected to the shipper" in namespacer.log(), 10)
    os.kill(shipper.popen.pid, signal.SIGSTOP)
    harness.wait_until_ring_is_full(namespacer.collector(namespace.name))
    shipper.kill()
    wait_for(lambda: "lost the shipper" in namespacer.log(), 10)
    namespacer.stop()
    assert "bytes of records are lost: no shipper was there" in namespacer.log()


def test_an_unknown_user_is_an_error(tcpdiag, world):
    done = tcpdiag.run("run", "--once", "--collector-user", "nobody-has-this-name")
    assert done.returncode == 78 and "there is no user 'nobody-has-this-name'" in done.stderr, done.stderr


def test_a_ring_limit_between_two_sizes(tcpdiag, world, folder):
    """A namespace that outgrows its ring gets the largest that fits the limit, not one that cannot be made."""
    namespace = world.named("-l", "established:count=1000")
    file = RecordFile(folder / "out.jsonl")
    daemon = tcpdiag.stream("--netns", namespace.name, "--interval", "200ms", "--format", "jsonl", "--ring-limit", "200KiB",
                            "--sink", f"file:{file.path}", "--log-level", "debug")
    file.wait_for_snapshots(namespace.name, 3, 30)
    wait_for(lambda: "next ring 131072 bytes" in daemon.log(), 10)
    file.wait_for_snapshots(namespace.name, 2, 30)
    daemon.stop()
    assert "could not fork" not in daemon.log()
