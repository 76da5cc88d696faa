"""Any process may be killed at any moment: the rest goes on, and nothing stays behind."""
import os
import signal

import pytest

import harness
import witness
from harness import RecordFile, alive, ends, sockets, wait_for


@pytest.fixture
def file(folder):
    return RecordFile(folder / "out.jsonl")


@pytest.fixture
def pair(tcpdiag, file):
    """The two daemons by hand: what systemd would start."""
    class Pair:
        def ship(self, age="100ms"):
            self.shipper = tcpdiag.shipper("--format", "jsonl", "--sink", f"file:{file.path}", "--batch-age", age)

        def name(self, *words):
            self.namespacer = tcpdiag.namespacer("--interval", "200ms", *words)
    return Pair()


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), 5, f"the end of {pid}")


def no_gaps(records):
    """First arrivals ascend by one within each collector's life; repeats may follow."""
    by_epoch = {}
    for record in records:
        by_epoch.setdefault(record["collector_epoch"], []).append(record)
    for epoch, mine in by_epoch.items():
        first = list(dict.fromkeys(record["record_sequence"] for record in mine))
        assert first == list(range(first[0], first[0] + len(first))), f"gap in {epoch}: {first[:5]}...{first[-5:]}"
        taken = sorted({end["snapshot_sequence"] for end in ends(mine)})
        assert not taken or taken == list(range(taken[0], taken[0] + len(taken)))
    return by_epoch


def whole_snapshots(records, count=None):
    """Every snapshot that has ended has all its sockets; and so many, if count says it."""
    by_key = {}
    for record in records:
        key = record["collector_epoch"], record["snapshot_sequence"], record["snapshot_attempt"]
        by_key.setdefault(key, {})[record["record_sequence"]] = record
    done = [list(snapshot.values()) for snapshot in by_key.values() if ends(snapshot.values())]
    assert done
    for snapshot in done:
        assert len(sockets(snapshot)) == ends(snapshot)[0]["snapshot_published"]
        assert count in (None, len(sockets(snapshot)))
    return done


# --- a collector -------------------------------------------------------------

def test_collector_killed(tcpdiag, world, file):
    """It is replaced at once by a new life; its neighbour does not notice."""
    one, two = world.named("-l", "established:count=10"), world.named("-l", "established:count=10")
    daemon = tcpdiag.stream("--netns", one.name, "--netns", two.name, "--interval", "300ms", "--format", "jsonl",
                            "--sink", f"file:{file.path}")
    for _ in range(3):
        file.wait_for_snapshots(one.name)
        file.wait_for_snapshots(two.name)
        victim = daemon.collector(one.name)
        kill(victim)
        wait_for(lambda: daemon.collector(one.name) not in (None, victim), 10, "a new collector")
    file.wait_for_snapshots(one.name, 2)
    file.wait_for_snapshots(two.name, 2)
    daemon.stop()
    records = file.records()
    lives = {name: {r["collector_epoch"] for r in records if r["netns"] == name} for name in (one.name, two.name)}
    assert len(lives[one.name]) == 4 and len(lives[two.name]) == 1
    whole_snapshots(records, 21)
    lines = [line for line in daemon.log().splitlines() if one.name in line and "9" in line]
    assert 3 <= len(lines) <= 6, daemon.log()


