"""What the kernel says that processes cost: CPU by their control group, memory by /proc."""
import contextlib
import ctypes
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(os.environ.get("TCPDIAG_BIN", ROOT / "build"))
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A case could not be run: the reason is for people."""


def die_with_parent():
    """In a child: what we started ends with us, however we went."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def wait_for(condition, timeout, what):
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise Failed(f"not within {timeout} s: {what}")
        time.sleep(0.02)
    return value


def read(path):
    """Its text, or nothing when the process is gone."""
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def memory(fields):
    """{field of /proc/meminfo: bytes}"""
    text = read("/proc/meminfo")
    return {name: field(text, name) for name in fields}


# --- CPU ---------------------------------------------------------------------

@dataclasses.dataclass
class Cost:
    """Seconds of CPU and of wall time, and voluntary switches."""
    cpu: float = 0
    user: float = 0
    system: float = 0
    wall: float = 0
    switches: int = 0

    def __sub__(self, other):
        return Cost(*(mine - its for mine, its in zip(dataclasses.astuple(self), dataclasses.astuple(other))))

    def __truediv__(self, number):
        return Cost(*(mine / number for mine in dataclasses.astuple(self)))


@contextlib.contextmanager
def cgroup_folder():
    """Where control groups of version 2 are; mounted for us where they are not."""
    for line in read("/proc/self/mounts").splitlines():
        if (words := line.split())[2] == "cgroup2":
            yield pathlib.Path(words[1])
            return
    with tempfile.TemporaryDirectory(prefix="tcpdiag-bench-cgroup-") as folder:
        subprocess.run(["mount", "-t", "cgroup2", "none", folder], check=True)
        try:
            yield pathlib.Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


class Group:
    """
    A control group of our own: its CPU time is that of all processes that are
    or were in it, to the microsecond, however short they live.
    """
    number = 0

    def __init__(self, parent):
        Group.number += 1
        self.path = parent / f"tcpdiag-bench-{os.getpid()}-{Group.number}"

    def __enter__(self):
        self.path.mkdir()
        return self

    def __exit__(self, *_):
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.pids(), 20, f"the end of the processes in {self.path}")
        # An exited process may still count for a moment.
        for _ in range(100):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.05)

    def enter(self):
        """In a child, before it becomes the program."""
        die_with_parent()
        (self.path / "cgroup.procs").write_text("0")

    def pids(self):
        return [int(pid) for pid in read(self.path / "cgroup.procs").split()]

    def cost(self):
        """Until now.  The switches are those of the processes that live."""
        figures = dict(line.split() for line in (self.path / "cpu.stat").read_text().splitlines())
        cpu, user, system = (int(figures[f"{what}_usec"]) / 1e6 for what in ("usage", "user", "system"))
        return Cost(cpu, user, system, time.monotonic(), sum(map(switches, self.pids())))

    def titles(self):
        return {pid: title(pid) for pid in self.pids()}

    def peak_rss(self):
        """Bytes: the sum of the largest that each ever had."""
        return sum(field(read(f"/proc/{pid}/status"), "VmHWM") for pid in self.pids())

    def pss(self):
        return sum(pss(pid) for pid in self.pids())


def title(pid):
    return read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()


def field(text, name):
    """Bytes of a line 'Name: N kB', or 0."""
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def switches(pid):
    """Of all its threads."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return sum(int(found[1]) for task in os.listdir(f"/proc/{pid}/task")
                   if (found := re.search(r"^voluntary_ctxt_switches:\s+(\d+)", read(f"/proc/{pid}/task/{task}/status"), re.MULTILINE)))
    return 0


def pss(pid):
    return field(read(f"/proc/{pid}/smaps_rollup"), "Pss")


def pss_by_mapping(pid):
    """{name of the mapping: bytes}; what has no name is "anonymous"."""
    found, name = {}, ""
    for line in read(f"/proc/{pid}/smaps").splitlines():
        if head := re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)$", line):
            name = head[1] or "anonymous"
        elif line.startswith("Pss:"):
            found[name] = found.get(name, 0) + int(line.split()[1]) * 1024
    return found


def cpu_seconds(pid):
    """CPU of one process, to the nanosecond of the scheduler's own clock."""
    with contextlib.suppress(OSError):
        return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
    return 0.0


# --- programs that run to their end -------------------------------------------

def cost_of(argv):
    """Of a command and all that it waited for; its output goes nowhere."""
    start = time.monotonic()
    with open(os.devnull, "wb") as null:
        pid = os.posix_spawnp(str(argv[0]), list(map(str, argv)), os.environ,
                              file_actions=[(os.POSIX_SPAWN_DUP2, null.fileno(), 1)])
    _, status, used = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise Failed(f"{' '.join(map(str, argv))}: exit {os.waitstatus_to_exitcode(status)}")
    return Cost(used.ru_utime + used.ru_stime, used.ru_utime, used.ru_stime, time.monotonic() - start, used.ru_nvcsw)
