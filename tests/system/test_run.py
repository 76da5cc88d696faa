"""tcpdiag run as a person uses it: starts, follows what comes and goes, ends."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import harness
import witness
from harness import PATIENCE, RecordFile, alive, ends, sockets, wait_for


@pytest.fixture
def file(folder):
    return RecordFile(folder / "out.jsonl")


def stream(tcpdiag, file, *words, interval="300ms", **more):
    words = words if "--netns" in words else [*harness.OURS, *words]
    return tcpdiag.stream("--interval", interval, "--format", "jsonl", "--sink", f"file:{file.path}", *words, **more)


def snapshots(records):
    """{(epoch, sequence): {attempt: its records}}, each attempt in order."""
    found = {}
    for record in records:
        key = record["collector_epoch"], record["snapshot_sequence"]
        found.setdefault(key, {}).setdefault(record["snapshot_attempt"], []).append(record)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly(tcpdiag, world, file, number):
    """Ctrl-C ends everything, exit 0, and what was read last is in the file, whole."""
    namespace = world.named("-l", "established:count=20")
    daemon = stream(tcpdiag, file, "--netns", namespace.name)
    file.wait_for_snapshots(namespace.name, 2)
    titles = {harness.title(pid) for pid in daemon.family()}
    assert f"tcpdiag: collector {namespace.name}" in titles, titles
    daemon.stop(number)
    assert file.path.read_text() == file.text(), "a line is cut"
    for attempts in list(snapshots(file.records()).values())[:-1]:
        last = attempts[max(attempts)]
        assert ends(last)[0]["snapshot_published"] == len(sockets(last)) == 41


def test_every_snapshot_is_whole_and_consecutive(tcpdiag, world, file):
    """Within a collector's life nothing is missing between two records."""
    namespace = world.named("-l", "established:count=30,family=6", "time-wait:count=3")
    witness.settled(namespace.file)
    daemon = stream(tcpdiag, file, "--netns", namespace.name, interval="100ms")
    file.wait_for_snapshots(namespace.name, 10, 30)
    daemon.stop()
    by_epoch = {}
    for record in file.records():
        by_epoch.setdefault(record["collector_epoch"], []).append(record)
    for records in by_epoch.values():
        first = records[0]["record_sequence"]
        assert [r["record_sequence"] for r in records] == list(range(first, first + len(records)))
        taken = [end["snapshot_sequence"] for end in ends(records)]
        assert taken == list(range(taken[0], taken[0] + len(taken)))
        for end in ends(records):
            mine = [r for r in sockets(records) if r["snapshot_sequence"] == end["snapshot_sequence"]
                    and r["snapshot_attempt"] == end["snapshot_attempt"]]
            assert len(mine) == end["snapshot_published"]


def test_small_namespaces_are_spread_over_the_interval(tcpdiag, world, file):
    """Even one turn at a time: thirty phases, each its namespace's own and the same in every interval, and no half of it is without one."""
    names = [world.named("-l", "listen").name for _ in range(30)]
    daemon = stream(tcpdiag, file, *harness.OURS, "--parallel", "1", interval="2s")
    wait_for(lambda: all(len(file.ends_of(name)) >= 4 for name in names), 30, "four snapshots of each")
    daemon.stop()
    moments = {name: [end["timestamp_ns"] / 1e9 for end in file.ends_of(name)[1:4]] for name in names}
    for one, two, three in moments.values():
        assert two - one == pytest.approx(2, abs=0.4 * PATIENCE) and three - two == pytest.approx(2, abs=0.4 * PATIENCE)
    phases = sorted(end[0] % 2 for end in moments.values())
    assert max(after - before for before, after in zip(phases, phases[1:] + [phases[0] + 2])) < 1


def test_small_namespaces_share_a_turn(tcpdiag, world, file):
    """One that does not answer has a sixteenth of the only turn: the others are read on."""
    slow, *others = [world.named("-l", "listen").name for _ in range(3)]
    daemon = stream(tcpdiag, file, *harness.OURS, "--parallel", "1", "--deadline", "1m")
    for name in (slow, *others):
        file.wait_for_snapshots(name)
    os.kill(daemon.collector(slow), signal.SIGSTOP)
    for name in others:
        file.wait_for_snapshots(name, 5)
    seen = len(file.ends_of(slow))
    for name in others:
        file.wait_for_snapshots(name, 2)
    assert len(file.ends_of(slow)) == seen, "it was not stopped"
    os.kill(daemon.collector(slow), signal.SIGCONT)
    file.wait_for_snapshots(slow)
    daemon.stop()


