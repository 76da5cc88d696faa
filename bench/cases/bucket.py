"""From kernel to objects: one namespace with many sockets, to a folder and to a real S3 server; and our Parquet beside pyarrow's."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from bench import Case, Result
from crowd import Namespaces, floor
from daemons import Daemons
from machine import BIN, ROOT, Failed, Group, cost_of
from report import Row, at_most, bound_table, cost_table, notes, table

# What the tests have; it is in their virtual environment, so it is asked for when the case is run.
sys.path += [str(ROOT / "tests" / "servers"), str(ROOT / "tests" / "system")]
import s3_server  # noqa: E402  (its folder is known only now)

SOCKETS, INTERVAL, WINDOWS = 100000, 3, 3
REPLACE_MS = 20     # so often a connection is closed and another one made
SNAPSHOTS = 5       # in the largest object
SMALL = [1000, 10000]
LEVELS = [1, 3]     # of pyarrow's zstd: its default, and ours


class Place:
    """A server of the tests in a control group of its own, with a bucket; and folders for a spool and for objects."""

    def __init__(self, groups):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tcpdiag-bench-s3-"))
        self.folder.chmod(0o755)
        self.server, self.group, self.runs = s3_server.Server(self.folder / "server"), Group(groups), 0

    def __enter__(self):
        self.group.__enter__()
        try:
            (self.folder / "server" / "data" / s3_server.BUCKET).mkdir(parents=True)
            self.server.start()
        except s3_server.Failed as why:
            self.__exit__()
            raise Failed(f"{why} (make bench-s3 installs all that it needs)") from None
        (self.group.path / "cgroup.procs").write_text(str(self.server.process.pid))
        for name, text in (("access", s3_server.USER), ("secret", s3_server.SECRET)):
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o644)
        return self

    def __exit__(self, *_):
        self.server.end()
        self.group.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)

    def fresh(self):
        """A folder that the shipper, which is nobody, may write to."""
        self.runs += 1
        folder = self.folder / str(self.runs)
        folder.mkdir()
        folder.chmod(0o777)
        return folder

    def spooled(self, sockets):
        """An object for each snapshot, out of a spool that need not survive a loss of power."""
        return ["--spool", self.fresh() / "spool", "--spool-size", "2GiB", "--spool-fsync", "no", "--object-rows", max(1, sockets - 5000)]

    def bucket(self):
        return ["--s3-endpoint", self.server.endpoint, "--s3-bucket", s3_server.BUCKET, "--s3-region", s3_server.REGION,
                "--s3-access-key-file", self.folder / "access", "--s3-secret-key-file", self.folder / "secret"]


def measure(bench, place, spaces, sockets, rows):
    """The server's CPU is that of the same windows, and those before them."""
    bench.measure(rows["null"], sockets, [spaces.pattern], 1, INTERVAL, WINDOWS)
    bench.measure(rows["folder"], sockets, [spaces.pattern], 1, INTERVAL, WINDOWS, sink=f"file:{place.fresh()}/", form="parquet",
                  words=place.spooled(sockets))
    before = place.group.cost()
    bench.measure(rows["s3"], sockets, [spaces.pattern], 1, INTERVAL, WINDOWS, sink="s3", form="parquet",
                  words=[*place.bucket(), *place.spooled(sockets)])
    whole = place.group.cost() - before
    rows["server"].add(whole / (whole.wall / INTERVAL), sockets)


# --- our Parquet beside pyarrow's ------------------------------------------------------

def records(bench, place, spaces):
    """A file of some snapshots."""
    with Daemons(bench.groups, [spaces.pattern], INTERVAL, "file", "protobuf") as daemons:
        daemons.warm_up(1)
        daemons.rotate()
        daemons.pass_intervals(SNAPSHOTS)
        daemons.stop()
        return shutil.copy(daemons.output, place.folder / "records.pb")


