"""Somebody else on the host, and containers that play tricks: each costs a counted error at most, and others are read on."""
import contextlib
import ctypes
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

import harness
from harness import BIN, PATIENCE, RecordFile, alive, wait_for
from test_kill import no_gaps
from test_metrics import Listener

MS_BIND, MNT_DETACH = 0x1000, 2


def mount(source, target):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(target), None, MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}")


def unmount(target):
    ctypes.CDLL(None).umount2(os.fsencode(target), MNT_DETACH)


class Watched:
    """The two daemons, a folder that a container can write, and an honest namespace beside."""

    def __init__(self, tcpdiag, world, folder, *words):
        self.folder = folder / "netns"
        self.folder.mkdir()
        self.honest, self.file, self.mounts = world.named("-l", "listen"), RecordFile(folder / "out.jsonl"), []
        self.shipper = tcpdiag.shipper("--format", "jsonl", "--sink", f"file:{self.file.path}", "--batch-age", "50ms")
        self.metrics = Listener(tcpdiag.socket.with_name("shipper.metrics.sock"))
        self.namespacer = tcpdiag.namespacer("--netns-folder", self.folder, "--interval", "200ms", "--netns", self.honest.name, *words)
        self.file.wait_for_snapshots(self.honest.name, 2)

    def mount(self, source, name):
        target = self.folder / name
        target.touch()
        self.mounts.append(target)
        mount(source, target)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.namespacer.pid}/fd"))

    def collectors_of_the_dead(self, name):
        """Those of namespaces that are called so, and of nameless ones in which there is no process."""
        titles = [harness.title(pid) for pid in harness.descendants(self.namespacer.pid)]
        inodes = {int(inode) for inode in re.findall(r"collector netns:(\d+)", "\n".join(titles))}
        living = set()
        for pid in harness.processes():
            with contextlib.suppress(OSError):
                living.add(os.stat(f"/proc/{pid}/ns/net").st_ino)
        return [*(inodes - living), *(one for one in titles if name in one)]

    def strangers(self):
        return self.metrics.scrape().get("namespacer_discovery_strangers_total")

    def end(self):
        """The honest one was read all the time, by the same collector."""
        self.file.wait_for_snapshots(self.honest.name, 3, 30)
        self.namespacer.stop()
        self.shipper.stop()
        mine = [record for record in self.file.records() if record["netns"] == self.honest.name]
        assert len(no_gaps(mine)) == 1


@pytest.fixture
def watched(tcpdiag, world, folder):
    made = []

    def start(*words):
        made.append(Watched(tcpdiag, world, folder, *words))
        return made[0]
    yield start
    for one in made:
        for target in one.mounts:
            unmount(target)


# --- what stands in a watched folder -----------------------------------------

def fifo(one, name):
    os.mkfifo(one.folder / name)


def link_to_a_file(one, name):
    (one.folder / name).symlink_to("/etc/passwd")


def link_to_itself(one, name):
    (one.folder / name).symlink_to(name)


def link_to_nowhere(one, name):
    (one.folder / name).symlink_to("/nowhere")


def link_to_a_terminal(one, name):
    (one.folder / name).symlink_to("/dev/ptmx")


def device(one, name):
    os.mknod(one.folder / name, 0o600 | 0o020000, os.makedev(5, 2))


def unix_socket(one, name):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(one.folder / name))


def subfolder(one, name):
    (one.folder / name).mkdir()


def another_kind(one, name):
    """A namespace, but not of the network."""
    one.mount("/proc/self/ns/uts", name)


def mounted_fifo(one, name):
    os.mkfifo(one.folder.parent / "fifo")
    one.mount(one.folder.parent / "fifo", name)


def mounted_file(one, name):
    one.mount("/etc/hostname", name)