@pytest.mark.parametrize("how", ["named", "folder", "folder-appears", "anonymous", "thread"])
def test_a_namespace_that_appears_is_read(tcpdiag, world, file, folder, how):
    """What is made during a run is read within the interval."""
    resident = world.named("-l", "listen")
    watched = folder / "netns"
    if how == "folder":
        watched.mkdir()
    daemon = stream(tcpdiag, file, *harness.OURS, *harness.NAMELESS, "--netns-folder", watched, interval="1s")
    file.wait_for_snapshots(resident.name)
    if how == "folder-appears":
        watched.mkdir()
    if how == "named":
        namespace = world.named("-l", "established")
    elif how.startswith("folder"):
        namespace = world.named("-l", "established", folder=watched)
    else:
        namespace = getattr(world, how)("established")
    start = time.monotonic()
    wait_for(lambda: any(r["netns_inode"] == namespace.inode for r in sockets(file.records())), 10,
             f"a record of {namespace.name}")
    assert time.monotonic() - start < 3 * PATIENCE
    # Who makes one lives in it before it has a name: it may be met then.
    wait_for(lambda: any(r["netns"] == namespace.name for r in sockets(file.records())), 10, f"a record by the name {namespace.name}")
    daemon.stop()
    names = {r["netns"] for r in file.records() if r["netns_inode"] == namespace.inode}
    assert names <= {namespace.name, f"netns:[{namespace.inode}]"}


def test_a_new_name_is_read_before_the_next_poll(tcpdiag, world, file):
    """A bind mount wakes the namespacer: nobody waits a minute for it."""
    resident = world.named("-l", "listen")
    daemon = stream(tcpdiag, file, interval="1m")
    file.wait_for_snapshots(resident.name)
    namespace = world.named("-l", "listen")
    file.wait_for_snapshots(namespace.name, 1, 10)
    daemon.stop()


def test_a_file_that_becomes_a_namespace(tcpdiag, world, file, folder):
    """The file may stand there before something is mounted over it: the mount wakes the namespacer."""
    watched = folder / "netns"
    watched.mkdir()
    daemon = stream(tcpdiag, file, "--netns", "late", *harness.OURS, "--netns-folder", watched, interval="1m")
    file.wait_for_snapshots(world.named("-l", "listen", folder=watched).name)
    (watched / "late").touch()
    file.wait_for_snapshots(world.named("-l", "listen", folder=watched).name)  # so the file was looked at
    namespace = world.named("-l", "listen", folder=watched, name="late")
    file.wait_for_snapshots(namespace.name, 1, 10)
    daemon.stop()


def device_exists(namespace, name):
    return name in namespace.run("ip", "-o", "link")


# "no-list": as on a kernel before 6.8, which does not list mounts.
@pytest.mark.parametrize("how", ["named", "no-list", "folder", "anonymous", "thread"])
def test_a_deleted_namespace_goes_within_a_second(tcpdiag, world, file, folder, how):
    """Its collector does not hold it: the far end of its veth vanishes, and the collector ends."""
    watched = folder / "netns"
    watched.mkdir()
    outside = world.named("-l", "listen")
    if how in ("named", "no-list"):
        inside = world.named()
    elif how == "folder":
        inside = world.named(folder=watched)
    else:
        inside = getattr(world, how)()
    veth = world.veth(inside, outside)
    daemon = stream(tcpdiag, file, *harness.OURS, *harness.NAMELESS, "--netns-folder", watched, interval="1s",
                    env=harness.weakened("listmount") if how == "no-list" else None)
    file.wait_for_snapshots(inside.name)
    file.wait_for_snapshots(outside.name)
    collector = daemon.collector(inside.name)
    assert collector and device_exists(outside, veth)
    inside.delete()
    start = time.monotonic()
    wait_for(lambda: not device_exists(outside, veth), 10, f"the end of {veth}")
    gone = time.monotonic() - start
    wait_for(lambda: not alive(collector), 10, "the end of the collector")
    ended = time.monotonic() - start
    file.wait_for_snapshots(outside.name, 2)
    daemon.stop()
    assert gone < 1.5 * PATIENCE and ended < 1.5 * PATIENCE, f"device after {gone:.2f} s, collector after {ended:.2f} s"


