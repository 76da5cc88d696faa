"""A folder of whole files: three readers see what was recorded, and nothing is lost or doubled by deaths and full disks."""
import contextlib
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import time

import chdb
import duckdb
import pyarrow
import pyarrow.dataset
import pyarrow.parquet
import pytest

from harness import ROOT, parse_jsonl, wait_for
from test_spool import AWAY, Spooler

KINDS = {name: kind for _, name, kind, *_ in (
    re.split(r", ", line[6:-1]) for line in (ROOT / "common" / "record.def").read_text().splitlines() if line.startswith("FIELD("))}
SETS = "sockets", "snapshots"


@pytest.fixture
def spooler(tcpdiag, folder):
    return Spooler(tcpdiag, folder)


@pytest.fixture
def disk(folder):
    """A disk of our own, too small for any object, until it is given more."""
    mount = folder / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k,mode=777", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", "--lazy", mount], check=True)


def files(folder, kind="sockets", ending="parquet"):
    return sorted((folder / kind).rglob(f"*.{ending}"))


def unfinished(folder):
    place = folder / "sockets" / ".unfinished"
    return list(place.iterdir()) if place.exists() else []


def identity(record):
    return record["collector_epoch"], record["record_sequence"]


def rows(folder, kind="sockets"):
    """Each row of a data set, without the nulls."""
    for path in files(folder, kind):
        yield from table_rows(path)


def table_rows(path):
    table = pyarrow.parquet.read_table(path, partitioning=None)
    at = table.column_names.index("timestamp_ns")
    assert str(table.schema.field(at).type) == "timestamp[ns, tz=UTC]"
    table = table.set_column(at, "timestamp_ns", table.column(at).cast("int64"))
    for row in table.to_pylist():
        yield {name: value for name, value in row.items() if value is not None}


def whole(folder):
    """All rows; none is in two files, and of no collector one is missing."""
    found = [row for kind in SETS for row in rows(folder, kind)]
    seen = {}
    for row in found:
        seen.setdefault(row["collector_epoch"], []).append(row["record_sequence"])
    for sequences in seen.values():
        assert sorted(sequences) == list(range(1, len(sequences) + 1))
    return found


def packed(text):
    return ipaddress.ip_address(text).packed.ljust(16, b"\0")


def as_row(record):
    """What a row has to be for a record as jsonl says it."""
    row = {}
    for name, value in record.items():
        if KINDS[name] == "ADDRESS":
            row[f"{name}_text"] = value
            value = packed(value)
        row[name] = value
    return row


def fill(spooler, namespace, batches=6):
    """A spool full of records that nobody takes, and no more of them come."""
    spooler.ship(*AWAY, "--batch-rows", "100", "--snapshot-ends", "yes")
    spooler.name(namespace)
    spooler.wait_for_batches(batches)
    spooler.namespacer.stop()
    wait_for(lambda: spooler.metrics.scrape().get("rings") == 0, 20, "the rings' end")
    spooler.shipper.stop()


def empty_into(spooler, *words):
    """What is in the spool goes into a sink."""
    spooler.ship(*words, "--snapshot-ends", "yes")
    wait_for(lambda: spooler.shipper.popen.poll() is None and not spooler.list()["batches"], 40, "an empty spool")
    metrics = spooler.balanced()
    spooler.shipper.stop()
    return metrics


def copy_of(spooler, folder):
    """The same records as jsonl, out of a copy of the spool."""
    copy = Spooler(spooler.tcpdiag, folder)
    copy.dir = folder / "spool-copy"
    shutil.copytree(spooler.dir, copy.dir)
    for path in (copy.dir, *copy.dir.rglob("*")):
        os.chown(path, spooler.dir.stat().st_uid, spooler.dir.stat().st_gid)
    empty_into(copy, "--sink", f"file:{folder}/copy.jsonl", "--format", "jsonl")
    return parse_jsonl((folder / "copy.jsonl").read_text())


def into(folder, *words):
    return "--sink", f"file:{folder}/objects/", "--object-age", "1s", *words