def test_collector_killed_in_mid_dump(tcpdiag, world, file):
    """What it had published arrives; the namespace is read again, whole, by the next life."""
    stem = harness.unique("m")
    resident = world.named("-l", "listen", name=f"{stem}.resident")
    daemon = tcpdiag.stream("--netns", f"{stem}.*", "--interval", "10s", "--ring-size", "64KiB", "--ring-limit", "64KiB",
                            "--format", "jsonl", "--sink", f"file:{file.path}")
    file.wait_for_snapshots(resident.name)
    shipper, = daemon.find("shipper")
    os.kill(shipper, signal.SIGSTOP)
    try:
        big = world.named(name=f"{stem}.big", folder=harness.NETNS_FOLDER)
        big.hold("established:count=1000")
        victim = wait_for(lambda: daemon.collector(big.name), 10, "a collector")
        harness.wait_until_ring_is_full(victim)
        kill(victim)
    finally:
        os.kill(shipper, signal.SIGCONT)
    wait_for(lambda: daemon.collector(big.name) not in (None, victim), 10, "a new collector")
    file.wait_for_snapshots(big.name, 1, 40)
    daemon.stop()
    by_epoch = no_gaps([record for record in file.records() if record["netns"] == big.name])
    first, *others = by_epoch.values()
    cut = [r for r in first if r["snapshot_sequence"] == first[-1]["snapshot_sequence"]]
    assert first[-1]["record_kind"] == "socket" and 20 < len(cut) < 2000, "it was not killed in mid-dump"
    assert others
    for snapshot in whole_snapshots([r for records in others for r in records]):
        assert len(sockets(snapshot)) == 2001


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGSTOP])
def test_collector_that_ends_otherwise(tcpdiag, world, file, number):
    """However it goes, or if it stands still for ever, others go on and it is replaced."""
    namespace, other = world.named("-l", "listen"), world.named("-l", "listen")
    daemon = tcpdiag.stream("--netns", namespace.name, "--netns", other.name, "--interval", "300ms", "--deadline", "1s",
                            "--format", "jsonl", "--sink", f"file:{file.path}")
    file.wait_for_snapshots(namespace.name)
    victim = daemon.collector(namespace.name)
    os.kill(victim, number)
    file.wait_for_snapshots(other.name, 3)
    wait_for(lambda: not alive(victim), 30, "the end of the collector")
    file.wait_for_snapshots(namespace.name, 2, 30)
    daemon.stop()
    if number == signal.SIGSEGV:
        tcpdiag.daemons.remove(daemon)  # what a sanitizer reports of it is no failure here: test_sandbox.py::test_a_fault_is_told


# --- the shipper -------------------------------------------------------------

def test_shipper_killed_and_restarted(tcpdiag, world, file, pair):
    """The rings keep what nobody has written: no snapshot is lost, and the file is whole."""
    namespace = world.named("-l", "established:count=20")
    pair.ship("1s")
    pair.name("--netns", namespace.name)
    for _ in range(3):
        file.wait_for_snapshots(namespace.name, 2)
        harness.wait_until_it_woke(pair.shipper.pid, 4)  # it has taken some that are in no file yet
        pair.shipper.send(signal.SIGKILL)
        pair.shipper.wait()
        pair.ship("1s")
    file.wait_for_snapshots(namespace.name, 3, 30)
    pair.namespacer.stop()
    pair.shipper.stop()
    assert file.path.read_text() == file.text()
    by_epoch = no_gaps(file.records())
    assert len(by_epoch) == 1, "the collector lives on without the shipper"
    whole_snapshots(file.records(), 41)


def test_a_cut_file_is_whole_again(tcpdiag, world, folder):
    """Half a record at the end of the file, as a kill or a power cut leaves it, is cut off and said."""
    namespace, path = world.named("-l", "established:count=5"), folder / "out"
    words = "--netns", namespace.name, "--interval", "200ms", "--format", "protobuf", "--sink", f"file:{path}"
    daemon = tcpdiag.stream(*words)
    wait_for(lambda: path.exists() and path.stat().st_size > 5000, 15, "records")
    for pid in daemon.find("shipper"):
        os.kill(pid, signal.SIGKILL)
    daemon.wait()
    daemon.gone()
    good = path.read_bytes()
    whole = len(harness.parse_jsonl(tcpdiag.decode(good).decode()))
    path.write_bytes(good + good[:100])
    daemon = tcpdiag.stream(*words)
    wait_for(lambda: path.stat().st_size > len(good) + 5000, 15, "more records")
    daemon.stop()
    records = harness.parse_jsonl(tcpdiag.decode(path.read_bytes()).decode())
    assert len(records) > whole + 10
    assert path.read_bytes().startswith(good)
    assert any(str(path) in line and "100" in line for line in daemon.log().splitlines()), daemon.log()


def test_shipper_away_for_a_while(tcpdiag, world, file, pair):
    """The namespacer starts first and waits; a collector that ends meanwhile is still delivered."""
    namespace = world.named("-l", "established:count=5")
    pair.name("--netns", namespace.name)
    wait_for(lambda: "shipper" in pair.namespacer.log(), 10, "a line that there is no shipper")
    pair.ship()
    file.wait_for_snapshots(namespace.name)
    victim = pair.namespacer.collector(namespace.name)
    pair.shipper.send(signal.SIGKILL)
    pair.shipper.wait()
    kill(victim)
    wait_for(lambda: pair.namespacer.collector(namespace.name) not in (None, victim), 10, "a new collector")
    pair.ship()
    file.wait_for_snapshots(namespace.name, 2, 30)
    pair.namespacer.stop()
    pair.shipper.stop()
    assert len(no_gaps(file.records())) == 2
    whole_snapshots(file.records(), 11)


