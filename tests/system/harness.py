"""What every system test needs: programs, processes, namespaces, waiting."""
import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("TCPDIAG_BIN", ROOT / "build"))
MODE = os.environ.get("TCPDIAG_MODE", "release")
if MODE == "asan":
    # Leaks are looked for by a tracer, which no confined process may have: it would wait for it for ever.
    os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=0")
# Sanitizers and a busy machine make everything slower; a deadline is there to end a hang.
PATIENCE = 3 if MODE == "asan" or os.getloadavg()[0] > 2 * os.cpu_count() else 1
RUN = f"tdt-{os.getpid()}"
NETNS_FOLDER = pathlib.Path("/run/netns")
# What a test that runs on needs to read: the host's other namespaces may be large, and are somebody else's.
OURS = ["--netns", f"{RUN}-*"]
# Nameless ones cannot be told apart beforehand; listeners are few even where sockets are many.
NAMELESS = ["--netns", "netns:*", "--state", "listening"]
PR_SET_CHILD_SUBREAPER = 36

# make test-all SANDBOX=log: every process of every test has its filter at this level; strict is for collectors only.
SANDBOX = os.environ.get("TCPDIAG_SANDBOX") or "strict"

numbers = itertools.count(1)


def unique(what=""):
    return f"{RUN}-{what}{next(numbers)}"


def at_level(program, words):
    """The words of a command line, and the level of the filters that the suite runs with; what a test says itself holds."""
    levels = {"sandbox": "robust" if SANDBOX == "strict" else SANDBOX, "collector-sandbox": SANDBOX}
    ours = program in ("tcpdiag-namespacer", "tcpdiag-shipper") or (program == "tcpdiag" and words[:1] == ("run",))
    if SANDBOX == "strict" or not ours:
        return words
    if program == "tcpdiag-shipper":
        del levels["collector-sandbox"]
    added = [f"--{key}={level}" for key, level in levels.items() if not any(str(word).startswith(f"--{key}") for word in words)]
    place = 1 if program == "tcpdiag" else 0
    return (*words[:place], *added, *words[place:])


def wait_for(condition, timeout=10, what=None):
    """The first true value of condition(); an AssertionError names what never came."""
    end = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout * PATIENCE} s: {what or condition}")
        time.sleep(0.01)


# --- processes ---------------------------------------------------------------

def become_subreaper():
    """Orphans of what the tests start come back to us, so that none can hide."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def stat_of(pid):
    """(state, ppid, session) or None when there is no such process."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2:].split()
    return fields[0], int(fields[1]), int(fields[3])


def alive(pid):
    stat = stat_of(pid)
    return stat is not None and stat[0] not in "ZX"


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(root):
    parents = {pid: stat[1] for pid in processes() if (stat := stat_of(pid)) and stat[0] not in "ZX"}
    found, front = set(), {root}
    while front:
        front = {pid for pid, parent in parents.items() if parent in front}
        found |= front
    return found


def of_session(session):
    return {pid for pid in processes() if (stat := stat_of(pid)) and stat[2] == session and stat[0] not in "ZX"}


def title(pid):
    try:
        raw = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace").strip()


def reap(pids):
    """Orphans that became ours are ours to wait for."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def children():
    """Our own, dead ones too: orphans among them are ours to reap."""
    return [pid for pid in processes() if (stat := stat_of(pid)) and stat[1] == os.getpid()]


def memory_files(pid):
    """How many memory files a process holds or maps."""
    count = 0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                count += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("/memfd:")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
        count += len({line.split()[4] for line in maps.splitlines() if "/memfd:" in line})
    return count


def wakes(pid):
    """How often a process has slept and woken up."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])


def wait_until_it_woke(pid, times):
    first = wakes(pid)
    wait_for(lambda: wakes(pid) >= first + times, 30, f"{times} wake-ups of {title(pid)}")


def wait_until_ring_is_full(pid):
    """
    A collector that waits for room looks again ten times a second; one that
    waits for work sleeps on.  (That the ring was full shows in the output.)
    """
    wait_until_it_woke(pid, 15)


def listens(path):
    """Somebody accepts connections at this path (the file alone does not say so)."""
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines():
        words = line.split()
        if words[-1] == str(path) and int(words[3], 16) & 0x10000:
            return True
    return False


def weakened(step, where="self"):
    """The environment of a daemon in which a step goes wrong, or in its children: see weaken.c."""
    weak = {"LD_PRELOAD": str(BIN / "tests" / "weaken.so"), "WEAKEN": str(step), "WEAKEN_IN": where}
    if MODE == "asan":
        # It wants to be the first library, and is the first but this one.
        weak["ASAN_OPTIONS"] = f"{os.environ.get('ASAN_OPTIONS', '')}:verify_asan_link_order=0"
    return {**os.environ, **weak}


