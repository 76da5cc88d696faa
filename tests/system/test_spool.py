"""Batches that wait: in the spool or in memory, through a target that is away, a full disk, and deaths of the shipper."""
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import harness
from harness import RecordFile, parse_jsonl, sockets, wait_for
from test_kill import no_gaps, whole_snapshots
from test_metrics import Listener

# A sink elsewhere that is not there: kafka, with nobody at its broker's port.
AWAY = "--sink", "kafka", "--kafka-brokers", "127.0.0.1:1", "--kafka-topic", "t"
STDOUT = "--sink", "stdout", "--format", "jsonl", "--snapshot-ends", "yes"


@pytest.fixture
def small_disk(folder):
    """A disk that is full with 1 MiB, and has room when it is told to."""
    mount = folder / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", "--lazy", mount], check=True)


class Spooler:
    """The two daemons, and the spool between them and a sink."""

    def __init__(self, tcpdiag, folder):
        self.tcpdiag, self.dir = tcpdiag, folder / "spool"
        self.metrics = Listener(folder / "shipper.metrics.sock")

    def ship(self, *words, **more):
        spool = () if "--spool" in words else ("--spool", self.dir)
        self.shipper = self.tcpdiag.shipper(*spool, "--spool-size", "16MiB", "--spool-fsync", "no", "--batch-age", "50ms", *words, **more)
        wait_for(lambda: "listening on" in self.shipper.log(), 10, "its start")
        return self.shipper

    def name(self, namespace, *words):
        """Snapshots whose rings have room for them: what is missing is then nobody's but the shipper's."""
        self.namespacer = self.tcpdiag.namespacer("--netns", namespace.name, "--interval", "300ms", "--ring-size", "512KiB", *words)

    def command(self, *words, code=0):
        done = self.tcpdiag.run("spool", "--spool", self.dir, *words)
        assert done.returncode == code, done.stderr
        return done

    def list(self):
        return json.loads(self.command("--json").stdout)

    def wait_for_batches(self, count, timeout=20):
        wait_for(lambda: len(self.list()["batches"]) >= count, timeout, f"{count} batches in the spool")
        return self.list()

    def wait_until_empty(self, timeout=40):
        wait_for(lambda: not self.list()["batches"], timeout, "an empty spool")

    def kill(self):
        self.shipper.send(signal.SIGKILL)
        self.shipper.wait()

    def balanced(self):
        metrics = self.metrics.scrape()
        metrics.assert_balanced()
        return metrics


@pytest.fixture
def spooler(tcpdiag, folder):
    return Spooler(tcpdiag, folder)


def first_arrivals_ascend(records):
    last = {}
    seen = set()
    for record in records:
        key = record["collector_epoch"], record["record_sequence"]
        if key in seen:
            continue
        seen.add(key)
        assert record["record_sequence"] > last.get(key[0], 0), "a record overtook another"
        last[key[0]] = record["record_sequence"]


def test_a_reader_that_stands_still(tcpdiag, world, spooler):
    """The rings do not wait for it; when it reads on, everything is there, in order and once."""
    namespace = world.named("-l", "established:count=200")
    reader, writer = os.pipe()
    spooler.ship(*STDOUT, stdout=writer)
    os.close(writer)
    spooler.name(namespace)
    state = spooler.wait_for_batches(5)
    oldest = state["batches"][0]
    assert oldest["records"] > 0 and oldest["bytes"] > 0 and oldest["attempts"] == 1 and oldest["netns"] == namespace.name
    assert [b["batch_sequence"] for b in state["batches"]] == list(range(oldest["batch_sequence"],
                                                                        oldest["batch_sequence"] + len(state["batches"])))
    metrics = spooler.balanced()
    assert metrics.get("records_spooled") > 1000
    assert metrics.get("rings_held_bytes") < metrics.get("rings_size_bytes") / 2, "the ring is free"
    assert metrics.sum("collector_sockets_dropped_total") == 0
    spooler.namespacer.stop()
    with os.fdopen(reader, "rb") as pipe:
        wait_for(lambda: spooler.metrics.scrape().get("rings") == 0, 20, "the rings' end")
        spooler.shipper.send(signal.SIGTERM)
        text = pipe.read()
    assert spooler.shipper.wait() == 0
    records = parse_jsonl(text.decode())
    no_gaps(records)
    first_arrivals_ascend(records)
    assert len({(r["collector_epoch"], r["record_sequence"]) for r in records}) == len(records)
    whole_snapshots(records, 401)
    assert "left in the spool" not in spooler.shipper.log()
    assert not spooler.list()["batches"]