# Who is complained about and counted; a link that leads nowhere is nobody.
TRICKS = {
    "fifo": (fifo, "strangers"),
    "mounted-fifo": (mounted_fifo, "strangers"),
    "mounted-file": (mounted_file, "strangers"),
    "link-to-a-file": (link_to_a_file, "strangers"),
    "link-to-a-terminal": (link_to_a_terminal, "strangers"),
    "link-to-itself": (link_to_itself, None),
    "link-to-nowhere": (link_to_nowhere, None),
    "device": (device, "strangers"),
    "socket": (unix_socket, "strangers"),
    "folder": (subfolder, "strangers"),
    "another-kind": (another_kind, "vanished"),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_what_is_no_namespace(watched, trick):
    """It is never opened, never waited for; it is said once and counted."""
    act, counted = TRICKS[trick]
    one = watched()
    name = harness.unique("trick")
    before = one.metrics.scrape()
    act(one, name)
    if counted:
        one.metrics.wait_for(lambda m: m.get(f"namespacer_discovery_{counted}_total") > before.get(f"namespacer_discovery_{counted}_total"), 20)
    if counted == "strangers":
        lines = [line for line in one.namespacer.log().splitlines() if name in line]
        assert len(lines) == 1 and "not a network namespace" in lines[0], lines
    one.file.wait_for_snapshots(one.honest.name, 5, 20)
    place = f"{one.folder}/{name}"
    assert place not in [os.readlink(f"/proc/{one.namespacer.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{one.namespacer.pid}/fd")]
    one.end()


def test_a_huge_folder(watched):
    """Ten thousand names that are nothing: they are looked at, and whoever is a namespace is found among them."""
    one = watched("--netns", "found-*")
    for i in range(10000):
        (one.folder / f"n{i:05}").touch()
    name = f"found-{harness.unique()}"
    one.mount(one.honest.file, f"again-{harness.unique()}")
    real = subprocess.Popen(["unshare", "--net", "sleep", "1000"], start_new_session=True)
    try:
        wait_for(lambda: os.stat(f"/proc/{real.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino, 5)
        one.mount(f"/proc/{real.pid}/ns/net", name)
        one.file.wait_for_snapshots(name, 2, 60)
    finally:
        real.kill()
        real.wait()
    wait_for(lambda: one.strangers() >= 1000, 20, "their number in the metrics")
    assert len(one.namespacer.log().splitlines()) < 200, "the log is flooded"
    one.end()


@pytest.mark.parametrize("name", ["x" * 255, "\x1b[2J\n\t\x7f", "\u202e\u0085\u2028", "\xff".encode("latin-1") * 80, "é" * 127, "-rf", "default", "..."],
                         ids=["long", "control", "unicode", "no-utf8", "wide", "option", "default", "dots"])
def test_a_name_that_is_a_trick(watched, world, name):
    """It is made valid, speaks for nobody else, and is read like any other."""
    one = watched("--netns", "*")
    name = os.fsdecode(name) if isinstance(name, bytes) else name
    namespace = harness.AnonymousNamespace(["listen"])
    world.keep(namespace)
    one.mount(namespace.file, name)

    def found():
        return {record["netns"] for record in one.file.records() if record["netns_inode"] == namespace.inode and not record["netns"].startswith("netns:")}
    names = wait_for(found, 30, f"records of {name!r}")
    assert len(names) == 1
    said = names.pop()
    assert said.isprintable() and 0 < len(said.encode()) <= 255
    assert re.sub(r"[^\x21-\x7e]", "_", name)[:4] == re.sub(r"[^\x21-\x7e]", "_", said)[:4] or name != said
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", one.namespacer.log() + one.shipper.log())
    one.end()


def test_a_folder_that_is_another_after_a_while(watched, world):
    """It goes, is a link, a FIFO, and a folder again."""
    one = watched("--netns", "late-*")
    aside = one.folder.with_name("aside")
    for replace in (lambda: one.folder.symlink_to("/etc"), lambda: os.mkfifo(one.folder), lambda: one.folder.touch()):
        one.folder.rename(aside)
        replace()
        one.file.wait_for_snapshots(one.honest.name, 3, 20)
        one.folder.unlink()
        aside.rename(one.folder)
    namespace = world.keep(harness.AnonymousNamespace(["listen"]))
    name = f"late-{harness.unique()}"
    one.mount(namespace.file, name)
    one.file.wait_for_snapshots(name, 1, 30)
    one.end()


# --- namespaces that do not stay ----------------------------------------------

def test_a_hundred_namespaces_a_second(watched):
    """
    They are made and gone at twice that rate, half of them as mounts in the watched folder: each is counted, none is left, no
    collector of one is, and nobody who stays is held up.
    """
    one, name = watched("--netns", "netns:*", "--netns", "fleeting-*", "--state", "listening"), f"fleeting-{harness.unique()}"
    before, open_files = one.metrics.scrape(), one.descriptors()
    epochs = {record["collector_epoch"] for record in one.file.records() if record["netns"] == one.honest.name}
    seconds = 5
    try:
        said = subprocess.run([BIN / "tests" / "fleeting", one.folder, name, "200", str(seconds)], capture_output=True, text=True,
                              timeout=20 * seconds * PATIENCE, check=True).stdout
    finally:
        for left in one.folder.glob(f"{name}-*"):
            unmount(left)
    made, elapsed = map(int, re.fullmatch(r"made (\d+) in (\d+) ms\n", said).groups())
    assert elapsed >= 1000 * (seconds - 1) and made >= 100 * elapsed / 1000, "too slow to be a test"
    one.file.wait_for_snapshots(one.honest.name, 3, 30)
    wait_for(lambda: not one.collectors_of_the_dead(name), 30, "the end of the collectors of the dead")
    after = one.metrics.wait_for(lambda m: m.get("namespacer_namespaces") <= before.get("namespacer_namespaces") + 10, 30, "the end of the dead")

    def grown(what):
        return after.get(f"namespacer_{what}_total") - before.get(f"namespacer_{what}_total")
    # Not each was there when somebody looked; of those that were, each has come and gone, or went while it was looked at.
    assert grown("namespaces_appeared") + grown("discovery_vanished") >= 100
    assert grown("namespaces_appeared") <= made + 10
    assert grown("collectors_started") >= 20
    assert "no more are started" not in one.namespacer.log()
    assert len(one.namespacer.log().splitlines()) < 200, "the log is flooded"
    wait_for(lambda: one.descriptors() <= open_files + 10, 20, "as few descriptors as before")
    one.end()
    # By one collector all the time, and under its own name only.
    assert {record["collector_epoch"] for record in one.file.records() if record["netns"] == one.honest.name} == epochs


def test_a_number_that_is_used_again(tcpdiag, folder):
    """A process dies and another gets its number, in another namespace: each is read under its own inode."""
    script = pathlib.Path(__file__).parents[1] / "hostile" / "reuse_pid.py"
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, script, BIN, tcpdiag.socket, folder],
                          capture_output=True, text=True, timeout=100 * PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert len(said["inodes"]) == 3 and len(set(said["pids"])) == 1
    records = RecordFile(folder / "out.jsonl").records()
    ports = {inode: {record.get("inet_diag_msg_socket_source_port") for record in records
                     if record["netns_inode"] == inode and record["record_kind"] == "socket"} for inode in said["inodes"]}
    # The kernel may give an inode again; a port tells whose socket it was.
    assert set().union(*ports.values()) == set(said["ports"])
    by_epoch = {}
    for record in records:
        if record["record_kind"] == "socket" and record["netns_inode"] in said["inodes"]:
            by_epoch.setdefault(record["collector_epoch"], set()).add(record["inet_diag_msg_socket_source_port"])
    assert all(len(seen) == 1 for seen in by_epoch.values()), by_epoch


# --- somebody else ------------------------------------------------------------

def in_the_way_file(path):
    path.write_text("mine")


def in_the_way_folder(path):
    path.mkdir()


def in_the_way_link(path):
    path.symlink_to(path.with_name("elsewhere"))
    path.with_name("elsewhere").write_text("mine")


def in_the_way_listener(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen(1)
    return listener


@pytest.mark.parametrize("what", [in_the_way_file, in_the_way_folder, in_the_way_link, in_the_way_listener])
def test_what_stands_where_the_shipper_listens(tcpdiag, what):
    """It is left alone, and named; the shipper does not start."""
    kept = what(tcpdiag.socket)
    before = os.lstat(tcpdiag.socket)
    done = tcpdiag.run("--socket", tcpdiag.socket, "--sink", "null", program="tcpdiag-shipper")
    assert done.returncode not in (0, 70) and str(tcpdiag.socket) in done.stderr, done.stderr
    assert len([line for line in done.stderr.splitlines() if "seccomp:" not in line]) == 1
    after = os.lstat(tcpdiag.socket)
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
    if kept:
        kept.close()


FORGE = """
import os, socket, struct, sys
sent = refused = 0
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
s.bind((0, 0))
own = s.getsockname()[0]
ports = [int(line.split()[2]) for line in open("/proc/net/netlink").read().splitlines()[1:] if line.split()[1] == "4"]
ports = [port for port in ports if port not in (0, own)]
for i in range(2000):
    for port in ports:
        body = struct.pack("=BBBB HH 16s16s I 2I I", 2, 1, 0, 0, 6666, 6666, bytes(16), bytes(16), 0, i, 0, 0) + bytes(16)
        for kind in (20, 3, 2):
            try:
                s.sendto(struct.pack("=IHHII", 16 + len(body), kind, 2, i, 0) + body, (port, 0))
                sent += 1
            except OSError:
                refused += 1
print(len(ports), sent, refused)
"""


def test_netlink_from_somebody_else(watched):
    """Root of a container sends answers of its own to the collector's socket: it hears the kernel alone."""
    one = watched()
    done = one.honest.run(sys.executable, "-c", FORGE).split()
    others, sent, refused = map(int, done)
    assert others >= 1, "the collector's socket is not there to be attacked"
    assert sent == 0 and refused == 2000 * 3 * others
    one.file.wait_for_snapshots(one.honest.name, 3)
    assert not [record for record in one.file.records() if record.get("inet_diag_msg_socket_source_port") == 6666]
    assert one.metrics.scrape().get("namespacer_snapshots_incomplete_total") == 0
    one.end()


def test_many_who_knock(tcpdiag, watched):
    """Others fill the shipper's backlog and go; the namespacer's connection is not touched."""
    one = watched()
    tcpdiag.socket.parent.chmod(0o777)
    knock = ("import socket, sys\nfor i in range(3000):\n    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n    s.setblocking(False)\n"
             "    try:\n        s.connect(sys.argv[1]); s.send(bytes(100))\n    except OSError:\n        pass\n    s.close()\n")
    done = tcpdiag.run("--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", knock, tcpdiag.socket, program="/usr/bin/setpriv")
    assert done.returncode == 0, done.stderr
    assert "is not the namespacer: closed" in one.shipper.log()
    assert len(one.shipper.log().splitlines()) < 200, "the log is flooded"
    assert "lost the shipper" not in one.namespacer.log()
    one.end()