@contextlib.contextmanager
def covered(place, by):
    subprocess.run(["mount", "--bind", by, place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_covered_name_is_another_namespace(tcpdiag, world, file):
    """A mount over a name hides what it led to, which is read again when the mount is taken away."""
    hidden, other = world.named(), world.named("-l", "listen")
    daemon = stream(tcpdiag, file)
    for namespace in hidden, other:
        file.wait_for_snapshots(namespace.name)
    with covered(hidden.file, other.file):
        wait_for(lambda: daemon.collector(hidden.name) is None, 10, f"the end of {hidden.name}'s collector")
        file.wait_for_snapshots(other.name, 2)
    file.wait_for_snapshots(hidden.name, 2, 10)
    daemon.stop()


def test_a_name_goes_but_the_namespace_lives(tcpdiag, world, file):
    """A namespace that somebody still lives in is read on when its name is gone."""
    namespace = world.named("-l", "established")
    daemon = stream(tcpdiag, file, *harness.OURS, *harness.NAMELESS)
    file.wait_for_snapshots(namespace.name)
    namespace.file = pathlib.Path(f"/proc/{namespace.holders[0].pid}/ns/net")
    namespace.unname()
    count = len(file.records())
    wait_for(lambda: sum(r["netns_inode"] == namespace.inode for r in ends(file.records()[count:])) > 3, 15,
             "snapshots of the nameless namespace")
    daemon.stop()


def test_namespaces_come_and_go(tcpdiag, world, file):
    """A storm of short-lived namespaces disturbs nobody and leaves nothing behind."""
    resident = world.named("-l", "listen:count=21")
    daemon = stream(tcpdiag, file, *harness.OURS, *harness.NAMELESS, interval="200ms")
    file.wait_for_snapshots(resident.name)
    pids = daemon.find("namespacer") + daemon.find("shipper")
    before = {pid: harness.memory_files(pid) for pid in pids}
    nameless = []
    for _ in range(5):
        made = [world.named("-l", "listen") for _ in range(4)] + [world.anonymous("listen") for _ in range(2)]
        file.wait_for_snapshots(made[0].name)
        nameless += [namespace.name for namespace in made[4:]]
        for namespace in made:
            namespace.delete()
            world.namespaces.remove(namespace)
    ours = re.compile(f" ({harness.RUN}-\\S*|{'|'.join(re.escape(name) for name in nameless)})$")
    wait_for(lambda: [title for title in titles(daemon) if ours.search(title)] == [f"tcpdiag: collector {resident.name}"],
             10, "the end of their collectors")
    file.wait_for_snapshots(resident.name, 2)
    extra = 3 * len([title for title in titles(daemon) if not ours.search(title)])  # another's nameless ones, if any
    wait_for(lambda: all(harness.memory_files(pid) <= before[pid] + extra for pid in pids), 10,
             f"the release of the rings: {before} before, now { {pid: harness.memory_files(pid) for pid in pids} }")
    daemon.stop()
    for attempts in list(snapshots(r for r in file.records() if r["netns"] == resident.name).values())[:-1]:
        assert len(sockets(attempts[max(attempts)])) == 21


def titles(daemon):
    return [harness.title(pid) for pid in daemon.find("collector")]


def test_its_own_namespaces_are_not_discovered(tcpdiag, world, file):
    """The empty namespace of the collectors is nobody's, and in no output."""
    namespace = world.named("-l", "listen")
    daemon = stream(tcpdiag, file, *harness.OURS, *harness.NAMELESS, interval="200ms")
    file.wait_for_snapshots(namespace.name, 3)
    own = {os.stat(f"/proc/{pid}/ns/net").st_ino for pid in daemon.find("collector")}
    assert len(own) == 1 and not own & {namespace.inode, os.stat("/proc/self/ns/net").st_ino}
    daemon.stop()
    assert not own & {record["netns_inode"] for record in file.records()}


def test_two_runs_beside_one_another(tcpdiag, world, folder):
    """Two of them share a host without sharing anything else."""
    namespace = world.named("-l", "established:count=5")
    files = [RecordFile(folder / name) for name in ("a", "b")]
    daemons = [tcpdiag.start("run", "--socket", folder / f"{number}.sock", "--netns", namespace.name, "--interval", "200ms",
                             "--format", "jsonl", "--sink", f"file:{file.path}") for number, file in enumerate(files)]
    for file in files:
        file.wait_for_snapshots(namespace.name, 3)
    daemons[0].stop()
    files[1].wait_for_snapshots(namespace.name, 3)
    daemons[1].stop()
    epochs = [{record["collector_epoch"] for record in file.records()} for file in files]
    assert not epochs[0] & epochs[1]
    for file in files:
        for attempts in list(snapshots(file.records()).values())[:-1]:
            assert len(sockets(attempts[max(attempts)])) == 11


def test_once_beside_a_run(tcpdiag, world, folder, file):
    """Somebody may look while the daemon runs; the socket it is told is in use is named."""
    namespace = world.named("-l", "listen:count=2")
    daemon = stream(tcpdiag, file, "--netns", namespace.name)
    file.wait_for_snapshots(namespace.name)
    done = tcpdiag.run("run", "--once", "--socket", folder / "other.sock", "--netns", namespace.name, "--format", "jsonl")
    assert done.returncode == 0 and len(harness.parse_jsonl(done.stdout.decode())) == 2
    file.wait_for_snapshots(namespace.name, 2)
    daemon.stop()
