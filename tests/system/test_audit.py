"""tcpdiag audit: green on what runs as declared, red for each deliberate weakening, and then by the right name."""
import contextlib
import ctypes
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import harness
from harness import BIN, PATIENCE, alive, descendants, title, wait_for
from test_metrics import Listener
from test_sandbox import EPERM, calls, memory, opens
from test_units import SHIPPER, installed, start, stop, system  # noqa: F401 (fixtures)
from topics import Topic

OK, USAGE, INCOMPLETE, PRIVILEGE, DIFFERS = 0, 64, 75, 77, 81
QUICK = ["--interval", "100ms"]
PR_GET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 27, 4
PLACES = {"collector": "children", "one collector": "child"}
# Of a collector; where a sanitizer reports to a file it is not 0.
FILE_SIZE = 1 << 30 if harness.MODE == "asan" else 0


def number(pid, word):
    """Of a line of status; None where there is no such process any more."""
    try:
        return int(re.search(rf"^{word}:\t(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


class Installation:
    """Both daemons, as the two units would start them, and one namespace that is read."""

    def __init__(self, tcpdiag, world, step=None, where=None, namespaces=1, both=(), ship=("--sink", "null"), collect=()):
        weak = {"env": harness.weakened(step, PLACES.get(where, "self"))}
        self.tcpdiag, self.options = tcpdiag, [*ship, *both, *collect]
        self.names = [world.named().name for _ in range(namespaces)]
        self.shipper = tcpdiag.shipper(*ship, *both, **(weak if where == "shipper" else {}))
        wait_for(lambda: harness.listens(tcpdiag.socket), 10, "the shipper")
        self.namespacer = tcpdiag.namespacer(*harness.OURS, *QUICK, *both, *collect,
                                             **(weak if where == "namespacer" or where in PLACES else {}))
        self.settle = step == "filter-none" and where == "collector"
        wait_for(lambda: len(self.collectors()) >= namespaces, 20, "collectors that are set up")

    def collectors(self):
        return [pid for pid in descendants(self.namespacer.pid) if title(pid).startswith("tcpdiag: collector") and self.ready(pid)]

    def ready(self, pid):
        """Its filter is the last thing that a collector sets up."""
        if self.settle:
            return (number(pid, "voluntary_ctxt_switches") or 0) > 20
        return (number(pid, "Seccomp_filters") or 0) > (number(self.namespacer.pid, "Seccomp_filters") or 0)

    def audit(self, *words, **more):
        return self.tcpdiag.run("audit", *self.options, "--socket", self.tcpdiag.socket, "--namespacer", self.namespacer.pid,
                                "--shipper", self.shipper.pid, *words, **more)


def everything():
    """All capabilities, as capset(2) takes them."""
    return memory(struct.pack("=II", 0x20080522, 0)), memory(struct.pack("=6I", *[0xffffffff] * 6))


@pytest.fixture(autouse=True)
def levels(monkeypatch):
    """Those that are declared, whatever level the suite runs with: a weaker one is what has to be found."""
    monkeypatch.setattr(harness, "SANDBOX", "strict")


@pytest.fixture
def install(tcpdiag, world):
    return lambda *words, **more: Installation(tcpdiag, world, *words, **more)


def report(done):
    """The report as JSON, with an exit code that says the same."""
    told = json.loads(done.stdout)
    marks = [one["mark"] for process in told["processes"] for one in process["properties"]]
    assert (marks.count("differs"), marks.count("unread"), marks.count("holds")) == (told["differ"], told["unread"], told["hold"])
    assert done.returncode == (DIFFERS if told["differ"] else INCOMPLETE if told["unread"] else OK), done.stderr
    # Whoever reads that something is wrong reads what to do.
    assert all(("remedy" in one and len(one["remedy"]) > 20) == (one["mark"] == "differs") for process in told["processes"] for one in process["properties"])
    return told


def told_of(done, kind, name):
    """(mark, value) of a property of the only process of a kind."""
    one, = [one for process in report(done)["processes"] if process["kind"] == kind for one in process["properties"] if one["property"] == name]
    return one["mark"], one["value"]


def differing(told):
    """{(kind, property): value}"""
    return {(process["kind"], one["property"]): one["value"] for process in told["processes"]
            for one in process["properties"] if one["mark"] in ("differs", "unread")}


# --- green ---------------------------------------------------------------------------

def test_all_green_for_run(tcpdiag, world):
    """tcpdiag run: three processes, two of one program, are found by their programs and by who talks to whom."""
    name = world.named("listen:count=1").name
    running = tcpdiag.stream(*harness.OURS, *QUICK, "--sink", "null")
    wait_for(lambda: running.collector(name) and number(running.collector(name), "Seccomp_filters") == 2, 20, "a collector")
    namespacer = running.find("namespacer")[0]
    done = tcpdiag.run("audit", "--json", "--sink", "null", "--namespacer", namespacer)
    told = report(done)
    assert (done.returncode, differing(told)) == (OK, {})
    assert [process["kind"] for process in told["processes"]] == ["namespacer", "shipper", "collector"]
    assert {process["pid"] for process in told["processes"]} == {namespacer, running.find("shipper")[0], running.collector(name)}
    assert all(len(process["properties"]) > 30 for process in told["processes"])
    running.stop()


def test_collectors_have_no_files_in_a_chroot_either(tcpdiag, world, folder):
    """There the root of the mount namespace is another one than the daemons'; the collectors' is empty all the same."""
    root = folder / "root"
    root.mkdir()
    name = world.named("listen:count=1").name
    script = f'mount --rbind / {root} && exec chroot {root} "$0" "$@"'
    running = tcpdiag.start("--mount", "--propagation", "slave", "/bin/sh", "-c", script, BIN / "tcpdiag", "run", "--socket", tcpdiag.socket,
                            *harness.OURS, *QUICK, "--sink", "null", program="/usr/bin/unshare")
    wait_for(lambda: running.collector(name) and number(running.collector(name), "Seccomp_filters") == 2, 20, "a collector")
    assert os.listdir(f"/proc/{running.collector(name)}/root") == []
    running.stop()


def test_all_green_for_daemons(install):
    """The two daemons; the report for people shows every property with a mark, collectors that are alike once."""
    running = install(namespaces=3)
    done = running.audit()
    text = done.stdout.decode()
    assert done.returncode == OK, text + done.stderr
    assert "\n3 collectors, alike but for the namespace that each reads\n" in text and text.endswith(": all that can be seen is as declared\n")
    for wanted in (r"  \+ user ids +0 0 0 0$", r"  \+ capabilities, permitted +net_admin$", r"  \+ filters of its own +namespacer:robust collector:strict$",
                   r"  \+ network namespace +empty$", rf"  \+ limits +nproc:0 fsize:{FILE_SIZE} core:0 memlock:0 nofile:6$", r"  \+ securebits, by their effect +not-read .* execve-refused$",
                   r"  \+ memory sealed for good +control data=2 requests$", r"  ~ Landlock +not-visible-from-outside kernel:ABI-\d+$",
                   r"  ~ signal at the parent's death +not-visible-from-outside$"):
        assert re.search(wanted, text, re.M), wanted
    assert not re.search(r"^  [!?]", text, re.M)
    verbose = running.audit("--verbose").stdout.decode()
    assert len(re.findall(r"^collector \d+, which calls itself", verbose, re.M)) == 3
    assert "      declared: is " in verbose and "      because:  " in verbose
    # Looking at them has done nothing to them.
    assert all(alive(pid) for pid in running.collectors()) and not re.search("crashed|refused system call", running.namespacer.log())
    running.namespacer.stop()
    assert " 0 crashed " in running.namespacer.log()


def delivering(tcpdiag, world, *ship):
    """An installation that has drained something, and the shipper's properties as a report has them."""
    running = Installation(tcpdiag, world, ship=ship)
    metrics = Listener(tcpdiag.socket.with_suffix(".metrics.sock"))
    metrics.wait_for(lambda page: page.get("records_drained_total") > 0, 20, "records")
    told = report(running.audit("--json"))
    assert differing(told) == {}
    shipper = next(process for process in told["processes"] if process["kind"] == "shipper")
    return running, {one["property"]: one["value"] for one in shipper["properties"]}


@pytest.fixture
def blocked():
    signals = {signal.SIGPIPE, signal.SIGUSR1, signal.SIGSYS}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    yield signals
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_signals_that_were_blocked_before(install, blocked):
    """Whoever starts the daemons may have signals blocked; they do not keep them so."""
    done = install().audit()
    assert done.returncode == OK, done.stdout.decode() + done.stderr


def test_all_green_for_objects(tcpdiag, world, folder):
    """Files and folders below the sink's target, and the spool's, are what it may have open."""
    for name in ("objects", "spool"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    _, values = delivering(tcpdiag, world, "--sink", f"file:{folder}/objects/", "--format", "parquet", "--spool", folder / "spool")
    assert f"{folder}/objects" in values["descriptors"] and f"{folder}/spool" in values["descriptors"]


def test_all_green_for_kafka(broker, tcpdiag, world):
    """Threads and sockets of a library have the shipper's rights; for another sink's configuration they would be too much."""
    running, values = delivering(tcpdiag, world, "--sink", "kafka", "--kafka-brokers", broker.address(), "--kafka-topic", Topic(broker).name)
    assert int(values["threads"]) > 2 and "inet:stream(rw)" in values["descriptors"]
    running.options = ["--sink", "null"]
    assert "inet:stream(rw)" in differing(report(running.audit("--json")))["shipper", "descriptors"]


def test_all_green_for_units(system):
    """Under systemd: each has the filters of its unit beneath its own, and namespaces that the unit made."""
    start(system)
    done = system.run("tcpdiag", "audit", "--json", check=False)
    told = json.loads(done)
    assert differing(told) == {} and told["hold"] > 70, done
    outer = {(process["kind"], one["property"]): one["value"] for process in told["processes"] for one in process["properties"]}
    assert "sha256:" in outer["namespacer", "filters from outside"] == outer["collector", "filters from outside"]
    assert "systemd" in outer["namespacer", "parent"]
    assert system.run("tcpdiag", "audit").endswith(": all that can be seen is as declared\n")
    assert system.run("tcpdiag", "audit", "--sums").endswith("the books balance\n")
    # What its service manager's filter leaves of mseal(2) is what is declared, and is said.
    assert outer["collector", "memory sealed for good"] in ("control data=2 requests", "not-sealed:a-filter-from-outside-refuses-mseal")
    stop(system)


def test_red_for_a_unit_that_was_opened(system):
    """A drop-in gives the shipper a group, which it has no right to give up: it is named."""
    start(system, (SHIPPER, "SupplementaryGroups=nogroup"))
    found = differing(json.loads(system.run("tcpdiag", "audit", "--json", check=False)))
    assert found.keys() == {("shipper", "further groups")} and "65534" in found["shipper", "further groups"].split()
    stop(system)


def test_found_by_the_socket(install):
    """Of several installations that one is taken whose configuration it is."""
    running = install()
    done = running.tcpdiag.run("audit", "--json", "--sink", "null", "--socket", running.tcpdiag.socket)
    assert {process["pid"] for process in report(done)["processes"]} == {running.shipper.pid, running.namespacer.pid, *running.collectors()}


def test_collectors_without_capability(install):
    """What is declared follows the configuration: without it the same processes are not as declared."""
    running = install(collect=["--collector-capability", "none"])
    assert running.audit().returncode == OK
    running.options = ["--sink", "null"]
    done = running.audit("--json")
    assert differing(report(done)) == {("collector", "capabilities, permitted"): "", ("collector", "capabilities, effective"): ""}


# --- red, by name --------------------------------------------------------------------------

SEALED = "seal+shrink+grow"
EFFECT = "securebits, by their effect"
# (what is done, to whom, which properties of whom have to be named, and what their value has in it)
WEAKENINGS = [
    ("capability", "shipper", {("shipper", "capabilities, permitted"): "kill", ("shipper", "capabilities, effective"): "kill"}),
    ("capability", "collector", {("collector", "capabilities, permitted"): "kill", ("collector", "capabilities, effective"): "kill"}),
    ("inheritable", "namespacer", {("namespacer", "capabilities, inheritable"): "kill",
                                   ("namespacer", EFFECT): "not-read ambient-empty bounding-adds-nothing no_new_privs execve-refused"}),
    ("bounding", "collector", {("collector", "capabilities, bounding"): "kill",
                               ("collector", EFFECT): "not-read inheritable-empty ambient-empty no_new_privs execve-refused"}),
    ("bounding", "namespacer", {("namespacer", "capabilities, bounding"): "sys_rawio",
                                ("namespacer", EFFECT): "not-read inheritable-empty ambient-empty no_new_privs execve-refused"}),
    ("bounding", "shipper", {("shipper", "capabilities, bounding"): "sys_rawio",
                             ("shipper", EFFECT): "not-read inheritable-empty ambient-empty no_new_privs execve-refused"}),
    ("no-new-privs", "namespacer", {("namespacer", "no_new_privs"): "0",
                                    ("namespacer", EFFECT): "not-read inheritable-empty ambient-empty bounding-adds-nothing execve-refused"}),
    ("dumpable", "namespacer", {("namespacer", "dumpable"): "yes"}),
    ("dumpable", "collector", {("collector", "dumpable"): "yes"}),
    ("dumpable", "shipper", {("shipper", "dumpable"): "yes"}),
    ("filter-none", "namespacer", {("namespacer", "seccomp mode"): "0", ("namespacer", "filters of its own"): "",
                                   ("namespacer", EFFECT): "no_new_privs ", ("collector", "filters of its own"): "collector:strict"}),
    ("filter-none", "collector", {("collector", "filters of its own"): "namespacer:robust"}),
    ("filter-none", "shipper", {("shipper", "seccomp mode"): "0", ("shipper", "filters of its own"): "", ("shipper", EFFECT): "no_new_privs "}),
    ("filter-log", "collector", {("collector", "filters of its own"): "sha256:"}),
    ("filter-log", "shipper", {("shipper", "filters of its own"): "", ("shipper", "filters from outside"): "sha256:", ("shipper", EFFECT): "no_new_privs "}),
    ("filter-more", "collector", {("collector", "filters of its own"): "sha256:"}),
    ("filter-more", "namespacer", {("namespacer", "filters from outside"): "sha256:"}),
    ("uid", "shipper", {("shipper", "user ids"): "60640"}),
    ("uid", "collector", {("collector", "user ids"): "60640"}),
    ("gid", "collector", {("collector", "group ids"): " 0 "}),
    ("groups", "shipper", {("shipper", "further groups"): "60639"}),
    ("groups", "collector", {("collector", "further groups"): "60639"}),
    ("file", "shipper", {("shipper", "descriptors"): "file:/etc/passwd(r)"}),
    ("file", "namespacer", {("namespacer", "descriptors"): "file:/etc/passwd(r)"}),
    ("socket", "shipper", {("shipper", "descriptors"): "inet:stream(rw)"}),
    ("socket", "collector", {("collector", "descriptors"): "unix:dgram(rw)", ("collector", "network namespace"): "one-in-use"}),
    ("limit-nofile", "collector", {("collector", "limits"): "core:0 memlock:0 nofile:"}),
    ("limit-fsize", "collector", {("collector", "limits"): "fsize:unlimited"}),
    ("limit-nproc", "collector", {("collector", "limits"): "nproc:"}),
    ("limit-core", "namespacer", {("namespacer", "limits"): " core:unlimited "}),
    ("limit-core", "shipper", {("shipper", "limits"): " core:unlimited "}),
    ("limit-memlock", "namespacer", {("namespacer", "limits"): " memlock:"}),
    ("limit-memlock", "shipper", {("shipper", "limits"): " memlock:"}),
    ("limit-few", "shipper", {("shipper", "limits"): " core:0 memlock:0 nofile:60 "}),
    ("mseal", "collector", {("collector", "memory sealed for good"): ""}),
    ("namespace-net", "collector", {("collector", "network namespace"): "the-one-it-reads"}),
    ("namespace-mnt", "collector", {("collector", "mount namespace"): "host", ("collector", "mounts"): "/proc:proc:"}),
    ("namespace-ipc", "collector", {("collector", "ipc namespace"): "host"}),
    ("seals", "namespacer", {("namespacer", "seals of rings it holds"): f"data:{SEALED}", ("collector", "seals of shared memory"): f"data:{SEALED}"}),
    ("control-writable", "namespacer", {("collector", "memory shared with others"): "control(r+w)"}),
    ("data-writable", "namespacer", {("namespacer", "descriptors"): "memfd:tcpdiag-ring-data(rw)"}),
    ("memory", "collector", {("collector", "memory writable and executable"): "-"}),
    ("memory", "shipper", {("shipper", "memory writable and executable"): "-"}),
    ("signal-caught", "collector", {("collector", "signals caught"): " USR1 ", ("collector", "signals ignored"): "USR2"}),
    ("signal-blocked", "namespacer", {("namespacer", "signals blocked"): "USR2"}),
    ("signal-blocked", "collector", {("collector", "signals blocked"): "USR2"}),
]


@pytest.mark.parametrize("step, where, wanted", WEAKENINGS, ids=[f"{where}-{step}" for step, where, _ in WEAKENINGS])
def test_red(install, step, where, wanted):
    running = install(step, where)
    found = differing(report(running.audit("--json")))
    assert found.keys() == wanted.keys()
    for place, value in wanted.items():
        assert value in f" {found[place]} ", found[place]


def test_red_for_a_level_that_only_logs(install):
    """Also where the configuration says so: a log ends nothing."""
    running = install(both=["--sandbox", "log"], collect=["--collector-sandbox", "log"])
    found = differing(report(running.audit("--json")))
    effect = "not-read inheritable-empty ambient-empty bounding-adds-nothing no_new_privs"
    assert found == {("namespacer", "filters of its own"): "namespacer:log", ("shipper", "filters of its own"): "shipper:log",
                     ("collector", "filters of its own"): "namespacer:log collector:log",
                     ("namespacer", EFFECT): effect, ("shipper", EFFECT): effect, ("collector", EFFECT): effect}


def test_securebits_are_never_guessed(install):
    """
    A namespacer's are not as they should be, which nobody can read from outside: nothing is said of their value, and what is said
    is true: also with these the process gets no capability and runs no program.
    """
    running = install("securebits", "namespacer")
    found = told_of(running.audit("--json"), "namespacer", EFFECT)
    assert found == ("holds", "not-read inheritable-empty ambient-empty bounding-adds-nothing no_new_privs execve-refused")
    assert calls(running.namespacer.pid, "prctl", PR_GET_SECUREBITS, 0, 0, 0, 0) == SECBIT_NO_SETUID_FIXUP
    assert calls(running.namespacer.pid, "capset", *everything()) == -EPERM
    assert calls(running.namespacer.pid, "execve", memory(b"/bin/true\0"), 0, 0) is None
    assert running.namespacer.popen.wait(10 * PATIENCE) == 80


def test_landlock_is_never_praised(install):
    """A shipper with its rules and one without look the same from outside: neither is green, and both times it is said."""
    running = install()
    with_rules = told_of(running.audit("--json"), "shipper", "Landlock")
    running.namespacer.stop()
    running.shipper.stop()
    without = install("landlock", "shipper")
    assert opens(without.shipper.pid, "/", os.O_RDONLY | os.O_DIRECTORY) == 0
    done = without.audit()
    assert told_of(without.audit("--json"), "shipper", "Landlock") == with_rules
    assert with_rules[0] == "unseen" and re.fullmatch(r"not-visible-from-outside kernel:ABI-\d+", with_rules[1])
    assert re.search(r"^  ~ Landlock .*\n +declared: which files it can open.*\n +do: +look for \"Landlock: ABI\" in its log", done.stdout.decode(), re.M)
    assert re.search(r" 0 differ, 0 could not be read, 3 nobody can see from outside: all that can be seen is as declared$", done.stdout.decode(), re.M)


def test_red_for_another_parent(install):
    """A collector that is not the namespacer's own child, but a child's, is found, and so is what stands between."""
    running = install("parent", "collector")
    told = report(running.audit("--json"))
    parents = [one["value"] for process in told["processes"] for one in process["properties"]
               if process["kind"] == "collector" and one["property"] == "parent" and one["mark"] == "differs"]
    assert len(parents) == 1 and re.fullmatch(r"\d+:tcpdiag-namespa", parents[0])


def test_red_for_one_of_many(install):
    """It is told apart, with what is declared and why, and the others are told once."""
    running = install("limit-fsize", "one collector", namespaces=4)
    text = (done := running.audit()).stdout.decode()
    assert done.returncode == DIFFERS
    assert "\n3 collectors, alike but for the namespace that each reads\n" in text
    own = re.search(r"^collector \d+, which calls itself(.*\n)+", text, re.M)[0]
    assert re.search(r"^  ! limits +nproc:0 fsize:unlimited .*\n +declared: is nproc:0 .*\n +because:  \w.*\n +do: +see Limit", own, re.M)
    assert "\nWhat is declared follows the configuration" in text and text.startswith("+ as declared ")
    assert "NOT AS DECLARED" in own and len(re.findall(r"^  !", text, re.M)) == 1


def test_red_for_a_tracer(install):
    """Who traces a process owns it; and its filter cannot be read then."""
    running = install()
    libc = ctypes.CDLL(None, use_errno=True)
    seize, victim = 0x4206, running.collectors()[0]
    assert libc.ptrace(seize, victim, None, None) == 0
    found = differing(report(running.audit("--json")))
    assert found == {("collector", "traced by"): str(os.getpid()), ("collector", "filters of its own"): None, ("collector", "filters from outside"): None,
                     ("collector", EFFECT): None}
    os.kill(victim, signal.SIGKILL)
    os.waitpid(victim, 0x40000000)


def test_red_for_a_thread_of_its_own_rights(install):
    """seccomp and capabilities are each thread's own: one that has others is named."""
    running = install("thread", "shipper")
    found = differing(report(running.audit("--json")))
    assert found.keys() == {("shipper", "threads unlike the first")}
    assert re.search(r"\d+:Seccomp:", found["shipper", "threads unlike the first"])


# --- what cannot be looked at --------------------------------------------------------------------

@pytest.fixture
def stuck(install):
    """A shipper that waits in the kernel where nothing can stop it, as for a disk that does not answer."""
    running = install("stuck", "shipper")
    running.shipper.send(signal.SIGUSR1)
    wait_for(lambda: harness.stat_of(running.shipper.pid)[0] == "D", 10, "a process in an uninterruptible call")
    yield running
    for pid in descendants(running.shipper.pid):
        os.kill(pid, signal.SIGKILL)


def test_process_that_dies_while_it_is_looked_at(stuck):
    """In the middle of it: nothing hangs, and what was not seen is said."""
    audit = subprocess.Popen([BIN / "tcpdiag", "audit", "--sink", "null", "--namespacer", str(stuck.namespacer.pid),
                              "--shipper", str(stuck.shipper.pid)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: number(stuck.shipper.pid, "TracerPid") == audit.pid, 10, "the look at its filters")
    os.kill(stuck.shipper.pid, signal.SIGKILL)
    out, err = audit.communicate(timeout=30 * PATIENCE)
    assert audit.returncode == INCOMPLETE, out + err
    assert f"the shipper, process {stuck.shipper.pid}, ended while it was looked at" in err
    assert "is as declared" not in out


def test_process_that_cannot_be_stopped(stuck):
    """Its filters cannot be read: that is said in bounded time, and it is not traced for ever."""
    found = differing(report(stuck.audit("--json", timeout=30)))
    assert found["shipper", "filters of its own"] is None
    assert number(stuck.shipper.pid, "TracerPid") == 0
    for pid in descendants(stuck.shipper.pid):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: harness.stat_of(stuck.shipper.pid)[0] == "S", 10, "a shipper that goes on")
    stuck.shipper.stop()


def test_a_thread_that_cannot_be_stopped(install):
    """All of its status is as the first thread's, and its filters cannot be read: it is not called alike, in bounded time."""
    running = install("thread-stuck", "shipper")
    try:
        found = differing(report(running.audit("--json", timeout=30 * PATIENCE)))
        assert found == {("shipper", "threads unlike the first"): None}
    finally:
        for pid in descendants(running.shipper.pid):
            os.kill(pid, signal.SIGKILL)


def test_process_that_is_not_there(install):
    """An id that nobody has any more."""
    running = install()
    os.kill(running.shipper.pid, signal.SIGKILL)
    running.shipper.popen.wait()
    done = running.audit()
    assert done.returncode == INCOMPLETE
    assert f"process {running.shipper.pid} has ended before it was looked at" in done.stderr and done.stdout == b""


def test_process_that_is_dead_and_not_waited_for(install):
    """What is left of it in /proc shows no rights: that is no reason to praise it."""
    running = install()
    os.kill(running.shipper.pid, signal.SIGKILL)
    wait_for(lambda: harness.stat_of(running.shipper.pid)[0] == "Z", 5, "its end")
    done = running.audit("--json")
    assert done.returncode == INCOMPLETE
    assert f"the shipper, process {running.shipper.pid}, ended while it was looked at" in done.stderr
    running.shipper.popen.wait()


def test_collectors_that_come_and_go(install, world):
    """Ended ones are counted, new ones are looked at; it is all the same to the verdict."""
    running = install(namespaces=2)
    churn = subprocess.Popen(["sh", "-c", f"while :; do ip netns add {running.names[0]}-c && ip netns delete {running.names[0]}-c; done"],
                             start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        for _ in range(4):
            told = report(running.audit("--json"))
            assert differing(told) == {}
    finally:
        os.killpg(churn.pid, signal.SIGKILL)
        churn.wait()
        subprocess.run(["ip", "netns", "delete", f"{running.names[0]}-c"], check=False, stderr=subprocess.DEVNULL)


def test_without_rights(install):
    running = install()
    done = running.audit(preexec_fn=lambda: os.setresuid(60640, 60640, 60640))
    assert done.returncode == PRIVILEGE
    assert "CAP_SYS_PTRACE is missing: needed to look at processes of others" in done.stderr
    assert done.stdout == b""


def test_under_a_filter_of_its_own(install):
    """In a container the kernel shows it no filter: it says so at once."""
    running = install()
    script = ("import ctypes, os, sys\n"
              "program = (ctypes.c_uint8 * 8)(6, 0, 0, 0, 0, 0, 0xff, 0x7f)\n"
              "class F(ctypes.Structure):\n    _fields_ = [('n', ctypes.c_ushort), ('p', ctypes.c_void_p)]\n"
              "f = F(1, ctypes.addressof(program))\n"
              "assert ctypes.CDLL(None).prctl(22, 2, ctypes.byref(f), 0, 0) == 0\n"
              "os.execv(sys.argv[1], sys.argv[1:])\n")
    done = subprocess.run(["/usr/bin/python3", "-c", script, BIN / "tcpdiag", "audit", "--namespacer", str(running.namespacer.pid),
                           "--shipper", str(running.shipper.pid)], capture_output=True, text=True, timeout=30 * PATIENCE)
    assert done.returncode == PRIVILEGE
    assert "seccomp filter itself" in done.stderr


def test_nothing_runs(tcpdiag):
    """Programs that nobody runs: nothing to audit is not all green."""
    here = tcpdiag.folder / "elsewhere"
    here.mkdir()
    for name in ("tcpdiag", "tcpdiag-namespacer", "tcpdiag-shipper"):
        (here / name).write_bytes((BIN / name).read_bytes())
        (here / name).chmod(0o755)
    done = subprocess.run([here / "tcpdiag", "audit"], capture_output=True, text=True, timeout=30 * PATIENCE)
    assert (done.returncode, done.stdout) == (INCOMPLETE, "")
    assert "no tcpdiag-shipper runs: there is nothing to audit" in done.stderr


def test_no_collector(tcpdiag, world):
    """A namespacer without one is not praised."""
    shipper = tcpdiag.shipper("--sink", "null")
    wait_for(lambda: harness.listens(tcpdiag.socket), 10, "the shipper")
    namespacer = tcpdiag.namespacer("--netns", f"{harness.RUN}-no-such")
    wait_for(lambda: title(namespacer.pid) == "tcpdiag: namespacer", 10, "the namespacer")
    done = tcpdiag.run("audit", "--sink", "null", "--namespacer", namespacer.pid, "--shipper", shipper.pid)
    assert done.returncode == INCOMPLETE and "has no collector to look at" in done.stderr


@pytest.mark.parametrize("option", ["--namespacer", "--shipper"])
def test_no_process_id(tcpdiag, option):
    done = tcpdiag.run("audit", option, "1x")
    assert (done.returncode, f"{option}: '1x' is no process id" in done.stderr) == (USAGE, True)


# --- the policy to sign ---------------------------------------------------------------------------

def test_policy_is_the_same_everywhere(tcpdiag, folder):
    """Without rights, whatever is configured; its last line is the digest of what is before."""
    # Of a checkout that only root may look into, nobody else can start the program.
    program = shutil.copy(BIN / "tcpdiag", folder)
    one = tcpdiag.run("audit", "--policy", program=program, preexec_fn=lambda: os.setresuid(60640, 60640, 60640))
    other = tcpdiag.run("audit", "--policy", "--sandbox", "log", "--collector-capability", "none")
    assert (one.returncode, one.stdout) == (OK, other.stdout)
    text, last = one.stdout[:one.stdout.rindex(b"SHA-256")], one.stdout[one.stdout.rindex(b"SHA-256"):].decode()
    assert last == f"SHA-256 of all lines above: {hashlib.sha256(text).hexdigest()}\n"


def test_policy_says_all_that_is_checked(tcpdiag, install):
    """Every property that a report has, and every policy of system calls as it stands in its file."""
    policy = tcpdiag.run("audit", "--policy").stdout.decode()
    for path in (harness.ROOT / "seccomp").glob("*.policy"):
        assert path.read_text() in policy, path.name
    titles = {"namespacer": "THE NAMESPACER", "collector": "EACH COLLECTOR", "shipper": "THE SHIPPER"}
    for process in report(install().audit("--json", "--verbose"))["processes"]:
        part = policy[policy.index(f"\n{titles[process['kind']]}\n"):]
        for one in process["properties"]:
            assert f"\n  {one['property']}\n    read from: " in part, one["property"]
            for declared in one.get("declared", []):
                assert f"    because: {declared['why']}\n" in part


# --- the books ------------------------------------------------------------------------------------------

def test_sums(tcpdiag, world):
    """Of a system that is at work: each equation with its numbers, who says them, and that they balance."""
    name = world.named("listen:count=3").name
    running = tcpdiag.stream(*harness.OURS, *QUICK, "--sink", f"file:{tcpdiag.folder}/out", "--format", "jsonl")
    records = harness.RecordFile(tcpdiag.folder / "out")
    records.wait_for_snapshots(name, 3)
    words = ["audit", "--sums", "--namespacer", running.find("namespacer")[0], "--socket", tcpdiag.socket]
    done = tcpdiag.run(*words, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == OK and told["balanced"], done.stdout
    assert [(one["sum"], one["balanced"]) for one in told["sums"]] == [
        ("sockets in collectors", True), ("bytes in rings", True), ("records in the shipper", True)]
    for one in told["sums"]:
        assert sum(term["value"] for term in one["left"]) == sum(term["value"] for term in one["right"]) > 0
    assert [one["source"] for one in told["sums"]][0] == "a collector's word"
    assert told["rings"]["rings"] == 1 and told["rings"]["impossible"] == 0
    text = tcpdiag.run(*words).stdout.decode()
    assert re.search(r"^\+ sockets in collectors \(a collector's word\)\n    read \d+ = encoded \d+ \+ filtered 0 \+ dropped 0$", text, re.M)
    assert text.endswith("the books balance\n")
    running.stop()


class FakePage:
    """Answers as a shipper's metrics would."""

    def __init__(self, path, body, trickle=False):
        self.listener, self.body, self.trickle = socket.socket(socket.AF_UNIX), body.encode(), trickle
        self.listener.bind(str(path))
        self.listener.listen(5)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                client.recv(4096)
                client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + self.body)
                while self.trickle:
                    client.sendall(b"#")
                    time.sleep(0.1)
                client.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


def test_sums_that_do_not_balance(install):
    """A page on which one record is missing: it says which sum, and its exit code too."""
    running = install()
    page = Listener(running.tcpdiag.socket.with_suffix(".metrics.sock")).get("/metrics")[1]
    assert re.search(r"^tcpdiag_records_drained_total \d+$", page, re.M)
    wrong = re.sub(r"^(tcpdiag_records_drained_total) \d+$", r"\1 18446744073709551615", page, flags=re.M)
    where = running.tcpdiag.folder / "fake.sock"
    fake = FakePage(where, wrong)
    try:
        done = running.audit("--sums", "--metrics", f"unix:{where}")
    finally:
        fake.close()
    text = done.stdout.decode()
    assert done.returncode == DIFFERS
    assert "! records in the shipper" in text and "+ bytes in rings" in text and "\ndo: look again " in text and text.endswith("THE BOOKS DO NOT BALANCE\n")


def test_sums_of_a_page_without_end(install):
    """A shipper that was taken over answers, a byte now and then: it is waited for only so long."""
    running = install()
    where = running.tcpdiag.folder / "fake.sock"
    fake = FakePage(where, "", trickle=True)
    try:
        done = running.audit("--sums", "--metrics", f"unix:{where}", timeout=30 * PATIENCE)
    finally:
        fake.close()
    assert done.returncode == INCOMPLETE
    assert "the shipper's metrics cannot be read at " in done.stderr and done.stdout == b""


def test_sums_without_a_page(install):
    running = install()
    done = running.audit("--sums", "--metrics", f"unix:{running.tcpdiag.folder}/nobody.sock")
    assert done.returncode == INCOMPLETE
    assert "the shipper's metrics cannot be read at " in done.stderr and done.stdout == b""


# --- hostile ------------------------------------------------------------------------------------------

def test_a_title_that_tells_lies(install):
    """A process that is not ours, with a title that clears the screen and says that all is well: shown as what it is."""
    running = install()
    lie = "tcpdiag: shipper\x1b[2J\x1b[31m\n  + user ids   60642\r\x9b\xff all is as declared"
    fake = subprocess.Popen(["bash", "-c", 'exec -a "$0" sleep 60', os.fsencode(lie)], start_new_session=True)
    try:
        wait_for(lambda: title(fake.pid).startswith("tcpdiag: shipper"), 5, "its title")
        running.shipper, honest = fake, running.shipper
        done = running.audit()
        running.shipper = honest
    finally:
        fake.kill()
        fake.wait()
    assert done.returncode == DIFFERS
    assert not [byte for byte in done.stdout if byte < 0x20 and byte != 0x0a]
    text = done.stdout.decode()
    assert "\x9b" not in text and not re.search(r"^  \+ user ids +60642$", text, re.M)
    assert re.search(r"^  ! program +/\S*sleep$", text, re.M) and re.search(r"^  ! user ids +0 0 0 0$", text, re.M)


def test_a_name_of_a_file_that_tells_lies(install):
    """What a descriptor is called is one word, whatever is in it."""
    running = install("file-of-lies", "shipper")
    value = differing(report(running.audit("--json")))["shipper", "descriptors"]
    assert "%0A" in value and "%1B" in value and "%20" in value