# --- the namespacer ----------------------------------------------------------

def test_namespacer_killed_and_restarted(tcpdiag, world, file, pair):
    """Its collectors end with it; the shipper lives, delivers what they left, and takes the next."""
    namespace = world.named("-l", "established:count=10")
    pair.ship()
    for life in range(3):
        pair.name("--netns", namespace.name)
        file.wait_for_snapshots(namespace.name, 2, 30)
        collector = pair.namespacer.collector(namespace.name)
        pair.namespacer.send(signal.SIGKILL)
        pair.namespacer.wait()
        wait_for(lambda: not alive(collector), 5, "the end of its collector")
        pair.namespacer.gone()
        assert alive(pair.shipper.pid)
    wait_for(lambda: not harness.memory_files(pair.shipper.pid), 10, "the release of its rings")
    pair.shipper.stop()
    assert len(no_gaps(file.records())) == 3
    whole_snapshots(file.records(), 21)


def test_namespace_goes_when_everything_is_killed(tcpdiag, world, file):
    """What was killed holds no namespace: the far end of a veth vanishes."""
    inside, outside = world.named(), world.named("-l", "listen")
    veth = world.veth(inside, outside)
    daemon = tcpdiag.stream("--netns", inside.name, "--interval", "300ms", "--format", "jsonl", "--sink", f"file:{file.path}")
    file.wait_for_snapshots(inside.name)
    daemon.send(signal.SIGKILL)
    daemon.wait()
    daemon.gone()
    inside.delete()
    wait_for(lambda: veth not in outside.run("ip", "-o", "link"), 5, "the end of the veth")


@pytest.mark.parametrize("role", ["run", "namespacer", "shipper"])
def test_run_ends_when_one_of_it_is_killed(tcpdiag, world, file, role):
    """tcpdiag run with a dead part does not pretend to work, and leaves nobody."""
    namespace = world.named("-l", "established:count=5")
    daemon = tcpdiag.stream("--netns", namespace.name, "--interval", "200ms", "--format", "jsonl",
                            "--sink", f"file:{file.path}")
    file.wait_for_snapshots(namespace.name)
    pid = daemon.pid if role == "run" else daemon.find(role)[0]
    os.kill(pid, signal.SIGKILL)
    code = daemon.wait()
    daemon.gone(5)
    assert code != 0
    if role != "run":
        assert role in daemon.log(), daemon.log()
    assert file.path.read_text() == file.text() or role == "shipper"
    after = RecordFile(file.path)
    again = tcpdiag.stream("--netns", namespace.name, "--interval", "200ms", "--format", "jsonl",
                           "--sink", f"file:{file.path}")
    after.wait_for_snapshots(namespace.name, 2)
    again.stop()
    whole_snapshots(after.records(), 11)


def test_random_kills(tcpdiag, world, file, pair):
    """Ten kills of whoever comes, and after each the records go on."""
    import random
    dice = random.Random(4711)
    namespace = world.named("-l", "established:count=50")
    pair.ship()
    pair.name("--netns", namespace.name)
    for _ in range(10):
        file.wait_for_snapshots(namespace.name, 1, 30)
        victim = dice.choice(["collector", "shipper", "namespacer"])
        if victim == "collector":
            collector = pair.namespacer.collector(namespace.name)
            if collector:
                kill(collector)
        elif victim == "shipper":
            pair.shipper.send(signal.SIGKILL)
            pair.shipper.wait()
            pair.ship()
        else:
            pair.namespacer.send(signal.SIGKILL)
            pair.namespacer.wait()
            pair.namespacer.gone()
            pair.name("--netns", namespace.name)
    file.wait_for_snapshots(namespace.name, 2, 30)
    pair.namespacer.stop()
    pair.shipper.stop()
    no_gaps(file.records())
    whole_snapshots(file.records(), 101)