def test_three_readers_see_every_value(tcpdiag, world, spooler, folder):
    namespace = world.named("-l", "listen", "established:count=60,cc=cubic", "listen:family=6", "established:count=20,family=6",
                            "established:count=5,family=mapped")
    fill(spooler, namespace)
    records = copy_of(spooler, folder)
    metrics = empty_into(spooler, *into(folder, "--object-rows", "150"))
    objects = folder / "objects"
    assert metrics.get("objects_delivered_total") == len(files(objects)) + len(files(objects, "snapshots")) > 4
    assert metrics.get("objects_delivered_bytes_total") == sum(path.stat().st_size for kind in SETS for path in files(objects, kind))
    assert metrics.get("objects_delivered_bytes_total") == metrics.get("delivered_bytes_total")

    expected = {identity(record): as_row(record) for record in records}
    found = whole(objects)
    assert len(found) == len(expected) == len(records) > 500
    for row in found:
        assert row == expected[identity(row)]
    sockets = [record for record in records if record["record_kind"] == "socket"]
    assert len(list(rows(objects, "snapshots"))) == len(records) - len(sockets) > 1

    names = sorted({name for record in sockets for name in record} - {"timestamp_ns"})
    order = sorted(sockets, key=identity)
    glob, key = f"{objects}/sockets/**/*.parquet", "collector_epoch, record_sequence"
    shown = [f"{name}_text" if KINDS[name] == "ADDRESS" else name for name in names]
    read = duckdb.sql(f"select epoch_us(timestamp_ns), {', '.join(shown)} from read_parquet('{glob}', hive_partitioning = true) order by {key}")
    for row, record in zip(read.fetchall(), order, strict=True):
        assert row[0] == record["timestamp_ns"] // 1000
        assert dict(zip(names, row[1:])) == {name: record.get(name) for name in names}
    read = str(chdb.query(f"select toUnixTimestamp64Nano(timestamp_ns) as timestamp_ns, {', '.join(shown)} from file('{glob}', Parquet) "
                          f"order by {key} format JSONEachRow settings output_format_json_quote_64bit_integers = 0"))
    for line, record in zip(read.splitlines(), order, strict=True):
        row = json.loads(line)
        assert row.pop("timestamp_ns") == record["timestamp_ns"]
        assert dict(zip(names, row.values())) == {name: record.get(name) for name in names}
    # The folders' names are columns, and prune.
    select = f"select count(*) from read_parquet('{glob}', hive_partitioning = true) where date >= '2020-01-01' and hour"
    assert duckdb.sql(f"{select} >= '00'").fetchall() == [(len(sockets),)] and duckdb.sql(f"{select} > '23'").fetchall() == [(0,)]
    for path in (objects / "sockets").glob("date=*/hour=*"):
        path.rename(path.with_name("hour=" + {"hour=07": "08"}.get(path.name, "07")))
    assert duckdb.sql(f"{select} between '07' and '08'").fetchall() == [(len(sockets),)]
    assert pyarrow.dataset.dataset(objects / "sockets", partitioning="hive", exclude_invalid_files=True).count_rows() == len(sockets)


@pytest.mark.parametrize("form, ending", [("protobuf", "pb.zst"), ("jsonl", "jsonl.zst"), ("csv", "csv")])
def test_other_formats(tcpdiag, world, spooler, folder, form, ending):
    namespace = world.named("-l", "established:count=30")
    fill(spooler, namespace, 3)
    records = copy_of(spooler, folder)
    spooler.ship(*into(folder, "--format", form))
    spooler.wait_until_empty()
    spooler.shipper.stop()
    expected = [record for record in records if form != "csv" or record["record_kind"] == "socket"]
    found = []
    for kind in SETS:
        for path in files(folder / "objects", kind, ending):
            data = path.read_bytes()
            if ending.endswith(".zst"):
                data = pyarrow.input_stream(path, compression="zstd").read()
            if form == "csv":
                head, *lines = data.decode().splitlines()
                found += [dict(zip(head.split(","), line.split(","))) for line in lines]
            else:
                found += parse_jsonl((tcpdiag.decode(data) if form == "protobuf" else data).decode())
    if form == "csv":
        assert sorted(int(row["record_sequence"]) for row in found) == sorted(record["record_sequence"] for record in expected)
    else:
        assert sorted(found, key=identity) == sorted(expected, key=identity)


