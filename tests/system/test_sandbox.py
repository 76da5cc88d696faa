"""The filters of running processes: they are there, each level does what its name says, and whoever does what it may not ends."""
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess

import pytest

import harness
from harness import RecordFile, alive, wait_for

CALLS = {name: int(number) for name, number in re.findall(
    r"^#define __NR_(\w+) (\d+)$", pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text(), re.MULTILINE)}
EXIT_SANDBOX = 80
EPERM, EBADF, EACCES, EFAULT, ENOSYS = 1, 9, 13, 14, 38
NETLINK = 3  # the collector's sock_diag socket
X32 = 0x40000000
NOTHING = (1 << 64) - 1  # as an argument: no pointer, no descriptor


def policy_of_collectors():
    """(what every build's has, what a build with sanitizers has besides), without comments."""
    text = re.sub(r"/\*.*?\*/", "", (harness.ROOT / "seccomp" / "collector.policy").read_text(), flags=re.DOTALL)
    ours, theirs = text.split("#ifdef SANDBOX_SANITIZER")
    return ours, theirs if harness.MODE == "asan" else ""


# Calls that this build leaves to the sanitizers' run-time.
SANITIZERS = set(re.findall(r"\bALLOW\w*\((\w+)", policy_of_collectors()[1]))


def status(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return {name: int(re.search(rf"^{name}:\s+(\d+)$", text, re.MULTILINE)[1]) for name in ("Seccomp", "Seccomp_filters", "NoNewPrivs")}


def calls(pid, name, *arguments):
    """A process makes a call: what it returned, or None if it was refused."""
    number = CALLS[name] if isinstance(name, str) else name
    said = subprocess.run([harness.BIN / "tests" / "tracee", "call", str(pid), str(number), *map(str, arguments or [NOTHING] * 6)],
                          capture_output=True, text=True, check=True).stdout.split()
    return int(said[1]) if said[0] == "returned" else None


def memory(data):
    return f"hex:{data.hex()}"


def opens(pid, path, flags=os.O_RDONLY):
    """0, or the error with which a process cannot open a file."""
    fd = calls(pid, "openat", NOTHING, memory(os.fsencode(path) + b"\0"), flags | os.O_CLOEXEC, 0o600)
    if fd >= 0:
        assert calls(pid, "close", fd) == 0
    return min(fd, 0)


@pytest.fixture
def run(tcpdiag, world, folder):
    """tcpdiag on one namespace with few sockets, with filters at the given levels; its collector has delivered."""
    class Run:
        def __init__(self, daemons, collectors, *words):
            self.namespace = world.named("-l", "established:count=2")
            self.file = RecordFile(folder / "out.jsonl")
            self.daemon = tcpdiag.stream("--netns", self.namespace.name, "--interval", "200ms", "--format", "jsonl", "--batch-age", "10ms",
                                         "--sink", f"file:{self.file.path}", "--sandbox", daemons, "--collector-sandbox", collectors, *words)
            self.file.wait_for_snapshots(self.namespace.name)

        def pid(self, role):
            return self.daemon.collector(self.namespace.name) if role == "collector" else self.daemon.find(role)[0]

        def still_works(self):
            self.file.wait_for_snapshots(self.namespace.name, 2)

    return Run


@pytest.mark.parametrize("daemons, collectors, filters", [
    ("robust", "strict", {"shipper": 1, "namespacer": 1, "collector": 2}),
    ("robust", "off", {"shipper": 1, "namespacer": 1, "collector": 1}),
    ("log", "robust", {"shipper": 1, "namespacer": 1, "collector": 2}),
    ("off", "log", {"shipper": 0, "namespacer": 0, "collector": 1}),
    ("off", "off", {"shipper": 0, "namespacer": 0, "collector": 0}),
])
def test_the_filter_is_there(run, daemons, collectors, filters):
    """What the kernel says of each process; a collector has the namespacer's filter beneath its own. The log says it, once each."""
    ours = status("self")
    system = run(daemons, collectors)
    for role, count in filters.items():
        found = status(system.pid(role))
        assert found["Seccomp_filters"] == ours["Seccomp_filters"] + count, role
        assert found["Seccomp"] == (2 if count > 0 else ours["Seccomp"]), role
        assert found["NoNewPrivs"] == 1, role
    system.daemon.stop()
    log = system.daemon.log()
    assert log.count(f"seccomp: shipper {daemons}\n") == 1
    assert log.count(f"seccomp: namespacer {daemons}, collectors {collectors}\n") == 1
    assert log.count("may make any system call") == 2 * (daemons != "robust") + (collectors in ("log", "off"))


def test_a_collector_that_does_what_it_may_not(run, tcpdiag):
    """It ends with its code, the log names the call, it is counted, and the namespace is read again, by one after the other."""
    system = run("robust", "strict")
    tries = [("openat", ()), ("socket", (16, 3, 4)), ("kill", (os.getpid(), 9)), ("rt_sigreturn", ()), ("write", (NETLINK, 0, 0)),
             ("sendmsg", (NETLINK, 0x1000, 0)), ("sendto", (NETLINK, 0, 0, 0x4040, 0, 0)), ("execve", ())]
    refused = [(name, arguments) for name, arguments in tries if name not in SANITIZERS]
    assert len(refused) >= len(tries) - 2
    for name, arguments in tries:
        if name in SANITIZERS:
            assert calls(system.pid("collector"), name, *arguments) is not None, name
    for name, arguments in refused:
        collector = system.pid("collector")
        # Unknown, so that it does not exist; and it lives on.
        assert calls(collector, "getppid") == -ENOSYS
        assert calls(collector, name, *arguments) is None
        wait_for(lambda pid=collector: not alive(pid), 10, "the end of the collector")
        wait_for(lambda name=name: f"refused system call {name}\n" in system.daemon.log(), 10, name)
        wait_for(lambda pid=collector: system.pid("collector") not in (None, pid), 30, "the next collector")
        system.still_works()
    # By the numbers of another ABI everything is refused.
    assert calls(system.pid("collector"), CALLS["ppoll"] | X32) is None
    wait_for(lambda: f"refused system call call {CALLS['ppoll'] | X32}\n" in system.daemon.log(), 10)
    wait_for(lambda: system.pid("collector"), 30)
    system.still_works()
    ends = re.findall(r"collector \d+ ended, exit code (\d+): refused", system.daemon.log())
    assert ends == [str(EXIT_SANDBOX)] * (len(refused) + 1)
    command = ["curl", "-sS", "--unix-socket", tcpdiag.socket.with_name("shipper.metrics.sock"), "http://localhost/metrics"]
    wait_for(lambda: f"\ntcpdiag_namespacer_collectors_trapped_total {len(refused) + 1}\n" in
             subprocess.run(command, capture_output=True, text=True, check=True).stdout, 10, "the metric")
    system.daemon.stop()
    assert f"({len(refused) + 1} by a refused call)" in system.daemon.log()


@pytest.mark.parametrize("role", ["shipper", "namespacer"])
def test_a_daemon_that_does_what_it_may_not(run, role):
    """A line that names the call, and an exit code of its own; nothing is left behind."""
    system = run("robust", "strict")
    assert calls(system.pid(role), "getppid") > 0
    assert calls(system.pid(role), "execve") is None
    assert system.daemon.wait() == EXIT_SANDBOX
    assert "refused system call execve, ending\n" in system.daemon.log()
    system.daemon.gone()


@pytest.mark.parametrize("role", ["collector", "shipper", "namespacer"])
def test_a_fault_is_told(run, tcpdiag, role):
    """By which signal it ended; of a build with sanitizers its whole report, which no filter, limit or namespace may cut off."""
    system = run("robust", "strict")
    pid = system.pid(role)
    os.kill(pid, signal.SIGSEGV)
    if role == "collector":
        wait_for(lambda: system.pid("collector") not in (None, pid), 30, "the next collector")
        system.still_works()
        system.daemon.stop()
        assert " 1 crashed (0 by a refused call)" in system.daemon.log()
    else:
        assert system.daemon.wait() != 0
        system.daemon.gone()
    if harness.MODE == "asan":
        assert re.search(rf"^=={pid}==ERROR: AddressSanitizer: SEGV .*^SUMMARY: AddressSanitizer: .*^=={pid}==ABORTING$", system.daemon.log(),
                         re.MULTILINE | re.DOTALL)
        tcpdiag.daemons.remove(system.daemon)  # whose report is no failure here
    else:
        assert "killed by signal 11 (Segmentation fault)" in system.daemon.log()


def test_robust_collectors(run):
    """What nobody listed goes on; what is never allowed, and a request that was not built before, does not."""
    system = run("robust", "robust")
    collector = system.pid("collector")
    assert calls(collector, "getppid") > 0
    system.still_works()
    assert system.pid("collector") == collector
    for name, arguments in (("kill", (os.getpid(), 0)), ("sendmsg", (NETLINK, 0x1000, 0)), ("prlimit64", ())):
        collector = system.pid("collector")
        assert calls(collector, name, *arguments) is None
        wait_for(lambda name=name: f"refused system call {name}\n" in system.daemon.log(), 10, name)
        wait_for(lambda pid=collector: system.pid("collector") not in (None, pid), 30, "the next collector")
        system.still_works()
    system.daemon.stop()


@pytest.mark.parametrize("level", ["log", "off"])
def test_levels_that_refuse_nothing(run, level):
    """What would end a process goes on, with the kernel's own answer, and so does the process."""
    system = run(level, level)
    assert calls(system.pid("collector"), "sendmsg", NETLINK, 0x1000, 0) == -EFAULT
    assert calls(system.pid("collector"), "recvmsg", 99, 0, 0) == -EBADF
    assert calls(system.pid("shipper"), "setns", NOTHING, 0) == -EBADF
    assert calls(system.pid("namespacer"), "pidfd_getfd", NOTHING, 0, 0) == -EBADF
    system.still_works()
    system.daemon.stop()
    assert "refused system call" not in system.daemon.log()


def test_the_deny_list_of_the_namespacer_is_beneath(run):
    """collector-sandbox = off takes a collector's own filter away, and not the one that it was forked with."""
    system = run("robust", "off")
    collector = system.pid("collector")
    assert calls(collector, "recvmsg", 99, 0, 0) == -EBADF
    assert calls(collector, "ptrace") is None
    wait_for(lambda: "refused system call ptrace\n" in system.daemon.log(), 10)
    wait_for(lambda: system.pid("collector") not in (None, collector), 30, "the next collector")
    system.still_works()
    system.daemon.stop()


def test_files_that_a_shipper_can_open(tcpdiag, folder):
    """Landlock: what its configuration names and what libraries need, and nothing else, though everybody else may read it."""
    tcpdiag.socket = folder / "run" / "shipper.sock"
    for name in ("sink", "spool", "keys", "other", "run"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
        (folder / name / "file").write_text("-")
        (folder / name / "file").chmod(0o666)
    shipper = tcpdiag.shipper("--sink", f"file:{folder}/sink/out.jsonl", "--format", "jsonl", "--spool", folder / "spool" / "mine",
                              "--kafka-tls-ca", folder / "keys" / "file", "--kafka-tls", "yes", "--sandbox", "robust")
    wait_for(lambda: harness.listens(tcpdiag.socket), 10)
    assert "Landlock: ABI " in shipper.log()
    made = os.O_RDWR | os.O_CREAT
    for path, flags, wanted in [
        (folder / "sink" / "file", os.O_RDWR, 0), (folder / "sink" / "new", made, 0), (folder / "spool" / "mine" / "new", made, 0),
        (folder / "keys" / "file", os.O_RDONLY, 0), (folder / "keys" / "file", os.O_WRONLY, EACCES), (folder / "keys" / "new", made, EACCES),
        (folder / "spool" / "file", os.O_RDONLY, EACCES), (folder / "other" / "file", os.O_RDONLY, EACCES), (folder / "other" / "new", made, EACCES),
        (folder / "other", os.O_RDONLY | os.O_DIRECTORY, EACCES), ("/etc/passwd", os.O_RDONLY, 0), ("/etc/ssl/certs", os.O_RDONLY, 0),
        ("/proc/self/statm", os.O_RDONLY, 0), ("/proc/1/status", os.O_RDONLY, EACCES), ("/proc/version", os.O_RDONLY, EACCES),
        ("/", os.O_RDONLY | os.O_DIRECTORY, EACCES), ("/usr/bin/env", os.O_RDONLY, EACCES), ("/dev/zero", os.O_RDONLY, EACCES),
    ]:
        assert opens(shipper.pid, path, flags) == -wanted, path
    (folder / "other" / "folder").mkdir()
    for name, what, *arguments in (("unlink", "file"), ("mkdir", "new", 0o700), ("rmdir", "folder")):
        assert calls(shipper.pid, name, memory(bytes(folder / "other" / what) + b"\0"), *arguments) == -EACCES, name
    assert (folder / "other" / "file").exists()
    # It listens on no port, and has nobody to signal, even of its own user, nor an abstract socket to connect to.
    port = calls(shipper.pid, "socket", socket.AF_INET, socket.SOCK_STREAM, 0)
    address = struct.pack("=H2sI8x", socket.AF_INET, b"\0\0", 0)
    assert calls(shipper.pid, "bind", port, memory(address), len(address)) == -EACCES
    with subprocess.Popen(["setpriv", "--reuid=60642", "--regid=60642", "--clear-groups", "sleep", "60"]) as sleeper:
        wait_for(lambda: harness.title(sleeper.pid) == "sleep 60", 10)
        assert calls(shipper.pid, "tgkill", sleeper.pid, sleeper.pid, signal.SIGTERM) == -EPERM
        sleeper.kill()
    # A file that was moved away is made anew.
    (folder / "sink" / "out.jsonl").rename(folder / "sink" / "before.jsonl")
    shipper.send(signal.SIGHUP)
    wait_for(lambda: (folder / "sink" / "out.jsonl").exists(), 10, "a new file")
    shipper.stop()
    assert not tcpdiag.socket.exists()


def test_without_landlock(tcpdiag, folder):
    """sandbox = off is for a host where something needs a file that nobody thought of."""
    (folder / "file").write_text("-")
    (folder / "file").chmod(0o666)
    shipper = tcpdiag.shipper("--sink", "null", "--sandbox", "off")
    wait_for(lambda: harness.listens(tcpdiag.socket), 10)
    assert opens(shipper.pid, folder / "file", os.O_RDWR) == 0
    assert "open any file that its user may" in shipper.log() and "Landlock" not in shipper.log()
    shipper.stop()


def mappings(pid):
    """(first line, what may be done, flags) of each mapping."""
    for text in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", pathlib.Path(f"/proc/{pid}/smaps").read_text(), flags=re.MULTILINE)[1:]:
        yield text.split("\n")[0], text.split()[1], re.search(r"^VmFlags: (.*)$", text, re.MULTILINE)[1].split()


def test_memory_of_a_collector_is_sealed(run):
    """Its ring, and the one page of requests, which is read-only: no call can change what they are (Linux 6.10)."""
    system = run("robust", "off")
    collector = system.pid("collector")
    sealed = [(line, rights) for line, rights, flags in mappings(collector) if "sl" in flags and "[v" not in line]
    ring = [rights for line, rights in sealed if "/memfd:tcpdiag-ring" in line]
    assert sorted(ring) == ["r--s", "rw-s", "rw-s"]
    assert len(ring) == sum("/memfd:tcpdiag-ring" in line for line, *_ in mappings(collector))
    requests = [line for line, rights in sealed if rights == "r--p"]
    assert len(requests) == 1
    start, end = (int(word, 16) for word in requests[0].split()[0].split("-"))
    assert calls(collector, "mprotect", start, end - start, 3) == -EPERM
    assert calls(collector, "munmap", start, end - start) == -EPERM
    assert calls(collector, "madvise", start, end - start, 4) == -EPERM  # MADV_DONTNEED: a page of zeros in its place
    assert calls(collector, "mmap", start, end - start, 3, 0x32, NOTHING, 0) == -EPERM
    system.still_works()
    system.daemon.stop()


def test_every_allowed_call_of_a_collector_is_used(run, folder):
    """
    A collector that is watched while it walks, reads by id, waits for room, is stopped and goes on, and ends makes each call that
    its policy allows, but for those of which the policy says that not every machine sees them; and no others.
    """
    allowed = {rule: set(re.findall(rf"^{rule}\((\w+)", policy_of_collectors()[0], re.MULTILINE)) for rule in ("ALLOW", "ALLOW_IF", "ALLOW_RARE")}
    system = run("robust", "strict", "--snapshot-way", "targeted")
    collector, shipper = system.pid("collector"), system.pid("shipper")
    tracer = subprocess.Popen([harness.BIN / "tests" / "tracee", "list", str(collector)], stdout=subprocess.PIPE, text=True)
    try:
        assert tracer.stdout.readline() == "ready\n"
        os.kill(collector, signal.SIGSTOP)
        os.kill(collector, signal.SIGCONT)
        system.still_works()
        os.kill(shipper, signal.SIGSTOP)
        system.namespace.hold("-l", "established:count=700")
        harness.wait_until_ring_is_full(collector)
        os.kill(shipper, signal.SIGCONT)
        # A larger ring is another collector's: this one is told to end.
        made, _ = tracer.communicate(timeout=30 * harness.PATIENCE)
    finally:
        tracer.kill()
        tracer.wait()
        os.kill(shipper, signal.SIGCONT)
    names = {number: name for name, number in CALLS.items()}
    assert {names[int(number)] for number in made.split()} - allowed["ALLOW_RARE"] - SANITIZERS == allowed["ALLOW"] | allowed["ALLOW_IF"]
    system.still_works()
    system.daemon.stop()
