"""tcpdiag run, in its steady state."""
import collections
import json
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

from machine import BIN, Failed, Group, pss, title, wait_for

RING_MAPPING = "/memfd:"


class Daemons:
    """
    `tcpdiag run` with all that it starts, in a control group of its own.

    Snapshots come at fixed phases of the interval, so that any window of whole
    intervals holds each namespace's snapshot as often.
    """

    def __init__(self, groups, patterns, interval, sink="null", form="protobuf", words=()):
        self.group, self.interval = Group(groups), interval
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tcpdiag-bench-"))
        self.folder.chmod(0o777)  # the shipper, which is nobody, makes its socket here
        self.output = self.folder / "out"
        names = [word for pattern in patterns for word in ("--netns", pattern)]
        target = f"file:{self.output}" if sink == "file" else sink
        self.argv = list(map(str, [BIN / "tcpdiag", "run", *names, "--interval", f"{interval}s", "--sink", target,
                                   "--format", form, "--socket", self.folder / "socket", "--log-level", "info", *words]))

    def __enter__(self):
        self.group.__enter__()
        with open(self.folder / "log", "wb") as log:
            self.run = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                                        start_new_session=True, preexec_fn=self.group.enter)
        return self

    def __exit__(self, kind, *_):
        try:
            self.stop(kind is None)
        finally:
            self.group.__exit__()
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self, well=True):
        """What it says of itself at the end is in log()."""
        if self.run.poll() is None:
            self.run.send_signal(signal.SIGTERM)
        try:
            code = self.run.wait(60)
        except subprocess.TimeoutExpired:
            code = "none: it hangs"
        if well and code != 0:
            raise Failed(f"tcpdiag run ended with {code}\n{self.log()[-2000:]}")

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def find(self, role):
        return [pid for pid, name in self.group.titles().items() if re.match(rf"(tcpdiag: |\S*/?tcpdiag-){role}\b", name)]

    def wait_for_collectors(self, count, timeout=300):
        wait_for(lambda: self.running() and len(self.find("collector")) >= count, timeout, f"{count} collectors")

    def running(self):
        if self.run.poll() is not None:
            raise Failed(f"tcpdiag run has ended\n{self.log()[-2000:]}")
        return True

    def pass_intervals(self, count):
        time.sleep(count * self.interval)  # the window is what is measured
        self.running()

    def warm_up(self, namespaces, intervals=2):
        """Until all collectors are there and rings have found their sizes."""
        self.wait_for_collectors(namespaces)
        self.pass_intervals(intervals)

    def cost(self, intervals):
        """Of one interval."""
        start = self.group.cost()
        self.pass_intervals(intervals)
        return (self.group.cost() - start) / intervals

    def rotate(self):
        """A new, empty file, so that the disk does not fill."""
        if not self.output.exists():
            return
        self.output.unlink()
        self.run.send_signal(signal.SIGHUP)
        wait_for(self.output.exists, 20, "the output file's successor")

    def peak_pss(self):
        """Bytes of all processes together, sampled through one interval."""
        end, peak = time.monotonic() + self.interval, 0
        while time.monotonic() < end:
            peak = max(peak, self.group.pss())
        return peak

    def pss_by_role(self):
        """{role: bytes}"""
        found = collections.Counter()
        for pid in self.group.pids():
            words = title(pid).split()
            role = words[1].rstrip(",") if words[:1] == ["tcpdiag:"] else "run"
            found[role] += pss(pid)
        return dict(found)

    def said(self, pattern):
        """A number of the summary at the end, or None."""
        found = re.search(pattern, self.log())
        return int(found[1]) if found else None

    def complain(self):
        """What would make the figures wrong, for people; after stop()."""
        found = []
        for what, pattern in (("late", r"incomplete, (\d+) late"), ("incomplete", r"taken, (\d+) incomplete"),
                              ("crashed", r"started, (\d+) crashed")):
            if self.said(pattern):
                found.append(f"{self.said(pattern)} {what}")
        return ", ".join(found)


class Look:
    """What the records of one run say: that all was read, how, and how long it took."""

    def __init__(self, groups, patterns, namespaces, interval):
        with Daemons(groups, patterns, interval, "file", "protobuf", ["--snapshot-ends", "yes"]) as daemons:
            daemons.warm_up(namespaces)
            daemons.rotate()
            daemons.pass_intervals(2)
            daemons.stop()
            self.ends = snapshot_ends(daemons.output)
        if not self.ends:
            raise Failed("no snapshot was delivered")
        last = {end["netns"]: end for end in self.ends}
        self.namespaces = len(last)
        self.published = sum(int(end.get("snapshot_published", 0)) for end in last.values())
        self.incomplete = [end["netns"] for end in self.ends if end["snapshot_outcome"] != "complete"]
        self.wall = statistics.median(int(end["snapshot_duration_ns"]) for end in self.ends) / 1e9
        self.wall_sum = sum(int(end["snapshot_duration_ns"]) for end in last.values()) / 1e9
        self.ways = collections.Counter(end["snapshot_way"] for end in self.ends)

    def text(self):
        ways = ", ".join(f"{way} {count}" for way, count in self.ways.most_common())
        return (f"{self.namespaces} namespaces, {self.published} records in their last snapshots; ways: {ways}; "
                f"median {self.wall * 1e3:.2f} ms a snapshot"
                + (f"; INCOMPLETE: {len(self.incomplete)}" if self.incomplete else ""))


def snapshot_ends(path):
    """The records that end snapshots, of a protobuf file; the others are not even parsed."""
    found = []
    with subprocess.Popen([str(BIN / "tcpdiag"), "decode", "--format", "jsonl", str(path)], stdout=subprocess.PIPE) as decode:
        for line in decode.stdout:
            if b'"snapshot_end"' in line:
                record = json.loads(line)
                if record["record_kind"] == "snapshot_end":
                    found.append(record)
    if decode.returncode != 0:
        raise Failed(f"tcpdiag decode: exit {decode.returncode}")
    return found