def first(source, rows, to):
    """The first so many records of a file."""
    data, at = pathlib.Path(source).read_bytes(), 0
    for _ in range(rows):
        length = shift = 0
        while True:
            byte, at = data[at], at + 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        at += length
    to.write_bytes(data[:at])
    return to


def pyarrow_writes(parquet, data, to, level):
    """Seconds of CPU; with what it has by default, and what ours has: page indexes and the size of row groups."""
    start = time.process_time()
    parquet.write_table(data, to, compression="zstd", compression_level=level, row_group_size=122880, write_page_index=True)
    return time.process_time() - start


def compare(place, source, lines, ratios):
    """A line for each writer of a file's records."""
    import pyarrow.parquet
    ours, theirs = place.folder / "ours.parquet", place.folder / "theirs.parquet"
    cost, reading = (cost_of([BIN / "tcpdiag", "decode", "--format", form, source]) for form in ("parquet", "protobuf"))
    with open(ours, "wb") as file:
        subprocess.run([BIN / "tcpdiag", "decode", "--format", "parquet", source], stdout=file, check=True)
    data = pyarrow.parquet.read_table(ours)
    rows = data.num_rows
    lines.append([f"{rows}", "ours, of records", f"{ours.stat().st_size / rows:.1f}", f"{(cost.cpu - reading.cpu) / rows * 1e6:.2f}"])
    for level in LEVELS:
        used = pyarrow_writes(pyarrow.parquet, data, theirs, level)
        if pyarrow.parquet.read_table(theirs).num_rows != rows:
            raise Failed("pyarrow did not write all rows")
        lines.append([f"{rows}", f"pyarrow {pyarrow.__version__}, zstd level {level}, of a table in memory",
                      f"{theirs.stat().st_size / rows:.1f}", f"{used / rows * 1e6:.2f}"])
        ratios.append(ours.stat().st_size / theirs.stat().st_size)


def beside_pyarrow(bench, place, spaces):
    source, lines, ratios = records(bench, place, spaces), [], []
    for rows in SMALL:
        compare(place, first(source, rows, place.folder / f"{rows}.pb"), lines, ratios)
    compare(place, source, lines, ratios)
    bound = at_most("bytes per row, ours to pyarrow's, the worst case: at most 1 ×", max(ratios), 1)
    return table(["rows", "written by", "bytes per row", "CPU per row, µs"], lines), bound


def run(bench):
    with Namespaces(1) as spaces, Place(bench.groups) as place:
        spaces.crowd(bench.scaled(SOCKETS, 8), REPLACE_MS)
        least = Row("the floor: one walk, every extension, received and thrown away")
        rows = {"null": Row("tcpdiag, `protobuf` to `null`"), "folder": Row("tcpdiag, `parquet` to a folder"),
                "s3": Row("tcpdiag, `parquet` to `s3`"), "server": Row("the server beside it")}
        for _ in bench.each_round():
            sockets, cost = floor(spaces.files)
            least.add(cost, sockets)
            measure(bench, place, spaces, sockets, rows)
        sizes, bound = beside_pyarrow(bench, place, spaces)
    measured = [least, *rows.values()]
    return Result([f"{sockets} sockets in one namespace, every {INTERVAL} s, an object for each snapshot, to a folder and to an S3 server (versitygw) on the "
                   "same machine, through a spool.  The server's CPU is no part of ours.",
                   cost_table(measured, least), *notes(measured),
                   f"Our Parquet beside pyarrow's of the same rows; the largest has {SNAPSHOTS} snapshots and more.  Our CPU is what "
                   "`tcpdiag decode` takes for `parquet` beyond what it takes for `protobuf`, with addresses and names made text; pyarrow's that of writing "
                   "columns that it has in memory.",
                   sizes, bound_table([bound])], [bound])


CASE = Case("s3", "1 namespace x 100,000 sockets to a folder and to an S3 server; Parquet beside pyarrow's", 1.5, 1.2, run, apart=True)
