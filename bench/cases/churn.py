"""Namespaces that come and go: each that lives longer than an interval is read, and nothing grows."""
import os
import re
import threading
import time

from bench import Case, Result
from crowd import Namespaces
from daemons import Daemons, snapshot_ends
from machine import memory, cpu_seconds
from report import Bound, at_most, bound_table, table

NAMESPACES, RATE = 1000, 100
INTERVAL = 5     # s: half of what each namespace lives
SAMPLES = 12


class Lives:
    """When each namespace came and went, as bench/namespaces.c says it."""

    def __init__(self, program):
        self.came, self.went, self.cookies = {}, {}, {}
        self.program = program
        for line in program.said:
            self.take(line)
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def take(self, line):
        what, name, cookie, when = line.split()
        (self.came if what == "+" else self.went)[name] = int(when) / 1e9
        self.cookies[name] = int(cookie)

    def follow(self):
        for line in self.program.popen.stdout:
            self.take(line)

    def longer_than(self, seconds, start, end):
        """Names of those that were there so long between start and end."""
        for name, came in self.came.items():
            if min(self.went.get(name, end), end) - max(came, start) > seconds:
                yield name


def fds(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def sample(daemons, start):
    namespacer, shipper = daemons.find("namespacer")[0], daemons.find("shipper")[0]
    return {"s": round(time.monotonic() - start), "processes": len(daemons.group.pids()), "descriptors: namespacer": fds(namespacer),
            "shipper": fds(shipper), "PSS, MiB": round(daemons.group.pss() / 2 ** 20, 1),
            "MemAvailable, MiB": round(memory(["MemAvailable"])["MemAvailable"] / 2 ** 20)}


def grows(samples, what, slack):
    """By how much the last third's least is above the first third's largest."""
    third = max(1, len(samples) // 3)
    return min(s[what] for s in samples[-third:]) > max(s[what] for s in samples[:third]) * slack


def discovery(daemons, seconds):
    """(scans, % of a CPU) as the namespacer says it at its end."""
    scans, milliseconds = map(int, re.search(r"(\d+) scans, (\d+) ms of CPU", daemons.log()).groups())
    return scans, milliseconds / 10 / seconds


def run(bench):
    count, rate = bench.scaled(NAMESPACES, 20), bench.scaled(RATE, 2)
    with Namespaces(count, rate) as spaces:
        lives, came = Lives(spaces.program), time.monotonic()
        with Daemons(bench.groups, [spaces.pattern], INTERVAL, "file", words=["--snapshot-ends", "yes"]) as daemons:
            born = time.monotonic()
            # Those that are there at the start are set up first.
            daemons.wait_for_collectors(count // 2)
            daemons.pass_intervals(3)
            start, samples = time.monotonic(), []
            before = cpu_seconds(daemons.find("namespacer")[0])
            while time.monotonic() - start < bench.churn:
                samples.append(sample(daemons, start))
                daemons.pass_intervals(max(bench.churn / SAMPLES, 1) / INTERVAL)
            end = time.monotonic()
            share = (cpu_seconds(daemons.find("namespacer")[0]) - before) / (end - start) * 100
            cost = daemons.group.cost()
            daemons.stop()
            read = {(e["netns"], int(e["netns_cookie"])) for e in snapshot_ends(daemons.output) if e["snapshot_outcome"] == "complete"}
            scans, scanning = discovery(daemons, time.monotonic() - born)
            complaint = daemons.complain()
    wanted = [(name, lives.cookies[name]) for name in lives.longer_than(INTERVAL, start, end)]
    missed = [who for who in wanted if who not in read]
    growing = [what for what in list(samples[0])[1:-1] if grows(samples, what, 1.1)]
    bounds = [
        Bound(f"every namespace that lived longer than an interval ({INTERVAL} s) was read",
              f"{len(wanted) - len(missed)} of {len(wanted)}", not missed and bool(wanted)),
        Bound("no descriptor, process or memory grows", ", ".join(growing) or "none", not growing),
        at_most("discovery's cost: < 1 % of a CPU (looking for namespaces and at what holds them)", scanning, 1, "%"),
    ]
    return Result([f"{count} namespaces, {rate} created and removed each second, for {end - start:.0f} s; an interval of {INTERVAL} s.  "
                   f"{len(lives.came) - count} namespaces came besides, {(len(lives.came) - count) / (end - came):.0f} a second.  {scans} scans; the namespacer, forks of collectors included, took {share:.1f} % "
                   f"of a CPU, all processes {cost.cpu / (end - born) * 100:.0f} %.  {complaint}".strip(),
                   table(list(samples[0]), [one.values() for one in samples]), bound_table(bounds)], bounds)


CASE = Case("churn", "1,000 namespaces, 100 created and removed each second", 1, 0, run)
