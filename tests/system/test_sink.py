"""Where records go: files that fill, move and come back; pipes that close."""
import json
import os
import signal
import subprocess

import pytest

import harness
from harness import RecordFile, ends, sockets, wait_for


def run(tcpdiag, namespace, path, *words, form="jsonl"):
    return tcpdiag.stream("--netns", namespace.name, "--interval", "200ms", "--format", form,
                          "--sink", f"file:{path}", *words)


def test_a_rotated_file_is_let_go_at_sighup(tcpdiag, world, folder):
    """After SIGHUP the old file stands still, the new one has whole records, and none is lost between."""
    namespace, old, new = world.named("-l", "established:count=5"), RecordFile(folder / "out.1"), RecordFile(folder / "out")
    daemon = run(tcpdiag, namespace, new.path)
    new.wait_for_snapshots(namespace.name, 2)
    new.path.rename(old.path)
    old.wait_for_snapshots(namespace.name, 1)
    daemon.send(signal.SIGHUP)
    new.wait_for_snapshots(namespace.name, 3)
    daemon.stop()
    assert old.path.read_text() == old.text() and new.path.read_text() == new.text()
    records = old.records() + new.records()
    for epoch in {record["collector_epoch"] for record in records}:
        numbers = [r["record_sequence"] for r in records if r["collector_epoch"] == epoch]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_sighup_in_a_folder_without_rights_for_the_shipper(tcpdiag, world, folder):
    """tcpdiag run opens the file with its caller's rights, at the start and again."""
    private = folder / "private"
    private.mkdir(mode=0o700)
    namespace, file = world.named("-l", "listen"), RecordFile(private / "out")
    daemon = run(tcpdiag, namespace, file.path)
    file.wait_for_snapshots(namespace.name, 1)
    file.path.rename(private / "out.1")
    daemon.send(signal.SIGHUP)
    file.wait_for_snapshots(namespace.name, 1)
    daemon.stop()


def test_a_link_in_place_of_the_file(tcpdiag, world, folder):
    """
    In a folder of the shipper's user, a shipper that was taken over leaves a link to a file that only the caller may write: tcpdiag
    run does not open that for it.  A link of the caller's own is followed.
    """
    mine, secret, linked = folder / "mine", folder / "secret", folder / "linked"
    mine.mkdir()
    os.chown(mine, 60642, 60642)
    secret.write_text("root's")
    secret.chmod(0o600)
    namespace, file = world.named("-l", "listen"), RecordFile(mine / "out")
    daemon = run(tcpdiag, namespace, file.path)
    file.wait_for_snapshots(namespace.name, 1)
    file.path.rename(mine / "out.1")
    file.path.symlink_to(secret)
    os.lchown(file.path, 60642, 60642)
    daemon.send(signal.SIGHUP)
    wait_for(lambda: f"{file.path} is a link of another user's, which is not followed" in daemon.log(), 10)
    RecordFile(mine / "out.1").wait_for_snapshots(namespace.name, 2)
    assert secret.read_text() == "root's"
    file.path.unlink()
    file.path.symlink_to(linked)
    daemon.send(signal.SIGHUP)
    RecordFile(linked).wait_for_snapshots(namespace.name, 2)
    daemon.stop()


@pytest.mark.parametrize("form, delimiter", [("csv", ","), ("tsv", "\t")])
def test_a_header_for_each_new_file(tcpdiag, world, folder, form, delimiter):
    """Each file has its header once: a new one gets one, a continued one no second."""
    namespace, path = world.named("-l", "listen"), folder / "out"
    words = "--columns", "netns,inet_diag_msg_state"
    head = delimiter.join(["netns", "inet_diag_msg_state"])
    for _ in range(2):
        daemon = run(tcpdiag, namespace, path, *words, form=form)
        size = path.stat().st_size if path.exists() else 0
        wait_for(lambda: path.exists() and path.stat().st_size > size + 60, 15, "rows")
        daemon.stop()
    assert path.read_text().splitlines().count(head) == 1
    path.rename(folder / "out.1")
    daemon = run(tcpdiag, namespace, path, *words, form=form)
    wait_for(lambda: path.exists() and path.stat().st_size > 60, 15, "rows")
    path.rename(folder / "out.2")
    daemon.send(signal.SIGHUP)
    wait_for(lambda: path.exists() and path.stat().st_size > 60, 15, "rows")
    daemon.stop()
    for name in ("out", "out.2"):
        assert (folder / name).read_text().splitlines()[0] == head
        assert (folder / name).read_text().splitlines().count(head) == 1