class Daemon:
    """A program that runs beside the test; its output is kept in files."""

    def __init__(self, name, argv, folder, stdout=None, **more):
        self.name, self.argv = name, [str(word) for word in argv]
        self.out = folder / f"{unique(pathlib.Path(name).name)}.out"
        self.err = self.out.with_suffix(".err")
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=stdout or out, stderr=err,
                                          start_new_session=True, **more)
        self.pid, self.last_log = self.popen.pid, ""

    def log(self):
        """What it wrote to stderr, also when the file is gone with the test's folder."""
        if self.err.exists():
            self.last_log = self.err.read_text(errors="replace")
        return self.last_log

    def family(self):
        """Itself and all that it started, also when it is dead itself."""
        return of_session(self.pid)

    def find(self, role):
        """Pids whose title shows this role ("collector", "shipper", ...) first."""
        pattern = re.compile(rf"^(tcpdiag: |\S*/tcpdiag-)?{role}\b")
        return sorted(pid for pid in self.family() if pattern.search(title(pid)))

    def collector(self, name):
        found = [pid for pid in self.find("collector") if re.search(rf" {re.escape(name)}$", title(pid))]
        return found[0] if found else None

    def send(self, number):
        self.popen.send_signal(number)

    def wait(self, timeout=15):
        try:
            return self.popen.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end\n{self.log()}") from None

    def stop(self, number=signal.SIGTERM):
        """Asks it to end, and wants what a user wants: exit 0 and nobody left."""
        if self.popen.poll() is None:
            self.send(number)
        code = self.wait()
        assert code == 0, f"{self.name} ended with {code}\n{self.log()}"
        self.gone()

    def gone(self, timeout=10, kill=False):
        def nobody():
            for pid in self.family() if kill else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            reap(self.family_with_zombies())
            return not self.family()
        wait_for(nobody, timeout, f"the end of {[title(p) for p in self.family()]}")

    def family_with_zombies(self):
        return [pid for pid in processes() if (stat := stat_of(pid)) and stat[2] == self.pid and pid != self.pid]

    def kill(self):
        """For finalisers: whatever is left of it, by pid, and what that has started meanwhile."""
        self.gone(kill=True)
        self.popen.wait()


# --- namespaces --------------------------------------------------------------

class Holder:
    """tests/system/holder.c: sockets in a namespace, till it is told to go."""

    def __init__(self, *words):
        argv = [str(BIN / "tests" / "holder"), *map(str, words)]
        self.popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self.pid = self.popen.pid
        line = self.popen.stdout.readline().split()
        if not line or line[0] != b"ready":
            raise AssertionError(f"{' '.join(argv)}: not ready, exit {self.popen.wait()}")
        self.tid = int(line[1])

    def release(self):
        if self.popen.stdin.closed:
            return
        self.popen.stdin.close()
        self.popen.wait(30)
        self.popen.stdout.close()
        wait_for(lambda: not of_session(self.pid), 10, "the end of a holder's jobs")
        reap([pid for pid in processes() if (stat := stat_of(pid)) and stat[2] == self.pid])


class Namespace:
    """A network namespace: how the records should name it, and a file to enter it by."""

    def __init__(self, file, name=None):
        self.file = pathlib.Path(file)
        self.inode = os.stat(file).st_ino
        self.name = name or f"netns:[{self.inode}]"
        self.holders = []

    def hold(self, *words):
        """Sockets in it, made by holder processes that live in it."""
        holder = Holder("-j", self.file, *words)
        self.holders.append(holder)
        return holder

    def run(self, *argv, **more):
        command = ["nsenter", f"--net={self.file}", *map(str, argv)]
        return subprocess.run(command, check=True, capture_output=True, **more).stdout.decode(errors="replace")

    def release(self):
        for holder in self.holders:
            holder.release()
        self.holders.clear()

    def delete(self):
        self.release()


class NamedNamespace(Namespace):
    """Held by a bind mount: `ip netns add`, or the same in another folder."""

    def __init__(self, folder=NETNS_FOLDER, name=None):
        self.mount = pathlib.Path(folder) / (name or unique("n"))
        if self.mount.parent == NETNS_FOLDER:
            subprocess.run(["ip", "netns", "add", self.mount.name], check=True)
        else:
            self.mount.touch()
            subprocess.run(["unshare", f"--net={self.mount}", "true"], check=True)
        super().__init__(self.mount, self.mount.name)
        self.run("ip", "link", "set", "lo", "up")

    def delete(self):
        super().delete()
        self.unname()

    def unname(self):
        """Only the name goes; who lives in it stays."""
        if not self.mount.exists():
            return
        # Lazily, as `ip netns delete` does it: who else looks at the host may have it open.
        subprocess.run(["umount", "--lazy", self.mount], check=True)
        self.mount.unlink()


class AnonymousNamespace(Namespace):
    """Held by a process only (thread=False), or by a thread that is not its process's first."""

    def __init__(self, words=(), thread=False):
        holder = Holder("-u", "-l", *(["-t"] if thread else []), *words)
        super().__init__(f"/proc/{holder.pid}/task/{holder.tid}/ns/net")
        self.holders.append(holder)