def test_killed_while_the_target_is_full(tcpdiag, world, spooler, small_disk):
    """Three lives of the shipper, a target that takes nothing: no record is missing when it has room, and the books balance."""
    namespace, file = world.named("-l", "established:count=200"), RecordFile(small_disk / "out")
    words = "--sink", f"file:{file.path}", "--format", "jsonl"
    spooler.ship(*words)
    spooler.name(namespace)
    spooler.wait_for_batches(3)
    epoch = spooler.list()["spool_epoch"]
    for _ in range(3):
        before = len(spooler.list()["batches"])
        spooler.kill()
        spooler.ship(*words)
        wait_for(lambda before=before: len(spooler.list()["batches"]) >= before + 3, 20, "more batches in the spool")
        spooler.balanced()
    assert spooler.list()["spool_epoch"] == epoch
    subprocess.run(["mount", "-o", "remount,size=256m", small_disk], check=True)
    spooler.wait_until_empty()
    file.wait_for_snapshots(namespace.name, 2)
    spooler.namespacer.stop()
    spooler.shipper.stop()
    by_epoch = no_gaps(file.records())
    first_arrivals_ascend(file.records())
    assert len(by_epoch) == 1
    whole_snapshots(file.records(), 401)
    spooler.ship(*words)
    metrics = wait_for(spooler.balanced, 10, "the books")
    delivered = metrics.get("records_delivered_total")
    first_time = len({r["record_sequence"] for r in file.records()})
    assert delivered >= first_time and metrics.sum("records_dropped_total") == 0
    assert metrics.get("records_drained_total") == delivered + metrics.get("records_in_doubt_total")
    spooler.shipper.stop()


def test_a_spool_that_fills(tcpdiag, world, spooler):
    """The oldest batches go: what is missing is what is counted, and what the log names."""
    namespace = world.named("-l", "established:count=200")
    reader, writer = os.pipe()
    spooler.ship(*STDOUT, "--spool-size", "1MiB", "--batch-bytes", "64KiB", stdout=writer)
    os.close(writer)
    spooler.name(namespace)
    spooler.metrics.wait_for(lambda m: m.get("records_dropped_total", reason="full") > 2000, 40)
    spooler.namespacer.stop()
    wait_for(lambda: spooler.metrics.scrape().get("rings") == 0, 20, "the rings' end")
    assert spooler.dir.joinpath("spool.db").stat().st_size <= 1024 * 1024
    with os.fdopen(reader, "rb") as pipe:
        dropped = spooler.balanced().get("records_dropped_total", reason="full")
        spooler.shipper.send(signal.SIGTERM)
        text = pipe.read()
    assert spooler.shipper.wait() == 0
    numbers = sorted({r["record_sequence"] for r in parse_jsonl(text.decode())})
    assert numbers[-1] - len(numbers) == dropped, "the gap is what is counted"
    said = re.findall(r"batch(?:es)? [0-9a-f]{16}/\d+ (?:to \d+ are dropped, \d+ batches of|is dropped,) (\d+) records: there was no room",
                      spooler.shipper.log())
    assert sum(map(int, said)) == dropped, "and what the log says"


def test_a_full_disk_under_the_spool(tcpdiag, world, spooler, small_disk):
    """It cannot be reserved, which is said; what does not go in is counted; and it goes on with what there is."""
    namespace = world.named("-l", "established:count=200")
    spooler.dir = small_disk / "spool"
    reader, writer = os.pipe()
    spooler.ship(*STDOUT, "--queue-size", "1MiB", "--batch-bytes", "64KiB", stdout=writer)
    os.close(writer)
    assert wait_for(lambda: "has no room for a spool of 16777216 bytes" in spooler.shipper.log(), 10, "a warning")
    spooler.name(namespace)
    spooler.metrics.wait_for(lambda m: m.get("records_dropped_total", reason="full") > 1000, 40)
    spooler.namespacer.stop()
    wait_for(lambda: spooler.metrics.scrape().get("rings") == 0, 20, "the rings' end")
    with os.fdopen(reader, "rb") as pipe:
        dropped = spooler.balanced().get("records_dropped_total", reason="full")
        spooler.shipper.send(signal.SIGTERM)
        text = pipe.read()
    assert spooler.shipper.wait() == 0
    numbers = sorted({r["record_sequence"] for r in parse_jsonl(text.decode())})
    assert numbers[-1] - len(numbers) == dropped


