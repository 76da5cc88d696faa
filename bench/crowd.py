"""Namespaces, and sockets in them, that are gone at the end."""
import contextlib
import os
import pathlib
import subprocess

from machine import BIN, Cost, Failed, cost_of

FOLDER = pathlib.Path("/run/netns")


class Program:
    """One that says "ready", and goes when its standard input ends."""

    def __init__(self, argv):
        self.argv = list(map(str, argv))

    def __enter__(self):
        # A session of its own: a terminal's Ctrl-C is ours, and it goes in its turn; also when we are killed, since its
        # input ends then too.
        self.popen = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                      start_new_session=True)
        self.said = []
        for line in self.popen.stdout:
            if line.startswith("ready"):
                return self
            self.said.append(line)
        raise Failed(f"{self.argv[0]} is not ready: exit {self.popen.wait()}")

    def __exit__(self, *_):
        self.popen.stdin.close()
        try:
            self.popen.wait(120)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self.popen.stdout.close()


class Namespaces(contextlib.ExitStack):
    """So many, by the names PREFIX-0 and up, with what crowd() puts into them."""
    number = 0

    def __init__(self, count, rate=0):
        super().__init__()
        Namespaces.number += 1
        self.prefix = f"tcpdiag-bench-{os.getpid()}-{Namespaces.number}"
        self.pattern = f"{self.prefix}-*"
        self.count, self.rate = count, rate

    def __enter__(self):
        super().__enter__()
        self.callback(self.clean_up)
        words = ["-r", self.rate] if self.rate else []
        self.program = self.enter_context(Program([BIN / "bench" / "namespaces", *words, self.prefix, self.count]))
        return self

    def clean_up(self):
        """What a killed program left."""
        for path in FOLDER.glob(self.pattern):
            subprocess.run(["umount", "--lazy", path], check=False, stderr=subprocess.DEVNULL)
            path.unlink(missing_ok=True)

    @property
    def files(self):
        return [FOLDER / f"{self.prefix}-{number}" for number in range(self.count)]

    def crowd(self, sockets, replace_ms=0):
        """
        About so many idle sockets in each: half of them IPv6, two for each
        connection, and a listener for each family.  With replace_ms, every so
        often one connection of each namespace is closed and another one made.
        """
        tail = f",replace={2 * replace_ms}" if replace_ms else ""
        kinds = [f"established:count={sockets // 4}{tail}", f"established:count={sockets // 4},family=6{tail}"]
        joins = [word for file in self.files for word in ("-j", file)]
        self.enter_context(Program([BIN / "bench" / "holders", "-b", *joins, *kinds]))
        return self


# --- what tcpdiag is compared with -------------------------------------------

def receive(program, *words, walks=3):
    """(sockets, cost) of a pass of bench/floor.c or bench/uring.c."""
    argv = [*program, "-w", str(walks), *map(str, words)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(argv[:6])}: {done.stderr.strip()}")
    sockets, user, system, wall = map(int, done.stdout.split())
    return sockets, Cost((user + system) / 1e9, user / 1e9, system / 1e9, wall / 1e9)


def floor(files, *words, walks=3):
    return receive([str(BIN / "bench" / "floor")], *words, *files, walks=walks)


def ss(file):
    return cost_of(["nsenter", f"--net={file}", "ss", "-tinemoO"])
