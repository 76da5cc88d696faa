"""Where each microsecond of a socket goes: samples of perf, by system call in the kernel and by our source files outside of it."""
import collections
import pathlib
import re
import subprocess

from bench import Case, Result
from crowd import Namespaces, floor
from daemons import Daemons
from machine import ROOT, Failed
from report import table

SOCKETS = 100000
INTERVAL, WINDOW = 2, 5
HERTZ = 1999
COMBINATIONS = [("null", "protobuf"), ("file", "protobuf"), ("file", "jsonl")]
KERNEL = [  # what stands in a stack of the kernel, and what it is there for
    (r"netlink_(dump|recvmsg|sendmsg)|inet_diag|tcp_diag", "the kernel: the dump, and its copy to the collector"),
    (r".*sys_(write|writev|pwrite64|pwritev)$", "the kernel: writing to the file"),
    (r".*sys_(poll|ppoll|epoll_wait|epoll_pwait2?)$", "the kernel: waiting"),
    (r"exc_page_fault$", "the kernel: page faults"),
]


def files_of_symbols():
    """{function: source file} of our own code, from the objects that the programs were linked of."""
    found = {}
    for path in (ROOT / "build" / "release").glob("*/*.o"):
        listed = subprocess.run(["nm", "--defined-only", path], capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            if (words := line.split())[-2] in "tT":
                found[words[-1].split(".")[0]] = f"{path.parent.name}/{path.stem}.c"
    return found


def place_of(stack, ours):
    """What a sample's stack of (symbol, program) is accounted to."""
    symbol, program = stack[0]
    if program != "[kernel.kallsyms]":
        return ours.get(symbol.split(".")[0]) or pathlib.Path(program).name.split(".")[0]
    symbols = [name for name, where in stack if where == "[kernel.kallsyms]"]
    for pattern, what in KERNEL:
        if any(re.match(pattern, name) for name in symbols):
            return what
    return "the kernel: else"


def samples(path):
    """(pid, [(symbol, program)]) of each."""
    script = subprocess.run(["perf", "script", "-i", path, "-F", "pid,ip,sym,dso"], capture_output=True, text=True, check=True).stdout
    for block in script.split("\n\n"):
        lines = block.strip().splitlines()
        if len(lines) < 2:
            continue
        frames = [found.groups() for line in lines[1:] if (found := re.match(r"\s*[0-9a-f]+ (\S+).* \((\S+)\)$", line))]
        if frames:
            yield int(lines[0].split()[0]), frames


def record(bench, spaces, sink, form, ours):
    """({(role, place): share}, seconds of CPU of a pass)"""
    with Daemons(bench.groups, [spaces.pattern], INTERVAL if form == "protobuf" else 2 * INTERVAL, sink, form) as daemons:
        daemons.warm_up(1, 3)
        pids = {pid: role for role in ("collector", "shipper", "namespacer") for pid in daemons.find(role)}
        data = daemons.folder / "perf"
        start = daemons.group.cost()
        perf = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(HERTZ), "-g", "-o", str(data), "-p", ",".join(map(str, pids))]
        done = subprocess.run([*perf, "--", "sleep", str(WINDOW * daemons.interval)], capture_output=True, text=True, check=False)
        cost = (daemons.group.cost() - start) / WINDOW
        if done.returncode != 0:
            raise Failed(f"perf record: {done.stderr.strip()[-500:]}")
        # Only now: perf would look for the programs in the collector's mount namespace, which is empty.
        daemons.stop()
        found = collections.Counter((pids.get(pid, "ended"), place_of(stack, ours)) for pid, stack in samples(data))
    total = sum(found.values())
    return {where: count / total for where, count in found.items()}, cost.cpu


def run(bench):
    ours = files_of_symbols()
    parts = []
    with Namespaces(1) as spaces:
        spaces.crowd(bench.scaled(SOCKETS, 8))
        for sink, form in COMBINATIONS:
            sockets, least = floor(spaces.files)
            shares, cpu = record(bench, spaces, sink, form, ours)
            lines = [[role, place, f"{share * cpu / sockets * 1e6:.3f}", f"{share * 100:.1f}"]
                     for (role, place), share in sorted(shares.items(), key=lambda item: -item[1]) if share >= 0.004]
            parts += [f"`{form}` to `{sink}`: {cpu / sockets * 1e6:.2f} µs of CPU a socket, the floor just before {least.cpu / sockets * 1e6:.2f}.",
                      table(["process", "where", "µs a socket", "%"], lines)]
            bench.say(f"{form} to {sink} done")
    return Result([f"{sockets} sockets in one namespace; {HERTZ} samples a second, of the kernel by what it was called for, of our own "
                   "code by source file.", *parts])


CASE = Case("stages", "where each microsecond of a socket goes, by perf", 1.5, 0, run)