def test_a_target_that_is_away(tcpdiag, world, spooler):
    """The spool fills; SIGTERM ends in time, says how much stays, and the next life has it."""
    namespace = world.named("-l", "established:count=50")
    spooler.ship(*AWAY)
    spooler.name(namespace)
    spooler.wait_for_batches(4)
    spooler.namespacer.stop()
    start = time.monotonic()
    spooler.shipper.stop()
    assert time.monotonic() - start < 8 * harness.PATIENCE
    said = re.search(r"left in the spool: (\d+) records in (\d+) batches", spooler.shipper.log())
    state = spooler.list()
    assert int(said[1]) == state["records"] > 0 and int(said[2]) == len(state["batches"])
    spooler.ship(*AWAY)
    wait_for(lambda: f"holds {said[2]} batches of {said[1]} records from before" in spooler.shipper.log(), 10, "what it found")
    spooler.shipper.stop()


def test_the_deadline_of_the_end_can_be_chosen(tcpdiag, world, spooler):
    """A reader that takes nothing is waited for that long; then it is said, and what is left too."""
    namespace = world.named("-l", "established:count=200")
    reader, writer = os.pipe()
    spooler.ship(*STDOUT, "--spool", "off", "--drain-deadline", "300ms", stdout=writer)
    os.close(writer)
    spooler.name(namespace)
    spooler.metrics.wait_for(lambda m: m.get("rings_held_bytes") > m.get("rings_size_bytes") / 2, 30)
    start = time.monotonic()
    spooler.shipper.stop()
    assert 0.3 <= time.monotonic() - start < 4 * harness.PATIENCE
    os.close(reader)
    assert "stdout did not take everything in 0.3 s" in spooler.shipper.log()
    assert re.search(r"\d+ records", spooler.shipper.log().split("did not take everything")[1])
    spooler.namespacer.stop()


def test_a_batch_that_three_shippers_died_of(tcpdiag, world, spooler):
    """What was just given to the sink each time goes to the rejects, and can be tried again; the others are not blamed."""
    namespace = world.named("-l", "established:count=20")
    spooler.ship(*AWAY)
    spooler.name(namespace)
    first = spooler.wait_for_batches(3)["batches"][0]
    spooler.namespacer.stop()
    spooler.shipper.stop()
    for _ in range(3):
        before = spooler.list()["batches"][0]["attempts"]
        spooler.ship(*AWAY)
        wait_for(lambda before=before: spooler.list()["batches"][0]["attempts"] > before, 10, "a batch with the sink")
        spooler.kill()
    spooler.ship(*AWAY)
    wait_for(lambda: spooler.list()["rejects"], 10, "a batch in rejects")
    assert spooler.list()["rejects"][0]["name"].endswith(f"-{first['batch_sequence']}.crash")
    metrics = spooler.balanced()
    assert metrics.get("records_dropped_total", reason="crash") == first["records"]
    spooler.shipper.stop()
    assert f"/{first['batch_sequence']} is dropped" in spooler.shipper.log()


def test_memory_instead_of_a_spool(tcpdiag, world, spooler):
    """What that means is said; what goes is counted; what a death costs, the next life knows."""
    namespace = world.named("-l", "established:count=500")
    words = "--spool", "off", *AWAY, "--queue-size", "1MiB", "--batch-bytes", "64KiB"
    spooler.ship(*words)
    meaning = "spool = off: what kafka has not acknowledged waits in memory, 1048576 bytes of it at most"
    wait_for(lambda: meaning in spooler.shipper.log(), 10, "what that means")
    spooler.name(namespace)
    spooler.metrics.wait_for(lambda m: m.get("records_dropped_total", reason="full") > 500, 40)
    spooler.namespacer.stop()
    wait_for(lambda: spooler.metrics.scrape().get("rings") == 0, 20, "the rings' end")
    held = spooler.balanced().get("records_held")
    assert held > 500
    spooler.kill()
    spooler.ship(*words)
    wait_for(lambda: f"{held:.0f} records are lost" in spooler.shipper.log(), 10, "the loss")
    assert spooler.balanced().get("records_dropped_total", reason="lost") == held
    spooler.shipper.stop()