@pytest.fixture
def small_disk(folder):
    mount = folder / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", "--lazy", mount], check=True)


@pytest.mark.parametrize("form", ["jsonl", "protobuf"])
def test_full_disk(tcpdiag, world, small_disk, form):
    """The error names the file; the file holds whole records only; when there is room it goes on."""
    namespace, path = world.named("-l", "established:count=100"), small_disk / "out"
    daemon = run(tcpdiag, namespace, path, form=form)

    def whole():
        """The file's records, or None: what does not fit is tried, and taken back."""
        data = path.read_bytes()
        if form == "jsonl":
            return harness.parse_jsonl(data.decode()) if data.endswith(b"\n") else None
        done = tcpdiag.run("decode", "--format", "jsonl", "-", input=data)
        return harness.parse_jsonl(done.stdout.decode()) if done.returncode == 0 else None

    wait_for(lambda: any(str(path) in line and "No space left" in line for line in daemon.log().splitlines()), 20,
             "an error about the file")
    full = path.stat().st_size
    assert len(wait_for(whole, 10, "whole records and nothing else")) > 100
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    wait_for(lambda: path.stat().st_size > full + 500000, 60, "more records")
    daemon.stop()
    records, by_key = whole(), {}
    for record in records:
        by_key.setdefault((record["collector_epoch"], record["snapshot_sequence"]), []).append(record)
    done = [snapshot for snapshot in by_key.values() if ends(snapshot)]
    assert all(len(sockets(snapshot)) == ends(snapshot)[0]["snapshot_published"] for snapshot in done)
    assert ends(done[0])[0]["snapshot_outcome"] == ends(done[-1])[0]["snapshot_outcome"] == "complete"
    seen = {(r["collector_epoch"], r["record_sequence"]) for r in records}
    for epoch in {epoch for epoch, _ in seen}:
        numbers = sorted(number for e, number in seen if e == epoch)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a full disk loses nothing that waited"


def test_once_on_a_full_disk(tcpdiag, world, small_disk):
    """--once does not hang for room that never comes: it says so and fails."""
    namespace, path = world.named("-l", "established:count=1000"), small_disk / "out"
    done = tcpdiag.run("run", "--once", "--socket", tcpdiag.socket, "--netns", namespace.name, "--format", "jsonl",
                       "--sink", f"file:{path}", timeout=60)
    assert done.returncode == 74, f"exit {done.returncode}\n{done.stderr}"
    assert str(path) in done.stderr
    assert path.read_bytes().endswith(b"\n") or not path.stat().st_size
    harness.parse_jsonl(path.read_text())


@pytest.mark.parametrize("once", [True, False])
def test_closed_pipe(tcpdiag, world, once):
    """tcpdiag run | head -1: the reader has gone, everything ends, and no signal kills it."""
    namespace = world.named("-l", "established:count=2000")
    words = ["run", *(["--once"] if once else []), "--interval", "200ms", "--format", "jsonl", "--netns", namespace.name]
    reader, writer = os.pipe()
    daemon = tcpdiag.start(*words, "--socket", tcpdiag.socket, stdout=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert json.loads(pipe.readline())["netns"] == namespace.name
    code = daemon.wait(30)
    assert code == 74, f"exit {code}\n{daemon.log()}"
    assert "stdout: nobody reads it any more" in daemon.log()
    daemon.gone()


def test_slow_reader_loses_nothing(tcpdiag, world):
    """A pipe that is not read holds the snapshot up; read later, it is all there."""
    namespace = world.named("-l", "established:count=3000")
    reader, writer = os.pipe()
    daemon = tcpdiag.start("run", "--once", "--format", "jsonl", "--netns", namespace.name, "--socket", tcpdiag.socket,
                           "--batch-bytes", "64KiB", stdout=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        first = pipe.readline()
        collector = wait_for(lambda: daemon.collector(namespace.name), 10, "a collector")
        harness.wait_until_ring_is_full(collector)
        text = first + pipe.read()
    assert daemon.wait(30) == 0, daemon.log()
    assert len(harness.parse_jsonl(text.decode())) == 6001


def test_stderr_and_null(tcpdiag, world):
    namespace = world.named("-l", "listen:count=2")
    words = "run", "--once", "--socket", tcpdiag.socket, "--netns", namespace.name
    done = tcpdiag.run(*words, "--format", "jsonl", "--sink", "stderr")
    assert done.returncode == 0 and done.stdout == b""
    assert len([line for line in done.stderr.splitlines() if line.startswith("{")]) == 2
    done = tcpdiag.run(*words, "--sink", "null")
    assert done.returncode == 0 and done.stdout == b""