class World:
    """The namespaces of one test; all of them are gone after it."""

    def __init__(self):
        self.namespaces = []

    def keep(self, namespace):
        self.namespaces.append(namespace)
        return namespace

    def named(self, *words, folder=NETNS_FOLDER, name=None):
        namespace = self.keep(NamedNamespace(folder, name))
        if words:
            namespace.hold(*words)
        return namespace

    def anonymous(self, *words):
        return self.keep(AnonymousNamespace(words))

    def thread(self, *words):
        return self.keep(AnonymousNamespace(words, thread=True))

    def veth(self, inside, outside):
        """A pair, one end in each namespace; its name in the outside one."""
        name = f"v{os.getpid() % 0x100000:x}.{next(numbers)}"
        subprocess.run(["ip", "link", "add", name, "netns", outside.file, "type", "veth",
                        "peer", "name", "in0", "netns", inside.file], check=True)
        return name

    def end(self):
        """All of them go, even if one does not go well."""
        with contextlib.ExitStack() as stack:
            while self.namespaces:
                stack.callback(self.namespaces.pop().delete)


# --- records -----------------------------------------------------------------

def parse_jsonl(text):
    """Every line is a whole object, or this fails with the line."""
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            raise AssertionError(f"line {number} of the output is no JSON: {line[:200]!r}") from None
    return records


def sockets(records):
    return [record for record in records if record["record_kind"] == "socket"]


def ends(records):
    return [record for record in records if record["record_kind"] == "snapshot_end"]


class Tcpdiag:
    """The programs under test, with their output attached to a failing test."""

    def __init__(self, folder):
        self.folder, self.daemons, self.outputs = folder, [], []
        self.socket = folder / "shipper.sock"

    def run(self, *words, program="tcpdiag", timeout=60, **more):
        """To its end; stdout is bytes, stderr text."""
        argv = [str(BIN / program), *map(str, at_level(program, words))]
        done = subprocess.run(argv, stdin=more.pop("stdin", subprocess.DEVNULL) if "input" not in more else None,
                              stdout=more.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE,
                              timeout=timeout * PATIENCE, **more)
        done.stderr = done.stderr.decode(errors="replace")
        self.outputs.append((" ".join(argv), f"exit {done.returncode}\n{done.stderr}"))
        return done

    def once(self, *words, code=0, **more):
        done = self.run("run", "--once", "--socket", self.socket, *words, **more)
        assert done.returncode == code, f"exit {done.returncode}, not {code}\n{done.stderr}"
        return done.stdout

    def records(self, *words, **more):
        """What --once prints as jsonl, in order."""
        return parse_jsonl(self.once("--format", "jsonl", *words, **more).decode())

    def decode(self, data, form="jsonl"):
        done = self.run("decode", "--format", form, "-", input=data)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words, program="tcpdiag", **more):
        daemon = Daemon(program, [BIN / program, *at_level(program, words)], self.folder, **more)
        self.daemons.append(daemon)
        return daemon

    def stream(self, *words, **more):
        """tcpdiag run, left running."""
        return self.start("run", "--socket", self.socket, *words, **more)

    def shipper(self, *words, **more):
        return self.start("--socket", self.socket, *words, program="tcpdiag-shipper", **more)

    def namespacer(self, *words, **more):
        return self.start("--socket", self.socket, *words, program="tcpdiag-namespacer", **more)

    def kill(self):
        for daemon in self.daemons:
            daemon.kill()
        for name, text in self.sections():
            assert "Sanitizer" not in text and "runtime error" not in text, f"{name}\n{text}"

    def sections(self):
        yield from self.outputs
        for daemon in self.daemons:
            yield " ".join(daemon.argv), f"exit {daemon.popen.poll()}\n{daemon.log()}"


class RecordFile:
    """A growing jsonl file; only its whole lines count while somebody writes it."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.known, self.offset, self.inode = [], 0, None

    def text(self):
        """All whole lines."""
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return ""
        return text[:text.rfind("\n") + 1]

    def records(self):
        """All whole records; what was read before is not read again."""
        try:
            with open(self.path, "rb") as file:
                if os.fstat(file.fileno()).st_ino != self.inode:
                    self.known, self.offset, self.inode = [], 0, os.fstat(file.fileno()).st_ino
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[:data.rfind(b"\n") + 1]
        self.known.extend(parse_jsonl(whole.decode()))
        self.offset += len(whole)
        return list(self.known)

    def ends_of(self, name):
        return [record for record in ends(self.records()) if record["netns"] == name]

    def wait_for_snapshots(self, name, more=1, timeout=15):
        """Until so many more snapshots of a namespace are whole in it."""
        have = len(self.ends_of(name))
        wait_for(lambda: len(self.ends_of(name)) >= have + more, timeout, f"{more} snapshots of {name} in {self.path}")
        return self.ends_of(name)[have:]