def test_hold_and_release(tcpdiag, world, spooler, folder):
    """What is on hold stays in the spool; released, it all comes."""
    namespace, file = world.named("-l", "established:count=20"), RecordFile(folder / "out")
    spooler.ship("--sink", f"file:{file.path}", "--format", "jsonl")
    spooler.name(namespace)
    file.wait_for_snapshots(namespace.name, 1)
    spooler.command("hold")
    spooler.wait_for_batches(3)
    assert spooler.list()["held"]
    assert "; on hold\n" in spooler.command().stdout.decode()
    size = file.path.stat().st_size
    spooler.wait_for_batches(6)
    assert file.path.stat().st_size == size
    spooler.command("release")
    spooler.wait_until_empty()
    file.wait_for_snapshots(namespace.name, 1)
    spooler.namespacer.stop()
    spooler.shipper.stop()
    no_gaps(file.records())
    assert "on hold: nothing is given to the sink" in spooler.shipper.log() and "released" in spooler.shipper.log()


def test_rejects_can_be_tried_again(tcpdiag, world, spooler, folder):
    """A file in rejects/ (here: made of what decode takes) comes to the sink when somebody says so."""
    namespace, file = world.named("-l", "established:count=3"), RecordFile(folder / "out")
    records = tcpdiag.once("--format", "protobuf", "--netns", namespace.name)
    spooler.ship("--sink", f"file:{file.path}", "--format", "jsonl")
    wait_for(lambda: (spooler.dir / "rejects").exists(), 10, "the folder")
    owner = spooler.dir.stat()
    for name, content in (("one.invalid", records), ("two.invalid", b"this is no record")):
        path = spooler.dir / "rejects" / name
        path.write_bytes(content)
        os.chown(path, owner.st_uid, owner.st_gid)
    assert [entry["name"] for entry in sorted(spooler.list()["rejects"], key=lambda e: e["name"])] == ["one.invalid", "two.invalid"]
    assert spooler.command("requeue", "nope", code=65).stderr.endswith("No such file or directory\n")
    spooler.command("requeue", "all")
    wait_for(lambda: len(sockets(file.records())) == 7, 20, "the records")
    wait_for(lambda: not spooler.list()["requeue"], 10, "an empty folder")
    state = spooler.list()
    assert state["rejects"] == [] and [entry["name"] for entry in state["corrupt"]] == ["two.invalid"]
    metrics = spooler.balanced()
    assert metrics.get("records_requeued_total") == len(sockets(file.records())) + len(harness.ends(file.records()))
    spooler.shipper.stop()


def test_one_spool_for_one_shipper(tcpdiag, spooler, folder):
    spooler.ship("--sink", "null")
    done = tcpdiag.run("--sink", "null", "--spool", spooler.dir, "--socket", folder / "second.sock", program="tcpdiag-shipper")
    assert done.returncode == 71
    assert f"{spooler.dir}: another shipper has this spool" in done.stderr
    assert not (folder / "second.sock").exists(), "the lock comes first"
    spooler.shipper.stop()


@pytest.mark.parametrize("word, error, code", [
    ("relative", "spool: 'relative' is not off, auto or an absolute path", 64),
    ("/nowhere/at/all", "/nowhere/at/all: cannot be made: No such file or directory", 71),
])
def test_spools_that_cannot_be(tcpdiag, word, error, code):
    done = tcpdiag.run("--sink", "null", "--spool", word, "--socket", tcpdiag.socket, program="tcpdiag-shipper")
    assert done.returncode == code and error in done.stderr


def test_auto_is_where_systemd_says(tcpdiag, folder, spooler):
    """For a sink elsewhere; and none for one that is here."""
    state = folder / "state"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    environment = dict(os.environ, STATE_DIRECTORY=str(state))
    for words, expected in ((("--sink", "null"), False), (AWAY, True)):
        spooler.ship("--spool", "auto", *words, env=environment)
        spooler.shipper.stop()
        assert pathlib.Path(state / "spool" / "spool.db").exists() == expected