def test_once_into_a_folder_of_root(tcpdiag, world, folder):
    """What tcpdiag run is given is root's; the shipper writes below it all the same, and one object is made of all."""
    namespace, place = world.named("-l", "established:count=300"), folder / "root"
    place.mkdir(mode=0o700)
    tcpdiag.once("--netns", namespace.name, "--sink", f"file:{place}/")
    assert len(files(place)) == len(files(place, "snapshots")) == 1
    assert len(whole(place)) == 602 and not unfinished(place)
    assert files(place)[0].stat().st_uid == (place / "sockets").stat().st_uid != 0
    assert re.fullmatch(r"sockets/date=20\d\d-\d\d-\d\d/hour=\d\d/[\w.-]+-[0-9a-f]{16}-0000000001\.parquet", str(files(place)[0].relative_to(place)))


def test_a_folder_may_be_relative(tcpdiag, world, folder):
    namespace = world.named("-l", "listen")
    tcpdiag.once("--netns", namespace.name, "--sink", "file:here/", cwd=folder)
    assert len(whole(folder / "here")) > 1


def test_once_into_a_folder_that_is_full(tcpdiag, world, folder, disk):
    """An error of one line, and the exit code of a sink that cannot be written; also where there are many batches."""
    namespace = world.named("-l", "established:count=300")
    done = tcpdiag.run("run", "--once", "--socket", tcpdiag.socket, "--netns", namespace.name, "--sink", f"file:{disk}/", "--batch-rows", "50")
    assert done.returncode == 74
    assert len(re.findall(r"cannot be written: No space left on device", done.stderr)) == 1, done.stderr
    assert not files(disk) and not unfinished(disk)


def test_folders_that_cannot_be(tcpdiag, world, folder):
    """One clear error, and the exit code of a sink that cannot be written."""
    namespace = world.named()
    (folder / "theirs" / "sockets").mkdir(parents=True)
    for place, error in ((folder / "no" / "where", "/where/: cannot be made: No such file or directory"),
                         (folder / "theirs", "/theirs/sockets/: the shipper cannot write there as user")):
        done = tcpdiag.run("run", "--once", "--socket", tcpdiag.socket, "--netns", namespace.name, "--sink", f"file:{place}/")
        assert done.returncode == 74 and error in done.stderr, done.stderr
        assert len([line for line in done.stderr.splitlines() if "tcpdiag-shipper:" in line]) == 1
    for words, error in ((("--format", "table"), "format: table is no format of objects"),
                         (("--object-key", "{host}"), "object-key: '{host}' needs {epoch} and {sequence}")):
        done = tcpdiag.run("run", "--once", "--sink", f"file:{folder}/x/", *words)
        assert done.returncode == 64 and error in done.stderr, done.stderr


