"""Bad input gets one clear error that names the thing, and its own exit code."""
import pytest

import harness
from harness import RecordFile, wait_for

USAGE, DATA, INCOMPLETE, PRIVILEGE, CONFIG, SINK = 64, 65, 75, 77, 78, 74


def fails(tcpdiag, words, codes, *named):
    done = tcpdiag.run(*words)
    assert done.returncode in codes, f"exit {done.returncode}\n{done.stderr}"
    for name in named:
        assert name in done.stderr, f"{name!r} is not named:\n{done.stderr}"
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("words, named", [
    (["--intervall", "1s"], ["intervall"]),
    (["--interval", "fast"], ["interval", "fast"]),
    (["--interval", "1ms"], ["interval", "1ms"]),
    (["--interval"], ["interval"]),
    (["--format", "yaml"], ["yaml"]),
    (["--sink", "pigeon:home"], ["pigeon"]),
    (["--sink", "file:"], ["file"]),
    (["--state", "asleep"], ["asleep"]),
    (["--decoders", "info,tcpinfo"], ["--decoders", "'tcpinfo'", "skmem"]),
    (["--format", "csv", "--columns", "netns,colour"], ["colour"]),
    (["--ring-size", "1"], ["ring-size", "1"]),
    (["--log-level", "chatty"], ["chatty"]),
    (["--snapshot-ends", "perhaps"], ["perhaps"]),
    (["--collector-capability", "all"], ["collector-capability", "all"]),
    (["--snapshot-way", "run"], ["snapshot-way", "run", "auto, walk nor targeted"]),
    (["one", "word"], ["one"]),
])
def test_command_line(tcpdiag, words, named):
    """A user sees which word was wrong, before anything starts."""
    fails(tcpdiag, ["run", "--once", "--socket", tcpdiag.socket, *words], {USAGE, CONFIG}, *named)


def test_unknown_command(tcpdiag):
    fails(tcpdiag, ["walk"], {USAGE}, "walk")


@pytest.mark.parametrize("line, named", [
    ("intervall = 1s", ["intervall"]),
    ("interval = soon", ["interval", "soon"]),
    ("interval", ["interval"]),
    ("format = yaml", ["yaml"]),
    ("sink = pigeon", ["pigeon"]),
    ("decoders = info, tcpinfo", ["decoders", "'tcpinfo'", "default, all, none, meminfo"]),
])
def test_configuration_file(tcpdiag, folder, line, named):
    """An error in a file names the file and the line."""
    file = folder / "tcpdiag.conf"
    file.write_text(f"# a comment\nparallel = 1\n{line}\n")
    fails(tcpdiag, ["run", "--once", "--socket", tcpdiag.socket, "--config", file], {CONFIG}, f"{file}:3", *named)


def test_no_configuration_file(tcpdiag, folder):
    fails(tcpdiag, ["run", "--once", "--config", folder / "none.conf"], {CONFIG}, str(folder / "none.conf"))


def test_file_in_no_folder(tcpdiag, folder):
    """A sink that cannot be opened is named before anything starts."""
    fails(tcpdiag, ["run", "--once", "--socket", tcpdiag.socket, "--sink", f"file:{folder}/none/out"],
          {SINK, CONFIG}, f"{folder}/none/out", "No such file")


# --- rights ------------------------------------------------------------------

NEEDED = ["sys_admin", "sys_ptrace", "net_admin", "sys_chroot", "setuid", "setgid", "setpcap", "kill"]


@pytest.mark.parametrize("capability", NEEDED)
def test_missing_capability(tcpdiag, capability):
    """The one that is missing is named, and what to do; the code is the one for rights."""
    done = tcpdiag.run(f"--bounding-set=-{capability}", harness.BIN / "tcpdiag", "run", "--once", "--socket", tcpdiag.socket,
                       program="/usr/bin/setpriv")
    assert done.returncode == PRIVILEGE, f"exit {done.returncode}\n{done.stderr}"
    assert f"CAP_{capability.upper()}" in done.stderr
    assert done.stdout == b""
    others = [name for name in NEEDED if name != capability]
    said = done.stderr.replace(f"CAP_{capability.upper()}", "")
    assert not [name for name in others if f"missing CAP_{name.upper()}" in said], done.stderr


def test_not_root(tcpdiag):
    """Somebody who is not root is told so once, by what is missing."""
    done = tcpdiag.run("--reuid=65534", "--regid=65534", "--clear-groups", harness.BIN / "tcpdiag", "run", "--once",
                       program="/usr/bin/setpriv", cwd="/")
    assert done.returncode == PRIVILEGE, f"exit {done.returncode}\n{done.stderr}"
    assert "CAP_SYS_ADMIN" in done.stderr or "root" in done.stderr


# --- what stands in a watched folder -----------------------------------------

def test_a_file_that_is_no_namespace(tcpdiag, world, folder):
    """It is named in one line, not once per look, and the others are read on."""
    watched = folder / "netns"
    watched.mkdir()
    (watched / "notes.txt").write_text("no namespace")
    namespace, file = world.named("-l", "listen", folder=watched), RecordFile(folder / "out")
    daemon = tcpdiag.stream("--netns-folder", watched, "--interval", "200ms", "--netns", namespace.name,
                            "--format", "jsonl", "--sink", f"file:{file.path}")
    file.wait_for_snapshots(namespace.name, 4)
    late = watched / "late.txt"
    late.touch()
    wait_for(lambda: "late.txt" in daemon.log(), 10, "a line about the second file")
    file.wait_for_snapshots(namespace.name, 3)
    daemon.stop()
    for name in ("notes.txt", "late.txt"):
        lines = [line for line in daemon.log().splitlines() if name in line]
        assert len(lines) == 1, lines


# --- files for decode --------------------------------------------------------

@pytest.fixture
def recorded(tcpdiag, world):
    namespace = world.named("-l", "established:count=3")
    return tcpdiag.once("--format", "protobuf", "--netns", namespace.name)


def decode_fails(tcpdiag, folder, data, *named):
    file = folder / "records"
    file.write_bytes(data)
    done = tcpdiag.run("decode", "--format", "jsonl", file)
    assert done.returncode == DATA, f"exit {done.returncode}\n{done.stderr}"
    for name in (str(file), *named):
        assert name in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1
    return harness.parse_jsonl(done.stdout.decode())


def test_decode_a_truncated_file(tcpdiag, folder, recorded):
    """What is whole is shown; that the end is missing is said, wherever it was cut."""
    whole = len(harness.parse_jsonl(tcpdiag.decode(recorded).decode()))
    for cut in (1, 17, 200):
        assert len(decode_fails(tcpdiag, folder, recorded[:-cut])) == whole - 1


@pytest.mark.parametrize("data", [b"hello, world\n" * 50, b"\x7fELF" + bytes(500), b"\xff" * 64, bytes(10)],
                         ids=["text", "elf", "ones", "zeros"])
def test_decode_a_foreign_file(tcpdiag, folder, data):
    """A file of something else is refused, not shown as empty records."""
    assert decode_fails(tcpdiag, folder, data) == []


def test_decode_nothing(tcpdiag, folder):
    done = tcpdiag.run("decode", folder / "none")
    assert done.returncode != 0 and str(folder / "none") in done.stderr
    assert tcpdiag.decode(b"") == b""
    fails(tcpdiag, ["decode", "--format", "yaml", "-"], {USAGE, CONFIG}, "yaml")
