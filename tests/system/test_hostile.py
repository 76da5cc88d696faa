"""A collector that was taken over spoils nobody else's records, and speaks for nobody else."""
import contextlib
import os
import re
import subprocess

import pytest

import harness
from harness import BIN, PATIENCE, ROOT, RecordFile, wait_for

ATTACKS = re.findall(r'^\t\{ "([a-z0-9-]+)",', (ROOT / "tests/hostile/fake_namespacer.c").read_text(), re.M)
HARMLESS = {"none", "flood", "ringing", "hang-up", "word", "lie", "counters", "deaf", "descriptors"}
ENDLESS = {"scribble", "restless"}


@pytest.fixture
def file(folder):
    return RecordFile(folder / "out.jsonl")


@pytest.fixture
def shipper(tcpdiag, file):
    daemon = tcpdiag.shipper("--format", "jsonl", "--sink", f"file:{file.path}", "--batch-age", "50ms")
    wait_for(lambda: harness.listens(tcpdiag.socket), 10, "the shipper's socket")
    return daemon


def attack(tcpdiag, how):
    return tcpdiag.run(tcpdiag.socket, how, program="tests/fake_namespacer", timeout=60)


@pytest.mark.parametrize("how", ATTACKS)
def test_attack(tcpdiag, shipper, file, how):
    """The honest ring's records are all there, the hostile one's are its own; it is reported, once."""
    done = attack(tcpdiag, how)
    said = done.stdout.decode().split("\n")
    assert done.returncode == 0, f"{said}\n{done.stderr}"
    shipper.stop()
    records = file.records()
    assert file.path.read_text() == file.text()
    honest = [r for r in records if r["netns"] == "honest"]
    assert [r["record_sequence"] for r in honest] == list(range(1, 151))
    for record in honest:
        assert record["netns_cookie"] == 1011 and record["netns_inode"] == 5011 and record["collector_epoch"] == 11
        assert record["inet_diag_msg_socket_source"] == "10.1.2.3"
        assert record["inet_diag_msg_socket_source_port"] == record["record_sequence"]
    others = [r for r in records if r["netns"] != "honest"]
    assert {r["netns"] for r in others} <= {"hostile"} and {r["collector_epoch"] for r in others} <= {22}
    assert said.count("hostile 22") == (0 if how in HARMLESS else 1), said
    assert "hostile 11" not in said
    if how not in HARMLESS:
        assert len(others) <= 1 or how in ENDLESS
        assert len([line for line in shipper.log().splitlines() if "hostile" in line]) >= 1, shipper.log()


def test_descriptors_by_the_doorbell(tcpdiag, shipper):
    """While a collector passes them without end, the shipper has none of them."""
    def open_files():
        return len(os.listdir(f"/proc/{shipper.pid}/fd"))
    wait_for(lambda: "listening on" in shipper.log(), 10, "all that it has open by itself")
    before = open_files()
    evil = subprocess.Popen([BIN / "tests/fake_namespacer", tcpdiag.socket, "descriptors"], stdout=subprocess.DEVNULL)
    most = 0
    while evil.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            most = max(most, open_files())
    # The connection, one ring's doorbell, and what the other's hand-over brings: its doorbell and two memories, for a moment.
    assert evil.returncode == 0 and before < most <= before + 5
    shipper.stop()


def test_only_root_is_heard(tcpdiag, shipper, file):
    """Somebody else who finds the socket hands over nothing, and disturbs nobody."""
    tcpdiag.socket.parent.chmod(0o777)
    done = tcpdiag.run("--reuid=65534", "--regid=65534", "--clear-groups", BIN / "tests" / "fake_namespacer",
                       tcpdiag.socket, "none", program="/usr/bin/setpriv")
    assert done.returncode == 2, done.stderr
    done = attack(tcpdiag, "none")
    assert done.returncode == 0, done.stderr
    shipper.stop()
    assert len(file.records()) == 151


@pytest.mark.parametrize("noise", [b"", b"x", b"GET / HTTP/1.0\r\n\r\n", bytes(4096), b"\xff" * 60000],
                         ids=["nothing", "a-byte", "http", "zeros", "ones"])
def test_noise_on_the_socket(tcpdiag, shipper, file, noise):
    """A peer that does not keep to the protocol is hung up on; the next one is served."""
    import socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(20 * PATIENCE)
        peer.connect(str(tcpdiag.socket))
        peer.send(noise)
        heard = b"?"
        with pytest.raises((ConnectionError, EOFError)):
            while heard:
                heard = peer.recv(65536)
            raise EOFError
    done = attack(tcpdiag, "none")
    assert done.returncode == 0, done.stderr
    shipper.stop()
    assert len(file.records()) == 151


@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGSTOP"])
def test_a_real_collector_taken_over(tcpdiag, world, file, signal_name):
    """Its control channel and memory are its only ways out: a foreign process is not reached by it."""
    import signal
    one, two = world.named("-l", "listen"), world.named("-l", "listen")
    daemon = tcpdiag.stream("--netns", one.name, "--netns", two.name, "--interval", "200ms", "--deadline", "1s",
                            "--format", "jsonl", "--sink", f"file:{file.path}")
    file.wait_for_snapshots(one.name)
    pid = daemon.collector(one.name)
    fds = {os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{pid}/fd")}
    assert not [fd for fd in fds if "memfd" in fd or fd.startswith("/run/netns")], fds
    status = open(f"/proc/{pid}/status").read()
    # At the level off it has what we have.
    mode = 2 if harness.SANDBOX != "off" else int(re.search(r"Seccomp:\t(\d)", open("/proc/self/status").read())[1])
    assert re.search(r"NoNewPrivs:\t1", status) and re.search(rf"Seccomp:\t{mode}", status)
    assert re.search(r"CapEff:\t0000000000001000\n", status), "NET_ADMIN and nothing else"
    assert not re.search(r"^Uid:\t0", status, re.M)
    os.kill(pid, getattr(signal, signal_name))
    file.wait_for_snapshots(two.name, 3)
    daemon.stop()