def test_a_full_disk_another_hour_and_other_settings(tcpdiag, world, spooler, folder, disk):
    """
    What cannot be written is said by its name, and has that name when it is there: although the shipper is killed, the time
    is another, objects have another size, name and format by then.
    """
    namespace = world.named("-l", "established:count=200")
    fill(spooler, namespace, 10)
    records = copy_of(spooler, folder)
    words = "--sink", f"file:{disk}/objects/", "--snapshot-ends", "yes"
    spooler.ship(*words, "--object-rows", "600", "--object-key", "{date}/{hour}{minute}{second}-{epoch}-{sequence}", "--minfree", "1GiB")
    wait_for(lambda: "and minfree is 1073741824" in spooler.shipper.log(), 20, "a disk with too little left")
    metrics = spooler.balanced()
    assert metrics.get("object_failures_total", **{"class": "no-space"}) >= 1 and metrics.get("sink_refusing") == 1
    spooler.kill()
    time.sleep(1)   # another second is another name
    spooler.ship(*words, "--object-rows", "100", "--object-key", "late-{epoch}-{sequence}")
    said = wait_for(lambda: re.findall(r"objects/: (\S+) cannot be written: No space left on device", spooler.shipper.log()), 20, "a full disk")
    spooler.kill()
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    empty_into(spooler, *words, "--object-rows", "1", "--format", "jsonl")
    objects = disk / "objects"
    old, new = files(objects), files(objects, "sockets", "jsonl.zst")
    assert [str(path.relative_to(objects)) for path in old] == said[:1] and "late-" not in said[0]
    assert len(new) > 1 and all(path.parent.name.startswith("hour=") for path in new)
    assert not unfinished(objects)
    found = [identity(row) for kind in SETS for row in rows(objects, kind)]
    for kind in SETS:
        for path in files(objects, kind, "jsonl.zst"):
            found += [identity(record) for record in parse_jsonl(pyarrow.input_stream(path, compression="zstd").read().decode())]
    assert sorted(found) == sorted(map(identity, records))


def test_killed_while_it_writes(tcpdiag, world, spooler, folder):
    """What a dead shipper left unfinished is removed by the next one, and made again under the same name."""
    namespace, objects = world.named("-l", "established:count=400"), folder / "objects"
    fill(spooler, namespace, 60)
    total = spooler.list()["records"]
    words = into(folder, "--object-rows", "1000", "--file-fsync", "yes", "--snapshot-ends", "yes")

    def killed_in_mid_file():
        spooler.shipper = tcpdiag.shipper("--spool", spooler.dir, "--spool-size", "16MiB", *words)
        end = time.monotonic() + 10
        # An empty one is only the shipper's look at whether it may write there.
        while time.monotonic() < end and not begun():
            continue
        spooler.kill()
        return begun() and unfinished(objects)

    def begun():
        with contextlib.suppress(FileNotFoundError):
            return any(path.stat().st_size > 0 for path in unfinished(objects))
        return False

    left = wait_for(killed_in_mid_file, 60, "a file that a killed shipper left unfinished")
    empty_into(spooler, *words)
    assert f"removed {len(left)} unfinished file" in spooler.shipper.log()
    assert not unfinished(objects)
    assert len(whole(objects)) == total


def test_an_open_folder_that_becomes_unwritable(tcpdiag, world, spooler, folder):
    """Said once, held, and delivered when it is writable again."""
    namespace, objects = world.named("-l", "established:count=50"), folder / "objects"
    fill(spooler, namespace, 3)
    total = spooler.list()["records"]
    spooler.command("hold")
    spooler.ship(*into(folder, "--snapshot-ends", "yes"))
    owner = (objects / "sockets").stat().st_uid
    for place in (objects / "sockets", objects / "sockets" / ".unfinished"):
        os.chown(place, 0, 0)
    spooler.command("release")
    wait_for(lambda: re.search(r"sockets/\S+ cannot be written: Permission denied; \d+ records are held, next try in", spooler.shipper.log()), 20)
    assert spooler.balanced().get("object_failures_total", **{"class": "denied"}) >= 1
    for place in (objects / "sockets", objects / "sockets" / ".unfinished"):
        os.chown(place, owner, owner)
    spooler.wait_until_empty()
    spooler.shipper.stop()
    assert len(whole(objects)) == total


def test_memory_bounds_objects_without_a_spool(tcpdiag, world, folder):
    """Half of queue-size becomes an object, and nothing is dropped for it."""
    namespace, objects = world.named("-l", "established:count=2000"), folder / "objects"
    tcpdiag.once("--netns", namespace.name, "--sink", f"file:{objects}/", "--queue-size", "1MiB", "--batch-bytes", "64KiB",
                 "--object-size", "1GiB")
    assert len(whole(objects)) == 4002 and len(files(objects)) >= 3
